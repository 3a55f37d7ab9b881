import numpy as np
import pytest

from dbutterfly import matrices
from dbutterfly.matrices.points import coordinates
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.digits import digit_reversal
from tests.support.matrix_references import DTYPES, numerical_rank


def kernel(x, y, k):
    distance = np.sqrt(((x[:, None] - y) ** 2).sum(-1))
    return np.exp(1j * k * distance) / np.sqrt(distance)


@pytest.mark.parametrize("n", [1, 10, 64])
def test_helmholtz_on_segments(n):
    t = (np.arange(n) + 0.5) / n
    x, y = np.stack([t, np.zeros(n)], 1), np.stack([t, np.ones(n)], 1)
    np.testing.assert_allclose(matrices.helmholtz(n), kernel(x, y, 2 * np.pi * n / 10), rtol=0, atol=1e-13)
    assert repr(matrices.helmholtz(10).f) == "helmholtz(10, segments, grid, k=6.28319)"


@pytest.mark.parametrize("n", [1, 10, 64])
def test_helmholtz_on_circles(n):
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n
    x = np.stack([np.cos(angle), np.sin(angle)], 1)
    np.testing.assert_allclose(matrices.helmholtz(n, geometry="circles"), kernel(x, 2 * x, n / 20), rtol=0, atol=1e-13)


def test_helmholtz_on_squares():
    found = np.asarray(matrices.helmholtz(64, geometry="squares"))
    x = np.stack(np.meshgrid(*[(np.arange(8) + 0.5) / 8] * 2), -1).reshape(-1, 2)
    wanted = kernel(x, x + np.array([2, 0]), 2 * np.pi * 8 / 10)
    np.testing.assert_allclose(np.sort(np.abs(found), axis=None), np.sort(np.abs(wanted), axis=None), rtol=1e-12)
    sets = matrices.helmholtz(64, geometry="squares").f.sets
    x, y = coordinates(sets)
    np.testing.assert_allclose(found, kernel(x.T, y.T, 2 * np.pi * 8 / 10), rtol=0, atol=1e-13)


@pytest.mark.parametrize("geometry", ["segments", "circles", "squares"])
def test_helmholtz_at_random_points_and_a_wavenumber(geometry):
    matrix = matrices.helmholtz(50, geometry=geometry, points="random", wavenumber=7, seed=0)
    x, y = coordinates(matrix.f.sets)
    np.testing.assert_allclose(matrix, kernel(x.T, y.T, 7), rtol=0, atol=1e-13)
    assert matrix.norm == pytest.approx(np.linalg.norm(np.asarray(matrix)), rel=1e-9)


def test_a_grid_needs_no_seed():
    np.testing.assert_array_equal(matrices.helmholtz(8), matrices.helmholtz(8))


@pytest.mark.parametrize("points", ["separated", "interlaced"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 12, 31])
def test_cauchy(n, points, dtype):
    matrix = matrices.cauchy(n, points=points, dtype=dtype)
    t = np.arange(n) / n
    x, y = (t, t + 2) if points == "separated" else (t + 0.5 / n, t)
    np.testing.assert_allclose(
        matrix, (1 / np.subtract.outer(x, y)).astype(dtype), rtol=1e-6 if "64" in dtype else 1e-5
    )
    assert np.asarray(matrix).dtype == dtype
    assert matrix.norm == pytest.approx(np.linalg.norm(np.asarray(matrices.cauchy(n, points=points))), rel=1e-12)
    assert repr(matrix.f) == f"cauchy({n}, {points})"


def test_interlaced_points_make_no_butterfly():
    matrix, chain = matrices.cauchy(256, points="interlaced"), Chain.square_dyadic(256)
    assert (matrix.chain, matrix.rank, matrix.tol) == (None, None, 0)
    assert matrix.orderings.describe() == "rows standard, columns standard"
    standard = matrix[digit_reversal(chain.row_radices), :]
    assert numerical_rank(standard, chain, 1e-3) == 16
    assert matrices.shuffled(matrices.noisy(matrix, 0.1, seed=0), seed=0).chain is None
