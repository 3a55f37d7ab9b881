"""Where a result comes from: the call that asked for it, and the versions of the packages that made it."""

from __future__ import annotations

import platform
import sys
from dataclasses import fields

from ..structure.arguments import show_value
from .request import Request

__all__ = ["describe_call", "describe_provenance"]

PACKAGES = ("numpy", "scipy", "zarr", "dask", "distributed", "numba", "cupy")
"""Packages whose versions are kept, where they were imported."""


def describe_provenance(request: Request) -> dict[str, str]:
    """The call and the versions, as texts by name."""
    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in PACKAGES}
    versions = {name: str(version) for name, version in loaded.items() if version is not None}
    return {"call": describe_call(request), "python": platform.python_version(), **versions}


def describe_call(request: Request) -> str:
    """Write a request as a call, with the arguments that are not as they are by default.

    >>> describe_call(Request(rank=3, passes=2))
    'factorize(Z, rank=3, passes=2)'
    """
    given = []
    for each in fields(request):
        value = getattr(request, each.name)
        if each.name not in ("has_store", "found_chain") and not _is_default(value, each.default):
            given.append(f"{each.name}={show_value(value)}")
    return f"factorize({', '.join(['Z', *given])})"


def _is_default(value: object, default: object) -> bool:
    return value is default or (isinstance(value, (str, int, float)) and value == default)
