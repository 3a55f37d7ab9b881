"""Stacks with weights: each matrix comes out as by a call of its own."""

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.errors import FailedMatricesWarning, InputError, StoreMismatchError
from dbutterfly.planning import stacked_plan
from tests.support.comparisons import DTYPES, random_matrix
from tests.support.stacked_runs import assert_same_stacks, make_stack, store_stack

RNG = np.random.default_rng(5)
ROWS, COLS = RNG.lognormal(size=32), RNG.lognormal(size=32)


def assert_alike(found, single, matrix):
    """Factors, certificate and weights of a matrix of a stack and of a call of its own."""
    assert found.certificate.weighted
    assert found.certificate.norm == pytest.approx(single.certificate.norm)
    assert found.certificate.error_bound == pytest.approx(single.certificate.error_bound, rel=1e-4)
    assert found.certificate.lower_bound == pytest.approx(single.certificate.lower_bound, rel=1e-4)
    np.testing.assert_array_equal(found.weights.rows, single.weights.rows)
    missed = ROWS[:, None] * (found.operator.to_dense() - matrix) * COLS
    error = np.linalg.norm(missed) / np.linalg.norm(ROWS[:, None] * matrix * COLS)
    assert found.certificate.lower_bound <= error * (1 + 1e-5) + 1e-9
    assert error <= found.certificate.error_bound * (1 + 1e-5) + 1e-9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("asked", [{}, {"rank": 2, "passes": 2}, {"orderings": (None, "bitreversal")}])
def test_each_matrix_is_factorized_as_by_a_call_of_its_own(dtype, asked):
    stack = make_stack(3, dtype=dtype)
    found = dbf.factorize(stack, weights=(ROWS, COLS), **asked)
    for number, matrix in enumerate(stack):
        assert_alike(found[number], dbf.factorize(matrix, weights=(ROWS, COLS), **asked), matrix)
        assert found[number].dtype == dtype


def test_sizes_with_gaps_and_one_side():
    stack, rows = np.stack([random_matrix((31, 29), seed=seed) for seed in range(3)]), ROWS[:31]
    found = dbf.factorize(stack, rank=2, weights=(rows, None))
    for number, matrix in enumerate(stack):
        single = dbf.factorize(matrix, rank=2, weights=(rows, None))
        assert found[number].certificate.error_bound == pytest.approx(single.certificate.error_bound, rel=1e-6)
        np.testing.assert_allclose(found[number].operator.to_dense(), single.operator.to_dense(), atol=1e-8)


def test_a_tolerance_is_one_of_weighted_errors():
    x = np.linspace(0, 1, 64)
    stack = np.stack([np.exp(1j * k * np.hypot(1, x[:, None] - x)) for k in (30, 60)])
    weights = np.exp(-3 * x), np.exp(3 * x)
    found = dbf.factorize(stack, tol=1e-3, weights=weights)
    for number, matrix in enumerate(stack):
        missed = weights[0][:, None] * (found[number].operator.to_dense() - matrix) * weights[1]
        assert np.linalg.norm(missed) <= 1e-3 * np.linalg.norm(weights[0][:, None] * matrix * weights[1])


def test_stored_runs_keep_their_weights(tmp_path):
    stack = make_stack(5)
    z = store_stack(stack, tmp_path / "z.zarr", (2, 32, 32))
    expected = dbf.factorize(stack, weights=(ROWS, COLS))
    run = tmp_path / "run.zarr"
    found = dbf.factorize(z, weights=(ROWS, COLS), store=run)
    assert_same_stacks(found, expected)
    for again in (dbf.factorize(z, weights=(ROWS, COLS), store=run), dbf.open(run)):
        assert_same_stacks(again, expected)
        np.testing.assert_array_equal(again.weights.cols, COLS)
        assert all(each.weighted for each in again.certificates)
    for weights in (None, (ROWS, None), (ROWS, 2 * COLS)):
        with pytest.raises(StoreMismatchError, match="weights"):
            dbf.factorize(z, weights=weights, store=run)
    found.save(tmp_path / "copy.zarr")
    assert_same_stacks(dbf.open(tmp_path / "copy.zarr"), expected)
    assert float(dbf.verify(found[2], stack[2])) <= found[2].certificate.error_bound * (1 + 1e-6)


def test_matrices_that_are_runs_by_themselves(monkeypatch):
    stack = make_stack(2)
    expected = dbf.factorize(stack, weights=(ROWS, COLS))
    monkeypatch.setattr(stacked_plan, "LARGEST_TOGETHER", 0)
    alone = dbf.factorize(stack, weights=(ROWS, COLS))
    assert len(alone.alone) == 2
    for number, matrix in enumerate(stack):
        assert_alike(alone[number], expected[number], matrix)


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"matrix 0 of .*weights: rows has 31 entries"):
        dbf.factorize(make_stack(2), weights=(ROWS[:31], COLS))
    with pytest.raises(InputError, match=r"matrix 1 of .*weights: cols has 32 entries"):
        dbf.factorize([make_stack(1)[0], np.ones((32, 16))], weights=(ROWS, COLS), shared=False)


def test_a_matrix_with_a_nan_is_named():
    stack = make_stack(3)
    stack[1, 2, 3] = np.nan
    with pytest.warns(FailedMatricesWarning, match="matrix 1"):
        found = dbf.factorize(stack, weights=(ROWS, COLS))
    assert "(2, 3)" in found.failed[1]
    assert found[2].certificate.weighted
