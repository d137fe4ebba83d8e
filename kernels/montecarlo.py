"""Simulated P&L of a delta-gamma book on independent factors.

    P&L = drift + sum_j (m b_j y_j + m**2 c_j y_j**2),  y standard normal, m the scenario's mixing factor (1: normal returns)

The wrapper turns the book delta'x + x'Gamma x / 2 with x = m A z, A A' = Sigma, into this form: A' Gamma A / 2 = Q diag(c) Q', b = Q' A' delta.
The rotation Q' of independent normals is again independent normals, so no scenario needs a matrix product.
drift dollars, b and c dollars. Source: Glasserman (2003), Monte Carlo Methods in Financial Engineering, section 9.1.2.
Twin: rng.standard_normal((T, n)) @ A.T and the book's formula, written with NumPy.
"""
from ._jit import kernel
from .elementary import normals

CHUNK = 512  # draws of one stream of random numbers: n * CHUNK floats stay in the cache


@kernel
def _add_factor(y, b, c, linear, square):
    for s in range(linear.size):
        linear[s] += b * y[s]
        square[s] += c * y[s] * y[s]


@kernel
def _add_four(y, z, v, w, b, c, j, linear, square):
    b0, b1, b2, b3 = b[j], b[j + 1], b[j + 2], b[j + 3]
    c0, c1, c2, c3 = c[j], c[j + 1], c[j + 2], c[j + 3]
    for s in range(linear.size):
        linear[s] += b0 * y[s] + b1 * z[s] + b2 * v[s] + b3 * w[s]
        square[s] += c0 * y[s] * y[s] + c1 * z[s] * z[s] + c2 * v[s] * v[s] + c3 * w[s] * w[s]


@kernel
def _chunk(seed, stream, b, c, draws, linear, square):
    n, size = b.size, linear.size
    normals(seed, stream, draws[: n * size])
    linear[:] = 0.0
    square[:] = 0.0
    fours = n - n % 4
    for j in range(0, fours, 4):
        k = j * size
        _add_four(draws[k : k + size], draws[k + size : k + 2 * size], draws[k + 2 * size : k + 3 * size], draws[k + 3 * size : k + 4 * size],
                  b, c, j, linear, square)
    for j in range(fours, n):
        _add_factor(draws[j * size : (j + 1) * size], b[j], c[j], linear, square)


@kernel
def simulate(seed, drift, b, c, mixing, mirrored, pnl, draws, linear, square):
    """P&L of T scenarios; `pnl` (T,) is written and depends on the inputs alone, not on the machine.

    Parameters
    ----------
    seed : int64, with the number of the chunk decides every draw; drift : dollars
    b, c : (n,) dollars; mixing : (T,) or, with `mirrored`, (T / 2,); draws : (n * CHUNK,), linear, square : (CHUNK,) scratch
    mirrored : every draw is used with its mirror image: scenarios 2k and 2k + 1 have opposite factors
    """
    count = mixing.size
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        _chunk(seed, start // CHUNK, b, c, draws, linear[:size], square[:size])
        for s in range(size):
            m = mixing[start + s]
            even, odd = drift + m * m * square[s], m * linear[s]
            if mirrored:
                pnl[2 * (start + s)] = even + odd
                pnl[2 * (start + s) + 1] = even - odd
            else:
                pnl[start + s] = even + odd


@kernel
def factors(seed, count, wanted, n, out, draws):
    """The standard normal factors of some draws, as `simulate` has them with this `seed`; `out` (m, n) is written.

    `wanted` (m,) int64 holds numbers of draws in rising order, below `count`, the number that was simulated.
    """
    k = 0
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        if k < wanted.size and wanted[k] < start + size:
            normals(seed, start // CHUNK, draws[: n * size])
        while k < wanted.size and wanted[k] < start + size:
            for j in range(n):
                out[k, j] = draws[j * size + wanted[k] - start]
            k += 1
