"""Two desk folders on two gateways at once, killed again and again: nothing lost, doubled or misrouted, and nothing of one in the other.

A sample runs with the tests; `make soak` kills each 50 times.
"""
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psutil
import pytest

from otsport.app.folder import new_folder, own_port
from otsport.app.gateway_process import gateways
from otsport.core.calendars import last_sessions
from otsport.core.errors import AccountNotServed, BrokerError
from otsport.data.prices import read_prices
from otsport.data.samples import sample
from otsport.data.shelf import keep
from otsport.data.store import open_store
from otsport.gateway.journal import executions, received_orders
from run_support import (
    FAULTLESS, alive, command, contents, end_all, environment, finished_runs, gateway, left_behind, listens, otsport as typed, row_count, status, verdict, kill_each,
)

SAMPLE_KILLS, SOAK_KILLS = 3, 50
LAST = date(2022, 12, 28)
NAMES = {"alpha": {"KO": "COLAX", "PEP": "FIZZX", "XOM": "OILSX", "JNJ": "MEDSX"}, "omega": {"MRK": "PILLZ", "WMT": "SHOPZ", "CVX": "FUELZ", "PG": "SOAPZ"}}
OWN = """from otsport.strategy.words import buy

def {name}(known):
    "Another half of the symbols every session: each is traded again and again."
    return [buy(s, confidence=0.9, why="its turn") for s in known.symbols[known.session.toordinal() % 2::2]]
"""


@dataclass
class Desk:
    """A desk folder under test, by its portfolio."""
    name: str
    account: str
    path: Path
    killed: int = 0
    whole: int = 0  # kills that took the gateway along
    days: list[date] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.path / "state"

    @property
    def port(self) -> int:
        return own_port(self.path)

    @property
    def journal(self) -> Path:
        return self.state / "gateway" / "simulated.jsonl"

    @property
    def marks(self) -> set[bytes]:
        """What would tell in a file that it speaks of this desk: account, names, symbols, place and address."""
        return {w.encode() for w in (self.account, f"turns_of_{self.name}", f"book_{self.name}", *NAMES[self.name].values(), str(self.path), f"127.0.0.1:{self.port}")}


def edit(path: Path, **lines) -> None:
    """Give fields of the top of a yaml file other values, list and nested lines below them included."""
    kept, skip = [], False
    for line in path.read_text().splitlines():
        if line and not line[0].isspace() and line[0] != "#":
            name = line.partition(":")[0]
            skip = name in lines
            kept += [f"{name}: {lines[name]}"] if skip else []
        if not skip:
            kept.append(line)
    path.write_text("\n".join(kept) + "\n")


def desk(tmp_path: Path, name: str, account: str) -> Desk:
    """A new folder, then an account, a portfolio, prices and a strategy of its own."""
    folder = new_folder(tmp_path / f"desk_{name}").path
    closes = sample("sp500_20_daily")[list(NAMES[name])].loc[:str(LAST)].tail(700).rename(columns=NAMES[name])
    keep(read_prices(closes, name="mine", adjusted="all"), folder)
    (folder / "mine.py").write_text(OWN.format(name=f"turns_of_{name}"))
    edit(folder / "book.yaml", portfolio=f"book_{name}", prices="prices/mine.parquet", universe="all", sectors="{}", objective="sizes",
         strategies=f"[{{use: mine.py:turns_of_{name}}}]", limits="{max_position_weight: 0.15}")
    accounts = folder / "accounts.yaml"
    accounts.write_text(accounts.read_text().replace("DU123456", account))
    return Desk(name, account, folder)


def begin(d: Desk, day: date) -> subprocess.Popen:
    words = command("run", "trading_day", "-p", f"run_date={day}")
    return subprocess.Popen(words, env=environment(d.state), cwd=d.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def grown(d: Desk, start: int, by: int) -> bool:
    """Whether the gateway has written so many bytes since."""
    return d.journal.is_file() and d.journal.stat().st_size >= start + by


def kill_once(d: Desk, day: date, rng: random.Random, length: float) -> bool:
    """Start the run of a day and kill it: at a moment of its life, or of its session; False when it had ended before."""
    size = d.journal.stat().st_size if d.journal.is_file() else 0
    in_session, seconds, bytes_, scope = rng.random() < 0.6, rng.uniform(0.0, length), rng.randrange(1, 25_000), rng.choice(["command", "run", "all", "all"])
    if not d.killed:  # the first one surely meets a gateway at work, and takes it along
        in_session, scope = True, "all"
    process = begin(d, day)
    end = time.monotonic() + (60.0 if in_session else seconds)
    while process.poll() is None and time.monotonic() < end and not (in_session and grown(d, size, bytes_)):
        time.sleep(0.005)
    if process.poll() is not None:
        assert process.returncode == 0
        return False
    hit = [psutil.Process(process.pid)] if scope == "command" else [p for p in alive(d.state) if scope == "all" or "gateway" not in p.cmdline()]
    d.whole += any("gateway" in p.cmdline() for p in hit)
    kill_each(hit)
    process.wait()
    return True


def kills_of(d: Desk, kills: int, seed: str) -> None:
    """Days until the folder was killed so often; each is killed a few times and then finished, and compared with the gateway's own journal."""
    rng, length = random.Random(seed), 10.0
    for day in last_sessions(LAST, 2 * kills + 10):
        if d.killed == kills:
            break
        for _ in range(min(rng.randint(1, 4), kills - d.killed)):
            if not kill_once(d, day, rng, length):
                break
            d.killed += 1
        start = time.monotonic()
        done = typed(d.state, "run", "trading_day", "-p", f"run_date={day}", cwd=d.path)
        assert done.returncode == 0, done.stderr
        length = 0.7 * length + 0.3 * (time.monotonic() - start)
        d.days.append(day)
        assert verdict(d.state, f"book_{d.name}") == FAULTLESS


def strangers(d: Desk) -> list[str]:
    """What the gateway's journal and the store hold that is not of this desk: account, portfolio or symbol."""
    symbols, found = set(NAMES[d.name].values()), []
    for o in received_orders(d.journal):
        found += [f"order {o.ticket}"] if o.ticket.account != d.account or o.ticket.contract.symbol not in symbols else []
    found += [f"execution {e}" for e in executions(d.journal) if e.account != d.account or e.contract.symbol not in symbols]
    with open_store(d.state / "otsport.db") as store:
        found += [f"portfolio {p} of {a}" for p, a in store.portfolios().items() if (p, a) != (f"book_{d.name}", d.account)]
        for p in store.portfolios():
            found += [f"stored {r.order}" for r in store.orders(p) if r.order.account != d.account or r.order.portfolio != f"book_{d.name}" or r.order.contract.symbol not in symbols]
            found += [f"stored {f}" for f in store.fills(p) if f.account != d.account or f.contract.symbol not in symbols]
    return found


def seen_in(folder: Path, marks: set[bytes]) -> dict[str, set[bytes]]:
    """The files below a folder in which any of the marks stands, with those."""
    return {name: found for name, text in contents(folder).items() if (found := {m for m in marks if m in text})}


def watch_ports(desks: list[Desk], over) -> set[tuple[Path, int]]:
    """Owner and port of every gateway of the desks that is seen until it is over."""
    seen = set()
    while not over():
        seen |= {(g.owner, g.port) for g in gateways() if g.owner in {d.state for d in desks}}
        time.sleep(0.5)
    return seen


def killed_side_by_side(tmp_path: Path, kills: int, seed: int) -> None:
    one, two = desk(tmp_path, "alpha", "DU1111111"), desk(tmp_path, "omega", "DU9999999")
    try:
        with ThreadPoolExecutor() as pool:
            at_work = [pool.submit(kills_of, d, kills, f"{seed} {d.name}") for d in (one, two)]
            ports = watch_ports([one, two], lambda: all(w.done() for w in at_work))
            for w in at_work:
                w.result()
        assert ports == {(one.state, one.port), (two.state, two.port)} and one.port != two.port
        for d, other in ((one, two), (two, one)):
            assert d.killed == kills and d.whole > 0 and verdict(d.state, f"book_{d.name}") == FAULTLESS
            with open_store(d.state / "otsport.db") as store:
                assert {s.session for s in store.snapshots(f"book_{d.name}")} == set(d.days) and len(store.fills(f"book_{d.name}")) >= len(d.days)
            assert strangers(d) == [] and seen_in(d.path, other.marks) == {}
            said = {m for found in seen_in(d.path, d.marks).values() for m in found}
            assert said >= {m for m in d.marks if b"/" not in m and b":" not in m}, "the search would find nothing"  # place and address need not be written
            runs = finished_runs(d.state)
            assert {status(r)["parameters"]["port"] for r in runs} == {d.port} and {status(r)["parameters"]["account"] for r in runs} == {d.account}
            assert left_behind(d.state) == [] and not listens(d.port) and not list(d.state.rglob("*.partial"))
        check_it_would_be_found(one, two)
    finally:
        for d in (one, two):
            end_all(d.state)


def check_it_would_be_found(one: Desk, two: Desk) -> None:
    """The negative control: what the other's gateway wrote is no record of this book, and its files speak of the other."""
    ours, theirs = ({e.exec_id for e in executions(d.journal)} for d in (one, two))
    shutil.copy(two.journal, one.journal)
    found = verdict(one.state, f"book_{one.name}")
    assert found["orders_not_ours"] and theirs and strangers(one)
    assert [found[f"fills_{how}"] for how in ("changed", "lost", "invented")] == [len(ours & theirs), len(theirs - ours), len(ours - theirs)]
    assert seen_in(one.path, two.marks).keys() == {"state/gateway/simulated.jsonl"}


def test_two_desks_killed_at_random(tmp_path):
    killed_side_by_side(tmp_path, SAMPLE_KILLS, 4)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [7])
def test_two_desks_killed_fifty_times_each(tmp_path, seed):
    killed_side_by_side(tmp_path, SOAK_KILLS, seed)


# A folder that is pointed to the other's gateway

def pointed(d: Desk, other: Desk, **more) -> None:
    """accounts.yaml names the other's port."""
    file = d.path / "accounts.yaml"
    text = file.read_text().replace(f"port: {d.port} ", f"port: {other.port} ")
    for old, new in more.items():
        text = text.replace(*new)
    file.write_text(text)


@pytest.fixture(scope="module")
def beside_a_trading_one(tmp_path_factory):
    """Two desks, of which the first one's gateway serves."""
    one, two = desk(tmp_path_factory.mktemp("one"), "alpha", "DU1111111"), desk(tmp_path_factory.mktemp("two"), "omega", "DU9999999")
    words = command("gateway", "--port", one.port, "--session", LAST, "--clock", "heartbeat", "--account", f"{one.account}=1000000", "--owner", one.state, "--folder", one.path)
    begun = subprocess.Popen(words, env=environment(one.state), cwd=one.path, stdout=subprocess.PIPE, text=True)
    try:
        assert " ready on " in begun.stdout.readline()
        yield one, two, (two.path / "accounts.yaml").read_text()
    finally:
        begun.terminate()
        begun.wait(30)
        begun.stdout.close()


@pytest.mark.parametrize("simulated", [True, False], ids=["simulated", "a_broker_of_its_own"])
@pytest.mark.parametrize("same_account", [False, True], ids=["own_account", "their_account"])
def test_a_folder_pointed_to_the_others_port_is_refused(beside_a_trading_one, simulated, same_account):
    """While the other trades: whatever the file says of the broker and the account, nothing reaches the gateway of another folder."""
    one, two, accounts = beside_a_trading_one
    (two.path / "accounts.yaml").write_text(accounts)
    pointed(two, one, simulated=("simulated: true ", f"simulated: {str(simulated).lower()} "), account=(two.account, one.account if same_account else two.account))
    before = contents(one.state)
    done = typed(two.state, "run", "trading_day", "-p", f"run_date={LAST}", cwd=two.path)
    assert done.returncode == BrokerError.exit_code and f"port {one.port} belongs to the simulated gateway of the state folder {one.state}" in done.stderr, done.stderr
    assert contents(one.state) == before and row_count(two.state) == 0 and not (two.state / "gateway").exists()


def test_a_gateway_begun_by_hand_does_not_serve_the_others_account(tmp_path):
    one, two = desk(tmp_path, "alpha", "DU1111111"), desk(tmp_path, "omega", "DU9999999")
    pointed(two, one, simulated=("simulated: true ", "simulated: false "))
    with gateway(tmp_path / "by_hand", one.port, one.account, session=str(LAST)):
        done = typed(two.state, "run", "trading_day", "-p", f"run_date={LAST}", cwd=two.path)
    assert done.returncode == AccountNotServed.exit_code and two.account in done.stderr and one.account in done.stderr, done.stderr
    assert row_count(two.state) == 0 and received_orders(tmp_path / "by_hand" / "gateway" / "simulated.jsonl") == []
