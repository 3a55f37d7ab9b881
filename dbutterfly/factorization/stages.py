"""The stages of a run: their tasks, and what is left to do of them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..execution.engine import Engine
from ..execution.progress import SECONDS_BETWEEN_LINES, ProgressBar, run_under_bar
from ..execution.task import Record, Task, done_name
from ..planning.nested import ESTIMATE_LINES
from ..planning.nested_steps import CORE
from ..planning.plan import Plan
from ..planning.sizes import format_bytes
from ..sources.info import SourceInfo
from ..structure.axes import Tile
from .current_run import Run
from .job import FactorizationJob
from .reach import Reach
from .tasks.copies import CopyTask
from .tasks.halves import LeftTask, RightTask
from .tasks.probed_tiles import ProbeTask
from .tasks.projection import ProjectTask
from .tasks.sampled_tiles import SampledTileTask
from .tasks.skeletons import CoreTask, StepTask
from .tasks.tiles import TileTask, WholeTask

__all__ = ["RunUnderWay", "run_stages", "run_tasks", "stage_tasks"]

_log = logging.getLogger("dbutterfly")


class RunUnderWay(Protocol):
    """What running the tasks of stages needs of a run, of one matrix or of a stack."""

    @property
    def job(self) -> Any:
        """What the tasks share."""

    @property
    def stages(self) -> dict[str, Any]:
        """Summaries of the stages that have ended in earlier sittings."""

    def record_stages(self, stages: dict[str, Any]) -> None:
        """Keep the summaries of the stages that have ended."""

    def check_right(self) -> None:
        """Refuse to go on where another process has taken over the run."""


def run_stages(
    run: Run, engine: Engine, *, later_arrays: Future[None], progress: bool
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """Run what is left to do of every stage of a run; see :func:`run_tasks`."""
    plan, tol = run.job.plan, run.request.tol
    stages = stage_tasks(plan, _tile_task(plan.source)) if plan.nested is None else nested_tasks(plan)
    reach = None
    if tol is not None and plan.split is not None and plan.nested is None and _tile_task(plan.source) is TileTask:
        reach = Reach(run.job, tol)
        reach.resume()
    return run_tasks(run, engine, stages, later_arrays=later_arrays, reach=reach, progress=progress)


def run_tasks(
    run: RunUnderWay,
    engine: Engine,
    stages: Mapping[str, Sequence[Task[Any]]],
    *,
    later_arrays: Future[None] | None = None,
    reach: Reach | None = None,
    on_ended: Callable[[str, int], None] | None = None,
    progress: bool,
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """Run what is left to do of every stage.

    Parameters
    ----------
    run : RunUnderWay
        The run.
    engine : Engine
        Where its tasks run.
    stages : mapping of sequence
        Tasks of each stage, in the order of the stages.
    later_arrays : Future, optional
        Ends when the arrays of the stages after the first one are there.
    reach : Reach, optional
        Looks at every tile that has ended, and ends the run where its tolerance is out of reach.
    on_ended : callable, optional
        Called with the stage and the number of each task that ends.
    progress : bool
        Whether to show a bar for every stage.

    Returns
    -------
    summaries : dict of dict
        Times and bytes of every stage.
    records : dict of array, shape (tasks, fields)
        Records of the tasks of every stage.
    """
    job, found, records = run.job, run.stages, {}
    with ProgressBar(progress) as bar:
        for number, (stage, tasks) in enumerate(stages.items()):
            if number == 1 and later_arrays is not None:
                later_arrays.result()
            rows = records[stage] = job.workspace.read_rows(done_name(stage))
            todo = [(index, task) for index, task in enumerate(tasks) if np.isnan(rows[index]).any()]
            if todo or stage not in found:
                started = time.perf_counter()
                look_at: Callable[[int], None] | None = None if on_ended is None else partial(on_ended, stage)
                if reach is not None and stage == "tiles":
                    look_at = reach.look_at
                _run_stage(run, engine, bar, stage, todo, rows, look_at)
                found[stage] = _summarize(rows, time.perf_counter() - started, len(tasks) - len(todo))
                _log_ended(stage, found[stage], rows[[index for index, _ in todo]])
                run.record_stages(found)
            if reach is not None and stage == "tiles":
                reach.look()
    return found, records


def _tile_task(source: SourceInfo) -> Callable[[Tile], Task[FactorizationJob]]:
    """Kind of task that splits the tiles of a matrix."""
    if source.probed:
        return ProbeTask
    return SampledTileTask if source.sampled else TileTask


def _run_stage(
    run: RunUnderWay,
    engine: Engine,
    bar: ProgressBar,
    stage: str,
    todo: list[tuple[int, Task[Any]]],
    rows: NDArray[np.float64],
    look_at: Callable[[int], None] | None,
) -> None:
    """Run the tasks of a stage that have not ended, and keep their records in ``rows``."""
    started = said = time.monotonic()
    ended, read = len(rows) - len(todo), 0

    def on_done(number: int, record: Record) -> None:
        nonlocal ended, read, said
        rows[number] = record
        ended, read, now = ended + 1, read + int(record.bytes_read), time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            fields = {"event": "progress", "tasks": len(rows), "ended": ended}
            _log_stage(stage, f"{ended} of {len(rows)} tasks", read, now - started, fields)
        run.check_right()
        if look_at is not None:
            look_at(number)

    run_under_bar(bar, engine, run.job, stage, todo, finished=ended, on_done=on_done)


def _log_ended(stage: str, summary: dict[str, Any], rows: NDArray[np.float64]) -> None:
    """Log a stage that has ended, with the bytes that this sitting has read."""
    resumed = f" and {summary['resumed']} of an earlier run" if summary["resumed"] else ""
    read = int(rows[:, Record._fields.index("bytes_read")].sum())
    _log_stage(stage, f"{summary['tasks']} tasks{resumed}", read, summary["seconds"], {"event": "stage", **summary})


def _log_stage(stage: str, tasks: str, read: int, seconds: float, fields: dict[str, Any]) -> None:
    """Log what a stage has done so far, and how fast."""
    rate = read / seconds / 1e9 if seconds > 0 else 0.0
    what = f", {format_bytes(read)} read, {rate:.2f} GB/s" if read else ""
    given = {"stage": stage, "seconds": seconds, "bytes_read": read, "gb_per_s": rate}
    _log.info("%s: %s in %.2f s%s", stage, tasks, seconds, what, extra={"fields": fields | given})


def _summarize(rows: NDArray[np.float64], seconds: float, resumed: int) -> dict[str, Any]:
    """Summarize a stage: sums over its tasks, of this sitting and of earlier ones."""
    fields = dict(zip(Record._fields, rows.T, strict=True))
    return {
        "tasks": len(rows) - resumed,
        "resumed": resumed,
        "seconds": seconds,
        "bytes_read": int(fields["bytes_read"].sum()),
        "load_seconds": float(fields["load_seconds"].sum()),
        "compute_seconds": float(fields["compute_seconds"].sum()),
        "idle_bytes": int(fields["idle_bytes"].max()),
        "peak_bytes": int(fields["peak_bytes"].max()),
        "peak_beyond_idle": int((fields["peak_bytes"] - fields["idle_bytes"]).max()),
    }


def nested_tasks(plan: Plan) -> dict[str, Sequence[Task[FactorizationJob]]]:
    """Tasks of a run by nested skeletons; each may evaluate a part of the entries that are spared, for some blocks."""
    assert plan.nested is not None
    assert plan.nested_steps is not None
    steps, entries = plan.nested_steps, plan.nested.task_entries
    spared = math.prod(plan.source.shape) - ESTIMATE_LINES * sum(plan.source.shape) - steps.entries
    stages: dict[str, Sequence[Task[FactorizationJob]]] = {}
    for step in steps.steps:
        tiles = step.tiles(entries)
        extra = max(spared, 0) * step.entries // (steps.entries * len(tiles))
        stages[step.name] = [StepTask(step.name, *tile, extra) for tile in tiles]
    return {**stages, CORE: [CoreTask(CORE, *tile) for tile in steps.core_tiles(entries)]}


def stage_tasks(
    plan: Plan, tile_task: Callable[[Tile], Task[FactorizationJob]] = TileTask
) -> dict[str, Sequence[Task[FactorizationJob]]]:
    """Tasks of each stage, in the order of the stages; ``tile_task`` splits the tiles."""
    if plan.split is None:
        return {"tiles": [WholeTask()]}
    stages: dict[str, Sequence[Task[FactorizationJob]]] = {
        "copy": [CopyTask(panel) for panel in plan.panels],
        "tiles": [tile_task(tile) for tile in plan.tiles],
        "left": [LeftTask(*span) for span in plan.left_ranges],
        "project": [ProjectTask(tile) for tile in plan.tiles],
        "right": [RightTask(*span) for span in plan.right_ranges],
    }
    return {stage: stages[stage] for stage in plan.tasks}
