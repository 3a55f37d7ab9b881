"""The arrays of a run's workspace: shape, chunks, writers.

    array      shape            by             what
    A          (u, q, k, p)     storage order  left parts of the blocks: rows are the columns of ``Z V``
    B          (q, u, k, v)     storage order  right parts ``V^H``, or ``X^H Z`` (k = r) where Z is read twice
    stats      (u, q, 1 + 2n)   storage order  energy of each block, then discarded energies and slacks of n ranks
    X          (u, q, r, p)     storage order  orthonormal columns, as rows, of the product of the left factors
    scale      (u, q, r, r)     storage order  ``X^H (Z V)``, by which the one-read B is multiplied
    left_error (u, q, 1 + r)    storage order  ``||A - X X^H A||^2`` of each block, squared sines of X to the range of A
    second     (u, q, 1)        storage order  ``||Z - X X^H Z||^2`` of each block, after a second read
    right_error (q, u, r)       storage order  ``||b - b'||^2`` of each row of B and of the product of right factors
    left_missed (u, cuts)       storage order  ``||given - product||^2`` of every node of the left tree, by its cut
    right_missed (q, cuts)      storage order  the same of the right tree; no such array where a half is one factor
    left/l     (u, a, b, c, d)  storage order  factors of the row groups
    right/l    (q, a, b, c, d)  storage order  factors of the column groups
    done/STAGE (tasks, 8)       task number    that the task has ended, with the fields of a ``Record``

Here r is the rank of the root cut, and k >= r the largest of the n ranks for which the tiles were split.
The row of ``done`` is the last thing that a task writes. "Storage order" is that of the copy where the plan makes one:

    copy       (M, N)           groups         the matrix with the groups of one side laid together
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ..errors import CheckpointError
from ..execution.task import Record, Task, done_name
from ..planning.plan import Plan
from ..storage.workspace import Selection
from .job import FactorizationJob
from .stages import stage_tasks
from .tasks.copies import CopyTask
from .tasks.halves import LeftTask, RightTask
from .tasks.projection import ProjectTask
from .tasks.tiles import TileTask

__all__ = ["create_arrays", "forget_damaged", "stage_of", "writers"]

_log = logging.getLogger("dbutterfly")


def writers(plan: Plan, name: str, selection: Selection) -> tuple[str, list[int]]:
    """Stage and numbers of the tasks that wrote into a range of an array of the workspace."""
    if name.startswith("done/"):
        return name.removeprefix("done/"), list(range(plan.tasks[name.removeprefix("done/")]))[selection[0]]
    stage = stage_of(plan, name)
    spans = [_span(plan, name, task) for task in stage_tasks(plan)[stage]]
    return stage, [number for number, span in enumerate(spans) if _overlap(span, selection)]


def stage_of(plan: Plan, name: str) -> str:
    """Stage whose tasks write into an array of the workspace."""
    if plan.split is None:
        return "tiles"
    stages = {"A": "tiles", "stats": "tiles", "second": "project", "copy": "copy"}
    stages["B"] = "tiles" if plan.passes == 1 else "project"
    if name in stages:
        return stages[name]
    return "right" if name.startswith("right") else "left"


def _span(plan: Plan, name: str, task: Task) -> Selection:
    """Range of an array that a task writes, as far as it is needed to tell the tasks apart."""
    if isinstance(task, CopyTask):
        assert plan.copy is not None
        t, p, v = task.panel, plan.copy.rows.members, plan.copy.cols.members
        return slice(t.r0 * p, t.r1 * p), slice(t.c0 * v, t.c1 * v)
    if isinstance(task, (TileTask, ProjectTask)):
        rows, cols = task.groups
        return (cols, rows) if name == "B" else (rows, cols)
    if isinstance(task, (LeftTask, RightTask)):
        return (slice(task.first, task.last),)
    return (slice(0, 1),)


def _overlap(span: Selection, selection: Selection) -> bool:
    return all(
        (b.start or 0) < a.stop and (b.stop is None or a.start < b.stop) for a, b in zip(span, selection, strict=False)
    )


class _Array(NamedTuple):
    """An array of the workspace, as it is made."""

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any


@contextlib.contextmanager
def create_arrays(job: FactorizationJob) -> Iterator[Callable[[], None]]:
    """Make the arrays of the table above, chunked so that a task writes whole chunks.

    Those of the first stage are there at once, and those of the others, of a run that begins, when the function that
    is yielded returns: they are made while the first stage runs.
    """
    planned, arrays = job.plan, list(_arrays(job))
    fields = len(Record._fields)
    begun = {
        stage
        for stage, tasks in planned.tasks.items()
        if not job.workspace.create(done_name(stage), (tasks, fields), (1, fields), np.float64)
    }
    first = next(iter(planned.tasks))
    at_once = [array for array in arrays if begun or stage_of(planned, array.name) == first]
    _make(job, at_once, begun)
    with ThreadPoolExecutor(1, thread_name_prefix="dbutterfly-arrays") as thread:
        rest = thread.submit(_make, job, [array for array in arrays if array not in at_once], begun)
        yield rest.result
        rest.result()


def _make(job: FactorizationJob, arrays: list[_Array], begun: set[str]) -> None:
    """Make arrays that are not there yet; tasks of stages that had begun, which filled one of them, are done again."""
    for array in arrays:
        made = job.workspace.create(*array)
        if made and begun:  # an array that an earlier run had written to is gone, or its version had none
            stage, numbers = writers(job.plan, array.name, (slice(None),))
            if stage in begun and _forget(job, stage, numbers):
                _log.warning(
                    "the run that is continued has left no array %s: its %s tasks are done again", array.name, stage
                )


def _arrays(job: FactorizationJob) -> Iterator[_Array]:
    """Arrays that the tasks fill, but for those that say which have ended."""
    planned = job.plan
    dtype, f8 = planned.source.work_dtype, np.float64
    if planned.copy is not None:
        yield _Array("copy", planned.source.shape, planned.copy.chunks, dtype)
    if planned.split is None:
        shape = (1, *planned.chain.patterns[0])
        yield _Array("left/0", shape, shape, dtype)
        yield _Array("stats", (1, 1, 3), (1, 1, 3), f8)
        return
    p, u, q, v, rank = planned.split
    _, rows, cols, lg, rg, *_ = planned.layout
    kept = planned.ranks[-1]
    stats = 1 + 2 * len(planned.ranks)
    yield _Array("A", (u, q, kept, p), (min(lg, rows), cols, kept, p), dtype)
    yield _Array("stats", (u, q, stats), (rows, cols, stats), f8)
    yield _Array("X", (u, q, rank, p), (lg, cols, rank, p), dtype)
    yield _Array("scale", (u, q, rank, rank), (lg, q, rank, rank), dtype)
    yield _Array("left_error", (u, q, 1 + rank), (lg, q, 1 + rank), f8)
    kept = kept if planned.passes == 1 else rank
    yield _Array("B", (q, u, kept, v), (min(rg, cols), rows, kept, v), dtype)
    yield _Array("right_error", (q, u, rank), (rg, u, rank), f8)
    if planned.passes == 2:
        yield _Array("second", (u, q, 1), (rows, cols, 1), f8)
    for side, half, groups, per_task in (("left", job.halves[0], u, lg), ("right", job.halves[1], q, rg)):
        for index, pattern in enumerate(half):
            yield _Array(f"{side}/{index}", (groups, *pattern), (per_task, *pattern), dtype)
        if len(half) > 1:
            yield _Array(f"{side}_missed", (groups, len(half) - 1), (per_task, len(half) - 1), f8)


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
