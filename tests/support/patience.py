"""How tests wait: for events, and for so long that only what is broken does not happen meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 300.0
"""Seconds after which something that must happen has failed to. Not tuned: a hundred times what a process of Dask takes
to start where nothing else runs."""


def wait_until(condition: Callable[[], Any], what: str = "") -> Any:
    """Wait for a condition, and return what it gave."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE:.0f} s in vain: {what or condition}")
        time.sleep(0.02)
    return found
