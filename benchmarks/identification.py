"""Orderings that are found: how often, and how fast, beside the true ones.

An instance is a success if the error of its factorization is at most 1.001 times that with the true orderings, or 1e-6
without noise; for kernels of shuffled points, at most twice that with the points in order. Sizes up to 256 run on one
thread, larger ones on two, where the peak of memory, with the matrix, is recorded too. Times are those of the
processor.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

import dbutterfly as dbf
from dbutterfly.execution import resident_memory

from . import harness

M = dbf.matrices

TARGETS = {
    "dft": lambda n, _: M.dft(n),
    "orthogonal": lambda n, seed: M.orthogonal_butterfly(n, seed=seed),
    "gaussian": lambda n, seed: M.gaussian_butterfly(n, seed=seed),
    "hadamard": lambda n, _: M.hadamard(n),
}

CELLS = [
    *((target, n, noise, 20) for target in ("dft", "orthogonal") for n in (4, 8, 16, 32, 64, 128)
      for noise in (0, 0.01, 0.03, 0.1)),
    *(("dft", 128, noise, 20) for noise in (0.3, 0.5)),
    ("orthogonal", 128, 0.3, 20),
    *(("gaussian", n, noise, 20) for n in (32, 64, 128) for noise in (0.01, 0.1)),
    *(("hadamard", n, noise, 20) for n in (4, 8, 16, 32, 64, 128, 256) for noise in (0, 0.1)),
]  # fmt: skip
LARGE = [(target, n, 0.1, 5 if n <= 1024 else 3) for n in (512, 1024, 2048, 4096) for target in ("dft", "orthogonal")]
KERNELS = [
    (n, geometry, points, rank, noise)
    for n in (256, 1024)
    for geometry in ("segments", "circles", "squares")
    for points in ("grid", "random")
    for rank in (4, 8, 16)
    for noise in (0, 0.01)
]
STORED = [(8192, "360 MiB"), (16384, "1000 MiB")]
"""Sizes of float32 matrices, of 256 MiB and 1 GiB, and what a worker may hold."""


def main(instances: int = 20, *, budget: float = 60.0) -> None:
    """Measure every cell, the large ones first, and record the table as it grows."""
    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        harness.record("identification", rows)

    for target, n, noise, most in LARGE:
        add(_cell(target, n, noise, min(most, instances), 2, 5 * budget))
    for name, target in (("Fourier", "dft"), ("orthogonal butterfly", "orthogonal")):
        seconds = {row["n"]: row["median_seconds"] for row in rows if row["target"] == target}
        exponent = math.log(seconds[4096] / seconds[512]) / math.log(4096 / 512)
        print(f"growth of time from N = 512 to 4096, {name}: exponent {exponent:.2f}")
    for target, n, noise, most in sorted(CELLS, key=lambda cell: -cell[1]):
        add(_cell(target, n, noise, min(most, instances), 1, budget))
    for cell in KERNELS:
        add(_kernel(*cell))
    for n, memory in STORED:
        add(_stored(n, memory))


def _stored(n: int, memory: str) -> dict[str, Any]:
    """A matrix in Zarr that no worker may hold, on two worker processes."""
    hidden = M.shuffled(M.orthogonal_butterfly(n, seed=1, dtype=np.float32), seed=2)
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/z.zarr"
        M.write(M.noisy(hidden, 0.1, seed=3), path, chunks=(1024, 1024))
        with LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
            resident_memory.reset_peak()
            idle, before, started = client.run(resident_memory.size), resident_memory.size(), time.perf_counter()
            result = dbf.identify(path, client=client, memory=memory, budget=600.0)
            seconds = time.perf_counter() - started
            grown = [peak - idle[worker] for worker, peak in client.run(resident_memory.peak).items()]
        here = resident_memory.peak() - before
        errors = [float(dbf.verify(dbf.factorize(path, orderings=o), path)) for o in (result, hidden.orderings)]
    print(
        f"orthogonal {n} in Zarr, memory {memory}: {errors[0] / errors[1]:.4f} times the error with the true ones, "
        f"{seconds:.0f} s, workers grow by {max(grown) / 2**20:.0f} MiB, the client by {here / 2**20:.0f} MiB",
        flush=True,
    )
    return {
        "target": "orthogonal in Zarr",
        "n": n,
        "noise": 0.1,
        "memory": memory,
        "bytes": 4 * n**2,
        "elapsed": [seconds],
        "errors": [errors],
        "grown_by_workers": grown,
        "grown_here": here,
    }


def _kernel(n: int, geometry: str, points: str, rank: int, noise: float) -> dict[str, Any]:
    """One kernel with shuffled points."""
    chain = dbf.Chain.chainable((n, n), rank=rank)
    kernel = M.helmholtz(n, geometry=geometry, points=points, seed=1)
    hidden = M.shuffled(kernel, seed=2)
    z = np.asarray(M.noisy(hidden, noise, seed=3) if noise else hidden)
    started, cpu = time.perf_counter(), time.process_time()
    result = dbf.identify(z, chain, workers=1, budget=10.0)
    seconds = time.process_time() - cpu
    in_order = hidden.orderings.permutations(kernel.chain)
    error, best = (float(dbf.verify(dbf.factorize(z, chain, orderings=o), z)) for o in (result, in_order))
    print(
        f"helmholtz {n:>5} {geometry:<9}{points:<7} rank {rank:>2} noise {noise:<4} {error / best:.3f} times the error "
        f"in order, {seconds:.1f} s",
        flush=True,
    )
    return {
        "target": f"helmholtz {geometry} {points}",
        "n": n,
        "rank": rank,
        "noise": noise,
        "errors": [[error, best]],
        "seconds": [seconds],
        "wall_seconds": time.perf_counter() - started,
    }


def _cell(target: str, n: int, noise: float, instances: int, workers: int, budget: float) -> dict[str, Any]:
    seconds, elapsed, errors, found, copies = [], [], [], 0, []
    for seed in range(instances):
        hidden = M.shuffled(TARGETS[target](n, seed), seed=seed + 1000)
        z = np.asarray(M.noisy(hidden, noise, seed=seed + 2000) if noise else hidden)
        resident_memory.reset_peak()
        before, started, cpu = resident_memory.size(), time.perf_counter(), time.process_time()
        result = dbf.identify(z, workers=workers, seed=seed, budget=budget)
        seconds.append(time.process_time() - cpu)  # which others on the machine do not lengthen
        elapsed.append(time.perf_counter() - started)
        copies.append(1 + max(resident_memory.peak() - before, 0) / z.nbytes)
        found += result.found
        errors.append([float(dbf.verify(dbf.factorize(z, orderings=o), z)) for o in (result, hidden.orderings)])
    successes = sum(error <= max(1.001 * best, 1e-6 if noise == 0 else 0) for error, best in errors)
    median, most = statistics.median(seconds), max(seconds)
    print(
        f"{target:<11}{n:>5}{noise:>5}  {successes:>2} of {instances:<2}  median {median:.2f} s, most {most:.2f} s"
        f"{f', elapsed {statistics.median(elapsed):.2f} s, memory {max(copies):.1f} |Z|' if workers == 2 else ''}",
        flush=True,
    )
    return {
        "target": target,
        "n": n,
        "noise": noise,
        "instances": instances,
        "successes": successes,
        "found": found,
        "median_seconds": median,
        "seconds": seconds,
        "elapsed": elapsed,
        "errors": errors,
        **({"memory_in_matrices": copies} if workers == 2 else {}),
    }
