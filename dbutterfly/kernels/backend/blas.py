"""BLAS held to one thread while tasks run side by side."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_threaded_blas"]


_blas_lock = threading.Lock()

_blas_users = 0

_blas_limits: list[Any] = []


@functools.cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process; to find them takes longer than many a task."""
    return ThreadpoolController()


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread until the last of the concurrent users leaves: the setting is global to a process."""
    global _blas_users
    with _blas_lock:
        _blas_users += 1
        if _blas_users == 1:
            _blas_limits.append(_blas().limit(limits=1))
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _blas_limits.pop().restore_original_limits()
