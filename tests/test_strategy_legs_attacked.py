"""Combinations under attack, through the gateway: other owners, hands between the legs, assignment, prices that run away, wishes that add up."""
import asyncio
from datetime import date
from decimal import Decimal

import pytest

from desk_support import LIMITS, NEXT_DAY, PORTFOLIO, THURSDAY, desk_on, gateway
from otsport.core.constraints import cover
from otsport.core.contracts import option
from otsport.core.orders import Order, OrderState, OrderType, Side
from otsport.desk import commands
from otsport.desk import session as desk_session
from otsport.desk.commands import Asked
from otsport.desk.session import trade_day
from otsport.desk.wishes import NOT_BOUGHT
from otsport.portfolio.legs import assigned_value
from otsport.strategy.apart import OwnStrategy
from otsport.strategy.by_word import OptionWords
from test_strategy_legs import MONDAY, PricedMarket, held_options, says, traded, words
from test_strategy_own import WORDS

ANA = Asked("ana", "by hand")
SPREAD = "put_spread('KO', sell=.25, buy=.10, days=30, contracts=3)"


def several(tmp_path, **bodies):
    """Strategies of one's own by name, stocks first."""
    mine = []
    for name, body in bodies.items():
        (tmp_path / f"{name}.py").write_text(WORDS + body)
        mine.append(OwnStrategy(tmp_path / f"{name}.py", "mine", name, {}, 20.0))
    return [*mine, *map(OptionWords, mine)]


def interrupted(home, strategies, when, by_hand, monkeypatch, market=None):
    """A run dies at the first moment at which `when(book)`, a hand acts, a run goes on: what was said to the hand, orders, positions."""
    real, died = desk_session.carry_out, []

    async def dies(desk, book):
        book = await real(desk, book)
        if not died and when(book):
            died.append(book.now)
            raise ConnectionError("killed")
        return book

    monkeypatch.setattr(desk_session, "carry_out", dies)

    async def day():
        async with gateway(market=market or PricedMarket()) as (server, _):
            async with desk_on(server.port, home, strategies=tuple(strategies)) as desk:
                with pytest.raises(ConnectionError):
                    await trade_day(desk, THURSDAY)
            async with desk_on(server.port, home, strategies=tuple(strategies)) as desk:
                said = await by_hand(desk, await desk_session.resume(desk, await desk_session.beat(desk, desk.load(THURSDAY))))
            async with desk_on(server.port, home, strategies=tuple(strategies)) as desk:
                await trade_day(desk, THURSDAY)
                return said, desk.store.orders(PORTFOLIO, THURSDAY), desk.store.positions(PORTFOLIO, open_only=True)
    try:
        return asyncio.run(day())
    finally:
        for s in strategies:
            getattr(s, "stop", lambda: None)()


def wing(book):
    return next(r for r in book.orders.values() if r.order.contract.is_option and r.order.side is Side.BUY)


def bought(book):
    return any(r.filled_qty for r in book.orders.values() if r.order.contract.is_option)


def test_two_strategies_do_not_share_an_option(tmp_path):
    """The second one's positions would be the first one's: it would not know that it holds them, and sell again every day."""
    plans, orders, held, _ = traded(tmp_path, several(tmp_path, one=says(SPREAD), two=says(SPREAD)), (THURSDAY, NEXT_DAY, MONDAY))
    assert [d.code for d in plans[0].decisions] == ["TAKEN"] and "is wished for by one" in plans[0].decisions[0].message
    assert all(("two#1", "TAKEN") in [(d.subject, d.code) for d in p.decisions] for p in plans) and len(orders) == 2
    assert sorted(held_options(held).values()) == [-3, 3] and {p.strategy for p in held.values()} == {"one"}


def test_a_wing_is_not_bought_out_of_the_short_position_of_another(tmp_path):
    """One has sold the put that two wants as its wing: buying it would close the one and leave the other bare."""
    two = f"def mine(known):\n    return [{SPREAD}] if os.path.exists('{tmp_path}/later') else []"
    strategies = several(tmp_path, one=says("sell_put('KO', delta=.10, days=30, contracts=3)"), two=two)
    plans, orders, held, _ = traded(tmp_path, strategies, (THURSDAY, NEXT_DAY), before=lambda i: (tmp_path / "later").touch() if i else None)
    assert [(d.subject, d.code) for d in plans[1].decisions if d.code == "TAKEN"] == [("two#1", "TAKEN")] and len(orders) == 1
    assert "is held by one" in plans[1].decisions[-1].message and list(held_options(held).values()) == [-3]


def test_wishes_of_a_session_are_reckoned_together(tmp_path):
    """Three spreads within the position limit each, not together: fewer of each, and no wing whose short leg the gate must refuse."""
    body = says(*(f"put_spread('KO', sell={s}, buy={b}, days=30)" for s, b in ((.25, .10), (.35, .15), (.45, .20))))
    (plan,), orders, held, _ = traded(tmp_path, words(tmp_path, body), limits=LIMITS.model_copy(update={"max_gross": 10.0, "max_position_weight": 0.3}))
    assert {r.state for r in orders} == {OrderState.FILLED} and sum(held_options(held).values()) == 0
    assert cover(held).cash <= Decimal("0.3") * 100_000
    net = {p.contract: p.qty for p in held.values()}
    home = tmp_path / "gross"
    home.mkdir()
    _, orders, held, _ = traded(home, words(home, body))
    assert assigned_value({p.contract: p.qty for p in held.values()}) <= 100_000 < assigned_value(net) and sum(held_options(held).values()) == 0


def test_shares_of_an_assignment_are_at_most_the_gross_limit():
    day, later = date(2023, 1, 20), date(2023, 2, 17)
    put, call = (lambda k, d=day: option("KO", d, k, "P")), (lambda k, d=day: option("KO", d, k, "C"))
    assert assigned_value({put(60): Decimal(-2), put(55): Decimal(2)}) == 12_000
    assert assigned_value({put(60): Decimal(-2), put(55): Decimal(2), call(65): Decimal(-2), call(70): Decimal(2)}) == 13_000  # one side alone can be assigned
    assert assigned_value({call(65): Decimal(-1)}) == 0 and assigned_value({call(65): Decimal(-1), call(65, later): Decimal(1)}) == 6_500
    assert assigned_value({call(65): Decimal(2)}) == assigned_value({}) == 0


@pytest.mark.parametrize("right, close", [("call", "60.60"), ("put", "59.40")])
def test_what_an_assignment_left_can_always_be_closed(tmp_path, right, close):
    """Shares of 95 % of NAV, short or long, beside limits of 30 % a position and 20 % an order: closing them is never too large."""
    market = PricedMarket(close=close)
    market.expiries = (NEXT_DAY, date(2023, 1, 20))
    body = f"def mine(known):\n    return [{right}_spread('KO', sell=.5, buy=.05, days=1)] if not os.path.exists('later') else [buy(s, confidence=.9) for s in known.symbols if s != 'KO']"
    limits = LIMITS.model_copy(update={"max_position_weight": 0.3})

    def before(i):
        if i:
            (tmp_path / "later").touch()
    _, orders, held, _ = traded(tmp_path, words(tmp_path, body), (THURSDAY, NEXT_DAY, MONDAY), market, before, limits=limits)
    (last,) = [r for r in orders if r.order.contract.key == "KO"]
    assert last.state is OrderState.FILLED and last.order.qty * 60 > 80_000 and "KO" not in held, (last.code, last.message)


def test_a_wing_that_a_hand_sells_is_no_cover(tmp_path, monkeypatch):
    """The book has the cash to secure the puts: the gate would let them leave bare."""
    async def sell(desk, book):
        order = Order(commands.next_ref(book), book.account, book.portfolio, wing(book).order.contract, Side.SELL, Decimal(2), OrderType.LIMIT, Decimal("0.05"), strategy="by hand")
        return (await commands.place(desk, book, order, ANA))[1]
    said, orders, held = interrupted(tmp_path, words(tmp_path, says(SPREAD)), bought, sell, monkeypatch)
    assert said.accepted and sorted(held_options(held).values()) == [-1, 1] and int(orders[-1].order.qty) == 1


def test_a_wing_that_a_hand_modifies_still_counts(tmp_path, monkeypatch):
    """Two of eight are bought when a hand asks for five in all: five are bought by two orders, five are sold."""
    async def fewer(desk, book):
        w = wing(book)
        return (await commands.modify(desk, book, w.order.order_ref, ANA, qty=Decimal(5), limit_price=Decimal("0.20")))[1]
    said, orders, held = interrupted(tmp_path, words(tmp_path, says(SPREAD.replace("3)", "8)"))), bought, fewer, monkeypatch, PricedMarket(wing_size=2))
    assert said.accepted and sorted(held_options(held).values()) == [-5, 5], [(r.order.qty, r.state, r.filled_qty, r.message) for r in orders]


def test_a_halt_between_the_legs_waits(tmp_path, monkeypatch):
    """What was bought is not lost to a halt: what it covers is sold once the book is resumed; nothing is while it is halted."""
    real, seen = desk_session.carry_out, []

    async def halts(desk, book):
        book = await real(desk, book)
        if not seen and bought(book):
            commands.halt(desk.store, PORTFOLIO, ANA, book.now)
        seen.extend([book.halted] if bought(book) else [])
        if len(seen) == 3:
            commands.resume_book(desk.store, PORTFOLIO, ANA, book.now)
        return book
    monkeypatch.setattr(desk_session, "carry_out", halts)
    _, orders, held, _ = traded(tmp_path, words(tmp_path, says(SPREAD)))
    assert sorted(held_options(held).values()) == [-3, 3] and [r.state for r in orders] == [OrderState.FILLED, OrderState.FILLED] and seen[1] and not seen[-1]


def test_half_a_combination_is_not_called_fulfilled(tmp_path):
    """The sold leg was denied; the day after, the strategy hears that only its wing is held and what to do."""
    limits = LIMITS.model_copy(update={"max_order_value": Decimal(250_000)})
    body = says("put_spread('KO', sell=.25, buy=.10, days=30, contracts=1)")
    market = PricedMarket()
    shown = type(market).quote

    class Vanishing(PricedMarket):
        def quote(self, contract, day, step):
            quote = shown(self, contract, day, step)
            gone = contract.is_option and contract.strike >= 57 and step and day == THURSDAY
            return quote if not gone else type(quote)(contract, quote.ts, bid_size=0, ask_size=0, source="modelled")
    plans, orders, held, _ = traded(tmp_path, words(tmp_path, body), (THURSDAY, NEXT_DAY), Vanishing(), limits=limits)
    assert [(r.state, r.code) for r in orders] == [(OrderState.FILLED, ""), (OrderState.DENIED, "NO_QUOTE")]
    (told,) = plans[1].decisions
    assert told.code == "HELD" and "its other legs are not: close_option closes what is left" in told.message


class Running(PricedMarket):
    """Options are worth `times` as much from the open on as before it."""
    def __init__(self, times):
        super().__init__()
        self.times = times

    def quote(self, contract, day, step):
        from dataclasses import replace
        q = super().quote(contract, day, step)
        if not contract.is_option or not step:
            return q
        bid = max(round(q.bid * self.times / 0.05) * 0.05, 0.05)
        return replace(q, bid=round(bid, 2), ask=round(bid + 0.05, 2), last=bid)


@pytest.mark.parametrize("wish, times", [("sell_put('KO', delta=.4, days=30, contracts=1)", 5), ("buy_put('KO', delta=.4, days=30, contracts=1)", 0.2),
                                         ("put_spread('KO', sell=.4, buy=.2, days=30, contracts=1)", 0.5)])
def test_a_limit_follows_the_market_for_the_better(tmp_path, wish, times):
    """A limit of before the open would be far through the market (PRICE_COLLAR): it is set from the quote when the order is written."""
    _, orders, held, _ = traded(tmp_path, words(tmp_path, says(wish)), market=Running(times))
    assert all(r.code != "PRICE_COLLAR" for r in orders) and orders[0].state is OrderState.FILLED, [(r.code, r.message) for r in orders]


def test_a_limit_never_follows_for_the_worse(tmp_path):
    """A put that has lost four fifths of its price since it was wished for is not sold at what is left."""
    _, orders, held, _ = traded(tmp_path, words(tmp_path, says("sell_put('KO', delta=.4, days=30, contracts=1)")), market=Running(0.2))
    assert held == {} and orders[0].filled_qty == 0 and orders[0].order.limit_price > Decimal("0.5")
