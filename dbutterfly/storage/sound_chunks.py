"""Whether a chunk of a run's store is as it was written, judged by its bytes, not by what a library says."""

from __future__ import annotations

import math
from typing import Any

import google_crc32c
import zarr
from zarr.buffer import default_buffer_prototype
from zarr.storage import FsspecStore

from .array_checksum import ArrayChecksum
from .places import run_coroutine

__all__ = ["is_sound"]

CHECKSUM_BYTES = 4
"""Bytes of the checksum after those of the entries, little end first."""


def is_sound(array: zarr.Array[Any], at: tuple[int, ...]) -> bool:
    """Whether the chunk at a grid position is there, as long as its entries are, and has the checksum that it names.

    Parameters
    ----------
    array : zarr.Array
        An array whose chunks are its entries and a checksum, that of Zarr or an
        :class:`~dbutterfly.storage.array_checksum.ArrayChecksum`.
    at : tuple of int
        Position of the chunk.
    """
    content = _read(array, at)
    if content is None or len(content) != math.prod(array.chunks) * array.dtype.itemsize + CHECKSUM_BYTES:
        return False
    stored = int.from_bytes(content[-CHECKSUM_BYTES:], "little")
    seed = next((codec.seed for codec in array.compressors if isinstance(codec, ArrayChecksum)), 0)
    return bool(google_crc32c.extend(seed, content[:-CHECKSUM_BYTES]) == stored)


def _read(array: zarr.Array[Any], at: tuple[int, ...]) -> bytes | None:
    """Bytes of a chunk; None where it is not there, or cannot be read.

    The connections of fsspec belong to the event loop of Zarr: nothing is told of their chunks.
    """
    if isinstance(array.store, FsspecStore):
        return None
    key = str(array.metadata.encode_chunk_key(at))
    store, path = array.store, f"{array.path}/{key}".lstrip("/")

    async def get() -> bytes | None:
        found = await store.get(path, default_buffer_prototype())
        return None if found is None else found.to_bytes()

    try:
        return run_coroutine(get())
    except Exception:
        return None
