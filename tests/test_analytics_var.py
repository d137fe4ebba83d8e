"""Fitted value at risk, its parts, the linear book, and every golden vector of risk under its convention."""
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from otsport.analytics.risk import CONVENTIONS, component_es, component_var, expected_shortfall, historical_var
from otsport.analytics.var import (
    cornish_fisher_es, cornish_fisher_var, ewma_es, ewma_var, ewma_variances, incremental_var, linear_var, parametric_es, parametric_parts, parametric_var,
)
from otsport.core.errors import DataError, InputError

VECTORS = json.loads((Path(__file__).parent / "golden" / "risk.json").read_text())["vectors"]
ES_RULES = {"mean of the floor(n*(1-level)) worst": "linear", "empyrical: mean of int((n-1)*a)+1 smallest": "empyrical"}


def golden(kind):
    return pytest.mark.parametrize("vector", [v for v in VECTORS if v["kind"] == kind], ids=lambda v: v["id"])


@golden("historical_var")
def test_historical_var_golden(vector):
    given = vector["inputs"]
    assert historical_var(given["pnl"], given["level"], given["method"]) == pytest.approx(vector["expected"], abs=1e-9)


@golden("historical_es")
def test_expected_shortfall_golden(vector):
    given = vector["inputs"]
    assert expected_shortfall(given["pnl"], given["level"], ES_RULES[given["method"]]) == pytest.approx(vector["expected"], abs=vector["tol"])


@golden("parametric_var")
def test_parametric_var_golden(vector):
    given = vector["inputs"]
    if "sd" in given:
        (a, b), rho = given["sd"], given["rho"]
        parts = parametric_parts([1.0, 1.0], 252 * np.array([[a * a, rho * a * b], [rho * a * b, b * b]]), 0.99, sessions=given["days"])
        assert parts.component_var.sum() == pytest.approx(parts.var, rel=1e-10)
        var = parts.var
    else:
        var = parametric_var(given["value"] * given["daily_vol"], 0.99)
    assert var * given["z"] / norm.ppf(0.99) == pytest.approx(vector["expected"], abs=vector["tol"])  # the book rounds z


@golden("cornish_fisher_var")
def test_cornish_fisher_var_golden(vector):
    given = vector["inputs"]
    found = cornish_fisher_var(given["sd"], given["skew"], given["excess_kurtosis"], 1 - given["alpha"], given["mean"])
    assert found == pytest.approx(vector["expected"], abs=vector["tol"])


@golden("ewma_variance")
def test_ewma_variance_golden(vector):
    assert ewma_variances(vector["inputs"]["returns"], vector["inputs"]["lam"])[-1] == pytest.approx(vector["expected"], abs=vector["tol"])


def test_ewma_variances_equal_pandas():
    x = np.random.default_rng(0).normal(0, 0.01, 300)
    np.testing.assert_allclose(ewma_variances(x), pd.Series(x**2).ewm(alpha=0.06, adjust=False).mean(), rtol=1e-12)
    assert ewma_variances([0.02]).tolist() == [0.0004]


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_skfolio_convention_counts_the_tail(level):
    x = np.random.default_rng(1).standard_t(4, 250)
    losses, count = np.sort(-x)[::-1], 250 * (1 - level)
    whole = int(np.floor(count + 1e-9))
    rest = count - whole
    expected = (losses[:whole].sum() + (rest * losses[whole] if rest > 1e-9 else 0.0)) / count
    assert expected_shortfall(x, level, "skfolio") == pytest.approx(expected, rel=1e-9)
    assert historical_var(x, level, "skfolio") == losses[int(np.ceil(count - 1e-9)) - 1]


def test_quantstats_convention_is_normal():
    x = np.random.default_rng(2).normal(0.001, 0.01, 400)
    mu, sd = x.mean(), x.std(ddof=1)
    assert historical_var(x, 0.99, "quantstats") == pytest.approx(-norm.ppf(0.01, mu, sd), rel=1e-12)
    assert expected_shortfall(x, 0.99, "quantstats") == pytest.approx(parametric_es(sd, 0.99, mu), rel=1e-12)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_shortfall_at_least_var_in_every_convention(convention):
    for seed in range(20):
        x = np.random.default_rng(seed).standard_t(3, 60 + seed)
        assert expected_shortfall(x, 0.95, convention) >= historical_var(x, 0.95, convention) - 1e-12


@pytest.mark.parametrize("df", [None, 2.5, 4.0, 30.0])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_parametric_equals_scipy(df, level):
    law = norm() if df is None else student(df, scale=((df - 2) / df) ** 0.5)
    p = (np.arange(200_000) + 0.5) / 200_000 * (1 - level)
    assert parametric_var(2.0, level, 0.1, df) == pytest.approx(-2 * law.ppf(1 - level) - 0.1, rel=1e-10)
    assert parametric_es(2.0, level, 0.1, df) == pytest.approx(-2 * law.ppf(p).mean() - 0.1, rel=2e-3)


@given(st.floats(-3, 3), st.floats(-2, 20), st.floats(0.5, 0.9999))
def test_cornish_fisher_is_refused_exactly_where_it_falls(skewness, kurtosis, level):
    z = np.linspace(-60, 60, 4001)
    w = z + (z**2 - 1) * skewness / 6 + (z**3 - 3 * z) * kurtosis / 24 - (2 * z**3 - 5 * z) * skewness**2 / 36
    try:
        found = cornish_fisher_var(1.0, skewness, kurtosis, level)
    except DataError:
        slope = 1 + z * skewness / 3 + (3 * z**2 - 3) * kurtosis / 24 - (6 * z**2 - 5) * skewness**2 / 36
        assert slope.min() < 0.02 or kurtosis / 8 < skewness**2 / 6  # a parabola open downwards falls somewhere, perhaps beyond the grid
    else:
        assert (np.diff(w) > -1e-9).all()
        assert cornish_fisher_es(1.0, skewness, kurtosis, level) >= found - 1e-9


def test_parametric_parts_sum_and_differences():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(7, 7))
    cov, w, mu = root @ root.T / 50, rng.normal(size=7) * 1e5, rng.normal(size=7) * 1e-3
    for df in (None, 5.0):
        parts = parametric_parts(w, cov, 0.975, 10, mu, df)
        assert parts.component_var.sum() == pytest.approx(parts.var, rel=1e-10)
        assert parts.component_es.sum() == pytest.approx(parts.es, rel=1e-10)
        for i in range(7):
            up, down = (parametric_parts(w + s * np.eye(7)[i], cov, 0.975, 10, mu, df).var for s in (10.0, -10.0))
            assert (up - down) / 20 == pytest.approx(parts.marginal[i], rel=1e-6, abs=1e-9)


def test_parametric_parts_of_a_riskless_book():
    parts = parametric_parts([1.0, -1.0], np.ones((2, 2)), 0.95)
    assert parts.var == 0 and parts.component_var.tolist() == [0, 0]


@pytest.mark.parametrize("scenarios, n", [(100, 1), (250, 3), (999, 12)])
def test_linear_var_equals_the_general_functions(scenarios, n):
    rng = np.random.default_rng(n)
    returns, exposures = pd.DataFrame(rng.standard_t(4, (scenarios, n)) * 0.01), pd.Series(rng.normal(size=n) * 1e5)
    found, pnl = linear_var(returns, exposures), returns * exposures
    total = pnl.sum(axis=1)
    assert found.var == pytest.approx([historical_var(total, a) for a in found.levels], rel=1e-10)
    assert found.es == pytest.approx([expected_shortfall(total, a) for a in found.levels], rel=1e-10)
    np.testing.assert_allclose(found.component_var, component_var(pnl), rtol=1e-3, atol=1e-4 * found.var[0])
    np.testing.assert_allclose(found.component_es, component_es(pnl), rtol=1e-9, atol=1e-9 * found.var[0])
    assert found.component_var.sum() == pytest.approx(found.var[0], rel=1e-10)


def test_linear_var_aligns_a_series_by_name():
    returns = pd.DataFrame(np.random.default_rng(5).normal(0, 0.01, (200, 3)), columns=list("abc"))
    exposures = pd.Series({"c": 3.0, "a": 1.0, "b": 2.0})
    assert linear_var(returns, exposures).var == linear_var(returns, exposures[["a", "b", "c"]]).var
    assert linear_var(returns, exposures).names == ("a", "b", "c")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_linear_var_names_the_bad_cell(value):
    returns = np.zeros((100, 3))
    returns[41, 2] = value
    with pytest.raises(DataError, match="row 41, column 2"):
        linear_var(returns, [1.0, 1.0, 1.0])
    with pytest.raises(DataError, match="row 41, column 2"):
        linear_var(returns, [1.0, 1.0, 0.0])  # a missing return of a position of 0 is missing all the same


@pytest.mark.parametrize("returns, exposures, levels, error", [
    (np.zeros((100, 2)), [1.0], (0.95,), InputError), (np.zeros(100), [1.0], (0.95,), InputError), (np.zeros((100, 2)), [1.0, 1.0], (), InputError),
    (np.zeros((19, 2)), [1.0, 1.0], (0.95,), DataError), (np.zeros((100, 2)), [1.0, 1.0], (1.0,), InputError), (np.zeros((0, 2)), [1.0, 1.0], (0.95,), DataError),
])
def test_linear_var_refuses(returns, exposures, levels, error):
    with pytest.raises(error):
        linear_var(returns, exposures, levels)


def test_linear_var_of_gains_alone_is_zero_and_so_are_its_parts():
    found = linear_var(np.r_[np.zeros(95), np.full(5, 0.01)][:, None], [1e6])
    assert [repr(v) for v in (*found.var, *found.es, *found.component_var.tolist(), *found.component_es.tolist())] == ["0.0"] * 6


def test_linear_var_of_a_perfect_hedge_is_zero_and_keeps_its_parts():
    moves = np.random.default_rng(7).normal(0, 0.01, 300)
    found = linear_var(np.column_stack([moves, moves, moves]), [1e6, -3e5, -7e5])
    assert abs(found.var[0]) < 1e-6 and abs(found.component_var.sum()) < 1e-6 and np.isfinite(found.component_var).all()


@pytest.mark.parametrize("level, n", [(0.9, 21), (0.9, 101), (0.95, 41), (0.99, 201), (0.8, 16)])
def test_linear_var_keeps_the_observation_that_the_quantile_stands_on(level, n):
    tail = round((n - 1) * (1 - level)) + 1  # the worst and all to the quantile itself
    losses = -np.arange(n, 0.0, -1.0) / 1000
    found = linear_var(losses[:, None], [1000.0], (level,))
    assert found.var[0] == pytest.approx(n - tail + 1, abs=1e-9) and found.es[0] == pytest.approx(np.arange(n, n - tail, -1).mean(), abs=1e-9)
    assert found.component_es.tolist() == pytest.approx(list(found.es))


@pytest.mark.parametrize("df, factor", [(None, 2.0627128075074257), (4.0, 2.2648)])
def test_ewma_shortfall_is_the_mean_beyond_its_value_at_risk(df, factor):
    vol = 0.000118**0.5  # 0.94 x .01^2 + 0.06 x .02^2
    assert ewma_es([0.01, 0.02], 0.95, df=df) == pytest.approx(factor * vol, rel=1e-4)
    assert ewma_es([0.01, 0.02], 0.95, df=df) > 1.2 * ewma_var([0.01, 0.02], 0.95, df=df)


def test_incremental_var_is_full_recomputation():
    pnl = pd.DataFrame(np.random.default_rng(6).standard_t(4, (400, 5)), columns=list("abcde"))
    pnl["hedge"] = -pnl["a"]
    found = incremental_var(pnl, 0.99)
    for name in pnl:
        assert found[name] == pytest.approx(historical_var(pnl.sum(axis=1), 0.99) - historical_var(pnl.drop(columns=name).sum(axis=1), 0.99), abs=1e-12)
    assert found["hedge"] < 0


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_var_and_shortfall_rise_with_the_level_in_every_convention(convention):
    levels = np.linspace(0.5, 0.98, 25)
    for seed in range(6):
        x = np.random.default_rng(seed).standard_t(3, 60 + seed)
        assert (np.diff([historical_var(x, a, convention) for a in levels]) >= -1e-12).all()
        assert (np.diff([expected_shortfall(x, a, convention) for a in levels]) >= -1e-12).all()


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_parts_of_a_linear_book_sum_and_scale(seed, n):
    rng = np.random.default_rng(seed)
    returns, exposures = rng.standard_t(4, (150, n)) * 0.01, rng.normal(size=n) * 1e5
    found, double = linear_var(returns, exposures, (0.95,)), linear_var(returns, 2 * exposures, (0.95,))
    for part, whole in ((found.component_var, found.var[0]), (found.component_es, found.es[0]), (double.component_var, 2 * found.var[0]), (double.component_es, 2 * found.es[0])):
        assert part.sum() == pytest.approx(whole, rel=1e-9, abs=1e-6)


def test_ewma_of_returns_whose_squares_overflow_is_refused():
    with pytest.raises(DataError, match="squares leave float64"):
        ewma_variances([1e200, 0.01])
