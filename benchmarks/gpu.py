"""A job on a GPU: its kernels against the memory of the device, its copies, how far both overlap, and the prediction.

``python -m benchmarks gpu`` needs CuPy and a CUDA device, and says so where there is none. Several GPUs are measured as
the workers of a cluster: ``python -m benchmarks scaling --scheduler ADDRESS``.
"""

from __future__ import annotations

import importlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dbutterfly as dbf
from dbutterfly.errors import how_to_install
from dbutterfly.kernels.backend import Backend, cuda, namespace, resolve_backend, tile_memory
from dbutterfly.kernels.low_rank.grid import low_rank_grid
from dbutterfly.planning.predicted_time import DEVICES

from . import harness
from .scaling import written

NAME = "gpu"
PREDICTED = "h100"
"""Device of the data sheets that is predicted for one which is not among them."""


def main(n: int = 32768, repeats: int = 5, directory: str | None = None) -> None:
    """Measure the device of this machine; the matrix stays in ``directory`` if one is given."""
    if not cuda.has_device():
        print(f"{NAME}: skipped, since there is no CUDA device, or no CuPy: {how_to_install('gpu')}")
        return
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        path = written(Path(directory or scratch), n, n)
        harness.record(NAME, measured(path, Path(scratch) / "run", repeats))


def measured(path: Path, run: Path, repeats: int) -> list[dict[str, Any]]:
    """Rows: what the device can, the kernels of a tile, and the whole job on host and device."""
    name = str(importlib.import_module("cupy").cuda.runtime.getDeviceProperties(0)["name"].decode())
    plan = dbf.plan(path, backend="cupy", workers=1)
    rows = of_tile(plan, repeats)
    rows += [of_job(path, run, backend, repeats) for backend in ("numpy", "cupy")]
    device = next((found for found in DEVICES.values() if found.name in name.lower()), DEVICES[PREDICTED])
    predicted = plan.stage_seconds(10e9, device)  # from the page cache
    rows.append(
        {"what": "job, predicted", "seconds": sum(predicted.values()), "stage_seconds": list(predicted.items())}
    )
    return [{"device": name, **row} for row in rows]


def of_tile(plan: Any, repeats: int) -> list[dict[str, Any]]:
    """Copying a tile there, reading it once on the device, and its kernels."""
    backend, (p, _, _, v, _) = resolve_backend("cupy"), plan.split
    shape = p, plan.layout.tile_rows, plan.layout.tile_cols * v
    with tile_memory.keep(backend.host_memory), backend.lane(1) as lane:
        lying = tile_memory.empty(shape, plan.source.work_dtype)
        rng = np.random.default_rng(0)
        left, right = rng.standard_normal((p, shape[1], 1), "f4"), rng.standard_normal((1, shape[1], shape[2]), "f4")
        lying[...] = left * right
        grid = lying.reshape(p, shape[1], -1, v).transpose(1, 2, 0, 3)

        def upload() -> None:
            lane.upload([grid])
            lane.release()

        copying = timed(upload, repeats)
        lane.upload([grid])
        there = lane.call(lambda: backend.to_device(grid))
        xp = namespace(there)
        reading = timed(on(lane, lambda: xp.sum(there, dtype=there.dtype)), repeats)
        kernels = timed(on(lane, lambda: kernel(there, plan, backend)), repeats)
    size = grid.nbytes
    return [
        {"what": "copy of a tile to the device", **copying, "gb_per_second": size / copying["seconds"] / 1e9},
        {"what": "reading a tile on the device", **reading, "gb_per_second": size / reading["seconds"] / 1e9},
        {
            "what": "kernels of a tile",
            **kernels,
            "gb_per_second": size / kernels["seconds"] / 1e9,
            "times_reading_it": kernels["seconds"] / reading["seconds"],
        },
    ]


def on(lane: Any, work: Callable[[], Any]) -> Callable[[], None]:
    """Do something in a lane, and wait for it there."""

    def done() -> None:
        lane.call(work)
        lane.wait()

    return done


def kernel(grid: Any, plan: Any, backend: Backend) -> None:
    """What a tile is given to."""
    xp = namespace(grid)
    low_rank_grid(grid, plan.ranks, dtype=getattr(xp, plan.source.work_dtype), stack_bytes=backend.stack_bytes)


def of_job(path: Path, run: Path, backend: str, repeats: int) -> dict[str, Any]:
    """The job with one worker; how much of the shorter of reading and computing the tiles is hidden by the other."""
    walls, overlaps, stages = [], [], []
    for _ in range(repeats + 1):  # the first one compiles, and finds what the storage has
        shutil.rmtree(run, ignore_errors=True)
        started = time.perf_counter()
        found = dbf.factorize(path, store=run, workers=1, backend=backend)
        walls.append(time.perf_counter() - started)
        tiles = found.record["stages"]["tiles"]
        stages.append({name: stage["seconds"] for name, stage in found.record["stages"].items()})
        parts = tiles["load_seconds"], tiles["compute_seconds"]
        overlaps.append((sum(parts) - tiles["seconds"]) / min(parts))
    best = walls.index(min(walls[1:]))
    return {
        "what": f"job, {backend}",
        "seconds": walls[best],
        "overlap": statistics.median(overlaps[1:]),
        "stage_seconds": list(stages[best].items()),
        "samples": walls[1:],
    }


def timed(work: Callable[[], None], repeats: int) -> dict[str, Any]:
    """Shortest of some times, after one that is not counted."""
    samples = harness.sample({"it": work}, repeats + 1)["it"][1:]
    return {"seconds": min(samples), "samples": samples}
