"""European options by Black-Scholes-Merton: price, delta and vega on arrays, and the vol behind a price.

    d1 = (ln(S / K) + (r - q + sigma**2 / 2) * tau) / (sigma * sqrt(tau)),   d2 = d1 - sigma * sqrt(tau)
    price = phi * (S * exp(-q * tau) * N(phi * d1) - K * exp(-r * tau) * N(phi * d2))
    delta = phi * exp(-q * tau) * N(phi * d1),   vega = S * exp(-q * tau) * n(d1) * sqrt(tau)

S spot, K strike (dollars), tau years (ACT/365F), r rate, q dividend yield, sigma vol (annual decimals), phi +1 call, -1 put.
Sources: Black and Scholes (1973) eq. 13; Merton (1973) eq. 44. Twin: the same lines with scipy.special.ndtr.
"""
import math

from ._jit import kernel

SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
MAX_VOL = 64.0  # annual decimal; beyond it a price says nothing about vol
MAX_STEPS = 200  # bisection alone needs about 60 from the widest bracket


@kernel
def _n_cdf(x):
    return 0.5 * math.erfc(-x * SQRT_HALF)


@kernel
def bsm(S, K, tau, r, q, sigma, phi):
    """Price, delta and vega of one option.

    Notes
    -----
    Any NaN, or a negative S, K, tau or sigma, gives three NaN. Where sigma * sqrt(tau) is 0 the limits are exact:
    discounted intrinsic value, delta phi * exp(-q * tau) in the money, half of it at the money, 0 outside; vega is 0
    except at the money with tau > 0, where it is S * exp(-q * tau) * sqrt(tau / (2 * pi)).
    """
    if not (S >= 0.0 and K >= 0.0 and tau >= 0.0 and sigma >= 0.0 and r == r and q == q and phi == phi):
        return math.nan, math.nan, math.nan
    dq, forward, present = math.exp(-q * tau), S * math.exp(-q * tau), K * math.exp(-r * tau)
    sd = sigma * math.sqrt(tau)
    if sd == 0.0 or forward == 0.0 or present == 0.0:
        gain = phi * (forward - present)
        if gain > 0.0:
            return gain, phi * dq, 0.0
        if gain < 0.0:
            return 0.0, 0.0, 0.0
        return 0.0, 0.5 * phi * dq, forward * INV_SQRT_2PI * math.sqrt(tau)
    d1 = math.log(forward / present) / sd + 0.5 * sd
    inside = _n_cdf(phi * d1)
    price = phi * (forward * inside - present * _n_cdf(phi * (d1 - sd)))
    floor = phi * (forward - present)  # rounding may end a hair below the bounds
    price = floor if price < floor else price
    return 0.0 if price < 0.0 else price, phi * dq * inside, forward * INV_SQRT_2PI * math.exp(-0.5 * d1 * d1) * math.sqrt(tau)


@kernel
def bsm_arrays(S, K, tau, r, q, sigma, phi, price, delta, vega):
    """`bsm` over float64 arrays of one length; the last three are written."""
    for i in range(S.size):
        price[i], delta[i], vega[i] = bsm(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])


@kernel
def implied_vol(target, S, K, tau, r, q, phi):
    """The vol at which `bsm` gives `target`, and 0; or NaN and why.

    Notes
    -----
    Status 1: at or below discounted intrinsic value. 2: at or above the upper bound (S exp(-q tau) for a call,
    K exp(-r tau) for a put). 3: NaN or negative input, or tau 0. 4: no vol up to MAX_VOL, or no convergence.
    Newton steps inside a bracket; where one leaves it, or did not halve it, the next step is a bisection.
    """
    if not (target == target and S > 0.0 and K > 0.0 and tau > 0.0 and r == r and q == q and phi == phi):
        return math.nan, 3
    forward, present = S * math.exp(-q * tau), K * math.exp(-r * tau)
    gain = phi * (forward - present)
    if target <= (gain if gain > 0.0 else 0.0):
        return math.nan, 1
    if target >= (forward if phi > 0.0 else present):
        return math.nan, 2
    low, high = 0.0, 1.0
    while bsm(S, K, tau, r, q, high, phi)[0] < target:
        low, high = high, 2.0 * high
        if high > MAX_VOL:
            return math.nan, 4
    vol, width = 0.5 * (low + high), 2.0 * (high - low)
    for _ in range(MAX_STEPS):
        price, _delta, vega = bsm(S, K, tau, r, q, vol, phi)
        if price == target:
            return vol, 0
        if price < target:
            low = vol
        else:
            high = vol
        if high - low <= 4e-16 * high:
            return vol, 0
        step = vol + (target - price) / vega if vega > 0.0 else low
        nxt = step if low < step < high and high - low <= 0.5 * width else 0.5 * (low + high)
        width = high - low
        if abs(nxt - vol) <= 2e-16 * vol:
            return nxt, 0
        vol = nxt
    return math.nan, 4


@kernel
def implied_vol_arrays(target, S, K, tau, r, q, phi, vol, status):
    """`implied_vol` over arrays of one length; `vol` (float64) and `status` (int64) are written."""
    for i in range(target.size):
        vol[i], status[i] = implied_vol(target[i], S[i], K[i], tau[i], r[i], q[i], phi[i])
