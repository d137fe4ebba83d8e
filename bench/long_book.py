"""A book with as many earlier sessions as asked for, made through the real ledger, snapshots and store; and the broker to trade on with.

Every earlier session trades three stocks and an option there and back, so that orders, fills, transactions, plans and closed
positions grow as they do in a year of trading. The last one buys what is held from then on. Two books that differ only in how many
sessions lie behind them hold the same units and the same cash to the cent, and so have the same next session.
"""
import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

from otsport.book.ledger import book_commission, book_fill, deposit
from otsport.book.snapshots import take_snapshot
from otsport.brokers.ib import IBBroker
from otsport.core.books import Booking, Position, Snapshot, Transaction
from otsport.core.calendars import last_sessions, previous_session, session_close, session_open
from otsport.core.contracts import Contract, Right, option, stock
from otsport.core.orders import Commission, Fill, Order, OrderState, OrderType, Side
from otsport.core.settings import BrokerProfile, Settings
from otsport.core.units import from_float
from otsport.core.venues import stock_tick
from otsport.data.market import History
from otsport.data.plain import plain
from otsport.data.samples import history
from otsport.data.store import Store, Unit, open_store
from otsport.desk.book import Desk
from otsport.desk.plan import Mandate, Plan
from otsport.desk.session import trade_day
from otsport.gateway.exchange import Exchange
from otsport.gateway.journal import CommissionNote, Execution
from otsport.gateway.market import Market
from otsport.gateway.sockets import serve
from otsport.strategy.strategies import CoveredCalls, Momentum

ACCOUNT, PORTFOLIO, CAPITAL, SEED = "DU123456", "main", Decimal(1_000_000), 7
FEE = Decimal("1.00")  # of each execution, dollars
CHURNED, HELD = ("KO", "PG", "JPM"), (("KO", 1500), ("MRK", 900), ("XOM", 800), ("MSFT", 300), ("LLY", 200))
FIRST_NEXT = date(2022, 1, 3)  # the session that follows the earlier ones; 250 more to the end of the prices


@dataclass
class Making:
    "A book while its earlier sessions are written."
    store: Store
    prices: History
    cash: Decimal = Decimal(0)
    positions: dict[str, Position] = field(default_factory=dict)
    today: list[Transaction] = field(default_factory=list)
    previous: Snapshot | None = None

    def book(self, unit: Unit, booking: Booking, **why) -> None:
        unit.book(booking, **why)
        self.today.append(booking.transaction)
        self.cash += booking.transaction.cash
        if booking.after is not None:
            self.positions[booking.after.contract.key] = booking.after


def closing(prices: History, symbol: str, day: date) -> Decimal:
    "The close of a stock, dollars on the tick."
    price = prices.close(symbol, day, session_close(day))
    return from_float(price, stock_tick(price))


def trades(day: date, number: int, last: bool, prices: History) -> list[tuple[Contract, int, Decimal]]:
    "What a session trades: contract, signed units, price; all but the last end flat, and neither gain nor lose."
    before = previous_session(day)
    if last:
        return [(stock(symbol), units, closing(prices, symbol, before)) for symbol, units in HELD]
    expiry = date(2023, 1, 20)  # never reached; the strike makes the contract another one each session
    call = option("KO", expiry, Decimal(20 + number), Right.CALL)
    flat = [*((stock(s), 100, closing(prices, s, before)) for s in CHURNED), (call, 1, Decimal("1.20"))]
    return [(contract, way * units, price) for contract, units, price in flat for way in (1, -1)]


def orders_of(day: date, wanted: Sequence[tuple[Contract, int, Decimal]]) -> list[Order]:
    "The orders of a session."
    return [
        Order(f"{day:%Y%m%d}-{PORTFOLIO}-{n:03d}", ACCOUNT, PORTFOLIO, contract, Side.BUY if units > 0 else Side.SELL, Decimal(abs(units)),
              OrderType.LIMIT, price, strategy="momentum", reason="rank 1")
        for n, (contract, units, price) in enumerate(wanted, 1)
    ]  # fmt: skip


def write_session(made: Making, day: date, number: int, last: bool) -> None:
    "An earlier session: plan and orders, then fills with their commissions and the snapshot."
    opened, closed = session_open(day), session_close(day)
    orders = orders_of(day, trades(day, number, last, made.prices))
    nav = made.previous.nav if made.previous else made.cash
    plan = Plan(day, session_close(previous_session(day)), nav, (), (), (), (), (), (), (), 0.0, 0.0, tuple(orders))
    with made.store.unit(opened) as unit:
        unit.add_plan(PORTFOLIO, day, plain(plan))
        records = [unit.add_order(order, day) for order in orders]
    with made.store.unit(closed) as unit:
        for n, (order, record) in enumerate(zip(orders, records, strict=True), 1):
            ts, key = opened + timedelta(minutes=n), order.contract.key
            fill = Fill(f"{order.order_ref}.01", order.order_ref, ACCOUNT, order.contract, order.side, order.qty, order.limit_price, ts, n)
            unit.set_order_state(replace(record, state=OrderState.FILLED, filled_qty=fill.qty, perm_id=n))
            made.book(unit, book_fill(fill, PORTFOLIO, made.positions.get(key), order.strategy), fill=fill)
            paid = Commission(fill.exec_id, FEE)
            made.book(unit, book_commission(paid, fill, PORTFOLIO, made.positions[key], fill.ts), commission=paid)
        marks = {key: closing(made.prices, p.contract.symbol, day) for key, p in made.positions.items() if p.qty}
        touched = {key: p for key, p in made.positions.items() if p.qty or key in {t.contract.key for t in made.today if t.contract}}
        snapshot = take_snapshot(ACCOUNT, PORTFOLIO, day, closed, made.cash, touched, marks, made.previous, made.today, made.prices.sectors)
        unit.add_snapshot(snapshot)
    made.previous, made.today = snapshot, []


def spent(sessions: int) -> Decimal:
    "The commissions of all earlier sessions but the last, dollars."
    return FEE * 2 * (len(CHURNED) + 1) * (sessions - 1)


def write_book(path: Path, sessions: int, prices: History | None = None, following: date = FIRST_NEXT) -> Path:
    "A store at `path` whose last snapshot is that of the session before `following`; its capital pays for the commissions behind it."
    prices = prices or history()
    days = last_sessions(previous_session(following), sessions)
    with open_store(path) as store:
        made = Making(store, prices)
        with store.unit(session_open(days[0])) as unit:
            unit.add_portfolio(PORTFOLIO, ACCOUNT)
            made.book(unit, deposit(ACCOUNT, PORTFOLIO, CAPITAL + spent(sessions), session_open(days[0]), "opening"))
        for number, day in enumerate(days, 1):
            write_session(made, day, number, last=number == sessions)
    return path


def broker_events(prices: History, following: date) -> Iterator[Execution | CommissionNote]:
    "What the last earlier session did to the account at the broker."
    day = previous_session(following)
    for n, order in enumerate(orders_of(day, trades(day, 0, True, prices)), 1):
        ts = session_open(day) + timedelta(minutes=n)
        price, qty = order.limit_price, order.qty
        yield Execution(f"{order.order_ref}.01", n, 1, n, order.order_ref, ACCOUNT, order.contract, order.side, qty, price, qty, price, ts)
        yield CommissionNote(f"{order.order_ref}.01", n, ACCOUNT, FEE)


def broker(prices: History | None = None, following: date = FIRST_NEXT) -> Exchange:
    "A simulated exchange before the open of `following`, with the account as the books have it."
    prices = prices or history()
    exchange = Exchange(Market(prices, SEED), {ACCOUNT: CAPITAL}, following)
    with exchange.recorder.batch() as happen:
        for event in broker_events(prices, following):
            happen(event)
    return exchange


class Trading:
    "A book that trades one session after the other, each from opening the store to its snapshot."

    def __init__(self, path: Path, prices: History | None = None, following: date = FIRST_NEXT):
        self.path, self.prices = path, prices or history()
        self.loop, self.exchange = asyncio.new_event_loop(), broker(self.prices, following)
        self.server = self.loop.run_until_complete(serve(self.exchange, clock="heartbeat"))
        profile = BrokerProfile(port=self.server.port, accounts=(ACCOUNT,), timeout_seconds=30.0, requests_per_second=0)
        self.mandate = Mandate(ACCOUNT, PORTFOLIO, CAPITAL, Settings(broker=profile), (Momentum(), CoveredCalls()))
        self.rows = 0  # that the last session read

    def trade(self, day: date) -> Snapshot:
        "One session, as a run trades it."
        with open_store(self.path) as store:
            with store.hold(PORTFOLIO, "bench", self.mandate.settings.broker.client_id, datetime.now(timezone.utc)):
                snapshot = self.loop.run_until_complete(self._trade(store, day))
            self.rows = store.rows_read
        return snapshot

    async def _trade(self, store: Store, day: date) -> Snapshot:
        line = IBBroker(self.mandate.settings.broker)
        await line.connect()
        try:
            return await trade_day(Desk(store, line, self.prices, self.mandate), day)
        finally:
            await line.disconnect()

    def close(self) -> None:
        self.server.close()
        self.loop.run_until_complete(self.server.wait_closed())
        self.loop.close()
        self.exchange.close()


@contextmanager
def trading(path: Path, prices: History | None = None, following: date = FIRST_NEXT) -> Iterator[Trading]:
    "A `Trading` that is closed at the end."
    made = Trading(path, prices, following)
    try:
        yield made
    finally:
        made.close()
