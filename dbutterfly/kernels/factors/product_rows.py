"""Single rows and columns of the product of a chain, at the cost of what they reach in each factor.

Row i of the first factor, of pattern ``(1, b, c, d)``, is nonzero at the columns

    (1)  h d + e,    e = i mod d,    h = 0, ..., c - 1

only. These numbers are the same behind every factor, with h from 0 to ``a c - 1``. Where neighbours have the rank r and
the strides d and d', the rows ``h d + e`` of the second factor are, in its block ``ia``, row ``ib`` and place ``id``,

    (2)  ia = h // r,    ib = (h % r) (d / d') + e // d',    id = e % d'

There are r of them in each of its a' blocks, and they reach ``a' c'`` columns. The numbers grow by c / r from factor to
factor, so that all together cost little more than the last.

A column j lies in one column group of every cut, the number of which is j without its last digits. From the last factor
on, it is known for all row groups of a cut and all r numbers of the junction; the factor before is met in one of its
blocks ``ia``, at r neighbouring columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ...structure.chain import Chain
from ..backend import Array, namespace

__all__ = ["product_column", "product_row"]


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


def product_column(factors: Sequence[Array], chain: Chain, column: int) -> Array:
    """Column of the product of Kronecker-sparse factors.

    Parameters
    ----------
    factors, chain
        As for :func:`product_row`.
    column : int
        Number of the column.

    Returns
    -------
    array, shape (M,)
    """
    xp = namespace(factors[0])
    ranks = chain.ranks
    assert chain.is_dense
    assert ranks is not None
    block, place = divmod(column, chain.patterns[-1].c)
    found = factors[-1][block, :, place, :]
    for values, rank, radix in zip(factors[-2::-1], ranks[::-1], chain.col_radices[-2::-1], strict=True):
        block, digit = divmod(block, radix)
        picked = values[block, :, digit * rank : (digit + 1) * rank, :]
        coefficients = xp.reshape(found, (rank, values.shape[3]))
        total = picked[:, 0, :] * coefficients[0, :]
        for k in range(1, rank):
            total = total + picked[:, k, :] * coefficients[k, :]
        found = total
    return xp.reshape(found, (-1,))
