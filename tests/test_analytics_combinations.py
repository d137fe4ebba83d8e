"""Combinations of legs: payoff, break-evens, extremes, probabilities and Greeks, against brute force and known spreads."""
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.american import american_greeks
from otsport.analytics.combinations import Leg, combination_greeks, expected_profit, outcome, payoff, probability_of_profit
from otsport.analytics.options import UnitWarning, bsm_greeks
from otsport.core.errors import InputError

leg = st.builds(lambda qty, right, strike, price: Leg(100 * qty if right == "S" else qty, right, strike, price), qty=st.integers(-3, 3).filter(bool), right=st.sampled_from("CPS"), strike=st.integers(50, 150).map(float),
                price=st.integers(0, 80).map(lambda x: x / 4))
combinations = st.lists(leg, min_size=1, max_size=5).map(tuple)


@given(combinations)
@settings(max_examples=200, deadline=None)
def test_outcome_equals_brute_force(legs):
    grid = np.arange(0, 1_000.01, 0.25)
    profit, o = payoff(legs, grid), outcome(legs)
    slope = sum(x.qty * (1 if x.right == "S" else 100) for x in legs if x.right != "P")
    assert (o.max_gain == math.inf) == (slope > 0) and (o.max_loss == math.inf) == (slope < 0)
    if slope <= 0:
        assert o.max_gain == pytest.approx(profit[grid <= 151].max(), abs=1e-6)
    if slope >= 0:
        assert o.max_loss == pytest.approx(max(-profit[grid <= 151].min(), 0), abs=1e-6)
    for x in o.break_evens:
        assert payoff(legs, x) == pytest.approx(0, abs=1e-6)
    signs = np.sign(np.where(np.abs(profit) < 1e-7, 0, profit))
    changes = grid[:-1][signs[:-1] * signs[1:] < 0]
    assert all(any(c <= x <= c + 0.25 for x in o.break_evens) for c in changes)


@given(combinations, st.floats(60, 140), st.floats(0.05, 2), st.floats(0.1, 0.8))
@settings(max_examples=100, deadline=None)
def test_probability_and_mean_equal_integration(legs, forward, tau, vol):
    sd = vol * math.sqrt(tau)
    z = np.linspace(-8, 8, 40_001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    profit = payoff(legs, forward * np.exp(sd * z - sd * sd / 2))
    assert probability_of_profit(legs, forward, tau, vol) == pytest.approx(density[profit > 1e-9].sum(), abs=3e-3)
    assert expected_profit(legs, forward, tau, vol) == pytest.approx(profit @ density, rel=1e-3, abs=0.5)


@given(combinations, st.floats(60, 140), st.floats(0.05, 2), st.floats(0.1, 0.8))
@settings(max_examples=50, deadline=None)
def test_both_sides_of_a_trade(legs, forward, tau, vol):
    """What one side gains the other loses."""
    other = tuple(Leg(-x.qty, x.right, x.strike, x.price) for x in legs)
    mine, theirs = outcome(legs), outcome(other)
    assert mine.break_evens == pytest.approx(theirs.break_evens) and mine.cost == -theirs.cost
    if math.isfinite(mine.max_gain) and mine.max_gain > 0:
        assert theirs.max_loss == pytest.approx(mine.max_gain)
    assert probability_of_profit(legs, forward, tau, vol) + probability_of_profit(other, forward, tau, vol) <= 1 + 1e-9


def test_vertical_spread_by_hand():
    o = outcome((Leg(1, "C", 100, 6.0), Leg(-1, "C", 110, 2.0)))
    assert (o.cost, o.max_gain, o.max_loss, o.break_evens) == (400.0, 600.0, 400.0, (104.0,))


def test_butterfly_has_its_peak_at_the_middle_strike():
    o = outcome((Leg(1, "C", 95, 7.0), Leg(-2, "C", 100, 4.0), Leg(1, "C", 105, 2.0)))
    assert (o.max_gain, o.max_loss, o.break_evens) == (400.0, 100.0, (96.0, 104.0))


def test_ratio_spread_loses_without_limit():
    assert outcome((Leg(1, "C", 100, 5.0), Leg(-2, "C", 110, 2.0))).max_loss == math.inf


def test_free_collar_touches_zero_only_where_profit_begins():
    o = outcome((Leg(100, "S", 0, 100.0), Leg(1, "P", 95, 2.0), Leg(-1, "C", 105, 2.0)))
    assert o.break_evens == (100.0,) and (o.max_gain, o.max_loss) == (500.0, 500.0)


def test_stock_leg_counts_shares():
    covered = (Leg(100, "S", 0, 100.0), Leg(-1, "C", 105, 2.5))
    o = outcome(covered)
    assert (o.cost, o.max_gain, o.max_loss, o.break_evens) == (9750.0, 750.0, 9750.0, (97.5,))
    assert repr(o) == "Outcome(cost 9,750.00, gain up to 750.00, loss up to 9,750.00, break-evens 97.50)"
    half = outcome((Leg(5, "S", 0, 100.0), Leg(-1, "C", 105, 2.5)), multiplier=10)
    assert half.max_loss == math.inf and outcome((Leg(150, "S", 0, 100.0), Leg(-1, "C", 105, 2.5))).max_gain == math.inf
    greeks, call = combination_greeks(covered, 100, 0.1, 0.03, 0.0, 0.25), american_greeks(100, 105, 0.1, 0.03, 0.0, 0.25, "C")
    assert greeks["delta"] == pytest.approx(100 - 100 * call.delta) and greeks["value"] == pytest.approx(10_000 - 100 * call.price)
    mini = (Leg(10, "S", 0, 100.0), Leg(-1, "C", 105, 2.5))
    assert probability_of_profit(mini, 100, 0.1, 0.25, multiplier=10) == pytest.approx(probability_of_profit(covered, 100, 0.1, 0.25))
    assert expected_profit(mini, 100, 0.1, 0.25, multiplier=10) == pytest.approx(expected_profit(covered, 100, 0.1, 0.25) / 10)


def test_greeks_at_and_near_expiry_are_those_of_the_formula():
    for hours in (0, 1, 6.5):
        g, exact = combination_greeks([Leg(-1, "C", 99, 1.0)], 100, hours / 24 / 365, 0.03, 0, 0.2), bsm_greeks(100, 99, hours / 24 / 365, 0.03, 0, 0.2, "C")
        assert [g["delta"], g["gamma"], g["vega"]] == pytest.approx([-100 * exact.delta, -100 * exact.gamma, -100 * exact.vega], rel=1e-9, abs=1e-12)
    assert combination_greeks([Leg(-1, "C", 100, 1.0)], 100, 0, 0.03, 0, 0.2)["gamma"] == -math.inf
    assert math.isnan(combination_greeks([Leg(-1, "C", 100, 1.0), Leg(1, "P", 100, 1.0)], 100, 0, 0.03, 0, 0.2)["gamma"])  # inf less inf


@pytest.mark.parametrize("field, value", [("tau", [0.1, 0.2]), ("tau", None), ("rate", "0.03"), ("div_yield", [0.0])])
def test_greeks_take_one_number(field, value):
    with pytest.raises(InputError, match=f"{field} is .*give one number"):
        combination_greeks(**dict(legs=(Leg(1, "C", 100, 1.0),), spot=100, tau=0.1, rate=0.03, div_yield=0.0, vols=0.2) | {field: value})


def test_percent_and_days_are_warned_of():
    legs = (Leg(1, "C", 100, 1.0),)
    for call in (lambda v, t: probability_of_profit(legs, 100, t, v), lambda v, t: expected_profit(legs, 100, t, v), lambda v, t: combination_greeks(legs, 100, t, 0.03, 0.0, v)):
        with pytest.warns(UnitWarning, match="vol is 20, that is 2,000 % a year"):
            call(20, 0.1)
        with pytest.warns(UnitWarning, match="tau is 90, that is 90 years"):
            call(0.2, 90)
        with warnings.catch_warnings():  # negative control
            warnings.simplefilter("error")
            call(0.2, 0.25)


def test_greeks_of_opposite_legs_cancel():
    g = combination_greeks((Leg(2, "P", 95, 1.0), Leg(-2, "P", 95, 3.0)), 100, 0.5, 0.03, 0.01, 0.3)
    assert all(abs(v) < 1e-9 for v in g.values())


def test_greeks_use_each_leg_and_its_vol():
    g = combination_greeks((Leg(2, "P", 95, 1.0), Leg(-1, "C", 105, 1.0)), 100, 0.5, 0.03, 0.01, [0.3, 0.25])
    p, c = american_greeks(100, [95, 105], 0.5, 0.03, 0.01, [0.3, 0.25], ["P", "C"]).vega
    assert g["vega"] == pytest.approx(100 * (2 * p - c))


@pytest.mark.parametrize("bad, words", [((1, "Q", 100, 1), "'Q'"), ((0, "C", 100, 1), "quantity not 0"), ((1, "C", math.nan, 1), "finite"), ((1, "C", 100, -1), "not negative")])
def test_bad_leg_is_named(bad, words):
    with pytest.raises(InputError, match=words):
        Leg(*bad)


def test_no_legs_and_no_time_are_named():
    with pytest.raises(InputError, match="at least one leg"):
        payoff((), 100)
    with pytest.raises(InputError, match="tau 0"):
        probability_of_profit((Leg(1, "C", 100, 1.0),), 100, 0, 0.2)
