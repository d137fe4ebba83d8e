"""The rules of a trading day, each by itself: what a plan may know, when an order is due, how the desk waits, what a book shows."""
import asyncio
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from desk_support import ACCOUNT, NEXT_DAY, PORTFOLIO, THURSDAY, mandate, prices
from otsport.brokers.ib import IBBroker
from otsport.core.books import Lot, Position, Snapshot
from otsport.core.calendars import previous_session, session_close, session_open
from otsport.core.contracts import Quote, option, stock
from otsport.core.errors import BrokerError, CheckFailed, InputError, LookAhead
from otsport.core.intent import Signal, SignalType
from otsport.core.orders import BrokerReport, Order, OrderEvent, OrderRecord, OrderState, OrderType, Side
from otsport.desk import commands, session
from otsport.desk.book import HEARTBEAT_SECONDS, Book, Desk
from otsport.desk.outbox import absorb, enqueue
from otsport.desk.past import check_nothing_missing
from otsport.desk.plan import Plan, Wish, check_known, covariance, net_value, plan_overlay, shares_after
from otsport.strategy.protocol import Known, StockStrategy, Timing
from store_support import fresh_place

D, MICRO = Decimal, timedelta(microseconds=1)
OPEN, CLOSE = session_open(THURSDAY), session_close(THURSDAY)
KO, CALL = stock("KO"), option("KO", date(2023, 1, 20), "65", "C")


def position(contract, qty):
    return Position(ACCOUNT, PORTFOLIO, contract, (Lot(D(qty), D(50), OPEN),) if qty else ())


def record(n, state, session=THURSDAY, **more):
    order = Order(f"20221215-main-{n:03d}", ACCOUNT, PORTFOLIO, KO, Side.BUY, D(10), OrderType.LIMIT, D(61), **more)
    return OrderRecord(order, session, state)


def book(*records, now=OPEN, **more):
    return Book(ACCOUNT, PORTFOLIO, D(1000), {}, {r.order.order_ref: r for r in records}, {}, frozenset(), session=THURSDAY, now=now, **more)


def numbers(records):
    return [int(r.order.order_ref[-3:]) for r in records]


# The plan

def plan(as_of=session_close(previous_session(THURSDAY)), *signals):
    return Plan(THURSDAY, as_of, D(1000), signals, (), (), (), (), (), (), 0.0, 0.0, ())


def test_plan_knows_the_last_close_and_not_an_instant_more():
    latest = session_close(previous_session(THURSDAY))
    said = Signal("s", "buys", KO, SignalType.BUY, 0.9, 0.1, 0.05, latest)
    check_known(plan(latest, said), latest)
    for made, now, words in [(plan(latest + MICRO), OPEN, "the last close before it is"), (plan(latest), latest - MICRO, "at the broker it is only"),
                             (plan(latest - MICRO, said), OPEN, "was known at")]:
        with pytest.raises(LookAhead, match=words):
            check_known(made, now)


def test_net_value_is_cash_and_every_unit_at_its_mark():
    held = {"KO": position(KO, 100), CALL.key: position(CALL, -2), "PEP": position(stock("PEP"), 0)}
    assert net_value(D(1000), held, {"KO": D(60), CALL.key: D("1.20")}) == 1000 + 6000 - 240


def test_shares_after_the_orders_are_those_held_and_ordered_options_are_none():
    held = {"KO": position(KO, 100), CALL.key: position(CALL, -1)}
    orders = [Order("a", ACCOUNT, PORTFOLIO, KO, "BUY", 50), Order("b", ACCOUNT, PORTFOLIO, KO, "SELL", 20), Order("c", ACCOUNT, PORTFOLIO, stock("PEP"), "BUY", 5)]
    assert shares_after(held, orders) == {"KO": 130, "PEP": 5}
    assert shares_after({CALL.key: position(CALL, -1)}, []) == {}


def test_covariance_of_nothing_is_empty_and_of_a_stock_its_variance():
    past = prices().past(session_close(previous_session(THURSDAY)))
    assert covariance(past, []).empty and covariance(past, ["KO"]).loc["KO", "KO"] > 0


@pytest.mark.parametrize("timing, latest", [(Timing(True, timedelta(minutes=60)), OPEN + timedelta(minutes=60)), (Timing(True), None)])
def test_wish_of_an_overlay_waits_for_the_orders_and_for_no_longer_than_it_says(timing, latest):
    class Writes(StockStrategy):
        name = "writes"

        def signals(self, known):
            return (Signal("s", self.name, CALL, SignalType.SELL_CALL, 0.9, 0.1, 0.0, known.as_of, reason="why"),), ()
    Writes.timing = timing
    made = replace(plan(), orders=(record(1, OrderState.CREATED).order,))
    known = Known(THURSDAY, prices().past(made.as_of), {"KO": 60.0}, {"KO": 1}, {}, {CALL.key: Quote(CALL, made.as_of, 1.20, 1.22)})
    after = plan_overlay(made, Writes(), known)
    assert [(w.contract, w.strategy, w.reason, w.waits_for, w.at_latest) for w in after.wishes] == [(CALL, "writes", "why", ("20221215-main-001",), latest)]
    assert len(after.signals) == len(after.outcomes) == len(after.views) == 1


# The book

def test_open_orders_have_left_and_are_not_done():
    of = book(*(record(n, state) for n, state in enumerate(OrderState)))
    assert [r.state for r in of.open_orders()] == [s for s in OrderState if not s.done and s is not OrderState.CREATED]


def test_orders_of_a_session_are_those_of_the_present_one_unless_another_is_asked_for():
    of = book(record(2, OrderState.SENT), record(1, OrderState.CREATED), record(3, OrderState.SENT, NEXT_DAY))
    assert (numbers(of.in_session()), numbers(of.in_session(NEXT_DAY))) == ([1, 2], [3])


# When a wish is due

def due(*wishes, at=OPEN, orders=(), **more):
    return sorted(session.due(book(*orders, now=at, **more), wishes))


def wish(strategy="a", waits_for=(), at_latest=None):
    return Wish(CALL, D(1), "why", strategy, waits_for, at_latest)


def test_wish_is_due_once_the_session_is_open():
    assert due(wish()) == ["a"] and due(wish(), at=OPEN - MICRO) == []


def test_wish_waits_until_every_order_is_done_or_its_latest_instant_has_come():
    refs, latest = ("20221215-main-001", "20221215-main-002"), OPEN + timedelta(hours=1)
    done, works = record(1, OrderState.FILLED), record(2, OrderState.WORKING)
    assert due(wish(waits_for=refs), orders=(done, replace(works, state=OrderState.CANCELLED))) == ["a"]
    assert due(wish(waits_for=refs), orders=(done, works)) == [] == due(wish(waits_for=refs), orders=(done,)) == due(wish(waits_for=refs), orders=(done, works), at=CLOSE)
    timed = wish(waits_for=refs, at_latest=latest)
    assert due(timed, orders=(done, works), at=latest - MICRO) == [] and due(timed, orders=(done, works), at=latest) == ["a"]


def test_wishes_of_a_strategy_are_due_together_and_once():
    waiting = wish("a", ("20221215-main-009",))
    assert due(wish("a"), waiting, wish("b")) == ["b"]
    assert due(wish("a"), wish("b"), written=frozenset({"a"})) == ["b"]
    assert due(wish("a"), wish("b"), orders=(record(1, OrderState.WORKING, group="b"),)) == ["a"]


# The desk on a clock of ours; the store is real

class Clock(IBBroker):
    """An adapter whose heartbeats tell given instants, the last of them for ever; nothing is connected."""

    def __init__(self, profile, *instants):
        super().__init__(profile)
        self.instants, self.beats, self.told = list(instants), 0, ()  # `told`: what a report says of orders

    async def heartbeat(self):
        self.beats += 1
        self.now = self.instants.pop(0) if len(self.instants) > 1 else self.instants[0]
        return self.now

    async def report(self, account):
        return BrokerReport(self.told, (), ())


@contextmanager
def desk(tmp_path, *instants, heartbeat_seconds=0.0):
    rules = mandate(1)
    broker = Clock(rules.settings.broker.model_copy(update={"heartbeat_seconds": heartbeat_seconds}), *instants)
    with fresh_place(tmp_path / "s").open() as store:
        with store.unit(OPEN) as unit:
            unit.add_portfolio(PORTFOLIO, ACCOUNT)
        told = []
        yield Desk(store, broker, prices(), rules, lambda share, text: told.append((share, text))), told


def loaded(on, now=OPEN, *orders, state=None, plan=None):
    """The book of the day with orders in it."""
    held = enqueue(on.store, on.load(THURSDAY, now), orders, THURSDAY, now, plan)
    return held if state is None else absorb(on.store, held, [OrderEvent(o.order_ref, state, now) for o in orders], now)


@pytest.fixture
def naps(monkeypatch):
    """How long the desk has waited, in seconds, in place of the waiting."""
    found = []

    async def nap(seconds, result=None):
        found.append(seconds)
    monkeypatch.setattr("otsport.desk.book.asyncio.sleep", nap)
    return found


@pytest.mark.parametrize("said, moved, wait", [
    (0.0, None, 0), (0.0, timedelta(seconds=1), HEARTBEAT_SECONDS), (0.0, timedelta(seconds=30), 0), (0.0, timedelta(minutes=30), 0),
    (0.25, None, 0.25), (0.25, timedelta(seconds=1), 0.25), (0.25, timedelta(minutes=30), 0.25)])
def test_desk_waits_as_the_profile_says_or_a_second_on_a_real_clock(tmp_path, naps, said, moved, wait):
    with desk(tmp_path, OPEN, heartbeat_seconds=said) as (on, _):
        asyncio.run(on.pause(None if moved is None else OPEN - moved, OPEN))
    assert naps == [wait]


def test_session_is_followed_to_its_close_with_a_wait_after_each_heartbeat(tmp_path, naps):
    half = OPEN + (CLOSE - OPEN) / 2
    with desk(tmp_path, OPEN, half, CLOSE, heartbeat_seconds=0.25) as (on, told):
        start = loaded(on, OPEN - timedelta(minutes=30), plan=plan())
        end = asyncio.run(session.follow_session(on, start))
        assert (end.now, on.broker.beats) == (CLOSE, 3)
    assert [share for share, _ in told] == [0.0, 0.0, 0.5] and "12:45 New York, 0 fills" in told[-1][1]
    assert naps == [0.25] * 3


def test_at_the_close_nothing_is_asked_any_more(tmp_path):
    with desk(tmp_path, CLOSE) as (on, _):
        asyncio.run(session.follow_session(on, loaded(on, CLOSE, plan=plan())))
        assert on.broker.beats == 0


def test_session_is_waited_for_while_the_clock_moves(tmp_path, naps):
    days = [OPEN - timedelta(days=4) + timedelta(hours=n) for n in range(60)]
    with desk(tmp_path, *days, OPEN, heartbeat_seconds=0.25) as (on, _):
        assert asyncio.run(session.reach_session(on, on.load(THURSDAY))).now == OPEN
    assert naps == [0.25] * 60


def test_clock_that_stands_for_a_while_is_no_clock_that_stands(tmp_path, naps):
    stood = [OPEN - timedelta(days=2)] * session.MOST_STANDING
    with desk(tmp_path, *stood, *[t + timedelta(hours=1) for t in stood], OPEN) as (on, _):
        assert asyncio.run(session.reach_session(on, on.load(THURSDAY))).now == OPEN
    with desk(tmp_path / "b", *stood, stood[0], stood[0], OPEN) as (on, _), pytest.raises(BrokerError, match="clock stands at"):
        asyncio.run(session.reach_session(on, on.load(THURSDAY)))


@pytest.mark.parametrize("begun", ["plan", "order"])
def test_begun_session_that_passed_is_given_to_be_closed_and_no_other(tmp_path, begun):
    with desk(tmp_path, session_open(NEXT_DAY)) as (on, _):
        with pytest.raises(BrokerError, match="has passed and cannot be traded"):
            asyncio.run(session.reach_session(on, on.load(THURSDAY)))
        loaded(on, OPEN, plan=plan()) if begun == "plan" else loaded(on, OPEN, record(1, OrderState.CREATED).order)
        assert asyncio.run(session.reach_session(on, on.load(THURSDAY))).now == session_open(NEXT_DAY)


def test_session_is_planned_before_it_opens_and_not_at_the_open():
    session.check_before_open(book(now=OPEN - MICRO))
    with pytest.raises(BrokerError, match="has opened at the broker"):
        session.check_before_open(book(now=OPEN))


def test_sessions_come_in_their_order(tmp_path):
    with desk(tmp_path, OPEN) as (on, _):
        session.check_sequence(on.store, PORTFOLIO, THURSDAY)
        finish(on, D(1000))
        for day in (THURSDAY, NEXT_DAY):
            session.check_sequence(on.store, PORTFOLIO, day)
        with pytest.raises(InputError, match="lies before it"):
            session.check_sequence(on.store, PORTFOLIO, THURSDAY - timedelta(days=1))


def finish(on, nav, day=THURSDAY):
    with on.store.unit(session_close(day)) as unit:
        unit.add_snapshot(Snapshot(ACCOUNT, PORTFOLIO, day, session_close(day), nav, nav, (), D(0), D(0), D(0), D(0)))


def test_limits_are_fractions_of_what_the_plan_found_else_of_the_last_books_else_of_the_cash(tmp_path):
    with desk(tmp_path, OPEN) as (on, _):
        later = replace(on.load(NEXT_DAY, OPEN), cash=D(77))
        assert session.nav_before(on, later) == 77
        finish(on, D(88))
        assert session.nav_before(on, later) == 88
        enqueue(on.store, on.load(NEXT_DAY, OPEN), [], NEXT_DAY, OPEN, replace(plan(), nav=D(99)))
        assert session.nav_before(on, later) == 99


def test_order_whose_end_does_not_come_stops_the_close_and_says_what_to_do(tmp_path, naps):
    late = [CLOSE + timedelta(minutes=n) for n in range(1, 30)]
    with desk(tmp_path, *late, heartbeat_seconds=0.25) as (on, _):
        working = loaded(on, OPEN, record(1, OrderState.CREATED).order, state=OrderState.SENT)
        with pytest.raises(CheckFailed, match="after the close 20221215-main-001 is sent.*otsport desk settle"):
            asyncio.run(session.await_stragglers(on, replace(working, now=CLOSE)))
        assert on.broker.beats == session.PATIENCE and naps == [0.25] * session.PATIENCE
        ended = absorb(on.store, on.load(THURSDAY, CLOSE), [OrderEvent("20221215-main-001", OrderState.CANCELLED, CLOSE)], CLOSE)
        assert asyncio.run(session.await_stragglers(on, ended)) == ended


def test_passed_day_with_an_open_end_is_not_closed_and_says_what_to_do(tmp_path):
    with desk(tmp_path, CLOSE) as (on, _):
        working = loaded(on, OPEN, record(1, OrderState.CREATED).order, state=OrderState.SENT)
        with pytest.raises(CheckFailed, match="20221215-main-001 is sent. Its executions can no longer be asked for.*otsport desk settle.*otsport desk adjust"):
            asyncio.run(check_nothing_missing(on, replace(working, now=CLOSE)))


def test_most_that_a_report_calls_filled_counts(tmp_path):
    ref = "20221215-main-001"
    with desk(tmp_path, OPEN) as (on, _):
        working = loaded(on, OPEN, record(1, OrderState.CREATED).order, state=OrderState.SENT)
        assert asyncio.run(commands._all_fills(on, working, ref))[1] == 0
        on.broker.told = tuple(OrderEvent(ref, OrderState.PARTIALLY_FILLED, OPEN, D(n)) for n in (2, 5, 3))
        assert asyncio.run(commands._all_fills(on, working, ref))[1] == 5
