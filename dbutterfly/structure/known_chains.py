"""Patterns of the chains that have a constructor: square dyadic, Monarch, and chainable ones for any shape.

Functions return plain tuples ``(a, b, c, d)``, of which :class:`dbutterfly.structure.chain.Chain` makes a chain.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..errors import ChainError
from .arguments import as_integer, read_count, read_flag, read_shape, show_value
from .digits import divisors_of, gather_leaf, merge_digits, middle_divisor, prime_factors

__all__ = [
    "chainable_digits",
    "longer_shapes",
    "longer_sides",
    "monarch_patterns",
    "patterns_of_digits",
    "square_dyadic_patterns",
]

Digits: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Digits of a row index and of a column index, as many of each."""

LONGEST_SIDE = 1.15
"""Longest side of a chain, relative to that of the matrix, which :func:`chainable_digits` takes by itself.

Not tuned: up to there, some number without a prime factor above 7 follows every size from 7 on.
"""

SMOOTH_PRIMES = (2, 3, 5, 7)
"""Prime factors that a longer side may have."""

MOST_SHAPES = 4
"""Most shapes to which one is extended on trial. Not tuned: it bounds the time in which chains are compared."""

WORTH_GAPS = 0.75
"""Part of the values of the chain of the matrix's own size that a longer chain must undercut.

Not tuned: gaps take the exact factors from matrices that have them for their own size, such as Fourier's.
"""

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


def chainable_digits(shape: tuple[int, int], rank: int, leaf: int | None, *, balanced: bool, longer: bool) -> Digits:
    """Row and column digits of :meth:`dbutterfly.structure.chain.Chain.chainable`: as many of each, as equal as can be.

    The first row digit and the last column digit, those of the outer ends, are at least ``leaf``. With ``balanced``,
    so are the last row digit and the first column digit. With ``longer``, the sides may be longer than the matrix.
    """
    rows, cols = _check_shape(shape, "shape")
    rank = read_count("rank", rank, remedy="the smallest rank is 1", error=ChainError)
    remedy = f"the default is the rank, {rank}"
    leaf = rank if leaf is None else read_count("leaf", leaf, remedy=remedy, error=ChainError)
    balanced, longer = read_flag("balanced", balanced), read_flag("longer", longer)
    if rank > min(rows, cols):
        raise ChainError(f"rank={rank} exceeds the smaller side of {rows} x {cols}")
    if not longer:
        return _digits_of_sides((rows, cols), leaf, balanced)
    return _digits_with_fewest_values(rows, cols, rank, leaf, balanced)


@functools.lru_cache(maxsize=4096)
def _digits_with_fewest_values(rows: int, cols: int, rank: int, leaf: int, balanced: bool) -> Digits:
    """Digits of the sides as they are, unless longer ones give a chain of far fewer values."""
    own = _digits_of_sides((rows, cols), leaf, balanced)
    found = [_digits_of_sides(shape, leaf, balanced) for shape in longer_shapes((rows, cols))]
    best = min(found, key=lambda digits: _weigh_values(digits, rank, leaf), default=own)
    return best if _weigh_values(best, rank, leaf) < WORTH_GAPS * _weigh_values(own, rank, leaf) else own


@functools.lru_cache(maxsize=64)
def longer_shapes(shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Shapes to which one may be extended, those of fewer values first: with equal sides where that is possible."""
    rows, cols = longer_sides(shape[0]), longer_sides(shape[1])
    if len(rows) == len(cols) == 1:
        return ()
    alike = [side for side in longer_sides(max(shape)) if side <= LONGEST_SIDE * min(shape)]
    pairs = [(side, side) for side in alike] or itertools.product(rows, cols)
    weights = {pair: _weigh_values(_digits_of_sides(pair, 1, False), 1, 1) for pair in pairs if pair != shape}
    return tuple(sorted(weights, key=lambda pair: weights[pair])[:MOST_SHAPES])


def longer_sides(size: int) -> list[int]:
    """Sides to which one may be extended: its own size, and longer ones of which smaller digits make up for that.

    The longer ones have no prime factor above 7, and where that is so of the size itself, there are none. Of two, the
    longer one is left out unless its digits have the smaller sum: the number of values of a square chain of one rank is
    the side times this sum.
    """
    if prime_factors(size)[-1] <= SMOOTH_PRIMES[-1]:
        return [size]
    longest = math.floor(size * LONGEST_SIDE)
    smooth = [1]
    for prime in SMOOTH_PRIMES:
        smooth = [
            number * prime**power
            for number in smooth
            for power in range(longest.bit_length())
            if number * prime**power <= longest
        ]
    sides, least = [size], size * sum(prime_factors(size))
    for side in sorted(side for side in smooth if side > size):
        if (cost := side * sum(prime_factors(side))) < least:
            sides.append(side)
            least = cost
    return sides


def _weigh_values(digits: Digits, rank: int, leaf: int) -> float:
    """Number of values of the chain with these digits, for ranks that grow with the areas of the blocks.

    The rank of a block of an oscillatory kernel is proportional to its area: a chain of few values whose blocks are
    more than twice as large as they must be needs a higher rank, and has more values in the end.
    """
    m, n = digits
    usual = 2 * max(rank, leaf) * math.sqrt(math.prod(m) * math.prod(n))
    areas = [math.prod(m[:cut]) * math.prod(n[cut:]) for cut in range(1, len(m))]
    growth = [1.0, *(max(1.0, area / usual) for area in areas), 1.0]
    values = map(math.prod, patterns_of_digits(m, n, [rank] * (len(m) - 1)))
    return sum(count * left * right for count, left, right in zip(values, growth[:-1], growth[1:], strict=True))


@functools.lru_cache(maxsize=4096)
def _digits_of_sides(sides: tuple[int, int], leaf: int, balanced: bool) -> Digits:
    """Digits of sides of just these lengths."""
    rows, cols = sides
    row_primes = gather_leaf(prime_factors(rows), leaf)
    col_primes = gather_leaf(prime_factors(cols)[::-1], leaf)[::-1]
    if balanced:
        row_primes = gather_leaf(row_primes[::-1], leaf)[::-1]
        col_primes = gather_leaf(col_primes, leaf)
    count = min(len(row_primes), len(col_primes))
    return tuple(merge_digits(row_primes, count)), tuple(merge_digits(col_primes, count))


def patterns_of_digits(m: Sequence[int], n: Sequence[int], ranks: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Patterns of the chain with row digits ``m``, column digits ``n`` and a rank for each of its junctions.

    Pattern ``l`` is ``(n_1...n_(l-1), m_l*r_(l-1), n_l*r_l, m_(l+1)...m_J)``, where the outer ends have no ranks:
    ``r_0 = r_J = 1`` (arXiv 2411.04506, lemma 4.25).
    """
    padded = (1, *ranks, 1)
    return [
        (
            math.prod(n[:level]),
            m[level] * padded[level],
            n[level] * padded[level + 1],
            math.prod(m[level + 1 :]),
        )
        for level in range(len(m))
    ]


def _check_shape(shape: Any, name: str) -> tuple[int, int]:
    sides = shape if as_integer(shape) is None else (shape, shape)
    return read_shape(name, sides, fault="is not a size or a pair of sizes", error=ChainError)
