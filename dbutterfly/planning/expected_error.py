"""The error of a product of some ranks, estimated from what the blocks of its cuts leave beyond these ranks.

Let ``e_l(r)^2`` be the energy beyond the first r singular values at the cut l, as a fraction of the energy of the
matrix. The squared error of a product with ranks ``r_l`` is estimated by

    singular values that fall fast   sum_l e_l(r_l)^2    every cut leaves a part of its own
    flat ones                        max_l e_l(r_l)^2    every cut leaves the same noise

and by a mean of the two in between, weighted by how flat they are: ``f = sum_l e_l(r_l + 1)^2 / sum_l e_l(r_l)^2``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["expected_error"]


def expected_error(tails: Sequence[Sequence[float]], ranks: Sequence[int]) -> float:
    """Estimate the relative error of a product.

    Parameters
    ----------
    tails : sequence of sequences of float
        Energy beyond rank 0, 1, ..., relative to that of the matrix, for each cut of the chain. The last one stands for
        higher ranks.
    ranks : sequence of int
        Rank of each cut.
    """
    beyond = [_tail(tail, rank) for tail, rank in zip(tails, ranks, strict=True)]
    largest, total = max(beyond), sum(beyond)
    further = sum(_tail(tail, rank + 1) for tail, rank in zip(tails, ranks, strict=True))
    flat = further / total if total > 0 else 0.0  # the f of the module docstring
    return math.sqrt(largest + (1 - flat) * (total - largest))


def _tail(tail: Sequence[float], rank: int) -> float:
    return tail[min(rank, len(tail) - 1)]
