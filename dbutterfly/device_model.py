"""What a stage would take on a GPU: a model of memory and copies, predicted and not measured.

The kernels multiply small matrices and traverse their blocks several times, so on a GPU, as on a core, they take what
the memory takes. The time of a core is known for every stage; it counts the traversals, at the bandwidth that a core
gets of its memory, and a GPU makes the same ones at its own. What a task works on crosses to the device first, while
the kernels of the task before run there; one task computes on a device at a time.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import InputError

__all__ = ["DEVICES", "Device", "device_named"]

CORE_BANDWIDTH = 10e9
"""Bytes per second of the memory of a core on which the speeds of the stages were measured."""

SECONDS_PER_LAUNCH = 1e-3
"""Time that a device waits, for each task, for its some hundred kernels to be launched."""


class Device(NamedTuple):
    """Speeds of a GPU, as its maker gives them.

    Attributes
    ----------
    name : str
        What it is called.
    memory : float
        Bytes of it.
    memory_bandwidth, copy_bandwidth : float
        Bytes per second of its memory, and between it and the host.
    """

    name: str
    memory: float
    memory_bandwidth: float
    copy_bandwidth: float

    def kernel_seconds(self, core_seconds: float) -> float:
        """Time of the kernels of a task, whose arithmetic takes so long on a core."""
        return core_seconds * CORE_BANDWIDTH / self.memory_bandwidth + SECONDS_PER_LAUNCH

    def copy_seconds(self, moved_bytes: float) -> float:
        """Time of bringing what a task works on to the device."""
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
    """Device of a name.

    Raises
    ------
    InputError
        If it is not known.
    """
    if name.lower() not in DEVICES:
        raise InputError(f"device={name!r} is not known; use one of {', '.join(DEVICES)}")
    return DEVICES[name.lower()]
