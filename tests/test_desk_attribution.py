"""The desk's own book, attributed: to the cent, over assignments, as a paper run once, and with every refusal told."""
import json
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from otsport.app import kept_reports as kept
from otsport.app.attribution_paper import attribution_of, begin, finished_points, kept_beside, leave_report, sessions_of
from otsport.app.kept_reports import kept_reports
from otsport.bench.long_book import PORTFOLIO, write_book
from otsport.book.attribution import percent_text
from otsport.book.attribution_report import read_report, report_of
from otsport.core.books import PositionMark
from otsport.core.contracts import option, stock
from otsport.core.errors import CheckFailed, InputError, ParameterError
from otsport.data.samples import history
from otsport.data.store import open_store
from otsport.desk import book_attribution as module
from otsport.desk.book_attribution import book_attribution, book_table, explained_sessions, monthly_reports, session_rows
from otsport.desk.day import example_days, read_days
from run_support import otsport

ASKED = dict(run_date="last", portfolio=PORTFOLIO, span="all", benchmark="index", linking="carino", run_dir="")


@pytest.fixture(scope="module")
def days():
    return example_days(history(), date(2022, 12, 28), sessions=12)


@pytest.fixture(scope="module")
def found(days):
    return book_attribution(None, days)


def test_returns_are_those_of_the_books(found, days):
    growth = np.prod([float(d.snapshot.nav / (d.snapshot.nav - d.snapshot.day_pnl)) for d in days])
    assert np.prod(1 + found.table.portfolio) == pytest.approx(growth, rel=1e-13)
    assert found.table.benchmark.tolist() == pytest.approx([d.index_return for d in days], abs=1e-15)
    assert found.checks()["difference"].abs().max() < 1e-8 and abs(found.by_sector.residual) < 1e-12 and abs(found.tree.residual) < 1e-12


def test_every_session_is_its_rows_to_the_cent(days):
    before = None
    for day in days:
        rows = session_rows(before, day)
        assert rows["held"].sum() + rows["trading"].sum() == pytest.approx(float(day.snapshot.day_pnl), abs=1e-6)
        before = day.snapshot
    sessions, contracts = explained_sessions(None, days)
    assert sessions["pnl"].tolist() == pytest.approx([float(d.snapshot.day_pnl) for d in days], abs=1e-6)
    assert sessions.drop(columns="pnl").sum(axis=1).to_numpy() == pytest.approx(sessions["pnl"].to_numpy(), abs=1e-6)
    assert contracts.sum().to_numpy() == pytest.approx(sessions.sum().to_numpy(), abs=1e-6)
    assert sessions["residual"].abs().max() < 0.01 * sessions["pnl"].abs().max()


def assigned_day(days, close: float):
    """The second day with one short call that was assigned on it at 100: the option is gone, 100 shares were delivered."""
    call, shares = option("KO", days[1].session, Decimal(60), "C"), stock("KO")
    mark = lambda contract, qty, price, day, value: PositionMark(contract, Decimal(qty), Decimal(1), Decimal(str(price)), Decimal(str(value)), Decimal(0), Decimal(str(day)), "Consumer Staples", "s")
    spot = float(days[0].prices.close("KO", days[0].session, pd.Timestamp(days[1].snapshot.ts).to_pydatetime()))
    before = replace(days[0].snapshot, positions=(mark(call, -1, 3.0, 0, -300), mark(shares, 100, spot, 0, 100 * spot)))
    last = float(days[1].prices.close("KO", days[1].session, days[1].snapshot.ts))
    gone = [mark(call, 0, 0, 300, 0), mark(shares, 0, 0, 100 * (60 - spot), 0)]  # the call is gone for nothing, the shares left at 60
    now = replace(days[1].snapshot, positions=tuple(gone), day_pnl=sum(p.day_pnl for p in gone))
    return before, replace(days[1], snapshot=now), spot, last


def test_assignment_is_no_trade(days):
    """Option held to its exercise value, shares to the close: what was delivered at the strike moves between the two and is no trading."""
    before, day, spot, last = assigned_day(days, 0)
    rows = session_rows(before, day)
    assert last > 60 and rows["trading"].tolist() == pytest.approx([0.0, 0.0], abs=0.02)
    assert rows["held"].tolist() == pytest.approx([-100 * (last - 60) + 300, 100 * (last - spot)], abs=0.02)


def test_wrong_day_is_told(days):
    wrong = replace(days[5], snapshot=replace(days[5].snapshot, day_pnl=days[5].snapshot.day_pnl + 1))
    with pytest.raises(CheckFailed, match="the rows come to -1.00 dollars beside the P&L"):
        session_rows(days[4].snapshot, wrong)


def test_a_span_begins_with_the_snapshot_before(found, days):
    later = book_attribution(days[3].snapshot, days[4:])
    assert later.table.portfolio.tolist() == pytest.approx(found.table.portfolio.iloc[4:].tolist(), abs=1e-15)
    without = book_table(None, days[4:])
    assert without.held[0].sum() == 0 and without.portfolio.iloc[0] == pytest.approx(found.table.portfolio.iloc[4], abs=1e-15)  # all of it trading, and the same return


def test_months_and_benchmarks(found, days):
    assert list(monthly_reports(found)) == ["2022-12"] and monthly_reports(found)["2022-12"].excess == pytest.approx(found.by_sector.excess, abs=1e-12)
    universe = book_attribution(None, days, "universe")
    assert "universe" not in universe.by_sector.segments().index and "universe" in found.by_sector.segments().index
    with pytest.raises(InputError, match="benchmark is 'gold'"):
        book_table(None, days, "gold")
    with pytest.raises(InputError, match="no finished session"):
        book_table(None, [])


def test_checks_catch_a_changed_effect(days, monkeypatch):
    """Negative control: were the P&L by Greek a dollar off, nothing would be shown."""
    honest = module.explained_sessions
    monkeypatch.setattr(module, "explained_sessions", lambda *a: (honest(*a)[0].assign(pnl=lambda f: f["pnl"] + 1.0), honest(*a)[1]))
    with pytest.raises(CheckFailed, match="the attribution differs from the books.*P&L by Greek"):
        book_attribution(None, days)


# ---- as a paper

@pytest.fixture(scope="module")
def book_home(tmp_path_factory):
    """A state folder with a book of eight sessions."""
    folder = tmp_path_factory.mktemp("attributed")
    write_book(folder / "otsport.db", 8)
    return folder


def test_run_reads_the_book_and_leaves_a_report(book_home, monkeypatch):
    monkeypatch.setenv("OTSPORT_HOME", str(book_home))
    run = begin(**ASKED)
    found = attribution_of(run)
    with open_store(read_only=True) as store:
        points = store.nav_series(PORTFOLIO)
        days = read_days(store, history(), PORTFOLIO, 8)
    assert run.params.run_date == points[-1].session and len(found.days) == 8
    assert found.pnl == pytest.approx(sum(float(p.day_pnl) for p in points), abs=1e-6) == pytest.approx(sum(float(d.snapshot.day_pnl) for d in days), abs=1e-6)
    summary = leave_report(run, found)
    stored = {name: read_report(x) for name, x in json.loads((run.folder / "attribution.json").read_text()).items()}
    assert stored["sector"].excess == pytest.approx(found.by_sector.excess, abs=1e-15) and dict(summary["rows"])["report"] == "attribution.json"
    last = begin(**ASKED | {"run_date": str(points[5].session), "span": "month"})
    assert [d.session for d in attribution_of(last).days] == [p.session for p in points[:6] if p.session.month == points[5].session.month]


def test_a_report_is_kept_once_and_a_corrected_book_is_told(book_home, tmp_path, monkeypatch):
    monkeypatch.setenv("OTSPORT_HOME", str(book_home))
    ends = [str(finished_points(PORTFOLIO)[i].session) for i in (4, -1)]
    runs = [begin(**ASKED | {"run_date": end}) for end in ends]
    found = [attribution_of(run) for run in runs]
    monkeypatch.setattr(kept, "home", lambda: tmp_path)
    for run, a in zip(runs, found):
        shown = kept_beside(run, a).html
    assert kept_beside(*(runs[1], found[1])).html == shown and len(list((tmp_path / "reports" / "attribution").glob("*"))) == 2
    assert [x.periods[-1] for x in kept_reports(f"{PORTFOLIO} ").values()] == ends
    low, high = (percent_text(f(x["selection"] for k, x in report_of(found[1].by_sector).spread.items() if k != "width")) for f in (min, max))
    assert f"{percent_text(found[1].by_sector.effects['selection'])} ({low} to {high})" in shown
    assert ends[-1] not in kept_beside(runs[0], found[0]).html  # what came later is not beside it
    t = found[1].table
    corrected = replace(found[1], table=replace(t, trading=t.trading + np.eye(1, t.trading.size, 3).reshape(t.trading.shape) * 0.002))
    told = kept_beside(runs[1], corrected).html
    assert "The book says something else of this span" in told and "trading changed by +0.2" in told
    assert len(list((tmp_path / "reports" / "attribution").glob("*"))) == 3 and "changed by" not in kept_beside(runs[1], corrected).html


@pytest.mark.parametrize("given, error, words", [
    ({"run_date": "2022-12-25"}, InputError, "2022-12-25 is no finished session of the book: they run from"),
    ({"span": "week"}, ParameterError, "span"),
    ({"linking": "log"}, ParameterError, "linking"),
    ({"portfolio": "other"}, ParameterError, "portfolio other has no finished session"),
])
def test_what_cannot_be_is_told(book_home, monkeypatch, given, error, words):
    monkeypatch.setenv("OTSPORT_HOME", str(book_home))
    with pytest.raises(error, match=words):
        attribution_of(begin(**ASKED | given))


def test_sessions_of_a_span():
    class Point:
        def __init__(self, session):
            self.session = session
    points = [Point(d.date()) for d in pd.bdate_range("2022-08-01", "2022-12-28")]
    last = date(2022, 12, 28)
    assert [sessions_of(points, last, s)[0] for s in ("month", "quarter", "year", "all")] == [date(2022, 12, 1), date(2022, 10, 3), date(2022, 8, 1), date(2022, 8, 1)]


def test_paper_runs_once(book_home):
    done = otsport(book_home, "run", "attribution", "-p", "span=all")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (p for p in (book_home / "runs" / "attribution").iterdir() if p.is_dir() and p.name != "lab")
    page = (folder / "report.html").read_text()
    assert "Attribution of main" in done.stdout and "What earned it" in page and "Attribution and books" in page and page.count("<picture>") == 5 and "Kept reports, the newest last" in page
    assert len(list((book_home / "reports" / "attribution").glob("*.json"))) == 1
    assert json.loads((folder / "status.json").read_text())["status"] == "done" and (folder / "attribution.json").exists()
    again = otsport(book_home, "run", "attribution", "-p", "span=all")
    assert again.returncode == 0 and "finished before; nothing was done again" in again.stdout
