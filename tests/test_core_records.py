"""Records take what users have (numpy and pandas scalars, text, integers) and refuse the rest by name, when they are made and not later."""
from datetime import date, datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from otsport.analytics.combinations import Leg
from otsport.analytics.montecarlo import monte_carlo
from otsport.analytics.revaluation import make_book
from otsport.analytics.var import parametric_parts
from otsport.core.contracts import Contract, Quote, Right, day_of, from_key, option, stock
from otsport.core.errors import DataError, InputError, NoPrices
from otsport.core.intent import Signal
from otsport.core.orders import Order, OrderType
from otsport.core.venues import exact_mark

DAY, NOW = date(2024, 7, 19), datetime(2024, 7, 19, 20, tzinfo=timezone.utc)
DAYS = [DAY, NOW, pd.Timestamp(DAY), pd.Timestamp(NOW), np.datetime64("2024-07-19"), np.datetime64("2024-07-19T20:00", "ns"), "2024-07-19", "20240719", 20240719, np.int64(20240719)]
NO_DAYS = [None, pd.NaT, np.datetime64("NaT"), "19/07/2024", "2024-13-01", "", 19.5, 5, True, np.float64("nan")]


@pytest.mark.parametrize("day", DAYS, ids=repr)
def test_day_in_any_kind_is_one_day(day):
    assert day_of(day) == DAY and type(day_of(day)) is date
    assert option("AAPL", day, 200, "C").expiry == DAY == Leg(1, "C", 100, 2, day).expiry


@pytest.mark.parametrize("day", NO_DAYS, ids=repr)
def test_what_is_no_day_is_refused_by_its_value(day):
    for make in (lambda: day_of(day), lambda: option("AAPL", day, 200, "C")):
        with pytest.raises(InputError, match="is no date"):
            make()


@pytest.mark.parametrize("strike", [202.35, np.float64(202.35), np.float32(202.35), "202.35", Decimal("202.350"), 101.175 + 101.175, 202.35 + 4e-14], ids=repr)
def test_strike_in_any_kind_is_one_key(strike):
    assert option("AAPL", DAY, strike, "C").key == "AAPL 20240719 C 202.35"


def test_strike_of_a_numpy_integer_is_exact():
    assert option("AAPL", DAY, np.int64(200), "C") == option("AAPL", DAY, 200, "C")
    assert option("AAPL", DAY, 0.1 + 0.2, "C").key == "AAPL 20240719 C 0.3"


@pytest.mark.parametrize("strike", [0, -5, float("nan"), float("inf"), "abc", None, True, 202.35123, [200], "-1"], ids=repr)
def test_strike_that_is_no_price_is_refused(strike):
    with pytest.raises(InputError, match="option on AAPL.*strike"):
        option("AAPL", DAY, strike, "C")


@pytest.mark.parametrize("key", ["AAPL 20240719 C 0", " AAPL", "AAPL ", None, 5, "AAPL 240719 C 150", "AAPL 20240719 X 150", "AAPL 2024-07-19 C 150", "AAPL C 150", "AAPL Jul19 150C", ""], ids=repr)
def test_key_that_is_none_is_refused(key):
    with pytest.raises(InputError, match="is no contract|is no symbol|above 0"):
        from_key(key)


def test_contract_of_strike_zero_is_refused_however_it_is_made():
    with pytest.raises(InputError, match="strike is 0"):
        Contract("AAPL", "OPT", DAY, Decimal(0), Right.CALL, 100)


def order(**given):
    return Order(**({"order_ref": "a", "account": "DU1", "portfolio": "main", "contract": stock("KO"), "side": "BUY", "qty": 1} | given))


@pytest.mark.parametrize("qty", [100, np.int64(100), np.uint8(100), "100", Decimal(100)], ids=repr)
def test_quantity_of_any_whole_kind(qty):
    assert order(qty=qty).qty == 100 and isinstance(order(qty=qty).qty, Decimal)


@pytest.mark.parametrize("given", [{"qty": 100.0}, {"qty": "nan"}, {"qty": "inf"}, {"qty": True}, {"qty": "ten"}, {"qty": None}, {"qty": 0}, {"qty": "1.5"}, {"side": "buy"}, {"contract": "KO"},
                                   *({"order_type": OrderType.LIMIT, "limit_price": p} for p in ("-1", 0, "nan", 62.7, None, "x")), {"limit_price": 5}, {"account": ""}], ids=repr)
def test_order_that_cannot_be_is_refused_by_its_reference(given):
    with pytest.raises(InputError, match="order a"):
        order(**given)


def test_one_reference_to_wait_for_is_not_taken_for_its_letters():
    assert order(waits_for="bcd").waits_for == ("bcd",) == order(waits_for=["bcd"]).waits_for
    with pytest.raises(InputError, match="waits for itself"):
        order(waits_for="a")


@pytest.mark.parametrize("instant", ["2024-07-19", DAY, 5, None, datetime(2024, 7, 19)], ids=repr)
def test_what_is_no_instant_is_refused(instant):
    with pytest.raises(InputError, match="is no instant|has no time zone"):
        Signal("s", "m", stock("KO"), "BUY", 0.5, 0.1, 0.05, instant)
    if instant is not None:
        with pytest.raises(InputError, match="is no instant|has no time zone"):
            order(not_before=instant)


@pytest.mark.parametrize("name", ["confidence", "expected_return", "max_loss", "ttl_seconds"])
@pytest.mark.parametrize("value", ["high", None, True, [0.5]], ids=repr)
def test_number_of_a_signal_is_a_number(name, value):
    with pytest.raises(InputError, match=f"signal s: {name} is"):
        Signal("s", "m", stock("KO"), "BUY", **({"confidence": 0.5, "expected_return": 0.1, "max_loss": 0.05, "ts": NOW} | {name: value}))


NAMES, COV = ["KO", "BOLT"], np.diag([0.04, 0.09])
MISSING = pd.Series([1e6, np.nan], NAMES)


@pytest.mark.parametrize("measure", [
    lambda: parametric_parts(MISSING, COV), lambda: monte_carlo(MISSING, 0.0, COV), lambda: monte_carlo([1.0, 1.0], MISSING, COV),
    lambda: make_book(MISSING, 100, 100, 0.5, 0.2, "C", NAMES), lambda: make_book([1, 1], 100, 100, 0.5, MISSING / 5e6, "C", NAMES), lambda: make_book([1, 1], 100, MISSING, 0.5, 0.2, "C", NAMES),
])
def test_missing_number_is_named_by_its_label(measure):
    with pytest.raises(DataError, match="of BOLT is nan"):
        measure()


DEEP, FAR = option("XYZ", DAY, 100, "C"), option("XYZ", DAY, 400, "C")


@pytest.mark.parametrize("bid", [float("nan"), -1.0])
def test_option_whose_bid_is_not_known_has_no_mark(bid):
    quote = Quote(DEEP, NOW, bid, 180.0)
    assert quote.mark != quote.mark
    with pytest.raises(NoPrices, match="bid .*both sides"):
        exact_mark(quote, 245.0)


@pytest.mark.parametrize("contract, bid, ask, spot, mark", [
    (DEEP, 0.0, 180.0, 245.0, "145"), (DEEP, 0.0, 300.0, 245.0, "150"), (FAR, 0.0, 0.05, 245.0, "0.025"), (FAR, 0.0, 0.05, 410.0, "10"),
    (option("XYZ", DAY, 300, "P"), 0.0, 60.0, 245.0, "55"), (DEEP, 140.0, 146.0, 245.0, "143"),
])
def test_option_that_nobody_bids_for_is_not_marked_below_its_intrinsic_value(contract, bid, ask, spot, mark):
    assert exact_mark(Quote(contract, NOW, bid, ask), spot) == Decimal(mark)


def test_option_that_nobody_bids_for_has_no_mark_without_its_underlying():
    with pytest.raises(NoPrices, match="underlying nan"):
        exact_mark(Quote(FAR, NOW, 0.0, 0.05))
    assert exact_mark(Quote(FAR, NOW, 0.01, 0.05)) == Decimal("0.03")
