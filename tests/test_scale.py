"""A session and the report of its day cost the same however many sessions lie before: rows read, steps of SQLite, prices of risk."""
import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from otsport.bench.jobs_scale import report_day, sections
from otsport.bench.long_book import FIRST_NEXT, PORTFOLIO, trading, write_book
from otsport.data.samples import history
from otsport.data.store import Store, open_store
from otsport.desk import book, day, report
from otsport.desk.day import day_facts, read_days

FEW, MANY = 5, 100  # bench/jobs_scale.py times a day after 1,000
STEPS = 10  # of SQLite's machine between two counts


@contextmanager
def counted_steps():
    """A list whose one number counts what SQLite does, in steps of its machine: searches that read many rows to give one are seen."""
    total = [0]

    def count() -> int:
        total[0] += STEPS
        return 0

    def watch(connection, _):
        connection.set_progress_handler(count, STEPS)

    event.listen(Engine, "connect", watch)
    try:
        yield total
    finally:
        event.remove(Engine, "connect", watch)


def session_costs(path: Path) -> dict:
    """The next session of a book: what it came to, rows read, steps of SQLite."""
    with trading(path) as desk, counted_steps() as steps:
        evening = desk.trade(FIRST_NEXT)
        return {"came_to": (evening.cash, evening.nav), "session_rows": desk.rows, "session_steps": steps[0]}


def report_costs(path: Path) -> dict:
    """The report of the newest day of a book: its sums, rows read, steps of SQLite."""
    with counted_steps() as steps:
        *came_to, rows = report_day(path, history())
        return {"came_to": came_to, "report_rows": rows, "report_steps": steps[0]}


@pytest.fixture(scope="module")
def books(tmp_path_factory) -> dict[int, Path]:
    """Books with few and with many earlier sessions, to be copied."""
    return {n: write_book(tmp_path_factory.mktemp(f"book{n}") / "otsport.db", n) for n in (FEW, MANY)}


def copied(books, n: int, folder: Path) -> Path:
    """A copy of a book in a folder of its own."""
    to = folder / f"{n}"
    to.mkdir(parents=True)
    for name in ("otsport.db", "audit.key", "audit.head"):
        (to / name).write_bytes((books[n].parent / name).read_bytes())
    (to / "audit.key").chmod(0o600)
    return to / "otsport.db"


@pytest.fixture(scope="module")
def traded(books, tmp_path_factory) -> tuple[dict[int, Path], tuple[dict, dict]]:
    """Both books with their next session, and what that cost."""
    folder = tmp_path_factory.mktemp("traded")
    paths = {n: copied(books, n, folder) for n in (FEW, MANY)}
    return paths, compared(session_costs, paths)


def compared(costs: Callable, paths: dict[int, Path]) -> tuple[dict, dict]:
    """Costs after few and after many sessions."""
    few, many = (costs(paths[n]) for n in (FEW, MANY))
    assert few["came_to"] == many["came_to"]  # the same day to the cent, else its cost would mean nothing
    return few, many


def session_growth(few: dict, many: dict) -> list[str]:
    """What costs more in a session after many."""
    found = []
    if many["session_rows"] != few["session_rows"]:
        found.append(f"{few['session_rows']} rows, then {many['session_rows']}")
    if many["session_steps"] > 1.01 * few["session_steps"]:
        found.append(f"{few['session_steps']} steps, then {many['session_steps']}")
    return found


def report_growth(few: dict, many: dict) -> list[str]:
    """What costs more in a report after many sessions; its NAV curve reads a row a session."""
    found = []
    if many["report_rows"] - few["report_rows"] != MANY - FEW:
        found.append(f"{few['report_rows']} rows, then {many['report_rows']}")
    if many["report_steps"] - few["report_steps"] > 12 * (MANY - FEW):
        found.append(f"{few['report_steps']} steps, then {many['report_steps']}")
    return found


def test_a_made_book_is_a_real_one(books):
    with open_store(books[MANY]) as store:
        assert store.verify() > 30 * MANY and store.counts(PORTFOLIO)["sessions"] == MANY
        assert len(store.positions(PORTFOLIO)) > MANY > len(store.positions(PORTFOLIO, open_only=True))


def test_a_session_costs_the_same_after_many(traded):
    few, many = traded[1]
    assert session_growth(few, many) == [] and few["session_rows"] > 100 and few["session_steps"] > 10_000, (few, many)


def test_a_report_costs_the_same_after_many(traded):
    few, many = compared(report_costs, traded[0])
    assert report_growth(few, many) == [] and few["report_rows"] > 50 and few["report_steps"] > 1_000, (few, many)


def reread_positions(monkeypatch):
    monkeypatch.setattr(book, "touched_positions", lambda store, portfolio, records: store.positions(portfolio))


def reread_audit(monkeypatch):
    monkeypatch.setattr(Store, "verify_day", lambda self, snapshot, before: self.verify())


def search_all(monkeypatch):
    halted = Store.halted
    monkeypatch.setattr(Store, "halted", lambda self, portfolio: str(self.counts(portfolio)["orders"] and "") or halted(self, portfolio))


def write_keys_again(monkeypatch):
    """An update that sets the key of an order to itself."""
    from otsport.data.writes import Statement, Statements

    def again(self, table, names, where):
        put = built(self, table, names, where)
        return Statement(put.text.replace(" SET ", " SET order_ref = order_ref, "), put.binds) if table.name == "orders" else put

    built = Statements.update
    monkeypatch.setattr(Statements, "update", again)


@pytest.mark.parametrize("mutant, word", [(reread_positions, "rows"), (search_all, "steps"), (write_keys_again, "steps")])
def test_session_that_reads_history_again_is_seen(books, tmp_path, monkeypatch, mutant, word):
    mutant(monkeypatch)
    found = session_growth(*compared(session_costs, {n: copied(books, n, tmp_path) for n in (FEW, MANY)}))
    assert any(word in text for text in found), found


def test_report_that_reads_history_again_is_seen(traded, monkeypatch):
    reread_audit(monkeypatch)
    found = report_growth(*compared(report_costs, traded[0]))
    assert any("rows" in text for text in found), found


def test_the_measured_report_is_that_of_the_paper():
    cells = json.loads((Path(__file__).parents[1] / "papers" / "20_trading_day.ipynb").read_text())["cells"]
    source = "".join("".join(c["source"]) + "\n" for c in cells)
    of_many = {"days_table", "sources_table"}  # shown for more sessions than one
    of_bounds = {"limits_table"}  # shown where the book has bounds on Greeks or losses
    used = {line.split("report.")[1].split("(")[0] for line in source.splitlines() if "report." in line and "(day" in line} - of_many - of_bounds
    assert used - {"vol_note", "check_day", "summary"} == {section.__name__ for section in sections(report)}


def test_risk_is_priced_for_the_day_that_shows_it(books, monkeypatch):
    priced, book_risk = [], day.book_risk
    monkeypatch.setattr(day, "book_risk", lambda snapshot, prices: priced.append(snapshot.session) or book_risk(snapshot, prices))
    with open_store(books[MANY]) as store:
        days = read_days(store, history(), PORTFOLIO, 30)
    assert priced == [] and day_facts(days).var_95 > 0
    assert priced == [days[-1].session] and days[-1].risk is days[-1].risk and len(priced) == 1
