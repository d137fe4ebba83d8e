"""Seven methods of sizing: hand numbers, one by one and in a batch, their arithmetic line by line, and what they refuse."""
import math
import re
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.combinations import Leg
from otsport.analytics.kelly import kelly_binary, optimal_f
from otsport.core.arrays import UnitWarning
from otsport.core.contracts import option, stock
from otsport.core.errors import DataError, InputError
from otsport.core.intent import Step, Target, Verdict, View
from otsport.core.settings import Limits, Sizing
from otsport.portfolio.option_sizing import Unit, combination_unit, size_options
from otsport.portfolio.risk_parity import risk_parity
from otsport.portfolio.size_steps import ADJUSTMENTS, METHODS, Facts, concentration, correlations, vol_regime
from otsport.portfolio.sizing import arithmetic, size, size_all, size_batch

NAMES = ("AAPL", "KO", "PEP", "XOM")
VINCE = np.array([9, 18, 7, 1, 10, -5, -3, -17, -7])  # Vince (1990), optimal f 0.24
RNG = np.random.default_rng(5)
COV = pd.DataFrame(252 * np.cov((RNG.normal(0, 0.01, (300, 4)) * [2.0, 1.0, 1.1, 1.8] + RNG.normal(0, 0.008, (300, 1))).T), NAMES, NAMES)
VOLS = dict(zip(NAMES, np.sqrt(np.diag(COV))))
TRADES = {n: RNG.normal(0.01, 0.06, 60) for n in NAMES}
HELD = {"KO": 0.3, "PEP": 0.25, "AAPL": 0.1}
SECTORS = dict(zip(NAMES, ("Tech", "Staples", "Staples", "Energy")))
FACTS = Facts(nav=1e6, cov=COV, trades=TRADES, held=HELD, regime="turbulent")
LOOSE = Sizing(base_size=0.05, max_position_risk=10.0, max_portfolio_risk=100.0)
UPON = tuple(ADJUSTMENTS)[1:]  # all but confidence, which one method has already


def view(symbol="KO", **change):
    return replace(View(stock(symbol), 0.1, 0.75, 0.05, (("momentum", 1.0),)), **change)


def loose(method, **more):
    return LOOSE.model_copy(update={"method": method} | more)


def expected(method, v):
    "The weight in one line, written apart from the pipeline."
    s, b = v.contract.symbol, LOOSE.base_size
    return {
        "confidence": b * (0.7 + 0.8 * (v.confidence - 0.6) / 0.3), "fixed_dollar": LOOSE.dollars / FACTS.nav, "fixed_percent": b,
        "kelly": 0.25 * kelly_binary(v.confidence, (v.expected_return + (1 - v.confidence) * v.max_loss) / v.confidence / v.max_loss) / v.max_loss, "volatility": b * 0.20 / VOLS[s],
        "risk_parity": b * 4 * dict(zip(NAMES, risk_parity(COV).weights))[s], "optimal_f": optimal_f(TRADES[s]) / -TRADES[s].min(),
    }[method]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symbol", NAMES)
def test_method_is_its_formula(method, symbol):
    assert size(view(symbol), loose(method), FACTS).weight == pytest.approx(expected(method, view(symbol)), rel=1e-12)


def test_vince_and_kelly_by_hand():
    target = size(view(), loose("optimal_f"), Facts(trades={"KO": VINCE / 100}))
    assert round(target.steps[0].weight, 2) == 0.24 and target.weight == pytest.approx(optimal_f(VINCE) / 0.17)
    assert size(view(), loose("kelly", kelly_fraction=1.0)).weight == pytest.approx(2 / 3 / 0.05)  # mean .10, p .75, loss .05: a win of .15, b 3: .75 - .25 / 3
    even = view(confidence=0.6, expected_return=0.6 * 0.05 - 0.4 * 0.05)  # Kelly's own example: even odds, p .6 stakes .2
    assert size(even, loose("kelly", kelly_fraction=1.0)).steps[0].weight == pytest.approx(0.2)


def test_risk_parity_gives_equal_shares_of_the_risk_with_correlations():
    targets, _ = size_all([view(n) for n in NAMES], loose("risk_parity"), FACTS)
    w = np.array([t.weight for t in targets])
    assert w.sum() == pytest.approx(4 * LOOSE.base_size) and w * (COV.to_numpy() @ w) / (w @ COV.to_numpy() @ w) == pytest.approx([0.25] * 4, abs=1e-8)
    pair, _ = size_all([view("KO"), view("AAPL"), view("XOM", expected_return=-0.1)], loose("risk_parity"), FACTS)  # the refused share no risk
    assert sum(t.weight for t in pair) == pytest.approx(2 * LOOSE.base_size)


def test_adjustments_by_hand():
    base = LOOSE.base_size
    w = np.array([HELD.get(n, 0.0) for n in NAMES])
    vol = math.sqrt(w @ COV.to_numpy() @ w)
    rest = w * [1, 0, 1, 1]  # without KO itself
    rho = (rest @ COV["KO"]) / (VOLS["KO"] * math.sqrt(rest @ COV.to_numpy() @ rest))
    factors = {"confidence": 1.1, "volatility": 0.05 / vol, "concentration": 0.1 / (w @ w / w.sum() ** 2), "correlation": 1 / math.sqrt(1 + rho), "regime": 0.5}
    for word, factor in factors.items():
        assert size(view(), loose("fixed_percent", adjust=(word,), max_portfolio_vol=0.05, max_concentration=0.1), FACTS).weight == pytest.approx(base * factor, rel=1e-12), word
    together = size(view(), loose("fixed_percent", adjust=tuple(reversed(factors)), max_portfolio_vol=0.05, max_concentration=0.1), FACTS)
    assert together.weight == pytest.approx(base * math.prod(factors.values())) and len(together.steps) == 6
    empty = replace(FACTS, held={}, regime="calm")
    assert size(view(), loose("fixed_percent", adjust=UPON), empty).weight == base  # an empty book in calm takes nothing away
    assert concentration(Facts(held={"A": 0.2, "B": 0.2})) == 0.5 and correlations(replace(FACTS, held={"KO": 1.0}))["KO"] == 0.0


def test_confidence_multiplier_bounds_the_factor():
    assert size(view(confidence=0.95), loose("confidence", confidence_multiplier=1.2)).weight == pytest.approx(1.2 * LOOSE.base_size)


signals = st.lists(st.tuples(st.sampled_from(NAMES), st.floats(-0.2, 0.6), st.floats(0, 1), st.floats(0, 1, allow_subnormal=False)), min_size=1, max_size=30)


@pytest.mark.parametrize("method", METHODS)
@given(rows=signals, adjusted=st.booleans(), risk=st.floats(0.001, 0.05), limited=st.booleans())
@settings(max_examples=20, deadline=None)
def test_batch_is_the_one_by_one_path_to_the_last_bit(method, rows, adjusted, risk, limited):
    rules = Sizing(method=method, adjust=UPON if adjusted else (), max_position_risk=risk)
    facts = replace(FACTS, limits=Limits(max_position_weight=0.03) if limited else None, cash=0.5 if limited else math.inf)
    out = size_batch(pd.DataFrame(rows, columns=["symbol", "expected_return", "confidence", "max_loss"]), rules, facts)
    for (symbol, gain, sure, loss), weight, code in zip(rows, out["weight"], out["code"]):
        target = size(view(symbol, expected_return=gain, confidence=sure, max_loss=loss), rules, facts)
        assert weight == target.weight and code == next((s.code for s in reversed(target.steps) if s.code), "")
        assert weight >= 0 and weight * loss <= risk * (1 + 1e-12) and (not limited or weight <= 0.03)


@pytest.mark.parametrize("method", METHODS)
def test_arithmetic_is_recomputed_from_its_text_alone(method):
    rules = Sizing(method=method, adjust=UPON, base_size=0.2, max_portfolio_risk=0.004)
    targets, _ = size_all([view("KO", max_loss=0.2), view("AAPL", max_loss=0.25)], rules, replace(FACTS, limits=Limits(max_position_weight=0.04), sectors=SECTORS))
    for target in targets:
        weight = None
        for line in repr(arithmetic(target)).splitlines()[1:]:
            sum_, result = re.fullmatch(r"  .*?  +((?:min\(|[\d.e-]+ \*).*) = (\S+)(?:  [A-Z_]+)?", line).groups()
            factor = re.fullmatch(r"(\S+) \* (\S+)(?: / (\S+))?", sum_)
            bound = re.fullmatch(r"min\((\S+), (\S+?)(?: / (\S+))?\)", sum_)
            before, value, per = (float(x or 1) for x in (factor or bound).groups())
            assert weight is None or before == pytest.approx(weight, rel=1e-10)
            weight = before * value / per if factor else min(before, value / per)
            assert weight == pytest.approx(float(result), rel=1e-10)
        assert weight == pytest.approx(target.weight, rel=1e-10)
        assert math.prod(x.factor for x in arithmetic(target).lines) == pytest.approx(target.weight, rel=1e-12)
        assert f"{target.weight:.2%}" in arithmetic(target)._repr_html_() and len(arithmetic(target).frame()) == len(target.steps)


def test_arithmetic_goes_on_through_an_objective_and_names_a_refusal():
    target = size(view(), Sizing())
    later = Target(target.contract, 0.01, (*target.steps, Step("max sharpe", 0.65, 0.01)))
    assert "0.022 * 0.454545454545 = 0.01" in repr(arithmetic(later))
    pledged = Target(target.contract, 0.05, (*target.steps, Step("pledged", 0.05, 0.05, "PLEDGED")))
    assert "max(0.022, 0.05) = 0.05  PLEDGED" in repr(arithmetic(pledged))
    assert "refused: CONFIDENCE = 0  CONFIDENCE" in repr(arithmetic(size(view(confidence=0.3), Sizing())))


@pytest.mark.parametrize("method", ["fixed_percent", "confidence", "volatility", "risk_parity"])
@given(st.floats(0.01, 0.9))
@settings(max_examples=10, deadline=None)
def test_size_scales_with_the_base_size(method, k):
    one, other = (size(view(), loose(method, base_size=b), FACTS).weight for b in (1.0, k))
    assert other == pytest.approx(k * one, rel=1e-12)


@given(st.floats(0.5, 4))
@settings(max_examples=10, deadline=None)
def test_size_does_not_know_the_unit_of_money_nor_of_all_vols(k):
    dollars = loose("fixed_dollar", dollars=20_000 * k)
    assert size(view(), dollars, Facts(nav=1e6 * k)).weight == pytest.approx(0.02, rel=1e-12)
    wilder = replace(FACTS, cov=COV * k)
    assert size(view(), loose("risk_parity"), wilder).weight == pytest.approx(size(view(), loose("risk_parity"), FACTS).weight, rel=1e-7)


bounds = st.tuples(st.floats(0.001, 0.2), st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.floats(0.01, 1.0), st.floats(0.001, 0.2))


@pytest.mark.parametrize("method", METHODS)
@given(limits=bounds, which=st.integers(0, 4), tighter=st.floats(0.05, 1.0), loss=st.floats(0.01, 1))
@settings(max_examples=25, deadline=None)
def test_tighter_limit_never_allows_a_view_more(method, limits, which, tighter, loss):
    def weight(limits):
        risk, position, sector, cash, budget = limits
        rules = Sizing(method=method, base_size=0.3, max_position_risk=risk, max_portfolio_risk=10.0)
        facts = replace(FACTS, limits=Limits(max_position_weight=position, max_sector_weight=sector), sectors=SECTORS, cash=cash, budget=budget)
        targets, _ = size_all([view(max_loss=loss)], rules, facts)
        found = targets[0].weight if targets else 0.0
        assert found <= min(position, sector, cash) * (1 + 1e-12) and found * loss <= min(risk, budget) * (1 + 1e-12)
        return found
    cut = tuple(x * tighter if i == which else x for i, x in enumerate(limits))
    assert weight(cut) <= weight(limits) * (1 + 1e-12)


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.floats(0.6, 1), st.floats(0.01, 0.5)), min_size=2, max_size=4, unique_by=lambda x: x[0]), bounds)
@settings(max_examples=40, deadline=None)
def test_all_together_stay_within_cash_sectors_and_budget(rows, limits):
    risk, position, sector, cash, budget = limits
    facts = replace(FACTS, limits=Limits(max_position_weight=position, max_sector_weight=sector), sectors=SECTORS, cash=cash)
    targets, decisions = size_all([view(s, confidence=c, max_loss=m) for s, c, m in rows], Sizing(base_size=0.4, max_position_risk=risk, max_portfolio_risk=budget), facts)
    loss = {s: m for s, _, m in rows}
    w = {t.contract.symbol: t.weight for t in targets}
    near = 1 + 1e-9
    assert sum(w.values()) <= cash * near and max(w.values()) <= position * near and sum(w[s] * loss[s] for s in w) <= budget * near
    assert all(sum(x for s, x in w.items() if SECTORS[s] == name) <= sector * near for name in SECTORS.values())
    assert len(decisions) == len(rows) and all(t.steps[-1].weight == t.weight for t in targets)


@pytest.mark.parametrize("rules, change, facts, code", [
    (Sizing(method="kelly"), {"max_loss": 0.0}, FACTS, "NO_STOP"),
    (Sizing(method="optimal_f"), {}, Facts(trades={}), "NO_TRADES"), (Sizing(method="optimal_f"), {}, Facts(trades={"KO": [0.1, -0.2]}), "NO_GAIN"),
    (Sizing(method="optimal_f"), {}, Facts(trades={"KO": [0.1, 0.2]}), "NO_LOSS"), (Sizing(), {}, Facts(cash=0.0), "CASH"), (Sizing(), {}, Facts(budget=0.0), "RISK_BUDGET"),
])
def test_what_gets_nothing_is_refused_by_its_rule(rules, change, facts, code):
    targets, (decision,) = size_all([view(**change)], rules, facts)
    assert targets == () and (decision.verdict, decision.code, decision.after) == (Verdict.REFUSED, code, 0.0)
    assert "KO" in decision.message or "bet without an edge" in decision.message
    row = {"symbol": "KO", "expected_return": 0.1, "confidence": 0.75, "max_loss": 0.05} | {k: v for k, v in change.items()}
    assert list(size_batch(pd.DataFrame([row]), rules, facts)["code"]) == [code]


@pytest.mark.parametrize("rules, facts, words", [
    (Sizing(method="fixed_dollar"), Facts(), "nav is nan"), (Sizing(method="volatility"), Facts(), "cov is None"), (Sizing(method="optimal_f"), Facts(), "trades is None"),
    (Sizing(method="volatility"), Facts(cov=COV.drop("KO").drop(columns="KO")), "no vol of KO"), (Sizing(method="volatility"), Facts(cov=COV * np.where(np.eye(4), -1, 1)), "variance of AAPL is -"),
    (Sizing(method="volatility"), Facts(cov=COV * np.nan), "variance of AAPL is nan"), (Sizing(method="volatility"), Facts(cov=COV.rename(index={"KO": "COKE"})), "KO is in"),
    (Sizing(adjust=("regime",)), Facts(regime="wild"), "regime is 'wild'"), (Sizing(adjust=("volatility",)), Facts(cov=COV, held={"GE": 0.1}), "no covariance of GE"),
    (Sizing(adjust=("volatility",)), Facts(cov=COV, held={"KO": math.nan}), "weight held of KO is nan"),
    (Sizing(method="kely"), FACTS, "sizing method 'kely' is not known: use one of confidence"), (Sizing(adjust=("regim",)), FACTS, "adjustment 'regim' is not known"),
    (Sizing(), Facts(limits=Limits(), sectors={}), "no sector of KO"),
])
def test_fact_that_is_absent_or_wrong_is_named(rules, facts, words):
    with pytest.raises(InputError, match=re.escape(words)):
        size_all([view()], rules, facts)


def test_trades_of_no_number_and_covariance_in_percent_are_named():
    for wrong, words in (([0.1, math.nan], "trades of KO: one is nan"), ([], "trades of KO: there is none"), ([0.1, -2.0], "below -1")):
        with pytest.raises(DataError, match=words):
            size(view(), Sizing(method="optimal_f"), Facts(trades={"KO": wrong}))
    with pytest.warns(UnitWarning, match="vol is"):
        size(view(), Sizing(method="volatility"), Facts(cov=1e4 * COV))


@pytest.mark.parametrize("column, value, words", [
    ("confidence", math.nan, r"confidence of PEP \(row b\) is nan"), ("confidence", 90, r"confidence of PEP \(row b\) is 90"), ("max_loss", -0.1, r"max_loss of PEP \(row b\) is -0.1"),
    ("expected_return", math.inf, r"expected_return of PEP \(row b\) is inf"), ("symbol", None, "symbol of row b is missing"),
])
def test_batch_names_the_row(column, value, words):
    frame = pd.DataFrame({"symbol": ["KO", "PEP"], "expected_return": [0.1, 0.1], "confidence": [0.8, 0.8], "max_loss": [0.05, 0.05]}, index=["a", "b"])
    assert list(size_batch(frame, Sizing()).index) == ["a", "b"] and size_batch(frame.iloc[:0], Sizing()).empty
    with pytest.raises(InputError, match=words):
        size_batch(frame.astype({column: object}).assign(**{column: [frame[column].iloc[0], value]}), Sizing())
    with pytest.raises(InputError, match=f"signals have no column {column}"):
        size_batch(frame.drop(columns=column), Sizing())


def test_settings_of_sizing_refuse_what_makes_no_sense():
    for wrong, words in (({"adjust": ("confidence",)}, "take confidence out of adjust"), ({"kelly_fraction": 1.5}, "less than or equal to 1"), ({"target_vol": -0.1}, "greater than 0"),
                         ({"regimes": {"calm": -1.0}}, "greater than or equal to 0"), ({"unbounded_loss": "hope"}, "'refuse' or 'stress'")):
        with pytest.raises(ValueError, match=words):
            Sizing(**wrong)
    with pytest.raises(InputError, match="vol of the market is nan"):
        vol_regime(math.nan)
    with pytest.warns(UnitWarning, match="for 20 % give 0.2"):
        vol_regime(20.0)


CONDOR = [Leg(1, "P", 85, 0.5), Leg(-1, "P", 90, 1.5), Leg(-1, "C", 110, 1.5), Leg(1, "C", 115, 0.5)]  # 2.00 received, 5 wide: 300 at most


def test_option_unit_applies_the_multiplier():
    one, mini = (combination_unit("condor", CONDOR, 100.0, 0.1, 0.25, margin=5.0 * m, multiplier=m) for m in (100, 10))
    assert one.max_loss == pytest.approx(300) and mini.max_loss == pytest.approx(30) and one.delta == pytest.approx(10 * mini.delta)
    assert size_options(size(view(), Sizing()), mini, Sizing(), 1e6).count >= 10 * size_options(size(view(), Sizing()), one, Sizing(), 1e6).count


@given(st.floats(1, 5_000), st.floats(-20_000, 20_000), st.floats(0, 5_000), st.floats(1e4, 1e7), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_options_are_whole_and_within_every_bound(capital, delta, loss, nav, tighter):
    rules, unit, target = Sizing(max_position_risk=0.005), Unit("it", capital, delta, loss), size(view(), Sizing())
    found = size_options(target, unit, rules, nav)
    n, wished = found.count, target.weight * nav * (1 + 1e-9)
    assert isinstance(n, int) and n * capital <= wished and n * abs(delta) <= wished and n * loss <= 0.005 * nav * (1 + 1e-9)
    more = n + 1
    assert more * capital > wished * (1 - 2e-9) or more * abs(delta) > wished * (1 - 2e-9) or more * loss > 0.005 * nav * (1 - 2e-9)  # the largest such number
    assert found.decision.accepted == (n > 0) and found.steps[: len(target.steps)] == target.steps
    assert size_options(target, unit, Sizing(max_position_risk=0.005 * tighter), nav).count <= n


def test_option_without_a_bound_is_refused_or_sized_by_its_stress():
    target, naked = size(view(), Sizing()), Unit("naked", 2_000.0, -3_000.0, math.inf, 2_300.0)
    assert size_options(target, naked, Sizing(), 1e6).decision.code == "UNBOUNDED"
    stressed = size_options(target, naked, Sizing(unbounded_loss="stress"), 1e6)
    assert (stressed.count, stressed.decision.code) == (2, "STRESS_LOSS") and "min(" in repr(stressed)
    with pytest.raises(InputError, match="stress loss of bare is nan"):
        size_options(target, Unit("bare", 2_000.0, 0.0, math.inf), Sizing(unbounded_loss="stress"), 1e6)
    nothing = size_options(size(view(confidence=0.1), Sizing()), naked, Sizing(), 1e6)
    assert (nothing.count, nothing.decision.code) == (0, "CONFIDENCE")


@pytest.mark.parametrize("wrong, words", [({"capital": 0.0}, "capital of it is 0"), ({"capital": math.nan}, "capital of it is nan"), ({"delta": math.nan}, "delta of it is nan"), ({"max_loss": -1.0}, "greatest loss of it is -1")])
def test_option_unit_that_is_none_is_named(wrong, words):
    with pytest.raises(InputError, match=words):
        Unit(**{"name": "it", "capital": 100.0, "delta": 10.0, "max_loss": 50.0} | wrong)


def test_option_view_is_no_weight():
    _, (decision,) = size_all([view(contract=option("KO", date(2023, 1, 20), 65, "C"))], Sizing(method="kelly"))
    assert decision.code == "OPTION"
