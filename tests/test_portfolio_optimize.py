"""Maximum Sharpe against an independent solver, its prices against differences, and its errors."""
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from otsport.core.errors import InputError, SolverError
from otsport.core.contracts import stock
from otsport.core.intent import Target
from otsport.core.settings import Limits
from otsport.analytics.options import UnitWarning
from otsport.portfolio.bounds import Bounds, best_return, clashes, largest_net
from otsport.portfolio import program
from otsport.portfolio.objectives import optimize_targets
from otsport.portfolio.optimize import max_return, max_sharpe, min_variance


def random_problem(seed):
    "Returns, covariance and feasible bounds of 2 to 8 assets."
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    root = rng.normal(size=(n, 2 * n)) * rng.uniform(0.05, 0.4, (n, 1)) / np.sqrt(2 * n)
    mu = rng.normal(0.05, 0.1, n)
    mu[0] = abs(mu[0]) + 0.01
    bounds = Bounds(tuple("ABCDEFGH"[:n]), tuple(rng.uniform(0.05, 0.6, n)), sectors=tuple(rng.choice(["x", "y", "z"], n)),
                    sector_cap=float(rng.uniform(0.2, 0.8)), max_net=float(rng.uniform(0.5, 1.2)))
    bounds = replace(bounds, min_net=float(rng.uniform(0, 1)) * largest_net(bounds))
    if rng.random() < 0.3:  # a lower bound on the first asset
        bounds = replace(bounds, lower=(0.5 * min(bounds.upper[0], bounds.sector_cap, bounds.max_net), *[0.0] * (n - 1)))
    return mu, root @ root.T + 1e-4 * np.eye(n), bounds


def rules_of(bounds):
    "Matrix and vector of A w <= b, without the pointwise bounds."
    rows, rhs = [np.ones(len(bounds.names)), -np.ones(len(bounds.names))], [bounds.max_net, -bounds.min_net]
    for m in bounds.members.values():
        rows.append(np.isin(np.arange(len(bounds.names)), m).astype(float))
        rhs.append(bounds.sector_cap)
    return np.array(rows), np.array(rhs)


def slsqp_sharpe(mu, sigma, bounds):
    "The best Sharpe ratio that SLSQP finds from several starts."
    a, b = rules_of(bounds)
    rng, best = np.random.default_rng(0), -np.inf
    box = list(zip(bounds.lower, bounds.upper))
    for _ in range(6):
        goal = linprog(-mu + rng.normal(0, 0.05, len(mu)), A_ub=a, b_ub=b, bounds=box)
        start = np.clip(0.98 * goal.x + 0.02 * np.array(bounds.upper) / 2, *np.array(box).T)
        found = minimize(lambda w: -(mu @ w) / np.sqrt(w @ sigma @ w), start, bounds=box, method="SLSQP", options={"ftol": 1e-13, "maxiter": 500},
                         constraints={"type": "ineq", "fun": lambda w: b - a @ w, "jac": lambda w: -a})
        if (b - a @ found.x).min() > -1e-8:
            best = max(best, -found.fun)
    return best


def assert_feasible(w, bounds, tol=1e-7):
    a, b = rules_of(bounds)
    assert (w >= np.array(bounds.lower) - tol).all() and (w <= np.array(bounds.upper) + 1e-12).all() and (a @ w <= b + tol).all()


@pytest.mark.parametrize("seed", range(30))
def test_max_sharpe_equals_slsqp(seed):
    mu, sigma, bounds = random_problem(seed)
    best = max_sharpe(mu, sigma, bounds)
    reference = slsqp_sharpe(mu, sigma, bounds)
    assert_feasible(best.weights, bounds)
    assert best.sharpe == pytest.approx(reference, abs=1e-6)


@given(st.integers(1000, 100_000))
@settings(max_examples=40)
def test_max_sharpe_no_feasible_direction_improves(seed):
    mu, sigma, bounds = random_problem(seed)
    if best_return(mu, bounds) <= 1e-3:  # min_net forces losers in
        bounds = replace(bounds, min_net=0.0, lower=())
    best = max_sharpe(mu, sigma, bounds)
    w = best.weights
    assert_feasible(w, bounds)
    # quasiconcave: w is optimal when the linear program along its gradient cannot improve on it
    gradient = mu / best.vol - best.expected_return * (sigma @ w) / best.vol**3
    a, b = rules_of(bounds)
    climb = linprog(-gradient, A_ub=a, b_ub=b, bounds=list(zip(bounds.lower, bounds.upper)))
    assert climb.status == 0 and -climb.fun - gradient @ w <= 1e-6


@given(st.integers(0, 100_000))
@settings(max_examples=60)
def test_best_return_equals_linear_program(seed):
    mu, _, bounds = random_problem(seed)
    mu = mu - np.random.default_rng(seed).uniform(0, 0.2)
    a, b = rules_of(bounds)
    answer = linprog(-mu, A_ub=a, b_ub=b, bounds=list(zip(bounds.lower, bounds.upper)))
    assert best_return(mu, bounds) == pytest.approx(-answer.fun, abs=1e-9)


@given(st.integers(0, 100_000), st.floats(0, 1.5), st.floats(0, 0.6))
@settings(max_examples=80)
def test_clashes_exactly_when_linear_program_is_infeasible(seed, min_net, low):
    _, _, bounds = random_problem(seed)
    bounds = replace(bounds, min_net=min_net, lower=(low, *[0.0] * (len(bounds.names) - 1)))
    a, b = rules_of(bounds)
    if any(lo > up for lo, up in zip(bounds.lower, bounds.upper)):
        assert clashes(bounds)
        return
    answer = linprog(np.zeros(len(bounds.names)), A_ub=a, b_ub=b, bounds=list(zip(bounds.lower, bounds.upper)))
    margin = min(abs(min_net - largest_net(bounds)), abs(min_net - bounds.max_net))
    if margin > 1e-6:  # on the edge a solver's tolerance decides
        assert bool(clashes(bounds)) == (answer.status == 2)


@pytest.mark.parametrize("seed", [2, 3, 7, 11, 19])
def test_binding_price_is_the_slope_of_sharpe(seed):
    mu, sigma, bounds = random_problem(seed)
    best = max_sharpe(mu, sigma, bounds)
    h = 1e-4
    for name, price in best.binding.items():
        if not name.startswith("upper "):
            continue
        i = bounds.names.index(name.removeprefix("upper "))
        up, down = (max_sharpe(mu, sigma, replace(bounds, upper=tuple(u + s * (j == i) for j, u in enumerate(bounds.upper)))).sharpe for s in (h, -h))
        assert (up - down) / (2 * h) == pytest.approx(price, rel=0.05, abs=0.02)


def test_max_sharpe_cash_allowed_is_scaled_tangency():
    rng = np.random.default_rng(4)
    sigma = np.cov(rng.normal(size=(4, 100)) * 0.2)
    mu = np.array([0.05, 0.08, 0.06, 0.09])
    bounds = Bounds(tuple("abcd"), (0.1,) * 4)
    tangency = np.linalg.solve(sigma, mu)
    assert (tangency > 0).all()
    best = max_sharpe(mu, sigma, bounds)
    assert best.weights == pytest.approx(0.1 * tangency / tangency.max(), abs=1e-6)  # direction kept, largest scale
    assert best.binding == {}


def test_max_sharpe_order_of_assets_is_immaterial():
    mu, sigma, bounds = random_problem(5)
    turned = replace(bounds, names=bounds.names[::-1], upper=bounds.upper[::-1], lower=bounds.lower[::-1], sectors=bounds.sectors[::-1])
    assert max_sharpe(mu[::-1], sigma[::-1, ::-1], turned).weights[::-1] == pytest.approx(max_sharpe(mu, sigma, bounds).weights, abs=1e-6)


def test_max_sharpe_is_deterministic():
    mu, sigma, bounds = random_problem(6)
    first, second = (max_sharpe(mu, sigma, bounds) for _ in range(2))
    assert first.weights.tobytes() == second.weights.tobytes() and repr(first) == repr(second)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_max_sharpe_scale_of_inputs_is_immaterial(scale):
    mu, sigma, bounds = random_problem(8)
    assert max_sharpe(mu * scale, sigma, bounds).weights == pytest.approx(max_sharpe(mu, sigma, bounds).weights, abs=1e-6)
    assert max_sharpe(mu, sigma * scale, bounds).weights == pytest.approx(max_sharpe(mu, sigma, bounds).weights, abs=1e-6)


two = Bounds(("KO", "PEP"), (0.3, 0.2), sectors=("Staples", "Staples"), sector_cap=0.4)
GOOD, FLAT = np.diag([0.01, 0.04]), [0.05, 0.08]


@pytest.mark.parametrize("bounds, words", [
    (replace(two, min_net=0.45), "sector cap 0.4000 on Staples"),
    (replace(two, min_net=0.6), "sum of the upper bounds 0.5000"),
    (replace(two, min_net=0.3, max_net=0.2), "min_net 0.3000 is above max_net 0.2000"),
    (replace(two, lower=(0.31, 0)), "lower bound 0.3100 of KO is above its upper bound 0.3000"),
    (replace(two, lower=(0.25, 0.2)), "lower bounds of sector Staples sum to 0.4500"),
    (replace(two, lower=(0.1, 0.1), max_net=0.1), "lower bounds sum to 0.2000, above max_net 0.1000"),
])
def test_max_sharpe_infeasible_names_the_clash(bounds, words):
    for solve in (max_sharpe, min_variance):
        with pytest.raises(SolverError, match=words):
            solve(FLAT, GOOD, bounds)


@pytest.mark.parametrize("mu, cov, words", [
    ([0.05, np.nan], GOOD, "return of PEP is nan"),
    (FLAT, [[0.01, np.nan], [np.nan, 0.04]], "covariance of KO and PEP is nan"),
    (FLAT, [[0.01, 0.05], [0.05, 0.04]], "lowest eigenvalue is -"),
    (FLAT, [[0.01, 0.0], [0.005, 0.04]], "not symmetric"),
    ([0.05], GOOD, "do not fit 2 names"),
])
def test_max_sharpe_names_bad_input(mu, cov, words):
    with pytest.raises(InputError, match=words):
        max_sharpe(mu, cov, two)


def test_max_sharpe_nothing_to_earn():
    with pytest.raises(SolverError, match="no portfolio within the constraints has a positive expected excess return.*PEP, -2.00%.*hold cash"):
        max_sharpe([-0.03, -0.02], GOOD, replace(two, min_net=0.2))
    with pytest.raises(SolverError, match="best earns -1.00% of NAV, and the best asset, PEP, .2.00%.*lower min_net"):
        max_sharpe([-0.07, 0.02], GOOD, replace(two, min_net=0.4))
    fallback = max_sharpe([-0.03, -0.02], GOOD, replace(two, min_net=0.25), otherwise="min_variance")
    assert "minimum variance" in fallback.objective and fallback.weights == pytest.approx([0.2, 0.05], abs=1e-6)
    with pytest.raises(InputError, match="otherwise is 'cash'"):
        max_sharpe(FLAT, GOOD, two, otherwise="cash")


def test_optimum_report():
    best = max_sharpe(FLAT, GOOD, replace(two, min_net=0.39))
    assert best.risk_shares.sum() == pytest.approx(1) and 1 <= best.effective_bets <= 2
    assert "Sharpe" in repr(best) and "KO" in repr(best) and "<table" in best._repr_html_()
    assert repr(best.seconds) not in repr(best)  # a report of the same inputs is the same text


def test_optimize_targets_keeps_steps_and_caps():
    targets = [Target(stock(s), w) for s, w in (("PEP", 0.2), ("KO", 0.3), ("XOM", 0.1))]
    cov = pd.DataFrame(np.diag([0.04, 0.01, 0.09]), ["KO", "PEP", "XOM"], ["KO", "PEP", "XOM"])
    out, best = optimize_targets(targets, {"KO": 0.05, "PEP": 0.06, "XOM": 0.08}, cov, {"KO": "S", "PEP": "S", "XOM": "E"}, Limits())
    assert [t.contract.key for t in out] == ["KO", "PEP", "XOM"]
    assert all(t.weight <= cap + 1e-9 for t, cap in zip(out, (0.15, 0.15, 0.1)))  # sizes, and the position limit of 15 %
    assert best.gross >= 0.8 * 0.40 - 1e-9 and out[0].steps[-1].name == "max sharpe"  # 0.15 + 0.15 + 0.10 fit below all caps
    assert optimize_targets([], {}, cov, {}, Limits()) == ((), None)
    with pytest.raises(InputError, match="sector of XOM"):
        optimize_targets(targets, {"KO": 0.05, "PEP": 0.06, "XOM": 0.08}, cov, {"KO": "S", "PEP": "S"}, Limits())


LIES = [lambda w: np.maximum(w, np.roll(w, 1)), lambda w: w[::-1], lambda w: -w, lambda w: 0 * w, lambda w: w + np.array([1e-3, -1e-3, 0]), lambda w: np.full(3, np.nan)]


@pytest.mark.parametrize("solve", [max_sharpe, min_variance])
@pytest.mark.parametrize("lie", LIES)
def test_pivoting_that_lies_is_caught(solve, lie, monkeypatch):
    mu, sigma = np.array([0.04, 0.06, 0.12]), np.diag([0.01, 0.04, 0.09])
    bounds = Bounds(("KO", "PEP", "XOM"), (0.5, 0.35, 0.3), sectors=("S", "S", "E"), sector_cap=0.6, min_net=0.85, max_net=0.9)
    before = solve(mu, sigma, bounds)

    def liar(honest):
        def lies(*given):
            x, *rest = honest(*given)
            return np.ascontiguousarray(lie(x)), *rest

        return lies

    monkeypatch.setattr(program, "pivot", liar(program.pivot))
    with np.errstate(all="ignore"):
        found = solve(mu, sigma, bounds)
    assert found.solver == "descent" and found.weights == pytest.approx(before.weights, abs=1e-9)
    monkeypatch.setattr(program, "descend", liar(program.descend))
    with np.errstate(all="ignore"):
        found = solve(mu, sigma, bounds)  # the general solver is asked, and its answer proved without either
    assert found.solver == "Clarabel" and found.weights == pytest.approx(before.weights, abs=1e-6)
    monkeypatch.setattr(program, "_general", lambda p: (lie(before.weights), before.lam))
    with pytest.raises(SolverError, match="break a constraint by|hold nothing"), np.errstate(all="ignore"):
        solve(mu, sigma, bounds)


def test_optimizer_puts_labels_in_order():
    mu, sigma, bounds = random_problem(5)
    order = np.random.default_rng(1).permutation(len(mu))
    names = [bounds.names[i] for i in order]
    frame, series = pd.DataFrame(sigma[np.ix_(order, order)], names, names), pd.Series(mu[order], names)
    for solve in (max_sharpe, min_variance):
        assert solve(series, frame, bounds).weights == pytest.approx(solve(mu, sigma, bounds).weights, abs=1e-9)
        assert solve(mu, frame, bounds).weights == pytest.approx(solve(mu, sigma, bounds).weights, abs=1e-9)
        with pytest.raises(InputError, match=f"{names[0]} is in the bounds but not in the expected returns"):
            solve(series[1:], frame, bounds)


@pytest.mark.parametrize("change", [{"upper": (0.5, float("nan"))}, {"held": (float("nan"), 0.0)}, {"sector_cap": -0.1}, {"max_net": -0.1}, {"max_turnover": -0.1}, {"max_gross": float("nan")}])
def test_bounds_that_are_no_numbers_are_refused(change):
    with pytest.raises(InputError, match="from 0 upward|is nan: every asset"):
        Bounds(**{"names": ("A", "B"), "upper": (0.5, 0.5)} | change)


def test_covariance_of_nothing_is_refused_as_such():
    with pytest.raises(InputError, match="not positive semidefinite"):
        max_sharpe([0.1, 0.1], np.zeros((2, 2)), Bounds(("A", "B"), (0.5, 0.5)))


def test_rate_in_percent_is_warned_of():
    with pytest.warns(UnitWarning, match="rate is 4"):
        try:
            max_sharpe([0.1, 0.2], np.eye(2) * 0.04, Bounds(("A", "B"), (0.5, 0.5)), rate=4.0)
        except (InputError, SolverError):
            pass  # nothing earns that much


def test_bound_in_percent_is_warned_of():
    with pytest.warns(UnitWarning, match="the upper bound of A is 15, that is 1,500 % of NAV"):
        Bounds(("A", "B"), (15.0, 0.5))


@pytest.mark.parametrize("most", [{"max_turnover": 0.1}, {"max_gross": 0.6}])
def test_greatest_return_keeps_a_bound_on_sizes_where_the_vol_does_not_bind(most):
    bounds = Bounds(("A", "B", "C"), (1.0, 1.0, 1.0), held=(0.2, 0.2, 0.2), **most)
    found = max_return(np.array([0.05, 0.10, 0.02]), np.diag([0.01, 0.02, 0.03]), bounds, 0.9)
    expected = [0.2, 0.3, 0.2] if "max_turnover" in most else [0.0, 0.6, 0.0]
    assert found.weights == pytest.approx(expected, abs=1e-9)
