"""Measures against slow and obvious forms, against what empyrical, quantstats and R print, and against themselves; what cannot be right is named."""
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics import against, conventions, ratios, relatives
from otsport.analytics.definitions import CONVENTIONS, DEFINITIONS, conventions_table
from otsport.analytics.drawdown_table import drawdown_table
from otsport.analytics.kelly import kelly
from otsport.analytics.metrics import ROLLING, ShortHistory, longest_drawdown, metrics
from otsport.analytics.months import compounded, distribution, monthly_table, trailing_returns, yearly_comparison
from otsport.analytics.performance import performance
from otsport.analytics.position_returns import position_pnl, position_returns
from otsport.analytics.ratios import TrackRecord
from otsport.analytics.rolling_against import ROLLED, rolling_against
from otsport.core.arrays import UnitWarning
from otsport.core.errors import DataError, InputError
from otsport.data.samples import sample

pytestmark = pytest.mark.filterwarnings("ignore::otsport.analytics.metrics.ShortHistory", "ignore::otsport.core.arrays.UnitWarning")
GOLDEN = json.loads((Path(__file__).parent / "golden" / "performance.json").read_text())
SERIES = st.lists(st.floats(-0.4, 0.4).map(lambda x: round(x, 4)), min_size=3, max_size=40)


DAYS = pd.bdate_range("2024-01-01", periods=30)
R = pd.DataFrame(np.random.default_rng(0).normal(0.001, 0.01, (30, 2)), DAYS, ["a", "b"])


@pytest.fixture(scope="module")
def ko():
    """Daily returns of KO and of the S&P 500, 2010 to 2019."""
    return sample("sp500_20_daily")["KO"].pct_change().loc["2010":"2019"], sample("sp500_index_daily")["SP500"].pct_change().loc["2010":"2019"]


@pytest.fixture(scope="module")
def managers():
    return pd.DataFrame(GOLDEN["managers"], pd.date_range("1996-01-31", periods=132, freq="ME"))


def naive(x, b, rate, periods):
    """Loops over one series, as the definitions say it."""
    f, n = (1 + rate) ** (1 / periods) - 1, len(x)
    e, value, peak, depths = [r - f for r in x], 1.0, 1.0, []
    for r in x:
        value *= 1 + r
        peak = max(peak, value)
        depths.append(value / peak - 1)
    wins, losses = [r for r in x if r > 0], [r for r in x if r < 0]
    annual, mean = value ** (periods / n) - 1, sum(x) / n
    stays, deepest = [], 0.0
    for d in [*depths, 0.0]:
        stays += [deepest] if d == 0 and deepest < 0 else []
        deepest = min(deepest, d) if d < 0 else 0.0
    cov = sum((r - mean) * (m - sum(b) / n) for r, m in zip(x, b))
    slope = cov / sum((m - sum(b) / n) ** 2 for m in b)
    active = [r - m for r, m in zip(x, b)]
    spread = (sum((a - sum(active) / n) ** 2 for a in active) / (n - 1)) ** 0.5
    return {
        "total_return": value - 1, "annual_return": annual, "mean_return": periods * mean, "omega": sum(max(r, 0) for r in e) / -sum(min(r, 0) for r in e), "gain_to_pain": sum(x) / -sum(losses),
        "payoff": (sum(wins) / len(wins)) / (-sum(losses) / len(losses)), "exposure": sum(r != 0 for r in x) / n, "ulcer_index": (sum(d * d for d in depths) / n) ** 0.5, "pain_index": -sum(depths) / n,
        "martin": (annual - rate) / (sum(d * d for d in depths) / n) ** 0.5, "average_drawdown": sum(stays) / len(stays), "burke": (annual - rate) / sum(d * d for d in stays) ** 0.5,
        "sterling": annual / (0.1 - min(depths)), "recovery_factor": (value - 1) / -min(depths), "downside_vol": (periods * sum(min(r, 0) ** 2 for r in e) / n) ** 0.5,
        "beta": slope, "alpha": periods * (sum(e) / n - slope * (sum(b) / n - f)), "tracking_error": spread * periods**0.5, "information_ratio": sum(active) / n * periods**0.5 / spread,
        "treynor": periods * sum(e) / n / slope, "batting_average": sum(a > 0 for a in active) / n,
    }


@given(st.integers(0, 10_000), st.integers(5, 30), st.sampled_from([(0.0, 252), (0.03, 252), (0.02, 12)]))
@settings(max_examples=40, deadline=None)
def test_measures_equal_naive_loops(seed, n, how):
    rng = np.random.default_rng(seed)
    x, b = np.round(rng.normal(0.001, 0.02, (2, n)), 4)
    x[:2], b[:2] = [0.01, -0.013], [0.012, -0.01]
    found = performance(x, b, *how).values.iloc[:, 0]
    for name, value in naive(x.tolist(), b.tolist(), *how).items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@given(SERIES)
@settings(max_examples=60, deadline=None)
def test_performance_and_metrics_are_one_definition(x):
    one, many = metrics(x), performance(np.column_stack([x, x[::-1]])).values
    for name in (*ROLLING, "drawdown_sessions"):
        assert many.at[name, 0] == pytest.approx(getattr(one, name), rel=1e-12, nan_ok=True), name


def test_the_walk_over_definitions_notices_another_number():  # negative control
    x = np.array([0.01, -0.02, 0.03, -0.01])
    assert performance(x).values.at["pain_index", "returns"] != pytest.approx(relatives.ulcer_index(TrackRecord(x[None]))[0])


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_scale_and_order(seed):
    """Ratios to risk do not change when all returns are doubled at a rate of 0; another order of days changes drawdowns alone."""
    x = np.random.default_rng(seed).normal(0.0005, 0.01, 60)
    free = ("sharpe", "sortino", "omega", "payoff", "win_rate", "skewness", "kurtosis", "tail_ratio", "profit_factor", "gain_to_pain", "cpc_index")
    one, two, other = performance(x).values, performance(2 * x).values, performance(x[::-1]).values
    for name in free:
        assert two.at[name, "returns"] == pytest.approx(one.at[name, "returns"], rel=1e-9), name
        assert other.at[name, "returns"] == pytest.approx(one.at[name, "returns"], rel=1e-9), name
    assert other.at["total_return", "returns"] == pytest.approx(one.at["total_return", "returns"])


def test_kelly_is_that_of_its_own_module():
    x = np.random.default_rng(1).normal(0.001, 0.02, 200)
    assert performance(x)["kelly"].iloc[0] == kelly(x) and np.isnan(performance(np.abs(x))["kelly"].iloc[0])


# ---- others


@pytest.mark.parametrize("convention", ["empyrical", "quantstats"])
def test_convention_reproduces_what_the_package_computes(ko, convention):
    found, printed = performance(*ko, 0.01, convention=convention).values["KO"], GOLDEN[convention]
    assert set(found.index) == set(printed)
    for name, value in printed.items():
        assert found[name] == pytest.approx(value, rel=1e-10, abs=1e-13), name
    ours = performance(*ko, 0.01).values["KO"]
    differ = {name for name in printed if DEFINITIONS[name].words(convention) != "the same"}
    assert {name for name in printed if ours[name] != pytest.approx(printed[name], rel=1e-9)} <= differ | {"exposure"} and differ  # the table says which, and no other


def test_installed_packages_still_compute_it(ko):
    ep, qs = pytest.importorskip("empyrical", reason="empyrical is not installed: make bench does"), pytest.importorskip("quantstats.stats")
    x, b = ko
    assert ep.sharpe_ratio(x) == pytest.approx(performance(x, convention="empyrical")["sharpe"].iloc[0]) and ep.conditional_value_at_risk(x) == pytest.approx(-GOLDEN["empyrical"]["cvar_95"])
    assert qs.ulcer_index(x) == pytest.approx(GOLDEN["quantstats"]["ulcer_index"]) and qs.treynor_ratio(x, b, rf=0.01) == pytest.approx(GOLDEN["quantstats"]["treynor"])


def digits(value, printed):
    """Whether a number has the digits that were printed."""
    text = str(printed)
    places = len(text.split(".")[1]) if "." in text else 0
    return f"{value:.{places}f}" == f"{printed:.{places}f}"


R_HAM1 = {  # PerformanceAnalytics on `managers`, HAM1 against SP500 TR, no rate
    "annual_return": 0.1375, "total_return": 3.126671, "vol": 0.0888, "sharpe": 1.5491, "sortino": 0.7649, "downside_vol": 0.01454078, "calmar": 0.9061697, "sterling": 0.5462542, "burke": 0.6593,
    "ulcer_index": 0.0362, "martin": 3.7992, "pain_index": 0.0157, "pain_ratio": 8.7789, "omega": 3.1907, "skewness": -0.6588, "kurtosis": 2.3616, "max_drawdown": 0.1518, "active_return": 0.04078668,
    "tracking_error": 0.1131667, "information_ratio": 0.3604125, "up_capture": 0.6346612, "down_capture": 0.2076304, "correlation": 0.6600671, "beta": 0.3906,
}
R_BACON = {"burke": 0.7447309, "pain_index": 0.0390113, "martin": 1.70772, "pain_ratio": 2.657647, "m_squared": 0.10062}


@pytest.mark.parametrize("name", R_HAM1)
def test_r_prints_the_same_digits(managers, name):
    found = performance(managers["HAM1"], managers["SP500 TR"], 0.0, 12, convention="R")
    assert digits(found[name].iloc[0], R_HAM1[name]), (found[name].iloc[0], R_HAM1[name])


def test_r_with_a_rate(managers):
    annual = lambda period: (1 + period) ** 12 - 1
    found = performance(managers["HAM1"], managers["SP500 TR"], annual(0.035 / 12), 12, convention="R")
    assert digits(found["sharpe"].iloc[0], 1.112293) and digits(found["treynor"].iloc[0], 0.2528)
    assert digits(performance(managers["HAM1"], None, annual(0.04 / 12), 12, convention="R")["kelly"].iloc[0], 5.929483)
    excess = managers.sub(managers["US 3m TR"], axis=0)
    over_cash = performance(excess["HAM1"], excess["SP500 TR"], 0.0, 12, convention="R")
    for name, printed in {"alpha": 0.0058, "beta": 0.3901, "up_beta": 0.3005, "down_beta": 0.4264, "r_squared": 0.4339, "treynor": 0.2428}.items():
        assert digits(over_cash[name].iloc[0], printed), name


@pytest.mark.parametrize("name", R_BACON)
def test_example_of_bacon(name):
    fund, index = (np.array(GOLDEN["bacon"][k]) / 100 for k in ("fund", "index"))
    assert digits(performance(fund, index, 0.0, 12, convention="R")[name].iloc[0], R_BACON[name])


def test_each_convention_has_words_or_the_same_function():
    table = conventions_table()
    assert list(table.columns) == ["heading", "unit", "otsport", *CONVENTIONS[1:]] and (table["otsport"] != "").all()
    for d in DEFINITIONS.values():
        for name, (function, words) in d.others.items():
            assert name in CONVENTIONS[1:] and (function is d.of) == (words == ""), d.name


def test_modified_tail_of_a_gain_is_no_number():
    assert np.isnan(conventions.modified_tail(0.1, 0.01, 0.0, 0.0)).all()


# ---- through time


def test_rolling_equals_each_window(ko):
    x, b = (s.to_numpy()[:120].copy() for s in ko)
    x[40:65], b[70:95] = 0.001, 0.002  # a series and a benchmark that stand still
    found = rolling_against(x, b, 20, 0.02)
    for name in ROLLED:
        alone = [getattr(against, name)(TrackRecord(x[None, i : i + 20], 0.02, benchmark=b[i : i + 20]))[0] for i in range(101)]
        np.testing.assert_allclose(found.frame(name).to_numpy()[:, 0], alone, rtol=1e-8, atol=1e-12, err_msg=name)


def test_drawdown_table_of_r(managers):
    """The five deepest of SP500 TR as R's table.Drawdowns prints them; its length counts the month of recovery."""
    table = drawdown_table(managers["SP500 TR"], 5)
    printed = [("2000-09-30", "2002-09-30", "2006-10-31", -0.4473, 74, 25, 49), ("1998-07-31", "1998-08-31", "1998-11-30", -0.1537, 5, 2, 3), ("2000-01-31", "2000-02-29", "2000-03-31", -0.0682, 3, 2, 1),
               ("1999-07-31", "1999-09-30", "1999-11-30", -0.0624, 5, 3, 2), ("1997-08-31", "1997-08-31", "1997-11-30", -0.0560, 4, 1, 3)]
    for row, (start, trough, end, depth, length, to_trough, recovery) in zip(table.itertuples(), printed):
        assert (f"{row.start:%Y-%m-%d}", f"{row.trough:%Y-%m-%d}", f"{row.end:%Y-%m-%d}") == (start, trough, end) and digits(row.depth, depth)
        assert (row.sessions + 1, row.to_trough, row.recovery) == (length, to_trough, recovery)


@given(SERIES)
@settings(max_examples=60, deadline=None)
def test_drawdown_table_adds_up(x):
    table, m = drawdown_table(x, 99), metrics(x)
    assert table["sessions"].sum() == (ratios.TrackRecord(np.array(x)[None]).depths < 0).sum() and table["sessions"].max(skipna=True) in (longest_drawdown(x), np.nan) or not len(table)
    if len(table):
        assert table["depth"].iloc[0] == pytest.approx(m.max_drawdown) and table["depth"].is_monotonic_increasing
        done = table.dropna(subset="recovery")
        assert (done["sessions"] == done["to_trough"] + done["recovery"] - 1).all()


def test_calendar_of_r(managers):
    """Months of HAM1 and years of both, to the digit that R's table.CalendarReturns prints."""
    months, years = monthly_table(managers["HAM1"]), compounded(managers["SP500 TR"], "year")
    assert [round(100 * x, 1) for x in months.loc[1998].iloc[:12]] == [0.6, 4.3, 3.6, 0.8, -2.3, 1.2, -2.1, -9.4, 2.5, 5.6, 1.3, 1.0]
    assert [round(100 * x, 1) for x in months["total"]] == [13.6, 20.4, 6.1, 16.1, 17.7, 22.4, -8.0, 23.7, 14.9, 7.8, 20.5]
    assert [round(100 * x, 1) for x in years] == [23.0, 33.4, 28.6, 21.0, -9.1, -11.9, -22.1, 28.7, 10.9, 4.9, 15.8]


def test_periods_compound_to_the_whole(ko):
    x = ko[0]
    for by in ("day", "week", "month", "quarter", "year"):
        assert (1 + compounded(x, by)).prod() == pytest.approx((1 + x).prod(), rel=1e-12), by
    assert trailing_returns(x)["10 years a year"] == pytest.approx((1 + x).prod() ** 0.1 - 1) and np.isnan(trailing_returns(x.iloc[1000:])["10 years a year"])
    assert trailing_returns(x)["year to date"] == pytest.approx(compounded(x, "year").iloc[-1])
    spread = distribution(x)
    assert spread.at["count", "year"] == 10 and spread.at["5%", "day"] == pytest.approx(-metrics(x).var_95) and list(spread) == ["day", "week", "month", "quarter", "year"]
    assert list(distribution(compounded(x, "month").set_axis(pd.date_range("2010-01-31", periods=120, freq="ME")))) == ["day", "quarter", "year"]  # weeks and months say nothing new


def test_a_year_of_the_same_return_is_not_won(ko):
    x, same = ko[0].loc["2010":"2012"], ko[0].loc["2010":"2012"].copy()
    same.loc["2011"] = 0.0
    years = yearly_comparison(x, same.rename("same"))
    assert years.loc[[2010, 2012], "won"].tolist() == [False, False] and years.loc[2011, "won"] == (years.loc[2011, "difference"] > 0) and (years.loc[[2010, 2012], "difference"] == 0).all()


def test_two_returns_are_enough_for_a_number():
    assert performance([0.1, -0.05])["total_return"].iloc[0] == pytest.approx(1.1 * 0.95 - 1)


def test_dates_with_a_time_zone_have_the_same_months(ko):
    pd.testing.assert_frame_equal(monthly_table(ko[0]), monthly_table(ko[0].tz_localize("America/New_York")))
    assert trailing_returns(ko[0].tz_localize("UTC"))["month to date"] == trailing_returns(ko[0])["month to date"]


# ---- positions


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_returns_of_held_shares_are_those_of_their_value(seed):
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2024-01-01", periods=12)
    prices = pd.DataFrame(100 * np.cumprod(1 + rng.normal(0, 0.02, (12, 3)), axis=0), days, list("abc"))
    units = pd.DataFrame(np.tile(rng.integers(1, 9, 3).astype(float), (12, 1)), days, list("abc"))
    value = (units * prices).sum(axis=1)
    np.testing.assert_allclose(position_returns(units, prices, float(value.iloc[0])), value.pct_change().iloc[1:], rtol=1e-10)
    np.testing.assert_allclose(position_returns(units, prices, value), value.pct_change().iloc[1:], rtol=1e-10)


def test_positions_are_refused_out_of_order_and_without_money():
    units = pd.DataFrame(1.0, DAYS, ["a"])
    prices = pd.DataFrame(np.arange(100.0, 130.0)[:, None], DAYS, ["a"])
    with pytest.raises(InputError, match="units: 2024-02-09 stands before 2024-02-08"):
        position_pnl(units[::-1], prices[::-1])
    with pytest.raises(DataError, match="0.00 dollars were at work before 2024-01-09"):
        position_returns(units, prices, pd.Series(100.0, DAYS).where(DAYS != "2024-01-08", 0.0))


def test_a_benchmark_that_never_rose_has_no_up_capture():
    found = performance(R["a"], pd.Series(-0.001 * np.arange(1, 31), DAYS))
    assert np.isnan([found[n].iloc[0] for n in ("up_capture", "capture_ratio", "up_beta")]).all()
    assert found["down_capture"].notna().all()


def test_rolling_keeps_labels_and_numbers_what_has_none():
    assert rolling_against(R, R["a"], 10).frame("beta").columns.tolist() == ["a", "b"] and rolling_against(R.to_numpy(), R["a"].to_numpy(), 10).frame("beta").columns.tolist() == [0, 1]
    assert rolling_against(R["a"], R["b"], 10).frame("beta").index[0] == DAYS[9] and rolling_against(R["a"], R["b"], 10).series.tolist() == ["a"]


# ---- what is refused


REFUSED = {
    "benchmark missing": (lambda: performance(R, measures=["alpha"]), InputError, "alpha needs a benchmark: give benchmark="),
    "a date missing": (lambda: performance(R, R["a"].drop(DAYS[7])), InputError, f"{DAYS[7]:%Y-%m-%d} is in returns but not in benchmark"),
    "a date extra": (lambda: performance(R.drop(DAYS[7]), R["a"]), InputError, f"{DAYS[7]:%Y-%m-%d} is in benchmark but not in returns"),
    "percent": (lambda: performance(100 * R), DataError, "below -1: none can lose more than all; give simple returns as decimals"),
    "benchmark in percent": (lambda: performance(R, 100 * R["a"]), DataError, "return of the benchmark of 2024-0.*below -1"),
    "too few": (lambda: performance(R.iloc[:1]), DataError, "1 return: at least 2 are needed"),
    "none": (lambda: performance(R.iloc[:0]), DataError, "0 returns: at least 2 are needed"),
    "a gap": (lambda: performance(R.mask(R == R.iloc[3, 1])), DataError, "return of b in 2024-01-04 is nan"),
    "a gap of the benchmark": (lambda: performance(R, R["a"].where(DAYS != DAYS[2])), DataError, "return of the benchmark of 2024-01-03 is nan"),
    "another measure": (lambda: performance(R, measures=["sharp"]), InputError, "did you mean sharpe"),
    "another convention": (lambda: performance(R, convention="pyfolio"), InputError, "use one of otsport, empyrical, quantstats, R"),
    "a measure that R lacks": (lambda: performance(R, convention="R", measures=["stability"]), InputError, "R has no stability"),
    "a table as benchmark": (lambda: performance(R, R), InputError, "the benchmark has shape"),
    "rate in percent": (lambda: performance(R, rate=-2), InputError, "the rate must be above -1"),
    "months of a table": (lambda: monthly_table(R), InputError, "returns have shape \\(30, 2\\): give one series"),
    "a cube": (lambda: performance(np.zeros((3, 3, 3))), InputError, "give \\(n,\\) or \\(n, series\\)"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_named(what):
    call, error, words = REFUSED[what]
    with pytest.raises(error, match=words):
        call()
    performance(R, R["a"])


def test_what_has_no_value_is_nan_with_a_note():
    x = R["a"].to_numpy().copy()
    x[5] = -1.0
    lost = performance(pd.Series(x, name="lost"))
    assert "lost: a return of -100 % has no logarithm, no stability" in lost.notes and np.isnan(lost["stability"].iloc[0]) and lost["annual_return"].iloc[0] == -1
    still = performance(np.full(300, 0.001))
    assert still.notes[0].endswith("all returns are equal, no ratio to risk") and np.isnan(still["sharpe"].iloc[0]) and "–" in repr(still)
    assert not np.isinf(still.values.to_numpy(dtype=float)).any() and not np.isinf(lost.values.to_numpy(dtype=float)).any()
    few = performance(R.iloc[:10])
    assert "a, b: no 95 % loss, it takes 20 returns" in few.notes and few["var_95"].isna().all()


def test_returns_that_are_probably_percent_are_warned_of():
    x = np.tile([0.5, -0.3], 150)
    for call in (lambda: performance(x), lambda: performance(np.tile([0.01, -0.01], 150), x)):
        with pytest.warns(UnitWarning, match="returns are decimals, 0.01 is 1 %"):
            call()


def test_short_records_are_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        performance(np.tile([0.01, -0.01], 6), periods=12)
        with pytest.raises(ShortHistory, match="30 returns are less than a year of 252"):
            performance(R)


def test_explanation_names_formula_inputs_convention_and_others(ko):
    said = repr(performance(*ko, 0.01, convention="R").explain("sharpe"))
    for words in ("compounded excess return a year over vol", "2,516 returns, 2010-01-04 to 2019-12-31", "rate 1.00% a year", "P = 252", "benchmark SP500", "convention R", "empyrical: the same", "Sharpe (1994)"):
        assert words in said, said
    shown = performance(*ko, 0.01)
    assert "Sharpe ratio" in repr(shown) and "<table" in shown._repr_html_() and shown["sharpe"].iloc[0] == shown.values.at["sharpe", "KO"] and shown.units["vol"] == "decimal a year"
