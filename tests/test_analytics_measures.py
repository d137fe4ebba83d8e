"""Covariance and performance measures against naive forms and published values; the array face of the option formulas."""
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.covariance import shrinkage, shrunk_covariance
from otsport.analytics.metrics import drawdowns, longest_drawdown, metrics
from otsport.analytics.options import bsm, bsm_delta, bsm_price, implied_vol
from otsport.core.errors import DataError, InputError
from otsport.core.contracts import Right

GOLDEN = {v["id"]: v for v in json.loads((Path(__file__).parent / "golden" / "kernels_bsm_var.json").read_text())["vectors"]}


def naive_shrinkage(x):  # Ledoit and Wolf (2004), term by term
    x = x - x.mean(axis=0)
    sessions, assets = x.shape
    sample = sum(np.outer(r, r) for r in x) / sessions
    target = np.trace(sample) / assets * np.eye(assets)
    norm = lambda a: np.sum(a * a) / assets
    spread = norm(sample - target)
    noise = sum(norm(np.outer(r, r) - sample) for r in x) / sessions**2
    return min(noise, spread) / spread


@pytest.mark.parametrize("sessions, assets", [(30, 4), (10, 20), (250, 3)])
def test_shrinkage_equals_naive(sessions, assets):
    x = np.random.default_rng(sessions).normal(size=(sessions, assets)) * np.linspace(0.01, 0.03, assets)
    assert shrinkage(x) == pytest.approx(naive_shrinkage(x), rel=1e-10)


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(3, 60))
@settings(max_examples=50)
def test_shrunk_covariance_is_positive_definite(seed, assets, sessions):
    x = np.random.default_rng(seed).normal(size=(sessions, assets)) * 0.01
    cov = shrunk_covariance(x)
    assert np.array_equal(cov, cov.T) and np.linalg.eigvalsh(cov).min() > 0  # even with fewer sessions than assets
    assert np.trace(cov) == pytest.approx(252 * np.cov(x.T, bias=True).trace(), rel=1e-10)  # shrinking keeps the mean variance


def test_shrunk_covariance_names_the_gap():
    x = np.full((20, 3), 0.01)
    x[7, 2] = np.nan
    with pytest.raises(DataError, match="row 7, column 2"):
        shrunk_covariance(x)


@pytest.mark.parametrize("vector, field, offset", [("empyrical_sharpe", "sharpe", 0), ("metric_skew_biased", "skewness", 0), ("metric_kurt_biased", "kurtosis", 0)])
def test_metrics_published_value(vector, field, offset):
    vector = GOLDEN[vector]
    assert getattr(metrics(vector["inputs"]["returns"]), field) == pytest.approx(vector["expected"] + offset, abs=vector["tol"])


def test_metrics_risk_free_rate_lowers_sharpe():
    x = np.random.default_rng(0).normal(0.0005, 0.01, 500)
    per_session = 1.03 ** (1 / 252) - 1
    assert metrics(x, rate=0.03).sharpe == pytest.approx((x - per_session).mean() / x.std(ddof=1) * 252**0.5)
    assert metrics(x, rate=0.03).vol == metrics(x).vol


def test_metrics_wipe_out():
    m = metrics([0.1, -1.0, 0.2])
    assert (m.total_return, m.annual_return, m.max_drawdown) == (-1, -1, -1)


@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=60))
def test_drawdowns_are_bounded(returns):
    d = drawdowns(returns)
    assert (d <= 0).all() and (d >= -1).all()
    value = 1.0
    peak = 1.0
    for r, got in zip(returns, d):  # naive
        value *= 1 + r
        peak = max(peak, value)
        assert got == pytest.approx(value / peak - 1, abs=1e-12)
    assert longest_drawdown(returns) <= len(returns)


def test_bsm_broadcasts_and_keeps_shape():
    price, delta, vega = bsm(np.array([[90.0], [110.0]]), [95, 100, 105], 0.5, 0, 0, 0.2, "C")
    assert price.shape == delta.shape == vega.shape == (2, 3)
    assert price[1, 0] == bsm_price(110, 95, 0.5, 0, 0, 0.2, Right.CALL)


def test_bsm_empty_in_empty_out():
    assert bsm_price([], 100, 1, 0, 0, 0.2, "P").shape == (0,)


@pytest.mark.parametrize("change, words", [({"right": "X"}, "neither call nor put"), ({"right": 0}, "neither call nor put"), ({"spot": -1}, "spot is -1"), ({"vol": -0.2}, "vol is -0.2"), ({"tau": -1}, "precedes")])
def test_bsm_refuses(change, words):
    inputs = dict(spot=100, strike=100, tau=1, rate=0, div_yield=0, vol=0.2, right="C") | change
    with pytest.raises(InputError, match=words):
        bsm_price(**inputs)


def test_delta_is_the_slope_of_price():
    h = 1e-4
    for right in "CP":
        slope = (bsm_price(100 + h, 105, 0.4, 0.02, 0.01, 0.3, right) - bsm_price(100 - h, 105, 0.4, 0.02, 0.01, 0.3, right)) / (2 * h)
        assert bsm_delta(100, 105, 0.4, 0.02, 0.01, 0.3, right) == pytest.approx(slope, abs=1e-7)


def test_implied_vol_of_a_quote_outside_its_bounds_is_flagged():
    vol, flag = implied_vol([1.0, 30.0], 100, 80, 0.1, 0, 0, ["C", "C"])
    assert np.isnan(vol[0]) and flag[0] == 1 and flag[1] == 0
