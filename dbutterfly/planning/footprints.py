"""Footprints: the bytes that a task holds while it reads and while it computes.

``tests/planning/test_footprints.py`` compares them with measured peaks of real tasks.
"""

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
"""Arrays of the size of its input that a task holds at its peak while it factorizes a range of groups.

Measured on inputs of 6 to 24 MiB (``tests/planning/test_footprints.py``): 5 to 6 at rank one, 5.5 to 7 at ranks 3 and
4. The stacks of the kernels come on top (up to 12 MiB on a host), which this number leaves out.
"""

GROUP_READING = 2
"""Arrays of the size of its input that a task holds while that input is read. Not tuned: what is stored, and what is
decoded.
"""

STACK_COPIES = 12
"""Most arrays of the size of a stack of blocks that kernels hold for ranks above one; half as many for rank one.

An upper bound that was counted, not measured on its own.
"""


class Footprint(NamedTuple):
    """Bytes that a task holds.

    Attributes
    ----------
    reading : int
        Bytes held at most while its input is read.
    computing : int
        Bytes held at most after that, the input included.
    """

    reading: int
    computing: int

    def peak(self, prefetch: bool) -> int:
        """Bytes that a worker holds at most: of two tasks at once if it reads ahead."""
        return self.reading + self.computing if prefetch else max(self)


def tile_footprint(source: SourceInfo, cut: RootCut, row: SideTiling, col: SideTiling) -> Footprint:
    """Footprint of a task that reads a tile and splits its blocks."""
    split = cut.split
    stored, item = np.dtype(source.dtype).itemsize, np.dtype(source.work_dtype).itemsize
    buffer = row.widest * col.widest * stored if source.copies_tiles else 0
    gathered = buffer and (row.longest != row.widest or col.longest != col.widest)
    transient = row.longest * col.longest * stored if gathered else 0
    if gathered and cut.cols.index is not None:  # a strip of rows at a time, as it was read and in order
        chunk = row.widest if cut.rows.edges is None else min(row.widest, int(np.max(np.diff(cut.rows.edges))))
        transient = (1 if cut.rows.index is None else 2) * chunk * col.widest * stored
    if cut.rows.padding is not None or cut.cols.padding is not None:  # a range as it was read, and with its gaps
        buffer = row.widest * col.widest * stored
        transient += row.longest * col.longest * stored
    if source.recopies_tiles:
        transient += row.widest * col.widest * stored
    results, workspace = _result_bytes(source, cut, row, col), _kernel_bytes(source, cut, STACK_BYTES)
    if source.sampled:
        return Footprint(0, results + workspace + WORK_BYTES)
    if source.probed:
        held = ProbeSizes(split, cut.kept).held_bytes(item)
        return Footprint(held + 4 * PRODUCT_BYTES, held + results + workspace)
    return Footprint(buffer + transient + source.decode_bytes, buffer + results + workspace)


def _result_bytes(source: SourceInfo, cut: RootCut, row: SideTiling, col: SideTiling) -> int:
    """Bytes of the halves of the blocks of a tile and of their energies, as found and as put in order."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    blocks = min(row.per_tile, split.u) * min(col.per_tile, split.q)
    numbers = 1 + 2 * (cut.kept - split.rank + 1)
    return 2 * blocks * (split.p + split.v) * cut.kept * item + 2 * numbers * 8 * blocks


def _kernel_bytes(source: SourceInfo, cut: RootCut, stack_bytes: int) -> int:
    """Bytes that the kernels hold at most besides what they are given and what they return."""
    split, item = cut.split, np.dtype(source.work_dtype).itemsize
    return (6 if cut.kept == 1 else STACK_COPIES) * max(stack_bytes, split.p * split.v * item)


def device_footprints(
    source: SourceInfo, cut: RootCut, row: SideTiling, col: SideTiling, groups: tuple[int, int], stack_bytes: int
) -> Iterator[Footprint]:
    """Footprints in the memory of a GPU: of a tile, and of the two ranges of groups of so many bytes.

    An input is "read" there when it is copied from the host, while the kernels of the task before run.
    """
    tile = row.widest * col.widest * np.dtype(source.dtype).itemsize
    held = _kernel_bytes(source, cut, stack_bytes)
    if source.sampled or source.probed:  # evaluated by the host, and copied over part by part
        tile, held = 0, held + WORK_BYTES
    if source.probed:
        held += ProbeSizes(cut.split, cut.kept).held_bytes(np.dtype(source.work_dtype).itemsize)
    yield Footprint(tile, tile + _result_bytes(source, cut, row, col) + held)
    for group in groups:
        # The scales of the right parts are as large as these, at most.
        yield Footprint(GROUP_READING * group, (GROUP_COPIES + 1) * group + min(held, STACK_COPIES * group))
