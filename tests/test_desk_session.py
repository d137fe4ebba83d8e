"""The desk over the real protocol: kills at named points, refusals, and rules whose absence must be seen."""
import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from desk_support import ACCOUNT, LIMITS, NEXT_DAY, PORTFOLIO, THURSDAY, desk_on, fills_at, fills_in, gateway, prices, sent
from otsport.brokers.ib import IBBroker
from otsport.core.calendars import session_close
from otsport.core.contracts import stock
from otsport.core.errors import BrokerError, CheckFailed, InputError, LookAhead
from otsport.core.orders import OrderState
from otsport.data.store import open_store
from otsport.gateway.accounts import move
from otsport.desk import outbox, session
from otsport.desk.session import STEPS, beat, trade_day


class Killed(BaseException):
    """The process died here."""


def run(coroutine):
    return asyncio.run(coroutine)


def state_of(home) -> dict:
    """What a finished store says: orders, fills, cash, snapshots."""
    with open_store(home / "otsport.db", key=b"k" * 32) as store:
        orders = {r.order.order_ref: (str(r.order), r.state, r.filled_qty) for r in store.orders(PORTFOLIO)}
        found = {"orders": orders, "cash": store.cash(PORTFOLIO), "navs": [(s.session, s.nav) for s in store.snapshots(PORTFOLIO)]}
        assert store.verify() > 0
        return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A day that nothing disturbed."""
    home = tmp_path_factory.mktemp("undisturbed")

    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, home) as desk:
            await trade_day(desk, THURSDAY)
            assert fills_at(exchange) == fills_in(desk.store) and len(sent(exchange)) == 2
    run(day())
    return state_of(home)


def test_a_day_buys_and_then_writes_calls_against_what_it_holds(undisturbed):
    (bought, state, filled), (sold, state_2, _) = undisturbed["orders"].values()
    assert bought == "BUY 500 KO at 61.20 [DU1]" and state is OrderState.FILLED and filled == 500  # 30 % of 100,000 dollars at 60
    assert sold.startswith("SELL 5 KO 20230120 C 65") and state_2 is OrderState.FILLED


# Kills: where the process may die, and what must come of it

def dies_before(monkeypatch, where, name, times=1):
    """Die at the n-th call of a function, before it does anything."""
    original, calls = getattr(where, name), []

    def patched(*args, **kwargs):
        calls.append(name)
        if len(calls) == times:
            raise Killed(name)
        return original(*args, **kwargs)
    monkeypatch.setattr(where, name, patched)


def dies_after(monkeypatch, where, name, times=1):
    """Die right after the n-th call of an asynchronous function."""
    original, calls = getattr(where, name), []

    async def patched(*args, **kwargs):
        result = await original(*args, **kwargs)
        calls.append(name)
        if len(calls) == times:
            raise Killed(name)
        return result
    monkeypatch.setattr(where, name, patched)


def dies_inside_units(monkeypatch, times):
    """Die inside the n-th write of the store, before its commit."""
    from otsport.data import store

    original, calls = store.Unit.finish, []

    def patched(self):
        calls.append(1)
        if len(calls) == times:
            raise Killed("unit")
        return original(self)
    monkeypatch.setattr(store.Unit, "finish", patched)


POINTS = {
    "before the plan is durable": lambda m: dies_before(m, session, "enqueue"),
    "planned, before the gate is asked": lambda m: dies_before(m, session, "release"),
    "before the departure is committed": lambda m: dies_before(m, outbox, "commit_departure"),
    "departure committed, before the first place": lambda m: dies_before(m, IBBroker, "place"),
    "after the first place, before any word": lambda m: dies_after(m, IBBroker, "place"),
    "before the second place": lambda m: dies_before(m, IBBroker, "place", 2),
    "after the second place": lambda m: dies_after(m, IBBroker, "place", 2),
    **{f"inside write {n}": lambda m, n=n: dies_inside_units(m, n) for n in (2, 3, 4, 5, 6, 7, 8)},
    "before the close is checked": lambda m: dies_before(m, session, "check_books"),
    "before the snapshot is taken": lambda m: dies_before(m, session, "take_snapshot"),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_desk_is_taken_up_and_nothing_is_sent_twice_or_lost(point, tmp_path, undisturbed):
    async def day():
        async with gateway() as (server, exchange):
            with pytest.MonkeyPatch.context() as patch:
                POINTS[point](patch)
                with pytest.raises(Killed):
                    async with desk_on(server.port, tmp_path) as desk:
                        try:
                            await trade_day(desk, THURSDAY)
                        finally:
                            desk.broker._line.ib.client.conn.transport.abort()  # as a dead process leaves its socket
            async with desk_on(server.port, tmp_path) as desk:
                await trade_day(desk, THURSDAY)
                assert len(sent(exchange)) == len(set(sent(exchange))) and fills_at(exchange) == fills_in(desk.store)
                assert {r.order.order_ref for r in desk.store.orders(PORTFOLIO)} == set(sent(exchange)), [(str(r.order), r.state, r.message) for r in desk.store.orders(PORTFOLIO)]
    run(day())
    ended = state_of(tmp_path)
    assert [order for order, *_ in ended["orders"].values()][0] == "BUY 500 KO at 61.20 [DU1]" and len(ended["navs"]) == 1
    assert ended["orders"].keys() == undisturbed["orders"].keys()


# Rules of the desk

def planned(tmp_path, change=None, steps=STEPS, **more):
    """Run a day with something changed; gives the exchange's orders, or raises what the desk raises."""
    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path, **more) as desk:
            if change is not None:
                change(desk, exchange)
            try:
                await trade_day(desk, THURSDAY)
            finally:
                day.sent, day.snapshots = sent(exchange), desk.store.snapshots(PORTFOLIO)
                day.orders = desk.store.orders(PORTFOLIO)
            return day
    planned.day = day
    return run(day())


def test_plan_that_looks_ahead_is_stopped_at_the_desk(tmp_path, monkeypatch):
    original = prices().__class__.past
    monkeypatch.setattr(prices().__class__, "past", lambda self, as_of: original(self, session_close(THURSDAY)))
    with pytest.raises(LookAhead, match="the last close before it is 2022-12-14"):
        planned(tmp_path)
    assert planned.day.sent == [] and planned.day.orders == []


def test_signal_from_the_future_is_stopped_at_the_desk(tmp_path):
    from desk_support import Buys

    class Peeks(Buys):
        def signals(self, known):
            signals, refused = super().signals(known)
            return tuple(replace(s, ts=s.ts + timedelta(hours=1)) for s in signals), refused
    with pytest.raises(LookAhead, match="was known at"):
        planned(tmp_path, strategies=(Peeks(),))
    assert planned.day.sent == []


def test_nothing_leaves_without_the_gate(tmp_path):
    day = planned(tmp_path, limits=LIMITS.model_copy(update={"max_order_value": Decimal(100)}))
    assert day.sent == [] and [r.state for r in day.orders] == [OrderState.DENIED]
    assert day.orders[0].code == "ORDER_VALUE" and "at most 100" in day.orders[0].message


def test_departure_is_committed_before_the_order_leaves(tmp_path, monkeypatch):
    states, place = [], IBBroker.place

    async def looking(self, order):
        with open_store(tmp_path / "otsport.db", key=b"k" * 32) as store:
            states.append(store.order(order.order_ref).state)
        await place(self, order)
    monkeypatch.setattr(IBBroker, "place", looking)
    planned(tmp_path)
    assert states == [OrderState.SENT, OrderState.SENT]


@pytest.mark.parametrize("change, words", [
    (lambda book: setattr(book, "cash", book.cash + Decimal("0.01")), "cash"),
    (lambda book: move(book, stock("KO"), Decimal(1), Decimal(60)), "KO"),
])
def test_day_does_not_close_when_the_books_differ_from_the_broker(tmp_path, monkeypatch, change, words):
    stragglers = session.await_stragglers

    def move_later(desk, exchange):
        async def behind_its_back(d, book):
            book = await stragglers(d, book)
            change(exchange.state.books[ACCOUNT])
            return book
        monkeypatch.setattr(session, "await_stragglers", behind_its_back)
    with pytest.raises(CheckFailed, match=words):
        planned(tmp_path, move_later)
    assert planned.day.snapshots == []


@pytest.mark.parametrize("change, words", [
    (lambda desk, exchange: setattr(exchange.state.books[ACCOUNT], "cash", Decimal("99999.99")), "begins with 100,000.00 dollars and none"),
    (lambda desk, exchange: move(exchange.state.books[ACCOUNT], stock("KO"), Decimal(1), Decimal(60)), "and 1 positions at the broker"),
])
def test_portfolio_begins_only_with_its_capital_and_nothing_else(tmp_path, change, words):
    with pytest.raises(CheckFailed, match=words):
        planned(tmp_path, change)
    assert planned.day.sent == []


def test_account_of_another_portfolio_is_refused(tmp_path):
    def begun(desk, exchange):
        now = datetime(2022, 12, 15, 12, tzinfo=timezone.utc)
        with desk.store.unit(now) as unit:
            unit.add_portfolio("other", ACCOUNT)
    with pytest.raises(InputError, match="belongs to portfolio other already"):
        planned(tmp_path, begun)


@pytest.mark.parametrize("change, words", [
    (lambda book: setattr(book, "cash", book.cash - Decimal("0.02")), r"cash: [\d,.]+ dollars in the book, [\d,.]+ at the broker"),
    (lambda book: move(book, stock("KO"), Decimal(1), Decimal(60)), "KO: 500 in the book, 501 at the broker"),
    (lambda book: move(book, stock("KO"), Decimal(-500), Decimal(60)), "KO: 500 in the book, 0 at the broker"),
])
def test_second_day_does_not_begin_when_the_broker_differs(tmp_path, change, words):
    async def days():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            await trade_day(desk, THURSDAY)
            before = len(sent(exchange))
            change(exchange.state.books[ACCOUNT])
            with pytest.raises(CheckFailed, match=words):
                await trade_day(desk, NEXT_DAY)
            assert len(sent(exchange)) == before and desk.store.plan(PORTFOLIO, NEXT_DAY) is None
    run(days())


def test_session_that_has_opened_without_a_plan_is_not_traded(tmp_path):
    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            for _ in range(4):
                await desk.broker.heartbeat()
            with pytest.raises(BrokerError, match="has opened at the broker"):
                await trade_day(desk, THURSDAY)
            assert sent(exchange) == []
    run(day())


def test_session_before_the_last_one_is_refused_and_a_finished_one_is_read(tmp_path):
    async def days():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            first = await trade_day(desk, THURSDAY)
            assert await trade_day(desk, THURSDAY) == first
            with pytest.raises(InputError, match="lies before it"):
                await trade_day(desk, THURSDAY - timedelta(days=1))
    run(days())


def test_session_that_passed_and_was_never_begun_is_refused(tmp_path):
    async def days():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            while (await desk.broker.heartbeat()).date() == THURSDAY:
                pass
            with pytest.raises(BrokerError, match="has passed and cannot be traded"):
                await trade_day(desk, THURSDAY)
    run(days())


def test_begun_day_that_passed_is_closed_from_what_was_booked(tmp_path):
    """Everything filled and booked, only the close missed, and the broker is at the next day."""
    async def days():
        async with gateway() as (server, exchange):
            async with desk_on(server.port, tmp_path) as desk:
                with pytest.MonkeyPatch.context() as patch:
                    dies_before(patch, session, "take_snapshot")
                    with pytest.raises(Killed):
                        await trade_day(desk, THURSDAY)
                while (await desk.broker.heartbeat()).date() == THURSDAY:
                    pass
                passed = await trade_day(desk, THURSDAY)
                assert passed.session == THURSDAY and passed.nav == passed.cash + passed.exposure
                stocks = [p for p in passed.positions if not p.contract.is_option]
                assert [p.mark for p in stocks] == [Decimal("60.00")]  # the official close of the history
                assert fills_at(exchange) == fills_in(desk.store)
                assert desk.store.verify()
    run(days())


def test_passed_day_with_something_missing_is_not_closed(tmp_path):
    async def days():
        async with gateway() as (server, exchange):
            async with desk_on(server.port, tmp_path) as desk:
                with pytest.MonkeyPatch.context() as patch:
                    dies_before(patch, session, "take_snapshot")
                    with pytest.raises(Killed):
                        await trade_day(desk, THURSDAY)
                while (await desk.broker.heartbeat()).date() == THURSDAY:
                    pass
                exchange.state.books[ACCOUNT].cash += Decimal("1.00")
                with pytest.raises(CheckFailed, match="has passed at the broker, and cash"):
                    await trade_day(desk, THURSDAY)
                assert desk.store.snapshots(PORTFOLIO) == []
    run(days())


def test_order_that_filled_while_the_desk_was_away_is_booked(tmp_path):
    async def day():
        async with gateway() as (server, exchange):
            with pytest.MonkeyPatch.context() as patch:
                dies_after(patch, IBBroker, "place")
                with pytest.raises(Killed):
                    async with desk_on(server.port, tmp_path) as desk:
                        await trade_day(desk, THURSDAY)
            while not sent(exchange):  # what the dead process wrote is still on the line
                await asyncio.sleep(0)
            for _ in range(4):  # the market goes on without the desk
                exchange.advance()
            assert fills_at(exchange)
            async with desk_on(server.port, tmp_path) as desk:
                assert fills_in(desk.store) == {}
                await trade_day(desk, THURSDAY)
                assert fills_at(exchange) == fills_in(desk.store)
                assert sent(exchange).count("20221215-main-001") == 1
    run(day())


@pytest.mark.parametrize("state", ["rejected", "cancelled", "expired", "denied"])
def test_order_that_has_ended_is_never_sent_again(tmp_path, state):
    """An order that ended without reaching the broker stays ended, whatever the restart hears."""
    from otsport.core.orders import OrderEvent

    async def day():
        async with gateway() as (server, exchange):
            with pytest.MonkeyPatch.context() as patch:
                dies_before(patch, session, "release") if state == "denied" else dies_before(patch, IBBroker, "place")
                with pytest.raises(Killed):
                    async with desk_on(server.port, tmp_path) as desk:
                        await trade_day(desk, THURSDAY)
            async with desk_on(server.port, tmp_path) as desk:
                now = datetime(2022, 12, 15, 14, 1, tzinfo=timezone.utc)
                book = desk.load(THURSDAY, now)
                outbox.absorb(desk.store, book, [OrderEvent("20221215-main-001", OrderState(state), now)], now)
                await trade_day(desk, THURSDAY)
                assert "20221215-main-001" not in sent(exchange)
    run(day())


def test_calls_are_written_late_when_the_shares_take_their_time(tmp_path):
    """A purchase that never fills: at the latest instant the overlay writes against what is held, which is nothing."""
    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("otsport.portfolio.rebalance.marketable_limit", lambda side, price, collar: Decimal("50.00"))
                await trade_day(desk, THURSDAY)
            return [(r.order.contract.key, r.state) for r in desk.store.orders(PORTFOLIO)]
    assert run(day()) == [("KO", OrderState.EXPIRED)]


def test_halted_book_sends_nothing_and_a_running_session_sees_it(tmp_path):
    from otsport.desk.commands import Asked, halt

    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            book = await session.reach_session(desk, desk.load(THURSDAY))
            for step in STEPS[:4]:
                book = await step(desk, book)
            halt(desk.store, PORTFOLIO, Asked("ana", "the feed is wrong"), book.now)
            book = await session.follow_session(desk, book)
            assert sent(exchange) == []
            return [(r.state, r.code) for r in desk.store.orders(PORTFOLIO)]
    assert run(day()) == [(OrderState.DENIED, "HALTED")]


def test_clock_that_stands_is_told(tmp_path):
    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as desk:
            stood = datetime(2022, 12, 14, 12, tzinfo=timezone.utc)

            async def heartbeat():
                return stood
            desk.broker.heartbeat, desk.broker.drain = heartbeat, lambda: []
            with pytest.raises(BrokerError, match="clock stands at 2022-12-14 12:00"):
                await session.reach_session(desk, desk.load(THURSDAY))
    run(day())
