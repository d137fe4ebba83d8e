"""Option expiry: every case of call/put, long/short, in/out of the money, against the broker's cash rule."""
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest
from book_support import ACCOUNT, OPEN, PORTFOLIO
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.book.ledger import positions_from
from otsport.book.lifecycle import exercise_shares, expire, expire_due
from otsport.core.errors import CheckFailed, InputError, NoPrices
from otsport.core.books import Lot, Position
from otsport.core.contracts import option, stock

EXPIRY = date(2023, 1, 20)
CLOSE = datetime(2023, 1, 20, 21, tzinfo=timezone.utc)
STRIKE = Decimal("62.5")


def held(contract, qty, price="1.50"):
    return Position(ACCOUNT, PORTFOLIO, contract, (Lot(Decimal(qty), Decimal(price), OPEN),), strategy="covered_call")


@pytest.mark.parametrize("right, qty, close, shares", [
    ("C", -2, "62.51", -200), ("C", 2, "62.51", 200), ("P", -2, "62.49", 200), ("P", 2, "62.49", -200),
    ("C", -2, "62.50", 0), ("C", 2, "62.50", 0), ("P", -2, "62.50", 0), ("P", 2, "62.50", 0),
    ("C", -2, "10", 0), ("P", -2, "900", 0), ("C", -2, "62.5099", 0), ("C", -2, "62.5101", -200), ("P", 2, "62.4901", 0),
])
def test_expiry_shares_and_cash_follow_the_brokers_rule(right, qty, close, shares):
    contract = option("KO", EXPIRY, STRIKE, right)
    bookings = expire(held(contract, qty), None, Decimal(close), CLOSE)
    assert sum(b.transaction.cash for b in bookings) == -shares * STRIKE
    assert [b.transaction.kind for b in bookings] == (["assignment"] * 2 if shares else ["expiry"])
    assert bookings[0].after.qty == 0
    assert bookings[0].after.realized == -Decimal(qty) * Decimal("1.50") * 100
    if shares:
        assert (bookings[1].after.qty, bookings[1].after.avg_price) == (shares, STRIKE)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from("CP"), st.integers(-20, 20).filter(bool), st.decimals(Decimal("0.01"), Decimal(200), places=2), st.integers(-3000, 3000))
def test_expiry_total_pnl_is_premium_plus_intrinsic_value(right, qty, close, shares):
    "Whatever happens, option and shares together are worth what the payoff says."
    contract, premium, paid = option("KO", EXPIRY, STRIKE, right), Decimal("1.5"), Decimal(61)
    under = held(stock("KO"), shares, paid) if shares else None
    bookings = expire(held(contract, qty, premium), under, close, CLOSE)
    after = {b.after.contract.key: b.after for b in bookings}
    stock_after = after.get("KO", under)
    pnl = sum(p.realized for p in after.values()) if "KO" in after else after[contract.key].realized
    pnl += stock_after.qty * close - stock_after.cost if stock_after else 0
    intrinsic = max((close - STRIKE) * (1 if right == "C" else -1), Decimal(0))
    assert pnl == qty * 100 * (intrinsic - premium) + shares * (close - paid)


def test_expiry_refs_are_unique_and_balance():
    bookings = expire(held(option("KO", EXPIRY, STRIKE, "C"), -1), None, Decimal(70), CLOSE)
    assert len({b.transaction.ref for b in bookings}) == 2
    assert all(PORTFOLIO in b.transaction.ref for b in bookings)


def test_expire_due_threads_the_shares_through_several_options():
    book = {p.contract.key: p for p in [held(stock("KO"), 300, "60"), *(held(option("KO", EXPIRY, Decimal(k), r), -1) for k, r in [(61, "C"), (62, "C"), (90, "P"), (50, "P")])]}
    bookings = expire_due(book, {"KO": Decimal(70)}, EXPIRY, CLOSE)
    for booking in bookings:
        assert booking.before == book.get(booking.after.contract.key)
        book[booking.after.contract.key] = booking.after
    assert book["KO"].qty == 300 - 100 - 100 + 100
    assert all(p.qty == 0 for key, p in book.items() if key != "KO")
    again = positions_from([b.transaction for b in bookings if b.after.contract == stock("KO")])
    assert again["KO"].qty == -100


def test_expire_due_leaves_others_alone_and_is_empty_the_second_time():
    later = held(option("KO", date(2023, 2, 17), STRIKE, "C"), -1)
    assert expire_due({later.contract.key: later, "KO": held(stock("KO"), 100)}, {"KO": Decimal(70)}, EXPIRY, CLOSE) == ()
    due = held(option("KO", EXPIRY, STRIKE, "C"), -1)
    done = expire_due({due.contract.key: due}, {"KO": Decimal(70)}, EXPIRY, CLOSE)
    assert expire_due({b.after.contract.key: b.after for b in done}, {"KO": Decimal(70)}, EXPIRY, CLOSE) == ()


def test_expiry_missed_is_named():
    due = held(option("KO", EXPIRY, STRIKE, "C"), -3)
    with pytest.raises(CheckFailed, match="DU123456: -3 KO 20230120 C 62.5 still open in session 2023-01-23"):
        expire_due({due.contract.key: due}, {"KO": Decimal(70)}, date(2023, 1, 23), CLOSE)


def test_expiry_without_official_close_is_refused():
    due = held(option("KO", EXPIRY, STRIKE, "C"), -3)
    with pytest.raises(NoPrices, match="KO"):
        expire_due({due.contract.key: due}, {"IBM": Decimal(70)}, EXPIRY, CLOSE)


@pytest.mark.parametrize("position, under, ts", [
    (held(stock("KO"), 1), None, CLOSE),
    (replace(held(option("KO", EXPIRY, STRIKE, "C"), 1), lots=()), None, CLOSE),
    (held(option("KO", EXPIRY, STRIKE, "C"), 1), None, CLOSE.replace(hour=20)),
    (held(option("KO", EXPIRY, STRIKE, "C"), 1), held(stock("IBM"), 1), CLOSE),
    (held(option("KO", EXPIRY, STRIKE, "C"), 1), replace(held(stock("KO"), 1), account="DU7"), CLOSE),
], ids=["stock", "flat", "before_the_close", "other_underlying", "other_account"])
def test_expiry_of_what_cannot_expire_is_refused(position, under, ts):
    with pytest.raises(InputError):
        expire(position, under, Decimal(70), ts)


def test_exercise_shares_threshold_is_one_cent():
    call = option("KO", EXPIRY, STRIKE, "C")
    assert exercise_shares(call, Decimal(1), STRIKE + Decimal("0.0099")) == 0
    assert exercise_shares(call, Decimal(1), STRIKE + Decimal("0.01")) == 100


@pytest.mark.parametrize("saturday, last", [(date(2014, 6, 21), datetime(2014, 6, 20, 20, tzinfo=timezone.utc)), (date(2008, 3, 22), datetime(2008, 3, 20, 20, tzinfo=timezone.utc))])
def test_saturday_expiry_is_booked_at_the_close_of_the_session_before(saturday, last):
    """Monthly options until January 2015; the second Friday was Good Friday."""
    contract = option("KO", saturday, STRIKE, "C")
    book = {contract.key: held(contract, -1)}
    assert expire_due(book, {"KO": Decimal(70)}, date(last.year, last.month, last.day - 1), last) == ()
    assert [b.after.qty for b in expire_due(book, {"KO": Decimal(70)}, last.date(), last)] == [0, -100]
    with pytest.raises(CheckFailed, match="run the session of its expiry first"):
        expire_due(book, {"KO": Decimal(70)}, date(last.year, last.month, 24), last)
