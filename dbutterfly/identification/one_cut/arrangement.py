"""A grid of matrices with the orders of their rows and columns, in which the groups are contiguous."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from ...kernels.backend import Array, host_array, namespace
from ...kernels.grouping.groups import Fit, fit_rows, permute_rows, transpose_grid
from ...kernels.linalg import squared_norms
from ...structure.chain import Cut
from ..cuts import Index

__all__ = ["Arrangement"]


@dataclass(frozen=True, eq=False)
class Arrangement:
    """A grid (S, T, m*a, n*b) of matrices, with the present order of their rows and columns.

    Attributes
    ----------
    grid : array
        The matrices, with the items in the present order.
    rows : ndarray of int64, shape (S, m)
        For each place, the row item of the matrices as given that is there now.
    cols : ndarray of int64, shape (T, n)
        For each place, the column item.
    lines : (int, int)
        Lines a of a row item and b of a column item.
    """

    grid: Array
    rows: Index
    cols: Index
    lines: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, grid: Array, lines: tuple[int, int] = (1, 1)) -> Arrangement:
        """Wrap matrices whose rows and columns are in the given order."""
        s, t, m, n = grid.shape
        rows = np.tile(np.arange(m // lines[0]), (s, 1))
        return cls(grid, rows, np.tile(np.arange(n // lines[1]), (t, 1)), lines)

    @property
    def T(self) -> Arrangement:
        """The transposed matrices."""
        return Arrangement(transpose_grid(self.grid), self.cols, self.rows, self.lines[::-1])

    @property
    def row_energies(self) -> NDArray[np.float64]:
        """Energy (S,) of each row of the grid of matrices."""
        return host_array(namespace(self.grid).sum(squared_norms(self.grid), axis=(1, 2))).astype(np.float64)

    def with_rows(self, order: Index) -> Arrangement:
        """Take the rows in another order, which is given by their present places (S, m)."""
        if (order == np.arange(order.shape[1])).all():
            return self
        xp = namespace(self.grid)
        index = xp.asarray(order, device=array_api_compat.device(self.grid))
        grid = permute_rows(self.grid, index, lines=self.lines[0])
        return dataclasses.replace(self, grid=grid, rows=np.take_along_axis(self.rows, order, axis=1))

    def with_cols(self, order: Index) -> Arrangement:
        """Take the columns in another order, which is given by their present places (T, n)."""
        return self.T.with_rows(order).T

    def with_grouped_rows(self, labels: Index) -> Arrangement:
        """Make row groups contiguous, given the group (S, m) of each place; the order inside a group stays."""
        return self.with_rows(np.argsort(labels, axis=1, kind="stable"))

    def has_same_order(self, other: Arrangement) -> bool:
        """Whether rows and columns are in the same order."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.cols, other.cols)

    def row_labels(self, cut: Cut) -> Index:
        """Row group (S, m) of each place under a cut."""
        s, m = self.rows.shape
        return np.tile(np.arange(m) * cut.row_groups // m, (s, 1))

    def row_fit(self, cut: Cut, *, leave_out: bool = False) -> Fit:
        """Scores of the rows in the row groups of a cut."""
        groups = cut.row_groups, cut.col_groups
        return fit_rows(self.grid, *groups, cut.rank, lines=self.lines[0], leave_out=leave_out)
