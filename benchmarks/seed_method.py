"""The method of Zheng et al. (GRETSI 2023) with the settings of the paper: how often it finds the trees.

Every cut for itself, five contrasts, five restarts, fifty rounds; then the cuts are fused. Success is a valid pair of
trees that gives an error of at most 1.001 times that with the true orderings (1e-6 without noise); the paper asked for
valid trees only. Sizes 64 and 128 take hours: ``python -m benchmarks seed_method --sizes 64 128 --instances 5``.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import dbutterfly as dbf
from dbutterfly.identification.alternating import alternating_run, best_partitions, fuse, runs_of
from dbutterfly.identification.cuts import cuts_of, to_standard

from . import harness

SIZES = (4, 8, 16, 32)
INSTANCES = 20
NOISES = (0.0, 0.01, 0.03, 0.1)
TARGETS = ("orthogonal", "dft")
PAPER_DFT_128 = {0.0: 1.0, 0.01: 0.95, 0.03: 0.9, 0.1: 0.5}
"""Success in the paper for Fourier matrices of size 128; elsewhere, and for orthogonal butterflies, it is 1."""


def one(target: str, n: int, noise: float, instance: int) -> dict[str, Any]:
    """Identify one instance, on one core; seconds are those of the processor."""
    rng = np.random.default_rng([n, instance])
    clean = dbf.matrices.dft(n) if target == "dft" else dbf.matrices.orthogonal_butterfly(n, seed=rng)
    shuffled = dbf.matrices.shuffled(dbf.matrices.noisy(clean, noise, seed=rng), seed=rng)
    matrix, chain = np.asarray(shuffled), shuffled.chain
    cuts = cuts_of(chain)
    started = time.process_time()
    runs = runs_of(cuts, instance)
    found = [alternating_run(matrix, run) for run in runs]
    trees = fuse(best_partitions(runs, found), cuts)
    seconds = time.process_time() - started
    valid = trees.rows is not None and trees.cols is not None
    over = None
    if valid:
        error = _error(matrix, chain, (to_standard(trees.rows, chain), trees.cols))
        # Without noise the reference is rounding: 1e-6 stands for it, so that success is a ratio of 1 or less.
        over = error / (1e-6 if noise == 0 else _error(matrix, chain, shuffled.orderings))
    return {"valid": valid, "over": over, "success": valid and over <= 1.001, "seconds": seconds}


def _error(matrix: np.ndarray, chain: dbf.Chain, orderings: Any) -> float:
    """Relative error of the factorization with these orderings."""
    return dbf.factorize(matrix, chain, orderings=orderings, passes=2, workers=1).certificate.error_bound


def paper(target: str, n: int, noise: float) -> float | None:
    """Success that the paper states, if it has this cell."""
    if n > 128:
        return None
    return PAPER_DFT_128[noise] if (target, n) == ("dft", 128) else 1.0


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print success rates, those of the paper in parentheses, a line for each target and size."""
    print(f"{'target':12}{'N':>5}" + "".join(f"{f'noise {noise:g}':>18}" for noise in NOISES) + f"{'processor':>14}")
    for start in range(0, len(rows), len(NOISES)):
        line = rows[start : start + len(NOISES)]
        cells = []
        for row in line:
            stated = "-" if row["paper"] is None else f"{row['paper']:.0%}"
            cells.append(f"{row['success']:.0%} ({stated})")
        seconds = statistics.median(row["seconds"] for row in line)
        print(
            f"{line[0]['target']:12}{line[0]['n']:5}" + "".join(f"{cell:>18}" for cell in cells) + f"{seconds:12.1f} s"
        )


def main(sizes: Sequence[int] = SIZES, instances: int = INSTANCES) -> None:
    """Run all cells, the instances of a cell side by side on the cores."""
    rows = []
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=context, initializer=threadpool_limits, initargs=(1,)) as pool:
        for n, target, noise in itertools.product(sizes, TARGETS, NOISES):
            found = list(pool.map(one, *zip(*((target, n, noise, i) for i in range(instances)), strict=True)))
            rows.append(
                {
                    "target": target,
                    "n": n,
                    "noise": noise,
                    "instances": instances,
                    "success": sum(each["success"] for each in found) / instances,
                    "valid": sum(each["valid"] for each in found) / instances,
                    "paper": paper(target, n, noise),
                    "seconds": statistics.median(each["seconds"] for each in found),
                    "samples": found,
                }
            )
            print(f"{target} {n}, noise {noise:g}: {rows[-1]['success']:.0%}", file=sys.stderr)
    harness.record("seed_method", rows)
    print_table(rows)
