"""What the blocks of a cut leave beyond each rank: their singular values, of all blocks or of some."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sources.base import MatrixSource
from ..structure.axes import Axis, Tile, axes_of_cut, axis_of_entries
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.padding import place
from ..structure.point_orderings import PointOrderings

__all__ = ["ENTRIES", "THOROUGH", "CutSample", "read_sample", "sample_cut"]

WHOLE = 1 << 16
"""Entries of a matrix up to which all blocks of a cut are looked at, however few are asked for: they take about as long
as a few blocks that are read one by one (.4 s for all cuts at N = 256)."""

ENTRIES = 1 << 13
"""Entries of a cut to look at for a first guess, in whole blocks or in parts of them. Not tuned by itself."""

THOROUGH = 1 << 20
"""Entries of a cut to look at where the guess matters: a tenth of a second of singular values.

With it, all blocks of matrices of 1024 x 1024 are looked at. The Fourier integral and the Legendre transform have few
blocks that need a high rank, and from :data:`ENTRIES` alone, their errors at N = 1024 are underestimated up to 30,000
times (tolerances 1e-4 to 1e-9).
"""

MOST_OF_PARTS = 1 << 19
"""Most entries of a cut to look at where they are not all. Not tuned: reading them one block after the other, and their
singular values, take some hundredths of a second."""

BLOCKS_OF_CUT = 6
"""Least number of blocks that are looked at, whatever :data:`ENTRIES` gives. Not tuned."""

ENTRIES_PER_RANK = 4
"""Rows and columns to read of a part of a block for each rank that it is asked about; fewer say nothing of it.

Of 64 x 64 entries of a block of noise, rank 44 leaves little, whatever the size of the block. Not tuned.
"""


class CutSample(NamedTuple):
    """What sampled blocks of one cut leave beyond each rank.

    Attributes
    ----------
    tails : array of float64, shape (ranks + 1,)
        Mean energy of an entry beyond rank 0, 1, ...; each is at most the one before. Higher ranks are not judged.
    is_complete : bool
        Whether the last rank gives the blocks in full.
    is_whole : bool
        Whether all blocks were looked at.
    blocks : int
        Blocks that were looked at.
    bytes_read : int
        Bytes of the matrix that this touched.
    """

    tails: NDArray[np.float64]
    is_complete: bool
    is_whole: bool
    blocks: int
    bytes_read: int

    @property
    def energy(self) -> float:
        """Mean energy of an entry."""
        return float(self.tails[0])


def sample_cut(
    source: MatrixSource,
    orderings: Orderings | PointOrderings,
    chain: Chain,
    position: int,
    *,
    side: int,
    entries: int = ENTRIES,
    seed: int = 0,
) -> CutSample:
    """Look at blocks of one cut of a chain: all of them where the matrix is small, else some rows and columns of some.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    orderings : Orderings or PointOrderings
        Orderings that bring it to standard order.
    chain : Chain
        Chain with the cut.
    position : int
        Factors to the left of the cut.
    side : int
        Most rows and columns of a block to read, where not all blocks are looked at.
    entries : int
        Entries to look at. A matrix that has no more, or is small, is looked at in full.
    seed : int
        Seed of the choice; a cut has the same sample whatever was sampled before.

    Raises
    ------
    NonFiniteError
        If a NaN or an infinity is met.
    """
    placed = place(orderings.for_chain(chain), source.shape, chain)
    rows, cols = axes_of_cut(chain, position, placed, source.edges)
    if rows.length * cols.length <= max(entries, WHOLE):
        grid, touched = _read_all(source, rows, cols)
        return CutSample(_mean_tails(grid), True, True, rows.groups * cols.groups, touched)
    p, v = rows.members, cols.members
    height, width = min(p, side), min(v, side)
    wanted = min(entries, MOST_OF_PARTS) // (height * width)
    count = min(max(BLOCKS_OF_CUT, wanted), rows.groups * cols.groups)
    rng = np.random.default_rng([seed, p, cols.groups])
    chosen = _spread(rows.groups, cols.groups, count, rng)
    read = [read_sample(source, rows, cols, side, rng, block) for block in chosen]
    tails = _mean_tails(np.stack([block for block, _ in read]))
    has_all = (height, width) == (p, v)
    judged = min(height, width) if has_all else min(side // ENTRIES_PER_RANK, height, width)
    return CutSample(tails[: judged + 1], has_all, False, count, sum(touched for _, touched in read))


def _spread(row_groups: int, col_groups: int, count: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Blocks at random, in as many row groups and column groups as there can be."""
    rows, cols = rng.permutation(row_groups), rng.permutation(col_groups)
    period = math.lcm(row_groups, col_groups)  # after which another diagonal begins
    for number in range(count):
        yield int(rows[number % row_groups]), int(cols[(number + number // period) % col_groups])


def read_sample(
    source: MatrixSource,
    rows: Axis,
    cols: Axis,
    side: int,
    rng: np.random.Generator,
    block: tuple[int, int] | None = None,
) -> tuple[NDArray[Any], int]:
    """Read some rows and columns of a block in double precision, by default of any; return them and the bytes touched.

    Parameters
    ----------
    source : MatrixSource
        The matrix.
    rows, cols : Axis
        Its sides under the cut.
    side : int
        Most rows and columns to read.
    rng : Generator
        Chooses them.
    block : (int, int), optional
        Row group and column group.

    Raises
    ------
    NonFiniteError
        If a NaN or an infinity is met.
    """
    sides = []
    for axis, edges, group in zip((rows, cols), source.edges, block or (None, None), strict=True):
        group = int(rng.integers(axis.groups)) if group is None else group
        members = axis.positions(group, group + 1)
        chosen = np.sort(rng.permutation(members.size)[:side])
        index = members[chosen] if axis.padding is None else axis.padding.rows(members[chosen])
        if index.min() >= 0:  # no gap is among them: they are lines of the matrix itself
            sides.append((axis_of_entries(index, edges), index))
        else:
            sides.append((axis_of_entries(members[chosen], axis.edges, axis.padding), index))
    (row_axis, row_index), (col_axis, col_index) = sides
    tile = Tile(0, row_index.size, 0, col_index.size)
    entries = _as_double(source.read(row_axis, col_axis, tile)[:, :, 0, 0])
    if not np.isfinite(entries).all():
        row, col = np.argwhere(~np.isfinite(entries))[0]
        raise source.non_finite_error((int(row_index[row]), int(col_index[col])))
    return entries, source.bytes_touched(row_axis, col_axis, tile)


def _read_all(source: MatrixSource, rows: Axis, cols: Axis) -> tuple[NDArray[Any], int]:
    """All blocks of a cut, shape (u, q, p, v), as they lie in memory, and the bytes touched."""
    tile = Tile(0, rows.groups, 0, cols.groups)
    grid = _as_double(source.read(rows, cols, tile))
    if not np.isfinite(grid).all():
        row_group, col_group, row, col = np.argwhere(~np.isfinite(grid))[0]
        members = rows.rows(row_group, row_group + 1), cols.rows(col_group, col_group + 1)
        raise source.non_finite_error((int(members[0][row]), int(members[1][col])))
    return grid, source.bytes_touched(rows, cols, tile)


def _as_double(block: NDArray[Any]) -> NDArray[Any]:
    return block.astype(np.result_type(block.dtype, np.float64), copy=False)


def _mean_tails(blocks: NDArray[Any]) -> NDArray[np.float64]:
    """Mean energy of an entry beyond each rank, of blocks of shape (..., p, v)."""
    squares = np.linalg.svd(blocks, compute_uv=False).astype(np.float64) ** 2
    means = squares.reshape(-1, squares.shape[-1]).mean(axis=0) / (blocks.shape[-2] * blocks.shape[-1])
    return np.append(np.cumsum(means[::-1])[::-1], 0.0)
