"""Singular values of blocks: their tails, and the matrices whose leading ones are less."""

import numpy as np
import pytest

from dbutterfly.kernels.low_rank.spectra import shrink_leading, trailing_energies

SHAPES = [(6, 9), (9, 6), (2, 30), (1, 4)]


def blocks_of(shape, dtype):
    """Blocks of normal numbers, of rank one, with equal singular values (as those of noise nearly are), and zeros."""
    real, imag = np.random.default_rng(3).standard_normal((2, 4, *shape))
    normal = real + 1j * imag if np.dtype(dtype).kind == "c" else real
    u, _, vh = np.linalg.svd(normal, full_matrices=False)
    return np.concatenate([normal, normal[:, :, :1] * normal[:, :1, :], u @ vh, 0 * normal]).astype(dtype)


def leading_energy(blocks, rank):
    return (np.linalg.svd(blocks, compute_uv=False)[:, :rank] ** 2).sum(axis=1)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 3])
def test_trailing_energies_are_distances_to_a_rank(xp, shape, rank, dtype):
    blocks = blocks_of(shape, dtype)
    found = xp.to_numpy(trailing_energies(xp.asarray(blocks), rank))
    np.testing.assert_allclose(found, (np.abs(blocks) ** 2).sum((1, 2)) - leading_energy(blocks, rank), atol=1e-12)


@pytest.mark.parametrize("dtype", ["complex128"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rank", "coupling"), [(1, 1.0), (2, 0.3), (3, 5.0)])
def test_what_is_shrunk_is_the_minimum(xp, shape, rank, coupling, dtype):
    """G is a subgradient of ``h(A)/2`` exactly if ``h(X) >= h(A) + 2 <G, X - A>`` for all X."""
    given = blocks_of(shape, dtype)
    shrunk = shrink_leading(xp.asarray(given), rank, coupling)
    found = xp.to_numpy(shrunk.blocks)
    np.testing.assert_allclose(xp.to_numpy(shrunk.leading), leading_energy(found, rank), atol=1e-12)
    assert found.dtype == given.dtype
    slope = coupling / 2 * (given - found)
    rng = np.random.default_rng(0)
    for size in (1e-3, 1.0, 10.0):
        for _ in range(10):
            other = found + size * rng.standard_normal(found.shape)
            least = leading_energy(found, rank) + 2 * np.sum(slope.conj() * (other - found), axis=(1, 2)).real
            assert (leading_energy(other, rank) >= least - 1e-12 * (1 + size)).all()


def test_leading_values_that_would_fall_below_the_next_ones_meet_them():
    (found,) = np.linalg.svd(shrink_leading(np.diag([3.0, 2.9, 1.0])[None], 1, 1.0).blocks, compute_uv=False)
    # 2 m w_i + (m - b_i) = 0 with w_1 + w_2 = 1: 2 m + 2 m = 5.9
    np.testing.assert_allclose(found, [5.9 / 4, 5.9 / 4, 1.0], rtol=1e-12)
