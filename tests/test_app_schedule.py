"""Lines for cron and systemd of folders with any name: nothing of a name is run, and each line starts the folder that it is of."""
import subprocess
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from otsport.app.schedule import cron_line, timer_text
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
