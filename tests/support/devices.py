"""Whether there is a CUDA device to test on."""

from __future__ import annotations

import functools
import importlib
import importlib.util


@functools.cache
def has_device() -> bool:
    """Whether CuPy is installed and finds a device."""
    return importlib.util.find_spec("cupy") is not None and bool(importlib.import_module("cupy").is_available())
