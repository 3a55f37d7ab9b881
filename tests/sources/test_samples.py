import json

import dask.array as da
import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.samples import Sample, choose_places, count_places, digest_tile
from dbutterfly.sources.tile_grids import fold
from dbutterfly.structure.axes import Tile, axes_of_cut, chunk_edges
from dbutterfly.structure.orderings import Orderings
from tests.support.comparisons import random_matrix

SHAPE = (48, 60)
CHAIN = dbf.Chain.chainable(SHAPE)
ORDERINGS = {
    "standard": Orderings(),
    "reversed": Orderings("bitreversal", "bitreversal"),
    "scattered": Orderings(np.random.default_rng(0).permutation(48), np.random.default_rng(1).permutation(60)),
}


@pytest.mark.parametrize("chunks", [(48, 60), (7, 9), (1, 1), (48, 1)])
def test_places_lie_in_one_chunk_each_and_spread_over_rows_and_columns_of_chunks(chunks):
    edges = tuple(chunk_edges(size, chunk) for size, chunk in zip(SHAPE, chunks, strict=True))
    places = choose_places(SHAPE, edges, np.random.default_rng(), 4)
    met = [
        {tuple(np.unique(np.searchsorted(e, side, "right")).tolist()) for side in sides}
        for e, sides in zip(edges, zip(*places, strict=True), strict=True)
    ]
    assert all(len(chunk) == 1 for side in met for chunk in side)
    count = min(4, (edges[0].size - 1) * (edges[1].size - 1))
    assert len(places) == count
    assert [len(side) for side in met] == [min(count, edge.size - 1) for edge in edges]


def test_places_are_other_ones_each_time():
    source = as_source(random_matrix((256, 256)))
    first, second = source.draw_sample(), source.draw_sample()
    assert first.to_json()["places"] != second.to_json()["places"]


def test_places_cost_a_hundredth_or_what_is_little():
    assert count_places(10_000, 10_000 << 20, 1 << 20) == 16
    assert count_places(400, 400 << 20, 1 << 20) == 4
    assert count_places(16, 16 << 20, 1 << 20) == 1
    assert count_places(16, 16 << 20, 1 << 20, 8 << 20) == 8
    assert count_places(2, 2048, 1024, 8 << 20) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_a_sample_survives_json(dtype):
    z = random_matrix(SHAPE, dtype)
    sample = as_source(z).draw_sample()
    again = Sample.from_json(json.loads(json.dumps(sample.to_json())))
    assert again.to_json() == sample.to_json()
    assert again.find_difference(as_source(z).sample(again.places)) is None


def test_a_difference_names_entry_and_values():
    z = random_matrix(SHAPE)
    sample = as_source(z).draw_sample()
    place = sample.places[2]
    row, col = place.rows[1], place.cols[0]
    other = z.copy()
    other[row, col] = 7.5
    found = sample.find_difference(as_source(other).sample(sample.places))
    assert found == f"entry ({row}, {col}) is 7.5 and was {z[row, col]}"


def test_not_a_number_is_the_same_as_itself():
    z = np.full((4, 4), np.nan)
    sample = as_source(z).draw_sample()
    assert sample.find_difference(as_source(z).sample(sample.places)) is None
    assert "is 0.0 and was nan" in sample.find_difference(as_source(np.zeros((4, 4))).sample(sample.places))


def test_what_is_computed_may_differ_by_rounding():
    z = random_matrix(SHAPE)
    for source, differs in ((as_source(da.from_array(z, chunks=20)), False), (as_source(z), True)):
        sample = source.draw_sample()
        found = sample.find_difference(as_source(z * (1 + 2e-16)).sample(sample.places))
        assert (found is not None) is differs


@pytest.mark.parametrize("name", ORDERINGS)
@pytest.mark.parametrize("position", [1, 2])
def test_tiles_are_compared_entry_by_entry_in_any_order(name, position):
    z = random_matrix(SHAPE)
    sample = as_source(z).draw_sample()
    source = as_source(z)
    rows, cols = axes_of_cut(CHAIN, position, ORDERINGS[name], (None, None))
    tiles = [Tile(r, r + 1, c, min(c + 2, cols.groups)) for r in range(rows.groups) for c in range(0, cols.groups, 2)]
    assert all(sample.find_difference_in_tile(source.read(rows, cols, t), rows, cols, t) is None for t in tiles)
    place = sample.places[0]
    other = z.copy()
    other[place.rows[-1], place.cols[-1]] += 1
    wrong = as_source(other)
    found = [sample.find_difference_in_tile(wrong.read(rows, cols, t), rows, cols, t) for t in tiles]
    named = [text for text in found if text]
    assert len(named) == 1
    assert named[0].startswith(f"entry ({place.rows[-1]}, {place.cols[-1]}) is ")


@pytest.mark.parametrize("name", ORDERINGS)
def test_digests_depend_on_entries_alone(name):
    z = random_matrix(SHAPE)
    rows, cols = axes_of_cut(CHAIN, 1, ORDERINGS[name], (None, None))
    tile = Tile(0, rows.groups, 0, cols.groups)
    grid = as_source(z).read(rows, cols, tile)
    digest = digest_tile(grid, rows, cols)
    assert digest == digest_tile(np.ascontiguousarray(grid), rows, cols)
    assert digest == digest_tile(as_source(np.asfortranarray(z)).read(rows, cols, tile), rows, cols)
    assert digest == float(digest)
    changed = z.copy()
    changed[17, 31] = -changed[17, 31]
    assert digest != digest_tile(as_source(changed).read(rows, cols, tile), rows, cols)
    assert fold(grid, rows, cols).size == z.size
