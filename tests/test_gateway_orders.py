"""Order types of the simulated gateway: stops, combinations, brackets, OCA groups and what-if, against values that a pencil gives."""
from dataclasses import replace
from decimal import Decimal as D

import pytest
from exchange_support import CALL, EXPIRY, KO, THURSDAY, StillMarket
from gateway_support import Talk, buy, codes
from hypothesis import given, settings
from hypothesis import strategies as st

from otsport.core.contracts import option
from otsport.core.errors import InputError
from otsport.core.orders import Side
from otsport.gateway.combos import BAG_NUMBER, Combo, contract_of
from otsport.gateway.control import truth
from otsport.gateway.exchange import Exchange
from otsport.gateway.journal import Execution, Ticket, TicketType, read_journal
from otsport.gateway.session import Gateway

HIGH = option("KO", EXPIRY, 65, "C")


class LongDay(StillMarket):
    "Many steps while the market is open."

    def session_steps(self, day):
        first, opening, later, closing, after = super().session_steps(day)
        return (first, opening, *(opening + (later - opening) * i / 8 for i in range(1, 9)), closing, after)


def talk(market=None, cash=100_000, accounts=("DU1",), journal=None) -> Talk:
    exchange = Exchange(market or LongDay(), {name: D(cash) for name in accounts}, THURSDAY, journal)
    exchange.advance()
    return Talk(Gateway(exchange))


def statuses(heard, order_id) -> list[str]:
    return [v["status"] for n, v in heard if n == "orderStatus" and v["orderId"] == order_id]


def fills(heard) -> list[tuple]:
    return [(v["secType"], v["strike"], v["side"], v["shares"], v["price"]) for n, v in heard if n == "execDetails"]


def step(one: Talk) -> list:
    one.gateway.step()
    return one.hear()


def moves(market: StillMarket, step_: int, last: float, key: str = "KO") -> None:
    "The quote of a step, a cent on each side of a last price."
    market.said[step_, key] = (round(last - 0.01, 2), round(last + 0.01, 2), 500, 500)


class LastMarket(LongDay):
    "The last price of a stock is the middle of what is said."

    def quote(self, contract, day, step):
        found = super().quote(contract, day, step)
        return found if contract.is_option else replace(found, last=round((found.bid + found.ask) / 2, 4))


# ---------------------------------------------------------------- stops

@pytest.mark.parametrize("side, stop, path, woken", [
    ("SELL", "59.50", (60.00, 59.51, 59.50), 3), ("SELL", "59.50", (59.00,), 1), ("BUY", "60.50", (60.00, 60.49, 60.60), 3), ("BUY", "60.50", (60.49, 60.40), 0),
])  # fmt: skip
def test_stop_wakes_at_its_price_and_trades_at_the_market(side, stop, path, woken):
    market = LastMarket()
    one = talk(market)
    one.say("placeOrder", **buy(1, qty=D(100)))
    heard = one.say("placeOrder", **buy(2, side=side, qty=D(100), orderType="STP", auxPrice=D(stop)))
    assert statuses(heard, 2) == ["PreSubmitted"]
    story = []
    for n, last in enumerate(path, 2):
        moves(market, n, last)
        story.append(statuses(step(one), 2))
    assert [i for i, said in enumerate(story, 1) if said] == ([woken] if woken else [])
    if woken:
        assert story[woken - 1] == ["Submitted", "Filled"]
        (fill,) = one.gateway.exchange.executions()[1:]
        assert fill.price == D(str(path[woken - 1])) + D("0.01") * Side(side).sign


def test_stop_limit_does_not_trade_beyond_its_limit():
    market = LastMarket()
    one = talk(market)
    one.say("placeOrder", **buy(1, qty=D(100)))
    one.say("placeOrder", **buy(2, side="SELL", qty=D(100), orderType="STP LMT", auxPrice=D("59.50"), limitPrice=D("59.40")))
    for n, last, said in ((2, 59.00, ["Submitted"]), (3, 59.30, []), (4, 59.45, ["Filled"])):  # gapped through, then back
        moves(market, n, last)
        assert statuses(step(one), 2) == said
    assert one.gateway.exchange.executions()[-1].price == D("59.44")


def test_wide_option_market_alone_wakes_no_stop():
    market = LastMarket()
    one = talk(market)
    about = {"symbol": "KO", "secType": "OPT", "expiry": "20221216", "strike": D(60), "right": "C"}
    one.say("placeOrder", **buy(1, qty=D(2), **about))
    one.say("placeOrder", **buy(2, side="SELL", qty=D(2), orderType="STP", auxPrice=D("1.00"), **about))
    market.said[2, CALL.key] = (0.10, 3.00, 5, 5)  # bid below the stop, nobody sells there
    assert statuses(step(one), 2) == []
    market.said[3, CALL.key] = (0.90, 1.00, 5, 5)
    assert statuses(step(one), 2) == ["Submitted", "Filled"]


def test_stop_that_slept_sleeps_on_after_a_restart(tmp_path):
    market = LastMarket()
    one = talk(market, journal=tmp_path / "j.jsonl")
    one.say("placeOrder", **buy(1, qty=D(100)))
    one.say("placeOrder", **buy(2, side="SELL", qty=D(100), orderType="STP", auxPrice=D("59.50"), tif="GTC"))
    one.gateway.exchange.close()
    again = Exchange(market, {"DU1": D(100_000)}, THURSDAY, tmp_path / "j.jsonl")
    (update,) = again.open_orders()
    assert (update.ticket.order_type, update.ticket.stop_price, update.triggered, update.status) == ("STP", D("59.50"), False, "PreSubmitted")
    moves(market, 2, 59.00)
    again.advance()
    assert not again.open_orders() and len(again.executions()) == 2
    again.close()


@pytest.mark.parametrize("more, code", [
    ({"orderType": "STP"}, 321), ({"orderType": "STP", "auxPrice": D("59.505")}, 110), ({"orderType": "STP", "auxPrice": D(0)}, 110), ({"orderType": "STP LMT", "auxPrice": D("59.50")}, 321),
    ({"orderType": "LMT"}, 321), ({"orderType": "TRAIL"}, 387), ({"orderType": "STP LMT", "auxPrice": D("59.50"), "limitPrice": D("-1")}, 110),
])  # fmt: skip
def test_stop_that_makes_no_sense_is_refused(more, code):
    one = talk()
    assert codes(one.say("placeOrder", **buy(1, **more))) == [(1, code)] and not one.gateway.exchange.open_orders()


# ---------------------------------------------------------------- combinations

def bag(one: Talk, *legs, symbol="KO", **more) -> dict:
    "The fields of an order for a combination; legs are (contract, ratio, BUY or SELL)."
    blank = dict.fromkeys(("openClose", "shortSaleSlot", "designatedLocation", "exemptCode"), "") | {"exchange": "SMART"}
    about = [{"conId": one.gateway.exchange.con_id(c), "ratio": ratio, "action": action} | blank for c, ratio, action in legs]
    return {"symbol": symbol, "secType": "BAG", "legs": about, "legPrices": [], "routing": []} | more


def test_combination_is_filled_as_one_and_told_by_leg():
    one = talk()
    heard = one.say("placeOrder", **buy(1, qty=D(3), orderType="LMT", limitPrice=D("0.05"), **bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL"))))
    assert fills(heard) == [("BAG", 0, "BOT", 3, D("0.05")), ("OPT", 60, "BOT", 3, D("1.25")), ("OPT", 65, "SLD", 3, D("1.20"))]
    assert [n for n, _ in heard] == ["openOrder", "orderStatus", "execDetails", "execDetails", "execDetails", "openOrder", "orderStatus", "commissionReport", "commissionReport"]
    ids = [v["execId"] for n, v in heard if n == "execDetails"]
    assert len(set(ids)) == 3 and {v["permId"] for n, v in heard if n == "execDetails"} == {heard[0][1]["permId"]}
    assert [v["execId"] for n, v in heard if n == "commissionReport"] == ids[1:]  # the whole has no commission of its own
    assert [(v["conId"], v["filled"], v["avgPrice"]) for n, v in [(n, v | {"conId": 0}) for n, v in heard] if n == "orderStatus"][-1] == (0, 3, D("0.05"))
    (opened, *_) = [v for n, v in heard if n == "openOrder"]
    assert (opened["conId"], opened["secType"], [(leg["ratio"], leg["action"]) for leg in opened["comboLegs"]]) == (BAG_NUMBER, "BAG", [(1, "BUY"), (1, "SELL")])
    positions = {v["localSymbol"]: v["qty"] for n, v in one.say("reqPositions") if n == "position"}
    assert positions == {"KO    221216C00060000": 3, "KO    221216C00065000": -3}  # positions are the legs alone
    assert one.gateway.exchange.book("DU1").cash == 100_000 - 3 * 5 - 2 * D("1.95")


def test_ratios_and_the_scarcest_leg_rule():
    market = LongDay()
    market.said[1, HIGH.key] = (0.50, 0.55, 7, 7)
    one = talk(market, cash=1_000_000)
    one.say("placeOrder", **buy(1, qty=D(500)))
    heard = one.say("placeOrder", **buy(2, qty=D(4), **bag(one, (CALL, 1, "BUY"), (HIGH, 2, "SELL"))))  # 5 of the one, 7 of the other: 3 whole ones
    assert fills(heard) == [("BAG", 0, "BOT", 3, D("0.25")), ("OPT", 60, "BOT", 3, D("1.25")), ("OPT", 65, "SLD", 6, D("0.50"))]
    assert statuses(heard, 2)[-1] == "Submitted"
    assert fills(step(one)) == [("BAG", 0, "BOT", 1, D("1.25") - 2 * D("1.20")), ("OPT", 60, "BOT", 1, D("1.25")), ("OPT", 65, "SLD", 2, D("1.20"))]


def test_combination_may_pay_and_cost_nothing():
    one = talk(cash=10_000)
    legs = bag(one, (CALL, 1, "SELL"), (HIGH, 1, "BUY"))
    assert codes(one.say("placeOrder", **buy(1, orderType="LMT", limitPrice=D("0.10"), **legs))) == []  # -1.20 + 1.25: it costs 0.05
    assert one.gateway.exchange.executions()[0].price == D("0.05")
    heard = one.say("placeOrder", **buy(2, orderType="LMT", limitPrice=D("0.00"), **legs))
    assert statuses(heard, 2) == ["Submitted"]  # nobody pays for it
    assert codes(one.say("placeOrder", **buy(3, orderType="LMT", limitPrice=D("-0.05"), **legs))) == []
    assert codes(one.say("placeOrder", **buy(4, orderType="LMT", limitPrice=D("0.005"), **legs))) == [(4, 110)]


def test_selling_a_combination_trades_the_opposite_legs():
    one = talk()
    one.say("placeOrder", **buy(1, qty=D(2), **bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL"))))
    heard = one.say("placeOrder", **buy(2, side="SELL", qty=D(2), **bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL"))))
    assert fills(heard) == [("BAG", 0, "SLD", 2, D("-0.05")), ("OPT", 60, "SLD", 2, D("1.20")), ("OPT", 65, "BOT", 2, D("1.25"))]
    assert one.gateway.exchange.holdings("DU1") == ()
    assert [v["realizedPNL"] for n, v in heard if n == "commissionReport"] == ["-10.00", "-10.00"]


def test_covered_call_in_one_order():
    one = talk(cash=10_000)
    heard = one.say("placeOrder", **buy(1, **bag(one, (KO, 100, "BUY"), (CALL, 1, "SELL"))))
    assert fills(heard) == [("BAG", 0, "BOT", 1, D("58.82")), ("STK", 0, "BOT", 100, D("60.02")), ("OPT", 60, "SLD", 1, D("1.20"))]
    assert {h.contract.key: h.qty for h in one.gateway.exchange.holdings("DU1")} == {"KO": 100, CALL.key: -1}


@pytest.mark.parametrize("legs, code", [
    ([(CALL, 1, "BUY")], 321), ([(CALL, 2, "BUY"), (HIGH, 2, "SELL")], 321), ([(CALL, 1, "BUY"), (CALL, 1, "SELL")], 321), ([(CALL, 1, "BUY"), (HIGH, 0, "SELL")], 200),
    ([(CALL, 1, "BUY"), (HIGH, 1, "HOLD")], 200), ([], 321), ([(CALL, 1, "SELL"), (HIGH, 2, "SELL")], 201),
])  # fmt: skip
def test_combination_that_is_none_is_refused(legs, code):
    one = talk()
    assert codes(one.say("placeOrder", **buy(1, **bag(one, *legs)))) == [(1, code)] and not one.gateway.exchange.executions()


def test_leg_of_an_unknown_number_is_refused():
    one = talk()
    fields = bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL"))
    fields["legs"][1]["conId"] = 999_999
    assert codes(one.say("placeOrder", **buy(1, **fields))) == [(1, 200)]


def test_combination_is_covered_by_cash_or_refused():
    one = talk(cash=499)
    spread = bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL"))
    assert codes(one.say("placeOrder", **buy(1, side="SELL", orderType="LMT", limitPrice=D("-0.05"), **spread))) == [(1, 201)]  # 500 of width
    assert codes(one.say("placeOrder", **buy(2, orderType="LMT", limitPrice=D("5.00"), **spread))) == [(2, 201)]
    assert codes(one.say("placeOrder", **buy(3, orderType="LMT", limitPrice=D("4.00"), **spread))) == []


def test_quote_of_a_combination_is_followed():
    one = talk()
    fields = bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL"))
    fields = {k: v for k, v in fields.items() if k in ("symbol", "secType")} | {"legs": [{k: leg[k] for k in ("conId", "ratio", "action", "exchange")} for leg in fields["legs"]]}
    heard = one.say("reqMktData", reqId=5, **fields)
    assert {v["tickType"]: (v["price"], v["size"]) for n, v in heard if n == "tickPrice"} == {1: (D("-0.05"), 5), 2: (D("0.05"), 5)}


def test_working_combination_survives_a_restart(tmp_path):
    one = talk(journal=tmp_path / "j.jsonl")
    one.say("placeOrder", **buy(1, qty=D(9), tif="GTC", **bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL"))))  # 5 at once, 4 wait
    before = truth(one.gateway.exchange)
    one.gateway.exchange.close()
    again = Exchange(LongDay(), {"DU1": D(100_000)}, THURSDAY, tmp_path / "j.jsonl")
    assert truth(again) == before and again.open_orders()[0].remaining == 4
    again.advance()
    assert truth(again)["accounts"]["DU1"]["positions"] == {CALL.key: "9", HIGH.key: "-9"}
    again.close()
    rows = [e for events, _, _ in read_journal((tmp_path / "j.jsonl").read_bytes()) for e in events if isinstance(e, Execution)]
    assert [(e.leg, str(e.qty)) for e in rows] == [(0, "5"), (1, "5"), (2, "5"), (0, "4"), (1, "4"), (2, "4")]


def test_key_of_a_combination_round_trips():
    special = option("SPX", EXPIRY, 3800, "P", trading_class="SPXW")
    combo = Combo("SPX", ((special, 2), (option("SPX", EXPIRY, "3850.5", "P"), -3)))
    assert contract_of(combo.key) == combo and contract_of(CALL.key) == CALL
    with pytest.raises(InputError, match="contracts of KO"):
        Combo("KO", ((CALL, 1), (special, -1)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.booleans()), min_size=1, max_size=8))
def test_combinations_never_lose_a_cent_or_a_contract(orders):
    exchange = Exchange(LongDay(), {"DU1": D(50_000)}, THURSDAY)
    exchange.advance()
    for n, (side, qty, one, two, at_market) in enumerate(orders, 1):
        try:
            combo = Combo("KO", ((CALL, one), (HIGH, -two)))
        except InputError:  # a common divisor
            continue
        kind, limit = (TicketType.MARKET, None) if at_market else (TicketType.LIMIT, D("0.50"))
        exchange.place(Ticket("DU1", 1, n, combo, Side(side), D(qty), kind, limit))
        exchange.advance()
    legs = [e for e in exchange.executions() if e.leg]
    book, cash = exchange.book("DU1"), D(50_000) + sum(e.cash for e in legs) - sum(exchange.commission(e.exec_id).amount for e in legs)
    held = {c: sum(e.side.sign * e.qty for e in legs if e.contract == c) for c in (CALL, HIGH)}
    assert book.cash == cash >= 0 and {c: q for c, q in held.items() if q} == book.qty
    for update in exchange.state.orders.values():
        whole = [e for e in exchange.executions() if e.perm_id == update.perm_id and not e.leg]
        parts = [e for e in legs if e.perm_id == update.perm_id]
        assert sum(e.qty for e in whole) == update.filled and len(parts) == 2 * len(whole)
        for contract, ratio in update.ticket.contract.legs:
            assert sum(e.qty for e in parts if e.contract == contract) == update.filled * abs(ratio)
        assert sum(e.cash for e in whole) == sum(e.cash for e in parts)


# ---------------------------------------------------------------- brackets and groups

def bracket(one: Talk, first: int = 1, **more) -> list:
    "A parent and its two children, sent as clients do: the last one transmits all."
    heard = one.say("placeOrder", **buy(first, qty=D(100), orderType="LMT", limitPrice=D("60.10"), transmit=False, **more))
    heard += one.say("placeOrder", **buy(first + 1, side="SELL", qty=D(100), orderType="LMT", limitPrice=D("62.00"), parentId=first, transmit=False))
    return heard + one.say("placeOrder", **buy(first + 2, side="SELL", qty=D(100), orderType="STP", auxPrice=D("58.00"), parentId=first))


def test_bracket_waits_until_it_is_transmitted_and_one_child_ends_the_other():
    market = LastMarket()
    one = talk(market)
    heard = one.say("placeOrder", **buy(1, qty=D(100), orderType="LMT", limitPrice=D("60.10"), transmit=False))
    assert statuses(heard, 1) == ["PreSubmitted"] and statuses(step(one), 1) == []  # marketable, and not sent
    heard = one.say("placeOrder", **buy(2, side="SELL", qty=D(100), orderType="LMT", limitPrice=D("62.00"), parentId=1, transmit=False))
    heard += one.say("placeOrder", **buy(3, side="SELL", qty=D(100), orderType="STP", auxPrice=D("58.00"), parentId=1))
    assert codes(heard) == [] and statuses(heard, 1)[-1] == "Filled"
    assert statuses(heard, 2)[-1] == "Submitted"
    moves(market, 3, 62.30)
    heard = step(one)
    assert (statuses(heard, 2), statuses(heard, 3), codes(heard)) == (["Filled"], ["Cancelled"], [(3, 202)])
    assert one.gateway.exchange.holdings("DU1") == ()


def test_stop_of_a_bracket_saves_what_was_bought():
    market = LastMarket()
    one = talk(market)
    bracket(one)
    moves(market, 2, 57.50)
    heard = step(one)
    assert (statuses(heard, 3)[-1], statuses(heard, 2)[-1]) == ("Filled", "Cancelled") and one.gateway.exchange.executions()[-1].price == D("57.49")


def test_children_end_with_a_parent_that_was_not_filled():
    one = talk()
    one.say("placeOrder", **buy(1, qty=D(100), orderType="LMT", limitPrice=D("50.00"), transmit=False))
    one.say("placeOrder", **buy(2, side="SELL", qty=D(100), orderType="LMT", limitPrice=D("62.00"), parentId=1))
    assert {u.status for u in one.gateway.exchange.open_orders()} == {"Submitted", "PreSubmitted"}
    heard = one.say("cancelOrder", orderId=1)
    assert codes(heard) == [(1, 202), (2, 202)] and not one.gateway.exchange.open_orders()


@pytest.mark.parametrize("parent", [9, 1])
def test_child_without_a_live_parent_is_refused(parent):
    one = talk()
    one.say("placeOrder", **buy(1, qty=D(100), orderType="LMT", limitPrice=D("50.00")))
    one.say("cancelOrder", orderId=1)
    assert codes(one.say("placeOrder", **buy(2, side="SELL", qty=D(100), orderType="LMT", limitPrice=D("62.00"), parentId=parent))) == [(2, 10006)]


@pytest.mark.parametrize("oca_type, left", [("1", {}), ("3", {2: 150})])
def test_part_of_one_ends_or_shrinks_the_other(oca_type, left):
    market = LastMarket()
    one = talk(market)
    for n in (1, 2):
        one.say("placeOrder", **buy(n, qty=D(200), orderType="LMT", limitPrice=D("59.00"), ocaGroup="either", ocaType=oca_type, account="DU1"))
    market.said[2, "KO"] = (58.98, 59.00, 50, 50)
    heard = step(one)
    assert statuses(heard, 1) == ["Submitted"] and {u.ticket.order_id: u.remaining for u in one.gateway.exchange.open_orders() if u.ticket.order_id == 2} == left
    assert one.gateway.exchange.open_orders()[0].filled == 50


def test_group_needs_the_cash_of_one():
    one = talk(cash=6_100)
    orders = [buy(n, qty=D(100), orderType="LMT", limitPrice=D("59.00"), ocaGroup="either") for n in (1, 2)]
    assert [codes(one.say("placeOrder", **o)) for o in orders] == [[], []]
    assert codes(one.say("placeOrder", **buy(3, qty=D(100), orderType="LMT", limitPrice=D("59.00")))) == [(3, 201)]


def test_bracket_survives_a_restart(tmp_path):
    market = LastMarket()
    one = talk(market, journal=tmp_path / "j.jsonl")
    bracket(one, tif="GTC")
    one.gateway.exchange.close()
    again = Exchange(market, {"DU1": D(100_000)}, THURSDAY, tmp_path / "j.jsonl")
    moves(market, 2, 57.50)
    again.advance()
    assert not again.open_orders() and not again.holdings("DU1")
    again.close()


# ---------------------------------------------------------------- what-if

def looked_at(one: Talk, **order) -> dict:
    (seen,) = [v for n, v in one.say("placeOrder", **buy(1, whatIf=True, **order)) if n == "openOrder"]
    return seen


def test_what_if_takes_nothing_and_tells_margin_and_commission():
    one = talk(cash=10_000)
    seen = looked_at(one, qty=D(100))
    names = ("initMarginBefore", "initMarginChange", "initMarginAfter", "maintMarginAfter", "equityWithLoanBefore", "equityWithLoanChange", "commission", "warning", "whatIf")
    assert [seen[n] for n in names] == ["0.00", "3000.50", "3000.50", "1500.25", "10000.00", "-2.00", "1.00", "", "1"]  # bought at 60.02, valued at 60.01, a dollar paid
    assert not one.gateway.exchange.state.orders and one.gateway.exchange.next_order_id() == 1


def test_what_if_of_a_covered_call_and_of_a_spread():
    one = talk()
    one.say("placeOrder", **buy(9, qty=D(100)))
    about = {"symbol": "KO", "secType": "OPT", "expiry": "20221216", "strike": D(65), "right": "C"}
    seen = looked_at(one, side="SELL", orderType="LMT", limitPrice=D("1.25"), **about)
    assert (seen["initMarginBefore"], seen["initMarginAfter"]) == ("3000.50", "2878.00")  # half of 6,001, less the 122.50 of the call that net liquidation lacks
    one = talk()
    seen = looked_at(one, side="SELL", orderType="LMT", limitPrice=D("-0.05"), **bag(one, (CALL, 1, "BUY"), (HIGH, 1, "SELL")))
    assert (seen["initMarginChange"], seen["commission"]) == ("500.00", "2.00")  # the width of the strikes


def test_what_if_says_what_is_lacking():
    one = talk(cash=100)
    seen = looked_at(one, qty=D(100))
    assert seen["warning"].startswith("Order rejected - insufficient funds") and seen["initMarginAfter"] == "3000.50"
    assert codes(one.say("placeOrder", **buy(2, whatIf=True, qty=D("0.5")))) == [(2, 10318)]
