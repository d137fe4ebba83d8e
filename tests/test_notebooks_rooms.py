"""The notebooks of every room but analytics pass their own tests, and one that does not is told."""
import json
import subprocess

import pytest

from house import ROOT, nbdev, notebooks


def test_notebooks_pass_their_own_tests():
    nbdev("test", "--n-workers", "1", "--skip-folder-re", "howto|analytics", cwd=ROOT)  # test_howto and test_notebooks_analytics run those


def test_no_room_is_left_out():
    rooms = {path.parent.name for path in notebooks() if path.is_relative_to(ROOT / "nbs")}
    assert {room for room in rooms if "howto" in room or "analytics" in room} == {"howto", "analytics"}


def test_notebook_whose_cell_fails_is_caught(tmp_path):
    notebook = json.loads((ROOT / "nbs" / "core" / "01_units.ipynb").read_text())
    cell = next(c for c in notebook["cells"] if c["cell_type"] == "code" and "test_" in "".join(c["source"]))
    cell["source"] = ["assert 1 == 2"]
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "nbs" / "core").mkdir(parents=True)
    (tmp_path / "nbs" / "core" / "01_units.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(subprocess.CalledProcessError):
        nbdev("test", "nbs/core", "--n-workers", "1", cwd=tmp_path)
