"""Bounds and errors of random and hostile matrices come in order: some of the cases of ``benchmarks fuzz``."""

import pytest

from benchmarks.fuzz import DTYPES, KINDS, check, draw
from tests.support.quick import mostly_slow

CASES = range(len(DTYPES) * len(KINDS))


@pytest.mark.parametrize("number", mostly_slow(CASES, CASES[::5]))  # every dtype, and most kinds
def test_bounds_and_errors_come_in_order(number):
    checked = check(draw(number))
    assert not checked.fault
    assert checked.lower <= checked.best <= checked.error <= checked.bound
