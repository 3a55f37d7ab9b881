"""The search for a plan: root cut, tiles, groups, reading ahead, and whether a copy in another order comes first.

Every choice is scored by what it costs relative to reading Z once, and by the peak of a worker; the cheapest one that
fits the budget is taken.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .errors import ChainError, InputError, MemoryBudgetError
from .kernels.backend.stacks import STACK_BYTES, STACKS_IN_DEVICE, device_stack_bytes
from .plan import Budget, Copy, Layout, Plan, format_bytes
from .sources.info import SourceInfo
from .sources.probes import PRODUCT_BYTES, ProbeSizes
from .sources.sample_sizes import WORK_BYTES, Sizes
from .structure.axes import Axis, axes_of_cut, axes_of_whole, chunk_edges, largest_divisor
from .structure.chain import Chain, Split
from .structure.orderings import Orderings
from .structure.tree import Tree, split_tree, tree_leaves

__all__ = ["make_plan"]

LARGEST_TARGET = 1 << 28
"""Most bytes of Z that a tile should have where the grid and the budget leave the choice: some tenths of a second."""

SMALLEST_TILE = 1 << 22
TARGET_GROUPS = 1 << 24
TASKS_PER_WORKER = 4
"""Fewer tiles than this leave workers idle at the end; four times as many let reading and arithmetic overlap."""
MAX_TILES_PER_SIDE = 4096
GROUP_COPIES = 7
"""Arrays of the size of its input that factorizing a range of groups holds at its peak."""
GROUP_READING = 2
"""The same while the input of the next range is read."""

STACK_COPIES = 12
"""Most arrays of the size of a stack of blocks that kernels hold."""

COPY_STRIP = 1 << 26
"""Most bytes of a row of chunks of the copy: a tile is read by such strips, whose columns are then brought in order."""
COPY_WIDTH = 1024
"""Least entries of a panel of the copy across, where the chunks of the matrix are narrower."""
WRITE_COST = 2.0
"""Cost of writing a byte of a copy, relative to reading it."""
NO_PREFETCH_COST = 0.3
"""Cost of reading and computing by turns, relative to reading Z once."""


class _Side(NamedTuple):
    """A way to cut one side into tiles: groups per tile, entries of touched chunks in all, widest tile and range."""

    per_tile: int
    touched: int
    widest: int
    longest: int


class _Cut(NamedTuple):
    """A root cut of the chain, with the sides of the matrix (or of its copy) under it, and the rank kept of blocks."""

    tree: Tree
    split: Split
    rows: Axis
    cols: Axis
    kept: int


class _Footprint(NamedTuple):
    """Bytes that a task of a stage holds while it reads, and while it computes."""

    reading: int
    computing: int

    def peak(self, prefetch: bool) -> int:
        """Most that a worker holds: both at once if it reads ahead."""
        return self.reading + self.computing if prefetch else max(self)


class _Choice(NamedTuple):
    """One root cut with one tiling of both sides."""

    score: float
    peak: int
    device_peak: int
    cut: _Cut
    layout: Layout
    bytes_read: int
    copy: Copy | None

    def fits(self, budget: Budget) -> bool:
        """Whether neither host nor device is asked for more than they may give."""
        return self.peak <= budget.memory and self.device_peak <= (budget.device_memory or 0)


def make_plan(
    source: SourceInfo,
    chain: Chain | None,
    *,
    tree: Any = "balanced",
    orderings: Orderings | None = None,
    passes: int = 1,
    budget: Budget,
    layout: Layout | None = None,
    can_copy: bool = False,
    spare: int = 0,
) -> Plan:
    """Choose root cut, tiles and groups.

    Parameters
    ----------
    source : SourceInfo
        The matrix.
    chain : Chain or None
        Patterns of the factors; None takes ``Chain.chainable(shape)``, which is ``square_dyadic`` for powers of two.
    tree : str or nested pairs
        See :func:`dbutterfly.structure.tree.split_tree`. ``"balanced"`` leaves the root cut to the plan: the one
        nearest to the middle unless the chunk grid or the budget makes another cheaper.
    orderings : Orderings, optional
        Orderings of both sides, by default the standard order.
    passes : {1, 2}
        Times that Z is read.
    budget : Budget
        Memory of a worker and number of workers.
    layout : Layout, optional
        Choices of an earlier plan of the same job, to be taken over.
    can_copy : bool
        Whether there is a place for a copy of the matrix in another order.
    spare : int
        Ranks above that of the root cut for which the tiles are split too.

    Raises
    ------
    ChainError
        If the chain does not fit the matrix, or its product is not a full matrix of low-rank blocks.
    InputError
        If ``passes`` or an ordering cannot be used.
    MemoryBudgetError
        If no choice fits the budget; the message gives the least memory that does.
    """
    if passes not in (1, 2):
        raise InputError(f"passes={passes!r} is not possible; use 1, or 2 to read the matrix a second time")
    chain = Chain.chainable(source.shape) if chain is None else chain
    _check_chain(chain, source.shape)
    orderings = Orderings() if orderings is None else orderings
    orderings.validate(source.shape)
    if passes != 1 and (source.sampled or source.probed):
        what = "an operator is probed" if source.probed else "entries are sampled"
        raise InputError(f"passes={passes!r} is not possible where {what}; use 1, or give the whole matrix")
    notes = _notes(source)
    if len(chain) == 1:
        return _single_factor_plan(source, chain, orderings, budget, notes)
    trees = [split_tree(len(chain), tree)]
    free = isinstance(tree, str) and tree == "balanced"
    if free:
        trees = [split_tree(len(chain), tree, root) for root in range(1, len(chain))]
    if layout is not None:
        trees = [candidate for candidate in trees if _root(candidate) == layout.root]
    best, least = None, None
    for candidate in sorted(trees, key=lambda tree: _halves(chain, tree)):
        if best is not None and best.score <= 1 + _halves(chain, candidate):
            break  # reading Z once and moving these halves costs more already
        for choice in _choices(source, chain, candidate, orderings, budget, layout, can_copy, spare):
            least = choice.peak if least is None else min(least, choice.peak)
            if choice.fits(budget) and (best is None or choice.score < best.score):
                best = choice
    if best is None and budget.device_memory is not None and (least or 0) <= budget.memory:
        every = itertools.chain.from_iterable(
            _choices(source, chain, candidate, orderings, replace(budget, device_memory=0), layout, can_copy, spare)
            for candidate in trees
        )
        # Of memory for the least stacks; those of the memory that is named here take a part of it more.
        least = min(choice.device_peak for choice in every if choice.peak <= budget.memory)
        least = math.ceil(least / (1 - STACK_COPIES / STACKS_IN_DEVICE))
        raise MemoryBudgetError(_too_small("device_memory", budget.device_memory, least, source))
    if best is None:
        raise MemoryBudgetError(_too_small("memory", budget.memory, least or 0, source))
    cut = best.cut
    return Plan(
        source, chain, cut.tree, orderings, passes, budget, cut.split, cut.rows, cut.cols, best.copy, best.layout,
        passes * best.bytes_read, best.peak, best.device_peak, notes, not free,
        tuple(range(cut.split.rank, cut.kept + 1)),
    )  # fmt: skip


def _check_chain(chain: Chain, shape: tuple[int, int]) -> None:
    if chain.shape != tuple(shape):
        raise ChainError(
            f"chain has shape {chain.shape[0]} x {chain.shape[1]} but the matrix is {shape[0]} x {shape[1]}; "
            f"the nearest chain that fits is {Chain.chainable(shape)!r}"
        )
    if not chain.is_dense:
        raise ChainError(
            f"{chain!r} does not multiply to a full matrix; a factorization needs a chainable chain that starts with "
            f"a = 1 and ends with d = 1, such as {Chain.chainable(shape)!r}"
        )


def _notes(source: SourceInfo) -> tuple[str, ...]:
    notes = []
    if source.dtype != source.work_dtype:
        notes.append(f"entries are stored as {source.dtype} and taken as {source.work_dtype}")
    if source.missing_chunks:
        notes.append(
            f"{source.missing_chunks} of {source.chunk_count} chunks are not in the store: their entries are taken as "
            "the fill value"
        )
    if source.sampled:
        notes.append("some entries of each block are evaluated: the certificate is an estimate")
    if source.probed:
        notes.append(
            "the operator is known by products with random vectors: the certificate is an estimate, unless "
            "these are so many that unit vectors serve as well"
        )
    return tuple(notes)


def _too_small(name: str, given: int, least: int, source: SourceInfo) -> str:
    rows, cols = source.shape
    enough = "the least that works" if name == "memory" else "enough"
    return (
        f"{name}={format_bytes(given)} is too small for a {rows} x {cols} {source.dtype} matrix with this chain, tree "
        f"and chunk grid; {enough} is {name}={least} ({format_bytes(least)}) per worker"
    )


def _single_factor_plan(
    source: SourceInfo, chain: Chain, orderings: Orderings, budget: Budget, notes: tuple[str, ...]
) -> Plan:
    stored = source.nbytes
    peak = stored * 2 + math.prod(source.shape) * np.dtype(source.work_dtype).itemsize
    if peak > budget.memory:
        raise MemoryBudgetError(_too_small("memory", budget.memory, peak, source))
    notes = (*notes, "a chain of one pattern: its factor is the matrix itself")
    rows, cols = axes_of_whole(chain, orderings, source.edges)
    layout = Layout(0, 1, 1, 0, 0, prefetch=False)
    return Plan(
        source, chain, split_tree(1), orderings, 1, budget, None, rows, cols, None, layout, stored, peak, 0, notes
    )  # fmt: skip


def _root(tree: Tree) -> int:
    """Number of factors to the left of the root cut, 0 for a single factor."""
    return len(tree_leaves(tree[0])) if isinstance(tree, tuple) else 0


def _halves(chain: Chain, tree: Tree) -> float:
    """Cost of moving the halves of a root cut: written, read, and factorized, relative to reading Z."""
    split = chain.cut(_root(tree))[0]
    return 3 * split.rank * (split.p + split.v) / (split.p * split.v)


def _choices(
    source: SourceInfo,
    chain: Chain,
    tree: Tree,
    orderings: Orderings,
    budget: Budget,
    layout: Layout | None,
    can_copy: bool,
    spare: int,
) -> Iterator[_Choice]:
    """Every sensible tiling of one root cut (or the given one), with its cost relative to reading Z once."""
    position = _root(tree)
    split = chain.cut(position)[0]
    cut = _Cut(tree, split, *axes_of_cut(chain, position, orderings, source.edges), split.rank + spare)
    if layout is None or layout.copy is None:
        whole = (cut.rows.groups, cut.cols.groups) if source.probed else (None, None)  # a product tells of all rows
        rows = list(_side_choices(cut.rows, whole[0] if layout is None else layout.tile_rows))
        cols = list(_side_choices(cut.cols, whole[1] if layout is None else layout.tile_cols))
        for row, col in itertools.product(rows, cols):
            yield from _variants(source, chain, cut, row, col, budget, layout, None)
    if can_copy:
        for copied, row, col, copy in _copies(source, cut, layout):
            yield from _variants(source, chain, copied, row, col, budget, layout, copy)


def _variants(
    source: SourceInfo,
    chain: Chain,
    cut: _Cut,
    row: _Side,
    col: _Side,
    budget: Budget,
    layout: Layout | None,
    copy: _CopyChoice | None,
) -> Iterator[_Choice]:
    """One tiling, with reading ahead and without."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    read = source if copy is None else _info_of_copy(source, copy.copy)
    share = _share(source, cut)
    touched = int(row.touched * col.touched * share) * np.dtype(read.dtype).itemsize
    score = _halves(chain, cut.tree) + _score(read, split, row, col, budget.workers, share)
    for prefetch in (True, False) if layout is None else (layout.prefetch,):
        group = split.p * split.q * cut.kept * item, split.u * split.v * cut.kept * item
        left = _groups_per_task(split.u, row.per_tile, group[0], budget, prefetch)
        right = _groups_per_task(split.q, col.per_tile, group[1], budget, prefetch)
        if layout is not None:
            left, right = layout.left_groups, layout.right_groups
        groups = left * group[0], right * group[1]
        footprints = [_Footprint(GROUP_READING * group, GROUP_COPIES * group) for group in groups]
        footprints.append(_tile_footprint(read, cut, row, col))
        device_peak = 0
        if budget.device_memory is not None:
            on_device = _device_footprints(source, cut, row, col, groups, device_stack_bytes(budget.device_memory))
            device_peak = max(footprint.peak(prefetch) for footprint in on_device)
        cost, chosen = score + (0.0 if prefetch else NO_PREFETCH_COST), None
        if copy is not None:
            footprints.append(copy.footprint)
            cost, chosen = cost + copy.cost, copy.layout
        peak = max(footprint.peak(prefetch) for footprint in footprints)
        layout_ = Layout(_root(cut.tree), row.per_tile, col.per_tile, left, right, prefetch, chosen)
        yield _Choice(cost, peak, device_peak, cut, layout_, touched, copy and copy.copy)


def _share(source: SourceInfo, cut: _Cut) -> float:
    """Part of the work of reading all entries that a matrix takes of which samples or products serve."""
    if source.sampled:
        return Sizes(cut.split.p, cut.split.v, cut.kept).share
    if source.probed:
        return ProbeSizes(cut.split, cut.kept).products() / min(source.shape)
    return 1.0


class _CopyChoice(NamedTuple):
    """A way to make a copy: what it is, its part of the layout, its cost relative to reading Z once, its footprint."""

    copy: Copy
    layout: tuple[int, int, int]
    cost: float
    footprint: _Footprint


def _copies(source: SourceInfo, cut: _Cut, layout: Layout | None) -> Iterator[tuple[_Cut, _Side, _Side, _CopyChoice]]:
    """Copies in which the groups of a scattered side lie together, and the tilings for which they are made."""
    for side, axis in enumerate((cut.rows, cut.cols)):
        if axis.index is None or axis.edges is None or (layout and (layout.copy is None or layout.copy[0] != side)):
            continue
        given = None if layout is None else (layout.tile_rows, layout.tile_cols)[side]
        for per_tile in [given] if given else _powers(axis.groups):
            if axis.groups <= per_tile * MAX_TILES_PER_SIDE:
                yield from _copies_of_side(source, cut, side, per_tile, layout)


def _copies_of_side(
    source: SourceInfo, cut: _Cut, side: int, per_tile: int, layout: Layout | None
) -> Iterator[tuple[_Cut, _Side, _Side, _CopyChoice]]:
    """Copies whose tiles take ``per_tile`` groups of the side that is laid together."""
    axes, item = (cut.rows, cut.cols), np.dtype(source.work_dtype).itemsize
    axis, other = axes[side], axes[1 - side]
    if other.edges is None:
        return
    width = _panel_width(other)
    across = source.shape[1] if side == 0 else width
    chunk = largest_divisor(per_tile * axis.members, max(1, COPY_STRIP // (across * item)))
    laid = Axis(axis.length, axis.groups, False, edges=chunk_edges(axis.length, chunk))
    kept = replace(other, edges=chunk_edges(other.length, width))
    side_choice = _side(laid, per_tile)
    panels = Axis(other.length, other.length, False, edges=other.edges)
    chunks = (chunk, width) if side == 0 else (width, chunk)
    for groups in [layout.copy[1]] if layout and layout.copy else _heights(axis, per_tile):
        touched, longest = axis.tiling_cost(groups)
        across, _ = panels.tiling_cost(width)
        read = touched * across * np.dtype(source.dtype).itemsize
        pair = (axis, panels) if side == 0 else (panels, axis)
        copy = Copy(*pair, chunks, read)
        cost = read / source.nbytes + WRITE_COST
        footprint = _copy_footprint(source, min(groups, axis.groups) * axis.members, width, longest, chunk)
        choice = _CopyChoice(copy, (side, groups, width), cost, footprint)
        copied = cut._replace(rows=laid, cols=kept) if side == 0 else cut._replace(rows=kept, cols=laid)
        for whole in _side_choices(kept, layout and (layout.tile_rows, layout.tile_cols)[1 - side]):
            yield copied, *((side_choice, whole) if side == 0 else (whole, side_choice)), choice


def _heights(axis: Axis, per_tile: int) -> Iterator[int]:
    """Groups that a panel takes: all of them, or fewer where a panel of all does not fit, in whole tiles."""
    groups = axis.groups
    while groups >= per_tile:
        yield groups
        if groups == per_tile:
            return
        groups = max(per_tile, -(-groups // 2 // per_tile) * per_tile)


def _panel_width(axis: Axis) -> int:
    """Entries that a panel takes across: a chunk of the matrix, or several narrow ones."""
    assert axis.edges is not None
    chunk = int(np.max(np.diff(axis.edges)))
    return min(axis.length, chunk * max(1, COPY_WIDTH // chunk))


def _info_of_copy(source: SourceInfo, copy: Copy) -> SourceInfo:
    chunk = math.prod(copy.chunks) * np.dtype(source.work_dtype).itemsize
    return replace(source, dtype=source.work_dtype, copies=True, decode_bytes=2 * chunk)


def _copy_footprint(source: SourceInfo, height: int, width: int, longest: int, chunk: int) -> _Footprint:
    """A panel, with the range that is read into it, or the chunk that is written of it."""
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    panel = height * width * stored
    converted = 0 if source.dtype == source.work_dtype else height * width * item
    return _Footprint(
        panel + longest * width * stored + source.decode_bytes, panel + converted + 3 * chunk * width * item
    )


def _score(source: SourceInfo, split: Split, row: _Side, col: _Side, workers: int, share: float) -> float:
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


def _tile_footprint(source: SourceInfo, cut: _Cut, row: _Side, col: _Side) -> _Footprint:
    split = cut.split
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    buffer = row.widest * col.widest * stored if source.copies else 0
    gathered = buffer and (row.longest != row.widest or col.longest != col.widest)
    transient = row.longest * col.longest * stored if gathered else 0
    if gathered and cut.cols.index is not None:  # a strip of the tile, as it was read and in order
        chunk = row.widest if cut.rows.edges is None else min(row.widest, int(np.max(np.diff(cut.rows.edges))))
        transient = (1 if cut.rows.index is None else 2) * chunk * col.widest * stored
    results, workspace = _results(source, cut, row, col), _stacks_held(source, cut, STACK_BYTES)
    if source.sampled:
        return _Footprint(0, results + workspace + WORK_BYTES)
    if source.probed:
        held = ProbeSizes(split, cut.kept).held_bytes(item)
        return _Footprint(held + 4 * PRODUCT_BYTES, held + results + workspace)
    return _Footprint(buffer + transient + source.decode_bytes, buffer + results + workspace)


def _results(source: SourceInfo, cut: _Cut, row: _Side, col: _Side) -> int:
    """Bytes of the parts of the blocks of a tile and of their energies, as found and as put in order."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    blocks = min(row.per_tile, split.u) * min(col.per_tile, split.q)
    numbers = 1 + 2 * (cut.kept - split.rank + 1)
    return 2 * blocks * (split.p + split.v) * cut.kept * item + 2 * numbers * 8 * blocks


def _stacks_held(source: SourceInfo, cut: _Cut, stack_bytes: int) -> int:
    """Bytes that the kernels hold besides what they are given and what they return."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    return (6 if cut.kept == 1 else STACK_COPIES) * max(stack_bytes, split.p * split.v * item)


def _device_footprints(
    source: SourceInfo, cut: _Cut, row: _Side, col: _Side, groups: tuple[int, int], stack_bytes: int
) -> Iterator[_Footprint]:
    """What a tile, and ranges of groups of so many bytes, take of a GPU: staged and, with the kernels, computed."""
    tile = row.widest * col.widest * np.dtype(source.dtype).itemsize
    held = _stacks_held(source, cut, stack_bytes)
    if source.sampled or source.probed:  # what the host evaluates comes over in parts
        tile, held = 0, held + WORK_BYTES
    if source.probed:
        held += ProbeSizes(cut.split, cut.kept).held_bytes(np.dtype(source.work_dtype).itemsize)
    yield _Footprint(tile, tile + _results(source, cut, row, col) + held)
    for group in groups:
        # The scales of the right parts are as large as these, at most.
        yield _Footprint(GROUP_READING * group, (GROUP_COPIES + 1) * group + min(held, STACK_COPIES * group))


def _side_choices(axis: Axis, given: int | None = None) -> Iterator[_Side]:
    """Tilings of one side: powers of two, multiples of the chunk, and the whole; or the given one."""
    sizes = {axis.groups}
    bases = [1]
    if axis.edges is not None and axis.edges.size > 2:
        chunk = int(np.max(np.diff(axis.edges)))
        bases.append(max(1, chunk if axis.strided else math.lcm(chunk, axis.members) // axis.members))
    for base in bases:
        sizes.update(_powers(axis.groups, base))
    for per_tile in [given] if given else sorted(sizes):
        if axis.groups > per_tile * MAX_TILES_PER_SIDE:
            continue
        yield _side(axis, per_tile)


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


def _side(axis: Axis, per_tile: int) -> _Side:
    touched, longest = axis.tiling_cost(per_tile)
    return _Side(per_tile, touched, per_tile * axis.members, longest)


def _powers(limit: int, base: int = 1) -> list[int]:
    """``base`` times the powers of two below ``limit``, and ``limit`` itself."""
    return [*itertools.takewhile(lambda size: size < limit, (base << k for k in range(64))), limit]
