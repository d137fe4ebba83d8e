"""Least shortfall and fastest growth against independent solvers, and properties that no answer may break."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import DataError, InputError, SolverError
from otsport.portfolio import empirical
from otsport.portfolio.bounds import Bounds, Exposure
from otsport.portfolio.empirical import kelly_portfolio, mean_cvar, min_cvar, shortfall


def scenes(seed: int, n: int = 8, periods: int = 200) -> np.ndarray:
    rng = np.random.default_rng(seed)
    common = rng.standard_t(4, periods)[:, None] * rng.uniform(0, 0.01, n)
    return 0.01 * rng.standard_t(4, (periods, n)) * rng.uniform(0.3, 2, n) + common + rng.normal(4e-4, 4e-4, n)


def kinds(n: int) -> dict[str, Bounds]:
    names = tuple(f"A{i}" for i in range(n))
    long = Bounds(names, np.full(n, 0.4), min_net=1.0)
    sectors = tuple("XY"[i % 2] for i in range(n))
    return {
        "long": long,
        "sectors": replace(long, sectors=sectors, sector_cap=0.6),
        "shorts": replace(long, lower=np.full(n, -0.2), max_gross=1.5),
        "turnover": replace(long, held=np.full(n, 1 / n), max_turnover=0.3),
        "exposure": replace(long, exposures=(Exposure("beta", np.linspace(0.5, 1.5, n), high=0.9),)),
        "cash": replace(long, min_net=0.0),
    }


def by_cvxpy(x: np.ndarray, b: Bounds, goal) -> np.ndarray:
    cp = pytest.importorskip("cvxpy")
    w = cp.Variable(x.shape[1])
    rules = [w <= b.upper, w >= b.lower, cp.sum(w) <= b.max_net, cp.sum(w) >= b.min_net]
    rules += [cp.norm1(w) <= b.max_gross] if b.max_gross < np.inf else []
    rules += [cp.norm1(w - b.held) <= b.max_turnover] if b.max_turnover < np.inf else []
    rules += [cp.sum(w[m]) <= b.sector_cap for m in b.members.values()]
    rules += [np.asarray(e.coefficients) @ w <= e.high for e in b.exposures]
    cp.Problem(goal(cp, x @ w), rules).solve(solver=cp.CLARABEL)
    return w.value


def worst(losses: np.ndarray, level: float) -> float:
    "Rockafellar and Uryasev's function at its kinks, the slow way."
    return min(z + np.maximum(losses - z, 0).sum() / ((1 - level) * len(losses)) for z in losses)


@pytest.mark.parametrize("kind", kinds(8))
@pytest.mark.parametrize("level", [0.9, 0.953])
def test_shortfall_is_the_least(kind, level):
    x, b = scenes(1), kinds(8)[kind]
    found = min_cvar(x, b, level)
    other = by_cvxpy(x, b, lambda cp, book: cp.Minimize(cp.cvar(-book, level)))
    assert found.gap < 1e-8 and found.violation < 1e-9
    assert shortfall(x, found.weights, level) == pytest.approx(worst(-(x @ found.weights), level), rel=1e-12)
    assert worst(-(x @ found.weights), level) == pytest.approx(worst(-(x @ other), level), abs=1e-7)
    assert worst(-(x @ found.weights), level) <= worst(-(x @ other), level) + 1e-9


@pytest.mark.parametrize("kind", kinds(8))
def test_growth_is_the_greatest(kind):
    x, b = 3 * scenes(2), kinds(8)[kind]
    found = kelly_portfolio(x, b)
    other = by_cvxpy(x, b, lambda cp, book: cp.Maximize(cp.sum(cp.log1p(book))))
    assert found.gap < 1e-8 and found.violation < 1e-9
    assert np.log1p(x @ found.weights).mean() >= np.log1p(x @ other).mean() - 1e-10
    assert found.weights == pytest.approx(other, abs=2e-4)


@given(st.integers(0, 10**6), st.sampled_from(sorted(kinds(8))))
@settings(max_examples=25, deadline=None)
def test_no_allowed_weights_do_better(seed, kind):
    x, b, rng = scenes(seed, periods=60), kinds(8)[kind], np.random.default_rng(seed)
    least, fast = min_cvar(x, b, 0.9), kelly_portfolio(x, b)
    for _ in range(10):
        step = rng.dirichlet(np.ones(8)) - least.weights
        for answer, better in ((least, lambda w: -worst(-(x @ w), 0.9)), (fast, lambda w: np.log1p(x @ w).mean())):
            near = answer.weights + 1e-3 * (rng.dirichlet(np.ones(8)) * answer.net - answer.weights)
            if empirical._violation(b, near) <= 1e-12:
                assert better(near) <= better(answer.weights) + 1e-9
    assert np.isfinite(step).all()


def test_a_proof_does_not_believe_the_solver(monkeypatch):
    "A gap that is claimed for worse weights must be found."
    x, b = scenes(3), kinds(8)["long"]
    honest = empirical._rounds

    class Liar:
        def __init__(self, solver):
            self.solver = solver

        def getSolution(self):
            found = self.solver.getSolution()
            values = list(found.col_value)
            values[:8] = [1 / 8] * 8
            return type("Told", (), {"col_value": values, "row_dual": found.row_dual, "col_dual": found.col_dual})

    monkeypatch.setattr(empirical, "_rounds", lambda *given: (lambda s, at, k: (Liar(s), at, k))(*honest(*given)))
    assert min_cvar(x, b).gap > 1e-3


def test_risk_shares_of_the_tail_sum_and_name_who_loses():
    x = scenes(4)
    x[:20, 3] -= 0.2  # one asset falls in the bad periods
    equal = replace(kinds(8)["long"], lower=np.full(8, 0.1))
    found = min_cvar(x, equal)
    assert found.risk_shares.sum() == pytest.approx(1) and np.argmax(found.risk_shares) == 3


def test_dearer_tail_is_a_smaller_tail():
    x, b = scenes(5), kinds(8)["long"]
    tails = [shortfall(x, mean_cvar(x, b, a).weights) for a in (0.01, 0.1, 1.0, 10.0)]
    assert all(later <= before + 1e-12 for before, later in zip(tails, tails[1:]))
    assert tails[-1] == pytest.approx(shortfall(x, min_cvar(x, b).weights), rel=0.05)


@pytest.mark.parametrize("solve", [lambda x, b: min_cvar(x, b, 0.9), kelly_portfolio])
def test_order_of_assets_and_periods_and_a_frame_are_immaterial(solve):
    x, b = scenes(6), kinds(8)["long"]
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(x)), rng.permutation(8)
    names = [b.names[i] for i in columns]
    frame = pd.DataFrame(x[np.ix_(rows, columns)], columns=names)
    assert solve(frame, b).weights == pytest.approx(solve(x, b).weights, abs=1e-7)


def test_tighter_bounds_never_do_better():
    x, b = scenes(7), kinds(8)["long"]
    tails = [shortfall(x, min_cvar(x, replace(b, upper=np.full(8, u))).weights) for u in (1.0, 0.5, 0.3, 0.2)]
    growths = [np.log1p(x @ kelly_portfolio(x, replace(b, upper=np.full(8, u))).weights).mean() for u in (1.0, 0.5, 0.3, 0.2)]
    assert tails == sorted(tails) and growths == sorted(growths, reverse=True)


def test_leverage_that_would_ruin_is_kept_from_ruin():
    x = np.array([[0.5, -0.9], [-0.4, 0.3], [0.6, 0.2], [0.3, 0.3]])
    b = Bounds(("A", "B"), (5.0, 5.0), max_net=5.0)
    found = kelly_portfolio(x, b)
    assert (1 + x @ found.weights).min() > 0 and found.gap < 1e-8
    with pytest.raises(SolverError, match="every allowed portfolio loses all in some period"):
        kelly_portfolio(x, replace(b, lower=(3.0, 0.0), upper=(3.0, 0.5), min_net=3.0))


@pytest.mark.parametrize("solve", [lambda x, b: min_cvar(x, b, 0.9), kelly_portfolio])
def test_bad_input_is_named(solve):
    x, b = scenes(8), kinds(8)["long"]
    holed = pd.DataFrame(x, columns=b.names)
    holed.iloc[3, 2] = np.nan
    with pytest.raises(DataError, match="A2.*leave out the period"):
        solve(holed, b)
    with pytest.raises(InputError, match="shape"):
        solve(x[:, :5], b)
    with pytest.raises(InputError, match="A7"):
        solve(pd.DataFrame(x, columns=[*b.names[:7], "ZZ"]), b)
    with pytest.raises(SolverError, match="min_net 1.0000 is above the sum of the upper bounds"):
        solve(x, replace(b, upper=np.full(8, 0.1)))
    with pytest.raises(SolverError, match="turnover"):
        solve(x, replace(b, held=np.zeros(8), max_turnover=0.5))
    with pytest.raises((InputError, DataError)):
        solve(100 * x, b)


def test_levels_fractions_and_aversions_out_of_range_are_refused():
    x, b = scenes(9), kinds(8)["long"]
    for call, match in ((lambda: min_cvar(x, b, 95), "level is 95"), (lambda: min_cvar(x, b, 0.999), "less than one"), (lambda: mean_cvar(x, b, -1.0), "risk_aversion is -1"),
                        (lambda: kelly_portfolio(x, b, fraction=2.0), "fraction is 2"), (lambda: min_cvar(x, b, periods=0), "periods is 0")):
        with pytest.raises(InputError, match=match):
            call()
