"""Progress of a run on the terminal: one bar per stage, with throughput and time left."""

from __future__ import annotations

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

__all__ = ["ProgressBar"]


class ProgressBar:
    """Bars on stderr; silent, at no cost, when not enabled.

    Parameters
    ----------
    enabled : bool
        Whether to show anything.
    note : str, optional
        A line above the bars.
    """

    def __init__(self, enabled: bool, note: str | None = None) -> None:
        self._note = note
        self._progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not enabled,
        )
        self._stage: TaskID | None = None
        self._bytes = 0

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
        self._bytes = 0
        self._stage = self._progress.add_task(stage, total=tasks, completed=finished, rate="")

    def advance(self, bytes_read: int) -> None:
        """Count one finished task."""
        if self._stage is None:
            return
        self._bytes += bytes_read
        elapsed = self._progress.tasks[-1].elapsed or 0.0
        rate = f"{self._bytes / elapsed / 1e6:8.0f} MB/s" if self._bytes and elapsed > 0 else ""
        self._progress.update(self._stage, advance=1, rate=rate)
