"""Is the Fourier transform of a graph a butterfly? Factorize the eigenvectors of its Laplacian, in several orders.

The graph Fourier basis U holds the eigenvectors of the graph's Laplacian as columns, ordered by eigenvalue, that is by
frequency. A dense N x N product with U is what keeps spectral methods on graphs small. For a path, U is the cosine
transform and for a ring the discrete Fourier transform, for which O(N log N) is known. For other graphs nothing is, but
a certificate says how far a chain of factors gets. U is orthogonal, so a truncated SVD is hopeless at any size.

A chain cuts U into blocks of low rank. Which rows (vertices) and columns (frequencies) meet in a block is a matter of
their order, and decides everything:

- ``as numbered``: every u-th vertex with a band of frequencies, vertices as the package numbers them;
- ``shuffled``: vertices and frequencies in random order, as a control;
- ``strided``: every u-th vertex with every q-th frequency, the order of the fast Fourier transform
  (columns ``"bitreversal"``), with a chain that is cut alike at both ends (``balanced=True``);
- ``clusters``: neighbours in the numbering with a band of frequencies (rows ``"bitreversal"``);
- ``Laplacian``: neighbours in the graph with a band of frequencies. The vertices are cut into two equal halves by the
  second eigenvector of the Laplacian, these again, and so on: nothing but the graph is used.

What to expect: strided, path and ring are exact at rank 4 (two waves in every eigenvector, two parities). On the
sensor network, whose numbering means nothing, the order from the Laplacian is what makes a butterfly of it, if a rough
one; the community graph is numbered by communities, and that is the better order there. The grid has frequencies in two
dimensions, which ordering by eigenvalue mixes, so that none of these orders does well; with the frequencies in the
order of the grid, U is a Kronecker product, and exactly two Monarch factors of rank one.

Run ``python examples/graph_fourier.py --help``.
"""

from __future__ import annotations

import argparse
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pygsp import graphs

import dbutterfly as dbf

GRAPHS: dict[str, Callable[[int], Any]] = {
    "path": graphs.Path,
    "ring": graphs.Ring,
    "grid": lambda n: graphs.Grid2d(math.isqrt(n), math.isqrt(n)),
    "sensor": lambda n: graphs.Sensor(n, seed=1),
    "community": lambda n: graphs.Community(n, seed=1),
}
"""Graphs of n vertices; n must be a square, for the grid."""

ORDERS = ("as numbered", "shuffled", "strided", "clusters", "Laplacian")

RANKS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Result:
    """One chain on one graph; errors are relative, in the Frobenius norm."""

    graph: str
    order: str
    rank: int
    compression: float
    error: float
    floor: float


def fourier_basis(name: str, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Laplacian and Fourier basis of a graph of ``n`` vertices."""
    logging.disable(logging.INFO)  # pygsp tells how it searched for neighbours
    try:
        with warnings.catch_warnings():
            # SciPy announces a change of dtype that does not matter to the integer degrees of a community graph.
            warnings.simplefilter("ignore", FutureWarning)
            laplacian = GRAPHS[name](n).L.toarray().astype(np.float64)
    finally:
        logging.disable(logging.NOTSET)
    _, basis = scipy.linalg.eigh(laplacian)  # as graph.compute_fourier_basis, but for isolated vertices too
    return laplacian, basis


def bisection(laplacian: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order vertices by cutting the graph into equal halves by its second eigenvector, again and again."""

    def order(vertices: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(vertices) <= 2:
            return vertices
        inside = laplacian[np.ix_(vertices, vertices)]
        inside -= np.diag(inside.sum(axis=1))  # without the edges that leave the part
        _, vectors = scipy.linalg.eigh(inside, subset_by_index=[0, 1])
        sides = np.argsort(vectors[:, 1], kind="stable")
        middle = len(vertices) // 2
        return np.concatenate([order(vertices[sides[:middle]]), order(vertices[sides[middle:]])])

    return order(np.arange(len(laplacian)))


def orderings(order: str, chain: dbf.Chain, vertices: NDArray[np.int64]) -> dbf.Orderings:
    """Orderings of rows and columns, by name; ``vertices`` is the order of :func:`bisection`."""
    n = len(vertices)
    if order == "shuffled":
        rng = np.random.default_rng(0)
        return dbf.Orderings(rng.permutation(n), rng.permutation(n))
    if order == "Laplacian":
        reversal, _ = dbf.Orderings("bitreversal", None).permutations(chain)
        return dbf.Orderings(vertices[reversal], None)
    sides = {"as numbered": (None, None), "strided": (None, "bitreversal"), "clusters": ("bitreversal", None)}
    return dbf.Orderings(*sides[order])


def chain_of(order: str, n: int, rank: int) -> dbf.Chain:
    """Chain for an order: the strided one needs blocks of ``n`` entries, as the fast Fourier transform has."""
    return dbf.Chain.chainable((n, n), rank, balanced=order == "strided")


def compare(names: Iterable[str], n: int, ranks: Sequence[int] = RANKS) -> list[Result]:
    """Factorize the basis of every graph in every order. Two passes make the error exact."""
    results = []
    for name in names:
        laplacian, basis = fourier_basis(name, n)
        vertices = bisection(laplacian)
        for order in ORDERS:
            for rank in ranks:
                chain = chain_of(order, n, rank)
                sides = orderings(order, chain, vertices)
                fact = dbf.factorize(basis, chain, orderings=sides, passes=2, workers=1)
                found = fact.certificate
                results.append(Result(name, order, rank, fact.compression, found.error_bound, found.lower_bound))
    return results


def grid_in_its_own_order(n: int) -> tuple[dbf.Factorization, dbf.Factorization]:
    """Factorize the basis of the grid by two Monarch factors, frequencies ordered by eigenvalue or as the grid is."""
    chain = dbf.Chain.monarch((n, n))
    _, by_eigenvalue = fourier_basis("grid", n)
    _, path = fourier_basis("path", math.isqrt(n))
    own = np.kron(path, path)  # the Laplacian of a grid is a Kronecker sum
    return tuple(dbf.factorize(basis, chain, passes=2, workers=1) for basis in (by_eigenvalue, own))


def svd_error(n: int, compression: float) -> float:
    """Error of a truncated SVD of as many parameters: all singular values are one."""
    rank = math.floor(n / (2 * compression))
    return math.sqrt(1 - rank / n)


def print_table(results: Sequence[Result], n: int) -> None:
    """Print one line per graph and order, one column per rank."""
    ranks = sorted({result.rank for result in results})
    print(f"{n} vertices; relative error (no product of this chain is below)\n")
    print(f"{'':12}{'rank':14}" + "".join(f"{rank:>20}" for rank in ranks))
    for label, order in (("smaller", "clusters"), ("  if strided", "strided")):
        sizes = [n * n / chain_of(order, n, rank).nnz for rank in ranks]
        print(f"{'':12}{label:14}" + "".join(f"{size:19.1f}x" for size in sizes))
    errors = [svd_error(n, n * n / chain_of("clusters", n, rank).nnz) for rank in ranks]
    print(f"{'':12}{'SVD':14}" + "".join(f"{error:>20.3g}" for error in errors))
    for start in range(0, len(results), len(ranks)):
        line = results[start : start + len(ranks)]
        name = line[0].graph if line[0].order == ORDERS[0] else ""
        cells = [f"{result.error:.2g} ({result.floor:.2g})" for result in line]
        print(f"{name:12}{line[0].order:14}" + "".join(f"{cell:>20}" for cell in cells))


def plot(results: Sequence[Result], file: Path) -> None:
    """Draw the errors against the compression, one panel per graph."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(result.graph for result in results))
    figure = Figure(figsize=(3 * len(names), 3.2), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        for order in ORDERS:
            points = [(r.compression, r.error) for r in results if (r.graph, r.order) == (name, order)]
            panel.loglog(*zip(*points, strict=True), marker="o", label=order)
        panel.set(title=name, xlabel="times smaller", xticks=(2, 8, 32), xticklabels=("2", "8", "32"))
        panel.minorticks_off()
    panels[0].set(ylabel="relative error", ylim=(1e-3, 1.2))
    panels[-1].legend()
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> list[Result]:
    """Read the arguments, compare, print."""
    parser = argparse.ArgumentParser(description="Factorize the Fourier bases of graphs, in several orders.")
    parser.add_argument("--n", type=int, default=1024, help="vertices, a power of four (default: 1024)")
    parser.add_argument("--graphs", nargs="+", choices=list(GRAPHS), default=list(GRAPHS), help="default: all")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the errors, to a .png, .svg or .pdf file")
    given = parser.parse_args(arguments)
    if given.n < 64 or math.isqrt(given.n) ** 2 != given.n or given.n & (given.n - 1):
        parser.error(f"--n {given.n} is not a power of four, at least 64")
    results = compare(given.graphs, given.n)
    print_table(results, given.n)
    if "grid" in given.graphs:
        by_eigenvalue, own = grid_in_its_own_order(given.n)
        print(f"\nThe grid by two Monarch factors, {own.compression:.0f} times smaller:")
        print(f"  frequencies by eigenvalue:    {by_eigenvalue.certificate}")
        print(f"  frequencies as the grid is:   {own.certificate}")
    if given.plot is not None:
        plot(results, given.plot)
    return results


if __name__ == "__main__":
    main()
