"""Whole lots: residual cash goes, one lot after another, where it lowers the distance to the aim most.

The distance is sum_i (w_i - aim_i)^2 with w_i = units_i value_i / nav; a lot more of i changes it by
delta (delta + 2 (w_i - aim_i)), delta = lot value_i / nav. A lot is placed only where every cap (sum of member values at most
a bound), the room of its name and the cash, with fees, allow it. Greedy: no optimum is promised, no bound is left.
Commissions: `rate` a unit, at least `least`, at most `share` of the value. Twin: plain loops over dictionaries in the tests.
"""
import math

import numpy as np

from ._jit import kernel


@kernel
def fee(qty, value, rate, least, share):
    """Commission of an order of qty units worth value, up to the cent."""
    if qty <= 0.0:
        return 0.0
    return math.ceil(100.0 * min(max(least, rate * qty), share * value) - 1e-7) / 100.0


@kernel
def fees(trades, value, rate, least, share, out):
    """Commission of each of the trades (n,), signed units of value (n,) dollars each, into out."""
    for i in range(len(trades)):
        out[i] = fee(abs(trades[i]), abs(trades[i]) * value[i], rate[i], least, share[i])


@kernel
def dues(goal, held, lot, paid, rate, least, share, spread, out):
    """What the way from held to goal (n,), and one lot more, costs at paid dollars a unit, into out; nothing for no way.

    spread : (n,) half of it, dollars a unit
    """
    for i in range(len(goal)):
        qty = abs(goal[i] - held[i])
        qty += lot if qty > 0.0 else 0.0
        out[i] = fee(qty, qty * paid[i], rate[i], least, share[i]) + qty * spread[i]


@kernel
def _lots_that_fit(i, lot, room, units, value, aim, nav, member, left):
    """Half of the lots that bring a name to its aim, as far as its room and its caps go; at least one, 0 where none fits."""
    step = lot * value[i]
    most = min(math.floor((room[i] - units[i]) / lot + 1e-9), (aim[i] * nav - units[i] * value[i]) / step)
    for q in range(len(left)):
        if member[q, i] > 0.0:
            most = min(most, math.floor(left[q] / step + 1e-9))
            if left[q] < step:
                return 0.0
    return max(1.0, math.floor(most / 2.0)) if room[i] - units[i] >= lot - 1e-9 else 0.0


@kernel
def _price_of(i, lots, lot, held, units, paid, brings, rate, least, share, funded):
    """Cash that so many lots more take: a larger buy, or a sale that brings less where sales pay for buys."""
    before, after = units[i] - held[i], units[i] + lots * lot - held[i]
    cost = 0.0
    for sign, trade in ((-1.0, before), (1.0, after)):
        charged = fee(abs(trade), abs(trade) * paid[i], rate[i], least, share[i])
        if trade > 0.0:
            cost += sign * (trade * paid[i] + charged)
        elif funded:
            cost += sign * (trade * brings[i] + charged)
    return cost


@kernel
def place(units, held, free, room, value, paid, brings, aim, nav, lot, member, left, cash, rate, least, share, funded):
    """Add lots to `units` in place until none lowers the distance; returns the cash that is left.

    Parameters
    ----------
    units, held, room : (n,) units after the trades so far, now, and at most
    value, paid, brings : (n,) dollars a unit: of the position, of a buy, of a sale
    aim : (n,) weights; nav : dollars; lot : units
    free : (n,) bool, names that may take more
    member : (m, n) 1 for a member of a cap; left : (m,) dollars below each cap, updated
    cash : dollars that may be spent; rate, least, share : fees as of `fee`; funded : whether sales pay for buys
    """
    while True:
        best, at, count = 0.0, -1, 0.0
        for i in range(len(units)):
            if not free[i]:
                continue
            delta = lot * value[i] / nav
            gain = delta * (2.0 * (aim[i] - units[i] * value[i] / nav) - delta)
            if gain <= best + 1e-18:
                continue
            lots = _lots_that_fit(i, lot, room, units, value, aim, nav, member, left)
            while lots > 1.0 and _price_of(i, lots, lot, held, units, paid, brings, rate, least, share, funded) > cash:
                lots = math.floor(lots / 2.0)
            if lots >= 1.0 and _price_of(i, lots, lot, held, units, paid, brings, rate, least, share, funded) <= cash:
                best, at, count = gain, i, lots
        if at < 0:
            return cash
        cash -= _price_of(at, count, lot, held, units, paid, brings, rate, least, share, funded)
        units[at] += count * lot
        for q in range(len(left)):
            if member[q, at] > 0.0:
                left[q] -= count * lot * value[at]
