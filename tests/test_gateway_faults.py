"""Faults of a plan: each happens when it should, changes what a client is told and never what is true, and a broken plan is told with its line."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from decimal import Decimal

import pytest
from exchange_support import KO, THURSDAY, StillMarket
from gateway_support import Talk, ask, buy, codes, messages, opening, running

from otsport.core.errors import InputError
from otsport.gateway.broker_side import correct, liquidate
from otsport.gateway.control import control_answer, truth
from otsport.gateway.exchange import Exchange
from otsport.gateway.faults import KINDS, PARAMETERS, FaultError, FaultPlan, fault, fault_lines, read_plan, spoken
from otsport.gateway.frames import Frames
from otsport.gateway.handlers import leave, receive
from otsport.gateway.injector import ACTS, ON_MESSAGE, ON_REQUEST, Injector
from otsport.gateway.journal import received_orders
from otsport.gateway.session import Gateway
from otsport.gateway.wire import split


class Wall:
    "A clock of the wall that a test moves."

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def gateway(*faults, seed=0, wall=None, accounts=("DU1",), journal=None, market=None, clock="heartbeat") -> Gateway:
    "A gateway at the open, with faults."
    exchange = Exchange(market or StillMarket(), {name: Decimal(100_000) for name in accounts}, THURSDAY, journal)
    exchange.advance()
    return Gateway(exchange, clock, faults=Injector(FaultPlan(tuple(faults), seed), wall or Wall()))


def names(heard) -> list[str]:
    return [n for n, _ in heard]


def fills(heard) -> list[tuple[str, Decimal]]:
    return [(v["execId"], v["shares"]) for n, v in heard if n == "execDetails"]


PLAIN = ["openOrder", "orderStatus", "execDetails", "openOrder", "orderStatus", "commissionReport"]  # what a market order at the open brings


# ---------------------------------------------------------------- plans

def plan_file(tmp_path, text: str, name: str = "plan.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_plan_is_read_from_yaml_and_json_alike(tmp_path):
    yaml = plan_file(tmp_path, "seed: 7\nfaults:\n  - delay: {on: commissionReport, seconds: 2}\n  - kill:\n      on: placeOrder\n      nth: 3\n      when: after\n  - disconnect\n")
    same = plan_file(tmp_path, json.dumps({"seed": 7, "faults": [{"delay": {"on": "commissionReport", "seconds": 2}}, {"kill": {"on": "placeOrder", "nth": 3, "when": "after"}}, "disconnect"]}), "plan.json")
    assert read_plan(yaml) == read_plan(same) == FaultPlan((fault("delay", on="commissionReport", seconds=2), fault("kill", on="placeOrder", nth=3, when="after"), fault("disconnect")), 7)


@pytest.mark.parametrize("text, words", [
    ("faults:\n  - dely: {on: execDetails, seconds: 1}\n", ["line 2", "did you mean 'delay'"]),
    ("faults:\n  - delay: {on: execDetails, seconds: 1}\n  - delay:\n      on: execDetail\n      seconds: 1\n", ["line 4", "did you mean 'execDetails'"]),
    ("faults:\n  - delay:\n      on: execDetails\n      second: 1\n", ["line 4", "did you mean 'seconds'"]),
    ("faults:\n  - duplicate:\n      on: execDetails\n      chance: 1.5\n", ["line 4", "chance = 1.5", "from 1e-09 to 1"]),
    ("faults:\n  - kill: {on: placeOrder, nth: 1.5}\n", ["line 2", "whole number"]), ("faults:\n  - kill: {on: placeOrder, nth: yes}\n", ["line 2", "nth"]),
    ("faults:\n  - outage: {on: placeOrder}\n", ["line 2", "seconds (of the wall) or steps"]), ("faults:\n  - outage: {seconds: 1, back: 1103}\n", ["line 2", "1101 or 1102"]),
    ("faults:\n  - delay: {seconds: 1}\n", ["line 2", "acts on a message that is sent"]), ("faults:\n  - delay: {on: placeOrder, seconds: 1}\n", ["line 2", "not placeOrder"]),
    ("faults:\n  - refuse_order: {on: openOrder}\n", ["line 2", "acts on a request"]), ("faults:\n  - refuse: {seconds: -1}\n", ["line 2", "more than 0"]), ("faults:\n  - refuse: {}\n", ["line 2", "needs seconds"]),
    ("faults:\n  - kill: {nth: 3}\n", ["line 2", "count messages"]), ("faults:\n  - manual_order: {contract: '', side: BUY, qty: 1}\n", ["line 2", "give a contract"]),
    ("faults:\n  - manual_order: {contract: KO, side: BUY, qty: .nan}\n", ["line 2", "above 0"]), ("faults:\n  - [1]\n", ["line 2", "one name with its words"]), ("faults:\n  - kill: 3\n", ["line 2", "stand in braces"]),
    ("seed: -1\nfaults: []\n", ["line 1", "seed = -1"]), ("sed: 1\nfaults: []\n", ["line 1", "sed is not known"]), ("faults: 3\n", ["line 1", "a list"]), ("", ["line 1"]), ("faults:\n - a: {b: [\n", ["line"]),
])  # fmt: skip
def test_broken_plan_is_told_with_its_line(tmp_path, text, words):
    with pytest.raises(FaultError) as told:
        read_plan(plan_file(tmp_path, text))
    assert str(told.value).startswith("plan.yaml, line ") and all(w in str(told.value) for w in words)


@pytest.mark.parametrize("text, line", [("faults:\n  - drop: {after: 3\n", 3), ("faults:\n  - a\n b: 1\n", 3), ("a: b: c\n", 1)])
def test_a_file_that_is_no_yaml_is_told_by_its_line(tmp_path, text, line):
    (plan := tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(FaultError, match=f"^plan.yaml, line {line}: .*write `faults:` and below it"):
        read_plan(plan)


def test_absent_plan_is_told():
    with pytest.raises(FaultError, match="cannot be read"):
        read_plan("no/such/plan.yaml")


def test_every_fault_is_described_and_can_happen():
    doors = {"message": ON_MESSAGE, "request": ON_REQUEST, "moment": ACTS}
    assert all(name in doors[kind.acts] or name == "silent_fill" for name, kind in KINDS.items())
    assert all(set(kind.takes) <= set(PARAMETERS) for kind in KINDS.values())
    listed = "\n".join(fault_lines())
    assert all(f"\n{name} " in f"\n{listed}" for name in KINDS)


# ---------------------------------------------------------------- messages

def test_without_faults_nothing_changes():
    told = [Talk(one).say("placeOrder", **buy()) for one in (gateway(), Gateway(gateway().exchange))]
    assert names(told[0]) == names(told[1]) == PLAIN


@pytest.mark.parametrize("planned, expected", [
    (fault("early", on="commissionReport"), ["commissionReport", *PLAIN[:-1]]), (fault("duplicate", on="execDetails", copies=3), PLAIN[:2] + ["execDetails"] * 3 + PLAIN[3:]),
    (fault("lose", on="orderStatus", nth=2), PLAIN[:4] + PLAIN[5:]), (fault("lose", on="any", times=0), []), (fault("silent_fill"), ["openOrder", "orderStatus"]),
    (fault("error", on="execDetails", code=399, text="held"), PLAIN[:3] + ["error"] + PLAIN[3:]), (fault("error", on="placeOrder", code=399), [*PLAIN, "error"]),
    (fault("lose", on="execDetails", client=2), PLAIN), (fault("ignore", on="placeOrder"), []), (fault("lose", on="execDetails", step=1), PLAIN),
])  # fmt: skip
def test_message_is_told_otherwise(planned, expected):
    talk = Talk(gateway(planned))
    heard = talk.say("placeOrder", **buy())
    assert names(heard) == expected
    assert all(v["reqId"] == 7 for n, v in heard if n == "error")
    entered = planned.kind != "ignore"
    assert len(talk.gateway.exchange.executions()) == entered
    assert names(talk.say("placeOrder", **buy(8))) == (PLAIN if planned.times else [])  # once, unless it is always


def test_what_was_never_told_is_found_by_asking():
    talk = Talk(gateway(fault("silent_fill")))
    talk.say("placeOrder", **buy())
    assert names(talk.say("reqOpenOrders")) == ["openOrderEnd"]
    asked = talk.say("reqExecutions", reqId=3)
    assert names(asked) == ["execDetails", "commissionReport", "execDetailsEnd"] and asked[0][1]["orderId"] == 7
    assert [(v["symbol"], v["qty"]) for n, v in talk.say("reqPositions") if n == "position"] == [("KO", 1)]


def test_delayed_message_leaves_when_its_time_has_come():
    wall = Wall()
    talk = Talk(gateway(fault("delay", on="commissionReport", seconds=2), fault("delay", on="execDetails", nth=2, steps=2), wall=wall))
    assert names(talk.say("placeOrder", **buy())) == PLAIN[:-1]
    wall.now = 1.9
    assert talk.gateway.faults.tend() == pytest.approx(0.1) and talk.hear() == []
    wall.now = 2.0
    assert talk.gateway.faults.tend() is None and names(talk.hear()) == ["commissionReport"]
    assert "execDetails" not in names(talk.say("placeOrder", **buy(8)))
    talk.gateway.step()
    assert "execDetails" not in names(talk.hear())
    talk.gateway.step()
    assert "execDetails" in names(talk.hear())


def mixed(seed: int) -> list[tuple[str, dict]]:
    "What a client hears of five orders when messages are mixed, doubled and garbled by chance."
    talk = Talk(gateway(fault("reorder", on="execDetails", times=0), fault("duplicate", on="any", chance=0.3, times=0), fault("lose", on="any", chance=0.2, times=0), seed=seed))
    return [message for n in range(7, 12) for message in talk.say("placeOrder", **buy(n))]


def test_chance_is_of_the_seed():
    first = mixed(1)
    assert mixed(1) == first and mixed(2) != first and 5 < len(first) < 60


def raw_fields(one: Gateway) -> list[list[str]]:
    "The fields of each message that a market order brings."
    talk, frames, found = Talk(one), Frames(), []
    receive(one, talk.session, ask(176, "placeOrder", **buy()))
    frames.push(bytes(talk.session.out))
    while (payload := frames.pop()) is not None:
        found.append(split(payload))
    return found


def test_garbled_message_differs_in_one_field():
    whole, places = raw_fields(gateway()), set()
    for seed in range(40):
        garbled = raw_fields(gateway(fault("garble", on="execDetails"), seed=seed))
        assert len(garbled) == len(whole) and [m[0] for m in garbled] == [m[0] for m in whole]
        changed = [(i, k) for i, (a, b) in enumerate(zip(garbled, whole)) for k, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        assert len(changed) <= 1 and all(i == 2 for i, _ in changed)
        places.update(changed)
    assert len(places) > 10


def test_order_id_that_was_used_is_told():
    talk = Talk(gateway(fault("reuse_id", id=7, nth=2)))
    talk.say("placeOrder", **buy(7))
    assert [v["orderId"] for n, v in talk.say("reqIds") if n == "nextValidId"] == [7]
    assert codes(talk.say("placeOrder", **buy(7))) == [(7, 104)]


# ---------------------------------------------------------------- requests

def test_new_order_is_refused_and_a_change_is_not():
    talk = Talk(gateway(fault("refuse_order", nth=2, code=201, text="Order rejected - reason: margin")))
    resting = buy(7, orderType="LMT", limitPrice=Decimal("59.00"))
    talk.say("placeOrder", **resting)
    assert codes(talk.say("placeOrder", **resting | {"limitPrice": Decimal("59.10")})) == []  # a change is no new order
    heard = talk.say("placeOrder", **buy(8))
    assert codes(heard) == [(8, 201)] and [v["status"] for n, v in heard if n == "openOrder"] == ["Inactive"]
    assert codes(talk.say("placeOrder", **buy(9))) == []


def test_refused_change_and_cancel_leave_the_order_alive():
    talk = Talk(gateway(fault("refuse_modify"), fault("refuse_cancel", code=161, text="not in a cancellable state")))
    resting = buy(7, orderType="LMT", limitPrice=Decimal("59.00"))
    talk.say("placeOrder", **resting)
    assert codes(talk.say("placeOrder", **resting | {"limitPrice": Decimal("59.10")})) == [(7, 110)]
    assert codes(talk.say("cancelOrder", orderId=7)) == [(7, 161)]
    (open_,) = [v for n, v in talk.say("reqOpenOrders") if n == "openOrder"]
    assert (open_["status"], open_["limitPrice"]) == ("Submitted", Decimal("59.00"))
    assert codes(talk.say("cancelOrder", orderId=7)) == [(7, 202)]


@pytest.mark.parametrize("spread, steps", [("burst", 0), ("steps", 49)])
def test_order_fills_in_fifty_parts(spread, steps):
    talk = Talk(gateway(fault("partial", parts=50, spread=spread), market=type("Still", (StillMarket,), {"session_steps": lambda self, day: StillMarket.session_steps(self, day)[:3] * 30})()))
    heard = talk.say("placeOrder", **buy(qty=Decimal(100)))
    for _ in range(steps):
        talk.gateway.exchange.state.step = 1  # the market stays open
        talk.gateway.step()
        heard += talk.hear()
    assert [shares for _, shares in fills(heard)] == [2] * 50 and len({i for i, _ in fills(heard)}) == 50
    assert [v["status"] for n, v in heard if n == "orderStatus"][-1] == "Filled"
    assert sum(v["commission"] for n, v in heard if n == "commissionReport") == Decimal("1.00")


def test_client_that_asks_too_much_is_told_and_then_cut():
    wall, cut = Wall(), []
    one = gateway(fault("pacing", limit=10, strikes=3), wall=wall)
    one.faults.hands.cut = lambda session: cut.append(session)
    one.faults.tend()
    talk = Talk(one)
    for second in range(4):
        wall.now = float(second)
        assert all(codes(talk.say("reqIds")) == [] for _ in range(9))
    assert cut == []
    heard = [m for _ in range(40) for m in talk.say("reqIds")]
    assert {c for _, c in codes(heard)} == {100} and cut and cut[0] is talk.session


def test_skewed_clock_is_told():
    wall = Wall()
    talk = Talk(gateway(fault("clock_skew", seconds=-30, after=5), wall=wall, clock="paced"))
    (_, before), = talk.say("reqCurrentTime")
    wall.now = 5.0
    talk.gateway.faults.tend()
    (_, after), = talk.say("reqCurrentTime")
    assert before["time"] - after["time"] == 30


# ---------------------------------------------------------------- outages

@pytest.mark.parametrize("back, ticks", [("1101", False), ("1102", True)])
def test_outage_says_nothing_and_comes_back(back, ticks):
    wall = Wall()
    talk = Talk(gateway(fault("outage", on="reqMarketRule", seconds=10, back=back), wall=wall, clock="paced"))
    talk.say("placeOrder", **buy(6, orderType="LMT", limitPrice=Decimal("59.00")))
    talk.say("reqMktData", reqId=5, symbol="KO", secType="STK")
    assert codes(talk.say("reqMarketRule", ruleId=26)) == [(-1, 1100)]
    talk.gateway.exchange.market.said[2, "KO"] = (58.90, 58.95, 500, 500)
    talk.gateway.step()  # the order of before is filled
    assert talk.hear() == [] and len(talk.gateway.exchange.executions()) == 1
    assert talk.say("placeOrder", **buy(7)) == talk.say("reqPositions") == [] and names(talk.say("reqCurrentTime")) == ["currentTime"]
    wall.now = 10.0
    talk.gateway.faults.tend()
    heard = talk.hear()
    assert codes(heard) == [(-1, int(back))] and names(heard)[1:] == [*PLAIN, "position", "positionEnd"]  # the fill of meanwhile is lost, what was asked is answered
    assert [v["orderId"] for n, v in heard if n == "execDetails"] == [7]
    talk.gateway.refresh()
    talk.gateway.faults.settle()
    assert ("tickPrice" in names(talk.hear())) == ticks


def test_late_news_come_when_the_link_is_back():
    talk = Talk(gateway(fault("outage", on="reqMarketRule", steps=1, fills="late", orders="refused")))
    talk.say("placeOrder", **buy(6, orderType="LMT", limitPrice=Decimal("59.00")))
    talk.say("reqMarketRule", ruleId=26)
    assert codes(talk.say("placeOrder", **buy(7))) == [(7, 201)]
    talk.gateway.exchange.market.said[2, "KO"] = (58.90, 58.95, 500, 500)
    talk.gateway.step()
    assert names(talk.hear()) == ["execDetails", "openOrder", "orderStatus", "commissionReport", "error"]
    assert len(talk.gateway.exchange.state.orders) == 1  # what was refused never entered


def test_client_that_comes_during_an_outage_is_told():
    one = gateway(fault("outage", steps=5))
    one.faults.tend()
    talk = Talk(one)
    leave(one, talk.session)
    other = Talk.__new__(Talk)
    other.gateway, other.version, other.session = one, 176, type(talk.session)("late")
    receive(one, other.session, opening(9))
    assert [c for _, c in codes(other.hear())] == [2104, 2106, 2158, 2110]


# ---------------------------------------------------------------- what the broker does

def test_correction_is_told_under_the_next_suffix():
    talk = Talk(gateway(fault("correct", qty=1, price=60.00, refill=True)))
    heard = talk.say("placeOrder", **buy(qty=Decimal(2)))
    (first, _), (second, _), (third, _) = fills(heard)
    assert first.endswith(".01") and second == first[:-2] + "02" and third != second
    assert [(v["shares"], v["price"], v["cumQty"]) for n, v in heard if n == "execDetails"] == [(2, Decimal("60.02"), 2), (1, 60, 1), (1, 60, 2)]
    book = talk.gateway.exchange.book("DU1")
    assert (book.cash, book.qty[KO], book.cost[KO]) == (Decimal(100_000) - 120 - 1, 2, 120)  # a dollar of commission, whatever the parts
    line = [v for n, v in talk.say("reqExecutions", reqId=3) if n == "execDetails"]
    assert [v["execId"] for v in line] == [first, second, third]  # TWS lists a corrected one with what replaced it


def test_corrected_sale_realizes_what_it_would_have():
    one = gateway()
    talk = Talk(one)
    for side, number in (("BUY", 7), ("BUY", 8), ("SELL", 9)):
        talk.say("placeOrder", **buy(number, side=side, qty=Decimal(100)))
    second = one.exchange.executions()[1]
    correct(one.exchange, second.exec_id, price=Decimal("62.00"))
    book = one.exchange.book("DU1")
    assert (book.qty[KO], book.cost[KO], book.realized[KO]) == (100, Decimal("6101.00"), 6000 - Decimal("6101.00"))  # sold at 60.00 what costs 61.01 on average
    with pytest.raises(InputError, match="no execution"):
        correct(one.exchange, second.exec_id)  # it does not count any more
    with pytest.raises(InputError, match="cannot become"):
        correct(one.exchange, qty=Decimal(101))


def test_correction_survives_a_restart(tmp_path):
    one = gateway(fault("correct", qty=1, price=60.00), journal=tmp_path / "j.jsonl")
    Talk(one).say("placeOrder", **buy(qty=Decimal(2)))
    before = truth(one.exchange)
    one.exchange.close()
    again = Exchange(StillMarket(), {"DU1": Decimal(100_000)}, THURSDAY, tmp_path / "j.jsonl")
    assert truth(again) == before and [e["qty"] for e in before["executions"]] == ["1"] and before["accounts"]["DU1"]["positions"] == {"KO": "1"}
    again.close()


def test_order_by_hand_belongs_to_client_0():
    one = gateway(fault("manual_order", on="reqIds", contract="KO", side="BUY", qty=10))
    nought, other = Talk(one, 0), Talk(one, 5)
    other.say("reqIds")
    assert other.hear() == []
    heard = nought.hear()
    assert names(heard) == PLAIN and {(v["orderId"], v["clientId"]) for n, v in heard if n in ("openOrder", "execDetails")} == {(0, 0)}
    assert len({v["permId"] for n, v in heard if n == "openOrder"}) == 1 and heard[0][1]["permId"] > 0
    assert [v["orderId"] for n, v in other.say("reqExecutions", reqId=3) if n == "execDetails"] == [0]
    assert codes(other.say("cancelOrder", orderId=0)) == [(0, 10147)]


def test_two_orders_by_hand_are_two():
    one = gateway(fault("manual_order", on="reqIds", times=2, contract="KO", side="BUY", qty=10, price=59.00, told="everyone"))
    talk = Talk(one, 5)
    heard = talk.say("reqIds") + talk.say("reqIds")
    assert len({v["permId"] for n, v in heard if n == "openOrder"}) == 2
    assert [(v["orderId"], v["status"]) for n, v in talk.say("reqAllOpenOrders") if n == "openOrder"] == [(0, "Submitted")] * 2


def test_liquidation_is_two_executions_alike():
    talk = Talk(gateway(fault("liquidate", on="reqIds", contract="KO")))
    talk.say("placeOrder", **buy(qty=Decimal(100)))
    heard = [v for n, v in talk.say("reqIds") if n == "execDetails"]
    assert [(v["clientId"], v["orderId"], v["shares"], v["liquidation"], v["side"]) for v in heard] == [(0, -1, 50, 1, "SLD")] * 2
    assert heard[0]["execId"] != heard[1]["execId"] and not talk.gateway.exchange.holdings("DU1")


def test_what_cannot_happen_is_noted_and_harms_nobody():
    talk = Talk(gateway(fault("liquidate", on="reqIds", contract="KO")))
    assert names(talk.say("reqIds")) == ["nextValidId"]
    assert "holds 0 KO" in talk.gateway.faults.log[-1]["why"] and not talk.gateway.exchange.executions()
    with pytest.raises(InputError, match="cannot be closed"):
        liquidate(talk.gateway.exchange, KO)


def test_master_client_hears_all_orders():
    exchange = Exchange(StillMarket(), {"DU1": Decimal(100_000)}, THURSDAY)
    exchange.advance()
    one = Gateway(exchange, master=3)
    owner, master, other = Talk(one, 1), Talk(one, 3), Talk(one, 4)
    assert names(owner.say("placeOrder", **buy())) == names(master.hear()) == PLAIN and other.hear() == []


# ---------------------------------------------------------------- sockets

class Wire:
    "A client of plain bytes."

    def __init__(self, port: int, client_id: int = 1):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.data = b""
        self.sock.sendall(opening(client_id))
        self.until("error", 3)

    def say(self, name: str, **values) -> None:
        self.sock.sendall(ask(176, name, **values))

    def until(self, name: str, count: int = 1) -> list[tuple[str, dict]]:
        data = b""
        while sum(n == name for n, _ in messages(data)) < count:
            more = self.sock.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            data += more
        return messages(data)

    def ended(self) -> bool:
        "Whether the other side ends the line within a second."
        self.sock.settimeout(1)
        try:
            while self.sock.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


def still(**more) -> Exchange:
    exchange = Exchange(StillMarket(), {"DU1": Decimal(100_000)}, THURSDAY, **more)
    exchange.advance()
    return exchange


def test_cut_line_leaves_the_others():
    with running(still(), faults=Injector(FaultPlan((fault("disconnect", on="placeOrder", when="after"),)))) as server:
        one, two = Wire(server.port, 1), Wire(server.port, 2)
        one.say("placeOrder", **buy())
        assert one.ended()
        two.say("reqAllOpenOrders")
        assert two.until("openOrderEnd") and len(server.gateway.exchange.executions()) == 1
        assert Wire(server.port, 1)


def test_refused_for_a_while_then_served_again():
    with running(still(), faults=Injector()) as server:
        wire = Wire(server.port)
        server.gateway.faults.add(fault("refuse", seconds=0.3))
        assert wire.ended()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        time.sleep(0.4)
        assert Wire(server.port)


@pytest.mark.parametrize("then", ["heal", "cut"])
def test_half_open_line_is_silent(then):
    with running(still(), faults=Injector()) as server:
        wire = Wire(server.port)
        server.gateway.faults.add(fault("half_open", seconds=0.4, then=then))
        time.sleep(0.1)
        wire.say("reqIds")
        wire.sock.settimeout(0.15)
        with pytest.raises(TimeoutError):
            wire.sock.recv(1)
        wire.sock.settimeout(5)
        if then == "heal":
            assert names(wire.until("nextValidId")) == ["nextValidId"]
        else:
            assert wire.ended()
        assert Wire(server.port, 2)


def test_hostile_lines_on_the_control_port_are_answered_in_words():
    one = gateway()
    for line in (b"", b"[]", b"{}", b"\xff\xfe", b'{"ask": 3}', b'{"do": "step", "count": 1e9}', b'{"do": "step", "count": true}', b'{"fault": []}', b'{"fault": {"delay": null}}', b"[" * 50_000, b'{"do": "stop"}'):
        answer = control_answer(one, line)
        assert answer["ok"] is False and answer["error"]
    assert control_answer(one, b'{"fault": {"duplicate": {"on": "execDetails"}}}') == {"ok": True}
    talk = Talk(one)
    assert len(fills(talk.say("placeOrder", **buy()))) == 2
    assert [h["fault"] for h in control_answer(one, b'{"ask": "faults"}')["happened"]] == ["duplicate(on=execDetails, copies=2)"]


def test_clear_releases_what_is_held():
    talk = Talk(gateway())
    for one in (fault("delay", on="any", seconds=1000, times=0), fault("outage", on="reqIds", seconds=1000)):
        talk.gateway.faults.add(one)
    assert talk.say("placeOrder", **buy()) == []
    assert codes(talk.say("reqIds")) == [(-1, 1100)]
    talk.gateway.faults.clear()
    assert names(talk.hear()) == [*PLAIN, "nextValidId", "error"] and not talk.gateway.faults.armed


# ---------------------------------------------------------------- a process

PROGRAM = """import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
import otsport.gateway.serve as serve
sys.path.insert(0, sys.argv[4])
from exchange_support import StillMarket
from otsport.gateway.exchange import Exchange
from otsport.gateway.faults import read_plan
serve.open_exchange = lambda *a: Exchange(StillMarket(), a[1], a[0], Path(sys.argv[2]))
serve.run_gateway(date(2022, 12, 15), {'DU1': Decimal(100000)}, 0, clock='heartbeat', plan=read_plan(sys.argv[1]) if sys.argv[1] else None, control=int(sys.argv[3]))
"""


def process(tmp_path, plan="", control=0):
    run = subprocess.Popen([sys.executable, "-c", PROGRAM, str(plan), str(tmp_path / "j.jsonl"), str(control), os.path.dirname(__file__)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return run, run.stdout.readline()


@pytest.mark.parametrize("when, orders", [("before", 0), ("after", 1)])
def test_killed_gateway_knows_what_was_durable(tmp_path, when, orders):
    run, line = process(tmp_path, plan_file(tmp_path, f"faults:\n  - kill: {{on: placeOrder, when: {when}}}\n"))
    assert "faults: 1 planned" in line
    wire = Wire(int(line.split(",")[0].rsplit(":", 1)[1]))
    wire.say("placeOrder", **buy())
    assert wire.ended() and run.wait(20) == -signal.SIGKILL
    run.communicate()
    assert len(received_orders(tmp_path / "j.jsonl")) == orders


def test_control_port_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    run, line = process(tmp_path, control=port)
    assert f"control port {port}" in line
    with socket.create_connection(("127.0.0.1", port), timeout=5) as control:
        file = control.makefile("rwb")

        def told(asked: dict) -> dict:
            file.write(json.dumps(asked).encode() + b"\n")
            file.flush()
            return json.loads(file.readline())

        assert told({"do": "step"})["now"] == "2022-12-15T14:30:00+00:00"
        assert told({"fault": {"manual_order": {"contract": "KO", "side": "BUY", "qty": 3}}})["ok"]
        time.sleep(0.1)
        assert told({"ask": "truth"})["accounts"]["DU1"]["positions"] == {"KO": "3"}
        control.sendall(b"x" * 100_000 + b"\n")
        assert file.readline() == b""  # a line without end is no line
    run.terminate()
    run.communicate(timeout=20)


def test_spoken_fault_is_a_plan_entry():
    assert spoken({"lose": {"on": "execDetails"}}) == fault("lose", on="execDetails") and spoken("kill") == fault("kill")
    assert replace(fault("kill"), nth=2) != fault("kill")
