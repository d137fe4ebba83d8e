"""Rules on the whole book: leverage, concentration, correlation; off by default, and a tighter one never allows more."""
from datetime import datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from otsport.core.books import Lot, Position
from otsport.core.constraints import book_caps, greek_bounds, squared_weight, top_weight
from otsport.core.contracts import stock
from otsport.core.errors import InputError
from otsport.core.intent import Target, Verdict
from otsport.core.settings import Limits
from otsport.portfolio.limits import apply_limits, average_correlation

NAMES = list("ABCDEFGH")
PRICES, NAV = dict.fromkeys(NAMES, Decimal(100)), Decimal(1_000_000)
WIDE = dict(max_position_weight=1.0, max_sector_weight=1.0, max_gross=1.0)
RULES = {"max_leverage": (0.1, 1.0), "max_top_five": (0.05, 0.9), "min_effective": (40.0, 2.0), "max_average_correlation": (-0.2, 0.9), "max_pair_correlation": (-0.2, 0.95)}


def covariance(seed: int) -> pd.DataFrame:
    x = np.random.default_rng(seed).normal(size=(40, 8)) + 0.7 * np.random.default_rng(seed + 1).normal(size=(40, 1))
    return pd.DataFrame(np.cov(x.T), NAMES, NAMES)


def limited(weights, cov=None, held=None, exposure=0.0, **rules):
    positions = {s: Position("DU1", "main", stock(s), (Lot(Decimal(n), Decimal(100), datetime(2022, 1, 3, tzinfo=timezone.utc)),)) for s, n in (held or {}).items()}
    targets, decisions = apply_limits([Target(stock(s), w) for s, w in weights.items()], Limits(**WIDE, **rules), {}, positions, PRICES, NAV, cov, exposure)
    return {t.contract.symbol: t.weight for t in targets}, decisions


weights = st.lists(st.floats(0, 0.12), min_size=8, max_size=8).map(lambda w: dict(zip(NAMES, w)))


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=8, deadline=None)
@given(weights=weights, at=st.floats(0, 1), tighter=st.floats(0, 1), seed=st.integers(0, 50), shares=st.integers(0, 900))
def test_a_tighter_limit_never_allows_more_of_anything(rule, weights, at, tighter, seed, shares):
    tight_end, wide_end = RULES[rule]
    wide = wide_end + at * (tight_end - wide_end)
    tight = wide + tighter * (tight_end - wide)
    a, b = (limited(weights, covariance(seed), {"A": shares, "B": 100}, **{rule: x})[0] for x in (wide, tight))
    assert all(b[s] <= a[s] + 1e-9 for s in NAMES) and all(a[s] <= weights[s] + 1e-12 for s in NAMES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_kept_changes_nothing_and_one_that_is_not_says_code_and_numbers(rule):
    wish, cov = dict.fromkeys(NAMES, 0.1), covariance(3)
    loose, hard = ({"min_effective": 1.0, "max_average_correlation": 1.0, "max_pair_correlation": 1.0}.get(rule, 0.99), RULES[rule][0])
    assert limited(wish, cov, **{rule: loose}) == (wish, ())
    got, decisions = limited(wish, cov, **{rule: hard})
    (code,) = book_caps(Limits(**{rule: hard}))
    clipped = {d.subject: d for d in decisions}
    assert clipped and {d.code for d in decisions} == {code} and {d.verdict for d in decisions} == {Verdict.CLIPPED}
    assert all(d.after == got[s] < d.before == 0.1 for s, d in clipped.items()) and all(any(c.isdigit() for c in d.message) for d in decisions)


def test_numbers_by_hand():
    assert limited({"A": 0.3, "B": 0.2, "C": 0.1}, max_leverage=0.3)[0] == pytest.approx({"A": 0.15, "B": 0.1, "C": 0.05})
    assert limited({"A": 0.3, "B": 0.2, "C": 0.1}, exposure=0.2, max_leverage=0.5)[0] == pytest.approx({"A": 0.15, "B": 0.1, "C": 0.05})
    got, _ = limited(dict(zip(NAMES, (0.2, 0.2, 0.1, 0.1, 0.1, 0.1))), max_top_five=0.5)
    assert got == pytest.approx(dict.fromkeys(NAMES[:6], 0.1)) and top_weight(got) == pytest.approx(0.5)
    got, _ = limited({"A": 0.5, "B": 0.1}, min_effective=20)
    assert squared_weight(got) == pytest.approx(1 / 20) and got["B"] == 0.1 and got["A"] == pytest.approx(0.2)


def test_correlation_rules_stop_additions_and_sell_nothing():
    cov = pd.DataFrame([[1, 0.95, 0.1], [0.95, 1, 0.1], [0.1, 0.1, 1]], list("ABC"), list("ABC"))
    wish = {"A": 0.10, "B": 0.09, "C": 0.08}
    got, (decision,) = limited(wish, cov, {"B": 500}, max_pair_correlation=0.9)
    assert got == pytest.approx({"A": 0.10, "B": 0.05, "C": 0.08}) and "0.95 with A, 0.90 allowed" in decision.message
    assert average_correlation(wish, cov) > 0.3
    assert limited(wish, cov, {"B": 500}, max_average_correlation=0.3)[0] == pytest.approx({"A": 0.0, "B": 0.05, "C": 0.0})
    with pytest.raises(InputError, match="give the covariance of every target"):
        limited(wish, None, max_pair_correlation=0.9)
    with pytest.raises(InputError, match="C is missing"):
        limited(wish, cov.drop("C").drop(columns="C"), max_average_correlation=0.3)


def test_nothing_of_it_is_there_by_default():
    assert book_caps(Limits()) == {} and greek_bounds(Limits(), 1e6) == ()
