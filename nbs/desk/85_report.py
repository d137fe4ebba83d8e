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
# # The report
# > How is a finished day told to a trader, one call for each section?
#
# A `Day` comes in; a table, a figure, or a check goes out. The production notebook and the panel show the same ones.

# %%
#| default_exp desk.report

# %%
#| export
import warnings
from base64 import b64encode
from calendar import month_abbr
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, partial
from html import escape

import pandas as pd

from otsport.analytics.metrics import ShortHistory, metrics
from otsport.desk.risk_plan import use_at_close
from otsport.portfolio.contributions import METRICS
from otsport.show.fills import fill_price_frame, slippage_figure
from otsport.show.holdings import exposure_figure, exposure_frame, pnl_figure, pnl_frame, positions_frame, weights_figure, weights_frame
from otsport.show.performance import drawdown_figure, nav_figure
from otsport.show.page import picture_html
from otsport.show.risk import var_figure
from otsport.show.style import for_phone, heat_color, png_bytes
from otsport.show.text import dollars, percent, share, signed
from otsport.book.ledger import balances_after, trial_balance
from otsport.book.snapshots import external_flows, moved_by
from otsport.core.books import Snapshot, Transaction, TransactionKind
from otsport.show.fills import fills_frame, order_counts, orders_frame, refusals
from otsport.show.tables import PHONE, Table, table
from otsport.core.errors import CheckFailed
from otsport.core.contracts import Right
from otsport.core.intent import Verdict
from otsport.core.orders import Side
from otsport.core.units import from_float
from otsport.core.venues import stock_tick
from otsport.data.market import History
from otsport.data.store import Store
from otsport.desk.day import Day, beside_index, day_facts, greeks_frame
from otsport.core.settings import account_mode

PICTURE_DPI = 110


# %% [markdown]
# ## Pictures
# A figure is shown as a small PNG whose bytes depend on nothing but the numbers in it.

# %%
#| export
def _sentence(figure) -> str:
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    return " ".join(figure.get_suptitle().split()) or " ".join(texts) or "figure"


@dataclass(frozen=True, repr=False)
class Picture:
    "A figure that a notebook shows and a report takes in, wide and for a phone, with the words for those who cannot see it."
    draw: Callable[[], object]  # gives a matplotlib figure

    @cached_property
    def figure(self):
        "The figure as a wide page shows it."
        return self.draw()

    @property
    def alt(self) -> str:
        "The sentence over the figure, or in one that has nothing to show."
        return _sentence(self.figure)

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"

    def png(self) -> bytes:
        "The picture; equal figures give equal bytes."
        return png_bytes(self.figure, dpi=PICTURE_DPI)

    def phone_png(self) -> bytes:
        "The picture as a phone shows it, as wide as its window and with letters as large as those of the text."
        with for_phone():
            return png_bytes(self.draw(), dpi=PICTURE_DPI)

    def small_html(self) -> str:
        "The figure as wide as a phone, on every screen."
        with for_phone():
            figure = self.draw()
        return picture_html(figure, _sentence(figure))

    def _repr_html_(self) -> str:
        wide, phone = (b64encode(png).decode() for png in (self.png(), self.phone_png()))
        return (f'<picture><source media="(max-width:{PHONE}px)" srcset="data:image/png;base64,{phone}">'
                f'<img alt="{escape(self.alt, quote=True)}" style="display:block;max-width:100%;height:auto" src="data:image/png;base64,{wide}"></picture>')


# %%
#| hide
from datetime import date
from otsport.data.samples import history
from otsport.desk.day import example_days
from fastcore.test import expect_fail, test_eq
days = example_days(history(), date(2022, 12, 28), sessions=5)
day = days[-1]


# %% [markdown]
# ## The day at a glance

# %%
#| export
def headline(day: Day) -> Table:
    "NAV, P&L, orders, fills, refusals and risk of the day."
    f = day_facts([day])
    of_nav = lambda dollars_: share(float(dollars_) / float(f.nav))
    risk = lambda var: f"{dollars(var)} ({var / float(f.nav):.2%} of NAV)"
    rows = {
        "session": f"{f.session:%A}, {f.session}", "account": f"{f.account}, portfolio {f.portfolio}", "NAV": dollars(f.nav, 2),
        "day P&L": f"{signed(f.day_pnl, 2)} ({percent(f.day_return)}{beside_index(f.index_return)})",
        "cash": f"{dollars(f.cash, 2)} ({of_nav(f.cash)} of NAV)",
        "positions": f"{f.positions}, worth {dollars(f.exposure, 2)} ({of_nav(f.exposure)} of NAV)",
        "unrealized P&L": signed(f.unrealized, 2), "realized P&L since inception": signed(f.realized, 2),
        "commissions since inception": dollars(f.commissions, 2), "orders": order_counts(f.orders),
        "fills": f"{f.fills}, commissions {dollars(f.paid, 2)}", "refused": refusals(f.refused),
        "VaR 95%, one day": risk(f.var_95), "VaR 99%, one day": risk(f.var_99),
    }
    return table(pd.DataFrame({"of the day": rows.values()}, index=pd.Index(rows, name="item")))


def performance(day: Day) -> pd.DataFrame:
    "NAV and S&P 500 since inception, by session."
    return day.performance.copy()


def nav_chart(day: Day) -> Picture:
    "Growth of the portfolio and of the S&P 500."
    return Picture(partial(nav_figure, performance(day)))


def drawdown_chart(day: Day) -> Picture:
    "Distance from the highest NAV so far."
    return Picture(partial(drawdown_figure, performance(day)))


# %%
#| export
SHOWN_DAYS = 20  # rows of the table of sessions


def days_table(days: Sequence[Day]) -> Table:
    "One row a session, of the newest ones: NAV, P&L, orders, fills, positions."
    rows = [(f"{d.session}", dollars(d.snapshot.nav, 2), signed(d.snapshot.day_pnl, 2), percent(d.day_return), percent(d.index_return), order_counts(d.orders),
             f"{len(d.fills)}", f"{sum(p.qty != 0 for p in d.snapshot.positions)}") for d in days[-SHOWN_DAYS:]]
    more = len(days) - len(rows)
    what = f"The last {len(rows)} of {len(days)} sessions of this run; {more} before them are not listed" if more else f"{len(days)} sessions of this run"
    frame = pd.DataFrame(rows, columns=["session", "NAV", "day P&L", "portfolio", "S&P 500", "orders", "fills", "positions"])
    return table(frame if any(d.index_return == d.index_return for d in days[-SHOWN_DAYS:]) else frame.drop(columns="S&P 500"), what)


# %% [markdown]
# What the returns since inception amount to. A year's figures of a shorter history are scaled up, not earned; the caption says so. The
# Sharpe ratio is measured against a rate of 0.

# %%
#| export
def measures_table(day: Day) -> Table:
    "Return, vol, Sharpe ratio and drawdown since inception, beside the S&P 500."
    grown = performance(day)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortHistory)  # its words are in the note
        ours, level = metrics(grown["daily_return"].iloc[1:]), grown["index_growth"].add(1).pct_change(fill_method=None).iloc[1:]
        index = metrics(level) if level.notna().all() else None
    number = lambda write: lambda x: "–" if x != x else write(x)
    shown = {
        "total return": ("total_return", percent), "return a year": ("annual_return", percent), "vol a year": ("vol", lambda x: f"{x:.1%}"),
        "Sharpe ratio a year (rate 0)": ("sharpe", lambda x: f"{x:.2f}"), "largest drawdown": ("max_drawdown", lambda x: f"{x:.2%}"),
    }
    sides = {"portfolio": ours} | ({"S&P 500": index} if index else {})
    rows = [(name, *(number(write)(getattr(m, field)) for m in sides.values())) for name, (field, write) in shown.items()]
    note = f": {ours.note}" if ours.note else ""
    return table(pd.DataFrame(rows, columns=["measure", *sides]), f"Measures of {ours.sessions} sessions since inception{note}")


def months_table(day: Day) -> Table:
    "Returns by calendar month and year, colored by their size; the first and the last may be parts of one, the sessions say so."
    grown = performance(day)
    daily = pd.DataFrame({"portfolio": grown["daily_return"], "S&P 500": grown["index_growth"].add(1).pct_change(fill_method=None)}).iloc[1:].dropna(axis=1, how="all")
    by_month = daily.add(1).groupby(daily.index.to_period("M"))
    returns, counts = by_month.prod(min_count=1).sub(1), by_month.size().to_dict()
    whole = daily.add(1).groupby(daily.index.year).prod(min_count=1).sub(1)
    shown = sorted({month.month for month in returns.index})
    rows = [(f"{year} {name}", *(_month_return(returns[name], year, month) for month in shown), whole.at[year, name]) for year in whole.index for name in daily.columns]
    columns = ["return", *(month_abbr[month] for month in shown), "year"]
    most = max((abs(x) for row in rows for x in row[1:-1] if x == x), default=0.0)
    colors = {c: [heat_color(x, most) for x in values] for c, values in zip(columns[1:-1], list(zip(*rows))[1:-1])}
    text = [(name, *("–" if x != x else percent(x) for x in numbers)) for name, *numbers in rows]
    ends = ", ".join(f"{month:%b %Y} has {counts[month]} session{'s' * (counts[month] != 1)}" for month in sorted({min(counts), max(counts)}))
    return table(pd.DataFrame(text, columns=columns), f"Returns by month; {ends}", colors=colors)


def _month_return(returns: pd.Series, year: int, month: int) -> float:  # decimal; NaN: none
    return float(returns.get(pd.Period(year=year, month=month, freq="M"), float("nan")))


def sources_table(days: Sequence[Day]) -> Table:
    "P&L of shares against options, of the session and of all of the run, commissions included; the parts sum to the P&L."
    frames = [pnl_frame(d.snapshot) for d in days]
    sums = {kind: [sum(f[kind], Decimal(0)) for f in frames] for kind in ("shares", "options", "total")}
    columns = {f"session of {days[-1].session}": [signed(v[-1], 2) for v in sums.values()]}
    if len(days) > 1:
        columns[f"{len(days)} sessions"] = [signed(sum(v, Decimal(0)), 2) for v in sums.values()]
    frame = pd.DataFrame({"what earned it": list(sums)} | columns)
    since = f", sessions from {days[0].session}" if len(days) > 1 else ""
    return table(frame, f"P&L of shares against options{since}")


# %%
#| hide
assert all(word in measures_table(day).html for word in ('5 returns are less than a year', 'Sharpe', 'largest drawdown'))
assert 'Dec 2022 has 5 sessions' in months_table(day).html and 'background:#' in months_table(day).html
assert signed(sum(d.snapshot.day_pnl for d in days), 2) in sources_table(days).html
assert 'The last 20 of 25 sessions of this run; 5 before them are not listed' in days_table(days * 5).html

# %% [markdown]
# The last of five days of the example book (real prices, made-up trades):

# %%
headline(day)

# %%
nav_chart(day)

# %%
test_eq(nav_chart(day).png(), nav_chart(day).png())     # the same numbers, the same bytes


# %% [markdown]
# ## Why these orders
# One row a stock, from the signal to the order; below it, everything that a rule took away.

# %%
#| export
def plan_frame(day: Day) -> pd.DataFrame:
    "From signal to order, a row a stock; weights as text, percent of NAV."
    plan = day.plan
    caps, wished, targets = ({t.contract.symbol: t.weight for t in part} for part in (plan.caps, plan.wished, plan.targets))
    orders = {o.contract.symbol: f"{o.side} {o.qty:,f} at {o.limit_price}" for o in plan.orders}
    stocks = [s for s in plan.signals if not s.contract.is_option]
    others = sorted(({*targets} | {*orders}) - {s.contract.symbol for s in stocks})
    text = lambda weights, symbol: f"{weights[symbol]:.2%}" if symbol in weights else "–"
    rows = [(s.contract.symbol, s.reason, f"{s.confidence:.2f}", f"{s.expected_return:.1%}", *(text(w, s.contract.symbol) for w in (caps, wished, targets)),
             orders.get(s.contract.symbol, "none")) for s in stocks]
    rows += [(s, "no signal any more", "–", "–", "–", "–", text(targets, s), orders.get(s, "none")) for s in others]
    return pd.DataFrame(rows, columns=["stock", "signal", "confidence", "expected return (a year)", "cap (of NAV)", "best Sharpe (of NAV)", "after limits (of NAV)", "order"])


def plan_table(day: Day) -> Table:
    "The plan, stock by stock."
    p = day.plan
    return table(plan_frame(day), f"Decided from the close of {p.as_of:%Y-%m-%d}: expected return {p.expected_return:.1%} a year of NAV at a vol of {p.vol:.1%}", "no signal")


def rules_table(day: Day) -> Table:
    "What sizing, limits, cash and the overlay took away."
    rows = [(d.subject, d.verdict.value, d.code, d.message) for d in day.plan.decisions if d.verdict is not Verdict.ACCEPTED]
    return table(pd.DataFrame(rows, columns=["contract", "verdict", "rule", "why"]), "What the rules took away", "nothing")


def budgets_table(day: Day) -> Table | None:
    "Use of each risk budget, as planned and by the book at the close; None for a desk without budgets."
    if not day.plan.budgets:
        return None
    plan, closed = day.plan, use_at_close(day.plan.budgets, day.snapshot, day.prices, day.risk.vols)
    late = {u.path: u for u in closed.uses} if closed is not None else {}
    rows = [(u.name, f"{u.bound:.3%}", f"{u.utilization:.0%}", f"{late[u.path].utilization:.0%}" if u.path in late else "–", late[u.path].severity if u.path in late else "") for u in plan.budget_uses]
    return table(pd.DataFrame(rows, columns=["budget", "allowed", "planned use", "use at the close", "severity"]), f"Risk budgets by {METRICS[plan.budgets[0].metric]}, of NAV")


def calls_table(day: Day) -> Table:
    "The options that were planned."
    wishes = day.plan.wishes
    quotes = f"quotes: {', '.join(sorted({day.plan.quotes_of(w.contract.symbol) for w in wishes}) or ['modelled'])}"
    if all(w.side is Side.SELL and w.contract.right is Right.CALL for w in wishes):
        rows = [(c.contract.key, f"{c.limit_price}", c.reason) for c in wishes]
        return table(pd.DataFrame(rows, columns=["call to sell", "limit ($ a share)", "why"]), f"Covered calls, sent once the shares are held ({quotes})", "none")
    rows = [(w.contract.key, w.side.value, "as covered" if w.qty is None else f"{w.qty:f}", f"{w.limit_price}", w.strategy, w.reason) for w in wishes]
    return table(pd.DataFrame(rows, columns=["option", "side", "at most", "limit ($ a share)", "strategy", "why"]), f"Options, sent once the stock orders are done ({quotes})", "none")


# %% [markdown]
# ## Orders and fills

# %%
#| export
def orders_table(day: Day) -> Table:
    "Every order of the day and what became of it."
    return table(orders_frame(day.orders, day.fills, day.commissions), f"Orders: {order_counts(day.orders)}", "no order today")


def fills_table(day: Day) -> Table:
    "Every execution of the day."
    quotes = {f.exec_id: day.plan.quotes_of(f.contract.symbol if f.contract.is_option else "") for f in day.fills}
    return table(fills_frame(day.fills, day.commissions, quotes), f"{len(day.fills)} fill{'s' * (len(day.fills) != 1)}", "no fill today")


def slippage_chart(day: Day) -> Picture:
    "Fill prices against the close before and the close of the day."
    before, after = ({s: from_float(p, stock_tick(p)) for s, p in row.items()} for _, row in day.closes.iterrows())
    marks = {p.contract.key: p.mark for p in day.snapshot.positions if p.qty}
    return Picture(partial(slippage_figure, fill_price_frame(day.orders, day.fills, before, after | marks)))


# %%
orders_table(days[0])


# %% [markdown]
# ## The book tonight

# %%
#| export
def positions_table(day: Day) -> Table:
    "What is held at the close, what was closed today, and the total."
    s, held = day.snapshot, positions_frame(day.snapshot).drop(columns=["symbol"])
    closed = [(p.contract.key, p.sector, p.strategy, p.qty, None, None, p.value, 0.0, p.unrealized, p.day_pnl, None) for p in s.positions if not p.qty]
    total = [("total", "", "", None, None, None, s.exposure, float(s.exposure / s.nav), s.unrealized, s.day_pnl, None)]
    frame = pd.DataFrame([*held.itertuples(index=False, name=None), *closed, *total], columns=held.columns)
    what = f"{len(held)} position{'s' * (len(held) != 1)} at the close, worth {dollars(s.exposure, 2)}" + (f"; {len(closed)} closed today" if closed else "")
    return table(frame, what, "nothing is held")


def expiries_table(day: Day) -> Table:
    "Options that ended today, and the shares that were called away or delivered."
    rows = [(e.contract.key, str(e.kind), e.qty, e.price if e.price else None, e.cash) for e in day.expiries]
    frame = pd.DataFrame(rows, columns=["contract", "what happened", "qty", "price", "cash"])
    return table(frame, "Expiries and assignments (shares move at the strike)", "no option expired today")


def pnl_chart(day: Day) -> Picture:
    "Day P&L by symbol; the bars sum to the day P&L."
    return Picture(partial(pnl_figure, pnl_frame(day.snapshot)))


def weights_chart(day: Day, sector_cap: float | None = None) -> Picture:
    "Weights by contract and by sector."
    return Picture(partial(weights_figure, weights_frame(day.snapshot), None if sector_cap == 1 else sector_cap))  # 1: there is no cap


def exposure_chart(day: Day) -> Picture:
    "Long, short, gross and net market value."
    return Picture(partial(exposure_figure, exposure_frame(day.snapshot)))


# %%
pnl_chart(day)

# %% [markdown]
# ## What it may lose

# %%
#| export
RISK_ASSUMES = (
    "The market moves at once: no time passes, so that a day of decay is left out, which options sold would gain and options bought lose;"
    " options are valued at a rate of 0, the one at which their vols were implied from their marks."
)


def risk_chart(day: Day) -> Picture:
    "Tonight's book in each of the last 500 sessions."
    return Picture(partial(var_figure, day.risk.pnl, day.risk.var_95, day.risk.var_99, float(day.snapshot.nav)))


def risk_table(day: Day) -> Table:
    "Parts of the VaR by symbol, largest first; they sum to it."
    parts = day.risk.components.sort_values(ascending=False)
    frame = pd.DataFrame([(symbol, part) for symbol, part in parts.items()], columns=["symbol", "var"])
    frame.loc[len(frame)] = ("total", day.risk.var_95)
    return table(frame, f"Parts of the one-day VaR 95%; expected shortfall 95% {dollars(day.risk.es_95)}. {RISK_ASSUMES}")


# %%
risk_chart(day)


# %%
#| export
def greeks_table(day: Day) -> Table:
    "Greeks by symbol: shares and what the options on them move like."
    frame, nav = greeks_frame(day.snapshot, day.risk), float(day.snapshot.nav)
    options, rows, sums = frame["vol"].notna(), [], [0.0] * 4
    for symbol, part in frame.groupby("symbol"):
        shares, moved = part.loc[~options, "delta_shares"].sum(), part.loc[options, "delta_shares"].sum()
        days = part.loc[options, "days"]
        four = [(shares + moved) * day.risk.spots[symbol], *(part[name].sum() for name in ("dollar_gamma", "vega_point", "theta_day"))]
        sums = [a + b for a, b in zip(sums, four)]
        rows.append((symbol, f"{shares:,.0f}", f"{moved:,.0f}", f"{shares + moved:,.0f}", *_four(four, nav), f"{days.min():.0f}" if len(days) else "–"))
    rows += [("total", "–", "–", "–", *_four(sums, nav), "–")] if rows else []
    columns = ["symbol", "shares held", "delta of options (shares)", "net delta (shares)", "net delta", "of NAV", "gamma ($ delta per 1%)", "vega ($ a vol point)",
               "theta ($ a day)", "next expiry (days)"]
    return table(pd.DataFrame(rows, columns=columns), "What the book moves like", "nothing is held")


def _four(numbers: Sequence[float], nav: float) -> tuple[str, ...]:
    "Dollar delta with its share of NAV, gamma, vega and theta in words."
    delta, gamma, vega, theta = numbers
    return dollars(delta), f"{delta / nav:.1%}", dollars(gamma), f"{vega:+,.2f}", f"{theta:+,.2f}"




def vol_note(day: Day, history: History) -> str:
    "Where the option quotes of this day come from."
    given = [f"Option quotes of {symbol}: {said}." for symbol, said in day.plan.quoted if symbol]
    return " ".join([*given, _other_quotes(day, history)])


def _other_quotes(day: Day, history: History) -> str:
    if day.plan.quotes_of("") == "live":
        return "Option quotes: the broker's own."
    vix = history.vix_at(day.plan.as_of)
    if vix == vix:
        return f"Option quotes of the simulated gateway: Black-Scholes; VIX {vix:.2f} at the previous close, scaled by each stock's realized vol over the index's."
    return "Option quotes of the simulated gateway: Black-Scholes at each stock's 60-day realized vol, since the bundled VIX data have no value for the previous close."


# %%
greeks_table(day)

# %% [markdown]
# ## Checks
# Made again from the store when the report is written: cash plus positions is NAV; cash, positions, realized P&L and commissions follow from the
# snapshot before and the day's transactions; the P&L of the symbols is the P&L of the day; every fill is booked and charged; and nobody has touched
# the audit rows of the day or what they wrote. The day alone is read, however many lie before it: those were checked on their own evening, and
# `otsport db verify` checks all of them. That positions and cash equal the broker's was checked at the close, before the day was committed.

# %%
#| export
Fact = tuple[str, Decimal, Decimal]  # what must agree, one side, the other side
ZERO = Decimal(0)


def own_facts(day: Day) -> list[Fact]:
    "What a day must agree in with itself."
    s = day.snapshot
    return [
        ("cash plus positions is NAV", s.cash + s.exposure, s.nav),
        ("P&L of the contracts is the day P&L", sum((p.day_pnl for p in s.positions), ZERO), s.day_pnl),
        ("fills with a commission are all fills", Decimal(len(day.commissions)), Decimal(len(day.fills))),
        ("filled by the orders is filled by the fills", sum((r.filled_qty for r in day.orders), ZERO), sum((f.qty for f in day.fills), ZERO)),
    ]


# %% [markdown]
# What the day began with is the snapshot before. What was booked since is told by the audit and not by the clock, so that a booking in the very
# instant of that snapshot counts once.

# %%
#| export
def units_after(s: Snapshot | None, booked: Sequence[Transaction]) -> dict[str, Decimal]:
    "Units by contract key of a snapshot (None: of an empty book) with what was booked since; those that are flat are left out."
    units = {p.contract.key: p.qty for p in s.positions} if s is not None else {}
    for t in booked:
        if t.contract is not None:
            units[t.contract.key] = units.get(t.contract.key, ZERO) + t.qty
    return {key: qty for key, qty in units.items() if qty}


def same_units(what: str, ours: Mapping[str, Decimal], others: Mapping[str, Decimal]) -> list[Fact]:
    "A fact for each contract that one of two holds."
    return [(f"{what} {key}", ours.get(key, ZERO), others.get(key, ZERO)) for key in sorted({*ours, *others})]


def carried_facts(s: Snapshot, before: Snapshot | None, today: Sequence[Transaction]) -> list[Fact]:
    "What must follow from the snapshot before and what was booked since."
    b = before or Snapshot(s.account, s.portfolio, s.session, s.ts, ZERO, ZERO, (), ZERO, ZERO, ZERO, ZERO)
    return [
        ("cash follows from the session before", s.cash, b.cash + moved_by(today, "cash")),
        ("realized P&L follows from the session before", s.realized, b.realized - moved_by(today, "realized")),
        ("commissions follow from the session before", s.commissions, b.commissions + moved_by(today, "commissions")),
        ("NAV follows from the session before, day P&L and deposits", s.nav, b.nav + s.day_pnl + external_flows(today)),
        *same_units("units of", units_after(s, ()), units_after(before, today)),
    ]


# %% [markdown]
# Every fill has the transaction that booked it and the one of its charge; they are looked up by the execution.

# %%
#| export
def fill_facts(day: Day, booked: Sequence[Transaction]) -> list[Fact]:
    "What the fills of a day must agree in with the transactions that booked them."
    trades, charges = ([t for t in booked if (t.kind is TransactionKind.COMMISSION) is paid] for paid in (False, True))
    units = {f.exec_id: f.signed_qty for f in day.fills}
    return [
        ("cash of the fills is booked", sum((f.cash for f in day.fills), ZERO), sum((t.cash for t in trades), ZERO)),
        ("commissions of the fills are booked", sum(day.commissions.values(), ZERO), -sum((t.cash for t in charges), ZERO)),
        *same_units("units of the fill", units, {t.ref: t.qty for t in trades}),
    ]


# %% [markdown]
# After the newest day the running balances and the stored positions are those of its snapshot, with what was booked since.

# %%
#| export
def standing_facts(s: Snapshot, store: Store) -> list[Fact]:
    "What the running balances and the stored positions must agree in with the newest snapshot and what was booked since."
    later, stored = store.transactions(s.portfolio, since=s), store.balances(s.portfolio)
    expected = balances_after({"cash": s.cash, "realized": -s.realized, "commissions": s.commissions}, later)
    held = {key: p.qty for key, p in store.positions(s.portfolio, open_only=True).items()}
    balances = [(f"running balance of {name}", stored.get(name, ZERO), expected[name]) for name in ("cash", "realized", "commissions")]
    return balances + same_units("units stored of", held, units_after(s, later))


# %%
#| export
def day_checks(day: Day, store: Store) -> list[Fact]:
    "Everything that a day must agree in; what is read is the day's, however many lie before it."
    s = day.snapshot
    before, newest = store.last_snapshot(s.portfolio, before=s.session), store.last_snapshot(s.portfolio)
    today = store.transactions(s.portfolio, since=before, until=s)
    trial_balance(today)
    facts = own_facts(day) + carried_facts(s, before, today) + fill_facts(day, store.transactions_of(day.fills))
    return facts + (standing_facts(s, store) if newest.ts == s.ts else [])


def check_day(day: Day, store: Store) -> Table:
    "Check the finished day against the store, from the snapshot before it on; a `CheckFailed` with both numbers when something differs."
    s, facts = day.snapshot, day_checks(day, store)
    failed = [f"{what}: {a:f} against {b:f}" for what, a, b in facts if a != b]
    if failed:
        raise CheckFailed(f"account {s.account}, portfolio {s.portfolio}, session {s.session}: {'; '.join(failed)}")
    audited = store.verify_day(s, store.last_snapshot(s.portfolio, before=s.session))
    rows = [(what, f"{a:,f}", f"{b:,f}", "equal") for what, a, b in facts]
    rows.append(("audit rows of the day, one signed chain", f"{audited:,}", None, "unbroken"))
    frame = pd.DataFrame(rows, columns=["what must agree", "one side", "other side", "result"])
    return table(frame, f"{len(rows)} checks passed; `otsport db verify` checks every day")


# %% [markdown]
# ## In a few lines
# What the command line prints at the end of a run.

# %%
#| export
def summary(days: Sequence[Day]) -> dict:  # title, rows of (name, text), and the numbers
    "The run in a few lines: NAV, P&L, orders, fills, refusals, risk."
    f = day_facts(days)
    unfilled = [f"{r.order}: {r.filled_qty:f} filled, {r.state}" for r in f.unfilled]
    shown = lambda texts: "none" if not texts else "; ".join(texts[:3]) + (f" ... and {len(texts) - 3} more" if len(texts) > 3 else "")
    rows = [
        ("Date", f"{f.session:%A} {f.session}" + (f", {f.sessions} sessions from {f.first}" if f.sessions > 1 else "")),
        ("Account", f"{f.account} ({account_mode(f.account)}), portfolio {f.portfolio}"), ("NAV", f"{dollars(f.nav, 2)}; cash {dollars(f.cash, 2)}"),
        ("Day P&L", f"{signed(f.day_pnl, 2)} ({percent(f.day_return)}{beside_index(f.index_return)})"),
        ("Since inception", f"{percent(f.growth)}{beside_index(f.index_growth)}"),
        ("Orders", order_counts(f.orders)), ("Fills", f"{f.fills}, commissions {dollars(f.paid, 2)}"),
        ("Refused", refusals(f.refused)), ("Not filled", shown(unfilled)), ("Options that ended", f"{f.options_ended}" if f.options_ended else "none"),
        ("VaR, one day", f"95% {dollars(f.var_95)}, 99% {dollars(f.var_99)} (losses); {f.positions} position{'s' * (f.positions != 1)}"),
    ]
    stopped = [f"{x.session}: {d.message}" for x in days for d in x.plan.decisions if d.code == "LOOK_AHEAD" or d.code.startswith("STRATEGY_") and d.verdict is Verdict.REFUSED]
    rows += [("Strategies stopped", shown(stopped))] if stopped else []
    numbers = {"session": str(f.session), "nav": str(f.nav), "day_pnl": str(f.day_pnl), "var_95": round(f.var_95, 2),
               "orders": len(f.orders), "fills": f.fills, "refused": len(f.refused), "unfilled": len(unfilled)}
    return {"title": f"Trading day {f.session}", "rows": rows, "numbers": numbers}


# %%
for name, text in summary(days)['rows']:
    print(f'{name:<16} {text}')

# %% [markdown]
# **What this leaves out:** attribution, execution analysis against intraday prices, and comparisons of runs.
