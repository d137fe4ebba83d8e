"""A person's order whose process is killed before it leaves: it is ended with a code and a line, and the one that is asked for again leaves alone.

    python tests/test_desk_hand_killed.py PORT FOLDER WHERE     places an order and dies by SIGKILL at WHERE
"""
import asyncio
import os
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from desk_support import ACCOUNT, PORTFOLIO, THURSDAY, desk_on, gateway, sent
from otsport.brokers.ib import IBBroker
from otsport.core.contracts import stock
from otsport.core.orders import Order, OrderState, OrderType, Side
from otsport.desk import commands, session
from otsport.desk.commands import Asked
from otsport.desk.reconcile import begin_portfolio
from otsport.desk.session import trade_day

ANA = Asked("ana", "by hand")
HERE = Path(__file__).resolve()
WHERE = {"durable": OrderState.CREATED, "departed": OrderState.SENT}  # the state in which the kill leaves the order
NOW = datetime(2022, 12, 15, 12, tzinfo=timezone.utc)


def buy(book, qty=10):
    return Order(commands.next_ref(book), ACCOUNT, PORTFOLIO, stock("KO"), Side.BUY, qty, OrderType.LIMIT, "58.50", strategy="by hand")


async def opened(desk):
    "The book, begun and level with the broker."
    now = await desk.broker.heartbeat()
    return await session.resume(desk, await begin_portfolio(desk, await session.beat(desk, desk.load(THURSDAY, now))))


async def place(port, folder, where=None, again=False):
    "Place an order as a command does; with `where`, die there."
    async def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    async with desk_on(port, folder) as desk:
        with desk.store.hold(PORTFOLIO, "by hand", 1, NOW):
            book = await opened(desk)
            if where == "durable":
                commands.release = die
            if where == "departed":
                IBBroker.place = die
            book, decision = await commands.place(desk, book, buy(book), ANA, again)
            await session.beat(desk, book)
            return decision


async def plan(port, folder):
    "Plan the session, and stop before anything leaves."
    async with desk_on(port, folder) as desk:
        with desk.store.hold(PORTFOLIO, "a run", 1, NOW):
            book = await begin_portfolio(desk, await session.reach_session(desk, desk.load(THURSDAY)))
            await session.plan_session(desk, book)


async def killed(port, folder, where):
    "Place an order in a process of its own that is killed."
    process = await asyncio.create_subprocess_exec(sys.executable, str(HERE), str(port), str(folder), where, cwd=HERE.parent)
    assert await process.wait() == -signal.SIGKILL


def orders(folder):
    from otsport.data.store import open_store

    with open_store(folder / "otsport.db", key=b"k" * 32, read_only=True) as store:
        return store.orders(PORTFOLIO)


@pytest.mark.parametrize("where, state", WHERE.items())
def test_order_of_a_killed_command_does_not_leave_beside_the_one_that_is_asked_for_again(tmp_path, caplog, where, state):
    async def day():
        async with gateway() as (server, exchange):
            await killed(server.port, tmp_path, where)
            assert [r.state for r in orders(tmp_path)] == [state] and sent(exchange) == []
            again = await place(server.port, tmp_path)
            first, second = orders(tmp_path)
            assert (first.state, first.code) == (OrderState.CANCELLED, "NEVER_LEFT") and "ask for it again" in first.message
            assert again.accepted and sent(exchange) == [again.subject] == [second.order.order_ref]
            assert f"{first.order.order_ref} (BUY 10 KO at 58.50 [DU1]) was placed by hand" in caplog.text
    asyncio.run(day())


@pytest.mark.parametrize("where", WHERE)
def test_order_of_a_killed_command_is_not_sent_by_a_run_that_sends_its_own(tmp_path, where):
    async def day():
        async with gateway() as (server, exchange):
            await plan(server.port, tmp_path)
            planned = [r.order.order_ref for r in orders(tmp_path)]
            await killed(server.port, tmp_path, where)
            async with desk_on(server.port, tmp_path) as desk:
                with desk.store.hold(PORTFOLIO, "a run", 1, NOW):
                    await trade_day(desk, THURSDAY)
            (mine,) = [r for r in orders(tmp_path) if r.order.strategy == "by hand"]
            assert (mine.state, mine.code) == (OrderState.CANCELLED, "NEVER_LEFT")
            assert planned and set(planned) <= set(sent(exchange))  # what the plan wished for leaves, once, and its overlay too
            assert sent(exchange) == [r.order.order_ref for r in orders(tmp_path) if r.code != "NEVER_LEFT"]
    asyncio.run(day())


@pytest.mark.parametrize("where", WHERE)
def test_without_the_rule_both_leave(tmp_path, monkeypatch, where):
    "The control: what was done before, to who says that both are meant."
    monkeypatch.setattr(session, "end_by_hand", lambda desk, book, silent: (book, silent))

    async def day():
        async with gateway() as (server, exchange):
            await killed(server.port, tmp_path, where)
            await place(server.port, tmp_path, again=True)
            async with desk_on(server.port, tmp_path) as desk:
                with desk.store.hold(PORTFOLIO, "a run", 1, NOW):
                    await session.let_leave(desk, await opened(desk))
                    await desk.broker.heartbeat()
            assert len(sent(exchange)) == 2
    asyncio.run(day())


if __name__ == "__main__":
    asyncio.run(place(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
