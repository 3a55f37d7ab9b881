"""Kernels of one set of points with itself, in the hierarchical form: errors, values, time, growth, and out of core.

Figures of ButterflyPACK 4.1 with its option knn (own driver on its block interface, gfortran 12, one core of another
machine, processor seconds) are cited beside, not measured here; so are the errors of its defaults, asked for 1e-6.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import zarr
from distributed import Client, LocalCluster
from scipy.sparse.linalg import cg, gmres

import dbutterfly as dbf
from dbutterfly.execution import resident_memory
from dbutterfly.sources.dispatch import as_source

from . import harness
from .throttled import Throttled

M = dbf.matrices

N = 4096
TARGETS: dict[str, Callable[[int], Any]] = {
    "exponential covariance 1-D": lambda n: M.covariance(n, dimension=1, seed=1),
    "exponential covariance 2-D": lambda n: M.covariance(n, dimension=2, length=0.2, seed=1),
    "exponential covariance 3-D": lambda n: M.covariance(n, dimension=3, length=0.5, seed=1),
    "Matern 3/2 covariance 2-D": lambda n: M.covariance(n, kernel="matern32", length=0.2, seed=1),
    "Gaussian covariance 2-D": lambda n: M.covariance(n, kernel="gaussian", nugget=0.01, seed=1),
    "Gaussian covariance 2-D, short": lambda n: M.covariance(n, kernel="gaussian", length=0.05 / math.sqrt(2), seed=1),
    "Laplace circle": lambda n: M.laplace(n, seed=1),
    "Laplace square, random": lambda n: M.laplace(n, geometry="square", points="random", seed=1),
    "Laplace sphere": lambda n: M.laplace(n, geometry="sphere", seed=1),
    "Helmholtz circle": lambda n: M.helmholtz(n, geometry="circle"),
    "Helmholtz sphere": lambda n: M.helmholtz(n, geometry="sphere"),
    "Helmholtz square, random": lambda n: M.helmholtz(n, geometry="square", points="random", seed=1),
    "interlaced Cauchy": lambda n: M.cauchy(n, points="interlaced"),
    "graph kernel": lambda n: M.graph_kernel(n),
}
CITED = {
    "interlaced Cauchy": {"megabytes": 10.0, "seconds": 0.6, "error": 1.9e-6, "error_of_defaults": 3.7e-2},
    "Helmholtz circle": {"megabytes": 18.0, "seconds": 1.2, "error": 3.4e-7, "error_of_defaults": 1.9e-3},
}
"""What ButterflyPACK takes at N = 4096, asked for 1e-6."""

TOLERANCES = (1e-4, 1e-6)
GROWTH = (4096, 8192, 16384, 32768, 65536)
STORED = 32768
FRESH = 64

BANDWIDTH = 300e6
"""Bytes for a second of a slow storage, of which each worker has a half."""

MOST_STEPS = 500
"""Most iterations of a solver."""


def one(name: str, n: int, tol: float, kind: str) -> dict[str, Any]:
    """Factorize one case on one thread of this process: from an array, or from an entry function that is sampled."""
    _warm()
    known = TARGETS[name](n)
    is_sampled = kind == "sampled"
    z = dbf.entries(known.f, known.shape, known.dtype, sampled=True) if is_sampled else np.asarray(known)
    started = time.process_time()
    found = dbf.factorize(z, points=known.points, tol=tol, form="hierarchical", workers=1, check_fit=False)
    seconds = time.process_time() - started
    error = dbf.verify(found, z, samples=FRESH, seed=7) if is_sampled else dbf.verify(found, z)
    kinds: dict[str, int] = {}
    for block in found.blocks:
        kinds[block.kind] = kinds.get(block.kind, 0) + 1
    evaluated = found.record.get("evaluated")  # none where samples would be no fewer entries
    entries = n**2 if evaluated is None else evaluated["entries"]
    cited = CITED.get(name, {}) if n == N and tol == 1e-6 else {}
    return {
        "target": name,
        "n": n,
        "tol": tol,
        "kind": kind,
        "cpu_seconds": seconds,
        "megabytes": found.nbytes / 1e6,
        "values": sum(block.nnz for block in found.blocks),
        "share": entries / n**2,
        "stated": found.certificate.error_bound,
        "lower": found.certificate.lower_bound,
        "deviation": found.certificate.deviation,
        "error": float(error),
        "peak_gib": resident_memory.peak() / 2**30,
        "blocks": kinds,
        **{f"butterflypack_{key}": value for key, value in cited.items()},
    }


def _warm() -> None:
    """Imports and first calls."""
    known = M.covariance(256, seed=0)
    for z in (np.asarray(known), dbf.entries(known.f, known.shape, known.dtype, sampled=True)):
        dbf.factorize(z, points=known.points, tol=1e-2, form="hierarchical", workers=1, check_fit=False)


def _fresh(*case: Any) -> dict[str, Any]:
    """Run a case in a process of its own."""
    return harness.in_process("benchmarks.hierarchical", *map(str, case))


def stored(n: int) -> dict[str, Any]:
    """A covariance in Zarr, on two worker processes of 1 GiB: times over those of reading it once, and its reads.

    Processor seconds are those of the workers, and of the client for the factorization.
    """
    known = M.covariance(n, dimension=2, points="random", length=0.2, dtype=np.float32, seed=1)
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/z.zarr"
        M.write(known, path, chunks=(2048, 2048))
        local = LocalCluster(2, threads_per_worker=1, dashboard_address=":0", memory_limit="1 GiB")
        with local as cluster, Client(cluster) as client:
            client.run(_read_once, path, 0, 2)  # fills the page cache
            reading = _timed(client, lambda: _read_by_both(client, path))[1:]
            asked = {"points": known.points, "tol": 1e-3, "form": "hierarchical", "client": client}
            found, *taken = _timed(client, lambda: dbf.factorize(path, store=f"{place}/run.zarr", **asked))
            slow = Throttled(as_source(path), BANDWIDTH / 2)
            throttled = _timed(client, lambda: dbf.factorize(slow, store=f"{place}/slow.zarr", **asked))[1]
    plan = found.record["plan"]
    return {
        "n": n,
        "reading": reading[0],
        "reading_cpu_seconds": reading[1],
        "elapsed": taken[0],
        "cpu_seconds": taken[1],
        "ratio": taken[0] / reading[0],
        "throttled": throttled,
        "throttled_ratio": throttled * BANDWIDTH / (n * n * 4),
        "plan_bytes_read": plan["bytes_read"],
        "amplification": plan["amplification"],
        "stated": found.certificate.error_bound,
        "megabytes": found.nbytes / 1e6,
    }


def _timed(client: Any, call: Callable[[], Any]) -> tuple[Any, float, float]:
    """What a call gives, the seconds that it took, and those of the processors of the workers and of this process."""
    before, started = sum(client.run(time.process_time).values()) + time.process_time(), time.perf_counter()
    given = call()
    elapsed = time.perf_counter() - started
    return given, elapsed, sum(client.run(time.process_time).values()) + time.process_time() - before


def _read_by_both(client: Any, path: str) -> None:
    """Read a matrix once, each of two workers a half."""
    client.gather([client.submit(_read_once, path, part, 2, pure=False) for part in range(2)])


def _read_once(path: str, part: int, parts: int) -> float:
    """Read each chunk of a part of the rows once, and sum it."""
    z: Any = zarr.open_array(path, mode="r")
    step = z.chunks[0]
    total = 0.0
    for row in range(part * step, z.shape[0], parts * step):
        for col in range(0, z.shape[1], z.chunks[1]):
            total += float(np.sum(z[row : row + step, col : col + z.chunks[1]], dtype=np.float64))
    return total


SOLVED = {
    "Gaussian covariance 2-D": "cg",
    "exponential covariance 2-D": "cg",
    "Laplace circle": "gmres",
    "Helmholtz circle": "gmres",
    "Helmholtz sphere": "gmres",
}
"""Kernels with which systems are solved, and how."""


def solved(name: str, n: int, tol: float, method: str) -> dict[str, Any]:
    """Iterations with the operator, and with the matrix itself, to ten times the tolerance of the operator."""
    known = TARGETS[name](n)
    z = np.asarray(known)
    found = dbf.factorize(z, points=known.points, tol=tol, form="hierarchical", workers=1, check_fit=False)
    m = found.operator.preconditioner()
    b = z @ np.random.default_rng(0).standard_normal(n).astype(z.dtype)
    row: dict[str, Any] = {"target": name, "n": n, "tol": tol, "solver": method}
    for label, matrix in (("operator", found.operator), ("matrix", z)):
        steps: list[float] = []
        started = time.process_time()
        if method == "cg":
            x, failed = cg(matrix, b, rtol=10 * tol, M=m, maxiter=MOST_STEPS, callback=lambda _, to=steps: to.append(0))
        else:
            how: dict[str, Any] = {"restart": MOST_STEPS, "maxiter": 4, "callback_type": "pr_norm"}
            x, failed = gmres(matrix, b, rtol=10 * tol, M=m, callback=steps.append, **how)
        row[f"seconds_with_{label}"] = time.process_time() - started
        row[f"iterations_with_{label}"] = None if failed else len(steps)
        row[f"residual_with_{label}"] = float(np.linalg.norm(b - z @ x) / np.linalg.norm(b))
    return row


def main(n: int = N, largest: int = GROWTH[-1], stored_n: int = STORED) -> None:
    """Measure every case in a process of its own, and record the figures as they come."""
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)
        harness.record("hierarchical", rows, show=False)

    for name in TARGETS:
        for tol in TOLERANCES:
            for kind in ("array", "sampled"):
                add(_fresh(name, n, tol, kind))
    for name, method in SOLVED.items():
        for tol in TOLERANCES:
            add(_fresh(name, n, tol, method))
    sizes = [size for size in GROWTH if size <= largest]
    grown = [_fresh("exponential covariance 2-D", size, 1e-4, "sampled") for size in sizes]
    for row in grown:
        add(row)
    for key in ("values", "cpu_seconds"):
        exponent = math.log(grown[-1][key] / grown[0][key]) / math.log(sizes[-1] / sizes[0])
        print(f"growth of {key} from N = {sizes[0]} to {sizes[-1]}: exponent {exponent:.2f}")
    if stored_n:
        add({"target": "stored", **stored(stored_n)})


if __name__ == "__main__":
    case = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
    print(json.dumps((solved if case[3] in SOLVED.values() else one)(*case)))
