"""The two programs behind a surface: mixture weights against Clarabel, SVI against SciPy."""
import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from otsport.kernels.hinge import NO_CONVERGENCE, OK, hinge_program
from otsport.kernels.svi import svi


def program(seed, n=40, m=25, conditions=10):
    """Random rows drawn to targets with hinges on both sides, and conditions with a price that makes them hard."""
    rng = np.random.default_rng(seed)
    mean = np.sort(rng.uniform(0.7, 1.3, n))
    strikes = np.r_[rng.uniform(0.75, 1.25, m), np.linspace(0.8, 1.2, conditions)]
    rows = np.maximum(mean - strikes[:, None], 0) * 100
    target = np.r_[np.maximum(1 - strikes[:m], 0) * 100 + rng.uniform(0, 5, m), np.zeros(conditions)]
    quad = np.r_[np.full(m, 0.04), np.zeros(conditions)]
    floor = np.maximum(1 - strikes[m:], 0) * 100
    row = np.r_[np.arange(m), np.arange(m), m + np.arange(conditions)].astype(np.int64)
    sign = np.r_[np.ones(m), -np.ones(m), -np.ones(conditions)]
    bound = np.r_[target[:m] + 0.9, 0.9 - target[:m], -floor]
    price = np.r_[np.full(2 * m, 10.0), np.full(conditions, 1e6)]
    return rows, target, quad, row, sign, bound, price, np.vstack([np.ones(n), mean - 1]), np.array([1.0, 0.0]), 2e-3


def cost(p, rows, target, quad, row, sign, bound, price, equal, value, ridge):
    fit = rows @ p
    return 0.5 * quad @ (fit - target) ** 2 + 0.5 * ridge * p @ p + price @ np.maximum(sign * fit[row] - bound, 0)


def solved(case):
    p = np.empty(case[0].shape[1])
    return p, *hinge_program(*case, p)


@pytest.mark.parametrize("seed", range(4))
def test_hinge_program_equals_clarabel(seed):
    case = program(seed)
    rows, target, quad, row, sign, bound, price, equal, value, ridge = case
    p, objective, _, status = solved(case)
    q = cp.Variable(p.size, nonneg=True)
    over = cp.pos(cp.multiply(sign, (rows @ q)[row]) - bound)
    theirs = cp.Problem(cp.Minimize(0.5 * cp.sum(cp.multiply(quad, cp.square(rows @ q - target))) + 0.5 * ridge * cp.sum_squares(q) + price @ over), [equal @ q == value])
    theirs.solve(solver=cp.CLARABEL)
    assert status == OK and objective == pytest.approx(cost(p, *case), rel=1e-9)
    assert objective == pytest.approx(theirs.value, rel=1e-5)  # Clarabel's own tolerance, at prices of 1e6
    assert p.min() >= 0 and np.allclose(equal @ p, value, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_hinge_program_beats_any_other_weights(seed, other):
    case = program(seed)
    p, objective, _, status = solved(case)
    near, far = np.sort(np.random.default_rng(other).choice(p.size, 2, replace=False))
    mean = case[7][1] + 1
    if not mean[near] < 1 < mean[far]:
        return
    rival = np.zeros(p.size)
    rival[[near, far]] = np.array([mean[far] - 1, 1 - mean[near]]) / (mean[far] - mean[near])
    for share in (1.0, 0.1, 1e-3):
        assert status == OK and cost((1 - share) * p + share * rival, *case) >= objective * (1 - 1e-7)


def test_hinge_program_price_of_a_hard_condition():
    case = program(1)
    p = solved(case)[0]
    hard = case[6] == 1e6
    assert np.max(case[4][hard] * (case[0] @ p)[case[3][hard]] - case[5][hard]) < 1e-7


def test_hinge_program_nan_does_not_settle():
    case = list(program(2))
    case[1] = case[1].copy()
    case[1][3] = np.nan
    assert solved(case)[3] == NO_CONVERGENCE


LOW, HIGH = np.array([-1, 1e-6, -0.999, -0.8, 1e-4]), np.array([4, 4, 0.999, 0.8, 2.0])
K = np.linspace(-0.4, 0.35, 31)


def misses(p, vol, weight, tau):
    variance = p[0] + p[1] * (p[2] * (K - p[3]) + np.sqrt((K - p[3]) ** 2 + p[4] ** 2))
    return (np.sqrt(np.maximum(variance, 1e-10) / tau) - vol) * weight


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 0.3), st.floats(-0.8, 0.5), st.floats(0.03, 0.4), st.integers(0, 1000))
def test_svi_is_no_worse_than_scipy(b, rho, s, seed):
    rng, tau = np.random.default_rng(seed), 0.5
    vol = misses(np.array([0.01, b, rho, 0.02, s]), 0, 1, tau) * (1 + 0.01 * rng.standard_normal(K.size))
    weight, start = rng.uniform(50, 200, K.size), np.array([0.01, 0.1, -0.2, 0.0, 0.1])
    p = start.copy()
    ours, _ = svi(K, vol, weight, tau, LOW, HIGH, p)
    theirs = least_squares(misses, start, bounds=(LOW, HIGH), args=(vol, weight, tau), x_scale=[0.01, 0.1, 0.3, 0.1, 0.1], max_nfev=300, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert ours == pytest.approx(0.5 * np.sum(misses(p, vol, weight, tau) ** 2), rel=1e-9)
    assert ours <= theirs.cost * 1.02 + 1e-6  # the valley between a and s is flat, and both stop on its floor
    assert np.all((p >= LOW) & (p <= HIGH))


def test_svi_stays_inside_its_bounds():
    steep = 0.3 + 2.0 * np.maximum(K, 0)  # steeper on the right than any rho below 1 with this b
    p = np.array([0.01, 0.1, 0.0, 0.0, 0.1])
    svi(K, steep, np.full(K.size, 100.0), 0.5, LOW, HIGH, p)
    assert np.all((p >= LOW) & (p <= HIGH)) and np.isfinite(p).all()


def test_svi_nan_quote_leaves_the_start():
    vol, start = np.full(K.size, 0.2), np.array([0.01, 0.1, -0.2, 0.0, 0.1])
    vol[4] = np.nan
    p = start.copy()
    assert np.isnan(svi(K, vol, np.full(K.size, 100.0), 0.5, LOW, HIGH, p)[0]) and np.array_equal(p, start)
