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
"""Most bytes of a row of chunks of the copy: a tile is read by such strips, whose columns are then brought in order."""

COPY_WIDTH = 1024
"""Least entries of a panel of the copy across, where the chunks of the matrix are narrower."""

WRITE_COST = 2.0
"""Cost of writing a byte of a copy, relative to reading it."""


class CopyChoice(NamedTuple):
    """A way to make a copy: what it is, its part of the layout, its cost relative to reading Z once, its footprint."""

    copy: Copy
    layout: tuple[int, int, int]
    cost: float
    footprint: Footprint


def enumerate_copies(
    source: SourceInfo, cut: RootCut, layout: Layout | None
) -> Iterator[tuple[RootCut, SideTiling, SideTiling, CopyChoice]]:
    """Copies in which the groups of a scattered side lie together, and the tilings for which they are made."""
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
    across = source.shape[1] if side == 0 else width
    chunk = largest_divisor(per_tile * axis.members, max(1, COPY_STRIP // (across * item)))
    laid = Axis(axis.length, axis.groups, False, edges=chunk_edges(axis.length, chunk))
    kept = replace(other, edges=chunk_edges(other.length, width))
    side_choice = tile_side(laid, per_tile)
    panels = Axis(other.length, other.length, False, edges=other.edges)
    chunks = (chunk, width) if side == 0 else (width, chunk)
    for groups in [layout.copy[1]] if layout and layout.copy else _heights(axis, per_tile):
        touched, longest = axis.tiling_cost(groups)
        across, _ = panels.tiling_cost(width)
        read = touched * across * np.dtype(source.dtype).itemsize
        pair = (axis, panels) if side == 0 else (panels, axis)
        copy = Copy(*pair, chunks, read)
        cost = read / source.nbytes + WRITE_COST
        footprint = _copy_footprint(source, min(groups, axis.groups) * axis.members, width, longest, chunk)
        choice = CopyChoice(copy, (side, groups, width), cost, footprint)
        copied = cut._replace(rows=laid, cols=kept) if side == 0 else cut._replace(rows=kept, cols=laid)
        for whole in side_tilings(kept, layout and (layout.tile_rows, layout.tile_cols)[1 - side]):
            yield copied, *((side_choice, whole) if side == 0 else (whole, side_choice)), choice


def _heights(axis: Axis, per_tile: int) -> Iterator[int]:
    """Groups that a panel takes: all of them, or fewer where a panel of all does not fit, in whole tiles."""
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
    """What the plan needs to know of a copy, from which tiles are read in place of the matrix."""
    chunk = math.prod(copy.chunks) * np.dtype(source.work_dtype).itemsize
    return replace(source, dtype=source.work_dtype, copies_tiles=True, decode_bytes=2 * chunk)


def _copy_footprint(source: SourceInfo, height: int, width: int, longest: int, chunk: int) -> Footprint:
    """A panel, with the range that is read into it, or the chunk that is written of it."""
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    panel = height * width * stored
    converted = 0 if source.dtype == source.work_dtype else height * width * item
    return Footprint(
        panel + longest * width * stored + source.decode_bytes, panel + converted + 3 * chunk * width * item
    )
