"""Rows and columns of the matrix that blocks stand for, with which those of the matrix itself are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...operator.block_entries import BlockEntries
from ...planning.hierarchical_plan import HierarchicalPlan
from ...structure.axes import Index
from ...structure.padding import inverse_order
from ..results.line_estimates import ProductLines
from .fitted import FittedBlock

__all__ = ["lines_of_blocks"]


def lines_of_blocks(blocks: Sequence[FittedBlock], plan: HierarchicalPlan) -> ProductLines:
    """Rows and columns of the blocks of a plan, by their numbers in the matrix."""
    entries = BlockEntries([block.factors for block in blocks], np.dtype(plan.source.work_dtype), plan.symmetry)
    places = [
        np.arange(tree.size, dtype=np.int64) if tree.order is None else inverse_order(tree.order) for tree in plan.trees
    ]

    def product_lines(side: int, chosen: Index) -> Iterator[NDArray[Any]]:
        across = (0, plan.trees[1 - side].size)
        for number in chosen.tolist():
            at = int(places[side][number])
            one = (at, at + 1)
            line = entries.take(one, across)[0] if side == 0 else entries.take(across, one)[:, 0]
            yield line[places[1 - side]]

    return product_lines
