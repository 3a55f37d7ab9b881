"""What a source reads from is seen through everything that wraps it, and is never written over."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import dbutterfly as dbf
from dbutterfly.errors import InputError
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.places_read import places_read
from dbutterfly.storage.destinations import check_apart, file_place

N = 8


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory with the same matrix in several forms."""
    monkeypatch.chdir(tmp_path)
    z = np.random.default_rng(0).standard_normal((N, N))
    zarr.create_array("z.zarr", data=z, chunks=(4, 4))
    zarr.create_group("g.zarr").create_array("z", data=z, chunks=(4, 4), dimension_names=("x", "y"))
    np.save("z.npy", z)
    with h5py.File("z.h5", "w") as file:
        file["z"] = z
    return tmp_path


def mapped() -> Any:
    return np.load("z.npy", mmap_mode="r")


SHARED: list[Any] = []


def entry_of_a_global(rows: Any, cols: Any) -> Any:
    return SHARED[0][:][np.ix_(rows, cols)]


def entry_of_a_helper(rows: Any, cols: Any) -> Any:
    return entry_of_a_global(rows, cols)


def entry_of_a_constant(rows: Any, cols: Any) -> Any:
    return zarr.open_array("z.zarr", mode="r")[:][np.ix_(rows, cols)]


class Entry:
    def __init__(self, array: Any) -> None:
        self.array = array

    def __call__(self, rows: Any, cols: Any) -> Any:
        return self.array[:][np.ix_(rows, cols)]


class Sensor(LinearOperator):
    def __init__(self, array: Any) -> None:
        self.array = array
        super().__init__(np.dtype(float), array.shape)

    def _matvec(self, x: Any) -> Any:
        return np.asarray(self.array) @ x

    def _rmatvec(self, x: Any) -> Any:
        return np.asarray(self.array).T @ x


def entries(f: Any) -> Any:
    return dbf.entries(f, (N, N), float)


def opened() -> Any:
    return zarr.open_array("z.zarr", mode="r")


def shared() -> Any:
    SHARED[:] = [opened()]
    return entries(entry_of_a_global)


def helped() -> Any:
    SHARED[:] = [opened()]
    return entries(entry_of_a_helper)


def closed_over() -> Any:
    array = opened()
    return entries(lambda i, j: array[:][np.ix_(i, j)])


def expression() -> Any:
    d = da.from_zarr("z.zarr")
    return (d - d.mean(axis=0)).T.rechunk((3, 5)) * 2


def delayed() -> Any:
    return da.from_delayed(dask.delayed(np.load)("z.npy"), (N, N), float)


SOURCES: dict[str, tuple[str, Any]] = {
    "path": ("z.zarr", lambda: "z.zarr"),
    "array": ("z.zarr", opened),
    "file": ("z.npy", lambda: "z.npy"),
    "memory map": ("z.npy", mapped),
    "view of a memory map": ("z.npy", lambda: mapped().T[::-1]),
    "array over a memory map": ("z.npy", lambda: np.asarray(mapped())[:, ::-1]),
    "Dask from_zarr": ("z.zarr", lambda: da.from_zarr("z.zarr")),
    "Dask expression": ("z.zarr", expression),
    "Dask delayed map": ("z.npy", lambda: da.from_delayed(dask.delayed(mapped(), pure=True), (N, N), float)),
    "Dask delayed path": ("z.npy", delayed),
    "Dask of HDF5": ("z.h5", lambda: da.from_array(h5py.File("z.h5")["z"], chunks=(4, 4))),
    "HDF5 entries": ("z.h5", lambda: entries(Entry(h5py.File("z.h5")["z"]))),
    "xarray": ("g.zarr", lambda: xr.open_zarr("g.zarr", consolidated=False)["z"].data),
    "xarray, no Dask": ("g.zarr", lambda: entries(Entry(xr.open_zarr("g.zarr", consolidated=False, chunks=None)["z"]))),
    "entries that close over it": ("z.zarr", closed_over),
    "entries of a global": ("z.zarr", shared),
    "entries of a helper": ("z.zarr", helped),
    "entries of a constant": ("z.zarr", lambda: entries(entry_of_a_constant)),
    "entries of an object": ("z.zarr", lambda: entries(Entry(opened()))),
    "entries of a partial": ("z.npy", lambda: entries(functools.partial(lambda z, i, j: z[np.ix_(i, j)], mapped()))),
    "noisy known matrix": ("z.npy", lambda: dbf.matrices.noisy(entries(Entry(mapped())), 0.1, seed=0)),
    "operator": ("z.npy", lambda: aslinearoperator(mapped())),
    "operator of one's own": ("z.npy", lambda: Sensor(mapped())),
    "sum of operators": ("z.npy", lambda: aslinearoperator(mapped()) + 2 * aslinearoperator(np.eye(N))),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_what_is_read_is_seen(kind: str) -> None:
    where, make = SOURCES[kind]
    source = as_source(make()) if kind != "noisy known matrix" else make()
    read = places_read(source)
    with pytest.raises(InputError, match="which is read"):
        check_apart(file_place(where), read)
    other = "z.npy" if where == "z.zarr" else "z.zarr"
    check_apart(file_place(other), read)
    check_apart("new.zarr", read)


def test_arrays_in_memory_read_from_nowhere() -> None:
    z = np.ones((N, N))
    for source in (z, da.from_array(z, chunks=4), dbf.matrices.dft(N), aslinearoperator(z), z.T[::2]):
        assert places_read(source) == []


def test_graphs_that_hold_themselves_end() -> None:
    loop: list[Any] = [opened()]
    loop.append({"again": loop})
    assert len(places_read(loop)) == 1
