"""What is read of a matrix to judge it: some rows and some columns, within a number of bytes.

Blocks of any cut in any order are looked at inside a window, so that orderings are compared by what has been read once.

    matrix                      window                                     reading a block costs
    in memory, small enough     all of it                                  nothing
    entry function, small       all of it, evaluated once                  nothing
    larger, entry function      all rows and columns                       its entries
    stored in chunks            whole chunks, read at once: a few rows     nothing
                                of chunks by a few columns of chunks
    operator                    all rows and columns                       a product for each column that no
                                                                           block had before

Chunks are few beside the members of a group, which may lie side by side or far apart. Those that are taken are
therefore spread over all scales: of the binary digits of a chunk's number, some take both values, the others one at
random.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..structure.axes import Edges, Index, chunk_edges
from .arrays import ArraySource
from .base import MatrixSource
from .operators import OperatorSource

__all__ = ["Window", "open_chunk", "open_window"]

MOST_EVALUATED = 1 << 20
"""Entries of an entry function that are evaluated once, all of them, and held. Advice on the Fourier matrix looked at
.16, .87, 1.5 and 1.04 million for N = 64, 256, 512 and 1024: at each entry up to 39 times, and no fewer than it has."""

UNCHUNKED = 256
"""Rows, or columns, that are read with a chunk of a matrix that has chunks of the other side only. Not tuned."""

LARGEST_ENTRY = 1e140
"""Largest modulus of an entry: squares of as many as there may be add up to a number."""


class Window(ABC):
    """Rows and columns of a matrix that may be looked at, within a number of bytes.

    Attributes
    ----------
    source : MatrixSource
        The matrix.
    limit : int
        Bytes that may be read.
    bytes_read : int
        Bytes that were read.
    rows, cols : array of int or None
        The rows and columns of the window, ascending; None where it has all.
    shares_cols : bool
        Whether another block of the same columns costs nothing.
    energy : float or None
        Mean energy of an entry, where all that may be looked at has been read.
    """

    energy: float | None = None
    rows: Index | None = None
    cols: Index | None = None
    shares_cols = False

    def __init__(self, source: MatrixSource, limit: int) -> None:
        self.source, self.limit, self.bytes_read = source, limit, 0

    def has_room(self, entries: int, cols: int) -> bool:  # noqa: ARG002
        """Whether blocks with so many entries, in so many columns, may still be read."""
        return self.bytes_read + entries * self.source.dtype.itemsize <= self.limit

    @property
    def covered(self) -> tuple[float, float]:
        """Parts of the rows and of the columns that the window has."""
        pairs = zip((self.rows, self.cols), self.source.shape, strict=True)
        rows, cols = (1.0 if side is None else side.size / size for side, size in pairs)
        return rows, cols

    def read(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Read the entries at the crossings of some ascending rows and columns of the window, in double precision.

        Raises
        ------
        NonFiniteError
            If a NaN or an infinity is met.
        InputError
            If an entry is too large to be squared.
        """
        return _as_double(self.source, self._read(rows, cols), rows, cols)

    @abstractmethod
    def _read(self, rows: Index, cols: Index) -> NDArray[Any]: ...


def _as_double(source: MatrixSource, block: NDArray[Any], rows: Index, cols: Index | None) -> NDArray[Any]:
    """Entries of some rows and columns (None: all of them) in double precision, once they are checked."""
    double: NDArray[Any] = block.astype(np.result_type(block.dtype, np.float64))
    largest = float(np.max(np.abs(double)))
    if not np.isfinite(largest):
        row, col = np.argwhere(~np.isfinite(double))[0]
        raise source.non_finite_error((int(rows[row]), int(col if cols is None else cols[col])))
    if largest > LARGEST_ENTRY:
        raise InputError(
            f"{source.name} has entries of modulus {largest:.3g}, too large to be squared; scale the matrix"
        )
    return double


def open_window(source: MatrixSource, limit: int, rng: np.random.Generator) -> Window | None:
    """Open a window on a matrix.

    Parameters
    ----------
    source : MatrixSource
        The matrix; where it is stored in chunks, those of the window are read now.
    limit : int
        Bytes that may be read.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Window or None
        None where a chunk has more bytes.
    """
    if isinstance(source, OperatorSource):
        return _Products(source, limit)
    if any(edges is not None for edges in source.edges):
        return _Held.open(source, limit, rng)
    is_small = isinstance(source, ArraySource) or math.prod(source.shape) <= MOST_EVALUATED
    if is_small and source.info.nbytes <= limit:
        return _Held(source, limit, None, None, source.read_block(*(slice(0, size) for size in source.shape)))
    return _Anywhere(source, limit)


def open_chunk(source: MatrixSource, row: int, col: int) -> Window:
    """Window of the chunk of a stored matrix that an entry lies in, which is read now.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    row, col : int
        Place of the entry.
    """
    spans = []
    for edges, size, at in zip(source.edges, source.shape, (row, col), strict=True):
        edge = chunk_edges(size, UNCHUNKED) if edges is None else edges
        first = int(np.searchsorted(edge, at, side="right")) - 1
        spans.append(edge[first : first + 2].tolist())
    block = source.read_range(slice(*spans[0]), slice(*spans[1]))
    rows, cols = (np.arange(*span, dtype=np.int64) for span in spans)
    return _Held(source, block.nbytes, rows, cols, block)


class _Anywhere(Window):
    """Entries anywhere, which cost no more than they hold."""

    def _read(self, rows: Index, cols: Index) -> NDArray[Any]:
        self.bytes_read += rows.size * cols.size * self.source.dtype.itemsize
        return self.source.take(rows, cols)


class _Products(Window):
    """Columns of an operator, each a product with a unit vector; they are held."""

    shares_cols = True

    def __init__(self, source: OperatorSource, limit: int) -> None:
        super().__init__(source, limit)
        self._columns: dict[int, NDArray[Any]] = {}

    def has_room(self, entries: int, cols: int) -> bool:  # noqa: ARG002
        """Whether so many columns may still be multiplied out."""
        return self.bytes_read + self.source.shape[0] * cols * self.source.dtype.itemsize <= self.limit

    def _read(self, rows: Index, cols: Index) -> NDArray[Any]:
        new = np.array([col for col in cols.tolist() if col not in self._columns], np.int64)
        if new.size:
            columns = self.source.take(np.arange(self.source.shape[0], dtype=np.int64), new)
            self._columns |= zip(new.tolist(), columns.T.copy(), strict=True)
            self.bytes_read += columns.nbytes
        return np.stack([self._columns[col][rows] for col in cols.tolist()], axis=1)


class _Held(Window):
    """Some chunks of a matrix, read at once, or all of it."""

    def __init__(
        self, source: MatrixSource, limit: int, rows: Index | None, cols: Index | None, block: NDArray[Any]
    ) -> None:
        super().__init__(source, limit)
        self.rows, self.cols, self._block = rows, cols, block
        self.bytes_read = block.size * source.dtype.itemsize
        self.energy = self._energy()

    def _energy(self) -> float:
        """Mean energy of an entry, row by row: squares of all take more memory than the entries."""
        energy = 0.0
        for number, row in enumerate(self._block):
            line = np.array([number if self.rows is None else self.rows[number]])
            double = _as_double(self.source, row[None], line, self.cols)
            energy += float(np.vdot(double, double).real)
        return energy / self._block.size

    @classmethod
    def open(cls, source: MatrixSource, limit: int, rng: np.random.Generator) -> _Held | None:
        """Choose chunks and read them; None where one of them has more bytes than may be read."""
        edges = [_edges(*side) for side in zip(source.edges, source.shape, strict=True)]
        counts = _count_chunks(edges, limit // source.dtype.itemsize)
        if counts is None:
            return None
        runs = [_spread_chunks(edge, count, rng) for edge, count in zip(edges, counts, strict=True)]
        rows, cols = (np.concatenate([np.arange(*run, dtype=np.int64) for run in side]) for side in runs)
        block = np.empty((rows.size, cols.size), source.dtype.newbyteorder("="))
        top = 0
        for r0, r1 in runs[0]:
            left = 0
            for c0, c1 in runs[1]:
                block[top : top + r1 - r0, left : left + c1 - c0] = source.read_range(slice(r0, r1), slice(c0, c1))
                left += c1 - c0
            top += r1 - r0
        whole = [None if side.size == size else side for side, size in zip((rows, cols), source.shape, strict=True)]
        return cls(source, limit, whole[0], whole[1], block)

    def has_room(self, entries: int, cols: int) -> bool:  # noqa: ARG002
        """Yes: looking at what has been read costs nothing."""
        return True

    def _read(self, rows: Index, cols: Index) -> NDArray[Any]:
        sides = ((self.rows, rows), (self.cols, cols))
        at = (wanted if held is None else np.searchsorted(held, wanted) for held, wanted in sides)
        return self._block[np.ix_(*at)]


def _edges(edges: Edges, size: int) -> Index:
    """Chunk boundaries; of a side without chunks, which is read with the other one's, single rows or columns."""
    return chunk_edges(size, 1) if edges is None else edges


def _count_chunks(edges: Sequence[Index], entries: int) -> tuple[int, int] | None:
    """Count the rows and the columns of chunks that together have so many entries at most; None where one has more.

    Both sides are covered to equal parts.
    """
    heights = [int(np.max(np.diff(edge))) for edge in edges]
    lengths = [int(edge[-1]) for edge in edges]
    most = [edge.size - 1 for edge in edges]
    counts = [1, 1]
    if heights[0] * heights[1] > entries:
        return None
    while True:
        ways = []
        for side in (0, 1):
            more = counts.copy()
            more[side] = min(2 * counts[side], most[side])
            size = [min(count * height, length) for count, height, length in zip(more, heights, lengths, strict=True)]
            if more != counts and size[0] * size[1] <= entries:
                ways.append((counts[side] / most[side], side, more))
        if not ways:
            return counts[0], counts[1]
        counts = min(ways)[2]


def _spread_chunks(edges: Index, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Choose chunks of a side, spread over all scales: ranges of neighbouring ones."""
    most = edges.size - 1
    if count == most:
        return [(0, int(edges[-1]))]
    digits, free = (most - 1).bit_length(), count.bit_length() - 1
    places = {int(place) for place in np.round(np.linspace(digits - 1, 0, free))}
    base = int(rng.integers(most)) & ~sum(1 << place for place in places)
    numbers = sorted(base + sum(taken) for taken in itertools.product(*((0, 1 << place) for place in sorted(places))))
    chosen = [number for number in numbers if number < most]
    breaks = [0, *(at for at in range(1, len(chosen)) if chosen[at] != chosen[at - 1] + 1), len(chosen)]
    return [(int(edges[chosen[a]]), int(edges[chosen[b - 1] + 1])) for a, b in itertools.pairwise(breaks)]
