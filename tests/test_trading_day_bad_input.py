"""Bad input ends in one clear line and an exit code of its own, with nothing half done."""
import importlib
import json
import pkgutil
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest

import otsport as otsport_package
from otsport.app import runs
from otsport.app.cli_run import print_summary
from otsport.app.params import find_paper
from otsport.core.errors import all_errors
from otsport.gateway.frames import WireError
from run_support import (
    contents, finished_runs, free_port, gateway, left_behind, listens, otsport, row_count, status, trading_day,
)

for module in pkgutil.walk_packages(otsport_package.__path__, "otsport."):  # an error lives beside what raises it, in any room
    if not module.name.endswith("__main__") and ".migrations" not in module.name:
        importlib.import_module(module.name)
CODE = {name: error.exit_code for name, error in all_errors().items() if error.__module__.startswith("otsport.")}


def check_refused(done: subprocess.CompletedProcess, error: str, *words: str) -> None:
    """One line on standard error that begins with the name of the error and holds the words, and the exit code of that error."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"otsport: {error}: "), done.stderr
    assert [word for word in words if word not in lines[0]] == [], lines[0]
    assert done.returncode == CODE[error]
    assert done.stdout == ""


def check_nothing_done(home) -> None:
    """No row, no folder that looks finished, no process; what was begun says itself that it failed."""
    assert row_count(home) == 0
    assert finished_runs(home) == []
    assert left_behind(home) == []
    found = [status(p) for p in (home / "runs").glob("trading_day/*.partial")]
    assert [s for s in found if s["status"] != "failed" or not s["exit_code"] > 1 or "finished" not in s] == []


def test_each_kind_of_failure_has_an_exit_code_of_its_own():
    assert len(set(CODE.values())) == len(CODE) and 0 not in CODE.values()
    assert CODE["WireError"] == WireError.exit_code  # an error may live outside core, with a code of its own all the same
    kinds = ["ParameterError", "NotebookError", "NotASession", "NoPrices", "AccountNotServed", "BrokerUnreachable", "DiskFull", "StoreError", "AuditBroken", "RunLocked"]
    assert len({CODE[kind] for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("given, error, words", [
    ("leverage=2", "ParameterError", ["no parameter 'leverage'", "It has run_date, account, "]),
    ("sesions=2", "ParameterError", ["no parameter 'sesions'", "did you mean 'sessions'?"]),
    ("run_dir=/tmp", "ParameterError", ["no parameter 'run_dir'", "It has run_date"]),
    ("parameter_model=a:B", "ParameterError", ["no parameter 'parameter_model'"]),
    ("run_date=2022-12-26", "NotASession", ["Monday 2022-12-26", "2022-12-23 and 2022-12-27"]),
    ("run_date=2022-12-24", "NotASession", ["Saturday 2022-12-24", "2022-12-23 and 2022-12-27"]),
    ("run_date=2023-01-03", "NoPrices", ["run_date 2023-01-03", "prices run from 1990-01-02 to 2022-12-28", "from 1991-12-31 to 2022-12-28"]),
    ("run_date=1989-01-03", "NoPrices", ["run_date 1989-01-03", "choose a run_date from 1991-12-31 to 2022-12-28"]),
    ("run_date=1991-12-30", "NoPrices", ["run_date 1991-12-30", "505 sessions", "choose a run_date from 1991-12-31 to 2022-12-28"]),
    ("run_date=soon", "ParameterError", ["run_date = 'soon'", "YYYY-MM-DD"]),
    ("run_date=28/12/2022", "ParameterError", ["run_date = '28/12/2022'", "YYYY-MM-DD, for example 2022-12-28"]),
    ("run_date=20221228", "ParameterError", ["run_date = '20221228'", "YYYY-MM-DD"]),
    ("run_date=2022-12-28T00:00", "ParameterError", ["YYYY-MM-DD"]),
    ("run_date=2022-02-30", "ParameterError", ["run_date = '2022-02-30'", "no such day"]),
    ("sessions=abc", "ParameterError", ["sessions = 'abc'", "valid integer"]),
    ("sessions=0", "ParameterError", ["sessions = '0'", "greater than or equal to 1"]),
    ("sessions=2501", "ParameterError", ["sessions = '2501'", "less than or equal to 2500"]),
    ("sessions=abc capital=-5", "ParameterError", ["sessions = 'abc'", "capital = '-5'", "greater than 0"]),
    ("capital=nan", "ParameterError", ["capital = 'nan'", "finite number"]),
    ("base_size=nan", "ParameterError", ["base_size = 'nan'", "finite number"]),
    ("max_order_value=inf", "ParameterError", ["max_order_value = 'inf'", "finite number"]),
    ("account=12", "ParameterError", ["account = '12'", "for example DU123456"]),
    ("account=DU1,DU2", "ParameterError", ["account = 'DU1,DU2'", "for example DU123456"]),
    ("account=XY123456", "AccountNotServed", ["XY123456", "DU"]),
    ("account=U1234567", "AccountNotServed", ["account U1234567", "is live", "paper account"]),
    ("portfolio=../x", "ParameterError", ["portfolio = '../x'", "for example main"]),
    ("port=70000", "ParameterError", ["port = '70000'", "less than or equal to 65535"]),
    ("start_gateway=perhaps", "ParameterError", ["start_gateway = 'perhaps'", "valid boolean"]),
])
def test_bad_parameter_is_refused_before_anything_is_written(home, given, error, words):
    with pytest.raises(all_errors()[error]) as refused:
        runs.run("trading_day", dict(text.split("=") for text in given.split()))
    assert type(refused.value).__name__ == error and [word for word in words if word not in str(refused.value)] == []
    assert not home.exists() or contents(home) == {}


@pytest.mark.parametrize("arguments, error, words", [
    (["-p", "sesions=2"], "ParameterError", ["no parameter 'sesions'", "did you mean 'sessions'?"]),
    (["-p", "sessions"], "ParameterError", ["'sessions' is not of the form key=value", "-p sessions=5"]),
    (["-p", "seed=1", "-p", "seed=2"], "ParameterError", ["'seed' is given twice"]),
    (["-p", "run_date=2022-12-26"], "NotASession", ["Monday 2022-12-26", "2022-12-23 and 2022-12-27"]),
], ids=lambda value: " ".join(value[1::2]) if isinstance(value, list) and "-p" in value else "refused")
def test_command_refuses_in_one_line(tmp_path, arguments, error, words):
    home = tmp_path / "home"
    check_refused(otsport(home, "run", "trading_day", *arguments), error, *words)
    assert not home.exists() or contents(home) == {}


def untagged(path):
    notebook = json.loads(find_paper("trading_day").read_text())
    for cell in notebook["cells"]:
        cell["metadata"].pop("tags", None)
    path.write_text(json.dumps(notebook))


@pytest.mark.parametrize("name, write, words", [
    ("30_copy.ipynb", untagged, ["30_copy.ipynb has 0 cells tagged `parameters`", "tag the cell"]),
    ("copy.ipynb", lambda path: path.write_text("not a notebook"), ["copy.ipynb is not a notebook"]),
    ("trading_dya", lambda path: None, ["no production notebook is called 'trading_dya'", "did you mean trading_day?", "ends in .ipynb"]),
])
def test_notebook_that_cannot_be_run_safely_is_refused(tmp_path, name, write, words):
    home, path = tmp_path / "home", tmp_path / name
    write(path)
    check_refused(otsport(home, "run", str(path) if path.exists() else name), "NotebookError", *words)
    assert contents(home) == {} if home.exists() else True


def test_account_that_the_gateway_does_not_serve_is_refused(tmp_path):
    home, port = tmp_path / "home", free_port()
    with gateway(tmp_path / "other", port, "DU999999") as other:
        check_refused(trading_day(home, port), "AccountNotServed", f"127.0.0.1:{port} serves DU999999, not DU123456", "log the right user in")
        check_nothing_done(home)
        assert other.poll() is None and listens(port)  # a gateway that the run has not started is none of its business


def test_gateway_that_is_not_there_is_told(tmp_path):
    home, port = tmp_path / "home", free_port()
    done = trading_day(home, port, start_gateway=False)
    check_refused(done, "BrokerUnreachable", f"127.0.0.1:{port}", "nothing listens there", f"otsport gateway --port {port}")
    check_nothing_done(home)


@contextmanager
def stranger():
    """A server that answers whatever it hears like a web server, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def work():
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    line.recv(100)
                    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_something_else_at_the_port_is_told(tmp_path):
    home = tmp_path / "home"
    with stranger() as port:
        check_refused(trading_day(home, port), "BrokerUnreachable", f"127.0.0.1:{port}", "handshake", "correct the profile")
    check_nothing_done(home)


def test_file_that_is_no_database_is_refused_and_kept(tmp_path):
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    (home / "otsport.db").write_bytes(content := bytes(range(256)) * 40)
    check_refused(trading_day(home, port), "StoreError", f"{home / 'otsport.db'} is not a database", "give the path of an otsport store")
    assert (home / "otsport.db").read_bytes() == content
    assert finished_runs(home) == [] and left_behind(home) == [] and not listens(port)


@pytest.fixture(scope="module")
def day_before(tmp_path_factory):
    """A state folder in which the session before the last one is finished."""
    home = tmp_path_factory.mktemp("before") / "home"
    done = trading_day(home, free_port(), run_date="2022-12-27")
    assert done.returncode == 0, done.stderr
    return home


def damage(path):
    """Overwrite pages in the middle of a database."""
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 20] = b"\xa5" * 4096 * 17
    path.write_bytes(content)


@pytest.mark.parametrize("change, words", [
    ({"seed": 8}, ["session 2022-12-27", "seed was 7, not 8"]),
    ({"base_size": 0.05}, ["session 2022-12-27", "base_size was 0.1, not 0.05"]),
    ({"account": "DU7654321"}, ["portfolio main", "account was DU123456, not DU7654321"]),
    ({"capital": 500_000}, ["portfolio main", "capital was 1000000.00, not 500000.00"]),
    ({"run_date": "2022-12-23"}, ["portfolio main is already at 2022-12-27", "2022-12-23", "later run_date"]),
], ids=lambda value: " ".join(value) if isinstance(value, dict) else "")
def test_book_of_other_parameters_is_refused(day_before, tmp_path, change, words):
    home, port = tmp_path / "home", free_port()
    shutil.copytree(day_before, home)
    before = contents(home)
    check_refused(trading_day(home, port, **{"run_date": "2022-12-27"} | change), "InputError", *words)
    assert contents(home) == before and left_behind(home) == [] and not listens(port)


@pytest.mark.parametrize("harm, error, words", [
    (lambda home: damage(home / "otsport.db"), "StoreError", ["otsport.db", "malformed"]),
    (lambda home: (home / "otsport.db").unlink(), "AuditBroken", ["otsport.db", "audit.head"]),
    (lambda home: (home / "audit.key").unlink(), "AuditBroken", ["audit.key is missing", "backup"]),
], ids=["damaged", "missing", "key_missing"])
def test_damaged_store_is_refused_and_nothing_is_sent(day_before, tmp_path, harm, error, words):
    home, port = tmp_path / "home", free_port()
    shutil.copytree(day_before, home)
    harm(home)
    journal = (home / "gateway" / "simulated.jsonl").read_bytes()
    check_refused(trading_day(home, port), error, *words)
    assert (home / "gateway" / "simulated.jsonl").read_bytes().count(b'"Received"') == journal.count(b'"Received"') > 0
    assert [p.name[:10] for p in finished_runs(home)] == ["2022-12-27"] and left_behind(home) == [] and not listens(port)


def test_brackets_of_a_strategys_line_are_printed_as_they_are(tmp_path, capsys):
    """The summary is text: `[...]` in it is no style of the terminal."""
    print_summary({"title": "Day", "rows": [["Stopped", "bad.py, line 4: return [buy('KO')]: it raised"]]}, tmp_path, False)
    assert "return [buy('KO')]: it raised" in capsys.readouterr().out
