"""What a run may use: memory of a worker, of its GPU, and the number of workers."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

__all__ = ["Budget", "memory_of_thread", "share_device_memory"]


SHARE_OF_LIMIT = 0.55
"""Part of a worker's memory limit that tasks may hold by default; the rest is for Python, its libraries and Dask."""


@dataclass(frozen=True)
class Budget:
    """What a run may use.

    Attributes
    ----------
    memory : int
        Bytes that one worker may hold at its peak, the task that it computes and the next one that it reads.
    workers : int
        Tasks that are computed at a time.
    device_memory : int or None
        Bytes of a GPU that one worker may hold, as for ``memory``; None where there is none, or it is not known.
    """

    memory: int
    workers: int = 1
    device_memory: int | None = None


def memory_of_thread(given: int | None, limit: int | None) -> int:
    """Memory that tasks of a thread may hold: what is given, or a share of the thread's part of its worker's limit."""
    if given is None:
        assert limit is not None
        return int(SHARE_OF_LIMIT * limit)
    if limit is not None and given > limit:
        raise InputError(
            f"memory={given} is more than the {limit} bytes of a worker's limit that each of its threads has; give "
            "workers more memory, or fewer threads, or ask for less"
        )
    return given


def share_device_memory(given: int | None, available: int | None, tasks: int = 1) -> int | None:
    """Memory of a GPU that a task may hold: what is given, or its part of what is available to so many."""
    if available is None or given is None:
        return given if available is None else available // tasks
    if tasks * given > available:
        raise InputError(
            f"device_memory={given} for each of {tasks} tasks at a time is more than the {available} bytes of the GPU "
            "that they may share; ask for less, or use fewer threads"
        )
    return given
