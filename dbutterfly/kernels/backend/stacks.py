"""How many bytes of blocks a kernel is given at a time, on a core and on a GPU."""

from __future__ import annotations

__all__ = ["STACKS_IN_DEVICE", "STACK_BYTES", "device_stack_bytes"]


STACK_BYTES = 1 << 20
"""Bytes of blocks handed to a kernel at a time: what stays in the second-level cache of a core."""

LARGEST_DEVICE_STACK = 1 << 28
"""The same on a GPU: enough to keep all of it busy, and for the launch of a kernel not to count."""

STACKS_IN_DEVICE = 64
"""Part of the memory of a GPU that a stack takes at most: kernels hold some twelve of its size."""


def device_stack_bytes(device_memory: int) -> int:
    """Bytes of blocks handed to a kernel at a time on a GPU, given the memory that a task may hold there."""
    return max(STACK_BYTES, min(LARGEST_DEVICE_STACK, device_memory // STACKS_IN_DEVICE))
