"""Where tasks run: threads of this process, or the workers of a Dask cluster, behind one call.

All engines run the same task objects, so results are equal to the bit. Submission is by waves: a bounded number of
tasks is in flight, however many there are. A task that fails is tried again, and if it fails each time it is reported
when the others have ended. What has ended is reported to the caller before an error is raised, or Ctrl-C.

BLAS is held to one thread while tasks run: parallelism is over tasks, and BLAS threads times worker threads must not
exceed the cores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..planning.budget import Budget
from .task import Job, Record, Task

__all__ = ["Engine"]

OnDone: TypeAlias = Callable[[int, Record], None]


class Engine(ABC):
    """Runs the tasks of one stage.

    Attributes
    ----------
    workers : int
        Tasks that compute at a time.
    dashboard : str or None
        Address of the page that shows the cluster at work.
    """

    workers: int
    dashboard: str | None = None

    @abstractmethod
    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """What the plan may use, given what the caller allows of each worker: of its host, and of its GPU if any."""

    @abstractmethod
    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """Run numbered tasks, in any order, and report each in the calling thread.

        A task that fails is tried again after the others; one that fails each time is raised at the end, when the rest
        has ended and is kept. What the other tasks would not escape is raised at once: entries that cannot be
        factorized, a store that cannot be written, tasks that fail one after the other.

        Raises
        ------
        TaskError
            If a task fails for a reason that is no dbutterfly error; the cause is chained.
        DButterflyError
            If a task raises one. The message names the task, and the worker of a cluster.
        """

    def ready(self) -> Engine:
        """The engine whose workers are there; they are started if need be."""
        return self
