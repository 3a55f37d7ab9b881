"""A block of a hierarchical matrix: dense, of low rank, or a butterfly, each a product of Kronecker-sparse factors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..structure.chain import Chain
from ..structure.orderings import Orderings
from .factors import transpose_factors

__all__ = ["BlockFactors"]


@dataclass(frozen=True, eq=False)
class BlockFactors:
    """A block of a hierarchical matrix, in factors.

    Attributes
    ----------
    rows, cols : (int, int)
        First position and the one after the last, of the rows and of the columns, in the order of the clusters.
    ks_values : tuple of ndarray, shapes (a, b, c, d)
        Factors from left to right: one of shape (1, m, n, 1) is a dense block, two of shapes (1, m, r, 1) and
        (1, r, n, 1) a block of rank r, none a block of zeros. More are a butterfly.
    orderings : Orderings
        Orderings of the positions within the block, counted from its first row and column.
    """

    rows: tuple[int, int]
    cols: tuple[int, int]
    ks_values: tuple[NDArray[Any], ...]
    orderings: Orderings = field(default_factory=Orderings)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the block."""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    @property
    def kind(self) -> str:
        """``"zero"``, ``"dense"``, ``"low rank"`` or ``"butterfly"``."""
        return ("zero", "dense", "low rank")[len(self.ks_values)] if len(self.ks_values) < 3 else "butterfly"

    @property
    def chain(self) -> Chain:
        """Patterns of the factors."""
        return Chain([values.shape for values in self.ks_values])

    @property
    def rank(self) -> int:
        """Largest rank of a block of any cut: that of the block itself where it is of low rank."""
        if len(self.ks_values) < 2:
            return min(self.shape) if self.ks_values else 0
        if len(self.ks_values) == 2:  # a matrix has thousands of these, each asked several times: no chain is made
            return int(self.ks_values[0].shape[2])
        return int(self.chain.rank)

    @property
    def nnz(self) -> int:
        """Number of values of all factors."""
        return sum(values.size for values in self.ks_values)

    @property
    def T(self) -> BlockFactors:
        """The transposed block, whose factors are views."""
        sides = self.orderings.permutations(self.chain) if self.kind == "butterfly" else (None, None)
        return BlockFactors(self.cols, self.rows, transpose_factors(self.ks_values), Orderings(*sides[::-1]))

    def conj(self) -> BlockFactors:
        """The conjugate block."""
        return self.with_values(tuple(np.conj(values) for values in self.ks_values))

    def with_values(self, ks_values: Iterable[NDArray[Any]]) -> BlockFactors:
        """The block with other values."""
        return BlockFactors(self.rows, self.cols, tuple(ks_values), self.orderings)
