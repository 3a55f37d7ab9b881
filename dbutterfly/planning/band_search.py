"""Plan a hierarchical run with a copy in bands: how large its panels and its strips may be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..sources.info import SourceInfo
from ..structure.block_tree import Block
from .bands import Band, BandCopy, count_positions, largest_rank, near_entries, plan_bands
from .footprints import Footprint
from .hierarchical_plan import HierarchicalPlan

__all__ = ["keep_bands"]

PARTS_OF_BANDS = (2 / 5, 1 / 4, 1 / 8, 1 / 16)
"""Parts of the memory that a panel of a copy in bands may have: the next one is tried where the plan does not fit.

Not tuned. The copy is the smaller the larger panels are; a task holds two of them, and what one keeps."""


def keep_bands(
    plan: HierarchicalPlan, *, rank: int = 0, panel_bytes: int | None = None, strip_level: int | None = None
) -> HierarchicalPlan | None:
    """Plan a run with a copy in bands, of which the regions are strips, in place of one that copies all entries.

    Parameters
    ----------
    plan : HierarchicalPlan
        The plan of the latter.
    rank : int
        Rank of far columns that there must be room for.
    panel_bytes, strip_level : int, optional
        Most bytes of a panel, and level of the strips, of a run that is continued.

    Returns
    -------
    HierarchicalPlan or None
        None where it does not fit the memory, or has no point.
    """
    tries: list[tuple[int, int | None]] = [(int(plan.budget.memory * part), None) for part in PARTS_OF_BANDS]
    if panel_bytes is not None:
        tries = [(panel_bytes, strip_level)]
    for most_bytes, level in tries:
        for copy in _copies_in_bands(plan, most_bytes, level):
            peak = _footprint_in_bands(plan.source, copy, recopies=plan.source.recopies_tiles).peak(prefetch=True)
            if panel_bytes is None and (peak > plan.budget.memory or copy.most_rank < rank):
                continue
            regions = tuple(Block(copy.levels.strip, strip, 0, 0) for strip in range(len(copy.bands)))
            return replace(plan, regions=regions, copy=copy, region_bytes_read=0, peak_bytes=peak, prefetch=True)
    return None


def _copies_in_bands(plan: HierarchicalPlan, most_bytes: int, level: int | None) -> Iterator[BandCopy]:
    """Copies in bands, with strips of ever fewer rows."""
    copy = plan_bands(plan.source, plan.trees, plan.eta, most_bytes, is_half=plan.is_half, strip_level=level)
    while copy is not None:
        yield copy
        if level is not None or copy.levels.strip == copy.levels.band:
            return
        finer = copy.levels.strip + 1
        copy = plan_bands(plan.source, plan.trees, plan.eta, most_bytes, is_half=plan.is_half, strip_level=finer)


def _footprint_in_bands(source: SourceInfo, copy: BandCopy, *, recopies: bool) -> Footprint:
    """Footprint of the tasks of a copy in bands: of a panel, and of a strip.

    A strip is read in pieces; its near parts are put together, and its bands merged one after the other: what comes out
    of all is held, and the products of one, which may have the room of all. Then its blocks are fitted: as many entries
    as are near are held once more in dense blocks, and once as written.
    """
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    panel = max((tile.r1 - tile.r0) * (tile.c1 - tile.c0) for tile in copy.panels)
    converted = 0 if source.dtype == source.work_dtype else panel * item
    written = max(sum(copy.padded(piece.entries) for piece in pieces) for pieces in copy.by_panel.values()) * item
    read = max(sum(copy.padded(piece.entries) for piece in pieces) for pieces in copy.by_region.values()) * item
    near = max(map(near_entries, copy.bands)) * item
    merged = max(_merged(bands) for bands in copy.bands) * item
    return Footprint(
        max(read, (2 if recopies else 1) * panel * stored + source.decode_bytes),
        max(panel * stored + converted + written, read + near + 2 * merged, 3 * near + 2 * merged),
    )


def _merged(bands: Sequence[Band]) -> int:
    """Entries of bands in columns that are common to all panels."""
    sizes = [(band.last - band.first, count_positions(band.far)) for band in bands]
    return sum(largest_rank(rows) * (rows + cols) for rows, cols in sizes)
