"""Fixtures that several test files use."""
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import pytest

from otsport.app.garbage import collect_seldom

collect_seldom()
ROOT = Path(__file__).resolve().parents[1]
os.environ["OTSPORT_HEADS"] = mkdtemp()  # dated heads of the stores that tests make, for their processes too
for number in (signal.SIGINT, signal.SIGHUP):  # a shell's `&` and `nohup` ignore them, for every process that a test starts and then ends so
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

LONGEST = [
    "test_kernels_american", "test_portfolio_program",  # what compiles most, one for each worker: all others find it compiled
    "test_howto", "test_notebooks_rooms", "test_trading_day_full_disk", "test_trading_day_bad_input", "test_two_desks_kill", "test_processes",
    "test_trading_day_kill", "test_app_folder", "test_package", "test_panel_browser", "test_foreign_broker", "test_trading_day_same_bytes",
    "test_notebooks_analytics", "test_trading_day_run", "test_trading_day_sixty", "test_trading_day_kill_run", "test_scale", "test_strategy_legs", "test_desk_session",
    "test_own_paper", "test_strategy_own", "test_kernels_cache", "test_house", "test_mutants", "test_gateway_clients", "test_show_figures", "test_data_golden_trade",
]


def pytest_collection_modifyitems(items):
    """The longest files first: two workers that take a file at a time then end together."""
    rank = {name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


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


IB_ASYNC = "2.1.0"


@pytest.fixture(scope="session")
def ib_async_python():
    """The interpreter of `.venv-ib-async`, made once and kept: ib_async cannot share an environment with ib_insync. In CI it must be there."""
    import fcntl

    folder = ROOT / ".venv-ib-async"
    python = folder / "bin" / "python"
    check = [str(python), "-c", f"import ib_async; assert ib_async.__version__ == '{IB_ASYNC}'"]
    with open(ROOT / "tests" / "conftest.py") as lock:  # several workers may want it at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not python.exists() or subprocess.run(check, capture_output=True).returncode:
            shutil.rmtree(folder, ignore_errors=True)
            uv = Path(sys.executable).with_name("uv")
            made = subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], capture_output=True, text=True)
            install = [uv, "pip", "install", "-q", "--python", python, f"ib_async=={IB_ASYNC}"]
            installed = subprocess.run(install, capture_output=True, text=True) if made.returncode == 0 else made
            if installed.returncode:
                reason = f"ib_async {IB_ASYNC} cannot be installed: {installed.stderr}"
                pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return python
