"""What a book may hold and what of it is bound: by hand, and for any book."""
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from otsport.core.books import Lot, Position
from otsport.core.constraints import (book_weights, cover_of, coverable_calls, free_shares, leaving_cash, leaving_shares, open_qty, pair_loss,
                                      pledged_shares, put_value, secured_cash, weight_caps, worst_options)
from otsport.core.contracts import option, stock
from otsport.core.errors import InputError
from otsport.core.orders import Order, OrderRecord, OrderState, OrderType, Side
from otsport.core.settings import Limits
from store_support import DAY, TS

D = Decimal
KO, PEP = stock("KO"), stock("PEP")
CALL, PUT = option("KO", date(2023, 1, 20), "65", "C"), option("KO", date(2023, 1, 20), "60", "P")
ODD = replace(CALL, multiplier=10)  # ten shares a call


def book(**qty):
    """Positions by name of the contracts above, bought at 50 dollars."""
    named = {"KO": KO, "PEP": PEP, "CALL": CALL, "PUT": PUT, "ODD": ODD}
    return {named[n].key: Position("DU1", "main", named[n], (Lot(D(q), D(50), TS),) if q else ()) for n, q in qty.items()}


def working(contract, side, qty, limit="2.00", filled=0, state=OrderState.WORKING):
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    order = Order("r", "DU1", "main", contract, side, D(qty), kind, None if limit is None else D(limit))
    return OrderRecord(order, DAY, state, D(filled))


def test_caps_come_as_positions_sectors_gross():
    limits = Limits(max_position_weight=0.3, max_sector_weight=0.5, max_gross=0.9)
    caps = weight_caps(["PEP", "KO", "KO", "XOM"], limits, {"KO": "Staples", "PEP": "Staples", "XOM": "Energy"})
    assert [(c.code, c.symbols, c.bound) for c in caps] == [
        ("MAX_POSITION", ("KO",), 0.3), ("MAX_POSITION", ("PEP",), 0.3), ("MAX_POSITION", ("XOM",), 0.3),
        ("SECTOR_CAP", ("XOM",), 0.5), ("SECTOR_CAP", ("KO", "PEP"), 0.5), ("MAX_GROSS", ("KO", "PEP", "XOM"), 0.9)]
    assert caps[4].used({"KO": 0.25, "PEP": 0.125, "XOM": 0.5}) == 0.375


def test_sectors_are_needed_only_where_their_cap_can_bind():
    with pytest.raises(InputError, match="no sector of KO"):
        weight_caps(["KO", "PEP"], Limits(max_sector_weight=0.5, max_gross=0.9), {"PEP": "Staples"})
    assert [c.code for c in weight_caps(["KO"], Limits(max_sector_weight=1.0, max_gross=1.0), {})] == ["MAX_POSITION", "MAX_GROSS"]


def test_short_calls_pledge_what_they_deliver_and_nothing_else_does():
    assert pledged_shares(book(KO=500, CALL=-3, ODD=-2, PUT=-4)) == {"KO": 320}
    assert pledged_shares(book(CALL=3, PUT=-1, KO=-100)) == {}
    assert coverable_calls({"KO": D(520), "PEP": D(99)}, book(CALL=-3, ODD=-2)) == {"KO": 2}
    assert coverable_calls({"KO": D(420)}, book(CALL=-3, ODD=-2), per_call=10) == {"KO": 10}
    assert coverable_calls({"KO": D(300)}, book(CALL=-3)) == {} == coverable_calls({"KO": D(100)}, book(CALL=-3))


@pytest.mark.parametrize("state, left", [
    (OrderState.CREATED, 0), (OrderState.SENT, 6), (OrderState.ACCEPTED, 6), (OrderState.WORKING, 6), (OrderState.PARTIALLY_FILLED, 6),
    (OrderState.UNKNOWN, 6),
    (OrderState.PENDING_CANCEL, 6), (OrderState.FILLED, 6),  # filled, but its executions have not come
    (OrderState.CANCELLED, 0), (OrderState.REJECTED, 0), (OrderState.EXPIRED, 0), (OrderState.DENIED, 0)])
def test_open_units_of_each_state(state, left):
    assert open_qty(working(KO, Side.BUY, 10, filled=4, state=state)) == left
    assert open_qty(working(KO, Side.BUY, 10, filled=12)) == 0


def test_what_is_held_is_closed_once_whichever_order_sells_it():
    first, second = working(CALL, Side.SELL, 10, filled=4), working(CALL, Side.SELL, 3)
    assert worst_options(book(CALL=2), [first]) == {CALL: -4} and worst_options(book(CALL=-2), [first]) == {CALL: -8}
    assert worst_options(book(CALL=6), [first]) == {CALL: 0}
    assert worst_options(book(CALL=6), [first, second]) == {CALL: -3} == worst_options(book(CALL=6), [second, first])
    assert worst_options(book(CALL=-2), [working(CALL, Side.BUY, 9)]) == {CALL: -2}
    assert worst_options({}, [replace(first, state=OrderState.CANCELLED)]) == {}


def test_shares_leave_by_sales_and_by_calls_that_open():
    orders = [working(KO, Side.SELL, 100, filled=30), working(CALL, Side.SELL, 3), working(PUT, Side.SELL, 5),
              working(KO, Side.BUY, 50), working(CALL, Side.BUY, 1)]
    assert leaving_shares(orders) == {"KO": 70}  # of the 3 calls, 2 open and 1 closes
    assert free_shares(book(KO=900, CALL=-1, PEP=7), orders) == {"KO": 900 - 100 - 70 - 300, "PEP": 7}
    assert free_shares(book(KO=100, CALL=-2)) == {"KO": -100}
    assert leaving_shares([working(PEP, Side.SELL, 5, state=OrderState.CANCELLED)]) == {}


def test_cash_that_puts_and_buys_may_need():
    assert secured_cash(book(PUT=-2, CALL=-3, KO=-5)) == 12_000 and secured_cash(book(PUT=2)) == 0
    orders = [working(KO, Side.BUY, 100, "61.00", filled=40), working(CALL, Side.BUY, 2, "1.50"), working(PUT, Side.SELL, 3),
              working(KO, Side.SELL, 9), working(CALL, Side.SELL, 9)]
    assert leaving_cash(orders) == 60 * 61 + 300 and secured_cash(book(PUT=1), orders) == 2 * 6000
    assert leaving_cash([working(KO, Side.BUY, 1, None)]) is None
    assert leaving_cash([working(KO, Side.BUY, 1, None, state=OrderState.CREATED)]) == 0


def test_weights_of_stocks_bought_stocks_and_puts():
    positions = book(KO=100, PEP=-10, PUT=-1, CALL=-1)
    orders = [working(KO, Side.BUY, 10, "61.00", filled=5), working(PEP, Side.BUY, 2, None), working(PUT, Side.SELL, 1),
              working(CALL, Side.BUY, 4), working(KO, Side.SELL, 50)]
    found = book_weights(positions, orders, {"KO": D(60), "PEP": D(170)}, D(100_000))
    assert found == {"KO": (6000 + 305 + 12_000) / 100_000, "PEP": (1700 + 340) / 100_000}
    assert book_weights(book(KO=100), [], {}, D(100_000)) == {"KO": 0.05}  # without a price, what was paid
    assert book_weights(book(PUT=2, KO=0), [working(PUT, Side.SELL, 3)], {}, D(100_000)) == {"KO": 0.06}  # 3 puts, 2 of them close


counts = st.integers(-20, 20)


@given(shares=st.integers(0, 3000), calls=counts, odd=counts, puts=counts, sells=st.integers(1, 3000), writes=st.integers(1, 20))
def test_bound_and_free_shares_are_all_that_is_held(shares, calls, odd, puts, sells, writes):
    positions = book(KO=shares, CALL=calls, ODD=odd, PUT=puts)
    bound = 100 * max(-calls, 0) + 10 * max(-odd, 0) + sells + 100 * max(writes - max(calls, 0), 0)
    assert free_shares(positions, [working(KO, Side.SELL, sells), working(CALL, Side.SELL, writes)])["KO"] == shares - bound


@given(shares=st.integers(0, 3000), calls=counts)
def test_coverable_calls_are_covered_and_one_more_is_not(shares, calls):
    positions = book(KO=shares, CALL=calls)
    more = coverable_calls({"KO": D(shares)}, positions).get("KO", 0)
    left = shares - 100 * max(-calls, 0) - 100 * more
    assert left < 100 and (more == 0 or left >= 0)


@given(sold=st.lists(st.integers(1, 50), max_size=5), held=counts)
def test_open_sales_are_taken_off_what_is_held(sold, held):
    records = [working(CALL, Side.SELL, n) for n in sold]
    assert worst_options(book(CALL=held), records).get(CALL, 0) == held - sum(sold)


def test_flat_positions_bind_nothing():
    flat = book(CALL=0, PUT=0, KO=0)
    assert pledged_shares(flat) == {} and secured_cash(flat) == 0 and book_weights(flat, [], {"KO": D(60)}, D(1000)) == {}


# Pairs

FEB = date(2023, 2, 17)


def leg(strike, right="C", expiry=date(2023, 1, 20), **more):
    return option("KO", expiry, str(strike), right, **more)


@pytest.mark.parametrize("short, long, loss", [
    (leg(60), leg(65), 500), (leg(65), leg(60), 0), (leg(60, "P"), leg(55, "P"), 500), (leg(55, "P"), leg(60, "P"), 0), (leg(60), leg(60, expiry=FEB), 0),
    (leg(60, expiry=FEB), leg(65), None),  # the long one ends first
    (leg(60), leg(65, "P"), None), (leg(60), leg(65, trading_class="KO1"), None), (leg(60), leg(65, deliverable=150), None), (leg(60), leg(65, multiplier=10), None),
    (leg(60), option("PEP", "2023-01-20", 65, "C"), None), (leg(60, multiplier=10), leg(65, multiplier=10), 50),
    (leg(60, deliverable=150), leg(65, deliverable=150), 750)])
def test_a_pair_loses_the_width_or_is_no_pair(short, long, loss):
    assert pair_loss(short, long) == loss


def least_need(net):
    """The least cash that any pairing of calls or puts leaves, as few uncovered ones as can be first: by assignment, one contract a row."""
    shorts = [c for c, q in net.items() for _ in range(int(-q))]
    longs = [c for c, q in net.items() for _ in range(int(q))]
    alone = [float(put_value(c, D(1))) if c.right == "P" else 1e7 for c in shorts]
    cost = np.array([[float(p) if (p := pair_loss(s, o)) is not None else 1e9 for o in longs] + [alone[i] if i == j else 1e9 for j in range(len(shorts))]
                     for i, s in enumerate(shorts)])
    return cost[linear_sum_assignment(cost)].sum() if shorts else 0.0


legs = st.dictionaries(st.tuples(st.sampled_from([50, 55, 60, 62, 70]), st.sampled_from([date(2023, 1, 20), FEB])), st.integers(-3, 3), max_size=6)


@given(legs, st.sampled_from("CP"))
def test_the_need_found_is_never_below_the_least_and_no_more_calls_are_left_alone(chosen, right):
    net = {leg(k, right, e): D(q) for (k, e), q in chosen.items() if q}
    found, least = cover_of(net), least_need(net)
    alone = float(sum(found.shares.values(), D(0))) / 100
    assert float(found.cash) + 1e7 * alone >= least - 1e-6
    assert alone == (least // 1e7 if right == "C" else 0)  # as many calls are covered as can be


@given(st.lists(st.sampled_from([50, 55, 60, 62, 70]), min_size=4, max_size=4), st.sampled_from("CP"))
def test_with_one_expiry_and_a_long_for_each_short_the_need_is_the_least(strikes, right):
    net = {}
    for strike, sign in zip(strikes, (-1, -1, 1, 1), strict=True):
        net[leg(strike, right)] = net.get(leg(strike, right), D(0)) + sign
    assert float(cover_of(net).cash) == least_need(net)


@given(st.integers(-4, 4), st.integers(-4, 4), st.integers(-4, 4), st.integers(20, 90))
def test_at_expiry_a_book_never_loses_more_than_its_cover(a, b, c, spot):
    """Puts of three strikes at any close: what is paid out is within the cash that the cover asks for; a third less would not be."""
    net = {leg(k, "P"): D(q) for k, q in ((50, a), (60, b), (70, c)) if q}
    paid = -sum(q * max(contract.strike - spot, D(0)) * 100 for contract, q in net.items())
    assert paid <= cover_of(net).cash


def test_a_spread_weighs_its_loss_and_leaves_the_shares_free():
    positions = {c.key: Position("DU1", "main", c, (Lot(D(q), D(1), TS),)) for c, q in ((leg(60), -2), (leg(65), 2), (leg(60, "P"), -1), (leg(55, "P"), 1))}
    assert secured_cash(positions) == 1_500 and pledged_shares(positions) == {}
    assert book_weights(positions, [], {}, D(100_000)) == {"KO": 0.015}
    held = positions | {"KO": Position("DU1", "main", KO, (Lot(D(200), D(60), TS),))}
    assert free_shares(held)["KO"] == 200 and free_shares(held, [working(leg(65), Side.SELL, 1)])["KO"] == 100
