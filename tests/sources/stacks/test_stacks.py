"""Stacks as one source: what is read, by which a run knows them again, and how they travel."""

import pickle

import dask.array as da
import numpy as np
import pytest
import zarr

from dbutterfly.errors import SourceError
from dbutterfly.sources.base import MatrixSource
from dbutterfly.sources.stacks.base import StackSource
from dbutterfly.sources.stacks.dispatch import open_matrices
from tests.support.stacked_runs import store_stack

SHAPE = (7, 12, 10)
FILES = {
    "chunks of one": {"chunks": (1, 12, 10)},
    "chunks of several": {"chunks": (3, 5, 4)},
    "uncompressed": {"chunks": (2, 12, 4), "compressors": None},
    "shards": {"chunks": (1, 4, 5), "shards": (2, 12, 10)},
}
KINDS = ("array", "strided", "map", "memory", "dask", "list", *FILES)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).standard_normal(SHAPE)


def source(kind, values, directory):
    """A stack from a kind of source."""
    directory.mkdir(exist_ok=True)
    if kind in FILES:
        return store_stack(values, directory / "z.zarr", **FILES[kind])
    if kind == "map":
        np.save(directory / "z.npy", values)
        return directory / "z.npy"
    if kind == "memory":
        held = zarr.create_array(zarr.storage.MemoryStore(), shape=SHAPE, chunks=(2, 5, 10), dtype="f8")
        held[...] = values
        return held
    if kind == "dask":
        return da.from_array(values, chunks=(2, 5, 10))
    return {"array": values, "strided": np.asfortranarray(values), "list": list(values)}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_is_what_is_there(kind, values, tmp_path):
    stack = open_matrices(source(kind, values, tmp_path))
    for one in (stack, pickle.loads(pickle.dumps(stack))):
        assert len(one) == 7
        assert one.shapes == 7 * ((12, 10),)
        for numbers in ([0, 1, 2], [3], [1, 4, 5], [6, 0]):
            np.testing.assert_array_equal(one.read_matrices(np.array(numbers)), values[numbers])
        np.testing.assert_array_equal(one.matrix(4).read_range(slice(2, 9), slice(3, 8)), values[4, 2:9, 3:8])
        np.testing.assert_array_equal(one.read_range(slice(4 * 12 + 2, 4 * 12 + 9), slice(3, 8)), values[4, 2:9, 3:8])
    assert stack.bytes_of(np.arange(7)) == values.nbytes
    assert isinstance(stack.matrix(0), MatrixSource)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_is_of_the_entries_and_tells_others_apart(kind, values, tmp_path):
    stack = open_matrices(source(kind, values, tmp_path))
    sample = stack.draw_sample()
    assert sample.find_difference(stack.sample(sample.places)) is None
    for number in range(7):
        assert sample.find_difference_in_rows(values[number], int(stack.offsets[number])) is None
    changed = [sample.find_difference_in_rows(values[k] + 1, int(stack.offsets[k])) for k in range(7)]
    assert any(changed)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "dask"])
def test_stamps_are_of_the_matrices(kind, values, tmp_path):
    stamps = open_matrices(source(kind, values, tmp_path)).stamps()
    assert stamps.values.shape == (7, 1)
    again = open_matrices(source(kind, values, tmp_path / "again")).stamps()
    assert again.kind_of_storage == stamps.kind_of_storage
    if kind in ("array", "list", "strided", "memory"):
        other = values.copy()
        other[4, 0, 0] += 1
        changed = open_matrices(source(kind, other, tmp_path / "other")).stamps().values != stamps.values
        expected = {4, 5} if kind == "memory" else {4}  # two matrices in a chunk
        assert set(np.flatnonzero(changed[:, 0]).tolist()) == expected


def test_matrices_of_other_shapes_lie_one_upon_the_other():
    stack = open_matrices([np.ones((3, 4)), np.full((5, 2), 2.0)])
    assert stack.shape == (8, 4)
    np.testing.assert_array_equal(stack.read_range(slice(3, 8), slice(0, 2)), np.full((5, 2), 2.0))
    assert stack.kinds == ["3 x 4 float64", "5 x 2 float64"]


@pytest.mark.parametrize("given", [np.ones((3, 4)), [[1.0, 2.0], [3.0, 4.0]], [np.ones(3), np.ones(3)], "z.mtx", None])
def test_what_is_one_matrix_or_none_is_no_stack(given):
    if given is None or isinstance(given, str):
        with pytest.raises(SourceError):
            open_matrices(given)
    else:
        assert not isinstance(open_matrices(given), StackSource)


def test_chunks_that_are_lost_are_told(values, tmp_path):
    place = store_stack(values, tmp_path / "z.zarr", (2, 12, 10))
    stack = open_matrices(place)
    assert (stack.chunk_count, stack.missing_chunks, stack.recount()) == (4, 0, 0)
    travelled = pickle.loads(pickle.dumps(stack))
    (tmp_path / "z.zarr/c/1/0/0").unlink()
    assert stack.recount() == 1
    for one in (stack, travelled):
        with pytest.raises(SourceError, match="c/1/0/0 was there and has been lost"):
            one.read_matrices(np.arange(7))
    assert open_matrices(place).missing_keys(3) == ["c/1/0/0"]
    np.testing.assert_array_equal(open_matrices(place).read_matrices(np.array([2])), np.zeros((1, 12, 10)))
