"""American options by spectral collocation of the early exercise boundary (Andersen, Lake and Offengenden 2016).

Put, in units of the strike, x(t) = ln(B(t) / K), t the time to expiry, x(0+) = ln(min(1, r / q)):
    N(t) = exp(-r t) n(d-(t, x)) / (sigma sqrt(t)) + int_0^t r exp(-r v) n(d-(v, x(t) - x(t - v))) / (sigma sqrt(v)) dv
    D(t) = the same with q and d+, plus exp(-q t) N(d+(t, x)) + int_0^t q exp(-q v) N(d+(v, x(t) - x(t - v))) dv
    x(t) = ln(N(t) / D(t)),   d+-(v, y) = (y + (r - q +- sigma**2 / 2) v) / (sigma sqrt(v))                     (their system "A", eq. 36)
    P = European + int_0^tau (r K exp(-r v) N(-d-(v, ln(S/K) - x(tau - v))) - q S exp(-q v) N(-d+(...))) dv      (Kim 1990)
H = (x - x(0+))**2 is interpolated at Chebyshev points of sqrt(t). With v = t sin(a)**2 both ends of every integral are smooth in a, so that
Gauss-Legendre points in a take the place of their tanh-sinh, and since sqrt(t - v) = sqrt(t) cos(a) the interpolation is one constant matrix
for all options. The first boundary is Bjerksund and Stensland's (1993); steps that do not shrink are damped. Calls: C(S, K, r, q) = P(K, S, q, r).
Greeks are the European ones, which are exact, plus those of the premium: the boundary does not depend on the spot, so that delta and gamma are integrals too;
vega and rho are differences of the premium, and theta follows from r P = theta + (r - q) S delta + sigma**2 S**2 gamma / 2 where the option is kept; exercised it is 0.

S, K dollars, tau years (ACT/365F), r, q, sigma annual decimals, phi +1 call, -1 put. Twin: QuantLib QdFpAmericanEngine.
Where the drift dwarfs the vol or the time is long (`FAR`), where it does not settle, and below rates of 0, where there may be two boundaries (q < r < 0 for a put),
the boundaries come from `american_steps`. No value is below the European one or that of exercise, or above the perpetual one.
Status: 0 ok; 1 no method stayed within these bounds: Leisen-Reimer tree of TREE_STEPS, held to them; 3 unusable input, NaN.
"""
import math

import numpy as np

from ._jit import kernel
from .american_steps import _angles, _normal, decay, stepped
from .binomial import binomial
from .elementary import INV_SQRT_2PI, exp, npdf
from .options import DAYS, bsm, greeks, implied_vol
from .perpetual import put_ceiling

MAX_STEPS = 60
FAR = 0.7  # of decay times tau; above it the drift is too large for the vol, or the time too long, for the collocation
TREE_STEPS = 1001
NO_RATE = 1e-10  # annual; early exercise for less interest is worth nothing, and the boundary is too far to compute with
NO_GAIN = 1e-10  # of the strike, over the time to expiry
OUTSIDE = 1e-5  # of the strike, by which a value may pass a bound before another method is asked
NO_DIVIDENDS = np.empty(0)
SAME_PRICE = 1e-12  # of the strike; a vol whose price is so near is found
BUMP_VOL = 5e-3  # of the vol, by which the premium is moved for vega
BUMP_RATE = 1e-4  # annual, for rho
BUMP_DRIFT = 0.05  # of a standard deviation, which a bump of the rate moves the forward at most
BUMP_SPOT = 2e-3  # of the spot; where the tree answers, for delta and gamma
AT_BOUNDARY = 1e-4  # of a standard deviation of ln(S); nearer to the boundary gamma is its limit there


def _interpolation(points, at):
    """Rows that give H at the points `at` of sqrt(t / tau) from its values at the nodes; it is 0 at expiry, the last node."""
    gap = at[:, None] - _nodes(points)
    gap[gap == 0.0] = 1e-30  # a point on a node has its value
    signs = (-1.0) ** np.arange(points + 1)
    signs[[0, -1]] *= 0.5
    return (signs / gap / (signs / gap).sum(axis=1, keepdims=True))[:, :points].T.copy()  # barycentric


def _nodes(points):
    """sqrt(t / tau), the last at expiry."""
    return 0.5 * (1.0 + np.cos(np.pi * np.arange(points + 1) / points))


def scheme(points, inner, outer, tolerance, power=1):
    """The constants of a collocation with `points` boundary points, `inner` and `outer` quadrature points, stopping at `tolerance` of the boundary in standard deviations; `power` as in `_angles`, of the outer ones."""
    sine, cosine, weight = _angles(inner)
    root = _nodes(points)[:points]
    last_sine, last_cosine, last_weight = _angles(outer, power)
    return (root, np.outer(sine, root).ravel(), np.outer(weight, root**2).ravel(), _interpolation(points, np.outer(cosine, root).ravel()),
            last_sine, last_weight, _interpolation(points, last_cosine), tolerance)


FAST = scheme(8, 8, 16, 3e-3)
ACCURATE = scheme(12, 12, 24, 3e-5)
GREEKS = scheme(12, 12, 96, 3e-5, 3)  # near the boundary the integrands of delta and gamma are narrow at v = 0


@kernel
def _normal_arrays(x, cdf, pdf):
    for i in range(x.size):
        cdf[i], pdf[i] = _normal(x[i])


@kernel
def _log_boundary(matrix, H, start, out):
    """x at the points of a quadrature: start - sqrt(interpolated H)."""
    for p in range(out.size):
        out[p] = 0.0
    for k in range(H.size):
        h, row = H[k], matrix[k]
        for p in range(out.size):
            out[p] += h * row[p]
    for p in range(out.size):
        h = out[p]
        out[p] = start - math.sqrt(h if h > 0.0 else 0.0)


@kernel
def _discounts(sine, weight, tau, rate, out):
    for p in range(out.size):
        out[p] = rate * tau * weight[p] * exp(-rate * tau * sine[p] * sine[p])


@kernel
def _first_boundary(root, tau, r, q, sigma, start, x):
    """The flat boundaries of Bjerksund and Stensland (1993), one for each time to expiry."""
    half = 0.5 - (r - q) / (sigma * sigma)
    beta = half - math.sqrt(half * half + 2.0 * r / (sigma * sigma))
    near = math.exp(-start)
    far = (beta - 1.0) / beta if beta < 0.0 else 1e6
    for i in range(root.size):
        t = tau * root[i] * root[i]
        h = -((q - r) * t + 2.0 * sigma * math.sqrt(t)) * near / (far - near)
        h = h if h < 0.0 else 0.0
        x[i] = -math.log(near + (far - near) * (1.0 - math.exp(h)))
        x[i] = x[i] if x[i] < start else start


@kernel(forceinline=True)
def _integrals(x, y, sd, shift, sine, wr, wq, d, cdf, pdf_minus, pdf_plus, num, den, mass):
    """The three integrals of the fixed point at every collocation point, into num, den and mass; d, cdf and the densities are scratch."""
    n, m = x.size, sine.size
    for p in range(0, m, n):
        for i in range(n):
            d[p + i] = x[i]
    for p in range(m):
        d[p] = (d[p] - y[p]) / (sd * sine[p]) + (shift - sd) * sine[p]
    _normal_arrays(d, cdf, pdf_minus)
    for p in range(m):
        d[p] += sd * sine[p]
    _normal_arrays(d, cdf, pdf_plus)
    for i in range(n):
        num[i], den[i], mass[i] = 0.0, 0.0, 0.0
    for p in range(m):
        pdf_minus[p] *= wr[p] / sine[p]
    for p in range(m):
        pdf_plus[p] *= wq[p] / sine[p]
    for p in range(m):
        cdf[p] *= wq[p]
    for p in range(0, m, n):
        for i in range(n):
            num[i] += pdf_minus[p + i]
        for i in range(n):
            den[i] += pdf_plus[p + i]
        for i in range(n):
            mass[i] += cdf[p + i]


@kernel
def _boundary(tau, r, q, sigma, start, plan, work):
    """Solve for x at the collocation points, into work[0]; H goes to work[1]. Returns whether it settled."""
    root, sine, weight, matrix, tolerance = plan[0], plan[1], plan[2], plan[3], plan[7]
    n, m = root.size, sine.size
    x, H = work[0, :n], work[1, :n]
    num, den, mass = work[2, :n], work[3, :n], work[4, :n]
    wr, wq, d, y = work[5, :m], work[6, :m], work[7, :m], work[8, :m]
    cdf, pdf_minus, pdf_plus = work[9, :m], work[10, :m], work[11, :m]
    sd = sigma * math.sqrt(tau)
    shift = (r - q) * tau / sd + 0.5 * sd
    _discounts(sine, weight, tau, r, wr)
    _discounts(sine, weight, tau, q, wq)
    _first_boundary(root, tau, r, q, sigma, start, x)
    relax, before, change = 1.0, math.inf, math.inf
    for _ in range(MAX_STEPS):
        for i in range(n):
            H[i] = (x[i] - start) ** 2
        _log_boundary(matrix, H, start, y)
        _integrals(x, y, sd, shift, sine, wr, wq, d, cdf, pdf_minus, pdf_plus, num, den, mass)
        change = 0.0
        for i in range(n):
            v = sd * root[i]
            t, plus = tau * root[i] * root[i], x[i] / v + shift * root[i]
            inside, dense = _normal(plus)
            minus = plus - v
            dq = exp(-q * t)
            top = num[i] / sd + exp(-r * t - 0.5 * minus * minus) * INV_SQRT_2PI / v
            new = math.log(top / (den[i] / sd + mass[i] + dq * (dense / v + inside)))
            new = new if new < start else 0.5 * (x[i] + start)
            step = abs(new - x[i])
            change = step if not step <= change else change  # a NaN stays
            x[i] += relax * (new - x[i])
        if not change > tolerance * sd:
            break
        if change > 0.9 * before and relax > 0.1:
            relax *= 0.7
        before = change
    for i in range(n):
        H[i] = (x[i] - start) ** 2
    return change <= tolerance * sd


@kernel
def _european_put(S, K, tau, r, q, sigma):
    sd = sigma * math.sqrt(tau)
    d1 = (math.log(S / K) + (r - q) * tau) / sd + 0.5 * sd
    return K * math.exp(-r * tau) * _normal(sd - d1)[0] - S * math.exp(-q * tau) * _normal(-d1)[0]


@kernel
def _premium(S, K, tau, r, q, sigma, start, plan, work):
    """Present value of the interest on the strike less the dividends while the put is exercised early."""
    sine, weight, matrix = plan[4], plan[5], plan[6]
    n, m = plan[0].size, sine.size
    y, d, cdf, pdf = work[5, :m], work[6, :m], work[7, :m], work[8, :m]
    sd, log_spot = sigma * math.sqrt(tau), math.log(S / K)
    shift = (r - q) * tau / sd + 0.5 * sd
    _log_boundary(matrix, work[1, :n], start, y)
    for p in range(m):
        d[p] = -((log_spot - y[p]) / (sd * sine[p]) + shift * sine[p])
    _normal_arrays(d, cdf, pdf)
    for p in range(m):
        d[p] += sd * sine[p]
    total = 0.0
    for p in range(m):
        total -= q * S * tau * weight[p] * math.exp(-q * tau * sine[p] * sine[p]) * cdf[p]
    _normal_arrays(d, cdf, pdf)
    for p in range(m):
        total += r * K * tau * weight[p] * math.exp(-r * tau * sine[p] * sine[p]) * cdf[p]
    return total if total > 0.0 else 0.0  # never below 0 but by rounding and quadrature


@kernel
def _certain_put(S, K, tau, r, q):
    """The put when spot only drifts: exercised now, at expiry, or where K exp(-r t) - S exp(-q t) turns."""
    best = max(K - S, K * math.exp(-r * tau) - S * math.exp(-q * tau), 0.0)
    if r != q and r * K * q * S > 0.0:
        t = math.log(r * K / (q * S)) / (r - q)
        if 0.0 < t < tau:
            best = max(best, K * math.exp(-r * t) - S * math.exp(-q * t))
    return best


@kernel
def _collocated(S, K, tau, r, q, sigma, plan, work):
    """Value of a put with one boundary, which is then in `work`; NaN where it did not settle."""
    start = 0.0 if q <= r else math.log(r / q)
    if not _boundary(tau, r, q, sigma, start, plan, work):
        return math.nan
    if S <= K * math.exp(work[0, 0]):
        return K - S
    return _european_put(S, K, tau, r, q, sigma) + _premium(S, K, tau, r, q, sigma, start, plan, work)


@kernel
def _never(tau, r, q):
    """Is a put exercised early never, or for a gain that is nothing beside the strike?"""
    return r <= NO_RATE and (r - q) * tau <= NO_GAIN


@kernel
def _is_far(tau, r, q, sigma):
    """Does a put's boundary need its steps, one by one?"""
    return r < 0.0 or not decay(r, q, sigma) * tau < FAR


@kernel
def _put(S, K, tau, r, q, sigma, far, plan, work):
    """Value, status, and whether it came step by step."""
    if not (S >= 0.0 and K >= 0.0 and tau >= 0.0 and sigma >= 0.0 and r == r and q == q) or max(S, K, tau, sigma, abs(r), abs(q)) == math.inf:
        return math.nan, 3, far
    if S == 0.0 or K == 0.0 or sigma * math.sqrt(tau) == 0.0:
        return _certain_put(S, K, tau, r, q), 0, far
    floor = max(_european_put(S, K, tau, r, q, sigma), K - S, 0.0)
    if _never(tau, r, q):
        return floor, 0, far
    ceiling, status = max(put_ceiling(S, K, tau, r, q, sigma), floor), 0
    far = far or _is_far(tau, r, q, sigma)
    value = math.nan if far else _collocated(S, K, tau, r, q, sigma, plan, work)
    if not value <= ceiling + OUTSIDE * K:
        value, far = stepped(S, K, tau, r, q, sigma)[0], True
        status = 0 if floor - OUTSIDE * K <= value <= ceiling + OUTSIDE * K else 1
    if status == 1:
        value = binomial(S, K, tau, r, q, sigma, -1.0, TREE_STEPS, True, True, NO_DIVIDENDS, NO_DIVIDENDS)
        floor = max(floor, _certain_put(S, K, tau, r, q))
    value = value if value > floor else floor  # below it by rounding and quadrature; a tree is NaN where the drift dwarfs the vol, and the put then nearly certain
    return (value if value < ceiling else ceiling), status, far


@kernel
def workspace(plan):
    """Scratch for `american` with this plan."""
    return np.empty((12, max(plan[1].size, plan[4].size)))


@kernel
def _american(S, K, tau, r, q, sigma, phi, far, plan, work):
    if phi > 0.0:
        return _put(K, S, tau, q, r, sigma, far, plan, work)
    if phi < 0.0:
        return _put(S, K, tau, r, q, sigma, far, plan, work)
    return math.nan, 3, far


@kernel
def american(S, K, tau, r, q, sigma, phi, plan, work):
    """Value and status of one American option; `plan` is FAST or ACCURATE, `work` from `workspace`."""
    value, status, _ = _american(S, K, tau, r, q, sigma, phi, False, plan, work)
    return value, status


@kernel
def _premium_slopes(S, K, tau, r, q, sigma, start, plan, work):
    """First and second derivative of `_premium` by spot; `work` holds the boundary."""
    sine, weight, matrix = plan[4], plan[5], plan[6]
    n, m = matrix.shape
    y = work[5, :m]
    sd, log_spot = sigma * math.sqrt(tau), math.log(S / K)
    shift = (r - q) * tau / sd + 0.5 * sd
    _log_boundary(matrix, work[1, :n], start, y)
    first, second = 0.0, 0.0
    for p in range(m):
        v, width = tau * sine[p] * sine[p], sd * sine[p]
        plus = (log_spot - y[p]) / width + shift * sine[p]
        minus = plus - width
        below, dense = _normal(-plus)
        interest = r * K / S * tau * weight[p] * exp(-r * v) * npdf(minus) / width
        dividends = q * tau * weight[p] * exp(-q * v)
        first += dividends * (dense / width - below) - interest
        second += interest * (1.0 + minus / width) + dividends * dense / width * (1.0 - plus / width)
    return first, second / S


@kernel
def _put_premium(S, K, tau, r, q, sigma, value, far, plan, work):
    """First and second derivative by spot of a put's premium, for a put of this value that is kept; the boundary of one that is not `far` is in `work`."""
    if far:
        _, delta, gamma, _ = stepped(S, K, tau, r, q, sigma)
        _, still, bend, _, _, _ = greeks(S, K, tau, r, q, sigma, -1.0)
        return delta - still, gamma - bend
    start = 0.0 if q <= r else math.log(r / q)
    first, second = _premium_slopes(S, K, tau, r, q, sigma, start, plan, work)
    if math.log(S / K) - work[0, 0] > AT_BOUNDARY * sigma * math.sqrt(tau):
        return first, second
    _, delta, gamma, _, _, _ = greeks(S, K, tau, r, q, sigma, -1.0)
    return first, 2.0 * (r * value - (r - q) * S * (delta + first)) / (sigma * sigma * S * S) - gamma  # theta is 0 at the boundary


@kernel
def _certain_greeks(S, K, tau, r, q, sigma, phi):
    """Price to rho where spot only drifts: kept to expiry as the European option, exercised now, or on the best day between."""
    price, delta, gamma, vega, theta, rho = greeks(S, K, tau, r, q, sigma, phi)
    now = phi * (S - K)
    best = max(now, price, 0.0)
    if r != q and r * K * q * S > 0.0:
        t = math.log(r * K / (q * S)) / (r - q)
        if 0.0 < t < tau and phi * (S * math.exp(-q * t) - K * math.exp(-r * t)) > best:
            paid, carried = K * math.exp(-r * t), math.exp(-q * t)
            return phi * (S * carried - paid), phi * carried, phi * q * carried / (S * (r - q)), 0.0, 0.0, phi * t * paid
    if now > price:
        return now, phi, 0.0, 0.0, 0.0, 0.0
    return price, delta, gamma, vega, min(theta, 0.0), rho  # where carry would lose, the option is exercised


@kernel
def _excess(S, K, tau, r, q, sigma, phi, far, plan, work):
    """The premium over the European option, and status."""
    price, status, _ = _american(S, K, tau, r, q, sigma, phi, far, plan, work)
    return price - bsm(S, K, tau, r, q, sigma, phi)[0], status


@kernel
def _spot_slopes(S, K, tau, r, q, sigma, phi, price, status, far, plan, work):
    """First and second derivative of the premium by spot, right after `_american` gave price, status and far: of the boundary, or differences of the tree."""
    excess = price - bsm(S, K, tau, r, q, sigma, phi)[0]
    if status == 0 and phi < 0.0:
        return _put_premium(S, K, tau, r, q, sigma, price, far, plan, work)
    if status == 0:  # C(S, K) = P(K, S) of the same put, which is of degree one in both
        first, second = _put_premium(K, S, tau, q, r, sigma, price, far, plan, work)
        return (excess - K * first) / S, second * (K / S) ** 2
    h = S * min(BUMP_SPOT, 0.25 * sigma * math.sqrt(tau))
    up, down = _excess(S + h, K, tau, r, q, sigma, phi, far, plan, work)[0], _excess(S - h, K, tau, r, q, sigma, phi, far, plan, work)[0]
    return (up - down) / (2.0 * h), (up - 2.0 * excess + down) / h / h


@kernel
def _vega_and_rho(S, K, tau, r, q, sigma, phi, far, plan, work):
    """Derivatives of the premium by vol and by rate, differences of one method; and the largest status."""
    h = BUMP_VOL * sigma
    up, at_up = _excess(S, K, tau, r, q, sigma + h, phi, far, plan, work)
    down, at_down = _excess(S, K, tau, r, q, sigma - h, phi, far, plan, work)
    vega = (up - down) / (2.0 * h)
    h = min(BUMP_RATE, BUMP_DRIFT * sigma / math.sqrt(tau))
    high, low = (r if -h < r < 0.0 else r + h), (r if 0.0 <= r < h else r - h)  # exercise has another reason on each side of no interest
    up, at_high = _excess(S, K, tau, high, q, sigma, phi, far, plan, work)
    down, at_low = _excess(S, K, tau, low, q, sigma, phi, far, plan, work)
    return vega, (up - down) / (high - low), max(at_up, at_down, at_high, at_low)


@kernel
def american_greeks(S, K, tau, r, q, sigma, phi, plan, work):
    """Price, delta, gamma, vega, theta (per calendar day), rho and status of one American option; `plan` is GREEKS, `work` from `workspace`.

    Notes
    -----
    Without width (sigma * sqrt(tau) = 0) the limits, as `greeks` of the European option has them. A status of 1 also says that vega or rho took a value of the tree.
    """
    price, status, far = _american(S, K, tau, r, q, sigma, phi, False, plan, work)
    if status == 3:
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, 3
    if S == 0.0 or K == 0.0 or sigma * math.sqrt(tau) == 0.0:
        _, delta, gamma, vega, theta, rho = _certain_greeks(S, K, tau, r, q, sigma, phi)
        return price, delta, gamma, vega, theta, rho, 0
    european, delta, gamma, vega, theta, rho = greeks(S, K, tau, r, q, sigma, phi)
    if _never(tau, q, r) if phi > 0.0 else _never(tau, r, q):
        return price, delta, gamma, vega, theta, rho, 0
    if price <= phi * (S - K) + SAME_PRICE * K:
        return price, phi, 0.0, 0.0, 0.0, 0.0, status
    first, second = _spot_slopes(S, K, tau, r, q, sigma, phi, price, status, far, plan, work)
    theta += (r * (price - european) - (r - q) * S * first - 0.5 * sigma * sigma * S * S * second) / DAYS
    more_vega, more_rho, worst = _vega_and_rho(S, K, tau, r, q, sigma, phi, far, plan, work)
    return price, delta + first, gamma + second, vega + more_vega, theta, rho + more_rho, max(status, worst)


@kernel
def american_greeks_arrays(S, K, tau, r, q, sigma, phi, plan, price, delta, gamma, vega, theta, rho, status):
    """`american_greeks` over float64 arrays of one length; `price` to `rho` and `status` (int64) are written."""
    work = workspace(plan)
    for i in range(S.size):
        price[i], delta[i], gamma[i], vega[i], theta[i], rho[i], status[i] = american_greeks(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i], plan, work)


@kernel
def american_arrays(S, K, tau, r, q, sigma, phi, plan, price, status):
    """`american` over float64 arrays of one length; `price` and `status` (int64) are written."""
    work = workspace(plan)
    for i in range(S.size):
        price[i], status[i] = american(S[i], K[i], tau[i], r[i], q[i], sigma[i], phi[i], plan, work)


@kernel
def _vol_bracket(target, S, K, tau, r, q, phi, plan, work, low, high):
    """A narrow bracket under the vol that the target has if European, which is never below the American one; and both errors. Ends at (low, high) where there is none."""
    b, status = implied_vol(target, S, K, tau, r, q, phi)
    if (status == 0 or status == 5) and low < b < high:
        fb = american(S, K, tau, r, q, b, phi, plan, work)[0] - target
        if abs(fb) <= SAME_PRICE * K:
            return b, fb, b, fb
        step = 1.1 * fb / bsm(S, K, tau, r, q, b, phi)[2]
        for _ in range(4):
            if not (fb > 0.0 and step > 0.0 and b - step > low):
                break
            a = b - step
            fa = american(S, K, tau, r, q, a, phi, plan, work)[0] - target
            if fa < 0.0:
                return a, fa, b, fb
            b, fb, step = a, fa, 2.0 * step
    fa = american(S, K, tau, r, q, low, phi, plan, work)[0] - target
    return low, fa, high, american(S, K, tau, r, q, high, phi, plan, work)[0] - target


@kernel
def american_vol(target, S, K, tau, r, q, phi, plan, work, low, high):
    """The vol between `low` and `high` at which `american` gives `target`, and 0; or NaN and 1 (at or below the value at `low`), 2 (at or above that at `high`), 3.

    Notes
    -----
    The European vol of the target, from above, and a secant step with its vega bracket the answer; then regula falsi with the Illinois halving
    on the value, which rises in vol; ends when the bracket or the error is below 1e-12 of the vol or strike.
    """
    if target <= american(S, K, tau, r, q, 0.0, phi, plan, work)[0]:
        return math.nan, 1
    a, fa, b, fb = _vol_bracket(target, S, K, tau, r, q, phi, plan, work, low, high)
    if a == b:
        return b, 0
    if not (fa == fa and fb == fb):
        return math.nan, 3
    if fa >= 0.0:
        return math.nan, 1
    if fb <= 0.0:
        return math.nan, 2
    side = 0
    for _ in range(100):
        vol = (a * fb - b * fa) / (fb - fa)
        f = american(S, K, tau, r, q, vol, phi, plan, work)[0] - target
        if abs(f) <= SAME_PRICE * K or b - a <= 1e-12 * vol:
            return vol, 0
        if f < 0.0:
            a, fa = vol, f
            fb = 0.5 * fb if side < 0 else fb
            side = -1
        else:
            b, fb = vol, f
            fa = 0.5 * fa if side > 0 else fa
            side = 1
    return math.nan, 3


@kernel
def american_vol_arrays(target, S, K, tau, r, q, phi, plan, low, high, vol, status):
    """`american_vol` with one `plan` over arrays of one length; `vol` (float64) and `status` (int64) are written."""
    work = workspace(plan)
    for i in range(target.size):
        vol[i], status[i] = american_vol(target[i], S[i], K[i], tau[i], r[i], q[i], phi[i], plan, work, low, high)
