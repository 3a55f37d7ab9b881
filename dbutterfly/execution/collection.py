"""Python's collection of cycles, which looks at all objects of a process again and again while many are made."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["without_collection"]


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Make many objects, none of which is part of a cycle, without looking for cycles meanwhile.

    Another thread that has paused the collection may resume it before: that takes time, and does no harm.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
