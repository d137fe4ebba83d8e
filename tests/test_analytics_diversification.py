"""Diversification against slow, obvious versions; invariant to order and scale."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import otsport
from otsport.analytics.diversification import cluster_order, diversification, rolling_correlation
from otsport.core.errors import DataError, InputError


def returns(seed: int, n: int = 6, sessions: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(0.01 * (rng.normal(size=(sessions, n)) + 0.6 * rng.normal(size=(sessions, 1))), pd.bdate_range("2022-01-03", periods=sessions), [f"N{i}" for i in range(n)])


def test_rolling_average_correlation_equals_that_of_every_pair():
    x = returns(1)
    found = rolling_correlation(x, 30)
    naive = [x.iloc[i : i + 30].corr().to_numpy()[np.triu_indices(6, 1)].mean() for i in range(len(x) - 29)]
    assert found.to_numpy() == pytest.approx(naive, abs=1e-12) and list(found.index) == list(x.index[29:])


def test_a_name_that_stands_still_correlates_with_nothing():
    x = returns(2).assign(N0=0.0)
    by_hand = x.drop(columns="N0").iloc[-30:].corr().to_numpy()[np.triu_indices(5, 1)].sum() / 15
    assert rolling_correlation(x, 30).iloc[-1] == pytest.approx(by_hand, abs=1e-12)


def test_numbers_equal_their_definitions():
    x, w = returns(3), pd.Series([0.3, 0.1, 0.2, 0.1, 0.2, -0.1], [f"N{i}" for i in range(6)])
    found, cov = diversification(x, w), 252 * x.cov()
    vol = (w @ cov @ w) ** 0.5
    assert found.ratio == pytest.approx((w.abs() * np.sqrt(np.diag(cov))).sum() / vol)
    shares = w * (cov @ w) / vol**2
    assert found.risk_shares[shares.index].to_numpy() == pytest.approx(shares.to_numpy()) and found.herfindahl == pytest.approx((shares**2).sum())
    c, pair = x.corr(), np.triu_indices(6, 1)
    assert found.average_correlation == pytest.approx(c.to_numpy()[pair].mean())
    size = np.abs(np.outer(w, w))[pair]
    assert found.weighted_correlation == pytest.approx((c.to_numpy()[pair] * size).sum() / size.sum())
    best = found.pairs(1).iloc[0]
    assert best["correlation"] == pytest.approx(c.where(~np.eye(6, dtype=bool)).max().max()) == c.at[best["first"], best["second"]]
    assert found.correlation.loc[c.index, c.columns].to_numpy() == pytest.approx(c.to_numpy())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 10), st.permutations(range(6)))
def test_scale_and_order_change_nothing_and_bounds_hold(seed, scale, order):
    x, w = returns(seed), pd.Series(np.random.default_rng(seed).uniform(0.01, 1, 6), [f"N{i}" for i in range(6)])
    a, b = diversification(x, w), diversification(x.iloc[:, list(order)], scale * w)
    for name in ("ratio", "bets", "herfindahl", "average_correlation", "weighted_correlation"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-9)
    assert a.ratio >= 1 - 1e-12 and 1 - 1e-9 <= a.bets <= 6 + 1e-9 and 1 / 6 - 1e-12 <= a.herfindahl <= 1.0 + 1e-9


def test_clusters_stand_side_by_side():
    groups = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    corr = np.where(groups[:, None] == groups, 0.8, 0.1) + 0.2 * np.eye(9)
    ordered = groups[cluster_order(corr)]
    assert np.count_nonzero(np.diff(ordered)) == 2  # negative control: as given there are eight changes
    assert np.count_nonzero(np.diff(groups)) == 8


def test_it_shows_itself_and_too_few_sessions_leave_the_rolling_part_empty():
    found = otsport.diversification(returns(4, sessions=40))
    assert not len(found.rolling) and "uncorrelated bets" in repr(found) and "<table" in found._repr_html_()


@pytest.mark.parametrize("call, error, words", [
    (lambda: diversification(returns(0), pd.Series([np.nan] * 6, returns(0).columns)), DataError, "weight of N0 is nan"),
    (lambda: diversification(returns(0).to_numpy()), InputError, "returns are a ndarray"),
    (lambda: diversification(100 * returns(0) + 100), InputError, "0.01 is 1 %"),
    (lambda: rolling_correlation(returns(0).iloc[::-1]), InputError, "give the oldest first"),
])
def test_bad_input_names_the_culprit(call, error, words):
    with pytest.raises(error, match=words):
        call()
