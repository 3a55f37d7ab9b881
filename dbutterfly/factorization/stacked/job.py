"""What all tasks of a stack share: the matrices, the plan, the workspace and the backend; and the arrays they fill.

array          shape              what
B/factors/l    (n, a, b, c, d)    factors of the matrices of batch B
B/outcomes     (n, 8)             certificate of each, or why it has none (:mod:`.outcomes`)
B/cuts         (n, J - 1)         errors of the cuts of each
done/matrices  (tasks, 9)         that a task has ended: the fields of its ``Record``
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...errors import InputError
from ...execution.task import Output, Record, done_name
from ...planning.stacked_plan import StackedPlan
from ...sources.samples import Sample
from ...sources.stacks.base import StackSource
from ...storage.workspace import Workspace
from ..device_job import DeviceJob
from .outcomes import Outcome

__all__ = ["STAGE", "ArrayOfTasks", "StackJob", "stack_arrays"]

ArrayOfTasks: TypeAlias = tuple[str, tuple[int, ...], tuple[int, ...], Any]
"""Name, shape, chunks and dtype of an array of the workspace, of which a task writes whole chunks."""

STAGE = "matrices"
"""Name of the stage of the tasks that take matrices whole."""


@dataclass(frozen=True, eq=False)
class StackJob(DeviceJob):
    """Matrices, plan, workspace and backend of a run, which all of its tasks share.

    Attributes
    ----------
    source : StackSource
        The matrices.
    plan : StackedPlan
        What tasks take of them.
    workspace : Workspace
        Where the outputs go.
    backend : str
        Array library of the workers; resolved in each worker's process.
    sample : Sample or None
        Entries of the matrices when the run began, with which they are compared.
    keeps_digests : bool
        Whether tasks leave digests of what they have read.
    stage : str
        Name of the stage of the tasks.
    """

    source: StackSource
    plan: StackedPlan
    workspace: Workspace
    backend: str = "auto"
    sample: Sample | None = None
    keeps_digests: bool = False
    stage: str = STAGE

    def arrays(self) -> Iterator[ArrayOfTasks]:
        """Arrays that the tasks fill, that of the tasks that have ended first."""
        return stack_arrays(self.plan)

    @property
    def prefetch(self) -> bool:
        """Whether a worker reads for the next task while it computes one."""
        return self.plan.prefetch

    def check(self, output: Output) -> None:
        """Refuse an output with a NaN, which in the workspace means that nothing was written."""
        if np.isnan(output.values).any():
            raise InputError(f"{self.source.name}: {output.name} cannot be computed; scale the matrices")


def stack_arrays(plan: StackedPlan) -> Iterator[ArrayOfTasks]:
    """Arrays of the workspace of a round."""
    fields, tasks = len(Record._fields), plan.tasks.get(STAGE, 0)
    if tasks:
        yield done_name(STAGE), (tasks, fields), (1, fields), np.float64
    for number, batch in plan.together:
        count, per_task, chain = int(batch.numbers.size), batch.per_task, batch.plan.chain
        for index, pattern in enumerate(chain):
            yield (
                f"{number}/factors/{index}",
                (count, *pattern),
                (per_task, *pattern),
                np.dtype(batch.plan.source.work_dtype),
            )
        width = len(Outcome._fields)
        yield f"{number}/outcomes", (count, width), (per_task, width), np.float64
        if len(chain) > 1:
            yield f"{number}/cuts", (count, len(chain) - 1), (per_task, len(chain) - 1), np.float64
