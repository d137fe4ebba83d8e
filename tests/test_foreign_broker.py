"""A broker with a clock of its own: today is traded on yesterday's closes, and today's come from the broker; a day whose closes are missing is told."""
import subprocess

import pytest

from otsport.app.folder import new_folder, own_port, this_folder
from otsport.app.params import find_paper, read_paper, resolve
from otsport.core.errors import FolderError, NoPrices
from otsport.core.orders import OrderState
from otsport.data.prices import read_prices
from otsport.data.samples import sample
from otsport.data.shelf import keep
from otsport.data.store import open_store
from otsport.desk.day import read_day
from otsport.gateway.journal import executions
from run_support import gateway, otsport as typed

ACCOUNT = "DU123456"


def prices_to(folder, last: str) -> None:
    """The closes of the folder end on this day."""
    keep(read_prices(sample("sp500_20_daily").loc[:last].tail(900), name="mine", adjusted="all"), folder, replace=True)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A folder on prices of its own to Friday 2022-12-23, whose broker is not started by its runs."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    folder = new_folder(tmp_path / "desk").path
    prices_to(folder, "2022-12-23")
    for file, old, new in (("book.yaml", "prices: sample", "prices: prices/mine.parquet"), ("book.yaml", "run_date: 2022-12-28 ", "run_date: last "),
                           ("accounts.yaml", "simulated: true ", "simulated: false ")):
        text = (folder / file).read_text()
        assert text.count(old) == 1
        (folder / file).write_text(text.replace(old, new))
    monkeypatch.chdir(folder)
    return folder


def run(folder, *more) -> subprocess.CompletedProcess:
    return typed(folder / "state", "run", "trading_day", *more, cwd=folder)


def test_today_is_traded_on_yesterdays_closes(foreign, tmp_path):
    with gateway(tmp_path / "tws", own_port(foreign), ACCOUNT, session="2022-12-27"):
        done = run(foreign)
        assert done.returncode == 0, done.stderr
        assert "2022-12-27" in done.stdout
        again = run(foreign)
        assert again.returncode == 0 and "nothing was done again" in again.stdout  # the broker is still in that day
    with gateway(tmp_path / "tws", own_port(foreign), ACCOUNT, session="2022-12-28"):
        again = run(foreign)  # the broker is in the next one, whose closes before it are missing
        assert again.returncode == NoPrices.exit_code, again.stdout + again.stderr
        assert "session 2022-12-27 is finished; the broker is at 2022-12-28, and the closes in prices/mine.parquet end on 2022-12-23: the closes of 1 session are missing (2022-12-27)" in again.stderr
        assert len(again.stderr.strip().splitlines()) == 1 and "otsport data add" in again.stderr
        quiet = run(foreign, "-p", "run_date=2022-12-27")  # named by its date, a finished run is shown
        assert quiet.returncode == 0 and "nothing was done again" in quiet.stdout
        with open_store(foreign / "state" / "otsport.db") as store:
            first = read_day(store, this_folder().history, "main")
            assert str(first.session) == "2022-12-27" and first.fills and any(f.contract.is_option for f in first.fills)
            assert {f.exec_id for f in first.fills} == {e.exec_id for e in executions(tmp_path / "tws" / "gateway" / "simulated.jsonl")}
        check_closes(first)
        prices_to(foreign, "2022-12-27")
        more = run(foreign)
        assert more.returncode == 0, more.stderr
    with open_store(foreign / "state" / "otsport.db") as store:
        second = read_day(store, this_folder().history, "main")
        assert [str(s.session) for s in store.snapshots("main")] == ["2022-12-27", "2022-12-28"] and store.verify()
        assert all(r.state in (OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.DENIED) for r in store.orders("main"))
        third = first.risk.var_95, read_day(store, this_folder().history, "main", first.session).risk.var_95
    check_closes(second)
    assert third[0] == third[1], "what the broker said that evening is kept, though the prices reach it by now"


def check_closes(day) -> None:
    """Marks, closes of the report and spots of the risk are those of the session, which only the broker's prices have."""
    real = sample("sp500_20_daily").loc[str(day.session)]
    held = [p for p in day.snapshot.positions if p.qty]
    assert held and all(abs(float(p.spot) - real[p.contract.symbol]) < 0.0051 for p in day.snapshot.positions)
    assert all(p.mark == p.spot for p in held if not p.contract.is_option)
    assert [str(d.date()) for d in day.closes.index][-1] == str(day.session) and len(day.closes) == 2
    assert set(day.risk.spots) == {p.contract.symbol for p in held} and all(abs(s - real[name]) < 0.0051 for name, s in day.risk.spots.items())
    assert day.snapshot.nav == day.snapshot.cash + sum(p.value for p in day.snapshot.positions)


def test_a_simulated_folder_takes_its_closes_from_its_prices(foreign):
    """The other case: `last` is the last session with prices, and a later one is refused."""
    paper = read_paper(find_paper("trading_day"))
    assert str(resolve(paper, {}).run_date) == "2022-12-27"
    with pytest.raises(NoPrices, match="choose a run_date from .* to 2022-12-23"):
        resolve(paper, {"start_gateway": "true"})
    file = foreign / "accounts.yaml"
    file.write_text(file.read_text().replace("simulated: false ", "simulated: true "))
    assert str(resolve(paper, {}).run_date) == "2022-12-23"


def test_sessions_that_are_missing_are_counted(foreign):
    paper = read_paper(find_paper("trading_day"))
    with pytest.raises(NoPrices, match=r"run_date 2023-01-04: .* end on 2022-12-23, and the closes of 5 sessions before it are missing \(2022-12-27 to 2023-01-03\).*otsport data add FILE --as mine --replace"):
        resolve(paper, {"run_date": "2023-01-04"})


def test_a_broker_that_is_days_ahead_is_told_and_nothing_is_done(foreign, tmp_path):
    """The gateway begins on Wednesday 2022-12-28, the prices end on Friday: Tuesday's closes are missing."""
    with gateway(tmp_path / "tws", own_port(foreign), ACCOUNT, session="2022-12-28"):
        done = run(foreign)
    assert done.returncode == NoPrices.exit_code and "the closes of 1 session are missing (2022-12-27), without which nothing is planned" in done.stderr, done.stderr
    with open_store(foreign / "state" / "otsport.db") as store:
        assert store.portfolios() == {} and store.orders("main") == []


def test_the_zone_of_tws_is_a_field(foreign):
    file = foreign / "accounts.yaml"
    text = file.read_text()
    file.write_text(text.replace("# tws_zone", "tws_zone"))
    assert this_folder().broker().tws_zone == "America/New_York"
    file.write_text(text.replace("# tws_zone: America/New_York", "tws_zone: New York"))
    with pytest.raises(FolderError, match="accounts.yaml, line 11: profiles.paper.tws_zone = 'New York': 'New York' is no time zone: give the name of a place as TWS shows it"):
        this_folder()
