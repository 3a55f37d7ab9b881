import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbutterfly.kernels.low_rank import rank_one_grid as grids
from dbutterfly.kernels.low_rank.rank_one import RankOne, rank_one_by_gram
from dbutterfly.kernels.low_rank.rank_one_grid import rank_one_grid

DTYPES = ["float32", "float64", "complex64", "complex128"]


def random_array(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def noisy_blocks(count, shape, dtype, noise, seed=0):
    p, v = shape
    exact = np.result_type(dtype, "float64")
    left, right, dust = (
        random_array(part, exact, seed + k) for k, part in enumerate([(count, p, 1), (count, 1, v), (count, p, v)])
    )
    return (left * right + noise * dust).astype(dtype)


def mixed_grid(dtype, seed=0, groups=5, peers=7, shape=(6, 9)):
    """Easy, exact, hard, zero, huge and tiny blocks side by side."""
    count = groups * peers
    scale = np.asarray(1e25, dtype)
    kinds = [
        noisy_blocks(count, shape, dtype, 0.1, seed),
        noisy_blocks(count, shape, dtype, 0, seed + 3),
        random_array((count, *shape), dtype, seed + 6),
        np.zeros((count, *shape), dtype),
        noisy_blocks(count, shape, dtype, 0.1, seed + 7) * scale,
        noisy_blocks(count, shape, dtype, 0.1, seed + 10) / scale,
    ]
    choice = np.random.default_rng(seed).integers(0, 9, count)
    blocks = np.stack([kinds[max(0, kind - 3)][at] for at, kind in enumerate(choice)])
    return blocks.reshape(groups, peers, *shape)


def as_numpy(xp, found):
    return RankOne(*(xp.to_numpy(x) for x in found))


def assert_claims(grid, found):
    """Compare a RankOne with the singular values and residuals, in double precision."""
    eps = np.finfo(found.left.dtype).eps
    exact = grid.astype(np.result_type(found.left.dtype, "float64"))
    energy = np.sum(np.abs(exact) ** 2, axis=(-2, -1))
    optimum = np.sum(np.linalg.svd(exact, compute_uv=False)[..., 1:] ** 2, axis=-1)
    product = found.left[..., :, None].astype(exact.dtype) * found.right[..., None, :]
    residual = np.sum(np.abs(exact - product) ** 2, axis=(-2, -1))
    differenced = 8 * eps * energy
    formed = 8 * eps * np.sqrt(energy) * (np.sqrt(residual) + eps * np.sqrt(energy))
    allowed = np.where(residual > 512 * eps * energy, differenced, formed)
    np.testing.assert_allclose(found.energy, energy, rtol=3e-7 if eps > 1e-10 else 1e-14)
    assert np.all(np.abs(found.discarded - residual) <= allowed)
    assert np.all((found.slack >= 0) & (found.slack <= found.discarded))
    assert np.all(found.discarded - found.slack <= optimum + allowed)
    assert np.all(residual <= optimum * (1 + 5e-3) + allowed)
    np.testing.assert_allclose(np.sum(np.abs(found.right) ** 2, axis=-1), energy > 0, rtol=0, atol=20 * eps)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
    shape=st.sampled_from([(1, 4), (2, 2), (6, 9), (9, 6), (16, 3), (5, 1)]),
    cuts=st.tuples(st.integers(1, 1 << 16), st.integers(1, 1 << 16)),
)
def test_result_depends_neither_on_the_stacks_nor_on_the_strides(dtype, seed, shape, cuts):
    grid = mixed_grid(dtype, seed, shape=shape)
    views = [grid, np.asfortranarray(grid), np.repeat(grid, 2, axis=3)[..., ::2]]
    with np.errstate(all="ignore"):
        found = [rank_one_grid(view, dtype=np.dtype(dtype), stack_bytes=size) for view in views for size in cuts]
    for other in found[1:]:
        for x, y in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(x, y)


@settings(deadline=None, max_examples=40)
@given(
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
    first=st.tuples(st.integers(0, 4), st.integers(0, 6)),
    size=st.tuples(st.integers(1, 5), st.integers(1, 7)),
)
def test_result_does_not_depend_on_the_tile(dtype, seed, first, size):
    """A block is split alike whatever blocks are in the grid with it."""
    grid = mixed_grid(dtype, seed)
    part = tuple(slice(start, start + count) for start, count in zip(first, size, strict=True))
    with np.errstate(all="ignore"):
        whole, tile = (rank_one_grid(z, dtype=np.dtype(dtype), stack_bytes=2000) for z in (grid, grid[part]))
    for x, y in zip(whole, tile, strict=True):
        np.testing.assert_array_equal(x[part], y)


@pytest.mark.parametrize("stack_bytes", [1, 1000, 5000, 1 << 20])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_block_of_a_mixed_grid(xp, dtype, stack_bytes):
    grid = mixed_grid(dtype)
    with np.errstate(all="ignore"):
        found = rank_one_grid(xp.asarray(grid), dtype=getattr(xp.module, dtype), stack_bytes=stack_bytes)
    found = as_numpy(xp, found)
    assert [part.shape for part in found] == [(5, 7, 6), (5, 7, 9), (5, 7), (5, 7), (5, 7)]
    assert [part.dtype for part in found] == [dtype, dtype, "float64", "float64", "float64"]
    assert_claims(grid, found)


@pytest.mark.parametrize("noise", [0, 1e-6, 1e-4, 1e-2, 1, 1e3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1), (2, 2), (2, 30), (30, 2), (32, 32), (3, 3000)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_split_at_the_optimum(dtype, shape, noise):
    grid = noisy_blocks(12, shape, dtype, noise).reshape(3, 4, *shape)
    assert_claims(grid, rank_one_grid(grid, dtype=np.dtype(dtype), stack_bytes=4 * grid[0, 0].nbytes))


@pytest.mark.parametrize("scale", [1e-140, 1e-90, 1e-80, 1e-79, 1e-60, 1e60, 1e90, 1e140])
@pytest.mark.parametrize("noise", [0, 0.1, 1, 1e3])
def test_double_precision_scales(scale, noise):
    grid = noisy_blocks(12, (6, 9), "float64", noise).reshape(3, 4, 6, 9) * scale / max(noise, 1)
    with np.errstate(all="ignore"):
        assert_claims(grid, rank_one_grid(grid, dtype=np.dtype("float64"), stack_bytes=2000))


@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e-10, 1e-8, 1e8, 1e10, 1e15, 1e30])
@pytest.mark.parametrize("noise", [0, 0.1, 1e3])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_scales(dtype, scale, noise):
    grid = noisy_blocks(12, (6, 9), "complex128" if dtype[0] == "c" else "float64", noise).reshape(3, 4, 6, 9)
    grid = (grid * scale / max(noise, 1)).astype(dtype)
    with np.errstate(all="ignore"):
        assert_claims(grid, rank_one_grid(grid, dtype=np.dtype(dtype), stack_bytes=2000))


@pytest.mark.parametrize("norm", [2e-8, 3e10])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_scales_near_the_ends_of_the_range_of_large_blocks(dtype, norm):
    """The squares of their products may leave it before the products themselves."""
    grid = noisy_blocks(4, (64, 64), dtype, 0.5)[None]
    grid = grid * np.asarray(norm / np.linalg.norm(grid[0, 0]), dtype)
    with np.errstate(all="ignore"):
        assert_claims(grid, rank_one_grid(grid, dtype=np.dtype(dtype), stack_bytes=1 << 20))


@pytest.mark.parametrize("axes", [(2, 0, 3, 1), (0, 3, 1, 2), (1, 0, 2, 3), (3, 2, 1, 0)], ids=str)
def test_strided_grids(xp, axes):
    cube = random_array((4, 6, 8, 10), "complex64")[:, ::-1, ::2]
    view = cube.transpose(axes) if xp.name == "numpy" else xp.module.permute_dims(xp.asarray(cube), axes)
    found = rank_one_grid(view, dtype=xp.module.complex64, stack_bytes=2000)
    assert_claims(cube.transpose(axes), as_numpy(xp, found))


@pytest.mark.parametrize("stored", ["int8", "uint16", "int64", "bool", "float32"])
def test_grid_is_computed_in_the_dtype_asked_for(xp, stored):
    grid = np.random.default_rng(0).integers(0, 9, (3, 4, 5, 6)).astype(stored)
    found = as_numpy(xp, rank_one_grid(xp.asarray(grid), dtype=xp.module.float64, stack_bytes=500))
    assert found.left.dtype == np.float64
    assert_claims(grid.astype("float64"), found)


@pytest.mark.parametrize("stored", [">f8", "<f2"])
def test_big_endian_and_half_precision_grids(stored):
    grid = random_array((2, 3, 4, 5), "float64").astype(stored)
    assert_claims(grid.astype("float64"), rank_one_grid(grid, dtype=np.dtype("float64"), stack_bytes=500))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_non_finite_entries_give_a_non_finite_energy_to_their_block_alone(xp, dtype, bad):
    grid = noisy_blocks(6, (5, 6), dtype, 0.5).reshape(2, 3, 5, 6)
    grid[1, 1, 3, 1] = bad
    with np.errstate(all="ignore"):
        found = as_numpy(xp, rank_one_grid(xp.asarray(grid), dtype=getattr(xp.module, dtype), stack_bytes=400))
    assert np.isfinite(found.energy).tolist() == [[True, True, True], [True, False, True]]
    finite = np.isfinite(found.energy)
    assert_claims(grid[finite], RankOne(*(part[finite] for part in found)))


@pytest.mark.parametrize(("hard", "expected"), [(1, [8]), (3, [9, 9, 6]), (7, [7] * 8), (10, [10] * 8)])
def test_hard_blocks_of_several_stacks_are_improved_together(hard, expected, monkeypatch):
    """As many as a stack holds, which is 10 blocks here."""
    sizes = []

    def noted(blocks, *known):
        sizes.append(len(blocks))
        return rank_one_by_gram(blocks, *known)

    monkeypatch.setattr(grids, "rank_one_by_gram", noted)
    grid = noisy_blocks(80, (6, 9), "float64", 0.1).reshape(8, 10, 6, 9)
    grid[:, :hard] = random_array((8, hard, 6, 9), "float64", 5)
    assert_claims(grid, rank_one_grid(grid, dtype=np.dtype("float64"), stack_bytes=10 * grid[0, 0].nbytes))
    assert sizes == expected


def test_input_is_not_written():
    grid = mixed_grid("float64")
    before = grid.copy()
    grid.flags.writeable = False
    rank_one_grid(grid, dtype=np.dtype("float64"), stack_bytes=1000)
    np.testing.assert_array_equal(grid, before)


def test_results_own_their_memory():
    """A view of a stack or of the grid would be overwritten, or would hold the tile."""
    grid = noisy_blocks(6, (4, 4), "float64", 0.1).reshape(2, 3, 4, 4)
    first = rank_one_grid(grid, dtype=np.dtype("float64"), stack_bytes=1 << 20)
    assert not any(np.shares_memory(part, grid) for part in first)


@pytest.mark.parametrize("noise", [0, 1e-9, 1e-3, 0.1, 1e3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_without_certificate_only_energies_below_rounding_differ(dtype, noise):
    grid = noisy_blocks(12, (6, 9), dtype, noise).reshape(3, 4, 6, 9)
    full, quick = (
        rank_one_grid(grid, dtype=np.dtype(dtype), stack_bytes=2000, certified=certified) for certified in (True, False)
    )
    eps = np.finfo(dtype).eps
    for name in ("left", "right"):
        np.testing.assert_allclose(getattr(quick, name), getattr(full, name), atol=100 * eps * np.abs(grid).max())
    np.testing.assert_array_equal(quick.energy, full.energy)
    np.testing.assert_allclose(quick.discarded, full.discarded, atol=8 * eps * full.energy.max())
