"""Processes on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dask.system import CPU_COUNT

from ...errors import InputError
from ...kernels.backend.cores import available_cores
from .launched import OnThisMachine, memory_limit

if TYPE_CHECKING:
    from distributed.security import Security

__all__ = ["Local"]


@dataclass(frozen=True, kw_only=True)
class Local(OnThisMachine):
    """A scheduler and worker processes on loopback, by ``distributed.LocalCluster``.

    By default there are as many workers as cores allow.
    """

    name: ClassVar[str] = "local"
    module: ClassVar[str] = "distributed"
    class_name: ClassVar[str] = "LocalCluster"

    @property
    def processes(self) -> int:
        """See :attr:`OnThisMachine.processes`."""
        return self.workers or max(1, available_cores() // self.threads)

    @property
    def share(self) -> float:
        """See :attr:`OnThisMachine.share`: the part that its threads are of the cores."""
        return min(1.0, self.threads / int(CPU_COUNT))

    def check(self) -> None:
        """Refuse more threads than cores, each of which has one BLAS thread, and more memory than there is.

        Raises
        ------
        InputError
            If the options ask for so much.
        """
        super().check()
        cores = available_cores()
        if self.processes * self.threads > cores:
            raise InputError(
                f"local: workers={self.processes} with threads={self.threads} each are more than the {cores} cores "
                "that this process may use; ask for fewer"
            )
        if self.memory is not None and self.processes * self.memory > memory_limit():
            raise InputError(
                f"local: workers={self.processes} with memory={self.memory} each need more than the {memory_limit()} "
                "bytes of this machine that this process may use; ask for less"
            )

    def keywords(self, security: Security | None) -> dict[str, Any]:
        """See :meth:`Launched.keywords`."""
        return {**super().keywords(security), "processes": True}
