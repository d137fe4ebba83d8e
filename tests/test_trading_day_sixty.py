"""Sixty sessions in a row: every evening the books agree with themselves, with the fills, and with the gateway's own record, by account and symbol."""
import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import pytest

from otsport.core.calendars import last_sessions
from otsport.core.books import PositionMark, Snapshot, TransactionKind
from otsport.core.contracts import stock
from otsport.core.units import to_tick
from otsport.data.store import open_store
from otsport.gateway.journal import Clock, CommissionNote, Execution, Opened, OptionExpiry, read_journal
from run_support import FAULTLESS, ROOT, contents, free_port, left_behind, listens, run_folder, status, trading_day, verdict

SESSIONS = last_sessions(date(2022, 12, 28), 60)


@dataclass
class Account:
    """Cash and units of one account at the gateway."""
    cash: Decimal
    units: Counter


def gateway_evenings(journal) -> dict[date, dict[str, Account]]:
    """What each account held when a session ended, rebuilt from the events of the gateway's journal alone."""
    accounts, evenings, session = {}, {}, None
    for events, _, _ in read_journal(journal.read_bytes()):
        for e in events:
            match e:
                case Opened():
                    accounts[e.account] = Account(e.cash, Counter())
                case Execution():
                    accounts[e.account].cash += e.cash
                    accounts[e.account].units[e.contract.key] += e.side.sign * e.qty
                case CommissionNote():
                    accounts[e.account].cash -= e.amount
                case OptionExpiry():
                    accounts[e.account].cash += e.cash
                    accounts[e.account].units[e.contract.key] -= e.qty
                    accounts[e.account].units[stock(e.contract.symbol).key] += e.shares
                case Clock():
                    session = e.session
        if session is not None:
            evenings[session] = {name: Account(a.cash, Counter({k: q for k, q in a.units.items() if q})) for name, a in accounts.items()}
    return evenings


def fill_units(store, portfolio: str) -> dict[date, Counter]:
    """The running sum of the fills, with the options that ended and the shares that they became, by session."""
    moves = defaultdict(Counter)
    for fill in store.fills(portfolio):
        moves[fill.ts.date()][fill.contract.key] += fill.signed_qty
    for t in store.transactions(portfolio):
        if t.kind in (TransactionKind.EXPIRY, TransactionKind.ASSIGNMENT):
            moves[t.ts.date()][t.contract.key] += t.qty
    total, found = Counter(), {}
    for session in SESSIONS:
        total.update(moves[session])
        found[session] = Counter({key: qty for key, qty in total.items() if qty})
    return found


def noted_values(home) -> dict[date, Decimal]:
    """NetLiquidation as the broker stated it when each day was closed, from the audit."""
    with closing(sqlite3.connect(home / "otsport.db")) as db:
        rows = db.execute("select subject, payload from audit where action = 'day closed'").fetchall()
    return {date.fromisoformat(subject.split()[1]): Decimal(json.loads(payload)["broker_net_liquidation"]) for subject, payload in rows}


def faults(s: Snapshot, fills: Counter, theirs: Account, noted: Decimal) -> list[str]:
    """What does not agree on an evening."""
    found, ours = [], Counter({p.contract.key: p.qty for p in s.positions if p.qty})
    found += [f"{p.contract}: {p.value} is not {p.qty} at {p.mark}" for p in s.positions if p.value != p.qty * p.mark * p.contract.multiplier]
    facts = {
        "cash and positions, NAV": (s.cash + sum(p.value for p in s.positions), s.nav), "cash, gateway": (s.cash, theirs.cash),
        "NAV, broker's NetLiquidation": (to_tick(s.nav), noted), "day P&L of the positions, day P&L": (sum(p.day_pnl for p in s.positions), s.day_pnl),
    }
    found += [f"{name}: {a} and {b}" for name, (a, b) in facts.items() if a != b]
    for name, other in (("fills", fills), ("gateway", theirs.units)):
        found += [f"{key}: {ours[key]} in the book, {other[key]} by the {name}" for key in sorted({*ours, *other}) if ours[key] != other[key]]
    return [f"{s.account} {s.session}: {fault}" for fault in found]


@pytest.fixture(scope="module")
def sixty(tmp_path_factory):
    """Sixty finished sessions: state folder, port, process, and what each evening is compared with."""
    home, port = tmp_path_factory.mktemp("sixty") / "home", free_port()
    done = trading_day(home, port, sessions=60, seconds=500)
    assert done.returncode == 0, done.stderr
    with open_store(home / "otsport.db") as store:
        snapshots, fills = store.snapshots("main"), fill_units(store, "main")
    gateway, noted = gateway_evenings(home / "gateway" / "simulated.jsonl"), noted_values(home)
    return home, port, done, [(s, fills[s.session], gateway[s.session][s.account], noted[s.session]) for s in snapshots]


def test_every_session_has_its_snapshot(sixty):
    home, _, done, evenings = sixty
    assert [s.session for s, *_ in evenings] == SESSIONS
    assert "60 sessions from 2022-10-04" in done.stdout and status(run_folder(home))["status"] == "done"
    assert left_behind(home) == []


def test_every_evening_agrees_with_fills_and_gateway(sixty):
    assert [fault for evening in sixty[3] for fault in faults(*evening)] == []


def golden(name: str) -> dict:
    return json.loads((ROOT / name).read_text())


MENDED = {"2022-10-10": 4, "2022-11-07": 1}  # dollars more than 0.1.0: calls filled at limits a cent higher, which were rounded beyond their collar


def test_every_evening_is_that_of_release_0_1_0_to_the_cent(sixty):
    """What 0.1.0 traded, with its NAV, cash and P&L of every evening: a reshape changes nothing but what was mended."""
    evenings, before, more = golden("tests/golden/sixty_0_1_0.json")["evenings"], [], 0
    for e in evenings:
        more += MENDED.get(e["session"], 0)
        before.append((e["session"], Decimal(e["nav"]) + more, Decimal(e["cash"]) + more, Decimal(e["day_pnl"]) + MENDED.get(e["session"], 0)))
    assert [(str(s.session), s.nav, s.cash, s.day_pnl) for s, *_ in sixty[3]] == before


def test_readme_picture_shows_the_sixty_sessions(sixty):
    """`make picture` made it: beside it stand the numbers that it shows."""
    last, told = sixty[3][-1][0], golden("nbs/images/report.json")
    assert (told["session"], Decimal(told["nav"])) == (str(last.session), last.nav)
    assert told["command"] in (ROOT / "README.md").read_text()


def test_sixty_sessions_hold_what_makes_them_hard(sixty):
    """Else the comparison would be of little worth: partial fills, options assigned and expired, a half day."""
    events = [e for batch, _, _ in read_journal((sixty[0] / "gateway" / "simulated.jsonl").read_bytes()) for e in batch]
    outcomes = Counter(e.outcome for e in events if isinstance(e, OptionExpiry))
    executed = Counter(e.perm_id for e in events if isinstance(e, Execution))
    assert outcomes["assigned"] > 3 and outcomes["expired"] > 3
    assert sum(n > 1 for n in executed.values()) > 3 and len(executed) > 50
    assert date(2022, 11, 25) in SESSIONS
    assert len({s.cash for s, *_ in sixty[3]}) > 20


def test_orders_and_fills_are_those_of_the_gateway(sixty):
    assert verdict(sixty[0]) == FAULTLESS


def test_nav_follows_from_day_to_day(sixty):
    navs = [s.nav for s, *_ in sixty[3]]
    assert navs == [1_000_000 + sum(s.day_pnl for s, *_ in sixty[3][: i + 1]) for i in range(60)]


def moved(s: Snapshot, **change) -> Snapshot:
    """The snapshot with its first held position changed."""
    i = next(i for i, p in enumerate(s.positions) if p.qty)
    return replace(s, positions=s.positions[:i] + (replace(s.positions[i], **change),) + s.positions[i + 1 :])


def first(s: Snapshot) -> PositionMark:
    return next(p for p in s.positions if p.qty)


CENT, ONE = Decimal("0.01"), Decimal(1)


@pytest.mark.parametrize("change, words", [
    (lambda s: replace(s, cash=s.cash + CENT), ["cash and positions, NAV", "cash, gateway"]),
    (lambda s: replace(s, nav=s.nav - CENT), ["cash and positions, NAV", "NAV, broker's NetLiquidation"]),
    (lambda s: replace(s, cash=s.cash + CENT, nav=s.nav + CENT), ["cash, gateway", "NAV, broker's NetLiquidation"]),
    (lambda s: moved(s, value=first(s).value + CENT), ["is not", "cash and positions, NAV"]),
    (lambda s: moved(s, qty=first(s).qty + ONE), ["by the fills", "by the gateway"]),
    (lambda s: moved(s, day_pnl=first(s).day_pnl + CENT), ["day P&L of the positions"]),
    (lambda s: replace(s, positions=s.positions[1:]), ["cash and positions, NAV", "by the gateway"]),
])
@pytest.mark.parametrize("evening", [0, 33, 59])
def test_one_cent_or_one_share_more_is_caught(sixty, change, words, evening):
    s, *others = sixty[3][evening]
    found = faults(change(s), *others)
    assert all(any(word in fault for fault in found) for word in words), found


def test_gateway_that_moved_without_the_book_is_caught(sixty):
    s, fills, theirs, noted = sixty[3][30]
    more = Account(theirs.cash, Counter({**theirs.units, "IBM": Decimal(100)}))
    assert faults(s, fills, more, noted) == [f"{s.account} {s.session}: IBM: 0 in the book, 100 by the gateway"]


def test_rerun_of_sixty_sessions_starts_nothing(sixty):
    home, port, first_run, _ = sixty
    before = contents(home)
    again = trading_day(home, port, sessions=60, seconds=30)
    assert again.returncode == 0 and contents(home) == before
    assert again.stdout.splitlines()[1:] == first_run.stdout.splitlines()
    assert left_behind(home) == [] and not listens(port)
