"""A matrix of nothing but noise, from local Zarr: what no butterfly fits costs, and what the certificate says of it.

The limit is that of ``read_limit``: reading and summing the array once, same reader, same number of workers.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import zarr

import dbutterfly as dbf
from dbutterfly.kernels.compilation import compile_now
from dbutterfly.sources.dispatch import as_source

from . import harness
from .read_limit import read_and_sum

CHUNK = 1024


def write_noise(path: Path, n: int) -> None:
    """Store normal numbers, uncompressed, a panel of chunks at a time."""
    array = zarr.create_array(str(path), shape=(n, n), chunks=(CHUNK, CHUNK), dtype="float32", compressors=None)
    rng = np.random.default_rng(0)
    for first in range(0, n, CHUNK):
        array[first : first + CHUNK] = rng.standard_normal((CHUNK, n), dtype=np.float32)


def main(n: int = 16384, repeats: int = 5) -> None:
    """Measure with one and two workers."""
    compile_now("f")
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "z.zarr"
        write_noise(path, n)
        source = as_source(path)
        for workers in (1, 2):
            planned = dbf.plan(source, workers=workers)
            times = harness.sample(
                {
                    "factorize": lambda w=workers: dbf.factorize(source, workers=w, check_fit=False),
                    "limit": lambda p=planned, w=workers: read_and_sum(source, p, w),
                },
                repeats,
            )
            certificate = dbf.factorize(source, workers=workers, check_fit=False).certificate
            rows.append(
                {
                    "n": n,
                    "workers": workers,
                    "compiled": planned.layout.compiled,
                    "seconds": float(np.median(times["factorize"])),
                    "limit_seconds": float(np.median(times["limit"])),
                    "ratio": harness.ratios(times["factorize"], times["limit"]),
                    "error_bound": certificate.error_bound,
                    "lower_bound": certificate.lower_bound,
                    "samples": [times["factorize"], times["limit"]],
                }
            )
    harness.record("noise", rows)
