"""Contributors, risk beside them, factors and stored reports: identities over random books, and what is refused."""
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.book.attribution import METHODS, attribute
from otsport.book.attribution_report import compare, explain, read_report, report_of
from otsport.book.contributors import contributions, contributors, risk_adjusted
from otsport.book.effect_rows import effect_positions
from otsport.book.factor_attribution import factor_attribution, factor_level
from otsport.book.linking import LINKINGS, compounded
from otsport.book.position_table import bacon_rows, position_table, wide_table
from otsport.core.errors import CheckFailed, InputError, LostAll, MixedUnits, TooFew
from test_book_attribution import random_table

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, periods=st.integers(1, 40), rows=st.integers(2, 9))
def test_contributions_sum_to_the_return(seed, periods, rows):
    table = random_table(seed, periods, rows)
    whole = compounded(table.portfolio)
    for linking, by in zip(LINKINGS, ("symbol", "sector", "strategy", "symbol")):
        assert contributions(table, by, linking).to_numpy().sum() == pytest.approx(whole, abs=1e-10)
        found = contributors(table, by, count=2, linking=linking)
        assert found.listed()["contribution"].iloc[:-1].sum() == pytest.approx(whole, abs=1e-10) == pytest.approx(found.total, abs=1e-10)
        assert found.top()["contribution"].is_monotonic_decreasing and found.detractors()["contribution"].is_monotonic_increasing


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, periods=st.integers(12, 60), rows=st.integers(3, 9))
def test_parts_of_the_risk_sum_to_it_and_hedges_have_no_ratio(seed, periods, rows):
    table = random_table(seed, periods, rows)
    found = risk_adjusted(table, "symbol", 0.02)
    frame = found.frame
    assert frame["part of vol"].sum() == pytest.approx(found.vol, rel=1e-10) and frame["beyond its risk"].sum() == pytest.approx(0, abs=1e-9)
    ok = frame["kind"] == ""
    assert (frame.loc[ok, "part of vol"] > 0).all() and frame.loc[~ok, "sharpe"].isna().all() and (frame.loc[~ok, "part of vol"] <= 0).all()
    shares = (frame["share of risk"] * frame["sharpe"]).where(ok, frame["contribution"] / found.vol)
    assert shares.sum() == pytest.approx(found.sharpe, abs=1e-9)


def test_constant_weights_have_the_textbook_parts():
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(0, 0.01, (200, 3)) @ np.array([[1, 0.5, -0.4], [0, 1, 0.2], [0, 0, 1]]), columns=list("abc"))
    w, cov = np.array([0.5, 0.8, -0.3]), 252 * np.cov(x.T)
    found = risk_adjusted(wide_table(pd.Series(w, list("abc")), x)).frame["part of vol"]
    assert found[list("abc")].to_numpy() == pytest.approx(w * (cov @ w) / (w @ cov @ w) ** 0.5, rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, periods=st.integers(1, 40), rows=st.integers(2, 9))
def test_factor_level_has_the_sum_of_every_other(seed, periods, rows):
    table = random_table(seed, periods, rows)
    rng = np.random.default_rng(seed)
    symbols = table.rows.get_level_values("symbol")
    betas = pd.DataFrame(rng.normal(0.5, 1, (rows, 3)), symbols, list("xyz")).drop(index="cash")
    factors = pd.DataFrame(rng.normal(0, 0.02, (periods, 3)), table.periods, list("xyz"))
    for linking in LINKINGS:
        found = factor_level(table, betas, factors[["z", "x", "y"]], linking)
        assert abs(found.residual) < 1e-10 and found.effects.sum() == pytest.approx(attribute(table, "symbol", linking=linking).effects.sum(), abs=1e-10)
    active = (table.weight - table.bench_weight)[:, :-1] @ betas.to_numpy()
    assert found.single[["x", "y", "z"]].to_numpy() == pytest.approx(active * factors.to_numpy(), abs=1e-14)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, count=st.integers(1, 5), linking=st.sampled_from(LINKINGS))
def test_factors_from_returns_close_over_the_horizon(seed, count, linking):
    rng = np.random.default_rng(seed)
    factors = pd.DataFrame(rng.normal(0.004, 0.03, (80, count)), columns=[f"f{k}" for k in range(count)])
    returns = pd.Series(factors.to_numpy() @ rng.normal(0.5, 0.5, count) + rng.normal(0.001, 0.01, 80))
    cash = pd.Series(np.abs(rng.normal(0.002, 0.001, 80)))
    found = factor_attribution(returns, factors, cash, 12, linking)
    assert found.effects.sum() == pytest.approx(np.prod(1 + returns) - np.prod(1 + cash), abs=1e-10)
    assert found.single.drop(columns="specific").mean().sum() == pytest.approx((returns - cash).mean(), abs=1e-15)
    design = np.column_stack([np.ones(80), factors])
    assert found.fit.coefficients.iloc[0].to_numpy() == pytest.approx(np.linalg.lstsq(design, returns - cash, rcond=None)[0], abs=1e-12)


@settings(max_examples=6, deadline=None)
@given(seed=SEEDS, method=st.sampled_from(list(METHODS)), linking=st.sampled_from(LINKINGS))
def test_reports_come_back_as_they_went(seed, method, linking):
    table = random_table(seed, 5, 6)
    try:
        a = attribute(table, ("strategy", "sector"), method, linking)
    except LostAll:
        a = attribute(table, ("strategy", "sector"), method, "grap")
    report = report_of(a, "x")
    again = read_report(json.loads(json.dumps(report.to_dict())))
    assert again.to_dict() == report.to_dict() and again.excess == pytest.approx(a.excess, abs=1e-15)
    assert sum(v["total"] for v in again.segments["strategy"].values()) == pytest.approx(sum(again.effects.values()), abs=1e-10)
    for effect in a.names:
        assert explain(a, effect).value == pytest.approx(a.effects[effect], abs=1e-12)


@pytest.mark.parametrize("path, change, error, words", [
    (("effects", "selection"), 0.2, CheckFailed, "it was edited since it was stored"),
    (("by_period", "selection"), [0.0] * 4, CheckFailed, "selection by period leave"),
    (("layout",), 2, InputError, "has layout 2, this version reads 1"),
    (("more",), 1, InputError, "has an unknown 'more'"),
])
def test_edited_report_is_refused(path, change, error, words):
    stored = json.loads(json.dumps(report_of(attribute(bacon_rows())).to_dict()))
    at = stored
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = change
    with pytest.raises(error, match=words):
        read_report(stored)


def test_a_period_may_be_named_as_it_is_written():
    days = pd.bdate_range("2022-01-03", periods=3)
    rows = pd.DataFrame([dict(date=d, symbol=s, sector=s, weight=0.5, ret=r, bench_weight=v, bench_ret=r) for d in days for s, v, r in (("x", 0.6, 0.01), ("y", 0.4, -0.02))])
    a = attribute(rows)
    for name in ("2022-01-04", days[1].date(), days[1]):
        assert explain(a, "allocation", "x", name).value == explain(a, "allocation", "x", days[1]).value != 0
        assert effect_positions(a, "allocation", None, name)["effect"].sum() == pytest.approx(a.by_period().at[days[1], "allocation"], abs=1e-15)
    with pytest.raises(InputError, match="there is no period '2022-02-01': they run from 2022-01-03 to 2022-01-05$"):
        explain(a, "allocation", "x", "2022-02-01")


def test_reports_of_other_methods_are_not_compared():
    one, other = (report_of(attribute(bacon_rows(), method=m), m) for m in ("bhb", "brinson-fachler"))
    with pytest.raises(InputError, match="compare what was computed alike"):
        compare({"a": one, "b": other})
    frame = compare({"a": one, "b": one})
    assert frame.loc["a", "excess"] == pytest.approx(0.132656, abs=5e-7) and frame.loc["b", "allocation, lowest"] <= frame.loc["b", "allocation"] <= frame.loc["b", "allocation, highest"]


def test_named_errors_of_factors():
    returns, factors = pd.Series(np.linspace(-0.02, 0.03, 40)), pd.DataFrame({"a": np.sin(np.arange(40)) / 50})
    with pytest.raises(MixedUnits, match="percent beside decimals"):
        factor_attribution(returns, 100 * factors)
    with pytest.raises(TooFew, match="11 returns for 1 factors: loadings need at least 12"):
        factor_attribution(returns[:11], factors[:11])
    with pytest.raises(TooFew, match="at least 12"):
        risk_adjusted(position_table(bacon_rows()))
