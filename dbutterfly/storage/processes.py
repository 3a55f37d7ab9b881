"""Which process of which host this is, and whether another one is still alive."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import psutil

__all__ = ["host", "start_time"]


def host() -> dict[str, str]:
    """Name of this host, and an identity of the space in which its process numbers hold."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return {"host": parts[0], "host_id": " ".join(parts)}


def start_time(pid: int) -> float | None:
    """When a process of this host was started; None if there is none.

    On Linux it is counted in ticks since the host was: the time of day at which that was moves when the clock is set.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        try:
            return float(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        except OSError:
            return float(process.create_time())
    except (psutil.Error, ValueError):
        return None
