"""The blocks of a region as two rows of numbers, which a workspace keeps: their values, and a table of what they are.

    values   of all factors of the first block, of the second one, ...
    table    length of both rows, blocks, entries evaluated | of each block: its spans, number of factors, energy,
             error, lower, deviation, what was left out, length of its spectrum, kinds of its orderings, patterns,
             spectrum, index arrays

Integers are exact in double precision. There is no NaN, which in a workspace would mean that nothing was written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...operator.block_factors import BlockFactors
from ...structure.orderings import Orderings
from .fitted import FittedBlock

__all__ = ["HEAD", "Head", "decode_blocks", "encode_blocks"]


class Head(NamedTuple):
    """First entries of a table.

    Attributes
    ----------
    values, table : int
        Length of both rows.
    blocks : int
        Number of blocks.
    evaluated : int
        Entries that were evaluated for them, of an entry function that is sampled.
    """

    values: int
    table: int
    blocks: int
    evaluated: int

    @classmethod
    def of(cls, table: NDArray[np.float64]) -> Head:
        """Those of a table."""
        return cls(*map(int, table[:HEAD]))


HEAD = len(Head._fields)
"""Entries of the table before the first block."""

NUMBERS = 13
"""Numbers of a block before its patterns."""

STANDARD, BIT_REVERSED = -1, -2
"""What the table has in place of the length of an index array, where a side has none."""


def encode_blocks(
    blocks: Sequence[FittedBlock], dtype: Any, evaluated: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Turn blocks into a row of values, of a dtype, and a table."""
    parts: list[NDArray[Any]] = []
    numbers: list[NDArray[np.float64]] = []
    for block in blocks:
        factors = block.factors
        parts += [values.reshape(-1) for values in factors.ks_values]
        numbers += _describe(block)
    values = np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)
    rest = np.concatenate([np.empty(0), *numbers])
    head = Head(values.size, HEAD + rest.size, len(blocks), evaluated)
    return values, np.concatenate([np.array(head, np.float64), rest])


def _describe(block: FittedBlock) -> Iterator[NDArray[np.float64]]:
    """What the table has of a block."""
    factors, sides = block.factors, list(block.factors.orderings.sides.values())
    kinds = [_kind_of(side) for side in sides]
    measures = (block.energy, block.error, block.lower, block.deviation, block.left_out)
    numbers = [*factors.rows, *factors.cols, len(factors.ks_values), *measures, block.spectrum.size, *kinds]
    yield np.array([*numbers, *(size for values in factors.ks_values for size in values.shape)], np.float64)
    yield np.asarray(block.spectrum, np.float64)
    for side in sides:
        if isinstance(side, np.ndarray):
            yield side.astype(np.float64)


def _kind_of(side: NDArray[np.int64] | str | None) -> int:
    """Length of an index array, or what stands for another side."""
    if isinstance(side, np.ndarray):
        return side.size
    return STANDARD if side is None else BIT_REVERSED


def decode_blocks(values: NDArray[Any], table: NDArray[np.float64]) -> list[FittedBlock]:
    """Inverse of :func:`encode_blocks`."""
    head, found, rest = Head.of(table), [], _Reader(table[HEAD:])
    stored = _Reader(values)
    for _ in range(head.blocks):
        numbers = rest.take(NUMBERS).tolist()
        r0, r1, c0, c1, count = map(int, numbers[:5])
        sizes = list(map(int, rest.take(4 * count).tolist()))
        patterns = [tuple(sizes[first : first + 4]) for first in range(0, 4 * count, 4)]
        spectrum = rest.take(int(numbers[10])).copy()
        sides = [_read_side(rest, int(kind)) for kind in numbers[11:]]
        factors = tuple(stored.take(math.prod(pattern)).reshape(pattern) for pattern in patterns)
        block = BlockFactors((r0, r1), (c0, c1), factors, Orderings(*sides))
        energy, error, lower, deviation, left_out = numbers[5:10]
        found.append(FittedBlock(block, energy, error, lower, deviation, spectrum, left_out))
    return found


def _read_side(rest: _Reader, kind: int) -> NDArray[np.int64] | str | None:
    if kind >= 0:
        return rest.take(kind).astype(np.int64)
    return None if kind == STANDARD else "bitreversal"


class _Reader:
    """A row of numbers, taken from its beginning."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        self._numbers, self._first = numbers, 0

    def take(self, count: int) -> NDArray[Any]:
        """The next numbers."""
        first, self._first = self._first, self._first + count
        return self._numbers[first : self._first]
