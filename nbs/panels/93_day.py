# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Panels
# > What happened on a finished day, at a glance, without writing code?
#
# `Day`s come in (`desk.day`: snapshot, orders, fills, risk), a panel goes out: cards on top, a date to choose, and tabs for
# positions, orders, risk and performance. Texts and figures are made by plain functions that are shown alone here and tested
# without a browser; the widgets only carry them. A panel reads the store once, when it is made: its callbacks ask
# nobody.

# %%
#| default_exp panels.day

# %%
#| export
from collections.abc import Sequence
from html import escape

from otsport.show.page import side_by_side
from otsport.show.text import dollars, percent, signed
from otsport.show.fills import order_counts, orders_frame, state_counts
from otsport.show.tables import table
from otsport.desk import report
from otsport.desk.day import Day, beside_index, day_facts
from otsport.desk.lab import ReadBook
from otsport.core.settings import account_mode

# %%
#| hide
import os
import tempfile
from IPython.display import HTML
from fastcore.test import expect_fail, test_eq
from otsport.core.calendars import session_close
from otsport.core.errors import AccountNotServed
from otsport.data.samples import history
from otsport.desk.day import example_days
from otsport.desk.lab import open_book

# %% [markdown]
# ## Days
# With nothing running and nothing stored, a panel shows the example book of `desk.day`: real prices, made-up trades without a plan.

# %%
prices = history()
days = example_days(prices, prices.last)
print(days[-1])
test_eq((len(days), len(days[0].orders), len(days[1].orders)), (10, 10, 0))

# %% [markdown]
# ## Paper or live?
# The band over a panel says whose money it is, in a color and in words. The mode follows from the account's form (`DU` is a paper
# account of Interactive Brokers), not from a setting that might be wrong.

# %%
#| export
BANDS: dict[str, str] = {"paper": "#0072B2", "live": "#B00020"}  # background of the band


def band_html(account: str) -> str:
    "The band of an account."
    mode = account_mode(account)
    return f'<div style="background:{BANDS[mode]};color:#fff;font-weight:bold;padding:4px 10px;letter-spacing:.06em">{mode.upper()} &nbsp; {escape(account)}</div>'


# %%
HTML(band_html('DU123456') + band_html('U7654321'))

# %%
with expect_fail(AccountNotServed): band_html('X1')


# %% [markdown]
# ## Cards
# The frame function gives label, number and a second line; the figure function puts them side by side.

# %%
#| export
def cards_frame(day: Day) -> list[tuple[str, str, str]]:  # label, value, second line
    "The numbers on top of the panel."
    f = day_facts([day])
    return [
        ("session", f"{f.session}", f"{f.session:%A}"),
        ("NAV", dollars(f.nav, 2), f"cash {dollars(f.cash)}"),
        ("day P&L", signed(f.day_pnl, 2), f"{percent(f.day_return)}{beside_index(f.index_return)}"),
        ("VaR 95%, one day", dollars(f.var_95), f"99%: {dollars(f.var_99)}"),
        ("orders", str(len(f.orders)), state_counts(f.orders) or "none sent"),
    ]


def cards_html(day: Day) -> str:
    "Band and cards."
    small, box = "color:#666;font-size:12px", "flex:1 1 105px;border:1px solid #ddd;padding:6px 9px;line-height:1.4;background:#fff;color:#111"
    card = f'<div style="{box}"><div style="{small}">{{}}</div><div style="font-size:17px;line-height:1.5">{{}}</div><div style="{small}">{{}}</div></div>'
    cards = "".join(card.format(*map(escape, row)) for row in cards_frame(day))
    return band_html(day.snapshot.account) + f'<div style="display:flex;flex-wrap:wrap;gap:6px;padding:6px 0">{cards}</div>'


# %%
HTML(cards_html(days[-1]))


# %% [markdown]
# ## Sections
# Each tab is a text of HTML: the tables and figures of `desk.report`, the figures with an alternative text.

# %%
#| export
def _small(*charts: report.Picture) -> str:
    "Figures of a phone's width in a row."
    return side_by_side([chart.small_html() for chart in charts])


def positions_section(day: Day) -> str:
    "What is held, and what it earned today."
    return report.positions_table(day).html + _small(report.weights_chart(day), report.pnl_chart(day)) + report.sources_table([day]).html


def orders_section(day: Day) -> str:
    "Orders with state and reason, and how well they were filled."
    orders = orders_frame(day.orders, day.fills, day.commissions).drop(columns=["commission", "strategy"])  # the room is for the reason
    return table(orders, f"Orders: {order_counts(day.orders)}", "no order today").html + _small(report.slippage_chart(day)) + report.fills_table(day).html


def risk_section(day: Day) -> str:
    "How the book moves, what may be lost tomorrow, and where the exposure is."
    return report.greeks_table(day).html + _small(report.risk_chart(day), report.exposure_chart(day)) + report.risk_table(day).html


def performance_section(day: Day) -> str:
    "NAV, drawdown and measures since inception."
    return _small(report.nav_chart(day), report.drawdown_chart(day)) + report.measures_table(day).html + report.months_table(day).html


# %%
assert 'ORDER_VALUE' in orders_section(days[0]) and 'no order today' in orders_section(days[1])
HTML(positions_section(days[-1]).partition('<img')[0])

# %%
HTML(risk_section(days[-1]).partition('<img')[0])

# %%
#| hide
assert all(word in risk_section(days[-1]) for word in ('gamma', 'theta', 'vega', 'total'))
assert all('<img alt=' in section(days[-1]) for section in (positions_section, orders_section, risk_section, performance_section))

# %% [markdown]
# ## The panel
# A date to choose, the cards, and four tabs. Choosing a date or a tab puts the texts of that day into the widgets; a text is
# made when it is first looked at.

# %%
#| export
SECTIONS = {"Positions": positions_section, "Orders": orders_section, "Risk": risk_section, "Performance": performance_section}
# figures shrink and tables keep within the panel, and tabs are as wide as their words; without it what does not fit is cut off
FITTED = ("<style>.otsport-fit img {{max-width:100%; height:auto}}"
          ".otsport-tabs .lm-TabBar-tab {{flex:0 0 auto !important; min-width:0 !important; padding:0 7px}}</style>"
          '<div class="otsport-fit" style="display:grid;grid-template-columns:minmax(0,1fr);line-height:1.45">{}</div>')
NO_DAY = "No session is finished yet: type <code>otsport run trading_day</code>, then run this cell again."


def day_panel(days: Sequence[Day]):  # ipywidgets.VBox with .date and .tabs
    "A panel on finished days; the newest is shown first."
    import ipywidgets as W

    if not days:
        return W.VBox([W.HTML(NO_DAY)])
    by_date = {str(day.session): day for day in days}
    texts: dict[tuple[str, str], str] = {}
    date_choice = W.Dropdown(options=list(reversed(by_date)), description="Session", layout=W.Layout(width="240px"))
    cards, bodies = W.HTML(), [W.HTML() for _ in SECTIONS]
    tabs = W.Tab(children=bodies, titles=list(SECTIONS))
    panel = W.VBox([date_choice, cards, tabs.add_class("otsport-tabs")])

    def text(name: str) -> str:
        key = (date_choice.value, name)
        if key not in texts:
            texts[key] = {"cards": cards_html, **SECTIONS}[name](by_date[key[0]])
        return texts[key]

    def show(_) -> None:
        texts_now = text("cards"), FITTED.format(text(list(SECTIONS)[tabs.selected_index]))  # both first: never a card of one day over a table of another
        cards.value, bodies[tabs.selected_index].value = texts_now

    date_choice.observe(show, "value")
    tabs.observe(show, "selected_index")
    show(None)
    panel.date, panel.tabs = date_choice, tabs
    return panel


# %%
panel = day_panel(days)
panel.date.value

# %% [markdown]
# Choosing works without a browser: set the value, read what the widgets show.

# %%
nav_text = lambda day: f'${day.snapshot.nav:,.2f}'
cards = panel.children[1]
assert nav_text(days[-1]) in cards.value and 'PAPER' in cards.value
panel.date.value = str(days[0].session)
assert nav_text(days[0]) in cards.value and nav_text(days[-1]) not in cards.value
panel.tabs.selected_index = 1
assert 'ORDER_VALUE' in panel.tabs.children[1].value

# %%
#| hide
for i in range(4):
    panel.tabs.selected_index = i
    assert panel.tabs.children[i].value
assert 'otsport run trading_day' in day_panel([]).children[0].value
bare = day_panel(example_days(prices, prices.last, 1, ()))   # nothing but cash
for i in range(4):
    bare.tabs.selected_index = i


# %% [markdown]
# ## On a book
# What a user calls, with the book that `otsport.open_book()` gives: in a desk folder the days are read at the prices of that folder.

# %%
#| export
def finished_day_panel(book: ReadBook, last: int = 60):  # ipywidgets.VBox
    "A panel on the newest `last` finished days of a book, at its own prices; the store is read once, here."
    return day_panel(book.days(last))


# %%
with tempfile.TemporaryDirectory() as folder:
    os.environ['OTSPORT_HOME'] = folder
    none = finished_day_panel(open_book(capital=1_000_000))
assert 'No session is finished' in none.children[0].value

# %% [markdown]
# **What this leaves out:** live values, orders from the panel and switching accounts; they join with the panels that need them.
