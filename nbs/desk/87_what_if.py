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
# # What would a trade change?
# > What does a trade do to Greeks, value at risk, stress and cash, before anything is sent?
#
# A `PositionRisk` (`desk.risk`) and a trade come in, a `TradeEffect` goes out: the same numbers before, after and between. Both sides come from
# the one call `risk`, so that nothing here reckons in a way of its own, and nothing is sent.

# %%
#| default_exp desk.what_if

# %%
#| export
from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import pandas as pd

from otsport.analytics.marks import per_name, valued
from otsport.analytics.positions import HeldLeg, date_of, held_legs, value_of
from otsport.core.books import Position
from otsport.core.calendars import session_close
from otsport.core.contracts import Contract, from_key, option, stock
from otsport.core.errors import InputError
from otsport.core.units import annual_vol, exact
from otsport.core.venues import commission_estimate
from otsport.data.market import History
from otsport.desk.day import RISK_SESSIONS, Day, book_legs
from otsport.desk.risk import PositionRisk, risk
from otsport.show.tables import Table, table
from otsport.show.text import dollars, in_html, signed

# %%
#| hide
from fastcore.test import expect_fail, test_close, test_eq
from otsport.data.samples import history
from otsport.desk.day import example_days

# %% [markdown]
# ## A trade in words
# What a trader writes: a signed quantity, the contract, and, where one is wanted, a price behind `@` (dollars per unit of underlying).

# %%
#| export
_TRADE = re.compile(r"(?:(?P<side>buy|sell)\s+)?(?P<qty>[+-]?[\d,.]+)\s+(?P<what>[^@]+?)(?:\s*@\s*(?P<price>[\d,.]+))?", re.I)
_DAY = re.compile(r"\d{8}|\d{4}-\d{2}-\d{2}")
FORMS = "write '-2 AAPL 2023-01-20 150 C', '100 KO', with a price '-2 AAPL 2023-01-20 150 C @ 1.25'"


def _traded(words: list[str], text: str) -> Contract:
    "The contract of the words behind the quantity; right and strike in either order."
    at = next((i for i, word in enumerate(words) if i and _DAY.fullmatch(word)), None)
    if at is None or len(words) != at + 3:
        return from_key(" ".join(words)) if at is None else _refuse(text, "an option has expiry, strike and right")
    symbol, last = " ".join(words[:at]).upper(), words[at + 1:]
    strike, right = last if last[1].upper() in ("C", "P", "CALL", "PUT") else last[::-1]
    if right.upper() not in ("C", "P", "CALL", "PUT"):
        _refuse(text, "neither of the last two words is C or P")
    return option(symbol, date_of(words[at], "expiry", text), value_of(strike, "strike", text), right[0].upper())


def _refuse(text: str, why: str):
    raise InputError(f"{text.strip()!r} is no trade: {why}; {FORMS}")


def trade_leg(text: str) -> HeldLeg:
    "A trade from its words: signed quantity, contract, and a price where one is said."
    if not (found := _TRADE.fullmatch(text.strip())):
        _refuse(text, "it begins with a signed quantity, then the contract")
    qty = value_of(found["qty"], "qty", text)
    if found["side"]:
        qty = abs(qty) * (-1 if found["side"].lower() == "sell" else 1) if found["qty"][0] not in "+-" else _refuse(text, "buy and sell take no sign")
    contract = _traded(found["what"].split(), text)
    if not qty or (contract.is_option and qty != int(qty)):
        _refuse(text, "contracts are whole, and not 0" if contract.is_option else "a quantity of 0 trades nothing")
    return HeldLeg("the trade", qty, contract, price=value_of(found["price"] or "", "price", text))


# %%
for text in ('-2 AAPL 2023-01-20 150 C', 'sell 2 AAPL 20230120 C 150', '-2 AAPL 20230120 call 150 @ 1.25'):
    leg = trade_leg(text)
    test_eq((leg.qty, leg.contract.key), (-2, 'AAPL 20230120 C 150'))
test_eq((leg.price, trade_leg('buy 100 KO').contract.key), (1.25, 'KO'))

# %%
for wrong in ('AAPL', '-2 AAPL 2023-01-20 150', '-1.5 AAPL 2023-01-20 150 C', '0 KO', 'sell -2 KO', '-2 AAPL 2023-01-20 150 X', ''):
    with expect_fail(InputError, contains='is no trade'): trade_leg(wrong)


# %% [markdown]
# ## The risk of what a book holds
# A finished day and an open book have marks; with the closes of their own prices they are positions as any others. Rate and dividend yield are 0
# where nothing else is said, at which the vols were implied from the marks.

# %%
#| export
def day_risk(day: Day) -> PositionRisk:
    "Risk of what is held at the close of a finished day, at the vols of the report of that day."
    as_of = session_close(day.session)
    if not (legs := book_legs(day.snapshot)):
        raise InputError(f"portfolio {day.snapshot.portfolio} holds nothing on {day.session}: there is no risk to show")
    return risk(legs, day.risk.spots, as_of=as_of, vol=day.risk.vols or None, style="european", prices=day.prices.closes(as_of, sessions=RISK_SESSIONS + 1))


def held_risk(
    positions: Mapping[str, Position],  # by contract key
    worth,  # marks by contract key with their instant, spots of underlyings: `frames.Worth`
    prices: History,
    rate: object = 0.0,  # annual, continuous, decimal
    div_yield: object = 0.0,  # annual, continuous, decimal
) -> PositionRisk:
    "Risk of open positions at their marks; a spot is that of the shares held, of the broker, or the last close."
    held = [p for p in positions.values() if p.qty]
    if not held or worth.at is None:
        raise InputError("there is no risk to show: " + ("no mark is known, finish a session or `await book.connect()`" if held else "nothing is held"))
    closes = prices.closes(worth.at, sessions=RISK_SESSIONS + 1)
    known = closes.ffill().iloc[-1]
    spots = {name: float(worth.marks.get(name, worth.spots.get(name, known[name]))) for name in dict.fromkeys(p.contract.symbol for p in held)}
    legs = [{"qty": float(p.qty), "contract": p.contract, "price": float(worth.marks[key]) if (key := p.contract.key) in worth.marks else None} for p in held]
    return risk(legs, spots, as_of=worth.at, rate=rate, div_yield=div_yield, prices=closes)


# %%
day = example_days(history(), history().last)[-1]
before = day_risk(day)
test_close(before.total['value'], float(day.snapshot.exposure), 1e-6)
test_close(before.tail.var[0] / day.risk.var_95, 1.0, 1e-5)  # marks are on the tick, the closes behind the report's are not
before.by_underlying[['spot', 'delta_shares', 'dollar_delta', 'vega_point']].round(2)

# %% [markdown]
# ## What it costs
# A trade without a price is valued at its mark where the contract is held, else at the vol of the nearest option on the same underlying, else at
# the realized vol of the last 60 sessions; the result says which.

# %%
#| export
VOL_SESSIONS = 60  # of the realized vol


def _last_close(given: Mapping[str, object], symbol: str) -> float:  # dollars; NaN: not known
    prices = given["prices"]
    return float(prices[symbol].ffill().iloc[-1]) if prices is not None and symbol in prices else math.nan


def _realized(given: Mapping[str, object], leg: HeldLeg) -> float:
    "Annual vol of the last 60 returns of the underlying."
    past = given["returns"] if given["returns"] is not None else None if given["prices"] is None else given["prices"].pct_change(fill_method=None)
    if past is None or leg.contract.symbol not in past:
        raise InputError(f"{leg.contract.key} has no vol: no option on {leg.contract.symbol} is held and no past of it is known; give a price: '{leg.qty:g} {leg.contract.key} @ 1.25'")
    return annual_vol(float(past[leg.contract.symbol].dropna().tail(VOL_SESSIONS).std(ddof=1)))


def priced_leg(before: PositionRisk, leg: HeldLeg) -> tuple[HeldLeg, str]:
    "The trade with spot and, where it has no price, a vol; and where that is from."
    v, symbol, given = before.valued, leg.contract.symbol, before.given
    rows = [i for i, own in enumerate(v.legs) if own.contract.symbol == symbol]
    rates = [per_name(given[name], [*v.names, symbol], name).get(symbol, 0.0) for name in ("rate", "div_yield")]
    spot = v.terms.spot[rows[0]] if rows else leg.spot if leg.spot == leg.spot else _last_close(given, symbol)
    if not spot > 0:
        raise InputError(f"{symbol} has no price here: it is not held, and is not one of the prices of this book")
    leg = replace(leg, spot=float(spot), rate=rates[0], div_yield=rates[1], style=given["style"])
    if not leg.contract.is_option or leg.price == leg.price or leg.vol == leg.vol:
        return leg, "at the price given" if leg.price == leg.price else "at the vol given" if leg.vol == leg.vol else "at the spot"
    near = [replace(v.legs[i], spot=float(spot), vol=float(v.vol[i]), rate=rates[0], div_yield=rates[1]) for i in rows if v.legs[i].contract.is_option and v.vol[i] > 0]
    found = valued([*near, leg], before.as_of, style=given["style"]).vol[-1] if near else math.nan
    if found == found:
        return replace(leg, vol=float(found)), f"at a vol of {found:.1%}, that of the nearest option on {symbol}"
    vol = _realized(given, leg)
    return replace(leg, vol=vol), f"at a vol of {vol:.1%}, the realized one of {VOL_SESSIONS} sessions"


# %% [markdown]
# ## Before, after, and between
# Cash moves by what is paid or received and by the most that the broker may charge; margin is not in it. At its own mark a trade changes NAV by
# nothing but the commission.

# %%
#| export
@dataclass(frozen=True, repr=False)
class TradeEffect:
    "What a trade would change; shows itself."
    before: PositionRisk
    after: PositionRisk
    trade: tuple[HeldLeg, ...]
    prices: tuple[float, ...]  # dollars per unit of underlying, by leg
    said: tuple[str, ...]  # where each price is from
    fee: Decimal  # dollars, the most that the broker may charge
    cash: Decimal | None  # dollars, before; None: not known

    @property
    def cash_change(self) -> float:
        "Dollars, received positive, after the commission."
        return -sum(leg.units * price for leg, price in zip(self.trade, self.prices)) - float(self.fee)

    def frame(self) -> pd.DataFrame:  # by measure: before, after, change, dollars
        "The measures in dollars: gamma per 1 %, vega per vol point, theta per day; VaR and shortfall are losses, stress is a P&L."
        sides = []
        for r, more in ((self.before, 0.0), (self.after, self.cash_change)):
            found, cash = _measures(r), {}
            if self.cash is not None:
                cash = {"NAV": float(self.cash) + more + found["value of positions"], "cash": float(self.cash) + more}
            sides.append(pd.Series(cash | found))
        return pd.DataFrame({"before": sides[0], "after": sides[1], "change": sides[1] - sides[0]}).rename_axis("measure")

    def table(self) -> Table:
        "The frame in words."
        frame = self.frame()
        cents = lambda name: 2 if name in ("NAV", "cash", "vega (a vol point)", "theta (a day)") else 0
        rows = [(name, dollars(b, cents(name)), dollars(a, cents(name)), signed(c, cents(name))) for name, b, a, c in frame.itertuples(name=None)]
        return table(pd.DataFrame(rows, columns=["in dollars", "before", "after", "change"]), "What it would change; nothing is sent")

    def headline(self) -> str:
        "The trade, its price, and what it does to the cash."
        legs = "; ".join(f"{leg.qty:+,g} {leg.contract.key} at {price:,.4g} ({said})" for leg, price, said in zip(self.trade, self.prices, self.said))
        return f"{legs}: cash {signed(self.cash_change, 2)}, at most {dollars(self.fee, 2)} of it commission; no margin is reckoned"

    def __repr__(self) -> str:
        return f"{self.headline()}\n{self.frame().to_string(float_format=lambda x: f'{x:,.2f}')}"

    def _repr_html_(self) -> str:
        return f"<p><b>{in_html(self.headline())}</b></p>{self.table().html}"


def _measures(r: PositionRisk) -> dict[str, float]:
    "The numbers of one side."
    t, grid = r.total, r.stress()
    found = {"value of positions": t["value"], "dollar delta": t["dollar_delta"], "dollar gamma (1%)": t["dollar_gamma"], "vega (a vol point)": t["vega_point"],
             "theta (a day)": t["theta_day"]}
    if r.tail is not None:
        found |= {f"VaR {level:.0%}, one day": x for level, x in zip(r.tail.levels, r.tail.var)}
        found |= {f"shortfall {r.tail.levels[0]:.0%}": r.tail.es[0]}
    return found | {"worst of the stress grid": grid.worst()[3]}


def _joined(before: PositionRisk, new: list[HeldLeg]) -> list[HeldLeg]:
    "The positions with the trade; a contract that is held keeps its mark."
    legs = {leg.contract.key: leg for leg in before.valued.legs}
    for leg in new:
        held = legs.get(leg.contract.key)
        legs[leg.contract.key] = leg if held is None else replace(held, qty=held.qty + leg.qty)
    return list(legs.values())


def what_if(
    before: PositionRisk,
    trade: object,  # words ('-2 AAPL 2023-01-20 150 C @ 1.25', several behind ;), or positions as `risk` takes them
    cash: Decimal | None = None,  # dollars before the trade; None: not known
) -> TradeEffect:
    "What a trade would change in Greeks, value at risk, stress and cash, every position valued again; nothing is sent."
    asked = [trade_leg(text) for text in trade.split(";")] if isinstance(trade, str) else list(held_legs(trade)[0])
    marks = {leg.contract.key: mark for leg, mark in zip(before.valued.legs, before.valued.mark) if mark == mark}
    told = [(leg, "at its mark") if leg.contract.key in marks and leg.price != leg.price else priced_leg(before, leg) for leg in asked]
    legs, said = [leg for leg, _ in told], tuple(words for _, words in told)
    after = risk(_joined(before, legs), **before.given)
    now = {leg.contract.key: mark for leg, mark in zip(after.valued.legs, after.valued.mark)}
    prices = tuple(leg.price if leg.price == leg.price else float(now[leg.contract.key]) for leg in legs)
    fee = sum((commission_estimate(leg.contract, exact(f"{abs(leg.qty):f}")) for leg in legs), Decimal(0))
    return TradeEffect(before, after, tuple(legs), prices, said, fee, cash)


# %% [markdown]
# By hand: 100 shares sold are 100 deltas less, and bring their price less a commission of one dollar.

# %%
effect = what_if(before, '-100 KO', day.snapshot.cash)
spot = 62.61  # the mark of KO
test_close(effect.frame().at['dollar delta', 'change'], -100 * spot, 1e-6)
test_close(effect.cash_change, 100 * spot - 1, 1e-6)
test_close(effect.frame().at['NAV', 'change'], -1.0, 1e-6)
effect

# %% [markdown]
# An option that nobody holds yet; written against shares it takes deltas and earns time.

# %%
call = what_if(before, '-2 KO 2023-02-17 67.5 C', day.snapshot.cash)
change = call.frame()['change']
assert change['dollar delta'] < 0 < change['theta (a day)'] and change['vega (a vol point)'] < 0
call

# %% [markdown]
# What is done and undone changes nothing but the two commissions; a trade on what has no price is refused with what to do.

# %%
there = what_if(before, '3 KO 2023-02-17 60 P; -3 KO 2023-02-17 60 P')
test_close(there.frame()['change'].to_numpy(), 0.0, 1e-6)
with expect_fail(InputError, contains='is not one of the prices'): what_if(before, '10 ZZZ')

# %%
#| hide
alone = what_if(risk([(100, 'KO')], 60.0, as_of='2022-12-28'), '-1 KO 2023-01-20 60 C @ 1.5')
test_close(alone.cash_change, 150 - 1, 1e-9)
test_eq(list(alone.frame().index[:2]), ['value of positions', 'dollar delta'])
with expect_fail(InputError, contains='give a price'): what_if(risk([(100, 'KO')], 60.0, as_of='2022-12-28'), '-1 KO 2023-01-20 60 C')
assert 'NAV' in call._repr_html_() and 'nothing is sent' in call._repr_html_() and 'vol of' in repr(call)

# %% [markdown]
# **What this leaves out:** margin, the bid and ask that a trade would meet, and limits: an order is checked by the gate when it is sent.
