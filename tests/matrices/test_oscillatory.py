import numpy as np
import pytest

from dbutterfly import matrices
from dbutterfly.matrices import oscillatory

TURN = 2 * np.arccos(np.longdouble(-1))


def exponential(turns):
    return np.exp(1j * TURN * (turns - np.round(turns)))


@pytest.mark.parametrize("n", [1, 2, 31, 64, 1000])
def test_nudft(n):
    matrix = matrices.nudft(n, seed=3)
    points = oscillatory.sorted_points(n, matrix.f.entropy)
    assert points.min() >= 0
    assert points.max() < 1
    np.testing.assert_array_equal(points, np.sort(points))
    rows = np.arange(0, n, max(n // 40, 1))
    turns = -np.multiply.outer(points[rows].astype(np.longdouble), np.arange(n, dtype=np.longdouble))
    np.testing.assert_allclose(matrix[rows, :], exponential(turns), rtol=0, atol=4e-16)
    assert repr(matrix.f) == f"nudft({n})"


def test_nudft_points_are_random_and_made_once():
    entropy = matrices.nudft(4096, seed=3).f.entropy
    points = oscillatory.sorted_points(4096, entropy)
    assert points is oscillatory.sorted_points(4096, entropy)
    assert not points.flags.writeable
    assert np.abs(points - (np.arange(4096) + 0.5) / 4096).max() < 2 / 64  # Kolmogorov and Smirnov


def test_nudft_phases_do_not_lose_digits():
    n = 1 << 20
    matrix = matrices.nudft(n, seed=3)
    points, cols = oscillatory.sorted_points(n, matrix.f.entropy)[-3:], [n - 1, n - 4, 12345]
    units = [[int(x * 2**53) * k % 2**53 for k in cols] for x in points]  # the points are multiples of 2^-53
    wanted = exponential(-np.array(units, np.longdouble) / 2**53)
    np.testing.assert_allclose(matrix[n - 3 :, cols], wanted, rtol=0, atol=4e-16)


@pytest.mark.parametrize("n", [1, 2, 31, 64, 1000, 4096])
def test_fourier_integral(n):
    rows = np.arange(0, n, max(n // 40, 1))
    x, xi = rows[:, None] / np.longdouble(n), np.arange(n, dtype=np.longdouble) - n // 2
    phase = x * xi + (2 + np.sin(TURN * x)) / 8 * abs(xi)
    np.testing.assert_allclose(
        matrices.fourier_integral(n)[rows, :], exponential(phase), rtol=0, atol=5e-16 * max(n, 4)
    )
    assert repr(matrices.fourier_integral(n).f) == f"fourier_integral({n})"
