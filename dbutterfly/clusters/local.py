"""Processes on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import psutil
from distributed.security import Security

from ..errors import InputError
from .kind import Expected, Launched
from .options import count, option, size, text

__all__ = ["Local", "cores"]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True)
class Local(Launched):
    """A scheduler and worker processes on loopback, by ``distributed.LocalCluster``.

    Attributes
    ----------
    workers : int, optional
        Processes; by default as many as cores allow.
    threads : int
        Of each.
    memory : int, optional
        Bytes that each may hold; by default an equal share of the machine's.
    directory : str, optional
        Where they spill.
    dashboard : str
        Where the dashboard listens.
    """

    name: ClassVar[str] = "local"
    module: ClassVar[str] = "distributed"
    class_name: ClassVar[str] = "LocalCluster"

    workers: int | None = option(count, optional=True)
    threads: int = option(count)
    memory: int | None = option(size, optional=True)
    directory: str | None = option(text, optional=True)
    dashboard: str = option(text)

    @property
    def processes(self) -> int:
        """Workers, settled."""
        return self.workers or max(1, cores() // self.threads)

    def expected(self) -> Expected | None:
        """See :meth:`Kind.expected`; only Dask knows the share of memory, which limits of the system may cut."""
        return None if self.memory is None else Expected(self.processes, self.threads, self.memory)

    def check(self) -> None:
        """Refuse more threads than cores, each of which has one BLAS thread, and more memory than there is.

        Raises
        ------
        InputError
            If there are.
        """
        if self.processes * self.threads > cores():
            raise InputError(
                f"local: workers={self.processes} with threads={self.threads} each are more than the {cores()} cores "
                "that this process may use; ask for fewer"
            )
        total = psutil.virtual_memory().total
        if self.memory is not None and self.processes * self.memory > total:
            raise InputError(
                f"local: workers={self.processes} with memory={self.memory} each need more than the {total} bytes of "
                "this machine; ask for less"
            )

    def keywords(self, security: Security | None) -> dict[str, Any]:
        """See :meth:`Launched.keywords`."""
        return {
            "n_workers": self.processes,
            "threads_per_worker": self.threads,
            "processes": True,
            "memory_limit": self.memory or "auto",
            "local_directory": self.directory,
            "host": "127.0.0.1",
            "dashboard_address": self.dashboard,
            "security": security,
            "protocol": None if security is None else "tls://",
        }
