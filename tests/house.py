"""What the house rules look at: the import graph, the notebooks, and the package that they export."""
import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {"core": 1, "kernels": 1, "data": 2, "analytics": 2, "strategy": 3, "portfolio": 3, "execution": 3, "brokers": 3,
          "gateway": 3, "book": 3, "show": 3, "desk": 4, "panels": 5, "app": 5}
GATEWAY_USERS = {"app.cli", "desk.replay"}
MAX_NOTEBOOK_KB = 400
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:root|home|work|tmp|Users|var/folders)/[A-Za-z0-9_.-]+")
INDEX_HOST = re.compile(r"pypi\.org|pythonhosted|index-url|registry\.npmjs", re.IGNORECASE)


def numbers(root: Path = ROOT) -> dict[str, int]:
    """Number of each module by `room.name`, from the notebook's file name."""
    return {f"{p.parent.name}.{p.stem[3:]}": int(p.stem[:2]) for p in (root / "nbs").glob("*/[0-9][0-9]_*.ipynb")}


def module_name(path: Path, root: Path = ROOT) -> str:
    """`room.name` of a source file of the package or of kernels/."""
    relative = path.relative_to(root).with_suffix("")
    parts = relative.parts[1:] if relative.parts[0] == "otsport" else relative.parts
    return ".".join(parts[:2])


def imports(path: Path, root: Path = ROOT) -> set[str]:
    """What a file imports of the package, as `room.name`, functions included."""
    return _imports(path.read_text(), ("otsport", *path.relative_to(root).with_suffix("").parts[1:-1]))


@cache
def _imports(text: str, package: tuple[str, ...]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found.add(module)
            found |= {f"{module}.{alias.name}" for alias in node.names}
    rooms = [name.split(".")[1:3] for name in found if name.startswith("otsport.")]
    return {".".join(parts) for parts in rooms if len(parts) == 2 and parts[0] in FLOORS}


def import_faults(root: Path = ROOT) -> list[str]:
    """Imports that go up, sideways, or to a higher number of the same room."""
    known, faults = numbers(root), []
    for path in sorted([*(root / "otsport").glob("*/*.py"), *(root / "kernels").glob("*.py")]):
        user = module_name(path, root)
        room = user.split(".")[0]
        if room not in FLOORS or path.name == "__init__.py":
            continue
        for used in sorted(imports(path, root)):
            other = used.split(".")[0]
            if other == room:
                wrong = room != "kernels" and known.get(used, 0) >= known.get(user, 100)
            else:
                wrong = FLOORS[other] > FLOORS[room] or (FLOORS[other] == FLOORS[room] and {room, other} != {"core", "kernels"})
            outsider = other == "gateway" and room != "gateway" and user not in GATEWAY_USERS
            if (wrong or outsider) and used != user and (used in known or other == "kernels"):
                faults.append(f"{user} imports {used}")
    return faults


def notebooks(root: Path = ROOT) -> list[Path]:
    """Every notebook of the project."""
    return sorted([*(root / "nbs").rglob("*.ipynb"), *(root / "papers").glob("*.ipynb")])


def output_text(cell: dict) -> str:
    """All text of a cell's outputs."""
    return json.dumps([{k: v for k, v in out.items() if k != "metadata"} for out in cell.get("outputs", [])])


def notebook_faults(path: Path) -> list[str]:
    """A notebook that is too large, was not executed, failed, or shows where it was made."""
    cells = json.loads(path.read_text())["cells"]
    code = [c for c in cells if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    faults = []
    if path.stat().st_size > MAX_NOTEBOOK_KB * 1000:
        faults.append(f"{path.name} has {path.stat().st_size // 1000} kB, at most {MAX_NOTEBOOK_KB}")
    if path.parent.name not in ("core",) and not any(c["outputs"] for c in code):
        faults.append(f"{path.name} was not executed: no cell has an output")
    for i, cell in enumerate(cells):
        if any(out.get("output_type") == "error" for out in cell.get("outputs", [])):
            faults.append(f"{path.name} cell {i} ended in an error")
        text = "".join(cell["source"]) + output_text(cell)
        for pattern in (MACHINE_PATH, INDEX_HOST):
            if found := pattern.search(re.sub(r'"image/png": "[^"]*"', "", text)):
                faults.append(f"{path.name} cell {i} holds {found.group(0)}")
    return faults


def parameter_cells(path: Path) -> int:
    """How many code cells carry papermill's tag."""
    cells = json.loads(path.read_text())["cells"]
    return sum(c["cell_type"] == "code" and "parameters" in c["metadata"].get("tags", []) for c in cells)


def copy_tree(target: Path, root: Path = ROOT) -> Path:
    """A copy of what nbdev works on."""
    for name in ("nbs", "otsport", "papers", "kernels"):
        shutil.copytree(root / name, target / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("pyproject.toml", "settings.ini", "setup.py", "README.md"):
        shutil.copy(root / name, target / name)
    return target


SELDOM = "import atexit, gc, runpy, sys; gc.set_threshold(100_000, 50, 100); atexit.register(gc.freeze); del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


def nbdev(command: str, *args: str, cwd: Path) -> None:
    """Run an nbdev command in a folder, looking for garbage as seldom as a run does; what it printed is in the error of one that fails."""
    argv = [sys.executable, "-c", SELDOM, str(Path(sys.executable).with_name(f"nbdev-{command}")), *args]
    done = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    if done.returncode:
        print(done.stdout[-8000:])
        raise subprocess.CalledProcessError(done.returncode, argv, done.stdout)


def export_faults(tree: Path) -> list[str]:
    """Files of the package that a fresh export of a copied tree changes, adds or lacks."""
    def state() -> dict[str, bytes]:
        return {str(p.relative_to(tree)): p.read_bytes() for p in (tree / "otsport").rglob("*.py")}
    before = state()
    nbdev("export", cwd=tree)
    after = state()
    exported = {f"otsport/{p.parent.name}/{p.stem[3:]}.py" for p in (tree / "nbs").glob("*/[0-9][0-9]_*.ipynb")}
    changed = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    orphans = [n for n in sorted(before) if n.count("/") == 2 and "AUTOGENERATED" in before[n].decode() and n not in exported]
    return changed + [f"{name} comes from no notebook" for name in orphans]
