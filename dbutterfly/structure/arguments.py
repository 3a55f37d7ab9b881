"""Arguments as callers give them: numbers, choices, flags and shapes become Python's own, or are refused.

Every reader takes the name of an argument and what was given for it, and returns the value or raises InputError, which
names both and the remedy. NumPy's scalars and arrays without dimensions count as the numbers that they hold. A truth
value is no number, and a float is no integer.
"""

from __future__ import annotations

import decimal
import itertools
import math
import numbers
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from ..errors import InputError
from .shown_values import show_value

__all__ = [
    "LARGEST",
    "Reader",
    "as_integer",
    "optional",
    "read_choice",
    "read_count",
    "read_counts",
    "read_flag",
    "read_number",
    "read_seed",
    "read_shape",
    "read_tolerance",
    "show_value",
]

Reader: TypeAlias = Callable[[str, Any], Any]
"""Takes the name of an argument and what was given for it, and returns its value or raises InputError."""

LARGEST = 2**63 - 1
"""Largest integer of an argument, and the longest side of a matrix: an index of NumPy is no larger."""

MOST_COUNTS = 1 << 16
"""Most integers that are taken from a list of them, which may have no end. Not tuned."""


def optional(reader: Reader) -> Reader:
    """Reader that takes None as well, and returns it."""
    return partial(_read_optional, reader)


def _read_optional(reader: Reader, name: str, value: Any) -> Any:
    return None if value is None else reader(name, value)


def read_count(
    name: str,
    value: Any,
    *,
    least: int = 1,
    most: int | None = LARGEST,
    fault: str = "",
    remedy: str = "",
    error: type[InputError] = InputError,
) -> int:
    """Read an integer.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        What was given for it.
    least, most : int
        Smallest and largest value; None for no largest one.
    fault : str
        What messages say of any other value, in place of what is wrong with it.
    remedy : str
        What messages say to do, by default to give an integer in the range.
    error : type
        Class of the error.

    Raises
    ------
    InputError
        If it is no integer of this range.
    """
    count = as_integer(value)
    if count is not None and least <= count and (most is None or count <= most):
        return count
    if count is None:
        wrong = "is not an integer"
    elif count >= least:
        wrong = f"is more than {most}"
    else:
        wrong = {1: "is not positive", 0: "is negative"}.get(least, f"is less than {least}")
    raise error(f"{name}={show_value(value)} {fault or wrong}; {remedy or f'give an integer from {least} on'}")


def read_counts(name: str, value: Any, *, remedy: str = "give a list of positive integers") -> list[int]:
    """Read several positive integers.

    Raises
    ------
    InputError
        If it is no collection of positive integers.
    """
    try:
        counts = (
            []
            if isinstance(value, (str, bytes))
            else [as_integer(each) for each in itertools.islice(value, MOST_COUNTS)]
        )
    except Exception:  # whatever an object does when it is asked for its items
        counts = [None]
    if isinstance(value, (str, bytes)) or any(count is None or not 1 <= count <= LARGEST for count in counts):
        raise InputError(f"{name}={show_value(value)} is not a list of positive integers; {remedy}")
    return [count for count in counts if count is not None]


def read_shape(
    name: str,
    value: Any,
    *,
    fault: str = "is not a pair of integers (rows, columns)",
    error: type[InputError] = InputError,
) -> tuple[int, int]:
    """Read the two sides of a matrix, each at least 1.

    Raises
    ------
    InputError
        If it is no pair of positive integers.
    """
    try:
        sides = (
            None
            if isinstance(value, (str, bytes, dict, set))
            else [as_integer(side) for side in itertools.islice(value, 3)]
        )
    except Exception:  # whatever an object does when it is asked for its items
        sides = None
    if sides is None or len(sides) != 2 or sides[0] is None or sides[1] is None:
        raise error(f"{name}={show_value(value)} {fault}; give two integers from 1 on, such as (512, 512)")
    rows, cols = sides[0], sides[1]
    if rows < 1 or cols < 1:
        raise error(f"{name}={show_value(value)} has an empty side; both must be at least 1")
    if max(rows, cols) > LARGEST:
        raise error(f"{name}={show_value(value)} has a side of more than {LARGEST}, the most that an index can be")
    return rows, cols


def read_number(
    name: str,
    value: Any,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    fault: str = "is not a finite number",
    remedy: str = "give one",
) -> float:
    """Read a finite real number.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        What was given for it: any real number, of NumPy, ``fractions`` and ``decimal`` as well.
    least, most : float
        Smallest and largest value.
    fault : str
        What messages say of any other value.
    remedy : str
        What messages say to do.

    Raises
    ------
    InputError
        If it is no number of this range.
    """
    number = _real(value)
    if number is None or not math.isfinite(number) or not least <= number <= most:
        raise InputError(f"{name}={show_value(value)} {fault}; {remedy}")
    return number


def read_tolerance(name: str, value: Any) -> float:
    """Read a relative error that is to be reached.

    Raises
    ------
    InputError
        If it is no positive number.
    """
    return read_number(
        name,
        value,
        least=math.ulp(0.0),
        fault="is no relative error",
        remedy="use a positive number such as 1e-6",
    )


def read_choice(name: str, value: Any, *, choices: Sequence[Any], fault: str = "is unknown", remedy: str = "") -> Any:
    """Read one of some texts or integers.

    Parameters
    ----------
    name : str
        Name of the argument.
    value : object
        What was given for it.
    choices : sequence of str or int
        What may be given.
    fault : str
        What messages say of any other value.
    remedy : str
        What messages say to do, by default to use one of the choices.

    Raises
    ------
    InputError
        If it is none of them.
    """
    given = str(value) if isinstance(value, str) else as_integer(value)
    for choice in choices:
        if type(choice) is type(given) and choice == given:
            return choice
    listed = ", ".join(map(repr, choices))
    raise InputError(f"{name}={show_value(value)} {fault}; {remedy or f'use one of {listed}'}")


def read_flag(name: str, value: Any) -> bool:
    """Read True or False; numbers and texts are neither.

    Raises
    ------
    InputError
        If it is neither.
    """
    value = _unwrap(value)
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name}={show_value(value)} is neither True nor False; give one of the two")
    return bool(value)


def read_seed(name: str, value: Any) -> int:
    """Read a seed of random numbers.

    Raises
    ------
    InputError
        If it is no integer from 0 on.
    """
    return read_count(name, value, least=0, most=None, fault="is no seed", remedy="use an integer from 0 on")


def _unwrap(value: Any) -> Any:
    """Scalar of an array without dimensions, and anything else as it is."""
    return value[()] if type(value) is np.ndarray and value.ndim == 0 else value


def as_integer(value: Any) -> int | None:
    """Python's integer of an integer, None of anything else."""
    value = _unwrap(value)
    if isinstance(value, (bool, np.bool_, np.timedelta64, np.ndarray)):
        return None
    try:
        return int(operator.index(value))
    except Exception:  # whatever an object does when it is asked for its index
        return None


def _real(value: Any) -> float | None:
    """Python's float of a real number, None of anything else; infinite where the number is too large."""
    value = _unwrap(value)
    if isinstance(value, (bool, np.bool_, np.timedelta64)):
        return None
    if not isinstance(value, (numbers.Real, np.floating, decimal.Decimal)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except Exception:  # a Decimal that signals, and whatever other classes of numbers do
        return None
