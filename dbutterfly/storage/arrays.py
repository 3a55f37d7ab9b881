"""Single Zarr arrays at a place: create one, read one, and tell what occupies a place."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from ..errors import SourceError, StoreError
from .codecs import FORMAT_3
from .destinations import Place, check_apart, check_unread_below
from .guarded_store import guard
from .manifest import KEY
from .places import as_store, holds_objects, is_remote, retry_at
from .replacing import new_place, settle
from .retries import as_store_error, retry
from .trails import directory_of

__all__ = ["check_written", "new_array", "occupant", "open_array", "read_array", "write_range"]


UNFINISHED = ".partial"
"""End of the names under which Zarr writes files: of a process that was killed at that moment, they stay behind."""

AXES = ("matrices", "rows", "cols")
"""Names of the axes of arrays, the last ones where there are fewer."""

UNWRITTEN = "dbutterfly_unwritten"
"""Attribute of an array that is being written. Where no rename can put an array in place, as in object storage, it is
what tells half of one."""

NO_FILES = (".DS_Store", "._", ".nfs", ".directory", "Thumbs.db", "desktop.ini", "lost+found")
"""Beginnings of the names of what systems leave in directories that are empty for their users."""


@contextlib.contextmanager
def new_array(
    store: Any,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    chunks: tuple[int, ...],
    *,
    sources: Iterable[Place] = (),
    overwrite: bool = False,
    compressors: Any = None,
) -> Iterator[zarr.Array[Any]]:
    """Give a Zarr array (format 3) to fill, which is at its place when the block ends, where it can be so.

    What was at the place stays there until then (:func:`dbutterfly.storage.replacing.new_place`), and stays for good if
    the block fails.

    Parameters
    ----------
    store : path, URL or Zarr store
        Place of the array.
    shape, chunks : (int, int) or (int, int, int)
        Shapes of the array and of its chunks; with three axes, matrices come first.
    dtype : dtype
        Type of the entries.
    sources : iterable of Place
        What is read meanwhile; the array may neither replace it nor lie in it.
    overwrite : bool
        Whether to replace an array or group that is there.
    compressors : optional
        As for :func:`zarr.create_array`.

    Yields
    ------
    zarr.Array
        Its dimensions have names, which no array of another shape in the same group has for other sizes.

    Raises
    ------
    InputError
        If the place is read, or lies in what is read, or around it.
    StoreError
        If something is there that may not be replaced, or the array cannot be created.
    """
    sources = list(sources)
    check_apart(store, sources)
    found = _check_replaceable(store, overwrite)
    if found is not None:
        check_unread_below(store, sources)
    with new_place(store, is_occupied=found is not None) as place:
        with as_store_error(f"no array can be created at store={store!r}"):
            array = zarr.create_array(
                place,
                shape=shape,
                dtype=np.dtype(dtype),
                chunks=chunks,
                compressors=compressors,
                dimension_names=[f"{axis}_{size}" for axis, size in zip(AXES[-len(shape) :], shape, strict=True)],
                fill_value=0,
                attributes={UNWRITTEN: True},
                **FORMAT_3,
            )
        yield array
        with as_store_error(f"cannot write {array.store_path}"):
            retry(lambda: array.attrs.pop(UNWRITTEN, None), describe=f"end {store}", remote=is_remote(array))


def check_written(array: zarr.Array[Any]) -> None:
    """Refuse an array that was not written to its end: what is missing in it would read as zeros.

    Raises
    ------
    SourceError
        If it is one of :func:`new_array`, and says so.
    """
    if array.attrs.get(UNWRITTEN):
        raise SourceError(
            f"Zarr array {array.store_path} was not written to its end, or is still being written; write it anew"
        )


def _check_replaceable(store: Any, overwrite: bool) -> str | None:
    """What a place holds that will be replaced; None where there is nothing.

    Raises
    ------
    StoreError
        If it may not be replaced.
    """
    found = occupant(store)
    if found == "other files":
        raise StoreError(
            f"store={store!r} holds files that are not Zarr; they are never deleted, so name another place"
        )
    if found is not None and not overwrite:
        raise StoreError(f"store={store!r} already holds a Zarr {found}; pass overwrite=True to replace it")
    if found == "group":
        with as_store_error(f"store={store!r} cannot be read"):
            run = _run_in(as_store(store, read_only=True, argument="store"))
        if run is not None:
            raise StoreError(
                f"store={store!r} holds {run}, which is never replaced by an array; delete it yourself, or name "
                "another place"
            )
    return found


def _run_in(place: Any) -> str | None:
    """What a group holds of what dbutterfly has stored, at any depth: a run, a factorization or an operator."""
    path = directory_of(place)
    if path is not None:
        attributes = _attributes_below(path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # objects that are not Zarr's
            group = zarr.open_group(place, mode="r")
            nodes = [("", group), *group.members(max_depth=None)]
        attributes = ((name, node.attrs.asdict()) for name, node in nodes if isinstance(node, zarr.Group))
    for name, values in attributes:
        if isinstance(values.get(KEY), dict):
            return f"a dbutterfly run or operator{name and f' in {name!r}'}"
    return None


def _attributes_below(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and attributes of all Zarr groups in a directory."""
    for directory, folders, files in os.walk(path):
        if "zarr.json" not in files:
            continue
        with contextlib.suppress(ValueError, OSError), open(os.path.join(directory, "zarr.json"), "rb") as file:
            metadata = json.load(file)
            if metadata.get("node_type") == "array":
                folders.clear()
            elif isinstance(metadata.get("attributes"), dict):
                yield os.path.relpath(directory, path).strip("."), metadata["attributes"]


def open_array(store: Any, *, read_only: bool = True) -> zarr.Array[Any]:
    """Open an array that is there.

    Raises
    ------
    StoreError
        If there is none or it cannot be opened.
    """
    place = as_store(store, read_only=read_only, argument="store")
    settle(place)
    with as_store_error(f"store={store!r} holds no readable Zarr array"):
        return retry_at(place, "open", lambda: zarr.open_array(place, mode="r" if read_only else "r+"))


def read_array(store: Any) -> NDArray[Any]:
    """Read a Zarr array whole.

    Raises
    ------
    StoreError
        If there is none or it cannot be read.
    """
    found = open_array(store)
    check_written(found)
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
    place = as_store(store, read_only=True, argument="store")
    settle(place)
    place = guard(place, read_only=True)
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
    return any(not name.endswith(UNFINISHED) and not name.startswith(NO_FILES) for name in os.listdir(path))
