"""One process for each GPU of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .kind import GPU, GPU_OF_TASK
from .launched import OnThisMachine
from .options import option, text

if TYPE_CHECKING:
    from distributed.security import Security

__all__ = ["Cuda"]


@dataclass(frozen=True, kw_only=True)
class Cuda(OnThisMachine):
    """A worker process with a GPU of its own for each device, by ``dask_cuda.LocalCUDACluster``.

    Attributes
    ----------
    devices : str, optional
        Numbers of the devices, such as ``"0,1"``; by default all that are visible.
    """

    name: ClassVar[str] = "cuda"
    module: ClassVar[str] = "dask_cuda"
    class_name: ClassVar[str] = "LocalCUDACluster"
    extra: ClassVar[str | None] = "cuda"

    devices: str | None = option(text, optional=True)

    @property
    def resources(self) -> dict[str, float]:
        """See :attr:`Kind.resources`."""
        return dict(GPU_OF_TASK)

    @property
    def processes(self) -> int | None:
        """See :attr:`OnThisMachine.processes`: one for each device, where options or the environment name them."""
        devices = self.devices or os.environ.get("CUDA_VISIBLE_DEVICES")
        return self.workers or (len(devices.split(",")) if devices else None)

    @property
    def share(self) -> float:
        """See :attr:`OnThisMachine.share`: the part of one process."""
        return 1 / (self.processes or 1)

    def keywords(self, security: Security | None) -> dict[str, Any]:
        """See :meth:`Launched.keywords`."""
        return {"CUDA_VISIBLE_DEVICES": self.devices, **super().keywords(security), "resources": dict(GPU)}
