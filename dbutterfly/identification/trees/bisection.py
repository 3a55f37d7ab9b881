"""Trees of points that were shuffled: recursive cuts across the extents of a geometry found from the matrix alone.

Where nearby points give correlated rows (smooth and oscillatory kernels), the trees are a geometry that was lost.
:mod:`.geometry` finds coordinates of the points of either side, and every part of them is cut into equal ranges of one:
across its longest extent, or across two axes by turns. What the blocks lose decides between these.

The nearer the columns are to each other, the farther apart may points be whose rows are still alike on them. So once
the columns are arranged at all, the rows are correlated over parts of the columns, which bridges wide gaps; likewise
the columns over parts of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from ...kernels.backend import Array, host_array, is_complex, namespace
from ...kernels.grouping.groups import block_view, leading_rows
from ...kernels.grouping.similarity import row_similarity
from ...kernels.linalg import adjoint, squared_norms
from ...structure.chain import Cut
from ..cuts import Index
from ..one_cut.arrangement import Arrangement
from ..one_cut.descent import BestArrangement
from .geometry import Points

__all__ = ["bisect"]

PARTS = (1, 2, 8)
"""Numbers of parts of the other side over which rows are correlated, one after the other.

Over one part alone, a gap of ten mean distances between random points is not bridged: see the test of such a gap. The
numbers themselves were not tuned.
"""

SHIFTS = 8
"""Places tried for the first cut of a closed curve, within one group. Not tuned.

Half a group apart, blocks of rank 16 of a kernel between circles lose three times as much as with the same places.
"""


def bisect(now: Arrangement, cuts: Sequence[Cut], *, cols_known: bool = False) -> BestArrangement:
    """Arrange one matrix by the geometry of its rows, and of its columns.

    Notes
    -----
    The geometry is seen best where a kernel is complex or smooth. Rows of a real oscillating kernel are also unlike
    where they are out of phase, so there the trees may lose more than the true ones.

    References
    ----------
    For trees of both sides found from the matrix alone, Su and Coifman, arXiv 2506.11990.
    """
    if not cuts:
        return BestArrangement(now, 0.0)
    row_counts = _prime_refinement([cut.row_groups for cut in cuts])
    col_counts = _prime_refinement([cut.col_groups for cut in cuts])
    best = _LeastLoss(cuts)
    base = now
    for parts in PARTS:
        rows = _Tree(base, row_counts, _largest_count(parts, col_counts))
        cols = None if cols_known else _Tree(base.T, col_counts, _largest_count(parts, row_counts))
        sides = [rows.points] if cols is None else [rows.points, cols.points]
        for one in _arrangements(base, rows, cols):
            best.offer(one)
        if parts == PARTS[-1] or all(points.has_near_points_only for points in sides):
            break
        base = best.arrangement
    if all(points.is_closed for points in sides):
        _shift_first_cuts(best, base, rows, cols, min(max(cut.row_groups, cut.col_groups) for cut in cuts))
    best.offer(now)
    return best.result()


def _arrangements(base: Arrangement, rows: _Tree, cols: _Tree | None) -> Iterator[Arrangement]:
    """Arrangements by trees cut in the same way on both sides: across the longest extents, or two axes by turns."""
    by_turns = rows.points.is_area or (cols is not None and cols.points.is_area)
    axes = (None, 0, 1) if by_turns else (None,)
    col_orders = [None if cols is None else cols.order(axis) for axis in axes]
    for axis in axes:
        row_order = rows.order(axis)
        others = col_orders[:1] if axis is None or cols is None else col_orders[1:]
        yield from (_arrange(base, row_order, col_order) for col_order in others)


def _shift_first_cuts(best: _LeastLoss, base: Arrangement, rows: _Tree, cols: _Tree | None, groups: int) -> None:
    """Move the first cuts of closed curves: of the rows, then of the columns.

    The groups of two curves should begin at the same places of both.
    """
    row_order, col_order = rows.order(), None if cols is None else cols.order()
    for step in range(SHIFTS):
        order = rows.order(shift=rows.points.count * step // (SHIFTS * groups))
        if best.offer(_arrange(base, order, col_order)):
            row_order = order
    for step in range(SHIFTS if cols is not None else 0):
        assert cols is not None
        best.offer(_arrange(base, row_order, cols.order(shift=cols.points.count * step // (SHIFTS * groups))))


def _arrange(now: Arrangement, rows: Index, cols: Index | None) -> Arrangement:
    arranged = now.with_rows(rows[None, :])
    return arranged if cols is None else arranged.with_cols(cols[None, :])


class _Tree:
    """The rows of a matrix, to be cut into the numbers of groups of a chain.

    Parameters
    ----------
    now : Arrangement
        The matrix.
    counts : sequence of int
        Numbers of groups, each a multiple of the one before.
    parts : int
        Groups of columns over which rows are correlated.
    """

    def __init__(self, now: Arrangement, counts: Sequence[int], parts: int = 1) -> None:
        similarity = host_array(row_similarity(_in_double(now.grid), parts, 2.0, lines=now.lines[0]))[0]
        self.points = Points(similarity / parts)
        self._counts = counts

    def order(self, first: int | None = None, shift: int | None = None) -> Index:
        """Order in which the groups of every count are contiguous.

        Parameters
        ----------
        first : {0, 1}, optional
            Axis of the first cut, where the two longest axes are taken by turns; by default each part is cut across its
            longest extent.
        shift : int, optional
            The first cut goes across a closed curve, this many points from where angles begin.
        """
        parts, before = [np.arange(self.points.count)], 1
        for depth, count in enumerate(self._counts):
            axis = None if first is None else (first + depth) % 2
            if shift is not None and depth == 0:
                parts = [np.roll(np.argsort(self.points.angles, kind="stable"), shift)]
            elif len(parts[0]) > 2:
                parts = [part[np.argsort(self.points.coordinate(part, axis), kind="stable")] for part in parts]
            parts = [piece for part in parts for piece in np.split(part, count // before)]
            before = count
        return np.concatenate(parts)


def _in_double(grid: Array) -> Array:
    """Entries of a grid in double precision.

    Neighbours among n points have a squared distance of about ``1 / n^2``, which is ``-log`` of a correlation: single
    precision rounds correlations at 1e-7, and puts points in the wrong order where n is some hundreds. Measured on
    complex64 kernels of 256 random points on segments, rank 4, seeds 1 to 6: blocks lost 1.0 to 5.2 times what they
    lose with the points in order, 1.0 times in double precision. The energies that arrangements lose are compared in
    double precision for the same reason: some differ by less than single precision rounds.
    """
    xp = namespace(grid)
    return xp.astype(grid, xp.complex128 if is_complex(xp, grid.dtype) else xp.float64, copy=False)


def _prime_refinement(counts: Sequence[int]) -> list[int]:
    """Refine numbers of groups, so that each is a prime times the one before."""
    refined, before = [], 1
    for count in sorted(set(counts)):
        while before < count:
            ratio = count // before
            before *= next(prime for prime in range(2, ratio + 1) if ratio % prime == 0)
            refined.append(before)
    return refined or [1]


def _largest_count(parts: int, counts: Sequence[int]) -> int:
    """Largest of the numbers of groups up to a limit; 1 where there is none."""
    return max((count for count in counts if count <= parts), default=1)


class _LeastLoss:
    """The arrangement whose blocks lose least.

    The loss is summed from residuals. As a difference of energies it would round at more than a good tree loses.
    """

    def __init__(self, cuts: Sequence[Cut]) -> None:
        self._cuts = cuts
        self._arrangement: Arrangement | None = None
        self._lost = math.inf

    @property
    def arrangement(self) -> Arrangement:
        """The best arrangement so far."""
        assert self._arrangement is not None
        return self._arrangement

    def offer(self, one: Arrangement) -> bool:
        """Take an arrangement if it loses less."""
        (m, n), lost = (one.rows.shape[1], one.cols.shape[1]), 0.0
        for cut in sorted(self._cuts, key=lambda cut: abs(math.log((m * cut.col_groups) / (n * cut.row_groups)))):
            lost += _lost_energy(one, cut)
            if lost >= self._lost:
                return False
        self._arrangement, self._lost = one, lost
        return True

    def result(self) -> BestArrangement:
        """The best arrangement, with the energy that it captures."""
        energy = float(self.arrangement.row_energies.sum())
        return BestArrangement(self.arrangement, len(self._cuts) * energy - self._lost)


def _lost_energy(now: Arrangement, cut: Cut) -> float:
    """Energy that the blocks of a cut lose, by one step of power iteration: at least that of the best approximation."""
    xp = namespace(now.grid)
    blocks = block_view(_in_double(now.grid), cut.row_groups, cut.col_groups)
    if cut.rank >= min(blocks.shape[-2:]):
        return 0.0
    rows = leading_rows(blocks, cut.rank, rounds=1)
    rest = blocks - xp.matmul(xp.matmul(blocks, adjoint(rows)), rows)
    return float(xp.sum(squared_norms(rest)))
