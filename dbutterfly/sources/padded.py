"""Sides with gaps, as tiles are read: what is there is read, and gaps are zeros in the tile's buffer."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Axis, Index
from ..structure.padding import Padding

__all__ = ["find_within", "has_gaps", "scatter", "scatter_crossings"]

RUN = 16
"""Least mean length of the runs of neighbouring columns that are copied run by run; shorter ones are copied by index.
Not tuned."""


def has_gaps(rows: Axis, cols: Axis) -> bool:
    """Whether a side has gaps."""
    return rows.padding is not None or cols.padding is not None


class Within(NamedTuple):
    """What a range of a side with gaps has of the matrix: a range of its rows, and their places in that of the side."""

    range: slice
    places: Index


def find_within(padding: Padding | None, wanted: slice) -> Within:
    """Find what a range of a side has of the matrix."""
    if padding is None:
        return Within(wanted, np.arange(wanted.stop - wanted.start))
    first, last = (int(padding.count(np.array(end))) for end in (wanted.start, wanted.stop))
    places = padding.positions(np.arange(first, last, dtype=np.int64)) - wanted.start
    return Within(slice(first, last), places)


def scatter(buffer: NDArray[Any], rows: Index, cols: Index, values: NDArray[Any]) -> None:
    """Copy values to the crossings of some rows and columns of a buffer, columns that are neighbours together."""
    runs = list(_runs(cols))
    if len(runs) * RUN > cols.size and len(runs) > 1:
        buffer[np.ix_(rows, cols)] = values
        return
    down: slice | Index = rows
    if rows.size and rows[-1] - rows[0] == rows.size - 1 and bool(np.all(np.diff(rows) == 1)):
        down = slice(int(rows[0]), int(rows[-1]) + 1)
    for first, last in runs:
        buffer[down, cols[first] : cols[last - 1] + 1] = values[:, first:last]


def _runs(index: Index) -> Iterator[tuple[int, int]]:
    """Ranges of an index array in which it counts up."""
    breaks = np.flatnonzero(np.diff(index) != 1) + 1
    return itertools.pairwise([0, *breaks.tolist(), index.size])


def scatter_crossings(rows: Index, cols: Index, dtype: Any, evaluate: Any) -> NDArray[Any]:
    """Crossings of rows and columns of a matrix, with zeros where one of them is -1: at a gap.

    Parameters
    ----------
    rows, cols : array of int64
        Rows and columns.
    dtype : dtype
        Of the entries.
    evaluate : callable
        Gives the crossings of rows and columns that are there.
    """
    at_rows, at_cols = np.flatnonzero(rows >= 0), np.flatnonzero(cols >= 0)
    if at_rows.size == rows.size and at_cols.size == cols.size:
        found: NDArray[Any] = evaluate(rows, cols)
        return found
    block = np.zeros((rows.size, cols.size), dtype)
    if at_rows.size and at_cols.size:
        scatter(block, at_rows, at_cols, evaluate(rows[at_rows], cols[at_cols]))
    return block
