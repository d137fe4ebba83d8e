"""European options by Black-Scholes-Merton on arrays: price, Greeks of first and second order, and the vol behind a price.

    d1 = (ln(S / K) + (r - q + sigma**2 / 2) * tau) / (sigma * sqrt(tau)),   d2 = d1 - sigma * sqrt(tau)
    price = phi * (S * exp(-q * tau) * N(phi * d1) - K * exp(-r * tau) * N(phi * d2))
    delta = phi * exp(-q * tau) * N(phi * d1),   gamma = exp(-q * tau) * n(d1) / (S * sigma * sqrt(tau))
    vega = S * exp(-q * tau) * n(d1) * sqrt(tau),   rho = phi * tau * K * exp(-r * tau) * N(phi * d2)
    theta = -d price / d tau / 365,   vanna = d delta / d sigma,   volga = d vega / d sigma,   charm = -d delta / d tau / 365

S spot, K strike (dollars), tau years (ACT/365F), r rate, q dividend yield, sigma vol (annual decimals), phi +1 call, -1 put.
Black-76 on a forward F is S = F with q = r. vega and rho per 1.00, theta and charm per calendar day.
Sources: Black and Scholes (1973) eq. 13; Merton (1973) eq. 44; Black (1976); Haug (2007) ch. 2. Twin: the same lines with
scipy.special.ndtr. Only one density is computed, since S exp(-q tau) n(d1) = K exp(-r tau) n(d2). The loops run
branch-free over all options; where that gives NaN, one at a time looks for the limit.

Implied vol solves b(s) = beta for s = sigma * sqrt(tau), where b is the out-of-the-money price over sqrt(S exp(-q tau) K exp(-r tau)).
Start: below the inflection point the Bachelier price inverted by a rational function (7.6e-5), above it the straddle at the money. Then two Householder steps of order four on ln b below and ln(b_max - b) above the inflection point,
as Jaeckel (2015, "Let's be rational") transforms his objective; the few quotes that are still moving then are solved one by one.
"""
import math

import numba

from ._jit import kernel
from .elementary import INV_SQRT_2PI, SQRT2, as_float, as_int, exp, expm1, log, log_ratio, mills, npdf

DAYS = 365.0  # calendar days of a year, ACT/365F
SQRT_2PI = math.sqrt(2.0 * math.pi)
EPS = 2.0**-52
POWER = 0x7FF0000000000000  # the bits of a float64 that hold its power of two
DIGITS = 1e-10  # vol; where the price's own rounding moves the vol by more, status 5
MORE_STEPS = 8
NEAR = 1e-4  # relative size of the last step; a larger one sends the quote to the patient solver


@kernel(forceinline=True)
def _values(S, tau, r, q, sigma, phi, dq, forward, present, sq, sd, isd, e):
    """All nine from e = x / sd, where x is the log of forward over present value of the strike; isd = 1 / sd."""
    d1, d2 = e + 0.5 * sd, e - 0.5 * sd
    density = INV_SQRT_2PI * exp(-0.5 * d1 * d1)
    weighted = forward * density  # S exp(-q tau) n(d1) = K exp(-r tau) n(d2)
    tail1, tail2 = density * mills(abs(d1)), weighted * mills(abs(d2))
    inside = 1.0 - tail1 if phi * d1 > 0.0 else tail1
    paid = present - tail2 if phi * d2 > 0.0 else tail2  # K exp(-r tau) N(phi d2)
    held = forward * inside
    price, floor = phi * (held - paid), phi * (forward - present)
    price = floor if price < floor else price  # rounding may end a hair below the bounds
    price = 0.0 if price < 0.0 else price
    delta = phi * dq * inside
    gamma = dq * density * isd / S
    vega = weighted * sq
    theta = (phi * (q * held - r * paid) - 0.5 * weighted * (sigma * sigma * isd)) * (1.0 / DAYS)
    rho = phi * tau * paid
    lean = d2 / sigma
    vanna = -dq * density * lean
    volga = vega * d1 * lean
    charm = (q * delta - dq * density * ((r - q) * isd - 0.5 * d2 / tau)) * (1.0 / DAYS)
    return price, delta, gamma, vega, theta, rho, vanna, volga, charm


@kernel(forceinline=True)
def _regular(S, K, tau, r, q, sigma, phi):
    """`_values` for the many; a NaN price for a missing or negative input, a zero, or no width, which `_any` knows how to treat."""
    dq = exp(-q * tau)
    sq = math.sqrt(tau)
    sd = sigma * sq
    sd = (sd if sd > 0.0 else math.nan) + 0.0 * (phi + tau + r + q)  # what is not finite makes NaN
    isd = 1.0 / sd
    return _values(S, tau, r, q, sigma, phi, dq, S * dq, K * exp(-r * tau), sq, sd, isd, (log_ratio(S, K) + (r - q) * tau) * isd)


@kernel(forceinline=True)
def _any(S, K, tau, r, q, sigma, phi):
    """All nine of one option, the limits included."""
    dq, sq = exp(-q * tau), math.sqrt(tau)
    forward, present, sd = S * dq, K * exp(-r * tau), sigma * sq
    if not (S >= 0.0 and K >= 0.0 and 0.0 <= tau < math.inf and 0.0 <= sigma < math.inf and r - r == 0.0 and q - q == 0.0 and phi == phi):
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
    x = log_ratio(S, K) + (r - q) * tau if S > 0.0 and K > 0.0 else (0.0 if S == K else (math.inf if S > K else -math.inf))
    if sd > 0.0 and x - x == 0.0:
        return _values(S, tau, r, q, sigma, phi, dq, forward, present, sq, sd, 1.0 / sd, x / sd)
    if x != x:  # spot or strike infinite, or below the smallest normal number
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
    side = 0.5 if x == 0.0 else (1.0 if phi * x > 0.0 else 0.0)  # N(phi d1) and N(phi d2) without width, or without spot or strike
    price, delta = side * phi * (forward - present) if side == 1.0 else 0.0, phi * dq * side
    middle = INV_SQRT_2PI * dq if side == 0.5 else 0.0
    theta = phi * side * (q * forward - r * present) / DAYS
    return price, delta, 0.0, S * middle * sq, theta, phi * tau * side * present, 0.5 * middle * sq, 0.0, q * delta / DAYS


@kernel(forceinline=True)
def bsm(S, K, tau, r, q, sigma, phi):
    """Price, delta and vega of one option.

    Notes
    -----
    Anything that is not finite, or a negative S, K, tau or sigma, gives NaN in all. Where sigma * sqrt(tau) is 0 the limits are exact:
    discounted intrinsic value, delta phi * exp(-q * tau) in the money, half of it at the money, 0 outside; vega is 0
    except at the money with tau > 0, where it is S * exp(-q * tau) * sqrt(tau / (2 * pi)).
    """
    price, delta, _, vega, _, _, _, _, _ = _any(S, K, tau, r, q, sigma, phi)
    return price, delta, vega


@kernel(forceinline=True)
def greeks(S, K, tau, r, q, sigma, phi):
    """Price, delta, gamma, vega, theta and rho of one option.

    Notes
    -----
    As `bsm`. Without width (sigma * sqrt(tau) = 0) gamma is 0 and theta what carry alone earns. At the money, where delta jumps and neither
    has a limit, that is the middle of both sides: delta and theta half of theirs, gamma 0, so that sums over a book stay finite.
    """
    price, delta, gamma, vega, theta, rho, _, _, _ = _any(S, K, tau, r, q, sigma, phi)
    return price, delta, gamma, vega, theta, rho


@kernel(forceinline=True)
def second_order(S, K, tau, r, q, sigma, phi):
    """Vanna, volga and charm of one option; without width charm is what carry alone does to delta, volga 0, vanna its limit."""
    _, _, _, _, _, _, vanna, volga, charm = _any(S, K, tau, r, q, sigma, phi)
    return vanna, volga, charm


@kernel
def _mend_bsm(S, K, tau, r, q, sigma, phi, price, delta, vega):
    for i in range(S.size):
        if price[i] != price[i]:
            price[i], delta[i], vega[i] = bsm(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])


@kernel
def bsm_arrays(S, K, tau, r, q, sigma, phi, price, delta, vega):
    """`bsm` over float64 arrays of one length; the last three are written."""
    odd = 0
    for i in range(S.size):
        value, delta[i], _, vega[i], _, _, _, _, _ = _regular(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])
        price[i] = value
        odd += value != value
    if odd:
        _mend_bsm(S, K, tau, r, q, sigma, phi, price, delta, vega)


@kernel
def _mend_greeks(S, K, tau, r, q, sigma, phi, price, delta, gamma, vega, theta, rho):
    for i in range(S.size):
        if price[i] != price[i]:
            price[i], delta[i], gamma[i], vega[i], theta[i], rho[i] = greeks(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])


@kernel
def greeks_arrays(S, K, tau, r, q, sigma, phi, price, delta, gamma, vega, theta, rho):
    """`greeks` over float64 arrays of one length; the last six are written."""
    odd = 0
    for i in range(S.size):
        value, delta[i], gamma[i], vega[i], theta[i], rho[i], _, _, _ = _regular(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])
        price[i] = value
        odd += value != value
    if odd:
        _mend_greeks(S, K, tau, r, q, sigma, phi, price, delta, gamma, vega, theta, rho)


@kernel(parallel=True)
def greeks_parallel(S, K, tau, r, q, sigma, phi, price, delta, gamma, vega, theta, rho):
    """`greeks_arrays` on all threads; pays from some thousand options."""
    odd = 0
    for i in numba.prange(S.size):
        value, delta[i], gamma[i], vega[i], theta[i], rho[i], _, _, _ = _regular(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])
        price[i] = value
        odd += value != value
    if odd:
        _mend_greeks(S, K, tau, r, q, sigma, phi, price, delta, gamma, vega, theta, rho)


@kernel
def second_order_arrays(S, K, tau, r, q, sigma, phi, vanna, volga, charm):
    """`second_order` over float64 arrays of one length; the last three are written."""
    odd = 0
    for i in range(S.size):
        _, _, _, _, _, _, value, volga[i], charm[i] = _regular(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])
        vanna[i] = value
        odd += value != value
    if odd:
        for i in range(S.size):
            if vanna[i] != vanna[i]:
                vanna[i], volga[i], charm[i] = second_order(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])


@kernel(forceinline=True)
def _is_low(x, root, beta):
    """Is beta below about b at the inflection point s = sqrt(2 x)?"""
    c = math.sqrt(x + x)
    return beta * (0.7978845608 + 0.6366197724 * c) < 0.3183098862 * c * root


@kernel(forceinline=True)
def _start(x, root, beta, co_beta, low):
    """First guess of s: within 0.5 % for s below 1 and three standard deviations, within 60 % to |x| = 5."""
    top_of_b = 1.0 / root
    m = top_of_b - root
    high = (not low) & (beta > 0.5 * root)
    w = -log(co_beta / (root + top_of_b) if high else beta / (beta + m))
    h = math.sqrt(w)
    t = SQRT2 * h  # Abramowitz and Stegun 26.2.23: the quantile of the straddle
    t_top, t_bottom = 2.515517 + t * (0.802853 + t * 0.010328), 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    top = INV_SQRT_2PI + h * (0.02804651105310568 + h * (0.040719948355507345 + h * (0.01344237078392681 + h * 0.007342047282952157)))
    bottom = 1.0 + h * (0.07079430528900614 + h * (0.09764990720504703 + h * (0.04512024950646469 + h * (0.010355838945980848 + h * 0.00517964475483189))))
    s = (2.0 * (t * t_bottom - t_top) if high else x * bottom) / (t_bottom if high else w * top)
    s = SQRT_2PI * beta if (m <= 1e-9 * beta) & (not high) else s
    return s if high else s * (1.0 + s * s * (1.0 / 24.0))  # from Bachelier's vol to Black's


@kernel(forceinline=True)
def _normal_price(x, root, s):
    """b, b_max - b and b' at s, each without cancellation on its own side of the inflection point."""
    ratio = x / s
    d1 = 0.5 * s - ratio
    slope = root * npdf(d1)
    m1, m2 = mills(abs(d1)), mills(0.5 * s + ratio)
    below, above = slope * (m1 - m2), slope * (m1 + m2)
    return (root - above if d1 > 0.0 else below), (above if d1 > 0.0 else root - below), slope


@kernel(forceinline=True)
def _householder(x, root, beta, co_beta, low, s):
    """One step of order four, and b' at s."""
    b, co_b, slope = _normal_price(x, root, s)
    value = b if low else co_b
    rate = (slope if low else -slope) / value
    newton = log_ratio(beta if low else co_beta, value) / rate
    inverse = 1.0 / s
    square = (x * inverse) * (x * inverse)
    bend = square * inverse - 0.25 * s
    h2 = bend - rate
    h3 = bend * bend - 3.0 * square * inverse * inverse - 0.25 - 3.0 * bend * rate + 2.0 * rate * rate
    return newton * (1.0 + 0.5 * h2 * newton) / (1.0 + newton * (h2 + h3 * newton * (1.0 / 6.0))), slope


@kernel(forceinline=True)
def _normalized(target, S, K, tau, r, q, phi):
    """x, sqrt ratio, scale, beta, co_beta, status of a quote; beta + co_beta = root."""
    more, less = S * expm1(-q * tau), K * expm1(-r * tau)
    forward, present = S + more, K + less
    gain = phi * (S - K) + phi * (more - less)
    whole = (target - phi * (S - K)) - phi * (more - less)  # target - gain, rounded on the small differences alone
    above, below = whole if gain > 0.0 else target, (forward if phi > 0.0 else present) - target
    x = abs(log_ratio(S, K) + (r - q) * tau)
    root = exp(-0.5 * x)
    scale = (forward if forward > present else present) * root
    usable = (S > 0.0) & (K > 0.0) & (tau > 0.0) & (phi == phi) & (above == above) & (x - x == 0.0)
    status = 0 if (above > 0.0) & (below > 0.0) else (2 if above > 0.0 else 1)
    return x, root, scale, above / scale, below / scale, (status if usable else 3)


@kernel(forceinline=True)
def _is_rounding(target, vega):
    """Does the spacing of float64 at this price move the vol by more than `DIGITS`?"""
    return as_float(as_int(target) & POWER) * EPS > DIGITS * vega


@kernel(forceinline=True)
def _vol(target, S, K, tau, r, q, phi):
    """Vol and status without any branch; 4 where the steps did not settle."""
    x, root, scale, beta, co_beta, status = _normalized(target, S, K, tau, r, q, phi)
    low = _is_low(x, root, beta)
    s = _start(x, root, beta, co_beta, low)
    step, _ = _householder(x, root, beta, co_beta, low, s)
    s = s + step
    step, slope = _householder(x, root, beta, co_beta, low, s)
    s = s + step
    sq = math.sqrt(tau)
    settled = (abs(step) < NEAR * s) & (s > 0.0)
    found = (5 if _is_rounding(target, scale * slope * sq) else 0) if settled else 4
    status = found if status == 0 else status
    return (s / sq if (status == 0) | (status == 5) else math.nan), status


@kernel
def _bisected(x, root, beta, co_beta):
    """s by bisection, from the price alone; NaN where none up to 256 is found."""
    low, high = 0.0, 1.0
    while _normal_price(x, root, high)[1] > co_beta:
        low, high = high, 2.0 * high
        if high > 256.0:
            return math.nan
    while high - low > EPS * high:
        s = 0.5 * (low + high)
        if s <= low or s >= high:
            break
        b, co_b, _ = _normal_price(x, root, s)
        if (b < beta) if beta < co_beta else (co_b > co_beta):
            low = s
        else:
            high = s
    return high


@kernel
def _patient(target, S, K, tau, r, q, phi):
    """Vol and status of the rare quote that two steps leave unsettled: more steps, then bisection; NaN and 4 where both fail."""
    x, root, scale, beta, co_beta, status = _normalized(target, S, K, tau, r, q, phi)
    if status != 0:
        return math.nan, status
    low, sq = _is_low(x, root, beta), math.sqrt(tau)
    s, settled = _start(x, root, beta, co_beta, low), False
    for _ in range(MORE_STEPS):
        step, slope = _householder(x, root, beta, co_beta, low, s)
        s += step
        if not s > 0.0:
            break
        settled = abs(step) < NEAR * s
        if settled:
            break
    if not settled:
        s = _bisected(x, root, beta, co_beta)
        slope = _normal_price(x, root, s)[2]
    if s != s:
        return math.nan, 4
    return s / sq, 5 if _is_rounding(target, scale * slope * sq) else 0


@kernel
def implied_vol(target, S, K, tau, r, q, phi):
    """The vol at which `bsm` gives the price `target` (dollars), and 0; or NaN and why.

    Notes
    -----
    Status 1: at or below discounted intrinsic value. 2: at or above the upper bound (S exp(-q tau) for a call,
    K exp(-r tau) for a put). 3: NaN, infinite or negative input, or tau 0. 4: no convergence. 5: the vol is given, but rounding
    of the price in float64 moves it by more than 1e-10 (deep in the money, where vega is lost beside intrinsic value).
    """
    vol, status = _vol(target, S, K, tau, r, q, phi)
    return _patient(target, S, K, tau, r, q, phi) if status == 4 else (vol, status)


@kernel
def _settle(target, S, K, tau, r, q, phi, vol, status):
    for i in range(target.size):
        if status[i] == 4:
            vol[i], status[i] = _patient(target[i], S[i], K[i], tau[i], r[i], q[i], phi[i])


@kernel
def implied_vol_arrays(target, S, K, tau, r, q, phi, vol, status):
    """`implied_vol` over arrays of one length; `vol` (float64) and `status` (int64) are written."""
    moving = 0
    for i in range(target.size):
        vol[i], found = _vol(target[i], S[i], K[i], tau[i], r[i], q[i], phi[i])
        status[i] = found
        moving += found == 4
    if moving:
        _settle(target, S, K, tau, r, q, phi, vol, status)


@kernel(parallel=True)
def implied_vol_parallel(target, S, K, tau, r, q, phi, vol, status):
    """`implied_vol_arrays` on all threads, of each `target`; pays from some thousand quotes."""
    moving = 0
    for i in numba.prange(target.size):
        vol[i], found = _vol(target[i], S[i], K[i], tau[i], r[i], q[i], phi[i])
        status[i] = found
        moving += found == 4
    if moving:
        _settle(target, S, K, tau, r, q, phi, vol, status)
