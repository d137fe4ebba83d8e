"""A full disk ends the day in one clear line wherever it fills; with room again the same command finishes the day and nothing is lost."""
import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from otsport.data.store import open_store
from run_support import FAULTLESS, end_all, finished_runs, free_port, left_behind, listens, otsport, run_folder, status, trading_day, verdict


def mount(*words) -> subprocess.CompletedProcess:
    return subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)


@contextmanager
def small_disk(path, kilobytes: int):
    """A file system of so many kB at a path; gives a function that makes it large."""
    path.mkdir(exist_ok=True)
    done = mount("-t", "tmpfs", "-o", f"size={kilobytes}k,mode=0700", "tmpfs", path) if shutil.which("mount") else None
    if done is None or done.returncode:
        reason = f"a small file system cannot be mounted here: {done.stderr.strip() if done else 'no mount command'}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    try:
        yield lambda: mount("-o", "remount,size=50m", path).check_returncode()
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def sent_orders(home) -> int:
    path = home / "gateway" / "simulated.jsonl"
    return path.read_bytes().count(b'"Received"') if path.exists() else 0


@pytest.mark.parametrize("full, kilobytes, traded", [
    pytest.param("schema", 100, False, marks=pytest.mark.soak),  # the state folder: while the database is made; a disk that is full at once is below
    ("database", 440, True),  # the state folder without runs and journal: the database fills in the middle of the session
    ("gateway", 24, True),  # the gateway's journal fills in the middle of the session
    ("runs", 500, True),  # the report does not fit, the day is in the books
])
def test_full_disk_is_told_and_the_day_is_finished_with_room_again(tmp_path, full, kilobytes, traded):
    home, port = tmp_path / "home", free_port()
    home.mkdir(mode=0o700)
    with small_disk(home / {"gateway": "gateway", "runs": "runs"}.get(full, ""), kilobytes) as enlarge:
        if full == "database":
            for name in ("runs", "gateway"):
                (tmp_path / name).mkdir()
                (home / name).symlink_to(tmp_path / name)
        try:
            check_full_disk(home, trading_day(home, port), port)
            assert (sent_orders(home) > 0) == traded
            before = {"fills": 0, "closed": False}
            if traded:
                with open_store(home / "otsport.db") as store:
                    before = {"fills": len(store.fills("main")), "closed": bool(store.snapshots("main"))}
                    store.verify()
            assert before["closed"] == (full == "runs")
            enlarge()
            again = trading_day(home, port)
            assert again.returncode == 0 and again.stderr.strip() == "", again.stderr
            assert verdict(home) == FAULTLESS
            found = status(run_folder(home))
            assert found["status"] == "done" and found["summary"]["numbers"]["fills"] >= max(before["fills"], 5)
            assert left_behind(home) == [] and not list(home.glob("runs/*/*.partial"))
        finally:
            end_all(home)


def check_full_disk(home, done, port: int) -> None:
    """One line that says where and what to do, the code of a full disk, no run that looks finished, nothing running."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("otsport: DiskFull: no room "), done.stderr
    assert str(home) in lines[0] and "free space" in lines[0] and "run again" in lines[0]
    assert done.returncode == 21 and done.stdout == ""
    assert finished_runs(home) == [] and left_behind(home) == [] and not listens(port)


@pytest.mark.parametrize("kilobytes", [4, 16])
def test_disk_that_is_full_at_once_is_told(tmp_path, kilobytes):
    home, port = tmp_path / "home", free_port()
    home.mkdir(mode=0o700)
    with small_disk(home, kilobytes):
        try:
            check_full_disk(home, trading_day(home, port), port)
            assert otsport(home, "db", "verify").returncode in (20, 21)  # a store that was never made, or no room: told, not verified
        finally:
            end_all(home)
