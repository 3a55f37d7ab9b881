"""What a hierarchical form promises, from samples of some of its blocks: the energy of the matrix, and its values.

Blocks of one kind and size are alike. Of each kind some are looked at, at the crossings of a few of their rows and
columns, whose singular values foretell the rank that a tolerance needs, and whose mean energy that of the kind. Of the
regions near the diagonal some are divided to their leaves for that, the others are taken to be like them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend.blas import single_threaded_blas
from ...planning.hierarchical_plan import HierarchicalPlan
from ...planning.regions import is_above_diagonal, tile_of
from ...sources.base import MatrixSource
from ...sources.windows import Window, open_chunk, open_window
from ...structure.axes import Index
from ...structure.block_tree import Block, ClusterTree, divide, is_admissible
from .share import level_of

__all__ = ["Look", "Promise", "look_at_blocks"]

READ = 1 << 26
"""Most bytes that are read of a matrix that is stored. Not tuned."""

PART_READ = 50
"""Of so many bytes of the matrix, one is read, or evaluated. Not tuned."""

LEAST_READ = 1 << 22
"""Bytes that may be read of a small matrix."""

NEAR_REGIONS = 6
"""Regions near the diagonal that are divided to their leaves. Not tuned."""

OF_A_KIND = 3
"""Blocks of each kind and size that are looked at. Not tuned."""

SIDE = 64
"""Rows and columns of a block that are looked at. Not tuned: from half as many on, ranks are taken to rise further."""

SPARE = 16
"""Lines that the skeletons of a block are drawn from, beside those that they keep, as in :mod:`.skeletons`."""

DRAWN = 2.2
"""Lines that are drawn over those that are needed, on average: where they were too few, three times as many.

Measured on the Helmholtz kernel of a sphere, N = 4096, 1e-6, which takes as many entries as it has: 2 foretells .86 of
them, 2.2 1.03."""

MOST_CHUNKS = 4
"""Chunks that are read for kinds of blocks without samples. Not tuned: one on the diagonal has most of them."""

FEWEST = 8
"""Rows or columns below which a sample says nothing of a block. Not tuned."""

ROUNDED_DOWN = 0.5
"""Part of the energy that the samples foretell which is counted on. Too little costs values in the tasks, which are
given up in the end, too much the tolerance. Not tuned."""


class Promise(NamedTuple):
    """What the samples foretell for a tolerance.

    Attributes
    ----------
    level : float
        Squared error that a block may have for each of its rows and columns (:class:`.fitted.Settings`).
    values : float
        Values of the blocks that are held; of low rank, or dense.
    evaluated : float
        Entries that are evaluated for them where blocks of low rank are known from skeletons.
    rank : float
        Highest mean rank of a kind of blocks whose clusters are far apart, but for leaves.
    """

    level: float
    values: float
    evaluated: float
    rank: float


@dataclass
class _Kind:
    """Blocks of one kind and size."""

    weight: float
    rows: int
    cols: int
    is_leaf: bool
    blocks: list[Block]
    samples: list[NDArray[Any]]

    @property
    def entries(self) -> int:
        return self.rows * self.cols

    @property
    def density(self) -> float | None:
        """Mean energy of an entry; None where there is no sample."""
        found = [float(np.vdot(sample, sample).real) / sample.size for sample in self.samples]
        return sum(found) / len(found) if found else None

    def values(self, rank: float) -> float:
        """Values of a block of a rank, which is dense where it would have more."""
        return min(rank * (self.rows + self.cols), float(self.entries))

    def evaluated(self, rank: float) -> float:
        """Entries that are evaluated for a block of a rank; where that is too high, its parts have them again."""
        skeletons = rank * (self.rows + self.cols) + DRAWN * (rank + SPARE) * self.cols
        if skeletons < self.entries:
            return skeletons
        return float(self.entries if self.is_leaf else 2 * self.entries)


@dataclass(frozen=True)
class Look:
    """Samples of the blocks of a plan.

    Attributes
    ----------
    kinds : list
        The blocks, by kind and size.
    copies : int
        Times that they are in the matrix: 2 where they are one half of it.
    energy : float
        Mean energy of an entry of what was read, where that is known: a small one of several.
    """

    kinds: list[_Kind]
    copies: int
    energy: float = 0.0

    @property
    def blocks(self) -> int:
        """Blocks that were looked at."""
        return sum(len(kind.samples) for kind in self.kinds)

    @property
    def entries(self) -> int:
        """Entries of them that were."""
        return sum(sample.size for kind in self.kinds for sample in kind.samples)

    def promise(self, tol: float, *, is_sampled: bool) -> Promise:
        """What the samples foretell for a tolerance, where blocks are read in full or sampled."""
        known = [kind.density for kind in self.kinds]
        least = min((each for each in known if each is not None), default=self.energy)
        densities = [least if each is None else each for each in known]
        counts = [self.copies * kind.weight * kind.entries for kind in self.kinds]
        energy = math.fsum(count * density for count, density in zip(counts, densities, strict=True))
        positions = math.ceil(self.copies * sum(kind.weight * (kind.rows + kind.cols) for kind in self.kinds))
        level = level_of(tol, ROUNDED_DOWN * energy, positions, is_sampled=is_sampled)
        with single_threaded_blas():
            ranks = [[_rank_of(sample, kind, level) for sample in kind.samples] for kind in self.kinds]
        pairs = list(zip(self.kinds, ranks, strict=True))
        values = sum(kind.weight * _mean(found, kind.values) for kind, found in pairs)
        evaluated = sum(kind.weight * _mean(found, kind.evaluated) for kind, found in pairs)
        far = [_mean(found, float) for kind, found in pairs if not kind.is_leaf]
        return Promise(level, values, evaluated, max(far, default=0.0))


def _mean(ranks: list[float], cost: Callable[[float], float]) -> float:
    """Mean cost of blocks of some ranks; of a kind that nothing is known of, that of the largest."""
    return sum(map(cost, ranks)) / len(ranks) if ranks else cost(math.inf)


def look_at_blocks(plan: HierarchicalPlan, source: MatrixSource) -> Look:
    """Look at some blocks of a matrix that is planned.

    Parameters
    ----------
    plan : HierarchicalPlan
        The plan.
    source : MatrixSource
        The matrix.
    """
    rng, info = np.random.default_rng(0), source.info
    chunk = math.prod(1 if edges is None else int(np.max(np.diff(edges))) for edges in info.edges)
    limit = max(LEAST_READ, chunk * np.dtype(info.dtype).itemsize, min(READ, info.nbytes // PART_READ))
    window = open_window(source, limit, rng)
    assert window is not None  # it may have a chunk
    kinds = _count_kinds(plan, rng)
    windows = [window]
    for kind in kinds:
        _fill_samples(kind, plan, window, rng)
    if any(edges is not None for edges in info.edges):
        windows += _read_chunks(kinds, plan, source, rng)
    energies = [each.energy for each in windows if each.energy is not None]
    return Look(kinds, 2 if plan.is_half else 1, min(energies, default=0.0))


def _read_chunks(
    kinds: list[_Kind], plan: HierarchicalPlan, source: MatrixSource, rng: np.random.Generator
) -> list[Window]:
    """Read some chunks in which kinds lie that have no samples, small ones first, and look at all of these there."""
    windows: list[Window] = []
    for kind in sorted(kinds, key=lambda each: each.entries):
        if kind.samples or len(windows) == MOST_CHUNKS:
            continue
        r0, _, c0, _ = tile_of(*plan.trees, kind.blocks[int(rng.integers(len(kind.blocks)))])
        at = [p if tree.order is None else int(tree.order[p]) for p, tree in zip((r0, c0), plan.trees, strict=True)]
        windows.append(open_chunk(source, *at))
        for other in kinds:
            if not other.samples:
                _fill_samples(other, plan, windows[-1], rng)
    return windows


def _count_kinds(plan: HierarchicalPlan, rng: np.random.Generator) -> list[_Kind]:
    """Kinds of the blocks of a plan, with their estimated numbers."""
    near: list[Block] = []
    kinds: dict[tuple[bool, int, int], _Kind] = {}
    for block in plan.regions:
        if is_admissible(*plan.trees, block, plan.eta):
            _count(kinds, plan, block, 1.0)
        else:
            near.append(block)
    count = min(NEAR_REGIONS, len(near))
    for at in rng.choice(len(near), count, replace=False) if count else ():
        for block in _leaves(plan, near[at]):
            _count(kinds, plan, block, len(near) / count)
    return list(kinds.values())


def _leaves(plan: HierarchicalPlan, region: Block) -> Iterator[Block]:
    """Blocks into which a region is divided by its clusters alone."""
    waiting = [region]
    while waiting:
        block = waiting.pop()
        tile = tile_of(*plan.trees, block)
        if plan.is_half and is_above_diagonal((tile.r0, tile.r1), (tile.c0, tile.c1)):
            continue
        parts = [] if is_admissible(*plan.trees, block, plan.eta) else list(divide(*plan.trees, block))
        waiting += parts
        if not parts:
            yield block


def _count(kinds: dict[tuple[bool, int, int], _Kind], plan: HierarchicalPlan, block: Block, weight: float) -> None:
    tile = tile_of(*plan.trees, block)
    is_diagonal = tile[:2] == tile[2:]
    is_leaf = (block.row_level, block.col_level) == (plan.trees[0].levels, plan.trees[1].levels)
    new = _Kind(0.0, tile.r1 - tile.r0, tile.c1 - tile.c0, is_leaf, [], [])
    known = kinds.setdefault((is_diagonal, block.row_level, block.col_level), new)
    known.weight += weight
    known.blocks.append(block)


def _fill_samples(kind: _Kind, plan: HierarchicalPlan, window: Window, rng: np.random.Generator) -> None:
    """Look at some blocks of a kind."""
    for at in rng.permutation(_within(kind, plan, window))[: 4 * OF_A_KIND]:
        if len(kind.samples) == OF_A_KIND:
            return
        block = kind.blocks[at]
        tile = tile_of(*plan.trees, block)
        rows = _lines(plan.trees[0], (tile.r0, tile.r1), window.rows, rng)
        cols = _lines(plan.trees[1], (tile.c0, tile.c1), window.cols, rng)
        least = min(FEWEST, kind.rows, kind.cols)
        if min(rows.size, cols.size) >= least and window.has_room(rows.size * cols.size, cols.size):
            kind.samples.append(window.read(rows, cols))


def _within(kind: _Kind, plan: HierarchicalPlan, window: Window) -> Index:
    """Numbers of the blocks of a kind that may have entries in a window: all, where points scatter them."""
    known = np.arange(len(kind.blocks))
    for which, (tree, lines) in enumerate(zip(plan.trees, (window.rows, window.cols), strict=True)):
        if lines is None or tree.order is not None:  # else ranges of lines are compared with those of clusters
            continue
        spans = np.array([tile_of(*plan.trees, block)[2 * which : 2 * which + 2] for block in kind.blocks])
        counts = np.diff(np.searchsorted(lines, spans), axis=1)[:, 0]
        known = known[counts[known] >= min(FEWEST, kind.rows, kind.cols)]
    return known


def _lines(tree: ClusterTree, span: tuple[int, int], known: Index | None, rng: np.random.Generator) -> Index:
    """Some rows of a cluster, ascending, that a window has."""
    lines = np.arange(*span) if tree.order is None else tree.order[slice(*span)]
    if known is not None:
        lines = lines[np.isin(lines, known)]
    strata = np.unique(np.linspace(0, lines.size, SIDE + 1).astype(np.int64)) if lines.size > SIDE else None
    if strata is not None:
        lines = lines[strata[:-1] + np.floor(rng.random(SIDE) * np.diff(strata)).astype(np.int64)]
    return np.sort(lines)


def _rank_of(sample: NDArray[Any], kind: _Kind, level: float) -> float:
    """Rank that the sample of a block foretells; of one that is still rising, it is taken to rise with the size."""
    allowed = level * (kind.rows + kind.cols) * sample.size / kind.entries
    squares = np.linalg.svd(sample, compute_uv=False) ** 2
    tails = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    rank, smaller = int(np.argmax(tails <= allowed)), min(sample.shape)
    return float(rank) if 2 * rank <= smaller else rank / smaller * min(kind.rows, kind.cols)
