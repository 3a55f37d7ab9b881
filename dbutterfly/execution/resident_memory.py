"""Resident memory of this process, now and at its peak.

On Linux, where a process may reset its own high-water mark, the peak is that since :func:`reset_peak`. Elsewhere it is
the peak since the process was started.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

__all__ = ["peak", "reset_peak", "size"]

_STATUS = Path("/proc/self/status")
"""File of Linux that tells the high-water mark (``VmHWM``, in KiB)."""


def size() -> int:
    """Resident memory of this process now, in bytes."""
    return int(psutil.Process().memory_info().rss)


def reset_peak() -> None:
    """Reset the high-water mark to the present size, where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Largest resident memory that this process has had, in bytes."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    info = psutil.Process().memory_info()
    return int(getattr(info, "peak_wset", info.rss))
