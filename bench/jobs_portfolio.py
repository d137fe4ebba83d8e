"""Portfolio optimization beside skfolio, PyPortfolioOpt, Riskfolio-Lib and cvxportfolio: the whole call, frames in, result out.

Returns are of a factor model drawn from a seed: 1,250 sessions, a market and eleven other factors. Each name is at most 10 %,
each of ten sectors at most 30 %, all of it invested. The covariance and the means are given to libraries that take them, the
returns to those that measure for themselves; constraints are the same, and are handed over in each call. Errors are relative,
of the objective; a peer's own tolerance is what it is.
"""

from collections.abc import Callable
from dataclasses import replace

from otsport.bench.harness import Job

MOST, SECTOR, TURNOVER, VOL = 0.10, 0.30, 0.40, 0.14
LOOSE = {"PyPortfolioOpt": 1e-4, "skfolio": 1e-4, "Riskfolio-Lib": 1e-3, "cvxportfolio": 1e-3, "cvxpy with Clarabel": 1e-6}


def _data(n: int):
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


def _frontier_of(mu, cov, sectors):
    """PyPortfolioOpt's object with the constraints."""
    from pypfopt import EfficientFrontier

    found = EfficientFrontier(mu, cov, weight_bounds=(0, MOST))
    found.add_sector_constraints(sectors, {}, {s: SECTOR for s in set(sectors.values())})
    return found


def _pypfopt(call: Callable, mu, cov, sectors) -> Callable:
    def run():
        found = _frontier_of(mu, cov, sectors)
        call(found)
        return found.weights

    return run


def _skfolio(returns, sectors, **given) -> Callable:
    """skfolio's estimator; it measures means and covariance of the returns by itself, without annualizing."""
    import numpy as np
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    groups = np.array([[sectors[c] for c in returns]])
    limits = [f"{s} <= {SECTOR}" for s in sorted(set(sectors.values()))]

    def run():
        return (
            MeanRisk(risk_measure=RiskMeasure.VARIANCE, max_weights=MOST, groups=groups, linear_constraints=limits, **given)
            .fit(returns)
            .weights_
        )

    return run


def _riskfolio(returns, sectors, mu, cov, objective: str, **given) -> Callable:
    """Riskfolio-Lib's portfolio, with the constraints as matrices."""
    import numpy as np
    import riskfolio

    kinds = sorted(set(sectors.values()))
    a = -np.array([[float(sectors[c] == s) for c in returns] for s in kinds])
    b = -np.full((len(kinds), 1), SECTOR)

    def run():
        book = riskfolio.Portfolio(returns=returns, upperlng=MOST, **given)
        book.ainequality, book.binequality = -a, -b
        book.mu, book.cov = (mu / 252).to_frame().T, cov / 252
        found = book.optimization(model="Classic", rm="MV", obj=objective, rf=0, l=0)
        return None if found is None else found["weights"].to_numpy()

    return run


def _lacking(value: Callable) -> Callable:
    """How much the worse of two answers lacks of the other's objective."""

    def error(ours, theirs) -> float:
        best, other = value(getattr(ours, "weights", ours)), value(theirs)
        return max(0.0, best - other) / abs(best) if other < best else max(0.0, other - best) / abs(best)

    return error


def _usable(peers: dict[str, Callable]) -> dict[str, Callable]:
    return {name: run for name, run in peers.items() if run is not None}


def _least_variance(n: int, floor: float) -> Job:
    from otsport.portfolio.optimize import min_variance
    from skfolio.optimization import ObjectiveFunction

    returns, mu, cov, bounds, sectors = _data(n)
    s = cov.to_numpy()
    peers = {
        "PyPortfolioOpt": _pypfopt(lambda f: f.min_volatility(), mu, cov, sectors),
        "skfolio": _skfolio(returns, sectors, objective_function=ObjectiveFunction.MINIMIZE_RISK),
        "Riskfolio-Lib": _riskfolio(returns, sectors, mu, cov, "MinRisk"),
    }
    return Job(
        f"min_variance_{n}",
        f"{n} assets",
        lambda: min_variance(mu, cov, bounds()),
        peers,
        _lacking(lambda w: w @ s @ w),
        LOOSE,
        dict.fromkeys(peers, floor),
    )


def _best_sharpe(n: int, floor: float) -> Job:
    from otsport.portfolio.optimize import max_sharpe
    from skfolio.optimization import ObjectiveFunction

    returns, mu, cov, bounds, sectors = _data(n)
    s, m = cov.to_numpy(), mu.to_numpy()
    peers = {
        "PyPortfolioOpt": _pypfopt(lambda f: f.max_sharpe(risk_free_rate=0.0), mu, cov, sectors),
        "skfolio": _skfolio(returns, sectors, objective_function=ObjectiveFunction.MAXIMIZE_RATIO),
        "Riskfolio-Lib": _riskfolio(returns, sectors, mu, cov, "Sharpe"),
    }
    return Job(
        f"max_sharpe_{n}",
        f"{n} assets",
        lambda: max_sharpe(mu, cov, bounds()),
        peers,
        _lacking(lambda w: m @ w / (w @ s @ w) ** 0.5),
        LOOSE,
        dict.fromkeys(peers, floor),
    )


def _best_return(n: int, floor: float) -> Job:
    from otsport.portfolio.optimize import max_return
    from skfolio.optimization import ObjectiveFunction

    returns, mu, cov, bounds, sectors = _data(n)
    m = mu.to_numpy()
    peers = {
        "PyPortfolioOpt": _pypfopt(lambda f: f.efficient_risk(VOL), mu, cov, sectors),
        "skfolio": _skfolio(returns, sectors, objective_function=ObjectiveFunction.MAXIMIZE_RETURN, max_variance=VOL**2 / 252),
    }
    return Job(
        f"max_return_{n}",
        f"{n} assets, vol at most {VOL:.0%}",
        lambda: max_return(mu, cov, bounds(), VOL),
        peers,
        _lacking(lambda w: m @ w),
        LOOSE,
        dict.fromkeys(peers, floor),
    )


def _diversified(n: int, floor: float) -> Job:
    import numpy as np
    from otsport.portfolio.optimize import max_diversification
    from skfolio.optimization import MaximumDiversification

    returns, mu, cov, bounds, sectors = _data(n)
    s, vols = cov.to_numpy(), np.sqrt(np.diag(cov))
    groups, limits = np.array([[sectors[c] for c in returns]]), [f"{k} <= {SECTOR}" for k in sorted(set(sectors.values()))]

    def skfolio():
        return MaximumDiversification(max_weights=MOST, groups=groups, linear_constraints=limits).fit(returns).weights_

    import pandas as pd

    named = pd.Series(vols, index=cov.index)
    peers = {"PyPortfolioOpt": _pypfopt(lambda f: f.max_sharpe(risk_free_rate=0.0), named, cov, sectors), "skfolio": skfolio}
    return Job(
        f"max_diversification_{n}",
        f"{n} assets",
        lambda: max_diversification(cov, bounds()),
        peers,
        _lacking(lambda w: vols @ w / (w @ s @ w) ** 0.5),
        LOOSE,
        dict.fromkeys(peers, floor),
    )


def _turnover(n: int, floor: float) -> Job:
    import cvxpy as cp
    import numpy as np
    from pypfopt import EfficientFrontier  # noqa: F401  the package that the constraint is added to

    from otsport.portfolio.optimize import min_variance

    returns, mu, cov, bounds, sectors = _data(n)
    s, held = cov.to_numpy(), np.full(n, 1 / n)

    def limited(f):
        f.add_constraint(lambda w: cp.norm1(w - held) <= TURNOVER)
        f.min_volatility()

    peers = {"PyPortfolioOpt": _pypfopt(limited, mu, cov, sectors)}
    return Job(
        f"turnover_{n}",
        f"{n} assets, 20 % sold and 20 % bought at most",
        lambda: min_variance(mu, cov, bounds(held=held, max_turnover=TURNOVER)),
        peers,
        _lacking(lambda w: w @ s @ w),
        LOOSE,
        dict.fromkeys(peers, floor),
    )


def _curve(n: int, floor: float) -> Job:
    import numpy as np
    from skfolio.optimization import ObjectiveFunction

    from otsport.portfolio.optimize import frontier

    returns, mu, cov, bounds, sectors = _data(n)
    s, points = cov.to_numpy(), 20
    ours = frontier(mu, cov, bounds(), points)
    goals = ours.returns

    def pypfopt():
        found = []
        for goal in goals[:-1]:
            f = _frontier_of(mu, cov, sectors)
            f.efficient_return(goal)
            found.append(f.weights)
        return np.array(found)

    skfolio = _skfolio(returns, sectors, objective_function=ObjectiveFunction.MINIMIZE_RISK, efficient_frontier_size=points)

    def error(mine, theirs) -> float:
        if len(theirs) != points - 1:
            return 0.0  # skfolio spaces its own returns
        own = np.einsum("ki,ij,kj->k", mine.weights[:-1], s, mine.weights[:-1])
        return float(np.max(np.abs(np.einsum("ki,ij,kj->k", theirs, s, theirs) / own - 1)))

    peers = {"PyPortfolioOpt": pypfopt, "skfolio": skfolio}
    return Job(
        f"frontier_{n}",
        f"{n} assets, {points} points",
        lambda: frontier(mu, cov, bounds(), points),
        peers,
        error,
        1e-3,
        dict.fromkeys(peers, floor),
    )


def _equal_risk(n: int, floor: float) -> Job:
    import numpy as np
    import riskfolio
    from skfolio import RiskMeasure
    from skfolio.optimization import RiskBudgeting

    from otsport.portfolio.risk_parity import risk_parity

    returns, mu, cov, _, _ = _data(n)
    s = cov.to_numpy()

    def shares(w: np.ndarray) -> np.ndarray:
        w = np.ravel(w)
        return w * (s @ w) / (w @ s @ w)

    def riskfolio_peer():
        book = riskfolio.Portfolio(returns=returns)
        book.mu, book.cov = (mu / 252).to_frame().T, cov / 252
        return book.rp_optimization(model="Classic", rm="MV", rf=0, b=None)["weights"].to_numpy()

    peers = {
        "Riskfolio-Lib": riskfolio_peer,
        "skfolio": lambda: RiskBudgeting(risk_measure=RiskMeasure.VARIANCE).fit(returns).weights_,
    }
    return Job(
        f"risk_parity_{n}",
        f"{n} assets, equal shares",
        lambda: risk_parity(cov),
        peers,
        lambda ours, theirs: float(np.abs(shares(theirs) - 1 / n).max() * n),
        {"Riskfolio-Lib": 1.0, "skfolio": 1.0},
        dict.fromkeys(peers, floor),
    )


def _bisected(n: int, floor: float) -> Job:
    import numpy as np
    from pypfopt import HRPOpt

    from otsport.portfolio.risk_parity import hierarchical_risk_parity

    returns, _, cov, _, _ = _data(n)

    def pypfopt():
        found = HRPOpt(cov_matrix=cov).optimize("single")
        return np.array([found[c] for c in cov])

    peers = {"PyPortfolioOpt": pypfopt}
    return Job(
        f"hrp_{n}",
        f"{n} assets, single linkage",
        lambda: hierarchical_risk_parity(cov),
        peers,
        lambda ours, theirs: float(np.abs(ours.weights - theirs).max()),
        1e-9,
        dict.fromkeys(peers, floor),
    )


SCENES = 1000  # sessions of the scenarios


def _tail(n: int, floor: float) -> Job:
    import numpy as np
    from pypfopt import EfficientCVaR
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    from otsport.portfolio.empirical import min_cvar, shortfall

    returns, mu, _, bounds, sectors = _data(n)
    returns = returns.iloc[:SCENES]
    groups, limits = np.array([[sectors[c] for c in returns]]), [f"{k} <= {SECTOR}" for k in sorted(set(sectors.values()))]

    def skfolio():
        given = {"max_weights": MOST, "groups": groups, "linear_constraints": limits}
        return MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=0.95, **given).fit(returns).weights_

    def pypfopt():
        found = EfficientCVaR(mu, returns, beta=0.95, weight_bounds=(0, MOST))
        found.add_sector_constraints(sectors, {}, {s: SECTOR for s in set(sectors.values())})
        found.min_cvar()
        return found.weights

    peers = {"PyPortfolioOpt": pypfopt, "skfolio": skfolio}
    return Job(
        f"min_cvar_{n}",
        f"{n} assets, {SCENES:,} scenarios, level 95 %",
        lambda: min_cvar(returns, bounds()),
        peers,
        _lacking(lambda w: shortfall(returns.to_numpy(), w)),
        LOOSE | {"skfolio": 1e-3},
        dict.fromkeys(peers, floor),
    )


def _grown(n: int, floor: float) -> Job:
    import numpy as np
    import riskfolio

    from otsport.portfolio.empirical import kelly_portfolio

    returns, _, _, bounds, sectors = _data(n)
    returns = returns.iloc[:SCENES]
    kinds = sorted(set(sectors.values()))
    a = np.array([[float(sectors[c] == s) for c in returns] for s in kinds])

    def riskfolio_peer():
        book = riskfolio.Portfolio(returns=returns, upperlng=MOST)
        book.ainequality, book.binequality = a, np.full((len(kinds), 1), SECTOR)
        book.assets_stats(method_mu="hist", method_cov="hist")
        return book.optimization(model="Classic", rm="MV", obj="MaxRet", kelly="exact", rf=0, l=0)["weights"].to_numpy()

    peers = {"Riskfolio-Lib": riskfolio_peer}
    return Job(
        f"kelly_portfolio_{n}",
        f"{n} assets, {SCENES:,} scenarios",
        lambda: kelly_portfolio(returns, bounds()),
        peers,
        _lacking(lambda w: float(np.log1p(returns.to_numpy() @ np.ravel(w)).mean())),
        LOOSE,
        dict.fromkeys(peers, floor),
    )


def _with_views(n: int, floor: float) -> Job:
    import numpy as np
    from pypfopt import BlackLittermanModel
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import BlackLitterman

    from otsport.portfolio.black_litterman import MarketView, black_litterman
    from otsport.portfolio.optimize import max_sharpe

    returns, _, cov, bounds, sectors = _data(n)
    names, flat = list(returns), np.full(n, 1 / n)
    views = [MarketView({names[2 * k]: 1.0, names[2 * k + 1]: -1.0}, 0.02 + 0.01 * k) for k in range(3)]
    pi = 2.5 * cov @ flat
    picks, said = np.zeros((3, n)), np.array([[v.excess_return] for v in views])
    for k in range(3):
        picks[k, 2 * k], picks[k, 2 * k + 1] = 1.0, -1.0

    def ours():
        seen = black_litterman(cov, flat, views)
        return max_sharpe(seen.expected_returns, seen.cov, bounds())

    def pypfopt():
        model = BlackLittermanModel(cov, pi=pi, Q=said, P=picks, tau=0.05)
        return _pypfopt(lambda f: f.max_sharpe(risk_free_rate=0.0), model.bl_returns(), model.bl_cov(), sectors)()

    groups, limits = np.array([[sectors[c] for c in returns]]), [f"{k} <= {SECTOR}" for k in sorted(set(sectors.values()))]
    words = [f"{names[2 * k]} - {names[2 * k + 1]} == {(0.02 + 0.01 * k) / 252}" for k in range(3)]

    def skfolio():
        prior = BlackLitterman(views=words, tau=0.05)
        ratio = {"risk_measure": RiskMeasure.VARIANCE, "objective_function": ObjectiveFunction.MAXIMIZE_RATIO}
        return MeanRisk(prior_estimator=prior, max_weights=MOST, groups=groups, linear_constraints=limits, **ratio).fit(returns).weights_

    seen = black_litterman(cov, flat, views)
    peers = {"PyPortfolioOpt": pypfopt, "skfolio": skfolio}
    return Job(
        f"black_litterman_{n}",
        f"{n} assets, three views, then the greatest Sharpe ratio",
        ours,
        peers,
        _lacking(lambda w: seen.expected_returns @ w / (w @ seen.cov @ w) ** 0.5),
        LOOSE | {"skfolio": 0.1},  # its own risk aversion of 1 and ddof make another equilibrium
        dict.fromkeys(peers, floor),
    )


def min_cvar_50() -> Job:
    """The least conditional value at risk."""
    return _tail(50, 10.0)


def min_cvar_500() -> Job:
    """The least conditional value at risk."""
    return _tail(500, 20.0)


def kelly_portfolio_50() -> Job:
    """The fastest growth, exact, within the same constraints."""
    return _grown(50, 100.0)


def kelly_portfolio_200() -> Job:
    """The fastest growth, exact, within the same constraints."""
    return _grown(200, 300.0)


def black_litterman_50() -> Job:
    """Views, and the best weights with them."""
    return _with_views(50, 10.0)


def black_litterman_500() -> Job:
    """Views, and the best weights with them."""
    return _with_views(500, 4.0)




def _spoken(n: int, floor: float) -> Job:
    import itertools

    import numpy as np

    from otsport.portfolio import general
    from otsport.portfolio.language import ExpectedReturn, FullyInvested, LongOnly, MaxWeight, Problem, SectorCap, TransactionCost, Turnover, Variance

    returns, mu, cov, _, sectors = _data(n)
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

    returns, _, _, bounds, sectors = _data(n)
    window, every, refits = 515, 21, 35
    tight = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12}  # by its own tolerance a day's return is off by 1e-5
    groups, limits = np.array([[sectors[c] for c in returns]]), [f"{k} <= {SECTOR}" for k in sorted(set(sectors.values()))]

    def skfolio():
        model = MeanRisk(
            risk_measure=RiskMeasure.VARIANCE, max_weights=MOST, groups=groups, linear_constraints=limits, solver_params=tight
        )
        cut = WalkForward(test_size=every, train_size=window)
        found = cross_val_predict(model, returns, cv=cut, portfolio_params={"weight_drift": True})
        return found.returns

    def error(ours, theirs) -> float:
        if len(ours.turnover) != refits or len(theirs) != len(ours.returns):
            return np.inf
        return float(np.abs(ours.returns.to_numpy() - theirs).max())

    peers = {"skfolio": skfolio}
    return Job(
        f"walk_forward_{n}",
        f"{n} assets, {refits} refits on {window} sessions",
        lambda: walk_forward(returns, min_variance, bounds(), window, every, cost_bps=0),
        peers,
        error,
        1e-6,
        dict.fromkeys(peers, floor),
    )


def min_variance_50() -> Job:
    """The least variance."""
    return _least_variance(50, 25.0)


def min_variance_500() -> Job:
    """The least variance."""
    return _least_variance(500, 100.0)


def max_sharpe_50() -> Job:
    """The greatest Sharpe ratio."""
    return _best_sharpe(50, 10.0)


def max_sharpe_500() -> Job:
    """The greatest Sharpe ratio."""
    return _best_sharpe(500, 100.0)


def max_return_50() -> Job:
    """The greatest return below a vol."""
    return _best_return(50, 6.0)


def max_return_500() -> Job:
    """The greatest return below a vol; peers are given the whole covariance, not a factor model."""
    return _best_return(500, 25.0)


def max_diversification_50() -> Job:
    """The greatest diversification ratio."""
    return _diversified(50, 8.0)


def max_diversification_500() -> Job:
    """The greatest diversification ratio."""
    return _diversified(500, 40.0)


def turnover_50() -> Job:
    """The least variance from what is held."""
    return _turnover(50, 12.0)


def turnover_500() -> Job:
    """The least variance from what is held."""
    return _turnover(500, 15.0)


def frontier_50() -> Job:
    """The efficient frontier."""
    return _curve(50, 15.0)


def frontier_200() -> Job:
    """The efficient frontier."""
    return _curve(200, 12.0)


def risk_parity_50() -> Job:
    """Equal shares of the risk; the error is the peer's own: by how much of an equal share its shares miss."""
    return _equal_risk(50, 50.0)


def risk_parity_500() -> Job:
    """Equal shares of the risk; the error is the peer's own: by how much of an equal share its shares miss."""
    return _equal_risk(500, 1500.0)


def hrp_50() -> Job:
    """Hierarchical risk parity."""
    return _bisected(50, 40.0)


def hrp_500() -> Job:
    """Hierarchical risk parity."""
    return _bisected(500, 70.0)


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

    rng, (returns, _, cov, _, _) = np.random.default_rng(1), _data(500)
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


def general_50() -> Job:
    """The general way: a second solve of a shape, beside the first and beside the same problem written out in cvxpy."""
    return _spoken(50, 3.0)


def walk_forward_50() -> Job:
    """The least variance, refitted every month; the error is of a daily return out of sample."""
    return _walked(50, 30.0)


def walk_forward_200() -> Job:
    """The least variance, refitted every month; the error is of a daily return out of sample."""
    return _walked(200, 8.0)


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

    def promised() -> tuple[float, float]:
        import time

        took = []
        for _ in range(200):
            start = time.perf_counter()
            ours()
            took.append(time.perf_counter() - start)
        return 1e-3, float(np.median(took))

    return Job("rebalance", f"{n} positions", ours, {}, lambda mine, theirs: 0.0, 0.0, limits={"a millisecond": promised})


JOBS = (
    sizing_batch,
    general_50,
    rebalance,
    walk_forward_50,
    walk_forward_200,
    min_variance_50,
    min_variance_500,
    max_sharpe_50,
    max_sharpe_500,
    max_return_50,
    max_return_500,
    max_diversification_50,
    max_diversification_500,
    turnover_50,
    turnover_500,
    frontier_50,
    frontier_200,
    risk_parity_50,
    risk_parity_500,
    hrp_50,
    hrp_500,
    min_cvar_50,
    min_cvar_500,
    kelly_portfolio_50,
    kelly_portfolio_200,
    black_litterman_50,
    black_litterman_500,
)
