"""The time that every stage of a plan takes: on cores, from measured speeds, and on a GPU, from its data sheet.

On cores, a stage takes what its reading or its arithmetic takes, whichever is more. The speeds of both were measured.

On a GPU, the times are experimental: they come from a model of memory and copies and were never measured. The model is
that the kernels are limited by memory on a GPU as on a core, because they multiply small matrices and traverse their
blocks several times. The time of a core counts these traversals, at the bandwidth that a core gets of its memory; a GPU
makes as many of them at its own bandwidth. The input of a task is copied to the device while the kernels of the task
before run there; one task computes on a device at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InputError
from .nested_steps import CORE

if TYPE_CHECKING:
    from .plan import Plan

__all__ = ["DEVICES", "Device", "device_named", "predict_stage_seconds"]

CORE_BANDWIDTH = 10e9
"""Bytes per second that the core on which the speeds of the stages were measured gets of its memory. An estimate."""

SECONDS_PER_LAUNCH = 1e-3
"""Time that a device waits, for each task, for its some hundred kernels to be launched. Never measured."""


def _rates(float32: float, float64: float, complex64: float, complex128: float) -> dict[str, float]:
    return {"float32": float32, "float64": float64, "complex64": complex64, "complex128": complex128}


SECONDS_PER_GIB = {
    "copy": _rates(0.6, 0.6, 0.6, 0.6),
    "tiles": _rates(0.40, 0.40, 0.40, 0.40),
    "project": _rates(0.40, 0.40, 0.40, 0.40),
    "left": _rates(20, 12, 16, 10),
    "right": _rates(13, 8, 10, 7),
}
"""Seconds of arithmetic of one core for a GiB that a stage works on, by stage and dtype.

Benchmark ``out_of_core`` compares the sum of all stages with measured times: it is 0.99 to 1.03 of them with two
workers, 1.23 with one (N = 65536, float32). The single numbers, and those of other dtypes, have no benchmark of their
own.
"""

DECODE_SECONDS_PER_GIB = 0.5
"""Time of one core to bring a GiB that was read into a tile.

Found by the run of benchmark ``out_of_core`` that reads from the page cache. With 1.25, which was measured before tiles
used their memory again, the prediction was 1.7 and 2.1 times the measured time.
"""

SECONDS_PER_ENTRY = 1.3e-7
"""Time of one core to evaluate an entry for nested skeletons, and of what the plain kernel makes of it.

Measured on a Helmholtz kernel, N = 4096 to 16384, of whose time two fifths are that of the function.
"""

COMPILED_SECONDS_PER_ENTRY = 8e-8
"""The same with the compiled kernel, N = 65536."""

SECONDS_PER_TASK = 0.005
"""Time that a task takes besides reading and arithmetic. Not tuned."""


class Device(NamedTuple):
    """Speeds of a GPU, as its maker gives them.

    Attributes
    ----------
    name : str
        Name of the model.
    memory : float
        Bytes of its memory.
    memory_bandwidth, copy_bandwidth : float
        Bytes per second of its memory, and between it and the host.
    """

    name: str
    memory: float
    memory_bandwidth: float
    copy_bandwidth: float

    def kernel_seconds(self, core_seconds: float) -> float:
        """Time of the kernels of a task whose arithmetic takes ``core_seconds`` on a core."""
        return core_seconds * CORE_BANDWIDTH / self.memory_bandwidth + SECONDS_PER_LAUNCH

    def copy_seconds(self, moved_bytes: float) -> float:
        """Time of copying the input of a task to the device."""
        return moved_bytes / self.copy_bandwidth


DEVICES = {
    device.name: device
    for device in (
        Device("l4", 24e9, 300e9, 25e9),
        Device("a100", 40e9, 1555e9, 25e9),
        Device("h100", 80e9, 3350e9, 50e9),
        Device("h200", 141e9, 4800e9, 50e9),
    )
}
"""Devices whose data sheets are known."""


def device_named(name: str) -> Device:
    """Find a device by its name, upper or lower case.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if name.lower() not in DEVICES:
        raise InputError(f"device={name!r} is not known; use one of {', '.join(DEVICES)}")
    return DEVICES[name.lower()]


def predict_stage_seconds(plan: Plan, read_bandwidth: float, device: Device | None = None) -> dict[str, float]:
    """Predict the time of every stage (:meth:`dbutterfly.planning.plan.Plan.stage_seconds`); experimental on a GPU."""
    if plan.nested_steps is not None:
        return _nested_seconds(plan)
    found = {}
    for stage, tasks in plan.tasks.items():
        read, work = _stage_bytes(plan, stage)
        rate = SECONDS_PER_GIB[stage][plan.source.work_dtype]
        decoding, arithmetic = DECODE_SECONDS_PER_GIB * read / 2**30 / tasks, rate * work / 2**30 / tasks
        seconds = decoding + arithmetic
        if device is not None and stage != "copy":
            staging, kernels = decoding + device.copy_seconds(work / tasks), device.kernel_seconds(arithmetic)
            seconds = max(staging, kernels) if plan.layout.prefetch else staging + kernels
        workers = min(plan.budget.workers, tasks)
        computing = (seconds + SECONDS_PER_TASK) * math.ceil(tasks / workers)
        reading = read / read_bandwidth
        if plan.layout.prefetch:
            found[stage] = max(reading, computing) + min(reading, computing) * workers / tasks
        else:
            found[stage] = reading + computing
    return found


def _nested_seconds(plan: Plan) -> dict[str, float]:
    """Time of the steps of nested skeletons, which read nothing: by the entries that they evaluate."""
    assert plan.nested_steps is not None
    seconds = COMPILED_SECONDS_PER_ENTRY if plan.layout.compiled else SECONDS_PER_ENTRY
    entries = {step.name: step.entries for step in plan.nested_steps.steps} | {CORE: plan.nested_steps.core_entries}
    return {
        stage: math.ceil(tasks / min(plan.budget.workers, tasks))
        * (seconds * entries[stage] / tasks + SECONDS_PER_TASK)
        for stage, tasks in plan.tasks.items()
    }


def _stage_bytes(plan: Plan, stage: str) -> tuple[int, int]:
    """Bytes that a stage reads of the matrix or of its copy, and bytes that it works on."""
    work = math.prod(plan.chain.shape) * plan.itemsize
    if stage == "copy":
        assert plan.copy is not None
        return plan.copy.bytes_read, work
    if stage in ("tiles", "project"):
        return plan.tile_bytes_read // plan.passes, work
    assert plan.split is not None
    p, u, q, v, rank = plan.split
    return 0, (p if stage == "left" else v) * rank * u * q * plan.itemsize
