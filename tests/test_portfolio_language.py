"""The language: against the direct functions, against enumeration, against differences; what it refuses, and what it keeps."""
import itertools
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import InputError, Interrupted, SolverError
from otsport.portfolio import general
from otsport.portfolio.background import in_background
from otsport.portfolio.bounds import Bounds, Exposure
from otsport.portfolio.language import (
    Answer, Beta, Cardinality, CVaR, ExpectedReturn, FullyInvested, Leverage, LogGrowth, LogWeights, LongOnly, MaxWeight, MinWeight, Net, Problem, SectorCap,
    TrackingError, TransactionCost, Turnover, Variance, Vol, WeightedVol, ZeroOrAtLeast, _direct, _smallest,
)
from otsport.portfolio.optimize import frontier, mean_variance, min_variance
from otsport.portfolio.risk_parity import risk_parity

NAMES = list("ABCDEFGH")


def sample(seed: int = 0, n: int = 8) -> tuple[pd.Series, pd.DataFrame, pd.DataFrame]:
    "Expected returns, covariance, and 60 scenarios."
    rng = np.random.default_rng(seed)
    x = 0.01 * rng.standard_normal((60, n)) @ (np.eye(n) + rng.normal(0, 0.3, (n, n))) + rng.normal(3e-4, 3e-4, n)
    names = NAMES[:n]
    return pd.Series(rng.normal(0.05, 0.05, n), names), pd.DataFrame(252 * np.cov(x.T), names, names), pd.DataFrame(x, columns=names)


MU, COV, PAST = sample()
HELD = pd.Series(1 / 8, NAMES)
INVESTED = [LongOnly(), FullyInvested(), MaxWeight(0.4)]
SECTORS = dict(zip(NAMES, "xxyyzzzz"))
SHORT = [MinWeight(-0.3), MaxWeight(0.5), Net(0.2, 0.6), Leverage(1.4)]


@pytest.mark.parametrize("goal", [dict(minimize=Variance(COV)), dict(maximize=ExpectedReturn(MU) - 3 * Variance(COV)), dict(maximize=2 * ExpectedReturn(MU) - Variance(COV) - Variance(COV, HELD)),
                                  dict(maximize=ExpectedReturn(MU) / Vol(COV)), dict(maximize=WeightedVol(COV) / Vol(COV)), dict(maximize=3 * ExpectedReturn(MU), subject_to=[Vol(COV) <= 0.13]),
                                  dict(maximize=ExpectedReturn(MU), subject_to=[2 * Variance(COV) <= 0.04])], ids=str)
@pytest.mark.parametrize("rules", [INVESTED, [*INVESTED, SectorCap(SECTORS, 0.45), Turnover(HELD, 0.5), Beta(pd.Series(np.linspace(0.5, 1.5, 8), NAMES), 0.9, 1.1)], SHORT], ids=["long", "rules", "short"])
def test_the_direct_way_and_the_general_way_agree(goal, rules):
    rules = [*rules, *goal.get("subject_to", ())]
    problem = Problem(**goal | {"subject_to": rules})
    found, point = problem.solve(), general.solve_general(problem.convex())
    assert _direct(problem.convex()) is not None and point.solver.startswith("Clarabel")
    ours, theirs = found.weights.to_numpy(), point.weights
    if problem.convex().gain is not None:  # the scale of a ratio may be free
        ours, theirs = ours / ours.sum(), theirs / theirs.sum()
    assert ours == pytest.approx(theirs, abs=2e-5) and problem.convex().value(found.weights.to_numpy()) == pytest.approx(point.value, rel=1e-7)
    assert found.gap < 1e-8 and found.violation < 1e-9 and point.value - point.least < 1e-6 * abs(point.value)


MORE = {
    "cost": dict(maximize=ExpectedReturn(MU) - 3 * Variance(COV) - TransactionCost(HELD, 0.02)),
    "tracking": dict(maximize=ExpectedReturn(MU) - Variance(COV), subject_to=[TrackingError(HELD, COV, 0.03)]),
    "two limits": dict(maximize=ExpectedReturn(MU), subject_to=[TrackingError(HELD, COV, 0.05), Vol(COV) <= 0.1]),
    "cvar": dict(minimize=CVaR(PAST, 0.9)), "return to cvar": dict(maximize=ExpectedReturn(MU) / CVaR(PAST, 0.9)), "cvar below": dict(maximize=ExpectedReturn(MU), subject_to=[CVaR(PAST, 0.9) <= 0.012]),
    "kelly": dict(maximize=LogGrowth(PAST)), "parity": dict(minimize=0.5 * Variance(COV) - 0.01 * LogWeights(HELD)),
    "kelly below a vol": dict(maximize=LogGrowth(PAST), subject_to=[Vol(COV) <= 0.1]), "kelly with costs": dict(maximize=LogGrowth(PAST) - TransactionCost(HELD, 0.0005), subject_to=[TrackingError(HELD, COV, 0.03)]),
    "kelly, little turnover": dict(maximize=LogGrowth(PAST), subject_to=[Turnover(HELD, 0.3)]), "variance above a growth": dict(minimize=Variance(COV), subject_to=[LogGrowth(PAST) >= 1e-4]),
    "ratio below tracking": dict(maximize=ExpectedReturn(MU) / Vol(COV), subject_to=[TrackingError(HELD, COV, 0.06)]),
}


@pytest.mark.parametrize("word", list(MORE))
def test_general_answers_are_proved_and_no_random_weights_are_better(word):
    goal = MORE[word]
    problem = Problem(**goal | {"subject_to": [*INVESTED, *goal.get("subject_to", ())]})
    found, p = problem.solve(), problem.convex()
    assert found.gap < 1e-8 and found.violation < 1e-9
    rng, best = np.random.default_rng(1), p.value(found.weights.to_numpy())
    draws = np.vstack([rng.dirichlet(np.full(8, alpha), 300) for alpha in (0.5, 5.0, 200.0)])
    tried = [w for s in (0.5, 0.05) for w in (1 - s) * found.weights.to_numpy() + s * draws if general.broken(p, w) <= 1e-9]
    assert len(tried) > 20 and min(p.value(w) for w in tried) >= best - 1e-9 * abs(best)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_the_proof_holds_for_weights_that_are_not_the_best(seed):
    "The negative control: other prices give another floor, and never one above the best."
    problem = Problem(**MORE["tracking"] | {"subject_to": [*INVESTED, TrackingError(HELD, COV, 0.03)]})
    p = problem.convex()
    best = general.solve_general(p)
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(8))
    prices = {name: float(x * rng.uniform(0, 2)) for name, x in best.prices.items()}
    least, _ = general._proved(p, w, prices, [[[] for _ in p.cost], [[]]], 0.0)
    assert least <= best.value + 1e-12 and p.value(w) - least >= p.value(w) - best.value - 1e-9


def test_greatest_ratio_from_what_is_held_is_the_greatest():
    "Its lam was once that of the weights bought and sold, and the proof that of another program."
    rules = [*INVESTED, SectorCap(SECTORS, 0.45), Turnover(HELD, 0.5), Beta(pd.Series(np.linspace(0.5, 1.5, 8), NAMES), 0.9, 1.1)]
    problem = Problem(maximize=ExpectedReturn(MU) / Vol(COV), subject_to=rules)
    assert problem.solve().value == pytest.approx(1 / general.solve_general(problem.convex()).value, rel=1e-7)


def test_risk_parity_by_its_formula():
    found = Problem(minimize=0.5 * Variance(COV) - LogWeights(HELD)).solve()
    assert (found.weights / found.weights.sum()).to_numpy() == pytest.approx(risk_parity(COV).weights, abs=1e-6) and found.solver.startswith("Clarabel")


@pytest.mark.parametrize("name, rules", [
    ("tracking error <= 0.03", lambda x: [TrackingError(HELD, COV, 0.03 + x)]), ("max_turnover", lambda x: [Turnover(HELD, 0.3 + x)]), ("upper B", lambda x: [MaxWeight(pd.Series(1.0, NAMES).where(lambda s: s.index != "B", 0.2 + x))]),
    ("beta", lambda x: [Beta(pd.Series(np.linspace(0.5, 1.5, 8), NAMES), high=0.6 + x)]), ("beta (least)", lambda x: [Beta(pd.Series(np.linspace(0.5, 1.5, 8), NAMES), low=1.2 + x)]),
    ("sector x", lambda x: [SectorCap(SECTORS, {"x": 0.2 + x})]), ("net", lambda x: [Net(0.8 + x, 0.8 + x)]), ("lower A", lambda x: [MinWeight(pd.Series(0.0, NAMES).where(lambda s: s.index != "A", 0.3 + x))]),
])
@pytest.mark.parametrize("costly", [0.0, 0.002])
def test_price_is_the_slope_of_the_objective(name, rules, costly):
    "On both ways: a cost in the objective leads to the general one."
    mu = MU.copy()
    mu["B"] += 0.1
    goal = ExpectedReturn(mu) - 2 * Variance(COV) - (TransactionCost(0 * HELD, costly) if costly else 0 * ExpectedReturn(mu))
    base = [LongOnly()] if name == "net" else [LongOnly(), FullyInvested()]
    found, h = Problem(maximize=goal, subject_to=[*base, *rules(0.0)]).solve(), 1e-4
    up, down = (Problem(maximize=goal, subject_to=[*base, *rules(x)]).solve().value for x in (h, -h))
    assert found.binding[name] == pytest.approx((up - down) / (2 * h), rel=0.02, abs=1e-5)


def brute(cost, most: int, least: float, rules: list, short: bool = False) -> float:
    "The best over every subset and every side."
    best = np.inf
    for k in range(1, most + 1):
        for held in itertools.combinations(range(6), k):
            for signs in itertools.product(*[(1, -1)] * k if short else [(1,)] * k):
                lower, upper = np.zeros(6), np.zeros(6)
                for i, s in zip(held, signs):
                    lower[i], upper[i] = (least, 0.7) if s > 0 else (-0.3, -least)
                try:
                    best = min(best, -Problem(maximize=cost, subject_to=[*rules, MinWeight(lower), MaxWeight(upper)]).solve().value)
                except SolverError:
                    pass
    return -best


@pytest.mark.parametrize("most, least, short", [(2, 0.0, False), (3, 0.25, False), (6, 0.2, False), (2, 0.1, True)])
def test_subsets_by_enumeration(most, least, short):
    mu, cov, _ = sample(3, 6)
    goal, rules = ExpectedReturn(mu.to_numpy()) - 5 * Variance(cov.to_numpy()), [Net(0.6, 1.0)]
    found = Problem(maximize=goal, subject_to=[*rules, MinWeight(-0.3 if short else 0.0), MaxWeight(0.7), Cardinality(most), ZeroOrAtLeast(least)]).solve()
    size = found.weights.abs()
    assert (size > 1e-9).sum() <= most and ((size < 1e-9) | (size >= least - 1e-9)).all() and found.gap < 1e-7
    assert found.value == pytest.approx(brute(goal, most, least, rules, short), rel=1e-8, abs=1e-10)


def test_few_names_with_a_ratio_and_with_a_tracking_error():
    mu, cov, _ = sample(3, 6)
    best = -np.inf
    for held in itertools.combinations(range(6), 2):
        upper = np.zeros(6)
        upper[list(held)] = 1.0
        best = max(best, Problem(maximize=ExpectedReturn(mu) / Vol(cov), subject_to=[LongOnly(), FullyInvested(), MaxWeight(upper)]).solve().value if mu.iloc[list(held)].max() > 0 else -np.inf)
    found = Problem(maximize=ExpectedReturn(mu) / Vol(cov), subject_to=[LongOnly(), FullyInvested(), Cardinality(2)]).solve()
    assert found.value == pytest.approx(best, rel=1e-7) and len(found.held) <= 2
    near = Problem(minimize=Vol(COV, HELD), subject_to=[*INVESTED, Cardinality(5)]).solve()
    assert len(near.held) == 5 and near.gap < 1e-6 and near.value > 0.01


def test_second_solve_of_a_shape_turns_nothing(monkeypatch):
    problem = lambda seed: Problem(maximize=ExpectedReturn(sample(seed)[0]) - 3 * Variance(sample(seed)[1]) - TransactionCost(HELD, 0.01 * (seed + 1)), subject_to=INVESTED)  # noqa: E731
    one = problem(0).solve()
    monkeypatch.setattr(general, "_built", None)  # what turns a problem is gone
    other = problem(1).solve()
    assert problem(0).solve().value == one.value and other.value != one.value
    with pytest.raises(TypeError):  # the negative control: another shape needs it
        Problem(maximize=ExpectedReturn(MU) - TransactionCost(HELD, 0.01), subject_to=[*INVESTED, Leverage(1.0)]).solve()


@pytest.mark.parametrize("goal, words", [
    (lambda: Problem(maximize=ExpectedReturn(MU) + Variance(COV)), r"\+1 \* Variance is convex, the problem is not a convex one"), (lambda: Problem(minimize=LogGrowth(PAST)), "LogGrowth is concave"),
    (lambda: Problem(minimize=Variance(COV), subject_to=[Vol(COV) >= 0.1]), "Vol >= 0.1: -1 \\* Vol is concave"), (lambda: Problem(maximize=Vol(COV) / ExpectedReturn(MU)), "above the line"),
    (lambda: Problem(maximize=ExpectedReturn(MU) / Variance(COV)), "below the line"), (lambda: Problem(maximize=ExpectedReturn(MU) / Vol(COV), subject_to=[Variance(COV) <= 0.1]), "cannot be limited"),
    (lambda: Problem(), "one of them"), (lambda: Problem(minimize=3), "no formula"), (lambda: Problem(minimize=Variance(COV), subject_to=[0.1]), "0.1 is no constraint"),
    (lambda: Problem(minimize=Variance(COV) * Vol(COV)), "multiplied by numbers"), (lambda: Problem(minimize=Variance(COV) + 1), "stands in a formula"),
    (lambda: 0.1 <= Vol(COV) <= 0.2, "neither true nor false"), (lambda: Problem(minimize=Variance(COV), subject_to=[*INVESTED, Cardinality(0)]).solve(), "whole number of names"),
    (lambda: Problem(minimize=Variance(COV), subject_to=[*INVESTED, ZeroOrAtLeast(-0.1)]).solve(), "0 or more"), (lambda: Problem(minimize=CVaR(PAST, 95)).solve(), "between 0 and 1"),
    (lambda: Problem(minimize=Variance(COV), subject_to=[Turnover(HELD, 0.1), Turnover(HELD, 0.2)]).solve(), "two Turnover"), (lambda: Problem(maximize=TransactionCost(HELD, -0.1) * -1).solve(), "A has -0.1, a cost is 0 or more"),
    (lambda: Problem(minimize=Variance(COV), subject_to=[SectorCap({"A": "x"}, 0.3)]).solve(), "the sectors have none of B, C"), (lambda: Problem(minimize=Variance(COV), subject_to=[SectorCap(SECTORS, {"w": 0.3})]).solve(), "w is the sector of no asset"),
    (lambda: Problem(minimize=Variance(COV), subject_to=[TrackingError(HELD.drop("C"), COV, 0.1)]).solve(), "C is in the names but not in the benchmark"),
    (lambda: Problem(minimize=Variance(COV), subject_to=[MaxWeight(HELD.rename({"A": "Z"}))]).solve(), "A is in the names but not in the greatest weights"),
    (lambda: Problem(minimize=Variance(COV.where(COV != COV.loc["A", "B"]))).solve(), "covariance of A and B is nan"), (lambda: Problem(minimize=Variance(COV + np.triu(np.ones((8, 8)), 1))).solve(), "not symmetric"),
    (lambda: Problem(minimize=Variance(COV - np.eye(8))).solve(), "not positive semidefinite"), (lambda: Problem(maximize=ExpectedReturn(MU.where(MU.index != "D"))).solve(), "D has nan"),
])
def test_what_cannot_be_meant_is_refused_by_name(goal, words):
    with pytest.raises(InputError, match=words):
        goal()


@pytest.mark.parametrize("rules, words", [
    ([*INVESTED, MaxWeight(0.1)], "sum of the upper bounds 0.8000"), ([LongOnly(), FullyInvested(), SectorCap(SECTORS, 0.3)], "sector cap 0.3000 on x, y, z"),
    ([*INVESTED, Turnover(pd.Series(0.0, NAMES), 0.5)], "max_turnover 0.5"), ([*INVESTED, Beta(pd.Series(1.0, NAMES), 1.2)], r"beta \(least\) 1.2"),
    ([*INVESTED, TrackingError(pd.Series([1.0, *[0] * 7], NAMES), COV, 0.01)], r"tracking error <= 0.01, MaxWeight\(0.4\)"), ([FullyInvested(), LongOnly(), Vol(COV) <= 0.02], r"Vol <= 0.02, FullyInvested\(\); relax one \(the least of Vol within the others is 0.0495774\)"),
])
def test_clash_names_its_constraints(rules, words):
    with pytest.raises(SolverError, match=words):
        Problem(maximize=ExpectedReturn(MU) - Variance(COV), subject_to=rules).solve()


def test_smallest_clash_of_limits_can_hold_without_any_part():
    rules = [LongOnly(), FullyInvested(), MaxWeight(0.9), Beta(HELD * 0 + 1, high=2.0), Vol(COV) <= 0.5, TrackingError(pd.Series([1.0, *[0] * 7], NAMES), COV, 0.001)]
    problem = Problem(minimize=Variance(COV), subject_to=rules)
    assert _smallest(problem, problem.convex()) == ("tracking error <= 0.001", "MaxWeight(0.9)")


@pytest.mark.parametrize("rules", [[], [LongOnly()], [Net(1, 1)]])
def test_objective_without_end_is_said(rules):
    with pytest.raises(SolverError, match="no end|no greatest value"):
        Problem(maximize=ExpectedReturn(MU), subject_to=rules).solve()


def test_cases_that_other_optimizers_got_wrong():
    "Caps kept (a 45 % cap that gave 75.88 %), a tracking error kept exactly, nothing to earn said, a book short on the whole."
    capped = Problem(maximize=ExpectedReturn(MU) / Vol(COV), subject_to=[LongOnly(), FullyInvested(), MaxWeight(0.45)]).solve()
    assert capped.weights.max() <= 0.45 + 1e-9 and capped.weights.sum() == pytest.approx(1)
    near = Problem(maximize=ExpectedReturn(MU), subject_to=[*INVESTED, TrackingError(HELD, COV, 0.02)]).solve()
    away = near.weights - HELD
    assert (away @ COV @ away) ** 0.5 == pytest.approx(0.02, abs=1e-8) and near.binding["tracking error <= 0.02"] > 0
    with pytest.raises(SolverError, match="positive expected excess return"):
        Problem(maximize=ExpectedReturn(-MU.abs()) / Vol(COV), subject_to=[LongOnly(), FullyInvested()]).solve()
    short = Problem(maximize=ExpectedReturn(-MU.abs()) - 2 * Variance(COV), subject_to=[Net(-0.6, -0.4), Leverage(1.0), MinWeight(-0.3), MaxWeight(0.3)]).solve()
    assert -0.6 - 1e-9 <= short.weights.sum() <= -0.4 + 1e-9 and short.weights.abs().sum() <= 1 + 1e-9


def test_singular_covariance_of_copies_is_solved():
    twins = np.ones((2, 2)) * 0.04
    for goal in (dict(minimize=Variance(twins)), dict(minimize=Variance(twins) + TransactionCost([0.5, 0.5], 0.001))):
        found = Problem(**goal, subject_to=[LongOnly(), FullyInvested()]).solve()
        assert found.weights.sum() == pytest.approx(1) and found.terms["Variance"] == pytest.approx(0.04) and list(found.weights.index) == ["asset 1", "asset 2"]


def test_names_meet_by_label_and_order_is_immaterial():
    order = [3, 1, 0, 2, 7, 6, 5, 4]
    goal = lambda mu: Problem(maximize=ExpectedReturn(mu) - 3 * Variance(COV) - TransactionCost(HELD.iloc[order[::-1]], 0.01), subject_to=[*INVESTED, SectorCap(SECTORS, 0.5)]).solve()  # noqa: E731
    one, other = goal(MU), goal(MU.iloc[order])
    assert list(other.weights.index) == list(MU.index[order]) and other.weights[NAMES].to_numpy() == pytest.approx(one.weights.to_numpy(), abs=1e-6)


def test_answer_reads_well():
    found = Problem(maximize=ExpectedReturn(MU) - 3 * Variance(COV), subject_to=[*INVESTED, Exposure("lead", np.ones(8), high=2.0)]).solve()
    assert isinstance(found, Answer) and repr(found).startswith("maximize ExpectedReturn - 3 * Variance = ") and "binding, gain per 1.00:" in repr(found)
    assert "<table" in found._repr_html_() and found.terms["ExpectedReturn"] - 3 * found.terms["Variance"] == pytest.approx(found.value)


def test_search_is_cancelled_between_two_programs_and_says_how_far_it_is():
    mu, cov, _ = sample(5)
    heard, reached = [], threading.Event()

    def listen(share: float, text: str) -> None:
        heard.append((share, text))
        reached.set()
        release.wait(30)

    release = threading.Event()
    work = Problem(minimize=Variance(cov), subject_to=[*INVESTED, MaxWeight(0.3), Cardinality(4)]).solve_async(progress=listen)
    assert reached.wait(60)
    work.cancel()
    release.set()
    with pytest.raises(Interrupted, match="cancelled at"):
        work.result(60)
    assert "programs" in heard[0][1] and work.done and len(heard) == 1


def test_frontier_says_its_points_and_is_cancelled():
    bounds = Bounds(NAMES, np.full(8, 0.4), min_net=1.0)
    heard = []
    whole = frontier(MU, COV, bounds, 6, progress=lambda share, text: heard.append(text))
    assert [t for t in heard if t] == [f"point {i} of 6" for i in range(2, 6)] and len(whole.returns) == 6
    assert in_background(frontier, MU, COV, bounds, 6).result(60).returns == pytest.approx(whole.returns)
    with pytest.raises(Interrupted):
        frontier(MU, COV, bounds, 6, progress=lambda share, text: (_ for _ in ()).throw(Interrupted("stop")))


# --- published numbers


def test_tangency_of_two_assets_in_closed_form():
    "w1 = (e1 s2^2 - e2 s12) / (e1 s2^2 + e2 s1^2 - (e1 + e2) s12), the textbook formula (Bodie, Kane and Marcus, chapter on optimal risky portfolios): 0.40 and 0.60 for their debt and equity fund."
    e, s, rho = np.array([0.08, 0.13]) - 0.05, np.array([0.12, 0.20]), 0.30
    cov = np.outer(s, s) * np.array([[1, rho], [rho, 1]])
    w = (e[0] * cov[1, 1] - e[1] * cov[0, 1]) / (e[0] * cov[1, 1] + e[1] * cov[0, 0] - e.sum() * cov[0, 1])
    found = Problem(maximize=ExpectedReturn(e) / Vol(cov), subject_to=[LongOnly(), FullyInvested()]).solve()
    assert found.weights.to_numpy() == pytest.approx([w, 1 - w], abs=1e-10) and found.weights.to_numpy() == pytest.approx([0.40, 0.60], abs=0.005) and found.value == pytest.approx(0.42, abs=0.005)


TEN = np.array([1.175, 1.19, 0.396, 1.12, 0.346, 0.679, 0.089, 0.73, 0.481, 1.08])
LOWER = """0.40755159
0.03175842 0.9063047
0.05183923 0.03136385 0.19490901
0.05663904 0.02687256 0.04408485 0.19528471
0.0330226 0.01917172 0.03006772 0.02777345 0.34059105
0.00827775 0.00934384 0.01322738 0.00526665 0.00777055 0.15983874
0.02165938 0.02495043 0.03525971 0.01375808 0.02067844 0.02105575 0.68056711
0.01332419 0.00761036 0.0115493 0.00780878 0.00736409 0.00518686 0.01377882 0.95526918
0.0343476 0.02874874 0.0427563 0.02914176 0.02542657 0.01723737 0.04627027 0.0106553 0.31681584
0.02249903 0.01336866 0.02057303 0.01640377 0.01284075 0.00723779 0.01926088 0.00760955 0.01854318 0.11079287"""
CORNERS = [  # lambda, weights
    (58.303, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), (4.174, [0.649, 0.351, 0, 0, 0, 0, 0, 0, 0, 0]), (1.946, [0.434, 0.231, 0, 0.335, 0, 0, 0, 0, 0, 0]), (0.165, [0.127, 0.072, 0, 0.281, 0, 0, 0, 0, 0, 0.520]),
    (0.147, [0.123, 0.070, 0, 0.279, 0, 0, 0, 0.006, 0, 0.521]), (0.056, [0.087, 0.050, 0, 0.224, 0, 0.174, 0, 0.030, 0, 0.435]), (0.052, [0.085, 0.049, 0, 0.220, 0, 0.180, 0, 0.031, 0.006, 0.429]),
    (0.037, [0.074, 0.044, 0, 0.199, 0.026, 0.198, 0, 0.033, 0.028, 0.398]), (0.031, [0.068, 0.041, 0.015, 0.188, 0.034, 0.202, 0, 0.034, 0.034, 0.383]),
]


def ten_assets() -> np.ndarray:
    cov = np.zeros((10, 10))
    for i, line in enumerate(LOWER.splitlines()):
        cov[i, : i + 1] = cov[: i + 1, i] = [float(x) for x in line.split()]
    return cov


@pytest.mark.filterwarnings("ignore::UserWarning")  # returns of their monthly data in percent
@pytest.mark.parametrize("lam, weights", CORNERS)
def test_corner_portfolios_of_the_critical_line(lam, weights):
    "Markowitz' critical line on the ten assets of Bailey and Lopez de Prado (2013, Algorithms 6, section 5): the corner at each lambda of 1/2 w'Sw - lambda mu'w, printed to three digits."
    bounds = Bounds(tuple("ABCDEFGHIJ"), np.ones(10), min_net=1.0)
    w = mean_variance(TEN, ten_assets(), bounds, 1 / lam).weights
    assert w == pytest.approx(weights, abs=0.004 if lam < 0.06 else 0.0008)  # a lambda of two digits moves the weights so far
    spoken = Problem(maximize=lam * ExpectedReturn(TEN) - 0.5 * Variance(ten_assets()), subject_to=[LongOnly(), FullyInvested()]).solve()
    assert spoken.weights.to_numpy() == pytest.approx(w, abs=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_least_variance_ends_the_critical_line():
    w = min_variance(TEN, ten_assets(), Bounds(tuple("ABCDEFGHIJ"), np.ones(10), min_net=1.0)).weights
    assert w == pytest.approx([0.037, 0.027, 0.095, 0.126, 0.077, 0.219, 0.030, 0.036, 0.061, 0.292], abs=6e-4)
    assert TEN @ w == pytest.approx(0.803, abs=6e-4) and (w @ ten_assets() @ w) ** 0.5 == pytest.approx(0.205, abs=6e-4)


def test_newton_goes_on_where_a_cone_ends_and_a_wrong_step_is_not_taken(monkeypatch):
    """Without it the proofs of exponential cones stand near 1e-6; weights that are worse, or break a limit, are never answered."""
    problems = [Problem(**MORE[word] | {"subject_to": [*INVESTED, *MORE[word].get("subject_to", ())]}) for word in ("parity", "two limits")]
    refined = [problem.solve() for problem in problems]
    assert all(a.gap < 1e-10 and a.violation < 1e-12 and a.solver == "Clarabel, Newton" for a in refined)
    monkeypatch.setattr(general, "_refined", lambda p, start: start)
    bare = [problem.solve() for problem in problems]
    assert all(a.gap > 1e-8 for a in bare) and all((b.weights - a.weights).abs().max() < 1e-4 for a, b in zip(refined, bare))
    monkeypatch.undo()
    for wrong in (np.full(8, 1 / 8), np.array([2.0, -1.0, 0, 0, 0, 0, 0, 0]), np.full(8, np.nan)):
        monkeypatch.setattr(general, "_step", lambda p, w, prices, wrong=wrong: (wrong, dict(prices)))
        again = [problem.solve() for problem in problems]
        assert [a.solver for a in again] == ["Clarabel"] * 2 and all((b.weights - a.weights).abs().max() < 1e-9 for a, b in zip(again, bare))
    monkeypatch.setattr(general, "_step", lambda *_: None)
    assert problems[0].solve().solver == "Clarabel"


@pytest.mark.parametrize("term", [Variance(COV, HELD), Vol(COV), LogGrowth(PAST), LogWeights(HELD)], ids=str)
def test_second_derivatives_are_those_of_the_slopes(term):
    numbers, w, e = term.numbers(pd.Index(NAMES)), np.linspace(0.05, 0.2, 8), 1e-6
    slope = lambda x: term.below(x, (), *numbers)[1]
    by_difference = np.column_stack([(slope(w + e * d) - slope(w - e * d)) / (2 * e) for d in np.eye(8)])
    assert term.bend(w, *numbers) == pytest.approx(by_difference, rel=1e-5, abs=1e-6) and CVaR(PAST).bend(w) is None
    assert not ExpectedReturn(MU).bend(w).any()
