"""Days on which a person alone trades: the broker corrects a fill, the close is missed; the book goes on, and its day is shown as any other."""
import asyncio
from dataclasses import replace
from types import SimpleNamespace
from decimal import Decimal

from desk_support import ACCOUNT, CAPITAL, NEXT_DAY, PORTFOLIO, THURSDAY, desk_on, gateway, prices
from otsport.app.trading_day import check_book
from otsport.brokers.ib import IBBroker
from otsport.core.contracts import stock
from otsport.core.calendars import session_close
from otsport.core.orders import Order, OrderState, OrderType, Side
from otsport.desk import commands, report
from otsport.desk.commands import Asked
from otsport.desk.day import read_days
from otsport.desk.outbox import unfinished
from otsport.desk.reconcile import begin_portfolio, check_against_broker
from otsport.desk.session import close_day, reach_session, resume
from otsport.panels.day import SECTIONS, day_panel

ANA, D = Asked("ana", "the broker corrected 2 to 1"), Decimal


class Corrects(IBBroker):
    """Tells from some moment on that one unit of the first fill of two did not trade."""
    fixed = False

    async def report(self, account):
        told = await super().report(account)
        wrong = [replace(f, exec_id=f"{f.exec_id[:-2]}02", qty=D(1)) for f in told.fills if f.qty == 2] if self.fixed else []
        self.wrong = wrong[0] if wrong else None
        return replace(told, fills=(*told.fills, *wrong))

    async def holdings(self, account):
        return tuple(replace(h, qty=h.qty - 1) if self.fixed and h.contract.key == "KO" else h for h in await super().holdings(account))

    async def account_values(self, account):
        values = await super().account_values(account)
        return replace(values, cash=values.cash + self.wrong.price, net_liquidation=values.net_liquidation) if self.fixed else values


def looked_at(store) -> None:
    """The finished day in the report, in the panel, and in a run that asks for it as one of its sessions."""
    (day,) = read_days(store, prices(), PORTFOLIO, 60)
    assert day.plan.nav == CAPITAL and not day.plan.orders and day.fills and report.summary([day])["numbers"]["fills"] == len(day.fills)
    for shown in (report.headline, report.plan_table, report.rules_table, report.calls_table, report.orders_table, report.fills_table, report.positions_table, report.risk_table):
        assert shown(day) is not None
    assert "checks passed" in report.check_day(day, store).html and report.vol_note(day, prices())
    panel = day_panel([day])
    for number in range(len(SECTIONS)):
        panel.tabs.selected_index = number
        assert panel.tabs.children[number].value
    asked = SimpleNamespace(portfolio=PORTFOLIO, account=ACCOUNT, capital=CAPITAL, days=[THURSDAY, NEXT_DAY], rules=(("seed", "7"),), start_gateway=False)
    assert check_book(store, asked) == [NEXT_DAY]


def buy(book, qty):
    return Order(commands.next_ref(book), ACCOUNT, PORTFOLIO, stock("KO"), Side.BUY, D(qty), OrderType.LIMIT, D("61.00"))


def test_corrected_fill_is_booked_by_itself_and_the_day_closes_once_a_person_lets_the_missing_one_go(tmp_path):
    async def day():
        async with gateway() as (server, _), desk_on(server.port, tmp_path, broker=Corrects) as desk:
            book = await begin_portfolio(desk, await reach_session(desk, desk.load(THURSDAY)))
            for _ in range(3):
                book = await commands.beat(desk, book)
            book, placed = await commands.place(desk, book, buy(book, 2), ANA)
            while not book.orders[placed.subject].state.done:
                book = await commands.beat(desk, book)
            desk.broker.fixed = True
            for _ in range(2):  # a restart, and another one
                book = await resume(desk, desk.load(THURSDAY, book.now))
                await check_against_broker(desk, book)
                assert book.positions["KO"].qty == 1 and [f.exec_id for f in book.fills.values()] == [desk.broker.wrong.exec_id]
            book, again = await commands.place(desk, book, buy(book, 3), ANA)
            assert again.accepted
            while book.now < session_close(THURSDAY):
                book = await commands.beat(desk, book)
            assert book.orders[again.subject].state is OrderState.FILLED
            assert unfinished(book, THURSDAY, {placed.subject: D(2)}) == [f"1 of {placed.subject} filled without an execution"]  # the broker still calls 2 filled
            assert commands.acknowledge(desk.store, PORTFOLIO, placed.subject, ANA, book.now).accepted
            book = await close_day(desk, desk.load(THURSDAY, book.now))
            last = desk.store.last_snapshot(PORTFOLIO)
            assert last.session == THURSDAY and {m.contract.key: m.qty for m in last.positions} == {"KO": 4} and desk.store.verify()
            looked_at(desk.store)
    asyncio.run(day())


def test_day_by_hand_whose_close_was_missed_is_closed_later_and_shown(tmp_path):
    async def day():
        async with gateway() as (server, _), desk_on(server.port, tmp_path) as desk:
            book = await begin_portfolio(desk, await reach_session(desk, desk.load(THURSDAY)))
            for _ in range(3):
                book = await commands.beat(desk, book)
            book, placed = await commands.place(desk, book, buy(book, 333), ANA)
            while book.now.date() == THURSDAY:
                book = await commands.beat(desk, book)
            assert desk.store.order(placed.subject).filled_qty == 333
            _, closed = await commands.close_past_day(desk, THURSDAY, book.now, ANA)
            assert closed.accepted and desk.store.last_snapshot(PORTFOLIO).session == THURSDAY and desk.store.verify()
            looked_at(desk.store)
    asyncio.run(day())
