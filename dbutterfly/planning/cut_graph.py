"""Chains as ways through the cuts that they may have: the cheapest way for given ranks.

A cut has P rows in a row group and Q column groups; a chain passes cuts whose P and Q grow by whole factors, its
digits, from ``(1, 1)`` to ``(M, N)``. A factor between two cuts with ranks r and r' has

    (1)  r r' M Q' / P

values (P of the cut before it, Q' of the one behind it), so that the chain with the fewest values for given ranks of
the cuts is a shortest way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..structure.chain import Chain
from ..structure.digits import prime_factors

__all__ = ["CutGraph", "Way"]

SMALLEST_BLOCKS, LARGEST_BLOCKS = 1 / 4, 64
"""Least and most entries of the blocks of a cut, relative to those of a chain of rank one with as many row as column
digits.

Ten kernels at N = 256 (``benchmarks/smallest_chain.py``): no smallest chain had a cut outside of them, but for low
rank, which is one block.
"""


@dataclass(frozen=True)
class Way:
    """The cuts that a chain passes, by their numbers in a graph, and its digits."""

    cuts: tuple[int, ...]
    row_digits: tuple[int, ...]
    col_digits: tuple[int, ...]


@dataclass(frozen=True)
class CutGraph:
    """The cuts that chains of some sides may pass.

    Attributes
    ----------
    shape : (int, int)
        Sides M and N of the chains.
    """

    shape: tuple[int, int]

    @cached_property
    def cuts(self) -> tuple[tuple[int, int], ...]:
        """Rows P of a row group and number Q of column groups of each cut, in an order in which P and Q grow.

        The last one is a single block: its chain of two factors is of low rank.
        """
        rows, cols = (_products(side) for side in self.shape)
        found = [(p, q) for p, q in itertools.product(rows[1:-1], cols[1:-1]) if self._is_usual(p, q)]
        return (*sorted(found), (self.shape[0], 1))

    def cut_chain(self, cut: int) -> Chain:
        """Chain of two factors with one of the cuts, of rank one."""
        return Chain.monarch(self.shape, *self.cuts[cut])

    def area(self, cut: int) -> int:
        """Entries of a block of a cut."""
        p, q = self.cuts[cut]
        return p * (self.shape[1] // q)

    def excess(self, cut: int) -> float:
        """Entries of a block, relative to those of a chain of rank one whose digits are alike along both sides."""
        return self._excess(*self.cuts[cut])

    def ways(self, ranks: NDArray[np.float64]) -> Iterator[tuple[float, Way]]:
        """The cheapest way for each number of factors, with the number of its values.

        Parameters
        ----------
        ranks : array, shape (cuts,)
            Rank of each cut, infinite where it cannot be passed.
        """
        weights = self._weigh(ranks)
        reached, steps = weights[0], []  # from the start, by one factor
        while True:
            through = reached[:, None] + weights
            before = np.argmin(through, axis=0)
            reached = through[before, np.arange(before.size)]
            steps.append(before)
            if not np.isfinite(reached).any():
                return
            if np.isfinite(reached[-1]):
                yield float(reached[-1]), self._trace(steps)

    def least_values(self, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of the cheapest chain that passes each cut, infinite where there is none."""
        weights = self._weigh(ranks)
        size = len(weights)
        there, back = np.full(size, math.inf), np.full(size, math.inf)
        there[0] = back[-1] = 0
        for at in range(1, size):
            there[at] = (there[:at] + weights[:at, at]).min()
        for at in range(size - 2, -1, -1):
            back[at] = (back[at + 1 :] + weights[at, at + 1 :]).min()
        through: NDArray[np.float64] = there + back
        return through[1:-1]

    def count_values(self, way: Way, ranks: tuple[int, ...]) -> int:
        """Number of values of the chain that goes a way, with a rank for each of its cuts."""
        per_pair, padded = self._per_pair, (1, *ranks, 1)
        ends = [0, *(cut + 1 for cut in way.cuts), len(self.cuts) + 1]
        weights = (float(per_pair[pair]) for pair in itertools.pairwise(ends))
        return round(sum(w * a * b for w, (a, b) in zip(weights, itertools.pairwise(padded), strict=True)))

    def _is_usual(self, p: int, q: int) -> bool:
        return SMALLEST_BLOCKS * 0.99 <= self._excess(p, q) <= LARGEST_BLOCKS * 1.01

    def _excess(self, p: int, q: int) -> float:
        m, n = self.shape
        return math.exp((_part(p, m) - _part(q, n)) * math.log(m * n) / 2)

    @cached_property
    def _per_pair(self) -> NDArray[np.float64]:
        """Values (1) of a factor over its two ranks, between all cuts, the start and the end; infinite for none."""
        ends = [(1, 1), *self.cuts, self.shape]
        p, q = (np.array(side, dtype=np.float64) for side in zip(*ends, strict=True))
        grows = (p[None, :] % p[:, None] == 0) & (q[None, :] % q[:, None] == 0)
        later = (p[None, :] > p[:, None]) & (q[None, :] > q[:, None])
        low_rank, last = len(ends) - 2, len(ends) - 1
        later[:, low_rank] = later[low_rank, :] = False
        later[0, low_rank] = later[low_rank, last] = True
        return np.where(grows & later, self.shape[0] * q[None, :] / p[:, None], math.inf)

    def _weigh(self, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.concatenate([[1.0], ranks, [1.0]])
        weights: NDArray[np.float64] = self._per_pair * padded[:, None] * padded
        return weights

    def _trace(self, steps: list[NDArray[np.int64]]) -> Way:
        """Way to the end by the last of some steps."""
        at, passed = len(self.cuts) + 1, []
        for before in reversed(steps):
            at = int(before[at])
            passed.append(at - 1)
        cuts = tuple(passed[::-1])
        ends = [(1, 1), *(self.cuts[cut] for cut in cuts), self.shape]
        rows, cols = zip(*((b[0] // a[0], b[1] // a[1]) for a, b in itertools.pairwise(ends)), strict=True)
        return Way(cuts, rows, cols)


def _products(side: int) -> list[int]:
    """Products of the first prime factors of a side, from 1 on."""
    return list(itertools.accumulate(prime_factors(side), lambda a, b: a * b, initial=1))


def _part(product: int, side: int) -> float:
    """Part of the digits of a side that a product of some of them is, by logarithm."""
    return math.log(product) / math.log(side) if side > 1 else 0.0
