"""Ways to cut one side of the matrix into tiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..structure.axes import Axis
from ..structure.chain import Cut
from ..structure.tree import Tree

__all__ = ["RootCut", "SideTiling", "powers_of_two", "side_tilings", "tile_side"]


MAX_TILES_PER_SIDE = 4096
"""Most tiles along one side. Not tuned: it bounds the work of weighing a tiling, and the number of tasks, each of which
costs the scheduler 0.4 ms or more (benchmark ``scheduler``).
"""


class SideTiling(NamedTuple):
    """A way to cut one side into tiles.

    Attributes
    ----------
    per_tile : int
        Groups that a tile takes; the last tile may take fewer.
    touched : int
        Entries of the side in the chunks that each tile touches, summed over the tiles.
    widest : int
        Entries of a whole tile.
    longest : int
        Bound on the longest range that is read for a tile.
    """

    per_tile: int
    touched: int
    widest: int
    longest: int


class RootCut(NamedTuple):
    """A root cut of the chain, and the sides of a matrix under it.

    Attributes
    ----------
    tree : Tree
        The tree with this cut at its root.
    split : Cut
        Blocks of the cut.
    rows, cols : Axis
        Sides of the matrix, or of its copy in another order.
    kept : int
        Largest rank for which the blocks are split: the rank of the cut and the spare ones.
    """

    tree: Tree
    split: Cut
    rows: Axis
    cols: Axis
    kept: int


def tile_side(axis: Axis, per_tile: int) -> SideTiling:
    """Cut one side into tiles of so many groups."""
    touched, longest = axis.tiling_cost(per_tile)
    return SideTiling(per_tile, touched, per_tile * axis.members, longest)


def side_tilings(axis: Axis, given: int | None = None) -> Iterator[SideTiling]:
    """Tilings of one side, or the given one.

    A tile takes a power of two of groups, a power of two times the groups that lie in whole chunks, or all groups.
    """
    sizes = {axis.groups}
    bases = [1]
    if axis.edges is not None and axis.edges.size > 2:
        chunk = int(np.max(np.diff(axis.edges)))
        groups = math.lcm(chunk, axis.members) // axis.members
        if axis.padding is not None:  # of which chunks are unlike
            groups = chunk // axis.members
        bases.append(max(1, chunk if axis.strided else groups))
    for base in bases:
        sizes.update(powers_of_two(axis.groups, base))
    for per_tile in [given] if given else sorted(sizes):
        if axis.groups > per_tile * MAX_TILES_PER_SIDE:
            continue
        yield tile_side(axis, per_tile)


def powers_of_two(limit: int, base: int = 1) -> list[int]:
    """``base`` times the powers of two below ``limit``, and ``limit`` itself."""
    return [*itertools.takewhile(lambda size: size < limit, (base << k for k in range(64))), limit]
