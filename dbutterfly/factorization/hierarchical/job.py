"""What all tasks of a hierarchical run share, and the arrays that they fill.

array           shape                 what
pieces          (pieces, entries)     what panels have of regions, where a copy is made
bands           (pieces, entries)     the same, where that is one in bands (:mod:`.band_pieces`)
values          (regions, entries)    values of the blocks of a region, as far as it has any
table           (regions, numbers)    what these blocks are (:mod:`.encoding`)
done/STAGE      (tasks, 9)            that a task has ended: the fields of its ``Record``

Rows are as long as the longest can be. Of each, the chunks at its beginning are written that are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...execution.task import Output, Record, done_name
from ...planning.bands import BandCopy
from ...planning.hierarchical_plan import HierarchicalPlan
from ...planning.pieces import padded
from ...storage.row_workspace import RowWorkspace
from ...storage.workspace import Workspace
from ..job import MatrixJob
from .band_pieces import BANDS
from .encoding import HEAD, Head
from .fitted import Settings
from .rows import read_row, row_output

__all__ = [
    "PANELS",
    "REGIONS",
    "HierarchicalJob",
    "hierarchical_arrays",
    "memory_workspace",
    "read_region",
    "region_outputs",
    "settings_of",
]

PANELS, REGIONS = "panels", "regions"
"""Names of the stages."""

ROWS = ("pieces", BANDS, "values", "table")
"""Names of the arrays of which the beginnings of rows are written."""

CHUNK_BYTES = 1 << 18
"""Bytes of a chunk of values: of each region, half of one is written in vain on average. Not tuned."""

TABLE_CHUNK = 1 << 10
"""Numbers of a chunk of a table. Not tuned: some tens of blocks."""

LONGEST = 32
"""Numbers of a table for each entry of a region at most: no block has fewer entries than one."""


@dataclass(frozen=True, eq=False)
class HierarchicalJob(MatrixJob):
    """What the tasks of a hierarchical run share; see :class:`~dbutterfly.factorization.job.MatrixJob`."""

    plan: HierarchicalPlan

    @property
    def prefetch(self) -> bool:
        """Whether a worker reads for the next task while it computes one, as the plan says."""
        return self.plan.prefetch

    @property
    def reads_tiles(self) -> bool:
        """Whether tasks read their regions, or panels: those of sampled regions read none."""
        return not self.plan.source.sampled


def settings_of(plan: HierarchicalPlan) -> Settings:
    """What is asked of the blocks of a region."""
    return Settings(level=plan.level, rank=plan.rank, eta=plan.eta, is_half=plan.is_half)


def memory_workspace() -> Workspace:
    """Workspace of a run without a store."""
    return RowWorkspace(ROWS)


def hierarchical_arrays(plan: HierarchicalPlan) -> Iterator[tuple[str, str, tuple[int, int], tuple[int, int], Any]]:
    """Arrays of the workspace: name, stage that writes it, shape, chunks and dtype."""
    fields = len(Record._fields)
    for stage, tasks in plan.tasks.items():
        yield done_name(stage), stage, (tasks, fields), (1, fields), np.float64
    work = np.dtype(plan.source.work_dtype)
    if plan.copy is not None:
        pieces = len(plan.copy.pieces)
        name = BANDS if isinstance(plan.copy, BandCopy) else "pieces"
        yield name, PANELS, (pieces, plan.copy.capacity), (1, plan.copy.chunk), work
    largest = max((tile.r1 - tile.r0) * (tile.c1 - tile.c0) for tile in plan.tiles)
    chunk, regions = CHUNK_BYTES // work.itemsize, len(plan.regions)
    yield "values", REGIONS, (regions, padded(2 * largest, chunk)), (1, chunk), work
    yield "table", REGIONS, (regions, padded(HEAD + LONGEST * largest, TABLE_CHUNK)), (1, TABLE_CHUNK), np.float64


def read_region(workspace: Workspace, plan: HierarchicalPlan, region: int) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Values and table of a region."""
    head = Head.of(read_row(workspace, "table", region, HEAD, TABLE_CHUNK))
    table = read_row(workspace, "table", region, head.table, TABLE_CHUNK)
    if not head.values:
        return np.empty(0, plan.source.work_dtype), table
    return read_row(workspace, "values", region, head.values, CHUNK_BYTES // plan.itemsize), table


def region_outputs(
    plan: HierarchicalPlan, region: int, values: NDArray[Any], table: NDArray[np.float64]
) -> list[Output]:
    """Outputs of the task of a region."""
    of_table = row_output("table", region, [table], TABLE_CHUNK)
    if not values.size:
        return [of_table]
    return [row_output("values", region, [values], CHUNK_BYTES // plan.itemsize), of_table]
