import array_api_strict
import numpy as np
import pytest

from dbutterfly.kernels.linalg import residual_energy, squared_norms
from dbutterfly.kernels.low_rank.rank_one import RankOne, rank_one

DTYPES = ["float32", "float64", "complex64", "complex128"]
SHAPES = [(1, 1), (2, 2), (1, 9), (9, 1), (2, 40), (40, 2), (3, 5), (16, 16), (33, 20), (4, 1500)]
NOISES = [0.0, 1e-6, 1e-2, 3.0]
WORST_EXCESS = 5e-3


def random_array(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    real, imag = rng.standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def wide(dtype):
    return np.result_type(dtype, "float64")


def noisy_blocks(count, shape, dtype, noise, seed=0):
    """Blocks that are rank one up to noise."""
    p, v = shape
    left, right, dust = (
        random_array(part, wide(dtype), seed + k)
        for k, part in enumerate([(count, p, 1), (count, 1, v), (count, p, v)])
    )
    return (left * right + noise * dust).astype(dtype)


def with_values(values, shape, dtype, seed=0):
    """Return a stack of one block with given singular values."""
    p, v = shape
    left = np.linalg.qr(random_array((p, p), wide(dtype), seed))[0]
    right = np.linalg.qr(random_array((v, v), wide(dtype), seed + 1))[0]
    count = len(values)
    return ((left[:, :count] * np.asarray(values)) @ right[:count]).astype(dtype)[None]


def as_numpy(xp, found):
    return RankOne(*(xp.to_numpy(x) for x in found))


def dtype_of(xp, name):
    return getattr(xp.module, name)


def rounding(eps, energy, residual):
    """What the working precision may change in the energy of a residual."""
    differenced = 8 * eps * energy
    formed = 8 * eps * np.sqrt(energy) * (np.sqrt(residual) + eps * np.sqrt(energy))
    return np.where(residual > 512 * eps * energy, differenced, formed)


def assert_best(blocks, found, excess=WORST_EXCESS):
    """Compare every claim of a RankOne with the singular values, in double precision."""
    eps = np.finfo(blocks.dtype).eps
    exact = blocks.astype(wide(blocks.dtype))
    energy = np.sum(np.abs(exact) ** 2, axis=(-2, -1))
    optimum = np.sum(np.linalg.svd(exact, compute_uv=False)[..., 1:] ** 2, axis=-1)
    residual = np.sum(
        np.abs(exact - found.left[..., :, None] * found.right[..., None, :].astype(exact.dtype)) ** 2, (-2, -1)
    )
    assert found.left.dtype == found.right.dtype == blocks.dtype
    assert found.energy.dtype == found.discarded.dtype == found.slack.dtype == np.float64
    np.testing.assert_allclose(found.energy, energy, rtol=3e-7 if eps > 1e-10 else 1e-14)
    allowed = rounding(eps, energy, residual)
    assert np.all(np.abs(found.discarded - residual) <= allowed)
    assert np.all(found.slack >= 0)
    assert np.all(found.slack <= found.discarded)
    assert np.all(found.discarded - found.slack <= optimum + allowed)
    assert np.all(residual <= optimum * (1 + excess) + allowed)
    np.testing.assert_allclose(np.sum(np.abs(found.right) ** 2, axis=-1), energy > 0, rtol=0, atol=20 * eps)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_are_split_at_the_optimum(xp, dtype, shape, noise):
    blocks = noisy_blocks(12, shape, dtype, noise)
    assert_best(blocks, as_numpy(xp, rank_one(xp.asarray(blocks))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_blocks_leave_the_square_of_the_rounding(xp, dtype):
    blocks = noisy_blocks(8, (16, 24), dtype, 0)
    found = as_numpy(xp, rank_one(xp.asarray(blocks)))
    assert np.all(found.discarded <= (4 * np.finfo(dtype).eps) ** 2 * found.energy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(8, 8), (8, 30), (30, 8)], ids=str)
@pytest.mark.parametrize(
    "values",
    [[1] * 8, [1] * 2, [1, 1 - 1e-4, 0.5], [1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], [1, 1e-3, 1e-3], [2, 1e-8], [3]],
    ids=str,
)
def test_singular_values_in_every_arrangement(xp, dtype, shape, values):
    blocks = np.concatenate([with_values(values, shape, dtype, seed) for seed in range(0, 20, 2)])
    assert_best(blocks, as_numpy(xp, rank_one(xp.asarray(blocks))))


@pytest.mark.parametrize("shape", [(2, 2), (2, 7), (7, 2)], ids=str)
@pytest.mark.parametrize("ratio", np.sqrt([0.999, 0.99, 0.98, 0.97, 0.95, 0.9, 0.5]))
def test_small_gaps_cost_little_and_are_declared(xp, shape, ratio):
    blocks = np.concatenate([with_values([1, ratio], shape, "float64", seed) for seed in range(0, 100, 2)])
    assert_best(blocks, as_numpy(xp, rank_one(xp.asarray(blocks))))


@pytest.mark.parametrize("ratio", [0.8, 0.85, 0.9, 0.95])
def test_spread_top_vector_is_found_beside_a_concentrated_one(xp, ratio):
    """The largest row, and the largest column of every power of the Gram matrix, belong to the lesser vector."""
    n = 128
    spread = np.full(n, n**-0.5)
    peak = np.eye(n)[5] - spread * spread[5]
    right = np.linalg.qr(random_array((n, 2), "float64"))[0]
    block = np.outer(spread, right[:, 0]) + np.sqrt(ratio) * np.outer(peak / np.linalg.norm(peak), right[:, 1])
    blocks = np.stack([block, block.T])
    assert_best(blocks, as_numpy(xp, rank_one(xp.asarray(blocks))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_start_orthogonal_to_the_top_vector(xp, dtype):
    """The largest row is a singular vector, but of the second singular value."""
    block = np.zeros((5, 6))
    block[:4, :3] = 1
    block[4, 4] = 1.9
    found = as_numpy(xp, rank_one(xp.asarray(block.astype(dtype)[None])))
    assert found.discarded == pytest.approx(1.9**2, rel=1e-4)
    assert_best(block.astype(dtype)[None], found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [64, 300])
def test_flat_spectrum_of_a_large_block(dtype, n):
    blocks = np.linalg.qr(random_array((1, n, n), wide(dtype)))[0].astype(dtype)
    found = rank_one(blocks)
    assert found.discarded == pytest.approx(n - 1, rel=1e-5)
    assert found.slack < 0.05 * found.discarded
    assert_best(blocks, found)


def test_high_powers_of_a_large_gram_matrix_do_not_underflow(monkeypatch):
    monkeypatch.setattr("dbutterfly.kernels.low_rank.gram_powers.GRAM_SLACK", 0.0)
    found = rank_one(np.eye(1000, dtype="float32")[None])
    assert found.discarded == pytest.approx(999)
    assert 0 <= found.slack < 0.7
    assert np.linalg.norm(found.right) == pytest.approx(1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_blocks(xp, dtype):
    blocks = noisy_blocks(5, (4, 6), dtype, 0.1)
    blocks[[0, 3]] = 0
    found = as_numpy(xp, rank_one(xp.asarray(blocks)))
    for part in found:
        assert not np.any(part[[0, 3]])
    assert_best(blocks, found)


def test_stack_of_nothing_but_zeros(xp):
    found = as_numpy(xp, rank_one(xp.asarray(np.zeros((3, 4, 5), "complex64"))))
    assert [part.shape for part in found] == [(3, 4), (3, 5), (3,), (3,), (3,)]
    assert not any(np.any(part) for part in found)


@pytest.mark.parametrize("noise", [0.0, 0.1, 1e3])
@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e-12, 1e12, 1e25, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_scales_whose_squares_leave_its_range(xp, dtype, scale, noise):
    blocks = (noisy_blocks(6, (6, 9), dtype, noise) * scale / max(noise, 1)).astype(dtype)
    with np.errstate(all="ignore"):
        found = as_numpy(xp, rank_one(xp.asarray(blocks)))
    assert_best(blocks, found)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("scale", [1e-140, 1e-90, 1e90, 1e140])
def test_double_precision_scales(xp, dtype, scale):
    blocks = noisy_blocks(6, (6, 9), dtype, 0.1) * scale
    with np.errstate(all="ignore"):
        assert_best(blocks, as_numpy(xp, rank_one(xp.asarray(blocks))))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_non_finite_entries_give_a_non_finite_energy_to_their_block_alone(xp, dtype, bad):
    blocks = noisy_blocks(4, (5, 6), dtype, 0.5)
    clean = as_numpy(xp, rank_one(xp.asarray(blocks)))
    blocks[2, 3, 1] = bad
    with np.errstate(all="ignore"):
        found = as_numpy(xp, rank_one(xp.asarray(blocks)))
    assert np.isfinite(found.energy).tolist() == [True, True, False, True]
    for before, after in zip(clean, found, strict=True):
        np.testing.assert_array_equal(after[[0, 1, 3]], before[[0, 1, 3]])


def test_squares_beyond_double_precision_give_a_non_finite_energy(xp):
    with np.errstate(all="ignore"):
        found = as_numpy(xp, rank_one(xp.asarray(np.full((1, 2, 3), 1e200))))
    assert np.isinf(found.energy).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_input_is_not_written(dtype):
    for noise in (0.0, 0.1, 1e3):
        blocks = noisy_blocks(3, (8, 8), dtype, noise)
        before = blocks.copy()
        blocks.flags.writeable = False
        rank_one(blocks)
        np.testing.assert_array_equal(blocks, before)


# ---------------------------------------------------------------- energies


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 2047, 2048, 2049, 5000, 100_000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_squared_norms_of_long_vectors(xp, dtype, length):
    vectors = random_array((3, length), dtype)
    norms = xp.to_numpy(squared_norms(xp.asarray(vectors)))
    assert norms.dtype == np.float64
    exact = np.sum(np.abs(vectors.astype(wide(dtype))) ** 2, axis=-1)
    np.testing.assert_allclose(norms, exact, rtol=3e-7 if np.finfo(dtype).eps > 1e-10 else 1e-14)


def test_long_sums_do_not_drift():
    """Equal terms are the worst case of a running sum."""
    assert squared_norms(np.full((1, 1 << 22), 0.1, "float32"))[0] == pytest.approx(
        (1 << 22) * float(np.float32(0.1)) ** 2, rel=1e-7
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_residual_energy(xp, dtype, count):
    blocks = random_array((count, 5, 7), dtype)
    left, right = random_array((count, 5, 1), dtype, 1), random_array((count, 1, 7), dtype, 2)
    found = xp.to_numpy(residual_energy(*map(xp.asarray, (blocks, left, right))))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.sum(np.abs(blocks - left * right) ** 2, axis=(1, 2)), rtol=1e-5)


def test_unknown_namespace_is_refused():
    with pytest.raises(TypeError, match="not a supported array type"):
        rank_one([[[1.0]]])


def test_mixed_devices_are_refused():
    blocks, left, right = (
        array_api_strict.asarray(np.ones(shape), device=array_api_strict.Device(device))
        for shape, device in (((1, 2, 3), "device1"), ((1, 2, 1), "CPU_DEVICE"), ((1, 1, 3), "CPU_DEVICE"))
    )
    with pytest.raises((TypeError, ValueError, RuntimeError), match="device"):
        residual_energy(blocks, left, right)
