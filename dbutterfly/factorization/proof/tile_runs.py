"""Running the tasks of a proof out of core, one stage of one cut at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...execution.engine import Engine
from ...execution.task import Record, Task, done_name
from ...storage.lease import Lease
from ..stages import run_tasks
from .tile_tasks import ProofJob

__all__ = ["TileRuns", "create_records"]


class TileRuns:
    """Runs the tasks of a stage that have not ended, and has them done again.

    Parameters
    ----------
    engine : Engine
        Where the tasks run.
    lease : Lease
        The right to write what they compute.
    progress : bool
        Whether to show a bar for every stage.
    """

    def __init__(self, engine: Engine, lease: Lease, *, progress: bool) -> None:
        self._engine, self._lease, self._progress = engine, lease, progress

    def run(self, job: ProofJob, tasks: Sequence[Task[Any]]) -> None:
        """Run the tasks of a stage that have not ended."""
        run_tasks(_CutRun(job, self._lease), self._engine, {tasks[0].stage: tasks}, progress=self._progress)

    def check_right(self) -> None:
        """Refuse to go on where another process has taken over the run."""
        self._lease.check()

    def forget(self, job: ProofJob, tasks: Sequence[Task[Any]]) -> None:
        """Have the tasks of a stage done again."""
        self.check_right()
        nothing = np.full((len(tasks), len(Record._fields)), np.nan)
        job.workspace.write(done_name(tasks[0].stage), (slice(None),), nothing)

    def count_ended(self, job: ProofJob, tasks: Sequence[Task[Any]]) -> int:
        """Number of the tasks of a stage that have ended."""
        rows = job.workspace.read_rows(done_name(tasks[0].stage))
        return int(np.count_nonzero(~np.isnan(rows).any(axis=1)))


def create_records(job: ProofJob, stages: Sequence[str]) -> None:
    """Make the arrays of the records of stages, if they are not there."""
    fields = len(Record._fields)
    for stage in stages:
        job.workspace.create(done_name(stage), (len(job.plan.tiles), fields), (1, fields), np.float64)


class _CutRun:
    """What running the tasks of one cut needs of a run."""

    def __init__(self, job: ProofJob, lease: Lease) -> None:
        self.job, self._lease = job, lease

    @property
    def stages(self) -> dict[str, Any]:
        """No summaries are kept."""
        return {}

    def record_stages(self, stages: dict[str, Any]) -> None:
        """Keep no summaries."""

    def check_right(self) -> None:
        """Refuse to go on where another process has taken over the run."""
        self._lease.check()
