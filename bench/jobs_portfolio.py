"""Decisions around the optimizer: formulas, walks, sizes, whole lots and capital by strategy; data and constraints as of `portfolio_peers`."""

from collections.abc import Callable

from otsport.bench.harness import Job
from otsport.bench.portfolio_peers import MOST, SECTOR, TURNOVER, beside, drawn, sized, skfolio_limits


def _spoken(n: int, floor: float) -> Job:
    import itertools

    import numpy as np

    from otsport.portfolio import general
    from otsport.portfolio.language import ExpectedReturn, FullyInvested, LongOnly, MaxWeight, Problem, SectorCap, TransactionCost, Turnover, Variance

    returns, mu, cov, _, sectors = drawn(n)
    held, changes = np.full(n, 1 / n), itertools.count(1)

    def problem(factor: float) -> Problem:
        rules = [LongOnly(), FullyInvested(), MaxWeight(MOST), SectorCap(sectors, SECTOR), Turnover(held, TURNOVER)]
        return Problem(maximize=ExpectedReturn(factor * mu) - 3 * Variance(factor * cov) - TransactionCost(held, 0.002), subject_to=rules)

    def second():
        return problem(1 + 1e-9 * next(changes)).solve()  # new numbers each time

    def first():
        general._KEPT.clear()
        return second()

    def written_out():
        import cvxpy as cp

        w, s, m = cp.Variable(n), cp.psd_wrap(cov.to_numpy()), mu.to_numpy()
        rules = [w >= 0, cp.sum(w) == 1, w <= MOST, cp.norm1(w - held) <= TURNOVER]
        rules += [cp.sum(w[[i for i, c in enumerate(returns) if sectors[c] == k]]) <= SECTOR for k in sorted(set(sectors.values()))]
        cp.Problem(cp.Maximize(m @ w - 3 * cp.quad_form(w, s) - 0.002 * cp.norm1(w - held)), rules).solve(solver=cp.CLARABEL)
        return w.value

    def value(w) -> float:
        w = np.asarray(w)
        return float(mu @ w - 3 * w @ cov.to_numpy() @ w - 0.002 * np.abs(w - held).sum())

    peers = {"first solve of the shape": first, "cvxpy with Clarabel": written_out}
    return Job(
        f"general_{n}",
        f"{n} assets, costs and turnover in one formula",
        second,
        peers,
        lambda ours, theirs: abs(value(ours.weights) / value(getattr(theirs, "weights", theirs)) - 1),
        1e-6,
        {"first solve of the shape": floor},
    )


def _walked(n: int, floor: float) -> Job:
    import numpy as np
    from skfolio import RiskMeasure
    from skfolio.model_selection import WalkForward, cross_val_predict
    from skfolio.optimization import MeanRisk

    from otsport.portfolio.optimize import min_variance
    from otsport.portfolio.walk_forward import walk_forward

    returns, _, _, bounds, sectors = drawn(n)
    window, every, refits = 515, 21, 35
    tight = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12}  # by its own tolerance a day's return is off by 1e-5
    limits = skfolio_limits(returns, sectors)

    def skfolio():
        model = MeanRisk(risk_measure=RiskMeasure.VARIANCE, **limits, solver_params=tight)
        cut = WalkForward(test_size=every, train_size=window)
        found = cross_val_predict(model, returns, cv=cut, portfolio_params={"weight_drift": True})
        return found.returns

    def error(ours, theirs) -> float:
        if len(ours.turnover) != refits or len(theirs) != len(ours.returns):
            return np.inf
        return float(np.abs(ours.returns.to_numpy() - theirs).max())

    peers = {"skfolio": skfolio}
    return beside(
        f"walk_forward_{n}",
        f"{n} assets, {refits} refits on {window} sessions",
        lambda: walk_forward(returns, min_variance, bounds(), window, every, cost_bps=0),
        peers,
        error,
        floor,
        1e-6,
    )


SIGNALS, PROMISED_MS, PROMISED_US = 100_000, 100.0, 100.0


def sizing_batch() -> Job:
    """100,000 signals on 500 symbols sized in a batch, beside one by one (1,000 of them); the limits are of the slowest of the seven methods, adjustments on."""
    import numpy as np
    import pandas as pd

    from otsport.bench.harness import Part, nanoseconds
    from otsport.core.contracts import stock
    from otsport.core.intent import View
    from otsport.core.settings import Sizing
    from otsport.portfolio.size_steps import METHODS, Facts
    from otsport.portfolio.sizing import size, size_batch

    rng, (returns, _, cov, _, _) = np.random.default_rng(1), drawn(500)
    symbols = np.array(returns.columns, dtype=object)[rng.integers(0, 500, SIGNALS)]
    given = {"expected_return": rng.normal(0.08, 0.1, SIGNALS), "confidence": rng.uniform(0.5, 1, SIGNALS), "max_loss": rng.uniform(0.02, 0.3, SIGNALS)}
    signals = pd.DataFrame({"symbol": symbols} | given)
    months = pd.DataFrame(rng.normal(0.01, 0.06, (60, 500)), columns=returns.columns)
    held = {name: 0.01 for name in returns.columns[:50]}
    adjust = ("volatility", "concentration", "correlation", "regime")

    def facts() -> Facts:
        return Facts(nav=1e6, cov=cov, trades=months, held=held, regime="turbulent")

    def ours(method: str = "risk_parity") -> pd.DataFrame:
        return size_batch(signals, Sizing(method=method, adjust=adjust), facts())

    some = 1000
    views = [View(stock(s), r, c, m, (("one", 1.0),)) for s, r, c, m in signals.head(some).itertuples(index=False)]

    def one_by_one(method: str = "risk_parity") -> np.ndarray:
        known, rules = facts(), Sizing(method=method, adjust=adjust)
        return np.array([size(view, rules, known).weight for view in views])

    def error(batch, single) -> float:
        worst = max(float(np.abs(ours(m)["weight"].to_numpy()[:some] - one_by_one(m)).max()) for m in METHODS)
        return max(worst, float(np.abs(batch["weight"].to_numpy()[:some] - single).max()))

    def batches() -> tuple[float, float]:
        return PROMISED_MS, 1e-6 * max(nanoseconds(lambda m=m: ours(m), 1) for m in METHODS)

    def singles() -> tuple[float, float]:
        known = facts()
        one_by_one()

        def time_of(method: str) -> float:
            rules = Sizing(method=method, adjust=adjust)
            size(views[0], rules, known)
            return nanoseconds(lambda: [size(view, rules, known) for view in views], some)

        return PROMISED_US, 1e-3 * max(time_of(m) for m in METHODS)

    return Job("sizing_batch", f"{SIGNALS:,} signals, 500 symbols, risk parity", ours, {"one by one": Part(one_by_one, SIGNALS / some)}, error, 1e-12,
               limits={"100 ms, any method": batches, "100 us a signal, any method": singles})


def rebalance() -> Job:
    """The trades of 100 drifted positions in whole lots, inside caps of position, sector and gross, with bands, volumes and costs."""
    import numpy as np
    import pandas as pd

    from otsport.core.constraints import weight_caps
    from otsport.core.settings import Limits
    from otsport.portfolio.whole_lots import Rebalance, rebalance as decide

    rng, n, nav = np.random.default_rng(0), 100, 1e7
    names = [f"A{i}" for i in range(n)]
    prices, wished = pd.Series(rng.uniform(20, 400, n), names), pd.Series(rng.dirichlet(np.full(n, 5.0)) * 0.98, names)
    held = np.floor(pd.Series(rng.dirichlet(np.full(n, 5.0)) * 0.97 * nav, names) / prices)
    cash = nav - float(held @ prices)
    limits = Limits(max_position_weight=0.03, max_sector_weight=0.12)
    caps = weight_caps(names, limits, {s: f"s{i % 10}" for i, s in enumerate(names)})
    more = {"volumes": pd.Series(rng.uniform(2e4, 1e6, n), names), "half_spreads": pd.Series(2e-4, names), "vols": pd.Series(0.3, names)}
    rules = Rebalance(band=0.001, min_trade=0.0002, max_adv=0.05, risk_aversion=5)

    def ours():
        return decide(wished, held, prices, cash, caps, rules, **more)

    return _within_a_millisecond("rebalance", f"{n} positions", ours)


def _within_a_millisecond(name: str, size: str, *runs: Callable[[], object]) -> Job:
    """A job without a peer: the median of the slowest of its runs is below a millisecond."""
    import time
    from statistics import median

    def seconds(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def promised() -> tuple[float, float]:
        return 1e-3, max(median(seconds(run) for _ in range(200)) for run in runs)

    return Job(name, size, runs[0], {}, lambda mine, theirs: 0.0, 0.0, limits={"a millisecond": promised})


def allocation() -> Job:
    """The shares of ten strategies by two years of their returns, within a floor and a cap; the limit is of the slowest of the ways."""
    import numpy as np
    import pandas as pd

    from otsport.strategy.allocation import WAYS, allocate

    rng, k = np.random.default_rng(0), 10
    returns = pd.DataFrame(rng.normal(4e-4, 0.01, (504, k)) + rng.normal(0, 0.005, (504, 1)), pd.bdate_range("2021-01-04", periods=504), [f"strategy {i}" for i in range(k)])
    runs = [lambda way=way: allocate(returns, way, floor=0.05, cap=0.25) for way in sorted(WAYS, key=lambda way: way != "risk_parity")]
    return _within_a_millisecond("allocation", f"{k} strategies", *runs)


GENERAL = "The general way: a second solve of a shape, beside the first and beside the same problem written out in cvxpy."
WALK = "The least variance, refitted every month; the error is of a daily return out of sample."
JOBS = (
    sizing_batch,
    *sized(_spoken, "general", GENERAL, {50: 3.0}),
    rebalance,
    allocation,
    *sized(_walked, "walk_forward", WALK, {50: 30.0, 200: 8.0}),
)
