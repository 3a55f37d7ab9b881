"""The workspace of a run whose rank may be raised: what depends on the rank has arrays of its own for each.

The tiles are split for all the ranks that may come; what they write is kept, and only what follows them is done again.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..errors import CheckpointError
from .workspace import Selection, Workspace

__all__ = ["RankWorkspace"]

COMMON = ("copy", "A", "stats", "done/copy", "done/tiles")


class RankWorkspace:
    """A view of a workspace for one rank.

    Parameters
    ----------
    base : Workspace
        Where the arrays are.
    rank : int
        Rank of the root cut.
    passes : {1, 2}
        Times that Z is read: B is written by the tiles where it is read once, by the second read otherwise.
    """

    def __init__(self, base: Workspace, rank: int, passes: int) -> None:
        self._base, self._rank, self._passes = base, rank, passes
        self.shared = base.shared

    def of_rank(self, rank: int) -> RankWorkspace:
        """View for another rank."""
        return RankWorkspace(self._base, rank, self._passes)

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:
        """Make an array, unless it is there already; whether it was made."""
        try:
            return self._base.create(self._name(name), shape, chunks, dtype)
        except CheckpointError as error:
            raise CheckpointError(str(error), name, error.selection) from error

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range, all of which has been written."""
        try:
            return self._base.read(self._name(name), selection)
        except CheckpointError as error:
            raise CheckpointError(str(error), name, error.selection) from error

    def read_rows(self, name: str) -> NDArray[Any]:
        """Read an array that has one chunk per row."""
        return self._base.read_rows(self._name(name))

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks."""
        self._base.write(self._name(name), selection, values)

    def _name(self, name: str) -> str:
        common = name in COMMON or (name == "B" and self._passes == 1)
        return name if common else f"rank-{self._rank}/{name}"
