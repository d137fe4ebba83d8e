"""What every broker must do, written against the protocol alone.

A test file makes `CHECKS` run against its broker: each check is `async def check(world)`; `world.broker` is connected, `world.again()` gives a
fresh broker of the same profile after the first one has gone. `world.until(condition)` beats until the condition holds.
"""
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

import pytest

from otsport.core.errors import AccountNotServed, BrokerError, BrokerUnreachable, DataError
from otsport.core.contracts import Contract, option, stock
from otsport.core.orders import Commission, Fill, Order, OrderEvent, OrderRecord, OrderState, OrderType, Side
from otsport.brokers.protocol import Broker
from otsport.core.orders import fold, missing_qty


@dataclass
class World:
    "A broker, what can be traded there, and all that was heard from it."
    broker: Broker
    again: Callable[[], Awaitable[Broker]]
    account: str
    share: Contract  # fills in parts when more than a few hundred are asked for
    heard: list = field(default_factory=list)
    session: date = date(2022, 12, 15)
    charged: bool = True  # whether the broker tells commissions

    async def beat(self):
        now = await self.broker.heartbeat()
        self.heard += self.broker.drain()
        return now

    async def until(self, condition: Callable[[], bool], beats: int = 40) -> None:
        while not condition():
            assert beats, f"it did not happen within the beats: {self.heard[-5:]}"
            await self.beat()
            beats -= 1

    def record(self, order: Order) -> OrderRecord:
        "Where an order stands after everything that was heard of it."
        own = [m for m in self.heard if getattr(m, "order_ref", None) == order.order_ref]
        return fold(OrderRecord(order, self.session, OrderState.CREATED), own)

    def fills(self, order: Order | None = None) -> list[Fill]:
        found = {m.exec_id: m for m in self.heard if isinstance(m, Fill)}
        return [f for f in found.values() if order is None or f.order_ref == order.order_ref]

    def charges(self) -> dict[str, Commission]:
        return {m.exec_id: m for m in self.heard if isinstance(m, Commission)}

    def done(self, *orders: Order) -> Callable[[], bool]:
        "Whether the orders are done, their fills complete and charged."
        return lambda: (
            all(self.record(o).state.done and not missing_qty(self.record(o)) for o in orders)
            and (not self.charged or {f.exec_id for o in orders for f in self.fills(o)} <= set(self.charges()))
        )

    def order(self, number: int, side: Side, qty: int, contract: Contract | None = None, limit: Decimal | None = None) -> Order:
        kind = OrderType.MARKET if limit is None else OrderType.LIMIT
        return Order(f"20221215-core-{number:03d}", self.account, "core", contract or self.share, side, Decimal(qty), kind, limit)


async def open_market(world: World) -> None:
    "Beat until orders are worked and not merely held."
    probe = world.order(900, Side.BUY, 1, limit=Decimal("0.01"))
    await world.broker.place(probe)
    await world.until(lambda: world.record(probe).state is OrderState.WORKING)
    await world.broker.cancel(probe.order_ref)
    await world.until(lambda: world.record(probe).state is OrderState.CANCELLED)


async def time_never_runs_back(world):
    times = [await world.beat() for _ in range(4)]
    assert times == sorted(times) and times[0].tzinfo is not None and times[0].utcoffset().total_seconds() == 0


async def serves_the_accounts_of_the_profile(world):
    assert set(world.broker.profile.accounts) <= set(world.broker.served)


async def quotes_are_two_sided_and_of_the_last_heartbeat(world):
    now = await world.beat()
    quotes = await world.broker.quotes([world.share, world.share])
    assert list(quotes) == [world.share.key]
    quote = quotes[world.share.key]
    assert quote.two_sided and quote.ts == now and quote.contract == world.share
    later = await world.beat()
    assert (await world.broker.quotes([world.share]))[world.share.key].ts == later


async def quote_of_unknown_contract_is_a_data_error(world):
    await world.beat()
    with pytest.raises(DataError, match="NOSUCH"):
        await world.broker.quotes([world.share, stock("NOSUCH")])
    assert await world.broker.quotes([world.share])


async def chain_can_be_quoted(world):
    await world.beat()
    chain = await world.broker.chain(world.share.symbol)
    assert list(chain.expiries) == sorted(set(chain.expiries)) and list(chain.strikes) == sorted(set(chain.strikes))
    calls = [option(chain.symbol, chain.expiries[-1], k, "C") for k in chain.strikes[:2]]
    assert set(await world.broker.quotes(calls)) == {c.key for c in calls}
    with pytest.raises(DataError):
        await world.broker.chain("NOSUCH")


async def watched_quotes_follow_the_market(world):
    await world.beat()
    await world.broker.watch([world.share])
    await world.broker.watch([world.share])
    seen = []
    for _ in range(4):
        now = await world.beat()
        seen.append(world.broker.live[world.share.key])
        assert seen[-1].ts <= now
    assert len({q.bid for q in seen}) > 1 and all(q.two_sided for q in seen)
    assert replace(seen[-1], ts=now) == (await world.broker.quotes([world.share]))[world.share.key]


async def order_before_the_open_is_held_then_filled(world):
    await world.beat()
    order = world.order(1, Side.BUY, 50)
    await world.broker.place(order)
    await world.until(world.done(order))
    said = [m.state for m in world.heard if isinstance(m, OrderEvent)]
    assert OrderState.ACCEPTED in said and world.record(order).state is OrderState.FILLED
    assert world.record(order).perm_id > 0


async def books_agree_after_partial_fills(world):
    await world.beat()
    before = await world.broker.account_values(world.account)
    buy = world.order(1, Side.BUY, 500)
    await world.broker.place(buy)
    await world.until(world.done(buy))
    sell = world.order(2, Side.SELL, 120)
    await world.broker.place(sell)
    await world.until(world.done(sell))
    assert len(world.fills(buy)) > 1 and sum(f.qty for f in world.fills(buy)) == 500
    assert {(f.account, f.contract) for f in world.fills()} == {(world.account, world.share)}
    after = await world.broker.account_values(world.account)
    assert after.cash == before.cash + sum(f.cash for f in world.fills()) - sum(c.amount for c in world.charges().values())
    assert [(h.contract, h.qty) for h in await world.broker.holdings(world.account)] == [(world.share, 380)]


async def option_trades_against_shares(world):
    await world.beat()
    buy = world.order(1, Side.BUY, 200)
    await world.broker.place(buy)
    await world.until(world.done(buy))
    chain = await world.broker.chain(world.share.symbol)
    call = option(chain.symbol, chain.expiries[-1], chain.strikes[-1], "C")
    cash = (await world.broker.account_values(world.account)).cash
    sell = world.order(2, Side.SELL, 2, call)
    await world.broker.place(sell)
    await world.until(world.done(sell))
    [fill] = world.fills(sell)
    assert fill.cash == 2 * 100 * fill.price > 0
    assert (await world.broker.account_values(world.account)).cash == cash + fill.cash - world.charges()[fill.exec_id].amount
    assert {h.contract.key: h.qty for h in await world.broker.holdings(world.account)} == {world.share.key: 200, call.key: -2}


async def limit_order_works_until_cancelled(world):
    await world.beat()
    await open_market(world)
    order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
    await world.broker.place(order)
    await world.beat()
    assert world.record(order).state is OrderState.WORKING
    await world.broker.cancel(order.order_ref)
    await world.until(world.done(order))
    assert (world.record(order).state, world.record(order).filled_qty, world.fills(order)) == (OrderState.CANCELLED, 0, [])


async def order_beyond_the_cash_is_rejected_with_reason(world):
    await world.beat()
    order = world.order(1, Side.BUY, 99_000, limit=Decimal("61.00"))
    await world.broker.place(order)
    await world.until(world.done(order))
    assert world.record(order).state is OrderState.REJECTED and "funds" in world.record(order).message and world.record(order).code
    assert await world.broker.holdings(world.account) == ()
    event = next(e for e in (await world.broker.report(world.account)).orders if e.order_ref == order.order_ref)
    assert event.state is OrderState.REJECTED


async def order_of_the_wrong_tick_is_rejected(world):
    await world.beat()
    order = world.order(1, Side.BUY, 10, limit=Decimal("60.001"))
    await world.broker.place(order)
    await world.until(world.done(order))
    assert world.record(order).state is OrderState.REJECTED and "price" in world.record(order).message and world.record(order).code


async def order_of_an_unknown_contract_does_not_leave(world):
    await world.beat()
    with pytest.raises(DataError):
        await world.broker.place(world.order(1, Side.BUY, 10, stock("NOSUCH")))
    assert (await world.broker.report(world.account)).orders == ()


async def foreign_account_is_neither_traded_nor_read(world):
    await world.beat()
    order = replace(world.order(1, Side.BUY, 10), account="DU999999")
    for attempt in (world.broker.place(order), world.broker.report("DU999999"), world.broker.holdings(""), world.broker.account_values("DU999999")):
        with pytest.raises(AccountNotServed):
            await attempt
    assert (await world.broker.report(world.account)).orders == ()


async def reference_leaves_once(world):
    await world.beat()
    order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
    await world.broker.place(order)
    with pytest.raises(BrokerError, match="not sent twice"):
        await world.broker.place(order)
    report = await world.broker.report(world.account)
    assert len({e.perm_id for e in report.orders if e.perm_id}) == 1


async def unknown_cancel_is_an_error(world):
    await world.beat()
    with pytest.raises(BrokerError, match="no working order"):
        await world.broker.cancel("20221215-core-999")


async def day_order_ends_with_its_session(world):
    await world.beat()
    order = world.order(1, Side.BUY, 10, limit=Decimal("1.00"))
    await world.broker.place(order)
    await world.until(world.done(order))
    assert world.record(order).state in (OrderState.EXPIRED, OrderState.CANCELLED)
    event = next(e for e in (await world.broker.report(world.account)).orders if e.order_ref == order.order_ref)
    assert event.state is world.record(order).state


async def report_tells_the_same_as_the_stream(world):
    await world.beat()
    await open_market(world)
    orders = [world.order(1, Side.BUY, 450), world.order(2, Side.BUY, 10, limit=Decimal("1.00"))]
    for order in orders:
        await world.broker.place(order)
    await world.until(world.done(orders[0]))
    report = await world.broker.report(world.account)
    assert {f.exec_id: f for f in report.fills} == {f.exec_id: f for f in world.fills()}
    assert {c.exec_id: c for c in report.commissions} == world.charges()
    for order in orders:
        told = [m for m in (*report.fills, *report.orders) if m.order_ref == order.order_ref]
        record = fold(OrderRecord(order, world.session, OrderState.CREATED), told)
        heard = world.record(order)
        assert (record.state, record.filled_qty, record.perm_id) == (heard.state, heard.filled_qty, heard.perm_id)
    assert all(e.ts == report.orders[0].ts for e in report.orders)


async def report_of_nothing_is_empty_and_not_an_error(world):
    await world.beat()
    report = await world.broker.report(world.account)
    assert (report.orders, report.fills, report.commissions) == ((), (), ())


async def drain_gives_everything_once(world):
    await world.beat()
    order = world.order(1, Side.BUY, 50)
    await world.broker.place(order)
    await world.until(world.done(order))
    assert world.broker.drain() == []


async def reconnected_broker_knows_the_working_order_and_what_it_missed(world):
    await world.beat()
    await open_market(world)
    orders = [world.order(1, Side.BUY, 50), world.order(2, Side.BUY, 10, limit=Decimal("1.00"))]
    for order in orders:
        await world.broker.place(order)
    await world.broker.disconnect()          # before anything of it was heard
    world.broker, world.heard = await world.again(), []
    await world.beat()
    report = await world.broker.report(world.account)
    world.heard += [*report.fills, *report.commissions, *report.orders]
    assert world.done(orders[0])() and world.record(orders[0]).state is OrderState.FILLED
    assert world.record(orders[1]).state is OrderState.WORKING
    with pytest.raises(BrokerError, match="not sent twice"):
        await world.broker.place(orders[1])
    await world.broker.cancel(orders[1].order_ref)
    await world.until(world.done(orders[1]))
    assert world.record(orders[1]).state is OrderState.CANCELLED


async def closed_session_is_unreachable_and_never_hangs(world):
    await world.beat()
    await world.broker.disconnect()
    await world.broker.disconnect()
    order = world.order(1, Side.BUY, 10)
    for attempt in (
        world.broker.heartbeat, lambda: world.broker.quotes([world.share]), lambda: world.broker.watch([world.share]), lambda: world.broker.chain("KO"),
        lambda: world.broker.account_values(world.account), lambda: world.broker.holdings(world.account), lambda: world.broker.place(order),
        lambda: world.broker.cancel("x"), lambda: world.broker.report(world.account),
    ):  # fmt: skip
        with pytest.raises(BrokerUnreachable):
            await attempt()
    assert world.broker.drain() == [] and world.broker.served == ()


CHECKS = [value for value in list(globals().values()) if callable(value) and getattr(value, "__code__", None) and value.__code__.co_varnames[:1] == ("world",) and value is not open_market]
