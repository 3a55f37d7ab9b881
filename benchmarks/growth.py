"""Growth of time with the size: from Zarr, one worker, N = 2048 to 16384; time ~ entries to the power 1.1 at most."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import dbutterfly as dbf

from . import harness


def main(sizes: tuple[int, ...] = (2048, 4096, 8192, 16384), repeats: int = 5) -> None:
    """Factorize noisy orthogonal butterflies of growing size, and fit the exponent."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        paths = {}
        for n in sizes:
            paths[n] = Path(directory) / f"z{n}.zarr"
            butterfly = dbf.matrices.orthogonal_butterfly(n, dtype=np.float32, seed=0)
            dbf.matrices.write(dbf.matrices.noisy(butterfly, 0.1, seed=1), paths[n], chunks=(1024, 1024))
        runs = {str(n): lambda path=path: dbf.factorize(path, workers=1) for n, path in paths.items()}
        times = harness.sample(runs, repeats)
    medians = [float(np.median(times[str(n)])) for n in sizes]
    slope = float(np.polyfit(np.log([float(n) ** 2 for n in sizes]), np.log(medians), 1)[0])
    for n, seconds in zip(sizes, medians, strict=True):
        rows.append({"n": n, "seconds": seconds, "s_per_gib": seconds * 2**30 / (4 * n * n), "samples": times[str(n)]})
    rows.append({"exponent_of_entries": slope})
    harness.record("growth", rows)
