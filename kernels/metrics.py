"""Rolling performance measures of a return series in one pass, and its drawdowns.

The window [i, i + w) that crosses the edge of a block of w sessions is a suffix of one block followed by a prefix of the
next (van Herk 1992; Gil and Werman 1993). Everything but the quantile is a pair that can be joined, so each window costs the
same few operations whatever its length, nothing is ever subtracted and no rounding drifts along the series:

    product     P = Pa * Pb
    moments     (n, mean, M2, M3, M4) by Pebay (2008), Sandia report SAND2008-6212, eqs. 2.1 and 3.1
    drawdown    D = min(Da, Db, Pa * low_b / high_a - 1), high >= 1 and low the extreme values inside a part that starts at 1

The lowest k + 2 returns of the window stay sorted in a short list, which is made anew when it runs dry; quantile and tail
mean come from it. A deviation, drawdown or loss at or below `flat` is rounding, and a ratio to it has no value. Twin: `otsport.analytics.metrics.metrics` on each window.
"""
import math

import numpy as np

from ._jit import kernel
from .elementary import exp, log
from .tail import place

TOTAL, ANNUAL, VOL, SHARPE, SORTINO, CALMAR, DRAWDOWN, VAR, CVAR, SKEWNESS, KURTOSIS, WIN_RATE, PROFIT_FACTOR = range(13)
MEASURES = 13
MEAN, M2, M3, M4, PRODUCT, HIGH, LOW, DEEPEST, DOWN, GAIN, LOSS = range(11)  # rows of a part
PARTS = 11


@kernel
def drawdowns(returns, out):
    """Distance from the running peak after each return, and the longest run below it; the first peak is the start.

    Parameters
    ----------
    returns : (n,) float64, simple returns; a NaN makes the rest NaN
    out : (n,) float64, written: 0 or negative, decimal of the peak so far

    Returns
    -------
    int, sessions of the longest run below a peak
    """
    value, peak, run, longest = 1.0, 1.0, 0, 0
    for i in range(returns.size):
        value *= 1.0 + returns[i]
        peak = peak if value < peak else value
        out[i] = value / peak - 1.0
        run = run + 1 if out[i] < 0.0 else 0
        longest = run if run > longest else longest
    return longest


@kernel
def _prefix(x, floor, inverse, part):
    """Parts of x[:0], x[:1], x[:2], ... into the columns of `part`."""
    part[:, 0] = 0.0
    part[PRODUCT, 0] = part[LOW, 0] = 1.0
    mean = m2 = m3 = m4 = deepest = down = gain = loss = 0.0
    product = high = low = 1.0
    for i in range(x.size):
        n = i + 1.0
        delta = x[i] - mean
        share = delta * inverse[i]
        square = share * share
        term = delta * share * i
        mean += share
        m4 += term * square * (n * n - 3.0 * n + 3.0) + 6.0 * square * m2 - 4.0 * share * m3
        m3 += term * share * (n - 2.0) - 3.0 * share * m2
        m2 += term
        product *= 1.0 + x[i]
        high = high if product < high else product
        low = product if product < low else low
        depth = product / high - 1.0
        deepest = depth if depth < deepest else deepest
        short = x[i] - floor
        down += short * short if short < 0.0 else 0.0
        gain += x[i] if x[i] > 0.0 else 0.0
        loss -= x[i] if x[i] < 0.0 else 0.0
        j = i + 1
        part[MEAN, j], part[M2, j], part[M3, j], part[M4, j], part[PRODUCT, j] = mean, m2, m3, m4, product
        part[LOW, j], part[DEEPEST, j], part[DOWN, j], part[GAIN, j], part[LOSS, j] = low, deepest, down, gain, loss


@kernel
def _suffix(x, floor, inverse, part):
    """Parts of x[i:] into the columns of `part`."""
    mean = m2 = m3 = m4 = deepest = down = gain = loss = 0.0
    product = high = low = 1.0
    for k in range(x.size):
        i = x.size - 1 - k
        n = k + 1.0
        delta = x[i] - mean
        share = delta * inverse[k]
        square = share * share
        term = delta * share * k
        mean += share
        m4 += term * square * (n * n - 3.0 * n + 3.0) + 6.0 * square * m2 - 4.0 * share * m3
        m3 += term * share * (n - 2.0) - 3.0 * share * m2
        m2 += term
        step = 1.0 + x[i]
        product *= step
        high = step * high if step * high > 1.0 else 1.0
        low = step * low if step * low < 1.0 else 1.0
        depth = low - 1.0
        deepest = depth if depth < deepest else deepest
        short = x[i] - floor
        down += short * short if short < 0.0 else 0.0
        gain += x[i] if x[i] > 0.0 else 0.0
        loss -= x[i] if x[i] < 0.0 else 0.0
        part[MEAN, i], part[M2, i], part[M3, i], part[M4, i], part[PRODUCT, i], part[HIGH, i] = mean, m2, m3, m4, product, high
        part[DEEPEST, i], part[DOWN, i], part[GAIN, i], part[LOSS, i] = deepest, down, gain, loss


@kernel
def _join_moments(ma, m2a, m3a, m4a, mb, m2b, m3b, m4b, n, mean, m2, m3, m4):
    """Moments of windows whose i-th is the last n - i sessions of one block and the first i of the next."""
    inverse = 1.0 / n
    for i in range(mean.size):
        mean[i] = ma[i] + (mb[i] - ma[i]) * inverse * i
    for i in range(m2.size):
        nb, d = float(i), (mb[i] - ma[i]) * inverse
        m2[i] = m2a[i] + m2b[i] + n * d * d * ((n - nb) * nb)
    for i in range(m3.size):
        nb, d = float(i), (mb[i] - ma[i]) * inverse
        na = n - nb
        m3[i] = m3a[i] + m3b[i] + n * d * d * d * (na * nb * (na - nb)) + 3.0 * d * (na * m2b[i] - nb * m2a[i])
    for i in range(m4.size):
        nb, d = float(i), (mb[i] - ma[i]) * inverse
        na, d2 = n - nb, d * d
        m4[i] = (m4a[i] + m4b[i] + n * d2 * d2 * (na * nb * (na * na - na * nb + nb * nb))
                 + 6.0 * d2 * (na * na * m2b[i] + nb * nb * m2a[i]) + 4.0 * d * (na * m3b[i] - nb * m3a[i]))


@kernel
def _join_drawdowns(product, high, deepest, low, deepest_next, out):
    for i in range(out.size):
        across = product[i] * low[i] / high[i] - 1.0
        least = deepest[i] if deepest[i] < deepest_next[i] else deepest_next[i]
        out[i] = across if across < least else least


@kernel
def _ratios(m2, n, rate, periods, least, mean, m3, m4):
    """Moments to Sharpe ratio, skewness and excess kurtosis, in place; NaN where the sum of squares m2 is `least` or less."""
    scale, root = math.sqrt(periods * (n - 1.0)), math.sqrt(n)
    for i in range(mean.size):
        mean[i] = (mean[i] - rate) * scale / math.sqrt(m2[i]) if m2[i] > least else math.nan
    for i in range(m3.size):
        m3[i] = m3[i] * root / (m2[i] * math.sqrt(m2[i])) if m2[i] > least else math.nan
    for i in range(m4.size):
        m4[i] = m4[i] * n / (m2[i] * m2[i]) - 3.0 if m2[i] > least else math.nan


@kernel
def _sortino(mean, down, down_next, n, rate, periods, least, out):
    for i in range(out.size):
        below = down[i] + down_next[i]
        out[i] = (mean[i] - rate) * math.sqrt(periods * n / below) if below > least else math.nan


@kernel
def _returns(product, product_next, years, total, annual):
    """Total return, and the annual one: exp(log(1 + total) / years) - 1."""
    for i in range(total.size):
        total[i] = product[i] * product_next[i] - 1.0
    for i in range(annual.size):
        value = product[i] * product_next[i]
        annual[i] = exp(log(value) / years) - 1.0 if value > 0.0 else -1.0


@kernel
def _join(a, b, n, rate, periods, flat, out, start, m):
    """Measures of the windows made of each suffix in `a` and the prefix of the same column in `b`; one loop a measure, for SIMD."""
    least = n * flat * flat
    end = start + m  # a slice of a row is contiguous, a row of a slice is not
    mean, m2, m3, m4 = out[SHARPE, start:end], out[VOL, start:end], out[SKEWNESS, start:end], out[KURTOSIS, start:end]
    _join_moments(a[MEAN, :m], a[M2, :m], a[M3, :m], a[M4, :m], b[MEAN, :m], b[M2, :m], b[M3, :m], b[M4, :m], n, mean, m2, m3, m4)
    _returns(a[PRODUCT, :m], b[PRODUCT, :m], n / periods, out[TOTAL, start:end], out[ANNUAL, start:end])
    _join_drawdowns(a[PRODUCT, :m], a[HIGH, :m], a[DEEPEST, :m], b[LOW, :m], b[DEEPEST, :m], out[DRAWDOWN, start:end])
    _sortino(mean, a[DOWN, :m], b[DOWN, :m], n, rate, periods, least, out[SORTINO, start:end])
    _ratios(m2, n, rate, periods, least, mean, m3, m4)
    _calmar(out[ANNUAL, start:end], out[DRAWDOWN, start:end], flat, out[CALMAR, start:end])
    _vols(m2, periods / (n - 1.0), least)
    _factors(a[GAIN, :m], b[GAIN, :m], a[LOSS, :m], b[LOSS, :m], flat, out[PROFIT_FACTOR, start:end])


@kernel
def _calmar(annual, depth, flat, out):
    for i in range(out.size):
        out[i] = annual[i] / -depth[i] if depth[i] < -flat else math.nan


@kernel
def _vols(m2, scale, least):
    """Sums of squares to annual volatility, in place; 0 for what is `least` or less."""
    for i in range(m2.size):
        m2[i] = math.sqrt(m2[i] * scale) if m2[i] > least else 0.0


@kernel
def _factors(gain, gain_next, loss, loss_next, flat, out):
    for i in range(out.size):
        lost = loss[i] + loss_next[i]
        out[i] = (gain[i] + gain_next[i]) / lost if lost > flat else math.nan


@kernel
def _insert(low, size, value):
    """Put `value` into the sorted low[:size] and return the new size; a full list loses its greatest."""
    if size == low.size:
        if value >= low[size - 1]:
            return size
        size -= 1
    j = size
    while j > 0 and low[j - 1] > value:
        low[j] = low[j - 1]
        j -= 1
    low[j] = value
    return size + 1


@kernel
def _lowest(window, low):
    """Fill the list `low` with the lowest returns of the window, sorted, and return how many it holds."""
    size = 0
    for value in window:
        size = _insert(low, size, value)
    return size


@kernel
def _tail_mean(window, low, size, k, cut):
    """Mean of the returns of the window that are not above `cut`; ties beyond the list are looked up."""
    total, count = 0.0, 0
    if low[size - 1] > cut:
        while low[count] <= cut:
            total += low[count]
            count += 1
        return total / count
    for value in window:
        if value <= cut:
            total += value
            count += 1
    return total / count


@kernel
def _tails(x, w, tail, out):
    """Rows VAR and CVAR: minus the linear `tail` quantile of each window, minus the mean of the returns at or below it."""
    h = place(w, tail)
    k = int(h)
    part = h - k
    need = min(k + 2, w)
    low = np.empty(min(w, 3 * need + 8))
    size = _lowest(x[:w], low)
    fresh = True
    cut = mean = 0.0
    for t in range(x.size - w + 1):
        if t > 0:
            gone, come = x[t - 1], x[t + w - 1]
            if gone <= low[size - 1]:
                j = 0
                while low[j] != gone:
                    j += 1
                fresh = fresh or j < need
                size -= 1
                for i in range(j, size):
                    low[i] = low[i + 1]
            if size > 0 and come < low[size - 1]:
                fresh = fresh or come <= low[min(need, size) - 1]
                size = _insert(low, size, come)
            if size < need:
                size = _lowest(x[t : t + w], low)
                fresh = True
        if fresh or low[size - 1] <= cut:
            step = low[need - 1] - low[k]
            cut = low[k] + step * part if part < 0.5 else low[need - 1] - step * (1.0 - part)
            mean = _tail_mean(x[t : t + w], low, size, k, cut)
            fresh = False
        out[VAR, t], out[CVAR, t] = -cut, -mean


@kernel
def _counts(x, bad, w, out):
    """Row WIN_RATE, and NaN in every row of a window that holds a return which is not finite."""
    wins = moves = holes = 0
    for i in range(x.size):
        wins += x[i] > 0.0
        moves += x[i] != 0.0
        holes += bad[i]
        if i >= w:
            wins -= x[i - w] > 0.0
            moves -= x[i - w] != 0.0
            holes -= bad[i - w]
        if i >= w - 1:
            t = i - w + 1
            out[WIN_RATE, t] = wins / moves if moves > 0 else math.nan
            if holes > 0:
                for row in range(MEASURES):
                    out[row, t] = math.nan


@kernel
def rolling(returns, w, rate, periods, tail, flat, out):
    """Every measure of every window of `w` sessions of one series.

    Parameters
    ----------
    returns : (n,) float64, simple returns a session
    w : int, sessions of a window, 2 to n
    rate : risk-free rate a session, decimal
    periods : sessions a year
    tail : probability of the loss quantile, 0.05 for VaR 95 %
    flat : size of a return that is rounding, decimal
    out : (13, n - w + 1) float64, written; column t is the window that begins at return t

    Notes
    -----
    A window with a return that is not finite is NaN throughout. Without variation the ratios to risk, skewness and kurtosis
    are NaN; without a loss so are the ratios to losses, without a drawdown the Calmar ratio, without a move the win rate. VaR and
    CVaR of a window in which less than one return is expected in the tail are NaN.
    """
    n = returns.size
    bad, x = np.empty(n, dtype=np.bool_), np.empty(n)
    for i in range(n):
        bad[i] = not math.isfinite(returns[i])
        x[i] = 0.0 if bad[i] else returns[i]
    a, b, inverse = np.empty((PARTS, w)), np.empty((PARTS, w)), 1.0 / np.arange(1, w + 1)
    for start in range(0, n - w + 1, w):
        _suffix(x[start : start + w], rate, inverse, a)
        _prefix(x[start + w : min(start + 2 * w - 1, n)], rate, inverse, b)
        _join(a, b, float(w), rate, periods, flat, out, start, min(w, n - w + 1 - start))
    if w * tail < 1.0 - 1e-9:
        out[VAR], out[CVAR] = math.nan, math.nan
    else:
        _tails(x, w, tail, out)
    _counts(x, bad, w, out)


@kernel
def rolling_many(returns, w, rate, periods, tail, flat, out):
    """`rolling` of each row of returns (m, n) into out (m, 13, n - w + 1)."""
    for s in range(returns.shape[0]):
        rolling(returns[s], w, rate, periods, tail, flat, out[s])
