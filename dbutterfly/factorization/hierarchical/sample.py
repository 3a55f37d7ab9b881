"""Fit a region of an entry function, of which a part of the entries is evaluated.

A block that is far away is known from skeletons: some of its columns and rows, which are found from each other
(:mod:`.skeletons`). Others are evaluated in full, as are leaves that may touch: with a kernel of short range, a few
pairs of their points have all of the energy, and samples miss them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...kernels.low_rank.truncated import low_rank_of, low_rank_within
from ...structure.axes import Index
from ...structure.block_tree import Block, ClusterTree, is_admissible, nearest_columns, nearest_rows
from .fitted import FittedBlock, Settings
from .region import FIRST_RANK, Region, low_rank_block
from .skeletons import COMPARED, NEAREST, Estimated, Near, Take, fit_skeletons, is_cheaper_in_full

__all__ = ["sample_region"]


def sample_region(
    take: Take, rows: ClusterTree, cols: ClusterTree, region: Block, settings: Settings
) -> tuple[list[FittedBlock], int]:
    """Fit the blocks of a region of an entry function, of which a part of the entries is evaluated.

    Parameters
    ----------
    take : callable
        Evaluates the entries at the crossings of some positions of the rows and of the columns.
    rows, cols, region, settings
        As for :func:`~dbutterfly.factorization.hierarchical.compress.compress_region`.

    Returns
    -------
    list of FittedBlock
        Blocks that cover the region once.
    int
        Number of entries that were evaluated.
    """
    found = _SampledRegion(take, rows, cols, settings)
    return list(found.fit(region)), found.evaluated


class _SampledRegion(Region):
    """A region of an entry function, and the ranks that its blocks of each level had last."""

    def __init__(self, take: Take, rows: ClusterTree, cols: ClusterTree, settings: Settings) -> None:
        super().__init__(rows, cols, settings)
        self._take, self.evaluated = take, 0
        self._ranks: dict[tuple[int, int], int] = {}
        self._known: tuple[Block, NDArray[Any]] | None = None

    def take(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Evaluate entries, and count them."""
        self.evaluated += rows.size * cols.size
        return self._take(rows, cols)

    def entries(self, block: Block) -> NDArray[Any]:
        if self._known is None or self._known[0] != block:
            self._known = block, self.take(*(np.arange(*span, dtype=np.int64) for span in self.spans(block)))
        return self._known[1]

    def fit(self, block: Block) -> Iterator[FittedBlock]:
        """Fit a block, or its parts."""
        parts = self.parts(block)
        if self.is_tried(block, is_leaf=not parts):
            found = self._approximate(block, is_leaf=not parts)
            if found is not None:
                self._ranks[block.row_level, block.col_level] = found.cut.left.shape[1]
                yield low_rank_block(*self.spans(block), found)
                return
        if not parts:
            yield self.dense(block)
        for part in parts:
            yield from self.fit(part)

    def _approximate(self, block: Block, *, is_leaf: bool) -> Estimated | None:
        """Approximate a block by one of low rank; None where that takes more than a rank of use."""
        shape, rank = self.shape(block), self.settings.rank
        expected = self._ranks.get((block.row_level, block.col_level), FIRST_RANK) if rank is None else rank
        allowed = self.allowed(shape) if rank is None else 0.0
        most = self.largest_rank(shape, is_leaf=is_leaf) if rank is None else rank
        is_far = is_admissible(self.rows, self.cols, block, self.settings.eta)
        if is_far and not is_cheaper_in_full(*shape, expected):
            return fit_skeletons(self.take, self.spans(block), allowed, most, expected, self._near(block))
        entries = self.entries(block)
        cut = low_rank_within(entries, allowed, most, expected) if rank is None else low_rank_of(entries, rank)
        return None if cut is None else Estimated(cut)

    def _near(self, block: Block) -> Near | None:
        """Where the clusters of a block are nearest to each other; None without points."""
        nearest = nearest_rows(self.rows, self.cols, block, NEAREST)
        if nearest is None:
            return None
        chosen = nearest[:: -(-nearest.size // COMPARED)]
        return Near(nearest, (chosen, nearest_columns(self.rows, self.cols, block, chosen)))
