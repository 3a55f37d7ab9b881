"""BLAS held to one thread while tasks run side by side."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_threaded_blas"]


_blas_lock = threading.Lock()

_blas_users = 0
"""Blocks of :func:`single_threaded_blas` in which threads of this process are."""

_blas_limits: list[Callable[[], None]] = []
"""What gives back the limits that the first of them has set."""


@functools.cache
def _blas() -> ThreadpoolController:
    """The BLAS libraries of this process, looked for once: that takes longer than many a task."""
    return ThreadpoolController()


@functools.cache
def _setter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="dbutterfly-blas")


def _from_setter(call: Callable[[], Any]) -> Any:
    """Call a function in the thread that sets numbers of threads."""
    try:
        changed = _setter().submit(call)
    except RuntimeError:  # the interpreter is about to end
        return call()
    return changed.result()


def _hold() -> list[Callable[[], None]]:
    """Hold BLAS to one thread; what gives it back.

    OpenBLAS 0.3.31, which NumPy 2.4 brings, heeds only the thread of a process that was the first to set a number: what
    another thread set changed nothing, and tasks used all cores each (``tests/kernels/backend/test_blas.py``). All is
    set from one thread, therefore; and from the calling one where that was of no use, as the program has set it before.
    """
    limit = _from_setter(lambda: _blas().limit(limits=1))
    held: list[Callable[[], None]] = [lambda: _from_setter(limit.restore_original_limits)]
    if any(library["num_threads"] != 1 for library in _blas().select(user_api="blas").info()):
        held.append(_blas().limit(limits=1).restore_original_limits)
    return held


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread until the last of the concurrent users leaves.

    The setting is global to a process: if each user restored it, the first one to leave would do so for all.
    """
    global _blas_users
    with _blas_lock:
        if _blas_users == 0:
            _blas_limits.extend(_hold())
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            while _blas_users == 0 and _blas_limits:
                _blas_limits.pop()()
