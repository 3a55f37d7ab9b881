"""Bounds of large blocks by the Gram matrices of their parts."""

from __future__ import annotations

import numpy as np
import pytest

from dbutterfly.kernels.low_rank.gram_parts import PARTS_SLACK, bound_by_parts, has_parts
from dbutterfly.kernels.low_rank.rank_one import rank_one

from .test_rank_one import as_numpy, assert_best, noisy_blocks, random_array


def largest(blocks):
    wide = blocks.astype(np.result_type(blocks, np.float64))
    return np.linalg.eigvalsh(wide @ wide.conj().swapaxes(1, 2))[:, -1]


def blocks_of(kind, shape, dtype):
    """Two blocks of each kind."""
    if kind == "noise":
        return random_array((2, *shape), dtype)
    if kind == "rank one":
        return noisy_blocks(2, shape, dtype, 0)
    blocks = np.zeros((2, *shape), dtype)  # "one part"
    blocks[:, :64, :64] = random_array((2, 64, 64), dtype)
    return blocks


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("kind", ["noise", "rank one", "one part"])
@pytest.mark.parametrize("shape", [(128, 150), (150, 128)], ids=str)
def test_no_singular_value_is_larger(shape, kind, dtype):
    blocks = blocks_of(kind, shape, dtype)
    bound = bound_by_parts(blocks)
    assert bound.dtype == np.float64
    assert (bound >= largest(blocks)).all()


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_the_bound_of_noise_is_less_than_that_of_the_norm_of_the_gram_matrix(dtype):
    blocks = random_array((2, 128, 128), dtype)
    gram = blocks @ blocks.conj().swapaxes(1, 2)
    assert (bound_by_parts(blocks) < 0.65 * np.linalg.norm(gram, axis=(1, 2))).all()


def test_zero_blocks_are_bounded_by_zero():
    np.testing.assert_array_equal(bound_by_parts(np.zeros((2, 128, 128), np.float32)), 0)


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_squares_of_gram_matrices_stay_in_range(factor):
    blocks = random_array((1, 128, 128), "float32")
    scaled = bound_by_parts(blocks * np.float32(factor))
    np.testing.assert_allclose(scaled, bound_by_parts(blocks) * factor**2, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "factor"), [("complex64", 1e-22), ("complex128", 1e-160)])
def test_a_part_whose_squares_are_subnormal_spoils_no_bound(dtype, factor):
    blocks = random_array((1, 128, 128), dtype)
    blocks[:, 32:64] = 0
    bound = bound_by_parts(blocks)
    blocks[:, 32:64] = factor * random_array((1, 32, 128), dtype)
    np.testing.assert_array_equal(bound_by_parts(blocks), bound)


@pytest.mark.parametrize(
    ("shape", "has"), [((128, 128), True), ((32, 500), False), ((130, 200), False), ((9, 256, 96), True)]
)
def test_parts_are_of_equal_size(shape, has):
    assert has_parts(shape) is has


@pytest.mark.parametrize(("shape", "dtype"), [((128, 130), "float32"), ((130, 128), "complex64")], ids=str)
def test_large_blocks_of_noise_are_approximated_and_bounded(xp, shape, dtype):
    """Beside one in which rank one stands out, and one that has half of its energy in two vectors."""
    mixed = [random_array((2, *shape), dtype), noisy_blocks(1, shape, dtype, 0.5), noisy_blocks(1, shape, dtype, 0)]
    mixed[2] = mixed[2] + noisy_blocks(1, shape, dtype, 0, seed=5)
    blocks = np.concatenate(mixed)
    found = as_numpy(xp, rank_one(xp.asarray(blocks)))
    assert_best(blocks, found)
    assert (found.slack <= PARTS_SLACK * found.discarded).all()


@pytest.mark.parametrize("factor", [1e-14, 1e13])
def test_products_with_large_blocks_stay_in_range(factor):
    blocks = random_array((1, 128, 1024), "float32")
    found, scaled = rank_one(blocks), rank_one(blocks * np.float32(factor))
    np.testing.assert_allclose(scaled.discarded, found.discarded * factor**2, rtol=1e-4)
    np.testing.assert_allclose(scaled.slack, found.slack * factor**2, rtol=1e-2)
