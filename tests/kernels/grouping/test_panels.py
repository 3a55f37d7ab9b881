"""Panels of rows against groups, on every array namespace."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.kernels.grouping.groups import block_view, leading_rows
from dbutterfly.kernels.grouping.panels import fit_panel, orthonormal_parts, row_basis
from tests.support.drawn_arrays import drawn

DTYPES = ["float32", "float64", "complex64", "complex128"]


def blocky(u, q, p, v, rank, dtype):
    """A matrix whose u x q blocks have exactly the rank."""
    blocks = drawn((u, q, p, rank), dtype) @ drawn((u, q, rank, v), dtype, seed=1)
    return blocks.transpose(0, 2, 1, 3).reshape(u * p, q * v)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2])
def test_rows_fit_their_own_groups(xp, dtype, rank):
    u, q, p, v = 3, 4, 5, 6
    z = blocky(u, q, p, v, rank, dtype)
    basis = row_basis(leading_rows(xp.asarray(block_view(z[None, None], u, q)[0, 0]), rank))
    fit = fit_panel(xp.asarray(z), basis, u)
    scores, products = xp.to_numpy(fit.scores), xp.to_numpy(fit.products)
    assert products.dtype == dtype
    assert scores.shape == (u * p, u)
    assert products.shape == (u * p, q, rank)
    own = np.repeat(np.arange(u), p)
    np.testing.assert_array_equal(xp.to_numpy(fit.best), own)
    energies = np.sum(np.abs(z) ** 2, axis=1)
    np.testing.assert_allclose(scores[np.arange(u * p), own], energies, rtol=1e-4 if z.itemsize < 16 else 1e-10)
    np.testing.assert_allclose(np.sum(np.abs(products) ** 2, axis=(1, 2)), energies, rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2])
def test_left_and_right_parts_make_the_matrix(xp, dtype, rank):
    u, q, p, v = 3, 4, 5, 6
    z = blocky(u, q, p, v, rank, dtype)
    left = fit_panel(
        xp.asarray(z), row_basis(leading_rows(xp.asarray(block_view(z[None, None], u, q)[0, 0]), rank)), u
    ).products
    basis = orthonormal_parts(left, u)
    right = fit_panel(xp.asarray(np.ascontiguousarray(z.T)), basis, q)
    right = xp.to_numpy(right.products).reshape(q, v, u, rank)
    unit = xp.to_numpy(basis).conj().reshape(u, p, q, rank)
    made = np.einsum("upqr,qvur->upqv", unit, right).reshape(u * p, q * v)
    assert np.linalg.norm(made - z) <= 200 * np.finfo(dtype).eps * np.linalg.norm(z)


def test_known_groups_count_as_best(xp):
    z = blocky(2, 2, 4, 4, 1, "float64")
    basis = row_basis(leading_rows(xp.asarray(block_view(z[None, None], 2, 2)[0, 0]), 1))
    others = np.repeat([1, 0], 4)
    fit = fit_panel(xp.asarray(z), basis, 2, xp.asarray(others))
    energies = np.sum(np.abs(xp.to_numpy(fit.products)) ** 2, axis=(1, 2))
    np.testing.assert_allclose(energies, xp.to_numpy(fit.scores)[np.arange(8), others], rtol=1e-12)


def test_zero_rows_have_zero_parts(xp):
    basis = xp.to_numpy(orthonormal_parts(xp.asarray(np.zeros((6, 2, 1))), 3))
    assert not basis.any()
