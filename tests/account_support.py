"""Two gateways, a paper and a live one, and a book that may trade at both."""
import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import otsport.desk.accounts as accounts
from desk_support import prices
from otsport.core.settings import settings
from otsport.desk.accounts import Place
from otsport.desk.lab import OpenBook
from otsport.gateway.exchange import Exchange
from otsport.gateway.sockets import serve
from trading_support import THURSDAY, SmallMarket

PAPER, LIVE = "DU1234567", "U7654321"
CASH = Decimal(100_000)


class StillMarket(SmallMarket):
    """KO at 60.00 to 60.02, whatever the step: what fills is known beforehand."""

    def quote(self, contract, day, step):
        return replace(super().quote(contract, day, 0), ts=self.session_steps(day)[step], bid=60.0, ask=60.02, last=60.0, bid_size=10_000, ask_size=10_000)


def place(port: int, account: str, home, name: str = "", accounts: tuple = (), **more) -> Place:
    """A place at a port; live where the account is."""
    mode = "live" if account.startswith("U") else "paper"
    profile = {"name": name or mode, "port": port, "mode": mode, "accounts": accounts or (account,), "timeout_seconds": 30.0, "clock_skew_seconds": 0.0,
               "requests_per_second": 0 if mode == "paper" else 40} | more
    limits = {"max_position_weight": 1.0, "max_sector_weight": 1.0, "max_order_weight": 1.0, "max_gross": 1.0, "max_quote_age_seconds": 7200.0}
    return Place(f"main_{name or mode}"[:16], account, settings(broker=profile, limits=limits), prices, path=home / "otsport.db")


@asynccontextmanager
async def gateways(*groups: tuple[str, ...], open_market: bool = True, faults=None, market=None):
    """A gateway for each group of accounts, its market open; gives servers. Their clocks stand unless a test moves them."""
    servers = []
    try:
        for group in groups:
            exchange = Exchange(market or StillMarket(), {a: CASH for a in group}, THURSDAY)
            if open_market:
                for _ in range(2):
                    exchange.advance()
            servers.append(await serve(exchange, clock="paced", seconds_per_step=3600, faults=faults))
        yield servers
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()
            server.gateway.exchange.close()


@asynccontextmanager
async def book_at_both(home, *, live=None, paper=None, connect: bool = True):
    """A book whose active account is the paper one and that may go to the live one; gives it and both exchanges."""
    async with gateways((PAPER,), (LIVE,)) as (one, two):
        places = [place(one.port, PAPER, home, **paper or {}), place(two.port, LIVE, home, **live or {})]
        book = OpenBook(places[0], {p.name: p for p in places})
        if connect:
            await book.connect()
        try:
            yield book, one.gateway.exchange, two.gateway.exchange
        finally:
            await book.disconnect()


def received(exchange) -> list[tuple[str, str]]:
    """Account and reference of every order that a gateway was sent, by its own count."""
    return [(u.ticket.account, u.ticket.order_ref) for u in exchange.state.orders.values()]


def token_of(book, name: str = "live") -> str:
    return book.arm(name, book.phrase(name))


def notes(book, *actions: str) -> list:
    return book._desk.store.notes(*(actions or ("command switch account",)))
