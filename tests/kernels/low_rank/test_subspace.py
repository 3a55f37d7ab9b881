import numpy as np
import pytest

from dbutterfly.kernels.low_rank.grid import left_parts, low_rank_grid
from dbutterfly.kernels.low_rank.ranges import leading_ranges, weighted_ranges
from dbutterfly.kernels.low_rank.subspace import best_subspaces

DTYPES = ["float32", "float64", "complex64", "complex128"]
SHAPES = [(16, 40), (40, 16), (6, 30), (30, 6), (2, 30), (3, 2), (48, 48)]


def random_array(shape, dtype, seed=0):
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def low_rank(shape, dtype, rank=3, seed=0):
    left, right = random_array((5, shape[0], rank), dtype, seed), random_array((5, rank, shape[1]), dtype, seed + 1)
    return left @ right


def graded(shape, dtype):
    u, s, vh = np.linalg.svd(random_array((5, *shape), dtype), full_matrices=False)
    return ((u * 10.0 ** -np.arange(s.shape[-1])) @ vh).astype(dtype)


KINDS = {
    "random": lambda shape, dtype: random_array((5, *shape), dtype),
    "low rank": low_rank,
    "noisy": lambda shape, dtype: (low_rank(shape, dtype) + 0.1 * random_array((5, *shape), dtype, 7)).astype(dtype),
    "graded": graded,
}


def wide(dtype):
    return np.result_type(dtype, np.float64)


def checked(xp, blocks, ranks):
    """Approximations of blocks, with energies compared with the singular values."""
    found = type(best_subspaces(blocks[:1], ranks))(*map(xp.to_numpy, best_subspaces(xp.asarray(blocks), ranks)))
    values = np.linalg.svd(blocks.astype(wide(blocks.dtype)), compute_uv=False)
    eps = np.finfo(blocks.dtype).eps
    energy = np.sum(values**2, axis=-1)
    rounding = (60 * eps) ** 2 * energy
    np.testing.assert_allclose(found.energy, energy, rtol=20 * eps)
    assert found.left.dtype == found.right.dtype == blocks.dtype
    assert found.left.shape == (len(blocks), ranks[-1], blocks.shape[1])
    assert found.right.shape == (len(blocks), ranks[-1], blocks.shape[2])
    gram = found.right @ found.right.conj().swapaxes(1, 2)
    np.testing.assert_allclose(gram, np.round(gram.real), atol=20 * eps)
    for index, rank in enumerate(ranks):
        product = found.left[:, :rank].swapaxes(1, 2).astype(wide(blocks.dtype)) @ found.right[:, :rank]
        error = np.sum(np.abs(blocks - product) ** 2, axis=(1, 2))
        best = np.sum(values[:, rank:] ** 2, axis=-1)
        doubt = rounding + 16 * eps * np.where(found.discarded[:, index] > 1000 * eps * energy, energy, 0)
        assert (np.abs(found.discarded[:, index] - error) <= 1e-2 * error + doubt).all()
        assert (found.discarded[:, index] - found.slack[:, index] <= best + doubt).all()
        assert (error <= 1.01 * best + rounding).all()
        assert (found.slack[:, index] <= 0.1 * found.discarded[:, index] + doubt).all()
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [(2,), (3, 4)], ids=str)
def test_approximations_are_the_best_and_say_so(xp, kind, shape, dtype, ranks):
    checked(xp, KINDS[kind](shape, dtype), ranks)


def test_a_first_vector_that_the_columns_hide_is_found(xp):
    """All but one column are noise around one direction; the energy of that one is elsewhere."""
    blocks = 1e-6 * random_array((3, 40, 60), "float64")
    blocks[:, :, 7] += 5 * random_array((3, 40), "float64", 1)
    blocks[:, 3, :] += random_array((3, 60), "float64", 2)
    checked(xp, blocks, (2,))


def test_zero_blocks_and_blocks_of_lesser_rank(xp):
    blocks = random_array((4, 20, 24), "float64")
    blocks[1] = 0
    blocks[2, :, 1:] = 0
    found = checked(xp, blocks, (3,))
    assert found.energy[1] == 0
    assert not found.left[1].any()
    assert np.linalg.norm(found.left[2, 1:]) <= 1e-14 * np.linalg.norm(found.left[2])


@pytest.mark.parametrize(("dtype", "scale"), [("float32", 1e-30), ("float32", 1e25), ("complex128", 1e-200)])
def test_squares_out_of_range(xp, dtype, scale):
    blocks = random_array((3, 16, 20), dtype)
    plain = best_subspaces(blocks, (2,))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = best_subspaces(xp.asarray((blocks * np.dtype(dtype).type(scale)).astype(dtype)), (2,))
    factor = float(np.dtype(dtype).type(scale).real) ** 2
    np.testing.assert_allclose(xp.to_numpy(found.energy), plain.energy * factor, rtol=1e-5)
    np.testing.assert_allclose(xp.to_numpy(found.discarded), plain.discarded * factor, rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_block_that_is_not_finite_says_so_and_spoils_no_other(xp, bad):
    blocks = random_array((3, 16, 20), "float64")
    clean = best_subspaces(blocks, (2,))
    blocks[1, 4, 5] = bad
    with np.errstate(invalid="ignore", over="ignore"):
        found = best_subspaces(xp.asarray(blocks), (2,))
    assert not np.isfinite(xp.to_numpy(found.energy)[1])
    for index in (0, 2):
        np.testing.assert_array_equal(xp.to_numpy(found.left)[index], clean.left[index])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_weighted_ranges_are_left_vectors_times_values(xp, kind, shape, dtype):
    blocks = KINDS[kind](shape, dtype)
    left = xp.to_numpy(weighted_ranges(xp.asarray(blocks), 3)).astype(wide(dtype))
    assert left.shape == (5, 3, shape[0])
    values = np.linalg.svd(blocks.astype(wide(dtype)), compute_uv=False)
    kept = min(3, *shape)
    norms = np.linalg.norm(left, axis=-1)
    eps = np.finfo(dtype).eps
    energy = np.sum(values**2, axis=-1)
    assert (np.sum(norms**2, axis=1) <= np.sum(values[:, :kept] ** 2, axis=1) + 100 * eps * energy).all()
    if kind != "random":  # whose singular values are too near to each other to be told apart
        np.testing.assert_allclose(norms[:, :kept], values[:, :kept], rtol=2e-3, atol=100 * eps * values[:, 0].max())
    basis = np.linalg.qr(left[:, :kept].swapaxes(1, 2))[0]
    rest = blocks - basis @ (basis.conj().swapaxes(1, 2) @ blocks)
    best = np.sum(values[:, kept:] ** 2, axis=-1)
    assert (np.sum(np.abs(rest) ** 2, axis=(1, 2)) <= 1.01 * best + (200 * eps) ** 2 * energy).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_leading_ranges_are_orthonormal_and_hold_what_can_be_held(xp, kind, shape, dtype):
    blocks = KINDS[kind](shape, dtype)
    blocks[3] = 0
    rows = xp.to_numpy(leading_ranges(xp.asarray(blocks), 3))
    assert rows.shape == (5, 3, shape[0])
    assert rows.dtype == blocks.dtype
    basis = rows.swapaxes(1, 2).astype(wide(dtype))
    eps = np.finfo(dtype).eps
    gram = basis.conj().swapaxes(1, 2) @ basis
    np.testing.assert_allclose(gram, np.round(gram.real), atol=20 * eps)
    values = np.linalg.svd(blocks.astype(wide(dtype)), compute_uv=False)
    best, energy = np.sum(values[:, 3:] ** 2, axis=-1), np.sum(values**2, axis=-1)
    rest = blocks - basis @ (basis.conj().swapaxes(1, 2) @ blocks)
    assert (np.sum(np.abs(rest) ** 2, axis=(1, 2)) <= 1.01 * best + (200 * eps) ** 2 * energy).all()


def test_leading_ranges_of_blocks_scaled_far_apart(xp):
    blocks = low_rank((20, 24), "float32") * np.float32([1e-30, 1e-12, 1, 1e12, 1e25])[:, None, None]
    with np.errstate(over="ignore", under="ignore"):
        basis = xp.to_numpy(leading_ranges(xp.asarray(blocks), 3)).swapaxes(1, 2)
    rest = blocks.astype("float64") - basis @ (basis.swapaxes(1, 2) @ blocks.astype("float64"))
    assert (np.linalg.norm(rest, axis=(1, 2)) <= 2e-5 * np.linalg.norm(blocks.astype("float64"), axis=(1, 2))).all()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 3])
def test_the_cut_into_stacks_does_not_count(xp, rank):
    grid = random_array((5, 7, 12, 18), "complex64").transpose(1, 0, 2, 3)
    dtype = xp.module.complex64
    one, other = (low_rank_grid(xp.asarray(grid), (rank,), dtype=dtype, stack_bytes=size) for size in (1, 1 << 20))
    for x, y in zip(one, other, strict=True):
        np.testing.assert_array_equal(xp.to_numpy(x), xp.to_numpy(y))
    assert one.left.shape == (7, 5, rank, 12)
    for weighted in (True, False):
        few, many = (left_parts(xp.asarray(grid), rank, stack_bytes=size, weighted=weighted) for size in (1, 1 << 20))
        np.testing.assert_array_equal(xp.to_numpy(few), xp.to_numpy(many))
