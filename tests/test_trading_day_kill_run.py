"""`kill -9` of the complete `otsport run`, command and kernel, then the same command again: nothing is sent twice, nothing is lost."""
import random
import subprocess
import time
from datetime import date

import psutil
import pytest

from otsport.core.calendars import last_sessions
from run_support import (
    FAULTLESS, alive, command, day_arguments, end_all, environment, finished_runs, free_port, left_behind, listens, run_folder, status, trading_day, verdict, wait_for, kill_each,
)

SOAK_KILLS = 50


def victims(home) -> list[psutil.Process]:
    """The command line and its kernel; the gateway has a session of its own and lives on, as TWS would."""
    return [p for p in alive(home) if "gateway" not in p.cmdline()]


def kill_run_after(home, port: int, seconds: float, only_command: bool, **parameters) -> bool:
    """Start a run and kill it by SIGKILL after so many seconds; False when it had ended before."""
    process = subprocess.Popen(command(*day_arguments(port, **parameters)), env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        hit = [psutil.Process(process.pid)] if only_command else victims(home)
    kill_each(hit)
    process.wait()
    return True


def check_taken_up(home, port: int, **parameters) -> None:
    """Run again what was killed, and compare with the gateway's record."""
    done = trading_day(home, port, **parameters)
    assert done.returncode == 0, done.stderr
    assert verdict(home) == FAULTLESS
    assert status(finished_runs(home)[-1])["status"] == "done" and not list((home / "runs" / "trading_day").glob("*.partial"))
    assert left_behind(home) == [] and not listens(port)


@pytest.mark.parametrize("only_command", [False, True], ids=["run_and_kernel", "only_the_command"])
def test_killed_run_is_taken_up(tmp_path, only_command):
    """Killed in the middle of the session, by what the gateway has written; the kernel that loses its command ends by itself."""
    home, port = tmp_path / "home", free_port()
    process = subprocess.Popen(command(*day_arguments(port)), env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=tmp_path)
    try:
        wait_for(lambda: any(p.stat().st_size > 12_000 for p in home.glob("gateway/simulated.jsonl")), seconds=120)
        for p in [psutil.Process(process.pid)] if only_command else victims(home):
            p.kill()
        process.wait()
        assert finished_runs(home) == []
        check_taken_up(home, port)
        assert status(run_folder(home))["summary"]["numbers"]["fills"] == 14
    finally:
        end_all(home)


@pytest.mark.soak
def test_fifty_kills_of_the_complete_run(tmp_path):
    """A session each, on one portfolio and one gateway: killed at a random moment of its life, run again, compared."""
    home, port, rng, killed, length = tmp_path / "home", free_port(), random.Random(20221228), 0, 12.0
    try:
        for day in last_sessions(date(2022, 12, 28), SOAK_KILLS + 10):
            if killed == SOAK_KILLS:
                break
            killed += kill_run_after(home, port, rng.uniform(0.0, length), only_command=rng.random() < 0.3, run_date=day)
            start = time.monotonic()
            check_taken_up(home, port, run_date=day)
            length = 0.7 * length + 0.3 * (time.monotonic() - start)
    finally:
        end_all(home)
    assert killed == SOAK_KILLS
