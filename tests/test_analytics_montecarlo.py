"""Simulated tails against NumPy on the same draws, against closed forms, and the copula's margins."""
import numpy as np
import pytest

from otsport.analytics.montecarlo import book_factors, copula_scenarios, monte_carlo
from otsport.analytics.var import linear_var, parametric_es, parametric_parts, parametric_var
from otsport.core.errors import DataError, InputError
from otsport.kernels import elementary, montecarlo


def simulate(seed, drift, b, c, mixing, mirrored):
    n, pnl = len(b), np.full(len(mixing) * (2 if mirrored else 1), 7.0)
    montecarlo.simulate(seed, drift, b, c, mixing, mirrored, pnl, np.empty(n * montecarlo.CHUNK), np.empty(montecarlo.CHUNK), np.empty(montecarlo.CHUNK))
    return pnl


def naive_draws(seed, count, n):
    """The factors of every draw, chunk by chunk."""
    rows = []
    for stream, start in enumerate(range(0, count, montecarlo.CHUNK)):
        size = min(montecarlo.CHUNK, count - start)
        z = np.empty(n * size)
        elementary.normals(seed, stream, z)
        rows.append(z.reshape(n, size).T)
    return np.vstack(rows)


@pytest.mark.parametrize("count, n", [(1, 1), (511, 3), (512, 4), (513, 5), (1500, 50)])
def test_simulate_equals_naive(count, n):
    rng = np.random.default_rng(n)
    b, c, mixing = rng.normal(size=n), rng.normal(size=n), rng.uniform(0.5, 2, count)
    z = naive_draws(9, count, n)
    linear, square = mixing * (z @ b), mixing**2 * (z**2 @ c)
    np.testing.assert_allclose(simulate(9, 2.0, b, c, mixing, False), 2 + linear + square, rtol=1e-10, atol=1e-11)
    both = simulate(9, 2.0, b, c, mixing, True)
    np.testing.assert_allclose(both[::2], 2 + square + linear, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(both[1::2], 2 + square - linear, rtol=1e-10, atol=1e-11)


def test_factors_are_those_of_the_simulation():
    wanted, out = np.array([0, 5, 511, 512, 1300, 1499]), np.empty((6, 7))
    montecarlo.factors(3, 1500, wanted, 7, out, np.empty(7 * montecarlo.CHUNK))
    assert (out == naive_draws(3, 1500, 7)[wanted]).all()


def test_nan_in_a_factor_reaches_every_scenario():
    assert np.isnan(simulate(1, 0.0, np.array([1.0, np.nan]), np.zeros(2), np.ones(600), False)).all()


def test_no_risk_is_the_drift():
    assert (simulate(1, 5.0, np.zeros(3), np.zeros(3), np.ones(100), False) == 5).all()


@pytest.mark.parametrize("full", [False, True])
def test_book_factors_equal_the_quadratic_form(full):
    rng = np.random.default_rng(4)
    root, delta, gamma = rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=6)
    cov, cross = root @ root.T, np.diag(gamma)  # singular: four factors move six assets
    if full:
        cross = cross + (lambda m: m + m.T)(rng.normal(size=(6, 6)))
    f = book_factors(delta, cross if full else gamma, cov)
    np.testing.assert_allclose(f.loadings @ f.loadings.T, cov, atol=1e-12)
    for y in rng.normal(size=(20, 6)):
        x = f.loadings @ y
        assert f.b @ y + f.c @ y**2 == pytest.approx(delta @ x + 0.5 * x @ cross @ x, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("df", [None, 5.0])
@pytest.mark.parametrize("antithetic", [False, True])
def test_linear_book_is_parametric_within_its_error(df, antithetic):
    rng = np.random.default_rng(5)
    root, delta = rng.normal(size=(10, 10)), rng.normal(size=10) * 1e5
    cov = root @ root.T / 100
    found, vol = monte_carlo(delta, np.zeros(10), cov, seed=3, df=df, antithetic=antithetic, sessions=10), parametric_parts(delta, cov, sessions=10).var / 1.6448536269514722
    for k, level in enumerate(found.levels):
        assert abs(found.var[k] - parametric_var(vol, level, df=df)) < 4.5 * found.var_error[k]
        assert abs(found.es[k] - parametric_es(vol, level, df=df)) < 4.5 * found.es_error[k]
        assert 0 < found.var_error[k] < 0.03 * found.var[k]


def test_standard_errors_are_those_of_the_law():  # asymptotic errors of a sample quantile and tail mean of normals (Serfling 1980, 2.3.3; Manistre and Hancock 2005)
    draws, p, runs = 20_000, 0.05, [monte_carlo([1e5], 0, [[0.04]], scenarios=20_000, seed=s, antithetic=False) for s in range(40)]
    vol, z = 1e5 * (0.04 / 252) ** 0.5, 1.6448536269514722
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    es = density / p
    var_error = vol * (p * (1 - p) / draws) ** 0.5 / density
    es_error = vol * (((1 + z * es - es**2) + (1 - p) * (es - z) ** 2) / (draws * p)) ** 0.5
    for name, law in (("var", var_error), ("es", es_error)):
        said = np.mean([getattr(run, name + "_error")[0] for run in runs])
        assert said == pytest.approx(law, rel=0.15)  # forty estimates from twenty batches each: 2.6 % of sampling error
        assert np.std([getattr(run, name)[0] for run in runs], ddof=1) == pytest.approx(law, rel=0.4)  # forty runs: 11 %


def test_delta_gamma_book_equals_numpys_simulation():
    rng = np.random.default_rng(6)
    root, delta, gamma = rng.normal(size=(20, 20)), rng.normal(size=20) * 1e5, -np.abs(rng.normal(size=20)) * 1e6
    cov = root @ root.T / 400
    x = rng.standard_normal((200_000, 20)) @ np.linalg.cholesky(cov / 252).T
    theirs = x @ delta + 0.5 * x**2 @ gamma
    found = monte_carlo(delta, gamma, cov, seed=8, parts=True)
    for k, level in enumerate(found.levels):
        assert found.var[k] == pytest.approx(-np.quantile(theirs, 1 - level), abs=6 * found.var_error[k])
    cut = np.quantile(theirs, 0.05)
    parts = -(x * delta + 0.5 * x**2 * gamma)[theirs <= cut].mean(axis=0)
    np.testing.assert_allclose(found.component_es, parts, atol=0.03 * found.es[0])
    assert found.component_es.sum() == pytest.approx(found.es[0], rel=1e-9)
    assert found.component_var.sum() == pytest.approx(found.var[0], rel=1e-9)


def test_same_seed_same_bits():
    runs = [monte_carlo([1e5, -2e5], [0.0, -1e6], [[0.04, 0.01], [0.01, 0.09]], seed=s) for s in (1, 1, 2)]
    assert (runs[0].pnl == runs[1].pnl).all() and not (runs[0].pnl == runs[2].pnl).any()


def test_antithetic_mean_of_a_linear_book_is_exact():
    found = monte_carlo([1e5], [0.0], [[0.04]], drift=[50.0], scenarios=10_000)
    assert found.pnl.mean() == pytest.approx(50.0, abs=1e-8)


@pytest.mark.parametrize("change, error", [
    (dict(delta=[1.0]), InputError), (dict(cov=[[1.0, 2.0], [2.0, 1.0]]), DataError), (dict(delta=[np.nan, 1.0]), DataError), (dict(sessions=0), DataError),
    (dict(levels=(1.5,)), InputError), (dict(scenarios=100), DataError), (dict(df=1.0), InputError),
])
def test_monte_carlo_refuses(change, error):
    given = dict(delta=[1.0, 2.0], gamma=[0.0, 0.0], cov=[[0.04, 0.0], [0.0, 0.04]])
    with pytest.raises(error):
        monte_carlo(**(given | change))


def test_copula_keeps_margins_and_feeds_the_linear_book():
    rng = np.random.default_rng(7)
    past = rng.standard_t(3, (800, 3)) @ np.array([[1, 0.5, 0], [0, 1, -0.4], [0, 0, 1]]) * 0.01
    drawn = copula_scenarios(past, 20_000, seed=2, df=4)
    np.testing.assert_allclose(np.quantile(drawn, [0.05, 0.25, 0.5, 0.75], axis=0), np.quantile(past, [0.05, 0.25, 0.5, 0.75], axis=0), atol=2.5e-3)
    assert drawn.min() >= past.min() and drawn.max() <= past.max()
    w = np.array([1e5, 5e4, 2e4])
    assert linear_var(drawn, w).var[0] == pytest.approx(linear_var(past, w).var[0], rel=0.1)
    with pytest.raises(DataError):
        copula_scenarios(np.where(past > 0.05, np.nan, past))
