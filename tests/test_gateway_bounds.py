"""What a client may not do to the gateway, and what it is told instead: bytes in, bytes out, no socket."""
import json
from decimal import Decimal
from pathlib import Path

import pytest
from exchange_support import CALL, EXPIRY, KO, THURSDAY, StillMarket, ticket
from gateway_support import Talk, ask, buy, codes, messages, opening

from otsport.core.contracts import option, stock
from otsport.core.errors import InputError
from otsport.gateway import session as session_module
from otsport.gateway.exchange import Exchange
from otsport.gateway.frames import MAX_VERSION, PREFIX, WireError, frame
from otsport.gateway.handlers import MAX_CLIENTS, MAX_REF, receive
from otsport.gateway.journal import OptionExpiry, read_journal
from otsport.gateway.lookups import MAX_LINES, rule_of
from otsport.gateway.session import MAX_FEEDS, Gateway, Session
from otsport.gateway.wire import MAX_TEXT

VERSION = 176


def served(*accounts: str, cash: int = 1_000_000) -> Gateway:
    return Gateway(Exchange(StillMarket(), {name: Decimal(cash) for name in accounts or ("DU1",)}, THURSDAY))


# ---------------------------------------------------------------- texts and numbers

def test_long_reference_is_refused_and_not_kept():
    talk = Talk(served())
    heard = talk.say("placeOrder", **buy(orderRef="x" * (MAX_REF + 1)))
    assert codes(heard) == [(7, 321)] and "129 characters, at most 128" in heard[0][1]["text"] and len(heard) == 1
    assert not talk.gateway.exchange.state.orders
    assert "orderStatus" in [n for n, _ in talk.say("placeOrder", **buy(8, orderRef="x" * MAX_REF))]


@pytest.mark.parametrize("request_, fields", [
    ("placeOrder", buy(orderRef="r" * 1_000_000)), ("placeOrder", buy(account="A" * 1_001)), ("placeOrder", buy(tif="T" * 5_000)), ("reqContractDetails", {"reqId": 7, "symbol": "S" * 2_000}),
    ("reqAccountSummary", {"reqId": 7, "group": "All", "tags": "t," * 600}), ("reqMatchingSymbols", {"reqId": 7, "pattern": "P" * 1_001}),
])  # fmt: skip
def test_long_text_is_refused_and_not_echoed(request_, fields):
    talk = Talk(served())
    heard = talk.say(request_, **fields)
    assert codes(heard) == [(7, 321)] and f"at most {MAX_TEXT:,}" in heard[0][1]["text"] and len(heard[0][1]["text"]) < 200
    assert talk.say("reqCurrentTime") and not talk.gateway.exchange.state.orders


@pytest.mark.parametrize("name, value", [("limitPrice", b"nan"), ("limitPrice", b"1e999999"), ("limitPrice", b"12,5"), ("limitPrice", b"-inf"), ("qty", b"nan"), ("auxPrice", b"NaN"), ("whatIf", b"maybe"), ("parentId", b"x")])
def test_order_with_an_unreadable_number_is_rejected_and_the_line_lives(name, value):
    marks = {"limitPrice": Decimal("59.25"), "qty": Decimal(4321), "auxPrice": Decimal("58.25"), "whatIf": True, "parentId": 987_654}
    shown = {"whatIf": b"\x001\x00"} | {k: str(v).encode() for k, v in marks.items() if k != "whatIf"}
    fields = buy(orderType="LMT", limitPrice=Decimal("59.00")) | {name: marks[name]}
    if name == "whatIf":
        fields["transmit"] = False
    frame_ = ask(VERSION, "placeOrder", **fields)
    body = frame_[4:].replace(shown[name], b"\x00" + value + b"\x00" if name == "whatIf" else value)
    talk = Talk(served())
    heard = talk.raw(frame(body))
    assert codes(heard) == [(7, 321)] and heard[0][1]["text"].startswith(f"Error validating request: placeOrder: {name if name != 'whatIf' else ''}")
    assert not talk.gateway.exchange.state.orders and talk.say("reqCurrentTime")


def test_layout_that_does_not_fit_ends_the_conversation():
    talk = Talk(served())
    with pytest.raises(WireError, match="ends too early"):
        talk.raw(frame(b"3\x007\x00"))
    with pytest.raises(WireError, match="orderId"):
        Talk(served(), 2).raw(frame(b"4\x001\x00x\x00\x00"))  # whose cancel is it?


# ---------------------------------------------------------------- how many

def test_a_hundred_quotes_are_followed_and_no_more():
    gateway = served()
    one, two = Talk(gateway, 1), Talk(gateway, 2)
    for n in range(MAX_LINES - 1):
        assert codes(one.say("reqMktData", reqId=n, symbol="KO", secType="STK")) == []
    assert codes(two.say("reqMktData", reqId=5, symbol="KO", secType="STK")) == []
    heard = one.say("reqMktData", reqId=500, symbol="KO", secType="STK")
    assert codes(heard) == [(500, 101)] and "Max number of tickers" in heard[0][1]["text"] and len(heard) == 1
    assert codes(two.say("reqMktData", reqId=6, symbol="KO", secType="STK")) == [(6, 101)]  # the lines are those of the login
    assert codes(one.say("reqMktData", reqId=501, symbol="KO", secType="STK", snapshot=True)) == []  # a snapshot takes none
    two.say("cancelMktData", reqId=5)
    assert codes(one.say("reqMktData", reqId=500, symbol="KO", secType="STK")) == []
    assert gateway.lines_used() == MAX_LINES == 100


@pytest.mark.parametrize("name, more", [
    ("reqAccountSummary", {"group": "All", "tags": "NetLiquidation"}), ("reqAccountUpdatesMulti", {"account": "DU1"}), ("reqPositionsMulti", {"account": "DU1"}),
])
def test_other_subscriptions_are_bounded_too(name, more):
    talk = Talk(served())
    for n in range(1, MAX_FEEDS + 1):
        assert codes(talk.say(name, reqId=n, **more)) == []
    heard = talk.say(name, reqId=99, **more)
    assert codes(heard) == [(99, 322)] and len(heard) == 1
    assert codes(talk.say(name, reqId=1, **more)) == []  # the same again is no new one


def test_client_beyond_the_places_is_told():
    gateway = served()
    for n in range(MAX_CLIENTS):
        Talk(gateway, n)
    late = Session("late")
    receive(gateway, late, opening(77))
    assert messages(bytes(late.out))[-1][1]["text"].startswith("32 clients are connected") and late.closing and len(gateway.sessions) == 32


# ---------------------------------------------------------------- versions

@pytest.mark.parametrize("spoken, answered", [(b"v201..203", 178), (b"v203", 178), (b"v100..150", 157), (b"v900..999", 178), (b"v9999..99999", 178)])
def test_client_of_another_version_is_told_why(spoken, answered):
    gateway, session = served(), Session("new")
    receive(gateway, session, PREFIX + frame(spoken))
    hello, (error,) = bytes(session.out), messages(bytes(session.out), answered)
    assert hello[4:].startswith(f"{answered}\0".encode()) and error[0] == "error" and error[1]["code"] == 503
    assert spoken.decode() in error[1]["text"] and "157 to 178" in error[1]["text"] and session.closing


@pytest.mark.parametrize("spoken", [b"vx", b"v", b"", b"176", b"v157-176", b"v-1", b"v157..", b"v" + b"9" * 5000, b"\xff\xfe", "v١٥٧".encode()])
def test_client_whose_hello_names_no_version_is_told_what_it_should_say(spoken):
    gateway, session = served(), Session("new")
    if not spoken:
        with pytest.raises(WireError):  # a frame of no bytes is no frame
            receive(gateway, session, PREFIX + frame(spoken))
        return
    receive(gateway, session, PREFIX + frame(spoken))
    hello, (error,) = bytes(session.out), messages(bytes(session.out), MAX_VERSION)
    assert hello[4:].startswith(f"{MAX_VERSION}\0".encode()) and error[0] == "error" and error[1]["code"] == 503
    assert "expected a version range such as v157..178" in error[1]["text"] and session.closing and not gateway.sessions


def test_newer_client_that_still_speaks_text_is_served():
    gateway, session = served(), Session("new")
    receive(gateway, session, PREFIX + frame(b"v100..203") + ask(MAX_VERSION, "startApi", clientId=4))
    assert session.version == MAX_VERSION and gateway.sessions == {4: session}


# ---------------------------------------------------------------- identity at the wire

ABOUT = {"symbol": "SPX", "secType": "OPT", "expiry": "20221216", "strike": Decimal(3800), "right": "C", "currency": "USD"}


def details(talk: Talk, **asked) -> list[dict]:
    return [v for n, v in talk.say("reqContractDetails", reqId=1, **asked) if n == "contractDetails"]


def test_trading_class_tells_contracts_apart():
    talk = Talk(served())
    both = details(talk, **ABOUT)
    assert [(v["tradingClass"], v["localSymbol"]) for v in both] == [("SPX", "SPX   221216C03800000"), ("SPXW", "SPXW  221216C03800000")]
    [weekly] = details(talk, **ABOUT, tradingClass="SPXW")
    assert weekly == both[1] and details(talk, conId=weekly["conId"]) == [weekly] and details(talk, **ABOUT, tradingClass="SPXQ") == []
    assert details(talk, localSymbol="SPXW  221216C03800000", secType="OPT") == [weekly]
    assert details(talk, **ABOUT, tradingClass="SPX", conId=weekly["conId"]) == []


def test_order_that_fits_two_classes_is_ambiguous():
    talk = Talk(served())
    heard = talk.say("placeOrder", **buy(**ABOUT))
    assert codes(heard) == [(7, 200)] and "fits 2 contracts" in heard[0][1]["text"] and "trading class" in heard[0][1]["text"]


def test_holdings_of_two_classes_are_two_positions():
    talk = Talk(served())
    talk.gateway.step()
    for order_id, name, qty in ((1, "SPX", 2), (2, "SPXW", 3)):
        talk.say("placeOrder", **buy(order_id, **ABOUT | {"tradingClass": name, "qty": Decimal(qty)}))
    held = [(v["tradingClass"], v["qty"]) for n, v in talk.say("reqPositions") if n == "position"]
    assert held == [("SPX", 2), ("SPXW", 3)]
    assert [(v["tradingClass"], v["shares"]) for n, v in talk.say("reqExecutions", reqId=9) if n == "execDetails"] == held
    keys = [e.contract.key for e in talk.gateway.exchange.executions()]
    assert keys == ["SPX 20221216 C 3800", "SPX 20221216 C 3800 class:SPXW"]


def test_chain_is_told_by_trading_class():
    heard = Talk(served()).say("reqSecDefOptParams", reqId=3, symbol="SPX", secType="STK", conId=3)
    assert [(v["tradingClass"], v["multiplier"]) for n, v in heard if n == "secDefOptParam"] == [("SPX", "100"), ("SPXW", "100")]
    assert [n for n, _ in heard].count("secDefOptParamEnd") == 1


def test_symbol_with_a_space():
    talk = Talk(served())
    [share] = details(talk, symbol="BRK B", secType="STK")
    assert (share["symbol"], share["localSymbol"]) == ("BRK B", "BRK B")
    [call] = details(talk, symbol="BRK B", secType="OPT", expiry="20221216", strike=Decimal(60), right="C")
    assert (call["localSymbol"], call["tradingClass"], call["underConId"]) == ("BRKB  221216C00060000", "BRKB", share["conId"])
    assert details(talk, localSymbol="BRKB  221216C00060000", secType="OPT") == [call]
    talk.gateway.step()
    talk.say("placeOrder", **buy(1, symbol="BRK B", secType="OPT", expiry="20221216", strike=Decimal(60), right="C"))
    assert [h.contract for h in talk.gateway.exchange.holdings("DU1")] == [option("BRK B", EXPIRY, 60, "C")]


@pytest.mark.parametrize("more", [{"multiplier": "10"}, {"strike": Decimal(-60)}, {"currency": "EUR"}, {"right": "X"}, {"tradingClass": "KO1"}, {"expiry": "20221299"}])
def test_description_that_fits_nothing_finds_nothing(more):
    asked = {"symbol": "KO", "secType": "OPT", "expiry": "20221216", "strike": Decimal(60), "right": "C"}
    talk = Talk(served())
    assert [v["strike"] for v in details(talk, **asked)] == [60]
    assert details(talk, **asked | more) == []


def test_price_steps_are_those_of_the_class():
    talk = Talk(served())
    [weekly] = details(talk, **ABOUT, tradingClass="SPXW")
    steps = lambda rule: [(v["lowEdge"], v["increment"]) for v in talk.say("reqMarketRule", ruleId=int(rule))[0][1]["increments"]]
    assert steps(weekly["marketRuleIds"]) == [(0, Decimal("0.05")), (3, Decimal("0.10"))] and weekly["minTick"] == Decimal("0.05")
    assert [rule_of(c) for c in (KO, CALL)] == [26, 32] and steps(32) == [(0, Decimal("0.01")), (3, Decimal("0.05"))]
    assert steps(rule_of(option("SPY", EXPIRY, 400, "C"))) == [(0, Decimal("0.01")), (3, Decimal("0.01"))]


# ---------------------------------------------------------------- what else a program asks for

def test_margin_figures_are_answered():
    "Cash account: 100 KO at 60.02, marked at 60.01. Regulation T would ask half of 6,001 to open and a quarter to keep them."
    talk = Talk(served(cash=100_000))
    talk.gateway.step()
    talk.say("placeOrder", **buy(qty=Decimal(100)))
    tags = "InitMarginReq,MaintMarginReq,FullInitMarginReq,FullMaintMarginReq,Cushion,ExcessLiquidity,BuyingPower,NetLiquidation"
    told = {v["tag"]: v["value"] for n, v in talk.say("reqAccountSummary", reqId=1, group="All", tags=tags) if n == "accountSummary"}
    assert told == {"InitMarginReq": "3000.50", "FullInitMarginReq": "3000.50", "MaintMarginReq": "1500.25", "FullMaintMarginReq": "1500.25", "Cushion": "0.984997",
                    "ExcessLiquidity": "93997.00", "BuyingPower": "93997.00", "NetLiquidation": "99998.00"}  # fmt: skip


class Counted(StillMarket):
    "A market with open interest."

    def open_interest(self, contract, day):
        return 1234


def test_open_interest_is_answered_where_the_market_has_one():
    talk = Talk(Gateway(Exchange(Counted(), {"DU1": Decimal(1)}, THURSDAY)))
    about = {"symbol": "KO", "secType": "OPT", "expiry": "20221216", "strike": Decimal(60), "right": "P"}
    heard = talk.say("reqMktData", reqId=4, genericTicks="101", **about)
    assert {v["tickType"]: v["size"] for n, v in heard if n == "tickSize" and v["tickType"] in (27, 28)} == {27: 0, 28: 1234} and codes(heard) == []


@pytest.mark.parametrize("market, about, ticks, absent", [
    (StillMarket, {"secType": "OPT", "expiry": "20221216", "strike": Decimal(60), "right": "C"}, "101", "101"), (Counted, {"secType": "STK"}, "101", "101"),
    (Counted, {"secType": "OPT", "expiry": "20221216", "strike": Decimal(60), "right": "C"}, "106,101,292:BRFG", "106, 292:BRFG"), (Counted, {"secType": "STK"}, "mdoff,233", "233"),
])  # fmt: skip
def test_ticks_that_will_not_come_are_named(market, about, ticks, absent):
    talk = Talk(Gateway(Exchange(market(), {"DU1": Decimal(1)}, THURSDAY)))
    heard = talk.say("reqMktData", reqId=4, symbol="KO", genericTicks=ticks, **about)
    assert codes(heard) == [(4, 10090)] and f"generic ticks {absent} will not come" in heard[2][1]["text"]
    assert [n for n, _ in heard].count("tickPrice") >= 2  # the quote itself comes


def test_list_that_is_none_is_refused():
    heard = Talk(served()).say("reqMktData", reqId=4, symbol="KO", secType="STK", genericTicks="open interest")
    assert codes(heard) == [(4, 321)] and len(heard) == 1 and "'open interest'" in heard[0][1]["text"]


# ---------------------------------------------------------------- a journal of 0.1.0

GOLDEN = Path(__file__).with_name("golden") / "gateway_0_1_0.jsonl"


def test_journal_of_0_1_0_is_read(tmp_path):
    """Written by 0.1.0: 200 KO bought at 60.02 (commission 1.00), a call on 60 sold at 1.20 (1.00), a GTC order left working,
    a blank account and a modify refused; the call of 2022-12-16 assigned at a close of 60.01."""
    data = GOLDEN.read_bytes()
    events = [e for batch, _, _ in read_journal(data) for e in batch]
    assert [(e.outcome, e.shares, e.cash) for e in events if isinstance(e, OptionExpiry)] == [("assigned", -100, 6000)]
    copy = tmp_path / "j.jsonl"
    copy.write_bytes(data)
    exchange = Exchange(StillMarket(), {"DU1": Decimal(100_000), "DU2": Decimal(50_000)}, EXPIRY, copy)
    assert copy.read_bytes() == data  # nothing was added by opening it
    assert exchange.values("DU1").cash == 100_000 - 200 * Decimal("60.02") - 1 + 120 - 1 + 6000
    assert {h.contract.key: h.qty for h in exchange.holdings("DU1")} == {"KO": 100} and not exchange.holdings("DU2")
    assert [(u.ticket.order_ref, u.ticket.tif, u.remaining) for u in exchange.open_orders()] == [("rest", "GTC", 10)]
    assert exchange.place(ticket(9, "SELL", 100)).status in ("Filled", "PreSubmitted")
    exchange.close()
    lines = [json.loads(line) for line in copy.read_bytes().splitlines()]
    assert [line["n"] for line in lines] == list(range(len(lines))) and copy.read_bytes().startswith(data)


# ---------------------------------------------------------------- what an account may begin with

@pytest.mark.parametrize("cash", ["1e400", "1e30", "1000000000000.01", "100.999", "0.001"])
def test_cash_that_is_no_amount_of_money_is_refused(cash):
    with pytest.raises(InputError, match="account DU1 would begin with .* dollars: give whole cents, at most 1,000,000,000,000$") as error:
        Exchange(StillMarket(), {"DU1": Decimal(cash)}, THURSDAY)
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("cash", ["0", "0.01", "1000000000000", "100.990", "1e6"])
def test_cash_in_whole_cents_is_taken(cash):
    assert Exchange(StillMarket(), {"DU1": Decimal(cash)}, THURSDAY).values("DU1").cash == Decimal(cash)
