"""Wheel and sdist, installed in clean environments far from the checkout, hold all that is needed and trade a day."""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import otsport
from run_support import FAULTLESS, ROOT, environment, free_port, left_behind, run_folder, status, trading_day, verdict

UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
NOT_SOURCE = shutil.ignore_patterns(".git", ".venv*", ".otsport", "__pycache__", ".pytest_cache", ".hypothesis", ".ipynb_checkpoints", "build", "dist", "*.egg-info")
PROBE = """
import json, sys
import otsport, otsport.kernels.options, otsport.app.params as params
from otsport.data.samples import history
print(json.dumps({"version": otsport.__version__, "where": otsport.__file__, "kernels": otsport.kernels.options.__file__,
                  "papers": [str(p) for p in params.papers().values()], "last": str(history().last), "path": sys.path}))
"""


def uv(*words, cwd) -> str:
    done = subprocess.run([UV, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist made from a copy of the checkout, and the wheel made from that sdist."""
    assert UV, "uv is not installed: pip install uv"
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCE)
    uv("build", "--quiet", "--python", sys.executable, "--out-dir", folder / "dist", folder / "source", cwd=folder)
    sdist, = (folder / "dist").glob("*.tar.gz")
    wheel, = (folder / "dist").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The python of a clean environment for the wheel, and of one for the sdist that finds there what both require."""
    pythons = {}
    for kind in ("wheel", "sdist"):
        folder = tmp_path_factory.mktemp(kind)
        uv("venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
        pythons[kind] = folder / "venv" / "bin" / "python"
        if kind == "wheel":
            uv("pip", "install", "--quiet", "--python", pythons[kind], "-c", ROOT / "constraints.txt", f"{built[kind]}[ib]", cwd=folder)
        else:
            uv("pip", "install", "--quiet", "--no-deps", "--python", pythons[kind], built[kind], cwd=folder)
            (site(pythons[kind]) / "requirements.pth").write_text(f"{site(pythons['wheel'])}\n")
    return pythons


def site(python: Path) -> Path:
    """Where an environment keeps its packages."""
    found, = (python.parents[1] / "lib").glob("python*/site-packages")
    return found


def requirements(python: Path) -> list[str]:
    """What the otsport that is installed in an environment says that it needs."""
    metadata, = site(python).glob("otsport-*.dist-info/METADATA")
    return [line for line in metadata.read_text().split("\n\n")[0].splitlines() if line.startswith(("Requires-", "Provides-Extra"))]


def test_wheel_and_sdist_require_the_same(installed):
    assert requirements(installed["wheel"]) == requirements(installed["sdist"]) and len(requirements(installed["wheel"])) > 20


def members(path: Path) -> set[str]:
    """The files of a wheel or sdist, without the folder that holds all of an sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def package_files() -> set[str]:
    """What the package is made of, by its place in a wheel; files that git does not know yet are somebody's work in progress."""
    known = subprocess.run(["git", "ls-files", "-z", "otsport", "kernels", "papers"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    return {name if name.startswith("otsport/") else f"otsport/{name}" for name in known if (ROOT / name).exists()}


def test_wheel_holds_the_whole_package_and_nothing_else(built):
    found = members(built["wheel"])
    assert package_files() - found == set()
    assert {name.split("/")[0] for name in found} <= {"otsport", f"otsport-{otsport.__version__}.dist-info", "bench"}
    assert any(name.startswith("otsport/data/samples/") and name.endswith(".parquet") for name in found)


def test_sdist_holds_what_a_build_needs(built):
    found = members(built["sdist"])
    assert {"settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE", "constraints.txt", "CHANGELOG.md"} - found == set()
    assert {name.replace("otsport/kernels/", "kernels/").replace("otsport/papers/", "papers/") for name in package_files()} - found == set()


def probe(python: Path, folder: Path) -> dict:
    done = subprocess.run([str(python), "-c", PROBE], cwd=folder, env=environment(folder / "home"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installed_command_and_modules_come_from_the_installation(installed, tmp_path, kind):
    python = installed[kind]
    done = subprocess.run([str(python.with_name("otsport")), "--version"], cwd=tmp_path, env=environment(tmp_path / "home"), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"otsport {otsport.__version__}\n")
    found = probe(python, tmp_path)
    assert found["version"] == otsport.__version__ and found["last"] == "2022-12-28"
    for path in (found["where"], found["kernels"], *found["papers"]):
        assert Path(path).is_relative_to(python.parents[1])
    assert not any(Path(entry).is_relative_to(ROOT) for entry in found["path"] if entry) and len(found["papers"]) >= 1


def test_checkout_on_the_path_is_caught(installed, tmp_path):
    env = environment(tmp_path / "home") | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(installed["wheel"]), "-c", "import otsport; print(otsport.__file__)"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert Path(done.stdout.strip()).is_relative_to(ROOT)


def test_wheel_trades_a_day(installed, tmp_path):
    home, python = tmp_path / "home", installed["wheel"]
    done = trading_day(home, free_port(), python=python)
    assert done.returncode == 0, done.stderr
    assert status(run_folder(home))["status"] == "done" and (run_folder(home) / "report.html").stat().st_size > 100_000
    assert verdict(home) == FAULTLESS and left_behind(home) == []
