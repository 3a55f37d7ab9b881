"""Layout of a chain for the compiled loops: segments, layers, and their values in bundles."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....structure.chain import Pattern
from ....structure.fusion import Segment, segments_with_layers
from ..fusion import fuse_factors
from .filling import layer_filler
from .sizes import COLUMNS, SLOTS

__all__ = ["JitPacked", "count_values", "pack"]

BLOCK_BYTES = 1 << 19
"""Bytes of a block of rows that goes through several segments.

Two of them, read and written in turn, stay in a second-level cache of 1 to 2 MiB.
"""

LIMITS = {"f": 2.0**24, "d": 2.0**100}
"""How far from one, as a factor, a number may be by which a row is divided, for each real dtype.

Not tuned. The largest floats are about 2**128 and 2**1024, so that overflow stays far away.
"""


class JitPacked(NamedTuple):
    """Factors divisors ready for :func:`dbutterfly.kernels.products.jit.multiply`.

    Attributes
    ----------
    values : array, shape (n,)
        Bundles of all segments, one after the other, of the real dtype.
    segments : array of uint64, shape (G, 8)
        For each segment: where its bundles begin, the pattern of its product, entries of a bundle, its first layer and
        the number of its layers, which is 0 if the product is stored.
    layers : array of uint64, shape (S, 3)
        For each layer, from left to right: where in a bundle it begins, how many rows apart are those that it combines,
        and whether it is full. The first columns of a layer that is not full are ones, and not stored.
    rows, cols : array of int64, shapes (M,) or (0,), and (N,) or (0,)
        Orderings; empty for the standard one.
    planes : int
        2 for complex factors, whose real and imaginary parts lie apart, else 1.
    tall : int
        Most rows of a vector left or after a segment.
    across : int
        Most rows or columns of a small matrix.
    one, many : (int, array of uint64)
        For one and for many columns: the number of segments at the end of the chain that are block diagonal, with equal
        blocks that are small enough for the cache, and the order in which to take these blocks.
    shape : (int, int)
        Shape of the product of the chain.
    """

    values: NDArray[Any]
    segments: NDArray[np.uint64]
    layers: NDArray[np.uint64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    planes: int
    tall: int
    across: int
    one: tuple[int, NDArray[np.uint64]]
    many: tuple[int, NDArray[np.uint64]]
    shape: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = self.values, self.segments, self.layers, self.rows, self.cols, self.one[1], self.many[1]
        return sum(array.nbytes for array in arrays)


def count_values(patterns: Sequence[Pattern]) -> tuple[int, int]:
    """Count the values in the bundles of some factors.

    Returns
    -------
    padded : int
        All values.
    used : int
        Those that are no padding of the last bundle of a segment.
    """
    segments = segments_with_layers(patterns, SLOTS)
    sizes = [_matrix_size(segment, segment.factors) for segment in segments]
    padded = sum(size * _bundle_count(segment) * SLOTS for size, segment in zip(sizes, segments, strict=True))
    return padded, sum(
        size * segment.pattern.a * segment.pattern.d for size, segment in zip(sizes, segments, strict=True)
    )


def pack(
    ks_values: Sequence[NDArray[Any]],
    dtype: np.dtype[Any],
    rows: NDArray[np.int64] | None = None,
    cols: NDArray[np.int64] | None = None,
) -> JitPacked:
    """Lay factors out in bundles.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right.
    dtype : dtype
        float32, float64, complex64 or complex128, to which they are converted.
    rows, cols : array of int64 or None, shapes (M,) and (N,)
        Orderings: the chain multiplies ``x[cols]``, and its products are ``y[rows]``.
    """
    segments = segments_with_layers([Pattern(*values.shape) for values in ks_values], SLOTS)
    planes = 2 if dtype.kind == "c" else 1
    full = _leading_layers(segments)
    table, layers = _tables(segments, full, planes)
    packed, indivisible = _fill_bundles(ks_values, segments, table, layers, full, dtype)
    if indivisible:  # most often by a zero: these factors keep their first columns
        full |= indivisible
        table, layers = _tables(segments, full, planes)
        packed, _ = _fill_bundles(ks_values, segments, table, layers, full, dtype)
    patterns = [segment.pattern for segment in segments]
    orders = [_NO_ORDER if index is None else np.ascontiguousarray(index, np.int64) for index in (rows, cols)]
    tall = max(max(pattern.shape) for pattern in patterns)
    across = max(max(b, c) for _, b, c, _ in patterns)
    one = _equal_blocks(patterns, BLOCK_BYTES // 8 // dtype.itemsize, SLOTS)  # a block shares the cache with its values
    many = _equal_blocks(patterns, BLOCK_BYTES // (COLUMNS * dtype.itemsize), 1)
    blocks = [(depth, _block_order(count, orders[1])) for depth, count in (one, many)]
    shape = patterns[0].shape[0], patterns[-1].shape[1]
    return JitPacked(packed, table, layers, orders[0], orders[1], planes, tall, across, blocks[0], blocks[1], shape)


_NO_ORDER = np.empty(0, np.int64)
"""Standard order, for the compiled loops."""


def _leading_layers(segments: Sequence[Segment]) -> set[int]:
    """Layers whose rows are not divided, since no layer directly to their left could be multiplied instead."""
    lefts = [None, *segments[:-1]]
    return {
        segment.factors.start
        for left, segment in zip(lefts, segments, strict=True)
        if segment.is_layered and (left is None or not left.is_layered)
    }


def _bundle_count(segment: Segment) -> int:
    return -(-segment.pattern.a * segment.pattern.d // SLOTS)


def _matrix_size(segment: Segment, full: Collection[int]) -> int:
    """Number of values stored for a small matrix of a segment, of which the factors ``full`` are full layers."""
    _, b, c, _ = segment.pattern
    if not segment.is_layered:
        return b * c
    return sum(2 * b if index in full else b for index in segment.factors)


def _tables(
    segments: Sequence[Segment], full: Collection[int], planes: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Tables of segments and of layers: see :class:`JitPacked`."""
    table, layers, start = [], list[tuple[int, int, bool]](), 0
    for segment in segments:
        first, offset = len(layers), 0
        for index, distance in zip(segment.factors, segment.distances, strict=False):
            layers.append((planes * SLOTS * offset, distance, index in full))
            offset += segment.pattern.b * (2 if index in full else 1)
        size = planes * SLOTS * _matrix_size(segment, full)
        table.append((start, *segment.pattern, size, first, len(layers) - first))
        start += _bundle_count(segment) * size
    return np.array(table, np.uint64), np.array(layers, np.uint64).reshape(-1, 3)


def _fill_bundles(
    ks_values: Sequence[NDArray[Any]],
    segments: Sequence[Segment],
    table: NDArray[np.uint64],
    layers: NDArray[np.uint64],
    full: Collection[int],
    dtype: np.dtype[Any],
) -> tuple[NDArray[Any], set[int]]:
    """Lay out all segments; returns their bundles, and the factors whose rows cannot be divided by their first entries.

    The segments are filled from right to left: the columns of a factor are multiplied by the numbers by which the rows
    of the factor to the right of it were divided.
    """
    real = np.empty(0, dtype).real.dtype
    planes, limit, fill = dtype.itemsize // real.itemsize, LIMITS[real.char], layer_filler(dtype.char).compiled
    packed = np.empty(
        sum(_bundle_count(segment) * int(row[5]) for segment, row in zip(segments, table, strict=True)), real
    )
    scales, indivisible = np.ones(segments[-1].pattern.shape[1], dtype), set()
    divisors = np.empty_like(scales)
    for segment, (start, a, b, c, d, size, first, _) in zip(reversed(segments), table[::-1].tolist(), strict=True):
        bundles = packed[start : start + _bundle_count(segment) * size].reshape(_bundle_count(segment), size)
        if not segment.is_layered:
            product = fuse_factors([ks_values[index] for index in segment.factors])
            _copy_values(product, bundles.reshape(-1, b, c, planes, SLOTS))
            scales = np.ones(segment.pattern.shape[0], dtype)
            divisors = np.empty_like(scales)
            continue
        if a * d % SLOTS:
            bundles[-1] = 0
        for index in reversed(segment.factors):
            values = np.ascontiguousarray(ks_values[index], dtype)
            parts = [array.reshape(-1).view(real) for array in (values, scales, divisors)]
            place = start + int(layers[first + index - segment.factors.start, 0]), size, a, d
            if fill(parts[0], values.shape[0], values.shape[3], *parts[1:], packed, *place, index in full, limit):
                indivisible.add(index)
                divisors[:] = 1
            scales, divisors = divisors, scales
    return packed, indivisible


def _copy_values(values: NDArray[Any], bundles: NDArray[Any]) -> None:
    """Copy the values of a factor into its bundles, the last of which is filled up with zeros."""
    a, b, c, d = values.shape
    planes = bundles.shape[3]
    slots = values.transpose(1, 2, 0, 3).reshape(b, c, a * d)  # a view where a or d is one
    whole, rest = divmod(a * d, SLOTS)
    for plane in range(planes):
        part = slots.imag if plane else slots.real
        bundles[:whole, :, :, plane] = part[:, :, : whole * SLOTS].reshape(b, c, whole, SLOTS).transpose(2, 0, 1, 3)
        if rest:
            bundles[whole, :, :, plane, :rest] = part[:, :, whole * SLOTS :]
            bundles[whole, :, :, plane, rest:] = 0


def _equal_blocks(patterns: Sequence[Pattern], rows: int, unit: int) -> tuple[int, int]:
    """Largest number of segments at the end of a chain that share diagonal blocks of at most ``rows`` rows.

    Returns that number and the number of blocks. A factor of pattern ``(a, b, c, d)`` has ``a`` diagonal blocks, and
    so any divisor of ``a``. Each block has a multiple of ``unit`` slots, or there is one block only.
    """
    for depth in range(len(patterns), 0, -1):
        last = patterns[-depth:]
        most, tall = math.gcd(*(pattern.a for pattern in last)), max(max(pattern.shape) for pattern in last)
        slots = [pattern.a * pattern.d for pattern in last]
        for blocks in (most // part for part in range(1, unit + 1) if most % part == 0):
            if tall > blocks * rows:
                break
            if blocks == 1 or all(count // blocks % unit == 0 for count in slots):
                return depth, blocks
    return 0, 1


def _block_order(blocks: int, cols: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Order of the blocks by the first column of each: blocks that read the same cache lines follow each other."""
    first = cols[:: cols.size // blocks] if cols.size else np.arange(blocks)
    return np.argsort(first).astype(np.uint64)
