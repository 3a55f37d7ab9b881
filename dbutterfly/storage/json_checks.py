"""Checks of plain JSON values: of numbers and texts, and of lists and dictionaries of them.

A check takes a value and the name of its entry, and raises ManifestError unless the value will do.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..errors import StoreError

__all__ = [
    "LARGEST", "SHOWN", "Check", "ManifestError", "check_depth", "dict_of", "dict_with", "either", "integer",
    "is_integer", "list_of", "matching", "number", "one_of", "or_none", "text", "truth", "tuple_of",
]  # fmt: skip

LARGEST = 2**62
"""Most entries of a matrix or of a factor: beyond it, bytes cannot be counted in 64 bits. Not tuned."""

LONGEST_TEXT = 1 << 22
"""Most letters of a text. Not tuned: the name of a matrix may tell its whole chain."""

DEEPEST = 300
"""Most lists and dictionaries in each other. Not tuned: Python allows 1000 nested calls."""

Check: TypeAlias = Callable[[Any, str], None]
"""Raises ManifestError unless a value will do; the text names the entry."""


class ManifestError(StoreError):
    """An entry of a manifest is not what it must be; the message names the entry and its value."""

    def __init__(self, name: str, value: Any, wanted: str) -> None:
        super().__init__(name, value, wanted)
        self.name, self.value, self.wanted = name, value, wanted

    def __str__(self) -> str:
        if self.value is None:
            return f"entry {self.name!r} is missing"
        return f"entry {self.name!r} is {SHOWN.repr(self.value)}, not {self.wanted}"


SHOWN = reprlib.Repr()
SHOWN.maxstring = SHOWN.maxother = SHOWN.maxlong = 60


def check_depth(value: Any) -> None:
    """Raise ManifestError if lists and dictionaries are nested too deep for functions that call themselves."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [each for each in level if isinstance(each, (list, dict))]
        level = [item for each in inner for item in (each.values() if isinstance(each, dict) else each)]
        if not level:
            return
    raise ManifestError("", "nested", f"at most {DEEPEST} levels deep")


# ---------------------------------------------------------------- single values


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def integer(low: int, high: int = LARGEST) -> Check:
    """Make the check of an integer between two others."""

    def check(value: Any, name: str) -> None:
        if not (is_integer(value) and low <= value <= high):
            raise ManifestError(name, value, f"an integer from {low} to {high}")

    return check


def either(first: Check, second: Check) -> Check:
    """Make the check of a value for which one of two checks will do; the second one has the message."""

    def check(value: Any, name: str) -> None:
        try:
            first(value, name)
        except ManifestError:
            second(value, name)

    return check


def number(low: float, *, infinite: bool = False) -> Check:
    """Make the check of a number of at least some size."""

    def check(value: Any, name: str) -> None:
        fits = is_integer(value) or isinstance(value, float)
        if not (fits and low <= value and (value < math.inf or infinite)):
            raise ManifestError(name, value, f"a{'' if infinite else ' finite'} number of at least {low:g}")

    return check


def truth(value: Any, name: str) -> None:
    """Check a truth value."""
    if not isinstance(value, bool):
        raise ManifestError(name, value, "true or false")


def text(value: Any, name: str) -> None:
    """Check a text."""
    is_text = isinstance(value, str) and len(value) <= LONGEST_TEXT
    if not is_text or any("\ud800" <= letter <= "\udfff" for letter in value):  # halves of letters cannot be written
        raise ManifestError(name, value, f"a text of at most {LONGEST_TEXT} letters")


def one_of(*choices: Any) -> Check:
    """Make the check of one of some values, of the same type."""

    def check(value: Any, name: str) -> None:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise ManifestError(name, value, f"one of {', '.join(map(repr, choices))}")

    return check


def matching(pattern: str, what: str) -> Check:
    """Make the check of a name that becomes part of a path."""

    def check(value: Any, name: str) -> None:
        if not (isinstance(value, str) and re.fullmatch(pattern, value)):
            raise ManifestError(name, value, what)

    return check


def or_none(inner: Check) -> Check:
    """Make the check of a value that may be None."""
    return lambda value, name: None if value is None else inner(value, name)


# ---------------------------------------------------------------- lists and dictionaries


def list_of(inner: Check, longest: int = LARGEST) -> Check:
    """Make the check of a list whose items pass a check."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or len(value) > longest:
            raise ManifestError(name, value, f"a list of at most {longest} items")
        for index, item in enumerate(value):
            inner(item, f"{name}[{index}]")

    return check


def tuple_of(*inner: Check, optional: int = 0) -> Check:
    """Make the check of a list of as many items as checks; the last ``optional`` of them may be missing."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, list) or not len(inner) - optional <= len(value) <= len(inner):
            raise ManifestError(name, value, f"a list of {len(inner)} items")
        for index, (item, one) in enumerate(zip(value, inner, strict=False)):
            one(item, f"{name}[{index}]")

    return check


def dict_with(known: Mapping[str, Check], *needed: str) -> Check:
    """Make the check of a dictionary of which some entries are known, and some of these needed."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise ManifestError(name, value, "a dictionary")
        for key in needed:
            if key not in value:
                raise ManifestError(f"{name}.{key}", None, "")
        for key in known.keys() & value.keys():
            known[key](value[key], f"{name}.{key}")

    return check


def dict_of(keys: Check, values: Check) -> Check:
    """Make the check of all keys and values of a dictionary."""

    def check(value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise ManifestError(name, value, "a dictionary")
        for key, item in value.items():
            keys(key, f"{name}: name")
            values(item, f"{name}.{SHOWN.repr(key)}")

    return check
