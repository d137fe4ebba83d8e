"""`verify` with the right to read alone; what was put into the file; database and head rolled back together; keys open to others."""
import os
import shutil
import stat
import sys
from pathlib import Path
from tempfile import mkdtemp

import pytest
from golden_support import unpack
from store_support import D, ROWS_OF_A_DAY, TS, Place, a_day, deposit, fresh_place

from otsport.app.cli_tools import verify
from otsport.core.errors import AuditBroken, OtsportError, StoreError
from otsport.data.audit import heads_path, read_heads, read_key
from otsport.data.store import open_store


@pytest.fixture
def place(tmp_path) -> Place:
    made = fresh_place(tmp_path / "store")
    with made.open() as store:
        a_day(store)
    return made


def broken(place, text, **options):
    with pytest.raises(AuditBroken, match=text):
        with place.open(**options) as store:
            store.verify()


# --- reading alone


def test_a_reader_verifies_and_cannot_write(place):
    before = {p.name: p.read_bytes() for p in place.path.parent.iterdir()}
    with place.open(read_only=True) as store:
        assert store.verify() == ROWS_OF_A_DAY and store.cash("main") == D("993738.00")
        with pytest.raises(StoreError, match="opened to be read"), store.unit(TS):
            pytest.fail("a reader may write")
        with pytest.raises(StoreError, match="opened to be read"), store.hold("main", "x", 1, TS):
            pytest.fail("a reader may hold a book")
        with pytest.raises(StoreError, match="readonly|query_only|read-?only"):
            from otsport.data.sqlite import store_errors, writing
            with store_errors(place.path), writing(store._engine) as conn:
                conn.exec_driver_sql("DELETE FROM audit")
    assert {p.name: p.read_bytes() for p in place.path.parent.iterdir() if not p.name.endswith((".lock", "-shm", "-wal"))} == before


def test_a_reader_sees_what_a_writer_commits(place):
    with place.open() as writer, place.open(read_only=True) as reader:
        with writer.unit(TS) as unit:
            unit.book(deposit("d2", "1.00"))
        assert reader.verify() == ROWS_OF_A_DAY + 1


def test_a_reader_leaves_a_head_that_lags(place):
    lagging = place.head.read_bytes()
    with place.open() as store, store.unit(TS) as unit:
        unit.note("later", "main")
    place.head.write_bytes(lagging)
    with place.open(read_only=True) as store:
        assert store.verify() == ROWS_OF_A_DAY + 1
    assert place.head.read_bytes() == lagging


def test_verify_needs_no_right_to_write():
    "As a user to whom the files and their folder belong to be read only, in a process of its own."
    folder = Path(mkdtemp())
    place = fresh_place(folder / "store")
    with place.open() as store:
        a_day(store)
    try:
        for path in place.path.parent.iterdir():
            path.chmod(0o400)
        place.path.parent.chmod(0o500)
        if os.getuid() == 0:
            folder.chmod(0o755)
            for path in (place.path.parent, *place.path.parent.iterdir()):
                os.chown(path, 65534, 65534)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                assert not os.access(place.path, os.W_OK) and not os.access(place.path.parent, os.W_OK)
                with place.open(read_only=True) as store:
                    code = 0 if store.verify() == ROWS_OF_A_DAY else 2
            except BaseException as error:  # noqa: BLE001
                print(error, file=sys.stderr, flush=True)
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        place.path.parent.chmod(0o700)
        shutil.rmtree(folder)


def test_what_is_not_there_or_too_old_is_not_made_by_a_reader(place, tmp_path):
    with pytest.raises(StoreError, match="is not there"):
        open_store(tmp_path / "nothing" / "otsport.db", read_only=True)
    assert not (tmp_path / "nothing").exists()
    old = unpack("store_0_1_0", tmp_path / "old")
    with pytest.raises(StoreError, match="schema revision 0001 .* otsport db upgrade"):
        open_store(old, read_only=True)
    place.key.unlink()
    with pytest.raises(AuditBroken, match="audit.key is missing"):
        place.open(read_only=True)
    assert not place.key.exists()


# --- what does not belong in the file


@pytest.mark.parametrize("statements, text", [
    (["CREATE TRIGGER better AFTER INSERT ON fills BEGIN UPDATE fills SET price = '1' WHERE exec_id = new.exec_id; END"], "the trigger better was put in from outside"),
    (["CREATE TABLE notes (words)"], "the table notes was put in from outside"),
    (["CREATE VIEW cheap AS SELECT * FROM fills"], "the view cheap was put in from outside"),
    (["CREATE INDEX more ON fills (price)"], "the index more was put in from outside"),
    (["DROP INDEX orders_by_session"], "the index orders_by_session was removed"),
    (["DROP INDEX fills_by_session", "CREATE INDEX fills_by_session ON fills (session, portfolio)"], "the index fills_by_session was changed"),
    (["ALTER TABLE fills ADD COLUMN note TEXT"], "the table fills was changed"),
    (["ALTER TABLE legs RENAME TO legs2", "CREATE TABLE legs AS SELECT * FROM legs2", "DROP TABLE legs2"], "the table legs was changed|index"),
    (["DROP TABLE holders"], "the table holders was removed"),
    (["PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = replace(sql, '(portfolio, session)', '(session)') WHERE name = 'orders_by_session'"], "the index orders_by_session was changed|damaged"),
], ids=["trigger", "table", "view", "index", "index gone", "index other", "column", "table copied", "table gone", "schema edited"])  # fmt: skip
def test_what_no_migration_made_is_found(place, statements, text):
    place.sql(*statements)
    broken(place, text)


def test_planner_statistics_are_no_harm(place):
    place.sql("ANALYZE")
    with place.open() as store:
        assert store.verify() == ROWS_OF_A_DAY


def test_an_upgraded_store_has_the_schema_of_a_new_one(tmp_path):
    with open_store(unpack("store_0_1_0", tmp_path / "old")) as store:
        assert store.verify() == 128


@pytest.mark.parametrize("statement, text", [
    ("UPDATE balances SET amount = '1.00' WHERE name = 'cash'", "balances, row main DU1 cash USD: amount is 1.00"),
    ("DELETE FROM balances WHERE name = 'commissions'", "balances, row main DU1 commissions USD, was removed"),
    ("UPDATE balances SET version = 1 WHERE name = 'cash'", "version is 1"),
    ("INSERT INTO balances SELECT portfolio, account, 'cash', 'EUR', amount, version FROM balances WHERE name = 'cash'", "cash EUR, was put in"),
    ("UPDATE snapshots SET seq = 1", "seq is 1, the audit says 9"),
    ("UPDATE holders SET client_id = 2", "holders, row main: client_id is 2, the audit says 1"),
    ("UPDATE holders SET epoch = 7", "epoch is 7"),
    ("DELETE FROM holders", "holders, row main, was removed"),
])  # fmt: skip
def test_changed_balances_and_holders_are_found(place, statement, text):
    with place.open() as store, store.hold("main", "trading_day", 1, TS):
        pass
    place.sql(statement)
    broken(place, text)


# --- database and head put back together


@pytest.fixture
def heads(tmp_path) -> Path:
    return tmp_path / "elsewhere"


def roll_back(place, heads):
    "Put back a copy of the whole folder that is one unit older."
    shutil.copytree(place.path.parent, place.path.parent.with_name("copy"))
    with place.open(heads=heads) as store, store.unit(TS) as unit:
        unit.note("later", "main")
    shutil.rmtree(place.path.parent)
    place.path.parent.with_name("copy").rename(place.path.parent)


def test_an_older_copy_of_the_whole_folder_is_found(place, heads):
    roll_back(place, heads)
    broken(place, f"ends at audit row {ROWS_OF_A_DAY}, but .*log has seen its row {ROWS_OF_A_DAY + 1} on 20..-..-.*older copy of the whole folder", heads=heads)
    broken(place, "older copy of the whole folder", heads=heads, read_only=True)


def test_without_the_second_place_it_is_not_found_and_said_so(place, heads):
    "The control of the test above, and what the list is for."
    roll_back(place, heads)
    with place.open() as store:
        assert store.verify() == ROWS_OF_A_DAY and store.seen() is None


def test_an_older_copy_that_was_traded_on_is_found(place, heads):
    roll_back(place, heads)
    with place.open() as store:
        for n in range(3):
            with store.unit(TS) as unit:
                unit.note("another past", str(n))
    broken(place, f"has seen its row {ROWS_OF_A_DAY + 1}", heads=heads)


def test_a_copy_that_was_put_back_on_purpose_is_taken_as_the_message_says(place, heads):
    roll_back(place, heads)
    log = heads_path(heads, read_key(place.key))
    broken(place, f"if this one is meant, remove {log}", heads=heads)
    log.unlink()
    with place.open(heads=heads) as store:
        assert store.verify() == ROWS_OF_A_DAY


def test_dated_heads_are_added_at_open_and_close_and_only_with_news(place, heads):
    log = heads_path(heads, read_key(place.key))
    with place.open(heads=heads) as store:
        assert read_heads(log, read_key(place.key))[1] == store.head
        with store.unit(TS) as unit:
            unit.note("later", "main")
        assert store.seen()[1].seq == ROWS_OF_A_DAY
    assert store.seen()[1].seq == ROWS_OF_A_DAY + 1
    size = log.stat().st_size
    with place.open(heads=heads) as store:
        assert store.verify() == ROWS_OF_A_DAY + 1
    assert log.stat().st_size == size and stat.S_IMODE(log.stat().st_mode) == 0o600 and stat.S_IMODE(heads.stat().st_mode) == 0o700


def test_stores_have_lists_of_their_own(place, tmp_path, heads):
    other = fresh_place(tmp_path / "other")
    with place.open(heads=heads), other.open(heads=heads) as store, store.unit(TS) as unit:
        unit.note("first", "other")
    other.open(heads=heads).close()
    assert len(list(heads.iterdir())) == 2
    for each in (place, other):
        with each.open(heads=heads, read_only=True) as store:
            store.verify()


def test_a_changed_list_is_found(place, heads):
    place.open(heads=heads).close()
    log = heads_path(heads, read_key(place.key))
    log.write_text(log.read_text().replace(f" {ROWS_OF_A_DAY} ", " 3 "))
    with pytest.raises(AuditBroken, match="line 1 was not written with the audit key"):
        place.open(heads=heads)


def test_a_second_place_that_cannot_be_written_stops_nobody(place, tmp_path, caplog):
    (tmp_path / "file").touch()
    with place.open(heads=tmp_path / "file" / "heads") as store, store.unit(TS) as unit:
        unit.note("later", "main")
    assert "no dated head was written" in caplog.text and "OTSPORT_HEADS" in caplog.text


def test_the_store_of_the_state_folder_keeps_heads_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("OTSPORT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OTSPORT_HEADS", str(tmp_path / "heads"))
    with open_store() as store, store.unit(TS) as unit:
        unit.note("first", "main")
    assert store.seen()[1].seq == 1
    monkeypatch.delenv("OTSPORT_HEADS")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    open_store().close()
    assert [p.parent for p in tmp_path.glob("**/*.log")] == [tmp_path / "heads", tmp_path / "state" / "otsport" / "heads"]


# --- the key


@pytest.mark.parametrize("mode", [0o666, 0o644, 0o640, 0o602, 0o610])
def test_a_key_that_is_open_to_others_is_refused_with_what_mends_it(place, mode):
    place.key.chmod(mode)
    for options in ({}, {"read_only": True}):
        with pytest.raises(StoreError) as error:
            place.open(**options)
        assert f"(mode {mode:o})" in str(error.value) and f"chmod 600 {place.key}, then" in str(error.value)
    os.chmod(place.key, 0o600)  # what it says
    with place.open() as store:
        assert store.verify() == ROWS_OF_A_DAY


# --- who may read the files


@pytest.fixture
def state(tmp_path, monkeypatch) -> Path:
    "A state folder with a store and a report, all its owner's alone."
    folder = tmp_path / "home"
    monkeypatch.setenv("OTSPORT_HOME", str(folder))
    monkeypatch.setenv("OTSPORT_HEADS", str(tmp_path / "heads"))
    with open_store() as store, store.unit(TS) as unit:
        unit.note("first", "main")
    (folder / "runs" / "today").mkdir(parents=True, mode=0o700)
    (folder / "runs").chmod(0o700)
    (folder / "runs" / "today" / "report.html").touch(0o600)
    return folder


@pytest.mark.parametrize("name, mode", [("", 0o755), ("", 0o770), ("runs", 0o711), ("runs/today", 0o755), ("runs/today/report.html", 0o644),
                                        ("otsport.db", 0o640), ("audit.head", 0o666), ("audit.key", 0o604)])  # fmt: skip
def test_verify_names_what_is_open_to_others_and_how_to_close_it(state, capsys, name, mode):
    (state / name).chmod(mode)
    with pytest.raises(OtsportError) as error:
        verify()
    assert f"{state / name} " in f"{error.value} ".replace(",", " ").replace(":", " ") and f"(mode {mode:o})" in str(error.value)
    command = str(error.value).rpartition(": ")[2].partition(", then")[0] if name != "audit.key" else f"chmod 600 {state / name}"
    assert command in str(error.value) and os.system(command) == 0  # what it says
    verify()
    assert "audit chain verified: 1 rows" in capsys.readouterr().out


def test_what_lies_elsewhere_is_no_matter(state, tmp_path):
    (tmp_path / "elsewhere").touch(0o644)
    (state / "link").symlink_to(tmp_path / "elsewhere")
    verify()
