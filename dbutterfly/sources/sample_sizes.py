"""How many entries of every block are evaluated where a matrix is sampled: integers only.

Of a block of p x v, 4 r columns and 2 r rows are evaluated for an approximation of rank r, and two samples of few
entries: at most 8 r N^1.5 of a square matrix whose chain is cut in the middle, where there are N blocks of side N^0.5.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..structure.chain import Cut

__all__ = ["WORK_BYTES", "Evaluated", "Sizes", "count_evaluated"]

WORK_BYTES = 1 << 23
"""Bytes of columns and rows that are held at a time, beside what a tile writes (at least those of one block).

Not tuned: little beside a tile.
"""


class Sizes(NamedTuple):
    """How much of a block of ``p`` x ``v`` is evaluated for an approximation of rank ``rank``."""

    p: int
    v: int
    rank: int

    @property
    def rows(self) -> int:
        """Rows of the block, and columns taken at each of two steps: twice the rank."""
        return min(2 * self.rank, self.p, self.v)

    @property
    def columns(self) -> int:
        """Columns of both steps."""
        return min(2 * self.rows, self.v)

    @property
    def sample(self) -> tuple[int, int]:
        """Rows and columns of a sample, whose entries grow as a row does: 4 x 4 to 11 x 11 for sides up to 512."""
        side = max(4, math.isqrt((self.p + self.v) // 8))
        return min(side, self.p), min(side, self.v)

    @property
    def in_full(self) -> bool:
        """Whether evaluating all of the block costs no more."""
        return self._parts >= self.p * self.v

    @property
    def entries(self) -> int:
        """Entries evaluated of a block."""
        return min(self._parts, self.p * self.v)

    @property
    def share(self) -> float:
        """Part of the entries of a block that is evaluated."""
        return self.entries / (self.p * self.v)

    @property
    def _parts(self) -> int:
        return self.columns * self.p + self.rows * self.v + 2 * math.prod(self.sample)


class Evaluated(NamedTuple):
    """Number of entries that were evaluated, and of blocks evaluated in full because the pivots had missed a part."""

    entries: int
    redone: int


def count_evaluated(split: Cut, rank: int, slack: NDArray[np.float64]) -> Evaluated:
    """Count the entries evaluated, from what the tasks have written.

    Parameters
    ----------
    split : Cut
        Blocks of the root cut.
    rank : int
        Rank of their approximations.
    slack : array, shape (...)
        Slack of every block for some rank: finite where it was evaluated in full.
    """
    sizes = Sizes(split.p, split.v, rank)
    blocks, redone = slack.size, 0 if sizes.in_full else int(np.count_nonzero(np.isfinite(slack)))
    return Evaluated(blocks * sizes.entries + redone * split.p * split.v, redone)
