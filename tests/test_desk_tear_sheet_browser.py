"""The tear sheet in a browser: on a wide screen as on a phone nothing is cut off, and letters are as large as they were drawn."""
import pytest
from browser import is_blank, open_browser, page_faults

import otsport
from otsport.data.samples import sample


@pytest.fixture(scope="module")
def sheet():
    own, index = (sample(table)[name].pct_change().loc["2013":"2022"] for table, name in (("sp500_20_daily", "KO"), ("sp500_index_daily", "SP500")))
    return otsport.tear_sheet(own, index, rate=0.01)


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off_in_a_browser(chromium, sheet, tmp_path, width):
    page_path = sheet.save(tmp_path / "sheet.html")
    with open_browser(chromium, width=width, height=900) as page:
        page.goto(page_path.as_uri())
        assert page_faults(page) == [] and page.console_errors == []
        shown = page.evaluate("[...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width > 1).map(s => [s.getAttribute('class'), s.getBoundingClientRect().width, s.viewBox.baseVal.width])")
        assert len(shown) == len(sheet.figures) and {kind for kind, _, _ in shown} == {"ot-wide" if width > 600 else "ot-narrow"}
        assert all(0.85 < seen / drawn < 1.3 for _, seen, drawn in shown)  # letters are as large as they were drawn
        columns = page.evaluate("getComputedStyle(document.querySelector('.ot-cols')).gridTemplateColumns.split(' ').length")
        assert columns == (2 if width > 600 else 1) and not is_blank(page.screenshot())
        page.add_style_tag(content=".ot-sheet h1{width:2000px}")
        assert page_faults(page) != []  # negative control
