"""Lines for cron and systemd of folders with any name: nothing of a name is run, and each line starts the folder that it is of."""
import re
import subprocess
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from otsport.app.cli import app
from otsport.app.folder import new_folder
from otsport.app.schedule import cron_line, next_starts, timer_text
from otsport.core.errors import FolderError

START = datetime(2022, 12, 28, 8, tzinfo=ZoneInfo("America/New_York"))
NAMES = ["plain", "with space", "it's", "a%b", "d$HOME", "${HOME}", "back`touch owned`tick", "semi;touch owned", 'quo"te', "back\\slash", "-dash", "hash#"]
RUN, SHOW = "-m otsport run trading_day", "-c 'import os; print(os.getcwd())'"


@pytest.mark.parametrize("name", NAMES)
def test_a_crontab_line_runs_in_its_folder(tmp_path, name):
    (folder := tmp_path / name).mkdir()
    line = cron_line(folder, START, ZoneInfo("UTC"))
    assert line.startswith("0 13 * * 1-5 ") and "\n" not in line and "%" not in line.replace(r"\%", "")
    command = line.split(" ", 5)[5].replace(r"\%", "%")
    assert RUN in command
    subprocess.run(["/bin/sh", "-c", command.replace(RUN, SHOW)], check=True, cwd=tmp_path)
    assert (folder / "cron.log").read_text() == f"{folder}\n" and not list(tmp_path.rglob("owned"))


def as_systemd_reads(line: str) -> list[str]:
    """Words of ExecStart as systemd.service(5) has them: quotes, C escapes within and without, then $ and %, of which two mean one."""
    words, word, quote, i = [], None, "", 0
    while i < len(line):
        c = line[i]
        if c == "\\":
            word, i = (word or "") + line[i + 1], i + 1
        elif quote and c == quote:
            quote = ""
        elif not quote and c in "'\"":
            quote, word = c, word or ""
        elif not quote and c == " ":
            words += [] if word is None else [word]
            word = None
        else:
            word = (word or "") + c
        i += 1
    words += [] if word is None else [word]
    for w in words:
        assert "$" not in w.replace("$$", "") and "%" not in w.replace("%%", ""), f"systemd would replace something in {w}"
    return [w.replace("$$", "$").replace("%%", "%") for w in words]


@pytest.mark.parametrize("name", NAMES)
def test_a_systemd_service_runs_in_its_folder(tmp_path, name):
    (folder := tmp_path / name).mkdir()
    text = timer_text(folder, "08:00")
    unit, start = text.splitlines()[0], next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert " " not in unit.removeprefix("# ~/.config/systemd/user/") and not set("%$`'\"\\;") & set(unit)
    words = as_systemd_reads(start.removeprefix("ExecStart="))
    done = subprocess.run([*words[:2], words[2].replace(RUN, SHOW)], check=True, cwd=tmp_path, capture_output=True, text=True)
    assert len(words) == 3 and done.stdout == f"{folder}\n" and not list(tmp_path.rglob("owned"))


def test_a_line_break_in_a_name_is_refused(tmp_path):
    for ask in (lambda f: cron_line(f, START), lambda f: timer_text(f, "08:00")):
        with pytest.raises(FolderError, match="line break"):
            ask(tmp_path / "two\n* * * * * touch owned")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A new desk folder, in which we stand, on a machine in Berlin."""
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    made = new_folder(tmp_path / "desk").path
    monkeypatch.chdir(made)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield made
    monkeypatch.undo()
    time.tzset()


def printed() -> str:
    """What `otsport schedule` prints."""
    found = CliRunner().invoke(app, ["schedule"])
    assert found.exit_code == 0, found.output
    return found.output


def test_schedule_prints_what_cron_and_systemd_need(folder):
    """A line that a shell runs as it stands, times of New York in the machine's clock, and the sessions to come; a fixed run_date is told."""
    text = printed()
    assert re.search(r"^30 1[34] \* \* 1-5 \(cd \S+ && \S+ -m otsport run trading_day\) >> \S+cron.log 2>&1$", text, re.MULTILINE), text
    assert "OnCalendar=Mon..Fri 08:30 America/New_York" in text and "schedule.run_date is 2022-12-28: every run would trade that day" in text
    assert len(re.findall(r"\w{3} \d{4}-\d\d-\d\d 08:30", text)) == 5
    assert re.search(r"^From \d{4}-\d\d-\d\d on the clocks stand otherwise: ", text, re.MULTILINE)  # Berlin and New York change on other days
    assert "A run trades up to the last session that has prices" in text


def test_schedule_of_the_last_day_and_of_new_york_needs_no_warning(folder, monkeypatch):
    book = folder / "book.yaml"
    book.write_text(book.read_text().replace("run_date: 2022-12-28", "run_date: last"))
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    text = printed()
    assert "schedule.run_date" not in text and "the clocks stand otherwise" not in text and "crontab (clock of this machine, E" in text


def test_schedule_outside_a_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FolderError, match="this is no desk folder"):
        CliRunner().invoke(app, ["schedule"], catch_exceptions=False)


def test_the_start_of_this_minute_is_no_next_one():
    assert [s.day for s in next_starts("08:00", START)][:2] == [29, 30] and next_starts("08:00", START - timedelta(seconds=1))[0] == START
