"""Bytes that a task holds while it reads and computes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..kernels.backend.stacks import STACK_BYTES
from ..sources.info import SourceInfo
from ..sources.probes import PRODUCT_BYTES, ProbeSizes
from ..sources.sample_sizes import WORK_BYTES
from .sides import RootCut, SideTiling

__all__ = ["Footprint", "device_footprints", "tile_footprint"]


GROUP_COPIES = 7
"""Arrays of the size of its input that factorizing a range of groups holds at its peak."""

GROUP_READING = 2
"""The same while the input of the next range is read."""

STACK_COPIES = 12
"""Most arrays of the size of a stack of blocks that kernels hold."""


class Footprint(NamedTuple):
    """Bytes that a task of a stage holds while it reads, and while it computes."""

    reading: int
    computing: int

    def peak(self, prefetch: bool) -> int:
        """Most that a worker holds: both at once if it reads ahead."""
        return self.reading + self.computing if prefetch else max(self)


def tile_footprint(source: SourceInfo, cut: RootCut, row: SideTiling, col: SideTiling) -> Footprint:
    """What a task holds that reads a tile and splits its blocks."""
    split = cut.split
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    buffer = row.widest * col.widest * stored if source.copies_tiles else 0
    gathered = buffer and (row.longest != row.widest or col.longest != col.widest)
    transient = row.longest * col.longest * stored if gathered else 0
    if gathered and cut.cols.index is not None:  # a strip of the tile, as it was read and in order
        chunk = row.widest if cut.rows.edges is None else min(row.widest, int(np.max(np.diff(cut.rows.edges))))
        transient = (1 if cut.rows.index is None else 2) * chunk * col.widest * stored
    results, workspace = _results(source, cut, row, col), _stacks_held(source, cut, STACK_BYTES)
    if source.sampled:
        return Footprint(0, results + workspace + WORK_BYTES)
    if source.probed:
        held = ProbeSizes(split, cut.kept).held_bytes(item)
        return Footprint(held + 4 * PRODUCT_BYTES, held + results + workspace)
    return Footprint(buffer + transient + source.decode_bytes, buffer + results + workspace)


def _results(source: SourceInfo, cut: RootCut, row: SideTiling, col: SideTiling) -> int:
    """Bytes of the parts of the blocks of a tile and of their energies, as found and as put in order."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    blocks = min(row.per_tile, split.u) * min(col.per_tile, split.q)
    numbers = 1 + 2 * (cut.kept - split.rank + 1)
    return 2 * blocks * (split.p + split.v) * cut.kept * item + 2 * numbers * 8 * blocks


def _stacks_held(source: SourceInfo, cut: RootCut, stack_bytes: int) -> int:
    """Bytes that the kernels hold besides what they are given and what they return."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    return (6 if cut.kept == 1 else STACK_COPIES) * max(stack_bytes, split.p * split.v * item)


def device_footprints(
    source: SourceInfo, cut: RootCut, row: SideTiling, col: SideTiling, groups: tuple[int, int], stack_bytes: int
) -> Iterator[Footprint]:
    """What a tile, and ranges of groups of so many bytes, take of a GPU: staged and, with the kernels, computed."""
    tile = row.widest * col.widest * np.dtype(source.dtype).itemsize
    held = _stacks_held(source, cut, stack_bytes)
    if source.sampled or source.probed:  # what the host evaluates comes over in parts
        tile, held = 0, held + WORK_BYTES
    if source.probed:
        held += ProbeSizes(cut.split, cut.kept).held_bytes(np.dtype(source.work_dtype).itemsize)
    yield Footprint(tile, tile + _results(source, cut, row, col) + held)
    for group in groups:
        # The scales of the right parts are as large as these, at most.
        yield Footprint(GROUP_READING * group, (GROUP_COPIES + 1) * group + min(held, STACK_COPIES * group))
