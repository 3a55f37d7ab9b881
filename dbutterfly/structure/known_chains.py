"""Patterns of the chains that have a constructor: square dyadic, Monarch, and chainable ones for any shape.

Functions return plain tuples ``(a, b, c, d)``, of which :class:`dbutterfly.structure.chain.Chain` makes a chain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import ChainError
from .arguments import as_integer, read_count, read_flag, read_shape, show_value
from .digits import divisors_of, gather_leaf, merge_digits, middle_divisor, prime_factors

__all__ = ["chainable_digits", "monarch_patterns", "patterns_of_digits", "square_dyadic_patterns"]

DIVISORS_SHOWN = 32
"""Most divisors that a message lists. Not tuned: a few lines of text."""


def square_dyadic_patterns(n: int | tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Patterns of :meth:`dbutterfly.structure.chain.Chain.square_dyadic`."""
    rows, cols = _check_shape(n, "n")
    if rows != cols or rows & (rows - 1):
        raise ChainError(
            f"n={show_value(n)} is not the size of a square matrix with a power of two rows; "
            f"Chain.chainable(({rows}, {cols})) builds a chain for this shape"
        )
    levels = max(rows.bit_length() - 1, 1)
    radix = min(rows, 2)
    return [(2**level, radix, radix, max(rows >> (level + 1), 1)) for level in range(levels)]


def monarch_patterns(shape: tuple[int, int], p: int | None, q: int | None) -> list[tuple[int, int, int, int]]:
    """Patterns of :meth:`dbutterfly.structure.chain.Chain.monarch`."""
    rows, cols = _check_shape(shape, "shape")
    p = middle_divisor(rows) if p is None else _read_divisor("p", p, rows)
    q = middle_divisor(cols) if q is None else _read_divisor("q", q, cols)
    return [(1, p, q, rows // p), (q, rows // p, cols // q, 1)]


def _read_divisor(name: str, value: Any, size: int) -> int:
    divisor = as_integer(value)
    if divisor is None or divisor < 1 or size % divisor:
        divisors = divisors_of(size)
        listed = ", ".join(map(str, divisors[:DIVISORS_SHOWN])) + (", ..." if len(divisors) > DIVISORS_SHOWN else "")
        raise ChainError(f"{name}={show_value(value)} does not divide {size}; the divisors are [{listed}]")
    return divisor


def chainable_digits(
    shape: tuple[int, int], rank: int, leaf: int | None, balanced: bool
) -> tuple[list[int], list[int]]:
    """Row and column digits of :meth:`dbutterfly.structure.chain.Chain.chainable`: as many of each, as equal as can be.

    The first row digit and the last column digit, those of the outer ends, are at least ``leaf``. With ``balanced``,
    so are the last row digit and the first column digit.
    """
    rows, cols = _check_shape(shape, "shape")
    rank = read_count("rank", rank, remedy="the smallest rank is 1", error=ChainError)
    remedy = f"the default is the rank, {rank}"
    leaf = rank if leaf is None else read_count("leaf", leaf, remedy=remedy, error=ChainError)
    balanced = read_flag("balanced", balanced)
    if rank > min(rows, cols):
        raise ChainError(f"rank={rank} exceeds the smaller side of {rows} x {cols}")
    row_primes = gather_leaf(prime_factors(rows), leaf)
    col_primes = gather_leaf(prime_factors(cols)[::-1], leaf)[::-1]
    if balanced:
        row_primes = gather_leaf(row_primes[::-1], leaf)[::-1]
        col_primes = gather_leaf(col_primes, leaf)
    count = min(len(row_primes), len(col_primes))
    return merge_digits(row_primes, count), merge_digits(col_primes, count)


def patterns_of_digits(m: Sequence[int], n: Sequence[int], rank: int) -> list[tuple[int, int, int, int]]:
    """Patterns of the chain with row digits ``m``, column digits ``n`` and one rank (arXiv 2411.04506, lemma 4.25).

    Pattern ``l`` is ``(n_1...n_(l-1), m_l*r, n_l*r, m_(l+1)...m_J)``, without the ``r`` at the two outer ends.
    """
    last = len(m) - 1
    return [
        (
            math.prod(n[:level]),
            m[level] * (1 if level == 0 else rank),
            n[level] * (1 if level == last else rank),
            math.prod(m[level + 1 :]),
        )
        for level in range(len(m))
    ]


def _check_shape(shape: Any, name: str) -> tuple[int, int]:
    sides = shape if as_integer(shape) is None else (shape, shape)
    return read_shape(name, sides, fault="is not a size or a pair of sizes", error=ChainError)
