"""Quadratic program with hinges: the weights of a mixture of densities that is drawn to quotes and pays for leaving them.

    min over p >= 0, E p = e   of   sum_i quad_i (R_i p - target_i)**2 / 2 + ridge |p|**2 / 2 + sum_j price_j max(0, sign_j R_row(j) p - bound_j)

A hinge with a price above its multiplier is a hard constraint. Interior point with Mehrotra's predictor and corrector (1992, SIAM Journal on
Optimization 2); each hinge has slack s below its bound, excess t above it, and a multiplier z between 0 and its price:
    s z = mu, t (price - z) = mu, p y = mu,  mu to 0.
Eliminating all but p leaves one Cholesky factor of R' diag(w) R + diag(ridge + y / p) for each step. Twin: Clarabel through cvxpy.
"""
import math

import numpy as np

from ._jit import kernel
from .elementary import dot

OK, NO_CONVERGENCE = 0, 1  # status
MAX_STEPS = 100
GAP = 1e-8  # of 1 + the objective: sum of all s z, t (price - z) and p y at the end
EXACT = 1e-9  # largest error of E p = e at the end
SHORT = 0.995  # of the way to the nearest bound
STALLED, CENTERED = 0.9, 0.5  # of the lowest gap so far, above which the correction misleads; and of mu, aimed at then by a plain step
JITTER = 1e-13  # on the unit diagonal of the scaled normal matrix


@kernel
def _normal(rows, w, diagonal, N):
    """Lower triangle of rows' diag(w) rows + diag(diagonal)."""
    n = diagonal.size
    N[:] = 0.0
    for r in range(w.size):
        row = rows[r]
        for i in range(n):
            a, out = w[r] * row[i], N[i]
            for j in range(i + 1):
                out[j] += a * row[j]
    for i in range(n):
        N[i, i] += diagonal[i]


@kernel
def _factor(N, scale):
    """Cholesky factor of N scaled to a unit diagonal, in place of its lower triangle; 1 / sqrt of the diagonal into `scale`."""
    n = scale.size
    for i in range(n):
        scale[i] = 1.0 / math.sqrt(N[i, i])
    for i in range(n):
        for j in range(i + 1):
            N[i, j] *= scale[i] * scale[j]
        N[i, i] = 1.0 + JITTER
    for i in range(n):
        for j in range(i):
            N[i, j] = (N[i, j] - dot(N[i, :j], N[j, :j])) / N[j, j]
        rest = N[i, i] - dot(N[i, :i], N[i, :i])
        N[i, i] = math.sqrt(rest if rest > JITTER else JITTER)


@kernel
def _solve(L, scale, b):
    """Solve N x = b in place with the factor of `_factor`."""
    n = b.size
    for i in range(n):
        b[i] = (scale[i] * b[i] - dot(L[i, :i], b[:i])) / L[i, i]
    for k in range(n):
        i = n - 1 - k
        b[i] /= L[i, i]
        for j in range(i):
            b[j] -= L[i, j] * b[i]
    for i in range(n):
        b[i] *= scale[i]


@kernel
def _levels(rows, p, row, sign, fit, level):
    """fit = rows @ p, level = sign * fit[row]."""
    for r in range(fit.size):
        fit[r] = dot(rows[r], p)
    for j in range(row.size):
        level[j] = sign[j] * fit[row[j]]


@kernel
def _pull(rows, weight, out):
    """out += rows' @ weight."""
    for r in range(weight.size):
        w, line = weight[r], rows[r]
        if w != 0.0:
            for i in range(out.size):
                out[i] += w * line[i]


@kernel
def _ahead(x, dx, y, dy, far):
    """The product of x and y after a step."""
    total = 0.0
    for i in range(x.size):
        total += (x[i] + far * dx[i]) * (y[i] + far * dy[i])
    return total


@kernel
def _move(x, d, far):
    for i in range(x.size):
        x[i] += far * d[i]


@kernel
def _reach(x, d, far):
    """The largest step up to `far` along d that keeps x at or above 0."""
    for i in range(x.size):
        if x[i] + far * d[i] < 0.0:
            far = -x[i] / d[i]
    return far


@kernel
def _direction(rows, row, sign, equal, L, scale, EA, S, p, y, s, t, z, v, D, rd, rp, rg, rs, rt, ry, dp, dnu, dz, fit):
    """Newton step for residuals rs, rt, ry of the three products into dp, dnu and dz."""
    n, m = p.size, s.size
    fit[:] = 0.0
    for j in range(m):
        dz[j] = rg[j] - rs[j] / z[j] + rt[j] / v[j]
        fit[row[j]] -= sign[j] * D[j] * dz[j]
    for i in range(n):
        dp[i] = -rd[i] - ry[i] / p[i]
    _pull(rows, fit, dp)
    _solve(L, scale, dp)
    b0, b1 = -rp[0] - dot(equal[0], dp), -rp[1] - dot(equal[1], dp)
    det = S[0, 0] * S[1, 1] - S[0, 1] * S[1, 0]
    dnu[0], dnu[1] = (S[1, 1] * b0 - S[0, 1] * b1) / det, (S[0, 0] * b1 - S[1, 0] * b0) / det
    for i in range(n):
        dp[i] += EA[0, i] * dnu[0] + EA[1, i] * dnu[1]
    for r in range(fit.size):
        fit[r] = dot(rows[r], dp)
    for j in range(m):
        dz[j] = D[j] * (sign[j] * fit[row[j]] + dz[j])


@kernel
def _objective(fit, target, quad, ridge, p, level, bound, price):
    total = 0.5 * ridge * dot(p, p)
    for r in range(fit.size):
        total += 0.5 * quad[r] * (fit[r] - target[r]) ** 2
    for j in range(bound.size):
        over = level[j] - bound[j]
        total += price[j] * over if over > 0.0 else 0.0
    return total


@kernel
def hinge_program(rows, target, quad, row, sign, bound, price, equal, value, ridge, p):
    """Solve the program of the module.

    Parameters
    ----------
    rows : (m, n) float64, C order
    target, quad : (m,) float64, quad >= 0
    row : (h,) int64, the row of each hinge; sign, bound, price : (h,) float64, sign +1 or -1, price > 0
    equal, value : (2, n) and (2,) float64, two independent equations that some p > 0 meets
    ridge : > 0
    p : (n,) float64, written

    Returns
    -------
    objective, steps, status (OK or NO_CONVERGENCE; p is then the last iterate)
    """
    m, n, h = rows.shape[0], rows.shape[1], row.size
    fit, level, w, N, scale = np.empty(m), np.empty(h), np.empty(m), np.empty((n, n)), np.empty(n)
    EA, S, rp, nu, dnu = np.empty((2, n)), np.empty((2, 2)), np.empty(2), np.zeros(2), np.empty(2)
    s, t, z, v, y, D = np.empty(h), np.empty(h), np.empty(h), np.empty(h), np.empty(n), np.empty(h)
    rd, rg, rs, rt, ry = np.empty(n), np.empty(h), np.empty(h), np.empty(h), np.empty(n)
    dp, dy, dz, ds, dt, dv = np.empty(n), np.empty(n), np.empty(h), np.empty(h), np.empty(h), np.empty(h)
    c = np.zeros(n)
    for r in range(m):
        w[r] = -quad[r] * target[r]
    _pull(rows, w, c)
    p[:] = 1.0 / n
    y[:] = max(1.0, math.sqrt(dot(c, c) / n))
    _levels(rows, p, row, sign, fit, level)
    for j in range(h):
        over = level[j] - bound[j]
        s[j], t[j], z[j] = max(-over, 0.0) + 1.0, max(over, 0.0) + 1.0, min(0.5 * price[j], 1.0)
        v[j] = price[j] - z[j]
    objective, lowest = math.inf, math.inf
    for step in range(MAX_STEPS):
        _levels(rows, p, row, sign, fit, level)
        objective = _objective(fit, target, quad, ridge, p, level, bound, price)
        gap = dot(s, z) + dot(t, v) + dot(p, y)
        for k in range(2):
            rp[k] = dot(equal[k], p) - value[k]
        if gap <= GAP * (1.0 + objective) and max(abs(rp[0]), abs(rp[1])) <= EXACT:
            return objective, step, OK
        if not math.isfinite(gap):
            break
        mu, cycling = gap / (2 * h + n), gap > STALLED * lowest
        lowest = min(gap, lowest)
        for r in range(m):
            w[r] = quad[r] * fit[r]
        for j in range(h):
            w[row[j]] += sign[j] * z[j]
            rg[j] = level[j] - bound[j] + s[j] - t[j]
            D[j] = 1.0 / (s[j] / z[j] + t[j] / v[j])
            rs[j], rt[j] = s[j] * z[j], t[j] * v[j]
        for i in range(n):
            rd[i] = ridge * p[i] + c[i] - y[i] - nu[0] * equal[0, i] - nu[1] * equal[1, i]
            ry[i], dy[i] = p[i] * y[i], ridge + y[i] / p[i]
        _pull(rows, w, rd)
        w[:] = quad
        for j in range(h):
            w[row[j]] += D[j]
        _normal(rows, w, dy, N)
        _factor(N, scale)
        for k in range(2):
            EA[k] = equal[k]
            _solve(N, scale, EA[k])
        for k in range(2):
            for l in range(2):
                S[k, l] = dot(equal[k], EA[l])
        _direction(rows, row, sign, equal, N, scale, EA, S, p, y, s, t, z, v, D, rd, rp, rg, rs, rt, ry, dp, dnu, dz, fit)
        for corrector in range(2):
            for j in range(h):
                ds[j], dt[j], dv[j] = (-rs[j] - s[j] * dz[j]) / z[j], (-rt[j] + t[j] * dz[j]) / v[j], -dz[j]
            for i in range(n):
                dy[i] = (-ry[i] - y[i] * dp[i]) / p[i]
            far = 1.0
            for x, d in ((p, dp), (y, dy), (s, ds), (t, dt), (z, dz), (v, dv)):
                far = _reach(x, d, far)
            if corrector == 1:
                break
            after = _ahead(s, ds, z, dz, far) + _ahead(t, dt, v, dv, far) + _ahead(p, dp, y, dy, far)
            center, second = (CENTERED * mu, 0.0) if cycling else ((after / gap) ** 3 * mu, 1.0)
            for j in range(h):
                rs[j] += second * ds[j] * dz[j] - center
                rt[j] += second * dt[j] * dv[j] - center
            for i in range(n):
                ry[i] += second * dp[i] * dy[i] - center
            _direction(rows, row, sign, equal, N, scale, EA, S, p, y, s, t, z, v, D, rd, rp, rg, rs, rt, ry, dp, dnu, dz, fit)
        far *= SHORT
        for x, d in ((p, dp), (y, dy), (s, ds), (t, dt), (z, dz), (nu, dnu)):
            _move(x, d, far)
        for j in range(h):
            v[j] = max(price[j] - z[j], 1e-14 * price[j])
    return objective, MAX_STEPS, NO_CONVERGENCE
