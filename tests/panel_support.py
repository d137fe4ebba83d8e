"""The example book in a real store, for tests of panels."""
from dataclasses import replace

from otsport.desk.day import example_days
from otsport.book.example import ACCOUNT, PORTFOLIO, example_book
from otsport.core.calendars import session_close, session_open
from otsport.core.books import TransactionKind
from otsport.data.plain import plain
from otsport.data.samples import history

TRADES = (TransactionKind.BUY, TransactionKind.SELL)


def fill_store(store, sessions=3):
    """Write the example book into an empty store, a unit for plan and orders and one for the close of each session."""
    prices = history()
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
