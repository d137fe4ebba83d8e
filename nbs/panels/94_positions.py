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
# # Positions and risk
# > What do my positions risk, and what would a trade change, without writing code?
#
# A book (`otsport.open_book()`), a finished day or the result of `otsport.risk` comes in, a panel goes out: positions with their Greeks, the payoff
# of an underlying with its break-evens, P&L over spot and vol after some days, and the numbers before and after a trade that is typed or picked.
# Every number is one of `risk` and `what_if`; the widgets only carry texts. Nothing is sent from here.

# %%
#| default_exp panels.positions

# %%
#| export
from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from otsport.core.calendars import NEW_YORK
from otsport.core.errors import OtsportError
from otsport.desk.day import Day
from otsport.desk.lab import ReadBook
from otsport.desk.risk import PositionRisk
from otsport.desk.what_if import FORMS, TradeEffect, day_risk, what_if
from otsport.panels.day import FITTED, band_html
from otsport.show.page import picture_html, side_by_side
from otsport.show.positions import payoff_pane, payoff_table, positions_risk_table, stress_sentence, stress_table, underlyings_table
from otsport.show.text import dollars, in_html

# %%
#| hide
from IPython.display import HTML
from fastcore.test import expect_fail, test_close, test_eq
from otsport.core.errors import InputError
from otsport.data.samples import history
from otsport.desk.day import example_days
from otsport.desk.risk import risk


# %% [markdown]
# ## What is looked at
# The risk, the cash where it is known, and whose money it is.

# %%
#| export
@dataclass(frozen=True)
class Looked:
    "Positions that a panel shows."
    risk: PositionRisk
    cash: Decimal | None = None  # dollars; None: not known
    account: str = ""  # blank: no account's


def looked_at(source: ReadBook | Day | PositionRisk) -> Looked:
    "The risk of a book, of a finished day, or the one given; an `InputError` where nothing is held."
    if isinstance(source, PositionRisk):
        return Looked(source)
    if isinstance(source, Day):
        return Looked(day_risk(source), source.snapshot.cash, source.snapshot.account)
    return Looked(source.risk(), source.cash, source.place.account)


# %%
day = example_days(history(), history().last)[-1]
seen = looked_at(day)
test_eq((seen.account, seen.cash), ('DU123456', day.snapshot.cash))
seen.risk.valued.names


# %% [markdown]
# ## Texts
# Each part is made by a plain function and shown alone: first the cards, then the tables of all or of one underlying.

# %%
#| export
def risk_cards(seen: Looked) -> str:
    "Value, Greeks and value at risk of the whole book, with the band of its account."
    r, t = seen.risk, seen.risk.total
    nav = [] if seen.cash is None else [("NAV", dollars(float(seen.cash) + t["value"]), f"cash {dollars(seen.cash)}")]
    rows = [*nav, ("value of positions", dollars(t["value"]), f"{r.as_of.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"),
            ("dollar delta", dollars(t["dollar_delta"]), f"gamma {dollars(t['dollar_gamma'])} per 1%"),
            ("theta a day", dollars(t["theta_day"], 2), f"vega {dollars(t['vega_point'], 2)} a vol point")]
    if r.tail is not None:
        rows.append((f"VaR {r.tail.levels[0]:.0%}, one day", dollars(r.tail.var[0]), f"{r.tail.levels[-1]:.0%}: {dollars(r.tail.var[-1])}"))
    small, box = "color:#666;font-size:12px", "flex:1 1 105px;border:1px solid #ddd;padding:6px 9px;line-height:1.4;background:#fff;color:#111"
    card = f'<div style="{box}"><div style="{small}">{{}}</div><div style="font-size:17px;line-height:1.5">{{}}</div><div style="{small}">{{}}</div></div>'
    cards = "".join(card.format(*map(in_html, row)) for row in rows)
    return (band_html(seen.account) if seen.account else "") + f'<div style="display:flex;flex-wrap:wrap;gap:6px;padding:6px 0">{cards}</div>'


def tables_html(r: PositionRisk, name: str = "") -> str:  # name: of an underlying; blank: all
    "Positions with their Greeks, the sums by underlying in shares and dollars, and what is to be said of them."
    rows = r.positions if not name else r.positions[r.positions["underlying"] == name]
    sums = r.by_underlying if not name else r.by_underlying.loc[[name]]
    notes = "".join(f"<p>{in_html(note)}</p>" for note in r.notes)
    return positions_risk_table(rows, rows[list(r.total.index)].sum()).html + underlyings_table(sums).html + notes


# %%
HTML(risk_cards(seen) + tables_html(seen.risk, 'AAPL'))


# %% [markdown]
# The stress of one underlying is its part of the grid of the book, so that both are one calculation.

# %%
#| export
def keys_of(r: PositionRisk, name: str) -> set[str]:
    "The contracts on an underlying; blank: all."
    return {leg.contract.key for leg in r.valued.legs if not name or leg.contract.symbol == name}


def pictures_html(r: PositionRisk, name: str = "", days: float = 0, also: str = "") -> str:
    "Payoff at the nearest expiry (of all: the largest) with its break-evens, and P&L over spot and vol after so many days."
    curves = [r.payoff(name)] if name else r.payoffs()[:1]
    grid = r.stress(days=[days]).of(keys_of(r, name))
    of = f"{name or 'the whole book'}{also}"
    found = [picture_html(payoff_pane(c), f"payoff of {c.name}{also}, break-evens {', '.join(f'{x:,.2f}' for x in c.outcome.break_evens) or 'none'}") for c in curves]
    found.append(f"<div>{stress_table(grid).html}</div>")
    return f"<p><b>{in_html(of)}: {in_html(stress_sentence(grid))}</b></p>" + side_by_side(found) + (payoff_table(curves).html if curves else "")


# %%
whole = seen.risk.stress(days=[7])
test_close(sum(whole.of(keys_of(seen.risk, name)).pnl for name in seen.risk.valued.names), whole.pnl, 1e-6)
HTML(pictures_html(seen.risk, 'AAPL', 7).partition('<img')[0])


# %% [markdown]
# What a trade would change: the numbers of the whole book, and the pictures of its underlying with the trade in it.

# %%
#| export
def effect_html(effect: TradeEffect, days: float = 0) -> str:
    "Before, after and change; payoff and stress of the underlying with the trade."
    name = effect.trade[0].contract.symbol
    return effect._repr_html_() + pictures_html(effect.after, name, days, " with the trade")


def refusal_html(error: OtsportError) -> str:
    "Why a trade cannot be read or priced, and what to do."
    return f'<p style="color:#B00020"><b>{in_html(str(error))}</b></p>'


# %%
effect = what_if(seen.risk, '-2 AAPL 2023-02-17 135 C', seen.cash)
assert 'with the trade' in effect_html(effect) and 'nothing is sent' in effect_html(effect)

# %% [markdown]
# ## The panel
# An underlying and a number of days to choose, and a trade to type or to pick; what is chosen fills the texts. Payoffs and grids are made when they
# are first looked at.

# %%
#| export
DAYS = (0, 1, 7, 14, 30, 60, 90)  # calendar days that pass, of the stress


def day_choices(r: PositionRisk) -> list[tuple[str, int]]:
    "Days up to the last expiry, in words."
    today = r.as_of.astimezone(NEW_YORK).date()
    last = max(((leg.contract.expiry - today).days for leg in r.valued.legs if leg.contract.is_option), default=0)
    return [("at once" if d == 0 else f"{d} day{'s' * (d != 1)}", d) for d in DAYS if d == 0 or d <= max(last, 30)]


def trade_words(qty: int, symbol: str, right: str, expiry, strike: float) -> str:
    "A picked trade as it would be typed; blank while a part is missing."
    if right == "shares":
        return f"{qty:+d} {symbol}"
    return f"{qty:+d} {symbol} {expiry} {strike:g} {right[0].upper()}" if expiry and strike else ""


@dataclass(frozen=True)
class Controls:
    "What is chosen and typed."
    underlying: object = field(repr=False)
    days: object = field(repr=False)
    trade: object = field(repr=False)
    picks: tuple = field(repr=False)  # quantity, symbol, right, expiry, strike

    @classmethod
    def of(cls, r: PositionRisk) -> Controls:
        "Widgets for these positions."
        import ipywidgets as W

        names, known = r.valued.names, r.given["prices"]
        symbols = list(dict.fromkeys([*names, *(known.columns if known is not None else ())]))
        wide = lambda px: W.Layout(width=f"{px}px", max_width="calc(100% - 8px)")
        expiry = min((leg.contract.expiry for leg in r.valued.legs if leg.contract.is_option), default=r.as_of.date() + timedelta(days=30))
        picks = (W.IntText(value=-1, layout=wide(80), tooltip="contracts or shares, negative sold"), W.Dropdown(options=symbols, layout=wide(100)),
                 W.Dropdown(options=["call", "put", "shares"], layout=wide(90)), W.DatePicker(value=expiry, layout=wide(150)),
                 W.FloatText(value=0.0, layout=wide(100), tooltip="strike, dollars"))
        return cls(W.Dropdown(options=[("all underlyings", ""), *((n, n) for n in names)], layout=wide(200)),
                   W.SelectionSlider(options=day_choices(r), description="stress after", continuous_update=False, layout=wide(330)),
                   W.Text(placeholder=FORMS, continuous_update=False, layout=wide(420)), picks)

    def box(self):  # ipywidgets.VBox
        "The trade: typed, or picked below."
        import ipywidgets as W

        labels = ("quantity", "symbol", "kind", "expiry", "strike ($)")
        cells = [W.VBox([W.HTML(f'<span style="color:#666;font-size:12px">{label}</span>'), pick], layout=W.Layout(margin="0 8px 0 0")) for label, pick in zip(labels, self.picks)]
        return W.VBox([W.HTML("<b>What would a trade change?</b> Type it and press Enter, or pick its parts."), self.trade, W.Box(cells, layout=W.Layout(flex_flow="row wrap"))])


def positions_panel(source: ReadBook | Day | PositionRisk):  # ipywidgets.VBox with .controls, .tables, .pictures, .changes and .effect
    "A panel on the positions of a book, of a finished day, or of `otsport.risk(...)`; a trade is weighed, never sent."
    import ipywidgets as W

    try:
        seen = looked_at(source)
    except OtsportError as error:
        return W.VBox([W.HTML(refusal_html(error))])
    c, texts = Controls.of(seen.risk), {}
    tables, pictures, changes = W.HTML(), W.HTML(), W.HTML()
    panel = W.VBox([W.HTML(FITTED.format(risk_cards(seen))), W.Box([c.underlying, c.days], layout=W.Layout(flex_flow="row wrap")), tables, pictures, c.box(), changes])
    panel.effect = None

    def show(_) -> None:
        key = c.underlying.value, c.days.value
        if key not in texts:
            texts[key] = FITTED.format(pictures_html(seen.risk, *key))
        tables.value, pictures.value = FITTED.format(tables_html(seen.risk, key[0])), texts[key]

    def weigh(_) -> None:
        panel.effect = None
        if not c.trade.value.strip():
            changes.value = ""
            return
        try:
            effect = what_if(seen.risk, c.trade.value, seen.cash)
            changes.value = FITTED.format(effect_html(effect, c.days.value))
            panel.effect = effect
        except OtsportError as error:
            changes.value = FITTED.format(refusal_html(error))

    def picked(_) -> None:
        c.trade.value = trade_words(*(pick.value for pick in c.picks))

    c.underlying.observe(show, "value")
    c.days.observe(lambda change: (show(change), weigh(change)), "value")
    c.trade.observe(weigh, "value")
    for pick in c.picks:
        pick.observe(picked, "value")
    show(None)
    panel.controls, panel.tables, panel.pictures, panel.changes = c, tables, pictures, changes
    return panel


# %% [markdown]
# Choosing works without a browser: set a value, read what the widgets show.

# %%
panel = positions_panel(day)
panel.controls.underlying.value = 'AAPL'
assert 'AAPL 20230120 C' in panel.tables.value and 'KO' not in panel.tables.value
panel.controls.trade.value = '-2 AAPL 2023-02-17 135 C'
test_eq(panel.effect.frame(), what_if(seen.risk, '-2 AAPL 2023-02-17 135 C', seen.cash).frame())
panel.effect

# %% [markdown]
# A trade is picked as well as typed; one that cannot be read is refused in place, and the numbers before it do not stay as if they were its own.

# %%
for pick, value in zip(panel.controls.picks, (-3, 'KO', 'put', None, 60.0)):
    if value is not None: pick.value = value
test_eq((panel.effect.trade[0].qty, panel.effect.trade[0].contract.key), (-3.0, 'KO 20230120 P 60'))
panel.controls.trade.value = '-2 AAPL 2023-02-17 135'
assert 'is no trade' in panel.changes.value and panel.effect is None

# %%
#| hide
bare = positions_panel(risk([(100, 'KO'), (-1, 'KO 20230120 C 65')], 62.5, vol=0.2, as_of='2022-12-28'))
assert 'NAV' not in bare.children[0].value and 'KO 20230120 C 65' in bare.tables.value
bare.controls.trade.value = '-100 KO'
test_close(bare.effect.frame().at['dollar delta', 'change'], -6250.0, 1e-9)
empty = positions_panel(example_days(history(), history().last, 1, ())[-1])
assert 'holds nothing' in empty.children[0].value
bare.controls.days.value = 7
assert 'after 7 days' in bare.pictures.value and 'after 7 days' in bare.changes.value

# %% [markdown]
# **What this leaves out:** live quotes, and sending: an order is typed as `await book.sell(...)`, where the gate checks it.
