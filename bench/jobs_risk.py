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


JOBS: tuple = (linear_var,)
