"""The trading day by each objective, each sizing method, constraints, shares of strategies and option sizes of book.yaml: books agree every evening, and the report says which rule bound.

A few sessions here, each by another word; behind `make soak` a year of sessions by each word of the file itself.
"""
from collections import Counter
from datetime import date

import numpy as np
import pytest

from otsport.core.calendars import last_sessions
from otsport.core.intent import Verdict
from otsport.core.settings import AllocationRules, ConstraintRules, Limits
from otsport.data.samples import history
from otsport.data.store import open_store
from otsport.desk.bindings import binding_table, option_sizes_table
from otsport.desk.day import read_days
from otsport.desk.own_past import own_past
from otsport.desk.report import limits_table, plan_frame
from otsport.portfolio.objectives import OBJECTIVES
from otsport.portfolio.size_steps import METHODS
from otsport.strategy.allocation import WAYS
from year_support import folder_with, replace, trade_days

LAST = date(2022, 12, 28)
GIVEN = {"max_return": {"max_vol": 0.12}, "mean_variance": {"risk_aversion": 5.0}, "mixed": {"shares": {"max_sharpe": 0.5, "risk_parity": 0.5}}}
BOUND = {"max_turnover": 0.10, "max_weight": 0.12, "groups": {"oil": {"symbols": ["CVX", "XOM", "RRC"], "most": 0.15}}, "max_beta": 0.9}
FEW = {"max_turnover": 0.50, "max_names": 6, "min_position": 0.02, "max_tracking_error": 0.20}
CLASH = {"min_weight": 0.14, "max_weight": 0.13}
RULES = {"bound": BOUND, "few": FEW, "clash": CLASH}
GREEKS = {"greeks": [{"greek": "delta", "high": 0.5, "unit": "nav"}, {"greek": "vega", "low": -300, "high": 300}], "stress": {"most": 0.10, "unit": "nav"}}
SESSIONS = [(w, list(METHODS)[n % len(METHODS)], list(WAYS)[n % len(WAYS)] if n < 8 else "equal", "") for n, w in enumerate(OBJECTIVES)]  # objective, sizing, allocation, constraints
SESSIONS += [("max_sharpe", "confidence", "", "greeks"), ("max_sharpe", "confidence", "", "bound"), ("min_variance", "confidence", "", "few"), ("max_sharpe", "confidence", "", "clash")]
DAYS = last_sessions(LAST, len(SESSIONS))
OWN = '''from otsport.strategy.words import buy, condor, put_spread, sell_put


def income(known):
    "A put spread, an iron condor, puts to be sold and two stocks."
    if known.options:
        return [buy("KO"), buy("PG")]
    return [buy("KO"), buy("PG"), put_spread("JNJ", sell=0.30, buy=0.10, days=30), condor("MSFT", days=30, contracts=40), sell_put("PFE", delta=0.2, days=30)]
'''


def asked(mandate, n):
    """The mandate of a session: the folder's, by the words of SESSIONS."""
    return by_words(mandate, *SESSIONS[n])


def in_turn(mandate, n):
    """Each objective with each sizing method, and beside them ways to share NAV out, constraints and bounds on Greeks."""
    objectives, methods, ways = list(OBJECTIVES), list(METHODS), list(WAYS)
    rules = "greeks" if n % 5 == 3 else "bound" if n % 7 == 2 else ""
    return by_words(mandate, objectives[n % len(objectives)], methods[n // len(objectives) % len(methods)], ways[n % len(ways)] if n % 3 else "", rules)


def by_words(mandate, objective, method, way, rules):
    changes = {"sizing": mandate.settings.sizing.model_copy(update={"method": method}), "allocation": AllocationRules(by=way, floor=0.2, cap=0.7, fewest=3) if way else None,
               "constraints": ConstraintRules(**RULES[rules]) if rules in RULES else None}
    if rules == "greeks":
        changes["limits"] = Limits.model_validate(mandate.settings.limits.model_dump() | GREEKS)
    fixed = () if way else mandate.allocations
    return replace(mandate, objective=objective, objective_with=tuple(GIVEN.get(objective, {}).items()), allocations=fixed, settings=mandate.settings.model_copy(update=changes))


@pytest.fixture(scope="module")
def traded(tmp_path_factory):
    """Sessions in a row, each by other words; the folder's options are sized by their greatest loss."""
    home = tmp_path_factory.mktemp("words")
    folder = folder_with(home / "desk", ("sizing:\n", "sizing:\n  options: max_loss\n"), ("  - use: my_strategy.ipynb:dip_buyer\n    with: {count: 3}\n    allocation: 0.25\n", "  - use: own.py:income\n    allocation: 0.25\n"), own=OWN)
    return home, trade_days(folder, DAYS, home, asked)


def test_books_agree_every_evening(traded):
    _, year = traded
    assert year.faults == [] and [s.session for s in year.evenings] == DAYS
    assert sum(year.orders.values()) > 40 and len({s.nav for s in year.evenings}) == len(DAYS)


def plans_of(year, part, word):
    return [p for p, said in zip(year.plans, SESSIONS) if said[part] == word]


@pytest.mark.parametrize("word", OBJECTIVES)
def test_the_plan_says_by_which_objective_and_which_rule_bound(traded, word):
    p = plans_of(traded[1], 0, word)[0]
    assert p.objective == word and p.wished and any(b.stage != "sizing" for b in p.binding)
    assert word == "sizes" or {t.steps[-1].name for t in p.wished} == {word.replace("_", " ")}


@pytest.mark.parametrize("method", METHODS)
def test_the_plan_says_by_which_rule_each_size_was_bound(traded, method):
    p = plans_of(traded[1], 1, method)[0]
    told = {name: b.rule for b in p.binding if b.stage == "sizing" for name in b.names}
    assert set(told) == {t.contract.symbol for t in p.caps} and p.caps
    for t in p.caps:  # the last rule that clipped it, or the method
        clips = [s for s in t.steps if s.code]
        assert told[t.contract.symbol] == (clips[-1].name if clips else f"method {method}")


@pytest.mark.parametrize("way", WAYS)
def test_shares_of_strategies_hold_their_stocks(traded, way):
    p = plans_of(traded[1], 2, way)[-1]
    shares = {b.names[0]: b.bound for b in p.binding if b.stage == "allocation"}
    assert set(shares) == {"momentum", "income"} and all(b.rule.startswith(way.replace("_", " ")) for b in p.binding if b.stage == "allocation")
    owner = {v.contract.symbol: max(v.sources, key=lambda s: (s[1], s[0]))[0] for v in p.views}
    used = Counter()
    for t in p.caps:
        used[owner[t.contract.symbol]] += t.weight
    assert all(used[name] <= share + 1e-9 for name, share in shares.items()) and sum(shares.values()) <= 1 + 1e-9


def test_turnover_group_and_weight_hold_in_whole_shares(traded):
    (p,) = plans_of(traded[1], 3, "bound")
    closes = history().past(p.as_of).closes(sessions=1).iloc[-1].round(2)
    assert sum(float(o.qty) * closes[o.contract.symbol] for o in p.orders) <= 0.10 * float(p.nav) + 1e-6
    assert any(b.stage == "constraints" for b in p.binding)
    told = {d.code: d for d in p.decisions if d.code in ("TURNOVER", "PLEDGED")}
    oil = sum(t.weight for t in p.targets if t.contract.symbol in BOUND["groups"]["oil"]["symbols"])
    assert told or oil <= 0.15 + 1e-6  # what turnover keeps, or calls pledge, stays and is told


def test_few_names_are_few(traded):
    (p,) = plans_of(traded[1], 3, "few")
    sizes = [t.weight for t in p.wished if t.weight > 1e-7]
    room = next((int(d.after) for d in p.decisions if (d.subject, d.code) == ("max_names", "PLEDGED")), 6)  # shares under short calls make room
    assert len(sizes) <= room and (min(sizes) >= 0.02 - 1e-7 or any(d.code == "TURNOVER" for d in p.decisions))
    assert {"max_names", "max_turnover", "max_tracking_error", "min_position"} & {b.rule for b in p.binding}


def test_bounds_on_greeks_and_losses_hold_what_the_day_may_buy_and_the_report_tells_their_use(traded):
    home, year = traded
    n = next(i for i, said in enumerate(SESSIONS) if said[3] == "greeks")
    p, (before, after) = year.plans[n], year.evenings[n - 1 : n + 1]
    assert {b.greek for b in p.greek_bounds} == {"delta", "vega"} and [b.most for b in p.loss_bounds] == [pytest.approx(0.10 * float(p.nav))]
    assert {d.code for d in p.decisions} & {"DELTA", "STRESS_LOSS"}
    shares = lambda s: sum(float(m.value) for m in s.positions if m.qty and not m.contract.is_option)
    assert shares(after) < shares(before) or shares(after) <= 0.5 * float(p.nav)  # over it, the book comes nearer: what calls pledge stays
    with open_store(home / "otsport.db", key=b"k" * 32) as store:
        told = limits_table(read_days(store, history(), "main", [DAYS[n]])[0])
        none = limits_table(read_days(store, history(), "main", [DAYS[0]])[0])
    assert none is None and "delta at most" in told.html and "vega between -300 and 300" in told.html and "worst loss of" in told.html


def test_a_clash_holds_the_book_still_and_is_told(traded):
    home, year = traded
    (p,) = plans_of(year, 3, "clash")
    assert p.orders == () and p.wished == () and p.targets == ()
    told = next(d for d in p.decisions if d.code == "CLASH")
    assert told.verdict is Verdict.REFUSED and "constraints.max_weight 0.13, constraints.min_weight 0.14" in told.message and "the book stays as it is" in told.message
    before, after = year.evenings[-2], year.evenings[-1]
    stocks = lambda s: {m.contract.key: m.qty for m in s.positions if m.qty and not m.contract.is_option}
    assert stocks(before) == stocks(after)


def test_options_are_sized_by_what_they_can_lose(traded):
    home, year = traded
    sized = [(p, s) for p in year.plans for s in p.option_sizes]
    assert {s.name.partition("#")[0] for _, s in sized} == {"income"} or any("#" in s.name for _, s in sized)
    for p, s in sized:
        wishes = [w for w in p.wishes if w.combo == s.name or w.contract.key == s.name]
        count = int(wishes[0].qty) // wishes[0].ratio if wishes else 0
        assert count <= s.count
        loss = next((x for x in s.steps if x.name == "loss"), None)
        if loss is not None:  # the risk of a position holds
            assert s.count * loss.per <= 0.005 * float(p.nav) * (1 + 1e-9)
    assert any(s.count and s.decision.code == "MAX_LOSS" for _, s in sized) and any(p.wishes and p.option_sizes for p in year.plans)


def test_the_report_shows_it(traded):
    home, year = traded
    with open_store(home / "otsport.db", key=b"k" * 32) as store:
        days = read_days(store, history(), "main", [DAYS[0], DAYS[list(OBJECTIVES).index("risk_parity")], DAYS[-3]])
        first, parity, bound = (binding_table(d).html for d in days)
        assert "the objective is max sharpe, prices in Sharpe ratio" in first and "position risk" in first
        assert "the objective is risk parity, its rules have no price" in parity and "risk parity (of NAV)" in plan_frame(days[1]).columns
        assert "constraints" in bound and "best Sharpe (of NAV)" in plan_frame(days[0]).columns
        told = option_sizes_table(next(d for d in read_days(store, history(), "main", DAYS[:5]) if d.plan.option_sizes))
        assert "MAX_LOSS" in told.html and "loss min(" in told.html


def test_the_own_past_is_that_of_the_book(traded):
    home, year = traded
    with open_store(home / "otsport.db", key=b"k" * 32) as store:
        past = own_past(store, "main")
        returns, trades = past.returns(10), past.trades()
        sold = {r.order.order_ref for r in store.orders("main") if r.order.side == "SELL" and not r.order.contract.is_option and r.filled_qty}
    assert len(returns) == 10 and {"momentum", "income"} <= set(returns.columns) and np.isfinite(returns["momentum"]).all()
    last, before = year.evenings[-1], year.evenings[-2]
    pnl = sum(float(m.day_pnl) for m in last.positions if m.strategy == "momentum")
    size = max(sum(abs(float(m.value)) for m in s.positions if m.strategy == "momentum") for s in (last, before))
    assert returns["momentum"].iloc[-1] == pytest.approx(pnl / size)
    assert sum(len(x) for x in trades.values()) == len(sold) > 5 and all(np.isfinite(x).all() for x in trades.values())


TEXT = {  # what stands in book.yaml
    **{f"objective {w}": (("\nobjective: max_sharpe\n", f"\nobjective: {w}\n" + (f"objective_with: {GIVEN[w]}\n" if w in GIVEN else "")),) for w in OBJECTIVES},
    **{f"sizing {m}": (("sizing:\n", f"sizing:\n  method: {m}\n"), ("\nobjective: max_sharpe\n", "\nobjective: sizes\n")) for m in METHODS},
    **{f"allocation {w}": (("    allocation: 0.25\n", ""), ("\nobjective: max_sharpe\n", f"\nobjective: max_sharpe\nallocation: {{by: {w}, floor: 0.15, cap: 0.70}}\n")) for w in WAYS},
    "constraints bound": (("\nobjective: max_sharpe\n", f"\nobjective: max_sharpe\nconstraints: {BOUND}\n"),),
    "limits greeks": (("limits:\n", f"limits:\n  greeks: {GREEKS['greeks']}\n  stress: {GREEKS['stress']}\n"),),
    "constraints few": (("\nobjective: max_sharpe\n", f"\nobjective: min_variance\nconstraints: {FEW}\n"),),
}


@pytest.mark.soak
@pytest.mark.parametrize("case", TEXT)
def test_a_year_of_sessions_agrees_every_evening(tmp_path, case):
    days = last_sessions(LAST, 250)
    year = trade_days(folder_with(tmp_path / "desk", *TEXT[case]), days, tmp_path)
    print(f"{case}: {year}")
    assert year.faults == [] and [s.session for s in year.evenings] == days
    assert all(p.binding for p in year.plans if p.caps)
    if case == "limits greeks":
        assert year.codes()["DELTA"] + year.codes()["STRESS_LOSS"] > 10 and all(p.greek_bounds and p.loss_bounds for p in year.plans)


@pytest.mark.soak
def test_a_year_in_which_each_objective_meets_each_sizing_method_agrees_every_evening(tmp_path):
    days = last_sessions(LAST, 250)
    folder = folder_with(tmp_path / "desk", ("sizing:\n", "sizing:\n  options: max_loss\n"), ("  - use: my_strategy.ipynb:dip_buyer\n    with: {count: 3}\n    allocation: 0.25\n", "  - use: own.py:income\n    allocation: 0.25\n"), own=OWN)
    year = trade_days(folder, days, tmp_path, in_turn)
    print(f"in turn: {year}")
    assert year.faults == [] and [s.session for s in year.evenings] == days
    assert {p.objective for p in year.plans} == set(OBJECTIVES)
    assert all(p.binding or any(d.code == "CLASH" for d in p.decisions) for p in year.plans if p.caps)
    assert year.codes()["DELTA"] + year.codes()["STRESS_LOSS"] > 10 and year.rules()
