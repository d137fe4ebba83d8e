"""Snapshots: NAV and day P&L on random days, and the four faults that check_books must name."""
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from book_support import ACCOUNT, CALL, CAPITAL, CONTRACTS, OPEN, PORTFOLIO, fill_of, run_book, trades
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.book.ledger import book_fill, deposit
from otsport.book.lifecycle import expire_due
from otsport.book.snapshots import check_books, take_snapshot
from otsport.core.errors import CheckFailed, InputError, NoPrices
from otsport.core.books import AccountValues, Holding, Position
from otsport.core.contracts import stock
from otsport.core.orders import Side

DAYS = [date(2022, 12, 28), date(2022, 12, 29)]
CLOSE = OPEN + timedelta(hours=6, minutes=30)
SECTORS = {"KO": "Consumer Staples", "AAPL": "Information Technology"}
marks = st.fixed_dictionaries({c.key: st.decimals(Decimal(0), Decimal(5000), places=3) for c in CONTRACTS})


def snapshot(history, positions, prices, previous=None, day=0, ts=None):
    cash = sum(t.cash for t in history)
    return take_snapshot(ACCOUNT, PORTFOLIO, DAYS[day], ts or CLOSE + timedelta(days=day), cash, positions, prices, previous, history, SECTORS)


def broker(snap):
    holdings = [Holding(ACCOUNT, m.contract, m.qty) for m in snap.positions if m.qty]
    return holdings, AccountValues(ACCOUNT, snap.nav, snap.cash, snap.cash)


@settings(max_examples=80, deadline=None)
@given(trades, trades, marks, marks, st.integers(-50_000, 50_000))
def test_day_pnl_is_the_sum_of_its_contracts_on_random_days(first_day, second_day, first_marks, second_marks, flow):
    history, positions, fills, _ = run_book(first_day)
    first = snapshot(history, positions, first_marks)
    history, positions, fills, _ = run_book(first_day + second_day)
    split = len(run_book(first_day)[0])
    known = {(t.kind, t.ref) for t in run_book(first_day)[0]}
    history = [t if (t.kind, t.ref) in known else replace(t, ts=CLOSE + timedelta(hours=18)) for t in history]
    assert sum(t.ts <= CLOSE for t in history) == split
    if flow:
        history.append(deposit(ACCOUNT, PORTFOLIO, Decimal(flow), CLOSE + timedelta(hours=18), "flow").transaction)
    second = snapshot(history, positions, second_marks, first, day=1)
    for snap, before, money in ((first, Decimal(0), CAPITAL), (second, first.nav, flow)):
        assert snap.nav == snap.cash + sum(m.value for m in snap.positions)
        assert snap.day_pnl == snap.nav - before - money == sum(m.day_pnl for m in snap.positions)
    check_books(second, positions, history, *broker(second))


@pytest.fixture(scope="module")
def day():
    drawn = [(stock("KO"), Side.BUY, 300, Decimal("63.15"), Decimal("1.50"), False), (stock("AAPL"), Side.BUY, 50, Decimal("126.04"), Decimal("1"), False),
             (CALL, Side.SELL, 3, Decimal("1.42"), Decimal("1.95"), True), (stock("AAPL"), Side.SELL, 50, Decimal("127.00"), Decimal("1"), False)]
    history, positions, _, _ = run_book(drawn)
    snap = snapshot(history, positions, {"KO": Decimal("63.60"), CALL.key: Decimal("1.375")})
    return snap, positions, history, *broker(snap)


def test_snapshot_by_hand(day):
    snap = day[0]
    assert [(m.contract.key, m.qty, m.day_pnl) for m in snap.positions] == [("AAPL", 0, Decimal("46.00")), ("KO", 300, Decimal("133.50")), (CALL.key, -3, Decimal("11.55"))]
    assert snap.day_pnl == Decimal("191.05") == snap.realized + snap.unrealized - snap.commissions
    assert [m.sector for m in snap.positions] == ["Information Technology", "Consumer Staples", "Consumer Staples"]


def test_check_books_passes_and_says_what_it_compared(day):
    checks = check_books(*day)
    assert all(c.passed for c in checks) and {"NAV", "cash", "day P&L", "KO", "AAPL", CALL.key} <= {c.subject for c in checks}


def wrong(day, **change):
    names = ("snapshot", "positions", "transactions", "holdings", "values")
    return [change.get(name, value) for name, value in zip(names, day)]


def test_check_books_names_a_missing_cent_at_the_broker(day):
    values = replace(day[4], cash=day[4].cash - Decimal("0.01"))
    with pytest.raises(CheckFailed, match=rf"DU123456.*cash: {day[0].cash} against {values.cash}"):
        check_books(*wrong(day, values=values))


def test_check_books_names_a_missing_cent_in_the_snapshot(day):
    snap = replace(day[0], nav=day[0].nav - Decimal("0.01"))
    with pytest.raises(CheckFailed, match=rf"DU123456.*NAV: {snap.nav} against"):
        check_books(*wrong(day, snapshot=snap))


def test_check_books_names_a_share_too_many(day):
    holdings = [replace(h, qty=h.qty + 1) if h.contract == stock("KO") else h for h in day[3]]
    with pytest.raises(CheckFailed, match="DU123456.*KO: 300 against 301"):
        check_books(*wrong(day, holdings=holdings))


def test_check_books_names_a_share_too_many_in_the_store(day):
    more = book_fill(fill_of(90, stock("KO"), Side.BUY, 1, "63.15"), PORTFOLIO, day[1]["KO"]).after
    with pytest.raises(CheckFailed, match="DU123456.*KO: 301 against 300"):
        check_books(*wrong(day, positions={**day[1], "KO": more}))


def test_check_books_names_a_symbol_of_another_account(day):
    with pytest.raises(CheckFailed, match="DU123456.*7 IBM are of account DU777777.* 0"):
        check_books(*wrong(day, holdings=[*day[3], Holding("DU777777", stock("IBM"), Decimal(7))]))


def test_check_books_names_a_stored_position_of_another_account(day):
    foreign = book_fill(fill_of(91, stock("IBM"), Side.BUY, 7, "140", account="DU777777"), PORTFOLIO, None).after
    with pytest.raises(CheckFailed, match="DU123456.*7 IBM are of account DU777777.* 0"):
        check_books(*wrong(day, positions={**day[1], "IBM": foreign}))


def test_check_books_names_values_of_another_account(day):
    with pytest.raises(CheckFailed, match="DU123456.*DU777777"):
        check_books(*wrong(day, values=replace(day[4], account="DU777777")))


def test_check_books_names_a_position_that_only_the_broker_has(day):
    with pytest.raises(CheckFailed, match="DU123456.*JPM: 0 against 7"):
        check_books(*wrong(day, holdings=[*day[3], Holding(ACCOUNT, stock("JPM"), Decimal(7))]))


def test_check_books_names_a_position_that_the_broker_lacks(day):
    with pytest.raises(CheckFailed, match="DU123456.*KO: 300 against 0"):
        check_books(*wrong(day, holdings=[h for h in day[3] if h.contract != stock("KO")]))


def test_check_books_names_a_fill_that_was_lost(day):
    with pytest.raises(CheckFailed, match=r"DU123456.*cash: .* against .*KO: 300 against 0"):
        check_books(*wrong(day, transactions=[t for t in day[2] if t.ref != "x0000"]))


def test_check_books_names_a_fill_that_was_booked_twice(day):
    with pytest.raises(CheckFailed, match="DU123456, KO: buy x0000 is booked 2 times"):
        check_books(*wrong(day, transactions=[*day[2], day[2][1]]))


def test_check_books_reports_all_differences_together(day):
    values = replace(day[4], cash=Decimal(0))
    with pytest.raises(CheckFailed, match="cash: .*JPM: 0 against 7"):
        check_books(*wrong(day, values=values, holdings=[*day[3], Holding(ACCOUNT, stock("JPM"), Decimal(7))]))


def test_snapshot_without_a_mark_is_refused(day):
    with pytest.raises(NoPrices, match="DU123456.*300 KO"):
        snapshot(day[2], day[1], {CALL.key: Decimal(1)})


def test_snapshot_that_misses_a_transaction_is_refused(day):
    with pytest.raises(CheckFailed, match="DU123456, cash"):
        take_snapshot(ACCOUNT, PORTFOLIO, DAYS[0], CLOSE, day[0].cash, day[1], {}, None, day[2][:-1], {})


@pytest.mark.parametrize("change", [{"session": DAYS[1]}, {"account": "DU777777"}, {"portfolio": "other"}], ids=lambda c: next(iter(c)))
def test_snapshot_with_a_wrong_previous_is_refused(day, change):
    with pytest.raises(InputError, match="previous snapshot"):
        snapshot(day[2], day[1], {}, replace(day[0], **change), day=1)


def test_snapshot_over_an_assignment_sums_by_contract(day):
    snap, positions, history, *_ = day
    ts = CLOSE.replace(year=2023, month=1, day=20)
    bookings = expire_due(positions, {"KO": Decimal("65.00")}, date(2023, 1, 20), ts)
    for booking in bookings:
        positions, history = {**positions, booking.after.contract.key: booking.after}, [*history, booking.transaction]
    end = take_snapshot(ACCOUNT, PORTFOLIO, date(2023, 1, 20), ts, sum(t.cash for t in history), positions, {}, snap, history, SECTORS)
    assert [(m.contract.key, m.qty, m.day_pnl) for m in end.positions] == [("KO", 0, Decimal("-330.00")), (CALL.key, 0, Decimal("412.50"))]
    assert end.day_pnl == Decimal("82.50") == sum(m.day_pnl for m in end.positions)
    check_books(end, positions, history, *broker(end))


def test_snapshot_of_an_empty_book():
    history = [deposit(ACCOUNT, PORTFOLIO, CAPITAL, OPEN, "opening").transaction]
    snap = snapshot(history, {}, {})
    assert (snap.nav, snap.day_pnl, snap.positions) == (CAPITAL, 0, ())
    check_books(snap, {}, history, *broker(snap))


def test_snapshot_leaves_out_what_was_flat_before(day):
    flat = Position(ACCOUNT, PORTFOLIO, stock("IBM"), realized=Decimal(5))
    assert "IBM" not in {m.contract.key for m in snapshot(day[2], {**day[1], "IBM": flat}, {"KO": Decimal(60), CALL.key: Decimal(1)}).positions}
