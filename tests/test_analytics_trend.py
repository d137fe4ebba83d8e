"""The trend beside the t statistic of scipy, and what is no trend."""
import math

import numpy as np
import pytest
from scipy import stats

from otsport.analytics.trend import FEWEST_RETURNS, trend
from otsport.core.errors import DataError, InputError

X = np.random.default_rng(3).normal(2e-4, 1e-3, 60)


def test_trend_is_the_t_statistic_of_the_mean():
    assert trend(X) == pytest.approx(stats.ttest_1samp(X, 0.0).statistic, rel=1e-12)
    assert trend(-X) == pytest.approx(-trend(X), rel=1e-12) and trend(3 * X) == pytest.approx(trend(X), rel=1e-12)


def test_too_few_alike_or_with_a_gap_is_no_trend():
    assert math.isnan(trend(X[: FEWEST_RETURNS - 1])) and not math.isnan(trend(X[:FEWEST_RETURNS]))
    assert math.isnan(trend(np.full(30, 1e-3))) and math.isnan(trend(np.where(np.arange(60) == 7, np.nan, X)))
    with pytest.raises(InputError):
        trend(X.reshape(2, 30))
    with pytest.raises((DataError, InputError)):
        trend(100 * (1 + X).cumprod())  # prices
