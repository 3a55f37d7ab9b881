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

__all__ = ["CutSearch", "Groups"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the search for one cut. Not tuned one by one.

    Attributes
    ----------
    alphas : tuple of float
        Contrasts of the similarities in a sample; each is a start.
    landmark_groups : int
        Column groups over which similarities to the sample are summed.
    rounds, gain : int and float
        Rounds of clustering at most, and the relative gain in captured energy below which they end.
    settling_rounds, settling_gain : int and float
        Rounds of passes over rows and columns by turns at most, and the relative gain below which they end, if nothing
        moves.
    held_entries : int
        Products with the sample that are held at a time.
    """

    alphas: tuple[float, ...] = (1.0, 2.0)
    landmark_groups: int = 16
    rounds: int = 3
    gain: float = 1e-3
    settling_rounds: int = 12
    settling_gain: float = 1e-5
    held_entries: int = 1 << 22


TUNING = Tuning()


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of rows and columns under one cut, with the left and right parts of the blocks.

    Attributes
    ----------
    rows, cols : GroupedSide
        Each side with its products, which are parts of the blocks.
    """

    rows: GroupedSide
    cols: GroupedSide

    @property
    def captured(self) -> float:
        """Energy that the blocks capture."""
        return max(self.rows.captured, self.cols.captured)

    @property
    def T(self) -> Groups:
        """Groups of the transposed matrix."""
        return Groups(self.cols, self.rows)


@dataclass(frozen=True)
class CutSearch:
    """The search for the groups of one cut.

    Attributes
    ----------
    passes : Passes
        Passes over the matrix.
    sample : Sample
        Rows and columns of the matrix.
    cuts : tuple of Cut
        All cuts of the problem.
    root : int
        Number of the cut whose groups are looked for.
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
    def T(self) -> CutSearch:
        """Search in the transposed matrix, where nothing is known."""
        return CutSearch(self.passes.T, self.sample.T, transpose_cuts(self.cuts), len(self.cuts) - 1 - self.root)

    def start_from_clusters(self, rng: np.random.Generator) -> Groups:
        """Start from the clusters of the matrix where rows and columns of the sample cross."""
        if self.known_cols is not None:
            return self._spread(self._cluster_rows(GroupedSide(self.known_cols, np.empty(0), 0.0), rng), rng)
        crossing = self.sample.rows[:, self.sample.col_index]
        seeds = rng.integers(1 << 62, size=len(TUNING.alphas)).tolist()
        tasks = [(self.cut, alpha, seed) for alpha, seed in zip(TUNING.alphas, seeds, strict=True)]
        found = max(self.passes.calls.in_order(_cluster_sample, tasks, crossing), key=lambda found: found.captured)
        basis = _basis(crossing[np.ix_(found.rows, found.cols)], self.cut)
        return self._spread(_fit_in_memory(self.sample.cols.T, found.cols, basis, self.cut.row_groups), rng)

    def start_from_pairs(self, rng: np.random.Generator) -> Groups:
        """Start from pairs of all columns on the rows of the sample, or of all rows on its columns."""
        sides = self, self.T
        tasks = [(turned, one.cuts[one.root :], int(rng.integers(1 << 62))) for turned, one in enumerate(sides)]
        results = list(self.passes.calls.in_order(_pair_sample, tasks, self.sample.rows, self.sample.cols))
        turned = int(results[1].captured > results[0].captured)
        found, one = results[turned], sides[turned]
        basis = _basis(one.sample.rows[np.ix_(found.rows, found.cols)], one.cut)
        rows = one.passes.fit(found.cols, basis, one.cut.row_groups)
        return self._spread(one._assign_cols(rows) if turned else rows, rng)

    def _spread(self, rows: GroupedSide, rng: np.random.Generator) -> Groups:
        """Cluster all rows and columns anew, each by way of the other, while that gains; then move them by turns."""
        best = Groups(rows, self._assign_cols(rows))
        for _ in range(TUNING.rounds):
            rows = self._cluster_rows(best.cols, rng)
            cols = self._assign_cols(rows)
            if self.known_cols is None:
                cols = self.T._cluster_rows(rows, rng)
                rows = self.T._assign_cols(cols)
            now = Groups(rows, cols)
            gained = now.captured > best.captured * (1 + TUNING.gain)
            if now.captured > best.captured:
                best = now
            if not gained:
                break
        return self._settle(best)

    def _settle(self, now: Groups) -> Groups:
        """Move rows and columns by turns, until nothing moves."""
        for _ in range(TUNING.settling_rounds):
            rows = self._assign_rows(now.cols)
            then = Groups(rows, self._assign_cols(rows))
            still = _are_same_groups(then.rows, now.rows, self.cut.row_groups) and _are_same_groups(
                then.cols, now.cols, self.cut.col_groups
            )
            gained = then.captured > now.captured * (1 + TUNING.settling_gain)
            now = then
            if still and not gained:
                break
        rows = self._assign_rows(now.cols, now.rows.order)  # with the products of every row, and then of every column
        return Groups(rows, self._assign_cols(rows, now.cols.order))

    def _assign_rows(self, cols: GroupedSide, known: Index | None = None) -> GroupedSide:
        """Put every row into the group that fits it, given the columns."""
        basis = orthonormal_parts(cols.products[cols.order], self.cut.col_groups)
        return self.passes.fit(cols.order, basis, self.cut.row_groups, known)

    def _assign_cols(self, rows: GroupedSide, known: Index | None = None) -> GroupedSide:
        """Put every column into the group that fits it, given the rows."""
        basis = orthonormal_parts(rows.products[rows.order], self.cut.row_groups)
        known = self.known_cols if known is None else known
        return self.passes.T.fit(rows.order, basis, self.cut.col_groups, known)

    def _cluster_rows(self, cols: GroupedSide, rng: np.random.Generator) -> GroupedSide:
        """Cluster all rows, by their similarities to those of the sample, given the groups of the columns."""
        sample, groups = self.sample, self.cut.row_groups
        chosen = np.sort(rng.permutation(self.cut.col_groups)[: TUNING.landmark_groups])
        order = cols.order.reshape(self.cut.col_groups, -1)[chosen].ravel()
        similarity = self.passes.similarity(order, sample.rows[:, order], chosen.size, TUNING.alphas[0])
        labels = landmark_groups(similarity, groups, rng)
        rows = gather(sample.rows, labels[sample.row_index], groups)
        return self.passes.fit(cols.order, _basis(rows[:, cols.order], self.cut), groups)


class _SampleGroups(NamedTuple):
    """Orders of the rows and columns of a sample, and the part of its energy that the groups capture."""

    rows: Index
    cols: Index
    captured: float


def _cluster_sample(_: Any, task: tuple[Cut, float, int], crossing: NDArray[Any]) -> _SampleGroups:
    cut, alpha, seed = task
    search = Search("middle", (alpha,), 0)
    now = solve_cut(_arrangement_of(crossing), cut, search, np.random.default_rng(seed)).arrangement
    return _sample_groups(now, cut)


def _pair_sample(_: Any, task: tuple[int, Sequence[Cut], int], rows: NDArray[Any], cols: NDArray[Any]) -> _SampleGroups:
    turned, cuts, seed = task
    now = search_nested(
        _arrangement_of(cols if turned else rows), cuts, Search("right", (), 0, 8), np.random.default_rng(seed)
    )
    return _sample_groups(now, cuts[0])


def _arrangement_of(matrix: NDArray[Any]) -> Arrangement:
    return Arrangement.of(matrix[None, None, :, :])


def _sample_groups(now: Arrangement, cut: Cut) -> _SampleGroups:
    energy = float(now.row_energies.sum())
    captured = float(captured_energy(now, [cut])[0]) / energy if energy > 0 else 0.0
    return _SampleGroups(now.rows[0], now.cols[0], captured)


def _basis(matrix: NDArray[Any], cut: Cut) -> NDArray[Any]:
    """Leading rows of the blocks of a matrix in groups, to score rows by."""
    blocks = block_view(matrix[None, None, :, :], cut.row_groups, cut.col_groups)[0, 0]
    basis: NDArray[Any] = row_basis(leading_rows(blocks, min(cut.rank, *blocks.shape[-2:])))
    return basis


def _fit_in_memory(matrix: NDArray[Any], order: Index, basis: NDArray[Any], groups: int) -> GroupedSide:
    """Do for a matrix in memory what :meth:`Passes.fit` does for one that is read panel by panel."""
    height = max(1, TUNING.held_entries // (basis.shape[0] * basis.shape[2]))
    fits = [
        fit_panel(np.take(matrix[first:last], order, axis=1), basis, groups)
        for first, last in panel_ranges(matrix.shape[0], None, height)
    ]
    scores, best, products = (np.concatenate(part) for part in zip(*fits, strict=True))
    return place(scores, best, products)


def _are_same_groups(one: GroupedSide, other: GroupedSide, groups: int) -> bool:
    return np.array_equal(labels_of(one.order, groups), labels_of(other.order, groups))
