"""Positions at which the vectors of a stack differ most, by pivoted elimination.

Of vectors ``X = (x_1, ..., x_n)``, the largest one is chosen, and the others are projected on its complement:

    (1)  j = argmax |x_j|,    X <- X - e (e^H X),    e = x_j / |x_j|

again and again. That is QR with column pivoting, of which only the order of the columns is wanted.
"""

from __future__ import annotations

from ..backend import Array, namespace
from ..linalg import adjoint

__all__ = ["ROUNDING_UNITS", "column_squares", "pivots", "take_entries"]

ROUNDING_UNITS = 16
"""Singular values, or vectors, below so many units in the last place of the largest one are rounding.

Neither tuned nor measured: a few times what a decomposition or an elimination is off by.
"""


def pivots(vectors: Array, count: int, priority: Array, without: Array | None = None) -> Array:
    """Choose the positions at which vectors differ most, by pivoted elimination.

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
        # (1), with a share of the rounding on top: among vectors that are rounding only, the priority decides.
        score = xp.where(free, score + floor * priority, -1.0)
        best = xp.argmax(score, axis=-1, keepdims=True)
        chosen.append(xp.astype(best, xp.int64, copy=False))
        if number + 1 < count:
            free = free & (here != chosen[-1])
            rest = _eliminate(rest, chosen[-1])  # (1)
            score = column_squares(rest)
    if not chosen:
        return xp.zeros((*vectors.shape[:-2], 0), dtype=xp.int64, device=vectors.device)
    return xp.concat(chosen, axis=-1)


def _eliminate(vectors: Array, at: Array) -> Array:
    """Project the vectors X (..., m, n) on the complement of those at positions ``at`` (..., 1), by (1)."""
    xp = namespace(vectors)
    column = take_entries(vectors, at)
    norm = xp.sqrt(column_squares(column))
    unit = column / xp.astype(xp.where(norm > 0, norm, xp.ones_like(norm)), vectors.dtype)[..., None, :]
    return vectors - xp.matmul(unit, xp.matmul(adjoint(unit), vectors))


def column_squares(vectors: Array) -> Array:
    """Squared norms over the last but one axis, in float64: squares of narrower dtypes do not leave its range."""
    xp = namespace(vectors)
    modulus = xp.astype(xp.abs(vectors), xp.float64)
    return xp.sum(modulus * modulus, axis=-2)


def take_entries(array: Array, index: Array) -> Array:
    """Take entries (..., n, t) along the last axis of (..., n, m), at the same t positions in all n vectors."""
    xp = namespace(array)
    shape = (*array.shape[:-1], index.shape[-1])
    return xp.take_along_axis(array, xp.broadcast_to(index[..., None, :], shape), axis=-1)
