"""A block of columns as small integers in byte planes, ready for a general compressor; back again bit by bit.

    on a grid    x = q * num / den, q whole: found (tick 1 to 1e-6) or declared; exact mode keeps x's distance in ulp too
    elsewhere    q = the bits of x in the order of the numbers
    then         z = zigzag(q[i] - q[i - 1]), byte p of all z one after the other, as many bytes as the greatest needs

A dollar amount in cents has 50 busy bits as a float64 but few as a count of cents (the idea of ALP: Afroozeh, Kuffó and
Boncz 2023, SIGMOD, doi 10.1145/3626717). Twin: the same in NumPy with int64 arrays.
"""
import numpy as np

from ._jit import kernel

NUM, DEN, FIRST, WIDTH, ULPS = range(5)  # columns of a plan; DEN 0: bits
PLAN = 5
MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding and subtracting it rounds to the nearest whole number
LARGEST = 2.0**50  # a count beyond it is not exact under MAGIC
ONE_BYTE = np.uint64(256)  # a distance must fit
DECIMALS = 7  # grids 1, 0.1, ... 1e-6 are looked for
SAMPLE = 64  # values on which a grid must hold before a whole column is tried


@kernel
def _round(x, num, den):
    return (x * den / num + MAGIC) - MAGIC


@kernel
def _grid(x, num, den, q, point):
    """Counts of the grid into q and the grid's points; False where one is not finite or too large."""
    fits = True
    for i in range(x.size):
        count = _round(x[i], num, den)
        good = abs(count) < LARGEST
        fits = fits & good
        q[i] = np.int64(count if good else 0.0)
        point[i] = float(q[i]) * num / den
    return fits


@kernel
def _distance(bits, point, ulps):
    """How many ulp each value lies from its grid point, as unsigned integers, small ones small; and all their bits together."""
    on, every = point.view(np.int64), np.uint64(0)
    for i in range(bits.size):
        off = bits[i] - on[i]
        ulps[i] = np.uint64((off << 1) ^ (off >> 63))
        every |= ulps[i]
    return every


@kernel
def _find(x, q, point, ulps):
    """The power of ten of the coarsest grid near which all of x lies, 0 for none; and whether x lies beside it anywhere."""
    bits, few = x.view(np.int64), min(SAMPLE, x.size)
    den = 1.0
    for _ in range(DECIMALS):
        if _grid(x[:few], 1.0, den, q[:few], point[:few]) and _distance(bits[:few], point[:few], ulps[:few]) < ONE_BYTE:
            if _grid(x, 1.0, den, q, point):
                every = _distance(bits, point, ulps)
                if every < ONE_BYTE:
                    return den, every > 0
        den *= 10.0
    return 0.0, False


@kernel
def _ordered(bits, q):
    """Bits of a float64 as integers in the order of the numbers; its own inverse."""
    for i in range(bits.size):
        q[i] = bits[i] ^ ((bits[i] >> 63) & 0x7FFFFFFFFFFFFFFF)


@kernel
def _zigzag(q, z):
    """Differences as unsigned integers, small ones small; and how many bytes the greatest needs."""
    every = np.uint64(0)
    z[0] = 0
    for i in range(1, q.size):
        step = q[i] - q[i - 1]
        z[i] = np.uint64((step << 1) ^ (step >> 63))
        every |= z[i]
    return _bytes(every)


@kernel
def _bytes(value):
    width = 0
    while value:
        value >>= np.uint64(8)
        width += 1
    return width


@kernel
def _planes(z, width, out, at):
    """Byte p of every z to out[at + p * n:]; the position behind."""
    for p in range(width):
        plane, shift = out[at : at + z.size], np.uint64(8 * p)
        for i in range(z.size):
            plane[i] = np.uint8((z[i] >> shift) & np.uint64(255))
        at += z.size
    return at


@kernel
def pack(columns, grids, plan, out):
    """Columns to byte planes.

    Parameters
    ----------
    columns : (m, n) float64, any bit pattern
    grids : (m, 2) int64, declared tick num / den of each column, to which it is rounded; den 0: exact
    plan : (m, 5) int64, written: what `unpack` needs
    out : (9 * m * n,) uint8, written

    Returns
    -------
    int, bytes of `out` that were written

    Notes
    -----
    A column with a value that is not finite, or too far from zero for its declared tick, is kept bit by bit.
    """
    m, n = columns.shape
    q, z, ulps, point = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.uint64), np.empty(n)
    at = 0
    for j in range(m):
        num, den, beside = float(grids[j, 0]), float(grids[j, 1]), False
        if den == 0.0:
            num = 1.0
            den, beside = _find(columns[j], q, point, ulps)
        elif not _grid(columns[j], num, den, q, point):
            den = 0.0
        if den == 0.0:
            _ordered(columns[j].view(np.int64), q)
        width = _zigzag(q, z)
        plan[j, NUM], plan[j, DEN], plan[j, FIRST], plan[j, WIDTH], plan[j, ULPS] = num, den, q[0], width, beside
        at = _planes(z, width, out, at)
        if beside:
            at = _planes(ulps, 1, out, at)
    return at


@kernel
def _unplane(data, at, width, z):
    """The inverse of `_planes`; the position behind."""
    if width == 0:
        z[:] = np.uint64(0)
    for p in range(width):
        plane, shift = data[at : at + z.size], np.uint64(8 * p)
        if p == 0:
            for i in range(z.size):
                z[i] = np.uint64(plane[i])
        else:
            for i in range(z.size):
                z[i] |= np.uint64(plane[i]) << shift
        at += z.size
    return at


@kernel
def unpack(data, plan, columns):
    """The inverse of `pack`: `data`, uint8 (any length >= what was written), and plan to columns (m, n)."""
    m, n = columns.shape
    q, z = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.uint64)
    at = 0
    for j in range(m):
        at = _unplane(data, at, plan[j, WIDTH], z)
        last = plan[j, FIRST]
        for i in range(n):
            last += np.int64(z[i] >> np.uint64(1)) ^ -np.int64(z[i] & np.uint64(1))
            q[i] = last
        bits = columns[j].view(np.int64)
        if plan[j, DEN] == 0:
            _ordered(q, bits)
            continue
        num, den = float(plan[j, NUM]), float(plan[j, DEN])
        for i in range(n):
            columns[j, i] = float(q[i]) * num / den
        if plan[j, ULPS]:
            at = _unplane(data, at, 1, z)
            for i in range(n):
                bits[i] += np.int64(z[i] >> np.uint64(1)) ^ -np.int64(z[i] & np.uint64(1))
