"""Compiled loops on the rows of small matrices: products, orthonormal rows, and rotations that make them orthogonal.

A matrix is an array whose rows are contiguous, and a row is named by its matrix and its place: views of rows would be
counted, which costs instructions, and more time of the compiler than all arithmetic. All loops serve real and complex
numbers: the conjugate of a real number is the number itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...compiler import called, spliced, stamp_of
from ...linalg import RUN

__all__ = [
    "STAMP",
    "add_four",
    "add_multiple",
    "add_rows",
    "clear",
    "copy_row",
    "copy_rows",
    "energy",
    "inner",
    "inner_products",
    "inner_with_four",
    "orthogonalize",
    "orthonormalize",
    "real_like",
    "residual",
    "scale",
    "square",
    "sum_squares",
    "total",
]

CONSTANTS = tuple(f"../{name}" for name in ("compiled", "gram_parts", "gram_powers", "most_captured", "rank_one"))
CONSTANTS += "../subspace", "../../linalg"
"""Modules whose constants the loops hold: these are compiled in, and a change to them makes the loops stale, too."""

STAMP = stamp_of(
    Path(__file__).parent, ("copies", "grams", "most_captured", "rank_one", "subspaces", "vectors", *CONSTANTS)
)
"""Digest of the sources of the loops of this package."""

SWEEPS = 30
"""Most sweeps of :func:`orthogonalize`. Not tuned: some six make rows orthogonal, quadratically at the end."""

NULL_UNITS = 4
"""Rows of which less than this many units in the last place, for each row, is left are combinations of the others.

Not tuned: what is left is the rounding of that many subtractions.
"""


@spliced
def real_like(x: Any, value: Any) -> Any:
    """A real number in the precision of an array: in that of float64, it would make float64 of a whole loop."""
    return x.real.dtype.type(value)


@spliced
def square(x: Any, i: Any, first: Any, last: Any) -> Any:
    """Sum of the squared moduli of some entries of row ``i``, in its precision."""
    total = x.dtype.type(0).real  # a plain 0 would make the sum one of float64
    for j in range(first, last):
        total += x[i, j].real * x[i, j].real + x[i, j].imag * x[i, j].imag
    return total


@called
def sum_squares(x: Any, i: Any, n: Any) -> Any:
    """The same in float64, beyond runs of ``RUN`` entries: :func:`dbutterfly.kernels.linalg.squared_norms`."""
    if n < 2 * RUN:
        return np.float64(square(x, i, 0, n))  # with a start of which the compiler knows that it is not negative
    whole, last = 0.0, n - n % RUN - RUN
    for first in range(0, last, RUN):
        whole += np.float64(square(x, i, first, first + RUN))
    return whole + np.float64(square(x, i, last, n))


@called
def energy(z: Any) -> Any:
    """Squared Frobenius norm, in float64."""
    whole = 0.0
    for i in range(z.shape[0]):
        whole += sum_squares(z, i, z.shape[1])
    return whole


@spliced
def inner(x: Any, i: Any, y: Any, a: Any, n: Any) -> Any:
    """Inner product: sum of ``x_i conj(y_a)``."""
    total = x.dtype.type(0)
    for j in range(n):
        total += x[i, j] * np.conj(y[a, j])
    return total


@spliced
def add_multiple(y: Any, a: Any, c: Any, x: Any, i: Any, n: Any) -> None:
    """Add ``c x_i`` to the row ``y_a``."""
    for j in range(n):
        y[a, j] += c * x[i, j]


@spliced
def copy_row(y: Any, a: Any, x: Any, i: Any, n: Any) -> None:
    """Copy the row ``x_i`` to ``y_a``."""
    for j in range(n):
        y[a, j] = x[i, j]


@called
def copy_rows(y: Any, x: Any) -> None:
    """Copy a matrix: as a slice, it would compile the message of an error, too, which takes seconds."""
    for a in range(x.shape[0]):
        copy_row(y, a, x, a, x.shape[1])


@spliced
def scale(y: Any, a: Any, c: Any, n: Any) -> None:
    """Multiply a row by a number."""
    for j in range(n):
        y[a, j] *= c


@spliced
def clear(y: Any, a: Any, first: Any, last: Any) -> None:
    """Make some entries of a row zero."""
    for j in range(first, last):
        y[a, j] = 0


@spliced
def total(numbers: Any, first: Any, last: Any) -> Any:
    """Sum of the numbers from one place up to another."""
    whole = 0.0
    for i in range(first, last):
        whole += numbers[i]
    return whole


@spliced
def inner_with_four(x: Any, i: Any, w: Any, a: Any, n: Any) -> Any:
    """Inner products of a row with the rows a .. a + 3 of a matrix."""
    t0 = t1 = t2 = t3 = x.dtype.type(0)
    for j in range(n):
        value = x[i, j]
        t0 += value * np.conj(w[a, j])
        t1 += value * np.conj(w[a + 1, j])
        t2 += value * np.conj(w[a + 2, j])
        t3 += value * np.conj(w[a + 3, j])
    return t0, t1, t2, t3


@called
def inner_products(z: Any, w: Any, count: Any, y: Any) -> None:
    """Rows ``y[a] = Z w_a^H`` from the blocks Z (p, v) and ``count`` rows (count, v); y is (count, p)."""
    p, v = z.shape
    fours = count - count % 4
    for i in range(p):
        for a in range(0, fours, 4):
            y[a, i], y[a + 1, i], y[a + 2, i], y[a + 3, i] = inner_with_four(z, i, w, a, v)
        for a in range(fours, count):
            y[a, i] = inner(z, i, w, a, v)


@spliced
def add_four(b: Any, a: Any, c0: Any, c1: Any, c2: Any, c3: Any, z: Any, i: Any) -> None:
    """Add multiples of the rows i .. i + 3 of a matrix to a row."""
    for j in range(z.shape[1]):
        b[a, j] += c0 * z[i, j] + c1 * z[i + 1, j] + c2 * z[i + 2, j] + c3 * z[i + 3, j]


@called
def add_rows(q: Any, count: Any, z: Any, b: Any) -> None:
    """Rows ``b[a] = q_a^H Z``: for columns ``q_a`` that are kept as rows (count, p), Z (p, v) and b (count, v)."""
    p, v = z.shape
    for a in range(count):
        clear(b, a, 0, v)
    fours = p - p % 4
    for i in range(0, fours, 4):
        for a in range(count):
            c0, c1, c2, c3 = np.conj(q[a, i]), np.conj(q[a, i + 1]), np.conj(q[a, i + 2]), np.conj(q[a, i + 3])
            add_four(b, a, c0, c1, c2, c3, z, i)
    for i in range(fours, p):
        for a in range(count):
            add_multiple(b, a, np.conj(q[a, i]), z, i, v)


@called
def orthonormalize(m: Any, count: Any, n: Any, lower: Any, eps: Any) -> None:
    """Make the rows of a matrix orthonormal, each from itself and those before it; combinations of these become zero.

    The modified Gram-Schmidt process, twice. Where the rows were ``m``, they are ``L m`` with the triangle L whose
    *columns* are the rows of ``lower`` (count, count).
    """
    for a in range(count):
        for b in range(count):
            lower[b, a] = 0
        before = np.sqrt(square(m, a, 0, n))
        for step in range(2 * a):
            b = step if step < a else step - a
            c = inner(m, a, m, b, n)
            add_multiple(m, a, -c, m, b, n)
            lower[b, a] += c
        after = np.sqrt(square(m, a, 0, n))
        if after > NULL_UNITS * count * eps * before:
            lower[a, a] = after
            scale(m, a, real_like(m, 1 / after), n)
        else:
            clear(m, a, 0, n)


@called
def orthogonalize(m: Any, count: Any, n: Any, width: Any, eps: Any) -> None:
    """Make the first ``n`` entries of rows orthogonal by rotations of pairs of rows: the one-sided Jacobi method.

    Their norms are the singular values then. The rotations apply to ``width`` entries. Reference: Demmel and Veselic,
    "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal. Appl. 13 (1992).
    """
    for _ in range(SWEEPS):
        has_turned = False
        for a in range(count - 1):
            for b in range(a + 1, count):
                has_turned |= _rotate(m, a, b, n, width, eps)
        if not has_turned:
            return


@spliced
def _rotate(m: Any, a: Any, b: Any, n: Any, width: Any, eps: Any) -> Any:
    """Make two rows orthogonal; whether they were not."""
    one, other, between = square(m, a, 0, n), square(m, b, 0, n), inner(m, a, m, b, n)
    size = np.sqrt(between.real * between.real + between.imag * between.imag)
    if not size > eps * np.sqrt(one * other):
        return False
    ratio = (other - one) / (2 * size)
    tangent = 1 / (abs(ratio) + np.sqrt(1 + ratio * ratio))
    if ratio < 0:
        tangent = -tangent
    cosine = 1 / np.sqrt(1 + tangent * tangent)
    sine, phase = real_like(m, cosine * tangent), between / size
    cosine = real_like(m, cosine)
    for j in range(width):
        first, second = m[a, j], phase * m[b, j]
        m[a, j] = cosine * first - sine * second
        m[b, j] = sine * first + cosine * second
    return True


@called
def residual(z: Any, left: Any, right: Any, start: Any, count: Any, row: Any) -> Any:
    """``||Z - left^T right||^2`` in float64 for Z (p, v), by way of ``row`` (1, v).

    ``left`` (n, p) and ``right`` (n, v) have ``count`` rows from ``start`` on.
    """
    p, v = z.shape
    whole, fours = 0.0, start + count - count % 4
    for i in range(p):
        copy_row(row, 0, z, i, v)
        for a in range(start, fours, 4):
            add_four(row, 0, -left[a, i], -left[a + 1, i], -left[a + 2, i], -left[a + 3, i], right, a)
        for a in range(fours, start + count):
            add_multiple(row, 0, -left[a, i], right, a, v)
        whole += sum_squares(row, 0, v)
    return whole
