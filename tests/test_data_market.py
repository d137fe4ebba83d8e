"""Reads of the price history: nothing that closed after `as_of` is ever seen."""
import math
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.calendars import is_session, previous_session, session_close, sessions_between
from otsport.core.errors import DataError, InputError, LookAhead, NoPrices, NotASession
from otsport.data import samples
from otsport.data.market import stamped

H = samples.history()
RAW = samples.sample("sp500_20_daily")
SECOND = timedelta(seconds=1)
instants = st.datetimes(datetime(1990, 1, 3), datetime(2023, 6, 1), timezones=st.just(timezone.utc))


def slow_last_known(as_of: datetime) -> date:
    "The slow way: walk back day by day, asking the calendar for each close."
    day = min(as_of.date(), H.last)
    while not (is_session(day) and session_close(day) <= as_of):
        day -= timedelta(days=1)
    return day


@settings(max_examples=150, deadline=None)
@given(instants)
def test_closes_see_nothing_later_than_as_of(as_of):
    seen = H.closes(as_of)
    assert session_close(seen.index[-1].date()) <= as_of
    assert seen.index[-1].date() == slow_last_known(as_of)
    assert len(seen) == len(RAW.loc[: seen.index[-1]])
    assert seen.equals(RAW.loc[seen.index])


@settings(max_examples=60, deadline=None)
@given(instants, st.integers(1, 300))
def test_reads_do_not_depend_on_the_future(as_of, sessions):
    "A history cut off at `as_of` answers the same as the whole one."
    last = slow_last_known(as_of)
    rows = RAW.loc[:str(last)]
    if len(rows) < sessions:
        with pytest.raises(NoPrices, match="sessions are needed"):
            H.closes(as_of, sessions=sessions)
        return
    cut = stamped("cut", rows)
    assert H.closes(as_of, sessions=sessions).equals(cut.frame.iloc[-sessions:])


@settings(max_examples=100, deadline=None)
@given(instants)
def test_every_table_stops_at_as_of(as_of):
    reads = [H.index(as_of), H.closes(as_of, ["KO"])]
    if as_of >= session_close(H.vix_table.first):
        reads += [H.vix(as_of)]
    if as_of >= session_close(H.fund_table.first):
        reads += [H.funds(as_of)]
    for read in reads:
        assert session_close(read.index[-1].date()) <= as_of


@pytest.mark.parametrize("day", [date(2022, 12, 28), date(2022, 11, 25), date(2001, 9, 17), date(2020, 3, 9)])
def test_one_second_before_the_close_does_not_see_it(day):
    at = session_close(day)
    assert H.closes(at).index[-1].date() == day
    assert H.closes(at - SECOND).index[-1].date() == previous_session(day)
    assert H.closes(at - timedelta(microseconds=1)).index[-1].date() == previous_session(day)
    assert H.index(at - SECOND).index[-1].date() == previous_session(day)
    with pytest.raises(LookAhead, match=f"KO on {day} closed at"):
        H.close("KO", day, at - SECOND)
    assert H.close("KO", day, at) == RAW.at[pd.Timestamp(day), "KO"]


def test_a_reader_with_the_fence_down_is_seen():
    "Negative control: a read by date alone does see the close one second early, so the test above can fail."
    day = date(2022, 12, 28)
    by_date = RAW.loc[: str((session_close(day) - SECOND).date())]
    assert by_date.index[-1].date() == day


def test_naive_as_of_is_refused():
    with pytest.raises(InputError, match="no time zone"):
        H.closes(datetime(2022, 12, 28, 21))


def test_vix_missing_and_ended_values_are_nan():
    raw = samples.sample("vix_daily")["vix"]
    assert raw.isna().sum() == 46
    assert not H.vix(session_close(H.last)).isna().any()
    assert all(is_session(d.date()) for d in H.vix_table.frame.index)
    assert H.vix_at(session_close(date(2019, 1, 3))) == 25.45
    assert math.isnan(H.vix_at(session_close(date(2019, 1, 4))))
    assert H.vix_at(session_close(date(2019, 1, 4)) - SECOND) == 25.45
    assert math.isnan(H.vix_at(session_close(date(1995, 1, 4))))
    assert H.vix_at(datetime(2019, 1, 1, 22, tzinfo=timezone.utc)) == raw["2018-12-31"]


def test_vix_session_without_value_is_nan_not_yesterday():
    days = pd.DatetimeIndex(["2018-12-03", "2018-12-04", "2018-12-06"])
    vix = stamped("VIX", pd.DataFrame({"vix": [16.4, np.nan, 21.2]}, index=days), complete=False)
    from otsport.data.market import value_at

    assert value_at(vix, session_close(date(2018, 12, 3))) == 16.4
    assert math.isnan(value_at(vix, session_close(date(2018, 12, 4))))
    assert value_at(vix, session_close(date(2018, 12, 6))) == 21.2


def test_frames_are_read_only():
    at = session_close(H.last)
    before = H.closes(at).copy()
    mine = H.closes(at)
    mine.iloc[:, :] = 0.0
    assert H.closes(at).equals(before)
    series = H.index(at)
    series.iloc[:] = 0.0
    assert H.index(at).iloc[-1] == 3783.22
    with pytest.raises(ValueError, match="read-only"):
        H.closes(at).to_numpy()[:] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        H.stock_table.closed[0] = 0


@pytest.mark.parametrize(
    ("day", "error", "text"),
    [
        (date(2022, 12, 26), NotASession, "Monday 2022-12-26 is not a trading session"),
        (date(2022, 12, 24), NotASession, "nearest are 2022-12-23 and 2022-12-27"),
        (date(2022, 12, 29), NoPrices, "run from 1990-01-02 to 2022-12-28"),
        (date(1989, 12, 29), NoPrices, "run from 1990-01-02 to 2022-12-28"),
        (date(2099, 1, 5), NoPrices, "2099-01-05 has no prices"),
    ],
)
def test_check_day_refuses(day, error, text):
    with pytest.raises(error, match=text):
        H.check_day(day)


def test_check_day_accepts_the_first_and_last():
    assert H.check_day(H.first) == H.first
    assert H.check_day(H.last) == H.last


def test_unknown_symbol_names_what_is_known():
    at = session_close(H.last)
    with pytest.raises(NoPrices, match="no prices of TSLA: known are AAPL"):
        H.closes(at, ["AAPL", "TSLA"])
    with pytest.raises(NoPrices, match="no prices of TSLA"):
        H.close("TSLA", H.last, at)


def test_too_short_history_is_an_error():
    at = session_close(date(1990, 1, 5))
    with pytest.raises(NoPrices, match="253 sessions are needed as of 1990-01-05 21:00 UTC, 4 are known"):
        H.closes(at, sessions=253)
    with pytest.raises(NoPrices):
        H.returns(at, sessions=4)
    assert len(H.returns(at, sessions=3)) == 3
    with pytest.raises(NoPrices, match="0 are known"):
        H.closes(session_close(H.first) - SECOND)
    with pytest.raises(InputError, match="sessions is 0"):
        H.closes(at, sessions=0)


def test_returns_are_simple_and_of_the_symbols_asked():
    at = session_close(H.last)
    r = H.returns(at, ["XOM", "KO"], sessions=2)
    assert list(r.columns) == ["XOM", "KO"]
    c = RAW[["XOM", "KO"]].to_numpy()
    np.testing.assert_allclose(r.to_numpy(), c[-2:] / c[-3:-1] - 1, rtol=1e-15)


def test_every_session_has_its_row_and_every_stock_a_sector():
    assert list(d.date() for d in H.stock_table.frame.index) == sessions_between(H.first, H.last)
    assert set(H.sectors) == set(H.symbols)
    assert len(set(H.sectors.values())) == 7


@pytest.mark.parametrize("row", [0, 1, 777, -1])
def test_stamps_equal_the_calendar(row):
    day = H.stock_table.frame.index[row].date()
    assert H.stock_table.closed[row] == round(session_close(day).timestamp() * 1e6)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: f.drop(f.index[3]), "no row for the session"),
        (lambda f: f.assign(KO=f["KO"].where(f.index != f.index[2])), "KO is nan"),
        (lambda f: f * 0, "is 0.0"),
        (lambda f: f.iloc[::-1], "ascending"),
        (lambda f: f.iloc[:0], "the 0 days"),
        (lambda f: f.set_axis(f.index + pd.Timedelta(days=5)), "not a session|no row for the session"),
    ],
)
def test_broken_table_is_refused(change, text):
    frame = RAW.iloc[:10]
    assert len(stamped("clean", frame).frame) == 10
    with pytest.raises(DataError, match=text):
        stamped("broken", change(frame))


def test_bundled_files_come_with_notice_and_licenses():
    from importlib.resources import files

    folder = files("otsport.data") / "samples"
    notice = (folder / "NOTICE").read_text()
    for file in folder.iterdir():
        if file.name != "NOTICE":
            assert file.name in notice
    assert "BSD 3-Clause" in (folder / "LICENSE-skfolio-BSD-3-Clause.txt").read_text()
    for package in ("arch", "linearmodels"):
        assert "Kevin Sheppard" in (folder / f"LICENSE-{package}-NCSA.txt").read_text()
