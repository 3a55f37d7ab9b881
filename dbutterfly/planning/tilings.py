"""Every tiling of one root cut of the chain, with its score and its peak memory."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..kernels.backend.stacks import device_stack_bytes
from ..sources.info import SourceInfo
from ..sources.probes import ProbeSizes
from ..sources.sample_sizes import Sizes
from ..structure.axes import axes_of_cut, largest_divisor
from ..structure.chain import Chain, Cut
from ..structure.padding import Placement
from ..structure.tree import Tree, tree_leaves
from .budget import Budget
from .copies import CopyChoice, enumerate_copies, info_of_copy
from .footprints import GROUP_COPIES, GROUP_READING, Footprint, device_footprints, tile_footprint
from .plan import Copy, Layout
from .sides import RootCut, SideTiling, side_tilings

__all__ = ["SearchSpace", "Tiling", "cost_of_halves", "enumerate_tilings", "root_position"]


LARGEST_TARGET = 1 << 28
"""Most bytes of Z that a tile should have where the grid and the budget leave the choice.

Computing such a tile takes some tenths of a second on one core. Not tuned further: it bounds only a preference of one
per cent (:func:`_score`).
"""

SMALLEST_TILE = 1 << 22
"""Bytes of a tile below which more tiles are not wanted for the sake of the workers. Not tuned.

At 4 MiB, reading and computing take about as long as the 5 ms that a task costs by itself
(:data:`.predicted_time.SECONDS_PER_TASK`).
"""

TARGET_GROUPS = 1 << 24
"""Most bytes of a range of groups that a task of a half takes, if a single group is not larger.

Not tuned: such a task takes some tenths of a second (:data:`.predicted_time.SECONDS_PER_GIB`), and it holds
:data:`.footprints.GROUP_COPIES` times these bytes.
"""

TASKS_PER_WORKER = 4
"""Tiles that every worker should have at least.

Fewer leave workers idle at the end. The preferred tile size gives four times as many, so that reading and arithmetic
overlap. Not tuned: an estimate from the idle time of the last tasks.
"""

NO_PREFETCH_COST = 0.3
"""Cost of reading and computing by turns, relative to reading Z once.

Not tuned: a guess of the time that overlapping saves. It only decides between a plan that reads ahead and one that may
take larger tiles.
"""


SMALL_HALF = 1 << 20
"""Bytes of a half, for each worker, up to which a worker has one task in it; above, two, so that none waits for long.

With N = 2048, float32, one worker, where a half has 256 KiB and takes 4 ms, a second task costs as much again.
"""


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What the search for a plan is given: the matrix, what shall be made of it, and within which limits.

    Attributes
    ----------
    source : SourceInfo
        The matrix.
    chain : Chain
        Patterns of the factors.
    placed : Placement
        How the matrix lies on the sides of the chain in standard order.
    budget : Budget
        Memory of a worker and number of workers.
    layout : Layout or None
        Choices of an earlier plan of the same job, which are taken over.
    can_copy : bool
        Whether there is a place for a copy of the matrix in another order.
    spare : int
        Ranks above that of the root cut for which the tiles are split too.
    """

    source: SourceInfo
    chain: Chain
    placed: Placement
    budget: Budget
    layout: Layout | None = None
    can_copy: bool = False
    spare: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiling:
    """One root cut with one tiling of both sides.

    Attributes
    ----------
    score : float
        Cost relative to reading Z once.
    peak, device_peak : int
        Predicted bytes that a worker holds at its peak, and those of its GPU (0 where the budget names none).
    cut : RootCut
        The root cut, with the sides of the matrix or of its copy.
    layout : Layout
        The choices.
    bytes_read : int
        Bytes of the chunks that the tiles touch in one pass.
    copy : Copy or None
        Copy that the tiles are read from.
    """

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


def _no_limit() -> float:
    return math.inf


def enumerate_tilings(space: SearchSpace, tree: Tree, limit: Callable[[], float] = _no_limit) -> Iterator[Tiling]:
    """Every sensible tiling of the root cut of a tree, or the one of the given layout.

    Parameters
    ----------
    space : SearchSpace
        What the search is given.
    tree : Tree
        The tree.
    limit : callable
        Returns the score from which on tilings are left out, as it is by then.
    """
    source, chain, layout = space.source, space.chain, space.layout
    position = root_position(tree)
    split = chain.cut(position)[0]
    cut = RootCut(tree, split, *axes_of_cut(chain, position, space.placed, source.edges), split.rank + space.spare)
    if layout is None or layout.copy is None:
        # One product with a random vector serves all row groups: tiles of an operator take both sides whole.
        whole = (cut.rows.groups, cut.cols.groups) if source.probed else (None, None)
        rows = list(side_tilings(cut.rows, whole[0] if layout is None else layout.tile_rows))
        cols = list(side_tilings(cut.cols, whole[1] if layout is None else layout.tile_cols))
        for row, col in itertools.product(rows, cols):
            yield from _variants(space, cut, row, col, None, limit())
    if space.can_copy:
        for copied, row, col, copy in enumerate_copies(source, cut, layout):
            yield from _variants(space, copied, row, col, copy, limit())


def _variants(
    space: SearchSpace, cut: RootCut, row: SideTiling, col: SideTiling, copy: CopyChoice | None, limit: float
) -> Iterator[Tiling]:
    """One tiling, with reading ahead and without, if its score is below a limit."""
    source, budget, layout = space.source, space.budget, space.layout
    read = source if copy is None else info_of_copy(source, copy.copy)
    share = _share(source, cut)
    score = cost_of_halves(space.chain, cut.tree) + _score(read, cut.split, row, col, budget.workers, share)
    score += 0.0 if copy is None else copy.cost
    if score >= limit:
        return
    for prefetch in (True, False) if layout is None else (layout.prefetch,):
        counts, group_bytes = _groups_of_halves(space, cut, row, col, prefetch)
        footprints = [Footprint(GROUP_READING * group, GROUP_COPIES * group) for group in group_bytes]
        footprints.append(tile_footprint(read, cut, row, col))
        if copy is not None:
            footprints.append(copy.footprint)
        on_device: list[Footprint] = []
        if budget.device_memory is not None:
            stack_bytes = device_stack_bytes(budget.device_memory)
            on_device = list(device_footprints(source, cut, row, col, group_bytes, stack_bytes))
        yield Tiling(
            score=score + (0.0 if prefetch else NO_PREFETCH_COST),
            peak=max(footprint.peak(prefetch) for footprint in footprints),
            device_peak=max((footprint.peak(prefetch) for footprint in on_device), default=0),
            cut=cut,
            layout=Layout(
                root=root_position(cut.tree),
                tile_rows=row.per_tile,
                tile_cols=col.per_tile,
                left_groups=counts[0],
                right_groups=counts[1],
                prefetch=prefetch,
                copy=copy and copy.layout,
            ),
            bytes_read=int(row.touched * col.touched * share) * np.dtype(read.dtype).itemsize,
            copy=copy and copy.copy,
        )


def _groups_of_halves(
    space: SearchSpace, cut: RootCut, row: SideTiling, col: SideTiling, prefetch: bool
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Groups that a task of the left and of the right half takes, and their bytes."""
    split, item = cut.split, np.dtype(space.source.work_dtype).itemsize
    left, right = split.p * split.q * cut.kept * item, split.u * split.v * cut.kept * item
    if space.layout is not None:
        counts = space.layout.left_groups, space.layout.right_groups
    else:
        counts = (
            _groups_per_task(split.u, row.per_tile, left, space.budget, prefetch),
            _groups_per_task(split.q, col.per_tile, right, space.budget, prefetch),
        )
    return counts, (counts[0] * left, counts[1] * right)


def _share(source: SourceInfo, cut: RootCut) -> float:
    """Part of the work of reading all entries: below 1 where samples, or products with vectors, do instead."""
    if source.sampled:
        return Sizes(cut.split.p, cut.split.v, cut.kept).share
    if source.probed:
        return ProbeSizes(cut.split, cut.kept).products() / min(source.shape)
    return 1.0


def _score(source: SourceInfo, split: Cut, row: SideTiling, col: SideTiling, workers: int, share: float) -> float:
    """Cost of a tiling: bytes read over bytes of Z, plus what idle workers and odd tile sizes cost.

    ``share`` is the part of the entries that is read or evaluated. A single tile where many are wanted costs half of
    reading Z. A tile twice or half as large as preferred costs one per cent of reading Z, so that its size decides only
    between tilings that read the same. Neither weight is tuned.
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
    """Most groups that fit target and budget and leave every worker two tasks.

    The number divides the groups of a tile or is a multiple of them, so that a tile writes whole chunks of what a task
    reads.
    """
    held = GROUP_COPIES + GROUP_READING * prefetch  # arrays of the size of a range of groups
    most = min(TARGET_GROUPS, budget.memory // held) // group_bytes
    tasks = budget.workers * (1 if groups * group_bytes <= SMALL_HALF * budget.workers else 2)
    most = max(1, min(most, math.ceil(groups / tasks)))
    if most >= per_tile:
        return most // per_tile * per_tile
    return largest_divisor(per_tile, most)


def cost_of_halves(chain: Chain, tree: Tree) -> float:
    """Cost of the halves of a root cut, relative to reading Z: they are written, read, and factorized."""
    split = chain.cut(root_position(tree))[0]
    return 3 * split.rank * (split.p + split.v) / (split.p * split.v)


def root_position(tree: Tree) -> int:
    """Number of factors to the left of the root cut, 0 for a single factor."""
    return len(tree_leaves(tree[0])) if isinstance(tree, tuple) else 0
