"""What reaches a book that another holds: a halt and the end of an order; all else is refused at once, with the name of the holder."""
import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest
from typer.testing import CliRunner

from desk_support import ACCOUNT, NEXT_DAY, PORTFOLIO, THURSDAY, desk_on, gateway, sent
from otsport.app.cli_desk import desk as typed_desk
from otsport.brokers.ib import IBBroker
from otsport.core.errors import BookHeld, BrokerError
from otsport.core.intent import Verdict
from otsport.core.orders import OrderState
from otsport.data.store import open_store
from otsport.desk import commands, requests, session
from otsport.desk.reconcile import begin_portfolio
from otsport.desk.requests import ask_cancel, carry_out
from otsport.desk.session import STEPS, reach_session
from store_support import DAY, TS, fresh_place
from test_desk_commands import ANA, D, buy, command_rows, local, order

NOW = "2022-12-28T15:30:00+00:00"
BOB = commands.Asked("bob", "it was a mistake")


@asynccontextmanager
async def two(tmp_path, broker=IBBroker):
    """A desk that holds its book and has an order working at the broker, and the store as another process sees it."""
    async with gateway() as (server, exchange), desk_on(server.port, tmp_path, broker=broker) as desk:
        with desk.store.hold(PORTFOLIO, "trading_day", 1, TS), open_store(tmp_path / "otsport.db", key=b"k" * 32) as other:
            book = await reach_session(desk, desk.load(THURSDAY))
            for step in STEPS[:4]:
                book = await step(desk, book)
            book, placed = await commands.place(desk, book, buy(book), ANA)
            assert placed.accepted
            yield desk, book, exchange, other, placed.subject
            assert desk.store.verify()


def test_run_carries_out_a_cancel_that_another_process_asks_for(tmp_path):
    async def doing():
        async with two(tmp_path) as (desk, book, exchange, other, ref):
            asked = ask_cancel(other, PORTFOLIO, ref, BOB, book.now)
            assert asked.verdict is None and other.requests(PORTFOLIO) == [asked]
            assert ask_cancel(other, PORTFOLIO, ref, BOB, book.now) == asked  # typed twice is asked once
            await session.close_day(desk, await session.follow_session(desk, book))
            told = other.request(asked.seq)
            assert (told.verdict, told.code, told.who) == (Verdict.ACCEPTED, "OK", "bob") and other.requests(PORTFOLIO) == []
            record = desk.store.order(ref)
            assert (record.state, record.filled_qty) == (OrderState.CANCELLED, 0)  # not expired: it was ended while the session ran
            rows = [p for action, p in command_rows(tmp_path / "otsport.db") if action == "command cancel"]
            assert [(p["who"], p["reason"], p["intent"], p["verdict"]) for p in rows] == [("bob", BOB.reason, {"order_ref": ref}, "accepted")]
    asyncio.run(doing())


def test_request_comes_within_one_heartbeat(tmp_path):
    async def doing():
        async with two(tmp_path) as (desk, book, exchange, other, ref):
            asked = ask_cancel(other, PORTFOLIO, ref, BOB, book.now)
            book = await carry_out(desk, await session.beat(desk, book))
            assert other.request(asked.seq).verdict is None  # the broker was asked, its word is awaited
            for _ in range(2):
                book = await carry_out(desk, await session.beat(desk, book))
            assert other.request(asked.seq).verdict is Verdict.ACCEPTED and book.orders[ref].state is OrderState.CANCELLED
    asyncio.run(doing())


@pytest.mark.parametrize("state, verdict, code", [(OrderState.FILLED, Verdict.REFUSED, "FILLED"), (OrderState.EXPIRED, Verdict.ACCEPTED, "OK")])
def test_order_that_ended_otherwise_is_told_so(tmp_path, state, verdict, code):
    async def doing():
        async with two(tmp_path) as (desk, book, exchange, other, ref):
            asked = ask_cancel(other, PORTFOLIO, ref, BOB, book.now)
            book = await carry_out(desk, book)
            book.orders[ref] = requests.replace(book.orders[ref], state=state)
            book = await carry_out(desk, book)
            assert (other.request(asked.seq).verdict, other.request(asked.seq).code) == (verdict, code)
    asyncio.run(doing())


def test_broker_that_cannot_be_asked_is_an_answer_and_no_end_of_the_session(tmp_path):
    class Deaf(IBBroker):
        async def cancel(self, order_ref):
            raise BrokerError("no working order of that name")

    async def doing():
        async with two(tmp_path, Deaf) as (desk, book, exchange, other, ref):
            asked = ask_cancel(other, PORTFOLIO, ref, BOB, book.now)
            book = await session.follow_session(desk, book)
            told = other.request(asked.seq)
            assert (told.verdict, told.code) == (Verdict.REFUSED, "BROKER") and "no working order" in told.message
    asyncio.run(doing())


def test_request_for_what_is_not_open_is_refused_at_once(tmp_path):
    async def doing():
        async with two(tmp_path) as (desk, book, exchange, other, ref):
            book, _ = await commands.cancel(desk, book, ref, ANA)
            for wrong, word in ((ref, "is cancelled"), ("nobody", "is not in the book of main")):
                told = ask_cancel(other, PORTFOLIO, wrong, BOB, book.now)
                assert (told.verdict, told.code) == (Verdict.REFUSED, "NOT_OPEN") and word in told.message
                assert other.request(told.seq) == told and other.requests(PORTFOLIO) == []
    asyncio.run(doing())


def test_cancel_of_the_holder_answers_an_open_request(tmp_path):
    async def doing():
        async with two(tmp_path) as (desk, book, exchange, other, ref):
            asked = ask_cancel(other, PORTFOLIO, ref, BOB, book.now)
            await commands.cancel(desk, book, ref, ANA)
            assert other.request(asked.seq).verdict is Verdict.ACCEPTED
    asyncio.run(doing())


def refused_by_name(error, store, rows):
    """The refusal names the holder, its process and since when, and what to do; the audit has who was refused."""
    words = ("trading_day", f"process {os.getpid()} on", "client id 1", f"since {TS.isoformat()}", "wait until", "otsport desk cancel", "nothing was sent")
    assert [w for w in words if w not in str(error.value)] == []
    assert (rows[-1]["code"], rows[-1]["verdict"], rows[-1]["who"]) == ("BOOK_HELD", "refused", "bob")


@pytest.mark.parametrize("what", ["place", "cancel", "modify", "close past day"])
def test_desk_that_does_not_hold_the_book_is_refused_at_once(tmp_path, what):
    async def doing():
        async with two(tmp_path) as (desk, book, exchange, other, ref):
            await commands.beat(desk, book)
            before, state = sent(exchange), desk.store.order(ref).state
            second = commands.Desk(other, desk.broker, desk.history, desk.mandate)
            does = {
                "place": lambda: commands.place(second, book, buy(book), BOB), "cancel": lambda: commands.cancel(second, book, ref, BOB),
                "modify": lambda: commands.modify(second, book, ref, BOB, qty=D(5)),
                "close past day": lambda: commands.close_past_day(second, THURSDAY, book.now, BOB),
            }
            with pytest.raises(BookHeld) as error:
                await does[what]()
            rows = [p for action, p in command_rows(tmp_path / "otsport.db") if action == f"command {what}"]
            refused_by_name(error, other, rows)
            assert sent(exchange) == before and desk.store.order(ref).state is state and len(desk.store.orders(PORTFOLIO)) == len(book.orders)
    asyncio.run(doing())


@pytest.mark.parametrize("what", ["settle", "adjust"])
def test_book_of_another_is_neither_settled_nor_adjusted(tmp_path, what):
    store, book = local(tmp_path)
    ref = order(1).order_ref
    with store.hold("main", "trading_day", 1, TS), open_store(store.path) as other:
        with pytest.raises(BookHeld) as error:
            commands.settle(other, book, ref, "cancelled", BOB, TS) if what == "settle" else commands.adjust(other, book, BOB, TS, cash=D(5))
        refused_by_name(error, other, [p for _, p in command_rows(store.path)])
        assert store.order(ref).state is OrderState.SENT and store.cash("main") == D(1_000_000)
        assert commands.halt(other, "main", BOB, TS).accepted and store.halted("main")
        assert commands.resume_book(other, "main", BOB, TS).accepted and not store.halted("main")
        assert commands.acknowledge(other, "main", "x", BOB, TS).accepted
    store.close()


HOLDER = """
import sys
from datetime import datetime
from otsport.data.store import open_store
with open_store(sys.argv[1]) as store, store.hold("main", "trading_day", 1, datetime.fromisoformat(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""
TYPED = [("settle", "x", "cancelled"), ("adjust", "--cash", "5"), ("place", "BUY", "1", "KO", "--limit", "5"), ("modify", "x", "--qty", "5"), ("close-day", "2022-12-28")]


@pytest.fixture(scope="module")
def held_elsewhere(tmp_path_factory):
    """A state folder whose book another process holds."""
    home = tmp_path_factory.mktemp("held")
    home.chmod(0o700)
    local(home)[0].close()
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(home / "s" / "otsport.db"), NOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield home / "s", process.pid
    finally:
        process.stdin.close()
        process.wait(10)


@pytest.mark.parametrize("words", TYPED, ids=lambda words: words[0])
def test_typed_command_is_refused_with_the_process_that_holds_the_book(held_elsewhere, monkeypatch, words):
    home, pid = held_elsewhere
    home.chmod(0o700)
    monkeypatch.setenv("OTSPORT_HOME", str(home))
    done = CliRunner().invoke(typed_desk, [*words, "--reason", "by hand"])
    assert isinstance(done.exception, BookHeld) and f"trading_day (process {pid} on" in str(done.exception) and f"since {NOW}" in str(done.exception)
    assert command_rows(home / "otsport.db")[-1][1]["code"] == "BOOK_HELD"


def test_typed_cancel_waits_for_the_holder_and_says_how_to_go_on(held_elsewhere, monkeypatch):
    home, pid = held_elsewhere
    home.chmod(0o700)
    monkeypatch.setenv("OTSPORT_HOME", str(home))
    monkeypatch.setattr("otsport.app.cli_desk.ANSWER_SECONDS", 0.3)
    done = CliRunner().invoke(typed_desk, ["cancel", order(1).order_ref, "--reason", "by hand"])
    assert done.exit_code == BookHeld.exit_code and "the request stands in the store" in done.output and f"process {pid} on" in done.output
    with open_store(home / "otsport.db") as store:
        assert [r.subject for r in store.requests("main")] == [order(1).order_ref]


def test_typed_cancel_prints_what_the_holder_answers(tmp_path, monkeypatch):
    async def doing():
        home = tmp_path / "home"
        home.mkdir(mode=0o700)
        monkeypatch.setenv("OTSPORT_HOME", str(home))
        async with gateway() as (server, exchange), desk_on(server.port, tmp_path) as first:
            with open_store() as store, store.hold(PORTFOLIO, "trading_day", 1, TS):
                desk = commands.Desk(store, first.broker, first.history, first.mandate)
                book = await begin_portfolio(desk, await reach_session(desk, desk.load(THURSDAY)))
                book, placed = await commands.place(desk, book, buy(book), ANA)
                typing = asyncio.create_task(asyncio.to_thread(CliRunner().invoke, typed_desk, ["cancel", placed.subject, "--reason", "by hand"]))
                while not typing.done():
                    book = await carry_out(desk, book)
                    if store.order(placed.subject).state is not OrderState.CANCELLED and book.requested:
                        book = await session.beat(desk, book)
                    await asyncio.sleep(0.02)
                said = typing.result()
                assert said.exit_code == 0 and said.output.strip() == f"{placed.subject}: accepted: {placed.subject} is cancelled"
                assert store.verify()
    asyncio.run(doing())
