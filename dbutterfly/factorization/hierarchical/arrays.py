"""Create the arrays of a hierarchical run, and forget the tasks whose arrays are damaged or gone."""

from __future__ import annotations

import logging

import numpy as np

from ...errors import CheckpointError
from ...execution.task import Record, done_name
from .band_pieces import BANDS
from .job import PANELS, REGIONS, HierarchicalJob, hierarchical_arrays

__all__ = ["create_hierarchical_arrays", "forget_damaged_rows"]

_log = logging.getLogger("dbutterfly")


def create_hierarchical_arrays(job: HierarchicalJob) -> None:
    """Create the arrays that are not there yet; tasks whose array an earlier sitting has lost are done again."""
    begun: dict[str, bool] = {}
    for name, stage, shape, chunks, dtype in hierarchical_arrays(job.plan):
        created = job.workspace.create(name, shape, chunks, dtype)
        if name == done_name(stage):
            begun[stage] = not created
        elif created and begun[stage]:
            _log.warning("the run that is continued has left no array %s: its tasks are done again", name)
            _forget(job, stage, range(job.plan.tasks[stage]))


def forget_damaged_rows(job: HierarchicalJob, error: CheckpointError) -> CheckpointError:
    """Forget that the tasks have ended that wrote what is damaged, and say so."""
    stage = PANELS if error.name in ("pieces", BANDS) else REGIONS
    span = error.selection[0] if error.selection else slice(None)
    rows = range(*span.indices(_rows_of(job, error.name)))
    tasks = rows if stage == REGIONS else _panels_of(job, rows)
    _forget(job, stage, tasks)
    message = f"{error}; it was not used, and the same call computes it again ({len(tasks)} of the {stage} tasks)"
    return CheckpointError(message, error.name, error.selection)


def _rows_of(job: HierarchicalJob, name: str) -> int:
    return next(shape[0] for known, _, shape, _, _ in hierarchical_arrays(job.plan) if known == name)


def _panels_of(job: HierarchicalJob, pieces: range) -> list[int]:
    """Panels that have written some pieces."""
    assert job.plan.copy is not None
    return sorted({job.plan.copy.pieces[number].panel for number in pieces})


def _forget(job: HierarchicalJob, stage: str, tasks: range | list[int]) -> None:
    row = np.full((1, len(Record._fields)), np.nan)
    for number in tasks:
        job.workspace.write(done_name(stage), (slice(number, number + 1),), row)
