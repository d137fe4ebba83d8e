"""Orders in our account that did not come from here: followed, booked, bound by the gate, and never touched or sent."""
import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from otsport.brokers.ib_ears import Orders, hear_commission, hear_execution, hear_open_order
from otsport.core.constraints import free_shares
from otsport.core.contracts import option, stock
from otsport.core.errors import CheckFailed
from otsport.core.orders import Commission, ForeignOrder, OrderEvent, OrderState, Side, Unbookable, is_foreign
from otsport.core.settings import BrokerProfile
from otsport.desk.book import load_book
from otsport.desk.booking import absorb
from otsport.desk.outbox import ready, recover, unfinished
from otsport.desk.requests import Asked, begin_cancel
from store_support import DAY, TS, order
from test_desk_outbox import FIRST, REF, again, outbox, part, report

D = Decimal
HAND = ForeignOrder("external:777", "DU1", stock("KO"), Side.SELL, D(30), "by hand in TWS", D("63.00"), 777)


def fill(theirs: ForeignOrder, exec_id: str, qty: int, price: str = "62.00", **more):
    return replace(part(order(1), exec_id, qty, price, order_ref=theirs.order_ref, contract=theirs.contract, side=theirs.side, perm_id=theirs.perm_id), **more)


def test_order_typed_by_hand_is_followed_binds_its_shares_and_is_booked_once(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        book = absorb(store, book, [part(FIRST, "e1.01", 100), HAND, OrderEvent(HAND.order_ref, OrderState.WORKING, TS, perm_id=777)], TS)
        record = book.orders["external:777"]
        assert (record.state, record.code, record.perm_id, record.order.reason) == (OrderState.WORKING, "ADOPTED", 777, "by hand in TWS") and is_foreign(record.order)
        assert free_shares(book.positions, book.open_orders())["KO"] == 70, "thirty are being sold by hand: the gate counts them as gone"
        for _ in range(2):  # and a process that starts anew
            book = absorb(store, again(store), [HAND, fill(HAND, "h1.01", 30), Commission("h1.01", D(1))], TS)
            assert book.positions["KO"].qty == 70 and book.orders["external:777"].state is OrderState.FILLED
        assert [n.payload["maker"] for n in store.notes("foreign order")] == ["by hand in TWS"]


def test_liquidation_is_told_as_such_and_two_executions_alike_are_two(tmp_path):
    """clientId 0, orderId -1, liquidation 1, no number of the broker: each execution is an order of its own."""
    ib_insync = pytest.importorskip("ib_insync")
    ears = Orders(BrokerProfile(accounts=("DU1",)))
    for exec_id in ("q1.01", "q2.01", "q1.01"):
        done = ib_insync.Execution(exec_id, TS, "DU1", "SMART", "SLD", 10.0, 61.5, 0, 0, -1, 1, 10.0, 61.5)
        hear_execution(ears, -1, ib_insync.Contract(secType="STK", symbol="KO", currency="USD"), done)
        hear_commission(ears, ib_insync.CommissionReport(exec_id, 0.35, "USD"))
    with outbox(tmp_path, FIRST) as (store, book):
        book = absorb(store, book, [part(FIRST, "e1.01", 100), *ears.heard, *ears.heard], TS)
        assert book.positions["KO"].qty == 80 and book.charged == {"q1.01", "q2.01"}
        assert {r.order.reason for r in book.orders.values() if is_foreign(r.order)} == {"liquidated by the broker"}
        assert again(store).positions["KO"].qty == 80


def test_combination_traded_by_hand_books_its_legs_once_whichever_comes_first(tmp_path):
    """An execution of the whole (BAG) and one of each leg, before the open order and without it; all under one number."""
    ib_insync = pytest.importorskip("ib_insync")
    legs = [ib_insync.Contract(secType="OPT", conId=n, symbol="KO", lastTradeDateOrContractMonth="20230120", strike=k, right="C", multiplier="100", currency="USD",
                               localSymbol=f"KO    230120C000{k}000", tradingClass="KO") for n, k in ((11, 60), (12, 65))]
    whole = ib_insync.Contract(secType="BAG", symbol="KO", currency="USD")
    for turn in (0, 1):
        ears = Orders(BrokerProfile(accounts=("DU1",)))
        told = [(whole, "b.01", "BOT"), (legs[0], "b.02.01", "BOT"), (legs[1], "b.03.01", "SLD")]
        for theirs, exec_id, side in told[::-1] if turn else told:
            hear_execution(ears, -1, theirs, ib_insync.Execution(exec_id, TS, "DU1", "SMART", side, 2.0, 1.5, 555, 0, 0, 0, 2.0, 1.5))
        opened = ib_insync.Order(permId=555, clientId=0, action="BUY", totalQuantity=2.0, account="DU1")
        hear_open_order(ears, 0, whole, opened, ib_insync.OrderState(status="Filled"))
        with outbox(tmp_path / str(turn), FIRST) as (store, book):
            for _ in range(2):
                book = absorb(store, book, ears.heard, TS)
                assert {k: p.qty for k, p in book.positions.items()} == {"KO 20230120 C 60": 2, "KO 20230120 C 65": -2}
                book = again(store)
            assert len(book.fills) == 2 and unfinished(book, DAY) == [f"{REF} is sent", "commission of b.02.01", "commission of b.03.01"]


def test_order_of_another_client_id_keeps_its_name_and_one_of_ours_from_before_is_ours(tmp_path):
    ib_insync = pytest.importorskip("ib_insync")
    ears = Orders(BrokerProfile(accounts=("DU1",), client_id=1))
    for ref, client, exec_id in (("their-bot-1", 7, "t.01"), (REF, 3, "o.01")):
        done = ib_insync.Execution(exec_id, TS, "DU1", "SMART", "BOT", 5.0, 62.0, 5000 + client, client, 12, 0, 5.0, 62.0, ref)
        hear_execution(ears, -1, ib_insync.Contract(secType="STK", symbol="KO", currency="USD"), done)
    with outbox(tmp_path, FIRST) as (store, book):
        book = absorb(store, book, ears.heard, TS)
        assert (book.orders["their-bot-1"].filled_qty, book.orders["their-bot-1"].order.reason) == (5, "by client id 7")
        assert (book.orders[REF].filled_qty, is_foreign(book.orders[REF].order)) == (5, False)


def test_reference_of_our_form_that_the_store_lacks_is_never_taken_for_foreign(tmp_path):
    lost = replace(HAND, order_ref="20221228-main-077")
    with outbox(tmp_path, FIRST) as (store, book):
        with pytest.raises(CheckFailed, match="'20221228-main-077' .* is not in the store of portfolio main"):
            absorb(store, book, [lost, fill(lost, "x.01", 30)], TS)
        assert again(store).positions.keys() == set()


def test_two_accounts_whose_brokers_use_one_number_have_an_order_each(tmp_path):
    with outbox(tmp_path, FIRST) as (store, book):
        absorb(store, book, [HAND, fill(HAND, "h1.01", 30)], TS)
        with store.unit(TS) as unit:
            unit.add_portfolio("second", "DU2")
        other = load_book(store, "DU2", "second", DAY, TS)
        theirs = replace(HAND, account="DU2", side=Side.BUY)
        for _ in range(2):
            other = absorb(store, other, [theirs, fill(theirs, "k1.01", 20, account="DU2"), OrderEvent("external:777", OrderState.WORKING, TS, perm_id=777)], TS)
            assert other.orders["external:777 @DU2"].filled_qty == 20 and other.positions["KO"].qty == 20
            other, silent = recover(store, load_book(store, "DU2", "second", DAY, TS), replace(report(), foreign=(theirs,)), DAY, TS)
            assert silent == [] and other.orders["external:777 @DU2"].state is OrderState.PARTIALLY_FILLED
        assert again(store).positions["KO"].qty == -30


def test_foreign_order_is_never_sent_never_cancelled_and_stops_no_day(tmp_path):
    class Deaf:
        async def cancel(self, ref):
            raise AssertionError("an order of others was touched")

    with outbox(tmp_path, FIRST) as (store, book):
        absorb(store, book, [HAND, OrderEvent(REF, OrderState.CANCELLED, TS)], TS)
        book, silent = recover(store, again(store), replace(report(), foreign=(HAND,)), DAY, TS)
        assert silent == [] == ready(book) and unfinished(book, DAY) == []
        desk = type("Desk", (), {"broker": Deaf(), "store": store})
        _, decision = asyncio.run(begin_cancel(desk, book, HAND.order_ref, Asked("ana", "not mine")))
        assert (decision.code, decision.accepted) == ("FOREIGN", False)
        book, silent = recover(store, again(store), report(), DAY, TS)  # it is gone at the broker
        record = book.orders[HAND.order_ref]
        assert (record.state, record.code, silent) == (OrderState.CANCELLED, "NOT_LISTED", [])


def test_what_no_record_can_hold_is_named_until_a_person_has_looked_at_it(tmp_path):
    ib_insync = pytest.importorskip("ib_insync")
    ears = Orders(BrokerProfile(accounts=("DU1",)))
    hear_execution(ears, -1, ib_insync.Contract(secType="FUT", symbol="ES"), ib_insync.Execution("f.01", TS, "DU1", "CME", "BOT", 1.0, 4000.0, 9, 0))
    assert [type(m) for m in ears.heard] == [Unbookable]
    with outbox(tmp_path, FIRST) as (store, book):
        with pytest.raises(CheckFailed, match="execution f.01 in ES: ES is a FUT.*acknowledge 'f.01'"):
            absorb(store, book, [*ears.heard, part(FIRST, "e1.01", 10)], TS)
        assert again(store).positions["KO"].qty == 10
        with store.unit(TS) as unit:
            unit.acknowledge("main", "f.01", "ana: sold it again")
        assert absorb(store, again(store), ears.heard, TS).positions["KO"].qty == 10
