"""What a wish becomes at its moment: only free cash, only what is held, each leg once, and not before its time."""
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

import pytest

from otsport.core.books import Lot, Position
from otsport.core.calendars import session_close, session_open
from otsport.core.contracts import option, stock
from otsport.core.orders import Order, OrderRecord, OrderState, OrderType, Side
from otsport.desk.book import Book
from otsport.desk.plan import Wish
from otsport.desk.wishes import NOT_BOUGHT, closing_orders, due, legs_in_wait, second_legs, wish_orders

DAY = date(2022, 12, 28)
NOON = datetime(2022, 12, 28, 17, tzinfo=UTC)
NEAR, WING = (option("KO", "2023-01-20", k, "P") for k in (60, 55))
PEP = option("PEP", "2023-01-20", 60, "P")
LEGS = [Wish(NEAR, D("1.20"), "near", "mine", side=Side.SELL, qty=D(3), combo="mine#1"), Wish(WING, D("0.40"), "wing", "mine", side=Side.BUY, qty=D(3), combo="mine#1")]


def position(contract, qty):
    return Position("DU1", "main", contract, (Lot(D(qty), D(1), NOON),))


def record(ref, contract, side, qty, price, state="working", filled=0, group=""):
    order = Order(ref, "DU1", "main", contract, side, D(qty), OrderType.LIMIT, D(price), group=group)
    return OrderRecord(order, DAY, OrderState(state), D(filled))


def book(cash=100_000, positions=(), orders=(), now=NOON, **more):
    return Book("DU1", "main", D(cash), {p.contract.key: p for p in positions}, {r.order.order_ref: r for r in orders}, {}, frozenset(), session=DAY, now=now, **more)


PUT = Wish(NEAR, D("0.50"), "puts", "mine", qty=D(3))


@pytest.mark.parametrize("positions, orders, count", [
    ([], [], 3),
    ([position(PEP, -1)], [], 2),  # 6,000 dollars secure it
    ([], [record("buy", stock("MRK"), Side.BUY, 100, "60")], 2),  # 6,000 dollars may leave
    ([], [record("buy", stock("MRK"), Side.BUY, 100, "60", "created")], 3),
    ([position(PEP, -4)], [], 0),
])
def test_a_put_is_sold_against_cash_that_nothing_else_may_need(positions, orders, count):
    made, told = wish_orders(book(19_900, positions, orders), "mine", [PUT])
    assert sum(o.qty for o in made) == count and [d.code for d in told] == ["UNSECURED"] * (count < 3)


def test_an_order_at_the_market_leaves_no_cash_free():
    unbounded = record("buy", stock("MRK"), Side.BUY, 1, "60")
    unbounded = replace(unbounded, order=replace(unbounded.order, order_type=OrderType.MARKET, limit_price=None))
    made, told = wish_orders(book(orders=[unbounded]), "mine", [PUT])
    assert made == () and [d.code for d in told] == ["UNSECURED"]


@pytest.mark.parametrize("wish, now, more, is_due", [
    (PUT, NOON, {}, True),
    (PUT, session_open(DAY), {}, True),
    (PUT, session_open(DAY) - timedelta(seconds=1), {}, False),
    (PUT, NOON, dict(written=frozenset({"mine"})), False),
    (PUT, NOON, dict(orders=[record("a", NEAR, Side.SELL, 1, "1", group="mine#1")]), False),  # begun: an order of its group is there
    (replace(PUT, waits_for=("a",)), NOON, dict(orders=[record("a", stock("KO"), Side.BUY, 1, "60")]), False),
    (replace(PUT, waits_for=("a",)), NOON, dict(orders=[record("a", stock("KO"), Side.BUY, 1, "60", "filled", 1)]), True),
    (replace(PUT, waits_for=("a",)), NOON, {}, False),
    (replace(PUT, waits_for=("a",), at_latest=NOON), NOON, {}, True),
    (replace(PUT, waits_for=("a",), at_latest=NOON + timedelta(seconds=1)), NOON, {}, False),
])
def test_when_a_wish_is_due(wish, now, more, is_due):
    assert (list(due(book(now=now, **more), [wish])) == ["mine"]) == is_due


def test_a_strategy_whose_wishes_do_not_all_have_their_time_waits():
    assert due(book(), [PUT, replace(PUT, waits_for=("a",))]) == {}
    assert due(book(), [PUT, replace(PUT, strategy="other", waits_for=("a",))]) == {"mine": [PUT]}


def closes(contract, side, qty):
    return Wish(contract, D("0.50"), "end", "mine", side=side, qty=D(qty), closes=True)


@pytest.mark.parametrize("held, side, qty, working, closed", [
    (-3, Side.BUY, 9, 0, 3), (-3, Side.BUY, 2, 0, 2), (3, Side.SELL, 9, 0, 3), (3, Side.BUY, 9, 0, 0), (-3, Side.SELL, 9, 0, 0), (-3, Side.BUY, 9, 2, 1), (-3, Side.BUY, 9, 3, 0), (0, Side.BUY, 9, 0, 0),
])
def test_no_more_is_closed_than_is_held_and_not_on_its_way(held, side, qty, working, closed):
    orders = [record("w", NEAR, side, working, "1")] if working else []
    assert sum(o.qty for o in closing_orders(book(positions=[position(NEAR, held)] if held else [], orders=orders), [closes(NEAR, side, qty)], 1)) == closed


def test_a_cover_is_sold_after_what_it_covers_of_the_same_name():
    held = [position(NEAR, -3), position(WING, 3), position(PEP, 2)]
    made = closing_orders(book(positions=held), [closes(PEP, Side.SELL, 2), closes(WING, Side.SELL, 3), closes(NEAR, Side.BUY, 3)], 1)
    assert [(o.contract, o.waits_for) for o in made] == [(NEAR, ()), (WING, (made[0].order_ref,)), (PEP, ())]
    assert len({o.order_ref for o in made}) == 3


def bought(state, filled):
    return record("w", WING, Side.BUY, 3, "0.40", state, filled, group="mine#1")


@pytest.mark.parametrize("orders, held, sold", [
    ([], 0, None), ([bought("working", 2)], 2, None), ([bought("cancelled", 2)], 2, 2), ([bought("filled", 3)], 3, 3),
    ([bought("filled", 3)], 1, 1),  # a hand has sold two since
    ([bought("filled", 3), record("h", WING, Side.SELL, 2, "0.40")], 3, 1),  # or is about to
    ([bought("filled", 3), record("s", NEAR, Side.SELL, 3, "1.20", group="mine#1")], 3, None),  # written before
])
def test_second_legs_are_as_many_as_first_legs_that_are_held(orders, held, sold):
    made, denied = second_legs(book(orders=orders, positions=[position(WING, held)] if held else []), LEGS)
    assert [(o.contract, o.side, o.qty, o.waits_for) for o in made] == ([(NEAR, Side.SELL, sold, ("w",))] if sold else []) and denied == ()


@pytest.mark.parametrize("held", [0, 3])
def test_without_a_first_leg_the_second_is_written_and_denied(held):
    sold_since = [record("h", WING, Side.SELL, 3, "0.40")] if held else []
    made, denied = second_legs(book(orders=[bought("filled" if held else "cancelled", held), *sold_since], positions=[position(WING, held)] if held else []), LEGS)
    assert [(o.qty, o.not_before) for o in made] == [(3, session_close(DAY))] and [(d.code, d.subject) for d in denied] == [(NOT_BOUGHT, made[0].order_ref)]


def test_combinations_in_wait_are_those_whose_bought_legs_may_still_fill():
    assert list(legs_in_wait(book(orders=[bought("working", 2)]), LEGS)) == ["mine#1"]
    assert legs_in_wait(book(orders=[bought("filled", 3)]), LEGS) == legs_in_wait(book(orders=[bought("working", 2)]), LEGS[1:]) == {}


CASH = D(2200)  # one spread binds 500 dollars and pays 41: four in all
OTHER_NEAR, OTHER_WING = (option("MRK", "2023-01-20", k, "P") for k in (100, 95))
OTHER = [Wish(OTHER_NEAR, D("1.20"), "near", "mine", side=Side.SELL, qty=D(3), combo="mine#2"), Wish(OTHER_WING, D("0.40"), "wing", "mine", side=Side.BUY, qty=D(3), combo="mine#2")]


def bought_of(made, wing):
    return sum(o.qty for o in made if o.contract == wing)


def test_two_combinations_of_one_moment_share_the_cash_that_they_will_bind():
    made, told = wish_orders(book(CASH), "mine", [*LEGS, *OTHER])
    assert bought_of(made, WING) + bought_of(made, OTHER_WING) == 4 and [d.code for d in told] == ["CASH"]


@pytest.mark.parametrize("state, filled, more", [("working", 0, 1), ("filled", 3, 1), ("cancelled", 1, 3), ("cancelled", 0, 3)])
def test_cash_of_another_strategys_unsold_legs_is_not_free(state, filled, more):
    "Three wings were written, or bought, and what they cover was not sold yet: its 500 dollars each stay."
    wing = record("w", WING, Side.BUY, 3, "0.40", state, filled, group="mine#1")
    cash = CASH if state == "working" else CASH - 41 * filled
    other = [replace(w, strategy="other", combo="other#1") for w in OTHER]
    made, _ = wish_orders(book(cash, [position(WING, filled)] if filled else [], [wing]), "other", other, [*LEGS, *other])
    assert bought_of(made, OTHER_WING) == more
    sold = record("s", NEAR, Side.SELL, 3, "1.20", group="mine#1")  # once sold, the book itself knows what is bound: nothing twice
    if state == "filled":
        again, _ = wish_orders(book(cash, [position(WING, 3)], [wing, sold]), "other", other, [*LEGS, *other])
        assert bought_of(again, OTHER_WING) == more


def test_shares_that_a_collar_will_need_cover_no_other_call():
    call, put = option("KO", "2023-01-20", 65, "C"), option("KO", "2023-01-20", 55, "P")
    collar = [Wish(put, D("0.50"), "floor", "mine", side=Side.BUY, qty=D(1), combo="mine#1"), Wish(call, D("0.60"), "cap", "mine", side=Side.SELL, qty=D(1), combo="mine#1")]
    floor = record("p", put, Side.BUY, 1, "0.50", group="mine#1")
    calls = [Wish(call, D("0.60"), "income", "other", side=Side.SELL, qty=D(2))]
    shares = Position("DU1", "main", stock("KO"), (Lot(D(200), D(60), NOON),))
    made, _ = wish_orders(book(positions=[shares], orders=[floor]), "other", calls, [*collar, *calls])
    assert sum(o.qty for o in made) == 1
    alone, _ = wish_orders(book(positions=[shares]), "other", calls, calls)
    assert sum(o.qty for o in alone) == 2
