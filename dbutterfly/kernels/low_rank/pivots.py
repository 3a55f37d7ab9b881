"""Positions at which the vectors of a stack differ most, by pivoted elimination."""

from __future__ import annotations

from ..backend import Array, namespace
from ..linalg import adjoint

__all__ = ["ROUNDING_UNITS", "column_squares", "pivots", "taken"]

ROUNDING_UNITS = 16
"""What is below so many units in the last place of the largest singular value, or vector, is rounding."""


def pivots(vectors: Array, count: int, priority: Array, without: Array | None = None) -> Array:
    """Positions at which vectors differ most: pivoted elimination, that is QR with column pivoting.

    Parameters
    ----------
    vectors : array, shape (..., m, n)
        Stacks of m vectors of length n.
    count : int
        Positions to choose, at most n.
    priority : array of float64, shape (..., n)
        Numbers from 0 to 1: the largest one is chosen where only rounding is left.
    without : array of int64, shape (..., t), optional
        Positions not to be chosen.

    Returns
    -------
    array of int64, shape (..., count)
        All different.
    """
    xp = namespace(vectors)
    eps, tiny = float(xp.finfo(vectors.dtype).eps), float(xp.finfo(xp.float64).smallest_normal)
    here = xp.arange(vectors.shape[-1], dtype=xp.int64, device=vectors.device)
    score = column_squares(vectors)
    floor = (ROUNDING_UNITS * eps) ** 2 * xp.max(score, axis=-1, keepdims=True) + tiny
    free = xp.ones_like(score, dtype=xp.bool)
    if without is not None:
        free = xp.all(here != without[..., None], axis=-2)
    rest, chosen = vectors, []
    for number in range(count):
        score = xp.where(free, score + floor * priority, -1.0)
        best = xp.argmax(score, axis=-1, keepdims=True)
        chosen.append(xp.astype(best, xp.int64, copy=False))
        if number + 1 < count:
            free = free & (here != chosen[-1])
            rest = _eliminate(rest, chosen[-1])
            score = column_squares(rest)
    if not chosen:
        return xp.zeros((*vectors.shape[:-2], 0), dtype=xp.int64, device=vectors.device)
    return xp.concat(chosen, axis=-1)


def _eliminate(vectors: Array, at: Array) -> Array:
    """Project the columns (..., m) of the stacks on the complement of those at a position."""
    xp = namespace(vectors)
    column = taken(vectors, at)
    norm = xp.sqrt(column_squares(column))
    unit = column / xp.astype(xp.where(norm > 0, norm, xp.ones_like(norm)), vectors.dtype)[..., None, :]
    return vectors - xp.matmul(unit, xp.matmul(adjoint(unit), vectors))


def column_squares(vectors: Array) -> Array:
    """Squared norms over the last but one axis, in float64, whose range the squares of every dtype but its own fit."""
    xp = namespace(vectors)
    modulus = xp.astype(xp.abs(vectors), xp.float64)
    return xp.sum(modulus * modulus, axis=-2)


def taken(array: Array, index: Array) -> Array:
    """Take (..., n, t) along the last axis of (..., n, m), at the same t places in all n vectors."""
    xp = namespace(array)
    shape = (*array.shape[:-1], index.shape[-1])
    return xp.take_along_axis(array, xp.broadcast_to(index[..., None, :], shape), axis=-1)
