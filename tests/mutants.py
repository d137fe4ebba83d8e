"""Do the tests notice a careless change? Each change is made alone, in memory, and the tests of its module must fail.

    python tests/mutants.py [--count N] [--seed N] [--module NAME ...] [--list] [--jobs N]

Changes are small and textual: a comparison turned, a condition forced, a call or a raise left out, a sign, a bound, `and` for `or`. The sample is
drawn evenly over the modules. The tests of a module are the cells of its notebook and the test files named in `WATCH`. A change that nobody notices
survives; each survivor must stand in `mutants_survivors.json` with the reason why no test could or should notice it. The exit code is 1 when fewer
than 95 % are noticed, or when a survivor stands there without a reason.
"""
import argparse
import ast
import asyncio
import importlib
import importlib.abc
import importlib.util
import inspect
import io
import json
import os
import random
import resource
import signal
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SURVIVORS = Path(__file__).with_name("mutants_survivors.json")
WANTED = 0.95  # share of the changes that must be noticed
SECONDS = 180  # of CPU, after which a run of tests counts as one without end, which is noticed too
WALL_SECONDS = 420  # after which one that only waits does, however busy the machine is
MEMORY = 8 << 30  # bytes that a run of tests may ask for: a change can make a loop that gathers without end
WATCH: dict[str, list[str]] = json.loads(Path(__file__).with_name("mutants_watch.json").read_text())


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""
    module: str  # room.name
    line: int
    column: int
    end: int  # line of its last character
    end_column: int
    old: str
    new: str
    where: str  # function that it is in

    @property
    def name(self) -> str:
        old, new = (" ".join(t.split())[:60] for t in (self.old, self.new))
        return f"{self.module} {self.where}: {old} -> {new}"


def source_path(module: str) -> Path:
    return ROOT / "otsport" / f"{module.replace('.', '/')}.py"


_COMPARE = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in"}
_SIGNS = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/"}


class Finder(ast.NodeVisitor):
    """Every change that can be made to a module."""

    def __init__(self, module: str, source: str):
        self.module, self.source, self.lines, self.found, self.stack = module, source, source.encode().split(b"\n"), [], []

    def text(self, node: ast.AST) -> str:
        """`ast.get_source_segment`, which would split the whole source again for each node."""
        first, *others = self.lines[node.lineno - 1 : node.end_lineno]
        if not others:
            return first[node.col_offset : node.end_col_offset].decode()
        return b"\n".join([first[node.col_offset :], *others[:-1], others[-1][: node.end_col_offset]]).decode()

    def add(self, node: ast.AST, new: str) -> None:
        if self.stack:
            old = self.text(node)
            self.found.append(Mutant(self.module, node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, old, new, ".".join(self.stack)))

    def visit_FunctionDef(self, node) -> None:
        self.stack.append(node.name)
        for child in node.body:
            self.visit(child)
        self.stack.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node) -> None:
        self.stack.append(node.name)
        for child in node.body:
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.visit(child)
        self.stack.pop()

    def visit_Compare(self, node) -> None:
        if len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            self.add(node, f"({self.text(node.left)}) {_COMPARE[type(node.ops[0])]} ({self.text(node.comparators[0])})")
        self.generic_visit(node)

    def visit_BoolOp(self, node) -> None:
        word = " or " if isinstance(node.op, ast.And) else " and "
        self.add(node, "(" + word.join(f"({self.text(v)})" for v in node.values) + ")")
        self.generic_visit(node)

    def visit_UnaryOp(self, node) -> None:
        if isinstance(node.op, (ast.Not, ast.USub)):
            self.add(node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node) -> None:
        plain = not any(isinstance(n, ast.Constant) and isinstance(n.value, str) or isinstance(n, (ast.JoinedStr, ast.List, ast.Tuple)) for n in ast.walk(node))
        if plain and type(node.op) in _SIGNS:
            self.add(node, f"(({self.text(node.left)}) {_SIGNS[type(node.op)]} ({self.text(node.right)}))")
        self.generic_visit(node)

    def visit_Call(self, node) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("min", "max", "any", "all"):
            other = {"min": "max", "max": "min", "any": "all", "all": "any"}[node.func.id]
            self.add(node.func, other)
        self.generic_visit(node)

    def visit_If(self, node) -> None:
        self.add(node.test, "False")
        self.generic_visit(node)

    def visit_While(self, node) -> None:
        self.generic_visit(node)

    def visit_Raise(self, node) -> None:
        self.add(node, "pass")

    def visit_JoinedStr(self, node) -> None:
        """Words for people are not what is tested here."""

    def visit_Expr(self, node) -> None:
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call):
            self.add(node, "pass")
        self.generic_visit(node)

    def visit_Return(self, node) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, bool):
            self.add(node.value, str(not node.value.value))
        self.generic_visit(node)


def mutants_of(module: str) -> list[Mutant]:
    """Every change of a module, in the order of its source."""
    finder = Finder(module, source_path(module).read_text())
    finder.visit(ast.parse(finder.source))
    return finder.found


def mutated(mutant: Mutant) -> str:
    """The source with the change."""
    source = source_path(mutant.module).read_text()
    lines = source.encode().split(b"\n")
    before = b"\n".join([*lines[: mutant.line - 1], lines[mutant.line - 1][: mutant.column]])
    after = b"\n".join([lines[mutant.end - 1][mutant.end_column :], *lines[mutant.end :]])
    return (before + mutant.new.encode() + after).decode()


def sample(modules: list[str], count: int, seed: int) -> list[Mutant]:
    """As many changes as asked for, drawn evenly over the modules."""
    rng, piles = random.Random(seed), {m: mutants_of(m) for m in modules}
    for pile in piles.values():
        rng.shuffle(pile)
    drawn: list[Mutant] = []
    while len(drawn) < count and any(piles.values()):
        for module in modules:
            if piles[module] and len(drawn) < count:
                drawn.append(piles[module].pop())
    return drawn


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module of the package another source."""

    def __init__(self, module: str, source: str):
        self.name, self.source, self.path = f"otsport.{module}", source, str(source_path(module))

    def find_spec(self, fullname, path=None, target=None):
        return importlib.util.spec_from_loader(fullname, self, origin=self.path) if fullname == self.name else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__file__ = self.path
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def notebook_of(module: str) -> Path | None:
    """The notebook that a module comes from."""
    room, name = module.split(".")
    return next(iter(sorted((ROOT / "nbs" / room).glob(f"[0-9][0-9]_{name}.ipynb"))), None)


def run_cells(module: str) -> None:
    """Run the cells of a module's notebook that are not exported, on the module as it is imported."""
    names = dict(vars(importlib.import_module(f"otsport.{module}")))
    names["__name__"] = "__notebook__"
    for cell in json.loads(notebook_of(module).read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] != "code" or text.startswith(("#| export", "#| default_exp")) or "#| slow" in text:
            continue
        code = compile(text, f"{module}.ipynb", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, names))
        else:
            exec(code, names)


class WithoutBrowser:
    """Leaves out the tests that start a browser, which asks for more memory than a run of tests may."""

    @staticmethod
    def pytest_collection_modifyitems(items: list) -> None:
        items[:] = [item for item in items if "chromium" not in getattr(item, "fixturenames", ())]


def passes(module: str, source: str | None) -> bool:
    """Whether all tests of a module pass in this process, with another source of it or (None) its own."""
    import pytest

    if source is not None:
        sys.meta_path.insert(0, Mutated(module, source))
    try:
        if notebook_of(module) is not None:
            run_cells(module)
    except BaseException:
        return False
    files = [str(ROOT / "tests" / name) for name in WATCH[module]]
    return not files or pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore", *files], plugins=[WithoutBrowser]) == 0


def run_apart(module: str, source: str | None, seconds: float = WALL_SECONDS) -> bool:
    """`passes` in a child process; a child that hangs has not passed."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            sink = open(os.devnull, "w")
            os.dup2(sink.fileno(), 1), os.dup2(sink.fileno(), 2)
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                code = 0 if passes(module, source) else 1
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def warm() -> None:
    """Import what every test needs once, before the forks; nothing of the package itself."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.chdir(ROOT)
    for name in ("pytest", "hypothesis", "numpy", "pandas", "scipy.sparse", "sqlalchemy", "alembic.command", "pydantic", "cvxpy", "numba", "exchange_calendars",
                 "fastcore.test", "matplotlib.pyplot", "psutil"):
        importlib.import_module(name)


def survivors() -> dict[str, str]:
    """Reason why nobody can or should notice it, by the name of a change."""
    return json.loads(SURVIVORS.read_text()) if SURVIVORS.exists() else {}


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--count", type=int, default=320)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--module", action="append", help="only these modules")
    ap.add_argument("--part", default="1/1", help="K/N: the K-th of N parts of the sample, for processes side by side")
    ap.add_argument("--list", action="store_true", help="show the sample and run nothing")
    a = ap.parse_args()
    modules = a.module or sorted(WATCH)
    drawn = sample(modules, a.count, a.seed)
    k, n = map(int, a.part.split("/"))
    drawn = drawn[k - 1 :: n]
    if a.list:
        print("\n".join(m.name for m in drawn))
        return 0
    warm()
    for module in sorted({m.module for m in drawn}):
        if not run_apart(module, None):
            print(f"{module}: its tests fail without any change; nothing can be measured")
            return 1
    known, alive, begun = survivors(), [], time.monotonic()
    for number, mutant in enumerate(drawn, 1):
        noticed = not run_apart(mutant.module, mutated(mutant))
        if not noticed:
            alive.append(mutant)
        print(f"{number:>4}/{len(drawn)} {time.monotonic() - begun:6.0f} s  {'noticed ' if noticed else 'SURVIVED'}  {mutant.name}", flush=True)
    share = 1 - len(alive) / len(drawn)
    unexplained = [m for m in alive if m.name not in known]
    print(f"{len(drawn)} changes, {len(drawn) - len(alive)} noticed ({share:.1%}); {len(alive)} survived, {len(unexplained)} without a reason")
    for mutant in unexplained:
        print(f"  {source_path(mutant.module).relative_to(ROOT)}:{mutant.line}  {mutant.name}")
    return int(share < WANTED or bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
