"""Weights by risk alone: equal (or budgeted) risk contributions, and recursive bisection of an ordered tree.

    minimize 1/2 x'Sx - sum b_i ln x_i     has x_i (Sx)_i = b_i, and the weights are x / sum x

Sources: Spinu (2013), the convex form; Griveau-Billion, Richard and Roncalli (2013), cyclical coordinate descent, each step the
positive root of S_ii x_i^2 + (Sx - S_ii x_i)_i x_i - b_i. Bisection: Lopez de Prado (2016), Journal of Portfolio Management 42,
section "recursive bisection". Twins: SciPy's minimize on the same form; plain recursion.
"""
import math

import numpy as np

from ._jit import kernel

MAX_SWEEPS = 10_000
SETTLED = 5e-9  # of the smallest budget, by which a contribution may miss its own
ROUNDING = 1e-13  # of the whole risk: nothing is asked for below it


@kernel
def contributions(s, x, out):
    """Shares of the variance x'Sx by asset; returns the variance."""
    n, total = len(x), 0.0
    out[:] = 0.0
    for i in range(n):
        if x[i] != 0.0:
            for j in range(n):
                out[j] += x[i] * s[i, j]
    for i in range(n):
        out[i] *= x[i]
        total += out[i]
    for i in range(n):
        out[i] /= total
    return total


@kernel
def budgeted(s, b):
    """Weights (n,), summing to 1, whose shares of the variance are b (n,), summing to 1; what misses at most; sweeps."""
    n = len(b)
    x, sx, share = np.zeros(n), np.zeros(n), np.empty(n)
    for i in range(n):
        x[i] = math.sqrt(b[i] / s[i, i]) if b[i] > 0.0 else 0.0
    scale = math.sqrt(contributions(s, x, share))
    for i in range(n):
        x[i] /= scale
        for j in range(n):
            sx[j] += x[i] * s[i, j]
    missing, settled = np.inf, 1.0
    for i in range(n):
        if b[i] > 0.0:
            settled = min(settled, b[i])
    settled = max(SETTLED * settled, ROUNDING)
    for sweep in range(MAX_SWEEPS):
        for i in range(n):
            if b[i] > 0.0:
                others = sx[i] - s[i, i] * x[i]
                root = math.sqrt(others * others + 4.0 * s[i, i] * b[i])
                new = (root - others) / (2.0 * s[i, i]) if others <= 0.0 else 2.0 * b[i] / (others + root)
                change = new - x[i]
                x[i] = new
                line = s[i]
                for j in range(n):
                    sx[j] += change * line[j]
        total = worst = 0.0
        for i in range(n):
            total += x[i] * sx[i]
        for i in range(n):
            worst = max(worst, abs(x[i] * sx[i] / total - b[i]))
        if worst <= settled or sweep > 50 and worst >= missing and worst < 1e-9:
            break
        missing = min(missing, worst)
    total = x.sum()
    for i in range(n):
        x[i] /= total
    contributions(s, x, share)
    worst = 0.0
    for i in range(n):
        worst = max(worst, abs(share[i] - b[i]))
    return x, worst, sweep + 1


@kernel
def _cluster_variance(s, order, start, stop):
    """Variance of the inverse-variance portfolio of order[start:stop]."""
    whole = total = 0.0
    for i in range(start, stop):
        whole += 1.0 / s[order[i], order[i]]
    for i in range(start, stop):
        a = order[i]
        wa = 1.0 / s[a, a] / whole
        total += wa * wa * s[a, a]
        for j in range(start, i):
            c = order[j]
            total += 2.0 * wa * (1.0 / s[c, c] / whole) * s[a, c]
    return total


@kernel
def bisected(s, order):
    """Weights (n,) of hierarchical risk parity for the leaves in their order."""
    n = len(order)
    w = np.ones(n)
    starts, stops, top = np.empty(n + 1, dtype=np.int64), np.empty(n + 1, dtype=np.int64), 0
    starts[0], stops[0] = 0, n
    while top >= 0:
        start, stop = starts[top], stops[top]
        top -= 1
        if stop - start < 2:
            continue
        middle = start + (stop - start) // 2
        left, right = _cluster_variance(s, order, start, middle), _cluster_variance(s, order, middle, stop)
        share = 1.0 - left / (left + right)
        for i in range(start, stop):
            w[order[i]] *= share if i < middle else 1.0 - share
        top += 1
        starts[top], stops[top] = start, middle
        top += 1
        starts[top], stops[top] = middle, stop
    return w
