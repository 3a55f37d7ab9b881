"""What is read of a matrix to judge it: whole chunks, spread over all scales, within a number of bytes."""

import numpy as np
import pytest
import scipy.sparse
import zarr

import dbutterfly as dbf
from dbutterfly.errors import NonFiniteError
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.windows import open_window
from tests.support.comparisons import random_matrix


def window_of(source, limit, seed=0):
    return open_window(as_source(source), limit, np.random.default_rng(seed))


def stored(tmp_path, matrix, chunks):
    return zarr.create_array(tmp_path / "z", data=matrix, chunks=chunks)


def lines_of(side, size, count=5):
    everything = np.arange(size) if side is None else side
    return np.sort(np.random.default_rng(1).permutation(everything)[:count])


@pytest.mark.parametrize("chunks", [(16, 16), (1, 256), (24, 100), (200, 8)])
@pytest.mark.parametrize("limit", [1 << 15, 1 << 17, 1 << 20])
def test_a_window_has_whole_chunks_and_their_entries(tmp_path, chunks, limit):
    matrix = random_matrix((200, 256))
    window = window_of(stored(tmp_path, matrix, chunks), limit)
    assert 0 < window.bytes_read <= limit
    for side, size, chunk in zip((window.rows, window.cols), matrix.shape, chunks, strict=True):
        if side is not None:
            whole = [np.arange(number * chunk, min((number + 1) * chunk, size)) for number in np.unique(side // chunk)]
            assert np.array_equal(side, np.concatenate(whole))
    rows, cols = (lines_of(side, size) for side, size in zip((window.rows, window.cols), matrix.shape, strict=True))
    assert np.array_equal(window.read(rows, cols), matrix[np.ix_(rows, cols)])
    assert window.energy == pytest.approx(1, rel=0.3)


def test_chunks_of_a_window_are_near_and_far(tmp_path):
    window = window_of(stored(tmp_path, np.ones((256, 256), "f4"), (4, 256)), 16 * 4 * 256 * 4)
    chunks = np.unique(window.rows // 4)
    assert chunks.size == 16
    assert window.cols is None
    assert {1, 32} <= set(np.subtract.outer(chunks, chunks).ravel().tolist()), "neighbours, and halves apart"


def test_a_chunk_that_is_too_large_leaves_no_window(tmp_path):
    assert window_of(stored(tmp_path, np.ones((64, 64)), (64, 64)), 64 * 64 * 8 - 1) is None


def test_an_array_is_held_where_it_is_small_and_looked_at_where_it_is_not():
    matrix = random_matrix((64, 64), "float32")
    held, looked_at = window_of(matrix, matrix.nbytes), window_of(matrix, matrix.nbytes - 1)
    assert (held.bytes_read, looked_at.bytes_read) == (matrix.nbytes, 0)
    assert held.energy == pytest.approx(float(np.mean(np.square(matrix, dtype=float))))
    rows, cols = np.array([3, 9]), np.array([1, 2, 50])
    for window in (held, looked_at):
        assert np.array_equal(window.read(rows, cols), matrix[np.ix_(rows, cols)])
        assert window.read(rows, cols).dtype == np.float64
    assert looked_at.bytes_read == 2 * 6 * 4
    assert held.has_room(10**9, 1)
    assert not looked_at.has_room(64 * 64, 1)


@pytest.mark.parametrize(("size", "expected"), [(64, [(64, 64)]), (2048, [(2, 3), (2, 3)])])
def test_a_small_entry_function_is_evaluated_once_and_a_large_one_where_it_is_looked_at(size, expected):
    requests = []

    def product(rows, cols):
        requests.append((rows.size, cols.size))
        return np.multiply.outer(rows, cols)

    window = window_of(dbf.entries(product, (size, size), "f8"), 1 << 30)
    rows, cols = np.array([3, 9]), np.array([1, 2, 50])
    for _ in range(2):
        assert np.array_equal(window.read(rows, cols), np.outer(rows, cols))
    assert requests == expected


def test_columns_of_an_operator_are_multiplied_out_once():
    matrix = scipy.sparse.random(60, 40, 0.2, random_state=0)
    window = window_of(matrix, 1 << 20)
    rows, cols = np.array([0, 7, 59]), np.array([2, 3])
    for _ in range(2):
        assert np.allclose(window.read(rows, cols), matrix.toarray()[np.ix_(rows, cols)])
        assert window.bytes_read == 2 * 60 * 8
    assert np.allclose(window.read(rows, np.array([3, 4])), matrix.toarray()[np.ix_(rows, [3, 4])])
    assert window.bytes_read == 3 * 60 * 8
    assert window.shares_cols


def test_a_bad_entry_is_named(tmp_path):
    matrix = np.ones((32, 32))
    matrix[9, 20] = np.nan
    for source in (
        matrix,
        stored(tmp_path, matrix, (8, 8)),
        dbf.entries(lambda i, j: matrix[np.ix_(i, j)], (32, 32), "f8"),
    ):
        with pytest.raises(NonFiniteError, match=r"index \(9, 20\)"):
            window_of(source, 1 << 20).read(np.arange(32), np.arange(32))
