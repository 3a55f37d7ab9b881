"""The plan of a run, in integers, made before anything is read.

It chooses the root cut of the chain, the tiles in which Z is read and the groups in which the halves are factorized,
from the chunk grid and the memory budget, and predicts what the run will read, write and hold. Everything that a run
does later is decided here; results do not depend on the tiles chosen, only cost does.

    stage        task                      reads                      writes
    tiles        row range x column range  its part of Z              left parts A, right parts B, energies
    left         range of row groups       A of all column groups     left factors, unit columns X, scales
    project      tile (``passes=2`` only)  its part of Z, X           B = X^H Z
    right        range of column groups    B of all row groups        right factors
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from .chain import Chain, Split, Tree, format_tree, split_tree, tree_leaves
from .errors import ChainError, InputError, MemoryBudgetError
from .layout import Axis, Edges, axes_of_cut
from .orderings import Orderings

__all__ = ["STACK_BYTES", "Budget", "Layout", "Plan", "SourceInfo", "Tile", "format_bytes", "make_plan"]

STACK_BYTES = 1 << 20
"""Bytes of blocks handed to a kernel at a time: what stays in the second-level cache of a core."""

LARGEST_TARGET = 1 << 28
"""Most bytes of Z that a tile should have where the grid and the budget leave the choice: some tenths of a second."""

SMALLEST_TILE = 1 << 22
TARGET_GROUPS = 1 << 24
TASKS_PER_WORKER = 4
"""Fewer tiles than this leave workers idle at the end; four times as many let reading and arithmetic overlap."""
MAX_TILES_PER_SIDE = 4096
GROUP_COPIES = 7
"""Arrays of the size of its input that factorizing a range of groups holds at its peak."""

ARITHMETIC_SECONDS_PER_GIB = 0.45
"""Measured for one core and noisy float32 blocks of 128 x 128 (benchmarks/growth.py)."""


@dataclass(frozen=True)
class SourceInfo:
    """What the plan needs to know of a matrix.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    dtype : str
        As stored.
    work_dtype : str
        As computed: integers and booleans become float64, float16 becomes float32.
    edges : pair of arrays of int or None
        Chunk boundaries of both sides; None where any range costs what it holds.
    copies : bool
        Whether reading a tile copies it (False for arrays in memory, of which a tile is a view).
    decode_bytes : int
        Bytes held besides its result while a range is read.
    """

    shape: tuple[int, int]
    dtype: str
    work_dtype: str
    edges: tuple[Edges, Edges] = (None, None)
    copies: bool = False
    decode_bytes: int = 0


@dataclass(frozen=True)
class Budget:
    """What a run may use.

    Attributes
    ----------
    memory : int
        Bytes that one task may hold at its peak.
    workers : int
        Tasks that run at a time.
    """

    memory: int
    workers: int = 1


class Layout(NamedTuple):
    """The choices of a plan, by which a run that was cut off is continued with the same tasks."""

    root: int
    tile_rows: int
    tile_cols: int
    left_groups: int
    right_groups: int


class Tile(NamedTuple):
    """Row groups ``r0 .. r1 - 1`` and column groups ``c0 .. c1 - 1``, numbered as they lie in storage."""

    r0: int
    r1: int
    c0: int
    c1: int


class _Side(NamedTuple):
    """A way to cut one side into tiles: groups per tile, entries of touched chunks in all, widest tile and range."""

    per_tile: int
    touched: int
    widest: int
    longest: int


class _Choice(NamedTuple):
    """One root cut with one tiling of both sides."""

    score: float
    peak: int
    bytes_read: int
    tree: Tree
    split: Split
    rows: Axis
    cols: Axis
    row: _Side
    col: _Side
    left_groups: int
    right_groups: int


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run will do. ``print(plan)`` shows it; nothing has been read yet.

    Attributes
    ----------
    source : SourceInfo
        The matrix.
    chain : Chain
        Patterns of the factors.
    tree : Tree
        Where the chain is cut.
    orderings : Orderings
        Orderings that bring the matrix to the standard order of the chain.
    passes : int
        Times that Z is read.
    budget : Budget
        Memory of a task and number of workers.
    split : Split or None
        Blocks of the root cut; None for a chain of one pattern, whose factor is the matrix itself.
    rows, cols : Axis
        Sides of the matrix under the root cut (one group each for a single pattern).
    tile_rows, tile_cols : int
        Row and column groups of a tile.
    left_groups, right_groups : int
        Row groups of a left task and column groups of a right task.
    bytes_read : int
        Bytes of the chunks that the tiles touch, over all passes.
    peak_bytes : int
        Predicted peak of the largest task.
    notes : tuple of str
        What else the caller should know.
    tree_is_given : bool
        False where the plan chose the root cut, which a later plan of the same job may choose otherwise.
    """

    source: SourceInfo
    chain: Chain
    tree: Tree
    orderings: Orderings
    passes: int
    budget: Budget
    split: Split | None
    rows: Axis
    cols: Axis
    tile_rows: int
    tile_cols: int
    left_groups: int
    right_groups: int
    bytes_read: int
    peak_bytes: int
    notes: tuple[str, ...] = ()
    tree_is_given: bool = True

    @property
    def layout(self) -> Layout:
        """What the plan chose."""
        return Layout(_root(self.tree), self.tile_rows, self.tile_cols, self.left_groups, self.right_groups)

    @property
    def itemsize(self) -> int:
        """Bytes of an entry as computed."""
        return np.dtype(self.source.work_dtype).itemsize

    @property
    def source_bytes(self) -> int:
        """Bytes of Z as stored, uncompressed."""
        return math.prod(self.source.shape) * np.dtype(self.source.dtype).itemsize

    @property
    def amplification(self) -> float:
        """Bytes read per pass over bytes of Z: 1.00 where every chunk is read once."""
        return self.bytes_read / (self.passes * self.source_bytes)

    @property
    def tiles(self) -> list[Tile]:
        """Tiles in the order in which they are submitted; they cover every entry exactly once."""
        if self.split is None:
            return [Tile(0, 1, 0, 1)]
        rows, cols = _ranges(self.split.u, self.tile_rows), _ranges(self.split.q, self.tile_cols)
        return [Tile(r0, r1, c0, c1) for (r0, r1), (c0, c1) in itertools.product(rows, cols)]

    @property
    def left_ranges(self) -> list[tuple[int, int]]:
        """Ranges of row groups of the left tasks."""
        return [] if self.split is None else list(_ranges(self.split.u, self.left_groups))

    @property
    def right_ranges(self) -> list[tuple[int, int]]:
        """Ranges of column groups of the right tasks."""
        return [] if self.split is None else list(_ranges(self.split.q, self.right_groups))

    @property
    def tasks(self) -> dict[str, int]:
        """Number of tasks of every stage."""
        tiles = len(self.tiles)
        stages = {"tiles": tiles, "left": len(self.left_ranges), "project": tiles, "right": len(self.right_ranges)}
        if self.passes == 1 or self.split is None:
            del stages["project"]
        return {stage: count for stage, count in stages.items() if count}

    @property
    def bytes_written(self) -> int:
        """Bytes that the run stores: halves, energies and factors."""
        factors = self.chain.nnz * self.itemsize
        if self.split is None:
            return factors
        p, u, q, v, _ = self.split
        halves = (2 * p + self.passes * v) * u * q * self.itemsize
        return halves + 5 * 8 * u * q + factors

    def seconds(self, read_bandwidth: float) -> float:
        """Predicted time of the reading stages.

        Parameters
        ----------
        read_bandwidth : float
            Bytes per second that all workers together read.
        """
        reading = self.bytes_read / read_bandwidth
        arithmetic = ARITHMETIC_SECONDS_PER_GIB * self.passes * self.source_bytes / 2**30 / self.budget.workers
        return max(reading, arithmetic) + min(reading, arithmetic) / max(len(self.tiles), 1)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain numbers, strings and lists."""
        return {
            "shape": list(self.source.shape),
            "dtype": self.source.dtype,
            "work_dtype": self.source.work_dtype,
            "chain": [list(pattern) for pattern in self.chain],
            "tree": format_tree(self.tree),
            "orderings": self.orderings.describe(),
            "passes": self.passes,
            "split": None if self.split is None else self.split._asdict(),
            "tile_groups": [self.tile_rows, self.tile_cols],
            "tasks": self.tasks,
            "source_bytes": self.source_bytes,
            "bytes_read": self.bytes_read,
            "amplification": self.amplification,
            "bytes_written": self.bytes_written,
            "peak_bytes": self.peak_bytes,
            "budget": asdict(self.budget),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return "\n".join(f"{name:<14}{text}" for name, text in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        (rows, cols), stored, work = self.source.shape, self.source.dtype, self.source.work_dtype
        converted = "" if stored == work else f", computed in {work}"
        yield "matrix", f"{rows} x {cols} {stored}{converted}, {format_bytes(self.source_bytes)}"
        yield "orderings", self.orderings.describe()
        yield (
            "chain",
            f"{len(self.chain)} factors, {self.chain.nnz} values, {format_bytes(self.chain.nnz * self.itemsize)}",
        )
        yield "tree", format_tree(self.tree)
        if self.split is not None:
            p, u, q, v, _ = self.split
            yield "root cut", f"after factor {_root(self.tree)}: {u} x {q} blocks of {p} x {v}"
            yield "tile", f"{self.tile_rows} x {self.tile_cols} blocks, {format_bytes(self._tile_bytes())}"
        yield "tasks", ", ".join(f"{count} {stage}" for stage, count in self.tasks.items())
        passes = f" in {self.passes} passes" if self.passes > 1 else ""
        yield "reads", f"{format_bytes(self.bytes_read)}{passes}, amplification {self.amplification:.2f}"
        yield "writes", format_bytes(self.bytes_written)
        budget = f"{format_bytes(self.budget.memory)} allowed, {self.budget.workers} at a time"
        yield "memory", f"{format_bytes(self.peak_bytes)} per task at its peak ({budget})"
        yield "time", f"{self.seconds(1e9):.1f} s for the reading stages at 1 GB/s"
        for note in self.notes:
            yield "note", note

    def _tile_bytes(self) -> int:
        assert self.split is not None
        blocks = min(self.tile_rows, self.split.u) * min(self.tile_cols, self.split.q)
        return blocks * self.split.p * self.split.v * np.dtype(self.source.dtype).itemsize


def make_plan(
    source: SourceInfo,
    chain: Chain | None,
    *,
    tree: Any = "balanced",
    orderings: Orderings | None = None,
    passes: int = 1,
    budget: Budget,
    layout: Layout | None = None,
) -> Plan:
    """Choose root cut, tiles and groups.

    Parameters
    ----------
    source : SourceInfo
        The matrix.
    chain : Chain or None
        Patterns of the factors; None takes ``Chain.chainable(shape)``, which is ``square_dyadic`` for powers of two.
    tree : str or nested pairs
        See :func:`dbutterfly.chain.split_tree`. ``"balanced"`` leaves the root cut to the plan: the one nearest to the
        middle unless the chunk grid or the budget makes another cheaper.
    orderings : Orderings, optional
        Orderings of both sides, by default the standard order.
    passes : {1, 2}
        Times that Z is read.
    budget : Budget
        Memory of a task and number of workers.
    layout : Layout, optional
        Choices of an earlier plan of the same job, to be taken over.

    Raises
    ------
    ChainError
        If the chain does not fit the matrix, or its product is not a full matrix of rank-one blocks.
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
        for choice in _choices(source, chain, candidate, orderings, budget, layout):
            least = choice.peak if least is None else min(least, choice.peak)
            if choice.peak <= budget.memory and (best is None or choice.score < best.score):
                best = choice
    if best is None:
        raise MemoryBudgetError(_too_small(budget.memory, least or 0, source))
    return Plan(
        source, chain, best.tree, orderings, passes, budget, best.split, best.rows, best.cols, best.row.per_tile,
        best.col.per_tile, best.left_groups, best.right_groups, passes * best.bytes_read, best.peak, notes, not free,
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
    if chain.rank > 1:
        raise ChainError(f"{chain!r} has rank {chain.rank}; this version factorizes chains of rank 1")


def _notes(source: SourceInfo) -> tuple[str, ...]:
    if source.dtype == source.work_dtype:
        return ()
    return (f"entries are stored as {source.dtype} and taken as {source.work_dtype}",)


def _too_small(memory: int, least: int, source: SourceInfo) -> str:
    rows, cols = source.shape
    return (
        f"memory={format_bytes(memory)} is too small for a {rows} x {cols} {source.dtype} matrix with this chain, tree "
        f"and chunk grid; the least that works is memory={least} ({format_bytes(least)}) per task"
    )


def _single_factor_plan(
    source: SourceInfo, chain: Chain, orderings: Orderings, budget: Budget, notes: tuple[str, ...]
) -> Plan:
    stored = math.prod(source.shape) * np.dtype(source.dtype).itemsize
    peak = stored * 2 + math.prod(source.shape) * np.dtype(source.work_dtype).itemsize
    if peak > budget.memory:
        raise MemoryBudgetError(_too_small(budget.memory, peak, source))
    notes = (*notes, "a chain of one pattern: its factor is the matrix itself")
    sides = zip(source.shape, orderings.permutations(chain), source.edges, strict=True)
    rows, cols = (Axis(size, 1, False, index=index, edges=edges) for size, index, edges in sides)
    return Plan(
        source, chain, split_tree(1), orderings, 1, budget, None, rows, cols, 1, 1, 0, 0, stored, peak, notes
    )  # fmt: skip


def _root(tree: Tree) -> int:
    """Number of factors to the left of the root cut, 0 for a single factor."""
    return len(tree_leaves(tree[0])) if isinstance(tree, tuple) else 0


def _halves(chain: Chain, tree: Tree) -> float:
    """Cost of moving the halves of a root cut: written, read, and factorized, relative to reading Z."""
    split = chain.cut(_root(tree))[0]
    return 3 * (split.p + split.v) / (split.p * split.v)


def _choices(
    source: SourceInfo, chain: Chain, tree: Tree, orderings: Orderings, budget: Budget, layout: Layout | None
) -> Iterator[_Choice]:
    """Every sensible tiling of one root cut (or the given one), with its cost relative to reading Z once."""
    position, halves = _root(tree), _halves(chain, tree)
    split = chain.cut(position)[0]
    rows, cols = axes_of_cut(chain, position, orderings, source.edges)
    item = np.dtype(source.work_dtype).itemsize
    row_sides = list(_side_choices(rows, layout and layout.tile_rows))
    col_sides = list(_side_choices(cols, layout and layout.tile_cols))
    for row, col in itertools.product(row_sides, col_sides):
        left = _groups_per_task(split.u, row.per_tile, split.p * split.q * item, budget)
        right = _groups_per_task(split.q, col.per_tile, split.u * split.v * item, budget)
        if layout is not None:
            left, right = layout.left_groups, layout.right_groups
        peak = max(
            _tile_peak(source, split, row, col),
            GROUP_COPIES * left * split.p * split.q * item,
            GROUP_COPIES * right * split.u * split.v * item,
        )
        read = row.touched * col.touched * np.dtype(source.dtype).itemsize
        score = halves + _score(source, split, row, col, budget.workers)
        yield _Choice(score, peak, read, tree, split, rows, cols, row, col, left, right)


def _score(source: SourceInfo, split: Split, row: _Side, col: _Side, workers: int) -> float:
    """Cost of a tiling: bytes read over bytes of Z, plus what idle workers and odd tile sizes cost."""
    entries, stored = math.prod(source.shape), np.dtype(source.dtype).itemsize
    read = row.touched * col.touched / entries
    tiles = math.ceil(split.u / row.per_tile) * math.ceil(split.q / col.per_tile)
    wanted = min(TASKS_PER_WORKER * workers, max(1, entries * stored // SMALLEST_TILE))
    target = min(LARGEST_TARGET, max(entries * stored // (4 * wanted), min(SMALLEST_TILE, entries * stored)))
    odd = abs(math.log2(row.widest * col.widest * stored / target))
    return read + 0.5 * max(0.0, 1 - tiles / wanted) + 0.01 * odd


def _tile_peak(source: SourceInfo, split: Split, row: _Side, col: _Side) -> int:
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    buffer = row.widest * col.widest * stored if source.copies else 0
    gathered = buffer and (row.longest != row.widest or col.longest != col.widest)
    transient = row.longest * col.longest * stored if gathered else 0
    blocks = min(row.per_tile, split.u) * min(col.per_tile, split.q)
    results = 2 * blocks * (split.p + split.v) * item + 2 * 3 * 8 * blocks
    workspace = 6 * max(STACK_BYTES, split.p * split.v * item)
    return buffer + transient + source.decode_bytes + results + workspace


def _side_choices(axis: Axis, given: int | None = None) -> Iterator[_Side]:
    """Tilings of one side: powers of two, multiples of the chunk, and the whole; or the given one."""
    sizes = {axis.groups}
    bases = [1]
    if axis.edges is not None and axis.edges.size > 2:
        chunk = int(np.max(np.diff(axis.edges)))
        bases.append(max(1, chunk if axis.strided else math.lcm(chunk, axis.members) // axis.members))
    for base in bases:
        sizes.update(itertools.takewhile(lambda size: size < axis.groups, (base << k for k in range(64))))
    for per_tile in [given] if given else sorted(sizes):
        if axis.groups > per_tile * MAX_TILES_PER_SIDE:
            continue
        touched, longest = axis.tiling_cost(per_tile)
        yield _Side(per_tile, touched, per_tile * axis.members, longest)


@functools.lru_cache(maxsize=4096)
def _groups_per_task(groups: int, per_tile: int, group_bytes: int, budget: Budget) -> int:
    """Most groups that fit target and budget and leave every worker a task.

    A divisor or a multiple of a tile's groups, so that what a tile writes is whole chunks of what a task reads.
    """
    most = min(TARGET_GROUPS, budget.memory // GROUP_COPIES) // group_bytes
    most = max(1, min(most, math.ceil(groups / (2 * budget.workers))))
    if most >= per_tile:
        return most // per_tile * per_tile
    return max(k for k in range(1, most + 1) if per_tile % k == 0)


def _ranges(size: int, step: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + step, size)) for first in range(0, size, step))


def format_bytes(count: float) -> str:
    """Bytes in binary units, such as ``1.50 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.2f} {unit}"
