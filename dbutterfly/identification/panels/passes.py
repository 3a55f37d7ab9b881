"""Passes over a matrix that is read panel by panel: each panel is one call, and what comes back is small.

A pass has all rows, or all columns, compared with what is known of the other side. Nothing of the size of the matrix is
ever held: a panel at a time by each worker, and here arrays of the size of the parts of the blocks, O(N^1.5).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...execution.calls import Calls
from ...structure.axes import Edges
from ..cuts import Index
from ..one_cut.assignment import equal_groups
from .panel import Panel, compare_rows, sample_entries, score_rows

__all__ = ["GroupedSide", "Passes", "Sample", "gather", "labels_of", "panel_ranges", "place"]


@dataclass(frozen=True)
class Tuning:
    """Constants of the passes.

    Attributes
    ----------
    harmless_exponent : int
        Power of two of the largest entry up to which nothing is scaled: its fourth power is far from the ends of single
        precision.
    missing : float
        Part of the rows that may go without products until the next pass. Not tuned.
    """

    harmless_exponent: int = 20
    missing: float = 1 / 16


TUNING = Tuning()


class GroupedSide(NamedTuple):
    """The rows, or the columns, in the groups of one cut, with their products.

    Attributes
    ----------
    order : ndarray of int64, shape (m,)
        The rows, group by group.
    products : ndarray, shape (m, q, r)
        Their products with the leading rows of the blocks, in storage order; zero for a row whose group is not the one
        that fits it best.
    captured : float
        Energy that the groups capture.
    """

    order: Index
    products: NDArray[Any]
    captured: float


class Sample(NamedTuple):
    """Some rows and columns of a matrix, and moments of all entries.

    Attributes
    ----------
    row_index, col_index : ndarray of int64, shape (k,) and (l,)
        Numbers of these rows and columns.
    rows : ndarray, shape (k, N)
        The rows.
    cols : ndarray, shape (l, M)
        The columns, as rows.
    energy : float
        Squared norm of the matrix, scaled.
    flatness : float
        Fourth moment of the entries in units of the squared second.
    """

    row_index: Index
    col_index: Index
    rows: NDArray[Any]
    cols: NDArray[Any]
    energy: float
    flatness: float

    @property
    def T(self) -> Sample:
        """Sample of the transposed matrix."""
        return Sample(self.col_index, self.row_index, self.cols, self.rows, self.energy, self.flatness)


@dataclass(frozen=True)
class Passes:
    """All rows of a matrix, panel by panel; ``T`` has the columns.

    Attributes
    ----------
    calls : Calls
        Calls of functions of a MatrixSource, each of which works on a panel.
    shape : (int, int)
        Shape of the matrix.
    edges : pair of arrays of int or None
        Its chunk boundaries: panels are whole chunks where these are not too large.
    dtype : numpy.dtype
        Precision of the computation.
    panel_bytes : int
        Most bytes that a panel takes, with what is computed from it.
    backend : str
        Array library of the workers.
    scale : float
        Factor for the entries.
    transposed : bool
        Whether rows are the columns of what is stored.
    """

    calls: Calls
    shape: tuple[int, int]
    edges: tuple[Edges, Edges]
    dtype: np.dtype[Any]
    panel_bytes: int
    backend: str = "auto"
    scale: float = 1.0
    transposed: bool = False

    @property
    def T(self) -> Passes:
        """Passes over the transposed matrix."""
        return dataclasses.replace(self, shape=self.shape[::-1], edges=self.edges[::-1], transposed=not self.transposed)

    def fit(self, order: Index, basis: NDArray[Any], groups: int, known: Index | None = None) -> GroupedSide:
        """Score all rows against row groups, and put each into the one that fits it best.

        Parameters
        ----------
        order : ndarray of int64, shape (n,)
            Columns, group by group.
        basis : ndarray, shape (q, v, u*r)
            For :func:`~dbutterfly.kernels.grouping.panels.fit_panel`.
        groups : int
            Number u of row groups.
        known : ndarray of int64, shape (m,), optional
            Rows, group by group, where these are known.
        """
        labels = None if known is None else labels_of(known, groups)
        panels = self._panels(2 + basis.shape[2] / basis.shape[1])
        tasks = [(panel, groups, None if labels is None else labels[panel.first : panel.last]) for panel in panels]
        parts = zip(*self.calls.in_order(score_rows, tasks, order, basis), strict=True)
        scores, best, products = (np.concatenate(part) for part in parts)
        if known is not None:
            return GroupedSide(known, products, _captured_energy(scores, best))
        side = place(scores, best, products)
        missing = np.count_nonzero(labels_of(side.order, groups) != best)
        return side if missing <= TUNING.missing * best.size else self.fit(order, basis, groups, side.order)

    def similarity(self, order: Index, landmarks: NDArray[Any], groups: int, alpha: float) -> NDArray[np.floating]:
        """Similarity (m, l) of all rows to landmarks, over the columns ``order`` in ``groups`` groups."""
        tasks = [(panel, groups, alpha) for panel in self._panels(3)]
        return np.concatenate(list(self.calls.in_order(compare_rows, tasks, order, landmarks)))

    def sample(self, row_index: Index, col_index: Index) -> tuple[Passes, Sample]:
        """Read some rows and columns, check all entries, and compute their moments.

        Returns
        -------
        passes : Passes
            With the scale that suits the entries.
        sample : Sample
            The rows and columns, scaled.

        Raises
        ------
        NonFiniteError
            If an entry is not finite.
        """
        panels = self._panels(4)
        tasks = [(panel, row_index[(row_index >= panel.first) & (row_index < panel.last)]) for panel in panels]
        rows, cols, moments = zip(*self.calls.in_order(sample_entries, tasks, col_index), strict=True)
        exponent = max(moment[0] for moment in moments)
        if abs(exponent) <= TUNING.harmless_exponent:
            exponent = 0
        energy = sum(moment[1] * 4.0 ** (moment[0] - exponent) for moment in moments)
        fourth = sum(moment[2] * 16.0 ** (moment[0] - exponent) for moment in moments)
        scale = 2.0**-exponent if energy > 0 else 1.0
        top, side = ((np.concatenate(part) * np.float64(scale)).astype(self.dtype, copy=False) for part in (rows, cols))
        flatness = fourth * math.prod(self.shape) / energy**2 if energy > 0 else 1.0
        here = Sample(row_index, col_index, top, np.ascontiguousarray(side.T), energy, flatness)
        return dataclasses.replace(self, scale=scale), here

    def _panels(self, width: float) -> list[Panel]:
        """Divide the matrix into panels, whose entries take ``width`` times their own bytes with what is computed."""
        height = max(1, int(self.panel_bytes // (self.shape[1] * self.dtype.itemsize * width)))
        return [
            Panel(first, last, self.transposed, self.dtype, self.scale, self.backend)
            for first, last in panel_ranges(self.shape[0], self.edges[0], height)
        ]


def place(scores: NDArray[np.floating], best: Index, products: NDArray[Any]) -> GroupedSide:
    """Put each row into the group that fits it best, so that groups are of equal size."""
    labels = equal_groups(scores, scores.shape[1])
    products = np.where((labels == best)[:, None, None], products, products.dtype.type(0))
    return GroupedSide(np.argsort(labels, kind="stable"), products, _captured_energy(scores, labels))


def _captured_energy(scores: NDArray[np.floating], labels: Index) -> float:
    """Energy of all rows that their groups capture."""
    return float(np.take_along_axis(scores, labels[:, None], axis=1).sum(dtype=np.float64))


def gather(rows: NDArray[Any], labels: Index, groups: int) -> NDArray[Any]:
    """Rows group by group, with zero rows so that groups are of equal size: shape (groups * largest, n)."""
    counts = np.bincount(labels, minlength=groups)
    order = np.argsort(labels, kind="stable")
    place = np.arange(labels.size) - np.repeat(np.cumsum(counts) - counts, counts)
    even = np.zeros((groups, int(counts.max()), rows.shape[1]), rows.dtype)
    even[labels[order], place] = rows[order]
    return even.reshape(-1, rows.shape[1])


def labels_of(order: Index, groups: int) -> Index:
    """Group of each item, from the items group by group."""
    labels = np.empty(order.size, np.int64)
    labels[order] = np.arange(order.size) // (order.size // groups)
    return labels


def panel_ranges(size: int, edges: Edges, height: int) -> list[tuple[int, int]]:
    """Cut a side into ranges of at most ``height``: whole chunks if they fit, parts of one chunk if they do not."""
    chunks = [0, size] if edges is None else np.asarray(edges).tolist()
    bounds = [0]
    for start, stop in itertools.pairwise(chunks):
        if stop - bounds[-1] > height:
            if start > bounds[-1]:
                bounds.append(start)
            parts = -(-(stop - start) // height)
            bounds += [start + (stop - start) * part // parts for part in range(1, parts)]
    return list(itertools.pairwise([*bounds, size]))
