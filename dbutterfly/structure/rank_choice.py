"""Which rank each junction of a chain should have: the greedy choice, from what each rank leaves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

__all__ = ["growing_ranks"]


def growing_ranks(
    tails: Sequence[Sequence[float]], row_digits: Sequence[int], col_digits: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Ranks of the junctions of a chain, from ones upward: at each step one rank grows by one.

    It is that of the junction at which a value more lowers the energy most. The energies beyond each rank are sums of
    sorted squares of singular values, so that they fall more slowly with each rank, and the greedy choice is near the
    best one.

    Parameters
    ----------
    tails : sequence of sequences of float
        For each junction, the energy beyond rank 0, 1, ... of the blocks of its cut. Ranks stop at the last entry.
    row_digits, col_digits : sequences of int
        Digits of the chain, one more than junctions.

    Yields
    ------
    tuple of int
        A rank for each junction; the last ones leave nothing that a further rank would lower.
    """
    rows = math.prod(row_digits)
    left = [math.prod(row_digits[:level]) for level in range(len(row_digits))]
    right = [math.prod(col_digits[: level + 1]) for level in range(len(col_digits))]
    per_pair = [rows * q / p for p, q in zip(left, right, strict=True)]  # values of a factor over its two ranks
    ranks = [1] * len(tails)
    while True:
        yield tuple(ranks)
        around = [1, *ranks, 1]
        best, gained = None, 0.0
        for at, (tail, rank) in enumerate(zip(tails, ranks, strict=True)):
            if rank + 1 < len(tail):
                values = per_pair[at] * around[at] + per_pair[at + 1] * around[at + 2]
                if (gain := (tail[rank] - tail[rank + 1]) / values) > gained:
                    best, gained = at, gain
        if best is None:
            return
        ranks[best] += 1
