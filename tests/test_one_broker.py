"""A broker of one's own is one file in `otsport/brokers`: accounts.yaml names it, and a trading day, the command line and a notebook reach it."""
import asyncio
import textwrap

import pytest
from typer.testing import CliRunner

import otsport.brokers
from otsport.app import lab, trading_day
from otsport.app.cli import app
from otsport.app.folder import new_folder, read_folder, this_folder
from otsport.brokers.adapters import broker_names
from otsport.core.errors import FolderError
from otsport.data.store import open_store

TINY = '''
"""A broker that lives in this process: it fills at once, at its own quote, for nothing."""
import itertools
from datetime import timedelta
from decimal import Decimal

from otsport.core.books import AccountValues, Holding
from otsport.core.calendars import last_sessions, session_open
from otsport.core.contracts import OptionChain, Quote
from otsport.core.orders import BrokerReport, Commission, Fill, OrderEvent, OrderState, Side
from otsport.data.samples import history


class World:
    "What outlives a connection."
    began = session_open(history().last) - timedelta(minutes=60)
    now, cash, held, fills, orders, numbers = began, Decimal(1_000_000), {}, [], [], itertools.count(1)


class Adapter:
    def __init__(self, profile):
        self.profile, self.served, self.live, self.news = profile, (), {}, []

    async def connect(self):
        self.served = self.profile.accounts

    async def disconnect(self):
        self.served = ()

    async def heartbeat(self):
        World.now += timedelta(minutes=30)
        return World.now

    async def quotes(self, contracts):
        before, last = last_sessions(history().last, 2)
        table = history().stock_table.frame
        closes = {c.symbol: (table[c.symbol].loc[str(before)], table[c.symbol].loc[str(last)]) for c in contracts}
        return {c.key: Quote(c, World.now, round(now - 0.02, 2), round(now + 0.02, 2), 1e6, 1e6, round(now, 2), was, "modelled")
                for c in contracts for was, now in [closes[c.symbol]]}

    async def watch(self, contracts):
        pass

    async def chain(self, symbol):
        return OptionChain(symbol, (), ())

    async def account_values(self, account):
        quotes = await self.quotes([c for c, _ in World.held.values()])
        worth = World.cash + sum(qty * Decimal(str(quotes[key].last)) for key, (_, qty) in World.held.items())
        return AccountValues(account, worth, World.cash, World.cash)

    async def holdings(self, account):
        return tuple(Holding(account, c, qty) for c, qty in World.held.values() if qty)

    async def place(self, order):
        quote = (await self.quotes([order.contract]))[order.contract.key]
        price = Decimal(str(quote.ask if order.side is Side.BUY else quote.bid))
        fill = Fill(f"tiny{next(World.numbers)}", order.order_ref, order.account, order.contract, order.side, order.qty, price, World.now, 1)
        World.cash += fill.cash
        World.held[order.contract.key] = (order.contract, World.held.get(order.contract.key, (None, 0))[1] + fill.signed_qty)
        World.fills.append(fill)
        self.news += [OrderEvent(order.order_ref, OrderState.ACCEPTED, World.now, perm_id=1), fill, Commission(fill.exec_id, Decimal(0))]

    async def cancel(self, order_ref):
        raise AssertionError("nothing works here for long")

    async def report(self, account):
        return BrokerReport((), tuple(World.fills), tuple(Commission(f.exec_id, Decimal(0)) for f in World.fills))

    def drain(self):
        news, self.news = self.news, []
        return news
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A desk folder whose profile names the broker `tiny`."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path
    accounts = made / "accounts.yaml"
    accounts.write_text(accounts.read_text().replace("    account: DU", "    broker: tiny\n    account: DU").replace("simulated: true ", "simulated: false "))
    book = made / "book.yaml"
    book.write_text(book.read_text().replace("  - use: covered_call\n", ""))
    monkeypatch.setenv("OTSPORT_FOLDER", str(made))
    return made


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The one file, in the room of the brokers."""
    room = tmp_path / "room"
    room.mkdir()
    (room / "tiny.py").write_text(textwrap.dedent(TINY))
    monkeypatch.setattr(otsport.brokers, "__path__", [*otsport.brokers.__path__, str(room)])
    monkeypatch.delitem(__import__("sys").modules, "otsport.brokers.tiny", raising=False)
    yield
    __import__("sys").modules.pop("otsport.brokers.tiny", None)
    otsport.brokers.__dict__.pop("tiny", None)


def test_broker_that_nobody_has_written_is_refused_with_those_that_there_are(folder):
    with pytest.raises(FolderError, match=r"accounts.yaml, line \d+: profiles.paper.broker = 'tiny': no broker is called 'tiny': use 'ib'"):
        read_folder(folder)


def test_profile_of_before_names_no_broker_and_means_interactive_brokers(folder):
    accounts = folder / "accounts.yaml"
    accounts.write_text(accounts.read_text().replace("    broker: tiny\n", ""))
    assert read_folder(folder).broker().broker == "ib"


def test_one_file_is_a_broker_for_a_day_for_the_command_line_and_for_a_notebook(folder, tiny):
    assert broker_names() == ("ib", "ninjatrader", "tiny")
    (day,) = asyncio.run(trading_day.trade(trading_day.begin(**this_folder().defaults())))
    from otsport.brokers.tiny import World

    assert day.positions and len(World.fills) == len(day.positions) and day.cash == World.cash
    typed = CliRunner().invoke(app, ["desk", "place", "SELL", "1", next(iter(World.held)), "--limit", "1.00", "--reason", "a test"])
    assert typed.exit_code == 2 and "(SESSION_CLOSED)" in typed.output and len(World.fills) == len(day.positions), (typed.output, typed.exception)

    async def looked():
        async with lab.open_book() as book:
            return len(book.positions), book.cash

    assert asyncio.run(looked()) == (len(day.positions), World.cash)
    with open_store(folder / "state" / "otsport.db") as store:
        assert store.verify()


@pytest.mark.parametrize("lines, words", [
    ("    tws_zone: New York\n", "tws_zone = 'New York': 'New York' is no time zone"),
    ("    codes: [{code: 10289, meaning: no idea, cause: x}]\n", "codes"),
])
def test_codes_and_the_zone_of_tws_are_taken_from_accounts_yaml(folder, lines, words):
    """The messages that ask for them name the profile: it is in this file."""
    accounts = folder / "accounts.yaml"
    begun = accounts.read_text().replace("    broker: tiny\n", "")
    accounts.write_text(begun + "    tws_zone: America/New_York\n    codes:\n      - {code: 12345, meaning: refused, cause: not today, step: ask tomorrow}\n")
    profile = read_folder(folder).broker()
    assert profile.tws_zone == "America/New_York" and [(c.code, c.meaning, c.step) for c in profile.codes] == [(12345, "refused", "ask tomorrow")]
    accounts.write_text(begun + lines)
    with pytest.raises(FolderError, match=words) as error:
        read_folder(folder)
    assert "accounts.yaml, line" in str(error.value)
