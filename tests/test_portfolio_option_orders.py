"""How many contracts a wish may have: what is held already, every bound by its own code, exact edges, and cash that is spent once."""
from datetime import UTC, date, datetime
from decimal import Decimal as D

import pytest

from otsport.core.books import Lot, Position
from otsport.core.contracts import Quote, option, stock
from otsport.core.errors import InputError
from otsport.core.intent import Verdict
from otsport.core.orders import Side
from otsport.core.settings import Limits, Sizing
from otsport.core.venues import on_tick, tick_of
from otsport.portfolio.option_orders import OptionWish, option_limit, option_orders, planned_contracts, unit_cost

DAY, EXPIRY = date(2022, 12, 28), date(2023, 1, 20)
TS = datetime(2022, 12, 27, 15, tzinfo=UTC)
PUT, CALL, PEP_PUT = option("KO", EXPIRY, 60, "P"), option("KO", EXPIRY, 65, "C"), option("PEP", EXPIRY, 60, "P")


def held(*pairs):
    """Positions of contracts and quantities, bought or sold at a dollar."""
    return {c.key: Position("DU1", "main", c, (Lot(D(qty), D(1), TS),)) for c, qty in pairs}


def planned(contract, side, price="0.50", most=0, nav=100_000, positions=(), base=0.1, wished=0, **limits):
    return planned_contracts(contract, side, D(price), most, D(nav), held(*positions), Limits(**limits), Sizing(base_size=base), D(wished))


@pytest.mark.parametrize("contract, side, position, words", [
    (PUT, Side.SELL, (option("KO", EXPIRY, 55, "P"), -2), "2 puts on KO are sold already"),
    (CALL, Side.BUY, (option("KO", EXPIRY, 70, "C"), 3), "3 calls on KO are bought already"),
])
def test_a_wish_that_is_held_is_fulfilled(contract, side, position, words):
    count, told = planned(contract, side, positions=[position])
    assert count == 0 and (told.code, told.verdict) == ("HELD", Verdict.REFUSED) and words in told.message


@pytest.mark.parametrize("position", [(PEP_PUT, -2), (option("KO", EXPIRY, 55, "P"), 2), (option("PEP", EXPIRY, 65, "C"), -1)], ids=["another name", "bought", "another name's call"])
def test_what_is_held_of_something_else_fulfils_nothing(position):
    assert planned(PUT, Side.SELL, positions=[position]) == planned(PUT, Side.SELL) == (D(1), None)


def test_a_put_that_is_sold_is_no_call_that_is_bought():
    assert planned(CALL, Side.BUY, "1.20", positions=[(PUT, -1)])[0] == planned(CALL, Side.BUY, "1.20", positions=[(PUT, 1)])[0] == 8


@pytest.mark.parametrize("more, code", [
    (dict(base=0.05), "SIZE"), (dict(max_position_weight=0.05), "MAX_POSITION"), (dict(max_order_weight=0.05), "ORDER_WEIGHT"), (dict(max_order_value=D(5_000)), "ORDER_VALUE"),
    (dict(max_position_weight=0.1, wished=6_000), "MAX_POSITION"), (dict(max_position_weight=0.1, wished=20_000), "MAX_POSITION"),
    (dict(max_position_weight=0.1, positions=[(stock("KO"), 6_000)]), "MAX_POSITION"),
])
def test_each_bound_of_a_put_refuses_by_its_own_code(more, code):
    count, told = planned(PUT, Side.SELL, **more)
    assert count == 0 and (told.code, told.verdict) == (code, Verdict.REFUSED) and "one contract of KO" in told.message and "6,000.00 dollars" in told.message


def test_a_bought_option_is_bound_by_the_premium_and_not_by_the_size():
    cost = unit_cost(CALL, Side.BUY, D("1.20"))
    assert cost == D("120") + D(1)
    assert planned(CALL, Side.BUY, "1.20", base=0.0001, max_position_weight=0.0001)[0] == D(1_000) // cost == 8
    assert planned(CALL, Side.BUY, "1.20", max_premium=0.0012)[1].code == "PREMIUM"


def test_a_contract_that_fits_to_the_dollar_fits():
    assert planned(PUT, Side.SELL, nav=60_000, max_order_weight=1.0) == (D(1), None)
    assert planned(PUT, Side.SELL, nav=59_990)[1].code == "SIZE"


def test_fewer_than_wished_is_told_and_no_more_than_wished_is_given():
    count, told = planned(PUT, Side.SELL, nav=200_000, most=5)
    assert count == 3 and (told.verdict, told.code, told.before, told.after) == (Verdict.CLIPPED, "SIZE", 5.0, 3.0)
    assert planned(PUT, Side.SELL, nav=200_000, most=3) == (D(3), None) and planned(PUT, Side.SELL, nav=200_000, most=1) == (D(1), None)


def test_what_other_wishes_need_leaves_the_rest_of_the_position_limit():
    assert planned(PUT, Side.SELL, wished=4_000, max_position_weight=0.1) == (D(1), None)
    assert planned(PUT, Side.SELL, wished=4_001, max_position_weight=0.1)[1].code == "MAX_POSITION"


def test_calls_are_sold_as_many_as_shares_cover():
    assert planned(CALL, Side.SELL) == (None, None) and planned(CALL, Side.SELL, most=4) == (D(4), None)


def test_limits_lie_beyond_the_touch_on_the_tick():
    quote = Quote(CALL, TS, 1.11, 1.21, 10, 10, 1.16, 60.0, "modelled")
    assert option_limit(quote, Side.BUY, 0.05) == D("1.27") and option_limit(quote, Side.SELL, 0.05) == D("1.06")
    tenth = Quote(CALL, TS, 1.30, 1.30, 10, 10, 1.30, 60.0, "modelled")
    assert option_limit(tenth, Side.BUY) == D("1.43") and option_limit(tenth, Side.SELL) == D("1.17")  # 1.30 * 1.1 is 1.4300000000000002 in floats


CLASSES = [CALL, option("SPX", date(2023, 1, 20), 3900, "P"), option("SPY", date(2023, 1, 20), 380, "P")]  # every pair of ticks there is


@pytest.mark.parametrize("contract", CLASSES, ids=lambda c: c.symbol)
@pytest.mark.parametrize("side", list(Side))
def test_a_limit_is_the_last_tick_within_its_collar_at_every_price_there_is(contract, side):
    price = D(0)
    while price < 8:
        price += tick_of(contract, price)
        quote = Quote(contract, TS, float(price), float(price), 10, 10, float(price), 60.0, "modelled")
        for collar in ("0", "0.05", "0.1", "0.333"):
            limit, worst = option_limit(quote, side, float(collar)), price * (1 + side.sign * D(collar))
            assert on_tick(contract, limit) and side.sign * (worst - limit) >= 0  # never beyond the collar
            assert side.sign * (limit - price) >= 0  # marketable
            assert side.sign * (limit + side.sign * tick_of(contract, limit if side is Side.BUY else limit - D("0.001")) - worst) > 0  # the next tick is beyond it


@pytest.mark.parametrize("ask", [0.0, -1.0, float("nan"), float("inf")])
def test_no_limit_follows_from_what_is_no_price(ask):
    with pytest.raises(InputError, match="no limit follows"):
        option_limit(Quote(CALL, TS, 1.0, ask, 10, 10, 1.0, 60.0, "modelled"), Side.BUY)


def orders(wishes, cash, first=4):
    return option_orders([OptionWish(c, side, D(price), D(qty)) for c, side, price, qty in wishes], D(cash), "DU1", "main", DAY, first, "mine")


def test_cash_is_spent_once_in_the_order_of_the_keys():
    made, told = orders([(PUT, Side.SELL, "0.50", 2), (CALL, Side.BUY, "1.20", 8), (PEP_PUT, Side.SELL, "0.50", 1)], 12_968)
    assert [(o.contract, o.qty) for o in made] == [(CALL, 8), (PUT, 2)] and 12_968 == 8 * 121 + 2 * 6_000
    assert [(d.code, d.verdict, d.before, d.after) for d in told] == [("UNSECURED", Verdict.REFUSED, 1.0, 0.0)]
    assert [o.order_ref[-2:] for o in made] == sorted({o.order_ref[-2:] for o in made}) and made[0].order_ref != made[1].order_ref


@pytest.mark.parametrize("cash, count, verdict", [(-500, 0, Verdict.REFUSED), (120, 0, Verdict.REFUSED), (121, 1, Verdict.CLIPPED), (242, 2, None), (10_000, 2, None)])
def test_what_cash_does_not_pay_for_is_cut_and_told(cash, count, verdict):
    made, told = orders([(CALL, Side.BUY, "1.20", 2)], cash)
    assert sum(o.qty for o in made) == count and [(d.code, d.verdict) for d in told] == ([("CASH", verdict)] if verdict else [])
