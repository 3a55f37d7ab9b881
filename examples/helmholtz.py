"""A fast operator for waves: factorize the Helmholtz kernel at three tolerances and three sizes.

``Z[i, j] = exp(i k |x_i - y_j|) / sqrt(|x_i - y_j|)`` is the field at the points x of sources at the points y, on two
parallel segments by default. The wavenumber k grows with N, so that a wavelength always has ten points, and the rank of
Z with it: it stays near N / 11, so that a truncated SVD is five times smaller than Z, at any N. But the blocks of p
neighbouring points x and N / p neighbouring points y have a rank that depends on the tolerance and not on N. That is
what a chain of rank r asks for, with rows ``"bitreversal"``; ``factorize(tol=...)`` finds the chain.

For each size and tolerance, the table has the largest rank of a cut, the number of factors and how many times smaller
they are; the relative error measured against the matrix, between the certificate's lower bound (no product of this
chain is below) and its upper bound, both proven from one read of the matrix; and the times: of the factorization, of a
product of the operator with a vector and of the dense product, on one core. The last column is the number of products
after which the factorization has paid for itself.

What to expect: the ranks of blocks of as many entries stay, so that compression and gain grow as N / log N, while a
truncated SVD stays where it is.

Run ``python examples/helmholtz.py --help``.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import dbutterfly as dbf

SIZES = (1024, 2048, 4096)

TOLERANCES = (1e-3, 1e-6, 1e-9)


@dataclass(frozen=True)
class Result:
    """One factorization; errors are relative, in the Frobenius norm, and times in seconds on one core."""

    n: int
    tol: float
    rank: int
    factors: int
    compression: float
    error: float
    floor: float
    bound: float
    factorize: float
    apply: float
    dense: float

    @property
    def pays_after(self) -> float:
        """Products with a vector after which the factorization has paid for itself; infinite if it never does."""
        gain = self.dense - self.apply
        return math.ceil(self.factorize / gain) if gain > 0 else math.inf


def seconds(product: Callable[[], Any], repeats: int = 20) -> float:
    """Shortest time of a product."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        product()
        times.append(time.perf_counter() - started)
    return min(times)


def study(n: int, tolerances: Sequence[float] = TOLERANCES, geometry: str = "segments") -> list[Result]:
    """Factorize the kernel between two sets of ``n`` points, once per tolerance."""
    dense = np.asarray(dbf.matrices.helmholtz(n, geometry=geometry))
    x = np.random.default_rng(0).standard_normal(n) + 0j
    results = []
    with threadpool_limits(1):
        dense_product = seconds(lambda: dense @ x)
        for tol in tolerances:
            started = time.perf_counter()
            fact = dbf.factorize(dense, tol=tol, orderings=("bitreversal", None), workers=1)
            elapsed = time.perf_counter() - started
            results.append(
                Result(
                    n=n,
                    tol=tol,
                    rank=fact.chain.rank,
                    factors=len(fact.chain),
                    compression=fact.compression,
                    error=float(dbf.verify(fact, dense, workers=1)),
                    floor=fact.certificate.lower_bound,
                    bound=fact.certificate.error_bound,
                    factorize=elapsed,
                    apply=seconds(lambda operator=fact.operator: operator @ x),
                    dense=dense_product,
                )
            )
    return results


def print_table(results: Sequence[Result]) -> None:
    """Print one line per size and tolerance."""
    print(
        f"{'N':>6}{'tol':>8}{'rank':>6}{'factors':>9}{'smaller':>9}{'none below':>12}{'error':>10}{'bound':>10}"
        f"{'factorize':>11}{'operator':>11}{'dense':>10}{'gain':>7}{'pays after':>12}"
    )
    for row in results:
        print(
            f"{row.n:6}{row.tol:8.0e}{row.rank:6}{row.factors:9}{row.compression:8.1f}x{row.floor:12.2e}{row.error:10.2e}"
            f"{row.bound:10.2e}{row.factorize:9.2f} s{row.apply * 1e3:8.2f} ms{row.dense * 1e3:7.2f} ms"
            f"{row.dense / row.apply:6.1f}x{row.pays_after:12}"
        )


def plot(results: Sequence[Result], file: Path) -> None:
    """Draw compression and gain against the size, one line per tolerance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    smaller, faster = figure.subplots(1, 2)
    for tol in dict.fromkeys(row.tol for row in results):
        rows = [row for row in results if row.tol == tol]
        sizes = [row.n for row in rows]
        smaller.loglog(sizes, [row.compression for row in rows], marker="o", label=f"tolerance {tol:.0e}")
        faster.loglog(sizes, [row.dense / row.apply for row in rows], marker="o")
    smaller.set(xlabel="N", ylabel="times smaller than dense")
    faster.set(xlabel="N", ylabel="times faster than a dense product")
    smaller.legend()
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> list[Result]:
    """Read the arguments, factorize, print."""
    parser = argparse.ArgumentParser(description="Factorize the Helmholtz kernel at several tolerances and sizes.")
    parser.add_argument("--n", type=int, nargs="+", default=SIZES, help="sizes (default: 1024 2048 4096)")
    parser.add_argument("--geometry", choices=["segments", "circles", "squares"], default="segments")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the table, to a .png, .svg or .pdf file")
    given = parser.parse_args(arguments)
    results = [result for n in given.n for result in study(n, geometry=given.geometry)]
    print_table(results)
    if given.plot is not None:
        plot(results, given.plot)
    return results


if __name__ == "__main__":
    main()
