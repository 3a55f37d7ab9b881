"""Fit a region of a matrix: blocks of low rank where they have fewer values, dense ones where they are not divided.

Blocks of clusters that are far apart are tried as they are, from the largest on. One that needs too high a rank is
divided, as are those near the diagonal. Leaves are tried too: even neighbours have a low rank where points are many to
a diameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array, Backend
from ...kernels.low_rank.truncated import Truncated, energy_of, low_rank_of, low_rank_within
from ...operator.block_factors import BlockFactors
from ...structure.block_tree import Block, ClusterTree, divide, is_admissible
from .fitted import FittedBlock, Settings, dense_block, zero_block

__all__ = ["compress_region", "low_rank_block"]

WORTH = 0.5
"""Values of a block of low rank over those of the dense one from which it is divided instead. Not tuned: its parts have
half the values at the same rank if theirs is half of it."""

FIRST_RANK = 12
"""Rank that is expected of the first block of a level; of others, that of the one before. Not tuned."""


class _Region:
    """A region in memory, and the ranks that its blocks of each level had last."""

    def __init__(
        self, values: Array, rows: ClusterTree, cols: ClusterTree, region: Block, settings: Settings, backend: Backend
    ) -> None:
        self.values, self.rows, self.cols = values, rows, cols
        self.settings, self.backend = settings, backend
        self.corner = self.spans(region)[0][0], self.spans(region)[1][0]
        self.ranks: dict[int, int] = {}

    def spans(self, block: Block) -> tuple[tuple[int, int], tuple[int, int]]:
        """Positions of the rows and of the columns of a block."""
        return self.rows.span(block.row_level, block.row), self.cols.span(block.col_level, block.col)

    def take(self, block: Block) -> Array:
        """Entries of a block."""
        (r0, r1), (c0, c1) = self.spans(block)
        r, c = self.corner
        return self.values[r0 - r : r1 - r, c0 - c : c1 - c]


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
    return list(_fit(_Region(backend.to_device(values), rows, cols, region, settings, backend), region))


def _fit(region: _Region, block: Block) -> Iterator[FittedBlock]:
    """Fit a block, or its parts."""
    parts = list(divide(region.rows, region.cols, block))
    spans = region.spans(block)
    is_far = is_admissible(region.rows, region.cols, block, region.settings.eta)
    if is_far or (not parts and region.settings.rank is None and spans[0] != spans[1]):
        found = _fit_low_rank(region, block, is_leaf=not parts)
        if found is not None:
            yield found
            return
    if not parts:
        entries = region.take(block)
        yield dense_block(*spans, region.backend.to_host(entries), energy_of(entries))
    for part in parts:
        yield from _fit(region, part)


def _fit_low_rank(region: _Region, block: Block, *, is_leaf: bool) -> FittedBlock | None:
    """Fit a block of low rank; None where that is not worth it."""
    entries, settings, spans = region.take(block), region.settings, region.spans(block)
    rows, cols = entries.shape
    most = (rows * cols * (1 if is_leaf else WORTH) - 1) // (rows + cols)
    found: Truncated | None
    if settings.rank is not None:
        found = low_rank_of(entries, settings.rank) if settings.rank * (rows + cols) < rows * cols else None
    else:
        expected = region.ranks.get(block.row_level, FIRST_RANK)
        found = low_rank_within(entries, settings.level * (rows + cols), int(most), expected)
    if found is None:
        return None
    region.ranks[block.row_level] = found.left.shape[1]
    host = region.backend.to_host
    return low_rank_block(*spans, found._replace(left=host(found.left), right=host(found.right)))


def low_rank_block(rows: tuple[int, int], cols: tuple[int, int], found: Truncated) -> FittedBlock:
    """Block of low rank, with arrays on the host."""
    rank = found.left.shape[1]
    lower = float(np.sum(found.values[rank:] ** 2))
    if rank == 0:
        return zero_block(rows, cols, found.energy)
    ks_values = found.left[None, :, :, None], found.right[None, :, :, None]
    kept = BlockFactors(rows, cols, ks_values)
    return FittedBlock(kept, found.energy, lower + found.rest, lower, 0.0, found.values)
