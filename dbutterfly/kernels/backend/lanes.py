"""Lanes: the way of a task through the device that computes it, from its inputs to its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, TypeVar

from numpy.typing import NDArray

__all__ = ["HOST", "Lane"]


T = TypeVar("T")


class Lane(Protocol):
    """The way of one task from its inputs to its results: on the host, or over a device and back."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def upload(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Begin to bring arrays to where they are computed with."""

    def call(self, function: Callable[[], T]) -> T:
        """Call a function whose kernels run in the lane."""

    def release(self) -> None:
        """Let go of what was uploaded; what ran has ended."""


class _HostLane:
    """The lane of a task on the host, where its inputs are already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def upload(self, arrays: Sequence[NDArray[Any]]) -> None:  # noqa: ARG002
        return

    def call(self, function: Callable[[], T]) -> T:
        return function()

    def release(self) -> None:
        return


HOST = _HostLane()
"""The lane of tasks that stay on the host."""
