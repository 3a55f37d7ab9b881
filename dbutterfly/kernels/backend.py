"""Array namespace and device on which a worker computes: the only importer of CuPy."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..plan import STACK_BYTES

__all__ = [
    "BACKENDS",
    "Array",
    "Backend",
    "any_true",
    "host_array",
    "is_complex",
    "namespace",
    "resolve_backend",
    "true_places",
]

Array = Any
"""An array of any namespace that follows the array API standard."""

_namespaces: dict[type, Any] = {}

BACKENDS = ("auto", "numpy", "cupy")


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
    """

    name: str
    stack_bytes: int

    def to_device(self, array: NDArray[Any]) -> Array:
        """Copy a NumPy array to the device (NumPy: the array itself)."""
        return array if self.name == "numpy" else _cupy().asarray(array)

    def to_host(self, array: Array) -> NDArray[Any]:
        """Copy an array of the device to NumPy (NumPy: the array itself)."""
        return np.asarray(array) if self.name == "numpy" else np.asarray(_cupy().asnumpy(array))


def resolve_backend(name: str = "auto") -> Backend:
    """Choose the backend of this process.

    Parameters
    ----------
    name : {"auto", "numpy", "cupy"}
        ``"auto"`` takes CuPy where it is installed and finds a device, else NumPy.

    Raises
    ------
    InputError
        If the name is unknown, or CuPy is asked for where it is not installed or finds no device.
    """
    if name not in BACKENDS:
        raise InputError(f"backend={name!r} is unknown; use one of {BACKENDS}")
    installed = importlib.util.find_spec("cupy") is not None
    if name == "cupy" and not installed:
        raise InputError('backend="cupy" needs CuPy; install it with: pip install "dbutterfly[gpu]"')
    available = installed and name != "numpy" and bool(_cupy().is_available())
    if name == "cupy" and not available:
        raise InputError('backend="cupy" finds no CUDA device in this process; use backend="numpy" or a GPU worker')
    return Backend("cupy", 1 << 28) if available else Backend("numpy", STACK_BYTES)


def host_array(array: Array) -> NDArray[Any]:
    """NumPy array with the values of an array of any namespace and device, for which the host waits."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return np.asarray(_cupy().asnumpy(array))
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


def any_true(mask: Array) -> bool:
    """Whether any entry of a boolean array is true. On a device, the host waits for what was asked before."""
    return bool(namespace(mask).any(mask))


def true_places(mask: Array) -> Array:
    """Indices, shape (n,), of the true entries of a boolean vector. On a device, the host waits once, for n."""
    (places,) = namespace(mask).nonzero(mask)
    return places


def _cupy() -> Any:
    return importlib.import_module("cupy")
