"""Copies of the matrix in another order, from which every tile reads its chunks once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..sources.info import SourceInfo
from ..structure.axes import Axis, chunk_edges, largest_divisor
from .footprints import Footprint
from .plan import Copy, Layout
from .sides import MAX_TILES_PER_SIDE, RootCut, SideTiling, powers_of_two, side_tilings, tile_side

__all__ = ["CopyChoice", "enumerate_copies", "info_of_copy"]


COPY_STRIP = 1 << 26
"""Most bytes of a row of chunks of the copy.

A tile of the copy is read strip by strip, each of which is then brought in order: two such strips are held at a time.
Not tuned: 64 MiB are a quarter of the largest tile that is preferred.
"""

COPY_WIDTH = 1024
"""Least entries of a panel of the copy across, where the chunks of the matrix are narrower. Not tuned."""

WRITE_COST = 2.0
"""Cost of writing a byte of a copy, relative to reading it. Not tuned: a guess, by which a copy that is written once
and read once costs three times reading Z."""


class CopyChoice(NamedTuple):
    """A way to make a copy.

    Attributes
    ----------
    copy : Copy
        The copy.
    layout : (int, int, int)
        Side that is laid together, and groups and entries of the two sides that a panel takes.
    cost : float
        Cost of making it, relative to reading Z once.
    footprint : Footprint
        Bytes that a task holds that copies a panel.
    """

    copy: Copy
    layout: tuple[int, int, int]
    cost: float
    footprint: Footprint


def enumerate_copies(
    source: SourceInfo, cut: RootCut, layout: Layout | None
) -> Iterator[tuple[RootCut, SideTiling, SideTiling, CopyChoice]]:
    """Copies in which the groups of a scattered side lie together, each with the tilings that are read from it.

    Yields the root cut with the sides of the copy, the tilings of its rows and columns, and the copy.
    """
    for side, axis in enumerate((cut.rows, cut.cols)):
        if axis.index is None or axis.edges is None or (layout and (layout.copy is None or layout.copy[0] != side)):
            continue
        given = None if layout is None else (layout.tile_rows, layout.tile_cols)[side]
        for per_tile in [given] if given else powers_of_two(axis.groups):
            if axis.groups <= per_tile * MAX_TILES_PER_SIDE:
                yield from _copies_of_side(source, cut, side, per_tile, layout)


def _copies_of_side(
    source: SourceInfo, cut: RootCut, side: int, per_tile: int, layout: Layout | None
) -> Iterator[tuple[RootCut, SideTiling, SideTiling, CopyChoice]]:
    """Copies whose tiles take ``per_tile`` groups of the side that is laid together."""
    axes, item = (cut.rows, cut.cols), np.dtype(source.work_dtype).itemsize
    axis, other = axes[side], axes[1 - side]
    if other.edges is None:
        return
    width = _panel_width(other)
    across = other.length if side == 0 else width
    chunk = largest_divisor(per_tile * axis.members, max(1, COPY_STRIP // (across * item)))
    laid = Axis(axis.length, axis.groups, False, edges=chunk_edges(axis.length, chunk))
    kept = replace(other, edges=chunk_edges(other.length, width), padding=None)  # the copy has zeros at the gaps
    side_choice = tile_side(laid, per_tile)
    entries = Axis(other.length, other.length, False, edges=other.edges, padding=other.padding)  # taken one by one
    chunks = (chunk, width) if side == 0 else (width, chunk)
    for groups in [layout.copy[1]] if layout and layout.copy else _panel_heights(axis, per_tile):
        touched, longest = axis.tiling_cost(groups)
        across, _ = entries.tiling_cost(width)
        read = touched * across * np.dtype(source.dtype).itemsize
        pair = (axis, entries) if side == 0 else (entries, axis)
        copy = Copy(*pair, chunks, read)
        cost = read / source.nbytes + WRITE_COST
        footprint = _copy_footprint(source, min(groups, axis.groups) * axis.members, width, longest, chunk)
        choice = CopyChoice(copy, (side, groups, width), cost, footprint)
        copied = cut._replace(rows=laid, cols=kept) if side == 0 else cut._replace(rows=kept, cols=laid)
        for whole in side_tilings(kept, layout and (layout.tile_rows, layout.tile_cols)[1 - side]):
            yield copied, *((side_choice, whole) if side == 0 else (whole, side_choice)), choice


def _panel_heights(axis: Axis, per_tile: int) -> Iterator[int]:
    """Groups that a panel may take: all of them, and halves, quarters, and so on in whole tiles, down to one tile."""
    groups = axis.groups
    while groups >= per_tile:
        yield groups
        if groups == per_tile:
            return
        groups = max(per_tile, -(-groups // 2 // per_tile) * per_tile)


def _panel_width(axis: Axis) -> int:
    """Entries that a panel takes across: a chunk of the matrix, or several narrow ones."""
    assert axis.edges is not None
    chunk = int(np.max(np.diff(axis.edges)))
    return min(axis.length, chunk * max(1, COPY_WIDTH // chunk))


def info_of_copy(source: SourceInfo, copy: Copy) -> SourceInfo:
    """Describe a copy as the matrix that tiles are read from."""
    chunk = math.prod(copy.chunks) * np.dtype(source.work_dtype).itemsize
    return replace(source, dtype=source.work_dtype, copies_tiles=True, recopies_tiles=False, decode_bytes=2 * chunk)


def _copy_footprint(source: SourceInfo, height: int, width: int, longest: int, chunk: int) -> Footprint:
    """Footprint of a task that copies a panel: the panel, and the range that is read into it or the chunk written."""
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    panel = height * width * stored
    converted = 0 if source.dtype == source.work_dtype else height * width * item
    again = panel if source.recopies_tiles else 0
    return Footprint(
        panel + again + longest * width * stored + source.decode_bytes, panel + converted + 3 * chunk * width * item
    )
