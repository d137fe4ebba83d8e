"""Shares of capital by strategy: they sum, keep floor and cap, and answer to what each way promises."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import DataError, InputError
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
    assert s.sum() == pytest.approx(total) and (s >= floor - 1e-12).all() and (s <= cap + 1e-12).all()
    inside = (s > floor + 1e-9) & (s < cap - 1e-9) & (found.scores.to_numpy() > 0)
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
    assert allocate(-x[["a", "b"]], "performance").shares.to_numpy() == pytest.approx([0.5, 0.5])  # none is positive


@pytest.mark.parametrize("given, words", [
    ({"way": "luck"}, "way is 'luck'"), ({"floor": 0.2}, "cannot sum to 1"), ({"cap": 0.05}, "cannot sum to 1"), ({"floor": 0.5, "cap": 0.1}, "the floor not above the cap"), ({"total": 0}, "total 0"),
])
def test_bad_input_names_the_culprit(given, words):
    with pytest.raises(InputError, match=words):
        allocate(returns_of(1), **given)


def test_missing_return_is_named():
    x = returns_of(1)
    x.iloc[5, 3] = np.nan
    with pytest.raises(DataError, match="s3"):
        allocate(x)
