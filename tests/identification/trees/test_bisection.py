"""Trees of shuffled points."""

import math

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.identification.cuts import cuts_of, from_standard, to_standard
from dbutterfly.identification.one_cut.arrangement import Arrangement
from dbutterfly.identification.trees.bisection import bisect
from dbutterfly.structure.chain import Chain


def lost(matrix, chain):
    """Norm of what the blocks of all cuts lose, relative, from full decompositions."""
    energy = 0.0
    for p, u, q, v, rank in cuts_of(chain):
        blocks = matrix.reshape(u, p, q, v).transpose(0, 2, 1, 3)
        energy += np.sum(np.linalg.svd(blocks, compute_uv=False)[..., rank:] ** 2)
    return math.sqrt(energy) / np.linalg.norm(matrix)


def arranged(matrix, chain, **known):
    """Rows and columns in tree order, each a permutation."""
    found = bisect(Arrangement.of(matrix[None, None]), cuts_of(chain), **known).arrangement
    rows, cols = found.rows[0], found.cols[0]
    for order, size in zip((rows, cols), matrix.shape, strict=True):
        np.testing.assert_array_equal(np.sort(order), np.arange(size))
    np.testing.assert_array_equal(found.grid[0, 0], matrix[rows][:, cols])
    return rows, cols


def shuffled_points(n, rank, seed, **options):
    """A shuffled Helmholtz kernel, its chain, and the true rows and columns in tree order."""
    known = dbf.matrices.helmholtz(n, seed=seed, **options)
    matrix = dbf.matrices.shuffled(known, seed=seed + 7)
    rows, cols = matrix.orderings.permutations(known.chain)
    return np.asarray(matrix), Chain.chainable((n, n), rank=rank), from_standard(rows, known.chain), cols


@pytest.mark.slow
@pytest.mark.parametrize("rank", [4, 8])
@pytest.mark.parametrize("points", ["grid", "random"])
@pytest.mark.parametrize(("geometry", "seed"), [("segments", 2), ("circles", 2), ("squares", 5)])
def test_blocks_lose_little_more_than_with_the_sorted_points(geometry, points, rank, seed):
    matrix, chain, rows, cols = shuffled_points(256, rank, seed, geometry=geometry, points=points)
    found_rows, found_cols = arranged(matrix, chain)
    assert lost(matrix[found_rows][:, found_cols], chain) <= 1.5 * lost(matrix[rows][:, cols], chain)


def test_a_gap_as_wide_as_rows_are_alike_is_bridged():
    # Ten times the mean distance: over all columns no row of one side is like the nearest of the other side.
    matrix, chain, rows, cols = shuffled_points(256, 8, 3, points="random")
    found_rows, found_cols = arranged(matrix, chain)
    assert lost(matrix[found_rows][:, found_cols], chain) <= 1.01 * lost(matrix[rows][:, cols], chain)


def test_groups_of_closed_curves_begin_at_the_same_places():
    # Half a group apart, blocks of rank 16 lose three times as much.
    matrix, chain, rows, cols = shuffled_points(256, 16, 1, geometry="circles")
    found_rows, found_cols = arranged(matrix, chain)
    assert lost(matrix[found_rows][:, found_cols], chain) <= 1.3 * lost(matrix[rows][:, cols], chain)


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["segments", "circles", "squares"])
def test_verified_error_under_noise(geometry):
    clean, chain, rows, cols = shuffled_points(256, 4, 1, geometry=geometry, points="random")
    matrix = np.asarray(dbf.matrices.noisy(clean, 0.01, seed=1))
    errors = []
    for found_rows, found_cols in (arranged(matrix, chain), (rows, cols)):
        orderings = (to_standard(found_rows, chain), found_cols)
        errors.append(float(dbf.verify(dbf.factorize(matrix, chain, orderings=orderings, workers=1), matrix)))
    assert errors[0] <= 1.05 * errors[1]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.complex64, np.float32, np.float64])
def test_single_precision_and_real_parts_of_points_on_a_line(dtype):
    matrix, chain, rows, cols = shuffled_points(256, 8 if np.dtype(dtype).kind == "f" else 4, 2, points="random")
    matrix = (matrix if np.dtype(dtype).kind == "c" else matrix.real).astype(dtype)
    found_rows, found_cols = arranged(matrix, chain)
    assert lost(matrix[found_rows][:, found_cols], chain) <= 1.5 * lost(matrix[rows][:, cols], chain) + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.complex64, np.float32])
@pytest.mark.parametrize(("geometry", "seed"), [("segments", 1), ("segments", 4), ("circles", 1), ("squares", 5)])
def test_single_precision_gives_the_trees_of_the_same_entries_in_double_precision(geometry, seed, dtype):
    matrix, chain, _, _ = shuffled_points(256, 4, seed, geometry=geometry, points="random")
    single = (matrix if np.dtype(dtype).kind == "c" else matrix.real).astype(dtype)
    double = single.astype(np.result_type(dtype, np.float64))
    for one, other in zip(arranged(single, chain), arranged(double, chain), strict=True):
        np.testing.assert_array_equal(one, other)


def test_known_columns_stay():
    matrix, chain, rows, cols = shuffled_points(256, 4, 2, points="random")
    matrix = matrix[:, cols]
    found_rows, found_cols = arranged(matrix, chain, cols_known=True)
    np.testing.assert_array_equal(found_cols, np.arange(256))
    assert lost(matrix[found_rows], chain) <= 1.01 * lost(matrix[rows], chain)


@pytest.mark.parametrize("cols_known", [False, True])
def test_a_rectangle_with_other_radices(cols_known):
    rng = np.random.default_rng(0)
    x, y = rng.random(144), np.sort(rng.random(60))
    between = np.hypot(np.subtract.outer(x, y), 1)
    matrix, chain = np.exp(60j * between) / np.sqrt(between), Chain.chainable((144, 60), rank=3)
    rows, cols = arranged(matrix, chain, cols_known=cols_known)
    assert lost(matrix[rows][:, cols], chain) <= 1.01 * lost(matrix[np.argsort(x)], chain)


def test_zero_rows_and_columns_do_no_harm():
    matrix, chain, rows, cols = shuffled_points(256, 4, 1, points="random")
    matrix[[3, 77, 200]] = 0
    matrix[:, [5, 9]] = 0
    found_rows, found_cols = arranged(matrix, chain)
    assert lost(matrix[found_rows][:, found_cols], chain) <= 2 * lost(matrix[rows][:, cols], chain)


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((64, 64)),
        np.ones((64, 64)),
        np.eye(64),
        np.outer(np.arange(64.0), np.cos(np.arange(64))),
        np.fft.fft(np.eye(64)),
        np.random.default_rng(0).standard_normal((64, 64)),
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        np.eye(3),
    ],
    ids=["zero", "constant", "identity", "rank one", "dft", "gaussian", "2 x 2", "no cuts"],
)
def test_matrices_without_a_geometry_end_no_worse_than_they_were(matrix):
    chain = Chain.chainable(matrix.shape)
    rows, cols = arranged(matrix, chain)
    if matrix.any():
        assert lost(matrix[rows][:, cols], chain) <= 1.1 * lost(matrix, chain) + 1e-14


def test_the_energy_captured_is_that_of_the_cuts():
    matrix, chain, _, _ = shuffled_points(64, 2, 1, points="random")
    found = bisect(Arrangement.of(matrix[None, None]), cuts_of(chain))
    energy, left = np.linalg.norm(matrix) ** 2, lost(found.arrangement.grid[0, 0], chain) ** 2
    assert found.captured == pytest.approx((len(cuts_of(chain)) - left) * energy, rel=1e-6)


def test_the_same_matrix_gives_the_same_trees():
    matrix, chain, _, _ = shuffled_points(128, 4, 1, geometry="circles", points="random")
    for first, second in zip(arranged(matrix, chain), arranged(matrix, chain), strict=True):
        np.testing.assert_array_equal(first, second)
