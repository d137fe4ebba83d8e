"""How many fills a second the store keeps: fill, legs, balances, position version and audit row, each commit on the disk before it returns.

Each commit waits for the disk once, so fills one by one are bounded by it: the limit `flushes of this disk` says how many of them it could do.
The error is the difference of the cash, in dollars.
"""
import atexit
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path

from otsport.bench.harness import Job

COUNT, BATCH = 500, 50
TS, PRICE = datetime(2022, 12, 28, 15, 30, tzinfo=UTC), Decimal("62.61")


@cache
def folder() -> tempfile.TemporaryDirectory:
    """Where the stores of this process lie; gone with it."""
    return tempfile.TemporaryDirectory(prefix="otsport-bench-", dir=Path.home())


class Kept:
    """A store that takes the fills of one order, one share each."""

    def __init__(self, path: Path):
        from otsport.core.books import Booking, Leg, Transaction, TransactionKind
        from otsport.core.contracts import stock
        from otsport.core.orders import Order, OrderType, Side
        from otsport.data.store import open_store

        self.store, self.done, self.position = open_store(path), 0, None
        self.order = Order("20221228-main-001", "DU1", "main", stock("KO"), Side.BUY, Decimal(10**9), OrderType.LIMIT, PRICE)
        cash = Decimal(10**9)
        opening = Transaction(TransactionKind.DEPOSIT, "opening", TS, "DU1", "main", (Leg("cash", cash), Leg("capital", -cash)))
        with self.store.unit(TS) as unit:
            unit.add_portfolio("main", "DU1")
            unit.book(Booking(opening))
            unit.add_order(self.order, date(2022, 12, 28))

    def bookings(self, count: int) -> list[tuple]:
        """The next fills with their bookings."""
        from otsport.core.books import Booking, Leg, Lot, Position, Transaction, TransactionKind
        from otsport.core.orders import Fill

        o, made = self.order, []
        for _ in range(count):
            self.done += 1
            fill = Fill(f"e{self.done}", o.order_ref, o.account, o.contract, o.side, Decimal(1), PRICE, TS, 100001)
            legs = (Leg("cash", -PRICE), Leg(f"position:{o.contract}", PRICE))
            moved = Transaction(TransactionKind.BUY, fill.exec_id, TS, "DU1", "main", legs, o.contract, Decimal(1), PRICE)
            lots = (Lot(Decimal(self.done), PRICE, TS),)
            after = replace(self.position, lots=lots) if self.position else Position("DU1", "main", o.contract, lots)
            made.append((Booking(moved, self.position, after), fill))
            self.position = after
        return made

    def keep(self, count: int, batch: int) -> float:
        """Keep so many fills in commits of `batch`; seconds, without those that made the records."""
        made, begun = self.bookings(count), time.perf_counter()
        for n in range(0, count, batch):
            with self.store.unit(TS) as unit:
                for booking, fill in made[n : n + batch]:
                    unit.book(booking, fill=fill)
        return time.perf_counter() - begun

    def lacking(self) -> float:
        """Dollars by which the cash is off."""
        return float(Decimal(10**9) - PRICE * self.done - self.store.cash("main"))


def server_store() -> Kept | None:
    """A store on the PostgreSQL server of this machine, in a database that goes with this process; None where none answers."""
    import psycopg

    from otsport.data.postgres import server_url, write_url

    name = f"otsport_bench_{os.getpid()}"
    try:
        with psycopg.connect(dbname="postgres", autocommit=True, connect_timeout=3) as db:
            db.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    except psycopg.OperationalError:
        return None
    place = Path(folder().name) / "server" / "otsport.db"
    place.parent.mkdir(mode=0o700)
    write_url(place, server_url(f"postgresql:///{name}"))
    kept = Kept(place)

    def drop() -> None:
        kept.store.close()
        with psycopg.connect(dbname="postgres", autocommit=True) as db:
            db.execute(f"DROP DATABASE {name} WITH (FORCE)")

    atexit.register(drop)
    return kept


def flushes() -> float:
    """How many times a second this disk writes a page and has it."""
    with open(Path(folder().name) / "page", "wb", buffering=0) as file:
        begun = time.perf_counter()
        for _ in range(100):
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
    return 100 / (time.perf_counter() - begun)


def fill_record() -> Job:
    """Fills kept in SQLite, each a commit with its legs, balances, position and audit row; in batches, and on PostgreSQL."""
    one, many, server = Kept(Path(folder().name) / "one" / "otsport.db"), Kept(Path(folder().name) / "many" / "otsport.db"), server_store()

    def rate(kept: Kept, count: int, batch: int) -> Callable[[], tuple[float, float]]:
        return lambda: (1 / wanted[(kept is server, batch)], kept.keep(count, batch) / count)

    wanted = {(False, 1): 2_500.0, (False, BATCH): 20_000.0, (True, 1): 800.0}
    limits = {"2,500 fills a second": rate(one, COUNT, 1), "20,000 a second in batches of 50": rate(many, 4 * COUNT, BATCH)}
    limits |= {"800 a second on PostgreSQL": rate(server, COUNT, 1)} if server else {}
    limits["2,500 flushes of this disk"] = lambda: (1 / 2_500.0, 1 / flushes())

    def ours() -> Kept:
        one.keep(COUNT, 1)
        return one

    return Job("fill_record", f"{COUNT} fills", ours, {}, lambda kept, _: abs(kept.lacking()), 0.0, reference=lambda: None, limits=limits)


JOBS = (fill_record,)
