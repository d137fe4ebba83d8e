"""Walk forward against a plain loop; nothing of the future reaches a decision; costs and drift by hand."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.covariance import sample_covariance, shrunk_covariance
from otsport.analytics.metrics import metrics
from otsport.core.errors import DataError, InputError, SolverError
from otsport.data.samples import history
from otsport.portfolio.bounds import Bounds
from otsport.portfolio.optimize import max_diversification, mean_variance, min_variance
from otsport.portfolio.risk_parity import risk_parity
from otsport.portfolio.walk_forward import walk_forward


def stocks(sessions: int = 400) -> pd.DataFrame:
    return history().stock_table.frame.pct_change().dropna().iloc[-sessions:, :6]


def plain(x: pd.DataFrame, decide, window: int, every: int, cost_bps: float) -> tuple[list, list]:
    "Dollar by dollar, day by day."
    values, cash, nav, returns, turnover = {c: 0.0 for c in x}, 1.0, 1.0, [], []
    for day in range(window, len(x)):
        paid = 0.0
        if (day - window) % every == 0:
            w = dict(zip(x, decide(x.iloc[day - window : day])))
            turnover.append(sum(abs(w[c] - values[c] / nav) for c in x))
            paid = cost_bps / 1e4 * turnover[-1]
            worth = nav * (1 - paid)
            values, cash = {c: w[c] * worth for c in x}, worth * (1 - sum(w.values()))
        values = {c: v * (1 + x[c].iloc[day]) for c, v in values.items()}
        after = cash + sum(values.values())
        returns.append(after / nav - 1)
        nav = after
    return returns, turnover


@pytest.mark.parametrize("window, every, cost", [(120, 21, 5.0), (150, 40, 0.0), (399, 7, 20.0)])
def test_plain_loop_agrees(window, every, cost):
    x, b = stocks(), Bounds(tuple(stocks().columns), np.full(6, 0.4), min_net=0.9, max_net=0.9)
    found = walk_forward(x, min_variance, b, window, every, cost)
    returns, turnover = plain(x, lambda past: min_variance(np.zeros(6), sample_covariance(past), b).weights, window, every, cost)
    assert found.returns.to_numpy() == pytest.approx(returns, abs=1e-11) and found.turnover.to_numpy() == pytest.approx(turnover, abs=1e-8)
    assert found.costs.to_numpy() == pytest.approx(cost / 1e4 * np.array(turnover), abs=1e-10)
    equal, _ = plain(x, lambda past: np.full(6, 1 / 6), window, every, cost)
    assert found.equal_returns.to_numpy() == pytest.approx(equal, abs=1e-12)
    assert found.gap <= 1e-9 and found.violation <= 1e-9 and found.nav.iloc[-1] == pytest.approx(np.prod(1 + np.array(returns)))
    assert found.metrics()[0] == metrics(found.returns)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_weights_do_not_know_what_comes_after(seed):
    x, rng = stocks(300), np.random.default_rng(seed)
    cut = int(rng.integers(130, 299))
    other = x.copy()
    other.iloc[cut:] = rng.normal(0, 0.02, other.iloc[cut:].shape)
    for fit in (min_variance, lambda past_returns: past_returns.iloc[-1].rank().to_numpy() / 21):
        one, two = (walk_forward(frame, fit, window=120, every=20).weights for frame in (x, other))
        known = one.index <= x.index[cut]
        assert known.any() and np.array_equal(one[known], two[known])


def test_a_function_that_looks_for_more_finds_nothing():
    "Whatever memory the rows stand in, it is theirs alone."
    x, seen = stocks(200), []

    def peek(past_returns):
        rows = past_returns.to_numpy()
        while rows.base is not None:
            rows = rows.base
        seen.append(rows.size)
        assert past_returns.index[-1] < x.index[100 + 30 * len(seen) - 30] and np.isin(rows, x.iloc[: 100 + 30 * len(seen) - 30]).all()
        past_returns.iloc[:] = 0.0  # spoils its own copy alone
        return pd.Series(1 / 6, x.columns)

    found = walk_forward(x, peek, window=100, every=30, cost_bps=0)
    assert set(seen) == {600} and len(seen) == 4
    assert found.returns.to_numpy() == pytest.approx(found.equal_returns.to_numpy()) and found.returns.abs().max() > 0


def test_own_estimator_of_the_covariance_is_asked_with_the_window():
    x = stocks(300)
    found = walk_forward(x, max_diversification, window=250, every=25, covariance=shrunk_covariance)
    b = Bounds(x.columns, np.ones(6), min_net=1.0)
    assert found.weights.iloc[1].to_numpy() == pytest.approx(max_diversification(shrunk_covariance(x.iloc[25:275]), b).weights)


def test_risk_parity_and_a_wrapped_function_are_taken():
    x = stocks(300)
    assert (walk_forward(x, risk_parity, window=250, every=25).weights > 0).all().all()
    wrapped = walk_forward(x, lambda expected_returns, cov, bounds: mean_variance(expected_returns, cov, bounds, 5), window=250, every=25, name="cautious")
    assert "cautious: 2 refits" in repr(wrapped) and "turnover a year" in wrapped.frame().index


def test_turnover_is_counted_from_what_drifted():
    x = stocks(400)
    b = Bounds(x.columns, np.ones(6), min_net=1.0, max_turnover=0.05)
    found = walk_forward(x, min_variance, b, window=120, every=21)
    assert found.turnover.iloc[0] == pytest.approx(1.0) and found.turnover.iloc[1:].max() <= 0.05 + 1e-7 < 2 * found.turnover.iloc[1:].max()


def test_cash_earns_the_rate():
    x = stocks(60)
    found = walk_forward(x, lambda past_returns: np.zeros(6), window=20, every=10, cost_bps=0, rate=0.05)
    assert found.returns.to_numpy() == pytest.approx(np.full(40, 1.05 ** (1 / 252) - 1))


@pytest.mark.parametrize("given, error, words", [
    ({"window": 60}, InputError, "nothing is left to measure"), ({"window": 1}, InputError, "window is 1"), ({"every": 0}, InputError, "every is 0"),
    ({"cost_bps": -1}, InputError, "cost_bps is -1"), ({"fit": lambda past_returns: [1, 2]}, InputError, "have shape"), ({"fit": lambda past_returns: np.full(6, np.nan)}, InputError, "6 not finite"),
    ({"fit": lambda mu, cov: 0}, InputError, "asks for mu"), ({"bounds": Bounds(tuple("ABCDEF"), np.ones(6))}, InputError, "is in the returns but not"),
    ({"fit": lambda past_returns: pd.Series(1.0, list("ABCDEF"))}, InputError, "but not in"), ({"bounds": "small"}, SolverError, "no weights satisfy"),
])
def test_bad_input_names_the_culprit(given, error, words):
    x = stocks(60)
    if given.get("bounds") == "small":
        given = {"bounds": Bounds(x.columns, np.full(6, 0.1), min_net=1.0)}
    with pytest.raises(error, match=words):
        walk_forward(x, **{"window": 20, "every": 10} | given)


def test_gap_in_the_returns_is_named():
    x = stocks(60)
    x.iloc[30, 2] = np.nan
    with pytest.raises(DataError, match=x.columns[2]):
        walk_forward(x, window=20)
