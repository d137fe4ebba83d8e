"""What a stress test of positions is measured on: own prices or the bundled ones, betas, and when correlations can be broken."""
import numpy as np
import pandas as pd
import pytest

import otsport
from otsport.core.errors import InputError
from otsport.data.samples import history
from otsport.data.prices import read_prices

TWO = [(300, "KO"), (100, "XOM")]
SPOT = {"KO": 63.5, "XOM": 109.0}
LACKING = "broken correlations need the prices of every underlying: give prices="


def prices(days, names=("KO", "XOM")) -> pd.DataFrame:
    """Closes up to the day of the positions that have so many returns."""
    return history().stock_table.frame[list(names)].loc[:"2022-12-28"].iloc[-days - 1 :]


def stress(positions, given):
    return otsport.stress_test(positions, {s: SPOT[s] for s in SPOT if any(s == p[1].split()[0] for p in positions)}, prices=given, episodes=(), as_of="2022-12-28", vol=0.2)


@pytest.mark.parametrize("days, broken", [(59, False), (60, True), (504, True)])
def test_correlations_are_broken_where_two_names_share_sixty_returns(days, broken):
    found = stress(TWO, prices(days))
    assert (found.breaks is not None) == broken and (LACKING in found.notes) == (not broken)


def test_one_name_has_no_correlation_to_break_and_lacks_nothing():
    found = stress(TWO[:1], prices(504))
    assert found.breaks is None and LACKING not in found.notes
    alone = stress(TWO, prices(504, ["KO"]))  # no price of the other
    assert alone.breaks is None and LACKING in alone.notes and "no beta of XOM: taken as 1; give betas= or prices=" in alone.notes
    assert alone.betas["XOM"] == 1.0 and found.betas["KO"] != 1.0


def test_own_prices_come_in_every_form_and_are_looked_at_up_to_the_day_of_the_positions():
    own = prices(504)
    table = stress(TWO, read_prices(own, name="own", adjusted="all"))
    pd.testing.assert_frame_equal(stress(TWO, own).breaks, table.breaks)
    later = pd.concat([own, own.iloc[-1:].set_axis([pd.Timestamp("2022-12-30")]) * 3])
    pd.testing.assert_frame_equal(stress(TWO, later).breaks, table.breaks)  # what comes after the positions is not known
    np.testing.assert_allclose(list(otsport.stress_test(TWO, SPOT, episodes=(), as_of="2022-12-28", vol=0.2).betas.values()), list(stress(TWO, history().stock_table.frame).betas.values()))


@pytest.mark.parametrize("given", [prices(100).reset_index(drop=True), prices(100)["KO"], [1, 2, 3]], ids=["no_dates", "a_series", "a_list"])
def test_prices_that_are_none_say_what_to_give(given):
    with pytest.raises(InputError, match="give closes as a frame, dates down, symbols across, or what read_prices gives"):
        stress(TWO, given)


def test_a_result_of_risk_brings_its_own_spots():
    held = otsport.risk(TWO, SPOT, as_of="2022-12-28")
    assert otsport.stress_test(held, prices=prices(504), episodes=()).breaks is not None
    for more in ({"spot": SPOT}, {"vol": 0.2}):
        with pytest.raises(InputError, match="positions are a result of risk, which has its own spot, vol and instant"):
            otsport.stress_test(held, **more)
    with pytest.raises(InputError, match="episode 'Crash of 1987' is not known: use "):
        otsport.stress_test(held, episodes=["Crash of 1987"])
