"""BLAS held to one thread while tasks run side by side."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator

from threadpoolctl import ThreadpoolController

__all__ = ["single_threaded_blas"]


_blas_lock = threading.Lock()

_blas_users = 0
"""Blocks of :func:`single_threaded_blas` in which threads of this process are."""

_give_back: list[Callable[[], None]] = []
"""What gives back the number of threads that the first of them has found."""


@functools.cache
def _libraries(has_scipy: bool) -> ThreadpoolController:  # noqa: ARG001
    """The BLAS libraries of this process, looked for once: that takes longer than many a task.

    SciPy brings one of its own, which is there from its first import on.
    """
    return ThreadpoolController()


def _hold() -> Callable[[], None]:
    """Hold BLAS to one thread; what gives back what was before."""
    libraries = _libraries("scipy.linalg" in sys.modules)
    _release_control(libraries)
    limit = libraries.limit(limits=1)
    _release_control(libraries)

    def give_back() -> None:
        _release_control(libraries)
        limit.restore_original_limits()
        _release_control(libraries)

    return give_back


def _release_control(libraries: ThreadpoolController) -> None:
    """Let any thread change the number of threads.

    threadpoolctl 3.8 lets that thread alone do so which was the first, and does nothing, without a word, for the
    others. Here the first of many users changes it and the last one gives it back, whichever threads they are in.
    """
    for library in libraries.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):  # since 3.8
            library.clear_controlling_thread(force=True)


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread until the last of the concurrent users leaves.

    The setting is global to a process: if each user restored it, the first one to leave would do so for all.
    """
    global _blas_users
    with _blas_lock:
        if _blas_users == 0:
            _give_back.append(_hold())
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _give_back.pop()()
