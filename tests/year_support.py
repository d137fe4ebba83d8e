"""A desk folder traded for many sessions in one process: the real adapter over a real socket, the simulated gateway on the bundled prices at an instant each hour, every evening checked."""
import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from otsport.app.folder import new_folder, read_folder
from otsport.brokers.ib import IBBroker
from otsport.core.books import Snapshot
from otsport.core.calendars import session_close
from otsport.core.settings import BrokerProfile
from otsport.data.samples import history
from otsport.data.store import open_store
from otsport.desk.bindings import binding_table
from otsport.desk.book import Desk
from otsport.desk.day import read_one
from otsport.desk.plan import Mandate, Plan
from otsport.desk.report import day_checks
from otsport.desk.session import trade_day
from otsport.gateway.exchange import Exchange
from otsport.gateway.market import Market
from otsport.gateway.sockets import serve

ACCOUNT, CAPITAL = "DU123456", Decimal(10**6)


class Hourly(Market):
    """The market of the bundled prices, with the quotes that it has, at an instant each hour: a session goes twelve times as fast."""

    def kept(self, day: date) -> list[int]:
        steps, closing = super().session_steps(day), session_close(day)
        last = next(i for i, t in enumerate(steps) if t >= closing)
        trading = [i for i in range(1, last) if steps[i].minute % 60 == 30 or steps[i + 1] >= closing]
        return [0, *trading, *range(last, len(steps))]

    def session_steps(self, day):
        steps = super().session_steps(day)
        return tuple(steps[i] for i in self.kept(day))

    def quote(self, contract, day, step):
        return super().quote(contract, day, self.kept(day)[step])


@dataclass
class Year:
    """What was traded, and what did not agree on an evening."""
    plans: list[Plan] = field(default_factory=list)
    evenings: list[Snapshot] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    orders: Counter = field(default_factory=Counter)  # by state

    def codes(self) -> Counter:
        return Counter(d.code for p in self.plans for d in p.decisions if d.code != "OK")

    def rules(self) -> Counter:
        return Counter((b.stage, b.rule) for p in self.plans for b in p.binding)

    def __str__(self) -> str:
        end = self.evenings[-1]
        return (f"{len(self.evenings)} sessions to {end.session}, NAV {end.nav:,.2f}, {sum(self.orders.values())} orders {dict(self.orders)}, {len(self.faults)} faults; "
                f"bound by {dict(self.rules())}; decisions {dict(self.codes())}")


def folder_with(path, *changes: tuple[str, str], **files: str):
    """A new desk folder with Python files of its own, its book.yaml changed."""
    made = new_folder(path).path
    for name, code in files.items():
        (made / f"{name}.py").write_text(code)
    book = made / "book.yaml"
    text = book.read_text()
    for old, new in changes:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    book.write_text(text)
    return read_folder(made)


def mandate_of(folder, port: int) -> Mandate:
    """As the trading day makes it of a folder."""
    profile = BrokerProfile(port=port, accounts=(ACCOUNT,), timeout_seconds=30.0, requests_per_second=0)
    b = folder.book
    return Mandate(ACCOUNT, "main", CAPITAL, folder.own_settings(profile), folder.strategies(), folder.rules, folder.allocations, b.objective, b.on_strategy_error, b.on_clash,
                   folder.quoted(True), tuple(b.objective_with.items()))


def evening(desk: Desk, exchange, year: Year, snapshot: Snapshot) -> None:
    """Everything that an evening must agree in: with itself, the store, its audit, and the gateway's own record."""
    before = desk.store.last_snapshot("main", before=snapshot.session)
    day = read_one(desk.store, desk.history, snapshot, before, tuple(desk.store.nav_series("main")[-2:]))
    year.faults += [f"{snapshot.session} {what}: {a} against {b}" for what, a, b in day_checks(day, desk.store) if a != b]
    desk.store.verify_day(snapshot, before)
    theirs = exchange.state.books[ACCOUNT]
    ours = {p.contract.key: p.qty for p in snapshot.positions if p.qty}
    held = {c.key: q for c, q in theirs.qty.items() if q}
    if (theirs.cash, held) != (snapshot.cash, ours):
        year.faults.append(f"{snapshot.session}: the gateway has {theirs.cash} and {held}, the book {snapshot.cash} and {ours}")
    if binding_table(day) is None:
        year.faults.append(f"{snapshot.session}: the report does not say which rule bound")
    year.plans.append(day.plan)
    year.evenings.append(snapshot)
    year.orders.update(r.state.value for r in day.orders)


def trade_days(folder, days, home, change=lambda mandate, n: mandate) -> Year:
    """Trade sessions of a folder one after the other; `change` may give each session another mandate."""
    year = Year()

    async def trade():
        exchange = Exchange(Hourly(history(), 7), {ACCOUNT: CAPITAL}, days[0], None)
        server = await serve(exchange, clock="heartbeat")
        mandate = mandate_of(folder, server.port)
        broker = IBBroker(mandate.settings.broker)
        await broker.connect()
        try:
            with open_store(home / "otsport.db", key=b"k" * 32) as store:
                for n, day in enumerate(days):
                    desk = Desk(store, broker, folder.history, change(mandate, n))
                    evening(desk, exchange, year, await trade_day(desk, day))
        finally:
            for s in mandate.strategies:
                getattr(s, "stop", lambda: None)()
            await broker.disconnect()
            server.close()
            await server.wait_closed()
            exchange.close()

    asyncio.run(trade())
    return year


__all__ = ["Year", "folder_with", "replace", "trade_days"]
