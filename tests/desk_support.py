"""A desk on a small market: a real store, the real adapter over a real socket, the simulated gateway, and a session that takes a second."""
import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache

import numpy as np
import pandas as pd

from otsport.brokers.ib import IBBroker
from otsport.core.calendars import sessions_between
from otsport.core.contracts import stock
from otsport.core.intent import Signal, SignalType
from otsport.core.settings import BrokerProfile, Limits, Settings, Sizing
from otsport.data.market import History, stamped
from otsport.data.store import open_store
from otsport.desk.book import Desk
from otsport.desk.plan import Mandate, read_plan
from otsport.desk.session import trade_day
from otsport.strategy.protocol import StockStrategy
from otsport.strategy.strategies import CoveredCalls
from trading_support import THURSDAY, gateway

CAPITAL = Decimal(100_000)
ACCOUNT, PORTFOLIO = "DU1", "main"


@cache
def prices() -> History:
    """Closes of KO around 60 dollars, with an index beside it; 700 sessions to the end of 2022."""
    days = pd.DatetimeIndex([pd.Timestamp(d) for d in sessions_between(date(2020, 3, 20), date(2022, 12, 30))])
    rng = np.random.default_rng(3)
    walk = np.exp(np.cumsum(rng.normal(0.0, 0.008, len(days))))
    walk *= np.exp(-np.linspace(0, np.log(walk[-1]), len(days)))  # a bridge: it ends where it began
    frame = pd.DataFrame({"KO": np.round(60 * walk, 2)}, index=days)
    frame.iloc[-15:] = 60.0
    other = pd.DataFrame({"index": 4000 * walk}, index=days)
    return History(stamped("stocks", frame), stamped("index", other), stamped("vix", other / 200), stamped("funds", other), (("KO", "Staples"),))


@dataclass(frozen=True)
class Buys(StockStrategy):
    """Wishes for KO, whatever it costs."""
    name: str = "buys"

    def signals(self, known):
        return (Signal(f"buys:{known.session}", self.name, stock("KO"), SignalType.BUY, 0.9, 0.10, 0.05, known.as_of),), ()


LIMITS = Limits(max_position_weight=0.3, max_sector_weight=1.0, max_order_weight=1.0)
SIZING = Sizing(base_size=0.2, max_position_risk=0.05, max_portfolio_risk=0.05)


def mandate(port: int, **more) -> Mandate:
    """The rules of the small desk."""
    given = {"limits": LIMITS, "sizing": SIZING} | {k: v for k, v in more.items() if k in ("limits", "sizing")}
    profile = BrokerProfile(port=port, accounts=(ACCOUNT,), timeout_seconds=60.0, requests_per_second=0)
    rest = {k: v for k, v in more.items() if k not in ("limits", "sizing")}
    return replace(Mandate(ACCOUNT, PORTFOLIO, CAPITAL, Settings(broker=profile, **given), (Buys(), CoveredCalls())), **rest)


@asynccontextmanager
async def desk_on(port: int, home, *, broker=IBBroker, **more):
    """A connected desk on the store of a folder; the connection is dropped at the end as a crash would drop it."""
    rules = mandate(port, **more)
    line = broker(rules.settings.broker)
    await line.connect()
    try:
        with open_store(home / "otsport.db", key=b"k" * 32) as store:
            yield Desk(store, line, prices(), rules)
    finally:
        await line.disconnect()


def sent(exchange) -> list[str]:
    """The reference of every order that reached the exchange, in order; one that came twice is here twice."""
    return [update.ticket.order_ref for update in exchange.state.orders.values()]


def fills_at(exchange) -> dict[str, tuple]:
    """What the exchange has done, by execution id."""
    return {e.exec_id: (e.order_ref, e.contract.key, str(e.side), e.qty, e.price) for e in exchange.state.fills}


def fills_in(store) -> dict[str, tuple]:
    """What the store has booked, by execution id."""
    return {f.exec_id: (f.order_ref, f.contract.key, str(f.side), f.qty, f.price) for f in store.fills(PORTFOLIO)}


NEXT_DAY = THURSDAY + timedelta(days=1)
__all__ = ["ACCOUNT", "CAPITAL", "LIMITS", "NEXT_DAY", "PORTFOLIO", "THURSDAY", "Buys", "desk_on", "fills_at", "fills_in", "gateway", "mandate", "prices", "sent"]


def trade_sessions(home, strategies, sessions=(THURSDAY,), market=None, before=None, **more) -> tuple:
    """Trade sessions on a market by the same desk: plans, orders, positions, what was sent; both sides of the wire agree."""
    async def days():
        async with gateway(**({} if market is None else {"market": market})) as (server, exchange):
            async with desk_on(server.port, home, strategies=tuple(strategies), **more) as desk:
                for i, session in enumerate(sessions):
                    if before is not None:
                        before(i)
                    await trade_day(desk, session)
                assert fills_at(exchange) == fills_in(desk.store) and len(sent(exchange)) == len(set(sent(exchange)))
                plans = [read_plan(desk.store.plan(PORTFOLIO, s)) for s in sessions]
                orders = [r for s in sessions for r in desk.store.orders(PORTFOLIO, s)]
                return plans, orders, desk.store.positions(PORTFOLIO, open_only=True), sent(exchange)
    try:
        return asyncio.run(days())
    finally:
        for s in strategies:
            getattr(s, "stop", lambda: None)()
