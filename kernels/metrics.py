"""Rolling performance measures of a return series in one pass, and its drawdowns.

The window [i, i + w) that crosses the edge of a block of w sessions is a suffix of one block followed by a prefix of the
next (van Herk 1992; Gil and Werman 1993). Everything but the quantile is a pair that can be joined, so each window costs the
same few operations whatever its length, nothing is ever subtracted and no rounding drifts along the series:

    product     P = Pa * Pb
    moments     (n, mean, M2, M3, M4) by Pebay (2008), Sandia report SAND2008-6212, eqs. 2.1 and 3.1
    drawdown    D = min(Da, Db, Pa * low_b / high_a - 1), high >= 1 and low the extreme values inside a part that starts at 1

The lowest k + 2 returns of the window stay sorted in a short list, which is made anew when it runs dry; quantile and tail
mean come from it. Twin: `otsport.analytics.metrics.metrics` on each window.
"""
import math

import numpy as np

from ._jit import kernel

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
def _prefix(x, floor, part):
    """Parts of x[:1], x[:2], ... into the columns of `part`."""
    mean = m2 = m3 = m4 = deepest = down = gain = loss = 0.0
    product = high = low = 1.0
    for i in range(x.size):
        n = i + 1.0
        delta = x[i] - mean
        share = delta / n
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
        part[MEAN, i], part[M2, i], part[M3, i], part[M4, i], part[PRODUCT, i] = mean, m2, m3, m4, product
        part[LOW, i], part[DEEPEST, i], part[DOWN, i], part[GAIN, i], part[LOSS, i] = low, deepest, down, gain, loss


@kernel
def _suffix(x, floor, part):
    """Parts of x[i:] into the columns of `part`."""
    mean = m2 = m3 = m4 = deepest = down = gain = loss = 0.0
    product = high = low = 1.0
    for k in range(x.size):
        i = x.size - 1 - k
        n = k + 1.0
        delta = x[i] - mean
        share = delta / n
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
def _join(a, i, b, j, w, k, rate, periods, out, t):
    """Measures of the window made of suffix `a` (column i, k sessions) and prefix `b` (column j, w - k sessions)."""
    na, nb = float(k), float(w - k)
    mean, m2, m3, m4 = a[MEAN, i], a[M2, i], a[M3, i], a[M4, i]
    product, deepest, down, gain, loss = a[PRODUCT, i], a[DEEPEST, i], a[DOWN, i], a[GAIN, i], a[LOSS, i]
    n = na + nb
    if nb > 0.0:
        d = (b[MEAN, j] - mean) / n
        d2 = d * d
        m4 += b[M4, j] + n * d2 * d2 * na * nb * (na * na - na * nb + nb * nb) + 6.0 * d2 * (na * na * b[M2, j] + nb * nb * m2) + 4.0 * d * (na * b[M3, j] - nb * m3)
        m3 += b[M3, j] + n * d2 * d * na * nb * (na - nb) + 3.0 * d * (na * b[M2, j] - nb * m2)
        m2 += b[M2, j] + n * d2 * na * nb
        mean += d * nb
        across = product * b[LOW, j] / a[HIGH, i] - 1.0
        deepest = b[DEEPEST, j] if b[DEEPEST, j] < deepest else deepest
        deepest = across if across < deepest else deepest
        product *= b[PRODUCT, j]
        down += b[DOWN, j]
        gain += b[GAIN, j]
        loss += b[LOSS, j]
    root = math.sqrt(periods)
    sd = math.sqrt(m2 / (n - 1.0))
    annual = product ** (periods / n) - 1.0 if product > 0.0 else -1.0
    excess = (mean - rate) * root
    out[TOTAL, t] = product - 1.0
    out[ANNUAL, t] = annual
    out[VOL, t] = sd * root
    out[SHARPE, t] = excess / sd if m2 > 0.0 else math.nan
    out[SORTINO, t] = excess / math.sqrt(down / n) if m2 > 0.0 and down > 0.0 else math.nan
    out[CALMAR, t] = annual / -deepest if deepest < 0.0 else math.nan
    out[DRAWDOWN, t] = deepest
    out[SKEWNESS, t] = m3 * math.sqrt(n) / (m2 * math.sqrt(m2)) if m2 > 0.0 else math.nan
    out[KURTOSIS, t] = m4 * n / (m2 * m2) - 3.0 if m2 > 0.0 else math.nan
    out[PROFIT_FACTOR, t] = gain / loss if loss > 0.0 else math.nan


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
    place = (w - 1) * tail
    k = int(place)
    part = place - k
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
def rolling(returns, w, rate, periods, tail, out):
    """Every measure of every window of `w` sessions of one series.

    Parameters
    ----------
    returns : (n,) float64, simple returns a session
    w : int, sessions of a window, 2 to n
    rate : risk-free rate a session, decimal
    periods : sessions a year
    tail : probability of the loss quantile, 0.05 for VaR 95 %
    out : (13, n - w + 1) float64, written; column t is the window that begins at return t

    Notes
    -----
    A window with a return that is not finite is NaN throughout. Without variation the ratios to risk, skewness and kurtosis
    are NaN; without a loss so are the ratios to losses, without a drawdown the Calmar ratio, without a move the win rate.
    """
    n = returns.size
    bad, x = np.empty(n, dtype=np.bool_), np.empty(n)
    for i in range(n):
        bad[i] = not math.isfinite(returns[i])
        x[i] = 0.0 if bad[i] else returns[i]
    a, b = np.empty((PARTS, w)), np.empty((PARTS, w))
    for start in range(0, n - w + 1, w):
        _suffix(x[start : start + w], rate, a)
        _prefix(x[start + w : min(start + 2 * w - 1, n)], rate, b)
        for i in range(min(w, n - w + 1 - start)):
            _join(a, i, b, i - 1, w, w - i, rate, periods, out, start + i)
    _tails(x, w, tail, out)
    _counts(x, bad, w, out)


@kernel
def rolling_many(returns, w, rate, periods, tail, out):
    """`rolling` of each row of returns (m, n) into out (m, 13, n - w + 1)."""
    for s in range(returns.shape[0]):
        rolling(returns[s], w, rate, periods, tail, out[s])
