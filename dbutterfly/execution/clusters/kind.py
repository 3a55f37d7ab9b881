"""The interface of all kinds of cluster: say what it will be, check that it can be, start, and close again."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from .options import duration, option
from .tls import credentials

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["GPU", "GPU_OF_TASK", "ExpectedWorkers", "Kind"]

GPU = {"GPU": 1}
"""Dask resource that workers with a GPU of their own have."""

GPU_OF_TASK = {"GPU": 2.0**-10}
"""Part of the resource that a task takes.

It is so little that it decides where a task runs, and not how many tasks run at a time, which the number of threads
decides. A task that has read its tile ahead and waits for its turn holds its part too.
"""


class ExpectedWorkers(NamedTuple):
    """The workers that a cluster will have, before anything is started.

    Attributes
    ----------
    workers : int
        Worker processes, at most.
    threads : int
        Threads of each worker.
    memory : int
        Bytes that each worker may hold.
    """

    workers: int
    threads: int
    memory: int


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """A way to get workers.

    Attributes
    ----------
    tls : str or tuple of str, optional
        See :func:`~dbutterfly.execution.clusters.tls.credentials`.
    wait : float
        Seconds to wait for the first worker, and for another one when all are gone.
    """

    name: ClassVar[str]

    tls: Any = option(credentials, optional=True)
    wait: float = option(duration)

    def expected(self) -> ExpectedWorkers | None:
        """Workers that the cluster will have; None where only the running cluster knows."""
        return None

    @property
    def resources(self) -> dict[str, float]:
        """Dask resources that a worker must have to be given a task."""
        return {}

    def check(self) -> None:
        """See whether the cluster can be started, without starting anything.

        Raises
        ------
        InputError
            If it cannot. The message says which option asks for too much, or what is to be installed.
        """
        return

    def check_process(self) -> None:
        """See whether this process may start the cluster; by default any may.

        Raises
        ------
        InputError
            If it may not.
        SystemExit
            If it is a process of the cluster that is about to start, from a main file that would start it again.
        """
        return

    def check_expected(self) -> None:
        """See whether plans can be made for the cluster without starting anything.

        Raises
        ------
        InputError
            If the cluster must be started for that.
        """
        return

    @abstractmethod
    def text(self) -> str:
        """Description of what will be started, for a reader."""

    @abstractmethod
    def started(self) -> contextlib.AbstractContextManager[Client]:
        """Start the cluster, which was checked, for a ``with`` block that is given its client.

        Raises
        ------
        InputError
            If the cluster cannot be had with these options, or is not there.
        ClusterError
            If the cluster does not start, or no worker arrives.
        """
