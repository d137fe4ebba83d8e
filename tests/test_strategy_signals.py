"""Momentum and covered-call signals, and the coordinator that makes views of them."""
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.options import bsm_delta, bsm_price
from otsport.core.calendars import last_sessions, session_close, years_to_expiry
from otsport.core.errors import DataError, InputError, LookAhead, NoPrices
from otsport.core.contracts import OptionChain, Quote, option, stock
from otsport.core.intent import Intent, Signal, SignalType
from otsport.data.samples import history
from otsport.strategy.coordinator import coordinate, outcome_counts
from otsport.strategy.strategies import call_candidates, covered_call_signals, momentum_scores, momentum_signals, quote_delta

DAY = date(2022, 12, 27)
AS_OF = session_close(DAY)


def random_closes(seed=0, symbols="ABCDEFGHIJ"):
    rng = np.random.default_rng(seed)
    values = 100 * np.exp(np.cumsum(rng.normal(0.0005, 0.02, (260, len(symbols))), axis=0))
    return pd.DataFrame(values, pd.DatetimeIndex(last_sessions(DAY, 260)), list(symbols))


def test_momentum_scores_equal_naive():
    closes = random_closes()
    scores = momentum_scores(closes)
    for symbol in closes:
        column = closes[symbol].tolist()
        assert scores[symbol] == pytest.approx(column[-22] / column[-253] - 1)
    assert scores.is_monotonic_decreasing


def test_momentum_ignores_last_month_and_anything_older():
    closes = random_closes()
    changed = closes.copy()
    changed.iloc[-21:] *= 3.0
    changed.iloc[:7] *= 0.1  # 260 rows: the window begins at row 7
    pd.testing.assert_series_equal(momentum_scores(changed), momentum_scores(closes))


def test_momentum_ties_by_symbol():
    closes = random_closes(symbols="BA")
    closes["A"] = closes["B"]
    assert list(momentum_scores(closes).index) == ["A", "B"]


@given(st.permutations(list("ABCDEFGHIJ")))
@settings(max_examples=10)
def test_momentum_order_of_columns_is_immaterial(order):
    closes = random_closes()
    assert momentum_signals(closes[list(order)], AS_OF) == momentum_signals(closes, AS_OF)


def test_momentum_signals_confidence_and_count():
    signals = momentum_signals(random_closes(3), AS_OF, top=8)
    assert 1 <= len(signals) <= 8 and all(0.6 <= s.confidence <= 0.9 and s.expected_return > 0 for s in signals)
    assert signals[0].confidence == 0.9 and list(signals) == sorted(signals, key=lambda s: -s.expected_return)


def test_momentum_all_fell_gives_no_signal():
    closes = random_closes()
    falling = pd.DataFrame(np.linspace(100, 50, 260)[:, None] * np.ones(10), closes.index, closes.columns)
    assert momentum_signals(falling, AS_OF) == ()


def test_momentum_refuses_future_short_and_missing():
    closes = random_closes()
    with pytest.raises(LookAhead, match="2022-12-27"):
        momentum_signals(closes, AS_OF - timedelta(minutes=1))
    with pytest.raises(NoPrices, match="253 closes, 252"):
        momentum_signals(closes.iloc[-252:], AS_OF)
    closes.iloc[-22, 3] = np.nan
    with pytest.raises(NoPrices, match="no close of D"):
        momentum_signals(closes, AS_OF)
    with pytest.raises(InputError, match="top is 0"):
        momentum_signals(closes, AS_OF, top=0)


def test_momentum_signal_survives_a_long_weekend():
    closes = history().closes(session_close(date(2001, 9, 10)), sessions=260)
    signal = momentum_signals(closes, session_close(date(2001, 9, 10)))[0]
    assert signal.ts + timedelta(seconds=signal.ttl_seconds) == session_close(date(2001, 9, 17))  # the exchange was closed for a week


def test_momentum_sees_nothing_later_than_as_of():
    past, today = (history().closes(session_close(d)) for d in (date(2015, 6, 1), date(2022, 12, 27)))
    truncated = today.loc[: past.index[-1]]
    assert momentum_signals(past, session_close(date(2015, 6, 1))) == momentum_signals(truncated, session_close(date(2015, 6, 1)))


# covered calls
CHAIN = OptionChain("KO", (date(2022, 12, 30), date(2023, 1, 20), date(2023, 2, 17)), tuple(Decimal(k) for k in ("55", "60", "62.5", "65", "67.5", "70", "75")))


def quoted(contract, spot, vol, half=0.02):
    value = bsm_price(spot, float(contract.strike), years_to_expiry(AS_OF, contract.expiry), 0, 0, vol, contract.right)
    return Quote(contract, AS_OF, float(value - half), float(value + half), source="modelled")


def chosen(vol, spot=63.5, coverable=3):
    quotes = {c.key: quoted(c, spot, vol) for c in call_candidates(CHAIN, spot, AS_OF)}
    return covered_call_signals({"KO": coverable}, {"KO": CHAIN}, quotes, {"KO": spot}, AS_OF)


@pytest.mark.parametrize("vol", [0.15, 0.2, 0.3, 0.5, 0.9])
def test_covered_call_strike_is_nearest_to_quarter_delta(vol):
    (signal,), refusals = chosen(vol)
    candidates = call_candidates(CHAIN, 63.5, AS_OF)
    tau = years_to_expiry(AS_OF, date(2023, 1, 20))
    deltas = {c: abs(float(bsm_delta(63.5, float(c.strike), tau, 0, 0, vol, "C")) - 0.25) for c in candidates}
    assert signal.contract == min(deltas, key=deltas.get) and refusals == ()
    assert signal.contract.expiry == date(2023, 1, 20) and signal.contract.strike > Decimal("63.5")
    assert signal.signal_type is SignalType.SELL_CALL and signal.max_loss == 0


def test_covered_call_small_premium_is_refused():
    signals, (refusal,) = chosen(0.085)
    assert signals == () and refusal.code == "SMALL_PREMIUM" and "below 0.10" in refusal.message


def test_covered_call_nothing_to_cover():
    assert chosen(0.3, coverable=0) == ((), ())


def test_covered_call_crossed_and_one_sided_quotes_are_not_used():
    candidates = call_candidates(CHAIN, 63.5, AS_OF)
    crossed = {c.key: Quote(c, AS_OF, 1.0, 0.9) for c in candidates}
    one_sided = {c.key: Quote(c, AS_OF, 0.0, 0.9) for c in candidates}
    for quotes in (crossed, one_sided, {}):
        signals, (refusal,) = covered_call_signals({"KO": 1}, {"KO": CHAIN}, quotes, {"KO": 63.5}, AS_OF)
        assert signals == () and refusal.code == "NO_QUOTE"


def test_quote_delta_outside_no_arbitrage_is_nan():
    call = option("KO", date(2023, 1, 20), "60", "C")
    assert np.isnan(quote_delta(Quote(call, AS_OF, 3.0, 3.2), 63.5, AS_OF))  # below intrinsic 3.50
    assert np.isnan(quote_delta(quoted(call, 63.5, 0.2), 63.5, session_close(date(2023, 1, 20))))  # expired


def test_covered_call_without_chain_is_an_error():
    with pytest.raises(DataError, match="KO can be covered but has no option chain"):
        covered_call_signals({"KO": 1}, {}, {}, {"KO": 63.5}, AS_OF)


# coordinator
NOW = AS_OF + timedelta(hours=17)
CALL = option("KO", date(2023, 1, 20), "65", "C")


def signals():
    strategy = st.sampled_from(["a", "b", "c"])
    contract = st.sampled_from([(stock("KO"), SignalType.BUY), (stock("KO"), SignalType.SELL), (stock("PEP"), SignalType.BUY), (CALL, SignalType.SELL_CALL), (CALL, SignalType.BUY), (CALL, SignalType.BUY_CALL)])
    return st.builds(
        lambda number, strategy, pair, confidence, gain, age, ttl, intent: Signal(f"s{number}", strategy, *pair, confidence, gain, 0.05, NOW - timedelta(hours=age), ttl, intent),
        st.integers(0, 6), strategy, contract, st.floats(0, 1), st.floats(-0.5, 0.5) | st.sampled_from([float("inf"), float("nan")]), st.integers(-2, 40), st.sampled_from([3600.0, 86_400.0]), st.sampled_from(list(Intent)),
    )


@given(st.lists(signals(), max_size=12), st.randoms())
@settings(max_examples=200)
def test_coordinate_every_signal_ends_once_and_order_is_immaterial(incoming, random):
    views, outcomes = coordinate(incoming, NOW)
    assert sorted(map(repr, (o.signal for o in outcomes))) == sorted(map(repr, incoming))
    assert sum(outcome_counts(outcomes).values()) == len(incoming) and all(o.reason for o in outcomes)
    assert len({v.contract.key for v in views}) == len(views)
    for view in views:
        assert sum(share for _, share in view.sources) == pytest.approx(1) and 0 <= view.confidence <= 1
        assert sum(o.outcome == "MERGED" and o.signal.contract == view.contract for o in outcomes) == len(view.sources)
    shuffled = list(incoming)
    random.shuffle(shuffled)
    assert coordinate(shuffled, NOW) == (views, outcomes)


BUY = Signal("m:KO", "momentum", stock("KO"), SignalType.BUY, 0.8, 0.1, 0.05, AS_OF)


@pytest.mark.parametrize("change, outcome, words", [
    ({}, "MERGED", "share 100%"),
    ({"ttl_seconds": 60.0}, "EXPIRED", "lived 60 s"),
    ({"ts": NOW + timedelta(seconds=1)}, "REJECTED", "known only at"),
    ({"contract": CALL}, "REJECTED", "does not fit"),
    ({"signal_type": SignalType.SELL_PUT, "contract": CALL}, "REJECTED", "does not fit"),
    ({"expected_return": float("nan")}, "REJECTED", "expected return is nan"),
    ({"max_loss": -0.1}, "REJECTED", "max loss -0.1"),
])
def test_coordinate_outcome(change, outcome, words):
    _, (result,) = coordinate([replace(BUY, **change)], NOW)
    assert result.outcome == outcome and words in result.reason


def test_coordinate_expires_exactly_at_its_time_to_live():
    signal = replace(BUY, ttl_seconds=3600.0)
    assert coordinate([signal], AS_OF + timedelta(seconds=3599))[1][0].outcome == "MERGED"
    assert coordinate([signal], AS_OF + timedelta(seconds=3600))[1][0].outcome == "EXPIRED"


def test_coordinate_naive_now_is_an_error():
    with pytest.raises(InputError, match="no time zone"):
        coordinate([BUY], datetime(2022, 12, 28))


def test_coordinate_opposite_sides_tie_goes_to_the_seller():
    sell = replace(BUY, signal_id="v:KO", strategy_id="value", signal_type=SignalType.SELL)
    (view,), outcomes = coordinate([BUY, sell], NOW)
    assert view.expected_return == -0.1 and outcome_counts(outcomes) == {"MERGED": 1, "REJECTED": 1}


def test_momentum_takes_no_close_of_nothing_for_a_price():
    closes = random_closes()
    closes.iloc[-253, 3] = 0.0
    with pytest.raises(NoPrices, match="no close of D"):
        momentum_signals(closes, AS_OF)


def test_momentum_of_nothing_is_no_signal_and_one_stock_may_be_wished_for():
    closes = random_closes()
    flat = pd.DataFrame(100.0, closes.index, closes.columns)
    assert momentum_signals(flat, AS_OF) == ()
    flat.iloc[-22, 4] = 100.1
    assert [s.contract.symbol for s in momentum_signals(flat, AS_OF, top=1)] == ["E"]


def test_covered_call_expects_its_bid_over_the_spot_for_the_time_that_it_runs():
    (signal,), _ = chosen(0.3)
    bid = quoted(signal.contract, 63.5, 0.3).bid
    assert signal.expected_return == pytest.approx(bid / 63.5 / years_to_expiry(AS_OF, date(2023, 1, 20)))
    assert signal.ts + timedelta(seconds=signal.ttl_seconds) == session_close(date(2022, 12, 28))


@pytest.mark.parametrize("spot", [0.0, float("nan"), None])
def test_covered_call_without_a_spot_is_an_error(spot):
    with pytest.raises(DataError, match="no option chain or no spot"):
        covered_call_signals({"KO": 1}, {"KO": CHAIN}, {}, {} if spot is None else {"KO": spot}, AS_OF)


def test_call_candidates_lie_above_the_spot_and_up_to_the_widest_strike():
    assert [float(c.strike) for c in call_candidates(CHAIN, 60.0, AS_OF)] == [62.5, 65.0, 67.5, 70.0, 75.0]
    assert {c.expiry for c in call_candidates(CHAIN, 60.0, AS_OF, min_days=24)} == {date(2023, 1, 20)}
    assert {c.expiry for c in call_candidates(CHAIN, 60.0, AS_OF, min_days=25)} == {date(2023, 2, 17)}
    assert call_candidates(CHAIN, 60.0, AS_OF, min_days=60) == ()


def test_covered_call_bid_of_just_the_least_premium_is_taken():
    call = option("KO", date(2023, 1, 20), "65", "C")
    quotes = {call.key: Quote(call, AS_OF, 0.10, 0.14)}
    (sold,), refusals = covered_call_signals({"KO": 1}, {"KO": CHAIN}, quotes, {"KO": 63.5}, AS_OF)
    assert sold.contract == call and refusals == ()


def test_one_id_is_one_signal_and_the_newest_of_a_strategy_replaces_its_older_ones():
    twin = replace(BUY, strategy_id="value", contract=stock("PEP"))
    views, outcomes = coordinate([BUY, twin], NOW)
    assert [v.contract.symbol for v in views] == ["KO"]
    assert [o.reason for o in outcomes if o.outcome == "REJECTED"] == ["duplicate of signal m:KO"]
    newer = replace(BUY, signal_id="m:KO:2", ts=BUY.ts + timedelta(hours=1), expected_return=0.2)
    (view,), outcomes = coordinate([BUY, newer], NOW)
    assert view.expected_return == 0.2 and [o.reason for o in outcomes if o.outcome == "REJECTED"] == ["replaced by m:KO:2, newer or first of its time"]


@pytest.mark.parametrize("name, better", [("confidence", 0.9), ("expected_return", 0.2), ("max_loss", 0.01)])
def test_of_two_signals_alike_the_better_one_counts(name, better):
    (view,), _ = coordinate([BUY, replace(BUY, **{name: better})], NOW)
    assert getattr(view, name) == better


def test_signals_without_confidence_share_alike():
    doubts = [replace(BUY, signal_id=s, strategy_id=s, confidence=0.0) for s in ("a", "b")]
    (view,), _ = coordinate(doubts, NOW)
    assert view.sources == (("a", 0.5), ("b", 0.5)) and view.confidence == 0.0 and view.expected_return == pytest.approx(0.1)


def test_among_exits_of_both_sides_the_newest_prevails():
    older = replace(BUY, signal_id="a", strategy_id="a", intent=Intent.CLOSE)
    newer = replace(older, signal_id="b", strategy_id="b", signal_type=SignalType.SELL, ts=older.ts + timedelta(hours=1), confidence=0.1)
    (view,), _ = coordinate([older, newer], NOW)
    assert view.sources == (("b", 1.0),) and view.expected_return == -0.1


def test_more_confidence_prevails_between_sides_and_an_exit_before_it():
    sells = [replace(BUY, signal_id=s, strategy_id=s, signal_type=SignalType.SELL, confidence=0.45) for s in ("x", "y")]
    (view,), _ = coordinate([BUY, *sells], NOW)
    assert view.expected_return == -0.1 and view.confidence == pytest.approx(0.45)
    (view,), _ = coordinate([replace(BUY, intent=Intent.REDUCE), *sells], NOW)
    assert view.expected_return == 0.1


def test_signal_of_this_very_instant_counts_and_one_of_boundless_loss_does_not():
    assert coordinate([replace(BUY, ts=NOW)], NOW)[1][0].outcome == "MERGED"
    assert coordinate([replace(BUY, max_loss=0.0)], NOW)[1][0].outcome == "MERGED"
    assert coordinate([replace(BUY, max_loss=float("inf"))], NOW)[1][0].outcome == "REJECTED"
