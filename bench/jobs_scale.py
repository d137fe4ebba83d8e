"""What a trading day costs after 1,000 earlier sessions, beside the same day after one.

Both books hold the same units and the same cash to the cent, so that they trade the same day: their orders, NAV and cash are compared
first, the error is the largest difference in dollars. The times as fast are those of the day after one session over the day after many.
"""
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from otsport.bench.harness import Job

EARLIER, LEAST = 1000, 0.9  # earlier sessions; a day after them takes 1.1 times as long at most


@cache
def folder() -> tempfile.TemporaryDirectory:
    """Where the books of this process lie; gone with it."""
    return tempfile.TemporaryDirectory(prefix="otsport-bench-")


@cache
def written(sessions: int) -> Path:
    """A book with so many earlier sessions, written once."""
    from otsport.bench.long_book import write_book

    return write_book(Path(folder().name) / f"{sessions}" / "otsport.db", sessions).parent


@cache
def traded(sessions: int, name: str):
    """A copy of such a book that trades on."""
    from otsport.bench.long_book import Trading

    return Trading(Path(shutil.copytree(written(sessions), Path(folder().name) / f"{name}-{sessions}")) / "otsport.db")


def next_days(sessions: int) -> Callable[[], tuple]:
    """Trade the next session at each call; cash, NAV, P&L and units of its evening."""
    from otsport.bench.long_book import FIRST_NEXT
    from otsport.core.calendars import sessions_between

    book = traded(sessions, "session")
    days = iter(sessions_between(FIRST_NEXT, book.prices.last))

    def trade() -> tuple:
        snapshot = book.trade(next(days))
        return snapshot.cash, snapshot.nav, snapshot.day_pnl, {p.contract.key: p.qty for p in snapshot.positions}

    return trade


def dollars_apart(ours: tuple, theirs: tuple) -> float:
    """The largest difference of the sums of two days; infinite where they hold other units."""
    *sums, units = zip(ours, theirs, strict=True)
    return max(float(abs(a - b)) for a, b in sums) if units[0] == units[1] else float("inf")


def sections(report) -> tuple:
    """The tables and figures of the report of one day."""
    return (
        report.headline, report.nav_chart, report.drawdown_chart, report.measures_table, report.months_table,
        report.plan_table, report.budgets_table, report.rules_table, report.calls_table, report.orders_table, report.fills_table, report.slippage_chart,
        report.positions_table, report.expiries_table, report.pnl_chart, report.weights_chart, report.exposure_chart,
        report.greeks_table, report.risk_chart, report.risk_table,
    )  # fmt: skip


def report_day(path: Path, prices) -> tuple:
    """The report of the newest day, every table and figure of the paper; its sums, and how many rows were read."""
    from otsport.bench.long_book import PORTFOLIO
    from otsport.data.store import open_store
    from otsport.desk import report
    from otsport.desk.day import read_days

    with open_store(path) as store:
        days = read_days(store, prices, PORTFOLIO, 1)
        day = days[-1]
        for section in sections(report):
            if (shown := section(day)) is not None:  # a book without budgets has no table of them
                shown._repr_html_()
        report.vol_note(day, prices)
        report.check_day(day, store)
        numbers = report.summary(days)["numbers"]
        s = day.snapshot
        return s.cash, s.nav, s.day_pnl, numbers["var_95"], {p.contract.key: p.qty for p in s.positions}, store.rows_read


def session_after_many() -> Job:
    """A trading session on bundled prices, from opening the store to its snapshot, after 1,000 earlier sessions and after 1."""
    many, one = traded(EARLIER, "session"), traded(1, "session")
    limit = {"the rows read after 1 session": lambda: (one.rows, many.rows)}
    return Job("session_after_many", f"{EARLIER:,} earlier sessions", next_days(EARLIER), {"after 1 session": next_days(1)},
               dollars_apart, 0.0, {"after 1 session": LEAST}, limits=limit)


def report_after_many() -> Job:
    """The report of a day, all tables, figures and checks, after 1,000 earlier sessions, after 20 and after 1; the NAV curve reads a row a session."""
    from otsport.bench.long_book import FIRST_NEXT

    books, rows = {n: traded(n, "report") for n in (EARLIER, 20, 1)}, {}
    for n, book in books.items():
        book.trade(FIRST_NEXT)
        rows[n] = report_day(book.path, book.prices)[-1]

    def told(n: int) -> Callable[[], tuple]:
        return lambda: report_day(books[n].path, books[n].prices)[:-1]

    few = {"after 20 sessions": told(20), "after 1 session, whose curve has no calendar yet": told(1)}
    limit = {"the rows read after 1 session, and one for each session more": lambda: (rows[1] + EARLIER - 1, rows[EARLIER])}
    return Job("report_after_many", f"{EARLIER:,} earlier sessions", told(EARLIER), few, dollars_apart, 0.0, dict.fromkeys(few, LEAST), limits=limit)


JOBS = (session_after_many, report_after_many)
