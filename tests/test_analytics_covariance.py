"""Covariance estimators against slow versions and limits, and the repair of what is no covariance."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otsport.analytics.covariance import (
    denoised_covariance, ewma_covariance, factor_covariance, noise_edge, repaired_covariance, sample_covariance, shrunk_covariance,
)
from otsport.core.errors import DataError, InputError

ESTIMATORS = [sample_covariance, ewma_covariance, shrunk_covariance, denoised_covariance, lambda x: factor_covariance(x, 1)]


def returns(sessions=200, assets=12, seed=0):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((sessions, 1)) * rng.uniform(0.5, 1.5, assets) + rng.standard_t(5, (sessions, assets)))


@pytest.mark.parametrize("estimate", ESTIMATORS)
@pytest.mark.parametrize("sessions, assets", [(200, 12), (30, 60), (2, 3), (50, 1)])
def test_estimates_are_symmetric_and_not_negative(estimate, sessions, assets):
    found = estimate(returns(sessions, assets))
    assert found.shape == (assets, assets)
    np.testing.assert_allclose(found, found.T, rtol=1e-12, atol=1e-16)
    assert np.linalg.eigvalsh(found)[0] >= -1e-12 * np.trace(found)


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_estimates_scale_with_the_square_and_follow_the_order_of_assets(estimate):
    x = returns()
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_allclose(estimate(3 * x), 9 * estimate(x), rtol=1e-9)
    np.testing.assert_allclose(estimate(x[:, order]), estimate(x)[np.ix_(order, order)], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_estimates_of_constant_returns_are_zero(estimate):
    assert np.abs(estimate(np.zeros((40, 3)))).max() == 0


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_an_asset_that_does_not_move_is_allowed(estimate):
    x = returns()
    x[:, 4] = 0.0
    assert np.isfinite(estimate(x)).all()


@pytest.mark.parametrize("estimate", ESTIMATORS)
def test_missing_return_is_named(estimate):
    x = returns()
    x[7, 3] = np.nan
    with pytest.raises(DataError, match="row 7, column 3"):
        estimate(x)


def test_sample_is_numpys():
    np.testing.assert_allclose(sample_covariance(returns()), 252 * np.cov(returns().T), rtol=1e-12)


def test_ewma_equals_the_recursion_and_pandas():
    x = returns(80, 3)
    slow = np.outer(x[0], x[0])
    for row in x[1:]:
        slow = 0.9 * slow + 0.1 * np.outer(row, row)
    np.testing.assert_allclose(ewma_covariance(x, 0.9), 252 * slow, rtol=1e-12)
    product = pd.Series(x[:, 0] * x[:, 1]).ewm(alpha=0.1, adjust=False).mean().iloc[-1]
    assert ewma_covariance(x, 0.9)[0, 1] == pytest.approx(252 * product, rel=1e-12)


def test_denoised_keeps_variances_and_lifts_the_lowest_eigenvalue():
    x = returns(60, 50)
    plain, clean = sample_covariance(x), denoised_covariance(x)
    np.testing.assert_allclose(np.diag(clean), np.diag(plain), rtol=1e-10)
    assert np.linalg.eigvalsh(clean)[0] > 20 * np.linalg.eigvalsh(plain)[0]


def test_noise_edge_of_pure_noise_is_marchenko_pastur():
    x = np.random.default_rng(2).standard_normal((2000, 500))
    edge = noise_edge(np.linalg.eigvalsh(np.corrcoef(x.T)), 2000)
    assert edge == pytest.approx((1 + 0.5) ** 2, rel=0.02)


def test_factor_covariance_equals_regressions():
    rng = np.random.default_rng(3)
    f = 0.01 * rng.standard_normal((250, 2))
    x = f @ rng.normal(size=(2, 5)) + 0.005 * rng.standard_normal((250, 5))
    design = np.column_stack([np.ones(250), f])
    loadings, rest = [], []
    for column in x.T:
        fit = np.linalg.lstsq(design, column, rcond=None)[0]
        loadings.append(fit[1:])
        rest.append(np.sum((column - design @ fit) ** 2) / 249)
    expected = 252 * (np.array(loadings) @ np.cov(f.T) @ np.array(loadings).T + np.diag(rest))
    np.testing.assert_allclose(factor_covariance(x, f), expected, rtol=1e-9)


@pytest.mark.parametrize("factors", [0, 13, np.zeros((10, 1)), np.zeros((200, 200))])
def test_factor_covariance_refuses(factors):
    with pytest.raises(InputError):
        factor_covariance(returns(), factors)


@given(st.integers(2, 12), st.integers(0, 10_000))
def test_repair_gives_a_covariance_with_the_same_variances(n, seed):
    rng = np.random.default_rng(seed)
    corr = np.triu(rng.uniform(-1, 1, (n, n)), 1)
    vols = rng.uniform(0.01, 0.6, n)
    cov = (corr + corr.T + np.eye(n)) * np.outer(vols, vols)
    fixed = repaired_covariance(cov)
    np.testing.assert_allclose(np.diag(fixed), vols**2, rtol=1e-10)
    assert np.linalg.eigvalsh(fixed / np.outer(vols, vols))[0] > 1e-9
    np.linalg.cholesky(fixed)
    assert np.abs(fixed / np.outer(vols, vols)).max() <= 1 + 1e-9


def test_repair_of_a_singular_sample():
    singular = sample_covariance(returns(20, 40))
    fixed = repaired_covariance(singular)
    np.linalg.cholesky(fixed)
    np.testing.assert_allclose(fixed, singular, atol=1e-6 * np.abs(singular).max())


def test_repair_is_nearer_than_clipping():
    rng = np.random.default_rng(4)
    corr = np.triu(rng.uniform(-1, 1, (10, 10)), 1)
    corr = corr + corr.T + np.eye(10)
    values, vectors = np.linalg.eigh(corr)
    clipped = (vectors * np.maximum(values, 1e-8)) @ vectors.T
    clipped /= np.sqrt(np.outer(np.diag(clipped), np.diag(clipped)))
    assert np.linalg.norm(repaired_covariance(corr) - corr) < np.linalg.norm(clipped - corr)


def test_repair_leaves_a_good_covariance_alone():
    good = shrunk_covariance(returns())
    assert repaired_covariance(good) is good or (repaired_covariance(good) == good).all()


@pytest.mark.parametrize("cov, error", [
    ([[1.0, 2.0]], DataError), ([[1.0, np.nan], [np.nan, 1.0]], DataError), ([[1.0, 0.5], [0.1, 1.0]], DataError), ([[-1.0, 0.0], [0.0, 1.0]], DataError),
])
def test_repair_refuses(cov, error):
    with pytest.raises(error):
        repaired_covariance(cov)
