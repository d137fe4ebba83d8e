"""A trader, a gateway with faults, and what both must agree on in the end; ours, and a naive one that believes the library."""
import asyncio
import logging
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

import ib_insync

from desk_support import prices
from otsport.brokers import care
from otsport.core.contracts import stock
from otsport.core.errors import BrokerError, DataError, OtsportError
from otsport.core.orders import Order, OrderState, OrderType, Side
from otsport.core.settings import settings
from otsport.data.store import open_store
from otsport.desk import commands
from otsport.desk.accounts import Hand, Place
from otsport.desk.booking import absorb
from otsport.desk.requests import Asked
from otsport.gateway.exchange import Exchange
from otsport.gateway.faults import Fault, FaultPlan
from otsport.gateway.injector import Injector
from otsport.gateway.sockets import serve
from trading_support import THURSDAY, SmallMarket

ACCOUNT, OTHER, CASH, KO = "DU1234567", "DU7654321", Decimal(1_000_000), stock("KO")
ASKED = Asked("fault suite", "a seed")
LIMITS = {"max_position_weight": 1.0, "max_sector_weight": 1.0, "max_order_weight": 1.0, "max_gross": 1.0, "max_quote_age_seconds": 7200.0, "max_order_value": 10**9}
LIMIT_SECONDS = 1.0  # of an answer; the scale of all waiting here


class Crash(BaseException):
    """The process ends at this point."""


@dataclass
class World:
    """A gateway on a journal, which may die and come back on its port."""
    home: Path
    faults: tuple[Fault, ...]
    seed: int
    server: object = None
    exchange: Exchange = None
    injector: Injector = None
    port: int = 0
    deaths: int = 0

    async def start(self) -> None:
        self.injector = Injector(FaultPlan(self.faults if self.server is None else (), self.seed))
        self.exchange = Exchange(SmallMarket(), {ACCOUNT: CASH, OTHER: CASH}, THURSDAY, self.home / "gateway.jsonl")
        if self.server is None:
            for _ in range(2):
                self.exchange.advance()  # the market is open
        self.server = await serve(self.exchange, port=self.port, faults=self.injector, clock="paced", seconds_per_step=3600)
        self.port = self.server.port
        self.injector.hands.kill = self.die

    def step(self) -> None:
        """Half an hour later, as long as the session lasts: what is asked for later is still of today."""
        if self.exchange.step < 10 and not self.server.closed:
            self.server.gateway.step()
            self.server.flush()

    def die(self) -> None:
        """As by kill -9: every line is reset, nothing more is said; the journal is what it is."""
        from otsport.gateway.sockets import kill

        kill(self.server)
        self.deaths += 1
        asyncio.get_running_loop().create_task(self.come_back())

    async def come_back(self) -> None:
        await self.server.wait_closed()
        self.exchange.close()
        await asyncio.sleep(0.05)
        await self.start()

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()
        self.exchange.close()

    def sent(self) -> list[tuple[str, str]]:
        """Account and reference of every order that came over the line; those of the broker's own have none."""
        return [(u.ticket.account, u.ticket.order_ref) for u in self.exchange.state.orders.values() if u.ticket.client_id > 0]

    def fills(self) -> dict[str, tuple]:
        return {e.exec_id: (e.contract.key, str(e.side), e.qty, e.price) for e in self.exchange.state.fills if e.exec_id not in self.exchange.state.void and e.account == ACCOUNT}

    def positions(self) -> dict[str, Decimal]:
        return {h.contract.key: h.qty for h in self.exchange.holdings(ACCOUNT)}

    def cash(self) -> Decimal:
        return self.exchange.values(ACCOUNT).cash

    def working(self) -> set[str]:
        return {u.ticket.order_ref for u in self.exchange.open_orders() if u.ticket.account == ACCOUNT and u.ticket.client_id > 0}


@dataclass
class Ours:
    """The desk with its store and its adapter."""
    world: World
    hand: Hand = None
    placed: list[str] = field(default_factory=list)
    crash_at: str = ""  # "committed" or "sent": where the process ends at the next order

    async def open(self) -> None:
        profile = {"name": "faulty", "port": self.world.port, "accounts": (ACCOUNT,), "timeout_seconds": LIMIT_SECONDS, "requests_per_second": 40 if self.paced else 0,
                   "silence_seconds": 0.8, "reconnect_seconds": 20.0}
        self.hand = Hand(Place("main", ACCOUNT, settings(broker=profile, limits=LIMITS), prices, CASH, self.world.home / "otsport.db"))
        await self.hand.open(ASKED)

    paced = False

    async def again(self) -> None:
        """Until it is open: the gateway may be away."""
        for _ in range(60):
            try:
                return await self.open()
            except BrokerError:
                await asyncio.sleep(0.05)
        raise AssertionError("it never came back")

    async def act(self, doing):
        """Do something; a lost line, and everything that a broker cannot do now, is lived with."""
        for _ in range(60):
            try:
                return await self.hand.act(doing)
            except (BrokerError, DataError):
                await asyncio.sleep(0.02)
        raise AssertionError("the broker never answered")

    async def place(self, side: Side, qty: int, limit: Decimal | None) -> None:
        async def doing(desk, book):
            order = Order(commands.next_ref(book), ACCOUNT, "main", KO, side, Decimal(qty), OrderType.MARKET if limit is None else OrderType.LIMIT, limit)
            self.placed.append(order.order_ref)
            with self._crashing(desk):
                return await commands.place(desk, book, order, ASKED, again=True)

        try:
            await self.hand.act(doing)
        except (BrokerError, DataError):
            pass  # told to whoever asked; what became of it is found by asking
        except Crash:
            await self.die()

    @contextmanager
    def _crashing(self, desk):
        """The process ends at this order: before it leaves, or after; once."""
        crash_at, self.crash_at, send = self.crash_at, "", desk.broker.place

        async def dying(order):
            if crash_at == "sent":
                await send(order)
            raise Crash(crash_at)

        if crash_at:
            desk.broker.place = dying
        yield

    async def die(self) -> None:
        """The process is gone: its line breaks, the store and the lock are what they are."""
        line = self.hand.desk.broker.shared.broker._line
        if line is not None and line.client.conn.transport is not None:
            line.client.conn.transport.abort()
        await self.hand.close()
        await self.again()

    async def cancel(self, number: int) -> None:
        async def doing(desk, book):
            open_now = [r.order.order_ref for r in book.open_orders() if r.order.order_ref in self.placed]
            return await commands.cancel(desk, book, open_now[number % len(open_now)], ASKED) if open_now else (book, None)

        with suppress(BrokerError, DataError):
            await self.hand.act(doing)

    async def modify(self, number: int) -> None:
        async def doing(desk, book):
            open_now = [r for r in book.open_orders() if r.order.order_ref in self.placed and r.order.limit_price is not None and not r.filled_qty]
            if not open_now:
                return book, None
            record = open_now[number % len(open_now)]
            self.placed.append(commands.next_ref(book))
            return await commands.modify(desk, book, record.order.order_ref, ASKED, limit_price=record.order.limit_price - Decimal("0.01"))

        with suppress(BrokerError, DataError):
            await self.hand.act(doing)

    async def beat(self) -> None:
        await self.act(_nothing)

    async def settle(self) -> None:
        """Hear what is late, ask for the rest, as the desk does after its close; not more than it would."""
        async def doing(desk, book):
            report = await desk.broker.report(ACCOUNT)
            return absorb(desk.store, book, report.messages, book.now), None

        for _ in range(3):
            await self.act(doing)
        self.hand.book = None  # the next one brings the book level anew
        await self.act(doing)

    async def close(self) -> None:
        await self.hand.close()

    def faults(self) -> list[str]:
        """What does not agree with the gateway."""
        with open_store(self.world.home / "otsport.db") as store:
            assert store.verify()
            ours = {f.exec_id: (f.contract.key, str(f.side), f.qty, f.price) for f in store.fills("main")}
            held = {k: p.qty for k, p in store.positions("main", open_only=True).items()}
            cash, records = store.cash("main"), {r.order.order_ref: r for r in store.orders("main")}
        w, found, arrived = self.world, [], [r for _, r in self.world.sent()]
        found += [f"on account {a}: {r}" for a, r in w.sent() if a != ACCOUNT]
        found += [f"sent {arrived.count(r)} times: {r}" for r in set(arrived) if arrived.count(r) > 1]
        found += [f"not in the store: {r}" for r in arrived if r not in records]
        found += [f"executions differ: {sorted(ours.items() ^ w.fills().items())[:4]}"] if ours != w.fills() else []
        found += [f"positions {held} against {w.positions()}"] if held != w.positions() else []
        found += [f"cash {cash} against {w.cash()}"] if cash != w.cash() else []
        working = {ref for ref, r in records.items() if not r.state.done and ref in self.placed}
        found += [f"working {working} against {w.working()}"] if working != w.working() else []
        found += [f"{ref} is {records[ref].state}" for ref in self.placed if ref in records and records[ref].state in (OrderState.SENT, OrderState.UNKNOWN)]
        return found


async def _nothing(desk, book):
    return book, None


class Naive:
    """What a first adapter looks like: it believes `trade.orderStatus`, reconnects, and sends again what was never acknowledged."""

    def __init__(self, world: World):
        self.world, self.ib, self.trades, self.spent, self.count = world, ib_insync.IB(), [], Decimal(0), 0
        logging.getLogger("ib_insync").setLevel(logging.CRITICAL)

    async def open(self) -> None:
        asyncio.set_event_loop(asyncio.get_running_loop())
        for _ in range(40):
            try:
                await self.ib.connectAsync("127.0.0.1", self.world.port, clientId=1, timeout=LIMIT_SECONDS)
                return
            except (ConnectionError, OSError, asyncio.TimeoutError):
                await asyncio.sleep(0.05)
        raise ConnectionError("it never came back")

    async def _line(self) -> None:
        if not self.ib.isConnected():
            await self.open()
            for old in [t for t in self.trades if t.orderStatus.status in ("PendingSubmit", "ApiPending")]:
                self.trades.remove(old)  # it was never acknowledged, so it is sent again
                self._send(old.order.action, int(old.order.totalQuantity), old.order.lmtPrice if old.order.orderType == "LMT" else None, old.order.orderRef)

    def _send(self, action: str, qty: int, limit, ref: str) -> None:
        order = ib_insync.MarketOrder(action, qty, account=ACCOUNT, orderRef=ref) if limit is None else ib_insync.LimitOrder(action, qty, float(limit), account=ACCOUNT, orderRef=ref)
        self.trades.append(self.ib.placeOrder(ib_insync.Stock("KO", "SMART", "USD"), order))

    async def _live(self, doing) -> None:
        with suppress(ConnectionError, asyncio.TimeoutError, OSError, AssertionError):
            await self._line()
            await asyncio.wait_for(doing(), LIMIT_SECONDS)

    async def place(self, side: Side, qty: int, limit: Decimal | None) -> None:
        self.count += 1

        async def doing():
            self._send(str(side), qty, limit, f"naive-{self.count}")
            await self.ib.reqCurrentTimeAsync()
        await self._live(doing)

    def _working(self) -> list:
        return [t for t in self.trades if t.orderStatus.status not in ib_insync.OrderStatus.DoneStates]

    async def cancel(self, number: int) -> None:
        async def doing():
            if working := self._working():
                self.ib.cancelOrder(working[number % len(working)].order)
            await self.ib.reqCurrentTimeAsync()
        await self._live(doing)

    async def modify(self, number: int) -> None:
        async def doing():
            if working := [t for t in self._working() if t.order.orderType == "LMT"]:
                trade = working[number % len(working)]
                trade.order.lmtPrice = round(trade.order.lmtPrice - 0.01, 2)
                self.ib.placeOrder(trade.contract, trade.order)
            await self.ib.reqCurrentTimeAsync()
        await self._live(doing)

    async def beat(self) -> None:
        await self._live(self.ib.reqCurrentTimeAsync)

    async def settle(self) -> None:
        for _ in range(3):
            await self.beat()

    async def die(self) -> None:
        self.ib.client.conn.transport.abort()
        await asyncio.sleep(0)
        old, self.ib, self.trades = self.trades, ib_insync.IB(), []
        await self.open()
        self.trades = [t for t in self.ib.openTrades()] + [t for t in old if t.orderStatus.status == "Filled"]

    async def close(self) -> None:
        self.ib.disconnect()

    def faults(self) -> list[str]:
        w, found, arrived = self.world, [], [r for _, r in self.world.sent()]
        found += [f"sent {arrived.count(r)} times: {r}" for r in set(arrived) if arrived.count(r) > 1]
        held = sum((Decimal(str(t.orderStatus.filled)) * (1 if t.order.action == "BUY" else -1) for t in self.trades), Decimal(0))
        theirs = w.positions().get("KO", Decimal(0))
        found += [f"position {held} against {theirs}"] if held != theirs else []
        working = {t.order.orderRef for t in self._working()}
        found += [f"working {working} against {w.working()}"] if working != w.working() else []
        fees = sum((Decimal(str(f.commissionReport.commission)) for f in self.ib.fills() if f.execution.acctNumber == ACCOUNT), Decimal(0))
        due = sum((n.amount for e, n in w.exchange.state.notes.items() if n.account == ACCOUNT and e not in w.exchange.state.void), Decimal(0))
        found += [f"commissions {fees} against {due}"] if fees != due else []
        return found


async def trade(trader, random: Random, actions: int, crash: str = "", modifies: bool = False) -> None:
    """What a seed asks for: buys and sells at market and at limits, cancels, and beats between them."""
    crash_on, held = random.randrange(actions // 2) if crash else -1, 0
    for n in range(actions):
        if n == crash_on:
            trader.crash_at = crash
        kind = random.random()
        qty = random.choice((1, 7, 50, 130, 350))
        if kind < 0.35 or not held:
            await trader.place(Side.BUY, qty, None if random.random() < 0.6 else Decimal("60.10"))
            held += 1
        elif kind < 0.5:
            await trader.place(Side.BUY, qty, Decimal(random.choice(("57.00", "58.50"))))
        elif kind < 0.6:
            await trader.place(Side.SELL, 1, None)
        elif kind < 0.72:
            await trader.cancel(random.randrange(9))
        elif kind < 0.8 and modifies:
            await trader.modify(random.randrange(9))
        else:
            trader.world.step()
            await trader.beat()


async def run_seed(home: Path, make, faults: tuple[Fault, ...], seed: int, crash: str = "", paced: bool = False, modifies: bool = False, actions: int = 10) -> list[str]:
    """A seed of a scenario: what does not agree in the end."""
    world = World(home, faults, seed)
    await world.start()
    trader = make(world)
    trader.paced = paced
    try:
        await (trader.again() if isinstance(trader, Ours) else trader.open())
        await trade(trader, Random(seed), actions, crash, modifies)
        strikes = sum(len(strikes) for _, _, strikes in world.injector.heard.values())
        world.injector.clear()
        await asyncio.sleep(0.05)
        for _ in range(2):
            world.step()
            await trader.beat()
        await trader.settle()
        found = trader.faults() + ([f"{strikes} times too fast"] if strikes and paced else [])
    finally:
        with suppress(OtsportError, ConnectionError):
            await trader.close()
        await asyncio.sleep(0.06 if world.deaths else 0)
        await world.stop()
    return found


def quick_pauses(monkeypatch) -> None:
    """The waiting of care, scaled: a second is a fiftieth."""
    monkeypatch.setattr(care, "PAUSES", tuple(p / 50 for p in care.PAUSES))
    monkeypatch.setattr(care, "REFUSED", care.REFUSED / 50)
