"""A copy of a matrix in which the entries of each region lie together, made while the matrix is read once.

Where points scatter rows and columns over all chunks, a region that reads its entries would touch every chunk. A panel
of whole chunks is read in place of that, and what it has of each region is a *piece*::

    panel of the matrix, as stored       its pieces                       a region, from the pieces of all panels
    .--------.                           region 0: rows 1 3, cols 0 2     .-----.
    | chunks |    ->                     region 1: rows 1 3, cols 1 3     |     |
    '--------'                           ...                              '-----'

A piece is written once and read once, in chunks that it has to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..sources.info import SourceInfo
from ..structure.axes import Axis, Index, Tile
from ..structure.block_tree import ClusterTree
from ..structure.padding import inverse_order
from .tile_ranges import tiles_of

__all__ = ["Piece", "PieceCopy", "Positions", "choose_chunk", "padded", "places_of", "plan_pieces"]

PANEL_BYTES = 1 << 27
"""Bytes that a panel should have, of whole chunks. Not tuned: a piece takes .7 ms of a core to write and .7 to read,
whatever its size, and .55 and .65 for each MiB of it (Zarr in a local directory, in the page cache)."""

MOST_PIECES = 1 << 18
"""Most pieces of a copy: each is a file. Not tuned."""

CHUNKS_OF_PIECE = 8
"""Most chunks of the largest piece. Not tuned."""

CHUNK_COST = 1 << 20
"""Bytes that it takes as long to write as to begin with a chunk.

Measured beside others: .7 ms of a core for a chunk, and .55 ms for each MiB of it, in a local directory."""


def padded(length: int, chunk: int) -> int:
    """Length in whole chunks."""
    return -(-length // chunk) * chunk


class Positions:
    """Places of a range of rows, or columns, of a matrix in the order of the clusters.

    Parameters
    ----------
    places : array of int
        Position of each row of the range.
    """

    def __init__(self, places: Index) -> None:
        self.order = np.argsort(places, kind="stable")
        self.sorted = places[self.order]

    def within(self, first: int, last: int) -> slice:
        """Those, of the sorted ones, that lie in a range of positions."""
        return slice(*np.searchsorted(self.sorted, (first, last)).tolist())

    def inside(self, spans: Index) -> Index:
        """Numbers, of the sorted ones, that lie in ranges of positions (ranges, 2)."""
        found = np.searchsorted(self.sorted, spans).tolist()
        return np.concatenate([np.empty(0, np.int64), *(np.arange(*each) for each in found)])

    def positions(self, first: int, last: int) -> Index:
        """Their positions, ascending."""
        return self.sorted[self.within(first, last)]


class Piece(NamedTuple):
    """What a panel has of a region."""

    number: int
    panel: int
    region: int
    entries: int


@dataclass(frozen=True, eq=False, kw_only=True)
class PieceCopy:
    """A copy of the matrix in pieces.

    Attributes
    ----------
    rows, cols : Axis
        Sides of the matrix as stored, entry by entry.
    panels : tuple of Tile
        Ranges of whole chunks that tasks read; together they are the matrix.
    pieces : tuple of Piece
        Pieces that have entries, panel after panel.
    chunk : int
        Entries of a chunk of the copy.
    limit : int
        Most bytes that a panel was allowed.
    bytes_read : int
        Bytes of the chunks of the matrix that the panels touch.
    places : pair of array of int
        Position of each row, and of each column, of the matrix.
    """

    rows: Axis
    cols: Axis
    panels: tuple[Tile, ...]
    pieces: tuple[Piece, ...]
    chunk: int
    limit: int
    bytes_read: int
    places: tuple[Index, Index]

    @property
    def capacity(self) -> int:
        """Entries of the largest piece, in whole chunks."""
        return self.padded(max(piece.entries for piece in self.pieces))

    @property
    def entries(self) -> int:
        """Entries that are written, with those that fill up chunks."""
        return sum(self.padded(piece.entries) for piece in self.pieces)

    def padded(self, entries: int) -> int:
        """Entries of a piece in whole chunks."""
        return padded(entries, self.chunk)

    @cached_property
    def by_region(self) -> dict[int, list[Piece]]:
        """Pieces of each region."""
        return _group(self.pieces, "region")

    @cached_property
    def by_panel(self) -> dict[int, list[Piece]]:
        """Pieces of each panel."""
        return _group(self.pieces, "panel")

    def abreast(self, region: int) -> Iterator[list[Piece]]:
        """Pieces of a region, those together that have the same rows of it."""
        groups: dict[tuple[int, int], list[Piece]] = {}
        for piece in self.by_region[region]:
            groups.setdefault(self.panels[piece.panel][:2], []).append(piece)
        yield from groups.values()

    def sides(self, panel: int) -> tuple[Positions, Positions]:
        """Positions of the rows and of the columns of a panel."""
        r0, r1, c0, c1 = self.panels[panel]
        return self._side(0, r0, r1), self._side(1, c0, c1)

    def _side(self, which: int, first: int, last: int) -> Positions:
        """Positions of a range, which all panels that share it use, and all of their pieces."""
        if (which, first, last) not in self._known:
            self._known[which, first, last] = Positions(self.places[which][first:last])
        side: Positions = self._known[which, first, last]
        return side

    @cached_property
    def _known(self) -> dict[Any, Any]:
        """What panels that share a side share."""
        return {}


def _group(pieces: Sequence[Piece], field: str) -> dict[int, list[Piece]]:
    groups: dict[int, list[Piece]] = {}
    for piece in pieces:
        groups.setdefault(getattr(piece, field), []).append(piece)
    return groups


def plan_pieces(
    source: SourceInfo, trees: tuple[ClusterTree, ClusterTree], regions: Sequence[Tile], most_bytes: int
) -> PieceCopy | None:
    """Plan a copy in pieces; None where it would have too many of them, or a chunk is too large for a panel.

    Parameters
    ----------
    source : SourceInfo
        The matrix.
    trees : pair of ClusterTree
        Clusters of both sides.
    regions : sequence of Tile
        Ranges of positions of the regions.
    most_bytes : int
        Most bytes of a panel.
    """
    itemsize = np.dtype(source.dtype).itemsize
    steps = _panel_steps(source, min(PANEL_BYTES, most_bytes) // itemsize)
    if steps[0] * steps[1] * itemsize > most_bytes:
        return None
    panels = tiles_of(source.shape, steps)
    if len(panels) > MOST_PIECES:
        return None
    rows, cols = (Axis(size, size, False, edges=edges) for size, edges in zip(source.shape, source.edges, strict=True))
    places = tuple(places_of(tree) for tree in trees)
    pieces = _list_pieces(panels, regions, (places[0], places[1]))
    if len(pieces) > MOST_PIECES:
        return None
    touched = rows.tiling_cost(steps[0])[0] * cols.tiling_cost(steps[1])[0]
    return PieceCopy(
        rows=rows,
        cols=cols,
        panels=tuple(panels),
        pieces=tuple(pieces),
        chunk=choose_chunk(np.array([piece.entries for piece in pieces]), np.dtype(source.work_dtype).itemsize),
        limit=most_bytes,
        bytes_read=touched * itemsize,
        places=(places[0], places[1]),
    )


def choose_chunk(entries: Index, itemsize: int) -> int:
    """Entries of the chunks of pieces of so many entries: large ones are few, small ones are full."""
    largest = int(entries.max())
    sizes = [-(-largest // parts) for parts in range(1, CHUNKS_OF_PIECE + 1)]
    return min(sizes, key=lambda size: int(np.sum(-(-entries // size))) * (size * itemsize + CHUNK_COST))


def _panel_steps(source: SourceInfo, entries: int) -> tuple[int, int]:
    """Rows and columns of a panel: whole chunks, of which it takes more of the shorter side in turn."""
    chunks = [
        size if edges is None else int(np.max(np.diff(edges)))
        for size, edges in zip(source.shape, source.edges, strict=True)
    ]
    steps = [min(chunk, size) for chunk, size in zip(chunks, source.shape, strict=True)]
    while True:
        ways = [side for side in (0, 1) if steps[side] < source.shape[side]]
        ways = [side for side in ways if 2 * steps[0] * steps[1] <= entries]
        if not ways:
            return steps[0], steps[1]
        side = min(ways, key=lambda each: steps[each])
        steps[side] *= 2


def places_of(tree: ClusterTree) -> Index:
    """Position of each row of a matrix in the order of the clusters."""
    return np.arange(tree.size, dtype=np.int64) if tree.order is None else inverse_order(tree.order)


def _list_pieces(panels: Sequence[Tile], regions: Sequence[Tile], places: tuple[Index, Index]) -> list[Piece]:
    """Pieces of all panels; positions of the ranges of both sides are sorted once."""
    known: list[dict[tuple[int, int], Positions]] = [{}, {}]

    def side(which: int, first: int, last: int) -> Positions:
        if (first, last) not in known[which]:
            known[which][first, last] = Positions(places[which][first:last])
        return known[which][first, last]

    bounds = [np.unique([tuple(region[2 * which : 2 * which + 2]) for region in regions], axis=0) for which in (0, 1)]
    spans = [{tuple(span): at for at, span in enumerate(bound.tolist())} for bound in bounds]
    row_of = np.array([spans[0][region.r0, region.r1] for region in regions])
    col_of = np.array([spans[1][region.c0, region.c1] for region in regions])
    pieces: list[Piece] = []
    for panel, (r0, r1, c0, c1) in enumerate(panels):
        heights, widths = (
            np.diff(np.searchsorted(side(which, *span).sorted, bound), axis=1)[:, 0]
            for which, (span, bound) in enumerate(zip(((r0, r1), (c0, c1)), bounds, strict=True))
        )
        entries = heights[row_of] * widths[col_of]
        for region in np.flatnonzero(entries).tolist():
            pieces.append(Piece(len(pieces), panel, region, int(entries[region])))
        if len(pieces) > MOST_PIECES:
            break
    return pieces
