"""Streams, pinned memory and a pool with a limit on a CUDA device. The only importer of CuPy.

A task crosses the device in a :class:`DeviceLane`, with a stream and a thread of its own: first its inputs are copied
there, then its kernels run, then its results come back. Streams run side by side, so that the tile of the next task is
copied while the kernels of this one run. A copy neither waits nor keeps a processor busy if its memory on the host is
pinned: tiles are read into such memory (:func:`allocate_pinned`, through
:mod:`dbutterfly.kernels.backend.tile_memory`).

The device is the first one that the process sees. All memory that tasks take of it comes from one pool, which is
limited to what the plan allows. CuPy's default pool, which belongs to the program around, is not touched, except that
its unused blocks are freed where memory is short. When no lane is open, the pool of the tasks is empty.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from typing import Any, Self, TypeVar

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from ...errors import MemoryBudgetError
from . import tile_memory

__all__ = [
    "DeviceLane",
    "allocate_pinned",
    "cupy",
    "describe_device",
    "find_uploaded",
    "free_memory",
    "has_device",
    "is_installed",
]

_log = logging.getLogger("dbutterfly")

T = TypeVar("T")

_here = threading.local()
"""The lane in which each thread is."""


def is_installed(*, anew: bool = False) -> bool:
    """Whether CuPy can be imported; a folder of this name beside a program is not CuPy.

    Parameters
    ----------
    anew : bool
        Whether to look for what was installed since the process has looked last.
    """
    if anew:
        _find.cache_clear()
    spec = importlib.util.find_spec("cupy") if "cupy" in sys.modules else _find(tuple(sys.path))
    return spec is not None and spec.origin is not None


@functools.lru_cache(maxsize=1)
def _find(_path: tuple[str, ...]) -> ModuleSpec | None:
    """Where CuPy lies on the search path of modules, looked up once for each.

    Tasks ask for it several times each, from several threads: looking for what is not there, through all folders and
    under the lock of imports, took 10 ms of processor time of a run of .11 s.
    """
    return importlib.util.find_spec("cupy")


def has_device() -> bool:
    """Whether CuPy is there and finds a device."""
    return is_installed() and bool(cupy().is_available())


def describe_device() -> str:
    """Name, memory and driver of the device, for people.

    Raises
    ------
    Exception
        Whatever CuPy raises where it, the driver, or the device do not work.
    """
    properties, count = cupy().cuda.runtime.getDeviceProperties(0), cupy().cuda.runtime.getDeviceCount()
    version = cupy().cuda.runtime.driverGetVersion()
    return (
        f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.1f} GiB"
        f"{f', the first of {count}' if count > 1 else ''}; CUDA driver {version // 1000}.{version % 1000 // 10}"
    )


def cupy() -> Any:
    """The package CuPy, imported when it is first needed: that takes a second."""
    return importlib.import_module("cupy")


@functools.cache
def free_memory() -> int:
    """Bytes of the device that nobody held when this process first asked."""
    with cupy().cuda.Device(0):
        free, _ = cupy().cuda.runtime.memGetInfo()
    return int(free)


def allocate_pinned(size: int) -> NDArray[np.uint8]:
    """Pinned memory of the host, which the device reaches by itself; plain memory, and slower copies, if there is none.

    It is of this size, and goes back to the system with the array: CuPy's pool would round the size up, and keep it.
    """
    try:
        memory = cupy().cuda.PinnedMemory(size)
        found = np.frombuffer(cupy().cuda.PinnedMemoryPointer(memory, 0), np.uint8, size)
    except Exception as error:  # the limit of the system for such memory, as CuPy reports it
        _log.warning("no pinned memory for %d bytes (%s); copies to the device will be slower", size, error)
        return np.empty(size, np.uint8)
    return found


def find_uploaded(array: NDArray[Any]) -> Any:
    """The copy on the device of an array that was uploaded in the lane of this thread; None of any other array."""
    lane: DeviceLane | None = getattr(_here, "lane", None)
    return None if lane is None else lane.copy_of(array)


class _Driver:
    """A thread with a stream, which serves many lanes one after the other.

    CuPy holds the handles of CUDA's libraries per thread, and a device waits for all that it does when one of them is
    given up. The threads of a Dask worker come and go with every task: without drivers, each task would wait like that.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dbutterfly-cuda")
        self.stream = self.call(lambda: cupy().cuda.Stream(non_blocking=True))

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in this thread: its result, or its error."""
        return self._thread.submit(function).result()


class _Shared:
    """State that the lanes of this process share: the pool, drivers without a lane, and the limits of open lanes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pool: Any = None
        self.drivers: list[_Driver] = []
        self.limits: list[int] = []

    def malloc(self, size: int) -> Any:
        """Memory of the pool.

        Blocks that streams have given back, which the pool keeps for each stream apart, count for its limit. So they
        are freed where the limit is met, and those of CuPy's default pool with them.
        """
        try:
            return self.pool.malloc(size)
        except MemoryError:
            self.pool.free_all_blocks()
            cupy().get_default_memory_pool().free_all_blocks()
            return self.pool.malloc(size)


_shared = _Shared()


class DeviceLane:
    """The way of one task over the device.

    Parameters
    ----------
    limit : int
        Bytes of the device that all tasks of this process together may hold.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._uploaded: list[tuple[NDArray[Any], NDArray[Any], Any]] = []
        self._driver: Any = None

    def __enter__(self) -> Self:
        with _shared.lock:
            if _shared.pool is None:
                _shared.pool = cupy().cuda.MemoryPool()
            self._driver = _shared.drivers.pop() if _shared.drivers else _Driver()
            _shared.limits.append(self._limit)
            _shared.pool.set_limit(size=max(_shared.limits))
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.release()
        finally:
            with _shared.lock:
                _shared.drivers.append(self._driver)
                _shared.limits.remove(self._limit)
                if _shared.limits:
                    _shared.pool.set_limit(size=max(_shared.limits))
                else:
                    _shared.pool.free_all_blocks()
                    cupy().get_default_pinned_memory_pool().free_all_blocks()

    def upload(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Begin to copy arrays to the device.

        Parameters
        ----------
        arrays : sequence of array
            Must not be changed, nor their memory be used again, before :meth:`release`, which holds on to them. An
            array whose entries lie together in another order than that of its axes, as those of a tile, is copied as
            it lies.
        """

        def copy_all() -> None:
            self._uploaded += [(array, *self._begin_copy(array)) for array in arrays]

        self.call(copy_all)

    def _begin_copy(self, array: NDArray[Any]) -> tuple[NDArray[Any], Any]:
        """Begin to copy an array; returns the memory on the host that is copied, and the array on the device."""
        # Axes are brought into the order in which the entries lie, copied as they lie, and permuted back on the device.
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        laid = array.transpose(order)
        if not (laid.flags.c_contiguous and laid.dtype.isnative):
            together = tile_memory.empty(laid.shape, laid.dtype.newbyteorder("="))
            together[...] = laid
            laid = together
        on_device = cupy().empty(laid.shape, laid.dtype)
        on_device.set(laid, self._driver.stream)
        axes = tuple(order.index(axis) for axis in range(array.ndim))
        return laid, array_api_compat.array_namespace(on_device).permute_dims(on_device, axes)

    def copy_of(self, array: NDArray[Any]) -> Any:
        """The copy of an uploaded array, None of any other."""
        return next((copy for host, _, copy in self._uploaded if host is array), None)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the lane: what it does on the device comes after what was uploaded, in memory of the pool.

        Raises
        ------
        MemoryBudgetError
            If the device has no room for it.
        Exception
            That of the function.
        """
        try:
            return self._driver.call(lambda: self._call_in_stream(function))  # type: ignore[no-any-return]
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # they hold arrays of the device
            if not isinstance(error, MemoryError) or not type(error).__module__.startswith("cupy"):
                raise
            raise MemoryBudgetError(
                f"the device has no room: {error}; {self._limit} bytes are allowed to the tasks of this "
                "process: give a smaller device_memory=, for which the plan takes smaller tiles, or free the device"
            ) from error

    def _call_in_stream(self, function: Callable[[], T]) -> T:
        """Call a function, in the thread of the driver, with its stream, the pool, and this lane as the current one."""
        _here.lane = self
        try:
            with self._driver.stream, cupy().cuda.using_allocator(_shared.malloc):
                return function()
        finally:
            _here.lane = None

    def wait(self) -> None:
        """Wait for all that was begun in the lane."""
        self._driver.call(self._driver.stream.synchronize)

    def release(self) -> None:
        """Wait, and let go of what was uploaded."""
        try:
            self.wait()
        finally:
            self._uploaded.clear()
