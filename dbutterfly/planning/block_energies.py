r"""What blocks of a cut leave beyond each rank, estimated from some rows and columns of some blocks inside a window.

The blocks of a cut may differ much in their energy: those on the diagonal of a Cauchy matrix have nearly all of it.
Many blocks are therefore looked at in a few places, and those with much energy are then sampled more often and count
less each (sampling in proportion to size; Cochran, Sampling Techniques, section 9A).

A sample of s x t entries of a block of p x v leaves less beyond rank r than the block does: of noise the part
``(1 - r/s)(1 - r/t)`` in place of ``(1 - r/p)(1 - r/v)``, for which the energies are corrected.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..sources.windows import Window
from ..structure.axes import Axis, Index

__all__ = ["CutEnergies", "WindowSpentError", "sample_energies"]

CANDIDATES = 48
"""Blocks of a cut that are looked at in a few places. Not tuned by itself: see :data:`BLOCKS`."""

ENTRIES = 1 << 15
"""Entries of a cut to sample, if its blocks are small. Not tuned by itself: see :data:`BLOCKS`."""

MOST_BLOCKS = 48
"""Most blocks of a cut that are sampled. Not tuned by itself."""

BLOCKS = 12
"""Least number of them.

With these numbers, 341 of 347 predictions for 16 matrices of ``dbf.matrices`` with N = 512, in all four orderings and
ranks 1 to 8, are within a factor of two of the error bound of the factorization; with 12 blocks of every cut, 339, and
with 12 that are drawn alike, whatever their energy, 336.
"""

LOOK = 4
"""Rows and columns of a block that are looked at first. Not tuned."""

DRAWS = 4
"""Draws of a group until one is met of which the window has rows. Not tuned."""

LARGE_GROUP = 4096
"""Rows of a group above which not all of them are listed, of which some are drawn. Not tuned."""

Energies = NDArray[np.float64]


class WindowSpentError(Exception):
    """No more of the matrix may be read; it never leaves the planning."""


class Lines(NamedTuple):
    """Some rows, or columns, of a group.

    Attributes
    ----------
    chosen : array of int
        The rows, ascending.
    members : int
        Rows that the group has, gaps not counted.
    """

    chosen: Index
    members: int

    @property
    def most_rank(self) -> int:
        """Highest rank that they tell of."""
        return self.members if self.chosen.size == self.members else self.chosen.size // 2

    def few(self) -> Index:
        """Some of them, spread evenly."""
        return self.chosen[:: max(1, self.chosen.size // LOOK)]


class CutEnergies(NamedTuple):
    """Energies of the blocks of a cut beyond each rank.

    Attributes
    ----------
    beyond : array, shape (ranks,)
        Mean energy of an entry beyond rank 0, 1, ...
    slopes : array, shape (ranks,)
        By how much it grows, from block to block, with the energy of the block.
    most_rank : int
        Highest rank that the samples are large enough for.
    blocks : int
        Blocks that were sampled.
    shape : (int, int)
        Rows and columns of a block.
    """

    beyond: Energies
    slopes: Energies
    most_rank: int
    blocks: int
    shape: tuple[int, int]

    @property
    def energy(self) -> float:
        """Mean energy of an entry."""
        return float(self.beyond[0])

    def noise_kept(self, rank: int) -> float:
        """Part of what noise leaves beyond a rank that it leaves beyond the next one."""
        left = [max(size - rank, 0) for size in self.shape]
        return math.prod((size - 1) / size for size in left) if min(left) > 0 else 0.0

    def part_beyond(self, rank: int, energy: float) -> float:
        """Part of the energy beyond a rank, if the mean energy of an entry of the matrix is ``energy``.

        What a block leaves grows with its energy, or is noise that does not: a regression tells which (Cochran,
        Sampling Techniques, chapter 7).
        """
        if energy == 0:
            return 0.0
        at = min(rank, self.beyond.size - 1)
        return min(max(float(self.beyond[at] + self.slopes[at] * (energy - self.energy)), 0.0) / energy, 1.0)


def sample_energies(window: Window, rows: Axis, cols: Axis, side: int, rng: np.random.Generator) -> CutEnergies | None:
    """Sample blocks of a cut.

    Parameters
    ----------
    window : Window
        What of the matrix is looked at.
    rows, cols : Axis
        Sides of the matrix under the cut.
    side : int
        Rows and columns of a block to read, at most.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    CutEnergies or None
        None where the window has no entries of blocks.

    Raises
    ------
    WindowSpentError
        If no more may be read.
    """
    area = min(rows.members, side) * min(cols.members, side)
    count = min(max(BLOCKS, ENTRIES // area), MOST_BLOCKS)
    if not window.has_room(count * area + CANDIDATES * (2 * LOOK) ** 2, side):
        raise WindowSpentError
    drawn = _draw_blocks(window, rows, cols, side, rng)
    if not drawn:
        return None
    taken, counts = _choose_blocks(window, drawn, count, rng)
    known = {number: _energies_of_block(window, drawn[number], side) for number in np.unique(taken).tolist()}
    beyond = counts[:, None] * np.array([known[number] for number in taken.tolist()])
    most = min(lines.most_rank for number in known for lines in drawn[number])
    return CutEnergies(beyond.mean(axis=0), _slopes(beyond), most, len(known), (rows.members, cols.members))


def _choose_blocks(
    window: Window, drawn: list[tuple[Lines, Lines]], count: int, rng: np.random.Generator
) -> tuple[Index, Energies]:
    """Choose blocks to sample, each by its number and by how much it counts: all of a few, else by their energy."""
    if len(drawn) <= count:
        return np.arange(len(drawn)), np.ones(len(drawn))
    weights = np.array([_energy(window.read(*_first_look(window, block))) for block in drawn])
    even = np.full(len(drawn), 1 / len(drawn))
    chances = (even + weights / weights.sum()) / 2 if weights.sum() > 0 else even
    taken = rng.choice(len(drawn), count, p=chances)
    return taken, 1 / (len(drawn) * chances[taken])


def _draw_lines(axis: Axis, inside: Index | None, side: int, rng: np.random.Generator) -> Lines | None:
    """Draw a group of which a window has some rows, and up to ``side`` of these; None where none was met."""
    for _ in range(DRAWS):
        group = int(rng.integers(axis.groups)) if inside is None else _group_of(axis, int(rng.choice(inside)))
        found = _lines_of_group(axis, group, inside, side, rng)
        if found is not None:
            return found
    return None


def _lines_of_group(axis: Axis, group: int, inside: Index | None, side: int, rng: np.random.Generator) -> Lines | None:
    """Draw up to ``side`` rows of a group that a window has; None where it has none."""
    rows = _rows_of_group(axis, group, rng)
    members = rows[rows >= 0]
    there = members if inside is None else members[np.isin(members, inside, assume_unique=True, kind="table")]
    if not there.size:
        return None
    chosen = rng.choice(there.size, min(side, there.size), replace=False, shuffle=False)
    return Lines(np.sort(there[chosen]), members.size * axis.members // rows.size)


def _rows_of_group(axis: Axis, group: int, rng: np.random.Generator) -> Index:
    """Rows of a group, -1 at gaps: of a large group, some at random."""
    if axis.members <= LARGE_GROUP or axis.index is not None:
        return axis.rows(group, group + 1)
    drawn = rng.choice(axis.members, LARGE_GROUP, replace=False, shuffle=False).astype(np.int64)
    positions = drawn * axis.groups + group if axis.strided else drawn + group * axis.members
    return positions if axis.padding is None else axis.padding.rows(positions)


def _energies_of_block(window: Window, lines_of_sides: tuple[Lines, Lines], side: int) -> Energies:
    """Energies of a mean entry of a block beyond the ranks 0 to ``side``."""
    rows, cols = lines_of_sides
    block = window.read(rows.chosen, cols.chosen)
    squares = np.linalg.svd(block, compute_uv=False).astype(np.float64) ** 2 / block.size
    beyond = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    rank = np.arange(beyond.size)
    for lines in (rows, cols):
        left = np.maximum(1 - rank / lines.chosen.size, 0.5 / lines.chosen.size)
        beyond *= np.maximum(1 - rank / lines.members, 0) / left
    return np.pad(beyond, (0, max(0, side + 1 - beyond.size)))


def _draw_blocks(
    window: Window, rows: Axis, cols: Axis, side: int, rng: np.random.Generator
) -> list[tuple[Lines, Lines]]:
    """Draw blocks, or take all of them where they are few; where other columns cost more, all with the same ones."""
    col_rng = rng.spawn(1)[0]
    if rows.groups * cols.groups <= CANDIDATES and not window.shares_cols:
        found = (
            [_lines_of_group(axis, group, inside, side, draws) for group in range(axis.groups)]
            for axis, inside, draws in ((rows, window.rows, rng), (cols, window.cols, col_rng))
        )
        down_all, across_all = ([lines for lines in each if lines is not None] for each in found)
        return list(itertools.product(down_all, across_all))
    shared = _draw_lines(cols, window.cols, side, col_rng)
    drawn = []
    for _ in range(CANDIDATES):
        down = _draw_lines(rows, window.rows, side, rng)
        across = shared if window.shares_cols else _draw_lines(cols, window.cols, side, col_rng)
        if down is not None and across is not None:
            drawn.append((down, across))
    return drawn


def _first_look(window: Window, block: tuple[Lines, Lines]) -> tuple[Index, Index]:
    rows, cols = block
    return rows.few(), cols.chosen if window.shares_cols else cols.few()


def _energy(block: NDArray[Any]) -> float:
    return float(np.vdot(block, block).real) / block.size


def _slopes(beyond: Energies) -> Energies:
    """Slopes of the energies beyond each rank over those of the blocks: at least 0, at most in proportion."""
    mean = beyond.mean(axis=0)
    apart = beyond - mean
    spread = float(apart[:, 0] @ apart[:, 0])
    if spread == 0 or not math.isfinite(spread) or mean[0] == 0:
        return np.zeros_like(mean)
    slopes: Energies = np.clip(apart[:, 0] @ apart / spread, 0, mean / mean[0])
    return slopes


def _group_of(axis: Axis, row: int) -> int:
    """Group that a row belongs to."""
    position = row if axis.padding is None else int(axis.padding.positions(np.array([row]))[0])
    if axis.index is not None:
        return int(np.flatnonzero(axis.index == position)[0]) // axis.members
    return position % axis.groups if axis.strided else position // axis.members
