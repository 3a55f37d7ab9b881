"""A workspace in memory, some of whose arrays have long rows of which the beginnings are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chunk_grid import Selection
from .memory_workspace import MemoryWorkspace

__all__ = ["RowWorkspace"]


class RowWorkspace(MemoryWorkspace):
    """Arrays of this process, some of which take no more memory than what is written of each row.

    Parameters
    ----------
    names : iterable of str
        Two-dimensional arrays that are written, and read, from the beginning of one row at a time.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._names = frozenset(names)
        self._rows: dict[str, dict[int, NDArray[Any]]] = {}

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:
        """Make an array, unless it is there already; whether it was made."""
        if name not in self._names:
            return super().create(name, shape, chunks, dtype)
        is_new = name not in self._rows
        self._rows.setdefault(name, {})
        return is_new

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """View of a range: of a row of these arrays, of its beginning."""
        if name not in self._names:
            return super().read(name, selection)
        row, beginning = selection
        return self._rows[name][row.start][:, beginning]

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Copy values into a range: of a row of these arrays, its beginning, which is all that it will have."""
        if name in self._names:
            self._rows[name][selection[0].start] = np.array(values)
        else:
            super().write(name, selection, values)
