"""Bounds on Greeks and losses: measured by hand, with what is on its way, in the plan's stocks, orders and contracts, and at the gate; a tighter one never allows more."""
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal as D
from itertools import product
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.bound_use import BROKEN, KEPT, MAY_BREAK, UNKNOWN, UnitParts, book_uses, bound_room, unit_parts, use_of, uses_of
from otsport.analytics.marks import valued
from otsport.analytics.options import bsm_greeks, bsm_price
from otsport.analytics.positions import held_legs
from otsport.core.books import Lot, Position
from otsport.core.constraints import GreekBound, LossBound, drawn_in, greek_bounds
from otsport.core.contracts import Quote, option, stock
from otsport.core.errors import InputError, SettingsError
from otsport.core.intent import Target, Verdict
from otsport.core.orders import Order, OrderRecord, OrderState, OrderType, Side
from otsport.core.settings import BrokerProfile, Limits, settings as checked
from otsport.execution.gate import Circumstances, bound_contracts, check_bounds, let_through
from otsport.portfolio.limits import limit_contracts, limit_orders, limit_targets

NOW, CLOSES = datetime(2022, 12, 28, 15, tzinfo=timezone.utc), datetime(2022, 12, 28, 21, tzinfo=timezone.utc)
KO, PEP = stock("KO"), stock("PEP")
CALL, PUT, LOW, LATER = (option("KO", date(2023, m, d), k, r) for m, d, k, r in ((1, 20, 65, "C"), (1, 20, 60, "P"), (1, 20, 55, "P"), (2, 17, 60, "P")))
PRICES = {"KO": 62.61, "PEP": 180.0, CALL.key: 0.40, PUT.key: 0.55, LOW.key: 0.12, LATER.key: 1.10}
GRID = dict(spots=(-0.2, -0.1, 0.0, 0.1, 0.2), vols=(0.0, 0.5), days=(0,))
EVERY = (KO, PEP, CALL, PUT, LOW, LATER)


def unit(*bounds, **more) -> UnitParts:
    return unit_parts(EVERY, bounds, more.pop("prices", PRICES), NOW, **more)


# ---------------------------------------------------------------- measures, by hand

def test_parts_are_greeks_in_dollars_or_shares_and_losses_by_full_revaluation():
    tau = (datetime(2023, 1, 20, 21, tzinfo=timezone.utc) - NOW).total_seconds() / (365 * 86_400)
    found = unit(GreekBound("vega", high=1), GreekBound("delta", high=1), GreekBound("gamma", high=1, symbol="KO", unit="shares"), LossBound(1, **GRID))
    v = valued(held_legs([(1, PUT.key)])[0], NOW, 62.61, {PUT.key: 0.25})
    vol = float(valued([replace(held_legs([(1, PUT.key)])[0][0], price=0.55, spot=62.61)], NOW, style="european").vol[0])
    g = bsm_greeks(62.61, 60.0, tau, 0.0, 0.0, vol, -1)
    assert v.usable.all() and found.parts[0][PUT.key] == pytest.approx([100 * g.vega / 100]) and found.parts[0]["KO"] == [0.0]
    assert found.parts[1][PUT.key] == pytest.approx([100 * g.delta * 62.61]) and found.parts[1]["KO"] == pytest.approx([62.61])
    assert found.parts[2][PUT.key] == pytest.approx([100 * g.gamma])
    by_hand = [100 * (float(bsm_price(62.61 * (1 + move), 60.0, tau, 0.0, 0.0, vol * (1 + up), -1)) - g.price) for move, up in product(GRID["spots"], GRID["vols"])]
    assert found.parts[3][PUT.key] == pytest.approx(by_hand, abs=1e-7)


def test_uses_tell_now_and_the_worst_of_what_is_on_its_way():
    delta = GreekBound("delta", low=-10_000, high=20_000)
    report = book_uses(unit(delta), {"KO": 300.0}, [("KO", 100.0), ("KO", -500.0)])
    (use,) = report.uses
    assert (use.measured, use.worst, use.state) == (pytest.approx(18_783), pytest.approx(-200 * 62.61), MAY_BREAK) and use.used == pytest.approx(1.2522)
    assert [book_uses(unit(delta), {"KO": q}).uses[0].state for q in (300.0, 320.0, -150.0, -160.0)] == [KEPT, BROKEN, KEPT, BROKEN]
    loss = book_uses(unit(LossBound(4_000, **GRID)), {"KO": 300.0}).uses[0]
    assert (loss.measured, loss.used, loss.state) == (pytest.approx(0.2 * 18_783), pytest.approx(0.939, abs=1e-3), KEPT)
    assert "1 bound, 0 broken" in repr(report) and "120%" not in repr(report) and "125%" in report._repr_html_()


def test_a_bound_on_one_side_and_one_without_zero_inside():
    share = lambda x, low, high: use_of(GreekBound("delta", low, high), *(np.array([x]),) * 3).used
    assert [share(x, 100, 400) for x in (50, 100, 200, 400, 600)] == [1.5, 0.25, 0.5, 1.0, 1.5]
    assert [share(x, None, -100) for x in (-200, -100, -50)] == [0.0, 0.0, 1.5] and share(1, None, 0) == inf
    assert [share(x, -100, None) for x in (-50, 1e9)] == [0.5, 0.0]


def test_what_holds_no_vol_is_not_known_and_names_the_contract():
    bare = {k: v for k, v in PRICES.items() if k not in (PUT.key, LOW.key, LATER.key, CALL.key)}
    lost = unit(GreekBound("vega", low=-1e9), GreekBound("delta", low=-1e9, symbol="PEP"), prices=bare)
    uses = book_uses(lost, {PUT.key: -1.0, "PEP": 5.0}).uses
    assert [u.state for u in uses] == [UNKNOWN, KEPT] and PUT.key in uses[0].why and "not known" in repr(book_uses(lost, {PUT.key: -1.0}))
    known = unit(GreekBound("vega", low=-1e9), prices=bare, vols={PUT.key: 0.2, LOW.key: 0.2, LATER.key: 0.2, CALL.key: 0.2})
    assert book_uses(known, {PUT.key: -1.0}).uses[0].state == KEPT
    legs = valued(held_legs([(1, PUT.key), (10, "KO")])[0], NOW, 62.61)
    assert [u.state for u in uses_of(legs, [GreekBound("vega", high=1), GreekBound("delta", high=1, symbol="PEP"), LossBound(1, **GRID)]).uses] == [UNKNOWN, KEPT, UNKNOWN]


def test_an_option_whose_day_is_over_adds_nothing():
    late = datetime(2023, 1, 23, 15, tzinfo=timezone.utc)
    found = unit_parts(EVERY, (GreekBound("delta", high=0), LossBound(1, **GRID)), PRICES, late)
    assert found.parts[0][PUT.key].tolist() == [0.0] and not found.parts[1][PUT.key].any() and found.parts[0][LATER.key][0] < 0


# ---------------------------------------------------------------- settings

def test_limits_become_bounds_in_dollars_of_the_day():
    said = Limits(greeks=[{"greek": "delta", "low": -0.1, "high": 0.8, "unit": "nav", "hedge_high": 0.6}, {"greek": "delta", "high": 900, "unit": "shares", "symbol": "KO"}],
                  stress={"most": 0.1, "unit": "nav", "hedge_most": 0.08, "days": [0]})
    assert greek_bounds(said, 2e6) == (GreekBound("delta", -2e5, 1.6e6), GreekBound("delta", None, 900, "KO", "shares"), LossBound(2e5, days=(0.0,)))
    assert greek_bounds(said, 2e6, hedge=True) == (GreekBound("delta", -2e5, 1.2e6), GreekBound("delta", None, 900, "KO", "shares"), LossBound(1.6e5, days=(0.0,)))
    assert greek_bounds(said, -5)[2].most == 0  # nothing is left to lose


@pytest.mark.parametrize("limits, words", [
    ({"greeks": [{"greek": "rho", "high": 1}]}, "'delta', 'gamma', 'vega' or 'theta'"), ({"greeks": [{"greek": "vega"}]}, "neither low nor high"),
    ({"greeks": [{"greek": "vega", "low": 5, "high": -5}]}, "rise in this order"), ({"greeks": [{"greek": "vega", "high": 5, "hedge_high": 9}]}, "rise in this order"),
    ({"greeks": [{"greek": "vega", "high": 5, "unit": "shares", "symbol": "KO"}]}, "delta and gamma of one symbol"), ({"greeks": [{"greek": "delta", "high": 5, "unit": "shares"}]}, "give the symbol"),
    ({"greeks": [{"greek": "delta", "high": 50_000, "unit": "nav"}]}, "no share of it"), ({"greeks": [{"greek": "delta", "high": inf}]}, "finite"), ({"greeks": [{"greek": "delta", "high": nan}]}, "finite"),
    ({"stress": {"most": -1}}, "greater than 0"), ({"stress": {"most": 5, "unit": "nav"}}, "more than there is"), ({"stress": {"most": 5, "hedge_most": 6}}, "above most"),
    ({"stress": {"most": 5, "spots": [-1.5]}}, "greater than -1"), ({"stress": {"most": 5, "days": []}}, "at least 1 item"), ({"stress": {"most": 5, "days": [-1]}}, "greater than or equal to 0"),
])  # fmt: skip
def test_a_limit_that_cannot_be_meant_is_refused_with_its_rule(limits, words):
    with pytest.raises(SettingsError, match=words):
        checked(limits=limits)


# ---------------------------------------------------------------- how many more fit

sides = st.floats(-500, 500)
rows = st.lists(st.tuples(st.floats(-5000, 5000), st.floats(-900, 900)), min_size=3, max_size=6)


@settings(max_examples=40, deadline=None)
@given(now=sides, way=st.lists(sides, max_size=3), one=sides, low=st.floats(-900, 0), high=st.floats(0, 900), share=st.floats(0, 1))
def test_room_of_a_greek_is_the_most_that_keeps_it_and_a_tighter_bound_has_less(now, way, one, low, high, share):
    reach = np.array([now + sum(min(w, 0) for w in way)]), np.array([now + sum(max(w, 0) for w in way)])
    step = np.array([min(one, 0.0)]), np.array([max(one, 0.0)])
    wide, tight = (bound_room(GreekBound("vega", low * s, high * s), *reach, *step) for s in (1.0, share))
    assert 0 <= tight <= wide
    for room, s in ((wide, 1.0), (tight, share)):
        if 0 < room < 1e9:
            assert reach[0][0] + room * step[0][0] >= min(low * s, reach[0][0]) - 1e-5 and reach[1][0] + room * step[1][0] <= max(high * s, reach[1][0]) + 1e-5


@settings(max_examples=40, deadline=None)
@given(grid=rows, most=st.floats(1, 5000), share=st.floats(0, 1))
def test_room_of_a_loss_is_the_most_that_keeps_it_and_a_tighter_bound_has_less(grid, most, share):
    pnl, one = np.array(grid).T
    step = np.minimum(one, 0.0), np.maximum(one, 0.0)
    wide, tight = (bound_room(LossBound(most * s), pnl, pnl, *step) for s in (1.0, share))
    assert 0 <= tight <= wide
    if wide < 1e9:
        after = (pnl + wide * step[0]).min()
        assert after == pytest.approx(min(-most, pnl.min()), abs=1e-3)  # all of the room is used, and no more
    if pnl.min() < -most and one[int(pnl.argmin())] > 0 and (one >= 0).all():
        assert wide == inf  # what only mends is free


def test_a_combination_is_judged_at_the_worst_of_its_stages():
    found = unit(GreekBound("vega", -1e9, 1e9))
    vega = {c.key: float(found.parts[0][c.key][0]) for c in (PUT, LOW, LATER)}
    most = lambda one, **b: unit(GreekBound("vega", **b)).room(0, {}, [], one)
    calendar = {LATER.key: 1.0, PUT.key: -1.0}
    assert most(calendar, high=100) == pytest.approx(100 / vega[LATER.key], rel=1e-4)  # the long leg leaves first
    assert most(calendar, low=-100) == inf  # never below zero on its way
    assert most({LOW.key: 1.0, PUT.key: -1.0}, low=-100) == pytest.approx(100 / (vega[PUT.key] - vega[LOW.key]), rel=1e-4)
    assert most({PUT.key: -1.0, CALL.key: -1.0}, low=-100) == pytest.approx(100 / (vega[PUT.key] + float(found.parts[0][CALL.key][0])), rel=1e-4)


def test_contracts_are_cut_with_the_bound_that_binds():
    count, told = limit_contracts("KO put", 10, unit(GreekBound("vega", low=-1e6), GreekBound("delta", high=5_000)), {}, {PUT.key: -1.0})
    delta = -float(unit(GreekBound("delta", high=0)).parts[0][PUT.key][0])
    assert count == int(5_000 / delta) and (told.verdict, told.code, told.before, told.after) == (Verdict.CLIPPED, "DELTA", 10.0, float(count))
    assert limit_contracts("KO put", 10, unit(), {}, {PUT.key: -1.0}) == (10, None)
    lost = unit(GreekBound("vega", low=-1e6), prices={"KO": 62.61})
    assert limit_contracts("KO put", 10, lost, {}, {PUT.key: -1.0})[1].verdict is Verdict.REFUSED
    assert limit_contracts("shares", 10, lost, {PUT.key: -5.0}, {"KO": 1.0}) == (10, None)  # they move no vega, whatever that is


# ---------------------------------------------------------------- the plan's stocks and orders

EXACT = {"KO": D("62.61"), "PEP": D("180")}


def targeted(bounds, wishes, floors=(), options=(), **more):
    return limit_targets([Target(stock(s), w) for s, w in wishes.items()], unit(*bounds, **more), dict(options), EXACT, D(100_000), dict(floors))


def test_stock_targets_shrink_alike_above_what_stays():
    cut, told = targeted([GreekBound("delta", high=30_000)], {"KO": 0.3, "PEP": 0.2}, {"KO": 0.1})
    assert [t.weight for t in cut] == pytest.approx([0.2, 0.1]) and {d.code for d in told} == {"DELTA"} and cut[0].steps[-1].code == "DELTA"
    assert [t.weight for t in targeted([GreekBound("delta", high=10_000, symbol="PEP")], {"KO": 0.3, "PEP": 0.2})[0]] == pytest.approx([0.3, 0.1])
    assert [t.weight for t in targeted([LossBound(6_000, **GRID)], {"KO": 0.3, "PEP": 0.2})[0]] == pytest.approx([0.18, 0.12])  # a fifth of 30,000
    assert targeted([GreekBound("vega", low=0)], {"KO": 0.3}) == ((Target(KO, 0.3),), ())
    put = 5 * float(unit(GreekBound("delta", high=0)).parts[0][PUT.key][0])
    assert targeted([GreekBound("delta", high=20_000)], {"KO": 0.3}, options={PUT.key: 5.0})[0][0].weight == pytest.approx((20_000 - put) / 1e5)  # five puts make room
    assert targeted([GreekBound("delta", high=5_000)], {"KO": 0.3}, {"KO": 0.1})[0][0].weight == pytest.approx(0.1)  # what stays is beyond it already


@settings(max_examples=25, deadline=None)
@given(ko=st.floats(0, 0.5), pep=st.floats(0, 0.5), floor=st.floats(0, 0.3), high=st.floats(1_000, 90_000), share=st.floats(0, 1), loss=st.booleans())
def test_a_tighter_bound_never_gives_a_stock_more(ko, pep, floor, high, share, loss):
    bound = lambda x: LossBound(x / 5, **GRID) if loss else GreekBound("delta", high=x)
    wide, tight = ([t.weight for t in targeted([bound(x)], {"KO": ko, "PEP": pep}, {"KO": min(floor, ko)})[0]] for x in (high, high * share))
    assert all(t <= w + 1e-12 for t, w in zip(tight, wide)) and all(w <= x + 1e-12 for w, x in zip(wide, (ko, pep)))
    assert sum(wide) * 1e5 <= max(high, min(floor, ko) * 1e5) + 1e-3


def order(c, side, qty, n=1, limit="1"):
    return Order(f"20221228-main-00{n}", "DU123456", "main", c, side, D(qty), OrderType.LIMIT, D(limit))


def test_orders_are_cut_one_after_the_other_and_a_sale_makes_no_room_before_it_fills():
    orders = [order(KO, Side.SELL, 100), order(PEP, Side.BUY, 50, 2), order(KO, Side.BUY, 10, 3)]
    kept, told = limit_orders(orders, unit(GreekBound("delta", high=25_000)), {"KO": 300.0})
    assert [(o.contract.symbol, o.qty) for o in kept] == [("KO", 100), ("PEP", 34), ("KO", 1)] and [d.code for d in told] == ["DELTA", "DELTA"]  # 6,217 dollars of room, then 97
    assert [o.qty for o in limit_orders(orders, unit(GreekBound("delta", high=25_000)), {"KO": 300.0}, lot=10)[0]] == [100, 30, 10]
    assert limit_orders(orders, unit(), {"KO": 300.0}) == (tuple(orders), ())
    lost = unit(GreekBound("vega", low=-1e6), prices={k: v for k, v in PRICES.items() if not k.startswith("KO ")})
    close, more = order(PUT, Side.BUY, 5), order(PUT, Side.SELL, 5, 2)
    assert [o.qty for o in limit_orders([close, more], lost, {PUT.key: -3.0})[0]] == [3]  # where nobody knows, only what closes is left


# ---------------------------------------------------------------- the gate

AT = Circumstances(profile=BrokerProfile(), served=("DU123456",), nav=1e6, cash=D(10**6), quote=None, now=NOW, closes=CLOSES, limits=Limits(max_order_weight=1.0, max_position_weight=1.0),
                   known_symbols=frozenset({"KO", "PEP"}), positions={}, orders={}, prices=PRICES)


def holding(*pairs):
    return {c.key: Position("DU123456", "main", c, (Lot(D(q), D(1), NOW),)) for c, q in pairs}


def working(*orders, state="working"):
    return {o.order_ref: OrderRecord(o, NOW.date(), OrderState(state)) for o in orders}


def judged(o, *bounds, **at):
    return check_bounds(o, replace(AT, bounds=bounds, **at))


def test_what_is_on_its_way_counts_at_its_worst():
    delta, buy = GreekBound("delta", -1_000, 25_000), order(KO, Side.BUY, 100, 9)
    held = holding((KO, 300))
    assert judged(buy, GreekBound("delta", -1_000, 26_000), positions=held) is None and judged(buy, delta, positions=held).code == "DELTA"
    for state in ("sent", "working", "unknown", "partially_filled", "pending_cancel"):
        assert judged(buy, GreekBound("delta", -1_000, 26_000), positions=held, orders=working(order(KO, Side.BUY, 30), state=state)).code == "DELTA"
    for state in ("cancelled", "rejected", "created"):
        assert judged(buy, GreekBound("delta", -1_000, 26_000), positions=held, orders=working(order(KO, Side.BUY, 30), state=state)) is None
    assert judged(buy, delta, positions=held, orders=working(order(KO, Side.SELL, 300))).code == "DELTA"  # the sale may not fill
    assert judged(order(KO, Side.SELL, 20, 9), delta, positions=held, orders=working(order(KO, Side.SELL, 300))).code == "DELTA"  # and it may: then this one is too much


@pytest.mark.parametrize("bound, held, mends, hurts", [
    (GreekBound("delta", high=10_000), ((KO, 300),), order(KO, Side.SELL, 50), order(KO, Side.BUY, 1)),
    (GreekBound("delta", low=0), ((PUT, 10),), order(KO, Side.BUY, 50), order(PUT, Side.BUY, 1)),
    (GreekBound("gamma", low=-50), ((PUT, -10),), order(PUT, Side.BUY, 1), order(CALL, Side.SELL, 1)),
    (GreekBound("vega", low=-20), ((PUT, -10),), order(LATER, Side.BUY, 1), order(CALL, Side.SELL, 1)),
    (GreekBound("theta", low=-5), ((PUT, 10),), order(PUT, Side.SELL, 2), order(CALL, Side.BUY, 1)),
    (LossBound(500, **GRID), ((KO, 100),), order(LOW, Side.BUY, 1), order(KO, Side.BUY, 1)),
    (LossBound(500, **GRID), ((PUT, -10),), order(KO, Side.SELL, 100), order(LOW, Side.SELL, 1)),
])  # fmt: skip
def test_a_book_that_is_over_may_come_back_and_go_no_further(bound, held, mends, hurts):
    assert book_uses(unit(bound), {c.key: float(q) for c, q in held}).uses[0].state == BROKEN
    assert judged(mends, bound, positions=holding(*held)) is None
    refused = judged(hurts, bound, positions=holding(*held))
    assert (refused.accepted, refused.code) == (False, bound.code) and f"{refused.before:,.0f}" in refused.message and bound.name in refused.message


def test_too_much_of_a_cure_is_no_cure():
    delta = GreekBound("delta", -10_000, 10_000)
    assert judged(order(KO, Side.SELL, 450), delta, positions=holding((KO, 300))) is None and judged(order(KO, Side.SELL, 470), delta, positions=holding((KO, 300))).code == "DELTA"
    assert judged(order(KO, Side.SELL, 470), GreekBound("delta", -5_000, 5_000), positions=holding((KO, 300))).code == "DELTA"


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_tighter_bound_never_lets_more_through_whatever_is_held_and_on_its_way(data):
    pick = lambda name, what: data.draw(what, name)
    contracts, qty = st.sampled_from([KO, CALL, PUT, LOW]), st.sampled_from([-20, -3, 1, 8, 150])
    held = {c.key: q for c, q in pick("held", st.lists(st.tuples(contracts, qty), max_size=3))}
    at = dict(positions=holding(*((c, held[c.key]) for c in EVERY if c.key in held)),
              orders=working(*(order(c, Side.BUY if q > 0 else Side.SELL, abs(q), n) for n, (c, q) in enumerate(pick("way", st.lists(st.tuples(contracts, qty), max_size=3)), 2))))
    o = order(pick("contract", contracts), pick("side", st.sampled_from(Side)), pick("qty", st.sampled_from([1, 5, 40, 300])))
    greek, size, share = pick("greek", st.sampled_from(["delta", "gamma", "vega", "theta", "loss"])), pick("size", st.floats(1, 40_000)), pick("share", st.floats(0, 1))
    bound = lambda s: LossBound(size * s, **GRID) if greek == "loss" else GreekBound(greek, -size * s, size * s)
    wide, tight = (judged(o, bound(s), **at) is None for s in (1.0, share))
    assert wide >= tight
    known = unit(bound(1.0))
    way = [(r.order.contract.key, float(r.order.signed_qty)) for r in at["orders"].values()]
    before, after = (book_uses(known, {k: float(q) for k, q in held.items()}, w).uses[0] for w in (way, [*way, (o.contract.key, float(o.signed_qty))]))
    assert not wide or after.state == KEPT or after.used <= before.used + 1e-6 or before.state in (BROKEN, MAY_BREAK)
    if after.state == KEPT:
        assert wide


def test_without_a_number_only_what_closes_leaves():
    bare = dict(prices={"KO": 62.61, "PEP": 180.0}, positions=holding((PUT, -3), (KO, 100)))
    vega, loss = GreekBound("vega", low=-1e9), LossBound(1e9, **GRID)
    assert judged(order(PUT, Side.SELL, 1), vega, **bare).code == "VEGA" and "not known" in judged(order(PUT, Side.SELL, 1), vega, **bare).message
    assert judged(order(PUT, Side.BUY, 3), vega, loss, **bare) is None and judged(order(KO, Side.SELL, 100), loss, **bare) is None
    assert judged(order(PUT, Side.BUY, 4), vega, **bare).code == "VEGA" and judged(order(KO, Side.BUY, 1), loss, **bare).code == "STRESS_LOSS"
    assert judged(order(KO, Side.BUY, 1), vega, GreekBound("delta", high=1e9, symbol="PEP"), **bare) is None  # shares move no vega, and no delta of another
    assert judged(order(PUT, Side.SELL, 1), vega, loss, **bare, vols={PUT.key: 0.2}) is None


def test_orders_that_leave_together_share_the_bound_and_the_gate_measures_once(monkeypatch):
    buys = [OrderRecord(order(c, Side.BUY, 50, n, f"{p:.2f}"), NOW.date(), OrderState.CREATED) for n, (c, p) in enumerate(((KO, 62.7), (PEP, 180.2), (KO, 62.7)), 1)]
    quotes = {c.key: Quote(c, NOW, PRICES[c.key] - 0.01, PRICES[c.key] + 0.01, last=PRICES[c.key], source="live") for c in (KO, PEP)}
    at = replace(AT, bounds=(GreekBound("delta", high=13_000),))
    calls, real = [], unit_parts
    monkeypatch.setattr("otsport.analytics.bound_use.unit_parts", lambda *a: calls.append(a) or real(*a))
    assert [d.code for d in let_through({}, buys, quotes, at)] == ["OK", "OK", "DELTA"] and len(calls) == 1
    quiet = {c.key: replace(q, last=nan) for c, q in zip((KO, PEP), quotes.values())}  # before the first trade of the day the middle counts
    assert [d.code for d in let_through({}, buys, quiet, at)] == ["OK", "OK", "DELTA"]
    assert {c.key for c in bound_contracts(replace(at, positions=holding((CALL, -1)), orders=working(order(LOW, Side.BUY, 1))), buys[:1])} == {CALL.key, LOW.key, "KO"}
    assert bound_contracts(AT, buys) == [] and let_through({}, buys, quotes, AT)[2].accepted  # without bounds nothing is measured


def test_bounds_drawn_in_keep_their_order():
    assert drawn_in(GreekBound("delta", -100, 200), 0.05) == GreekBound("delta", -95, 190) and drawn_in(LossBound(100.0), 0.1).most == pytest.approx(90)
    assert drawn_in(GreekBound("delta", 100, 102), 0.05) == GreekBound("delta", 100.95, 100.95) and drawn_in(GreekBound("delta", None, -100), 0.05).high == -105
    with pytest.raises(InputError, match="was not measured"):
        book_uses(unit_parts([KO], (GreekBound("delta", high=1),), PRICES, NOW), {"PEP": 1.0})
