"""What jobs have in common whose tasks compute on the array library of their worker."""

from __future__ import annotations

from typing import Any

from ..execution.task import Job
from ..kernels.backend import Backend, Lane, resolve_backend
from ..kernels.backend.tile_memory import Allocate
from ..kernels.compilation import ROOMS_OF_RUNS, has_kernels_of_runs
from ..planning.plan import Plan

__all__ = ["DeviceJob", "uses_compiled"]


def uses_compiled(plan: Plan, backend: Backend, rooms: tuple[str, ...] = ROOMS_OF_RUNS) -> bool:
    """Whether this process computes by the compiled kernels: as the plan says, on the host, where they can be had."""
    return plan.layout.compiled and backend.name == "numpy" and has_kernels_of_runs(rooms)


class DeviceJob(Job):
    """A job whose tasks compute with NumPy, or on a device.

    Attributes
    ----------
    plan : Plan or StackedPlan
        Its budget says how much of the device may be used.
    backend : str
        Array library of the workers; resolved in each worker's process.
    """

    plan: Any
    backend: str

    @property
    def computing(self) -> Backend:
        """Array library and device of this process, with as much of the device as the plan allows."""
        return resolve_backend(self.backend, self.plan.budget.device_memory)

    @property
    def compiled(self) -> bool:
        """Whether this process computes by the compiled kernels."""
        return uses_compiled(self.plan, self.computing, self.kernel_rooms)

    @property
    def kernel_rooms(self) -> tuple[str, ...]:
        """Packages of the kernels that the tasks use."""
        return ROOMS_OF_RUNS

    @property
    def host_memory(self) -> Allocate | None:
        """Memory that the device reaches, where there is one."""
        return self.computing.host_memory

    def lane(self, tasks: int) -> Lane:
        """Way of a task over the device, where there is one."""
        return self.computing.lane(tasks)
