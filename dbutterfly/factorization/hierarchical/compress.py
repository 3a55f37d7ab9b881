"""Fit a region of a matrix: blocks of low rank where they have fewer values, dense ones where they are not divided.

Blocks of clusters that are far apart are tried as they are, from the largest on. One that needs too high a rank is
divided, as are those near the diagonal. Leaves are tried too: even neighbours have a low rank where points are many to
a diameter.

Where a large block has too high a rank, a butterfly may have fewer values (:mod:`.butterflies`).

Of an entry function, a block that is far away is known from skeletons: some of its columns and rows, which are found
from each other (:mod:`.skeletons`). Others are evaluated in full.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array, Backend
from ...kernels.low_rank.truncated import energy_of, low_rank_of, low_rank_within
from ...operator.block_factors import BlockFactors
from ...structure.axes import Index
from ...structure.block_tree import Block, ClusterTree, divide, is_admissible
from .butterflies import HIGH_RANK, SMALLEST, Butterflies
from .fitted import FittedBlock, Settings, dense_block, zero_block
from .skeletons import Estimated, Take, fit_skeletons, is_cheaper_in_full

__all__ = ["compress_region", "sample_region"]

WORTH = 0.5
"""Values of a block of low rank over those of the dense one from which it is divided instead. Not tuned: its parts have
half the values at the same rank if theirs is half of it."""

FIRST_RANK = 12
"""Rank that is expected of the first block of a level; of others, that of the one before. Not tuned."""


def compress_region(
    values: NDArray[Any], rows: ClusterTree, cols: ClusterTree, region: Block, settings: Settings, backend: Backend
) -> list[FittedBlock]:
    """Fit the blocks of a region.

    Parameters
    ----------
    values : array, shape (m, n)
        Entries of the region, in the order of the clusters, finite and of a floating or complex dtype.
    rows, cols : ClusterTree
        Clusters of both sides of the matrix.
    region : Block
        The region.
    settings : Settings
        How blocks are fitted.
    backend : Backend
        Array library.

    Returns
    -------
    list of FittedBlock
        Blocks that cover the region once, with factors on the host.
    """
    return list(_WholeRegion(values, rows, cols, region, settings, backend).fit(region))


def sample_region(
    take: Take, rows: ClusterTree, cols: ClusterTree, region: Block, settings: Settings
) -> tuple[list[FittedBlock], int]:
    """Fit the blocks of a region of an entry function, of which a part of the entries is evaluated.

    Parameters
    ----------
    take : callable
        Evaluates the entries at the crossings of some positions of the rows and of the columns.
    rows, cols, region, settings
        As for :func:`compress_region`.

    Returns
    -------
    list of FittedBlock
        Blocks that cover the region once.
    int
        Number of entries that were evaluated.
    """
    found = _SampledRegion(take, rows, cols, settings)
    return list(found.fit(region)), found.evaluated


class _Region(ABC):
    """A region, and the ranks that its blocks of each level had last."""

    def __init__(self, rows: ClusterTree, cols: ClusterTree, settings: Settings) -> None:
        self.rows, self.cols, self.settings = rows, cols, settings
        self.ranks: dict[tuple[int, int], int] = {}

    @abstractmethod
    def entries(self, block: Block) -> Array:
        """Entries of a block."""

    @abstractmethod
    def approximate(self, block: Block, allowed: float, most: int, expected: int) -> Estimated | None:
        """Approximate a block by one of low rank; None where that takes more than a rank of use."""

    def approximate_in_full(self, block: Block, allowed: float, most: int, expected: int) -> Estimated | None:
        """Approximate a block from all of its entries."""
        entries, rank = self.entries(block), self.settings.rank
        cut = low_rank_within(entries, allowed, most, expected) if rank is None else low_rank_of(entries, rank)
        return None if cut is None else Estimated(cut)

    def fit_butterfly(self, block: Block, allowed: float, fewer: float) -> FittedBlock | None:  # noqa: ARG002
        """Fit a block by a butterfly of fewer values; None where there is none."""
        return None

    def to_host(self, array: Array) -> NDArray[Any]:
        """Array on the host."""
        return np.asarray(array)

    def spans(self, block: Block) -> tuple[tuple[int, int], tuple[int, int]]:
        """Positions of the rows and of the columns of a block."""
        return self.rows.span(block.row_level, block.row), self.cols.span(block.col_level, block.col)

    def fit(self, block: Block) -> Iterator[FittedBlock]:
        """Fit a block, or its parts."""
        parts, spans = list(divide(self.rows, self.cols, block)), self.spans(block)
        is_far = is_admissible(self.rows, self.cols, block, self.settings.eta)
        if is_far or (not parts and self.settings.rank is None and spans[0] != spans[1]):
            found = self._fit_low_rank(block, is_leaf=not parts)
            if found is not None:
                yield found
                return
        if not parts:
            entries = self.entries(block)
            yield dense_block(*spans, self.to_host(entries), energy_of(entries))
        for part in parts:
            yield from self.fit(part)

    def _fit_low_rank(self, block: Block, *, is_leaf: bool) -> FittedBlock | None:
        """Fit a block of low rank; None where that is not worth it."""
        settings, spans = self.settings, self.spans(block)
        rows, cols = (last - first for first, last in spans)
        if settings.rank is not None and settings.rank * (rows + cols) >= rows * cols:
            return None
        most = (rows * cols * (1 if is_leaf else WORTH) - 1) // (rows + cols)
        level = block.row_level, block.col_level
        expected = self.ranks.get(level, FIRST_RANK)
        found = self.approximate(block, settings.level * (rows + cols), int(most), expected)
        if found is not None:
            self.ranks[level] = found.cut.left.shape[1]
        rank = most if found is None else self.ranks[level]
        if settings.rank is None and rank >= HIGH_RANK and min(rows, cols) >= SMALLEST:
            other = self.fit_butterfly(block, settings.level * (rows + cols), rank * (rows + cols))
            if other is not None:
                return other
        return None if found is None else low_rank_block(*spans, found.map(self.to_host))


class _WholeRegion(_Region):
    """A region in memory."""

    def __init__(
        self,
        values: NDArray[Any],
        rows: ClusterTree,
        cols: ClusterTree,
        region: Block,
        settings: Settings,
        backend: Backend,
    ) -> None:
        super().__init__(rows, cols, settings)
        self._backend, self._values = backend, backend.to_device(values)
        self._butterflies = Butterflies(backend)
        (self._first_row, _), (self._first_col, _) = self.spans(region)

    def to_host(self, array: Array) -> NDArray[Any]:
        return self._backend.to_host(array)

    def entries(self, block: Block) -> Array:
        (r0, r1), (c0, c1) = self.spans(block)
        row, col = self._first_row, self._first_col
        return self._values[r0 - row : r1 - row, c0 - col : c1 - col]

    def approximate(self, block: Block, allowed: float, most: int, expected: int) -> Estimated | None:
        return self.approximate_in_full(block, allowed, most, expected)

    def fit_butterfly(self, block: Block, allowed: float, fewer: float) -> FittedBlock | None:
        entries = self.entries(block)
        return self._butterflies.fit(self.to_host(entries), self.spans(block), allowed, energy_of(entries), fewer)


class _SampledRegion(_Region):
    """A region of an entry function."""

    def __init__(self, take: Take, rows: ClusterTree, cols: ClusterTree, settings: Settings) -> None:
        super().__init__(rows, cols, settings)
        self._take, self.evaluated = take, 0
        self._known: tuple[Block, NDArray[Any]] | None = None

    def take(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Evaluate entries, and count them."""
        self.evaluated += rows.size * cols.size
        return self._take(rows, cols)

    def entries(self, block: Block) -> NDArray[Any]:
        if self._known is None or self._known[0] != block:
            self._known = block, self.take(*(np.arange(*span, dtype=np.int64) for span in self.spans(block)))
        return self._known[1]

    def approximate(self, block: Block, allowed: float, most: int, expected: int) -> Estimated | None:
        spans, rank = self.spans(block), self.settings.rank
        if rank is not None:
            allowed, most, expected = 0.0, rank, rank
        (r0, r1), (c0, c1) = spans
        if is_cheaper_in_full(r1 - r0, c1 - c0, expected):
            return self.approximate_in_full(block, allowed, most, expected)
        return fit_skeletons(self.take, spans, allowed, most, expected)


def low_rank_block(rows: tuple[int, int], cols: tuple[int, int], found: Estimated) -> FittedBlock:
    """Block of low rank, with arrays on the host."""
    cut = found.cut
    rank = cut.left.shape[1]
    dropped = float(np.sum(cut.values[rank:] ** 2))
    lower = 0.0 if found.is_sampled else dropped
    if rank == 0:
        zeros = zero_block(rows, cols, cut.energy)
        return zeros._replace(lower=0.0, deviation=found.deviation) if found.is_sampled else zeros
    kept = BlockFactors(rows, cols, (cut.left[None, :, :, None], cut.right[None, :, :, None]))
    return FittedBlock(kept, cut.energy, dropped + cut.rest, lower, found.deviation, cut.values)
