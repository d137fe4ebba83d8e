"""The compiled code on disk: an edit anywhere is seen, a copy elsewhere finds it, and a cached kernel starts about as fast as numba itself."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from otsport.kernels._jit import _Data

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


@pytest.mark.parametrize("files, found", [(_Data, None), (IndexDataCacheFile, "of the first")])
def test_process_that_compiles_at_once_never_gets_the_code_of_another(tmp_path, files, found):
    """Both find an empty index, and the second writes all of its own between the index and the code of the first; numba's own files are the negative control."""
    first, second = (files(str(tmp_path), "kernel", "stamp") for _ in range(2))
    save_data = first._save_data

    def interrupted(name, data):
        second._load_index = dict
        second.save("second", "of the second")
        save_data(name, data)
    first._save_data = interrupted
    first.save("first", "of the first")
    fresh = files(str(tmp_path), "kernel", "stamp")
    assert fresh.load("second") == (found or "of the second") and fresh.load("first") is None
    fresh.save("first", "again")
    assert (fresh.load("first"), fresh.load("second")) == ("again", found or "of the second")


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
