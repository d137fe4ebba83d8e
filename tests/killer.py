"""Kill a trading process again and again, and count what was sent twice or lost.

    python tests/killer.py HOME PORT LAST_SESSION KILLS [--no-outbox] [--seed N]

One gateway process serves KILLS sessions in a row, and an account for each. A session is traded, from cash, by a process of its
own that dies by SIGKILL at a random moment: half of the moments lie anywhere in the day, half in the milliseconds after its
first order reached the gateway. A second process then takes the day up. At the end the gateway's own journal is compared with the store, in which every wish (session, account, contract, side) may stand once; the
verdict is one line of JSON. `--no-outbox` trades with a writer that keeps its orders in memory until they are acknowledged
and asks the broker nothing after a restart: the comparison must find it out.
"""
import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import date
from pathlib import Path


SPARE = 10  # rounds more than kills, for processes that end before their moment comes


def account(number: int) -> str:
    """The paper account of a round."""
    return f"DU{100000 + number}"


def portfolio(number: int) -> str:
    """The portfolio of a round."""
    return f"p{number}"


def trade(number: int, session: date, port: int, outbox: bool) -> None:
    """Trade one session in this process."""
    from otsport.app import trading_day

    if not outbox:
        switch_outbox_off()
    params = dict(run_date=str(session), account=account(number), portfolio=portfolio(number), capital="1000000", sessions=1, seed=7, host="127.0.0.1", port=port,
                  start_gateway=True, base_size=0.1, max_portfolio_risk=0.05, max_sector_weight=0.35, max_order_value="250000", run_dir=str(Path(os.environ["OTSPORT_HOME"]) / "scratch"))
    asyncio.run(trading_day.trade(trading_day.begin(**params)))


def switch_outbox_off() -> None:
    """Replace the outbox by a writer that records an order after it left, and the restart by one that asks nothing."""
    from dataclasses import replace

    from otsport.core.orders import OrderRecord, OrderState
    from otsport.data.plain import plain
    from otsport.desk import outbox, session

    recorded = outbox.enqueue

    def enqueue(store, book, orders, day, now, plan=None):
        orders = [replace(o, order_ref=f"{o.order_ref}-{os.getpid()}") for o in orders]  # names that no restart finds again
        records = {o.order_ref: OrderRecord(o, day, OrderState.CREATED) for o in orders}
        if plan is not None:
            memory[day] = plain(plan)
        return replace(book, orders=book.orders | records)

    async def release(store, book, broker, wishes, at):
        quotes = await broker.quotes([r.order.contract for r in wishes]) if wishes else {}
        decisions = outbox.let_through({}, wishes, quotes, at)
        for record, decision in zip(wishes, decisions):
            if decision.accepted:
                await broker.place(record.order)
        if wishes:
            day = wishes[0].session
            book = recorded(store, book, [r.order for r in wishes], day, at.now, memory.pop(day, None))
            book = outbox.commit_departure(store, book, decisions, at.now)
        return book

    async def resume(desk, book):
        return book

    memory: dict = {}
    stored = session.Store.plan
    session.Store.plan = lambda self, portfolio, day: memory.get(day) or stored(self, portfolio, day)
    session.enqueue, session.release = enqueue, release
    session.STEPS = tuple(resume if step is session.resume else step for step in session.STEPS)
    outbox.stop_for = lambda book, strange: None
    session.check_before_open = lambda book: None


def fork(number: int, session: date, port: int, outbox: bool) -> int:
    """A child process that trades; imports are already paid for."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            trade(number, session, port, outbox)
            code = 0
        except BaseException as error:
            print(f"{session}: {type(error).__name__}: {error}"[:300], file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return pid


def wait(pid: int, seconds: float) -> int | None:
    """Exit status of the child within the time, else None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.0005)
    return None


def kill_after_first_order(pid: int, journal: Path, size: int, delay: float) -> bool:
    """Kill the child `delay` seconds after the journal shows an order; False when it ended before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        if journal.stat().st_size > size and b'"Received"' in journal.read_bytes()[size:]:
            time.sleep(delay)
            return kill(pid)
        time.sleep(0.0002)
    return kill(pid)


def kill(pid: int) -> bool:
    """SIGKILL; False when the process had ended."""
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def verdict(journal: Path, home: Path) -> dict:
    """Compare the gateway's own record with the store."""
    from otsport.data.store import open_store
    from otsport.gateway.journal import executions, received_orders

    wishes = Counter((r.ts.date(), r.ticket.account, r.ticket.contract.key, r.ticket.side) for r in received_orders(journal))
    theirs = {e.exec_id: (e.order_ref, e.contract.key, e.side, e.qty, e.price) for e in executions(journal)}
    with open_store(home / "otsport.db") as store:
        books = sorted(store.portfolios())
        ours = {f.exec_id: (f.order_ref, f.contract.key, f.side, f.qty, f.price) for b in books for f in store.fills(b)}
        result = {"orders": sum(wishes.values()), "fills": len(theirs), "sent_twice": sum(n - 1 for n in wishes.values()), "fills_lost": len(set(theirs) - set(ours)),
                  "fills_invented": len(set(ours) - set(theirs)), "fills_changed": sum(theirs[k] != ours[k] for k in set(ours) & set(theirs)),
                  "days_finished": sum(len(store.snapshots(b)) for b in books), "audit_rows": store.verify()}
    return result


def main() -> None:
    ap = argparse.ArgumentParser()
    ap.add_argument("home", type=Path)
    ap.add_argument("port", type=int)
    ap.add_argument("last", type=date.fromisoformat)
    ap.add_argument("kills", type=int)
    ap.add_argument("--no-outbox", action="store_true")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    os.environ["OTSPORT_HOME"] = str(a.home)
    import cvxpy  # noqa: F401  # paid once, before the forks
    import ib_insync  # noqa: F401
    from otsport.analytics.options import bsm
    from otsport.app import trading_day
    from otsport.core.calendars import last_sessions
    from otsport.data.samples import history
    from otsport.portfolio.bounds import Bounds
    from otsport.portfolio.optimize import max_sharpe

    history()
    bsm(60.0, 60.0, 0.1, 0.04, 0.0, 0.2, "C")  # compiled code is loaded
    max_sharpe([0.1, 0.08], [[0.04, 0.0], [0.0, 0.04]], Bounds(("KO", "PEP"), (1.0, 1.0)))
    rng, days, killed, broken = random.Random(a.seed), last_sessions(a.last, a.kills + SPARE), 0, 0
    cash = [f"--account={account(i)}=1000000" for i in range(len(days))]
    gateway = subprocess.Popen([sys.executable, "-m", "otsport", "gateway", "--port", str(a.port), "--session", str(days[0]), "--clock", "heartbeat", *cash])
    journal = a.home / "gateway" / "simulated.jsonl"
    while not journal.exists():
        assert gateway.poll() is None, "the gateway ended before it served"
        time.sleep(0.05)
    length = 1.0
    try:
        for i, day in enumerate(days):
            if killed == a.kills:
                break
            size, start = journal.stat().st_size, time.monotonic()
            pid = fork(i, day, a.port, not a.no_outbox)
            if i % 2:
                killed += kill_after_first_order(pid, journal, size, rng.uniform(0, 0.02))
            elif wait(pid, rng.uniform(0, length)) is None:
                killed += kill(pid)
            pid = fork(i, day, a.port, not a.no_outbox)
            start = time.monotonic()
            status = wait(pid, 60)
            length = 0.8 * length + 0.2 * (time.monotonic() - start)
            if status != 0:
                broken += 1
                if status is None:
                    kill(pid)
    finally:
        gateway.terminate()
        gateway.wait()
    print(json.dumps({"killed": killed, "not_taken_up": broken} | verdict(journal, a.home)))


if __name__ == "__main__":
    main()
