"""Progress of a run on the terminal: one bar per stage, with throughput and time left; tasks run under a bar."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .engine import Engine, OnDone
from .task import JobT, Record, Task

__all__ = ["ProgressBar", "run_under_bar"]


class ProgressBar:
    """Bars on stderr, for a ``with`` block; nothing is shown, and it costs nothing, unless enabled.

    Parameters
    ----------
    enabled : bool
        Whether to show anything.
    note : str, optional
        A line above the bars.
    """

    def __init__(self, enabled: bool, note: str | None = None) -> None:
        self._note = note
        # A notebook without ipywidgets gets plain bars, where rich would warn of it, once for every bar.
        plain = None if importlib.util.find_spec("ipywidgets") else False
        self._progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_jupyter=plain),
            disable=not enabled,
        )
        self._stage: TaskID | None = None
        self._bytes_read = 0

    def __enter__(self) -> Self:
        self._progress.start()
        if self._note is not None and not self._progress.disable:
            self._progress.console.print(self._note, highlight=False, soft_wrap=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start(self, stage: str, tasks: int, finished: int) -> None:
        """Open the bar of a stage, some of whose tasks an earlier run may have finished."""
        self._bytes_read = 0
        self._stage = self._progress.add_task(stage, total=tasks, completed=finished, rate="")

    def advance(self, bytes_read: int) -> None:
        """Count one finished task."""
        if self._stage is None:
            return
        self._bytes_read += bytes_read
        elapsed = self._progress.tasks[-1].elapsed or 0.0
        rate = f"{self._bytes_read / elapsed / 1e6:8.0f} MB/s" if self._bytes_read and elapsed > 0 else ""
        self._progress.update(self._stage, advance=1, rate=rate)


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

    def advance(number: int, record: Record) -> None:
        nonlocal total
        total += int(record.bytes_read)
        if on_done is not None:
            on_done(number, record)
        bar.advance(int(record.bytes_read))

    bar.start(stage, finished + len(tasks), finished)
    if tasks:
        engine.run(job, tasks, advance)
    return total
