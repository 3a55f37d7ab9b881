"""Products of neighbouring Kronecker-sparse factors, again Kronecker-sparse factors, in any array namespace."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ...structure.chain import Pattern
from ...structure.fusion import fuse_patterns
from ..backend import Array, namespace

__all__ = ["fuse_factors"]

BY_PRODUCTS = 8
"""Rank of a junction from which BLAS multiplies its blocks.

Measured in complex128, factors of a chain of 16384: it takes 1.8 to 8.5 times less than sums of outer products at ranks
of 15 to 64, and 1.5 times more at rank 4.
"""


def fuse_factors(ks_values: Sequence[Array]) -> Array:
    """Multiply neighbours of a chainable chain to one factor.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right, at least one.

    Returns
    -------
    array of their common dtype, shape (a1, b1*d1/dJ, cJ*aJ/a1, dJ)
        The factor whose matrix is the product of theirs: a view with the axes a and d together the last ones in memory,
        as :mod:`dbutterfly.kernels.products.packed` wants them, or one of ``ks_values`` where that is the only one.

    Raises
    ------
    ChainError
        If two neighbours do not multiply to one factor.

    Notes
    -----
    With ``id1 = (t, id2)``, ``ic1 = (s, ir)``, ``ia2 = (ia1, s)`` and ``ib2 = (ir, t)``, where ``ir`` counts up to the
    rank of the junction, the product has (arXiv 2411.04506, proposition 4.5)::

        v[ia1, (ib1, t), (s, ic2), id2] = sum over ir of v1[ia1, ib1, ic1, id1] * v2[ia2, ib2, ic2, id2]    (1)
    """
    return functools.reduce(_fuse_pair, ks_values)


def _fuse_pair(left: Array, right: Array) -> Array:
    """Multiply two neighbours to one factor, by equation (1) of :func:`fuse_factors`."""
    xp = namespace(left)
    fuse_patterns([Pattern(*left.shape), Pattern(*right.shape)], [range(2)])  # raises where they are no neighbours
    (a, b, c1, d1), (a2, _, c, d) = left.shape, right.shape
    s, t = a2 // a, d1 // d
    rank = c1 // s
    slots = a * d
    if rank >= BY_PRODUCTS:
        first = xp.permute_dims(xp.reshape(left, (a, b, s, rank, t, d)), (0, 2, 4, 5, 1, 3))
        second = xp.permute_dims(xp.reshape(right, (a, s, rank, t, c, d)), (0, 1, 3, 5, 2, 4))
        blocks = xp.permute_dims(xp.matmul(first, second), (4, 2, 1, 5, 0, 3))  # (1)
        return xp.permute_dims(xp.reshape(blocks, (b * t, s * c, a, d)), (2, 0, 1, 3))
    first = xp.permute_dims(xp.reshape(left, (a, b, s, rank, t, d)), (3, 1, 4, 2, 0, 5))
    first = xp.reshape(first, (rank, b, t, s, 1, slots))  # products of long axes, however small d is
    second = xp.permute_dims(xp.reshape(right, (a, s, rank, t, c, d)), (2, 3, 1, 4, 0, 5))
    second = xp.reshape(second, (rank, t, s, c, slots))
    total = first[0, ...] * second[0, ...]  # (1)
    for k in range(1, rank):
        total = total + first[k, ...] * second[k, ...]
    return xp.permute_dims(xp.reshape(total, (b * t, s * c, a, d)), (2, 0, 1, 3))
