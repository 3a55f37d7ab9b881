"""How alike the rows of a grid of matrices are on the column groups: what spectral clustering starts from."""

from __future__ import annotations

from collections.abc import Sequence

from .backend import Array, namespace
from .groups import squares_of
from .low_rank import adjoint, nonzero_divisor, squared_norms

__all__ = ["row_similarity"]


def row_similarity(
    grid: Array, col_groups: int, alpha: float, *, lines: int = 1, sample: Sequence[int] | None = None
) -> Array:
    r"""Similarity of the row items of each row of a grid, from the correlations on its column groups.

    Parameters
    ----------
    grid : array, shape (S, T, m*a, n*b)
        Grid whose column groups are contiguous (:mod:`dbutterfly.kernels.groups`).
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
        ``W[s, k, l] = sum over t and C of (|<Z_kC, Z_lC>| / (||Z_kC|| ||Z_lC||))^alpha``; rows that are zero on a
        column group are alike to none there.

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
                norms = xp.sqrt(squared_norms(rows))
                rows = rows / nonzero_divisor(norms, rows)[..., None]
                gram = squares_of(xp.matmul(rows, adjoint(rows)))
            else:
                gram = squares_of(xp.matmul(rows, adjoint(rows)))
                gram = xp.sum(xp.reshape(gram, (s, m // lines, lines, m // lines, lines)), axis=(2, 4))
                norms = xp.sum(xp.reshape(squared_norms(rows), (s, m // lines, lines)), axis=-1)
                norms = nonzero_divisor(norms, gram)
                gram = gram / (norms[:, :, None] * norms[:, None, :])
            if alpha != 2:
                gram = xp.sqrt(gram) if alpha == 1 else gram ** (alpha / 2)
            total = gram if total is None else total + gram
    return total
