"""Groups of one cut of a matrix that is read panel by panel: found in a sample, and spread to all rows and columns.

The sample is solved as a small matrix is: by clusters of the rows and columns that were drawn, or by pairs of all
columns on the rows that were drawn. Its groups are as good as they are even, for a sample does not draw as many rows of
each group. So all rows are clustered anew, by their similarities to those of the sample on the groups of the columns;
then the columns, by way of the rows; and at last both move by turns to the groups that capture most of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...kernels.grouping.groups import block_view, leading_rows
from ...kernels.grouping.panels import fit_panel, orthonormal_parts, row_basis
from ...structure.chain import Cut
from ..cuts import Index, transpose_cuts
from ..one_cut.arrangement import Arrangement
from ..one_cut.clustering import landmark_groups
from ..one_cut.solve import Search, solve_cut
from ..trees.nested import search_nested
from ..trees.polish import captured_energy
from .passes import GroupedSide, Passes, Sample, gather, labels_of, panel_ranges, place

__all__ = ["Groups", "Spreading"]

ALPHAS = (1.0, 2.0)
"""Contrasts of the similarities in a sample; each is a start."""
LANDMARK_GROUPS = 16
"""Column groups over which similarities to the sample are summed."""
ROUNDS, SETTLING = 3, 12
"""Rounds of clustering at most, and of passes by turns until nothing moves."""
GAIN, LITTLE_GAIN = 1e-3, 1e-5
"""Relative gains in what is captured below which each of these ends."""
HELD_ENTRIES = 1 << 22
"""Products with the sample that are held at a time."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of rows and columns under one cut, and their products with the blocks: left parts, and right parts.

    Attributes
    ----------
    rows, cols : Side
        Both sides.
    """

    rows: GroupedSide
    cols: GroupedSide

    @property
    def captured(self) -> float:
        """Energy that the blocks capture."""
        return max(self.rows.captured, self.cols.captured)

    @property
    def T(self) -> Groups:
        """Those of the transposed matrix."""
        return Groups(self.cols, self.rows)


@dataclass(frozen=True)
class Spreading:
    """The search for the groups of one cut.

    Attributes
    ----------
    passes : Passes
        Over the matrix.
    sample : Sample
        Of it.
    cuts : tuple of Cut
        All cuts that are wanted.
    root : int
        The one that is looked for.
    known_cols : ndarray of int64, shape (N,), or None
        Columns in tree order, where these are known.
    """

    passes: Passes
    sample: Sample
    cuts: tuple[Cut, ...]
    root: int
    known_cols: Index | None = None

    @property
    def cut(self) -> Cut:
        """The cut that is looked for."""
        return self.cuts[self.root]

    @property
    def T(self) -> Spreading:
        """The same for the transposed matrix, without what is known."""
        return Spreading(self.passes.T, self.sample.T, transpose_cuts(self.cuts), len(self.cuts) - 1 - self.root)

    def by_clusters(self, rng: np.random.Generator) -> Groups:
        """Start from the clusters of the matrix where rows and columns of the sample cross."""
        if self.known_cols is not None:
            return self._spread(self._reclustered(GroupedSide(self.known_cols, np.empty(0), 0.0), rng), rng)
        crossing = self.sample.rows[:, self.sample.col_index]
        seeds = rng.integers(1 << 62, size=len(ALPHAS)).tolist()
        tasks = [(self.cut, alpha, seed) for alpha, seed in zip(ALPHAS, seeds, strict=True)]
        found = max(self.passes.calls.in_order(_clusters, tasks, crossing), key=lambda found: found.captured)
        basis = _basis(crossing[np.ix_(found.rows, found.cols)], self.cut)
        return self._spread(_fit_held(self.sample.cols.T, found.cols, basis, self.cut.row_groups), rng)

    def by_pairs(self, rng: np.random.Generator) -> Groups:
        """Start from pairs of all columns on the rows of the sample, or of all rows on its columns."""
        sides = self, self.T
        tasks = [(turned, one.cuts[one.root :], int(rng.integers(1 << 62))) for turned, one in enumerate(sides)]
        results = list(self.passes.calls.in_order(_pairs, tasks, self.sample.rows, self.sample.cols))
        turned = int(results[1].captured > results[0].captured)
        found, one = results[turned], sides[turned]
        basis = _basis(one.sample.rows[np.ix_(found.rows, found.cols)], one.cut)
        rows = one.passes.fit(found.cols, basis, one.cut.row_groups)
        return self._spread(one._cols_given(rows) if turned else rows, rng)

    def _spread(self, rows: GroupedSide, rng: np.random.Generator) -> Groups:
        """Cluster all rows and columns anew, by way of each other, and settle."""
        best = Groups(rows, self._cols_given(rows))
        for _ in range(ROUNDS):
            rows = self._reclustered(best.cols, rng)
            cols = self._cols_given(rows)
            if self.known_cols is None:
                cols = self.T._reclustered(rows, rng)
                rows = self.T._cols_given(cols)
            now = Groups(rows, cols)
            gained = now.captured > best.captured * (1 + GAIN)
            if now.captured > best.captured:
                best = now
            if not gained:
                break
        return self._settled(best)

    def _settled(self, now: Groups) -> Groups:
        """Let rows and columns move by turns, until nothing does."""
        for _ in range(SETTLING):
            rows = self._rows_given(now.cols)
            then = Groups(rows, self._cols_given(rows))
            still = _same(then.rows, now.rows, self.cut.row_groups) and _same(then.cols, now.cols, self.cut.col_groups)
            gained = then.captured > now.captured * (1 + LITTLE_GAIN)
            now = then
            if still and not gained:
                break
        rows = self._rows_given(now.cols, now.rows.order)  # with the products of every row, and then of every column
        return Groups(rows, self._cols_given(rows, now.cols.order))

    def _rows_given(self, cols: GroupedSide, known: Index | None = None) -> GroupedSide:
        """Put every row into the group that fits it, given the columns."""
        basis = orthonormal_parts(cols.products[cols.order], self.cut.col_groups)
        return self.passes.fit(cols.order, basis, self.cut.row_groups, known)

    def _cols_given(self, rows: GroupedSide, known: Index | None = None) -> GroupedSide:
        """Put every column into the group that fits it, given the rows."""
        basis = orthonormal_parts(rows.products[rows.order], self.cut.row_groups)
        known = self.known_cols if known is None else known
        return self.passes.T.fit(rows.order, basis, self.cut.col_groups, known)

    def _reclustered(self, cols: GroupedSide, rng: np.random.Generator) -> GroupedSide:
        """Cluster all rows, by their similarities to those of the sample, given the groups of the columns."""
        sample, groups = self.sample, self.cut.row_groups
        chosen = np.sort(rng.permutation(self.cut.col_groups)[:LANDMARK_GROUPS])
        order = cols.order.reshape(self.cut.col_groups, -1)[chosen].ravel()
        similarity = self.passes.similarity(order, sample.rows[:, order], chosen.size, ALPHAS[0])
        labels = landmark_groups(similarity, groups, rng)
        rows = gather(sample.rows, labels[sample.row_index], groups)
        return self.passes.fit(cols.order, _basis(rows[:, cols.order], self.cut), groups)


class _Found(NamedTuple):
    """Orders of the rows and columns of a sample, and the part of its energy that the groups capture."""

    rows: Index
    cols: Index
    captured: float


def _clusters(_: Any, task: tuple[Cut, float, int], crossing: NDArray[Any]) -> _Found:
    cut, alpha, seed = task
    search = Search("middle", (alpha,), 0)
    now = solve_cut(_of(crossing), cut, search, np.random.default_rng(seed)).arrangement
    return _judge(now, cut)


def _pairs(_: Any, task: tuple[int, Sequence[Cut], int], rows: NDArray[Any], cols: NDArray[Any]) -> _Found:
    turned, cuts, seed = task
    now = search_nested(_of(cols if turned else rows), cuts, Search("right", (), 0, 8), np.random.default_rng(seed))
    return _judge(now, cuts[0])


def _of(matrix: NDArray[Any]) -> Arrangement:
    return Arrangement.of(matrix[None, None, :, :])


def _judge(now: Arrangement, cut: Cut) -> _Found:
    energy = float(now.row_energies.sum())
    captured = float(captured_energy(now, [cut])[0]) / energy if energy > 0 else 0.0
    return _Found(now.rows[0], now.cols[0], captured)


def _basis(matrix: NDArray[Any], cut: Cut) -> NDArray[Any]:
    """Leading rows of the blocks of a matrix in groups, to score rows by."""
    blocks = block_view(matrix[None, None, :, :], cut.row_groups, cut.col_groups)[0, 0]
    basis: NDArray[Any] = row_basis(leading_rows(blocks, min(cut.rank, *blocks.shape[-2:])))
    return basis


def _fit_held(matrix: NDArray[Any], order: Index, basis: NDArray[Any], groups: int) -> GroupedSide:
    """As :meth:`Passes.fit`, for a matrix that is held."""
    height = max(1, HELD_ENTRIES // (basis.shape[0] * basis.shape[2]))
    fits = [
        fit_panel(np.take(matrix[first:last], order, axis=1), basis, groups)
        for first, last in panel_ranges(matrix.shape[0], None, height)
    ]
    scores, best, products = (np.concatenate(part) for part in zip(*fits, strict=True))
    return place(scores, best, products)


def _same(one: GroupedSide, other: GroupedSide, groups: int) -> bool:
    return np.array_equal(labels_of(one.order, groups), labels_of(other.order, groups))
