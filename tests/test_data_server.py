"""A PostgreSQL server that is stopped under load: what was acknowledged is kept, the error says what to do, and the same desk goes on when it is back."""
import os
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp

import pytest
from run_support import free_port
from store_support import TS, D, deposit

from otsport.core.errors import DiskFull, InputError, LostRace, OtsportError, StoreError
from otsport.data.postgres import server_url, write_url
from otsport.data.store import open_store


def programs() -> Path:
    "Where the server's own programs are; a machine without them skips, but not in CI."
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda p: int(p.parts[-3]))
    path = found[-1] if found else shutil.which("pg_ctl")
    if path is None:
        if os.environ.get("CI"):
            raise FileNotFoundError("pg_ctl")
        pytest.skip("no PostgreSQL server is installed here")
    return Path(path).parent


class Server:
    "A server of the test's own, which can be stopped."

    def __init__(self):
        self.bin, self.port, self.folder = programs(), free_port(), Path(mkdtemp(prefix="otsport-pg-"))
        self.user = "postgres" if os.geteuid() == 0 else None  # the server does not run as root
        if self.user:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "-D", f"{self.folder}/data", "-A", "trust", "-U", "quant", "--locale=C", "-E", "UTF8", "--no-sync")
        self.start()

    def _run(self, program: str, *words: str) -> None:
        as_user = ["runuser", "-u", self.user, "--"] if self.user else []
        done = subprocess.run([*as_user, str(self.bin / program), *words], capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-o", options, "-l", f"{self.folder}/log", "-w", "start")

    def stop(self, how: str) -> None:
        self._run("pg_ctl", "-D", f"{self.folder}/data", "-m", how, "-w", "stop")

    @property
    def url(self):
        return server_url(f"postgresql://quant@127.0.0.1:{self.port}/postgres")

    def psql(self, statement: str) -> None:
        self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "quant", "-d", "postgres", "-qc", statement)


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.stop("immediate")
    shutil.rmtree(made.folder)


@pytest.fixture
def path(server, tmp_path):
    server.psql("DROP SCHEMA public CASCADE")
    server.psql("CREATE SCHEMA public")
    (tmp_path / "state").mkdir(mode=0o700)
    write_url(tmp_path / "state" / "otsport.db", server.url)
    return tmp_path / "state" / "otsport.db"


def put(store, n: int) -> None:
    with store.unit(TS) as unit:
        unit.book(deposit(f"d{n}", "1.00"))


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_server_that_stops_and_comes_back(server, path, how):
    with open_store(path) as store, store.hold("main", "trading_day", 1, TS):
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
        for n in range(20):
            put(store, n)
        server.stop(how)
        for _ in range(2):
            with pytest.raises(StoreError, match="does not answer .*start it or mend the line, then run again"):
                put(store, 20)
        with pytest.raises(StoreError, match="does not answer"):
            store.positions("main")
        with pytest.raises(StoreError, match="does not answer"):
            open_store(path)
        server.start()
        put(store, 20)  # the same store, without a restart
        assert store.cash("main") == D(21) and store.verify() == 23
    with open_store(path) as store:
        assert store.verify() == 23


def test_connection_that_ends_in_the_middle_of_a_unit_keeps_nothing(server, path):
    with open_store(path) as store:
        with store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
        with pytest.raises(StoreError, match="does not answer"), store.unit(TS) as unit:
            unit.book(deposit("d1", "1.00"))
            server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'otsport'")
            time.sleep(0.1)
            unit.book(deposit("d2", "1.00"))
        assert store.cash("main") == 0 and store.verify() == 1
        put(store, 1)
        assert store.cash("main") == D(1)


def test_a_writer_that_waits_too_long_is_told(server, path):
    with open_store(path) as first, open_store(path, wait_seconds=0.2) as second:
        with first.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            with pytest.raises(LostRace, match="being written by another process"), second.unit(TS):
                pytest.fail("two writers at once")
        assert second.verify() == 1


@pytest.mark.parametrize(("setting", "text"), [("fsync = off", "fsync = off"), ("default_transaction_read_only = on", "only be read")])
def test_server_that_does_not_keep_promises_is_refused(server, path, setting, text):
    server.psql(f"ALTER SYSTEM SET {setting}")
    server.psql("SELECT pg_reload_conf()")
    time.sleep(0.3)
    try:
        with pytest.raises(StoreError, match=text):
            open_store(path)
    finally:
        server.psql("ALTER SYSTEM RESET ALL")
        server.psql("SELECT pg_reload_conf()")
        time.sleep(0.3)
    open_store(path).close()


@pytest.mark.parametrize(("url", "error", "text"), [
    ("postgresql://nobody@127.0.0.1:{port}/postgres", StoreError, 'does not let us in .*nobody|role "nobody"'),
    ("postgresql://quant@127.0.0.1:{port}/absent", StoreError, "absent"),
    ("postgresql://quant:word@127.0.0.1:{port}/postgres", InputError, "password"),
])  # fmt: skip
def test_address_that_leads_nowhere_is_told(server, path, url, error, text):
    path.with_suffix(".url").write_text(url.format(port=server.port) + "\n")
    with pytest.raises(error, match=text) as said:
        open_store(path)
    assert isinstance(said.value, OtsportError) and not isinstance(said.value, DiskFull) and ":word@" not in str(said.value)


def test_server_that_sorts_by_a_language_is_refused(server, path):
    "Whoever sorts: the C library's collation says C there, while ICU sorts."
    server.psql("DROP DATABASE IF EXISTS worded")
    server.psql("CREATE DATABASE worded TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    path.with_suffix(".url").write_text(f"postgresql://quant@127.0.0.1:{server.port}/worded\n")
    with pytest.raises(StoreError, match="sorts text by the rules of a language .*createdb -T template0 -l C"):
        open_store(path)
