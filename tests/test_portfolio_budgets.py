"""Risk budgets: Euler parts, trees that sum to their total, and trades after which no violation is left."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from otsport.core.contracts import stock
from otsport.core.errors import DataError, InputError
from otsport.core.intent import Target, Verdict
from otsport.core.settings import BudgetLevel, BudgetRules
from otsport.portfolio.budgets import (
    ALLOCATIONS, BudgetReport, allocate, apply_budgets, budget_report, budget_shares, cure, regime_of, regime_scale,
)
from otsport.portfolio.contributions import METRICS, contributions, risk_measure

NAMES = ["CVX", "XOM", "KO", "PEP", "AAPL", "MSFT"]
TABLE = pd.DataFrame({"symbol": NAMES, "sector": ["Energy", "Energy", "Staples", "Staples", "Tech", "Tech"],
                      "strategy": ["value"] * 3 + ["momentum"] * 3, "horizon": ["long"] * 4 + ["short"] * 2}, index=NAMES)
BETAS = pd.Series([1.1, 1.0, 0.6, 0.6, 1.3, 1.2], NAMES)
VOLS = {"Energy": 0.3, "Staples": 0.15, "Tech": 0.25}


def returns(seed: int = 0, sessions: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    common = rng.standard_t(5, (sessions, 1))
    return pd.DataFrame(0.008 * (0.6 * common + rng.standard_t(5, (sessions, 6))), columns=NAMES)


def rules(**more) -> BudgetRules:
    return BudgetRules(levels=(BudgetLevel(over="sector", allocation="volatility", scores=VOLS), BudgetLevel(over="symbol")), **more)


def scale_for(pnl: pd.DataFrame, metric: str, size: float) -> pd.DataFrame:
    """The book at the size at which it uses `size` of NAV."""
    return pnl * (size / contributions(pnl, metric, BETAS * 0.2).total) if metric != "beta_exposure" else pnl


@pytest.mark.parametrize("metric", METRICS)
def test_parts_sum_to_the_measure_and_are_its_derivatives(metric):
    weights = np.array([0.2, 0.1, 0.3, 0.1, 0.2, -0.1])
    measure, _ = risk_measure(returns() * weights, metric, BETAS * weights)
    parts = measure.parts(np.ones(6))
    assert parts.sum() == pytest.approx(contributions(returns() * weights, metric, BETAS * weights).total, rel=1e-12)
    assert measure.parts(np.full(6, 3.0)) == pytest.approx(3 * parts, rel=1e-9)
    if metric in ("volatility", "max_drawdown", "beta_exposure", "expected_shortfall"):  # no kernel estimate: plain derivatives
        step = 1e-7
        for i in range(6):
            up = np.ones(6)
            up[i] += step
            assert (measure.parts(up).sum() - parts.sum()) / step == pytest.approx(parts[i], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_shares_of_every_allocation_sum_to_one(allocation):
    scores = {"equal": None, "sector": {"Energy": 2.0, "Staples": 1.0, "Tech": 1.0}}.get(allocation, dict(zip(NAMES, (0.3, 0.2, 0.1, 0.1, 0.2, 0.1))))
    found = budget_shares(allocation, NAMES, scores, sectors=dict(TABLE["sector"]))
    assert sum(found.values()) == pytest.approx(1, abs=1e-15) and min(found.values()) > 0
    by_hand = {"equal": 1 / 6, "volatility": (1 / 0.3) / (1 / 0.3 + 1 / 0.2 + 3 / 0.1 + 1 / 0.2), "confidence": 0.3, "strategy": 0.3, "sector": 0.25, "custom": 0.3}
    assert found["CVX"] == pytest.approx(by_hand[allocation], rel=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from(["strategy", "sector", "symbol", "horizon"]), unique=True, max_size=4), st.floats(0.001, 0.5), st.sampled_from(["calm", "tense", "crisis"]),
       st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_children_sum_to_their_parent_at_every_depth(over, total, regime, confidence):
    levels = tuple(BudgetLevel(over=o, allocation="confidence" if o == "symbol" else "equal", scores=dict(zip(NAMES, confidence)) if o == "symbol" else {}) for o in over)
    tree = allocate(TABLE, BudgetRules(total=total, levels=levels), regime)
    assert tree[0].bound == pytest.approx(total * regime_scale(regime))
    for parent in tree:
        children = [b for b in tree if b.path and b.path[:-1] == parent.path]
        if children:
            assert sum(b.bound for b in children) == pytest.approx(parent.bound, rel=1e-12)
            assert sorted(m for b in children for m in b.members) == sorted(parent.members)


def test_a_sector_in_which_nothing_is_held_keeps_its_budget():
    custom = BudgetLevel(over="sector", allocation="custom", scores={"Energy": 0.2, "Staples": 0.2, "Tech": 0.2, "Utilities": 0.4})
    tree = allocate(TABLE, BudgetRules(levels=(custom,)))
    assert {b.path[0]: b.bound for b in tree[1:]} == pytest.approx({"Energy": 0.004, "Staples": 0.004, "Tech": 0.004, "Utilities": 0.008})
    assert budget_report(tree, contributions(0.1 * returns())).uses[-1].used == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", [1, 2])
def test_after_the_trades_no_violation_is_left_and_the_second_cure_does_nothing(metric, seed):
    weights = np.random.default_rng(seed).uniform(0.05, 0.4, 6) * [1, 1, 1, -0.4, 1, 1]
    pnl, betas = returns(seed) * weights, BETAS * weights
    tree = allocate(TABLE, rules(metric=metric, total=0.6 * contributions(pnl, metric, betas).total))
    units = pd.Series(np.round(1e5 * weights), NAMES)
    before = budget_report(tree, contributions(pnl, metric, betas))
    assert before.violations  # negative control: there is something to cure
    found = cure(tree, pnl, units, betas)
    left = (units + found.trades["trade"]).fillna(units) / units
    after = budget_report(tree, contributions(pnl * left, metric, betas * left))
    assert after.violations == () and found.uncured == () and all(u.utilization <= 1.1 + 1e-6 for u in after.uses)
    assert (found.trades["after"] * found.trades["before"] >= 0).all() and (found.trades["after"].abs() < found.trades["before"].abs()).all()
    assert (found.trades["after"] == found.trades["after"].round()).all()
    assert not len(cure(tree, pnl * left, (units * left).round(), betas * left).trades)


def test_no_trade_below_the_rebalance_threshold_and_a_cure_above_it():
    pnl = returns() * 0.1
    whole = contributions(pnl).total
    held = pd.Series(1000.0, NAMES)
    near, far = (allocate(TABLE, BudgetRules(total=whole / use, levels=())) for use in (1.099, 1.101))
    assert not len(cure(near, pnl, held).trades) and len(cure(far, pnl, held).trades)
    assert [budget_report(t, contributions(pnl)).uses[0].severity for t in (near, far)] == ["low", "medium"]


def test_severity_says_violation_beyond_120_percent_only():
    pnl = returns() * 0.1
    for use, severity, violated in ((1.19, "medium", 0), (1.21, "high", 1), (1.6, "critical", 1)):
        report = budget_report(allocate(TABLE, BudgetRules(total=contributions(pnl).total / use, levels=())), contributions(pnl))
        assert (report.uses[0].severity, len(report.violations)) == (severity, violated)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.002, 0.03), st.floats(0.3, 1.0), st.integers(0, 5))
def test_a_tighter_budget_never_allows_more_risk(total, tighter, seed):
    weights = np.random.default_rng(seed).uniform(0.02, 0.3, 6)
    targets, pnl = [Target(stock(n), w) for n, w in zip(NAMES, weights)], returns(seed) * weights
    wide, tight = (apply_budgets(targets, allocate(TABLE, rules(total=t)), pnl, {}) for t in (total, total * tighter))
    assert tight[2].total <= wide[2].total * (1 + 1e-6)
    assert tight[2].total <= total * tighter * (1 + 1e-6)
    assert sum(t.weight for t in tight[0]) <= sum(t.weight for t in wide[0]) * (1 + 1e-3)


def test_clip_has_code_numbers_and_step_and_a_budget_that_fits_changes_nothing():
    targets, pnl = [Target(stock(n), 0.1) for n in NAMES], returns() * 0.1
    kept, decisions, found = apply_budgets(targets, allocate(TABLE, rules(total=0.002)), pnl, {})
    clipped = [d for d in decisions if d.code == "RISK_BUDGET"]
    assert {d.verdict for d in clipped} == {Verdict.CLIPPED} and "wished" in clipped[0].message and "allowed" in clipped[0].message
    for t, d in zip(kept, clipped):
        assert t.steps[-1].code == "RISK_BUDGET" and t.weight == d.after < d.before == 0.1
    assert apply_budgets(targets, allocate(TABLE, rules(total=0.5)), pnl, {})[:2] == (tuple(targets), ())


def test_pledged_shares_stay_and_what_they_leave_over_is_said():
    targets, pnl = [Target(stock(n), 0.1) for n in NAMES], returns() * 0.1
    kept, decisions, _ = apply_budgets(targets, allocate(TABLE, rules(total=0.002)), pnl, {"CVX": 0.08, "XOM": 0.08})
    weights = {t.contract.symbol: t.weight for t in kept}
    assert weights["CVX"] == pytest.approx(0.08) and weights["XOM"] == pytest.approx(0.08)
    assert {d.subject for d in decisions if d.code == "BUDGET_EXCEEDED"} >= {"sector Energy", "symbol Energy / CVX"}


def test_positions_that_cannot_be_scaled_count_and_others_make_room():
    pnl = returns() * 0.1
    pnl["PUT"] = -0.05 * returns(9)["KO"].abs()  # loses whatever happens
    table = pd.concat([TABLE, pd.DataFrame({"symbol": "KO", "sector": "Staples", "strategy": "value", "horizon": "long"}, index=["PUT"])])
    tree = allocate(table, BudgetRules(levels=(), total=0.8 * contributions(pnl).total))
    kept, decisions, found = apply_budgets([Target(stock(n), 0.1) for n in NAMES], tree, pnl, {})
    assert found.total == pytest.approx(tree[0].bound, rel=1e-6) and "PUT" not in {d.subject for d in decisions}


def test_the_word_of_vix_is_a_regime_and_a_wild_one_halves_the_budget():
    assert [regime_of(x) for x in (14.99, 15, 25, 35, float("nan"))] == ["calm", "normal", "tense", "crisis", "normal"]
    assert allocate(TABLE, BudgetRules(), "crisis")[0].bound == 0.01
    assert allocate(TABLE, BudgetRules(regimes={"bear": 0.3}), "bear")[0].bound == pytest.approx(0.006)


@pytest.mark.parametrize("call, words", [
    (lambda: allocate(TABLE, BudgetRules(metric="var")), "metric 'var' is not known: use one of volatility"),
    (lambda: allocate(TABLE.drop(columns="sector"), BudgetRules()), "no column 'sector'"),
    (lambda: allocate(TABLE, BudgetRules(levels=({"over": "sector", "allocation": "custom", "scores": {"Energy": 0.5, "Staples": 0.2, "Tech": 0.2}},))), "sum to 0.9: give shares that sum to 1"),
    (lambda: allocate(TABLE, BudgetRules(levels=({"over": "strategy", "allocation": "strategy", "scores": {"value": -1, "momentum": 0}},))), "no strategy has a Sharpe ratio above 0"),
    (lambda: allocate(TABLE, BudgetRules(levels=({"over": "sector"}, {"over": "sector"}))), "give each once"),
    (lambda: allocate(TABLE, BudgetRules(levels=({"over": "sector"}, {"over": "symbol", "allocation": "custom", "scores": dict.fromkeys([*NAMES, "KOO"], 0.1)}))), "did you mean 'KO'"),
    (lambda: budget_report(allocate(TABLE, BudgetRules()), contributions(returns(), "volatility")), "measure the book by the metric of its budgets"),
    (lambda: cure(allocate(TABLE.drop("KO"), BudgetRules()), returns(), pd.Series(1.0, NAMES)), "KO is in no budget"),
    (lambda: regime_of(0.2), "give points, 20 for 20 % a year"),
])
def test_bad_input_names_the_culprit_and_the_rule(call, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        call()


def test_units_that_are_not_finite_are_refused_by_name():
    with pytest.raises(DataError, match="units of KO are not finite"):
        cure(allocate(TABLE, BudgetRules()), returns(), pd.Series(1.0, NAMES).where(pd.Series(NAMES, NAMES) != "KO"))


def test_report_shows_itself():
    report = budget_report(allocate(TABLE, rules()), contributions(0.5 * returns()))
    assert isinstance(report, BudgetReport) and "Risk budgets by VaR 95%" in repr(report) and "<table" in report._repr_html_()
