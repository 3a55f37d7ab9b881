"""Array namespace and device on which a worker computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, how_to_install
from . import cuda
from .lanes import HOST, Lane
from .namespaces import Array
from .stacks import STACK_BYTES, device_stack_bytes

__all__ = ["BACKENDS", "SHARE_OF_DEVICE", "Backend", "resolve_backend"]


BACKENDS = ("auto", "numpy", "cupy")


SHARE_OF_DEVICE = 0.8
"""Part of the free memory of a device that tasks may hold by default; the rest is for the context and the libraries.

Neither tuned nor measured.
"""


@dataclass(frozen=True)
class Backend:
    """Library, device and memory with which the kernels of a worker run.

    Parameters
    ----------
    name : {"numpy", "cupy"}
        Array library.
    stack_bytes : int
        Bytes of blocks handed to a kernel at a time: those that stay in the second-level cache of a core while the
        kernel passes over them several times, or that fill a GPU.
    device_memory : int
        Bytes of the device that a task may hold, with the next one that is copied there; 0 on the host.
    """

    name: str
    stack_bytes: int
    device_memory: int = 0

    def to_device(self, array: NDArray[Any]) -> Array:
        """Copy a NumPy array to the device, unless it was uploaded and is there (NumPy: the array itself)."""
        if self.name == "numpy":
            return array
        found = cuda.find_uploaded(array)
        return cuda.cupy().asarray(array) if found is None else found

    def to_host(self, array: Array) -> NDArray[Any]:
        """Copy an array of the device to NumPy, and wait for it (NumPy: the array itself)."""
        return np.asarray(array) if self.name == "numpy" else np.asarray(cuda.cupy().asnumpy(array))

    def lane(self, tasks: int) -> Lane:
        """Lane of one task in a process that computes ``tasks`` of them at a time."""
        if self.name == "numpy":
            return HOST
        return cuda.DeviceLane(min(tasks * self.device_memory, _share_of_device()))

    @property
    def host_memory(self) -> Callable[[int], NDArray[np.uint8]] | None:
        """Function that makes the memory of tiles, from which copies to the device are fast; None for plain memory."""
        return None if self.name == "numpy" else cuda.allocate_pinned


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
    if name == "cupy" and not cuda.is_installed(anew=True):  # a notebook may have done what the message says
        raise InputError(f'backend="cupy" needs CuPy; install it with: {how_to_install("gpu")}')
    available = name != "numpy" and cuda.has_device()
    if name == "cupy" and not available:
        raise InputError('backend="cupy" finds no CUDA device in this process; use backend="numpy" or a GPU worker')
    if not available:
        return Backend("numpy", STACK_BYTES)
    memory = _share_of_device() if device_memory is None else device_memory
    return Backend("cupy", device_stack_bytes(memory), memory)


def _share_of_device() -> int:
    """Bytes of the device that all tasks of this process together may hold."""
    return int(SHARE_OF_DEVICE * cuda.free_memory())
