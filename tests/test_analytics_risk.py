"""Historical value at risk, expected shortfall, book scenarios and their parts."""
import json
from datetime import date, datetime, timezone
from decimal import Decimal
from fractions import Fraction as F
from math import ceil, floor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from otsport.analytics.options import UnitWarning, bsm_price
from otsport.analytics.risk import QUANTILES, component_es, component_var, expected_shortfall, historical_var, scenario_pnl
from otsport.core.calendars import years_to_expiry
from otsport.core.errors import DataError, InputError
from otsport.core.contracts import Contract, Right, option, stock

GOLDEN = {v["id"]: v for v in json.loads((Path(__file__).parent / "golden" / "kernels_bsm_var.json").read_text())["vectors"]}
NOW = datetime(2022, 12, 27, 21, tzinfo=timezone.utc)


def test_historical_var_golden_linear():
    vector = GOLDEN["var90_linear"]
    assert historical_var(vector["inputs"]["pnl"], 0.9) == pytest.approx(vector["expected"], abs=vector["tol"])


@pytest.mark.parametrize("other", ["var90_higher", "var90_midpoint", "var90_hazen", "var90_median_unbiased"])
def test_historical_var_other_quantiles_differ(other):  # negative control: the vectors tell the conventions apart
    vector = GOLDEN[other]
    assert abs(historical_var(vector["inputs"]["pnl"], 0.9) - vector["expected"]) > 0.5


def test_expected_shortfall_golden_tail_mean():
    vector = GOLDEN["es90_tail_mean_k"]
    assert expected_shortfall(vector["inputs"]["pnl"], 0.9) == pytest.approx(vector["expected"], abs=vector["tol"])


@given(arrays(np.float64, st.integers(20, 60), elements=st.floats(-1e6, 1e6)))
def test_expected_shortfall_at_least_var(pnl):
    assert expected_shortfall(pnl, 0.95) >= historical_var(pnl, 0.95) - 1e-6
    assert historical_var(pnl * 2, 0.95) == pytest.approx(2 * historical_var(pnl, 0.95), rel=1e-12, abs=1e-9)
    assert historical_var(pnl + 5, 0.95) == pytest.approx(historical_var(pnl, 0.95) - 5, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("pnl, level, error", [([1.0] * 19, 0.95, DataError), ([1.0] * 99, 0.99, DataError), ([np.inf] * 40, 0.95, DataError), ([1.0] * 40, 95, InputError)])
def test_historical_var_refuses(pnl, level, error):
    with pytest.raises(error):
        historical_var(pnl, level)


def book(quantities, returns, vols):
    return scenario_pnl(quantities, {"KO": 63.5, "PEP": 180.0}, returns, vols, NOW)


def test_scenario_pnl_sums_and_full_revaluation():
    rng = np.random.default_rng(0)
    returns = pd.DataFrame(rng.normal(0, 0.01, (300, 2)), columns=["KO", "PEP"])
    call = option("KO", date(2023, 1, 20), "65", "C")
    pnl = book({stock("KO"): 250, stock("PEP"): 40, call: -2}, returns, {call.key: 0.2})
    tau = years_to_expiry(NOW, call.expiry)
    for row in (0, 150, 299):  # one scenario at a time, by hand
        move = returns.iloc[row]
        expected = 250 * 63.5 * move["KO"] + 40 * 180 * move["PEP"]
        expected -= 200 * (bsm_price(63.5 * (1 + move["KO"]), 65, tau, 0, 0, 0.2, "C") - bsm_price(63.5, 65, tau, 0, 0, 0.2, "C"))
        assert pnl.iloc[row].sum() == pytest.approx(expected, abs=1e-9)


def test_scenario_pnl_expired_option_is_refused_by_name():
    call = option("KO", date(2022, 12, 16), "60", "C")
    with pytest.raises(InputError, match="KO 20221216 C 60 expired on 2022-12-16, before 2022-12-27: leave it out, or value the book as of an earlier day"):
        book({call: 1}, pd.DataFrame({"KO": [0.1, -0.1]}), {call.key: 0.2})


def test_scenario_pnl_option_of_the_day_is_intrinsic_at_the_close():
    call = option("KO", date(2022, 12, 27), "60", "C")
    pnl = book({call: 1}, pd.DataFrame({"KO": [0.1, -0.1]}), {call.key: 0.2})
    assert pnl[call.key].tolist() == pytest.approx([100 * 6.35, -100 * 3.5])


def test_scenario_pnl_adjusted_option_counts_its_deliverable():  # 150 shares after a 3-for-2 split
    usual, adjusted = (Contract("KO", "OPT", date(2022, 12, 27), Decimal(60), Right.CALL, units) for units in (100, 150))
    pnl = [book({c: 2}, pd.DataFrame({"KO": [0.1]}), {c.key: 0.2}).iloc[0, 0] for c in (usual, adjusted)]
    assert pnl == pytest.approx([2 * 100 * 6.35, 2 * 150 * 6.35])  # intrinsic value rises with the spot


TWENTY_ONE = np.r_[-3, -2, -0.1, np.zeros(18)]


@pytest.mark.parametrize("convention", ["linear", "lower", "higher", "midpoint", "nearest", "inverted_cdf", "averaged_inverted_cdf", "empyrical"])
def test_shortfall_keeps_the_observation_that_the_quantile_stands_on(convention):  # 20 x 10 % = 2 steps from the worst, 1 - 0.9 rounds down
    assert historical_var(TWENTY_ONE, 0.9, convention) == pytest.approx(0.1, abs=1e-15)
    assert expected_shortfall(TWENTY_ONE, 0.9, convention) == pytest.approx(5.1 / 3, abs=1e-15)


@pytest.mark.parametrize("convention", QUANTILES)
@pytest.mark.parametrize("n", [40, 41, 100, 101, 140, 201, 250, 501, 1001])
def test_quantile_at_whole_places_is_that_of_exact_arithmetic(convention, n):
    alpha = {"linear": (1, 1), "interpolated_inverted_cdf": (0, 1), "hazen": (F(1, 2), F(1, 2)), "weibull": (0, 0), "median_unbiased": (F(1, 3), F(1, 3)), "normal_unbiased": (F(3, 8), F(3, 8))}
    x = np.random.default_rng(n).permutation(np.arange(n, dtype=float) ** 2)
    ordered = np.sort(x)
    for level in ("0.9", "0.95", "0.975", "0.8", "0.7", "0.55"):
        p = 1 - F(level)  # Hyndman and Fan (1996) in fractions, ranks from 1
        if convention in alpha:
            a, b = alpha[convention]
            place = n * p + a + p * (1 - a - b)
        else:
            h, count = (n - 1) * p + 1, n * p
            place = {"lower": F(floor(h)), "higher": F(ceil(h)), "midpoint": F(floor(h) + ceil(h), 2), "nearest": F(1 + round(h - 1)), "inverted_cdf": F(ceil(count)), "closest_observation": F(round(count)),
                     "averaged_inverted_cdf": count + F(1, 2) if count.denominator == 1 else F(ceil(count))}[convention]
        low, share = floor(place), float(place - floor(place))
        expected = ordered[low - 1] + share * (ordered[min(low, n - 1)] - ordered[low - 1])
        assert historical_var(x, float(level), convention) == pytest.approx(-expected, abs=1e-9)
        at_or_below = ordered[:low]
        assert expected_shortfall(x, float(level), convention) == pytest.approx(-at_or_below.mean(), abs=1e-9)


@pytest.mark.parametrize("convention", QUANTILES)
def test_quantile_between_places_is_numpys(convention):
    rng = np.random.default_rng(8)
    for n in (20, 33, 250):
        x = rng.normal(size=n).round(2)
        for level in rng.uniform(0.5, 0.95, 20):
            assert historical_var(x, level, convention) == pytest.approx(-np.quantile(x, 1 - level, method=convention), abs=1e-12)


def test_parts_of_a_book_without_risk_are_zero_and_a_hedge_keeps_its_parts():
    gains = pd.DataFrame({"a": np.r_[np.zeros(95), np.full(5, 10_000.0)]})
    assert component_var(gains).tolist() == [0.0] and component_es(gains).tolist() == [0.0]
    moves = np.random.default_rng(9).normal(0, 1000, 200)
    hedged = component_var(pd.DataFrame({"long": moves, "short": -moves}))
    assert hedged.sum() == pytest.approx(0.0, abs=1e-9)


def test_component_var_sums_to_total():
    rng = np.random.default_rng(1)
    pnl = pd.DataFrame(rng.standard_t(4, (504, 6)) * [1, 2, 3, -1, 5, 0.1], columns=list("abcdef"))
    total = pnl.sum(axis=1)
    for level in (0.95, 0.99):
        assert component_var(pnl, level).sum() == pytest.approx(historical_var(total, level), rel=1e-10)
        assert component_es(pnl, level).sum() == pytest.approx(expected_shortfall(total, level), rel=1e-10)


def test_component_var_empty_risk_is_zero():
    pnl = pd.DataFrame(np.zeros((100, 2)), columns=["a", "b"])
    assert component_var(pnl).tolist() == [0, 0]


def test_component_var_order_of_columns_is_immaterial():
    rng = np.random.default_rng(2)
    pnl = pd.DataFrame(rng.normal(size=(300, 3)), columns=list("abc"))
    pd.testing.assert_series_equal(component_var(pnl)[["c", "a", "b"]], component_var(pnl[["c", "a", "b"]]))


def test_scenario_pnl_vol_shifts_and_days():
    rng = np.random.default_rng(3)
    returns = pd.DataFrame(rng.normal(0, 0.01, (40, 2)), columns=["KO", "PEP"])
    shifts = pd.DataFrame(rng.normal(0, 0.01, (40, 2)), columns=["PEP", "KO"])  # columns and sessions are found by name
    put = option("PEP", date(2023, 2, 17), "175", "P")
    pnl = scenario_pnl({put: 3, stock("KO"): 1}, {"PEP": 180.0, "KO": 63.5}, returns, {put.key: 0.25}, NOW, 0.04, shifts[::-1], 5)
    tau = years_to_expiry(NOW, put.expiry)
    before = bsm_price(180, 175, tau, 0.04, 0, 0.25, "P")
    after = bsm_price(180 * (1 + returns["PEP"]), 175, tau - 5 / 365, 0.04, 0, 0.25 + shifts["PEP"], "P")
    assert pnl[put.key].to_numpy() == pytest.approx(300 * (after - before), abs=1e-9)


@pytest.mark.parametrize("moves, shifts, days, error, words", [
    ([-1.5], None, 0, DataError, "-1.5, below -1"), ([0.0], [-0.3], 0, DataError, "shifts it by -0.3"), ([0.0], None, -1, InputError, "days is -1"),
])
def test_scenario_pnl_refuses(moves, shifts, days, error, words):
    call = option("KO", date(2023, 1, 20), "65", "C")
    shifts = None if shifts is None else pd.DataFrame({"KO": shifts})
    with pytest.raises(error, match=words):
        scenario_pnl({call: 1}, {"KO": 63.5}, pd.DataFrame({"KO": moves}), {call.key: 0.2}, NOW, vol_shifts=shifts, days=days)


def test_scenario_pnl_vol_shifts_of_other_sessions_are_refused():
    call = option("KO", date(2023, 1, 20), "65", "C")
    with pytest.raises(InputError, match="7 is in past_returns but not in vol_shifts"):
        scenario_pnl({call: 1}, {"KO": 63.5}, pd.DataFrame({"KO": [0.1]}, index=[7]), {call.key: 0.2}, NOW, vol_shifts=pd.DataFrame({"KO": [0.0]}, index=[8]))


def test_parts_of_gains_too_far_to_count_are_zero():
    gains = pd.DataFrame({"a": np.r_[np.zeros(999), 10_000.0], "b": np.zeros(1000)})
    assert component_var(gains).tolist() == [0.0, 0.0]


def test_var_of_quantstats_is_that_of_a_normal_sample():
    x = np.random.default_rng(5).normal(0.001, 0.01, 250)
    assert historical_var(x, 0.95, "quantstats") == pytest.approx(1.6448536269514722 * x.std(ddof=1) - x.mean(), rel=1e-12)


def test_vol_may_be_shifted_down_to_nothing_and_not_below():
    call, moves = option("KO", date(2023, 1, 20), "65", "C"), pd.DataFrame({"KO": [0.0, 0.1]})
    down = lambda by: scenario_pnl({call: 1}, {"KO": 63.5}, moves, {call.key: 0.2}, NOW, vol_shifts=pd.DataFrame({"KO": [0.0, -by]}))
    assert down(0.2).iloc[1, 0] == pytest.approx(100 * (63.5 * 1.1 - 65 - bsm_price(63.5, 65, years_to_expiry(NOW, call.expiry), 0, 0, 0.2, "C")))
    with pytest.raises(DataError, match="below 0"):
        down(0.2001)


@pytest.mark.parametrize("change, words", [
    ({"spots": {}}, "no spot of KO, which is held: 3 KO"), ({"spots": {"KO": -1.0}}, "spot of KO is -1.0"), ({"spots": {"KO": np.inf}}, "spot of KO is inf"),
    ({"quantities": {stock("KO"): np.nan}}, "quantity of KO is nan"), ({"quantities": {stock("KO"): np.inf}}, "quantity of KO is inf"),
])
def test_scenario_pnl_names_the_position_that_cannot_be_valued(change, words):
    given = {"quantities": {stock("KO"): 3}, "spots": {"KO": 63.5}, "past_returns": pd.DataFrame({"KO": [0.01]}), "option_vols": {}, "as_of": NOW}
    with pytest.raises(DataError, match=words):
        scenario_pnl(**given | change)


def test_returns_and_rates_in_percent_are_warned_of():
    given = {"quantities": {stock("KO"): 3}, "spots": {"KO": 63.5}, "option_vols": {}, "as_of": NOW}
    with pytest.warns(UnitWarning, match="returns are decimals"):
        scenario_pnl(**given, past_returns=pd.DataFrame({"KO": [1.5, -0.9, 0.3]}))
    with pytest.warns(UnitWarning, match="rate is 4"):
        scenario_pnl(**given, past_returns=pd.DataFrame({"KO": [0.01]}), rate=4.0)
