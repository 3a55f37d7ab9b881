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
Gram matrix of the short side is raised to a power (:mod:`.gram_powers`), which gives the top vector and a bound on
its singular value. Of large blocks, a few products give the one, and parts of the residual (:mod:`.gram_parts`) a bound
on the largest singular value rho of R, and so the other,

    (5)  sigma_1^2 <= lambda_max [[t^2, t|w|], [t|w|, |w|^2 + rho^2]]

of which (4) is the case ``rho = ||R||``: for a unit vector x with a part alpha along u and a part y across it,
``|x^H Z|^2 = |alpha* t + y^H w|^2 + |y^H R|^2 <= (|alpha| t + |y| |w|)^2 + rho^2 |y|^2``.

Squares are summed in the precision of the matrix along runs of about 1024 entries, and in float64 from there on.
:mod:`dbutterfly.kernels.low_rank.rank_one_grid` does the first round for whole tiles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..backend import Array, any_true, namespace, true_places
from ..linalg import (
    RELATIVE_SLACK,
    adjoint,
    has_cancelled,
    multiply_thin,
    nonzero_divisor,
    normal_divisor,
    replace,
    residual_energy,
    safe_range,
    squared_norms,
)
from .gram_parts import PARTS_SLACK, bound_by_parts, has_parts
from .gram_powers import diagonal, top_vector

__all__ = ["RankOne", "is_settled", "rank_one", "rank_one_by_gram", "slack_bound"]

ROUNDED_UNITS = 8
"""Residuals of this many units in the last place of the norm of a block are rounding.

Not tuned: of the size of :data:`dbutterfly.kernels.linalg.SUBTRACTED`, here for norms and not for energies.
"""

FLAT = 0.8
"""Part of the energy above which what products have left counts as a flat spectrum, of which more may stay open.

Not tuned: the largest row of 128 x 128 normal numbers leads to .98. Where single rows hold more of the energy, they may
keep a few products from a vector that captures more: then only the bound tells.
"""

PRODUCTS = 8
"""Products with ``Z Z^H`` by which the vector of a large block is improved, where a round leaves something to gain.

Measured for 128 x 128 normal numbers plus a matrix of rank one with 0, 3, 4.5 and 6 times the energy of a row: of the
energy that the best vector leaves, 2 products miss .29, .43, .20 and .01 % in the mean of 64 blocks, 4 products .21,
.23, .05 and .00 %, 8 products .13, .06, .00 and .00 %; without any, 0.7 to 1.4 %. In a single block, 4 and 8 products
miss 1.6 and 1.0 % at most. One takes .04 s for 2**28 entries of float32. The compiled loop ends them where one gains
less than :data:`dbutterfly.kernels.linalg.RELATIVE_SLACK` of what is left: after three of normal numbers alone, where
it misses .29 %, and .14, .02 and .01 % beside a matrix of rank one.
"""


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
    found, _, rise = _round(blocks, left, energy)
    done = is_settled(energy, found.discarded, rise, found.slack, blocks.dtype)
    hard = true_places(~done)
    if hard.shape[0]:
        begun = RankOne(*(xp.take(array, hard, axis=0) for array in found))
        found = replace(found, ~done, rank_one_by_gram(xp.take(blocks, hard, axis=0), begun))
    return found


def _round(blocks: Array, left: Array, energy: Array) -> tuple[RankOne, Array, Array]:
    """One round (1) from ``left`` (k, p, 1), a multiple of u; ``t^2`` and ``|w|^2``."""
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
    t2 = t[:, 0] ** 2
    slack = xp.minimum(slack_bound(t2, rise, discarded), discarded)  # (4)
    return RankOne(left[:, :, 0], right[:, 0, :], energy, discarded, slack), t2, rise


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


def slack_bound(t2: Array, rise: Array, rest: Array) -> Array:
    """Energy that any other rank-one matrix could capture beyond ``t^2 + |w|^2``, by (5), without cancellation.

    Parameters
    ----------
    t2, rise, rest : array of float64
        ``t^2``, ``|w|^2`` and ``rho^2`` of the blocks, or ``||R||^2`` for (4).

    Notes
    -----
    With ``g = t^2 - |w|^2 - rho^2`` and ``h = sqrt(g^2 + 4 t^2 |w|^2)``, the larger eigenvalue of (5) is above
    ``t^2`` by ``(h - g) / 2``. Where g is positive, that difference would cancel, and is formed as ``2 t^2 |w|^2 / (h +
    g)``.
    """
    xp = namespace(t2)
    gap = t2 - (rise + rest)
    root = xp.sqrt(gap * gap + 4 * t2 * rise)
    above = xp.where(gap > 0, 2 * t2 * rise / xp.where(gap > 0, root + gap, xp.ones_like(gap)), (root - gap) / 2)
    return xp.maximum(above - rise, xp.zeros_like(above))


def rank_one_by_gram(blocks: Array, found: RankOne) -> RankOne:
    """Approximate blocks on which one round was not enough.

    Large ones by products, with the bound of :mod:`.gram_parts`; where that leaves much open, as all others, by the top
    vector of their Gram matrix.

    Parameters
    ----------
    blocks : array, shape (k, p, v)
        Blocks whose squares stay in the range of their dtype (:func:`dbutterfly.kernels.linalg.safe_range`).
    found : RankOne
        What the round has found.
    """
    if not has_parts(blocks.shape):
        return _by_whole_gram(blocks, found.energy, found.discarded)
    found, open_ = _by_parts(blocks, found)
    which = true_places(open_)
    if which.shape[0] == 0:
        return found
    numbers = (_take(array, which) for array in (found.energy, found.discarded))
    return replace(found, open_, _by_whole_gram(_take(blocks, which), *numbers))


def _take(array: Array, which: Array) -> Array:
    """Some rows of an array; all of them are not copied."""
    return array if which.shape[0] == array.shape[0] else namespace(array).take(array, which, axis=0)


def _by_parts(blocks: Array, found: RankOne) -> tuple[RankOne, Array]:
    """Approximate large blocks by products and the bound of parts; and the mask of those with much open."""
    xp = namespace(blocks)
    found, t2, rise = _round(blocks, _multiply(blocks, found), found.energy)
    settled = is_settled(found.energy, found.discarded, rise, found.slack, blocks.dtype)
    rest = blocks - multiply_thin(found.left[:, :, None], found.right[:, None, :])
    slack = xp.minimum(found.slack, slack_bound(t2, rise, bound_by_parts(rest)))  # (5)
    flat, lost = found.discarded > FLAT * found.energy, found.discarded
    return found._replace(slack=slack), ~settled & (slack > xp.where(flat, PARTS_SLACK * lost, RELATIVE_SLACK * lost))


def _multiply(blocks: Array, found: RankOne) -> Array:
    """Left parts (k, p, 1) after :data:`PRODUCTS` products with ``Z Z^H``, up to factors."""
    xp = namespace(blocks)
    left = found.left[:, :, None]
    share = 1 / nonzero_divisor(found.energy, blocks)[:, None, None]  # products are no longer than one
    for _ in range(PRODUCTS):
        unit = left / nonzero_divisor(xp.sqrt(squared_norms(left[:, :, 0])), blocks)[:, None, None]
        left = xp.matmul(blocks, adjoint(xp.matmul(adjoint(unit), blocks) * share))
    return left


def _by_whole_gram(blocks: Array, energy: Array, discarded: Array) -> RankOne:
    """Approximate blocks by the top vector of their Gram matrix, from energies (k,)."""
    xp = namespace(blocks)
    wide = blocks.shape[1] <= blocks.shape[2]
    transposed = adjoint(blocks)
    gram = xp.matmul(blocks, transposed) if wide else xp.matmul(transposed, blocks)
    scale = xp.sum(xp.astype(diagonal(gram), xp.float64), axis=-1) / gram.shape[-1] ** 0.5
    power = gram / nonzero_divisor(scale, gram)[:, None, None]
    vector, bound = top_vector(power, 1, scale, energy, energy - discarded)
    found, _, _ = _round(blocks, vector if wide else xp.matmul(blocks, vector), energy)
    # Both bounds hold: the smaller one counts.
    beyond = xp.maximum(bound - (energy - found.discarded), xp.zeros_like(energy))
    return found._replace(slack=xp.minimum(found.slack, beyond))
