"""The monitor panel as a user sees it: in JupyterLab, in a real browser, on a desk folder whose broker is the simulated gateway."""
import re
import subprocess
import sys

import nbformat
import pytest
from browser import is_blank, jupyterlab, notebook_errors, open_browser, run_all, save_shot
from panel_support import fill_store
from run_support import free_port
from test_panel_browser import as_phone, unfit

from otsport.app.folder import new_folder
from otsport.data.store import open_store
from otsport.book.example import ACCOUNT

CELL = """import otsport
from otsport.panels.monitor import monitor_panel
panel = monitor_panel(otsport.open_watch(every=0.5))
panel"""
ALERTS = """version: 1
alerts:
  - {name: always, watch: nav, above: 1, severity: critical, action: "this one is meant to stand"}
  - {name: prices are old, watch: stale, above: 1, action: "look at TWS"}
"""


def gateway(folder, port):
    """A simulated broker: a step of its day each six seconds, so that it stays open while somebody looks, on a slow machine too."""
    command = [sys.executable, "-m", "otsport", "gateway", "--port", str(port), "--account", f"{ACCOUNT}=1000000", "--seconds-per-step", "6", "--session", "2022-12-28"]
    started = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "ready" in started.stdout.readline()
    return started


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A desk folder with the example book, and its gateway."""
    folder = new_folder(tmp_path_factory.mktemp("desk") / "night").path
    port = free_port()
    accounts = folder / "accounts.yaml"
    accounts.write_text(re.sub(r"port: \d+", f"port: {port}", accounts.read_text(), count=1))
    (folder / "alerts.yaml").write_text(ALERTS)
    book = folder / "book.yaml"
    book.write_text(book.read_text().replace("max_quote_age_seconds: 60", "max_quote_age_seconds: 20"))
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    with open_store(folder / "state" / "otsport.db") as store:
        fill_store(store, 3)
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    notebook.cells = [nbformat.v4.new_markdown_cell("# Watch"), nbformat.v4.new_code_cell(CELL)]
    nbformat.write(notebook, folder / "watch.ipynb")
    started = gateway(folder, port)
    yield folder, port, started
    started.terminate()
    started.wait(20)


def test_monitor_panel_lives_and_says_when_its_broker_is_gone(desk, chromium, tmp_path):
    from playwright.sync_api import expect

    folder, port, started = desk
    with jupyterlab(folder, {"OTSPORT_HOME": str(folder / "state")}) as lab, open_browser(chromium, 1280, 1300) as page:
        run_all(page, lab("watch.ipynb"))
        expect(page.get_by_text("PAPER").first).to_be_visible(timeout=90_000)
        clock = page.get_by_text(re.compile(r"New York, (open|closed); newest price")).first
        expect(clock).to_be_visible(timeout=60_000)
        nav = page.locator(".otsport-fit td:has-text('main') + td").locator("visible=true").first
        expect(nav).to_have_text(re.compile(r"^\$[\d,]+\.\d\d$"), timeout=60_000)
        expect(page.get_by_role("alert")).to_have_count(0, timeout=60_000)  # every price is there and young
        first = clock.inner_text()
        page.wait_for_timeout(3000)
        assert clock.inner_text() != first  # it lives
        assert unfit(page) == []
        live = save_shot(page, tmp_path / "monitor_live_1280.png")
        for tab, words in (("Exposure", "Health Care"), ("Windows", "21 sessions"), ("Alerts (1)", "this one is meant to stand")):
            page.get_by_role("tab", name=tab).click()
            expect(page.get_by_text(words).locator("visible=true").first).to_be_visible(timeout=20_000)
            save_shot(page, tmp_path / f"monitor_{tab.split()[0]}_1280.png")

        expect(page.get_by_text(re.compile(r"New York, open; newest price")).first).to_be_visible(timeout=90_000)  # at night no price is late
        started.kill()  # the broker is gone
        started.wait(20)
        banner = page.get_by_role("alert")
        expect(banner).to_contain_text("NO BROKER", timeout=30_000)
        expect(banner).to_contain_text("STALE", timeout=60_000)
        expect(page.get_by_text("prices are old").locator("visible=true").first).to_be_visible(timeout=20_000)
        stale = save_shot(page, tmp_path / "monitor_stale_1280.png")

        page.get_by_role("button", name="Watching").click()
        expect(page.get_by_role("button", name="Stopped")).to_be_visible()
        assert unfit(page) == []
        as_phone(page)
        assert unfit(page) == []
        save_shot(page, tmp_path / "monitor_390.png")
        assert notebook_errors(page) == []
    assert not any(is_blank(png) for png in (live, stale)) and live != stale
