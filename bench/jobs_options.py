"""European options: price with five Greeks, and implied vol, beside NumPy with SciPy and QuantLib; one million of each.

Errors: of `bsm` the largest difference of a price over spot (Greeks are held to 1e-10 of their scale); of `implied_vol` the largest
difference of a vol wherever the spacing of float64 at the price moves it by less than 2e-11.
"""
import math
from functools import partial

import numpy as np

from otsport.bench.harness import Job, Part

SIZE, CHUNK, SEED = 1_000_000, 8_192, 7
PART = 50  # QuantLib's objects take seconds for a million: they do a fiftieth


def book(size: int = SIZE) -> list[np.ndarray]:
    """spot, strike, tau, rate, dividend yield, vol, sign: strikes within three standard deviations."""
    rng = np.random.default_rng(SEED)
    S, tau, r, q, sigma = (rng.uniform(*b, size) for b in ((50, 150), (0.02, 2), (0, 0.05), (0, 0.03), (0.1, 0.8)))
    K = S * np.exp(rng.uniform(-3, 3, size) * sigma * np.sqrt(tau))
    return [S, K, tau, r, q, sigma, rng.choice([-1.0, 1.0], size)]


def numpy_greeks(S, K, tau, r, q, sigma, phi, out) -> None:
    """Price, delta, gamma, vega, theta, rho of one chunk, each term computed once."""
    from scipy.special import ndtr

    root = np.sqrt(tau)
    sd = sigma * root
    dq, dr = np.exp(-q * tau), np.exp(-r * tau)
    d1 = (np.log(S / K) + (r - q) * tau) / sd + 0.5 * sd
    inside, paid = ndtr(phi * d1), K * dr * ndtr(phi * (d1 - sd))
    density = dq * np.exp(-0.5 * d1 * d1) * (1 / math.sqrt(2 * math.pi))
    held = S * dq * inside
    out[0][:] = phi * (held - paid)
    out[1][:] = phi * dq * inside
    out[2][:] = density / (S * sd)
    out[3][:] = S * density * root
    out[4][:] = (phi * (q * held - r * paid) - 0.5 * S * density * sigma / root) / 365
    out[5][:] = phi * tau * paid


def in_chunks(function, columns, out) -> list[np.ndarray]:
    """`function` over pieces that stay in the cache."""
    for a in range(0, columns[0].size, CHUNK):
        function(*(c[a:a + CHUNK] for c in columns), [o[a:a + CHUNK] for o in out])
    return out


def quantlib_greeks(columns) -> list[np.ndarray]:
    """The same six by BlackCalculator, one option after another."""
    import QuantLib as ql

    rows = []
    for S, K, tau, r, q, sigma, phi in zip(*(c.tolist() for c in columns)):
        payoff = ql.PlainVanillaPayoff(ql.Option.Call if phi > 0 else ql.Option.Put, K)
        option = ql.BlackCalculator(payoff, S * math.exp((r - q) * tau), sigma * math.sqrt(tau), math.exp(-r * tau))
        rows.append((option.value(), option.delta(S), option.gamma(S), option.vega(tau), option.theta(S, tau) / 365, option.rho(tau)))
    return list(np.array(rows).T)


def greeks_error(spot, ours, theirs) -> float:
    """Largest difference of price over spot; infinite where a Greek is not the same to 1e-10 of its largest value."""
    n = theirs[0].size
    for mine, other in zip(ours[1:], theirs[1:]):
        if not np.max(np.abs(mine[:n] - other)) <= 1e-10 * np.max(np.abs(other)):
            return math.inf
    return float(np.max(np.abs(ours[0][:n] - theirs[0]) / spot[:n]))


def bsm() -> Job:
    """Price, delta, gamma, vega, theta and rho of a million options."""
    from otsport.kernels.options import greeks_arrays, greeks_parallel

    columns = book()
    mine, twice, theirs = ([np.empty(SIZE) for _ in range(6)] for _ in range(3))
    few = [c[:SIZE // PART] for c in columns]

    def run(kernel, out):
        kernel(*columns, *out)
        return out

    chunks, quantlib, threads = "NumPy and SciPy in chunks of 8,192", f"QuantLib BlackCalculator (1/{PART} timed)", "ours on 2 threads"
    return Job("bsm", "1e6 options, price and 5 Greeks", partial(run, greeks_arrays, mine),
               {chunks: lambda: in_chunks(numpy_greeks, columns, theirs), quantlib: Part(lambda: quantlib_greeks(few), PART)},
               partial(greeks_error, columns[0]), 1e-12, {chunks: 4.0, quantlib: 400.0, threads: 1.8},
               faster={threads: partial(on_two_threads, partial(run, greeks_parallel, twice))})


def on_two_threads(run):
    """`run` with numba's pool held to two threads."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    try:
        return run()
    finally:
        numba.set_num_threads(before)


def numpy_newton(price, S, K, tau, r, q, phi, out) -> None:
    """Newton from the inflection point (Manaster and Koehler 1982), all quotes until each rests or is at the rounding of its price."""
    from scipy.special import ndtr

    root = np.sqrt(tau)
    forward, present = S * np.exp(-q * tau), K * np.exp(-r * tau)
    x = np.log(forward / present)
    vol = np.maximum(np.sqrt(2 * np.abs(x)), 0.1) / root
    noise = 4 * np.spacing(np.maximum(forward, present))
    with np.errstate(all="ignore"):
        for _ in range(30):
            sd = vol * root
            d1 = x / sd + 0.5 * sd
            vega = forward * np.exp(-0.5 * d1 * d1) * (root / math.sqrt(2 * math.pi))
            missing = price - phi * (forward * ndtr(phi * d1) - present * ndtr(phi * (d1 - sd)))
            step = missing / vega
            vol += step
            if not np.any((np.abs(step) > 1e-10) & (np.abs(missing) > noise)):
                break
    out[0][:] = vol


def quantlib_li(columns) -> np.ndarray:
    """QuantLib's LiRS, one quote after another, to 1e-10."""
    import QuantLib as ql

    found = []
    for price, S, K, tau, r, q, phi in zip(*(c.tolist() for c in columns)):
        side = ql.Option.Call if phi > 0 else ql.Option.Put
        sd = ql.blackFormulaImpliedStdDevLiRS(side, K, S * math.exp((r - q) * tau), price, math.exp(-r * tau), 0.0, ql.nullDouble(), 1.0, 1e-10, 100)
        found.append(sd / math.sqrt(tau))
    return np.array(found)


def vol_error(counted, ours, theirs) -> float:
    """Largest difference of vol where float64 holds it."""
    n = theirs.size
    return float(np.max(np.abs(ours[:n] - theirs)[counted[:n]]))


def implied_vol() -> Job:
    """The vols of a million prices."""
    from otsport.kernels.options import bsm_arrays, implied_vol_arrays, implied_vol_parallel

    S, K, tau, r, q, sigma, phi = book()
    price, delta, vega = (np.empty(SIZE) for _ in range(3))
    bsm_arrays(S, K, tau, r, q, sigma, phi, price, delta, vega)
    columns = [price, S, K, tau, r, q, phi]
    counted = np.spacing(price) < 2e-11 * vega
    few = [c[counted][:SIZE // PART] for c in columns]
    where = np.flatnonzero(counted)[:SIZE // PART]
    newton, whole = np.empty(SIZE), np.empty(SIZE)

    def plain():
        numpy_newton(*columns, [whole])
        return whole

    def run(kernel, vol, flag):
        kernel(*columns, vol, flag)
        return vol

    def li():
        vol = np.full(SIZE, np.nan)
        vol[where] = quantlib_li(few)
        return vol[:where[-1] + 1]

    def error(ours, theirs):
        return vol_error(counted[:theirs.size] & ~np.isnan(theirs), ours, theirs)

    numpy, chunks, quantlib, threads = "NumPy Newton", "NumPy Newton in chunks of 8,192", f"QuantLib LiRS (1/{PART} timed)", "ours on 2 threads"
    return Job("implied_vol", "1e6 quotes", partial(run, implied_vol_arrays, np.empty(SIZE), np.empty(SIZE, np.int64)),
               {numpy: plain, chunks: lambda: in_chunks(numpy_newton, columns, [newton])[0], quantlib: Part(li, PART)}, error,
               {numpy: 1e-9, chunks: 1e-9, quantlib: 1e-7, threads: 1e-15}, {numpy: 20.0, quantlib: 15.0}, reference=lambda: sigma,
               faster={threads: partial(on_two_threads, partial(run, implied_vol_parallel, np.empty(SIZE), np.empty(SIZE, np.int64)))})


JOBS = (bsm, implied_vol)
