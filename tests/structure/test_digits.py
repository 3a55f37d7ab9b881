import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.structure.digits import digit_reversal

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
