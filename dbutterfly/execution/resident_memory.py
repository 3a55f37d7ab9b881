"""Resident memory of this process: what it holds, and the most it has held.

The peak is that since :func:`reset_peak` on Linux, where a process may set its own high-water mark back; elsewhere it
is that since the process was started.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

__all__ = ["peak", "reset_peak", "size"]

_STATUS = Path("/proc/self/status")


def size() -> int:
    """Bytes that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def reset_peak() -> None:
    """Let the peak start anew, where the system allows it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Most bytes that this process has held."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    info = psutil.Process().memory_info()
    return int(getattr(info, "peak_wset", info.rss))
