import numpy as np
import pytest

from dbutterfly.factorization.hierarchical.compress import compress_region
from dbutterfly.factorization.hierarchical.fitted import ETA, Settings
from dbutterfly.factorization.hierarchical.sample import sample_region
from dbutterfly.factorization.hierarchical.share import certify_blocks, certify_sampled, level_of, share_tolerance
from dbutterfly.factorization.results.estimates import VerifiedError
from dbutterfly.kernels.backend.resolve import resolve_backend
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.block_tree import Block, cluster_trees
from dbutterfly.structure.points import Points

WHOLE = Block(0, 0, 0, 0)
LEAF = 16


def covariance(n, dimension, dtype="float64", seed=0):
    """Exponential covariance between random points, in the order of their clusters."""
    points = np.random.default_rng(seed).random((n, dimension))
    rows, cols = cluster_trees((n, n), LEAF, Points(points, points))
    ordered = points[rows.order]
    distances = np.linalg.norm(ordered[:, None] - ordered, axis=-1)
    matrix = np.exp(-distances / 0.3) * (np.exp(2j * distances) if np.dtype(dtype).kind == "c" else 1)
    return matrix.astype(dtype), rows, cols


def fit(matrix, rows, cols, settings):
    return compress_region(matrix, rows, cols, WHOLE, settings, resolve_backend("numpy"))


def to_dense(blocks, like):
    """The matrix that blocks stand for, and how often each entry is in one."""
    dense, seen = np.zeros_like(like), np.zeros(like.shape, int)
    for block in blocks:
        at = slice(*block.factors.rows), slice(*block.factors.cols)
        seen[at] += 1
        if block.factors.ks_values:
            dense[at] = dense_product(block.factors.ks_values)
    return dense, seen


def squares(matrix):
    return float(np.sum(np.abs(matrix).astype(float) ** 2))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_a_tolerance_is_kept_and_proven(dtype, dimension):
    matrix, rows, cols = covariance(300, dimension, dtype)
    eps, tol, energy = float(np.finfo(dtype).eps), 1e-3, squares(matrix)
    settings = Settings(level_of(tol, energy, 6 * 300 * 10))
    blocks = fit(matrix, rows, cols, settings)
    shared = share_tolerance(blocks, tol, eps=eps)
    for found in (blocks, shared):
        dense, seen = to_dense(found, matrix)
        assert (seen == 1).all()
        certificate = certify_blocks(found, eps=eps)
        error = np.sqrt(squares(dense.astype(complex) - matrix) / energy)
        assert certificate.lower_bound <= error * (1 + 1e-6) + 1e-12
        assert error <= certificate.error_bound <= tol
        assert certificate.norm == pytest.approx(np.sqrt(energy), rel=1e-6)
        for block in found:
            assert all(values.dtype == np.dtype(dtype) for values in block.factors.ks_values)
            assert block.factors.kind == "dense" or block.factors.nnz < np.prod(block.factors.shape)
    values = [sum(block.factors.nnz for block in found) for found in (blocks, shared)]
    if dimension == 1:  # blocks of rank one, up to rounding
        assert values[1] == values[0] < matrix.size / 3
    else:
        assert values[1] < values[0]
        assert certificate.error_bound > 0.7 * tol  # what is allowed is used


def test_errors_of_blocks_are_those_of_the_blocks():
    matrix, rows, cols = covariance(200, 2)
    for block in share_tolerance(fit(matrix, rows, cols, Settings(1e-6)), 1e-2, eps=1e-16):
        entries = matrix[slice(*block.factors.rows), slice(*block.factors.cols)]
        product = dense_product(block.factors.ks_values) if block.factors.ks_values else 0
        assert block.energy == pytest.approx(squares(entries))
        assert block.error == pytest.approx(squares(entries - product), rel=1e-6, abs=1e-20)
        rank = block.factors.rank if block.factors.kind != "dense" else min(entries.shape)
        best = np.sum(np.linalg.svd(entries, compute_uv=False)[rank:] ** 2)
        assert block.lower <= best * (1 + 1e-9) + 1e-20


def test_a_rank_serves_all_blocks_away_from_the_diagonal():
    matrix, rows, cols = covariance(300, 2)
    errors = []
    for rank in (1, 2, 4):
        blocks = fit(matrix, rows, cols, Settings(rank=rank))
        assert {block.factors.rank for block in blocks if block.factors.kind == "low rank"} == {rank}
        errors.append(certify_blocks(blocks, eps=1e-16).error_bound)
        assert errors[-1] == pytest.approx(np.sqrt(squares(to_dense(blocks, matrix)[0] - matrix) / squares(matrix)))
    assert errors[2] < errors[1] < errors[0]


def test_parts_of_a_matrix_are_fitted_as_the_whole():
    matrix, rows, cols = covariance(256, 2)
    whole = fit(matrix, rows, cols, Settings(1e-7))
    parts = []
    for row in range(2):
        for col in range(2):
            (r0, r1), (c0, c1) = rows.span(1, row), cols.span(1, col)
            region = Block(1, row, 1, col)
            backend = resolve_backend("numpy")
            parts += compress_region(matrix[r0:r1, c0:c1], rows, cols, region, Settings(1e-7), backend)
    assert [block.factors.rows for block in parts] == [block.factors.rows for block in whole]
    assert sum(block.error for block in parts) == pytest.approx(sum(block.error for block in whole), rel=0.5)


def test_nothing_is_left_of_zeros_and_noise_stays_dense():
    _, rows, cols = covariance(128, 2)
    blocks = fit(np.zeros((128, 128)), rows, cols, Settings(0.0, eta=ETA))
    assert {block.factors.kind for block in blocks} <= {"zero", "dense"}
    assert certify_blocks(blocks, eps=1e-16).error_bound == 0
    noise = np.random.default_rng(0).standard_normal((128, 128))
    blocks = fit(noise, rows, cols, Settings(1e-6))
    assert {block.factors.kind for block in blocks} == {"dense"}
    np.testing.assert_array_equal(to_dense(blocks, noise)[0], noise)


def test_a_larger_tolerance_takes_no_more_values():
    matrix, rows, cols = covariance(256, 2)
    blocks = fit(matrix, rows, cols, Settings(1e-12))
    values = [
        sum(block.factors.nnz for block in share_tolerance(blocks, tol, eps=1e-16)) for tol in (1e-6, 1e-4, 1e-2, 0.5)
    ]
    assert values == sorted(set(values), reverse=True)


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_entry_functions_are_evaluated_in_part(dtype):
    matrix, rows, cols = covariance(1024, 1, dtype, seed=3)
    distances = np.abs(np.arange(1024)[:, None] - np.arange(1024) + 0.5)
    matrix = (matrix * np.cos(distances / 40)).astype(dtype)
    counted = np.zeros(matrix.shape, int)

    def take(at_rows, at_cols):
        counted[np.ix_(at_rows, at_cols)] += 1
        return matrix[np.ix_(at_rows, at_cols)]

    eps, tol, energy = float(np.finfo(dtype).eps), 1e-3, squares(matrix)
    level = level_of(tol, energy, 40 * 1024, is_sampled=True)
    blocks, evaluated = sample_region(take, rows, cols, WHOLE, Settings(level))
    assert evaluated == counted.sum() < 0.5 * matrix.size
    dense, seen = to_dense(blocks, matrix)
    assert (seen == 1).all()
    fitted = np.sqrt(squares(dense - matrix) / energy)
    assert fitted < 0.8 * tol
    said = VerifiedError(fitted, 0.01 * fitted, 100)
    shared = share_tolerance(blocks, tol, eps=eps, fitted=said)
    certificate = certify_sampled(blocks, shared, said, eps=eps)
    error = np.sqrt(squares(to_dense(shared, matrix)[0] - matrix) / energy)
    assert error <= tol * 1.01
    assert not certificate.proven
    assert abs(certificate.error_bound - error) <= 3 * certificate.deviation + 20 * eps
    assert sum(block.factors.nnz for block in shared) < sum(block.factors.nnz for block in blocks)


@pytest.mark.slow
def test_what_is_concentrated_where_clusters_nearly_touch_is_found():
    points = np.random.default_rng(2).random((1024, 2))
    rows, cols = cluster_trees((1024, 1024), LEAF, Points(points, points))
    ordered = points[rows.order]
    matrix = np.exp(-np.sum((ordered[:, None] - ordered) ** 2, axis=-1) / 0.05**2)
    tol, energy = 1e-6, squares(matrix)
    settings = Settings(level_of(tol, energy, 40 * 1024, is_sampled=True))
    blocks, evaluated = sample_region(lambda i, j: matrix[np.ix_(i, j)], rows, cols, WHOLE, settings)
    assert evaluated < 0.7 * matrix.size
    rest = to_dense(blocks, matrix)[0] - matrix
    assert np.sqrt(squares(rest) / energy) < 0.5 * tol
    assert np.sum(rest**2, axis=1).max() < 0.2 * squares(rest)  # no line has most of it
    half, evaluated_half = sample_region(
        lambda i, j: matrix[np.ix_(i, j)], rows, rows, WHOLE, settings._replace(is_half=True)
    )
    assert evaluated_half < 0.6 * evaluated
    assert all(block.factors.rows[0] >= block.factors.cols[0] for block in half)


def test_a_block_that_skeletons_do_not_fit_is_divided():
    rng = np.random.default_rng(0)
    matrix, rows, cols = covariance(512, 1)
    matrix = np.ones_like(matrix)
    matrix[256:, :256] = rng.standard_normal((256, 256))
    blocks, _ = sample_region(lambda i, j: matrix[np.ix_(i, j)], rows, cols, WHOLE, Settings(1e-8))
    dense, _ = to_dense(blocks, matrix)
    assert np.sqrt(squares(dense - matrix) / squares(matrix)) < 1e-4
    assert {block.factors.kind for block in blocks} == {"dense", "low rank"}
