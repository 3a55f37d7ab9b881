"""The stages of a run: the arrays that they fill, and what is left to do of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import Engine
from .errors import CheckpointError
from .lease import Lease
from .plan import Tile
from .probing import ProbeTask
from .progress import ProgressBar
from .sampling import SampledTileTask
from .sources import MatrixSource
from .store import RunStore
from .tasks import Job, Record, Task, TileTask, done_name, stage_tasks, writers

__all__ = ["Run", "create_arrays", "forgotten", "run_stages"]


@dataclass(frozen=True)
class Run:
    """A run's store, with the right to write into it."""

    store: RunStore
    lease: Lease


def create_arrays(job: Job) -> None:
    """Make the arrays of :mod:`dbutterfly.tasks`, chunked so that a task writes whole chunks."""
    planned = job.plan
    dtype, f8 = planned.source.work_dtype, np.float64
    fields = len(Record._fields)
    begun = {
        stage
        for stage, tasks in planned.tasks.items()
        if not job.workspace.create(done_name(stage), (tasks, fields), (1, fields), f8)
    }

    def create(name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> None:
        made = job.workspace.create(name, shape, chunks, dtype)
        if made and begun:  # an array that an earlier run had written to is gone
            stage, numbers = writers(planned, name, (slice(None),))
            if stage in begun:
                _forget(job, stage, numbers)

    if planned.copy is not None:
        create("copy", planned.source.shape, planned.copy.chunks, dtype)
    if planned.split is None:
        shape = (1, *planned.chain.patterns[0])
        create("left/0", shape, shape, dtype)
        create("stats", (1, 1, 3), (1, 1, 3), f8)
        return
    p, u, q, v, rank = planned.split
    _, rows, cols, lg, rg, *_ = planned.layout
    kept = planned.ranks[-1]
    stats = 1 + 2 * len(planned.ranks)
    create("A", (u, q, kept, p), (min(lg, rows), cols, kept, p), dtype)
    create("stats", (u, q, stats), (rows, cols, stats), f8)
    create("X", (u, q, rank, p), (lg, cols, rank, p), dtype)
    create("scale", (u, q, rank, rank), (lg, q, rank, rank), dtype)
    create("left_error", (u, q, 1 + rank), (lg, q, 1 + rank), f8)
    kept = kept if planned.passes == 1 else rank
    create("B", (q, u, kept, v), (min(rg, cols), rows, kept, v), dtype)
    create("right_error", (q, u, rank), (rg, u, rank), f8)
    if planned.passes == 2:
        create("second", (u, q, 1), (rows, cols, 1), f8)
    for side, half, groups, per_task in (("left", job.halves[0], u, lg), ("right", job.halves[1], q, rg)):
        for index, pattern in enumerate(half):
            create(f"{side}/{index}", (groups, *pattern), (per_task, *pattern), dtype)


def run_stages(job: Job, engine: Engine, run: Run | None, progress: bool) -> dict[str, Any]:
    """Run what is left to do of every stage, and record it."""
    found: dict[str, Any] = {} if run is None else dict(run.store.manifest.get("stages", {}))
    with ProgressBar(progress) as bar:
        for stage, tasks in stage_tasks(job.plan, _tile_task(job.source)).items():
            rows = job.workspace.read_rows(done_name(stage))
            todo = [(number, task) for number, task in enumerate(tasks) if np.isnan(rows[number]).any()]
            if not todo and stage in found:
                continue
            bar.start(stage, len(tasks), len(tasks) - len(todo))
            started = time.perf_counter()
            _run_stage(job, engine, run, bar, todo, rows)
            found[stage] = _summary(rows, time.perf_counter() - started, len(tasks) - len(todo))
            if run is not None:
                run.store.update(stages=found)
    return found


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
    def on_done(number: int, record: Record) -> None:
        rows[number] = record
        bar.advance(int(record.bytes_read))
        if run is not None:
            run.lease.check()

    if todo:
        engine.run(job, todo, on_done)


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


def _forget(job: Job, stage: str, numbers: list[int]) -> None:
    """Take back that tasks have ended, where they have."""
    rows = job.workspace.read_rows(done_name(stage))
    for number in numbers:
        if not np.isnan(rows[number]).all():
            row = np.full((1, len(Record._fields)), np.nan)
            job.workspace.write(done_name(stage), (slice(number, number + 1),), row)
