"""Make the plan of a hierarchical run: sizes of regions that fit the memory, and the way in which they are read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import MemoryBudgetError
from ..sources.info import SourceInfo
from ..sources.tile_parts import count_touched
from ..structure.axes import Axis, Tile
from ..structure.block_tree import ClusterTree
from .budget import Budget
from .footprints import Footprint
from .hierarchical_plan import HierarchicalPlan
from .pieces import PieceCopy, plan_pieces
from .regions import RegionSizes, divide_into_regions, tile_of
from .sizes import format_bytes

__all__ = ["Blocks", "make_hierarchical_plan"]

COMFORTABLE = 1 << 26
"""Bytes of a region near the diagonal where the matrix is large. Not tuned: its task takes some tenths of a second of a
core, and the pieces of a copy, which are smaller the smaller regions are, take 1.4 ms each whatever their size."""

SMALLEST = 1 << 20
"""Bytes of such a region below which more tasks are not wanted. Not tuned: a task costs 5 ms by itself, and compresses
as much in about 50."""

REGIONS = 64
"""Regions near the diagonal that the entries of a matrix would fill, where it is neither small nor large.

Not tuned. It does not depend on the number of workers, so that neither do the regions."""

LARGEST = 1 << 28
"""Most bytes of a region far from the diagonal: of a larger one, more singular values are kept in all, since each part
has its own. Not tuned."""

COPIES = 5
"""Arrays of the size of a region that its task holds at most while it computes, the region included.

Measured on regions of 1024 x 1024 entries: .8 to 2.2 beside the region where blocks come to a low rank, 3 to 4.1 where
they do not."""


PANEL_COPIES = 3
"""Arrays of the size of a panel that its task holds at most while it is taken apart, and its pieces are written.

Measured on panels of 128 MiB, N = 16384, float32: 4.2 panels with the next one read ahead, 5 of which are planned."""

AGAIN = 1.5
"""Times that the chunks would be read from which on a copy is made, which is written once and read once. Not tuned: the
copy lies in the store of the run, which is seldom as far away as the matrix."""


PARTS_OF_PANEL = (1 / 8, 1 / 16, 1 / 32)
"""Parts of the memory that a panel of a copy may have: the next one is tried where the plan does not fit. Not tuned."""


class Blocks(NamedTuple):
    """What is asked of the blocks of a hierarchical matrix.

    Attributes
    ----------
    eta, leaf, symmetry, tol, rank, level
        As of :class:`~dbutterfly.planning.hierarchical_plan.HierarchicalPlan`.
    """

    eta: float
    leaf: int
    symmetry: str
    tol: float | None
    rank: int | None
    level: float


def make_hierarchical_plan(
    source: SourceInfo,
    trees: tuple[ClusterTree, ClusterTree],
    blocks: Blocks,
    budget: Budget,
    *,
    sizes: RegionSizes | None = None,
    panel_bytes: int | None = None,
    can_copy: bool = False,
) -> HierarchicalPlan:
    """Plan a hierarchical run.

    Parameters
    ----------
    source : SourceInfo
        The matrix.
    trees : pair of ClusterTree
        Clusters of both sides.
    blocks : Blocks
        What is asked of the blocks.
    budget : Budget
        Memory of a worker and number of workers.
    sizes : RegionSizes, optional
        Sizes of the regions of a run that is continued.
    panel_bytes : int, optional
        Most bytes of a panel of the copy of such a run, 0 where there is none.
    can_copy : bool
        Whether there is a store that has room for a copy of the matrix in another order.

    Raises
    ------
    MemoryBudgetError
        If no region fits.
    """
    sizes, prefetch = _choose_sizes(source, blocks, budget) if sizes is None else (sizes, True)
    regions = tuple(divide_into_regions(*trees, blocks.eta, sizes, is_half=blocks.symmetry != "none"))
    tiles = [tile_of(*trees, region) for region in regions]
    direct = _bytes_touched(source, trees, tiles)
    copy = _choose_copy(source, trees, tiles, direct, budget) if can_copy else None
    if panel_bytes:
        copy = plan_pieces(source, trees, tiles, panel_bytes)
    return HierarchicalPlan(
        source=source,
        trees=trees,
        **blocks._asdict(),
        regions=regions,
        sizes=sizes,
        budget=budget,
        copy=copy,
        region_bytes_read=0 if copy is not None or source.sampled else direct,
        peak_bytes=_footprint(source, _held(sizes, _largest(tiles)), copy).peak(prefetch),
        prefetch=prefetch,
        notes=_notes_on_reading(source, copy, direct, tiles, is_half=blocks.symmetry != "none"),
    )


def _choose_sizes(source: SourceInfo, blocks: Blocks, budget: Budget) -> tuple[RegionSizes, bool]:
    """Sizes of regions that fit the memory, and whether there is room to read ahead."""
    item, entries = np.dtype(source.work_dtype).itemsize, math.prod(source.shape)
    comfortable = min(max(entries // REGIONS, SMALLEST // item), COMFORTABLE // item)
    most = comfortable if source.sampled else LARGEST // item
    least = math.prod(min(blocks.leaf, size) for size in source.shape)
    fourths = itertools.takewhile(lambda size: size > least, (most >> 2 * step for step in itertools.count()))
    for prefetch, fitting in itertools.product((True, False), [*fourths, least]):
        if _footprint(source, fitting).peak(prefetch) <= budget.memory:
            return RegionSizes(min(comfortable, fitting), None if source.sampled else fitting), prefetch
    needed = _footprint(source, least).peak(prefetch=False)
    raise MemoryBudgetError(
        f"memory={format_bytes(budget.memory)} is too small for leaves of {blocks.leaf} x {blocks.leaf} entries; the "
        f"least that works is memory={needed} ({format_bytes(needed)}) per worker, or less with a smaller leaf"
    )


def _held(sizes: RegionSizes, largest: int) -> int:
    """Entries that a task holds at most: of a region that is sampled, what lies near the diagonal."""
    return min(sizes.comfortable, largest) if sizes.most is None else largest


def _footprint(source: SourceInfo, entries: int, copy: PieceCopy | None = None) -> Footprint:
    """Footprint of the task of a region of so many entries."""
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    converted = 0 if source.dtype == source.work_dtype else entries * item
    if source.sampled:
        return Footprint(0, COPIES * entries * item)
    if copy is not None:
        panel = max((tile.r1 - tile.r0) * (tile.c1 - tile.c0) for tile in copy.panels) * stored
        region = Footprint(entries * item + copy.capacity * item, COPIES * entries * item)
        reading = max(region.reading, 2 * panel + source.decode_bytes)
        return Footprint(reading, max(region.computing, PANEL_COPIES * panel))
    strips = 0
    if any(edges is not None for edges in source.edges):  # gathered strip by strip, or piece by piece
        strips = entries * stored
    again = entries * stored if source.recopies_tiles else 0
    reading = entries * stored + strips + again + source.decode_bytes
    return Footprint(reading, entries * stored + converted + (COPIES - 1) * entries * item)


def _bytes_touched(source: SourceInfo, trees: tuple[ClusterTree, ClusterTree], tiles: Sequence[Tile]) -> int:
    """Bytes of the chunks that the regions touch, each as often as it is touched."""
    known: list[dict[tuple[int, int], int]] = [{}, {}]

    def touched(which: int, first: int, last: int) -> int:
        if (first, last) not in known[which]:
            tree, edges = trees[which], source.edges[which]
            axis = Axis(tree.size, tree.size, False, index=tree.order, edges=edges)
            known[which][first, last] = count_touched(axis, edges, first, last)
        return known[which][first, last]

    entries = sum(touched(0, tile.r0, tile.r1) * touched(1, tile.c0, tile.c1) for tile in tiles)
    return entries * np.dtype(source.dtype).itemsize


def _choose_copy(
    source: SourceInfo, trees: tuple[ClusterTree, ClusterTree], tiles: Sequence[Tile], direct: int, budget: Budget
) -> PieceCopy | None:
    """Copy from which the regions are read, where their chunks would be read several times else."""
    if source.sampled or direct <= AGAIN * source.nbytes:
        return None
    largest = _largest(tiles)
    for part in PARTS_OF_PANEL:
        copy = plan_pieces(source, trees, tiles, int(budget.memory * part))
        if copy is not None and _footprint(source, largest, copy).peak(prefetch=True) <= budget.memory:
            return copy
    return None


def _largest(tiles: Sequence[Tile]) -> int:
    """Entries of the largest region."""
    return max((tile.r1 - tile.r0) * (tile.c1 - tile.c0) for tile in tiles)


MANY_TIMES = 2.0
"""Times that the chunks are read from which on a plan has a note. Not tuned."""


def _notes_on_reading(
    source: SourceInfo, copy: PieceCopy | None, direct: int, tiles: Sequence[Tile], *, is_half: bool
) -> tuple[str, ...]:
    if copy is not None and is_half:
        return ("both halves are read: the clusters of one are scattered over the chunks of both",)
    if source.sampled or copy is not None:
        return ()
    itemsize = np.dtype(source.dtype).itemsize
    wanted = sum((tile.r1 - tile.r0) * (tile.c1 - tile.c0) for tile in tiles) * itemsize
    if direct < MANY_TIMES * wanted:
        return ()
    return (
        f"the clusters are scattered over the chunks, which are read {direct / wanted:.1f} times; a store= has room "
        "for a copy in their order",
    )
