"""Tasks and what they share: read, compute, write. Plain picklable objects.

Every task has three steps, so that an engine can overlap the reading of one with the arithmetic of another, and can
read here what a worker cannot reach: it reads from Z and from the workspace, ``compute`` turns that into outputs, and
the outputs name the ranges of the workspace they fill. The last output of a task is its row of ``done``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..kernels.backend import HOST, Lane
from ..kernels.backend.tile_memory import Allocate
from ..sources.base import MatrixSource
from ..storage.workspace import Selection, Workspace
from . import resident_memory

__all__ = [
    "Inputs",
    "Job",
    "LoadRecord",
    "Output",
    "Record",
    "Task",
    "done_name",
    "finish_task",
    "load_task",
    "upload_inputs",
    "write_outputs",
]


Inputs: TypeAlias = "dict[str, NDArray[Any]]"


class Job:
    """What an engine needs to know of the work of which it runs the tasks.

    Attributes
    ----------
    source : MatrixSource
        What the tasks read.
    workspace : Workspace
        Where the outputs go.
    """

    source: MatrixSource
    workspace: Workspace

    @property
    def prefetch(self) -> bool:
        """Whether a worker reads for the next task while it computes one."""
        return True

    @property
    def host_memory(self) -> Allocate | None:
        """Where the memory of tiles comes from; None for plain memory."""
        return None

    def lane(self, tasks: int) -> Lane:  # noqa: ARG002
        """Where a task runs, in a process that computes so many at a time."""
        return HOST

    def check(self, output: Output) -> None:
        """Refuse what must not be written."""


class Output(NamedTuple):
    """Values for a range of an array of the workspace."""

    name: str
    selection: Selection
    values: NDArray[Any]


class Record(NamedTuple):
    """What a task reports, and leaves in the row of ``done`` that says that it has ended.

    Attributes
    ----------
    bytes_read : float
        Bytes of the chunks of Z that it asked the storage for.
    load_seconds, compute_seconds : float
        Time of reading, and of everything after it.
    ended : float
        When, in seconds since the epoch.
    idle_bytes : float
        Resident memory of the worker before the first task of the run.
    peak_bytes : float
        Most that the worker has held since then.
    started : float
        When it began to read, in seconds since the epoch.
    worker : float
        Number that tells apart the workers of the run.
    """

    bytes_read: float
    load_seconds: float
    compute_seconds: float
    ended: float
    idle_bytes: float
    peak_bytes: float
    started: float
    worker: float


class LoadRecord(NamedTuple):
    """What there is to say of a task whose inputs have been read: the beginning of its :class:`Record`.

    Attributes
    ----------
    bytes_read : int
        What reading them from Z cost (:meth:`Task.bytes_read`).
    seconds : float
        Time that reading them took.
    started : float
        When that began.
    idle_bytes : int
        Resident memory of this process before the run.
    worker : int
        Who does it.
    """

    bytes_read: int = 0
    seconds: float = 0.0
    started: float = 0.0
    idle_bytes: int = 0
    worker: int = 0


NOTHING = LoadRecord()


class Task(ABC):
    """One unit of work."""

    stage: ClassVar[str]
    uploads: ClassVar[tuple[str, ...]] = ()
    """Inputs that are brought to the device as soon as they are read, while another task computes there."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What error messages call it."""

    def source_of(self, job: Any) -> MatrixSource | None:  # noqa: ARG002
        """What :meth:`read_source` reads: the matrix or its copy, None for neither."""
        return None

    def read_source(self, job: Any) -> Inputs:  # noqa: ARG002
        """Read what it needs of Z."""
        return {}

    def bytes_read(self, job: Any) -> int:  # noqa: ARG002
        """Bytes of the chunks of Z that :meth:`read_source` asks the storage for."""
        return 0

    def read_workspace(self, job: Any) -> Inputs:  # noqa: ARG002
        """Read what it needs of what earlier tasks wrote."""
        return {}

    @abstractmethod
    def compute(self, job: Any, inputs: Inputs) -> list[Output]:
        """Turn inputs into outputs."""


def load_task(job: Job, task: Task, lane: Lane = HOST) -> Inputs:
    """Read all that a task needs, here, and begin to bring it to where it is computed with."""
    inputs = {**task.read_source(job), **task.read_workspace(job)}
    upload_inputs(task, inputs, lane)
    return inputs


def upload_inputs(task: Task, inputs: Inputs, lane: Lane) -> None:
    """Begin to bring inputs to where they are computed with, those that the task names."""
    lane.upload([inputs[name] for name in task.uploads if name in inputs])


def finish_task(
    job: Job, number: int, task: Task, inputs: Inputs, loaded: LoadRecord = NOTHING, lane: Lane = HOST
) -> tuple[list[Output], Record]:
    """Compute a task whose inputs are at hand.

    Parameters
    ----------
    job : Work
        What the tasks share.
    number : int
        Number of the task in its stage.
    task : Task
        What to do.
    inputs : dict of array
        What :func:`load_task` returns; emptied.
    loaded : Loaded
        How they came there, for the record.
    lane : Lane
        Where it runs, in which :func:`load_task` has uploaded them.

    Returns
    -------
    outputs : list of Output
        What the task writes; the last one, which says that it has ended, must be written last.
    record : Record
        The same as the last output.
    """
    started = time.perf_counter()
    outputs = lane.call(lambda: _compute(job, task, inputs))
    inputs.clear()  # for their memory to serve the next task at once
    lane.release()
    elapsed = time.perf_counter() - started
    peak = max(loaded.idle_bytes, resident_memory.peak())  # counted in two ways, which differ by some pages
    record = Record(
        loaded.bytes_read, loaded.seconds, elapsed, time.time(), loaded.idle_bytes, peak, loaded.started, loaded.worker
    )
    row = np.array([record], np.float64)
    return [*outputs, Output(done_name(task.stage), (slice(number, number + 1),), row)], record


def _compute(job: Job, task: Task, inputs: Inputs) -> list[Output]:
    with np.errstate(all="ignore"):  # non-finite results are looked for, and reported with their place
        return task.compute(job, inputs)


def write_outputs(job: Job, outputs: list[Output]) -> None:
    """Write what a task gives, in order, after all of it was checked."""
    for output in outputs:
        job.check(output)
    for output in outputs:
        job.workspace.write(*output)


def done_name(stage: str) -> str:
    """Name of the array that says which tasks of a stage have ended."""
    return f"done/{stage}"
