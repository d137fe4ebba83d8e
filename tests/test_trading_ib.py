"""The adapter for Interactive Brokers against the simulated gateway, over TCP, and against everything that can go wrong on the way."""
import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from time import monotonic

import pytest
from broker_contract import CHECKS, World, open_market
from trading_support import KO, Relay, connected, gateway, number, profile

from otsport.core.errors import AccountNotServed, BrokerError, BrokerTimeout, BrokerUnreachable, SettingsError
from otsport.core.orders import Fill, OrderState, OrderType, Side
from otsport.gateway.journal import received_orders
from otsport.trading import ib
from otsport.core.orders import is_correction
from otsport.brokers.ib import IBBroker

ROOT = Path(__file__).resolve().parents[1]
if "OTSPORT_TEST_LIBRARY" in os.environ:  # the same file under the other library, see test_contract_under_ib_async
    ib.LIBRARIES = (os.environ["OTSPORT_TEST_LIBRARY"],)


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


def test_unknown_code_makes_the_state_unknown_and_the_report_settles_it():
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            world = world_of(broker, relay.port)
            await world.beat()
            await open_market(world)
            order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
            await broker.place(order)
            await world.beat()
            relay.say("error", reqId=exchange.open_orders()[0].ticket.order_id, code=12345, text="something new")
            await world.beat()
            assert world.record(order).state is OrderState.UNKNOWN
            world.heard += (await broker.report("DU1")).orders
            assert world.record(order).state is OrderState.WORKING

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
            theirs = ib.to_ib_order(ib.library(), world_of(other, server.port).order(1, Side.BUY, 50))
            theirs.orderRef = ""
            [ko] = await ib.qualify(other._line, [KO])
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


def heard_states(*words_and_codes) -> list[OrderState]:
    "The states that status words and error codes of order 7 mean, in this order."
    orders = ib.Orders(client_id=1)
    orders.names.learn("r", 1, 7)
    for said in words_and_codes:
        if isinstance(said, int):
            ib.hear_order_error(orders, 7, said, "reason")
        else:
            ib.hear_status(orders, 7, said, 0.0, 100.0, 0.0, 100001, 0, 0.0, 1)
    return [m.state for m in orders.heard]


@pytest.mark.parametrize("said, end", [
    ((201, "Inactive"), OrderState.REJECTED), (("Inactive", 201), OrderState.REJECTED), (("PreSubmitted", "Inactive", 201), OrderState.REJECTED),
    (("PreSubmitted", 201, "Inactive"), OrderState.REJECTED), (("Submitted", 201), OrderState.UNKNOWN), (("Submitted", "Inactive"), OrderState.UNKNOWN),
    (("Submitted", 201, "Cancelled"), OrderState.CANCELLED), (("Submitted", 10148), OrderState.UNKNOWN), (("PendingSubmit", 321), OrderState.REJECTED),
])  # fmt: skip
def test_refusal_is_an_end_only_when_the_order_does_not_live(said, end):
    assert heard_states(*said)[-1] is end


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
            start = monotonic()
            with pytest.raises(BrokerUnreachable, match="lost while asking for orders and executions"):
                await waiting
            assert monotonic() - start < 1
            with pytest.raises(BrokerUnreachable):
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
            start = monotonic()
            with pytest.raises(BrokerTimeout, match="did not answer within 0.3 s"):
                await ask(broker)
            assert monotonic() - start < 2

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
        start = monotonic()
        with pytest.raises(BrokerUnreachable, match=f"127.0.0.1:{port}.*nothing listens.*otsport gateway --port {port}"):
            await IBBroker(profile(port)).connect()
        assert monotonic() - start < 2

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
        start = monotonic()
        with pytest.raises(BrokerUnreachable, match=why):
            await IBBroker(profile(server.sockets[0].getsockname()[1], timeout_seconds=0.3)).connect()
        assert monotonic() - start < 2
        server.close()

    run(scene())


@pytest.mark.parametrize("served, more, why", [
    ({"DU2": Decimal(1)}, {}, "serves DU2, not DU1"),
    ({"DU1": Decimal(1), "U7654321": Decimal(1)}, {}, "account U7654321 at .* is live, profile 'simulated' is paper"),
    ({"DU1": Decimal(1)}, {"mode": "live"}, "account DU1 at .* is paper, profile 'simulated' is live"),
], ids=["absent", "live-under-paper", "paper-under-live"])  # fmt: skip
def test_connect_account_not_served(served, more, why):
    async def scene():
        async with gateway(cash=served) as (server, exchange):
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
        assert ib.library().__name__ == ib.LIBRARIES[0]

    run(scene())


def test_library_missing_is_a_settings_error(monkeypatch):
    monkeypatch.setattr(ib, "LIBRARIES", ("no_such_library",))

    async def scene():
        with pytest.raises(SettingsError, match="neither ib_insync nor ib_async"):
            ib.library()

    run(scene())


# ---------------------------------------------------------------- sending

def test_requests_per_second_holds_back_and_place_waits_for_the_wire():
    async def scene():
        async with gateway() as (server, exchange), connected(server.port, requests_per_second=5) as broker:
            await broker.heartbeat()
            world = world_of(broker, server.port)
            start = monotonic()
            for n in range(8):
                await broker.place(world.order(n, Side.BUY, 1, limit=Decimal("1.00")))
            assert monotonic() - start > 1          # 5 a second; 8 orders and the requests before them need more than one
            await broker.heartbeat()
            assert len(exchange.open_orders()) == 8

    run(scene())


def test_known_contracts_are_sent_without_waiting():
    "A batch leaves in one go: no order waits for an answer of the broker."
    async def scene():
        async with gateway() as (server, exchange), Relay(server.port) as relay, connected(relay.port) as broker:
            await broker.heartbeat()
            await broker.quotes([KO])
            relay.mute = True
            world = world_of(broker, relay.port)
            start = monotonic()
            for n in range(50):
                await broker.place(world.order(n, Side.BUY, 1, limit=Decimal("1.00")))
            assert monotonic() - start < 1
            for _ in range(100):
                await asyncio.sleep(0.01)
                if len(exchange.open_orders()) == 50:
                    break
            assert len(exchange.open_orders()) == 50

    run(scene())


KILLED = """
import asyncio, os, signal, sys
sys.path[:] = {paths!r}
from decimal import Decimal
from otsport.core.orders import Order, OrderType, Side
from otsport.brokers.ib import IBBroker
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
    async def scene():
        journal = tmp_path / "journal.jsonl"
        async with gateway(journal) as (server, exchange):
            code = KILLED.format(paths=[str(ROOT), str(ROOT / "tests"), *sys.path], port=server.port)
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
            assert await child.wait() == -signal.SIGKILL
            async with connected(server.port) as broker:
                await broker.heartbeat()
                refs = {e.order_ref for e in (await broker.report("DU1")).orders}
            assert refs == {f"r{n}" for n in range(20)}
            assert [r.ticket.order_ref for r in received_orders(journal)] == [f"r{n}" for n in range(20)]

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


def test_contract_under_ib_async():
    "The same contract under ib_async, in the environment that `.venv-ib-async` holds (it cannot share one with ib_insync)."
    python = ROOT / ".venv-ib-async" / "bin" / "python"
    if not python.exists():
        pytest.skip(".venv-ib-async is not there: python -m venv .venv-ib-async && .venv-ib-async/bin/pip install ib_async")
    shared = next(p for p in map(Path, sys.path) if (p / "pydantic").is_dir())
    code = f"import site, sys; site.addsitedir({str(shared)!r}); import pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-k', 'not ib_async and not library_alone', {str(Path(__file__))!r}]))"
    env = os.environ | {"OTSPORT_TEST_LIBRARY": "ib_async", "PYTHONPATH": ""}
    done = subprocess.run([python, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
