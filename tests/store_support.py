"""A store in a folder of a test's own, an outsider who tampers with it, and a day that gives every table a row."""
import atexit
import os
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import pytest

from otsport.core.books import Booking, Leg, Lot, Position, PositionMark, Snapshot, Transaction, TransactionKind
from otsport.core.contracts import Contract, option
from otsport.core.orders import Commission, Fill, Order, OrderState, OrderType, Side
from otsport.data.postgres import PostgresServer, server_url, write_url
from otsport.data.store import Store, open_store

TS = datetime(2022, 12, 28, 15, 30, tzinfo=timezone.utc)
DAY = date(2022, 12, 28)
KO = Contract("KO", con_id=8894)
CALL = replace(option("AAPL", date(2023, 1, 20), Decimal("135.0"), "C", multiplier=10), con_id=77)
D = Decimal


@dataclass
class Place:
    "Where a store lives, with the means to open it again and to tamper with it from outside."
    path: Path

    def open(self, **options) -> Store:
        return open_store(self.path, **options)

    def sql(self, *statements: str) -> list:
        "Statements run past otsport, as an intruder or an SQL tool would."
        db = sqlite3.connect(self.path)
        rows = [db.execute(s).fetchall() for s in statements]
        db.commit()
        db.close()
        return rows[-1]

    @property
    def head(self) -> Path:
        return self.path.with_name("audit.head")

    @property
    def key(self) -> Path:
        return self.path.with_name("audit.key")

@cache
def empty_database() -> Path:
    "A database with all its tables and no row, made once."
    path = Path(mkdtemp()) / "otsport.db"
    open_store(path).close()
    return path


def fresh_place(folder: Path) -> Place:
    "A store that was just made."
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_database(), folder / "otsport.db")
    (folder / "otsport.db").chmod(0o600)
    return Place(folder / "otsport.db")


def order(n=1, contract=KO, side=Side.BUY, qty=100, limit="62.70") -> Order:
    return Order(f"20221228-main-{n:03d}", "DU1", "main", contract, side, D(qty), OrderType.LIMIT, D(limit), strategy="momentum", reason="rank 1")


def fill_of(o: Order, exec_id="e1", price="62.61") -> Fill:
    return Fill(exec_id, o.order_ref, o.account, o.contract, o.side, o.qty, D(price), TS, 100001)


def deposit(ref="opening", amount="1000000.00", portfolio="main", account="DU1") -> Booking:
    return Booking(Transaction(TransactionKind.DEPOSIT, ref, TS, account, portfolio, (Leg("cash", D(amount)), Leg("capital", -D(amount)))))


def bought(fill: Fill, before: Position | None = None) -> Booking:
    legs = (Leg("cash", fill.cash), Leg(f"position:{fill.contract}", -fill.cash))
    kind = TransactionKind.BUY if fill.side is Side.BUY else TransactionKind.SELL
    moved = Transaction(kind, fill.exec_id, fill.ts, fill.account, "main", legs, fill.contract, fill.signed_qty, fill.price)
    lots = (before.lots if before else ()) + (Lot(fill.signed_qty, fill.price, fill.ts),)
    after = replace(before, lots=lots) if before else Position(fill.account, "main", fill.contract, lots, strategy="momentum")
    return Booking(moved, before, after)


def charged(fill: Fill, before: Position, amount="1.00") -> Booking:
    moved = Transaction(TransactionKind.COMMISSION, fill.exec_id, TS, "DU1", "main", (Leg("cash", -D(amount)), Leg("commissions", D(amount))))
    return Booking(moved, before, replace(before, commission=before.commission + D(amount)))


def snapshot(day=DAY, nav="1000010.00") -> Snapshot:
    mark = PositionMark(KO, D(100), D("62.61"), D("62.71"), D("6271.00"), D("10.00"), D("9.00"), "Consumer Staples", "momentum")
    ts = datetime(day.year, day.month, day.day, 21, tzinfo=timezone.utc)
    return Snapshot("DU1", "main", day, ts, D("993738.00"), D(nav), (mark,), D("9.00"), D("10.00"), D(0), D("1.00"))


def a_day(store: Store) -> None:
    "Two orders, one filled with its commission, and the snapshot: every table gets a row."
    with store.unit(TS) as unit:
        unit.add_portfolio("main", "DU1")
        unit.book(deposit())
        unit.add_plan("main", DAY, {"targets": {"KO": 0.02}, "vol": float("nan")})
        added = unit.add_order(order(1), DAY)
        unit.add_order(order(2, CALL, Side.SELL, 1, "1.20"), DAY)
    fill = fill_of(order(1))
    with store.unit(TS) as unit:
        unit.set_order_state(replace(added, state=OrderState.FILLED, filled_qty=fill.qty, perm_id=fill.perm_id, message="all of it"))
        unit.book(bought(fill), fill=fill)
        unit.book(charged(fill, bought(fill).after), commission=Commission(fill.exec_id, D("1.00")))
    with store.unit(TS) as unit:
        unit.add_snapshot(snapshot())
        unit.note("remark", "main", {"by": "trader"})


ROWS_OF_A_DAY = 10


# ---------------------------------------------------------------- the same on a server

DATABASES = ["sqlite", "postgresql"]


@dataclass
class ServerPlace(Place):
    "A store whose database is on the PostgreSQL server of this machine."
    database: str = ""

    def sql(self, *statements: str) -> list:
        with server(self.database) as db:
            done = [db.execute(s) for s in statements]
            return done[-1].fetchall() if done[-1].description else []


def server(database: str = "postgres"):
    "A connection to the server past otsport, each statement a transaction; a machine without a server skips, but not in CI."
    import psycopg

    try:
        return psycopg.connect(dbname=database, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no PostgreSQL server answers here: {error}")


_number = count(1)


def empty_server_database(template: str | None = None) -> str:
    "The name of a new database."
    name = f"otsport_test_{os.getpid()}_{next(_number)}"
    with server() as db:
        db.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
    return name


@cache
def prepared_server_database() -> str:
    "A database with all tables and no row, made once in a process."
    name = empty_server_database()
    atexit.register(drop_database, name)
    database = PostgresServer(server_url(f"postgresql:///{name}"), Path(mkdtemp()) / "otsport.db")
    database.prepare()
    database.engine.dispose()
    return name


def drop_database(name: str) -> None:
    "Remove a database, whoever is still connected."
    with server() as db:
        db.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def server_place(folder: Path, prepared: bool = True):
    "A store on the server that was just made, or of which nothing is made yet; its database goes at the end."
    folder.mkdir(parents=True, exist_ok=True)
    name = empty_server_database(prepared_server_database() if prepared else None)
    try:
        write_url(folder / "otsport.db", server_url(f"postgresql:///{name}"))
        yield ServerPlace(folder / "otsport.db", name)
    finally:
        drop_database(name)


@contextmanager
def place_on(kind: str, folder: Path):
    "A store that was just made, in a file or on a server."
    if kind == "sqlite":
        yield fresh_place(folder)
        return
    with server_place(folder) as place:
        yield place
