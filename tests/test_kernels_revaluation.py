"""The revaluation kernel against SciPy, scenario by scenario, and at its limits."""
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from otsport.kernels import options, revaluation
from otsport.kernels._jit import FASTMATH


def naive_value(S, K, tau, r, q, sigma, phi):
    """Black-Scholes-Merton by SciPy, with its limits."""
    F, P, sd = S * np.exp(-q * tau), K * np.exp(-r * tau), sigma * np.sqrt(tau)
    if sd == 0 or F == 0:
        return max(phi * (F - P), 0.0)
    d1 = np.log(F / P) / sd + sd / 2
    return phi * (F * ndtr(phi * d1) - P * ndtr(phi * (d1 - sd)))


def revalue(positions, growth, shift, years):
    """Kernel call from tuples (scale, S, K, tau, r, q, sigma, phi, underlying)."""
    *columns, rows = np.array(positions, dtype=np.float64).T
    growth, shift = np.atleast_2d(growth).astype(float), np.atleast_2d(shift).astype(float)
    pnl, total = np.empty((len(positions), growth.shape[1])), np.empty(growth.shape[1])
    underlying, moves, shifts = rows.astype(np.int64), np.ascontiguousarray(growth.T) - 1, np.ascontiguousarray(shift.T)
    revaluation.revalue(*(np.ascontiguousarray(c) for c in columns), years, underlying, np.argsort(underlying, kind="stable"), moves, shifts, pnl, total,
                        np.empty((3, len(total))))
    return pnl, total


def test_revalue_equals_scipy():
    rng = np.random.default_rng(0)
    n, T, m, years = 40, 60, 5, 3 / 365
    rows = rng.integers(0, m, n)
    positions = [(rng.integers(-9, 10) * 100, rng.uniform(20, 300), rng.uniform(20, 300), rng.uniform(0, 1.5), rng.uniform(-0.01, 0.06),
                  rng.uniform(0, 0.04), rng.uniform(0.05, 0.8), rng.choice([-1, 0, 1]), u) for u in rows]
    growth, shift = 1 + rng.normal(0, 0.03, (m, T)), rng.normal(0, 0.01, (m, T))
    pnl, total = revalue(positions, growth, shift, years)
    for (scale, S, K, tau, r, q, sigma, phi, u), row in zip(positions, pnl):
        u = int(u)
        for s in range(T):
            if phi == 0:
                expected = scale * S * (growth[u, s] - 1)
            else:
                after = naive_value(S * growth[u, s], K, max(tau - years, 0), r, q, sigma + shift[u, s], phi)
                expected = scale * (after - naive_value(S, K, tau, r, q, sigma, phi))
            assert row[s] == pytest.approx(expected, abs=1e-12 * 900 * 300)
    np.testing.assert_allclose(total, pnl.sum(axis=0), rtol=1e-12, atol=1e-9)


@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(1 / 365, 3), st.floats(-0.02, 0.1), st.floats(0, 0.08), st.floats(0.02, 2), st.sampled_from([-1.0, 1.0]))
def test_today_is_the_option_kernels_price(S, K, tau, r, q, sigma, phi):
    assert revaluation.today(S, K, tau, r, q, sigma, phi) == pytest.approx(options.bsm(S, K, tau, r, q, sigma, phi)[0], abs=2e-13 * max(S, K))


@given(st.floats(1, 1000), st.floats(1, 1000), st.floats(0, 3), st.floats(0, 2), st.sampled_from([-1.0, 1.0]))
def test_no_move_is_exactly_zero(S, K, tau, sigma, phi):
    pnl, total = revalue([(-300.0, S, K, tau, 0.03, 0.01, sigma, phi, 0)], np.ones((1, 9)), np.zeros((1, 9)), 0.0)
    assert (pnl == 0).all() and (total == 0).all()


@pytest.mark.parametrize("growth, phi, expected", [(0.0, -1.0, 90.0), (0.0, 1.0, 0.0), (5.0, 1.0, 410.0), (5.0, -1.0, 0.0), (0.9, 1.0, 0.0), (0.9, -1.0, 0.0)])
@pytest.mark.parametrize("tau, sigma", [(0.0, 0.3), (0.5, 0.0)])
def test_limits_are_intrinsic_value(growth, phi, expected, tau, sigma):
    pnl, _ = revalue([(1.0, 100.0, 90.0, tau, 0.0, 0.0, sigma, phi, 0)], [[growth]], [[0.0]], 0.0)
    assert pnl[0, 0] == pytest.approx(expected - max(phi * 10.0, 0.0), abs=1e-12)


def test_option_that_expires_in_the_horizon_is_intrinsic():
    pnl, _ = revalue([(100.0, 100.0, 100.0, 2 / 365, 0.05, 0.0, 0.4, 1.0, 0)], [[0.9, 1.1]], [[0.0, 0.0]], 5 / 365)
    base = naive_value(100.0, 100.0, 2 / 365, 0.05, 0.0, 0.4, 1.0)
    assert pnl[0].tolist() == pytest.approx([-100 * base, 100 * (10 - base)], abs=1e-10)


@pytest.mark.parametrize("strike", [1.0, 10.0, 1e3, 1e5])
def test_deep_wings_keep_their_digits(strike):
    for phi in (-1.0, 1.0):
        pnl, _ = revalue([(1.0, 100.0, strike, 0.1, 0.0, 0.0, 0.2, phi, 0)], [[0.5, 0.99, 1.01, 2.0]], [[0.0] * 4], 0.0)
        base = naive_value(100.0, strike, 0.1, 0.0, 0.0, 0.2, phi)
        assert pnl[0].tolist() == pytest.approx([naive_value(100 * g, strike, 0.1, 0.0, 0.0, 0.2, phi) - base for g in (0.5, 0.99, 1.01, 2.0)], abs=1e-13 * max(strike, 200))


def test_nan_stays_where_it_is():
    pnl, total = revalue([(1.0, 100.0, 100.0, 0.5, 0.0, 0.0, 0.2, 1.0, 0), (1.0, 50.0, 50.0, 0.5, 0.0, 0.0, np.nan, 1.0, 1)], [[1.0, np.nan], [1.1, 1.1]], np.zeros((2, 2)), 0.0)
    assert np.isnan(pnl).tolist() == [[False, True], [True, True]] and np.isnan(total).all()


def test_vector_instructions_are_in_the_machine_code():
    fresh = numba.njit(error_model="numpy", fastmath=FASTMATH)(revaluation._option_row.py_func)  # cached code cannot be inspected
    f, v = 1.0, np.ones(1)
    fresh(f, f, f, f, f, f, f, f, v, v, v, v)
    asm = fresh.inspect_asm(fresh.signatures[0])
    assert "zmm" in asm or "ymm" in asm
