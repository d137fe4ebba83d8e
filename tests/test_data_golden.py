"""The stores of released versions are opened, read, verified and written on ever after; a field more breaks no stored row."""
import json
import sqlite3
from collections import Counter
from dataclasses import MISSING, field, fields, make_dataclass, replace
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest
from golden_support import unpack

from otsport.core.books import Lot, Position, PositionMark, Snapshot, Transaction, TransactionKind
from otsport.core.contracts import Contract, stock
from otsport.core.errors import AuditBroken, StoreError
from otsport.core.orders import Commission, Fill, Order, OrderRecord, OrderState, Side
from otsport.data import tables
from otsport.data.plain import canonical, plain, revive
from otsport.data.store import REVISION, event_of, open_store, payload_of
from otsport.desk.plan import Plan, read_plan

D = Decimal
DAYS = [date(2022, 12, d) for d in (13, 14, 15)]
LATER = datetime(2022, 12, 16, 14, tzinfo=timezone.utc)


@pytest.fixture
def golden(tmp_path):
    return unpack("store_0_1_0", tmp_path / "home")


def sql(path, *statements):
    with sqlite3.connect(path) as db:
        rows = [db.execute(s).fetchall() for s in statements]
    db.close()
    return rows[-1]


def test_golden_store_is_of_0_1_0(golden):
    "What lies in the folder was not written by a later version."
    assert sql(golden, "SELECT version_num FROM alembic_version") == [("0001",)]
    assert sql(golden, "SELECT count(*) FROM audit") == [(128,)] and sql(golden, "SELECT sum(stage = 1), sum(stage = 2) FROM orders") == [(9, 7)]


def test_golden_store_opens_and_verifies(golden):
    with open_store(golden) as store:
        assert store.verify() == 128
    assert sql(golden, "SELECT version_num FROM alembic_version") == [(REVISION,)]
    with open_store(golden) as store:
        assert store.verify() == 128


def test_golden_store_reads_as_0_1_0_printed_it(golden):
    with open_store(golden) as store:
        assert store.portfolios() == {"main": "DU123456"}
        snapshots = store.snapshots("main")
        assert [s.session for s in snapshots] == DAYS
        last = snapshots[-1]
        assert (f"{last.nav:.2f}", f"{last.cash:.2f}", f"{last.day_pnl:.2f}") == ("996006.01", "410525.86", "-5441.41")
        assert last.nav == last.cash + sum(p.value for p in last.positions) and store.cash("main") == last.cash
        assert Counter(r.state for r in store.orders("main")) == {OrderState.FILLED: 16}
        assert len(store.fills("main")) == 20 and sum(c.amount for c in store.commissions("main").values()) == D("55.76")
        assert sum(p.qty != 0 for p in store.positions("main").values()) == 15
        for day in DAYS:
            assert read_plan(store.plan("main", day)).session == day


def test_stage_2_of_0_1_0_is_the_overlay(golden):
    "The timing of the calls is not lost: 7 orders of stage 2, all of them calls that were sold."
    stages = dict(sql(golden, "SELECT order_ref, stage FROM orders"))
    with open_store(golden) as store:
        groups = {r.order.order_ref: r.order.group for r in store.orders("main")}
        assert groups == {ref: "overlay" if stage == 2 else "" for ref, stage in stages.items()}
        assert all(r.order.contract.is_option == (r.order.group == "overlay") for r in store.orders("main"))
        assert {(r.order.waits_for, r.order.not_before, r.order.parent) for r in store.orders("main")} == {((), None, "")}


def test_orders_of_0_1_0_know_the_audit_row_that_wrote_them_last(golden):
    last = dict(sql(golden, "SELECT order_ref, max(seq) FROM order_events GROUP BY order_ref"))
    with open_store(golden) as store:
        assert {r.order.order_ref: r.version for r in store.orders("main")} == last


def test_orders_and_events_of_0_1_0_have_no_code(golden):
    open_store(golden).close()
    for table in ("orders", "order_events"):
        assert sql(golden, f"SELECT DISTINCT code FROM {table}") == [("",)]


@pytest.mark.parametrize("statement, text", [
    ("UPDATE orders SET code = 'CASH' WHERE order_ref = '20221213-main-008'", "orders, row 20221213-main-008: code"),
    ("UPDATE order_events SET code = 'CASH' WHERE seq = (SELECT min(seq) FROM order_events)", "order_events, row .*: code"),
    ("""UPDATE orders SET "group" = '' WHERE order_ref = '20221213-main-008'""", "orders, row 20221213-main-008: group"),
    ("UPDATE orders SET version = version - 1 WHERE order_ref = '20221213-main-001'", "orders, row 20221213-main-001: version"),
    ("UPDATE orders SET waits_for = '[\"x\"]' WHERE order_ref = '20221213-main-001'", "waits_for"),
])  # fmt: skip
def test_what_the_migration_wrote_is_verified(golden, statement, text):
    open_store(golden).close()
    sql(golden, statement)
    with open_store(golden) as store, pytest.raises(AuditBroken, match=text):
        store.verify()


def test_golden_store_is_written_on(golden):
    with open_store(golden) as store:
        old = store.orders("main")[0]
        with store.unit(LATER) as unit:
            added = unit.add_order(Order("20221216-main-001", "DU123456", "main", stock("KO"), Side.BUY, D(1), waits_for=(old.order.order_ref,)), LATER.date())
            unit.set_order_state(replace(added, state=OrderState.SENT))
            unit.set_order_state(replace(old, message="looked at again", code="SEEN"))
        assert store.verify() == 131
    with open_store(golden) as store:
        assert store.verify() == 131 and store.order("20221216-main-001").state is OrderState.SENT
        seen = store.order(old.order.order_ref)
        assert (seen.message, seen.code) == ("looked at again", "SEEN")


# --- stored shape is not class shape


def test_an_old_event_is_read_through_its_upcast():
    order = Order("20221213-main-001", "DU1", "main", stock("KO"), Side.BUY, D(100))
    old_order = {k: v for k, v in plain(order).items() if k not in ("waits_for", "not_before", "parent", "group")}
    old = {"record": {"order": old_order, "session": "2022-12-13", "stage": 2, "state": "created", "filled_qty": "0", "perm_id": 0, "message": ""}}
    event = event_of("order", json.dumps(old))
    assert (event.order, event.session) == (replace(order, group="overlay"), date(2022, 12, 13))
    assert event_of("order", json.dumps(old).replace('"stage": 2', '"stage": 1')).order == order
    assert json.loads(payload_of("order", event))["v"] == 2 and event_of("order", payload_of("order", event)) == event


@pytest.mark.parametrize("action, payload", [
    ("order", '{"v": 3, "order": {}}'), ("portfolio", '{"v": 2, "portfolio": "main", "account": "DU1"}'),
    ("portfolio", '{"portfolio": "main", "account": "DU1", "base": "EUR"}'),
])  # fmt: skip
def test_an_event_of_a_newer_otsport_is_refused_by_name(action, payload):
    with pytest.raises(StoreError, match="newer otsport, so upgrade otsport"):
        event_of(action, payload)


RECORDS = [Contract, Order, Fill, Commission, Lot, Position, PositionMark, Snapshot, Transaction, Plan]


def grown(kind):
    "A copy of a record class as a later version might have it: with a field more."
    named = [(f.name, f.type, field(default=f.default)) if f.default is not MISSING else (f.name, f.type) for f in fields(kind)]
    return make_dataclass(kind.__name__, [*named, ("venue", str, field(default="SMART"))], frozen=True, namespace={"__module__": kind.__module__})


@pytest.mark.parametrize("kind", RECORDS, ids=lambda k: k.__name__)
def test_a_field_more_in_a_record_reads_what_was_stored(golden, kind):
    with open_store(golden) as store:
        last = store.last_snapshot("main")
        samples = {
            Contract: last.positions[0].contract, Order: store.orders("main")[0].order, Fill: store.fills("main")[0], Commission: Commission("e1", D(1)),
            Lot: next(p for p in store.positions("main").values()).lots[0], Position: next(p for p in store.positions("main").values()),
            PositionMark: last.positions[0], Snapshot: last, Transaction: store.transactions("main")[1], Plan: read_plan(store.plan("main", DAYS[0])),
        }  # fmt: skip
    stored = plain(samples[kind])
    later = revive(grown(kind), stored)
    assert later.venue == "SMART" and {f.name: getattr(later, f.name) for f in fields(kind)} == {f.name: getattr(samples[kind], f.name) for f in fields(kind)}
    with pytest.raises(StoreError, match=f"venue of {kind.__name__} .*newer otsport"):  # and what the later version stored is not half read here
        revive(kind, plain(later))


def test_a_store_whose_nested_records_grew_a_field_still_verifies(golden, monkeypatch):
    "As if `PositionMark`, `Lot` and `Contract` had a field more, in the tables and in the events alike."
    columns = {tables.POSITIONS.c.lots: tuple[grown(Lot), ...], tables.SNAPSHOTS.c.positions: tuple[grown(PositionMark), ...],
               tables.FILLS.c.contract: grown(Contract)}  # fmt: skip
    for column, kind in columns.items():
        monkeypatch.setattr(column.type, "kind", kind)
    with open_store(golden) as store:
        assert {m.venue for m in store.last_snapshot("main").positions} == {"SMART"}
        assert store.fills("main")[0].contract.venue == "SMART"


STORED = {
    tables.ORDERS: (Order, OrderRecord), tables.FILLS: (Fill,), tables.COMMISSIONS: (Commission,), tables.TRANSACTIONS: (Transaction,),
    tables.POSITIONS: (Position,), tables.SNAPSHOTS: (Snapshot,),
}  # fmt: skip
ELSEWHERE = {(OrderRecord, "order"), (Transaction, "legs")}  # fields with a table, or columns, of their own


@pytest.mark.parametrize("table", STORED, ids=lambda t: t.name)
def test_every_field_of_a_stored_record_has_its_column(table):
    "A field without a column would be forgotten without a word."
    for kind in STORED[table]:
        assert [f.name for f in fields(kind) if f.name not in table.columns and (kind, f.name) not in ELSEWHERE] == []
