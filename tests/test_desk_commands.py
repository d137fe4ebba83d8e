"""Commands of a person on a book, over the real protocol where they reach the broker; each leaves one audit row that says who and why."""
import asyncio
import json
import sqlite3
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from desk_support import ACCOUNT, PORTFOLIO, THURSDAY, desk_on, gateway, sent
from otsport.brokers.ib import IBBroker
from otsport.core.calendars import session_open
from otsport.core.contracts import option, stock
from otsport.core.errors import BrokerError, CheckFailed, InputError
from otsport.core.orders import Order, OrderEvent, OrderState, OrderType, Side
from otsport.desk.book import load_book
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


@pytest.mark.parametrize("error", [BrokerError("the line is lost"), KeyboardInterrupt()])
def test_order_that_an_error_keeps_from_leaving_never_leaves_later(tmp_path, error):
    """Who saw the error asks again: had the first order stayed in the book, a later run would have sent both."""
    async def doing(desk, book, exchange):
        async def fails(contracts):
            raise error
        desk.broker.quotes, real = fails, desk.broker.quotes
        with pytest.raises(type(error)):
            await commands.place(desk, book, buy(book), ANA)
        desk.broker.quotes = real
        (kept,) = desk.store.orders(PORTFOLIO)
        assert (kept.state, kept.code) == (OrderState.CANCELLED, "CANCELLED_HERE") and "nothing was sent" in kept.message
        book, placed = await commands.place(desk, desk.load(THURSDAY, book.now), buy(desk.load(THURSDAY, book.now)), ANA)
        await commands.beat(desk, book)
        assert sent(exchange) == [placed.subject] != [kept.order.order_ref]
    on_desk(tmp_path, doing)


def test_order_whose_sending_ended_in_an_error_is_not_taken_for_one_that_stayed(tmp_path):
    """Its departure was committed: it may be at the broker, and only the broker's word ends it."""
    async def doing(desk, book, exchange):
        async def fails(order):
            raise BrokerError("the line is lost")
        desk.broker.place = fails
        with pytest.raises(BrokerError):
            await commands.place(desk, book, buy(book), ANA)
        assert [r.state for r in desk.store.orders(PORTFOLIO)] == [OrderState.SENT]
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
    book = outbox.enqueue(store, load_book(store, "DU1", "main", DAY, TS), [order(1)], DAY, TS)
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
    again = load_book(store, "DU1", "main", DAY, TS)
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


def command_rows(path):
    """Action and payload of the audit rows of commands, as an outsider reads them."""
    with sqlite3.connect(path) as db:
        rows = db.execute("select action, payload from audit where action like 'command %' order by seq").fetchall()
    db.close()
    return [(action, json.loads(payload)) for action, payload in rows]


def said(row):
    """What an audit row says of a command: the action, who and why, what was wanted, what came of it."""
    action, p = row
    assert sorted(p) == ["code", "intent", "message", "reason", "verdict", "who"] and p["message"]
    return action, p["who"], p["reason"], p["intent"], p["verdict"], p["code"]


def test_each_local_command_leaves_one_audit_row_with_who_why_what_and_the_decision(tmp_path):
    store, book = local(tmp_path)
    ref, who = order(1).order_ref, (ANA.who, ANA.reason)
    moved = {"cash": "1", "contract": None, "price": "0", "qty": "0", "reference": ""}
    commands.halt(store, "main", ANA, TS)
    commands.resume_book(store, "main", ANA, TS)
    commands.resume_book(store, "main", ANA, TS)
    commands.acknowledge(store, "main", "x1", ANA, TS)
    for _ in range(2):
        commands.adjust(store, book, ANA, TS, cash=D(1))
    commands.settle(store, book, ref, "expired", ANA, TS)
    commands.settle(store, load_book(store, "DU1", "main", DAY, TS), ref, "expired", ANA, TS)
    store.close()
    assert [said(row) for row in command_rows(tmp_path / "s" / "otsport.db")] == [
        ("command halt", *who, {}, "accepted", "OK"), ("command resume", *who, {}, "accepted", "OK"),
        ("command resume", *who, {}, "refused", "NOT_HALTED"), ("command acknowledge", *who, {"subject": "x1"}, "accepted", "OK"),
        ("command adjust", *who, moved, "accepted", "OK"), ("command adjust", *who, moved, "refused", "REPEATED"),
        ("command settle", *who, {"order_ref": ref, "state": "expired"}, "accepted", "OK"),
        ("command settle", *who, {"order_ref": ref, "state": "expired"}, "refused", "DONE"),
    ]


def test_each_command_at_the_broker_leaves_one_audit_row_with_who_why_what_and_the_decision(tmp_path):
    kept = {}

    async def doing(desk, book, exchange):
        book, kept["first"] = await commands.place(desk, book, buy(book), ANA)
        book, kept["second"] = await commands.modify(desk, book, kept["first"].subject, ANA, qty=D(7))
        book, _ = await commands.cancel(desk, book, kept["second"].subject, ANA)
        book, _ = await commands.cancel(desk, book, kept["second"].subject, ANA)
        commands.halt(desk.store, PORTFOLIO, ANA, book.now)
        book, kept["third"] = await commands.place(desk, book, buy(book), ANA)
        with pytest.raises(CheckFailed):  # an order is working: the day cannot be closed, and the audit says who wanted it
            await commands.close_past_day(desk, THURSDAY, book.now, await still_open(desk, book))
    async def still_open(desk, book):
        commands.resume_book(desk.store, PORTFOLIO, ANA, book.now)
        await commands.place(desk, book, buy(book), ANA)
        return ANA
    on_desk(tmp_path, doing)
    rows = [said(row) for row in command_rows(tmp_path / "otsport.db")]
    who, first, second = (ANA.who, ANA.reason), kept["first"].subject, kept["second"].subject
    wishes = [row[3].pop("order") for row in rows if row[0] == "command place"]
    assert [(w["order_ref"], w["qty"], w["limit_price"], w["side"]) for w in wishes[:2]] == [(first, "10", "50.00", "BUY"), (kept["third"].subject, "10", "50.00", "BUY")]
    assert rows == [
        ("command place", *who, {}, "accepted", "OK"),
        ("command modify", *who, {"order_ref": first, "qty": "7", "limit_price": None}, "accepted", "OK"),
        ("command cancel", *who, {"order_ref": second}, "accepted", "OK"), ("command cancel", *who, {"order_ref": second}, "refused", "NOT_OPEN"),
        ("command halt", *who, {}, "accepted", "OK"), ("command place", *who, {}, "refused", "HALTED"),
        ("command resume", *who, {}, "accepted", "OK"), ("command place", *who, {}, "accepted", "OK"),
        ("command close past day", *who, {"session": f"{THURSDAY}"}, "refused", "CheckFailed"),
    ]


def test_closed_past_day_leaves_its_audit_row_and_so_does_a_second_wish(tmp_path):
    async def doing(desk, book, exchange):
        while book.now.date() <= THURSDAY:
            book = await commands.beat(desk, book)
        _, yes = await commands.close_past_day(desk, THURSDAY, book.now, ANA)
        _, no = await commands.close_past_day(desk, THURSDAY, book.now, ANA)
        assert (yes.code, no.code) == ("OK", "FINISHED") and desk.store.snapshot(PORTFOLIO, THURSDAY)
    on_desk(tmp_path, doing)
    rows, intent = [said(row) for row in command_rows(tmp_path / "otsport.db")], {"session": f"{THURSDAY}"}
    assert rows == [("command close past day", ANA.who, ANA.reason, intent, v, c) for v, c in (("accepted", "OK"), ("refused", "FINISHED"))]


def test_adjustment_typed_twice_is_booked_once(tmp_path):
    store, book = local(tmp_path)
    dividend, later = Asked("ana", "dividend of KO"), TS + timedelta(hours=2)
    assert commands.adjust(store, book, dividend, TS, cash=D("0.76")).accepted
    twice = commands.adjust(store, book, Asked("bob", " dividend  of KO "), later, cash=D("0.760"))
    assert (twice.accepted, twice.code) == (False, "REPEATED") and "+0.76 dollars" in twice.message and "another reference" in twice.message
    assert store.cash("main") == D("1000000.76")
    units = {"contract": stock("KO"), "qty": D(10), "price": D("60.00")}
    assert commands.adjust(store, book, dividend, TS, **units).accepted
    assert commands.adjust(store, book, dividend, later, **units).code == "REPEATED"  # even with a book that was read before the first
    assert store.positions("main")["KO"].qty == 10 and store.cash("main") == D("999400.76") and store.verify()
    store.close()


@pytest.mark.parametrize("more", [
    {"cash": D("0.77")}, {"cash": D("-0.76")}, {"cash": D("0.76"), "reference": "statement line 12"}, {"cash": D("0.76"), "now": TS + timedelta(days=1)},
    {"cash": D("0.76"), "asked": Asked("ana", "dividend of PEP")}, {"contract": stock("KO"), "qty": D("0.76"), "price": D(1)},
])
def test_adjustment_that_differs_is_another(tmp_path, more):
    store, book = local(tmp_path)
    dividend = Asked("ana", "dividend of KO")
    commands.adjust(store, book, dividend, TS, cash=D("0.76"))
    assert commands.adjust(store, book, more.pop("asked", dividend), more.pop("now", TS), **more).accepted
    assert len(store.transactions("main")) == 3 and store.verify()
    store.close()


class LateFills(IBBroker):
    """A broker whose executions come late: `drain` holds them back, and the report too as long as it is told so."""
    holds, silent, states = False, False, True

    def drain(self):
        self.kept = [*getattr(self, "kept", []), *super().drain()]
        now = [m for m in self.kept if isinstance(m, OrderEvent) or not self.holds]
        self.kept = [m for m in self.kept if m not in now]
        return now

    async def report(self, account):
        told = await super().report(account)
        if not self.silent:
            return told
        orders = told.orders if self.states else tuple(replace(o, filled_qty=None) for o in told.orders)
        self.holds = False  # they come with the next heartbeat
        return replace(told, orders=orders, fills=(), commissions=())


def modified_while_it_fills(tmp_path, silent=False, states=True, qty=450):
    """An order for 500, of which 200 fill at a time, is modified while executions are on their way; what is wished and what was bought."""
    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path, broker=LateFills) as desk:
            book = await begin_portfolio(desk, await reach_session(desk, desk.load(THURSDAY)))
            while book.now < session_open(THURSDAY):
                book = await commands.beat(desk, book)
            desk.broker.holds, desk.broker.silent, desk.broker.states = True, silent, states
            book, first = await commands.place(desk, book, buy(book, 500, "61.00"), ANA)
            book = await commands.beat(desk, book)
            assert book.orders[first.subject].filled_qty == 0 < sum(f.qty for f in exchange.state.fills)  # the exchange is ahead of the book
            book, decision = await commands.modify(desk, book, first.subject, ANA, qty=D(qty))
            desk.broker.holds = False
            for _ in range(4):
                book = await commands.beat(desk, book)
            assert desk.store.verify() > 0
            return decision, sum(f.qty for f in exchange.state.fills), book, first.subject, sent(exchange)
    return asyncio.run(day())


def test_modify_counts_a_fill_that_came_in_between(tmp_path):
    decision, bought, book, first, left = modified_while_it_fills(tmp_path)
    assert decision.accepted and left == [first, decision.subject]
    assert book.orders[first].state is OrderState.CANCELLED and 0 < book.orders[first].filled_qty < 450
    assert book.orders[decision.subject].order.qty == 450 - book.orders[first].filled_qty
    assert bought == 450 == book.positions["KO"].qty


def test_modify_sends_nothing_while_an_execution_is_missing(tmp_path):
    decision, bought, book, first, left = modified_while_it_fills(tmp_path, silent=True)
    assert (decision.accepted, decision.code) == (False, "FILLS_MISSING") and left == [first]
    assert bought == book.positions["KO"].qty == book.orders[first].filled_qty < 450


def test_modify_denies_the_rest_when_the_old_order_moved_meanwhile(tmp_path):
    """The report knew nothing of the fill, and neither did its status: the execution comes before the new order leaves."""
    decision, bought, book, first, left = modified_while_it_fills(tmp_path, silent=True, states=False)
    assert (decision.accepted, decision.code) == (False, "MOVED_ON") and left == [first]
    assert bought == book.positions["KO"].qty == book.orders[first].filled_qty < 450
    new = [r for ref, r in book.orders.items() if ref != first]
    assert [(r.state, r.code) for r in new] == [(OrderState.DENIED, "MOVED_ON")]


def test_modify_to_less_than_has_filled_sends_nothing(tmp_path):
    decision, bought, book, first, left = modified_while_it_fills(tmp_path, qty=150)
    assert (decision.accepted, decision.code) == (False, "FILLED") and left == [first] and bought >= 200
    decision, same, _, first, left = modified_while_it_fills(tmp_path / "just", qty=bought)  # nor to just what has filled
    assert (decision.accepted, decision.code) == (False, "FILLED") and left == [first] and same == bought


def test_modify_to_what_no_order_can_be_leaves_the_old_one_working(tmp_path):
    async def doing(desk, book, exchange):
        book, first = await commands.place(desk, book, buy(book), ANA)
        for wrong in ({"qty": D("1.5")}, {"qty": D(0)}, {"qty": D(-3)}):
            with pytest.raises(InputError):
                await commands.modify(desk, book, first.subject, ANA, **wrong)
        book = await commands.beat(desk, book)
        assert not desk.store.order(first.subject).state.done and sent(exchange) == [first.subject]
    on_desk(tmp_path, doing)


@pytest.mark.parametrize("who, reason", [("", "why"), ("ana", " ")])
def test_command_of_nobody_or_without_a_reason_is_refused(who, reason):
    with pytest.raises(InputError, match="a command needs"):
        Asked(who, reason)


def test_the_same_order_typed_again_is_not_sent_before_it_is_confirmed(tmp_path):
    """While the first works, and for ten minutes after it has filled; the answer names it, and the audit has the second and its confirmation."""
    async def doing(desk, book, exchange):
        book, first = await commands.place(desk, book, buy(book), ANA)
        book = await commands.beat(desk, book)
        book, second = await commands.place(desk, book, buy(book), ANA)
        assert not second.accepted and second.code == "REPEATED" and f"BUY 10 KO at 50.00 [DU1] was sent at 10:" in second.message
        assert f" New York as {first.subject} (it is working): nothing was sent a second time" in second.message and "again=True (command line: --again)" in second.message
        assert sent(exchange) == [first.subject] and list(book.orders) == [first.subject]
        book, confirmed = await commands.place(desk, book, buy(book), ANA, again=True)
        book = await commands.beat(desk, book)
        assert confirmed.accepted and sent(exchange) == [first.subject, confirmed.subject]
        with sqlite3.connect(tmp_path / "otsport.db") as db:
            rows = [json.loads(p) for p, in db.execute("select payload from audit where action = 'command place' order by seq")]
        assert [(r["verdict"], r["code"], r["intent"].get("again", False)) for r in rows] == [("accepted", "OK", False), ("refused", "REPEATED", False), ("accepted", "OK", True)]
    on_desk(tmp_path, doing)


@pytest.mark.parametrize("change", [{"limit_price": D("50.01")}, {"qty": D(11)}, {"side": Side.SELL, "limit_price": D("65.00")}, {"contract": option("KO", "2023-01-20", 60, "C"), "limit_price": D("1.00")},
                                    {"strategy": "another"}], ids=lambda change: next(iter(change)))
def test_an_order_that_differs_is_no_repetition(tmp_path, change):
    """What differs is another order; where nobody named the limit, another limit is none."""
    async def doing(desk, book, exchange):
        book, first = await commands.place(desk, book, buy(book), ANA)
        other = replace(buy(book), **change)
        assert commands.repeated(desk.store, book, other) is None
        named = commands.repeated(desk.store, book, other, any_limit=True)
        assert (named is not None) == (change == {"limit_price": D("50.01")})
    on_desk(tmp_path, doing)


def test_an_order_that_has_ended_or_is_long_past_is_no_repetition(tmp_path):
    async def doing(desk, book, exchange):
        book, first = await commands.place(desk, book, buy(book), ANA)
        assert commands.repeated(desk.store, replace(book, now=book.now + timedelta(hours=3)), buy(book)).order.order_ref == first.subject  # it still works
        book, _ = await commands.cancel(desk, book, first.subject, ANA)
        assert commands.repeated(desk.store, book, buy(book)) is None
        book, filled = await commands.place(desk, book, buy(book, limit="61.00"), ANA)
        while not book.orders[filled.subject].state.done:
            book = await commands.beat(desk, book)
        written = desk.store.first_seen(filled.subject)
        again = buy(book, limit="61.00")
        at = {m: commands.repeated(desk.store, replace(book, now=written + timedelta(minutes=m)), again) for m in (0, 10, 11)}
        assert [None if r is None else r.order.order_ref for r in at.values()] == [filled.subject, filled.subject, None]
        assert desk.store.first_seen("nobody") is None
        book, denied = await commands.place(desk, book, buy(book, 5000, "60.00"), ANA)
        assert not denied.accepted and commands.repeated(desk.store, book, buy(book, 5000, "60.00")) is None  # asked again, the gate says why again
    on_desk(tmp_path, doing)


def test_next_reference_is_one_more_than_the_orders_of_the_session(tmp_path):
    async def doing(desk, book, exchange):
        assert commands.next_ref(book) == "20221215-main-001"
        for n in (1, 2):
            book, placed = await commands.place(desk, book, buy(book, n), ANA)
            assert placed.subject == f"20221215-main-00{n}"
        assert commands.next_ref(book) == "20221215-main-003"
    on_desk(tmp_path, doing)
