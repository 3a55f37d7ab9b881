"""A matrix with weights is read as the product with both diagonals, from every source and in every way."""

import pickle

import dask.array
import numpy as np
import pytest
import zarr
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import InputError, NonFiniteError
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.places_read import places_read
from dbutterfly.sources.samples import digest_tile
from dbutterfly.sources.tile_grids import fold
from dbutterfly.sources.weighted import weigh
from dbutterfly.structure.axes import Tile, axes_of_cut
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from dbutterfly.structure.padding import place
from dbutterfly.structure.weights import Weights

SHAPE = 24, 40
ROWS, COLS = (np.exp(np.random.default_rng(size).standard_normal(size)) for size in SHAPE)
PAIRS = [(ROWS, COLS), (ROWS, None), (None, COLS)]


class Lookup:
    """Entry function of an array."""

    def __init__(self, array):
        self.array = array

    def __call__(self, rows, cols):
        return self.array[np.ix_(rows, cols)]


def numbers(dtype="float64"):
    drawn = 100 * np.random.default_rng(0).standard_normal((2, *SHAPE))
    return (drawn[0] + 1j * drawn[1] if np.dtype(dtype).kind == "c" else drawn[0]).astype(dtype)


def in_zarr(matrix, attributes=()):
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=SHAPE, chunks=(10, 16), dtype=matrix.dtype)
    array[...] = matrix
    array.attrs.update(dict(attributes))
    return array


SOURCES = {
    "array": lambda: numbers(),
    "single": lambda: numbers("float32"),
    "columns first": lambda: np.asfortranarray(numbers("complex64")),
    "integers": lambda: numbers("int16"),
    "other bytes": lambda: numbers(">c16"),
    "zarr": lambda: in_zarr(numbers("complex128")),
    "zarr of single": lambda: in_zarr(numbers("float32")),
    "zarr of integers": lambda: in_zarr(numbers("int8")),
    "zarr of half": lambda: in_zarr(numbers("float16")),
    "packed zarr": lambda: in_zarr(numbers("int16"), {"scale_factor": 0.25, "add_offset": 3.0}),
    "dask": lambda: dask.array.from_array(numbers("float32"), chunks=(24, 16)),
    "entries": lambda: dbf.entries(Lookup(numbers("complex64")), SHAPE, "complex64"),
    "operator": lambda: aslinearoperator(numbers("complex128")),
    "sparse": lambda: sparse.csr_array(numbers("float32")),
}


def dense(source):
    """The matrix of a source, read in one piece."""
    return np.array(as_source(source).read_range(slice(0, SHAPE[0]), slice(0, SHAPE[1])))


def weighted(matrix, pair):
    rows, cols = (np.ones(size) if side is None else side for side, size in zip(pair, SHAPE, strict=True))
    return rows[:, None] * np.asarray(matrix, np.result_type(matrix, np.float64)) * cols


def scale(pair):
    """By how much weights are divided inside a run."""
    return 1 / Weights(*pair).unscale(1.0)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("pair", PAIRS, ids=["both", "rows", "cols"])
def test_tiles_ranges_and_samples_are_weighted(name, pair):
    given = SOURCES[name]()
    before = dense(given)
    plain = as_source(given)
    source = weigh(plain, Weights(*pair))
    work = np.dtype(plain.info.work_dtype)
    expected = weighted(before, pair) * scale(pair)
    close = {"rtol": 4 * np.finfo(work).eps, "atol": 4 * np.finfo(work).eps * np.abs(expected).max()}
    assert (source.dtype, source.shape, source.name) == (work, SHAPE, plain.name)
    whole = source.read_range(slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    assert whole.dtype == work
    assert np.allclose(whole, expected, **close)
    rng = np.random.default_rng(1)
    for chain in (Chain.chainable(SHAPE), Chain.chainable((32, 48), rank=2)):
        for orderings in (Orderings(), Orderings("bitreversal", "bitreversal"), None):
            if orderings is None and chain.shape == SHAPE:
                orderings = Orderings(rng.permutation(SHAPE[0]), rng.permutation(SHAPE[1]))
            placed = place(orderings or Orderings(), SHAPE, chain)
            rows, cols = axes_of_cut(chain, len(chain) // 2, placed, source.edges)
            for tile in (Tile(0, rows.groups, 0, cols.groups), Tile(1, 3, 0, 2)):
                grid = source.read(rows, cols, tile)
                assert grid.shape == plain.read(rows, cols, tile).shape
                at = rows.rows(tile.r0, tile.r1), cols.rows(tile.c0, tile.c1)
                is_there = (at[0] >= 0)[:, None] & (at[1] >= 0)
                flat = np.where(is_there, whole[np.ix_(*at)], 0)
                found = fold(grid, rows, cols).reshape(flat.shape)
                if source.probed:  # products of a few vectors round otherwise than those of many
                    assert np.allclose(found, flat, **close)
                else:
                    assert np.array_equal(found, flat)
    places = source.choose_places(np.random.default_rng(0))
    sample = source.sample(places)
    assert sample.dtype == work
    if places:
        assert np.array_equal(sample, np.concatenate([whole[np.ix_(p.rows, p.cols)].reshape(-1) for p in places]))
    assert np.array_equal(dense(given), before), "what the caller holds is left alone"


@pytest.mark.parametrize("name", ["zarr", "entries", "operator"])
def test_a_pickled_copy_is_weighted_alike(name, tmp_path):
    given = SOURCES[name]()
    if name == "zarr":
        given = zarr.create_array(tmp_path / "z.zarr", data=given[...], chunks=(10, 16))
    source = weigh(as_source(given), Weights(ROWS, COLS))
    again = pickle.loads(pickle.dumps(source))
    here = slice(3, 9), slice(0, 40)
    assert np.array_equal(again.read_range(*here), source.read_range(*here))
    assert again.info.weights == source.info.weights != ""


def test_products_with_an_operator_are_weighted_on_both_sides():
    matrix = numbers("complex128")
    source = weigh(as_source(aslinearoperator(matrix)), Weights(ROWS, COLS))
    expected, rng = weighted(matrix, (ROWS, COLS)) * scale((ROWS, COLS)), np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((24, 3))
    assert np.allclose(source.forward(x.astype(complex)), expected @ x)
    assert np.allclose(source.backward(y.astype(complex)), expected.conj().T @ y)
    assert np.allclose(source.single(x[:, 0].astype(complex), adjoint=False), expected @ x[:, 0])
    assert np.allclose(source.single(y[:, 0].astype(complex), adjoint=True), expected.conj().T @ y[:, 0])


def test_stamps_chunks_and_places_are_those_of_the_matrix(tmp_path):
    array = zarr.create_array(tmp_path / "z.zarr", shape=SHAPE, chunks=(10, 16), dtype="f8")
    array[:10] = 1.0
    plain = as_source(str(tmp_path / "z.zarr"))
    source = weigh(plain, Weights(ROWS))
    assert np.array_equal(source.stamps().values, plain.stamps().values)
    assert source.missing_chunks == source.recount() == plain.missing_chunks == 6
    assert source.missing_keys(2) == plain.missing_keys(2)
    assert (source.chunk_count, source.lists_chunks, source.fill_value) == (9, True, 0)
    assert [each.name for each in places_read(source)] == [each.name for each in places_read(plain)] != []


@pytest.mark.parametrize("name", ["array", "zarr", "dask", "entries"])
def test_an_entry_that_is_not_finite_is_named(name):
    matrix = numbers("complex128")
    matrix[7, 9] = np.inf
    source = {
        "array": matrix,
        "zarr": in_zarr(matrix),
        "dask": dask.array.from_array(matrix, chunks=(10, 10)),
        "entries": dbf.entries(Lookup(matrix), SHAPE, complex),
    }[name]
    with pytest.raises(NonFiniteError, match=r"\(7, 9\)"):
        dbf.factorize(source, weights=(ROWS, COLS))


def test_a_digest_is_the_same_for_each_reading_of_a_tile():
    source = weigh(as_source(in_zarr(numbers("complex64"))), Weights(ROWS, COLS))
    rows, cols = axes_of_cut(Chain.chainable(SHAPE), 1, Orderings(), source.edges)
    tile = Tile(0, 2, 0, 1)
    first, again = (digest_tile(source.read(rows, cols, tile), rows, cols) for _ in range(2))
    assert first == again
    other = weigh(as_source(in_zarr(numbers("complex64"))), Weights(ROWS, 2 * COLS + 1))
    assert digest_tile(other.read(rows, cols, tile), rows, cols) != first


def test_no_weights_leave_a_source_as_it_is():
    source = as_source(numbers())
    assert weigh(source, None) is source
    assert source.info.weights == ""


def test_weights_of_another_shape_are_refused():
    with pytest.raises(InputError, match="weights: cols has 24 entries and the matrix 40 cols"):
        weigh(as_source(numbers()), Weights(None, ROWS))
