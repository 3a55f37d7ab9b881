"""Sides of a matrix that are shorter than those of its chain: positions of the chain to which nothing belongs.

A chain may be longer than the matrix. Positions that no row belongs to are *gaps*: rows of zeros that are never read,
stored or multiplied. Zeros change no singular value, so that the best blocks, discarded energies and the lower bound
are those of the matrix itself, and the error of the product is at most that of the longer one: a certificate stays a
proof.

Inside a run, a side with gaps is a longer side in which the rows keep their order, and an ordering is a permutation of
it. Where the caller gives None or ``"bitreversal"``, the gaps are spread evenly over it, which costs the fewest ranks
(Helmholtz kernel, 1009 points on 1024 positions, tolerance 1e-6: half the error of gaps at the end). Where an index
array says which positions are gaps, they are counted at the end of the side, and the array puts them where they belong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .arguments import LARGEST
from .chain import Chain
from .digits import digit_reversal
from .orderings import BITREVERSAL, GAP, Orderings, Side

__all__ = [
    "Padding",
    "Paddings",
    "Placement",
    "fill_gaps",
    "has_place",
    "inverse_order",
    "place",
    "show_gaps",
    "spread_gaps",
]

Index: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Padding:
    """One side of a matrix on a longer side, in which its rows (or columns) keep their order.

    Parameters
    ----------
    size : int
        Rows of the matrix.
    length : int
        Positions of the longer side.
    is_spread : bool
        Whether the gaps are spread evenly; else they are at the end, as those of sides are whose product is no int64.
    """

    size: int
    length: int
    is_spread: bool

    def positions(self, rows: Index) -> Index:
        """Positions of some rows of the matrix."""
        return rows * self.length // self.size if self.is_spread else rows

    def count(self, positions: Any) -> Any:
        """Number of rows before a position, or before each of some."""
        return -(-positions * self.size // self.length) if self.is_spread else np.minimum(positions, self.size)

    def rows(self, positions: Index) -> Index:
        """Rows of the matrix at some positions, -1 at gaps."""
        rows = np.minimum(self.count(positions), self.size - 1)
        return np.where(self.positions(rows) == positions, rows, GAP)

    def edges(self, edges: Index | None) -> Index | None:
        """Chunk boundaries of the matrix as boundaries on the longer side."""
        if edges is None:
            return None
        inner = self.positions(edges[:-1])
        ends = [self.length] if self.is_spread else [self.size, self.length]
        return np.concatenate([inner, np.array(ends, np.int64)])


Paddings: TypeAlias = "tuple[Padding | None, Padding | None]"
"""Padding of the rows and of the columns; None of a side without gaps."""


class Placement(NamedTuple):
    """How a matrix lies on the sides of a chain.

    Attributes
    ----------
    orderings : Orderings
        Orderings of the sides with their gaps: names, or permutations of all positions.
    paddings : pair of Padding or None
        Gaps of both sides.
    """

    orderings: Orderings
    paddings: Paddings

    @property
    def has_gaps(self) -> bool:
        """Whether a side has gaps."""
        return self.paddings != (None, None)


def has_place(shape: tuple[int, int], chain: Chain) -> bool:
    """Whether a matrix has its place on a chain: one as long, or longer with fewer gaps than rows; more are a slip."""
    return all(size <= length < 2 * size for size, length in zip(shape, chain.shape, strict=True))


def place(orderings: Orderings, shape: tuple[int, int], chain: Chain) -> Placement:
    """Place a matrix on the sides of a chain, which may be longer.

    Parameters
    ----------
    orderings : Orderings
        As they were given, and fit the matrix. An index array has an entry for each position of the chain, -1 for a
        gap, or one for each row: then the gaps are spread evenly among them.
    shape : (int, int)
        Rows and columns of the matrix.
    chain : Chain
        Chain of at least as many.
    """
    radices = chain.row_radices, chain.col_radices
    sides = zip((orderings.rows, orderings.cols), shape, chain.shape, radices, strict=True)
    (rows, row_padding), (cols, col_padding) = (_place_side(*side) for side in sides)
    return Placement(Orderings(rows, cols), (row_padding, col_padding))


def _place_side(side: Side, size: int, length: int, radices: tuple[int, ...]) -> tuple[Side, Padding | None]:
    if size == length:
        return side, None
    spread = Padding(size, length, size * length <= LARGEST)
    if side is None or isinstance(side, str):
        return side, spread
    side = _spread_side(side, size, length)
    natural = spread.rows(np.arange(length, dtype=np.int64))
    # The spread that None or a name stands for needs no index array, whose tiles would be scattered in storage.
    for name, order in ((None, None), (BITREVERSAL, digit_reversal(radices))):
        if np.array_equal(side, natural if order is None else natural[order]):
            return name, spread
    return fill_gaps(side), Padding(size, length, False)


def fill_gaps(order: Index) -> Index:
    """Permutation of all positions: gaps are counted after the rows. An order without gaps is one already."""
    gaps = np.flatnonzero(order == GAP)
    if not gaps.size:
        return order
    filled = order.copy()
    filled[gaps] = np.arange(order.size - gaps.size, order.size)
    return filled


def spread_gaps(orderings: Orderings, shape: tuple[int, int], chain: Chain) -> Orderings:
    """Orderings whose index arrays have an entry for each position of a chain: gaps are spread among those without.

    Parameters
    ----------
    orderings, shape, chain
        As for :func:`place`.
    """
    sides = list(zip((orderings.rows, orderings.cols), shape, chain.shape, strict=True))
    if not any(isinstance(side, np.ndarray) and side.size == size < length for side, size, length in sides):
        return orderings
    return Orderings(*(_spread_side(side, *sizes) if isinstance(side, np.ndarray) else side for side, *sizes in sides))


def _spread_side(side: Index, size: int, length: int) -> Index:
    """Index array with an entry for each position: gaps are spread evenly over one that has none."""
    if side.size == length:
        return side
    found = np.full(length, GAP, np.int64)
    found[Padding(size, length, size * length <= LARGEST).positions(np.arange(size, dtype=np.int64))] = side
    return found


def show_gaps(orderings: Orderings, shape: tuple[int, int], chain: Chain) -> Orderings:
    """Orderings in which sides with gaps are index arrays that have -1 there; other sides stay as they are.

    Parameters
    ----------
    orderings, shape, chain
        As for :func:`place`.
    """
    placed = place(orderings, shape, chain)
    if not placed.has_gaps:
        return orderings
    inner = placed.orderings.permutations(chain)
    sides = zip((orderings.rows, orderings.cols), inner, placed.paddings, strict=True)
    return Orderings(*(given if padding is None else _show_side(order, padding) for given, order, padding in sides))


def _show_side(order: Index | None, padding: Padding) -> Index:
    return padding.rows(np.arange(padding.length, dtype=np.int64) if order is None else order)


def inverse_order(order: Index) -> Index:
    """Position of each row in an index array, in which gaps are -1."""
    positions = np.flatnonzero(order != GAP)
    inverse = np.empty_like(positions)
    inverse[order[positions]] = positions
    return inverse
