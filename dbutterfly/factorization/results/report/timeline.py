"""The timeline of a run: for every worker, when it read and when it computed, as rectangles.

Pauses between two sittings of a run that was resumed are cut out. Tasks too short to be told apart share a rectangle,
so that a page stays small however many there were.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....execution.task import Record
from ..trace import Trace
from .colours import STAGES

__all__ = ["Bar", "Lane", "Timeline", "timeline"]

WIDTH = 1000.0
"""Length of the axis of time, in the units of the picture."""
LEAST = 0.6
"""Length below which a task shares a rectangle with its neighbour."""
LONGEST_PAUSE = 0.25
"""Pauses longer than this part of the time at work are cut out."""
TICKS = 6


class Bar(NamedTuple):
    """A rectangle: where it begins, how long it is, which stage it is of, and how many tasks it stands for."""

    x: float
    width: float
    stage: str
    colour: str
    tasks: int


class Lane(NamedTuple):
    """What one worker did: its bars of reading and of computing."""

    name: str
    reading: list[Bar]
    computing: list[Bar]


class Timeline(NamedTuple):
    """Lanes of all workers, with the marks of the axis of time: (place, seconds at work), and places of cuts."""

    lanes: list[Lane]
    ticks: list[tuple[float, str]]
    cuts: list[float]
    seconds: float


class _Axis:
    """Time at work: from seconds since the epoch to places on the axis, long pauses left out."""

    def __init__(self, starts: NDArray[np.float64], ends: NDArray[np.float64]) -> None:
        order = np.argsort(starts)
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        pauses = np.maximum(starts[1:] - ends[:-1], 0)
        busy = ends[-1] - starts[0] - pauses.sum()
        cut = np.flatnonzero(pauses > max(LONGEST_PAUSE * busy, 1.0))
        self._times = np.concatenate([[starts[0]], np.stack([ends[cut], starts[cut + 1]], axis=1).ravel(), [ends[-1]]])
        spans = np.diff(self._times)
        spans[1::2] = 0
        self._at_work = np.concatenate([[0.0], np.cumsum(spans)])
        self.seconds = float(max(self._at_work[-1], 1e-9))
        self.cuts = [float(place) for place in self._at_work[1:-1:2] / self.seconds * WIDTH]

    def place(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        places: NDArray[np.float64] = np.interp(times, self._times, self._at_work) / self.seconds * WIDTH
        return places


def timeline(trace: Trace) -> Timeline | None:
    """Lay a trace out; None where it has no tasks."""
    if not len(trace.tasks):
        return None
    records = {name: trace.tasks[:, 1 + index] for index, name in enumerate(Record._fields)}
    read = np.stack([records["started"], records["started"] + records["load_seconds"]], axis=1)
    computed = np.stack([records["ended"] - records["compute_seconds"], records["ended"]], axis=1)
    axis = _Axis(read[:, 0], records["ended"])
    stages = trace.tasks[:, 0].astype(int)
    workers = [records["worker"] == worker for worker in np.unique(records["worker"])]
    workers.sort(key=lambda mine: float(read[mine, 0].min()))
    lanes = [
        Lane(f"worker {number}", *(_bars(trace, axis, spans[mine], stages[mine]) for spans in (read, computed)))
        for number, mine in enumerate(workers, 1)
    ]
    return Timeline(lanes, list(_ticks(axis.seconds)), axis.cuts, axis.seconds)


def _bars(trace: Trace, axis: _Axis, spans: NDArray[np.float64], stages: NDArray[np.int_]) -> list[Bar]:
    """Bars of one lane, in the order of time; neighbours of a stage are one where they cannot be told apart."""
    bars: list[Bar] = []
    for index in np.argsort(spans[:, 0]):
        x, end = axis.place(spans[index])
        stage = trace.stages[stages[index]]
        last = bars[-1] if bars else None
        if last is not None and last.stage == stage and x - last.x - last.width < LEAST and end - last.x < 8 * LEAST:
            bars[-1] = last._replace(width=max(last.width, end - last.x), tasks=last.tasks + 1)
        else:
            bars.append(Bar(x, max(end - x, LEAST / 2), stage, STAGES.get(stage, "#666"), 1))
    return bars


def _ticks(seconds: float) -> Iterator[tuple[float, str]]:
    """Round times on the axis."""
    rough = seconds / TICKS
    unit = 10.0 ** np.floor(np.log10(rough))
    step = unit * min((1, 2, 5, 10), key=lambda factor: abs(factor * unit - rough))
    for count in range(int(seconds / step) + 1):
        yield count * step / seconds * WIDTH, f"{count * step:.4g} s"
