"""Entries of the blocks of one cut, evaluated for many blocks at a time.

An entry function evaluates crossings only, of any rows with any columns. Columns of many blocks, other ones in each,
are had without waste one row group at a time, and rows one column group at a time::

                 block (g, 0)    block (g, 1)    block (g, 2)
               +--|-----|-----+-----|-|-------+-|---------|---+      one call: the rows of group g
      group g  |  |     |     |     | |       | |         |   |      with the columns picked in all
               +--|-----|-----+-----|-|-------+-|---------|---+      of its blocks
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from ..structure.axes import Axis, Index, Tile, group_members
from .entries import Entries
from .padded import scatter_crossings

__all__ = ["BlockEntries", "evaluate_crossings"]


@dataclass(frozen=True, eq=False)
class BlockEntries:
    """The blocks of some row groups and column groups of a matrix that is given by its entries.

    Indices count within a block, in standard order. What is evaluated is refused with a NonFiniteError if it holds a
    NaN or an infinity.

    Attributes
    ----------
    entries : Entries
        The matrix.
    row_at : array of int64, shape (G, p)
        Rows of each row group, -1 at gaps, where entries are zero.
    col_at : array of int64, shape (H, v)
        Columns of each column group, likewise.
    """

    entries: Entries
    row_at: Index
    col_at: Index

    @classmethod
    def of_tile(cls, entries: Entries, rows: Axis, cols: Axis, tile: Tile) -> BlockEntries:
        """Blocks of a tile, whose groups are numbered as in storage."""
        return cls(entries, group_members(rows, tile.r0, tile.r1), group_members(cols, tile.c0, tile.c1))

    def columns(self, index: Index) -> NDArray[Any]:
        """Evaluate columns (G, H, m) of the blocks: shape (G, H, m, p), in G calls of the function."""
        values = np.empty((*index.shape, self.row_at.shape[1]), self.entries.dtype)
        for g, rows in enumerate(self.row_at):
            cols = np.take_along_axis(self.col_at, index[g], axis=1)
            values[g] = self._evaluate(rows, cols.reshape(-1)).T.reshape(values.shape[1:])
        return values

    def rows(self, index: Index) -> NDArray[Any]:
        """Evaluate rows (G, H, m) of the blocks: shape (G, H, m, v), in H calls of the function."""
        values = np.empty((*index.shape, self.col_at.shape[1]), self.entries.dtype)
        for h, cols in enumerate(self.col_at):
            rows = np.take_along_axis(self.row_at, index[:, h], axis=1)
            values[:, h] = self._evaluate(rows.reshape(-1), cols).reshape(values[:, h].shape)
        return values

    def crossings(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Evaluate rows (G, n) of the row groups with columns (G, H, m): shape (G, H, n, m), in G calls."""
        groups, peers, width = cols.shape
        values = np.empty((groups, peers, rows.shape[1], width), self.entries.dtype)
        for g in range(groups):
            at = np.take_along_axis(self.col_at, cols[g], axis=1)
            block = self._evaluate(self.row_at[g, rows[g]], at.reshape(-1))
            values[g] = block.reshape(-1, peers, width).swapaxes(0, 1)
        return values

    def whole(self, groups: NDArray[np.intp], peers: NDArray[np.intp]) -> NDArray[Any]:
        """Evaluate all entries of the blocks ``(groups[n], peers[n])``: shape (n, p, v), in n calls."""
        values = np.empty((groups.size, self.row_at.shape[1], self.col_at.shape[1]), self.entries.dtype)
        for block, g, h in zip(values, groups, peers, strict=True):
            block[...] = self._evaluate(self.row_at[g], self.col_at[h])
        return values

    def _evaluate(self, rows: Index, cols: Index) -> NDArray[Any]:
        return evaluate_crossings(self.entries, rows, cols)


def evaluate_crossings(entries: Entries, rows: Index, cols: Index) -> NDArray[Any]:
    """Evaluate the crossings of rows and columns, zero where one of them is -1.

    Raises
    ------
    NonFiniteError
        If a NaN or an infinity is met.
    """
    block = scatter_crossings(rows, cols, entries.dtype, entries.block)
    finite = np.isfinite(block)
    if not finite.all():
        bad = np.argwhere(~finite)
        row, col = min((int(rows[i]), int(cols[j])) for i, j in bad)
        raise NonFiniteError.at(repr(entries), (row, col))
    return block
