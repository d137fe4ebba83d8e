"""What a message advises, works: each is read out of the message as a user would, followed, and the refused thing then goes through."""
import re
from datetime import date, datetime, timezone
from decimal import Decimal

import pytest

from otsport.app.cli import accounts
from otsport.app.cli_run import pairs
from otsport.app.gateway_process import free_port, gateway_command, listens, start, stop_own_gateways
from otsport.app.params import find_paper, read_paper, resolve
from otsport.core import settings
from otsport.core.calendars import check_session
from otsport.core.contracts import from_key, option
from otsport.core.errors import OtsportError
from otsport.core.units import exact, from_float, utc


def day(**given):
    """The trading day's parameters, some of them given as texts."""
    return resolve(read_paper(find_paper("trading_day")), {name: str(value) for name, value in given.items()})


def advice(refused, *arguments, find: str, **named) -> list[str]:
    """What the message of a refusal advises."""
    with pytest.raises((OtsportError, ValueError)) as error:
        refused(*arguments, **named)
    found = re.search(find, str(error.value))
    assert found, str(error.value)
    return list(found.groups())


@pytest.mark.parametrize("given", [
    {"run_date": "1990-01-02"}, {"run_date": "1990-01-06"}, {"run_date": "1991-12-30"}, {"run_date": "1989-01-03"}, {"run_date": "2023-01-03"}, {"run_date": "2031-01-01"},
    {"run_date": "1990-01-02", "sessions": 60}, {"run_date": "1998-06-01", "sessions": 2500},
])
def test_dates_to_choose_from_are_accepted_at_both_ends(given):
    for end in advice(day, find=r"choose a run_date from (\S+) to (\S+)$", **given):
        assert day(**given | {"run_date": end}).run_date == date.fromisoformat(end)


def test_first_date_that_is_advised_has_all_the_prices_that_its_plan_reads():
    from otsport.core.calendars import previous_session, session_close
    from otsport.data.samples import history
    from otsport.desk.plan import COVARIANCE_SESSIONS

    first, _ = advice(day, find=r"choose a run_date from (\S+) to (\S+)$", run_date="1990-01-02")
    before = previous_session(date.fromisoformat(first))
    assert len(history().returns(session_close(before), sessions=COVARIANCE_SESSIONS)) == COVARIANCE_SESSIONS
    with pytest.raises(OtsportError, match="505 sessions are needed"):
        history().returns(session_close(previous_session(before)), sessions=COVARIANCE_SESSIONS)


@pytest.mark.parametrize("holiday", ["2022-12-26", "2022-12-24", "2022-01-01", "2012-10-29", "1991-12-25", "1992-01-01"])
def test_sessions_beside_a_holiday_are_sessions(holiday):
    for near in advice(check_session, date.fromisoformat(holiday), find=r"the nearest are (\S+) and (\S+)$"):
        assert check_session(date.fromisoformat(near)) == date.fromisoformat(near)


@pytest.mark.parametrize("holiday", ["2022-12-26", "1992-01-01"])
def test_sessions_beside_a_holiday_can_be_traded(holiday):
    for near in advice(day, find=r"the nearest are (\S+) and (\S+)$", run_date=holiday):
        assert day(run_date=near)


@pytest.mark.parametrize("name, wrong, find", [
    ("run_date", "28/12/2022", r"for example (\S+)$"), ("run_date", "20221228", r"for example (\S+)$"), ("account", "12", r"for example (\S+)$"),
    ("account", "du123456", r"for example (\S+)$"), ("portfolio", "Main Book", r"for example (\S+)$"),
])
def test_example_of_a_value_is_taken(name, wrong, find):
    example, = advice(day, find=find, **{name: wrong})
    assert day(**{name: example})


@pytest.mark.parametrize("wrong", ["sesions", "run_dat", "max_order_val", "Seed"])
def test_nearest_name_is_taken(wrong):
    near, = advice(day, find=r"did you mean '(\w+)'", **{wrong: 1})
    value = {"run_date": "2022-12-28", "max_order_value": "1000"}.get(near, "1")
    assert day(**{near: value})


def test_nearest_paper_is_found():
    near, = advice(find_paper, "tradingday", find=r"did you mean (\w+)\?")
    assert find_paper(near).exists()


def test_examples_of_the_command_line_are_taken():
    example, = advice(pairs, ["sessions"], find=r"for example -p (\S+)$")
    assert day(**pairs([example])).sessions == 5
    example, = advice(accounts, ["DU1=lots"], find=r"for example (\S+)$")
    assert accounts([example]) == {"DU123456": Decimal(1_000_000)}
    example, = advice(accounts, ["=5"], find=r"for example --account (\S+)$")
    assert accounts([example]) == {"DU123456": Decimal(1_000_000)}


def test_port_that_is_advised_is_free(home):
    """Of a gateway that finds its port taken by another program, in the words of a run."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        example, = advice(start, gateway_command("127.0.0.1", port, date(2022, 12, 28), "DU123456", Decimal(1_000_000), 7), find=r"-p port=(\d+)$")
    assert not listens("127.0.0.1", int(example)) and day(port=example).port == int(example)
    stop_own_gateways()


def test_examples_of_core_are_taken():
    example, = advice(from_key, "AAPL 20240119 X 150", find=r"as in '([^']+)'")
    assert from_key(example).is_option
    example, = advice(option, "AAPL", "19.07.2024", 150, "C", find=r"for example (\d{4}-\d\d-\d\d)")
    assert option("AAPL", example, 150, "C").expiry == date(2024, 7, 19)
    advice(exact, 0.1, find=r"use (from_float)\(value, tick\)")
    assert from_float(0.1, Decimal("0.01")) == Decimal("0.10")
    advice(utc, datetime(2024, 1, 1), find="tzinfo=(timezone.utc)")
    assert utc(datetime(2024, 1, 1, tzinfo=timezone.utc))


def test_mode_and_folder_that_are_advised_are_taken(home, monkeypatch):
    wanted, = advice(settings.settings, find=r"use '(\w+)' or", broker={"mode": "real"})
    assert settings.settings(broker={"mode": wanted}).broker.mode == wanted
    home.mkdir()
    (home / "otsport").write_text("a file where a folder is wanted")
    monkeypatch.setenv("OTSPORT_HOME", str(home / "otsport" / "state"))
    advice(settings.home, find="set OTSPORT_HOME to a (folder you may write)")
    monkeypatch.setenv("OTSPORT_HOME", str(home / "state"))
    assert settings.home() == home / "state"


def test_port_free_of_listeners_is_given():
    assert not listens("127.0.0.1", free_port())


def test_advice_for_a_book_of_other_parameters_depends_on_who_starts_the_gateway(home):
    """Another state folder brings a new simulated account; at a broker that runs on, only another account is flat."""
    from otsport.app.trading_day import check_book
    from otsport.book.ledger import deposit
    from otsport.data.store import open_store

    now = datetime(2022, 12, 27, 12, tzinfo=timezone.utc)
    with open_store() as store:
        with store.unit(now) as unit:
            unit.add_portfolio("main", "DU123456")
            unit.book(deposit("DU123456", "main", Decimal(1_000_000), now, "capital"))
        assert check_book(store, day()) == [date(2022, 12, 28)]  # the same is taken
        advice(check_book, store, day(capital=5), find="another (OTSPORT_HOME)$")
        advice(check_book, store, day(capital=5, start_gateway=False), find="with another (portfolio and another account)$")
        assert check_book(store, day(capital=5, start_gateway=False, portfolio="second", account="DU7654321")) == [date(2022, 12, 28)]
