"""Orders that can always be paid, never sell pledged shares, and lead to the targets."""
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.errors import InputError, NoPrices
from otsport.core.books import Lot, Position
from otsport.core.contracts import Quote, option, stock
from otsport.core.intent import Target
from otsport.core.orders import OrderType, Side
from otsport.core.venues import stock_tick
from otsport.core.constraints import free_shares, pledged_shares
from otsport.portfolio.rebalance import (
    TradeRules, affordable, call_limit, commission_estimate, covered_call_orders, fit_cash, is_named_by, marketable_limit, plan_orders, wished_shares, wished_trades,
)

SYMBOLS = ("AAPL", "KO", "PEP", "XOM")
SESSION = date(2022, 12, 28)
THEN = datetime(2022, 12, 1, 15, tzinfo=timezone.utc)
PRICES = {"AAPL": Decimal("130.03"), "KO": Decimal("63.50"), "PEP": Decimal("180"), "XOM": Decimal("109")}


def held(contract, qty, strategy="momentum"):
    return Position("DU123456", "main", contract, (Lot(Decimal(qty), Decimal(50), THEN),), strategy=strategy)


def book(shares):
    "Positions by key from {symbol: (shares, short calls)}."
    positions = {s: held(stock(s), n) for s, (n, _) in shares.items() if n}
    for s, (_, calls) in shares.items():
        if calls:
            call = option(s, date(2023, 1, 20), 999, "C")
            positions[call.key] = held(call, -calls, "covered_call")
    return positions


def plan(weights, positions, cash, prices=PRICES, rules=TradeRules(), **more):
    nav = cash + sum((p.qty * prices[p.contract.symbol] for p in positions.values() if not p.contract.is_option), Decimal(0))
    targets = [Target(stock(s), w) for s, w in weights.items()]
    return nav, *plan_orders(targets, positions, prices, nav, cash, "DU123456", "main", SESSION, rules, **more)


weights = st.dictionaries(st.sampled_from(SYMBOLS), st.floats(0, 1), max_size=4)
shares = st.dictionaries(st.sampled_from(SYMBOLS), st.tuples(st.integers(0, 2000), st.integers(0, 20)).map(lambda p: (p[0], min(p[1], p[0] // 100))), max_size=4)
prices = st.fixed_dictionaries({s: st.decimals("0.05", "2000", places=4).map(lambda p: p.quantize(stock_tick(p))) for s in SYMBOLS})
cash_amounts = st.decimals("0", "2000000", places=2)


@given(weights, shares, cash_amounts, prices, st.sampled_from([1, 10, 100]))
@settings(max_examples=200)
def test_plan_orders_hold_their_promises(wishes, owned, cash, prices, lot):
    positions = book(owned)
    if cash + sum(n for n, _ in owned.values()) == 0:
        return
    nav, orders, decisions = plan(wishes, positions, cash, prices, TradeRules(lot=lot))
    pledged = pledged_shares(positions)
    spent = sum((o.qty * o.limit_price + commission_estimate(o.contract, o.qty) for o in orders if o.side is Side.BUY), Decimal(0))
    assert cash - spent >= 0  # even if no sell fills and every buy fills at its limit
    assert [o.side for o in orders] == sorted((o.side for o in orders), reverse=True)  # sells first
    assert [o.order_ref for o in orders] == [f"20221228-main-{n:03d}" for n in range(1, len(orders) + 1)]
    assert len({o.contract.key for o in orders}) == len(orders)
    for o in orders:
        symbol, now = o.contract.symbol, owned.get(o.contract.symbol, (0, 0))[0]
        assert o.qty == o.qty.to_integral_value() and o.order_type is OrderType.LIMIT and o.reason
        assert o.limit_price % stock_tick(o.limit_price) == 0
        assert o.limit_price >= prices[symbol] if o.side is Side.BUY else o.limit_price <= prices[symbol]
        if o.side is Side.SELL:
            assert now - o.qty >= min(pledged.get(symbol, 0), now)
        else:
            assert (now + o.qty) * prices[symbol] <= Decimal(repr(wishes[symbol])) * nav + Decimal("1e-9") * nav  # never above the target
        if wishes.get(symbol, 0) * float(nav) >= float(prices[symbol]) * lot:
            assert o.qty * prices[symbol] >= TradeRules().min_trade * nav


def test_plan_orders_from_cash_reaches_targets():
    _, orders, decisions = plan({"KO": 0.10, "XOM": 0.15}, {}, Decimal(1_000_000))
    assert [str(o) for o in orders] == ["BUY 1574 KO at 64.77 [DU123456]", "BUY 1376 XOM at 111.18 [DU123456]"] and decisions == ()
    assert orders[0].reason == "target 10.00% of NAV is 1574 shares, 0 held"


def test_plan_orders_say_why_they_are_less_than_wished():
    _, (order,), _ = plan({"KO": 0.50}, book({"XOM": (1000, 10)}), Decimal(20_000))
    assert order.reason == f"target 50.00% of NAV is 1015 shares, 0 held; cash pays for {order.qty:f}"
    _, (order,), _ = plan({}, book({"KO": (1000, 4)}), Decimal(0))
    assert order.reason == "target 0.00% of NAV is 0 shares, 1000 held; 600 are free to sell"
    _, (order,), _ = plan({"KO": 0.10}, book({"KO": (1000, 0)}), Decimal(100_000))
    assert order.reason.endswith(" shares, 1000 held")  # all that was wished


def test_plan_orders_at_target_trades_nothing():
    positions = book({"KO": (1574, 0)})
    cash = Decimal(1_000_000) - 1574 * PRICES["KO"]
    assert plan({"KO": 0.10}, positions, cash)[1] == ()


def test_plan_orders_small_drift_is_left_with_a_reason():
    positions = book({"KO": (1600, 0)})
    _, orders, (decision,) = plan({"KO": 0.10}, positions, Decimal(1_000_000) - 1600 * PRICES["KO"])
    assert orders == () and decision.code == "SMALL_TRADE"


def test_plan_orders_closing_is_never_too_small():
    _, orders, _ = plan({}, book({"KO": (1, 0)}), Decimal(1_000_000))
    assert [str(o) for o in orders] == ["SELL 1 KO at 62.23 [DU123456]"] and orders[0].strategy == "momentum"


def test_plan_orders_sells_do_not_fund_buys():
    positions = book({"KO": (10_000, 0)})
    _, orders, decisions = plan({"XOM": 0.5}, positions, Decimal(1_000))
    assert [o.side for o in orders] == [Side.SELL]
    assert [(d.subject, d.code) for d in decisions] == [("XOM", "CASH")] and "sells of today not counted" in decisions[0].message


def test_plan_orders_negative_cash_buys_nothing():
    _, orders, _ = plan({"XOM": 0.5}, book({"KO": (10_000, 0)}), Decimal(-50))
    assert [o.side for o in orders] == [Side.SELL]


def test_plan_orders_pledged_shares_stay():
    _, orders, decisions = plan({}, book({"KO": (350, 2)}), Decimal(100_000))
    assert orders[0].qty == 150 and "150 are free to sell" in orders[0].reason and decisions[0].code == "PLEDGED"
    _, orders, _ = plan({}, book({"KO": (200, 2)}), Decimal(100_000))
    assert orders == ()


def test_plan_orders_strategy_tag_and_first_number():
    _, orders, _ = plan({"KO": 0.1}, {}, Decimal(100_000), strategies={"KO": "momentum"}, first_number=7)
    assert orders[0].strategy == "momentum" and orders[0].order_ref == "20221228-main-007"


def test_plan_orders_refuses_missing_price_and_option_target():
    with pytest.raises(NoPrices, match="no price of T"):
        plan({"T": 0.1}, {}, Decimal(1000))
    with pytest.raises(InputError, match="only stocks"):
        plan_orders([Target(option("KO", date(2023, 1, 20), 65, "C"), 0.1)], {}, PRICES, Decimal(1000), Decimal(1000), "DU1", "main", SESSION)


@given(st.decimals("0.0101", "5000", places=4), st.sampled_from(list(Side)))
def test_marketable_limit_is_on_tick_and_through_the_price(price, side):
    limit = marketable_limit(side, price, Decimal("0.02"))
    assert limit % stock_tick(limit) == 0
    assert side.sign * (limit - price * (1 + side.sign * Decimal("0.02"))) >= 0


def calls(*keys):
    return {option(s, date(2023, 2, 17), k, "C"): Decimal("0.50") for s, k in keys}


def test_covered_call_orders_never_naked():
    positions = book({"KO": (350, 2), "PEP": (99, 0), "XOM": (700, 0)})
    orders, refused = covered_call_orders(calls(("KO", 70), ("PEP", 190), ("XOM", 120)), free_shares(positions), "DU123456", "main", SESSION, 3)
    assert [(str(o.contract), o.qty, o.order_ref) for o in orders] == [("KO 20230217 C 70", 1, "20221228-main-003"), ("XOM 20230217 C 120", 7, "20221228-main-004")]
    assert [d.code for d in refused] == ["UNCOVERED"]


def test_covered_call_orders_second_call_on_a_symbol_finds_no_cover():
    orders, refused = covered_call_orders(calls(("XOM", 120), ("XOM", 125)), free_shares(book({"XOM": (700, 0)})), "DU123456", "main", SESSION, 1)
    assert [o.qty for o in orders] == [7] and [d.code for d in refused] == ["UNCOVERED"]


def test_covered_call_orders_refuse_a_put():
    with pytest.raises(InputError, match="is no call"):
        covered_call_orders({option("KO", date(2023, 2, 17), 60, "P"): Decimal(1)}, {}, "DU123456", "main", SESSION, 1)


@pytest.mark.parametrize("bid", [0.0, float("nan"), -1.0])
def test_call_limit_needs_a_bid(bid):
    with pytest.raises(InputError, match="cannot be sold"):
        call_limit(Quote(option("KO", date(2023, 2, 17), 70, "C"), THEN, bid, 1.0))


def test_shares_are_asked_of_what_is_held_and_of_nothing_else():
    call, flat = option("PEP", date(2023, 1, 20), 185, "C"), Position("DU123456", "main", stock("XOM"), ())
    positions = {"KO": held(stock("KO"), 100), call.key: held(call, -1), "XOM": flat}
    assert wished_shares([], positions, PRICES, Decimal(10_000)) == {"KO": 0}


def test_pledged_shares_that_are_to_be_sold_stay_with_a_decision_of_both_numbers():
    trades, (decision,) = wished_trades({"KO": Decimal(100)}, book({"KO": (1000, 4)}), PRICES, Decimal(100_000), TradeRules())
    assert trades == {"KO": -600} and (decision.code, decision.before, decision.after) == ("PLEDGED", -900.0, -600.0)


def test_trade_of_just_the_least_value_is_made():
    rules = TradeRules(min_trade=Decimal("0.0635"))
    for nav, made in ((10_000, {"KO": 10}), (10_001, {})):
        assert wished_trades({"KO": Decimal(10)}, {}, PRICES, Decimal(nav), rules)[0] == made


def test_cut_buys_come_in_whole_lots():
    cut = affordable({"KO": Decimal(1000), "PEP": Decimal(500)}, {"KO": Decimal(60), "PEP": Decimal(100)}, Decimal(60_000), lot=50)
    assert cut == {"KO": 500, "PEP": 250}  # 54.5 % of each is paid for; then down to whole lots


def test_buy_that_cash_pays_for_stays_whatever_its_size():
    assert fit_cash({"KO": Decimal(1), "XOM": Decimal(-5)}, PRICES, Decimal(1_000_000), Decimal(900_000), TradeRules()) == ({"KO": 1, "XOM": -5}, [])


def test_buy_cut_to_the_least_value_is_made_and_below_it_is_left():
    whole, price, rules = {"KO": Decimal(100)}, {"KO": Decimal(50)}, TradeRules(min_trade=Decimal("0.05"), reserve=Decimal(0))
    paid, (clip,) = fit_cash(whole, price, Decimal(10_000), Decimal(511), rules)  # 10 shares at 51 and a dollar of commission
    assert paid == {"KO": 10} and (clip.code, clip.before, clip.after) == ("CASH", 100.0, 10.0)
    left, (refusal,) = fit_cash(whole, price, Decimal(10_001), Decimal(511), rules)
    assert left == {} and (refusal.verdict.value, refusal.code, refusal.after) == ("refused", "CASH", 0.0)


@pytest.mark.parametrize("ref, ours", [
    ("20221228-main-001", True), ("20221228-main-1234", True), ("20221228-other-001", False), ("2022122-main-001", False), ("2022122x-main-001", False),
    ("20221228-main-01x", False), ("20221228-main-", False), ("main", False), ("", False)])
def test_reference_is_of_a_portfolio_by_its_form(ref, ours):
    assert is_named_by("main", ref) is ours
    assert is_named_by("a-b", "20221228-a-b-001") and not is_named_by("b", "20221228-a-b-001")
