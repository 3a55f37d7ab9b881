"""Similarity of the rows of a grid of matrices on its column groups: what spectral clustering starts from.

Two rows of a block of rank one are proportional. With Z_k and Z_l the row items k and l, and C a column group of the
matrices t of a row of the grid, their similarity is

    (1)  W[k, l] = sum over t and C of (|<Z_kC, Z_lC>| / (||Z_kC|| ||Z_lC||))^alpha

where the inner product of items of several lines is the norm of their Gram block.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..backend import Array, namespace
from ..linalg import adjoint, nonzero_divisor, squared_norms
from .groups import squared_moduli, unit_rows

__all__ = ["landmark_similarity", "row_similarity"]


def row_similarity(
    grid: Array, col_groups: int, alpha: float, *, lines: int = 1, sample: Sequence[int] | None = None
) -> Array:
    """Similarity of the row items of each row of a grid, from the correlations on its column groups.

    Parameters
    ----------
    grid : array, shape (S, T, m*a, n*b)
        Grid whose column groups are contiguous (:mod:`dbutterfly.kernels.grouping.groups`).
    col_groups : int
        Number q of column groups of each matrix.
    alpha : float
        Contrast: exponent of the correlations.
    lines : int
        Lines a of a row item; the correlation of two items is the norm of their Gram block.
    sample : sequence of int, optional
        Column groups that count; by default all.

    Returns
    -------
    array of float, shape (S, m, m)
        W of (1) for each row s of the grid; rows that are zero on a column group are alike to none there.

    References
    ----------
    Zheng, Puy, Riccietti, Pérez and Gribonval, "Butterfly factorization by algorithmic identification of rank-one
    blocks", GRETSI 2023, section 4.
    """
    xp = namespace(grid)
    s, t, m, n = grid.shape
    groups = xp.reshape(grid, (s, t, m, col_groups, n // col_groups))
    total = None
    for c in range(col_groups) if sample is None else sample:
        for k in range(t):
            rows = groups[:, k, :, c, :]
            if lines == 1:
                rows = unit_rows(rows)
                alike = squared_moduli(xp.matmul(rows, adjoint(rows)))
            else:
                alike = squared_moduli(xp.matmul(rows, adjoint(rows)))
                alike = xp.sum(xp.reshape(alike, (s, m // lines, lines, m // lines, lines)), axis=(2, 4))
                norms = xp.sum(xp.reshape(squared_norms(rows), (s, m // lines, lines)), axis=-1)
                norms = nonzero_divisor(norms, alike)
                alike = alike / (norms[:, :, None] * norms[:, None, :])
            alike = _power(alike, alpha)  # (1), one term
            total = alike if total is None else total + alike
    return total


def landmark_similarity(rows: Array, landmarks: Array, col_groups: int, alpha: float) -> Array:
    """Similarity (1) of rows of one matrix to some landmarks.

    Parameters
    ----------
    rows : array, shape (b, n)
        Rows, with contiguous column groups.
    landmarks : array, shape (l, n)
        Rows to compare them with.
    col_groups : int
        Number of column groups.
    alpha : float
        Contrast.

    Returns
    -------
    array of float, shape (b, l)
    """
    xp = namespace(rows)
    both = [xp.permute_dims(xp.reshape(a, (a.shape[0], col_groups, -1)), (1, 0, 2)) for a in (rows, landmarks)]
    total = None
    for c in range(col_groups):
        alike = _power(
            squared_moduli(xp.matmul(unit_rows(both[0][c, :, :]), adjoint(unit_rows(both[1][c, :, :])))), alpha
        )
        total = alike if total is None else total + alike
    return total


def _power(squares: Array, alpha: float) -> Array:
    """Correlations to the power of alpha, from their squares; the usual powers 1 and 2 without a general power."""
    if alpha == 2:
        return squares
    return namespace(squares).sqrt(squares) if alpha == 1 else squares ** (alpha / 2)
