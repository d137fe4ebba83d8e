"""One rule for what stands on its strike when time is used up: a price is exact, a Greek warns, a vol is none and flagged."""
import inspect
import warnings

import numpy as np
import pytest
from public_arrays import public

from otsport.analytics import american as american_room
from otsport.analytics import combinations, revaluation
from otsport.analytics.american import american_greeks, american_vol
from otsport.analytics.options import OnStrikeWarning, black76, bsm, bsm_delta, bsm_greeks, bsm_price, bsm_second_order, bsm_vega, implied_vol
ON = dict(spot=100.0, strike=100.0, tau=0.0, rate=0.03, div_yield=0.01, vol=0.2, right="C")
LEGS = [combinations.Leg(1, "C", 100.0, 1.0)]
PINNED = revaluation.make_book(1, 100.0, 100.0, 0.0, 0.2, "C", 0)
UP = np.full((20, 1), 0.01)
EXACT = {  # a price has no jump there: the exercise value, and no word
    **{f"options.{f.__name__}": lambda f=f: f(**ON) for f in (bsm_price,)},
    **{f"american.{f.__name__}": lambda f=f: np.atleast_1d(f(**ON))[0] for f in (american_room.american, american_room.american_tree)},
    **{f"american.american_approx {m}": lambda m=m: american_room.american_approx(**ON, method=m) for m in american_room.APPROXIMATIONS},
    "american.american_tree european": lambda: american_room.american_tree(**ON, exercise="european", tree="cox-ross-rubinstein", steps=10),
    "revaluation.full_revaluation": lambda: revaluation.full_revaluation(PINNED, 0 * UP).total,
}
JUMPS = {  # a Greek does: the middle, and a warning
    **{f"options.{f.__name__}": lambda f=f: f(**ON) for f in (bsm, bsm_delta, bsm_vega, bsm_vega, bsm_greeks, bsm_second_order)},
    "options.black76": lambda: black76(100.0, 100.0, 0.0, 0.03, 0.2, "C"), "american.american_greeks": lambda: [getattr(american_greeks(**ON), n) for n in ("delta", "gamma", "theta")],
    "combinations.combination_greeks": lambda: list(combinations.combination_greeks(LEGS, 100.0, 0.0, 0.03, 0.01, 0.2).values()),
    "revaluation.delta_gamma_pnl": lambda: revaluation.delta_gamma_pnl(PINNED, UP).total,
    "revaluation.delta_gamma_error": lambda: list(revaluation.delta_gamma_error(PINNED, UP).values()),
}
NONE_THERE = {f.__name__: lambda f=f: f(0.0, 100.0, 100.0, 0.0, 0.03, 0.01, "C") for f in (implied_vol, american_vol)}  # no vol: NaN and a flag
NO_PRICE = {"options.warn_on_strike", "options.right_sign"}  # parts of the others
NO_POINT = {"combinations.probability_of_profit", "combinations.expected_profit", "combinations.outcome", "surface.fit_svi", "surface.fit_mixture", "surface.fit_smile",
            "surface.implied_forward", "surface.Surface.vol", "revaluation.make_book", "revaluation.Book"}  # of a distribution or a curve; a book is only held


@pytest.mark.parametrize("call", EXACT.values(), ids=EXACT)
def test_prices_on_the_strike_at_expiry_are_exact_and_silent(call):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.max(np.abs(call())) == 0


@pytest.mark.parametrize("call", JUMPS.values(), ids=JUMPS)
def test_greeks_on_the_strike_at_expiry_are_finite_and_told(call):
    with pytest.warns(OnStrikeWarning, match="^1 of 1 options stand exactly on their strike") as said:
        found = call()
    assert np.isfinite(np.array(found, dtype=float)).all() and {s.filename for s in said} == {__file__}


@pytest.mark.parametrize("call", NONE_THERE.values(), ids=NONE_THERE)
def test_vols_on_the_strike_at_expiry_are_none_and_flagged(call):
    vol, flag = call()
    assert np.isnan(vol) and flag == 3


def test_each_public_function_of_time_to_expiry_has_said_what_it_does_there():
    timed = {name for name, f in public().items() if name.split(".")[0] in ("options", "american", "combinations", "surface", "revaluation")
             and {"tau", "book"} & set(inspect.signature(f).parameters)}
    known = {name.split()[0] for name in (*EXACT, *JUMPS)} | {"options.implied_vol", "american.american_vol"} | NO_PRICE | NO_POINT
    assert timed - known == set() and "options.bsm" in timed and "revaluation.delta_gamma_pnl" in timed


@pytest.mark.parametrize("spot, value", [(110.0, 10.0), (90.0, 0.0)])
def test_trees_and_approximations_at_expiry_are_worth_the_exercise(spot, value):
    at = ON | {"spot": spot}
    assert [american_room.american_approx(**at, method=m) for m in american_room.APPROXIMATIONS] == [value] * 3
    assert [american_room.american_tree(**at, tree=t) for t in american_room.TREES] == [value] * 2
    assert np.isnan(american_room.american_tree(**at | {"rate": np.nan})) and np.isnan(american_room.american_approx(**at | {"vol": np.nan}))
