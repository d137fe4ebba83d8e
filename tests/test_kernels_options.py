"""The Black-Scholes-Merton kernel against published values, SciPy and itself."""
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from otsport.kernels import options as kernel

GOLDEN = json.loads((Path(__file__).parent / "golden" / "kernels_bsm_var.json").read_text())["vectors"]
FULL = ("price", "delta", "vega")
SIX = ("price", "delta", "gamma", "vega", "theta", "rho")


def of_kind(*kinds):
    return [pytest.param(v, id=v["id"]) for v in GOLDEN if v["kind"] in kinds]


def run(i, sigma=None):
    return kernel.bsm(i["S"], i["K"], i["T"], i["r"], i["q"], i["sigma"] if sigma is None else sigma, 1.0 if i["type"] == "call" else -1.0)


@pytest.mark.parametrize("vector", of_kind("european_price", "european_delta", "european_vega"))
def test_bsm_published_value(vector):
    which = FULL.index(vector["kind"].removeprefix("european_"))
    assert run(vector["inputs"])[which] == pytest.approx(vector["expected"], abs=vector["tol"])


@pytest.mark.parametrize("vector", of_kind("european_full"))
def test_bsm_forty_digit_value(vector):
    for name, value in zip(FULL, run(vector["inputs"])):
        expected = vector["expected"][name]
        assert abs(value - expected) <= vector["tol"] * max(1.0, abs(expected))
        if name == "price":
            assert value == pytest.approx(expected, rel=1e-9)  # deep out of the money too, as the vector's note asks


def nine(i):
    inputs = (i["S"], i["K"], i["T"], i["r"], i["q"], i["sigma"], 1.0 if i["type"] == "call" else -1.0)
    got = dict(zip((*SIX, "vanna", "volga", "charm"), (*kernel.greeks(*inputs), *kernel.second_order(*inputs))))
    return got | {"theta": 365 * got["theta"]}  # the vectors are per year


@pytest.mark.parametrize("vector", of_kind("european_full"))
def test_greeks_forty_digit_value(vector):
    got = nine(vector["inputs"])
    for name, expected in vector["expected"].items():
        if name != "dividend_rho":
            assert abs(got[name] - expected) <= vector["tol"] * max(1.0, abs(expected)), name
            assert got[name] == pytest.approx(expected, rel=1e-9), name  # in the far wings too


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in json.loads((Path(__file__).parent / "golden" / "options.json").read_text())["vectors"]])
def test_greeks_published_value(vector):
    assert nine(vector["inputs"])[vector["kind"].removeprefix("european_")] == pytest.approx(vector["expected"], abs=vector["tol"])


@pytest.mark.parametrize("vector", of_kind("implied_vol"))
def test_implied_vol_published_value(vector):
    i = vector["inputs"]
    vol, status = kernel.implied_vol(i["price"], i["S"], i["K"], i["T"], i["r"], i["q"], 1.0 if i["type"] == "call" else -1.0)
    assert status == 0 and vol == pytest.approx(vector["expected"], abs=vector["tol"])


def twin(S, K, tau, r, q, sigma, phi):
    d1 = (np.log(S / K) + (r - q + sigma**2 / 2) * tau) / (sigma * np.sqrt(tau))
    forward, present = S * np.exp(-q * tau), K * np.exp(-r * tau)
    return phi * (forward * ndtr(phi * d1) - present * ndtr(phi * (d1 - sigma * np.sqrt(tau)))), phi * np.exp(-q * tau) * ndtr(phi * d1)


def test_bsm_arrays_equal_scipy():
    rng = np.random.default_rng(5)
    n = 5_000
    columns = [rng.uniform(*b, n) for b in ((20, 200), (20, 200), (0.01, 2), (-0.02, 0.1), (0, 0.06), (0.05, 1.2))]
    phi = rng.choice([-1.0, 1.0], n)
    out = [np.empty(n) for _ in range(3)]
    kernel.bsm_arrays(*columns, phi, *out)
    price, delta = twin(*columns, phi)
    np.testing.assert_allclose(out[0], price, atol=2e-12)  # values to 200 dollars: a few ulp
    np.testing.assert_allclose(out[1], delta, atol=1e-14)
    bump = 1e-5
    up, down = (twin(*columns[:5], columns[5] + h, phi)[0] for h in (bump, -bump))
    np.testing.assert_allclose(out[2], (up - down) / (2 * bump), atol=1e-5)  # central difference


def test_bsm_compiled_equals_interpreted():
    for phi in (1.0, -1.0):
        assert kernel.bsm(100.0, 95.0, 0.3, 0.02, 0.01, 0.25, phi) == pytest.approx(kernel.bsm.py_func(100.0, 95.0, 0.3, 0.02, 0.01, 0.25, phi), rel=1e-14)


@pytest.mark.parametrize("position", range(7))
def test_bsm_nan_in_any_input_is_nan(position):
    inputs = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25, 1.0]
    inputs[position] = np.nan
    assert np.isnan(kernel.bsm(*inputs)).all()


@pytest.mark.parametrize("position", [0, 1, 2, 5])
def test_bsm_negative_input_is_nan(position):
    inputs = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25, 1.0]
    inputs[position] = -1.0
    assert np.isnan(kernel.bsm(*inputs)).all()


@pytest.mark.parametrize("tau, sigma", [(0.0, 0.2), (0.0, 0.0), (1.0, 0.0)])
@pytest.mark.parametrize("phi", [1.0, -1.0])
@pytest.mark.parametrize("spot", [80.0, 100.0, 120.0])
def test_bsm_limits_at_expiry_and_zero_vol(tau, sigma, phi, spot):
    price, delta, vega = kernel.bsm(spot, 100.0, tau, 0.0, 0.0, sigma, phi)
    gain = phi * (spot - 100.0)
    assert price == max(gain, 0.0)
    assert delta == phi * (1.0 if gain > 0 else 0.5 if gain == 0 else 0.0)
    at_money = gain == 0 and tau > 0
    assert vega == pytest.approx(100.0 / np.sqrt(2 * np.pi) if at_money else 0.0)


def test_bsm_limits_are_approached():
    near = kernel.bsm(105.0, 100.0, 1.0, 0.03, 0.01, 1e-4, 1.0)
    assert near == pytest.approx(kernel.bsm(105.0, 100.0, 1.0, 0.03, 0.01, 0.0, 1.0), abs=1e-12)


def test_bsm_zero_spot_or_strike():
    assert kernel.bsm(0.0, 100.0, 1.0, 0.0, 0.0, 0.2, -1.0) == (100.0, -1.0, 0.0)
    assert kernel.bsm(100.0, 0.0, 1.0, 0.0, 0.0, 0.2, 1.0) == (100.0, 1.0, 0.0)


dollars = st.floats(1.0, 1_000.0)
options = dict(S=dollars, K=dollars, tau=st.floats(1 / 365, 3), r=st.floats(-0.02, 0.1), q=st.floats(0, 0.08), sigma=st.floats(0.02, 2))


@given(**options)
def test_bsm_put_call_parity(S, K, tau, r, q, sigma):
    call, put = (kernel.bsm(S, K, tau, r, q, sigma, phi) for phi in (1.0, -1.0))
    assert call[0] - put[0] == pytest.approx(S * np.exp(-q * tau) - K * np.exp(-r * tau), abs=1e-11 * max(S, K))
    assert call[1] - put[1] == pytest.approx(np.exp(-q * tau), abs=1e-12)
    assert call[2] == pytest.approx(put[2], rel=1e-9, abs=1e-12)


@given(**options, up=st.floats(1.0001, 2))
def test_bsm_monotone_in_spot_and_vol(S, K, tau, r, q, sigma, up):
    tiny = 1e-12 * max(S * up, K)
    call, more_spot, more_vol = (kernel.bsm(*x, 1.0)[0] for x in ((S, K, tau, r, q, sigma), (S * up, K, tau, r, q, sigma), (S, K, tau, r, q, sigma * up)))
    assert more_spot >= call - tiny and more_vol >= call - tiny
    assert max(S * np.exp(-q * tau) - K * np.exp(-r * tau), 0) - tiny <= call <= S * np.exp(-q * tau) + tiny


@given(**options, phi=st.sampled_from([1.0, -1.0]))
@settings(max_examples=200)
def test_implied_vol_round_trip(S, K, tau, r, q, sigma, phi):
    price, _, vega = kernel.bsm(S, K, tau, r, q, sigma, phi)
    vol, status = kernel.implied_vol(price, S, K, tau, r, q, phi)
    if status == 0:  # price to vol to price; as exact as the price's own rounding allows
        assert kernel.bsm(S, K, tau, r, q, vol, phi)[0] == pytest.approx(price, rel=1e-10, abs=1e-12 * max(S, K))
    else:  # only a price whose rounding decides: on a bound it has no vol, near it the vol has less than ten digits
        assert status in (1, 2, 5) and vega < 1e-4 * max(S, K)


def test_implied_vol_statuses():
    assert [kernel.implied_vol(p, 100.0, 90.0, 0.5, 0.0, 0.0, 1.0)[1] for p in (9.0, 10.0, 11.0, 100.0, np.nan)] == [1, 1, 0, 2, 3]
    assert kernel.implied_vol(5.0, 100.0, 90.0, 0.0, 0.0, 0.0, 1.0)[1] == 3


def random_book(n, seed=11, tau=(0.01, 2.0)):
    rng = np.random.default_rng(seed)
    S, t, r, q, sigma = (rng.uniform(*b, n) for b in ((20, 200), tau, (-0.02, 0.1), (0, 0.06), (0.05, 1.2)))
    return [S, S * np.exp(rng.uniform(-4, 4, n) * sigma * np.sqrt(t)), t, r, q, sigma, rng.choice([-1.0, 1.0], n)]


def by_arrays(function, columns, count):
    out = [np.empty(columns[0].size) for _ in range(count)]
    function(*columns, *out)
    return out


def test_greeks_and_second_order_equal_differences_of_the_price():
    c = random_book(3_000, tau=(0.05, 2.0))
    price, delta, gamma, vega, theta, rho = by_arrays(kernel.greeks_arrays, c, 6)
    vanna, volga, charm = by_arrays(kernel.second_order_arrays, c, 3)

    def slope(which, position, step, count=6, function=kernel.greeks_arrays):
        up, down = list(c), list(c)
        up[position], down[position] = c[position] + step, c[position] - step
        return (by_arrays(function, up, count)[which] - by_arrays(function, down, count)[which]) / (2 * step)

    S, sigma, tau = c[0], c[5], c[2]
    for analytic, numeric, scale in [
        (delta, slope(0, 0, 1e-5 * S), 1.0), (gamma, slope(1, 0, 1e-5 * S), np.max(gamma)), (vega, slope(0, 5, 1e-5 * sigma), np.max(vega)),
        (theta, -slope(0, 2, 1e-5 * tau) / 365, np.max(np.abs(theta))), (rho, slope(0, 3, 1e-5), np.max(np.abs(rho))),
        (vanna, slope(1, 5, 1e-5 * sigma), np.max(np.abs(vanna))), (volga, slope(3, 5, 1e-5 * sigma), np.max(np.abs(volga))),
        (charm, -slope(1, 2, 1e-5 * tau) / 365, np.max(np.abs(charm))),
    ]:
        np.testing.assert_allclose(analytic, numeric, atol=2e-7 * scale, rtol=1e-6)


def test_arrays_equal_the_careful_scalar():
    c = random_book(400)
    for row, (position, value) in enumerate(((0, 0.0), (1, 0.0), (2, 0.0), (5, 0.0), (0, np.nan), (4, np.nan), (6, np.nan), (2, -1.0), (5, -0.2), (0, np.inf), (0, -5.0))):
        c[position][17 * row] = value  # an odd input here and there
    for function, scalar, count in ((kernel.bsm_arrays, kernel.bsm, 3), (kernel.greeks_arrays, kernel.greeks, 6), (kernel.second_order_arrays, kernel.second_order, 3)):
        got = np.array(by_arrays(function, c, count))
        want = np.array([scalar(*row) for row in zip(*c)]).T
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-13)


def test_two_threads_give_the_same_bits():
    c = random_book(5_000)
    for one, two in zip(by_arrays(kernel.greeks_arrays, c, 6), by_arrays(kernel.greeks_parallel, c, 6)):
        np.testing.assert_array_equal(one, two)
    price = by_arrays(kernel.greeks_arrays, c, 1 + 5)[0]
    vols = [np.empty(5_000) for _ in range(2)]
    flags = [np.empty(5_000, np.int64) for _ in range(2)]
    kernel.implied_vol_arrays(price, *c[:5], c[6], vols[0], flags[0])
    kernel.implied_vol_parallel(price, *c[:5], c[6], vols[1], flags[1])
    np.testing.assert_array_equal(vols[0], vols[1])
    np.testing.assert_array_equal(flags[0], flags[1])


@pytest.mark.parametrize("name", SIX)
def test_greeks_without_width_are_exact_not_nan(name):
    which = SIX.index(name)
    expected = {"price": [20.0, 0.0, 0.0], "delta": [1.0, 0.5, 0.0], "gamma": [0.0] * 3, "vega": [0.0] * 3, "theta": [0.0] * 3, "rho": [0.0] * 3}
    assert [kernel.greeks(s, 100.0, 0.0, 0.0, 0.0, 0.2, 1.0)[which] for s in (120.0, 100.0, 80.0)] == expected[name]
    still = kernel.greeks(120.0, 100.0, 1.0, 0.05, 0.0, 0.0, 1.0)  # a bond and a share: only carry is left
    bond = 100.0 * np.exp(-0.05)
    assert still == pytest.approx((120.0 - bond, 1.0, 0.0, 0.0, -0.05 * bond / 365, bond), rel=1e-14)


def vols_of(columns):
    S, K, tau, r, q, sigma, phi = columns
    price, _, vega = by_arrays(kernel.bsm_arrays, columns, 3)
    vol, flag = np.empty(S.size), np.empty(S.size, np.int64)
    kernel.implied_vol_arrays(price, S, K, tau, r, q, phi, vol, flag)
    return price, vega, vol, flag


@pytest.mark.parametrize("tau", [(1e-6, 1 / 365), (1 / 365, 5 / 365), (0.02, 3.0)], ids=["last day", "to 5 days", "to 3 years"])
def test_implied_vol_ten_digits_where_float64_has_them(tau):
    columns = random_book(20_000, seed=3, tau=tau)
    price, vega, vol, flag = vols_of(columns)
    S, K, phi = columns[0], columns[1], columns[6]
    holds = np.spacing(np.where(phi * (S - K) > 0, S, price)) < 2e-11 * vega  # in the money a price is a difference at the scale of the spot
    assert holds.mean() > 0.7 and np.all(flag[holds] == 0)
    np.testing.assert_allclose(vol[holds], columns[5][holds], atol=1e-10, rtol=0)
    lost = np.spacing(price) > 1.01e-10 * vega
    assert np.all(flag[lost & (price > 0)] != 0)  # too few digits: said


@pytest.mark.parametrize("x", [1e-12, 1e-6, 0.01, 0.3, 2.0, 8.0, 15.0, 30.0])
def test_implied_vol_deep_wings_out_of_the_money(x):
    for sd in np.geomspace(max(x / 30, 1e-4), min(8.0, 3 + x), 60):
        S, K = 100.0, 100.0 * np.exp(x)
        price = kernel.bsm(S, K, 1.0, 0.0, 0.0, sd, 1.0)[0]
        vol, flag = kernel.implied_vol(price, S, K, 1.0, 0.0, 0.0, 1.0)
        assert (flag == 0 and vol == pytest.approx(sd, rel=2e-10)) or flag in (2, 5)


def test_implied_vol_patient_solver_and_bisection_agree():
    for x, sd in ((0.0, 0.2), (0.3, 0.25), (-0.4, 0.5), (3.0, 2.0), (8.0, 4.5), (18.0, 6.0)):
        S, K = 100.0, 100.0 * np.exp(x)
        quote = (kernel.bsm(S, K, 1.0, 0.0, 0.0, sd, 1.0)[0], S, K, 1.0, 0.0, 0.0, 1.0)
        vol, flag = kernel._patient(*quote)
        assert flag in (0, 5) and vol == pytest.approx(sd, rel=1e-11)
        distance, root, _, beta, co_beta, _ = kernel._normalized(*quote)
        assert kernel._bisected(distance, root, beta, co_beta) == pytest.approx(sd, rel=1e-11)


def test_implied_vol_unsettled_quotes_in_an_array():
    x = np.linspace(-19.0, 19.0, 77)
    sd = np.linspace(1.0, 7.0, 13)[:, None]
    columns = [np.ascontiguousarray(np.broadcast_to(c, (13, 77))).ravel() for c in (100.0, 100.0 * np.exp(x), 1.0, 0.0, 0.0, sd, np.sign(x + 1e-9))]
    price, vega, vol, flag = vols_of(columns)
    good = (flag == 0) & (columns[6] * (columns[0] - columns[1]) < 0)
    assert good.mean() > 0.6
    np.testing.assert_allclose(vol[good], columns[5][good], rtol=2e-10)
    assert not np.any(flag == 4)


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_input_that_is_not_finite_is_nan_and_flagged(position, value):
    inputs = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25, 1.0]
    inputs[position] = value
    one = [np.array([x]) for x in inputs]
    for answers in (kernel.greeks(*inputs), kernel.second_order(*inputs), by_arrays(kernel.greeks_arrays, one, 6), by_arrays(kernel.second_order_arrays, one, 3), by_arrays(kernel.bsm_arrays, one, 3)):
        assert np.isnan(answers).all()
    if position < 5:  # no vol is given to its search
        assert kernel.implied_vol(8.0, *inputs[:5], 1.0)[1] == 3


@given(**options, phi=st.sampled_from([1.0, -1.0]), width=st.floats(0.001, 0.3))
def test_bsm_convex_and_monotone_in_strike_and_spot(S, K, tau, r, q, sigma, phi, width):
    tiny = 1e-11 * max(S, K)
    low, middle, high = (kernel.bsm(S, K * k, tau, r, q, sigma, phi)[0] for k in (1 - width, 1.0, 1 + width))
    assert phi * (low - high) >= -tiny and low + high - 2 * middle >= -tiny  # a butterfly never costs less than nothing
    assert phi * (low - high) <= 2 * width * K * np.exp(-r * tau) + tiny  # nor a vertical spread more than its width
    low, middle, high = (kernel.bsm(S * k, K, tau, r, q, sigma, phi)[0] for k in (1 - width, 1.0, 1 + width))
    assert phi * (high - low) >= -tiny and low + high - 2 * middle >= -tiny


@given(**options, more=st.floats(0.001, 2))
def test_bsm_monotone_in_time_without_carry(S, K, tau, r, q, sigma, more):
    for phi in (1.0, -1.0):
        assert kernel.bsm(S, K, tau + more, 0.0, 0.0, sigma, phi)[0] >= kernel.bsm(S, K, tau, 0.0, 0.0, sigma, phi)[0] - 1e-12 * max(S, K)
    shorter, longer = (kernel.bsm(S, K, t, max(r, 0.0), 0.0, sigma, 1.0)[0] for t in (tau, tau + more))
    assert longer >= shorter - 1e-12 * max(S, K)  # a call without dividends; a deep put with interest does fall with time:
    assert kernel.bsm(50.0, 100.0, 2.0, 0.1, 0.0, 0.1, -1.0)[0] < kernel.bsm(50.0, 100.0, 1.0, 0.1, 0.0, 0.1, -1.0)[0]  # negative control


@given(**options)
def test_greeks_put_call_relations(S, K, tau, r, q, sigma):
    (c, p), (c2, p2) = ([f(S, K, tau, r, q, sigma, phi) for phi in (1.0, -1.0)] for f in (kernel.greeks, kernel.second_order))
    dq, bond = np.exp(-q * tau), K * np.exp(-r * tau)
    assert c[2] == pytest.approx(p[2], rel=1e-9, abs=1e-300) and c[3] == pytest.approx(p[3], rel=1e-9, abs=1e-300)
    assert c[4] - p[4] == pytest.approx((q * S * dq - r * bond) / 365, abs=1e-11 * max(S, K))
    assert c[5] - p[5] == pytest.approx(tau * bond, rel=1e-11)
    assert c2[0] == pytest.approx(p2[0], rel=1e-9, abs=1e-300) and c2[1] == pytest.approx(p2[1], rel=1e-9, abs=1e-300)
    assert c2[2] - p2[2] == pytest.approx(q * dq / 365, abs=1e-12)


@given(**options, phi=st.sampled_from([1.0, -1.0]))
def test_greeks_obey_the_equation_of_black_and_scholes(S, K, tau, r, q, sigma, phi):
    price, delta, gamma, vega, theta, _ = kernel.greeks(S, K, tau, r, q, sigma, phi)
    left = 365 * theta + 0.5 * sigma**2 * S**2 * gamma + (r - q) * S * delta
    assert left == pytest.approx(r * price, abs=1e-11 * max(S, K))
    assert vega == pytest.approx(S**2 * sigma * tau * gamma, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("spot", [80.0, 100.0, 120.0])
@pytest.mark.parametrize("tau, sigma", [(0.0, 0.2), (0.0, 0.0), (1.0, 0.0)])
def test_second_order_without_width_is_never_nan(spot, tau, sigma):
    for phi in (1.0, -1.0):
        vanna, volga, charm = kernel.second_order(spot, 100.0, tau, 0.0, 0.0, sigma, phi)
        assert volga == 0.0 and charm == 0.0
        assert vanna == pytest.approx(0.5 / np.sqrt(2 * np.pi) * np.sqrt(tau) if spot == 100.0 else 0.0)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_arrays_of_any_size(n):
    columns = [c[:n].copy() for c in random_book(8)]
    assert [len(x) for x in by_arrays(kernel.greeks_arrays, columns, 6)] == [n] * 6
    vol, flag = np.empty(n), np.empty(n, np.int64)
    kernel.implied_vol_arrays(by_arrays(kernel.bsm_arrays, columns, 3)[0], *columns[:5], columns[6], vol, flag)
    good = flag == 0
    np.testing.assert_allclose(vol[good], columns[5][good], rtol=1e-9)
