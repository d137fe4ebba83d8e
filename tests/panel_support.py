"""The example days, and the example book in a real store, for tests of panels."""
import re
from dataclasses import replace
from functools import cache

import pytest

from otsport.desk.day import example_days
from otsport.book.example import ACCOUNT, PORTFOLIO, example_book
from otsport.core.calendars import session_close, session_open
from otsport.core.books import TransactionKind
from otsport.core.settings import settings
from otsport.app.folder import new_folder, read_folder
from otsport.data.plain import plain
from otsport.data.prices import read_prices
from otsport.data.samples import history, sample
from otsport.data.shelf import keep
from otsport.data.store import open_store
from otsport.desk.lab import Place, ReadBook

PRICES = history()
TRADES = (TransactionKind.BUY, TransactionKind.SELL)


@cache
def example() -> tuple:
    """Eleven days of the example book, made once a process."""
    return tuple(example_days(PRICES, PRICES.last, 11))


@pytest.fixture(scope="module")
def days():
    """The example days, oldest first."""
    return example()


@pytest.fixture(scope="module")
def day():
    """The newest of them."""
    return example()[-1]


def shown(html: str, between: str = "") -> str:
    """The text of a piece of HTML, with something in place of each tag."""
    return re.sub(r"<[^>]*>", between, html)


def read_book(folder, begun=True, **rules) -> ReadBook:
    """The example book in a store of its own, or (not begun) the name of one; `rules` as `settings` takes them."""
    if begun:
        with open_store(folder / "otsport.db") as store:
            fill_store(store)
    return ReadBook(Place(PORTFOLIO, ACCOUNT, settings(**rules), lambda: PRICES, path=folder / "otsport.db"))


OWN = 1.5  # the folder's own prices, of those of the sample


def own_folder(path, sessions=3):
    """A desk folder with prices of its own (those of the sample times 1.5), and the example book at these prices in its state."""
    new_folder(path)
    closes = (sample("sp500_20_daily").loc["2019":"2022-12-28"] * OWN).round(2)
    keep(read_prices(closes, name="mine", adjusted="all"), path)
    text = (path / "book.yaml").read_text()
    (path / "book.yaml").write_text(text.replace("prices: sample", "prices: prices/mine.parquet"))
    (path / "state").mkdir(mode=0o700)
    with open_store(path / "state" / "otsport.db") as store:
        fill_store(store, sessions, read_folder(path).history)
    return path


def fill_store(store, sessions=3, prices=None):
    """Write the example book into an empty store, a unit for plan and orders and one for the close of each session."""
    prices = prices or PRICES
    book = example_book(prices, prices.last, sessions)
    fills = {f.exec_id: f for f in book.fills}
    for day in example_days(prices, prices.last, sessions):
        with store.unit(session_open(day.session)) as unit:
            if day.session == book.snapshots[0].session:
                unit.add_portfolio(PORTFOLIO, ACCOUNT)
            unit.add_plan(PORTFOLIO, day.session, plain(day.plan))
            for record in day.orders:
                unit.add_order(record.order, day.session)
        with store.unit(session_close(day.session)) as unit:
            for booking in book.bookings:
                entry = booking.transaction
                if session_open(day.session) <= entry.ts <= session_close(day.session):
                    fill = fills[entry.ref] if entry.kind in TRADES else None
                    commission = book.commissions[entry.ref] if entry.kind is TransactionKind.COMMISSION else None
                    unit.book(booking, fill, commission)
            for record in day.orders:
                unit.set_order_state(replace(record, version=store.order(record.order.order_ref).version))
            unit.add_snapshot(day.snapshot)
    return book
