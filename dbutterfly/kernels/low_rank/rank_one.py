r"""Best rank-one approximation of every block of a stack, by products alone.

Each block Z (p x v) starts from its largest row. One round of the power iteration then gives, with unit vectors u, v,

    (1)  t v^H = u^H Z,    w = Z v - t u,    w orthogonal to u

so that in bases that start with u and v

    (2)  Z = [[t, 0], [w, R]],    ||Z||^2 = t^2 + |w|^2 + ||R||^2

The approximation is ``(Z v) v^H``. Its residual is orthogonal to v whether or not v has converged, which is all that
the certificate needs:

    (3)  ||Z - (Z v) v^H||^2 = ||Z||^2 - |Z v|^2,    |Z v|^2 = t^2 + |w|^2

By (2), the largest singular value is *bounded from above* by quantities that the round has at hand,

    (4)  sigma_1^2 <= lambda_max [[t^2, t|w|], [t|w|, ||Z||^2 - t^2]]

and the round stops where that bound leaves nothing to gain. Blocks that are rank one up to noise pass at once. Others
have less than half of their energy in one vector, a small gap, or a start orthogonal to the top vector. For these the
Gram matrix G of the short side, n x n, is raised to a power s, which gives the top vector, and from the mean and the
variance of the eigenvalues of ``H = G^s`` the bound

    (5)  sigma_1^(2s) <= mean + sqrt((n - 1) variance),    mean = trace(H) / n,    variance = ||H||^2 / n - mean^2

for s = 1, 2, 4 or 8 (Wolkowicz and Styan, "Bounds for eigenvalues using traces", Linear Algebra Appl. 29 (1980)). The
power is the least one that leaves little to gain: each squaring costs as much as the Gram matrix itself.

Squares are summed in the precision of the matrix along runs of about 1024 entries, and in float64 from there on.
:mod:`dbutterfly.kernels.low_rank.rank_one_grid` does the first round for whole tiles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend import Array, any_true, is_complex, namespace, true_places
from ..linalg import (
    RELATIVE_SLACK,
    SUBTRACTED,
    adjoint,
    has_cancelled,
    nonzero_divisor,
    normal_divisor,
    replace,
    replace_rows,
    residual_energy,
    safe_range,
    squared_norms,
)

__all__ = ["RankOne", "is_settled", "rank_one", "rank_one_by_gram", "slack_bound"]

ROUNDED_UNITS = 8
"""Residuals of this many units in the last place of the norm of a block are rounding.

Not tuned: of the size of :data:`dbutterfly.kernels.linalg.SUBTRACTED`, here for norms and not for energies.
"""


GRAM_SLACK = 0.05
"""A Gram matrix is not squared again where the energy that its bound leaves open is below this fraction of the loss.

Of the ratio of the certificate, that is 2.5 % at most. See "Blocks of noise" under ``noise`` in benchmarks/README.md.
"""

MOST_EXPONENT = 8
"""Power of the Gram matrix at which squaring ends, s in (5)."""


class RankOne(NamedTuple):
    """Rank-one approximations ``left[k, :, None] * right[k, None, :]`` of blocks, with their energies.

    Leading axes are those of the stack. Energies are squared Frobenius norms in float64.

    Attributes
    ----------
    left : array, shape (..., p)
        ``Z v``: carries the scale.
    right : array, shape (..., v)
        ``v^H``: unit rows (zero for a zero block).
    energy : array of float64, shape (...)
        ``||Z||^2``.
    discarded : array of float64, shape (...)
        ``||Z - left right||^2``.
    slack : array of float64, shape (...)
        Proven bound on the energy that any other rank-one matrix could capture beyond this one: the best approximation
        discards at least ``discarded - slack``.
    """

    left: Array
    right: Array
    energy: Array
    discarded: Array
    slack: Array


def rank_one(blocks: Array) -> RankOne:
    """Approximate every block of a contiguous stack.

    Parameters
    ----------
    blocks : array, shape (k, p, v), real or complex floating

    Returns
    -------
    RankOne
        Non-finite entries, or squares that overflow float64, give a non-finite energy and meaningless vectors.
    """
    xp = namespace(blocks)
    rows = squared_norms(blocks)
    energy = xp.sum(rows, axis=-1)
    tiny, huge = safe_range(blocks)
    outside = (energy < tiny) | ~(energy < huge)
    which = true_places(outside)
    if which.shape[0] == 0:
        return _approximate_from_largest_row(blocks, rows, energy)
    rescaled = _approximate_rescaled(xp.take(blocks, which, axis=0))
    if which.shape[0] == blocks.shape[0]:
        return rescaled
    return replace(_approximate_from_largest_row(blocks, rows, energy), outside, rescaled)


def _approximate_rescaled(blocks: Array) -> RankOne:
    """Approximate blocks whose squares leave the range of the dtype: divided by their largest modulus first."""
    xp = namespace(blocks)
    largest = normal_divisor(xp.max(xp.abs(blocks), axis=(1, 2)))
    scale = xp.astype(largest, xp.float64)
    scaled = blocks / xp.astype(largest, blocks.dtype)[:, None, None]
    rows = squared_norms(scaled)
    found = _approximate_from_largest_row(scaled, rows, xp.sum(rows, axis=-1))
    energies = (x * scale * scale for x in (found.energy, found.discarded, found.slack))
    return RankOne(found.left * xp.astype(largest, blocks.dtype)[:, None], found.right, *energies)


def _approximate_from_largest_row(blocks: Array, rows: Array, energy: Array) -> RankOne:
    """Approximate blocks from the energies of their rows (k, p) and their own: a round, or the Gram matrix after it."""
    xp = namespace(blocks)
    largest = xp.argmax(rows, axis=-1)[:, None]
    start = xp.take_along_axis(blocks, largest[:, :, None], axis=1)
    norms = xp.sqrt(xp.take_along_axis(rows, largest, axis=1))
    left = xp.matmul(blocks, adjoint(start / nonzero_divisor(norms, blocks)[:, :, None]))
    found, done = _round(blocks, left, energy)
    hard = true_places(~done)
    if hard.shape[0]:
        numbers = (xp.take(array, hard) for array in (energy, found.discarded))
        found = replace(found, ~done, rank_one_by_gram(xp.take(blocks, hard, axis=0), *numbers))
    return found


def _round(blocks: Array, left: Array, energy: Array) -> tuple[RankOne, Array]:
    """One round (1) from ``left`` (k, p, 1), a multiple of u; and the mask of blocks with nothing left to gain."""
    xp = namespace(blocks)
    length = xp.sqrt(squared_norms(adjoint(left)))
    u = left / nonzero_divisor(length, blocks)[:, :, None]
    projected = xp.matmul(adjoint(u), blocks)  # (1): t v^H
    t = xp.sqrt(squared_norms(projected))
    unit = nonzero_divisor(t, blocks)[:, :, None]
    right = projected / unit
    left = xp.matmul(blocks, adjoint(right))
    rise = squared_norms(adjoint(left - u * unit))[:, 0]  # |w|^2 of (1)
    captured = squared_norms(adjoint(left))[:, 0]
    discarded = _discarded_energy(blocks, left, right, energy, captured)  # (3)
    slack = slack_bound(t[:, 0] ** 2, rise, discarded)  # (4)
    settled = is_settled(energy, discarded, rise, slack, blocks.dtype)
    return RankOne(left[:, :, 0], right[:, 0, :], energy, discarded, xp.minimum(slack, discarded)), settled


def is_settled(energy: Array, discarded: Array, rise: Array, slack: Array, dtype: Any) -> Array:
    """Mask of the blocks with nothing left to gain from a further round.

    These are blocks for which the gain is little beside what is discarded anyhow, blocks for which it would be lost in
    rounding, as those of rank one, and zero blocks.
    """
    eps = float(namespace(energy).finfo(dtype).eps)
    rounding = (ROUNDED_UNITS * eps) ** 2 * energy
    return (slack <= RELATIVE_SLACK * discarded) | (rise + slack <= rounding) | (energy == 0)


def _discarded_energy(blocks: Array, left: Array, right: Array, energy: Array, captured: Array) -> Array:
    """``||Z||^2 - |Z v|^2`` of (3), from the residual itself in every block where that difference cancels."""
    xp = namespace(blocks)
    difference = energy - captured
    small = has_cancelled(difference, energy, blocks.dtype)
    if not any_true(small):
        return difference
    return xp.where(small, residual_energy(blocks, left, right), difference)


def slack_bound(t2: Array, rise: Array, discarded: Array) -> Array:
    """Energy that any other rank-one matrix could capture beyond ``t^2 + |w|^2``, by (4), without cancellation.

    Parameters
    ----------
    t2, rise, discarded : array of float64
        ``t^2``, ``|w|^2`` and ``||R||^2`` of the blocks.

    Notes
    -----
    With ``g = t^2 - |w|^2 - ||R||^2`` and ``h = sqrt(g^2 + 4 t^2 |w|^2)``, the larger eigenvalue of (4) is above
    ``t^2`` by ``(h - g) / 2``. Where g is positive, that difference would cancel, and is formed as ``2 t^2 |w|^2 / (h +
    g)``.
    """
    xp = namespace(t2)
    gap = t2 - (rise + discarded)
    root = xp.sqrt(gap * gap + 4 * t2 * rise)
    above = xp.where(gap > 0, 2 * t2 * rise / xp.where(gap > 0, root + gap, xp.ones_like(gap)), (root - gap) / 2)
    return xp.maximum(above - rise, xp.zeros_like(above))


def rank_one_by_gram(blocks: Array, energy: Array, discarded: Array) -> RankOne:
    """Approximate blocks on which one round was not enough, by the top vector of their Gram matrix and (5).

    Parameters
    ----------
    blocks : array, shape (k, p, v)
        Blocks whose squares stay in the range of their dtype (:func:`dbutterfly.kernels.linalg.safe_range`).
    energy, discarded : array of float64, shape (k,)
        ``||Z||^2``, and what the round has left of it.
    """
    xp = namespace(blocks)
    wide = blocks.shape[1] <= blocks.shape[2]
    transposed = adjoint(blocks)
    gram = xp.matmul(blocks, transposed) if wide else xp.matmul(transposed, blocks)
    scale = xp.sum(xp.astype(_diagonal(gram), xp.float64), axis=-1) / gram.shape[-1] ** 0.5
    power = gram / nonzero_divisor(scale, gram)[:, None, None]
    vector, bound = _top_vector(power, 1, scale, energy, energy - discarded)
    found, _ = _round(blocks, vector if wide else xp.matmul(blocks, vector), energy)
    # Both (4) and (5) hold: the smaller bound counts.
    beyond = xp.maximum(bound - (energy - found.discarded), xp.zeros_like(energy))
    return found._replace(slack=xp.minimum(found.slack, beyond))


def _top_vector(power: Array, exponent: int, scale: Array, energy: Array, caught: Array) -> tuple[Array, Array]:
    """Top eigenvector (k, n, 1) of positive semidefinite matrices G, and a bound on their largest eigenvalue.

    The bound (5) is no more than ``||H||^(1/s)``: for s = 8, 9 % above the eigenvalue where three others are as large,
    since ``4^(1/16) = 1.09``, and sharper the faster they fall. Blocks for which that norm leaves much to gain beyond
    what is ``caught`` are squared again: it says more about the vector, which (5) alone may leave far from the top one
    where all eigenvalues are near to each other. The vector is ``H^5 e_j`` for the j with the largest ``||H e_j|| /
    ||H^(1/2) e_j||``, the unit vector that leans most towards the top vector: the largest column would rather be one
    where the energy of lesser vectors is concentrated.

    ``power`` is H for G divided by ``scale``, so that its trace is ``sqrt(n)``: ``||H||^2``, for s = 8 from ``n^-7`` to
    ``n^8``, neither underflows nor overflows.
    """
    xp = namespace(power)
    size, eps = power.shape[-1], float(xp.finfo(power.dtype).eps)
    columns = squared_norms(power)
    squares = xp.sum(columns, axis=-1)
    mean = xp.sum(xp.astype(_diagonal(power), xp.float64), axis=-1) / size
    spread = xp.maximum(squares / size - mean**2, xp.zeros_like(mean)) + SUBTRACTED * eps * squares / size
    most = mean + xp.sqrt((size - 1) * spread)
    rounded = 1 + size * eps  # of the products
    bound = xp.minimum(scale * most ** (1 / exponent) * rounded, energy)  # (5)
    vector = _leaning_vector(power, columns, squares)
    if exponent == MOST_EXPONENT:
        return vector, bound
    norm = xp.minimum(scale * squares ** (1 / (2 * exponent)) * rounded, energy)
    open_ = norm - caught > GRAM_SLACK * (energy - caught)
    which = true_places(open_)
    if which.shape[0] == 0:
        return vector, bound
    rest = xp.take(power, which, axis=0)
    numbers = (xp.take(array, which) for array in (scale, energy, caught))
    squared = xp.matmul(rest, adjoint(rest))  # as a product with its adjoint, half of the work for BLAS
    better = _top_vector(squared, 2 * exponent, *numbers)
    return replace_rows(vector, open_, better[0]), replace_rows(bound, open_, better[1])


def _leaning_vector(power: Array, columns: Array, squares: Array) -> Array:
    """Vectors (k, n, 1) by matrices H (k, n, n), the squared norms (k, n) of their columns, and their own."""
    xp = namespace(power)
    diagonal = xp.astype(_diagonal(power), xp.float64)  # ||H^(1/2) e_j||^2
    # What is below is rounding, which must not be divided by.
    counts = diagonal > float(xp.finfo(power.dtype).eps) * xp.max(diagonal, axis=-1, keepdims=True)
    leaning = xp.where(counts, columns / xp.where(counts, diagonal, 1), 0)
    power = power / nonzero_divisor(xp.sqrt(squares), power)[:, None, None]  # so that H^5 e_j does not overflow
    vector = xp.take_along_axis(power, xp.argmax(leaning, axis=-1)[:, None, None], axis=2)
    for _ in range(4):
        vector = xp.matmul(power, vector)
    return vector


def _diagonal(hermitian: Array) -> Array:
    """Diagonals (k, n) of Hermitian matrices, real."""
    xp = namespace(hermitian)
    diagonal = xp.linalg.diagonal(hermitian)
    return xp.real(diagonal) if is_complex(xp, diagonal.dtype) else diagonal
