"""Every public function of analytics and portfolio that takes arrays, with a sample call and the arguments that carry labels."""
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from datetime import date, datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd

import otsport.analytics
import otsport.portfolio
from otsport.analytics import american, combinations, covariance, diversification, drawdown_table, factors, flows, kelly, live, market_timing, marks, metrics, montecarlo, months, options, performance, position_returns, positions, record_facts, revaluation, risk, rolling_against, scenarios, sharpe_test, surface, trend, var
from otsport.core.books import Lot, Position
from otsport.core.contracts import option, stock
from otsport.core.intent import Target
from otsport.core.settings import BudgetRules, Limits
from otsport.portfolio import black_litterman, blends, bounds, budgets, contributions, empirical, objectives, optimize, risk_parity, terms, walk_forward, whole_lots

ARRAYS = ("ArrayLike", "DataFrame", "Series")
NAMES = ["KO", "AAPL", "BOLT"]
NOW = datetime(2022, 12, 27, 21, tzinfo=timezone.utc)
CALL = option("KO", date(2023, 1, 20), Decimal(65), "C")


def public() -> dict[str, Callable]:
    """Functions, and methods that are no answer's fields, by `module.name`."""
    found = {}
    for room in (otsport.analytics, otsport.portfolio):
        for info in pkgutil.iter_modules(room.__path__):
            module = importlib.import_module(f"{room.__name__}.{info.name}")
            for name in module.__all__:
                thing = getattr(module, name)
                if inspect.isfunction(thing):
                    found[f"{info.name}.{name}"] = thing
                elif inspect.isclass(thing):
                    found |= {f"{info.name}.{name}.{k}": v for k, v in vars(thing).items()
                              if inspect.isfunction(v) and (not k.startswith("_") or k == "__init__" and not is_dataclass(thing))}
    return found


def array_arguments(function: Callable) -> set[str]:
    """The parameters that are annotated as array-likes; what is annotated np.ndarray promises nothing about labels."""
    return {p.name for p in inspect.signature(function).parameters.values() if any(word in str(p.annotation) for word in ARRAYS)}


@dataclass(frozen=True)
class Group:
    """Arguments that share labels: the axes of each that carry them. `fixed`: the labels come from another argument, a book or bounds."""
    members: dict[str, tuple[int, ...]]
    labels: list = field(default_factory=lambda: NAMES)
    fixed: bool = False


@dataclass(frozen=True)
class Case:
    call: Callable
    given: dict
    groups: tuple[Group, ...] = ()
    rising: tuple[str, ...] = ()  # dated rows must run from the oldest to the newest
    seeded: bool = False  # draws follow the order of the assets
    plain: dict = field(default_factory=dict)  # arguments without a partner, and why


RNG = np.random.default_rng(12)
RETURNS = np.round(RNG.normal(0.0005, 0.01, (60, 3)) @ np.array([[1, 0.3, 0.1], [0, 1, 0.2], [0, 0, 1.0]]), 6)
SERIES, PNL = RETURNS[:, 0], 1e5 * RETURNS
COV = 252 * np.cov(RETURNS.T)
SESSIONS = list(pd.bdate_range("2024-01-02", periods=60))
COLUMNS, ROWS = Group({"returns": (1,)}), {"returns": (0,)}
QUOTES = dict(spot=np.array([60.0, 180.0, 100.0]), strike=np.array([65.0, 170.0, 100.0]), tau=np.array([0.3, 0.5, 0.1]), rate=np.array([0.02, 0.03, 0.025]),
              div_yield=np.array([0.03, 0.005, 0.0]), vol=np.array([0.2, 0.3, 0.4]), right=np.array(["C", "P", "C"]))
PRICED = {"price": np.array([2.0, 12.0, 5.0])} | {k: v for k, v in QUOTES.items() if k != "vol"}
HELD = [Position("DU1", "main", stock(name), (Lot(Decimal(10), Decimal(50), NOW),)) for name in NAMES]
BOOK = revaluation.make_book([1, 100, -2], [60.0, 180.0, 100.0], [65.0, np.nan, 100.0], [0.3, np.nan, 0.2], [0.2, np.nan, 0.3], ["C", "S", "P"], NAMES)
BOUNDS = bounds.Bounds(tuple(NAMES), (0.3, 0.4, 0.5), min_net=0.5)
MU = np.array([0.05, 0.08, 0.06])
SCENARIOS = dict(spot_returns=RETURNS, vol_shifts=np.abs(RETURNS))
OF_BOOK = (Group({"spot_returns": (1,), "vol_shifts": (1,)}, fixed=True), Group({"spot_returns": (0,), "vol_shifts": (0,)}, SESSIONS))


def _side_by_side(function: Callable, given: dict, **more) -> Case:
    return Case(lambda **k: function(**k, **more), given, (Group(dict.fromkeys(given, (0,))),))


def _of_series(function: Callable, name: str = "returns", rising: bool = False, **more) -> Case:
    groups = () if rising else (Group({name: (0,)}, SESSIONS),)
    return Case(lambda **k: function(**k, **more), {name: SERIES}, groups, (name,) if rising else ())


def _of_table(function: Callable, rising: bool = False, seeded: bool = False, name: str = "returns", value: np.ndarray = RETURNS) -> Case:
    return Case(function, {name: value}, (Group({name: (1,)}),), (name,) if rising else (), seeded)


def _scenario_pnl(**given: object) -> pd.DataFrame:
    held = {stock("KO"): 100, stock("AAPL"): -5, stock("BOLT"): 7, CALL: -1}
    given["past_returns"] = pd.DataFrame(given["past_returns"]) if hasattr(given["past_returns"], "iloc") else pd.DataFrame(given["past_returns"], columns=NAMES, index=SESSIONS)
    given["vol_shifts"] = given["vol_shifts"] if hasattr(given["vol_shifts"], "iloc") else pd.DataFrame(given["vol_shifts"], columns=NAMES, index=SESSIONS)
    spots = given["spots"] if hasattr(given["spots"], "iloc") else dict(zip(NAMES, given["spots"]))
    return risk.scenario_pnl(held, spots, given["past_returns"], {CALL.key: 0.2}, NOW, vol_shifts=given["vol_shifts"])


def _targets(cov: object, expected_returns: object) -> tuple:
    cov = cov if hasattr(cov, "iloc") else pd.DataFrame(cov, NAMES, NAMES)
    expected_returns = expected_returns if hasattr(expected_returns, "iloc") else dict(zip(NAMES, expected_returns))
    targets = [Target(stock(name), 0.1) for name in NAMES]
    return objectives.optimize_targets(targets, expected_returns, cov, dict(zip(NAMES, "xyz")), Limits())[1]


def _frame(function: Callable) -> Callable:
    return lambda pnl: function(pnl if hasattr(pnl, "iloc") else pd.DataFrame(pnl, columns=NAMES))


PAIR = (Group({"expected_returns": (0,), "cov": (0, 1)}, fixed=True),)
ONE, OF_LEGS = "one array alone", "in the order of the legs, which have no names"
CASES = {
    **{f"options.{f.__name__}": _side_by_side(f, QUOTES) for f in (options.bsm, options.bsm_price, options.bsm_delta, options.bsm_vega, options.bsm_greeks, options.bsm_second_order)},
    "options.black76": _side_by_side(options.black76, {("forward" if k == "spot" else k): v for k, v in QUOTES.items() if k != "div_yield"}),
    "options.implied_vol": _side_by_side(options.implied_vol, PRICED), "options.right_sign": Case(options.right_sign, {"right": QUOTES["right"]}, plain={"right": ONE}),
    **{f"american.{f.__name__}": _side_by_side(f, QUOTES) for f in (american.american, american.american_greeks, american.american_approx)},
    "american.american_vol": _side_by_side(american.american_vol, PRICED), "american.american_tree": _side_by_side(american.american_tree, QUOTES, steps=11),
    "combinations.payoff": Case(lambda spot: combinations.payoff([combinations.Leg(1, "C", 100, 2)], spot), {"spot": QUOTES["spot"]}, plain={"spot": ONE, "vols": OF_LEGS}),
    **{f"combinations.{name}": Case(None, {}, plain={"vols": OF_LEGS}) for name in ("outcome", "probability_of_profit", "expected_profit")},
    "option_sizing.combination_unit": Case(None, {}, plain={"vols": OF_LEGS}),
    "combinations.combination_greeks": Case(lambda vols: combinations.combination_greeks([combinations.Leg(1, "C", 100, 2), combinations.Leg(-1, "C", 105, 1)], 100, 0.3, 0, 0, vols),
                                            {"vols": np.array([0.2, 0.25])}, plain={"vols": OF_LEGS}),
    **{f"covariance.{f.__name__}": _of_table(f) for f in (covariance.usable_returns, covariance.shrinkage, covariance.shrunk_covariance, covariance.sample_covariance, covariance.denoised_covariance)},
    "covariance.ewma_covariance": _of_table(covariance.ewma_covariance, rising=True),
    "covariance.factor_covariance": Case(covariance.factor_covariance, {"returns": RETURNS, "factors": RETURNS.mean(axis=1)[:, None]}, (Group({"returns": (1,)}), Group({"returns": (0,), "factors": (0,)}, SESSIONS))),
    **{f"covariance.{f.__name__}": Case(f, {"cov": COV}, (Group({"cov": (0, 1)}),)) for f in (covariance.usable_covariance, covariance.annual_covariance, covariance.repaired_covariance)},
    "kelly.kelly": _of_series(kelly.kelly), "kelly.growth_rate": _of_series(kelly.growth_rate, share=0.5), "kelly.optimal_f": _of_series(kelly.optimal_f, "trades"),
    "kelly.kelly_many": Case(kelly.kelly_many, {"returns": RETURNS, "upper": np.array([0.2, 0.3, 0.4])}, (Group({"returns": (1,), "upper": (0,)}),)),
    "live.LiveBook.update": Case(lambda marks: live.LiveBook(HELD, 1e4).update(marks), {"marks": QUOTES["spot"]}, (Group({"marks": (0,)}, fixed=True),)),
    "metrics.drawdowns": _of_series(metrics.drawdowns, rising=True), "metrics.longest_drawdown": _of_series(metrics.longest_drawdown, rising=True),
    "metrics.metrics": _of_series(metrics.metrics, rising=True), "trend.trend": _of_series(trend.trend, rising=True),
    "metrics.rolling_metrics": Case(lambda returns: metrics.rolling_metrics(returns, 20).frame("sharpe"), {"returns": RETURNS}, (COLUMNS,), ("returns",)),
    "montecarlo.book_factors": Case(lambda delta, gamma: np.sort(montecarlo.book_factors(delta, gamma, COV / 252).c), {"delta": MU * 1e6, "gamma": MU * 1e5}, (Group({"delta": (0,), "gamma": (0,)}),), seeded=True),
    "montecarlo.monte_carlo": Case(lambda **k: montecarlo.monte_carlo(**k, scenarios=2000, parts=True), {"delta": MU * 1e6, "gamma": np.diag(MU * 1e5), "cov": COV, "drift": MU * 10},
                                   (Group({"delta": (0,), "gamma": (0, 1), "cov": (0, 1), "drift": (0,)}),), seeded=True),
    "montecarlo.copula_scenarios": _of_table(lambda past_returns: montecarlo.copula_scenarios(past_returns, 50), seeded=True, name="past_returns"),
    "revaluation.make_book": _side_by_side(revaluation.make_book, {"qty": np.array([1.0, 2.0, -3.0])} | QUOTES | {"multiplier": np.array([100.0, 100.0, 150.0]), "underlying": np.array(["X", "Y", "X"])}),
    **{f"revaluation.{f.__name__}": Case(lambda _f=f, **k: _f(BOOK, **{n: v if hasattr(v, "iloc") else pd.DataFrame(v, columns=NAMES, index=SESSIONS) for n, v in k.items()}), SCENARIOS, OF_BOOK)
       for f in (revaluation.full_revaluation, revaluation.delta_gamma_pnl, revaluation.delta_gamma_error)},
    "risk.historical_var": _of_series(risk.historical_var, "pnl"), "risk.expected_shortfall": _of_series(risk.expected_shortfall, "pnl"),
    "risk.scenario_pnl": Case(_scenario_pnl, {"past_returns": RETURNS, "vol_shifts": np.abs(RETURNS), "spots": QUOTES["spot"]},
                              (Group({"past_returns": (1,), "vol_shifts": (1,), "spots": (0,)}, fixed=True), Group({"past_returns": (0,), "vol_shifts": (0,)}, SESSIONS))),
    **{f"risk.{f.__name__}": _of_table(_frame(f), name="pnl", value=PNL) for f in (risk.usable_pnl, risk.component_var, risk.component_es)},
    "surface.quote_reasons": _side_by_side(surface.quote_reasons, {"bid": np.array([1.0, 0.0, 2.0]), "ask": np.array([1.5, 0.5, 2.0])}),
    **{f"surface.Smile.{name}": Case(getattr(surface.Smile(0.3, 100.0, "svi", np.array([0.01, 0.1, -0.3, 0.0, 0.1])), name), {"k": np.array([-0.1, 0.0, 0.1])}, plain={"k": ONE}) for name in ("variance", "vol", "call")},
    "surface.Surface.vol": Case(None, {}, plain={"strike": ONE}), "surface.vol_surface": Case(None, {}, plain={"chain": "a table of quotes, read by the names of its columns"}),
    "var.ewma_variances": _of_series(var.ewma_variances, rising=True), "var.ewma_var": _of_series(var.ewma_var, rising=True), "var.ewma_es": _of_series(var.ewma_es, rising=True),
    "var.parametric_parts": Case(var.parametric_parts, {"exposures": MU * 1e6, "cov": COV, "mean": MU / 252}, (Group({"exposures": (0,), "cov": (0, 1), "mean": (0,)}),)),
    "var.linear_var": Case(lambda **k: var.linear_var(**k, levels=(0.95,)), {"returns": RETURNS, "exposures": MU * 1e6}, (Group({"returns": (1,), "exposures": (0,)}),)),
    "var.incremental_var": _of_table(_frame(var.incremental_var), name="pnl", value=PNL),
    **{f"bounds.{f.__name__}": Case(lambda mu, _f=f: _f(mu, BOUNDS), {"mu": MU}, (Group({"mu": (0,)}, fixed=True),)) for f in (bounds.best_return, bounds.best_weights)},
    **{f"empirical.{f.__name__}": Case(lambda returns, _f=f, _k=k: _f(returns, BOUNDS, **_k), {"returns": RETURNS}, (Group({"returns": (1,)}, fixed=True),))
       for f, k in ((empirical.min_cvar, {"level": 0.75}), (empirical.mean_cvar, {"level": 0.75, "risk_aversion": 1.0}), (empirical.kelly_portfolio, {}))},
    "empirical.shortfall": Case(lambda **k: empirical.shortfall(**k, level=0.75), {"returns": RETURNS, "weights": MU}, (Group({"returns": (1,), "weights": (0,)}),)),
    **{f"black_litterman.{f.__name__}": Case(f, {"cov": COV, "market_weights": np.array([0.5, 0.3, 0.2])}, (Group({"cov": (0, 1), "market_weights": (0,)}),))
       for f in (black_litterman.equilibrium_returns, black_litterman.black_litterman)},
    **{f"optimize.{f.__name__}": Case(lambda _f=f, **k: _f(**k, bounds=BOUNDS), {"expected_returns": MU, "cov": COV}, PAIR) for f in (optimize.min_variance, optimize.max_sharpe, optimize.frontier)},
    "optimize.mean_variance": Case(lambda **k: optimize.mean_variance(**k, bounds=BOUNDS, risk_aversion=5.0), {"expected_returns": MU, "cov": COV}, PAIR),
    "optimize.max_return": Case(lambda **k: optimize.max_return(**k, bounds=BOUNDS, max_vol=0.2), {"expected_returns": MU, "cov": COV}, PAIR),
    "optimize.checked": Case(lambda **k: optimize.checked(**k, bounds=BOUNDS), {"expected_returns": MU, "cov": COV}, PAIR),
    "risk_parity.risk_parity": Case(risk_parity.risk_parity, {"cov": COV, "budgets": np.array([0.5, 0.3, 0.2])}, (Group({"cov": (0, 1), "budgets": (0,)}),)),
    "risk_parity.hierarchical_risk_parity": Case(risk_parity.hierarchical_risk_parity, {"cov": COV}, (Group({"cov": (0, 1)}),)),
    "risk_parity.moving": Case(risk_parity.moving, {"cov": COV}, (Group({"cov": (0, 1)}),)),
    "risk_parity.long_only": Case(risk_parity.long_only, {"cov": COV}, (Group({"cov": (0, 1)}),)), "blends.min_correlation": Case(blends.min_correlation, {"cov": COV}, (Group({"cov": (0, 1)}),)),
    "blends.performance_based": Case(blends.performance_based, {"returns": RETURNS}, (COLUMNS,), ("returns",)),
    "blends.mixed": Case(lambda cov: blends.mixed({"held": optimize.min_variance(MU, COV, BOUNDS)}, {"held": 1.0}, cov), {"cov": COV}, (Group({"cov": (0, 1)}, fixed=True),)),
    "blends.within": Case(lambda **k: blends.within(replace(risk_parity.risk_parity(COV), bounds=BOUNDS), **k, bounds=BOUNDS)[0], {"expected_returns": MU, "cov": COV}, PAIR),
    "terms.named_vector": Case(lambda value: terms.named_vector(value, "the numbers", pd.Index(NAMES)), {"value": MU}, (Group({"value": (0,)}, fixed=True),)),
    "terms.scenarios": Case(lambda returns: terms.scenarios(returns, pd.Index(NAMES)), {"returns": RETURNS}, (Group({"returns": (1,)}, fixed=True),)),
    "optimize.max_diversification": Case(lambda cov: optimize.max_diversification(cov, BOUNDS), {"cov": COV}, (Group({"cov": (0, 1)}, fixed=True),)),
    "whole_lots.rebalance": Case(
        lambda **k: whole_lots.rebalance(**k, cash=1e4, rules=whole_lots.Rebalance(max_adv=0.5, risk_aversion=5)),
        {"weights": np.array([0.2, 0.3, 0.1]), "held": np.array([30.0, 10.0, 200.0]), "prices": np.array([60.0, 180.0, 20.0]), "multipliers": np.ones(3), "pledged": np.zeros(3),
         "volumes": np.array([1e3, 90.0, 5e3]), "half_spreads": np.full(3, 1e-4), "vols": np.array([0.2, 0.3, 0.4])},
        (Group(dict.fromkeys(("weights", "held", "prices", "multipliers", "pledged", "volumes", "half_spreads", "vols"), (0,))),)),
    "walk_forward.walk_forward": Case(lambda returns: walk_forward.walk_forward(returns, window=30, every=10).returns, {"returns": RETURNS}, (COLUMNS,), ("returns",)),
    "objectives.optimize_targets": Case(_targets, {"cov": COV, "expected_returns": MU}, PAIR),
    "objectives.Seen.posterior": Case(None, {}, plain={"excess": "in the order of the names beside it", "spread": "in the order of the names beside it"}),
    "sizing.size_batch": Case(None, {}, plain={"signals": "a table of signals, read by the names of its columns; symbols meet the facts by name"}),
    "bounds.Bounds": Case(lambda upper, lower: bounds.Bounds(tuple(NAMES), upper, lower), {"upper": np.array([0.3, 0.4, 0.5]), "lower": np.array([0.0, 0.1, 0.2])}, (Group({"upper": (0,), "lower": (0,)}, fixed=True),)),
}
SHARE_OF_NAV = 0.1 * RETURNS
HELD_IN = budgets.allocate(pd.DataFrame({"sector": ["x", "y", "x"]}, index=NAMES), BudgetRules(total=0.001, metric="beta_exposure"))
_names = lambda **k: {n: v if hasattr(v, "iloc") else pd.Series(v, NAMES) if v.ndim == 1 else pd.DataFrame(v, columns=NAMES) for n, v in k.items()}
TO_BETA = (Group({"pnl": (1,), "beta_exposures": (0,)}),)
CASES |= {
    "contributions.contributions": Case(lambda **k: contributions.contributions(**_names(**k), metric="beta_exposure").parts, {"pnl": SHARE_OF_NAV, "beta_exposures": 0.1 * MU}, TO_BETA),
    "contributions.risk_measure": Case(lambda **k: sorted(contributions.risk_measure(**_names(**k), metric="beta_exposure")[0].parts(np.ones(3))), {"pnl": SHARE_OF_NAV, "beta_exposures": 0.1 * MU}, TO_BETA),
    "budgets.allocate": Case(None, {}, plain={"table": "a table of positions, read by the names of its columns"}),
    "budgets.cure": Case(lambda **k: budgets.cure(HELD_IN, **_names(**k)).trades["after"], {"pnl": SHARE_OF_NAV, "units": 1000 * MU, "beta_exposures": 0.1 * MU},
                         (Group({"pnl": (1,), "units": (0,), "beta_exposures": (0,)}),)),
    "budgets.apply_budgets": Case(lambda **k: [t.weight for t in budgets.apply_budgets([Target(stock(n), 0.1) for n in NAMES], HELD_IN, floors={}, **_names(**k))[0]],
                                  {"pnl": SHARE_OF_NAV, "beta_exposures": 0.1 * MU}, TO_BETA),
}
CLOSES = np.cumprod(1 + RETURNS, axis=0)
MARKET = pd.Series(np.cumprod(1 + RETURNS.mean(axis=1)), SESSIONS)
_dated = lambda x: x if hasattr(x, "iloc") else pd.DataFrame(x, SESSIONS, NAMES)
SHARES = marks.valued(positions.held_legs([(100, name) for name in NAMES])[0], NOW, dict(zip(NAMES, (60.0, 180.0, 100.0))))
CASES |= {
    "scenarios.index_betas": Case(lambda prices: scenarios.index_betas(pd.concat([_dated(prices)] * 2), pd.concat([MARKET] * 2)).sort_index(), {"prices": CLOSES}, (Group({"prices": (1,)}),),
                                  plain={"index": "levels by the same dates, joined by them"}),
    "scenarios.episode_scenario": Case(None, {}, plain={"prices": "read by name and date", "index": "read by date", "vix": "read by date"}),
    "scenarios.broken_covariance": Case(lambda cov: scenarios.broken_covariance(cov, 0.9, 0.5), {"cov": COV}, (Group({"cov": (0, 1)}),)),
    "scenarios.correlation_breaks": Case(lambda past: scenarios.correlation_breaks(SHARES, _dated(past), 200), {"past": RETURNS}, (Group({"past": (1,)}),)),
}
CASES |= {
    "limits.apply_limits": Case(None, {}, plain={"cov": "read by name"}), "limits.average_correlation": Case(None, {}, plain={"corr": "read by name"}),
    "diversification.diversification": Case(lambda **k: [getattr(diversification.diversification(**_names(**k), window=20), f) for f in ("ratio", "bets", "weighted_correlation", "average_correlation", "herfindahl")],
                                            {"returns": RETURNS, "weights": MU}, (Group({"returns": (1,), "weights": (0,)}),)),
    "diversification.rolling_correlation": Case(lambda returns: diversification.rolling_correlation(returns, 20), {"returns": RETURNS}, (COLUMNS,), ("returns",)),
}
INDEX = RETURNS.mean(axis=1)  # a benchmark of the same sessions
DATED = (COLUMNS, Group({"returns": (0,), "benchmark": (0,)}, SESSIONS))
_series = lambda x: x if hasattr(x, "iloc") else pd.Series(x, SESSIONS)
ACCOUNT = {"nav": 1e3 * np.cumprod(1 + SERIES), "flows": np.r_[1e3, np.zeros(59)]}
OF_ACCOUNT = (Group({"nav": (0,), "flows": (0,)}, SESSIONS),)
HOLDINGS = {"units": np.tile([3.0, -1.0, 2.0], (60, 1)), "prices": 50 * CLOSES, "multipliers": np.array([1.0, 100.0, 1.0])}
OF_HOLDINGS = (Group({"units": (1,), "prices": (1,), "multipliers": (0,)}), Group({"units": (0,), "prices": (0,)}, SESSIONS))
_holdings = lambda k: {n: v if hasattr(v, "iloc") else pd.DataFrame(v, SESSIONS, NAMES) if v.ndim == 2 else pd.Series(v, NAMES if len(v) == 3 else SESSIONS) for n, v in k.items()}
CASES |= {
    "drawdown_table.drawdown_table": Case(lambda returns: drawdown_table.drawdown_table(returns)["depth"], {"returns": SERIES}, (), ("returns",)),
    "performance.track_record": Case(lambda **k: performance.track_record(**k).rows.sum(axis=0), {"returns": RETURNS, "benchmark": INDEX}, DATED, ("returns",)),
    "performance.performance": Case(lambda **k: performance.performance(**k).values, {"returns": RETURNS, "benchmark": INDEX}, DATED, ("returns",)),
    "rolling_against.rolling_against": Case(lambda **k: rolling_against.rolling_against(**k, window=20).frame("beta"), {"returns": RETURNS, "benchmark": INDEX}, DATED, ("returns",)),
    "sharpe_test.sharpe_test": Case(lambda returns: sharpe_test.sharpe_test(returns).error_dependent, {"returns": SERIES}, (), ("returns",)),
    "sharpe_test.autocorrelations": Case(None, {}, plain={"returns": "one series, in the order given"}),
    "factors.factor_regression": Case(lambda **k: factors.factor_regression(**k).alpha, {"returns": RETURNS, "factors": INDEX[:, None], "rate": np.full(60, 1e-4)},
                                      (COLUMNS, Group({"returns": (0,), "factors": (0,), "rate": (0,)}, SESSIONS)), ("returns",)),
    "factors.period_rate": Case(None, {}, plain={"rate": ONE}),
    "market_timing.market_timing": Case(lambda **k: market_timing.market_timing(**k).coefficients["beta"], {"returns": RETURNS, "benchmark": INDEX, "rate": np.full(60, 1e-4)},
                                        (COLUMNS, Group({"returns": (0,), "benchmark": (0,), "rate": (0,)}, SESSIONS)), ("returns",)),
    **{f"months.{f.__name__}": Case(lambda returns, _f=f: _f(_series(returns)), {"returns": SERIES}, (), ("returns",)) for f in (months.compounded, months.monthly_table, months.trailing_returns, months.distribution)},
    "months.yearly_comparison": Case(lambda returns, benchmark: months.yearly_comparison(_series(returns), _series(benchmark))["difference"], {"returns": SERIES, "benchmark": INDEX},
                                     (Group({"returns": (0,), "benchmark": (0,)}, SESSIONS),), ("returns",), seeded=True),
    "record_facts.record_facts": Case(lambda returns, benchmark: record_facts.record_facts(_series(returns), _series(benchmark), window=20).measures.iloc[:, 0], {"returns": SERIES, "benchmark": INDEX},
                                      (Group({"returns": (0,), "benchmark": (0,)}, SESSIONS),), ("returns",), seeded=True),
    **{f"flows.{f.__name__}": Case(lambda _f=f, **k: _f(**k), ACCOUNT, OF_ACCOUNT, seeded=True) for f in (flows.flow_returns, flows.time_weighted)},
    "flows.account_return": Case(lambda **k: flows.account_return(_series(k["nav"]), _series(k["flows"])).returns, ACCOUNT, OF_ACCOUNT, seeded=True),
    "flows.xirr": Case(None, {}, plain={"amounts": "each with its day, in the order given"}),
    "position_returns.position_pnl": Case(lambda **k: position_returns.position_pnl(**_holdings(k)), HOLDINGS, OF_HOLDINGS),
    "position_returns.position_returns": Case(lambda **k: position_returns.position_returns(**_holdings(k)), HOLDINGS | {"capital": np.full(60, 1e6)},
                                              (OF_HOLDINGS[0], Group({"units": (0,), "prices": (0,), "capital": (0,)}, SESSIONS))),
}
BY_HAND = {"bounds.Bounds"}  # annotated as tuples, and given Series all the same
