"""A copy is the whole store at one instant, verified; what is put back loses nothing unsaid; a move arrives whole or not at all."""
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from datetime import timedelta

import pytest
from store_support import D, DATABASES, ROWS_OF_A_DAY, TS, a_day, deposit, fresh_place, place_on, server_place

from otsport.core.errors import AuditBroken, BookHeld, StoreError
from otsport.data.copies import back_up, move_to_file, move_to_server, restore, verify_copy
from otsport.data.postgres import read_url, server_url, url_path
from otsport.data.store import open_store
from otsport.data.tables import META


@pytest.fixture(params=DATABASES)
def place(request, tmp_path):
    with place_on(request.param, tmp_path / "state") as made:
        yield made


def all_rows(path):
    with open_store(path, read_only=True) as store, store._engine.connect() as conn:
        return {t.name: [tuple(row) for row in conn.execute(t.select().order_by(*t.primary_key))] for t in META.sorted_tables}


def write_on(path, stop):
    with open_store(path, wait_seconds=30) as store:
        for n in range(100_000):
            if stop.is_set():
                return
            with store.unit(TS) as unit:
                unit.book(deposit(f"d{n}", "1.00"))


def test_backup_while_a_desk_writes_is_one_instant(place, tmp_path):
    with place.open() as store:
        a_day(store)
    fork = multiprocessing.get_context("fork")
    stop = fork.Event()
    writer = fork.Process(target=write_on, args=(place.path, stop))
    writer.start()
    try:
        time.sleep(0.5)
        copies = [back_up(place.path, tmp_path / "kept", TS + timedelta(seconds=n)) for n in range(3)]
    finally:
        stop.set()
        writer.join()
    with place.open() as store:
        assert store.verify() > copies[-1].audit_rows > copies[0].audit_rows >= ROWS_OF_A_DAY
    for copy in copies:
        assert sorted(p.name for p in copy.folder.iterdir()) == ["audit.head", "audit.key", "otsport.db"]
        assert [p.stat().st_mode & 0o077 for p in (copy.folder, *copy.folder.iterdir())] == [0] * 4
        with open_store(copy.folder / "otsport.db", read_only=True) as store:
            assert store.cash("main") == D(1_000_000) - D("6261.00") - D(1) + (copy.audit_rows - ROWS_OF_A_DAY)


def test_restored_store_has_the_same_rows_and_goes_on(place, tmp_path):
    with place.open() as store:
        a_day(store)
    rows = all_rows(place.path)
    copy = back_up(place.path, tmp_path / "kept", TS)
    new = tmp_path / "new" / "otsport.db"
    assert restore(copy.folder, new, TS) == (None, 0)
    restored = all_rows(new)
    assert {t: r for t, r in restored.items() if t != "audit"} == {t: r for t, r in rows.items() if t != "audit"}
    assert restored["audit"][:-1] == rows["audit"] and restored["audit"][-1][2] == "restored"
    with open_store(new) as store, store.unit(TS) as unit:
        unit.book(deposit("later", "1.00"))
    with open_store(new) as store:
        assert store.verify() == ROWS_OF_A_DAY + 2


def test_older_copy_is_refused_and_taken_on_request(place, tmp_path):
    heads = tmp_path / "heads"
    with place.open(heads=heads) as store:
        a_day(store)
    copy = back_up(place.path, tmp_path / "kept", TS)
    with place.open(heads=heads) as store, store.unit(TS) as unit:
        unit.book(deposit("later", "1.00"))
    rows = all_rows(place.path)
    with pytest.raises(StoreError, match="its last 1 audit rows are not in it and would go; if that is meant, say --older; nothing was changed"):
        restore(copy.folder, place.path, TS, heads=heads)
    assert all_rows(place.path) == rows
    aside, lost = restore(copy.folder, place.path, TS, older=True, heads=heads)
    assert lost == 1 and aside.parent == place.path.parent and read_url(place.path) is None
    with open_store(place.path, heads=heads) as store:
        assert store.verify() == ROWS_OF_A_DAY + 1
    assert all_rows(aside / "otsport.db") == rows  # what was set aside opens as it was


def test_store_that_cannot_be_read_is_put_back_when_it_is_meant(tmp_path):
    "A damaged database, one that is gone, a server that is gone: what would go is unknown, so it is said, and there is a way out."
    for n, damage in enumerate(("torn", "gone", "server")):
        place = fresh_place(tmp_path / str(n))
        with place.open() as store:
            a_day(store)
        copy = back_up(place.path, tmp_path / "kept" / str(n), TS)
        if damage == "torn":
            place.path.write_bytes(b"no database" * 1000)
        else:
            place.path.unlink()
        if damage == "server":
            url_path(place.path).write_text("postgresql://quant@127.0.0.1:9/desk\n")
        if damage != "gone":  # where the head is there alone, it tells how far the book went
            with pytest.raises(StoreError, match="cannot be compared .*say --older; nothing was changed"):
                restore(copy.folder, place.path, TS)
        restore(copy.folder, place.path, TS, older=damage != "gone")
        with place.open() as store:
            assert store.verify() == ROWS_OF_A_DAY + 1


def test_head_without_its_database_tells_what_an_older_copy_lacks(tmp_path):
    place = fresh_place(tmp_path / "state")
    with place.open() as store:
        a_day(store)
    copy = back_up(place.path, tmp_path / "kept", TS)
    with place.open() as store, store.unit(TS) as unit:
        unit.book(deposit("later", "1.00"))
    place.path.unlink()
    with pytest.raises(StoreError, match="its last 1 audit rows are not in it"):
        restore(copy.folder, place.path, TS)


def test_killed_restore_leaves_one_of_both_or_can_be_done_again(tmp_path):
    "Never an empty book: what opens has the rows of the store before or of the copy, and what does not open is restored by the same words."
    seed, found = random.Random(5), set()
    for n in range(12):
        place = fresh_place(tmp_path / str(n))
        with place.open() as store:
            a_day(store)
        copy = back_up(place.path, tmp_path / "kept" / str(n), TS)
        with place.open() as store, store.unit(TS) as unit:
            unit.book(deposit("later", "1.00"))
        child = multiprocessing.get_context("fork").Process(target=killed_at, args=(seed.randrange(1, 14), copy.folder, place.path))
        child.start()
        child.join()
        try:
            with place.open() as store:
                rows = store.verify()
        except StoreError:
            restore(copy.folder, place.path, TS + timedelta(seconds=1), older=True)
            with place.open() as store:
                rows = store.verify()
        assert rows in (ROWS_OF_A_DAY, ROWS_OF_A_DAY + 1, ROWS_OF_A_DAY + 2)
        found.add(child.exitcode)
    assert -signal.SIGKILL in found


def killed_at(step, copy, path):
    "Restore, and die before the file operation of that number."
    left = [step]

    def dying(call):
        def wrapped(*args, **kwargs):
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)
        return wrapped

    for name in ("link", "replace", "rename", "mkdir"):
        setattr(os, name, dying(getattr(os, name)))
    restore(copy, path, TS, older=True)


def test_copy_of_another_store_or_a_changed_one_is_refused(place, tmp_path):
    with place.open() as store:
        a_day(store)
    with fresh_place(tmp_path / "other").open() as other:
        a_day(other)
    copy = back_up(tmp_path / "other" / "otsport.db", tmp_path / "kept", TS)
    with pytest.raises(StoreError, match="is not a copy of"):
        restore(copy.folder, place.path, TS, older=True)
    own = back_up(place.path, tmp_path / "own", TS)
    with sqlite3.connect(own.folder / "otsport.db") as db:
        db.execute("UPDATE fills SET price = '62.01'")
    with pytest.raises(AuditBroken, match="price is 62.01"):
        restore(own.folder, place.path, TS)
    with place.open() as store:
        assert store.verify() == ROWS_OF_A_DAY


def test_nothing_is_put_back_or_moved_under_a_desk(place, tmp_path):
    with place.open() as store:
        a_day(store)
        copy = back_up(place.path, tmp_path / "kept", TS)
        with store.hold("main", "trading_day", 1, TS):
            with pytest.raises(BookHeld, match="held by trading_day"):
                restore(copy.folder, place.path, TS, older=True)
            with pytest.raises(BookHeld, match="held by trading_day"):
                move_to_file(place.path, TS) if read_url(place.path) else move_to_server(place.path, server_url("postgresql:///nowhere"), TS)


def test_killed_backup_is_no_backup(place, tmp_path):
    with place.open() as store:
        a_day(store)
        for n in range(50):
            with store.unit(TS) as unit:
                unit.book(deposit(f"d{n}", "1.00"))
    seed, kept = random.Random(3), tmp_path / "kept"
    for n in range(6):
        child = multiprocessing.get_context("fork").Process(target=back_up, args=(place.path, kept / str(n), TS))
        child.start()
        time.sleep(seed.uniform(0, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        made = [p for p in kept.glob(f"{n}/otsport-*")]
        assert [verify_copy(p) for p in made] == [ROWS_OF_A_DAY + 50] * len(made)  # whole, or not there


def test_store_moves_to_a_server_and_back_whole(tmp_path):
    place = fresh_place(tmp_path / "state")
    with place.open() as store:
        a_day(store)
    rows = all_rows(place.path)
    with server_place(tmp_path / "target", prepared=False) as target:
        url = server_url(f"postgresql:///{target.database}")
        assert move_to_server(place.path, url, TS) == ROWS_OF_A_DAY
        assert not place.path.exists() and url_path(place.path).read_text() == f"postgresql:///{target.database}\n"
        assert all_rows(place.path) == rows
        with open_store(place.path) as store, store.unit(TS) as unit:
            unit.book(deposit("on the server", "1.00"))
        with pytest.raises(StoreError, match="on a server already"):
            move_to_server(place.path, url, TS)
        rows = all_rows(place.path)
        assert move_to_file(place.path, TS) == ROWS_OF_A_DAY + 1
        assert all_rows(place.path) == rows
        with pytest.raises(StoreError, match="is in a file already"):
            move_to_file(place.path, TS)
        with pytest.raises(StoreError, match="holds a store of 11 audit rows already"):
            move_to_server(place.path, url, TS)
        assert all_rows(place.path) == rows


def test_killed_move_leaves_the_book_in_one_place(tmp_path):
    "After a kill at any moment the book opens with all its rows, from the file or from the server, or says what to rename."
    seed, where = random.Random(11), []
    for n in range(6):
        place = fresh_place(tmp_path / str(n))
        with place.open() as store:
            a_day(store)
        with server_place(tmp_path / f"target{n}", prepared=False) as target:
            child = multiprocessing.get_context("fork").Process(target=move_to_server, args=(place.path, server_url(f"postgresql:///{target.database}"), TS))
            child.start()
            time.sleep(seed.uniform(0, 0.8))
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            if url_path(place.path).exists() and place.path.exists():
                with pytest.raises(StoreError, match="rename the file"):
                    open_store(place.path)
                place.path.rename(place.path.with_suffix(".moved"))
            with open_store(place.path) as store:
                assert store.verify() == ROWS_OF_A_DAY
            where.append(url_path(place.path).exists())
    assert len(where) == 6


def test_both_a_file_and_a_server_are_refused(tmp_path):
    place = fresh_place(tmp_path / "state")
    url_path(place.path).write_text("postgresql:///somewhere\n")
    with pytest.raises(StoreError, match="is there too"):
        place.open()
