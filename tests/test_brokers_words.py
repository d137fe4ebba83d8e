"""What the words, numbers and codes of TWS mean: pure functions, tried against hand-made messages."""
import asyncio
import logging
import re
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace

import ib_insync
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otsport.brokers import ib_words
from otsport.brokers.ib_words import (
    CODES, DELAYED, STATES, check_possible, code_row, exact_number, expiry_date, from_ib, in_words, instant, is_doubtful, order_state, state_by_code, to_commission,
    to_fill, to_ib, to_ib_order, zone_doubt,
)
from otsport.core.contracts import Contract, from_key, option, stock
from otsport.core.errors import BrokerError, DataError, SettingsError
from otsport.core.orders import Order, OrderState, OrderType, Side
from otsport.core.settings import BrokerCode

S = OrderState
UNSET_DOUBLE = 1.7976931348623157e308


# ---------------------------------------------------------------- codes

TABLE = {  # what Interactive Brokers documents of each number, read by hand
    "refused": [103, 106, 107, 110, 200, 201, 203, 321, 387, 434, 435, 460, 463, 478, 10289, 10329],
    "ended": [202],
    "notice": [399, 404, 10311, 10349, 2100, 2101, 2103, 2104, 2105, 2106, 2107, 2108, 2109, 2119, 2137, 2157, 2158, 2169, 10090, 10167],
    "cancel": [104, 105, 135, 136, 161, 10147, 10148],
    "line": [100, 326, 502, 503, 504, 507, 1100, 1101, 1102, 1300, 2110],
    "data": [101, 102, 162, 165, 354, 366, 10168, 10186, 10197],
    "doubt": [1, 320, 322, 2099, 2200, 9999, 12345],
}


@pytest.mark.parametrize("meaning, codes", TABLE.items())
def test_code_means(meaning, codes):
    assert {code: code_row(code).meaning for code in codes} == dict.fromkeys(codes, meaning)


@pytest.mark.parametrize("code", sorted(CODES))
def test_code_row_has_its_number_and_its_cause_in_words(code):
    row = CODES[code]
    assert row.code == code and len(row.cause.split()) >= 3
    assert row.step or row.meaning in ("ended", "notice", "line", "data")
    assert row.step or code not in DELAYED


HALF_PAST = datetime(2022, 7, 28, 13, 30, tzinfo=timezone.utc)  # 09:30 in New York


@pytest.mark.parametrize("greeting, zone, told", [
    ("20220728 09:30:05 EDT", "America/New_York", ""), ("20220728 09:30:05 EDT", "", ""), ("20220728 09:31:59 EDT", "US/Eastern", ""), ("20220728 09:28:10 EDT", "America/Toronto", ""),
    ("20220728 09:30:05 EDT", "Europe/Berlin", "where it is 15:30.*6 hours wrong.*America/New_York fits"), ("20220728 19:00:05 IST", "America/New_York", "9.5 hours wrong.*shows at its log-in fits"),
    ("20220728 09:30:05 EDT", "America/Chicago", "1 hours wrong"), ("20220728 22:30:02 JST", "America/New_York", "13 hours wrong.*Asia/Tokyo fits"),
    ("20220728 09:37:00 EDT", "Asia/Tokyo", ""), ("20200101 09:30:00 EST", "Asia/Tokyo", ""), ("", "Asia/Tokyo", ""), ("20220728 09:05:00 America/New_York", "Asia/Tokyo", "13 hours wrong"),
])  # fmt: skip
def test_the_clock_of_tws_gives_a_wrong_zone_away(greeting, zone, told):
    """An answer that is far from its greeting, or a clock that is none of now, says nothing."""
    words = zone_doubt(greeting, HALF_PAST, zone)
    assert re.search(told, words) if told else words == ""


@pytest.mark.parametrize("text, now, sent, words", [
    ("20220728  09:30:00", 0, 0, ""), ("20220728  09:30:00", -40, None, ""), ("20220728  09:30:00", None, None, ""), ("20220728  09:30:00", 300, 40, ""),
    ("20220728  09:30:00", -50, None, "later than now .12:40"), ("20220728  09:30:00", 60, 50, "13:30, before its order was sent .14:20"),
    ("20220728 09:30:00 America/New_York", -50, 50, ""), ("20220728-13:30:00", -50, 50, ""),
])  # fmt: skip
def test_an_execution_is_neither_later_than_now_nor_before_its_order(text, now, sent, words):
    """Minutes from the execution to now, and to the sending of its order; a time that names its zone is believed."""
    at = [None if m is None else HALF_PAST + timedelta(minutes=m) for m in (now, sent)]
    if not words:
        return check_possible(text, instant(text, "America/New_York"), "America/New_York", *at)
    with pytest.raises(DataError, match=f"read in tws_zone America/New_York, is .*{words}.*set tws_zone"):
        check_possible(text, instant(text, "America/New_York"), "America/New_York", *at)


def test_code_of_the_user_comes_before_the_table():
    own = (BrokerCode(code=10311, meaning="refused", cause="our presets block direct routing", step="route by SMART"),
           BrokerCode(code=12345, meaning="notice", cause="harmless here"))
    assert [code_row(c, own).meaning for c in (10311, 12345, 201)] == ["refused", "notice", "refused"]
    assert in_words(code_row(10311, own), "no") == "10311: no (our presets block direct routing; route by SMART)"
    assert in_words(code_row(12345, own), "well") == "12345: well"


@pytest.mark.parametrize("code, new, living", [
    (201, S.REJECTED, S.SENT), (478, S.REJECTED, S.SENT), (460, S.REJECTED, S.SENT), (202, S.CANCELLED, S.CANCELLED),
    (10147, S.SENT, S.SENT), (10148, S.SENT, S.SENT), (161, S.SENT, S.SENT), (10311, S.SENT, S.SENT), (12345, S.SENT, S.SENT), (2109, S.SENT, S.SENT),
])  # fmt: skip
def test_code_moves_an_order_that_is_new_or_lives(code, new, living):
    assert (state_by_code(code_row(code), "", False), state_by_code(code_row(code), "", True)) == (new, living)


@pytest.mark.parametrize("code, new, living", [
    (201, False, True), (478, False, True), (202, False, False), (399, False, False), (10311, False, False), (10147, True, True), (161, True, True), (12345, True, True),
])  # fmt: skip
def test_code_is_doubtful(code, new, living):
    assert (is_doubtful(code_row(code), False), is_doubtful(code_row(code), True)) == (new, living)


@given(st.integers(0, 20_000), st.booleans())
def test_no_code_makes_an_order_unknown(code, living):
    "The uncertain is asked, not booked as uncertain."
    assert state_by_code(code_row(code), "", living) is not S.UNKNOWN


def test_day_that_ended_is_told_from_a_cancel():
    row = code_row(202)
    assert state_by_code(row, "Order Canceled - reason: the session ended", True) is S.EXPIRED
    assert state_by_code(row, "Order Canceled - reason:", True) is S.CANCELLED


@pytest.mark.parametrize("status, refused, state", [
    ("ApiPending", False, S.SENT), ("PendingSubmit", False, S.SENT), ("PreSubmitted", False, S.ACCEPTED), ("Submitted", False, S.WORKING),
    ("PendingCancel", False, S.PENDING_CANCEL), ("Filled", True, S.FILLED), ("Cancelled", True, S.CANCELLED), ("ApiCancelled", False, S.CANCELLED),
    ("Inactive", False, S.UNKNOWN), ("Inactive", True, S.REJECTED), ("ValidationError", False, S.UNKNOWN), ("", False, S.UNKNOWN),
])  # fmt: skip
def test_status_word_means(status, refused, state):
    assert order_state(status, refused) is state


def test_every_status_word_of_the_library_is_known():
    words = {value for name, value in vars(ib_insync.OrderStatus).items() if name == value}
    assert "PreSubmitted" in words and words <= set(STATES)


# ---------------------------------------------------------------- numbers, times

@given(st.decimals(min_value=-10**9, max_value=10**9, places=4, allow_nan=False))
def test_number_of_the_wire_comes_back_exactly(number):
    assert exact_number(float(str(number))) == number


@pytest.mark.parametrize("nothing", [UNSET_DOUBLE, -UNSET_DOUBLE, float("inf"), float("nan")])
def test_no_value_is_no_number(nothing):
    with pytest.raises(DataError, match="no value"):
        exact_number(nothing)


THREE = datetime(2022, 12, 28, 20, tzinfo=timezone.utc)


@pytest.mark.parametrize("text, zone", [
    ("20221228 15:00:00 US/Eastern", ""), ("20221228 15:00:00 America/New_York", "Asia/Tokyo"), ("20221228-20:00:00", ""), ("20221228-20:00:00", "Asia/Tokyo"),
    ("20221228  15:00:00", "America/New_York"), ("20221228 15:00:00", "US/Eastern"), ("20221229 05:00:00", "Asia/Tokyo"), ("20221228 20:00:00", "UTC"),
    ("20221229 05:00:00 Asia/Tokyo", ""), ("20221228 21:00:00 MET", ""),
])  # fmt: skip
def test_instant_in_its_zone(text, zone):
    assert instant(text, zone) == THREE


def test_instant_in_summer_is_an_hour_earlier():
    assert instant("20220628 15:00:00", "America/New_York") == datetime(2022, 6, 28, 19, tzinfo=timezone.utc)


@pytest.mark.parametrize("text, why", [
    ("20221228  15:00:00", "names no time zone: set tws_zone"), ("20221228 15:00:00 Atlantis/City", "cannot be read"), ("yesterday", "is not yyyymmdd"),
    ("", "is not yyyymmdd"), ("20221328 15:00:00 UTC", "cannot be read"), ("20221228", "is not yyyymmdd"),
])  # fmt: skip
def test_instant_that_is_not_known_is_refused(text, why):
    with pytest.raises(DataError, match=why):
        instant(text)


# ---------------------------------------------------------------- contracts

@pytest.mark.parametrize("key, trading_class", [
    ("KO 20230120 C 62.5", "KO"), ("BRK B 20231020 P 362.5", "BRKB"), ("SPX 20240119 C 4800", "SPX"), ("SPX 20240119 C 4800 class:SPXW", "SPXW"),
    ("MDU 20240119 C 20 class:MDU1", "MDU1"), ("XSP 20240119 C 480 mult:10", "XSP"),
])  # fmt: skip
def test_option_round_trips_with_its_trading_class(key, trading_class):
    theirs = to_ib(ib_insync, from_key(key))
    assert (theirs.tradingClass, theirs.exchange) == (trading_class, "SMART") and from_ib(theirs).key == key


def test_stock_with_a_space_round_trips():
    theirs = to_ib(ib_insync, stock("BRK B"))
    assert (theirs.secType, theirs.symbol) == ("STK", "BRK B") and from_ib(theirs) == stock("BRK B")


def theirs(**more) -> ib_insync.Contract:
    usual = dict(secType="OPT", symbol="NFLX", lastTradeDateOrContractMonth="20260227", strike=90.0, right="C", multiplier="100", currency="USD", conId=7, tradingClass="NFLX")
    return ib_insync.Contract(**usual | more)


@pytest.mark.parametrize("more, key", [
    ({"lastTradeDateOrContractMonth": "20260228", "localSymbol": "NFLX  260227C00090000"}, "NFLX 20260227 C 90"),
    ({"symbol": "BRK B", "tradingClass": "", "localSymbol": "BRKB  231020P00362500", "strike": 0.0}, "BRK B 20231020 P 362.5"),
    ({"symbol": "SPX", "tradingClass": "SPXW", "localSymbol": "SPXW  240119C04800000"}, "SPX 20240119 C 4800 class:SPXW"),
    ({"symbol": "SPX", "tradingClass": "", "localSymbol": "SPXW  240119C04800000"}, "SPX 20240119 C 4800 class:SPXW"),
    ({"lastTradeDateOrContractMonth": "20230624 04:00:00 Asia/Shanghai", "localSymbol": ""}, "NFLX 20230623 C 90"),
    ({"lastTradeDateOrContractMonth": "20250919 10:15:00 GB", "localSymbol": ""}, "NFLX 20250919 C 90"),
    ({"multiplier": ""}, "NFLX 20260227 C 90"), ({"multiplier": "10"}, "NFLX 20260227 C 90 mult:10"), ({"right": "PUT"}, "NFLX 20260227 P 90"),
    ({"localSymbol": "C NFLX 20260227 90 M"}, "NFLX 20260227 C 90"), ({"currency": ""}, "NFLX 20260227 C 90"),
])  # fmt: skip
def test_option_of_the_broker_is_read(more, key):
    read = from_ib(theirs(**more))
    assert (read.key, read.con_id) == (key, 7)


@pytest.mark.parametrize("more, why", [
    ({"lastTradeDateOrContractMonth": "20260228"}, "Saturday 2026-02-28, when the exchange is closed"),  # shifted by a zone
    ({"lastTradeDateOrContractMonth": "20250704"}, "Friday 2025-07-04, when the exchange is closed"),
    ({"lastTradeDateOrContractMonth": "202602"}, "is no expiry"), ({"lastTradeDateOrContractMonth": ""}, "is no expiry"),
    ({"right": "?"}, "cannot be read"), ({"strike": 0.0}, "cannot be read"), ({"multiplier": "0.5"}, "cannot be read"), ({"multiplier": "many"}, "cannot be read"),
    ({"secType": "FUT", "symbol": "ES"}, "ES is a FUT"), ({"secType": "BAG", "symbol": "KO"}, "KO is a BAG"),
])  # fmt: skip
def test_what_cannot_be_booked_is_refused_by_name(more, why):
    with pytest.raises(DataError, match=why):
        from_ib(theirs(**more))


def test_expiry_after_the_end_of_the_calendar_is_a_weekday():
    assert from_ib(theirs(lastTradeDateOrContractMonth="20481218")).expiry == date(2048, 12, 18)
    with pytest.raises(DataError, match="Saturday"):
        from_ib(theirs(lastTradeDateOrContractMonth="20481219"))


def test_expiry_of_a_chain_is_a_plain_date():
    assert expiry_date("20230120") == date(2023, 1, 20)


@given(st.sampled_from(["KO", "BRK B", "SPX", "A"]), st.integers(1, 99_999_999), st.sampled_from("CP"), st.sampled_from(["", "SPXW", "KO1"]), st.sampled_from([1, 10, 100, 150]))
def test_any_option_round_trips(symbol, mills, right, trading_class, multiplier):
    asked = option(symbol, date(2026, 2, 27), Decimal(mills) / 1000, right, multiplier, trading_class)
    assert from_ib(to_ib(ib_insync, asked)) == asked


# ---------------------------------------------------------------- orders

def order(limit: str | None = None, qty: str = "100") -> Order:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Order("20221228-core-001", "DU1", "core", stock("KO"), Side.SELL, Decimal(qty), kind, None if limit is None else Decimal(limit))


def test_order_carries_account_and_reference():
    made = to_ib_order(ib_insync, order("62.70"))
    assert (made.action, made.totalQuantity, made.orderType, made.lmtPrice, made.tif) == ("SELL", 100.0, "LMT", 62.7, "DAY")
    assert (made.account, made.orderRef, made.transmit, made.whatIf) == ("DU1", "20221228-core-001", True, False)
    assert to_ib_order(ib_insync, order()).lmtPrice > 1e300          # the library's "no value"


@pytest.mark.parametrize("limit", ["62.70", "0.0001", "60.001", "123456.7891", "3.1700", "100000000"])
def test_limit_on_the_wire_is_the_limit(limit):
    assert Decimal(repr(to_ib_order(ib_insync, order(limit)).lmtPrice)) == Decimal(limit)


@pytest.mark.parametrize("limit", [".0010500000000000002", "0.00001", "62.700000000000000001", "3.17000000001", "5E-5", "12345678901234.5678"])
def test_limit_that_lost_its_way_does_not_leave(limit):
    with pytest.raises(BrokerError, match="too many digits for the wire: round it to its tick"):
        to_ib_order(ib_insync, order(limit))


def test_quantity_beyond_a_float_does_not_leave():
    with pytest.raises(BrokerError, match="quantity 9007199254740993"):
        to_ib_order(ib_insync, order(qty="9007199254740993"))


# ---------------------------------------------------------------- executions, charges

def test_fill_of_an_execution():
    execution = SimpleNamespace(execId="0000e1a7.01.01", acctNumber="DU1", side="SLD", shares=3.0, price=1.2, time=THREE, permId=9)
    fill = to_fill(theirs(), execution, "r")
    assert (fill.exec_id, fill.order_ref, fill.account, fill.side, fill.qty, fill.price, fill.ts, fill.perm_id) == (
        "0000e1a7.01.01", "r", "DU1", Side.SELL, 3, Decimal("1.2"), THREE, 9)
    assert fill.contract == Contract("NFLX", "OPT", date(2026, 2, 27), Decimal(90), from_ib(theirs()).right, 100)
    with pytest.raises(DataError, match="side 'BUY'"):
        to_fill(theirs(), SimpleNamespace(**vars(execution) | {"side": "BUY"}), "r")


@pytest.mark.parametrize("commission, gain, amount", [
    (0.7934122, UNSET_DOUBLE, "0.7934122"), (-0.3333, UNSET_DOUBLE, "-0.3333"), (-1.0, 0.0, "-1"), (-1.0, 12.5, "-1"), (0.0, 0.0, "0"),
    (-1.0, UNSET_DOUBLE, None), (UNSET_DOUBLE, 0.0, None), (UNSET_DOUBLE, UNSET_DOUBLE, None), (-1.01, UNSET_DOUBLE, "-1.01"),
])  # fmt: skip
def test_commission_is_a_charge_a_rebate_or_pending(commission, gain, amount):
    told = to_commission(SimpleNamespace(execId="x", commission=commission, currency="USD", realizedPNL=gain))
    assert (told and str(told.amount)) == amount


def test_number_as_large_as_no_value_is_none():
    with pytest.raises(DataError, match="no value"):
        exact_number(1e300)


def test_stock_is_in_the_currency_that_the_broker_says_or_in_dollars():
    told = SimpleNamespace(secType="STK", symbol="KO", currency="EUR", conId=1)
    assert from_ib(told).currency == "EUR"
    told.currency = ""
    assert from_ib(told).currency == "USD"


@pytest.fixture
def loaded(monkeypatch):
    """Loads the library that has a name."""
    def load(*names):
        async def ask():
            return ib_words.library()
        monkeypatch.setattr(ib_words, "LIBRARIES", names)
        return asyncio.run(ask())
    return load


def test_library_is_silent_where_nobody_listens(loaded, monkeypatch):
    monkeypatch.setattr(logging.getLogger("ib_insync"), "handlers", [])
    for _ in range(2):
        assert loaded("no_such_library", "ib_insync").__name__ == "ib_insync"
        assert [type(h) for h in logging.getLogger("ib_insync").handlers] == [logging.NullHandler]


def test_library_that_is_missing_or_broken_is_told_with_the_next_step(loaded, monkeypatch, tmp_path):
    with pytest.raises(SettingsError, match="neither ib_insync nor ib_async is installed: pip install"):
        loaded("no_such_library")
    (tmp_path / "broken_library.py").write_text("from eventkit import nothing_of_the_kind\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingsError, match="broken_library is installed but cannot be imported.*keep one of them"):
        loaded("broken_library")


def test_commission_as_large_as_no_value_is_pending():
    assert to_commission(SimpleNamespace(execId="e", commission=1e300, realizedPNL=0.0, currency="USD")) is None
