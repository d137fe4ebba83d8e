"""Figures: right numbers in the frames, nothing cut off or overlapping in the pictures, the same bytes every time."""
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from browser import open_browser

from otsport.analytics.risk import historical_var
from otsport.show import fills, holdings, performance, risk, style
from otsport.book.example import example_book, example_marks, example_trade
from otsport.book.snapshots import take_snapshot
from otsport.desk.day import day_facts, example_days
from otsport.desk.report import RISK_ASSUMES, Picture, headline
from otsport.show.fills import fills_frame, order_counts, orders_frame, refusals, state_counts
from otsport.show.page import REPORT_CSS
from otsport.show.tables import table
from otsport.core.calendars import previous_session, session_close
from otsport.core.errors import CheckFailed, DataError, NoPrices
from otsport.core.contracts import option
from otsport.core.orders import OrderState
from otsport.data.samples import history

PRICES = history()
SCENARIOS = np.random.default_rng(5).normal(200, 9_000, 504)


def many_positions():
    "Twenty stocks and ten calls, bought on the last day."
    book = example_book(PRICES, PRICES.last, 1, PRICES.symbols)
    for symbol in PRICES.symbols[:10]:
        example_trade(book, PRICES.last, option(symbol, PRICES.last + timedelta(days=23), Decimal(111), "C"), -1, Decimal("1.20"), "covered_call", "call sold")
    marks = example_marks(PRICES, PRICES.last, [p.contract for p in book.positions.values()])
    last = book.snapshots.pop()
    book.snapshots.append(take_snapshot(last.account, last.portfolio, last.session, last.ts, book.cash, book.positions, marks, None, book.transactions, PRICES.sectors))
    return book


BOOKS = {
    "one_day": lambda: example_book(PRICES, PRICES.last, 1),
    "sixty_days": lambda: example_book(PRICES, PRICES.last),
    "over_new_year": lambda: example_book(PRICES, PRICES.last.replace(month=2, day=15), 60),
    "one_position": lambda: example_book(PRICES, PRICES.last, 3, ("KO",)),
    "no_position": lambda: example_book(PRICES, PRICES.last, 5, ()),
    "thirty_positions": many_positions,
}


@pytest.fixture(scope="module", params=BOOKS)
def book(request):
    return BOOKS[request.param]()


def fill_prices(book):
    last = book.snapshots[-1]
    orders = [o for o in book.orders if o.session == last.session]
    contracts = [o.order.contract for o in orders]
    before, after = (example_marks(PRICES, day, contracts) for day in (previous_session(last.session), last.session))
    return fills.fill_price_frame(orders, book.fills, before, after)


def all_figures(book):
    last = book.snapshots[-1]
    growth = performance.performance_frame(book.snapshots, PRICES.index(last.ts))
    pnl = SCENARIOS if any(m.qty for m in last.positions) else np.zeros(504)
    return {
        "nav": performance.nav_figure(growth), "drawdown": performance.drawdown_figure(growth), "weights": holdings.weights_figure(holdings.weights_frame(last), 0.35),
        "pnl": holdings.pnl_figure(holdings.pnl_frame(last)), "slippage": fills.slippage_figure(fill_prices(book)),
        "var": risk.var_figure(pnl, historical_var(pnl, 0.95), historical_var(pnl, 0.99), float(last.nav)),
        "exposure": holdings.exposure_figure(holdings.exposure_frame(last)),
    }


@pytest.fixture(scope="module")
def figures(book):
    """All figures of a book, drawn once; and whether pyplot keeps any of them open."""
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    return all_figures(book), plt.get_fignums() != before


def faults(figure):
    "Texts that leave the figure, and labels of one axis that touch each other."
    figure.draw_without_rendering()
    width, height = figure.canvas.get_width_height()
    texts = [t for t in figure.findobj(match=lambda a: hasattr(a, "get_text")) if t.get_visible() and t.get_text().strip()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    ticks = {id(label) for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for label in axis.get_ticklabels()}
    inside = {id(label) for ax in figure.axes for axis in (ax.xaxis, ax.yaxis) for label, at in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
              if min(axis.get_view_interval()) <= at <= max(axis.get_view_interval())}
    shown = [(t, box) for t, (_, box) in zip(texts, boxes, strict=True) if id(t) not in ticks or id(t) in inside]
    found = [f"{t.get_text()!r} leaves the figure" for t, box in shown if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            labels = [(t.get_text(), t.get_window_extent()) for t in axis.get_ticklabels() if id(t) in inside and t.get_text()]
            found += [f"{a!r} touches {b!r}" for (a, x), (b, y) in zip(labels, labels[1:]) if x.overlaps(y)]
    return found


def test_figures_show_every_text_whole(figures):
    for name, figure in figures[0].items():
        assert faults(figure) == [], name


def test_figures_name_the_unit_of_every_axis_with_numbers(figures):
    for name, figure in figures[0].items():
        for ax in figure.axes:
            if ax.axison:
                assert any(unit in ax.get_xlabel() for unit in ("percent", "dollars", "basis points", "session (close)")), name
                assert ax.get_ylabel() or any(c.isalpha() for t in ax.get_yticklabels() for c in t.get_text()), name


def test_figures_cut_off_and_overlap_are_seen():
    "Negative control of the check itself."
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(3, 2))
    ax.set_title("a title that is far too long for such a narrow figure and leaves it on both sides")
    ax.set_xticks([0, 0.01, 1], ["2022-12-27", "2022-12-28", "x"])
    found = faults(figure)
    plt.close(figure)
    assert any("leaves the figure" in x for x in found) and any("touches" in x for x in found)


def test_figures_leave_nothing_open_in_pyplot(figures):
    assert not figures[1]


CODE = """
import hashlib, matplotlib
matplotlib.use("Agg")
{rc}
from otsport.show import fills, holdings, performance, risk, style
from otsport.book.example import example_book
from otsport.data.samples import history
p = history(); b = example_book(p, p.last, 12); s = b.snapshots[-1]
g = performance.performance_frame(b.snapshots, p.index(s.ts))
for figure in (performance.nav_figure(g), performance.drawdown_figure(g), holdings.weights_figure(holdings.weights_frame(s)), holdings.pnl_figure(holdings.pnl_frame(s)), holdings.exposure_figure(holdings.exposure_frame(s))):
    print(hashlib.sha256(style.png_bytes(figure)).hexdigest())
"""


def test_figures_are_the_same_bytes_in_another_process_and_under_other_settings():
    run = lambda rc, seed: subprocess.run([sys.executable, "-c", CODE.format(rc=rc)], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
    one, other = run("", "1"), run("matplotlib.rcParams.update({'font.size': 20, 'axes.grid': False, 'savefig.dpi': 300, 'savefig.facecolor': 'red'})", "2")
    assert one == other and len(one.split()) == 5


def test_png_has_no_text_inside(book):
    data = style.png_bytes(holdings.exposure_figure(holdings.exposure_frame(book.snapshots[-1])))
    assert not any(chunk in data for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME", b"matplotlib"))


def test_performance_compounds_the_days_and_ignores_flows():
    book = example_book(PRICES, PRICES.last, 10)
    growth = performance.performance_frame(book.snapshots, PRICES.index(book.snapshots[-1].ts))
    assert growth["growth"].iloc[-1] == pytest.approx(float(book.snapshots[-1].nav) / 1e6 - 1, abs=1e-12)
    last = book.snapshots[-1]
    richer = [*book.snapshots[:-1], replace(last, nav=last.nav + 500_000, cash=last.cash + 500_000)]  # half a million came in on the last day
    assert abs(performance.performance_frame(richer, PRICES.index(last.ts))["daily_return"].iloc[-1]) < abs(growth["daily_return"].iloc[-1])
    assert growth["drawdown"].max() == 0 and growth["drawdown"].iloc[0] == 0


def test_performance_without_index_level_or_snapshot_is_refused():
    book = example_book(PRICES, PRICES.last, 2)
    with pytest.raises(NoPrices, match="no level on 2022-12-28"):
        performance.performance_frame(book.snapshots, PRICES.index(session_close(previous_session(PRICES.last))))
    with pytest.raises(DataError, match="no snapshot"):
        performance.performance_frame([], PRICES.index(book.snapshots[-1].ts))


def test_weights_sum_to_one_and_pnl_to_the_day(book):
    last = book.snapshots[-1]
    assert holdings.weights_frame(last)["weight"].sum() == pytest.approx(1, abs=1e-12)
    assert sum(holdings.pnl_frame(last)["total"], Decimal(0)) == last.day_pnl
    exposure = holdings.exposure_frame(last)
    assert exposure.at["net", "dollars"] + exposure.at["cash", "dollars"] == last.nav


def test_pnl_frame_that_misses_a_cent_is_refused(book):
    last = book.snapshots[-1]
    with pytest.raises(CheckFailed, match=last.account):
        holdings.pnl_frame(replace(last, day_pnl=last.day_pnl - Decimal("0.01")))


def test_fill_prices_cost_is_positive_when_paid():
    book = example_book(PRICES, PRICES.last, 1, ("KO",))
    order, own = book.orders[0], book.fills[0]
    for side, sign in (("BUY", 1), ("SELL", -1)):
        turned = replace(own, side=type(own.side)(side), price=Decimal("63.06"))
        record = replace(order, order=replace(order.order, side=turned.side))
        (row,) = fills.fill_price_frame([record], [turned], {"KO": Decimal(63)}, {}).itertuples()
        assert row.vs_previous == pytest.approx(sign * 0.06) and row.vs_previous_bps == pytest.approx(sign * 0.06 / 63 * 1e4)
        assert np.isnan(row.vs_close)


def test_mean_cost_is_weighted_by_value_and_passes_over_missing():
    import pandas as pd

    frame = pd.DataFrame({"vs_previous_bps": [10.0, 40.0, np.nan], "notional": [Decimal(300), Decimal(100), Decimal(999)]})
    assert fills.mean_cost(frame, "vs_previous_bps") == pytest.approx(17.5)
    assert np.isnan(fills.mean_cost(frame.iloc[2:], "vs_previous_bps"))


def test_tables_escape_what_a_broker_says():
    book = example_book(PRICES, PRICES.last, 1)
    orders = [replace(o, message='<script>alert("x")</script>') for o in book.orders]
    html = table(orders_frame(orders, book.fills, {})).html
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_tables_add_up_and_name_the_refused():
    book = example_book(PRICES, PRICES.last, 1)
    fees = {key: c.amount for key, c in book.commissions.items()}
    assert sum(orders_frame(book.orders, book.fills, fees)["commission"]) == book.snapshots[-1].commissions == sum(fills_frame(book.fills, fees)["commission"])
    assert order_counts(book.orders) == "10: 1 denied, 9 filled" and state_counts(book.orders) == "1 denied, 9 filled"


def test_refusals_are_counted_by_code_and_not_by_what_their_words_begin_with():
    book = example_book(PRICES, PRICES.last, 1)
    first, second, third, old = (replace(o, state=OrderState.DENIED, message="CASH: a text", code=code)
                                 for o, code in zip(book.orders, ("CASH", "ORDER_VALUE", "CASH", "")))
    names = [f"{r.order.side} {r.order.contract}" for r in (first, second, third, old)]
    assert refusals([first, second, third, old]) == (f"2 by CASH: {names[0]}, {names[2]}; 1 by ORDER_VALUE: {names[1]}; 1 by no code: {names[3]}")
    assert refusals([]) == "none" and state_counts([]) == ""
    assert orders_frame([second], [], {})["reason"].iloc[0].endswith("ORDER_VALUE: CASH: a text")


def test_headline_tells_the_facts_of_the_day():
    (day,) = example_days(PRICES, PRICES.last, 1)
    facts, text = day_facts([day]), headline(day).html
    assert facts.nav == day.snapshot.cash + sum(p.qty * p.mark * p.contract.multiplier for p in day.snapshot.positions)
    assert facts.day_pnl == facts.nav - 1_000_000 and facts.growth == pytest.approx(float(facts.nav) / 1e6 - 1)
    assert len(facts.refused) == 1 and "1 by ORDER_VALUE" in text
    assert f"${facts.nav:,.2f}" in text and f"-${-facts.day_pnl:,.2f}" in text and f"${facts.var_95:,.0f} ({facts.var_95 / float(facts.nav):.2%} of NAV)" in text


def test_orders_frame_of_partial_fills_has_the_average_price():
    book = example_book(PRICES, PRICES.last, 1, ("KO",))
    own = book.fills[0]
    halves = [replace(own, qty=Decimal(100), price=Decimal("10.00")), replace(own, exec_id="2", qty=Decimal(300), price=Decimal("10.04"))]
    row = orders_frame(book.orders[:1], halves, {}).iloc[0]
    assert (row["filled"], row["fill_price"]) == (400, Decimal("10.03"))
    assert "10.03" in table(orders_frame(book.orders[:1], halves, {})).html


def test_stock_of_an_unknown_sector_has_a_row_of_its_own(book):
    last = book.snapshots[-1]
    bare = replace(last, positions=tuple(replace(m, sector="") for m in last.positions))
    frame = holdings.weights_frame(bare)
    assert set(frame["sector"]) <= {"no sector", "Cash"} and style.png_bytes(holdings.weights_figure(frame))


PHONE = """() => {
  const pre = document.querySelector('pre'), text = pre.firstChild, lines = [];
  let top = null;
  for (let i = 0; i < text.length; i++) {
    const range = document.createRange();
    range.setStart(text, i); range.setEnd(text, i + 1);
    const box = range.getBoundingClientRect();
    if (top !== null && box.width && box.top > top + 2) lines.push(text.data.slice(i - 1, i));
    if (box.width) top = box.top;
  }
  const img = document.querySelector('img');
  return {before: lines, scale: img.getBoundingClientRect().width / img.naturalWidth, page: document.scrollingElement.scrollWidth};
}"""
LETTER = 8.5 / 72 * 110  # pixels, of the smallest letters in a picture
READABLE = 9  # pixels on the screen


@pytest.fixture(scope="module")
def phone(chromium):
    """A page as small as a phone, opened once."""
    with open_browser(chromium, 390, 800) as page:
        yield page


def test_on_a_phone_words_are_whole_and_figures_are_large_enough_to_read(phone):
    words = "Option quotes of the simulated gateway: modelled at the realized vol of each stock, since the bundled data have no value for the previous close."
    shown = Picture(lambda: risk.var_figure(SCENARIOS, 9000, 12000, 1e6))._repr_html_()
    page_of = lambda css, html: (f"<style>pre {{white-space: pre-wrap; word-break: break-all}}</style><style>{css}</style><body class='jp-Notebook'>"
                                 f"<div class='jp-OutputArea-output jp-RenderedText'><pre>{words}</pre></div><div class='jp-OutputArea-output jp-RenderedHTMLCommon'>{html}</div></body>")
    phone.set_content(page_of(REPORT_CSS, shown))
    found = phone.evaluate(PHONE)
    assert len(found["before"]) >= 3 and set(found["before"]) == {" "} and found["scale"] * LETTER >= READABLE and found["page"] <= 391
    phone.set_content(page_of(REPORT_CSS.replace("word-break: normal !important", ""), shown.replace("<source", "<nothing")))  # negative control
    found = phone.evaluate(PHONE)
    assert set(found["before"]) != {" "} and found["scale"] * LETTER < READABLE


def test_figures_for_a_phone_are_narrow_and_show_every_text_whole(book):
    with style.for_phone():
        small = all_figures(book)
    for name, figure in small.items():
        assert figure.get_figwidth() == style.PHONE_WIDTH and faults(figure) == [], name
    assert not style.on_phone()


def test_a_wide_table_is_cards_on_a_phone_and_a_narrow_one_stays(phone):
    wide = table(pd.DataFrame({f"measure {i}": [f"{i},000.00"] for i in range(9)}))
    narrow = table(pd.DataFrame({"measure": ["vol"], "portfolio": ["8.1%"], "S&P 500": ["23.7%"]}))
    heads = "() => [...document.querySelectorAll('thead')].map(h => getComputedStyle(h).display)"
    phone.set_content(f"<meta name=viewport content='width=device-width'><body>{wide.html}{narrow.html}</body>")
    assert phone.evaluate(heads) == ["none", "table-header-group"] and phone.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert "measure 3" in phone.evaluate("getComputedStyle(document.querySelectorAll('td')[3], '::before').content")
    phone.set_viewport_size({"width": 1280, "height": 800})
    assert phone.evaluate(heads) == ["table-header-group"] * 2


def test_colors_of_returns_follow_their_sign_and_size():
    assert style.heat_color(0.0, 0.1) == "#ffffff" and style.heat_color(float("nan"), 0.1) == style.heat_color(0.1, 0.0) == ""
    red = lambda color: int(color[1:3], 16) - int(color[5:7], 16)
    assert red(style.heat_color(-0.1, 0.1)) > red(style.heat_color(-0.05, 0.1)) > 0 > red(style.heat_color(0.05, 0.1)) > red(style.heat_color(0.1, 0.1))


def test_every_figure_says_in_words_what_it_shows(figures):
    for figure in (*figures[0].values(), style.styled(style.nothing)("No order was filled today.")):
        shown = Picture(lambda: figure)
        assert len(shown.alt.split()) > 4 and "\n" not in shown.alt, shown.alt


def test_columns_of_numbers_stand_to_the_right_beside_what_has_none():
    shown = table(pd.DataFrame([("cash", "390,277.58", "equal"), ("audit chain", None, "unbroken")], columns=["what", "one side", "result"])).html
    assert shown.count('style="text-align:right') == 3  # the heading and both cells of one column


def test_texts_are_not_squeezed_below_their_words():
    wide = table(pd.DataFrame({"reason": ["rank 1 of 20: 12-1 return +90.2%"], "orders": ["11: 11 filled"], "n": ["1"]})).html
    assert "min-width:84px" in wide and "min-width:78px" in wide


def test_what_the_value_at_risk_leaves_out_is_said_of_options_sold_and_bought():
    assert "sold would gain" in RISK_ASSUMES and "bought lose" in RISK_ASSUMES
    paper = (Path(__file__).parents[1] / "papers" / "20_trading_day.ipynb").read_text()
    assert "options bought lose" in " ".join(paper.split()) and "only make the loss smaller" not in paper
