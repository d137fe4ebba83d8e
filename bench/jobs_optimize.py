"""Portfolio optimization beside skfolio, PyPortfolioOpt and Riskfolio-Lib: the whole call, frames in, result out; data and constraints as of `portfolio_peers`."""

from otsport.bench.harness import Job
from otsport.bench.portfolio_peers import (
    LOOSE, MOST, SECTOR, TURNOVER, VOL, beside, by_pypfopt, by_riskfolio, by_skfolio, drawn, lacking, pypfopt_object, riskfolio_rows, sized, skfolio_limits,
)


def _least_variance(n: int, floor: float) -> Job:
    from otsport.portfolio.optimize import min_variance
    from skfolio.optimization import ObjectiveFunction

    returns, mu, cov, bounds, sectors = drawn(n)
    s = cov.to_numpy()
    peers = {
        "PyPortfolioOpt": by_pypfopt(lambda f: f.min_volatility(), mu, cov, sectors),
        "skfolio": by_skfolio(returns, sectors, objective_function=ObjectiveFunction.MINIMIZE_RISK),
        "Riskfolio-Lib": by_riskfolio(returns, sectors, mu, cov, "MinRisk"),
    }
    return beside(
        f"min_variance_{n}",
        f"{n} assets",
        lambda: min_variance(mu, cov, bounds()),
        peers,
        lacking(lambda w: w @ s @ w),
        floor,
    )


def _best_sharpe(n: int, floor: float) -> Job:
    from otsport.portfolio.optimize import max_sharpe
    from skfolio.optimization import ObjectiveFunction

    returns, mu, cov, bounds, sectors = drawn(n)
    s, m = cov.to_numpy(), mu.to_numpy()
    peers = {
        "PyPortfolioOpt": by_pypfopt(lambda f: f.max_sharpe(risk_free_rate=0.0), mu, cov, sectors),
        "skfolio": by_skfolio(returns, sectors, objective_function=ObjectiveFunction.MAXIMIZE_RATIO),
        "Riskfolio-Lib": by_riskfolio(returns, sectors, mu, cov, "Sharpe"),
    }
    return beside(
        f"max_sharpe_{n}",
        f"{n} assets",
        lambda: max_sharpe(mu, cov, bounds()),
        peers,
        lacking(lambda w: m @ w / (w @ s @ w) ** 0.5),
        floor,
    )


def _best_return(n: int, floor: float) -> Job:
    from otsport.portfolio.optimize import max_return
    from skfolio.optimization import ObjectiveFunction

    returns, mu, cov, bounds, sectors = drawn(n)
    m = mu.to_numpy()
    peers = {
        "PyPortfolioOpt": by_pypfopt(lambda f: f.efficient_risk(VOL), mu, cov, sectors),
        "skfolio": by_skfolio(returns, sectors, objective_function=ObjectiveFunction.MAXIMIZE_RETURN, max_variance=VOL**2 / 252),
    }
    return beside(
        f"max_return_{n}",
        f"{n} assets, vol at most {VOL:.0%}",
        lambda: max_return(mu, cov, bounds(), VOL),
        peers,
        lacking(lambda w: m @ w),
        floor,
    )


def _diversified(n: int, floor: float) -> Job:
    import numpy as np
    from otsport.portfolio.optimize import max_diversification
    from skfolio.optimization import MaximumDiversification

    returns, mu, cov, bounds, sectors = drawn(n)
    s, vols = cov.to_numpy(), np.sqrt(np.diag(cov))
    limits = skfolio_limits(returns, sectors)

    def skfolio():
        return MaximumDiversification(**limits).fit(returns).weights_

    import pandas as pd

    named = pd.Series(vols, index=cov.index)
    peers = {"PyPortfolioOpt": by_pypfopt(lambda f: f.max_sharpe(risk_free_rate=0.0), named, cov, sectors), "skfolio": skfolio}
    return beside(
        f"max_diversification_{n}",
        f"{n} assets",
        lambda: max_diversification(cov, bounds()),
        peers,
        lacking(lambda w: vols @ w / (w @ s @ w) ** 0.5),
        floor,
    )


def _turnover(n: int, floor: float) -> Job:
    import cvxpy as cp
    import numpy as np
    from pypfopt import EfficientFrontier  # noqa: F401  the package that the constraint is added to

    from otsport.portfolio.optimize import min_variance

    returns, mu, cov, bounds, sectors = drawn(n)
    s, held = cov.to_numpy(), np.full(n, 1 / n)

    def limited(f):
        f.add_constraint(lambda w: cp.norm1(w - held) <= TURNOVER)
        f.min_volatility()

    peers = {"PyPortfolioOpt": by_pypfopt(limited, mu, cov, sectors)}
    return beside(
        f"turnover_{n}",
        f"{n} assets, 20 % sold and 20 % bought at most",
        lambda: min_variance(mu, cov, bounds(held=held, max_turnover=TURNOVER)),
        peers,
        lacking(lambda w: w @ s @ w),
        floor,
    )


def _curve(n: int, floor: float) -> Job:
    import numpy as np
    from skfolio.optimization import ObjectiveFunction

    from otsport.portfolio.optimize import frontier

    returns, mu, cov, bounds, sectors = drawn(n)
    s, points = cov.to_numpy(), 20
    ours = frontier(mu, cov, bounds(), points)
    goals = ours.returns

    def pypfopt():
        found = []
        for goal in goals[:-1]:
            f = pypfopt_object(mu, cov, sectors)
            f.efficient_return(goal)
            found.append(f.weights)
        return np.array(found)

    skfolio = by_skfolio(returns, sectors, objective_function=ObjectiveFunction.MINIMIZE_RISK, efficient_frontier_size=points)

    def error(mine, theirs) -> float:
        if len(theirs) != points - 1:
            return 0.0  # skfolio spaces its own returns
        own = np.einsum("ki,ij,kj->k", mine.weights[:-1], s, mine.weights[:-1])
        return float(np.max(np.abs(np.einsum("ki,ij,kj->k", theirs, s, theirs) / own - 1)))

    peers = {"PyPortfolioOpt": pypfopt, "skfolio": skfolio}
    return beside(
        f"frontier_{n}",
        f"{n} assets, {points} points",
        lambda: frontier(mu, cov, bounds(), points),
        peers,
        error,
        floor,
        1e-3,
    )


def _equal_risk(n: int, floor: float) -> Job:
    import numpy as np
    import riskfolio
    from skfolio import RiskMeasure
    from skfolio.optimization import RiskBudgeting

    from otsport.portfolio.risk_parity import risk_parity

    returns, mu, cov, _, _ = drawn(n)
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
    return beside(
        f"risk_parity_{n}",
        f"{n} assets, equal shares",
        lambda: risk_parity(cov),
        peers,
        lambda ours, theirs: float(np.abs(shares(theirs) - 1 / n).max() * n),
        floor,
        {"Riskfolio-Lib": 1.0, "skfolio": 1.0},
    )


def _bisected(n: int, floor: float) -> Job:
    import numpy as np
    from pypfopt import HRPOpt

    from otsport.portfolio.risk_parity import hierarchical_risk_parity

    returns, _, cov, _, _ = drawn(n)

    def pypfopt():
        found = HRPOpt(cov_matrix=cov).optimize("single")
        return np.array([found[c] for c in cov])

    peers = {"PyPortfolioOpt": pypfopt}
    return beside(
        f"hrp_{n}",
        f"{n} assets, single linkage",
        lambda: hierarchical_risk_parity(cov),
        peers,
        lambda ours, theirs: float(np.abs(ours.weights - theirs).max()),
        floor,
        1e-9,
    )


SCENES = 1000  # sessions of the scenarios


def _tail(n: int, floor: float) -> Job:
    import numpy as np
    from pypfopt import EfficientCVaR
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk

    from otsport.portfolio.empirical import min_cvar, shortfall

    returns, mu, _, bounds, sectors = drawn(n)
    returns = returns.iloc[:SCENES]
    limits = skfolio_limits(returns, sectors)

    def skfolio():
        return MeanRisk(risk_measure=RiskMeasure.CVAR, cvar_beta=0.95, **limits).fit(returns).weights_

    def pypfopt():
        found = EfficientCVaR(mu, returns, beta=0.95, weight_bounds=(0, MOST))
        found.add_sector_constraints(sectors, {}, {s: SECTOR for s in set(sectors.values())})
        found.min_cvar()
        return found.weights

    peers = {"PyPortfolioOpt": pypfopt, "skfolio": skfolio}
    return beside(
        f"min_cvar_{n}",
        f"{n} assets, {SCENES:,} scenarios, level 95 %",
        lambda: min_cvar(returns, bounds()),
        peers,
        lacking(lambda w: shortfall(returns.to_numpy(), w)),
        floor,
        LOOSE | {"skfolio": 1e-3},
    )


def _grown(n: int, floor: float) -> Job:
    import numpy as np
    import riskfolio

    from otsport.portfolio.empirical import kelly_portfolio

    returns, _, _, bounds, sectors = drawn(n)
    returns = returns.iloc[:SCENES]
    rows = riskfolio_rows(returns, sectors)

    def riskfolio_peer():
        book = riskfolio.Portfolio(returns=returns, upperlng=MOST)
        book.ainequality, book.binequality = rows
        book.assets_stats(method_mu="hist", method_cov="hist")
        return book.optimization(model="Classic", rm="MV", obj="MaxRet", kelly="exact", rf=0, l=0)["weights"].to_numpy()

    peers = {"Riskfolio-Lib": riskfolio_peer}
    return beside(
        f"kelly_portfolio_{n}",
        f"{n} assets, {SCENES:,} scenarios",
        lambda: kelly_portfolio(returns, bounds()),
        peers,
        lacking(lambda w: float(np.log1p(returns.to_numpy() @ np.ravel(w)).mean())),
        floor,
    )


def _with_views(n: int, floor: float) -> Job:
    import numpy as np
    from pypfopt import BlackLittermanModel
    from skfolio import RiskMeasure
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import BlackLitterman

    from otsport.portfolio.black_litterman import MarketView, black_litterman
    from otsport.portfolio.optimize import max_sharpe

    returns, _, cov, bounds, sectors = drawn(n)
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
        return by_pypfopt(lambda f: f.max_sharpe(risk_free_rate=0.0), model.bl_returns(), model.bl_cov(), sectors)()

    limits = skfolio_limits(returns, sectors)
    words = [f"{names[2 * k]} - {names[2 * k + 1]} == {(0.02 + 0.01 * k) / 252}" for k in range(3)]

    def skfolio():
        prior = BlackLitterman(views=words, tau=0.05)
        ratio = {"risk_measure": RiskMeasure.VARIANCE, "objective_function": ObjectiveFunction.MAXIMIZE_RATIO}
        return MeanRisk(prior_estimator=prior, **limits, **ratio).fit(returns).weights_

    seen = black_litterman(cov, flat, views)
    peers = {"PyPortfolioOpt": pypfopt, "skfolio": skfolio}
    return beside(
        f"black_litterman_{n}",
        f"{n} assets, three views, then the greatest Sharpe ratio",
        ours,
        peers,
        lacking(lambda w: seen.expected_returns @ w / (w @ seen.cov @ w) ** 0.5),
        floor,
        LOOSE | {"skfolio": 0.1},  # its own risk aversion of 1 and ddof make another equilibrium
    )


SHARES = "Equal shares of the risk; the error is the peer's own: by how much of an equal share its shares miss."
JOBS = (
    *sized(_least_variance, "min_variance", "The least variance.", {50: 25.0, 500: 100.0}),
    *sized(_best_sharpe, "max_sharpe", "The greatest Sharpe ratio.", {50: 10.0, 500: 100.0}),
    *sized(_best_return, "max_return", "The greatest return below a vol; peers are given the whole covariance, not a factor model.", {50: 6.0, 500: 25.0}),
    *sized(_diversified, "max_diversification", "The greatest diversification ratio.", {50: 8.0, 500: 40.0}),
    *sized(_turnover, "turnover", "The least variance from what is held.", {50: 12.0, 500: 15.0}),
    *sized(_curve, "frontier", "The efficient frontier.", {50: 15.0, 200: 12.0}),
    *sized(_equal_risk, "risk_parity", SHARES, {50: 50.0, 500: 1500.0}),
    *sized(_bisected, "hrp", "Hierarchical risk parity.", {50: 40.0, 500: 70.0}),
    *sized(_tail, "min_cvar", "The least conditional value at risk.", {50: 10.0, 500: 20.0}),
    *sized(_grown, "kelly_portfolio", "The fastest growth, exact, within the same constraints.", {50: 100.0, 200: 300.0}),
    *sized(_with_views, "black_litterman", "Views, and the best weights with them.", {50: 10.0, 500: 4.0}),
)
