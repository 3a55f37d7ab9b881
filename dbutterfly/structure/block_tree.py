r"""Clusters of the rows and of the columns, and the blocks into which they divide a matrix.

A kernel of one set of points with itself has no low rank near the diagonal. Its rows and its columns are halved again
and again, into clusters. A pair of clusters that are far apart, seen from the smaller one, is *admissible*: its block
is smooth. Others are divided further, down to leaves::

    level 0      level 1       level 2            order of the points: bisected along the longest extent of a cluster,
    .-------.    .---.---.     .-.-.-.-.          so that each cluster is a range of positions
    |       |    |   |   |     |x|x| | |          admissible: min(diameters) <= eta * distance
    |       |    |---+---|     |x|x|x| |
    |       |    |   |   |     | |x|x|x|
    '-------'    '---'---'     '-'-'-'-'
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .points import Points, bisect_points, open_coordinates, part_bounds

__all__ = ["Block", "ClusterTree", "cluster_trees", "divide", "is_admissible", "nearest_columns", "nearest_rows"]

Index: TypeAlias = NDArray[np.int64]
Boxes: TypeAlias = NDArray[np.float64]

LONGER = 1.5
"""Size of one side of a block over that of the other from which the longer side alone is halved. Not tuned: blocks stay
within a factor two of squares."""


class Block(NamedTuple):
    """A pair of clusters: that of some rows and that of some columns.

    Attributes
    ----------
    row_level, row : int
        Level and number of the cluster of the rows.
    col_level, col : int
        Level and number of the cluster of the columns.
    """

    row_level: int
    row: int
    col_level: int
    col: int


@dataclass(frozen=True, eq=False)
class ClusterTree:
    """Clusters of one side, halved level by level.

    Attributes
    ----------
    order : array of int, shape (n,), or None
        Row, or column, at each position; None where they stay as they are.
    size : int
        Number of rows or columns, n.
    levels : int
        Times that the side is halved.
    centres, extents : tuple of array, shapes (2**level, d), or None
        Middle of the box around the points of each cluster, and half its width along each coordinate; None without
        points.
    period : tuple of float or None
        Length after which a coordinate wraps, None where it does not.
    points : array, shape (n, d), or None
        Point at each position.
    """

    order: Index | None
    size: int
    levels: int
    centres: tuple[Boxes, ...] | None = None
    extents: tuple[Boxes, ...] | None = None
    period: tuple[float | None, ...] = ()
    points: Boxes | None = None

    def span(self, level: int, number: int) -> tuple[int, int]:
        """First position of a cluster, and the first after it."""
        parts = 1 << level
        return -(-number * self.size // parts), -(-(number + 1) * self.size // parts)

    def count(self, level: int, number: int) -> int:
        """Number of positions of a cluster."""
        first, last = self.span(level, number)
        return last - first


def cluster_trees(shape: tuple[int, int], leaf: int, points: Points | None) -> tuple[ClusterTree, ClusterTree]:
    """Clusters of the rows and of the columns of a matrix.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    leaf : int
        Most positions of a cluster that is not divided.
    points : Points or None
        Points to which they belong. A side without keeps its order, and has no boxes.
    """
    if points is not None:
        points.validate(shape)
    sides = (None, None) if points is None else (points.rows, points.cols)
    period: tuple[float | None, ...] = () if points is None else points.period
    rows, cols = (_tree(size, leaf, side, period) for size, side in zip(shape, sides, strict=True))
    return rows, cols


def _tree(size: int, leaf: int, points: Any, period: tuple[float | None, ...]) -> ClusterTree:
    levels = max(0, min(math.ceil(math.log2(size / leaf)), size.bit_length() - 1))  # no cluster is empty
    if points is None:
        return ClusterTree(None, size, levels)
    order = bisect_points(points, 1 << levels, (2,) * levels, period)
    placed = points[order]
    boxes = [_boxes(placed, part_bounds(1 << level, size, 1 << levels), period) for level in range(levels + 1)]
    centres, extents = zip(*boxes, strict=True)
    return ClusterTree(order, size, levels, centres, extents, period, placed)


def _boxes(points: Boxes, bounds: Index, period: tuple[float | None, ...]) -> tuple[Boxes, Boxes]:
    """Middles and half widths of the boxes around ranges of points."""
    starts = bounds[:-1]
    part = np.repeat(np.arange(starts.size), np.diff(bounds))
    opened = open_coordinates(points, part, starts, period)
    lowest = np.minimum.reduceat(opened, starts, axis=1)
    highest = np.maximum.reduceat(opened, starts, axis=1)
    shift = points[starts].T - opened[:, starts]
    return (lowest / 2 + highest / 2 + shift).T, (highest / 2 - lowest / 2).T


def is_admissible(rows: ClusterTree, cols: ClusterTree, block: Block, eta: float) -> bool:
    """Whether the clusters of a block are far apart: the smaller diameter is at most ``eta`` times their distance.

    Parameters
    ----------
    rows, cols : ClusterTree
        Clusters of both sides.
    block : Block
        The two clusters.
    eta : float
        Larger numbers admit more. Infinity admits all pairs that share no position, the *weak* condition, which is also
        that of a side without points.

    Notes
    -----
    Diameters and distance are those of the boxes around the points (Hackbusch, "Hierarchical Matrices", 2015, 4.2.3).
    """
    if rows.extents is None or cols.extents is None or math.isinf(eta):
        row_span, col_span = rows.span(block.row_level, block.row), cols.span(block.col_level, block.col)
        return row_span[1] <= col_span[0] or col_span[1] <= row_span[0]
    distance = _distance(rows, cols, block)
    smaller = 2 * min(
        math.hypot(*rows.extents[block.row_level][block.row]), math.hypot(*cols.extents[block.col_level][block.col])
    )
    return distance > 0 and smaller <= eta * distance


def _distance(rows: ClusterTree, cols: ClusterTree, block: Block) -> float:
    """Distance between the boxes of two clusters, the shorter way round where a coordinate wraps."""
    assert rows.centres is not None
    assert rows.extents is not None
    assert cols.centres is not None
    assert cols.extents is not None
    of_rows, of_cols = (block.row_level, block.row), (block.col_level, block.col)
    boxes = [
        side[level][number].tolist()  # arrays of two or three numbers take longer than the numbers
        for (level, number), sides in ((of_rows, (rows.centres, rows.extents)), (of_cols, (cols.centres, cols.extents)))
        for side in sides
    ]
    free = []
    for axis, (row, half, col, other) in enumerate(zip(*boxes, strict=True)):
        between, length = abs(row - col), rows.period[axis] if axis < len(rows.period) else None
        if length is not None:
            between = min(between % length, -between % length)
        free.append(max(between - half - other, 0.0))
    return math.hypot(*free)


def _wrap(between: Boxes, period: tuple[float | None, ...]) -> None:
    """Take differences (..., d) of coordinates the shorter way round, in place, where a coordinate wraps."""
    for axis, length in enumerate(period[: between.shape[-1]]):
        if length is not None:
            between[..., axis] = np.minimum(between[..., axis] % length, -between[..., axis] % length)


def nearest_rows(rows: ClusterTree, cols: ClusterTree, block: Block, count: int) -> Index | None:
    """Positions of the rows of a block that lie nearest to the box around its columns, nearest first.

    Parameters
    ----------
    rows, cols : ClusterTree
        Clusters of both sides.
    block : Block
        The two clusters.
    count : int
        Most rows.

    Returns
    -------
    array of int, shape (k,), or None
        None where a side has no points.
    """
    if rows.points is None or cols.centres is None or cols.extents is None:
        return None
    first, last = rows.span(block.row_level, block.row)
    between = np.abs(rows.points[first:last] - cols.centres[block.col_level][block.col])
    _wrap(between, rows.period)
    free = np.maximum(between - cols.extents[block.col_level][block.col], 0)
    return first + np.argsort(np.sum(free**2, axis=1), kind="stable")[:count]


def nearest_columns(rows: ClusterTree, cols: ClusterTree, block: Block, chosen: Index) -> Index:
    """Positions of the columns of a block whose points are next to those of some rows, one for each."""
    assert rows.points is not None
    assert cols.points is not None
    first, last = cols.span(block.col_level, block.col)
    apart = np.abs(rows.points[chosen][:, None] - cols.points[first:last])
    _wrap(apart, rows.period)
    nearest: Index = first + np.argmin(np.sum(apart**2, axis=2), axis=1)
    return nearest


def divide(rows: ClusterTree, cols: ClusterTree, block: Block) -> Iterator[Block]:
    """Blocks into which a block is divided: its longer side is halved, or both where they are alike; none of a leaf."""
    height, width = rows.count(block.row_level, block.row), cols.count(block.col_level, block.col)
    halves_rows = block.row_level < rows.levels and (height * LONGER >= width or block.col_level == cols.levels)
    halves_cols = block.col_level < cols.levels and (width * LONGER >= height or block.row_level == rows.levels)
    if not (halves_rows or halves_cols):
        return
    for row_level, row in _halves(block.row_level, block.row, halves_rows):
        for col_level, col in _halves(block.col_level, block.col, halves_cols):
            yield Block(row_level, row, col_level, col)


def _halves(level: int, number: int, is_halved: bool) -> list[tuple[int, int]]:
    return [(level + 1, 2 * number), (level + 1, 2 * number + 1)] if is_halved else [(level, number)]
