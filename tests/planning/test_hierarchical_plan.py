"""Plans of hierarchical runs: regions, pieces, what they read and hold, and how they are shown."""

import json

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.planning.pieces import plan_pieces
from dbutterfly.planning.regions import RegionSizes, divide_into_regions, tile_of
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.axes import chunk_edges
from dbutterfly.structure.block_tree import cluster_trees, is_admissible
from dbutterfly.structure.points import Points

ETA = 2.0


def trees_of(shape, leaf=8, dimension=2):
    rng = np.random.default_rng(0)
    return cluster_trees(shape, leaf, Points(rng.random((shape[0], dimension)), rng.random((shape[1], dimension))))


@pytest.mark.parametrize("shape", [(200, 200), (130, 300)])
@pytest.mark.parametrize("sizes", [RegionSizes(1, 1 << 40), RegionSizes(900, 2500), RegionSizes(900, None)])
def test_regions_cover_the_matrix_once_and_are_as_large_as_allowed(shape, sizes):
    trees, seen = trees_of(shape), np.zeros(shape, int)
    for block in divide_into_regions(*trees, ETA, sizes):
        r0, r1, c0, c1 = tile_of(*trees, block)
        seen[r0:r1, c0:c1] += 1
        entries = (r1 - r0) * (c1 - c0)
        is_leaf = block.row_level == trees[0].levels and block.col_level == trees[1].levels
        is_far = is_admissible(*trees, block, ETA)
        most = entries if is_leaf or (is_far and sizes.most is None) else sizes.most if is_far else sizes.comfortable
        assert entries <= most
    assert (seen == 1).all()


def test_half_of_the_regions_cover_what_is_not_above_the_diagonal():
    trees, seen = trees_of((200, 200)), np.zeros((200, 200), int)
    for block in divide_into_regions(trees[0], trees[0], ETA, RegionSizes(900, 2500), is_half=True):
        r0, r1, c0, c1 = tile_of(trees[0], trees[0], block)
        assert (r0, r1) == (c0, c1) or c1 <= r0
        seen[r0:r1, c0:c1] += 1
    assert (np.tril(seen) == np.tril(np.ones((200, 200)))).all()


def test_pieces_are_the_entries_of_the_regions():
    shape, chunks = (100, 140), (32, 24)
    trees = trees_of(shape)
    edges = tuple(chunk_edges(size, chunk) for size, chunk in zip(shape, chunks, strict=True))
    source = SourceInfo(shape=shape, dtype="float64", work_dtype="float64", edges=edges)
    tiles = [tile_of(*trees, block) for block in divide_into_regions(*trees, ETA, RegionSizes(900, 900))]
    copy = plan_pieces(source, trees, tiles, 32 * 24 * 8 * 2)
    matrix = np.arange(100.0 * 140).reshape(shape)
    ordered, seen = matrix[np.ix_(trees[0].order, trees[1].order)], 0
    assert copy.bytes_read == matrix.nbytes
    for number, region in enumerate(tiles):
        found = np.full((region.r1 - region.r0, region.c1 - region.c0), np.nan)
        for piece in copy.by_region[number]:
            panel, (rows, cols) = copy.panels[piece.panel], copy.sides(piece.panel)
            in_order = matrix[panel.r0 : panel.r1, panel.c0 : panel.c1][rows.order][:, cols.order]
            r, c = rows.within(region.r0, region.r1), cols.within(region.c0, region.c1)
            part = in_order[r, c]
            assert part.size == piece.entries <= copy.capacity
            found[np.ix_(rows.sorted[r] - region.r0, cols.sorted[c] - region.c0)] = part
            seen += part.size
        np.testing.assert_array_equal(found, ordered[region.r0 : region.r1, region.c0 : region.c1])
    assert seen == matrix.size
    assert plan_pieces(source, trees, tiles, 100) is None  # no chunk fits


def test_a_plan_is_shown_as_text_json_and_drawing():
    points = np.random.default_rng(0).random((400, 2))
    source = dbf.entries(lambda *_: pytest.fail("it is not evaluated"), (400, 400), "float32")
    plan = dbf.plan(source, points=(points, points), rank=3, form="hierarchical", memory="200 KiB", leaf=25)
    text = str(plan)
    for part in ("400 x 400 float32", "rank 3", "leaves of up to 25", "by points", "far apart", "amplification 1.00"):
        assert part in text
    assert len(plan.regions) == plan.tasks["regions"] > 10
    assert 0 < plan.far < len(plan.regions)
    assert plan.peak_bytes <= 200 << 10
    values = json.loads(json.dumps(plan.to_json()))
    assert values["regions"]["count"] == len(plan.regions)
    assert plan._repr_html_().count("<path") == 2
    assert len(repr(plan)) < 300


def test_regions_do_not_depend_on_the_workers():
    points = np.random.default_rng(0).random((300, 1))
    source = np.zeros((300, 300))
    plans = [dbf.plan(source, points=(points, points), rank=1, form="hierarchical", workers=n) for n in (1, 7)]
    assert plans[0].regions == plans[1].regions
