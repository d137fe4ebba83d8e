"""The one place for numba options: float64, cached, NaN-safe.

The compiled code goes to a user folder named by a hash of every kernel source, because numba itself notices
only a change of the function's own file: editing a callee elsewhere would serve a stale caller.
A NUMBA_CACHE_DIR that the user has set holds that folder instead.
"""
import hashlib
import os
from pathlib import Path

import numba

_HERE = Path(__file__).parent
_DIGEST = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in sorted(_HERE.glob("*.py")))).hexdigest()[:16]
CACHE_DIR = Path(numba.config.CACHE_DIR or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otsport" / "kernels" / _DIGEST
# "contract" alone: a full fastmath implies nnan, and a kernel that tests isnan() would then return garbage.
FASTMATH = {"contract"}


def kernel(function=None, *, reassoc=False, **options):
    """Compile `function` with the house options; further numba options (parallel, inline) may be given.

    `reassoc` lets a sum be taken in another order, so that it becomes vector instructions: for pure reductions only.
    """
    if function is None:
        return lambda f: kernel(f, reassoc=reassoc, **options)
    theirs = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(CACHE_DIR)
    try:
        return numba.njit(cache=True, error_model="numpy", fastmath=FASTMATH | {"reassoc"} if reassoc else FASTMATH, **options)(function)
    finally:
        numba.config.CACHE_DIR = theirs
