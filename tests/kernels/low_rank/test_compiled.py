"""The compiled loops beside the plain kernels, and beside what is best."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dbutterfly.kernels.compilation import compiled_kernels
from dbutterfly.kernels.low_rank import rank_one_grid as grids
from dbutterfly.kernels.low_rank.gram_parts import PARTS_SLACK, bound_by_parts
from dbutterfly.kernels.low_rank.gram_powers import GRAM_SLACK
from dbutterfly.kernels.low_rank.grid import left_parts, low_rank_grid
from dbutterfly.kernels.low_rank.rank_one import RankOne, rank_one_by_gram
from dbutterfly.kernels.low_rank.rank_one_grid import rank_one_grid
from tests.kernels.low_rank.test_rank_one import assert_best
from tests.kernels.low_rank.test_rank_one_grid import assert_claims, mixed_grid, noisy_blocks
from tests.kernels.low_rank.test_subspace import KINDS, SHAPES, random_array, wide

pytestmark = [
    pytest.mark.skipif(compiled_kernels("low_rank") is None, reason="needs Numba"),
    pytest.mark.slow,  # Numba compiles for most of their time
]

DTYPES = ["float32", "float64", "complex64", "complex128"]
TWO = ["float32", "complex128"]  # the loop for ranks takes Numba ten seconds for each dtype
WHOLE = 1 << 20


def approximate(blocks, ranks, stack_bytes=WHOLE):
    """Approximations of a stack of blocks by the compiled loop."""
    found = low_rank_grid(blocks[None], ranks, dtype=blocks.dtype.type, stack_bytes=stack_bytes, compiled=True)
    return type(found)(*(part[0] for part in found))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_block_of_a_mixed_grid(dtype):
    grid = mixed_grid(dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = rank_one_grid(grid, dtype=np.dtype(dtype), stack_bytes=5000, compiled=True)
    assert found.left.dtype == found.right.dtype == np.dtype(dtype)
    assert_claims(grid, found)


@pytest.mark.parametrize("noise", [0, 1e-3, 0.1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1), (2, 2), (32, 32), (3, 3000)], ids=str)
def test_the_first_round_is_that_of_the_plain_kernel(shape, noise):
    grid = noisy_blocks(6, shape, "complex64", noise, 3)[None]
    plain, compiled = (
        rank_one_grid(grid, dtype=np.dtype("complex64"), stack_bytes=WHOLE, compiled=compiled)
        for compiled in (False, True)
    )
    assert_claims(grid, compiled)
    scale = np.linalg.norm(grid, axis=(2, 3))[..., None]
    if noise < 1e-2:
        assert (np.abs(compiled.left - plain.left) <= 1e-5 * scale).all()
        assert (np.abs(compiled.right - plain.right) <= 1e-5).all()


@pytest.mark.parametrize("dtype", TWO)
@pytest.mark.parametrize("shape", [(64, 70), (70, 64)], ids=str)
def test_large_blocks_of_noise_are_bounded_by_their_parts_on_the_way(shape, dtype, monkeypatch):
    """Beside one in which rank one stands out, and one that has half of its energy in two vectors."""
    gone_on = []
    monkeypatch.setattr(grids, "rank_one_by_gram", lambda *a: gone_on.append(len(a[0])) or rank_one_by_gram(*a))
    blocks = random_array((6, *shape), dtype)
    blocks[4] = 0.3 * blocks[4] + blocks[4, :, :1] * blocks[4, :1]
    blocks[5] = 1e-3 * blocks[5] + blocks[5, :, :1] * blocks[5, :1] + blocks[5, :, 3:4] * blocks[5, 3:4]
    found, other = (
        rank_one_grid(blocks[None], dtype=np.dtype(dtype), stack_bytes=size, compiled=True) for size in (WHOLE, 1)
    )
    found, other = (RankOne(*(part[0] for part in each)) for each in (found, other))
    assert_best(blocks, found, GRAM_SLACK)
    assert_best(blocks[:5], RankOne(*(part[:5] for part in found)), 0.02)
    assert (found.slack <= PARTS_SLACK * found.discarded).all()
    assert sum(gone_on) <= 2  # the last one at most, in both
    for x, y in zip(found, other, strict=True):
        np.testing.assert_array_equal(x, y)
    noise = RankOne(*(part[:4] for part in found))
    bound = bound_by_parts(blocks[:4] - noise.left[:, :, None] * noise.right[:, None])
    beyond = bound - (noise.energy - noise.discarded)  # (5) without w, of which little is left
    assert (beyond > 0).all()
    assert (noise.slack >= (1 - 1e-4) * beyond).all()
    np.testing.assert_allclose(noise.slack, beyond, rtol=0.1)


@pytest.mark.parametrize(("dtype", "factor"), [("float32", 1e-22), ("complex128", 1e-160)])
def test_a_part_whose_squares_are_subnormal_is_bounded_on_the_way(dtype, factor, monkeypatch):
    monkeypatch.setattr(grids, "rank_one_by_gram", None)
    blocks = random_array((1, 128, 128), dtype)
    blocks[:, 32:64] *= factor
    found = rank_one_grid(blocks[None], dtype=np.dtype(dtype), stack_bytes=WHOLE, compiled=True)
    assert found.slack <= PARTS_SLACK * found.discarded
    assert_best(blocks, RankOne(*(part[0] for part in found)), PARTS_SLACK)


@pytest.mark.parametrize("dtype", TWO)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [(2,), (3, 4)], ids=str)
def test_approximations_are_the_best_and_say_so(kind, shape, dtype, ranks):
    blocks = KINDS[kind](shape, dtype)
    found = approximate(blocks, ranks)
    values = np.linalg.svd(blocks.astype(wide(dtype)), compute_uv=False)
    eps, energy = np.finfo(dtype).eps, np.sum(values**2, axis=-1)
    rounding = (60 * eps) ** 2 * energy
    np.testing.assert_allclose(found.energy, energy, rtol=20 * eps)
    gram = found.right @ found.right.conj().swapaxes(1, 2)
    np.testing.assert_allclose(gram, np.round(gram.real), atol=20 * eps)
    for index, rank in enumerate(ranks):
        product = found.left[:, :rank].swapaxes(1, 2).astype(wide(dtype)) @ found.right[:, :rank]
        error = np.sum(np.abs(blocks - product) ** 2, axis=(1, 2))
        best = np.sum(values[:, rank:] ** 2, axis=-1)
        doubt = rounding + 16 * eps * np.where(found.discarded[:, index] > 1000 * eps * energy, energy, 0)
        assert (np.abs(found.discarded[:, index] - error) <= 1e-2 * error + doubt).all()
        assert (found.discarded[:, index] - found.slack[:, index] <= best + doubt).all()
        assert (error <= 1.01 * best + rounding).all()
        assert (found.slack[:, index] <= 0.1 * found.discarded[:, index] + doubt).all()


@pytest.mark.parametrize("dtype", TWO)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [True, False])
def test_left_parts_hold_what_can_be_held(kind, shape, dtype, weighted):
    blocks = KINDS[kind](shape, dtype)
    blocks[3] = 0
    eps = np.finfo(dtype).eps
    left = left_parts(blocks[None], 3, stack_bytes=WHOLE, weighted=weighted, compiled=True)[0].astype(wide(dtype))
    assert left.shape == (5, 3, shape[0])
    values = np.linalg.svd(blocks.astype(wide(dtype)), compute_uv=False)
    kept, energy = min(3, *shape), np.sum(values**2, axis=-1)
    if weighted:
        norms = np.linalg.norm(left, axis=-1)
        assert (np.sum(norms**2, axis=1) <= np.sum(values[:, :kept] ** 2, axis=1) + 100 * eps * energy).all()
        if kind != "random":  # whose singular values are too near to each other to be told apart
            np.testing.assert_allclose(norms[:, :kept], values[:, :kept], rtol=1e-2, atol=100 * eps * values.max())
    else:
        gram = left.conj() @ left.swapaxes(1, 2)
        np.testing.assert_allclose(gram, np.round(gram.real), atol=20 * eps)
    basis = np.linalg.qr(left[:, :kept].swapaxes(1, 2))[0]
    rest = blocks - basis @ (basis.conj().swapaxes(1, 2) @ blocks)
    best = np.sum(values[:, kept:] ** 2, axis=-1)
    assert (np.sum(np.abs(rest) ** 2, axis=(1, 2)) <= 1.01 * best + (200 * eps) ** 2 * energy).all()


@pytest.mark.parametrize("rank", [1, 2])
def test_neither_the_cut_into_stacks_nor_strides_nor_threads_count(rank):
    grid = random_array((5, 7, 12, 18), "complex128").transpose(1, 0, 2, 3)

    def find(stack_bytes, grid=grid):
        return low_rank_grid(grid, (rank,), dtype=np.complex128, stack_bytes=stack_bytes, compiled=True)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(find, [1, 5000, WHOLE, WHOLE]))
    backwards, across = grid[..., ::-1].copy()[..., ::-1], np.asfortranarray(grid)
    found += [find(3000, same) for same in (grid.copy(), backwards, across, grid.astype(">c16"))]
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e-30), ("float32", 1e25), ("complex128", 1e-200)])
def test_squares_out_of_range(rank, dtype, scale):
    blocks = random_array((3, 16, 20), dtype)
    plain = approximate(blocks, (rank,))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = approximate((blocks * np.dtype(dtype).type(scale)).astype(dtype), (rank,))
    factor = float(np.dtype(dtype).type(scale).real) ** 2
    np.testing.assert_allclose(found.energy, plain.energy * factor, rtol=1e-5)
    np.testing.assert_allclose(found.discarded, plain.discarded * factor, rtol=5e-3)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_block_that_is_not_finite_says_so_and_spoils_no_other(rank, bad):
    blocks = random_array((3, 16, 20), "float32")
    clean = approximate(blocks, (rank,))
    blocks[1, 4, 5] = bad
    with np.errstate(invalid="ignore", over="ignore"):
        found = approximate(blocks, (rank,))
    assert not np.isfinite(found.energy[1])
    for index in (0, 2):
        np.testing.assert_array_equal(found.left[index], clean.left[index])


@pytest.mark.parametrize("shape", [(40, 40), (24, 60), (60, 24)], ids=str)
def test_blocks_of_noise_are_bounded_without_a_gap(shape):
    blocks = random_array((6, *shape), "float32")
    blocks[3:] = blocks[3:, :, :1] * blocks[3:, :1] + 0.1 * blocks[3:]
    found = approximate(blocks, (2, 5))
    assert (found.slack > 0).all()
    assert (found.slack <= GRAM_SLACK * found.discarded).all()
