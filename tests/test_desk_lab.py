"""The Lab over the real protocol: a book that opens in a line, orders, fills, cancels, chains, and every way in which it may not be possible."""
import ast
import asyncio
import getpass
import json
import sqlite3
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import otsport
from house import ROOT
from run_support import free_port, otsport as typed
from run_support import gateway as gateway_process
from trading_support import EXPIRY, Relay, gateway
from otsport.analytics.american import american_greeks, american_vol
from otsport.core.calendars import years_to_expiry
from otsport.core.errors import AccountNotServed, BookHeld, BrokerUnreachable, CheckFailed, DataError, InputError, OtsportError
from otsport.core.orders import OrderState
from otsport.data.samples import history
from otsport.data.store import open_store
from otsport.desk import commands, lab
from otsport.desk.lab import OpenBook
from otsport.gateway.market import Market

D = Decimal
CAPITAL = {"capital": 100_000, "account": "DU1"}


def sent(exchange):
    """The reference of every order that reached the exchange."""
    return [update.ticket.order_ref for update in exchange.state.orders.values()]


def in_lab(doing, **more):
    """Do something with a connected book of a state folder of its own, and look whether its store is whole."""
    async def day():
        async with gateway(**more) as (server, exchange), otsport.open_book(**CAPITAL, port=server.port) as book:
            for _ in range(2):
                await book.refresh()  # the session has opened
            await doing(book, exchange)
            assert book._desk.store.verify()
    asyncio.run(day())


def audit_rows(home):
    """Action, who and why of the audit rows of commands, as an outsider reads them."""
    with sqlite3.connect(home / "otsport.db") as db:
        rows = [(action, json.loads(payload)) for action, payload in db.execute("select action, payload from audit where action like 'command %' order by seq")]
    return [(action, p["who"], p["reason"], p["verdict"], p["code"]) for action, p in rows]


def test_order_is_placed_cancelled_and_filled_and_the_audit_says_who_and_why(home):
    async def doing(book, exchange):
        ticket = await book.buy("KO", 100, limit=58.5, why="a dip")
        assert ticket.accepted and repr(ticket) == f"{ticket.subject}: accepted: BUY 100 KO at 58.5 [DU1] was sent" and ticket.subject in ticket._repr_html_()
        cancelled = await book.cancel(ticket, why="no dip")
        assert cancelled.accepted and book.orders.loc[ticket.subject, "state"] == "cancelled" and book.fills.empty
        bought = await book.buy("KO", "100", why="to hold")
        fills = await book.fills_since(bought, seconds=60)
        assert fills["qty"].sum() == 100 == book.positions["qty"].sum() == sum(f.qty for f in exchange.state.fills)
        assert sent(exchange) == [ticket.subject, bought.subject]
        assert (await book.fills_since()).empty  # nothing is new
        assert book.pnl["pnl"].sum() == book.nav["nav"].iloc[-1] - 100_000
    in_lab(doing)
    who = getpass.getuser()
    assert audit_rows(home) == [("command place", who, "a dip", "accepted", "OK"), ("command cancel", who, "no dip", "accepted", "OK"), ("command place", who, "to hold", "accepted", "OK")]


def test_a_cell_that_runs_twice_sends_one_order(home, monkeypatch):
    """At the ask of now the second has another limit, and is the same order all the same; a heartbeat of this market is half an hour."""
    monkeypatch.setattr(commands, "MOMENTS", timedelta(hours=2))

    async def doing(book, exchange):
        first = await book.buy("KO", 50)
        second = await book.buy("KO", 50)
        assert first.accepted and second.code == "REPEATED" and first.subject in second.message and "again=True" in repr(second)
        assert (await book.buy("KO", 50, limit=58)).accepted  # a limit of its own is an order of its own
        await book.fills_since(first, seconds=5)
        assert (await book.buy("KO", 50, again=True)).accepted
        await book.refresh()
        assert len(sent(exchange)) == 3 == len(set(sent(exchange)))
    in_lab(doing)


def test_option_by_delta_is_sold_against_shares_and_uncovered_it_is_refused(home):
    async def doing(book, exchange):
        call = (await book.chain("KO", days=30)).nearest(delta=0.25, right="C")
        refused = await book.sell(call, 1)
        assert not refused.accepted and refused.code == "UNCOVERED" and sent(exchange) == []
        await book.fills_since(await book.buy("KO", 100), seconds=60)
        sold = await book.sell(call, 1)
        await book.fills_since(sold, seconds=60)
        held = book.positions.set_index("contract")["qty"]
        assert held[call.contract.key] == -1 and held["KO"] == 100 and len(sent(exchange)) == 2
    in_lab(doing)


def test_chain_is_what_the_analytics_say_of_the_quotes(home):
    async def doing(book, exchange):
        chain = await book.chain("KO", days=30, rate=0.03, div_yield=0.01)
        assert list(chain["strike"]) == [55, 60, 65] * 2 and set(chain["expiry"]) == {EXPIRY} and chain["days"].iloc[0] == (EXPIRY - date(2022, 12, 15)).days
        spot, tau = chain.attrs["spot"], years_to_expiry(chain.attrs["as_of"], EXPIRY)
        assert 59 < spot < 61 and (chain["ask"] - chain["bid"]).round(6).eq(0.02).all() and chain["size"].eq(5).all()
        mid = (chain["bid"] + chain["ask"]).to_numpy() / 2
        vol, flag = american_vol(mid, spot, chain["strike"], tau, 0.03, 0.01, list(chain["right"]), tick=0.01)
        np.testing.assert_allclose(chain["vol"], vol, rtol=0, atol=0)
        known = np.isfinite(vol)
        assert 0 < known.sum() < len(known)
        assert chain["reason"].ne("").tolist() == (~known).tolist() and chain.loc[~known, ["vol", "delta", "theta"]].isna().all(axis=None)
        g = american_greeks(spot, chain["strike"][known], tau, 0.03, 0.01, vol[known], list(chain["right"][known]))
        for name in ("delta", "gamma", "vega", "theta"):
            np.testing.assert_allclose(chain[name][known], getattr(g, name), rtol=0, atol=1e-14)
        np.testing.assert_allclose(chain["spread"], 0.02 / mid)
        assert isinstance(chain, pd.DataFrame) and "own vol (annual)" in chain._repr_html_()
        assert list((await book.chain("KO", expiry="2023-01-20", right="put", width=0.05))["strike"]) == [60]
    in_lab(doing)


def test_option_that_the_broker_does_not_know_is_a_row_with_its_reason(home):
    async def doing(book, exchange):
        listed = exchange.market.chains("KO", date(2022, 12, 15))[0]
        more = type(listed)("KO", listed.expiries, (*listed.strikes, D("61.23")))

        async def with_one_more(symbol):
            return more
        book._desk.broker.chain = with_one_more  # a broker lists every strike of every expiry together
        chain = (await book.chain("KO", right="C")).set_index("strike")
        assert "the broker" in chain.loc[61.23, "reason"] and np.isnan(chain.loc[61.23, "bid"])
        assert chain.loc[60, "bid"] > 0
    in_lab(doing)


def test_book_reads_and_shows_itself_without_a_broker(home):
    async def doing(book, exchange):
        await book.fills_since(await book.buy("KO", 100), seconds=60)
        doing.resting = await book.buy("KO", 5, "58.00")
    in_lab(doing)
    book = otsport.open_book()
    before = (home / "otsport.db").read_bytes()
    assert "read only" in repr(book) and "cash $9" in repr(book) and doing.resting.subject in book._repr_html_() and "units" in book.positions._repr_html_()
    assert book.positions[["contract", "qty"]].to_numpy().tolist() == [["KO", D(100)]] and len(book.fills) >= 1 and len(book.orders) == 2
    assert book.positions["mark"].isna().all() and book.nav.empty and book.pnl["commission"].sum() == 1  # no snapshot yet, and nobody to ask
    assert (home / "otsport.db").read_bytes() == before
    with pytest.raises(BrokerUnreachable, match=r"await book.connect\(\)"):
        asyncio.run(book.buy("KO", 1, 60))


def test_book_that_another_holds_is_refused_by_name_and_a_cancel_reaches_the_holder(home):
    async def doing(book, exchange):
        ticket = await book.buy("KO", 10, limit=58)
        other = OpenBook(book.place)
        with pytest.raises(BookHeld, match="command connect"):
            await other.connect()
        assert "read only" in repr(other) and len(other.orders) == 1
        asking = asyncio.create_task(other.cancel(ticket.subject, why="from elsewhere"))
        while not asking.done():
            await book.refresh()
            await asyncio.sleep(0.05)
        assert asking.result().accepted and book.orders.loc[ticket.subject, "state"] == "cancelled"
        assert (await other.cancel("nobody")).code == "NOT_OPEN"
    in_lab(doing)


def test_book_in_a_notebook_and_a_command_line_beside_it_share_one_gateway_process(home):
    """The gateway of users, in a process of its own; what is typed elsewhere is refused by name, and a cancel reaches the notebook."""
    port = free_port()

    async def day():
        async with otsport.open_book(capital=1_000_000, account="DU7", port=port) as book:
            ticket = await book.buy("KO", 10, limit=50, why="to rest")
            refused = await asyncio.to_thread(typed, home, "desk", "place", "BUY", "1", "KO", "--limit", "50", "--reason", "x", "--port", port)
            assert refused.returncode == BookHeld.exit_code and "command connect" in refused.stderr
            asking = asyncio.create_task(asyncio.to_thread(typed, home, "desk", "cancel", ticket.subject, "--reason", "x", "--port", port))
            while not asking.done():
                await book.refresh() if open_requests(book) else await asyncio.sleep(0.05)
            assert asking.result().returncode == 0 and "is cancelled" in asking.result().stdout
            assert list(book.orders["state"]) == ["cancelled"]
            call = (await book.chain("KO")).nearest(0.25, "C")
            assert call.contract.symbol == "KO" and 0.1 < call.vol < 0.4
    home.mkdir()
    with gateway_process(home, port, "DU7"):
        asyncio.run(day())


def open_requests(book) -> bool:
    """Whether somebody waits for the holder of the book."""
    return bool(book._desk.store.requests("main"))


def test_cancel_that_the_holder_does_not_answer_stands_in_the_store(home, monkeypatch):
    monkeypatch.setattr(lab, "ANSWER_SECONDS", 0.2)

    async def doing(book, exchange):
        ticket = await book.buy("KO", 10, limit=58)
        asked = await OpenBook(book.place).cancel(ticket)
        assert asked.code == "ASKED" and "is held by" in asked.message
        await book.refresh()
        await book.refresh()
        assert book.orders.loc[ticket.subject, "state"] == "cancelled"
    in_lab(doing)


def test_cancel_without_a_connection_connects_for_it_and_gives_the_book_back(home):
    async def day():
        async with gateway() as (server, exchange):
            async with otsport.open_book(**CAPITAL, port=server.port) as book:
                ticket = await book.buy("KO", 10, limit=58)
            again = otsport.open_book(port=server.port)
            assert again is not book and (await again.cancel(ticket)).accepted and again._desk is None
            async with otsport.open_book(port=server.port) as last:
                assert otsport.open_book(port=server.port) is last  # a cell that is run again
    asyncio.run(day())


def test_orders_at_once_wait_for_each_other(home):
    async def doing(book, exchange):
        tickets = await asyncio.gather(*(book.buy("KO", n, limit=58) for n in (1, 2, 3)))
        await book.refresh()
        assert len(set(sent(exchange))) == 3 == len(sent(exchange)) and all(t.accepted for t in tickets)
    in_lab(doing)


def test_line_that_is_lost_is_named_and_after_a_new_connect_nothing_was_sent_twice(home):
    async def day():
        async with gateway() as (server, exchange), Relay(server.port) as relay:
            book = await otsport.open_book(**CAPITAL, port=relay.port).connect()
            ticket = await book.buy("KO", 10, limit=58)
            relay.cut()
            with pytest.raises(OtsportError):
                for _ in range(3):
                    await book.buy("KO", 20, limit=58)
            await book.connect()
            assert (await book.cancel(ticket)).accepted
            await book.disconnect()
            assert sent(exchange) == [ticket.subject] and set(book.orders["state"]) <= {"cancelled"}
    asyncio.run(day())


def test_order_that_an_error_kept_here_is_ended_here(home):
    async def doing(book, exchange):
        broker, real, calls = book._desk.broker, book._desk.broker.quotes, []

        async def quotes(contracts):
            calls.append(contracts)
            if len(calls) == 2:  # the first is the Lab's own, the second that of the gate
                raise DataError("no quote")
            return await real(contracts)
        broker.quotes = quotes
        with pytest.raises(DataError, match="no quote"):
            await book.buy("KO", 10, limit=58)
        assert list(book.orders["state"]) == ["cancelled"] and "ended in an error" in book.orders["reason"].iloc[0]
        assert (await book.buy("KO", 10, limit=58)).accepted
        await book.refresh()
        assert len(sent(exchange)) == 1
    in_lab(doing)


@pytest.mark.parametrize("arguments, words", [
    (("KOO", 1, 60), "did you mean 'KO'"), ((42, 1, 60), "is no contract"), (("KO", "ten", 60), "qty is 'ten': give a number"), (("KO", None), "qty is None"),
    (("KO", 1.5, 60), "not a positive whole number"), (("KO", 0, 60), "not a positive whole number"), (("KO", 1, "cheap"), "limit is 'cheap'"), (("KO", 1, -1), "not above 0"),
    (("KO", 1, float("nan")), "limit is nan"), (("KO 20230120 X 60", 1, 1), "is no contract"), (("KO", 1, 60, " "), "needs reason"), (("KO", True, 60), "qty is True"),
])
def test_wrong_words_are_refused_before_anything_is_written(home, arguments, words):
    async def doing(book, exchange):
        with pytest.raises(InputError, match=words):
            await book.buy(*arguments)
        assert book.orders.empty and sent(exchange) == []
        assert (await book.buy("KO", 1, limit=58)).accepted
    in_lab(doing)


def test_unlisted_option_leaves_no_order_behind(home):
    async def doing(book, exchange):
        with pytest.raises(DataError, match="KO 20230120 C 61.23"):
            await book.buy("KO 20230120 C 61.23", 1, limit=1)
        for wrong in ({"days": "soon"}, {"expiry": "2023-03-17"}, {"width": 0}, {"right": "X"}):
            with pytest.raises(InputError, match=f"{next(iter(wrong))}|expiry"):
                await book.chain("KO", **wrong)
        with pytest.raises(DataError, match="NONE"):
            await book.chain("NONE")
        with pytest.raises(InputError, match="is no order"):
            await book.cancel(7)
        with pytest.raises(InputError, match="not in the book"):
            await book.fills_since("20221215-main-009")
        assert book.orders.empty
    in_lab(doing)


def test_book_without_state_gateway_or_the_right_account_says_what_to_do(home):
    with pytest.raises(InputError, match=r"otsport run trading_day.*open_book\(capital"):
        otsport.open_book()
    port = free_port()
    book = otsport.open_book(**CAPITAL, port=port)
    assert "not begun" in repr(book)
    with pytest.raises(InputError, match="has not begun"):
        book.positions
    with pytest.raises(BrokerUnreachable, match=f"otsport gateway --port {port}"):
        asyncio.run(book.connect())
    with pytest.raises(InputError, match="capital is 'much'"):
        otsport.open_book(capital="much")
    with pytest.raises(OtsportError, match="port"):
        otsport.open_book(**CAPITAL, port=0)

    async def wrong():
        async with gateway() as (server, exchange):
            with pytest.raises(AccountNotServed, match="DU9"):
                await otsport.open_book(capital=100_000, account="DU9", port=server.port).connect()
            with pytest.raises(CheckFailed, match="100,000.00 dollars"):
                await otsport.open_book(capital=7, account="DU1", port=server.port).connect()
            book = otsport.open_book(**CAPITAL, port=server.port)
            async with book:  # what failed has given back what it took
                pass
        async with gateway(cash={"U1": D(7)}) as (server, exchange):
            with pytest.raises(AccountNotServed, match="account U1 .* is live"):
                await otsport.open_book(capital=7, account="U1", portfolio="live", port=server.port).connect()
    asyncio.run(wrong())
    with pytest.raises(InputError, match="belongs to DU1"):
        otsport.open_book(account="DU2")
    with pytest.raises(InputError, match="did you mean 'main'"):
        otsport.open_book("mian")


def test_day_that_turns_while_the_book_is_in_hand_goes_on_with_the_new_session(home):
    async def doing(book, exchange):
        await book.buy("KO", 10, limit=58)
        while book._book.session == date(2022, 12, 15):
            await book.refresh()
        ticket = await book.buy("KO", 10, limit=58)
        assert ticket.subject.startswith("20221216-main-001") and book.orders.loc[ticket.subject, "session"] == date(2022, 12, 16)
        assert book.orders["state"].tolist()[0] == str(OrderState.EXPIRED)
    in_lab(doing)


def test_halted_book_sends_nothing(home):
    async def doing(book, exchange):
        with open_store() as other:
            commands.halt(other, "main", commands.Asked("ana", "a look"), datetime.now(timezone.utc))
        ticket = await book.buy("KO", 10, limit=58)
        assert ticket.code == "HALTED" and "HALTED" in repr(book) and sent(exchange) == []
    in_lab(doing)


def notebook_examples() -> list[str]:
    """The shown cells of the notebook that act on a book, as they stand there."""
    cells = json.loads((ROOT / "nbs" / "desk" / "89_lab.ipynb").read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return [c for c in code if not c.startswith("#|") and c.startswith(("book = await", "chain = await"))]


def test_five_lines_of_the_notebook_do_what_they_say(home):
    order, chain = notebook_examples()
    assert len(order.splitlines()) <= 5 and len(chain.splitlines()) <= 5
    names = {"open_book": otsport.open_book}

    async def day():
        async with gateway(market=Market(history(), 7), cash={"DU123456": D(1_000_000)}) as (server, exchange):
            names["port"] = server.port
            for cell in (order, chain):
                waiting = eval(compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
                if waiting is not None:
                    await waiting
            await names["book"].refresh()
            assert names["cancelled"].accepted and names["bought"].accepted and names["sold"].accepted
            assert len(sent(exchange)) == 3 and names["call"].contract.right == "C" and abs(names["call"].delta - 0.25) < 0.15
            assert dict(names["book"].positions[["contract", "qty"]].to_numpy()) == {"KO": 200, names["call"].contract.key: -2}
            await names["book"].disconnect()
    asyncio.run(day())
