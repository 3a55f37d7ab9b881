"""Digits of the sides of a matrix: prime factors, their products, and the reversal of their order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["digit_reversal", "divisors_of", "gather_leaf", "merge_digits", "middle_divisor", "prime_factors"]


def prime_factors(number: int) -> list[int]:
    """Prime factors in ascending order; ``[1]`` for 1, so that every side has a digit."""
    primes, divisor = [], 2
    while divisor * divisor <= number:
        while number % divisor == 0:
            primes.append(divisor)
            number //= divisor
        divisor += 1
    return [*primes, number] if number > 1 or not primes else primes


def divisors_of(number: int) -> list[int]:
    """Divisors of a number, in ascending order."""
    small = [k for k in range(1, math.isqrt(number) + 1) if number % k == 0]
    return sorted({*small, *(number // k for k in small)})


def middle_divisor(number: int) -> int:
    """Divisor of a number that is nearest to its square root, by ratio."""
    return min(divisors_of(number), key=lambda divisor: abs(math.log(divisor * divisor / number)))


def gather_leaf(primes: list[int], leaf: int) -> list[int]:
    """Multiply leading digits until the first is at least ``leaf`` (or all are one)."""
    count = next((k for k in range(1, len(primes)) if math.prod(primes[:k]) >= leaf), len(primes))
    return [math.prod(primes[:count]), *primes[count:]]


def merge_digits(digits: list[int], count: int) -> list[int]:
    """Multiply neighbours into ``count`` digits with the least sum of squared logarithms: as equal as they can be."""
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ()), *[(math.inf, ())] * len(digits)]
    for _ in range(count):  # best[end]: the first ``end`` digits, merged into as many as there were rounds
        grown = best
        best = [(math.inf, ())]
        for end in range(1, len(digits) + 1):
            lasts = [math.prod(digits[start:end]) for start in range(end)]
            best.append(
                min((cost + math.log(m) ** 2, (*done, m)) for (cost, done), m in zip(grown, lasts, strict=False))
            )
    return list(best[-1][1])


def digit_reversal(radices: Sequence[int]) -> NDArray[np.int64]:
    """Permutation that reverses the mixed-radix digits of an index.

    Parameters
    ----------
    radices : sequence of int
        Radices of the digits ``j_1 ... j_J`` of the position, most significant first.

    Returns
    -------
    ndarray of int64, shape (prod(radices),)
        Entry ``j`` is the number whose digits are ``j_J ... j_1``, most significant first.
    """
    size = int(np.prod(radices, dtype=np.int64))
    return np.ascontiguousarray(np.arange(size, dtype=np.int64).reshape(tuple(radices)[::-1]).T.reshape(-1))
