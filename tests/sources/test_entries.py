import pickle

import numpy as np
import pytest

from dbutterfly.errors import DButterflyError, InputError, SourceError
from dbutterfly.sources.arrays import ArraySource
from dbutterfly.sources.entries import Entries, check_dtype, entries
from dbutterfly.sources.entries_source import EntriesSource


def hilbert(rows, cols):
    return 1.0 / (rows[:, None] + cols + 1)


def fails(rows, cols):
    raise ZeroDivisionError("no such entry")


@pytest.fixture
def matrix():
    return Entries(hilbert, (7, 5), np.float64)


@pytest.fixture
def dense():
    return hilbert(np.arange(7), np.arange(5))


def test_attributes(matrix):
    assert entries is Entries
    assert (matrix.shape, matrix.dtype, matrix.ndim, matrix.f) == ((7, 5), np.dtype(np.float64), 2, hilbert)
    assert repr(matrix).endswith("shape=(7, 5), dtype=float64)")


def test_sampling_is_asked_for_by_name(matrix):
    assert matrix.sampled is False
    sampled = Entries(hilbert, (7, 5), np.float64, sampled=np.True_)
    assert sampled.sampled is True
    assert pickle.loads(pickle.dumps(sampled)).sampled is True
    assert repr(sampled).endswith("shape=(7, 5), dtype=float64, sampled=True)")
    with pytest.raises(InputError, match="sampled='yes' is neither True nor False"):
        Entries(hilbert, (7, 5), np.float64, sampled="yes")
    assert (EntriesSource(sampled).sampled, EntriesSource(matrix).sampled) == (True, False)
    assert ArraySource(np.zeros((2, 2))).sampled is False


def test_no_entry_is_evaluated_before_it_is_asked_for():
    huge = Entries(hilbert, (1 << 40, 1 << 40), np.float64)
    assert huge[-1, 0] == 1 / (1 << 40)


def test_function_receives_int64_index_arrays():
    def check(rows, cols):
        assert rows.dtype == cols.dtype == np.int64
        assert rows.ndim == cols.ndim == 1
        return np.zeros((rows.size, cols.size))

    assert Entries(check, (4, 4), np.float64).block(np.array([1, 2], np.uint8), slice(None)).shape == (2, 4)


@pytest.mark.parametrize(
    "key",
    [
        np.s_[:, :],
        np.s_[2:6:2, ::-1],
        np.s_[-3:, :-1],
        np.s_[3, 1],
        np.s_[-1, -5],
        np.s_[2, :],
        np.s_[:, 3],
        np.s_[4:2, :],
        np.s_[np.int32(2), 1:3],
        np.s_[[5, 0, 5], :],
        np.s_[:, np.array([-1, 0])],
        np.s_[[], :],
    ],
)
def test_indexing_is_that_of_numpy(matrix, dense, key):
    got, wanted = matrix[key], dense[key]
    assert np.shape(got) == np.shape(wanted)
    np.testing.assert_array_equal(got, wanted)


def test_two_index_arrays_select_the_crossings(matrix, dense):
    np.testing.assert_array_equal(matrix[[6, 1], [0, 3, 0]], dense[np.ix_([6, 1], [0, 3, 0])])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (3, "both a row and a column"),
        (np.s_[:, :, 0], "both a row and a column"),
        (np.s_[7, :], r"rows spans 7\.\.7; the matrix has indices 0\.\.6"),
        (np.s_[:, [-6]], r"cols spans -6\.\.-6"),
        (np.s_[[0.5], :], "rows has dtype float64"),
        (np.s_[np.ones((2, 2), int), :], "2 dimensions"),
        (np.s_[np.ones(7, bool), :], "dtype bool"),
        (np.s_[True, :], "dtype bool"),
    ],
)
def test_bad_indices(matrix, key, message):
    with pytest.raises(InputError, match=message):
        matrix[key]


def test_asarray(matrix, dense):
    np.testing.assert_array_equal(np.asarray(matrix), dense)
    assert np.asarray(matrix, np.float32).dtype == np.float32
    assert np.array(matrix, copy=True).dtype == np.float64
    with pytest.raises(ValueError, match="copy=False"):
        np.asarray(matrix, copy=False)


def test_asarray_evaluates_large_matrices_in_panels():
    heights = []

    def record(rows, cols):
        heights.append(rows.size)
        return np.broadcast_to(rows[:, None], (rows.size, cols.size))

    whole = np.asarray(Entries(record, (9, 1 << 19), np.float32))
    assert heights == [2, 2, 2, 2, 1]
    np.testing.assert_array_equal(whole[:, -1], np.arange(9))


def test_pickles(matrix, dense):
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(matrix)), dense)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_results_within_the_kind_are_cast(dtype):
    made = Entries(lambda i, j: np.multiply.outer(i, j), (3, 4), dtype)
    assert made[:, :].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(made, np.multiply.outer(np.arange(3), np.arange(4)))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda i, j: np.zeros((j.size, i.size)), r"returned shape \(3, 2\) at rows 4\.\.5, cols 1\.\.3; \(2, 3\)"),
        (lambda i, _: i + 0.5, r"returned shape \(2,\) at rows 4\.\.5"),
        (lambda i, j: 1j * np.ones((i.size, j.size)), "dtype complex128 at rows 4..5, cols 1..3, .*dtype=float64"),
        (lambda i, j: np.full((i.size, j.size), "x"), "dtype <U1"),
        (lambda i, j: np.ma.masked_all((i.size, j.size)), r"masked array at rows 4\.\.5, cols 1\.\.3; .* filled"),
        (lambda *_: None, r"returned shape \(\) at rows 4\.\.5"),
        (lambda *_: [[1, 2], [3]], "failed at rows 4..5, .*inhomogeneous"),
    ],
)
def test_bad_blocks(f, message):
    with pytest.raises(SourceError, match=message):
        Entries(f, (6, 4), np.float64).block(slice(4, 6), slice(1, 4))


def test_failures_of_the_function_are_wrapped_once():
    inner = Entries(fails, (6, 4), np.float64)
    outer = Entries(lambda i, j: inner.block(i, j), (6, 4), np.float64)
    with pytest.raises(
        SourceError, match=r"failed at rows 2\.\.2, cols 0\.\.3: ZeroDivisionError: no such entry"
    ) as caught:
        outer.block([2], slice(None))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5), (3, 0), (-1, 3), (2.5, 3), 7, None, "ab"])
def test_bad_shapes(shape):
    with pytest.raises(InputError, match="shape="):
        Entries(hilbert, shape, np.float64)


@pytest.mark.parametrize("dtype", [None, "int64", "float16", "longdouble", "no such", object, bool])
def test_bad_dtypes(dtype):
    with pytest.raises(InputError, match="use float32, float64, complex64 or complex128"):
        Entries(hilbert, (2, 2), dtype)


def test_bad_function():
    with pytest.raises(DButterflyError, match="f=3 is not callable"):
        Entries(3, (2, 2), np.float64)


def test_dtypes_are_in_native_byte_order():
    assert check_dtype(">f8") == np.dtype(np.float64)
    assert check_dtype(">f8").isnative
