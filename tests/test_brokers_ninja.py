"""The adapter for NinjaTrader's files against a NinjaTrader of files: the contract of all brokers as far as files go, and everything that can happen to a file."""
import asyncio
import os
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from broker_contract import CHECKS, World
from trading_support import KO, THURSDAY, SmallMarket

import otsport.brokers.ninjatrader as ninjatrader
from otsport.app.folder import new_folder, read_folder
from otsport.brokers.adapters import adapter_class, broker_names
from otsport.brokers.ninjatrader import NinjaBroker
from otsport.core.contracts import option, stock
from otsport.core.errors import AccountNotServed, BrokerError, BrokerUnreachable, DataError, FolderError, InputError, NotOffered
from otsport.core.orders import Fill, Order, OrderRecord, OrderState, OrderType, Side, Unbookable, fold, standing
from otsport.core.settings import AccountRules, BrokerProfile
from otsport.gateway.exchange import Exchange
from otsport.gateway.ninja_folder import Manners, NinjaTrader

SIM = "Sim101"
ROUGH = Manners(half=0.3, lock=0.3, slow=0.2)


def run(coroutine, seconds: float = 90):
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


def profile(root: Path, **more) -> BrokerProfile:
    return BrokerProfile(**{"name": "ninja", "broker": "ninjatrader", "folder": str(root), "accounts": (SIM,), "timeout_seconds": 5.0, "rules": AccountRules(symbols=("KO",))} | more)


class Deep(SmallMarket):
    "So many shares a side at each step."

    def __init__(self, size: int):
        self.size = size

    def quote(self, contract, day, step):
        return replace(super().quote(contract, day, step), bid_size=self.size, ask_size=self.size + step)


def ninja(root: Path, manners: Manners = Manners(), seed: int = 0, cash: int = 100_000, size: int = 200) -> NinjaTrader:
    return NinjaTrader(Exchange(Deep(size), {SIM: Decimal(cash)}, THURSDAY), root, seed, manners)


class Stepped(NinjaBroker):
    "An adapter whose heartbeats move the market: first what lies there is taken, then heard, then the market moves."

    def __init__(self, trader: NinjaTrader, **more):
        super().__init__(profile(trader.root, **more), settle_seconds=0.005, taken_seconds=0.2)
        self.trader, self.beats = trader, 0

    async def heartbeat(self):
        self._open()
        self.trader.turn()
        now = await super().heartbeat()
        if self.beats:
            self.trader.exchange.advance()
        self.beats += 1
        return now


@asynccontextmanager
async def world(root: Path, manners: Manners = Manners(), **more):
    trader = ninja(root, manners)
    broker = Stepped(trader, **more)
    await broker.connect()

    async def again():
        fresh = Stepped(trader, **more)
        await fresh.connect()
        return fresh

    one = World(broker, again, SIM, KO, charged=False)
    one.trader = trader
    try:
        yield one
    finally:
        await one.broker.disconnect()


def stands(one: World, order: Order) -> OrderRecord:
    "Where an order stands for a desk that has sent it."
    return fold(OrderRecord(order, one.session, OrderState.SENT), [m for m in one.heard if getattr(m, "order_ref", None) == order.order_ref])


async def until_open(one: World) -> None:
    while not one.trader.exchange.is_open:
        one.trader.step()
    await one.beat()


# ---------------------------------------------------------------- the contract

NOT_OFFERED = {  # what files cannot do ends in words; the rest of the contract holds
    "quotes_are_two_sided_and_of_the_last_heartbeat": "quotes", "quote_of_unknown_contract_is_a_data_error": "quotes", "chain_can_be_quoted": "option chains",
    "watched_quotes_follow_the_market": "quotes", "books_agree_after_partial_fills": "balances", "option_trades_against_shares": "option chains",
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check, tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            if check.__name__ in NOT_OFFERED:
                with pytest.raises(NotOffered, match=f"files hold no {NOT_OFFERED[check.__name__]}: take them from another profile"):
                    await check(one)
            else:
                await check(one)

    run(scene())


def test_every_check_of_the_contract_is_held_or_refused():
    assert set(NOT_OFFERED) < {c.__name__ for c in CHECKS} and len(CHECKS) - len(NOT_OFFERED) >= 15
    assert "ninjatrader" in broker_names() and adapter_class("ninjatrader") is NinjaBroker


def test_partial_fills_add_up(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            buy = one.order(1, Side.BUY, 500)
            await one.broker.place(buy)
            await one.until(one.done(buy))
            sell = one.order(2, Side.SELL, 120)
            await one.broker.place(sell)
            await one.until(one.done(sell))
            executions = one.trader.exchange.executions()
            assert len(one.fills(buy)) > 1 and one.fills(buy)[0].exec_id.endswith(".01")
            assert sum(f.cash for f in one.fills()) == sum(e.cash for e in executions)
            assert [(h.contract, h.qty) for h in await one.broker.holdings(SIM)] == [(KO, 380)]

    run(scene())


# ---------------------------------------------------------------- what is refused

@pytest.mark.parametrize("change, error, words", [
    ({"contract": option("KO", "2023-01-20", 60, "C")}, NotOffered, "NinjaTrader 8 trades none"), ({"tif": "IOC"}, NotOffered, "DAY and GTC"),
    ({"order_ref": "../../x"}, InputError, "file names"), ({"order_ref": "a;b"}, InputError, "file names"), ({"account": "Sim102"}, AccountNotServed, "not one of profile"),
    ({"contract": stock("PEP")}, DataError, "not one of the symbols"), ({"contract": replace(KO, currency="EUR")}, NotOffered, "no US stock"),
])  # fmt: skip
def test_what_cannot_be_sent_is_refused_before_anything_is_written(change, error, words, tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            with pytest.raises(error, match=words):
                await one.broker.place(replace(one.order(1, Side.BUY, 10), **change))
            assert not list((tmp_path / "incoming").iterdir()) and not (await one.broker.report(SIM)).orders
            assert not list((tmp_path / "otsport").glob("*.new"))

    run(scene())


@pytest.mark.parametrize("accounts, mode, words", [(("DU123456",), "paper", "no simulated account"), (("U7654321",), "live", "no simulated account"), ((SIM,), "live", "is paper")])
def test_accounts_that_are_not_simulated_are_never_reached(accounts, mode, words, tmp_path):
    async def scene():
        ninja(tmp_path)
        broker = NinjaBroker(profile(tmp_path, accounts=accounts, mode=mode))
        with pytest.raises(AccountNotServed, match=words):
            await broker.connect()
        assert broker.served == () and broker.condition == "not connected"

    run(scene())


def test_folder_without_ninjatrader_says_what_to_do(tmp_path):
    async def scene():
        with pytest.raises(BrokerUnreachable, match="tick AT Interface"):
            await NinjaBroker(profile(tmp_path)).connect()
        trader = ninja(tmp_path)
        trader.connect(False)
        with pytest.raises(BrokerUnreachable, match="CONNECTED .Simulated Data Feed."):
            await NinjaBroker(profile(tmp_path), settle_seconds=0.01).connect()
        trader.connect(True)
        broker = Stepped(trader)
        await broker.connect()
        trader.connect(False)
        await broker.heartbeat()
        with pytest.raises(BrokerError, match="DISCONNECTED.*was not sent"):
            await broker.place(Order("a", SIM, "core", KO, Side.BUY, Decimal(1)))
        assert "no orders leave" in broker.condition and not list(trader.incoming.iterdir())
        await broker.disconnect()

    run(scene())


def test_two_desks_on_one_log_are_told_apart(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            with pytest.raises(BrokerError, match="client_id of its own"):
                await Stepped(one.trader).connect()
            other = Stepped(one.trader, client_id=2)
            await other.connect()
            await other.disconnect()

    run(scene())


def test_accounts_yaml_names_the_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    folder = new_folder(tmp_path / "desk").path
    accounts = folder / "accounts.yaml"
    begun = accounts.read_text()

    def written(*lines: str) -> None:
        accounts.write_text(begun.rstrip() + "\n  ninja:\n" + "".join(f"    {line}\n" for line in lines))

    written("broker: ninjatrader", "account: Sim101", "portfolio: ninja", f"folder: {tmp_path}", "simulated: false")
    found = read_folder(folder).profiles["ninja"].broker_profile("ninja")
    assert (found.broker, found.folder, found.mode, found.accounts) == ("ninjatrader", str(tmp_path), "paper", (SIM,))
    for lines, words in ((("broker: ninjatrader", "account: Sim101", "portfolio: ninja"), "works through a folder: give the folder"), (("account: DU7", "portfolio: ninja"), "account"),
                         (("broker: ninjatrader", "account: DU1234567", "portfolio: ninja", f"folder: {tmp_path}"), "no such account: Sim101"),
                         (("broker: ib", "account: DU1234567", "portfolio: ninja", f"folder: {tmp_path}", "client_id: 9"), "leave the line out")):  # fmt: skip
        written(*lines)
        with pytest.raises(FolderError, match=words):
            read_folder(folder)


# ---------------------------------------------------------------- what can happen to files

def test_instruction_that_nobody_takes_is_withdrawn_and_never_traded_later(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            one.trader.stop()
            order = one.order(1, Side.BUY, 10)
            await one.broker.place(order)
            await asyncio.sleep(0.25)
            await one.beat()
            assert (stands(one, order).state, stands(one, order).code) == (OrderState.UNKNOWN, "NT_NOT_TAKEN") and "AT Interface" in stands(one, order).message
            await asyncio.sleep(0.25)
            await one.beat()
            assert stands(one, order).state is OrderState.CANCELLED and not list(one.trader.incoming.iterdir())
            one.trader.start()
            for _ in range(5):
                await one.beat()
            assert not one.trader.exchange.executions() and not one.fills()

    run(scene())


def test_instruction_in_use_is_left_alone(tmp_path):
    """It is being read in this moment: whether it is traded is not known, so it is not withdrawn."""
    import fcntl

    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            order = one.order(1, Side.BUY, 10)
            await one.broker.place(order)
            [path] = one.trader.incoming.iterdir()
            with path.open("r+b") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                await asyncio.sleep(0.25)
                one.trader.running = False
                await one.beat()
                assert path.exists() and stands(one, order).state is OrderState.SENT
            one.trader.running = True
            await one.until(one.done(order))
            assert stands(one, order).state is OrderState.FILLED and len(one.trader.exchange.executions()) == 1

    run(scene())


def test_bad_line_has_no_answer_and_the_order_is_unknown(tmp_path):
    async def scene():
        async with world(tmp_path, rules=AccountRules(), timeout_seconds=0.2) as one:
            order = one.order(1, Side.BUY, 10, stock("PEP"))           # NinjaTrader does not know it, and says so in its log alone
            await one.broker.place(order)
            await one.beat()
            await asyncio.sleep(0.25)
            await one.beat()
            assert (stands(one, order).state, stands(one, order).code) == (OrderState.UNKNOWN, "NT_NO_ANSWER") and "Log tab" in stands(one, order).message
            assert one.trader.log and "PEP" in one.trader.log[0]
            with pytest.raises(BrokerError, match="not sent twice"):
                await one.broker.place(order)

    run(scene())


def test_restart_of_ninjatrader_leaves_orders_unknown_until_it_speaks_of_them(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            day, lasting = one.order(1, Side.BUY, 10, limit=Decimal("50.00")), replace(one.order(2, Side.BUY, 10, limit=Decimal("50.00")), tif="GTC")
            for order in (day, lasting):
                await one.broker.place(order)
            await one.beat()
            assert [stands(one, o).state for o in (day, lasting)] == [OrderState.WORKING] * 2
            one.trader.stop()
            one.trader.start()
            await one.beat()
            await one.beat()
            assert stands(one, day).state is OrderState.UNKNOWN and stands(one, day).code == "NT_RESTARTED"
            assert stands(one, lasting).state is OrderState.WORKING

    run(scene())


def test_fill_that_a_restart_has_swallowed_is_told_and_not_invented(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            order = one.order(1, Side.BUY, 10)
            await one.broker.place(order)
            one.trader.turn()                                           # it fills
            one.trader.stop()
            one.trader.start()                                          # and its file is gone before anybody looked
            await one.beat()
            report = await one.broker.report(SIM)
            assert not report.fills and [(u.subject, "book the difference" in u.why) for u in report.unbookable] == [("KO +10", True)]
            assert [h.qty for h in await one.broker.holdings(SIM)] == [10]

    run(scene())


def test_numbers_that_contradict_the_order_are_told_and_book_nothing(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            order = one.order(1, Side.BUY, 10, limit=Decimal("50.00"))
            await one.broker.place(order)
            await one.beat()
            path = tmp_path / "outgoing" / f"ot-{order.order_ref}.txt"
            for text in ("PartFilled;11;50", "Filled;9;50", "Working;nan;1", "Working;1e400;1", "", "a;b;c", "Working;-1;1", "\0\0\0"):
                path.write_text(text)
                await one.broker.heartbeat()
            one.heard += one.broker.drain()
            told = [m for m in one.heard if isinstance(m, Unbookable)]
            assert not one.fills() and len(told) == 2 and stands(one, order).state is OrderState.WORKING
            path.write_text("PartFilled;4;49.9")
            await one.broker.heartbeat()
            path.write_text("Vanishing;6;49.95")
            await one.broker.heartbeat()
            path.write_text("PartFilled;5;49.9")                        # runs back
            await one.broker.heartbeat()
            one.heard += one.broker.drain()
            assert sum(f.qty for f in one.fills()) == 6 and any("before" in m.why for m in one.heard if isinstance(m, Unbookable))

    run(scene())


def test_position_in_a_future_is_told_and_stops_nothing(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            (tmp_path / "outgoing" / "ES 12-22 Globex_Sim101_Position.txt").write_text("SHORT;2;4000.25")
            (tmp_path / "outgoing" / "ES 12-22 Globex_Sim102_Position.txt").write_text("LONG;1;4000.25")
            assert await one.broker.holdings(SIM) == ()
            assert [m.subject for m in one.broker.drain() if isinstance(m, Unbookable)] == ["ES 12-22"]

    run(scene())


def test_what_was_held_before_the_first_order_is_not_missed(tmp_path):
    async def scene():
        trader = ninja(tmp_path)
        while not trader.exchange.is_open:
            trader.step()
        (trader.incoming / "oif-by-hand.txt").write_text(f"PLACE;{SIM};KO;BUY;30;MARKET;;;DAY;;;;\n")
        trader.turn()
        broker = Stepped(trader)
        await broker.connect()
        assert (await broker.report(SIM)).unbookable == () and [h.qty for h in await broker.holdings(SIM)] == [30]
        (trader.incoming / "oif-by-hand2.txt").write_text(f"PLACE;{SIM};KO;BUY;7;MARKET;;;DAY;;;;\n")
        await broker.heartbeat()
        order = Order("20221215-core-001", SIM, "core", KO, Side.BUY, Decimal(1))
        await broker.place(order)
        await broker.heartbeat()
        assert [u.subject for u in (await broker.report(SIM)).unbookable] == ["KO +7"]
        await broker.disconnect()

    run(scene())


def test_cancel_that_was_read_before_its_order_is_sent_again(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            order = one.order(1, Side.BUY, 10, limit=Decimal("50.00"))
            await one.broker.place(order)
            await one.beat()
            assert stands(one, order).state is OrderState.WORKING
            await one.broker.cancel(order.order_ref)
            for path in one.trader.incoming.iterdir():
                path.unlink()                                           # it was taken, and had no effect
            await one.beat()
            assert stands(one, order).state is OrderState.WORKING
            await asyncio.sleep(0.25)
            await one.until(one.done(order))
            assert stands(one, order).state is OrderState.CANCELLED

    run(scene())


def test_desk_that_ends_after_a_withdrawal_remembers_it(tmp_path):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            order = one.order(1, Side.BUY, 10)
            await one.broker.place(order)
            await one.broker.cancel(order.order_ref)                   # not read yet: taken back
            assert not list(one.trader.incoming.iterdir())
            one.broker._sent.log.close()
            one.broker, one.heard = await one.again(), []
            await asyncio.sleep(0.25)
            await one.beat()
            assert (stands(one, order).state, stands(one, order).code) == (OrderState.CANCELLED, "NT_NOT_TAKEN")

    run(scene())


class Crash(BaseException):
    "The process ends here."


@pytest.mark.parametrize("where, left", [("draft", False), ("log", False), ("moved", True)])
def test_desk_that_ends_while_it_sends_knows_whether_the_order_left(where, left, tmp_path, monkeypatch):
    async def scene():
        async with world(tmp_path) as one:
            await until_open(one)
            order = one.order(1, Side.BUY, 10)

            def dying(function, after):
                def call(*args, **more):
                    if after:
                        function(*args, **more)
                    raise Crash(where)
                return call

            with monkeypatch.context() as m, pytest.raises(Crash):
                if where == "draft":
                    m.setattr(ninjatrader, "write_durably", dying(ninjatrader.write_durably, True))
                elif where == "log":
                    m.setattr(ninjatrader.os, "replace", dying(os.replace, False))
                else:
                    m.setattr(ninjatrader.os, "replace", dying(os.replace, True))
                await one.broker.place(order)
            one.broker._sent.log.close()                               # the process is gone, and its lock with it
            one.broker, one.heard = await one.again(), []
            await one.beat()
            report = await one.broker.report(SIM)
            one.heard += [*report.fills, *report.orders]
            assert len(one.trader.exchange.executions()) == left and not list((tmp_path / "otsport").glob("*.new"))
            if left:
                assert stands(one, order).state is OrderState.FILLED
            elif where == "log":
                assert (stands(one, order).state, stands(one, order).code) == (OrderState.CANCELLED, "NEVER_LEFT")
            else:
                assert report.orders == ()

    run(scene())


# ---------------------------------------------------------------- a thousand orders

class Naive:
    "What a first adapter looks like: it believes the file as it is in the moment, books the difference, and sends again what has no file after a moment."

    def __init__(self, root: Path):
        self.root, self.filled, self.cost, self.sent = root, Counter(), Counter(), {}

    def place(self, ref: str, line: str) -> None:
        self.sent[ref] = line
        (self.root / "incoming" / f"oif-{ref}-{time.time_ns()}.txt").write_text(line)

    def look(self) -> None:
        for ref, line in self.sent.items():
            path = self.root / "outgoing" / f"{ref}.txt"
            if not path.exists():
                self.place(ref, line)
                continue
            parts = path.read_text().split(";")
            if len(parts) == 3 and parts[1]:
                self.filled[ref], self.cost[ref] = int(parts[1]), int(parts[1]) * float(parts[2] or 0)


@contextmanager
def at_its_own_pace(trader: NinjaTrader, turns_a_step: int = 400):
    "NinjaTrader in a thread of its own, as fast as it can."
    over, faults = threading.Event(), []

    def work():
        turn = 0
        try:
            while not over.is_set():
                trader.turn()
                turn += 1
                if turn % turns_a_step == 0 and trader.exchange.step < 10:
                    trader.exchange.advance()
                time.sleep(0.001)
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        assert not faults, faults


async def many_orders(root: Path, seed: int, count: int, deaths: float = 0.01) -> tuple[NinjaTrader, list[Order], dict, NinjaBroker, list]:
    "So many orders over a folder with bad manners, by a desk that ends without a word now and then; what was ordered and heard."
    random, trader = Random(seed), ninja(root, ROUGH, seed, 10**9, 12 * count)
    while not trader.exchange.is_open:
        trader.step()
    make = lambda: NinjaBroker(profile(root, timeout_seconds=30.0), settle_seconds=0.02, taken_seconds=3.0)
    orders, heard, broker = [], [], make()
    with at_its_own_pace(trader, 3 * count):
        await broker.connect()
        for number in range(count):
            limit = random.choice((None, None, Decimal("60.10"), Decimal("59.90")))
            order = Order(f"20221215-core-{number:05d}", SIM, "core", KO, Side.BUY, Decimal(random.randrange(1, 300)), OrderType.MARKET if limit is None else OrderType.LIMIT, limit)
            orders.append(order)
            await broker.place(order)
            if random.random() < 0.1 and (open_now := [o for o in orders[-20:] if not broker._sent.orders[o.order_ref].state.done]):
                await broker.cancel(random.choice(open_now).order_ref)
            if random.random() < 0.2:
                await broker.heartbeat()
                heard += broker.drain()
            if random.random() < deaths:
                broker._sent.log.close()                               # what was heard since the last drain is lost with the process
                broker = make()
                await broker.connect()
        for order in orders:                                           # the rest is cancelled
            if not broker._sent.orders[order.order_ref].state.done:
                try:
                    await broker.cancel(order.order_ref)
                except BrokerError:
                    pass
        end = time.monotonic() + 300
        while time.monotonic() < end and not all(k.state.done for k in broker._sent.orders.values()):
            await broker.heartbeat()
        heard += broker.drain()
    trader.turn()
    for _ in range(8):
        trader.turn()
    await broker.heartbeat()
    report = await broker.report(SIM)
    heard += [*report.fills, *report.orders, *report.unbookable]
    return trader, orders, report, broker, heard


def check_many(trader, orders, report, heard) -> None:
    received = Counter(u.ticket.order_ref for u in trader.exchange.state.orders.values())
    assert received == Counter(f"ot-{o.order_ref}" for o in orders) or set(received.values()) == {1}, "doubled"
    states = {e.order_ref: e for e in report.orders}
    missing = {f"ot-{o.order_ref}" for o in orders} - set(received)
    assert all(states[m.removeprefix("ot-")].code == "NT_NOT_TAKEN" for m in missing), "lost"      # taken back by a cancel before it was read
    theirs, ours = {}, {}
    for e in trader.exchange.state.fills:
        qty, cost = theirs.get(e.order_ref, (0, 0))
        theirs[e.order_ref] = (qty + e.qty, cost + e.qty * e.price)
    for f in standing({m.exec_id: m for m in heard if isinstance(m, Fill)}.values()).values():
        qty, cost = ours.get(f"ot-{f.order_ref}", (0, 0))
        ours[f"ot-{f.order_ref}"] = (qty + f.qty, cost + f.qty * f.price)
    assert {k: q for k, (q, _) in ours.items()} == {k: q for k, (q, _) in theirs.items()}
    assert max(abs(ours[k][1] - theirs[k][1]) for k in ours) < Decimal("0.001")
    assert report.unbookable == () and not [m for m in heard if isinstance(m, Unbookable)]
    finals = {u.ticket.order_ref: u.status for u in trader.exchange.state.orders.values()}
    told = {"Filled": OrderState.FILLED, "Cancelled": OrderState.CANCELLED, "Inactive": OrderState.REJECTED}
    assert {k: told[s] for k, s in finals.items()} == {k: states[k.removeprefix("ot-")].state for k in finals}


def no_corrections(heard) -> int:
    return sum(1 for m in heard if isinstance(m, Fill) and not m.exec_id.endswith(".01"))


def test_orders_over_locked_and_half_written_files_are_neither_lost_nor_doubled(tmp_path):
    async def scene():
        trader, orders, report, broker, heard = await many_orders(tmp_path, 1, 120)
        check_many(trader, orders, report, heard)
        assert {h.contract: h.qty for h in await broker.holdings(SIM)} == {h.contract: h.qty for h in trader.exchange.holdings(SIM)}
        assert sum(f.qty for f in report.fills) > 1000
        await broker.disconnect()

    run(scene(), 200)


def test_naive_reader_of_files_is_noticed(tmp_path):
    """Negative control: with the same manners, one that believes what it reads loses or doubles."""
    trader, naive = ninja(tmp_path, ROUGH, 1, 10**9, 10**6), Naive(tmp_path)
    while not trader.exchange.is_open:
        trader.step()
    wrong = 0
    for number in range(120):
        naive.place(f"n-{number}", f"PLACE;{SIM};KO;BUY;{10 + number};MARKET;;;DAY;;n-{number};;")
        trader.turn()
        naive.look()
        theirs = {e.order_ref: e.cum_qty * e.avg_price for e in trader.exchange.state.fills}
        wrong += any(abs(naive.cost[ref] - float(cost)) > 1 for ref, cost in theirs.items() if naive.filled[ref])
    assert wrong > 3 and any("was used" in line for line in trader.log)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_orders_over_locked_and_half_written_files(seed, tmp_path):
    async def scene():
        trader, orders, report, broker, heard = await many_orders(tmp_path, seed, 1000)
        check_many(trader, orders, report, heard)
        print(f"seed {seed}: {len(orders)} orders, {len(report.fills)} executions, {no_corrections(heard)} corrected, log {Counter(w.split(':')[0][:40] for w in trader.log)}")
        await broker.disconnect()

    run(scene(), 1800)


# ---------------------------------------------------------------- the simulated NinjaTrader itself

def lines(trader: NinjaTrader, *texts: str) -> list[str]:
    (trader.incoming / f"oif{time.time_ns()}.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode())
    before = len(trader.log)
    trader.turn()
    return trader.log[before:]


def test_simulated_ninjatrader_takes_all_commands(tmp_path):
    trader = ninja(tmp_path)
    while not trader.exchange.is_open:
        trader.step()
    holds = lambda: {h.contract.symbol: h.qty for h in trader.exchange.holdings(SIM)}
    says = lambda ref: (tmp_path / "outgoing" / f"{ref}.txt").read_text().split(";")[0]
    assert lines(trader, f"PLACE;{SIM};KO;BUY;10;MARKET;;;DAY;;a;;", f"PLACE;{SIM};KO;BUY;10;LIMIT;50.00;;GTC;;b;;", f"PLACE;{SIM};KO;SELL;10;STOPMARKET;;50.00;GTC;;c;;") == []
    assert holds() == {"KO": 10} and (says("a"), says("b"), says("c")) == ("Filled", "Working", "Accepted")
    assert lines(trader, "CHANGE;;;;20;;0;0;;;b;;") == [] and next(u for u in trader.exchange.open_orders() if u.ticket.order_ref == "b").ticket.qty == 20
    assert lines(trader, "CANCEL;;;;;;;;;;b;;") == [] and says("b") == "Cancelled"
    assert lines(trader, f"REVERSEPOSITION;{SIM};KO;BUY;5;MARKET;;;DAY;;d;;") == [] and holds() == {"KO": 5}
    assert lines(trader, f"PLACE;{SIM};KO;BUY;5;LIMIT;50.00;;DAY;;e;;", f"CLOSEPOSITION;{SIM};KO;;;;;;;;;;") == [] and holds() == {} and says("e") == "Cancelled"
    lines(trader, f"PLACE;{SIM};KO;BUY;5;MARKET;;;DAY;;f;;", f"PLACE;{SIM};KO;BUY;5;LIMIT;50.00;;DAY;;g;;", "FLATTENEVERYTHING;;;;;;;;;;;;")
    assert holds() == {} and says("g") == "Cancelled"
    wrong = lines(trader, "CLOSESTRATEGY;;;;;;;;;;;;x", "PLACE;too;short", f"PLACE;{SIM};KO;BUY;5;MARKET;;;DAY;;f;;", "CANCEL;;;;;;;;;;zzz;;", f"PLACE;{SIM};KO;BUY;5;LIMIT;60,5;;DAY;;h;;")
    assert [w.split(":")[0] for w in wrong] == ["not understood", "not understood", "order id f was used", "no such order", "a price of a LIMIT order is missing"]
    assert not (tmp_path / "outgoing" / "h.txt").exists()


def test_simulated_ninjatrader_waits_for_a_file_that_is_in_use(tmp_path):
    import fcntl

    trader = ninja(tmp_path)
    while not trader.exchange.is_open:
        trader.step()
    path = trader.incoming / "oif1.txt"
    with path.open("w") as writing:
        fcntl.flock(writing, fcntl.LOCK_EX)
        writing.write(f"PLACE;{SIM};KO;BUY;10;MARK")
        writing.flush()
        trader.turn()
        assert path.exists() and not trader.log
        writing.write("ET;;;DAY;;a;;")
    trader.turn()
    assert not path.exists() and trader.exchange.holdings(SIM)[0].qty == 10
