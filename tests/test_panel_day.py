"""The panel on a finished day, without a browser: what it shows, and what choosing a date or a tab does."""
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from panel_support import PRICES, days, fill_store, read_book  # noqa: F401  # days: a fixture

from otsport.panels.day import SECTIONS, cards_html, day_panel, finished_day_panel
from otsport.desk.day import example_days, greeks_frame, read_days
from otsport.desk.lab import ReadBook
from otsport.desk.what_if import day_risk
from otsport.core.errors import AccountNotServed
from otsport.data.market import stamped
from otsport.data.store import open_store

@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with open_store(tmp_path_factory.mktemp("panel") / "otsport.db") as store:
        fill_store(store)
        yield store


def nav(day):
    return f"${day.snapshot.nav:,.2f}"


def test_panel_shows_the_newest_day_first(days):
    panel = day_panel(days)
    cards = panel.children[1].value
    assert panel.date.value == str(PRICES.last) and panel.date.options[-1] == str(days[0].session)
    for text in (nav(days[-1]), "PAPER", "DU123456", "VaR 95%", f"${days[-1].risk.var_95:,.0f}"):
        assert text in cards


def test_panel_changes_with_the_date(days):
    panel = day_panel(days)
    for day in (days[0], days[5], days[-1]):
        panel.date.value = str(day.session)
        assert nav(day) in panel.children[1].value
        assert sum(nav(other) in panel.children[1].value for other in days) == 1


def test_panel_tabs_follow_the_date(days):
    panel = day_panel(days)
    panel.tabs.selected_index = list(SECTIONS).index("Orders")
    assert "rose in rank" in panel.tabs.children[1].value and "ORDER_VALUE" not in panel.tabs.children[1].value
    panel.date.value = str(days[0].session)
    assert "ORDER_VALUE" in panel.tabs.children[1].value and "denied" in panel.tabs.children[1].value
    panel.date.value = str(days[3].session)
    assert "no order today" in panel.tabs.children[1].value
    panel.tabs.selected_index = 0
    assert "AAPL 20230120 C" in panel.tabs.children[0].value


def test_panel_of_a_live_account_has_another_band(days):
    live = replace(days[-1], snapshot=replace(days[-1].snapshot, account="U1234567"))
    paper, real = cards_html(days[-1]), cards_html(live)
    assert "LIVE" in real and "PAPER" not in real and "#B00020" in real and "#B00020" not in paper


def test_panel_of_an_account_of_no_known_form_is_refused(days):
    with pytest.raises(AccountNotServed):
        cards_html(replace(days[-1], snapshot=replace(days[-1].snapshot, account="XX1")))


@pytest.fixture
def book(tmp_path):
    """A book in a store of its own."""
    return read_book(tmp_path)


def test_panel_reads_the_store_only_when_it_is_made(book):
    panel, days = finished_day_panel(book), book.days()
    book.place.file.unlink()  # any read would find nothing now
    for day in days:
        panel.date.value = str(day.session)
        assert nav(day) in panel.children[1].value
    assert book.days() == ()


def test_panel_reads_at_the_prices_of_its_book(book):
    "Twice the closes are twice the spots: the sample's own are not asked."
    twice = replace(PRICES, stock_table=stamped("twice", PRICES.stock_table.frame * 2))
    own = ReadBook(replace(book.place, prices=lambda: twice))
    assert own.days()[-1].risk.spots["KO"] == 2 * book.days()[-1].risk.spots["KO"]


def test_panel_from_the_store_equals_the_records(store):
    stored, made = read_days(store, PRICES, "main", 60), example_days(PRICES, PRICES.last, 3)
    for a, b in zip(stored, made, strict=True):
        assert (a.snapshot, a.orders, a.fills, a.commissions) == (b.snapshot, b.orders, b.fills, b.commissions)
    assert [section(stored[-1]) for section in SECTIONS.values()] == [section(made[-1]) for section in SECTIONS.values()]


def test_panel_shows_at_most_so_many_days(book):
    assert finished_day_panel(book, last=2).date.options == tuple(str(d.session) for d in reversed(book.days()[-2:]))


def test_panel_without_a_finished_day_says_what_to_do(tmp_path):
    assert "otsport run trading_day" in finished_day_panel(read_book(tmp_path, begun=False)).children[0].value


def test_greeks_of_the_day_are_those_of_its_risk(days):
    "The table of the report and `risk` of the same positions agree, and sum."
    frame, whole = greeks_frame(days[-1].snapshot, days[-1].risk), day_risk(days[-1])
    assert frame["contract"].tolist() == whole.positions["contract"].tolist()
    for name in ("delta_shares", "dollar_gamma", "vega_point", "theta_day"):
        np.testing.assert_allclose(frame[name], whole.positions[name], rtol=1e-9)


def test_panel_escapes_what_a_broker_says(days):
    order = replace(days[0].orders[0], message="<img src=x onerror=alert(1)>")
    html = SECTIONS["Orders"](replace(days[0], orders=(order,)))
    assert "<img src=x" not in html and "&lt;img src=x" in html


def test_panel_of_an_empty_book_shows_every_tab():
    panel = day_panel(example_days(PRICES, PRICES.last, 2, ()))
    for index in range(len(SECTIONS)):
        panel.tabs.selected_index = index
        assert panel.tabs.children[index].value
    assert f"${Decimal(1_000_000):,.2f}" in panel.children[1].value


def test_a_session_more_costs_the_rows_of_a_session(store):
    "Reading two days reads no more rows than each of them alone: the rows of other sessions stay where they are, the NAV series apart."
    cost = {}
    for last in (1, 2, 3):
        before = store.rows_read
        read_days(store, PRICES, "main", last)
        cost[last] = store.rows_read - before
    sessions = len(store.nav_series("main"))
    alone = []
    for point in store.nav_series("main"):
        before = store.rows_read
        read_days(store, PRICES, "main", [point.session])
        alone.append(store.rows_read - before)
    assert cost[3] <= sum(alone) - 2 * sessions and cost[1] == alone[-1]
