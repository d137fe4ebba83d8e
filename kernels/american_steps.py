"""American puts where a collocation of the boundary does not settle: drifts that dwarf the vol, and rates below zero. Step by step in time.

S, K dollars, tau and t years (ACT/365F), r, q, sigma annual decimals; notation of `american.py`. In x = ln(S / K), side +1 for a boundary B below which the put is exercised, and -1 for a boundary Y above
which it is (q < r < 0: exercised between Y and B, Andersen and Lake 2021), each boundary alone makes the slope of the value -1 where spot is on it:
    0 = 1 - exp(-q t) c(t) - int_0^t (side (r exp(-x - r v) n(d-) - q exp(-q v) n(d+)) / (sigma sqrt(v)) + q exp(-q v) N(-side d+)) dv
with d+-(v, x(t) - x(t - v)), and c = N(-d+(t, x)) for B, 1 for Y, beyond which spot cannot come back to the strike but through the exercise.
The unknown is x(t) alone, a root on a line, at t = T (i / STEPS)**2; before it x is cubic in sqrt(t) between the nodes.
After T = FLAT / kappa, kappa = (r + (r - q - sigma**2 / 2)**2 / (2 sigma**2)), x is that of the perpetual put to exp(-FLAT), and flat.
"""
import math

import numpy as np

from ._jit import kernel
from .elementary import exp, mills, npdf
from .options import greeks

STEPS = 32
FLAT = 18.0
ROOT = 1e-11  # of sigma sqrt(T), of a boundary
ROUNDS = 30
FIRST_STEP = 0.02  # of the mean step of the boundary in standard deviations, to bracket it
BRACKETS = 60
TRIES = 30  # of the time at which two boundaries meet
WIDTHS = 6.0  # standard deviations around the time at which the drifting spot meets a boundary


def _angles(count, power=1):
    """Sines, cosines and weights of an integral over v / tau = sin(a)**2; a higher power crowds the points where v is near 0."""
    y, w = np.polynomial.legendre.leggauss(count)
    u = (y + 1.0) / 2.0
    a = 0.5 * np.pi * u**power
    return np.sin(a), np.cos(a), np.sin(a) * np.cos(a) * 0.5 * np.pi * power * u ** (power - 1) * w


SINE, COSINE, WEIGHT = _angles(32)
FINE_SINE, FINE_COSINE, FINE_WEIGHT = _angles(96, 3)


def _cubics(steps):
    """For each node i and angle: the first of the up to four nodes up to i around i cos(a), and their weights in the cubic through them."""
    places, weights = np.zeros((steps + 1, COSINE.size), dtype=np.int64), np.zeros((steps + 1, COSINE.size, 4))
    for i in range(1, steps + 1):
        order = min(3, i)
        for p, at in enumerate(i * COSINE):
            first = max(0, min(int(at) - 1, i - order))
            nodes = first + np.arange(order + 1)
            places[i, p] = first
            weights[i, p, :order + 1] = [np.prod([(at - k) / (j - k) for k in nodes if k != j]) for j in nodes]
    return places, weights


PLACES, CUBICS = _cubics(STEPS)


@kernel(forceinline=True)
def _normal(x):
    """Distribution and density of the standard normal."""
    density = npdf(x)
    a = abs(x)
    tail = density * mills(40.0 if a > 40.0 else a)
    return (tail if x < 0.0 else 1.0 - tail), density


@kernel
def decay(r, q, sigma):
    """kappa, at which the boundary goes to that of the perpetual put; not above 0 where there is none."""
    pull = (r - q) / sigma - 0.5 * sigma
    return r + 0.5 * pull * pull


@kernel
def _between(place, x):
    """x at `place`, cubic through the four nodes around it."""
    j = max(0, min(int(place) - 1, STEPS - 3))
    u = place - j
    return (x[j] * (u - 1.0) * (u - 2.0) * (3.0 - u) + x[j + 3] * u * (u - 1.0) * (u - 2.0)) / 6.0 + 0.5 * u * (u - 3.0) * (x[j + 1] * (u - 2.0) - x[j + 2] * (u - 1.0))


@kernel
def _slope(x, width, shift, known, free, wr, wq, dq, back, side):
    """How far the slope of the value is above -1 with spot on the boundary at x; `wr`, `wq` are the weights of the two incomes at each point, `back` x's own in c."""
    interest, dividends, mass = 0.0, 0.0, 0.0
    for p in range(SINE.size):
        plus = (x - known[p] - free[p] * x) / width[p] + shift * SINE[p]
        inside, dense = _normal(-side * plus)
        interest += wr[p] * npdf(plus - width[p])
        dividends += wq[p] * dense
        mass += wq[p] * width[p] * inside
    still = _normal(-x / back - shift)[0] if side > 0.0 else 1.0
    return 1.0 - dq * still - side * (exp(-x) * interest - dividends) - mass


@kernel
def _root(guess, step, start, far, limit, width, shift, known, free, wr, wq, dq, back, side):
    """x where `_slope` is 0, to `limit`: a bracket on the side of `start` where exercise earns, then secants in it; NaN where there is none."""
    a = guess if side * (guess - start) < 0.0 < side * (guess - far) else start
    fa = _slope(a, width, shift, known, free, wr, wq, dq, back, side)
    b, fb = a, fa
    for _ in range(BRACKETS):
        if not fa * fb > 0.0:
            break
        if (b == start and a != start) or side * (b - far) <= 0.0:
            return math.nan
        a, fa = b, fb
        b = b - step if fb > 0.0 else b + step
        b = b if side * (b - start) < 0.0 else start
        fb = _slope(b, width, shift, known, free, wr, wq, dq, back, side)
        step *= 2.0
    if not fa * fb <= 0.0:
        return math.nan
    for _ in range(ROUNDS):
        if abs(b - a) <= limit or fb == 0.0:
            break
        c = (a * fb - b * fa) / (fb - fa)
        f = _slope(c, width, shift, known, free, wr, wq, dq, back, side)
        if abs(c - b) <= limit:
            return c
        if f * fb < 0.0:
            a, fa = b, fb
        else:
            fa *= 0.5
        b, fb = c, f
    return b


@kernel
def march(T, r, q, sigma, start, far, side, x):
    """The boundary at T (i / STEPS)**2 into x (STEPS + 1 values, from `start` at expiry towards `far`, which it does not reach); the number of the last node found."""
    known, free, width, wr, wq = np.empty(SINE.size), np.empty(SINE.size), np.empty(SINE.size), np.empty(SINE.size), np.empty(SINE.size)
    x[0] = start
    for i in range(1, STEPS + 1):
        t = T * (i / STEPS) ** 2
        sd = sigma * math.sqrt(t)
        for p in range(SINE.size):
            known[p], free[p] = 0.0, 0.0
            j = PLACES[i, p]
            for k in range(4):
                if j + k == i:
                    free[p] = CUBICS[i, p, k]
                elif j + k < i:
                    known[p] += CUBICS[i, p, k] * x[j + k]
            v = t * SINE[p] * SINE[p]
            width[p] = sd * SINE[p]
            wr[p], wq[p] = t * WEIGHT[p] * r * exp(-r * v) / width[p], t * WEIGHT[p] * q * exp(-q * v) / width[p]
        guess = 2.0 * x[i - 1] - x[i - 2] if i > 1 else start - side * sd
        step = FIRST_STEP * sigma * math.sqrt(T) / STEPS
        x[i] = _root(guess, step, start, far, ROOT * sd, width, (r - q) * t / sd + 0.5 * sd, known, free, wr, wq, exp(-q * t), sd, side)
        if not x[i] == x[i]:
            return i - 1
    return STEPS


@kernel
def _meeting(B, Y, last):
    """The place, in nodes up to `last`, where the boundaries meet; 0 where they do not."""
    for i in range(1, last + 1):
        if B[i] <= Y[i]:
            before = B[i - 1] - Y[i - 1]
            return i - 1 + before / (before + Y[i] - B[i])
    return 0.0


@kernel
def _extended(x, last):
    """`last`; the nodes after it go on as a parabola, so that a cubic may lean on them."""
    for i in range(last + 1, x.size):
        x[i] = 3.0 * x[i - 1] - 3.0 * x[i - 2] + x[i - 3] if i > 2 else x[0]
    return last


@kernel
def _boundaries(tau, r, q, sigma, B, Y):
    """B and, below rates of 0, Y from expiry to `horizon`; returns horizon, the place (in nodes) where they meet or 0, and whether all was found."""
    kappa = decay(r, q, sigma)
    T = min(tau, FLAT / kappa) if kappa > 0.0 else tau
    if r >= 0.0:
        return T, 0.0, march(T, r, q, sigma, 0.0 if q <= r else math.log(r / q), -math.inf, 1.0, B) == STEPS
    earns = math.log(r / q)  # exercise does between it and the strike
    longest = T
    for _ in range(TRIES):
        last = min(_extended(B, march(T, r, q, sigma, 0.0, earns, 1.0, B)), _extended(Y, march(T, r, q, sigma, earns, 0.0, -1.0, Y)))
        meet = _meeting(B, Y, last)
        if meet > 0.5 * STEPS or (meet == 0.0 and last == STEPS and T == longest):
            return T, meet, True
        if meet > 0.0:
            T *= (1.1 * meet / STEPS) ** 2
        elif last < STEPS:
            T *= max(0.5, (last + 1.0) / STEPS) ** 2
        else:  # they meet a little later
            gap, before = B[STEPS] - Y[STEPS], B[STEPS - 1] - Y[STEPS - 1]
            T = min(longest, T * min(1.5, 1.0 + 1.05 * gap / (before - gap) / STEPS) ** 2)
    return T, 0.0, False


@kernel
def _panel(a, b, tau, z, r, q, sigma, side, T, x):
    """Value, first and second derivative by spot of the income of exercise for v from a to b, in units of the strike."""
    value, first, second = 0.0, 0.0, 0.0
    S, lean = exp(z), (r - q) / sigma + 0.5 * sigma
    for p in range(FINE_SINE.size):
        v = a + (b - a) * FINE_SINE[p] * FINE_SINE[p]
        t = (tau - b) + (b - a) * FINE_COSINE[p] * FINE_COSINE[p]
        y = x[STEPS]
        if t < T:
            y = _between(STEPS * math.sqrt(t / T), x)
        root = math.sqrt(v)
        width = sigma * root
        plus = (z - y) / width + lean * root
        minus = plus - width
        below, dense = _normal(-plus)
        under, thick = _normal(-minus)
        w = side * (b - a) * FINE_WEIGHT[p]
        interest, dividends = w * r * exp(-r * v), w * q * exp(-q * v)
        value += interest * under - dividends * S * below
        first += dividends * (dense / width - below) - interest * thick / (width * S)
        second += (interest * thick / (width * S) * (1.0 + minus / width) + dividends * dense / width * (1.0 - plus / width)) / S
    return value, first, second


@kernel
def _income(begin, tau, z, r, q, sigma, side, T, x):
    """The same from `begin` to tau, in pieces that part where the boundary turns flat and where the drifting spot meets it."""
    cuts = np.empty(5)
    drift = r - q - 0.5 * sigma * sigma
    meet = (x[STEPS] - z) / drift if drift != 0.0 else 0.0
    meet = meet if meet > 0.0 else 0.0
    wide = WIDTHS * sigma * math.sqrt(meet) / abs(drift) if meet > 0.0 else 0.0
    cuts[0], cuts[1], cuts[2], cuts[3], cuts[4] = begin, meet - wide, meet + wide, tau - T, tau
    for i in range(1, 4):
        cuts[i] = min(max(cuts[i], begin), tau)
    cuts.sort()
    value, first, second = 0.0, 0.0, 0.0
    for i in range(4):
        if cuts[i + 1] > cuts[i]:
            add, slope, bend = _panel(cuts[i], cuts[i + 1], tau, z, r, q, sigma, side, T, x)
            value, first, second = value + add, first + slope, second + bend
    return value, first, second


@kernel
def stepped(S, K, tau, r, q, sigma):
    """Value, delta, gamma and success of an American put, from its boundaries step by step."""
    B, Y = np.empty(STEPS + 1), np.empty(STEPS + 1)
    T, meet, found = _boundaries(tau, r, q, sigma, B, Y)
    if not found:
        return math.nan, math.nan, math.nan, False
    z, two = math.log(S / K), r < 0.0
    begin = tau - T * (meet / STEPS) ** 2 if meet > 0.0 else 0.0
    if begin <= 0.0:
        begin = 0.0
        if z <= B[STEPS] and (not two or z >= Y[STEPS]):
            return K - S, -1.0, 0.0, True
    if r - q >= 0.5 * sigma * sigma and (not two or z > B[STEPS]) and meet == 0.0:
        tau = T  # with this drift a put that lasts longer is worth no more
    value, first, second = _income(begin, tau, z, r, q, sigma, 1.0, T, B)
    if two:
        add, slope, bend = _income(begin, tau, z, r, q, sigma, -1.0, T, Y)
        value, first, second = value + add, first + slope, second + bend
    price, delta, gamma, _, _, _ = greeks(S, K, tau, r, q, sigma, -1.0)
    return price + K * value, delta + first, gamma + second / K, True
