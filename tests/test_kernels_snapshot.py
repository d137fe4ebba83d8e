"""The live book against NumPy, and that it allocates nothing; conflated ticks against a dictionary."""
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.runtime import _nrt_python as nrt
from numba.core.runtime import rtsys

from otsport.analytics.live import PARALLEL_FROM, LiveBook
from otsport.core.books import Lot, Position
from otsport.core.contracts import stock
from otsport.data.ticks import TickBuffer
from otsport.kernels import snapshot as kernel


def book(n, m=11, seed=0):
    rng = np.random.default_rng(seed)
    b = np.zeros((kernel.BOOK_ROWS, n))
    b[kernel.QTY], b[kernel.MULTIPLIER], b[kernel.MARK] = rng.integers(-500, 500, n), rng.choice([1.0, 100.0], n), rng.uniform(0.01, 400, n)
    b[kernel.COST] = b[0] * b[1] * b[2] * rng.uniform(0.8, 1.2, n)
    b[kernel.PREVIOUS], b[kernel.MOVED], b[kernel.REALIZED] = b[kernel.COST], rng.normal(0, 100, n), rng.normal(0, 100, n)
    state = np.zeros(kernel.STATE_SIZE)
    state[kernel.CASH] = state[kernel.LAST_NAV] = 1e9
    state[kernel.UNIT] = state[kernel.PEAK] = 1.0
    return b, rng.integers(0, m, n), state, np.empty((2, m))


def naive(b, sector, state, m):
    value = b[kernel.QTY] * b[kernel.MULTIPLIER] * b[kernel.MARK]
    unrealized = value - b[kernel.COST]
    nav = state[kernel.CASH] + value.sum()
    unit = state[kernel.UNIT] * nav / (state[kernel.LAST_NAV] + state[kernel.FLOW])
    return {
        kernel.NAV: nav, kernel.LONG: value[value > 0].sum(), kernel.SHORT: -value[value < 0].sum(), kernel.SUM_UNREALIZED: unrealized.sum(),
        kernel.SUM_DAY: (value - b[kernel.PREVIOUS] + b[kernel.MOVED]).sum(), kernel.SUM_REALIZED: b[kernel.REALIZED].sum(),
        kernel.DRAWDOWN: unit / max(unit, state[kernel.PEAK]) - 1,
    }, np.array([[value[sector == s].sum() for s in range(m)], [abs(value[sector == s]).sum() for s in range(m)]])


@pytest.mark.parametrize("n", [0, 1, 5, 7, 1000])
def test_snapshot_equals_numpy(n):
    b, sector, state, exposure = book(n)
    totals, by_sector = naive(b, sector, state, 11)
    kernel.snapshot(b, sector, state, exposure)
    for entry, expected in totals.items():
        assert state[entry] == pytest.approx(expected, rel=1e-11, abs=1e-4)  # of gross values near 1e9 summed in another order
    np.testing.assert_allclose(exposure, by_sector, rtol=1e-12, atol=1e-5)
    assert exposure[0].sum() == pytest.approx(state[kernel.LONG] - state[kernel.SHORT], rel=1e-9, abs=1e-4)


def test_snapshot_extremes_are_the_path_s():
    b, sector, state, exposure = book(50)
    rng, path = np.random.default_rng(1), []
    for _ in range(40):
        b[kernel.MARK] *= np.exp(rng.normal(0, 0.05, 50))
        kernel.snapshot(b, sector, state, exposure)
        path.append(b[kernel.UNREALIZED].copy())
    np.testing.assert_array_equal(b[kernel.MFE], np.maximum(0, np.max(path, axis=0)))
    np.testing.assert_array_equal(b[kernel.MAE], np.maximum(0, -np.min(path, axis=0)))


@pytest.mark.parametrize("flow", [5_000.0, -2_000.0, 1e8])
def test_snapshot_drawdown_ignores_flows(flow):
    b, sector, state, exposure = np.zeros((kernel.BOOK_ROWS, 1)), np.zeros(1, dtype=np.int64), np.zeros(kernel.STATE_SIZE), np.zeros((2, 1))
    b[[kernel.QTY, kernel.MULTIPLIER, kernel.MARK], 0] = 100, 1, 50
    state[[kernel.CASH, kernel.LAST_NAV, kernel.UNIT, kernel.PEAK]] = 5_000, 10_000, 1, 1

    def drawdown(mark, moved=0.0):
        b[kernel.MARK, 0] = mark
        state[kernel.CASH] += moved
        state[kernel.FLOW] += moved
        kernel.snapshot(b, sector, state, exposure)
        return state[kernel.DRAWDOWN]

    assert drawdown(50.0) == 0.0
    assert drawdown(40.0) == pytest.approx(-0.1, abs=1e-15)  # 9,000 of 10,000
    assert drawdown(40.0, flow) == pytest.approx(-0.1, abs=1e-12) and state[kernel.FLOW] == 0  # what comes in is no recovery, what goes out no loss
    unit = (9_000 + flow + 100 * 20.0) / (9_000 + flow)  # 60 less 40, of what is there now
    assert drawdown(60.0) == pytest.approx(min(0.9 * unit - 1, 0.0), abs=1e-9)


def test_snapshot_missing_mark_is_nan_and_heals():
    b, sector, state, exposure = book(20)
    kernel.snapshot(b, sector, state, exposure)
    good, carried, marks = state.copy(), b[[kernel.MFE, kernel.MAE]].copy(), b[kernel.MARK].copy()
    b[kernel.MARK, 4] = np.nan
    kernel.snapshot(b, sector, state, exposure)
    assert np.isnan(state[[kernel.NAV, kernel.SUM_DAY, kernel.DRAWDOWN]]).all() and np.isnan(exposure[0, sector[4]])
    b[kernel.MARK] = marks
    kernel.snapshot(b, sector, state, exposure)
    np.testing.assert_allclose(state, good, rtol=1e-12)
    np.testing.assert_array_equal(b[[kernel.MFE, kernel.MAE]], carried)


def test_snapshot_allocates_nothing():
    arguments = book(1000)
    kernel.snapshot(*arguments)
    nrt.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    tracemalloc.start()
    try:
        first = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            kernel.snapshot(*arguments)
        grown = tracemalloc.get_traced_memory()[0] - first
    finally:
        tracemalloc.stop()
    after = rtsys.get_allocation_stats()
    nrt.memsys_disable_stats()
    assert after.alloc - before.alloc == 100 * len(arguments)  # numba's handle of each argument, whatever its size, and nothing else
    assert grown < 1000


def test_snapshot_on_all_threads_is_the_same_on_any_number_of_them():
    found = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        b, sector, state, exposure = book(10_007)
        numba.set_num_threads(threads)
        kernel.snapshot_parallel(b, sector, state, exposure, np.full((16, 5), np.nan), np.full((16, 2, 11), np.nan))
        found.append((b, state, exposure))
    one = book(10_007)
    kernel.snapshot(*one)
    for first, second, serial in zip(*found, (one[0], one[2], one[3])):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, serial, rtol=1e-11, atol=1e-4)


def test_live_book_of_100000_positions_is_valued_on_all_threads():
    opened = datetime(2022, 12, 28, 15, tzinfo=UTC)
    positions = [Position("DU1", "main", stock(f"S{i}"), (Lot(Decimal(i % 7 + 1), Decimal(10), opened),)) for i in range(PARALLEL_FROM)]
    live = LiveBook(positions, 1e9)
    figures = live.update(np.full(PARALLEL_FROM, 12.0))
    held = sum(i % 7 + 1 for i in range(PARALLEL_FROM))
    assert live._blocks and (figures.nav, figures.unrealized) == (1e9 + 12.0 * held, 2.0 * held)


def test_snapshot_compiled_equals_interpreted():
    fast, slow = book(30), book(30)
    kernel.snapshot(*fast)
    kernel.snapshot.py_func(*slow)
    for a, b in zip(fast, slow):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.floats(allow_nan=True)), max_size=60), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_ticks_equal_a_dictionary(ticks, capacity):
    keys, fields = list("abcde"), ["bid", "ask", "last"]
    buffer, newest, order = TickBuffer(keys, fields, capacity), {}, []
    for key, field, value in ticks:
        buffer.push(keys[key], fields[field], value)
        newest[key, field] = value
        order += [] if keys[key] in order else [keys[key]]
    got = buffer.drain()
    assert list(got) == order
    for (key, field), value in newest.items():
        assert got[keys[key]][fields[field]] == pytest.approx(value, rel=0, abs=0, nan_ok=True)
