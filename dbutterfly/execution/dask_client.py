"""The client's side of a Dask cluster: guarded calls of the client, a watch over the cluster, events of tasks."""

from __future__ import annotations

import contextlib
import logging
import operator
import queue
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

from distributed import Client
from distributed.client import ClosedClientError

from ..errors import TaskError
from .backlog import SECONDS_FOR_RESULT, Backlog, Outcome, outcome_of
from .interrupts import Interrupts
from .task import Record

__all__ = ["ClusterWatch", "Connection", "EventAddress", "TaskEvents"]

_log = logging.getLogger("dbutterfly")


EventAddress: TypeAlias = tuple[str, str]
"""Topic of the scheduler's events, and the run of a stage: to these a worker reports the tasks that have ended."""

SECONDS_BETWEEN_LOOKS = 2.0
"""Seconds between two questions to the scheduler for its workers; also the longest wait for a future without a look.

Not tuned: workers take seconds to start or to be missed, and a question costs the scheduler one message.
"""

SECONDS_BEFORE_NEXT_TRY = 0.5
"""Seconds before data is sent again that no worker has taken. Not tuned: a worker takes seconds to start."""

SECONDS_FOR_ANOTHER = 1.0
"""Seconds for every further result once one has timed out, so that one hung worker cannot delay the others.

Not tuned: a worker that hangs may have :data:`~dbutterfly.execution.dask_stage.IN_FLIGHT_PER_WORKER` results.
"""


@dataclass
class Connection:
    """A client of a Dask cluster, and what tasks need of its workers.

    Attributes
    ----------
    client : distributed.Client
        The client.
    resources : dict
        Dask resources that a worker must have to be given a task.
    patience : float
        Seconds for which a run waits when all workers, or the scheduler, are gone.
    threads : int
        Threads of all workers, when the scheduler was last asked: tasks that compute at a time.
    """

    client: Client
    resources: dict[str, float]
    patience: float
    threads: int

    @property
    def is_closed(self) -> bool:
        """Whether the client has given up its scheduler."""
        return self.client.status in ("closed", "closing")


class ClusterWatch:
    """Watches the cluster while the items of a backlog run, and guards the calls of the client against its faults.

    All methods must be called within the block of ``interrupts``. Ctrl-C is let through only while they wait.

    Parameters
    ----------
    connection : Connection
        The cluster; the number of its threads is kept up to date.
    backlog : Backlog
        What runs on it.
    interrupts : Interrupts
        Holds Ctrl-C back.
    """

    def __init__(self, connection: Connection, backlog: Backlog[Any, Any], interrupts: Interrupts) -> None:
        self._connection, self._backlog, self._interrupts = connection, backlog, interrupts
        self._looked = self._seen = time.monotonic()

    def look(self) -> int:
        """Ask for the threads of all workers every few seconds.

        Raises
        ------
        TaskError
            If the scheduler is gone for good, or no worker has been there for long.
        """
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return self._connection.threads
        self._looked = now
        if self._connection.is_closed:
            raise self.gone()
        found = sum(self._threads_by_worker().values())
        if found:
            self._seen, self._connection.threads = now, found
        elif now - self._seen > self._connection.patience:
            raise TaskError(
                f"{self._label()} was not finished: there has been no worker for {now - self._seen:.0f} s; "
                f"{self._backlog.remedy}"
            )
        elif now - self._seen > 2 * SECONDS_BETWEEN_LOOKS:
            _log.warning("no worker since %.0f s; waiting for one", now - self._seen)
        return self._connection.threads

    def _threads_by_worker(self) -> dict[str, int]:
        """Threads of every worker, by its address; none where the scheduler cannot be reached at the moment."""
        client = self._connection.client
        try:
            return dict(client.nthreads()) if client.status == "running" else {}
        except OSError:
            return {}

    def gone(self) -> TaskError:
        """The error of a client that has given up its scheduler."""
        return TaskError(
            f"{self._label()} was not finished: the scheduler is gone; connect a new client: {self._backlog.remedy}"
        )

    def _label(self) -> str:
        waiting = [*self._backlog.running.values(), *self._backlog.todo]
        return min(waiting, key=operator.itemgetter(0))[1].label if waiting else "the run"

    @contextlib.contextmanager
    def submission(self) -> Iterator[None]:
        """Block in which the client is used.

        Raises
        ------
        TaskError
            If the client has given up its scheduler.
        """
        try:
            yield
        except ClosedClientError as error:
            raise self.gone() from error

    def scatter(self, value: Any) -> Any:
        """Put a value on a worker; what stands for it there. Waits while there is no worker.

        Raises
        ------
        TaskError
            If the cluster is gone.
        """
        while True:
            try:
                # In a list, since the keys of a scattered dict would be names on the cluster. The time is that for a
                # worker to be there, and not that for the value to arrive.
                return self._connection.client.scatter([value], hash=False, timeout=SECONDS_BETWEEN_LOOKS)[0]
            except Exception as error:
                if self._connection.is_closed:
                    raise self.gone() from error
                if not isinstance(error, OSError):  # a worker that has just gone, or none at all (TimeoutError)
                    raise
            with self._interrupts.allowed():
                time.sleep(SECONDS_BEFORE_NEXT_TRY)
            self.look()

    def broadcast(self, value: Any) -> Any:
        """Put a value on every worker, so that tasks that take it may run on any; what stands for it there.

        Workers get the value from each other, in every round as many as hold it already. Dask's own broadcast tries for
        ever to reach a worker that dies meanwhile. So each worker is given a task that takes the value as its argument;
        Dask gives the task to another worker where that one is gone, and cancels it where the value is lost.

        Raises
        ------
        TaskError
            If the cluster is gone.
        """
        on_cluster = self.scatter(value)
        missing = list(self._threads_by_worker())
        holders = 1
        while missing:
            self._copy(on_cluster, missing[:holders])
            missing, holders = missing[holders:], 2 * holders
        return on_cluster

    def _copy(self, on_cluster: Any, workers: Collection[str]) -> None:
        """Have workers hold what is on the cluster, and wait for that."""
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        submit = self._connection.client.submit
        with self.submission():
            copies = [
                submit(_receive, on_cluster, workers=[worker], allow_other_workers=True, pure=False)
                for worker in workers
            ]
        for copy in copies:
            copy.add_done_callback(ended.put)
        waiting = len(copies)
        while waiting:
            with self._interrupts.allowed(), contextlib.suppress(queue.Empty):
                ended.get(timeout=SECONDS_BETWEEN_LOOKS)
                waiting -= 1
            self.look()

    def account_for_ended(self, tell_outcome: Callable[[Any, float], Outcome[Any]] = outcome_of) -> bool:
        """Wait a moment for futures to end, and account for those that have; whether one was lost."""
        with self._interrupts.allowed():
            ended = self._backlog.next_ended(SECONDS_BETWEEN_LOOKS)
        any_lost, seconds = False, SECONDS_FOR_RESULT
        for future in ended:
            outcome = tell_outcome(future, seconds)
            if outcome is None:  # a worker hangs, and may have others of these
                seconds = SECONDS_FOR_ANOTHER
            if not self._backlog.account_for(future, outcome, self._connection.threads):
                any_lost = True
        return any_lost

    def cancel(self, futures: Collection[Any]) -> None:
        """Cancel futures, unless the client has given up its scheduler."""
        if futures and not self._connection.is_closed:
            self._connection.client.cancel(list(futures))


def _receive(value: Any) -> None:
    """Task of a worker that is to hold a value."""


class TaskEvents:
    """Records that tasks report when they have written their outputs: the scheduler need not fetch their results.

    A record is an event of the scheduler, which passes it on ahead of the message that its task has ended. Where the
    event did not come, the result of the task is asked for, which holds the same record. Futures whose results nobody
    needs are released many at a time, since the scheduler tells each worker of a release, and is answered.

    Parameters
    ----------
    connection : Connection
        The cluster.
    watch : ClusterWatch
        Its watch.
    """

    of_runs: ClassVar[dict[str, dict[int, Record]]] = {}
    """Records of tasks by number, of every run of a stage of this process that is under way."""

    def __init__(self, connection: Connection, watch: ClusterWatch) -> None:
        # One topic for all runs of a client, since the scheduler keeps the last events of each topic.
        self.address: EventAddress = (f"dbutterfly-{connection.client.id}", uuid.uuid4().hex)
        self._unreleased: list[Any] = []
        with watch.submission():
            connection.client.subscribe_topic(self.address[0], self._hear)
        self._records = self.of_runs[self.address[1]] = {}

    @classmethod
    def _hear(cls, event: tuple[float, list[Any]]) -> None:
        run, number, *fields = event[1]
        records = cls.of_runs.get(run)
        if records is not None:
            records[number] = Record(*fields)

    def take(self, future: Any, number: int, most: int) -> Record | None:
        """The record that a task has reported, if it has; its future is released with at least ``most`` others."""
        record = self._records.pop(number, None)
        if record is not None:
            self._unreleased.append(future)
        if len(self._unreleased) > most:
            self._unreleased.clear()
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        del self.of_runs[self.address[1]]
        self._unreleased.clear()
