"""Independent calls of functions of one matrix, whose results come in order; engines say where calls run.

A call that is lost or fails is made again, as often as a task. A call that fails each time ends the calls when its turn
has come: the results before it are handed on first, and the error does not depend on which call ends first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from numpy.typing import NDArray

from ..errors import DButterflyError
from ..kernels.backend.blas import single_threaded_blas
from .backlog import Backlog

__all__ = ["Call", "CallBacklog", "Calls", "CallsUnderWay", "call_function"]

Result = TypeVar("Result")


class Call(NamedTuple):
    """One call.

    Attributes
    ----------
    label : str
        What error messages call it.
    argument : object
        The argument that tells it from the other calls.
    """

    label: str
    argument: Any


class CallBacklog(Backlog[Call, Any]):
    """Book-keeping of calls, of which only a few are admitted ahead of the one whose result is due.

    What has begun cannot be cancelled, and results that are not due are held in memory.

    Parameters
    ----------
    calls : sequence of Call
        The calls, in the order of their results.
    """

    remedy: ClassVar[str] = "nothing of it is kept: make the same call again"

    def __init__(self, calls: Sequence[Call]) -> None:
        self._results: dict[int, Any] = {}
        super().__init__((), self._results.__setitem__)
        self._due = 0
        self._number_of_calls = len(calls)
        self._not_admitted = deque(enumerate(calls))

    def admit(self, most: int) -> None:
        """Move calls that may begin to ``todo``: those less than ``most`` ahead of the one whose result is due.

        None begins after a call has failed for good, and none beside a call that is tried alone.
        """
        self.has_work()  # chooses the next call to be tried alone
        if self.failed or self.isolates:
            return
        while self._not_admitted and self._not_admitted[0][0] < self._due + most:
            self.todo.append(self._not_admitted.popleft())

    @property
    def has_due(self) -> bool:
        """Whether the results of some calls were not taken."""
        return self._due < self._number_of_calls

    @property
    def is_due_known(self) -> bool:
        """Whether the call whose result is due has ended."""
        return self._due in self._results or self._due in self.failed

    def take(self) -> Any:
        """Take the result that is due, or raise the error of its call."""
        number, self._due = self._due, self._due + 1
        if number in self.failed:
            raise self.failed[number]
        return self._results.pop(number)

    def _end_with(self, number: int, error: Exception) -> None:
        """Keep the error until the result of its call is due."""
        self.failed[number] = error

    def _give_up(self, number: int, error: Exception) -> None:
        self.failed[number] = error

    def describe(self, item: Call, cause: Exception, attempts: int) -> Exception:
        """The error that reports a failed call; errors raised on purpose say themselves what is wrong."""
        if isinstance(cause, DButterflyError):
            return cause
        return super().describe(item, cause, attempts)


class CallsUnderWay(Protocol):
    """The calls of one :meth:`Calls.in_order`, where they run."""

    def advance(self) -> None:
        """Begin the calls that are to be done, and wait for one or more to end."""

    def cancel(self) -> None:
        """Cancel the calls that have not ended."""


class Calls(ABC):
    """Calls of functions of one matrix.

    Parameters
    ----------
    name : str
        What error messages call all of them together.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def in_order(
        self, function: Callable[..., Result], arguments: Sequence[Any], *shared: NDArray[Any]
    ) -> Generator[Result, None, None]:
        """Results of ``function(matrix, argument, *shared)``, first argument first; closing cancels the rest.

        Arrays that all calls share are sent once.

        Raises
        ------
        TaskError
            If a call fails each time for a reason that is no dbutterfly error, or the cluster is gone.
        DButterflyError
            If a call raises one.
        """
        what = getattr(function, "__name__", "call").lstrip("_")
        backlog = CallBacklog(
            [Call(f"{self._name} ({what} {number})", argument) for number, argument in enumerate(arguments, 1)]
        )
        under_way = self.begin(backlog, function, shared)
        try:
            while backlog.has_due:
                while not backlog.is_due_known:
                    under_way.advance()
                yield backlog.take()
        finally:
            under_way.cancel()

    @abstractmethod
    def begin(
        self, backlog: CallBacklog, function: Callable[..., Any], shared: Sequence[NDArray[Any]]
    ) -> CallsUnderWay:
        """Prepare the calls of a backlog."""


def call_function(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function with BLAS held to one thread: parallelism is over calls."""
    with single_threaded_blas():
        return function(*arguments)
