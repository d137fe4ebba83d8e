"""One holder of a book: exclusive, named, freed by death, fenced; the client id is pinned while orders are open."""
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from store_support import DATABASES, DAY, TS, Place, ServerPlace, a_day, fresh_place, order, place_on

from otsport.core.errors import BookHeld, LostRace, all_errors
from otsport.core.orders import OrderState
from otsport.data.database import holder_text, lock_path


@pytest.fixture(params=DATABASES)
def place(request, tmp_path):
    with place_on(request.param, tmp_path / "store") as made:
        yield made


def open_an_order(store, state=OrderState.WORKING):
    with store.unit(TS) as unit:
        unit.add_portfolio("main", "DU1")
        unit.set_order_state(replace(unit.add_order(order(1), DAY), state=state))


def test_a_second_comer_is_told_who_holds_the_book(place):
    with place.open() as store, place.open() as other, store.hold("main", "trading_day", 7, TS):
        rows = store.verify()
        with pytest.raises(BookHeld) as error, other.hold("main", "lab", 7, TS):
            pytest.fail("two desks hold one book")
        for words in ("portfolio main", "trading_day", f"process {os.getpid()}", f"on {os.uname().nodename}", "client id 7", TS.isoformat(), "wait until", "nothing was sent"):
            assert words in str(error.value)
        assert other.verify() == rows  # who came second wrote nothing
    assert all_errors()["BookHeld"].exit_code == 24


def test_one_store_object_cannot_hold_a_book_twice(place):
    with place.open() as store, store.hold("main", "a", 1, TS), pytest.raises(BookHeld), store.hold("main", "b", 1, TS):
        pytest.fail("held twice")


def test_other_books_are_free_and_names_are_no_paths(place):
    with place.open() as store, store.hold("main", "a", 1, TS), store.hold("second", "a", 2, TS), store.hold("../odd name", "a", 3, TS) as odd:
        assert odd.epoch == 1 and lock_path(place.path, "../odd name").parent == place.path.parent


def test_each_holder_has_a_greater_epoch_and_is_audited(place):
    with place.open() as store:
        for n, who in enumerate(("first", "second", "third"), 1):
            with store.hold("main", who, 1, TS + timedelta(minutes=n)) as held:
                assert (held.portfolio, held.client_id, held.epoch) == ("main", 1, n)
                now = store.holder("main")
                assert (now.who, now.epoch, now.since, now.after_a_death) == (who, n, TS + timedelta(minutes=n), False)
        assert store.verify() == 3 and store.holder("other") is None
        assert [row[0] for row in place.sql("SELECT action FROM audit")] == ["holder"] * 3


def test_an_error_of_the_holder_gives_the_book_back(place):
    with place.open() as store:
        with pytest.raises(ZeroDivisionError), store.hold("main", "a", 1, TS):
            1 / 0
        with store.hold("main", "b", 1, TS):
            assert store.holder("main").after_a_death is False


HOLDER = """
import sys, time
from datetime import datetime
from otsport.data.store import open_store
with open_store(sys.argv[1]) as store, store.hold("main", "the dead one", 1, datetime.fromisoformat(sys.argv[2])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_is_taken_over(place):
    "The lock dies with its process: nobody waits for a dead desk, and the audit says that it was taken over."
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(place.path), TS.isoformat()], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with place.open() as store:
            with pytest.raises(BookHeld, match=f"the dead one .process {process.pid} "), store.hold("main", "me", 1, TS):
                pytest.fail("two processes hold one book")
            process.send_signal(signal.SIGKILL)
            process.wait()
            with store.hold("main", "me", 1, TS) as held:
                assert (held.epoch, store.holder("main").after_a_death) == (2, True)
            with store.hold("main", "me", 1, TS):
                assert store.holder("main").after_a_death is False
            store.verify()
    finally:
        process.kill()
        process.wait()


def wait_for_lock(place):
    asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    for _ in range(500):
        if not place.sql(asked)[0][0]:
            return
        time.sleep(0.01)


def test_who_was_taken_over_cannot_write(place):
    "Someone removed the lock file under a living desk: its next unit is refused, whatever is in it."
    with place.open() as store, place.open() as other, store.hold("main", "first", 1, TS) as old:
        with store.unit(TS, held=old) as unit:
            unit.note("remark", "main")
        lock_path(place.path, "main").unlink()
        if isinstance(place, ServerPlace):  # the lock on the server still holds; an administrator ends its connection
            with pytest.raises(BookHeld, match=r"held by first \(client id 1, since .* on another machine"), other.hold("main", "second", 1, TS):
                pytest.fail("two machines hold one book")
            place.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
            wait_for_lock(place)
        with other.hold("main", "second", 1, TS) as new:
            rows = other.verify()
            with pytest.raises(LostRace, match="taken over: this desk holds it as holder 1, now it is holder 2"), store.unit(TS, held=old) as unit:
                unit.note("remark", "main")
            assert other.verify() == rows
            with other.unit(TS, held=new) as unit:
                unit.note("remark", "main")
            assert other.verify() == rows + 1


@pytest.mark.parametrize("state", [s for s in OrderState if not s.done and s is not OrderState.CREATED])
def test_open_orders_pin_the_client_id(place, state):
    with place.open() as store:
        open_an_order(store, OrderState.SENT)
        with store.hold("main", "first", 1, TS):
            if state is not OrderState.SENT:
                with store.unit(TS) as unit:
                    unit.set_order_state(replace(store.order(order(1).order_ref), state=state))
        rows = store.verify()
        with pytest.raises(BookHeld, match=r"1 open orders \(20221228-main-001\) that client id 1 placed, .* client id 2 .*: open the book with client id 1;"), store.hold("main", "x", 2, TS):
            pytest.fail("another client id would not hear of the order")
        assert store.verify() == rows
        with store.hold("main", "x", 1, TS):  # the remedy works
            pass


@pytest.mark.parametrize("state", [s for s in OrderState if s.done])
def test_a_book_without_open_orders_takes_another_client_id(place, state):
    with place.open() as store:
        with store.hold("main", "first", 7, TS):
            open_an_order(store, state)
        with store.hold("main", "second", 8, TS):
            assert store.holder("main").client_id == 8
        assert [json.loads(row[0])["client_id"] for row in place.sql("SELECT payload FROM audit WHERE action = 'holder'")] == [7, 8]


def test_an_order_that_never_left_belongs_to_no_client_id(place):
    with place.open() as store:
        with store.hold("main", "first", 7, TS):
            a_day(store)  # order 2 stays created
        with store.hold("main", "second", 8, TS) as held:
            assert held.epoch == 2


def test_a_pinned_id_is_that_of_the_last_holder(place):
    with place.open() as store:
        with store.hold("main", "first", 7, TS):
            open_an_order(store)
        with pytest.raises(BookHeld, match="with client id 7;"), store.hold("main", "second", 1, TS):
            pytest.fail("the default of 0.1.0 counts only where no holder is known")


def test_open_orders_of_0_1_0_belong_to_its_default(place):
    with place.open() as store:
        open_an_order(store)
        with pytest.raises(BookHeld, match="with client id 1;"), store.hold("main", "x", 2, TS):
            pytest.fail("0.1.0 placed under client id 1")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"who": "x"}', "\x00\x00"])
def test_a_half_written_lock_file_still_names_somebody(content):
    assert holder_text(content) == "another process"


def test_lock_file_is_private(place):
    with place.open() as store, store.hold("main", "a", 1, TS):
        assert oct(lock_path(place.path, "main").stat().st_mode & 0o777) == "0o600"


def test_store_holds_the_book_that_it_took_and_no_other(place):
    with place.open() as store:
        assert not store.holds("main")
        with store.hold("main", "trading_day", 7, TS):
            assert store.holds("main") and not store.holds("other")
        assert not store.holds("main")
