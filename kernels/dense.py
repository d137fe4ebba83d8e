"""Small dense linear algebra that allocates nothing it need not: Cholesky by panels, triangular solves, a system whose rows may depend.

    A = L L'    panels of BLOCK columns, what is right of them by matrix products (Golub and Van Loan, section 4.2)

Twins: numpy.linalg.cholesky, scipy.linalg.solve_triangular.
"""
import math

import numpy as np

from ._jit import kernel
from .elementary import dot

BLOCK = 48  # columns of a Cholesky panel
DEPENDENT = 1e-11  # of a row's own size: rows nearer to the span of others count as the same


@kernel
def _panel(a, start, stop, n):
    """Cholesky factor of columns start to stop, whose earlier columns were subtracted; False where it is not positive."""
    for j in range(start, stop):
        pivot = a[j, j] - dot(a[j, start:j], a[j, start:j])
        if not pivot > 0.0:
            return False
        root = math.sqrt(pivot)
        a[j, j] = root
        for i in range(j + 1, n):
            a[i, j] = (a[i, j] - dot(a[i, start:j], a[j, start:j])) / root
    return True


@kernel
def cholesky(a):
    """The lower Cholesky factor of `a` (n, n) in its own lower triangle; False where `a` is not positive definite."""
    n = len(a)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        if not _panel(a, start, stop, n):
            return False
        if stop < n:
            left = np.ascontiguousarray(a[stop:, start:stop])
            for first in range(stop, n, 4 * BLOCK):  # by strips, of which only the lower part is needed
                last = min(first + 4 * BLOCK, n)
                a[first:last, stop:last] -= left[first - stop : last - stop] @ left[: last - stop].T
    return True


@kernel
def forward(a, rows):
    """Solve L z = row in place for each row of `rows` (r, k)."""
    for q in range(len(rows)):
        z = rows[q]
        for i in range(len(a)):
            z[i] = (z[i] - dot(a[i, :i], z[:i])) / a[i, i]


@kernel
def back(a, z):
    """Solve L' x = z in place."""
    for i in range(len(a) - 1, -1, -1):
        z[i] /= a[i, i]
        for j in range(i):
            z[j] -= a[i, j] * z[i]


@kernel
def schur(s, rhs, kept):
    """Solve s y = rhs (r, 2) by Cholesky in place; a row that depends on earlier ones is left out, `kept` says so."""
    r = len(s)
    for j in range(r):
        size = s[j, j]
        for i in range(j):
            if kept[i]:
                s[j, i] = (s[j, i] - dot(s[j, :i], s[i, :i])) / s[i, i]
            else:
                s[j, i] = 0.0
        pivot = s[j, j] - dot(s[j, :j], s[j, :j])
        kept[j] = pivot > DEPENDENT * size and size > 0.0
        s[j, j] = math.sqrt(pivot) if kept[j] else 1.0
    for column in range(2):
        for j in range(r):
            rhs[j, column] = (rhs[j, column] - dot(s[j, :j], rhs[:j, column])) / s[j, j] if kept[j] else 0.0
        for j in range(r - 1, -1, -1):
            rhs[j, column] /= s[j, j]
            for i in range(j):
                rhs[i, column] -= s[j, i] * rhs[j, column]
