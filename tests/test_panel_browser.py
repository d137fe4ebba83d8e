"""The panels as a user sees them: in JupyterLab, in a real browser, in a desk folder with prices of its own."""
from dataclasses import replace

import nbformat
import pytest
from browser import is_blank, jupyterlab, notebook_errors, open_browser, page_faults, run_all, save_shot
from panel_support import OWN, own_folder

from otsport.app.folder import read_folder
from otsport.book.attribution import percent_text
from otsport.book.effect_rows import effect_periods, effect_positions
from otsport.data.store import open_store
from otsport.desk.book_attribution import book_attribution
from otsport.desk.day import read_days
from otsport.desk.stress_test import stress_test
from otsport.desk.weights_if import PRICED, outlook_of_day, weights_if
from otsport.desk.what_if import day_risk, what_if
from otsport.show.scenarios import scenario_sentence
from otsport.show.text import dollars, signed

DAY = """import otsport
from otsport.panels.day import finished_day_panel
panel = finished_day_panel(otsport.open_book())
panel"""
RISK = """import otsport
from otsport.panels.positions import positions_panel
panel = positions_panel(otsport.open_book())
panel"""
WEIGHTS = """import otsport
from otsport.panels.what_if import weights_panel
panel = weights_panel(otsport.open_book())
panel"""
EFFECTS = """import otsport
from otsport.panels.drill import attribution_panel
panel = attribution_panel(otsport.open_book())
panel"""
STUCK = EFFECTS + "\nfor button in panel.buttons.values(): button._click_handlers.callbacks.clear()\npanel"  # negative control: clicks are ignored
DEAF = RISK + "\npanel.controls.trade.unobserve_all()\npanel"  # negative control: a panel whose trade is ignored
TRADE = "-2 AAPL 2023-02-17 200 C"
SMALL = 390  # pixels, of a phone


@pytest.fixture(scope="module")
def days(own):
    """The finished days of the folder, read directly."""
    with open_store(own / "state" / "otsport.db", read_only=True) as store:
        return read_days(store, read_folder(own).history, "main", 60)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A desk folder with prices of its own, three finished days, and notebooks that show them."""
    folder = own_folder(tmp_path_factory.mktemp("desk") / "own")
    for name, cell in (("day", DAY), ("risk", RISK), ("weights", WEIGHTS), ("effects", EFFECTS), ("stuck", STUCK), ("deaf", DEAF)):
        notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
        notebook.cells = [nbformat.v4.new_markdown_cell(f"# {name}"), nbformat.v4.new_code_cell(cell)]
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(own):
    """A JupyterLab on the folder, one for all tests here."""
    with jupyterlab(own, {"OTSPORT_HOME": str(own / "state")}) as url:
        yield url


def unfit(page):
    """Figures and tables that reach out of their panel, and tables that do not show all of their width."""
    return page.locator(".otsport-fit").locator("visible=true").evaluate_all("""boxes => boxes.flatMap(box => [...box.querySelectorAll('img, table')]
        .filter(e => e.getBoundingClientRect().width && (e.getBoundingClientRect().right > box.getBoundingClientRect().right + 1 || e.parentElement.scrollWidth > e.parentElement.clientWidth + 1))
        .map(e => e.tagName + ' ' + (e.alt || e.innerText).slice(0, 40)))""")


def as_phone(page):
    """The window of a phone, the list of files closed."""
    page.locator(".jp-SideBar.jp-mod-left li.lm-mod-current").click()
    page.set_viewport_size({"width": SMALL, "height": 1600})
    page.wait_for_timeout(500)


def test_finished_day_in_jupyterlab(lab, days, chromium, tmp_path):
    from playwright.sync_api import expect

    nav = lambda day: f"${day.snapshot.nav:,.2f}"
    with open_browser(chromium, 1280, 1000) as page:
        run_all(page, lab("day.ipynb"))
        expect(page.get_by_text(nav(days[-1])).first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("PAPER").first).to_be_visible()
        expect(page.get_by_text(f"worth ${days[-1].snapshot.exposure:,.2f}").first).to_be_visible()
        newest = save_shot(page, tmp_path / "day_newest_1280.png")

        page.locator(".widget-dropdown select").select_option(label=str(days[0].session))
        expect(page.get_by_text(nav(days[0])).first).to_be_visible()
        expect(page.get_by_text(nav(days[-1]))).to_have_count(0)
        oldest = save_shot(page, tmp_path / "day_oldest_1280.png")

        page.get_by_role("tab", name="Orders").click()
        expect(page.get_by_text("ORDER_VALUE").first).to_be_visible()
        assert unfit(page) == []
        page.get_by_role("tab", name="Risk").click()
        expect(page.get_by_text("theta ($ a day)").locator("visible=true").first).to_be_visible()
        images = page.locator(".otsport-fit img").locator("visible=true")
        expect(images.first).to_be_visible()
        assert images.evaluate_all("all => all.every(i => i.complete && i.naturalWidth > 300)") and unfit(page) == []
        risk = save_shot(page, tmp_path / "day_risk_1280.png")
        as_phone(page)
        for name in ("Positions", "Orders", "Risk", "Performance"):
            page.get_by_role("tab", name=name).click()
            page.wait_for_timeout(1500)
            assert unfit(page) == [], name
            save_shot(page, tmp_path / f"day_{name}_{SMALL}.png")
        assert notebook_errors(page) == []
    assert not any(is_blank(png) for png in (newest, oldest, risk)) and len({newest, oldest, risk}) == 3


def weigh(page, effect, seconds=20):
    """Type the trade, and see the numbers before, after and between that `what_if` gives."""
    from playwright.sync_api import expect

    typed = page.locator(".jp-Notebook:visible .widget-text input[type=text]").first
    typed.fill(TRADE)
    typed.press("Enter")
    table = page.locator("table").filter(has_text="worst of the stress grid").locator("visible=true").first
    for name, digits in (("cash", 2), ("dollar delta", 0), ("vega (a vol point)", 2), ("VaR 95%, one day", 0), ("worst of the stress grid", 0)):
        before, after, change = effect.frame().loc[name]
        row = table.locator("tr").filter(has_text=name).first
        expect(row.locator("td")).to_have_text([name, dollars(before, digits), dollars(after, digits), signed(change, digits)], timeout=seconds * 1000)


def test_risk_and_a_trade_in_jupyterlab(lab, own, days, chromium, tmp_path):
    from playwright.sync_api import expect

    day = days[-1]
    effect = what_if(day_risk(day), TRADE, day.snapshot.cash)
    assert abs(effect.frame().at["dollar delta", "change"]) > 1000
    with open_browser(chromium, 1280, 1400) as page:
        run_all(page, lab("risk.ipynb"))
        expect(page.get_by_text(dollars(effect.before.tail.var[0])).first).to_be_visible(timeout=60_000)
        expect(page.locator("tr").filter(has_text="KO").locator("visible=true").first).to_be_visible()
        page.locator(".widget-dropdown select").first.select_option(label="AAPL")
        mark = next(p.mark for p in day.snapshot.positions if p.contract.key == "AAPL")
        assert float(mark) == pytest.approx(OWN * 125.674, abs=0.02)  # the folder's own price, not that of the sample
        expect(page.get_by_text("AAPL: Worst of 44 points").first).to_be_visible()
        expect(page.locator("tr").filter(has_text="MSFT").locator("visible=true")).to_have_count(0)
        expect(page.locator("tr").filter(has_text=f"{mark:,.2f}").locator("visible=true").first).to_be_visible()
        chosen = save_shot(page, tmp_path / "risk_chosen_1280.png")
        weigh(page, effect)
        assert unfit(page) == []
        expect(page.locator("img[alt*='with the trade']")).to_be_visible()
        page.locator(".jp-Notebook:visible .widget-text").first.scroll_into_view_if_needed()
        traded = save_shot(page, tmp_path / "risk_traded_1280.png")
        as_phone(page)
        assert unfit(page) == []
        page.locator("img[alt*='with the trade']").scroll_into_view_if_needed()
        phone = save_shot(page, tmp_path / f"risk_traded_{SMALL}.png")
        assert notebook_errors(page) == []
    with open_store(own / "state" / "otsport.db", read_only=True) as store:
        assert len(store.orders("main")) == sum(len(d.orders) for d in days)  # weighed, not sent
    assert not any(is_blank(png) for png in (chosen, traded, phone))


def test_panel_whose_trade_is_ignored_is_caught(lab, days, chromium):
    day = days[-1]
    effect = what_if(day_risk(day), TRADE, day.snapshot.cash)
    with open_browser(chromium, 1280, 1400) as page:
        run_all(page, lab("deaf.ipynb"))
        page.get_by_text(dollars(effect.before.tail.var[0])).first.wait_for(timeout=60_000)
        with pytest.raises(AssertionError):
            weigh(page, effect, seconds=3)


def move(page, name, value):
    """Type a number beside a slider."""
    number = page.locator(".widget-slider").filter(has_text=name).locator("visible=true").locator(".widget-readout")
    number.fill(str(value))
    number.press("Enter")


def see(page, answer, seconds=20):
    """See the weights, the risk shares and the price of the position cap that `weights_if` gives."""
    from playwright.sync_api import expect

    of = lambda name: page.locator("tr").filter(has=page.locator("td:first-child").get_by_text(name, exact=True)).locator("visible=true").first
    frame, price = answer.frame(), answer.prices.loc["position cap"]
    for name in (*frame["weight"].nlargest(3).index, "KO"):
        row = frame.loc[name]
        expect(of(name).locator("td")).to_have_text([name, *(f"{row[x]:.1%}" for x in ("held", "weight", "risk share"))], timeout=seconds * 1000)
    said = PRICED[answer.choice.objective][1].format(price["price"])
    expect(of(f"position cap {price['at']:.1%}").locator("td")).to_have_text([f"position cap {price['at']:.1%}", said, price["names"]], timeout=seconds * 1000)
    expect(page.get_by_text(answer.headline()).locator("visible=true").first).to_be_visible(timeout=seconds * 1000)


def test_a_bound_and_its_price_in_jupyterlab(lab, own, days, chromium, tmp_path):
    from playwright.sync_api import expect

    folder, day = read_folder(own), days[-1]
    o = outlook_of_day(day, folder.own_settings(folder.broker()))
    before, after = weights_if(o, o.start), weights_if(o, replace(o.start, max_position=0.10))
    assert after.prices.at["position cap", "price"] > 1.5 * before.prices.at["position cap", "price"] > 0
    with open_browser(chromium, 1280, 1500) as page:
        run_all(page, lab("weights.ipynb"))
        page.get_by_text(before.headline()).first.wait_for(timeout=60_000)
        see(page, before)
        with pytest.raises(AssertionError):  # negative control: nothing has moved yet
            see(page, after, seconds=0.5)
        first = save_shot(page, tmp_path / "weights_first_1280.png")
        move(page, "position cap (%)", 10)
        see(page, after)
        assert unfit(page) == []

        move(page, "position cap (%)", 3)
        clash = page.locator("[role=status]").locator("visible=true")
        expect(clash).to_contain_text(f"cannot hold together: position cap 3.0% (60.0% in all); least invested {o.start.min_invested:.1%}: all else allows 60.0%")
        expect(clash).to_contain_text(f"last answer, of another choice: {after.choice.words()}")
        see_old = page.locator(".otsport-old").locator("visible=true")
        assert see_old.evaluate("e => getComputedStyle(e).opacity") == "0.4" and unfit(page) == []
        expect(see_old.get_by_text(after.prices.at["position cap", "names"], exact=True)).to_be_visible()
        clashed = save_shot(page, tmp_path / "weights_clash_1280.png")

        move(page, "least invested (%)", 50)
        see(page, weights_if(o, replace(o.start, max_position=0.03, min_invested=0.5)))
        expect(see_old).to_have_count(0)
        page.get_by_role("tab", name="Stress").click()
        worst = scenario_sentence(stress_test(day_risk(day), prices=folder.history.stock_table.frame).scenarios)
        image = page.locator(".ot-wide img").locator("visible=true")
        expect(image).to_have_attribute("alt", f"{worst}; the numbers stand below")
        assert image.evaluate("i => i.complete && i.naturalWidth > 700") and unfit(page) == []
        stressed = save_shot(page, tmp_path / "weights_stress_1280.png")
        as_phone(page)
        assert unfit(page) == []
        save_shot(page, tmp_path / f"weights_stress_{SMALL}.png")
        page.get_by_role("tab", name="Weights", exact=True).click()
        page.wait_for_timeout(1000)
        move(page, "position cap (%)", 15)
        expect(page.get_by_text("position cap 15.0%").locator("visible=true").first).to_be_visible()
        assert unfit(page) == []
        small = save_shot(page, tmp_path / f"weights_{SMALL}.png")
        assert notebook_errors(page) == []
    assert not any(is_blank(png) for png in (first, clashed, stressed, small))
    with open_store(own / "state" / "otsport.db") as store:
        assert len(store.orders("main")) == sum(len(d.orders) for d in days)  # nothing was sent


def click_effect(page, a, effect, seconds=20):
    """Click an effect, and see its sum, its positions and its sessions as the attribution has them."""
    from playwright.sync_api import expect

    page.locator("button.jupyter-button").filter(has_text=f"{effect}  ").locator("visible=true").first.click()
    expect(page.locator("[role=status]").locator("visible=true").filter(has_text=effect)).to_contain_text(f"{effect}: {percent_text(a.effects[effect])}", timeout=seconds * 1000)
    positions, periods = effect_positions(a, effect), effect_periods(a, effect)
    row = lambda name: page.locator("tr").filter(has=page.locator("td:first-child").get_by_text(name, exact=True)).locator("visible=true").first
    (_, sector, symbol), first = positions.index[0], positions.iloc[0]
    name = f"{symbol} ({sector})" if sector != symbol else symbol
    expect(row(name).locator("td")).to_have_text([name, *(percent_text(first[x]) for x in positions)], timeout=seconds * 1000)
    day = periods["in the whole"].abs().idxmax()
    expect(row(f"{day:%Y-%m-%d}").locator("td").last).to_have_text(percent_text(periods.at[day, "in the whole"]), timeout=seconds * 1000)


def test_an_effect_and_what_it_is_made_of_in_jupyterlab(lab, days, chromium, tmp_path):
    from playwright.sync_api import expect

    a = book_attribution(None, days).by_sector
    assert len(a.names) >= 3 and len(days) == 3
    with open_browser(chromium, 1280, 1700) as page:
        run_all(page, lab("effects.ipynb"))
        expect(page.get_by_text("Click an effect.").locator("visible=true").first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("PAPER").first).to_be_visible()
        for effect in a.names:
            click_effect(page, a, effect)
        assert unfit(page) == []
        click_effect(page, a, "selection")
        whole = save_shot(page, tmp_path / "effects_1280.png")
        images = page.locator(".otsport-fit img").locator("visible=true")
        assert images.count() == 2 and images.evaluate_all("all => all.every(i => i.complete && i.naturalWidth > 300)")

        largest = a.cells["selection"].sum().abs().idxmax()
        number = percent_text(a.cells["selection"].sum()[largest])
        menus = page.locator(".widget-dropdown")
        menus.filter(has_text="segment").locator("select").select_option(label=f"{largest} {number}")
        said = page.locator("[role=status]").locator("visible=true").filter(has_text="selection")
        expect(said).to_contain_text(f"selection of {largest}: {number}")
        when = a.table.periods[1]
        menus.filter(has_text="period").locator("select").select_option(label=f"{when:%Y-%m-%d}")
        expect(said).to_contain_text(f"selection of {largest} in {when:%Y-%m-%d}: {percent_text(a.cells['selection'].at[when, largest])}")
        page.get_by_text("This number taken apart").locator("visible=true").first.click()
        expect(page.get_by_text("linked by Cariño (1999)").locator("visible=true").first).to_be_visible()
        apart = save_shot(page, tmp_path / "effects_apart_1280.png")
        menus.filter(has_text="linked by").locator("select").select_option(label="frongello")
        expect(page.get_by_text("linked by frongello").locator("visible=true").first).to_be_visible()
        as_phone(page)
        assert unfit(page) == []
        phone = save_shot(page, tmp_path / f"effects_{SMALL}.png")
        assert notebook_errors(page) == []
    assert not any(is_blank(png) for png in (whole, apart, phone)) and len({whole, apart, phone}) == 3


def test_effects_whose_clicks_are_ignored_are_caught(lab, days, chromium):
    a = book_attribution(None, days).by_sector
    with open_browser(chromium, 1280, 1400) as page:
        run_all(page, lab("stuck.ipynb"))
        page.get_by_text("Click an effect.").locator("visible=true").first.wait_for(timeout=60_000)
        with pytest.raises(AssertionError):
            click_effect(page, a, a.effects.abs().idxmin(), seconds=3)


def test_what_does_not_fit_a_panel_is_caught(chromium):
    with open_browser(chromium, SMALL) as page:
        page.set_content('<div class="otsport-fit" style="width:200px"><div style="overflow-x:auto"><table style="width:300px"><tr><td>wide</td></tr></table></div></div>')
        assert unfit(page) == ["TABLE wide"]


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
