"""The cores that this process may use."""

from __future__ import annotations

import os

__all__ = ["available_cores"]


def available_cores() -> int:
    """Number of cores that this process may use.

    Linux tells the cores to which the process is pinned, as ``taskset``, Slurm and containers do. macOS and Windows do
    not have ``os.sched_getaffinity``: there all cores of the machine count.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
