"""Some rows and columns of the product of a chain, at the cost of what they reach in each factor.

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

Lines that meet the same part of a factor are multiplied by it together. Near the end, where most of the work is, these
are all of them, or a few sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from ...structure.axes import Index
from ...structure.chain import Chain
from ..backend import Array, namespace

__all__ = ["product_columns", "product_rows"]


def product_rows(factors: Sequence[Array], chain: Chain, rows: Iterable[int]) -> Array:
    """Rows of the product of Kronecker-sparse factors.

    Parameters
    ----------
    factors : sequence of array
        ``ks_values`` of the factors, of shapes (a, b, c, d).
    chain : Chain
        Their patterns: a chain whose product is a full matrix.
    rows : iterable of int
        Numbers of n rows.

    Returns
    -------
    array, shape (n, N)
    """
    xp = namespace(factors[0])
    ranks = chain.ranks
    assert chain.is_dense
    assert ranks is not None
    blocks, places = np.divmod(np.asarray(rows, np.int64), chain.patterns[0].d)  # (1): e
    found = xp.stack([factors[0][0, int(b), :, int(e)] for b, e in zip(blocks, places, strict=True)])
    for (left, right), rank, values in zip(itertools.pairwise(chain), ranks, factors[1:], strict=True):
        firsts, places = np.divmod(places, right.d)  # (2): e // d' and id
        sets, parts = _sets_of(firsts, places), []
        for at, first, place in sets:
            picked = xp.asarray(values[:, first :: left.d // right.d, :, place], copy=True)  # (2): all ia, and these ib
            given = xp.reshape(_take(found, at), (at.size, right.a, rank))
            product = xp.matmul(xp.permute_dims(given, (1, 0, 2)), picked)
            parts.append(xp.reshape(xp.permute_dims(product, (1, 0, 2)), (at.size, -1)))
        found = _put_together(parts, sets)
    return found


def product_columns(factors: Sequence[Array], chain: Chain, columns: Iterable[int]) -> Array:
    """Columns of the product of Kronecker-sparse factors.

    Parameters
    ----------
    factors, chain
        As for :func:`product_rows`.
    columns : iterable of int
        Numbers of n columns.

    Returns
    -------
    array, shape (n, M)
    """
    xp = namespace(factors[0])
    ranks = chain.ranks
    assert chain.is_dense
    assert ranks is not None
    blocks, places = np.divmod(np.asarray(columns, np.int64), chain.patterns[-1].c)
    last = [factors[-1][int(a), :, int(e), :] for a, e in zip(blocks, places, strict=True)]
    found = xp.reshape(xp.stack(last), (len(last), -1))
    for values, rank, radix in zip(factors[-2::-1], ranks[::-1], chain.col_radices[-2::-1], strict=True):
        blocks, digits = np.divmod(blocks, radix)
        sets, parts = _sets_of(blocks, digits), []
        for at, block, digit in sets:
            picked = xp.permute_dims(values[block, :, digit * rank : (digit + 1) * rank, :], (2, 0, 1))
            given = xp.reshape(_take(found, at), (at.size, rank, values.shape[3]))
            product = xp.matmul(xp.asarray(picked, copy=True), xp.permute_dims(given, (2, 1, 0)))
            parts.append(xp.reshape(xp.permute_dims(product, (2, 1, 0)), (at.size, -1)))
        found = _put_together(parts, sets)
    return found


def _sets_of(*numbers: Index) -> list[tuple[Index, int, int]]:
    """Sets of lines with the same two numbers: the lines, and the numbers."""
    pairs, which = np.unique(np.stack(numbers, axis=1), axis=0, return_inverse=True)
    return [(np.flatnonzero(which.reshape(-1) == k), int(a), int(b)) for k, (a, b) in enumerate(pairs)]


def _put_together(parts: list[Array], sets: list[tuple[Index, int, int]]) -> Array:
    """Lines of all sets, in their order."""
    xp = namespace(parts[0])
    return _take(xp.concat(parts, axis=0), np.argsort(np.concatenate([at for at, _, _ in sets])))


def _take(lines: Array, at: Index) -> Array:
    xp = namespace(lines)
    return xp.take(lines, xp.asarray(at, device=lines.device), axis=0)
