"""Messages of a broker, made by hand, and what the outbox makes of them in a real store."""
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest

from otsport.book.snapshots import check_ledger
from otsport.core.contracts import stock
from otsport.core.errors import CheckFailed, LostRace
from otsport.core.orders import BrokerReport, Commission, OrderEvent, OrderState, Side, charges_of
from otsport.desk.book import load_book
from otsport.desk.outbox import absorb, enqueue, expire_unsent, ready, recover, unfinished
from store_support import DAY, TS, deposit, fill_of, fresh_place, order

D = Decimal
FIRST, SECOND = order(1), order(2, stock("AAPL"), Side.BUY, 10, "130.00")
REF = FIRST.order_ref


@contextmanager
def outbox(tmp_path, *orders, state=OrderState.SENT):
    """A store with a million dollars and orders of the session in a state; the book at 15:30 UTC."""
    with fresh_place(tmp_path / "s").open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            unit.book(deposit())
        book = enqueue(store, load_book(store, "DU1", "main", DAY, TS), orders, DAY, TS)
        if state is not OrderState.CREATED:
            book = absorb(store, book, [OrderEvent(o.order_ref, state, TS) for o in orders], TS)
        yield store, book
        assert store.verify()


def again(store):
    """The book as a new process reads it."""
    return load_book(store, "DU1", "main", DAY, TS)


def part(o, exec_id, qty, price="62.61", **more):
    return replace(fill_of(o, exec_id, price), qty=D(qty), **more)


def test_fill_and_commission_count_once_however_often_they_come(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        news = [part(FIRST, "e1", 40), Commission("e1", D("1.00"))]
        book = absorb(store, book, news + news, TS)
        book = absorb(store, absorb(store, book, news, TS), news[::-1], TS)
        assert book.cash == again(store).cash == D("997494.60")  # 1,000,000 - 40 x 62.61 - 1
        assert book.positions["KO"].qty == again(store).positions["KO"].qty == 40
        assert (book.orders[REF].state, book.orders[REF].filled_qty) == (OrderState.PARTIALLY_FILLED, 40)


def test_commission_before_its_execution_waits_for_it_and_is_booked_once(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        book = absorb(store, book, [Commission("e1", D("1.00"))], TS)
        assert book.early.keys() == {"e1"} and book.cash == again(store).cash == D("1000000.00")
        book = absorb(store, book, [Commission("e1", D("1.00")), part(FIRST, "e1", 40)], TS)
        assert book.early == {} and book.charged == {"e1"} == again(store).charged
        assert book.cash == again(store).cash == D("997494.60")


STRANGE = {
    "another contract": (part(FIRST, "s1", 5, contract=stock("AAPL")), "s1", "is BUY AAPL, its order"),
    "another side": (part(FIRST, "s1", 5, side=Side.SELL), "s1", "is SELL KO, its order"),
    "unknown reference": (part(FIRST, "s1", 5, order_ref="20221228-main-077"), "s1", "is not in the store of portfolio main"),
    "by hand": (part(FIRST, "s1", 5, order_ref=""), "s1", "order '' \\(BUY 5 KO, execution s1\\) is not in the store"),
    "a correction of another contract": (part(FIRST, "e1.02", 5, contract=stock("AAPL")), "e1.02", "is BUY AAPL, its order"),
    "a correction without a number": (part(FIRST, "e1.02", "5", price="-1"), "e1.02", "-1: a correction has finite numbers"),
    "order that we never named": (OrderEvent("20221228-main-077", OrderState.WORKING, TS), "20221228-main-077",
                                  "\\(working\\) is not in the store"),
    "two numbers": (OrderEvent(REF, OrderState.WORKING, TS, perm_id=7), REF, "two numbers, 100001 and 7"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_message_is_named_the_rest_is_booked_and_a_person_lets_it_go_on(tmp_path, kind):
    message, subject, words = STRANGE[kind]
    with outbox(tmp_path, FIRST, SECOND) as (store, book):
        book = absorb(store, book, [part(FIRST, "e1.01", 40)], TS)
        with pytest.raises(CheckFailed, match=words):
            absorb(store, book, [message, part(SECOND, "e2", 10, "130.00"), Commission("e2", D("1.00"))], TS)
        book = again(store)
        assert book.fills.keys() == {"e1.01", "e2"} and book.cash == D("996194.60")  # less 40 x 62.61, 10 x 130 and 1
        assert {k: p.qty for k, p in book.positions.items()} == {"KO": 40, "AAPL": 10}
        with store.unit(TS) as unit:
            unit.acknowledge("main", subject, "ana: seen at the broker")
        after = absorb(store, again(store), [message], TS)
        assert (after.cash, after.fills.keys()) == (D("996194.60"), {"e1.01", "e2"})


# ---------------------------------------------------------------- corrections

WRONG, RIGHT = part(FIRST, "e1.01", 40), part(FIRST, "e1.02", 30, "62.50")
CORRECTED = [WRONG, Commission("e1.01", D("1.00")), RIGHT, Commission("e1.02", D("0.80")), part(FIRST, "e2.01", 10), Commission("e2.01", D("0.35"))]
END = D(1_000_000) - 30 * D("62.50") - 10 * D("62.61") - D("1.15")  # the first charge is replaced by the second


@pytest.mark.parametrize("seed", range(12))
def test_correction_takes_the_place_of_what_it_corrects_in_any_order_at_any_cut(tmp_path, seed):
    """One message or several a commit, the book read anew between them, everything told again at the end."""
    random = Random(seed)
    told = random.sample(CORRECTED, len(CORRECTED))
    with outbox(tmp_path, FIRST) as (store, book):
        while told:
            cut = random.randint(1, 3)
            book, told = absorb(store, book, told[:cut], TS), told[cut:]
            if random.random() < 0.5:
                book = replace(again(store), early=book.early)
        for _ in range(2):
            assert (book.cash, book.positions["KO"].qty, book.orders[REF].filled_qty) == (END, 40, 40)
            assert book.fills.keys() == {"e1.02", "e2.01"} == {f.exec_id for f in store.fills("main")} and unfinished(book, DAY) == [f"{REF} is partially_filled"]
            book = absorb(store, again(store), CORRECTED, TS)
        assert check_ledger("DU1", "main", store.positions("main"), store.transactions("main"), store.balances("main"))
        assert charges_of(book.fills.values(), store.commissions("main")).keys() == book.fills.keys()


def test_charge_of_zero_leaves_the_one_before_it_and_a_correction_to_nothing_takes_the_fill_out(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        book = absorb(store, book, [WRONG, Commission("e1.01", D(6)), RIGHT, Commission("e1.02", D(0))], TS)
        assert book.cash == D(1_000_000) - 30 * D("62.50") - 6
        book = absorb(store, book, [replace(RIGHT, exec_id="e1.03", qty=D(0))], TS)
        assert (book.cash, book.positions["KO"].qty, book.orders[REF].filled_qty) == (D(999_994), 0, 0)
        again_told = absorb(store, again(store), [WRONG, RIGHT, Commission("e1.02", D(0))], TS)
        assert again_told.cash == again(store).cash == D(999_994) and "commission of e1.03" not in unfinished(again_told, DAY)


def test_correction_of_an_earlier_session_is_booked_into_this_one(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        absorb(store, book, [WRONG, part(FIRST, "e2.01", 60), Commission("e1.01", D(1)), Commission("e2.01", D(1))], TS)
        later = load_book(store, "DU1", "main", DAY + timedelta(days=1), TS + timedelta(days=1))
        assert REF not in later.orders and not later.fills
        book = absorb(store, later, [RIGHT], TS + timedelta(days=1))
        assert book.cash == D(1_000_000) - 30 * D("62.50") - 60 * D("62.61") - 2 and store.order(REF).filled_qty == 90
        note = [(n.subject, n.payload) for n in store.notes("execution corrected")]
        assert note == [(REF, {"exec_id": "e1.02", "replaces": "e1.01", "was": "BUY 40 KO at 62.61", "is": "BUY 30 KO at 62.50"})]


def test_what_was_corrected_away_is_missing_until_the_broker_or_a_person_says_that_it_will_not_come(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        filled = [part(FIRST, "e1.01", 100), Commission("e1.01", D(1)), OrderEvent(REF, OrderState.FILLED, TS, D(100))]
        book = absorb(store, absorb(store, book, filled, TS), [part(FIRST, "e1.02", 90)], TS)
        assert unfinished(book, DAY) == unfinished(book, DAY, {REF: D(100)}) == [f"10 of {REF} filled without an execution"]
        assert unfinished(book, DAY, {REF: D(90)}) == []
        with store.unit(TS) as unit:
            unit.acknowledge("main", REF, "ana: ten did not trade")
        assert unfinished(again(store), DAY) == []


@pytest.mark.parametrize("fills, price, gain", [
    (((2, "0.73"), (1, "0.80"), (-1, "0.90")), "0.70", "0.20"),                       # the corrected lot is the one that was sold
    (((2, "0.73"), (1, "0.80"), (-3, "0.90")), "0.70", "0.30"),                       # all sold: 1 at .70 and 1 at .80 close, 1 is short
    (((2, "0.73"), (-2, "0.90"), (1, "0.80")), "0.70", "0.30"),                       # sold before the last was bought: one short, bought back at .80
])
def test_lots_are_matched_again_with_the_corrected_one_in_its_place(tmp_path, fills, price, gain):
    """2 bought at 0.73 become 1 at 0.70; what was sold since is matched by hand, first in, first out."""
    with outbox(tmp_path, FIRST, SECOND, replace(FIRST, order_ref="20221228-main-004", side=Side.SELL)) as (store, book):
        told = []
        for n, (qty, at) in enumerate(fills):
            of = replace(FIRST, order_ref="20221228-main-004", side=Side.SELL) if qty < 0 else FIRST
            told.append(part(of, f"x{n}.01", abs(qty), at, ts=TS + timedelta(seconds=n)))
        book = absorb(store, book, told, TS)
        book = absorb(store, book, [part(FIRST, "x0.02", 1, price)], TS)
        assert book.positions["KO"].realized == D(gain)
        assert check_ledger("DU1", "main", store.positions("main"), store.transactions("main"), store.balances("main"))


@pytest.mark.parametrize("fill_first", [True, False])
def test_charge_in_another_currency_is_named_the_rest_is_booked_and_a_person_lets_it_go_on(tmp_path, fill_first):
    euros, fill = Commission("e1", D("1.00"), "EUR"), part(FIRST, "e1", 40)
    with outbox(tmp_path, FIRST, SECOND) as (store, book):
        news = [fill, euros] if fill_first else [euros, fill]
        with pytest.raises(CheckFailed, match="commission 1.00 of execution e1 is in EUR, KO in USD.*acknowledge 'e1'"):
            absorb(store, book, [*news, part(SECOND, "e2", 10, "130.00"), Commission("e2", D("1.00"))], TS)
        book = again(store)
        assert book.fills.keys() == {"e1", "e2"} and book.charged == {"e2"} and book.cash == D("996194.60")
        with pytest.raises(CheckFailed, match="is in EUR"):
            absorb(store, book, [euros], TS)
        assert "commission of e1" in unfinished(book, DAY)
        with store.unit(TS) as unit:
            unit.acknowledge("main", "e1", "ana: booked by hand")
        after = absorb(store, again(store), [euros], TS)
        assert after.cash == D("996194.60") and "commission of e1" not in unfinished(after, DAY)


def test_what_concerns_others_is_neither_booked_nor_named(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        others = [part(FIRST, "o1", 5, account="DU2"),
                  OrderEvent("20221228-other-001", OrderState.WORKING, TS), OrderEvent("", OrderState.WORKING, TS)]
        assert absorb(store, book, others, TS) == book and again(store).cash == D("1000000.00")


def test_event_that_says_nothing_new_writes_nothing(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        book = absorb(store, book, [OrderEvent(REF, OrderState.WORKING, TS)], TS)
        rows = store.verify()
        assert absorb(store, book, [OrderEvent(REF, OrderState.WORKING, TS), OrderEvent(REF, OrderState.ACCEPTED, TS)], TS) == book
        assert store.verify() == rows and book.orders[REF].state is OrderState.WORKING


def test_execution_id_of_an_earlier_session_is_not_taken_as_booked(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        absorb(store, book, [part(FIRST, "e1", 40)], TS)
        blind = replace(again(store), fills={})  # as a session reads it that does not look at the earlier one
        with pytest.raises(CheckFailed, match="execution ids repeat"):
            absorb(store, blind, [part(FIRST, "e1", 40)], TS)
        assert again(store).cash == D("997495.60")


def test_order_leaves_when_what_it_waits_for_is_done_and_its_time_has_come(tmp_path):
    waits = replace(SECOND, waits_for=(REF,), not_before=TS)
    lonely = replace(order(3), waits_for=("20221228-main-099",))
    with outbox(tmp_path, FIRST, waits, lonely, state=OrderState.CREATED) as (store, book):
        def refs(b):
            return [r.order.order_ref for r in ready(b)]
        assert refs(book) == [REF]
        book = absorb(store, book, [OrderEvent(REF, OrderState.SENT, TS)], TS)
        assert refs(book) == []  # the first works, the second waits for it
        book = absorb(store, book, [OrderEvent(REF, OrderState.CANCELLED, TS)], TS)
        assert refs(book) == [waits.order_ref]
        assert refs(replace(book, now=TS - timedelta(microseconds=1))) == []
        assert refs(replace(book, session=DAY + timedelta(days=1))) == []


def report(*messages):
    return BrokerReport(tuple(m for m in messages if isinstance(m, OrderEvent)), tuple(m for m in messages if hasattr(m, "price")),
                        tuple(m for m in messages if isinstance(m, Commission)))


def test_order_that_never_arrived_is_silent_and_one_that_was_heard_is_not(tmp_path):
    with outbox(tmp_path, FIRST, SECOND, order(3)) as (store, book):
        heard = report(OrderEvent(REF, OrderState.WORKING, TS, perm_id=5), part(SECOND, "e2", 4, "130.00"), Commission("e2", D("1.00")))
        book, silent = recover(store, book, heard, DAY, TS)
        assert [r.order.order_ref for r in silent] == ["20221228-main-003"]
        states = {ref: r.state for ref, r in again(store).orders.items()}
        assert states == {REF: OrderState.WORKING, SECOND.order_ref: OrderState.PARTIALLY_FILLED, "20221228-main-003": OrderState.UNKNOWN}
        assert again(store).cash == D("999479.00")  # less 4 x 130 and 1


@pytest.mark.parametrize("event", [OrderEvent(REF, OrderState.WORKING, TS), OrderEvent(REF, OrderState.UNKNOWN, TS, perm_id=5)])
def test_order_that_the_broker_knew_and_forgot_is_lost(tmp_path, event):
    with outbox(tmp_path, FIRST) as (store, book):
        book = absorb(store, book, [event], TS)
        with pytest.raises(CheckFailed, match=f"no longer knows {REF}.*desk settle {REF}"):
            recover(store, book, report(), DAY, TS)


def test_orders_that_ended_or_never_left_are_not_silent(tmp_path):
    with outbox(tmp_path, FIRST, SECOND, state=OrderState.CREATED) as (store, book):
        book = absorb(store, book, [OrderEvent(REF, OrderState.CANCELLED, TS)], TS)
        assert recover(store, book, report(), DAY, TS) == (book, [])


def test_only_what_never_left_expires_with_the_session(tmp_path):
    with outbox(tmp_path, FIRST, SECOND, state=OrderState.CREATED) as (store, book):
        book = expire_unsent(store, absorb(store, book, [OrderEvent(REF, OrderState.SENT, TS)], TS))
        assert [r.state for r in book.in_session()] == [OrderState.SENT, OrderState.EXPIRED] == [r.state for r in again(store).in_session()]
        assert [r.code for r in again(store).in_session()] == ["", "NOT_SENT"]


def test_unfinished_names_open_orders_missing_executions_and_commissions(tmp_path):
    with outbox(tmp_path, FIRST, SECOND) as (store, book):
        assert unfinished(book, DAY) == [f"{REF} is sent", f"{SECOND.order_ref} is sent"]
        ended = [OrderEvent(REF, OrderState.FILLED, TS), OrderEvent(SECOND.order_ref, OrderState.CANCELLED, TS)]
        book = absorb(store, book, [*ended, part(FIRST, "e1", 40)], TS)
        assert unfinished(book, DAY) == [f"60 of {REF} filled without an execution", "commission of e1"]
        book = absorb(store, book, [part(FIRST, "e2", 60), Commission("e1", D(1)), Commission("e2", D(1))], TS)
        assert unfinished(book, DAY) == [] and unfinished(book, DAY + timedelta(days=1)) == []


def test_flat_position_of_a_new_order_is_loaded_with_what_it_earned(tmp_path):
    """The store knows KO, flat, with a gain; the next fill is booked onto that, not onto a blank."""
    sale = order(2, side=Side.SELL)
    with outbox(tmp_path, FIRST, sale) as (store, book):
        book = absorb(store, book, [part(FIRST, "e1", 100, "62.00"), replace(fill_of(sale, "e2", "63.00"), qty=D(100))], TS)
        assert book.positions["KO"].qty == 0 and book.positions["KO"].realized == 100
        bare = replace(again(store), positions={})
        third = enqueue(store, bare, [order(3)], DAY, TS)
        assert third.positions["KO"].realized == 100
        third = absorb(store, third, [OrderEvent("20221228-main-003", OrderState.SENT, TS), part(order(3), "e3", 5)], TS)
        assert (again(store).positions["KO"].qty, again(store).positions["KO"].realized) == (5, 100)


def test_second_writer_on_a_stale_book_loses_and_nothing_of_it_is_kept(tmp_path):
    with outbox(tmp_path, FIRST, SECOND) as (store, mine):
        yours = again(store)
        absorb(store, mine, [OrderEvent(REF, OrderState.WORKING, TS)], TS)
        rows = store.verify()
        with pytest.raises(LostRace):
            absorb(store, yours, [part(SECOND, "e2", 10, "130.00"), OrderEvent(REF, OrderState.CANCELLED, TS)], TS)
        assert store.verify() == rows and again(store).fills == {} and again(store).cash == D("1000000.00")
        assert {r.state for r in again(store).in_session()} == {OrderState.WORKING, OrderState.SENT}
