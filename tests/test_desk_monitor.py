"""The monitor beside a slow one: marks, P&L by every grouping, fills in between, missing and stale prices, ages; and at a real gateway."""
import json
import math
import os
import re
import subprocess
import sys
import time
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from panel_support import PRICES
from run_support import free_port

from otsport.app.folder import new_folder
from otsport.book.example import ACCOUNT, PORTFOLIO, example_book
from otsport.book.ledger import book_commission, book_fill, deposit
from otsport.book.snapshots import take_snapshot
from otsport.core.calendars import session_close, session_open
from otsport.core.contracts import Quote, option, stock
from otsport.core.errors import NoPrices
from otsport.core.orders import Commission, Fill, Side
from otsport.core.venues import exact_mark
from otsport.data.store import open_store
from otsport.desk.monitor import RING, Books, Monitor, Second
from otsport.desk.price_board import PriceBoard, board_marks
from otsport.desk.watched_books import keep_example

D = Decimal
CALL, PUT = option("KO", date(2023, 1, 20), D(62), "C"), option("KO", date(2023, 1, 20), D(62), "P")
AT = datetime(2022, 12, 28, 16, tzinfo=timezone.utc)
NAN = math.nan
price = st.one_of(st.just(NAN), st.just(0.0), st.floats(0.01, 200).map(lambda x: round(x, 2)))


@effort(max_examples=400, deadline=None)
@given(st.sampled_from([stock("KO"), CALL, PUT]), price, price, price, st.one_of(st.just(NAN), st.floats(1, 200)))
def test_marks_are_those_of_the_desk(contract, bid, ask, last, spot):
    quote = Quote(contract, AT, bid, ask, last=last)
    right = 0.0 if not contract.is_option else 1.0 if contract is CALL else -1.0
    found = board_marks(np.array([[bid, ask, last, NAN]]), np.array([right]), np.array([float(contract.strike or 0)]), np.array([spot]))[0]
    try:
        told = float(exact_mark(quote, spot))
    except NoPrices:
        assert math.isnan(found)
    else:
        tick = 0.005 if contract.is_option else 0.01 if last >= 1 else 0.0001
        assert abs(found - told) < tick * 1.001  # of half a tick either way


@pytest.fixture
def store(tmp_path):
    with open_store(tmp_path / "otsport.db") as opened:
        yield opened


def quotes_of(snapshot, at, without=(), shift=0.0):
    """Quotes that give the marks of a snapshot (plus `shift`), and the spots of its options."""
    marks = {m.contract: float(m.mark) + (shift if not m.contract.is_option else 0.0) for m in snapshot.positions if m.qty}
    bare = {c.symbol for c in marks if c.is_option} - {c.symbol for c in marks if not c.is_option}
    spots = {stock(s): PRICES.close(s, snapshot.session, snapshot.ts) for s in bare}
    return tuple(Quote(c, at, m, m, last=m) for c, m in (marks | spots).items() if c.key not in without)


def watched(store, **more):
    last = keep_example(store, example_book(PRICES, PRICES.last, 4))
    return Monitor(Books(store, PRICES.sectors), PRICES, **more), last


def test_figures_are_those_of_the_snapshot_at_the_close(store):
    monitor, last = watched(store)
    now = monitor.step(Second(last.ts, 0.0, quotes_of(last, last.ts)))
    mine = now.portfolios.of(PORTFOLIO)[PORTFOLIO]
    assert mine["nav"] == pytest.approx(float(last.nav), abs=1e-6) and mine["day_pnl"] == pytest.approx(float(last.day_pnl), abs=1e-6)
    assert mine["unrealized"] == pytest.approx(float(last.unrealized), abs=1e-6) and mine["missing"] == 0
    assert mine["day_return"] == pytest.approx(float(last.day_pnl / (last.nav - last.day_pnl)))
    for m in last.positions:
        row = now.positions.of(PORTFOLIO)[m.contract.key]
        assert row["day_pnl"] == pytest.approx(float(m.day_pnl), abs=1e-6) and row["qty"] == float(m.qty)
    for kind, of in (("strategy", lambda m: m.strategy or "hand"), ("sector", lambda m: PRICES.sectors[m.contract.symbol]), ("symbol", lambda m: m.contract.symbol)):
        slow = {}
        for m in last.positions:
            slow[of(m)] = slow.get(of(m), 0.0) + float(m.day_pnl)
        fast = {name: row["day_pnl"] for name, row in now.kind(kind).of(PORTFOLIO).items()}
        assert fast == pytest.approx(slow, abs=1e-6)


def test_first_second_without_snapshot_counts_from_the_deposit(store):
    with store.unit(AT) as unit:
        unit.add_portfolio("main", ACCOUNT)
        unit.book(deposit(ACCOUNT, "main", D(10_000), AT, "opening"))
        unit.book(book_fill(Fill("e1", "o1", ACCOUNT, stock("KO"), Side.BUY, D(100), D(60), AT), "main", None))
    now = Monitor(Books(store, PRICES.sectors), PRICES).step(Second(AT, 0.0, (Quote(stock("KO"), AT, last=61.5),)))
    mine = now.portfolios.of("main")["main"]
    assert mine["nav"] == 10_150 and mine["day_pnl"] == 150 and mine["drawdown"] == 0


def test_fill_in_between_is_seen_and_highs_go_on(store):
    monitor, last = watched(store)
    share = next(m for m in last.positions if m.qty and not m.contract.is_option)
    at = [last.ts - timedelta(minutes=60 - i) for i in range(4)]
    monitor.step(Second(at[0], 0.0, quotes_of(last, at[0], shift=20.0)))
    high = monitor.latest.positions.of(PORTFOLIO)[share.contract.key]
    low = monitor.step(Second(at[1], 1.0, quotes_of(last, at[1])))
    before = low.portfolios.of(PORTFOLIO)[PORTFOLIO]
    fill = Fill("extra", "o-extra", ACCOUNT, share.contract, Side.SELL, D(10), share.mark, at[1])
    with store.unit(at[1]) as unit:
        unit.book(book_fill(fill, PORTFOLIO, store.positions(PORTFOLIO)[share.contract.key]))
    after = monitor.step(Second(at[2], 2.0))
    mine, row = after.portfolios.of(PORTFOLIO)[PORTFOLIO], after.positions.of(PORTFOLIO)[share.contract.key]
    assert row["qty"] == float(share.qty) - 10 and row["mfe"] == high["mfe"] > 0
    assert mine["nav"] == pytest.approx(before["nav"], abs=1e-6) and mine["drawdown"] == pytest.approx(before["drawdown"], abs=1e-12)
    assert mine["drawdown"] < 0  # the high before the fill is not forgotten


def test_what_has_no_price_is_not_guessed(store):
    monitor, last = watched(store)
    bare = next(m.contract.key for m in last.positions if m.qty and not m.contract.is_option)
    now = monitor.step(Second(last.ts, 0.0, quotes_of(last, last.ts, without=(bare,))))
    mine = now.portfolios.of(PORTFOLIO)[PORTFOLIO]
    assert math.isnan(mine["nav"]) and math.isnan(mine["day_pnl"]) and math.isnan(mine["var_95"]) and mine["missing"] == 1
    assert bare in now.feed.missing and f"NO PRICE: {bare}" in now.feed.banner
    rows = now.positions.of(PORTFOLIO)
    assert math.isnan(rows[bare]["value"]) and all(r["value"] == r["value"] for k, r in rows.items() if k != bare)
    sound = monitor.step(Second(last.ts + timedelta(seconds=1), 1.0, quotes_of(last, last.ts)))  # negative control: with it all is known
    assert sound.portfolios.of(PORTFOLIO)[PORTFOLIO]["nav"] == pytest.approx(float(last.nav), abs=1e-6) and not sound.feed.banner


def test_stale_is_said_by_the_clock_of_this_machine(store):
    monitor, last = watched(store)
    at = session_open(last.session) + timedelta(hours=7) - timedelta(hours=1)
    monitor.step(Second(at, 1000.0, quotes_of(last, at)))
    young = monitor.step(Second(at + timedelta(minutes=5), 1059.0))  # the broker's clock ran five minutes, ours 59 s: a replay
    assert not young.feed.stale
    old = monitor.step(Second(at + timedelta(minutes=6), 1061.0))
    assert set(old.feed.stale) == {m.contract.key for m in last.positions if m.qty} and "STALE" in old.feed.banner
    assert old.portfolios.values["nav"][0] == young.portfolios.values["nav"][0]  # the last price stands, and is called old
    some = monitor.step(Second(at + timedelta(minutes=7), 1062.0, quotes_of(last, at + timedelta(minutes=7))))
    assert not some.feed.stale


def test_ring_holds_every_second_bit_by_tick(store):
    monitor, last = watched(store)
    seen = []
    sink = monitor.now.sink(seen.append)
    start = last.ts - timedelta(hours=2)
    for i in range(200):
        at = start + timedelta(seconds=i)
        monitor.step(Second(at, float(i), quotes_of(last, at, shift=0.01 * (i % 7)), buying_power={ACCOUNT: 1e6}))
    sink.destroy()
    kept = monitor.kept[PORTFOLIO].ring.read(start, last.ts)
    assert len(kept) == 200 and list(kept.columns) == list(RING)
    for name in ("nav", "day_pnl", "dollar_delta"):
        assert np.allclose(kept[name], [n.portfolios.values[name][0] for n in seen], atol=0.0051)
    assert len(monitor.kept[PORTFOLIO].minutes) == 3  # four minutes were entered


def test_a_broken_portfolio_does_not_blind_the_others(store):
    monitor, last = watched(store)
    monitor.books.broken["ghost"] = "it cannot be read"
    now = monitor.step(Second(last.ts, 0.0, quotes_of(last, last.ts)))
    assert now.portfolios.of(PORTFOLIO) and "ghost cannot be watched: it cannot be read" in now.notes


def plain(folder, state):
    return {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "OTSPORT_FOLDER")} | {"OTSPORT_HOME": str(state), "OTSPORT_HEADS": str(folder / "heads"), "TERM": "dumb", "COLUMNS": "130"}


def watch_typed(folder, state, *arguments):
    return subprocess.run([sys.executable, "-m", "otsport", "watch", *map(str, arguments)], cwd=folder, env=plain(folder, state), capture_output=True, text=True, timeout=300)


@pytest.fixture
def desk(tmp_path):
    """A desk folder with the example book, and a port on which nothing listens yet."""
    folder = new_folder(tmp_path / "desk").path
    port = free_port()
    text = (folder / "accounts.yaml").read_text()
    (folder / "accounts.yaml").write_text(re.sub(r"port: \d+", f"port: {port}", text, count=1))
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    with open_store(state / "otsport.db") as opened:
        keep_example(opened, example_book(PRICES, PRICES.last, 3))
    return folder, state, port


def gateway(folder, port, clock):
    started = subprocess.Popen([sys.executable, "-m", "otsport", "gateway", "--port", str(port), "--session", "2022-12-28", "--clock", clock, "--seconds-per-step", "1"],
                               cwd=folder, env=plain(folder, folder / "state"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "ready" in started.stdout.readline()
    return started


def test_watch_at_the_gateway_is_priced_and_sends_nothing(desk):
    folder, state, port = desk
    started = gateway(folder, port, "paced")
    try:
        done = watch_typed(folder, state, "--looks", 6)
    finally:
        started.terminate()
        started.wait(20)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert re.search(r"connected; main NAV \$[\d,]+\.\d\d", last), done.stdout
    with open_store(state / "otsport.db", read_only=True) as store:
        assert store.last_instant() <= session_close(date(2022, 12, 28))  # nothing was written
        audit = store.verify()
    with open_store(state / "otsport.db", read_only=True) as store:
        assert store.verify() == audit


def test_watch_keeps_away_from_a_gateway_that_a_run_drives(desk):
    folder, state, port = desk
    started = gateway(folder, port, "heartbeat")
    try:
        done = watch_typed(folder, state, "--once")
    finally:
        started.terminate()
        started.wait(20)
    text = " ".join(done.stdout.split())
    assert done.returncode == 0 and "a look would move its clock" in text and "prices of the close of 2022-12-27" in text, done.stdout + done.stderr


def test_watch_without_a_broker_says_so(desk):
    folder, state, port = desk
    done = watch_typed(folder, state, "--looks", 2, "--seconds", 0.2)
    assert done.returncode == 0 and "NO BROKER" in done.stdout and f"{port}" in done.stdout and "main NAV –" in done.stdout, done.stdout + done.stderr


def test_watch_refuses_an_unknown_portfolio_and_a_broken_rule(desk):
    folder, state, _ = desk
    done = watch_typed(folder, state, "mian", "--once", "--offline")
    assert done.returncode != 0 and "no portfolio 'mian' in this store: it has main" in done.stderr
    (folder / "alerts.yaml").write_text("version: 1\nalerts:\n  - {name: x, watch: navv, above: 1}\n")
    done = watch_typed(folder, state, "--once", "--offline")
    assert done.returncode != 0 and "alerts.yaml, line 3: alerts[1].watch = 'navv'" in done.stderr and "did you mean nav?" in done.stderr
