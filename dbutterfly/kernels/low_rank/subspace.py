r"""Best rank-r approximation of every block of a stack, by products, thin QR and small singular value decompositions.

A block Z (p x v) is multiplied by the same k random rows as all others of its stack, with k a little above r; then,
with orthonormal P, Q, E and F,

    (1)  Omega Z = L P^H,    Y = Z P = Q T,    T = E S F^H

and no matrix of rank r captures more of Z than

    (2)  sum_{i<=r} s_i^2 + ||Z - Y P^H||^2

Where singular values fall fast, that leaves nothing to gain on ``Y F_r (P F_r)^H``, which captures the sum. Other
blocks go through a round from Q, with

    (3)  Q^H Z = E S V^H,    Y = Z V = (Q E) S + W,    W orthogonal to Q

so that in bases that start with Q E and V

    (4)  Z = [[S, 0], [W, R]],    ||Z||^2 = |S|^2 + |W|^2 + ||R||^2

The approximation is ``Y_r V_r^H``: as that by P, its residual is orthogonal to its rows whether or not they have
converged, which is what the certificate needs,

    (5)  ||Z - Y_r V_r^H||^2 = ||Z||^2 - |Y_r|^2

With ``t`` the norm of the part of r orthonormal vectors that lies beyond V, they capture at most

    (6)  sum_{i<=r} s_i^2 + |W|^2 + 2 |W| ||R|| t - (s_r^2 - ||R||^2) t^2
           <= sum_{i<=r} s_i^2 + |W|^2 (1 + ||R||^2 / (s_r^2 - ||R||^2))    where s_r^2 > ||R||^2

which bounds from above what any matrix of rank r can capture (compare Halko, Martinsson and Tropp, "Finding structure
with randomness", SIAM Review 2011, for the expectation). A block on which this leaves something to gain goes through
a second round, from the range of ``Z Z^H Y``. Where that does not settle it either, as in blocks of noise, whose
spectrum has no gap, :mod:`dbutterfly.kernels.low_rank.most_captured` bounds what can be captured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..backend import Array, any_true, is_complex, namespace, true_places
from ..linalg import (
    RELATIVE_SLACK,
    SUBTRACTED,
    adjoint,
    has_cancelled,
    pad,
    replace,
    replace_rows,
    residual_energy,
    squared_norms,
    tame,
)
from .gram_powers import GRAM_SLACK
from .most_captured import bound_captured
from .sketch import OVERSAMPLING, fixed_sketch

__all__ = ["PRODUCTS", "LowRank", "best_subspaces"]

PRODUCTS = 2
"""Products with ``Z Z^H`` between the first round and the second.

Measured on the blocks of :data:`OVERSAMPLING`: where singular values fall by 0.6, none, one, two and three leave 157,
60, 22 and 5 of 500 blocks to the bound without a gap, and take 31, 33, 29 and 33 ms; in noise, 59, 48, 51 and 54 ms,
and 7.1, 3.8, 2.2 and 1.4 % of what is discarded stay open. The eigenvectors of Gram matrices took 91 ms there.
"""

ROUNDED_UNITS = 64
"""Residuals of this many units in the last place of the norm of a block are rounding.

Neither tuned nor measured: room for the rounding of products, QR and singular value decompositions together, where the
kernel of rank one, with products only, allows 8 units.
"""


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
    found = _approximate(blocks, energy, ranks)
    square = xp.astype(xp.real(divisor) if is_complex(xp, divisor.dtype) else divisor, xp.float64) ** 2
    return LowRank(
        pad(found.left * divisor[:, None, None], ranks[-1]),
        pad(found.right, ranks[-1]),
        found.energy * square + spoilt,
        found.discarded * square[:, None],
        found.slack * square[:, None],
    )


def _approximate(blocks: Array, energy: Array, ranks: tuple[int, ...]) -> LowRank:
    """Approximations of (1), and rounds from there for the blocks that these do not settle.

    The energy in the lower right corner of the triangle T is no less than the squares of its last singular values, so
    that the corner shows, before T is decomposed, on which blocks (2) may leave nothing to gain.
    """
    xp = namespace(blocks)
    p, k = blocks.shape[1], ranks[-1] + OVERSAMPLING
    rows = blocks
    if p > k:
        rows = xp.matmul(xp.asarray(fixed_sketch(k, p), dtype=blocks.dtype, device=blocks.device), blocks)
    outer = xp.linalg.qr(adjoint(rows))[0]  # (1): P
    y = xp.matmul(blocks, outer)
    basis, triangle = xp.linalg.qr(y)  # (1): Y = Q T
    outside = energy - xp.sum(squared_norms(triangle), axis=-1)  # (2): ||Z - Y P^H||^2
    few = min(ranks[-1], triangle.shape[1])
    rest = xp.sum(squared_norms(triangle[:, few:, few:]), axis=-1)
    promising = (outside <= RELATIVE_SLACK * (outside + rest)) | has_cancelled(outside, energy, blocks.dtype)

    def refine(blocks: Array, energy: Array, basis: Array) -> LowRank:
        return _refine(blocks, energy, ranks, basis)

    if not any_true(promising):
        return refine(blocks, energy, basis)
    found, settled = _approximate_within(blocks, energy, outer, y, triangle, ranks)
    return _mend(found, settled & promising, refine, (blocks, energy, basis))


def _approximate_within(
    blocks: Array, energy: Array, outer: Array, y: Array, triangle: Array, ranks: tuple[int, ...]
) -> tuple[LowRank, Array]:
    """The best approximations whose rows are combinations of those of P^H; mask of those with nothing left to gain."""
    xp = namespace(blocks)
    _, values, rotation = xp.linalg.svd(triangle, full_matrices=False)  # (1): T = E S F^H
    few = min(ranks[-1], values.shape[1])
    right = xp.matmul(rotation[:, :few, :], adjoint(outer))
    columns = xp.matmul(y, adjoint(rotation[:, :few, :]))
    left = xp.matrix_transpose(columns)
    discarded = _discarded_energies(blocks, energy, columns, right, squared_norms(left), ranks)
    outside = discarded[:, -1] - _sum_last(xp.astype(values[:, few:], xp.float64) ** 2)  # (2), less what is captured
    slack = xp.minimum(_with_rounding(outside, discarded[:, -1], energy, blocks.dtype)[:, None], discarded)
    return LowRank(left, right, energy, discarded, slack), _is_settled(slack, discarded, energy, blocks.dtype)


def _refine(blocks: Array, energy: Array, ranks: tuple[int, ...], basis: Array) -> LowRank:
    """Approximate by a round (3) from a basis, and by a second one where the first does not settle a block."""
    xp = namespace(blocks)
    first = _round(blocks, energy, basis, ranks)

    def bound(blocks: Array, inside: Array, rise: Array, right: Array, *found: Array) -> LowRank:
        return _bound(blocks, inside, rise, right, LowRank(*found), ranks)

    def refine(blocks: Array, energy: Array, y: Array) -> LowRank:
        basis = xp.linalg.qr(y)[0]
        for _ in range(PRODUCTS):
            across = xp.linalg.qr(xp.matmul(adjoint(blocks), basis))[0]
            basis = xp.linalg.qr(xp.matmul(blocks, across))[0]
        second = _round(blocks, energy, basis, ranks)
        parts = (blocks, second.inside, second.rise, second.right, *second.found)
        return _mend(second.found, second.settled, bound, parts)

    return _mend(first.found, first.settled, refine, (blocks, energy, first.y))


def _bound(blocks: Array, inside: Array, rise: Array, right: Array, found: LowRank, ranks: tuple[int, ...]) -> LowRank:
    """Bound what a round with these (3) has left to gain, where there is no gap: ``inside`` is ``Q E S``."""
    xp = namespace(blocks)
    squares = squared_norms(xp.matrix_transpose(inside))
    values = xp.astype(xp.sqrt(squares), blocks.dtype)
    caught = found.energy[:, None] - found.discarded
    most = bound_captured(
        blocks - xp.matmul(inside, right),
        rise * values[:, None, :],
        squares,
        ranks,
        caught + GRAM_SLACK * found.discarded,
    )
    most = most + sum(blocks.shape[1:]) * float(xp.finfo(blocks.dtype).eps) * found.energy[:, None]
    more = xp.maximum(most - caught, xp.zeros_like(caught))
    return found._replace(slack=xp.minimum(found.slack, more))


def _mend(found: LowRank, good: Array, better: Callable[..., LowRank], of: tuple[Array, ...]) -> LowRank:
    """Replace the approximations that are not good by ``better`` of the parts of the arrays that belong to them."""
    which = true_places(~good)
    if which.shape[0] == 0:
        return found
    xp = namespace(good)
    if which.shape[0] == good.shape[0]:
        return better(*of)
    return replace(found, ~good, better(*(xp.take(array, which, axis=0) for array in of)))


class _Round(NamedTuple):
    """What a round (3) leaves: arrays of as many columns as Q has, and the mask of blocks with nothing left to gain."""

    found: LowRank
    settled: Array
    y: Array
    right: Array  # V^H
    inside: Array  # Q E S
    rise: Array  # W


def _round(blocks: Array, energy: Array, basis: Array, ranks: tuple[int, ...]) -> _Round:
    """One round (3) from a basis Q, with its energies."""
    xp = namespace(blocks)
    # (3): Z^H Q is tall, so that its QR leaves a small triangle to decompose.
    outer, triangle = xp.linalg.qr(adjoint(xp.matmul(adjoint(basis), blocks)))
    inner, values, rotation = xp.linalg.svd(adjoint(triangle), full_matrices=False)
    right, few = xp.matmul(rotation, adjoint(outer)), min(ranks[-1], values.shape[1])
    y = xp.matmul(blocks, adjoint(right))
    inside = xp.matmul(basis, inner) * xp.astype(values, blocks.dtype)[:, None, :]
    columns = y - inside  # (3): W
    rise, caught = (squared_norms(xp.matrix_transpose(part)) for part in (columns, y))
    discarded = _discarded_energies(blocks, energy, y[:, :, :few], right[:, :few, :], caught, ranks)
    # (4): ||R||^2 is what is discarded, less what the directions beyond r capture.
    beyond = _with_rounding(discarded[:, -1] - _sum_last(caught[:, few:]), discarded[:, -1], energy, blocks.dtype)
    slacks = []
    for index, rank in enumerate(min(rank, few) for rank in ranks):
        lost, gap = discarded[:, index], xp.astype(values[:, rank - 1], xp.float64) ** 2 - beyond
        # (6), less what Y_r captures: sum_{i<=r} s_i^2 and the part of W in its columns.
        gain = _sum_last(rise) * beyond / xp.where(gap > 0, gap, xp.ones_like(gap)) + _sum_last(rise[:, rank:])
        slacks.append(xp.minimum(xp.where(gap > 0, gain, lost), lost))
    slack = xp.stack(slacks, axis=-1)
    found = LowRank(xp.matrix_transpose(y)[:, :few, :], right[:, :few, :], energy, discarded, slack)
    return _Round(found, _is_settled(slack, discarded, energy, blocks.dtype), y, right, inside, columns)


def _is_settled(slack: Array, discarded: Array, energy: Array, dtype: Any) -> Array:
    """Mask of the blocks with little left to gain beside what is discarded, at every rank, or nothing but rounding."""
    xp = namespace(slack)
    rounding = (ROUNDED_UNITS * float(xp.finfo(dtype).eps)) ** 2 * energy
    return xp.all(slack <= xp.maximum(RELATIVE_SLACK * discarded, rounding[:, None]), axis=-1)


def _with_rounding(outside: Array, discarded: Array, energy: Array, dtype: Any) -> Array:
    """Difference ``outside`` of a discarded energy and a smaller one, at least zero, plus what it may be off by."""
    xp = namespace(energy)
    # A residual has entries that are off by eps |Z|, and an energy formed from it is off by eps |Z| |residual|.
    formed = has_cancelled(discarded, energy, dtype)
    off = SUBTRACTED * float(xp.finfo(dtype).eps) * xp.where(formed, xp.sqrt(energy * discarded), energy)
    return xp.maximum(outside, xp.zeros_like(outside)) + off


def _sum_last(squares: Array) -> Array:
    """Sums along the last axis."""
    return namespace(squares).sum(squares, axis=-1)


def _discarded_energies(
    blocks: Array, energy: Array, columns: Array, right: Array, caught: Array, ranks: tuple[int, ...]
) -> Array:
    """Energies (5) discarded at each of the ranks, from the residual of the last where the difference cancels.

    At a lower rank, the energies ``caught`` by the directions up to the last one are discarded as well.
    """
    xp = namespace(blocks)
    few = columns.shape[2]
    last = energy - _sum_last(caught[:, :few])
    small = has_cancelled(last, energy, blocks.dtype)
    which = true_places(small)
    if which.shape[0]:
        arrays = (blocks, columns, right)
        if which.shape[0] < small.shape[0]:
            arrays = tuple(xp.take(array, which, axis=0) for array in arrays)
        last = replace_rows(last, small, residual_energy(*arrays))
    return xp.stack([last + _sum_last(caught[:, min(rank, few) : few]) for rank in ranks], axis=-1)
