"""Whoever takes a book up, and however: no order leaves twice, and who comes second is told who holds the book.

A sample runs with the tests; `make soak` runs 200 seeds of each.
"""
import asyncio
import random
from contextlib import suppress
from datetime import datetime, timezone

import pytest

from desk_support import PORTFOLIO, THURSDAY, desk_on, fills_at, fills_in, gateway, mandate, prices, sent
from otsport.brokers.ib import IBBroker
from otsport.core.errors import BookHeld, BrokerUnreachable, OtsportError
from otsport.core.settings import BrokerProfile, Settings
from otsport.data.store import Store, Unit, open_store
from otsport.desk.book import Desk
from otsport.desk.session import trade_day
from trading_support import Relay

SAMPLE, MANY = 4, 200
NOW = datetime(2022, 12, 15, 12, tzinfo=timezone.utc)


class Killed(BaseException):
    """The process died here."""


def seeds(count):
    return pytest.mark.parametrize("seed", range(count))


def dies_somewhere(patch, rng):
    """Die at a random one of the places where a process does something that others can see."""
    where, name = rng.choice([(IBBroker, "place"), (Unit, "finish"), (IBBroker, "heartbeat"), (IBBroker, "report"), (IBBroker, "quotes")])
    original, left, after = getattr(where, name), rng.randrange({"place": 2, "finish": 9, "heartbeat": 14, "report": 2, "quotes": 4}[name]), rng.random() < 0.5
    calls = []

    def counted():
        calls.append(1)
        return len(calls) == left + 1

    if name == "finish":
        def patched(self):
            if counted():
                raise Killed(name)
            return original(self)
    else:
        async def patched(self, *args):
            mine = counted()
            if mine and not after:
                raise Killed(name)
            result = await original(self, *args)
            if mine:
                raise Killed(name)
            return result
    patch.setattr(where, name, patched)


async def trade_until_killed(port, home, rng) -> bool:
    """Trade as a holder that dies somewhere; whether it died."""
    with pytest.MonkeyPatch.context() as patch:
        dies_somewhere(patch, rng)
        try:
            async with desk_on(port, home) as desk:
                try:
                    with desk.store.hold(PORTFOLIO, "first", 1, NOW):
                        await trade_day(desk, THURSDAY)
                finally:
                    if desk.broker._line is not None and desk.broker._line.ib.client.conn.transport is not None:
                        desk.broker._line.ib.client.conn.transport.abort()
        except Killed:
            return True
    return False


async def finish(port, home, exchange, client_id=1) -> None:
    """Take the book up and finish the day; then count."""
    async with desk_on(port, home) as desk:
        with desk.store.hold(PORTFOLIO, "second", client_id, NOW):
            await trade_day(desk, THURSDAY)
        check_once(exchange, desk.store)


def check_once(exchange, store: Store) -> None:
    references = sent(exchange)
    assert len(references) == len(set(references)) and {r.order.order_ref for r in store.orders(PORTFOLIO)} >= set(references)
    assert fills_at(exchange) == fills_in(store) and store.verify()


async def taken_over(seed, home):
    """A holder is killed somewhere, another takes the book over."""
    rng = random.Random(seed)
    async with gateway() as (server, exchange):
        for _ in range(3):
            if not await trade_until_killed(server.port, home, rng):
                break
        await finish(server.port, home, exchange)


async def two_desks(seed, home):
    """A second desk comes to the store again and again while the first one trades."""
    rng, refused = random.Random(seed), []

    async def second(done):
        while not done.is_set():
            await asyncio.sleep(rng.uniform(0, 0.05))
            with open_store(home / "otsport.db", key=b"k" * 32) as store:
                try:
                    with store.hold(PORTFOLIO, "second", 1, NOW):
                        assert done.is_set(), "two desks hold one book"
                except BookHeld as error:
                    refused.append(str(error))

    async with gateway() as (server, exchange), desk_on(server.port, home) as desk:
        done = asyncio.Event()
        with desk.store.hold(PORTFOLIO, "first", 1, NOW):
            other = asyncio.create_task(second(done))
            await asyncio.sleep(0)
            await trade_day(desk, THURSDAY)
            done.set()
            await other
        assert refused and all("first" in text and "nothing was sent" in text for text in refused)
        check_once(exchange, desk.store)


async def two_client_ids(seed, home):
    """A killed desk leaves open orders; the book is opened under another client id, which would not hear of them."""
    rng = random.Random(seed)
    async with gateway() as (server, exchange):
        await trade_until_killed(server.port, home, rng)
        with open_store(home / "otsport.db", key=b"k" * 32) as store:
            left = [r for r in store.open_orders(PORTFOLIO) if r.state != "created"]
            try:
                with store.hold(PORTFOLIO, "other id", 2, NOW):
                    assert not left, "a book with open orders was opened under another client id"
            except BookHeld as error:
                assert left and "open the book with client id 1" in str(error)
        await finish(server.port, home, exchange)


async def half_open(seed, home):
    """The line of a dead desk is still open at the broker, with an order on its way; nobody gets in until it has been read to its end."""
    rng = random.Random(seed)
    async with gateway() as (server, exchange), Relay(server.port) as relay:
        held_back, upstream = [], []

        async def up(reader, writer):
            upstream.append(writer)
            while data := await reader.read(1 << 16):
                if relay.stalled:
                    held_back.append(data)
                else:
                    writer.write(data)
        relay.up, relay.stalled = up, False
        place = IBBroker.place

        async def stalls(self, order):
            relay.stalled = True
            await place(self, order)
            raise Killed("place")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(IBBroker, "place", stalls)
            with pytest.raises(Killed):
                async with desk_on(relay.port, home) as desk:
                    with desk.store.hold(PORTFOLIO, "first", 1, NOW):
                        await trade_day(desk, THURSDAY)
        late = asyncio.get_running_loop().call_later(rng.uniform(0.0, 0.3), lambda: release(upstream, held_back))
        await finish(server.port, home, exchange)  # waits for its client id
        late.cancel()
        await asyncio.sleep(0.05)
        with open_store(home / "otsport.db", key=b"k" * 32) as store:
            check_once(exchange, store)


def release(upstream, held_back):
    """What hung in the line arrives, and the line ends."""
    for writer in upstream:
        for data in held_back:
            writer.write(data)
        writer.write_eof()
    held_back.clear()


SCENES = {"taken_over": taken_over, "two_desks": two_desks, "two_client_ids": two_client_ids, "half_open": half_open}


@pytest.mark.parametrize("scene", SCENES)
@seeds(SAMPLE)
def test_no_order_leaves_twice(scene, seed, tmp_path):
    asyncio.run(SCENES[scene](seed, tmp_path))


@pytest.mark.soak
@pytest.mark.parametrize("scene", SCENES)
@seeds(MANY)
def test_no_order_leaves_twice_over_many_seeds(scene, seed, tmp_path):
    asyncio.run(SCENES[scene](1000 + seed, tmp_path))


def test_desk_that_asks_nobody_sends_twice_and_is_found_out(tmp_path, monkeypatch):
    """The negative control: without the pinned client id the order on its way and the one sent again both arrive."""
    from otsport.data import store as room

    monkeypatch.setattr(room, "check_client_id", lambda *args: None)

    async def day():
        async with gateway() as (server, exchange), Relay(server.port) as relay:
            held_back, upstream = [], []

            async def up(reader, writer):
                upstream.append(writer)
                while data := await reader.read(1 << 16):
                    held_back.append(data) if relay.stalled else writer.write(data)
            relay.up, relay.stalled = up, False
            place = IBBroker.place

            async def stalls(self, order):
                relay.stalled = True
                await place(self, order)
                raise Killed("place")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(IBBroker, "place", stalls)
                with pytest.raises(Killed):
                    async with desk_on(relay.port, tmp_path) as desk:
                        await trade_day(desk, THURSDAY)
            rules = mandate(server.port)
            profile = BrokerProfile(port=server.port, accounts=("DU1",), timeout_seconds=5.0, client_id=2, requests_per_second=0)
            line = IBBroker(profile)
            await line.connect()
            with open_store(tmp_path / "otsport.db", key=b"k" * 32) as store:
                desk = Desk(store, line, prices(), mandate(server.port, settings=Settings(broker=profile, limits=rules.settings.limits, sizing=rules.settings.sizing)))
                original = IBBroker.place

                async def then_the_old_one(self, order):
                    await original(self, order)
                    release(upstream, held_back)
                monkeypatch.setattr(IBBroker, "place", then_the_old_one)
                with suppress(OtsportError):  # whatever the books say then: the second order has left
                    await trade_day(desk, THURSDAY)
            await line.disconnect()
            await asyncio.sleep(0.05)
            return sent(exchange)
    references = asyncio.run(day())
    assert len(references) > len(set(references))


def test_unreachable_while_the_old_line_lives(tmp_path):
    """The same client id waits, and says what is in the way, as long as the broker keeps the old line."""
    async def day():
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path):
            line = IBBroker(BrokerProfile(port=server.port, accounts=("DU1",), timeout_seconds=0.3))
            with pytest.raises(BrokerUnreachable, match="client id 1 is in use"):
                await line.connect()
    asyncio.run(day())
