"""Values of every kind, of which most are not what an argument should be."""

from __future__ import annotations

import itertools
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from hypothesis import strategies as st

__all__ = ["odd_values"]


class Broken:
    """Fails at whatever it is asked."""

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __index__ = __iter__ = __len__ = __array__ = __float__ = __int__ = __bool__ = __eq__ = __repr__  # type: ignore
    __hash__ = object.__hash__


def nested_in_itself() -> list[Any]:
    inner: list[Any] = [0]
    inner.append(inner)
    return inner


NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([10**18, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**400, 10**5000]),
    st.floats(),
    st.sampled_from([0.5, 1e-300, 1e300, float("nan"), float("inf"), -0.0]),
    st.complex_numbers(max_magnitude=4),
    st.sampled_from([Fraction(1, 2), Fraction(2), Decimal(1), Decimal("0.1"), Decimal("NaN"), Decimal("sNaN"), True]),
)

SCALARS = st.sampled_from(
    [
        *(kind(2) for kind in (np.int8, np.int16, np.int64, np.uint8, np.uint64, np.float16, np.float32, np.float64)),
        *(
            np.longdouble(2),
            np.longdouble("1e4000"),
            np.complex64(2),
            np.float32("nan"),
            np.bool_(True),
            np.str_("auto"),
        ),
        *(np.datetime64("2020-01-01"), np.timedelta64(3, "s"), np.bytes_(b"2"), np.void(b"2")),
        *(np.array(2), np.array(0.5), np.array(True), np.array("fill"), np.array(None, object)),
    ]
)

TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
    st.sampled_from(["", " ", "2", "0.5", "nan", "None", "True", "GiB", "1e999 B", "-3 MiB", "balanced", "[[0,1],2]"]),
    st.sampled_from(["x" * 5000, "identify", "numpy", "auto", "fill", "middle"]),
    st.binary(max_size=6),
)

COLLECTIONS = st.deferred(
    lambda: st.one_of(
        st.lists(ANYTHING, max_size=3),
        st.tuples(ANYTHING, ANYTHING),
        st.lists(st.tuples(*(st.integers(-1, 4),) * 4), max_size=3),
        st.dictionaries(st.text(max_size=2), ANYTHING, max_size=2),
        st.sampled_from(
            [
                np.arange(3), np.arange(4)[::-1], np.zeros((2, 2)), np.array([None, 1], object), np.ma.masked,
                np.ma.masked_equal([1, 2], 2), np.zeros(2, [("a", int)]), np.empty(0, int), np.eye(4, dtype=np.uint8),
            ]
        ),
    )
)  # fmt: skip

OBJECTS = st.sampled_from(
    [
        *(None, ..., object(), int, len, lambda: 2, slice(2), range(4), {1, 2}, frozenset(), Broken()),
        *(PurePosixPath("/nowhere/at/all"), nested_in_itself(), memoryview(b"ab"), NotImplemented),
    ]
)
ENDLESS = st.sampled_from([itertools.count, lambda: itertools.repeat((1, 2, 2, 1)), lambda: iter([2])])

ANYTHING = st.one_of(NUMBERS, SCALARS, TEXTS, OBJECTS, ENDLESS.map(lambda make: make()))


def odd_values() -> st.SearchStrategy[Any]:
    """Values of every kind."""
    return st.one_of(ANYTHING, COLLECTIONS)
