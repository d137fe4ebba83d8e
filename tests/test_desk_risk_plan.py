"""The plan of a day within its risk budgets: clips with code and numbers, options counted, nothing without budgets."""
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal

import pandas as pd
import pytest

from otsport.core.books import Lot, Position
from otsport.core.contracts import option, stock
from otsport.core.intent import Target
from otsport.core.settings import BudgetLevel, BudgetRules, Settings
from otsport.data.plain import plain, revive
from otsport.data.samples import history
from otsport.desk.plan import Mandate, Plan, plan_stocks
from otsport.desk.risk_plan import _betas, _scored, held_options, option_pnl, within_budgets
from otsport.portfolio.contributions import METRICS
from otsport.strategy.strategies import Momentum

AS_OF = datetime(2022, 12, 27, 21, tzinfo=timezone.utc)
PAST = history().past(AS_OF)
PRICES = {s: Decimal(str(round(p, 2))) for s, p in PAST.closes(sessions=1).iloc[-1].items()}
SOME = ["AAPL", "BAC", "CVX", "KO", "XOM"]
TARGETS = [Target(stock(s), 0.15) for s in SOME]
NAV = Decimal(1_000_000)
PUT = option("KO", date(2023, 1, 20), Decimal("62.5"), "P")
SHORT = {PUT.key: Position("DU123456", "main", PUT, (Lot(Decimal(-20), Decimal("1.2"), AS_OF),), strategy="puts")}
MARKS = {PUT.key: Decimal("1.10")}


def planned(budgets: BudgetRules | None, positions=None, marks=None) -> Plan:
    mandate = Mandate("DU123456", "main", NAV, Settings(budgets=budgets), (Momentum(top=8),))
    return plan_stocks(PAST, date(2022, 12, 28), mandate, positions or {}, NAV, marks or {})


def test_without_budgets_a_plan_says_nothing_of_them_and_wide_ones_change_nothing():
    bare, wide = planned(None), planned(BudgetRules(total=0.5))
    assert bare.budgets == bare.budget_uses == () and wide.targets == bare.targets and wide.orders == bare.orders and wide.decisions == bare.decisions
    assert {u.severity for u in wide.budget_uses} == {""}


def test_a_tight_budget_clips_with_code_and_numbers_and_orders_follow():
    bare, tight = planned(None), planned(BudgetRules(total=0.003))
    clips = [d for d in tight.decisions if d.code == "RISK_BUDGET"]
    assert clips and all("wished" in d.message and "allowed" in d.message and d.after < d.before for d in clips)
    assert all(u.utilization <= 1 + 1e-6 for u in tight.budget_uses)
    assert sum(o.qty * o.limit_price for o in tight.orders) < sum(o.qty * o.limit_price for o in bare.orders)
    assert revive(Plan, plain(tight)) == tight  # kept and read again as it was


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_plans_with_options_held(metric):
    rules = BudgetRules(metric=metric, total=0.05 if metric in ("volatility", "max_drawdown") else 0.004, levels=({"over": "strategy"}, {"over": "symbol", "allocation": "volatility"}))
    kept, clips, budgets, report = within_budgets(TARGETS, rules, PAST, SHORT, MARKS, PRICES, NAV, dict.fromkeys(SOME, "momentum"))
    assert clips and {b.path[0] for b in budgets if b.path} == {"momentum", "puts"} and PUT.key in budgets[0].members
    left = [u for u in report.uses if u.utilization > 1 + 1e-6]
    assert {u.name for u in left} == {d.subject for d in clips if d.code == "BUDGET_EXCEEDED"}  # what the put alone is over by is said


def test_a_put_is_worth_its_full_value_in_each_past_session():
    returns = PAST.returns(["KO"], 504)
    pnl = option_pnl(held_options(SHORT, MARKS, PRICES, AS_OF), returns)[PUT.key]
    assert pnl[returns["KO"].idxmin()] == pnl.min() < -20 * 100 and pnl.max() < 20 * 100 * 1.10 + 1e-9


def test_a_wild_market_halves_what_a_calm_one_allows():
    calm, crisis = ((within_budgets(TARGETS, BudgetRules(regimes={"calm": 1, "normal": x, "tense": x, "crisis": x}), PAST, {}, {}, PRICES, NAV, {})[2][0].bound) for x in (1.0, 0.5))
    assert crisis == calm / 2 == 0.01


def test_scores_of_names_that_are_not_there_stop_no_day():
    levels = ({"over": "strategy", "allocation": "custom", "scores": {"momentum": 0.8, "dips": 0.2}}, {"over": "symbol", "allocation": "custom", "scores": dict.fromkeys(PAST.symbols, 0.1)})
    _, _, budgets, report = within_budgets(TARGETS, BudgetRules(levels=levels), PAST, SHORT, MARKS, PRICES, NAV, dict.fromkeys(SOME, "momentum"))
    bounds = {b.path[0]: b.bound for b in budgets if len(b.path) == 1}
    assert bounds == pytest.approx({"momentum": 0.016, "dips": 0.004, "puts": 0.0})


def test_an_option_without_a_vol_is_named():
    far = option("KO", date(2023, 1, 20), Decimal(90), "P")
    held = {far.key: replace(SHORT[PUT.key], contract=far)}
    assert within_budgets([], BudgetRules(), PAST, {}, {}, PRICES, NAV, {})[3] is None
    _, said, _, report = within_budgets(TARGETS, BudgetRules(), PAST, held, {far.key: Decimal("1.10")}, PRICES, NAV, {})
    assert report.uses[0].used > 0  # below its exercise value: it moves with that


def test_betas_by_hand():
    """Of a stock that moves twice as the index does it is 2, whatever both earn on average."""
    past, returns = PAST, PAST.returns(sessions=120)
    market = past.index(121).pct_change().reindex(returns.index)
    made = returns.assign(AAPL=2 * market + 0.01, KO=0.003, BAC=-market)
    found = _betas(made, past)
    assert (found["AAPL"], found["BAC"]) == (pytest.approx(2, abs=1e-9), pytest.approx(-1, abs=1e-9)) and abs(found["KO"]) < 1e-9


@pytest.mark.parametrize("level", [BudgetLevel(over="sector"), BudgetLevel(over="sector", allocation="sector"), BudgetLevel(over="symbol", allocation="equal", scores={"AAPL": 1.0})])
def test_a_level_that_needs_no_scores_gets_none(level):
    table = pd.DataFrame({"symbol": SOME, "sector": ["Tech", "Banks", "Energy", "Staples", "Energy"]})
    assert _scored(level, True, table, PAST.returns(sessions=60), ()) == level
