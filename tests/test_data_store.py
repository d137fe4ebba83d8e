"""The contract of every store: whole units, exact records, no lost update, no unseen change of the past."""
import os
import shutil
import sqlite3
import stat
import time
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_support import (
    CALL, D, DATABASES, DAY, KO, ROWS_OF_A_DAY, TS, Place, a_day, bought, charged, deposit, fill_of, fresh_place, order, place_on, server_place,
    snapshot,
)

from otsport.core.books import Booking, Leg, Transaction, TransactionKind
from otsport.core.errors import AuditBroken, InputError, LostRace, StoreError
from otsport.core.orders import Commission, OrderRecord, OrderState, Side
from otsport.data.audit import GENESIS, Link, read_head, read_key, signature
from otsport.data.events import Change
from otsport.data.database import REVISION
from otsport.data.sqlite import writing
from otsport.data.store import apply, open_store
from otsport.data.tables import AUDIT, META, ORDERS, POSITIONS


@pytest.fixture(params=DATABASES)
def place(request, tmp_path):
    with place_on(request.param, tmp_path / "store") as made:
        yield made


@pytest.fixture
def file_place(tmp_path) -> Place:
    "What only a file can be asked."
    return fresh_place(tmp_path / "store")


@pytest.fixture
def on_server(tmp_path):
    with server_place(tmp_path / "store") as made:
        yield made


# --- records come back as they went in


def test_records_round_trip_over_a_restart(place):
    with place.open() as store:
        a_day(store)
    with place.open() as store:
        fill = fill_of(order(1))
        assert store.portfolios() == {"main": "DU1"}
        assert store.order(order(1).order_ref) == OrderRecord(order(1), DAY, OrderState.FILLED, D(100), 100001, "all of it")
        assert store.orders("main", DAY) == store.orders("main") == [store.order(order(1).order_ref), OrderRecord(order(2, CALL, Side.SELL, 1, "1.20"), DAY, OrderState.CREATED)]
        assert store.orders("main", date(2022, 12, 27)) == store.orders("other") == []
        assert store.fills("main") == store.fills("main", DAY) == [fill] == [store.fill("e1")]
        assert store.fills("main", date(2022, 12, 27)) == []
        assert store.commissions("main") == {"e1": Commission("e1", D("1.00"))}
        kept = charged(fill, bought(fill).after)
        assert store.transactions("main") == [deposit().transaction, bought(fill).transaction, kept.transaction]
        assert store.positions("main") == {"KO": kept.after}
        assert store.cash("main") == D("993738.00")
        assert store.snapshots("main") == [snapshot()] == [store.last_snapshot("main")]
        assert store.plan("main", DAY)["targets"] == {"KO": 0.02}
        assert store.plan("main", date(2022, 12, 27)) is None
        assert store.verify() == ROWS_OF_A_DAY


def test_contract_details_and_digits_survive(place):
    with place.open() as store:
        a_day(store)
        kept = store.order("20221228-main-002").order
        assert (kept.contract, kept.contract.multiplier, kept.contract.con_id) == (CALL, 10, 77)
        assert store.fill("e1").contract.con_id == 8894
        assert str(kept.limit_price) == "1.20" and str(store.snapshots("main")[0].positions[0].mark) == "62.71"
        assert store.fill("e1").ts.tzinfo is timezone.utc


def test_amounts_are_text_and_never_floats_in_the_file(file_place):
    with file_place.open() as store:
        a_day(store)
    for table in META.sorted_tables:
        for column in table.columns:
            if type(column.type).__name__ in ("Amount", "Instant"):
                kinds = file_place.sql(f"SELECT DISTINCT typeof({column.name}) FROM {table.name} WHERE {column.name} IS NOT NULL")
                assert kinds in ([("text",)], []), f"{table.name}.{column.name} holds {kinds}"


def test_snapshots_last_before_a_session(place):
    days = [date(2022, 12, d) for d in (23, 27, 28)]
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            for day in reversed(days):
                unit.add_snapshot(snapshot(day))
        assert [s.session for s in store.snapshots("main")] == days
        assert store.last_snapshot("main").session == days[2]
        assert store.last_snapshot("main", before=days[2]).session == days[1]
        assert store.last_snapshot("main", before=days[0]) is None


def test_an_order_that_waits_comes_back_whole(place):
    later = replace(order(3, CALL, Side.SELL, 1, "1.20"), waits_for=("20221228-main-001", "20221228-main-002"), not_before=TS, parent="p1", group="overlay")
    with place.open() as store:
        a_day(store)
        with store.unit(TS) as unit:
            unit.add_order(later, DAY)
    with place.open() as store:
        assert store.order(later.order_ref).order == later
        assert store.order(order(1).order_ref).order.waits_for == ()
        store.verify()


def test_an_order_moves_from_the_version_that_was_read(place):
    "Two desks read one order: the second to move it is told, and nothing of its unit is kept."
    ref = order(2).order_ref
    with place.open() as first, place.open() as second:
        a_day(first)
        mine, theirs = first.order(ref), second.order(ref)
        assert mine.version == theirs.version == 5  # its audit row
        with first.unit(TS) as unit:
            sent = unit.set_order_state(replace(mine, state=OrderState.SENT))
            assert sent.version == ROWS_OF_A_DAY + 1
            assert unit.set_order_state(replace(sent, state=OrderState.WORKING)).version == ROWS_OF_A_DAY + 2
        with pytest.raises(LostRace, match=f"{ref} has changed since it was read .read: audit row 5, stored: working by audit row 12"), second.unit(TS) as unit:
            unit.note("with it", "main")
            unit.set_order_state(replace(theirs, state=OrderState.SENT))
        assert (first.order(ref).state, first.order(ref).version) == (OrderState.WORKING, ROWS_OF_A_DAY + 2)
        with second.unit(TS) as unit:  # read again and retry
            unit.set_order_state(replace(second.order(ref), state=OrderState.CANCELLED))
        assert first.verify() == ROWS_OF_A_DAY + 3


def test_an_undone_move_leaves_the_order_as_it_was_read(place):
    ref = order(2).order_ref
    with place.open() as store:
        a_day(store)
        record = store.order(ref)
        with pytest.raises(ConnectionResetError), store.unit(TS) as unit:
            unit.set_order_state(replace(record, state=OrderState.SENT))
            raise ConnectionResetError("the broker went away")
        assert store.order(ref) == record and store.order(ref).version == record.version


def test_closed_position_stays_with_what_it_realized(place):
    with place.open() as store:
        a_day(store)
        held = store.positions("main")["KO"]
        closed = replace(held, lots=(), realized=D("12.00"))
        moved = Transaction(TransactionKind.SELL, "e9", TS, "DU1", "main", (Leg("cash", D(6273)), Leg("position:KO", D(-6261)), Leg("realized", D(-12))), KO, D(-100), D("62.73"))
        with store.unit(TS) as unit:
            assert unit.book(Booking(moved, held, closed))
        assert store.positions("main") == {"KO": closed}
        assert store.verify() == ROWS_OF_A_DAY + 1


# --- once only


def test_booking_twice_is_false_and_writes_nothing(place):
    with place.open() as store:
        a_day(store)
        fill = fill_of(order(1))
        before = (store.transactions("main"), store.positions("main"), store.head)
        with store.unit(TS) as unit:
            assert unit.book(bought(fill), fill=fill) is False
            assert unit.book(deposit()) is False
        assert (store.transactions("main"), store.positions("main"), store.head) == before
        assert store.verify() == ROWS_OF_A_DAY


def test_same_ref_in_another_account_or_kind_is_another_booking(place):
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            unit.add_portfolio("second", "DU2")
            assert unit.book(deposit()) and unit.book(deposit(portfolio="second", account="DU2"))
            assert not unit.book(deposit())
        assert store.cash("main") == store.cash("second") == D("1000000.00")


@pytest.mark.parametrize(
    "write",
    [
        lambda unit: unit.add_portfolio("main", "DU9"),
        lambda unit: unit.add_plan("main", DAY, {}),
        lambda unit: unit.add_order(order(1), DAY),
        lambda unit: unit.add_snapshot(snapshot()),
        lambda unit: unit.add_order(replace(order(3), portfolio="nobody"), DAY),
        lambda unit: unit.add_order(replace(order(3), account="DU9"), DAY),
        lambda unit: unit.book(bought(fill_of(order(77), "e7")), fill=fill_of(order(77), "e7")),
        lambda unit: unit.set_order_state(OrderRecord(order(77), DAY, OrderState.SENT)),
        lambda unit: unit.book(deposit("d2", account="DU9")),
    ],
    ids=["portfolio", "plan", "order", "snapshot", "order of no portfolio", "order of a foreign account", "fill of no order", "state of no order", "deposit of a foreign account"],
)  # fmt: skip
def test_row_that_is_there_or_refers_to_nothing_is_refused(place, write):
    with place.open() as store:
        a_day(store)
        held = store.positions("main")
        with pytest.raises((StoreError, LostRace)):
            with store.unit(TS) as unit:
                unit.note("before", "main")
                write(unit)
        assert store.positions("main") == held
        assert store.verify() == ROWS_OF_A_DAY


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (replace(fill_of(order(1)), price=62.61), "exact amounts come from text"),
        (replace(fill_of(order(1)), ts=datetime(2022, 12, 28)), "no time zone"),
        (replace(fill_of(order(1)), price=D("NaN")), "not a finite number"),
    ],
)
def test_float_naive_or_nan_is_refused(place, record, text):
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            unit.add_order(order(1), DAY)
        with pytest.raises(InputError, match=text), store.unit(TS) as unit:
            unit.book(bought(fill_of(order(1))), fill=record)
        assert store.fills("main") == [] and store.positions("main") == {} and store.verify() == 2


# --- all or nothing


def test_error_in_a_unit_undoes_all_of_it(place):
    with place.open() as store:
        a_day(store)
        with pytest.raises(ConnectionResetError), store.unit(TS) as unit:
            unit.add_order(order(5), DAY)
            unit.book(deposit("d2"))
            raise ConnectionResetError("the broker went away")
        assert store.order(order(5).order_ref) is None and store.cash("main") == D("993738.00")
        assert store.verify() == ROWS_OF_A_DAY


def test_swallowed_error_still_loses_the_unit(place):
    with place.open() as store:
        a_day(store)
        with pytest.raises(StoreError, match="nothing of this unit was kept"), store.unit(TS) as unit:
            unit.book(deposit("d2"))
            with pytest.raises(StoreError):
                unit.add_order(order(1), DAY)
        assert store.cash("main") == D("993738.00") and store.verify() == ROWS_OF_A_DAY


def test_unit_is_unseen_until_it_is_committed(place):
    with place.open() as store, place.open() as reader:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            assert reader.portfolios() == store.portfolios() == {}
        assert reader.portfolios() == {"main": "DU1"}


# --- two writers


def test_lost_race_on_a_position(place):
    with place.open() as first, place.open() as second:
        a_day(first)
        mine, theirs = first.positions("main")["KO"], second.positions("main")["KO"]
        with first.unit(TS) as unit:
            unit.add_order(order(6), DAY)
            unit.add_order(order(7), DAY)
            unit.book(bought(fill_of(order(6), "e6"), mine), fill=fill_of(order(6), "e6"))
        with pytest.raises(LostRace, match="read: 100 units, stored: 200 units"), second.unit(TS) as unit:
            unit.note("with it", "main")
            unit.book(bought(fill_of(order(7), "e7"), theirs), fill=fill_of(order(7), "e7"))
        assert second.fill("e7") is None
        with second.unit(TS) as unit:  # read again and retry
            unit.book(bought(fill_of(order(7), "e7"), second.positions("main")["KO"]), fill=fill_of(order(7), "e7"))
        assert first.positions("main")["KO"].qty == 300
        assert first.verify() == second.verify() == ROWS_OF_A_DAY + 4


def test_lost_race_on_a_position_that_another_opened(place):
    with place.open() as store:
        a_day(store)
        with pytest.raises(LostRace, match="read: none, stored: 100 units"), store.unit(TS) as unit:
            unit.book(bought(fill_of(order(2, KO), "e7")))


def test_stale_version_is_a_lost_race(place):
    "The guard that a database without one-writer locking relies on."
    with place.open() as store:
        a_day(store)
        with store._reading() as conn:
            row = dict(conn.execute(POSITIONS.select()).mappings().one())
        assert row["version"] == 2
        for version in (2, 4):
            with pytest.raises(LostRace, match="read again and retry"), writing(store._engine) as conn:
                apply(conn, Change(POSITIONS, row | {"version": version}, existing=True, read=version - 1))
        with writing(store._engine) as conn:
            apply(conn, Change(POSITIONS, row | {"version": 3}, existing=True, read=2))


def test_stale_order_is_a_lost_race_in_the_row_itself(place):
    with place.open() as store:
        a_day(store)
        for read in (0, 4, 7):
            with pytest.raises(LostRace, match="read again and retry"), writing(store._engine) as conn:
                apply(conn, Change(ORDERS, {"order_ref": order(2).order_ref, "version": 9}, existing=True, read=read))
        with writing(store._engine) as conn:
            apply(conn, Change(ORDERS, {"order_ref": order(2).order_ref, "version": 9}, existing=True, read=5))


def test_writer_that_waits_too_long_loses_the_race(place):
    with place.open() as first, place.open(wait_seconds=0.1) as second:
        with first.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            began = time.monotonic()
            with pytest.raises(LostRace, match="another process"), second.unit(TS):
                pytest.fail("a second writer got in")
            assert time.monotonic() - began < 4.5  # not the five seconds that are the default
        with second.unit(TS) as unit:
            unit.add_portfolio("second", "DU2")
        assert first.verify() == 2


# --- a changed past is seen


def test_clean_store_verifies(place):
    "The control of all that follow."
    with place.open() as store:
        a_day(store)
        assert store.verify() == ROWS_OF_A_DAY
    with place.open() as store:
        assert store.verify() == ROWS_OF_A_DAY


def test_empty_store_verifies(place):
    with place.open() as store:
        assert store.verify() == 0 and store.head == GENESIS


def assert_broken(place, text):
    "Broken for an open store and, as far as opening looks, never silently repaired."
    with pytest.raises(AuditBroken, match=text):
        with place.open() as store:
            store.verify()


@pytest.mark.parametrize(
    ("statements", "text"),
    [
        (["UPDATE audit SET payload = replace(payload, '62.61', '62.01') WHERE seq = 7"], "row 7 .* was changed"),
        (["UPDATE audit SET subject = 'other' WHERE seq = 3"], "row 3 .* was changed"),
        (["UPDATE audit SET ts = '2022-12-27T15:30:00.000000+00:00' WHERE seq = 1"], "row 1 .* was changed"),
        (["UPDATE audit SET action = 'remark' WHERE seq = 4"], "row 4 .* was changed"),
        (["UPDATE audit SET mac = prev WHERE seq = 4"], "row 4 .* was changed"),
        (["DELETE FROM audit WHERE seq = 5"], "row 5 is missing: row 6 follows row 4"),
        (["DELETE FROM audit WHERE seq = 1"], "row 1 is missing"),
        (["DELETE FROM audit WHERE seq = 5", "UPDATE audit SET seq = seq - 1 WHERE seq > 5"], "ends at audit row 9"),
        (["UPDATE audit SET seq = -1 WHERE seq = 4", "UPDATE audit SET seq = 4 WHERE seq = 5", "UPDATE audit SET seq = 5 WHERE seq = -1"], "row 4 .* was changed"),
        (["DELETE FROM audit WHERE seq = 10"], "ends at audit row 9, but its head .* is row 10"),
        (["DELETE FROM audit WHERE seq > 4"], "ends at audit row 4"),
        (["DELETE FROM audit"], "ends at audit row 0"),
        (["INSERT INTO audit SELECT seq + 1, ts, action, subject, payload, mac, mac FROM audit WHERE seq = 10"], "row 11 .* was changed"),
    ],
    ids=["payload", "subject", "ts", "action", "mac", "deleted", "first deleted", "deleted and renumbered", "swapped", "tail", "long tail", "all", "appended"],
)  # fmt: skip
def test_changed_audit_is_found(place, statements, text):
    with place.open() as store:
        a_day(store)
    place.sql(*statements)
    assert_broken(place, text)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE fills SET price = '62.01'", "fills, row e1: price is 62.01, the audit says 62.61"),
        ("UPDATE fills SET key = 'PEP'", "key is PEP, the audit says KO"),
        ("UPDATE fills SET contract = replace(contract, '8894', '8895')", "con_id.*8895"),
        ("UPDATE orders SET qty = '90' WHERE order_ref LIKE '%001'", "orders, row 20221228-main-001: qty is 90"),
        ("UPDATE orders SET state = 'cancelled' WHERE order_ref LIKE '%001'", "state is cancelled, the audit says filled"),
        ("UPDATE orders SET reason = 'x' WHERE order_ref LIKE '%002'", "reason is x"),
        ("UPDATE order_events SET filled_qty = '1'", "order_events, row 6: filled_qty is 1"),
        ("DELETE FROM order_events", "order_events, row 6, was removed"),
        ("UPDATE legs SET amount = '-62.61' WHERE seq = 7 AND n = 0", "legs, row 7 0: amount"),
        ("DELETE FROM legs WHERE seq = 2", "legs, row 2 0, was removed"),
        ("UPDATE transactions SET kind = 'sell' WHERE kind = 'buy'", "transactions, row 7: kind is sell"),
        ("INSERT INTO transactions SELECT 99, kind, account, 'd2', portfolio, ts, key, contract, qty, price, lots, other FROM transactions WHERE seq = 2", "row 99, was put in from outside"),
        ("UPDATE commissions SET amount = '0.10'", "commissions, row e1: amount is 0.10"),
        ("DELETE FROM commissions", "commissions, row e1, was removed"),
        ("UPDATE positions SET lots = replace(lots, '62.61', '60.00')", "positions, row main DU1 KO: lots"),
        ("UPDATE positions SET version = 7", "version is 7, the audit says 2"),
        ("UPDATE positions SET qty = '101'", "qty is 101"),
        ("UPDATE snapshots SET nav = '2000000.00'", "nav is 2000000.00, the audit says 1000010.00"),
        ("UPDATE plans SET payload = replace(payload, '0.02', '0.03')", "plans, row main 2022-12-28: payload"),
        ("UPDATE plans SET session = '2022-12-29'", "was removed|put in"),
        ("UPDATE portfolios SET added = '2022-12-28T15:30:00.000001+00:00'", "portfolios, row main: added"),
    ],
)  # fmt: skip
def test_changed_table_is_found_against_the_audit(place, statement, text):
    with place.open() as store:
        a_day(store)
    place.sql(statement)
    assert_broken(place, text)


def test_value_that_cannot_be_read_is_found(file_place):
    with file_place.open() as store:
        a_day(store)
    file_place.sql("UPDATE fills SET price = 'cheap'")  # a server takes only numbers there
    assert_broken(file_place, "fills holds a value that cannot be read")


def rekey(place, key: bytes, first: int = 1) -> None:
    "Sign all rows from `first` on again, with a key of the intruder, as one would after an edit."
    prev = place.sql(f"SELECT mac FROM audit WHERE seq = {first - 1}")
    prev = prev[0][0] if prev else GENESIS.mac
    names = ("seq", "ts", "action", "subject", "payload", "prev", "mac")
    for row in place.sql(f"SELECT {', '.join(names)} FROM audit WHERE seq >= {first} ORDER BY seq"):
        new = dict(zip(names, row, strict=True)) | {"prev": prev}
        before, prev = prev, signature(key, new)
        place.sql(f"UPDATE audit SET prev = '{before}', mac = '{prev}' WHERE seq = {new['seq']}")


def test_rows_signed_again_with_another_key_are_found(place):
    with place.open() as store:
        a_day(store)
        place.sql("UPDATE audit SET payload = replace(payload, '62.61', '62.01')", "UPDATE fills SET price = '62.01'")
        rekey(place, b"x" * 32, first=7)
        with pytest.raises(AuditBroken, match="row 7 .* another key"):
            store.verify()
    assert_broken(place, "row 10 .* is not the one that the head")


def test_rows_signed_again_with_the_right_key_are_found_by_the_head(place):
    "Even the key does not help who cannot also write the head file."
    with place.open() as store:
        a_day(store)
    place.sql("UPDATE audit SET subject = 'other' WHERE seq = 10")
    rekey(place, read_key(place.key), first=10)
    assert_broken(place, "is not the one that the head")


def test_cut_tail_with_a_written_head_is_found(place):
    "The row numbers and signatures stand in the database for all to read, yet make no head: it is sealed with the key."
    with place.open() as store:
        a_day(store)
        (mac,) = place.sql("SELECT mac FROM audit WHERE seq = 9")[0]
    place.sql("DELETE FROM audit WHERE seq = 10")
    place.head.write_bytes(f"{9:020d} {mac} {mac}\n".encode().ljust(8192))
    assert_broken(place, "holds no head that is sealed")


@pytest.mark.parametrize("name", ["head", "key"])
def test_missing_head_or_key_is_found(place, name):
    with place.open() as store:
        a_day(store)
    getattr(place, name).unlink()
    assert_broken(place, f"audit.{name} is missing, while .* has {ROWS_OF_A_DAY} audit rows")
    assert not getattr(place, name).exists()


def test_tail_cut_from_an_open_store_is_found_by_the_next_unit(place):
    with place.open() as store:
        a_day(store)
        place.sql("DELETE FROM audit WHERE seq = 10")
        with pytest.raises(AuditBroken, match="ends at audit row 9"), store.unit(TS) as unit:
            unit.note("after", "main")


def test_removed_database_with_its_head_left_is_found(file_place):
    with file_place.open() as store:
        a_day(store)
    file_place.path.unlink()
    assert_broken(file_place, "ends at audit row 0, but its head .* is row 10")


def test_older_copy_of_the_database_is_found(file_place):
    with file_place.open() as store:
        a_day(store)
    shutil.copy(file_place.path, file_place.path.with_suffix(".old"))
    with file_place.open() as store, store.unit(TS) as unit:
        unit.note("later", "main")
    os.replace(file_place.path.with_suffix(".old"), file_place.path)
    assert_broken(file_place, "ends at audit row 10, but its head .* is row 11")


def test_head_of_another_store_is_found(place, tmp_path):
    other = Place(tmp_path / "other" / "otsport.db")
    for each in (place, other):
        with each.open(key=b"k" * 32) as store:
            with store.unit(TS) as unit:
                unit.note("first", str(each.path))
    shutil.copy(other.head, place.head)
    with pytest.raises(AuditBroken, match="of different stores"):
        place.open(key=b"k" * 32)


def test_wrong_key_is_found(place):
    with place.open(key=b"k" * 32) as store:
        a_day(store)
    with pytest.raises(AuditBroken, match="sealed with the audit key"):
        place.open(key=b"x" * 32)
    with place.open(key=b"k" * 32) as store:
        assert store.verify() == ROWS_OF_A_DAY


# --- crashes


def test_head_that_lags_is_a_crash_trace_and_is_advanced(place):
    "A kill between the commit and the head leaves exactly this."
    with place.open() as store:
        a_day(store)
        lagging = place.head.read_bytes()
        for n in range(5):
            with store.unit(TS) as unit:
                unit.note("later", str(n))
    place.head.write_bytes(lagging)
    assert read_head(place.head, read_key(place.key)).seq == ROWS_OF_A_DAY
    with place.open() as store:
        assert store.head.seq == ROWS_OF_A_DAY + 5 == store.verify()
    assert read_head(place.head, read_key(place.key)).seq == ROWS_OF_A_DAY + 5


def test_lagging_head_does_not_bless_rows_that_do_not_chain(place):
    with place.open() as store:
        a_day(store)
        lagging = place.head.read_bytes()
        with store.unit(TS) as unit:
            unit.note("later", "main")
    place.head.write_bytes(lagging)
    place.sql("UPDATE audit SET subject = 'other' WHERE seq = 11")
    assert_broken(place, "row 11 .* was changed")
    assert read_head(place.head, read_key(place.key)).seq == ROWS_OF_A_DAY


# --- what is no store


def test_path_that_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("buy low, sell high\n" * 100)
    with pytest.raises(StoreError, match="notes.txt is not a database"):
        open_store(path)
    assert path.read_text().startswith("buy low") and not (tmp_path / "audit.key").exists()


def test_path_that_is_a_folder_or_cannot_be_made(tmp_path):
    with pytest.raises(StoreError, match="check the path"):
        open_store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="check the path"):
        open_store(tmp_path / "file" / "otsport.db")


def test_database_of_another_program_is_left_as_it_is(tmp_path):
    path = tmp_path / "music.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE songs (title)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program .tables songs"):
        open_store(path)
    assert path.read_bytes() == before


def test_store_of_a_newer_otsport_is_refused(place):
    with place.open() as store:
        a_day(store)
    place.sql("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(StoreError, match="revision 0999, this otsport knows .* upgrade otsport"):
        place.open()
    place.sql(f"UPDATE alembic_version SET version_num = '{REVISION}'")
    with place.open() as store:
        assert store.verify() == ROWS_OF_A_DAY


# --- how it is set up


def test_default_store_lives_in_the_state_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OTSPORT_HOME", str(tmp_path / "state"))
    with open_store() as store:
        assert store.path == tmp_path / "state" / "otsport.db"
    with open_store(tmp_path / "state" / "otsport.db") as store:
        assert store.verify() == 0
    assert {p.name for p in (tmp_path / "state").iterdir()} == {".gitignore", "otsport.db", "audit.key", "audit.head"}


def test_files_are_private(place):
    with place.open() as store:
        a_day(store)
        for path in place.path.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_commits_are_synced_and_foreign_keys_held(file_place):
    with file_place.open() as store, store._engine.connect() as conn:
        found = {name: conn.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_the_server_flushes_what_it_acknowledges_and_keeps_exact_numbers(on_server):
    with on_server.open() as store, store._engine.connect() as conn:
        assert [conn.exec_driver_sql(f"SHOW {name}").scalar_one() for name in ("synchronous_commit", "fsync", "timezone")] == ["on", "on", "UTC"]
        a_day(store)
    for table in META.sorted_tables:
        for column in table.columns:
            wanted = {"Amount": "numeric", "Instant": "timestamp with time zone"}.get(type(column.type).__name__)
            asked = f"SELECT data_type FROM information_schema.columns WHERE table_name = '{table.name}' AND column_name = '{column.name}'"
            assert wanted in (None, on_server.sql(asked)[0][0]), f"{table.name}.{column.name}"


@pytest.mark.parametrize(("statement", "text"), [
    ("CREATE TABLE hidden (x int)", "the (column hidden.x|table hidden) was put in"),
    ("CREATE INDEX own ON fills (price)", "the index own was put in"),
    ("DROP INDEX fills_by_session", "the index fills_by_session was removed"),
    ("ALTER TABLE fills ALTER price TYPE double precision", "the column fills.price was changed"),
    ("ALTER TABLE legs DROP CONSTRAINT legs_seq_fkey", "the constraint legs_seq_fkey was removed"),
    ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY", "the table orders was changed"),
    ("CREATE VIEW best AS SELECT * FROM fills", "the (column|rule|table) .* was put in"),
    ("CREATE RULE kind AS ON UPDATE TO fills DO INSTEAD NOTHING", "the rule kind was put in"),
    ("CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.price := 1; RETURN NEW; END';"
     "CREATE TRIGGER better BEFORE INSERT ON fills FOR EACH ROW EXECUTE FUNCTION up()", "the trigger better was put in"),
])  # fmt: skip
def test_what_the_migrations_did_not_make_is_found_on_a_server(on_server, statement, text):
    on_server.sql(statement)
    with on_server.open() as store, pytest.raises(AuditBroken, match=text):
        store.verify()


def test_migrations_make_the_tables_that_the_code_declares(place):
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import inspect

    config = Config()
    config.set_main_option("script_location", "otsport.data:migrations")
    assert ScriptDirectory.from_config(config).get_heads() == [REVISION]
    with place.open() as store, store._engine.connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn), META) == []
        for table in META.sorted_tables:  # what the comparison does not look at: keys and empty cells
            inspected = inspect(conn)
            assert inspected.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
            assert {c["name"]: c["nullable"] for c in inspected.get_columns(table.name)} == {c.name: c.nullable for c in table.columns}


def test_second_store_in_a_folder_has_its_own_head(tmp_path):
    for name in ("a.db", "b.db"):
        with open_store(tmp_path / name) as store, store.unit(TS) as unit:
            unit.add_portfolio(name, "DU1")
    for name in ("a.db", "b.db"):
        with open_store(tmp_path / name) as store:
            assert store.verify() == 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with open_store(tmp_path_factory.mktemp("shared") / "otsport.db") as store:
        yield store


amounts = st.decimals(D("-1e9"), D("1e9"), allow_nan=False, places=4)


@settings(max_examples=40, deadline=None)
@given(st.lists(amounts, min_size=1, max_size=8), st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()))
def test_amounts_and_instants_come_back_exactly(shared, values, ts):
    store = shared
    name = f"p{store.head.seq}"
    with store.unit(ts) as unit:
        unit.add_portfolio(name, "DU1")
        for n, value in enumerate(values):
            legs = (Leg("cash", value), Leg("capital", -value))
            unit.book(Booking(Transaction(TransactionKind.DEPOSIT, f"{name}-{n}", ts, "DU1", name, legs)))
    kept = store.transactions(name)
    assert [t.cash for t in kept] == values and [str(t.cash) for t in kept] == [f"{v:f}" for v in values]
    assert all(t.ts == ts.astimezone(timezone.utc) and t.ts.tzinfo is timezone.utc for t in kept)
    assert store.cash(name) == sum(values)


def test_audit_rows_say_who_when_and_what(place):
    with place.open() as store:
        a_day(store)
        with store._reading() as conn:
            rows = list(conn.execute(AUDIT.select().order_by(AUDIT.c.seq)).mappings())
    assert [r["action"] for r in rows] == ["portfolio", "booking", "plan", "order", "order", "order state", "booking", "booking", "snapshot", "remark"]
    assert rows[6]["subject"] == "buy DU1 e1" and '"price":"62.61"' in rows[6]["payload"]
    assert all(r["ts"] == "2022-12-28T15:30:00.000000+00:00" for r in rows)
    assert Link(rows[-1]["seq"], rows[-1]["mac"]) == store.head
