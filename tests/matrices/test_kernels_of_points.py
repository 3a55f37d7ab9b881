"""Kernels of one set of points with itself, against formulas written out."""

import functools
import math
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.special

from dbutterfly import matrices
from dbutterfly.errors import InputError
from dbutterfly.matrices.one_set import OneSet, Place, cell_counts, coordinates_of
from dbutterfly.matrices.points import Spread
from tests.support.matrix_references import scattered_blocks

KERNELS = {
    **{
        f"{kernel} in {dimension}": functools.partial(
            matrices.covariance, kernel=kernel, dimension=dimension, nugget=0.01, seed=0
        )
        for kernel, dimension in (("exponential", 1), ("matern32", 2), ("matern52", 3), ("gaussian", 2))
    },
    **{
        f"{name} {geometry} {points}": functools.partial(
            getattr(matrices, name), geometry=geometry, points=points, seed=0
        )
        for name in ("laplace", "helmholtz")
        for geometry, points in (("circle", "grid"), ("sphere", "grid"), ("square", "random"), ("cube", "random"))
    },
    "heat": matrices.graph_kernel,
    "resolvent": functools.partial(matrices.graph_kernel, kernel="resolvent", time=3.0),
}


@pytest.fixture(params=KERNELS)
def make(request):
    """Make a kernel of some points."""
    return KERNELS[request.param]


@pytest.mark.parametrize("n", [1, 2, 30, 64])
def test_kernels_of_any_size(make, n):
    matrix = make(n)
    dense = np.asarray(matrix)
    assert (matrix.shape, matrix.chain, dense.dtype) == ((n, n), None, matrix.dtype)
    assert np.isfinite(dense).all()
    np.testing.assert_allclose(dense, dense.T, rtol=1e-12)
    assert matrix.norm == pytest.approx(np.linalg.norm(dense), rel=1e-12)
    assert {len(side) for side in matrix.points.sides.values()} == {n}
    for rows, cols in scattered_blocks(matrix.shape):
        np.testing.assert_allclose(matrix.block(rows, cols), dense[rows][:, cols], rtol=1e-14)


def test_kernels_travel_without_their_points(make):
    matrix = make(512)
    stored = pickle.dumps(matrix)
    assert len(stored) < 3000
    copy = pickle.loads(stored)
    np.testing.assert_array_equal(copy[::100, 5:9], matrix[::100, 5:9])
    np.testing.assert_array_equal(copy.points.rows, matrix.points.rows)
    single = make(20, dtype="complex64" if matrix.dtype.kind == "c" else "float32")
    np.testing.assert_array_equal(single, np.asarray(make(20)).astype(single.dtype))


def test_noise_and_permutations_keep_the_points(make):
    matrix = make(30)
    assert matrices.noisy(matrix, 0.1, seed=0).points.period == matrix.points.period
    shuffled = matrices.shuffled(matrix, seed=1)
    rows, cols = shuffled.orderings.rows, shuffled.orderings.cols
    np.testing.assert_array_equal(np.asarray(shuffled)[rows][:, cols], np.asarray(matrix))
    np.testing.assert_array_equal(shuffled.points.rows[rows], matrix.points.rows)
    np.testing.assert_array_equal(shuffled.points.cols[cols], matrix.points.cols)
    assert shuffled.points.period == matrix.points.period


@pytest.mark.parametrize(("kernel", "order"), [("exponential", 0.5), ("matern32", 1.5), ("matern52", 2.5)])
def test_covariances_are_those_of_materns_family(kernel, order):
    matrix = matrices.covariance(40, kernel=kernel, dimension=3, length=0.3, nugget=0.5, seed=0)
    x = matrix.points.rows
    s = math.sqrt(2 * order) * np.linalg.norm(x[:, None] - x, axis=-1) / 0.3
    np.fill_diagonal(s, 1.0)
    wanted = 2 ** (1 - order) / scipy.special.gamma(order) * s**order * scipy.special.kv(order, s)
    np.fill_diagonal(wanted, 1.5)
    np.testing.assert_allclose(matrix, wanted, rtol=1e-12)
    assert np.linalg.eigvalsh(np.asarray(matrix)).min() >= 0.5


def test_gaussian_covariance_and_its_text():
    matrix = matrices.covariance(16, kernel="gaussian", dimension=1, points="grid", length=0.5)
    x = (np.arange(16) + 0.5) / 16
    np.testing.assert_allclose(matrix, np.exp(-((x[:, None] - x) ** 2) / 0.5))
    assert repr(matrix.f) == "covariance(16, gaussian, interval, length=0.5)"


@pytest.mark.parametrize(("geometry", "dimension"), [("circle", 1), ("square", 2), ("sphere", 2), ("cube", 3)])
def test_singular_kernels_have_the_mean_of_a_ball_on_the_diagonal(geometry, dimension):
    """The mean over a ball of the dimension of the set, by sums over shells of equal thickness."""
    matrix = matrices.laplace(64, geometry=geometry)
    x = matrix.points.rows
    distances = np.linalg.norm(x[:, None] - x, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1) if geometry in ("circle", "sphere") else 1, 1)
    apart = ~np.eye(64, dtype=bool)
    in_plane = x.shape[1] == 2
    wanted = -np.log(distances[apart]) if in_plane else 1 / distances[apart]
    np.testing.assert_allclose(np.asarray(matrix)[apart], wanted, rtol=1e-12)
    whole = {"circle": 2 * math.pi, "sphere": 4 * math.pi}.get(geometry, 1.0)
    ball = {1: 2.0, 2: math.pi, 3: 4 / 3 * math.pi}[dimension]
    radius = (whole / 64 / ball) ** (1 / dimension)
    shells = radius * (np.arange(100_000) + 0.5) / 100_000
    weights = shells ** (dimension - 1)
    mean = np.average(-np.log(shells) if in_plane else 1 / shells, weights=weights)
    np.testing.assert_allclose(np.diag(np.asarray(matrix)), mean, rtol=1e-4)
    wave = matrices.helmholtz(64, geometry=geometry, wavenumber=0.01)
    power = 0.5 if in_plane else 1.0
    values = np.exp(0.01j * distances[apart]) / distances[apart] ** power
    np.testing.assert_allclose(np.asarray(wave)[apart], values, rtol=1e-12)
    mean = np.average(np.exp(0.01j * shells) / shells**power, weights=weights)
    np.testing.assert_allclose(np.diag(np.asarray(wave)), mean, rtol=3e-3)
    ten_per_wave = 2 * math.pi / 10 / (whole / 64) ** (1 / dimension)
    assert repr(matrices.helmholtz(64, geometry=geometry).f) == f"helmholtz(64, {geometry}, grid, k={ten_per_wave:.6g})"


@pytest.mark.parametrize("kernel", ["heat", "resolvent"])
@pytest.mark.parametrize("n", [30, 7, 4])
def test_graph_kernels_are_functions_of_the_laplacian(kernel, n):
    down, across = cell_counts(n, 2)
    adjacency = np.zeros((n, n))
    for node in range(n):
        row, col = divmod(node, across)
        for neighbour in ((row + 1, col), (row - 1, col), (row, col + 1), (row, col - 1)):
            adjacency[node, neighbour[0] % down * across + neighbour[1] % across] += 1
    laplacian = np.diag(adjacency.sum(1)) - adjacency
    wanted = scipy.linalg.expm(-2 * laplacian) if kernel == "heat" else np.linalg.inv(np.eye(n) + 2 * laplacian)
    matrix = matrices.graph_kernel(n, kernel=kernel, time=2)
    np.testing.assert_allclose(matrix, wanted, atol=1e-14)
    assert matrix.norm == pytest.approx(np.linalg.norm(wanted))
    assert matrix.points.period == (down, across)


def test_two_sets_have_their_points_too():
    for matrix, kernel in (
        (matrices.cauchy(10, points="interlaced"), lambda x, y: 1 / (x - y)[..., 0]),
        (matrices.cauchy(10), lambda x, y: 1 / (x - y)[..., 0]),
        (
            matrices.helmholtz(10, geometry="circles", wavenumber=0),
            lambda x, y: 1 / np.sqrt(np.linalg.norm(x - y, axis=-1)),
        ),
    ):
        points = matrix.points
        np.testing.assert_allclose(matrix, kernel(points.rows[:, None], points.cols[None]), rtol=1e-12)
    assert matrices.dft(4).points is None


def test_random_points_are_uniform():
    for place in Place:
        x = coordinates_of(OneSet(4000, place, Spread.RANDOM, 1))
        middle = 0.0 if place in (Place.CIRCLE, Place.SPHERE) else 0.5
        np.testing.assert_allclose(x.mean(axis=1), middle, atol=0.04)
        assert len(x) == place.coordinates


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matrices.covariance(0), "n=0 is not positive"),
        (lambda: matrices.covariance(4, kernel="cubic"), "kernel='cubic' is unknown; use one of exponential"),
        (lambda: matrices.covariance(4, dimension=4), "dimension=4"),
        (lambda: matrices.covariance(4, length=0), "length=0 is no length"),
        (lambda: matrices.covariance(4, nugget=-1), "nugget=-1 is no variance"),
        (lambda: matrices.covariance(4, points="few"), "points='few' is unknown"),
        (lambda: matrices.laplace(4, geometry="interval"), "geometry='interval' is unknown; use one of circle, sphere"),
        (lambda: matrices.helmholtz(4, geometry="circle", dtype=float), "a wave is complex"),
        (lambda: matrices.graph_kernel(4, kernel="cosine"), "kernel='cosine' is unknown; use one of heat, resolvent"),
        (lambda: matrices.graph_kernel(4, time=np.nan), "time=nan is no time"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
