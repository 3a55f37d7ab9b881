"""Errors of a stack, measured: those of single calls, by one read of each matrix."""

import numpy as np
import pytest
import scipy.sparse

import dbutterfly as dbf
from dbutterfly.errors import FailedMatricesWarning, InputError, NonFiniteError, NoSuchMatrixError
from dbutterfly.planning import stacked_plan
from tests.support.comparisons import random_matrix
from tests.support.stacked_runs import counted_reads, make_stack, store_stack

ASKED = [{}, {"weights": (np.linspace(1, 9, 32), None)}, {"orderings": ("bitreversal", np.arange(32)[::-1])}]


@pytest.fixture(scope="module")
def stack():
    return make_stack(5)


@pytest.mark.parametrize("asked", ASKED)
def test_errors_are_those_of_single_calls(stack, asked, engine, tmp_path):
    place = store_stack(stack, tmp_path / "z.zarr", (2, 16, 32))
    found = dbf.factorize(stack, **asked, store=tmp_path / "run.zarr")
    verified = dbf.verify(tmp_path / "run.zarr", place, **engine)
    for number, error in enumerate(verified):
        single = dbf.verify(found[number], stack[number])
        assert error == pytest.approx(single, rel=1e-6)
        assert (error.exact, error.weighted) == (True, "weights" in asked)
        assert error.norm == pytest.approx(single.norm, rel=1e-6)
        assert error <= found.certificates[number].error_bound
    rows = dbf.verify(found, stack, samples=8, seed=3)
    assert rows[2] == pytest.approx(dbf.verify(found[2], stack[2], samples=8, seed=3), rel=1e-6)
    assert rows[2].samples == 8


def test_every_matrix_is_read_once(stack, tmp_path):
    place = store_stack(stack, tmp_path / "z.zarr", (1, 32, 32))
    found = dbf.factorize(stack)
    with counted_reads() as reads:
        dbf.verify(found, place, workers=2)
    assert len(reads) == len(set(reads)) <= 5


def test_a_table_shows_the_worst_first_and_says_whose_bounds_are_not_kept(stack):
    found = dbf.factorize(stack)
    verified = dbf.verify(found, stack)
    assert (verified.worst, verified.above(0.05)) == (4, [2, 3, 4])
    lines = str(verified).splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["4", "3", "2", "1", "0"]
    assert lines[-1] == repr(verified).removeprefix("<VerifiedStack of ").removesuffix(">")
    assert [row["error_bound"] for row in verified.table()] == [each.error_bound for each in found.certificates]
    other = dbf.verify(found, stack[[0, 1, 2, 4, 3]])
    assert "2 of 5 errors are above their proven bounds (matrix 3)" in str(other)


def test_matrices_without_factors_and_sizes_out_of_range(stack):
    broken = stack.copy()
    broken[1, 0, 0] = np.nan
    broken[3] *= 1e30
    with pytest.warns(FailedMatricesWarning):
        found = dbf.factorize(broken)
    verified = dbf.verify(found, broken)
    assert verified[1] is None
    assert verified[3] == pytest.approx(dbf.verify(found[3], broken[3]), rel=1e-6)
    assert verified.table()[1]["failed"] == found.failed[1]
    assert "1       failed: matrix 1" in str(verified)
    with pytest.raises(NonFiniteError, match="matrix 1 of array holds a NaN"):
        dbf.verify(dbf.factorize(stack), broken)


def test_errors_are_asked_for_by_number_and_name(stack):
    named = dbf.verify(dbf.factorize(stack), stack)
    assert named[-1] == named[4]
    for number in (7, "a"):
        with pytest.raises(NoSuchMatrixError, match=f"{number!r}"):
            named[number]


def test_large_matrices_and_operators_are_compared_one_by_one(stack, monkeypatch):
    sparse = scipy.sparse.random_array((32, 32), density=0.2, rng=np.random.default_rng(0), format="csr")
    matrices = [stack[0], sparse, random_matrix((16, 24))]
    found = dbf.factorize(matrices, rank=2)
    monkeypatch.setattr(stacked_plan, "LARGEST_TOGETHER", stack[0].nbytes - 1)
    verified = dbf.verify(found, matrices)
    for number, matrix in enumerate(matrices):
        assert verified[number] == pytest.approx(dbf.verify(found[number], matrix), rel=1e-6)


def test_other_stacks_are_refused(stack):
    found = dbf.factorize(stack)
    for source, message in (
        (stack[0], "source is one matrix, array, but the factorization is of a stack of 5"),
        (stack[:3], "source has 3 matrices but the factorization is of a stack of 5"),
        (stack[:, :, :16], r"matrix 0 of array has shape \(32, 16\) but the factorization is of a \(32, 32\) matrix"),
    ):
        with pytest.raises(InputError, match=message):
            dbf.verify(found, source)
