"""The array namespace of an array, and functions that the array API standard leaves out."""

from __future__ import annotations

import functools
from typing import Any

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from . import cuda

__all__ = ["Array", "any_true", "entry_bytes", "host_array", "is_complex", "namespace", "true_places"]


Array = Any
"""An array of any namespace that follows the array API standard."""

_namespaces: dict[type, Any] = {}
"""Namespaces of the types of arrays that were met."""


def namespace(array: Array) -> Any:
    """Array namespace of ``array``: NumPy itself, which follows the standard, else that of array-api-compat.

    Calls by way of wrappers of NumPy took 12 to 20 % of a search for orderings of 32 x 32. The namespace
    is looked up once for each type: kernels ask for it some twenty times for a stack of a few hundred microseconds.
    """
    found = _namespaces.get(type(array))
    if found is None:
        is_numpy = isinstance(array, np.ndarray | np.generic)
        found = _namespaces[type(array)] = np if is_numpy else array_api_compat.array_namespace(array)
    return found


@functools.lru_cache(maxsize=64)
def is_complex(xp: Any, dtype: Any) -> bool:
    """Whether ``dtype`` of the namespace ``xp`` is complex floating."""
    return bool(xp.isdtype(dtype, "complex floating"))


def entry_bytes(xp: Any, dtype: Any) -> int:
    """Bytes of an entry of a floating or complex dtype of the namespace ``xp``."""
    return int(xp.finfo(dtype).bits) // (4 if is_complex(xp, dtype) else 8)


def any_true(mask: Array) -> bool:
    """Whether any entry of a boolean array is true. On a device, the host waits for all kernels launched before."""
    return bool(namespace(mask).any(mask))


def true_places(mask: Array) -> Array:
    """Indices, shape (n,), of the true entries of a boolean vector. On a device, the host waits once, for n."""
    (places,) = namespace(mask).nonzero(mask)
    return places


def host_array(array: Array) -> NDArray[Any]:
    """NumPy array with the values of an array of any namespace and device, for which the host waits."""
    if isinstance(array, np.ndarray):
        return array
    if array_api_compat.is_cupy_array(array):
        return np.asarray(cuda.cupy().asnumpy(array))
    host = namespace(array).__array_namespace_info__().default_device()
    return np.asarray(array_api_compat.to_device(array, host))
