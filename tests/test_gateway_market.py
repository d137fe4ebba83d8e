"""The replayed market: real closes at the ends, nothing of the future before it is due, the same for the same seed."""
import math
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.analytics.options import bsm_price
from otsport.core.calendars import last_sessions, next_session, previous_session, session_close, session_open, years_to_expiry
from otsport.core.errors import NoPrices
from otsport.core.contracts import Right, option, stock
from otsport.core.orders import OrderType, Side
from otsport.core.units import from_float
from otsport.core.venues import stock_tick
from otsport.data.market import stamped
from otsport.data.samples import history
from otsport.core.venues import tick_of
from otsport.gateway.exchange import Exchange
from otsport.gateway.journal import Ticket
from otsport.gateway.market import EXPIRIES, KEPT_SESSIONS, Market, listed_expiries, option_sides, option_vols, session_steps, stock_sides, strike_grid

DAY = date(2018, 10, 10)
HALF_DAY = date(2022, 11, 25)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(history(), seed=7)


def altered(day: date, factor: float) -> Market:
    "A market whose close of `day` is another one, the seed the same."
    frame = history().stock_table.frame.copy()
    frame.loc[pd.Timestamp(day)] *= factor
    return Market(replace(history(), stock_table=stamped("altered", frame)), seed=7)


def contracts(market: Market, day: date):
    "Two stocks, and options near the money of each listed expiry."
    for symbol in ("KO", "AAPL"):
        yield stock(symbol)
        chain = market.chain(symbol, day)
        for expiry in chain.expiries:
            for strike in chain.strikes[:: max(1, len(chain.strikes) // 4)]:
                yield from (option(symbol, expiry, strike, right) for right in Right)


COMPILED = """
from datetime import date
from otsport.core.contracts import option
from otsport.data.samples import history
from otsport.gateway.market import Market, implied_numbers
from otsport.kernels import options
made = lambda: sum(len(f.signatures) for f in vars(options).values() if hasattr(f, "signatures"))
day, before = date(2022, 12, 28), made()
market = Market(history(), 7)
ready, call = made(), option("KO", date(2023, 1, 20), "65", "C")
implied_numbers(call, market.quote(call, day, 10).mid, 62.6, market.session_steps(day)[10])
print(before, ready, made())
"""


def test_a_market_that_is_made_has_compiled_what_quotes_need():
    """A gateway that compiles while a client waits answers nobody: on a busy machine the client gives up."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    before, ready, after = map(int, done.stdout.split())
    assert before == 0 < ready == after, done.stderr


# ---------------------------------------------------------------- what is real

@pytest.mark.parametrize("day", [date(1990, 4, 2), date(2001, 9, 17), date(2008, 10, 13), DAY, HALF_DAY, date(2022, 12, 28)])
def test_official_closes_reproduce_the_bundled_prices(market, day):
    real = history().stock_table.frame.loc[pd.Timestamp(day)]
    closing = session_steps(day).index(session_close(day))
    for symbol in market.symbols:
        tick = stock_tick(real[symbol])
        official = market.official_close(symbol, day)
        assert official == from_float(real[symbol], tick) and abs(float(official) - real[symbol]) <= float(tick) / 2 + 1e-12
        assert [market.quote(stock(symbol), day, s).last for s in (closing, -1)] == [float(official)] * 2
        assert market.quote(stock(symbol), day, 0).last == float(market.official_close(symbol, previous_session(day)))


def test_close_of_one_session_is_the_previous_close_of_the_next(market):
    for day in last_sessions(date(2022, 12, 28), 5)[1:]:
        assert market.quote(stock("XOM"), day, 3).close == float(market.official_close("XOM", previous_session(day)))


def test_sessions_that_cannot_be_replayed_are_refused(market):
    assert not market.has_prices(date(2022, 12, 29)) and not market.has_prices(date(2022, 12, 24)) and not market.has_prices(date(1990, 3, 1))
    assert market.has_prices(market.first) and not market.has_prices(previous_session(market.first))
    assert market.quote(stock("KO"), market.first, 5).two_sided
    for day in (date(2022, 12, 29), date(2022, 12, 24), previous_session(market.first)):
        with pytest.raises(NoPrices, match="cannot be replayed"):
            market.quote(stock("KO"), day, 0)


def test_steps_follow_the_calendar():
    for day, trading in ((DAY, 79), (HALF_DAY, 43)):
        steps = session_steps(day)
        assert len(steps) == 6 + trading + 60 and list(steps) == sorted(set(steps))
        assert (steps[0], steps[6], steps[5 + trading]) == (session_open(day) - timedelta(minutes=30), session_open(day), session_close(day))
        assert steps[-1] < session_open(next_session(day)) - timedelta(minutes=30)


# ---------------------------------------------------------------- what may be known

def test_pre_open_quotes_do_not_know_the_close_of_the_session(market):
    other = altered(DAY, 3.0)
    assert all(other.quote(c, DAY, step) == market.quote(c, DAY, step) for c in contracts(market, DAY) for step in range(6))
    assert other.chain("KO", DAY) == market.chain("KO", DAY)
    assert all(other.quote(stock(s), DAY, 6) != market.quote(stock(s), DAY, 6) for s in ("KO", "AAPL"))  # the check can fail


def test_no_quote_knows_a_later_session(market):
    other = altered(next_session(DAY), 3.0)
    steps = range(len(session_steps(DAY)))
    assert all(other.quote(c, DAY, s) == market.quote(c, DAY, s) for c in contracts(market, DAY) for s in steps)
    assert other.official_close("KO", next_session(DAY)) != market.official_close("KO", next_session(DAY))


def test_pre_open_quotes_do_know_the_previous_close(market):
    other = altered(previous_session(DAY), 1.01)
    assert other.quote(stock("KO"), DAY, 0) != market.quote(stock("KO"), DAY, 0)


# ---------------------------------------------------------------- determinism

def test_same_seed_gives_the_same_market_whoever_asks_first(market):
    again = Market(history(), seed=7)
    wanted = [(c, s) for s in (80, 3, 0, 41) for c in contracts(market, DAY)]
    for day in last_sessions(date(2018, 12, 31), KEPT_SESSIONS + 2):
        again.quote(stock("KO"), day, 1)  # other sessions come and go first
    assert [again.quote(c, DAY, s) for c, s in reversed(wanted)] == [market.quote(c, DAY, s) for c, s in reversed(wanted)]


def test_another_seed_gives_another_path_to_the_same_close(market):
    other = Market(history(), seed=8)
    path = lambda m: [m.quote(stock("KO"), DAY, s).last for s in range(85)]
    ours, theirs = path(market), path(other)
    assert ours[:6] == theirs[:6] and ours[84] == theirs[84] and ours[6:84] != theirs[6:84]


def test_sessions_are_dropped_after_use(market):
    for day in last_sessions(date(2022, 12, 28), 8):
        market.quote(option("KO", date(2023, 1, 20), Decimal(65), "C"), day, 1)
    assert len(market._sessions) <= KEPT_SESSIONS
    assert {d for d, _ in market._sheets} | {d for d, _, _ in market._quotes} <= set(market._sessions)


# ---------------------------------------------------------------- quotes

@pytest.mark.parametrize("day", [date(1990, 4, 2), DAY, HALF_DAY, date(2022, 12, 16)])
def test_quotes_are_two_sided_on_ticks_and_modelled(market, day):
    for contract in contracts(market, day):
        for step in (0, 1, 20, len(session_steps(day)) - 61, len(session_steps(day)) - 1):
            quote = market.quote(contract, day, step)
            assert quote.source == "modelled" and quote.ts == session_steps(day)[step] and quote.ask > quote.bid >= 0
            for price in (quote.bid, quote.ask):
                exact = Decimal(repr(price))
                assert exact % tick_of(contract, exact) == 0
            low, high = (5, 50) if contract.is_option else (300, 2000)
            assert low <= quote.ask_size <= high and (low <= quote.bid_size <= high or (quote.bid == 0 and quote.bid_size == 0))
            if not contract.is_option:
                assert quote.bid <= quote.last <= quote.ask


def test_worthless_option_has_no_bid(market):
    day = date(2022, 12, 16)
    quote = market.quote(option("KO", day, Decimal(80), "C"), day, 70)
    assert (quote.bid, quote.bid_size, quote.ask) == (0.0, 0, 0.01) and quote.ask_size > 0 and not quote.two_sided


def test_displayed_sizes_differ_by_contract_step_and_seed(market):
    sizes = lambda m, symbol: [(q.bid_size, q.ask_size) for q in (m.quote(stock(symbol), DAY, s) for s in range(80))]
    ours = sizes(market, "KO")
    assert len(set(ours)) > 40 and ours != sizes(market, "PEP") and ours != sizes(Market(history(), 8), "KO")


@given(st.floats(0.01, 5000))
def test_stock_spread_is_two_basis_points_or_one_tick(price):
    last = float(from_float(price, stock_tick(price)))
    bid, ask = stock_sides(last)
    tick = float(stock_tick(last))
    assert bid <= last <= ask and abs((ask - bid) - max(tick, 2e-4 * last)) <= tick * 0.5001 + 1e-9


@given(st.floats(0, 1000))
def test_option_spread_holds_the_value(value):
    (bid,), (ask,) = option_sides(np.array([value]))
    assert 0 <= bid <= value <= ask
    half = max(0.02 * value, 0.01 if value < 3 else 0.05)
    assert ask - value >= half - 1e-6 and (bid == 0 or value - bid >= half - 1e-6)
    assert ask - bid <= 2 * half + 0.1 + 1e-9


def test_option_values_are_black_scholes_at_the_stated_vol(market):
    vols, vix = option_vols(history(), session_close(previous_session(DAY)))
    index, stocks = (np.log(x).diff().iloc[-60:].std() for x in (history().index(session_close(previous_session(DAY))), history().closes(session_close(previous_session(DAY)))))
    np.testing.assert_allclose(vols, vix / 100 * stocks / index, rtol=1e-12)
    for contract in (c for c in contracts(market, DAY) if c.is_option):
        for step in (0, 40):
            spot, now = market.quote(stock(contract.symbol), DAY, step).last, session_steps(DAY)[step]
            value = bsm_price(spot, float(contract.strike), years_to_expiry(now, contract.expiry), 0, 0, vols[market.symbols.index(contract.symbol)], contract.right)
            assert market.option_model(contract, DAY, step).price == pytest.approx(float(value), abs=1e-9)


def test_greeks_agree_with_small_changes(market):
    contract, step = option("AAPL", date(2018, 11, 16), Decimal("52.5"), "P"), 30
    model, tau = market.option_model(contract, DAY, step), years_to_expiry(session_steps(DAY)[step], contract.expiry)
    value = lambda spot=model.spot, tau=tau, vol=model.vol: float(bsm_price(spot, 52.5, tau, 0, 0, vol, "P"))
    assert model.delta == pytest.approx((value(model.spot + 0.01) - value(model.spot - 0.01)) / 0.02, rel=1e-5)
    assert model.gamma == pytest.approx((value(model.spot + 0.1) - 2 * value() + value(model.spot - 0.1)) / 0.01, rel=1e-3)
    assert model.vega == pytest.approx((value(vol=model.vol + 1e-4) - value(vol=model.vol - 1e-4)) / 2e-4, rel=1e-5)
    assert model.theta == pytest.approx((value(tau=tau - 1e-5) - value(tau=tau + 1e-5)) / 2e-5 / 365, rel=1e-4)


def test_option_on_its_last_close_is_worth_its_intrinsic_value(market):
    day = date(2022, 12, 16)
    closing = session_steps(day).index(session_close(day))
    spot = float(market.official_close("KO", day))
    for strike in market.chain("KO", day).strikes:
        call, put = (market.option_model(option("KO", day, strike, right), day, closing) for right in "CP")
        assert (call.price, put.price) == (pytest.approx(max(spot - float(strike), 0), abs=1e-12), pytest.approx(max(float(strike) - spot, 0), abs=1e-12))
        assert not any(math.isnan(x) for x in (call.delta, call.gamma, call.vega, call.theta))
    with pytest.raises(NoPrices, match="expired"):
        market.quote(option("KO", day, Decimal(60), "C"), next_session(day), 0)


# ---------------------------------------------------------------- chains

@given(st.integers(300, 100_000))
def test_strikes_span_thirty_percent_on_their_grid(cents):
    close = Decimal(cents) / 100
    strikes = strike_grid(close)
    gap = Decimal(1) if close < 50 else Decimal("2.5") if close < 200 else Decimal(5)
    assert strikes and {b - a for a, b in zip(strikes, strikes[1:])} <= {gap}
    assert close * Decimal("0.7") <= strikes[0] < close * Decimal("0.7") + gap and close * Decimal("1.3") - gap < strikes[-1] <= close * Decimal("1.3")


def test_three_expiries_are_listed_through_their_last_day(market):
    assert listed_expiries(date(2022, 12, 16)) == (date(2022, 12, 16), date(2023, 1, 20), date(2023, 2, 17))
    assert listed_expiries(date(2022, 12, 19))[0] == date(2023, 1, 20)
    assert len(market.chain("KO", DAY).expiries) == EXPIRIES


def test_option_off_the_grid_has_the_price_of_its_own_strike(market):
    far = option("KO", date(2018, 11, 16), Decimal(200), "P")
    near = option("KO", date(2018, 11, 16), Decimal(45), "P")
    before = market.quote(near, DAY, 12)
    model = market.option_model(far, DAY, 12)
    assert model.price == pytest.approx(200 - model.spot, abs=1e-6)
    assert Market(history(), seed=7).quote(near, DAY, 12) == before == market.quote(near, DAY, 12)


# ---------------------------------------------------------------- together with the exchange

@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_fills_lie_within_the_quotes_of_their_step(seed):
    market = Market(history(), seed)
    exchange = Exchange(market, {"DU1": Decimal(1_000_000)}, DAY)
    for number, symbol in enumerate(market.symbols[:8], 1):
        exchange.place(Ticket("DU1", 1, number, stock(symbol), Side.BUY, Decimal(700), OrderType.MARKET))
    while exchange.now <= session_close(DAY):
        exchange.advance()
    assert len(exchange.completed_orders()) == 8
    for trade in exchange.executions():
        quote = market.quote(trade.contract, DAY, session_steps(DAY).index(trade.ts))
        assert float(trade.price) == quote.ask and trade.qty <= quote.ask_size
    values = exchange.values("DU1")
    worth = sum(h.qty * market.official_close(h.contract.symbol, DAY) for h in exchange.holdings("DU1"))
    assert values.net_liquidation == values.cash + worth


def test_exchange_that_is_asked_for_another_session_names_those_that_it_has(market):
    with pytest.raises(NoPrices, match=f"no prices for 1990-01-02: give another session, {market.first} to 2022-12-28"):
        Exchange(market, {"DU1": Decimal(1)}, date(1990, 1, 2))
