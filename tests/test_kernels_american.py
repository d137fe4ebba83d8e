"""American option kernels against published values, a converged tree, limits and properties."""
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import multivariate_normal

from otsport.analytics.american import american, american_approx, american_greeks, american_tree, american_vol
from otsport.analytics.options import bsm_greeks, bsm_price
from otsport.core.errors import InputError
from otsport.kernels import american as kernel
from otsport.kernels import american_approx as approx
from otsport.kernels import american_steps as steps
from otsport.kernels.binomial import binomial
from otsport.kernels.perpetual import ceiling, put_ceiling

GOLDEN = json.loads((Path(__file__).parent / "golden" / "american.json").read_text())["vectors"]
NONE = np.empty(0)


def of_kind(*kinds):
    return [pytest.param(v, id=v["id"]) for v in GOLDEN if v["kind"] in kinds]


def inputs(vector):
    i = vector["inputs"]
    return i["S"], i["K"], i["T"], i["r"], i["q"], i["sigma"], i["type"][0].upper()


@pytest.mark.parametrize("vector", of_kind("american_price"))
def test_american_published_value(vector):
    assert american(*inputs(vector))[0] == pytest.approx(vector["expected"], abs=vector["tol"])
    assert american(*inputs(vector), fast=True)[0] == pytest.approx(vector["expected"], abs=max(vector["tol"], 2e-5))


@pytest.mark.parametrize("vector", of_kind("american_greeks"))
def test_american_greeks_published_value(vector):
    greeks = american_greeks(*inputs(vector))
    for name, value in vector["expected"].items():
        assert getattr(greeks, name) == pytest.approx(value, abs=vector["tol"] * max(1, abs(value))), name


@pytest.mark.parametrize("vector", of_kind("american_baw"))
def test_baw_published_value(vector):
    got = american_approx(*inputs(vector), "baw")
    assert got == pytest.approx(vector["expected"], abs=vector["tol"])
    assert got == pytest.approx(vector["recomputed"], abs=1e-7)


@pytest.mark.parametrize("vector", of_kind("american_bjs1993"))
def test_bjerksund_stensland_1993_published_value(vector):
    S, K, tau, r, q, sigma, right = inputs(vector)
    call = (S, K, tau, r, q) if right == "C" else (K, S, tau, q, r)
    formula = approx._bjs_call_1993(*call, sigma)
    assert formula == pytest.approx(vector["expected"], abs=vector["tol"])
    european = bsm_price(S, K, tau, r, q, sigma, right)  # the value given out is never below it; at 1000 % vol the printed formula is
    assert american_approx(*inputs(vector), "bjerksund_stensland_1993") == pytest.approx(max(formula, european), rel=1e-12)


@pytest.mark.parametrize("vector", of_kind("american_crr"))
def test_tree_published_value(vector):
    got = american_tree(*inputs(vector), steps=vector["inputs"]["steps"], tree="cox-ross-rubinstein")
    assert got == pytest.approx(vector["expected"], abs=vector["tol"]) and got == pytest.approx(vector["recomputed"], rel=1e-12)


def converged(*option):
    """Leisen-Reimer trees of n and 2n steps, extrapolated."""
    small, large = (american_tree(*option, steps=n) for n in (1001, 2001))
    return large + (large - small)


CASES = [(S, 100.0, tau, r, q, sigma, right) for S, tau, r, q, sigma in [
    (90, 0.25, 0.05, 0.0, 0.25), (105, 1.5, 0.03, 0.03, 0.2), (100, 3.0, 0.08, 0.01, 0.35), (120, 0.5, 0.002, 0.02, 0.5), (80, 2.0, 0.01, 0.06, 0.15),
    (100, 0.02, 0.04, 0.01, 0.3), (110, 1.0, 0.05, -0.01, 0.25), (95, 1.0, 0.0, -0.02, 0.3), (100, 5.0, 0.10, 0.0005, 0.6)] for right in "CP"]


@pytest.mark.parametrize("option", CASES)
def test_american_equals_converged_tree(option):
    price, flag = american(*option)
    assert flag == 0
    reference = converged(*option)  # itself good to some 1e-5 of the premium; where it has not settled its own last step is the yardstick
    assert price == pytest.approx(reference, abs=1e-4 * max(1.0, reference), rel=0)
    assert american(*option, fast=True)[0] == pytest.approx(reference, abs=1e-3)


def test_tree_european_equals_black_scholes():
    assert american_tree(100, 105, 0.7, 0.04, 0.01, 0.3, "P", steps=2001, exercise="european") == pytest.approx(bsm_price(100, 105, 0.7, 0.04, 0.01, 0.3, "P"), abs=1e-5)


def naive_tree(S, K, tau, r, q, sigma, phi, steps):
    """Cox-Ross-Rubinstein by recursion over a table, no tricks."""
    dt = tau / steps
    u = math.exp(sigma * math.sqrt(dt))
    p = (math.exp((r - q) * dt) - 1 / u) / (u - 1 / u)
    value = [[0.0] * (i + 1) for i in range(steps + 1)]
    for i in range(steps, -1, -1):
        for j in range(i + 1):
            gain = max(phi * (S * u ** (2 * j - i) - K), 0.0)
            hold = 0.0 if i == steps else math.exp(-r * dt) * (p * value[i + 1][j + 1] + (1 - p) * value[i + 1][j])
            value[i][j] = max(gain, hold)
    return value[0][0]


@pytest.mark.parametrize("phi", [1.0, -1.0])
def test_tree_equals_naive_tree(phi):
    r, q = (0.03, 0.05) if phi > 0 else (0.05, 0.03)  # exercised early, so that no bound is near
    args = (100.0, 95.0, 0.8, r, q, 0.3, phi, 37)
    assert binomial(*args, True, False, NONE, NONE) == pytest.approx(naive_tree(*args), rel=1e-12)


def test_dividends_after_expiry_and_none_are_the_same():
    option = (100, 100, 0.5, 0.03, 0.0, 0.3, "C")
    assert american_tree(*option, ((0.6, 5.0),)) == american_tree(*option)


def test_dividend_makes_early_exercise_of_a_call_worthwhile():
    plain, paid = (american_tree(100, 95, 0.5, 0.03, 0.0, 0.2, "C", ((0.45, 4.0),), exercise=e) for e in ("european", "american"))
    assert paid > plain + 0.5
    # exercise just before the dividend at latest: never less than the European call that expires there
    assert paid >= bsm_price(100, 95, 0.45, 0.03, 0.0, 0.2, "C") - 0.25


def test_dividends_worth_more_than_spot_are_named():
    for amount in (10.0, 11.0):
        with pytest.raises(InputError, match=f"worth {amount:g}, spot is 10"):
            american_tree([20, 10], 10, 1, 0.0, 0, 0.2, "C", ((0.5, amount),))
    assert american_tree(10, 10, 1, 0.0, 0, 0.2, "C", ((0.5, 9.9), (1.5, 5.0))) >= 0  # after expiry none counts
    assert math.isnan(binomial(10.0, 10.0, 1.0, 0.0, 0.0, 0.2, 1.0, 11, True, True, np.array([0.5]), np.array([11.0])))


def test_dividend_of_today_is_refused():
    with pytest.raises(InputError, match="times lie after now; an ex-date of today is already out of the spot"):
        american_tree(100, 100, 1, 0.0, 0, 0.2, "C", ((0, 1.0),))


def test_call_put_symmetry():
    S, K, tau, r, q, sigma = 95.0, 103.0, 0.8, 0.05, 0.02, 0.3
    assert american(S, K, tau, r, q, sigma, "C")[0] == american(K, S, tau, q, r, sigma, "P")[0]
    for method in ("bjerksund_stensland_1993", "bjerksund_stensland_2002"):
        assert american_approx(S, K, tau, r, q, sigma, "C", method) == pytest.approx(american_approx(K, S, tau, q, r, sigma, "P", method), rel=1e-12)


@pytest.mark.parametrize("position", range(6))
def test_nan_in_any_input_is_nan(position):
    option = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25]
    option[position] = np.nan
    price, flag = american(*option, "P")
    assert np.isnan(price) and flag == 3
    assert np.isnan(american_approx(*option, "P", "baw")) and np.isnan(american_approx(*option, "P")) and np.isnan(american_tree(*option, "P"))


@pytest.mark.parametrize("position", range(6))
def test_infinite_input_is_nan(position):
    option = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25]
    option[position] = np.inf
    assert np.isnan(american(*option, "P")[0])


@pytest.mark.parametrize("name, position", [("spot", 0), ("strike", 1), ("tau", 2), ("vol", 5)])
def test_negative_input_is_named(name, position):
    option = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25]
    option[position] = -1.0
    with pytest.raises(InputError, match=f"{name} is -1"):
        american(*option, "P")


@pytest.mark.parametrize("spot", [0.0, 80.0, 100.0, 120.0])
@pytest.mark.parametrize("right, sign", [("C", 1), ("P", -1)])
def test_limits_at_expiry_and_zero_vol(spot, right, sign):
    intrinsic = max(sign * (spot - 100.0), 0.0)
    assert american(spot, 100, 0, 0.05, 0.02, 0.3, right) == (intrinsic, 0)
    certain = max(sign * (spot * math.exp(-0.02 * t) - 100 * math.exp(-0.05 * t)) for t in np.linspace(0, 1, 10_001))
    assert american(spot, 100, 1, 0.05, 0.02, 0.0, right)[0] == pytest.approx(max(certain, 0), abs=1e-6)
    if spot:
        assert american(spot, 100, 1, 0.05, 0.02, 0.02, right)[0] == pytest.approx(max(certain, 0), abs=0.9)


def test_deep_wings():
    assert american(1e-3, 100, 1, 0.05, 0, 0.3, "P")[0] == pytest.approx(100 - 1e-3)
    assert 0 <= american(1e5, 100, 1, 0.05, 0, 0.3, "P")[0] < 1e-12
    assert 0 <= american(1e-3, 100, 1, 0.05, 0.08, 0.3, "C")[0] < 1e-12


# finite differences of american_reference.py on 3,200 and 6,400 points; 0.2, 0.5, 5 and 60 are the exercise value, which waiting cannot beat by more than rounding
DRIFTS = [((99.8, 100, 1, 0.05, 0.01, 0.01, "P"), 0.2), ((100, 100, 0.5, 0.05, 0.02, 0.005, "P"), 0.015321), ((100, 100, 0.5, 0.05, 0.02, 0.001, "P"), 0.000613),
          ((100, 100, 2, 0.08, 0.01, 0.05, "P"), 0.645843), ((101.437, 100, 2.978, 0.1, 0.03, 0.034, "P"), 0.053228), ((99.5, 100, 10, 0.2, -0.05, 0.02, "P"), 0.5),
          ((105, 100, 3, 0.01, 0.12, 0.03, "C"), 5.0), ((160, 100, 5, 0.0498, 0.1991, 0.0022, "C"), 60.0), ((100, 100, 1 / 24 / 365, 0.05, 0, 0.001, "P"), 0.00025565),
          ((90, 100, 1, -0.01, -0.03, 0.2, "P"), 12.770534), ((60, 100, 8, -0.005, -0.04, 0.1, "P"), 40.0)]


@pytest.mark.parametrize("option, value", DRIFTS)
@pytest.mark.parametrize("fast", [False, True])
def test_strong_drift_and_rates_below_zero(option, value, fast):
    price, flag = american(*option, fast=fast)
    assert flag == 0 and price == pytest.approx(value, abs=5e-4 if fast else 2e-5)


def test_vol_without_drift_to_speak_of_is_found_again():
    """At these points the price, and so the vol, was that of a boundary which had not settled."""
    for option, value in DRIFTS:
        if value not in (0.2, 0.5, 5.0, 60.0, 40.0):  # exercised: any small vol fits
            S, K, tau, r, q, sigma, right = option
            vol, flag = american_vol(value, S, K, tau, r, q, right)
            vega = american_greeks(*option).vega
            assert (flag == 0 and abs(vol - sigma) <= 3e-6 / vega + 1e-6) or (sigma == 0.001 and flag in (0, 5))


def merton(S, K, r, q, sigma):
    """A put that never expires (Merton 1973): its value and the spot below which it is exercised."""
    a = 0.5 - (r - q) / sigma**2
    beta = a - math.sqrt(a * a + 2 * r / sigma**2)
    B = K * beta / (beta - 1)
    return (K - S if S <= B else (K - B) * (S / B) ** beta), B


def test_value_without_expiry():
    assert merton(100, 100, 0.05, 0, 0.2) == (pytest.approx(12.320, abs=1e-3), pytest.approx(71.4286, abs=1e-4))  # beta -2.5: 28.5714 * 1.4**-2.5
    for S, r, q, sigma in ((100, 0.05, 0.0, 0.2), (80, 0.03, 0.08, 0.4), (101, 0.1, 0.02, 0.05), (60, 0.02, -0.03, 1.2)):
        assert put_ceiling(S, 100.0, 5.0, r, q, sigma) == pytest.approx(merton(S, 100, r, q, sigma)[0], rel=1e-9)
        assert ceiling(100.0, S, 5.0, q, r, sigma, 1.0) == put_ceiling(S, 100.0, 5.0, r, q, sigma)
    assert put_ceiling(100.0, 100.0, 5.0, -0.02, -0.04, 0.2) == pytest.approx(110.517, abs=1e-3) and put_ceiling(100.0, 100.0, 5.0, 0.0, 0.02, 0.2) == 100


@pytest.mark.parametrize("r, q, sigma", [(0.05, 0.02, 0.01), (0.19, -0.05, 0.04), (0.02, 0.15, 0.01), (0.05, 0.055, 0.001)])
def test_boundary_step_by_step_ends_at_that_without_expiry(r, q, sigma):
    x = np.empty(steps.STEPS + 1)
    T = steps.FLAT / steps.decay(r, q, sigma)
    start = min(0.0, math.log(r / q)) if q > 0 else 0.0
    assert steps.march(T, r, q, sigma, start, -math.inf, 1.0, x) == steps.STEPS
    assert np.all(np.diff(x) <= 1e-6 * sigma * math.sqrt(T)) and x[-1] == pytest.approx(math.log(merton(100, 100, r, q, sigma)[1] / 100), abs=5e-5 * sigma * math.sqrt(T))


def test_two_boundaries_end_at_those_without_expiry_or_meet():
    r, q, sigma = -0.01, -0.05, 0.02
    a = 0.5 - (r - q) / sigma**2
    roots = [a - math.sqrt(a * a + 2 * r / sigma**2), a + math.sqrt(a * a + 2 * r / sigma**2)]
    B, Y = np.empty(steps.STEPS + 1), np.empty(steps.STEPS + 1)
    T, meet, found = steps._boundaries(10.0, r, q, sigma, B, Y)
    assert found and meet == 0 and [B[-1], Y[-1]] == [pytest.approx(math.log(b / (b - 1)), abs=1e-5) for b in roots]
    T, meet, found = steps._boundaries(10.0, r, q, 0.5, B, Y)  # above sqrt(-2 q) - sqrt(-2 r) of vol they meet (Andersen and Lake 2021)
    assert found and 0 < meet < steps.STEPS and T < 10


def test_two_boundaries_equal_the_tree():
    for S in (30.0, 60.0, 90.0, 120.0):
        price, flag = american(S, 100.0, 1.0, -0.01, -0.03, 0.2, "P")
        assert flag == 0 and price == pytest.approx(american_tree(S, 100.0, 1.0, -0.01, -0.03, 0.2, "P", steps=4001), abs=1e-3)
    assert american(90.0, 100.0, 1.0, -0.03, -0.01, 0.2, "P") == (pytest.approx(bsm_price(90.0, 100.0, 1.0, -0.03, -0.01, 0.2, "P")), 0)


DOMAIN = json.loads((Path(__file__).parent / "golden" / "american_domain.json").read_text())["rows"]


def domain_columns(rows):
    option = np.array([row["option"] for row in rows]).T
    return option, np.maximum(option[0], option[1])


def test_whole_domain_equals_finite_differences():
    """300 options, a tenth of them with two boundaries; what the help of `american` says, and the error of the reference itself."""
    option, scale = domain_columns(DOMAIN)
    value, settled = (np.array([row[name] for row in DOMAIN]) for name in ("price", "settled"))
    for fast, within in ((False, 2e-6), (True, 1e-4)):
        price, flag = american(*option, fast=fast)
        assert not flag.any() and np.all(np.abs(price - value) <= within * scale + settled)


def test_greeks_of_the_whole_domain_equal_finite_differences():
    """What the help of `american_greeks` says; an option at its exercise value has the Greeks of that."""
    rows = [row for row in DOMAIN if row["greeks"]]
    option, scale = domain_columns(rows)
    g, reference = american_greeks(*option), np.array([row["greeks"] for row in rows]).T
    S, K, tau, r, q, sigma, sign = option
    kept, sd = g.price > sign * (S - K) + 1e-8 * scale, sigma * np.sqrt(tau)
    assert kept.sum() > 40 and not g.flag.any()
    within = {"delta": 1e-4, "gamma": 5e-3 / (S * sd), "vega": 3e-4 * scale * np.sqrt(tau), "theta": 5e-3 * scale * sd / tau / 365, "rho": 5e-4 * scale * tau}
    for name, value in zip(("delta", "gamma", "vega", "theta", "rho"), reference):
        assert np.all((np.abs(getattr(g, name) - value) <= within[name])[kept]), name


def test_vol_of_the_whole_domain_is_found_again():
    """From prices that are not ours: the vol is off by their error over vega."""
    option, scale = domain_columns(DOMAIN)
    value, vega = np.array([row["price"] for row in DOMAIN]), american_greeks(*option).vega
    counts = vega > 1e-2 * scale * np.sqrt(option[2])
    vol, flag = american_vol(value, *option[:5], option[6])
    near = np.abs(vol - option[5]) * vega <= 3e-6 * scale
    assert counts.sum() > 120 and np.all((near & (flag == 0))[counts])


@pytest.mark.soak
def test_whole_domain_of_twenty_thousand_equals_finite_differences():
    """Some minutes: the grids are refined where they do not agree, so that what is left is the kernel's."""
    import american_reference as reference

    option = reference.domain(20_000, 2026)
    scale = np.maximum(option[0], option[1])
    (price, flag), (quick, quick_flag) = american(*option), american(*option, fast=True)
    value = np.array([reference.close_price(p, m, *o) for p, m, o in zip(price, scale, np.array(option).T.tolist())])
    assert not flag.any() and not quick_flag.any()
    assert np.max(np.abs(price - value) / scale) <= 2e-6 and np.max(np.abs(quick - value) / scale) <= 1e-4


whole = dict(S=st.floats(50, 200), tau=st.floats(math.log(1 / 24 / 365), math.log(10)).map(math.exp), r=st.floats(-0.05, 0.2), q=st.floats(-0.05, 0.2),
             sigma=st.floats(math.log(1e-3), math.log(2)).map(math.exp), right=st.sampled_from("CP"))
beyond = dict(S=st.floats(-4, 6).map(lambda x: 10**x), tau=st.floats(-7, 2).map(lambda x: 10**x), r=st.floats(-2, 2), q=st.floats(-2, 2),
              sigma=st.floats(-6, 1.5).map(lambda x: 10**x), right=st.sampled_from("CP"))


def bounds(S, K, tau, r, q, sigma, right):
    """What no American option is below and above, by arithmetic of its own."""
    if right == "C":
        lower = max(S - K, bsm_price(S, K, tau, r, q, sigma, "C"), 0)
        S, K, r, q = K, S, q, r
    else:
        lower = max(K - S, bsm_price(S, K, tau, r, q, sigma, "P"), 0)
    with np.errstate(all="ignore"):
        upper = merton(np.float64(S), K, r, q, sigma)[0] if r > 1e-6 and 0.5 - (r - q) / sigma**2 < 100 else K * math.exp(max(0, -r * tau))
    return lower, max(upper, lower)


@pytest.mark.filterwarnings("ignore::otsport.analytics.options.UnitWarning")
@pytest.mark.parametrize("price", [lambda *o: american(*o)[0], lambda *o: american(*o, fast=True)[0], lambda *o: american_tree(*o, steps=51),
                                   lambda *o: american_approx(*o, "baw"), lambda *o: american_approx(*o, "bjerksund_stensland_1993"), american_approx],
                         ids=["accurate", "fast", "tree", "baw", "bjerksund-stensland 1993", "2002"])
def test_no_value_beyond_its_bounds(price):
    @given(option=st.one_of(*(st.tuples(d["S"], st.just(100.0), *(d[n] for n in ("tau", "r", "q", "sigma", "right"))) for d in (whole, beyond))))
    @settings(max_examples=150, deadline=None)
    def holds(option):
        value, (lower, upper) = price(*option), bounds(*option)
        slack = 1e-9 * max(option[0], option[1], upper)
        assert math.isnan(value) or lower - slack <= value <= upper + slack

    holds()


def test_no_approximation_below_exercise_without_interest():
    """A put without interest on a spot that costs to hold is exercised: 40, where the European one is 37."""
    assert bsm_price(60, 100, 1, 0.0, -0.05, 0.2, "P") < 38
    for method in ("baw", "bjerksund_stensland_1993", "bjerksund_stensland_2002"):
        assert american_approx(60, 100, 1, 0.0, -0.05, 0.2, "P", method) >= 40


def test_baw_stops_at_the_value_without_expiry():
    """The formula gave 59.88 for this call."""
    S, K, r, q, sigma = 138.7316, 100.0, 0.1826, 0.0841, 0.0552
    assert american_approx(S, K, 9.3024, r, q, sigma, "C", "baw") <= merton(K, S, q, r, sigma)[0] * (1 + 1e-12)


def test_one_option_equals_its_place_in_any_order():
    spots = np.array([130.0, 70.0, 100.0, 100.0])
    together = american(spots, 100, 0.5, 0.03, 0.01, 0.3, "P")[0]
    assert np.array_equal(together, [american(s, 100, 0.5, 0.03, 0.01, 0.3, "P")[0] for s in spots])
    assert american([], 100, 0.5, 0.03, 0.01, 0.3, "P")[0].shape == (0,)


def test_compiled_equals_interpreted(monkeypatch):
    option = (95.0, 100.0, 0.5, 0.04, 0.01, 0.3, -1.0)
    assert approx.baw(*option) == pytest.approx(approx.baw.py_func(*option), rel=1e-13)
    assert approx.bjerksund_stensland(*option, 2002) == pytest.approx(approx.bjerksund_stensland.py_func(*option, 2002), rel=1e-10)
    assert binomial(*option, 51, True, True, NONE, NONE) == pytest.approx(binomial.py_func(*option, 51, True, True, NONE, NONE), rel=1e-12)


def test_baw_and_normal_loops_are_vector_code():
    from test_kernels_machine import machine_code, one, packed_arithmetic, vectors_of

    if vectors_of is None:
        pytest.skip("no pattern for the vector registers of this machine")
    assert packed_arithmetic(machine_code(kernel._normal_arrays, one(8), one(8), one(8))) > 10
    assert packed_arithmetic(machine_code(approx.baw_arrays, *[one(8)] * 8)) > 100


def test_boundary_starts_and_falls_as_theory_says():
    """At expiry min(1, r / q) of the strike; below it, falling with time to expiry, above the perpetual boundary."""
    for r, q, sigma in ((0.05, 0.02, 0.3), (0.03, 0.06, 0.2)):
        plan = kernel.ACCURATE
        work = kernel.workspace(plan)
        start = min(0.0, math.log(r / q))
        assert kernel._boundary(2.0, r, q, sigma, start, plan, work)
        x = work[0, :plan[0].size]
        half = 0.5 - (r - q) / sigma**2
        beta = half - math.sqrt(half**2 + 2 * r / sigma**2)
        assert np.all(np.diff(x) > 0) and x[-1] < start and x[0] > math.log(beta / (beta - 1))


def test_bad_method_tree_and_steps_are_named():
    with pytest.raises(InputError, match="use one of baw"):
        american_approx(100, 100, 1, 0, 0, 0.2, "C", "binomial")
    with pytest.raises(InputError, match="trinomial"):
        american_tree(100, 100, 1, 0, 0, 0.2, "C", tree="trinomial")
    with pytest.raises(InputError, match="not negative; one that is past"):
        american_tree(100, 100, 1, 0, 0, 0.2, "C", ((0.5, -1.0),))


usual = dict(S=st.floats(50, 200), tau=st.floats(0.01, 3), r=st.floats(0, 0.1), q=st.floats(0, 0.1), sigma=st.floats(0.08, 1.0), right=st.sampled_from("CP"))


@given(**usual)
@settings(max_examples=150, deadline=None)
def test_american_bounds(S, tau, r, q, sigma, right):
    price, _ = american(S, 100.0, tau, r, q, sigma, right)
    sign = 1 if right == "C" else -1
    assert price >= max(sign * (S - 100.0), bsm_price(S, 100.0, tau, r, q, sigma, right) - 1e-9)
    assert price <= (S if right == "C" else 100.0) + 1e-9
    for method in ("bjerksund_stensland_1993", "bjerksund_stensland_2002"):
        assert american_approx(S, 100.0, tau, r, q, sigma, right, method) <= price + 1e-3


@given(**usual, more=st.floats(1.02, 1.5))
@settings(max_examples=100, deadline=None)
def test_american_monotone_in_vol_time_and_spot(S, tau, r, q, sigma, right, more):
    price = american(S, 100.0, tau, r, q, sigma, right)[0]
    assert american(S, 100.0, tau, r, q, sigma * more, right)[0] >= price - 1e-3
    assert american(S, 100.0, tau * more, r, q, sigma, right)[0] >= price - 1e-3
    moved = american(S * more, 100.0, tau, r, q, sigma, right)[0] - price
    assert -1e-3 <= (moved if right == "C" else -moved) <= S * (more - 1) + 1e-3


@given(**usual)
@settings(max_examples=100, deadline=None)
def test_american_vol_round_trip(S, tau, r, q, sigma, right):
    price, _ = american(S, 100.0, tau, r, q, sigma, right)
    vol, flag = american_vol(price, S, 100.0, tau, r, q, right)
    if flag == 0:
        assert american(S, 100.0, tau, r, q, vol, right)[0] == pytest.approx(price, abs=1e-8)
    else:  # only a price without time value has none
        assert flag in (1, 5) and price <= american(S, 100.0, tau, r, q, 1e-3, right)[0] + 1e-9


def two_boundaries(S, K, tau, r, q, sigma):
    """Bjerksund and Stensland (2002) for a call as printed in Haug (2007), p. 104-105, on SciPy's bivariate normal."""
    b, t1 = r - q, 0.5 * (math.sqrt(5) - 1) * tau
    half = 0.5 - b / sigma**2
    beta = half + math.sqrt(half**2 + 2 * r / sigma**2)
    far, near = beta / (beta - 1) * K, max(K, r / (r - b) * K)
    h = [-(b * t + 2 * sigma * math.sqrt(t)) * K**2 / ((far - near) * near) for t in (t1, tau)]
    X, I = (near + (far - near) * (1 - math.exp(v)) for v in h)
    a1, a2 = (X - K) * X**-beta, (I - K) * I**-beta

    def growth(gamma):
        return -r + gamma * b + 0.5 * gamma * (gamma - 1) * sigma**2, b + (gamma - 0.5) * sigma**2, 2 * b / sigma**2 + 2 * gamma - 1

    def phi(T, gamma, H, edge):
        lam, drift, kappa = growth(gamma)
        d = -(math.log(S / H) + drift * T) / (sigma * math.sqrt(T))
        return math.exp(lam * T) * S**gamma * (ndtr(d) - (edge / S) ** kappa * ndtr(d - 2 * math.log(edge / S) / (sigma * math.sqrt(T))))

    def psi(gamma, H):
        lam, drift, kappa = growth(gamma)
        u, v, rho = sigma * math.sqrt(t1), sigma * math.sqrt(tau), math.sqrt(t1 / tau)
        e = [-(math.log(S / X) + drift * t1) / u, -(math.log(I**2 / (S * X)) + drift * t1) / u, -(math.log(S / X) - drift * t1) / u, -(math.log(I**2 / (S * X)) - drift * t1) / u]
        f = [-(math.log(x) + drift * tau) / v for x in (S / H, I**2 / (S * H), X**2 / (S * H), S * X**2 / (H * I**2))]
        M = [multivariate_normal.cdf(p, cov=[[1, s * rho], [s * rho, 1]]) for *p, s in zip(e, f, (1, 1, -1, -1))]
        return math.exp(lam * tau) * S**gamma * (M[0] - (I / S) ** kappa * M[1] - (X / S) ** kappa * M[2] + (X / I) ** kappa * M[3])

    return (a2 * S**beta - a2 * phi(t1, beta, I, I) + phi(t1, 1, I, I) - phi(t1, 1, X, I) - K * phi(t1, 0, I, I) + K * phi(t1, 0, X, I)
            + a1 * phi(t1, beta, X, I) - a1 * psi(beta, X) + psi(1, X) - psi(1, K) - K * psi(0, X) + K * psi(0, K))


@pytest.mark.parametrize("option", [(90, 100, 0.5, 0.10, 0.10, 0.25), (100, 100, 0.1, 0.10, 0.10, 0.35), (110, 100, 0.5, 0.10, 0.10, 0.15), (100, 100, 1.0, 0.03, 0.07, 0.25), (42, 40, 0.75, 0.04, 0.08, 0.35), (60, 100, 2.0, 0.05, 0.03, 0.5)])
def test_bjerksund_stensland_2002_equals_the_printed_formula(option):
    S, K, tau, r, q, sigma = option
    assert approx._bjs_call_2002(*map(float, option)) == pytest.approx(two_boundaries(*option), abs=2e-6)  # of SciPy's own bivariate normal
    assert abs(approx._bjs_call_1993(*map(float, option)) - two_boundaries(*option)) > 2e-5  # negative control: one boundary is told from two
    assert american_approx(K, S, tau, q, r, sigma, "P") == pytest.approx(american_approx(S, K, tau, r, q, sigma, "C"), rel=1e-12)


def naive_baw(S, K, tau, r, q, sigma, phi):
    """Barone-Adesi and Whaley with the critical price from brentq."""
    n, m = 2 * (r - q) / sigma**2, 2 * r / sigma**2
    power = 0.5 * (1 - n + phi * math.sqrt((n - 1) ** 2 + 4 * m / (1 - math.exp(-r * tau))))
    right = "C" if phi > 0 else "P"

    def gain(edge):
        d1 = (math.log(edge / K) + (r - q + sigma**2 / 2) * tau) / (sigma * math.sqrt(tau))
        return phi * (1 - math.exp(-q * tau) * ndtr(phi * d1)) * edge / power

    edge = brentq(lambda x: phi * (x - K) - bsm_price(x, K, tau, r, q, sigma, right) - gain(x), *((K, 50 * K) if phi > 0 else (1e-3 * K, K)), xtol=1e-12)
    return phi * (S - K) if phi * (S - edge) >= 0 else bsm_price(S, K, tau, r, q, sigma, right) + gain(edge) * (S / edge) ** power


@given(S=st.floats(60, 160), tau=st.floats(0.05, 2), r=st.floats(0.01, 0.1), q=st.floats(0.01, 0.1), sigma=st.floats(0.1, 0.6), phi=st.sampled_from([1.0, -1.0]))
@settings(max_examples=60, deadline=None)
def test_baw_equals_naive(S, tau, r, q, sigma, phi):
    assert approx.baw(S, 100.0, tau, r, q, sigma, phi) == pytest.approx(naive_baw(S, 100.0, tau, r, q, sigma, phi), abs=2e-6)


@pytest.mark.parametrize("position", range(6))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_approximations_and_tree_of_what_is_not_finite_are_nan(position, value):
    option = [100.0, 95.0, 0.5, 0.03, 0.02, 0.25]
    option[position] = value
    columns = [np.array([x, 1.0]) for x in (*option, 1.0)]
    for price in (approx.baw(*option, 1.0), approx.baw(*option, -1.0), approx.bjerksund_stensland(*option, 1.0, 1993), approx.bjerksund_stensland(*option, -1.0, 2002), binomial(*option, 1.0, 51, True, True, NONE, NONE)):
        assert math.isnan(price)
    out = np.empty(2)
    approx.baw_arrays(*columns, out)
    assert math.isnan(out[0])


@pytest.mark.parametrize("S", [1e-300, 1e-6, 1e6, 1e300])
@pytest.mark.parametrize("phi", [1.0, -1.0])
def test_approximations_in_the_far_wings_are_bounded_or_nan(S, phi):
    for price in (approx.baw(S, 100.0, 0.5, 0.03, 0.02, 0.25, phi), approx.bjerksund_stensland(S, 100.0, 0.5, 0.03, 0.02, 0.25, phi, 1993), approx.bjerksund_stensland(S, 100.0, 0.5, 0.03, 0.02, 0.25, phi, 2002)):
        assert math.isnan(price) or max(phi * (S - 100.0), 0.0) * (1 - 1e-12) <= price <= (S if phi > 0 else 100.0)


@given(**usual)
@settings(max_examples=40, deadline=None)
def test_american_convex_and_monotone_in_strike(S, tau, r, q, sigma, right):
    low, middle, high = (american(S, k, tau, r, q, sigma, right)[0] for k in (95.0, 100.0, 105.0))
    sign = 1 if right == "C" else -1
    assert low + high - 2 * middle >= -2e-4 and -1e-4 <= sign * (low - high) <= 10 + 1e-4


NAMES = ("price", "delta", "gamma", "vega", "theta", "rho")
HOUR = 1 / 24 / 365  # years


@given(S=st.floats(70, 140), tau=st.floats(math.log(HOUR), math.log(3)).map(math.exp), r=st.floats(0, 0.1), sigma=st.floats(0.05, 1.0))
@settings(max_examples=100, deadline=None)
def test_call_without_dividends_has_european_greeks(S, tau, r, sigma):
    option = (S, 100.0, tau, r, 0.0, sigma, "C")
    ours, exact = american_greeks(*option), bsm_greeks(*option)
    for name in NAMES:
        assert getattr(ours, name) == pytest.approx(getattr(exact, name), rel=1e-10, abs=1e-12), name


def test_greeks_at_the_money_hours_before_expiry():
    """A bump of 0.2 % of spot gave 1.402 here, and a delta 0.1 off an hour before."""
    sd = 0.1 * math.sqrt(6.5 * HOUR)  # without dividends it is the European call: n(d1) / (S sd), d1 = 0.03 tau / sd + sd / 2
    d1 = 0.03 * 6.5 * HOUR / sd + 0.5 * sd
    gamma = math.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi) / (100 * sd)
    assert american_greeks(100, 100, 6.5 * HOUR, 0.03, 0, 0.1, "C").gamma == pytest.approx(gamma, rel=1e-9)
    for right in "CP":  # interest of an hour is worth nothing
        ours, exact = (f([99.8, 99.9, 100.1, 100.2], 100, HOUR, 0.03, 0.02, 0.1, right) for f in (american_greeks, bsm_greeks))
        assert ours.delta == pytest.approx(exact.delta, abs=5e-3) and ours.gamma == pytest.approx(exact.gamma, rel=0.03)


@pytest.mark.parametrize("right, sign", [("C", 1), ("P", -1)])
def test_greeks_without_width_are_limits(right, sign):
    g = american_greeks([90, 100, 110], 100, 0, 0.05, 0.02, 0.2, right)
    inside = np.array([sign < 0, False, sign > 0])
    assert g.delta.tolist() == [sign if i else (0.5 * sign if s == 100 else 0) for i, s in zip(inside, (90, 100, 110))]
    assert g.gamma.tolist() == [0, 0, 0] and g.theta[1] == min(sign * 0.5 * (0.02 * 100 - 0.05 * 100), 0) / 365 and not g.flag.any() and np.all(g.vega == 0)
    spot = np.array([60.0, 92.0, 99.0, 120.0, 150.0])
    for r, q in ((0.05, 0.02), (0.02, 0.05)):
        g, near = (american_greeks(spot, 100, 1, r, q, v, right) for v in (0.0, 1e-3))
        for name in NAMES:  # away from the money a vol of 0.1 % is as good as none
            assert getattr(g, name) == pytest.approx(getattr(near, name), abs=0.03 if name == "rho" else 2e-3), name


def test_theta_and_gamma_do_not_smear_over_the_boundary():
    put = (120.0, 0.2, 0.05, 0.01, 0.3, "P")
    day = american(95.5, 120, 0.2 - 0.5 / 365, *put[2:])[0] - american(95.5, 120, 0.2 + 0.5 / 365, *put[2:])[0]
    assert day == pytest.approx(-0.00045, abs=1e-5) and american_greeks(95.5, *put).theta == pytest.approx(day, abs=1e-5)
    g = american_greeks(np.linspace(80, 130, 5001), *put)
    exercised = g.price == 120 - np.linspace(80, 130, 5001)
    for name, value in (("delta", -1), ("gamma", 0), ("vega", 0), ("theta", 0), ("rho", 0)):
        assert np.all(getattr(g, name)[exercised] == value)
    edge = np.argmin(exercised)  # the first that is kept: theta leaves 0, gamma jumps to 2 (r K - q B) / (sigma B)**2
    B = 80 + edge / 100
    assert -3e-5 < g.theta[edge] < 0 and g.gamma[edge] == pytest.approx(2 * (0.05 * 120 - 0.01 * B) / (0.3 * B) ** 2, rel=2e-3)
    assert np.all(np.diff(g.theta[edge:edge + 1000]) < 0) and np.all(np.diff(g.delta[edge:]) > 0)


@pytest.mark.parametrize("right", ["C", "P"])
@pytest.mark.parametrize("days", [0.25, 1, 7, 45, 365, 1095])
def test_greeks_equal_those_of_the_tree(days, right):
    """Differences over a twentieth of a standard deviation, and over 4 % of the time left."""
    tau, r, q, vol = days / 365, 0.06, 0.03, 0.25
    sd = vol * math.sqrt(tau)
    for x in (-1.0, 0.0, 0.7):
        S, h = 100 * math.exp(x * sd), 0.05 * sd
        spots = [S * math.exp(h * i) for i in (-1, 0, 1)]
        fine = american(spots, 100, tau, r, q, vol, right)[0]
        tree = american_tree(spots, 100, tau, r, q, vol, right, steps=1501)
        assert fine == pytest.approx(tree, abs=1e-2 * sd)
        g = american_greeks(S, 100, tau, r, q, vol, right)
        up, down = spots[2] - S, S - spots[0]
        delta = (tree[2] * down / up - tree[0] * up / down + tree[1] * (up / down - down / up)) / (up + down)
        assert g.delta == pytest.approx(delta, abs=0.012)
        later, sooner = (american_tree(S, 100, tau * m, r, q, vol, right, steps=1501) for m in (0.98, 1.02))
        assert g.theta == pytest.approx((later - sooner) / (0.04 * days), rel=0.02, abs=1e-4 / math.sqrt(days))


def test_greeks_with_two_boundaries_equal_differences_of_the_tree():
    g = american_greeks(90.0, 100.0, 1.0, -0.01, -0.03, 0.2, "P")
    h = 0.5
    up, price, down = (american_tree(90.0 + s, 100.0, 1.0, -0.01, -0.03, 0.2, "P", steps=2001) for s in (h, 0, -h))
    assert g.flag == 0 and g.delta == pytest.approx((up - down) / (2 * h), abs=1e-3) and g.gamma == pytest.approx((up - 2 * price + down) / h**2, rel=0.05)


@given(**usual)
@settings(max_examples=25, deadline=None)
def test_american_greeks_equal_differences(S, tau, r, q, sigma, right):
    g = american_greeks(S, 100.0, tau, r, q, sigma, right)
    h = 4e-3 * S  # another step than the engine's own
    up, down = (american(S + s, 100.0, tau, r, q, sigma, right)[0] for s in (h, -h))
    wobble = 0.02 + h * abs(g.gamma)  # a kink at the boundary lies within the step
    assert g.delta == pytest.approx((up - down) / (2 * h), abs=wobble) and -1 - 1e-6 <= g.delta * (1 if right == "C" else -1) <= 1 + 1e-6
    v = 5e-3
    up, down = (american(S, 100.0, tau, r, q, sigma + s, right)[0] for s in (v, -v))
    assert g.vega == pytest.approx((up - down) / (2 * v), rel=0.05, abs=0.3)
