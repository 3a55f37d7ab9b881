"""Bars in a notebook: one display of HTML, replaced as tasks end, without widgets.

Jupyter, JupyterLab, Visual Studio Code and Colab show it alike, whether or not ipywidgets are installed.
"""

from __future__ import annotations

import html
import sys
import time
from typing import TYPE_CHECKING, Any

from ..structure.drawings import element, to_html

if TYPE_CHECKING:
    from rich.progress import Progress, Task

__all__ = ["NotebookBars", "is_notebook"]

SECONDS_BETWEEN_UPDATES = 0.2
"""Least time between two updates of the display. Not tuned: a browser follows, and a run is not held up."""


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")  # which every kernel has imported
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class NotebookBars:
    """A display of bars.

    Parameters
    ----------
    progress : Progress
        The bars, which show nothing themselves.
    """

    def __init__(self, progress: Progress) -> None:
        from IPython import display

        self._progress = progress
        self._lines: list[str] = []
        self._handle: Any = display.display(self._bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self._updated = time.monotonic()

    def say(self, line: str) -> None:
        """Show a line above the bars."""
        self._lines.append(line)
        self.update(now=True)

    def update(self, *, now: bool = False) -> None:
        """Replace what is shown, unless that has just been done."""
        if now or time.monotonic() - self._updated >= SECONDS_BETWEEN_UPDATES:
            self._updated = time.monotonic()
            self._handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        """What is shown, as HTML and as text."""
        rows = [_cells(task) for task in self._progress.tasks]
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in self._lines)
        bars = [
            element("tr", _cell(row[0]), _bar(task), *map(_cell, row[1:]))
            for row, task in zip(rows, self._progress.tasks, strict=True)
        ]
        table = element("table", element("tbody", *bars), style="border:0;border-collapse:collapse;margin:0")
        text = "\n".join([*self._lines, *("  ".join(filter(None, row)) for row in rows)])
        return {"text/html": lines + (to_html(table) if rows else ""), "text/plain": text}


def _cells(task: Task) -> list[str]:
    """Texts of a bar: stage, tasks, rate, time, and what is left of it."""
    left = task.time_remaining
    remaining = "" if left is None or task.finished else f"{_clock(left)} left"
    return [
        task.description,
        f"{task.completed:.0f}/{'?' if task.total is None else format(task.total, '.0f')}",
        task.fields["rate"].strip(),
        _clock((task.finished_time if task.finished else task.elapsed) or 0.0),
        remaining,
    ]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


STYLE = "border:0;padding:1px 12px 1px 0;text-align:left;background:transparent;white-space:nowrap"


def _cell(text: str) -> Any:
    return element("td", text, style=STYLE)


def _bar(task: Task) -> Any:
    known = {} if task.total is None else {"value": float(task.completed), "max": float(task.total or 1)}
    drawn = element("progress", **known, style="width:240px")
    return element("td", drawn, style=STYLE)
