r"""Random vectors by which an operator is multiplied, and how many of them its factorization takes.

Of blocks of p x v in u row groups and q column groups, for an approximation of rank k:

    products with Z      q (k + 4 + 2)     k + 4 vectors on each column group show the ranges of all blocks below it
                                           and two more tell how well each block was met
    products with Z^H    u (2 k + 8)       vectors on each row group show the rows of all blocks beside it

The second ones are twice as many as the vectors that span the ranges, so that the small systems by which blocks are
expanded in them are well conditioned. In the middle of a square chain u = q = N^0.5: (3 k + 14) N^0.5 products in all.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..structure.axes import Tile
from ..structure.chain import Cut

__all__ = [
    "CHECKS",
    "CHECK_STREAM",
    "COLUMN_STREAM",
    "ERROR_STREAM",
    "PRODUCT_BYTES",
    "ROW_STREAM",
    "ProbeSizes",
    "normal_vectors",
]

COLUMN_STREAM, ROW_STREAM, ERROR_STREAM, CHECK_STREAM = range(4)
"""Streams of random numbers: vectors on column groups, on row groups, on all columns, and to look at an operator."""

PRODUCT_BYTES = 1 << 24
"""Bytes of vectors and products that are held at a time (at least those of one product). Not tuned."""

OVERSAMPLING = 4
"""Vectors beyond the rank (Halko, Martinsson and Tropp, SIAM Review 53, 2011: 5 to 10 are ample, fewer will do)."""

CHECKS = 2
"""Vectors on a column group by which the errors of its blocks are estimated. Not tuned."""


class ProbeSizes(NamedTuple):
    """How many products the tiles of an operator take.

    Attributes
    ----------
    split : Cut
        Blocks of the root cut.
    rank : int
        Rank of their approximations.
    oversampling : int
        Vectors beyond the rank. More of them serve matrices whose blocks are of this rank up to noise only: with 4, 8
        and 12, the error of a Hadamard matrix with noise was measured to be 1.37, 1.15 and 1.09 times the least.
    """

    split: Cut
    rank: int
    oversampling: int = OVERSAMPLING

    @property
    def ranges(self) -> int:
        """Vectors on a column group that show the ranges of its blocks."""
        return self.rank + self.oversampling

    @property
    def tests(self) -> int:
        """Vectors on a row group by which the adjoint is multiplied."""
        return 2 * self.ranges

    @property
    def in_full(self) -> bool:
        """Whether unit vectors are no more: then all entries are found and results are certified."""
        p, u, q, v, _ = self.split
        return self._probes(u, q) >= min(p * u, q * v)

    def products(self, tile: Tile | None = None) -> int:
        """Products, with the operator and with its adjoint, that a tile takes; by default all of the operator.

        A product serves all row groups, or all column groups, of a tile. Several tiles therefore take more than one: a
        grid of a x b tiles b times the products with the adjoint, and a times those with the operator.
        """
        p, u, q, v, _ = self.split
        r0, r1, c0, c1 = tile or (0, u, 0, q)
        if self.in_full:
            return min((r1 - r0) * p, (c1 - c0) * v)
        return self._probes(r1 - r0, c1 - c0)

    def held_bytes(self, itemsize: int, tile: Tile | None = None) -> int:
        """Bytes of the products that are kept of a tile, or of its entries; its results come on top of that."""
        p, u, q, v, _ = self.split
        r0, r1, c0, c1 = tile or (0, u, 0, q)
        per_block = p * v if self.in_full else p * (self.ranges + CHECKS) + v * self.tests
        return (r1 - r0) * (c1 - c0) * per_block * itemsize

    def _probes(self, row_groups: int, col_groups: int) -> int:
        return col_groups * (self.ranges + CHECKS) + row_groups * self.tests


def normal_vectors(seed: int, stream: int, group: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Independent normal numbers of variance one, complex ones for a complex dtype.

    Parameters
    ----------
    seed : int
        Seed of a run.
    stream : int
        What they are for.
    group : int
        Number of the group of rows or columns: its numbers do not depend on those drawn for others.
    shape : tuple of int
        Shape of the array.
    dtype : dtype
        Floating or complex.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, group << 8 | stream]))
    if np.dtype(dtype).kind != "c":
        return rng.standard_normal(shape).astype(dtype, copy=False)
    real, imag = rng.standard_normal((2, *shape)) / math.sqrt(2)
    drawn: NDArray[Any] = (real + 1j * imag).astype(dtype, copy=False)
    return drawn
