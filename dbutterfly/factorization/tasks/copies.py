"""Copy a panel of the matrix in another order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...execution.task import Inputs, Output, Task
from ...sources.base import MatrixSource
from ...structure.axes import Tile
from ..job import FactorizationJob
from .checks import first_bad_entry, non_finite_error
from .tiles import tile_label

__all__ = ["CopyTask"]


@dataclass(frozen=True)
class CopyTask(Task[FactorizationJob]):
    """Copy a panel of Z, with the groups of one side laid together."""

    stage: ClassVar[str] = "copy"
    panel: Tile

    @property
    def label(self) -> str:
        """Name with the range covered."""
        return tile_label("copy of panel", self.panel)

    def source_of(self, job: FactorizationJob) -> MatrixSource:
        """The matrix."""
        return job.source

    def read_source(self, job: FactorizationJob) -> Inputs:
        """Read the panel."""
        assert job.plan.copy is not None
        return {"grid": job.source.read(job.plan.copy.rows, job.plan.copy.cols, self.panel)}

    def bytes_read(self, job: FactorizationJob) -> int:
        """Bytes of the chunks of Z that the panel touches."""
        assert job.plan.copy is not None
        return job.source.bytes_touched(job.plan.copy.rows, job.plan.copy.cols, self.panel)

    def inspect(self, job: FactorizationJob, inputs: Inputs) -> int:
        """Compare the panel with the sample."""
        assert job.plan.copy is not None
        return job.inspect(inputs["grid"], job.plan.copy.rows, job.plan.copy.cols, self.panel)

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Unfold the groups; refuse NaN and infinities, which in the copy would mean what is not there."""
        copy, panel = job.plan.copy, self.panel
        assert copy is not None
        grid = inputs["grid"]
        if not all(np.isfinite(group).all() for group in grid):
            raise non_finite_error(job, first_bad_entry(grid, copy.rows, copy.cols, panel))
        rows, cols = ((panel.r1 - panel.r0) * copy.rows.members, (panel.c1 - panel.c0) * copy.cols.members)
        values = grid.transpose(0, 2, 1, 3).reshape(rows, cols).astype(job.plan.source.work_dtype, copy=False)
        at = (panel.r0 * copy.rows.members, panel.c0 * copy.cols.members)
        return [Output("copy", (slice(at[0], at[0] + rows), slice(at[1], at[1] + cols)), values)]
