"""A CUDA device where there is none: what this package asks of CuPy, with arrays that no host function may touch.

Arrays are array-api-strict's on a device of its own, from which nothing is copied in silence. Copies to the device are
made as late as a real one may make them, when work on their stream follows, or when somebody waits for it: until then
the array on the device holds NaN, and the memory on the host must stay as it is. Memory comes from a pool with a
limit, which counts the arrays that copies fill.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import array_api_strict
import numpy as np
from numpy.typing import DTypeLike, NDArray

DEVICE = array_api_strict.Device("device1")
HOST = array_api_strict.Device("CPU_DEVICE")
FREE = 1 << 30


class OutOfMemoryError(MemoryError):
    """As CuPy's, which is told by its module."""


OutOfMemoryError.__module__ = "cupy.cuda.memory"


class Stream:
    """Copies that wait to be made, and the threads in which this stream is the current one."""

    made: list[Stream]

    def __init__(self, *, non_blocking: bool) -> None:
        assert non_blocking, "a stream that waits for the default one overlaps with nothing"
        self._waiting: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._users: list[int] = []
        Stream.made.append(self)

    def __enter__(self) -> Stream:
        self.flush()  # what is launched from now on comes after the copies
        self._users.append(threading.get_ident())
        return self

    def __exit__(self, *error: object) -> None:
        self._users.pop()

    def copies(self, target: NDArray[Any], source: NDArray[Any]) -> None:
        """Copy some time later."""
        assert threading.get_ident() in self._users, "the memory was not allocated on this stream"
        self._waiting.append((target, source))

    def flush(self) -> None:
        """Make the copies."""
        for target, source in self._waiting:
            target[...] = source
        self._waiting.clear()

    synchronize = flush


class MemoryPool:
    """Counts what is held."""

    made: list[MemoryPool]

    def __init__(self) -> None:
        self.limit, self.held, self.kept, self.peak, self.given_back = 0, 0, 0, 0, 0
        MemoryPool.made.append(self)

    def set_limit(self, *, size: int) -> None:
        """Most bytes that it may hold."""
        self.limit = size

    def malloc(self, size: int) -> Callable[[], None]:
        """Count bytes, with those that were given back and are kept for another stream; how to give them back."""
        if self.held + self.kept + size > self.limit:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes (limit set to: {self.limit} bytes)")
        self.held += size
        self.peak = max(self.peak, self.held)
        return functools.partial(self._keep, size)

    def _keep(self, size: int) -> None:
        self.held -= size
        self.kept += size

    def free_all_blocks(self) -> None:
        """Forget what is kept."""
        self.kept = 0
        self.given_back += 1


class DeviceArray(array_api_strict._array_object.Array):  # type: ignore[misc, name-defined]
    """An array that can be filled from the host."""

    def set(self, source: NDArray[Any], stream: Stream) -> None:
        """Begin to fill it."""
        assert source.flags.c_contiguous
        assert (source.shape, source.dtype) == (self._array.shape, self._array.dtype)
        stream.copies(self._array, source)


class PinnedMemory:
    """Memory of the host like any other, which is counted."""

    made: list[int]

    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)
        PinnedMemory.made.append(size)


def PinnedMemoryPointer(memory: PinnedMemory, offset: int) -> memoryview:
    """What a buffer is made of."""
    return memoryview(memory.memory)[offset:]


class _Runtime:
    @staticmethod
    def memGetInfo() -> tuple[int, int]:
        return FREE, 2 * FREE

    @staticmethod
    def getDeviceProperties(device: int) -> dict[str, Any]:
        """Name and memory."""
        return {"name": b"simulated", "device": device, "totalGlobalMem": 2 * FREE}

    @staticmethod
    def driverGetVersion() -> int:
        """Version 12.8, as CUDA writes it."""
        return 12080

    @staticmethod
    def getDeviceCount() -> int:
        return 1


class _Cuda:
    Stream, MemoryPool, runtime = Stream, MemoryPool, _Runtime
    PinnedMemory, PinnedMemoryPointer = PinnedMemory, staticmethod(PinnedMemoryPointer)

    @staticmethod
    @contextlib.contextmanager
    def Device(number: int) -> Iterator[None]:
        """The only one."""
        assert number == 0
        yield

    @staticmethod
    @contextlib.contextmanager
    def using_allocator(allocator: Any) -> Iterator[None]:
        _allocator.current = allocator
        try:
            yield
        finally:
            _allocator.current = None


_allocator = threading.local()
cuda = _Cuda


class _Pool:
    """A pool of the program around."""

    @staticmethod
    def free_all_blocks() -> None:
        """Give back nothing."""


def get_default_memory_pool() -> type[_Pool]:
    """That of the device."""
    return _Pool


def get_default_pinned_memory_pool() -> type[_Pool]:
    """That of the host."""
    return _Pool


def is_available() -> bool:
    """There is a device."""
    return True


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
    """Memory of the pool in use, with nothing useful in it."""
    array = np.full(shape, np.nan if np.dtype(dtype).kind in "fc" else 1, dtype)
    weakref.finalize(array, _allocator.current(array.nbytes))  # views keep it
    found: DeviceArray = DeviceArray._new(array, device=DEVICE)
    return found


class ndarray:
    """No array is one, so that array-api-compat takes them for array-api-strict's."""


def asarray(array: NDArray[Any]) -> Any:
    """A copy on the device, made at once."""
    return array_api_strict.asarray(np.array(array), device=DEVICE)


def asnumpy(array: Any) -> NDArray[Any]:
    """A copy on the host."""
    assert array.device == DEVICE, "brought to the host, what is there already"
    return np.array(array.to_device(HOST)._array)
