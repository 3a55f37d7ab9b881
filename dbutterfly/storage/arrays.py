"""Single Zarr arrays at a place: create one, read one, and tell what occupies a place."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from ..errors import StoreError
from .guarded_store import guard
from .places import as_store, holds_objects, is_remote, retry_at
from .retries import as_store_error, retry

__all__ = ["create_array", "occupant", "open_array", "read_array", "write_range"]


UNFINISHED = ".partial"
"""End of the names under which Zarr writes files: of a process that was killed at that moment, they stay behind."""


def create_array(
    store: Any,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    chunks: tuple[int, ...],
    *,
    overwrite: bool = False,
    compressors: Any = None,
) -> zarr.Array[Any]:
    """Create an empty Zarr array (format 3), where nothing is or an array or group may be replaced.

    Parameters
    ----------
    store : path, URL or Zarr store
        Place of the array.
    shape, chunks : tuple of int
        Shapes of the array and of its chunks.
    dtype : dtype
        Type of the entries.
    overwrite : bool
        Whether to delete an array or group that is there.
    compressors : optional
        As for :func:`zarr.create_array`.

    Raises
    ------
    StoreError
        If something is there that may not be replaced, or the array cannot be created.
    """
    found = occupant(store)
    if found == "other files":
        raise StoreError(
            f"store={store!r} holds files that are not Zarr; they are never deleted, so name another place"
        )
    if found is not None and not overwrite:
        raise StoreError(f"store={store!r} already holds a Zarr {found}; pass overwrite=True to replace it")
    place = as_store(store, argument="store")
    with as_store_error(f"no array can be created at store={store!r}"):
        return zarr.create_array(
            place,
            shape=shape,
            dtype=np.dtype(dtype),
            chunks=chunks,
            compressors=compressors,
            overwrite=overwrite,
        )


def open_array(store: Any) -> zarr.Array[Any]:
    """Open a Zarr array for reading.

    Raises
    ------
    StoreError
        If there is none or it cannot be opened.
    """
    place = as_store(store, read_only=True, argument="store")
    with as_store_error(f"store={store!r} holds no readable Zarr array"):
        return retry_at(place, "open", lambda: zarr.open_array(place, mode="r"))


def read_array(store: Any) -> NDArray[Any]:
    """Read a Zarr array whole.

    Raises
    ------
    StoreError
        If there is none or it cannot be read.
    """
    found = open_array(store)
    with as_store_error(f"store={store!r} holds no readable Zarr array"):
        return retry_at(found.store, "read", lambda: np.asarray(found[...]))


def write_range(array: zarr.Array[Any], selection: tuple[slice, ...], values: NDArray[Any]) -> None:
    """Write a range of an array, again where that may help.

    Raises
    ------
    StoreError
        If that fails.
    """

    def put() -> None:
        array[selection] = values

    with as_store_error(f"cannot write {array.store_path}"):
        retry(put, describe=f"writing {array.store_path}", remote=is_remote(array))


def occupant(store: Any) -> Literal["array", "group", "other files"] | None:
    """What a place holds; None where something new may be created.

    Raises
    ------
    StoreError
        If that cannot be told.
    """
    place = guard(as_store(store, read_only=True, argument="store"), read_only=True)
    try:
        with as_store_error(
            f"store={store!r} cannot be opened", "name a path, a URL or a Zarr store", but=(FileNotFoundError,)
        ):
            node = retry_at(place, "open", lambda: zarr.open(place, mode="r"))
    except FileNotFoundError:  # also the parent of Zarr's own errors of a missing node
        with as_store_error(f"store={store!r} cannot be listed", "name a path, a URL or a Zarr store"):
            return "other files" if _holds_files(store) else None
    return "array" if isinstance(node, zarr.Array) else "group"


def _holds_files(store: Any) -> bool:
    """Whether there is anything at a place where no Zarr array or group is."""
    place = as_store(store, argument="store")
    if isinstance(place, zarr.storage.LocalStore):
        place = place.root
    if not isinstance(place, (str, os.PathLike)) or "://" in os.fspath(place):
        return holds_objects(place)
    path = os.fspath(place)
    if not os.path.isdir(path):
        return os.path.exists(path)
    return any(not name.endswith(UNFINISHED) for name in os.listdir(path))
