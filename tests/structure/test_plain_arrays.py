"""Conversion to plain arrays, without masks."""

import numpy as np
import pytest

from dbutterfly.errors import InputError, SourceError
from dbutterfly.structure.orderings import Orderings
from dbutterfly.structure.plain_arrays import as_plain_array

MASKED = np.ma.masked_equal(np.arange(4.0), 2)


class Wrapped:
    """Something that NumPy converts, as data frames and tensors are."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


class Astropys(np.ndarray):
    """As astropy.utils.masked.Masked."""

    mask, unmasked = True, None


def test_plain_things_are_converted():
    array = np.arange(4.0)
    assert as_plain_array(array, "x") is array
    for given in ([0, 1, 2, 3], (0.0, 1.0, 2.0, 3.0), Wrapped(array)):
        found = as_plain_array(given, "x")
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found.ravel(), array)


@pytest.mark.parametrize(
    "value", [MASKED, [MASKED, MASKED], (1.0, np.ma.masked), Wrapped(MASKED), np.arange(3).view(Astropys)]
)
def test_masks_are_refused_wherever_they_are(value):
    with pytest.raises(SourceError, match=r"here is a masked array; pass here\.filled\(value\)"):
        as_plain_array(value, "here", SourceError)


def test_masked_index_arrays_are_refused():
    with pytest.raises(InputError, match="rows is a masked array"):
        Orderings(np.ma.masked_equal(np.arange(4), 2), None)
