"""Rows and columns in unknown order: what ``dbutterfly.identify`` finds, and what the verdict is worth.

Butterfly matrices are shuffled and get noise; so does a kernel whose points were shuffled; and a matrix of random
numbers is there that has no such order at all. For each, the table has the verdict and the time of the search, the
residual of the worst cut beside what noise of that size would leave, and the verified error of the factorization beside
that with the orderings that were hidden.

What to expect: orders as good as the hidden ones, in seconds, whether the entries are all of equal modulus (Fourier) or
of very different ones (orthogonal butterfly); for the random numbers, ``found`` is False. So it is for the kernel where
it is so small that a low rank with fewer numbers explains it as well, though the orders are as good as the hidden ones.

The picture shows how alike the rows are on the column groups of the middle cut, as they came and in the order that was
found, and the residuals of the cuts. Run ``python examples/unknown_orderings.py --help``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.identification.plots import plot_residuals, plot_similarity

M = dbf.matrices


@dataclass(frozen=True)
class Case:
    """A matrix in unknown order, what was found, and the errors with the found and with the hidden orderings."""

    name: str
    matrix: NDArray[Any]
    chain: dbf.Chain
    found: Any
    error: float
    hidden_error: float


def cases(n: int, noise: float, seed: int) -> list[Case]:
    """Search the orderings of each target."""
    rank_one, of_waves = dbf.Chain.chainable((n, n)), dbf.Chain.chainable((n, n), rank=4)
    kernel = M.helmholtz(n, geometry="circles", seed=seed)
    targets = [
        ("Fourier", M.dft(n), rank_one),
        ("orthogonal butterfly", M.orthogonal_butterfly(n, seed=seed), rank_one),
        ("waves between circles", kernel, of_waves),
    ]
    done = []
    for name, target, chain in targets:
        hidden = M.shuffled(target, seed=seed + 1)
        z = np.asarray(M.noisy(hidden, noise, seed=seed + 2))
        done.append(case(name, z, chain, hidden.orderings.permutations(target.chain), seed))
    return [*done, case("random numbers", np.random.default_rng(seed).standard_normal((n, n)), rank_one, None, seed)]


def case(name: str, z: NDArray[Any], chain: dbf.Chain, hidden: Any, seed: int) -> Case:
    """Search the orderings of one matrix, and factorize with them and with the hidden ones."""
    found = dbf.identify(z, chain, seed=seed, budget=60.0)
    error = float(dbf.verify(dbf.factorize(z, chain, orderings=found), z))
    best = math.nan if hidden is None else float(dbf.verify(dbf.factorize(z, chain, orderings=hidden), z))
    return Case(name, z, chain, found, error, best)


def print_table(results: Sequence[Case]) -> None:
    """Print one line per target."""
    print(f"{'target':23}{'found':>6}{'time':>9}{'attempts':>10}{'residual':>10}{'floor':>8}{'error':>8}{'hidden':>8}")
    for one in results:
        found = one.found
        print(
            f"{one.name:23}{'yes' if found.found else 'no':>6}{found.seconds:7.2f} s{found.attempts:10}"
            f"{found.residual:10.4f}{found.floors.max(initial=0):8.4f}{one.error:8.4f}"
            f"{'-' if math.isnan(one.hidden_error) else format(one.hidden_error, '.4f'):>8}"
        )


def plot(results: Sequence[Case], file: Path) -> None:
    """Draw similarities before and after, and the residuals, a row of panels for each target."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 3, squeeze=False)
    for row, one in zip(panels, results, strict=True):
        plot_similarity(one.matrix, one.found, one.chain, len(one.chain) // 2, axes=row[:2])
        plot_residuals(one.found.residuals, one.found.floors, levels=one.found.levels, axes=row[2])
        row[0].set_ylabel(f"{one.name}\nrow")
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> list[Case]:
    """Read the arguments, search, print."""
    parser = argparse.ArgumentParser(description="Find the orderings of shuffled matrices.")
    parser.add_argument("--n", type=int, default=256, help="size, a power of two (default: 256)")
    parser.add_argument("--noise", type=float, default=0.1, help="noise, relative to the matrix (default: 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of matrices, shuffles and noise (default: 0)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw a picture: a .png, .svg or .pdf file")
    given = parser.parse_args(arguments)
    results = cases(given.n, given.noise, given.seed)
    print_table(results)
    if given.plot is not None:
        plot(results, given.plot)
    return results


if __name__ == "__main__":
    main()
