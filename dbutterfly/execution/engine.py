"""Where tasks and calls run: threads of this process, or the workers of a Dask cluster, behind one interface.

All engines run the same task objects, so results are equal to the bit. Submission is by waves: a bounded number of
tasks is in flight, however many there are. A task that fails is tried again. A task that fails each time is reported
when the others have ended. What has ended is reported to the caller before an error, or Ctrl-C, is raised.

BLAS is held to one thread while tasks run: parallelism is over tasks, and BLAS threads times worker threads must not
exceed the cores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeAlias

from numpy.typing import NDArray

from ..planning.budget import Budget
from ..sources.base import MatrixSource
from .calls import Calls
from .task import JobT, Record, Task

__all__ = ["Engine", "OnDone"]

OnDone: TypeAlias = Callable[[int, Record], None]
"""Called in the calling thread with the number and the record of every task that has ended well."""


class Engine(ABC):
    """Runs the tasks of one stage, or calls of functions of one matrix.

    Attributes
    ----------
    workers : int
        Tasks that compute at a time.
    in_this_process : bool
        Whether tasks and calls see the memory of this process, so that nothing is sent.
    """

    workers: int
    in_this_process: ClassVar[bool] = False

    def announce(self, show: Callable[[str], None] | None) -> None:  # noqa: ARG002
        """Say where the page is that shows the tasks at work, if there is one and it was not said before.

        Parameters
        ----------
        show : callable, optional
            Shows a line where the log is not seen; None where the caller wants to see nothing.
        """
        return

    @abstractmethod
    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """What the plan may use, given what the caller allows of each worker: of its host, and of its GPU if any."""

    @abstractmethod
    def run(self, job: JobT, tasks: Sequence[tuple[int, Task[JobT]]], on_done: OnDone) -> None:
        """Run numbered tasks, in any order, and report each in the calling thread.

        A task that fails is tried again after the others. A task that fails each time is raised at the end, when the
        rest has ended and is kept. An error that the other tasks would not escape is raised at once: entries that
        cannot be factorized, a store that cannot be written, tasks that fail one after the other.

        Raises
        ------
        TaskError
            If a task fails for a reason that is no dbutterfly error; the cause is chained.
        DButterflyError
            If a task raises one. The message names the task, and the worker of a cluster.
        """

    @abstractmethod
    def calls(self, matrix: NDArray[Any] | MatrixSource, name: str) -> AbstractContextManager[Calls]:
        """Calls of functions of a matrix, or of what reads it, which each worker holds once.

        Parameters
        ----------
        matrix : ndarray or MatrixSource
            First argument of the functions.
        name : str
            What error messages call the calls.
        """
