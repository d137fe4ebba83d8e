"""Brinson effects of a tree of segments, level by level, and the linked effects of Frongello's recursion.

Arrays are (T, n), periods by segments, C-contiguous. A node has portfolio weight W, portfolio contribution C (sum of weight times return), benchmark
weight V and benchmark contribution D. Its benchmark return is b = D / V; where V is next to nothing (NOTHING of the benchmark's gross weight there, or ROUNDING) it
is what the caller gives instead, else that of its parent p. With f = W_p / V_p (1 below the root, 0 where V_p is next to nothing) the benchmark weight of a child is f V, and

    allocation   Fachler  A = W (b - b_p) - f (D - V b_p)        BHB  A = W b - f D    (W (b - b_p) where V_p is next to nothing)
    two-effect selection  C - W b,  of it interaction  (W - f V)(C / W - b), 0 where W is next to nothing

Elsewhere these are (W - fV)(b - b_p), (W - fV) b and fV (r - b); written with contributions they close for every weight: over the children of
p allocation sums to sum W b - W_p b_p, so that levels telescope to C - D at the root. Brinson, Hood and Beebower (1986); Brinson and Fachler (1985); Bacon
(2008), chapters 5 and 8. Twin: `tests/attribution_naive.py`.
"""
import numpy as np

from ._jit import kernel

NOTHING = 1e-3  # of the gross weight in a node: a smaller net weight, as of a pair, has no return worth the name
ROUNDING = 1e-12  # a weight that is none


@kernel(reassoc=True)
def _total(row):
    """Sum of a row."""
    total = 0.0
    for x in row:
        total += x
    return total


@kernel
def gather(group, wide, narrow):
    """Sums of columns by group.

    Parameters
    ----------
    group : (n,) int64, column of `narrow` of each column of `wide`
    wide : (T, n) float64
    narrow : (T, m) float64, written
    """
    narrow[:] = 0.0
    if narrow.shape[1] == 1:
        for t in range(wide.shape[0]):
            narrow[t, 0] = _total(wide[t])
        return
    for t in range(wide.shape[0]):
        for i in range(group.size):
            narrow[t, group[i]] += wide[t, i]


@kernel
def gather_rows(group, weight, held, bench_weight, bench_held, sums):
    """The six sums of a level in one pass over the rows.

    Parameters
    ----------
    group : (n,) int64
    weight, held, bench_weight, bench_held : (T, n) float64, W, C, V, D of the rows
    sums : (6, T, m) float64, written: W, C, V, D and the gross weights of portfolio and benchmark
    """
    sums[:] = 0.0
    for t in range(weight.shape[0]):
        for i in range(group.size):
            j = group[i]
            sums[0, t, j] += weight[t, i]
            sums[1, t, j] += held[t, i]
            sums[2, t, j] += bench_weight[t, i]
            sums[3, t, j] += bench_held[t, i]
            sums[4, t, j] += abs(weight[t, i])
            sums[5, t, j] += abs(bench_weight[t, i])


@kernel
def allocate(parent, sums, instead, above_return, above_ratio, above_known, hood, out):
    """Allocation of each node among its siblings.

    Parameters
    ----------
    parent : (m,) int64, node of the level above
    sums : (6, T, m) float64, from `gather_rows`
    instead : (T, m) float64, b where V is next to nothing, NaN for b_p; or (0, 0), b_p everywhere
    above_return, above_ratio : (T, k) float64, b_p and f of the level above
    above_known : (T, k) bool, whether V_p is more than next to nothing
    hood : bool, BHB rather than Fachler
    out : (5, T, m) float64, written: allocation, active weight W - fV, spread b - b_p (BHB: b), b, and W / V

    Returns
    -------
    (T, m) bool, whether V is more than next to nothing
    """
    W, V, D, gross = sums[0], sums[2], sums[3], sums[5]
    known = (np.abs(V) > NOTHING * gross) & (np.abs(V) > ROUNDING)
    given = instead.shape[0] > 0
    for t in range(W.shape[0]):
        for j in range(parent.size):
            p = parent[j]
            above, f = above_return[t, p], above_ratio[t, p]
            b = D[t, j] / V[t, j] if known[t, j] else instead[t, j] if given and instead[t, j] == instead[t, j] else above
            base = 0.0 if hood and above_known[t, p] else above
            out[0, t, j] = W[t, j] * (b - base) - f * (D[t, j] - V[t, j] * base)
            out[1, t, j] = W[t, j] - f * V[t, j]
            out[2, t, j] = b - base
            out[3, t, j] = b
            out[4, t, j] = W[t, j] / V[t, j] if known[t, j] else 0.0
    return known


@kernel
def select(sums, active, bench_return, out):
    """Selection and interaction of the lowest level.

    Parameters
    ----------
    sums : (6, T, m) float64, from `gather_rows`
    active, bench_return : (T, m) float64, from `allocate`
    out : (2, T, m) float64, written: selection, interaction; their sum is C - W b whatever the weights
    """
    W, C, gross = sums[0], sums[1], sums[4]
    for t in range(W.shape[0]):
        for j in range(W.shape[1]):
            both = C[t, j] - W[t, j] * bench_return[t, j]
            interaction = active[t, j] * (C[t, j] / W[t, j] - bench_return[t, j]) if abs(W[t, j]) > max(NOTHING * gross[t, j], ROUNDING) else 0.0
            out[0, t, j] = both - interaction
            out[1, t, j] = interaction


@kernel
def frongello(effects, growth, bench_return, out):
    """Effects of each period as they stand in the whole: F_t = E_t prod_{s<t}(1 + Rp_s) + Rb_t sum_{s<t} F_s (Frongello 2002).

    Parameters
    ----------
    effects : (T, m) float64
    growth : (T,) float64, of the portfolio before each period, 1 in the first
    bench_return : (T,) float64
    out : (T, m) float64, written
    """
    for j in range(effects.shape[1]):
        before = 0.0
        for t in range(effects.shape[0]):
            out[t, j] = effects[t, j] * growth[t] + bench_return[t] * before
            before += out[t, j]
