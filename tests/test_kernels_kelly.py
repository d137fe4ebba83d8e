"""Kelly stakes against published values, SciPy and cvxpy."""
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from otsport.analytics.kelly import growth_rate, kelly, kelly_binary, kelly_many, optimal_f
from otsport.core.errors import DataError, InputError
from otsport.kernels import kelly as kernel

GOLDEN = json.loads((Path(__file__).parent / "golden" / "book.json").read_text())["vectors"]


def of_kind(kind):
    return [pytest.param(v, id=v["id"]) for v in GOLDEN if v["kind"] == kind]


@pytest.mark.parametrize("vector", of_kind("kelly_binary"))
def test_kelly_binary_published_value(vector):
    assert kelly_binary(vector["inputs"]["p"], vector["inputs"]["b"]) == pytest.approx(vector["expected"], abs=vector["tol"])


@pytest.mark.parametrize("vector", of_kind("optimal_f"))
def test_optimal_f_published_value(vector):
    got = optimal_f(vector["inputs"]["trades"])
    assert got == pytest.approx(vector["expected"], abs=vector["tol"])
    if "recomputed" in vector:
        assert got == pytest.approx(vector["recomputed"], abs=1e-8)


def naive(x):
    bound = -1 / x.min()
    slope = lambda f: np.mean(x / (1 + f * x))
    return brentq(slope, 0, bound * (1 - 1e-12), xtol=1e-300, rtol=1e-14) if x.mean() > 0 else 0.0


@pytest.mark.parametrize("seed", range(40))
def test_kelly_equals_brentq_at_any_scale(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_t(3, rng.integers(2, 300)) * 10 ** rng.uniform(-4, 4)
    x += rng.uniform(0, 1) * np.std(x)
    x[0] = -abs(x).max() * rng.uniform(0.2, 2)
    assert kelly(x) == pytest.approx(naive(x), rel=1e-11)


@given(st.lists(st.floats(-0.9, 3), min_size=2, max_size=40))
@settings(max_examples=100, deadline=None)
def test_kelly_is_the_greatest_growth(x):
    x = np.round(x, 6)
    if not (x.min() < 0 < x.mean()):
        return
    best = kelly(x)
    assert 0 <= best < -1 / x.min()
    for other in (0.0, 0.5 * best, 0.99 * best, best + 0.01 * (-1 / x.min() - best)):
        assert growth_rate(x, other) <= growth_rate(x, best) + 1e-12


def test_kelly_needs_halving_steps():
    assert kelly([1000.0] + [-1.0] * 3) == pytest.approx(0.24925, rel=1e-12)
    assert kelly([1e6] + [-1.0] * 10) == pytest.approx((1 - 10 / 1e6) / 11, rel=1e-9)


@pytest.mark.parametrize("x, words", [([0.1, np.nan], "return 1 of 2 is nan"), ([np.inf, -0.1], "return 0 of 2 is inf"), ([], "0 given"), ([0.01], "is a loss"), ([0.0, 0.2], "is a loss")])
def test_kelly_refuses(x, words):
    with pytest.raises(DataError, match=words):
        kelly(x)


@pytest.mark.parametrize("x", [[-0.1], [0.0, 0.0], [0.1, -0.1], [0.1, -0.2]])
def test_kelly_without_edge_is_zero(x):
    assert kelly(x) == 0 and optimal_f(x) == 0


def test_kelly_takes_a_strided_view():
    x = np.random.default_rng(0).normal(0.001, 0.01, (100, 3))
    assert kelly(x[:, 1]) == kelly(x[:, 1].copy())


def sample(seed, T, n):
    rng = np.random.default_rng(seed)
    return rng.normal(0.0004, 0.012, (T, n)) + rng.normal(0, 0.006, (T, 1))


@pytest.mark.parametrize("seed, T, n, upper, gross", [(0, 200, 8, 1.0, 1.0), (1, 300, 15, 0.1, 1.0), (2, 120, 6, 1.0, 3.0), (3, 60, 30, 0.2, 1.5)])
def test_kelly_many_equals_cvxpy(seed, T, n, upper, gross):
    import cvxpy as cp

    R = sample(seed, T, n)
    w = cp.Variable(n)
    cp.Problem(cp.Maximize(cp.sum(cp.log(1 + R @ w)) / T), [w >= 0, w <= upper, cp.sum(w) <= gross]).solve(solver="CLARABEL")
    got = kelly_many(R, upper, gross)
    assert got.growth >= np.mean(np.log1p(R @ w.value)) - 1e-9
    np.testing.assert_allclose(got.weights, w.value, atol=2e-4)  # the solver's accuracy, not ours: see the gap
    assert got.gap < 1e-10


@pytest.mark.parametrize("seed", range(30))
def test_kelly_many_gap_closes_on_hard_samples(seed):
    rng = np.random.default_rng(seed)
    n, T = rng.integers(1, 50), rng.integers(2, 200)
    R = np.maximum(rng.standard_t(3, (T, n)) * 10 ** rng.uniform(-3, -0.5) + rng.normal(0, 0.02, n), -0.99)
    if seed % 3 == 0 and n > 2:
        R[:, 1] = R[:, 0]  # copies: the curvature is singular
    upper, gross = rng.uniform(0, 1, n), rng.choice([0.3, 1.0, 3.0])
    got = kelly_many(R, upper, gross)
    assert (got.weights >= 0).all() and (got.weights <= upper).all() and got.weights.sum() <= gross * (1 + 1e-12)
    gradient = R.T @ (1 / (1 + R @ got.weights)) / T
    order = np.argsort(-gradient)
    room, bound = gross, 0.0
    for i in order:
        take = min(upper[i], room) if gradient[i] > 0 else 0.0
        bound, room = bound + take * gradient[i], room - take
    assert bound - gradient @ got.weights < 1e-8 * max(1e-3, abs(gradient).max()) * max(1, gross)


def test_kelly_many_of_one_asset_is_kelly():
    x = sample(5, 500, 1) + 0.0002
    assert kelly_many(x, upper=50, gross=50).weights[0] == pytest.approx(kelly(x[:, 0]), rel=1e-7)


def test_kelly_many_order_does_not_matter():
    R, order = sample(6, 300, 10), np.random.default_rng(0).permutation(10)
    np.testing.assert_allclose(kelly_many(R).weights[order], kelly_many(R[:, order]).weights, atol=1e-7)


def test_kelly_many_without_edge_stays_in_cash():
    got = kelly_many(-np.abs(sample(7, 50, 4)))
    assert (got.weights == 0).all() and got.growth == 0


@pytest.mark.parametrize("arguments, error, words", [
    (([[0.1], [np.nan]],), DataError, "row 1, column 0"), (([0.1, 0.2],), InputError, "shape"), ((np.empty((0, 3)),), InputError, "shape"),
    (([[0.1], [-0.1]], np.nan), InputError, "upper bound nan"), (([[0.1], [-0.1]], 1.0, np.inf), InputError, "gross is inf")])
def test_kelly_many_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        kelly_many(*arguments)


def test_kelly_compiled_equals_interpreted():
    x = np.random.default_rng(8).normal(0.002, 0.02, 50)
    assert kernel.fraction(x) == pytest.approx(kernel.fraction.py_func(x), rel=1e-12)


@given(st.lists(st.floats(-0.9, 3), min_size=1, max_size=40), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_growth_equals_numpy(x, f):
    assert kernel.growth(np.array(x), f) == pytest.approx(np.mean(np.log1p(f * np.array(x))), rel=1e-13, abs=1e-16)


@pytest.mark.parametrize("seed", range(10))
def test_optimal_f_equals_the_grid(seed):
    trades = np.random.default_rng(seed).integers(-20, 30, 15).astype(float)
    trades[0] = -25.0
    grid = np.linspace(0, 0.999, 20_000)
    wealth = np.log1p(np.outer(grid, trades / 25.0)).sum(axis=1)  # naive: Vince's product at every f
    assert optimal_f(trades) == pytest.approx(grid[np.argmax(wealth)], abs=1e-4)


@pytest.mark.parametrize("scale", [1e-200, 1e-90, 1e-3, 1.0, 1e60])
def test_kelly_scales_down_to_where_squares_vanish(scale):
    assert kernel.fraction(np.array([2.0, -1.0]) * scale)[0] * scale == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("x", [[np.nan, 0.1], [np.inf, -0.1], [-np.inf, 0.1], []])
def test_kelly_kernel_says_what_is_not_finite(x):
    value, status = kernel.fraction(np.array(x, dtype=float))
    assert np.isnan(value) and status == kernel.NOT_FINITE


def test_kelly_is_the_same_in_any_order():
    x = np.random.default_rng(9).normal(0.002, 0.02, 300)
    assert kelly(x) == pytest.approx(kelly(np.sort(x)), rel=1e-12) and kelly(x) == pytest.approx(kelly(np.sort(x)[::-1]), rel=1e-12)
