"""Orderings that are found: how often, and how fast, beside the true ones.

An instance is a success if the error of its factorization is at most 1.001 times that with the true orderings, or 1e-6
without noise. Sizes up to 256 run on one thread, larger ones on two.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

import dbutterfly as dbf

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


def main(instances: int = 20, *, budget: float = 60.0) -> None:
    """Measure every cell, and record the table."""
    rows = [_cell(target, n, noise, min(most, instances), 1, budget) for target, n, noise, most in CELLS]
    rows += [_cell(target, n, noise, min(most, instances), 2, 5 * budget) for target, n, noise, most in LARGE]
    harness.record("identification", rows)


def _cell(target: str, n: int, noise: float, instances: int, workers: int, budget: float) -> dict[str, Any]:
    seconds, errors, found = [], [], 0
    for seed in range(instances):
        hidden = M.shuffled(TARGETS[target](n, seed), seed=seed + 1000)
        z = np.asarray(M.noisy(hidden, noise, seed=seed + 2000) if noise else hidden)
        started, cpu = time.perf_counter(), time.process_time()
        result = dbf.identify(z, workers=workers, seed=seed, budget=budget)
        # One thread: its processor time, which others on the machine do not lengthen.
        seconds.append(time.process_time() - cpu if workers == 1 else time.perf_counter() - started)
        found += result.found
        errors.append([float(dbf.verify(dbf.factorize(z, orderings=o), z)) for o in (result, hidden.orderings)])
    successes = sum(error <= max(1.001 * best, 1e-6 if noise == 0 else 0) for error, best in errors)
    median, most = statistics.median(seconds), max(seconds)
    print(
        f"{target:<11}{n:>5}{noise:>5}  {successes:>2} of {instances:<2}  median {median:.2f} s, most {most:.2f} s",
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
        "errors": errors,
    }
