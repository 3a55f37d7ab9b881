"""What every kind of cluster can do: say what it will be, check that it can be, start, and close again."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from distributed import Client

from .options import duration, option
from .tls import credentials

__all__ = ["GPU", "GPU_OF_TASK", "ExpectedWorkers", "Kind"]

GPU = {"GPU": 1}
"""Dask resource that workers with a GPU of their own have."""
GPU_OF_TASK = {"GPU": 2.0**-10}
"""What a task takes of it: so little that it decides where the task runs, and not how many run at a time, which is for
threads to say. A task that waits for its turn holds its share too, having read its tile ahead."""


class ExpectedWorkers(NamedTuple):
    """What there will be, before anything is started.

    Attributes
    ----------
    workers : int
        Processes, at most.
    threads : int
        Of each.
    memory : int
        Bytes that each may hold.
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
        """What there will be; None where only the running cluster knows."""
        return None

    @property
    def resources(self) -> dict[str, float]:
        """Dask resources that a worker must have to be given a task."""
        return {}

    def check(self) -> None:
        """See whether it can be started, without starting anything.

        Raises
        ------
        InputError
            If it cannot; the message says which option asks for too much, or what is to be installed.
        """
        return

    def check_expected(self) -> None:
        """See whether plans can be made for it without starting anything; a cluster that runs can be asked.

        Raises
        ------
        InputError
            If it must be started for that.
        """
        return

    @abstractmethod
    def text(self) -> str:
        """What will be started, for a reader."""

    @abstractmethod
    def started(self) -> contextlib.AbstractContextManager[Client]:
        """Client of the running cluster, which has been checked and ends with the block.

        Raises
        ------
        InputError
            If it cannot be had with these options, or is not there.
        ClusterError
            If it does not start, or no worker arrives.
        """
