# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: python3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab
# > How does a book open in one line, show itself, and take an order from a notebook?
#
# `open_book()` reads the book of the state folder and needs no broker; `await book.connect()` takes it in hand, so that no run trades it meanwhile, and brings it
# level with the broker. Everything that is asked of it goes through `desk.commands`: who, why, what and what came of it stand in the audit, the gate judges every
# order, and an order is durable before it leaves. A book that another process holds is refused by that one's name; a cancel reaches it all the same.
#
# ```python
# import otsport
# book = await otsport.open_book().connect()                       # the book, with its broker
# ticket = await book.buy("KO", 100, limit="60.00", why="a dip")   # a decision that shows itself
# await book.cancel(ticket)                                        # or wait: await book.fills_since(ticket, seconds=60)
# call = (await book.chain("KO", days=30)).nearest(delta=0.25, right="C")
# ```

# %%
#| default_exp desk.lab

# %%
#| export
from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from numbers import Integral
from pathlib import Path

import pandas as pd

from otsport.brokers.adapters import adapter
from otsport.core.calendars import NEW_YORK
from otsport.core.contracts import Contract, Quote, from_key, stock
from otsport.core.errors import BookHeld, BrokerUnreachable, DataError, InputError
from otsport.core.intent import Decision
from otsport.core.orders import Order, OrderState, OrderType, Side
from otsport.core.settings import BrokerProfile, Settings, home, settings
from otsport.core.units import exact, from_float, to_tick
from otsport.core.venues import tick_of
from otsport.data.columns import near
from otsport.data.market import History
from otsport.data.samples import history
from otsport.data.store import Store, open_store
from otsport.desk import commands
from otsport.desk.book import Book, Desk, check_splits
from otsport.desk.chain import Chain, chain_of, chosen_expiry, chosen_options
from otsport.desk.day import Day, read_days
from otsport.desk.frames import Worth, fills_view, nav_view, net_worth, orders_view, pnl_view, positions_view, stored_worth
from otsport.desk.marks import mark_sources, marks
from otsport.desk.plan import Mandate
from otsport.desk.reconcile import begin_portfolio
from otsport.desk.requests import Asked, Command, ask_cancel, carry_out, done, in_hand
from otsport.desk.risk import PositionRisk
from otsport.desk.session import beat, resume
from otsport.desk.what_if import TradeEffect, held_risk, what_if
from otsport.show.tables import UnitFrame, cell_text, table
from otsport.show.text import dollars, in_html

# %%
#| hide
import os
import tempfile
from datetime import date
from fastcore.test import expect_fail, test_eq
from otsport.core.contracts import option
from otsport.core.intent import Verdict
from otsport.gateway.exchange import Exchange
from otsport.gateway.market import Market
from otsport.gateway.sockets import serve


# %% [markdown]
# ## Which book
# The one place that says whose money it is, where its broker answers and by which rules it trades.

# %%
#| export
@dataclass(frozen=True, slots=True)
class Place:
    "A book and what it needs: where its state is, its broker, its rules, its prices."
    portfolio: str
    account: str
    settings: Settings
    prices: Callable[[], History]
    capital: Decimal | None = None  # dollars with which a portfolio begins that is not there yet; None: none is begun
    path: Path | None = None  # of the store; None: that of the state folder
    quoted: tuple[tuple[str, str], ...] = ()  # where option quotes are from, as a `Mandate` says it

    @property
    def file(self) -> Path:
        return self.path or home() / "otsport.db"


def here(portfolio: str, account: str | None, capital: object, host: str | None, port: int | None) -> Place:
    "The book of the state folder: the account of its store, the bundled prices, the profile of the defaults."
    known = stored_portfolios(home() / "otsport.db")
    given = {k: v for k, v in {"host": host, "port": port}.items() if v is not None}
    wanted = known.get(portfolio) or account or BrokerProfile().accounts[0]
    if account is not None and account != wanted:
        raise InputError(f"account is {account!r}, and portfolio {portfolio!r} belongs to {wanted}: "
                         "leave account out, or open another portfolio")
    if portfolio not in known and capital is None:
        raise InputError(f"no portfolio {portfolio!r} in this store: it has {', '.join(known) or 'none'}{near(portfolio, list(known))}. "
                         "Begin one with `otsport run trading_day`, or with open_book(capital=1_000_000) "
                         "and a paper account that holds just these dollars")
    money = None if capital is None else amount(capital, "capital")
    return Place(portfolio, wanted, settings(broker={"accounts": (wanted,)} | given), history, money)


def stored_portfolios(path: Path) -> dict[str, str]:
    "The account of each portfolio of a store; none where there is no store yet."
    if not path.exists():
        return {}
    with open_store(read_only=True) if path == home() / "otsport.db" else open_store(path, read_only=True) as store:
        return store.portfolios()


# %% [markdown]
# ## What people type
# Numbers come as integers, floats or text, contracts as symbols, keys, OCC symbols, or rows of a chain.

# %%
#| export
FINEST = Decimal("0.000001")  # a float is read to six digits: 0.1 + 0.2 is 0.3


def amount(value: object, name: str) -> Decimal:
    "An exact number of a user: text, an integer, a Decimal, or a float of at most six digits."
    value = value.item() if hasattr(value, "item") else value
    try:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        given = exact(repr(value) if isinstance(value, float) else int(value) if whole else value)
    except (InputError, TypeError) as error:
        raise InputError(f"{name} is {value!r}: give a number, for example 100 or '60.50'") from error
    if not isinstance(value, float):
        return given
    short = to_tick(given, FINEST)
    if abs(short - given) > abs(given) * Decimal("1e-12"):
        raise InputError(f"{name} is {value!r}, which has more than six digits: give it as text")
    return exact(f"{short.normalize():f}")


def contract_of(what: object) -> Contract:
    "A contract from a symbol, a key, an OCC symbol, an option of a chain, or a row of one."
    if isinstance(what, Contract):
        return what
    if isinstance(found := getattr(what, "contract", None), (Contract, str)):
        return found if isinstance(found, Contract) else from_key(found)
    if isinstance(what, str):
        return from_key(what.strip())
    raise InputError(f"{what!r} is no contract: give a symbol ('KO'), an option ('KO 20230120 C 65'), or an option of book.chain(...)")


def reference_of(order: object) -> str:
    "The reference of an order from a ticket or from text."
    ref = order.subject if isinstance(order, Decision) else order
    if not isinstance(ref, str) or not ref.strip():
        raise InputError(f"{order!r} is no order: give the ticket that buy or sell gave, or the reference as book.orders shows it")
    return ref.strip()


# %%
test_eq([amount(x, 'limit') for x in (60.5, '60.50', 60, 0.1 + 0.2, Decimal('1.05'))], list(map(Decimal, ('60.5', '60.50', '60', '0.3', '1.05'))))
test_eq([contract_of(x).key for x in ('KO', ' BRK B', option('KO', '2023-01-20', 65, 'C'), pd.Series({'contract': 'KO 20230120 C 65'}))],
        ['KO', 'BRK B', 'KO 20230120 C 65', 'KO 20230120 C 65'])
for _bad in ('ten', None, True, [1], float('nan'), 1 / 3):
    with expect_fail(InputError, contains='limit is'): amount(_bad, 'limit')
with expect_fail(InputError, contains='is no contract'): contract_of(42)
with expect_fail(InputError, contains='is no order'): reference_of(None)


# %% [markdown]
# ## A decision that shows itself

# %%
#| export
@dataclass(frozen=True, slots=True, repr=False)
class Ticket(Decision):
    "What came of something that was asked of a book; `subject` is the reference of the order."

    @classmethod
    def of(cls, decision: Decision) -> Ticket:
        "The ticket of a decision."
        return cls(decision.subject, decision.verdict, decision.code, decision.message, decision.before, decision.after)

    def __repr__(self) -> str:
        code = "" if self.accepted else f" ({self.code})"
        return f"{self.subject}: {self.verdict}{code}: {self.message}"

    def _repr_html_(self) -> str:
        return f'<p style="font-weight:{"normal" if self.accepted else "bold"}">{in_html(repr(self))}</p>'


# %%
test_eq(repr(Ticket('o1', Verdict.REFUSED, 'HALTED', '<b>')), 'o1: refused (HALTED): <b>')
assert '&lt;b&gt;' in Ticket('o1', Verdict.REFUSED, 'HALTED', '<b>')._repr_html_()


# %% [markdown]
# ## A book that can be read
# Without a broker nothing is written, not even opened for writing.

# %%
#| export
class ReadBook:
    "A book as its store holds it; every part is a frame of exact amounts."

    def __init__(self, place: Place):
        self.place, self._desk, self._book, self._worth = place, None, None, None

    @contextmanager
    def _reading(self) -> Iterator[Store | None]:
        "The store: the one in hand, else opened to be read; None where nothing is stored yet."
        if self._desk is not None:
            yield self._desk.store
        elif not self.place.file.exists():
            yield None
        else:
            with open_store(self.place.path, read_only=True) as store:
                yield store

    def _view(self, make: Callable, *more: object):
        with self._reading() as store:
            if store is None:
                raise InputError(f"portfolio {self.place.portfolio!r} has not begun: `await book.connect()` begins it")
            return make(store, self.place.portfolio, *more)

    def _marks(self, store: Store) -> Worth:
        return self._worth or stored_worth(store, self.place.portfolio)

    @property
    def positions(self) -> UnitFrame:
        "What is held: units, cost, mark, value, weight, unrealized P&L."
        return self._view(lambda store, name: positions_view(store, name, self._marks(store)))

    @property
    def orders(self) -> UnitFrame:
        "Every order, by reference."
        return self._view(orders_view)

    @property
    def fills(self) -> UnitFrame:
        "Every execution, oldest first."
        return self._view(lambda store, name: fills_view(store, name, quotes_of=self._quotes_of))

    def _quotes_of(self, symbol: str) -> str:
        said = dict(self.place.quoted)
        return said.get(symbol, said.get("", "live"))

    @property
    def nav(self) -> UnitFrame:
        "NAV by session."
        return self._view(lambda store, name: nav_view(store, name, self._marks(store)))

    @property
    def pnl(self) -> UnitFrame:
        "What each contract earned since the book began."
        return self._view(lambda store, name: pnl_view(store, name, self._marks(store)))

    def days(self, last: int = 60) -> tuple[Day, ...]:
        "The newest finished sessions, oldest first, at the prices of this book."
        with self._reading() as store:
            return () if store is None else read_days(store, self.place.prices(), self.place.portfolio, last)

    def risk(self, rate: object = 0.0, div_yield: object = 0.0) -> PositionRisk:
        "Value, Greeks, VaR, stress and payoff of what is held (rate, div_yield: annual, continuous, decimal)."
        return self._view(lambda store, name: held_risk(store.positions(name, open_only=True), self._marks(store), self.place.prices(), rate, div_yield))

    def what_if(self, trade: object) -> TradeEffect:
        "What a trade would change ('-2 AAPL 2023-01-20 150 C'); nothing is sent."
        return what_if(self.risk(), trade, self.cash)

    cash = property(lambda self: self._view(lambda store, name: store.cash(name)), doc="Cash, dollars, exact.")

    def _headline(self, store: Store | None) -> str:
        "The book in one line."
        p = self.place
        if store is None or p.portfolio not in store.portfolios():
            return f"{p.portfolio} of {p.account}: not begun; `await book.connect()` begins it with {dollars(p.capital or Decimal(0), 2)}"
        worth, broker = self._marks(store), "no broker: read only, `await book.connect()` to trade"
        if self._desk is not None:
            at = "connected" if self._book is None else f"at {self._book.now.astimezone(NEW_YORK):%Y-%m-%d %H:%M} New York"
            broker = f"in hand, its broker is {at}"
        nav, halted, count = net_worth(store, p.portfolio, worth), store.halted(p.portfolio), len(store.open_orders(p.portfolio))
        said = [f"NAV {'unknown, a mark is missing' if nav is None else dollars(nav, 2)}", f"cash {dollars(store.cash(p.portfolio), 2)}",
                f"{count} open order{'s' * (count != 1)}", *([f"HALTED: {halted}"] if halted else []),
                "; ".join(filter(None, (str(worth), worth.note)))]
        return f"{p.portfolio} of {p.account} ({broker}): {', '.join(said)}"

    def __repr__(self) -> str:
        with self._reading() as store:
            head = self._headline(store)
            held = None if store is None else positions_view(store, self.place.portfolio, self._marks(store))
        if held is None or held.empty:
            return head
        texts = pd.DataFrame({name: [cell_text(name, value) for value in held[name].astype(object)] for name in held.columns})
        return f"{head}\n{texts.to_string(index=False)}"

    def _repr_html_(self) -> str:
        with self._reading() as store:
            head, name = f"<p><b>{in_html(self._headline(store))}</b></p>", self.place.portfolio
            if store is None:
                return head
            orders = orders_view(store, name)
            shown = orders[orders["state"].isin({str(s) for s in OrderState if not s.done})].drop(columns=["commission", "strategy"])
            held = positions_view(store, name, self._marks(store))
            return head + held._repr_html_() + table(shown, "Open orders", "no order is open").html


# %% [markdown]
# ## A book in hand
# One thing at a time: what runs at once in a notebook waits for its turn. What was cut off in the middle (an interrupt, a lost line) is read again from the store, and
# brought level with the broker, before anything else is done.

# %%
#| export
ANSWER_SECONDS = 15.0  # how long the answer of the process that holds a book is waited for
_CONNECTED: dict[tuple[str, str], "OpenBook"] = {}  # books of this process that are in hand, by store and portfolio


def _asked(why: object) -> Asked:
    return Asked(getpass.getuser(), str(why or ""))


def _now(store: Store) -> datetime:
    "The instant after the newest event of the store, or now in an empty one."
    last = store.last_instant()
    return last + timedelta(microseconds=1) if last is not None else datetime.now(timezone.utc)


async def _level(desk: Desk) -> Book:
    "The book read from the store, begun where that was asked for, and brought level with the broker."
    now = await desk.broker.heartbeat()
    book = await beat(desk, desk.load(now.astimezone(NEW_YORK).date(), now))
    check_splits(desk.history, book.positions, book.session, desk.store.splits(book.portfolio))
    return await resume(desk, await begin_portfolio(desk, book))


async def _heard(desk: Desk, book: Book) -> Book:
    "The book after a heartbeat and what others asked for; on a new day that of the new session."
    book = await beat(desk, book)
    if (today := book.now.astimezone(NEW_YORK).date()) != book.session:
        check_splits(desk.history, book.positions, today, desk.store.splits(book.portfolio))
        book = await resume(desk, replace(desk.load(today, book.now), early=book.early, requested=book.requested))
    return await carry_out(desk, book)


async def _valued(desk: Desk, book: Book) -> Worth:
    "The broker's marks; where it has none for a position, those of the last snapshot, with the reason."
    try:
        found, modelled = await marks(desk, book)
    except (DataError, InputError) as error:
        return replace(stored_worth(desk.store, book.portfolio), note=str(error))
    bare = sorted({p.contract.symbol for p in book.positions.values() if p.qty} - set(found))  # options without a share
    spots = {name: q.mid if q.two_sided else q.last for name, q in (await desk.broker.quotes([stock(s) for s in bare])).items()} if bare else {}
    note = f"modelled, for nobody quotes them: {', '.join(modelled)}" if modelled else ""
    return Worth(found, book.now, True, note, spots, mark_sources(desk.mandate, book.positions, modelled))


class HeldBook(ReadBook):
    "A book that can be taken in hand and given back."

    def __init__(self, place: Place):
        super().__init__(place)
        self._lock, self._stack, self._loop, self._seen = asyncio.Lock(), None, None, frozenset()

    async def connect(self):
        "Take the book in hand, connect its broker, and bring both level; `BookHeld`, `BrokerUnreachable`, `AccountNotServed`."
        async with self._lock:
            await self._give_back()
            async with AsyncExitStack() as stack:
                desk = await self._take(stack)
                self._book = await _level(desk)
                self._worth = await _valued(desk, self._book)
                self._desk, self._stack, self._loop = desk, stack.pop_all(), asyncio.get_running_loop()
                self._seen = frozenset(self._book.fills)
        _CONNECTED[str(self.place.file), self.place.portfolio] = self
        return self

    async def _take(self, stack: AsyncExitStack) -> Desk:
        "Hold the book and open the line; what was taken is given back by the stack."
        p, store = self.place, stack.enter_context(open_store(self.place.path))
        last = store.holder(p.portfolio)
        profile = p.settings.broker if last is None else p.settings.broker.model_copy(update={"client_id": last.client_id})
        command = Command("connect", _asked("opened in a notebook"), p.portfolio)
        stack.enter_context(in_hand(store, p.portfolio, command, _now(store), profile.client_id))
        broker = adapter(profile)
        stack.push_async_callback(broker.disconnect)
        await broker.connect()
        rules = p.settings.model_copy(update={"broker": profile})
        return Desk(store, broker, p.prices(), Mandate(p.account, p.portfolio, p.capital or Decimal(0), rules, quoted=p.quoted))

    async def _give_back(self) -> None:
        stack, self._desk, self._stack, self._book = self._stack, None, None, None
        _CONNECTED.pop((str(self.place.file), self.place.portfolio), None)
        if stack is not None:
            await stack.aclose()

    async def disconnect(self) -> None:
        "Close the line and give the book back; orders keep working at the broker."
        async with self._lock:
            await self._give_back()
            self._worth = None

    async def __aenter__(self):
        return await self.connect()

    async def __aexit__(self, *error: object) -> None:
        await self.disconnect()

    async def _act(self, doing: Callable[[Desk, Book], Awaitable[tuple[Book, object]]]) -> object:
        "Do something with the book as it is now, and keep what it has become."
        async with self._lock:
            if (desk := self._desk) is None:
                raise BrokerUnreachable(f"{self.place.portfolio} has no broker yet: `await book.connect()` first")
            book, self._book = self._book, None  # until it ends well
            self._book, found = await doing(desk, await (_level(desk) if book is None else _heard(desk, book)))
            return found


# %% [markdown]
# ## Orders, fills, chains
# Without a limit an order takes the other side of the market as it is now, as a limit: a buy the ask, a sale the bid. The contract is asked for before anything is written,
# so that one the broker does not know leaves no order behind; an order that an error kept here is ended here.

# %%
#| export
def _touch(quote: Quote, side: Side) -> Decimal:
    "The price at which the other side of the market is met, dollars."
    price = quote.ask if side is Side.BUY else quote.bid
    if not price > 0:
        raise InputError(f"nobody {'asks' if side is Side.BUY else 'bids'} for {quote.contract} (bid {quote.bid:g}, ask {quote.ask:g}): "
                         "give limit, dollars per unit of underlying")
    return from_float(price, tick_of(quote.contract, price), "up" if side is Side.BUY else "down")


async def _send(desk: Desk, book: Book, side: Side, contract: Contract, qty: Decimal, limit: Decimal | None,
                asked: Asked) -> tuple[Book, Decision]:
    "Place an order at its limit, or at the price at which the other side is met."
    quote = (await desk.broker.quotes([contract]))[contract.key]
    price = _touch(quote, side) if limit is None else limit
    wish = Order(commands.next_ref(book), book.account, book.portfolio, contract, side, qty, OrderType.LIMIT, price,
                 strategy="by hand", reason=asked.reason)
    return await commands.place(desk, book, wish, asked)


async def _listed(desk: Desk, book: Book, symbol: str, days: object, expiry: object, width: object, right: object,
                  rate: float, div_yield: float) -> Chain:
    "The options of one expiry around the spot, quoted at this heartbeat."
    listed, quote = await desk.broker.chain(symbol), (await desk.broker.quotes([stock(symbol)]))[symbol]
    spot = quote.mid if quote.two_sided else quote.last
    if not spot > 0:
        raise DataError(f"{symbol} has no price (bid {quote.bid}, ask {quote.ask}, last {quote.last}): "
                        "its options hold no vol; ask again when it is quoted")
    chosen = chosen_options(listed, spot, chosen_expiry(listed, book.now.astimezone(NEW_YORK).date(), days, expiry), width, right)
    quotes, unasked = await desk.each_quote(chosen)
    return chain_of(symbol, quotes, spot, book.now, rate, div_yield, unasked, desk.mandate.quotes_of(symbol))


class OpenBook(HeldBook):
    "A book of one's own: it shows itself, and trades once it is connected."

    async def buy(self, what: object, qty: object, limit: object = None, why: str = "by hand in a notebook") -> Ticket:
        "Buy shares or contracts at a limit (dollars per unit of underlying; none: at the ask of now)."
        return await self._order(Side.BUY, what, qty, limit, why)

    async def sell(self, what: object, qty: object, limit: object = None, why: str = "by hand in a notebook") -> Ticket:
        "Sell shares or contracts at a limit (dollars per unit of underlying; none: at the bid of now)."
        return await self._order(Side.SELL, what, qty, limit, why)

    async def _order(self, side: Side, what: object, qty: object, limit: object, why: str) -> Ticket:
        contract, units, asked = contract_of(what), amount(qty, "qty"), _asked(why)
        price = None if limit is None else amount(limit, "limit")

        async def doing(desk: Desk, book: Book) -> tuple[Book, Decision]:
            if contract.symbol not in (known := list(desk.history.symbols)):
                raise InputError(f"{contract.symbol} is not one of the {len(known)} symbols that this book has prices of"
                                 f"{near(contract.symbol, known)}: nothing was sent")
            return await _send(desk, book, side, contract, units, price, asked)

        return Ticket.of(await self._act(doing))

    async def cancel(self, order: object, why: str = "by hand in a notebook") -> Ticket:
        "End an order; where another process holds the book, by asking that one."
        ref, asked = reference_of(order), _asked(why)
        if self._desk is not None:
            return Ticket.of(await self._act(lambda desk, book: commands.cancel(desk, book, ref, asked)))
        try:
            async with self:
                return await self.cancel(order, why)
        except BookHeld as held:
            return Ticket.of(await self._ask_holder(ref, asked, held))

    async def _ask_holder(self, ref: str, asked: Asked, held: BookHeld) -> Decision:
        with open_store(self.place.path) as store:
            request, end = ask_cancel(store, self.place.portfolio, ref, asked, _now(store)), time.monotonic() + ANSWER_SECONDS
            while request.verdict is None and time.monotonic() < end:
                await asyncio.sleep(0.1)
                request = store.request(request.seq)
        word = (f"asked, not answered within {ANSWER_SECONDS:g} s: the request stands in the store, and who holds the book "
                f"carries it out at its next heartbeat; ask again to see what came of it. {held}")
        return request.decision or done(ref, word, "ASKED")

    async def refresh(self) -> OpenBook:
        "Hear the broker, and mark what is held."
        async def doing(desk: Desk, book: Book) -> tuple[Book, None]:
            self._worth = await _valued(desk, book)
            return book, None

        await self._act(doing)
        return self

    async def fills_since(self, order: object = None, seconds: float = 0.0) -> UnitFrame:
        "Hear the broker: executions that are new since this was asked last, or all of an order, waiting for it up to so many seconds."
        ref = None if order is None else reference_of(order)
        end = time.monotonic() + float(amount(seconds, "seconds"))
        while True:
            await self.refresh()
            store, name, fills = self._desk.store, self.place.portfolio, self._book.fills
            record = None if ref is None else store.order(ref)
            if ref is not None and record is None:
                raise InputError(f"order {ref} is not in the book of {name}: book.orders has them all")
            if ref is None or record.state.done or time.monotonic() >= end:
                break
            await asyncio.sleep(min(0.25, max(0.0, end - time.monotonic())))
        new = [f for f in (fills.values() if ref is None else store.fills(name, record.session))
               if (f.exec_id not in self._seen if ref is None else f.order_ref == ref)]
        self._seen |= {f.exec_id for f in new}
        return fills_view(store, name, new, self._quotes_of)

    async def chain(
        self,
        symbol: str,
        days: object = 30,  # calendar days to expiry: the nearest listed one
        expiry: object = None,  # or this one
        width: float = 0.2,  # strikes within this share of the spot
        right: str | None = None,  # 'C' or 'P'; None: both
        rate: float = 0.0,  # annual, continuous, decimal
        div_yield: float = 0.0,  # annual, continuous, decimal
    ) -> Chain:
        "Options of one expiry around the spot: bid, ask, own vols, Greeks, spread and size, and the reason where there is no number."
        async def doing(desk: Desk, book: Book) -> tuple[Book, Chain]:
            return book, await _listed(desk, book, symbol, days, expiry, width, right, rate, div_yield)

        return await self._act(doing)


# %% [markdown]
# ## In one line

# %%
#| export
def book_at(place: Place) -> OpenBook:
    "The book of a place; one that is in hand in this process is given again."
    held = _CONNECTED.get((str(place.file), place.portfolio))
    if held is not None and held._loop.is_running() and held.place.settings == place.settings:
        return held
    return OpenBook(place)


def open_book(
    portfolio: str = "main",
    *,
    capital: object = None,  # dollars with which a portfolio begins that is not there yet, at its first connect
    account: str | None = None,  # of such a portfolio; None: that of the default profile
    host: str | None = None,  # where the broker answers; None: as the default profile says
    port: int | None = None,
) -> OpenBook:
    "The book of the state folder, read only until it is connected; one that is in hand in this process is given again."
    return book_at(here(portfolio, account, capital, host, port))


# %% [markdown]
# ## Seen working
# The simulated gateway listens on a free port of this machine, and the state folder is one of its own; `otsport gateway` and your folder do the same.

# %%
#| hide
_folder = tempfile.TemporaryDirectory()
os.environ |= {'OTSPORT_HOME': f'{_folder.name}/state', 'OTSPORT_HEADS': f'{_folder.name}/heads'}
server = await serve(Exchange(Market(history(), 7), {'DU123456': Decimal(1_000_000)}, date(2022, 12, 28), None))
port = server.port

# %% [markdown]
# An order is placed and cancelled, another one fills:

# %%
book = await open_book(capital=1_000_000, port=port).connect()
ticket = await book.buy("KO", 100, limit=60.5, why="a dip would be welcome")
cancelled = await book.cancel(ticket)
bought = await book.buy("KO", 200, why="to write calls on")
await book.fills_since(bought, seconds=5)

# %%
ticket, cancelled, bought

# %%
book

# %% [markdown]
# A chain with own vols and Greeks, and a call of it sold against the shares:

# %%
chain = await book.chain("KO", days=30)
call = chain.nearest(delta=0.25, right="C")
sold = await book.sell(call, 2)
chain[['contract', 'bid', 'ask', 'vol', 'delta', 'theta', 'spread', 'reason']]

# %%
call, sold

# %%
await book.fills_since(sold, seconds=5)
book.pnl

# %%
#| hide
test_eq(book.pnl['pnl'].sum(), book.nav['nav'].iloc[-1] - 1_000_000)
test_eq(set(book.orders['state']), {'cancelled', 'filled'})
test_eq(open_book(port=port), book)
with expect_fail(InputError, contains="did you mean 'KO'"): await book.buy('KOO', 1, 60)

# %%
#| hide
await book.disconnect()
assert 'read only' in repr(book) and len(open_book().fills) == len(book.fills)
server.close()
await server.wait_closed()
_folder.cleanup()

# %% [markdown]
# **What this leaves out:** brackets and schedules, options of an index, books of several brokers at once, and live accounts, which this version refuses.
