"""The posterior against He and Litterman's tables, the textbook's inverse form, and properties."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import InputError, SolverError
from otsport.portfolio.black_litterman import MarketView, black_litterman, equilibrium_returns

COUNTRIES = ("Australia", "Canada", "France", "Germany", "Japan", "UK", "USA")
CORR = [.488, .478, .664, .515, .655, .861, .439, .310, .355, .354, .512, .608, .783, .777, .405, .491, .779, .668, .653, .306, .652]
VOLS, MARKET = np.array([.160, .203, .248, .271, .210, .200, .187]), np.array([.016, .022, .052, .055, .116, .124, .615])
GERMANY = MarketView({"Germany": 1.0, "France": -.052 / .176, "UK": -.124 / .176}, 0.05)
CANADA = MarketView({"Canada": 1, "USA": -1}, 0.03)


def world() -> pd.DataFrame:
    corr = np.zeros((7, 7))
    corr[np.tril_indices(7, -1)] = CORR
    corr += corr.T + np.eye(7)
    return pd.DataFrame(corr * np.outer(VOLS, VOLS), COUNTRIES, COUNTRIES)


def test_equilibrium_of_table_2():
    assert (100 * equilibrium_returns(world(), MARKET)).round(1).tolist() == [3.9, 6.9, 8.4, 9.0, 4.3, 6.8, 7.6]


@pytest.mark.parametrize("views, returns, weights", [
    ([GERMANY], [4.3, 7.6, 9.3, 11.0, 4.5, 7.0, 8.1], [1.5, 2.1, -4.0, 35.4, 11.0, -9.5, 58.6]),
    ([GERMANY, CANADA], [4.4, 8.7, 9.5, 11.2, 4.6, 7.0, 7.5], [1.5, 41.9, -3.4, 33.6, 11.0, -8.2, 18.8]),
], ids=["table 4", "table 5"])
def test_he_and_litterman_1999(views, returns, weights):
    found = black_litterman(world(), MARKET, views)
    assert 100 * found.expected_returns == pytest.approx(returns, abs=0.051)
    assert 100 * found.weights == pytest.approx(weights, abs=0.06)
    assert (100 * found.weights[[3, 5]]).round(1).tolist() == weights[3:6:2]


def naive(cov, market, views, delta, tau):
    "The form with inverses (Black and Litterman 1992)."
    p = np.array([[v.weights.get(i, 0.0) for i in range(len(cov))] for v in views])
    omega = np.diag([v.variance if v.variance is not None else tau * r @ cov @ r * (1 - v.confidence) / v.confidence for v, r in zip(views, p)])
    prior, doubt = np.linalg.inv(tau * cov), np.linalg.inv(omega)
    spread = np.linalg.inv(prior + p.T @ doubt @ p)
    return spread @ (prior @ (delta * cov @ market) + p.T @ doubt @ np.array([v.excess_return for v in views])), cov + spread


def some(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 12))
    x = rng.standard_normal((4 * n, n)) @ (np.eye(n) + rng.normal(0, 0.4, (n, n))) * 0.2
    cov, market = np.cov(x.T) + 1e-4 * np.eye(n), rng.dirichlet(np.ones(n))
    views = [MarketView({int(i): float(rng.normal()) for i in rng.choice(n, 2, replace=False)}, float(rng.normal(0, 0.1)),
                        *((0.5, float(rng.uniform(0.001, 0.1))) if rng.random() < 0.3 else (float(rng.uniform(0.05, 0.95)),))) for _ in range(int(rng.integers(1, 4)))]
    return cov, market, views


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_posterior_equals_the_form_with_inverses(seed):
    cov, market, views = some(seed)
    names = list(range(len(cov)))
    found = black_litterman(pd.DataFrame(cov, names, names), market, views, 3.0, 0.1)
    mean, spread = naive(cov, market, views, 3.0, 0.1)
    assert found.expected_returns == pytest.approx(mean, rel=1e-7, abs=1e-9) and found.cov == pytest.approx(spread, rel=1e-6, abs=1e-9)
    assert found.equilibrium + found.pulls.sum(axis=1) == pytest.approx(found.expected_returns)
    assert np.linalg.eigvalsh(found.cov)[0] > 0


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_one_view_moves_weights_by_its_confidence(seed):
    "Idzorek's tilt: the share of the way to the weights of certainty, in the mean, is the confidence."
    cov, market, views = some(seed)
    names = list(range(len(cov)))
    frame, view = pd.DataFrame(cov, names, names), views[0]
    at = lambda c: black_litterman(frame, market, [MarketView(view.portfolio, view.excess_return, c)]).expected_returns
    assert at(0.3) - at(0.0) == pytest.approx(0.3 * (at(1.0) - at(0.0)), rel=1e-6, abs=1e-12)
    p = np.array([view.weights.get(i, 0.0) for i in names])
    assert p @ at(1.0) == pytest.approx(view.excess_return, abs=1e-10)


def test_no_views_give_the_market_back_and_order_is_immaterial():
    assert black_litterman(world(), MARKET).weights == pytest.approx(MARKET / 1.05)
    order = np.random.default_rng(0).permutation(7)
    one, other = black_litterman(world(), MARKET, [GERMANY, CANADA]), black_litterman(world().iloc[order, order], dict(zip(COUNTRIES, MARKET)), [CANADA, GERMANY])
    assert other.expected_returns == pytest.approx(one.expected_returns[order])


@pytest.mark.parametrize("view, match", [
    (MarketView("Atlantis", 0.05), "view 1 is on Atlantis, which has no covariance"), (MarketView({"Canada": 0.0}, 0.05), "portfolio of nothing"),
    (MarketView("Canada", 0.05, 1.5), "confidence of view 1 is 1.5, outside 0 to 1"), (MarketView("Canada", 0.05, -0.1), "outside 0 to 1"), (MarketView("Canada", 0.05, float("nan")), "outside 0 to 1"),
    (MarketView("Canada", 5.0), "an annual decimal"), (MarketView("Canada", float("nan")), "an annual decimal"), (MarketView("Canada", 0.05, variance=-1.0), "variance of view 1"),
])
def test_bad_views_are_named(view, match):
    with pytest.raises(InputError, match=match):
        black_litterman(world(), MARKET, [view])


def test_bad_markets_are_named():
    for given_, match in (((np.full(7, 10.0),), "sum to 70"), ((MARKET[:5],), "shape"), ((MARKET, (), -1.0), "risk_aversion is -1"), ((MARKET, (), 2.5, 0.0), "tau is 0")):
        with pytest.raises(InputError, match=match):
            black_litterman(world(), *given_)
    with pytest.raises(InputError, match="USA is in the covariance"):
        black_litterman(world(), pd.Series(MARKET, [*COUNTRIES[:6], "Narnia"]))
    with pytest.raises(SolverError, match="views 1, 2 are certain"):
        black_litterman(world(), MARKET, [MarketView("Canada", 0.05, 1.0), MarketView({"Canada": 2.0}, 0.02, 1.0)])
