"""The client's side of a Dask cluster: events heard from tasks, and a watch over the cluster."""

from __future__ import annotations

import logging
import operator
import time
import uuid
from typing import Any, ClassVar, Self, TypeAlias

from distributed import Client
from distributed.client import ClosedClientError

from ..errors import TaskError
from .backlog import CALL_AGAIN, Backlog
from .interrupts import Interrupts
from .task import Record

__all__ = ["ClusterWatch", "TaskEvents", "is_closed"]

_log = logging.getLogger("dbutterfly")


Address: TypeAlias = tuple[str, str]
"""Topic of the scheduler's events, and the run of a stage, to which a worker says what has ended."""

SECONDS_BETWEEN_LOOKS = 2.0
"""Time between two questions to the scheduler for its workers."""


class ClusterWatch:
    """Looks after the cluster while tasks run: how many threads there are, and whether there is still somebody."""

    def __init__(self, client: Client, stage: Backlog, interrupts: Interrupts, patience: float) -> None:
        self._client, self._stage, self._interrupts, self._patience = client, stage, interrupts, patience
        self._looked = self._seen = time.monotonic()

    def wait(self, workers: int) -> int:
        """Wait a moment, and look."""
        with self._interrupts.allowed():
            time.sleep(0.5)
        return self.look(workers)

    def gone(self) -> TaskError:
        """The error of a client that has given up its scheduler."""
        return TaskError(f"{self._label()} was not finished: the scheduler is gone; connect a new client: {CALL_AGAIN}")

    def _label(self) -> str:
        waiting = [*self._stage.running.values(), *self._stage.todo]
        return min(waiting, key=operator.itemgetter(0))[1].label if waiting else "the run"

    def look(self, workers: int) -> int:
        """Threads of all workers, asked for every few seconds.

        Raises
        ------
        TaskError
            If the scheduler is gone for good, or no worker has been there for long.
        """
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return workers
        self._looked = now
        if is_closed(self._client):
            raise self.gone()
        try:
            found = sum(self._client.nthreads().values()) if self._client.status == "running" else 0
        except OSError:  # the scheduler cannot be reached at the moment
            found = 0
        if found:
            self._seen = now
        elif now - self._seen > self._patience:
            raise TaskError(
                f"{self._label()} was not finished: there has been no worker for {now - self._seen:.0f} s; {CALL_AGAIN}"
            )
        elif now - self._seen > 2 * SECONDS_BETWEEN_LOOKS:
            _log.warning("no worker since %.0f s; waiting for one", now - self._seen)
        return found or workers


class TaskEvents:
    """What tasks say that have written their outputs, which spares the scheduler fetching their results.

    A record is an event of the scheduler, which passes it on ahead of the message that its task has ended. Where it
    did not come, the result of the task, which is the same, is asked for. Results that nobody needs are released many
    at a time, since the scheduler tells each worker of it, and is answered.
    """

    of_runs: ClassVar[dict[str, dict[int, Record]]] = {}

    def __init__(self, client: Client, watch: ClusterWatch) -> None:
        # One topic for all runs of a client, since the scheduler keeps the last events of each.
        self.address: Address = (f"dbutterfly-{client.id}", uuid.uuid4().hex)
        self._held: list[Any] = []
        try:
            client.subscribe_topic(self.address[0], self._hear)
        except ClosedClientError as error:
            raise watch.gone() from error
        self._records = self.of_runs[self.address[1]] = {}

    @classmethod
    def _hear(cls, event: tuple[float, list[Any]]) -> None:
        run, number, *fields = event[1]
        records = cls.of_runs.get(run)
        if records is not None:
            records[number] = Record(*fields)

    def take(self, future: Any, number: int, most: int) -> Record | None:
        """What a task has said, if it has; its future is held with at most so many."""
        record = self._records.pop(number, None)
        if record is not None:
            self._held.append(future)
        if len(self._held) > most:
            self._held.clear()
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        del self.of_runs[self.address[1]]
        self._held.clear()


def is_closed(client: Client) -> bool:
    """Whether a client has given up its scheduler."""
    return client.status in ("closed", "closing")
