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
"""Blocks of :func:`single_threaded_blas` in which threads of this process are."""

_blas_limits: list[Any] = []
"""The limit that the first of them has set, which knows what was before."""


@functools.cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process, looked for once: that takes longer than many a task."""
    return ThreadpoolController()


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread until the last of the concurrent users leaves.

    The setting is global to a process: if each user restored it, the first one to leave would do so for all.
    """
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
