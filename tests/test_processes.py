"""Ctrl-C, SIGTERM, a closed terminal, a second home on the port, a run beside another or beside a Lab session: nothing is lost, nothing of another's is stopped, one line says how to go on."""
import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import date
from decimal import Decimal

import nbformat
import psutil
import pytest

from otsport.app import gateway_process, notebooks
from otsport.app import trading_day as paper
from otsport.app.gateway_process import check_port, gateways, own_gateways
from otsport.app.params import find_paper
from otsport.app.signals import check_signals, ended_by_signals
from otsport.core import settings
from otsport.core.errors import BrokerError, Interrupted, ParameterError, RunLocked, SettingsError, StoreError
from otsport.data.store import open_store
from run_support import (
    FAULTLESS, ROOT, alive, command, contents, day_arguments, end_all, environment, finished_runs, free_port, gateway, left_behind, listens, status,
    trading_day, verdict, wait_for,
)

LONG = 600  # seconds that a step may take on a busy machine


@contextmanager
def kernel_held(home):
    """Time for others: the kernel that trades on a state folder is stopped meanwhile, as a session of a real day would last."""
    kernel, = (p for p in alive(home) if any("ipykernel" in word for word in p.cmdline()))
    kernel.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):  # a signal has ended it
            kernel.resume()


def in_session(home) -> bool:
    """Whether a run on the state folder is in the middle of a session."""
    return any(json.loads(p.read_text()).get("by") == "paper" for p in (home / "runs" / "trading_day").glob("*.partial/progress.json"))


def forget(home) -> None:
    """Remove what an ended run had told of its progress, which the next one would take for its own."""
    for told in (home / "runs" / "trading_day").glob("*.partial/progress.json"):
        told.unlink()


def begun(home, port: int, **streams) -> subprocess.Popen:
    """A run that is in the middle of its session."""
    forget(home)
    process = subprocess.Popen(command(*day_arguments(port)), env=environment(home), cwd=home.parent, **streams)
    try:
        wait_for(lambda: in_session(home) or process.poll() is not None, seconds=LONG)
        assert process.poll() is None, process.communicate()
    except BaseException:
        process.kill()
        raise
    return process


def check_ended(home, port: int, name: str, code: int, words: str) -> None:
    """What a signal leaves: a run that says itself that it failed, no process, and the store and journal as they were committed."""
    assert left_behind(home, seconds=60) == [] and not listens(port)
    partial, = (home / "runs" / name).glob("*.partial")
    found = status(partial)
    assert (found["status"], found["exit_code"]) == ("failed", code) and words in found["error"]
    assert finished_runs(home) == []


def one_line(error: str, kind: str) -> str:
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith(f"otsport: {kind}: "), error
    return lines[0]


def in_the_lab(home, port: int) -> subprocess.Popen:
    """The paper as it is run in the Lab: all its cells in a kernel, nothing injected."""
    notebook = nbformat.read(find_paper("trading_day"), as_version=4)
    cell, = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source = re.sub(r"(?m)^port = \d+", f"port = {port}", cell.source)
    nbformat.write(notebook, home.parent / "lab.ipynb")
    words = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "notebook", "--execute", "lab.ipynb", "--output", "lab_out.ipynb"]
    return subprocess.Popen(words, env=environment(home), cwd=home.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_a_day_that_is_ended_three_times_and_finished_in_the_lab(tmp_path, monkeypatch):
    """One day: a run that others get in the way of and that Ctrl-C ends, one that SIGTERM ends, one whose terminal is closed, and the Lab that finishes it."""
    home, port = tmp_path / "home", free_port()
    monkeypatch.setenv("OTSPORT_HOME", str(home))
    try:
        run = begun(home, port, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with kernel_held(home):
            check_others_are_refused(home, port, run)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=LONG)
        assert (run.returncode, out) == (130, "")
        line = one_line(err, "Interrupted")
        assert "ended by Ctrl-C at 2022-12-28 " in line and line.endswith(f"all that was committed is kept in {home}, and the same command goes on from there")
        check_ended(home, port, "trading_day", 130, "Ctrl-C")

        run = begun(home, port, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with kernel_held(home):
            run.send_signal(signal.SIGTERM)
            run.send_signal(signal.SIGTERM)  # an impatient one is not heard twice
            out, err = run.communicate(timeout=LONG)
        assert (run.returncode, out) == (143, "") and "ended by SIGTERM" in one_line(err, "Interrupted")
        check_ended(home, port, "trading_day", 143, "SIGTERM")

        check_closed_terminal(home, port)
        check_lab(home, port)
    finally:
        end_all(home)


def check_others_are_refused(home, port: int, run: subprocess.Popen) -> None:
    """A second run, the same paper under another name, a Lab session and another home: all refused, and the first one's gateway lives."""
    mine, = own_gateways()
    again = trading_day(home, port)
    assert again.returncode == 41 and f"(process {run.pid}): wait until that has ended" in one_line(again.stderr, "RunLocked")
    copy = home.parent / "33_same_day.ipynb"
    copy.write_bytes(find_paper("trading_day").read_bytes())
    other = trading_day(home, port, paper=copy)
    assert other.returncode == 41 and "the desk is in use" in one_line(other.stderr, "RunLocked") and f"`otsport run trading_day -p port={port}` (process {run.pid})" in other.stderr
    values = dict(run_date="2022-12-28", account="DU123456", portfolio="main", capital="1000000", sessions=1, seed=7, host="127.0.0.1", port=port, start_gateway=True,
                  base_size=0.1, max_portfolio_risk=0.05, max_sector_weight=0.35, max_order_value="250000", run_dir=str(home / "scratch"))
    with pytest.raises(RunLocked, match=f"process {run.pid}"):
        asyncio.run(paper.trade(paper.begin(**values)))
    abroad = home.parent / "abroad"
    refused = trading_day(abroad, port)
    line = one_line(refused.stderr, "BrokerError")
    assert refused.returncode == 30 and f"port {port} belongs to the simulated gateway of the state folder {home} (process {mine.process.pid}, begun at session 2022-12-28)" in line
    assert not listens(int(line.rpartition("-p port=")[2])) and left_behind(abroad) == []
    assert run.poll() is None and mine.process.is_running() and listens(port)


def check_closed_terminal(home, port: int) -> None:
    """SIGHUP as a terminal sends it that is closed: nobody reads what is said, all is put away."""
    forget(home)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(home.parent)
        os.execve(sys.executable, command(*day_arguments(port)), environment(home))
    wait_for(lambda: _drained(terminal) or in_session(home), seconds=LONG)
    with kernel_held(home):
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    check_ended(home, port, "trading_day", 129, "closed terminal")


def _drained(terminal: int) -> bool:
    """Read what a terminal shows, so that its writer never waits."""
    os.set_blocking(terminal, False)
    try:
        os.read(terminal, 1 << 16)
    except BlockingIOError:
        pass
    return False


def check_lab(home, port: int) -> None:
    """The Lab takes the day up and finishes it; a run beside it is refused until it has, and then reads the same books."""
    lab = in_the_lab(home, port)
    try:
        wait_for(lambda: (home / "desk.lock").stat().st_size or lab.poll() is not None, seconds=LONG)
        with kernel_held(home):
            beside = trading_day(home, port)
        assert beside.returncode == 41 and "the desk is in use" in one_line(beside.stderr, "RunLocked") and "a notebook or program (process " in beside.stderr
        assert lab.wait(LONG) == 0, lab.stderr.read()
    finally:
        lab.kill()
        lab.stderr.close()
    assert left_behind(home) == [] and not listens(port)
    before = contents(home / "gateway")
    done = trading_day(home, port)
    assert done.returncode == 0, done.stderr
    assert contents(home / "gateway") == before and verdict(home) == FAULTLESS
    folder = next(f for f in finished_runs(home) if f.name != "lab")
    assert status(folder)["summary"]["numbers"]["fills"] == 14


def test_gateway_of_another_home_is_not_driven_and_one_started_by_hand_is(tmp_path, monkeypatch):
    """A gateway that a killed run has left, seen from its own home and from another; told by its command line alone."""
    home, abroad, port = tmp_path / "home", tmp_path / "abroad", free_port()
    words = command("gateway", "--port", port, "--session", "1992-01-02", "--clock", "heartbeat", "--account", "DU123456=1000000", "--owner", home)
    left = subprocess.Popen(words, env=environment(home), stdout=subprocess.PIPE, text=True)
    try:
        assert " ready on " in left.stdout.readline()
        monkeypatch.setenv("OTSPORT_HOME", str(abroad))
        with pytest.raises(BrokerError, match=re.escape(f"port {port} belongs to the simulated gateway of the state folder {home} (process {left.pid}, begun at session 1992-01-02)")) as error:
            check_port("127.0.0.1", port)
        check_port("127.0.0.1", int(str(error.value).rpartition("=")[2]))
        before = contents(home)
        refused = trading_day(abroad, port)
        assert refused.returncode == 30 and str(home) in one_line(refused.stderr, "BrokerError")
        assert contents(home) == before and left.poll() is None
        paper_gone(abroad)
        monkeypatch.setenv("OTSPORT_HOME", str(home))
        check_port("127.0.0.1", port)
        assert [g.process.pid for g in own_gateways()] == [left.pid]
    finally:
        left.terminate()
        left.wait(60)
        left.stdout.close()
    with gateway(home, port, "DU123456") as by_hand:
        monkeypatch.setenv("OTSPORT_HOME", str(abroad))
        check_port("127.0.0.1", port)
        assert own_gateways() == [] and by_hand.pid in {g.process.pid for g in gateways()}


def paper_gone(home) -> None:
    """Nothing runs on a home, and nothing there looks finished."""
    assert alive(home) == [] and finished_runs(home) == []


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777])
def test_open_state_folder_is_closed(home, mode):
    home.mkdir()
    (home / "audit.key").touch(mode=0o600)
    home.chmod(mode)
    assert settings.home() == home and home.stat().st_mode & 0o777 == 0o700


def test_open_folder_of_other_things_is_refused_and_both_ways_out_work(home, monkeypatch):
    home.mkdir()
    (home / "chapter1.txt").touch()
    home.chmod(0o755)
    with pytest.raises(SettingsError, match=re.escape(f"chmod 700 {home}, or set OTSPORT_HOME to a folder of its own, for example {home / 'otsport'}")):
        settings.home()
    assert home.stat().st_mode & 0o777 == 0o755 and [p.name for p in home.iterdir()] == ["chapter1.txt"]
    monkeypatch.setenv("OTSPORT_HOME", str(home / "otsport"))
    assert settings.home().stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("OTSPORT_HOME", str(home))
    home.chmod(0o700)
    assert settings.home() == home


def untracked(repository) -> list[str]:
    """What git would add."""
    told = subprocess.run(["git", "status", "--porcelain", "--untracked-files=all"], cwd=repository, capture_output=True, text=True, check=True)
    return [line[3:] for line in told.stdout.splitlines()]


def test_state_folders_of_the_readme_are_no_part_of_the_repository_they_lie_in(tmp_path, monkeypatch):
    """And a folder that was there with other things in it keeps all that git sees of it."""
    names = re.findall(r"^OTSPORT_HOME=(\w+) otsport", (ROOT / "README.md").read_text(), re.MULTILINE)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    for name in names:
        monkeypatch.setenv("OTSPORT_HOME", name)
        with open_store() as store:
            assert store.path == tmp_path / name / "otsport.db"
    assert len(names) == 3 and untracked(tmp_path) == []
    (mine := tmp_path / "mine").mkdir(0o700)
    (mine / "notes.txt").touch()
    monkeypatch.setenv("OTSPORT_HOME", "mine")
    settings.home()
    assert untracked(tmp_path) == ["mine/notes.txt"]


@pytest.mark.parametrize("mode", [0o666, 0o640, 0o602])
def test_audit_key_that_others_may_use_is_refused_until_it_is_closed(home, mode):
    with open_store():
        key = home / "audit.key"
    key.chmod(mode)
    with pytest.raises(StoreError, match=f"mode {mode:o}.*chmod 600") as error, open_store():
        raise AssertionError("it opened")
    subprocess.run(re.search(r"chmod 600 \S+(?=,)", str(error.value)).group(0), shell=True, check=True)
    with open_store() as store:
        store.verify()


def test_a_process_that_was_told_to_ignore_signals_goes_on(tmp_path):
    """`nohup` and `&` of a shell: what the parent ignores stays ignored."""
    code = "import os, signal\nfrom otsport.app.signals import ended_by_signals\nwith ended_by_signals():\n    os.kill(os.getpid(), signal.SIGHUP)\nprint('on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_signal_whose_exception_was_swallowed_still_ends_the_command(monkeypatch, tmp_path):
    """An import with a bare `except`, a destructor: who ate the first signal would make the command deaf, for no second one is heard."""
    with pytest.raises(Interrupted, match="ended by SIGTERM"), ended_by_signals():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # not heard
        check_signals()
    with ended_by_signals():
        check_signals()  # forgotten with its command

    killed = threading.Event()

    def long_notebook(paper, values, out, ended, over, **options):
        killed.wait(60)
        over.set()

    monkeypatch.setattr(notebooks, "_papermill", long_notebook)
    monkeypatch.setattr(notebooks, "_kill", lambda managers: killed.set())
    with pytest.raises(Interrupted, match="ended by a closed terminal"), ended_by_signals():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGHUP)
        notebooks.run_notebook(None, {}, tmp_path / "out.ipynb")
    ran, run_out = [], lambda paper, values, out, ended, over, **options: (over.wait(0.7), ran.append(out), over.set())
    monkeypatch.setattr(notebooks, "_papermill", run_out)
    notebooks.run_notebook(None, {}, tmp_path / "out.ipynb")  # negative control: without a signal it is waited for, longer than the signals are looked for
    assert ran == [tmp_path / "out.ipynb"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_run_does_not_open_its_gateway_to_other_machines(host, tmp_path, monkeypatch):
    monkeypatch.setenv("OTSPORT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(gateway_process, "listens", lambda *_: False)
    monkeypatch.setattr(gateway_process, "start", lambda command: pytest.fail(f"started: {command}"))
    with pytest.raises(ParameterError, match=f"host = '{host}'.*serves this machine alone.*--host {host} --port 4010.*start_gateway=False"):
        with gateway_process.served(host, 4010, date(2022, 12, 28), "DU1", Decimal(1), 7):
            pass
    started = []
    monkeypatch.setattr(gateway_process, "start", started.append)
    with gateway_process.served("127.0.0.1", 4010, date(2022, 12, 28), "DU1", Decimal(1), 7):  # negative control
        assert len(started) == 1
