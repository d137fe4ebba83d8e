"""Gatheral's raw SVI through the vols of one expiry: weighted least squares within bounds.

    w(k) = a + b (rho (k - m) + sqrt((k - m)**2 + s**2)),   misses = (sqrt(max(w, LEAST) / tau) - vol) * weight

Gatheral (2004), "A parsimonious arbitrage-free implied volatility parameterization". Levenberg-Marquardt with Marquardt's scaling; a parameter at a
bound that the slope pushes outward is held, steps are cut off at the bounds. Twin: scipy.optimize.least_squares(method="trf").
"""
import math

import numpy as np

from ._jit import kernel

LEAST = 1e-10  # total variance below which the square root has no slope
MAX_STEPS = 200
SETTLED = 1e-10  # relative fall of the cost that ends the search
DAMPING, EASIER, HARDER, HOPELESS = 1e-3, 0.2, 4.0, 1e12  # first damping, its change after a good and a bad step, and its end


@kernel
def _misses(p, k, vol, weight, tau, miss):
    """Misses of all quotes and half the sum of their squares."""
    cost = 0.0
    for i in range(k.size):
        x = k[i] - p[3]
        w = p[0] + p[1] * (p[2] * x + math.sqrt(x * x + p[4] * p[4]))
        miss[i] = (math.sqrt(max(w, LEAST) / tau) - vol[i]) * weight[i]
        cost += 0.5 * miss[i] * miss[i]
    return cost


@kernel
def _slopes(p, k, weight, tau, miss, A, g):
    """A = J'J and g = J' miss of the misses."""
    A[:] = 0.0
    g[:] = 0.0
    d = np.empty(5)
    for i in range(k.size):
        x = k[i] - p[3]
        root = math.sqrt(x * x + p[4] * p[4])
        w = p[0] + p[1] * (p[2] * x + root)
        if w <= LEAST:
            continue
        u = 0.5 * weight[i] / math.sqrt(w * tau)
        d[0], d[1], d[2], d[3], d[4] = u, u * (p[2] * x + root), u * p[1] * x, -u * p[1] * (p[2] + x / root), u * p[1] * p[4] / root
        for a in range(5):
            g[a] += d[a] * miss[i]
            for b in range(a + 1):
                A[a, b] += d[a] * d[b]


@kernel
def _step(A, g, held, damping, L, d):
    """Solve (A + damping diag(A)) d = -g over the parameters that are not held, by Cholesky."""
    for a in range(5):
        for b in range(a + 1):
            L[a, b] = 0.0 if held[a] or held[b] else A[a, b]
        L[a, a] = 1.0 if held[a] else A[a, a] * (1.0 + damping) + 1e-300
        d[a] = 0.0 if held[a] else -g[a]
    for a in range(5):
        for b in range(a + 1):
            total = L[a, b]
            for c in range(b):
                total -= L[a, c] * L[b, c]
            L[a, b] = math.sqrt(max(total, 1e-300)) if a == b else total / L[b, b]
        for c in range(a):
            d[a] -= L[a, c] * d[c]
        d[a] /= L[a, a]
    for r in range(5):
        a = 4 - r
        for c in range(a + 1, 5):
            d[a] -= L[c, a] * d[c]
        d[a] /= L[a, a]


@kernel
def svi(k, vol, weight, tau, low, high, p):
    """Fit the five parameters a, b, rho, m, s from `p` on, which is written.

    Parameters
    ----------
    k, vol, weight : (n,) float64, ln(strike / forward), annual vol, weight of each miss
    tau : years
    low, high : (5,) float64, bounds
    p : (5,) float64, start inside the bounds, and the answer

    Returns
    -------
    cost : half the sum of the squared misses
    steps : evaluations of the misses; MAX_STEPS when not settled
    """
    miss, trial_miss, trial = np.empty(k.size), np.empty(k.size), np.empty(5)
    A, L, g, d, held = np.empty((5, 5)), np.empty((5, 5)), np.empty(5), np.empty(5), np.empty(5, dtype=np.bool_)
    cost, damping = _misses(p, k, vol, weight, tau, miss), DAMPING
    _slopes(p, k, weight, tau, miss, A, g)
    for step in range(MAX_STEPS):
        for a in range(5):
            held[a] = (p[a] <= low[a] and g[a] > 0.0) or (p[a] >= high[a] and g[a] < 0.0)
        _step(A, g, held, damping, L, d)
        for a in range(5):
            trial[a] = min(max(p[a] + d[a], low[a]), high[a])
        new = _misses(trial, k, vol, weight, tau, trial_miss)
        if new < cost:
            fall = cost - new
            p[:], miss[:], cost, damping = trial, trial_miss, new, damping * EASIER
            if fall <= SETTLED * cost:
                return cost, step + 1
            _slopes(p, k, weight, tau, miss, A, g)
        else:
            damping *= HARDER
            if damping > HOPELESS:
                return cost, step + 1
    return cost, MAX_STEPS
