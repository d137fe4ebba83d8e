"""What book.yaml asks of weights, shares of strategies and option sizes: each line checked when the file is read, and used by the plan."""
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from otsport.app.folder import new_folder, read_folder
from otsport.core.books import Lot, Position
from otsport.core.calendars import session_close
from otsport.core.contracts import stock
from otsport.core.errors import FolderError, SolverError
from otsport.core.settings import AllocationRules, ConstraintRules, Settings, Sizing
from otsport.data.samples import history
from otsport.desk.own_past import OwnPast
from otsport.desk.plan import Mandate, net_value, plan_stocks
from otsport.desk.size_facts import FEWEST_TRADES
from otsport.strategy.strategies import Momentum

SESSION = date(2022, 12, 28)
PAST = history().past(session_close(date(2022, 12, 27)))
CLOSES = {s: Decimal(repr(round(float(p), 2))) for s, p in PAST.closes(sessions=1).iloc[-1].items()}
NAV = Decimal(10**6)


def holding(**shares):
    return {s: Position("DU123456", "main", stock(s), (Lot(Decimal(q), CLOSES[s], PAST.as_of),), strategy="momentum") for s, q in shares.items()}


def plan(held=(), own=None, leaders=(Momentum(),), on_clash="stop", allocations=(), allocation=None, sizing=None, objective="max_sharpe", **constraints):
    held = dict(held)
    marks = {key: CLOSES[key] for key in held}
    settings = Settings(sizing=Sizing(base_size=0.10, max_portfolio_risk=0.05, **(sizing or {})), constraints=ConstraintRules(**constraints) if constraints else None, allocation=allocation)
    mandate = Mandate("DU123456", "main", NAV, settings, tuple(leaders), objective=objective, on_clash=on_clash, allocations=tuple(allocations))
    return plan_stocks(PAST, SESSION, mandate, held, NAV - net_value(Decimal(0), held, marks), marks, own)


def traded(p) -> float:
    return float(sum(o.qty * CLOSES[o.contract.symbol] for o in p.orders) / p.nav)


@pytest.mark.parametrize("most", [0.05, 0.12, 0.31, 0.9])
def test_turnover_counts_from_what_is_held_and_holds_in_whole_shares(most):
    held = holding(XOM=900, KO=1400, GE=1200, BBY=500)
    free, p = plan(held), plan(held, max_turnover=most)
    assert traded(p) <= most + 1e-12 and (traded(free) > most or most == 0.9)
    gone = {"GE", "BBY"} - {s.contract.symbol for s in p.signals}
    assert gone == {"GE", "BBY"}  # no longer wished for: they are sold first, as far as turnover goes
    sold = {o.contract.symbol: int(o.qty) for o in p.orders if o.side == "SELL"}
    assert set(sold) >= gone
    if most == 0.05:
        assert {d.subject for d in p.decisions if d.code == "TURNOVER"} >= gone and not any(o.side == "BUY" for o in p.orders)
        assert ("constraints", "max_turnover") in {(b.stage, b.rule) for b in p.binding}


def test_groups_are_caps_for_gate_and_rounding_too():
    rules = ConstraintRules(groups={"oil": {"symbols": ["CVX", "XOM", "RRC"], "most": 0.09}}, max_weight={"KO": 0.04})
    caps = {c.name: c for c in Mandate("DU1", "main", NAV, Settings(constraints=rules)).caps(PAST.symbols, PAST.sectors)}
    assert caps["group oil"].code == "GROUP_CAP" and set(caps["group oil"].symbols) == {"CVX", "XOM", "RRC"} and caps["greatest weight"].bound == 0.04
    w = {t.contract.symbol: t.weight for t in plan(groups=rules.model_dump()["groups"], max_weight={"KO": 0.04}).targets}
    assert sum(w.get(s, 0.0) for s in ("CVX", "XOM", "RRC")) <= 0.09 + 1e-7 and w["KO"] <= 0.04 + 1e-7
    assert sum({t.contract.symbol: t.weight for t in plan().targets}.get(s, 0.0) for s in ("CVX", "XOM", "RRC")) > 0.09  # without: the negative control


def test_a_clash_stops_or_holds_as_the_book_says():
    clash = {"min_weight": 0.12, "max_weight": 0.11}
    with pytest.raises(SolverError, match="cannot hold together: constraints.max_weight 0.11, constraints.min_weight 0.12"):
        plan(**clash)
    held = holding(XOM=900, GE=1200)
    p = plan(held, on_clash="hold", **clash)
    assert p.orders == () and p.targets == () and {d.code for d in p.decisions} >= {"CLASH"} and p.signals and p.caps


def test_without_constraints_the_plan_is_what_it_was():
    plain, empty = plan(), plan(max_turnover=2.0)
    assert [t.weight for t in empty.wished] == pytest.approx([t.weight for t in plain.wished], abs=1e-9) and [o.qty for o in empty.orders] == [o.qty for o in plain.orders]


def earned(**means):
    noise = np.random.default_rng(2).normal(0, 0.01, (60, len(means)))
    return pd.DataFrame(noise - noise.mean(axis=0) + list(means.values()), pd.bdate_range("2022-10-03", periods=60), list(means))


TWO = (Momentum(top=4), Momentum(name="wide", top=12))


def test_shares_follow_what_the_strategies_have_earned():
    own = OwnPast(lambda sessions: earned(momentum=0.004, wide=0.001), dict)
    p = plan(own=own, leaders=TWO, allocation=AllocationRules(by="performance", total=0.6, floor=0.05, cap=0.5))
    share = {b.names[0]: b.bound for b in p.binding if b.stage == "allocation"}
    assert share["momentum"] > share["wide"] >= 0.05 and sum(share.values()) == pytest.approx(0.6)
    assert any(d.code == "ALLOCATION" for d in p.decisions)
    lost = plan(own=OwnPast(lambda sessions: earned(momentum=-0.02, wide=-0.03), dict), leaders=TWO, allocation=AllocationRules(by="performance", floor=0.05))
    assert lost.caps == () and lost.wished == () and {b.rule for b in lost.binding} == {"performance, no gain"}  # cash


def test_a_fixed_share_stays_and_the_method_divides_the_rest():
    p = plan(leaders=TWO, allocation=AllocationRules(by="equal", total=0.9), allocations=(("wide", 0.2),))
    assert [(b.names, b.bound) for b in p.binding if b.stage == "allocation"] == [(("momentum",), pytest.approx(0.7))]
    new = plan(leaders=TWO, own=None, allocation=AllocationRules(by="risk_parity", floor=0.1))
    assert {b.rule: b.bound for b in new.binding if b.stage == "allocation"} == {"risk parity, no history": 0.1}  # a new book begins at the floor


def test_optimal_f_takes_the_trades_of_the_strategy_once_there_are_enough():
    trades = np.r_[np.full(20, 0.05), np.full(10, -0.04)]
    size = lambda own: {t.contract.symbol: t.steps[0].value for t in plan(own=own, objective="sizes", sizing={"method": "optimal_f", "max_position_risk": 1.0}).caps}
    few, enough = size(OwnPast(dict, lambda: {"momentum": trades[-FEWEST_TRADES + 1 :]})), size(OwnPast(dict, lambda: {"momentum": trades}))
    assert few == size(None) and len(set(few.values())) > 3  # months of each stock
    p, b = 20 / 30, 0.05 / 0.04
    assert list(enough.values()) == pytest.approx([(b * p - (1 - p)) / b] * len(plan().caps), abs=1e-6)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path

    def written(text):
        book = made / "book.yaml"
        book.write_text(book.read_text().replace("\nobjective: max_sharpe\n", f"\nobjective: max_sharpe\n{text}\n", 1))
        return made
    return written


def test_book_file_says_constraints_allocation_and_option_sizes(folder):
    f = read_folder(folder("constraints:\n  max_turnover: 0.2\n  groups: {oil: {symbols: [CVX, XOM], most: 0.2}}\n  max_beta: 0.8\nallocation: {by: markowitz, floor: 0.1, cap: 0.7, total: 0.7}\non_clash: stop"))
    s = f.own_settings(f.broker())
    assert s.constraints.max_turnover == 0.2 and s.constraints.groups["oil"].symbols == ("CVX", "XOM") and s.allocation.by == "markowitz" and f.book.on_clash == "stop"
    rules = dict(f.rules)
    assert "max_turnover" in rules["constraints"] and '"by":"markowitz"' in rules["allocation"].replace(" ", "")
    assert "options" not in rules["sizing"]  # as it stands it is not said, as days of before did not
    book = f.path / "book.yaml"
    book.write_text(book.read_text().replace("sizing:\n", "sizing:\n  options: max_loss\n", 1))
    assert "options max_loss" in dict(read_folder(f.path).rules)["sizing"]


@pytest.mark.parametrize("text, line, words", [
    ("constraints: {max_turnovr: 0.2}", "constraints", "constraints.max_turnovr = 0.2: there is no such field here: did you mean max_turnover?"),
    ("constraints:\n  max_turnover: 20", "max_turnover: 20", "constraints.max_turnover = 20: input should be less than or equal to 2: write a share of NAV from 0 to 2"),
    ("constraints:\n  max_weight: {KOO: 0.1}", "KOO", "constraints.max_weight.KOO = 0.1: KOO is not in the universe: did you mean KO?"),
    ("constraints:\n  groups:\n    oil:\n      symbols: [XOM, CVXX]\n      most: 0.2", "symbols: [XOM", "constraints.groups.oil.symbols[2] = 'CVXX': CVXX is not in the universe: did you mean CVX?"),
    ("constraints:\n  groups:\n    oil: {symbols: [XOM]}", "oil:", "a group has a `most`, a `least`, or both"),
    ("constraints:\n  groups:\n    oil: {symbols: [XOM], most: 0.1, least: 0.2}", "oil:", "least 0.2 is above most 0.1"),
    ("constraints: {min_beta: 0.9, max_beta: 0.2}", "constraints", "min_beta 0.9 is above max_beta 0.2"),
    ("constraints:\n  benchmark: {KO: 0.5}", "constraints", "the shares of the benchmark sum to 0.5: they sum to 1"),
    ("constraints:\n  max_names: 0", "max_names: 0", "constraints.max_names = 0: input should be greater than or equal to 1: write a whole number of stocks"),
    ("allocation:\n  by: markovitz", "by: markovitz", "allocation.by = 'markovitz': did you mean markowitz? input should be 'equal' or"),
    ("allocation: {by: performance, measure: luck}", "allocation: {by", "allocation.measure = 'luck': input should be 'sharpe' or 'profit_factor' or 'win_rate'"),
    ("allocation:\n  by: performance\n  floor: 0", "floor: 0", "at 0 it never begins"),
    ("allocation: {by: equal, floor: 0.8, cap: 0.9}", "allocation: {by", "it cannot be divided so; change total, floor or cap"),
    ("allocation:\n  by: black_litterman\n  views: {momentun: 0.1}\n  total: 0.7", "views:", "there is no strategy momentun to divide over: did you mean momentum?"),
    ("on_clash: wait", "on_clash: wait", "on_clash = 'wait': input should be 'hold' or 'stop'"),
])
def test_book_file_names_line_field_rule_and_nearest(folder, text, line, words):
    made = folder(text)
    at = next(i for i, row in enumerate((made / "book.yaml").read_text().splitlines(), 1) if row.strip().startswith(line) or row.strip().startswith("max_weight") and line == "KOO")
    with pytest.raises(FolderError) as error:
        read_folder(made)
    assert words in str(error.value) and f"book.yaml, line {at}:" in str(error.value), str(error.value)


def test_every_strategy_with_a_share_of_its_own_leaves_nothing_to_divide(folder):
    made = folder("allocation: {by: equal}")
    book = made / "book.yaml"
    book.write_text(book.read_text().replace("    with: {top: 8} ", "    allocation: 0.5\n    with: {top: 8} "))
    with pytest.raises(FolderError, match="every strategy has an allocation of its own"):
        read_folder(made)
