import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbutterfly.errors import InputError
from dbutterfly.execution.clusters.options import size
from dbutterfly.planning.sizes import count_bytes, format_bytes, parse_memory

NO_SIZES = [0, -1, "0", "-3 MiB", "many", "2 quarts", math.nan, math.inf, []]


@given(st.integers(1, 1 << 53))  # texts are read as floats
def test_numbers_and_texts_of_bytes_are_read_alike(count):
    assert count_bytes(count) == count_bytes(f"{count} B") == parse_memory(count) == size("memory", count) == count


@given(st.integers(1, 1 << 50))
def test_what_is_written_is_read_to_two_digits(count):
    assert count_bytes(format_bytes(count)) == pytest.approx(count, rel=0.006)


@pytest.mark.parametrize(("text", "count"), [("2 GiB", 2 << 30), ("500MB", 500_000_000), ("1.5 KiB", 1536), (7.9, 7)])
def test_units(text, count):
    assert count_bytes(text) == parse_memory(text) == count


@pytest.mark.parametrize("given", NO_SIZES, ids=repr)
def test_what_is_no_number_of_bytes_is_refused_by_the_name_of_its_argument(given):
    assert count_bytes(given) is None
    with pytest.raises(InputError, match=r"device_memory=.* is not a positive number of bytes; give an integer or a"):
        parse_memory(given, "device_memory")
    with pytest.raises(InputError, match=r"slurm.memory=.* is not a positive number of bytes; write it like"):
        size("slurm.memory", given)


def test_no_memory_is_no_limit():
    assert parse_memory(None) is None
