"""In memory, one core, against lazylinop's ``ksd`` (order l2r, its fastest): time, error and peak memory.

Every sample is a fresh process that loads Z from a ``.npy`` file, so that peaks are its own. The kernels are compiled
before, as by ``dbutterfly compile``. The first call of a process loads Numba and these kernels; it has a figure of its
own, and the others are those of the second call. lazylinop factorizes a small matrix before. Peak memory is what the
process holds beyond what it held before the call.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from dbutterfly.kernels.compilation import compile_now

from . import harness


def make(kind: str, n: int, dtype: str, path: Path) -> None:
    """Save a target: an exact or a noisy butterfly, in standard order."""
    import dbutterfly as dbf

    if kind == "dft":
        reversal = dbf.Orderings(None, "bitreversal").permutations(dbf.Chain.square_dyadic(n))[1]
        matrix = np.asarray(dbf.matrices.dft(n, dtype=dtype))[:, reversal]
    elif kind == "orthogonal + noise 0.01":
        matrix = np.asarray(dbf.matrices.noisy(dbf.matrices.orthogonal_butterfly(n, dtype=dtype, seed=1), 0.01, seed=2))
    elif kind == "gaussian + noise 0.1":
        matrix = np.asarray(dbf.matrices.noisy(dbf.matrices.gaussian_butterfly(n, dtype=dtype, seed=1), 0.1, seed=2))
    else:
        matrix = np.asarray(dbf.matrices.orthogonal_butterfly(n, dtype=dtype, seed=1))
    np.save(path, np.ascontiguousarray(matrix))


def one(package: str, path: str) -> dict[str, Any]:
    """Factorize the matrix of a file, in this process."""
    warnings.simplefilter("ignore")
    matrix, first = np.load(path), 0.0
    n = matrix.shape[0]
    if package == "dbutterfly":
        import dbutterfly as dbf

        started = time.perf_counter()
        dbf.factorize(matrix, workers=1)
        first = time.perf_counter() - started
        memory = harness.PeakMemory()
        started = time.perf_counter()
        found = dbf.factorize(matrix, workers=1)
        elapsed = time.perf_counter() - started
        peak = memory.beyond()
        operator: Any = found.operator
    else:
        from lazylinop.butterfly import Chain, ksd

        ksd(np.eye(64, dtype=matrix.dtype), Chain.square_dyadic((64, 64)), order="l2r")
        memory = harness.PeakMemory()
        started = time.perf_counter()
        operator = ksd(matrix, Chain.square_dyadic((n, n)), order="l2r")
        elapsed = time.perf_counter() - started
        peak = memory.beyond()
    rng = np.random.default_rng(0)
    probe = rng.standard_normal((n, 16)).astype(matrix.dtype)
    exact = matrix @ probe
    error = float(np.linalg.norm(exact - operator @ probe) / np.linalg.norm(exact))
    return {"seconds": elapsed, "first_seconds": first, "peak_over_z": peak / matrix.nbytes, "error_on_probes": error}


def main(sizes: tuple[int, ...] = (8192, 1024), repeats: int = 2) -> None:
    """Run all targets and record the ratios."""
    targets = [("orthogonal", "float32"), ("orthogonal + noise 0.01", "float32"), ("gaussian + noise 0.1", "float32")]
    targets += [("dft", "complex128"), ("orthogonal + noise 0.01", "complex128")]
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for n in sizes:
            for kind, dtype in targets:
                compile_now(np.dtype(dtype).char)
                path = Path(directory) / "z.npy"
                make(kind, n, dtype, path)
                samples: dict[str, list[dict[str, Any]]] = {"dbutterfly": [], "lazylinop": []}
                for _ in range(repeats if n > 2048 else 3 * repeats):  # of short times more samples
                    for package, found in samples.items():
                        found.append(harness.in_process("benchmarks.peers", package, str(path)))
                ours, theirs = samples["dbutterfly"], samples["lazylinop"]
                median = lambda found, key: float(np.median([s[key] for s in found]))  # noqa: E731
                rows.append(
                    {
                        "n": n,
                        "target": kind,
                        "dtype": dtype,
                        "seconds": median(ours, "seconds"),
                        "first_seconds": median(ours, "first_seconds"),
                        "lazylinop_seconds": median(theirs, "seconds"),
                        "times_faster": harness.ratios([s["seconds"] for s in theirs], [s["seconds"] for s in ours]),
                        "peak_over_z": median(ours, "peak_over_z"),
                        "lazylinop_peak_over_z": median(theirs, "peak_over_z"),
                        "error": median(ours, "error_on_probes"),
                        "lazylinop_error": median(theirs, "error_on_probes"),
                        "samples": [ours, theirs],
                    }
                )
                print(rows[-1], file=sys.stderr)
    harness.record("peers", rows)


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], sys.argv[2])))
