"""The `otsport` command in a process of its own: start it, see what it leaves behind, compare that with the gateway's own record."""
import itertools
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from otsport.data.store import open_store
from otsport.gateway.journal import executions, received_orders

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 480  # a trading day on a very busy machine; a quiet one needs twelve


_ports = itertools.count(random.randrange(5_000))


def free_port() -> int:
    """A port on which nothing listens: below those that the system takes for outgoing connections, each given once, and none to two workers."""
    first = 10_000 + 5_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 2)
    while True:
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port := first + next(_ports) % 5_000))
            return port


def command(*arguments, python=sys.executable) -> list[str]:
    """The command line of `otsport`."""
    return [str(python), "-m", "otsport", *map(str, arguments)]


def environment(home, **more) -> dict[str, str]:
    """The environment of a process that works on a state folder, with nothing of the checkout in it."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "COLUMNS")} | {"OTSPORT_HOME": str(home), "COLUMNS": "200"} | more


def otsport(home, *arguments, seconds=SECONDS, python=sys.executable, cwd=None, **more) -> subprocess.CompletedProcess:
    """Run `otsport` on a state folder to its end."""
    return subprocess.run(command(*arguments, python=python), env=environment(home, **more), cwd=cwd or home.parent, capture_output=True, text=True, timeout=seconds)


def day_arguments(port: int, paper="trading_day", **parameters) -> list[str]:
    """What is typed for a trading day."""
    return ["run", str(paper), *(word for name, value in {"port": port, **parameters}.items() for word in ("-p", f"{name}={value}"))]


def trading_day(home, port: int, paper="trading_day", seconds=SECONDS, python=sys.executable, **parameters) -> subprocess.CompletedProcess:
    """Run a trading day to its end."""
    return otsport(home, *day_arguments(port, paper, **parameters), seconds=seconds, python=python)


def alive(home) -> list[psutil.Process]:
    """Every process that works on a state folder: its environment names it."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("OTSPORT_HOME") == str(home) and process.pid != os.getpid()
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if mine:
            found.append(process)
    return found


def left_behind(home, seconds=15) -> list[str]:
    """The command lines of processes of a state folder that do not end within the time."""
    _, still = psutil.wait_procs(alive(home), timeout=seconds)
    return [" ".join(process.cmdline()) for process in still if process.is_running()]


def kill_each(processes) -> None:
    """SIGKILL to each that is still there."""
    for p in processes:
        try:
            p.kill()
        except psutil.NoSuchProcess:  # it was faster
            continue


def end_all(home) -> None:
    """Kill what a test left on its state folder."""
    for process in alive(home):
        process.kill()
    psutil.wait_procs(alive(home), timeout=10)


def wait_for(condition, seconds=60):
    """The first true value of a condition, asked again and again; an `AssertionError` when none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"it did not happen within {seconds} s")


def listens(port: int) -> bool:
    """Whether something accepts connections."""
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def gateway(home, port: int, *accounts: str, session="2022-12-28", clock="heartbeat"):
    """`otsport gateway` as a process of its own."""
    words = command("gateway", "--port", port, "--session", session, "--clock", clock, *(f"--account={name}=1000000" for name in accounts))
    process = subprocess.Popen(words, env=environment(home), cwd=home.parent, stdout=subprocess.PIPE, text=True)
    try:
        assert " ready on " in process.stdout.readline()
        yield process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def finished_runs(home) -> list[Path]:
    """The folders of runs that look finished."""
    return sorted(p for p in (home / "runs").glob("*/*") if p.is_dir() and not p.name.endswith(".partial"))


def run_folder(home) -> Path:
    """The one finished run of a state folder."""
    folder, = finished_runs(home)
    return folder


def status(folder: Path) -> dict:
    """`status.json` of a run folder."""
    return json.loads((folder / "status.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, but for what tells git to see none of them, and what SQLite keeps beside a database that no process closed."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".gitignore" and not p.name.endswith(("-shm", "-wal")))
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def tables(home) -> dict[str, list[tuple]]:
    """Every row of the database; of the audit all but the signatures, whose key is random, and all but who held the book, which names a process."""
    with closing(sqlite3.connect(f"file:{home / 'otsport.db'}?mode=ro", uri=True)) as db:
        names = [name for name, in db.execute("select name from sqlite_master where type = 'table' order by name")]
        columns = {name: "seq, ts, action, subject, payload" if name == "audit" else "*" for name in names}
        rows = {name: sorted(db.execute(f"select {columns[name]} from {name}"), key=repr) for name in names if name != "holders"}
    rows["audit"] = [row if row[2] != "holder" else (row[0], "holder") for row in rows.get("audit", [])]
    return rows


def row_count(home) -> int:
    """Rows that say anything of a trade: of all tables but the schema's revision, and of the audit all but who held the book; 0 where there is no database."""
    if not (home / "otsport.db").exists():
        return 0
    return sum(len(rows) - sum(row[1:] == ("holder",) for row in rows)
               for name, rows in tables(home).items() if name != "alembic_version")


def verdict(home, portfolio="main") -> dict[str, int]:
    """The gateway's own record against the store: what was sent twice, lost, invented or changed."""
    journal = home / "gateway" / "simulated.jsonl"
    wishes = Counter(r.ticket.order_ref for r in received_orders(journal))
    theirs = {e.exec_id: (e.order_ref, e.contract.key, e.side, e.qty, e.price) for e in executions(journal)}
    with open_store(home / "otsport.db") as store:
        ours = {f.exec_id: (f.order_ref, f.contract.key, f.side, f.qty, f.price) for f in store.fills(portfolio)}
        stored = {r.order.order_ref for r in store.orders(portfolio)}
        store.verify()
    return {"sent_twice": sum(n - 1 for n in wishes.values()), "orders_not_ours": len(set(wishes) - stored), "fills_lost": len(set(theirs) - set(ours)),
            "fills_invented": len(set(ours) - set(theirs)), "fills_changed": sum(theirs[k] != ours[k] for k in set(ours) & set(theirs))}


FAULTLESS = {"sent_twice": 0, "orders_not_ours": 0, "fills_lost": 0, "fills_invented": 0, "fills_changed": 0}
