"""`otsport doctor`: what is installed and how the folder stands; the broken mix of eventkit and aeventkit above all."""
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otsport.app import doctor
from otsport.app.cli import app
from otsport.app.doctor import library_finding
from otsport.app.folder import new_folder

INSYNC, ASYNC = {"ib_insync": "0.9.86", "eventkit": "1.0.3"}, {"ib_async": "2.1.0", "aeventkit": "2.1.0"}


@pytest.mark.parametrize("installed, package, well, words", [
    (INSYNC, True, True, "ib_insync 0.9.86, eventkit 1.0.3"), (ASYNC, True, True, "ib_async 2.1.0, aeventkit 2.1.0"),
    ({}, False, False, "neither ib_insync nor ib_async is installed"), (INSYNC | ASYNC, True, False, "each breaks the other when it goes"),
    (INSYNC | {"aeventkit": "2.1.0"}, True, False, "each breaks the other"), (ASYNC | {"eventkit": "1.0.3"}, True, False, "each breaks the other"),
    ({"ib_async": "2.1.0"}, False, False, "ib_async needs aeventkit, which is not there"), ({"ib_insync": "0.9.86"}, True, False, "ib_insync needs eventkit"),
    (ASYNC, False, False, "the package `eventkit` is gone"), ({"eventkit": "1.0.3"}, True, False, "neither ib_insync nor ib_async"),
])  # fmt: skip
def test_libraries_that_can_and_cannot_work_are_told_apart(installed, package, well, words):
    found = library_finding(installed, package)
    assert (found.well, bool(found.step)) == (well, not well) and words in found.words
    assert well or "fresh environment" in found.step and "never both" in found.step


def test_broken_mix_is_found_in_a_real_environment(ib_async_python):
    """ib_async, then ib_insync beside it, then the removal of eventkit: as it happens to people."""
    site = subprocess.run([ib_async_python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True).stdout.strip()
    from importlib.metadata import distributions

    found = library_finding(doctor.installed_versions(distributions(path=[site])), (Path(site) / "eventkit").is_dir())
    assert found.well and found.words.startswith("ib_async 2.") and "aeventkit" in found.words
    mixed = [*distributions(path=[site]), *(d for d in distributions() if d.metadata["Name"].replace("-", "_") in ("ib_insync", "eventkit"))]
    both = library_finding(doctor.installed_versions(mixed), True)
    assert not both.well and all(name in both.words for name in ("ib_insync", "ib_async", "eventkit 1", "aeventkit 2"))


def test_command_says_what_is_well_and_ends_with_an_error_where_something_is_not(tmp_path, monkeypatch):
    monkeypatch.delenv("OTSPORT_HOME", raising=False)
    folder = new_folder(tmp_path / "desk").path
    monkeypatch.setenv("OTSPORT_FOLDER", str(folder))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0 and sum(line.startswith("ok ") for line in done.output.splitlines()) == 6 and "book main, accounts paper (paper)" in done.output, done.output
    (folder / "state").mkdir(mode=0o755)
    (folder / "state" / "otsport.db").write_text("no database")
    os.chmod(folder / "state", 0o755)
    accounts = folder / "accounts.yaml"
    accounts.write_text(accounts.read_text().replace("client_id: 1", "client_id: -1"))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1 and done.output.count("BAD") == 3, done.output
    assert "accounts.yaml, line" in done.output and "chmod -R go-rwx" in done.output and "BAD database" in done.output


def test_no_room_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("OTSPORT_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "ROOM", 2**60)
    assert "make room" in str(doctor.state_finding())
