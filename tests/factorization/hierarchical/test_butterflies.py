import numpy as np
import pytest

from dbutterfly.factorization.hierarchical import compress
from dbutterfly.factorization.hierarchical.butterflies import Butterflies
from dbutterfly.factorization.hierarchical.fitted import Settings
from dbutterfly.kernels.backend.resolve import resolve_backend
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.structure.block_tree import Block, cluster_trees
from dbutterfly.structure.points import Points


def waves(rows, cols, wavelengths=25.0):
    """Helmholtz kernel between two segments that face each other."""
    across = np.hypot(np.subtract.outer(np.linspace(0, 1, rows), np.linspace(0, 1, cols)), 1)
    return np.exp(2j * np.pi * wavelengths * across) / across


def squares(matrix):
    return float(np.sum(np.abs(matrix).astype(float) ** 2))


def product(factors):
    values = dense_product(factors.ks_values)
    for axis, (order, size) in enumerate(
        zip(factors.orderings.permutations(factors.chain), factors.shape, strict=True)
    ):
        if order is not None:
            places = np.empty(size, np.int64)
            places[order[order >= 0]] = np.flatnonzero(order >= 0)
            values = np.take(values, places, axis=axis)
    return values


@pytest.mark.parametrize("shape", [(256, 256), (251, 240)])
def test_oscillating_blocks_are_fitted_by_butterflies(shape):
    matrix = waves(*shape)
    energy = squares(matrix)
    search = Butterflies(resolve_backend("numpy"))
    spans = (10, 10 + shape[0]), (700, 700 + shape[1])
    first, second = (search.fit(matrix, spans, 1e-6 * energy, energy, matrix.size) for _ in range(2))
    assert first.factors.kind == "butterfly"
    assert (first.factors.rows, first.factors.cols) == spans
    assert first.factors.nnz < matrix.size / 3
    assert first.lower <= squares(matrix - product(first.factors)) <= first.error <= 1e-6 * energy
    for values, again in zip(first.factors.ks_values, second.factors.ks_values, strict=True):
        np.testing.assert_array_equal(values, again)


def test_butterflies_of_no_use_are_left():
    matrix = waves(256, 256)
    energy, spans = squares(matrix), ((0, 256), (0, 256))
    search = Butterflies(resolve_backend("numpy"))
    assert search.fit(matrix, spans, 1e-6 * energy, energy, 1000) is None
    noise = np.random.default_rng(0).standard_normal((256, 256))
    assert Butterflies(resolve_backend("numpy")).fit(noise, spans, 1e-6, squares(noise), 1e9) is None
    assert search.fit(matrix, spans, 0.0, energy, matrix.size) is None


def test_blocks_of_high_rank_become_butterflies(monkeypatch):
    monkeypatch.setattr(compress, "SMALLEST", 128)
    monkeypatch.setattr(compress, "HIGH_RANK", 8)
    angles = np.arange(1024) * 2 * np.pi / 1024
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rows, cols = cluster_trees((1024, 1024), 32, Points(points, points))
    distances = np.linalg.norm(points[rows.order][:, None] - points[cols.order], axis=-1)
    matrix = np.exp(150j * distances) / np.sqrt(distances + np.eye(1024))
    blocks = compress.compress_region(
        matrix, rows, cols, Block(0, 0, 0, 0), Settings(1e-7 * squares(matrix) / 1e4), resolve_backend("numpy")
    )
    assert {block.factors.kind for block in blocks} == {"dense", "low rank", "butterfly"}
    for block in blocks:
        entries = matrix[slice(*block.factors.rows), slice(*block.factors.cols)]
        assert squares(entries - product(block.factors)) <= block.error * (1 + 1e-6) + 1e-20
