r"""Fit a strip of which panels have kept the far columns at low rank.

Every panel has its own orthonormal columns of a band. Those of all panels are merged into one basis U, which captures
their products as that of a panel captures the matrix::

    [Q_1 B_1  Q_2 B_2  ...]  ~  U C,        C = U^H [Q_1 B_1  Q_2 B_2  ...]

A block of some bands is fitted by its coefficients C, one band below the other: the columns of U are orthonormal, and
what they leave out is orthogonal to them, so that its energy adds to the squared error. What panels have left out
before is kept apart: its norm adds to the error.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array, Backend, namespace
from ...kernels.low_rank.truncated import Truncated, energy_of
from ...planning.bands import Band, BandCopy, BandLevels, count_positions, largest_rank
from ...structure.axes import Index
from ...structure.block_tree import Block, ClusterTree
from .band_pieces import KeptBand, cut_piece, energy_to_leave_out
from .captured import ProductRest, Wanted, capture_all
from .compress import Shape, WholeRegion
from .fitted import FittedBlock, Settings, dense_block
from .rows import join_beside

__all__ = ["MergedBand", "Strip", "merge_bands"]


class MergedBand(NamedTuple):
    """A band, of all panels.

    Attributes
    ----------
    band : Band
        The band.
    basis, coefficients : array, shapes (m, k) and (k, far columns)
        What stands for the far columns.
    merged_out, left_out : array of float64
        Energy of each of these that merging, and that panels before, have left out.
    values : array, shape (m, near columns)
        The near columns.
    """

    band: Band
    basis: Array
    coefficients: Array
    merged_out: NDArray[np.float64]
    left_out: NDArray[np.float64]
    values: Array


def merge_bands(copy: BandCopy, strip: int, pieces: Sequence[NDArray[Any]], settings: Settings) -> list[MergedBand]:
    """Merge what panels have kept of the bands of a strip.

    Parameters
    ----------
    copy : BandCopy
        The copy.
    strip : int
        Number of the strip.
    pieces : sequence of array
        Entries of its pieces.
    settings : Settings
        How blocks are fitted.
    """
    kept: list[list[KeptBand]] = []
    abreast: tuple[dict[Any, list[int]], dict[Any, list[int]]] = ({}, {})
    for piece, values in zip(copy.by_region[strip], pieces, strict=True):
        tile = copy.panels[piece.panel]
        for groups, key in zip(abreast, (tile[:2], tile[2:]), strict=True):
            groups.setdefault(key, []).append(len(kept))
        kept.append(cut_piece(copy, piece, values))
    bands = copy.bands[strip]
    ends = np.cumsum([(band.last - band.first) * count_positions(band.near) for band in bands]).tolist()
    whole = np.empty(ends[-1], pieces[0].dtype)  # one array: many small ones would not go back to the system at once
    near, wanted, left_out = [], [], []
    for number, (band, first, end) in enumerate(zip(bands, [0, *ends], ends, strict=False)):
        rows, cols = ([[kept[at][number] for at in group] for group in groups.values()] for groups in abreast)
        near.append(whole[first:end].reshape(band.last - band.first, -1))
        for parts in rows:
            _join_near(parts, band, near[-1])
        height, width = near[-1].shape[0], count_positions(band.far)
        places = [np.searchsorted(_positions(band.far), parts[0].far) for parts in cols]
        allowed, most = energy_to_leave_out(settings, height, width, band), min(largest_rank(height), width)
        wanted.append(Wanted(partial(_rest_of, band, cols, places), allowed, most))
        left_out.append(np.zeros(width))
        for at, parts in zip(places, cols, strict=True):
            left_out[-1][at] += sum(part.left_out for part in parts)
    found = capture_all(wanted)
    return [MergedBand(band, *each, *rest) for band, each, *rest in zip(bands, found, left_out, near, strict=True)]


def _rest_of(band: Band, kept: Sequence[Sequence[KeptBand]], places: Sequence[Index]) -> ProductRest:
    """Products that stand for the far columns of a band, each of those in some places."""
    products = [
        (at, _beside(parts, band), np.concatenate([part.coefficients for part in parts]))
        for at, parts in zip(places, kept, strict=True)
    ]
    return ProductRest(products, count_positions(band.far))


def _join_near(parts: Sequence[KeptBand], band: Band, near: NDArray[Any]) -> None:
    """Put near columns of panels that have the same rows side by side, in the order of their positions."""
    order, rows = np.argsort(np.concatenate([part.near for part in parts])), parts[0].rows - band.first
    join_beside(near, rows, [part.values for part in parts], order)


def _positions(spans: Index) -> Index:
    return np.concatenate([np.empty(0, np.int64), *(np.arange(*span) for span in spans.tolist())])


def _beside(parts: Sequence[KeptBand], band: Band) -> NDArray[Any]:
    """Orthonormal columns of panels that have different rows of the same columns of the matrix."""
    ranks = [part.basis.shape[1] for part in parts]
    basis, at = np.zeros((band.last - band.first, sum(ranks)), parts[0].basis.dtype), 0
    for part, rank in zip(parts, ranks, strict=True):
        basis[part.rows - band.first, at : at + rank] = part.basis
        at += rank
    return basis


class _Ranges:
    """Ranges of positions, and where positions lie among those that they have."""

    def __init__(self, spans: Index) -> None:
        self._firsts, self._lasts = spans[:, 0].tolist(), spans[:, 1].tolist()
        self._before = [0, *np.cumsum(spans[:, 1] - spans[:, 0]).tolist()]

    def place(self, span: tuple[int, int]) -> slice | None:
        """Place of a range of positions that lies within one of the ranges; None where it does not."""
        at = bisect.bisect_right(self._firsts, span[0]) - 1
        if at < 0 or span[0] >= self._lasts[at]:
            return None
        first = self._before[at] + span[0] - self._firsts[at]
        return slice(first, first + span[1] - span[0])


class Strip(WholeRegion):
    """A strip, of which the blocks of whole bands are held by their coefficients.

    Parameters
    ----------
    bands : sequence of MergedBand
        Its bands.
    levels : BandLevels
        Levels of strips and bands.
    rows, cols : ClusterTree
        Clusters of both sides of the matrix.
    region : Block
        The strip.
    settings : Settings
        How blocks are fitted.
    backend : Backend
        Array library.
    """

    def __init__(
        self,
        bands: Sequence[MergedBand],
        levels: BandLevels,
        rows: ClusterTree,
        cols: ClusterTree,
        region: Block,
        settings: Settings,
        backend: Backend,
    ) -> None:
        super().__init__(bands[0].values[:0], rows, cols, region, settings, backend)
        self._level, self._first = levels.band, region.row << (levels.band - levels.strip)
        self._far, self._near = ([_Ranges(spans) for spans in sides] for sides in _sides_of(bands))
        self._bands = [
            band._replace(
                **{name: backend.to_device(getattr(band, name)) for name in ("basis", "coefficients", "values")}
            )
            for band in bands
        ]

    def entries(self, block: Block) -> Array:
        """Entries of a block; of whole bands that are far, their coefficients."""
        if not self._is_held_by_coefficients(block):
            return self._dense_entries(block)
        some = [self._bands[number].coefficients[:, place] for number, place in self._far_places(block)]
        return some[0] if len(some) == 1 else namespace(some[0]).concat(some, axis=0)

    def rows_held(self, block: Block) -> int:
        """Rows of the array that :meth:`entries` gives."""
        if not self._is_held_by_coefficients(block):
            return self.shape(block)[0]
        return sum(self._bands[number].basis.shape[1] for number in self._bands_of(block))

    def has_entries(self, block: Block) -> bool:
        """Whether :meth:`entries` gives the entries themselves; coefficients may be as many as rows."""
        return not self._is_held_by_coefficients(block)

    def cut(self, blocks: Sequence[Block], shape: Shape, most: int) -> Iterable[Truncated | None]:
        """Approximations of low rank of blocks of a shape; None where that takes more than a rank of use."""
        for block, cut in zip(blocks, super().cut(blocks, shape, most), strict=True):
            if cut is None or not self._is_held_by_coefficients(block):
                yield cut
                continue
            missed, left = self._sum_columns(block, "merged_out"), self._expand(block, cut.left)
            yield cut._replace(left=left, energy=cut.energy + missed, rest=cut.rest + missed)

    def choose(self, block: Block, cut: Truncated | None, most: int) -> FittedBlock | None:
        """Block of low rank, with what panels have left out of it; None where that is of no use.

        What merging leaves out is orthogonal to all rows of a band. Of a part of them, its norm is added, too.
        """
        found = super().choose(block, cut, most)
        if found is None or not self._is_far(block):
            return found
        missed, left_out = (self._sum_columns(block, name) for name in ("merged_out", "left_out"))
        if not self._is_held_by_coefficients(block):
            left_out = (math.sqrt(missed) + math.sqrt(left_out)) ** 2
        return found._replace(left_out=left_out)

    def dense(self, block: Block) -> FittedBlock:
        """All entries of a block."""
        entries = self._dense_entries(block)
        found = dense_block(*self.spans(block), self.to_host(entries), energy_of(entries))
        if not self._is_far(block):
            return found
        missed, left_out = (self._sum_columns(block, name) for name in ("merged_out", "left_out"))
        return found._replace(energy=found.energy + missed, error=missed, left_out=left_out)

    def _bands_of(self, block: Block) -> range:
        """Numbers of the bands that a block has rows of."""
        if block.row_level > self._level:
            number = (block.row >> (block.row_level - self._level)) - self._first
            return range(number, number + 1)
        count = 1 << (self._level - block.row_level)
        first = block.row * count - self._first
        return range(first, first + count)

    def _is_far(self, block: Block) -> bool:
        """Whether the columns of a block are far ones of its bands."""
        return self._far[self._bands_of(block)[0]].place(self.spans(block)[1]) is not None

    def _is_held_by_coefficients(self, block: Block) -> bool:
        """Whether the coefficients of whole bands stand for a block."""
        return block.row_level <= self._level and self._is_far(block)

    def _far_places(self, block: Block) -> Iterator[tuple[int, slice]]:
        """Bands of a block that is far, and where its columns are among their far ones."""
        span = self.spans(block)[1]
        for number in self._bands_of(block):
            place = self._far[number].place(span)
            assert place is not None
            yield number, place

    def _dense_entries(self, block: Block) -> Array:
        """Entries of a block; far ones are multiplied out."""
        if self._is_far(block):
            (r0, r1), _ = self.spans(block)
            parts = []
            for number, place in self._far_places(block):
                band = self._bands[number]
                first, last = (min(max(at, band.band.first), band.band.last) - band.band.first for at in (r0, r1))
                parts.append(band.basis[first:last, :] @ band.coefficients[:, place])
            return parts[0] if len(parts) == 1 else namespace(parts[0]).concat(parts, axis=0)
        (r0, r1), span = self.spans(block)
        number = self._bands_of(block)[0]
        first = self._bands[number].band.first
        return self._bands[number].values[r0 - first : r1 - first, self._near[number].place(span)]

    def _expand(self, block: Block, left: Array) -> Array:
        """Columns of a block from those of its coefficients."""
        parts, at = [], 0
        for number in self._bands_of(block):
            basis = self._bands[number].basis
            parts.append(basis @ left[at : at + basis.shape[1], :])
            at += basis.shape[1]
        return parts[0] if len(parts) == 1 else namespace(left).concat(parts, axis=0)

    def _sum_columns(self, block: Block, name: str) -> float:
        """Energy that was left out of a block that is far; of a part of a band, that of all of its rows."""
        sums = (float(np.sum(getattr(self._bands[number], name)[place])) for number, place in self._far_places(block))
        return math.fsum(sums)


def _sides_of(bands: Sequence[MergedBand]) -> tuple[list[Index], list[Index]]:
    """Ranges of the far and of the near columns of bands."""
    return [band.band.far for band in bands], [band.band.near for band in bands]
