import numpy as np
import pytest

from dbutterfly.kernels.low_rank.truncated import (
    energy_of,
    low_rank_of,
    low_rank_within,
    low_ranks_within,
    rank_within,
)
from tests.support.comparisons import random_matrix

DTYPES = ["float32", "float64", "complex64", "complex128"]


def graded(rows, cols, fall, dtype="float64", seed=0):
    """Matrix with singular values 1, fall, fall^2, ..."""
    size = min(rows, cols)
    left = np.linalg.qr(random_matrix((rows, size), dtype, seed).astype("complex128"))[0]
    right = np.linalg.qr(random_matrix((cols, size), dtype, seed + 1).astype("complex128"))[0]
    product = (left * fall ** np.arange(size)) @ right.conj().T
    return (product if np.dtype(dtype).kind == "c" else product.real).astype(dtype)


def squares(matrix):
    return float(np.sum(np.abs(matrix).astype(float) ** 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(90, 40), (40, 90), (1, 30), (30, 1)])
def test_what_is_allowed_is_kept_and_the_rank_is_the_least(dtype, shape):
    matrix = graded(*shape, 0.5, dtype)
    spectrum = np.linalg.svd(matrix.astype("complex128"), compute_uv=False)
    allowed = 1e-6 * squares(matrix)
    found = low_rank_within(matrix, allowed, most=min(shape))
    missed = squares(matrix - found.left @ found.right)
    rank = found.left.shape[1]
    assert found.left.dtype == found.right.dtype == np.dtype(dtype)
    assert missed <= 1.001 * allowed
    assert rank <= rank_within(spectrum, allowed * 0.75)
    assert found.energy == pytest.approx(squares(matrix), rel=1e-6)
    np.testing.assert_allclose(missed, found.rest + np.sum(found.values[rank:] ** 2), rtol=1e-2, atol=1e-12)
    assert np.sum(found.values[rank:] ** 2) <= np.sum(spectrum[rank:] ** 2) * (1 + 1e-3) + 1e-12
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found.left.conj().T @ found.left, np.eye(rank), atol=50 * eps)
    rows = found.right @ found.right.conj().T
    np.testing.assert_allclose(rows, np.diag(found.values[:rank] ** 2), atol=50 * eps * found.energy)


def test_further_rounds_reach_what_the_first_one_misses():
    matrix = graded(200, 150, 0.8)
    allowed = 1e-12 * squares(matrix)
    found = low_rank_within(matrix, allowed, most=120, expected=4)
    assert squares(matrix - found.left @ found.right) <= 1.001 * allowed
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(found.left.shape[1]), atol=1e-12)


def test_more_than_the_rank_of_use_is_refused():
    noise = random_matrix((100, 100), "float64", 0)
    assert low_rank_within(noise, 1e-6 * squares(noise), most=25) is None
    assert low_rank_within(noise, 0.0, most=25) is None
    assert low_rank_within(graded(100, 100, 0.5), 1e-12, most=3) is None


def test_matrices_of_a_stack_are_approximated_as_each_by_itself():
    falls, noise = (0.3, 0.5, 0.65), random_matrix((60, 40), "float64", 0)
    stack = np.stack([np.zeros((60, 40)), *(graded(60, 40, fall) for fall in falls), noise])
    found = low_ranks_within(stack, 1e-9, most=39, expected=8)
    assert found[0].left.shape == (60, 0)
    assert found[-1] is None
    for matrix, cut in zip(stack[1:-1], found[1:-1], strict=True):
        alone = low_rank_within(matrix, 1e-9, most=39, expected=8)
        assert cut.left.shape == alone.left.shape
        assert squares(matrix - cut.left @ cut.right) == pytest.approx(
            cut.rest + np.sum(cut.values[cut.left.shape[1] :] ** 2)
        )
        np.testing.assert_allclose(cut.left @ cut.right, alone.left @ alone.right, atol=1e-12)


def test_little_enough_is_left_out():
    matrix = graded(20, 30, 0.5)
    for given, allowed in ((matrix, 2 * squares(matrix)), (np.zeros((20, 30)), 0.0)):
        found = low_rank_within(given, allowed, most=5)
        assert found.left.shape == (20, 0)
        assert found.right.shape == (0, 30)
        assert found.rest == found.energy == pytest.approx(squares(given))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rank_that_is_given_is_taken(dtype):
    matrix = graded(60, 80, 0.7, dtype)
    spectrum = np.linalg.svd(matrix.astype("complex128"), compute_uv=False)
    for rank in (1, 5, 60, 90):
        found = low_rank_of(matrix, rank)
        missed, best = squares(matrix - found.left @ found.right), np.sum(spectrum[rank:] ** 2)
        assert found.left.shape[1] == min(rank, 60)
        assert missed <= 1.01 * best + 1e-10
        assert np.sum(found.values[rank:] ** 2) <= best * (1 + 1e-4) + 1e-10


def test_energies_are_summed_in_double_precision():
    matrix = np.full((3, 1 << 20), 1.1, np.float32)
    assert energy_of(matrix) == pytest.approx(np.sum(matrix.astype(float) ** 2), rel=1e-6)
