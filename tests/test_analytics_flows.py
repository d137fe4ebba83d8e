"""Returns with flows: the ledger's rule, published examples, and what must hold whatever came and went."""
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.flows import account_return, flow_returns, ledger_return, modified_dietz, time_weighted, xirr
from otsport.book.ledger import deposit
from otsport.book.snapshots import external_flows, take_snapshot
from otsport.core.books import NavPoint
from otsport.core.errors import DataError, InputError
from otsport.show.performance import performance_frame

DAYS = pd.bdate_range("2024-01-02", periods=12)


def grown(returns, flows, timing):
    """NAV of an account that earned these returns with these flows."""
    value, nav = 0.0, []
    for r, c in zip(returns, flows):
        value = (value + c) * (1 + r) if timing == "start" else value * (1 + r) + c
        nav.append(value)
    return pd.Series(nav, DAYS[: len(nav)])


@given(st.lists(st.floats(-0.2, 0.2), min_size=12, max_size=12), st.lists(st.floats(0, 500), min_size=11, max_size=11), st.sampled_from(["start", "end"]))
@settings(max_examples=40, deadline=None)
def test_flows_do_not_change_the_time_weighted_return(returns, more, timing):
    flows = pd.Series([1000.0, *more], DAYS)
    nav = grown(returns, flows, timing)
    kept = returns if timing == "start" else returns[1:]
    np.testing.assert_allclose(flow_returns(nav, flows, timing), kept, atol=1e-9)
    assert time_weighted(nav, flows, timing) == pytest.approx(np.prod(1 + np.array(kept)) - 1, abs=1e-8)


@given(st.floats(-0.5, 1.0), st.lists(st.integers(1, 900), min_size=1, max_size=5, unique=True))
@settings(max_examples=40, deadline=None)
def test_money_weighted_finds_the_rate_that_all_money_earned(rate, when):
    start = date(2020, 1, 1)
    paid = [(start + timedelta(days=d), 100.0 * (i + 1)) for i, d in enumerate(sorted(when))]
    end = start + timedelta(days=1000)
    worth = sum(amount * (1 + rate) ** ((end - day).days / 365) for day, amount in paid) + 1000 * (1 + rate) ** (1000 / 365)
    assert xirr([-1000.0, *(-a for _, a in paid), worth], [start, *(d for d, _ in paid), end]) == pytest.approx(rate, abs=1e-9)


def test_dietz_comes_near_the_money_weighted_return_in_a_month():
    start, end = date(2023, 12, 31), date(2024, 1, 31)
    paid = [(date(2024, 1, 10), 20.0), (date(2024, 1, 20), -5.0)]
    dietz = modified_dietz(100.0, 118.0, paid, start, end)
    annual = xirr([-100.0, -20.0, 5.0, 118.0], [start, paid[0][0], paid[1][0], end])
    assert (1 + annual) ** (31 / 365) - 1 == pytest.approx(dietz, abs=1e-4)


def test_without_flows_all_three_are_the_same():
    flows = pd.Series([1000.0, *[0.0] * 11], DAYS)
    found = account_return(grown([0.01, -0.02, 0.03] * 4, flows, "start"), flows)
    assert found.time_weighted == pytest.approx(found.money_weighted) == pytest.approx(found.dietz)
    assert found.gain == pytest.approx(1000 * found.time_weighted) and "time-weighted" in repr(found) and "<table" in found._repr_html_()


def snapshots():
    """Three real snapshots of a book of cash, with deposits on the first and the third day, and a withdrawal on the fourth."""
    cash, previous, made = Decimal(0), None, []
    for i, amount in enumerate(("1000.00", None, "500.25", "-200.00")):
        ts = datetime(2024, 1, 2 + i, 21, tzinfo=timezone.utc)
        today = [deposit("DU1", "main", Decimal(amount), ts, f"d{i}").transaction] if amount else []
        cash += sum(t.cash for t in today)
        previous = take_snapshot("DU1", "main", date(2024, 1, 2 + i), ts, cash, {}, {}, previous, today, {})
        made.append((previous, external_flows(today)))
    return made


def test_the_ledger_gives_the_returns_of_its_own_report():
    """The flows of NavPoints are those of the transactions, and the returns those that the day's report compounds."""
    made = snapshots()
    points = [NavPoint(s.session, s.ts, s.nav, s.day_pnl, flow) for s, flow in made]
    found = ledger_return(points)
    assert (found.returns == 0).all() and found.gain == 0 and found.flows.tolist() == [1000.0, 0.0, 500.25, -200.0]
    index = pd.Series(100.0, pd.bdate_range("2023-12-27", "2024-01-10"))
    np.testing.assert_allclose(performance_frame([s for s, _ in made], index)["daily_return"].iloc[1:], found.returns)


def test_a_gain_is_divided_by_the_money_of_the_morning_as_in_the_report():
    """NAV 1,000 to 1,010, 500 come in the morning, the day ends at 1,525: 15 on 1,510."""
    ts = datetime(2024, 1, 2, 21, tzinfo=timezone.utc)
    points = [NavPoint(date(2024, 1, 2), ts, Decimal(1010), Decimal(10), Decimal(1000)), NavPoint(date(2024, 1, 3), ts, Decimal(1525), Decimal(15), Decimal(500))]
    np.testing.assert_allclose(ledger_return(points).returns, [0.01, 15 / 1510], rtol=1e-12)


REFUSED = {
    "two rates": (lambda: xirr([-100, 230, -132], [date(2021, 1, 1), date(2022, 1, 1), date(2023, 1, 1)]), DataError, "2 annual rates make the amounts worth nothing today \\(10.00%, 20.00%\\).*modified_dietz"),
    "no rate": (lambda: xirr([-100, 150, -100], [date(2021, 1, 1), date(2022, 1, 1), date(2023, 1, 1)]), DataError, "no annual rate"),
    "nothing taken out": (lambda: xirr([-1, -2], [date(2021, 1, 1), date(2022, 1, 1)]), DataError, "a rate takes money paid in"),
    "one day": (lambda: xirr([-1, 2], [date(2021, 1, 1)] * 2), DataError, "over 0 days"),
    "days and amounts": (lambda: xirr([-1, 2], [date(2021, 1, 1)]), InputError, "2 amounts and 1 days"),
    "another day": (lambda: flow_returns(pd.Series(1.0, DAYS), pd.Series(1.0, DAYS[1:])), InputError, "2024-01-02 is in nav but not in flows"),
    "more taken out than there was": (lambda: flow_returns([100.0, 10.0], [100.0, -150.0]), DataError, "-50.00 dollars were at work on 1: a return needs a positive amount"),
    "no money": (lambda: flow_returns([0.0], [0.0]), DataError, "no money was at work"),
    "no dates": (lambda: account_return([100.0], [100.0]), InputError, "nav has no dates"),
    "backwards": (lambda: modified_dietz(1, 1, [], date(2024, 2, 1), date(2024, 1, 1)), InputError, "give a start before its end"),
    "no session": (lambda: ledger_return([]), DataError, "no session is finished"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_named(what):
    call, error, words = REFUSED[what]
    with pytest.raises(error, match=words):
        call()


def test_an_account_whose_money_weighted_return_is_not_one_number_says_so():
    """100 in, 230 out after a year, 132 in again: 10 % and 20 % both solve it; the time-weighted return stands."""
    days = pd.to_datetime(["2021-01-01", "2022-01-01", "2023-01-01", "2023-01-02"])
    flows, nav = pd.Series([100.0, -230.0, 132.0, 0.0], days), pd.Series([400.0, 171.0, 1.0, 1e-9], days)
    found = account_return(nav, flows, "start")
    assert np.isnan(found.money_weighted) and "annual rates make the amounts worth nothing today" in repr(found) and found.time_weighted < 0
