"""A matrix is divided by a power of two where a few of its entries say that squares would leave the range."""

import dask.array
import numpy as np
import pytest
import zarr
from scipy.sparse.linalg import aslinearoperator

import dbutterfly as dbf
from dbutterfly.sources import magnitude
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.exponents import COMFORTABLE, exponent_of, largest_energy, largest_part, shift_exponents
from dbutterfly.sources.magnitude import bring_into_range
from dbutterfly.sources.weighted import rescale, weigh
from dbutterfly.structure.weights import Weights
from tests.support.comparisons import DTYPES, random_matrix

SHAPE = 24, 40
WEIGHTS = Weights(np.linspace(1, 3, SHAPE[0]), None)


def in_zarr(matrix, chunks):
    array = zarr.create_array(zarr.storage.MemoryStore(), shape=matrix.shape, chunks=chunks, dtype=matrix.dtype)
    array[...] = matrix
    return array


SOURCES = {
    "array": lambda matrix: matrix,
    "columns first": np.asfortranarray,
    "other bytes": lambda matrix: matrix.astype(">f8"),
    "zarr": lambda matrix: in_zarr(matrix, (2, 4)),
    "dask": lambda matrix: dask.array.from_array(matrix, chunks=(24, 16)),
    "entries": lambda matrix: dbf.entries(lambda i, j: matrix[np.ix_(i, j)], SHAPE, float),
    "operator": aslinearoperator,
}


def dense(source):
    return np.array(source.read_range(slice(0, SHAPE[0]), slice(0, SHAPE[1])))


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("exponent", [-1040, 800])
def test_entries_are_those_of_the_matrix_but_for_a_power_of_two(name, exponent):
    matrix = random_matrix(SHAPE) * 2.0**-30
    shifted = np.ldexp(matrix, exponent + 30)
    source = bring_into_range(as_source(SOURCES[name](shifted)), is_read=True)
    assert source.exponent == pytest.approx(exponent, abs=8)
    assert source.info.exponent == source.exponent
    found = dense(source)
    assert np.array_equal(np.ldexp(found, source.exponent), shifted)
    assert 2**-8 < np.abs(found).max() < 8


def test_no_huge_entry_of_an_array_is_missed_however_large_it_is(monkeypatch):
    monkeypatch.setattr(magnitude, "WHOLE_BYTES", 0)
    monkeypatch.setattr(magnitude, "BAND_BYTES", 1000)
    matrix = random_matrix((300, 70))
    matrix[299, 3] = 1e160
    assert bring_into_range(as_source(matrix)).exponent == 0
    assert bring_into_range(as_source(matrix), is_read=True).exponent == exponent_of(1e160)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_matrix_in_range_is_left_as_it_is(dtype):
    for exponent in (-COMFORTABLE[dtype] + 2, 0, COMFORTABLE[dtype] - 3):
        source = as_source(random_matrix(SHAPE, dtype).clip(-1, 1) * np.dtype(dtype).type(2.0**exponent))
        assert bring_into_range(source) is source


def test_no_more_than_a_hundredth_is_looked_at():
    tiny = np.full((40, 40), 1e-200)
    few, many = (as_source(in_zarr(tiny, chunks)) for chunks in ((10, 10), (4, 4)))
    assert bring_into_range(few) is few
    assert bring_into_range(few, is_read=True).exponent == bring_into_range(many).exponent == exponent_of(1e-200)


def test_zeros_and_what_is_not_finite_count_for_nothing():
    for matrix in (np.zeros(SHAPE), np.full(SHAPE, np.nan), np.full(SHAPE, -np.inf)):
        source = as_source(matrix)
        assert bring_into_range(source) is source
    assert largest_part(np.array([np.nan, -3.0, np.inf])) == 3
    assert largest_part(np.array([1.7e308 + 1.7e308j])) == 1.7e308


def test_weights_stay_where_the_power_changes():
    matrix = random_matrix(SHAPE) * 1e-200
    source = weigh(as_source(matrix), WEIGHTS)
    for wrapped in (source, weigh(as_source(aslinearoperator(matrix)), WEIGHTS)):
        scaled = rescale(wrapped, -600)
        assert (scaled.weights, scaled.exponent) == (WEIGHTS, -600)
        assert np.allclose(dense(scaled), np.ldexp(dense(wrapped), 600), rtol=1e-15)
        assert np.array_equal(dense(rescale(scaled, 0)), dense(wrapped))
    assert rescale(source, 0) is source


@pytest.mark.parametrize("dtype", DTYPES)
def test_shifts_of_exponents_may_be_larger_than_any_number(dtype):
    info = np.finfo(dtype)
    values = np.array([[info.smallest_subnormal, info.smallest_normal, 0]], dtype)
    shifted = shift_exponents(values, info.maxexp - info.minexp - 2)
    assert shifted.dtype == dtype
    assert np.array_equal(shift_exponents(shifted, info.minexp - info.maxexp + 2), values)


def test_sums_of_energies_in_range_stay_in_range():
    for dtype in DTYPES:
        assert np.isfinite(np.finfo(dtype).dtype.type(largest_energy(dtype)) * 2**20)


def test_all_of_a_small_matrix_is_looked_at_where_it_is_to_be_read_anyhow():
    matrix = np.full(SHAPE, 1e-300)
    matrix[0, 0] = 1e300
    source = bring_into_range(as_source(matrix), is_read=True)
    assert source.exponent == exponent_of(1e300)
    assert dense(source)[0, 0] == pytest.approx(np.ldexp(1e300, -source.exponent))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_are_in_range_beside_the_smallest_number(dtype):
    matrix = np.zeros(SHAPE, dtype)
    matrix[3, 5] = np.finfo(dtype).smallest_subnormal
    source = rescale(as_source(matrix), exponent_of(float(np.finfo(dtype).smallest_subnormal)))
    assert not source.read_range(slice(8, 16), slice(0, 40)).any()
    assert dense(source)[3, 5] == 0.5
