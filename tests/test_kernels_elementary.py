"""The branch-free elementary functions against NumPy and SciPy, at their ends, and the counter-based normals."""
import math

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import erfcx, ndtr, ndtri

from otsport.kernels import elementary as kernel

RNG = np.random.default_rng(3)


def on(function, x):
    x = np.asarray(x, dtype=float)
    out = np.empty_like(x)
    function(x, out)
    return out


@pytest.mark.parametrize("function, twin, x, rtol", [
    (kernel.exp_array, np.exp, RNG.uniform(-707, 709.5, 20_000), 4.5e-16),  # 1 ulp of each side
    (kernel.exp_array, np.exp, RNG.uniform(-1, 1, 20_000), 4.5e-16),
    (kernel.log_array, np.log, np.exp(RNG.uniform(-700, 700, 20_000)), 4.5e-16),
    (kernel.log_array, np.log, RNG.uniform(0.5, 2, 20_000), 7e-16),
    (kernel.ndtr_array, ndtr, RNG.uniform(-5, 8, 20_000), 4e-15),  # SciPy's own error grows with the square of x
    (kernel.ndtri_array, ndtri, RNG.uniform(0, 1, 20_000), 2e-14),  # relative; near 0 the argument's own rounding decides
    (kernel.ndtri_array, ndtri, 10.0 ** RNG.uniform(-300, 0, 20_000), 2e-14),
], ids=lambda v: getattr(v, "__name__", None))
def test_elementary_equals_its_twin(function, twin, x, rtol):
    np.testing.assert_allclose(on(function, x), twin(x), rtol=rtol, atol=1e-16)


def test_ndtr_far_tail_keeps_its_digits():
    x = np.array([-10.0, -20.0, -30.0, -37.0])
    assert on(kernel.ndtr_array, x) == pytest.approx([7.619853024160525e-24, 2.7536241186062337e-89, 4.906713927148187e-198, 5.725571222524577e-300], rel=2e-15)


def test_mills_equals_the_scaled_error_function():
    a = np.concatenate([np.linspace(0, 40, 2001), [1e3, 1e6, 1e12]])
    assert [kernel.mills(v) for v in a] == pytest.approx(list(math.sqrt(math.pi / 2) * erfcx(a / math.sqrt(2))), rel=1.5e-15)


@pytest.mark.parametrize("function, x, expected", [
    (kernel.exp_array, [-np.inf, -800, 0, 709.9, np.inf, np.nan], [0, 0, 1, np.inf, np.inf, np.nan]),
    (kernel.log_array, [-np.inf, -1, 0, 1e-310, 1, np.inf, np.nan], [np.nan, np.nan, -np.inf, -np.inf, 0, np.inf, np.nan]),
    (kernel.ndtr_array, [-np.inf, -41, 0, 41, np.inf, np.nan], [0, 0, 0.5, 1, 1, np.nan]),
    (kernel.ndtri_array, [-1, 0, 0.5, 1, 1.5, np.nan], [np.nan, -np.inf, 0, np.inf, np.nan, np.nan]),
], ids=["exp", "log", "ndtr", "ndtri"])
def test_elementary_at_its_ends(function, x, expected):
    np.testing.assert_allclose(on(function, x), expected, rtol=3e-16)


positive = st.floats(1e-300, 1e300)


@given(a=positive, b=positive)
def test_log_ratio_equals_difference_of_logs(a, b):
    assert kernel.log_ratio(a, b) == pytest.approx(math.log(a) - math.log(b), abs=1e-15 * (1 + abs(math.log(a)) + abs(math.log(b))))


@given(b=st.floats(1.0, 1e6), ulps=st.integers(-8, 8))
def test_log_ratio_is_exact_near_one(b, ulps):
    a = b + ulps * math.ulp(b)
    assert kernel.log_ratio(a, b) == pytest.approx((a - b) / b, rel=2e-15)


@pytest.mark.parametrize("a, b", [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (1.0, math.nan)])
def test_log_ratio_outside_its_domain_is_nan(a, b):
    assert math.isnan(kernel.log_ratio(a, b))


@given(p=st.floats(1e-300, 1 - 1e-12))
def test_quantile_inverts_the_distribution(p):
    x = kernel.ndtri(p)
    assert kernel.ndtr(x) == pytest.approx(p, rel=2e-15 * (2 + x * x))  # the condition number of the tail


def test_compiled_equals_interpreted():
    assert kernel.two_normals.py_func is not None
    for t in (0.0, 0.1, 0.125, 0.49, -3.3):
        assert kernel.sin_cos_turns(t) == pytest.approx((math.sin(2 * math.pi * t), math.cos(2 * math.pi * t)), abs=4e-15)


def test_normals_are_normal():
    z = np.empty(1_000_001)
    kernel.normals(7, 0, z)
    assert stats.kstest(z[::10], "norm").pvalue > 0.001
    assert abs(z.mean()) < 4e-3 and abs(z.std() - 1) < 3e-3 and abs(stats.skew(z)) < 1e-2 and abs(stats.kurtosis(z)) < 2e-2
    for lag in (1, 2, 500_000):
        assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < 4 / np.sqrt(z.size - lag)


def test_normals_depend_on_seed_and_stream_alone():
    a, b, c, d = (np.empty(1_001) for _ in range(4))
    kernel.normals(7, 3, a)
    kernel.normals(7, 3, b)
    kernel.normals(7, 4, c)
    kernel.normals(8, 3, d)
    np.testing.assert_array_equal(a, b)
    for other in (c, d):
        assert abs(np.corrcoef(a, other)[0, 1]) < 0.13 and not np.any(a == other)


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_normals_of_any_size(size):
    z = np.full(size, np.nan)
    kernel.normals(1, 1, z)
    assert np.isfinite(z).all()


kernel_expm1, kernel_npdf = kernel.expm1, kernel.npdf


@numba.njit(fastmath={"contract"}, error_model="numpy")
def expm1_array(x, out):
    for i in range(x.size):
        out[i] = kernel_expm1(x[i])


@numba.njit(fastmath={"contract"}, error_model="numpy")
def npdf_array(x, out):
    for i in range(x.size):
        out[i] = kernel_npdf(x[i])


@pytest.mark.parametrize("x", [RNG.uniform(-1, 1, 5_000), 10.0 ** RNG.uniform(-300, 0, 5_000), -(10.0 ** RNG.uniform(-300, 0, 5_000)), RNG.uniform(-700, 709, 5_000)], ids=["near", "tiny", "tiny negative", "all"])
def test_expm1_equals_numpys(x):
    np.testing.assert_allclose(on(expm1_array, x), np.expm1(x), rtol=7e-16)


def test_expm1_keeps_what_exp_loses():  # negative control: exp(x) - 1 would not pass the test above
    x = np.array([1e-12])
    assert abs((on(kernel.exp_array, x) - 1) / np.expm1(x) - 1)[0] > 1e-6 > abs(on(expm1_array, x) / np.expm1(x) - 1)[0]


def test_expm1_at_its_ends():
    np.testing.assert_array_equal(on(expm1_array, [-np.inf, -800.0, 0.0, 710.0, np.inf, np.nan]), [-1, -1, 0, np.inf, np.inf, np.nan])


def test_npdf_equals_scipy_in_the_wings():
    x = np.concatenate([np.linspace(-37, 37, 2_001), [0.0, -0.0]])
    exact = np.array([float(stats.norm.pdf(0) * np.exp(-np.longdouble(v) ** 2 / 2)) for v in x])  # longdouble: the square of x keeps its digits
    np.testing.assert_allclose(on(npdf_array, x), exact, rtol=2e-15)
    assert np.isnan(on(npdf_array, [np.nan]))[0] and on(npdf_array, [np.inf, -np.inf]).max() < 1e-300


def splitmix(counter):
    """SplitMix64 on Python integers."""
    mask = 2**64 - 1
    z = counter * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


@given(st.integers(0, 2**64 - 1))
def test_mix_equals_python_integers(counter):
    bits = int(kernel.mix(np.uint64(counter)))
    assert bits == splitmix(counter)
    assert kernel.uniform(np.uint64(bits)) == ((bits >> 12) + 0.5) / 2**52


def test_splitmix_published_values():  # the first numbers of the reference generator with seed 0, whose state steps by the odd constant
    assert [splitmix(k) for k in (1, 2, 3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_normals_equal_box_and_muller():
    z = np.empty(6)
    kernel.normals(11, 5, z)
    key = splitmix(splitmix(11) ^ (5 + 0x6A09E667F3BCC909) & (2**64 - 1))
    for i in range(3):
        u, v = (((splitmix((key + 2 * i + j) & (2**64 - 1)) >> 12) + 0.5) / 2**52 for j in (0, 1))
        radius = math.sqrt(-2 * math.log(u))
        assert (z[i], z[3 + i]) == pytest.approx((radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)), abs=1e-14)
