"""Smooth rows captured by a few orthonormal columns, with the energy of what they leave out."""

from functools import partial

import numpy as np
import pytest

from dbutterfly.factorization.hierarchical.captured import DenseRest, ProductRest, Wanted, capture, capture_all


def draw_smooth(dtype="float64", rows=60, cols=400):
    rng = np.random.default_rng(0)
    x, y = rng.random((rows, 1)), rng.random(cols) + 1.1
    values = 1 / (y - x)
    return (values * np.exp(3j * x * y) if np.dtype(dtype).kind == "c" else values).astype(dtype)


def product_of(matrix):
    """The same matrix, as products of two parts of its columns that interleave."""
    parts = []
    for at in (np.arange(0, matrix.shape[1], 2), np.arange(1, matrix.shape[1], 2)):
        basis, right = np.linalg.qr(matrix[:, at])
        parts.append((at, basis, right))
    return ProductRest(parts, matrix.shape[1])


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("rest_of", [DenseRest, product_of])
def test_energies_are_those_of_what_is_left_out(dtype, rest_of):
    matrix = draw_smooth(dtype)
    energy, eps = float(np.sum(np.abs(matrix).astype(np.float64) ** 2)), float(np.finfo(dtype).eps)
    for tol in (1e-1, 1e-3):
        found = capture(rest_of(matrix.copy()), tol**2 * energy, 40)
        rank = found.basis.shape[1]
        assert found.basis.dtype == found.coefficients.dtype == dtype
        np.testing.assert_allclose(found.basis.conj().T @ found.basis, np.eye(rank), atol=20 * eps)
        wide = [each.astype(np.result_type(dtype, np.float64)) for each in (matrix, found.basis, found.coefficients)]
        missed = np.sum(np.abs(wide[0] - wide[1] @ wide[2]) ** 2, axis=0)
        rounding = (20 * eps) ** 2 * energy
        assert (missed <= found.left_out * (1 + 1e-3) + rounding).all()
        assert found.left_out.sum() <= min(tol**2 * energy, 1.01 * missed.sum() + rounding)
        fewest = np.sum(np.cumsum(np.linalg.svd(wide[0], compute_uv=False)[::-1] ** 2)[::-1] > tol**2 * energy)
        assert fewest <= rank <= fewest + 6


def test_a_rank_that_is_too_low_leaves_more_out_and_says_so():
    noise = np.random.default_rng(0).standard_normal((50, 300))
    found = capture(DenseRest(noise.copy()), 0.0, 7)
    assert found.basis.shape == (50, 7)
    missed = np.sum((noise - found.basis @ found.coefficients) ** 2)
    assert missed <= found.left_out.sum() <= (1 + 1e-9) * missed
    whole = capture(DenseRest(noise), 1e-20, 60)
    assert whole.basis.shape == (50, 50)
    assert whole.left_out.sum() < 1e-20


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("rest_of", [DenseRest, product_of])
def test_rounding_is_not_captured(dtype, rest_of):
    """No columns are orthonormal that stand for it, and a call that leaves it out is not repeated with more of them."""
    rng, calls = np.random.default_rng(2), []
    matrix = (rng.standard_normal((60, 5)) @ rng.standard_normal((5, 300))).astype(dtype)

    def give():
        calls.append(None)
        return rest_of(matrix.copy())

    found, _ = capture_all([Wanted(give, 0.0, 50), Wanted(partial(rest_of, np.zeros((60, 300), dtype)), 0.0, 50)])
    rank, eps = found.basis.shape[1], float(np.finfo(dtype).eps)
    assert 5 <= rank <= 5 + 4
    np.testing.assert_allclose(found.basis.conj().T @ found.basis, np.eye(rank), atol=20 * eps)
    assert found.left_out.sum() <= (4 * eps) ** 2 * np.sum(np.abs(matrix) ** 2)
    assert len(calls) == 1


def test_columns_that_are_carried_along_are_not_captured():
    matrix = np.array(draw_smooth())
    at = np.arange(399, 0, -2)
    wanted = capture(DenseRest(np.ascontiguousarray(matrix[:, at])), 1e-6, 40)
    matrix[:, ::2] *= 1e3
    found = capture(DenseRest(matrix, at), 1e-6, 40)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5, 3)])
def test_nothing_is_captured_by_no_columns(shape):
    found = capture(DenseRest(np.zeros(shape, np.float32)), 0.0, 4)
    assert (found.basis.shape, found.coefficients.shape) == ((shape[0], 0), (0, shape[1]))
    assert found.basis.dtype == np.float32
    assert (found.left_out == np.zeros(shape[1])).all()


def test_products_without_columns_are_passed_over():
    basis, nothing = np.eye(6, dtype=np.complex64)[:, :2], np.empty(0, np.int64)
    right = np.arange(8, dtype=np.complex64).reshape(2, 4)
    rest = ProductRest([(nothing, basis, right[:, :0]), (np.arange(4), basis, right)], 4)
    found = capture(rest, 1e-6, 6)
    np.testing.assert_allclose(found.basis @ found.coefficients, basis @ right, atol=1e-5)


def test_columns_that_are_not_looked_at_are_found_by_what_is_left():
    matrix = np.zeros((40, 1000))
    matrix[3, 17] = matrix[5, 18] = 1.0  # between the columns at equal distances
    found = capture(DenseRest(matrix), 1e-6, 20)
    assert found.basis.shape[1] == 2
    assert found.left_out.sum() == 0
