r"""Ranges of the best rank-r approximation of every block of a stack, without a certificate: what a child starts from.

The errors of a child are measured once it is factorized, so that here a range needs to be near the best only, and
mostly less than that: where the left child is a single factor, *which* r orthonormal columns span the range does not
count. Then thin QR alone, of r columns each, give it: with orthonormal Q and V and a triangle T,

    Q R = Z Omega,    Z^H Q = V T,    Y = Z V = Q T^H + W,    W orthogonal to Q,

and the range is that of Y. With ``lost = ||Z - Y V^H||^2``, the bound of :mod:`dbutterfly.kernels.low_rank.subspace`
says that no other r directions capture more than Y by ``|W|^2 lost / (s_r^2 - lost)``, where ``s_r >= 1 / ||T^-1||`` is
the least singular value of T. So no singular value decomposition is needed, which costs a small block several times its
thin QR.
"""

from __future__ import annotations

from ..backend import Array, namespace, true_places
from ..linalg import RELATIVE_SLACK, SUBTRACTED, adjoint, replace_rows, residual_energy, squared_norms
from .subspace import OVERSAMPLING, ROUNDED, best_subspaces, fixed_sketch, pad, tame

__all__ = ["leading_ranges", "weighted_ranges"]

ROUNDS = 2
"""Rounds before singular values are asked."""


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
    """Columns (n, p, r) after a round from ``basis``; blocks that have more to gain go through more."""
    xp = namespace(blocks)
    outer, triangle = xp.linalg.qr(xp.matmul(adjoint(blocks), basis))
    y = xp.matmul(blocks, outer)
    found = xp.linalg.qr(y)[0]
    open_ = ~_are_settled(blocks, energy, y, outer, y - xp.matmul(basis, adjoint(triangle)), triangle)
    which = true_places(open_)
    if which.shape[0] == 0:
        return found
    rest = xp.take(blocks, which, axis=0)
    if rounds > 1:
        better = _iterate(rest, xp.take(energy, which), xp.take(found, which, axis=0), rounds - 1)
    else:
        better = xp.linalg.qr(xp.matrix_transpose(best_subspaces(rest, (basis.shape[2],)).left))[0]
    return replace_rows(found, open_, better)


def _are_settled(blocks: Array, energy: Array, y: Array, outer: Array, rise: Array, triangle: Array) -> Array:
    """Blocks of which no other directions could capture more by ``RELATIVE_SLACK`` of what is lost.

    What is lost is formed from the residual only where the difference of energies, which bounds it, leaves that open.
    """
    xp = namespace(blocks)
    eps = float(xp.finfo(blocks.dtype).eps)
    caught, risen = (xp.sum(squared_norms(columns), axis=-1) for columns in (y, rise))
    eye = xp.eye(triangle.shape[-1], dtype=triangle.dtype, device=triangle.device)
    singular = xp.any(xp.linalg.diagonal(triangle) == 0, axis=-1)  # an inverse would raise for the stack
    inverse = xp.linalg.inv(xp.where(singular[:, None, None], eye, triangle))
    least = xp.where(singular, xp.zeros_like(caught), 1 / xp.sum(squared_norms(inverse), axis=-1))
    settled = risen <= RELATIVE_SLACK * (least - (energy - caught) - SUBTRACTED * eps * energy)
    rounding = (ROUNDED * eps) ** 2 * caught
    doubtful = ~settled & (risen <= xp.maximum(RELATIVE_SLACK * least, rounding))
    which = true_places(doubtful)
    if which.shape[0] == 0:
        return settled
    blocks, y, outer = (xp.take(array, which, axis=0) for array in (blocks, y, outer))
    risen, least, rounding = (xp.take(array, which) for array in (risen, least, rounding))
    lost = residual_energy(blocks, y, adjoint(outer))
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
        Rows ``s_i u_i`` of approximations whose error is near the least: what the range of random combinations of the
        columns leaves outside bounds what is lost, and blocks for which that is too much go through
        :func:`dbutterfly.kernels.low_rank.subspace.best_subspaces`. Zero beyond the smaller side.
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
    rounding = 2 * SUBTRACTED * float(xp.finfo(blocks.dtype).eps) * energy
    open_ = outside > xp.maximum(RELATIVE_SLACK * lost, rounding)
    which = true_places(open_)
    if which.shape[0] == 0:
        return weighted
    better = best_subspaces(xp.take(blocks, which, axis=0), (rank,)).left
    return replace_rows(weighted, open_, better * xp.take(divisor, which)[:, None, None])


def _start_basis(blocks: Array, rank: int) -> Array | None:
    """Orthonormal basis (n, p, k) of random combinations of the columns; None where the rows are few: all of them."""
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
