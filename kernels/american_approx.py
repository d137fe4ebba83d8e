"""Fast approximations of American options: Barone-Adesi and Whaley (1987), Bjerksund and Stensland (1993) and (2002).

b = r - q is the cost of carry, S K dollars, tau years, r q sigma annual decimals, phi +1 call, -1 put.
Barone-Adesi and Whaley solve the equation of the early exercise premium without its time derivative; call and put each have their own
formula (Haug 1998, p. 20-24), which put-call symmetry does not join. Bjerksund and Stensland exercise at a flat boundary (1993) or at two flat
boundaries with a switch at t1 = (sqrt(5) - 1) / 2 * tau (2002): values of feasible strategies, so from below; puts by symmetry P(S, K, r, q) = C(K, S, q, r).
Typical errors against the converged price at spot 100: some cents to tens of cents; `american.py` has the accurate engine.
References: Haug, The Complete Guide to Option Pricing Formulas (1998) p. 20-28, (2007) p. 97-110. Twins: QuantLib BaroneAdesiWhaley and BjerksundStensland (1993) engines.
"""
import math

import numpy as np

from ._jit import kernel
from .elementary import exp, log_ratio, mills, ndtr, npdf

SWITCH = 0.5 * (math.sqrt(5.0) - 1.0)  # t1 / tau of Bjerksund and Stensland (2002), eq. 13
RHO = math.sqrt(SWITCH)
NO_YIELD = 1e-10  # annual; early exercise for less is worth nothing, and the boundary is too far to compute with
MAX_ROUNDS = 12  # of eight Newton steps
TOLERANCE = 1e-8  # of the strike, of the critical price
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_ANGLES = 0.5 * (_NODES + 1.0) * math.asin(RHO)
SINES = np.sin(_ANGLES)
BIVARIATE_WEIGHTS = _WEIGHTS * math.asin(RHO) / (4.0 * math.pi)
INV_COS_SQUARED = 1.0 / np.cos(_ANGLES) ** 2


@kernel
def _european(S, K, tau, r, q, sigma, phi):
    """Price; sigma * sqrt(tau) is above 0."""
    sd = sigma * math.sqrt(tau)
    d1 = (log_ratio(S, K) + (r - q) * tau) / sd + 0.5 * sd
    return phi * (S * exp(-q * tau) * ndtr(phi * d1) - K * exp(-r * tau) * ndtr(phi * (d1 - sd)))


@kernel
def _usable(S, K, tau, r, q, sigma, phi):
    return 0.0 < S < math.inf and 0.0 < K < math.inf and 0.0 < tau < math.inf and 0.0 < sigma < math.inf and 0.0 <= r < math.inf and q - q == 0.0 and phi == phi


@kernel(forceinline=True)
def _baw_seed(K, tau, b, sigma, phi, n, m):
    """Haug's (1998, p. 23) first guess of the critical price; and the power and the critical price of the option that never expires."""
    perpetual = 0.5 * (1.0 - n + phi * math.sqrt((n - 1.0) * (n - 1.0) + 4.0 * m))
    far = K / (1.0 - 1.0 / perpetual)
    h = exp(-(phi * b * tau + 2.0 * sigma * math.sqrt(tau)) * K / (phi * (far - K)))
    edge = K + (far - K) * (1.0 - h) if phi > 0.0 else far + (K - far) * h
    return (edge if edge > 0.0 and edge < 1e6 * K else K), perpetual, far


@kernel(forceinline=True)
def _baw_step(edge, K, carried, dq, dr, sd, power, phi):
    """A Newton step towards the critical price; also how far `edge` misses the equation, and the option's delta there."""
    d1 = phi * ((log_ratio(edge, K) + carried) / sd + 0.5 * sd)
    a = abs(d1)
    density = npdf(a)
    tail = density * mills(40.0 if a > 40.0 else a)
    inside = dq * (tail if d1 < 0.0 else 1.0 - tail)
    gap = phi * (edge * inside - dr * K * ndtr(d1 - phi * sd)) + phi * (1.0 - inside) * edge / power - phi * (edge - K)
    slope = phi * inside * (1.0 - 1.0 / power) + phi * (1.0 - phi * dq * density / sd) / power
    step = edge + gap / (phi - slope)
    return (step if step > 0.1 * edge else 0.1 * edge), gap, inside


@kernel(forceinline=True)
def _baw_from(edge, S, K, tau, r, q, sigma, phi):
    """Eight steps from a critical price (0: Haug's guess): the value, NaN where they do not suffice, and the price reached. No branch."""
    b, dq, dr, sd = r - q, exp(-q * tau), exp(-r * tau), sigma * math.sqrt(tau)
    d1 = (log_ratio(S, K) + b * tau) / sd + 0.5 * sd
    value = phi * (S * dq * ndtr(phi * d1) - K * dr * ndtr(phi * (d1 - sd)))
    squared = sigma * sigma
    n, m = 2.0 * b / squared, 2.0 * r / squared
    ratio = m / (1.0 - dr) if r > NO_YIELD else 2.0 / (squared * tau)
    power = 0.5 * (1.0 - n + phi * math.sqrt((n - 1.0) * (n - 1.0) + 4.0 * ratio))
    seed, perpetual, far = _baw_seed(K, tau, b, sigma, phi, n, m)
    edge = edge if edge > 0.0 else seed
    edge, _gap, _inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    edge, _gap, _inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    edge, _gap, _inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    edge, _gap, _inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    edge, _gap, _inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    edge, _gap, _inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    edge, _gap, _inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    reached, gap, inside = _baw_step(edge, K, b * tau, dq, dr, sd, power, phi)
    kept = value + phi * (1.0 - inside) * edge / power * exp(power * log_ratio(S, edge))
    most = phi * (far - K) * exp(perpetual * log_ratio(S, far))
    kept = most if kept > most and far > 0.0 else kept  # after years the formula may pass the perpetual option
    price = phi * (S - K) if phi * (S - edge) >= 0.0 or phi * (S - far) >= 0.0 else kept
    price = price if abs(gap) <= TOLERANCE * K else math.nan
    never = (phi > 0.0 and q <= NO_YIELD) or (phi < 0.0 and r <= NO_YIELD and q >= 0.0)
    price = value if never else price
    finite = 0.0 * (S + K + tau + sigma + r + q) == 0.0
    usable = finite and S > 0.0 and K > 0.0 and tau > 0.0 and sigma > 0.0 and r >= 0.0 and phi == phi
    return (price if usable else math.nan), reached


@kernel
def baw(S, K, tau, r, q, sigma, phi):
    """Barone-Adesi and Whaley: value of one American option; NaN for unusable input, a negative rate, or no convergence."""
    edge = 0.0
    for _ in range(MAX_ROUNDS):
        price, edge = _baw_from(edge, S, K, tau, r, q, sigma, phi)
        if price == price or not (S > 0.0 and edge > 0.0):
            break
    return price


@kernel
def _phi_term(S, tau, gamma, H, edge, r, b, sigma):
    """Value of S**gamma at tau where S ends below H and never crosses `edge` (Bjerksund and Stensland 1993, eq. 5)."""
    sd = sigma * math.sqrt(tau)
    d = -(math.log(S / H) + (b + (gamma - 0.5) * sigma * sigma) * tau) / sd
    kappa = 2.0 * b / (sigma * sigma) + 2.0 * gamma - 1.0
    grown = exp((-r + gamma * b + 0.5 * gamma * (gamma - 1.0) * sigma * sigma) * tau + gamma * math.log(S))
    return grown * (ndtr(d) - exp(kappa * math.log(edge / S)) * ndtr(d - 2.0 * math.log(edge / S) / sd))


@kernel
def _carry_terms(K, r, b, sigma):
    """Exponent of the perpetual call, its boundary, and the boundary just before expiry."""
    half = 0.5 - b / (sigma * sigma)
    beta = half + math.sqrt(half * half + 2.0 * r / (sigma * sigma))
    first = r / (r - b) * K
    return beta, beta / (beta - 1.0) * K, first if first > K else K


@kernel
def _bjs_call_1993(S, K, tau, r, q, sigma):
    b = r - q
    beta, far, near = _carry_terms(K, r, b, sigma)
    edge = near + (far - near) * (1.0 - exp(-(b * tau + 2.0 * sigma * math.sqrt(tau)) * near / (far - near)))
    if S >= edge:
        return S - K
    tilt = (edge - K) * exp(beta * math.log(S / edge))
    scale = (edge - K) * exp(-beta * math.log(edge))
    return (tilt - scale * _phi_term(S, tau, beta, edge, edge, r, b, sigma) + _phi_term(S, tau, 1.0, edge, edge, r, b, sigma)
            - _phi_term(S, tau, 1.0, K, edge, r, b, sigma) - K * _phi_term(S, tau, 0.0, edge, edge, r, b, sigma)
            + K * _phi_term(S, tau, 0.0, K, edge, r, b, sigma))


@kernel(reassoc=True)
def _bivariate(a, c, sign):
    """P(X < a, Y < c) of standard normals with correlation sign * RHO, by 16 points over the correlation angle (Drezner and Wesolowsky 1990)."""
    total, squares, product = 0.0, a * a + c * c, 2.0 * a * c * sign
    for k in range(16):
        total += BIVARIATE_WEIGHTS[k] * exp(-0.5 * (squares - product * SINES[k]) * INV_COS_SQUARED[k])
    return ndtr(a) * ndtr(c) + sign * total


@kernel
def _psi_term(S, tau, gamma, H, upper, lower, r, b, sigma):
    """The same over two boundaries: `upper` until SWITCH * tau, `lower` after (Haug 2007, p. 105)."""
    t1 = SWITCH * tau
    drift, s1, s2 = b + (gamma - 0.5) * sigma * sigma, sigma * math.sqrt(t1), sigma * math.sqrt(tau)
    x, u, w, h = math.log(S), math.log(upper), math.log(lower), math.log(H)
    kappa = 2.0 * b / (sigma * sigma) + 2.0 * gamma - 1.0
    up, down = drift * t1, drift * tau
    inside = (_bivariate(-(x - w + up) / s1, -(x - h + down) / s2, 1.0)
              - exp(kappa * (u - x)) * _bivariate(-(2.0 * u - x - w + up) / s1, -(2.0 * u - x - h + down) / s2, 1.0)
              - exp(kappa * (w - x)) * _bivariate(-(x - w - up) / s1, -(2.0 * w - x - h + down) / s2, -1.0)
              + exp(kappa * (w - u)) * _bivariate(-(2.0 * u - x - w - up) / s1, -(x + 2.0 * w - h - 2.0 * u + down) / s2, -1.0))
    return exp((-r + gamma * b + 0.5 * gamma * (gamma - 1.0) * sigma * sigma) * tau + gamma * x) * inside


@kernel
def _bjs_call_2002(S, K, tau, r, q, sigma):
    b, t1 = r - q, SWITCH * tau
    beta, far, near = _carry_terms(K, r, b, sigma)
    pull = K * K / ((far - near) * near)
    lower = near + (far - near) * (1.0 - exp(-(b * t1 + 2.0 * sigma * math.sqrt(t1)) * pull))
    upper = near + (far - near) * (1.0 - exp(-(b * tau + 2.0 * sigma * math.sqrt(tau)) * pull))
    if S >= upper:
        return S - K
    a_low, a_up = (lower - K) * exp(-beta * math.log(lower)), (upper - K) * exp(-beta * math.log(upper))
    value = a_up * (exp(beta * math.log(S)) - _phi_term(S, t1, beta, upper, upper, r, b, sigma))
    value += _phi_term(S, t1, 1.0, upper, upper, r, b, sigma) - _phi_term(S, t1, 1.0, lower, upper, r, b, sigma)
    value += K * (_phi_term(S, t1, 0.0, lower, upper, r, b, sigma) - _phi_term(S, t1, 0.0, upper, upper, r, b, sigma))
    value += a_low * (_phi_term(S, t1, beta, lower, upper, r, b, sigma) - _psi_term(S, tau, beta, lower, upper, lower, r, b, sigma))
    value += _psi_term(S, tau, 1.0, lower, upper, lower, r, b, sigma) - _psi_term(S, tau, 1.0, K, upper, lower, r, b, sigma)
    return value + K * (_psi_term(S, tau, 0.0, K, upper, lower, r, b, sigma) - _psi_term(S, tau, 0.0, lower, upper, lower, r, b, sigma))


@kernel
def bjerksund_stensland(S, K, tau, r, q, sigma, phi, year):
    """Bjerksund and Stensland (`year` 1993 or 2002): value of one American option; NaN for unusable input or where the side's own rate is negative."""
    if not _usable(S, K, tau, r, q, sigma, phi):
        return math.nan
    if phi < 0.0:
        S, K, r, q = K, S, q, r
    if q <= NO_YIELD:
        return max(_european(S, K, tau, r, q, sigma, 1.0), S - K if r < q else 0.0)
    # the formulas are of degree 1 in (S, K): in units of K no power overflows
    price = K * (_bjs_call_1993(S / K, 1.0, tau, r, q, sigma) if year == 1993 else _bjs_call_2002(S / K, 1.0, tau, r, q, sigma))
    floor, euro = S - K, _european(S, K, tau, r, q, sigma, 1.0)
    price = euro if price < euro else price  # a flat boundary may be worse than none, and far out of the money the terms cancel to rounding
    return floor if price < floor else price


@kernel
def baw_arrays(S, K, tau, r, q, sigma, phi, price):
    """`baw` over float64 arrays of one length; `price` is written. Eight steps as vector code suffice for nearly all; the rest go on one by one."""
    for i in range(S.size):
        price[i] = _baw_from(0.0, S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])[0]
    for i in range(S.size):
        if price[i] != price[i]:
            price[i] = baw(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i])


@kernel
def bjerksund_stensland_arrays(S, K, tau, r, q, sigma, phi, year, price):
    """`bjerksund_stensland` of one `year` over float64 arrays of one length; `price` is written."""
    for i in range(S.size):
        price[i] = bjerksund_stensland(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i], year)
