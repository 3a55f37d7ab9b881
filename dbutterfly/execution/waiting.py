"""Waiting for tasks of a Dask cluster in a task of the same cluster, which would take the places that these need.

A task that waits leaves its thread of the worker to others for that time, as ``Client.get`` does. Then neither a worker
of one thread, nor as many calls as the cluster has threads, can wait for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["are_of_one_cluster", "leave_thread", "leave_thread_for"]


def are_of_one_cluster(one: Any, other: Any) -> bool:
    """Whether two objects with a connection to a scheduler, clients or workers, are connected to the same one."""
    return one is other or (
        one.scheduler is not None and other.scheduler is not None and one.scheduler.address == other.scheduler.address
    )


def leave_thread() -> bool:
    """Leave the thread of the worker on which this task runs, if it has not left it; whether it has now."""
    from distributed import secede

    try:
        secede()
    except (ValueError, AttributeError, KeyError):  # no task, or one that has left already
        return False
    return True


@contextlib.contextmanager
def leave_thread_for(client: Any) -> Iterator[None]:
    """Block that waits for tasks of a client; where it is left, a task waits for a thread of its worker again."""
    if client is None:
        yield
        return
    from distributed import get_worker, rejoin

    try:
        leaves = are_of_one_cluster(get_worker(), client) and leave_thread()
    except ValueError:  # no worker
        leaves = False
    try:
        yield
    finally:
        if leaves:
            rejoin()
