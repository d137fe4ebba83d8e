"""A simulated gateway in a thread, for tests that connect real clients to it."""

import asyncio
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path

from otsport.data.samples import history
from otsport.gateway import sockets
from otsport.gateway.exchange import Exchange
from otsport.gateway.market import Market
from otsport.gateway.frames import PREFIX, Frames, frame
from otsport.gateway.handlers import receive
from otsport.gateway.session import Gateway, Session
from otsport.gateway.wire import ASKED, SENT, decode, encode, split

ROOT = Path(__file__).resolve().parents[1]
SESSION = date(2022, 12, 15)


@cache
def market() -> Market:
    return Market(history(), 1)


def exchange(*accounts: str, journal: Path | None = None, session: date = SESSION) -> Exchange:
    return Exchange(market(), {name: Decimal(1_000_000) for name in accounts or ("DU123456",)}, session, journal)


@contextmanager
def running(served: Exchange, clock: str = "heartbeat", seconds_per_step: float = 1.0, **more):
    "Serve an exchange from a thread; gives the server."
    loop, ready, box = asyncio.new_event_loop(), threading.Event(), {}

    def work():
        asyncio.set_event_loop(loop)
        box["server"] = loop.run_until_complete(sockets.serve(served, clock=clock, seconds_per_step=seconds_per_step, **more))
        ready.set()
        loop.run_forever()
        box["server"].close()
        loop.run_until_complete(box["server"].wait_closed())
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(30), "the server did not start"
    try:
        yield box["server"]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        assert not thread.is_alive(), "the server did not stop"


def client(*arguments, python: str | Path = sys.executable, seconds: float = 90) -> subprocess.CompletedProcess:
    "Run one of the scripts of tests/clients."
    name, *rest = map(str, arguments)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run([str(python), str(ROOT / "tests" / "clients" / name), *rest], capture_output=True, text=True, timeout=seconds, env=env)


def blank(slots) -> dict:
    "A value for every field of a request: empty text, no number."
    return {s.name: "" if s.kind in ("text", "when") else [] if s.kind in ("count", "rest") else None for s in slots if s.kind not in ("const", "if")}


def ask(version: int, name: str, **values) -> bytes:
    "The frame of a request with everything else blank."
    return encode(version, name, ASKED, **blank(ASKED[name]) | values)


def opening(client_id: int, version: int = 176) -> bytes:
    "What a client sends first: prefix, version range and START_API."
    return PREFIX + frame(f"v157..{version}".encode()) + ask(version, "startApi", clientId=client_id)


def order(order_id: int, side: str = "BUY", qty: int = 100, limit: str | None = None, version: int = 176, **more) -> bytes:
    "The frame of an order for KO."
    fields = {"symbol": "KO", "secType": "STK", "currency": "USD", "exchange": "SMART", "tif": "DAY", "transmit": True, "orderRef": f"ref-{order_id}"}
    kind = {"orderType": "MKT"} if limit is None else {"orderType": "LMT", "limitPrice": Decimal(limit)}
    return ask(version, "placeOrder", orderId=order_id, side=side, qty=Decimal(qty), **fields | kind | more)


_NUMBERS = {slots[0].name: name for name, slots in SENT.items()}


def messages(data: bytes, version: int = 176) -> list[tuple[str, dict]]:
    "The messages in what a server sent, the hello left out."
    frames, found = Frames(), []
    frames.push(data)
    while (payload := frames.pop()) is not None:
        first, *rest = split(payload)
        if not (len(rest) == 1 and first == str(version)):
            found.append((_NUMBERS[first], decode(version, _NUMBERS[first], payload)))
    return found


class Talk:
    "A client without a socket."

    def __init__(self, gateway: Gateway, client_id: int = 1, version: int = 176):
        self.gateway, self.version, self.session = gateway, version, Session(f"client {client_id}")
        receive(gateway, self.session, opening(client_id, version))
        self.session.out.clear()

    def say(self, name: str, **values) -> list[tuple[str, dict]]:
        "Ask, and hear the answer."
        return self.raw(ask(self.version, name, **values))

    def raw(self, data: bytes) -> list[tuple[str, dict]]:
        receive(self.gateway, self.session, data)
        return self.hear()

    def hear(self) -> list[tuple[str, dict]]:
        "What waits for this client."
        heard = messages(bytes(self.session.out), self.version)
        self.session.out.clear()
        return heard


def buy(order_id: int = 7, **more) -> dict:
    "The fields of an order to buy one KO."
    fields = {"symbol": "KO", "secType": "STK", "currency": "USD", "side": "BUY", "qty": Decimal(1), "orderType": "MKT", "tif": "DAY", "transmit": True, "account": "DU1"}
    return {"orderId": order_id} | fields | more


def codes(heard) -> list[tuple[int, int]]:
    "Whom each error is about, and its code."
    return [(v["reqId"], v["code"]) for n, v in heard if n == "error"]
