"""The process that computes: its array namespace, its device, its lanes and its BLAS; the only importer of CuPy."""

from .lanes import HOST, Lane
from .namespaces import Array, any_true, entry_bytes, host_array, is_complex, namespace, true_places
from .resolve import BACKENDS, SHARE_OF_DEVICE, Backend, resolve_backend

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
