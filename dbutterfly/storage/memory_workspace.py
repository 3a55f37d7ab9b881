"""What a workspace is, and the one of a run without a store."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .chunk_grid import Selection

__all__ = ["MemoryWorkspace", "Workspace"]


class Workspace(Protocol):
    """Named arrays that the tasks of a run read and write by ranges.

    Attributes
    ----------
    shared : bool
        Whether a pickled copy reaches the same arrays from another process.
    """

    shared: bool

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:
        """Make an array of NaN, unless it is there already; whether it was made."""

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range, all of which has been written."""

    def read_rows(self, name: str, rows: int | None = None) -> NDArray[Any]:
        """Read a two-dimensional array of one chunk per row; rows that are missing or damaged come back as NaN."""

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks."""

    def release(self, name: str) -> None:
        """Free the memory of an array that nobody reads any more; what is stored stays."""


class MemoryWorkspace:
    """Arrays of this process, for runs without a store."""

    shared = False

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:  # noqa: ARG002
        """Make an array, unless it is there already; whether it was made."""
        if name in self._arrays:
            return False
        self._arrays[name] = np.full(shape, np.nan, dtype)
        return True

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """View of a range."""
        return self._arrays[name][selection]

    def read_rows(self, name: str, rows: int | None = None) -> NDArray[Any]:  # noqa: ARG002
        """Copy of an array."""
        return self._arrays[name].copy()

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Copy values into a range."""
        self._arrays[name][selection] = values

    def release(self, name: str) -> None:
        """Forget an array."""
        del self._arrays[name]
