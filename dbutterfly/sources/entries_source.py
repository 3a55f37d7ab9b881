"""Entry functions as sources, and the check that a function gives the same entries again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from ..structure.axes import Axis, Index, Tile
from .base import MatrixSource
from .entries import Entries
from .padded import scatter_crossings
from .samples import ROUNDING, Place, norm_of_finite, spread_indices
from .tile_grids import unfold

__all__ = ["EntriesSource", "check_reproducible"]


SIDE = 8
"""Rows and columns of the sample. Not tuned: 64 entries take no time, and a function that is not reproducible shows
itself in most of its values."""

SAMPLED = 32
"""Rows and columns at whose crossings a function is known again. Not tuned: 1024 entries take no time."""


class EntriesSource(MatrixSource):
    """A matrix given by an entry function: exactly the entries of a tile are evaluated, each once."""

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.sampled, self.crossed = entries.sampled, entries.crossed
        self.shape, self.dtype = entries.shape, entries.dtype
        self.name = repr(entries)
        self.tolerance = ROUNDING * float(np.finfo(entries.dtype).eps)

    def choose_places(self, rng: np.random.Generator) -> tuple[Place, ...]:
        """Rows and columns at random, anywhere: one request of the function evaluates their crossings."""
        rows, cols = (spread_indices(0, size, SAMPLED, rng) for size in self.shape)
        return (Place(rows, cols),)

    def check_reproducible(self) -> None:
        """Evaluate some entries again, in other requests."""
        check_reproducible(self.entries)

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Evaluate a range of rows and columns."""
        return self.entries.block(rows, cols)

    def take(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Evaluate the entries at the crossings of some rows and columns."""
        return self.entries.block(rows, cols)

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Evaluate a tile."""
        at = rows.rows(tile.r0, tile.r1), cols.rows(tile.c0, tile.c1)
        return unfold(scatter_crossings(*at, self.dtype, self.entries.block), rows, cols, tile)


def check_reproducible(entries: Entries) -> None:
    """Evaluate a sample of entries again: at another time, in another order, in requests of other shapes.

    Parameters
    ----------
    entries : Entries
        The matrix; about four times 64 of its entries are evaluated.

    Raises
    ------
    SourceError
        If an entry has changed by more than rounding; the message names it, both values and the remedy. Also if the
        function fails, as :meth:`Entries.block` does.

    Notes
    -----
    Values may differ by rounding: loops over vectors and products of matrices round differently in other shapes.
    """
    rows, cols = (spread_indices(0, size, SIDE, np.random.default_rng(0)) for size in entries.shape)
    given = entries.block(rows, cols)
    first = given.copy()
    allowed = ROUNDING * float(np.finfo(entries.dtype).eps) * norm_of_finite(first)
    for again in _other_requests(entries, rows, cols):
        with np.errstate(invalid="ignore", over="ignore"):
            change = np.abs(again - first)
        # A NaN or an infinity that is there each time is no change; the tile that meets it reports it.
        finite = np.isfinite(first), np.isfinite(again)
        changed = np.where(finite[0] & finite[1], change > allowed, finite[0] != finite[1])
        if changed.any():
            i, j = np.argwhere(changed)[0]
            raise SourceError(
                f"{entries!r} gave {first[i, j]} for the entry at index {(int(rows[i]), int(cols[j]))} and "
                f"{again[i, j]} when asked for it again, together with others; the entry function must give the same "
                "value for the same indices each time: let it depend on nothing else (no time, no counter; seed random "
                "numbers by the indices), and declare the dtype in which it computes"
            )
        if not np.array_equal(given, first, equal_nan=True):
            raise SourceError(
                f"{entries!r} changed the block that it had returned when it was asked for another one: it seems to "
                "return one array each time; let it return a copy"
            )


def _other_requests(entries: Entries, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """Evaluate the sample again: in reverse order, in three parts of its columns, and in three parts of its rows."""
    yield entries.block(rows[::-1], cols[::-1])[::-1, ::-1]
    yield np.concatenate([entries.block(rows, part) for part in np.split(cols, [1, cols.size // 2])], axis=1)
    yield np.concatenate([entries.block(part, cols) for part in np.split(rows, [1, rows.size // 2])], axis=0)
