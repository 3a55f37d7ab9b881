"""The parts of a tile: ranges that are read, and the places in the tile's buffer where their entries go.

A :class:`~dbutterfly.structure.axes.Part` describes one side. A part of the rows and a part of the columns make one
range of the matrix, of which the tile keeps some rows and columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Axis, Edges, Index, Part

__all__ = ["count_kept", "count_touched", "cut_at_chunks", "is_kept_whole", "place_part", "restrict_part"]


def place_part(buffer: NDArray[Any], row: Part, col: Part, block: NDArray[Any]) -> None:
    """Copy the entries that a tile keeps of a range that was read to their places in the tile's buffer."""
    kept = block[row.keep][:, col.keep]
    if isinstance(row.dest, slice) or isinstance(col.dest, slice):
        buffer[row.dest, col.dest] = kept
    else:
        buffer[np.ix_(row.dest, col.dest)] = kept


def count_kept(part: Part) -> int:
    """Count the entries of a part that the tile keeps."""
    return part.stop - part.start if isinstance(part.keep, slice) else int(part.keep.size)


def is_kept_whole(part: Part) -> bool:
    """Whether the tile keeps all of a range, in its order and side by side."""
    if not isinstance(part.keep, slice) or not isinstance(part.dest, slice):
        return False
    return part.keep.indices(part.stop - part.start) == (0, part.stop - part.start, 1)


def restrict_part(part: Part, piece: slice) -> Part:
    """Restrict a part to a piece of its range."""
    start, stop = piece.start - part.start, piece.stop - part.start
    keep = np.arange(part.stop - part.start)[part.keep]
    low, high = (int(at) for at in np.searchsorted(keep, (start, stop)))
    kept: slice | Index = keep[low:high] - start
    if isinstance(part.keep, slice):
        kept = slice(int(keep[low]) - start, int(keep[high - 1]) - start + 1) if low < high else slice(0, 0)
    if isinstance(part.dest, slice):
        first = part.dest.start or 0
        return Part(piece.start, piece.stop, kept, slice(first + low, first + high))
    return Part(piece.start, piece.stop, kept, part.dest[low:high])


def cut_at_chunks(part: Part, edges: Edges) -> Iterator[Part]:
    """Cut a part at the chunk boundaries; one whose entries are picked one by one lies in a single chunk already."""
    if edges is None or not (isinstance(part.keep, slice) and isinstance(part.dest, slice)):
        yield part
        return
    inner = edges[(edges > part.start) & (edges < part.stop)].tolist()
    first = 0 if part.dest.start is None else part.dest.start
    for start, stop in itertools.pairwise([part.start, *inner, part.stop]):
        yield Part(start, stop, slice(0, stop - start), slice(first + start - part.start, first + stop - part.start))


def count_touched(axis: Axis, edges: Edges, first: int, last: int) -> int:
    """Count the entries of one side in the chunks that its parts touch, summed over the parts; gaps are no entries."""
    if edges is None:
        return (last - first) * axis.members if axis.padding is None else int(np.sum(axis.rows(first, last) >= 0))
    edges = edges if axis.padding is None or axis.edges is None else axis.edges
    parts: Sequence[Part] = axis.parts(first, last)
    starts = edges[np.searchsorted(edges, [part.start for part in parts], side="right") - 1]
    stops = edges[np.searchsorted(edges, [part.stop for part in parts], side="left")]
    return int(np.sum(axis.count(stops) - axis.count(starts)))
