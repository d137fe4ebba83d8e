"""Ledger: random sequences of fills against identities and against an independent recomputation."""
from dataclasses import replace
from decimal import Decimal

import pytest
from book_support import ACCOUNT, CALL, CAPITAL, CONTRACTS, OPEN, PORTFOLIO, fill_of, run_book, trades
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otsport.book.ledger import balances_after, book_commission, book_fill, book_move, deposit, match_lots, positions_from, trial_balance
from otsport.core.errors import CheckFailed, InputError
from otsport.core.books import Lot, Position, TransactionKind
from otsport.core.contracts import stock
from otsport.core.orders import Commission, Side

ZERO = Decimal(0)


@settings(max_examples=150, deadline=None)
@given(trades)
def test_cash_is_deposits_plus_fills_less_commissions(drawn):
    history, _, fills, fees = run_book(drawn)
    assert sum(t.cash for t in history) == CAPITAL + sum((f.cash for f in fills), ZERO) - sum(fees, ZERO)


@settings(max_examples=150, deadline=None)
@given(trades)
def test_units_are_the_sum_of_signed_fills(drawn):
    _, positions, fills, _ = run_book(drawn)
    for key, position in positions.items():
        assert position.qty == sum(f.signed_qty for f in fills if f.contract.key == key)


@settings(max_examples=150, deadline=None)
@given(trades)
def test_lots_never_mix_signs_nor_stand_empty(drawn):
    _, positions, _, _ = run_book(drawn)
    for position in positions.values():
        assert all(lot.qty for lot in position.lots)
        assert len({lot.qty > 0 for lot in position.lots}) <= 1
        assert list(position.lots) == sorted(position.lots, key=lambda lot: lot.opened)


@settings(max_examples=150, deadline=None)
@given(trades, st.data())
def test_realized_plus_unrealized_is_value_plus_cash_of_the_fills(drawn, data):
    _, positions, fills, _ = run_book(drawn)
    for key, position in positions.items():
        mark = data.draw(st.decimals(ZERO, Decimal(5000), places=3))
        value = position.qty * mark * position.contract.multiplier
        assert position.realized + (value - position.cost) == value + sum(f.cash for f in fills if f.contract.key == key)


@settings(max_examples=200, deadline=None)
@given(trades)
@example([(CONTRACTS[0], Side.BUY, 100, Decimal(10), ZERO, False), (CONTRACTS[0], Side.SELL, 250, Decimal(11), ZERO, True), (CONTRACTS[0], Side.BUY, 150, Decimal(9), ZERO, True)])
def test_positions_from_transactions_equal_those_built_fill_by_fill(drawn):
    history, positions, _, _ = run_book(drawn)
    assert positions_from(history) == dict(sorted(positions.items()))


@settings(max_examples=100, deadline=None)
@given(trades)
def test_trial_balance_holds_position_cost_and_realized(drawn):
    history, positions, _, fees = run_book(drawn)
    books = trial_balance(history)
    assert sum(books.values()) == 0
    amount = lambda name: books.get((ACCOUNT, PORTFOLIO, name, "USD"), ZERO)
    assert amount("realized") == -sum((p.realized for p in positions.values()), ZERO)
    assert amount("commissions") == sum(fees, ZERO) == sum((p.commission for p in positions.values()), ZERO)
    for key, position in positions.items():
        assert amount(f"position:{key}") == position.cost


@pytest.mark.parametrize(
    "lots, qty, price, left, gain",
    [
        ([], 100, 10, [(100, 10)], 0),
        ([(100, 10)], -40, 12, [(60, 10)], 80),
        ([(100, 10), (50, 12)], -100, 9, [(50, 12)], -100),
        ([(100, 10), (50, 12)], -150, 11, [], 50),
        ([(100, 10)], -130, 12, [(-30, 12)], 200),
        ([(-100, 10)], 130, 8, [(30, 8)], 200),
        ([(-100, 10), (-20, 9)], 110, 12, [(-10, 9)], -230),
        ([(-5, 10)], -5, 11, [(-5, 10), (-5, 11)], 0),
    ],
    ids=["open", "partial_close", "close_one_lot", "close_all", "cross_to_short", "cross_to_long", "short_over_two_lots", "add_to_short"],
)
def test_fifo_lots(lots, qty, price, left, gain):
    got, earned = match_lots(tuple(Lot(Decimal(q), Decimal(p), OPEN) for q, p in lots), Decimal(qty), Decimal(price), OPEN)
    assert ([(lot.qty, lot.price) for lot in got], earned) == (left, gain)


def test_fifo_lots_newest_first_would_be_seen():
    "Negative control of the independent recomputation: lots kept in the wrong order must differ from it."
    fills = [fill_of(1, stock("KO"), Side.BUY, 10, "10"), fill_of(2, stock("KO"), Side.BUY, 10, "20"), fill_of(3, stock("KO"), Side.SELL, 10, "30")]
    history, position = [], None
    for fill in fills:
        if fill.side is Side.SELL:
            position = replace(position, lots=position.lots[::-1])
        booking = book_fill(fill, PORTFOLIO, position)
        history, position = [*history, booking.transaction], booking.after
    again = positions_from(history)["KO"]
    assert (again.realized, again.cost) == (200, 200) and (position.realized, position.cost) == (100, 100)


def test_commission_of_a_closed_position_is_kept():
    buy, sell = fill_of(1, CALL, Side.BUY, 2, "1.05"), fill_of(2, CALL, Side.SELL, 2, "1.10")
    flat = book_fill(sell, PORTFOLIO, book_fill(buy, PORTFOLIO, None).after).after
    charged = book_commission(Commission("x0002", Decimal("1.30")), sell, PORTFOLIO, flat, OPEN).after
    assert (charged.qty, charged.realized, charged.commission) == (0, Decimal("10.00"), Decimal("1.30"))


def test_commission_before_its_fill_is_refused():
    fill = fill_of(1, CALL, Side.BUY, 2, "1.05")
    with pytest.raises(InputError, match="book its fill first"):
        book_commission(Commission("x0001", Decimal("1.30")), fill, PORTFOLIO, None, OPEN)


@pytest.mark.parametrize("change", [{"account": "DU999999"}, {"portfolio": "other"}, {"contract": stock("IBM")}], ids=lambda c: next(iter(c)))
def test_fill_into_a_position_of_another_place_is_refused(change):
    fill = fill_of(1, stock("KO"), Side.BUY, 10, "62.50")
    with pytest.raises(InputError, match="belongs to"):
        book_fill(fill, PORTFOLIO, replace(Position(ACCOUNT, PORTFOLIO, stock("KO")), **change))


def test_strategy_tag_stays_until_the_position_is_flat():
    tagged = book_fill(fill_of(1, CALL, Side.SELL, 2, "1"), PORTFOLIO, None, "covered_call").after
    added = book_fill(fill_of(2, CALL, Side.SELL, 1, "1"), PORTFOLIO, tagged, "other").after
    flat = book_fill(fill_of(3, CALL, Side.BUY, 3, "1"), PORTFOLIO, added, "other").after
    anew = book_fill(fill_of(4, CALL, Side.SELL, 1, "1"), PORTFOLIO, flat, "other").after
    assert [p.strategy for p in (tagged, added, flat, anew)] == ["covered_call", "covered_call", "covered_call", "other"]


def test_book_move_that_would_round_is_refused():
    with pytest.raises(InputError, match="without rounding"):
        book_move(TransactionKind.BUY, "x", Position(ACCOUNT, PORTFOLIO, stock("KO")), Decimal(7), Decimal(1) / 3, OPEN)


def test_fill_booked_late_keeps_the_instant_of_its_lot():
    fill = fill_of(1, stock("KO"), Side.BUY, 10, "62.50")
    booking = book_fill(fill, PORTFOLIO, None, ts=OPEN.replace(hour=22))
    assert (booking.transaction.ts.hour, booking.after.lots[0].opened) == (22, fill.ts)


@pytest.mark.parametrize("amount", ["0", "NaN", "Infinity"])
def test_deposit_of_nothing_is_refused(amount):
    with pytest.raises(InputError):
        deposit(ACCOUNT, PORTFOLIO, Decimal(amount), OPEN, "d")


def test_trial_balance_sees_a_changed_leg():
    history, *_ = run_book([(stock("KO"), Side.BUY, 10, Decimal("62.5"), Decimal(1), False)])
    object.__setattr__(history[1].legs[0], "amount", Decimal("-624.99"))
    with pytest.raises(CheckFailed, match="DU123456.*0.01 USD"):
        trial_balance(history)


@pytest.mark.parametrize("qty, price", [("0", "10"), ("NaN", "10"), ("Infinity", "10"), ("5", "-0.01"), ("5", "NaN"), ("5", "Infinity")])
def test_move_of_no_units_or_at_no_price_is_refused_by_name(qty, price):
    with pytest.raises(InputError, match="BUY|buy.*x moves"):
        book_move(TransactionKind.BUY, "x", Position(ACCOUNT, PORTFOLIO, stock("KO")), Decimal(qty), Decimal(price), OPEN)


def test_move_at_nothing_is_booked():
    after = book_move(TransactionKind.BUY, "x", Position(ACCOUNT, PORTFOLIO, stock("KO")), Decimal(5), Decimal(0), OPEN).after
    assert (after.qty, after.cost) == (5, 0)


@pytest.mark.parametrize("qty", ["0", "-1", "NaN", "Infinity"])
def test_fill_of_no_units_is_refused(qty):
    with pytest.raises(InputError, match="must be positive"):
        book_fill(replace(fill_of(1, stock("KO"), Side.BUY, 10, "62.50"), qty=Decimal(qty)), PORTFOLIO, None)


@pytest.mark.parametrize("change, words", [({"portfolio": "other"}, "commission x0001 belongs to"), ({"contract": stock("IBM")}, "commission x0001 belongs to")])
def test_commission_on_a_position_of_another_place_is_refused(change, words):
    fill = fill_of(1, stock("KO"), Side.BUY, 10, "62.50")
    with pytest.raises(InputError, match=words):
        book_commission(Commission("x0001", Decimal("1.30")), fill, PORTFOLIO, replace(Position(ACCOUNT, PORTFOLIO, stock("KO")), **change), OPEN)


@pytest.mark.parametrize("charge, words", [(Commission("x0009", Decimal(1)), "does not belong to fill"), (Commission("x0001", Decimal(1), "EUR"), "is in EUR")])
def test_commission_of_another_fill_or_currency_is_refused(charge, words):
    fill = fill_of(1, stock("KO"), Side.BUY, 10, "62.50")
    with pytest.raises(InputError, match=words):
        book_commission(charge, fill, PORTFOLIO, Position(ACCOUNT, PORTFOLIO, stock("KO")), OPEN)


@settings(max_examples=50, deadline=None)
@given(trades, st.data())
def test_running_balances_are_the_trial_balance_of_what_came_in_between(drawn, data):
    history, *_ = run_book(drawn)
    cut = data.draw(st.integers(0, len(history)))
    assert {k: v for k, v in balances_after(balances_after({}, history[:cut]), history[cut:]).items() if v} == {k: v for k, v in balances_after({}, history).items() if v}
    names: dict = {}
    for (_, _, name, _), amount in trial_balance(history).items():
        name = name.partition(":")[0]
        names[name] = names.get(name, ZERO) + amount
    assert balances_after({}, history) == names
    assert balances_after({"cash": Decimal(7)}, history, "EUR") == {"cash": 7}  # nothing of them is in that currency
