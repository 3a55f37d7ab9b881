"""A region of a hierarchical matrix: which of its blocks are tried as blocks of low rank, and up to which rank.

Blocks of clusters that are far apart are tried as they are, from the largest on. One that needs too high a rank is
divided, as are those near the diagonal. Leaves are tried too: even neighbours have a low rank where points are many to
a diameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array
from ...kernels.low_rank.truncated import energy_of
from ...operator.block_factors import BlockFactors
from ...planning.regions import is_above_diagonal
from ...structure.block_tree import Block, ClusterTree, divide, is_admissible
from .fitted import FittedBlock, Settings, dense_block, zero_block
from .skeletons import Estimated

__all__ = ["FIRST_RANK", "Region", "low_rank_block"]

WORTH = 0.5
"""Values of a block of low rank over those of the dense one from which it is divided instead. Not tuned: its parts have
half the values at the same rank if theirs is half of it."""

FIRST_RANK = 12
"""Rank that is expected of the first block of a kind; of others, that of those before. Not tuned."""


class Region(ABC):
    """A region, its clusters, and how its blocks are to be fitted."""

    def __init__(self, rows: ClusterTree, cols: ClusterTree, settings: Settings) -> None:
        self.rows, self.cols, self.settings = rows, cols, settings

    @abstractmethod
    def entries(self, block: Block) -> Array:
        """Entries of a block."""

    def to_host(self, array: Array) -> NDArray[Any]:
        """Array on the host."""
        return np.asarray(array)

    def spans(self, block: Block) -> tuple[tuple[int, int], tuple[int, int]]:
        """Positions of the rows and of the columns of a block."""
        return self.rows.span(block.row_level, block.row), self.cols.span(block.col_level, block.col)

    def shape(self, block: Block) -> tuple[int, int]:
        """Rows and columns of a block."""
        return self.rows.count(block.row_level, block.row), self.cols.count(block.col_level, block.col)

    def parts(self, block: Block) -> list[Block]:
        """Blocks into which a block is divided, which are to be fitted; none of a leaf."""
        return [part for part in divide(self.rows, self.cols, block) if self.is_wanted(part)]

    def is_wanted(self, block: Block) -> bool:
        """Whether a block is to be fitted: not above the diagonal of a matrix of which one half is enough."""
        return not (self.settings.is_half and is_above_diagonal(*self.spans(block)))

    def is_tried(self, block: Block, *, is_leaf: bool) -> bool:
        """Whether a block may be of low rank, with fewer values than entries."""
        (rows, cols), rank = self.shape(block), self.settings.rank
        if is_admissible(self.rows, self.cols, block, self.settings.eta):
            return rank is None or rank * (rows + cols) < rows * cols
        spans = self.spans(block)
        return is_leaf and rank is None and spans[0] != spans[1]

    def largest_rank(self, shape: tuple[int, int], *, is_leaf: bool) -> int:
        """Largest rank of use: with a larger one, a block of this shape is divided, or dense."""
        rows, cols = shape
        return int((rows * cols * (1 if is_leaf else WORTH) - 1) // (rows + cols))

    def allowed(self, shape: tuple[int, int]) -> float:
        """Squared error that a block of this shape may have."""
        return self.settings.level * sum(shape)

    def dense(self, block: Block) -> FittedBlock:
        """All entries of a block."""
        entries = self.entries(block)
        return dense_block(*self.spans(block), self.to_host(entries), energy_of(entries))


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
