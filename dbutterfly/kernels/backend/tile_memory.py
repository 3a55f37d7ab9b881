"""Memory of tiles, which is used again by the tiles that follow.

The memory of a tile is large enough to go back to the system when it is freed, and the system clears every page that it
hands out. For each tile anew, that takes as long as reading it from the page cache, and the bandwidth of the memory
that all workers of a machine share. While tasks are under way in this process (:func:`keep`), memory to which no array
refers any more waits for the next tile instead. When the last of the tasks has ended, all of it goes back.

There is never more of it than for the tiles that were held at one time, since new memory is asked for only if none is
free.

The workers of Dask tell the allocator of the C library to give back whatever is freed (``MALLOC_TRIM_THRESHOLD_`` in
their environment), so that the pages of each chunk that is read, and of each stack of blocks, are cleared anew, too: a
fifth of a worker's time. While tasks are under way, the allocator may keep as much as it would by default. Then its
thresholds are again those of the environment, and what it holds goes back.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import platform
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Allocate", "empty", "keep"]

Allocate: TypeAlias = Callable[[int], NDArray[np.uint8]]
"""A function that makes an array of so many bytes."""

SMALLEST_TILE = 1 << 20
"""Bytes of an array below which its memory is plain memory.

Not tuned: a mebibyte is far below a tile.
"""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of the parameters of ``mallopt`` (malloc.h of the GNU C library).

Free memory at the end of the heap above the first threshold goes back to the system. Memory above the second one is
mapped by itself, and goes back when it is freed.
"""

RAISED_THRESHOLDS = {TRIM_THRESHOLD: 1 << 26, MMAP_THRESHOLD: 1 << 25}
"""Largest values that the GNU C library sets by itself, where nobody has set one."""

THRESHOLD_VARIABLES = {TRIM_THRESHOLD: "MALLOC_TRIM_THRESHOLD_", MMAP_THRESHOLD: "MALLOC_MMAP_THRESHOLD_"}
"""Variables of the environment that set them when a process starts."""

DEFAULT_THRESHOLD = 1 << 17
"""Value of one of the two where the environment sets the other one only."""

_lock = threading.RLock()
"""A lock that its thread may take again: memory comes back where garbage is collected, which may be under the lock."""

_users = 0
"""Blocks of :func:`keep` in which threads of this process are."""

_free: list[NDArray[np.uint8]] = []
"""Memory to which no array refers any more."""

_allocate: Allocate | None = None
"""Function from which the memory comes while there are users; None for plain memory."""


@contextlib.contextmanager
def keep(allocate: Allocate | None = None) -> Iterator[None]:
    """Keep the memory of tiles for others until the last of the concurrent users leaves.

    Parameters
    ----------
    allocate : callable, optional
        Function from which the memory comes. The first one that a user names serves all users until the last one
        leaves; if nobody names one, it is plain memory.
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
    """Array as of :func:`numpy.empty`, whose memory is kept for others when the array is gone.

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
    """Free memory of at least this size, or new memory, for which all that is free, and too small, is given up."""
    with _lock:
        for index, memory in enumerate(_free):
            if memory.nbytes >= size:
                return _free.pop(index)
        _free.clear()
        allocate = _allocate
    return np.empty(size, np.uint8) if allocate is None else allocate(size)


@functools.cache
def _allocator_library() -> ctypes.CDLL | None:
    """The C library, if the environment told its allocator to give back what is freed; else None.

    So the allocator of a process in which nobody has set a threshold, as of a program on threads, is left alone. Where
    the workers are ours, Dask's setting ``distributed.nanny.pre-spawn-environ`` could leave the variable out instead.
    But an idle worker would then hold what it has freed, and the workers of a cluster that was there before would go on
    clearing pages. With ``mallopt``, both are served, and outside of tasks a worker is as Dask has set it up.
    """
    given = {parameter: os.environ[name] for parameter, name in THRESHOLD_VARIABLES.items() if name in os.environ}
    if platform.system() != "Linux" or TRIM_THRESHOLD not in given:
        return None
    if not all(size.isdecimal() for size in given.values()):  # as the library, which ignores them then
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _raise_thresholds() -> None:
    """Let the allocator keep freed memory, as it would by default."""
    if (library := _allocator_library()) is not None:
        for parameter, size in RAISED_THRESHOLDS.items():
            library.mallopt(parameter, size)


def _restore_thresholds() -> None:
    """Set the thresholds to what the environment says, as at the start of the process, and give back what is free."""
    if (library := _allocator_library()) is not None:
        for parameter, name in THRESHOLD_VARIABLES.items():
            library.mallopt(parameter, int(os.environ.get(name, DEFAULT_THRESHOLD)))
        library.malloc_trim(0)


class _TileMemory:
    """Owner of the memory of a tile: the array and all its views keep it alive, and its end gives the memory back."""

    def __init__(self, memory: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._memory = memory
        self.__array_interface__ = {
            "shape": shape,
            "typestr": dtype.str,
            "data": (memory.ctypes.data, False),
            "version": 3,
        }

    def __del__(self) -> None:
        with _lock:
            if _users:
                _free.append(self._memory)
