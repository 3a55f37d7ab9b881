"""Rows against groups, on every array namespace."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.kernels.grouping.groups import (
    block_parts,
    block_view,
    fit_rows,
    leading_rows,
    permute_rows,
    squared_moduli,
    transpose_grid,
)
from tests.support.drawn_arrays import drawn

DTYPES = ["float32", "float64", "complex64", "complex128"]


def rank_blocks(s, t, u, q, p, v, rank, dtype):
    """A grid whose blocks have exactly the rank."""
    blocks = drawn((s, t, u, q, p, rank), dtype) @ drawn((s, t, u, q, rank, v), dtype, seed=1)
    return blocks.transpose(0, 1, 2, 4, 3, 5).reshape(s, t, u * p, q * v)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2])
def test_leading_rows_span_blocks_of_their_rank(xp, dtype, rank):
    blocks = drawn((3, 5, rank), dtype) @ drawn((3, rank, 6), dtype, seed=1)
    rows = xp.to_numpy(leading_rows(xp.asarray(blocks), rank))
    assert rows.dtype == dtype
    tolerance = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        rows @ rows.conj().swapaxes(-1, -2), np.broadcast_to(np.eye(rank), (3, rank, rank)), atol=tolerance
    )
    projected = blocks @ rows.conj().swapaxes(-1, -2) @ rows
    assert np.linalg.norm(projected - blocks) <= tolerance * np.linalg.norm(blocks)


def test_leading_rows_of_a_zero_block_are_zero(xp):
    assert not xp.to_numpy(leading_rows(xp.asarray(np.zeros((2, 3, 4))), 1)).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_energies_of_projections(xp, dtype):
    grid = drawn((2, 2, 8, 12), dtype)
    fit = fit_rows(xp.asarray(grid), 4, 3, 1)
    scores, captured = xp.to_numpy(fit.scores), xp.to_numpy(fit.captured)
    assert scores.shape == (2, 8, 4)
    assert captured.shape == (2, 4)
    basis = leading_rows(block_view(grid, 4, 3), 1)  # (S, T, u, q, 1, v)
    expected = np.zeros((2, 8, 4))
    for s, t, u, q in np.ndindex(2, 2, 4, 3):
        rows = grid[s, t, :, 4 * q : 4 * q + 4]
        expected[s, :, u] += np.abs(rows @ basis[s, t, u, q, 0].conj()) ** 2
    np.testing.assert_allclose(scores, expected, rtol=1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-11)
    own = scores.reshape(2, 4, 2, 4)[:, np.arange(4), :, np.arange(4)].sum(-1).T
    np.testing.assert_allclose(captured, own, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_scores_without_a_row_are_those_of_a_power_step_on_the_others(xp, dtype):
    grid = drawn((1, 1, 6, 5), dtype)
    left_out = xp.to_numpy(fit_rows(xp.asarray(grid), 2, 1, 1, leave_out=True).scores)[0]
    plain = xp.to_numpy(fit_rows(xp.asarray(grid), 2, 1, 1).scores)[0]
    for group in range(2):
        block = grid[0, 0, 3 * group : 3 * group + 3]
        v = leading_rows(block[None], 1)[0, 0]
        captured = np.sum(np.abs(block @ v.conj()) ** 2)
        for place in range(3):
            z = block[place]
            step = captured * v - (z @ v.conj()).conj() * z
            score = np.abs(z @ step.conj()) ** 2 / np.sum(np.abs(step) ** 2)
            assert left_out[3 * group + place, group] == pytest.approx(min(score, plain[3 * group + place, group]))
            assert left_out[3 * group + place, 1 - group] == plain[3 * group + place, 1 - group]


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_multiply_to_the_blocks(xp, dtype, rank):
    grid = rank_blocks(2, 1, 2, 3, 4, 5, rank, dtype)
    parts = block_parts(xp.asarray(grid), 2, 3, rank)
    left, right = xp.to_numpy(parts.left), xp.to_numpy(parts.right)
    assert left.shape == (4, 1, 4, 3 * rank)
    assert right.shape == (2, 3, 2 * rank, 5)
    tolerance = 1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-12
    for s, u, q in np.ndindex(2, 2, 3):
        columns = left[2 * s + u, 0, :, rank * q : rank * q + rank]
        rows = right[s, q, rank * u : rank * u + rank]
        scale = np.linalg.norm(columns, axis=0)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), scale, rtol=1e-3)
        block = grid[s, 0, 4 * u : 4 * u + 4, 5 * q : 5 * q + 5]
        assert np.linalg.norm(columns @ (rows / scale[:, None]) - block) <= tolerance * np.linalg.norm(block)


@pytest.mark.parametrize("lines", [1, 2])
@pytest.mark.parametrize("members", [1, 3])
def test_rows_are_permuted_in_every_row_of_the_grid(xp, members, lines):
    grid = drawn((members, 2, 4 * lines, 3), "float32")
    order = np.stack([np.random.default_rng(s).permutation(4) for s in range(members)])
    moved = xp.to_numpy(permute_rows(xp.asarray(grid), xp.asarray(order), lines=lines))
    for s in range(members):
        index = (order[s][:, None] * lines + np.arange(lines)).ravel()
        np.testing.assert_array_equal(moved[s], grid[s][:, index])


def test_transposing_twice_gives_the_grid_back(xp):
    grid = drawn((2, 3, 4, 5), "complex64")
    turned = transpose_grid(xp.asarray(grid))
    np.testing.assert_array_equal(xp.to_numpy(turned)[2, 1], grid[1, 2].T)
    np.testing.assert_array_equal(xp.to_numpy(transpose_grid(turned)), grid)


@pytest.mark.parametrize("dtype", DTYPES)
def test_squares_are_those_of_the_moduli(xp, dtype):
    values = drawn((7,), dtype)
    np.testing.assert_allclose(xp.to_numpy(squared_moduli(xp.asarray(values))), np.abs(values) ** 2, rtol=1e-5)
