from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dbutterfly.kernels.compilation import compiled_kernels
from dbutterfly.kernels.low_rank.skeletons.interpolative import interpolate, interpolation_residual, remainders
from tests.support.comparisons import random_matrix

DTYPES = ["float32", "float64", "complex64", "complex128"]

needs_numba = pytest.mark.skipif(compiled_kernels("low_rank.skeletons") is None, reason="needs Numba")

WAYS = [(dtype, False) for dtype in DTYPES]
WAYS += [pytest.param(dtype, True, marks=needs_numba) for dtype in ("float32", "complex128")]  # compiling takes seconds

DOUBLE = [False, pytest.param(True, marks=needs_numba)]
"""Plain and compiled, in complex128."""


def stack(count, height, width, rank, dtype="float64", seed=0):
    left = random_matrix((count * height, rank), dtype, seed).reshape(count, height, rank)
    return left @ random_matrix((count * rank, width), dtype, seed + 1).reshape(count, rank, width)


def nothing(count):
    return np.zeros(count)


def missed(matrices, found):
    return matrices - np.take_along_axis(matrices, found.pivots[:, None, :], axis=2) @ found.coefficients


@pytest.mark.parametrize(("dtype", "compiled"), WAYS)
def test_matrices_of_low_rank_are_written_by_their_skeletons(dtype, compiled):
    matrices = stack(5, 30, 20, 4, dtype)
    matrices[2] = 0
    found = interpolate(matrices, 9, nothing(5), compiled=compiled)
    assert found.rank.tolist() == [4, 4, 0, 4, 4]
    assert found.coefficients.dtype == np.dtype(dtype)
    assert found.coefficients.shape == (5, 9, 20)
    eps = np.finfo(dtype).eps
    assert np.linalg.norm(missed(matrices, found)) <= 100 * eps * np.linalg.norm(matrices)
    for pivots, coefficients, rank in zip(found.pivots, found.coefficients, found.rank, strict=True):
        np.testing.assert_array_equal(coefficients[:rank, pivots[:rank]], np.eye(rank))
        assert not coefficients[rank:].any()
    np.testing.assert_allclose(found.entry, np.mean(np.abs(matrices).astype(float) ** 2, axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("compiled", DOUBLE)
def test_elimination_ends_at_the_floor_of_each_matrix(compiled):
    x, y = np.linspace(0, 1, 40), np.linspace(0, 1, 25)
    matrices = np.stack([np.exp(3j * x[:, None] * y) / (1.2 + x[:, None] + y)] * 4)
    floors = np.array([1e-4, 1e-10, 1e-16, 0.0])
    found = interpolate(matrices, 20, floors, compiled=compiled)
    left = np.mean(np.abs(missed(matrices, found)) ** 2, axis=(1, 2))
    np.testing.assert_allclose(found.residual[:3], left[:3], rtol=1e-2 if compiled else 1e-6)
    assert (left[:3] <= floors[:3]).all()
    assert sorted(set(found.rank)) == found.rank.tolist()
    best = np.linalg.svd(matrices[0], compute_uv=False)
    assert all(best[rank - 1] ** 2 / 1000 > floor for rank, floor in zip(found.rank[:3], floors[:3], strict=True))


@pytest.mark.parametrize("compiled", DOUBLE)
def test_skeletons_are_no_larger_than_asked_for(compiled):
    matrices = random_matrix((3 * 12, 10), "complex128").reshape(3, 12, 10)
    found = interpolate(matrices, 4, nothing(3), compiled=compiled)
    assert found.rank.tolist() == [4, 4, 4]
    np.testing.assert_allclose(found.residual, np.mean(np.abs(missed(matrices, found)) ** 2, axis=(1, 2)))
    assert interpolate(matrices[:, :2], 4, nothing(3), compiled=compiled).rank.tolist() == [2, 2, 2]


@pytest.mark.parametrize("compiled", DOUBLE)
def test_the_scale_does_not_matter(compiled):
    matrices = stack(2, 16, 12, 3, "complex128")
    found = interpolate(matrices, 6, nothing(2), compiled=compiled)
    for scale in (1e-300, 1e150):
        scaled = interpolate(matrices * scale, 6, nothing(2), compiled=compiled)
        np.testing.assert_array_equal(scaled.pivots, found.pivots)
        np.testing.assert_allclose(scaled.coefficients, found.coefficients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("dtype", "compiled"), WAYS)
def test_a_matrix_has_the_same_bits_in_any_stack(dtype, compiled):
    matrices = np.concatenate([stack(4, 26, 18, rank, dtype, rank) for rank in (3, 9, 15)])
    floors = np.full(12, 1e-6)
    together = interpolate(matrices, 12, floors, compiled=compiled)
    with ThreadPoolExecutor(4) as threads:
        parts = [matrices[number : number + 1] for number in range(12)]
        each = list(threads.map(lambda part: interpolate(part, 12, floors[:1], compiled=compiled), parts))
    for number, alone in enumerate(each):
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_array_equal(whole[number], part[0])


def test_other_rows_tell_what_is_missed():
    matrices = stack(3, 30, 12, 4)
    found = interpolate(matrices[:, :20], 8, nothing(3))
    other = matrices[:, 20:].copy()
    assert (interpolation_residual(found, other) < 1e-20).all()
    other[1, 0] += 1
    expected = np.mean(np.abs(missed(other, found)) ** 2, axis=(1, 2))
    np.testing.assert_allclose(interpolation_residual(found, other)[1], expected[1])
    assert expected[1] > 1e-4


def test_remainders_fall_from_the_mean_square_to_the_floor():
    matrices = np.concatenate([stack(2, 26, 18, rank, "complex128", rank) for rank in (3, 9)])
    left, whole = remainders(matrices, 12, np.full(4, 1e-8)), interpolate(matrices, 12, nothing(4))
    assert left.shape == (4, 13)
    np.testing.assert_allclose(left[:, 0], whole.entry)
    assert (np.diff(left, axis=1) <= 0).all()
    assert (left[:2, 3:] < 1e-20).all()
    assert (left[2:, 8] > 1e-3).all()
    for size in (1, 5):
        np.testing.assert_allclose(left[2:, size], interpolate(matrices[2:], size, nothing(2)).residual, rtol=1e-9)


@needs_numba
@pytest.mark.parametrize("decay", [0.5, 1e-3, 1e-7])
def test_compiled_skeletons_leave_what_plain_ones_leave(decay):
    rng = np.random.default_rng(5)
    values = decay ** np.arange(20)
    matrices = np.stack([np.linalg.qr(rng.standard_normal((30, 20)))[0] * values for _ in range(6)])
    matrices = (matrices @ np.linalg.qr(rng.standard_normal((20, 20)))[0]).astype("complex128")
    floors = np.full(6, 1e-12 * values[4] ** 2)
    plain, compiled = (interpolate(matrices, 12, floors, compiled=compiled) for compiled in (False, True))
    np.testing.assert_array_equal(compiled.rank, plain.rank)
    np.testing.assert_array_equal(compiled.pivots, plain.pivots)
    np.testing.assert_allclose(compiled.entry, plain.entry)
    left = [np.linalg.norm(missed(matrices, found), axis=(1, 2)) for found in (plain, compiled)]
    rounding = 100 * np.finfo(float).eps * np.linalg.norm(matrices, axis=(1, 2))
    np.testing.assert_allclose(left[1], left[0], rtol=1e-2, atol=rounding.max())
