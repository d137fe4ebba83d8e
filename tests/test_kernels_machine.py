"""What the machine runs: vector instructions in the elementwise kernels, and no call of a scalar libm."""
import math
import platform
import re

import numba
import numpy as np
import pytest

from otsport.kernels import american, american_approx, elementary, kelly, metrics, montecarlo, options, revaluation, ring, snapshot, tail

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
    "baw": (american_approx.baw_arrays, *[one(8)] * 8),
    "normal and density": (american._normal_arrays, *[one(8)] * 3),
    "revaluation": (revaluation._option_row, 1.0, 0.5, 0.5, 0.1, 0.5, 0.2, 1.0, 0.1, *[one(8)] * 4),
    "scenario rows": (revaluation._scenario_rows, np.full((8, 2), 0.5), np.full((8, 2), 0.5), 1, *[one(8)] * 3),
    "monte carlo": (montecarlo._add_four, *[one(8)] * 6, 0, *[one(8)] * 2),
    "four dots": (tail._four_dots, *[one(8)] * 5),
    "weights of the tail": (tail.var_weights, one(8), 0.1, one(8)),
    "rows of the tail": (tail._add_four, *[one(8)] * 4, *[1.0] * 4, one(8)),
    "rolling moments": (metrics._join_moments, *[one(8)] * 8, 8.0, *[one(8)] * 4),
    "rolling returns": (metrics._returns, one(8), one(8), 1.0, one(8), one(8)),
    "kelly": (kelly._slopes, one(8), 0.1),
    "kelly moments": (kelly._moments, one(8)),
    "snapshot totals": (snapshot._totals, *[one(8)] * 6),
    "ring grid": (ring._grid, one(8), 1.0, 100.0, one(8, np.int64), one(8)),
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


def test_loop_that_cannot_be_vectorized_is_caught():  # negative control: each value needs the one before
    @numba.njit(fastmath={"contract"}, error_model="numpy")
    def recurrence(x, out):
        y = 0.0
        for i in range(x.size):
            y = 0.5 * y + x[i]
            out[i] = y
    assert vectors_of is None or packed_arithmetic(machine_code(recurrence, one(8), one(8))) == 0


def test_sum_without_leave_to_reorder_is_caught():  # negative control: what `reassoc` is for
    plain = numba.njit(fastmath={"contract"}, error_model="numpy")(kelly._moments.py_func)
    assert vectors_of is None or packed_arithmetic(machine_code(plain, one(8))) < packed_arithmetic(machine_code(kelly._moments, one(8))) / 3
