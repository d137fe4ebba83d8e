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
# # Risk of positions
# > What do these positions risk: in one call, without any desk?
#
# `risk(positions)` takes a CSV's path, a table, (quantity, contract) pairs or legs, and gives one result that shows itself: value, Greeks, value at risk, stress, payoff.
# It joins `analytics.positions`, `marks`, `stress` and `combinations` with the tables and figures of `show.positions`; it reads no store and trades nothing.

# %%
#| default_exp desk.risk

# %%
#| export
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timezone

import numpy as np
import pandas as pd

from otsport.analytics.combinations import Leg, outcome, payoff
from otsport.analytics.marks import DOLLARS, Valued, position_frame, underlying_frame, valued
from otsport.analytics.positions import date_of, held_legs, style_of
from otsport.analytics.stress import StressGrid, historical_tail, reprice, repriced, stress
from otsport.analytics.var import BookTail
from otsport.core.calendars import NEW_YORK, is_session, session_close
from otsport.core.errors import DataError, InputError
from otsport.core.units import STRESS_DAYS, STRESS_SPOTS, STRESS_VOLS
from otsport.data.prices import PriceTable
from otsport.data.suspects import split_findings
from otsport.show.positions import (
    CURVES, PayoffCurve, payoff_figure, payoff_pane, payoff_table, positions_risk_table, stress_figure, stress_pane, stress_sentence, underlyings_table,
)
from otsport.show.page import picture_html, side_by_side
from otsport.show.text import dollars, in_html, signed

# %%
#| hide
from fastcore.test import expect_fail, test_close, test_eq
from otsport.data.samples import sample


# %% [markdown]
# ## The instant of the prices
# A day means its close in New York; half days are known. An instant carries its time zone.

# %%
#| export
def instant_of(as_of: object = None) -> datetime:  # UTC
    "An aware instant from a datetime, a Timestamp, a day (its close), or nothing (now)."
    if as_of is None:
        return datetime.now(timezone.utc)
    if isinstance(as_of, np.datetime64):
        as_of = pd.Timestamp(as_of)
    if isinstance(as_of, str) and len(as_of.strip()) > 10 and as_of.strip()[4] == "-":
        as_of = pd.Timestamp(as_of)
    if isinstance(as_of, datetime) and (as_of.tzinfo is not None or as_of.time() != time(0)):
        if as_of.tzinfo is None:
            raise InputError(f"as_of {as_of} has no time zone: give a day, or an instant with its zone ('{as_of} -05:00')")
        return as_of.astimezone(timezone.utc) if not isinstance(as_of, pd.Timestamp) else as_of.tz_convert("UTC").to_pydatetime()
    day = date_of(as_of, "as_of", "risk")
    return session_close(day) if is_session(day) else datetime.combine(day, time(16), NEW_YORK).astimezone(timezone.utc)


# %%
test_eq(instant_of("2024-07-19"), datetime(2024, 7, 19, 20, tzinfo=timezone.utc))
test_eq(instant_of(pd.Timestamp("2024-11-29")), datetime(2024, 11, 29, 18, tzinfo=timezone.utc))
test_eq(instant_of("2024-07-19 10:00-04:00"), datetime(2024, 7, 19, 14, tzinfo=timezone.utc))
with expect_fail(InputError, contains="no time zone"): instant_of("2024-07-19 10:00")

# %% [markdown]
# ## Payoff of one underlying
# Gains are counted from the cost of each leg where all have one, else from today's value (of a leg without a mark: the model's). Legs that end later are valued at the nearest expiry with their own vols.

# %%
#| export
CURVE_POINTS, CURVE_SD = 241, 3.5  # of a payoff's figure, and how far it reaches: standard deviations of the longest leg


def _base(v: Valued, rows: np.ndarray) -> tuple[np.ndarray, str]:
    "What each leg's gain is counted from, dollars per unit, and its name."
    cost = np.array([v.legs[i].cost for i in rows])
    if np.isfinite(cost).all():
        return cost, "cost"
    return np.where(np.isfinite(v.mark[rows]), v.mark[rows], v.greeks["model"][rows]), "today's value"


def _curve_legs(v: Valued, rows: np.ndarray, base: np.ndarray) -> list[Leg]:
    "Legs of one hundred units a contract; a mini or an adjusted contract counts as a part of it."
    return [Leg(v.units[i], "S", 0, price) if v.legs[i].right == "S" else Leg(v.units[i] / 100, v.legs[i].right, v.terms.strike[i], price, v.legs[i].contract.expiry)
            for i, price in zip(rows, base)]


def _reach(v: Valued, rows: np.ndarray, spot: float, found: Sequence[float]) -> np.ndarray:
    "The spots of a figure: strikes, break-evens and three and a half standard deviations of the longest leg."
    option = rows[v.terms.right[rows] != 0]
    width = float(np.nanmax(v.vol[option] * np.sqrt(v.terms.tau[option]), initial=0.05))
    near = [x for x in (*found, *v.terms.strike[option]) if 0.4 * spot < x < 2.5 * spot]
    low = min(spot * math.exp(-min(CURVE_SD * width, 0.7)), *(0.97 * x for x in near), spot)
    high = max(spot * math.exp(min(CURVE_SD * width, 0.7)), *(1.03 * x for x in near), spot)
    return np.unique(np.r_[np.linspace(low, high, CURVE_POINTS), [x for x in near if low < x < high]])


def payoff_curve(v: Valued, name: str) -> PayoffCurve:
    "The payoff of the positions on one underlying, with break-evens; today's line is the model's."
    ready = repriced(v)
    at = [k for k, i in enumerate(ready.rows) if v.legs[i].contract.symbol == name and v.units[i] != 0]
    rows = ready.rows[at]
    if not len(rows):
        raise InputError(f"{name!r} has no position that can be laid out: the underlyings are {', '.join(v.names)}")
    base, basis = _base(v, rows)
    legs, t = _curve_legs(v, rows, base), v.terms
    later = max(rows, key=lambda i: t.tau[i])
    model = dict(vols=np.where(t.right[rows] == 0, np.nan, v.vol[rows]), rate=float(t.rate[later]), div_yield=float(t.div_yield[later]))
    end, spot = outcome(legs, **model), float(t.spot[rows[0]])
    spots = _reach(v, rows, spot, end.break_evens)
    moves = np.repeat((spots / spot - 1)[:, None], len(v.names), axis=1)
    today = reprice(ready, moves, np.zeros_like(moves))[at].sum(axis=0) + float(v.units[rows] @ (v.greeks["model"][rows] - base))
    days = [v.legs[i].contract.expiry for i in rows if v.legs[i].contract.is_option]
    return PayoffCurve(name, spot, min(days, default=None), spots, payoff(legs, spots, **model), today, end, basis)


# %% [markdown]
# The condor of `users.md`: +1 93P 2.77, -1 88P 1.49, +1 105C 2.06, -1 110C 1.02. It costs 2.32, so it breaks even at 93 - 2.32 and at 105 + 2.32.

# %%
condor = [(1, "P", 93, 2.77), (-1, "P", 88, 1.49), (1, "C", 105, 2.06), (-1, "C", 110, 1.02)]
rows = [{"qty": q, "symbol": "XYZ", "right": r, "strike": k, "expiry": "2024-08-16", "price": p} for q, r, k, p in condor]
v = valued(held_legs(rows)[0], instant_of("2024-07-19"), spot=100)
curve = payoff_curve(v, "XYZ")
test_close(curve.outcome.break_evens, (90.68, 107.32), eps=1e-9)
test_close((curve.outcome.max_loss, curve.outcome.max_gain), (232.0, 268.0), eps=1e-9)
test_close(np.interp(100, curve.spots, curve.today), 0.0, eps=0.1)


# %% [markdown]
# ## The result

# %%
#| export
def _prices(found: Sequence[float]) -> str:
    return ", ".join(f"{x:,.2f}" for x in found) or "none"


def _most(x: float) -> str:
    return "unlimited" if math.isinf(x) else dollars(x)


@dataclass(frozen=True, repr=False)
class PositionRisk:
    "Value, Greeks, value at risk, stress and payoff of positions; shows itself, and every part is a frame or a figure."
    as_of: datetime  # UTC
    positions: pd.DataFrame  # one row a position: see `position_frame`
    total: pd.Series  # dollars, sums of the positions
    by_underlying: pd.DataFrame
    tail: BookTail | None  # value at risk and shortfall, losses positive; None: no past was given
    notes: tuple[str, ...]  # what the numbers assume, and what is missing
    valued: Valued = field(repr=False)
    given: Mapping[str, object] = field(repr=False)  # what it was made from, positions apart: with a trade it is made again

    def stress(self, spots: object = STRESS_SPOTS, vols: object = STRESS_VOLS, days: object = STRESS_DAYS, spot_kind: str = "relative", vol_kind: str = "relative") -> StressGrid:
        "P&L on a grid of shifts, every position priced again: see `analytics.stress.stress`."
        return stress(self.valued, spots, vols, days, spot_kind, vol_kind)

    def payoff(self, name: str = "") -> PayoffCurve:
        "The payoff of one underlying, with break-evens; blank: of the only one."
        if not name and len(self.valued.names) > 1:
            raise InputError(f"there are {len(self.valued.names)} underlyings: name one of {', '.join(self.valued.names)}")
        return payoff_curve(self.valued, name or self.valued.names[0])

    def payoffs(self) -> list[PayoffCurve]:
        "The payoff of every underlying with an option, the largest exposure first."
        held = {leg.contract.symbol for leg, ok in zip(self.valued.legs, self.valued.usable) if leg.contract.is_option and ok and leg.qty}
        size = self.positions.assign(size=(self.positions["qty"] * self.positions["spot"]).abs()).groupby("underlying")["size"].sum()
        return [payoff_curve(self.valued, name) for name in sorted(held, key=lambda n: (-size[n], n))]

    def stress_figure(self, **shifts: object):
        "The grid as a heat map."
        return stress_figure(self.stress(**shifts))

    def payoff_figure(self, *names: str):
        "Payoffs of the named underlyings, or of all."
        return payoff_figure([self.payoff(name) for name in names] or self.payoffs())

    def _headline(self) -> str:
        t, names = self.total, self.valued.names
        return (f"Risk of {len(self.positions):,} position{'s' * (len(self.positions) != 1)} on {', '.join(names[:5])}{', ...' * (len(names) > 5)} as of {self.as_of.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York: "
                f"value {dollars(t['value'])}, dollar delta {dollars(t['dollar_delta'])}, dollar gamma {dollars(t['dollar_gamma'])} per 1%, "
                f"vega {dollars(t['vega_point'], 2)} a vol point, theta {signed(t['theta_day'], 2)} a day")

    def _tail_line(self) -> str:
        if self.tail is None:
            return "VaR: give returns= or prices= of the underlyings, one column each"
        parts = [f"VaR {level:.0%} {dollars(var)}, shortfall {dollars(es)}" for level, var, es in zip(self.tail.levels, self.tail.var, self.tail.es)]
        return f"{'; '.join(parts)} (losses positive; one session, {len(self.tail.pnl):,} past ones, every position priced again, vols held, no time passes)"

    def __repr__(self) -> str:
        columns = ["contract", "qty", "mark", "vol", "delta", "value", "dollar_delta", "dollar_gamma", "vega_point", "theta_day"]
        body = self.positions[columns].to_string(index=False, na_rep="–", float_format=lambda x: f"{x:,.4g}" if abs(x) < 1 else f"{x:,.2f}")
        lines = [f"{c.name}: gain up to {_most(c.outcome.max_gain)}, loss up to {_most(c.outcome.max_loss)}, break-evens {_prices(c.outcome.break_evens)} "
                 f"at the close of {c.expiry}, from {c.basis}" for c in self.payoffs()]
        return "\n".join([self._headline(), body, self._tail_line(), repr(self.stress()), *lines, *(f"note: {n}" for n in self.notes)])

    def _repr_html_(self) -> str:
        curves, grid = self.payoffs(), self.stress()
        parts = [f"<p><b>{in_html(self._headline())}</b></p>", positions_risk_table(self.positions, self.total).html]
        if len(self.by_underlying) > 1:
            parts.append(underlyings_table(self.by_underlying).html)
        parts += [f"<p>{in_html(self._tail_line())}</p>", f"<p><b>{in_html(stress_sentence(grid))}</b></p>",
                  side_by_side([picture_html(stress_pane(grid, k), f"P&L over spot and vol shifts, {days:g} days") for k, days in enumerate(grid.days)])]
        if curves:
            parts += [payoff_table(curves).html, side_by_side([picture_html(payoff_pane(c), f"payoff of {c.name}, break-evens {_prices(c.outcome.break_evens)}") for c in curves[:CURVES]])]
        return "".join(parts) + "".join(f"<p>{in_html(n)}</p>" for n in self.notes)


# %% [markdown]
# ## One call

# %%
#| export
def _notes(v: Valued, unused: Sequence[str], given: dict[str, object], more: str) -> tuple[str, ...]:
    "What is missing and what is assumed, in words."
    bare, lost = int(np.isnan(v.mark).sum()), int((~v.usable).sum())
    said = [f"{bare} of {len(v.legs)} positions has no mark: it is not in the value" if bare == 1 else f"{bare} of {len(v.legs)} positions have no mark: they are not in the value"] if bare else []
    said += [f"{lost} without a vol: not in Greeks, VaR, stress and payoff"] if lost else []
    said += [f"{leg.row} {leg.contract.key}: {note}" for leg, note in zip(v.legs, v.notes) if note]
    said += [f"columns that were not used: {', '.join(unused)}"] if unused else []
    option, days = v.terms.right != 0, {}
    for leg in v.legs:
        days.setdefault(leg.contract.symbol, set()).add(leg.contract.expiry)
    mixed = [leg.contract.symbol for leg, american in zip(v.legs, v.terms.american) if leg.contract.is_option and not american and len(days[leg.contract.symbol] - {None}) > 1]
    said += [f"payoff of {mixed[0]}: European legs that end later are valued there as American ones"] if mixed else []
    said += ["the rate is 0: give rate= (annual, 0.05 is 5 %)"] if option.any() and not v.terms.rate[option].any() and given["rate"] == 0.0 else []
    return tuple(said + ([more] if more else []))


def _until(table: object, as_of: datetime, what: str, names: Sequence[str]) -> tuple[object, list[str]]:
    "Past prices or returns up to the instant, by their dates; with notes on what is later, and on nights of prices that look like splits."
    table = table.closes if isinstance(table, PriceTable) else table
    if not (isinstance(table, (pd.DataFrame, pd.Series)) and isinstance(table.index, pd.DatetimeIndex)):
        return table, []
    zone = table.index.tz
    last = pd.Timestamp(as_of) if zone is not None else pd.Timestamp(as_of.astimezone(NEW_YORK).date()) + pd.Timedelta(days=1, microseconds=-1)
    known = table[table.index <= last]
    if len(table) and not len(known):
        raise DataError(f"{what} begin on {table.index.min():%Y-%m-%d}, after as_of {as_of.astimezone(NEW_YORK):%Y-%m-%d}: give those of before it, or a later as_of")
    later = len(table) - len(known)
    notes = [f"{later} row{'s' * (later != 1)} of {what} later than as_of {'are' if later != 1 else 'is'} left out"] if later else []
    if what == "prices" and isinstance(known, pd.DataFrame) and zone is None and known.index.is_monotonic_increasing:
        held = known[[name for name in names if name in known.columns]].apply(pd.to_numeric, errors="coerce")
        notes += [f"{f.symbol} on {f.day}: {f.value}; if that was a split, VaR takes it for a move; otsport.read_prices(FILE, splits='adjust') mends it"
                  for f in split_findings(held) if f.code == "SPLIT"]
    return known, notes


def risk(
    positions: object,  # a CSV's path, a DataFrame, dicts, Legs, (qty, contract) pairs, or a mapping of contracts to quantities
    spot: object = None,  # dollars, one number or by symbol; else a column spot, or the last of prices
    *,
    as_of: object = None,  # the instant of the prices: a day (its close), an aware instant; None: now
    vol: object = None,  # annual, decimal, one number or by contract key or symbol; else a column vol, price, or bid and ask
    rate: object = 0.0,  # annual, continuous, decimal, one number or by symbol
    div_yield: object = 0.0,  # annual, continuous, decimal, likewise
    style: str = "american",  # or "european", of options that do not say it
    returns: object = None,  # DataFrame of past simple returns of the underlyings, oldest first; rows later than as_of are left out
    prices: object = None,  # or of past prices, or what read_prices gives
    levels: Sequence[float] = (0.95, 0.99),  # of value at risk and shortfall
) -> PositionRisk:
    """Value, Greeks, value at risk, stress and payoff of any positions; the result shows itself.

    qty in contracts or shares, signed; prices in dollars per unit of underlying; vol, rate, div_yield annual decimals (0.25 is 25 %).
    risk([(100, "KO"), (-1, "KO 20240816 C 65")], spot=62.5, vol=0.2, as_of="2024-07-19") is a covered call.
    """
    if returns is not None and prices is not None:
        raise InputError("returns and prices are both given: give one of them")
    legs, unused = held_legs(positions)
    at, names = instant_of(as_of), tuple(dict.fromkeys(leg.contract.symbol for leg in legs))
    (returns, late), (prices, odd) = _until(returns, at, "returns", names), _until(prices, at, "prices", names)
    given = {"spot": spot, "as_of": at, "vol": vol, "rate": rate, "div_yield": div_yield, "style": style_of(style), "returns": returns, "prices": prices, "levels": levels}
    v = valued(legs, given["as_of"], _spots(spot, prices, legs), vol, rate, div_yield, given["style"])
    tail, more = (None, "") if returns is None and prices is None else historical_tail(v, returns, prices, levels)
    frame = position_frame(v)
    return PositionRisk(given["as_of"], frame, frame[list(DOLLARS)].sum(), underlying_frame(frame), tail, (*_notes(v, unused, {"rate": rate}, more), *late, *odd), v, given)


def _spots(spot: object, prices: object, legs: Sequence) -> object:
    "The spots that are given, else the last prices of the names held."
    if spot is not None or not isinstance(prices, pd.DataFrame):
        return spot
    held = [name for name in dict.fromkeys(leg.contract.symbol for leg in legs) if name in prices.columns]
    return prices[held].ffill().iloc[-1] if len(prices) else None


# %%
covered = risk([(100, "KO"), (-1, "KO 20240816 C 65")], spot=62.5, vol=0.2, rate=0.05, as_of="2024-07-19")
test_close(covered.payoff().outcome.break_evens, 62.5 - covered.positions["mark"][1], eps=1e-9)
test_close(covered.total["value"], 6250 - 100 * covered.positions["mark"][1])
with expect_fail(InputError, contains="give one of them"): risk([(1, "KO")], 60, returns=1, prices=1)
covered

# %% [markdown]
# ## A book on real prices
# Two years of bundled closes; the last day's are the spots, the options have vols.

# %%
closes = sample("sp500_20_daily")[["KO", "AAPL"]].dropna().iloc[-501:]
held = pd.DataFrame({"contract": ["KO", "KO 20230120 C 65", "KO 20230120 P 60", "AAPL 20230120 C 130", "AAPL 20230217 C 130"], "qty": [200, -2, 2, -5, 5],
                     "vol": [None, 0.17, 0.20, 0.37, 0.36]})
book = risk(held, prices=closes, as_of=closes.index[-1], rate=0.04)
test_close(book.total["value"], (book.positions["qty"] * np.where(book.positions["vol"].isna(), 1, 100) * book.positions["mark"]).sum())
book

# %% [markdown]
# **What this leaves out:** margin, fees, and what a trade would change (the panel of positions shows that).
