"""Fit a region of a matrix: blocks of low rank where they have fewer values, dense ones where they are not divided.

The region is fitted level by level, so that blocks of one shape go to the kernels together: most are leaves, for which
the kernels take longer to be called one by one than to compute.

Where a large block has too high a rank, a butterfly may have fewer values (:mod:`.butterflies`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array, Backend, namespace
from ...kernels.low_rank.truncated import Truncated, energy_of, low_rank_of, low_ranks_within
from ...structure.block_tree import Block, ClusterTree
from .butterflies import HIGH_RANK, SMALLEST, Butterflies
from .fitted import FittedBlock, Settings
from .region import FIRST_RANK, Region, low_rank_block
from .skeletons import Estimated

__all__ = ["WholeRegion", "compress_region"]

Shape = tuple[int, int]


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
    return WholeRegion(values, rows, cols, region, settings, backend).fit(region)


class WholeRegion(Region):
    """A region in memory.

    Parameters
    ----------
    values, rows, cols, region, settings, backend
        As for :func:`compress_region`.
    """

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
        self.backend, self._values, self._itemsize = backend, backend.to_device(values), values.dtype.itemsize
        self._butterflies = Butterflies(backend)
        (self._first_row, _), (self._first_col, _) = self.spans(region)
        self._expected = FIRST_RANK

    def to_host(self, array: Array) -> NDArray[Any]:
        """Array on the host."""
        return self.backend.to_host(array)

    def entries(self, block: Block) -> Array:
        """Entries of a block."""
        (r0, r1), (c0, c1) = self.spans(block)
        row, col = self._first_row, self._first_col
        return self._values[r0 - row : r1 - row, c0 - col : c1 - col]

    def rows_held(self, block: Block) -> int:
        """Rows of the array that :meth:`entries` gives."""
        return self.shape(block)[0]

    def has_entries(self, block: Block) -> bool:  # noqa: ARG002
        """Whether :meth:`entries` gives the entries themselves: a butterfly of other numbers is none of the block."""
        return True

    def fit(self, region: Block) -> list[FittedBlock]:
        """Fit the blocks of a region, in the order in which blocks are divided."""
        found: dict[tuple[int, ...], FittedBlock] = {}
        waiting: dict[tuple[int, ...], Block] = {(): region}
        while waiting:
            parts = {path: self.parts(block) for path, block in waiting.items()}
            fitted = self._fit_level({block: not parts[path] for path, block in waiting.items()})
            divided: dict[tuple[int, ...], Block] = {}
            for path, block in waiting.items():
                if block in fitted or not parts[path]:
                    found[path] = fitted[block] if block in fitted else self.dense(block)
                else:
                    divided |= {(*path, number): part for number, part in enumerate(parts[path])}
            waiting = divided
        return [found[path] for path in sorted(found)]

    def _fit_level(self, blocks: dict[Block, bool]) -> dict[Block, FittedBlock]:
        """Those of the blocks of a level, each with whether it is a leaf, that are worth their factors."""
        groups: dict[tuple[Shape, bool, int], list[Block]] = {}
        for block, is_leaf in blocks.items():
            if self.is_tried(block, is_leaf=is_leaf):
                groups.setdefault((self.shape(block), is_leaf, self.rows_held(block)), []).append(block)
        found: dict[Block, FittedBlock] = {}
        for (shape, is_leaf, rows), group in groups.items():
            most = self.largest_rank(shape, is_leaf=is_leaf)
            for some in self._stacks(group, (rows, shape[1])):
                for block, cut in zip(some, self.cut(some, shape, most), strict=True):
                    fitted = self.choose(block, cut, most)
                    if fitted is not None:
                        found[block] = fitted
        return found

    def _stacks(self, blocks: Sequence[Block], shape: Shape) -> Iterator[Sequence[Block]]:
        """Blocks that are held in a shape, as many at a time as stay in the cache."""
        count = max(1, self.backend.stack_bytes // max(math.prod(shape) * self._itemsize, 1))
        for first in range(0, len(blocks), count):
            yield blocks[first : first + count]

    def cut(self, blocks: Sequence[Block], shape: Shape, most: int) -> Iterable[Truncated | None]:
        """Approximations of low rank of blocks of a shape; None where that takes more than a rank of use."""
        rank, entries = self.settings.rank, [self.entries(block) for block in blocks]
        if rank is not None:
            return [low_rank_of(each, rank) for each in entries]
        stack = namespace(entries[0]).stack(entries) if len(entries) > 1 else entries[0][None, ...]
        cuts = low_ranks_within(stack, self.allowed(shape), most, self._expected)
        ranks = [cut.left.shape[1] for cut in cuts if cut is not None]
        if ranks:
            self._expected = math.ceil(np.mean(ranks))
        return cuts

    def choose(self, block: Block, cut: Truncated | None, most: int) -> FittedBlock | None:
        """Block of low rank, or a butterfly where that has fewer values; None where neither is of use."""
        rank, (rows, cols) = most if cut is None else cut.left.shape[1], self.shape(block)
        is_tried = self.settings.rank is None and self.has_entries(block)
        if is_tried and rank >= HIGH_RANK and min(rows, cols) >= SMALLEST:
            entries, allowed, fewer = self.entries(block), self.allowed((rows, cols)), rank * (rows + cols)
            energy = energy_of(entries)
            other = self._butterflies.fit(self.to_host(entries), self.spans(block), allowed, energy, fewer)
            if other is not None:
                return other
        return None if cut is None else low_rank_block(*self.spans(block), Estimated(cut).map(self.to_host))
