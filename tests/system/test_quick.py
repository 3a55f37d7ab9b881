"""The quick tests: which cases they have, and what is told of them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.quick import LONG, PROPERTY, choose_cases, list_long

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sizes", [(1,), (7,), (4, 13, 3, 2), (2, 2)])
def test_each_value_is_met_by_few_cases(sizes):
    cases = [set(enumerate(values)) for values in itertools.product(*map(range, sizes))]
    chosen = choose_cases(cases)
    assert set().union(*(cases[number] for number in chosen)) == set().union(*cases)
    assert len(chosen) == max(sizes)
    assert chosen == choose_cases(cases)


def test_rows_that_are_listed_are_all_met():
    rows = [{("shape and rank", row), ("dtype", dtype)} for row in "abc" for dtype in "fc"]
    assert {next(iter(rows[number] & {("shape and rank", row) for row in "abc"})) for number in choose_cases(rows)} == {
        ("shape and rank", row) for row in "abc"
    }


def test_what_takes_long_is_named_the_longest_first():
    seconds = {"short": LONG / 2, "long": 2 * LONG, "longer": 3 * LONG}
    reports = [SimpleNamespace(nodeid=name, user_properties=[[PROPERTY, taken]]) for name, taken in seconds.items()]
    assert [line.split()[-1] for line in list_long([*reports, SimpleNamespace(nodeid="x", user_properties=[])])] == [
        "longer",
        "long",
    ]


def collect(*arguments: str) -> list[str]:
    """Names of the tests that pytest finds."""
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "--collect-only", "-p", "no:cacheprovider", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_combinations_are_left_to_the_whole():
    module = "tests/kernels/factors/test_hierarchy.py"
    everything, some = collect(module), collect(module, "-m", "not slow")
    assert len(some) < len(everything) / 4
    name = f"{module}::test_products_of_a_chain_are_recovered"
    of_one = [test.partition("[")[2].rstrip("]") for test in some if test.startswith(name)]
    for values in (
        ("numpy", "array_api_strict"),
        ("float32", "float64", "complex64", "complex128"),
        ("balanced", "left"),
    ):
        assert all(any(value in test for test in of_one) for value in values)
