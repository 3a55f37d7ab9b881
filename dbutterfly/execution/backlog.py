"""Book-keeping of tasks or calls: which are to be done, which run, and how often each has failed or been lost."""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeGuard, TypeVar

from ..errors import DButterflyError, InputError, SourceError, StoreError, TaskError

__all__ = ["SECONDS_FOR_RESULT", "Backlog", "Outcome", "Returned", "is_hopeless", "outcome_of"]

_log = logging.getLogger("dbutterfly")


LOSSES = 8
"""Times that a task is submitted again because it was lost with a worker or the scheduler.

Not tuned: a loss says little about the task, so there are more of them than of :data:`ATTEMPTS`; the bound only ends a
run on a cluster that loses everything that it is given.
"""

ATTEMPTS = 3
"""Times that a task may fail before it is reported.

Not tuned: the storage layer retries by itself what may pass, so that two more attempts are enough for what else does.
"""

IN_A_ROW = 8
"""Failures per worker, with no task ending well in between, that end a stage.

Not tuned: more than twice :data:`ATTEMPTS`, so that one worker may fail with two tasks for good and the stage goes on,
and few enough that a stage of thousands of tasks, none of which can be done, ends soon.
"""

SECONDS_FOR_RESULT = 10.0
"""Seconds within which the result of an ended task arrives, unless it was lost with its worker meanwhile.

Not tuned: a result is a record, or the outputs of one task, and comes within milliseconds from a worker that answers.
"""


class HasLabel(Protocol):
    """A task or a call: all that the book-keeping needs is what error messages call it."""

    @property
    def label(self) -> str:
        """What error messages call it."""


Item = TypeVar("Item", bound=HasLabel)

Value = TypeVar("Value")


class Returned(NamedTuple, Generic[Value]):
    """The value that a task or a call has returned, told apart from an error that it has raised."""

    value: Value


Outcome: TypeAlias = "Returned[Value] | BaseException | None"
"""What a future has given: a value, an error, or None where that cannot be told yet."""


class Backlog(Generic[Item, Value]):
    """Book-keeping of the tasks of one stage.

    An engine takes items from ``todo``, submits them, adds the futures by :meth:`add_running`, and gives every future
    that has ended to :meth:`account_for`, until :meth:`has_work` is false.

    Parameters
    ----------
    items : iterable of (int, Item)
        What is to be done, by number.
    deliver : callable
        Called with the number and the value of every item that has ended well.
    """

    remedy: ClassVar[str] = "what was finished is kept if the run has a store, and the same call continues it"
    """Advice at the end of the message of an error that ends the stage."""

    def __init__(self, items: Iterable[tuple[int, Item]], deliver: Callable[[int, Value], None]) -> None:
        self.todo = deque(items)
        self.running: dict[Any, tuple[int, Item]] = {}
        self.failed: dict[int, Exception] = {}
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._deliver = deliver
        self._attempts, self._losses = Counter[int](), Counter[int]()
        self._suspects: dict[int, tuple[Item, Exception]] = {}
        self._is_alone = False
        self._failures_in_a_row = 0

    @property
    def isolates(self) -> bool:
        """Whether an item that has killed workers waits to be tried alone, or is being tried: then no other may run."""
        return self._is_alone or bool(self._suspects)

    def has_work(self) -> bool:
        """Whether something is to be done or runs. When all else has ended, suspects are tried one by one.

        Suspects are items that were on workers when these died. Dask blames all items of such a worker, of which one
        may have killed it. The item that kills a worker that has nothing else to do is the culprit.
        """
        if self.todo or self.running:
            return True
        if len(self._suspects) == 1 and not self._is_alone:  # no other item can have been the cause
            number, (item, cause) = self._suspects.popitem()
            self._give_up(number, self.describe(item, cause, 1))
        self._is_alone = bool(self._suspects)
        if self._is_alone:
            number = min(self._suspects)
            self.todo.append((number, self._suspects.pop(number)[0]))
        return self._is_alone

    def add_running(self, future: Any, number: int, item: Item) -> None:
        """Account for a future that will end."""
        self.running[future] = number, item
        self._watch(future)

    def _watch(self, future: Any) -> None:
        """Have the future queued when it has ended, by the thread that ends it."""
        future.add_done_callback(self._ended.put)

    def next_ended(self, timeout: float | None = None) -> list[Any]:
        """Wait for a future to end; it and all others that have ended since, or none if none ends in time."""
        found: list[Any] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._ended.get(timeout=timeout))
            while True:
                found.append(self._ended.get_nowait())
        return found

    def account_for(self, future: Any, outcome: Outcome[Value], workers: int) -> bool:
        """Account for a future that has ended; False if it was lost with a worker or the scheduler.

        A future whose outcome cannot be told yet is waited for again.
        """
        if outcome is None:
            self._watch(future)
            return True
        number, item = self.running.pop(future)
        if isinstance(outcome, CancelledError):
            self._losses[number] += 1
            if self._losses[number] > LOSSES:
                raise TaskError(f"{item.label} failed: it was lost with a worker {LOSSES} times") from outcome
            self.todo.appendleft((number, item))
            return False
        if isinstance(outcome, Returned):
            self._failures_in_a_row = 0
            self._deliver(number, outcome.value)
        elif isinstance(outcome, Exception):
            self._fail(number, item, outcome, workers)
        else:
            raise outcome
        return True

    def _fail(self, number: int, item: Item, cause: Exception, workers: int) -> None:
        if _is_killed_worker(cause) and not self._is_alone:
            _log.warning("%s: workers that had it died", item.label)
            self._suspects[number] = item, cause
            return
        self._attempts[number] += 1
        self._failures_in_a_row += 1
        attempts = self._attempts[number]
        error = self.describe(item, cause, attempts)
        if is_hopeless(cause) or self._failures_in_a_row > IN_A_ROW * workers:
            self._end_with(number, error)
        elif attempts < ATTEMPTS and not _is_killed_worker(cause):
            _log.warning("%s; it will be tried again", error)
            self.todo.append((number, item))
        else:
            self._give_up(number, error)

    def _end_with(self, number: int, error: Exception) -> None:  # noqa: ARG002
        """End the stage because of an error that the other tasks would not escape."""
        raise error

    def _give_up(self, number: int, error: Exception) -> None:
        _log.error("%s; the other tasks go on", error)
        self.failed[number] = error

    def describe(self, item: Item, cause: Exception, attempts: int) -> Exception:
        """The error that reports a failed item: it names the item, and the worker where the cause does not."""
        if _is_killed_worker(cause):
            last = cause.last_worker
            where = f", the last one {last.address}" if last is not None else ""
            error = TaskError(
                f"{item.label} failed: {cause.allowed_failures + 1} workers that computed it died{where}, perhaps for "
                f"want of memory: give workers more of it, or a smaller memory= here; {self.remedy}"
            )
        else:
            times = f" {attempts} times" if attempts > 1 else ""
            if isinstance(cause, DButterflyError):
                cause.args = (f"{item.label} failed{times}: {cause.args[0]}", *cause.args[1:])
                return cause
            error = TaskError(f"{item.label} failed{times}: {type(cause).__name__}: {cause}")
        error.__cause__ = cause
        return error

    def deliver_finished(self) -> None:
        """Deliver what has ended well of a stage that is given up, as far as workers answer in time."""
        end = time.monotonic() + SECONDS_FOR_RESULT
        for future, (number, _) in list(self.running.items()):
            if future.done() and not future.cancelled():
                outcome = outcome_of(future, max(0.0, end - time.monotonic()))
                if isinstance(outcome, Returned):
                    self._deliver(number, outcome.value)
        self.running.clear()

    def close(self) -> None:
        """Raise the failure of the first task, by number, that failed each time."""
        if not self.failed:
            return
        first, *others = sorted(self.failed)
        error = self.failed[first]
        also = f", and {len(others)} others," if others else ""
        error.args = (f"{error.args[0]} (this task{also} failed; the rest of the stage is kept)", *error.args[1:])
        raise error


def outcome_of(future: Any, seconds: float = SECONDS_FOR_RESULT) -> Outcome[Any]:
    """What a future has returned or raised; CancelledError where it was lost with a worker or the scheduler.

    None where that cannot be told now: the result was lost after the future had ended, and may be computed again.
    """
    try:
        error: BaseException | None = future.exception(timeout=seconds)
        return Returned(future.result(timeout=seconds)) if error is None else error
    except CancelledError as error:
        return error
    except OSError:  # also TimeoutError
        return None


def _is_killed_worker(cause: Exception) -> TypeGuard[Any]:
    """Whether Dask has given a task up since workers that had it died; without Dask's cluster, no error says that."""
    if "distributed" not in sys.modules:
        return False
    from distributed import KilledWorker

    return isinstance(cause, KilledWorker)


def is_hopeless(cause: Exception) -> bool:
    """Whether the other tasks cannot escape this error either, or the run cannot end well without this task."""
    if isinstance(cause, SourceError):
        return False
    return isinstance(cause, (InputError, StoreError))
