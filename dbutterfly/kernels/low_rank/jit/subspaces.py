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

from ...compiler import Loop, array_type, entry_type, subroutine, types
from ...linalg import CANCELLING, RELATIVE_SLACK, SUBTRACTED
from ..compiled import ROUNDS_UNCERTIFIED
from ..subspace import ROUNDED_UNITS, ROUNDS
from .vectors import (
    STAMP,
    add_multiple,
    add_rows,
    clear,
    copy_row,
    energy,
    inner_products,
    orthogonalize,
    orthonormalize,
    real_like,
    residual,
    sum_squares,
)

__all__ = ["subspace_loop"]


@subroutine
def _sort(m: Any, squares: Any, count: Any, n: Any, width: Any) -> None:
    """Order rows by the squared norms of their first ``n`` entries, which are put into ``squares``, descending."""
    for a in range(count):
        squares[a] = sum_squares(m[a], n)
    for a in range(count):
        largest = a
        for b in range(a + 1, count):
            if squares[b] > squares[largest]:
                largest = b
        if largest != a:
            squares[a], squares[largest] = squares[largest], squares[a]
            for j in range(width):
                m[a, j], m[largest, j] = m[largest, j], m[a, j]


@subroutine
def _decompose(z: Any, w: Any, y: Any, triangle: Any, left: Any, few: Any, eps: Any) -> None:
    """Left singular vectors, times singular values, of a block with no more rows or no more columns than ``w`` has.

    They are the columns of ``Z G``, made orthogonal by rotations G; for wide blocks, the columns of ``T G`` with ``Z =
    T P^H`` and orthonormal rows ``P^H``.
    """
    p, v = z.shape
    k = len(triangle)
    squares = np.empty(k)
    if p < v:
        w[:] = z
        orthonormalize(w, k, v, triangle, eps)
        orthogonalize(triangle, k, k, k, eps)
        _sort(triangle, squares, k, k, k)
        for i in range(few):
            copy_row(left[i], triangle[i], k)
        return
    for a in range(k):
        for i in range(p):
            y[a, i] = z[i, a]
    orthogonalize(y, k, p, p, eps)
    _sort(y, squares, k, p, p)
    for i in range(few):
        copy_row(left[i], y[i], p)


@subroutine
def _is_zero(z: Any) -> Any:
    """Whether all entries of a block are zero."""
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            if z[i, j] != 0:
                return False
    return True


@subroutine
def _combine(to: Any, coefficients: Any, conjugated: Any, factor: Any, rows: Any, count: Any, n: Any) -> None:
    """Set a row to a combination of rows."""
    clear(to, n)
    for a in range(count):
        c = np.conj(coefficients[a]) if conjugated else coefficients[a]
        add_multiple(to, c * factor, rows[a], n)


@subroutine
def _discard(z: Any, left: Any, right: Any, few: Any, whole: Any, caught: Any, eps: Any, row: Any) -> Any:
    """What the approximation discards, and what a difference of energies near it may be off by."""
    lost = whole
    for i in range(few):
        lost -= caught[i]
    if lost < CANCELLING * eps * whole:
        lost = residual(z, left, right, few, row)
        return lost, SUBTRACTED * eps * math.sqrt(whole * lost)
    return lost, SUBTRACTED * eps * whole


@subroutine
def _put(numbers: Any, ranks: Any, few: Any, lost: Any, caught: Any, slacks: Any) -> None:
    """Fill discarded energies and slacks for all ranks; ``lost`` is that of the last one."""
    count = len(ranks)
    for index in range(count):
        more = lost
        for i in range(min(ranks[index], few), few):
            more += caught[i]
        numbers[1 + index] = more
        numbers[1 + count + index] = min(slacks[index], more)


@subroutine
def _has_settled(numbers: Any, count: Any, eps: Any) -> Any:
    """Whether little is left to gain beside what is discarded, at every rank, or nothing but rounding."""
    rounding = (ROUNDED_UNITS * eps) ** 2 * numbers[0]
    for index in range(count):
        if not numbers[1 + count + index] <= max(RELATIVE_SLACK * numbers[1 + index], rounding):
            return False
    return True


@subroutine
def _begin(z: Any, omega: Any, few: Any, left: Any, right: Any, space: Any, eps: Any) -> Any:
    """The best approximations whose rows are combinations of those of ``Omega Z``; what the rows beyond r capture."""
    w, y, q, _, _, triangle, turned, squares, caught, _, _ = space
    p, v = z.shape
    k = len(y)
    if v == k:
        w[:] = 0
        for a in range(k):
            w[a, a] = 1
    else:
        if p == k:
            w[:] = z
        else:
            add_rows(omega, k, z, w)  # (1): Omega Z
        orthonormalize(w, k, v, triangle, eps)  # (1): P^H
    inner_products(z, w, k, y)  # (1): Y
    q[:] = y
    orthonormalize(q, k, p, triangle, eps)  # (1): Q and T
    for a in range(k):
        copy_row(turned[a], triangle[a], k)
    orthogonalize(turned, k, k, k, eps)  # (a)
    _sort(turned, squares, k, k, k)
    for i in range(few):
        caught[i] = 0.0
        if squares[i] > 0:
            over = real_like(y, 1 / np.sqrt(squares[i]))
            _combine(left[i], turned[i], True, over, y, k, p)
            _combine(right[i], turned[i], False, over, w, k, v)
            caught[i] = sum_squares(left[i], p)
    return np.sum(squares[few:])


@subroutine
def _go_round(z: Any, few: Any, left: Any, right: Any, space: Any, eps: Any) -> Any:
    """One round (3) from Q.

    Returns what the rows of ``V^H`` beyond r capture, ``|W|^2``, and the part of it that the first r columns have.
    """
    w, y, q, u, other, triangle, turned, squares, caught, rise, _ = space
    p, v = z.shape
    k = len(y)
    add_rows(q, k, z, w)
    orthonormalize(w, k, v, triangle, eps)
    for a in range(k):
        copy_row(turned[a], triangle[a], k)
        clear(turned[a, k:], k)
        turned[a, k + a] = 1
    orthogonalize(turned, k, k, 2 * k, eps)  # (a), with G in the last columns
    _sort(turned, squares, k, k, 2 * k)
    for i in range(k):
        _combine(u[i], turned[i, k:], True, real_like(w, 1), w, k, v)  # (3): V^H
    inner_products(z, u, k, y)  # (3): Y
    for i in range(k):
        caught[i] = sum_squares(y[i], p)
        _combine(other, turned[i], False, real_like(q, 1), q, k, p)  # (3): (Q E) S
        for j in range(p):
            other[j] -= y[i, j]
        rise[i] = sum_squares(other, p)  # (3): W
    for i in range(few):
        copy_row(left[i], y[i], p)
        copy_row(right[i], u[i], v)
    return np.sum(caught[few:]), np.sum(rise), np.sum(rise[:few])


@subroutine
def _bound(slacks: Any, ranks: Any, few: Any, whole: Any, beyond: Any, risen: Any, space: Any) -> None:
    """Fill the slacks of a round: by (6), less what Y_r captures, with ``beyond`` for ``||R||^2`` of (4)."""
    squares, rise = space[7], space[9]
    for index in range(len(ranks)):
        rank = min(ranks[index], few)
        gap = squares[rank - 1] - beyond
        slacks[index] = risen * beyond / gap + np.sum(rise[rank:]) if gap > 0 else whole


@subroutine
def _approximate(z: Any, omega: Any, ranks: Any, certified: Any, left: Any, right: Any, found: Any, space: Any,
                 eps: Any) -> Any:  # fmt: skip
    """Approximate a block; whether there is nothing left to gain."""
    y, q, triangle, caught, row = space[1], space[2], space[5], space[8], space[10]
    k, few, levels, whole = len(y), min(ranks[-1], len(y)), len(ranks), found[0]
    slacks = np.empty(levels)
    rest = _begin(z, omega, few, left, right, space, eps)
    lost, off = _discard(z, left, right, few, whole, caught, eps, row)
    slacks[:] = max(lost - rest, 0.0) + off  # (2), less what is captured
    _put(found, ranks, few, lost, caught, slacks)
    most = ROUNDS if certified else ROUNDS_UNCERTIFIED
    for turn in range(most):
        if _has_settled(found, levels, eps):
            return True
        if turn > 0:
            q[:] = y
            orthonormalize(q, k, z.shape[0], triangle, eps)
        rest, risen, kept = _go_round(z, few, left, right, space, eps)
        lost, off = _discard(z, left, right, few, whole, caught, eps, row)
        _bound(slacks, ranks, few, whole, max(lost - rest, 0.0) + off, risen, space)
        _put(found, ranks, few, lost, caught, slacks)
        if not certified and kept <= RELATIVE_SLACK * lost:
            return True  # what the next half of a round captures is less than what this one did
    return _has_settled(found, levels, eps) or not certified


@functools.cache
def subspace_loop(char: str) -> Loop:
    """Loop over the blocks of a stack, for one of the dtypes "fdFD".

    Its arguments are the stack (n, p, v), the k rows (k, p) with which blocks are multiplied, with k at most p and v,
    the ascending ranks, whether bounds are wanted, whether the left parts shall be orthonormal, the least and largest
    energy of a block, the left parts (n, r, p) and right parts (n, r, v) to fill, the numbers (n, 1 + 2 * ranks) to
    fill, which are the energy and for all ranks first what is discarded and then the slack, and the flags (n,) of
    blocks with nothing left to gain.
    """
    stamp, eps = STAMP, (np.finfo(np.float64) if char in "dD" else np.finfo(np.float32)).eps

    def approximate(  # type: ignore[no-untyped-def]
        stack, omega, ranks, certified, normed, low, high, left, right, numbers, settled
    ):
        count, p, v = stack.shape
        k, few, like = omega.shape[0], min(ranks[-1], omega.shape[0]), stack.dtype
        w, u, row, other = np.empty((k, v), like), np.empty((k, v), like), np.empty(v, like), np.empty(p, like)
        y, q, triangle, turned = (
            np.empty((k, p), like), np.empty((k, p), like), np.empty((k, k), like), np.empty((k, 2 * k), like)
        )  # fmt: skip
        space = (w, y, q, u, other, triangle, turned, np.empty(k), np.empty(k), np.empty(k), row)
        for n in range(count if stamp > 0 else 0):  # always: it keeps the stamp among the constants of the closure
            z, found = stack[n], numbers[n]
            found[:] = 0.0
            found[0] = energy(z)
            left[n], right[n] = 0, 0
            settled[n] = found[0] == 0 and _is_zero(z)  # squares may underflow
            if not (found[0] > low and found[0] < high):
                continue
            if k == min(p, v) and not certified:
                _decompose(z, w, y, triangle, left[n], few, eps)
                settled[n] = True
            else:
                settled[n] = _approximate(z, omega, ranks, certified, left[n], right[n], found, space, eps)
            if normed:
                orthonormalize(left[n], few, p, triangle, eps)

    number, energies = entry_type(char), types.float64
    signature = [array_type(number, 3, readonly=True), array_type(number, 2, readonly=True), array_type(types.int64)]
    signature += [types.boolean, types.boolean, energies, energies, array_type(number, 3), array_type(number, 3)]
    return Loop(approximate, types.void, [*signature, array_type(energies, 2), array_type(types.boolean)])
