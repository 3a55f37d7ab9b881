"""What a run leaves behind for its report: when each task ran, and where in the matrix the error lies.

Both are small beside the factors: nine numbers for each task, and a map of at most :data:`CELLS` cells on a side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...execution.task import Record
from ...planning.tilings import root_position
from ...structure.chain import Chain
from ...structure.tree import Tree
from ..block_stats import BlockStats

__all__ = ["LEAST_DECADE", "Trace", "residual_map", "root_groups", "trace_of"]

CELLS = 64
"""Most cells of the map on a side; more would not be told apart on a page."""

LEAST_DECADE = -4
"""Power of ten at which the scale of maps begins, which is logarithmic up to 1. Not tuned: it is one for all runs, and
0.1 and 0.5 are told apart on it."""


@dataclass(frozen=True, eq=False)
class Trace:
    """What the tasks of a run did.

    Attributes
    ----------
    stages : tuple of str
        Names of the stages, in their order.
    tasks : array, shape (tasks, 1 + fields)
        Number of the stage of each task, then the fields of its :class:`~dbutterfly.execution.task.Record`.
    residuals : array, shape (h, w)
        Relative residual of the blocks of the root cut, ``sqrt(sum ||R_b||^2 / sum ||Z_b||^2)`` over each cell: the row
        groups from top to bottom, the column groups from left to right, in the order of the storage.
    """

    stages: tuple[str, ...]
    tasks: NDArray[np.float64]
    residuals: NDArray[np.float64]

    def __repr__(self) -> str:
        cells = " x ".join(map(str, self.residuals.shape))
        return f"<Trace of {len(self.tasks)} tasks, {', '.join(self.stages)}; residuals in {cells} cells>"

    def of_stage(self, stage: str) -> NDArray[np.float64]:
        """Records of the tasks of a stage, one a row."""
        return self.tasks[self.tasks[:, 0] == self.stages.index(stage), 1:]

    def to_arrays(self) -> dict[str, NDArray[np.float64]]:
        """What a store keeps, besides the names of the stages, which are those of the record."""
        return {"tasks": self.tasks, "residuals": self.residuals}

    @classmethod
    def from_arrays(cls, stages: Any, arrays: Mapping[str, NDArray[Any]]) -> Trace | None:
        """Inverse of :meth:`to_arrays`; None where there is none, that of another version, or no sense.

        Records that were written before digests were kept are one field shorter.
        """
        if not {"tasks", "residuals"} <= arrays.keys() or arrays["tasks"].ndim != 2:
            return None
        tasks, residuals = arrays["tasks"], arrays["residuals"]
        missing = 1 + len(Record._fields) - tasks.shape[1]
        if missing not in (0, 1):
            return None
        tasks = np.pad(tasks, ((0, 0), (0, missing)))
        numbered = np.isin(tasks[:, 0], np.arange(len(stages))).all()
        if not (numbered and np.isfinite(tasks).all() and residuals.ndim == 2 and np.isfinite(residuals).all()):
            return None
        return cls(tuple(stages), tasks, residuals)


def trace_of(rows: Mapping[str, NDArray[np.float64]], stats: BlockStats) -> Trace:
    """Trace of a run whose tasks have all ended.

    Parameters
    ----------
    rows : dict of array, shape (tasks, fields)
        Records of every stage.
    stats : BlockStats, shapes (u, q)
        Energies of the blocks for the rank of the chain.
    """
    numbered = [np.insert(records, 0, number, axis=1) for number, records in enumerate(rows.values())]
    return Trace(tuple(rows), np.concatenate(numbered), residual_map(stats.energy, stats.discarded))


def root_groups(chain: Chain, tree: Tree) -> tuple[int, int]:
    """Row groups and column groups of the root cut, over which a map extends; one each for a single factor."""
    position = root_position(tree)
    if not position:
        return 1, 1
    cut, *_ = chain.cut(position)
    return cut.row_groups, cut.col_groups


def residual_map(energy: NDArray[np.float64], discarded: NDArray[np.float64], cells: int = CELLS) -> NDArray[Any]:
    """Relative residual of blocks, by cells of neighbouring ones; zero where there is nothing.

    Parameters
    ----------
    energy, discarded : array, shape (u, q)
        Squared norms of the blocks, and of their residuals.
    cells : int
        Most cells on a side.
    """
    whole, lost = (_sum_cells(np.maximum(array, 0), cells) for array in (energy, discarded))
    return np.sqrt(np.divide(lost, whole, out=np.zeros_like(whole), where=whole > 0))


def _sum_cells(array: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    for axis, size in enumerate(array.shape):
        starts = np.arange(min(cells, size)) * size // min(cells, size)
        array = np.add.reduceat(array, starts, axis=axis)
    return array
