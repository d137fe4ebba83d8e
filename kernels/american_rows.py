"""American options in many scenarios: one exercise boundary serves every spot that shares a time and a vol.

    P = European + int_0^tau (r K exp(-r v) N(-d-(v, ln(S/K) - x(tau - v))) - q S exp(-q v) N(-d+(...))) dv            (Kim 1990)
x, the log of the boundary over the strike, knows neither S nor K, and it takes nearly all of the time of `american`: here it is solved once for
each run of scenarios of one vol, and everything in the integral but the spot is computed once, too. Where there is no single boundary, and at a
value beyond its bounds, `american` answers one by one. Calls: C(S, K, r, q) = P(K, S, q, r).

scale quantity times multiplier; S, K dollars, tau years (ACT/365F), r, q, sigma annual decimals, phi +1 call, -1 put. `plan` is FAST or ACCURATE
of `american`. Twin: `american` of every scenario.
"""
import math

import numba
import numpy as np

from ._jit import kernel
from .american import OUTSIDE, _boundary, _is_far, _log_boundary, _never, _put, workspace
from .elementary import exp, log, ndtr


@kernel
def _terms(tau, r, q, sd, start, plan, work, terms):
    """Of each point of the integral, from the boundary in `work`: its x, width, drift, and the weights of interest and of dividends."""
    sine, weight, matrix = plan[4], plan[5], plan[6]
    shift = (r - q) * tau / sd + 0.5 * sd
    _log_boundary(matrix, work[1, :plan[0].size], start, terms[0])
    for p in range(sine.size):
        v = tau * sine[p] * sine[p]
        terms[1, p], terms[2, p] = sd * sine[p], shift * sine[p]
        terms[3, p], terms[4, p] = r * tau * weight[p] * exp(-r * v), q * tau * weight[p] * exp(-q * v)


@kernel
def _premiums(S, K, logs, terms, out):
    """Early exercise premium of puts at spots `S` and strikes `K`, `logs` their ln(S / K)."""
    out[:] = 0.0
    for p in range(terms.shape[1]):
        y, narrow, drift, width, interest, dividends = terms[0, p], 1.0 / terms[1, p], terms[2, p], terms[1, p], terms[3, p], terms[4, p]
        if dividends == 0.0:
            for s in range(out.size):
                out[s] += interest * K[s] * ndtr((y - logs[s]) * narrow - drift + width)
        else:
            for s in range(out.size):
                d = (y - logs[s]) * narrow - drift
                out[s] += interest * K[s] * ndtr(d + width) - dividends * S[s] * ndtr(d)


@kernel
def _kept(S, K, logs, tau, r, q, sd, out):
    """European puts, into `out`."""
    carried, paid, drift = math.exp(-q * tau), math.exp(-r * tau), (r - q) * tau / sd + 0.5 * sd
    for s in range(out.size):
        d1 = logs[s] / sd + drift
        out[s] = K[s] * paid * ndtr(sd - d1) - S[s] * carried * ndtr(-d1)


@kernel
def _ceiling(tau, r, q, sigma):
    """Power and log of the boundary over the strike of the put that never ends (see `perpetual`), 0 and 0 where waiting has no end."""
    if r <= 0.0:
        return 0.0, 0.0
    half, twice = 0.5 - (r - q) / (sigma * sigma), 2.0 * r / (sigma * sigma)
    root = math.sqrt(half * half + twice)
    beta = -twice / (half + root) if half > 0.0 else half - root  # without cancellation
    return beta, math.log(beta / (beta - 1.0))


@kernel
def _bounded(S, K, logs, edge, tau, r, q, sigma, european, premium):
    """Put values into `premium`: exercised below `edge`, never less than European or exercised; NaN where one passes the option that never ends."""
    beta, far = _ceiling(tau, r, q, sigma)
    share = 1.0 - math.exp(far)
    for s in range(premium.size):
        now = K[s] - S[s]
        floor = max(european[s], now, 0.0)
        value = max(european[s] + max(premium[s], 0.0), floor)
        value = now if logs[s] <= edge else value
        most = max(now, K[s] * share * exp(beta * (logs[s] - far))) if beta < 0.0 else K[s] * exp(-r * tau)
        premium[s] = value if value <= max(most, floor) + OUTSIDE * K[s] else math.nan


@kernel
def _put_run(S, K, tau, r, q, sigma, plan, work, terms, rows, out):
    """Puts of one time and vol at spots `S` and strikes `K`, into `out`; the first two of rows are scratch."""
    sd = sigma * math.sqrt(tau)
    settled = False
    if sd > 0.0 and not (_never(tau, r, q) or _is_far(tau, r, q, sigma)):
        start = 0.0 if q <= r else math.log(r / q)
        settled = _boundary(tau, r, q, sigma, start, plan, work)
    if not settled:
        out[:] = math.nan
    else:
        logs, european = rows[0, :out.size], rows[1, :out.size]  # contiguous, so that the loops become vector code
        edge = work[0, 0]
        for s in range(out.size):
            logs[s] = log(S[s]) - log(K[s])
        _terms(tau, r, q, sd, start, plan, work, terms)
        _premiums(S, K, logs, terms, out)
        _kept(S, K, logs, tau, r, q, sd, european)
        _bounded(S, K, logs, edge, tau, r, q, sigma, european, out)
    for s in range(out.size):
        if out[s] != out[s]:
            out[s] = _put(S[s], K[s], tau, r, q, sigma, False, plan, work)[0]


@kernel
def american_row(spots, K, tau, r, q, sigma, phi, plan, work, rows, out):
    """Values of one option at `spots`, (n,), with one time and vol, into `out`, (n,); `work` from `workspace`, `rows` (3 or more, n) is scratch."""
    terms = np.empty((5, plan[4].size))
    strikes = rows[2, :spots.size]
    strikes[:] = K
    if phi > 0.0:
        _put_run(strikes, spots, tau, q, r, sigma, plan, work, terms, rows, out)
    else:
        _put_run(spots, strikes, tau, r, q, sigma, plan, work, terms, rows, out)


@kernel
def _option_row(scale, S, K, tau, r, q, sigma, phi, left, moves, shifts, plan, pnl):
    """P&L of one option in scenarios `moves` and `shifts` with `left` years then."""
    n = moves.size
    work, rows, base = workspace(plan), np.empty((4, n)), np.empty(1)
    spots = rows[3]
    american_row(np.full(1, S), K, tau, r, q, sigma, phi, plan, work, rows, base)
    for s in range(n):
        spots[s] = S * (1.0 + moves[s])
    first = 0
    while first < n:
        last = first + 1
        while last < n and shifts[last] == shifts[first]:
            last += 1
        vol = max(sigma + shifts[first], 0.0)
        american_row(spots[first:last], K, left, r, q, vol, phi, plan, work, rows, pnl[first:last])
        first = last
    for s in range(n):
        pnl[s] = scale * (pnl[s] - base[0])


@kernel(parallel=True)
def revalue_american(scale, S, K, tau, r, q, sigma, phi, years, underlying, moves, shifts, plan, pnl):
    """P&L of American options in each scenario, on all threads; `pnl` (n, T) is written.

    Parameters
    ----------
    scale, S, K, tau, r, q, sigma, phi : (n,) float64 as in the module docstring; years : horizon, years
    underlying : (n,) int64, column of the scenarios
    moves, shifts : (m, T) simple returns and vol shifts, one row an underlying; those of one vol shift stand side by side to be quick

    Notes
    -----
    An option that expires within the horizon is worth its intrinsic value at the scenario's spot. Negative sigma + shift counts as 0.
    A scenario without a move, a shift or a day gives exactly 0: today's value is computed in the same way.
    """
    for i in numba.prange(scale.size):
        u = underlying[i]
        _option_row(scale[i], S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i], max(tau[i] - years, 0.0), moves[u], shifts[u], plan, pnl[i])
