"""Matrices by their path: ``.npy`` files, Zarr arrays in directories, zip files and at URLs, and Zarr stores."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.buffer.cpu
import zarr.storage
from numpy.typing import NDArray

from ..errors import SourceError
from ..storage.guarded_store import check_metadata
from ..storage.local_paths import is_url, local_path
from ..storage.places import as_store, is_remote
from ..storage.replacing import settle
from ..storage.retries import reason, retry
from .no_matrix import MAGIC_NPY, refuse_file

__all__ = ["is_store_in_dict", "list_arrays", "open_dict", "open_node", "open_path", "open_zarr_array"]

METADATA = ("zarr.json", ".zarray", ".zgroup")
"""Keys of a Zarr store."""


def open_path(path: str) -> NDArray[Any] | zarr.Array[Any]:
    """Open what is at a path: a ``.npy`` file, whatever its name, mapped into memory, or a Zarr array.

    Raises
    ------
    SourceError
        If there is nothing, or something else.
    """
    if not path.strip():
        raise SourceError(f"source={path!r} is an empty text; give a Zarr array, its URL, or a .npy file")
    if is_url(path):
        return open_zarr_array(path)
    local = Path(local_path(path, "source"))
    settle(str(local))
    if not local.exists():
        raise SourceError(f"source={path!r} does not exist; give a Zarr array, its URL, or a .npy file")
    if not local.is_file():
        return open_zarr_array(path)
    if local.suffix.lower() == ".npy" or _starts_with(local, MAGIC_NPY):
        try:
            return np.load(local.absolute(), mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
        except (OSError, ValueError, EOFError) as error:
            raise SourceError(f"source={path!r} is no readable .npy file of numbers: {error}") from error
    if _starts_with(local, b"PK\x03\x04"):
        store = zarr.storage.ZipStore(local.absolute(), mode="r", read_only=True)
        try:
            node = _open_quietly(store)
        except FileNotFoundError:
            store.close()
        else:
            return _array_of(node, path)
    refuse_file(local)
    raise AssertionError


def open_zarr_array(place: Any) -> zarr.Array[Any]:
    """Open a Zarr array for reading.

    Raises
    ------
    SourceError
        If there is none; for a group, the message lists its arrays.
    """
    return _array_of(open_node(place), place)


def open_node(place: Any) -> Any:
    """Open a Zarr array or group for reading.

    Raises
    ------
    SourceError
        If there is none.
    """
    store = as_store(place, read_only=True, argument="source")  # absolute: workers elsewhere and later runs know it
    try:
        return retry(lambda: _open_quietly(store), describe=f"open source={place!r}", remote=is_remote(store))
    except Exception as error:
        raise SourceError(f"source={place!r} cannot be opened as a Zarr array: {reason(error)}") from error


def is_store_in_dict(source: Any) -> bool:
    """Whether something is a dictionary that holds a Zarr store."""
    return isinstance(source, dict) and any(str(key).rpartition("/")[2] in METADATA for key in source)


def open_dict(source: dict[str, Any]) -> zarr.Array[Any]:
    """Open the Zarr array in a dictionary of bytes, or of Zarr's buffers.

    Raises
    ------
    SourceError
        As :func:`open_zarr_array`.
    """
    make = zarr.buffer.cpu.Buffer.from_bytes
    held = {
        key: make(bytes(value)) if isinstance(value, (bytes, bytearray)) else value for key, value in source.items()
    }
    return open_zarr_array(zarr.storage.MemoryStore(held))


def list_arrays(group: zarr.Group) -> str:
    """Names of the first arrays of a group."""
    names = [name for name, _ in group.arrays()]
    return ", ".join(names[:8]) if names else "it has none"


def _array_of(node: Any, place: Any) -> zarr.Array[Any]:
    """The array that was opened; a group is refused."""
    if isinstance(node, zarr.Group):
        raise SourceError(f"source={place!r} is a Zarr group; name one of its arrays: {list_arrays(node)}")
    found: zarr.Array[Any] = node
    return found


def _starts_with(path: Path, magic: bytes) -> bool:
    """Whether a file starts with some bytes; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False


def _open_quietly(store: Any) -> Any:
    check_metadata(store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return zarr.open(store, mode="r")
