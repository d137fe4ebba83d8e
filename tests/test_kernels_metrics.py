"""Rolling measures against the plain function window by window; the drawdown kernel against NumPy."""
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.arrays import UnitWarning
from otsport.analytics.metrics import ROLLING, ShortHistory, drawdowns, longest_drawdown, metrics, rolling_metrics
from otsport.analytics.risk import expected_shortfall, historical_var
from otsport.core.errors import DataError, InputError
from otsport.kernels import metrics as kernel

pytestmark = pytest.mark.filterwarnings("ignore::otsport.analytics.metrics.ShortHistory")

GOLDEN = {v["kind"]: v for v in json.loads((Path(__file__).parent / "golden" / "book.json").read_text())["vectors"] if v["kind"].startswith("metric")}


def naive(x, window, rate=0.0):
    return np.array([[getattr(metrics(x[i : i + window], rate=rate), name) for i in range(len(x) - window + 1)] for name in ROLLING])


def agree(x, window, rate=0.0, rel=1e-11):
    got, expected = rolling_metrics(x, window, rate=rate).values[0], naive(x, window, rate)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_allclose(got, expected, rtol=rel, atol=1e-12)


@pytest.mark.parametrize("window", [2, 3, 20, 21, 63, 252, 400])
def test_rolling_equals_naive(window):
    agree(np.random.default_rng(window).standard_t(4, 400) * 0.01 + 0.0004, window, 0.03)


@pytest.mark.parametrize("window", [2, 5, 21, 100])
def test_rolling_equals_naive_with_ties(window):
    agree(np.round(np.random.default_rng(window).standard_t(4, 300) * 0.01, 2), window)


@pytest.mark.parametrize("x", [np.linspace(-0.05, 0.05, 120), np.linspace(0.05, -0.05, 120), np.zeros(60), np.full(60, 0.001), np.tile([0.01, -0.01], 60)],
                         ids=["rising", "falling", "zero", "constant", "alternating"])
def test_rolling_special_series(x):
    agree(x, 21)


def test_rolling_constant_window_inside_a_moving_series():
    x = np.concatenate([np.random.default_rng(0).normal(0, 0.01, 50), np.full(40, 0.0003), np.random.default_rng(1).normal(0, 0.01, 50)])
    agree(x, 20)
    assert np.isnan(rolling_metrics(x, 20).frame("sharpe").to_numpy()).sum() == 21


GROWN = {"exact": 1.001 ** np.arange(300), "from 100": 100 * 1.001 ** np.arange(300), "compounded": 7 * np.cumprod(np.full(300, 1.0003)), "logs": np.exp(0.0004 * np.arange(300) + 4.6),
         "shrinking": 50 * 0.999 ** np.arange(300)}


@pytest.mark.parametrize("prices", GROWN.values(), ids=GROWN)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_constant_growth_of_rounded_prices_has_no_sharpe_ratio(prices, dtype):
    prices = prices.astype(dtype)
    x = (prices[1:] / prices[:-1] - 1).astype(dtype)
    found, rolled = metrics(x), rolling_metrics(x, 252)
    for name in ("sharpe", "skewness", "kurtosis"):
        assert np.isnan(getattr(found, name)) and np.isnan(rolled.frame(name)).all(axis=None), name
    assert found.vol == 0 and (rolled.frame("vol") == 0).all(axis=None) and "all returns are equal: no ratio to risk" in found.note
    assert np.isnan(found.calmar) or prices[-1] < prices[0]


def test_small_but_real_variation_has_a_sharpe_ratio():  # negative control: a money market fund
    x = 2e-4 + 1e-7 * np.random.default_rng(0).normal(size=300)
    assert metrics(x).sharpe == pytest.approx(x.mean() / x.std(ddof=1) * 252**0.5, rel=1e-9)


@pytest.mark.parametrize("loss, rate", [(-0.003, 0.0), (-0.01, 0.0), (0.0001, 0.05), (0.0, 0.01)])
def test_sortino_of_a_constant_loss_is_minus_the_root_of_the_year(loss, rate):  # mean and downside deviation are the same number
    x = np.full(260, loss)
    assert metrics(x, rate).sortino == pytest.approx(-(252**0.5), rel=1e-9)
    np.testing.assert_allclose(rolling_metrics(x, 252, rate).frame("sortino"), -(252**0.5), rtol=1e-9)


def test_sortino_without_a_shortfall_is_nan():
    for x, rate in ((np.full(260, 0.003), 0.0), (np.zeros(260), 0.0), (np.full(260, 1.05 ** (1 / 252) - 1), 0.05)):  # the last one earns the rate, but for rounding
        assert np.isnan(metrics(x, rate).sortino) and np.isnan(rolling_metrics(x, 252, rate).frame("sortino")).all(axis=None)


def test_annual_figures_of_less_than_a_year_come_with_a_warning():
    days = np.r_[0.0875, np.zeros(12)]  # +8.75 % in 13 sessions
    with pytest.warns(ShortHistory, match="13 returns are less than a year of 252: annual figures are scaled up, not earned") as caught:
        found = metrics(days)
    assert caught[0].filename == __file__ and "13 returns are less than a year of 252" in found.note and "scaled up" in repr(found)
    with pytest.warns(ShortHistory, match="21 returns are less than a year of 252"):
        assert "scaled up" in repr(rolling_metrics(np.linspace(-0.01, 0.01, 30), 21))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics(np.tile([0.01, -0.01], 126)).note == metrics(np.tile([0.01, -0.01], 125)).note == ""  # a calendar year has 250 to 252
        metrics(np.tile([0.01, -0.01], 6), periods=12), rolling_metrics(np.tile([0.01, -0.01], 130), 252)


@pytest.mark.parametrize("n", [2, 10, 19])
def test_tail_of_few_returns_is_refused_by_one_rule(n):
    x = np.linspace(-0.05, 0.05, n)
    found = metrics(x)
    assert np.isnan(found.var_95) and np.isnan(found.cvar_95) and found.tail_sessions == 0 and "no 95 % loss: it takes 20 returns" in found.note
    assert np.isnan(rolling_metrics(x, n).frame("cvar_95")).all(axis=None)
    with pytest.raises(DataError, match="at least 20 are needed"):
        expected_shortfall(x, 0.95)


@pytest.mark.parametrize("n, count", [(20, 1), (21, 2), (41, 3), (61, 4), (141, 8), (250, 13)])
def test_tail_of_enough_returns_is_that_of_the_risk_measures_and_says_of_how_many(n, count):
    x = np.random.default_rng(n).permutation(np.linspace(-0.05, 0.05, n))
    found = metrics(x)
    assert (found.var_95, found.cvar_95, found.tail_sessions) == (historical_var(x), expected_shortfall(x), count)
    assert found.cvar_95 == pytest.approx(-np.sort(x)[:count].mean(), rel=1e-12)
    assert rolling_metrics(x, n).frame("cvar_95").iloc[0, 0] == pytest.approx(found.cvar_95, rel=1e-12)


def test_rolling_total_loss():
    x = np.random.default_rng(2).normal(0, 0.01, 90)
    x[40] = -1.0
    agree(x, 30)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_rolling_hole_is_nan_in_its_windows_only(hole):
    x = np.random.default_rng(3).normal(0, 0.01, 200)
    holed = x.copy()
    holed[[50, 120]] = hole
    got, whole = rolling_metrics(holed, 21).values[0], rolling_metrics(x, 21).values[0]
    inside = np.array([np.any((np.array([50, 120]) >= t) & (np.array([50, 120]) < t + 21)) for t in range(180)])
    assert np.isnan(got[:, inside]).all()
    np.testing.assert_array_equal(got[:, ~inside], whole[:, ~inside])


def test_rolling_does_not_drift():
    x = np.random.default_rng(4).normal(0, 0.01, 20_000)
    x[100] = 10.0  # the largest return that is taken: a running sum would carry its rounding to the end
    end = rolling_metrics(x, 252).values[0, :, -1]
    np.testing.assert_allclose(end, naive(x[-252:], 252)[:, 0], rtol=1e-12)


@given(st.lists(st.floats(-0.5, 0.5), min_size=8, max_size=60), st.integers(2, 8))
@settings(max_examples=60, deadline=None)
def test_rolling_equals_naive_for_any_series(x, window):
    agree(np.round(x, 6), window, rel=1e-7)  # skewness of nearly equal returns amplifies rounding


def test_rolling_published_value():
    for kind, name in (("metric_sharpe", "sharpe"), ("metric_skew", "skewness"), ("metric_kurtosis", "kurtosis")):
        vector = GOLDEN[kind]
        got = rolling_metrics(vector["inputs"]["returns"], len(vector["inputs"]["returns"])).frame(name).iloc[0, 0]
        assert got == pytest.approx(vector["expected"], abs=vector["tol"])


def test_rolling_keeps_labels():
    table = pd.DataFrame(np.random.default_rng(5).normal(0, 0.01, (30, 2)), index=pd.bdate_range("2024-01-01", periods=30), columns=["a", "b"])
    frame = rolling_metrics(table, 10).frame("vol")
    assert list(frame.columns) == ["a", "b"] and frame.index[-1] == table.index[-1] and len(frame) == 21
    np.testing.assert_allclose(frame, table.rolling(10).std().iloc[9:] * 252**0.5)


@pytest.mark.parametrize("window", [0, 1, 31])
def test_rolling_refuses_window(window):
    with pytest.raises(InputError, match=f"window is {window}"):
        rolling_metrics(np.zeros(30), window)


def test_rolling_refuses_rate():
    with pytest.raises(InputError, match="rate is -1"):
        rolling_metrics(np.zeros(30), 5, rate=-1)


@given(st.lists(st.floats(-0.5, 0.5), min_size=0, max_size=60))
@settings(max_examples=60, deadline=None)
def test_drawdown_kernel_equals_numpy(returns):
    out = np.empty(len(returns))
    longest = kernel.drawdowns(np.array(returns, dtype=float), out)
    np.testing.assert_allclose(out, drawdowns(returns), atol=1e-13)
    if not np.any((drawdowns(returns) < 0) != (out < 0)):
        assert longest == longest_drawdown(returns)


def test_rolling_compiled_equals_interpreted():
    x = np.random.default_rng(6).normal(0, 0.01, 40)
    fast, slow = np.empty((13, 31)), np.empty((13, 31))
    kernel.rolling(x, 10, 0.0, 252.0, 0.1, 1e-12, fast)
    kernel.rolling.py_func(x, 10, 0.0, 252.0, 0.1, 1e-12, slow)
    np.testing.assert_allclose(fast, slow, rtol=1e-13)


@pytest.mark.parametrize("x", [[], [0.1], [-1.0, 0.5], [0.0] * 4, [0.1, np.nan, 0.2], [np.inf, -0.1]])
def test_drawdown_kernel_at_its_ends(x):
    x, out = np.array(x, dtype=float), np.empty(len(x))
    longest = kernel.drawdowns(x, out)
    with np.errstate(invalid="ignore"):
        value = np.cumprod(1 + x)
        expected = value / np.maximum.accumulate(np.maximum(value, 1.0)) - 1 if len(x) else value
    np.testing.assert_array_equal(np.isnan(out), np.isnan(expected))
    np.testing.assert_allclose(out, expected, rtol=1e-15)
    assert 0 <= longest <= len(x)


def test_percent_is_warned_of_once():
    with pytest.warns(UnitWarning) as caught:
        metrics(np.tile([0.5, -0.3], 150))
    assert [w.category for w in caught] == [UnitWarning]
