"""What the quick tests, ``pytest -m "not slow"``, leave out by themselves, and which of them take long."""

from __future__ import annotations

import itertools
import resource
import time
from collections.abc import Container, Iterable, Sequence, Set
from typing import Any

import pytest

LONG = 1.0
"""Seconds of processor time from which a quick test is named. Not tuned: all of them together have two minutes."""

PROPERTY = "processor seconds"
"""Name under which a report of a test has its processor time."""


def mostly_slow(values: Iterable[Any], quick: Container[Any]) -> list[Any]:
    """Values of a parameter, of which the quick tests have the named ones only."""
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in values]


def list_values(test: pytest.Function) -> set[tuple[Any, ...]]:
    """Values that the parameters of a test have, those together that one ``parametrize`` lists together."""
    given = test.callspec.params
    listed = [mark.args[0] for mark in test.iter_markers("parametrize")]
    together = [(names,) if isinstance(names, str) else tuple(names) for names in listed]
    of_fixtures = given.keys() - itertools.chain.from_iterable(together)
    return {(names, *(id(given[name]) for name in names)) for names in [*together, *((name,) for name in of_fixtures)]}


def choose_cases(cases: Sequence[Set[Any]]) -> set[int]:
    """Choose cases of a test so that each value of each parameter is met, and few combinations of them.

    Parameters
    ----------
    cases : sequence of sets
        The values of each case.

    Returns
    -------
    set of int
        Numbers of the cases: at each step the one, of equals the first, with the most values not met before.
    """
    left = set().union(*cases)
    chosen: set[int] = set()
    while left:
        best = max(range(len(cases)), key=lambda number: len(left & cases[number]))
        chosen.add(best)
        left -= cases[best]
    return chosen


def processor_seconds() -> float:
    """Processor time of this process and of those that it has started and that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def list_long(reports: Sequence[Any]) -> list[str]:
    """Name the tests that took long, the longest first, with their processor time."""
    taken = {report.nodeid: dict(report.user_properties).get(PROPERTY, 0.0) for report in reports}
    long = sorted(((seconds, test) for test, seconds in taken.items() if seconds >= LONG), reverse=True)
    return [f"{seconds:6.1f} s  {test}" for seconds, test in long]
