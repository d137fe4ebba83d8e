"""What the portfolio jobs share: data, limits, the peers' calls and how answers are compared.

Returns are of a factor model drawn from a seed: 1,250 sessions, a market and eleven other factors. Each name is at most 10 %,
each of ten sectors at most 30 %, all of it invested. The covariance and the means are given to libraries that take them, the
returns to those that measure for themselves; constraints are the same, and are handed over in each call. Errors are relative,
of the objective; a peer's own tolerance is what it is.
"""

from collections.abc import Callable

from otsport.bench.harness import Job

MOST, SECTOR, TURNOVER, VOL = 0.10, 0.30, 0.40, 0.14
LOOSE = {"PyPortfolioOpt": 1e-4, "skfolio": 1e-4, "Riskfolio-Lib": 1e-3, "cvxportfolio": 1e-3, "cvxpy with Clarabel": 1e-6}


def beside(name: str, size: str, ours: Callable, peers: dict[str, Callable], error: Callable, floor: float, tolerance: float | dict = LOOSE) -> Job:
    """A job with one floor for every peer."""
    return Job(name, size, ours, peers, error, tolerance, dict.fromkeys(peers, floor))


def sized(make: Callable[[int, float], Job], name: str, says: str, floors: dict[int, float]) -> list[Callable[[], Job]]:
    """A job for each size with its floor, called `name_size`."""
    found = []
    for n, floor in floors.items():

        def job(n: int = n, floor: float = floor) -> Job:
            return make(n, floor)

        job.__name__, job.__doc__ = f"{name}_{n}", says
        found.append(job)
    return found


def drawn(n: int):
    """Returns, means and covariance (annual), and the bounds."""
    import numpy as np
    import pandas as pd

    from otsport.portfolio.bounds import Bounds

    rng, sessions = np.random.default_rng(0), 1250
    loads = rng.normal(0.4, 0.5, (12, n))
    loads[0] = rng.uniform(0.6, 1.4, n)
    noise = rng.standard_normal((sessions, n)) * rng.uniform(0.8, 2.0, n)
    x = 0.01 * (0.6 * rng.standard_normal((sessions, 12)) @ loads + noise) + rng.normal(4e-4, 4e-4, n)
    returns = pd.DataFrame(x, columns=[f"A{i}" for i in range(n)], index=pd.bdate_range("2018-01-01", periods=sessions))
    sectors = tuple(f"s{i % 10}" for i in range(n))

    def bounds(**more) -> Bounds:
        return Bounds(returns.columns, np.full(n, MOST), sectors=sectors, sector_cap=SECTOR, min_net=1.0, **more)

    return returns, returns.mean() * 252, returns.cov() * 252, bounds, dict(zip(returns, sectors))


def pypfopt_object(mu, cov, sectors):
    """PyPortfolioOpt's object with the constraints."""
    from pypfopt import EfficientFrontier

    found = EfficientFrontier(mu, cov, weight_bounds=(0, MOST))
    found.add_sector_constraints(sectors, {}, {s: SECTOR for s in set(sectors.values())})
    return found


def by_pypfopt(call: Callable, mu, cov, sectors) -> Callable:
    def run():
        found = pypfopt_object(mu, cov, sectors)
        call(found)
        return found.weights

    return run


def skfolio_limits(returns, sectors) -> dict[str, object]:
    """The constraints as skfolio takes them."""
    import numpy as np

    limits = [f"{s} <= {SECTOR}" for s in sorted(set(sectors.values()))]
    return {"max_weights": MOST, "groups": np.array([[sectors[c] for c in returns]]), "linear_constraints": limits}


def by_skfolio(returns, sectors, **given) -> Callable:
    """skfolio's estimator; it measures means and covariance of the returns by itself, without annualizing."""
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    limits = skfolio_limits(returns, sectors)
    return lambda: MeanRisk(risk_measure=RiskMeasure.VARIANCE, **limits, **given).fit(returns).weights_


def riskfolio_rows(returns, sectors):
    """The sector caps as Riskfolio-Lib takes them: a matrix and what its rows sum to at most."""
    import numpy as np

    kinds = sorted(set(sectors.values()))
    return np.array([[float(sectors[c] == s) for c in returns] for s in kinds]), np.full((len(kinds), 1), SECTOR)


def by_riskfolio(returns, sectors, mu, cov, objective: str, **given) -> Callable:
    """Riskfolio-Lib's portfolio, with the constraints as matrices."""
    import riskfolio

    rows = riskfolio_rows(returns, sectors)

    def run():
        book = riskfolio.Portfolio(returns=returns, upperlng=MOST, **given)
        book.ainequality, book.binequality = rows
        book.mu, book.cov = (mu / 252).to_frame().T, cov / 252
        found = book.optimization(model="Classic", rm="MV", obj=objective, rf=0, l=0)
        return None if found is None else found["weights"].to_numpy()

    return run


def lacking(value: Callable) -> Callable:
    """How much the worse of two answers lacks of the other's objective."""

    def error(ours, theirs) -> float:
        best, other = value(getattr(ours, "weights", ours)), value(theirs)
        return max(0.0, best - other) / abs(best) if other < best else max(0.0, other - best) / abs(best)

    return error
