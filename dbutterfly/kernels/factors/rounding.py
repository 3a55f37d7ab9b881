"""Norm and least ranks of a product of factors that is never formed: the rounding of tensor trains, for butterflies.

In a chainable chain, the indices of the rows and of the columns of a factor hold a digit of the matrix and the index of
a junction:

    (1)  ib = (ir, m),    ic = (n, jr)

A junction cuts the matrix into disjoint blocks, one for each ``(ia, n, id)`` of the factor to its left, and each block
is a product through the junction's index,

    (2)  block = L R

Orthonormal columns of all L of a junction become, multiplied by the next factor, the L of the next one, whose digits m
have disjoint rows. A QR decomposition, with rows ``(ir, m)`` and columns ``jr``, makes them orthonormal again:

    (3)  F = Q T,    F <- Q,    the next factor <- T times it

From left to right, all the norm of the matrix comes to be in the last factor. From right to left, singular value
decompositions, with rows ``ir`` and columns ``(n, jr)``, then show what each junction needs, for all its blocks at
once:

    (4)  F = U S V^H,    F <- V_r^H,    the factor before <- it times U_r S_r
    (5)  sum over junctions, blocks and i > r of s_i^2 <= energy that may be discarded

(Oseledets, "Tensor-train decomposition", SIAM J. Sci. Comput. 33, 2011, algorithms 1 and 2, which have no digits id).
The decompositions are done twice: what each junction needs, of what the others leave alone, is known after the first
time, and the ranks that take the fewest values are chosen (:func:`dbutterfly.structure.rank_choice.least_ranks`). What
is discarded the second time is no more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ...structure.chain import Chain
from ...structure.rank_choice import least_ranks
from ..backend import Array, host_array, namespace

__all__ = ["product_norm", "round_product", "truncate_product"]


def product_norm(ks_values: Sequence[Array], chain: Chain) -> float:
    """Frobenius norm of the product of a chainable chain.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right.
    chain : Chain
        Their patterns; chainable.
    """
    return _norm(_left_orthonormal(ks_values, chain)[-1])


def round_product(ks_values: Sequence[Array], chain: Chain, tol: float) -> tuple[list[Array], float]:
    """Lower the ranks of the junctions of a chainable chain.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right.
    chain : Chain
        Their patterns; chainable.
    tol : float
        Frobenius error that is allowed, relative to the norm of the product.

    Returns
    -------
    factors : list of arrays
        Factors of a chain with the same digits, and ranks that are at most the given ones.
    error : float
        Relative Frobenius error: the discarded parts of junctions are orthogonal, so that their energies add up.
    """
    parts = _left_orthonormal(ks_values, chain)
    norm = _norm(parts[-1])
    _, tails = _decompose(parts, [None] * (len(parts) - 1))
    ranks = least_ranks(tails, chain.row_radices, chain.col_radices, (tol * norm) ** 2)  # (5)
    kept, left = _decompose(parts, list(ranks))
    spent = math.fsum(tail[min(rank, len(tail) - 1)] for tail, rank in zip(left, ranks, strict=True))
    return [_join(part) for part in kept], math.sqrt(spent) / norm if norm else 0.0


def truncate_product(ks_values: Sequence[Array], chain: Chain, ranks: Sequence[int]) -> list[Array]:
    """Lower the ranks of the junctions of a chainable chain to given ones.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right.
    chain : Chain
        Their patterns; chainable.
    ranks : sequence of int
        Largest rank of each junction.

    Returns
    -------
    list of arrays
        Factors of a chain with the same digits, and ranks that are at most the given ones. Each junction keeps the best
        of what those to its right have left.
    """
    kept, _ = _decompose(_left_orthonormal(ks_values, chain), list(ranks))
    return [_join(part) for part in kept]


def _decompose(parts: list[Array], ranks: Sequence[int | None]) -> tuple[list[Array], list[list[float]]]:
    """Lower the ranks of the junctions, from right to left, None keeping all; and what each leaves beyond each rank."""
    xp, parts, tails = namespace(parts[0]), list(parts), []
    for level in range(len(parts) - 1, 0, -1):
        a, rank, m, n, after, d = parts[level].shape
        blocks = xp.reshape(xp.permute_dims(parts[level], (0, 2, 5, 1, 3, 4)), (a * m * d, rank, n * after))
        u, s, vh = xp.linalg.svd(blocks, full_matrices=False)  # (4)
        tails.append(_tails(s))
        kept = min(ranks[level - 1] or s.shape[1], s.shape[1])
        right = xp.reshape(vh[:, :kept, :], (a, m, d, kept, n, after))
        parts[level] = xp.permute_dims(right, (0, 3, 1, 4, 5, 2))
        scaled = u[:, :, :kept] * xp.astype(s[:, None, :kept], u.dtype)
        parts[level - 1] = _multiply_from_right(parts[level - 1], scaled)
    return parts, tails[::-1]


def _left_orthonormal(ks_values: Sequence[Array], chain: Chain) -> list[Array]:
    """Factors of the same product, shapes (a, ir, m, n, jr, d); all but the last make orthonormal columns."""
    assert chain.ranks is not None
    ranks = (1, *chain.ranks, 1)
    parts = []
    for values, before, after in zip(ks_values, ranks, ranks[1:], strict=False):
        xp = namespace(values)
        a, b, c, d = values.shape
        parts.append(xp.reshape(values, (a, before, b // before, c // after, after, d)))  # (1)
    for level in range(len(parts) - 1):
        a, rank, m, n, after, d = parts[level].shape
        columns = xp.reshape(xp.permute_dims(parts[level], (0, 3, 5, 1, 2, 4)), (a * n * d, rank * m, after))
        q, r = xp.linalg.qr(columns)  # (3)
        size = q.shape[2]
        parts[level] = xp.permute_dims(xp.reshape(q, (a, n, d, rank, m, size)), (0, 3, 4, 1, 5, 2))
        parts[level + 1] = _multiply_from_left(parts[level + 1], r)
    return parts


def _multiply_from_left(part: Array, blocks: Array) -> Array:
    """Multiply a factor by matrices (size, ir), one for each block of the junction to its left, ``(ia, m, d)``."""
    xp = namespace(part)
    a, rank, m, n, after, d = part.shape
    moved = xp.reshape(xp.permute_dims(part, (0, 2, 5, 1, 3, 4)), (a * m * d, rank, n * after))
    product = xp.reshape(xp.matmul(blocks, moved), (a, m, d, blocks.shape[1], n, after))
    return xp.permute_dims(product, (0, 3, 1, 4, 5, 2))


def _multiply_from_right(part: Array, blocks: Array) -> Array:
    """Multiply a factor by matrices (jr, size), one for each block of the junction to its right, ``(ia, n, d)``."""
    xp = namespace(part)
    a, rank, m, n, after, d = part.shape
    moved = xp.reshape(xp.permute_dims(part, (0, 3, 5, 1, 2, 4)), (a * n * d, rank * m, after))
    product = xp.reshape(xp.matmul(moved, blocks), (a, n, d, rank, m, blocks.shape[2]))
    return xp.permute_dims(product, (0, 3, 4, 1, 5, 2))


def _join(part: Array) -> Array:
    """Factor (a, b, c, d) of a part (a, ir, m, n, jr, d): inverse of (1)."""
    a, rank, m, n, after, d = part.shape
    return namespace(part).reshape(part, (a, rank * m, n * after, d))


def _tails(singular_values: Array) -> list[float]:
    """Energy of all blocks beyond rank 0, 1, ... of their singular values; the last is zero."""
    xp = namespace(singular_values)
    energies = host_array(xp.sum(xp.astype(singular_values, xp.float64) ** 2, axis=0)).tolist()
    return [*itertools.accumulate(energies[::-1], initial=0.0)][::-1]


def _norm(values: Array) -> float:
    """Frobenius norm of an array, for which the host waits."""
    xp = namespace(values)
    return math.sqrt(host_array(xp.sum(xp.astype(xp.abs(values), xp.float64) ** 2)))
