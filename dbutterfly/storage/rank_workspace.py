"""The workspace of a run whose rank may be raised: what depends on the rank has arrays of its own for each.

The tiles are split for all the ranks that may come; what they write is kept, and only what follows them is done again.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..errors import CheckpointError
from .workspace import Selection, Workspace

__all__ = ["RankWorkspace"]


class RankWorkspace:
    """A view of a workspace for one rank.

    Parameters
    ----------
    base : Workspace
        Where the arrays are.
    rank : int
        Rank of the root cut.
    shared_names : set of str
        Names of the arrays that all ranks share.
    """

    def __init__(self, base: Workspace, rank: int, shared_names: frozenset[str]) -> None:
        self._base, self._rank, self._shared_names = base, rank, shared_names
        self.shared = base.shared

    def of_rank(self, rank: int) -> RankWorkspace:
        """View for another rank."""
        return RankWorkspace(self._base, rank, self._shared_names)

    def create(self, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> bool:
        """Make an array, unless it is there already; whether it was made."""
        return self._base.create(self._name(name), shape, chunks, dtype)

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Read a range, all of which has been written."""
        try:
            return self._base.read(self._name(name), selection)
        except CheckpointError as error:
            raise CheckpointError(str(error), name, error.selection) from error

    def read_rows(self, name: str, rows: int | None = None) -> NDArray[Any]:
        """Read an array that has one chunk per row."""
        return self._base.read_rows(self._name(name), rows)

    def write(self, name: str, selection: Selection, values: NDArray[Any]) -> None:
        """Write a range of whole chunks."""
        self._base.write(self._name(name), selection, values)

    def release(self, name: str) -> None:
        """Free the memory of an array that nobody reads any more."""
        self._base.release(self._name(name))

    def _name(self, name: str) -> str:
        return name if name in self._shared_names else f"rank-{self._rank}/{name}"
