"""What the option functions say of units: in their help, and when a number is probably in another one."""
import inspect
import warnings
from datetime import date

import numpy as np
import pytest

from otsport.analytics import american as american_room
from otsport.analytics import combinations, options, surface
from otsport.analytics.american import american, american_approx, american_greeks, american_tree, american_vol
from otsport.analytics.combinations import Leg, combination_greeks, expected_profit, outcome, payoff, probability_of_profit
from otsport.analytics.options import OnStrikeWarning, UnitWarning, black76, bsm, bsm_delta, bsm_greeks, bsm_price, bsm_second_order, implied_vol

PRICERS = [bsm, bsm_price, bsm_delta, bsm_greeks, bsm_second_order, american, american_greeks, american_approx, lambda *a: american_tree(*a, steps=11), lambda S, K, t, r, q, v, right: black76(S, K, t, r, v, right)]
SAID = [(5, 20.0, "vol is 20, that is 2,000 % a year", ": for 20 % give 0.2"), (3, 5.0, "rate is 5, that is 500 % a year", ": for 5 % give 0.05"), (2, 90.0, "tau is 90, that is 90 years", ": for 90 days give 90 / 365"),
        (4, -2.0, "div_yield is -2, that is -200 % a year", ": for -2 % give -0.02"), (2, 30.0, "tau is 30, that is 30 years", ": for 30 days give 30 / 365"), (3, 0.25, "rate is 0.25, that is 25 % a year", ": for 0.25 % give 0.0025"),
        (4, 1.8, "div_yield is 1.8, that is 180 % a year", ": for 1.8 % give 0.018"), (3, -0.5, "rate is -0.5, that is -50 % a year", ": for -0.5 % give -0.005")]


@pytest.mark.parametrize("at", range(len(PRICERS)))
@pytest.mark.parametrize("position, value, words, step", SAID)
def test_number_in_another_unit_is_warned_of(at, position, value, words, step):
    option = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25, "C"]
    with warnings.catch_warnings():  # negative control: usual, missing and infinite numbers
        warnings.simplefilter("error")
        for usual in (option, *([*option[:i], odd, *option[i + 1:]] for i in range(2, 6) for odd in (np.nan, np.inf, np.array([]))), *([*option[:i], most, *option[i + 1:]] for i, most in ((2, 10.0), (3, 0.2), (4, 0.2), (5, 5.0)))):
            PRICERS[at](*usual)
    if position == 4 and at == len(PRICERS) - 1:
        return  # a future has no yield
    for given, count in ((value, ""), ([option[position], np.nan, value, value], " (2 of 4 are so large)")):
        option[position] = given
        with pytest.warns(UnitWarning) as said:
            PRICERS[at](*option)
        assert [str(w.message) for w in said] == [words + count + step] and said[0].filename == __file__  # once, and the caller's line


INVERTED = dict(spot=100.0, strike=100.0, tau=0.3, rate=0.02, div_yield=0.01, right="C")
LEGS = (Leg(1, "C", 95, 6.0), Leg(-1, "C", 100, 3.0), Leg(-1, "P", 90, 1.0), Leg(1, "P", 85, 0.5))
CALENDAR = (Leg(-1, "C", 100, 3.0, date(2024, 7, 19)), Leg(1, "C", 100, 4.5, date(2024, 8, 16)))
MANY = [
    lambda tau, rate, vol: bsm_greeks(100, 95, tau, rate, 0, vol, "C"), lambda tau, rate, vol: black76(100, 95, tau, rate, vol, "C"), lambda tau, rate, vol: combination_greeks(LEGS, 100, tau, rate, 0, vol),
    lambda tau, rate, vol: combination_greeks(CALENDAR, 100, tau, rate, 0, vol), lambda tau, rate, vol: payoff(CALENDAR, [90, 100], vols=vol, rate=rate), lambda tau, rate, vol: outcome(CALENDAR, vols=vol, rate=rate),
    lambda tau, rate, vol: probability_of_profit(LEGS, 100, tau, vol), lambda tau, rate, vol: probability_of_profit(CALENDAR, 100, tau, vol, rate=rate), lambda tau, rate, vol: expected_profit(LEGS, 100, tau, vol),
    lambda tau, rate, vol: expected_profit(CALENDAR, 100, tau, vol, rate=rate), lambda tau, rate, vol: implied_vol(5.0, **INVERTED | {"tau": tau, "rate": rate}, tick=0.01), lambda tau, rate, vol: american_vol(5.0, **INVERTED | {"tau": tau, "rate": rate}, tick=0.01),
]


@pytest.mark.parametrize("at", range(len(MANY)))
def test_one_call_warns_once_however_many_legs_and_numbers(at):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        MANY[at](0.25, 0.03, 0.3)
        assert not [w for w in said if w.category is UnitWarning]  # negative control
        said.clear()  # of what the exchange calendar says when it is first made
        MANY[at](30.0, 0.25, 20.0)
    assert len(said) == 1 and said[0].category is UnitWarning and said[0].filename == __file__
    assert str(said[0].message).count("give") == sum(word in str(said[0].message) for word in ("vol is 20", "rate is 0.25", "tau is 30")) >= 1


@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("spot, strike, tau, rate, div_yield, vol", [(100, 100, 0, 0.05, 0.02, 0.2), (100, 100, 0, 0, 0, 0), (100, 100, 1, 0.03, 0.03, 0), (7.5, 7.5, 0, 0, 0.1, 3.0)])
def test_on_the_strike_greeks_are_the_middle_of_both_sides_and_say_so(spot, strike, tau, rate, div_yield, vol, right):
    """The limits from below and above, a hair away, by the formula; in between no sensitivity jumps to infinity."""
    sides = bsm_greeks(spot * np.array([1 - 1e-9, 1 + 1e-9]), strike, tau, rate, div_yield, vol, right)
    with pytest.warns(OnStrikeWarning, match="^1 of 1 options stand exactly on their strike .* gamma is given as 0 .* look at delta a cent above and below$") as said:
        on = bsm_greeks(spot, strike, tau, rate, div_yield, vol, right)
    assert len(said) == 1 and said[0].filename == __file__
    for name in ("price", "delta", "gamma", "theta", "rho"):
        assert getattr(on, name) == pytest.approx(getattr(sides, name).mean(), abs=1e-6), name
    assert on.gamma == 0 and all(np.isfinite(on))


@pytest.mark.parametrize("price", [lambda S, K: bsm_greeks(S, K, 0, 0.05, 0.02, 0.2, "C"), lambda S, K: bsm_greeks(S, K, 0, 0.05, 0.02, 0.2, "C", parallel=True), lambda S, K: american_greeks(S, K, 0, 0.05, 0.02, 0.2, "P"), lambda S, K: black76(S, K, 0, 0.05, 0.2, "P")])
def test_greeks_of_a_book_at_expiry_are_finite_and_the_pinned_are_counted(price):
    with pytest.warns(OnStrikeWarning, match="^2 of 4 options stand exactly on their strike with no time or no vol left, first at 95:") as said:
        found = price([100.0, 95.0, 105.0, 100.0], [90.0, 95.0, 105.0, 120.0])
    assert len(said) == 1 and found.gamma.tolist() == [0, 0, 0, 0] and np.isfinite(np.sum(found.theta))
    with warnings.catch_warnings():  # negative controls: beside the strike, and on it with time left
        warnings.simplefilter("error")
        price([100.0, 95.01], [90.0, 95.0])
        bsm_greeks(100, 100, 1e-6, 0, 0, 0.2, "C")


def test_vols_that_come_out_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for invert in (implied_vol, american_vol):
            vol, flag = invert(70.0, 100, 100, 0.1, 0.0, 0.0, "C")
            assert flag == 0 and vol > 5


@pytest.mark.parametrize("module", [options, american_room, combinations, surface], ids=lambda m: m.__name__.rsplit(".", 1)[-1])
def test_help_names_inputs_and_units(module):
    for name in (n for n in module.__all__ if inspect.isfunction(getattr(module, n))):
        function = getattr(module, name)
        told, given = inspect.getdoc(function), set(inspect.signature(function).parameters)
        assert all(word in told for word in given & {"spot", "strike", "forward", "tau", "rate", "vol", "right"}), name
        assert "tau" not in given or "years" in told, name
        assert not given & {"vol", "rate"} or "decimal" in told, name
    assert "Price, delta and vega" in bsm.__doc__ and "cash dividends" in american.__doc__ and "implied_vol(price, forward" in black76.__doc__
