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
with randomness", SIAM Review 2011, for the expectation). So does ``sum_{i<=r} s_i^2 + |W|^2 + ||R||^2``, for which
products with the first r directions are enough: it settles blocks whose singular values fall fast. A block on
which both leave something to gain goes through the round once more, from the Y that it has; one that is still not
settled, through the eigenvalues of the Gram matrix of its short side, which bound the optimum whatever the gap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .backend import Array, any_true, is_complex, namespace
from .low_rank import (
    CANCELLING,
    RELATIVE_SLACK,
    SUBTRACTED,
    adjoint,
    cancels,
    replaced,
    replaced_rows,
    residual_energy,
    safe_range,
    squared_norms,
)

__all__ = ["LowRank", "best_subspaces", "gaussian", "padded", "start_basis", "tamed"]

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


class _Directions(NamedTuple):
    """Directions of one round: values s (n, k), columns of ``Q E S`` (n, p, k) and rows of V^H (n, k, v)."""

    values: Array
    inside: Array
    right: Array


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
    blocks, energy, divisor, spoilt = tamed(blocks)
    found = _refined(blocks, energy, ranks, start_basis(blocks, ranks[-1]), ROUNDS)
    square = xp.astype(xp.real(divisor) if is_complex(xp, divisor.dtype) else divisor, xp.float64) ** 2
    return LowRank(
        padded(found.left * divisor[:, None, None], ranks[-1]),
        padded(found.right, ranks[-1]),
        found.energy * square + spoilt,
        found.discarded * square[:, None],
        found.slack * square[:, None],
    )


def tamed(blocks: Array) -> tuple[Array, Array, Array, Array]:
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


def start_basis(blocks: Array, rank: int) -> Array | None:
    """Orthonormal basis (n, p, k) of random combinations of the columns; None where the rows are few: all of them."""
    xp = namespace(blocks)
    _, p, v = blocks.shape
    k = rank + OVERSAMPLING
    if p <= k:
        return None
    combined = blocks
    if v > k:
        omega = xp.asarray(gaussian(v, k), dtype=blocks.dtype, device=blocks.device)
        combined = xp.matmul(blocks, xp.broadcast_to(omega, (blocks.shape[0], v, k)))
    return xp.linalg.qr(combined)[0]


@functools.lru_cache(maxsize=64)
def gaussian(rows: int, cols: int) -> NDArray[np.float64]:
    """Random matrix, the same at every call."""
    return np.random.default_rng(0).standard_normal((rows, cols))


def _refined(blocks: Array, energy: Array, ranks: tuple[int, ...], basis: Array | None, rounds: int) -> LowRank:
    """Rounds from a basis until every block is settled, and the Gram matrix for those that ``rounds`` do not settle."""
    directions = _directions(blocks, basis)
    values, eps = directions.values, float(namespace(blocks).finfo(blocks.dtype).eps)
    outside = energy - _sum(values**2)
    lost = outside + _sum(values[:, min(ranks[-1], values.shape[1]) :] ** 2)
    small = (outside <= RELATIVE_SLACK * lost) | (outside <= CANCELLING * eps * energy)

    def short(blocks: Array, energy: Array, *directions: Array) -> LowRank:
        found, settled, _ = _judged(blocks, energy, _Directions(*directions), ranks, whole=False)
        return _mended(found, settled, full, (blocks, energy, *directions))

    def full(blocks: Array, energy: Array, *directions: Array) -> LowRank:
        found, settled, y = _judged(blocks, energy, _Directions(*directions), ranks, whole=True)
        return _mended(found, settled, again, (blocks, energy, y))

    def again(blocks: Array, energy: Array, y: Array) -> LowRank:
        if rounds == 1:
            return _by_gram(blocks, energy, ranks)
        return _refined(blocks, energy, ranks, namespace(y).linalg.qr(y)[0], rounds - 1)

    if any_true(small):
        return _mended(short(blocks, energy, *directions), small, full, (blocks, energy, *directions))
    return full(blocks, energy, *directions)


def _mended(found: LowRank, good: Array, better: Callable[..., LowRank], of: tuple[Array, ...]) -> LowRank:
    """Put ``better`` of the arrays in place of what is not good."""
    if not any_true(~good):
        return found
    xp = namespace(good)
    (which,) = xp.nonzero(~good)
    if which.shape[0] == good.shape[0]:
        return better(*of)
    return replaced(found, ~good, better(*(xp.take(array, which, axis=0) for array in of)))


def _directions(blocks: Array, basis: Array | None) -> _Directions:
    xp = namespace(blocks)
    inner = blocks if basis is None else xp.matmul(adjoint(basis), blocks)
    outer, triangle = xp.linalg.qr(adjoint(inner))
    left, values, rotation = xp.linalg.svd(adjoint(triangle), full_matrices=False)
    inside = (left if basis is None else xp.matmul(basis, left)) * xp.astype(values, blocks.dtype)[:, None, :]
    return _Directions(xp.astype(values, xp.float64), inside, xp.matmul(rotation, adjoint(outer)))


def _judged(
    blocks: Array, energy: Array, directions: _Directions, ranks: tuple[int, ...], *, whole: bool
) -> tuple[LowRank, Array, Array]:
    """Energies by the bounds of the module docstring; which blocks have nothing left to gain; and Y.

    Only the directions of the last rank are multiplied by the blocks unless ``whole``.
    """
    xp = namespace(blocks)
    eps = float(xp.finfo(blocks.dtype).eps)
    values, inside, right = directions
    few = min(ranks[-1], values.shape[1])
    count = values.shape[1] if whole else few
    y = xp.matmul(blocks, adjoint(right[:, :count, :]))
    rise = squared_norms(xp.matrix_transpose(y - inside[:, :, :count]))
    left, right = xp.matrix_transpose(y), right[:, :few, :]
    caught = squared_norms(left)
    discarded = [_discarded(blocks, energy, y, right, caught, min(rank, few)) for rank in ranks]
    beyond = xp.maximum(discarded[-1] - _sum(caught[:, few:] if whole else values[:, few:] ** 2), xp.zeros_like(energy))
    formed = cancels(discarded[-1], energy, blocks.dtype)  # from the residual, whose entries are off by eps |Z|
    beyond = beyond + SUBTRACTED * eps * xp.where(formed, xp.sqrt(energy * discarded[-1]), energy)
    slacks, settled = [], energy >= 0
    for rank, lost in zip((min(rank, few) for rank in ranks), discarded, strict=True):
        gap = values[:, rank - 1] ** 2 - beyond
        gain = _sum(rise) * beyond / xp.where(gap > 0, gap, xp.ones_like(gap)) if whole else beyond
        slack = xp.minimum(xp.where(gap > 0, gain + _sum(rise[:, rank:]), lost), lost)
        slacks.append(slack)
        settled &= (slack <= RELATIVE_SLACK * lost) | (slack <= (ROUNDED * eps) ** 2 * energy)
    found = LowRank(left[:, :few, :], right, energy, xp.stack(discarded, axis=-1), xp.stack(slacks, axis=-1))
    return found, settled, y


def _sum(squares: Array) -> Array:
    return namespace(squares).sum(squares, axis=-1)


def _discarded(blocks: Array, energy: Array, y: Array, right: Array, caught: Array, rank: int) -> Array:
    """``||Z||^2 - ||Z V_r||^2``, from the residual itself in every block where that difference cancels."""
    xp = namespace(blocks)
    difference = energy - _sum(caught[:, :rank])
    small = cancels(difference, energy, blocks.dtype)
    if not any_true(small):
        return difference
    (which,) = xp.nonzero(small)
    if which.shape[0] == small.shape[0]:
        return residual_energy(blocks, y[:, :, :rank], right[:, :rank, :])
    blocks, y, right = (xp.take(array, which, axis=0) for array in (blocks, y, right))
    return replaced_rows(difference, small, residual_energy(blocks, y[:, :, :rank], right[:, :rank, :]))


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
    found, _, _ = _judged(blocks, energy, _directions(blocks, basis), ranks, whole=True)
    slacks = []
    for index, rank in enumerate(ranks):
        best = xp.sum(xp.astype(values[:, max(0, short - rank) :], xp.float64), axis=-1)
        best = best + (p + v) * float(xp.finfo(blocks.dtype).eps) * energy
        more = xp.maximum(best - (energy - found.discarded[:, index]), xp.zeros_like(energy))
        slacks.append(xp.minimum(found.slack[:, index], more))
    return found._replace(slack=xp.stack(slacks, axis=-1))


def padded(rows: Array, rank: int) -> Array:
    """The first ``rank`` of vectors (n, k, x), or all with zero vectors after them."""
    xp = namespace(rows)
    count, k, length = rows.shape
    if k >= rank:
        return rows[:, :rank, :]
    zeros = xp.zeros((count, rank - k, length), dtype=rows.dtype, device=rows.device)
    return xp.concat((rows, zeros), axis=1)
