"""Bytes of blocks that a kernel is given at a time, on a core and on a GPU."""

from __future__ import annotations

__all__ = ["STACKS_IN_DEVICE", "STACK_BYTES", "device_stack_bytes"]


STACK_BYTES = 1 << 20
"""Bytes of blocks handed to a kernel at a time on a core: what stays in its second-level cache, or nearly so.

Measured for rank one, blocks of 32 x 32 and 64 x 64 with noise 0.1, in tiles of 16 to 64 MiB of float32 and complex64,
on a shared core of an AMD EPYC (512 KiB of second-level cache), all sizes in turn. Processor time beside that of 1 MiB:

    128 KiB     256 KiB     512 KiB     1 MiB    2 MiB         4 MiB         16 MiB
    1.8 - 2.2   1.4 - 1.5   1.1 - 1.2   1        0.90 - 0.98   0.89 - 0.96   1.1 - 1.4

Every thread holds a few arrays of this size, which the plan counts.
"""

LARGEST_DEVICE_STACK = 1 << 28
"""Most bytes of blocks handed to a kernel at a time on a GPU.

Not measured: enough to keep all of the device busy, and for the launch of a kernel not to count.
"""

STACKS_IN_DEVICE = 64
"""A stack takes at most one part in so many of the memory of a GPU.

Not measured: kernels hold some twelve arrays of its size, so that they take a fifth of the memory.
"""


def device_stack_bytes(device_memory: int) -> int:
    """Bytes of blocks handed to a kernel at a time on a GPU, given the memory that a task may hold there."""
    return max(STACK_BYTES, min(LARGEST_DEVICE_STACK, device_memory // STACKS_IN_DEVICE))
