import math

import numpy as np
import pytest

from dbutterfly.structure.block_tree import Block, cluster_trees, divide, is_admissible, nearest_columns, nearest_rows
from dbutterfly.structure.points import Points

WHOLE = Block(0, 0, 0, 0)


def leaves(rows, cols, eta=math.inf, stop=True):
    """Blocks that are not divided, as spans, and whether each is far."""
    found, stack = [], [WHOLE]
    while stack:
        block = stack.pop()
        parts = list(divide(rows, cols, block))
        is_far = stop and is_admissible(rows, cols, block, eta)
        if is_far or not parts:
            found.append((block, is_far))
        else:
            stack += parts
    return found


@pytest.mark.parametrize("shape", [(100, 100), (37, 500), (500, 37), (1, 90), (3, 3)])
@pytest.mark.parametrize("stop", [True, False])
def test_blocks_cover_the_matrix_once(shape, stop):
    rng = np.random.default_rng(0)
    rows, cols = cluster_trees(shape, 16, Points(rng.random((shape[0], 2)), rng.random((shape[1], 2))))
    seen = np.zeros(shape, int)
    for block, is_far in leaves(rows, cols, 1.0, stop):
        (r0, r1), (c0, c1) = rows.span(block.row_level, block.row), cols.span(block.col_level, block.col)
        seen[r0:r1, c0:c1] += 1
        assert is_far or max(r1 - r0, c1 - c0) <= 16
        assert rows.count(block.row_level, block.row) == r1 - r0 > 0
    assert (seen == 1).all()


def test_clusters_are_parts_of_space():
    points = np.random.default_rng(1).random((200, 2))
    rows, _ = cluster_trees((200, 200), 16, Points(points, points))
    assert sorted(rows.order) == list(range(200))
    for level in range(rows.levels + 1):
        for number in range(1 << level):
            first, last = rows.span(level, number)
            inside = points[rows.order[first:last]]
            centre, extent = rows.centres[level][number], rows.extents[level][number]
            np.testing.assert_allclose(centre - extent, inside.min(axis=0), atol=1e-15)
            np.testing.assert_allclose(centre + extent, inside.max(axis=0), atol=1e-15)


def test_far_clusters_are_admissible():
    points = np.arange(64.0)
    rows, cols = cluster_trees((64, 64), 8, Points(points, points))
    # quarters of 16 points: diameter 15, distances 1 (neighbours), 17 and 33
    assert not is_admissible(rows, cols, Block(2, 0, 2, 0), 100.0)
    assert not is_admissible(rows, cols, Block(2, 0, 2, 1), 14.9)
    assert is_admissible(rows, cols, Block(2, 0, 2, 1), 15.0)
    assert is_admissible(rows, cols, Block(2, 0, 2, 2), 15 / 17)
    assert not is_admissible(rows, cols, Block(2, 0, 2, 2), 0.88)
    assert is_admissible(rows, cols, Block(2, 0, 3, 2), 7.0)  # the smaller diameter counts: 7 at distance 1
    assert is_admissible(rows, cols, Block(2, 0, 2, 1), math.inf)
    assert not is_admissible(rows, cols, Block(1, 0, 2, 1), math.inf)


def test_coordinates_that_wrap_are_near_across_the_seam():
    angles = (np.arange(64) + 20.0) % 64 * 360 / 64
    rows, cols = cluster_trees((64, 64), 8, Points(angles, angles, period=360))
    order = angles[rows.order]
    for level in (2, 3):
        for number in range(1 << level):
            first, last = rows.span(level, number)
            assert rows.extents[level][number][0] == pytest.approx((last - first - 1) * 360 / 128)
    first, last = Block(2, 0, 2, 3), Block(2, 0, 2, 2)
    gap = abs(order[0] - order[-1]) % 360
    assert min(gap, 360 - gap) == pytest.approx(360 / 64)  # the ends are neighbours
    assert not is_admissible(rows, cols, first, 2.0)
    assert is_admissible(rows, cols, last, 2.0)
    nearest = nearest_rows(rows, cols, first, 3)
    np.testing.assert_array_equal(nearest, [0, 1, 2])
    np.testing.assert_array_equal(nearest_columns(rows, cols, first, nearest), [63, 63, 63])


def test_without_points_clusters_apart_are_admissible():
    rows, cols = cluster_trees((64, 64), 16, None)
    assert rows.order is None
    assert not is_admissible(rows, cols, Block(1, 1, 1, 1), 0.1)
    assert is_admissible(rows, cols, Block(1, 0, 1, 1), 0.1)
    points = Points(None, np.arange(64.0))
    rows, cols = cluster_trees((64, 64), 16, points)
    assert is_admissible(rows, cols, Block(1, 0, 1, 1), 0.1)
    assert nearest_rows(rows, cols, Block(1, 0, 1, 1), 3) is None


def test_the_longer_side_is_divided_first():
    rows, cols = cluster_trees((40, 640), 16, None)
    assert [part[:2] for part in divide(rows, cols, WHOLE)] == [(0, 0)] * 2
    assert len(list(divide(rows, cols, Block(0, 0, 4, 0)))) == 4
