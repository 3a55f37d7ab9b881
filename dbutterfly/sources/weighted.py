"""A matrix times diagonals: every source gives the entries of ``2^-e D1 Z D2`` in place of those of Z.

The diagonals D1 and D2 are weights of rows and columns. The power of two brings entries into a range in which their
squares, and the squares of their rounding errors, are normal numbers (:mod:`dbutterfly.sources.magnitude`). It is
divided between both diagonals, so that both are in the range where it is not.

Whoever reads a source need not know of either: tiles, samples of blocks, entries by which the matrix is known again,
and products with vectors are all those of the matrix times the diagonals. Its stamps, chunks and places are those of
the matrix.

An entry is ``(z * d1) * d2`` in the dtype of the computation, wherever it is read, so that it has the same bits each
time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError, RangeError
from ..kernels.backend import tile_memory
from ..structure.axes import Axis, Tile
from ..structure.weights import ScaledWeights, Weights
from .base import MatrixSource
from .entries import Entries, Index
from .entries_source import EntriesSource
from .exponents import exponent_of, largest_part
from .info import work_dtype
from .operators import OperatorSource
from .samples import Place
from .tile_grids import fold, unfold
from .wrapped import WrappedSource

__all__ = ["multiply_block", "rescale", "weigh"]

Vector: TypeAlias = "NDArray[Any] | None"

STRIP_BYTES = 1 << 18
"""Bytes of a tile that are multiplied by the weights of the rows and of the columns in turn. Not tuned: they stay in
the cache between the two."""


def weigh(source: MatrixSource, weights: Weights | None) -> MatrixSource:
    """Give rows and columns of a matrix their weights.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    weights : Weights or None
        Its weights; None leaves it as it is.

    Raises
    ------
    InputError
        If the weights are those of another shape, or span more than the dtype holds.
    """
    if weights is None:
        return source
    weights.validate(source.shape, work_dtype(source.dtype, source.name))
    return _multiplied(source, weights, 0)


def rescale(source: MatrixSource, exponent: int) -> MatrixSource:
    """Matrix, with the weights that it has, divided by a power of two, which rounds nothing.

    Parameters
    ----------
    source : MatrixSource
        The matrix; what it was divided by before counts no more.
    exponent : int
        The power.
    """
    if exponent == source.exponent:
        return source
    if isinstance(source, (_WeightedSource, _WeightedEntriesSource, _WeightedOperatorSource)):
        return _multiplied(source.unweighted, source.weights, exponent)
    return _multiplied(source, None, exponent)


def _multiplied(source: MatrixSource, weights: Weights | None, exponent: int) -> MatrixSource:
    if weights is None and exponent == 0:
        return source
    if isinstance(source, OperatorSource):
        return _WeightedOperatorSource(source, weights, exponent)
    if isinstance(source, EntriesSource):
        return _WeightedEntriesSource(source, weights, exponent)
    return _WeightedSource(source, weights, exponent)


def _diagonals(weights: Weights | None, exponent: int, shape: tuple[int, int], dtype: np.dtype[Any]) -> ScaledWeights:
    """Weights of both sides, each divided by half of a power of two; None of a side that is multiplied by nothing."""
    sides: ScaledWeights = (None, None) if weights is None else weights.scaled(dtype)
    if exponent == 0:
        return sides
    halves = exponent // 2, exponent - exponent // 2
    real = np.finfo(dtype).dtype
    ones = (np.ones(size, real) if side is None else side for side, size in zip(sides, shape, strict=True))
    rows, cols = (np.ldexp(side, -half) for side, half in zip(ones, halves, strict=True))
    return rows, cols


class _WeightedSource(WrappedSource):
    """A matrix that is read, with weights: tiles are multiplied by whoever reads them.

    Where the matrix puts its tiles into memory of their own, in the dtype of the computation, they are multiplied in
    place; else into a copy.
    """

    def __init__(self, source: MatrixSource, weights: Weights | None, exponent: int) -> None:
        self._wrap(source)
        self.weights, self.exponent = weights, exponent
        self.name, self.shape, self.edges = source.name, source.shape, source.edges
        self.dtype = work_dtype(source.dtype, source.name)
        self._factors = _diagonals(weights, exponent, self.shape, self.dtype)
        self._in_place = source.reads_in_place and source.dtype.newbyteorder("=") == self.dtype
        self.recopies_tiles = not self._in_place

    def choose_places(self, rng: np.random.Generator) -> tuple[Place, ...]:
        """Choose places that cost what they do in the matrix."""
        return self.unweighted.choose_places(rng)

    def non_finite_error(self, index: tuple[int, int]) -> NonFiniteError:
        """Error for an entry, which weights of at most one leave finite where it is."""
        return self.unweighted.non_finite_error(index)

    def read_block(self, rows: slice, cols: slice) -> NDArray[Any]:
        """Read a range of rows and columns and multiply it."""
        by_row, by_col = (None if w is None else w[at] for w, at in zip(self._factors, (rows, cols), strict=True))
        return self._multiply_block(self.unweighted.read_range(rows, cols), by_row, by_col)

    def take(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[Any]:
        """Take entries at the crossings of some rows and columns and multiply them."""
        by_row, by_col = (None if w is None else w[at] for w, at in zip(self._factors, (rows, cols), strict=True))
        return self._multiply_block(self.unweighted.take(rows, cols), by_row, by_col)

    def _multiply_block(self, block: NDArray[Any], by_row: Vector, by_col: Vector) -> NDArray[Any]:
        _check_raised(block, self.exponent, self.dtype, self.name)
        return multiply_block(block, by_row, by_col, self.dtype)

    def read(self, rows: Axis, cols: Axis, tile: Tile) -> NDArray[Any]:
        """Read one tile as a grid of blocks and multiply it; see :meth:`MatrixSource.read`."""
        grid = self.unweighted.read(rows, cols, tile)
        by_row = _along(self._factors[0], rows, tile.r0, tile.r1)
        by_col = _along(self._factors[1], cols, tile.c0, tile.c1)
        values = fold(grid, rows, cols)
        _check_raised(values, self.exponent, self.dtype, self.name)
        if self._in_place:
            _multiply(values, by_row, by_col, values)
            return grid
        a, b, c, d = values.shape
        buffer = tile_memory.empty((a * b, c * d), self.dtype)
        _multiply(values, by_row, by_col, buffer.reshape(values.shape))
        return unfold(buffer, rows, cols, tile)


class _WeightedEntries(Entries):
    """Entries of a matrix, multiplied by weights when they are evaluated."""

    def __init__(self, entries: Entries, weights: Weights | None, exponent: int) -> None:
        super().__init__(entries.f, entries.shape, entries.dtype)
        self.sampled, self.crossed = entries.sampled, entries.crossed
        self._entries, self._exponent = entries, exponent
        self._factors = _diagonals(weights, exponent, entries.shape, entries.dtype)

    def __repr__(self) -> str:
        return repr(self._entries)

    def block(self, rows: Index, cols: Index) -> NDArray[Any]:
        """Evaluate the block at the crossings of ``rows`` and ``cols``."""
        block = self._entries.block(rows, cols)
        _check_raised(block, self._exponent, self.dtype, repr(self._entries))
        by_row, by_col = (None if w is None else w[at] for w, at in zip(self._factors, (rows, cols), strict=True))
        return multiply_block(block, by_row, by_col, self.dtype)


class _WeightedEntriesSource(EntriesSource):
    """A matrix given by an entry function, with weights."""

    def __init__(self, source: EntriesSource, weights: Weights | None, exponent: int) -> None:
        super().__init__(_WeightedEntries(source.entries, weights, exponent))
        self.unweighted, self.weights, self.exponent = source, weights, exponent


class _WeightedOperatorSource(OperatorSource):
    """A linear operator between diagonals: a vector is multiplied by weights before and after it."""

    def __init__(self, source: OperatorSource, weights: Weights | None, exponent: int) -> None:
        super().__init__(source.operator, source.name)
        self.unweighted, self.weights, self.exponent = source, weights, exponent
        self._factors = _diagonals(weights, exponent, self.shape, self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _WeightedOperatorSource, (self.unweighted, self.weights, self.exponent)

    def _product(self, method: str, multiply: Callable[[Any], Any], vectors: NDArray[Any], length: int) -> NDArray[Any]:
        by_row, by_col = self._factors
        before, after = (by_row, by_col) if method.startswith("rmat") else (by_col, by_row)
        return _scale(super()._product(method, multiply, _scale(vectors, before), length), after)


def _scale(vectors: NDArray[Any], weights: NDArray[Any] | None) -> NDArray[Any]:
    """Vectors (n,) or (n, m), multiplied by n weights."""
    if weights is None:
        return vectors
    with np.errstate(invalid="ignore"):
        found: NDArray[Any] = (vectors.T * weights).T
    return found


def _check_raised(values: NDArray[Any], exponent: int, dtype: np.dtype[Any], name: str) -> None:
    """Refuse entries that a power of two would take out of the range, by which tiny ones are raised."""
    largest = largest_part(values) if exponent < 0 else 0.0
    if largest and (own := exponent_of(largest)) - exponent > np.finfo(dtype).maxexp:  # zeros have no exponent
        raise RangeError.of(name, dtype, own)


def _along(weights: NDArray[Any] | None, axis: Axis, first: int, last: int) -> NDArray[Any] | None:
    """Weights of the rows, or columns, of a tile as they lie in its buffer; of any at gaps, whose entries are zeros."""
    return None if weights is None else weights[axis.rows(first, last)].reshape(axis.buffer_shape(first, last))


def multiply_block(
    block: NDArray[Any], by_row: NDArray[Any] | None, by_col: NDArray[Any] | None, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Crossings of rows and columns, shape (m, n), times their weights: a new array."""
    found = np.empty(block.shape, dtype)
    _multiply(block, by_row, by_col, found)
    return found


def _multiply(
    values: NDArray[Any], by_row: NDArray[Any] | None, by_col: NDArray[Any] | None, out: NDArray[Any]
) -> None:
    """Multiply by the weights of the rows, the leading half of the axes, and of the columns, the other half."""
    step = max(1, STRIP_BYTES * len(out) // max(1, out.nbytes))
    for first in range(0, len(out), step):
        strip = slice(first, first + step)
        given = values[strip]
        with np.errstate(invalid="ignore"):  # non-finite entries are looked for, and named
            if by_row is not None:
                shape = (*by_row[strip].shape, *[1] * by_row.ndim)
                given = np.multiply(given, by_row[strip].reshape(shape), out=out[strip])
            if by_col is not None:
                np.multiply(given, by_col, out=out[strip])
