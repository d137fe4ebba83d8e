"""The one place for numba options: float64, kept on disk, NaN-safe.

Compiled code is kept in a user folder named by a hash of every kernel source, in files named by all that the code was made of: the function
and each that it calls as they were loaded, their constants, options, the signature, the processor, the versions, numba's settings.
Equal code is found wherever its source lies (a checkout, an environment, a clone), and nothing else is: numba itself would notice only
a change of the function's own file. A NUMBA_CACHE_DIR that the user has set holds that folder instead. A file that is cut short or
damaged counts as none, and where nothing can be written kernels are compiled anew.
"""
import hashlib
import os
import pickle
import sys
from itertools import count
from pathlib import Path
from secrets import randbits
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from uuid import uuid4

import llvmlite
import numba
import numpy as np
from numba.core.bytecode import FunctionIdentity
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

_HERE = Path(__file__).parent
_DIGEST = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in sorted(_HERE.glob("*.py")))).hexdigest()[:16]
CACHE_DIR = Path(numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otsport" / "kernels" / _DIGEST
_WHERE_NOT_WHAT = {"NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"}  # no part of the code
_SETTINGS = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in _WHERE_NOT_WHAT)
_MADE_BY = repr((sys.version_info[:3], numba.__version__, llvmlite.__version__, np.__version__, _SETTINGS))
# "contract" alone: a full fastmath implies nnan, and a kernel that tests isnan() would then return garbage.
FASTMATH = {"contract"}

# numba names what it compiles by a number that counts from 1 in each process. Two that were compiled by different processes (the inner functions
# of np.sort and np.argsort) can so have one name, and where both are loaded one is called for the other: wrong numbers, memory of another.
def _own_numbers():
    FunctionIdentity._unique_ids = count(randbits(48))


_own_numbers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own_numbers)


def _code(code: CodeType) -> tuple:
    """What a function does, without where it stands."""
    constants = tuple(_code(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts)
    return code.co_name, code.co_code.hex(), code.co_names, code.co_varnames, code.co_freevars, constants


def _names(code: CodeType) -> set:
    return set(code.co_names).union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))


def made_of(value, seen: dict | None = None):
    """All that compiled code takes from a value: of a function its code, its options and what the names in it stand for; TypeError where that cannot be told."""
    seen = {} if seen is None else seen
    function = getattr(value, "py_func", None) or getattr(value, "_defn", None) or value  # a kernel, an intrinsic
    if isinstance(function, FunctionType):
        if function in seen:
            return "above", seen[function]
        seen[function] = len(seen)
        options = sorted((k, sorted(v) if isinstance(v, set) else v) for k, v in getattr(value, "targetoptions", {}).items())
        named = sorted((name, function.__globals__[name]) for name in _names(function.__code__) if name in function.__globals__)
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        return _code(function.__code__), options, [(name, made_of(v, seen)) for name, v in named], [made_of(v, seen) for v in (*cells, *(function.__defaults__ or ()))]
    if isinstance(value, tuple):
        return [made_of(v, seen) for v in value]
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.dtype.descr, value.shape, value.tobytes().hex()
    if isinstance(value, ModuleType) and value.__name__.partition(".")[0] in ("math", "numpy", "numba"):
        return value.__name__
    if isinstance(value, (type, BuiltinFunctionType, np.ufunc)):
        return getattr(value, "__module__", ""), value.__name__
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.generic)):
        return repr(value)
    raise TypeError(f"a kernel takes functions and constants by their own names, not from {value!r}")


class _Kept(_Cache):
    """The compiled code of a kernel on disk: a file for each signature, written whole under a name that says all, so that it does not matter who writes first."""

    def __init__(self, compiled):
        self._compiled, self._made_of, self._enabled = compiled, "", True

    @property
    def cache_path(self):
        return str(CACHE_DIR)

    def enable(self):
        self._enabled = True

    def disable(self):
        self._enabled = False

    def flush(self):
        """Nothing is held back, and what lies on disk is true for as long as it is found."""

    def _files(self, sig, codegen) -> list[Path]:
        """Where the code may lie: in the user's folder, or beside the sources where that cannot be written."""
        function = self._compiled.py_func
        self._made_of = self._made_of or repr(made_of(self._compiled))
        name = hashlib.sha256(repr((_MADE_BY, _DIGEST, codegen.magic_tuple(), sig, self._made_of)).encode()).hexdigest()[:32]
        return [folder / f"{function.__module__.rpartition('.')[2]}.{function.__qualname__.replace('<locals>', 'in')}.{name}.nbc" for folder in (CACHE_DIR, _HERE / "__pycache__")]

    def load_overload(self, sig, target_context):
        target_context.refresh()
        for path in self._files(sig, target_context.codegen()) if self._enabled else ():
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if hashlib.sha256(data[32:]).digest() == data[:32]:
                return CompileResult._rebuild(target_context, *pickle.loads(data[32:]))
        return None

    def save_overload(self, sig, data):
        if not self._enabled or data.library.has_dynamic_globals or any(not lifted.can_cache for lifted in data.lifted):
            return
        code = dumps(data._reduce())
        for path in self._files(sig, data.codegen):
            half = path.with_suffix(f".{uuid4().hex}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                half.write_bytes(hashlib.sha256(code).digest() + code)
                os.replace(half, path)
                return
            except OSError:  # no right, no room: the code serves this process alone
                try:
                    half.unlink(missing_ok=True)
                except OSError:
                    pass


def kernel(function=None, *, reassoc=False, **options):
    """Compile `function` with the house options; further numba options (parallel, inline) may be given.

    `reassoc` lets a sum be taken in another order, so that it becomes vector instructions: for pure reductions only.
    """
    if function is None:
        return lambda f: kernel(f, reassoc=reassoc, **options)
    compiled = numba.njit(error_model="numpy", fastmath=FASTMATH | {"reassoc"} if reassoc else FASTMATH, **options)(function)
    compiled._cache = _Kept(compiled)
    return compiled
