import os
import shutil

import numpy as np
import pytest
import zarr
import zarr.storage

from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.mapped_files import find_memmap
from dbutterfly.sources.stamps import stamp_array
from tests.support.comparisons import random_matrix
from tests.support.parts import require

SHAPE = (48, 60)


def local(tmp_path, z):
    return zarr.create_array(tmp_path / "z.zarr", data=z, chunks=(16, 20))


def version_2(tmp_path, z):
    return zarr.create_array(tmp_path / "z.zarr", data=z, chunks=(16, 20), zarr_format=2)


def sharded(tmp_path, z):
    return zarr.create_array(tmp_path / "z.zarr", data=z, chunks=(8, 10), shards=(16, 20))


def in_memory(_, z):
    return zarr.create_array(zarr.storage.MemoryStore(), name="deep/z", data=z, chunks=(16, 20))


def wrapped(tmp_path, z):
    local(tmp_path, z)
    return zarr.open_array(zarr.storage.LoggingStore(zarr.storage.LocalStore(tmp_path / "z.zarr")), mode="r+")


def objects(tmp_path, z):
    obstore = require("obstore", "test-s3")
    return zarr.create_array(zarr.storage.ObjectStore(obstore.store.MemoryStore()), name="z", data=z, chunks=(16, 20))


def fsspec_memory(tmp_path, z):
    store = zarr.storage.FsspecStore.from_url(f"memory://{tmp_path.name}")
    return zarr.create_array(store, name="deep/z", data=z, chunks=(16, 20))


def fsspec_files(tmp_path, z):
    store = zarr.storage.FsspecStore.from_url(f"file://{tmp_path}/there", storage_options={"auto_mkdir": True})
    return zarr.create_array(store, data=z, chunks=(16, 20))


@pytest.mark.parametrize("make", [local, version_2, sharded, in_memory, wrapped, objects, fsspec_memory, fsspec_files])
def test_a_chunk_that_is_written_has_another_stamp(tmp_path, make):
    array = make(tmp_path, random_matrix(SHAPE))
    before = as_source(array).stamps()
    assert before.values.shape == (3, 3)
    np.testing.assert_array_equal(as_source(array).stamps().values, before.values)
    array[20, 45] = 4.0
    changed = as_source(array).stamps().values != before.values
    assert np.argwhere(changed).tolist() == [[1, 2]]
    assert before.name_piece(1, 2) == "rows 16..31, columns 40..59"


def test_a_file_whose_time_is_set_back_has_another_stamp(tmp_path):
    local(tmp_path, random_matrix(SHAPE))
    chunk = tmp_path / "z.zarr/c/0/0"
    before, times = as_source(tmp_path / "z.zarr").stamps(), chunk.stat()
    content = bytearray(chunk.read_bytes())
    content[-1] ^= 1
    with open(chunk, "r+b") as file:
        file.write(content)
    os.utime(chunk, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert as_source(tmp_path / "z.zarr").stamps().values[0, 0] != before.values[0, 0]


def test_a_directory_that_is_moved_keeps_its_stamps_and_a_copy_does_not(tmp_path):
    local(tmp_path, random_matrix(SHAPE))
    before = as_source(tmp_path / "z.zarr").stamps().values
    os.rename(tmp_path / "z.zarr", tmp_path / "elsewhere")
    np.testing.assert_array_equal(as_source(tmp_path / "elsewhere").stamps().values, before)
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "copy")
    assert (as_source(tmp_path / "copy").stamps().values != before).all()


def test_attributes_change_no_stamp(tmp_path):
    array = local(tmp_path, random_matrix(SHAPE))
    before = as_source(array).stamps().values
    array.attrs["units"] = "m"
    np.testing.assert_array_equal(as_source(array).stamps().values, before)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_memory_are_stamped_by_content_in_bands(order):
    z = np.array(random_matrix((256, 70)), order=order)
    before = stamp_array(z)
    assert before.is_of_content
    assert before.values.size == 64
    np.testing.assert_array_equal(stamp_array(z.copy(order)).values, before.values)
    z[100, 50] = -z[100, 50]
    assert np.count_nonzero(stamp_array(z).values != before.values) == 1


def test_byte_order_is_no_content():
    z = random_matrix(SHAPE)
    np.testing.assert_array_equal(stamp_array(z.astype(">f8")).values, stamp_array(z).values)


def test_maps_are_stamped_by_their_file_unless_they_hold_their_own_changes(tmp_path):
    np.save(tmp_path / "z.npy", random_matrix(SHAPE))
    for mode in ("r", "r+", "c"):
        mapped = np.load(tmp_path / "z.npy", mmap_mode=mode)
        assert stamp_array(mapped).kind_of_storage == ("content of rows" if mode == "c" else "files")
        assert find_memmap(np.asarray(mapped)[3:]) is mapped
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r+")
    before = stamp_array(mapped)
    mapped[3, 4] = 1
    assert stamp_array(mapped).values != before.values


def test_a_map_whose_file_was_replaced_is_stamped_by_content(tmp_path):
    np.save(tmp_path / "z.npy", random_matrix(SHAPE))
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    np.save(tmp_path / "new.npy", random_matrix(SHAPE, seed=1))
    os.replace(tmp_path / "new.npy", tmp_path / "z.npy")
    assert stamp_array(mapped).kind == "content of rows"


def test_nothing_is_known_without_a_storage():
    import dbutterfly as dbf

    assert as_source(dbf.entries(lambda i, j: i[:, None] + j, SHAPE, float)).stamps() is None
