r"""Compiled decompositions of :mod:`dbutterfly.kernels.low_rank.skeletons.interpolative`: one matrix after the other.

Real and imaginary parts lie in arrays of their own, so that loops along a row are vector instructions. With the unit
columns ``u_1, ..., u_k`` of the pivots so far, the next one is that of the largest remainder, and

    (a)  u = (a_p - sum_l u_l (u_l^H a_p)) / norm,    twice, so that it is orthogonal
    (b)  row of the triangle: t = u^H A,    squared norm of the remainder of column j: less |t_j|^2

Columns stay as they are until the differences (b) are about to be rounding; then their remainders are formed, and
elimination goes on with these. That takes half of the operations of forming the remainders after every pivot.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ....compiler import Loop, array_type, entry_type, inline, number_type, stamp_of, subroutine, types
from ...pivots import ROUNDING_UNITS

__all__ = ["interpolation_loop"]

STAMP = stamp_of(Path(__file__).parent, ("interpolation", "../../pivots"))
"""Digest of the sources of the loop."""

CANCELLING_UNITS = 64
"""Units in the last place of the energy at the last look, below which what is left of it is formed anew.

Not tuned: differences (b) are off by a few units, which are a tenth of what is left then.
"""

SHRUNK = 0.5
"""Part of the squared norm of a remainder below which it was wrong by (b): others are looked at first. Not tuned."""


@inline
def _add_multiple(re: Any, im: Any, c: Any, d: Any, x: Any, y: Any, n: Any) -> None:
    """Add ``(c + i d) (x + i y)`` to the row ``re + i im``."""
    for j in range(n):
        re[j] += c * x[j] - d * y[j]
        im[j] += c * y[j] + d * x[j]


@subroutine
def _split(matrix: Any, re: Any, im: Any) -> Any:
    """Copy a matrix, divided by its largest real or imaginary part, which is returned."""
    height, width = matrix.shape
    scale = re.dtype.type(0)
    for i in range(height):
        for j in range(width):
            scale = max(scale, abs(matrix[i, j].real), abs(matrix[i, j].imag))
    over = scale if scale > 0 else re.dtype.type(1)
    for i in range(height):
        for j in range(width):
            re[i, j] = matrix[i, j].real / over
            im[i, j] = matrix[i, j].imag / over
    return over


@subroutine
def _measure(re: Any, im: Any, score: Any) -> None:
    """Squared norms of all columns."""
    height, width = re.shape
    score[:] = 0.0
    for i in range(height):
        x, y = re[i], im[i]
        for j in range(width):
            score[j] += np.float64(x[j]) * x[j] + np.float64(y[j]) * y[j]


@subroutine
def _form_remainders(a: Any, units: Any, triangle: Any, since: Any, k: Any) -> None:
    """Take the parts of all columns along the unit columns ``since``, ..., k - 1 off."""
    (re, im), (u_re, u_im), (t_re, t_im) = a, units, triangle
    height, width = re.shape
    for i in range(height):
        for each in range(since, k):
            _add_multiple(re[i], im[i], -u_re[each, i], -u_im[each, i], t_re[each], t_im[each], width)


@subroutine
def _orthogonalize(a: Any, units: Any, triangle: Any, since: Any, k: Any, at: Any) -> Any:
    """Unit column (a) of the column ``at``, before it is divided by its norm, the square of which is returned."""
    (re, im), (u_re, u_im), (t_re, t_im) = a, units, triangle
    height = re.shape[0]
    x, y = u_re[k], u_im[k]
    for i in range(height):
        x[i], y[i] = re[i, at], im[i, at]
    for each in range(since, k):
        _add_multiple(x, y, -t_re[each, at], -t_im[each, at], u_re[each], u_im[each], height)
    for each in range(k):
        c, d = re.dtype.type(0), re.dtype.type(0)
        for i in range(height):
            c += u_re[each, i] * x[i] + u_im[each, i] * y[i]
            d += u_re[each, i] * y[i] - u_im[each, i] * x[i]
        _add_multiple(x, y, -c, -d, u_re[each], u_im[each], height)
        t_re[each, at] += c
        t_im[each, at] += d
    total = 0.0
    for i in range(height):
        total += np.float64(x[i]) * x[i] + np.float64(y[i]) * y[i]
    return total


@subroutine
def _project(a: Any, units: Any, triangle: Any, score: Any, k: Any) -> None:
    """Row (b) of the triangle, for all columns, and what is left of them."""
    (re, im), (u_re, u_im), (t_re, t_im) = a, units, triangle
    height, width = re.shape
    p, q = t_re[k], t_im[k]
    for j in range(width):
        p[j], q[j] = 0, 0
    for i in range(height):
        _add_multiple(p, q, u_re[k, i], -u_im[k, i], re[i], im[i], width)
    for j in range(width):
        score[j] = max(score[j] - (np.float64(p[j]) * p[j] + np.float64(q[j]) * q[j]), 0.0)


@inline
def _find_largest(score: Any, is_free: Any) -> Any:
    """The free column with the largest remainder, and the sum of all remainders."""
    best, top, total = 0, -1.0, 0.0
    for j in range(len(score)):
        if is_free[j]:
            total += score[j]
            if score[j] > top:
                best, top = j, score[j]
    return best, top, total


@subroutine
def _eliminate(a: Any, units: Any, triangle: Any, score: Any, is_free: Any, pivots: Any, allowed: Any, eps: Any) -> Any:
    """Choose pivots until no more energy is left than is allowed; their number, and what is left."""
    k, since, height = 0, 0, a[0].shape[0]
    _measure(a[0], a[1], score)
    best, top, total = _find_largest(score, is_free)
    least, looked_at = (ROUNDING_UNITS * eps) ** 2 * top, total
    while True:
        if since < k and total < CANCELLING_UNITS * eps * looked_at:
            _form_remainders(a, units, triangle, since, k)
            _measure(a[0], a[1], score)
            since = k
            best, top, total = _find_largest(score, is_free)
            looked_at = total
        if k == len(pivots) or not (top > least and total > allowed):
            return k, total
        square = _orthogonalize(a, units, triangle, since, k, best)
        if square > least and square >= SHRUNK * top:
            over, norm = a[0].dtype.type(1 / np.sqrt(square)), a[0].dtype.type(np.sqrt(square))
            for i in range(height):
                units[0][k, i] *= over
                units[1][k, i] *= over
            _project(a, units, triangle, score, k)
            triangle[0][k, best], triangle[1][k, best] = norm, 0
            pivots[k], is_free[best] = best, False
            k += 1
        else:
            score[best] = min(square, SHRUNK * top)
        best, top, total = _find_largest(score, is_free)


@subroutine
def _solve(triangle: Any, pivots: Any, k: Any, coefficients: Any) -> None:
    """Coefficients (1) of the plain kernel's module, in place of the triangle; zero beyond the rank."""
    t_re, t_im = triangle
    width = t_re.shape[1]
    for row in range(k - 1, -1, -1):
        x, y = t_re[row], t_im[row]
        over = x.dtype.type(1) / x[pivots[row]]
        for each in range(row + 1, k):
            c, d = x[pivots[each]], y[pivots[each]]
            _add_multiple(x, y, -c, -d, t_re[each], t_im[each], width)
        for j in range(width):
            x[j] *= over
            y[j] *= over
        for each in range(k):
            at = pivots[each]
            x[at], y[at] = 1 if each == row else 0, 0
    coefficients[:] = 0
    for row in range(k):
        for j in range(width):
            coefficients[row, j, 0] = t_re[row, j]
            if coefficients.shape[2] == 2:
                coefficients[row, j, 1] = t_im[row, j]


@functools.cache
def interpolation_loop(char: str) -> Loop:
    """Loop over the matrices of a stack, for one of the dtypes "fdFD".

    Its arguments are the stack (B, m, n), the mean squares (B,) that may be left of an entry, and what is to be filled:
    pivots (B, k), coefficients (B, k, n, 1 or 2) as real numbers, the ranks (B,), and the mean squares (B, 2) of what
    is left and of an entry.
    """
    stamp, real = STAMP, np.float64 if char in "dD" else np.float32
    eps = float(np.finfo(real).eps)

    def interpolate(stack, floor, pivots, coefficients, rank, squares):  # type: ignore[no-untyped-def]
        (count, height, width), most = stack.shape, pivots.shape[1]
        a = np.empty((height, width), real), np.empty((height, width), real)
        units = np.empty((most, height), real), np.empty((most, height), real)
        triangle = np.empty((most, width), real), np.empty((most, width), real)
        score, is_free, area = np.empty(width), np.empty(width, np.bool_), height * width
        for b in range(count if stamp > 0 else 0):  # always: it keeps the stamp among the constants of the closure
            scale = np.float64(_split(stack[b], a[0], a[1]))
            is_free[:], pivots[b] = True, 0
            _measure(a[0], a[1], score)
            squares[b, 1] = np.sum(score) / area * scale * scale
            allowed = floor[b] / scale / scale * area
            k, left = _eliminate(a, units, triangle, score, is_free, pivots[b], allowed, eps)
            rank[b], squares[b, 0] = k, left / area * scale * scale
            _solve(triangle, pivots[b], k, coefficients[b])

    number, energies = number_type(char), types.float64
    signature = [array_type(entry_type(char), 3, readonly=True), array_type(energies, 1, readonly=True)]
    signature += [array_type(types.int64, 2), array_type(number, 4), array_type(types.int64), array_type(energies, 2)]
    return Loop(interpolate, types.void, signature)
