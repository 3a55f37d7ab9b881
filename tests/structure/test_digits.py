import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.structure.digits import digit_reversal, divisors_of, prime_factors

radices = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def digits(number, radices):
    out = []
    for radix in reversed(radices):
        out.append(number % radix)
        number //= radix
    return out[::-1]


def test_bit_reversal():
    assert digit_reversal((2, 2, 2)).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]


@given(radices)
def test_digits_are_reversed(radices):
    reversal = digit_reversal(radices)
    assert reversal.dtype == np.int64
    for position, number in enumerate(reversal.tolist()):
        assert digits(number, radices[::-1]) == digits(position, radices)[::-1]


@given(radices)
def test_reversal_is_a_permutation_undone_by_that_of_the_reversed_radices(radices):
    identity = np.arange(np.prod(radices))
    np.testing.assert_array_equal(digit_reversal(radices)[digit_reversal(radices[::-1])], identity)


@pytest.mark.parametrize(
    ("number", "primes"),
    [
        (2**63 - 1, [7, 7, 73, 127, 337, 92737, 649657]),
        (2**63 - 25, [2**63 - 25]),
        (3037000493**2, [3037000493] * 2),
        (3037000453 * 3037000493, [3037000453, 3037000493]),
        (10**18, [2] * 18 + [5] * 18),
        (41 * 41 * 43, [41, 41, 43]),
        (3215031751, [151, 751, 28351]),  # the least number that passes for a prime with the bases 2, 3, 5 and 7
    ],
)
def test_the_largest_sides_have_their_prime_factors_soon(number, primes):
    assert prime_factors(number) == primes
    assert divisors_of(number)[-1] == number


def test_small_numbers_have_their_prime_factors():
    for number in range(2, 3000):
        primes = prime_factors(number)
        assert math.prod(primes) == number
        assert all(prime % divisor for prime in primes for divisor in range(2, math.isqrt(prime) + 1))
        assert divisors_of(number) == [divisor for divisor in range(1, number + 1) if number % divisor == 0]
