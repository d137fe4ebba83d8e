"""Minimum correlation against plain loops and its paper, mixes, shares by performance, rules within limits, and published tables."""
from dataclasses import replace
from math import erf

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import InputError
from otsport.portfolio.blends import min_correlation, mixed, performance_based, within
from otsport.portfolio.bounds import Bounds
from otsport.portfolio.optimize import max_sharpe, min_variance
from otsport.portfolio.risk_parity import hierarchical_risk_parity, risk_parity


def random_cov(seed: int, n: int = 6) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((4 * n, n))
    return 0.04 * np.cov((x + x[:, :1]).T) + 1e-4 * np.eye(n)


def naive_min_correlation(cov: np.ndarray) -> np.ndarray:
    "The steps of the paper, one number at a time."
    n, vols = len(cov), np.sqrt(np.diag(cov))
    rho = [cov[i, j] / (vols[i] * vols[j]) for i in range(n) for j in range(i + 1, n)]
    mean, spread = np.mean(rho), np.std(rho, ddof=1)
    unlike = [[0.0 if i == j else 1 - 0.5 * (1 + erf((cov[i, j] / (vols[i] * vols[j]) - mean) / spread / 2**0.5)) for j in range(n)] for i in range(n)]
    averages = [sum(row) / n for row in unlike]
    ranks = [1 + sum(other > mine for other in averages) for mine in averages]  # the lowest average ranks last, and counts most
    raw = [sum(ranks[i] / sum(ranks) * unlike[i][j] for i in range(n)) / vols[j] for j in range(n)]
    return np.array(raw) / sum(raw)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_min_correlation_equals_plain_loops(seed):
    cov = random_cov(seed, int(np.random.default_rng(seed).integers(3, 9)))
    found = min_correlation(cov)
    assert found.weights == pytest.approx(naive_min_correlation(cov), abs=1e-12) and found.weights.sum() == pytest.approx(1) and (found.weights > 0).all()


def test_min_correlation_of_the_paper_and_where_nothing_ranks():
    "Varadi, Kapler, Bee and Rittenhouse (2012): 21, 31 and 48 %."
    vols, corr = np.array([0.14, 0.18, 0.22]), np.array([[1, 0.90, 0.85], [0.90, 1, 0.70], [0.85, 0.70, 1]])
    assert 100 * min_correlation(corr * np.outer(vols, vols)).weights == pytest.approx([21, 31, 48], abs=0.5)
    assert min_correlation(0.01 * np.ones((1, 1))).weights.tolist() == [1.0]
    alike = np.outer(vols, vols) * (0.5 + 0.5 * np.eye(3))
    assert min_correlation(alike).weights == pytest.approx((1 / vols) / (1 / vols).sum())


def test_permutation_and_scale_are_immaterial():
    cov, order = random_cov(4), [3, 1, 5, 0, 2, 4]
    one = min_correlation(cov).weights
    assert min_correlation(cov[np.ix_(order, order)]).weights == pytest.approx(one[order], abs=1e-12)
    assert min_correlation(cov * 0.5).weights == pytest.approx(one, abs=1e-12)


def test_mix_of_weights_within_limits_is_within_them():
    cov, mu = random_cov(1), np.array([0.05, 0.08, 0.02, 0.1, 0.04, 0.03])
    b = Bounds(tuple("ABCDEF"), np.full(6, 0.3), sectors=tuple("xxyyzz"), sector_cap=0.45, min_net=1.0)
    parts = {"best": max_sharpe(mu, cov, b), "least": min_variance(mu, cov, b)}
    found = mixed(parts, {"best": 0.3, "least": 0.7}, cov)
    assert found.weights == pytest.approx(0.3 * parts["best"].weights + 0.7 * parts["least"].weights) and found.weights.max() <= 0.3 + 1e-12
    assert found.expected_return == pytest.approx(mu @ found.weights) and found.vol <= 0.3 * parts["best"].vol + 0.7 * parts["least"].vol + 1e-12


RETURNS = pd.DataFrame(np.random.default_rng(2).normal([0.002, 0.001, 0.0005, -0.001], 0.01, (250, 4)), columns=["a", "b", "c", "d"])


@pytest.mark.filterwarnings("ignore")
@given(st.floats(0, 0.25), st.floats(0.25, 1.0), st.sampled_from(["sharpe", "profit_factor", "win_rate"]))
@settings(max_examples=30, deadline=None)
def test_shares_by_performance_stay_between_floor_and_cap_and_follow_the_scores(floor, cap, measure):
    w = performance_based(RETURNS, measure, floor, cap)
    assert (w >= floor - 1e-12).all() and (w <= cap + 1e-12).all() and w.sum() <= 1 + 1e-12
    assert w["a"] >= w["b"] - 1e-12 and w["b"] >= w["c"] - 1e-12 >= w["d"] - 1e-11 or measure != "sharpe"


@pytest.mark.filterwarnings("ignore")
def test_no_history_gets_the_floor_and_nobody_good_is_cash():
    young = RETURNS.assign(new=np.nan)
    young.loc[240:, "new"] = 0.01
    assert performance_based(young, floor=0.05)["new"] == 0.05 and performance_based(young, floor=0.05).sum() == pytest.approx(1)
    assert performance_based(RETURNS[["d"]] - 0.01).tolist() == [0.0] and performance_based(RETURNS[:5]).tolist() == [0.0] * 4
    assert performance_based(RETURNS[["a", "d"]], cap=0.6).tolist() == pytest.approx([0.6, 0.0])


@pytest.mark.parametrize("given, words", [
    (dict(measure="luck"), "measure is 'luck'"), (dict(floor=0.3), "floors that sum to 1 at most"), (dict(floor=0.2, cap=0.1), "floor <= cap"), (dict(cap=1.5), "cap <= 1"),
])
def test_bad_shares_are_refused(given, words):
    with pytest.raises(InputError, match=words):
        performance_based(RETURNS, **given)


def test_rule_within_limits_is_the_nearest_and_its_own_where_they_leave_room():
    cov = random_cov(7)
    rule = risk_parity(cov)
    wide = Bounds(rule.bounds.names, np.ones(6), max_net=0.9)
    assert within(rule, np.zeros(6), cov, wide)[0].weights == pytest.approx(0.9 * rule.weights, abs=1e-9)
    tight = replace(wide, upper=np.full(6, 0.17), min_net=0.9)
    found, error = within(rule, np.zeros(6), cov, tight)
    rng = np.random.default_rng(0)
    for _ in range(300):
        w = np.minimum(rng.dirichlet(np.full(6, 20.0)) * 0.9, 0.17)
        if 0.9 - 1e-9 <= w.sum():
            away = w - 0.9 * rule.weights
            assert (away @ cov @ away) ** 0.5 >= error - 1e-9
    assert found.weights.max() <= 0.17 + 1e-12 and error > 0
    with pytest.raises(InputError, match="give one order"):
        within(rule, np.zeros(6), cov, replace(tight, names=tuple("UVWXYZ")))


@pytest.mark.parametrize("rule", [min_correlation, risk_parity, hierarchical_risk_parity])
@pytest.mark.parametrize("cov, words", [
    (np.array([[0.04, np.nan], [np.nan, 0.04]]), "covariance of asset 1 and asset 2 is nan"), (np.array([[0.04, 0.01], [0.02, 0.04]]), "not symmetric"),
    (np.array([[0.04, 0.09], [0.09, 0.04]]), "not positive semidefinite"), (np.diag([0.04, 0.0]), "asset 2 has no variance"),
])
def test_bad_covariance_is_named_by_every_rule(rule, cov, words):
    with pytest.raises(InputError, match=words):
        rule(cov)


@pytest.mark.parametrize("corr, parity, least", [
    (np.eye(4), [48.0, 24.0, 16.0, 12.0], [70.2, 17.6, 7.8, 4.4]),
    (np.array([[1, 0.8, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, -0.5], [0, 0, -0.5, 1]]), [38.4, 19.2, 24.3, 18.2], [74.5, 0.0, 15.2, 10.3]),
])
def test_maillard_roncalli_teiletche_tables(corr, parity, least):
    "Vols of 10, 20, 30 and 40 %: equal risk contributions beside the minimum variance of a long book, in percent (2010, section 4)."
    vols = np.array([0.1, 0.2, 0.3, 0.4])
    cov = corr * np.outer(vols, vols)
    assert 100 * risk_parity(cov).weights == pytest.approx(parity, abs=0.06)
    assert 100 * min_variance(np.zeros(4), cov, Bounds(tuple("ABCD"), np.ones(4), min_net=1.0)).weights == pytest.approx(least, abs=0.06)
