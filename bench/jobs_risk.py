"""Risk of large books beside NumPy with SciPy, pandas and QuantLib. Errors are relative to the largest number of each answer."""
from collections.abc import Callable

from otsport.bench.harness import Job, Part

LEVELS = (0.95, 0.99)
WIDTH = 5.0  # bandwidths, as kernels.tail.CUT: where the weights of a component value at risk end


def _difference(ours: tuple, theirs: tuple) -> float:
    """The largest difference of any number, relative to the largest number of the same kind."""
    import numpy as np

    return max(float(np.max(np.abs(np.subtract(a, b))) / np.max(np.abs(b))) for a, b in zip(ours, theirs, strict=True))


def _tail(total, parts_of: Callable) -> tuple:
    """VaR and ES at LEVELS and the parts of both at the first, by NumPy; `parts_of(weights)` sums the positions' P&L."""
    import numpy as np

    cuts = np.quantile(total, [1 - a for a in LEVELS])
    shortfalls = [-total[total <= c].mean() for c in cuts]
    z = (total - cuts[0]) / (1.06 * total.std() * len(total) ** -0.2)
    weights = np.exp(-0.5 * z * z)
    weights[np.abs(z) > WIDTH] = 0.0
    smooth = -parts_of(weights / weights.sum())
    return -cuts, shortfalls, smooth * (-cuts[0] / smooth.sum()), -parts_of(np.where(total <= cuts[0], 1 / np.sum(total <= cuts[0]), 0.0))


def linear_var() -> Job:
    """VaR 95 % and 99 %, ES and the parts of both for 500 linear positions in 2,500 scenarios."""
    import numpy as np
    import pandas as pd

    from otsport.analytics import var

    rng = np.random.default_rng(1)
    returns, exposures = 0.01 * rng.standard_t(5, (2_500, 500)), 1e4 * rng.standard_normal(500)
    frame, held = pd.DataFrame(returns), pd.Series(exposures)

    def ours() -> tuple:
        found = var.linear_var(returns, exposures, LEVELS)
        return found.var, found.es, found.component_var, found.component_es

    def parts(weights: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(weights)
        few = len(rows) < len(weights) / 8  # gathering many rows takes longer than reading all
        return exposures * (weights[rows] @ returns[rows] if few else weights @ returns)

    def numpy_peer() -> tuple:
        return _tail(returns @ exposures, parts)

    def pandas_peer() -> tuple:
        pnl = frame.mul(held, axis=1)
        total = pnl.sum(axis=1)
        cuts = total.quantile([1 - a for a in LEVELS])
        z = (total - cuts.iloc[0]) / (1.06 * total.std(ddof=0) * len(total) ** -0.2)
        weights = np.exp(-0.5 * z**2).where(z.abs() <= WIDTH, 0.0)
        smooth = -pnl.mul(weights, axis=0).sum() / weights.sum()
        return -cuts, [-total[total <= c].mean() for c in cuts], smooth * (-cuts.iloc[0] / smooth.sum()), -pnl[total <= cuts.iloc[0]].mean()

    return Job("linear_var", "500 positions x 2,500 scenarios", ours, {"NumPy": numpy_peer, "pandas": pandas_peer}, _difference, 1e-9,
               {"NumPy": 1.8, "pandas": 30.0})


def full_revaluation() -> Job:
    """Every one of 500 options on 50 stocks priced again in 2,500 scenarios of spots, vols and one day, with VaR, ES and their parts."""
    import numpy as np
    from scipy.special import ndtr

    from otsport.analytics import revaluation as module

    n, scenarios, stocks, rate, div_yield, days, sampled = 500, 2_500, 50, 0.03, 0.01, 1.0, 25
    rng = np.random.default_rng(2)
    rows, phi = np.arange(n) % stocks, rng.choice([-1.0, 1.0], n)
    spot = rng.uniform(20, 400, stocks)[rows]
    strike, tau, vol, qty = spot * rng.uniform(0.8, 1.2, n), rng.uniform(0.02, 1.2, n), rng.uniform(0.2, 0.6, n), rng.integers(1, 20, n) * rng.choice([-1.0, 1.0], n)
    moves, shifts = 0.015 * rng.standard_t(5, (scenarios, stocks)), 0.01 * rng.standard_normal((scenarios, stocks))
    book = module.make_book(qty, spot, strike, tau, vol, np.where(phi > 0, "C", "P"), rows, rate, div_yield)
    left, scale, room, theirs_room = tau - days / 365, 100 * qty, np.empty((n, scenarios)), np.empty((n, scenarios))  # memory is reused by both

    def ours() -> tuple:
        found = module.book_tail(module.full_revaluation(book, moves, shifts, days, out=room), LEVELS)
        return found.var, found.es, found.component_var, found.component_es

    def prices(forward, present, logs, sd, sign):
        d1 = logs / sd + 0.5 * sd
        return sign * (forward * ndtr(sign * d1) - present * ndtr(sign * (d1 - sd)))

    def numpy_peer() -> tuple:
        growth = 1 + np.ascontiguousarray(moves.T)
        logs, moved = np.log(growth), np.ascontiguousarray(shifts.T)  # once an underlying, not once an option
        base = prices(spot * np.exp(-div_yield * tau), strike * np.exp(-rate * tau), np.log(spot / strike) + (rate - div_yield) * tau, vol * np.sqrt(tau), phi)
        forward, present = spot * np.exp(-div_yield * left), strike * np.exp(-rate * left)
        gaps, roots, pnl = np.log(forward / present), np.sqrt(left), theirs_room
        for i in range(n):  # an option at a time: 2,500 scenarios stay in the cache
            u = rows[i]
            pnl[i] = scale[i] * (prices(forward[i] * growth[u], present[i], gaps[i] + logs[u], (vol[i] + moved[u]) * roots[i], phi[i]) - base[i])
        return _tail(pnl.sum(axis=0), lambda weights: pnl @ weights)

    def quantlib_rows() -> np.ndarray:
        import QuantLib as ql

        pnl, kinds = np.empty((sampled, scenarios)), {1.0: ql.Option.Call, -1.0: ql.Option.Put}
        for i in range(sampled):
            u, kind, k, root, carry, discount = rows[i], kinds[phi[i]], strike[i], left[i] ** 0.5, np.exp((rate - div_yield) * left[i]), np.exp(-rate * left[i])
            base = ql.blackFormula(kind, k, spot[i] * np.exp((rate - div_yield) * tau[i]), vol[i] * tau[i] ** 0.5, np.exp(-rate * tau[i]))
            forwards, deviations = (spot[i] * carry * (1 + moves[:, u])).tolist(), ((vol[i] + shifts[:, u]) * root).tolist()
            pnl[i] = [ql.blackFormula(kind, k, f, sd, discount) for f, sd in zip(forwards, deviations)]
            pnl[i] = scale[i] * (pnl[i] - base)
        return pnl

    def error(found: object, theirs: object) -> float:
        if isinstance(theirs, np.ndarray):  # QuantLib's rows against ours
            return _difference((module.full_revaluation(book, moves, shifts, days).pnl[:sampled],), (theirs,))
        return _difference(found, theirs)

    quantlib = f"QuantLib blackFormula loop ({sampled} of {n} options, scaled, no VaR)"
    return Job("full_revaluation", "500 options x 2,500 scenarios", ours, {"NumPy": numpy_peer, quantlib: Part(quantlib_rows, n / sampled)}, error, 1e-9,
               {"NumPy": 2.8, quantlib: 45.0})


def monte_carlo() -> Job:
    """VaR and ES of a delta-gamma book of 50 assets in 100,000 simulated days. The error is that of two different samples."""
    import numpy as np

    from otsport.analytics import montecarlo as module

    n, scenarios, block = 50, 100_000, 2_000
    rng = np.random.default_rng(3)
    loadings = rng.normal(size=(n, n))
    cov = 0.06 * (0.3 + 0.7 * np.corrcoef(loadings))
    delta, gamma = 1e5 * rng.standard_normal(n), -5e5 * np.abs(rng.standard_normal(n))

    def ours() -> tuple:
        found = module.monte_carlo(delta, gamma, cov, scenarios=scenarios, levels=LEVELS, seed=1, antithetic=False)
        return found.var, found.es

    def measures(pnl: np.ndarray) -> tuple:
        cuts = np.quantile(pnl, [1 - a for a in LEVELS])
        return -cuts, [-pnl[pnl <= c].mean() for c in cuts]

    def numpy_peer() -> tuple:
        draw, root = np.random.default_rng(1), np.linalg.cholesky(cov / 252).T
        z, x, pnl = np.empty((block, n)), np.empty((block, n)), np.empty(scenarios)
        for start in range(0, scenarios, block):  # blocks stay in the cache
            draw.standard_normal(out=z)
            np.matmul(z, root, out=x)
            linear = x @ delta
            x *= x
            pnl[start : start + block] = linear + 0.5 * (x @ gamma)
        return measures(pnl)

    def rotated_peer() -> tuple:
        f, draw = module.book_factors(delta, gamma, cov / 252), np.random.default_rng(1)
        z, pnl = np.empty((block, n)), np.empty(scenarios)
        for start in range(0, scenarios, block):
            draw.standard_normal(out=z)
            linear = z @ f.b
            z *= z
            pnl[start : start + block] = linear + z @ f.c
        return measures(pnl)

    return Job("monte_carlo", "100,000 scenarios x 50 assets, delta-gamma", ours, {"NumPy": numpy_peer, "NumPy, rotated as ours": rotated_peer}, _difference, 0.03,
               {"NumPy": 3.5})


def _stress(style: str) -> Job:
    """The call of a user: positions of 500 options on 20 stocks, priced again on 40 spots x 5 vols x 2 days; the error is of the worst option, relative to its spot."""
    import numpy as np

    from otsport.analytics.american import american
    from otsport.analytics.options import bsm_price
    from otsport.desk.risk import risk

    rng, n, stocks, rate, div_yield = np.random.default_rng(4), 500, 20, 0.03, 0.01
    spot = np.round(rng.uniform(20, 400, stocks), 2)
    names, days = [f"S{chr(65 + i)}" for i in range(stocks)], ("20230120", "20230217", "20230616", "20240119")
    rows = [{"qty": int(rng.integers(1, 20)) * int(rng.choice([-1, 1])), "symbol": names[i % stocks], "right": "CP"[int(rng.integers(2))], "expiry": days[int(rng.integers(4))],
             "strike": float(np.round(spot[i % stocks] * rng.uniform(0.8, 1.2), 1)), "vol": float(rng.uniform(0.2, 0.6))} for i in range(n)]
    book = risk(rows, spot=dict(zip(names, spot)), rate=rate, div_yield=div_yield, style=style, as_of="2022-12-28")
    moves, vols, passed = np.linspace(-0.2, 0.2, 40), np.array([-0.2, -0.1, 0.0, 0.2, 0.5]), (0.0, 7.0)
    t, v = book.valued.terms, book.valued

    def ours() -> np.ndarray:
        return book.stress(moves, vols, passed).by_position

    def one_by_one() -> np.ndarray:
        column = lambda x: x[:, None, None, None]
        price = (lambda *a: american(*a)[0]) if style == "american" else bsm_price
        later = price(column(t.spot) * (1 + moves[:, None, None]), column(t.strike), np.maximum(column(t.tau) - np.array(passed) / 365, 0), rate, div_yield,
                      column(v.vol) * (1 + vols[:, None]), column(t.right))
        return column(v.units) * (later - column(price(t.spot, t.strike, t.tau, rate, div_yield, v.vol, t.right)))

    def error(found: np.ndarray, theirs: np.ndarray) -> float:
        return float(np.max(np.abs(found - theirs) / np.abs(v.units)[:, None, None, None] / t.spot[:, None, None, None]))

    def promised() -> tuple[float, float]:
        import time

        took = []
        for _ in range(7):
            start = time.perf_counter()
            ours()
            took.append(time.perf_counter() - start)
        return 50.0, 1e3 * float(np.median(took))

    return Job("stress_500" if style == "american" else "stress_500_european", f"500 {style} options x 400 points of spot, vol and days", ours, {"one by one": one_by_one}, error, 3e-4,
               limits={"50 ms": promised})


def stress_500() -> Job:
    """Stress of 500 American options on 400 points, the whole call."""
    return _stress("american")


def stress_500_european() -> Job:
    """The same of European options."""
    return _stress("european")


JOBS: tuple = (linear_var, full_revaluation, monte_carlo, stress_500, stress_500_european)
