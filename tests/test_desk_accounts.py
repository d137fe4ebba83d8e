"""The account of a book is changed while it trades: nothing on the wrong account, live only with its token, and everything where it was when a step fails."""
import asyncio
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal

import pytest

import otsport.desk.accounts as accounts
from account_support import CASH, LIVE, PAPER, book_at_both, gateways, notes, place, received, token_of
from otsport.core.errors import AccountNotServed, BrokerUnreachable, InputError
from otsport.core.orders import OrderState
from otsport.core.settings import settings
from otsport.desk.commands import switch_account
from otsport.desk.lab import OpenBook
from otsport.desk.requests import Asked
from otsport.execution.accounts import Armory, Stage

ASKED = Asked("ana", "a test")


def run(coroutine, seconds: float = 60):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


def stages(book) -> list[str]:
    return [stage for stage, *_ in book.seat.switch.trail]


def test_book_goes_to_live_and_back_and_each_account_keeps_its_own_book(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            bought = await book.buy("KO", 10)
            await book.fills_since(bought)
            done = await book.switch("live", token_of(book))
            assert done.accepted and stages(book) == [str(s) for s in list(Stage)[1:-1]]
            assert repr(book).startswith(f"main_live of {LIVE} (in hand") and book.positions.empty and book.cash == CASH
            there = await book.buy("KO", 3)
            await book.fills_since(there)
            assert (await book.switch("paper", why="enough")).accepted
            assert book.positions["qty"].sum() == 10 and repr(book).startswith(f"main_paper of {PAPER}")
            assert received(paper) == [(PAPER, bought.subject)] and received(live) == [(LIVE, there.subject)]
            assert [(n.payload["verdict"], n.payload["reason"]) for n in notes(book)] == [("accepted", "switched in a notebook"), ("accepted", "enough")]
            assert len(notes(book, "command switch account begun")) == 2 and book._desk.store.verify()
            view = book.accounts
            assert view["standing"].to_dict() == {"paper": "active", "live": "parked"} and view["type"].to_dict() == {"paper": "paper", "live": "live"}
            assert view.loc["live", "arming"] == "not armed: nothing but cancels leaves"  # its grant ended with the switch

    run(scene())


# ---------------------------------------------------------------- live, only with its token

def _stale(book):
    token = token_of(book)
    book.seat.armory.waiting = [replace(a, until=0.0) for a in book.seat.armory.waiting]
    return token


def _used(book):
    token = token_of(book)
    assert book.seat.armory.redeem(token, book.seat.places["live"].settings.broker, LIVE).accepted
    return token


def _of_another_account(book):
    profile = book.seat.places["live"].settings.broker.model_copy(update={"accounts": (LIVE, "U7654399")})
    return book.seat.armory.arm(profile, "U7654399", f"trade live on U7654399 through {profile.name}", "ana")[0]


def _of_another_profile(book):
    profile = book.seat.places["live"].settings.broker.model_copy(update={"name": "other"})
    return book.seat.armory.arm(profile, LIVE, f"trade live on {LIVE} through other", "ana")[0]


def _of_another_process(book):
    profile = book.seat.places["live"].settings.broker
    return Armory().arm(profile, LIVE, book.phrase("live"), "ana")[0]


TOKENS = {"none": (lambda book: "", "NO_TOKEN"), "a guess": (lambda book: "x" * 32, "NO_TOKEN"), "stale": (_stale, "STALE_TOKEN"), "used": (_used, "NO_TOKEN"),
          "of another account": (_of_another_account, "FOREIGN_TOKEN"), "of another profile": (_of_another_profile, "FOREIGN_TOKEN"),
          "of another process": (_of_another_process, "NO_TOKEN"), "the phrase itself": (lambda book: book.phrase("live"), "NO_TOKEN")}  # fmt: skip


def test_live_without_its_token_is_refused_every_time_and_told_in_the_audit(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            for name, (make, code) in TOKENS.items():
                said = await book.switch("live", make(book), why=name)
                assert (said.accepted, said.code) == (False, code), name
                assert book.seat.place.name == "paper" and book.seat.switch.stage is Stage.ROLLED_BACK and "live" not in book.seat.hands
            rows = notes(book)
            assert [(n.payload["code"], n.payload["reason"]) for n in rows] == [(code, name) for name, (_, code) in TOKENS.items()]
            assert received(live) == []
            with pytest.raises(InputError, match="PHRASE"):
                book.arm("live", "trade live")
            with pytest.raises(InputError, match="NOT_LIVE"):
                book.arm("paper", book.phrase("paper"))
            secret = token_of(book)
        with sqlite3.connect(tmp_path / "otsport.db") as db:
            everything = "".join(str(row) for row in db.execute("select * from audit"))
        assert secret not in everything and "PHRASE" in everything and "trade live on" in everything  # the wanted phrase is told, what was typed and the token are not

    run(scene())


def test_live_that_is_active_is_armed_for_its_connection_alone(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            assert (await book.switch("live", token_of(book))).accepted
            assert (await book.buy("KO", 1, again=True)).accepted
            await book.refresh()
            await book.seat.hand.desk.broker.shared.broker.connect()  # the line was lost and is back: the grant is gone
            refused = await book.buy("KO", 1, again=True)
            assert (refused.accepted, refused.code) == (False, "LIVE_NOT_ARMED") and len(received(live)) == 1
            assert (await book.arm_again("")).code == "NO_TOKEN"
            assert (await book.arm_again(token_of(book))).accepted
            assert (await book.buy("KO", 1, again=True)).accepted
            await book.refresh()
            assert len(received(live)) == 2

    run(scene())


def test_active_live_book_opens_unarmed(tmp_path):
    """Named by book.yaml, or after a restart: nothing but a person's phrase lets it trade."""
    async def scene():
        async with gateways((LIVE,)) as (server,):
            async with OpenBook(place(server.port, LIVE, tmp_path)) as book:
                assert (await book.buy("KO", 1, again=True)).code == "LIVE_NOT_ARMED" and received(server.gateway.exchange) == []
                assert (await book.arm_again(token_of(book))).accepted and (await book.buy("KO", 1, again=True)).accepted
                await book.refresh()
                assert len(received(server.gateway.exchange)) == 1

    run(scene())


# ---------------------------------------------------------------- working orders

async def _working(book):
    """An order that works, far from the market."""
    ticket = await book.buy("KO", 5, limit="58.00")
    assert ticket.accepted
    return ticket.subject


def state_of(book, ref):
    return OrderState(book._desk.store.order(ref).state)


def test_working_orders_need_a_word_are_cancelled_or_left_and_what_is_left_is_booked(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            ref = await _working(book)
            said = await book.switch("live", token_of(book))
            assert said.code == "WORKING" and ref in said.message and "orders='cancel'" in said.message and state_of(book, ref) is OrderState.WORKING
            assert (await book.switch("live", token_of(book), orders="cancel")).accepted
            assert state_of(book, ref) is OrderState.CANCELLED and paper.open_orders() == ()
            assert (await book.switch("paper")).accepted
            left = await _working(book)
            assert (await book.switch("live", token_of(book), orders="leave")).accepted
            assert f"left working: {left}" in next(word for stage, _, word in book.seat.switch.trail if stage == "settled")
            paper.market.quote, kept = lambda c, d, s: replace(kept(c, d, s), bid=57.9, ask=57.95), paper.market.quote
            paper.advance()  # it fills at the account that is parked
            await book.refresh()
            assert state_of(book, left) is OrderState.FILLED and book.positions.empty
            assert (await book.switch("paper")).accepted and book.positions["qty"].sum() == 5
            with pytest.raises(InputError, match="refuse, cancel, wait or leave"):
                await book.switch("live", token_of(book), orders="forget")

    run(scene())


def test_order_that_is_waited_for_fills_or_keeps_the_account(tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "SETTLE_SECONDS", 0.3)

    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            ref = await _working(book)
            said = await book.switch("live", token_of(book), orders="wait")
            assert said.code == "WORKING" and "after 0.3 s 1 orders of paper are not done" in said.message and book.seat.place.name == "paper"
            assert state_of(book, ref) is OrderState.WORKING and "live" not in book.seat.hands
            switching = asyncio.ensure_future(book.switch("live", token_of(book), orders="wait"))
            await asyncio.sleep(0.05)
            paper.market.quote, kept = lambda c, d, s: replace(kept(c, d, s), bid=57.9, ask=57.95), paper.market.quote
            paper.advance()
            assert (await switching).accepted and state_of(book, ref) is OrderState.FILLED

    run(scene())


def test_wish_that_waited_through_a_switch_is_refused_and_not_sent_elsewhere(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            switching = asyncio.ensure_future(book.switch("live", token_of(book)))
            await asyncio.sleep(0)
            buying = asyncio.ensure_future(book.buy("KO", 10))
            assert (await switching).accepted
            with pytest.raises(AccountNotServed, match=f"meant for paper account {PAPER}, and live account {LIVE} is active by now: nothing was sent"):
                await buying
            assert received(paper) == received(live) == []

    run(scene())


def test_two_switches_at_once_are_one_after_the_other(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            tokens = [token_of(book), token_of(book)]
            one, two = await asyncio.gather(*(book.switch("live", t) for t in tokens))
            assert one.accepted and two.code == "SWITCHED" and book.seat.generation == 1 and book.seat.place.name == "live"

    run(scene())


# ---------------------------------------------------------------- what fails leaves everything where it was

async def _stop(server):
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("change, code, words", [
    ({"accounts": ("U7654322",)}, "AccountNotServed", "serves U7654321, not U7654322"),
    ({"status": "disabled"}, "DISABLED", "make it active in accounts.yaml"),
    ({"rules": {"max_daily_trades": 0}}, "DAILY_TRADES", "may send no order at all"),
    ({"port": 1}, "BrokerUnreachable", "nothing listens there"),
], ids=["another account", "disabled", "no orders", "wrong port"])
def test_target_that_will_not_do_leaves_the_book_where_it_is(tmp_path, change, code, words):
    async def scene():
        async with gateways((PAPER,), (LIVE,)) as (one, two):
            there = place(two.port, change.get("accounts", (LIVE,))[0], tmp_path, **{k: v for k, v in change.items() if k not in ("accounts", "port")})
            if "port" in change:
                there = replace(there, settings=settings(broker=there.settings.broker.model_copy(update={"port": change["port"]}), limits=there.settings.limits))
            here = place(one.port, PAPER, tmp_path)
            async with OpenBook(here, {"paper": here, "live": there}) as book:
                token = "" if code == "DISABLED" else token_of(book)
                said = await book.switch("live", token)
                assert (said.code, words in said.message, said.message.startswith("not validated, paper stays active")) == (code, True, True), said
                assert (await book.buy("KO", 1, again=True)).accepted
                await book.refresh()
                assert len(received(one.gateway.exchange)) == 1
                assert notes(book)[-1].payload["code"] == code

    run(scene())


def test_live_account_under_a_paper_profile_and_paper_under_live_are_never_reached(tmp_path):
    async def scene():
        async with gateways((PAPER,), (LIVE,)) as (one, two):
            here, wrong = place(one.port, PAPER, tmp_path), place(two.port, LIVE, tmp_path)
            wrong = replace(wrong, settings=wrong.settings.model_copy(update={"broker": wrong.settings.broker.model_copy(update={"mode": "paper"})}))
            async with OpenBook(here, {"paper": here, "wrong": wrong, "live": wrong}) as book:
                said = await book.switch("wrong")
                assert said.code in ("UNKNOWN", "AccountNotServed") or "U7654321" in said.message
                said = await book.switch("live")
                assert said.code == "AccountNotServed" and "is live, profile 'live' is paper: nothing was sent" in said.message

    run(scene())


@pytest.mark.parametrize("stage", ["_settle", "_connect", "_verify", "_subscribe"])
@pytest.mark.parametrize("error", [BrokerUnreachable("the line broke"), KeyError("a bug"), asyncio.CancelledError()], ids=lambda e: type(e).__name__)
def test_step_that_fails_rolls_back_whatever_it_was(tmp_path, monkeypatch, stage, error):
    async def broken(*_):
        raise error

    steps = tuple((s, broken if step.__name__ == stage else step) for s, step in accounts.STEPS)
    assert sum(step is broken for _, step in steps) == 1
    monkeypatch.setattr(accounts, "STEPS", steps)

    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            token = token_of(book)
            if isinstance(error, BrokerUnreachable):
                assert (await book.switch("live", token)).code == "BrokerUnreachable"
            else:
                with pytest.raises(type(error)):
                    await book.switch("live", token)
            assert book.seat.switch.stage is Stage.ROLLED_BACK and book.seat.generation == 0 and list(book.seat.hands) == ["paper"]
            assert (await book.buy("KO", 1, again=True)).accepted and received(live) == []
            assert (await book.switch("live", token)).code == "NO_TOKEN"  # it was used by the attempt
            assert notes(book)[0].payload["verdict"] == "refused"

    run(scene())


def test_account_that_differs_from_its_book_is_not_switched_to(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            assert (await book.switch("live", token_of(book))).accepted and (await book.switch("paper")).accepted
            with live.recorder.batch():
                live.state.books[LIVE].cash -= Decimal("12.34")
            said = await book.switch("live", token_of(book))
            assert said.code == "CheckFailed" and "cash: 100,000.00 dollars in the book" in said.message and book.seat.place.name == "paper"
            assert list(book.seat.hands) == ["paper", "live"], "it was parked before, and is parked again"

    run(scene())


# ---------------------------------------------------------------- many books, many accounts

def test_switch_of_one_book_disturbs_none_of_the_others(tmp_path):
    """An advisor's log-in with two accounts, a paper and a live account: four books at once; two of them change places while the others trade."""
    first, second = "DU1000001", "DU1000002"

    async def scene():
        async with gateways((first, second), (PAPER,), (LIVE,)) as (advisor, one, two):
            both = (first, second)
            ours = [place(advisor.port, a, tmp_path, name="advisor", accounts=both) for a in both]
            ours = [replace(p, portfolio=f"advisor_{i}") for i, p in enumerate(ours)]
            assert [p.name for p in ours] == [f"advisor:{a}" for a in both]
            here, there = place(one.port, PAPER, tmp_path), place(two.port, LIVE, tmp_path)
            books = [OpenBook(p) for p in ours] + [OpenBook(here, {"paper": here, "live": there})]
            for book in books:
                await book.connect()
            sessions = [b.seat.hand.session for b in books[:2]]
            assert sessions[0] == sessions[1] and len(advisor.gateway.sessions) == 1, "one connection for both accounts"

            async def trades(book):
                return [(await book.buy("KO", 1, again=True)).subject for _ in range(10)]

            async def switches():
                for _ in range(3):
                    assert (await books[2].switch("live", token_of(books[2]))).accepted
                    assert (await books[2].switch("paper")).accepted

            refs = await asyncio.gather(trades(books[0]), trades(books[1]), switches())
            for book, account, theirs in zip(books, both, refs):
                await book.refresh()
                assert [r for a, r in received(advisor.gateway.exchange) if a == account] == theirs and book.positions["qty"].sum() == 10
                assert book.cash == advisor.gateway.exchange.values(account).cash
            assert [b.seat.hand.session for b in books[:2]] == sessions and received(one.gateway.exchange) == received(two.gateway.exchange) == []
            for book in books:
                await book.disconnect()

    run(scene())


def test_two_profiles_on_one_client_id_are_told_apart(tmp_path):
    async def scene():
        async with gateways((PAPER, "DU1000002")) as (server,):
            one, two = place(server.port, PAPER, tmp_path), place(server.port, "DU1000002", tmp_path, name="second")
            async with OpenBook(one):
                with pytest.raises(AccountNotServed, match="is connected under profile 'paper'.*a client_id of its own in accounts.yaml"):
                    await OpenBook(two).connect()
                mine = replace(two, settings=settings(broker=two.settings.broker.model_copy(update={"client_id": 2}), limits=two.settings.limits))
                async with OpenBook(mine) as book:
                    assert (await book.buy("KO", 1, again=True)).accepted
                    await book.refresh()
            assert received(server.gateway.exchange) == [("DU1000002", "20221215-main_second-001")]

    run(scene())


# ---------------------------------------------------------------- switches under order flow

async def switches_under_flow(book, switches: int, flows: int = 3) -> tuple[list[tuple[str, str]], list[float]]:
    """Orders that are asked for all the time while the account changes so many times; what was sent for which account, and how long the switches took."""
    sent, seconds, over = [], [], asyncio.Event()

    async def flow():
        while not over.is_set():
            meant = book.seat.place.account
            try:
                ticket = await book.buy("KO", 1, limit="58.00" if len(sent) % 2 else "60.02", again=True)
            except AccountNotServed:
                await asyncio.sleep(0)
                continue
            if ticket.accepted:
                sent.append((meant, ticket.subject))
            await asyncio.sleep(0.002)

    tasks = [asyncio.ensure_future(flow()) for _ in range(flows)]
    clock = asyncio.get_running_loop().time
    for n in range(switches):
        target = "live" if book.seat.place.name == "paper" else "paper"
        began = clock()
        done = await book.switch(target, token_of(book) if target == "live" else "", orders=("cancel", "leave")[n % 2])
        seconds.append(clock() - began)
        assert done.accepted, done
        await asyncio.sleep(0.03)
    over.set()
    await asyncio.gather(*tasks)
    await book.refresh()
    return sent, seconds


def check_flow(book, sent, paper, live) -> None:
    """By the gateways' own count: every order where it was meant to be, once, and no other."""
    for account, exchange in ((PAPER, paper), (LIVE, live)):
        there = received(exchange)
        assert {a for a, _ in there} <= {account} and len({r for _, r in there}) == len(there)
        assert sorted(there) == sorted((a, r) for a, r in sent if a == account)
    assert {a for a, _ in sent} == {PAPER, LIVE}


def test_switches_under_order_flow_put_no_order_on_the_wrong_account(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            sent, seconds = await switches_under_flow(book, 30)
            check_flow(book, sent, paper, live)
            await book.refresh()
            for name, exchange in (("paper", paper), ("live", live)):
                hand = book.seat.hands[name]
                await hand.act(accounts._nothing)
                held = {h.contract.key: h.qty for h in exchange.holdings(hand.place.account)}
                assert {k: p.qty for k, p in hand.book.positions.items() if p.qty} == held and hand.book.cash == exchange.values(hand.place.account).cash
            assert len(notes(book)) == 30 and book._desk.store.verify()

    run(scene(), 120)


@pytest.mark.soak
def test_a_thousand_switches_under_order_flow_and_how_long_they_take(tmp_path):
    async def scene():
        async with book_at_both(tmp_path) as (book, paper, live):
            sent, seconds = await switches_under_flow(book, 1000)
            check_flow(book, sent, paper, live)
            seconds.sort()
            print(f"{len(sent)} orders; a switch: p50 {1000 * seconds[500]:.0f} ms, p95 {1000 * seconds[950]:.0f} ms, most {1000 * seconds[-1]:.0f} ms")
            assert seconds[950] < 0.5

    run(scene(), 3000)
