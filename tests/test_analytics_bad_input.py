"""Careless callers: whatever is no number, stands in another order or cannot be a price is named, never computed with."""
from datetime import date, datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from otsport.analytics.american import american, american_approx, american_greeks, american_tree, american_vol
from otsport.analytics.combinations import Leg, combination_greeks, expected_profit, outcome, payoff, probability_of_profit
from otsport.analytics.covariance import (
    denoised_covariance, ewma_covariance, factor_covariance, noise_edge, repaired_covariance, sample_covariance, shrinkage, shrunk_covariance,
)
from otsport.analytics.kelly import growth_rate, kelly, kelly_binary, kelly_many, optimal_f
from otsport.analytics.live import LiveBook
from otsport.analytics.metrics import drawdowns, longest_drawdown, metrics, rolling_metrics
from otsport.analytics.montecarlo import book_factors, copula_scenarios, monte_carlo
from otsport.analytics.options import black76, bsm, bsm_greeks, bsm_second_order, implied_vol, right_sign
from otsport.analytics.revaluation import book_tail, delta_gamma_pnl, full_revaluation, make_book
from otsport.analytics.risk import component_es, component_var, expected_shortfall, historical_var, scenario_pnl
from otsport.analytics.var import (
    cornish_fisher_var, ewma_es, ewma_var, ewma_variances, incremental_var, linear_var, parametric_es, parametric_parts, parametric_var,
)
from otsport.core.errors import DataError, InputError
from otsport.core.books import Lot, Position
from otsport.core.contracts import option, stock
from otsport.data.ticks import TickBuffer

REFUSED = (InputError, DataError)
NOW = datetime(2022, 12, 27, 21, tzinfo=timezone.utc)
NO_NUMBERS = {
    "text": lambda x: x.astype(str), "dates": lambda x: np.arange(x.size).reshape(x.shape).astype("M8[D]"), "spans": lambda x: np.arange(x.size).reshape(x.shape).astype("m8[D]"),
    "booleans": lambda x: x > 0, "complex": lambda x: x + 1j, "objects": lambda x: np.full(x.shape, object()), "None": lambda x: None, "dict": lambda x: {"a": 1},
    "ragged": lambda x: [[0.1], [0.1, 0.2]],
}
SAME = {
    "list": lambda x: x.tolist(), "Fortran": lambda x: np.asfortranarray(x), "read-only": lambda x: np.broadcast_to(x, x.shape), "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "object": lambda x: x.astype(object), "decimals": lambda x: np.vectorize(lambda v: Decimal(repr(float(v))), otypes=[object])(x), "big-endian": lambda x: x.astype(">f8"),
    "pandas": lambda x: pd.Series(x) if x.ndim == 1 else pd.DataFrame(x),
}
RNG = np.random.default_rng(0)
SERIES = np.round(RNG.normal(0.001, 0.01, 120), 6)
TABLE = np.round(RNG.normal(0.001, 0.01, (120, 3)), 6)
OF_A_SERIES = [historical_var, expected_shortfall, ewma_variances, ewma_var, ewma_es, drawdowns, longest_drawdown, metrics, kelly, optimal_f, lambda x: growth_rate(x, 0.5), lambda x: rolling_metrics(x, 20)]
OF_A_TABLE = [
    shrinkage, shrunk_covariance, sample_covariance, ewma_covariance, denoised_covariance, lambda x: factor_covariance(x, 1), lambda x: factor_covariance(TABLE, x), kelly_many,
    lambda x: rolling_metrics(x, 20), lambda x: copula_scenarios(x, 50), lambda x: linear_var(x, [1.0, 2.0, 3.0], (0.95,)),
]


def plain(answer):
    """The numbers of an answer, whatever its kind."""
    for name in ("values", "weights", "component_var"):
        answer = getattr(answer, name, answer)
    return np.array(list(answer.frame()["value"]) if hasattr(answer, "frame") and not hasattr(answer, "series") else answer, dtype=float)


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("at", range(len(OF_A_SERIES)))
def test_series_that_is_no_numbers_is_refused(at, kind):
    with pytest.raises(REFUSED):
        OF_A_SERIES[at](NO_NUMBERS[kind](SERIES))


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("at", range(len(OF_A_SERIES)))
def test_series_in_any_wrapping_gives_the_same(at, kind):  # negative control of the refusals: what is good passes
    np.testing.assert_array_equal(plain(OF_A_SERIES[at](SAME[kind](SERIES))), plain(OF_A_SERIES[at](SERIES)))


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("at", range(len(OF_A_TABLE)))
def test_table_that_is_no_numbers_is_refused(at, kind):
    with pytest.raises(REFUSED):
        OF_A_TABLE[at](NO_NUMBERS[kind](TABLE))


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("at", range(len(OF_A_TABLE)))
def test_table_in_any_wrapping_gives_the_same(at, kind):
    np.testing.assert_allclose(plain(OF_A_TABLE[at](SAME[kind](TABLE))), plain(OF_A_TABLE[at](TABLE)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("at", range(len(OF_A_SERIES) - 1))  # rolling measures take tables
@pytest.mark.parametrize("shape", [(), (120, 1), (60, 2)])
def test_series_of_another_shape_is_refused(at, shape):
    with pytest.raises(REFUSED):
        OF_A_SERIES[at](np.full(shape, 0.01))


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_gap_in_a_series_is_named_or_stays(hole):
    x = SERIES.copy()
    x[7] = hole
    for function in (historical_var, expected_shortfall, ewma_variances, longest_drawdown, metrics, kelly, optimal_f, lambda x: growth_rate(x, 0.5)):
        with pytest.raises(DataError), np.errstate(invalid="ignore"):
            function(x)


def test_masked_entries_are_missing_not_their_hidden_values():
    hidden = np.ma.array([100.0, 90.0], mask=[False, True])
    price = bsm(hidden, 95, 0.3, 0.02, 0.01, 0.25, "C")[0]
    assert np.isnan(price).tolist() == [False, True]
    with pytest.raises(DataError):
        historical_var(np.ma.array(SERIES, mask=SERIES < 0))


OPTION = dict(spot=100.0, strike=95.0, tau=0.3, rate=0.02, div_yield=0.01, vol=0.25, right="C")
PRICERS = [bsm, bsm_greeks, bsm_second_order, american, american_greeks, american_approx, lambda **k: american_approx(**k, method="baw"), lambda **k: american_tree(**k, steps=11)]


@pytest.mark.parametrize("field, value, words", [
    ("spot", -1, "spot is -1"), ("strike", -1, "strike is -1"), ("tau", -0.1, "precedes"), ("vol", -0.1, "vol is -0.1"), ("spot", "100", "spot holds"), ("spot", True, "spot holds bool"),
    ("tau", np.timedelta64(30, "D"), "tau holds timedelta"), ("spot", 1j, "spot holds complex"), ("spot", [[1.0], [1.0, 2.0]], "different lengths"), ("spot", np.ones((2, 3)), None), ("right", "c", "neither call nor put"),
    ("right", None, "neither call nor put"), ("right", True, "right holds bool"), ("right", ["C", "P", "P"], None), ("right", np.nan, "neither call nor put"), ("right", b"C", "right holds bytes"),
])
@pytest.mark.parametrize("at", range(len(PRICERS)))
def test_option_input_is_refused(at, field, value, words):
    given = OPTION | {field: value}
    if words is None:  # of shapes that do not fit
        given, words = given | {"strike": [90.0, 95.0, 100.0, 105.0]}, "do not fit together"
    with pytest.raises(InputError, match=words):
        PRICERS[at](**given)


@pytest.mark.parametrize("field", ["spot", "strike", "tau", "rate", "div_yield", "vol"])
@pytest.mark.parametrize("value", [np.nan, np.inf, None])
@pytest.mark.parametrize("at", range(len(PRICERS)))
def test_option_input_that_is_missing_is_nan_in_every_figure(at, field, value):
    found = PRICERS[at](**OPTION | {field: value})
    if isinstance(found, tuple) and at == 3:
        found, flag = found
        assert flag == 3
    figures = [getattr(found, name) for name in ("price", "delta", "gamma", "vega", "theta", "rho")] if at == 4 else np.atleast_1d(found)
    assert np.isnan(figures).all()


def test_option_times_in_other_zones_are_refused():
    days = pd.date_range("2024-01-02", periods=2)
    with pytest.raises(InputError, match="2024-01-02 .* is in spot but not in vol"):
        bsm(**OPTION | {"spot": pd.Series([100.0, 101.0], index=days), "vol": pd.Series([0.2, 0.2], index=days.tz_localize("UTC"))})


@pytest.mark.parametrize("price, flag", [(-1.0, 1), (0.0, 1), (np.nan, 3), (None, 3), (5.0, 1), (100.0, 2)])
def test_quote_without_a_vol_is_flagged(price, flag):
    for invert in (implied_vol, american_vol):
        vol, found = invert(price, 100.0, 95.0, 0.3, 0.0, 0.0, "C")
        assert np.isnan(vol) and found == flag


@pytest.mark.parametrize("field", ["spot", "strike", "tau", "rate", "div_yield"])
def test_quote_with_an_infinite_input_is_flagged(field):
    given = {k: v for k, v in OPTION.items() if k != "vol"} | {field: np.inf}
    assert implied_vol(8.0, **given)[1] == 3 and american_vol(8.0, **given)[1] == 3


def test_black76_names_the_forward_and_keeps_its_rho():
    with pytest.raises(InputError, match="forward is -100"):
        black76(-100, 95, 0.3, 0.02, 0.25, "C")
    found = black76([100.0, 90.0], 95, 0.3, 0.02, 0.25, "C")
    up, down = (black76([100.0, 90.0], 95, 0.3, 0.02 + h, 0.25, "C").price for h in (1e-5, -1e-5))
    np.testing.assert_allclose(found.rho, (up - down) / 2e-5, rtol=1e-7)


def test_right_sign_takes_objects():
    assert right_sign(np.array([1, -1], dtype=object)).tolist() == [1.0, -1.0] and right_sign(pd.Series(["C", "P"])).tolist() == [1.0, -1.0]


@pytest.mark.parametrize("dividends, words", [((0.1, 1.0), "shape"), (((0.1, 1.0, 2.0),), "shape"), (3.0, "shape"), (((-0.1, 1.0),), "past"), (((0.1, -1.0),), "not negative"), (((np.nan, 1.0),), "finite"), ((("a", 1),), "dividends holds")])
def test_tree_refuses_dividends(dividends, words):
    with pytest.raises(InputError, match=words):
        american_tree(**OPTION, dividends=dividends)


@pytest.mark.parametrize("steps", [0, -1, 100, 101.0, "101", None, True])
def test_tree_refuses_steps(steps):
    if steps is True:
        assert american_tree(**OPTION, steps=1) > 0
    with pytest.raises(InputError, match="steps is|odd"):
        american_tree(**OPTION, steps=steps)


def test_american_greeks_need_a_spot():
    with pytest.raises(InputError, match="spot 1 is 0"):
        american_greeks([100.0, 0.0], 95, 0.3, 0.02, 0.01, 0.25, "P")


BULL = (Leg(1, "C", 100, 4.0), Leg(-1, "C", 110, 1.5))


@pytest.mark.parametrize("leg", [(None, "C", 100, 1), (1, "C", "100", 1), (1, "C", np.nan, 1), (1, "C", 100, -1), ([1], "C", 100, 1), (True, "C", 100, 1), (1, "c", 100, 1), (0, "C", 100, 1)])
def test_leg_is_refused(leg):
    with pytest.raises(InputError):
        Leg(*leg)


def test_legs_of_decimals_or_from_a_generator_are_the_same():
    exact = (Leg(Decimal(1), "C", Decimal(100), Decimal(4)), Leg(-1, "C", 110, Decimal("1.5")))
    assert exact == BULL and outcome(leg for leg in BULL) == outcome(BULL) == outcome(list(BULL))


@pytest.mark.parametrize("call", [
    lambda: payoff((), 100), lambda: payoff(((1, "C", 100, 2),), 100), lambda: payoff(5, 100), lambda: payoff(BULL, -5), lambda: payoff(BULL, "a"), lambda: payoff(BULL, 100, np.nan), lambda: outcome(BULL, -100),
    lambda: outcome(()), lambda: expected_profit((), 100, 1, 0.2), lambda: expected_profit(BULL, np.nan, 1, 0.2), lambda: expected_profit((Leg(1, "S", 0, 100),), -5, 1, 0.2), lambda: expected_profit(BULL, 100, 1, np.inf),
    lambda: probability_of_profit(BULL, np.inf, 1, 0.2), lambda: probability_of_profit(BULL, [100, 101], 1, 0.2), lambda: probability_of_profit(BULL, "100", 1, 0.2), lambda: combination_greeks(BULL, 100, 0.5, 0, 0, [0.2, 0.2, 0.2]),
    lambda: combination_greeks(BULL, np.nan, 0.5, 0, 0, 0.2), lambda: combination_greeks((Leg(1, "S", 0, 100),), -4, 0.5, 0, 0, 0.2), lambda: combination_greeks(BULL, 100, 0.5, 0, 0, [0.2, np.nan]),
])
def test_combination_is_refused(call):
    with pytest.raises(InputError):
        call()


@pytest.mark.parametrize("level", [0.4, 1, 95, -1, np.nan, "0.95", None, True, [0.95], np.array([0.95, 0.99])])
def test_level_is_refused(level):
    frame = pd.DataFrame(TABLE)
    for call in (lambda: historical_var(SERIES, level), lambda: expected_shortfall(SERIES, level), lambda: parametric_var(1.0, level), lambda: cornish_fisher_var(1.0, 0, 0, level), lambda: incremental_var(frame, level),
                 lambda: component_var(frame, level), lambda: component_es(frame, level), lambda: linear_var(TABLE, [1.0, 1.0, 1.0], (level,)), lambda: parametric_parts([1.0], [[1.0]], level)):
        with pytest.raises(InputError):
            call()
    with pytest.raises(InputError, match="levels is"):
        linear_var(TABLE, [1.0, 1.0, 1.0], 0.95)


def test_decimal_level_is_a_level():
    assert historical_var(SERIES, Decimal("0.95")) == historical_var(SERIES, 0.95) and parametric_es(1.0, Decimal("0.95")) == parametric_es(1.0, 0.95)


@pytest.mark.parametrize("value", [np.nan, np.inf, None, "1", np.array([1.0, 2.0]), True])
def test_fitted_measures_refuse(value):
    for call in (lambda: parametric_var(value), lambda: parametric_es(1.0, mean=value), lambda: cornish_fisher_var(1.0, value, 1.0), lambda: cornish_fisher_var(1.0, 0.0, value), lambda: ewma_variances(SERIES, value)):
        with pytest.raises(REFUSED):
            call()
    if value is not None:
        with pytest.raises(REFUSED):
            parametric_var(1.0, df=value)


NAMES, COV = list("abc"), np.array([[4.0, 1.0, 0.0], [1.0, 9.0, 2.0], [0.0, 2.0, 16.0]]) / 100


@pytest.mark.parametrize("change, words", [
    ({"exposures": pd.Series([1.0, 2.0, 3.0], index=list("abd"))}, "d is in the covariance|c is in the covariance|d is in exposures"), ({"cov": COV + np.triu(COV, 1)}, "not symmetric"), ({"cov": -COV}, "variance 2 is"), ({"sessions": 0}, "sessions is 0"), ({"sessions": np.nan}, "sessions is nan"),
    ({"mean": [0.0, 0.0]}, "mean has shape"), ({"mean": [0.0, np.nan, 0.0]}, "mean has shape"), ({"mean": pd.Series(0.0, index=list("cbx"))}, "a is in exposures but not in mean"), ({"exposures": ["x", "y", "z"]}, "exposures holds"), ({"exposures": []}, "shape"),
    ({"cov": pd.DataFrame(COV, index=NAMES, columns=list("cax"))}, "b is in exposures but not in the covariance"),
])
def test_parametric_parts_refuse(change, words):
    given = {"exposures": pd.Series([1.0, 2.0, 3.0], index=NAMES), "cov": pd.DataFrame(COV, index=NAMES, columns=NAMES)}
    assert parametric_parts(**given).var > 0  # negative control
    with pytest.raises(REFUSED, match=words):
        parametric_parts(**given | change)


@pytest.mark.parametrize("returns, exposures, words", [
    (pd.DataFrame(TABLE, columns=NAMES), pd.Series({"a": 1.0, "b": 1.0, "c": 1.0, "d": 5.0}), "d is in exposures but not in returns"), (pd.DataFrame(TABLE, columns=list("aab")), pd.Series({"a": 1.0, "b": 1.0}), "stands twice"),
    (pd.DataFrame(TABLE, columns=NAMES), pd.Series([1.0] * 4, index=list("aabc")), "stands twice"), (TABLE[:, :0], [], "shape"), (np.clip(100 * TABLE, 0.5, 1.0), [1e308] * 3, "too large"), (TABLE, {"a": 1.0}, "holds"),
])
def test_linear_var_refuses_misalignment(returns, exposures, words):
    with pytest.raises(REFUSED, match=words):
        linear_var(returns, exposures, (0.95,))


@pytest.mark.parametrize("measure", [component_var, component_es, incremental_var])
def test_parts_refuse_gaps_and_what_is_no_frame(measure):
    frame = pd.DataFrame(TABLE, columns=NAMES)
    gap = frame.copy()
    gap.loc[4, "b"] = np.nan
    with pytest.raises(DataError, match="P&L of b in 4 is nan"):  # a sum would leave the loss out
        measure(gap)
    for wrong in (TABLE, TABLE.tolist(), frame.assign(d="x"), frame.assign(d=pd.Timestamp("2024-01-02"))):
        with pytest.raises(InputError):
            measure(wrong)
    assert len(measure(frame)) == 3


@pytest.mark.parametrize("cov", [np.full((2, 2), np.nan), [[1, 2], [0, 1]], [[-1.0, 0], [0, 1]], np.ones((2, 3)), [1.0], np.empty((0, 0)), [["a"]]])
def test_repair_refuses_what_is_no_covariance(cov):
    with pytest.raises(REFUSED):
        repaired_covariance(cov)


@pytest.mark.parametrize("call", [
    lambda: repaired_covariance(COV, lowest="a"), lambda: repaired_covariance(COV, steps=0), lambda: repaired_covariance(COV, steps=2.5), lambda: noise_edge([1.0, 2.0], 0), lambda: noise_edge([], 10), lambda: noise_edge([np.nan, 1.0], 10),
    lambda: factor_covariance(TABLE, True), lambda: factor_covariance(TABLE, 2.0), lambda: factor_covariance(pd.DataFrame(TABLE), pd.DataFrame({"m": TABLE[:, 0]}, index=range(1, 121))), lambda: ewma_covariance(TABLE, "a"),
])
def test_covariance_arguments_are_refused(call):
    with pytest.raises(REFUSED):
        call()


@pytest.mark.parametrize("change", [{"rate": -1.0}, {"rate": np.nan}, {"rate": np.inf}, {"rate": "a"}, {"periods": 0}, {"periods": -252}, {"periods": np.nan}, {"periods": None}])
def test_metrics_refuse(change):
    for call in (lambda: metrics(SERIES, **change), lambda: rolling_metrics(SERIES, 20, **change)):
        with pytest.raises(InputError):
            call()


@pytest.mark.parametrize("window", [0, 1, 121, 2.5, 20.0, "20", None, True])
def test_rolling_window_is_refused(window):
    with pytest.raises(InputError, match="window is"):
        rolling_metrics(SERIES, window)


def test_returns_below_minus_one_are_refused():  # two of them multiply to a gain
    for call in (metrics, drawdowns, longest_drawdown, lambda x: rolling_metrics(x, 2), lambda x: rolling_metrics(pd.DataFrame({"a": [0.0] * 3, "b": x}), 2)):
        with pytest.raises(DataError, match="is -1.5, below -1"):
            call([0.1, -1.5, -1.5])
        call([0.1, -1.0, 0.5])  # a total loss is possible


@pytest.mark.parametrize("arguments", [(1.1, 1), (-0.1, 1), (np.nan, 1), (0.5, 0), (0.5, np.inf), ("a", 1), (None, 1), (0.5, None), (np.array([0.5, 0.6]), 1), (True, 1)])
def test_kelly_binary_refuses(arguments):
    with pytest.raises(InputError):
        kelly_binary(*arguments)


@pytest.mark.parametrize("change, words", [({"upper": [1.0, 2.0]}, "upper has shape"), ({"upper": "a"}, "upper holds"), ({"upper": np.nan}, "upper bound nan"), ({"gross": "a"}, "gross is"), ({"gross": None}, "gross is"), ({"upper": pd.Series([0.1] * 3, index=list("cbx"))}, "a is in returns but not in upper")])
def test_kelly_many_refuses_its_bounds(change, words):
    with pytest.raises(InputError, match=words):
        kelly_many(pd.DataFrame(TABLE, columns=NAMES), **change)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-90, 1.0, 1e70, 1e90, 1e300])
def test_kelly_of_extreme_returns_is_right_or_refused(scale):
    try:
        found = kelly(np.array([2.0, -1.0]) * scale)
    except Exception as error:  # noqa: BLE001 - the kind is asserted
        assert type(error).__name__ in ("DataError", "SolverError") and (scale > 1e70 or scale < 1e-300)
    else:
        assert found * scale == pytest.approx(0.25, rel=1e-9)


def test_growth_rate_refuses():
    for x, share in (([], 0.5), ([0.1, np.nan], 0.5), ([0.1], np.nan), ([0.1], "a"), ([0.1], None)):
        with pytest.raises(REFUSED):
            growth_rate(x, share)


POSITIONS = dict(qty=[1.0, -2.0], spot=[100.0, 100.0], strike=[95.0, 105.0], tau=0.3, vol=0.25, right=["C", "P"], underlying=0)


@pytest.mark.parametrize("change", [
    {"qty": ["a", "b"]}, {"vol": [None, 0.2]}, {"right": [1, -1]}, {"right": ["C", "P", "C"]}, {"spot": [1.0, 2.0, 3.0]}, {"qty": np.ones((2, 2))}, {"underlying": [0.7, 1.2]}, {"underlying": [np.nan, 0]}, {"underlying": [-1, 0]},
    {"underlying": ["AAPL", 0]}, {"underlying": [["AAPL", "MSFT"]]}, {"qty": pd.Series([1.0, -2.0], index=["x", "y"]), "spot": pd.Series([90.0, 100.0], index=["y", "z"])}, {"tau": np.timedelta64(30, "D")}, {"vol": np.ma.array([0.2, 0.3], mask=[True, False])}, {"spot": [-1.0, 100.0]},
])
def test_book_is_refused(change):
    assert len(make_book(**POSITIONS).scale) == 2  # negative control
    with pytest.raises(REFUSED):
        make_book(**POSITIONS | change)


def read_only(a):
    a.setflags(write=False)
    return a


@pytest.mark.parametrize("change", [
    {"days": -1}, {"days": np.nan}, {"days": np.inf}, {"days": "a"}, {"spot_returns": [0.1, 0.2]}, {"spot_returns": [["a"]]}, {"spot_returns": None}, {"vol_shifts": np.zeros((3, 1))}, {"spot_returns": np.ma.array(TABLE[:, :1], mask=True)},
    {"spot_returns": pd.DataFrame(TABLE[:, :1], index=range(120)), "vol_shifts": pd.DataFrame(TABLE[:, :1], index=range(1, 121))},
])
def test_scenarios_are_refused(change):
    given = {"book": make_book(**POSITIONS), "spot_returns": TABLE[:, :1]} | change
    for value in (full_revaluation, delta_gamma_pnl):
        with pytest.raises(REFUSED):
            value(**given)


@pytest.mark.parametrize("out", [np.empty((3, 120)), np.empty((2, 120), "f4"), np.empty((2, 120), order="F"), [[1.0]], read_only(np.empty((2, 120)))])
def test_room_for_the_pnl_is_refused(out):
    with pytest.raises(InputError, match="the P&L needs"):
        full_revaluation(make_book(**POSITIONS), TABLE[:, :1], out=out)


def test_book_tail_refuses_names():
    with pytest.raises(InputError, match="1 names for 2"):
        book_tail(full_revaluation(make_book(**POSITIONS), TABLE[:, :1]), names=["a"])


@pytest.mark.parametrize("change", [
    {"delta": [np.nan, 1, 1]}, {"delta": pd.Series([1.0, 2.0, 3.0], index=list("abc")), "cov": pd.DataFrame(COV, index=list("cbx"), columns=list("cbx"))}, {"gamma": [1.0]}, {"gamma": np.triu(np.ones((3, 3)))}, {"cov": COV + np.triu(COV, 1)},
    {"sessions": 0}, {"sessions": "a"}, {"scenarios": 10}, {"scenarios": -5}, {"scenarios": 4000.0}, {"seed": -1}, {"seed": 1.5}, {"seed": None}, {"seed": 2**70}, {"df": np.inf}, {"df": "a"}, {"drift": np.nan}, {"drift": [1.0, 2.0]}, {"levels": 0.95},
    {"delta": ["a"] * 3}, {"delta": [], "gamma": [], "cov": np.empty((0, 0))},
])
def test_monte_carlo_refuses_carelessness(change):
    with pytest.raises(REFUSED):
        monte_carlo(**{"delta": [1e5, 2e5, -1e5], "gamma": [-1e5] * 3, "cov": COV, "scenarios": 4000} | change)


@pytest.mark.parametrize("arguments", [([np.nan, 1, 1], [1.0] * 3, COV), ([1.0, 1], [1.0] * 3, COV), ([1.0] * 3, [1.0] * 3, COV * np.nan), ([1.0] * 3, [1.0] * 3, COV, np.nan)])
def test_book_factors_refuse(arguments):
    with pytest.raises(REFUSED):
        book_factors(*arguments)


@pytest.mark.parametrize("change", [{"scenarios": -5}, {"scenarios": 0}, {"scenarios": 5.0}, {"df": 2.0}, {"df": np.nan}, {"seed": -1}, {"seed": None}])
def test_copula_refuses(change):
    with pytest.raises(InputError):
        copula_scenarios(**{"past_returns": TABLE} | change)


CALL = option("KO", date(2023, 1, 20), "65", "C")
MOVES = pd.DataFrame({"KO": SERIES})


@pytest.mark.parametrize("change", [
    {"spots": {"KO": -1.0}}, {"spots": {"KO": np.nan}}, {"spots": {"KO": None}}, {"quantities": {CALL: np.nan}}, {"quantities": {CALL: None}}, {"past_returns": MOVES.where(MOVES != SERIES[3])}, {"past_returns": MOVES.replace(SERIES[3], np.inf)},
    {"past_returns": TABLE}, {"past_returns": pd.concat([MOVES, MOVES], axis=1)}, {"past_returns": MOVES.astype(str)}, {"as_of": datetime(2022, 12, 27)}, {"option_vols": {CALL.key: None}}, {"option_vols": {CALL.key: np.inf}}, {"option_vols": {CALL.key: "a"}},
    {"rate": np.nan}, {"rate": "a"}, {"days": np.nan}, {"days": "a"}, {"vol_shifts": MOVES.where(MOVES != SERIES[3])}, {"vol_shifts": pd.concat([MOVES, MOVES])}, {"vol_shifts": TABLE},
    {"past_returns": MOVES.set_axis(pd.date_range("2020", periods=120)), "vol_shifts": MOVES.set_axis(pd.date_range("2020", periods=120, tz="UTC"))},
])
def test_scenario_pnl_refuses_carelessness(change):
    given = {"quantities": {CALL: 1, stock("KO"): 100}, "spots": {"KO": 63.5}, "past_returns": MOVES, "option_vols": {CALL.key: 0.2}, "as_of": NOW}
    with pytest.raises(REFUSED):
        scenario_pnl(**given | change)


def live(**change):
    held = [Position("DU1", "main", stock("KO"), (Lot(Decimal(100), Decimal(50), NOW),)), Position("DU1", "main", stock("PEP"), (Lot(Decimal(-10), Decimal(180), NOW),))]
    return LiveBook(**{"positions": held, "cash": 10_000.0} | change)


@pytest.mark.parametrize("marks, flow", [([-1.0, 180.0], 0.0), ([np.inf, 180.0], 0.0), (["51", "180"], 0.0), ([51.0], 0.0), (None, 0.0), (pd.Series({"PEP": 180.0, "JPM": 51.0}), 0.0), ([51.0, 180.0], np.nan), ([51.0, 180.0], "a")])
def test_live_update_refuses_and_keeps_its_state(marks, flow):
    book, twin = live(), live()
    for b in (book, twin):
        b.update([50.0, 180.0])
    with pytest.raises(InputError):
        book.update(marks, flow)
    assert book.update([51.0, 179.0], 10.0) == twin.update(pd.Series({"PEP": 179.0, "KO": 51.0}), 10.0)


@pytest.mark.parametrize("change", [{"cash": np.nan}, {"cash": "a"}, {"moved": {"JPM": 100.0}}, {"moved": {"KO": "a"}}])
def test_live_book_refuses(change):
    with pytest.raises(InputError):
        live(**change)


@pytest.mark.parametrize("tick", [("KO", "bid", None), ("KO", "bid", "61"), ("KO", "bid", [61.0]), ("KO", "bid", True), (["KO"], "bid", 61.0), ("KO", "mid", 61.0), ("JPM", "bid", 61.0)])
def test_tick_is_refused_and_leaves_nothing(tick):
    buffer = TickBuffer(["KO"], ["bid"], 2)
    with pytest.raises(InputError):
        buffer.push(*tick)
    assert buffer.drain() == {}
    buffer.push("KO", "bid", Decimal("61.5"))
    assert buffer.drain() == {"KO": {"bid": 61.5}}


@pytest.mark.parametrize("arguments", [{"capacity": 0}, {"capacity": 2.5}, {"keys": "KO"}, {"fields": "bid"}, {"keys": ["KO", "KO"]}])
def test_tick_buffer_refuses(arguments):
    with pytest.raises(InputError):
        TickBuffer(**{"keys": ["KO"], "fields": ["bid"]} | arguments)
