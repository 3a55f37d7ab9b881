"""Chains of a rank above one, for matrices whose blocks have that rank to a tolerance only."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ..chain import Chain
from ..errors import InputError

__all__ = ["ranked_chain"]


def ranked_chain(n: int, ranks: Mapping[float, int], tol: float) -> Chain:
    """Build the chain of an ``n x n`` matrix with the least rank that was measured to reach ``tol``.

    Parameters
    ----------
    n : int
        Rows and columns, at least 1.
    ranks : mapping of float to int
        For some tolerances, the largest numerical rank of a block of ``n`` entries.
    tol : float
        Relative tolerance.

    Returns
    -------
    Chain
        Of that rank at every junction; a single pattern where no cut leaves two sides of as many rows and columns.

    Raises
    ------
    InputError
        If ``tol`` is below all tolerances of ``ranks``.

    Notes
    -----
    Rows and columns have the same digits, prime factors of ``n`` but for the first and the last, which are products
    that reach the rank ``r``. So ``p v = n`` at every cut, as in a chain of rank one: the rank of an oscillatory block
    grows with its area. ``Chain.chainable(shape, r)`` has blocks of about ``n r / 2`` entries instead.
    """
    wanted = tol if isinstance(tol, (int, float, np.number)) else math.nan
    fitting = [rank for reached, rank in ranks.items() if reached <= wanted]
    if not fitting:
        raise InputError(
            f"tol={tol!r} is no tolerance whose rank is known; use {min(ranks)} or more, or give factorize a chain of "
            "higher rank"
        )
    rank = min(fitting)
    digits = _digits(Chain.chainable((n, n)).row_radices, rank)
    last = len(digits) - 1
    return Chain(
        [
            (
                math.prod(digits[:level]),
                digit * (rank if level > 0 else 1),
                digit * (rank if level < last else 1),
                math.prod(digits[level + 1 :]),
            )
            for level, digit in enumerate(digits)
        ]
    )


def _digits(primes: tuple[int, ...], least: int) -> list[int]:
    """Merge ``primes`` at both ends until the end digits are at least ``least``; into one digit if they cannot be."""
    digits = list(primes)
    while len(digits) > 1 and digits[0] < least:
        digits[:2] = [digits[0] * digits[1]]
    while len(digits) > 1 and digits[-1] < least:
        digits[-2:] = [digits[-2] * digits[-1]]
    return digits
