"""One stage of a run on the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import uuid
from typing import Any, Generic

import numpy as np
from distributed.protocol import serialize_bytes

from ..errors import NonFiniteError
from .backlog import Backlog, Outcome, Returned, outcome_of
from .dask_client import ClusterWatch, Connection, TaskEvents
from .dask_worker import pack_job, run_on_worker
from .interrupts import Interrupts
from .task import JobT, Task, TaskResult
from .waiting import are_of_one_cluster

__all__ = ["IN_FLIGHT_PER_WORKER", "DaskStage", "Unreachable"]


IN_FLIGHT_PER_WORKER = 4
"""Tasks that each thread of a worker has, or that wait for it: one that computes, one that reads ahead, two that wait.

Not tuned by itself. With this number and 64 workers, the scheduler takes 7 to 9 % of a core for tiles of one second
(``python -m benchmarks scheduler``).
"""

RELEASED_TOGETHER = 16
"""Futures of finished tasks per worker to hold before releasing them in one message.

Released one by one, they are two of the five messages that a tile costs. With 64 workers and tiles of one second, the
scheduler's part falls from 11 % of a core to 8 or 9 % (``python -m benchmarks scheduler``).
"""

LARGEST_MESSAGE = 1 << 16
"""Bytes of a packed job up to which it goes with each task; a larger one is put on a worker once.

Not tuned: the job of a stored matrix has about 2 KiB, one with an operator or with arrays far more.
"""


class DaskStage(Generic[JobT]):
    """Runs the tasks of one stage: submits them, hears how they end, and sends again what was lost.

    What the scheduler can run again after the loss of a worker, it does. What was sent from here and lost with its only
    holder, or with the scheduler, is sent again.

    Parameters
    ----------
    connection : Connection
        The cluster.
    job : Job
        What the tasks belong to.
    backlog : Backlog
        The tasks.
    """

    def __init__(self, connection: Connection, job: JobT, backlog: Backlog[Task[JobT], TaskResult]) -> None:
        self._connection, self._job, self._backlog = connection, job, backlog
        self._remote_job = _without_unreachable(job, connection.client)
        self._packed = pack_job(self._remote_job)
        self._packed_on_cluster: Any = None

    def run(self) -> None:
        """Run all tasks; what has ended is delivered also where an error, or Ctrl-C, ends the stage."""
        with Interrupts() as interrupts, contextlib.ExitStack() as stack:
            self._watch = ClusterWatch(self._connection, self._backlog, interrupts)
            self._events = stack.enter_context(TaskEvents(self._connection, self._watch))
            stack.callback(self._stop)
            self._send_job()
            while self._backlog.has_work():
                while tasks := self._next_tasks():
                    self._submit(tasks)
                if self._watch.account_for_ended(self._tell_outcome):
                    self._send_job()
                self._watch.look()
        self._backlog.close()

    def _stop(self) -> None:
        """Deliver what has ended, and cancel the rest."""
        rest = [future for future in self._backlog.running if not future.done()]
        try:
            self._backlog.deliver_finished()
        finally:
            self._watch.cancel(rest)

    def _send_job(self) -> None:
        """Make the packed job an argument of tasks: the bytes themselves, or what stands for them where they are many.

        Called again when a task was lost, perhaps because the only worker that held the job is gone.
        """
        is_small = len(self._packed) <= LARGEST_MESSAGE
        self._packed_on_cluster = self._packed if is_small else self._watch.scatter(self._packed)

    def _next_tasks(self) -> list[tuple[int, Task[JobT]]]:
        """Tasks to be submitted now: one for each worker, or what is left, once there is room for all of them.

        Submitted together they cost the scheduler a fraction of what each would: 10.8 % of a core in place of 16 %,
        with 64 workers and tiles of one second (``python -m benchmarks scheduler``). A task whose inputs are sent from
        here is submitted by itself.
        """
        workers, remote = self._connection.threads, self._remote_job
        together = workers if remote.source.shared and remote.workspace.shared else 1
        wanted = list(itertools.islice(self._backlog.todo, together))
        return wanted if len(self._backlog.running) + len(wanted) <= IN_FLIGHT_PER_WORKER * workers else []

    def _submit(self, tasks: list[tuple[int, Task[JobT]]]) -> None:
        """Submit the first tasks that are to do, in one message."""
        keys = [f"{task.stage}-{number}-{uuid.uuid4().hex[:8]}" for number, task in tasks]
        arguments = [(number, task, *self._send_inputs(task)) for number, task in tasks]
        with self._watch.submission():
            futures = self._connection.client.map(
                run_on_worker,
                *zip(*arguments, strict=True),
                key=keys,
                pure=False,
                resources=self._connection.resources,
                packed=self._packed_on_cluster,
                address=self._events.address,
            )
        for future, (number, task) in zip(futures, tasks, strict=True):
            self._backlog.todo.popleft()
            self._backlog.add_running(future, number, task)

    def _send_inputs(self, task: Task[JobT]) -> tuple[dict[str, Any], int | None]:
        """Send the inputs of a task that workers cannot reach; also the bytes that reading them from Z has cost."""
        source, bytes_read = task.source_of(self._remote_job), None
        inputs: dict[str, Any] = {}
        if source is not None and not source.shared:
            inputs |= task.read_source(self._job)
            bytes_read = task.bytes_read(self._job)
        if not self._remote_job.workspace.shared:
            inputs |= task.read_workspace(self._job)
        return {name: self._watch.scatter(np.ascontiguousarray(array)) for name, array in inputs.items()}, bytes_read

    def _tell_outcome(self, future: Any, seconds: float) -> Outcome[TaskResult]:
        """Outcome of a task: its record if it has reported one, else its result is fetched."""
        number, _ = self._backlog.running[future]
        record = self._events.take(future, number, RELEASED_TOGETHER * self._connection.threads)
        return outcome_of(future, seconds) if record is None else Returned(TaskResult(record, []))


@dataclasses.dataclass(frozen=True)
class Unreachable:
    """Stands for a source or a workspace that a worker cannot reach; tasks are sent what they need of it.

    Attributes
    ----------
    name : str
        Name of the source.
    shared : bool
        False, as of all that another process cannot open.
    """

    name: str
    shared: bool = False

    def non_finite_error(self, index: tuple[int, int]) -> NonFiniteError:
        """Error for an entry that is a NaN or an infinity."""
        return NonFiniteError.at(self.name, index)


def _without_unreachable(job: Any, client: Any) -> Any:
    """The job without a source or a workspace that cannot be opened in, or sent to, the workers of a client."""
    source = job.source
    is_elsewhere = source.client is not None and not are_of_one_cluster(source.client, client)
    if is_elsewhere or not source.shared or not _can_be_sent(source):
        decoded = f" (decoded from {source.decoding})" if getattr(source, "decoding", "") else ""
        source = Unreachable(f"{source.name}{decoded}")
    workspace: Any = job.workspace if job.workspace.shared else Unreachable("workspace")
    return dataclasses.replace(job, source=source, workspace=workspace)


def _can_be_sent(value: Any) -> bool:
    """Whether an object can be packed for another process."""
    try:
        serialize_bytes(value, on_error="raise")
    except Exception:
        return False
    return True
