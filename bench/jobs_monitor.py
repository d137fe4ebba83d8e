"""What a second of the monitor costs: a hundred portfolios, and a stream of ticks.

Errors: the largest difference of a NAV from the plain sum of cash and positions, over the NAV.
"""
import time
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np

from otsport.bench.harness import Job

START = datetime(2022, 12, 28, 15, tzinfo=timezone.utc)
BUDGET_SHARE, SECONDS = 0.10, 30  # of a core, and how many seconds are taken for the mean


@dataclass
class MemoryBooks:
    """Books without a store: what `desk.monitor.Books` gives, made once."""
    books: dict
    sectors: dict
    broken: dict = field(default_factory=dict)
    fresh: bool = True

    @property
    def store(self):
        return self

    def nav_series(self, portfolio):
        return []

    def refresh(self, at):
        was, self.fresh = self.fresh, False
        return tuple(self.books) if was else ()


def memory_books(portfolios: int, positions: int, seed: int = 5) -> MemoryBooks:
    """Portfolios of shares and, one in three, options on the bundled stocks."""
    from otsport.analytics.live import Extremes
    from otsport.core.books import Lot, Position, Snapshot
    from otsport.core.calendars import previous_session, session_close
    from otsport.core.contracts import option, stock
    from otsport.data.samples import history
    from otsport.desk.watched_books import Holdings, WatchedBook

    prices, rng = history(), np.random.default_rng(seed)
    closes = prices.closes(START, sessions=1).iloc[-1]
    day, zero = previous_session(START.date()), Decimal(0)
    expiries = (date(2023, 1, 20), date(2023, 2, 17), date(2023, 3, 17))
    listed = [option(s, e, Decimal(round(float(closes[s]) * m)), right) for s in closes.index for e in expiries for m in (0.9, 0.95, 1.0, 1.05, 1.1) for right in "CP"]
    listed = list({c.key: c for c in listed}.values())
    books = {}
    for p in range(portfolios):
        name, shares = f"p{p:03}", list(closes.index)
        chosen = [stock(s) for s in shares[: max(1, positions // 5)]] + [listed[i] for i in rng.choice(len(listed), positions - len(shares[: max(1, positions // 5)]), replace=False)]
        held = tuple(Position("DU1", name, c, (Lot(Decimal(int(rng.integers(1, 50)) * (1 if i % 4 else -1)), Decimal("10"), START - timedelta(days=3)),),
                              strategy=("momentum", "covered_call", "hand")[i % 3]) for i, c in enumerate(chosen))
        base = Snapshot("DU1", name, day, session_close(day), Decimal(10_000_000), Decimal(10_000_000), (), *[zero] * 4)
        moved = {x.contract.key: zero for x in held}
        books[name] = WatchedBook(Holdings(name, "DU1", START.date(), Decimal(10_000_000), held, base, moved, zero), prices.sectors, Extremes())
    return MemoryBooks(books, prices.sectors)


class Desk:
    """A monitor of many portfolios, and prices that move each second."""

    def __init__(self, portfolios: int, positions: int):
        from otsport.data.samples import history
        from otsport.desk.monitor import Monitor, Second
        from otsport.core.contracts import Quote

        self.Second = Second
        self.monitor = Monitor(memory_books(portfolios, positions), history())
        self.second, self.rng = 0, np.random.default_rng(6)
        self.monitor.step(Second(START, 0.0))
        board = self.monitor.board
        closes = history().closes(START, sessions=1).iloc[-1]
        spot = np.array([float(closes[c.symbol]) for c in board.contracts])
        value = np.maximum(board.right * (spot - board.strike), 0.0) + 0.05 * spot
        last = np.where(board.right == 0, spot, np.nan)
        self.start = np.column_stack([np.where(board.right == 0, spot - 0.01, value - 0.05).round(2), np.where(board.right == 0, spot + 0.01, value + 0.05).round(2), last, last])
        self.rows = np.arange(len(self.start))

    def step(self):
        """A second in which every price has moved."""
        self.second += 1
        prices = np.round(self.start * (1 + 1e-4 * self.rng.standard_normal((len(self.rows), 1))), 2)
        return self.monitor.step(self.Second(START + timedelta(seconds=self.second), float(self.second), ticks=(self.rows, prices)))

    def plain_navs(self) -> np.ndarray:
        """Cash and positions of every portfolio, one by one."""
        board, found = self.monitor.board, []
        for b in self.monitor.together.books:
            found.append(float(b.held.cash) + sum(float(p.qty) * p.contract.multiplier * board.mark[board.rows[p.contract.key]] for p in b.held.positions))
        return np.array(found)


def nav_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference over the NAV."""
    return float(np.max(np.abs(ours / theirs - 1)))


def core_share(step, seconds: int = SECONDS) -> float:
    """Share of one core that a step a second takes, by the processor's time."""
    step()
    begun = time.process_time()
    for _ in range(seconds):
        step()
    return (time.process_time() - begun) / seconds


def monitor_100() -> Job:
    """A second of 100 portfolios of 100 positions: marks, vols, Greeks, P&L by four groupings, drawdown, risk in turn, the compressed ring; every price has moved."""
    desk = Desk(100, 100)
    for _ in range(25):
        desk.step()  # every portfolio has had its first risk

    def ours():
        return desk.step().portfolios.values["nav"]

    return Job("monitor_100", "100 portfolios, 10,000 positions", ours, {}, nav_error, 1e-12, reference=desk.plain_navs, limits={
        "10 % of a core, each second": lambda: (BUDGET_SHARE, core_share(desk.step))})


TICKS_A_SECOND = 20_000


def monitor_ticks() -> Job:
    """A second of 5 portfolios of 200 positions with 20,000 ticks of it conflated: pushed one by one, drained, valued."""
    from otsport.data.ticks import TickBuffer
    from otsport.desk.price_board import FIELDS

    desk = Desk(5, 200)
    board, rng = desk.monitor.board, np.random.default_rng(7)
    keys = [c.key for c in board.contracts]
    buffer = TickBuffer(keys, FIELDS, 65_536)
    for i, key in enumerate(keys):
        for j, name in enumerate(FIELDS):
            buffer.push(key, name, float(desk.start[i, j]))
    chosen = [(keys[i], FIELDS[j], float(desk.start[i, j])) for i, j in zip(rng.integers(0, len(keys), TICKS_A_SECOND), rng.integers(0, 2, TICKS_A_SECOND))]

    def ours():
        push = buffer.push
        for key, name, value in chosen:
            push(key, name, value)
        changed = np.array([board.rows[key] for key in buffer.drain()], dtype=np.int64)
        desk.second += 1
        return desk.monitor.step(desk.Second(START + timedelta(seconds=desk.second), float(desk.second), ticks=(changed, buffer.latest[changed]))).portfolios.values["nav"]

    return Job("monitor_ticks", f"{TICKS_A_SECOND:,} ticks, 1,000 positions", ours, {}, nav_error, 1e-12, reference=desk.plain_navs, limits={
        "10 % of a core, each second": lambda: (BUDGET_SHARE, core_share(ours))})


JOBS = (monitor_100, monitor_ticks)
