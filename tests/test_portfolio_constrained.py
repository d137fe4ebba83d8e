"""Constraints of a book: held exactly by every objective, the same answer by two ways, exits first, and the smallest clash by its names in book.yaml."""
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.covariance import shrunk_covariance
from otsport.core.calendars import session_close
from otsport.core.contracts import stock
from otsport.core.errors import InputError, SolverError
from otsport.core.intent import Target
from otsport.core.orders import Order, OrderType, Side
from otsport.core.settings import ConstraintRules, Limits
from otsport.data.samples import history
from otsport.portfolio.constrained import FORMULAS, Asked, Follows, Ground, clash, own_rules, weighed, within_turnover
from otsport.portfolio.objectives import OBJECTIVES, Seen

CLOSE = session_close(date(2022, 12, 27))
PAST, INDEX = history().returns(CLOSE, sessions=504), history().index(CLOSE, 505).pct_change().dropna()
MU = (0.2 * ((1 + PAST.iloc[-252:-21]).prod() - 1).sort_values(ascending=False)[:8]).sort_index()
HELD = {"XOM": 0.09, "KO": 0.08, "GE": 0.06, "BAC": 0.05}
ALL = sorted({*MU.index, *HELD})
COV = shrunk_covariance(PAST[ALL])
SEEN = Seen(lambda symbols: PAST[list(symbols)], dict.fromkeys(MU.index, 0.7))
GIVEN = {"max_return": {"max_vol": 0.12}, "mean_variance": {"risk_aversion": 5.0}, "mixed": {"shares": {"max_sharpe": 0.5, "risk_parity": 0.5}}}
LIMITS = Limits(max_sector_weight=0.35)


def ask(word="max_sharpe", held=HELD, size=0.10, **rules) -> Asked:
    targets = tuple(Target(stock(s), size) for s in MU.index)
    return Asked(word, targets, dict(MU), COV, history().sectors, LIMITS, GIVEN.get(word, {}), SEEN, ConstraintRules(**rules), Ground(held, index=lambda: INDEX))


def weights(a: Asked) -> pd.Series:
    return pd.Series({t.contract.symbol: t.weight for t in weighed(a).targets}, dtype=float).reindex(ALL, fill_value=0.0)


def turnover(w: pd.Series, held=HELD) -> float:
    return float((w - pd.Series(held).reindex(ALL, fill_value=0.0)).abs().sum())


def tracking_error(w: pd.Series) -> float:
    "By the joint covariance of stocks and index, written apart from the module."
    y = INDEX.reindex(PAST.index).dropna()
    c, s2 = np.array([252 * np.cov(PAST.loc[y.index, n], y)[0, 1] for n in ALL]), 252 * y.var()
    return float(w @ COV @ w - 2 * c @ w + s2) ** 0.5


def beta(w: pd.Series) -> float:
    y = INDEX.reindex(PAST.index).dropna()
    return float(sum(w[n] * np.cov(PAST.loc[y.index, n], y)[0, 1] for n in ALL) / y.var())


OIL = ["CVX", "XOM", "RRC"]
RULES = {  # rules, what they bound, and whether weights keep to it
    "turnover": ({"max_turnover": 0.30}, lambda w: turnover(w) <= 0.30 + 1e-7),
    "names": ({"max_names": 4}, lambda w: (w > 1e-7).sum() <= 4),
    "position": ({"min_position": 0.06}, lambda w: ((w < 1e-7) | (w >= 0.06 - 1e-7)).all()),
    "group": ({"groups": {"oil": {"symbols": OIL, "most": 0.08, "least": 0.02}}}, lambda w: 0.02 - 1e-7 <= w[OIL].sum() <= 0.08 + 1e-7),
    "weights": ({"max_weight": 0.07, "min_weight": {"KO": 0.03}}, lambda w: w.max() <= 0.07 + 1e-7 and w["KO"] >= 0.03 - 1e-7),
    "invested": ({"max_invested": 0.40, "min_invested": 0.35}, lambda w: 0.35 - 1e-7 <= w.sum() <= 0.40 + 1e-7),
    "beta": ({"max_beta": 0.25, "min_beta": 0.20}, lambda w: 0.20 - 1e-7 <= beta(w) <= 0.25 + 1e-7),
    "error": ({"max_tracking_error": 0.165}, lambda w: tracking_error(w) <= 0.165 + 1e-6),
    "several": ({"max_turnover": 0.6, "max_names": 6, "max_tracking_error": 0.18, "groups": {"oil": {"symbols": OIL, "most": 0.15}}},
                lambda w: turnover(w) <= 0.6 + 1e-7 and (w > 1e-7).sum() <= 6 and tracking_error(w) <= 0.18 + 1e-6 and w[OIL].sum() <= 0.15 + 1e-7),
}


@pytest.mark.parametrize("word", OBJECTIVES)
def test_every_objective_keeps_every_constraint(word):
    free = weights(ask(word))
    broken = 0
    for name, (rules, holds) in RULES.items():
        if name == "several" and word in ("kelly", "min_cvar"):  # a tree of programs over 504 scenarios; `names` and `position` are trees, too
            continue
        found = weighed(ask(word, **rules))
        w = pd.Series({t.contract.symbol: t.weight for t in found.targets}, dtype=float).reindex(ALL, fill_value=0.0)
        assert holds(w), (word, name, w.round(4).to_dict())
        assert w.min() >= -1e-9 and w.max() <= 0.10 + 1e-7 and found.vol == pytest.approx(float(w @ COV @ w) ** 0.5, rel=1e-6)
        broken += not holds(free)
    assert broken >= 4  # negative control: without the rules most of them do not hold


@pytest.mark.parametrize("word", sorted(FORMULAS))
def test_the_formula_and_the_optimizer_agree(word):
    "A number of names that binds nothing sends the objective through the language; the weights are those of the optimizer."
    for rules in ({}, {"max_turnover": 0.3}, {"max_beta": 0.35, "min_invested": 0.3}):
        one, other = weights(ask(word, **rules)), weights(ask(word, **rules, max_names=50))
        assert one.to_numpy() == pytest.approx(other.to_numpy(), abs=2e-4), (word, rules)


def test_rules_that_bind_are_named_with_their_price():
    oil = {"oil": {"symbols": OIL, "most": 0.07}}
    found = weighed(ask(max_turnover=0.40, groups=oil))
    by = {(b.stage, b.rule): b for b in found.binding}
    assert by["constraints", "max_turnover"].bound == 0.40 and by["constraints", "max_turnover"].price > 0
    assert by["constraints", "groups.oil"].names and by["constraints", "groups.oil"].price > 0
    tighter, wider = (weighed(ask(max_turnover=t, groups=oil, min_invested=0.2)) for t in (0.40, 0.41))
    assert wider.expected_return / wider.vol >= tighter.expected_return / tighter.vol - 1e-9
    loose = weighed(ask(max_turnover=1.9, max_beta=3.0))
    assert not {b.rule for b in loose.binding} & {"max_turnover", "max_beta"}


def test_price_of_turnover_is_what_more_of_it_brings():
    at = lambda t: weighed(ask("mean_variance", max_turnover=t))
    value = lambda f: f.expected_return - 2.5 * f.vol**2
    price = next(b.price for b in at(0.40).binding if b.rule == "max_turnover")
    assert (value(at(0.401)) - value(at(0.399))) / 0.002 == pytest.approx(price, rel=0.02)


@given(st.floats(0.02, 1.5), st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_exits_come_first_and_turnover_is_never_exceeded(most, seed):
    rng = np.random.default_rng(seed)
    held = {s: float(x) for s, x in zip(ALL, 0.12 * rng.random(len(ALL)) * (rng.random(len(ALL)) < 0.6)) if x}
    a = replace(ask(max_turnover=most), ground=Ground(held))
    found, exits = weighed(a), sum(w for s, w in held.items() if s not in MU.index)
    w = pd.Series({t.contract.symbol: t.weight for t in found.targets}, dtype=float).reindex(ALL, fill_value=0.0)
    assert turnover(w, held) <= most + 1e-7
    forced = exits + sum(max(w_ - 0.10, 0.0) for s, w_ in held.items() if s in MU.index)
    if forced > most:  # all of it is sold alike, nothing else moves, and what stays is told
        assert found.decisions and {d.code for d in found.decisions} == {"TURNOVER"}
        assert all(w[s] == pytest.approx(held.get(s, 0.0) * (1 - most / forced), abs=1e-6) for s in ALL if s not in MU.index)
        assert all(w[s] <= held.get(s, 0.0) + 1e-6 for s in ALL)
    else:
        assert not found.decisions and all(w[s] == pytest.approx(0, abs=1e-9) for s in ALL if s not in MU.index)


def test_what_is_kept_of_an_exit_and_is_smaller_than_a_position_stays_aside():
    held = {"GE": 0.10, "BAC": 0.02}
    w = weights(replace(ask(max_turnover=0.09, min_position=0.03), ground=Ground(held)))
    assert w["GE"] == pytest.approx(0.10 * (1 - 0.09 / 0.12)) and w["BAC"] == pytest.approx(0.02 * 0.25)  # a quarter of each is left, no position by itself
    assert turnover(w, held) <= 0.09 + 1e-7


def test_pledged_shares_stay_whatever_is_wished():
    a = replace(ask(max_turnover=1.0), ground=Ground({"GE": 0.08, "KO": 0.13}, {"GE": 0.05, "KO": 0.12}))
    w = weights(a)
    assert w["GE"] == pytest.approx(0.05) and w["KO"] >= 0.12 - 1e-7


@pytest.mark.parametrize("rules, names", [
    ({"min_weight": 0.09, "max_turnover": 0.2, "max_names": 8}, {"constraints.min_weight 0.09", "constraints.max_turnover 0.2"}),
    ({"groups": {"oil": {"symbols": OIL, "least": 0.29}}, "max_weight": 0.09, "max_names": 8}, {"constraints.groups.oil 0.29", "constraints.max_weight 0.09"}),
    ({"min_invested": 0.5, "max_names": 3}, {"sizes", "constraints.min_invested 0.5", "constraints.max_names 3"}),
    ({"min_beta": 0.6}, {"constraints.min_beta 0.6", "sizes"}),
])
def test_a_smallest_clash_is_told_by_the_names_of_the_file(rules, names):
    with pytest.raises(SolverError) as error:
        weighed(ask(**rules, held={}))
    said = str(error.value)
    told = set(said.partition("cannot hold together: ")[2].removesuffix("; relax one").split(", "))
    assert told == names
    for name in names - {"sizes"}:  # smallest: without any one of them weights exist
        field = name.split(".")[1].split(" ")[0]
        weighed(ask(**{k: v for k, v in rules.items() if k != field}, held={}))


def test_a_tracking_error_that_no_weights_have_is_told_with_the_least():
    with pytest.raises(SolverError, match=r"max_tracking_error 0.01: these stocks have a tracking error of 0\.\d+ at least"):
        weighed(ask(max_tracking_error=0.01))


def test_a_benchmark_of_symbols_is_followed_to_nothing():
    a = ask("min_variance", benchmark={"KO": 0.5, "XOM": 0.5}, max_tracking_error=0.05, size=0.6)
    a = replace(a, limits=Limits(max_position_weight=0.6, max_sector_weight=1.0))
    w = weights(a) - pd.Series({"KO": 0.5, "XOM": 0.5}).reindex(ALL, fill_value=0.0)
    assert float(w @ COV @ w) ** 0.5 <= 0.05 + 2e-3  # the covariance is shrunk, the benchmark is not


def test_order_of_names_is_immaterial():
    a = ask(max_turnover=0.4, max_names=5)
    other = replace(a, targets=a.targets[::-1], cov=COV.loc[ALL[::-1], ALL[::-1]])
    assert weights(other).to_numpy() == pytest.approx(weights(a).to_numpy(), abs=1e-5)


def test_no_views_and_nothing_held_is_nothing():
    found = weighed(replace(ask(held={}), targets=()))
    assert found.targets == () and found.binding == ()
    sold = weighed(replace(ask(max_turnover=0.1), targets=()))  # everything goes, a tenth of NAV a day
    assert sum(t.weight for t in sold.targets) == pytest.approx(sum(HELD.values()) - 0.1)


def test_an_index_that_never_moved_or_does_not_reach_is_told():
    flat = replace(ask(max_beta=0.5), ground=Ground({}, index=lambda: INDEX * 0))
    with pytest.raises(InputError, match="never moved"):
        weighed(flat)
    short = replace(ask(max_beta=0.5), ground=Ground({}, index=lambda: INDEX.iloc[:100]))
    with pytest.raises(InputError, match="100 of the 504 returns"):
        weighed(short)
    assert Follows.of(PAST[["KO"]], PAST["KO"], COV.loc[["KO"], ["KO"]]).beta["KO"] == pytest.approx(1.0)


def test_clash_of_rules_that_hold_is_empty():
    a = ask(max_turnover=0.5)
    assert clash(own_rules(a, tuple(MU.index), 0.5), tuple(MU.index)) == ()


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "C", "D"]), st.booleans(), st.integers(1, 400)), min_size=1, max_size=4, unique_by=lambda x: x[0]), st.floats(0.01, 2.0))
@settings(max_examples=40, deadline=None)
def test_orders_are_cut_to_the_turnover_in_whole_shares_buys_first(rows, most):
    orders = tuple(Order(f"20221228-main-{i:03d}", "DU1", "main", stock(s), Side.BUY if buy else Side.SELL, Decimal(q), OrderType.LIMIT, Decimal(10)) for i, (s, buy, q) in enumerate(sorted(rows, key=lambda r: r[1])))
    prices, nav = dict(zip("ABCD", map(Decimal, ("10", "17.5", "99.01", "3")))), Decimal(20_000)
    kept, told = within_turnover(orders, prices, nav, most)
    used = lambda some: sum(o.qty * prices[o.contract.symbol] for o in some)
    left = {o.order_ref: o for o in kept}
    assert all(o.qty == int(o.qty) > 0 for o in kept) and len(told) == sum(o.order_ref not in left or left[o.order_ref].qty != o.qty for o in orders)
    sales = [o for o in orders if o.side is Side.SELL]
    assert used(kept) <= max(Decimal(repr(most)) * nav, used(sales))
    if used(orders) <= Decimal(repr(most)) * nav:
        assert kept == orders and told == ()
    for o in sales:  # a sale gives back one share at most
        assert (left[o.order_ref].qty if o.order_ref in left else 0) >= o.qty - 1
    if any(o.side is Side.BUY for o in kept):  # the last buy that is cut is cut by less than a share too much
        assert used(kept) > min(Decimal(repr(most)) * nav, used(orders)) - max(prices.values())
