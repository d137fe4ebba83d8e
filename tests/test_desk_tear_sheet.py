"""The tear sheet: its numbers are those of the measures, it is as complete as quantstats' and whole in itself."""
import re
import time
from datetime import timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import otsport
from otsport.analytics.definitions import DEFINITIONS
from otsport.analytics.drawdown_table import drawdown_table
from otsport.analytics.months import monthly_table
from otsport.analytics.performance import performance, written
from otsport.analytics.record_facts import default_window, record_facts
from otsport.bench.long_book import PORTFOLIO, write_book
from otsport.core.books import NavPoint
from otsport.core.errors import DataError, InputError
from otsport.data.samples import sample
from otsport.desk.tear_sheet import periods_of
from otsport.show.sheet import GROUPS, compact, group_of, months_table
from otsport.show.svg import day_ticks, nice_ticks, path, thinned

pytestmark = pytest.mark.filterwarnings("ignore::otsport.analytics.metrics.ShortHistory", "ignore::otsport.core.arrays.UnitWarning")


@pytest.fixture(scope="module")
def ko():
    return sample("sp500_20_daily")["KO"].pct_change().loc["2013":"2022"]


@pytest.fixture(scope="module")
def index():
    return sample("sp500_index_daily")["SP500"].pct_change().loc["2013":"2022"].rename("S&P 500")


@pytest.fixture(scope="module")
def sheet(ko, index):
    return otsport.tear_sheet(ko, index, rate=0.01, title="Coca-Cola <ten years>")


def texts(html):
    """All text of a page, tags taken off."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S))).replace("&amp;", "&")


def test_every_measure_stands_on_the_page_with_the_number_of_its_own_module(sheet, ko, index):
    said, ours, theirs = texts(sheet.html), performance(ko, index, 0.01).values["KO"], performance(index, None, 0.01).values.iloc[:, 0]
    for name, d in DEFINITIONS.items():
        both = [written(ours[name], d.unit)] + ([] if d.benchmark else [written(theirs[name], d.unit)])
        assert re.search(re.escape(d.heading) + r"[^%0-9]*" + r"\s+".join(map(re.escape, both)), said), (name, both)
    named = [name for group in GROUPS.values() for name in group]
    assert len(named) == len(set(named)) and set(named) <= set(DEFINITIONS) == {name for name in DEFINITIONS if group_of(name) in GROUPS}


def test_the_page_of_other_returns_has_other_numbers(sheet, ko):  # negative control of the test above
    said = texts(otsport.tear_sheet(-ko).html)
    assert f"Sharpe ratio {written(performance(ko, None, 0.01)['sharpe'].iloc[0], '')}" not in said


def test_it_is_as_complete_as_quantstats(sheet):
    """What its full report shows: rows of the table, the years, the worst drawdowns, and each of its figures."""
    said, figures = texts(sheet.html), [c.title for c in sheet.figures]
    rows = ("Time in market", "Total return", "Annual return", "Sharpe ratio", "Probability of a Sharpe ratio above 0", "Sortino ratio", "Sortino ratio / √2", "Omega", "Largest drawdown", "Longest drawdown", "Volatility",
            "R squared", "Information ratio", "Calmar ratio", "Skewness", "Excess kurtosis", "Kelly share", "Value at risk 95%", "Expected shortfall 95%", "Longest run of wins", "Longest run of losses", "Gain to pain",
            "Payoff", "Profit factor", "Common sense ratio", "CPC index", "Tail ratio", "Outlier win ratio", "Outlier loss ratio", "month to date", "3 months", "6 months", "year to date", "1 year", "3 years a year",
            "5 years a year", "10 years a year", "Average drawdown", "Recovery factor", "Ulcer index", "Beta", "Alpha", "Correlation", "Treynor ratio", "mean rise", "mean fall", "best", "worst", "gains",
            "The deepest drawdowns", "Years", "Months of KO")
    assert [row for row in rows if row not in said] == []
    shown = ("Growth: ", "Growth, logarithmic scale", "At the vol of", "Years: ", "Largest drawdown", "Sharpe ratio over half a year", "Volatility over", "Sortino ratio over", "Beta over", "Months: ", "Nine in ten lie", "Days: ")
    assert [start for start in shown if not any(title.startswith(start) for title in figures)] == []


def test_months_drawdowns_and_years_are_those_of_their_tables(sheet, ko):
    said = texts(sheet.html)
    for year, row in monthly_table(ko).iterrows():
        assert f"{year} " + " ".join(f"{round(x, 3) + 0.0:.1%}" for x in row) in said, year
    for d in drawdown_table(ko).itertuples():
        end = "not over" if d.end is pd.NaT else f"{d.end:%Y-%m-%d}"
        assert f"{d.start:%Y-%m-%d} {d.trough:%Y-%m-%d} {end} {d.depth:.2%} {d.sessions:,}" in said


def test_the_page_is_whole_in_itself_light_and_said_for_those_who_cannot_see(sheet):
    html = sheet.html
    assert html.startswith("<!doctype html>") and html.endswith("</html>") and len(html) < 260_000
    assert not re.search(r"<script|<link|<img|<iframe|src=|url\(|https?://", html) and "Coca-Cola &lt;ten years&gt;" in html and "<ten years>" not in html
    drawn = re.findall(r'<svg class="ot-(wide|narrow)" role="img" aria-label="([^"]+)"', html)
    assert len(drawn) == 2 * len(sheet.figures) == 2 * html.count("<figure") and all(len(words) > 40 for _, words in drawn)
    assert not re.search(r"\bnan\b|NaN|\binf\b|undefined", html) and 'name="viewport"' in html and '<html lang="en">' in html
    assert sheet.html == otsport.tear_sheet(sheet.facts.returns.iloc[:, 0], sheet.facts.returns.iloc[:, 1], rate=0.01, title=sheet.title).html  # the same bytes again


def test_styles_become_classes_and_labels_stay_where_cards_need_them():
    small, css = compact('<table class="ot-table" style="a:b"><td data-label="x" style="c:d">1</td></table><table class="ot-table ot-cards" style="a:b"><td class="ot-none" data-label="y" style="c:d">2</td></table>')
    assert small == '<table class="ot-table o0"><td class="o1">1</td></table><table class="ot-table ot-cards o0"><td class="ot-none o1" data-label="y">2</td></table>' and css == ".o0{a:b}.o1{c:d}"


def test_an_open_book_gives_its_sheet(home):
    write_book(home / "otsport.db", 25)
    book = otsport.open_book(PORTFOLIO)
    sheet = otsport.tear_sheet(book)
    points = book.nav
    assert len(sheet.facts.returns) == 25 and sheet.facts.name == "account"
    pnl, nav = (np.array([float(x) for x in points[name]]) for name in ("day_pnl", "nav"))
    np.testing.assert_allclose(sheet.facts.returns["account"], pnl / (nav - pnl), rtol=1e-9, atol=1e-12)  # as the report of the day has them
    assert otsport.tear_sheet(nav=points).html == sheet.html


SHORT = pd.bdate_range("2024-01-02", periods=25)


@pytest.mark.parametrize("values", [np.full(25, 0.001), np.zeros(25), np.r_[0.01, -1.0, np.zeros(23)], np.r_[[0.01] * 24, -0.02]], ids=["always up", "still", "all lost", "one loss"])
def test_odd_records_have_a_page_without_a_wrong_number(values):
    html = otsport.tear_sheet(pd.Series(values, SHORT, name="odd")).html
    assert not re.search(r"\bnan\b|NaN|\binf\b", html) and "25 returns are less than a year of 252" in texts(html)


@pytest.mark.parametrize("benchmark", [np.zeros(25), np.full(25, 0.002), np.r_[np.zeros(24), -1.0]], ids=["still", "steady", "all lost"])
def test_odd_benchmarks_have_a_page_without_a_wrong_number(benchmark):
    own = pd.Series(np.random.default_rng(0).normal(0, 0.01, 25), SHORT, name="fund")
    assert not re.search(r"\bnan\b|NaN|\binf\b", otsport.tear_sheet(own, pd.Series(benchmark, SHORT, name="odd")).html)


@pytest.mark.parametrize("freq, periods, count", [("W-FRI", 52, 160), ("ME", 12, 60), ("QE", 4, 40), ("YE", 1, 30)])
def test_rarer_returns_are_taken_for_what_their_dates_say(freq, periods, count):
    days = pd.date_range("1985-01-31", periods=count, freq=freq)
    x = pd.Series(np.random.default_rng(1).normal(0.01, 0.03, count), days, name="fund")
    sheet = otsport.tear_sheet(x, x.rename("same"))
    assert periods_of(days) == periods == sheet.facts.periods and not re.search(r"\bnan\b|NaN", sheet.html)
    assert sheet.facts.measures.loc["annual_return", "fund"] == pytest.approx((1 + x).prod() ** (periods / count) - 1)


REFUSED = {
    "nothing": (lambda x: otsport.tear_sheet(), InputError, "give one of returns, prices= or nav="),
    "two": (lambda x: otsport.tear_sheet(x.to_frame("a").assign(b=x)), InputError, "there are 2 series, a, b: give one, for example returns\\['a'\\]"),
    "another index": (lambda x: otsport.tear_sheet(x, "SPY"), InputError, "benchmark is 'SPY': give a Series"),
    "an array as benchmark": (lambda x: otsport.tear_sheet(x, x.to_numpy()), InputError, "benchmark is a ndarray"),
    "dates of the benchmark": (lambda x: otsport.tear_sheet(x, x.iloc[3:].rename("b")), InputError, "and 2 more\\) is in returns but not in benchmark"),
    "too few": (lambda x: otsport.tear_sheet(x.iloc[:19]), DataError, "19 returns: a track record takes at least 20"),
    "after the bundled index": (lambda x: otsport.tear_sheet(x.set_axis(pd.bdate_range("2030-01-01", periods=len(x))), "SP500"), DataError, "the bundled S&P 500 has no return of 2030-01-01"),
    "percent": (lambda x: otsport.tear_sheet(100 * x), (DataError, InputError), "decimals"),
    "prices": (lambda x: otsport.tear_sheet(100 * (1 + x).cumprod()), InputError, "price"),
    "nav of something else": (lambda x: otsport.tear_sheet(nav=[1.0, 2.0]), InputError, "nav is a list: give a frame with nav and flows in dollars by day, as `book.nav` is, or finished sessions"),
    "nav of nothing": (lambda x: otsport.tear_sheet(nav=[]), InputError, "nav is a list: give"),
    "columns of nav": (lambda x: otsport.tear_sheet(nav=x.to_frame("nav")), InputError, "nav has no column flows"),
    "newest first": (lambda x: otsport.tear_sheet(x.iloc[::-1]), InputError, "out of order: give the oldest first"),
    "one return": (lambda x: otsport.tear_sheet(x.iloc[:1]), InputError, "1 return: a track record has at least two"),
    "no return": (lambda x: otsport.tear_sheet(x.iloc[:0]), InputError, "0 returns: a track record"),
    "odd distances": (lambda x: otsport.tear_sheet(x.iloc[:40].set_axis(pd.date_range("2020-01-01", periods=40, freq="17D"))), InputError, "17 days apart: say how many a year has, periods="),
    "periods that are not": (lambda x: otsport.tear_sheet(x, periods=12), InputError, "periods is 12, and a year has about"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_named(what, ko):
    call, error, words = REFUSED[what]
    with pytest.raises(error, match=words):
        call(ko.iloc[:300])


def test_finished_sessions_give_the_sheet_that_their_table_gives():
    days = pd.bdate_range("2024-01-02", periods=21)
    nav = [Decimal(1000 + 7 * i - (i % 3) * 5) for i in range(21)]
    points = [NavPoint(d.date(), d.to_pydatetime().replace(tzinfo=timezone.utc), v, Decimal(0), Decimal(1000) if i == 0 else Decimal(0)) for i, (d, v) in enumerate(zip(days, nav))]
    table = pd.DataFrame({"nav": nav, "flows": [p.flows for p in points]}, days)
    assert otsport.tear_sheet(nav=points).html == otsport.tear_sheet(nav=table).html


def test_windows_are_half_a_year_of_days_and_years_of_rarer_returns():
    assert [default_window(p) for p in (252, 52, 12, 4, 1)] == [126, 26, 36, 12, 6]


def test_monthly_measures_are_a_line(ko):
    monthly = (1 + ko).resample("ME").prod() - 1
    assert otsport.measures(monthly.rename("KO"), periods=12)["KO"].vol == pytest.approx(monthly.std() * 12**0.5)


def test_facts_explain_themselves(sheet, ko):
    assert "Coca-Cola" not in repr(sheet.facts) and "2,516 returns" in repr(sheet) and "√P · mean(r - f) / s(r)" in repr(sheet.explain("sharpe"))
    assert "<style>" in sheet._repr_html_() and "<html" not in sheet._repr_html_() and "body{" not in sheet._repr_html_()  # a part of a notebook leaves its page alone
    assert "whole year" in months_table(record_facts(ko)).html


# ---- drawing


def test_ticks_are_round_and_inside():
    for low, high, count in ((-0.37, 1.21, 5), (0.0, 4e-5, 4), (-3.0, 250_000.0, 6), (0.99, 1.01, 3)):
        ticks = nice_ticks(low, high, count)
        assert 1 <= len(ticks) <= count + 2 and ticks[0] >= low - 1e-9 * abs(high) and ticks[-1] <= high * (1 + 1e-9)
    assert nice_ticks(1.0, 1.0, 4).tolist() == [1.0]
    for first, last in (("2020-01-02", "2020-03-01"), ("2019-05-01", "2021-02-01"), ("1990-01-01", "2022-12-28"), ("1926-07-01", "2024-01-01")):
        found = day_ticks(pd.bdate_range(first, last), 8)
        assert 2 <= len(found) <= 8 and len({t for t, _ in found}) == len(found)


def test_a_thinned_line_keeps_its_extremes_and_its_ends():
    y = np.random.default_rng(3).normal(size=5000).cumsum()
    x = np.arange(5000.0)
    kept_x, kept = thinned(x, y, 300)
    assert len(kept) <= 602 and (kept.min(), kept.max(), kept[0], kept[-1]) == (y.min(), y.max(), y[0], y[-1]) and (np.diff(kept_x) > 0).all()
    steps = [tuple(map(float, pair.split(","))) for pair in path(kept_x / 7, kept).replace("M", "").replace("l", " ").split()]
    ends = np.sum(steps, axis=0)
    assert ends == pytest.approx([4999 / 7, y[-1]], abs=0.06)  # rounding does not add up along a line


def test_a_page_of_ten_years_is_quick(ko, index):
    otsport.tear_sheet(ko, index).html
    start = time.process_time()
    otsport.tear_sheet(ko, index).html
    assert time.process_time() - start < 1.5
