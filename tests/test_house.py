"""The rules of the house: notebooks and package in step, imports only downwards, one version, clean notebooks, a light import."""
import configparser
import json
import re
import subprocess
import sys
import tomllib

import pytest

import otsport
from house import (
    FLOORS, ROOT, copy_tree, export_faults, import_faults, nbdev, notebook_faults, notebooks, parameter_cells,
)


def test_notebooks_and_package_are_in_step(tmp_path):
    assert export_faults(copy_tree(tmp_path)) == []


def test_hand_edit_of_the_package_is_caught(tmp_path):
    tree = copy_tree(tmp_path)
    module = tree / "otsport" / "core" / "units.py"
    module.write_text(module.read_text().replace("SESSIONS_PER_YEAR = 252", "SESSIONS_PER_YEAR = 250"))
    assert export_faults(tree) == ["otsport/core/units.py"]


def test_imports_go_downwards():
    assert import_faults() == []


@pytest.mark.parametrize("room, name, line, fault", [
    ("core", "units", "from otsport.desk.book import Desk", "core.units imports desk.book"),
    ("book", "ledger", "from ..brokers.protocol import Broker", "book.ledger imports brokers.protocol"),
    ("brokers", "protocol", "from .ib import IBBroker", "brokers.protocol imports brokers.ib"),
    ("desk", "session", "def f():\n    from otsport.gateway.sockets import serve", "desk.session imports gateway.sockets"),
])
def test_import_upwards_is_caught(tmp_path, room, name, line, fault):
    tree = copy_tree(tmp_path)
    path = tree / "otsport" / room / f"{name}.py"
    path.write_text(path.read_text() + f"\n{line}\n")
    assert import_faults(tree) == [fault]


@pytest.mark.parametrize("path", notebooks(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_notebook_is_executed_small_and_clean(path):
    assert notebook_faults(path) == []


@pytest.mark.parametrize("change, words", [
    (lambda c: c.update(source=["open('/home/someone/prices.csv')"]), "/home/someone"),
    (lambda c: c.update(outputs=[{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]), "ended in an error"),
    (lambda c: c.update(source=["x" * 500_000]), "kB, at most"),
])
def test_bad_notebook_is_caught(tmp_path, change, words):
    nb = json.loads((ROOT / "nbs" / "core" / "01_units.ipynb").read_text())
    change(next(c for c in nb["cells"] if c["cell_type"] == "code"))
    bad = tmp_path / "bad.ipynb"
    bad.write_text(json.dumps(nb))
    assert any(words in fault for fault in notebook_faults(bad))


@pytest.mark.parametrize("path", sorted((ROOT / "papers").glob("*.ipynb")), ids=lambda p: p.name)
def test_papermill_tag_survives_cleaning(tmp_path, path):
    assert parameter_cells(path) == 1
    tree = copy_tree(tmp_path)
    nbdev("clean", "--fname", f"papers/{path.name}", cwd=tree)
    assert parameter_cells(tree / "papers" / path.name) == 1


def test_papermill_tag_is_lost_without_the_setting(tmp_path):
    tree = copy_tree(tmp_path)
    toml = tree / "pyproject.toml"
    toml.write_text(toml.read_text().replace('allowed_cell_metadata_keys = ["tags"]\n', ""))
    nbdev("clean", "--fname", "papers/20_trading_day.ipynb", cwd=tree)
    assert parameter_cells(tree / "papers" / "20_trading_day.ipynb") == 0


def test_one_version_and_one_layout_everywhere():
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "settings.ini")
    ini = settings["DEFAULT"]
    toml = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["nbdev"]
    assert ini["version"] == otsport.__version__
    assert (ini["lib_path"], ini["nbs_path"]) == (toml["lib_path"], toml["nbs_path"])
    assert re.search(rf"^## {re.escape(otsport.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_readme_comes_from_the_index_notebook(tmp_path):
    subprocess.run([sys.executable, "-m", "jupyter", "nbconvert", "--to", "markdown", str(ROOT / "nbs" / "index.ipynb"), "--output-dir", str(tmp_path),
                    "--output", "README", "--TemplateExporter.exclude_output=True"], check=True, capture_output=True)
    made = (tmp_path / "README.md").read_text().replace("](images/", "](nbs/images/").replace('src="images/', 'src="nbs/images/')
    assert made == (ROOT / "README.md").read_text()


def _import_seconds(code: str) -> float:
    timed = f"import time; t = time.process_time(); {code}; print(time.process_time() - t)"
    return min(float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout) for _ in range(3))


def test_import_takes_less_than_300_ms():
    assert _import_seconds("import otsport") < 0.3


def test_kernels_refuse_another_name():
    done = subprocess.run([sys.executable, "-c", "import kernels"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "import otsport.kernels" in done.stderr


def test_tracked_files_name_no_machine_and_no_index():
    from house import INDEX_HOST, MACHINE_PATH
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    mine = {"tests/house.py", "tests/test_house.py"}
    faults = []
    for name in names:
        if name in mine or not name.endswith((".py", ".md", ".ini", ".toml", ".txt", ".json", ".yaml", ".yml", "Makefile")):
            continue
        text = (ROOT / name).read_text()
        faults += [f"{name}: {m.group(0)}" for p in (MACHINE_PATH, INDEX_HOST) for m in p.finditer(text)]
    assert faults == []


def readme_rooms(text: str) -> dict[str, int]:
    """Floor of each room in the README's table."""
    return {room: int(floor) for floor, room in re.findall(r"^\| (\d) \| `(\w+)` \|", text, re.MULTILINE)}


def test_readme_map_and_code_agree():
    here = {p.parent.name for p in (ROOT / "otsport").glob("*/*.py") if p.name != "__init__.py"} | {"kernels"}
    rooms = readme_rooms((ROOT / "README.md").read_text())
    assert set(rooms) == here - {"migrations"} and rooms == {room: FLOORS[room] for room in rooms}


def test_room_that_is_not_on_the_map_is_caught():
    text = (ROOT / "README.md").read_text()
    assert "show" not in readme_rooms(text.replace("| 3 | `show` |", "| 3 | show |"))


def test_notebooks_that_the_readme_names_exist():
    named = re.findall(r"`(?:nbs/)?((?:core|data|analytics|strategy|portfolio|execution|brokers|book|show|gateway|desk|panels|app)/\d\d_\w+)`", (ROOT / "README.md").read_text())
    assert len(named) > 8 and [n for n in named if not (ROOT / "nbs" / f"{n}.ipynb").exists()] == []


MAX_LINES = 500  # of a module that is not generated by a table


def test_no_module_is_longer_than_a_reader_holds_in_his_head():
    long = {str(p.relative_to(ROOT)): n for p in (ROOT / "otsport").rglob("*.py") if p.name != "_modidx.py" and (n := len(p.read_text().splitlines())) > MAX_LINES}
    unexplained = [name for name in long if "longer than 500 lines: " not in notebook_text(name)]
    assert unexplained == []


def notebook_text(module: str) -> str:
    """The prose of the notebook that a module comes from."""
    room, name = module.removeprefix("otsport/").removesuffix(".py").split("/")
    (path,) = (ROOT / "nbs" / room).glob(f"[0-9][0-9]_{name}.ipynb")
    return "\n".join("".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "markdown")


def test_prose_of_a_short_module_explains_no_length():
    assert "longer than 500 lines: " not in notebook_text("otsport/core/units.py") and "longer than 500 lines: " in notebook_text("otsport/analytics/surface.py")
