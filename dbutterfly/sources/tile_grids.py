"""A tile as it lies in memory, and as a grid of blocks: views of each other."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..structure.axes import Axis, Tile

__all__ = ["fold", "unfold"]


def unfold(buffer: NDArray[Any], rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
    """Grid of blocks, shape (row groups, column groups, p, v), as a view of a tile's buffer."""
    grid = buffer.reshape(rows.buffer_shape(tile.r0, tile.r1) + cols.buffer_shape(tile.c0, tile.c1))
    row_axes = (1, 0) if rows.strided else (0, 1)
    col_axes = (3, 2) if cols.strided else (2, 3)
    return grid.transpose(row_axes[0], col_axes[0], row_axes[1], col_axes[1])


def fold(grid: NDArray[Any], rows: Axis, cols: Axis) -> NDArray[Any]:
    """View of a grid of blocks with the axes of the tile's buffer: two for its rows, then two for its columns."""
    row_axes = (2, 0) if rows.strided else (0, 2)
    col_axes = (3, 1) if cols.strided else (1, 3)
    return grid.transpose(*row_axes, *col_axes)
