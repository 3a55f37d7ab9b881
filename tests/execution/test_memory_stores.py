"""Stores that lie in the memory of one process, on a cluster: tiles are sent, results come back."""

import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore, LoggingStore, MemoryStore, ObjectStore

import dbutterfly as dbf
from dbutterfly.errors import NonFiniteError
from tests.support.parts import require

Z = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))

STORES = {
    "zarr": MemoryStore,
    "logged": lambda: LoggingStore(MemoryStore()),
    "fsspec": lambda: FsspecStore.from_url("memory://dbutterfly-memory-stores"),
    "obstore": lambda: ObjectStore(require("obstore.store", "test-s3").MemoryStore()),
}


@pytest.fixture
def store(request):
    found = STORES[request.param]()
    yield found
    if isinstance(found, FsspecStore):
        found.fs.sync_fs.store.clear()


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES, indirect=True)
def test_source_in_memory_is_sent_tile_by_tile(store, client):
    packed = {"scale_factor": 0.5, "add_offset": 1.0}
    array = zarr.create_array(store, data=2 * (Z - 1), chunks=(4, 4), attributes=packed)
    np.testing.assert_allclose(dbf.factorize(array, client=client).operator.to_dense(), Z, atol=1e-13)


def test_missing_entry_of_a_source_in_memory_is_named(client):
    values = np.where(np.eye(16) == 1, -9999, 1).astype("i2")
    array = zarr.create_array(MemoryStore(), data=values, chunks=(4, 4), attributes={"_FillValue": -9999})
    with pytest.raises(NonFiniteError, match=r"-9999 \(_FillValue\) for missing entries.* at index \(0, 0\)"):
        dbf.factorize(array, client=client)


@pytest.mark.slow
@pytest.mark.parametrize("store", ["fsspec", "obstore"], indirect=True)
def test_run_in_memory_gets_its_results_sent(store, client):
    first = dbf.factorize(Z, store=store, client=client)
    np.testing.assert_allclose(first.operator.to_dense(), Z, atol=1e-13)
    np.testing.assert_array_equal(dbf.open(store).operator.to_dense(), first.operator.to_dense())


@pytest.mark.slow
@pytest.mark.parametrize("store", ["logged"], indirect=True)
def test_product_in_memory_gets_its_blocks_sent(store, client):
    dbf.stream_product(dbf.factorize(Z).operator, np.eye(16), store, client=client)
    np.testing.assert_allclose(zarr.open_array(store)[...], Z, atol=1e-13)
