"""Risk parity against the closed form and an independent minimizer; hierarchical risk parity against plain recursion."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.optimize import minimize
from scipy.spatial.distance import squareform

from otsport.core.errors import InputError
from otsport.kernels import parity
from otsport.portfolio.risk_parity import hierarchical_risk_parity, risk_parity


def random_cov(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    x = rng.standard_normal((3 * n, n)) @ (np.eye(n) + rng.normal(0, 0.4, (n, n))) * rng.uniform(0.05, 0.5, n)
    return np.cov(x.T) + 1e-6 * np.eye(n)


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_shares_of_the_risk_are_the_budgets(seed):
    cov = random_cov(seed)
    budgets = np.random.default_rng(seed).dirichlet(np.ones(len(cov)))
    found = risk_parity(cov, budgets)
    w = found.weights
    shares = w * (cov @ w) / (w @ cov @ w)  # counted here
    assert np.abs(shares - budgets).max() < 1e-8 and found.gap < 1e-8 and w.sum() == pytest.approx(1) and (w > 0).all()


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.3, 0.9])
def test_two_assets_weigh_by_one_over_vol_whatever_the_correlation(rho):
    "Maillard, Roncalli and Teiletche (2010), section 2.3."
    cov = np.array([[0.01, rho * 0.03], [rho * 0.03, 0.09]])
    assert risk_parity(cov).weights == pytest.approx([0.75, 0.25])


def test_maillard_roncalli_teiletche_four_assets():
    "Their example: vols of 10, 20, 30 and 40 %, correlations of 0.8 and -0.5 in two pairs; the table prints 38.4, 19.2, 24.3 and 18.2 %."
    corr = np.array([[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, -0.5], [0, 0, -0.5, 1]])
    vols = np.array([0.1, 0.2, 0.3, 0.4])
    assert 100 * risk_parity(corr * np.outer(vols, vols)).weights == pytest.approx([38.4, 19.2, 24.3, 18.2], abs=0.06)


def test_independent_minimizer_agrees():
    cov = random_cov(5)
    n = len(cov)
    found = minimize(lambda x: 0.5 * x @ cov @ x - np.log(x).sum() / n, 1 / np.sqrt(np.diag(cov)), jac=lambda x: cov @ x - 1 / (n * x), bounds=[(1e-9, None)] * n,
                     method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 5000})
    assert risk_parity(cov).weights == pytest.approx(found.x / found.x.sum(), abs=1e-5)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_unit_of_the_covariance_and_order_of_the_assets_are_immaterial(scale):
    cov = random_cov(9)
    order = np.random.default_rng(0).permutation(len(cov))
    one = risk_parity(cov).weights
    with np.errstate(all="ignore"):
        assert risk_parity(cov * scale).weights == pytest.approx(one, abs=1e-9)
    assert risk_parity(cov[np.ix_(order, order)]).weights == pytest.approx(one[order], abs=1e-9)
    assert hierarchical_risk_parity(cov * scale).weights == pytest.approx(hierarchical_risk_parity(cov).weights, abs=1e-12)


def naive_hierarchical(cov: np.ndarray) -> np.ndarray:
    "The published recursion, in pandas."
    vols = np.sqrt(np.diag(cov))
    far = squareform(np.sqrt(np.clip((1 - cov / np.outer(vols, vols)) / 2, 0, None)), checks=False)
    order = hierarchy.leaves_list(hierarchy.linkage(far, "single"))
    w, groups = pd.Series(1.0, index=order), [list(order)]

    def variance(items):
        s = cov[np.ix_(items, items)]
        ivp = 1 / np.diag(s)
        ivp /= ivp.sum()
        return ivp @ s @ ivp

    while groups:
        groups = [g[i:j] for g in groups for i, j in ((0, len(g) // 2), (len(g) // 2, len(g))) if len(g) > 1]
        for left, right in zip(groups[::2], groups[1::2]):
            share = 1 - variance(left) / (variance(left) + variance(right))
            w[left] *= share
            w[right] *= 1 - share
    return w.sort_index().to_numpy()


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_hierarchical_equals_plain_recursion(seed):
    cov = random_cov(seed)
    assert hierarchical_risk_parity(cov).weights == pytest.approx(naive_hierarchical(cov), abs=1e-12)


def test_budget_of_nothing_gets_nothing_and_a_copy_gets_its_own_share():
    cov = random_cov(3)
    budgets = np.full(len(cov), 1 / (len(cov) - 1))
    budgets[1] = 0
    assert risk_parity(cov, budgets).weights[1] == 0
    twins = np.array([[0.04, 0.04], [0.04, 0.04]])
    assert risk_parity(twins).weights == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("cov, budgets, words", [
    (np.eye(2), [0.5, 0.6], "sum to 1.100000"), (np.eye(2), [1.5, -0.5], "the least is -0.5"), (np.eye(2), [1.0], "for 2 assets"), (np.diag([1.0, 0.0]), None, "asset 2 has no variance"),
    (np.array([[1, np.nan], [np.nan, 1]]), None, "covariance of asset 1 and asset 2 is nan"), (np.array([[1, 2.0], [2.0, 1]]), None, "not positive semidefinite"),
])
def test_bad_input_names_the_culprit(cov, budgets, words):
    with pytest.raises(InputError, match=words):
        risk_parity(cov, budgets)


def test_kernel_says_what_it_misses():
    "The negative control: one sweep is not enough, and the number says so."
    cov = random_cov(7)
    before, parity.MAX_SWEEPS = parity.MAX_SWEEPS, 1
    try:
        _, missing, _ = parity.budgeted.py_func(cov, np.full(len(cov), 1 / len(cov)))
    finally:
        parity.MAX_SWEEPS = before
    assert missing > 1e-6


def test_the_seconds_that_it_took_are_told():
    assert 0 < risk_parity(np.diag([0.01, 0.04])).seconds < 60 and 0 < hierarchical_risk_parity(np.diag([0.01, 0.04])).seconds < 60
