"""Pairs of columns and halves of rows, on every array namespace."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.kernels.grouping.pairs import pair_residuals, two_line_fits


def drawn(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else values).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_residuals_are_smaller_singular_values(xp, dtype):
    grid = drawn((2, 2, 6, 4), dtype)
    found = xp.to_numpy(pair_residuals(xp.asarray(grid), 2))
    expected = np.zeros((2, 4, 4))
    for t, s, g, i, j in np.ndindex(2, 2, 2, 4, 4):
        rows = grid[s, t, 3 * g : 3 * g + 3]
        expected[t, i, j] += np.linalg.svd(rows[:, [i, j]], compute_uv=False)[1] ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_halves_on_which_two_columns_are_proportional_are_found(xp, dtype):
    x = drawn((3, 16), dtype)
    half = np.stack([np.random.default_rng(k).permutation(16) < 8 for k in range(3)])
    y = np.where(half, 0.5 * x, -2 * x)
    residual, found = two_line_fits(xp.asarray(x), xp.asarray(y))
    np.testing.assert_allclose(xp.to_numpy(residual), 0, atol=1e-12)
    found = xp.to_numpy(found)
    assert all((row == one).all() or (row != one).all() for row, one in zip(found, half, strict=True))


def test_the_residual_is_that_of_the_halves(xp):
    x, y = drawn((1, 10), "complex128"), drawn((1, 10), "complex128", seed=1)
    residual, half = (xp.to_numpy(part) for part in two_line_fits(xp.asarray(x), xp.asarray(y)))
    both = np.stack([x[0], y[0]], axis=1)
    lost = sum(np.linalg.svd(both[rows], compute_uv=False)[1] ** 2 for rows in (half[0], ~half[0]))
    assert residual[0] == pytest.approx(lost)
