"""From local Zarr against the limit: reading and summing the array once, same reader, same number of workers.

The array is uncompressed, float32, chunks of 1024 x 1024, in the page cache. ``throttled`` puts both behind a reader
that gives each worker a fixed bandwidth: there arithmetic should hide behind reading.
"""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import dbutterfly as dbf
from dbutterfly.kernels.compilation import compile_now
from dbutterfly.sources.base import MatrixSource
from dbutterfly.sources.dispatch import as_source
from dbutterfly.structure.axes import Tile

from . import harness
from .throttled import Throttled


def read_and_sum(source: MatrixSource, planned: dbf.Plan, workers: int) -> float:
    """Read the tiles of a plan once and sum their entries."""
    total, lock = 0.0, threading.Lock()

    def add(tile: Tile) -> None:
        nonlocal total
        part = float(source.read(planned.rows, planned.cols, tile).sum())
        with lock:
            total += part

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(add, planned.tiles))
    return total


def main(n: int = 16384, repeats: int = 15) -> None:
    """Measure warm and throttled reading with one and two workers."""
    compile_now("f")
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "z.zarr"
        butterfly = dbf.matrices.orthogonal_butterfly(n, dtype=np.float32, seed=0)
        dbf.matrices.write(dbf.matrices.noisy(butterfly, 0.1, seed=1), path, chunks=(1024, 1024))
        stored = as_source(path)
        dbf.factorize(stored)  # the first run of a process loads Numba and the compiled kernels
        for workers in (1, 2):
            for bandwidth in (None, 300e6, 100e6):
                source = stored if bandwidth is None else Throttled(stored, bandwidth)
                planned = dbf.plan(source, workers=workers)
                count = repeats if bandwidth is None else 3
                times = harness.sample(
                    {
                        "factorize": lambda s=source, w=workers: dbf.factorize(s, workers=w),
                        "limit": lambda s=source, p=planned, w=workers: read_and_sum(s, p, w),
                    },
                    count,
                )
                rows.append(
                    {
                        "n": n,
                        "workers": workers,
                        "mb_per_s_per_worker": bandwidth and bandwidth / 1e6,
                        "seconds": float(np.median(times["factorize"])),
                        "limit_seconds": float(np.median(times["limit"])),
                        "ratio": harness.ratios(times["factorize"], times["limit"]),
                        "samples": [times["factorize"], times["limit"]],
                    }
                )
    harness.record("read_limit", rows)
