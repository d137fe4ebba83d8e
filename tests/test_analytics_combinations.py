"""Combinations of legs: payoff, break-evens, extremes, probabilities and Greeks, against brute force and known spreads."""
import math
import warnings
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.american import american, american_greeks
from otsport.analytics.combinations import Leg, combination_greeks, expected_profit, outcome, payoff, probability_of_profit
from otsport.analytics.options import OnStrikeWarning, UnitWarning, bsm_greeks, bsm_price
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


@pytest.mark.parametrize("legs, delta", [
    ((Leg(-1, "C", 100, 1.0),), -50), ((Leg(-1, "C", 100, 1.0), Leg(1, "P", 100, 1.0)), -100), ((Leg(1, "C", 100, 1.0), Leg(1, "P", 100, 1.0)), 0), ((Leg(100, "S", 0, 90.0), Leg(-1, "C", 100, 1.0)), 50),
    ((Leg(-2, "C", 100, 1.0), Leg(2, "C", 100, 1.0), Leg(1, "C", 90, 11.0)), 100),
])
def test_combination_pinned_on_its_strike_has_finite_sums(legs, delta):
    """inf less inf was NaN; each option now counts as the middle of both sides, and is counted."""
    pinned = sum(leg.strike == 100 for leg in legs)
    with pytest.warns(OnStrikeWarning, match=f"^{pinned} of {sum(leg.right != 'S' for leg in legs)} options stand exactly on their strike") as said:
        g = combination_greeks(legs, 100, 0, 0.03, 0, 0.2)
    assert len(said) == 1 and g["gamma"] == 0 and g["delta"] == pytest.approx(delta) and all(map(math.isfinite, g.values()))


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


@pytest.mark.parametrize("legs, break_evens", [
    ((Leg(-1, "P", 88, 1.49), Leg(1, "P", 93, 2.77), Leg(-1, "C", 110, 1.02), Leg(1, "C", 105, 2.06)), (90.68, 107.32)),
    ((Leg(1, "C", 23_900, 150.20), Leg(1, "P", 23_900, 150.20)), (23_599.60, 24_200.40)),
    ((Leg(-1, "C", 23_900, 100.15), Leg(-1, "P", 23_900, 200.25)), (23_599.60, 24_200.40)),  # the same premium, sold, unevenly split
    ((Leg(-1, "P", 95, 1.5), Leg(1, "P", 90, 0.6), Leg(-1, "C", 105, 1.4), Leg(1, "C", 110, 0.5)), (93.2, 106.8)),  # an iron condor sold for 1.80
    ((Leg(1, "P", 90, 1.0), Leg(1, "C", 110, 1.5)), (87.5, 112.5)),  # a strangle
])
def test_break_evens_by_hand(legs, break_evens):
    assert outcome(legs).break_evens == pytest.approx(break_evens, abs=1e-9)


@pytest.mark.parametrize("forward, year, probability", [(24_103.10, 252, 0.4809), (24_103.10, 365, 0.4247), (24_041.90, 252, 0.4482), (24_041.90, 365, 0.3766)])
def test_probability_of_profit_of_a_published_straddle(forward, year, probability):
    """A straddle at 23,900 bought for 300.40, vol 10 %, six days: drift of the forward or none, and days by sessions or by the calendar."""
    bought, sold = ((Leg(side, "C", 23_900, 150.20), Leg(side, "P", 23_900, 150.20)) for side in (1, -1))
    assert probability_of_profit(bought, forward, 6 / year, 0.10) == pytest.approx(probability, abs=5e-5)
    assert probability_of_profit(sold, forward, 6 / year, 0.10) == pytest.approx(1 - probability, abs=5e-5)
    assert all(word in probability_of_profit.__doc__ for word in ("drift", "ACT/365F", "252"))


JULY, AUGUST, LEAP = date(2024, 7, 19), date(2024, 8, 16), date(2026, 1, 16)
SOLD, BOUGHT = Leg(-1, "C", 100, 3.0, JULY), Leg(1, "C", 100, 4.5, AUGUST)
MODEL = dict(vols=0.3, rate=0.05, div_yield=0.02)
LATER_PUT = Leg(2, "P", 95, 2.0, AUGUST)


def at_first(legs, spot, vol=0.3, rate=0.05, div_yield=0.02):
    """The payoff leg by leg, with the years between 16:00 of both days written out."""
    total = 0.0
    for leg in legs:
        years = 0 if leg.right == "S" or leg.expiry == JULY else (leg.expiry - JULY).days / 365 + (1 / 24 / 365 if leg.expiry.month == 1 else 0)  # winter time
        value = spot if leg.right == "S" else american(spot, leg.strike, years, rate, div_yield, vol, leg.right)[0]
        total += (leg.qty if leg.right == "S" else 100 * leg.qty) * (value - leg.price)
    return total


@pytest.mark.parametrize("legs", [
    (SOLD, BOUGHT), (SOLD, Leg(1, "C", 105, 2.5, AUGUST)), (Leg(-1, "P", 100, 2.8, JULY), Leg(1, "P", 100, 4.1, AUGUST)), (Leg(100, "S", 0, 100.0), SOLD, LATER_PUT),
    (SOLD, Leg(-1, "P", 100, 2.8, JULY), BOUGHT, Leg(1, "P", 100, 4.1, AUGUST)), (Leg(-1, "C", 110, 1.0, JULY), Leg(1, "C", 80, 28.0, LEAP)),
], ids=["calendar", "diagonal", "put calendar", "collar", "double calendar", "poor man's covered call"])
def test_legs_of_two_expiries_are_valued_at_the_nearest(legs):
    spot = np.unique(np.r_[0.0, np.geomspace(5, 3_000, 4_001), [leg.strike for leg in legs]])
    profit, o = payoff(legs, spot, **MODEL), outcome(legs, **MODEL)
    np.testing.assert_allclose(profit, at_first(legs, spot), atol=1e-6)
    assert o.max_loss == pytest.approx(max(-profit.min(), 0), abs=0.05) and o.max_loss >= -profit.min() - 1e-6
    slope = sum(leg.qty * (1 if leg.right == "S" else 100) for leg in legs if leg.right != "P")
    assert o.max_gain == (math.inf if slope > 0 else pytest.approx(profit.max(), abs=0.05))
    signs = np.sign(profit)
    assert len(o.break_evens) == np.count_nonzero(signs[:-1] * signs[1:] < 0)
    for x in o.break_evens:
        assert payoff(legs, x, **MODEL) == pytest.approx(0, abs=1e-5)


def test_calendar_loses_what_it_cost_and_gains_at_its_strike():
    """Without rate and yield a call is European: the gain is greatest at the strike, 100 K (2 N(sd / 2) - 1) less the cost."""
    o = outcome((SOLD, BOUGHT), vols=0.3)
    sd = 0.3 * math.sqrt(28 / 365)
    assert o.cost == 150 and o.max_loss == pytest.approx(150, abs=1e-6)
    assert o.max_gain == pytest.approx(100 * 100 * math.erf(sd / 2 / math.sqrt(2)) - 150, abs=1e-6)
    sold = outcome((Leg(1, "C", 100, 3.0, JULY), Leg(-1, "C", 100, 4.5, AUGUST)), vols=0.3)
    assert (sold.max_gain, sold.max_loss) == (pytest.approx(150, abs=1e-6), pytest.approx(o.max_gain, abs=1e-6)) and sold.break_evens == pytest.approx(o.break_evens)


@pytest.mark.parametrize("rate, div_yield, far", [(0.05, 0.0, 100 * 100 * (1 - math.exp(-0.05 * 28 / 365)) - 150), (0.05, 0.01, -150), (0.0, 0.0, -150), (-0.01, 0.0, -150)])
def test_far_in_the_money_a_later_call_keeps_its_interest_unless_it_is_exercised(rate, div_yield, far):
    legs = (SOLD, BOUGHT)
    assert payoff(legs, 20_000.0, vols=0.3, rate=rate, div_yield=div_yield) == pytest.approx(far, abs=0.02)
    assert outcome(legs, vols=0.3, rate=rate, div_yield=div_yield).max_loss == pytest.approx(150, abs=1e-6)  # at spot 0


def test_mean_and_probability_of_a_calendar():
    """Under one vol, without rate and yield, the later call's mean is its value today; the probability that of the spots between the break-evens."""
    legs, forward, tau, vol = (SOLD, BOUGHT), 101.0, 0.1, 0.3
    mean = 100 * (bsm_price(forward, 100, tau + 28 / 365, 0, 0, vol, "C") - bsm_price(forward, 100, tau, 0, 0, vol, "C") - 1.5)
    assert expected_profit(legs, forward, tau, vol) == pytest.approx(mean, abs=1e-6)
    low, high = outcome(legs, vols=vol).break_evens
    between = [0.5 * math.erfc(-(math.log(x / forward) + vol**2 * tau / 2) / vol / math.sqrt(2 * tau)) for x in (low, high)]
    assert probability_of_profit(legs, forward, tau, vol) == pytest.approx(between[1] - between[0], abs=1e-9)
    draws = forward * np.exp(vol * math.sqrt(tau) * np.random.default_rng(5).standard_normal(40_000) - vol**2 * tau / 2)
    profit = payoff(legs, draws, vols=[0, 0.35], rate=0.04, div_yield=0.01)
    assert expected_profit(legs, forward, tau, vol, vols=[0, 0.35], rate=0.04, div_yield=0.01) == pytest.approx(profit.mean(), abs=4 * profit.std() / 200)
    assert probability_of_profit(legs, forward, tau, vol, vols=[0, 0.35], rate=0.04, div_yield=0.01) == pytest.approx(np.mean(profit > 0), abs=0.01)


def test_greeks_of_a_calendar_use_the_time_of_each_leg():
    g, tau = combination_greeks((Leg(50, "S", 0, 100.0), SOLD, BOUGHT), 98, 0.05, 0.03, 0.01, [0, 0.25, 0.3]), 0.05
    near, far = american_greeks(98, 100, tau, 0.03, 0.01, 0.25, "C"), american_greeks(98, 100, tau + 28 / 365, 0.03, 0.01, 0.3, "C")
    assert [g["value"], g["delta"], g["theta"]] == pytest.approx([50 * 98 + 100 * (far.price - near.price), 50 + 100 * (far.delta - near.delta), 100 * (far.theta - near.theta)])


def test_one_expiry_on_all_legs_is_the_same_as_on_none():
    dated = (Leg(1, "C", 100, 6.0, JULY), Leg(-1, "C", 110, 2.0, JULY), Leg(100, "S", 0, 99.0))
    bare = tuple(Leg(x.qty, x.right, x.strike, x.price) for x in dated)
    assert outcome(dated) == outcome(bare) and probability_of_profit(dated, 100, 0.1, 0.2) == probability_of_profit(bare, 100, 0.1, 0.2)
    assert combination_greeks(dated, 100, 0.1, 0.03, 0, 0.2) == combination_greeks(bare, 100, 0.1, 0.03, 0, 0.2)


def test_saturday_and_friday_are_one_expiry():
    legs = (Leg(-1, "C", 100, 3.0, date(2014, 6, 21)), Leg(1, "C", 105, 1.0, date(2014, 6, 20)))
    assert outcome(legs).max_loss == 300


def test_legs_that_only_cancel_are_said_to_lose():
    """A calendar without its expiries is a purchase and a sale of one contract: a sure loss, and the hint that the days are missing."""
    o = outcome((Leg(-1, "C", 100, 3.0), Leg(1, "C", 100, 18.0)))
    assert (o.max_gain, o.max_loss) == (-1500.0, 1500.0)
    assert repr(o) == "Outcome(cost 1,500.00, no gain but a loss of 1,500.00 at least (do the legs end on different days? give each its expiry), loss up to 1,500.00, break-evens none)"


@pytest.mark.parametrize("call, words", [
    (lambda: payoff((SOLD, BOUGHT), 100), "the legs end on 2024-07-19, 2024-08-16: those after the first are valued then, give vols"), (lambda: outcome((SOLD, BOUGHT)), "give vols"),
    (lambda: outcome((SOLD, Leg(1, "C", 100, 4.5)), vols=0.3), "leg 1 C 100 has no expiry and another leg has"), (lambda: outcome((SOLD, BOUGHT), vols=[0.3]), "vols have shape"),
    (lambda: outcome((SOLD, BOUGHT), vols=[0.3, np.nan]), "vol of leg 1 is nan"), (lambda: outcome((SOLD, BOUGHT), vols=0.3, rate=np.inf), "rate is inf"), (lambda: outcome((SOLD, BOUGHT), vols=0.3, div_yield="a"), "div_yield is 'a'"),
    (lambda: outcome((SOLD, BOUGHT), vols=-0.3), "vol is -0.3, below 0"), (lambda: Leg(1, "C", 100, 4.5, "16/08/2024"), "'16/08/2024' is no date"),
    (lambda: Leg(100, "S", 0, 100.0, JULY), "and stock none"), (lambda: outcome((SOLD, Leg(1, "C", 100, 4.5, date(2024, 8, 18))), vols=0.3), "Sunday 2024-08-18"),
    (lambda: combination_greeks((SOLD, Leg(1, "C", 100, 4.5)), 100, 0.1, 0, 0, 0.3), "has no expiry"),
])
def test_legs_of_several_expiries_are_refused_by_name(call, words):
    with pytest.raises(InputError, match=words):
        call()
