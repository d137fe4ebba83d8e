"""The whole `otsport run trading_day`: what it prints and leaves, that a second run does nothing, and the report as a trader reads it in a browser."""
import base64
import json
import re
import shutil
import sqlite3
from decimal import Decimal

import pytest

from browser import open_browser, page_faults
from otsport.data.samples import history
from otsport.data.store import open_store
from otsport.desk import report
from otsport.desk.day import read_day
from run_support import (
    contents, finished_runs, free_port, left_behind, listens, otsport, run_folder, status, tables, trading_day, verdict, FAULTLESS,
)

SECTIONS = ["A trading day", "The day at a glance", "Why these orders", "Orders and fills", "The book tonight", "What it may lose", "Checks"]
FIGURES = {  # what the report shows of one day, in this order
    "nav": report.nav_chart, "slippage": report.slippage_chart, "pnl": report.pnl_chart,
    "weights": lambda day: report.weights_chart(day, 0.35), "exposure": report.exposure_chart, "risk": report.risk_chart,
}
UNIT = re.compile(r"percent|dollars|\$|basis points|sessions|session \(close\)")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished trading day: its state folder, port and process."""
    home, port = tmp_path_factory.mktemp("day") / "home", free_port()
    done = trading_day(home, port)
    assert done.returncode == 0, done.stderr
    return home, port, done


@pytest.fixture(scope="module")
def day(finished):
    with open_store(finished[0] / "otsport.db") as store:
        return read_day(store, history(), "main")


def test_it_prints_what_a_trader_wants(finished, day):
    home, _, done = finished
    rows = dict(re.findall(r"^│ (\S.*?) +│ (.*?) +│$", done.stdout, re.MULTILINE))
    s = day.snapshot
    assert {"Date", "Account", "NAV", "Day P&L", "Since inception", "Orders", "Fills", "Refused", "Not filled", "VaR, one day"} - set(rows) == set()
    assert rows["Date"] == "Wednesday 2022-12-28" and rows["Account"] == "DU123456 (paper), portfolio main"
    assert rows["NAV"] == f"${s.nav:,.2f}; cash ${s.cash:,.2f}"
    assert rows["Day P&L"].startswith(f"-${-s.day_pnl:,.2f} (") and s.day_pnl < 0
    assert rows["Orders"].startswith(f"{len(day.orders)}: ") and f"{sum(r.filled_qty == r.order.qty for r in day.orders)} filled" in rows["Orders"]
    assert rows["Fills"] == f"{len(day.fills)}, commissions ${sum(day.commissions.values()):,.2f}"
    assert rows["Refused"] == "none" and day.refused() == []
    assert rows["VaR, one day"].startswith(f"95% ${day.risk.var_95:,.0f}, 99% ${day.risk.var_99:,.0f} (losses)")
    assert f"Report: {run_folder(home) / 'report.html'}" in done.stdout.splitlines()


def test_it_says_nothing_on_standard_error(finished):
    assert finished[2].stderr.strip() == ""


def test_run_folder_holds_notebook_report_and_status(finished, day):
    folder = run_folder(finished[0])
    assert sorted(contents(folder)) == ["out.ipynb", "report.html", "status.json"]
    found = status(folder)
    assert (found["status"], found["exit_code"], found["notebook"]) == ("done", 0, "20_trading_day.ipynb")
    assert found["started"] <= found["finished"] and found["parameters"]["port"] == finished[1]
    numbers = found["summary"]["numbers"]
    assert (Decimal(numbers["nav"]), numbers["orders"], numbers["fills"]) == (day.snapshot.nav, len(day.orders), len(day.fills))
    cells = json.loads((folder / "out.ipynb").read_text())["cells"]
    assert not any(out["output_type"] == "error" for c in cells for out in c.get("outputs", []))


def test_nothing_runs_on(finished):
    home, port, _ = finished
    assert left_behind(home) == [] and not listens(port)


def test_audit_chain_verifies(finished):
    done = otsport(finished[0], "db", "verify")
    rows = len(tables(finished[0])["audit"])
    assert done.returncode == 0 and done.stdout.startswith(f"audit chain verified: {rows} rows\n") and rows > 50
    assert "portfolio main of DU123456" in done.stdout and "numbers agree with its transactions" in done.stdout


def test_edited_row_does_not_verify(finished, tmp_path):
    copy = tmp_path / "home"
    shutil.copytree(finished[0], copy)
    with sqlite3.connect(copy / "otsport.db") as db:
        db.execute("update fills set price = '1.00' where rowid = 1")
    db.close()
    done = otsport(copy, "db", "verify")
    assert done.returncode == 23 and "AuditBroken: the table fills, row" in done.stderr and "price is 1.00" in done.stderr


def test_day_is_the_one_of_the_gateway(finished):
    assert verdict(finished[0]) == FAULTLESS


def test_rerun_of_a_finished_day_changes_nothing(finished):
    home, port, first = finished
    before = contents(home)
    again = trading_day(home, port)
    assert again.returncode == 0
    assert contents(home) == before
    said, *summary = again.stdout.splitlines()
    assert said == "This run was finished before; nothing was done again." and summary == first.stdout.splitlines()
    assert left_behind(home) == [] and not listens(port)


def test_another_request_for_the_finished_day_sends_nothing(finished, tmp_path):
    copy = tmp_path / "home"
    shutil.copytree(finished[0], copy)
    rows, journal = tables(copy), (copy / "gateway" / "simulated.jsonl").read_bytes()
    done = trading_day(copy, free_port())  # another port is another run, but the day is in the books
    assert done.returncode == 0 and len(finished_runs(copy)) == 2
    assert tables(copy) == rows and (copy / "gateway" / "simulated.jsonl").read_bytes() == journal
    assert left_behind(copy) == []


# The report in a browser

@pytest.fixture(scope="module")
def page(chromium):
    with open_browser(chromium) as opened:
        opened.asked = []
        opened.on("request", lambda request: opened.asked.append(request.url))
        yield opened


def opened(page, path, width=1280):
    """The page with a file in it and nothing of the one before."""
    page.set_viewport_size({"width": width, "height": 900})
    page.asked.clear()
    page.console_errors.clear()
    page.goto(f"file://{path}")
    page.wait_for_load_state("load")
    return page


def asked_outside(page) -> list[str]:
    """What the page wanted from anywhere but its own file."""
    return [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))]


def mutilated(path, tmp_path, old, new):
    """A copy of the report with one thing changed."""
    text = path.read_text()
    assert old in text
    copy = tmp_path / "bad.html"
    copy.write_text(text.replace(old, new, 1))
    return copy


@pytest.fixture
def html(finished):
    return run_folder(finished[0]) / "report.html"


@pytest.mark.parametrize("width", [1280, 1024, 390])
def test_nothing_is_cut_off_and_all_images_load(page, html, width):
    assert page_faults(opened(page, html, width)) == []
    assert page.console_errors == []


@pytest.mark.parametrize("old, new, words", [
    ("</body>", '<div style="width:3000px">wide</div></body>', "px wide, its window"),
    ('src="data:image/png;base64,iVBOR', 'src="data:image/png;base64,AAAAA', "did not load"),
    ("<table", '<div style="overflow:hidden;width:50px;white-space:nowrap">NAV and the rest of the line</div><table', "px of its width"),
])
def test_mutilated_report_is_caught(page, html, tmp_path, old, new, words):
    faults = page_faults(opened(page, mutilated(html, tmp_path, old, new)))
    assert any(words in fault for fault in faults), faults


def test_report_asks_nothing_from_outside(page, html):
    assert asked_outside(opened(page, html)) == []


@pytest.mark.parametrize("new", [
    '<img src="http://127.0.0.1:9/a.png">', '<script src="https://127.0.0.1:9/a.js"></script>', '<link rel="stylesheet" href="http://127.0.0.1:9/a.css">',
])
def test_report_that_asks_outside_is_caught(page, html, tmp_path, new):
    assert asked_outside(opened(page, mutilated(html, tmp_path, "</body>", new + "</body>"))) != []


def headings(page) -> list[str]:
    return [text.rstrip("¶").strip() for text in page.locator("h1:visible, h2:visible").all_inner_texts()]


def test_sections_figures_and_numbers_are_there(page, html, day):
    opened(page, html)
    assert headings(page) == SECTIONS
    assert page.locator("img:visible").count() == len(FIGURES)
    text, s = page.inner_text("body"), day.snapshot
    for number in (f"${s.nav:,.2f}", f"-${-s.day_pnl:,.2f}", f"${s.cash:,.2f}", f"${s.exposure:,.2f}", f"${day.risk.var_95:,.0f}"):
        assert number in text
    assert "otsport 0." in text and "import" not in text  # what was run is told, the code is not


@pytest.mark.parametrize("old, new", [("The book tonight", "The book"), ('style="display:block;max-width', 'style="display:none;max-width')])
def test_report_without_a_section_or_figure_is_caught(page, html, tmp_path, old, new):
    opened(page, mutilated(html, tmp_path, old, new))
    assert headings(page) != SECTIONS or page.locator("img:visible").count() != len(FIGURES)


def table(page, heading) -> list[dict[str, str]]:
    """The visible table that has a heading, as rows of texts."""
    for found in page.locator("table:visible").all():
        names = found.locator("th").all_inner_texts()
        if heading in names:
            return [dict(zip(names, row.locator("td").all_inner_texts(), strict=True)) for row in found.locator("tbody tr").all()]
    raise AssertionError(f"no table has the heading {heading}")


def amount(text: str) -> Decimal:
    """A number as it is shown: -$1,234.50, +$3, 12.6%, 1,200."""
    return Decimal(re.sub(r"[$,%+]", "", text))


def sums(page) -> dict[str, tuple[Decimal, Decimal]]:
    """What must add up in the visible text: the sum of the parts, and the total that is shown."""
    glance = {row["item"]: row["of the day"] for row in table(page, "of the day")}
    first = {name: amount(text.split()[0]) for name, text in glance.items() if text[:1] in "$+-"}
    (*held, total), fills, orders, (*risk, whole) = table(page, "mark ($/unit)"), table(page, "time (New York)"), table(page, "filled (units)"), table(page, "VaR 95%")
    assert total["contract"] == whole["symbol"] == "total"
    worth = [amount(p["units"]) * amount(p["mark ($/unit)"]) * (100 if " " in p["contract"] else 1) for p in held]
    return {
        "positions and cash": (sum(worth, first["cash"]), first["NAV"]),
        "rounded values": (sum(amount(p["value"]) for p in held), amount(total["value"])),
        "total value": (sum(worth), amount(total["value"])),
        "rounded unrealized P&L": (sum(amount(p["unrealized P&L"]) for p in held), amount(total["unrealized P&L"])),
        "day P&L": (sum(amount(p["day P&L"]) for p in held), first["day P&L"]),
        "total day P&L": (amount(total["day P&L"]), first["day P&L"]),
        "commissions": (sum(amount(f["commission"]) for f in fills), amount(glance["fills"].split("commissions ")[1])),
        "commissions of the orders": (sum(amount(o["commission"]) for o in orders), amount(glance["fills"].split("commissions ")[1])),
        "cash": (sum(amount(f["cash"]) - amount(f["commission"]) for f in fills) + 1_000_000, first["cash"]),
        "filled units": (sum(amount(f["units"]) for f in fills), sum(amount(o["filled (units)"]) for o in orders)),
        "VaR": (sum(amount(r["VaR 95%"]) for r in risk), amount(whole["VaR 95%"])),
    }


ROUNDED = {"rounded values": 6, "rounded unrealized P&L": 6, "VaR": 6, "total value": 1}  # dollars that whole dollars of a dozen rows may differ by


def sum_faults(page) -> list[str]:
    return [f"{name}: {parts} against {total}" for name, (parts, total) in sums(page).items() if abs(parts - total) > ROUNDED.get(name, 0)]


def test_visible_numbers_add_up(page, html):
    assert sum_faults(opened(page, html)) == []


@pytest.mark.parametrize("column, name", [("units", "positions and cash"), ("mark ($/unit)", "positions and cash"), ("value", "rounded values"), ("day P&L", "day P&L"), ("unrealized P&L", "rounded unrealized")])
def test_changed_number_in_a_position_is_caught(page, html, column, name):
    opened(page, html)
    page.evaluate("""column => {
        const table = [...document.querySelectorAll('table')].find(t => t.tHead && t.tHead.innerText.includes('mark ($/unit)'));
        const at = [...table.querySelectorAll('th')].findIndex(h => h.innerText === column), cell = table.querySelector('tbody tr').cells[at];
        cell.innerText = cell.innerText.replace(/\\d/, d => (+d + 1) % 10);
    }""", column)
    assert any(fault.startswith(name) for fault in sum_faults(page))


def test_checks_of_the_report_all_passed(page, html):
    results = [row["result"] for row in table(opened(page, html), "what must agree")]
    assert len(results) > 10 and set(results) == {"equal", "unbroken"}


# The figures: those that the report shows, and a unit on every axis

def label_faults(figure) -> list[str]:
    """Axes with numbers on them and no label that names a unit."""
    faults = []
    for ax in figure.axes:
        for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            texts = [tick.get_text() for tick in axis.get_ticklabels() if tick.get_text()]
            numbers = [text for text in texts if not re.search(r"[A-Za-z]{2}", text)]
            if ax.axison and ax.get_visible() and numbers and not UNIT.search(axis.get_label_text()):
                faults.append(f"{name} axis with {numbers[:3]} is labelled {axis.get_label_text()!r}")
    return faults


@pytest.mark.parametrize("name", FIGURES)
def test_every_axis_has_a_label_with_its_unit(day, name):
    figure = FIGURES[name](day).figure
    figure.canvas.draw()
    assert label_faults(figure) == []


@pytest.mark.parametrize("name", FIGURES)
def test_axis_without_its_unit_is_caught(day, name):
    figure = FIGURES[name](day).figure
    figure.canvas.draw()
    for ax in figure.axes:
        ax.set(xlabel="value", ylabel="value")
    assert label_faults(figure) != []


def test_report_shows_these_figures(html, day):
    images = [base64.b64decode(found) for found in re.findall(r'src="data:image/png;base64,([^"]+)"', html.read_text().replace("\n", ""))]
    assert images == [draw(day).png() for draw in FIGURES.values()]
