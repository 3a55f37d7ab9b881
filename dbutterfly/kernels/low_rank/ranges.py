r"""Ranges of the best rank-r approximation of every block of a stack, without a certificate: what a child starts from.

The errors of a child are measured once it is factorized, so that here a range needs to be near the best only, and
mostly less than that: where the left child is a single factor, *which* r orthonormal columns span the range does not
count. Then thin QR alone, of r columns each, give it: with orthonormal Q and V and a triangle T,

    (1)  Q R = Z Omega,    Z^H Q = V T,    Y = Z V = Q T^H + W,    W orthogonal to Q

and the range is that of Y. With what Y loses of the block,

    (2)  lost = ||Z - Y V^H||^2 = ||Z||^2 - |Y|^2

the bound (6) of :mod:`dbutterfly.kernels.low_rank.subspace` says that no other r directions capture more than Y by

    (3)  |W|^2 lost / (s_r^2 - lost),    s_r >= 1 / ||T^-1||

with s_r the least singular value of T. So no singular value decomposition is needed, which costs a small block several
times its thin QR.
"""

from __future__ import annotations

from ..backend import Array, namespace, true_places
from ..linalg import RELATIVE_SLACK, SUBTRACTED, adjoint, pad, replace_rows, residual_energy, squared_norms, tame
from .sketch import OVERSAMPLING, fixed_sketch
from .subspace import ROUNDED_UNITS, best_subspaces

__all__ = ["leading_ranges", "weighted_ranges"]

ROUNDS = 2
"""Rounds (1) before singular values are asked.

Measured on 500 blocks of 32 x 32 in float64, rank 4, on a shared core of an AMD EPYC: one, two and three rounds take
63, 69 and 73 ms where a singular value is 0.6 times the one before, and 118, 116 and 127 ms where noise hides the gap.
"""


def leading_ranges(blocks: Array, rank: int) -> Array:
    """Orthonormal columns whose range holds most of every block of a stack.

    Parameters
    ----------
    blocks : array, shape (n, p, v)
    rank : int
        Number of columns.

    Returns
    -------
    array, shape (n, rank, p)
        Columns, as rows. Zero beyond the smaller side.
    """
    xp = namespace(blocks)
    count, p, v = blocks.shape
    if p <= rank:
        identity = xp.eye(p, dtype=blocks.dtype, device=blocks.device)
        return pad(xp.broadcast_to(identity, (count, p, p)), rank)
    blocks, energy, _, _ = tame(blocks)
    if v <= rank:
        return pad(xp.matrix_transpose(xp.linalg.qr(blocks)[0]), rank)
    omega = xp.asarray(fixed_sketch(v, rank), dtype=blocks.dtype, device=blocks.device)
    basis = xp.linalg.qr(xp.matmul(blocks, xp.broadcast_to(omega, (count, v, rank))))[0]
    return xp.matrix_transpose(_iterate(blocks, energy, basis, ROUNDS))


def _iterate(blocks: Array, energy: Array, basis: Array, rounds: int) -> Array:
    """Columns (n, p, r) after a round (1) from ``basis``; blocks that have more to gain go through more rounds."""
    xp = namespace(blocks)
    outer, triangle = xp.linalg.qr(xp.matmul(adjoint(blocks), basis))  # (1): Z^H Q = V T
    y = xp.matmul(blocks, outer)  # (1)
    found = xp.linalg.qr(y)[0]
    rise = y - xp.matmul(basis, adjoint(triangle))  # (1): W
    open_ = ~_is_settled(blocks, energy, y, outer, rise, triangle)
    which = true_places(open_)
    if which.shape[0] == 0:
        return found
    rest = xp.take(blocks, which, axis=0)
    if rounds > 1:
        better = _iterate(rest, xp.take(energy, which), xp.take(found, which, axis=0), rounds - 1)
    else:
        better = xp.linalg.qr(xp.matrix_transpose(best_subspaces(rest, (basis.shape[2],)).left))[0]
    return replace_rows(found, open_, better)


def _is_settled(blocks: Array, energy: Array, y: Array, outer: Array, rise: Array, triangle: Array) -> Array:
    """Mask of the blocks of which no other directions could capture more, by (3), than ``RELATIVE_SLACK`` of the loss.

    That is ``|W|^2 <= RELATIVE_SLACK (s_r^2 - lost)``. The loss is formed from the residual only where the difference
    of energies (2), with its rounding a bound on the loss, leaves that open.
    """
    xp = namespace(blocks)
    eps = float(xp.finfo(blocks.dtype).eps)
    caught, risen = (xp.sum(squared_norms(columns), axis=-1) for columns in (y, rise))
    eye = xp.eye(triangle.shape[-1], dtype=triangle.dtype, device=triangle.device)
    singular = xp.any(xp.linalg.diagonal(triangle) == 0, axis=-1)  # an inverse would raise for the stack
    inverse = xp.linalg.inv(xp.where(singular[:, None, None], eye, triangle))
    least = xp.where(singular, xp.zeros_like(caught), 1 / xp.sum(squared_norms(inverse), axis=-1))  # (3): below s_r^2
    settled = risen <= RELATIVE_SLACK * (least - (energy - caught) - SUBTRACTED * eps * energy)
    rounding = (ROUNDED_UNITS * eps) ** 2 * caught
    doubtful = ~settled & (risen <= xp.maximum(RELATIVE_SLACK * least, rounding))
    which = true_places(doubtful)
    if which.shape[0] == 0:
        return settled
    blocks, y, outer = (xp.take(array, which, axis=0) for array in (blocks, y, outer))
    risen, least, rounding = (xp.take(array, which) for array in (risen, least, rounding))
    lost = residual_energy(blocks, y, adjoint(outer))  # (2)
    return replace_rows(settled, doubtful, (risen <= RELATIVE_SLACK * (least - lost)) | (lost <= rounding))


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
        Rows ``s_i u_i`` of approximations whose error is near the least. Zero beyond the smaller side.

    Notes
    -----
    The block is approximated within the range of random combinations of its columns. The energy that this range leaves
    outside bounds what is lost beside the best approximation; blocks for which it is too much go through
    :func:`dbutterfly.kernels.low_rank.subspace.best_subspaces`.
    """
    xp = namespace(blocks)
    blocks, energy, divisor, _ = tame(blocks)
    basis = _start_basis(blocks, rank)
    inner = blocks if basis is None else xp.matmul(adjoint(basis), blocks)
    left, values, _ = xp.linalg.svd(adjoint(xp.linalg.qr(adjoint(inner))[1]), full_matrices=False)
    kept = min(rank, values.shape[1])
    left, values = left[:, :, :kept], values[:, :kept]
    weighted = left * (xp.astype(values, blocks.dtype) * divisor[:, None])[:, None, :]
    weighted = pad(xp.matrix_transpose(weighted if basis is None else xp.matmul(basis, weighted)), rank)
    if basis is None:
        return weighted
    outside = energy - xp.sum(squared_norms(inner), axis=-1)
    lost = energy - xp.sum(xp.astype(values, xp.float64) ** 2, axis=-1)
    # ``outside`` is a difference of two energies, both of which may be off.
    rounding = 2 * SUBTRACTED * float(xp.finfo(blocks.dtype).eps) * energy
    open_ = outside > xp.maximum(RELATIVE_SLACK * lost, rounding)
    which = true_places(open_)
    if which.shape[0] == 0:
        return weighted
    better = best_subspaces(xp.take(blocks, which, axis=0), (rank,)).left
    return replace_rows(weighted, open_, better * xp.take(divisor, which)[:, None, None])


def _start_basis(blocks: Array, rank: int) -> Array | None:
    """Orthonormal basis (n, p, k) of random combinations of the columns; None where p <= k, so that it would be all."""
    xp = namespace(blocks)
    _, p, v = blocks.shape
    k = rank + OVERSAMPLING
    if p <= k:
        return None
    combined = blocks
    if v > k:
        omega = xp.asarray(fixed_sketch(v, k), dtype=blocks.dtype, device=blocks.device)
        combined = xp.matmul(blocks, xp.broadcast_to(omega, (blocks.shape[0], v, k)))
    return xp.linalg.qr(combined)[0]
