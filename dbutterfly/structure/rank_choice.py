"""Which rank each junction of a chain should have: the greedy choice, from what each rank leaves."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence

__all__ = ["growing_ranks", "least_ranks"]


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
    per_pair = _values_per_pair(row_digits, col_digits)
    ranks = [1] * len(tails)
    while True:
        yield tuple(ranks)
        best, gained = None, 0.0
        for at, (tail, rank) in enumerate(zip(tails, ranks, strict=True)):
            if rank + 1 < len(tail):
                gain = (tail[rank] - tail[rank + 1]) / _values_of_a_rank(per_pair, ranks, at)
                if gain > gained:
                    best, gained = at, gain
        if best is None:
            return
        ranks[best] += 1


def least_ranks(
    tails: Sequence[Sequence[float]], row_digits: Sequence[int], col_digits: Sequence[int], allowed: float
) -> tuple[int, ...]:
    """Ranks of nearly the fewest values that leave no more energy than is allowed, at all junctions together.

    Parameters
    ----------
    tails, row_digits, col_digits
        As for :func:`growing_ranks`.
    allowed : float
        Energy that may be left.
    """
    ranks: list[int] = []
    for grown in growing_ranks(tails, row_digits, col_digits):
        ranks = list(grown)
        if _left(tails, ranks) <= allowed:
            break
    per_pair = _values_per_pair(row_digits, col_digits)
    while (
        lower := [  # the last step may have made one of the steps before it superfluous
            at
            for at, rank in enumerate(ranks)
            if rank > 1 and _left(tails, [*ranks[:at], rank - 1, *ranks[at + 1 :]]) <= allowed
        ]
    ):
        ranks[max(lower, key=lambda at: _values_of_a_rank(per_pair, ranks, at))] -= 1
    return tuple(ranks)


def _left(tails: Sequence[Sequence[float]], ranks: Sequence[int]) -> float:
    return math.fsum(tail[rank] for tail, rank in zip(tails, ranks, strict=True))


def _values_per_pair(row_digits: Sequence[int], col_digits: Sequence[int]) -> list[float]:
    """Values of each factor over its two ranks."""
    left = itertools.accumulate(row_digits[:-1], operator.mul, initial=1)
    right = itertools.accumulate(col_digits, operator.mul)
    return [math.prod(row_digits) * q / p for p, q in zip(left, right, strict=True)]


def _values_of_a_rank(per_pair: Sequence[float], ranks: Sequence[int], at: int) -> float:
    """Values that one rank more of a junction takes in the two factors that meet there."""
    before, after = (ranks[at - 1] if at else 1), (ranks[at + 1] if at + 1 < len(ranks) else 1)
    return per_pair[at] * before + per_pair[at + 1] * after
