"""Sides of a matrix: how each, as it is stored, falls into groups and chunks.

A cut of the chain (see :mod:`dbutterfly.structure.chain`) groups the rows, and the columns, of the matrix in standard
order. Where the members of a group lie in storage depends on the ordering of the side::

    contiguous   g0 g0 g0 g1 g1 g1 g2 g2 g2     position = g * members + e
    strided      g0 g1 g2 g0 g1 g2 g0 g1 g2     position = e * groups + g
    scattered    anywhere, by an index array

Standard rows are strided and standard columns contiguous; digit reversal of a side turns one into the other and
reverses the digits of the group number and of the member number, which is why it costs no copy and no extra read.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .chain import Chain
from .digits import digit_reversal
from .orderings import Orderings, Side
from .padding import Padding, Placement

__all__ = [
    "Axis",
    "Edges",
    "Index",
    "Part",
    "Tile",
    "axes_of_cut",
    "axes_of_whole",
    "axis_of_entries",
    "chunk_edges",
    "group_members",
    "largest_divisor",
]

Index: TypeAlias = NDArray[np.int64]

Edges: TypeAlias = "Index | None"
"""Chunk boundaries of a side, from 0 to its length; None where any range costs what it holds (an array in memory)."""


def chunk_edges(length: int, chunk: int) -> Index:
    """Boundaries of a side cut into chunks, the last of which may be shorter."""
    return np.append(np.arange(0, length, chunk, dtype=np.int64), np.int64(length))


def largest_divisor(number: int, limit: int) -> int:
    """Largest divisor of ``number`` up to ``limit``."""
    return next(k for k in range(min(number, limit), 0, -1) if number % k == 0)


@dataclass(frozen=True, eq=False)
class Part:
    """One range to read from storage, and where it goes.

    Attributes
    ----------
    start, stop : int
        Range of the side to read.
    keep : slice or array of int
        Positions within the range that are wanted.
    dest : slice or array of int
        Positions of the tile's buffer that they fill.
    """

    start: int
    stop: int
    keep: slice | Index
    dest: slice | Index


@dataclass(frozen=True, eq=False)
class Axis:
    """One side of the matrix under one cut of its chain.

    Attributes
    ----------
    length, groups : int
        Size of the side and number of its groups, numbered as they lie in storage.
    strided : bool
        Layout of the groups (see the module docstring); False for scattered sides too, whose tiles are gathered.
    group_order : array of int, shape (groups,), or None
        Storage number of each group in standard order; None where they agree.
    member_order : array of int, shape (members,), or None
        Storage number of each member of a group in standard order; None where they agree.
    index : array of int, shape (length,), or None
        For a scattered side: positions in storage, group after group.
    edges : array of int or None
        Chunk boundaries.
    padding : Padding or None
        Where the side has gaps, to which nothing in storage belongs. Storage positions, and chunk boundaries, are then
        those of the longer side on which the rows of the matrix lie.
    """

    length: int
    groups: int
    strided: bool
    group_order: Index | None = field(default=None, repr=False)
    member_order: Index | None = field(default=None, repr=False)
    index: Index | None = field(default=None, repr=False)
    edges: Edges = field(default=None, repr=False)
    padding: Padding | None = None

    @property
    def members(self) -> int:
        """Size of a group."""
        return self.length // self.groups

    def positions(self, first: int, last: int) -> Index:
        """Storage positions of groups ``first`` to ``last - 1``, in the order of a tile's buffer."""
        if self.index is not None:
            return self.index[first * self.members : last * self.members]
        if self.strided:
            starts = np.arange(self.members, dtype=np.int64)[:, None] * self.groups
            return (starts + np.arange(first, last, dtype=np.int64)).reshape(-1)
        return np.arange(first * self.members, last * self.members, dtype=np.int64)

    def rows(self, first: int, last: int) -> Index:
        """Rows (or columns) of the matrix at these positions, -1 at gaps."""
        positions = self.positions(first, last)
        return positions if self.padding is None else self.padding.rows(positions)

    def count(self, positions: Index) -> Index:
        """Number of rows of the matrix before each of some storage positions."""
        counted: Index = positions if self.padding is None else self.padding.count(positions)
        return counted

    def buffer_shape(self, first: int, last: int) -> tuple[int, int]:
        """Shape in which a tile's buffer unfolds along this side: (members, groups) if strided, else transposed."""
        return (self.members, last - first) if self.strided else (last - first, self.members)

    def parts(self, first: int, last: int) -> list[Part]:
        """Ranges to read for groups ``first`` to ``last - 1``: no chunk is in two of them.

        Whole chunks that follow each other are one range; of a chunk wanted in part, the hull is read and the rest
        dropped.
        """
        wanted = self.positions(first, last)
        order = np.argsort(wanted, kind="stable")
        ranges = self._ranges(wanted[order])
        if len(ranges) == 1 and ranges[0][1] - ranges[0][0] == wanted.size and self.index is None:
            return [Part(*ranges[0], slice(None), slice(None))]
        found, at = [], 0
        ordered = wanted[order]
        for start, stop in ranges:
            upto = int(np.searchsorted(ordered, stop))
            found.append(Part(start, stop, _as_slice(ordered[at:upto] - start), _as_slice(order[at:upto])))
            at = upto
        return found

    def tiling_cost(self, per_tile: int) -> tuple[int, int]:
        """Cost of cutting this side into tiles of ``per_tile`` groups, the last one shorter.

        Returns
        -------
        touched : int
            Entries of this side that the chunks wanted by each tile hold, summed over the tiles.
        longest : int
            Bound on the longest range of :meth:`parts`.
        """
        if self.edges is None:
            return int(self.count(np.array(self.length))), min(per_tile, self.groups) * self.members
        if self.index is not None:
            return self._scattered_cost(self.edges, per_tile)
        first = np.arange(0, self.groups, per_tile, dtype=np.int64)[:, None]
        last = np.minimum(first + per_tile, self.groups)
        if self.strided:
            shift = np.arange(self.members if per_tile < self.groups else 1, dtype=np.int64)[None, :] * self.groups
            starts, stops = first + shift, (last + shift if per_tile < self.groups else last * self.members)
        else:
            starts, stops = first * self.members, last * self.members
        return _run_cost(self.edges, self.count(self.edges), starts, stops)

    def _scattered_cost(self, edges: Index, per_tile: int) -> tuple[int, int]:
        assert self.index is not None
        sizes, stored = np.diff(edges), np.diff(self.count(edges))
        chunk = np.repeat(np.arange(sizes.size), sizes)[self.index]
        tile = np.arange(self.length, dtype=np.int64) // (per_tile * self.members)
        pairs = tile * sizes.size + chunk
        if (tile[-1] + 1) * sizes.size <= 64 * self.length:  # a table is faster than sorting, unless it is a large one
            table = np.zeros((tile[-1] + 1, sizes.size), np.bool_)
            table.reshape(-1)[pairs] = True
            touched = np.count_nonzero(table, axis=0) @ stored
        else:
            touched = np.sum(stored[np.unique(pairs) % sizes.size])
        return int(touched), int(np.max(sizes))

    def _ranges(self, wanted: Index) -> list[tuple[int, int]]:
        """Cut ascending positions into the hulls of chunks, runs of wholly wanted chunks joined."""
        if self.edges is None:
            return [(int(wanted[0]), int(wanted[-1]) + 1)]
        chunk = np.searchsorted(self.edges, wanted, side="right")
        firsts = np.flatnonzero(np.diff(chunk, prepend=-1))
        lasts = np.append(firsts[1:], wanted.size) - 1
        starts, stops = wanted[firsts], wanted[lasts] + 1
        if self.index is not None:  # copied piece by piece to its place: short pieces hold less
            return list(zip(starts.tolist(), stops.tolist(), strict=True))
        full = (stops - starts) == (lasts - firsts + 1)
        joins = np.flatnonzero(full[:-1] & full[1:] & (stops[:-1] == starts[1:]))
        heads = np.delete(starts, joins + 1)
        tails = np.delete(stops, joins)
        return list(zip(heads.tolist(), tails.tolist(), strict=True))


def _run_cost(edges: Index, counts: Index, starts: Index, stops: Index) -> tuple[int, int]:
    """Cost of tiles that want the ascending runs ``starts[t] .. stops[t]``; ``counts`` entries lie before each edge."""
    first = np.searchsorted(edges, starts, side="right") - 1
    last = np.searchsorted(edges, stops - 1, side="right") - 1
    done = np.concatenate([np.full_like(last[:, :1], -1), last[:, :-1]], axis=1)
    fresh = counts[last + 1] - counts[np.minimum(np.maximum(first, done + 1), last + 1)]
    longest = int(np.max(stops - starts))
    if bool(np.any(first <= done)):
        longest = max(longest, int(np.max(np.diff(edges))))
    return int(np.sum(fresh)), longest


def _as_slice(positions: Index) -> slice | Index:
    """Consecutive positions as a slice, which copies without an index array."""
    if positions.size and positions[-1] - positions[0] == positions.size - 1 and bool(np.all(np.diff(positions) == 1)):
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions


def axis_of_entries(chosen: Index, edges: Edges, padding: Padding | None = None) -> Axis:
    """Side of some storage positions alone, each a group of its own."""
    return Axis(chosen.size, chosen.size, False, index=chosen, edges=edges, padding=padding)


def axes_of_whole(chain: Chain, placed: Placement, edges: tuple[Edges, Edges]) -> tuple[Axis, Axis]:
    """Row and column sides of which all is one group, in standard order."""
    sides = zip(chain.shape, placed.orderings.permutations(chain), edges, placed.paddings, strict=True)
    rows, cols = (
        Axis(size, 1, False, index=index, edges=_padded_edges(edge, padding), padding=padding)
        for size, index, edge, padding in sides
    )
    return rows, cols


def axes_of_cut(
    chain: Chain, position: int, placed: Placement | Orderings, edges: tuple[Edges, Edges]
) -> tuple[Axis, Axis]:
    """Row and column sides of a matrix under the cut of its chain after factor ``position``.

    Parameters
    ----------
    chain : Chain
        The chain.
    position : int
        Number of factors to the left of the cut.
    placed : Placement or Orderings
        How the matrix lies on the sides of the chain; orderings alone where it is as large as the chain.
    edges : pair of array of int or None
        Chunk boundaries of the matrix.
    """
    (p, u, q, v, _), *_ = chain.cut(position)
    row_radices, col_radices = chain.row_radices, chain.col_radices
    orderings, paddings = placed if isinstance(placed, tuple) else (placed, (None, None))
    padded = [_padded_edges(edge, padding) for edge, padding in zip(edges, paddings, strict=True)]
    rows = _axis(orderings.rows, (p, u), True, (row_radices[position:], row_radices[:position]), padded[0])
    cols = _axis(orderings.cols, (q, v), False, (col_radices[:position], col_radices[position:]), padded[1])
    return replace(rows, padding=paddings[0]), replace(cols, padding=paddings[1])


def _padded_edges(edges: Edges, padding: Padding | None) -> Edges:
    return edges if padding is None else padding.edges(edges)


def _axis(side: Side, sizes: tuple[int, int], groups_low: bool, radices: tuple[Any, Any], edges: Edges) -> Axis:
    """Side whose index splits into ``sizes`` digits, the group being the low one or the high one."""
    length = sizes[0] * sizes[1]
    groups = sizes[1] if groups_low else sizes[0]
    if side is None:
        return Axis(length, groups, groups_low, edges=edges)
    if isinstance(side, str):
        group_order, member_order = digit_reversal(radices[0]), digit_reversal(radices[1])
        return Axis(length, groups, not groups_low, group_order, member_order, edges=edges)
    by_group = side.reshape(sizes).T if groups_low else side
    return Axis(length, groups, False, index=np.ascontiguousarray(by_group).reshape(-1), edges=edges)


class Tile(NamedTuple):
    """Row groups ``r0 .. r1 - 1`` and column groups ``c0 .. c1 - 1``, numbered as they lie in storage."""

    r0: int
    r1: int
    c0: int
    c1: int


def group_members(axis: Axis, first: int, last: int) -> Index:
    """Rows (or columns) in each group, in standard order, -1 at gaps: shape (groups, members)."""
    members = np.stack([axis.rows(group, group + 1) for group in range(first, last)])
    return members if axis.member_order is None else members[:, axis.member_order]
