"""Days on which the exchange trades, and the instants to which options live: known closings, half days, Saturdays and what has expired."""
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from otsport.analytics.risk import scenario_pnl
from otsport.core.calendars import exchange, expiry_close, expiry_session, is_session, monthly_expiry, monthly_expiries, session_close, years_to_expiry
from otsport.core.errors import InputError, NotASession
from otsport.core.contracts import Quote, option
from otsport.strategy.strategies import quote_delta

NEW_YORK = ZoneInfo("America/New_York")


def at(day, hour, minute=0):
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK)


@pytest.mark.parametrize("day", [date(2018, 12, 5), date(2025, 1, 9), date(2012, 10, 29), date(2001, 9, 11), date(2021, 12, 24), date(2022, 6, 20)])
def test_closed_days(day):
    """Two days of mourning, a storm, an attack, Christmas observed, the first Juneteenth."""
    assert not is_session(day)


@pytest.mark.parametrize("day, hour", [
    (date(2015, 12, 24), 13), (date(2024, 7, 3), 13), (date(2024, 11, 29), 13), (date(2024, 12, 24), 13), (date(2013, 7, 3), 13), (date(2022, 11, 25), 13),
    (date(2019, 7, 5), 16), (date(2021, 12, 31), 16), (date(2022, 7, 5), 16),
])
def test_closing_hours(day, hour):
    """Eves and the day after Thanksgiving end early; the days beside them, often taken for half days, do not."""
    assert session_close(day) == expiry_close(day) == at(day, hour)


@pytest.mark.parametrize("year, month, day", [(2019, 4, 18), (2022, 4, 14), (2014, 4, 17), (2025, 4, 17), (2024, 6, 21), (2026, 6, 18)])
def test_monthly_expiries(year, month, day):
    """The third Friday, or the Thursday where that is Good Friday (2019, 2022, 2014, 2025) or Juneteenth (2026)."""
    assert monthly_expiry(year, month) == date(year, month, day)


@pytest.mark.parametrize("saturday", [date(2015, 2, 21), date(2023, 6, 24), date(2024, 7, 20)])
def test_saturday_on_which_no_option_expires_any_more_is_refused(saturday):
    with pytest.raises(InputError, match=f"{saturday}"):
        expiry_session(saturday)


@pytest.mark.parametrize("saturday, last", [
    (date(2014, 6, 21), date(2014, 6, 20)), (date(2015, 1, 17), date(2015, 1, 16)), (date(2012, 12, 22), date(2012, 12, 21)),
    (date(2008, 3, 22), date(2008, 3, 20)), (date(2014, 4, 19), date(2014, 4, 17)), (date(2003, 4, 19), date(2003, 4, 17)),  # Good Fridays
])
def test_saturday_expiry_lives_to_the_close_of_the_last_session(saturday, last):
    assert expiry_session(saturday) == last and expiry_close(saturday) == at(last, 16)
    assert years_to_expiry(at(last, 15), saturday) == pytest.approx(1 / 24 / 365, rel=1e-12)
    assert years_to_expiry(at(last, 16), saturday) == 0 < years_to_expiry(at(last, 15, 59), saturday)


@pytest.mark.parametrize("day", [date(2014, 6, 22), date(2019, 4, 19), date(2022, 6, 20), date(2018, 12, 5)])
def test_day_without_a_session_is_no_expiry(day):
    for function in (expiry_session, expiry_close, lambda d: years_to_expiry(at(date(2014, 1, 2), 16), d)):
        with pytest.raises(NotASession, match=f"{day} is not a trading session"):
            function(day)


def test_half_day_expiry_ends_at_one():
    assert years_to_expiry(at(date(2024, 11, 29), 10), date(2024, 11, 29)) == pytest.approx(3 / 24 / 365, rel=1e-12)
    assert years_to_expiry(at(date(2024, 11, 29), 14), date(2024, 11, 29)) == 0


@pytest.mark.parametrize("expiry, as_of, says", [
    (date(2024, 6, 7), at(date(2024, 6, 14), 16), "expired on 2024-06-07, before 2024-06-14"), (date(2024, 6, 7), at(date(2024, 6, 10), 9), "expired on 2024-06-07, before 2024-06-10"),
    (date(2014, 6, 21), at(date(2014, 6, 21), 9), "expired on 2014-06-20, before 2014-06-21"), (date(2024, 7, 3), datetime(2024, 7, 4, 4, 1, tzinfo=timezone.utc), "expired on 2024-07-03, before 2024-07-04"),
])
def test_expired_option_is_refused_by_name(expiry, as_of, says):
    contract = option("KO", expiry, Decimal(60), "C")
    with pytest.raises(InputError, match=f"^{contract} {says}: leave it out, or value the book as of an earlier day$"):
        years_to_expiry(as_of, expiry, contract)
    with pytest.raises(InputError, match=f"^an option {says}"):
        years_to_expiry(as_of, expiry)


@pytest.mark.parametrize("evening", [at(date(2024, 6, 7), 16, 1), at(date(2024, 6, 7), 23, 59), datetime(2024, 6, 8, 3, 59, tzinfo=timezone.utc)])
def test_evening_of_the_last_day_is_time_zero(evening):
    assert years_to_expiry(evening, date(2024, 6, 7)) == 0


def test_years_ahead_do_not_hang_on_today():
    assert exchange().last_session.year == 2040
    assert years_to_expiry(at(date(2026, 1, 2), 16), monthly_expiry(2031, 12)) == pytest.approx((date(2031, 12, 19) - date(2026, 1, 2)).days / 365, rel=1e-12)
    assert monthly_expiries(date(2035, 11, 30), 2) == [date(2035, 12, 21), date(2036, 1, 18)]
    for day in (date(1989, 12, 29), date(2041, 1, 4)):
        with pytest.raises(InputError, match=f"{day} is outside the exchange calendar"):
            is_session(day)


def test_time_to_expiry_wants_a_zone():
    with pytest.raises(InputError, match="has no time zone"):
        years_to_expiry(datetime(2024, 6, 7, 16), date(2024, 6, 7))
    assert years_to_expiry(at(date(2024, 6, 7), 16) - timedelta(days=365), date(2024, 6, 7)) == pytest.approx(1.0, rel=1e-12)


LATE = at(date(2024, 6, 14), 16)
GONE = option("KO", date(2024, 6, 7), Decimal(60), "C")


@pytest.mark.parametrize("value", [
    lambda: scenario_pnl({GONE: 1}, {"KO": 63.5}, pd.DataFrame({"KO": [0.01, -0.01]}), {GONE.key: 0.2}, LATE), lambda: quote_delta(Quote(GONE, LATE, bid=1.0, ask=1.1), 63.5, LATE),
    lambda: years_to_expiry(LATE, GONE.expiry, GONE),
])
def test_who_values_an_expired_option_is_told_its_name(value):
    with pytest.raises(InputError, match=f"^{GONE} expired on 2024-06-07, before 2024-06-14: leave it out, or value the book as of an earlier day$"):
        value()
