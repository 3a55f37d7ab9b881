"""What a stage has to do, what runs, and what has failed how often."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, NamedTuple

from distributed import KilledWorker

from ..errors import DButterflyError, InputError, SourceError, StoreError, TaskError
from .task import Output, Record, Task

__all__ = ["Backlog", "TaskResult", "describe_failure", "outcome_of"]

_log = logging.getLogger("dbutterfly")


LOSSES = 8
"""Times that a task is submitted again because it was lost with a worker or the scheduler."""

ATTEMPTS = 3
"""Times that a task may fail before it is reported."""

IN_A_ROW = 8
"""Failures per worker, with no task ending well in between, that end a stage."""

CALL_AGAIN = "what was finished is kept if the run has a store, and the same call continues it"

SECONDS_FOR_RESULT = 10.0
"""Time within which the result of a task that has ended arrives, unless it was lost with its worker meanwhile."""


class TaskResult(NamedTuple):
    """What a worker sends back: the record of a task, and the outputs that it could not write itself."""

    record: Record
    outputs: list[Output]


class Backlog:
    """Book-keeping of one stage: what is to do, what runs, what has failed how often."""

    def __init__(self, tasks: Sequence[tuple[int, Task]], deliver: Callable[[int, TaskResult], None]) -> None:
        self.todo = deque(tasks)
        self.running: dict[Any, tuple[int, Task]] = {}
        self.ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._deliver = deliver
        self._attempts, self._losses = Counter[int](), Counter[int]()
        self._failed: dict[int, Exception] = {}
        self._suspects: dict[int, tuple[Task, KilledWorker]] = {}
        self._alone = False
        self._in_a_row = 0

    def goes_on(self) -> bool:
        """Whether something is to do. When all else has ended, tasks that shared dying workers are tried one by one."""
        if self.todo or self.running:
            return True
        if len(self._suspects) == 1 and not self._alone:  # no other task can have been the cause
            number, (task, cause) = self._suspects.popitem()
            self._give_up(number, describe_failure(task, cause, 1))
        self._alone = bool(self._suspects)
        if self._alone:
            number = min(self._suspects)
            self.todo.append((number, self._suspects.pop(number)[0]))
        return self._alone

    def started(self, future: Any, number: int, task: Task) -> None:
        """Account for a future that will end."""
        self.running[future] = number, task
        future.add_done_callback(self.ended.put)

    def next_ended(self, timeout: float | None = None) -> list[Any]:
        """Futures that have ended: the next one, with those that wait behind it; none if none ends in time."""
        found: list[Any] = []
        with contextlib.suppress(queue.Empty):
            found.append(self.ended.get(timeout=timeout))
            while True:
                found.append(self.ended.get_nowait())
        return found

    def settle(self, future: Any, outcome: TaskResult | BaseException | None, workers: int) -> bool:
        """Account for a future that has ended; False if it was lost with a worker or the scheduler.

        Where its outcome could not be told (None), it is waited for again.
        """
        if outcome is None:
            future.add_done_callback(self.ended.put)
            return True
        number, task = self.running.pop(future)
        if isinstance(outcome, CancelledError):
            self._losses[number] += 1
            if self._losses[number] > LOSSES:
                raise TaskError(f"{task.label} failed: it was lost with a worker {LOSSES} times") from outcome
            self.todo.appendleft((number, task))
            return False
        if isinstance(outcome, TaskResult):
            self._in_a_row = 0
            self._deliver(number, outcome)
        elif isinstance(outcome, Exception):
            self._fail(number, task, outcome, workers)
        else:
            raise outcome
        return True

    def _fail(self, number: int, task: Task, cause: Exception, workers: int) -> None:
        if isinstance(cause, KilledWorker) and not self._alone:
            _log.warning("%s: workers that had it died", task.label)
            self._suspects[number] = task, cause
            return
        self._attempts[number] += 1
        self._in_a_row += 1
        attempts = self._attempts[number]
        error = describe_failure(task, cause, attempts)
        if _is_hopeless(cause) or self._in_a_row > IN_A_ROW * workers:
            raise error
        if attempts < ATTEMPTS and not isinstance(cause, KilledWorker):
            _log.warning("%s; it will be tried again", error)
            self.todo.append((number, task))
            return
        self._give_up(number, error)

    def _give_up(self, number: int, error: Exception) -> None:
        _log.error("%s; the other tasks go on", error)
        self._failed[number] = error

    def salvage(self) -> None:
        """Deliver what has ended, of a stage that is given up, as far as workers answer."""
        end = time.monotonic() + SECONDS_FOR_RESULT
        for future, (number, _) in list(self.running.items()):
            if future.done() and not future.cancelled():
                outcome = outcome_of(future, max(0.0, end - time.monotonic()))
                if isinstance(outcome, TaskResult):
                    self._deliver(number, outcome)
        self.running.clear()

    def close(self) -> None:
        """Raise the failure of the first task, by number, that failed each time."""
        if not self._failed:
            return
        first, *others = sorted(self._failed)
        error = self._failed[first]
        also = f", and {len(others)} others," if others else ""
        error.args = (f"{error.args[0]} (this task{also} failed; the rest of the stage is kept)", *error.args[1:])
        raise error


def outcome_of(future: Any, seconds: float = SECONDS_FOR_RESULT) -> TaskResult | BaseException | None:
    """What a future returned or raised; CancelledError where it was lost with a worker or the scheduler.

    None where that cannot be told now: it was lost after it had ended, and may be computed again.
    """
    try:
        error: BaseException | None = future.exception(timeout=seconds)
        return future.result(timeout=seconds) if error is None else error
    except CancelledError as error:
        return error
    except OSError:  # also TimeoutError
        return None


def describe_failure(task: Task, cause: Exception, attempts: int) -> Exception:
    """The error that a failed task is reported by: it names the task, and the worker where the cause does not."""
    times = f" {attempts} times" if attempts > 1 else ""
    if isinstance(cause, KilledWorker):
        last = cause.last_worker
        where = f", the last one {last.address}" if last is not None else ""
        error: Exception = TaskError(
            f"{task.label} failed: {cause.allowed_failures + 1} workers that computed it died{where}, perhaps for want "
            f"of memory: give workers more of it, or a smaller memory= here; {CALL_AGAIN}"
        )
    elif isinstance(cause, DButterflyError):
        cause.args = (f"{task.label} failed{times}: {cause.args[0]}", *cause.args[1:])
        return cause
    else:
        error = TaskError(f"{task.label} failed{times}: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


def _is_hopeless(cause: Exception) -> bool:
    """Whether the other tasks cannot escape it either, or the run cannot end well without this one."""
    if isinstance(cause, SourceError):
        return False
    return isinstance(cause, (InputError, StoreError))
