"""The stages of a run: the arrays that they fill, and what is left to do of them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import CheckpointError
from .execution.engine import Engine
from .execution.progress import ProgressBar
from .execution.task import Record, Task, done_name
from .planning.sizes import format_bytes
from .probing import ProbeTask
from .sampling import SampledTileTask
from .sources.base import MatrixSource
from .storage.lease import Lease
from .storage.run_store import RunStore
from .structure.axes import Tile
from .tasks import Job, TileTask, stage_of, stage_tasks, writers

__all__ = ["Run", "forgotten", "made_arrays", "run_stages"]

_log = logging.getLogger("dbutterfly")

SECONDS_BETWEEN_LINES = 30.0
"""Time after which a stage under way is logged again."""


@dataclass(frozen=True)
class Run:
    """A run's store, with the right to write into it."""

    store: RunStore
    lease: Lease


class _Array(NamedTuple):
    """An array of the workspace, as it is made."""

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: Any


@contextlib.contextmanager
def made_arrays(job: Job) -> Iterator[Callable[[], None]]:
    """Make the arrays of :mod:`dbutterfly.tasks`, chunked so that a task writes whole chunks.

    Those of the first stage are there at once, and those of the others, of a run that begins, when the function that
    is yielded returns: they are made while the first stage runs.
    """
    planned, arrays = job.plan, list(_arrays(job))
    fields = len(Record._fields)
    begun = {
        stage
        for stage, tasks in planned.tasks.items()
        if not job.workspace.create(done_name(stage), (tasks, fields), (1, fields), np.float64)
    }
    first = next(iter(planned.tasks))
    at_once = [array for array in arrays if begun or stage_of(planned, array.name) == first]
    _make(job, at_once, begun)
    with ThreadPoolExecutor(1, thread_name_prefix="dbutterfly-arrays") as thread:
        rest = thread.submit(_make, job, [array for array in arrays if array not in at_once], begun)
        yield rest.result
        rest.result()


def _make(job: Job, arrays: list[_Array], begun: set[str]) -> None:
    """Make arrays that are not there yet; tasks of stages that had begun, which filled one of them, are done again."""
    for array in arrays:
        made = job.workspace.create(*array)
        if made and begun:  # an array that an earlier run had written to is gone, or its version had none
            stage, numbers = writers(job.plan, array.name, (slice(None),))
            if stage in begun and _forget(job, stage, numbers):
                _log.warning(
                    "the run that is continued has left no array %s: its %s tasks are done again", array.name, stage
                )


def _arrays(job: Job) -> Iterator[_Array]:
    """Arrays that the tasks fill, but for those that say which have ended."""
    planned = job.plan
    dtype, f8 = planned.source.work_dtype, np.float64
    if planned.copy is not None:
        yield _Array("copy", planned.source.shape, planned.copy.chunks, dtype)
    if planned.split is None:
        shape = (1, *planned.chain.patterns[0])
        yield _Array("left/0", shape, shape, dtype)
        yield _Array("stats", (1, 1, 3), (1, 1, 3), f8)
        return
    p, u, q, v, rank = planned.split
    _, rows, cols, lg, rg, *_ = planned.layout
    kept = planned.ranks[-1]
    stats = 1 + 2 * len(planned.ranks)
    yield _Array("A", (u, q, kept, p), (min(lg, rows), cols, kept, p), dtype)
    yield _Array("stats", (u, q, stats), (rows, cols, stats), f8)
    yield _Array("X", (u, q, rank, p), (lg, cols, rank, p), dtype)
    yield _Array("scale", (u, q, rank, rank), (lg, q, rank, rank), dtype)
    yield _Array("left_error", (u, q, 1 + rank), (lg, q, 1 + rank), f8)
    kept = kept if planned.passes == 1 else rank
    yield _Array("B", (q, u, kept, v), (min(rg, cols), rows, kept, v), dtype)
    yield _Array("right_error", (q, u, rank), (rg, u, rank), f8)
    if planned.passes == 2:
        yield _Array("second", (u, q, 1), (rows, cols, 1), f8)
    for side, half, groups, per_task in (("left", job.halves[0], u, lg), ("right", job.halves[1], q, rg)):
        for index, pattern in enumerate(half):
            yield _Array(f"{side}/{index}", (groups, *pattern), (per_task, *pattern), dtype)
        if len(half) > 1:
            yield _Array(f"{side}_missed", (groups, len(half) - 1), (per_task, len(half) - 1), f8)


def run_stages(
    job: Job, engine: Engine, run: Run | None, progress: bool, made: Callable[[], None]
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """Run what is left to do of every stage; its summary and the records of its tasks, by stage.

    ``made`` is what :func:`made_arrays` yields.
    """
    found: dict[str, Any] = {} if run is None else dict(run.store.manifest.get("stages", {}))
    records = {}
    if engine.dashboard is not None:
        _log.info("dashboard: %s", engine.dashboard, extra={"fields": {"event": "dashboard", "link": engine.dashboard}})
    with ProgressBar(progress, note=engine.dashboard and f"dashboard: {engine.dashboard}") as bar:
        for number, (stage, tasks) in enumerate(stage_tasks(job.plan, _tile_task(job.source)).items()):
            if number == 1:
                made()
            rows = records[stage] = job.workspace.read_rows(done_name(stage))
            todo = [(index, task) for index, task in enumerate(tasks) if np.isnan(rows[index]).any()]
            if not todo and stage in found:
                continue
            bar.start(stage, len(tasks), len(tasks) - len(todo))
            started = time.perf_counter()
            _run_stage(job, engine, run, bar, todo, rows)
            found[stage] = _summary(rows, time.perf_counter() - started, len(tasks) - len(todo))
            _say_ended(stage, found[stage], rows[[index for index, _ in todo]])
            if run is not None:
                run.store.update(stages=found)
    return found, records


def _tile_task(source: MatrixSource) -> Callable[[Tile], Task]:
    """How the tiles of a matrix are split."""
    if source.probed:
        return ProbeTask
    return SampledTileTask if source.sampled else TileTask


def _run_stage(
    job: Job,
    engine: Engine,
    run: Run | None,
    bar: ProgressBar,
    todo: list[tuple[int, Task]],
    rows: NDArray[np.float64],
) -> None:
    started = said = time.monotonic()
    ended, read = len(rows) - len(todo), 0

    def on_done(number: int, record: Record) -> None:
        nonlocal ended, read, said
        rows[number] = record
        ended, read, now = ended + 1, read + int(record.bytes_read), time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            fields = {"event": "progress", "tasks": len(rows), "ended": ended}
            _say(todo[0][1].stage, f"{ended} of {len(rows)} tasks", read, now - started, fields)
        bar.advance(int(record.bytes_read))
        if run is not None:
            run.lease.check()

    if todo:
        engine.run(job, todo, on_done)


def _say_ended(stage: str, summary: dict[str, Any], rows: NDArray[np.float64]) -> None:
    """Log a stage that has ended; what it read is that of this run."""
    resumed = f" and {summary['resumed']} of an earlier run" if summary["resumed"] else ""
    read = int(rows[:, Record._fields.index("bytes_read")].sum())
    _say(stage, f"{summary['tasks']} tasks{resumed}", read, summary["seconds"], {"event": "stage", **summary})


def _say(stage: str, tasks: str, read: int, seconds: float, fields: dict[str, Any]) -> None:
    rate = read / seconds / 1e9 if seconds > 0 else 0.0
    what = f", {format_bytes(read)} read, {rate:.2f} GB/s" if read else ""
    given = {"stage": stage, "seconds": seconds, "bytes_read": read, "gb_per_s": rate}
    _log.info("%s: %s in %.2f s%s", stage, tasks, seconds, what, extra={"fields": fields | given})


def _summary(rows: NDArray[np.float64], seconds: float, resumed: int) -> dict[str, Any]:
    """Record of a stage: sums over its tasks, of this run and of those that it continues."""
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


def forgotten(job: Job, error: CheckpointError) -> CheckpointError:
    """Forget that the tasks have ended that wrote what is damaged, and say so."""
    stage, numbers = writers(job.plan, error.name, error.selection)
    _forget(job, stage, numbers)
    message = f"{error}; it was not used, and the same call computes it again ({len(numbers)} of the {stage} tasks)"
    return CheckpointError(message, error.name, error.selection)


def _forget(job: Job, stage: str, numbers: list[int]) -> bool:
    """Take back that tasks have ended, where they have; whether there were any."""
    rows = job.workspace.read_rows(done_name(stage))
    ended = [number for number in numbers if not np.isnan(rows[number]).all()]
    for number in ended:
        row = np.full((1, len(Record._fields)), np.nan)
        job.workspace.write(done_name(stage), (slice(number, number + 1),), row)
    return bool(ended)
