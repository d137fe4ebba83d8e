"""Hedges: the cheapest in whole contracts against brute force, bounds kept at real bid and ask on the AAPL chain, clashes named."""
import itertools
import math
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from otsport.analytics.marks import position_frame, valued
from otsport.analytics.positions import HeldLeg, held_legs
from otsport.analytics.stress import stress
from otsport.core.contracts import Quote, option, stock
from otsport.core.errors import InputError, SolverError
from otsport.core.venues import commission_estimate
from otsport.core.constraints import GreekBound, LossBound
from otsport.portfolio.hedges import choose_hedge, judge_bounds

NOW = datetime(2022, 12, 28, 21, tzinfo=timezone.utc)
SPOT = 63.0
EXPIRY = date(2023, 2, 17)
QUOTES = [  # modelled by hand: about 20 % of vol
    Quote(option("KO", EXPIRY, 60, "P"), NOW, 0.70, 0.76, 2, 3), Quote(option("KO", EXPIRY, 63, "P"), NOW, 1.75, 1.85, 2, 2),
    Quote(option("KO", EXPIRY, 66, "C"), NOW, 0.85, 0.89, 3, 2),
]
SHARES = Quote(stock("KO"), NOW, 62.99, 63.01, 400, 400)
TERMS = dict(spot=SPOT, as_of=NOW, rate=0.04, div_yield=0.028)
BOOK = [(-3, "KO 20230217 C 66"), (-1, "KO 20230217 P 60")]


def unit_rows(quotes, bounds):
    v = valued([HeldLeg(q.contract.key, 1.0, q.contract, bid=q.bid, ask=q.ask) for q in quotes], NOW, SPOT, rate=0.04, div_yield=0.028)
    return v, [_measure(v, b) for b in bounds]


def _measure(v, bound):
    if isinstance(bound, LossBound):
        return stress(v, bound.spots, bound.vols, bound.days).by_position.reshape(len(v.legs), -1)
    frame = position_frame(v)
    return frame[{"delta": "dollar_delta", "gamma": "dollar_gamma", "vega": "vega_point", "theta": "theta_day"}[bound.greek]].to_numpy()[:, None]


def brute(bounds, cost="spread"):
    "Every number of contracts within the quoted sizes, each priced alone."
    _, units = unit_rows(QUOTES, bounds)
    legs = [replace(leg, bid=q.bid, ask=q.ask) for leg, q in zip(held_legs(BOOK)[0], (QUOTES[2], QUOTES[0]))]
    v = valued(legs, NOW, SPOT, rate=0.04, div_yield=0.028)
    held, best = [_measure(v, b).sum(axis=0) for b in bounds], (math.inf, None)
    for qty in itertools.product(*(range(-int(q.bid_size), int(q.ask_size) + 1) for q in QUOTES)):
        after = [h + np.array(qty) @ u for h, u in zip(held, units)]
        if not all((a >= (-b.most if isinstance(b, LossBound) else b.low) - 1e-6).all() and (a <= (np.inf if isinstance(b, LossBound) else b.high) + 1e-6).all() for a, b in zip(after, bounds)):
            continue
        fees = sum(float(commission_estimate(q.contract, Decimal(abs(n)))) for q, n in zip(QUOTES, qty))
        half = sum(abs(n) * (q.ask - q.bid) / 2 * 100 for q, n in zip(QUOTES, qty))
        paid = sum(n * (q.ask if n > 0 else q.bid) * 100 for q, n in zip(QUOTES, qty))
        best = min(best, (fees + (half if cost == "spread" else paid), qty))
    return best


SETS = [
    [GreekBound("delta", -4_000, 2_000), GreekBound("vega", -20, 20)],
    [GreekBound("vega", -8, 8)], [GreekBound("gamma", -200, 200), GreekBound("theta", -5, 5)],
    [LossBound(900.0)], [GreekBound("delta", -3_000, 3_000), LossBound(1_500.0, vols=(0.0, 0.5))], [GreekBound("delta", -1e6, 1e6)],
]


@pytest.mark.parametrize("bounds", SETS, ids=range(len(SETS)))
@pytest.mark.parametrize("cost", ["spread", "cash"])
def test_no_hedge_is_cheaper(bounds, cost):
    best, qty = brute(bounds, cost)
    if qty is None:
        with pytest.raises(SolverError, match="these clash"):
            choose_hedge(BOOK, QUOTES, bounds, cost=cost, **TERMS)
        return
    found = choose_hedge(BOOK, QUOTES, bounds, cost=cost, **TERMS)
    assert (found.cost if cost == "spread" else found.cash) == pytest.approx(best, abs=1e-6)
    assert all(d.accepted for d in found.after) and all(t.qty == int(t.qty) for t in found.trades)


def test_what_is_told_is_what_is_held_after_the_trades():
    """Positions and trades together, valued anew: the Greeks and the judgement are those of the answer."""
    bounds = SETS[0]
    found = choose_hedge(BOOK, [*QUOTES, SHARES], bounds, **TERMS)
    known = {q.contract: q for q in QUOTES}
    legs = [replace(leg, bid=known[leg.contract].bid, ask=known[leg.contract].ask) if leg.contract in known else leg
            for leg in held_legs([*BOOK, *((t.qty, t.contract) for t in found.trades)])[0]]
    v = valued(legs, NOW, SPOT, rate=0.04, div_yield=0.028)
    assert position_frame(v)["dollar_delta"].sum() == pytest.approx(found.totals.loc["delta", "after"])
    assert position_frame(v)["vega_point"].sum() == pytest.approx(found.totals.loc["vega", "after"])
    assert [d.code for d in judge_bounds(v, bounds)] == ["OK", "OK"] and any(d.code != "OK" for d in found.before)
    assert found.cash == pytest.approx(sum(t.qty * t.price * t.contract.multiplier for t in found.trades) + sum(t.commission for t in found.trades))
    assert all(f"{x:,.2f}" in repr(found) for x in (found.cost,)) and "<table" in found._repr_html_()


def test_more_quotes_and_wider_bounds_never_cost_more():
    costs = [choose_hedge(BOOK, [*QUOTES, SHARES], [GreekBound("delta", -w, w), GreekBound("vega", -40, 40)], **TERMS).cost for w in (200, 1_000, 5_000, 50_000)]
    assert costs == sorted(costs, reverse=True)
    assert choose_hedge(BOOK, [*QUOTES, SHARES], SETS[0], **TERMS).cost <= choose_hedge(BOOK, QUOTES, SETS[0], **TERMS).cost + 1e-9


def test_order_of_the_quotes_does_not_matter():
    one, other = (choose_hedge(BOOK, quotes, SETS[0], **TERMS) for quotes in ([*QUOTES, SHARES], [SHARES, *QUOTES[::-1]]))
    assert one.cost == pytest.approx(other.cost)  # several may cost as little


def test_only_bought_where_selling_is_not_wished():
    found = choose_hedge(BOOK, [*QUOTES, SHARES], [GreekBound("vega", -15, 15)], sell=False, **TERMS)
    assert found.trades and all(t.qty > 0 for t in found.trades) and found.requirement[1] <= found.requirement[0]


def test_bounds_that_clash_are_a_smallest_set():
    """Shares have no vega: the vega bound alone cannot be met; the delta bound is innocent and not named."""
    with pytest.raises(SolverError) as told:
        choose_hedge(BOOK, [SHARES], [GreekBound("delta", -5e4, 5e4), GreekBound("vega", -1, 1)], vol=0.2, **TERMS)
    assert "vega between -1 and 1" in str(told.value) and "delta" not in str(told.value) and "sizes" not in str(told.value)
    small = [replace(q, bid_size=1, ask_size=1) for q in QUOTES]
    with pytest.raises(SolverError, match="vega.*the sizes of the quotes"):
        choose_hedge([(-30, "KO 20230217 C 66")], small, [GreekBound("vega", -20, 20)], **TERMS)
    assert choose_hedge([(-30, "KO 20230217 C 66")], [replace(q, bid_size=90, ask_size=90) for q in QUOTES], [GreekBound("vega", -20, 20)], **TERMS).trades


def test_quotes_that_cannot_be_traded_are_left_out_and_told():
    dead = [Quote(option("KO", EXPIRY, 40, "P"), NOW, 0.0, 0.05, 0, 9), Quote(option("KO", EXPIRY, 90, "C"), NOW, math.nan, 0.05, 0, 9), Quote(option("KO", EXPIRY, 62, "P"), NOW, 1.3, 1.4)]
    found = choose_hedge(BOOK, [*QUOTES, *dead], SETS[0], **TERMS)
    assert {key for key, _ in found.left_out} == {q.contract.key for q in dead} and found.candidates == 3
    assert "tells no size" in dict(found.left_out)["KO 20230217 P 62"]
    assert choose_hedge(BOOK, [*QUOTES, *dead], SETS[0], size=2, **TERMS).candidates == 4


@pytest.mark.parametrize("call, words", [
    (lambda: GreekBound("rho", 0, 1), "rho"), (lambda: GreekBound("vega", 2, 1), "low not above high"), (lambda: GreekBound("vega", math.nan, 1), "low not above"),
    (lambda: LossBound(-5), "dollars, 0 or more"), (lambda: choose_hedge(BOOK, QUOTES, [], **TERMS), "no bounds"),
    (lambda: choose_hedge(BOOK, [], SETS[0], vol=0.2, **TERMS), "none of 0 quotes"),
    (lambda: choose_hedge([(1, "KO 20230217 C 50")], QUOTES, SETS[0], **TERMS), "KO 20230217 C 50 has no Greeks"),
    (lambda: choose_hedge(BOOK, QUOTES, SETS[0], cost="least", **TERMS), "cost 'least'"),
    (lambda: choose_hedge(BOOK, QUOTES, SETS[0], SPOT, NOW, rate=4), "rate '4'.*annual decimal"), (lambda: choose_hedge([(1, "KO 20230217 C 50")], QUOTES, SETS[0], vol=20, **TERMS), "vol '20'.*annual decimal"),
])
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()


# ---------------------------------------------------------------- a real chain

@pytest.fixture(scope="module")
def aapl(shared_data):
    """The last hour of Friday 2014-06-06, expiries of June and July, strikes within a tenth of the spot: real bids, asks and sizes."""
    table = pd.read_parquet(shared_data / "aapl_option_hour_quotes.parquet", filters=[("time", "==", pd.Timestamp("2014-06-06 15:00", tz="America/New_York"))])
    as_of, spot = datetime(2014, 6, 6, 20, tzinfo=timezone.utc), 645.57
    near = table[table["expiry"].isin([pd.Timestamp("2014-06-21"), pd.Timestamp("2014-07-19")]) & (table["strike"].sub(spot).abs() < 0.1 * spot)]
    return [Quote(option("AAPL", r.expiry.date(), r.strike, r.right), as_of, r.bid_close, r.ask_close, r.bid_size, r.ask_size, source="given") for r in near.itertuples()], spot, as_of


def test_hedge_on_the_real_aapl_chain(aapl):
    """A short strangle of 20 with shares: delta and vega come inside their bounds at real bid and ask, in whole contracts, with the cost told."""
    quotes, spot, as_of = aapl
    book = [(-20, "AAPL 20140719 C 680"), (-20, "AAPL 20140719 P 610"), (500, "AAPL")]
    bounds = [GreekBound("delta", -20_000, 20_000), GreekBound("vega", -500, 500)]
    found = choose_hedge(book, quotes, bounds, spot, as_of, rate=0.0075)
    by_key = {q.contract.key: q for q in quotes}
    assert [d.code for d in found.before] == ["DELTA", "VEGA"] and [d.code for d in found.after] == ["OK", "OK"]
    for t in found.trades:
        quote = by_key[t.contract.key]
        assert t.price == (quote.ask if t.qty > 0 else quote.bid) and 0 < abs(t.qty) <= (quote.ask_size if t.qty > 0 else quote.bid_size)
    assert found.cost == pytest.approx(sum(abs(t.qty) * (by_key[t.contract.key].ask - by_key[t.contract.key].bid) * 50 + t.commission for t in found.trades))
    assert 0 < found.cost < 3_000 and abs(found.totals.loc["vega", "after"]) <= 500 + 1e-6
    legs = [replace(leg, bid=by_key[leg.contract.key].bid, ask=by_key[leg.contract.key].ask) if leg.contract.key in by_key else leg
            for leg in held_legs([*book, *((t.qty, t.contract) for t in found.trades)])[0]]
    assert all(d.accepted for d in judge_bounds(valued(legs, as_of, spot, rate=0.0075), bounds))
