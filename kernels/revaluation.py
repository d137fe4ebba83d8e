"""Full revaluation: P&L of options and stocks under scenarios of (spot return, vol shift, passing time).

    F = S (1 + x) exp(-q tau'),  P = K exp(-r tau'),  s = (sigma + v) sqrt(tau'),  d1 = ln(F / P) / s + s / 2,  d2 = d1 - s
    value = phi (F N(phi d1) - P N(phi d2)),   P&L = scale (value - value today)

With Mills' ratio M(a) = N(-a) / n(a) and F n(d1) = P n(d2), one exponential serves both distribution functions.
S spot, K strike (dollars), tau' years left after the horizon, r rate, q dividend yield, sigma vol (annual decimals), phi +1 call, -1 put,
0 for a stock (linear); x simple return and v vol shift of the underlying, scale = quantity times multiplier.
Sources: Black and Scholes (1973) eq. 13; Merton (1973) eq. 44. Twin: the same lines with scipy.special.ndtr, scenario by scenario.
"""
import math

from ._jit import kernel
from .elementary import INV_SQRT_2PI, exp, log, mills

TINY_SD = 1e-150  # in place of 0: the formula then gives its limit, intrinsic value
FAR = 40.0  # standard deviations; the distribution function beyond is 0 in float64


@kernel(forceinline=True)
def forward_value(F, P, log_ratio, sd, phi):
    """Value of an option from discounted forward F and strike P, `log_ratio` ln(F / P) and `sd`, the standard deviation to expiry; NaN passes through."""
    sd = TINY_SD if sd < TINY_SD else sd
    d1 = log_ratio / sd + 0.5 * sd
    d2 = d1 - sd
    a, b = abs(d1), abs(d2)
    a = FAR if a > FAR else a
    b = FAR if b > FAR else b
    density = F * (INV_SQRT_2PI * exp(-0.5 * d1 * d1))
    tail1, tail2 = density * mills(a), density * mills(b)
    got = tail1 if phi * d1 < 0.0 else F - tail1
    paid = tail2 if phi * d2 < 0.0 else P - tail2
    return phi * (got - paid)


@kernel
def _option_row(scale, F, P, log_ratio, root, sigma, phi, base, growth, log_growth, shift, pnl):
    for s in range(pnl.size):
        pnl[s] = scale * (forward_value(F * growth[s], P, log_ratio + log_growth[s], (sigma + shift[s]) * root, phi) - base)


@kernel
def _stock_row(scale, S, growth, pnl):
    for s in range(pnl.size):
        pnl[s] = scale * S * (growth[s] - 1.0)


@kernel
def _add(row, total):
    for s in range(total.size):
        total[s] += row[s]


@kernel
def today(S, K, tau, r, q, sigma, phi):
    """Value now, by the same lines as the scenarios: a scenario without a move then gives exactly 0."""
    F, P = S * math.exp(-q * tau), K * math.exp(-r * tau)
    return forward_value(F, P, math.log(F / P), sigma * math.sqrt(tau), phi)


@kernel
def _scenario_rows(moves, shifts, u, growth, log_growth, shift):
    """Column u of the scenarios, written as 1 + return, its logarithm (-inf for a return of -1) and vol shift."""
    for s in range(growth.size):
        growth[s] = 1.0 + moves[s, u]
    for s in range(growth.size):
        log_growth[s] = log(growth[s])
    shift[:] = 0.0
    for s in range(shifts.shape[0]):
        shift[s] = shifts[s, u]


@kernel
def revalue(scale, S, K, tau, r, q, sigma, phi, years, underlying, order, moves, shifts, pnl, total, rows):
    """P&L of each position and of the book in each scenario; `pnl` (n, T) and `total` (T,) are written.

    Parameters
    ----------
    scale, S, K, tau, r, q, sigma, phi : (n,) float64 as in the module docstring; years : horizon, years
    underlying : (n,) int64, column of the scenarios; order : (n,) int64, the positions with those of one underlying together
    moves, shifts : (T, m) simple returns and vol shifts, one row a scenario; shifts may be (0, 0) for none; rows : (3, T) scratch

    Notes
    -----
    A NaN in a position or scenario gives NaN there and in the total. A return of -1 is a spot of 0. An option that expires
    within the horizon is worth its intrinsic value at the scenario's spot. Negative sigma + shift counts as 0.
    """
    total[:] = 0.0
    last = -1
    for i in order:
        row = pnl[i]
        if underlying[i] != last:
            last = underlying[i]
            _scenario_rows(moves, shifts, last, rows[0], rows[1], rows[2])
        if phi[i] == 0.0:
            _stock_row(scale[i], S[i], rows[0], row)
        else:
            left = tau[i] - years
            left = 0.0 if left < 0.0 else left
            F, P = S[i] * math.exp(-q[i] * left), K[i] * math.exp(-r[i] * left)
            base = today(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])
            _option_row(scale[i], F, P, math.log(F / P), math.sqrt(left), sigma[i], phi[i], base, rows[0], rows[1], rows[2], row)
        _add(row, total)
