"""Python's collection of cycles, which looks at all objects of a process again and again while many are made."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

__all__ = ["without_collection"]

_lock = threading.Lock()
"""Held while the collection is paused or resumed: one thread that resumes it between the look and the pause of another
would leave it off for good."""


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Make many objects, none of which is part of a cycle, without looking for cycles meanwhile.

    Another thread that has paused the collection may resume it before: that takes time, and does no harm.
    """
    was_enabled = False
    try:
        with _lock:
            was_enabled = gc.isenabled()
            gc.disable()
        yield
    finally:
        if was_enabled:
            with _lock:
                gc.enable()
