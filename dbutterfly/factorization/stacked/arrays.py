"""Create the arrays of a round, and forget the tasks whose arrays are damaged or gone."""

from __future__ import annotations

import logging

import numpy as np

from ...errors import CheckpointError
from ...execution.task import Record, done_name
from .job import StackJob
from .tasks import tasks_of

__all__ = ["create_stack_arrays", "forget_damaged_matrices"]

_log = logging.getLogger("dbutterfly")


def create_stack_arrays(job: StackJob) -> None:
    """Create the arrays that are not there yet; tasks whose array an earlier sitting has lost are done again."""
    done, *arrays = job.arrays()
    has_begun = not job.workspace.create(*done)
    for name, shape, chunks, dtype in arrays:
        if job.workspace.create(name, shape, chunks, dtype) and has_begun:
            _log.warning("the run that is continued has left no array %s: its tasks are done again", name)
            _forget(job, name, 0, shape[0])


def forget_damaged_matrices(job: StackJob, error: CheckpointError) -> CheckpointError:
    """Forget that the tasks have ended that wrote what is damaged, and say so."""
    span = error.selection[0] if error.selection else slice(None)
    count = _forget(job, error.name, span.start or 0, span.stop)
    message = f"{error}; it was not used, and the same call computes it again ({count} of the {job.stage} tasks)"
    return CheckpointError(message, error.name, error.selection)


def _forget(job: StackJob, name: str, first: int, last: int | None) -> int:
    """Take back that the tasks have ended that write a range of an array; their number."""
    batch = int(name.partition("/")[0])
    tasks = [
        number
        for number, task in enumerate(tasks_of(job.plan))
        if task.batch == batch and task.last > first and (last is None or task.first < last)
    ]
    row = np.full((1, len(Record._fields)), np.nan)
    for number in tasks:
        job.workspace.write(done_name(job.stage), (slice(number, number + 1),), row)
    return len(tasks)
