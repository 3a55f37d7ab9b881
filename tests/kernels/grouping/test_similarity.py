"""Similarities of rows on column groups, on every array namespace."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.kernels.grouping.similarity import landmark_similarity, row_similarity


def by_the_formula(grid, groups, alpha):
    s, t, m, n = grid.shape
    total = np.zeros((s, m, m))
    for i, k, c in np.ndindex(s, t, groups):
        rows = grid[i, k, :, c * n // groups : (c + 1) * n // groups]
        norms = np.linalg.norm(rows, axis=1)
        norms[norms == 0] = 1
        total[i] += (np.abs(rows @ rows.conj().T) / np.outer(norms, norms)) ** alpha
    return total


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_similarity_is_the_sum_over_groups_of_powers_of_correlations(xp, dtype, alpha):
    rng = np.random.default_rng(0)
    grid = (
        rng.standard_normal((2, 2, 5, 6)) + (1j * rng.standard_normal((2, 2, 5, 6)) if dtype == "complex128" else 0)
    ).astype(dtype)
    grid[0, 0, 3] = 0
    found = xp.to_numpy(row_similarity(xp.asarray(grid), 3, alpha))
    np.testing.assert_allclose(found, by_the_formula(grid, 3, alpha), rtol=1e-10, atol=1e-12)


def test_a_sample_of_the_groups(xp):
    grid = np.random.default_rng(0).standard_normal((1, 1, 4, 6))
    found = xp.to_numpy(row_similarity(xp.asarray(grid), 3, 2.0, sample=[0, 2]))
    kept = np.concatenate([grid[..., :2], grid[..., 4:]], axis=-1)
    np.testing.assert_allclose(found, by_the_formula(kept, 2, 2.0), rtol=1e-10)


def test_items_of_several_lines_are_alike_by_the_norm_of_their_gram_block(xp):
    grid = np.random.default_rng(0).standard_normal((1, 1, 6, 4))
    found = xp.to_numpy(row_similarity(xp.asarray(grid), 2, 2.0, lines=2))[0]
    expected = np.zeros((3, 3))
    for c, i, j in np.ndindex(2, 3, 3):
        one, other = (grid[0, 0, 2 * k : 2 * k + 2, 2 * c : 2 * c + 2] for k in (i, j))
        expected[i, j] += np.linalg.norm(one @ other.T) ** 2 / (np.linalg.norm(one) * np.linalg.norm(other)) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_landmarks_are_compared_as_all_rows_are(xp, dtype, alpha):
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((8, 12)) + (1j * rng.standard_normal((8, 12)) if dtype == "complex128" else 0)
    rows = rows.astype(dtype)
    rows[2] = 0
    every = xp.to_numpy(row_similarity(xp.asarray(rows[None, None]), 4, alpha))[0]
    some = xp.to_numpy(landmark_similarity(xp.asarray(rows), xp.asarray(rows[[1, 2, 6]]), 4, alpha))
    np.testing.assert_allclose(some, every[:, [1, 2, 6]], rtol=1e-5, atol=1e-6)
