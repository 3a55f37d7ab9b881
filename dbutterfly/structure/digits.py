"""Digits of the sides of a matrix: prime factors, their products, and the reversal of their order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["digit_reversal", "divisors_of", "gather_leaf", "merge_digits", "middle_divisor", "prime_factors"]


SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Bases with which the test of Miller and Rabin is right for all numbers below 3e24 (Sorenson and Webster, 2015)."""

DIFFERENCES = 128
"""Differences of Pollard's sequence that are multiplied before a common divisor is looked for. Not tuned."""


def prime_factors(number: int) -> list[int]:
    """Prime factors in ascending order; ``[1]`` for 1, so that every side has a digit."""
    primes = []
    for prime in SMALL_PRIMES:
        while number % prime == 0:
            primes.append(prime)
            number //= prime
    parts = [number] if number > 1 else []
    while parts:
        part = parts.pop()
        if _is_prime(part):
            primes.append(part)
        else:
            divisor = _divisor_of_composite(part)
            parts += [divisor, part // divisor]
    return sorted(primes) or [1]


def _is_prime(number: int) -> bool:
    """Whether a number above 1 is prime, by the test of Miller and Rabin."""
    if number <= SMALL_PRIMES[-1]:
        return number in SMALL_PRIMES
    twos = ((number - 1) & (1 - number)).bit_length() - 1
    odd = (number - 1) >> twos
    for base in SMALL_PRIMES:
        power = pow(base, odd, number)
        if power not in (1, number - 1) and not any(pow(power, 1 << k, number) == number - 1 for k in range(1, twos)):
            return False
    return True


def _divisor_of_composite(number: int) -> int:
    """Divisor of an odd composite number, other than 1 and itself, by the method of Pollard (1975).

    The sequence ``x -> x^2 + c`` meets itself modulo the smallest prime factor p after about ``sqrt(p)`` steps: some
    50,000 for the largest sides that there are.
    """
    for shift in itertools.count(1):
        divisor = _divisor_by_sequence(number, shift)
        if divisor != number:
            return divisor
    raise AssertionError("there is always another shift")


def _divisor_by_sequence(number: int, shift: int) -> int:
    """Divisor above 1, by one sequence of Pollard's; it may be the number itself."""
    slow = fast = 2
    while True:
        start, product = (slow, fast), 1
        for _ in range(DIFFERENCES):  # one common divisor of their product is sooner found than of each
            slow = (slow * slow + shift) % number
            fast = (fast * fast + shift) % number
            fast = (fast * fast + shift) % number
            product = product * (slow - fast) % number
        if math.gcd(product, number) > 1:
            break
    slow, fast = start
    divisor = 1
    while divisor == 1:
        slow = (slow * slow + shift) % number
        fast = (fast * fast + shift) % number
        fast = (fast * fast + shift) % number
        divisor = math.gcd(slow - fast, number)
    return divisor


def divisors_of(number: int) -> list[int]:
    """Divisors of a number, in ascending order."""
    divisors = [1]
    for prime, same in itertools.groupby(prime_factors(number)):
        powers = [prime**exponent for exponent in range(len(list(same)) + 1)]
        divisors = [divisor * power for divisor in divisors for power in powers]
    return sorted(set(divisors))


def middle_divisor(number: int) -> int:
    """Divisor of a number that is nearest to its square root, by ratio."""
    return min(divisors_of(number), key=lambda divisor: abs(math.log(divisor * divisor / number)))


def gather_leaf(primes: list[int], leaf: int) -> list[int]:
    """Multiply leading digits until the first is at least ``leaf`` (or all are one)."""
    count = next((k for k in range(1, len(primes)) if math.prod(primes[:k]) >= leaf), len(primes))
    return [math.prod(primes[:count]), *primes[count:]]


def merge_digits(digits: list[int], count: int) -> list[int]:
    """Multiply neighbours into ``count`` digits with the least sum of squared logarithms: as equal as they can be."""
    if count == len(digits):
        return list(digits)
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
