"""American values and Greeks by finite differences, for comparison with the kernels: no boundary, no integral, nothing of theirs.

Along a path that only drifts, z = ln S - (r - q - sigma**2 / 2) (tau - t) is the log of the spot now, and the value obeys the heat equation
V_t = sigma**2 V_zz / 2 - r V under the exercise value that moves past; no drift is left, however small the vol. Crank and Nicolson after four implicit
steps, the free boundary by policy iteration (Reisinger and Witte 2012), times as (k / n)**2 from expiry, the payoff averaged over a cell; two
grids, the finer with half the steps in both, are extrapolated. Calls are puts with spot and strike, rate and yield exchanged.
A put under an upward drift is computed to the time after which Merton's value without end is the same to exp(-45).

`python tests/american_reference.py` writes golden/american_domain.json anew.
"""
import json
import math
from pathlib import Path

import numba
import numpy as np

HOUR = 1 / 24 / 365  # years
WIDTH = 7.5  # standard deviations to each side of the spot
GOLDEN = Path(__file__).parent / "golden" / "american_domain.json"
GREEKS = ("delta", "gamma", "vega", "theta", "rho")


def domain(count: int, seed: int) -> tuple[np.ndarray, ...]:
    """spot, strike, tau, rate, div_yield, vol, sign: tau an hour to 10 years, vol .1 to 200 %, rates -5 to 20 %, half of the spots near the strike."""
    rng = np.random.default_rng(seed)

    def mixed(low, high):  # half of them even in the logarithm
        return np.where(rng.random(count) < 0.5, rng.uniform(low, high, count), np.exp(rng.uniform(math.log(low), math.log(high), count)))

    tau, vol = mixed(HOUR, 10), mixed(0.001, 2)
    rate, div_yield = rng.uniform(-0.05, 0.2, (2, count))
    near = np.exp(rng.normal(0, 1, count) * np.maximum(vol * np.sqrt(tau), 1e-4))
    spot = 100 * np.where(rng.random(count) < 0.5, np.exp(rng.uniform(math.log(0.5), math.log(2), count)), np.clip(near, 0.5, 2))
    return spot, np.full(count, 100.0), tau, rate, div_yield, vol, rng.choice([-1.0, 1.0], count)


@numba.njit
def _payoff(a, b):
    """Mean over a to b of the payoff of a put with strike 1, in the log of the spot."""
    if b <= 0.0:
        return 1.0 - (math.exp(b) - math.exp(a)) / (b - a)
    return 0.0 if a >= 0.0 else (math.exp(a) - 1.0 - a) / (b - a)


@numba.njit
def _european(x, t, r, q, sigma):
    width = sigma * math.sqrt(t)
    plus = (x + (r - q) * t) / width + 0.5 * width
    return 0.5 * (math.exp(-r * t) * math.erfc((plus - width) / math.sqrt(2.0)) - math.exp(x - q * t) * math.erfc(plus / math.sqrt(2.0)))


@numba.njit
def _solve(value, known, exercise, side, middle, held):
    """Policy iteration: the value where it is kept solves the equation, elsewhere it is that of exercise; `held` says where, from the last step."""
    n = value.size
    above, over = np.empty(n), np.empty(n)
    for _ in range(100):
        above[0], over[0] = 0.0, value[0]
        for i in range(1, n - 1):
            if held[i]:
                below = middle - side * above[i - 1]
                above[i], over[i] = side / below, (known[i] - side * over[i - 1]) / below
            else:
                above[i], over[i] = 0.0, exercise[i]
        for i in range(n - 2, 0, -1):
            value[i] = over[i] - above[i] * value[i + 1]
        changed = 0
        for i in range(1, n - 1):
            if held[i]:
                now = value[i] >= exercise[i] - 1e-15
            else:
                now = middle * value[i] + side * (value[i - 1] + value[i + 1]) < known[i] - 1e-16
            changed += now != held[i]
            held[i] = now
        if changed == 0:
            break


@numba.njit
def _put(S, K, tau, r, q, sigma, points):
    """Value, delta and gamma of one put on one grid."""
    steps, centre, h = points // 2, points // 2, 2.0 * WIDTH * sigma * math.sqrt(tau) / points
    drift = r - q - 0.5 * sigma * sigma
    z = math.log(S / K) + h * (np.arange(points + 1) - centre)
    value, exercise, known, held = np.empty(points + 1), np.empty(points + 1), np.empty(points + 1), np.ones(points + 1, np.bool_)
    for i in range(points + 1):
        value[i] = _payoff(z[i] + drift * tau - 0.5 * h, z[i] + drift * tau + 0.5 * h)
    before = 0.0
    for k in range(steps + 3):
        t = tau * (0.25 * (k + 1) * (2.0 / steps) ** 2 if k < 4 else ((k - 1) / steps) ** 2)  # the first two steps in four, implicit
        if k - 1 > steps:
            break
        theta, dt, before = (1.0 if k < 4 else 0.5), t - before, t
        ratio = 0.5 * sigma * sigma * dt / (h * h)
        for i in range(1, points):
            known[i] = value[i] + (1.0 - theta) * (ratio * (value[i - 1] - 2.0 * value[i] + value[i + 1]) - r * dt * value[i])
        for i in range(points + 1):
            x = z[i] + drift * (tau - t)
            exercise[i] = 1.0 - math.exp(x) if x < 0.0 else 0.0
            if i == 0 or i == points:
                value[i] = max(exercise[i], _european(x, t, r, q, sigma))
        _solve(value, known, exercise, -theta * ratio, 1.0 + 2.0 * theta * ratio + theta * r * dt, held)
    slope, bend = (value[centre + 1] - value[centre - 1]) / (2.0 * h), (value[centre + 1] - 2.0 * value[centre] + value[centre - 1]) / (h * h)
    return K * value[centre], K * slope / S, K * (bend - slope) / (S * S)


def _grids(S, K, tau, r, q, sigma, sign, points):
    """Value, delta and gamma of one option on the grid and on the finer one."""
    if sign > 0:
        S, K, r, q = K, S, q, r
    if r >= 0 and r - q > 0.5 * sigma**2:
        tau = min(tau, 45 / (r + 0.5 * ((r - q) / sigma - 0.5 * sigma) ** 2))
    found = np.array([_put(S, K, tau, r, q, sigma, n) for n in (points, 2 * points)])
    if sign > 0:  # of degree one in spot and strike
        P, D, G = found.T
        found = np.column_stack([P, (P - S * D) / K, G * (S / K) ** 2])
    return found


def _extrapolated(coarse_fine):
    coarse, fine = coarse_fine
    return fine + (fine - coarse) / 3


def price(*option, points=300):
    """Value of one option; `option` as `domain` has them."""
    return max(float(_extrapolated(_grids(*option, points))[0]), option[6] * (option[0] - option[1]))


def close_price(ours, scale, *option, within=1e-6):
    """The value on grids that grow until they agree with `ours`, or the finest."""
    for points in (300, 1200, 3200):
        found = price(*option, points=points)
        if abs(found - ours) <= within * scale:
            break
    return found


def greeks(S, K, tau, r, q, sigma, sign, points=800):
    """Delta, gamma, vega, theta, rho as `american_greeks` has them; theta by the Black-Scholes equation, vega and rho by differences of the grids."""
    P, delta, gamma = (float(x) for x in _extrapolated(_grids(S, K, tau, r, q, sigma, sign, points)))
    theta = (r * P - (r - q) * S * delta - 0.5 * sigma**2 * S * S * gamma) / 365
    h = 0.005 * sigma
    vega = _extrapolated((_grids(S, K, tau, r, q, sigma + h, sign, points) - _grids(S, K, tau, r, q, sigma - h, sign, points))[:, 0] / (2 * h))
    h = max(1e-6, min(5e-4, 0.05 * sigma / math.sqrt(tau), 0.25 * abs(r), 0.25 * abs(r - q)))  # not over a rate at which exercise changes its nature
    rho = _extrapolated((_grids(S, K, tau, r + h, q, sigma, sign, points) - _grids(S, K, tau, r - h, q, sigma, sign, points))[:, 0] / (2 * h))
    return delta, gamma, float(vega), theta, float(rho)


def write_golden(count=300, with_greeks=60, seed=20240607):
    """Values of `count` options of the domain, a tenth of them with two boundaries, Greeks of the first; of each the difference from a grid of half the points."""
    option = np.array(domain(count, seed)).T
    rng = np.random.default_rng(seed)
    for row in option[::10]:
        low = rng.uniform(-0.05, 0, 2)
        low.sort()
        row[3], row[4] = (low if row[6] > 0 else low[::-1])
    rows = []
    for i, o in enumerate(option.tolist()):
        fine, half = price(*o, points=2000), price(*o, points=1000)
        rows.append({"option": o, "price": fine, "settled": abs(fine - half), "greeks": greeks(*o, points=2400) if i < with_greeks else None})
    about = "American options over the whole domain by finite differences (tests/american_reference.py, 2,000 and 4,000 points extrapolated; Greeks on 2,400 and 4,800)."
    GOLDEN.write_text(json.dumps({"about": about, "columns": ["spot", "strike", "tau", "rate", "div_yield", "vol", "sign"], "rows": rows}, indent=0) + "\n")


if __name__ == "__main__":
    write_golden()
