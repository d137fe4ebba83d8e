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
    else:  # only a price that rounding put on a bound has no vol
        assert status in (1, 2) and vega < 1e-6 * max(S, K)


def test_implied_vol_statuses():
    assert [kernel.implied_vol(p, 100.0, 90.0, 0.5, 0.0, 0.0, 1.0)[1] for p in (9.0, 10.0, 11.0, 100.0, np.nan)] == [1, 1, 0, 2, 3]
    assert kernel.implied_vol(5.0, 100.0, 90.0, 0.0, 0.0, 0.0, 1.0)[1] == 3
