"""The store under several processes, kills at any moment and full disks: whole units, and nothing half done."""
import multiprocessing
import os
import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from store_support import D, DATABASES, DAY, ROWS_OF_A_DAY, TS, Place, a_day, deposit, fresh_place, order, place_on

from otsport.core.errors import DiskFull
from otsport.core.orders import OrderState
from otsport.data.audit import read_head, read_key
from otsport.data.store import Store, open_store


@pytest.fixture(params=DATABASES)
def place(request, tmp_path):
    with place_on(request.param, tmp_path / "store") as made:
        yield made


@pytest.fixture
def file_place(tmp_path) -> Place:
    "What only a file can run out of."
    return fresh_place(tmp_path / "store")


@pytest.fixture
def unmade(tmp_path) -> Place:
    "A store that does not exist yet."
    return Place(tmp_path / "otsport.db")


def _forked(target, *args) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target, args=args)
    process.start()
    return process


@pytest.mark.parametrize("attempt", range(4))  # each a chance to lose a race while the store is made
def test_processes_write_one_store_at_once(unmade, attempt):
    "Started together on a store that does not exist yet: one schema, one key, one chain."
    writers = [_forked(_deposits_of_own_portfolio, unmade.path, f"p{n}", 5) for n in range(6)]
    for writer in writers:
        writer.join(60)
    assert [w.exitcode for w in writers] == [0] * 6
    with unmade.open() as store:
        assert store.verify() == 6 * 6
        assert [store.cash(f"p{n}") for n in range(6)] == [D(5)] * 6
        assert read_head(unmade.head, read_key(unmade.key)) == store.head
    assert sorted(p.name for p in unmade.path.parent.iterdir()) == ["audit.head", "audit.key", "otsport.db"]


def _deposits_of_own_portfolio(path, name, count):
    with open_store(path, wait_seconds=30) as store:
        with store.unit(TS) as unit:
            unit.add_portfolio(name, f"DU{name}")
        for n in range(count):
            with store.unit(TS) as unit:
                unit.book(deposit(f"d{n}", "1.00", name, f"DU{name}"))


def _whole(store: Store) -> int:
    "How many whole units the writer below has left; a half one fails."
    store.verify()
    deposits = {t.ref for t in store.transactions("main")}
    sent = {o.order.order_ref for o in store.orders("main") if o.state is OrderState.SENT}
    created = {o.order.order_ref for o in store.orders("main")}
    assert deposits == sent == created
    assert store.cash("main") == len(deposits)
    return len(deposits)


def _write_a_unit(store: Store, ref: str, halves: bool = False) -> None:
    with store.unit(TS) as unit:
        added = unit.add_order(replace(order(), order_ref=ref), DAY)
        unit.set_order_state(replace(added, state=OrderState.SENT))
        if not halves:
            unit.book(deposit(ref, "1.00"))


def _writer(path, first, told):
    with open_store(path) as store:
        for n in range(first, first + 100_000):
            _write_a_unit(store, f"{n:06d}")
            os.write(told, b".")


def test_kill_in_the_middle_of_commits_leaves_whole_units(place):
    seed, rounds, done, unsaid = random.Random(20221228), 25, 0, 0
    with place.open() as store, store.unit(TS) as unit:
        unit.add_portfolio("main", "DU1")
    for _ in range(rounds):
        heard, told = os.pipe()
        writer = _forked(_writer, place.path, done, told)
        os.close(told)
        acknowledged = len(os.read(heard, 1))
        time.sleep(seed.uniform(0, 0.05))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        while more := os.read(heard, 65_536):
            acknowledged += len(more)
        os.close(heard)
        with place.open() as store:
            count = _whole(store)
        assert done + acknowledged <= count <= done + acknowledged + 1  # what was said done is there; one may be done and unsaid
        unsaid += count - done - acknowledged
        done = count
    assert done > rounds


def test_half_units_are_seen(place):
    "Negative control of the test above: a writer that commits an order and its deposit apart is caught."
    with place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
        _write_a_unit(store, "000001")
        assert _whole(store) == 1
        _write_a_unit(store, "000002", halves=True)
        with pytest.raises(AssertionError):
            _whole(store)


def test_kill_while_the_store_is_made_leaves_one_that_opens(tmp_path):
    seed = random.Random(7)
    for n in range(8):
        path = tmp_path / str(n) / "otsport.db"
        maker = _forked(_make, path)
        time.sleep(seed.uniform(0, 0.12))
        os.kill(maker.pid, signal.SIGKILL)
        maker.join()
        with open_store(path) as store:
            with store.unit(TS) as unit:
                unit.add_portfolio("main", "DU1")
            assert store.verify() == 1


def _make(path):
    open_store(path).close()
    time.sleep(10)


# --- a full disk


def _fill_up(store: Store) -> int:
    "Write units until the store refuses; the number that were accepted."
    for n in range(100_000):
        try:
            with store.unit(TS) as unit:
                unit.note("first half", str(n), "x" * 2000)
                unit.book(deposit(f"d{n}", "1.00"))
                unit.note("second half", str(n), "x" * 2000)
        except DiskFull as error:
            assert "free space" in str(error) and str(store.path.parent) in str(error)
            return n
    raise AssertionError("the disk never filled")


def test_database_at_its_page_limit_is_disk_full_with_nothing_half_done(file_place):
    with file_place.open() as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
        with store._engine.connect() as conn:
            pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
            conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 40}")
        accepted = _fill_up(store)
        assert accepted > 3
        assert store.cash("main") == accepted and store.verify() == 1 + 3 * accepted
    with file_place.open() as store:  # with room again, it goes on
        with store.unit(TS) as unit:
            unit.book(deposit("later", "1.00"))
        assert store.verify() == 2 + 3 * accepted


@pytest.fixture
def small_disk(tmp_path):
    "A disk of 2 MB, where the machine lets us mount one."
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_small_disk_that_fills_up_is_disk_full_with_nothing_half_done(small_disk):
    with open_store(small_disk / "otsport.db") as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
        accepted = _fill_up(store)
        assert accepted > 3 and store.cash("main") == accepted
        assert store.verify() == 1 + 3 * accepted
    with open_store(small_disk / "otsport.db") as store:  # reading needs no room
        assert store.verify() == 1 + 3 * accepted and read_head(small_disk / "audit.head", read_key(small_disk / "audit.key")) == store.head


def test_store_on_a_disk_without_room_is_disk_full(small_disk):
    (small_disk / "ballast").touch()
    with open(small_disk / "ballast", "wb") as ballast, pytest.raises(OSError):
        while True:
            ballast.write(b"x" * 65_536)
            ballast.flush()
    with pytest.raises(DiskFull, match="no room to write"):
        open_store(small_disk / "otsport.db")
    (small_disk / "ballast").unlink()
    with open_store(small_disk / "otsport.db") as store:
        assert store.verify() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_head_without_room_keeps_the_committed_unit_and_says_so(place):
    with place.open() as store:
        a_day(store)
        kept = place.head.rename(place.head.with_suffix(".kept"))
        place.head.symlink_to("/dev/full")
        with pytest.raises(DiskFull, match="is committed up to audit row 11, but its head"), store.unit(TS) as unit:
            unit.note("later", "main")
        place.head.unlink()
        kept.rename(place.head)
    with place.open() as store:
        assert store.head.seq == store.verify() == ROWS_OF_A_DAY + 1
