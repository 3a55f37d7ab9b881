"""Entries of a hierarchical matrix: the blocks that meet a range of positions, multiplied out there alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .block_factors import BlockFactors
from .block_layout import prepare_butterfly

__all__ = ["BlockEntries"]

Span = tuple[int, int]


class BlockEntries:
    """What gives the entries of a hierarchical matrix.

    Parameters
    ----------
    blocks : sequence of BlockFactors
        The blocks.
    dtype : dtype
        Its dtype.
    symmetry : {"none", "symmetric", "hermitian"}
        Whether the blocks below the diagonal stand for those above it.
    """

    def __init__(self, blocks: Sequence[BlockFactors], dtype: np.dtype[Any], symmetry: str) -> None:
        self._blocks, self._dtype, self._symmetry = blocks, dtype, symmetry
        self._rows = np.array([block.rows for block in blocks], np.int64).reshape(-1, 2)
        self._cols = np.array([block.cols for block in blocks], np.int64).reshape(-1, 2)

    def take(self, rows: Span, cols: Span) -> NDArray[Any]:
        """Entries at ranges of positions.

        Parameters
        ----------
        rows, cols : (int, int)
            First position and the one after the last.

        Returns
        -------
        ndarray, shape (rows, columns)
        """
        found = np.zeros((rows[1] - rows[0], cols[1] - cols[0]), self._dtype)
        self._put(found, rows, cols, is_mirrored=False)
        if self._symmetry != "none":
            self._put(found.T, cols, rows, is_mirrored=True)
        return found

    def _put(self, found: NDArray[Any], rows: Span, cols: Span, *, is_mirrored: bool) -> None:
        """Put the entries of all blocks that meet a range; mirrored, of those that are not on the diagonal."""
        meets = (
            (self._rows[:, 0] < rows[1])
            & (self._rows[:, 1] > rows[0])
            & (self._cols[:, 0] < cols[1])
            & (self._cols[:, 1] > cols[0])
        )
        if is_mirrored:
            meets &= (self._rows != self._cols).any(axis=1)
        for number in np.flatnonzero(meets).tolist():
            block = self._blocks[number]
            (first, last), (left, right) = _common(block.rows, rows), _common(block.cols, cols)
            top, start = block.rows[0], block.cols[0]
            part = _entries_of(block, slice(first - top, last - top), slice(left - start, right - start))
            if is_mirrored and self._symmetry == "hermitian":
                part = np.conj(part)
            found[first - rows[0] : last - rows[0], left - cols[0] : right - cols[0]] = part


def _common(one: Span, other: Span) -> Span:
    return max(one[0], other[0]), min(one[1], other[1])


def _entries_of(block: BlockFactors, rows: slice, cols: slice) -> Any:
    """Entries of a block."""
    if block.kind == "zero":
        return 0
    if block.kind == "dense":
        return block.ks_values[0][0, rows, cols, 0]
    if block.kind == "low rank":
        return block.ks_values[0][0, rows, :, 0] @ block.ks_values[1][0, :, cols, 0]
    products, (height, width) = prepare_butterfly(block).products, block.shape
    if rows.stop - rows.start < cols.stop - cols.start:
        units = np.eye(height, rows.stop - rows.start, -rows.start, products.dtype)
        return products.multiply(units, transposed=True)[cols].T
    units = np.eye(width, cols.stop - cols.start, -cols.start, products.dtype)
    return products.multiply(units)[rows]
