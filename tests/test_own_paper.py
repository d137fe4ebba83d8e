"""A notebook of the user's own, from anywhere and naming nothing of the package, runs as the trading day does: strict parameters, lock, resume, report, status, codes."""
import re
import subprocess

import nbformat
import pytest

from otsport.app import runs
from otsport.app.params import find_paper, parameter_rows, read_paper, resolve
from otsport.core.errors import DataError, NotebookError, ParameterError, RunFailed, all_errors
from run_support import command, environment, finished_runs, left_behind, otsport, run_folder, status, wait_for

PARAMETERS = '''run_date = "2022-12-28"  # the day that it looks at
window = 20  # sessions
share = 0.5
deep = False
symbols = ["AAPL", "IBM"]
side: "Literal['long', 'short']" = "long"
label: str = "2022-12-28"
run_dir = ""'''
BODY = ["import helper_beside_it\nprint('window is', window, type(window).__name__, helper_beside_it.WORD)", "sum([window, share])"]


def write(path, parameters=PARAMETERS, body=BODY, tags=("parameters",)):
    """A notebook as Jupyter saves it, without its kernel's name."""
    cells = [nbformat.v4.new_markdown_cell("# What I look at"), nbformat.v4.new_code_cell(parameters, metadata={"tags": list(tags)}), *map(nbformat.v4.new_code_cell, body)]
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    (path.parent / "helper_beside_it.py").write_text("WORD = 'beside'\n")
    return path


@pytest.fixture
def paper(tmp_path):
    return write(tmp_path / "my desk" / "my_first_look.ipynb")


@pytest.mark.parametrize("given, words", [
    ({"windw": "5"}, "no parameter 'windw'; did you mean 'window'?"),
    ({"leverage": "2"}, "It has run_date, window, share, deep, symbols, side, label"),
    ({"run_dir": "/x"}, "no parameter 'run_dir'"),
    ({"window": "many"}, "window = 'many'"),
    ({"window": "1.5"}, "window = '1.5'"),
    ({"share": "nan"}, "share = 'nan'"),
    ({"share": "inf"}, "share = 'inf'"),
    ({"deep": "perhaps"}, "deep = 'perhaps'"),
    ({"symbols": "AAPL"}, "for example ['AAPL', 'IBM']"),
    ({"symbols": "[1, 2]"}, "symbols.0 = 1"),
    ({"side": "sideways"}, "side = 'sideways'"),
    ({"run_date": "28/12/2022"}, "run_date = '28/12/2022': a date is written YYYY-MM-DD"),
    ({"run_date": "20221228"}, "run_date = '20221228': a date is written YYYY-MM-DD"),
    ({"run_date": "2022-02-30"}, "no such day"),
], ids=lambda value: "_".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "")
def test_value_that_the_cell_does_not_allow_is_refused(paper, given, words):
    with pytest.raises(ParameterError, match=re.escape(words)):
        resolve(read_paper(paper), given)


@pytest.mark.parametrize("given, name, value", [
    ({"window": "5"}, "window", 5), ({"share": "1"}, "share", 1.0), ({"deep": "true"}, "deep", True), ({"symbols": "['GE']"}, "symbols", ["GE"]),
    ({"side": "short"}, "side", "short"), ({"label": "anything"}, "label", "anything"),
])
def test_text_becomes_what_the_literal_is(paper, given, name, value):
    found = getattr(resolve(read_paper(paper), given), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("parameters, words", [
    ("x = y", "'x = y' in the parameters cell"), ("x, y = 1, 2", "name = literal"), ("x = None", "annotate it"), ("%matplotlib inline", "not plain Python"),
    ("x: open = 1", "not made of"), ("_x = 1", "taken by the runner"), ("before_run = 1", "taken by the runner"), ("for i in range(3): pass", "name = literal"),
    ("x: list[str = 1", "not plain Python"), ('parameter_model = "nowhere:Model"\nx = 1', "module:Class"),
])
def test_cell_that_is_no_list_of_literals_is_refused(tmp_path, parameters, words):
    with pytest.raises(NotebookError, match=re.escape(words)):
        read_paper(write(tmp_path / "a.ipynb", parameters))


STRICT = """
from decimal import Decimal
from otsport.app.params import Day, RunParams
from otsport.core.errors import NoPrices
from pydantic import Field

class Fund(RunParams):
    run_date: Day
    capital: Decimal = Field(gt=0)

    def before_run(self):
        if self.run_date.year < 2000:
            raise NoPrices(f"nothing is known of {self.run_date}: ask for a later one")
"""


def test_stricter_model_beside_the_notebook_is_kept(tmp_path, home):
    (tmp_path / "strict_rules_of_mine.py").write_text(STRICT)
    path = write(tmp_path / "fund.ipynb", 'parameter_model = "strict_rules_of_mine:Fund"\nrun_date = "2022-12-28"\ncapital = "1000"', ["assert capital == '5'"])
    with pytest.raises(ParameterError, match="capital = '-1': Input should be greater than 0"):
        resolve(read_paper(path), {"capital": "-1"})
    with pytest.raises(all_errors()["NoPrices"], match="1999-01-04"):
        runs.run(str(path), {"run_date": "1999-01-04"})
    assert not (home / "runs" / "fund").exists()
    assert runs.run(str(path), {"capital": "5"})[2] is False
    other = write(tmp_path / "other.ipynb", 'parameter_model = "strict_rules_of_mine:Fund"\nrun_date = "2022-12-28"', [])
    with pytest.raises(NotebookError, match="differ in capital"):
        read_paper(other)


def test_it_runs_leaves_report_and_status_and_is_not_repeated(tmp_path, paper):
    home = tmp_path / "home"
    done = otsport(home, "run", paper, "-p", "window=5")
    assert done.returncode == 0 and done.stderr.strip() == "", done.stderr
    folder = run_folder(home)
    assert folder.parent.name == "my_first_look" and folder.name.startswith("2022-12-28-")
    assert sorted(p.name for p in folder.iterdir()) == ["out.ipynb", "report.html", "status.json"]
    assert {oct(p.stat().st_mode & 0o777) for p in folder.iterdir()} == {"0o600"}
    assert "window is 5 int beside" in (folder / "report.html").read_text() and "import helper_beside_it" not in (folder / "report.html").read_text()
    found = status(folder)
    assert (found["status"], found["exit_code"], found["notebook"], found["parameters"]["window"]) == ("done", 0, "my_first_look.ipynb", 5)
    assert "my_first_look" in done.stdout and f"Report: {folder / 'report.html'}" in done.stdout.splitlines()
    again = otsport(home, "run", paper, "-p", "window=5")
    assert again.stdout.splitlines() == ["This run was finished before; nothing was done again.", *done.stdout.splitlines()]
    assert left_behind(home) == []
    refused = otsport(home, "run", paper, "-p", "windw=5")
    assert refused.returncode == 3 and refused.stderr == (
        "otsport: ParameterError: my_first_look.ipynb has no parameter 'windw'; did you mean 'window'? It has run_date, window, share, deep, symbols, side, label\n")
    assert len(finished_runs(home)) == 1


STEPS = """from pathlib import Path
step = Path(run_dir) / "first_step.txt"
if not step.exists():
    step.write_text("done")
    raise {error}
print("taken up", step.read_text())"""


@pytest.mark.parametrize("error, kind, code", [("KeyError('AAPL')", RunFailed, 42), ("NoPrices('no price of AAPL')", all_errors()["NoPrices"], 11)])
def test_broken_run_is_taken_up_with_what_it_had_left(tmp_path, home, error, kind, code):
    body = ["from otsport.core.errors import NoPrices\n" + STEPS.format(error=error)]
    path = write(tmp_path / "steps.ipynb", 'day = "2022-12-28"\nrun_dir = ""', body)
    with pytest.raises(kind, match="AAPL") as caught:
        runs.run(str(path), {})
    partial, = (home / "runs" / "steps").iterdir()
    assert partial.name.endswith(".partial") and (status(partial)["status"], status(partial)["exit_code"]) == ("failed", code)
    assert caught.value.exit_code == code and "AAPL" in (partial / "report.html").read_text()
    assert kind is not RunFailed or str(partial / "report.html") in str(caught.value)
    summary, folder, repeated = runs.run(str(path), {})
    assert (summary, repeated) == ({"title": "steps", "rows": [["day", "2022-12-28"]]}, False)
    assert (folder / "first_step.txt").read_text() == "done" and not partial.exists() and status(folder)["status"] == "done"


def test_summary_of_the_papers_own_is_told(tmp_path, home):
    body = ["from otsport.app.params import RunParams\nfrom otsport.app.runs import Run\nrun = Run(RunParams(run_dir=run_dir), 'told')\nrun.progress(0.5, 'half')",
            "run.finish(dict(title='What I saw', rows=[('answer', 42)]))"]
    path = write(tmp_path / "told.ipynb", 'run_dir = ""', body)
    summary, folder, _ = runs.run(str(path), {})
    assert summary["title"] == "What I saw" and summary["rows"] == [["answer", 42]]
    (folder / "status.json").write_text("{")  # following what the message says is enough
    with pytest.raises(DataError, match="remove the folder and run again"):
        runs.run(str(path), {})
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert runs.run(str(path), {})[2] is False


WAIT = """import time
from pathlib import Path
Path(sign + ".here").touch()
while not Path(sign).exists():
    time.sleep(0.05)"""


def test_second_run_of_it_is_refused_and_ctrl_c_ends_it_in_one_line(tmp_path):
    home, sign = tmp_path / "home", tmp_path / "sign"
    path = write(tmp_path / "waits.ipynb", 'sign = "x"\nrun_dir = ""', [WAIT])
    words = command("run", path, "-p", f"sign={sign}")
    first = subprocess.Popen(words, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(tmp_path.joinpath("sign.here").exists, seconds=200)
        second = otsport(home, *words[3:])
        assert second.returncode == 41 and second.stdout == ""
        assert second.stderr.startswith("otsport: RunLocked: waits is in use") and f"(process {first.pid}): wait until that has ended" in second.stderr
        first.send_signal(2)
        out, err = first.communicate(timeout=200)
    finally:
        first.kill()
    assert (first.returncode, out) == (130, "")
    line, = err.strip().splitlines()
    assert line.startswith("otsport: Interrupted: ended by Ctrl-C at cell ") and line.endswith(f"kept in {home}, and the same command goes on from there")
    assert left_behind(home) == []
    partial, = (home / "runs" / "waits").iterdir()
    assert (status(partial)["status"], status(partial)["exit_code"]) == ("failed", 130)
    sign.touch()
    assert otsport(home, *words[3:]).returncode == 0


def test_help_says_what_may_be_given(tmp_path, paper):
    asked = otsport(tmp_path / "home", "run", paper, "--help")
    assert asked.returncode == 0 and not (tmp_path / "home").exists()
    rows = {line.split()[0]: line for line in asked.stdout.splitlines() if line.split()}
    assert all(word in rows["run_date"] for word in ("2022-12-28", "date YYYY-MM-DD", "the day that it looks at"))
    assert all(word in rows["window"] for word in ("20", "whole number", "sessions")) and "run_dir" not in rows
    general = otsport(tmp_path / "home", "run", "--help").stdout
    assert "otsport run NAME --help" in general and "Papers: trading_day" in general


def test_every_parameter_of_every_paper_of_the_package_has_a_meaning():
    rows = parameter_rows(read_paper(find_paper("trading_day")))
    assert len(rows) == 13 and all(len(meaning) > 5 for *_, meaning in rows)
