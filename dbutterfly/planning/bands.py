"""A copy of a matrix of which the parts that are far from the diagonal are kept as matrices of low rank.

A *band* is a cluster of rows of one level. Its *far* columns are those of the blocks that are far apart, of it and of
the clusters around it; the others are *near*. The rows of a band that a panel has are smooth along its far columns: a
few orthonormal columns, and what they are multiplied by, stand for them. A *strip* is a region of some bands, with all
columns::

    strip    band    near: as it is        far: columns Q, coefficients B, what they leave out
             band                          ...
    strip    band    ...

Most entries of a large matrix are far. A panel that has all rows, or a large part of them, has many rows of a band, of
which the fewer columns stand for a larger part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..sources.info import SourceInfo
from ..structure.axes import Axis, Index
from ..structure.block_tree import Block, ClusterTree, divide, is_admissible
from .pieces import Piece, PieceCopy, Positions, choose_chunk, places_of
from .regions import is_above_diagonal, tile_of
from .tile_ranges import tiles_of

__all__ = ["Band", "BandCopy", "BandLevels", "count_positions", "largest_rank", "near_entries", "plan_bands"]

LEAST_ROWS = 192
"""Rows of a band that a panel should have.

Measured on an exponential covariance of 32768 random points in the plane at 1e-3, float32, panels of all rows and 2048
columns: bands of 256, 512 and 1024 rows keep .13, .16 and .23 of the entries, in about the same time."""

LEAST_STRIPS = 8
"""Strips that there should be. Not tuned: it does not depend on the number of workers, so that neither do results."""

PART_OF_ROWS = 6
"""Rows of a band in a panel over the largest rank of its far columns.

Not tuned: it bounds what a task holds. Of 256 rows, ranks are 12, and up to 17, in the matrix of :data:`LEAST_ROWS`."""

MOST_NEAR = 1 / 4
"""Part of the entries that may be near. Not tuned: a copy of all entries serves where more are."""

EXPECTED_RANK = 14
"""Rank of far columns by which the bytes of the copy, and its chunks, are chosen; see :data:`PART_OF_ROWS`."""


class BandLevels(NamedTuple):
    """Levels of the clusters of rows.

    Attributes
    ----------
    strip, band : int
        Level of the strips, which is no finer than that of the bands.
    """

    strip: int
    band: int


class Band(NamedTuple):
    """A band, and which columns it keeps how.

    Attributes
    ----------
    first, last : int
        Its positions.
    far, near : array of int, shape (k, 2)
        Ranges of positions of columns, ascending; columns that are in neither are not kept.
    """

    first: int
    last: int
    far: Index
    near: Index


def largest_rank(rows: int) -> int:
    """Largest rank with which the far columns of so many rows are kept."""
    return -(-rows // PART_OF_ROWS)


@dataclass(frozen=True, eq=False, kw_only=True)
class BandCopy(PieceCopy):
    """A copy of the matrix in bands: a piece has what a panel has of a strip.

    Attributes
    ----------
    levels : BandLevels
        Levels of strips and bands.
    bands : tuple of tuple of Band
        Bands of each strip.
    most_rank : int
        Largest rank of the far columns of a band in a panel, where others do not leave room for more. Panels at the
        end, which have fewer rows, have the same.
    """

    levels: BandLevels
    bands: tuple[tuple[Band, ...], ...]
    most_rank: int

    @cached_property
    def entries(self) -> int:
        """Entries that are expected to be written."""
        return sum(self.counts(piece, EXPECTED_RANK) for piece in self.pieces)

    @property
    def most_bands(self) -> int:
        """Most bands of a strip."""
        return max(map(len, self.bands))

    def rows_of(self, panel: int, band: Band) -> Index:
        """Positions of the rows of a band that a panel has, ascending."""
        return self.sides(panel)[0].positions(band.first, band.last)

    def cols_of(self, panel: int, spans: Index) -> Index:
        """Positions of the columns of a panel that lie in ranges of positions, ascending."""
        cols = self.sides(panel)[1]
        return cols.sorted[cols.inside(spans)]

    def sizes_of(self, panel: int, strip: int) -> list[tuple[int, int, int]]:
        """Numbers of the rows, of the far and of the near columns of each band of a strip that a panel has."""
        (rows, cols), known, bands = self.sides(panel), self._known, self.bands[strip]
        if (strip, rows) not in known:
            known[strip, rows] = [rows.positions(band.first, band.last).size for band in bands]
        if (strip, cols) not in known:
            known[strip, cols] = [(_count(cols, band.far), _count(cols, band.near)) for band in bands]
        return [(own, *across) for own, across in zip(known[strip, rows], known[strip, cols], strict=True)]

    def counts(self, piece: Piece, rank: int | None = None) -> int:
        """Entries of a piece where all ranks are so large, by default as large as they may be; with the ranks."""
        most = self.most_rank if rank is None else min(rank, self.most_rank)
        sizes = self.sizes_of(piece.panel, piece.region)
        kept = sum(min(most, rows, far) * (rows + far) + far + rows * near for rows, far, near in sizes)
        return len(sizes) + kept if kept else 0


def _count(side: Positions, spans: Index) -> int:
    """Number of positions that lie in ranges."""
    return int(np.diff(np.searchsorted(side.sorted, spans), axis=1).sum())


def plan_bands(
    source: SourceInfo,
    trees: tuple[ClusterTree, ClusterTree],
    eta: float,
    most_bytes: int,
    *,
    is_half: bool,
    strip_level: int | None = None,
) -> BandCopy | None:
    """Plan a copy in bands; None where a chunk is too large for a panel, bands are too few, or too much is near.

    Parameters
    ----------
    source : SourceInfo
        The matrix.
    trees : pair of ClusterTree
        Clusters of both sides.
    eta : float
        Admissibility.
    most_bytes : int
        Most bytes of a panel.
    is_half : bool
        Whether blocks above the diagonal are left out.
    strip_level : int, optional
        Level of the strips; by default, the coarsest with a block that is far from the diagonal, if there are enough.
    """
    itemsize = np.dtype(source.dtype).itemsize
    steps = _panel_steps(source, most_bytes // itemsize)
    band_level = min(math.floor(math.log2(max(steps[0] / LEAST_ROWS, 1))), trees[0].levels)
    if steps[0] * steps[1] * itemsize > most_bytes or 1 << band_level < LEAST_STRIPS:
        return None
    if strip_level is None:
        strip_level = max(_coarsest_level(trees, eta, band_level, is_half=is_half), math.ceil(math.log2(LEAST_STRIPS)))
    levels = BandLevels(min(strip_level, band_level), band_level)
    bands = _bands_of(trees, eta, levels, is_half=is_half)
    if sum(map(near_entries, bands)) > MOST_NEAR * math.prod(source.shape):
        return None
    panels = tiles_of(source.shape, steps)
    rows, cols = (Axis(size, size, False, edges=edges) for size, edges in zip(source.shape, source.edges, strict=True))
    touched = rows.tiling_cost(steps[0])[0] * cols.tiling_cost(steps[1])[0]
    row_places, col_places = map(places_of, trees)
    copy = BandCopy(
        rows=rows,
        cols=cols,
        panels=tuple(panels),
        pieces=(),
        chunk=1,
        limit=most_bytes,
        bytes_read=touched * itemsize,
        places=(row_places, col_places),
        levels=levels,
        bands=bands,
        most_rank=largest_rank(steps[0] >> band_level),
    )
    pieces = tuple(_pieces_of(copy))
    expected = np.array([copy.counts(piece, EXPECTED_RANK) for piece in pieces])
    chunk = choose_chunk(expected, np.dtype(source.work_dtype).itemsize)
    return replace(copy, pieces=pieces, chunk=chunk)


def _pieces_of(copy: BandCopy) -> Iterator[Piece]:
    """What panels have of strips, where that is anything."""
    number = 0
    for panel in range(len(copy.panels)):
        for strip in range(len(copy.bands)):
            entries = copy.counts(Piece(number, panel, strip, 0))
            if entries:
                yield Piece(number, panel, strip, entries)
                number += 1


def _panel_steps(source: SourceInfo, entries: int) -> tuple[int, int]:
    """Rows and columns of a panel of whole chunks: as many rows as fit, in equal parts, then as many columns."""
    chunks = [
        size if edges is None else int(np.max(np.diff(edges)))
        for size, edges in zip(source.shape, source.edges, strict=True)
    ]
    rows, cols = (-(-size // chunk) for size, chunk in zip(source.shape, chunks, strict=True))
    fitting = max(1, entries // (chunks[0] * chunks[1]))
    high = -(-rows // -(-rows // min(rows, fitting)))
    wide = min(cols, max(1, fitting // high))
    return min(high * chunks[0], source.shape[0]), min(wide * chunks[1], source.shape[1])


def _walk(
    trees: tuple[ClusterTree, ClusterTree], eta: float, root: Block, band_level: int, *, is_half: bool
) -> Iterator[tuple[Block, bool]]:
    """Blocks down to the rows of bands, each with whether its clusters are far apart."""
    waiting = [root]
    while waiting:
        block = waiting.pop()
        r0, r1, c0, c1 = tile_of(*trees, block)
        if is_half and is_above_diagonal((r0, r1), (c0, c1)):
            continue
        is_far = is_admissible(*trees, block, eta)
        parts = [] if is_far else list(divide(*trees, block))
        if not parts or any(part.row_level > band_level for part in parts):
            yield block, is_far
        else:
            waiting += parts


def _coarsest_level(trees: tuple[ClusterTree, ClusterTree], eta: float, band_level: int, *, is_half: bool) -> int:
    """Least level of the rows of a block whose clusters are far apart."""
    found = _walk(trees, eta, Block(0, 0, 0, 0), band_level, is_half=is_half)
    return min((block.row_level for block, is_far in found if is_far), default=band_level)


def _bands_of(
    trees: tuple[ClusterTree, ClusterTree], eta: float, levels: BandLevels, *, is_half: bool
) -> tuple[tuple[Band, ...], ...]:
    """Bands of each strip."""
    per_strip = 1 << (levels.band - levels.strip)
    strips = []
    for strip in range(1 << levels.strip):
        spans: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]] = [([], []) for _ in range(per_strip)]
        for block, is_far in _walk(trees, eta, Block(levels.strip, strip, 0, 0), levels.band, is_half=is_half):
            of_block = 1 << (levels.band - block.row_level)
            first = block.row * of_block - strip * per_strip
            for far, near in spans[first : first + of_block]:
                (far if is_far else near).append(trees[1].span(block.col_level, block.col))
        numbers = range(strip * per_strip, (strip + 1) * per_strip)
        strips.append(
            tuple(
                Band(*trees[0].span(levels.band, number), *map(_join, sides))
                for number, sides in zip(numbers, spans, strict=True)
            )
        )
    return tuple(strips)


def _join(spans: Sequence[tuple[int, int]]) -> Index:
    """Ranges, ascending, those joined that touch."""
    found: list[list[int]] = []
    for first, last in sorted(spans):
        if found and found[-1][1] == first:
            found[-1][1] = last
        else:
            found.append([first, last])
    return np.array(found, np.int64).reshape(-1, 2)


def near_entries(bands: Sequence[Band]) -> int:
    """Entries of bands that are near."""
    return sum((band.last - band.first) * count_positions(band.near) for band in bands)


def count_positions(spans: Index) -> int:
    """Positions that ranges have."""
    return int(np.diff(spans, axis=1).sum())
