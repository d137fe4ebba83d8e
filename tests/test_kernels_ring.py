"""Compressed snapshots come back bit by bit, or to their declared tick; damage is told."""
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from otsport.core.errors import DataError, InputError
from otsport.data.ring import SnapshotRing, decode, encode, tick_grid
from otsport.kernels import ring as kernel

START = datetime(2024, 3, 28, 13, 30, tzinfo=timezone.utc)


def same_bits(a, b):
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)))
@settings(max_examples=150, deadline=None)
def test_any_bits_come_back(rows):
    assert same_bits(decode(encode(rows)), rows)


@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(-(2**63), 2**63 - 1)))
@settings(max_examples=100, deadline=None)
def test_any_bit_pattern_comes_back(bits):
    assert same_bits(decode(encode(bits.view(np.float64)[:, None])), bits)


@given(hnp.arrays(np.int64, st.integers(1, 80), elements=st.integers(-(10**12), 10**12)), st.integers(0, 6), st.integers(-3, 3))
@settings(max_examples=100, deadline=None)
def test_decimals_and_their_neighbors_come_back(counts, places, ulps):
    x = (counts / 10.0**places).view(np.int64) + np.where(counts == 0, 0, ulps)
    assert same_bits(decode(encode(x.view(np.float64)[:, None])), x)


@pytest.mark.parametrize("column", [np.zeros(5), np.full(5, -0.0), np.full(7, np.nan), np.array([1.0]), np.array([0.0, -0.0, 5e-324, 1.7e308, -np.inf]), np.arange(300.0), np.arange(300.0)[::-1] * 1e15])
def test_special_columns_come_back(column):
    assert same_bits(decode(encode(column[:, None])), column)


def test_cents_are_found_and_small():
    x = np.round(1e6 + np.cumsum(np.random.default_rng(0).normal(0, 5, 3600)), 2)
    assert len(encode(x[:, None])) / 3600 < 2


def test_sums_of_floats_near_cents_are_small():
    parts = np.round(np.random.default_rng(1).uniform(10, 300, (3600, 30)), 2)
    total = 1e5 + np.cumsum(parts - parts.mean(0).round(2), axis=0) @ np.ones(30)  # each sum ends a few ulp beside its cent
    assert np.any(total != np.round(total, 2))
    data = encode(total[:, None])
    assert same_bits(decode(data), total) and len(data) / 3600 < 5


@pytest.mark.parametrize("tick", ["0.01", "0.05", "0.25", "5", "0.000001"])
def test_declared_tick_rounds_to_the_nearest(tick):
    x = np.random.default_rng(2).normal(1000, 10, 500)
    got = decode(encode(x[:, None], tick_grid(["x"], {"x": tick})))[:, 0]
    assert np.abs(got - x).max() <= float(tick) / 2 * (1 + 1e-6)
    counts = np.round(got / float(tick))
    np.testing.assert_allclose(got, counts * float(tick), rtol=1e-15)


def test_declared_tick_keeps_decimals_exactly():
    x = np.round(np.random.default_rng(3).normal(1000, 10, 500), 2)
    assert same_bits(decode(encode(x[:, None], tick_grid(["x"], {"x": "0.01"}))), x)


def test_declared_tick_keeps_what_it_cannot_round():
    x = np.array([1.005, np.nan, 1e300])
    assert same_bits(decode(encode(x[:, None], tick_grid(["x"], {"x": "0.01"}))), x)


@pytest.mark.parametrize("at", [0, 3, 4, 5, 8, 12, 20, 23, 30, -1])  # mark, rows, fields, size, the checksum of these; the data
def test_damage_is_told(at):
    data = bytearray(encode(np.random.default_rng(4).normal(size=(50, 3))))
    data[at] ^= 0x55
    with pytest.raises(DataError):
        decode(bytes(data))


@pytest.mark.parametrize("rows", [1, 49, 51, 10**9])
def test_wrong_row_count_of_constant_columns_is_told(rows):  # their planes are empty: no size gives it away, and memory would be read at will
    data = encode(np.full((50, 3), 7.0))
    assert decode(data).shape == (50, 3)
    with pytest.raises(DataError, match=f"its head says {rows} rows"):
        decode(data[:4] + rows.to_bytes(4, "little") + data[8:])


@pytest.mark.parametrize("bits", [0x7FF8000000000001, 0x7FF0000000000001, 0xFFF123456789ABCD, 0x8000000000000000, 0x0000000000000001, 0x800FFFFFFFFFFFFF, 0x7FF0000000000000])
def test_odd_bits_between_cents_come_back(bits):  # NaN payloads, quiet and signalling, -0.0, subnormals, inf
    column = np.round(np.random.default_rng(8).normal(100, 1, 30), 2)
    column.view(np.uint64)[[0, 13, 29]] = bits
    back = decode(encode(np.column_stack([column, column[::-1]])))
    assert same_bits(back[:, 0], column) and back[13, 0].tobytes() == np.uint64(bits).tobytes()


def test_same_bits_tells_zeros_and_payloads_apart():  # negative control: the comparison that the tests above lean on
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    assert not same_bits(np.array([0x7FF8000000000000]).view(np.float64), np.array([0x7FF8000000000001]).view(np.float64))


@pytest.mark.parametrize("layout", [lambda t: np.asfortranarray(t), lambda t: t[::-1][::-1], lambda t: np.broadcast_to(t, t.shape), lambda t: t.tolist(), lambda t: pd.DataFrame(t)])
def test_any_layout_gives_the_same_bytes(layout):
    table = np.random.default_rng(9).normal(size=(20, 3))
    assert encode(layout(table)) == encode(table)


@pytest.mark.parametrize("rows, words", [([["1.0"]], "rows holds text"), ([[True]], "rows holds bool"), (np.array([["2024-01-02"]], dtype="M8[D]"), "datetime64"), ([[1j]], "complex"), ([[1.0], [1.0, 2.0]], "different lengths"), ([1.0, 2.0], "shape"), (np.empty((0, 3)), "shape")])
def test_encode_refuses(rows, words):
    with pytest.raises(InputError, match=words):
        encode(rows)


@pytest.mark.parametrize("grid", [np.array([[1.0, 100.0]]), np.array([[-1, 100]]), np.array([[1, -100]]), np.array([[0, 100]]), np.array([[1, 100], [1, 100]])])
def test_encode_refuses_a_grid_not_made_by_tick_grid(grid):
    with pytest.raises(InputError, match="make it with tick_grid"):
        encode([[1.234]], grid)
    assert decode(encode([[1.234]], tick_grid(["x"], {"x": "0.01"})))[0, 0] == 1.23


@pytest.mark.parametrize("values, words", [(pd.Series({"b": 1.0, "a": 2.0}), "labelled b, a"), (["1", 2.0], "'1'|str"), ([1.0], "1 values for 2"), ([[1.0, 2.0]], "2 values for 2|values for"), ({"a": 1.0, "b": 2.0}, "values holds")])
def test_ring_push_refuses_and_keeps_its_state(values, words):
    ring = SnapshotRing(["a", "b"])
    with pytest.raises(InputError, match=words):
        ring.push(START, values)
    assert len(ring) == 0
    ring.push(START, pd.Series({"a": 1.0, "b": 2.0}))  # the same instant is still free
    assert ring.read(START, START).to_numpy().tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("ts", [datetime(2024, 3, 28), START.date(), "2024-03-28", None])
def test_ring_refuses_instants_without_a_zone(ts):
    with pytest.raises(InputError):
        SnapshotRing(["a"]).push(ts, [1.0])


def test_ring_refuses_a_span_that_ends_before_it_starts():
    ring = SnapshotRing(["a"])
    ring.push(START, [1.0])
    with pytest.raises(InputError, match="exchange them"):
        ring.read(START + timedelta(seconds=1), START)


@pytest.mark.parametrize("arguments", [{"fields": []}, {"fields": "ab"}, {"fields": ["a", "a"]}, {"fields": ["a"], "days": np.nan}, {"fields": ["a"], "days": np.inf}, {"fields": ["a"], "days": 0}, {"fields": ["a"], "days": "3"}, {"fields": ["a"], "chunk": 0}, {"fields": ["a"], "chunk": 2.5}, {"fields": ["a"], "ticks": {"a": "abc"}}, {"fields": ["a"], "ticks": {"a": "nan"}}, {"fields": ["a"], "ticks": {"b": "1"}}])
def test_ring_refuses_its_own_arguments(arguments):
    with pytest.raises(InputError):
        SnapshotRing(**arguments)


def test_ring_reads_across_open_and_closed_chunks():
    ring, rows = SnapshotRing(["a", "b"], chunk=50), np.random.default_rng(5).normal(size=(170, 2))
    for i, row in enumerate(rows):
        ring.push(START + timedelta(seconds=i), row)
    got = ring.read(START + timedelta(seconds=30), START + timedelta(seconds=160))
    assert same_bits(got.to_numpy(), rows[30:161]) and got.index[0] == START + timedelta(seconds=30) and len(ring) == 170


def test_ring_forgets_after_its_days():
    ring = SnapshotRing(["a"], days=30, chunk=10)
    for day in range(60):
        for i in range(10):
            ring.push(START + timedelta(days=day, seconds=i), [day])
    got = ring.read(START, START + timedelta(days=100))
    assert got.index[0] == START + timedelta(days=29, seconds=9) and len(got) == 301  # thirty days to the second, both ends included
    assert len(ring) == 310  # the oldest chunk stays until its last snapshot is too old


def test_ring_refuses_time_that_stands():
    ring = SnapshotRing(["a"])
    ring.push(START, [1.0])
    with pytest.raises(InputError, match="must rise"):
        ring.push(START, [2.0])


def test_pack_compiled_equals_interpreted():
    columns = np.round(np.random.default_rng(6).normal(100, 1, (2, 20)), 2)
    columns[1] = np.random.default_rng(7).normal(size=20)
    grids = np.array([[1, 0], [1, 0]])
    answers = []
    for function in (kernel.pack, kernel.pack.py_func):
        plan, out = np.zeros((2, kernel.PLAN), dtype=np.int64), np.zeros(9 * 40, dtype=np.uint8)
        used = function(columns, grids, plan, out)
        answers.append((used, plan.tobytes(), out.tobytes()))
    assert answers[0] == answers[1]


def test_simulated_session_is_as_small_as_promised():
    from otsport.bench.jobs_book import FIELDS, TICKS, portfolio_day

    hour = portfolio_day(1)[:3600]
    data = encode(hour)
    assert same_bits(decode(data), hour) and len(data) / 3600 <= 36
    assert len(encode(hour, tick_grid(FIELDS, TICKS))) / 3600 <= 14


def naive_unpack(data, plan, n):
    """Planes to columns with NumPy alone, one value after the other."""
    at, columns = 0, []

    def take(width):
        nonlocal at
        planes = data[at : at + width * n].reshape(width, n).astype(object)
        at += width * n
        return [sum(int(planes[p, i]) << 8 * p for p in range(width)) for i in range(n)]

    def signed(z):
        return (z >> 1) ^ -(z & 1)

    for num, den, first, width, beside in plan.tolist():
        q, last = [], first
        for z in take(width):
            last = (last + signed(z) + 2**63) % 2**64 - 2**63
            q.append(last)
        if den == 0:
            columns.append(np.array([v ^ ((v >> 63) & 0x7FFFFFFFFFFFFFFF) for v in q], dtype=np.int64).view(np.float64))
            continue
        bits = (np.array(q, dtype=np.float64) * float(num) / float(den)).view(np.int64)
        columns.append((bits + np.array([signed(z) for z in take(1)] if beside else 0, dtype=np.int64)).view(np.float64))
    return np.array(columns)


@pytest.mark.parametrize("seed", range(4))
def test_unpack_equals_naive(seed):
    rng = np.random.default_rng(seed)
    columns = np.array([np.round(rng.normal(100, 1, 25), 2), rng.normal(size=25), np.full(25, np.nan), np.arange(25.0) * 1e15, np.cumsum(np.round(rng.normal(size=25), 2)), np.round(rng.normal(1e3, 5, 25), 3)])
    columns[1, :4] = 0.0, -0.0, np.inf, 5e-324
    grids = np.array([[1, 0]] * 5 + [[1, 100]])
    plan, planes = np.empty((6, kernel.PLAN), dtype=np.int64), np.empty(9 * columns.size, dtype=np.uint8)
    used = kernel.pack(columns, grids, plan, planes)
    back = np.empty_like(columns)
    kernel.unpack(planes[:used], plan, back)
    assert same_bits(naive_unpack(planes[:used], plan, 25), back) and same_bits(back[:5], columns[:5])
    np.testing.assert_allclose(back[5], columns[5], atol=0.005 * (1 + 1e-9))
