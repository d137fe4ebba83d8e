"""The fraction of wealth that grows fastest: one bet from its returns, many assets at once, and Vince's optimal f.

    f* = argmax mean(log(1 + f * r)),   f in [0, -1 / min(r))
    w* = argmax mean(log(1 + w @ R)),   0 <= w <= upper, sum(w) <= gross
    optimal f = -min(trades) * f*(trades)

Sources: Kelly (1956), Bell System Technical Journal 35, eq. 3; Breiman (1961); Vince (1992), The Mathematics of Money
Management. One bet: Halley's method (third order) on the derivative inside a bracket, begun from four moments. Many assets:
an active set of weights at their bounds, Newton's method on the others. Twins: SciPy's brentq on the derivative; cvxpy.
"""
import math

import numpy as np

from ._jit import kernel
from .elementary import dot

OK, UNBOUNDED, NOT_FINITE, NO_CONVERGENCE = range(4)  # status
MAX_STEPS = 100  # bisection alone needs about 60
CLOSE = 1e-5  # relative step after which a third-order method is exact to rounding
MAX_PIVOTS = 40  # working sets per asset
RIDGE = 1e-10  # of the largest curvature, for assets that are copies of each other
SHARE = 0.8  # of the greatest pull: so near to it, other weights are freed with it
ENOUGH = 0.1  # of the slope at the start of a line
EARLY = 2.0  # a pull so many times the residual frees a weight before the others have settled
KKT = 1e-10  # of the largest mean return: a smaller pull leaves a weight at its bound
SETTLED = 1e-4  # of the largest mean return: from here on full steps, and the gap is looked at
GAP = 1e-9  # of the largest mean return times gross


@kernel(reassoc=True)
def _moments(r):
    s1 = s2 = s3 = s4 = 0.0
    for i in range(r.size):
        square = r[i] * r[i]
        s1 += r[i]
        s2 += square
        s3 += square * r[i]
        s4 += square * square
    return s1, s2, s3, s4


@kernel(reassoc=True)
def _slopes(r, f):
    """First three power sums of r / (1 + f * r)."""
    s1 = s2 = s3 = 0.0
    for i in range(r.size):
        u = r[i] / (1.0 + f * r[i])
        s1 += u
        s2 += u * u
        s3 += u * u * u
    return s1, s2, s3


@kernel
def _worst(r):
    """The least return if it is negative, else some return; the bits of a float, read as unsigned, are greatest for the most negative, and integers vectorize."""
    bits = r.view(np.uint64)
    top, at = np.uint64(0), 0
    for i in range(bits.size):
        top = bits[i] if bits[i] > top else top
    while bits[at] != top:
        at += 1
    return r[at]


@kernel
def fraction(r):
    """The growth-optimal fraction of wealth for returns `r` per unit staked, and a status.

    Notes
    -----
    0 where the mean is not positive. UNBOUNDED (inf) where it is and nothing is ever lost; NOT_FINITE (NaN) where a return is
    NaN or infinite, or there is none.
    """
    m1, m2, m3, m4 = _moments(r)
    if not math.isfinite(m4) or r.size == 0:
        return math.nan, NOT_FINITE
    if not m1 > 0.0:
        return 0.0, OK
    low = _worst(r)
    if low >= 0.0:
        return math.inf, UNBOUNDED
    below, above = 0.0, -1.0 / low
    if not above < math.inf:
        return math.nan, NO_CONVERGENCE
    f = m1 / m2
    f -= (m1 - f * (m2 - f * (m3 - f * m4))) / (-m2 + f * (2.0 * m3 - f * 3.0 * m4))
    for _ in range(MAX_STEPS):
        if not below < f < above:
            f = 0.5 * (below + above)
        s1, s2, s3 = _slopes(r, f)
        if s1 > 0.0:
            below = f
        else:
            above = f
        step = s1 * s2 / (s2 * s2 - s1 * s3)
        f += step
        if abs(step) <= CLOSE * f and below <= f <= above or above - below <= 4e-16 * above:
            return (f if below <= f <= above else below), OK  # only halves where squares of tiny returns are 0
    return math.nan, NO_CONVERGENCE


@kernel
def growth(r, f):
    """Mean of log(1 + f * r): log growth a period."""
    total = 0.0
    for x in r:
        total += math.log1p(f * x)
    return total / r.size


@kernel
def _factor(H, k):
    """Cholesky factor of H[:k, :k] in place of its lower triangle."""
    for j in range(k):
        for i in range(j, k):
            s = H[i, j]
            for p in range(j):
                s -= H[i, p] * H[j, p]
            H[i, j] = math.sqrt(s) if i == j else s / H[j, j]


@kernel
def _solve(L, k, b):
    """Solve L L' x = b in place."""
    for i in range(k):
        s = b[i]
        for p in range(i):
            s -= L[i, p] * b[p]
        b[i] = s / L[i, i]
    for q in range(k):
        i = k - 1 - q
        s = b[i]
        for p in range(i + 1, k):
            s -= L[p, i] * b[p]
        b[i] = s / L[i, i]


@kernel
def _gradient(R, y, u, g):
    """u = 1 / y and g = mean over periods of R * u."""
    for t in range(u.size):
        u[t] = 1.0 / y[t]
    for i in range(g.size):
        g[i] = dot(R[i], u) / u.size


@kernel
def _curvature(R, u, free, k, Z, H):
    """H[:k, :k] = mean over periods of u**2 * R[free] R[free]', with the ridge."""
    top = 0.0
    for a in range(k):
        row, z = R[free[a]], Z[a]
        for t in range(u.size):
            z[t] = row[t] * u[t]
        for b in range(a + 1):
            H[a, b] = dot(z, Z[b]) / u.size
        top = H[a, a] if H[a, a] > top else top
    for a in range(k):
        H[a, a] += RIDGE * top


@kernel
def _line(y, z, reach):
    """Where along y + alpha * z, 0 < alpha <= reach, the mean log is greatest."""
    low, high, alpha = 0.0, reach, reach
    start = _line_slopes(y, z, 0.0)[0]
    for _ in range(MAX_STEPS):
        slope, bend = _line_slopes(y, z, alpha)
        if abs(slope) <= ENOUGH * start or (slope > 0.0 and alpha == reach) or high - low <= 1e-12 * reach:
            return alpha
        if slope > 0.0:
            low = alpha
        else:
            high = alpha
        alpha += slope / bend
        if not low < alpha < high:
            alpha = 0.5 * (low + high)
    return low


@kernel(reassoc=True)
def _line_slopes(y, z, alpha):
    s = b = 0.0
    for t in range(y.size):
        v = z[t] / (y[t] + alpha * z[t])
        s += v
        b += v * v
    return s / y.size, b / y.size


@kernel
def _reach(y, z, w, d, free, k, upper, room):
    """How far the step may go, at most 1, and what stops it: a position in `free`, k for the sum, -1 for nothing."""
    far, stop, total = 1.0, -1, 0.0
    for a in range(k):
        i = free[a]
        total += d[a]
        edge = -w[i] / d[a] if d[a] < 0.0 else (upper[i] - w[i]) / d[a] if d[a] > 0.0 else math.inf
        if edge < far:
            far, stop = edge, a
    if total * far > room:
        far, stop = room / total, k
    worst = 0.0
    for t in range(y.size):
        fall = -z[t] / y[t]
        worst = fall if fall > worst else worst
    if worst * far >= 1.0:
        far, stop = 0.99 / worst, -1
    return far, stop


@kernel
def _size(g):
    top = 0.0
    for x in g:
        top = abs(x) if abs(x) > top else top
    return top


@kernel
def _total(x, k):
    total = 0.0
    for a in range(k):
        total += x[a]
    return total


@kernel
def _gap(g, w, upper, gross, rest):
    """Bound on the growth that is still missing: max over admissible s of g @ (s - w); `rest` is scratch."""
    left, bound = gross, -dot(g, w)
    rest[:] = g
    while left > 0.0:
        best = 0
        for i in range(rest.size):
            best = i if rest[i] > rest[best] else best
        if rest[best] <= 0.0:
            break
        s = upper[best] if upper[best] < left else left
        bound += g[best] * s
        left -= s
        rest[best] = 0.0
    return bound


@kernel
def _release(g, price, w, upper, held, free, k, tolerance, pull):
    """Free the weights at a bound whose gradient pulls inside: those with nearly the greatest pull."""
    most = 0.0
    for i in range(w.size):
        pull[i] = 0.0
        if held[i] and upper[i] > 0.0:
            pull[i] = g[i] - price if w[i] < 0.5 * upper[i] else price - g[i]
        most = pull[i] if pull[i] > most else most
    if most <= tolerance:
        return k
    for i in range(w.size):
        if pull[i] >= SHARE * most:
            held[i], free[k] = False, i
            k += 1
    return k


@kernel
def _newton(H, g, free, k, tight, d, e):
    """Newton step of the free weights into d[:k], at constant sum where `tight`; the price of the sum and the residual."""
    _factor(H, k)
    for a in range(k):
        d[a], e[a] = g[free[a]], 1.0
    _solve(H, k, d)
    price = residual = 0.0
    if tight:
        _solve(H, k, e)
        price = _total(d, k) / _total(e, k)
        for a in range(k):
            d[a] -= price * e[a]
    for a in range(k):
        residual = max(residual, abs(g[free[a]] - price))
    return price, residual


@kernel
def _move(R, y, z, w, d, free, k, upper, held, tight, room, near):
    """Step along d to the maximum or the first bound; a weight that meets its bound is held.

    `near` the maximum the full step is taken, where the slope along the line is lost in rounding. Returns the new k, whether the sum is met, and how far."""
    z[:] = 0.0
    for a in range(k):
        row, step = R[free[a]], d[a]
        for t in range(z.size):
            z[t] += row[t] * step
    far, stop = _reach(y, z, w, d, free, k, upper, math.inf if tight else max(room, 0.0))
    alpha = far if near or not far > 0.0 else _line(y, z, far)
    for a in range(k):
        i = free[a]
        w[i] = min(max(w[i] + alpha * d[a], 0.0), upper[i])  # rounding may end a hair outside
    for t in range(y.size):
        y[t] += alpha * z[t]
    if alpha < far or stop < 0:
        return k, tight, alpha
    if stop == k:
        return k, True, alpha
    i = free[stop]
    w[i], held[i], free[stop] = 0.0 if d[stop] < 0.0 else upper[i], True, free[k - 1]
    return k - 1, tight, alpha


@kernel
def weights(R, upper, gross, w):
    """Growth-optimal weights of many assets.

    Parameters
    ----------
    R : (n, T) float64, simple returns, one row per asset, finite
    upper : (n,) float64, largest weight of each asset, >= 0
    gross : largest sum of weights, > 0
    w : (n,) float64, written

    Returns
    -------
    gap : at most so much log growth a period is missing
    pivots : working sets that were solved
    status : OK or NO_CONVERGENCE
    """
    n, T = R.shape
    y, u, z, g, pull = np.ones(T), np.empty(T), np.empty(T), np.empty(n), np.empty(n)
    d, e, free, held = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64), np.ones(n, dtype=np.bool_)
    H, Z = np.empty((n, n)), np.empty((n, T))
    w[:] = 0.0
    k, tight, moved, top = 0, False, True, 0.0
    for pivots in range(MAX_PIVOTS * n):
        _gradient(R, y, u, g)
        _curvature(R, u, free, k, Z, H)
        tight = tight and k > 0
        price, residual = _newton(H, g, free, k, tight, d, e)
        if pivots == 0:
            top = _size(g)
        tolerance = KKT * top
        if residual <= SETTLED * top and _gap(g, w, upper, gross, pull) <= GAP * gross * top:
            return _gap(g, w, upper, gross, pull), pivots, OK
        if tight and price < 0.0:
            tight = False
            continue
        before = k
        if moved or residual <= tolerance:
            k = _release(g, price, w, upper, held, free, k, max(tolerance, EARLY * residual), pull)
        if k > before:
            moved = False
        else:
            k, tight, alpha = _move(R, y, z, w, d, free, k, upper, held, tight, gross - _total(w, n), residual <= SETTLED * top)
            moved = alpha > 0.0
    return _gap(g, w, upper, gross, pull), MAX_PIVOTS * n, NO_CONVERGENCE
