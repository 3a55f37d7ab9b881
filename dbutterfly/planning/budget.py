"""The budget of a run: memory of a worker, memory of its GPU, and the number of workers."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

__all__ = ["Budget", "memory_of_thread", "share_device_memory"]


SHARE_OF_LIMIT = 0.55
"""Part of a worker's memory limit that tasks may hold by default; the rest is for Python, its libraries and Dask.

Not tuned, but tried: with 1 GiB for a worker, none spilled or was restarted (benchmark ``out_of_core``).
"""


@dataclass(frozen=True)
class Budget:
    """Limits within which a run is planned.

    Attributes
    ----------
    memory : int
        Bytes that one worker may hold at its peak: the task that it computes and the next one that it reads.
    workers : int
        Tasks that are computed at a time.
    device_memory : int or None
        Bytes of a GPU that one worker may hold at its peak; None where there is no GPU or its memory is not known.
    """

    memory: int
    workers: int = 1
    device_memory: int | None = None


def memory_of_thread(given: int | None, limit: int | None) -> int:
    """Memory that the tasks of a thread may hold.

    Parameters
    ----------
    given : int or None
        What the caller asks for; by default, :data:`SHARE_OF_LIMIT` of ``limit``.
    limit : int or None
        The thread's part of its worker's memory limit; None where there is no limit.

    Raises
    ------
    InputError
        If more is asked for than the limit.
    """
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
    """Memory of a GPU that a task may hold.

    Parameters
    ----------
    given : int or None
        What the caller asks for; by default, an equal part of what is available.
    available : int or None
        Memory that the tasks share; None where it is not known.
    tasks : int
        Tasks at a time.

    Raises
    ------
    InputError
        If the tasks together ask for more than is available.
    """
    if available is None or given is None:
        return given if available is None else available // tasks
    if tasks * given > available:
        raise InputError(
            f"device_memory={given} for each of {tasks} tasks at a time is more than the {available} bytes of the GPU "
            "that they may share; ask for less, or use fewer threads"
        )
    return given
