"""The quick tests: which cases they have, and what is told of them."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import NamesOfFailures
from tests.support.quick import LONG, PROPERTY, choose_cases, list_long, list_values

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sizes", [(1,), (7,), (4, 13, 3, 2), (2, 2)])
def test_each_value_is_met_by_few_cases(sizes):
    cases = [set(enumerate(values)) for values in itertools.product(*map(range, sizes))]
    chosen = choose_cases(cases)
    assert set().union(*(cases[number] for number in chosen)) == set().union(*cases)
    assert len(chosen) == max(sizes)
    assert chosen == choose_cases(cases)


def test_what_takes_long_is_named_the_longest_first():
    seconds = {"short": LONG / 2, "long": 2 * LONG, "longer": 3 * LONG}
    reports = [SimpleNamespace(nodeid=name, user_properties=[[PROPERTY, taken]]) for name, taken in seconds.items()]
    reports.append(SimpleNamespace(nodeid="without", user_properties=[]))
    assert [line.split()[-1] for line in list_long(reports)] == ["longer", "long"]


def test_failures_are_named_as_they_happen():
    lines = []
    terminal = SimpleNamespace(ensure_newline=lambda: None, write_line=lambda line, **_: lines.append(line))
    named = NamesOfFailures(terminal)
    for name, failed in (("one", False), ("other", True)):
        named.pytest_runtest_logreport(SimpleNamespace(nodeid=name, when="setup", failed=failed))
    assert lines == ["setup of other failed"]


def case(**values):
    """A case of a test whose shapes and ranks are listed together."""
    marks = [pytest.mark.parametrize(("shape", "rank"), []).mark, pytest.mark.parametrize("dtype", []).mark]
    return SimpleNamespace(callspec=SimpleNamespace(params=values), iter_markers={"parametrize": marks}.get)


def test_values_that_are_listed_together_stay_together():
    given = {"shape": (4, 4), "dtype": "f4", "engine": "threads"}
    one, other = (list_values(case(rank=rank, **given)) for rank in (2, 3))
    assert {names for names, *_ in one} == {("shape", "rank"), ("dtype",), ("engine",)}
    assert {names for names, *_ in one - other} == {("shape", "rank")}


@pytest.mark.slow
def test_combinations_are_left_to_the_whole():
    module = "tests/kernels/factors/test_hierarchy.py"
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "--collect-only", "-m", "not slow", module]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found, everything = re.search(r"(\d+)/(\d+) tests collected", done.stdout).groups()
    assert int(found) < int(everything) / 4
    name = "::test_products_of_a_chain_are_recovered["
    cases = [line.partition(name)[2] for line in done.stdout.splitlines() if name in line]
    for value in ("numpy", "array_api_strict", "float32", "float64", "complex64", "complex128", "balanced", "right"):
        assert any(value in case for case in cases)
