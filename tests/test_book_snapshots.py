"""Snapshots: NAV and day P&L on random days, and the four faults that check_books must name."""
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from book_support import ACCOUNT, CALL, CAPITAL, CONTRACTS, OPEN, PORTFOLIO, fill_of, run_book, trades
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.book.ledger import balances_after, book_commission, book_fill, deposit
from otsport.book.lifecycle import expire_due
from otsport.book.snapshots import cash_agrees, check_books, check_ledger, moved_by, take_snapshot
from otsport.core.errors import CheckFailed, InputError, NoPrices
from otsport.core.books import AccountValues, Holding, Position
from otsport.core.contracts import stock
from otsport.core.orders import Commission, Side

DAYS = [date(2022, 12, 28), date(2022, 12, 29)]
CLOSE = OPEN + timedelta(hours=6, minutes=30)
SECTORS = {"KO": "Consumer Staples", "AAPL": "Information Technology"}
marks = st.fixed_dictionaries({c.key: st.decimals(Decimal(0), Decimal(5000), places=3) for c in CONTRACTS})


def snapshot(history, positions, prices, previous=None, day=0, today=None):
    "The snapshot at the close of a day; `today` are the last transactions of the history, all of them where not given."
    cash = sum(t.cash for t in history)
    return take_snapshot(ACCOUNT, PORTFOLIO, DAYS[day], CLOSE + timedelta(days=day), cash, positions, prices, previous, history if today is None else today, SECTORS)


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
    history = sorted(history, key=lambda t: (t.kind, t.ref) not in known)  # as they were booked: the first day's before the second's
    if flow:
        history.append(deposit(ACCOUNT, PORTFOLIO, Decimal(flow), CLOSE + timedelta(hours=18), "flow").transaction)
    second = snapshot(history, positions, second_marks, first, day=1, today=history[split:])
    for snap, before, money in ((first, Decimal(0), CAPITAL), (second, first.nav, flow)):
        assert snap.nav == snap.cash + sum(m.value for m in snap.positions)
        assert snap.day_pnl == snap.nav - before - money == sum(m.day_pnl for m in snap.positions)
        assert snap.realized - snap.commissions + snap.unrealized == snap.nav - CAPITAL - (flow if snap is second else 0)
    balances = balances_after({}, history)
    check_books(second, first, positions, history[split:], balances, *broker(second))
    check_ledger(ACCOUNT, PORTFOLIO, positions, history, balances)


@pytest.fixture(scope="module")
def day():
    drawn = [(stock("KO"), Side.BUY, 300, Decimal("63.15"), Decimal("1.50"), False), (stock("AAPL"), Side.BUY, 50, Decimal("126.04"), Decimal("1"), False),
             (CALL, Side.SELL, 3, Decimal("1.42"), Decimal("1.95"), True), (stock("AAPL"), Side.SELL, 50, Decimal("127.00"), Decimal("1"), False)]
    history, positions, _, _ = run_book(drawn)
    snap = snapshot(history, positions, {"KO": Decimal("63.60"), CALL.key: Decimal("1.375")})
    return snap, None, positions, history, balances_after({}, history), *broker(snap)


def test_snapshot_by_hand(day):
    snap = day[0]
    assert [(m.contract.key, m.qty, m.day_pnl) for m in snap.positions] == [("AAPL", 0, Decimal("46.00")), ("KO", 300, Decimal("133.50")), (CALL.key, -3, Decimal("11.55"))]
    assert snap.day_pnl == Decimal("191.05") == snap.realized + snap.unrealized - snap.commissions
    assert [m.sector for m in snap.positions] == ["Information Technology", "Consumer Staples", "Consumer Staples"]


def test_check_books_passes_and_says_what_it_compared(day):
    checks = check_books(*day)
    assert all(c.passed for c in checks) and {"NAV", "cash", "day P&L", "KO", "AAPL", CALL.key} <= {c.subject for c in checks}


def wrong(day, **change):
    names = ("snapshot", "previous", "positions", "today", "balances", "holdings", "values")
    return [change.get(name, value) for name, value in zip(names, day)]


def test_check_books_names_a_missing_cent_at_the_broker(day):
    values = replace(day[6], cash=day[6].cash - Decimal("0.01"))
    with pytest.raises(CheckFailed, match=rf"DU123456.*cash: {day[0].cash} against {values.cash}"):
        check_books(*wrong(day, values=values))


def test_check_books_names_a_missing_cent_in_the_snapshot(day):
    snap = replace(day[0], nav=day[0].nav - Decimal("0.01"))
    with pytest.raises(CheckFailed, match=rf"DU123456.*NAV: {snap.nav} against"):
        check_books(*wrong(day, snapshot=snap))


def test_check_books_names_a_share_too_many(day):
    holdings = [replace(h, qty=h.qty + 1) if h.contract == stock("KO") else h for h in day[5]]
    with pytest.raises(CheckFailed, match="DU123456.*KO: 300 against 301"):
        check_books(*wrong(day, holdings=holdings))


def test_check_books_names_a_share_too_many_in_the_store(day):
    more = book_fill(fill_of(90, stock("KO"), Side.BUY, 1, "63.15"), PORTFOLIO, day[2]["KO"]).after
    with pytest.raises(CheckFailed, match="DU123456.*KO: 301 against 300"):
        check_books(*wrong(day, positions={**day[2], "KO": more}))


def test_check_books_names_a_symbol_of_another_account(day):
    with pytest.raises(CheckFailed, match="DU123456.*7 IBM are of account DU777777.* 0"):
        check_books(*wrong(day, holdings=[*day[5], Holding("DU777777", stock("IBM"), Decimal(7))]))


def test_check_books_names_a_stored_position_of_another_account(day):
    foreign = book_fill(fill_of(91, stock("IBM"), Side.BUY, 7, "140", account="DU777777"), PORTFOLIO, None).after
    with pytest.raises(CheckFailed, match="DU123456.*7 IBM are of account DU777777.* 0"):
        check_books(*wrong(day, positions={**day[2], "IBM": foreign}))


def test_check_books_names_values_of_another_account(day):
    with pytest.raises(CheckFailed, match="DU123456.*DU777777"):
        check_books(*wrong(day, values=replace(day[6], account="DU777777")))


def test_check_books_names_a_position_that_only_the_broker_has(day):
    with pytest.raises(CheckFailed, match="DU123456.*JPM: 0 against 7"):
        check_books(*wrong(day, holdings=[*day[5], Holding(ACCOUNT, stock("JPM"), Decimal(7))]))


def test_check_books_names_a_position_that_the_broker_lacks(day):
    with pytest.raises(CheckFailed, match="DU123456.*KO: 300 against 0"):
        check_books(*wrong(day, holdings=[h for h in day[5] if h.contract != stock("KO")]))


def test_check_books_names_a_fill_that_was_lost(day):
    with pytest.raises(CheckFailed, match=r"DU123456.*cash: .* against .*KO: 300 against 0"):
        check_books(*wrong(day, today=[t for t in day[3] if t.ref != "x0000"]))


def test_check_books_names_a_fill_that_was_booked_twice(day):
    with pytest.raises(CheckFailed, match="DU123456, KO: buy x0000 is booked 2 times"):
        check_books(*wrong(day, today=[*day[3], day[3][1]]))


def test_check_books_reports_all_differences_together(day):
    values = replace(day[6], cash=Decimal(0))
    with pytest.raises(CheckFailed, match="cash: .*JPM: 0 against 7"):
        check_books(*wrong(day, values=values, holdings=[*day[5], Holding(ACCOUNT, stock("JPM"), Decimal(7))]))


def test_snapshot_without_a_mark_is_refused(day):
    with pytest.raises(NoPrices, match="DU123456.*300 KO"):
        snapshot(day[3], day[2], {CALL.key: Decimal(1)})


def test_snapshot_that_misses_a_transaction_is_refused(day):
    with pytest.raises(CheckFailed, match="DU123456, cash"):
        take_snapshot(ACCOUNT, PORTFOLIO, DAYS[0], CLOSE, day[0].cash, day[2], {}, None, day[3][:-1], {})


@pytest.mark.parametrize("change", [{"session": DAYS[1]}, {"account": "DU777777"}, {"portfolio": "other"}], ids=lambda c: next(iter(c)))
def test_snapshot_with_a_wrong_previous_is_refused(day, change):
    with pytest.raises(InputError, match="previous snapshot"):
        snapshot(day[3], day[2], {}, replace(day[0], **change), day=1)


def test_snapshot_over_an_assignment_sums_by_contract(day):
    snap, _, positions, history, *_ = day
    ts = CLOSE.replace(year=2023, month=1, day=20)
    opened, bookings = len(history), expire_due(positions, {"KO": Decimal("65.00")}, date(2023, 1, 20), ts)
    for booking in bookings:
        positions, history = {**positions, booking.after.contract.key: booking.after}, [*history, booking.transaction]
    end = take_snapshot(ACCOUNT, PORTFOLIO, date(2023, 1, 20), ts, sum(t.cash for t in history), positions, {}, snap, history[opened:], SECTORS)
    assert [(m.contract.key, m.qty, m.day_pnl) for m in end.positions] == [("KO", 0, Decimal("-330.00")), (CALL.key, 0, Decimal("412.50"))]
    assert end.day_pnl == Decimal("82.50") == sum(m.day_pnl for m in end.positions)
    balances = balances_after({}, history)
    check_books(end, snap, positions, history[opened:], balances, *broker(end))
    check_ledger(ACCOUNT, PORTFOLIO, positions, history, balances)


def test_snapshot_of_an_empty_book():
    history = [deposit(ACCOUNT, PORTFOLIO, CAPITAL, OPEN, "opening").transaction]
    snap = snapshot(history, {}, {})
    assert (snap.nav, snap.day_pnl, snap.positions) == (CAPITAL, 0, ())
    check_books(snap, None, {}, history, balances_after({}, history), *broker(snap))


def test_snapshot_leaves_out_what_was_flat_before(day):
    flat = Position(ACCOUNT, PORTFOLIO, stock("IBM"), realized=Decimal(5))
    assert "IBM" not in {m.contract.key for m in snapshot(day[3], {**day[2], "IBM": flat}, {"KO": Decimal(60), CALL.key: Decimal(1)}).positions}


# --- cash at the broker's precision


@pytest.mark.parametrize("ours, theirs, days, agree", [
    ("923405.005", "923405.01", 1, True), ("923405.005", "923405.00", 1, True),  # BUY 333 with a fee of 1.665
    ("922941.625", "922941.62", 1, True), ("923405.0051", "923405.00", 1, False), ("923405.0149", "923405.01", 1, True),
    ("100.01", "100.00", 1, False), ("100.01", "100.00", 2, True), ("100.0101", "100.00", 2, False),
    ("-122.9487", "-122.95", 1, True), ("-122.9487", "-122.9487", 1, True), ("-122.94875", "-122.9487", 1, True), ("-122.9488", "-122.9487", 1, False),
    ("1000000.30", "1000000", 1, False), ("1000000.004", "1000000", 1, True), ("1000000.04", "1000000.0", 1, False),
])  # fmt: skip
def test_cash_agrees_to_half_a_unit_of_the_brokers_last_digit(ours, theirs, days, agree):
    assert cash_agrees(Decimal(ours), Decimal(theirs), days) is agree


def test_a_fee_of_half_a_cent_is_no_difference():
    "BUY 333 at 230.00 with a fee of 1.665 leaves 923408.335; the broker may round it either way."
    history, positions, _, _ = run_book([(stock("KO"), Side.BUY, 333, Decimal("230.00"), Decimal("1.665"), False)])
    snap = snapshot(history, positions, {"KO": Decimal("230.00")})
    assert snap.cash == Decimal("923408.335")
    for theirs, fails in (("923408.33", False), ("923408.34", False), ("923408.32", True), ("923408.35", True)):
        holdings, values = broker(snap)
        check = lambda: check_books(snap, None, positions, history, balances_after({}, history), holdings, replace(values, cash=Decimal(theirs)))  # noqa: E731, B023
        if fails:
            with pytest.raises(CheckFailed, match=f"cash: 923408.335 against {theirs}"):
                check()
        else:
            check()


# --- every number that a day states is compared


def raised(day, names, **change):
    with pytest.raises(CheckFailed) as error:
        check_books(*wrong(day, **change))
    found = str(error.value)
    assert all(name in found for name in names), found


@pytest.mark.parametrize("field, names", [
    ("cash", ["cash: "]), ("realized", ["realized: "]), ("commissions", ["commissions: "]), ("unrealized", ["unrealized: "]),
    ("day_pnl", ["day P&L: "]), ("nav", ["NAV: "]),
])  # fmt: skip
def test_check_books_names_a_wrong_total(day, field, names):
    raised(day, names, snapshot=replace(day[0], **{field: getattr(day[0], field) + Decimal("0.01")}))


@pytest.mark.parametrize("name, words", [
    ("cash", "cash: .* .snapshot against the running balance"), ("realized", "realized: .* .snapshot against the running balance"),
    ("commissions", "commissions: .* .snapshot against the running balance"), ("capital", "NAV: .* .snapshot against deposits"),
])  # fmt: skip
def test_check_books_names_a_wrong_running_balance(day, name, words):
    with pytest.raises(CheckFailed, match=words):
        check_books(*wrong(day, balances=day[4] | {name: day[4][name] + Decimal("0.01")}))


@pytest.mark.parametrize("field, words", [
    ("qty", "units stored against the snapshot"), ("unrealized", "unrealized in the snapshot against value less cost"), ("day_pnl", "day P&L in the snapshot"),
])  # fmt: skip
def test_check_books_names_a_wrong_row_of_the_snapshot(day, field, words):
    marks = [replace(m, **{field: getattr(m, field) + 1}) if m.contract == stock("KO") else m for m in day[0].positions]
    raised(day, [f"({words}"], snapshot=replace(day[0], positions=tuple(marks)))


def test_check_books_names_a_lot_of_another_price(day):
    lots = tuple(replace(lot, price=lot.price + Decimal("0.01")) for lot in day[2]["KO"].lots)
    raised(day, ["KO: 18948.00 against 18945.00 (cost stored"], positions={**day[2], "KO": replace(day[2]["KO"], lots=lots)})


@pytest.mark.parametrize("field", ["qty", "cost", "realized", "commission"])
def test_check_ledger_names_each_wrong_number_of_a_position(day, field):
    p = day[2]["KO"]
    change = {"qty": {"lots": (replace(p.lots[0], qty=p.lots[0].qty + 1),)}, "cost": {"lots": (replace(p.lots[0], price=p.lots[0].price + 1),)},
              "realized": {"realized": p.realized + 1}, "commission": {"commission": p.commission + 1}}[field]  # fmt: skip
    with pytest.raises(CheckFailed, match=rf"DU123456, portfolio main: .*KO: \S+ against \S+ \({field} stored against the transactions"):
        check_ledger(ACCOUNT, PORTFOLIO, {**day[2], "KO": replace(p, **change)}, day[3], day[4])


@pytest.mark.parametrize("name", ["cash", "capital", "realized", "commissions", "position"])
def test_check_ledger_names_a_wrong_balance(day, name):
    with pytest.raises(CheckFailed, match=f"balance of {name}: "):
        check_ledger(ACCOUNT, PORTFOLIO, day[2], day[3], day[4] | {name: day[4][name] + Decimal("0.01")})
    with pytest.raises(CheckFailed, match=f"balance of {name}: 0 against"):
        check_ledger(ACCOUNT, PORTFOLIO, day[2], day[3], {k: v for k, v in day[4].items() if k != name})


@pytest.mark.parametrize("change, words", [
    ({"transactions": lambda h: h[:-1]}, "balance of"), ({"transactions": lambda h: [*h, h[1]]}, "booked 2 times"),
    ({"positions": lambda p: {k: v for k, v in p.items() if k != "AAPL"}}, r"AAPL: 0 against 48.00 .realized"),
])  # fmt: skip
def test_check_ledger_names_what_is_missing_or_there_twice(day, change, words):
    given = {"positions": day[2], "transactions": day[3]}
    given |= {name: f(given[name]) for name, f in change.items()}
    with pytest.raises(CheckFailed, match=words):
        check_ledger(ACCOUNT, PORTFOLIO, given["positions"], given["transactions"], day[4])


# --- a day of its own transactions


@pytest.fixture
def two_days(day):
    "The second day: 100 KO sold at 64 for a dollar; the fill carries the very instant of the first snapshot."
    snap, _, positions, history, *_ = day
    fill = replace(fill_of(80, stock("KO"), Side.SELL, 100, "64.00"), ts=snap.ts)
    sold = book_fill(fill, PORTFOLIO, positions["KO"])
    paid = book_commission(Commission(fill.exec_id, Decimal(1)), fill, PORTFOLIO, sold.after, snap.ts)
    today = [sold.transaction, paid.transaction]
    positions, history = {**positions, "KO": paid.after}, [*history, *today]
    second = snapshot(history, positions, {"KO": Decimal("63.90"), CALL.key: Decimal("1.375")}, snap, day=1, today=today)
    return second, snap, positions, today, balances_after({}, history), *broker(second)


def test_what_is_booked_in_the_instant_of_the_last_snapshot_counts_once(two_days):
    "200 KO gain 0.30 since 63.60, 100 sold at 0.40 above it, a dollar of commission: 60 + 40 - 1."
    second, first, *_ = two_days
    assert (second.day_pnl, second.nav - first.nav) == (Decimal("99.00"), Decimal("99.00"))
    assert second.realized - first.realized == Decimal("85.00") and second.commissions - first.commissions == 1  # 100 x (64.00 - 63.15)
    check_books(*two_days)


def test_a_transaction_of_yesterday_among_todays_is_refused(two_days, day):
    second, first, positions, today, balances, *_ = two_days
    with pytest.raises(CheckFailed, match="cash"):
        take_snapshot(ACCOUNT, PORTFOLIO, DAYS[1], second.ts, second.cash, positions, {"KO": Decimal(64), CALL.key: Decimal(1)}, first, [day[3][-1], *today], SECTORS)
    with pytest.raises(CheckFailed, match="cash: .*KO|KO.*against"):
        check_books(*wrong(two_days, today=[day[3][1], *today]))


def test_a_day_is_checked_against_the_day_before(two_days):
    first = two_days[1]
    for change, words in (({"cash": first.cash + 1}, "cash: "), ({"realized": first.realized + 1}, "realized: "), ({"commissions": first.commissions + 1}, "commissions: "),
                          ({"nav": first.nav + 1}, "NAV: ")):  # fmt: skip
        raised(two_days, [words], previous=replace(first, **change))
    marks = tuple(replace(m, qty=m.qty + 1) if m.contract == stock("KO") else m for m in first.positions)
    raised(two_days, ["KO: 200 against 201 (units stored against the previous snapshot"], previous=replace(first, positions=marks))


def test_a_position_that_moved_must_be_given(two_days, day):
    second, first, positions, today, *_ = two_days
    for without in ("KO", CALL.key):
        with pytest.raises(InputError, match=f"no position of {without}, which moved since"):
            take_snapshot(ACCOUNT, PORTFOLIO, DAYS[1], second.ts, second.cash, {k: p for k, p in positions.items() if k != without}, {"KO": Decimal(64)}, first, today, SECTORS)


def test_what_was_closed_long_ago_need_not_be_read(two_days):
    "AAPL was flat at the first snapshot: the second day is the same without it."
    second, first, positions, today, balances, holdings, values = two_days
    held = {k: p for k, p in positions.items() if k != "AAPL"}
    again = take_snapshot(ACCOUNT, PORTFOLIO, DAYS[1], second.ts, second.cash, held, {"KO": Decimal("63.90"), CALL.key: Decimal("1.375")}, first, today, SECTORS)
    assert again == second
    check_books(second, first, held, today, balances, holdings, values)


def test_moved_by_takes_one_account_of_the_books(day):
    assert moved_by(day[3], "commissions") == day[0].commissions == Decimal("5.45") and moved_by(day[3], "capital") == -CAPITAL
