"""Copies in bands: which columns of a band are far, what panels keep of strips, and what tasks hold."""

import numpy as np
import pytest

from dbutterfly.planning import bands
from dbutterfly.planning.bands import plan_bands
from dbutterfly.sources.info import SourceInfo
from dbutterfly.structure.axes import chunk_edges
from dbutterfly.structure.block_tree import Block, cluster_trees, divide, is_admissible
from dbutterfly.structure.points import Points

ETA = 4.0


@pytest.fixture(autouse=True)
def small_bands(monkeypatch):
    monkeypatch.setattr(bands, "LEAST_ROWS", 12)
    monkeypatch.setattr(bands, "MOST_NEAR", 1.0)


def trees_of(shape):
    rng = np.random.default_rng(0)
    rows = rng.random((shape[0], 2))
    return cluster_trees(shape, 8, Points(rows, rows if shape[0] == shape[1] else rng.random((shape[1], 2))))


def plan_copy(shape, trees, chunks=(64, 48), most_bytes=1 << 20, **options):
    edges = tuple(chunk_edges(size, chunk) for size, chunk in zip(shape, chunks, strict=True))
    source = SourceInfo(shape=shape, dtype="float32", work_dtype="float32", edges=edges)
    return plan_bands(source, trees, ETA, most_bytes, **{"is_half": False, **options})


def positions(spans):
    return np.concatenate([np.empty(0, int), *(np.arange(*span) for span in spans)])


@pytest.mark.parametrize("shape", [(400, 400), (200, 500), (700, 160)])
def test_far_columns_are_those_of_blocks_that_are_far_apart(shape):
    trees = trees_of(shape)
    copy = plan_copy(shape, trees)
    far = np.zeros(shape, bool)
    waiting = [Block(copy.levels.strip, strip, 0, 0) for strip in range(len(copy.bands))]
    while waiting:
        block = waiting.pop()
        if is_admissible(*trees, block, ETA):
            if block.row_level <= copy.levels.band:
                rows, cols = trees[0].span(block.row_level, block.row), trees[1].span(block.col_level, block.col)
                far[slice(*rows), slice(*cols)] = True
        else:
            waiting += divide(*trees, block)
    seen = 0
    for strip in copy.bands:
        for band in strip:
            assert np.array_equal(np.sort(np.r_[positions(band.far), positions(band.near)]), np.arange(shape[1]))
            own = far[band.first : band.last]
            assert own[:, positions(band.far)].all()
            assert not own[:, positions(band.near)].any()
            seen += band.last - band.first
    assert seen == shape[0]
    assert far.any()


def test_pieces_have_all_entries_of_a_panel_at_a_rank_or_as_they_are():
    shape = (400, 400)
    copy = plan_copy(shape, trees_of(shape), most_bytes=30_000)
    assert copy.bytes_read == 400 * 400 * 4
    assert all((tile.r1 - tile.r0) * (tile.c1 - tile.c0) * 4 <= 30_000 for tile in copy.panels)
    assert len({tile[:2] for tile in copy.panels}) == 4  # as many rows as fit, in equal parts
    assert copy.most_rank == bands.largest_rank(128 >> copy.levels.band)
    for piece in copy.pieces:
        most = len(copy.bands[piece.region])
        for band in copy.bands[piece.region]:
            own = copy.rows_of(piece.panel, band).size
            far, near = (copy.cols_of(piece.panel, spans).size for spans in (band.far, band.near))
            most += min(copy.most_rank, own, far) * (own + far) + far + own * near
        assert copy.counts(piece, 0) <= copy.counts(piece, 1) <= copy.counts(piece) == piece.entries == most
        assert piece.entries <= copy.capacity
    assert plan_copy(shape, trees_of(shape), most_bytes=1000) is None  # no chunk fits


def test_half_of_a_matrix_keeps_no_columns_above_the_diagonal():
    trees = trees_of((400, 400))
    copy = plan_copy((400, 400), (trees[0], trees[0]), is_half=True)
    for strip in copy.bands:
        for band in strip:
            kept = np.r_[positions(band.far), positions(band.near)]
            assert kept.max() < band.last
            assert kept.size == kept.max() + 1


def test_there_are_no_bands_where_too_much_is_near_or_rows_are_few(monkeypatch):
    shape, trees = (400, 400), trees_of((400, 400))
    monkeypatch.setattr(bands, "MOST_NEAR", 0.01)
    assert plan_copy(shape, trees) is None
    monkeypatch.setattr(bands, "MOST_NEAR", 1.0)
    monkeypatch.setattr(bands, "LEAST_ROWS", 60)
    assert plan_copy(shape, trees) is None
