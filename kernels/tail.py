"""Tail measures of scenario P&L: order statistics by selection, value at risk, expected shortfall and their parts.

    VaR = -Q(x), linear quantile at the place h = (n - 1)(1 - level):  Q = x_(floor h) + (h - floor h) (x_(floor h + 1) - x_(floor h))
    ES = -mean(x[x <= Q(x)]),   part of ES: -mean of the position's P&L over the same scenarios
    part of VaR: -sum_t k_t x_ti / sum_t k_t,  k_t = exp(-((X_t + VaR) / b)**2 / 2),  b = 1.06 sd(X) n**(-1/5), k_t = 0 beyond CUT b

x, X dollars, one entry a scenario; a matrix of returns or P&L has one row a scenario unless said. Nothing is scaled or refused here.
Sources: Hoare (1961), Algorithm 65 "Find"; Hyndman and Fan (1996) type 7; Tasche (1999) for the parts; Silverman (1986) eq. 3.28 for b.
Twin: numpy.quantile(x, 1 - level, method="linear") and the same means written with masks.
"""
import math

from ._jit import kernel
from .elementary import dot, exp

CUT = 5.0  # bandwidths; the Gaussian weight there is 4e-6 of the largest
WHOLE = 1e-9  # a place so near a whole number is that number: 1 - 0.9 is 0.09999999999999998


@kernel
def select(x, k):
    """The k-th smallest (from 0) of a float64 vector without NaN, which is reordered: smaller ones before k, larger ones after."""
    low, high = 0, x.size - 1
    while high > low:
        a, b, c = x[low], x[(low + high) // 2], x[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while x[i] < pivot:
                i += 1
            while x[j] > pivot:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            return x[k]
    return x[k]


@kernel
def place(n, p):
    """Where the quantile at p of n observations stands among the sorted ones, from 0: (n - 1) p without the rounding of p."""
    h = (n - 1) * p
    nearest = math.floor(h + 0.5)
    return nearest if abs(h - nearest) < WHOLE else h


@kernel
def quantile(x, h, scratch):
    """The linear quantile at the place h of x; NaN when x holds a NaN or nothing. `scratch` has the length of x and is overwritten.

    Notes
    -----
    The interpolation is NumPy's, from the nearer neighbor: never outside the two observations.
    """
    n = x.size
    broken = n == 0
    for i in range(n):
        scratch[i] = x[i]
        broken |= x[i] != x[i]
    if broken:
        return math.nan
    k = int(h)
    low = select(scratch, k)
    if k + 1 >= n or h == k:
        return low
    high = scratch[k + 1]
    for i in range(k + 2, n):
        high = min(high, scratch[i])
    t = h - k
    return high - (high - low) * (1.0 - t) if t >= 0.5 else low + (high - low) * t


@kernel
def mean_below(x, cut):
    """Mean of the x at or below `cut`; NaN when there is none."""
    total, n = 0.0, 0
    for i in range(x.size):
        if x[i] <= cut:
            total += x[i]
            n += 1
    return total / n if n else math.nan


@kernel
def tails(x, levels, var, es, scratch):
    """Value at risk and expected shortfall of x at each of `levels`, losses positive; `var` and `es` are written, `scratch` is as long as x."""
    for k in range(levels.size):
        cut = quantile(x, place(x.size, 1.0 - levels[k]), scratch)
        var[k], es[k] = 0.0 - cut, 0.0 - mean_below(x, cut)  # 0.0 less: a loss of zero is 0, not -0


@kernel(reassoc=True)
def _four_dots(a, b, c, d, w):
    """Four rows times w."""
    p, q, r, s = 0.0, 0.0, 0.0, 0.0
    for i in range(w.size):
        p += a[i] * w[i]
        q += b[i] * w[i]
        r += c[i] * w[i]
        s += d[i] * w[i]
    return p, q, r, s


FULL_LOOK = 200_000  # numbers up to which every scenario is looked at
STRIDE = 16  # above it, every so many: a wrong unit shows in each scenario, and the look stays cheap


@kernel
def outside(returns, least, most):
    """How many returns (T, n) that are looked at lie below `least` or above `most`; NaN lies nowhere."""
    step, odd = 1 if returns.size <= FULL_LOOK else STRIDE, 0
    for t in range(0, returns.shape[0], step):
        for value in returns[t]:
            odd += (value < least) | (value > most)
    return odd


@kernel
def totals(returns, exposures, least, most, total):
    """P&L of the book in each scenario: returns (T, n) times exposures (n,), written to `total` (T,).

    Returns
    -------
    int, 0 when no return that is looked at lies below `least` or above `most`

    Notes
    -----
    Four far rows at once: four streams keep the memory busy, one does not.
    """
    quarter = total.size // 4
    for t in range(quarter):
        u, v, w = t + quarter, t + 2 * quarter, t + 3 * quarter
        total[t], total[u], total[v], total[w] = _four_dots(returns[t], returns[u], returns[v], returns[w], exposures)
    for t in range(4 * quarter, total.size):
        total[t] = dot(returns[t], exposures)
    return outside(returns, least, most)


@kernel
def _add_four(a, b, c, d, p, q, r, s, out):
    for i in range(out.size):
        out[i] += p * a[i] + q * b[i] + r * c[i] + s * d[i]


@kernel
def _add_row(a, p, out):
    for i in range(out.size):
        out[i] += p * a[i]


@kernel
def weighted_rows(matrix, weights, rows, out):
    """Sum over scenarios of `weights` (T,) times rows of `matrix` (T, n), to `out` (n,); only rows whose weight is not 0 are read. `rows` is scratch for their numbers."""
    found = 0
    for t in range(weights.size):
        rows[found] = t
        found += weights[t] != 0.0
    out[:] = 0.0
    last = found - found % 4
    for k in range(0, last, 4):
        a, b, c, d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        _add_four(matrix[a], matrix[b], matrix[c], matrix[d], weights[a], weights[b], weights[c], weights[d], out)
    for k in range(last, found):
        _add_row(matrix[rows[k]], weights[rows[k]], out)


@kernel(reassoc=True)
def spread(x):
    """Standard deviation of the population."""
    mean = 0.0
    for i in range(x.size):
        mean += x[i]
    mean /= x.size
    squares = 0.0
    for i in range(x.size):
        squares += (x[i] - mean) ** 2
    return math.sqrt(squares / x.size)


@kernel
def var_weights(total, var, weights):
    """Weights of the scenarios of `total` near the value at risk `var`, summing to 1, to `weights`; all are NaN when the P&L does not vary."""
    bandwidth = 1.06 * spread(total) * total.size ** -0.2
    for t in range(total.size):
        z = (total[t] + var) / bandwidth
        weights[t] = exp(-0.5 * z * z) if abs(z) <= CUT else 0.0 * z
    mass = 0.0
    for t in range(total.size):
        mass += weights[t]
    for t in range(total.size):
        weights[t] /= mass


@kernel
def es_weights(total, var, weights):
    """Equal weights of the scenarios of `total` at or beyond the value at risk `var`, summing to 1, to `weights`."""
    n = 0
    for t in range(total.size):
        n += total[t] <= -var
    for t in range(total.size):
        weights[t] = 1.0 / n if total[t] <= -var else 0.0


@kernel
def linear_tail(returns, exposures, levels, least, most, var, es, total, parts_var, parts_es, scratch, rows):
    """Tail measures of a linear book and their parts at the first level; the five outputs are written.

    Parameters
    ----------
    returns : (T, n) simple returns, one row a scenario; exposures : (n,) dollars; levels : (m,); least, most : of a usual return
    var, es : (m,) dollars; total : (T,) dollars; parts_var, parts_es : (n,) dollars; scratch : (T,) float64; rows : (T,) int64

    Returns
    -------
    int, 0 when no return that is a number lies below `least` or above `most`
    """
    odd = totals(returns, exposures, least, most, total)
    tails(total, levels, var, es, scratch)
    var_weights(total, var[0], scratch)
    weighted_rows(returns, scratch, rows, parts_var)
    es_weights(total, var[0], scratch)
    weighted_rows(returns, scratch, rows, parts_es)
    for i in range(exposures.size):
        parts_var[i] = 0.0 - exposures[i] * parts_var[i]
        parts_es[i] = 0.0 - exposures[i] * parts_es[i]
    return odd


@kernel
def leave_one_out(pnl, total, h, var, scratch, rest):
    """Value at risk at the place h of the book without each position; pnl (n, T) has one row a position, `total` (T,) is their sum, `var` (n,) is written; `scratch`, `rest` (T,)."""
    for i in range(var.size):
        row = pnl[i]
        for t in range(total.size):
            rest[t] = total[t] - row[t]
        var[i] = 0.0 - quantile(rest, h, scratch)


@kernel
def ewma(x, decay, variance):
    """variance[t] = decay variance[t - 1] + (1 - decay) x[t]**2, from x[0]**2 on (RiskMetrics 1996, section 5.2)."""
    previous = x[0] * x[0]
    variance[0] = previous
    for t in range(1, x.size):
        previous = decay * previous + (1.0 - decay) * x[t] * x[t]
        variance[t] = previous
