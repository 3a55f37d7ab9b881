"""Which trees make a matrix a butterfly? All pairs of them, for N = 4 and N = 8: figure 2 of Zheng et al. (2023).

The rows and columns of a butterfly matrix were shuffled. What a factorization needs is not the shuffles but two
*trees*: all rows fall into two halves, these into two halves each, and so on, and the columns likewise; which half of a
node comes first does not matter. There are 3 trees of 4 rows and 315 of 8 (and 6e8 of 16), so all pairs can be tried:
each gives orderings of rows and columns, and these an error of the factorization.

For each size, the table has the number of trees of a side and of pairs; how many pairs are exact, and whether that is
the pair that the matrix was made with and no other; and the relative errors of all others.

What to expect: one pair of trees is exact, and 99 of 100 others lose a tenth of the matrix or more. Trees can neither
be done without nor be tried one after the other; ``dbutterfly.identify`` finds them level by level.

Zheng, Puy, Riccietti, Perez and Gribonval, "Factorisation butterfly par identification algorithmique de blocs de rang
un", GRETSI 2023. Run ``python examples/butterfly_trees.py --help``.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.kernels.factors.hierarchy import factor_stack
from dbutterfly.structure.tree import split_tree

SIZES = (4, 8)

EXACT = 1e-10
"""Relative error below which a factorization is exact up to rounding."""

STACK_BYTES = 1 << 20


@dataclass(frozen=True)
class Search:
    """Relative errors of all pairs of trees: a row for each tree of the rows, a column for each tree of the columns."""

    n: int
    errors: NDArray[np.float64]
    true: tuple[int, int]
    seconds: float

    @property
    def exact(self) -> list[tuple[int, int]]:
        """Pairs of trees for which the factorization is exact."""
        return [(int(i), int(j)) for i, j in np.argwhere(self.errors < EXACT)]

    @property
    def others(self) -> NDArray[np.float64]:
        """Errors of the pairs that are not the true one, in ascending order."""
        return np.sort(np.delete(self.errors.ravel(), np.ravel_multi_index(self.true, self.errors.shape)))


def all_trees(items: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All binary trees of equal halves, each as the order of its leaves.

    The halves of a node are unordered, so the first item is always in the first one: of the orders that give the same
    tree, the lexicographically first one is listed.
    """
    if len(items) == 1:
        return [items]
    first, *rest = items
    trees = []
    for others in itertools.combinations(rest, len(items) // 2 - 1):
        half = (first, *others)
        left, right = all_trees(half), all_trees(tuple(item for item in items if item not in half))
        trees += [a + b for a, b in itertools.product(left, right)]
    return trees


def tree_of(order: tuple[int, ...]) -> tuple[int, ...]:
    """Tree with this order of leaves, as :func:`all_trees` lists it."""
    if len(order) == 1:
        return order
    middle = len(order) // 2
    return sum(sorted((tree_of(order[:middle]), tree_of(order[middle:]))), ())


def search(n: int, seed: int = 0) -> Search:
    """Factorize a shuffled Gaussian butterfly matrix with all pairs of trees."""
    chain = dbf.Chain.square_dyadic(n)
    matrix = dbf.matrices.shuffled(dbf.matrices.gaussian_butterfly(chain, seed=seed), seed=seed)
    z = np.asarray(matrix)
    trees = all_trees(tuple(range(n)))
    # In standard order, the columns of a group are neighbours and its rows are strided.
    strided, _ = dbf.Orderings("bitreversal", None).permutations(chain)
    orders = np.array(trees)
    started = time.perf_counter()
    errors = np.array([errors_of(z[order[strided]][:, orders].transpose(1, 0, 2), chain) for order in orders])
    seconds = time.perf_counter() - started
    rows, cols = matrix.orderings.permutations(chain)
    true = trees.index(tree_of(tuple(rows[strided].tolist()))), trees.index(tree_of(tuple(cols.tolist())))
    return Search(n, errors, true, seconds)


def errors_of(matrices: NDArray[np.float64], chain: dbf.Chain) -> NDArray[np.float64]:
    """Relative errors of the factorizations of a stack of matrices in standard order."""
    stack = np.ascontiguousarray(matrices)
    found = factor_stack(stack, chain, split_tree(len(chain)), stack_bytes=STACK_BYTES)
    return np.linalg.norm(stack - found.product, axis=(1, 2)) / np.linalg.norm(stack, axis=(1, 2))


def print_table(results: Sequence[Search]) -> None:
    """Print one line per size."""
    print(
        f"{'N':>3}{'trees':>7}{'pairs':>8}{'exact':>7}{'the true pair':>15}"
        f"{'least other':>13}{'median':>9}{'largest':>9}{'time':>9}"
    )
    for found in results:
        only = "yes" if found.exact == [found.true] else "no"
        others = found.others
        print(
            f"{found.n:3}{len(found.errors):7}{found.errors.size:8}{len(found.exact):7}{only:>15}{others[0]:13.3f}"
            f"{np.median(others):9.3f}{others[-1]:9.3f}{found.seconds:7.2f} s"
        )


def plot(results: Sequence[Search], file: Path) -> None:
    """Draw the histograms of the errors, one panel per size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(results), 3.2), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for panel, found in zip(panels, results, strict=True):
        panel.hist(found.errors.ravel(), bins=np.linspace(0, 1, 51), log=True)
        panel.set(title=f"N = {found.n}: {found.errors.size} pairs of trees", xlabel="relative error", xlim=(0, 1))
    panels[0].set(ylabel="pairs of trees")
    figure.savefig(file)


def main(arguments: Sequence[str] | None = None) -> list[Search]:
    """Read the arguments, search, print."""
    parser = argparse.ArgumentParser(description="Factorize a shuffled butterfly matrix with all pairs of trees.")
    parser.add_argument("--n", type=int, nargs="+", choices=(2, 4, 8), default=SIZES, help="sizes (default: 4 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the matrix and of the shuffles (default: 0)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the errors, to a .png, .svg or .pdf file")
    given = parser.parse_args(arguments)
    results = [search(n, given.seed) for n in given.n]
    print_table(results)
    if given.plot is not None:
        plot(results, given.plot)
    return results


if __name__ == "__main__":
    main()
