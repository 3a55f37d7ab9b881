"""Whether the matrices that are given now are those of a stored run: known by content, as one matrix is.

What the storage says of each matrix is compared with what it said when the run began. Of matrices that it calls
changed, what tasks have read decides: some of it is read again, and the digests are compared. Where the storage tells
nothing, the sample is looked at again. What was not read yet may change.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...execution.task import Record
from ...planning.stacked_plan import StackedPlan
from ...sources.samples import digest_parts
from ...sources.stacks.base import StackSource
from ...sources.stamps import Stamps
from ...storage.run_store import RunStore
from ..identity import DIGEST, READ_AGAIN, Recognition, are_alike, compare_sample, mismatch
from ..workspace_arrays import read_ended
from .job import STAGE
from .tasks import MatricesTask, tasks_of

__all__ = ["read_records", "recognise_stack"]

_log = logging.getLogger("dbutterfly")


def recognise_stack(
    stack: StackSource, stored: RunStore, plan: Callable[[], StackedPlan], records: Callable[[], NDArray[np.float64]]
) -> Recognition:
    """Find out whether matrices are those of a stored run.

    Parameters
    ----------
    stack : StackSource
        The matrices.
    stored : RunStore
        The run.
    plan : callable
        Returns the plan of its first round, if it is needed.
    records : callable
        Returns the records of the tasks of that round; NaN of those that have not ended.

    Raises
    ------
    StoreMismatchError
        If some are others. Nothing was changed.
    """
    identity = stored.manifest.identity
    assert identity is not None
    stamps, before, text = stack.stamps(), stored.stamps(), None
    if stamps is not None and before is not None and are_alike(stamps, identity["stamps"], before):
        changed = np.flatnonzero((stamps.values != before).any(axis=1))
        if not changed.size:
            return Recognition("nothing in its storage has changed since the run began", stamps, True)
        text = _compare_matrices(stack, stored, stamps, changed, plan(), records())
    if text is None:
        text = _compare_sample(stack, stored)
    _log.info("%s: %s", stack.name, text)
    return Recognition(text, stamps, False)


def read_records(stored: RunStore, plan: StackedPlan) -> NDArray[np.float64]:
    """Records of the tasks of the first round, of a run under way or one that has ended; NaN of what is not known."""
    tasks = len(tasks_of(plan))
    if stored.is_complete:
        try:
            return stored.read_array("tasks", (tasks, len(Record._fields)), "float64")
        except CheckpointError:
            return np.full((tasks, len(Record._fields)), np.nan)
    return read_ended(stored, STAGE, tasks)


def _compare_matrices(
    stack: StackSource,
    stored: RunStore,
    stamps: Stamps,
    changed: NDArray[np.int64],
    plan: StackedPlan,
    records: NDArray[np.float64],
) -> str | None:
    """Compare what tasks have read of changed matrices; None where they have left no digests of it."""
    tasks, wanted = tasks_of(plan), set(changed.tolist())
    digests = records[:, DIGEST]
    read = [
        number
        for number, task in enumerate(tasks)
        if not np.isnan(digests[number]) and wanted & set(_numbers(task, plan))
    ]
    shown = stack.name_matrix(int(changed[0]))
    what = f"{changed.size} of {len(stack)} matrices were changed in their storage ({stamps.kind_of_storage}), "
    alone = wanted & {number for number, _ in plan.alone}
    if not read:
        return None if alone else f"{what}the first being {shown}, of which the run had read nothing yet"
    if stamps.is_of_content:
        first = min(wanted & {k for number in read for k in _numbers(tasks[number], plan)})
        what = f"{stack.name_matrix(first)} has other entries than when the run began"
        raise mismatch(stack, stored, what, "stack")
    if not all(digests[number] for number in read):
        return None
    again = sorted(random.sample(read, min(len(read), READ_AGAIN)))
    for number in again:
        task = tasks[number]
        numbers = plan.batches[task.batch].numbers[task.first : task.last]
        if digest_parts(stack.read_matrices(numbers)) != digests[number]:
            raise mismatch(stack, stored, f"{task.label} have other entries than were read", "stack")
    text = f"{what}and {len(again)} of {len(read)} tasks that had read them would read the same"
    return text if len(again) == len(read) and not alone else f"{text}; {_compare_sample(stack, stored)}"


def _numbers(task: MatricesTask, plan: StackedPlan) -> list[int]:
    found: list[int] = plan.batches[task.batch].numbers[task.first : task.last].tolist()
    return found


def _compare_sample(stack: StackSource, stored: RunStore) -> str:
    """Look at the places again that the run has kept."""
    return compare_sample(stack, stored, "stack", " (rows counted through the stack)")
