import numpy as np
import pytest

from dbutterfly.matrices.points import Geometry, PointSets, Spread, coordinates, distances, pair_sum

SETS = [PointSets(n, geometry, spread, 5) for geometry in Geometry for spread in Spread for n in (1, 7, 24, 256)]


@pytest.mark.parametrize("sets", SETS, ids=repr)
def test_points_lie_in_their_sets(sets):
    x, y = coordinates(sets)
    assert x.shape == y.shape == (2, sets.n)
    assert not x.flags.writeable
    assert not y.flags.writeable
    assert len(np.unique(x, axis=1).T) == len(np.unique(y, axis=1).T) == sets.n
    if sets.geometry is Geometry.CIRCLES:
        np.testing.assert_allclose(np.hypot(*x), 1)
        np.testing.assert_allclose(np.hypot(*y), 2)
    else:
        height = 1 if sets.geometry is Geometry.SQUARES else 0
        shift = [2, 0] if sets.geometry is Geometry.SQUARES else [0, 1]
        for points in (x, y - np.array(shift)[:, None]):
            assert points.min() >= 0
            assert points[0].max() <= 1
            assert points[1].max() <= height
    if sets.spread is Spread.RANDOM:
        assert not np.array_equal(sets.parameters(0), sets.parameters(1))


@pytest.mark.parametrize("sets", SETS, ids=repr)
def test_distances_and_their_sums(sets):
    x, y = coordinates(sets)
    wanted = np.linalg.norm(x.T[:, None] - y.T, axis=-1)
    everything = np.arange(sets.n)
    np.testing.assert_allclose(distances(sets, everything, everything), wanted)
    np.testing.assert_array_equal(
        distances(sets, everything[-1:], everything[::2]), distances(sets, everything, everything)[-1:, ::2]
    )
    assert pair_sum(sets, np.reciprocal) == pytest.approx((1 / wanted).sum(), rel=1e-9)


@pytest.mark.parametrize("geometry", [Geometry.SEGMENTS, Geometry.CIRCLES])
@pytest.mark.parametrize("spread", Spread)
def test_points_of_curves_are_sorted(geometry, spread):
    parameters = PointSets(100, geometry, spread, 5).parameters(0)[:, 0]
    np.testing.assert_array_equal(parameters, np.sort(parameters))


@pytest.mark.parametrize("spread", Spread)
def test_points_of_squares_are_bisected(spread):
    parameters = PointSets(256, Geometry.SQUARES, spread, 5).parameters(0)
    for level in range(1, 9):
        groups = parameters.reshape(1 << level, -1, 2)
        pairs = groups.reshape(-1, 2, *groups.shape[1:])[..., (level - 1) % 2]
        assert (pairs[:, 0].max(-1) <= pairs[:, 1].min(-1)).all()
    if spread is Spread.GRID:
        corners = parameters.reshape(16, 16, 2)
        np.testing.assert_allclose(np.ptp(corners, axis=1), 3 / 16)


def test_a_grid_of_no_square_number_is_as_square_as_its_divisors():
    parameters = PointSets(24, Geometry.SQUARES, Spread.GRID, 0).parameters(0)
    assert [len(np.unique(side)) for side in parameters.T] == [6, 4]
