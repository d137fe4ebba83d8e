"""Portfolio programs against a general solver and against brute force; the proof of each answer, and its negative control."""
import itertools
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import SolverError
from otsport.kernels import dense, qp
from otsport.portfolio import program
from otsport.portfolio.bounds import Bounds, Exposure, _programmed, clashes, rows, smallest_clash
from otsport.portfolio.program import FIXED, RATIO, VARIANCE, Program, solve


def random_program(seed: int) -> tuple[Program, np.ndarray]:
    "A program of 1 to 40 assets with any of the constraints, and weights that satisfy them."
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 5, 8, 15, 40]))
    root = rng.standard_normal((2 * n + 2, n)) @ (np.eye(n) + rng.normal(0, 0.3, (n, n))) * 0.02
    risk, mu = root.T @ root * 10 + 1e-5 * np.eye(n), rng.normal(0.05, 0.1, n)
    lower, upper = [(np.zeros(n), np.ones(n)), (np.full(n, -0.3), np.ones(n)), (np.zeros(n), np.full(n, max(1.4 / n, 0.05))),
                    (-rng.uniform(0, 2 / n, n), rng.uniform(0, 4 / n, n))][rng.integers(4)]
    w = rng.uniform(lower, upper) * rng.choice([0.3, 1.0])
    w = np.clip(w, lower, upper)
    sectors = tuple(rng.choice(["x", "y", "z"], n)) if rng.random() < 0.5 else ()
    cap = max((abs(w[[s == t for t in sectors]].sum()) for s in set(sectors)), default=1.0) + rng.choice([0.0, 0.1])
    net = w.sum()
    low, high = [(net, net), (net - 0.1, net + 0.1), (min(net, 0.0), max(net, 1.0))][rng.integers(3)]
    beta = rng.uniform(0.5, 1.5, n)
    exposures = (Exposure("beta", beta, float(beta @ w) - 0.1, float(beta @ w) + rng.choice([0.0, 0.2])),) if rng.random() < 0.3 else ()
    held = np.clip(w + rng.normal(0, 0.05, n), lower, upper)
    most = np.abs(w - held).sum() + rng.choice([0.01, 0.2]) if rng.random() < 0.35 else np.inf
    gross = np.abs(w).sum() + rng.choice([0.01, 0.3]) if rng.random() < 0.25 else np.inf
    bounds = Bounds(tuple(f"A{i}" for i in range(n)), upper, lower, sectors, cap, low, max(high, 0.0) if high >= 0 else 0.0, gross, held, most, exposures)
    if high < 0:  # a book that is short on the whole: max_net cannot say so
        bounds = replace(bounds, max_net=0.0)
    kind = int(rng.choice([FIXED, FIXED, VARIANCE]))
    target = float(w @ risk @ w) if kind == VARIANCE else 0.0
    return Program(risk, bounds, np.zeros(n), mu, kind, target, float(rng.choice([0.0, 0.05, 0.5])) if kind == FIXED else 0.0), w


def usable(p: Program, w: np.ndarray) -> bool:
    "Whether w is feasible, and the limit on the variance, if there is one, binds."
    if broken(p, w) > 1e-9:
        return False
    best = _programmed(p.gain, p.bounds) if p.kind == VARIANCE else w
    return p.kind != VARIANCE or best @ p.risk @ best > p.target * (1 + 1e-6)


def value(p: Program, w: np.ndarray) -> float:
    "What is to be made small."
    if p.kind == VARIANCE:
        return -float(p.gain @ w)
    return float(0.5 * w @ p.risk @ w - (p.lam if p.kind == FIXED else 0.0) * (p.gain @ w))


def broken(p: Program, w: np.ndarray) -> float:
    "The largest violation, counted here and not by the product."
    b, found = p.bounds, [0.0]
    found += list(b.lower - w) + list(w - b.upper) + [b.min_net - w.sum(), w.sum() - b.max_net, np.abs(w).sum() - b.max_gross, np.abs(w - b.held).sum() - b.max_turnover]
    found += [sum(x for x, s in zip(w, b.sectors) if s == t) - b.sector_cap for t in set(b.sectors)]
    found += [v for e in b.exposures for v in (e.coefficients @ w - e.high, e.low - e.coefficients @ w)]
    found += [w @ p.risk @ w - p.target] if p.kind == VARIANCE else []
    return float(max(found))


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_solution_is_as_good_as_any_and_within_every_constraint(seed):
    p, w = random_program(seed)
    if not usable(p, w):
        return
    try:
        found = solve(p)
    except SolverError as error:  # refused with its numbers; `test_refusals_are_rare` counts them
        assert "Clarabel" in str(error) or "may lack" in str(error), (seed, str(error))
        return
    reference, _ = program._general(p)
    scale = max(abs(value(p, reference)), 0.01 * float(reference @ p.risk @ reference), 1e-9)
    assert broken(p, found.weights) <= 1e-7 and found.gap <= 1e-5
    assert value(p, found.weights) <= value(p, w) + 1e-6 * scale
    assert value(p, found.weights) <= value(p, reference) + 1e-5 * scale, (seed, found.solver)


def test_most_programs_need_no_general_solver(monkeypatch):
    asked = []
    honest = program._general
    monkeypatch.setattr(program, "_general", lambda p: asked.append(p) or honest(p))
    tried = 0
    for seed in range(200):
        p, w = random_program(seed)
        if usable(p, w) and p.bounds.max_gross + p.bounds.max_turnover == np.inf:
            tried += 1
            solve(p)
    assert tried > 100 and len(asked) < 0.2 * tried


def test_refusals_are_rare():
    "Of programs that have an answer; all of these are answered, and a thousand others but two."
    tried = 0
    for seed in range(200):
        p, w = random_program(seed)
        if usable(p, w):
            tried += 1
            solve(p)
    assert tried > 150


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_gap_bounds_what_any_weights_lack(seed):
    "The bound holds for weights that are not the best, too."
    p, w = random_program(seed)
    if broken(p, w) > 1e-12 or p.kind != FIXED:
        return
    table = rows(p.bounds)
    prices = np.random.default_rng(seed).uniform(0, 0.01, len(table.bound) + 1)
    zero, budget = program._shifted(p)
    if p.bounds.max_turnover < np.inf and p.bounds.max_gross < np.inf:
        return
    gap, over, _ = qp.lacking(p.risk, p.risk @ zero - p.lam * p.gain, w - zero, p.bounds.lower - zero, p.bounds.upper - zero, table.matrix,
                              table.bound - table.matrix @ zero, table.equal, budget, prices)
    assert over <= 1e-9 and value(p, w) - value(p, program._general(p)[0]) <= gap + 1e-7


def test_turnover_by_brute_force():
    "Three assets on a grid of hundredths."
    risk, held = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, 0.02], [0.0, 0.02, 0.16]]), np.array([0.2, 0.3, 0.5])
    b = Bounds(("A", "B", "C"), (1.0, 1.0, 1.0), min_net=1.0, held=held, max_turnover=0.3)
    grid = [(x / 100, y / 100, 1 - (x + y) / 100) for x, y in itertools.product(range(101), repeat=2) if x + y <= 100]
    near = min((w for w in np.array(grid) if np.abs(w - held).sum() <= 0.3 + 1e-12), key=lambda w: w @ risk @ w)
    found = solve(Program(risk, b, np.zeros(3), np.zeros(3)))
    assert found.weights == pytest.approx(near, abs=0.01) and found.weights @ risk @ found.weights <= near @ risk @ near + 1e-15
    assert np.abs(found.weights - held).sum() == pytest.approx(0.3, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 7, 47, 48, 49, 130, 300])
def test_cholesky_equals_lapack(n):
    root = np.random.default_rng(n).standard_normal((n, n + 5))
    a = root @ root.T
    ours = a.copy()
    assert dense.cholesky(ours) and np.allclose(np.tril(ours), np.linalg.cholesky(a), rtol=1e-9, atol=1e-9)
    a[0, 0] = -1.0
    assert not dense.cholesky(a.copy())


def test_long_books_of_500_need_no_general_solver():
    rng = np.random.default_rng(3)
    for dense in (False, True):
        x = 0.01 * (rng.standard_normal((1250, 8)) @ rng.normal(0.3, 0.4, (8, 500)) + rng.standard_normal((1250, 500)) * (1.0 if dense else rng.uniform(0.8, 2, 500)))
        cov, mu = np.cov(x.T) * 252, rng.normal(0.08, 0.002 if dense else 0.06, 500)
        for kind in (FIXED, RATIO):
            found = solve(Program(cov, Bounds(tuple(map(str, range(500))), np.full(500, 0.1), min_net=1.0), np.zeros(500), mu, kind))
            assert found.solver == "pivoting" and found.gap < 1e-10 and found.violation < 1e-10


def test_smallest_clash_is_one_and_every_part_of_it_can_hold():
    held = (0.5, 0.5, 0.0)
    b = Bounds(("A", "B", "C"), (0.6, 0.6, 1.0), min_net=1.0, held=held, max_turnover=0.9, max_gross=1.0, exposures=(Exposure("beta", (1.0, 1.0, 0.2), high=0.5),))
    assert smallest_clash(b) == ["net 1", "beta 0.5", "max_turnover 0.9"]
    for part in (replace(b, exposures=()), replace(b, max_turnover=2.0), replace(b, min_net=0.0)):
        assert smallest_clash(part) == []
    with pytest.raises(SolverError, match="these cannot hold together: net 1, beta 0.5, max_turnover 0.9"):
        solve(Program(np.eye(3), b, np.zeros(3), np.zeros(3)))


def test_general_solver_is_an_independent_judge():
    "cvxpy is asked here directly, not through the product."
    rng = np.random.default_rng(11)
    x = rng.standard_normal((100, 10)) * 0.02
    cov, mu = np.cov(x.T) * 252, rng.normal(0.05, 0.05, 10)
    b = Bounds(tuple("ABCDEFGHIJ"), np.full(10, 0.4), np.full(10, -0.2), min_net=0.5, max_net=1.0, max_gross=1.4)
    w = cp.Variable(10)
    cp.Problem(cp.Minimize(0.5 * cp.quad_form(w, cp.psd_wrap(cov)) - 0.3 * mu @ w),
               [w <= 0.4, w >= -0.2, cp.sum(w) >= 0.5, cp.sum(w) <= 1, cp.norm1(w) <= 1.4]).solve(solver=cp.CLARABEL)
    assert solve(Program(cov, b, np.zeros(10), mu, lam=0.3)).weights == pytest.approx(w.value, abs=1e-6)


def test_programs_with_and_without_turnover_share_one_compiled_form():
    "A second form of the pivoting costs another half a minute of compiling, in every cache."
    plain, _ = random_program(0)
    b = Bounds(plain.bounds.names, np.ones(len(plain.bounds.names)), held=np.full(len(plain.bounds.names), 0.5 / len(plain.bounds.names)), max_turnover=0.3)
    for bounds in (Bounds(b.names, b.upper), replace(b, max_turnover=np.inf, max_gross=0.9), b):
        solve(replace(plain, bounds=bounds, kind=FIXED, lam=0.05, target=0.0))
    assert {kernel.__name__: len(kernel.signatures) for kernel in (qp.pivot, qp.descend, qp.first_guess, qp.lacking)} == dict.fromkeys(("pivot", "descend", "first_guess", "lacking"), 1)


@pytest.mark.parametrize("held, solver", [((0.3, 0.3, 0.2), "descent"), ((0.5, 0.4, 0.3), "pivoting")], ids=["feasible", "more than may be held"])
def test_descent_begins_from_what_is_held_where_that_is_feasible(held, solver):
    bounds = Bounds(("A", "B", "C"), np.ones(3), held=held, max_turnover=0.5)
    found = solve(Program(np.diag([0.04, 0.09, 0.16]), bounds, np.zeros(3), np.array([0.05, 0.08, 0.1]), FIXED, lam=0.5))
    assert found.solver == solver and np.abs(found.weights - held).sum() <= 0.5 + 1e-9 and found.weights.sum() <= 1 + 1e-9


def test_least_weights_that_fill_a_sector_to_its_cap_do_not_clash():
    full = Bounds(("A", "B", "C"), np.ones(3), lower=(0.25, 0.25, 0.0), sectors=("x", "x", "y"), sector_cap=0.5)
    assert clashes(full) == [] and clashes(replace(full, sector_cap=0.49)) != []


def test_ratio_from_what_is_held_is_found_without_a_general_solver():
    "The greatest ratio within a turnover counts what the weights held earn and risk, not the change alone."
    general = worse = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 12))
        x = rng.standard_normal((4 * n, n)) @ (np.eye(n) + rng.normal(0, 0.4, (n, n))) * rng.uniform(0.1, 0.4, n)
        risk, gain, held = np.cov(x.T) + 1e-5 * np.eye(n), rng.normal(0.08, 0.05, n), rng.dirichlet(np.ones(n))
        b = Bounds(tuple(f"A{i}" for i in range(n)), np.full(n, max(0.6, held.max())), held=held, max_turnover=float(rng.uniform(0.05, 0.8)), min_net=1.0)
        found = solve(Program(risk, b, np.zeros(n), gain, RATIO))
        general += "Clarabel" in found.solver
        w = program._general(Program(risk, b, np.zeros(n), gain, RATIO))[0]
        ratio = lambda w: gain @ w / (w @ risk @ w) ** 0.5
        worse += ratio(found.weights) < ratio(w) * (1 - 1e-7)
    assert worse == 0 and general <= 3
