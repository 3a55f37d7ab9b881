"""Array namespace and device on which a worker computes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..plan import STACK_BYTES, device_stack_bytes
from . import cuda

__all__ = [
    "BACKENDS",
    "HOST",
    "SHARE_OF_DEVICE",
    "Array",
    "Backend",
    "Lane",
    "any_true",
    "entry_bytes",
    "host_array",
    "is_complex",
    "namespace",
    "resolve_backend",
    "true_places",
]

Array = Any
"""An array of any namespace that follows the array API standard."""

T = TypeVar("T")

_namespaces: dict[type, Any] = {}

BACKENDS = ("auto", "numpy", "cupy")


SHARE_OF_DEVICE = 0.8
"""Part of the free memory of a device that tasks may hold by default; the rest is for the context and the libraries."""


class Lane(Protocol):
    """Where a task runs, from what it has read to its results: on the host, or over a device and back."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def stage(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Begin to bring arrays to where they are computed with."""

    def call(self, function: Callable[[], T]) -> T:
        """Call a function whose kernels run in the lane."""

    def release(self) -> None:
        """Let go of what was staged; what ran has ended."""


class _HostLane:
    """Arrays of the host are there already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def stage(self, arrays: Sequence[NDArray[Any]]) -> None:  # noqa: ARG002
        return

    def call(self, function: Callable[[], T]) -> T:
        return function()

    def release(self) -> None:
        return


HOST = _HostLane()
"""The lane of tasks that stay on the host."""


@dataclass(frozen=True)
class Backend:
    """Where a worker's kernels run.

    Parameters
    ----------
    name : {"numpy", "cupy"}
        Array library.
    stack_bytes : int
        Bytes of blocks handed to a kernel at a time: what stays in the second-level cache of a core while the kernel
        passes over it several times, or what fills a GPU.
    device_memory : int
        Bytes of the device that a task may hold, with the next one that is copied there; 0 on the host.
    """

    name: str
    stack_bytes: int
    device_memory: int = 0

    def to_device(self, array: NDArray[Any]) -> Array:
        """Copy a NumPy array to the device, unless it was staged and is there (NumPy: the array itself)."""
        if self.name == "numpy":
            return array
        found = cuda.staged(array)
        return cuda.cupy().asarray(array) if found is None else found

    def to_host(self, array: Array) -> NDArray[Any]:
        """Copy an array of the device to NumPy, and wait for it (NumPy: the array itself)."""
        return np.asarray(array) if self.name == "numpy" else np.asarray(cuda.cupy().asnumpy(array))

    def lane(self, tasks: int) -> Lane:
        """Lane of a task in a process that computes so many at a time."""
        if self.name == "numpy":
            return HOST
        return cuda.DeviceLane(min(tasks * self.device_memory, _share_of_device()))

    @property
    def host_memory(self) -> Callable[[int], NDArray[np.uint8]] | None:
        """Where the memory of tiles comes from, for copies to the device to be fast; None for plain memory."""
        return None if self.name == "numpy" else cuda.pinned


def resolve_backend(name: str = "auto", device_memory: int | None = None) -> Backend:
    """Choose the backend of this process.

    Parameters
    ----------
    name : {"auto", "numpy", "cupy"}
        ``"auto"`` takes CuPy where it is installed and finds a device, else NumPy.
    device_memory : int, optional
        Bytes of the device that a task may hold; by default 80 % of what is free.

    Raises
    ------
    InputError
        If the name is unknown, or CuPy is asked for where it is not installed or finds no device.
    """
    if name not in BACKENDS:
        raise InputError(f"backend={name!r} is unknown; use one of {BACKENDS}")
    if name == "cupy" and not cuda.is_installed():
        raise InputError('backend="cupy" needs CuPy; install it with: pip install "dbutterfly[gpu]"')
    available = name != "numpy" and cuda.has_device()
    if name == "cupy" and not available:
        raise InputError('backend="cupy" finds no CUDA device in this process; use backend="numpy" or a GPU worker')
    if not available:
        return Backend("numpy", STACK_BYTES)
    memory = _share_of_device() if device_memory is None else device_memory
    return Backend("cupy", device_stack_bytes(memory), memory)


def _share_of_device() -> int:
    return int(SHARE_OF_DEVICE * cuda.free_memory())


def host_array(array: Array) -> NDArray[Any]:
    """NumPy array with the values of an array of any namespace and device, for which the host waits."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return np.asarray(cuda.cupy().asnumpy(array))
    host = namespace(array).__array_namespace_info__().default_device()
    return np.asarray(array_api_compat.to_device(array, host))


def namespace(array: Array) -> Any:
    """Array namespace of ``array`` (array-api-compat's, so that NumPy and CuPy look alike).

    Looked up once for a type: kernels ask for it some twenty times for a stack of a few hundred microseconds.
    """
    found = _namespaces.get(type(array))
    if found is None:
        found = _namespaces[type(array)] = array_api_compat.array_namespace(array)
    return found


@functools.lru_cache(maxsize=64)
def is_complex(xp: Any, dtype: Any) -> bool:
    """Whether ``dtype`` of the namespace ``xp`` is complex floating."""
    return bool(xp.isdtype(dtype, "complex floating"))


def entry_bytes(xp: Any, dtype: Any) -> int:
    """Bytes of an entry of a floating or complex dtype of the namespace ``xp``."""
    return int(xp.finfo(dtype).bits) // (4 if is_complex(xp, dtype) else 8)


def any_true(mask: Array) -> bool:
    """Whether any entry of a boolean array is true. On a device, the host waits for what was asked before."""
    return bool(namespace(mask).any(mask))


def true_places(mask: Array) -> Array:
    """Indices, shape (n,), of the true entries of a boolean vector. On a device, the host waits once, for n."""
    (places,) = namespace(mask).nonzero(mask)
    return places
