"""What the machine runs: vector instructions in the elementwise kernels, and no call of a scalar libm."""
import math
import platform
import re

import numba
import numpy as np
import pytest

from otsport.kernels import elementary, options

X86, ARM = r"\bv(?:fn?m\w+|mul|add)pd\b.*[yz]mm", r"\bf(?:mla|mul|add)\b.*\.2d"  # packed arithmetic on float64, not moves
vectors_of = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}.get(platform.machine())
LIBM = re.compile(r"\b(exp|log|erfc?|pow|sin|cos)\b@?")


def machine_code(kernel, *arguments):
    """Assembly of a kernel compiled here with its own options: numba shows none for code that comes from its cache."""
    fresh = numba.njit(**{k: v for k, v in kernel.targetoptions.items() if k not in ("cache", "nopython")})(kernel.py_func)
    fresh(*arguments)
    return fresh.inspect_asm(fresh.signatures[0])


def packed_arithmetic(code):
    return len(re.findall(vectors_of, code))


def one(n, kind=float):
    return np.full(n, 0.5, dtype=kind)


ELEMENTWISE = {
    "exp": (elementary.exp_array, one(8), one(8)),
    "log": (elementary.log_array, one(8), one(8)),
    "ndtr": (elementary.ndtr_array, one(8), one(8)),
    "ndtri": (elementary.ndtri_array, one(8), one(8)),
    "bsm": (options.bsm_arrays, *[one(8)] * 10),
    "greeks": (options.greeks_arrays, *[one(8)] * 13),
    "second_order": (options.second_order_arrays, *[one(8)] * 10),
    "implied_vol": (options.implied_vol_arrays, *[one(8)] * 8, one(8, np.int64)),
    "normals": (elementary._fill_pairs, np.uint64(1), one(8), one(8)),
}


@pytest.mark.skipif(vectors_of is None, reason="no pattern for the vector registers of this machine")
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_kernel_is_vectorized(name):
    code = machine_code(*ELEMENTWISE[name])
    assert packed_arithmetic(code) > 10
    calls = [line for line in code.splitlines() if re.search(r"\bcall", line) and LIBM.search(line)]
    assert calls == []


def test_scalar_libm_is_caught():
    @numba.njit
    def plain(x, out):
        for i in range(x.size):
            out[i] = math.exp(x[i])
    assert LIBM.search(machine_code(plain, one(8), one(8)))
