"""Tasks and the job that they share: read, compute, write. Plain picklable objects.

Every task has three steps. It reads from Z and from the workspace, ``compute`` turns what it has read into outputs, and
the outputs name the ranges of the workspace that they fill. So an engine can overlap the reading of one task with the
arithmetic of another, and can read in this process what a worker cannot reach. The last output of a task is its row of
``done``.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

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
    "JobT",
    "LoadRecord",
    "Output",
    "Record",
    "Task",
    "TaskResult",
    "done_name",
    "finish_task",
    "load_task",
    "prepare_source",
    "upload_inputs",
    "write_outputs",
]


Inputs: TypeAlias = "dict[str, NDArray[Any]]"


class Job:
    """The work of which an engine runs the tasks, as far as the engine must know it.

    Attributes
    ----------
    source : MatrixSource
        The matrix that the tasks read.
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
        """Lane of one task, in a process that computes ``tasks`` at a time."""
        return HOST

    def check(self, output: Output) -> None:
        """Refuse an output that must not be written."""


JobT = TypeVar("JobT", bound=Job)
"""The class of the job that tasks belong to."""


class Output(NamedTuple):
    """Values for a range of an array of the workspace."""

    name: str
    selection: Selection
    values: NDArray[Any]


class Record(NamedTuple):
    """The measurements of one task, which it reports and leaves as its row of ``done``, to say that it has ended.

    Attributes
    ----------
    bytes_read : float
        Bytes of the chunks of Z that the task asked the storage for.
    load_seconds, compute_seconds : float
        Time of reading, and of everything after it.
    ended : float
        When the task ended, in seconds since the epoch.
    idle_bytes : float
        Resident memory of the worker before the first task of the run.
    peak_bytes : float
        Most that the worker has held since then.
    started : float
        When the task began to read, in seconds since the epoch.
    worker : float
        Number that tells apart the workers of the run.
    digest : float
        Digest of what the task has read of Z, an integer (:meth:`Task.inspect`).
    """

    bytes_read: float
    load_seconds: float
    compute_seconds: float
    ended: float
    idle_bytes: float
    peak_bytes: float
    started: float
    worker: float
    digest: float = 0.0


class LoadRecord(NamedTuple):
    """Measurements of the loading of one task, which become part of its :class:`Record`.

    Attributes
    ----------
    bytes_read : int
        Bytes of the chunks of Z that were asked for (:meth:`Task.bytes_read`).
    seconds : float
        Time of reading.
    started : float
        When reading began, in seconds since the epoch.
    idle_bytes : int
        Resident memory of this process before the run.
    worker : int
        Number of the worker.
    """

    bytes_read: int = 0
    seconds: float = 0.0
    started: float = 0.0
    idle_bytes: int = 0
    worker: int = 0


NOT_MEASURED = LoadRecord()


class TaskResult(NamedTuple):
    """What a worker sends back: the record of a task, and the outputs that the worker could not write itself."""

    record: Record
    outputs: list[Output]


class Task(ABC, Generic[JobT]):
    """One unit of work of a job."""

    stage: ClassVar[str]
    """Name of the stage that the task belongs to."""

    uploads: ClassVar[tuple[str, ...]] = ()
    """Inputs that are brought to the device as soon as they are read, while another task computes there."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What error messages call the task."""

    def source_of(self, job: JobT) -> MatrixSource | None:  # noqa: ARG002
        """The source that :meth:`read_source` reads: the matrix or its copy, None for neither."""
        return None

    def read_source(self, job: JobT) -> Inputs:  # noqa: ARG002
        """Read the entries of Z that the task needs."""
        return {}

    def bytes_read(self, job: JobT) -> int:  # noqa: ARG002
        """Bytes of the chunks of Z that :meth:`read_source` asks the storage for."""
        return 0

    def inspect(self, job: JobT, inputs: Inputs) -> int:  # noqa: ARG002
        """Look at what was read before anything is computed of it.

        Returns
        -------
        int
            Digest of what was read of Z, below 2^53; 0 where none is kept.

        Raises
        ------
        SourceError
            If it is not of the matrix that the run has begun with.
        """
        return 0

    def read_workspace(self, job: JobT) -> Inputs:  # noqa: ARG002
        """Read the arrays of the workspace that the task needs, which earlier tasks wrote."""
        return {}

    @abstractmethod
    def compute(self, job: JobT, inputs: Inputs) -> list[Output]:
        """Turn inputs into outputs."""


def prepare_source(job: JobT, tasks: Sequence[tuple[int, Task[JobT]]], client: Any, workers: int) -> None:
    """Let the source that the tasks of a stage read, if they read any, compute once what many of them need."""
    source = tasks[0][1].source_of(job) if tasks else None
    if source is not None:
        source.prepare(client, workers)


def load_task(job: JobT, task: Task[JobT], lane: Lane = HOST) -> Inputs:
    """Read all inputs of a task in this process, and begin to bring them to where they are computed with."""
    inputs = {**task.read_source(job), **task.read_workspace(job)}
    upload_inputs(task, inputs, lane)
    return inputs


def upload_inputs(task: Task[Any], inputs: Inputs, lane: Lane) -> None:
    """Begin to bring the inputs that the task names to where they are computed with."""
    lane.upload([inputs[name] for name in task.uploads if name in inputs])


def finish_task(
    job: JobT, number: int, task: Task[JobT], inputs: Inputs, loaded: LoadRecord = NOT_MEASURED, lane: Lane = HOST
) -> tuple[list[Output], Record]:
    """Compute a task whose inputs are at hand.

    Parameters
    ----------
    job : Job
        The job that the task belongs to.
    number : int
        Number of the task in its stage.
    task : Task
        The task.
    inputs : dict of array
        The inputs as :func:`load_task` returns them; the dict is emptied.
    loaded : LoadRecord
        Measurements of the loading, for the record.
    lane : Lane
        Where the task runs, to which :func:`load_task` has uploaded the inputs.

    Returns
    -------
    outputs : list of Output
        What is to be written; the last output, which says that the task has ended, must be written last.
    record : Record
        The values of the last output.
    """
    started = time.perf_counter()
    digest = task.inspect(job, inputs)
    outputs = lane.call(lambda: _compute(job, task, inputs))
    inputs.clear()  # their memory serves the next task at once
    lane.release()
    elapsed = time.perf_counter() - started
    # The system counts the two in different ways, which differ by some pages.
    peak = max(loaded.idle_bytes, resident_memory.peak())
    record = Record(
        bytes_read=loaded.bytes_read,
        load_seconds=loaded.seconds,
        compute_seconds=elapsed,
        ended=time.time(),
        idle_bytes=loaded.idle_bytes,
        peak_bytes=peak,
        started=loaded.started,
        worker=loaded.worker,
        digest=digest,
    )
    row = np.array([record], np.float64)
    return [*outputs, Output(done_name(task.stage), (slice(number, number + 1),), row)], record


def _compute(job: JobT, task: Task[JobT], inputs: Inputs) -> list[Output]:
    with np.errstate(all="ignore"):  # non-finite results are looked for, and reported with their place
        return task.compute(job, inputs)


def write_outputs(job: Job, outputs: list[Output]) -> None:
    """Write the outputs of a task, in order, after all of them were checked."""
    for output in outputs:
        job.check(output)
    for output in outputs:
        job.workspace.write(*output)


def done_name(stage: str) -> str:
    """Name of the array that says which tasks of a stage have ended."""
    return f"done/{stage}"
