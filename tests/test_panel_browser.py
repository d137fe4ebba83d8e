"""The panel as a user sees it: in JupyterLab, in a real browser."""

import nbformat
import pytest
from browser import is_blank, jupyterlab, notebook_errors, open_browser, page_faults, run_all, save_shot
from panel_support import fill_store

from otsport.panels.day import read_days
from otsport.data.samples import history
from otsport.data.store import open_store

CELL = """from otsport.panels.day import finished_day_panel
from otsport.data.store import open_store
panel = finished_day_panel(open_store())
panel"""


@pytest.fixture(scope="module")
def panel_home(tmp_path_factory):
    """A state folder with three finished days, and a folder with a notebook that shows them."""
    home, root = tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("lab")
    with open_store(home / "otsport.db") as store:
        fill_store(store)
        days = read_days(store, "main", history())
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    notebook.cells = [nbformat.v4.new_markdown_cell("# The finished day"), nbformat.v4.new_code_cell(CELL)]
    nbformat.write(notebook, root / "panel.ipynb")
    return home, root, days


def test_panel_in_jupyterlab(panel_home, chromium, tmp_path):
    from playwright.sync_api import expect

    home, root, days = panel_home
    nav = lambda day: f"${day.snapshot.nav:,.2f}"
    with jupyterlab(root, {"OTSPORT_HOME": str(home)}) as url, open_browser(chromium, 1400, 1000) as page:
        run_all(page, url("panel.ipynb"))
        expect(page.get_by_text(nav(days[-1])).first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("PAPER").first).to_be_visible()
        expect(page.get_by_text(f"worth ${days[-1].snapshot.exposure:,.2f}").first).to_be_visible()
        newest = save_shot(page, tmp_path / "panel_newest.png")

        page.locator(".widget-dropdown select").select_option(label=str(days[0].session))
        expect(page.get_by_text(nav(days[0])).first).to_be_visible()
        expect(page.get_by_text(nav(days[-1]))).to_have_count(0)
        expect(page.get_by_text(f"worth ${days[0].snapshot.exposure:,.2f}").first).to_be_visible()
        oldest = save_shot(page, tmp_path / "panel_oldest.png")

        page.get_by_role("tab", name="Orders").click()
        expect(page.get_by_text("ORDER_VALUE").first).to_be_visible()
        images = page.locator(".widget-html img")
        page.get_by_role("tab", name="Risk").click()
        expect(images.locator("visible=true").first).to_be_visible()
        assert images.evaluate_all("all => all.every(i => i.complete && i.naturalWidth > 300)")
        orders = save_shot(page, tmp_path / "panel_risk.png")
        page.set_viewport_size({"width": 1280, "height": 1000})
        fitted = page.locator(".otsport-fit img").locator("visible=true")
        assert fitted.count() and fitted.evaluate_all("all => all.every(i => i.getBoundingClientRect().right <= i.closest('.widget-html').getBoundingClientRect().right + 1)")
        assert notebook_errors(page) == []
    assert not any(is_blank(png) for png in (newest, oldest, orders))
    assert len({newest, oldest, orders}) == 3


BAD = """<body style="margin:0"><h1>Report</h1><div style="width:3000px">a table wider than its page</div>
<div style="width:80px;overflow:hidden;white-space:nowrap" id="clip">a sentence that its box cuts off in the middle</div>
<img src="missing.png" alt="a figure that is not there"></body>"""
GOOD = """<body style="margin:0"><h1>Report</h1><p>all of it fits</p><img alt="one pixel" width="50"
src="data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="></body>"""


def test_page_faults_are_caught(chromium, tmp_path):
    "Negative control: what is cut off, wider than the page or not loaded must be named."
    for name, html in (("bad", BAD), ("good", GOOD)):
        (tmp_path / f"{name}.html").write_text(html)
    with open_browser(chromium) as page:
        page.goto((tmp_path / "bad.html").as_uri())
        faults = " | ".join(page_faults(page))
        for words in ("the page is 3000 px wide", "a table wider than its page", "div#clip", "a figure that is not there"):
            assert words in faults
        page.goto((tmp_path / "good.html").as_uri())
        assert page_faults(page) == []
        page.set_content("<body></body>")
        assert is_blank(page.screenshot())
