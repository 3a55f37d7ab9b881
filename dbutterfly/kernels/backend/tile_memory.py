"""Memory of tiles, which is used again by the tiles that follow.

A tile is large enough for its memory to go back to the system when it is freed, and the system clears every page that
it hands out: for each tile anew, that takes as long as reading it from the page cache, and the bandwidth of the memory
that all workers of a machine share. While tasks are under way in this process (:func:`keep`), what no array refers to
any more waits for the next tile instead; when the last of them has ended, it goes back.

There are never more buffers than tiles were held at one time, since a new one is made only if none is free.

The workers of Dask tell the allocator to give back whatever is freed (``MALLOC_TRIM_THRESHOLD_`` in their environment),
so that each chunk that is read and each stack of blocks has its pages cleared anew, too: a fifth of a worker's time.
While tasks are under way, the allocator may keep as much as it would by default; then it gives back what it holds.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Allocate", "empty", "keep"]

Allocate: TypeAlias = Callable[[int], NDArray[np.uint8]]
"""Makes a number of bytes."""

SMALLEST_TILE = 1 << 20
"""Bytes below which memory is asked for anew."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of the parameters of ``mallopt`` (malloc.h of the GNU C library)."""
RAISED_THRESHOLDS = {TRIM_THRESHOLD: 1 << 26, MMAP_THRESHOLD: 1 << 25}
"""Most that the GNU C library sets these two to, by itself, where nobody has set them."""
THRESHOLD_VARIABLES = {TRIM_THRESHOLD: "MALLOC_TRIM_THRESHOLD_", MMAP_THRESHOLD: "MALLOC_MMAP_THRESHOLD_"}
"""Variables of the environment that set them."""
DEFAULT_THRESHOLD = 1 << 17
"""What they are if one of them is set and the other is not."""

_lock = threading.RLock()
"""Not a plain lock: a buffer may come back in the middle of anything, as where garbage is collected."""
_users = 0
_free: list[NDArray[np.uint8]] = []
_allocate: Allocate | None = None


@contextlib.contextmanager
def keep(allocate: Allocate | None = None) -> Iterator[None]:
    """Keep the memory of tiles for others until the last of the concurrent users leaves.

    Parameters
    ----------
    allocate : callable, optional
        Where the memory comes from, for all users until the last one leaves; by default the first of them that names
        something, or plain memory.
    """
    global _users, _allocate
    with _lock:
        _users += 1
        _allocate = _allocate or allocate
        if _users == 1:
            _raise_thresholds()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _allocate = None
                _free.clear()
                _restore_thresholds()


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Array like that of :func:`numpy.empty`, whose memory is kept for others when it is gone.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : dtype
        Type of its entries, not an object.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST_TILE or not _users:
        return np.empty(shape, dtype)
    return np.asarray(_TileMemory(_take_memory(size), shape, dtype))


def _take_memory(size: int) -> NDArray[np.uint8]:
    """Free memory of at least this size; what is free and too small is given up, for memory of this size."""
    with _lock:
        for index, block in enumerate(_free):
            if block.nbytes >= size:
                return _free.pop(index)
        _free.clear()
        allocate = _allocate
    return np.empty(size, np.uint8) if allocate is None else allocate(size)


@functools.cache
def _trimming_allocator() -> ctypes.CDLL | None:
    """The C library, where its allocator was told to give back what is freed."""
    given = {parameter: os.environ[name] for parameter, name in THRESHOLD_VARIABLES.items() if name in os.environ}
    if not sys.platform.startswith("linux") or TRIM_THRESHOLD not in given:
        return None
    if not all(size.isdecimal() for size in given.values()):  # as the library, which ignores them then
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _raise_thresholds() -> None:
    if (library := _trimming_allocator()) is not None:
        for parameter, size in RAISED_THRESHOLDS.items():
            library.mallopt(parameter, size)


def _restore_thresholds() -> None:
    if (library := _trimming_allocator()) is not None:
        for parameter, name in THRESHOLD_VARIABLES.items():
            library.mallopt(parameter, int(os.environ.get(name, DEFAULT_THRESHOLD)))
        library.malloc_trim(0)


class _TileMemory:
    """Memory under an array and all its views, which keep this object until the last of them is gone."""

    def __init__(self, block: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._block = block
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (block.ctypes.data, False),
            "version": 3,
        }

    def __del__(self) -> None:
        with _lock:
            if _users:
                _free.append(self._block)
