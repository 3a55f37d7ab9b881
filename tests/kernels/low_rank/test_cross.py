import numpy as np
import pytest

from dbutterfly.kernels.low_rank.cross import cross_grid, has_unseen_residual, sampled_residual
from dbutterfly.kernels.low_rank.pivots import pivots

DTYPES = ["float32", "float64", "complex64", "complex128"]


def random_array(shape, dtype="float64", seed=0):
    real, imag = np.random.default_rng(seed).standard_normal((2, *shape))
    return (real + 1j * imag if np.dtype(dtype).kind == "c" else real).astype(dtype)


def low_rank(groups, p, v, rank, dtype="float64", seed=0):
    return random_array((*groups, p, rank), dtype, seed) @ random_array((*groups, rank, v), dtype, seed + 1)


def bit_reversal(n):
    digits = n.bit_length() - 1
    return np.array([int(format(i, f"0{digits}b")[::-1], 2) for i in range(n)])


def blocks_of(matrix):
    """Blocks of the middle cut of a matrix in standard order."""
    side = int(matrix.shape[0] ** 0.5)
    return np.ascontiguousarray(matrix.reshape(side, side, side, side).transpose(1, 2, 0, 3))


def helmholtz(n):
    x = np.arange(n) / n
    distance = np.hypot(1, x[:, None] - x)
    return (np.exp(2j * np.pi * n / 10 * distance) / np.sqrt(distance))[bit_reversal(n)]


def dft(n):
    turns = np.outer(np.arange(n), bit_reversal(n)) % n
    return np.exp(-2j * np.pi / n * turns)


class NUMPY:
    asarray = to_numpy = staticmethod(np.asarray)


class Blocks:
    """A grid whose columns and rows are handed out, and counted."""

    def __init__(self, xp, grid):
        self.xp, self.grid, self.evaluated = xp, grid, 0

    def columns(self, index):
        index = self.xp.to_numpy(index)
        wide = np.broadcast_to(index[:, :, None, :], (*self.grid.shape[:3], index.shape[-1]))
        return self._given(np.take_along_axis(self.grid, wide, axis=3).swapaxes(2, 3))

    def rows(self, index):
        index = self.xp.to_numpy(index)
        wide = np.broadcast_to(index[..., None], (*index.shape, self.grid.shape[3]))
        return self._given(np.take_along_axis(self.grid, wide, axis=2))

    def _given(self, values):
        self.evaluated += values.size
        return self.xp.asarray(np.ascontiguousarray(values))

    def cross(self, rank, seed=0):
        groups, (p, v) = self.grid.shape[:2], self.grid.shape[2:]
        rng, count = np.random.default_rng(seed), min(2 * rank, p, v)
        start = np.sort(np.argsort(rng.random((*groups, v)), axis=-1)[..., :count], axis=-1)
        priority = tuple(self.xp.asarray(rng.random((*groups, side))) for side in (p, v))
        return cross_grid(self.columns, self.rows, self.xp.asarray(start), priority, rank=rank, count=count)


def as_numpy(xp, found):
    return type(found)(*(xp.to_numpy(array) for array in found))


def errors_of(grid, found):
    """Errors of the blocks, and the best ones at that rank."""
    exact = grid.astype(np.result_type(grid, "float64"))
    rank = found.left.shape[2]
    values = np.linalg.svd(exact, compute_uv=False)
    residual = exact - found.left.swapaxes(2, 3) @ found.right
    return np.linalg.norm(residual, axis=(2, 3)), np.linalg.norm(values[..., rank:], axis=-1)


def assert_well_formed(grid, found, rank):
    groups, p, v = grid.shape[:2], *grid.shape[2:]
    assert found.left.shape == (*groups, rank, p)
    assert found.right.shape == (*groups, rank, v)
    assert found.left.dtype == found.right.dtype == grid.dtype
    assert found.squares.dtype == found.residual.dtype == found.entry.dtype == np.float64
    for array in found:
        assert np.isfinite(array).all()
    tolerance = 50 * np.finfo(grid.dtype).eps
    gram = found.right @ found.right.conj().swapaxes(2, 3)
    lengths = np.diagonal(gram, axis1=2, axis2=3).real
    np.testing.assert_allclose(gram, lengths[..., None] * np.eye(rank), atol=tolerance)
    assert (np.minimum(np.abs(lengths), np.abs(lengths - 1)) < tolerance).all()
    np.testing.assert_allclose(found.squares, np.sum(np.abs(found.left) ** 2, axis=-1), rtol=1e-5)
    assert (np.diff(found.squares, axis=-1) <= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_blocks_of_the_rank_are_recovered(xp, dtype, rank):
    grid = low_rank((3, 5), 24, 40, rank, dtype)
    blocks = Blocks(xp, grid)
    found = as_numpy(xp, blocks.cross(rank))
    assert_well_formed(grid, found, rank)
    errors, _ = errors_of(grid, found)
    allowed = 1e-10 if np.finfo(dtype).eps < 1e-10 else 1e-4
    assert (errors <= allowed * np.linalg.norm(grid, axis=(2, 3))).all()
    assert (found.residual <= allowed**2 * found.entry).all()
    assert blocks.evaluated == grid.shape[0] * grid.shape[1] * (4 * rank * 24 + 2 * rank * 40)


@pytest.mark.parametrize(("matrix", "rank", "largest"), [(helmholtz, 4, 1e-6), (helmholtz, 2, 1e-3), (dft, 1, 1e-12)])
def test_oscillatory_kernels_come_near_the_optimum(xp, matrix, rank, largest):
    whole = matrix(1024 if xp.name == "numpy" else 64)
    grid = blocks_of(whole)
    blocks = Blocks(xp, grid)
    errors, best = errors_of(grid, as_numpy(xp, blocks.cross(rank)))
    norm = np.linalg.norm(grid)
    assert np.linalg.norm(errors) <= 1.05 * np.linalg.norm(best) + 1e-12 * norm
    if xp.name == "numpy":
        assert np.linalg.norm(errors) <= largest * norm
        assert (errors <= 1.5 * best + 1e-12 * norm).all()
        assert blocks.evaluated == 6 * rank * 1024**1.5


@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("noise", [1e-10, 1e-3, 0.1, 1.0])
def test_noise_is_not_multiplied(rank, noise):
    grid = low_rank((16, 16), 32, 32, rank) + noise * rank**0.5 * random_array((16, 16, 32, 32), seed=7)
    errors, best = errors_of(grid, Blocks(NUMPY, grid).cross(rank))
    assert (errors <= 3 * best).all()
    assert np.linalg.norm(errors) <= 1.25 * np.linalg.norm(best)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 20), (20, 3), (8, 8), (1, 30)], ids=str)
def test_sides_smaller_than_the_rank_are_filled_up(xp, dtype, shape):
    grid = random_array((2, 3, *shape), dtype)
    found = as_numpy(xp, Blocks(xp, grid).cross(4))
    assert_well_formed(grid, found, 4)
    errors, best = errors_of(grid, found)
    allowed = 200 * np.finfo(dtype).eps * np.linalg.norm(grid, axis=(2, 3))
    if min(shape) <= 4:
        assert (errors <= best + allowed).all()
    assert not found.left[:, :, min(shape) :].any()
    assert not found.right[:, :, min(shape) :].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_blocks_and_blocks_of_lesser_rank(xp, dtype):
    grid = low_rank((2, 4), 16, 24, 4, dtype)
    grid[0, 0] = 0
    grid[0, 1] = low_rank((), 16, 24, 1, dtype)
    grid[1, 2, 3:] = 0
    grid[1, 3, :, 1:] = 0
    found = as_numpy(xp, Blocks(xp, grid).cross(4))
    assert_well_formed(grid, found, 4)
    errors, _ = errors_of(grid, found)
    seen = found.entry > 0
    assert seen.sum() >= 6
    assert (errors[seen] <= 1e-4 * np.linalg.norm(grid, axis=(2, 3))[seen]).all()
    assert not found.left[0, 0].any()
    assert not found.right[0, 0].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_entries_of_any_size(xp, dtype, scale):
    grid = (low_rank((2, 2), 20, 20, 2, dtype) * np.float64(scale)).astype(dtype)
    found = as_numpy(xp, Blocks(xp, grid).cross(2))
    for array in found:
        assert np.isfinite(array).all()
    errors, _ = errors_of(grid, found)
    assert (errors <= 1e-4 * scale).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_entries_that_fade_into_subnormal_numbers(xp, dtype):
    fading = np.exp(-(np.linspace(0, 40, 400) ** 2)).astype(dtype)
    grid = np.lib.stride_tricks.sliding_window_view(fading, 20)[np.arange(360).reshape(6, 3, 20)]
    assert (0 < grid[grid > 0].min() < np.finfo(dtype).smallest_normal) & (grid[-1, -1] == 0).all()
    found = as_numpy(xp, Blocks(xp, np.ascontiguousarray(grid)).cross(4))
    for array in found:
        assert np.isfinite(array).all()
    errors, best = errors_of(grid, found)
    norm = np.linalg.norm(grid.astype(np.float64), axis=(2, 3))
    assert (errors <= 2 * best + 1e-5 * norm + 20 * np.finfo(dtype).smallest_normal).all()


def test_a_block_does_not_depend_on_the_others():
    grid = low_rank((4, 6), 16, 16, 2) + 0.1 * random_array((4, 6, 16, 16), seed=3)
    start = np.broadcast_to(np.array([0, 5, 9, 14]), (4, 6, 4))
    priority = np.random.default_rng(0).random((4, 6, 16))

    def found(r, c):
        blocks = Blocks(NUMPY, grid[r, c])
        sides = (priority[r, c], priority[r, c])
        return cross_grid(blocks.columns, blocks.rows, np.ascontiguousarray(start[r, c]), sides, rank=2, count=4)

    for whole, part in zip(found(np.s_[:], np.s_[:]), found(np.s_[1:3], np.s_[4:5]), strict=True):
        np.testing.assert_array_equal(whole[1:3, 4:5], part)


def test_a_sample_estimates_the_residual_without_bias(xp):
    grid = low_rank((2, 2), 12, 16, 1) + 0.3 * random_array((2, 2, 12, 16), seed=3)
    found = Blocks(xp, grid).cross(1)
    errors, _ = errors_of(grid, as_numpy(xp, found))
    every = [np.arange(n)[None, None] + np.zeros((2, 2, 1), int) for n in (12, 16)]
    residual, entry = sampled_residual(found, xp.asarray(grid), *map(xp.asarray, every))
    np.testing.assert_allclose(xp.to_numpy(residual) * 12 * 16, errors**2)
    np.testing.assert_allclose(xp.to_numpy(entry), np.mean(grid**2, axis=(2, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_part_that_the_pivots_missed_shows_in_a_sample(xp, dtype):
    grid = low_rank((2, 2), 32, 32, 1, dtype)
    grid[0, 1, 16:, 16:] += 10
    known = grid.copy()
    known[0, 1, 16:, 16:] -= 10
    found = Blocks(xp, known).cross(1)  # as if no column and no row had met the corner
    at = np.arange(0, 32, 8)
    where = xp.asarray(np.broadcast_to(at, (2, 2, 4)).copy())
    residual, entry = sampled_residual(found, xp.asarray(grid[:, :, at[:, None], at]), where, where)
    assert xp.to_numpy(has_unseen_residual(found, residual, entry)).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_blocks_of_no_low_rank_are_not_missed(rank):
    grid = random_array((16, 16, 32, 32))
    found = Blocks(NUMPY, grid).cross(rank)
    rng = np.random.default_rng(5)
    rows, cols = rng.integers(0, 32, (2, 16, 16, 4))
    g, h = np.ogrid[:16, :16]
    values = grid[g[..., None, None], h[..., None, None], rows[..., None], cols[:, :, None]]
    assert not has_unseen_residual(found, *sampled_residual(found, values, rows, cols)).any()


def test_pivots_of_a_triangle_of_scales(xp):
    vectors = np.diag([1e-3, 1, 1e-9, 1e-6, 10])[None]
    priority = xp.asarray(np.zeros((1, 5)))
    assert xp.to_numpy(pivots(xp.asarray(vectors), 5, priority)).tolist() == [[4, 1, 0, 3, 2]]
    left = pivots(xp.asarray(vectors), 3, priority, without=xp.asarray(np.array([[4, 0]])))
    assert xp.to_numpy(left).tolist() == [[1, 3, 2]]
    assert xp.to_numpy(pivots(xp.asarray(vectors), 0, priority)).shape == (1, 0)


def test_pivots_take_vectors_that_differ_before_long_ones():
    vectors = np.array([[3.0, 3.0, 2.9, 0.0], [0.0, 0.1, 0.0, 1.0]])
    assert set(pivots(vectors, 2, np.zeros(4)).tolist()) in ({0, 3}, {1, 3})


def test_priority_decides_where_nothing_is_left(xp):
    vectors = np.zeros((2, 3, 6))
    vectors[1, 0] = [0, 5, 0, 0, 0, 0]
    priority = np.array([[0.1, 0.5, 0.3, 0.9, 0.2, 0.7], [0.9, 0.1, 0.3, 0.2, 0.8, 0.4]])
    found = xp.to_numpy(pivots(xp.asarray(vectors), 3, xp.asarray(priority)))
    assert found.tolist() == [[3, 5, 1], [1, 0, 4]]
