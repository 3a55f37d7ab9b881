"""Compiled approximation of rank r of :mod:`dbutterfly.kernels.low_rank.subspace`: one block after the other.

Equation numbers are those of that module. What is a decomposition there is a Gram-Schmidt process here, and rotations
of its small triangle T: with the columns of ``T G`` orthogonal,

    (a)  T G = E S,    T = E S G^H
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ...compiler import Loop, array_type, called, entry_type, number_type, spliced, types
from ...linalg import CANCELLING, RELATIVE_SLACK, SUBTRACTED
from ..compiled import ROUNDS_UNCERTIFIED
from ..subspace import PRODUCTS, ROUNDED_UNITS
from .copies import copy_blocks
from .most_captured import bound_captured
from .vectors import (
    STAMP,
    add_multiple,
    add_rows,
    clear,
    copy_row,
    copy_rows,
    inner_products,
    orthogonalize,
    orthonormalize,
    real_like,
    residual,
    scale,
    sum_squares,
    total,
)

__all__ = ["subspace_loop"]

ROUNDS = 2
"""Rounds before the bound of :mod:`.most_captured`, as in the plain kernel."""


@called
def _sort(m: Any, squares: Any, count: Any, n: Any, width: Any) -> None:
    """Order rows by the squared norms of their first ``n`` entries, which are put into ``squares``, descending."""
    for a in range(count):
        squares[a] = sum_squares(m, a, n)
    for a in range(count):
        largest = a
        for b in range(a + 1, count):
            if squares[b] > squares[largest]:
                largest = b
        if largest != a:
            squares[a], squares[largest] = squares[largest], squares[a]
            for j in range(width):
                m[a, j], m[largest, j] = m[largest, j], m[a, j]


@called
def _decompose(z: Any, space: Any, left: Any, few: Any, eps: Any) -> None:
    """Left singular vectors, times singular values, of a block with no more rows or no more columns than ``w`` has.

    They are the columns of ``Z G``, made orthogonal by rotations G; for wide blocks, the columns of ``T G`` with ``Z =
    T P^H`` and orthonormal rows ``P^H``.
    """
    w, y, triangle, squares = space[0], space[1], space[5], space[7]
    (p, v), k = z.shape, len(squares)
    if p < v:
        copy_rows(w, z)
        orthonormalize(w, k, v, triangle, eps)
        copy_rows(y, triangle)
    else:
        for a in range(k):
            for i in range(p):
                y[a, i] = z[i, a]
    orthogonalize(y, k, p, p, eps)
    _sort(y, squares, k, p, p)
    for i in range(few):
        copy_row(left, i, y, i, p)


@called
def _is_zero(z: Any) -> Any:
    """Whether all entries of a block are zero."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            if z[i, j] != 0:
                return False
    return True


@called
def _combine(to: Any, i: Any, coefficients: Any, rows: Any, count: Any, n: Any) -> None:
    """Set the row ``to_i`` to a combination of rows by row ``i`` of the coefficients."""
    clear(to, i, 0, n)
    for a in range(count):
        add_multiple(to, i, coefficients[i, a], rows, a, n)


@called
def _combine_conjugated(to: Any, i: Any, coefficients: Any, first: Any, rows: Any, count: Any, n: Any) -> None:
    """The same by the conjugates of the coefficients from ``first`` on."""
    clear(to, i, 0, n)
    for a in range(count):
        add_multiple(to, i, np.conj(coefficients[i, first + a]), rows, a, n)


@called
def _fill(z: Any, ranks: Any, found: Any, parts: Any, space: Any, eps: Any) -> Any:
    """Fill the numbers of a block after a round, or before the first one, whether there is little left to gain.

    ``parts`` are left and right parts, what the rows beyond the last rank capture, and ``|W|^2``, or -1 before the
    first round: then the slacks follow from (2), and otherwise from (6), less what is captured. ``||R||^2`` of (4) is
    what is discarded, less what the rows beyond capture.
    """
    left, right, rest, risen = parts
    squares, caught, rise, row = space[7], space[8], space[9], space[10]
    few, count, whole = min(ranks[-1], len(squares)), len(ranks), found[0]
    lost, off = whole - total(caught, 0, few), SUBTRACTED * eps * whole
    if lost < CANCELLING * eps * whole:
        lost = residual(z, left, right, 0, few, row)
        off = SUBTRACTED * eps * math.sqrt(whole * lost)
    beyond, rounding, has_settled = max(lost - rest, 0.0) + off, (ROUNDED_UNITS * eps) ** 2 * whole, True
    for index in range(count):
        rank = min(ranks[index], few)
        gap, more = squares[rank - 1] - beyond, lost + total(caught, rank, few)
        slack = more
        if risen < 0:
            slack = min(beyond, more)
        elif gap > 0:
            slack = min(risen * beyond / gap + total(rise, rank, len(rise)), more)
        found[1 + index], found[1 + count + index] = more, slack
        has_settled &= slack <= max(RELATIVE_SLACK * more, rounding)
    return has_settled


@called
def _begin(z: Any, omega: Any, reals: Any, few: Any, left: Any, right: Any, space: Any, eps: Any) -> Any:
    """The best approximations whose rows are combinations of those of ``Omega Z``; what the rows beyond r capture.

    Omega is real: ``reals`` are views of Z and W as real numbers, of which complex ones have two.
    """
    w, y, q, _, _, triangle, turned, squares, caught, _, _ = space
    (p, v), k = z.shape, len(squares)
    if p == k:
        copy_rows(w, z)
    else:
        add_rows(omega, k, *reals)  # (1): Omega Z
    orthonormalize(w, k, v, triangle, eps)  # (1): P^H
    inner_products(z, w, k, y)  # (1): Y
    copy_rows(q, y)
    orthonormalize(q, k, p, triangle, eps)  # (1): Q and T
    copy_rows(turned, triangle)
    orthogonalize(turned, k, k, k, eps)  # (a)
    _sort(turned, squares, k, k, k)
    for i in range(few):
        over = real_like(y, 1 / np.sqrt(squares[i]) if squares[i] > 0 else 0.0)
        _combine_conjugated(left, i, turned, 0, y, k, p)
        _combine(right, i, turned, w, k, v)
        scale(left, i, over, p)
        scale(right, i, over, v)
        caught[i] = sum_squares(left, i, p)
    return total(squares, few, k)


@called
def _go_round(z: Any, few: Any, left: Any, right: Any, space: Any, eps: Any) -> Any:
    """One round (3) from Q.

    Returns what the rows of ``V^H`` beyond r capture, ``|W|^2``, and the part of it that the first r columns have.
    """
    w, y, q, u, inside, triangle, turned, squares, caught, rise, row = space
    (p, v), k = z.shape, len(squares)
    add_rows(q, k, z, w)
    orthonormalize(w, k, v, triangle, eps)
    copy_rows(turned, triangle)
    for a in range(k):
        clear(turned, a, k, 2 * k)
        turned[a, k + a] = 1
    orthogonalize(turned, k, k, 2 * k, eps)  # (a), with G in the last columns
    _sort(turned, squares, k, k, 2 * k)
    for i in range(k):
        _combine_conjugated(u, i, turned, k, w, k, v)  # (3): V^H
        _combine(inside, i, turned, q, k, p)  # (3): (Q E) S
    inner_products(z, u, k, y)  # (3): Y
    for i in range(k):
        caught[i] = sum_squares(y, i, p)
        for j in range(p):
            row[0, j] = y[i, j] - inside[i, j]
        rise[i] = sum_squares(row, 0, p)  # (3): W
    for i in range(few):
        copy_row(left, i, y, i, p)
        copy_row(right, i, u, i, v)
    return total(caught, few, k), total(rise, 0, k), total(rise, 0, few)


@spliced
def _multiply_again(z: Any, space: Any, eps: Any) -> None:
    """Make the columns of Q an orthonormal basis of the range of powers of ``Z Z^H`` times Y, as rows."""
    w, y, q, triangle = space[0], space[1], space[2], space[5]
    k, (p, v) = len(y), z.shape
    copy_rows(q, y)
    orthonormalize(q, k, p, triangle, eps)
    for _ in range(PRODUCTS):
        add_rows(q, k, z, w)
        orthonormalize(w, k, v, triangle, eps)
        inner_products(z, w, k, q)
        orthonormalize(q, k, p, triangle, eps)


@spliced
def _approximate(z: Any, sketch: Any, wanted: Any, parts: Any, found: Any, space: Any, further: Any, eps: Any) -> None:
    """Approximate a block by as many rounds as it needs.

    ``sketch`` are Omega and real views of Z and W, and ``wanted`` the ranks, and whether bounds are wanted.
    """
    (omega, reals), (ranks, certified), (left, right) = sketch, wanted, parts
    few = min(ranks[-1], len(omega))
    rest = _begin(z, omega, reals, few, left, right, space, eps)
    has_settled = _fill(z, ranks, found, (left, right, rest, -1.0), space, eps)
    for turn in range(ROUNDS if certified else ROUNDS_UNCERTIFIED):
        if has_settled:
            return
        if turn > 0:
            _multiply_again(z, space, eps)
        rest, risen, kept = _go_round(z, few, left, right, space, eps)
        has_settled = _fill(z, ranks, found, (left, right, rest, risen), space, eps)
        if not certified and kept <= RELATIVE_SLACK * found[len(ranks)]:
            return  # what the next half of a round captures is less than what this one did
    if certified and not has_settled:
        bound_captured(z, ranks, found, (space[3], space[4], space[1], space[7], space[9]), further, eps)


@functools.cache
def subspace_loop(char: str) -> Loop:
    """Loop over the blocks of a stack, for one of the dtypes "fdFD".

    Its arguments are those of :func:`.rank_one.round_loop` for a grid of n blocks up to how many are copied together;
    the k real rows (k, p) with which blocks are multiplied, with k at most p and v, the ascending ranks, whether bounds
    are wanted, whether the left parts shall be orthonormal, the least and largest energy of a block, the left parts
    (n, r, p) and right parts (n, r, v) to fill, the numbers (n, 1 + 2 * ranks) to fill, which are the energy and for
    all ranks first what is discarded and then the slack, and the flags (n,) of blocks whose energy is out of range,
    which are left alone.
    """
    stamp, real = STAMP, np.float64 if char in "dD" else np.float32
    eps = np.finfo(real).eps

    def approximate(  # type: ignore[no-untyped-def]
        source, steps, peers, together, omega, ranks, certified, normed, low, high, left, right, numbers, outside
    ):
        (count, _, p), v, k, like = left.shape, right.shape[2], omega.shape[0], left.dtype
        stack, rows = np.empty((together, p, v), like), np.empty((together, p))
        w, u, row = np.empty((k, v), like), np.empty((k, v), like), np.empty((1, max(p, v + k)), like)
        y, q, inside = np.empty((k, p), like), np.empty((k, p), like), np.empty((k, p), like)
        triangle, turned = np.empty((k, k), like), np.empty((k, 2 * k), like)
        space = (w, y, q, u, inside, triangle, turned, np.empty(k), np.empty(k), np.empty(k), row)
        side = min(p, v + k) if certified else 0
        power, other = np.empty((side, side), like), np.empty((side, side), like)
        further = np.empty((side, p + v + k - side), like), power, other, row
        real_stack, real_w = stack.view(real), w.view(real)
        for n in range(count if stamp > 0 else 0):  # always: it keeps the stamp among the constants of the closure
            at = n % together
            if at == 0:
                copy_blocks(source, steps, peers, n, np.empty(min(together, count - n), np.uint64), stack, rows)
            z, found, parts = stack[at], numbers[n], (left[n], right[n])
            for a in range(ranks[-1]):
                clear(parts[0], a, 0, p)
                clear(parts[1], a, 0, v)
            for a in range(len(found)):
                found[a] = 0.0
            for i in range(p):
                found[0] += rows[at, i]
            is_usual = found[0] > low and found[0] < high
            outside[n] = not is_usual and not (found[0] == 0 and _is_zero(z))  # squares may underflow
            if not is_usual:
                continue
            if k == min(p, v) and not certified:
                _decompose(z, space, parts[0], min(ranks[-1], k), eps)
            else:
                sketch = omega, (real_stack[at], real_w)
                _approximate(z, sketch, (ranks, certified), parts, found, space, further, eps)
            if normed:
                orthonormalize(parts[0], min(ranks[-1], k), p, triangle, eps)

    number, energies = entry_type(char), types.float64
    signature = [array_type(number, readonly=True), array_type(types.uint64), types.int64, types.int64]
    signature += [array_type(number_type(char), 2), array_type(types.int64), types.boolean, types.boolean]
    signature += [energies, energies, array_type(number, 3), array_type(number, 3)]
    return Loop(approximate, types.void, [*signature, array_type(energies, 2), array_type(types.boolean)])
