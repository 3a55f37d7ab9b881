"""All values of a hierarchical matrix in one array, in the order in which products want them.

A block has *pieces*: a dense one a left piece, one of low rank a left and a right piece
(:mod:`dbutterfly.operator.block_layout`). The array has the left pieces, each transposed, cluster by cluster of the
rows; then the right ones, cluster by cluster of the columns; then the factors of butterflies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .block_factors import BlockFactors

__all__ = ["Piece", "arrange_blocks", "order_pieces", "view_blocks"]


class Piece(NamedTuple):
    """A factor of a block: which block, and which of its factors."""

    block: int
    factor: int


def order_pieces(blocks: Sequence[BlockFactors], counts: Sequence[int]) -> tuple[list[Piece], list[Piece], list[Piece]]:
    """Left pieces cluster by cluster of the rows, right ones cluster by cluster of the columns, and all others.

    Parameters
    ----------
    blocks : sequence of BlockFactors
        Blocks, of which the positions count.
    counts : sequence of int
        Number of factors of each.
    """
    lefts = [Piece(number, 0) for number, count in enumerate(counts) if count in (1, 2)]
    rights = [Piece(number, 1) for number, count in enumerate(counts) if count == 2]
    others = [Piece(number, factor) for number, count in enumerate(counts) if count > 2 for factor in range(count)]
    return (
        sorted(lefts, key=lambda piece: blocks[piece.block].rows),
        sorted(rights, key=lambda piece: blocks[piece.block].cols),
        others,
    )


def arrange_blocks(blocks: Sequence[BlockFactors], dtype: Any) -> tuple[NDArray[Any], list[BlockFactors]]:
    """Put all values into one array, in the order of the layout.

    Parameters
    ----------
    blocks : sequence of BlockFactors
        Blocks of a matrix.
    dtype : dtype
        Dtype of the array.

    Returns
    -------
    ndarray, shape (nnz,)
        The values: left pieces transposed, then right ones, then butterflies factor by factor. Those that lie so
        already are not copied.
    list of BlockFactors
        The same blocks, whose factors are views of it.
    """
    patterns = [tuple(factor.shape for factor in block.ks_values) for block in blocks]
    size = sum(block.nnz for block in blocks)
    there = next((factor.base for block in blocks for factor in block.ks_values), None)
    if isinstance(there, np.ndarray) and there.shape == (size,) and there.dtype == dtype:
        placed = view_blocks(there, blocks, patterns)
        if all(map(_is_same, blocks, placed)):
            return there, placed
    values = np.empty(size, dtype)
    placed = view_blocks(values, blocks, patterns)
    for block, new in zip(blocks, placed, strict=True):
        for factor, place in zip(block.ks_values, new.ks_values, strict=True):
            place[...] = factor
    return values, placed


def _is_same(one: BlockFactors, other: BlockFactors) -> bool:
    """Whether two blocks with factors of the same shapes are views of the same memory."""
    pairs = zip(one.ks_values, other.ks_values, strict=True)
    return all(a.strides == b.strides and _address(a) == _address(b) for a, b in pairs)


def _address(values: NDArray[Any]) -> int:
    return int(values.__array_interface__["data"][0])


def view_blocks(
    values: NDArray[Any], blocks: Sequence[BlockFactors], patterns: Sequence[tuple[tuple[int, ...], ...]]
) -> list[BlockFactors]:
    """Blocks with such patterns whose factors are views of an array, in the order of :func:`arrange_blocks`.

    Parameters
    ----------
    values : ndarray, shape (nnz,)
        The values.
    blocks : sequence of BlockFactors
        Their spans and orderings.
    patterns : sequence of tuple of (a, b, c, d)
        Patterns of the factors of each block.
    """
    lefts, rights, others = order_pieces(blocks, [len(own) for own in patterns])
    factors: list[list[Any]] = [[None] * len(own) for own in patterns]
    start = 0
    for pieces, is_left in ((lefts, True), (rights, False), (others, False)):
        for block, factor in pieces:
            a, b, c, d = patterns[block][factor]
            part = values[start : (start := start + a * b * c * d)]
            view = part.reshape(c, b).T[None, :, :, None] if is_left else part.reshape(a, b, c, d)
            factors[block][factor] = view
    return [block.with_values(own) for block, own in zip(blocks, factors, strict=True)]
