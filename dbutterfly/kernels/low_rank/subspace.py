r"""Best rank-r approximation of every block of a stack, by products, thin QR and small singular value decompositions.

A block Z (p x v) is multiplied by the same k random rows as all others of its stack, with k a little above r; then,
with orthonormal P, Q, E and F,

    Omega Z = L P^H,    Y = Z P = Q T,    T = E S F^H,

and no matrix of rank r captures more of Z than ``sum_{i<=r} s_i^2 + ||Z - Y P^H||^2``. Where singular values fall fast
that leaves nothing to gain on ``Y F_r (P F_r)^H``, which captures the sum. Other blocks go through a round from Q, with

    Q^H Z = E S V^H,    Y = Z V = (Q E) S + W,    W orthogonal to Q,

so that in bases that start with Q E and V the block is ``[[S, 0], [W, R]]`` and ``||Z||^2 = |S|^2 + |W|^2 + ||R||^2``.
The approximation is ``Y_r V_r^H``: as that by P, its residual is orthogonal to its rows whether or not they have
converged, which is what the certificate needs. With ``t`` the norm of the part of r orthonormal vectors that lies
beyond V, they capture at most

    sum_{i<=r} s_i^2 + |W|^2 + 2 |W| ||R|| t - (s_r^2 - ||R||^2) t^2
      <= sum_{i<=r} s_i^2 + |W|^2 (1 + ||R||^2 / (s_r^2 - ||R||^2))    where s_r^2 > ||R||^2,

which bounds from above what any matrix of rank r can capture (compare Halko, Martinsson and Tropp, "Finding structure
with randomness", SIAM Review 2011, for the expectation). A block on which this leaves something to gain goes through
the round once more, from the Y that it has; one that is still not settled, through the eigenvalues of the Gram matrix
of its short side, which bound the optimum whatever the gap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import Array, any_true, is_complex, namespace, true_places
from ..linalg import (
    RELATIVE_SLACK,
    SUBTRACTED,
    adjoint,
    cancels,
    replace,
    replace_rows,
    residual_energy,
    safe_range,
    squared_norms,
)

__all__ = ["OVERSAMPLING", "LowRank", "best_subspaces", "fixed_sketch", "pad", "tame"]

OVERSAMPLING = 4
"""Columns beyond the rank: they widen the gap on which convergence and the bound depend."""

ROUNDS = 2
"""Rounds before the Gram matrix is formed."""

ROUNDED = 64
"""Residuals of this many units in the last place are rounding."""


class LowRank(NamedTuple):
    """Approximations ``left[i, k, :, None] * right[i, k, None, :]``, summed over k, of blocks, with their energies.

    Leading axes are those of the stack. Energies are squared Frobenius norms in float64. The approximation of rank r,
    for each r of the ranks asked for, consists of the first r directions.

    Attributes
    ----------
    left : array, shape (..., k, p)
        Columns of ``Z V``: carry the scale.
    right : array, shape (..., k, v)
        ``V^H``: orthonormal rows, or zero ones where a block has fewer.
    energy : array of float64, shape (...)
        ``||Z||^2``.
    discarded : array of float64, shape (..., number of ranks)
        ``||Z - left right||^2``.
    slack : array of float64, shape (..., number of ranks)
        Proven bound on the energy that any other matrix of that rank could capture beyond this one.
    """

    left: Array
    right: Array
    energy: Array
    discarded: Array
    slack: Array


def best_subspaces(blocks: Array, ranks: tuple[int, ...]) -> LowRank:
    """Approximate every block of a contiguous stack.

    Parameters
    ----------
    blocks : array, shape (n, p, v), real or complex floating
    ranks : tuple of int
        Ascending ranks for which energies are wanted; the last one is that of the approximation. Directions beyond the
        smaller side of a block are zero.

    Returns
    -------
    LowRank
        The result for a block does not depend on the others. Non-finite entries, or squares that overflow float64, give
        a non-finite energy and meaningless vectors.
    """
    xp = namespace(blocks)
    blocks, energy, divisor, spoilt = tame(blocks)
    found = _find(blocks, energy, ranks)
    square = xp.astype(xp.real(divisor) if is_complex(xp, divisor.dtype) else divisor, xp.float64) ** 2
    return LowRank(
        pad(found.left * divisor[:, None, None], ranks[-1]),
        pad(found.right, ranks[-1]),
        found.energy * square + spoilt,
        found.discarded * square[:, None],
        found.slack * square[:, None],
    )


def tame(blocks: Array) -> tuple[Array, Array, Array, Array]:
    """Blocks that a decomposition can meet, their energies, what they were divided by, and inf (else 0) for bad ones.

    Blocks whose squares leave the range of the dtype are divided by their largest modulus; non-finite ones are bad, and
    zeroed, since a decomposition would raise for the stack.
    """
    xp = namespace(blocks)
    energy = _sum(squared_norms(blocks))
    low, high = safe_range(blocks)
    unusual = ~((energy >= low) & (energy < high))
    ones = xp.ones(energy.shape, dtype=blocks.dtype, device=blocks.device)
    if not any_true(unusual):
        return blocks, energy, ones, xp.zeros_like(energy)
    largest = xp.max(xp.abs(blocks), axis=(1, 2))
    finite = xp.isfinite(largest)
    divisor = xp.where(unusual & finite & (largest > 0), xp.astype(largest, blocks.dtype), ones)
    blocks = xp.where(finite[:, None, None], blocks, xp.zeros_like(blocks)) / divisor[:, None, None]
    spoilt = xp.where(finite, xp.zeros_like(energy), xp.full_like(energy, math.inf))
    return blocks, _sum(squared_norms(blocks)), divisor, spoilt


@functools.lru_cache(maxsize=64)
def fixed_sketch(rows: int, cols: int) -> NDArray[np.float64]:
    """Random matrix, the same at every call."""
    return np.random.default_rng(0).standard_normal((rows, cols))


def _find(blocks: Array, energy: Array, ranks: tuple[int, ...]) -> LowRank:
    """Approximations within a few directions, and rounds from there for the blocks that this does not settle.

    What the triangle leaves in its lower right corner is no less than the squares of its last singular values, so that
    the corner shows where these are worth their decomposition.
    """
    xp = namespace(blocks)
    p, k = blocks.shape[1], ranks[-1] + OVERSAMPLING
    rows = (
        blocks
        if p <= k
        else xp.matmul(xp.asarray(fixed_sketch(k, p), dtype=blocks.dtype, device=blocks.device), blocks)
    )
    outer = xp.linalg.qr(adjoint(rows))[0]
    y = xp.matmul(blocks, outer)
    basis, triangle = xp.linalg.qr(y)
    outside = energy - xp.sum(squared_norms(triangle), axis=-1)
    few = min(ranks[-1], triangle.shape[1])
    rest = xp.sum(squared_norms(triangle[:, few:, few:]), axis=-1)
    promising = (outside <= RELATIVE_SLACK * (outside + rest)) | cancels(outside, energy, blocks.dtype)

    def refined(blocks: Array, energy: Array, basis: Array) -> LowRank:
        return _refine(blocks, energy, ranks, basis, ROUNDS)

    if not any_true(promising):
        return refined(blocks, energy, basis)
    found, settled = _within(blocks, energy, outer, y, triangle, ranks)
    return _mend(found, settled & promising, refined, (blocks, energy, basis))


def _within(
    blocks: Array, energy: Array, outer: Array, y: Array, triangle: Array, ranks: tuple[int, ...]
) -> tuple[LowRank, Array]:
    """The best approximations whose rows are combinations of those of P^H, and which have nothing left to gain."""
    xp = namespace(blocks)
    _, values, rotation = xp.linalg.svd(triangle, full_matrices=False)
    few = min(ranks[-1], values.shape[1])
    right = xp.matmul(rotation[:, :few, :], adjoint(outer))
    columns = xp.matmul(y, adjoint(rotation[:, :few, :]))
    left = xp.matrix_transpose(columns)
    discarded = _discarded_energies(blocks, energy, columns, right, squared_norms(left), ranks)
    outside = discarded[:, -1] - _sum(xp.astype(values[:, few:], xp.float64) ** 2)
    slack = xp.minimum(_with_rounding(outside, discarded[:, -1], energy, blocks.dtype)[:, None], discarded)
    return LowRank(left, right, energy, discarded, slack), _is_settled(slack, discarded, energy, blocks.dtype)


def _refine(blocks: Array, energy: Array, ranks: tuple[int, ...], basis: Array, rounds: int) -> LowRank:
    """Rounds from a basis until every block is settled, and the Gram matrix for those that ``rounds`` do not settle."""
    found, settled, y = _round(blocks, energy, basis, ranks)

    def again(blocks: Array, energy: Array, y: Array) -> LowRank:
        if rounds == 1:
            return _by_gram(blocks, energy, ranks)
        return _refine(blocks, energy, ranks, namespace(y).linalg.qr(y)[0], rounds - 1)

    return _mend(found, settled, again, (blocks, energy, y))


def _mend(found: LowRank, good: Array, better: Callable[..., LowRank], of: tuple[Array, ...]) -> LowRank:
    """Put ``better`` of the arrays in place of what is not good."""
    which = true_places(~good)
    if which.shape[0] == 0:
        return found
    xp = namespace(good)
    if which.shape[0] == good.shape[0]:
        return better(*of)
    return replace(found, ~good, better(*(xp.take(array, which, axis=0) for array in of)))


def _round(blocks: Array, energy: Array, basis: Array, ranks: tuple[int, ...]) -> tuple[LowRank, Array, Array]:
    """One round from a basis, with its energies; which blocks have nothing left to gain; and Y."""
    xp = namespace(blocks)
    outer, triangle = xp.linalg.qr(adjoint(xp.matmul(adjoint(basis), blocks)))
    inner, values, rotation = xp.linalg.svd(adjoint(triangle), full_matrices=False)
    right, few = xp.matmul(rotation, adjoint(outer)), min(ranks[-1], values.shape[1])
    y = xp.matmul(blocks, adjoint(right))
    rise = y - xp.matmul(basis, inner) * xp.astype(values, blocks.dtype)[:, None, :]
    rise, caught = (squared_norms(xp.matrix_transpose(columns)) for columns in (rise, y))
    discarded = _discarded_energies(blocks, energy, y[:, :, :few], right[:, :few, :], caught, ranks)
    beyond = _with_rounding(discarded[:, -1] - _sum(caught[:, few:]), discarded[:, -1], energy, blocks.dtype)
    slacks = []
    for index, rank in enumerate(min(rank, few) for rank in ranks):
        lost, gap = discarded[:, index], xp.astype(values[:, rank - 1], xp.float64) ** 2 - beyond
        gain = _sum(rise) * beyond / xp.where(gap > 0, gap, xp.ones_like(gap)) + _sum(rise[:, rank:])
        slacks.append(xp.minimum(xp.where(gap > 0, gain, lost), lost))
    slack = xp.stack(slacks, axis=-1)
    found = LowRank(xp.matrix_transpose(y)[:, :few, :], right[:, :few, :], energy, discarded, slack)
    return found, _is_settled(slack, discarded, energy, blocks.dtype), y


def _is_settled(slack: Array, discarded: Array, energy: Array, dtype: Any) -> Array:
    xp = namespace(slack)
    rounding = (ROUNDED * float(xp.finfo(dtype).eps)) ** 2 * energy
    return xp.all(slack <= xp.maximum(RELATIVE_SLACK * discarded, rounding[:, None]), axis=-1)


def _with_rounding(outside: Array, discarded: Array, energy: Array, dtype: Any) -> Array:
    """A difference of discarded energies, and what it may be off by."""
    xp = namespace(energy)
    formed = cancels(discarded, energy, dtype)  # from the residual, whose entries are off by eps |Z|
    off = SUBTRACTED * float(xp.finfo(dtype).eps) * xp.where(formed, xp.sqrt(energy * discarded), energy)
    return xp.maximum(outside, xp.zeros_like(outside)) + off


def _sum(squares: Array) -> Array:
    return namespace(squares).sum(squares, axis=-1)


def _discarded_energies(
    blocks: Array, energy: Array, columns: Array, right: Array, caught: Array, ranks: tuple[int, ...]
) -> Array:
    """``||Z||^2 - ||Z V_r||^2`` for each of the ranks, from the residual of the last where that difference cancels."""
    xp = namespace(blocks)
    few = columns.shape[2]
    last = energy - _sum(caught[:, :few])
    small = cancels(last, energy, blocks.dtype)
    which = true_places(small)
    if which.shape[0]:
        arrays = (blocks, columns, right)
        if which.shape[0] < small.shape[0]:
            arrays = tuple(xp.take(array, which, axis=0) for array in arrays)
        last = replace_rows(last, small, residual_energy(*arrays))
    return xp.stack([last + _sum(caught[:, min(rank, few) : few]) for rank in ranks], axis=-1)


def _by_gram(blocks: Array, energy: Array, ranks: tuple[int, ...]) -> LowRank:
    """Blocks that the rounds left open: eigenvalues of the Gram matrix of the short side bound what can be caught."""
    xp = namespace(blocks)
    _, p, v = blocks.shape
    transposed = adjoint(blocks)
    gram = xp.matmul(blocks, transposed) if p <= v else xp.matmul(transposed, blocks)
    values, vectors = xp.linalg.eigh(gram)  # ascending
    short = gram.shape[-1]
    top = vectors[:, :, max(0, short - ranks[-1] - OVERSAMPLING) :]
    basis = top if p <= v else xp.linalg.qr(xp.matmul(blocks, top))[0]
    found, _, _ = _round(blocks, energy, basis, ranks)
    slacks = []
    for index, rank in enumerate(ranks):
        best = xp.sum(xp.astype(values[:, max(0, short - rank) :], xp.float64), axis=-1)
        best = best + (p + v) * float(xp.finfo(blocks.dtype).eps) * energy
        more = xp.maximum(best - (energy - found.discarded[:, index]), xp.zeros_like(energy))
        slacks.append(xp.minimum(found.slack[:, index], more))
    return found._replace(slack=xp.stack(slacks, axis=-1))


def pad(rows: Array, rank: int) -> Array:
    """The first ``rank`` of vectors (n, k, x), or all with zero vectors after them."""
    xp = namespace(rows)
    count, k, length = rows.shape
    if k >= rank:
        return rows[:, :rank, :]
    zeros = xp.zeros((count, rank - k, length), dtype=rows.dtype, device=rows.device)
    return xp.concat((rows, zeros), axis=1)
