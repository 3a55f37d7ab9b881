"""Progress of a run: one bar per stage, with throughput and time left; tasks run, and calls are made, under a bar.

A terminal shows bars that move, a notebook those of :mod:`dbutterfly.execution.notebook_bars`. Where stderr is neither,
as in the log of a job, each stage has a line now and then, unless the log of the package has it already, and its bar
when all is done.
"""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from numpy.typing import NDArray

from ..sources.base import MatrixSource
from .calls import CallBacklog, Calls, CallsUnderWay
from .engine import Engine, OnDone
from .notebook_bars import NotebookBars, is_notebook
from .task import JobT, Record, Task

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["SECONDS_BETWEEN_LINES", "ProgressBar", "calls_under_bar", "late_bar", "run_under_bar"]

Result = TypeVar("Result")

SECONDS_BETWEEN_LINES = 30.0
"""Time after which a stage under way has another line, in the log or on a stderr that is no terminal. Not tuned."""

SECONDS_BEFORE_BAR = 3.0
"""Time after which work that is mostly short has a bar. Not tuned."""

_log = logging.getLogger("dbutterfly")


class ProgressBar:
    """Bars on stderr, or in a notebook, for a ``with`` block; nothing is shown, and it costs nothing, unless enabled.

    Parameters
    ----------
    enabled : bool
        Whether to show anything.
    """

    def __init__(self, enabled: bool) -> None:
        self._in_notebook = enabled and is_notebook()
        self._progress = _make_progress(self._in_notebook) if enabled else None
        self._bars: NotebookBars | None = None
        self._stage: TaskID | None = None
        self._bytes_read = 0
        self._said = 0.0

    def __enter__(self) -> Self:
        if self._progress is not None and self._in_notebook:
            self._bars = NotebookBars(self._progress)
        elif self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None and kind is None:
            for stage in self._progress.tasks:
                self._progress.update(stage.id, total=stage.completed if stage.total is None else stage.total)
        if self._bars is not None:
            self._bars.update(now=True)
        elif self._progress is not None:
            self._progress.stop()

    @property
    def is_shown(self) -> bool:
        """Whether anything is shown."""
        return self._progress is not None

    def say(self, line: str) -> None:
        """Show a line above the bars."""
        if self._bars is not None:
            self._bars.say(line)
        elif self._progress is not None:
            self._progress.console.print(line, highlight=False, soft_wrap=True)

    def start(self, stage: str, tasks: int | None, finished: int) -> None:
        """Open the bar of a stage, some of whose tasks an earlier run may have finished.

        Where nobody knows how many tasks there will be, ``tasks`` is None; all are done when the block ends well.
        """
        self._bytes_read, self._said = 0, time.monotonic()
        if self._progress is not None:
            self._stage = self._progress.add_task(stage, total=tasks, completed=finished, rate="")
        if self._bars is not None:
            self._bars.update(now=True)

    def advance(self, bytes_read: int) -> None:
        """Count one finished task."""
        if self._progress is None or self._stage is None:
            return
        self._bytes_read += bytes_read
        elapsed = self._progress.tasks[-1].elapsed or 0.0
        rate = f"{self._bytes_read / elapsed / 1e6:8.0f} MB/s" if self._bytes_read and elapsed > 0 else ""
        self._progress.update(self._stage, advance=1, rate=rate)
        if self._bars is not None:
            self._bars.update()
        elif not self._progress.console.is_terminal:
            self._say_how_far(self._progress)

    def _say_how_far(self, progress: Progress) -> None:
        """Show a line now and then where no bar moves and the log of the package is not seen."""
        task, now = progress.tasks[-1], time.monotonic()
        if now - self._said >= SECONDS_BETWEEN_LINES and not _log.isEnabledFor(logging.INFO):
            self._said = now
            rate = f", {task.fields['rate'].strip()}" if task.fields["rate"] else ""
            known = "" if task.total is None else f" of {task.total:.0f}"
            self.say(f"{task.description}: {task.completed:.0f}{known} tasks{rate}")


def _make_progress(in_notebook: bool) -> Progress:
    """Bars of rich, which is imported where bars are shown."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # Rich itself would look for ipywidgets in a notebook, and warn of what is missing.
    shown = Console(file=io.StringIO()) if in_notebook else Console(stderr=True, force_jupyter=False)
    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=shown,
    )


@contextlib.contextmanager
def late_bar(enabled: bool, stage: str) -> Iterator[Callable[[int], None]]:
    """Show a bar for work of unknown length, once it has taken a few seconds.

    Parameters
    ----------
    enabled : bool
        Whether to show anything.
    stage : str
        Name of the bar.

    Yields
    ------
    callable
        To be called with the bytes that each piece of the work has read.
    """
    began, finished = time.monotonic(), 0
    with contextlib.ExitStack() as shown:
        bar: ProgressBar | None = None

        def advance(bytes_read: int) -> None:
            nonlocal bar, finished
            if bar is None and enabled and time.monotonic() - began >= SECONDS_BEFORE_BAR:
                bar = shown.enter_context(ProgressBar(True))
                bar.start(stage, None, finished)
            if bar is not None:
                bar.advance(bytes_read)
            finished += 1

        yield advance


def run_under_bar(
    bar: ProgressBar,
    engine: Engine,
    job: JobT,
    stage: str,
    tasks: Sequence[tuple[int, Task[JobT]]],
    *,
    finished: int = 0,
    on_done: OnDone | None = None,
) -> int:
    """Run the tasks of a stage under a bar of its own.

    Parameters
    ----------
    bar : ProgressBar
        Where the bar is opened.
    engine : Engine
        Runs the tasks; without tasks it is not asked.
    job : Job
        What the tasks belong to.
    stage : str
        Name of the bar.
    tasks : sequence of (int, Task)
        The tasks, by number.
    finished : int
        Further tasks of the stage, which an earlier run has finished.
    on_done : callable, optional
        Called with the number and the record of every task that has ended, before the bar advances.

    Returns
    -------
    int
        Bytes that the tasks have read of Z.
    """
    total = 0

    show = bar.say if bar.is_shown else None

    def advance(number: int, record: Record) -> None:
        nonlocal total
        engine.announce(show)  # of a cluster that was started for these tasks
        total += int(record.bytes_read)
        if on_done is not None:
            on_done(number, record)
        bar.advance(int(record.bytes_read))

    bar.start(stage, finished + len(tasks), finished)
    if tasks:
        engine.announce(show)
        engine.run(job, tasks, advance)
    return total


@contextlib.contextmanager
def calls_under_bar(
    bar: ProgressBar, engine: Engine, matrix: NDArray[Any] | MatrixSource, name: str
) -> Iterator[Calls]:
    """Calls of functions of a matrix, as of :meth:`Engine.calls`, whose results a bar that is open counts."""
    with engine.calls(matrix, name) as calls:
        yield _CountedCalls(calls, name, bar, engine) if bar.is_shown else calls


class _CountedCalls(Calls):
    """Calls whose results advance a bar."""

    def __init__(self, calls: Calls, name: str, bar: ProgressBar, engine: Engine) -> None:
        super().__init__(name)
        self._calls, self._bar, self._engine = calls, bar, engine

    def in_order(
        self, function: Callable[..., Result], arguments: Sequence[Any], *shared: NDArray[Any]
    ) -> Generator[Result, None, None]:
        """See :meth:`Calls.in_order`."""
        with contextlib.closing(super().in_order(function, arguments, *shared)) as results:
            for result in results:
                self._engine.announce(self._bar.say)  # of a cluster that was started for these calls
                self._bar.advance(0)
                yield result

    def begin(
        self, backlog: CallBacklog, function: Callable[..., Any], shared: Sequence[NDArray[Any]]
    ) -> CallsUnderWay:
        """See :meth:`Calls.begin`."""
        return self._calls.begin(backlog, function, shared)
