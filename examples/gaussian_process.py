"""Regression by a Gaussian process at 50,000 points of the plane, whose covariance is never formed.

Values y of an unknown function are measured at N random points of the unit square, with noise. A Gaussian process with
the covariance ``K[i, j] = exp(-|x_i - x_j| / length)`` predicts the function at other points by ``k(x, X) a`` where
``(K + noise^2 I) a = y``. The dense matrix takes ``8 N^2`` bytes, and its Cholesky factor ``N^3 / 6`` multiplications:
20 GB and most of an hour at N = 50,000.

K is a kernel of one set of points with itself, so it is no butterfly: blocks near the diagonal have full rank. Blocks
of points that are far apart have a low rank, and ``factorize(form="hierarchical")`` finds them from samples of the
entries. Its operator solves the system by conjugate gradients, preconditioned by the blocks on the diagonal.

For each size, the table has the certificate's error of K, estimated from entries that the run has not seen; the part of
all entries that were evaluated; iterations; the error of the prediction, relative to the function; and memory and time
of both ways. Time is of one core. The dense way is measured up to ``--dense`` points, where both predictions are
compared, and marked by ~ where it follows from that by the powers of N above.

What to expect: memory and time grow little faster than N, and the prediction is that of the dense matrix. For that, the
error of K must stay below the variance of the noise: with too large a tolerance, K is no longer positive definite, and
``solve`` says so.

Run ``python examples/gaussian_process.py --help``.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

import dbutterfly as dbf

LENGTH, NOISE = 0.3, 0.1

TESTED = 1000
"""Points at which the function is predicted."""

SIDE = 512
"""Positions of a block on the diagonal that preconditions."""


@dataclass(frozen=True)
class Result:
    """One size: errors are relative, memory in bytes, and times in seconds on one core."""

    n: int
    error: float
    evaluated: float
    iterations: int
    missed: float
    difference: float | None
    memory: int
    dense_memory: int
    factorize: float
    solve: float
    dense_seconds: float
    is_measured: bool


def function(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The function that is to be found: waves that grow shorter towards one corner."""
    return np.sin(9 * x[:, 0] * x[:, 1]) + np.cos(7 * x[:, 0] - 4 * x[:, 1] ** 2)


def covariance(x: NDArray[np.float64], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entries of the covariance of the measurements, at the crossings of some rows and columns."""
    return np.exp(-cdist(x[rows], x[cols]) / LENGTH) + NOISE**2 * np.equal.outer(rows, cols)


def predict(x: NDArray[np.float64], weights: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at other points, a few points at a time."""
    parts = np.array_split(at, max(1, len(x) // 1000))
    return np.concatenate([np.exp(-cdist(part, x) / LENGTH) @ weights for part in parts])


def solve_dense(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Form the matrix, and solve by its Cholesky factor."""
    places = np.arange(len(x))
    factor = scipy.linalg.cho_factor(covariance(x, places, places), overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, y, check_finite=False)


def run(n: int, tol: float, most_dense: int, measured: Result | None) -> Result:
    """Regress with so many points; times of the dense way follow from a size that was measured where this is larger."""
    rng = np.random.default_rng(0)
    x, at = rng.random((n, 2)), rng.random((TESTED, 2))
    y = function(x) + NOISE * rng.standard_normal(n)
    entries = dbf.entries(functools.partial(covariance, x), (n, n), "float64", sampled=True)
    started = time.process_time()
    fact = dbf.factorize(entries, points=(x, x), form="hierarchical", tol=tol, symmetric=True, workers=1)
    factorized = time.process_time()
    found = fact.operator.solve(y, tol=1e-4, preconditioner=fact.operator.preconditioner(SIDE))
    solved = time.process_time()
    predicted, wanted = predict(x, found.x, at), function(at)
    difference, is_measured = None, n <= most_dense
    if is_measured:
        before = time.process_time()
        weights = solve_dense(x, y)
        dense_seconds = time.process_time() - before
        difference = float(np.linalg.norm(predicted - predict(x, weights, at)) / np.linalg.norm(wanted))
    else:
        dense_seconds = float("nan") if measured is None else measured.dense_seconds * (n / measured.n) ** 3
    return Result(
        n,
        fact.certificate.error_bound,
        fact.record.get("evaluated", {"entries": n**2})["entries"] / n**2,  # small matrices are looked at as a whole
        found.iterations,
        float(np.linalg.norm(predicted - wanted) / np.linalg.norm(wanted)),
        difference,
        fact.nbytes,
        8 * n**2,
        factorized - started,
        solved - factorized,
        dense_seconds,
        is_measured,
    )


def print_table(results: Sequence[Result]) -> None:
    """Print one line per size."""
    names = [("N", 7), ("error of K", 11), ("evaluated", 10), ("iterations", 11), ("prediction off", 15)]
    names += [("from dense", 11), ("memory", 11), ("factorize", 11), ("solve", 11), ("dense", 13), ("dense", 13)]
    print(" ".join(f"{name:>{width}}" for name, width in names))
    for one in results:
        compared = "-" if one.difference is None else f"{one.difference:.1e}"
        mark = " " if one.is_measured else "~"
        print(
            f"{one.n:7} {one.error:11.2e} {100 * one.evaluated:9.1f}% {one.iterations:11} {100 * one.missed:14.2f}%"
            f" {compared:>11} {one.memory / 1e6:8.1f} MB {one.factorize:9.1f} s {one.solve:9.1f} s"
            f" {one.dense_memory / 1e6:10.1f} MB {mark}{one.dense_seconds:10.1f} s"
        )


def plot(results: Sequence[Result], file: Path) -> None:
    """Draw memory and time over the size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    memory, seconds = figure.subplots(1, 2)
    sizes = [one.n for one in results]
    memory.loglog(sizes, [one.memory / 1e6 for one in results], marker="o", label="hierarchical")
    memory.loglog(sizes, [one.dense_memory / 1e6 for one in results], marker="s", label="dense")
    seconds.loglog(sizes, [one.factorize + one.solve for one in results], marker="o", label="hierarchical")
    seconds.loglog(sizes, [one.dense_seconds for one in results], marker="s", label="dense (~ by N³)")
    memory.set(xlabel="points", ylabel="megabytes")
    seconds.set(xlabel="points", ylabel="seconds on one core")
    for panel in (memory, seconds):
        panel.set(xticks=sizes, xticklabels=[str(size) for size in sizes])
        panel.minorticks_off()
        panel.legend(loc="upper left")
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> list[Result]:
    """Read the arguments, regress, print."""
    parser = argparse.ArgumentParser(description="Regression by a Gaussian process whose covariance is never formed.")
    parser.add_argument("--n", type=int, nargs="+", default=[4096, 14000, 50000], help="points (4096 14000 50000)")
    parser.add_argument("--tol", type=float, default=1e-6, help="relative error of the covariance (default: 1e-6)")
    parser.add_argument("--dense", type=int, default=4096, help="most points of the dense way (default: 4096)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw both, to a .png, .svg or .pdf file")
    given = parser.parse_args(arguments)
    if min(given.n) < 128:
        parser.error(f"--n {min(given.n)} is too few: give at least 128 points")
    results: list[Result] = []
    with threadpool_limits(1):
        for n in sorted(given.n):
            measured = next((one for one in reversed(results) if one.is_measured), None)
            results.append(run(n, given.tol, given.dense, measured))
    print_table(results)
    if given.plot is not None:
        plot(results, given.plot)
    return results


if __name__ == "__main__":
    main()
