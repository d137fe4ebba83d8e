"""Commands of a person on a book, over the real protocol where they reach the broker; each leaves one audit row that says who and why."""
import asyncio
import sqlite3
from decimal import Decimal

import pytest

from desk_support import ACCOUNT, PORTFOLIO, THURSDAY, desk_on, gateway, sent
from otsport.core.contracts import stock
from otsport.core.errors import InputError
from otsport.core.orders import Order, OrderEvent, OrderState, OrderType, Side
from otsport.desk import commands, outbox
from otsport.desk.commands import Asked
from otsport.desk.reconcile import begin_portfolio
from otsport.desk.session import reach_session
from store_support import DAY, TS, deposit, fresh_place, order

ANA = Asked("ana", "a test of the desk")
D = Decimal


def buy(book, qty=10, limit="50.00"):
    """An order for KO, which trades at 60: at 50 it works, at 61 it fills."""
    return Order(commands.next_ref(book), ACCOUNT, PORTFOLIO, stock("KO"), Side.BUY, D(qty), OrderType.LIMIT, D(limit))


def on_desk(tmp_path, doing):
    """Do something with a desk whose portfolio has begun and whose session has opened."""
    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            book = await begin_portfolio(desk, await reach_session(desk, desk.load(THURSDAY)))
            for _ in range(3):
                book = await commands.beat(desk, book)
            await doing(desk, book, exchange)
            assert desk.store.verify()
    asyncio.run(day())


def test_placed_order_works_and_is_cancelled_and_a_done_one_is_not(tmp_path):
    async def doing(desk, book, exchange):
        book, placed = await commands.place(desk, book, buy(book), ANA)
        book = await commands.beat(desk, book)  # what was written reaches the exchange
        assert placed.accepted and placed.code == "OK" and sent(exchange) == [placed.subject]
        assert book.orders[placed.subject].order.reason == ANA.reason
        book, ended = await commands.cancel(desk, book, placed.subject, ANA)
        assert ended.accepted and desk.store.order(placed.subject).state is OrderState.CANCELLED
        book, no = await commands.cancel(desk, book, placed.subject, ANA)
        assert not no.accepted and no.code == "NOT_OPEN"
        book, no = await commands.cancel(desk, book, "nobody", ANA)
        assert not no.accepted and no.code == "NOT_OPEN"
        with pytest.raises(InputError, match="in the book already"):
            await commands.place(desk, book, book.orders[placed.subject].order, ANA)
    on_desk(tmp_path, doing)


def test_order_that_has_not_left_is_cancelled_here(tmp_path):
    async def doing(desk, book, exchange):
        o = buy(book)
        book, ended = await commands.cancel(desk, outbox.enqueue(desk.store, book, [o], THURSDAY, book.now), o.order_ref, ANA)
        assert ended.accepted and desk.store.order(o.order_ref).state is OrderState.CANCELLED and sent(exchange) == []
    on_desk(tmp_path, doing)


def test_halted_book_places_nothing_until_it_is_resumed(tmp_path):
    async def doing(desk, book, exchange):
        commands.halt(desk.store, PORTFOLIO, ANA, book.now)
        book, no = await commands.place(desk, book, buy(book), ANA)
        assert (no.accepted, no.code) == (False, "HALTED") and sent(exchange) == []
        assert desk.store.order(no.subject).state is OrderState.DENIED
        assert commands.resume_book(desk.store, PORTFOLIO, ANA, book.now).accepted
        assert commands.resume_book(desk.store, PORTFOLIO, ANA, book.now).code == "NOT_HALTED"
        book, yes = await commands.place(desk, desk.load(THURSDAY, book.now), buy(book), ANA)
        book = await commands.beat(desk, book)
        assert yes.accepted and sent(exchange) == [yes.subject]
    on_desk(tmp_path, doing)


def test_modified_order_ends_before_its_successor_leaves(tmp_path):
    async def doing(desk, book, exchange):
        book, first = await commands.place(desk, book, buy(book), ANA)
        book, second = await commands.modify(desk, book, first.subject, ANA, qty=D(7), limit_price=D("51.00"))
        book = await commands.beat(desk, book)
        assert second.accepted and sent(exchange) == [first.subject, second.subject]
        old, new = book.orders[first.subject], book.orders[second.subject]
        assert old.state is OrderState.CANCELLED
        assert (new.order.qty, new.order.limit_price, new.order.parent) == (7, D("51.00"), first.subject)
        book, no = await commands.modify(desk, book, first.subject, ANA, qty=D(5))
        assert not no.accepted and no.code == "NOT_CANCELLED" and len(sent(exchange)) == 2
    on_desk(tmp_path, doing)


def local(tmp_path):
    """A store with a portfolio of a million dollars and one order that has left."""
    store = fresh_place(tmp_path / "s").open()
    with store.unit(TS) as unit:
        unit.add_portfolio("main", "DU1")
        unit.book(deposit())
    book = outbox.enqueue(store, outbox.load_book(store, "DU1", "main", DAY, TS), [order(1)], DAY, TS)
    return store, outbox.absorb(store, book, [OrderEvent(order(1).order_ref, OrderState.SENT, TS)], TS)


def test_settled_order_ends_only_in_an_ended_state(tmp_path):
    store, book = local(tmp_path)
    ref = order(1).order_ref
    for state in ("filled", "working", "denied"):
        with pytest.raises(InputError, match="cannot be settled"):
            commands.settle(store, book, ref, state, ANA, TS)
    with pytest.raises(InputError, match="is not open"):
        commands.settle(store, book, "nobody", "cancelled", ANA, TS)
    assert store.order(ref).state is OrderState.SENT
    assert commands.settle(store, book, ref, "cancelled", ANA, TS).accepted and store.order(ref).state is OrderState.CANCELLED
    again = outbox.load_book(store, "DU1", "main", DAY, TS)
    assert commands.settle(store, again, ref, "rejected", ANA, TS).code == "DONE" and store.order(ref).state is OrderState.CANCELLED
    store.close()


def test_adjusted_cash_and_units_are_booked(tmp_path):
    store, book = local(tmp_path)
    commands.adjust(store, book, ANA, TS, cash=D("-12.34"))
    assert store.cash("main") == D("999987.66")
    commands.adjust(store, book, Asked("ana", "by hand"), TS, contract=stock("KO"), qty=D(10), price=D("60.00"))
    assert store.cash("main") == D("999387.66") and store.positions("main")["KO"].qty == 10
    for wrong in ({}, {"cash": D(1), "contract": stock("KO"), "qty": D(1)}, {"contract": stock("KO")}):
        with pytest.raises(InputError, match="adjust takes"):
            commands.adjust(store, book, ANA, TS, **wrong)
    assert store.cash("main") == D("999387.66") and store.verify()
    store.close()


def test_each_command_leaves_one_audit_row_with_who_and_why(tmp_path):
    store, book = local(tmp_path)
    commands.halt(store, "main", ANA, TS)
    commands.resume_book(store, "main", ANA, TS)
    commands.acknowledge(store, "main", "x1", ANA, TS)
    commands.adjust(store, book, ANA, TS, cash=D(1))
    commands.settle(store, book, order(1).order_ref, "expired", ANA, TS)
    store.close()
    rows = fresh_rows(tmp_path)
    assert [a for a, _ in rows] == ["command halt", "command resume", "command acknowledge", "command adjust", "command settle"]
    assert all("ana" in p and ANA.reason in p for _, p in rows)


def fresh_rows(tmp_path):
    """Action and payload of the audit rows of commands, as an outsider reads them."""
    with sqlite3.connect(tmp_path / "s" / "otsport.db") as db:
        return db.execute("select action, payload from audit where action like 'command %' order by seq").fetchall()


@pytest.mark.parametrize("who, reason", [("", "why"), ("ana", " ")])
def test_command_of_nobody_or_without_a_reason_is_refused(who, reason):
    with pytest.raises(InputError, match="a command needs"):
        Asked(who, reason)
