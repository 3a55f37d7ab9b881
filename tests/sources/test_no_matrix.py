"""Things and files that are no matrix: what they are, and what to pass instead."""

import asyncio
import concurrent.futures
import io

import dask
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import zarr
import zarr.buffer.cpu
import zarr.storage

import dbutterfly as dbf
from dbutterfly.errors import SourceError
from dbutterfly.sources.dispatch import as_source

Z = np.arange(12.0).reshape(3, 4)
Q = np.asarray(dbf.matrices.orthogonal_butterfly(16, seed=0))
EVERYTHING = (slice(0, 3), slice(0, 4))


async def later():
    return Z


SparseArray = type("SparseArray", (), {"__module__": "sparse.numba_backend", "shape": (3, 4), "ndim": 2})

THINGS = {
    "None": (lambda: None, "source is None"),
    "number": (lambda: 3, r"a number \(builtins.int\)"),
    "NumPy's number": (lambda: np.float32(3), "a number"),
    "generator": (lambda: (row for row in Z), r"an iterator .*generator.*numpy\.array\(list\(source\)\)"),
    "map": (lambda: map(float, Z[0]), "an iterator"),
    "dictionary": (lambda: {"a": Z}, r"a mapping .*source\[name\]"),
    "set": (lambda: {1, 2}, "a set"),
    "bytes": (lambda: b"z.npy", "bytes .*frombuffer"),
    "open file": (io.BytesIO, "an open file .*pass its path"),
    "function": (lambda: lambda i, j: Z[i, j], r"a function .*dbutterfly\.entries"),
    "class": (lambda: np.ndarray, "a class"),
    "Delayed": (lambda: dask.delayed(lambda: Z)(), r"a Dask Delayed .*dask\.array\.from_delayed"),
    "future": (concurrent.futures.Future, r"a future .*source\.result\(\)"),
    "sparse": (SparseArray, r"a sparse array .*source\.todense\(\)"),
    "factorization": (lambda: dbf.factorize(np.eye(4)), r"a Factorization .*source\.operator"),
    "chain": (lambda: dbf.Chain.square_dyadic(4), "no matrix but a part of a job"),
    "text": (lambda: "", "is an empty text"),
    "ragged": (lambda: [[1.0, 2.0], [3.0]], "no array.*all rows need the same length"),
    "texts": (lambda: [["a", "b"]], "these are texts"),
    "objects": (lambda: [[1.0, None]], "these are Python objects"),
    "missing": (lambda: pd.DataFrame({"a": [1, None]}, dtype=object), "these are Python objects"),
    "column": (lambda: pd.Series([1.0, 2.0]), "array has 1 dimensions"),
}


@pytest.mark.parametrize("name", THINGS)
def test_thing_is_named_with_a_remedy(name):
    make, named = THINGS[name]
    with pytest.raises((SourceError, dbf.errors.InputError), match=named):
        as_source(make())


def test_coroutine_is_named():
    waiting = later()
    with pytest.raises(SourceError, match=r"a coroutine .*awaiting"):
        as_source(waiting)
    asyncio.run(waiting)


def test_groups_of_files_are_named(tmp_path):
    np.savez(tmp_path / "z.npz", a=Z)
    with (
        np.load(tmp_path / "z.npz") as opened,
        pytest.raises(SourceError, match=r"a mapping .*NpzFile.*source\[name\]"),
    ):
        as_source(opened)
    with h5py.File(tmp_path / "z.h5", "w") as file, pytest.raises(SourceError, match=r"an HDF5 group .*from_array"):
        as_source(file)


def write(path):
    suffix = path.suffix
    if suffix == ".h5":
        h5py.File(path, "w").close()
    elif suffix == ".npz":
        np.savez(path, a=Z)
    elif suffix == ".mat":
        scipy.io.savemat(path, {"a": Z})
    elif suffix == ".npy":
        path.write_bytes(b"")
    else:
        path.write_text("1,2\n3,4\n")
    return path


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("z.h5", r"it is an HDF5 file; pass dask\.array\.from_array\(h5py\.File\('z\.h5'\)\[name\]\)"),
        ("z.npz", r"it is a zip archive without a Zarr array; pass numpy\.load\('z\.npz'\)\[name\]"),
        ("z.mat", r"it is a MATLAB file; pass scipy\.io\.loadmat"),
        ("z.csv", r"no file of a known format; pass numpy\.loadtxt\('z\.csv', delimiter=','\)"),
        ("z.txt", r"pass numpy\.loadtxt\('z\.txt'\)"),
        ("z", "no file of a known format"),
        ("z.npy", r"z\.npy' is no readable \.npy file of numbers"),
    ],
)
def test_file_is_named_with_a_remedy(tmp_path, name, named):
    with pytest.raises(SourceError, match=named):
        as_source(write(tmp_path / name))


def test_empty_and_truncated_files_are_named(tmp_path):
    (tmp_path / "z").touch()
    with pytest.raises(SourceError, match=r"it is empty \(0 bytes\)"):
        as_source(tmp_path / "z")
    np.save(tmp_path / "z.npy", np.eye(64))
    whole = (tmp_path / "z.npy").read_bytes()
    for length in (3, 8, 20, 200, len(whole) - 1):
        (tmp_path / "z.npy").write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"z\.npy' is no readable \.npy file of numbers"):
            as_source(tmp_path / "z.npy")


@pytest.mark.parametrize("name", ["z.NPY", "z.Npy", "z", "z.dat"])
def test_file_of_an_array_is_known_by_what_it_holds(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        np.save(file, Z)
    np.testing.assert_array_equal(as_source(tmp_path / name).array, Z)


def stores(tmp_path):
    array = zarr.create_array(tmp_path / "z.zarr", data=Z, chunks=(2, 2))
    with zarr.storage.ZipStore(tmp_path / "z.zip", mode="w") as packed:
        zarr.create_array(packed, data=Z, chunks=(2, 2))
    held = {}
    zarr.create_array(zarr.storage.MemoryStore(held), data=Z, chunks=(2, 2))
    return {
        "place in a store": array.store_path,
        "asynchronous array": array.async_array,
        "zip file": tmp_path / "z.zip",
        "zip file by text": str(tmp_path / "z.zip"),
        "dictionary": held,
        "dictionary of bytes": {key: value.to_bytes() for key, value in held.items()},
    }


def test_zarr_arrays_are_opened_wherever_they_are(tmp_path):
    for name, source in stores(tmp_path).items():
        np.testing.assert_array_equal(as_source(source).read_range(*EVERYTHING), Z, err_msg=name)


def test_zarr_array_in_a_zip_file_is_read_by_workers(tmp_path, client):
    with zarr.storage.ZipStore(tmp_path / "z.zip", mode="w") as packed:
        zarr.create_array(packed, data=Q, chunks=(4, 4))
    found = dbf.factorize(tmp_path / "z.zip", client=client)
    np.testing.assert_allclose(found.operator.to_dense(), Q, atol=1e-13)


def test_zip_file_with_a_group_names_its_arrays(tmp_path):
    with zarr.storage.ZipStore(tmp_path / "z.zip", mode="w") as packed:
        zarr.create_group(packed).create_array("inside", data=Z)
    with pytest.raises(SourceError, match=r"z\.zip'.* is a Zarr group; name one of its arrays: inside"):
        as_source(tmp_path / "z.zip")
