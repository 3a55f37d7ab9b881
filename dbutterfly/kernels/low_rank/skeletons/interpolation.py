"""What an interpolative decomposition gives."""

from __future__ import annotations

from typing import NamedTuple

from ...backend import Array

__all__ = ["Interpolation"]


class Interpolation(NamedTuple):
    """Decompositions ``A ~ A[:, pivots] coefficients`` of a stack of B matrices.

    Attributes
    ----------
    pivots : array of int64, shape (B, k)
        Columns of the skeletons, 0 beyond the rank of a matrix. There, coefficients are zero.
    coefficients : array, shape (B, k, n)
        Coefficients of all columns.
    rank : array of int64, shape (B,)
        Size of each skeleton.
    residual, entry : array of float64, shape (B,)
        Mean square of what is left of an entry of A, and of an entry of A.
    """

    pivots: Array
    coefficients: Array
    rank: Array
    residual: Array
    entry: Array
