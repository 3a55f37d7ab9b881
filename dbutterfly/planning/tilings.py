"""Every tiling of one root cut, with its score."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..kernels.backend.stacks import device_stack_bytes
from ..sources.info import SourceInfo
from ..sources.probes import ProbeSizes
from ..sources.sample_sizes import Sizes
from ..structure.axes import axes_of_cut, largest_divisor
from ..structure.chain import Chain, Cut
from ..structure.orderings import Orderings
from ..structure.tree import Tree, tree_leaves
from .budget import Budget
from .copies import CopyChoice, enumerate_copies, info_of_copy
from .footprints import GROUP_COPIES, GROUP_READING, Footprint, device_footprints, tile_footprint
from .plan import Copy, Layout
from .sides import RootCut, SideTiling, side_tilings

__all__ = ["Tiling", "cost_of_halves", "enumerate_tilings", "root_position"]


LARGEST_TARGET = 1 << 28
"""Most bytes of Z that a tile should have where the grid and the budget leave the choice: some tenths of a second."""

SMALLEST_TILE = 1 << 22

TARGET_GROUPS = 1 << 24

TASKS_PER_WORKER = 4
"""Fewer tiles than this leave workers idle at the end; four times as many let reading and arithmetic overlap."""

NO_PREFETCH_COST = 0.3
"""Cost of reading and computing by turns, relative to reading Z once."""


class Tiling(NamedTuple):
    """One root cut with one tiling of both sides."""

    score: float
    peak: int
    device_peak: int
    cut: RootCut
    layout: Layout
    bytes_read: int
    copy: Copy | None

    def fits(self, budget: Budget) -> bool:
        """Whether neither host nor device is asked for more than they may give."""
        return self.peak <= budget.memory and self.device_peak <= (budget.device_memory or 0)


def enumerate_tilings(
    source: SourceInfo,
    chain: Chain,
    tree: Tree,
    orderings: Orderings,
    budget: Budget,
    layout: Layout | None,
    can_copy: bool,
    spare: int,
) -> Iterator[Tiling]:
    """Every sensible tiling of one root cut (or the given one), with its cost relative to reading Z once."""
    position = root_position(tree)
    split = chain.cut(position)[0]
    cut = RootCut(tree, split, *axes_of_cut(chain, position, orderings, source.edges), split.rank + spare)
    if layout is None or layout.copy is None:
        whole = (cut.rows.groups, cut.cols.groups) if source.probed else (None, None)  # a product tells of all rows
        rows = list(side_tilings(cut.rows, whole[0] if layout is None else layout.tile_rows))
        cols = list(side_tilings(cut.cols, whole[1] if layout is None else layout.tile_cols))
        for row, col in itertools.product(rows, cols):
            yield from _variants(source, chain, cut, row, col, budget, layout, None)
    if can_copy:
        for copied, row, col, copy in enumerate_copies(source, cut, layout):
            yield from _variants(source, chain, copied, row, col, budget, layout, copy)


def _variants(
    source: SourceInfo,
    chain: Chain,
    cut: RootCut,
    row: SideTiling,
    col: SideTiling,
    budget: Budget,
    layout: Layout | None,
    copy: CopyChoice | None,
) -> Iterator[Tiling]:
    """One tiling, with reading ahead and without."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    read = source if copy is None else info_of_copy(source, copy.copy)
    share = _share(source, cut)
    touched = int(row.touched * col.touched * share) * np.dtype(read.dtype).itemsize
    score = cost_of_halves(chain, cut.tree) + _score(read, split, row, col, budget.workers, share)
    for prefetch in (True, False) if layout is None else (layout.prefetch,):
        group = split.p * split.q * cut.kept * item, split.u * split.v * cut.kept * item
        left = _groups_per_task(split.u, row.per_tile, group[0], budget, prefetch)
        right = _groups_per_task(split.q, col.per_tile, group[1], budget, prefetch)
        if layout is not None:
            left, right = layout.left_groups, layout.right_groups
        groups = left * group[0], right * group[1]
        footprints = [Footprint(GROUP_READING * group, GROUP_COPIES * group) for group in groups]
        footprints.append(tile_footprint(read, cut, row, col))
        device_peak = 0
        if budget.device_memory is not None:
            on_device = device_footprints(source, cut, row, col, groups, device_stack_bytes(budget.device_memory))
            device_peak = max(footprint.peak(prefetch) for footprint in on_device)
        cost, chosen = score + (0.0 if prefetch else NO_PREFETCH_COST), None
        if copy is not None:
            footprints.append(copy.footprint)
            cost, chosen = cost + copy.cost, copy.layout
        peak = max(footprint.peak(prefetch) for footprint in footprints)
        layout_ = Layout(root_position(cut.tree), row.per_tile, col.per_tile, left, right, prefetch, chosen)
        yield Tiling(cost, peak, device_peak, cut, layout_, touched, copy and copy.copy)


def _share(source: SourceInfo, cut: RootCut) -> float:
    """Part of the work of reading all entries that a matrix takes of which samples or products serve."""
    if source.sampled:
        return Sizes(cut.split.p, cut.split.v, cut.kept).share
    if source.probed:
        return ProbeSizes(cut.split, cut.kept).products() / min(source.shape)
    return 1.0


def _score(source: SourceInfo, split: Cut, row: SideTiling, col: SideTiling, workers: int, share: float) -> float:
    """Cost of a tiling: bytes read over bytes of Z, plus what idle workers and odd tile sizes cost.

    Of a matrix that is sampled, ``share`` of the entries are evaluated.
    """
    entries, stored = math.prod(source.shape), np.dtype(source.dtype).itemsize * share
    read = row.touched * col.touched / entries
    tiles = math.ceil(split.u / row.per_tile) * math.ceil(split.q / col.per_tile)
    wanted = min(TASKS_PER_WORKER * workers, max(1, entries * stored // SMALLEST_TILE))
    target = min(LARGEST_TARGET, max(entries * stored // (4 * wanted), min(SMALLEST_TILE, entries * stored)))
    odd = abs(math.log2(row.widest * col.widest * stored / target))
    return read + 0.5 * max(0.0, 1 - tiles / wanted) + 0.01 * odd


@functools.lru_cache(maxsize=4096)
def _groups_per_task(groups: int, per_tile: int, group_bytes: int, budget: Budget, prefetch: bool) -> int:
    """Most groups that fit target and budget and leave every worker a task.

    A divisor or a multiple of a tile's groups, so that what a tile writes is whole chunks of what a task reads.
    """
    copies = GROUP_COPIES + GROUP_READING * prefetch
    most = min(TARGET_GROUPS, budget.memory // copies) // group_bytes
    most = max(1, min(most, math.ceil(groups / (2 * budget.workers))))
    if most >= per_tile:
        return most // per_tile * per_tile
    return largest_divisor(per_tile, most)


def cost_of_halves(chain: Chain, tree: Tree) -> float:
    """Cost of moving the halves of a root cut: written, read, and factorized, relative to reading Z."""
    split = chain.cut(root_position(tree))[0]
    return 3 * split.rank * (split.p + split.v) / (split.p * split.v)


def root_position(tree: Tree) -> int:
    """Number of factors to the left of the root cut, 0 for a single factor."""
    return len(tree_leaves(tree[0])) if isinstance(tree, tuple) else 0
