"""Factor regressions equal to statsmodels' digits on sixty-eight years of real months; timing models to the digits of R; sums that close."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.factors import factor_regression
from otsport.analytics.market_timing import MODELS, market_timing
from otsport.analytics.sharpe_test import autocorrelations, deflated_sharpe, expected_max_sharpe, lo_scale, newey_west_lags, sharpe_probability, sharpe_test, track_record_length
from otsport.core.arrays import UnitWarning
from otsport.core.errors import DataError, InputError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "performance.json").read_text())
FACTORS = ["MktRF", "SMB", "HML", "Mom"]


@pytest.fixture(scope="module")
def french(shared_data):
    return pd.read_parquet(shared_data / "french_portfolios_monthly.parquet").set_index("dates")


def test_industries_equal_statsmodels_with_hac_errors(french):
    industries = list(GOLDEN["statsmodels"])
    fit = factor_regression(french[industries], french[FACTORS], rate=french["RF"], periods=12)
    assert fit.lags == newey_west_lags(819) == 6 and len(industries) == 12
    for name, printed in GOLDEN["statsmodels"].items():
        np.testing.assert_allclose(fit.coefficients.loc[name], printed["params"], rtol=1e-10)
        np.testing.assert_allclose(fit.errors.loc[name], printed["bse"], rtol=1e-11)
        np.testing.assert_allclose(fit.p.loc[name], printed["p"], atol=1e-12)
        assert fit.r_squared[name] == pytest.approx(printed["r2"], rel=1e-12)
    white = factor_regression(french[industries], french[FACTORS], rate=french["RF"], periods=12, lags=0)
    assert (white.errors.loc["Utils"] != fit.errors.loc["Utils"]).all()  # negative control: the lags matter


def test_industries_beside_an_installed_statsmodels(french):
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed: make bench does")
    found = factor_regression(french["Enrgy"], french[FACTORS], rate=french["RF"], periods=12, lags=3)
    theirs = sm.OLS(french["Enrgy"] - french["RF"], sm.add_constant(french[FACTORS])).fit(cov_type="HAC", cov_kwds={"maxlags": 3}, use_t=True)
    np.testing.assert_allclose(found.errors.iloc[0], theirs.bse, rtol=1e-11)
    assert found.adjusted_r_squared.iloc[0] == pytest.approx(theirs.rsquared_adj, rel=1e-12)


def test_contributions_of_industries_close(french):
    industries = list(GOLDEN["statsmodels"])
    fit = factor_regression(french[industries], french[FACTORS], rate=french["RF"], periods=12)
    gap = fit.contributions().sum(axis=1) - 12 * french[industries].sub(french["RF"], axis=0).mean()
    assert gap.abs().max() < 1e-14


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(8, 60), st.floats(0, 0.1))
@settings(max_examples=30, deadline=None)
def test_contributions_close_and_residuals_stand_upright(seed, k, n, rate):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0.002, 0.03, (n, k)), rng.normal(0.003, 0.04, (n, 3))
    fit = factor_regression(y, x, rate, 12)
    np.testing.assert_allclose(fit.contributions().sum(axis=1), 12 * (y.mean(axis=0) - ((1 + rate) ** (1 / 12) - 1)), rtol=1e-9, atol=1e-13)
    assert np.abs(x.T @ fit.residuals.to_numpy()).max() < 1e-12 and np.abs(fit.residuals.sum()).max() < 1e-12


def test_one_series_is_shown_with_its_tests(french):
    fit = factor_regression(french["Hlth"], french[FACTORS], rate=french["RF"], periods=12)
    assert list(fit.frame().columns) == ["coefficient", "error", "t", "p", "a year"] and repr(fit).startswith("Hlth: R² 0.") and "Newey-West errors over 6 lags" in repr(fit) and "<table" in fit._repr_html_()
    assert repr(factor_regression(french[["Hlth", "Utils"]], french[FACTORS], rate=french["RF"], periods=12)).startswith("2 series on MktRF, SMB, HML, Mom")


MONTHS = pd.date_range("2010-01-31", periods=40, freq="ME")
R = pd.Series(np.random.default_rng(5).normal(0.01, 0.04, 40), MONTHS, name="fund")
F = pd.DataFrame(np.random.default_rng(6).normal(0.005, 0.03, (40, 2)), MONTHS, ["market", "size"])
REFUSED = {
    "factors in percent": (lambda: factor_regression(R, 100 * F, periods=12), DataError, "below -1: none can lose more than all; give simple returns as decimals"),
    "returns in percent": (lambda: factor_regression(100 * R, F, periods=12), DataError, "below -1"),
    "rate in percent": (lambda: factor_regression(R, F, pd.Series(0.3, MONTHS), 12), InputError, "percent beside decimals is refused"),
    "a month missing": (lambda: factor_regression(R.drop(MONTHS[3]), F, periods=12), InputError, "2010-04-30 is in factors but not in returns"),
    "a month extra": (lambda: factor_regression(R, F.drop(MONTHS[3]), periods=12), InputError, "2010-04-30 is in returns but not in factors"),
    "too few": (lambda: factor_regression(R.iloc[:3], F.iloc[:3], periods=12), DataError, "3 returns for 3 coefficients \\(alpha, market, size\\): give more returns, or fewer factors"),
    "a factor twice": (lambda: factor_regression(R, F.assign(again=0.5 * F["size"]), periods=12), DataError, "factor again is a sum of the constant and the others"),
    "a gap": (lambda: factor_regression(R, F.mask(F == F.iloc[2, 1]), periods=12), DataError, "return of size in 2010-03-31 is nan"),
    "lengths": (lambda: factor_regression(R.to_numpy(), F.to_numpy()[1:], periods=12), InputError, "there are 40 returns and 39 of the factors"),
    "another model": (lambda: market_timing(R, F["market"], model="jensen"), InputError, "use treynor_mazuy or henriksson_merton"),
    "no series": (lambda: market_timing(R, F), InputError, "give one return for each"),
    "test of too few": (lambda: sharpe_test(R.iloc[:3]), DataError, "at least 4 returns that vary"),
    "test of many": (lambda: sharpe_test(F), DataError, "a test takes one series"),
    "ratio of a year": (lambda: sharpe_probability(9.0, 100, 0, 1.0, 0.0 - 2), DataError, "no distribution has these moments"),
    "trials": (lambda: expected_max_sharpe(0, 1.0), InputError, "trials is 0"),
    "lags": (lambda: lo_scale([-0.9] * 11, 12), DataError, "give fewer lags"),
}


@pytest.mark.filterwarnings("ignore::otsport.analytics.metrics.ShortHistory")
@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_named(what):
    call, error, words = REFUSED[what]
    with pytest.raises(error, match=words):
        call()


def test_a_rate_that_is_probably_percent_is_warned_of():
    with pytest.warns(UnitWarning, match="rate is 0.36"):
        factor_regression(R, F, pd.Series(0.03, MONTHS), 12)


# ---- timing


@pytest.fixture(scope="module")
def managers():
    return pd.DataFrame(GOLDEN["managers"], pd.date_range("1996-01-31", periods=132, freq="ME"))


def test_treynor_and_mazuy_to_the_digits_of_r(managers):
    """PerformanceAnalytics prints 0.0048833318, 0.5970167 and -0.2801650 for HAM1 on SP500 TR, rows 80 to 120."""
    part = managers.iloc[79:120]
    found = market_timing(part["HAM1"], part["SP500 TR"], part["US 3m TR"], 12).coefficients.iloc[0]
    assert [f"{found['alpha']:.10f}", f"{found['beta']:.7f}", f"{found['gamma']:.7f}"] == ["0.0048833318", "0.5970167", "-0.2801650"]


def test_henriksson_and_merton_to_the_digits_of_r_and_with_the_sign_of_the_paper(managers):
    """It prints 0.008275839, 0.3211407 and 0.1344417 with min(0, x); with max(0, -x) gamma has the other sign."""
    found = market_timing(managers["HAM1"], managers["SP500 TR"], (1 + 0.035 / 12) ** 12 - 1, 12, "henriksson_merton").coefficients.iloc[0]
    assert [f"{found['alpha']:.9f}", f"{found['beta']:.7f}", f"{found['gamma']:.7f}"] == ["0.008275839", "0.3211407", "-0.1344417"]


@given(st.integers(0, 1000), st.floats(-2, 2), st.sampled_from(sorted(MODELS)))
@settings(max_examples=20, deadline=None)
def test_timing_that_was_put_in_is_found_and_closes(seed, gamma, model):
    x = np.random.default_rng(seed).normal(0.005, 0.04, 60)
    y = 0.001 + 0.9 * x + gamma * MODELS[model](x)
    found = market_timing(y, x, periods=12, model=model)
    np.testing.assert_allclose(found.coefficients.iloc[0], [0.001, 0.9, gamma], rtol=1e-7, atol=1e-9)
    assert found.contributions().sum(axis=1).iloc[0] == pytest.approx(12 * y.mean(), rel=1e-9)


def test_no_verdict_below_36_returns():
    x = np.random.default_rng(1).normal(0, 0.04, 36)
    y = np.maximum(x, 0.0)
    assert market_timing(y, x, model="henriksson_merton").verdict().iloc[0] == "timed well" and market_timing(-y, -x + 0.001, model="henriksson_merton").verdict().iloc[0] != ""
    assert market_timing(y[:35], x[:35], model="henriksson_merton").verdict().iloc[0] == "no verdict: 35 returns, it takes 36"
    assert market_timing(x - 2 * x * x, x).verdict().iloc[0] == "timed badly"
    noise = np.random.default_rng(2).normal(0, 0.04, 36)
    assert market_timing(noise, x).verdict().iloc[0] == "no timing that could be told from chance"


# ---- is it luck


@given(st.floats(0.01, 0.3), st.integers(30, 3000), st.floats(-1, 1), st.floats(0, 8))
@settings(max_examples=60, deadline=None)
def test_length_and_probability_are_each_others_inverse(ratio, n, skew, tails):
    length = track_record_length(ratio, 0.0, skew, tails)
    assert sharpe_probability(ratio, int(np.ceil(length)) + 1, 0.0, skew, tails) >= 0.95 - 1e-9 or length < 2
    assert (sharpe_probability(ratio, n, 0.0, skew, tails) >= 0.95) == (n >= length - 1e-6)


@given(st.integers(2, 1000), st.integers(2, 1000))
@settings(max_examples=30, deadline=None)
def test_more_trials_deflate_more(a, b):
    low, high = sorted((a, b))
    assert expected_max_sharpe(low, 0.5) <= expected_max_sharpe(high, 0.5) and deflated_sharpe(0.1, 500, high, 0.002) <= deflated_sharpe(0.1, 500, low, 0.002)


def test_luck_of_the_best_of_many_is_what_simulation_gives():
    best = np.random.default_rng(0).normal(size=(20_000, 50)).max(axis=1).mean()
    assert expected_max_sharpe(50, 1.0) == pytest.approx(best, abs=0.04)  # an approximation for many trials


def test_error_of_dependent_returns_covers_what_simulation_gives():
    """Moving averages of noise: the spread of their ratios over many samples is what the Newey-West error says, and twice what independence would."""
    rng, n = np.random.default_rng(7), 1000
    samples = [np.convolve(rng.normal(0.05, 1, n + 4), np.ones(5) / 5, "valid") * 0.01 for _ in range(300)]
    ratios = [s.mean() / s.std() for s in samples]
    found = sharpe_test(samples[0], periods=1, lags=12)
    assert np.std(ratios) == pytest.approx(found.error_dependent, rel=0.2) and found.error < 0.65 * found.error_dependent
    assert found.correlated == found.sharpe  # one period a year has nothing to scale


def test_smoothed_prices_are_scaled_down(managers):
    """Lo's factor from R's printed autocorrelations of HAM1: 0.1890, -0.0847, -0.0602, -0.1842, -0.0035, 0.0492."""
    rho = autocorrelations(managers["HAM1"], 6)
    assert [f"{x:.4f}" for x in rho] == ["0.1890", "-0.0847", "-0.0602", "-0.1842", "-0.0035", "0.0492"]
    found = sharpe_test(managers["HAM1"], 0.0, 12, lags=1)
    assert found.correlated == pytest.approx(found.sharpe / 12**0.5 * 12 / (12 + 2 * 11 * rho[0]) ** 0.5) and found.correlated < found.sharpe
