"""Trades in whole lots: inside every bound after rounding, cash never negative, nothing traded where nothing drifted, no more where limits are tighter."""
from datetime import datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.books import Lot
from otsport.core.constraints import WeightCap
from otsport.core.errors import InputError, NoPrices
from otsport.kernels import lots as kernel
from otsport.portfolio.whole_lots import LOTS, Rebalance, Taxes, pick_lots, rebalance

NOW = datetime(2022, 12, 28, 15, tzinfo=timezone.utc)


def a_book(seed: int, n: int | None = None):
    "Weights, units, prices, cash and caps that the weights keep, drawn from a seed; held weights keep nothing."
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 12)) if n is None else n
    names = [f"A{i}" for i in range(n)]
    prices = pd.Series(np.round(np.exp(rng.uniform(0, 6, n)), 2), names)
    nav = float(rng.uniform(2e3, 1e6))
    w = pd.Series(rng.dirichlet(np.ones(n)) * rng.uniform(0.5, 1.0), names) * (rng.random(n) < 0.8)
    held = pd.Series(np.floor(rng.dirichlet(np.ones(n)) * rng.uniform(0, 0.99) * nav / prices), names)
    cash = nav - float(held @ prices)
    groups = [names[k::3] for k in range(min(3, n)) if len(names[k::3]) > 1]
    caps = [WeightCap("MAX_POSITION", "position limit", (s,), float(w[s] + rng.uniform(0, 0.05))) for s in names]
    caps += [WeightCap("SECTOR_CAP", f"sector {g[0]}", tuple(g), float(w[g].sum() + rng.uniform(0, 0.02))) for g in groups]
    return w, held, prices, cash, [*caps, WeightCap("MAX_GROSS", "gross limit", tuple(names), 1.0)]


def some_rules(seed: int) -> Rebalance:
    rng = np.random.default_rng(seed + 1)
    return Rebalance(band=float(rng.choice([0, 0.01, 0.05])), to=str(rng.choice(["target", "edge"])), min_trade=float(rng.choice([0, 0.005])), reserve=float(rng.choice([0, 0.01])),
                     collar=float(rng.choice([0, 0.02])), sales_pay=bool(rng.random() < 0.5), lot=int(rng.choice([1, 1, 10])))


def weights_after(found, prices) -> pd.Series:
    "Counted here: what is held at the prices over what the book is worth after costs."
    units = pd.Series(found.held + found.trades, found.names)
    return units * prices / (units @ prices + found.cash)


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_rounding_never_leaves_a_bound_and_cash_is_never_negative(seed):
    w, held, prices, cash, caps = a_book(seed)
    rules = some_rules(seed)
    found = rebalance(w, held, prices, cash, caps, rules)
    after = weights_after(found, prices)
    moved = pd.Series(found.trades, found.names)
    for cap in caps:  # what is not traded is not moved for the sake of costs alone
        traded = any(moved[s] for s in cap.symbols)
        assert cap.used(after) <= cap.bound * (1 if traded else found.nav / (found.nav - found.commission)) + 1e-12, (cap, found)
    buys, sells = np.maximum(found.trades, 0), np.minimum(found.trades, 0)
    assert found.cash >= 0 and cash - (buys @ prices) * (1 + rules.collar) - (sells @ prices) * (1 - rules.collar) * rules.sales_pay >= -1e-6
    assert (found.held + found.trades >= 0).all() and (found.trades == np.round(found.trades)).all()
    gone = found.held + found.trades == 0  # what closes may take odd lots
    assert (np.abs(found.trades[~gone]) % rules.lot == 0).all() and gone[(w == 0).to_numpy()].all()
    assert found.cash + float((found.held + found.trades) @ prices) == pytest.approx(found.nav - found.commission - found.spread_cost)
    assert (np.sign(found.trades) * np.sign(w - found.before) >= 0).all() or any(cap.used(pd.Series(found.before, found.names)) > cap.bound - 0.01 for cap in caps)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_what_has_not_drifted_is_not_traded(seed):
    w, _, prices, _, _ = a_book(seed)
    units = np.floor(w * 1e7 / prices)
    rng = np.random.default_rng(seed)
    units += rng.integers(0, 2, len(units)) * (units > 0)  # rounded down or up
    nav = 1e7
    for rules in (Rebalance(), Rebalance(band=0.02, to="edge"), Rebalance(min_trade=0, reserve=0), Rebalance(max_adv=0.01)):
        volumes = pd.Series(1e6, w.index)
        assert not rebalance(w, units, prices, nav - float(units @ prices), (), rules, volumes=volumes).trades.any()


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_what_was_traded_has_not_drifted(seed):
    w, held, prices, cash, _ = a_book(seed)
    w *= 0.9  # cash does not bind
    rules = Rebalance(band=0.02, to=str(np.random.default_rng(seed).choice(["target", "edge"])))
    first = rebalance(w, held * 100, prices, cash * 100, (), rules)
    again = rebalance(w, first.held + first.trades, prices, first.cash, (), rules)
    assert not again.trades.any(), (first, again)


@given(st.integers(0, 10**6), st.floats(0.1, 0.99))
@settings(max_examples=40, deadline=None)
def test_tighter_limits_never_trade_or_hold_more(seed, share):
    w, held, prices, cash, caps = a_book(seed)
    rich = cash + 2 * float(held @ prices) + 1e5  # cash does not bind, so that names do not compete for it
    w = w * (held @ prices) / (rich + held @ prices)
    volumes = pd.Series(np.abs(held - w * 1e5 / prices) + 100, w.index)
    wide, narrow = (rebalance(w, held, prices, rich, (), Rebalance(max_adv=m, min_trade=0), volumes=volumes) for m in (0.5, 0.5 * share))
    assert (np.abs(narrow.trades) <= np.abs(wide.trades) + 1e-9).all()
    at = str(np.random.default_rng(seed).choice(w.index))
    one, less = (rebalance(w, held, prices, rich, [WeightCap("MAX_POSITION", "position limit", (at,), b)], Rebalance(min_trade=0)) for b in (w[at], share * w[at]))
    i = list(w.index).index(at)
    assert (less.held + less.trades)[i] <= (one.held + one.trades)[i]


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_order_of_the_names_is_immaterial(seed):
    w, held, prices, cash, caps = a_book(seed)
    order = np.random.default_rng(seed).permutation(len(w))
    rules = some_rules(seed)
    one, other = rebalance(w, held, prices, cash, caps, rules), rebalance(w.iloc[order], held, prices, cash, caps, rules)
    assert other.trades == pytest.approx(one.trades[order])


def test_residual_cash_goes_where_it_helps_most():
    "1,000 dollars, wished 53 % at 100 and 47 % at 90: 5 and 5 by rounding down; 50 dollars are left and buy nothing. At 40 dollars the second takes one more lot."
    none = Rebalance(min_trade=0, reserve=0)
    found = rebalance([0.53, 0.47], [0, 0], [100, 90], 1002.0, rules=none)
    assert found.trades.tolist() == [5, 5]
    assert rebalance([0.53, 0.39], [0, 0], [100, 40], 1010.0, rules=none).trades.tolist() == [5, 10]  # 9.85 of it wished


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_greedy_is_within_a_lot_of_the_best_of_all_whole_lots(seed):
    rng = np.random.default_rng(seed)
    prices, w = np.round(rng.uniform(50, 150, 3), 2), rng.dirichlet(np.ones(3)) * 0.95
    rules = Rebalance(min_trade=0, reserve=0)
    found = rebalance(w, np.zeros(3), prices, 2000.0, rules=rules)
    nav = 2000.0

    def distance(units):
        return float(np.sum((units * prices / nav - w) ** 2))

    grid = np.array(np.meshgrid(*[np.arange(41)] * 3)).reshape(3, -1).T
    payable = grid[(grid @ prices + 3) <= nav]
    best = min(distance(u) for u in payable)
    assert distance(found.trades) <= best + (prices.max() / nav) ** 2


def plain_place(units, free, room, value, aim, nav, lot, caps, cash, cost):
    "One lot at a time, by dictionaries."
    while True:
        gains = {}
        for i in range(len(units)):
            delta = lot * value[i] / nav
            gain = delta * (2 * (aim[i] - units[i] * value[i] / nav) - delta)
            fits = all(i not in members or sum(units[j] * value[j] for j in members) + lot * value[i] <= bound for members, bound in caps)
            if free[i] and gain > 0 and units[i] + lot <= room[i] and fits and cost(i) <= cash:
                gains[i] = gain
        if not gains:
            return units, cash
        i = max(gains, key=gains.get)
        cash -= cost(i)
        units[i] += lot


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_placing_is_as_by_plain_loops_where_a_lot_at_most_is_missing(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    value, nav = rng.uniform(10, 200, n), 1e5
    aim = rng.dirichlet(np.ones(n))
    units = np.floor(aim * nav / value)
    room, held = units + rng.integers(0, 2, n), np.zeros(n)
    member = (rng.random((2, n)) < 0.5).astype(float)
    bound = member @ (units * value) + rng.uniform(0, 150, 2)
    left, cash = bound - member @ (units * value), float(rng.uniform(0, 400))
    caps = [(set(np.flatnonzero(m).tolist()), b) for m, b in zip(member, bound)]
    free, rate, share = np.ones(n, dtype=bool), np.full(n, 0.005), np.full(n, 0.01)
    twin, twin_cash = plain_place(units.copy(), free, room, value, aim, nav, 1.0, caps, cash, lambda i: value[i])
    mine = units.copy()
    rest = kernel.place(mine, held, free, room, value, value, value, aim, nav, 1.0, member, left, cash, rate * 0, 0.0, share * 0, False)
    assert mine.tolist() == twin.tolist() and rest == pytest.approx(twin_cash)


def test_commissions_are_those_of_the_venue():
    from otsport.core.contracts import option, stock
    from otsport.core.venues import MAX_FEE_SHARE, MIN_FEE, OPTION_FEE, STOCK_FEE, commission_due

    call = option("KO", "20230120", 65, "C")
    for qty, price in ((1, 50), (1234, 63.5), (3, 0.11), (200, 8.01), (7, 2.0), (0, 3.0)):
        expected = commission_due(stock("KO"), Decimal(qty), Decimal(str(price)) * qty) if qty else 0
        got = kernel.fee(float(qty), qty * price, float(STOCK_FEE), float(MIN_FEE), float(MAX_FEE_SHARE))
        assert got == pytest.approx(float(expected), abs=0.0101) and got >= float(expected) - 1e-9  # up to the cent
        if qty:
            assert kernel.fee(float(qty), 100 * qty * price, float(OPTION_FEE), float(MIN_FEE), np.inf) == pytest.approx(float(commission_due(call, Decimal(qty), Decimal(1))), abs=0.0101)
    out = np.empty(2)
    kernel.fees(np.array([-1234.0, 0.0]), np.array([63.5, 10.0]), np.full(2, 0.005), 1.0, np.full(2, 0.01), out)
    assert out.tolist() == [6.17, 0.0]


def test_closing_takes_odd_lots_and_no_rule_of_size_stops_it():
    found = rebalance([0.0, 0.5], [37, 0], [10.0, 20.0], 100_000.0, rules=Rebalance(band=0.9, min_trade=0.4, lot=10))
    assert found.trades.tolist() == [-37, 2510]  # 2,509 wished, of 50 % of 100,370 dollars


def test_cap_that_drift_has_broken_is_mended_inside_a_band_of_any_width():
    names = pd.Index(["A", "B"])
    cap = WeightCap("MAX_POSITION", "position limit", ("A",), 0.30)
    found = rebalance(pd.Series([0.30, 0.3], names), pd.Series([310, 300], names), pd.Series(100.0, names), 39_000.0, [cap], Rebalance(band=0.05))
    assert found.trades.tolist() == [-11, 0] and found.after[0] <= 0.30  # 300 shares would be above it once commissions are paid
    pair = WeightCap("SECTOR_CAP", "sector", ("A", "B"), 0.60)
    found = rebalance(pd.Series([0.30, 0.3], names), pd.Series([320, 250], names), pd.Series(100.0, names), 43_000.0, [pair], Rebalance(band=0.03, min_trade=0.01))
    assert found.trades.tolist() == [0, 29] and "SECTOR_CAP" in found.codes(1)  # the buy gives way to what the band leaves


def test_shorts_are_bought_back_whole_and_first():
    found = rebalance([0.5, 0.0], [0, -100], [50.0, 100.0], 12_000.0, rules=Rebalance(reserve=0))
    assert found.trades[1] == 100 and found.cash >= 0 and found.trades[0] == 20  # NAV is 2,000


def test_pledged_units_stay_and_say_so():
    found = rebalance(pd.Series({"KO": 0.0}), pd.Series({"KO": 350}), pd.Series({"KO": 60.0}), 0.0, pledged=pd.Series({"KO": 200}))
    (decision,) = found.decisions
    assert found.trades.tolist() == [-150] and decision.code == "PLEDGED" and "200 of 350" in decision.message


def test_contracts_count_by_their_multiplier():
    found = rebalance(pd.Series({"KO C": 0.10}), pd.Series({"KO C": 0}), pd.Series({"KO C": 2.50}), 100_000.0, multipliers=pd.Series({"KO C": 100}))
    assert found.trades.tolist() == [40] and found.commission == pytest.approx(26.0)


@pytest.mark.parametrize("given, words", [
    ({"prices": [0.0, 1.0]}, "price of asset 1 is 0"), ({"weights": [-0.1, 0.2]}, "weights: number 0 is -0.1"), ({"weights": [np.nan, 0.2]}, "weights: number 0 is nan"),
    ({"held": [1.0]}, "held have shape"), ({"cash": -1e6}, "NAV is"), ({"rules": Rebalance(max_adv=0.1)}, "no volumes are given"),
    ({"rules": Rebalance(risk_aversion=3)}, "no vols are given"), ({"pledged": [-1, 0]}, "pledged: number 0"), ({"cash": np.inf}, "finite"),
])
def test_bad_input_names_the_culprit(given, words):
    usual = {"weights": [0.3, 0.2], "held": [1.0, 2.0], "prices": [10.0, 20.0], "cash": 1000.0}
    with pytest.raises((InputError, NoPrices), match=words):
        rebalance(**usual | given)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 200), st.integers(0, 1500)), min_size=1, max_size=6), st.sampled_from(list(LOTS)), st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_lots_sold_add_up_and_the_dearest_first_realizes_least(drawn, first, share):
    from datetime import timedelta

    held = [Lot(Decimal(q), Decimal(p), NOW - timedelta(days=d)) for q, p, d in drawn]
    whole = sum((lot.qty for lot in held), Decimal(0))
    qty = max(Decimal(1), Decimal(int(whole * Decimal(str(share)))))
    gains = {m: sum(s.gain for s in pick_lots(held, qty, Decimal(100), NOW, m)) for m in LOTS}
    sold = pick_lots(held, qty, Decimal(100), NOW, first)
    assert sum(s.qty for s in sold) == qty and all(0 < s.qty <= s.lot.qty for s in sold) and gains["highest_cost"] == min(gains.values())


@pytest.mark.parametrize("opened, long_term", [("2021-12-28", False), ("2021-12-27", True), ("2022-01-05", False), ("2020-02-29", True)])
def test_long_term_is_more_than_a_year(opened, long_term):
    lot = Lot(Decimal(1), Decimal(10), datetime.fromisoformat(opened).replace(hour=20, tzinfo=timezone.utc))
    assert pick_lots([lot], Decimal(1), Decimal(20), NOW)[0].long_term is long_term


def test_loss_saves_its_rate():
    lot = Lot(Decimal(10), Decimal(30), NOW)
    assert Taxes(0.35, 0.15).due(pick_lots([lot], Decimal(10), Decimal(20), NOW)) == -35.0
