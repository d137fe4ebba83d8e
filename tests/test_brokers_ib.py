"""The adapter for Interactive Brokers against the simulated gateway, over TCP, and against everything that can go wrong on the way."""
import asyncio
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from broker_contract import CHECKS, World, open_market
from trading_support import EXPIRY, KO, VERSION, Relay, connected, gateway, kinds, number, profile

from otsport.core.contracts import option
from otsport.core.errors import AccountNotServed, BrokerError, BrokerTimeout, BrokerUnreachable, DataError, SettingsError
from otsport.core.orders import Fill, OrderEvent, OrderState, OrderType, Side, is_correction
from otsport.gateway.journal import received_orders
from otsport.gateway.wire import decode, encode
from otsport.brokers import ib_market, ib_orders, ib_words
from otsport.brokers.ib import IBBroker, check_clock
from otsport.brokers.ib_words import ZoneDoubt
from otsport.core.live import Grant

NOW = datetime(2026, 3, 2, 17, tzinfo=timezone.utc)
ROOT = Path(__file__).resolve().parents[1]
if "OTSPORT_TEST_LIBRARY" in os.environ:  # the same file under the other library, see test_contract_under_ib_async
    ib_words.LIBRARIES = (os.environ["OTSPORT_TEST_LIBRARY"],)


def run(coroutine) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 60))


def world_of(broker: IBBroker, port: int) -> World:
    async def again() -> IBBroker:
        fresh = IBBroker(profile(port))
        await fresh.connect()
        return fresh

    return World(broker, again, "DU1", KO)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    async def scene():
        async with gateway() as (server, exchange), connected(server.port) as broker:
            world = world_of(broker, server.port)
            try:
                await check(world)
            finally:
                await world.broker.disconnect()

    run(scene())


def test_contract_has_all_its_checks():
    assert len(CHECKS) >= 20 and len({c.__name__ for c in CHECKS}) == len(CHECKS)


# ---------------------------------------------------------------- what a relay does to the messages

def shuffled(frames: list[bytes]) -> list[bytes]:
    "Commissions first, statuses before executions, executions last; only among frames that came together, answers stay behind."
    rank = {59: 0, 3: 1, 5: 2, 11: 3}
    own = [f for f in frames if number(f) in rank]
    return sorted(own, key=lambda f: rank[number(f)]) + [f for f in frames if number(f) not in rank]


def doubled(frames: list[bytes]) -> list[bytes]:
    return [f for f in frames for _ in range(3 if number(f) in (3, 5, 11, 59) else 1)]


@pytest.mark.parametrize("change", [shuffled, doubled, lambda frames: doubled(shuffled(frames))], ids=["reordered", "doubled", "both"])
def test_books_agree_when_messages_come_twice_and_out_of_order(change):
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, change) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            buy, sell = world.order(1, Side.BUY, 700), world.order(2, Side.SELL, 300)
            await broker.place(buy)
            await world.until(world.done(buy))
            await broker.place(sell)
            await world.until(world.done(sell))
            assert [world.record(o).state for o in (buy, sell)] == [OrderState.FILLED] * 2
            assert {f.exec_id: (f.qty, f.price) for f in world.fills()} == {e.exec_id: (e.qty, e.price) for e in exchange.executions()}
            cash = 100_000 + sum(f.cash for f in world.fills()) - sum(c.amount for c in world.charges().values())
            assert cash == exchange.values("DU1").cash

    run(scene())


class Late:
    "Holds order messages back for a while, doubles them and mixes them up, from a seed; answers stay where they are."

    def __init__(self, seed: int):
        self.random, self.held = Random(seed), []

    def __call__(self, frames: list[bytes]) -> list[bytes]:
        own = [f for f in frames if number(f) in (3, 5, 11, 59)] + self.held
        self.held = [f for f in own if self.random.random() < 0.4]
        now = [f for f in own if f not in self.held] + [f for f in own if self.random.random() < 0.3]
        self.random.shuffle(now)
        return now + [f for f in frames if number(f) not in (3, 5, 11, 59)]


@pytest.mark.parametrize("seed", range(12))
def test_books_agree_when_messages_come_late(seed):
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, Late(seed)) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            orders = [world.order(1, Side.BUY, 500), world.order(2, Side.BUY, 3, limit=Decimal("61.00")), world.order(3, Side.BUY, 99_000)]
            for order in orders:
                await broker.place(order)
            await world.until(world.done(*orders))
            assert [world.record(o).state for o in orders] == [OrderState.FILLED, OrderState.FILLED, OrderState.REJECTED]
            assert {f.exec_id: f.qty for f in world.fills()} == {e.exec_id: e.qty for e in exchange.executions()}
            assert {k: c.amount for k, c in world.charges().items()} == {e.exec_id: exchange.commission(e.exec_id).amount for e in exchange.executions()}

    run(scene())


def test_fills_missed_while_cut_off_come_with_the_report():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            order = world.order(1, Side.BUY, 700)
            await broker.place(order)
            await world.until(lambda: len(world.fills()) == 1)
            relay.cut()
            await asyncio.sleep(0.05)
            server.gateway.step()
            server.gateway.step()                                      # traded while nobody listened
            with pytest.raises(BrokerUnreachable):
                await broker.heartbeat()
            await broker.connect()
            await world.beat()
            report = await broker.report("DU1")
            world.heard += [*report.fills, *report.commissions, *report.orders]
            assert len(world.fills()) == 3
            await world.until(world.done(order))
            assert sum(f.qty for f in world.fills()) == 700 and len(exchange.executions()) == len(world.fills())

    run(scene())


def test_relay_control_the_library_alone_loses_the_early_commission():
    "Negative control: with the same reordering, ib_insync's own fills have no commission."
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, shuffled) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            buy = world.order(1, Side.BUY, 50)
            await broker.place(buy)
            await world.until(world.done(buy))
            library_fills = broker._line.ib.wrapper.fills
            assert library_fills and all(f.commissionReport.commission == 0 for f in library_fills.values())
            assert sum(c.amount for c in world.charges().values()) > 0

    run(scene())


@pytest.mark.parametrize("code, text", [(10349, "Order TIF was set to DAY based on order preset."), (399, "Warning: your order will not be placed until the open"), (2109, "outside RTH is ignored"), (404, "shares are being located")])
def test_notice_does_not_end_a_working_order(code, text):
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await open_market(world)
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)
            await world.beat()
            relay.say("error", reqId=exchange.open_orders()[0].ticket.order_id, code=code, text=text)
            await world.beat()
            assert world.record(order).state is OrderState.WORKING and text in world.record(order).message
            await broker.cancel(order.order_ref)
            await world.until(world.done(order))

    run(scene())


@pytest.mark.parametrize("code", [12345, 10147, 10148, 161, 201, 110])
def test_code_on_a_working_order_is_asked_about_and_the_order_works_on(code):
    "An unlisted code, a cancel that failed, the refusal of a change: the state stays, the broker is asked within the next heartbeat."
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await open_market(world)
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)
            await world.beat()
            relay.asked.clear()
            relay.say("error", reqId=exchange.open_orders()[0].ticket.order_id, code=code, text="something new")
            await world.beat()
            assert world.record(order).state is OrderState.WORKING and "something new" in world.record(order).message
            assert OrderState.UNKNOWN not in [m.state for m in world.heard if isinstance(m, OrderEvent)]
            assert kinds(relay.asked) == [49, 16, 99, 7]              # the time, then open orders, completed orders, executions
            await world.beat()
            assert kinds(relay.asked) == [49, 16, 99, 7, 49]          # asked once

    run(scene())


def test_end_that_was_not_heard_is_found_after_a_failed_cancel():
    def deaf(frames):
        return [f for f in frames if number(f) not in (3, 5, 11, 59) or not hold["on"]]

    hold = {"on": False}

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, deaf) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await open_market(world)
            order = world.order(1, Side.BUY, 50)
            hold["on"] = True                                          # it fills, and nothing of it is heard
            await broker.place(order)
            for _ in range(4):
                await world.beat()
            assert exchange.executions() and not world.fills()
            hold["on"] = False
            await broker.cancel(order.order_ref)                       # 10148: it is filled
            await world.until(world.done(order), 3)
            assert world.record(order).state is OrderState.FILLED and sum(f.qty for f in world.fills()) == 50

    run(scene())


@pytest.mark.parametrize("code", [1101, 1102])
def test_fills_of_a_lost_line_are_asked_for_when_it_is_back(code):
    def deaf(frames):
        return [f for f in frames if number(f) not in (3, 5, 11, 59) or not hold["on"]]

    hold = {"on": False}

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, deaf) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await open_market(world)
            order = world.order(1, Side.BUY, 50)
            hold["on"] = True
            await broker.place(order)
            for _ in range(4):
                await world.beat()
            assert exchange.executions() and not world.fills()
            hold["on"] = False
            relay.say("error", reqId=-1, code=code, text="restored")
            await world.until(world.done(order), 2)
            assert world.record(order).state is OrderState.FILLED

    run(scene())


@pytest.mark.parametrize("code, text", [(478, "Parameters in request conflicts with contract parameters"), (460, "No trading permissions"), (12345, "a code of next year")])
def test_order_that_the_broker_refused_has_ended_and_says_why(code, text):
    "The gateway never gets the order: TWS answers with the code alone, and lists nothing."
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await broker.quotes([KO])
            order = world.order(1, Side.BUY, 10)
            broker._line.client.placeOrder = lambda order_id, *_: relay.say("error", reqId=order_id, code=code, text=text)
            await broker.place(order)
            await world.beat()
            await world.beat()
            assert world.record(order).state is OrderState.REJECTED and text in world.record(order).message
            assert world.record(order).code == f"IB_{code}"
            assert exchange.open_orders() == ()

    run(scene())


def test_correction_is_passed_on_with_its_own_id():
    def corrected(frames):
        return [g for f in frames for g in ((f, f.replace(b".01\0", b".02\0")) if number(f) == 11 else (f,))]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, corrected) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            order = world.order(1, Side.BUY, 50)
            await broker.place(order)
            await world.until(lambda: len(world.fills(order)) == 2)
            assert [is_correction(f.exec_id) for f in world.fills(order)] == [False, True]

    run(scene())


def test_order_that_comes_back_on_another_account_stops_everything():
    def rerouted(frames):
        return [f.replace(b"\0DU1\0", b"\0DU2\0") if number(f) == 5 else f for f in frames]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, rerouted) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            await broker.place(world_of(broker, relay.port).order(1, Side.BUY, 50))
            with pytest.raises(AccountNotServed, match="written for account DU1 and is held by the broker on DU2"):
                await broker.heartbeat()

    run(scene())


def test_order_typed_by_hand_is_reported_as_external():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, client_id=2) as other, connected(server.port) as broker:
            await broker.heartbeat()
            theirs = ib_words.to_ib_order(ib_words.library(), world_of(other, server.port).order(1, Side.BUY, 50))
            theirs.orderRef = ""
            [ko] = await ib_market.qualify(other._line, [KO])
            other._line.ib.client.placeOrder(other._line.ib.client.getReqId(), ko, theirs)
            await other.heartbeat()
            await broker.heartbeat()
            report = await broker.report("DU1")
            assert {m.order_ref for m in (*report.orders, *report.fills)} == {"external:100001"} and report.fills

    run(scene())


def test_report_leaves_out_the_other_account():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, accounts=("DU1", "DU2")) as broker:
            world = world_of(broker, server.port)
            await world.beat()
            mine, other = world.order(1, Side.BUY, 50), replace(world.order(2, Side.BUY, 60), account="DU2")
            await broker.place(mine)
            await broker.place(other)
            await world.until(world.done(mine, other))
            for account, order in (("DU1", mine), ("DU2", other)):
                report = await broker.report(account)
                assert {m.order_ref for m in (*report.orders, *report.fills)} == {order.order_ref}
                assert {f.account for f in report.fills} == {account} and len(report.commissions) == len(report.fills)
                assert [h.qty for h in await broker.holdings(account)] == [order.qty]

    run(scene())


def test_report_leaves_out_what_another_account_trades_meanwhile():
    "An execution of the other account that arrives in the middle of the answer is no part of it."
    class Meanwhile:
        other: list[bytes] = []

        def __call__(self, frames):
            self.other += [f for f in frames if number(f) == 11 and b"\0DU2\0" in f]
            return [g for f in frames for g in ([*self.other, f] if number(f) == 55 else [f])]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, Meanwhile()) as relay, connected(relay.port, accounts=("DU1", "DU2")) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            other = replace(world.order(2, Side.BUY, 60), account="DU2")
            await broker.place(other)
            await world.until(world.done(other))
            await broker.report("DU1")
            assert (await broker.report("DU1")).fills == ()
            assert len((await broker.report("DU2")).fills) == 1

    run(scene())


def test_reconnected_broker_cancels_without_a_report():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port) as broker:
            world = world_of(broker, server.port)
            await world.beat()
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)
            await broker.connect()
            await broker.cancel(order.order_ref)
            await world.until(world.done(order))
            assert world.record(order).state is OrderState.CANCELLED and exchange.open_orders() == ()

    run(scene())


# ---------------------------------------------------------------- the line of the broker itself

def test_lost_line_of_the_broker_holds_orders_back_and_1101_subscribes_again():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await broker.watch([KO])
            await world.beat()
            relay.say("error", reqId=-1, code=1100, text="Connectivity between IB and TWS has been lost")
            await world.beat()
            with pytest.raises(BrokerUnreachable, match="1100"):
                await broker.place(world.order(1, Side.BUY, 10))
            assert exchange.open_orders() == ()
            for key in [k for s in server.gateway.sessions.values() for k in s.feeds]:
                server.gateway.sessions[1].feeds.pop(key)      # what "data lost" means
            relay.say("error", reqId=-1, code=1101, text="restored, data lost")
            await world.beat()
            await broker.place(world.order(1, Side.BUY, 10))
            now = await world.beat()
            assert broker.live[KO.key].ts == now

    run(scene())


def test_connection_cut_while_waiting_is_unreachable():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            relay.mute = True
            waiting = asyncio.ensure_future(broker.report("DU1"))
            await asyncio.sleep(0.05)
            relay.cut()
            with pytest.raises(BrokerUnreachable, match="lost while asking for orders and executions"):
                await waiting
            with pytest.raises(BrokerUnreachable, match="not connected, or the connection was lost; orders that were sent keep working"):
                await broker.heartbeat()

    run(scene())


@pytest.mark.parametrize("ask", [lambda b: b.heartbeat(), lambda b: b.report("DU1"), lambda b: b.holdings("DU1"), lambda b: b.quotes([KO]), lambda b: b.account_values("DU1"), lambda b: b.chain("KO")],
                         ids=["heartbeat", "report", "holdings", "quotes", "account_values", "chain"])  # fmt: skip
def test_answer_that_does_not_come_is_a_timeout_and_never_an_empty_answer(ask):
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port, timeout_seconds=0.3) as broker:
            await broker.heartbeat()
            assert (await broker.report("DU1")).orders == ()
            relay.mute = True
            with pytest.raises(BrokerTimeout, match="did not answer within 0.3 s"):
                await ask(broker)

    run(scene())


def test_late_answer_is_not_taken_for_the_next_one():
    "After a timeout without a request number the line is closed; a new connection starts clean."
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port, timeout_seconds=0.3) as broker:
            await broker.heartbeat()
            relay.mute = True
            with pytest.raises(BrokerTimeout, match="connection was closed"):
                await broker.heartbeat()
            relay.mute = False
            with pytest.raises(BrokerUnreachable):
                await broker.heartbeat()
            await broker.connect()
            assert await broker.heartbeat() == exchange.now

    run(scene())


# ---------------------------------------------------------------- connecting

def test_connect_nothing_listens():
    async def scene():
        async with gateway() as (server, _):
            port = server.port
        with pytest.raises(BrokerUnreachable, match=f"127.0.0.1:{port}.*nothing listens.*otsport gateway --port {port}"):
            await IBBroker(profile(port)).connect()

    run(scene())


def test_connect_unknown_host():
    async def scene():
        with pytest.raises(BrokerUnreachable, match="no-such-host.invalid:4010"):
            await IBBroker(profile(4010, host="no-such-host.invalid")).connect()

    run(scene())


async def _serving(answer: bytes | None):
    async def serve(reader, writer):
        if answer is None:
            await reader.read()
        else:
            await reader.read(64)
            writer.write(answer)
            await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize("answer, why", [(None, "did not finish the handshake within 0.3 s"), (b"", "closed during the handshake"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "handshake")], ids=["silent", "closes", "http"])
def test_connect_other_program_listens(answer, why):
    async def scene():
        server = await _serving(answer)
        with pytest.raises(BrokerUnreachable, match=why):
            await IBBroker(profile(server.sockets[0].getsockname()[1], timeout_seconds=0.3)).connect()
        server.close()

    run(scene())


@pytest.mark.parametrize("served, more, why", [
    ({"DU2": Decimal(1)}, {}, "serves DU2, not DU1"),
    ({"DU1": Decimal(1)}, {}, "account U7654321 at .* is live, profile 'simulated' is paper"),
    ({"DU1": Decimal(1)}, {"mode": "live", "requests_per_second": 40}, "account DU1 at .* is paper, profile 'simulated' is live"),
], ids=["absent", "live-under-paper", "paper-under-live"])  # fmt: skip
def test_connect_account_not_served(served, more, why):
    async def scene():
        async with gateway(cash=served) as (server, exchange):
            if "U7654321" in why:
                exchange.accounts += ("U7654321",)                     # our own gateway takes no such login, another one might
            broker = IBBroker(profile(server.port, **more))
            with pytest.raises(AccountNotServed, match=why):
                await broker.connect()
            await asyncio.sleep(0.05)
            assert server.gateway.sessions == {}
            with pytest.raises(BrokerUnreachable):
                await broker.heartbeat()

    run(scene())


def test_connect_client_id_in_use_is_tried_again_then_an_error():
    async def scene():
        async with gateway() as (server, exchange):
            async with connected(server.port) as first:
                with pytest.raises(BrokerUnreachable, match="client id 1 is in use"):
                    await IBBroker(profile(server.port, timeout_seconds=0.4)).connect()
                second = IBBroker(profile(server.port))
                waiting = asyncio.ensure_future(second.connect())
                await asyncio.sleep(0.2)
                assert not waiting.done()
                await first.disconnect()
                await waiting
                assert second.served == ("DU1", "DU2")
                await second.disconnect()

    run(scene())


def test_connect_sends_no_heartbeat():
    "The clock of a replay must not move because someone connects."
    async def scene():
        async with gateway() as (server, exchange):
            for _ in range(3):
                async with connected(server.port) as broker:
                    assert exchange.step == 0
                    assert await broker.heartbeat() == exchange.now and exchange.step == 0
            async with connected(server.port) as broker:
                await broker.heartbeat()
                await broker.heartbeat()
                assert exchange.step == 1

    run(scene())


def test_broker_works_on_one_loop_after_another():
    "asyncio.run again and again in one process, as tests and notebooks do."
    async def scene():
        async with gateway() as (server, exchange), connected(server.port) as broker:
            assert await broker.heartbeat() == exchange.now

    for _ in range(3):
        run(scene())


def test_time_is_needed_before_quotes_and_reports():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port) as broker:
            for ask in (lambda: broker.quotes([KO]), lambda: broker.report("DU1")):
                with pytest.raises(BrokerError, match="call heartbeat"):
                    await ask()

    run(scene())


def test_library_is_the_one_that_is_asked_for():
    async def scene():
        assert ib_words.library().__name__ == ib_words.LIBRARIES[0]

    run(scene())


def test_library_missing_is_a_settings_error(monkeypatch):
    monkeypatch.setattr(ib_words, "LIBRARIES", ("no_such_library",))

    async def scene():
        with pytest.raises(SettingsError, match="neither ib_insync nor ib_async"):
            ib_words.library()

    run(scene())


# ---------------------------------------------------------------- sending

def departures(broker: IBBroker) -> list[tuple[float, str]]:
    "When messages leave, by the clock of the loop, and which; from here on."
    left, write = [], broker._line.client.conn.sendMsg

    def note(data: bytes) -> None:
        left.append((asyncio.get_running_loop().time(), data[4:].decode().split("\0")[0]))
        write(data)

    broker._line.client.conn.sendMsg = note
    return left


def busiest(times: list[float], seconds: float = 1.0) -> int:
    return max(sum(start <= t < start + seconds for t in times) for start in times)


def test_messages_leave_at_the_pace_of_the_profile():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, requests_per_second=47) as broker:
            left = departures(broker)
            world = world_of(broker, server.port)
            await broker.heartbeat()
            calls = [option("KO", EXPIRY, k, right) for k in (55, 60, 65) for right in "CP"]
            await asyncio.gather(broker.quotes(calls), *(broker.place(world.order(n, Side.BUY, 1, limit=Decimal("1.00"))) for n in range(60)))
            await broker.heartbeat()
            assert len(exchange.open_orders()) == 60
            assert len(left) > 70 and busiest([t for t, _ in left]) <= 47

    run(scene())


def test_place_comes_back_when_its_turn_has_come_and_a_cancel_overtakes_what_waits():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, requests_per_second=40) as broker:
            world = world_of(broker, server.port)
            await broker.heartbeat()
            await broker.quotes([KO])
            first = world.order(0, Side.BUY, 1, limit=Decimal("1.00"))
            await broker.place(first)
            left = departures(broker)
            placing = [asyncio.ensure_future(broker.place(world.order(n, Side.BUY, 1, limit=Decimal("1.00")))) for n in range(1, 21)]
            await asyncio.sleep(0)
            assert not all(p.done() for p in placing) and broker._line.pacer.waiting
            await broker.cancel(first.order_ref)
            kinds_left = [kind for _, kind in left]
            assert kinds_left.index("4") < 10                          # before most of the twenty
            await asyncio.gather(*placing)
            assert [kind for _, kind in left].count("3") == 20 and not broker._line.pacer.waiting

    run(scene())


def test_waiting_messages_do_not_leave_after_the_end():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, requests_per_second=40) as broker:
            world = world_of(broker, server.port)
            await broker.heartbeat()
            await broker.quotes([KO])
            placing = [asyncio.ensure_future(broker.place(world.order(n, Side.BUY, 1, limit=Decimal("1.00")))) for n in range(20)]
            await asyncio.sleep(0)
            await broker.disconnect()
            outcomes = await asyncio.gather(*placing, return_exceptions=True)
            assert any(isinstance(o, BrokerUnreachable) and "may or may not have arrived" in str(o) for o in outcomes)
            async with connected(server.port) as again:
                await again.heartbeat()
                arrived = len((await again.report("DU1")).orders)
            assert arrived < 20

    run(scene())


def test_broker_that_says_too_fast_is_left_alone_for_a_second():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port, requests_per_second=40) as broker:
            await broker.heartbeat()
            relay.say("error", reqId=-1, code=100, text="Max rate of messages per second has been exceeded")
            await asyncio.sleep(0.05)
            left, now = departures(broker), asyncio.get_running_loop().time()
            await broker.heartbeat()
            assert left[0][0] > now + 0.5

    run(scene())


# ---------------------------------------------------------------- quotes

class Crowd(dict):
    "Ticks, and how many there were at once."
    most = 0

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.most = max(self.most, len(self))


@pytest.mark.parametrize("lines, watched", [(2, []), (4, []), (4, [KO]), (90, [])])
def test_quotes_are_asked_in_batches_that_the_lines_hold(lines, watched):
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, market_data_lines=lines) as broker:
            await broker.heartbeat()
            broker._market.ticks = crowd = Crowd()
            await broker.watch(watched)
            asked = [KO, *(option("KO", EXPIRY, k, right) for k in (55, 60, 65) for right in "CP")]
            both = await asyncio.gather(broker.quotes(asked), broker.quotes(asked[::-1]))
            assert [list(q) for q in both] == [[c.key for c in asked], [c.key for c in asked[::-1]]]
            assert all(quote.two_sided for quotes in both for quote in quotes.values())
            assert crowd.most <= lines and len(crowd) == len(watched)

    run(scene())


def test_watching_more_than_the_lines_is_refused_by_number():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, market_data_lines=3) as broker:
            await broker.heartbeat()
            await broker.watch([KO])
            with pytest.raises(DataError, match="4 quotes would be watched, at most 2"):
                await broker.watch([option("KO", EXPIRY, k, "C") for k in (55, 60, 65)])
            assert await broker.quotes([KO, option("KO", EXPIRY, 55, "C"), option("KO", EXPIRY, 60, "C")])

    run(scene())


class Unsubscribed:
    "Refuses live prices with a code, as TWS does; gives delayed ones once type 3 is asked for."

    def __init__(self, code: int, ever: bool = True):
        self.code, self.ever, self.relay = code, ever, None

    def __call__(self, frames):
        if self.ever and 59 in kinds(self.relay.asked):
            return [self.delayed(f) for f in frames]
        refused = {f.split(b"\0")[2] for f in frames if number(f) == 58}
        errors = [encode(VERSION, "error", reqId=int(n), code=self.code, text="Requested market data is not subscribed")[4:] for n in sorted(refused)]
        return errors + [f for f in frames if number(f) not in (1, 2, 21, 46, 57, 58, 81)]

    @staticmethod
    def delayed(payload: bytes) -> bytes:
        fields, later = payload.split(b"\0"), {b"1": b"66", b"2": b"67", b"4": b"68", b"9": b"75"}
        if number(payload) == 1:
            fields[3] = later[fields[3]]
        return b"\0".join(fields)


@pytest.mark.parametrize("code", [354, 10089, 10168, 10186])
def test_delayed_prices_where_live_ones_are_refused_and_the_quote_says_so(code):
    async def scene():
        change = Unsubscribed(code)
        async with gateway() as (server, exchange), Relay(server.port, change) as relay:
            change.relay = relay
            async with connected(relay.port) as broker:
                await broker.heartbeat()
                asked = [KO, option("KO", EXPIRY, 60, "C")]
                quotes = await broker.quotes(asked)
                assert [(q.source, q.two_sided) for q in quotes.values()] == [("delayed", True)] * 2
                assert kinds(relay.asked).count(59) == 1
                await broker.quotes(asked)
                assert kinds(relay.asked).count(59) == 1              # once for a connection

    run(scene())


def test_watched_prices_that_are_refused_live_come_delayed():
    async def scene():
        change = Unsubscribed(354)
        async with gateway() as (server, exchange), Relay(server.port, change) as relay:
            change.relay = relay
            async with connected(relay.port) as broker:
                await broker.heartbeat()
                await broker.watch([KO])
                for _ in range(3):
                    await broker.heartbeat()
                assert broker.live[KO.key].source == "delayed"

    run(scene())


@pytest.mark.parametrize("code, words", [(354, "354: .*has not subscribed to live prices"), (10197, "10197: .*close the other session"), (12345, "12345: ")])
def test_prices_that_are_refused_altogether_are_a_data_error_with_cause_and_step(code, words):
    async def scene():
        change = Unsubscribed(code, ever=False)
        async with gateway() as (server, exchange), Relay(server.port, change) as relay:
            change.relay = relay
            async with connected(relay.port) as broker:
                await broker.heartbeat()
                with pytest.raises(DataError, match=words):
                    await broker.quotes([KO])

    run(scene())


# ---------------------------------------------------------------- what the adapter proves for itself

LIVE = {"mode": "live", "accounts": ("U7654321",), "requests_per_second": 40, "clock_skew_seconds": 0}


def granted(broker, **more) -> Grant:
    return replace(Grant(broker.profile.name, "U7654321", broker.connection, "ana", NOW), **more)


def test_live_account_is_read_and_trades_only_through_the_connection_that_was_armed():
    async def scene():
        async with gateway(cash={"U7654321": Decimal(100_000)}) as (server, exchange), Relay(server.port) as relay:
            async with connected(relay.port, **LIVE) as broker:
                world = world_of(broker, relay.port)
                await world.beat()
                assert (await broker.account_values("U7654321")).cash == 100_000
                first, second, third = (replace(world.order(n, Side.BUY, 10, limit=Decimal("1.00")), account="U7654321") for n in (1, 2, 3))
                for foreign in ({"profile": "paper"}, {"account": "U1"}, {"connection": "another"}, {"connection": ""}):
                    with pytest.raises(AccountNotServed):
                        broker.arm(granted(broker, **foreign))
                    assert broker.grants == ()
                with pytest.raises(AccountNotServed, match="U7654321 is live and not armed through this connection"):
                    await broker.place(first)
                assert not {3, 4} & set(kinds(relay.asked)) and exchange.open_orders() == ()
                old = granted(broker)
                broker.arm(old)
                await broker.place(first)
                await world.beat()
                assert [u.ticket.account for u in exchange.open_orders()] == ["U7654321"]
                await broker.connect()                                 # a new connection: the grant is gone, and is none of it
                with pytest.raises(AccountNotServed, match="not armed"):
                    await broker.place(second)
                with pytest.raises(AccountNotServed, match="not armed"):
                    broker.arm(old)
                await broker.cancel(first.order_ref)                   # a cancel always leaves
                broker.arm(granted(broker))
                broker.disarm("U7654321")
                with pytest.raises(AccountNotServed, match="not armed"):
                    await broker.place(third)
                await world.beat()
                assert exchange.open_orders() == () and kinds(relay.asked).count(3) == 1

    run(scene())


# ---------------------------------------------------------------- the line that is open and dead, and the clock

def test_half_open_line_is_noticed_by_itself_and_a_quiet_one_is_not_given_up():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port, silence_seconds=0.4) as broker:
            await broker.heartbeat()
            await asyncio.sleep(1.0)                                   # nobody asks, and the line answers for itself
            assert await broker.heartbeat() and 17 in kinds(relay.asked)
            relay.mute = True
            began = asyncio.get_running_loop().time()
            while broker.connection:
                await asyncio.sleep(0.02)
            assert asyncio.get_running_loop().time() - began < 1.0
            with pytest.raises(BrokerUnreachable, match="half-open: nothing has come for 0.4 s, not even an answer"):
                await broker.heartbeat()
            assert broker.condition == "not connected"

    run(scene())


def test_question_on_a_half_open_line_is_answered_by_an_error_and_orders_of_it_are_found_again():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port, silence_seconds=0.4) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await broker.quotes([KO])
            relay.mute = True
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)                                  # it leaves, and nothing comes back
            with pytest.raises(BrokerUnreachable):
                await broker.heartbeat()
            relay.mute = False
            await broker.connect()
            await world.beat()
            assert world.record(order).state in (OrderState.WORKING, OrderState.ACCEPTED) and len(exchange.open_orders()) == 1

    run(scene())


def test_clock_of_the_broker_is_compared_unless_it_is_that_of_a_replay():
    noon, real = NOW, profile(4010, mode="live", accounts=("U7654321",), requests_per_second=40)
    for seconds, refused in ((4, False), (-5, False), (7, True), (-7, True), (80_000, True), (-4 * 365 * 86_400, False)):
        for who, never in ((profile(4010), refused), (real, abs(seconds) > 5), (profile(4010, clock_skew_seconds=0), False)):
            told = noon + timedelta(seconds=seconds)
            if never:
                with pytest.raises(BrokerError, match="set both by a time server"):
                    check_clock(who, told, noon, noon)
            else:
                check_clock(who, told, noon, noon)
    check_clock(profile(4010), noon + timedelta(seconds=20), noon, noon + timedelta(seconds=30))  # the answer was long on its way: nothing is sure


def test_time_that_runs_back_stands_still_and_is_told():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port) as broker:
            now = await broker.heartbeat()
            server.gateway.skew = -7200
            assert await broker.heartbeat() == now and "its clock ran back by" in broker.condition
            server.gateway.skew = 0
            assert await broker.heartbeat() > now and broker.condition == "connected"

    run(scene())


def test_condition_names_what_is_lost_broken_and_delayed():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            assert broker.condition == "connected"
            relay.say("error", reqId=-1, code=2103, text="Market data farm connection is broken:usfarm")
            relay.say("error", reqId=-1, code=1100, text="Connectivity has been lost")
            await broker.heartbeat()
            assert broker.condition == "connected; no orders leave: 1100: Connectivity has been lost; farms are broken: usfarm"
            relay.say("error", reqId=-1, code=2104, text="Market data farm connection is OK:usfarm")
            relay.say("error", reqId=-1, code=1102, text="restored")
            await broker.heartbeat()
            assert broker.condition == "connected"

    run(scene())


# ---------------------------------------------------------------- contracts that are asked once

def test_contracts_and_chains_are_asked_once_over_all_connections_and_chains_anew_each_day():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            now = await broker.heartbeat()
            calls = [option("KO", EXPIRY, k, "C") for k in (55, 60)]
            for _ in range(2):
                await broker.quotes(calls)
                await broker.chain("KO")
                await broker.connect()
                await broker.heartbeat()
            assert (kinds(relay.asked).count(9), kinds(relay.asked).count(78)) == (3, 1)
            while (await broker.heartbeat()).date() == now.date():
                pass
            await broker.chain("KO")
            assert kinds(relay.asked).count(78) == 2

    run(scene())


def test_expired_contract_is_told_without_asking():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            over = option("KO", date(2022, 12, 9), 60, "C")
            for attempt in (broker.quotes([over]), broker.place(world.order(1, Side.BUY, 1, over))):
                with pytest.raises(DataError, match="expired on 2022-12-09, it is 2022-12-15 at the broker.*choose a later expiry, chain.'KO'. lists them"):
                    await attempt
            assert 9 not in kinds(relay.asked)

    run(scene())


@pytest.mark.parametrize("asked, altered, words", [
    (option("KO", EXPIRY, 60, "C"), ("tradingClass", "KO1"), r"KO .* is ambiguous, the broker knows 2 of that name \(KO SMART USD x 100; KO1 SMART USD x 100\): name its trading class"),
    (KO, ("currency", "EUR"), r"KO is ambiguous, the broker knows 2 of that name .*name its currency"),
])
def test_ambiguous_contract_is_told_with_what_tells_them_apart(asked, altered, words):
    def twice(frames):
        return [g for f in frames for g in ((f, encode(VERSION, "contractDetails", **decode(VERSION, "contractDetails", f) | {"localSymbol": "", altered[0]: altered[1]})[4:])
                                            if number(f) == 10 else (f,))]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, twice) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            with pytest.raises(DataError, match=words):
                await broker.quotes([asked])

    run(scene())


@pytest.mark.parametrize("accounts, why", [("U7654321", "DU1 is not served by this session, which serves U7654321"), ("DU2,DU3", "not served"), ("", "serves none")])
def test_session_that_changes_its_accounts_trades_no_more(accounts, why):
    "The gateway behind the port may be restarted with another user: the accounts that it names last are the ones that count."
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)
            relay.say("managedAccounts", accounts=accounts)
            await world.beat()
            relay.asked.clear()
            with pytest.raises(AccountNotServed, match=why):
                await broker.place(world.order(2, Side.BUY, 10))
            with pytest.raises(AccountNotServed, match=why):
                await broker.cancel(order.order_ref)
            assert not {3, 4} & set(kinds(relay.asked))

    run(scene())


def test_profile_of_another_mode_trades_nothing():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            broker._line.profile = broker.profile.model_copy(update={"mode": "live"})
            with pytest.raises(AccountNotServed, match="DU1 is paper, profile 'simulated' is live"):
                await broker.place(world_of(broker, relay.port).order(1, Side.BUY, 10))
            assert 3 not in kinds(relay.asked)

    run(scene())


def test_change_of_an_order_cannot_move_it_to_another_account():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, accounts=("DU1", "DU2")) as broker:
            world = world_of(broker, server.port)
            await world.beat()
            await open_market(world)
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)
            await world.beat()
            [theirs] = await ib_market.qualify(broker._line, [KO])
            moved = ib_words.to_ib_order(broker._line.lib, replace(order, account="DU2", qty=Decimal(20)))
            broker._line.client.placeOrder(broker._orders.names.own[order.order_ref], theirs, moved)
            await world.beat()
            [held] = exchange.open_orders()
            assert (held.ticket.account, held.ticket.qty) == ("DU1", 10)
            assert world.record(order).state is OrderState.WORKING

    run(scene())


# ---------------------------------------------------------------- what TWS of other makes sends

def test_execution_time_without_a_zone_is_read_in_the_zone_of_the_profile_or_refused():
    "15:00 in New York is 20:00 UTC, whatever the machine's own zone is."
    def zoneless(frames):
        return [f.replace(b" America/New_York\0", b"\0") if number(f) == 11 else f for f in frames]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, zoneless) as relay:
            async with connected(relay.port, tws_zone="America/New_York") as broker:
                world = world_of(broker, relay.port)
                with warnings.catch_warnings():
                    warnings.simplefilter("error", ZoneDoubt)
                    await world.beat()
                order = world.order(1, Side.BUY, 50)
                await broker.place(order)
                await world.until(world.done(order))
                assert [(f.exec_id, f.ts) for f in world.fills()] == [(e.exec_id, e.ts) for e in exchange.executions()]
            async with connected(relay.port) as broker:
                await broker.heartbeat()
                with pytest.raises(DataError, match="is not booked: .*names no time zone: set tws_zone"):
                    await broker.report("DU1")

    run(scene())


@pytest.mark.parametrize("zone, why", [("Asia/Tokyo", "before its order was sent"), ("America/Los_Angeles", "later than now")])
def test_a_wrong_zone_of_the_profile_is_told_by_the_clock_of_tws_and_books_nothing(zone, why):
    "A TWS in New York that names no zones, read as if it stood elsewhere: its greeting shows it, and what cannot have been is refused."
    def zoneless(frames):
        return [f.replace(b" America/New_York\0", b"\0") if number(f) == 11 else f for f in frames]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, zoneless) as relay, connected(relay.port, tws_zone=zone) as broker:
            world = world_of(broker, relay.port)
            with pytest.warns(ZoneDoubt, match=f"tws_zone is {zone}, where it is .*, and TWS greets with '20221215 .*set tws_zone .accounts.yaml. to it: America/New_York fits"):
                await world.beat()
            order = world.order(1, Side.BUY, 50)
            with warnings.catch_warnings():
                warnings.simplefilter("error", ZoneDoubt)  # it is told once
                await broker.place(order)
                with pytest.raises(DataError, match=f"is not booked: the time .* read in tws_zone {zone}, is .*{why}.*set tws_zone"):
                    for _ in range(5):
                        await world.beat()
            assert exchange.executions() and world.fills() == []

    run(scene())


@pytest.mark.parametrize("field, value", [("tradingClass", "KO1"), ("multiplier", "10"), ("currency", "EUR"), ("strike", Decimal(61))])
def test_contract_that_the_broker_describes_otherwise_is_another(field, value):
    def altered(frames):
        return [encode(VERSION, "contractDetails", **decode(VERSION, "contractDetails", f) | {"localSymbol": "", field: value})[4:] if number(f) == 10 else f for f in frames]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, altered) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            with pytest.raises(DataError, match="the broker describes KO .* where KO 20230120 C 60 was asked for"):
                await broker.quotes([option("KO", EXPIRY, 60, "C")])

    run(scene())


def test_other_account_may_trade_what_it_likes():
    "Its future, and an execution whose time nobody can read, do not stop this account."
    def strange(frames):
        return [f.replace(b"\0STK\0", b"\0FUT\0").replace(b" America/New_York\0", b"\0") if number(f) == 11 and b"\0DU2\0" in f else f for f in frames]

    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, strange) as relay:
            async with connected(server.port, client_id=5, accounts=("DU2",)) as other, connected(relay.port) as broker:
                theirs = replace(world_of(other, server.port).order(1, Side.BUY, 50), account="DU2")
                world = world_of(broker, relay.port)
                await world.beat()
                mine = world.order(1, Side.BUY, 60)                    # the same reference, in the other account's own book
                await other.place(theirs)
                await broker.place(mine)
                await world.until(world.done(mine))
                report = await broker.report("DU1")
                assert {f.account for f in (*report.fills, *world.fills())} == {"DU1"}
                assert world.record(mine).state is OrderState.FILLED and sum(f.qty for f in world.fills()) == 60
                assert {e.perm_id for e in report.orders} == {world.record(mine).perm_id}

    run(scene())


def test_drain_says_each_thing_once_over_a_day():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port, doubled) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            orders = [world.order(1, Side.BUY, 500), world.order(2, Side.BUY, 10, limit=Decimal("1.00"))]
            for order in orders:
                await broker.place(order)
            for _ in range(10):
                await world.beat()
                await broker.report("DU1")
            said = [(m.order_ref, m.state, m.filled_qty or 0, m.message) for m in world.heard if isinstance(m, OrderEvent)]
            assert len(said) == len(set(said)) and {ref for ref, *_ in said} == {o.order_ref for o in orders}
            executions = [m.exec_id for m in world.heard if isinstance(m, Fill)]
            assert len(executions) == len(set(executions)) == len(exchange.executions())

    run(scene())


def test_known_contracts_are_sent_without_waiting():
    "A batch leaves in one go: no order waits for an answer of the broker."
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            await broker.quotes([KO])
            relay.mute = True
            world = world_of(broker, relay.port)
            for n in range(50):
                await broker.place(world.order(n, Side.BUY, 1, limit=Decimal("1.00")))
            for _ in range(100):
                await asyncio.sleep(0.01)
                if len(exchange.open_orders()) == 50:
                    break
            assert len(exchange.open_orders()) == 50

    run(scene())


KILLED = """
import asyncio, os, signal, site, sys
sys.path[:] = {paths!r}
for folder in [p for p in sys.path if p.endswith("site-packages")]:
    site.addsitedir(folder)  # the package may be installed from its source: that needs the folder's .pth
from decimal import Decimal
from otsport.core.orders import Order, OrderType, Side
from otsport.brokers.ib import IBBroker, check_clock
from otsport.core.live import Grant
from trading_support import KO, profile

async def main():
    broker = IBBroker(profile({port}))
    await broker.connect()
    await broker.heartbeat()
    await broker.quotes([KO])
    for n in range(20):
        await broker.place(Order(f"r{{n}}", "DU1", "core", KO, Side.BUY, Decimal(1), OrderType.LIMIT, Decimal("1.00")))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_after_place_has_really_sent_and_its_client_id_comes_free(tmp_path):
    """What was placed has left the process, in its order, and the next one finds all that arrived. A kill takes what the kernel had not yet sent: it sends
    ten segments before the first answer, the rest may be lost, and is then nowhere."""
    async def scene():
        journal = tmp_path / "journal.jsonl"
        async with gateway(journal) as (server, exchange):
            code = KILLED.format(paths=[str(ROOT), str(ROOT / "tests"), *sys.path], port=server.port)
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
            assert await child.wait() == -signal.SIGKILL
            async with connected(server.port) as broker:
                await broker.heartbeat()
                refs = {e.order_ref for e in (await broker.report("DU1")).orders}
            arrived = [r.ticket.order_ref for r in received_orders(journal)]
            assert 10 <= len(arrived) <= 20 and arrived == [f"r{n}" for n in range(len(arrived))]
            assert refs == set(arrived)

    run(scene())


# ---------------------------------------------------------------- real prices, the other library

def test_trades_on_real_prices():
    from otsport.data.samples import history
    from otsport.gateway.market import Market

    async def scene():
        async with gateway(cash={"DU1": Decimal(1_000_000)}, market=Market(history(), 7)) as (server, exchange), connected(server.port) as broker:
            world = world_of(broker, server.port)
            await world.beat()
            quotes = await broker.quotes([replace(KO, symbol=s) for s in exchange.market.symbols])
            assert len(quotes) == len(exchange.market.symbols) and all(q.two_sided for q in quotes.values())
            buy = world.order(1, Side.BUY, 300)
            await broker.place(buy)
            await world.until(world.done(buy))
            assert (await broker.account_values("DU1")).cash == exchange.values("DU1").cash
            assert (await broker.account_values("DU1")).net_liquidation == exchange.values("DU1").net_liquidation

    run(scene())


def test_contract_under_ib_async(ib_async_python):
    "The same file under ib_async, which cannot share an environment with ib_insync."
    shared = next(p for p in map(Path, sys.path) if (p / "pydantic").is_dir())
    chosen = "not ib_async and not library_alone"
    code = (f"import site, sys; site.addsitedir({str(shared)!r}); import pytest; "
            f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-k', {chosen!r}, {str(Path(__file__))!r}]))")
    env = os.environ | {"OTSPORT_TEST_LIBRARY": "ib_async", "PYTHONPATH": ""}
    done = subprocess.run([ib_async_python, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > len(CHECKS) and "skipped" not in done.stdout


# ---------------------------------------------------------------- a new connection

def test_new_connection_knows_nothing_of_the_old_one():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port) as broker:
            world = world_of(broker, server.port)
            await world.beat()
            await broker.watch([KO])
            order = world.order(1, Side.BUY, 10)
            await world.beat()
            await broker.place(order)
            await world.until(world.done(order))
            assert KO.key in broker.live
            await broker.connect()
            assert broker.live == {}
            with pytest.raises(BrokerError, match=f"no working order {order.order_ref} of client id"):
                await broker.cancel(order.order_ref)
            with pytest.raises(BrokerError, match="call heartbeat"):
                await broker.quotes([KO])
            for message in broker.drain():
                assert message.ts is not None

    run(scene())


def test_what_was_heard_before_the_first_heartbeat_waits_for_its_time():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port) as broker:
            world = world_of(broker, server.port)
            await world.beat()
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)
            await world.beat()
            await broker.disconnect()
            fresh = IBBroker(profile(server.port))
            assert fresh.drain() == []
            await fresh.connect()
            with pytest.raises(BrokerError, match="call heartbeat"):
                fresh.drain()
            now = await fresh.heartbeat()
            assert {m.ts for m in fresh.drain() if m.order_ref == order.order_ref} == {now}
            await fresh.disconnect()

    run(scene())


def test_order_that_the_socket_does_not_take_is_a_timeout_that_says_so():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, timeout_seconds=0.2) as broker:
            await broker.heartbeat()
            line = broker._line
            real = line.client.conn.transport
            line.client.conn.transport = SimpleNamespace(get_write_buffer_size=lambda: 1, is_closing=lambda: False)
            try:
                with pytest.raises(BrokerTimeout, match="order x could not be written within 0.2 s; it may or may not arrive"):
                    await asyncio.wait_for(ib_orders.flush(line, "order x"), 3)
            finally:
                line.client.conn.transport = real

    run(scene())
