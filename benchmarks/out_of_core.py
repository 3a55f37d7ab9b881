"""Larger than the workers' memory: a Zarr array on two worker processes of 1 GiB each, against merely reading it.

Every worker process has one thread, pinned to a core of its own, as on a node of its own; through the same scheduler it
either factorizes, or reads the tiles of the same plan with the same reader and sums them. ``warm`` is from the page
cache, ``cold`` after the cache was dropped (where that is allowed), ``throttled`` behind a reader that gives every
worker a fixed bandwidth. The run's own record says what a worker held; no worker may have spilled or been restarted.
``predicted_over_measured`` compares what the plan predicts, given the bandwidth of the reading, with the run's times.
"""

from __future__ import annotations

import functools
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from distributed import Client, LocalCluster, secede
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.kernels.backend.blas import single_threaded_blas
from dbutterfly.sources.base import MatrixSource
from dbutterfly.sources.dispatch import as_source
from dbutterfly.structure.axes import Tile

from . import harness
from .throttled import Throttled

CHUNK = 1024
LIMIT = "1GiB"
DROP = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True)
class Stretched:
    """Entries of a matrix of which every row stands several times."""

    matrix: dbf.matrices.KnownMatrix
    times: int

    def __call__(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.generic]:
        return self.matrix.block(rows // self.times, cols)


def noisy_matrix(rows: int, columns: int) -> dbf.Entries:
    """Noisy orthogonal butterfly, every row several times where there are more rows than columns.

    The blocks of a root cut have the same energy then, as those of the square one, so that they take the same time.
    """
    butterfly = dbf.matrices.orthogonal_butterfly(columns, dtype=np.float32, seed=0)
    times = rows // columns
    if times > 1:
        norm = butterfly.norm * times**0.5
        butterfly = dbf.matrices.KnownMatrix(Stretched(butterfly, times), (rows, columns), np.float32, norm=norm)
    return dbf.matrices.noisy(butterfly, 0.1, seed=1)


def write_rows(path: str, first: int, last: int) -> None:
    """Write rows of the matrix."""
    array = zarr.open_array(path, mode="r+")
    entries = noisy_matrix(*array.shape)
    with single_threaded_blas():
        for row in range(first, last, CHUNK):
            for col in range(0, array.shape[1], CHUNK):
                at = slice(row, row + CHUNK), slice(col, col + CHUNK)
                array[at] = entries.block(*at)


def write_matrix(path: Path, n: int, rows: int | None = None) -> None:
    """Write the matrix, of n columns and as many rows or more, with a process per core."""
    rows = rows or n
    zarr.create_array(path, shape=(rows, n), dtype="f4", chunks=(CHUNK, CHUNK), compressors=None, overwrite=True)
    step = 4 * CHUNK
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(write_rows, str(path), row, min(row + step, rows)) for row in range(0, rows, step)]
        for job in jobs:
            job.result()


@contextmanager
def cluster(workers: int) -> Iterator[Client]:
    """Workers of one thread each, pinned to cores in turn."""
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=LIMIT, dashboard_address=":0", silence_logs=40
        ) as local,
        Client(local) as client,
    ):
        cores = sorted(os.sched_getaffinity(0))
        for number, address in enumerate(client.scheduler_info()["workers"]):
            client.run(pin, cores[number % len(cores)], workers=[address])
        yield client


def pin(core: int) -> int:
    """Hold all threads of this process, and those they will start, to one core."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})
    return os.getpid()


@functools.lru_cache(maxsize=1)
def unpickled(source_and_plan: bytes) -> tuple[MatrixSource, dbf.Plan]:
    """Open the source once per worker."""
    source, planned = pickle.loads(source_and_plan)
    return source, planned


def sum_tile(source_and_plan: bytes, tile: Tile) -> float:
    """Read a tile and sum it, while the worker reads the next one."""
    source, planned = unpickled(source_and_plan)
    grid = source.read(planned.rows, planned.cols, tile)
    secede()
    return float(grid.sum(dtype=np.float64))


def read_and_sum(client: Client, source: MatrixSource, planned: dbf.Plan) -> float:
    """Read the tiles of a plan once and sum their entries."""
    packed = pickle.dumps((source, planned))
    futures = [client.submit(sum_tile, packed, tile, pure=False) for tile in planned.tiles]
    return sum(client.gather(futures))


def state(client: Client) -> dict[str, tuple[int, int]]:
    """Process and spilled bytes of every worker."""
    pids = client.run(os.getpid)
    infos = client.scheduler_info()["workers"]
    return {
        address: (pid, sum(infos[address]["metrics"].get("spilled_bytes", {}).values()))
        for address, pid in pids.items()
    }


def drop_cache() -> None:
    """Empty the page cache."""
    os.sync()
    DROP.write_text("3")


def compare(client: Client, source: MatrixSource, run: Path, repeats: int, cold: bool) -> dict[str, Any]:
    """Seconds of both, sample by sample, with what the run's record says."""
    before, times, found = state(client), {"limit": [], "factorize": []}, None
    planned = dbf.plan(source, client=client, store=run)
    for _ in range(repeats):
        for name in times:
            shutil.rmtree(run, ignore_errors=True)
            if cold:
                drop_cache()
            started = time.perf_counter()
            if name == "limit":
                read_and_sum(client, source, planned)
            else:
                found = dbf.factorize(source, client=client, store=run)
            times[name].append(time.perf_counter() - started)
    assert found is not None
    after = state(client)
    stages = found.record["stages"]
    bandwidth = planned.source_bytes / statistics.median(times["limit"])
    predicted, measured = planned.stage_seconds(bandwidth), {name: stages[name]["seconds"] for name in stages}
    return {
        "seconds": statistics.median(times["factorize"]),
        "limit_seconds": statistics.median(times["limit"]),
        "ratio": harness.ratios(times["factorize"], times["limit"]),
        "predicted_over_measured": sum(predicted.values()) / sum(measured.values()),
        "predicted_seconds": list(predicted.items()),
        "measured_seconds": list(measured.items()),
        "tiles": planned.tasks["tiles"],
        "amplification": stages["tiles"]["bytes_read"] / planned.source_bytes,
        "predicted_peak_mib": planned.peak_bytes / 2**20,
        "peak_beyond_idle_mib": max(stage["peak_beyond_idle"] for stage in stages.values()) / 2**20,
        "peak_mib": max(stage["peak_bytes"] for stage in stages.values()) / 2**20,
        "restarts": sum(before[address][0] != after.get(address, (0, 0))[0] for address in before),
        "spilled": sum(spilled for _, spilled in after.values()),
        "error_bound": found.certificate.error_bound,
        "samples": times,
    }


def main(n: int = 65536, repeats: int = 2, rates: tuple[float, ...] = (300e6,), directory: str | None = None) -> None:
    """Write the matrix (or take the one that ``directory`` holds); measure with two workers, and from warm with one."""
    rows = []
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        path = Path(directory or scratch) / f"z{n}.zarr"
        if not path.exists():
            write_matrix(path, n)
        source = as_source(path)
        for workers in (2, 1):
            with cluster(workers) as client:
                read_and_sum(client, source, dbf.plan(source, client=client))  # into the page cache
                kinds: list[tuple[str, MatrixSource, int, bool]] = [("warm", source, repeats, False)]
                if workers == 2:
                    kinds += [(f"throttled {rate / 1e6:.0f} MB/s", Throttled(source, rate), 1, False) for rate in rates]
                if workers == 2 and os.access(DROP, os.W_OK):
                    kinds.append(("cold", source, 1, True))
                for storage, used, count, cold in kinds:
                    row = compare(client, used, Path(scratch) / "run", count, cold)
                    rows.append({"n": n, "workers": workers, "storage": storage, **row})
                    print(rows[-1], flush=True)
    warm = {row["workers"]: row for row in rows if row["storage"] == "warm"}
    rows.append({"n": n, "speedup_of_two_workers": warm[1]["seconds"] / warm[2]["seconds"]})
    harness.record("out_of_core", rows)
