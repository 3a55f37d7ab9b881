r"""Best rank-r approximation of every block of a stack, by products, thin QR and small singular value decompositions.

A block Z (p x v) is multiplied by the same k random columns as all others of its stack, one matrix product for them
all, with k a little above r; then, with orthonormal Q, E and V,

    Q R = Z Omega,    Q^H Z = E S V^H,    Y = Z V = (Q E) S + W,    W orthogonal to Q,

so that in bases that start with Q E and V the block is ``[[S, 0], [W, R]]`` and ``||Z||^2 = |S|^2 + |W|^2 + ||R||^2``.
The approximation is ``Y_r V_r^H``: its residual is orthogonal to ``V_r`` whether or not V has converged, which is what
the certificate needs. With ``t`` the norm of the part of r orthonormal vectors that lies beyond V, they capture at most

    sum_{i<=r} s_i^2 + |W|^2 + 2 |W| ||R|| t - (s_r^2 - ||R||^2) t^2
      <= sum_{i<=r} s_i^2 + |W|^2 (1 + ||R||^2 / (s_r^2 - ||R||^2))    where s_r^2 > ||R||^2,

which bounds from above what any matrix of rank r can capture (compare Halko, Martinsson and Tropp, "Finding structure
with randomness", SIAM Review 2011, for the expectation). A block on which that leaves something to gain goes through
the round once more, from the Y that it has; one that is still not settled, through the eigenvalues of the Gram matrix
of its short side, which bound the optimum whatever the gap.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .backend import Array, any_true, is_complex, namespace
from .low_rank import RELATIVE_SLACK, adjoint, cancels, replaced, replaced_rows, safe_range, squared_norms

__all__ = ["LowRank", "best_subspaces", "weighted_ranges"]

OVERSAMPLING = 4
"""Columns beyond the rank: they widen the gap on which convergence and the bound depend."""

ROUNDS = 2
"""Rounds before the Gram matrix is formed."""

SUBTRACTED = 8
"""Units in the last place by which a difference of energies may be off."""

ROUNDED = 64
"""Residuals of this many units in the last place are rounding."""

GRADED = 1e-3
"""Gram matrices whose eigenvalues fall below this fraction of the largest are not used: they would cost digits."""


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


class _Round(NamedTuple):
    """One round: values s (n, k), rows of Y (n, k, p) and of V^H (n, k, v), and ``|W|^2`` of each direction (n, k)."""

    values: Array
    left: Array
    right: Array
    rise: Array


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
    energy, divisor, blocks = _tamed(blocks)
    basis = _range(blocks, ranks[-1])
    found = _refined(blocks, xp.sum(squared_norms(blocks), axis=-1), ranks, basis, ROUNDS)
    square = xp.astype(xp.real(divisor) if is_complex(xp, divisor.dtype) else divisor, xp.float64) ** 2
    return LowRank(
        _padded(found.left * divisor[:, None, None], ranks[-1]),
        _padded(found.right, ranks[-1]),
        found.energy * square + energy,
        found.discarded * square[:, None],
        found.slack * square[:, None],
    )


def weighted_ranges(blocks: Array, rank: int) -> Array:
    """Left singular vectors of every block of a stack, times their singular values.

    Parameters
    ----------
    blocks : array, shape (n, p, v)
    rank : int
        Number of vectors.

    Returns
    -------
    array, shape (n, rank, p)
        Rows ``s_i u_i`` of approximations whose error is near the least: what the range of random combinations of the
        columns leaves outside bounds what is lost, and blocks for which that is too much go through
        :func:`best_subspaces`. Zero beyond the smaller side.
    """
    xp = namespace(blocks)
    _, divisor, blocks = _tamed(blocks)
    basis = _range(blocks, rank)
    inner = blocks if basis is None else xp.matmul(adjoint(basis), blocks)
    left, values = _left_vectors(inner, rank)
    weighted = left * (xp.astype(values, blocks.dtype) * divisor[:, None])[:, None, :]
    weighted = _padded(xp.matrix_transpose(weighted if basis is None else xp.matmul(basis, weighted)), rank)
    if basis is None:
        return weighted
    energy = xp.sum(squared_norms(blocks), axis=-1)
    outside = energy - xp.sum(squared_norms(inner), axis=-1)
    lost = energy - xp.sum(xp.astype(values, xp.float64) ** 2, axis=-1)
    rounding = 2 * SUBTRACTED * float(xp.finfo(blocks.dtype).eps) * energy
    open_ = outside > xp.maximum(RELATIVE_SLACK * lost, rounding)
    if not any_true(open_):
        return weighted
    (which,) = xp.nonzero(open_)
    better = best_subspaces(xp.take(blocks, which, axis=0), (rank,)).left
    return replaced_rows(weighted, open_, better * xp.take(divisor, which)[:, None, None])


def _tamed(blocks: Array) -> tuple[Array, Array, Array]:
    """Blocks that a decomposition can meet, what they were divided by, and inf (else 0) for those that are not finite.

    Blocks whose squares leave the range of the dtype are divided by their largest modulus; non-finite ones are zeroed,
    since a decomposition would raise for the stack.
    """
    xp = namespace(blocks)
    energy = xp.sum(squared_norms(blocks), axis=-1)
    low, high = safe_range(blocks)
    unusual = ~((energy >= low) & (energy < high))
    ones = xp.ones(energy.shape, dtype=blocks.dtype, device=blocks.device)
    if not any_true(unusual):
        return xp.zeros_like(energy), ones, blocks
    largest = xp.max(xp.abs(blocks), axis=(1, 2))
    finite = xp.isfinite(largest)
    divisor = xp.where(unusual & finite & (largest > 0), xp.astype(largest, blocks.dtype), ones)
    blocks = xp.where(finite[:, None, None], blocks, xp.zeros_like(blocks)) / divisor[:, None, None]
    return xp.where(finite, xp.zeros_like(energy), xp.full_like(energy, math.inf)), divisor, blocks


def _range(blocks: Array, rank: int) -> Array | None:
    """Orthonormal basis (n, p, k) of random combinations of the columns; None where the rows are few: all of them."""
    xp = namespace(blocks)
    _, p, v = blocks.shape
    k = rank + OVERSAMPLING
    if p <= k:
        return None
    combined = blocks
    if v > k:
        omega = xp.asarray(_gaussian(v, k), dtype=blocks.dtype, device=blocks.device)
        combined = xp.matmul(blocks, xp.broadcast_to(omega, (blocks.shape[0], v, k)))
    return xp.linalg.qr(combined)[0]


@functools.lru_cache(maxsize=64)
def _gaussian(rows: int, cols: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((rows, cols))


def _refined(blocks: Array, energy: Array, ranks: tuple[int, ...], basis: Array | None, rounds: int) -> LowRank:
    """Rounds from a basis until every block is settled, and the Gram matrix for those that ``rounds`` do not settle."""
    xp = namespace(blocks)
    round_ = _round(blocks, basis)
    found, settled = _judged(blocks, energy, round_, ranks)
    if not any_true(~settled):
        return found
    (open_,) = xp.nonzero(~settled)
    blocks, energy = xp.take(blocks, open_, axis=0), xp.take(energy, open_)
    if rounds > 1:
        basis = xp.linalg.qr(xp.matrix_transpose(xp.take(round_.left, open_, axis=0)))[0]
        return replaced(found, ~settled, _refined(blocks, energy, ranks, basis, rounds - 1))
    return replaced(found, ~settled, _by_gram(blocks, energy, ranks))


def _round(blocks: Array, basis: Array | None) -> _Round:
    xp = namespace(blocks)
    inner = blocks if basis is None else xp.matmul(adjoint(basis), blocks)
    outer, triangle = xp.linalg.qr(adjoint(inner))
    left, values, rotation = xp.linalg.svd(adjoint(triangle), full_matrices=False)
    right = xp.matmul(rotation, adjoint(outer))
    y = xp.matmul(blocks, adjoint(right))
    inside = left if basis is None else xp.matmul(basis, left)
    rise = squared_norms(xp.matrix_transpose(y - inside * xp.astype(values, blocks.dtype)[:, None, :]))
    return _Round(xp.astype(values, xp.float64), xp.matrix_transpose(y), right, rise)


def _judged(blocks: Array, energy: Array, round_: _Round, ranks: tuple[int, ...]) -> tuple[LowRank, Array]:
    """Energies of a round by the bound of the module docstring; also which blocks have nothing left to gain."""
    xp = namespace(blocks)
    eps = float(xp.finfo(blocks.dtype).eps)
    caught, risen = squared_norms(round_.left), xp.sum(round_.rise, axis=-1)
    discarded = [_discarded(blocks, energy, round_, caught, rank) for rank in ranks]
    beyond = xp.maximum(energy - xp.sum(caught, axis=-1), xp.zeros_like(energy)) + SUBTRACTED * eps * energy
    beyond = xp.minimum(beyond, discarded[-1])
    slacks, settled = [], energy >= 0
    for rank, lost in zip((min(rank, caught.shape[1]) for rank in ranks), discarded, strict=True):
        gap = round_.values[:, rank - 1] ** 2 - beyond
        gain = risen * beyond / xp.where(gap > 0, gap, xp.ones_like(gap)) + xp.sum(round_.rise[:, rank:], axis=-1)
        slack = xp.minimum(xp.where(gap > 0, gain, lost), lost)
        slacks.append(slack)
        settled &= (slack <= RELATIVE_SLACK * lost) | (slack <= (ROUNDED * eps) ** 2 * energy)
    found = LowRank(round_.left, round_.right, energy, xp.stack(discarded, axis=-1), xp.stack(slacks, axis=-1))
    return found, settled


def _discarded(blocks: Array, energy: Array, round_: _Round, caught: Array, rank: int) -> Array:
    """``||Z||^2 - ||Z V_r||^2``, from the residual itself in every block where that difference cancels."""
    xp = namespace(blocks)
    rank = min(rank, caught.shape[1])
    difference = energy - xp.sum(caught[:, :rank], axis=-1)
    small = cancels(difference, energy, blocks.dtype)
    if not any_true(small):
        return difference
    (which,) = xp.nonzero(small)
    left, right = (xp.take(part[:, :rank, :], which, axis=0) for part in (round_.left, round_.right))
    residual = xp.take(blocks, which, axis=0) - xp.matmul(xp.matrix_transpose(left), right)
    return replaced_rows(difference, small, xp.sum(squared_norms(residual), axis=-1))


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
    found, _ = _judged(blocks, energy, _round(blocks, basis), ranks)
    slacks = []
    for index, rank in enumerate(ranks):
        best = xp.sum(xp.astype(values[:, max(0, short - rank) :], xp.float64), axis=-1)
        best = best + (p + v) * float(xp.finfo(blocks.dtype).eps) * energy
        more = xp.maximum(best - (energy - found.discarded[:, index]), xp.zeros_like(energy))
        slacks.append(xp.minimum(found.slack[:, index], more))
    return found._replace(slack=xp.stack(slacks, axis=-1))


def _left_vectors(inner: Array, rank: int) -> tuple[Array, Array]:
    """Top left singular vectors (n, k, rank) and values (n, rank) of flat matrices (n, k, v).

    From the Gram matrix where the values sought are alike: its eigenvectors may be off by ``eps (s_1 / s_r)^2``, and so
    their range by ``eps s_1 / s_r`` of the largest value.
    """
    xp = namespace(inner)
    squares, vectors = xp.linalg.eigh(xp.matmul(inner, adjoint(inner)))
    rank = min(rank, inner.shape[1])
    squares, vectors = xp.flip(squares, axis=-1)[:, :rank], xp.flip(vectors, axis=-1)[:, :, :rank]
    values = xp.sqrt(xp.maximum(squares, xp.zeros_like(squares)))
    graded = ~(squares[:, -1] >= GRADED * squares[:, 0])
    if not any_true(graded):
        return vectors, values
    (which,) = xp.nonzero(graded)
    triangle = xp.linalg.qr(adjoint(xp.take(inner, which, axis=0)))[1]
    exact, accurate, _ = xp.linalg.svd(adjoint(triangle), full_matrices=False)
    exact = xp.matrix_transpose(_padded(xp.matrix_transpose(exact), rank))
    accurate = _padded(accurate[:, :, None], rank)[:, :, 0]
    return replaced_rows(vectors, graded, exact), replaced_rows(values, graded, accurate)


def _padded(rows: Array, rank: int) -> Array:
    """The first ``rank`` of vectors (n, k, x), or all with zero vectors after them."""
    xp = namespace(rows)
    count, k, length = rows.shape
    if k >= rank:
        return rows[:, :rank, :]
    zeros = xp.zeros((count, rank - k, length), dtype=rows.dtype, device=rows.device)
    return xp.concat((rows, zeros), axis=1)
