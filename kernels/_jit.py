"""The one place for numba options: float64, cached, NaN-safe.

The compiled code goes to a user folder named by a hash of every kernel source, because numba itself notices
only a change of the function's own file: editing a callee elsewhere would serve a stale caller.
The name says all: equal sources share their compiled code, wherever they lie (a checkout, an environment, a clone).
A NUMBA_CACHE_DIR that the user has set holds that folder instead.
"""
import hashlib
import os
from pathlib import Path
from uuid import uuid4

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator

_HERE = Path(__file__).parent
_DIGEST = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in sorted(_HERE.glob("*.py")))).hexdigest()[:16]
CACHE_DIR = Path(numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otsport" / "kernels" / _DIGEST
# "contract" alone: a full fastmath implies nnan, and a kernel that tests isnan() would then return garbage.
FASTMATH = {"contract"}


class _Locator(_CacheLocator):
    """Where numba keeps the compiled code of a function: with that of all sources, wherever the function's own file lies."""

    def __init__(self, line: int):
        self._line = line

    def get_cache_path(self) -> str:
        return str(CACHE_DIR)

    def get_source_stamp(self) -> str:
        return _DIGEST

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func, py_file):
        self = cls(py_func.__code__.co_firstlineno)
        try:
            self.ensure_cache_path()
        except OSError:  # numba then asks its own, which write beside the source or compile anew
            return None
        return self


class _Files(CompileResultCacheImpl):
    _locator_classes = [_Locator, *CompileResultCacheImpl._locator_classes]  # numba's own where that folder cannot be written


class _Data(IndexDataCacheFile):
    """A file for each compiled signature that no other process writes: two that compile at once would both take numba's first free number,
    and the index of the one would lead to the code of the other."""

    def _data_name(self, number: int) -> str:
        return f"{super()._data_name(number).removesuffix('.nbc')}.{uuid4().hex[:12]}.nbc"


class _Cache(FunctionCache):
    _impl_class = _Files

    def __init__(self, py_func):
        super().__init__(py_func)
        self._cache_file = _Data(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())


def kernel(function=None, *, reassoc=False, **options):
    """Compile `function` with the house options; further numba options (parallel, inline) may be given.

    `reassoc` lets a sum be taken in another order, so that it becomes vector instructions: for pure reductions only.
    """
    if function is None:
        return lambda f: kernel(f, reassoc=reassoc, **options)
    compiled = numba.njit(error_model="numpy", fastmath=FASTMATH | {"reassoc"} if reassoc else FASTMATH, **options)(function)
    compiled._cache = _Cache(function)
    return compiled
