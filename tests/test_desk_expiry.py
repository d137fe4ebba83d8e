"""A covered call that is assigned, with the day closed in time, late, or not at all; the gateway does what an exchange does."""
import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import date, timedelta
from decimal import Decimal

import pytest

from desk_support import ACCOUNT, NEXT_DAY, PORTFOLIO, THURSDAY, desk_on
from otsport.core.contracts import OptionChain, option, stock
from otsport.core.errors import CheckFailed
from otsport.desk.commands import Asked, adjust, close_past_day
from otsport.desk.reconcile import begin_portfolio
from otsport.desk.session import STEPS, reach_session, trade_day
from otsport.gateway.accounts import move
from trading_support import EXPIRY, SmallMarket, gateway

ANA, KO, CALL = Asked("ana", "moved in from another account"), stock("KO"), option("KO", NEXT_DAY, "55", "C")
MONDAY = date(2022, 12, 19)


class Expiring(SmallMarket):
    "Its calls expire on the Friday too."

    def chains(self, symbol, day):
        return (OptionChain(symbol, (NEXT_DAY, EXPIRY), (Decimal(55), Decimal(60), Decimal(65))),)


@asynccontextmanager
async def covered(tmp_path):
    "A desk before the open of the Thursday that holds 100 shares, and has sold a call on them that ends in the money on the Friday."
    async with gateway(market=Expiring()) as (server, exchange), desk_on(server.port, tmp_path, strategies=()) as desk:
        book = await begin_portfolio(desk, await reach_session(desk, desk.load(THURSDAY)))
        for contract, qty, price in ((KO, 100, 60), (CALL, -1, 5)):
            move(exchange.state.books[ACCOUNT], contract, Decimal(qty), Decimal(price))
            exchange.state.books[ACCOUNT].cash -= qty * price * contract.multiplier
            assert adjust(desk.store, book, ANA, book.now, contract=contract, qty=Decimal(qty), price=Decimal(price)).accepted
        assert desk.store.cash(PORTFOLIO) == exchange.state.books[ACCOUNT].cash == 94_500
        yield desk, exchange
        assert desk.store.verify()


async def trade_thursday(desk):
    "The rest of the Thursday that was begun."
    book = desk.load(THURSDAY, desk.broker.now)
    for step in STEPS[1:]:
        book = await step(desk, book)
    return desk.store.last_snapshot(PORTFOLIO)


async def goes_on_to(desk, day):
    "The market goes on without the desk; its time."
    while (now := await desk.broker.heartbeat()).date() < day:
        pass
    return now


async def is_assigned(desk, snapshot=None):
    "The call is gone, and the shares with it, for the strike: in the book, at the broker and in the snapshot."
    assert desk.store.cash(PORTFOLIO) == (await desk.broker.account_values(ACCOUNT)).cash == 100_000  # 94,500 and 100 shares at 55
    assert desk.store.positions(PORTFOLIO, open_only=True) == {} and await desk.broker.holdings(ACCOUNT) == ()
    if snapshot is not None:
        assert (snapshot.cash, snapshot.nav, sum(p.qty != 0 for p in snapshot.positions)) == (100_000, 100_000, 0)


def audited(home, action):
    "Subjects and payloads of one kind of audit rows, as an outsider reads them."
    with closing(sqlite3.connect(home / "otsport.db")) as db:
        return [(subject, json.loads(payload)) for subject, payload in db.execute("select subject, payload from audit where action = ?", (action,))]


def test_call_that_is_assigned_is_booked_when_its_day_is_closed(tmp_path):
    async def days():
        async with covered(tmp_path) as (desk, _):
            thursday = await trade_thursday(desk)
            assert {p.contract: p.qty for p in thursday.positions} == {KO: 100, CALL: -1} and thursday.cash == 94_500
            await is_assigned(desk, await trade_day(desk, NEXT_DAY))
            assert [(subject, row["nav"]) for subject, row in audited(tmp_path, "day closed")] == [
                (f"main {THURSDAY}", str(thursday.nav)), (f"main {NEXT_DAY}", str(desk.store.last_snapshot(PORTFOLIO).nav))]
    asyncio.run(days())


def test_call_that_was_assigned_on_a_missed_day_is_booked_when_that_day_is_closed_late(tmp_path):
    async def days():
        async with covered(tmp_path) as (desk, _):
            await trade_thursday(desk)
            now = await goes_on_to(desk, MONDAY)
            book, decision = await close_past_day(desk, NEXT_DAY, now, ANA)
            assert decision.accepted and "NAV 100,000.00" in decision.message and book.cash == 100_000
            await is_assigned(desk, desk.store.last_snapshot(PORTFOLIO))
            [(subject, row)] = audited(tmp_path, "past day closed")
            assert subject == f"main {NEXT_DAY}" and Decimal(row["nav"]) == 100_000 and row["at"] == now.isoformat()
            assert (await close_past_day(desk, NEXT_DAY, now, ANA))[1].code == "FINISHED"
    asyncio.run(days())


def test_call_that_was_assigned_on_a_missed_day_is_booked_before_the_next_session(tmp_path):
    async def days():
        async with covered(tmp_path) as (desk, _):
            await trade_thursday(desk)
            await is_assigned(desk, await trade_day(desk, MONDAY))
    asyncio.run(days())


def test_thursday_that_is_closed_on_the_morning_of_the_expiry_still_holds_the_call(tmp_path):
    async def days():
        async with covered(tmp_path) as (desk, exchange):
            now = await goes_on_to(desk, NEXT_DAY)
            exchange.state.books[ACCOUNT].cash += 1
            with pytest.raises(CheckFailed, match="has passed at the broker, and cash: 94,500 dollars in the book, 94,501.00"):
                await close_past_day(desk, THURSDAY, now, ANA)
            exchange.state.books[ACCOUNT].cash -= 1
            book, _ = await close_past_day(desk, THURSDAY, now, ANA)
            snapshot = desk.store.last_snapshot(PORTFOLIO)
            marks = {p.contract: p.mark for p in snapshot.positions}
            assert snapshot.session == THURSDAY and marks[KO] == 60 and Decimal("4.9") < marks[CALL] < Decimal("5.2")
            assert snapshot.ts.date() == THURSDAY and now - snapshot.ts > timedelta(hours=12) and book.now == now
    asyncio.run(days())
