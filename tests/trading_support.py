"""A real gateway on a TCP port, and a relay that can do to its messages what networks and TWS do."""
import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

from otsport.core.calendars import session_close, session_open
from otsport.core.contracts import Contract, OptionChain, Quote, stock
from otsport.core.settings import BrokerProfile
from otsport.gateway.exchange import Exchange
from otsport.gateway.frames import PREFIX, Frames, frame
from otsport.gateway.sockets import serve
from otsport.gateway.wire import encode, split
from otsport.brokers.ib import IBBroker

KO = stock("KO")
THURSDAY = date(2022, 12, 15)
EXPIRY = date(2023, 1, 20)
CASH = {"DU1": Decimal(100_000), "DU2": Decimal(50_000)}
VERSION = 176  # what ib_insync agrees on


class SmallMarket:
    "KO near 60 dollars with 200 shares a side, calls and puts at 1.20 to 1.22, a step every half hour; cheap to compute and easy to reckon with."

    seed, symbols = 0, ("KO",)

    def has_prices(self, day: date) -> bool:
        return day <= EXPIRY

    @staticmethod
    @cache
    def session_steps(day: date):
        opening, closing = session_open(day), session_close(day)
        return (opening - timedelta(minutes=30), *(opening + timedelta(minutes=30 * n) for n in range(13)), closing, closing + timedelta(minutes=1))

    def quote(self, contract: Contract, day: date, step: int) -> Quote:
        bid = (120 if contract.is_option else 6000) + (7 * step + 11 * day.day) % 9 - 4
        size = 5 if contract.is_option else 200
        return Quote(contract, self.session_steps(day)[step], bid / 100, (bid + 2) / 100, size, size + step, bid / 100, 60.0, "modelled")

    def official_close(self, symbol: str, day: date) -> Decimal:
        return Decimal("60.00")

    def chains(self, symbol: str, day: date) -> tuple[OptionChain, ...]:
        return (OptionChain(symbol, (EXPIRY,), (Decimal(55), Decimal(60), Decimal(65))),)


def profile(port: int, **more) -> BrokerProfile:
    return BrokerProfile(**{"port": port, "accounts": ("DU1",), "timeout_seconds": 60.0, "requests_per_second": 0} | more)


@asynccontextmanager
async def gateway(journal: Path | None = None, cash=CASH, market=None, clock: str = "heartbeat", **more):
    "A gateway that serves; gives its server and its exchange."
    exchange = Exchange(market or SmallMarket(), cash, THURSDAY, journal)
    server = await serve(exchange, clock=clock, **more)
    try:
        yield server, exchange
    finally:
        server.close()
        await server.wait_closed()
        exchange.close()


@asynccontextmanager
async def connected(port: int, **more):
    "A broker that is connected."
    broker = IBBroker(profile(port, **more))
    await broker.connect()
    try:
        yield broker
    finally:
        await broker.disconnect()


class Relay:
    """A TCP relay in front of a gateway. `change` takes the list of frames (payloads) that came from the gateway in one piece of at least one
    whole message, and gives the list that the client gets; `asked` is what came from the client. `mute` swallows everything from the gateway, `cut()` breaks the connections."""

    def __init__(self, target: int, change: Callable[[list[bytes]], list[bytes]] = lambda frames: frames):
        self.target, self.change, self.mute = target, change, False
        self.writers: list[asyncio.StreamWriter] = []
        self.clients: list[asyncio.StreamWriter] = []
        self.asked: list[bytes] = []  # payloads of what the clients sent, after their greeting

    async def __aenter__(self) -> "Relay":
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self.server.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        for writer in self.writers:
            if not writer.is_closing():
                writer.transport.abort()
        self.writers.clear()

    async def serve(self, reader, writer) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers += [writer, up_writer]
        self.clients.append(writer)
        await asyncio.gather(self.up(reader, up_writer), self.down(up_reader, writer), return_exceptions=True)
        for end in (writer, up_writer):
            end.close()

    async def up(self, reader, writer) -> None:
        frames = Frames()
        frames.push(await reader.readexactly(len(PREFIX)))
        frames.skip(PREFIX)
        writer.write(PREFIX)
        while data := await reader.read(1 << 16):
            frames.push(data)
            while (payload := frames.pop()) is not None:
                self.asked.append(payload)
            writer.write(data)
        writer.write_eof()

    async def down(self, reader, writer) -> None:
        frames = Frames()
        while data := await reader.read(1 << 16):
            frames.push(data)
            whole = []
            while (payload := frames.pop()) is not None:
                whole.append(payload)
            if not self.mute:
                writer.write(b"".join(map(frame, self.change(whole))))
        writer.write_eof()

    def say(self, message: str, **values) -> None:
        "Send the newest client a message of the relay's own."
        self.clients[-1].write(encode(VERSION, message, **values))


def number(payload: bytes) -> int:
    "The message number of a frame; 0 for the greeting."
    fields = split(payload)
    return int(fields[0]) if len(fields) > 2 or fields[0] in ("53", "102", "62") else 0


def kinds(payloads: list[bytes]) -> list[int]:
    "The message numbers of what a client sent."
    return [int(payload.split(b"\0")[0]) for payload in payloads if not payload.startswith(b"v")]
