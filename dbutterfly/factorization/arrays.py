"""Create the arrays of a run's workspace, and forget the tasks whose arrays are damaged or gone."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np

from ..errors import CheckpointError
from ..execution.task import Record, done_name
from .job import FactorizationJob
from .workspace_arrays import WorkspaceArray, workspace_arrays, writers

__all__ = ["create_arrays", "create_first_arrays", "forget_damaged"]

_log = logging.getLogger("dbutterfly")


def create_first_arrays(job: FactorizationJob) -> list[WorkspaceArray]:
    """Create the arrays without which no task can begin.

    Parameters
    ----------
    job : FactorizationJob
        The run.

    Returns
    -------
    list of WorkspaceArray
        Arrays that are still to be created, by :func:`create_arrays`, before the second stage: of a run that begins,
        those of its later stages. A run that is continued has all of them now.
    """
    arrays = workspace_arrays(job.plan)
    done = {stage: arrays.pop(done_name(stage)) for stage in job.plan.tasks}
    begun = {stage for stage, array in done.items() if not _create(job, array)}
    first = next(iter(job.plan.tasks))
    for array in arrays.values():
        if begun or array.stage == first:
            created = _create(job, array)
            if created and array.stage in begun:
                _repeat_writers(job, array)
    return [] if begun else [array for array in arrays.values() if array.stage != first]


def create_arrays(job: FactorizationJob, arrays: Iterable[WorkspaceArray]) -> None:
    """Create arrays that are not there yet."""
    for array in arrays:
        _create(job, array)


def _create(job: FactorizationJob, array: WorkspaceArray) -> bool:
    """Create an array unless it is there; whether it was created."""
    return job.workspace.create(array.name, array.shape, array.chunks, array.dtype)


def _repeat_writers(job: FactorizationJob, array: WorkspaceArray) -> None:
    """Have all tasks done again that write an array which an earlier sitting has lost, or its version did not have."""
    stage, numbers = writers(job.plan, array.name, (slice(None),))
    if _forget(job, stage, numbers):
        _log.warning("the run that is continued has left no array %s: its %s tasks are done again", array.name, stage)


def forget_damaged(job: FactorizationJob, error: CheckpointError) -> CheckpointError:
    """Forget that the tasks have ended that wrote what is damaged, and say so."""
    stage, numbers = writers(job.plan, error.name, error.selection)
    _forget(job, stage, numbers)
    message = f"{error}; it was not used, and the same call computes it again ({len(numbers)} of the {stage} tasks)"
    return CheckpointError(message, error.name, error.selection)


def _forget(job: FactorizationJob, stage: str, numbers: list[int]) -> bool:
    """Take back that tasks have ended, where they have; whether there were any."""
    rows = job.workspace.read_rows(done_name(stage))
    ended = [number for number in numbers if not np.isnan(rows[number]).all()]
    for number in ended:
        row = np.full((1, len(Record._fields)), np.nan)
        job.workspace.write(done_name(stage), (slice(number, number + 1),), row)
    return bool(ended)
