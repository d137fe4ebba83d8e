"""The desk folder: what it says is traded, each mistake is told with file and line, and folders side by side know nothing of each other."""
import asyncio
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from typer.testing import CliRunner

import otsport
from otsport.app.book_file import BookFile
from otsport.app.cli import app
from otsport.app.folder import SAMPLE, new_folder, own_port, read_folder, this_folder
from otsport.app.lab import check_broker
from otsport.app.params import find_paper, read_paper, resolve
from otsport.app.runs import locked
from otsport.core.errors import BrokerError, DataError, FolderError, InputError, NoPrices, ParameterError, SettingsError
from otsport.core.settings import desk_folder, home as state_folder
from otsport.book.ledger import deposit
from otsport.data.prices import read_prices
from otsport.data.samples import history, sample
from otsport.data.shelf import keep
from otsport.data.store import open_store
from otsport.gateway.journal import received_orders
from run_support import FAULTLESS, command, contents, free_port, gateway, left_behind, otsport as typed, row_count, run_folder, status, verdict


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A new desk folder, in which we stand."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path
    monkeypatch.chdir(made)
    return made


def change(path, old, new) -> int:
    """Replace a text that occurs once; the line on which it stands."""
    text = path.read_text()
    assert text.count(old) == 1, (old, text.count(old))
    path.write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1 + (len(new) - len(new.lstrip("\n")))


def line_of(path, text) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_a_new_folder_works_as_it_stands(folder):
    desk = read_folder(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["accounts.yaml", "alerts.yaml", "book.yaml", "chains", "first_hour.ipynb", "my_strategy.ipynb", "prices"]
    assert [repr(s) if "mine" in repr(s) else s.name for s in desk.strategies()][:2] == ["momentum", "covered_call"]
    fields = {line.partition(":")[0] for line in (folder / "book.yaml").read_text().splitlines() if line and line[0] not in "# "}
    commented = {name for name in ("budgets", "rebalance", "objective_with", "constraints", "allocation", "on_clash") if f"{name}:" in (folder / "book.yaml").read_text()}  # blocks that a book does without
    assert fields | commented == set(BookFile.model_fields) and len(commented) == 6 and desk.profile.port == own_port(folder) != 4010


def test_the_strategy_notebook_runs(folder):
    code = [c["source"] for c in json.loads((folder / "my_strategy.ipynb").read_text())["cells"] if c["cell_type"] == "code"]
    names: dict = {}
    for source in code:
        exec("".join(source), names)
    assert len("".join(code[0]).splitlines()) <= 15
    assert names["dip_buyer"](names["known_now"]("2022-12-15"))[0].why.endswith("in 5 days")


def test_the_sample_says_what_the_paper_shows():
    """Nothing of the sample stands in code: the paper's cell shows what its book.yaml says."""
    paper = read_paper(find_paper("trading_day"))
    assert {n: str(v) for n, v in read_folder(SAMPLE).defaults().items()} == {n: str(paper.parameters[n].default) for n in paper.given}
    assert read_folder(SAMPLE).history.symbols == history().symbols and read_folder(SAMPLE).history.sectors == history().sectors


BOOK = [  # text of the file, what takes its place, and the words that tell it
    ("version: 1 ", "version: 2 ", "version = 2: the folder is of a newer otsport, this one reads up to 1: update otsport, nothing was touched"),
    ("portfolio: main", "portfolio: Main Book", "portfolio = 'Main Book': string should match pattern"),
    ("account: paper", "account: papers", "account = 'papers': accounts.yaml has no such profile: did you mean paper? there are paper"),
    ("capital: 1000000", "capital: -5", "capital = -5: input should be greater than 0: write dollars, for example 1000000"),
    ("capital: 1000000", "capital: lots", "capital = 'lots': input should be a valid decimal"),
    ("prices: sample", "prices: prices/mine.parquet", "prices = 'prices/mine.parquet': there is no such file"),
    ("universe: [AAPL", "universe: [AAPLE", "universe[1] = 'AAPLE': sample has no prices of it: did you mean AAPL?"),
    ("universe: [AAPL, AMD", "universe: [AMD, AMD", "universe[2] = 'AMD': it is listed twice"),
    ("  AMD: Information", "  AMMD: Information", "sectors.AMMD = 'Information Technology': AMMD is not in the universe: did you mean AMD?"),
    ("  - use: momentum", "  - use: momentun", "strategies[1].use = 'momentun': no strategy has this name: did you mean momentum?"),
    ("  - use: momentum", "  - usage: momentum", "strategies[1].usage = 'momentum': there is no such field here: did you mean use?"),
    ("{top: 8}", "{topp: 8}", "strategies[1].with: momentum takes no topp: did you mean top?"),
    ("{top: 8}", "{top: many}", "strategies[1].with: top of momentum is 'many': write a whole number from 1 upward, for example 8"),
    ("my_strategy.ipynb:dip_buyer", "my_strateg.ipynb:dip_buyer", "there is no file my_strateg.ipynb"),
    ("my_strategy.ipynb:dip_buyer", "my_strategy.ipynb:dip_byer", "my_strategy.ipynb defines no dip_byer: did you mean dip_buyer?"),
    ("with: {count: 3}", "with: {cuont: 3}", "dip_buyer takes no cuont: did you mean count? it takes count, days"),
    ("universe: [AAPL", "universe: [aapl", "sample has no prices of it: did you mean AAPL?"),
    ("allocation: 0.25", "allocation: 25", "strategies[3].allocation = 25: input should be less than or equal to 1: write a share from 0 to 1"),
    ("base_size: 0.10", "base_size: 10", "sizing.base_size = 10: input should be less than or equal to 1"),
    ("min_confidence: 0.6", "min_confidnce: 0.6", "sizing.min_confidnce = 0.6: there is no such field here: did you mean min_confidence?"),
    ("max_position_risk: 0.005", "max_position_risk: 0", "sizing.max_position_risk = 0: input should be greater than 0"),
    ("max_portfolio_risk: 0.05", "max_portfolio_risk: .nan", "sizing.max_portfolio_risk = nan"),
    ("objective: max_sharpe", "objective: max_shape", "objective = 'max_shape': did you mean max_sharpe? input should be 'max_sharpe' or 'min_variance'"),
    ("max_position_weight: 0.15", "max_position_weight: 15%", "limits.max_position_weight = '15%': input should be a valid number"),
    ("max_sector_weight: 0.35", "max_sector_wieght: 0.35", "limits.max_sector_wieght = 0.35: there is no such field here: did you mean max_sector_weight?"),
    ("max_gross: 1.0", "max_gross: 2.0", "limits.max_gross = 2.0: input should be less than or equal to 1"),
    ("max_order_weight: 0.20", "max_order_weight: yes", "limits.max_order_weight = 'yes'"),
    ("max_order_value: 250000", "max_order_value: 0", "limits.max_order_value = 0: input should be greater than 0: write dollars"),
    ("max_quote_age_seconds: 60", "max_quote_age_seconds: -1", "limits.max_quote_age_seconds = -1"),
    ("max_premium: 0.01", "max_premium: 1.5", "limits.max_premium = 1.5"),
    ("max_premium: 0.01", "max_margin: 30", "limits.max_margin = 30: input should be less than or equal to 1: write a share from 0 to 1, for example 0.3, or leave the line out"),
    ("run_date: 2022-12-28", "run_date: 28/12/2022", "schedule.run_date = '28/12/2022': a date is written YYYY-MM-DD"),
    ("sessions: 1 ", "sessions: 0 ", "schedule.sessions = 0: input should be greater than or equal to 1"),
    ("when: 08:30", "when: 10:30", "schedule.when = '10:30': string should match pattern"),
    ("when: 08:30", "when: 09:30", "schedule.when = '09:30': 09:30 is not before the open at 09:30"),
    ("  - use: covered_call\n", "  - {use: covered_call, with: {delta: 25}}\n", "strategies[2].with: delta of covered_call is 25: write above 0 and below 1, for example 0.25"),
    ("  - use: covered_call\n", "  - {use: covered_call, with: {min_days_left: 20}}\n", "strategies[2].with: min_days_left of covered_call is 20"),
    ("  - use: covered_call\n", "  - {use: covered_call, with: {dalta: 0.3}}\n", "strategies[2].with: covered_call takes no dalta: did you mean delta?"),
    ("on_strategy_error: go_on", "on_strategy_error: ignore", "on_strategy_error = 'ignore': input should be 'go_on' or 'stop'"),
    ("strategy_seconds: 30", "strategy_seconds: 0", "strategy_seconds = 0: input should be greater than 0: write seconds"),
    ("objective: max_sharpe", "objectiv: max_sharpe", "objectiv = 'max_sharpe': there is no such field here: did you mean objective?"),
    ("capital: 1000000", "portfolio: twice", "found duplicate key"),
    ("universe: [AAPL", "universe: AAPL", "line"),
    ("schedule:", "budgets: {totl: 0.02}\nschedule:", "budgets.totl = 0.02: there is no such field here: did you mean total?"),
    ("schedule:", "budgets: {total: 2}\nschedule:", "budgets.total = 2: input should be less than or equal to 1: write a share of NAV from 0 to 1"),
    ("schedule:", "budgets: {metric: var95}\nschedule:", "budgets.metric = 'var95': did you mean var_95? input should be 'volatility' or 'var_95'"),
    ("schedule:", "budgets: {levels: [{over: sectr}]}\nschedule:", "budgets.levels[1].over = 'sectr': did you mean sector? input should be 'strategy' or 'sector'"),
    ("schedule:", "budgets: {levels: [{over: sector, allocation: equl}]}\nschedule:", "budgets.levels[1].allocation = 'equl': did you mean equal?"),
    ("schedule:", "budgets: {levels: [{over: sector}, {over: sector}]}\nschedule:", "sector stands twice: give each level once"),
    ("schedule:", "budgets: {levels: [{over: strategy, allocation: custom, scores: {momentum: 0.5}}]}\nschedule:", "custom shares over strategy sum to 0.5: they sum to 1"),
    ("schedule:", "budgets: {levels: [{over: strategy, allocation: strategy, scores: {momentm: 1.2}}]}\nschedule:", "there is no strategy momentm: did you mean momentum?"),
    ("schedule:", "budgets: {levels: [{over: strategy, allocation: custom}]}\nschedule:", "allocation custom needs scores"),
    ("schedule:", "budgets: {regimes: {crises: 0.5}}\nschedule:", "did you mean crisis? input should be 'calm' or 'normal'"),
]


@pytest.mark.parametrize("old, new, words", BOOK, ids=[f"{i}-{new.strip()[:24]}" for i, (_, new, _) in enumerate(BOOK)])
def test_a_mistake_in_the_book_is_told_with_its_line(folder, old, new, words):
    line = change(folder / "book.yaml", old, new)
    with pytest.raises(FolderError) as caught:
        this_folder()
    assert str(caught.value).startswith(f"book.yaml, line {line}: ") and words in str(caught.value), str(caught.value)


def test_budgets_are_absent_by_default_and_part_of_the_rules_of_a_day_where_they_are(folder):
    assert this_folder().book.budgets is None and "budgets" not in dict(this_folder().rules)
    change(folder / "book.yaml", "schedule:", "budgets: {levels: [{over: sector, allocation: volatility}, {over: symbol}]}\nschedule:")
    made = this_folder()
    assert '"metric":"var_95"' in dict(made.rules)["budgets"] and '"total":0.02' in dict(made.rules)["budgets"]
    budgets = made.own_settings(made.broker()).budgets
    assert (budgets.total, budgets.rebalance_at, budgets.violation_at, [level.over for level in budgets.levels]) == (0.02, 0.10, 1.20, ["sector", "symbol"])


def test_many_mistakes_of_one_kind_are_one(folder):
    file = folder / "book.yaml"
    text = file.read_text()
    begin, end = text.index("universe: ["), text.index("# Sector of")
    file.write_text(text[:begin] + "universe: [ZULU, YANK, XRAY, WHIS, VICT]\n\n" + text[end:])
    with pytest.raises(FolderError) as caught:
        this_folder()
    assert "sample has prices of none of its 5 symbols: write `universe: all`" in str(caught.value) and str(caught.value).count("line") == 1
    strange = "".join(f"  {s}: Energy\n" for s in ("ZULU", "YANK", "XRAY", "WHIS"))
    file.write_text(text.replace("sectors:\n", f"sectors:\n{strange}"))
    with pytest.raises(FolderError) as caught:
        this_folder()
    assert "4 of its symbols are not in the universe (there are ZULU, YANK, XRAY ...)" in str(caught.value) and str(caught.value).count("line") == 2


ACCOUNTS = [
    ("account: DU123456", "account: paper1", "profiles.paper.account = 'paper1': string should match pattern"),
    ("account: DU123456", "type: live\n    account: DU123456", "profiles.paper.type = 'live': account DU123456 is paper: write type: paper"),
    ("account: DU123456", "type: paper\n    account: U1234567", "profiles.paper.type = 'paper': account U1234567 is live: write type: live"),
    ("account: DU123456", "accounts: [DU123456, U1234567]", "profiles.paper.accounts: DU123456 is paper, U1234567 is live: a log-in has accounts of one type"),
    ("account: DU123456", "status: off\n    account: DU123456", "profiles.paper.status = 'off': input should be 'active' or 'disabled'"),
    ("account: DU123456", "requests_per_second: 48\n    account: DU123456", "profiles.paper.requests_per_second = 48: input should be less than or equal to 47"),
    ("client_id: 1", "client_id: -1", "profiles.paper.client_id = -1: input should be greater than or equal to 0"),
    ("simulated: true", "simulated: perhaps", "profiles.paper.simulated = 'perhaps': input should be a valid boolean"),
    ("seed: 7", "sead: 7", "profiles.paper.sead = 7: there is no such field here: did you mean seed?"),
    ("    port: ", "    port: 9", "profiles.paper.port = 92"),
    ("version: 1", "version: 7", "version = 7: the folder is of a newer otsport"),
]


@pytest.mark.parametrize("old, new, words", ACCOUNTS, ids=[new.strip() for _, new, _ in ACCOUNTS])
def test_a_mistake_in_the_accounts_is_told_with_its_line(folder, old, new, words):
    words = "profiles.paper.port = 9" if "port" in old else words
    line = change(folder / "accounts.yaml", old, new)
    with pytest.raises(FolderError) as caught:
        this_folder()
    assert str(caught.value).startswith(f"accounts.yaml, line {line}: ") and words in str(caught.value), str(caught.value)


def test_a_missing_field_and_several_mistakes_are_told_at_once(folder):
    change(folder / "book.yaml", "capital: 1000000", "capitol: 1000000")
    with pytest.raises(FolderError) as caught:
        this_folder()
    assert "capitol = 1000000: there is no such field here: did you mean capital?" in str(caught.value)
    assert "the field capital is missing: write capital: dollars, for example 1000000" in str(caught.value)


def test_sectors_are_asked_for_where_a_rule_needs_them(folder):
    change(folder / "book.yaml", "  AMD: Information Technology\n", "")
    with pytest.raises(FolderError, match="limits.max_sector_weight = 0.35: this rule needs the sector of AMD: write `AMD: Information Technology`"):
        this_folder()
    change(folder / "book.yaml", "  max_sector_weight: 0.35    # one sector; leave it out and no sectors are needed\n", "")
    assert this_folder().defaults()["max_sector_weight"] == 1.0


def own_prices(folder, days: int, last="2022-12-28"):
    """A table of closes of two names of the user's own, as `otsport data add` keeps it."""
    closes = sample("sp500_20_daily")[["KO", "PEP"]].loc[:last].tail(days).rename(columns={"KO": "COLA", "PEP": "FIZZ"})
    keep(read_prices(closes, name="mine", adjusted="all"), folder)
    for old, new in (("prices: sample", "prices: prices/mine.parquet"), ("  max_sector_weight: 0.35    # one sector; leave it out and no sectors are needed\n", "")):
        change(folder / "book.yaml", old, new)
    text = (folder / "book.yaml").read_text()
    begin, end = text.index("universe: ["), text.index("# Who says")
    (folder / "book.yaml").write_text(text[:begin] + "universe: all\n\n" + text[end:])


def test_prices_that_end_too_early_name_the_command_that_helps(folder):
    own_prices(folder, 600, "2022-12-01")
    paper = read_paper(find_paper("trading_day"))
    with pytest.raises(NoPrices, match="choose a run_date from .* to 2022-12-01; add later or earlier ones with `otsport data add FILE --as mine --replace`"):
        resolve(paper, {})
    assert str(resolve(paper, {"run_date": "2022-12-01"}).run_date) == "2022-12-01"


def test_prices_that_are_too_short_name_what_is_needed(folder):
    own_prices(folder, 300)
    with pytest.raises(NoPrices, match="the closes in prices/mine.parquet have 300 sessions, .* 505 must lie before .*otsport data add"):
        resolve(read_paper(find_paper("trading_day")), {})


def test_prices_that_nobody_has_looked_through_are_not_traded(folder):
    own_prices(folder, 600)
    sample("sp500_20_daily").to_parquet(folder / "prices" / "mine.parquet")
    with pytest.raises(DataError, match="prices/mine.parquet was not written by `otsport data add`"):
        this_folder().history


def test_parameters_of_a_run_stay_strict(folder):
    paper = read_paper(find_paper("trading_day"))
    assert str(resolve(paper, {"capital": "5000"}).capital) == "5000" and resolve(paper, {}).port == own_port(folder)
    with pytest.raises(ParameterError, match="did you mean 'capital'"):
        resolve(paper, {"capitol": "5000"})
    rules = dict(resolve(paper, {"base_size": "0.2"}).rules)
    assert rules["base_size"] == "0.2" and rules["strategies"].startswith("momentum {'top': 8}; covered_call; my_strategy.ipynb:dip_buyer")


def test_a_folder_is_found_from_below_and_its_state_is_its_own(folder, monkeypatch, tmp_path):
    (folder / "notes" / "deep").mkdir(parents=True)
    monkeypatch.chdir(folder / "notes" / "deep")
    assert desk_folder() == folder and state_folder() == folder / "state"
    monkeypatch.setenv("OTSPORT_HOME", str(tmp_path / "elsewhere"))
    with pytest.raises(SettingsError, match="is a desk folder, whose state is .* unset OTSPORT_HOME"):
        state_folder()
    monkeypatch.chdir(tmp_path)
    assert desk_folder() is None and state_folder() == tmp_path / "elsewhere"


HAND = "date,KO,PEP\n2022-12-27,63.1,180.2\n2022-12-28,62.9,181.0\n"
ADD = ("data", "add", "../hand.csv", "--adjusted", "all")
STATE = "the state folder {folder}/state cannot be made (Permission denied): chmod u+w"
READ_ONLY = [
    (("run", "trading_day"), SettingsError, STATE), (("db", "verify"), SettingsError, STATE),
    (("gateway", "--port", str(free_port()), "--session", "2022-12-28"), SettingsError, STATE),
    (ADD, FolderError, "{folder}/prices/hand.parquet cannot be written (Permission denied): chmod u+w {folder}/prices"),
]


@pytest.mark.skipif(os.name == "nt" or shutil.which("setpriv") is None and os.geteuid() == 0, reason="root writes everywhere: setpriv drops its rights")
@pytest.mark.parametrize("words, error, told", READ_ONLY, ids=[" ".join(w[:2]) for w, _, _ in READ_ONLY])
def test_a_folder_that_may_not_be_written_is_told_in_one_line(folder, words, error, told):
    (folder.parent / "hand.csv").write_text(HAND)
    for place in (folder / "prices", folder):
        place.chmod(0o555)
    before, drop = contents(folder), ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--ambient-caps=-all"] if os.geteuid() == 0 else []
    try:
        done = subprocess.run([*drop, *command(*words)], cwd=folder, capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != "OTSPORT_HOME"})
    finally:
        for place in (folder, folder / "prices"):
            place.chmod(0o755)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == error.exit_code and len(lines) == 1 and told.format(folder=folder) in lines[0], done.stderr
    assert contents(folder) == before and not (folder / "state").exists()


TYPED = (("run", "trading_day"), ("schedule",), ("gateway", "--port", str(free_port()), "--session", "2022-12-28"), ADD)


@pytest.mark.parametrize("file", ["book.yaml", "accounts.yaml"])
@pytest.mark.parametrize("words", TYPED, ids=[" ".join(w[:2]) for w in TYPED])
def test_a_folder_of_a_newer_version_is_touched_by_no_command(folder, words, file):
    """Nor by a cell."""
    if file == "accounts.yaml" and words is ADD:
        pytest.skip("where prices are kept does not depend on the accounts")
    (folder.parent / "hand.csv").write_text(HAND)
    (folder / file).write_text((folder / file).read_text().replace("version: 1", "version: 2"))
    before = contents(folder)
    done = CliRunner().invoke(app, list(words), catch_exceptions=True)
    assert isinstance(done.exception, FolderError) and "version = 2: the folder is of a newer otsport, this one reads up to 1: update otsport, nothing was touched" in str(done.exception), done
    with pytest.raises(FolderError, match=f"{file}, line .*newer otsport"):
        otsport.open_book()
    assert contents(folder) == before


def test_a_strategy_file_that_is_no_python_is_told_with_its_line(folder):
    (folder / "mine.py").write_text("def turn(known):\n    return [\n")
    change(folder / "book.yaml", "my_strategy.ipynb:dip_buyer", "mine.py:turn")
    with pytest.raises(FolderError, match=r"book.yaml, line .*strategies\[3\].use = 'mine.py:turn': mine.py is not Python at line 2.*mend that line"):
        this_folder()


def test_new_refuses_what_is_there_and_leaves_nothing_half_done(folder, tmp_path):
    with pytest.raises(FolderError, match="is there and not empty"):
        new_folder(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="cannot be made"):
        new_folder(tmp_path / "file" / "desk")
    with pytest.raises(FolderError, match="holds no otsport.db"):
        new_folder(tmp_path / "other", tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["desk", "file"]


def old_state(folder, account="DU7654321"):
    """A state folder with a book that was begun."""
    ts = datetime(2022, 12, 27, 12, tzinfo=timezone.utc)
    folder.mkdir(mode=0o700)
    with open_store(folder / "otsport.db") as store, store.unit(ts) as unit:
        unit.add_portfolio("mine", account)
        unit.book(deposit(account, "mine", Decimal(50_000), ts, "capital of mine"))
    return folder


def test_a_state_folder_of_before_is_taken_along(tmp_path, monkeypatch):
    """It is moved, not copied: two copies of one book would both send its orders."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    old = old_state(tmp_path / "old")
    with locked(old / "desk.lock", "the desk"), pytest.raises(FolderError, match="is in use by .*nothing was moved"):
        new_folder(tmp_path / "desk", old)
    made = new_folder(tmp_path / "desk", old)
    assert not old.exists() and (made.book.portfolio, made.profile.account, made.book.capital) == ("mine", "DU7654321", 50_000)
    assert [e.use for e in made.book.strategies] == ["momentum", "covered_call"]
    with open_store(made.path / "state" / "otsport.db") as store:
        assert store.cash("mine") == 50_000 and store.verify() > 0


def test_a_state_that_fits_no_folder_is_not_moved(tmp_path):
    old = old_state(tmp_path / "old", "DU1")
    with pytest.raises(FolderError, match="accounts.yaml, line .*account = 'DU1'"):
        new_folder(tmp_path / "desk", old)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old"] and (old / "otsport.db").is_file()


# Runs

def run_in(folder, *arguments) -> subprocess.CompletedProcess:
    return typed(folder / "state", "run", "trading_day", *arguments, cwd=folder)


def books(folder):
    with open_store(folder / "state" / "otsport.db") as store:
        return {f.exec_id for f in store.fills("main")}, [s.nav for s in store.snapshots("main")], {r.order.strategy for r in store.orders("main")}


def test_two_folders_trade_side_by_side_on_two_gateways(tmp_path, monkeypatch):
    """The one trades the sample with a strategy of its own, the other two symbols of its own prices: nothing of one is in the other."""
    one, two = new_folder(tmp_path / "one").path, new_folder(tmp_path / "two").path
    own_prices(two, 700)
    change(two / "book.yaml", "  - use: momentum\n    with: {top: 8}    # the best stocks of the last 12 months without the last one\n  - use: covered_call\n", "")
    change(two / "book.yaml", "objective: max_sharpe", "objective: sizes")
    (two / "mine.py").write_text("from otsport.strategy.words import buy\n\ndef hold(known):\n    return [buy(s, confidence=0.9, why='always') for s in known.symbols]\n")
    change(two / "book.yaml", "my_strategy.ipynb:dip_buyer\n    with: {count: 3}\n    allocation: 0.25", "mine.py:hold")
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(run_in, (one, two)))
    assert [d.returncode for d in done] == [0, 0], [d.stderr for d in done]
    (fills, navs, tags), (fills_2, navs_2, tags_2) = books(one), books(two)
    assert fills and fills_2 and tags == {"momentum", "covered_call", "dip_buyer"} and tags_2 == {"hold"} and navs != navs_2
    for folder in (one, two):
        assert verdict(folder / "state") == FAULTLESS and left_behind(folder / "state") == []
        assert status(run_folder(folder / "state"))["parameters"]["port"] == own_port(folder)
    with open_store(two / "state" / "otsport.db") as store:
        assert {r.order.contract.symbol for r in store.orders("main")} == {"COLA", "FIZZ"}
    again = run_in(two)
    assert again.returncode == 0 and "nothing was done again" in again.stdout


@contextmanager
def gateway_in(folder, *words):
    """`otsport gateway` in a desk folder, as a process of its own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("OTSPORT_H")}
    process = subprocess.Popen(command("gateway", "--session", "2022-12-28", "--clock", "heartbeat", *words), cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert " ready on " in process.stdout.readline()
        yield process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.mark.parametrize("by_hand", [False, True], ids=["of_a_run", "by_hand"])
def test_a_port_that_another_folder_holds_is_refused(tmp_path, monkeypatch, by_hand):
    """To a run, to a book in a notebook, and to what is typed: the account has the same name there, and would take the order."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    one, two = new_folder(tmp_path / "one").path, new_folder(tmp_path / "two").path
    port = own_port(one)
    monkeypatch.chdir(two)
    with gateway_in(one, *(() if by_hand else ("--port", port, "--owner", one / "state", "--folder", one))) as process:
        begun = f"port {port} belongs to the simulated gateway of the state folder {one / 'state'} (process {process.pid}, begun at session 2022-12-28{', started by hand' if by_hand else ''})"
        written = contents(one / "state")
        if not by_hand:
            done = run_in(two, "-p", f"port={port}")
            assert done.returncode == 30 and begun in done.stderr
        with pytest.raises(BrokerError, match=re.escape(begun)) as told:
            asyncio.run(otsport.open_book(port=port).connect())
        assert re.search(r"not taken in hand, nothing was sent; give it a port of its own \(`port: (\d+)` in accounts.yaml, or open_book\(port=\1\)\), where `otsport gateway --port \1`", str(told.value))
        typed_order = CliRunner().invoke(app, ["desk", "place", "BUY", "1", "KO", "--limit", "60", "--reason", "x", "--port", str(port)])
        assert isinstance(typed_order.exception, BrokerError) and begun in str(typed_order.exception) and "with --port or as `port:` in accounts.yaml" in str(typed_order.exception)
        assert contents(one / "state") == written and row_count(two / "state") == 0 and not (two / "state" / "gateway").exists()
        monkeypatch.chdir(one)
        check_broker("127.0.0.1", port)  # its own
        if by_hand:
            asyncio.run(own_day(port))
            words = ["desk", "place", "BUY", "10", "KO", "--limit", "50", "--reason", "typed twice"]
            typed_orders = [CliRunner().invoke(app, [*words, *more]) for more in ([], [], ["--again"])]
            assert [t.exit_code for t in typed_orders] == [0, InputError.exit_code, 0] and "refused (REPEATED): BUY 10 KO at 50 [DU123456] was sent at" in typed_orders[1].stdout
            assert len(received_orders(one / "state" / "gateway" / "simulated.jsonl")) == 2


async def own_day(port) -> None:
    """The book of the folder whose gateway it is."""
    async with otsport.open_book() as book:
        assert book.place.settings.broker.port == port and book.cash == 1_000_000


def test_a_broken_book_stops_a_run_before_anything_is_done(folder):
    line = change(folder / "book.yaml", "max_gross: 1.0", "max_gros: 1.0")
    done = typed(folder / "state", "run", "trading_day", cwd=folder)
    told = done.stderr.strip().splitlines()
    assert (done.returncode, len(told)) == (FolderError.exit_code, 1) and f"book.yaml, line {line}: limits.max_gros = 1.0: there is no such field here: did you mean max_gross?" in told[0]
    assert not (folder / "state").exists()


def test_the_book_of_a_folder_opens_at_its_own_broker_with_its_own_rules(folder, tmp_path):
    """Two accounts of one name at two gateways: an order goes to the folder's own, whatever listens elsewhere."""
    async def session():
        book = await otsport.open_book().connect()
        ticket = await book.buy("KO", 10, limit=1)
        ended = await book.cancel(ticket)
        with pytest.raises(InputError, match="COLA is not one of the 20 symbols"):
            await book.buy("COLA", 10, limit=1)
        await book.disconnect()
        return book, ticket, ended
    with gateway(tmp_path / "theirs", own_port(folder), "DU123456"), gateway(tmp_path / "other", free_port(), "DU123456"):
        book, ticket, ended = asyncio.run(session())
    assert ticket.accepted and ended.accepted and list(book.orders["state"]) == ["cancelled"]
    assert book.place.settings.limits.max_sector_weight == 0.35 and book.place.file == folder / "state" / "otsport.db"
    sent = {name: [r.ticket.order_ref for r in received_orders(tmp_path / name / "gateway" / "simulated.jsonl")] for name in ("theirs", "other")}
    assert sent == {"theirs": [ticket.subject], "other": []}
    change(folder / "accounts.yaml", "DU123456", "DU654321")
    with pytest.raises(InputError, match="belongs to account DU123456, not DU654321: name that account in accounts.yaml"):
        otsport.open_book()
