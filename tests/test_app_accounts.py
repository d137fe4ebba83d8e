"""accounts.yaml: profiles of several accounts and types, the books that they open, the command that writes it, and what is said of each mistake."""
import asyncio

import pytest
from typer.testing import CliRunner

import otsport
from otsport.app import cli_accounts
from otsport.app.cli import app
from otsport.app.folder import new_folder, read_folder, this_folder
from otsport.app.lab import portfolio_of
from otsport.core.errors import AccountNotServed, FolderError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A desk folder that we are in."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path
    monkeypatch.setenv("OTSPORT_FOLDER", str(made))
    return made


def add(folder, lines: str) -> None:
    file = folder / "accounts.yaml"
    file.write_text(file.read_text() + lines)


def typed(*words: str):
    return CliRunner().invoke(app, ["accounts", *words])


ADVISOR = "  advisor:\n    accounts: [DF100001, DU100002]\n    port: 7497\n    client_id: 3\n    simulated: false\n    limits: {max_order_value: 1000, max_daily_trades: 5, symbols: [KO]}\n"
REAL = "  real:\n    title: the real one\n    account: U7654321\n    type: live\n    port: 7496\n    simulated: false\n    portfolio: own_live\n"


def test_each_account_of_the_file_is_a_place_with_a_book_of_its_own(folder):
    add(folder, ADVISOR + REAL)
    book = otsport.open_book()
    view = book.accounts
    assert view.index.tolist() == ["paper", "advisor:DF100001", "advisor:DU100002", "real"]
    assert view["portfolio"].tolist() == ["main", "main_advisor", "main_advisor_2", "own_live"] and view["type"].tolist() == ["paper"] * 3 + ["live"]
    assert view["standing"].tolist() == ["chosen, not connected", "closed", "closed", "closed"]
    rules = book.seat.places["advisor:DU100002"].settings
    assert (rules.limits.max_order_value, rules.broker.rules.symbols, rules.broker.accounts) == (1000, ("KO",), ("DF100001", "DU100002"))
    assert book.place.settings.limits.max_order_value == 250_000  # the limits of an account are its own
    real = book.seat.places["real"].settings.broker
    assert (real.mode, real.requests_per_second, real.clock_skew_seconds, real.reconnect_seconds) == ("live", 40, 5.0, 300.0)
    assert book.phrase("real") == "trade live on U7654321 through real"


def test_account_of_an_advisor_may_be_the_book_of_the_folder(folder):
    add(folder, ADVISOR)
    book = folder / "book.yaml"
    book.write_text(book.read_text().replace("account: paper ", "account: advisor "))
    opened = otsport.open_book()
    assert opened.place.name == "advisor:DF100001" and opened.place.portfolio == "main"
    assert [p.portfolio for p in opened.seat.places.values()] == ["main", "main_paper", "main_advisor_2"]
    assert this_folder().defaults()["account"] == "DF100001"


def test_two_accounts_for_one_book_are_refused_by_name(folder):
    add(folder, REAL.replace("own_live", "main"))
    with pytest.raises(FolderError, match="accounts real and paper would both have the book main: give profiles.real a line `portfolio: NAME`"):
        otsport.open_book()
    assert portfolio_of("main", "A-very long_Name!", "", 1) == "main_a_very_lo_2" and len(portfolio_of("main", "x" * 30, "", 0)) == 16


@pytest.mark.parametrize("lines, place, words", [
    ("  real:\n    account: U7654321\n    type: paper\n", 3, "profiles.real.type = 'paper': account U7654321 is live"),
    ("  both:\n    accounts: [DU100001, U7654321]\n", 2, "profiles.both.accounts: DU100001 is paper, U7654321 is live: a log-in has accounts of one type"),
    ("  again:\n    account: DU100001\n    port: {port}\n    client_id: 1\n", 4, "profiles.again.client_id = 1: profile paper has the same address and client id"),
    ("  none:\n    port: 7497\n", 1, "profiles.none: the field account is missing"),
    ("  off:\n    account: DU100001\n    status: asleep\n", 3, "profiles.off.status = 'asleep': input should be 'active' or 'disabled'"),
    ("  rules:\n    account: DU100001\n    client_id: 4\n    limits:\n      max_order_vallue: 5\n", 5, "profiles.rules.limits.max_order_vallue = 5: there is no such field here: did you mean max_order_value?"),
    ("  rules:\n    account: DU100001\n    client_id: 4\n    limits: {max_daily_trades: -1}\n", 4, "max_daily_trades = -1: input should be greater than or equal to 0: write a whole number of orders in a session"),
    ("  rules:\n    account: DU100001\n    client_id: 4\n    limits: {max_order_weight: 2}\n", 4, "max_order_weight = 2: input should be less than or equal to 1"),
    ("  two words:\n    account: DU100001\n    client_id: 4\n", 1, "profiles.two words: this is no name of a profile"),
    ("  twice:\n    accounts: [DU100001, DU100001]\n    client_id: 4\n", 2, "DU100001 is listed twice"),
    ("  other:\n    account: DU100003\n    accounts: [DU100001, DU100002]\n    client_id: 4\n", 2, "profiles.other.account = 'DU100003': it is not one of accounts (DU100001, DU100002)"),
])  # fmt: skip
def test_a_mistake_names_file_line_field_and_rule(folder, lines, place, words):
    file = folder / "accounts.yaml"
    begun, port = file.read_text(), read_folder(folder).profile.port
    add(folder, lines.format(port=port) if "{port}" in lines else lines)
    with pytest.raises(FolderError) as error:
        read_folder(folder)
    assert str(error.value).startswith(f"accounts.yaml, line {begun.count(chr(10)) + place}: ") and words in str(error.value), str(error.value)


# ---------------------------------------------------------------- the command

def test_command_lists_adds_changes_and_removes_and_keeps_the_remarks(folder):
    file = folder / "accounts.yaml"
    before = file.read_text()
    done = typed("add", "real", "--account", "U7654321", "--port", "7496", "--limit", "max_daily_trades=20", "--limit", "symbols=KO,AAPL", "--title", "the real one")
    assert done.exit_code == 0 and "live account U7654321" in done.output and "not be armed by any file" in done.output, done.output
    assert file.read_text().startswith(before.rstrip("\n")) or "# keep it: orders belong to it" in file.read_text()
    profile = read_folder(folder).profiles["real"]
    assert (profile.limits.max_daily_trades, profile.limits.symbols, profile.simulated, profile.title) == (20, ("KO", "AAPL"), False, "the real one")
    assert typed("set", "real", "--status", "disabled", "--limit", "max_daily_trades=").exit_code == 0
    profile = read_folder(folder).profiles["real"]
    assert (profile.status, profile.limits.max_daily_trades, profile.limits.symbols) == ("disabled", None, ("KO", "AAPL"))
    shown = typed("list").output
    assert "real" in shown and "U7654321" in shown and "live" in shown and "disabled" in shown and "paper" in shown
    assert typed("remove", "real").exit_code == 0 and list(read_folder(folder).profiles) == ["paper"]
    assert "# keep it: orders belong to it" in file.read_text()


@pytest.mark.parametrize("words, said", [
    (("add", "real", "--account", "U7654321", "--type", "paper"), "account U7654321 is live"),
    (("add", "paper", "--account", "DU100001"), "has a profile paper already"),
    (("set", "papr", "--port", "7497"), "has no profile papr: did you mean paper?"),
    (("set", "paper", "--port", "99999"), "input should be less than or equal to 65535"),
    (("set", "paper", "--limit", "max_order=5"), "there is no such field here: did you mean max_order_value?"),
    (("set", "paper", "--limit", "max_order_value"), "give name=value"),
    (("set", "paper"), "nothing to change"),
    (("remove", "paper"), "book.yaml names it"),
])  # fmt: skip
def test_command_that_would_break_the_file_changes_nothing(folder, words, said):
    file = folder / "accounts.yaml"
    before = file.read_text()
    done = typed(*words)
    assert done.exit_code and isinstance(done.exception, Exception) and said in str(done.exception), (done.output, done.exception)
    assert file.read_text() == before and [p.name for p in folder.iterdir() if p.name.startswith(".acc")] == []


def test_check_says_what_the_broker_serves(folder, tmp_path):
    """A port where nothing listens, and one where somebody else is logged in."""
    from account_support import PAPER, gateways

    async def look():
        async with gateways((PAPER,)) as (server,):
            add(folder, f"  there:\n    account: {PAPER}\n    port: {server.port}\n  other:\n    account: DU1000009\n    port: {server.port}\n    client_id: 2\n")
            return {name: await cli_accounts.looked_at(name, p) for name, p in read_folder(folder).profiles.items()}

    found = asyncio.run(look())
    assert found["there"] == f"serves {PAPER}, paper, as the profile says" and "nothing listens there" in found["paper"]
    assert f"serves {PAPER}, not DU1000009" in found["other"]


def test_run_of_a_live_account_is_refused_before_anything_starts(folder):
    add(folder, REAL)
    book = folder / "book.yaml"
    book.write_text(book.read_text().replace("account: paper ", "account: real "))
    from otsport.app.trading_day import check_account

    assert this_folder().profile.mode == "live"
    with pytest.raises(AccountNotServed, match="a run cannot be armed, for nobody types its phrase"):
        check_account(this_folder().profile.account)


def test_command_line_arms_a_live_account_at_a_terminal_alone(folder, monkeypatch):
    """A pipe cannot type the phrase; a person can, and a wrong one sends nothing."""
    from account_support import LIVE, PAPER, gateways, place, received
    from otsport.app import cli_desk
    from otsport.desk.lab import OpenBook

    async def begun(home):
        async with gateways((LIVE,)) as (server,):
            add(folder, f"  real:\n    account: {LIVE}\n    port: {server.port}\n    client_id: 1\n    portfolio: real\n")
            from dataclasses import replace
            async with OpenBook(replace(place(server.port, LIVE, folder, name="real"), path=folder / "state" / "otsport.db", portfolio="real")):
                pass
            answers = []
            for tty, typed_text in ((False, ""), (True, "yes"), (True, f"trade live on {LIVE} through real")):
                monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self, tty=tty: tty})())
                monkeypatch.setattr(cli_desk.typer, "prompt", lambda *_, typed_text=typed_text, **__: typed_text)
                try:
                    await asyncio.to_thread(cli_desk.place, "BUY", "1", "KO", "60.02", "a test", False, "real", "", 0)
                    answers.append("sent")
                except Exception as error:  # what is typed ends in an error of its own kind
                    answers.append(str(error))
            return answers, received(server.gateway.exchange)

    (folder / "state").mkdir(exist_ok=True)
    answers, sent = asyncio.run(begun(folder))
    assert "its phrase is typed at a terminal, by a person; nothing was sent" in answers[0] and answers[1].startswith("PHRASE: ") and PAPER not in str(sent)
    assert answers[2] == "sent" and [a for a, _ in sent] == [LIVE], answers
