"""Fixtures that several test files use."""
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ["OTSPORT_HEADS"] = mkdtemp()  # dated heads of the stores that tests make, for their processes too


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A state folder of its own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("OTSPORT_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real market data that tests may read and the project does not carry."""
    folder = Path(os.environ.get("OTSPORT_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real market data at {folder}: set OTSPORT_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def chromium():
    """The path of Debian's chromium; without it a test skips, in CI it fails."""
    found = shutil.which("chromium")
    if found is None and os.environ.get("CI"):
        pytest.fail("chromium is not installed: CI must have it (apt-get install chromium)")
    if found is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    return found
