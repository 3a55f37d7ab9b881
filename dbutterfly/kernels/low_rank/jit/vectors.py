"""Compiled loops on the rows of small matrices: products, orthonormal rows, and rotations that make them orthogonal.

A matrix is an array whose rows are contiguous. All loops serve real and complex numbers: the conjugate of a real number
is the number itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...compiler import inline, stamp_of, subroutine, summing
from ...linalg import RUN

__all__ = [
    "STAMP",
    "add_multiple",
    "add_rows",
    "clear",
    "copy_row",
    "energy",
    "inner",
    "inner_products",
    "orthogonalize",
    "orthonormalize",
    "real_like",
    "residual",
    "scale",
    "square",
    "sum_squares",
]

CONSTANTS = ("../compiled", "../rank_one", "../subspace", "../../linalg")
"""Modules whose constants the loops hold: these are compiled in, and a change to them makes the loops stale, too."""

STAMP = stamp_of(Path(__file__).parent, ("rank_one", "subspaces", "vectors", *CONSTANTS))
"""Digest of the sources of the loops of this package."""

SWEEPS = 30
"""Most sweeps of :func:`orthogonalize`. Not tuned: some six make rows orthogonal, quadratically at the end."""

NULL_UNITS = 4
"""Rows of which less than this many units in the last place, for each row, is left are combinations of the others.

Not tuned: what is left is the rounding of that many subtractions.
"""


@inline
def real_like(x: Any, value: Any) -> Any:
    """A real number in the precision of an array: in that of float64, it would make float64 of a whole loop."""
    return x.real.dtype.type(value)


@summing
def square(x: Any, n: Any) -> Any:
    """Sum of the squared moduli of the first ``n`` entries of a row, in its precision."""
    total = x.dtype.type(0).real  # a plain 0 would make the sum one of float64
    for j in range(n):
        total += x[j].real * x[j].real + x[j].imag * x[j].imag
    return total


@inline
def sum_squares(x: Any, n: Any) -> Any:
    """The same in float64, beyond runs of ``RUN`` entries: :func:`dbutterfly.kernels.linalg.squared_norms`."""
    if n < 2 * RUN:
        return np.float64(square(x, n))
    total = 0.0
    for first in range(0, n, RUN):
        total += np.float64(square(x[first:], min(RUN, n - first)))
    return total


@subroutine
def energy(z: Any) -> Any:
    """Squared Frobenius norm, in float64."""
    total = 0.0
    for i in range(z.shape[0]):
        total += sum_squares(z[i], z.shape[1])
    return total


@summing
def inner(x: Any, y: Any, n: Any) -> Any:
    """Inner product: sum of ``x conj(y)``."""
    total = x.dtype.type(0)
    for j in range(n):
        total += x[j] * np.conj(y[j])
    return total


@inline
def add_multiple(y: Any, c: Any, x: Any, n: Any) -> None:
    """Add ``c x`` to the row ``y``."""
    for j in range(n):
        y[j] += c * x[j]


@inline
def copy_row(y: Any, x: Any, n: Any) -> None:
    """Copy the row ``x`` to ``y``."""
    for j in range(n):
        y[j] = x[j]


@inline
def scale(y: Any, c: Any, n: Any) -> None:
    """Multiply a row by a number."""
    for j in range(n):
        y[j] *= c


@inline
def clear(y: Any, n: Any) -> None:
    """Make a row zero."""
    for j in range(n):
        y[j] = 0


@summing
def _inner_with_four(x: Any, w: Any, a: Any, n: Any) -> Any:
    """Inner products of a row with the rows a .. a + 3 of a matrix."""
    w0, w1, w2, w3 = w[a], w[a + 1], w[a + 2], w[a + 3]
    t0 = t1 = t2 = t3 = x.dtype.type(0)
    for j in range(n):
        value = x[j]
        t0 += value * np.conj(w0[j])
        t1 += value * np.conj(w1[j])
        t2 += value * np.conj(w2[j])
        t3 += value * np.conj(w3[j])
    return t0, t1, t2, t3


@subroutine
def inner_products(z: Any, w: Any, count: Any, y: Any) -> None:
    """Rows ``y[a] = Z w_a^H`` from the blocks Z (p, v) and ``count`` rows (count, v); y is (count, p)."""
    p, v = z.shape
    fours = count - count % 4
    for i in range(p):
        row = z[i]
        for a in range(0, fours, 4):
            y[a, i], y[a + 1, i], y[a + 2, i], y[a + 3, i] = _inner_with_four(row, w, a, v)
        for a in range(fours, count):
            y[a, i] = inner(row, w[a], v)


@subroutine
def _add_four(y: Any, c0: Any, c1: Any, c2: Any, c3: Any, z: Any, i: Any, n: Any) -> None:
    """Add multiples of the rows i .. i + 3 of a matrix to a row."""
    z0, z1, z2, z3 = z[i], z[i + 1], z[i + 2], z[i + 3]
    for j in range(n):
        y[j] += c0 * z0[j] + c1 * z1[j] + c2 * z2[j] + c3 * z3[j]


@subroutine
def add_rows(q: Any, count: Any, z: Any, b: Any) -> None:
    """Rows ``b[a] = q_a^H Z``: for columns ``q_a`` that are kept as rows (count, p), Z (p, v) and b (count, v)."""
    p, v = z.shape
    for a in range(count):
        clear(b[a], v)
    fours = p - p % 4
    for i in range(0, fours, 4):
        for a in range(count):
            row = q[a]
            c0, c1, c2, c3 = np.conj(row[i]), np.conj(row[i + 1]), np.conj(row[i + 2]), np.conj(row[i + 3])
            _add_four(b[a], c0, c1, c2, c3, z, i, v)
    for i in range(fours, p):
        for a in range(count):
            add_multiple(b[a], np.conj(q[a, i]), z[i], v)


@subroutine
def orthonormalize(m: Any, count: Any, n: Any, lower: Any, eps: Any) -> None:
    """Make the rows of a matrix orthonormal, each from itself and those before it; combinations of these become zero.

    The modified Gram-Schmidt process, twice. Where the rows were ``m``, they are ``L m`` with the triangle L whose
    *columns* are the rows of ``lower`` (count, count).
    """
    for a in range(count):
        for b in range(count):
            lower[b, a] = 0
        before = np.sqrt(square(m[a], n))
        for _ in range(2):
            for b in range(a):
                c = inner(m[a], m[b], n)
                add_multiple(m[a], -c, m[b], n)
                lower[b, a] += c
        after = np.sqrt(square(m[a], n))
        if after > NULL_UNITS * count * eps * before:
            lower[a, a] = after
            scale(m[a], real_like(m, 1 / after), n)
        else:
            clear(m[a], n)


@subroutine
def orthogonalize(m: Any, count: Any, n: Any, width: Any, eps: Any) -> None:
    """Make the first ``n`` entries of rows orthogonal by rotations of pairs of rows: the one-sided Jacobi method.

    Their norms are the singular values then. The rotations apply to ``width`` entries. Reference: Demmel and Veselic,
    "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal. Appl. 13 (1992).
    """
    for _ in range(SWEEPS):
        has_turned = False
        for a in range(count - 1):
            for b in range(a + 1, count):
                has_turned |= _rotate(m[a], m[b], n, width, eps)
        if not has_turned:
            return


@subroutine
def _rotate(x: Any, y: Any, n: Any, width: Any, eps: Any) -> Any:
    """Make two rows orthogonal; whether they were not."""
    one, other, between = square(x, n), square(y, n), inner(x, y, n)
    size = np.sqrt(between.real * between.real + between.imag * between.imag)
    if not size > eps * np.sqrt(one * other):
        return False
    ratio = (other - one) / (2 * size)
    tangent = 1 / (abs(ratio) + np.sqrt(1 + ratio * ratio))
    if ratio < 0:
        tangent = -tangent
    cosine = 1 / np.sqrt(1 + tangent * tangent)
    sine, phase = real_like(x, cosine * tangent), between / size
    cosine = real_like(x, cosine)
    for j in range(width):
        first, second = x[j], phase * y[j]
        x[j] = cosine * first - sine * second
        y[j] = sine * first + cosine * second
    return True


@subroutine
def residual(z: Any, left: Any, right: Any, count: Any, row: Any) -> Any:
    """``||Z - left^T right||^2`` in float64 for Z (p, v), left (count, p), right (count, v), by way of ``row`` (v,)."""
    p, v = z.shape
    total = 0.0
    for i in range(p):
        copy_row(row, z[i], v)
        for a in range(count):
            add_multiple(row, -left[a, i], right[a], v)
        total += sum_squares(row, v)
    return total
