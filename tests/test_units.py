"""Percent for decimals, days for years, prices for returns, daily covariances, expired contracts: named by every public function that could take them."""
import inspect
import warnings
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from public_arrays import BOUNDS, CALL, CASES, COV, HELD, INDEX, MU, NAMES, NOW, PNL, RETURNS, SERIES, SESSIONS, public

from otsport.analytics.combinations import Leg
from otsport.analytics.live import LiveBook
from otsport.analytics.metrics import ShortHistory
from otsport.analytics.options import UnitWarning
from otsport.analytics.revaluation import make_book
from otsport.analytics.risk import scenario_pnl
from otsport.core.errors import DataError, InputError, SolverError
from otsport.core.books import Lot, Position, PositionMark, Snapshot
from otsport.core.contracts import option, stock
from otsport.core.intent import Target, View
from otsport.core.settings import Limits, Sizing
from otsport.portfolio import optimize
from otsport.portfolio.objectives import optimize_targets
from otsport.portfolio.size_steps import confidence_factor
from otsport.portfolio.sizing import size

WRONG = {  # what stands in another unit, from a sample that does not
    "vol": {"percent": lambda x: 100 * x}, "vols": {"percent": lambda x: 100 * x}, "tau": {"days": lambda x: 365 * x, "expired": lambda x: -x}, "rate": {"percent": lambda x: 100 * x},
    "div_yield": {"percent": lambda x: 100 * x}, "vol_shifts": {"points": lambda x: 100 * x}, "cov": {"percent": lambda x: 1e4 * x, "daily": lambda x: x / 252}, "expected_returns": {"percent": lambda x: 100 * x},
    "upper": {"percent": lambda x: 100 * x}, "mean": {}, "level": {"percent": lambda x: 100 * x}, "levels": {"percent": lambda x: tuple(100 * level for level in x)}, "decay": {"percent": lambda x: 100 * x},
    **dict.fromkeys(("returns", "past_returns", "spot_returns", "factors"), {"percent": lambda x: 100 * x, "prices": lambda x: 100 * (1 + x).cumprod(axis=0)}),
}
LEGS = [Leg(1, "C", 100, 2), Leg(-1, "C", 105, 1)]
CALENDAR = [Leg(-1, "C", 100, 2, date(2024, 6, 21)), Leg(1, "C", 105, 1, date(2024, 9, 20))]
LATER = dict(vols=0.25, rate=0.03, div_yield=0.02)  # of the leg that ends later
LAW = dict(legs=CALENDAR, forward=100.0, tau=0.4, vol=0.3, **LATER)
FRAME = pd.DataFrame(PNL, columns=NAMES)
FITTED = dict(vol=0.2, skewness=0.1, kurtosis=1.0, level=0.95)
SAMPLES = {  # all arguments of functions whose sample in public_arrays does not hold those of a unit
    "combinations.probability_of_profit": LAW, "combinations.expected_profit": LAW, "combinations.outcome": dict(legs=CALENDAR, **LATER), "combinations.payoff": dict(legs=CALENDAR, spot=100.0, **LATER),
    "combinations.combination_greeks": dict(legs=LEGS, spot=100.0, tau=0.4, rate=0.03, div_yield=0.02, vols=0.2),
    "option_sizing.combination_unit": dict(name="spread", legs=CALENDAR, spot=100.0, tau=0.4, margin=500.0, **LATER),
    **{f"performance.{name}": dict(returns=RETURNS, benchmark=INDEX, rate=0.03) for name in ("performance", "track_record")}, "rolling_against.rolling_against": dict(returns=RETURNS, benchmark=INDEX, window=20, rate=0.03),
    "sharpe_test.sharpe_test": dict(returns=SERIES, rate=0.03), "factors.factor_regression": dict(returns=RETURNS, factors=RETURNS[:, :2], rate=0.03), "factors.period_rate": dict(rate=0.03, periods=252),
    "market_timing.market_timing": dict(returns=RETURNS, benchmark=INDEX, rate=0.03), "record_facts.record_facts": dict(returns=pd.Series(SERIES, SESSIONS), rate=0.03, window=20),
    "metrics.metrics": dict(returns=SERIES, rate=0.03), "metrics.rolling_metrics": dict(returns=SERIES, window=20, rate=0.03), "kelly.growth_rate": dict(returns=SERIES, share=0.5),
    "risk.historical_var": dict(pnl=SERIES, level=0.95), "risk.expected_shortfall": dict(pnl=SERIES, level=0.95), "risk.component_var": dict(pnl=FRAME, level=0.95), "risk.component_es": dict(pnl=FRAME, level=0.95),
    "risk.scenario_pnl": dict(quantities={stock(n): 1 for n in NAMES}, spots=dict.fromkeys(NAMES, 60.0), past_returns=pd.DataFrame(RETURNS, columns=NAMES), option_vols={}, as_of=NOW, rate=0.03,
                              vol_shifts=pd.DataFrame(np.abs(RETURNS), columns=NAMES)),
    **{f"revaluation.{name}": dict(book=make_book(1, 100.0, 100.0, 0.3, 0.2, "C", [0, 1, 2]), spot_returns=RETURNS, vol_shifts=np.abs(RETURNS)) for name in ("full_revaluation", "delta_gamma_pnl")},
    "revaluation.delta_gamma_error": dict(book=make_book(1, 100.0, 100.0, 0.3, 0.2, "C", [0, 1, 2]), spot_returns=RETURNS, vol_shifts=np.abs(RETURNS), level=0.95),
    "revaluation.book_tail": None, "covariance.ewma_covariance": dict(returns=RETURNS, decay=0.94),
    "montecarlo.monte_carlo": dict(delta=MU * 1e6, gamma=0, cov=COV, scenarios=2000, levels=(0.95,)),
    "var.parametric_var": dict(vol=0.2, level=0.95), "var.parametric_es": dict(vol=0.2, level=0.95), "var.cornish_fisher_var": FITTED, "var.cornish_fisher_es": FITTED,
    "var.ewma_variances": dict(returns=SERIES, decay=0.94), "var.ewma_var": dict(returns=SERIES, level=0.95, decay=0.94), "var.ewma_es": dict(returns=SERIES, level=0.95, decay=0.94),
    "var.parametric_parts": dict(exposures=MU * 1e6, cov=COV, level=0.95), "var.linear_var": dict(returns=RETURNS, exposures=MU * 1e6, levels=(0.95,)), "var.incremental_var": dict(pnl=FRAME, level=0.95),
    **{f"optimize.{name}": dict(expected_returns=MU, cov=COV, bounds=BOUNDS, rate=0.02) for name in ("min_variance", "max_sharpe", "frontier")},
    "optimize.mean_variance": dict(expected_returns=MU, cov=COV, bounds=BOUNDS, risk_aversion=5.0, rate=0.02), "optimize.max_return": dict(expected_returns=MU, cov=COV, bounds=BOUNDS, max_vol=0.2, rate=0.02),
    "optimize.checked": dict(expected_returns=MU, cov=COV, bounds=BOUNDS), "risk_parity.risk_parity": dict(cov=COV), "risk_parity.hierarchical_risk_parity": dict(cov=COV),
    "optimize.max_diversification": dict(cov=COV, bounds=BOUNDS), "size_steps.vol_regime": dict(vol=0.2),
    "walk_forward.walk_forward": dict(returns=pd.DataFrame(RETURNS, columns=NAMES), fit=optimize.min_variance, bounds=BOUNDS, window=30, every=10, rate=0.02),
    **{f"empirical.{name}": dict(returns=RETURNS, bounds=BOUNDS, level=0.75, **more) for name, more in (("min_cvar", {}), ("mean_cvar", {"risk_aversion": 1.0}))},
    "empirical.shortfall": dict(returns=SERIES, level=0.75), "empirical.kelly_portfolio": dict(returns=RETURNS, bounds=BOUNDS),
    "objectives.capped_bounds": dict(names=NAMES, upper=[0.1] * 3, sectors=dict(zip(NAMES, "xyz")), limits=Limits()),
    "objectives.optimize_targets": dict(targets=[Target(stock(n), 0.1) for n in NAMES], expected_returns=dict(zip(NAMES, MU)), cov=pd.DataFrame(COV, NAMES, NAMES), sectors=dict(zip(NAMES, "xyz")), limits=Limits(), rate=0.02),
}
ANY = "any unit: it gives that of the answer"
PART = "a part of vol_surface, which names the unit"
FREE = {  # (function, argument): why another unit cannot be told
    **{(f"var.{name}", "vol"): ANY for name in ("parametric_var", "parametric_es", "cornish_fisher_var", "cornish_fisher_es")},
    **{(f"var.{name}", "returns"): ANY for name in ("ewma_variances", "ewma_var", "ewma_es")}, ("var.parametric_parts", "mean"): "dollars follow from it, of any horizon",
    ("montecarlo.book_factors", "cov"): "of the horizon, which may be a day", ("covariance.usable_covariance", "cov"): "of any horizon", ("scenarios.broken_covariance", "cov"): "of any horizon", ("covariance.correlation_of", "cov"): "of any horizon", ("limits.apply_limits", "cov"): "of any horizon: its correlations are used", ("covariance.repaired_covariance", "cov"): "of any horizon",
    **{(f"var.{name}", "mean"): ANY for name in ("parametric_var", "parametric_es", "cornish_fisher_var", "cornish_fisher_es")},
    **{(f"surface.{name}", "tau"): PART for name in ("implied_forward", "fit_svi", "fit_mixture", "fit_smile")}, ("surface.implied_forward", "rate"): PART, **{("options.warn_on_strike", name): "a part of the Greeks, which name the unit" for name in ("vol", "tau", "rate", "div_yield")}, ("surface.inside_share", "vol"): "of three vols in one unit",
    ("surface.vol_surface", "rate"): "tested with its chains", ("surface.Surface.vol", "tau"): "beyond the last expiry is an error",
    ("revaluation.book_tail", "levels"): "tested below",
    **{(f"{name}", argument): "takes positions or quotes, which name their row: test_desk_risk.py" for name, given in {
        "bound_use.unit_parts": "vols", "marks.terms_of": "rate div_yield", "marks.unit_greeks": "vol", "marks.valued": "vol rate div_yield", "quoted_chain.quoted_chain": "rate div_yield", "hedges.choose_hedge": "vol rate div_yield",
        "stress.stress": "vols", "stress.past_returns": "returns", "stress.historical_tail": "returns levels"}.items() for argument in given.split()},
    **{(name, "vols"): "of a plan, from its covariance; `whole_lots.rebalance` names the unit" for name in ("whole_lots.drift_case", "lot_orders.plan_lot_orders")},
    ("black_litterman.black_litterman", "tau"): "no time: a share of the covariance, above 1 an error", ("empirical.shortfall", "returns"): ANY,
    ("objectives.capped_bounds", "upper"): "the position cap holds it, as large as it may be",
    ("objectives.optimize_targets", "expected_returns"): "tested below", ("live.LiveBook.update", "marks"): ANY, ("sharpe_test.autocorrelations", "returns"): "any unit: they have none", ("conventions.modified_tail", "mean"): ANY,
    ("ratios.quantile", "level"): "of a track record, for the measures' own levels",
}


def arguments() -> list:
    return [pytest.param(name, argument, kind, id=f"{name}-{argument}-{kind}") for name, f in public().items() for argument in inspect.signature(f).parameters
            if argument in WRONG and (name, argument) not in FREE for kind in WRONG[argument]]


def sample(name: str) -> tuple:
    if SAMPLES.get(name):
        return public()[name], SAMPLES[name]
    return CASES[name].call, CASES[name].given


def test_every_public_function_with_a_unit_is_walked():
    for name, f in public().items():
        for argument in set(inspect.signature(f).parameters) & set(WRONG):
            assert (name, argument) in FREE or argument in (SAMPLES.get(name) or CASES[name].given), f"{name}({argument}): give a sample, or say why its unit is free"


@pytest.mark.parametrize("name", sorted({p.values[0] for p in arguments()}))
def test_usual_numbers_pass_without_a_word(name):
    call, given = sample(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnitWarning)
        warnings.simplefilter("ignore", ShortHistory)
        call(**given)


@pytest.mark.filterwarnings("ignore::otsport.analytics.metrics.ShortHistory")
@pytest.mark.parametrize("name, argument, kind", arguments())
def test_another_unit_is_named_by_an_error_or_a_warning(name, argument, kind):
    call, given = sample(name)
    wrong = WRONG[argument][kind](given[argument])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        said = ""
        try:
            call(**given | {argument: wrong})
        except (InputError, DataError, SolverError) as error:
            said = str(error) if not isinstance(error, SolverError) else ""  # that nothing can be earned names no unit
        said = "; ".join([said, *(str(w.message) for w in caught if issubclass(w.category, UnitWarning))])
    words = {"vols": "vol", "vol_shifts": "vol", "cov": "covariance", "levels": "level", "expected_returns": "expected return", "factors": "return", "past_returns": "return", "spot_returns": "return",
             "returns": "return"}
    assert words.get(argument, argument) in said, said
    if kind == "prices" or kind == "percent" and words.get(argument) == "return":
        assert "decimals" in said and "0.01 is 1 %" in said
    if kind == "expired":
        assert "the expiry precedes the instant of the prices: leave it out, or value the book as of an earlier day" in said


PACED = ("metrics.metrics", "metrics.rolling_metrics", "performance.performance", "performance.track_record", "rolling_against.rolling_against", "sharpe_test.sharpe_test",
         "record_facts.record_facts", "factors.factor_regression", "market_timing.market_timing", *(f"empirical.{name}" for name in ("min_cvar", "mean_cvar", "kelly_portfolio")))


@pytest.mark.filterwarnings("ignore::otsport.analytics.metrics.ShortHistory")
@pytest.mark.parametrize("name", PACED)
@pytest.mark.parametrize("frequency, right", [("ME", 12), ("W", 52), ("QE", 4)])
def test_dates_of_another_pace_than_the_periods_are_named(name, frequency, right):
    """Twelve returns a year that are taken for 252 compound to thousands of percent a year."""
    call, given = sample(name)
    count = len(given["returns"])
    named = lambda v: pd.DataFrame(v, columns=NAMES if np.ndim(v) == 2 and np.shape(v)[1] == len(NAMES) else None)
    dated = {k: named(np.asarray(v)).set_axis(pd.date_range("1990-01-31", periods=count, freq=frequency)).squeeze(axis=1)
             for k, v in given.items() if k in ("returns", "benchmark", "factors") and v is not None}
    with pytest.warns(UnitWarning, match=f"dated {right} a year and taken as 252: give periods"):
        call(**given | dated)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnitWarning)
        call(**given | dated | {"periods": right})


def test_functions_that_take_periods_look_at_the_dates():
    taking = {name for name, f in public().items() if {"returns", "periods"} <= set(inspect.signature(f).parameters)}
    assert taking - set(PACED) == set(), "give it to PACED, or say here why dates do not matter to it"


def test_warning_names_the_line_of_the_caller():
    with pytest.warns(UnitWarning, match="vol is 20, that is 2,000 % a year") as caught:
        make_book(1, 100.0, 100.0, 0.3, 20.0, "C", 0)
    assert caught[0].filename == __file__


def test_vol_in_percent_is_named_where_positions_carry_it():
    given = dict(quantities={CALL: 1}, spots={"KO": 63.5}, past_returns=pd.DataFrame({"KO": SERIES}), as_of=NOW)
    with pytest.warns(UnitWarning, match="vol is 20, that is 2,000 % a year"):
        scenario_pnl(**given, option_vols={CALL.key: 20.0})


EXPIRED = "KO 20221216 C 60 expired on 2022-12-16, before 2022-12-27: leave it out, or value the book as of an earlier day"


def test_expired_option_is_refused_in_one_wording_everywhere():
    call = option("KO", date(2022, 12, 16), Decimal(60), "C")
    with pytest.raises(InputError, match=EXPIRED):
        scenario_pnl({call: 1}, {"KO": 63.5}, pd.DataFrame({"KO": [0.1, -0.1]}), {call.key: 0.2}, NOW)
    held = Position("DU1", "main", call, (Lot(Decimal(1), Decimal(2), NOW - timedelta(20)),))
    mark = PositionMark(call, *[Decimal(1)] * 6)
    before = Snapshot("DU1", "main", date(2022, 12, 27), NOW, Decimal(0), Decimal(1), (mark,), *[Decimal(0)] * 4)
    with pytest.raises(InputError, match=EXPIRED):
        LiveBook([held], 0.0, before)
    LiveBook([held], 0.0, replace(before, ts=NOW - timedelta(12)))  # negative control: the day before its end
    assert len(LiveBook(HELD, 0.0).keys) == 3


def test_expected_returns_of_targets_in_percent_are_named():
    given = SAMPLES["objectives.optimize_targets"]
    with pytest.warns(UnitWarning, match="the expected return of AAPL is 8, that is 800 % a year"):
        optimize_targets(**given | {"expected_returns": dict(zip(NAMES, 100 * MU))})


@pytest.mark.parametrize("change, words", [({"max_loss": 8.0}, "loss at the stop of KO is 8"), ({"max_loss": -0.1}, "loss at the stop of KO is -0.1"), ({"max_loss": np.nan}, "loss at the stop of KO is nan"),
                                           ({"confidence": 75.0}, "confidence of KO is 75"), ({"expected_return": np.nan}, "expected return of KO is nan")])
def test_view_in_percent_or_of_no_number_gets_no_size(change, words):
    view = View(stock("KO"), 0.10, 0.75, 0.05, ())
    assert size(view, Sizing()).weight > 0
    with pytest.raises(InputError, match=words):
        size(replace(view, **change), Sizing())


def test_confidence_in_percent_is_refused():
    with pytest.raises(InputError, match="confidence 75 is outside 0 to 1"):
        confidence_factor(75)


def test_dated_sessions_name_the_price():
    with pytest.raises(InputError, match="return of BOLT in 2024-01-03 is 60"):
        CASES["var.linear_var"].call(returns=pd.DataFrame(np.where(np.arange(180).reshape(60, 3) == 5, 60.0, RETURNS), index=SESSIONS, columns=NAMES), exposures=MU)
