"""American and European options on a binomial tree, with cash dividends: slow, obvious, the reference of the other engines.

    u = exp(sigma * sqrt(dt)), d = 1 / u, p = (exp((r - q) * dt) - d) / (u - d)            Cox, Ross and Rubinstein (1979)
    p = h(d2), pd = h(d1), u = exp((r - q) * dt) * pd / p, d = ... * (1 - pd) / (1 - p)    Leisen and Reimer (1996), h Peizer-Pratt 2, odd steps
    value = max(exercise, exp(-r * dt) * (p * up + (1 - p) * down))

Cash dividends are escrowed: the tree carries the spot less the present value of the dividends to come before expiry, and
exercise at time t pays on the tree's spot plus the value at t of the dividends after t. An American value is held to its bounds: at least
that of exercise now and the European one on the escrowed spot, and without dividends at most the perpetual one.
S, K dollars, tau years, r, q, sigma annual decimals, phi +1 call, -1 put. Twin: QuantLib BinomialVanillaEngine "crr", "lr".
"""
import math

import numpy as np

from ._jit import kernel
from .options import bsm
from .perpetual import ceiling


@kernel
def _peizer_pratt(z, n):
    """Binomial probability of a standard normal quantile z over an odd number n of steps (Peizer and Pratt 1968, method 2)."""
    x = z / (n + 1.0 / 3.0 + 0.1 / (n + 1.0))
    root = 0.5 * math.sqrt(1.0 - math.exp(-x * x * (n + 1.0 / 6.0)))
    return 0.5 + root if z > 0.0 else 0.5 - root


@kernel
def _moves(S, K, tau, r, q, sigma, steps, smooth):
    """Up factor, down factor and probability of up; `smooth` takes Leisen and Reimer's."""
    dt = tau / steps
    growth = math.exp((r - q) * dt)
    if not smooth:
        up = math.exp(sigma * math.sqrt(dt))
        return up, 1.0 / up, (growth - 1.0 / up) / (up - 1.0 / up)
    sd = sigma * math.sqrt(tau)
    d1 = (math.log(S / K) + (r - q) * tau) / sd + 0.5 * sd
    p, pd = _peizer_pratt(d1 - sd, steps), _peizer_pratt(d1, steps)
    return growth * pd / p, growth * (1.0 - pd) / (1.0 - p), p


@kernel
def _within_bounds(value, S, K, net, tau, r, q, sigma, phi):
    """The American value of a tree whose steps may have carried it beyond what is possible."""
    if net == S:
        value = min(value, max(ceiling(S, K, tau, r, q, sigma, phi), 0.0))
    return max(value, phi * (S - K), bsm(net, K, tau, r, q, sigma, phi)[0])


@kernel
def binomial(S, K, tau, r, q, sigma, phi, steps, american, smooth, times, amounts):
    """Value of one option on a tree of `steps`.

    Parameters
    ----------
    american, smooth : bool
        Early exercise; Leisen-Reimer (odd steps) instead of Cox-Ross-Rubinstein.
    times, amounts : float64 arrays of one length
        Years from now and dollars of the cash dividends; those after tau do not count.

    Notes
    -----
    NaN where the tree cannot be built: any NaN, S or K not above 0, a negative tau or sigma, dividends worth more than the spot, more than float64 holds at a node, or a
    probability outside 0..1 (too few steps for the drift at this vol). tau or sigma so small that sigma * sqrt(tau) is 0 is NaN too.
    """
    net = S
    for k in range(times.size):
        if 0.0 < times[k] <= tau:
            net -= amounts[k] * math.exp(-r * times[k])
    if not (net > 0.0 and K > 0.0 and tau > 0.0 and sigma > 0.0 and r == r and q == q and phi == phi):
        return math.nan
    up, down, p = _moves(net, K, tau, r, q, sigma, steps, smooth)
    if not 0.0 < p < 1.0:
        return math.nan
    dt = tau / steps
    pu, pd = math.exp(-r * dt) * p, math.exp(-r * dt) * (1.0 - p)
    ratio = up / down
    value, spot = np.empty(steps + 1), np.empty(steps + 1)
    x = net * down**steps
    for j in range(steps + 1):
        spot[j] = x
        gain = phi * (x - K)
        value[j] = gain if gain > 0.0 else 0.0
        x *= ratio
    for i in range(steps - 1, -1, -1):
        later = 0.0
        for k in range(times.size):
            if i * dt < times[k] <= tau:
                later += amounts[k] * math.exp(-r * (times[k] - i * dt))
        for j in range(i + 1):
            value[j] = pu * value[j + 1] + pd * value[j]
        if american:
            for j in range(i + 1):
                spot[j] /= down
                gain = phi * (spot[j] + later - K)
                value[j] = gain if gain > value[j] else value[j]
    if not value[0] < math.inf:
        return math.nan
    return _within_bounds(value[0], S, K, net, tau, r, q, sigma, phi) if american else value[0]


@kernel
def binomial_arrays(S, K, tau, r, q, sigma, phi, steps, american, smooth, times, amounts, price):
    """`binomial` over float64 arrays of one length with one dividend schedule; `price` is written."""
    for i in range(S.size):
        price[i] = binomial(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i], steps, american, smooth, times, amounts)
