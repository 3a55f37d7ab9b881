"""Which chunks a store held when it was listed: looked up by key, packed for workers, and used when one is gone."""

import pickle

import numpy as np
import pytest
import zarr

from dbutterfly.errors import SourceError
from dbutterfly.sources.chunk_files import chunk_key
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.stored_chunks import StoredChunks
from tests.support.forgetful_store import Forgetful

KINDS = {
    "whole": {"chunks": (8, 8)},
    "shards": {"chunks": (4, 4), "shards": (8, 8)},
    "v2": {"chunks": (8, 8), "zarr_format": 2},
    "v2 slash": {"chunks": (8, 8), "zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "dots": {"chunks": (8, 8), "chunk_key_encoding": {"name": "default", "separator": "."}},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["", "deep/z"])
def test_keys_are_looked_up_in_every_encoding(kind, path):
    array = zarr.create_array(zarr.storage.MemoryStore(), name=path or None, shape=(32, 24), dtype="f8", **KINDS[kind])
    stored = StoredChunks.without(path, np.array([4, 11]), 12, 3)
    travelled = StoredChunks.from_bytes(path, stored.to_bytes(), 12, 3)
    for number in range(12):
        key = f"{path}/{chunk_key(array, *divmod(number, 3))}".lstrip("/")
        assert stored.has_key(key) == travelled.has_key(key) == (number not in (4, 11))
    for other in ("zarr.json", ".zarray", f"{path}/zarr.json", "c", "c/0", "c/0/0/0"):
        assert not stored.has_key(other)


def test_many_chunks_travel_in_few_bytes():
    count = 1_000_000
    assert len(StoredChunks.without("", np.empty(0, np.int64), count, 1000).to_bytes()) < 1000
    assert len(StoredChunks.without("", np.arange(0, count, 2), count, 1000).to_bytes()) < 1000
    drawn = np.flatnonzero(np.random.default_rng(0).random(count) < 0.5)
    assert len(StoredChunks.without("", drawn, count, 1000).to_bytes()) < 130_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", [np.s_[0:32, 0:24], np.s_[9:11, 2:23]], ids=["whole", "part"])
@pytest.mark.parametrize("travels", [False, True])
def test_a_chunk_that_was_listed_is_never_its_fill_value(tmp_path, kind, wanted, travels):
    """One that was not listed is."""
    z = np.random.default_rng(0).standard_normal((32, 24))
    z[8:16, 8:16] = 0
    array = zarr.create_array(tmp_path / "z.zarr", shape=z.shape, dtype=z.dtype, fill_value=0, **KINDS[kind])
    array[...] = z
    source = as_source(Forgetful(zarr.storage.LocalStore(tmp_path / "z.zarr", read_only=True)))
    assert source.missing_keys(9) == [chunk_key(array, 1, 1)]
    if travels:
        source = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(source.read_block(*wanted), z[wanted])
    source.array.store.forgotten = (chunk_key(array, 1, 2),)
    with pytest.raises(
        SourceError, match=rf"chunk {chunk_key(array, 1, 2)} was there and is not found now; restore it"
    ):
        source.read_block(*wanted)


def test_a_file_that_was_listed_is_never_the_fill_value_where_others_are_missing(tmp_path):
    array = zarr.create_array(tmp_path / "z.zarr", shape=(32, 24), dtype="f8", chunks=(8, 8), fill_value=0)
    array[:16] = 1
    source = as_source(tmp_path / "z.zarr")
    assert source.missing_chunks == 6
    (tmp_path / "z.zarr" / "c/1/2").unlink()
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert not one.read_block(slice(16, 32), slice(0, 24)).any()
        with pytest.raises(SourceError, match="chunk c/1/2 was there and has been lost"):
            one.read_block(slice(0, 32), slice(0, 24))
