"""Episodes, shocks and broken correlations: by hand, priced again in full, and what is not known said."""
from datetime import date, datetime, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import otsport
from otsport.analytics.marks import valued
from otsport.analytics.options import bsm_price
from otsport.analytics.positions import held_legs
from otsport.analytics.scenarios import EPISODES, Episode, Scenario, broken_covariance, by_beta, correlation_breaks, episode_scenario, index_betas, run_scenarios, shock_scenarios
from otsport.core.errors import DataError, InputError
from otsport.data.samples import sample

NOW = datetime(2022, 12, 28, 21, tzinfo=timezone.utc)
CLOSES, INDEX = sample("sp500_20_daily"), sample("sp500_index_daily").iloc[:, 0]
LEGS = [(300, "KO"), (-3, "KO 20230317 C 65"), (5, "KO 20230317 P 60"), (-100, "XOM")]


def book(style: str = "european", rate: float = 0.04):
    return valued(held_legs(LEGS)[0], NOW, {"KO": 62.6, "XOM": 108.0}, 0.2, rate, style=style)


def test_every_option_is_worth_its_price_at_the_new_spot_vol_and_rate():
    v = book()
    case = Scenario("all", {"KO": -0.25, "XOM": 0.1}, vol_points=0.05, vol_scale=0.5, rate=0.01)
    found = run_scenarios(v, [Scenario("none", {}), case]).frame()
    tau = v.terms.tau[1]
    for key, strike, phi, units in (("KO 20230317 C 65", 65, 1, -300), ("KO 20230317 P 60", 60, -1, 500)):
        by_hand = units * (bsm_price(62.6 * 0.75, strike, tau, 0.05, 0.0, 0.35, phi) - bsm_price(62.6, strike, tau, 0.04, 0.0, 0.2, phi))
        assert found.loc["all", key] == pytest.approx(float(by_hand), rel=1e-9)
    assert found.loc["all", "KO"] == pytest.approx(-300 * 62.6 * 0.25) and found.loc["all", "XOM"] == pytest.approx(-100 * 10.8)
    assert (found.loc["none"].abs() < 1e-9).all()


def test_american_positions_agree_with_european_ones_where_nothing_is_exercised_early():
    calls = [("KO 20230317 C 65", 1)]
    a, e = (run_scenarios(valued(held_legs(calls)[0], NOW, 62.6, 0.2, 0.04, style=style), shock_scenarios({"KO": 1.0})).pnl for style in ("american", "european"))
    assert a == pytest.approx(e, abs=1e-6)


def test_the_worst_scenario_is_named_and_its_parts_sum_to_it():
    found = run_scenarios(book(), shock_scenarios({"KO": 1.0, "XOM": 1.2}))
    name, loss = found.worst()
    assert loss == found.pnl.min() and found.parts().sum() == pytest.approx(loss) and found.parts().name == name
    assert found.by_underlying().sum(axis=1).to_numpy() == pytest.approx(found.pnl)
    assert name in repr(found) and "<table" in found._repr_html_()


@settings(max_examples=15, deadline=None)
@given(st.floats(-0.6, 0.6), st.floats(-1.0, 4.0))
def test_nobody_falls_by_more_than_all(move, beta):
    assert by_beta(move, np.array(beta)) > -1 and by_beta(move, np.array(1.0)) == pytest.approx(move)


def test_own_returns_where_a_name_traded_and_its_beta_where_it_did_not():
    young = CLOSES[["KO", "XOM"]].copy()
    young.loc[:"2010-01-01", "XOM"] = np.nan
    betas = index_betas(young, INDEX)
    before, after = (episode_scenario(e, ["KO", "XOM"], young, INDEX, None, betas) for e in (EPISODES[1], EPISODES[4]))
    assert before.note.startswith(f"by beta: XOM ({betas['XOM']:.2f})") and "by beta" not in after.note
    fall = INDEX["2009-03-09"] / INDEX["2007-10-09"]
    assert before.moves["XOM"] == pytest.approx(fall ** betas["XOM"] - 1) and before.moves["KO"] == pytest.approx(CLOSES.at["2009-03-09", "KO"] / CLOSES.at["2007-10-09", "KO"] - 1)
    assert after.moves["XOM"] == pytest.approx(CLOSES.at["2020-03-23", "XOM"] / CLOSES.at["2020-02-19", "XOM"] - 1)


def test_vix_moves_vols_where_it_is_known():
    vix = pd.Series([15.0, 40.0], pd.DatetimeIndex(["2020-02-18", "2020-03-23"]))  # the day before counts
    assert episode_scenario(EPISODES[4], ["KO"], CLOSES, INDEX, vix, {}).vol_points == pytest.approx(0.25)


def test_too_few_sessions_give_no_beta():
    few = CLOSES[["KO"]].iloc[-59:]
    assert index_betas(few, INDEX).isna().all() and index_betas(CLOSES[["KO"]].iloc[-62:], INDEX).notna().all()


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 8), st.floats(-1, 1), st.floats(0, 1), st.integers(0, 99))
def test_broken_correlations_are_a_covariance_with_the_same_variances(n, to, share, seed):
    x = np.random.default_rng(seed).normal(size=(50, n)) @ np.random.default_rng(seed + 1).normal(size=(n, n))
    cov = np.cov(x.T)
    found = broken_covariance(cov, to, share)
    assert np.diag(found) == pytest.approx(np.diag(cov), rel=1e-9)
    assert np.linalg.eigvalsh(found)[0] > -1e-9 * np.linalg.eigvalsh(found)[-1] and np.allclose(found, found.T)


def test_var_of_held_shares_rises_with_correlation_to_what_the_formula_says():
    v = valued(held_legs([(100, "KO"), (100, "XOM")])[0], NOW, {"KO": 100.0, "XOM": 100.0})
    past = CLOSES[["KO", "XOM"]].pct_change().iloc[-504:]
    found = correlation_breaks(v, past, draws=20_000)
    assert found.loc["all to 1", "VaR 95%"] == pytest.approx(1.645 * 1e4 * past.std().sum(), rel=0.03)
    assert found.loc["all to 0", "VaR 95%"] == pytest.approx(1.645 * 1e4 * (past.var().sum()) ** 0.5, rel=0.03)
    assert found["VaR 95%"].loc[["all to -1, repaired", "all to 0", "as measured", "half way to 1", "all to 1"]].is_monotonic_increasing


def test_one_call_takes_what_risk_takes_and_shows_itself():
    found = otsport.stress_test(LEGS, {"KO": 62.6, "XOM": 108.0}, vol=0.2, as_of="2022-12-28")
    assert found.worst()[0] in repr(found) and "Worst of 15 scenarios" in found._repr_html_() and "img" in found._repr_html_()
    again = otsport.stress_test(found.risk)
    assert again.scenarios.pnl == pytest.approx(found.scenarios.pnl)
    assert found.grid.worst()[3] < 0


@pytest.mark.parametrize("call, error, words", [
    (lambda: otsport.stress_test(LEGS, {"KO": 62.6, "XOM": 108.0}, vol=0.2, as_of="2022-12-28", betas={"PEP": 1}), InputError, "beta names 'PEP', which is not held"),
    (lambda: otsport.stress_test(LEGS, {"KO": 62.6, "XOM": 108.0}, vol=0.2, as_of="2022-12-28", prices=[1, 2]), InputError, "prices are a list"),
    (lambda: episode_scenario(Episode("1929", date(1929, 9, 3), date(1932, 7, 8), "the crash"), ["KO"], CLOSES, INDEX, None, {"KO": 1}), DataError, "episode 1929 cannot be measured"),
    (lambda: by_beta(-20, np.array(1.0)), InputError, "-0.2 is twenty percent down"),
    (lambda: run_scenarios(book(), [Scenario("x", {"KO": np.nan})]), InputError, "scenario x moves KO by nan"),
])
def test_bad_input_names_the_culprit(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_episodes_go_by_name_and_an_unknown_one_is_told():
    found = otsport.stress_test([(300, "KO")], 62.6, as_of="2022-12-28", rate=0.04, episodes=["2008"])
    assert found.scenarios.frame().index[0] == "2008"
    with pytest.raises(InputError, match="episode '1987' is not known: use 2000, 2008"):
        otsport.stress_test([(300, "KO")], 62.6, as_of="2022-12-28", rate=0.04, episodes=["1987"])
