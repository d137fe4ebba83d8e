"""What a book is measured, sized and kept with, beside empyrical, NumPy, SciPy, cvxpy, pandas and plain Zstandard.

Errors: of `rolling_metrics` the largest difference over max(1, size); of `kelly` and `optimal_f` the difference of the share; of
`kelly_many` that of the growth a period; of `snapshot` the difference over the gross value; of `ring` differing bits.
"""
import math
from functools import cache

import numpy as np

from otsport.bench.harness import Job, Part, nanoseconds

DAYS, SERIES, WINDOW, YEAR = 10_000, 100, 252, 252
EMPYRICAL_WINDOWS, QUANTSTATS_WINDOWS = 100, 20  # of DAYS - WINDOW + 1 for each series
SHARED = [0, 1, 2, 3, 4, 5, 6, 11, 12]  # the measures of quantstats_windows among ours


def empyrical_windows(x: np.ndarray, count: int) -> np.ndarray:
    """Twelve measures and the profit factor of the first `count` windows, one after another."""
    import empyrical as ep
    from scipy.stats import kurtosis, skew

    rows = []
    for i in range(count):
        w = x[i:i + WINDOW]
        rows.append((
            ep.cum_returns_final(w), ep.annual_return(w), ep.annual_volatility(w), ep.sharpe_ratio(w), ep.sortino_ratio(w), ep.calmar_ratio(w),
            ep.max_drawdown(w), -ep.value_at_risk(w), -ep.conditional_value_at_risk(w), skew(w), kurtosis(w), np.mean(w > 0), w[w > 0].sum() / -w[w < 0].sum()))
    return np.array(rows).T


def numpy_windows(x: np.ndarray) -> np.ndarray:
    """The same of every window of one series, on a sliding view."""
    w = np.lib.stride_tricks.sliding_window_view(x, WINDOW)
    value = np.cumprod(1 + w, axis=1)
    peak = np.maximum(np.maximum.accumulate(value, axis=1), 1.0)
    deepest = np.minimum((value / peak - 1).min(axis=1), 0.0)
    centered = w - w.mean(axis=1, keepdims=True)
    square = centered * centered
    m2, m3, m4 = square.mean(axis=1), (square * centered).mean(axis=1), (square * square).mean(axis=1)
    sd, mean, root = np.sqrt(m2 * WINDOW / (WINDOW - 1)), w.mean(axis=1), math.sqrt(YEAR)
    annual = value[:, -1] ** (YEAR / WINDOW) - 1
    down = np.minimum(w, 0.0)
    cut = np.quantile(w, 0.05, axis=1)
    below = w <= cut[:, None]
    return np.array([
        value[:, -1] - 1, annual, sd * root, mean / sd * root, mean * root / np.sqrt((down * down).mean(axis=1)), annual / -deepest, deepest, -cut,
        -np.where(below, w, 0.0).sum(axis=1) / below.sum(axis=1), m3 / m2**1.5, m4 / m2**2 - 3, (w > 0).mean(axis=1), np.maximum(w, 0).sum(axis=1) / -down.sum(axis=1)])


def quantstats_windows(x: np.ndarray, count: int) -> np.ndarray:
    """The nine measures that quantstats defines as we do; its value at risk is a normal one, its skew and kurtosis are those of a sample."""
    import pandas as pd
    import quantstats.stats as qs

    measures = (qs.comp, qs.cagr, qs.volatility, qs.sharpe, qs.sortino, qs.calmar, qs.max_drawdown, qs.win_rate, qs.profit_factor)
    days = pd.bdate_range("2020-01-01", periods=WINDOW)
    return np.array([[measure(pd.Series(x[i:i + WINDOW], index=days)) for measure in measures] for i in range(count)]).T


def rolling_metrics() -> Job:
    """Twelve measures (and the profit factor) of every 252-day window of 10,000 days of 100 series."""
    from otsport.analytics.metrics import rolling_metrics as roll

    x = np.random.default_rng(1).standard_t(4, (DAYS, SERIES)) * 0.01 + 0.0004
    first, windows = x[:, 0].copy(), DAYS - WINDOW + 1
    names = (f"empyrical, {EMPYRICAL_WINDOWS} windows scaled", "NumPy sliding windows, 1 series scaled", f"quantstats, 9 of the measures, {QUANTSTATS_WINDOWS} windows scaled")

    def error(ours, theirs):
        mine = ours[0][SHARED if len(theirs) == len(SHARED) else slice(None), :theirs.shape[1]]
        return float(np.max(np.abs(mine - theirs) / np.maximum(1, np.abs(theirs))))

    return Job("rolling_metrics", f"{windows * SERIES:,} windows", lambda: roll(x, WINDOW).values, {
        names[0]: Part(lambda: empyrical_windows(first, EMPYRICAL_WINDOWS), windows * SERIES / EMPYRICAL_WINDOWS),
        names[1]: Part(lambda: numpy_windows(first), SERIES),
        names[2]: Part(lambda: quantstats_windows(first, QUANTSTATS_WINDOWS), windows * SERIES / QUANTSTATS_WINDOWS)}, error, 1e-10, dict(zip(names, (3000.0, 150.0))))


def daily(count: int, mean: float = 0.0006) -> np.ndarray:
    """Returns with exactly that mean."""
    x = np.random.default_rng(2).standard_t(5, count) * 0.01
    return x + mean - x.mean()


def kelly() -> Job:
    """The growth-optimal share from 1,000 returns."""
    from scipy.optimize import brentq, minimize_scalar

    from otsport.analytics.kelly import kelly as share

    x = daily(1000)
    edge = -1 / x.min() * (1 - 1e-9)
    return Job("kelly", "1,000 returns", lambda: share(x), {
        "SciPy brentq": lambda: brentq(lambda f: np.mean(x / (1 + f * x)), 0, edge, xtol=1e-12),
        "SciPy bounded": lambda: minimize_scalar(lambda f: -np.mean(np.log1p(f * x)), bounds=(0, edge), method="bounded", options={"xatol": 1e-10}).x,
    }, lambda a, b: abs(a - b), {"SciPy brentq": 1e-9, "SciPy bounded": 1e-5}, {"SciPy brentq": 15.0, "SciPy bounded": 15.0},
        reference=lambda: brentq(lambda f: np.mean(x / (1 + f * x)), 0, edge, xtol=1e-14))


def optimal_f() -> Job:
    """Vince's optimal f of 1,000 trades; the grid has 1,000 points."""
    from scipy.optimize import brentq, minimize_scalar

    from otsport.analytics.kelly import optimal_f as share

    trades = np.round(daily(1000, 0.001) * 1e5, 2)
    r, grid = trades / -trades.min(), np.arange(1, 1000) / 1000
    return Job("optimal_f", "1,000 trades", lambda: share(trades), {
        "SciPy bounded": lambda: minimize_scalar(lambda f: -np.sum(np.log1p(f * r)), bounds=(0, 1 - 1e-9), method="bounded", options={"xatol": 1e-9}).x,
        "NumPy grid": lambda: grid[np.argmax(np.log1p(grid[:, None] * r).sum(axis=1))],
    }, lambda a, b: abs(a - b), {"SciPy bounded": 1e-5, "NumPy grid": 1e-3}, {"SciPy bounded": 8.0, "NumPy grid": 300.0},
        reference=lambda: brentq(lambda f: np.sum(r / (1 + f * r)), 1e-6, 1 - 1e-9, xtol=1e-14))


def kelly_many() -> Job:
    """The growth-optimal weights of 50 assets from 1,000 days, long only, sum at most 1; the solvers are given the gradient or the model."""
    from scipy.optimize import minimize

    from otsport.analytics.kelly import kelly_many as best

    T, n = 1000, 50
    rng = np.random.default_rng(3)
    R = rng.normal(0, 0.012, (T, n)) + rng.normal(0, 0.006, (T, 1))
    R += rng.uniform(0.0002, 0.0006, n) - R.mean(axis=0)

    def slsqp():
        return minimize(lambda w: -np.mean(np.log1p(R @ w)), np.full(n, 1 / n), jac=lambda w: -(R.T @ (1 / (1 + R @ w))) / T, bounds=[(0, 1)] * n,
                        constraints={"type": "ineq", "fun": lambda w: 1 - w.sum(), "jac": lambda w: -np.ones(n)}, method="SLSQP", options={"ftol": 1e-12, "maxiter": 500}).x

    def clarabel():
        import cvxpy as cp

        w = cp.Variable(n)
        cp.Problem(cp.Maximize(cp.sum(cp.log(1 + R @ w)) / T), [w >= 0, cp.sum(w) <= 1]).solve(solver="CLARABEL")
        return w.value

    def error(ours, theirs):
        return abs(float(np.mean(np.log1p(R @ ours)) - np.mean(np.log1p(R @ theirs)))) if np.max(np.abs(ours - theirs)) < 0.01 else math.inf

    return Job("kelly_many", f"{n} assets, {T:,} days", lambda: best(R).weights, {"SciPy SLSQP": slsqp, "cvxpy Clarabel": clarabel}, error, 1e-8,
               {"SciPy SLSQP": 10.0, "cvxpy Clarabel": 50.0})


def snapshot() -> Job:
    """1,000 positions in kept arrays: value, day, unrealized and realized, exposure by sector, MFE and MAE, drawdown."""
    import pandas as pd

    from otsport.kernels import snapshot as kernel

    n, m = 1000, 11
    rng = np.random.default_rng(4)
    book, sector, exposure = np.zeros((kernel.BOOK_ROWS, n)), rng.integers(0, m, n), np.zeros((2, m))
    book[:3] = rng.integers(1, 500, n) * rng.choice([-1, 1], n), rng.choice([1.0, 100.0], n), rng.uniform(1, 400, n)
    book[kernel.COST] = book[0] * book[1] * book[2] * rng.uniform(0.9, 1.1, n)
    book[kernel.PREVIOUS], book[kernel.REALIZED] = book[kernel.COST], rng.normal(0, 100, n)
    state = np.zeros(kernel.STATE_SIZE)
    state[[kernel.CASH, kernel.LAST_NAV, kernel.UNIT, kernel.PEAK]] = 1e9, 1e9, 1.0, 1.0
    columns = [row.copy() for row in book]
    frame = pd.DataFrame(book[:7].T, columns=["qty", "multiplier", "mark", "cost", "previous", "moved", "realized"]).assign(mfe=0.0, mae=0.0, sector=sector)
    totals = (kernel.NAV, kernel.LONG, kernel.SHORT, kernel.SUM_UNREALIZED, kernel.SUM_DAY, kernel.SUM_REALIZED)
    peaks = {"numpy": 0.0, "pandas": 0.0}

    def ours():
        kernel.snapshot(book, sector, state, exposure)
        return state, book, exposure

    def numpy():
        qty, multiplier, mark, cost, previous, moved, realized = columns[:7]
        value = qty * multiplier * mark
        unrealized, day, size = value - cost, value - previous + moved, np.abs(value)
        np.maximum(columns[10], unrealized, out=columns[10])
        np.maximum(columns[11], -unrealized, out=columns[11])
        net, gross = value.sum(), size.sum()
        nav = 1e9 + net
        peaks["numpy"] = max(peaks["numpy"], nav)
        drawdown = nav / peaks["numpy"] - 1
        return (nav, (gross + net) / 2, (gross - net) / 2, unrealized.sum(), day.sum(), realized.sum()), (columns[10], columns[11]), (
            np.bincount(sector, value, m), np.bincount(sector, size, m)), drawdown

    def pandas():
        f = frame
        value = f.qty * f.multiplier * f.mark
        f["value"], f["unrealized"], f["size"] = value, value - f.cost, value.abs()
        day = value - f.previous + f.moved
        f["mfe"], f["mae"] = np.maximum(f.mfe, f.unrealized), np.maximum(f.mae, -f.unrealized)
        by = f.groupby("sector")[["value", "size"]].sum()
        net, gross = value.sum(), f["size"].sum()
        nav = 1e9 + net
        peaks["pandas"] = max(peaks["pandas"], nav)
        drawdown = nav / peaks["pandas"] - 1
        return (nav, (gross + net) / 2, (gross - net) / 2, f.unrealized.sum(), day.sum(), f.realized.sum()), (f.mfe.to_numpy(), f.mae.to_numpy()), (
            by["value"].to_numpy(), by["size"].to_numpy()), drawdown

    def error(mine, theirs):
        (st, bk, ex), (sums, extremes, sectors, _drawdown) = mine, theirs
        gaps = [np.max(np.abs(np.array([st[i] for i in totals]) - sums)), np.max(np.abs(bk[[kernel.MFE, kernel.MAE]] - extremes)), np.max(np.abs(ex - sectors))]
        return float(max(gaps)) / 1e9

    return Job("snapshot", "1,000 positions", ours, {"NumPy": numpy, "pandas": pandas}, error, 1e-12, {"NumPy": 3.0, "pandas": 200.0})


FIELDS = ("nav", "cash", "buying_power", "long", "short", "gross", "net", "unrealized", "realized", "day_pnl", "total_pnl", "var_95", "es_95", "drawdown", "vega", "leverage")
TICKS = dict.fromkeys(FIELDS, "0.01") | {"drawdown": "0.000001", "leverage": "0.0001"}
SECONDS, SESSIONS, PORTFOLIOS = 23_400, 30, 5


def portfolio_day(seed: int) -> np.ndarray:
    """(23,400, 16) a simulated session by the second: 20 positions whose marks move by cents, risk computed each minute, ratios in full digits."""
    rng = np.random.default_rng(seed)
    qty, start = rng.integers(1, 60, 20) * 10.0 * np.where(np.arange(20) < 15, 1, -1), rng.uniform(5, 300, 20)
    mark = np.round(start * np.exp(np.cumsum(rng.normal(0, 1e-4, (SECONDS, 20)), axis=0)), 2)
    value = mark * qty
    long, short = np.round(value[:, :15].sum(axis=1), 2), np.round(-value[:, 15:].sum(axis=1), 2)
    gone = np.cumsum(rng.random(SECONDS) < 0.001)  # fills: cash and realized move by cents
    cash, realized = np.round(250_000 - gone * 123.45, 2), np.round(gone * 6.78, 2)
    nav, unrealized = np.round(cash + long - short, 2), np.round(long - short - np.round(start * qty, 2).sum(), 2)
    minute = np.arange(SECONDS) // 60
    var, vega = rng.normal(4000, 40, minute[-1] + 1)[minute], rng.normal(300, 5, minute[-1] + 1)[minute]
    return np.column_stack([nav, cash, 2 * cash, long, short, np.round(long + short, 2), np.round(long - short, 2), unrealized, realized, np.round(nav - nav[0], 2),
                            np.round(unrealized + realized, 2), var, 1.3 * var, nav / np.maximum.accumulate(nav) - 1, vega, (long + short) / nav])


def ring() -> Job:
    """A session of 1-second snapshots of 5 portfolios, 16 fields, written and read back in chunks of an hour; sizes are those of 30 sessions."""
    import zstandard

    from otsport.data.ring import decode, encode, tick_grid

    grid, hour, count = tick_grid(FIELDS, TICKS), 3600, SECONDS * PORTFOLIOS
    today = [part for p in range(PORTFOLIOS) for part in chunks(portfolio_day(p), hour)]
    packed = [encode(part) for part in today]
    packer = zstandard.ZstdCompressor(level=3)

    def ours():
        return [decode(encode(part)) for part in today]

    def plain():
        return [np.frombuffer(zstandard.decompress(packer.compress(np.ascontiguousarray(part.T).tobytes())), np.float64).reshape(part.shape[::-1]).T for part in today]

    @cache
    def sizes():
        """Bytes a snapshot over all sessions: bit exact, and with declared tick sizes."""
        days = (part for seed in range(SESSIONS * PORTFOLIOS) for part in chunks(portfolio_day(seed), hour))
        return np.sum([(len(encode(part)), len(encode(part, grid))) for part in days], axis=0) / (count * SESSIONS)

    return Job("ring", f"{count:,} snapshots", ours, {"zstd-3 of plain columns, there and back": plain}, differing_bits, 0.0, limits={
        "36 bytes a snapshot, bit exact": lambda: (36.0, sizes()[0]), "14 bytes with tick sizes": lambda: (14.0, sizes()[1]),
        "400 ns to encode": lambda: (400.0, nanoseconds(lambda: [encode(part) for part in today], count)),
        "150 ns to decode": lambda: (150.0, nanoseconds(lambda: [decode(part) for part in packed], count))})


def chunks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Rows in pieces."""
    return [rows[i:i + size] for i in range(0, len(rows), size)]


def differing_bits(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """How many bits differ."""
    pairs = ((np.ascontiguousarray(a).view(np.uint64), np.ascontiguousarray(b).view(np.uint64)) for a, b in zip(ours, theirs, strict=True))
    return float(sum(np.bitwise_count(a ^ b).sum() for a, b in pairs))


JOBS = (rolling_metrics, kelly, kelly_many, optimal_f, snapshot, ring)
