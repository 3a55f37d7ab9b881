"""A chain laid out for the compiled loops."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....structure.chain import Pattern
from ....structure.fusion import Group, groups_of_stages
from ..fusion import fuse_factors
from .compiler import COLUMNS, LANES
from .filling import stage_filler

__all__ = ["JitPacked", "count_values", "pack"]

BLOCK_BYTES = 1 << 19
"""Bytes of a block of rows that goes through several factors: two of them stay in the second-level cache."""

LIMITS = {"f": 2.0**24, "d": 2.0**100}
"""How far from one, as a factor, numbers may be by which rows are divided: overflow stays far away."""


class JitPacked(NamedTuple):
    """Factors made ready for :func:`dbutterfly.kernels.products.jit.multiply`.

    Attributes
    ----------
    values : array, shape (n,)
        Panels of all groups, one after the other, of the real dtype.
    groups : array of uint64, shape (G, 8)
        Where the panels of each group begin, the pattern of its product, entries of a panel, its first stage and the
        number of its stages; 0 if the product is stored.
    stages : array of uint64, shape (S, 3)
        For each factor of a group of stages, from left to right: where in a panel it begins, how many rows apart are
        those that it combines, and whether its first columns are stored, which else are ones.
    rows, cols : array of int64, shapes (M,) or (0,), and (N,) or (0,)
        Orderings; empty for the standard one.
    planes : int
        2 for complex factors, whose real and imaginary parts lie apart, else 1.
    tall : int
        Most rows of a vector before or after a group.
    across : int
        Most rows or columns of a small matrix.
    one, many : (int, array of uint64)
        For one and for many columns, the number of groups at the end of the chain that are block diagonal with equal
        blocks that are small enough for the cache, and the order in which to take the blocks.
    """

    values: NDArray[Any]
    groups: NDArray[np.uint64]
    stages: NDArray[np.uint64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    planes: int
    tall: int
    across: int
    one: tuple[int, NDArray[np.uint64]]
    many: tuple[int, NDArray[np.uint64]]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = self.values, self.groups, self.stages, self.rows, self.cols, self.one[1], self.many[1]
        return sum(array.nbytes for array in arrays)


def count_values(patterns: Sequence[Pattern]) -> tuple[int, int]:
    """Count the values in the panels of some factors: all, and those that are no padding of a last panel."""
    groups = groups_of_stages(patterns, LANES)
    sizes = [_entries(group, group.factors) for group in groups]
    padded = sum(size * _panels(group) * LANES for size, group in zip(sizes, groups, strict=True))
    return padded, sum(size * group.pattern.a * group.pattern.d for size, group in zip(sizes, groups, strict=True))


def pack(
    ks_values: Sequence[NDArray[Any]],
    dtype: np.dtype[Any],
    rows: NDArray[np.int64] | None = None,
    cols: NDArray[np.int64] | None = None,
) -> JitPacked:
    """Lay factors out in panels.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right.
    dtype : dtype
        float32, float64, complex64 or complex128, to which they are converted.
    rows, cols : array of int64 or None, shapes (M,) and (N,)
        Orderings: the chain multiplies ``x[cols]``, and its products are ``y[rows]``.
    """
    groups = groups_of_stages([Pattern(*values.shape) for values in ks_values], LANES)
    planes = 2 if dtype.kind == "c" else 1
    full = _unscale(groups)
    table, stages = _tables(groups, full, planes)
    packed, indivisible = _filled(ks_values, groups, table, stages, full, dtype)
    if indivisible:  # a zero, most often: these factors keep their first columns
        full |= indivisible
        table, stages = _tables(groups, full, planes)
        packed, _ = _filled(ks_values, groups, table, stages, full, dtype)
    patterns = [group.pattern for group in groups]
    orders = [_NO_ORDER if index is None else np.ascontiguousarray(index, np.int64) for index in (rows, cols)]
    tall = max(max(pattern.shape) for pattern in patterns)
    across = max(max(b, c) for _, b, c, _ in patterns)
    one = _blocks(patterns, BLOCK_BYTES // 8 // dtype.itemsize, LANES)  # the values of the block want room, too
    many = _blocks(patterns, BLOCK_BYTES // (COLUMNS * dtype.itemsize), 1)
    turns = [(depth, _turns(blocks, orders[1])) for depth, blocks in (one, many)]
    return JitPacked(packed, table, stages, orders[0], orders[1], planes, tall, across, *turns)


_NO_ORDER = np.empty(0, np.int64)


def _unscale(groups: Sequence[Group]) -> set[int]:
    """Factors of stages whose rows cannot be divided, since no factor of a stage is before them to be multiplied."""
    befores = [None, *groups[:-1]]
    return {
        group.factors.start
        for before, group in zip(befores, groups, strict=True)
        if group.staged and (before is None or not before.staged)
    }


def _panels(group: Group) -> int:
    return -(-group.pattern.a * group.pattern.d // LANES)


def _entries(group: Group, full: Collection[int]) -> int:
    """Values in a small matrix of a group, the factors ``full`` of which are stored with their first columns."""
    _, b, c, _ = group.pattern
    if not group.staged:
        return b * c
    return sum(2 * b if index in full else b for index in group.factors)


def _tables(
    groups: Sequence[Group], full: Collection[int], planes: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Tables of groups and of stages: see :class:`JitPacked`."""
    table, stages, start = [], list[tuple[int, int, bool]](), 0
    for group in groups:
        first, offset = len(stages), 0
        for index, distance in zip(group.factors, group.distances, strict=False):
            stages.append((planes * LANES * offset, distance, index in full))
            offset += group.pattern.b * (2 if index in full else 1)
        size = planes * LANES * _entries(group, full)
        table.append((start, *group.pattern, size, first, len(stages) - first))
        start += _panels(group) * size
    return np.array(table, np.uint64), np.array(stages, np.uint64).reshape(-1, 3)


def _filled(
    ks_values: Sequence[NDArray[Any]],
    groups: Sequence[Group],
    table: NDArray[np.uint64],
    stages: NDArray[np.uint64],
    full: Collection[int],
    dtype: np.dtype[Any],
) -> tuple[NDArray[Any], set[int]]:
    """Panels of all groups, and the factors whose rows cannot be divided by their first entries.

    From right to left: the columns of a factor are multiplied by what the rows of the one after it were divided by.
    """
    real = np.empty(0, dtype).real.dtype
    planes, limit, fill = dtype.itemsize // real.itemsize, LIMITS[real.char], stage_filler(dtype.char)
    packed = np.empty(sum(_panels(group) * int(row[5]) for group, row in zip(groups, table, strict=True)), real)
    scales, indivisible = np.ones(groups[-1].pattern.shape[1], dtype), set()
    made = np.empty_like(scales)
    for group, (start, a, b, c, d, size, first, _) in zip(reversed(groups), table[::-1].tolist(), strict=True):
        panels = packed[start : start + _panels(group) * size].reshape(_panels(group), size)
        if not group.staged:
            product = fuse_factors([ks_values[index] for index in group.factors])
            _fill(panels.reshape(-1, b, c, planes, LANES), product)
            scales = np.ones(group.pattern.shape[0], dtype)
            made = np.empty_like(scales)
            continue
        if a * d % LANES:
            panels[-1] = 0
        for index in reversed(group.factors):
            values = np.ascontiguousarray(ks_values[index], dtype)
            parts = [array.reshape(-1).view(real) for array in (values, scales, made)]
            place = start + int(stages[first + index - group.factors.start, 0]), size, a, d
            if fill(parts[0], values.shape[0], values.shape[3], *parts[1:], packed, *place, index in full, limit):
                indivisible.add(index)
                made[:] = 1
            scales, made = made, scales
    return packed, indivisible


def _fill(panels: NDArray[Any], values: NDArray[Any]) -> None:
    """Copy the values of a factor into its panels."""
    a, b, c, d = values.shape
    planes = panels.shape[3]
    lanes = values.transpose(1, 2, 0, 3).reshape(b, c, a * d)  # a view where a or d is one
    whole, rest = divmod(a * d, LANES)
    for plane in range(planes):
        part = lanes.imag if plane else lanes.real
        panels[:whole, :, :, plane] = part[:, :, : whole * LANES].reshape(b, c, whole, LANES).transpose(2, 0, 1, 3)
        if rest:
            panels[whole, :, :, plane, :rest] = part[:, :, whole * LANES :]
            panels[whole, :, :, plane, rest:] = 0


def _blocks(patterns: Sequence[Pattern], rows: int, unit: int) -> tuple[int, int]:
    """Most factors at the end of a chain that share diagonal blocks of at most so many rows; the number of blocks.

    A factor of pattern (a, b, c, d) has a diagonal blocks, and so any divisor of a. Each block has a multiple of
    ``unit`` lanes, or there is one block only.
    """
    for depth in range(len(patterns), 0, -1):
        last = patterns[-depth:]
        most, tall = math.gcd(*(pattern.a for pattern in last)), max(max(pattern.shape) for pattern in last)
        lanes = [pattern.a * pattern.d for pattern in last]
        for blocks in (most // part for part in range(1, unit + 1) if most % part == 0):
            if tall > blocks * rows:
                break
            if blocks == 1 or all(count // blocks % unit == 0 for count in lanes):
                return depth, blocks
    return 0, 1


def _turns(blocks: int, cols: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Order of the blocks by the first column of each: those that share cache lines, as of a bit reversal, are near."""
    first = cols[:: cols.size // blocks] if cols.size else np.arange(blocks)
    return np.argsort(first).astype(np.uint64)
