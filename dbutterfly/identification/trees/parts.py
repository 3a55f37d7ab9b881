"""The two grids of smaller problems that a solved cut leaves, and the order of the whole from theirs."""

from __future__ import annotations

import numpy as np

from ...kernels.grouping.groups import block_parts
from ...structure.chain import Cut
from ..cuts import Index
from ..one_cut.arrangement import Arrangement

__all__ = ["compose", "nested_order", "parts_of"]


def parts_of(now: Arrangement, cut: Cut) -> tuple[Arrangement, Arrangement]:
    """Left and right parts of the blocks of a cut, as grids that are arranged as the whole is."""
    rank = min(cut.rank, now.grid.shape[2] // cut.row_groups, now.grid.shape[3] // cut.col_groups)
    left, right = block_parts(now.grid, cut.row_groups, cut.col_groups, rank)
    return Arrangement.of(left, (now.lines[0], rank)), Arrangement.of(right, (rank, now.lines[1]))


def compose(now: Arrangement, cut: Cut, left: Arrangement, right: Arrangement) -> Arrangement:
    """Arrange the whole as its parts have been arranged meanwhile."""
    rows = nested_order(right.rows, left.rows.reshape(len(now.rows), cut.row_groups, -1))
    cols = nested_order(left.cols, right.cols.reshape(len(now.cols), cut.col_groups, -1))
    return now.with_rows(rows).with_cols(cols)


def nested_order(groups: Index, inner: Index) -> Index:
    """Places (S, m) from the order (S, u) of the groups and that inside of each group (S, u, p)."""
    s, u, p = inner.shape
    places: Index = np.take_along_axis(inner, groups[:, :, None], axis=1) + p * groups[:, :, None]
    return places.reshape(s, u * p)
