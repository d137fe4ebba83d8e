"""Tail kernels against NumPy and against slow, obvious versions."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from otsport.kernels import tail


def naive_linear_tail(returns, exposures, levels):
    """Every number of `tail.linear_tail`, with sorts and masks."""
    total = np.array([sum(r * e for r, e in zip(row, exposures)) for row in returns])
    cuts = [np.quantile(total, 1 - a) for a in levels]
    z = (total - cuts[0]) / (1.06 * total.std() * len(total) ** -0.2)
    near = np.where(np.abs(z) <= tail.CUT, np.exp(-0.5 * z**2), 0)
    parts = returns * exposures
    return [-c for c in cuts], [-total[total <= c].mean() for c in cuts], -(near @ parts) / near.sum(), -parts[total <= cuts[0]].mean(axis=0)


def linear_tail(returns, exposures, levels):
    scenarios, n = returns.shape
    var, es, total, parts_var, parts_es = (np.full(k, 7.0) for k in (len(levels), len(levels), scenarios, n, n))
    tail.linear_tail(returns, exposures, np.array(levels), -1.0, 10.0, var, es, total, parts_var, parts_es, np.empty(scenarios), np.empty(scenarios, dtype=np.int64))
    return var, es, parts_var, parts_es


@pytest.mark.parametrize("scenarios, n", [(100, 1), (101, 3), (102, 8), (503, 17), (2500, 40)])
def test_linear_tail_equals_naive(scenarios, n):
    rng = np.random.default_rng(scenarios)
    returns, exposures = rng.standard_t(4, (scenarios, n)) * 0.01, rng.normal(size=n) * 1e5
    for fast, naive in zip(linear_tail(returns, exposures, (0.95, 0.99)), naive_linear_tail(returns, exposures, (0.95, 0.99))):
        np.testing.assert_allclose(fast, naive, rtol=1e-10, atol=1e-9 * np.abs(exposures).max())


def test_linear_tail_nan_return_gives_nan():
    returns = np.full((100, 2), 0.01)
    returns[7, 1] = np.nan
    var, es, parts_var, parts_es = linear_tail(returns, np.array([1.0, 1.0]), (0.95,))
    assert np.isnan(var).all() and np.isnan(es).all() and np.isnan(parts_var).all()


def test_linear_tail_constant_pnl_has_no_kernel_estimate():
    var, es, parts_var, parts_es = linear_tail(np.full((50, 2), 0.01), np.array([100.0, 200.0]), (0.95,))
    assert var[0] == pytest.approx(-3.0) and es[0] == pytest.approx(-3.0) and np.isnan(parts_var).all()
    assert parts_es.tolist() == pytest.approx([-1.0, -2.0])


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)), st.floats(0, 1))
def test_quantile_is_numpys(x, p):
    before = x.copy()
    assert tail.quantile(x, (len(x) - 1) * p, np.empty_like(x)) == pytest.approx(np.quantile(x, p, method="linear"), rel=1e-15, abs=1e-15 * np.abs(x).max())
    assert (x == before).all()


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_nan=False)), st.data())
def test_select_partitions(x, data):
    k = data.draw(st.integers(0, len(x) - 1))
    y = x.copy()
    assert tail.select(y, k) == np.sort(x)[k]
    assert (y[:k] <= y[k]).all() and (y[k:] >= y[k]).all() and (np.sort(y) == np.sort(x)).all()


@pytest.mark.parametrize("x", [np.arange(500.0), np.arange(500.0)[::-1].copy(), np.zeros(500), np.tile([1.0, 2.0], 250)])
def test_select_sorted_reversed_constant_and_tied(x):
    assert [tail.select(x.copy(), k) for k in (0, 1, 250, 499)] == np.sort(x)[[0, 1, 250, 499]].tolist()


@pytest.mark.parametrize("x", [[], [np.nan], [1.0, np.nan, 2.0]])
def test_quantile_of_nothing_or_nan_is_nan(x):
    assert np.isnan(tail.quantile(np.array(x, dtype=np.float64), 0.3, np.empty(len(x))))


def test_quantile_of_one_and_infinite_observations():
    assert tail.quantile(np.array([3.0]), 0.05, np.empty(1)) == 3.0
    assert tail.quantile(np.array([-np.inf, 0.0, 1.0]), 0.0, np.empty(3)) == -np.inf


def test_weighted_rows_reads_only_rows_with_weight():
    rng = np.random.default_rng(0)
    matrix, weights = rng.normal(size=(50, 6)), np.where(rng.random(50) < 0.3, rng.random(50), 0.0)
    expected = weights @ matrix
    matrix[weights == 0] = np.nan
    out = np.empty(6)
    tail.weighted_rows(matrix, weights, np.empty(50, dtype=np.int64), out)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


def test_leave_one_out_equals_naive():
    pnl = np.random.default_rng(1).normal(size=(6, 300))
    total, var = pnl.sum(axis=0), np.empty(6)
    tail.leave_one_out(pnl, total, 299 * 0.05, var, np.empty(300), np.empty(300))
    assert var.tolist() == pytest.approx([-np.quantile(total - row, 0.05) for row in pnl], rel=1e-14)


@pytest.mark.parametrize("n, level, whole", [(21, 0.9, 2), (11, 0.8, 2), (41, 0.95, 2), (201, 0.99, 2), (1001, 0.9, 100), (10_001, 0.999, 10), (71, 0.9, 7), (20, 0.95, None), (250, 0.99, None)])
def test_place_is_whole_where_it_is_but_for_rounding(n, level, whole):
    found = tail.place(n, 1 - level)
    assert found == whole if whole is not None else found == (n - 1) * (1 - level)


@pytest.mark.parametrize("row, column", [(0, 0), (1, 3), (49, 6), (98, 2), (99, 1), (100, 0)])
@pytest.mark.parametrize("value, odd", [(-1.0, False), (10.0, False), (-1.0000001, True), (10.0000001, True), (np.inf, True), (np.nan, False)])
def test_totals_notice_a_return_that_is_none(row, column, value, odd):
    returns = np.full((101, 7), 0.01)
    returns[row, column] = value
    assert bool(tail.totals(returns, np.ones(7), -1.0, 10.0, np.empty(101))) == odd


def test_spread_is_numpys_std():
    x = 5 + np.random.default_rng(2).normal(size=777)
    assert tail.spread(x) == pytest.approx(x.std(), rel=1e-13)


@given(arrays(np.float64, st.integers(100, 200), elements=st.floats(-1e6, 1e6, width=32)), st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_tails_rise_with_the_level_and_ignore_the_order(x, a, b):
    var, es, again = (np.empty(2) for _ in range(3))
    levels = np.sort([a, b])
    tail.tails(x, levels, var, es, np.empty_like(x))
    slack = 1e-9 * max(1.0, np.abs(x).max())
    assert var[0] <= var[1] + slack and es[0] <= es[1] + slack and (es >= var - slack).all()
    tail.tails(np.sort(x)[::-1].copy(), levels, again, es, np.empty_like(x))
    assert (again == var).all()


def test_tails_of_one_and_of_constant_observations():
    for x in ([3.0], [3.0] * 40):
        var, es = np.empty(2), np.empty(2)
        tail.tails(np.array(x), np.array([0.5, 0.99]), var, es, np.empty(len(x)))
        assert var.tolist() == es.tolist() == [-3.0, -3.0]


@pytest.mark.parametrize("x", [[0.02], [0.01] * 30, [0.0] * 5, [0.01, np.nan, 0.02, 0.01], [1e-3, -5.0, 1e-3]])
def test_ewma_equals_the_weighted_sum(x):
    x = np.array(x)
    got = np.empty(len(x))
    tail.ewma(x, 0.94, got)
    for t in range(len(x)):
        weights = np.r_[0.94**t, 0.06 * 0.94 ** np.arange(t - 1.0, -1.0, -1.0)]
        assert got[t] == pytest.approx(weights @ x[: t + 1] ** 2, rel=1e-13, nan_ok=True)


def test_weights_of_the_tail_equal_naive():
    total = np.random.default_rng(3).standard_t(4, 400)
    var, near, beyond = -np.quantile(total, 0.05), np.empty(400), np.empty(400)
    tail.var_weights(total, var, near)
    tail.es_weights(total, var, beyond)
    z = (total + var) / (1.06 * total.std() * 400**-0.2)
    expected = np.where(np.abs(z) <= tail.CUT, np.exp(-0.5 * z**2), 0)
    np.testing.assert_allclose(near, expected / expected.sum(), rtol=1e-12)
    np.testing.assert_allclose(beyond, (total <= -var) / np.sum(total <= -var), rtol=1e-15)
