"""What the option functions say of units: in their help, and when a number is probably in another one."""
import inspect
import warnings

import numpy as np
import pytest

from otsport.analytics import american as american_room
from otsport.analytics import combinations, options, surface
from otsport.analytics.american import american, american_approx, american_greeks, american_tree, american_vol
from otsport.analytics.options import UnitWarning, black76, bsm, bsm_delta, bsm_greeks, bsm_price, bsm_second_order, implied_vol

PRICERS = [bsm, bsm_price, bsm_delta, bsm_greeks, bsm_second_order, american, american_greeks, american_approx, lambda *a: american_tree(*a, steps=11), lambda S, K, t, r, q, v, right: black76(S, K, t, r, v, right)]
SAID = [(5, 20.0, "vol is 20, that is 2,000 % a year: vols are annual decimals, 0.2 is 20 %"), (3, 5.0, "rate is 5, that is 500 % a year: rates are annual decimals, 0.05 is 5 %"),
        (2, 90.0, "tau is 90, that is 90 years: tau is in years, 30 days are 30 / 365"), (4, -2.0, "div_yield is -2, that is -200 % a year: yields are annual decimals, 0.02 is 2 %")]


@pytest.mark.parametrize("at", range(len(PRICERS)))
@pytest.mark.parametrize("position, value, words", SAID)
def test_number_in_another_unit_is_warned_of(at, position, value, words):
    option = [100.0, 95.0, 0.3, 0.02, 0.01, 0.25, "C"]
    with warnings.catch_warnings():  # negative control: usual, missing and infinite numbers
        warnings.simplefilter("error")
        for usual in (option, *([*option[:i], odd, *option[i + 1:]] for i in range(2, 6) for odd in (np.nan, np.inf, np.array([])))):
            PRICERS[at](*usual)
    if position == 4 and at == len(PRICERS) - 1:
        return  # a future has no yield
    for given in (value, [option[position], np.nan, value]):
        option[position] = given
        with pytest.warns(UnitWarning) as said:
            PRICERS[at](*option)
        assert str(said[0].message) == words and said[0].filename == __file__  # the caller's line


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
