"""Shares of capital by strategy: they sum, keep floor and cap, and answer to what each way promises."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import DataError, InputError
from otsport.portfolio.black_litterman import MarketView, black_litterman
from otsport.portfolio.bounds import Bounds, best_return
from otsport.portfolio.optimize import max_sharpe
from otsport.portfolio.risk_parity import risk_parity
from otsport.analytics.covariance import shrunk_covariance
from otsport.strategy.allocation import WAYS, allocate


def returns_of(seed: int, k: int = 10) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(3e-4, 0.01, (252, k)) * rng.uniform(0.3, 2, k) + 0.004 * rng.standard_normal((252, 1))
    return pd.DataFrame(x, columns=[f"s{i}" for i in range(k)], index=pd.bdate_range("2022-01-03", periods=252))


@given(st.integers(0, 10**6), st.sampled_from(list(WAYS)), st.integers(2, 10), st.floats(0.1, 2))
@settings(max_examples=60, deadline=None)
def test_shares_sum_and_keep_floor_and_cap(seed, way, k, total):
    rng = np.random.default_rng(seed)
    floor, cap = total / k * rng.uniform(0, 1), total / k * rng.uniform(1, k)
    found = allocate(returns_of(seed, k), way, total, floor, cap)
    s = found.shares.to_numpy()
    scores = found.scores.to_numpy()
    if not (scores > 0).any():  # nothing earned: cash
        assert not s.any()
        return
    assert (s >= floor - 1e-12).all() and (s <= cap + 1e-12).all()
    assert s.sum() == pytest.approx(min(total, np.where(scores > 0, cap, floor).sum()))  # what the caps of those that earned leave over is cash
    inside = (s > floor + 1e-9) & (s < cap - 1e-9) & (scores > 0)
    if inside.sum() > 1:  # what no bound holds is in proportion to the scores
        ratio = s[inside] / found.scores.to_numpy()[inside]
        assert ratio == pytest.approx(ratio[0], rel=1e-6) or (found.scores <= 0).any()


@given(st.integers(0, 10**6), st.sampled_from(list(WAYS)))
@settings(max_examples=20, deadline=None)
def test_tighter_cap_never_allots_more_to_what_it_holds_and_order_is_immaterial(seed, way):
    x = returns_of(seed)
    wide, tight = allocate(x, way).shares, allocate(x, way, cap=0.15).shares
    assert tight.max() <= 0.15 + 1e-12 and (tight[wide > 0.15] <= wide[wide > 0.15]).all()
    assert allocate(x.iloc[:, ::-1], way).shares[x.columns].to_numpy() == pytest.approx(wide.to_numpy(), abs=1e-7)


def test_risk_parity_is_that_of_the_portfolio():
    x = returns_of(4)
    assert allocate(x, "risk_parity").shares.to_numpy() == pytest.approx(risk_parity(shrunk_covariance(x)).weights, abs=1e-9)


def test_performance_is_in_proportion_to_positive_sharpe_ratios():
    x = pd.DataFrame({"a": [0.01, 0.03] * 50, "b": [0.0, 0.02] * 50, "c": [-0.03, 0.01] * 50})
    assert allocate(x, "performance").shares.to_numpy() == pytest.approx([2 / 3, 1 / 3, 0])
    assert allocate(-x[["a", "b"]], "performance").shares.to_numpy() == pytest.approx([0, 0])  # none is positive: cash
    assert allocate(x, "performance", measure="profit_factor").shares["a"] == pytest.approx(0.5)  # neither a nor b ever lost
    won = allocate(x, "performance", measure="win_rate").scores
    assert won.to_numpy() == pytest.approx([1.0, 1.0, 0.0])  # c won half of its days, and lost money


@given(st.integers(0, 10**6), st.integers(2, 8))
@settings(max_examples=25, deadline=None)
def test_markowitz_is_the_best_sharpe_ratio_of_the_portfolio(seed, k):
    x = returns_of(seed, k)
    floor, cap = 0.3 / k, min(1.0, 2.0 / k)
    bounds = Bounds(tuple(x.columns), (cap,) * k, (floor,) * k, min_net=1.0)
    found = allocate(x, "markowitz", floor=floor, cap=cap)
    if not found.shares.any():
        assert best_return(252 * x.mean().to_numpy(), bounds) <= 1e-12
        return
    best = max_sharpe(252 * x.mean().to_numpy(), shrunk_covariance(x), bounds)
    assert found.shares.to_numpy() == pytest.approx(best.weights, abs=1e-7)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=15, deadline=None)
def test_black_litterman_is_that_of_the_portfolio(seed, told):
    x, k = returns_of(seed, 4), 4
    cov, means, views = shrunk_covariance(x), 252 * x.mean(), {"s1": 0.10, "s3": -0.05}
    said = [MarketView(n, mu, 0.7) for n, mu in views.items()] if told else [MarketView(n, mu, variance=cov.loc[n, n] * 252 / len(x)) for n, mu in means.items()]
    posterior = black_litterman(cov, np.full(k, 1 / k), said)
    bounds = Bounds(tuple(x.columns), (0.6,) * k, (0.05,) * k, min_net=1.0)
    found = allocate(x, "black_litterman", floor=0.05, cap=0.6, views=views if told else None, confidence=0.7)
    best = max_sharpe(posterior.expected_returns, pd.DataFrame(posterior.cov, cov.index, cov.columns), bounds)
    assert found.shares.to_numpy() == pytest.approx(best.weights, abs=1e-6)


@pytest.mark.parametrize("way", list(WAYS))
def test_a_strategy_without_a_history_has_the_floor(way):
    x = returns_of(7, 4)
    x.iloc[:240, 2] = np.nan
    found = allocate(x, way, floor=0.1, cap=0.7, fewest=20)
    assert found.shares["s2"] == pytest.approx(0.1) and found.bound["s2"] == "no history"
    assert found.shares.drop("s2").to_numpy() == pytest.approx(allocate(x.drop(columns="s2"), way, 0.9, 0.1, 0.7).shares.to_numpy(), abs=1e-9)
    assert allocate(x * np.nan, way, floor=0.1, fewest=20).shares.to_numpy() == pytest.approx([0.1] * 4)
    assert 1 <= found.effective <= 4


@pytest.mark.parametrize("given, words", [
    ({"way": "luck"}, "way is 'luck'"), ({"measure": "luck"}, "measure is 'luck'"), ({"views": {"x9": 0.1}}, "a view is on x9, which is no strategy"), ({"confidence": 0}, "confidence is 0"), ({"floor": 0.2}, "cannot sum to 1"), ({"cap": 0.05}, "cannot sum to 1"), ({"floor": 0.5, "cap": 0.1}, "the floor not above the cap"), ({"total": 0}, "total 0"),
])
def test_bad_input_names_the_culprit(given, words):
    with pytest.raises(InputError, match=words):
        allocate(returns_of(1), **given)


def test_missing_return_is_named():
    x = returns_of(1)
    x.iloc[5, 3] = np.nan
    with pytest.raises(DataError, match="s3"):
        allocate(x)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bound", [{"floor": 0.1}, {"cap": 0.1}, {"floor": 0.1 * 0.7, "total": 0.7}])
def test_floors_or_caps_that_leave_one_answer_give_it(way, bound):
    given = {"total": 1.0, "floor": 0.0, "cap": 1.0, **bound}
    shares = allocate(returns_of(3, 10), way=way, **given).shares.to_numpy()
    worth = shares > 0 if "cap" in bound and way == "performance" else np.full(10, True)  # one that earned nothing may have nothing
    assert worth.any() and np.allclose(shares[worth], given["total"] / 10, atol=1e-9)


def test_a_strategy_that_never_moved_has_no_risk_to_share():
    still = returns_of(4, 3)
    still.iloc[:, 1] = 0.0
    with pytest.raises(InputError, match=r"strategy 1 \(from 0\) never moved"):
        allocate(still, way="risk_parity")
