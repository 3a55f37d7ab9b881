"""Single rows of the product of a chain, at the cost of the few columns that they reach in each factor.

Row i of the first factor, of pattern ``(1, b, c, d)``, is nonzero at the columns

    (1)  h d + e,    e = i mod d,    h = 0, ..., c - 1

only. These numbers are the same behind every factor, with h from 0 to ``a c - 1``. Where neighbours have the rank r and
the strides d and d', the rows ``h d + e`` of the second factor are, in its block ``ia``, row ``ib`` and place ``id``,

    (2)  ia = h // r,    ib = (h % r) (d / d') + e // d',    id = e % d'

There are r of them in each of its a' blocks, and they reach ``a' c'`` columns. The numbers grow by c / r from factor to
factor, so that all together cost little more than the last.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ...structure.chain import Chain
from ..backend import Array, namespace

__all__ = ["product_row"]


def product_row(factors: Sequence[Array], chain: Chain, row: int) -> Array:
    """Row of the product of Kronecker-sparse factors.

    Parameters
    ----------
    factors : sequence of array
        ``ks_values`` of the factors, of shapes (a, b, c, d).
    chain : Chain
        Their patterns: a chain whose product is a full matrix.
    row : int
        Number of the row.

    Returns
    -------
    array, shape (N,)
    """
    xp = namespace(factors[0])
    ranks = chain.ranks
    assert chain.is_dense
    assert ranks is not None
    block, place = divmod(row, chain.patterns[0].d)  # (1): e
    found = factors[0][0, block, :, place]
    for (left, right), rank, values in zip(itertools.pairwise(chain), ranks, factors[1:], strict=True):
        first, place = divmod(place, right.d)  # (2): e // d' and id
        picked = values[:, first :: left.d // right.d, :, place]  # (2): all ia, and ib for h % r = 0, ..., r - 1
        coefficients = xp.reshape(found, (right.a, rank))
        total = coefficients[:, 0, None] * picked[:, 0, :]
        for k in range(1, rank):
            total = total + coefficients[:, k, None] * picked[:, k, :]
        found = xp.reshape(total, (-1,))
    return found
