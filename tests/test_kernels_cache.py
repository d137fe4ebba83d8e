"""The compiled code on disk: an edit anywhere is seen, a copy elsewhere finds it, and a cached kernel starts about as fast as numba itself."""
import errno
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest
from numba.core.bytecode import FunctionIdentity
from numba.core.codegen import CPUCodegen

import otsport.kernels
from otsport.kernels import _jit
from otsport.kernels._jit import kernel, made_of

ROOT = Path(__file__).resolve().parents[1]
PRICE = """
import numpy as np
from otsport.kernels import options
one, price, delta, vega = (np.ones(1) for _ in range(4))
options.bsm_arrays(one, one, one, 0 * one, 0 * one, one, one, price, delta, vega)
print(price[0], sum(options.bsm_arrays.stats.cache_hits.values()))
"""
START = """
import time
import numba, numpy as np
x = np.full(1_000, 0.5)
from otsport.kernels import elementary, options
def first(kernel, *arguments):
    start = time.process_time()
    kernel(*arguments)
    return time.process_time() - start
print(first(elementary.exp_array, x, x.copy()), first(options.greeks_arrays, *[x.copy() for _ in range(13)]),
      first(options.implied_vol_arrays, *[x.copy() for _ in range(8)], np.zeros(1_000, np.int64)))
"""
SMALLEST = """
import time
import numba, numpy as np
@numba.njit(cache=True)
def smallest(x):
    return x + 1.0
start = time.process_time()
smallest(1.0)
print(time.process_time() - start)
"""


def run(code, cwd, **env):
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


@pytest.fixture
def tree(tmp_path):
    """A package with the kernels alone, found before the installed one."""
    shutil.copytree(ROOT / "kernels", tmp_path / "otsport" / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "otsport" / "__init__.py").write_text("")
    return tmp_path


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "NUMBA_CACHE_DIR"])
def test_equal_sources_are_compiled_once_and_edited_callee_is_never_served_stale(tree, tmp_path_factory, variable):
    """Compiled in one place and found from another, until a byte changes."""
    env = {"NUMBA_CACHE_DIR": "", variable: str(tree / "cache")}
    (other := tmp_path_factory.mktemp("other")).rmdir()
    shutil.copytree(tree, other)
    (first, none), (again, hits) = run(PRICE, other, **env), run(PRICE, tree, **env)
    assert again == first and (none, hits) == (0, 1)
    assert list((tree / "cache").rglob("options.bsm_arrays*.nbc"))
    source = tree / "otsport" / "kernels" / "elementary.py"
    text = source.read_text()
    stamp = source.stat()
    source.write_text(text.replace("INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)", "INV_SQRT_2PI = 0.5 / math.sqrt(2.0 * math.pi)"))
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # even with the old time of change
    changed, hits = run(PRICE, tree, **env)
    assert changed != first and hits == 0


CALLEE = """
from ._jit import kernel
STEP = 1.0
@kernel
def step(x):
    return x + STEP
"""
CALLER = """
from ._jit import kernel
from .callee import step
@kernel
def twice(x):
    return step(step(x))
"""
CALL = "from otsport.kernels.caller import twice; print(twice(1.0), sum(twice.stats.cache_hits.values()))"


@pytest.fixture
def small(tmp_path):
    """Two kernels of their own, one calling the other in another file, which compile in no time."""
    (room := tmp_path / "otsport" / "kernels").mkdir(parents=True)
    for name, text in (("__init__.py", ""), ("_jit.py", (ROOT / "kernels" / "_jit.py").read_text()), ("callee.py", CALLEE), ("caller.py", CALLER)):
        (room / name).write_text(text)
    (tmp_path / "otsport" / "__init__.py").write_text("")
    return room


def call(small, code=CALL, **env):
    return run(code, small.parents[1], **{"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(small.parents[1] / "cache"), **env})


def kept(small, name="twice"):
    return list((small.parents[1] / "cache").rglob(f"*{name}*"))


def test_processes_that_compile_at_once_are_both_served(small):
    """Each writes a whole file under the name that says all; who is second writes the same again."""
    env = {**os.environ, "NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(small.parents[1] / "cache")}
    racers = [subprocess.Popen([sys.executable, "-c", CALL], cwd=small.parents[1], env=env, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {racer.communicate()[0].split()[0] for racer in racers} == {"3.0"}
    assert call(small) == [3.0, 1] and len(kept(small)) == len(kept(small, "step")) == 1


def shifted(x):
    return x + 1.0


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder that this process keeps code in, and one beside the sources."""
    monkeypatch.setattr(_jit, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.setattr(_jit, "_HERE", tmp_path / "kernels")
    (tmp_path / "kernels").mkdir()
    return tmp_path


def hits(function=shifted):
    """How often the code was found by a new kernel of a function."""
    compiled = kernel(function)
    assert compiled(2.0) == function(2.0)
    return sum(compiled.stats.cache_hits.values())


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:20], lambda data: data[:-1], lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:]],
                         ids=["empty", "no sum", "cut short", "one bit"])
def test_damaged_code_is_compiled_anew(here, damage):
    assert (hits(), hits()) == (0, 1)
    [path] = (here / "cache").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert (hits(), hits()) == (0, 1)


def test_callee_that_is_edited_while_kernels_are_imported_leaves_nothing_stale(small):
    """An editor or a checkout writes between the reading of all sources and the import of one; then the old text comes back."""
    edit = f"from otsport.kernels import _jit\nfrom pathlib import Path\nPath({str(small / 'callee.py')!r}).write_text({CALLEE.replace('1.0', '5.0')!r})\n"
    assert call(small, edit + CALL) == [11.0, 0]
    assert call(small) == [11.0, 0]
    (small / "callee.py").write_text(CALLEE)
    assert call(small) == [3.0, 0]


def test_old_bytecode_leaves_nothing_stale(small):
    """Python itself believes bytecode of the same second and size; what is compiled from it is not found for the new source."""
    assert call(small, PYTHONDONTWRITEBYTECODE="") == [3.0, 0]
    stamp = (small / "callee.py").stat()
    (small / "callee.py").write_text(CALLEE.replace("1.0", "5.0"))
    os.utime(small / "callee.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert call(small, PYTHONDONTWRITEBYTECODE="") == [3.0, 0], "the premise: Python runs the old code"
    shutil.rmtree(small / "__pycache__")
    assert call(small) == [11.0, 0]


def test_code_for_other_settings_is_not_taken(small):
    """Code that looks at the bounds is slower and other code, and must be asked for each time."""
    assert call(small) == [3.0, 0] and call(small, NUMBA_BOUNDSCHECK="1") == [3.0, 0] and call(small) == [3.0, 1]


@pytest.mark.parametrize("other", ["versions", "processor", "sources", "options", "constant", "signature"])
def test_code_that_was_made_of_anything_else_is_not_taken(here, monkeypatch, other):
    assert (hits(), hits()) == (0, 1)
    if other == "versions":
        monkeypatch.setattr(_jit, "_MADE_BY", "another numba")
    if other == "sources":
        monkeypatch.setattr(_jit, "_DIGEST", "0")
    if other == "processor":
        monkeypatch.setattr(CPUCodegen, "magic_tuple", lambda self: ("x86_64", "another", ""))
    if other == "options":
        assert kernel(shifted, reassoc=True)(2.0) == 3.0
    elif other == "signature":
        assert kernel(shifted)(2) == 3
    elif other == "constant":
        shift = FunctionType(shifted.__code__.replace(co_consts=tuple(5.0 if c == 1.0 else c for c in shifted.__code__.co_consts)), globals())
        assert kernel(shift)(2.0) == 7.0
    else:
        assert hits() == 0
    assert len(list((here / "cache").iterdir())) == 2


def test_where_the_folder_cannot_be_written_the_code_lies_beside_the_sources_or_nowhere(here):
    (here / "cache").write_text("a file")
    assert (hits(), hits()) == (0, 1) and len(list((here / "kernels" / "__pycache__").iterdir())) == 1
    shutil.rmtree(here / "kernels")
    (here / "kernels").write_text("a file")
    assert (hits(), hits()) == (0, 0)


def test_full_disk_leaves_no_half_file_and_the_kernel_answers(here, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "replace", full)
    assert (hits(), hits()) == (0, 0) and not [p for p in here.rglob("*") if p.is_file()]


SORTS = """
import numpy as np
{0}
@{1}
def ascending(x):
    {2}
"""
BOTH = """
import numpy as np
from otsport.kernels import values, places
x = np.random.default_rng(0).normal(size=50)
values.ascending(x.copy())
print(int(list(places.ascending(x)) == list(np.argsort(x))), sum(places.ascending.stats.cache_hits.values()))
"""


@pytest.mark.parametrize("how, taken, right", [("from ._jit import kernel", "kernel", 1), ("import numba", "numba.njit(cache=True)", 0)], ids=["kernel", "numba alone"])
def test_kernels_of_two_processes_never_call_into_each_other(small, how, taken, right):
    """numba's own cache is the negative control: its sorting and its ordering of places have one name when each is the first that a process compiles."""
    for name, body in (("values", "x.sort()\n    return x"), ("places", "return np.argsort(x)")):
        (small / f"{name}.py").write_text(SORTS.format(how, taken, body))
    for name in ("values", "places"):
        call(small, f"import numpy as np\nfrom otsport.kernels.{name} import ascending\nascending(np.ones(3))")
    assert call(small, BOTH) == [right, 1]


def test_forked_processes_count_from_numbers_of_their_own():
    """Both go on from what their parent had reached, and would name what they compile alike."""
    def told(write):
        if not os.fork():
            os.write(write, b"%d" % next(FunctionIdentity._unique_ids))
            os._exit(0)
        os.wait()
        return int(os.read(read, 30))
    read, write = os.pipe()
    first, second = told(write), told(write)
    assert abs(first - second) > 1_000_000


def kernels():
    for module in pkgutil.iter_modules(otsport.kernels.__path__):
        for name, value in vars(importlib.import_module(f"otsport.kernels.{module.name}")).items():
            if hasattr(value, "py_func"):
                yield f"{module.name}.{name}", value


def test_of_each_kernel_can_be_told_what_it_is_made_of():
    names = {name: repr(made_of(value)) for name, value in kernels()}
    assert len(names) > 300 and all(str(ROOT) not in text and " at 0x" not in text for text in names.values())


@pytest.mark.parametrize("value", [{}, [1.0], otsport.kernels, object()], ids=["dict", "list", "module", "object"])
def test_kernel_made_of_what_cannot_be_told_is_refused(value):  # negative control
    with pytest.raises(TypeError, match="by their own names"):
        made_of(value)


def test_cached_start_is_that_of_numba(tmp_path):
    env = {"XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": ""}
    (tmp_path / "smallest.py").write_text(SMALLEST)
    both = START, "import smallest"
    for code in both:
        run(code, tmp_path, **env)  # compiles
    ours, numbas = zip(*(tuple(run(code, tmp_path, **env) for code in both) for _ in range(4)))
    first, greeks, vols = (min(column) for column in zip(*ours))
    alone = min(column[0] for column in numbas)
    assert first < 1.3 * alone, "numba starts with its first cached function, whichever it is; ours may add little"
    assert greeks < 0.1 * alone and vols < 0.1 * alone
