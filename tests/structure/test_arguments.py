import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from dbutterfly.errors import InputError
from dbutterfly.structure.arguments import (
    optional,
    read_choice,
    read_count,
    read_counts,
    read_flag,
    read_number,
    read_seed,
    read_shape,
    read_tolerance,
    show_value,
)

TWOS = [2, np.int64(2), np.uint8(2), np.array(2), np.array(2, np.uint64)]
NO_INTEGERS = ["2", None, [2], (2,), b"2", 2.0, np.float32(2), True, np.bool_(True), np.array([2]), math.nan,
               np.timedelta64(2, "s"), Fraction(2), Decimal(2), 2j]  # fmt: skip


@pytest.mark.parametrize("given", TWOS, ids=repr)
def test_integers_of_every_kind_become_pythons(given):
    for read in (read_count("rank", given), read_seed("seed", given), read_choice("passes", given, choices=(1, 2))):
        assert (read, type(read)) == (2, int)


@pytest.mark.parametrize("given", NO_INTEGERS, ids=repr)
def test_what_is_no_integer_is_refused_by_name_and_value(given):
    for reader in (read_count, read_seed, lambda name, value: read_choice(name, value, choices=(1, 2))):
        with pytest.raises(InputError, match=r"^rank=") as caught:
            reader("rank", given)
        assert show_value(given) in str(caught.value)


def test_integers_out_of_range_are_refused():
    for given, message in ((0, "rank=0 is not positive; "), (-3, "rank=-3 is not positive"), (2**63, "is more than")):
        with pytest.raises(InputError, match=message):
            read_count("rank", given)
    assert read_seed("seed", 2**200) == 2**200


@pytest.mark.parametrize("given", [0.5, np.float32(0.5), np.float16(0.5), np.longdouble(0.5), np.array(0.5),
                                   Fraction(1, 2), Decimal("0.5")], ids=repr)  # fmt: skip
def test_numbers_of_every_kind_become_pythons(given):
    read = read_tolerance("tol", given)
    assert (read, type(read)) == (0.5, float)


@pytest.mark.parametrize(
    "given",
    ["0.5", None, [0.5], True, math.nan, math.inf, 10**400, Decimal("sNaN"), Decimal("NaN"), 0.5j, 0, -1],
    ids=str,
)
def test_what_is_no_tolerance_is_refused(given):
    with pytest.raises(InputError, match=r"tol=.* is no relative error; use a positive number"):
        read_tolerance("tol", given)


def test_flags_are_true_or_false():
    assert [read_flag("resume", flag) for flag in (True, np.bool_(False), np.array(True))] == [True, False, True]
    for given in (1, 0, "false", None, np.array([True]), 1.0):
        with pytest.raises(InputError, match=r"resume=.* is neither True nor False"):
            read_flag("resume", given)


def test_shapes_and_lists():
    assert read_shape("shape", np.array([3, 4])) == (3, 4)
    assert read_counts("levels", range(1, 4)) == [1, 2, 3]
    for given in ((3,), (3, 4, 5), "34", b"34", {3, 4}, (3, 4.0), (3, 2**63), 3, (0, 4)):
        with pytest.raises(InputError, match="shape="):
            read_shape("shape", given)
    for given in ("12", 3, [0], [1.5], None):
        with pytest.raises(InputError, match=r"levels=.* is not a list of positive integers"):
            read_counts("levels", given)


def test_none_where_it_stands_for_nothing():
    assert optional(read_count)("workers", None) is None
    assert optional(read_number)("budget", 2) == 2.0


def test_values_are_shown_in_short_whatever_they_are():
    class Broken:
        def __repr__(self):
            raise ZeroDivisionError

    values = [10**5000, "x" * 10**6, list(range(10**5)), np.zeros((100, 100)), Broken(), "two\nlines"]
    assert all(len(show_value(value)) < 200 and "\n" not in show_value(value) for value in values)
