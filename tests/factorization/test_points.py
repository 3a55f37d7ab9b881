"""Matrices whose rows and columns belong to points: no index array is needed, and each chain has its own orders."""

import numpy as np
import pytest
import zarr

import dbutterfly as dbf
from dbutterfly.cli import main
from dbutterfly.errors import InputError
from dbutterfly.matrices.known import draw_entropy
from dbutterfly.matrices.points import Geometry, PointSets, Spread, coordinates
from tests.support.comparisons import assert_same, dense_error
from tests.support.odd_sizes import BY_DISTANCE


def waves(x, y, wavenumber):
    """Helmholtz kernel between points."""
    between = np.linalg.norm(x[:, None] - y, axis=-1)
    return np.exp(1j * wavenumber * between) / np.sqrt(between)


@pytest.fixture(scope="module")
def squares():
    """Known matrix of random points in two squares, and the points and entries in a shuffled order."""
    known = dbf.matrices.helmholtz(1024, geometry="squares", points="random", seed=0)
    sides = coordinates(PointSets(1024, Geometry.SQUARES, Spread.RANDOM, draw_entropy(0)))
    rng = np.random.default_rng(1)
    rows, cols = rng.permutation(1024), rng.permutation(1024)
    points = sides[0].T[rows], sides[1].T[cols]
    return known, points, np.asarray(known)[np.ix_(rows, cols)]


@pytest.mark.slow
def test_shuffled_points_do_as_well_as_the_order_of_a_known_matrix(squares):
    known, points, matrix = squares
    found = dbf.factorize(matrix, rank=5, points=points)
    own = dbf.factorize(np.asarray(known), rank=5, orderings=known.orderings)
    assert dense_error(found, matrix) <= found.certificate.error_bound <= own.certificate.error_bound <= 1e-4
    assert found.operator @ np.ones(1024) == pytest.approx(matrix @ np.ones(1024), rel=1e-2)


def test_points_of_a_line_are_sorted_whatever_their_number():
    rng = np.random.default_rng(0)
    x, y = (np.sort(rng.random(1009)) for _ in "xy")
    sides = [np.stack([x, np.zeros(1009)], 1), np.stack([y, np.ones(1009)], 1)]
    matrix = waves(*sides, 200.0)
    sorted_points = dbf.factorize(matrix, rank=4, orderings=BY_DISTANCE)
    rows, cols = rng.permutation(1009), rng.permutation(1009)
    found = dbf.factorize(matrix[np.ix_(rows, cols)], rank=4, points=(x[rows], y[cols]))
    assert found.chain.shape == (1024, 1024)
    assert found.certificate.error_bound == pytest.approx(sorted_points.certificate.error_bound, rel=1e-6)
    in_order = dbf.factorize(matrix, rank=4, points=(x, y))
    assert in_order.certificate.error_bound == sorted_points.certificate.error_bound
    assert dbf.plan(matrix, points=(x, y)).orderings.sides == {"rows": "bitreversal", "cols": None}


def test_points_on_a_torus_are_near_where_it_wraps():
    """Both angles of a patch go across the place where they begin, which tears it apart if nothing says that."""
    u, v = np.random.default_rng(0).uniform(-0.1, 0.3, (2, 256, 2))
    angles = np.mod(u, 1), np.mod(v + np.array([0.5, 0]), 1)
    matrix = waves(*(np.hstack([np.cos(2 * np.pi * a), np.sin(2 * np.pi * a)]) for a in angles), 5.0)
    torn = dbf.factorize(matrix, rank=4, points=angles)
    found = dbf.factorize(matrix, rank=4, points=dbf.Points(*angles, period=1))
    assert found.certificate.error_bound < 0.5 * torn.certificate.error_bound
    other = dbf.Orderings.from_points(*angles, period=[1.0, 1.0], chain=found.chain)
    assert np.array_equal(found.orderings.rows, other.rows)


@pytest.mark.slow
def test_points_of_space():
    x, y = np.random.default_rng(0).random((2, 512, 3))
    y[:, 0] += 2
    matrix = waves(x, y, 40.0)
    found = dbf.factorize(matrix, tol=1e-2, points=(x, y), form="butterfly")
    assert dense_error(found, matrix) <= 1e-2
    assert found.compression > 4
    assert found.certificate.error_bound < 0.1 * dbf.factorize(matrix, found.chain).certificate.error_bound


def test_points_of_one_side_go_with_an_ordering_of_the_other():
    x, y = np.sort(np.random.default_rng(0).random((2, 64)))
    shuffle = np.random.default_rng(1).permutation(64)
    matrix = np.exp(30j * np.hypot(1, x[:, None] - y))
    expected = dbf.factorize(matrix, rank=2, orderings=BY_DISTANCE).certificate.error_bound
    for points, orderings, given in (
        ((x[shuffle], None), None, matrix[shuffle]),
        ((None, y[shuffle]), ("bitreversal", None), matrix[:, shuffle]),
    ):
        found = dbf.factorize(given, rank=2, points=points, orderings=orderings)
        assert found.certificate.error_bound == pytest.approx(expected)


def test_runs_with_points_are_recognised_and_of_other_points_refused(squares, tmp_path):
    _, (x, y), matrix = squares
    x, y, matrix = x[:120], y[:120], matrix[:120, :120]
    arguments = {"tol": 1e-2, "store": tmp_path / "run.zarr", "form": "butterfly"}
    first = dbf.factorize(matrix, points=(x, y), **arguments)
    again = dbf.factorize(matrix, points=dbf.Points(x.tolist(), y), **arguments)
    assert_same(first, again)
    assert again.record["matrix_check"]
    with pytest.raises(dbf.errors.StoreMismatchError):
        dbf.factorize(matrix, points=(y, y), **arguments)


@pytest.mark.slow
def test_commands_take_places_of_points(squares, tmp_path, monkeypatch, capsys):
    _, (x, y), matrix = squares
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", matrix[:120, :125])
    np.save("x.npy", x[:120])
    zarr.create_array("y.zarr", data=y[:125])
    points = ["--row-points", "x.npy", "--col-points", "y.zarr"]
    assert main(["plan", "z.npy", *points]) == 0
    assert "columns permuted" in capsys.readouterr().out
    assert main(["factorize", "z.npy", "run.zarr", "--tol", "0.01", "--form", "butterfly", "--quiet", *points]) == 0
    found = dbf.factorize(matrix[:120, :125], tol=0.01, points=(x[:120], y[:125]), form="butterfly")
    assert dbf.open("run.zarr").certificate.error_bound == pytest.approx(found.certificate.error_bound)
    capsys.readouterr()
    for more, message in (
        (["--row-points", "y.zarr"], "points: rows has 125 points and the matrix 120 rows"),
        ([*points, "--orderings", "bitreversal,none"], "both order the rows"),
        (["--row-points", "x.npy", "--orderings", "none,identify"], "exclude each other"),
        (["--row-points", "nowhere.npy"], "'nowhere.npy' does not exist"),
    ):
        assert main(["factorize", "z.npy", "other.zarr", *more]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_commands_take_the_period_of_coordinates(tmp_path, monkeypatch, capsys):
    u, v = np.random.default_rng(0).uniform(-0.1, 0.3, (2, 64, 2))
    angles = np.mod(u, 1), np.mod(v + np.array([0.5, 0]), 1)
    matrix = waves(*(np.hstack([np.cos(2 * np.pi * a), np.sin(2 * np.pi * a)]) for a in angles), 5.0)
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", matrix)
    for name, side in zip("xy", angles, strict=True):
        np.save(name, side)
    points = ["--row-points", "x.npy", "--col-points", "y.npy"]
    for number, (given, period) in enumerate({"1": 1, "1,1": 1, "none,1": (None, 1.0), "none": None}.items()):
        store = f"{number}.zarr"
        assert main(["factorize", "z.npy", store, "--rank", "4", "--quiet", *points, "--period", given]) == 0
        expected = dbf.factorize(matrix, rank=4, points=dbf.Points(*angles, period=period))
        assert_same(dbf.open(store), expected)
    torn, wrapped = dbf.open("3.zarr"), dbf.open("0.zarr")
    assert wrapped.certificate.error_bound < torn.certificate.error_bound
    assert main(["plan", "z.npy", *points, "--period", "1"]) == 0
    capsys.readouterr()
    for more, message in (
        ([*points, "--period", "360,360,360"], "period=[360.0, 360.0, 360.0] has 3 entries"),
        ([*points, "--period", "round"], "--period 'round' is no length; give one for all coordinates, such as 360"),
        ([*points, "--period", "-1"], "period=-1.0 is none; give the positive length"),
        (["--period", "360"], "--period '360' is that of points; give their coordinates with --row-points"),
    ):
        assert main(["factorize", "z.npy", "other.zarr", *more]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": (np.zeros(9), None)}, "points: rows has 9 points and the matrix 8 rows; give one for each"),
        ({"points": (None, np.zeros((7, 2))), "tol": 0.1}, "points: cols has 7 points and the matrix 8 cols"),
        ({"points": np.zeros((8, 2))}, r"points=.* is neither Points nor a pair \(rows, cols\)"),
        ({"points": (np.zeros(8), np.zeros(8)), "orderings": (None, "bitreversal")}, "both order the cols"),
        ({"points": (np.zeros(8), None), "orderings": "identify"}, "both order the rows"),
        ({"points": (np.zeros(8), None), "orderings": (None, "identify")}, "exclude each other; give .*identify"),
        ({"points": (np.full(8, np.nan), None)}, "points: rows has nan in point 0"),
    ],
)
def test_points_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        dbf.factorize(np.ones((8, 8)), **arguments)
