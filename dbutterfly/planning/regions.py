"""Regions: disjoint blocks of a block tree, each of them the work of one task.

A pair of clusters that are far apart is a region where a worker has the memory for it. Other pairs are divided until
they have a comfortable size; what lies near the diagonal in them is divided further inside the task. So the blocks of
the result are those of the block tree, whatever the regions, but for pairs that are far apart and do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..structure.axes import Tile
from ..structure.block_tree import Block, ClusterTree, divide, is_admissible

__all__ = ["RegionSizes", "divide_into_regions", "is_above_diagonal", "tile_of"]


class RegionSizes(NamedTuple):
    """Entries of regions.

    Attributes
    ----------
    comfortable : int
        Most entries of a region that is not far from the diagonal. Smaller pairs that are neighbours share one.
    most : int or None
        Most entries of any region; None where tasks hold a part of them only.
    """

    comfortable: int
    most: int | None


def divide_into_regions(
    rows: ClusterTree, cols: ClusterTree, eta: float, sizes: RegionSizes, *, is_half: bool = False
) -> Iterator[Block]:
    """Divide a matrix into regions, first rows first.

    Parameters
    ----------
    rows, cols : ClusterTree
        Clusters of both sides.
    eta : float
        Admissibility (:func:`dbutterfly.structure.block_tree.is_admissible`).
    sizes : RegionSizes
        How large regions may be.
    is_half : bool
        Whether regions above the diagonal are left out.
    """
    waiting = [Block(0, 0, 0, 0)]
    while waiting:
        block = waiting.pop()
        r0, r1, c0, c1 = tile_of(rows, cols, block)
        if is_half and is_above_diagonal((r0, r1), (c0, c1)):
            continue
        entries = (r1 - r0) * (c1 - c0)
        is_fit = entries <= sizes.comfortable or (
            (sizes.most is None or entries <= sizes.most) and is_admissible(rows, cols, block, eta)
        )
        parts = [] if is_fit else list(divide(rows, cols, block))
        if parts:
            waiting.extend(parts[::-1])
        else:
            yield block


def is_above_diagonal(rows: tuple[int, int], cols: tuple[int, int]) -> bool:
    """Whether all of a block lies above the diagonal, in positions."""
    return rows[1] <= cols[0]


def tile_of(rows: ClusterTree, cols: ClusterTree, block: Block) -> Tile:
    """Ranges of positions of a block."""
    return Tile(*rows.span(block.row_level, block.row), *cols.span(block.col_level, block.col))
