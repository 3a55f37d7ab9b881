"""One process for each GPU of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from distributed.security import Security

from .kind import GPU, GPU_OF_TASK, Launched
from .options import count, option, size, text

__all__ = ["Cuda"]


@dataclass(frozen=True, kw_only=True)
class Cuda(Launched):
    """A worker process with a GPU of its own for each device, by ``dask_cuda.LocalCUDACluster``.

    Attributes
    ----------
    workers : int, optional
        Processes; by default one for each visible device.
    devices : str, optional
        Numbers of the devices, such as ``"0,1"``.
    threads : int
        Of each process.
    memory : int, optional
        Bytes of the host's memory that each may hold; by default an equal share.
    directory : str, optional
        Where they spill.
    dashboard : str
        Where the dashboard listens.
    """

    name: ClassVar[str] = "cuda"
    module: ClassVar[str] = "dask_cuda"
    class_name: ClassVar[str] = "LocalCUDACluster"
    extra: ClassVar[str | None] = "cuda"

    workers: int | None = option(count, optional=True)
    devices: str | None = option(text, optional=True)
    threads: int = option(count)
    memory: int | None = option(size, optional=True)
    directory: str | None = option(text, optional=True)
    dashboard: str = option(text)

    @property
    def resources(self) -> dict[str, float]:
        """See :attr:`Kind.resources`."""
        return dict(GPU_OF_TASK)

    def check(self) -> None:
        """See that the package is there; it is the one to count devices.

        Raises
        ------
        InputError
            If it is not.
        """
        self.cluster_class()

    def keywords(self, security: Security | None) -> dict[str, Any]:
        """See :meth:`Launched.keywords`."""
        return {
            "CUDA_VISIBLE_DEVICES": self.devices,
            "n_workers": self.workers,
            "threads_per_worker": self.threads,
            "memory_limit": self.memory or "auto",
            "local_directory": self.directory,
            "resources": dict(GPU),
            "host": "127.0.0.1",
            "dashboard_address": self.dashboard,
            "security": security,
            "protocol": None if security is None else "tls://",
        }
