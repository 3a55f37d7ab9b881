"""Pairs of columns that are proportional on each half of the rows: which halves, and how far from proportional.

Two columns x and y of a grid are siblings in the column tree if the rows fall into two equal halves on each of which
they are proportional. Row i sees them as the complex pair ``(x_i, y_i)``, a point on the Bloch sphere,
``b_i = (|x|^2 - |y|^2, 2 Re x conj(y), 2 Im x conj(y))``, of length ``w_i = |x|^2 + |y|^2``; a set of rows fits one
line up to the residual ``(sum w_i - |sum b_i|) / 2``, the smaller eigenvalue of its 2 x 2 Gram matrix.
"""

from __future__ import annotations

import array_api_compat

from ..backend import Array, is_complex, namespace
from ..linalg import adjoint
from .groups import squared_moduli

__all__ = ["pair_residuals", "two_line_fits"]

LLOYD_STEPS = 3
TILE_COLUMNS = 512
"""Columns that are compared with all others at a time."""


def two_line_fits(x: Array, y: Array) -> tuple[Array, Array]:
    """Fit each pair of columns by two lines, with half of the rows on each.

    Parameters
    ----------
    x, y : array, shape (..., m)
        Columns.

    Returns
    -------
    residual : array of float, shape (...)
        Energy that the lines leave: an upper bound on that of the best balanced split.
    half : array of bool, shape (..., m)
        Rows of the second line.
    """
    xp = namespace(y)
    m = y.shape[-1]
    across = x * (xp.conj(y) if is_complex(xp, y.dtype) else y)
    ex, ey = squared_moduli(x), squared_moduli(y)
    parts = [ex - ey, 2 * xp.real(across), 2 * xp.imag(across)] if is_complex(xp, y.dtype) else [ex - ey, 2 * across]
    points = xp.stack(parts, axis=-1)
    spread = points - xp.mean(points, axis=-2, keepdims=True)
    axis = xp.linalg.eigh(xp.matmul(xp.matrix_transpose(spread), spread)).eigenvectors[..., -1]
    for _ in range(LLOYD_STEPS):
        along = xp.matmul(points, axis[..., None])[..., 0]
        half = along >= xp.sort(along, axis=-1)[..., m // 2 : m // 2 + 1]
        second = xp.sum(xp.where(half[..., None], points, xp.zeros_like(points)), axis=-2)
        first = xp.sum(points, axis=-2) - second
        lengths = [xp.linalg.vector_norm(vector, axis=-1, keepdims=True) for vector in (first, second)]
        first, second = (v / xp.where(n > 0, n, xp.ones_like(n)) for v, n in zip((first, second), lengths, strict=True))
        axis = second - first
    residual = (xp.sum(ex + ey, axis=-1) - lengths[0][..., 0] - lengths[1][..., 0]) / 2
    return residual, half


def pair_residuals(grid: Array, row_groups: int) -> Array:
    """Energy that two columns leave when they are made proportional on every row group.

    Parameters
    ----------
    grid : array, shape (S, T, m, n)
        Grid whose row groups are contiguous.
    row_groups : int
        Number of row groups.

    Returns
    -------
    array of float, shape (T, n, n)
        Sums over the row groups of all S of the smaller eigenvalue of the Gram matrix of each two columns.
    """
    xp = namespace(grid)
    s, t, m, n = grid.shape
    groups = xp.reshape(grid, (s, t, row_groups, m // row_groups, n))
    device = array_api_compat.device(grid)
    tiles = []
    for first in range(0, n, TILE_COLUMNS):
        last = min(first + TILE_COLUMNS, n)
        total = xp.zeros((t, n, last - first), dtype=xp.real(grid[:0, :0, :0, :0]).dtype, device=device)
        for i in range(s):
            for g in range(row_groups):
                total += _least_eigenvalues(groups[i, :, g, :, :], first, last)
        tiles.append(xp.where(total > 0, total, xp.zeros_like(total)))
    return tiles[0] if len(tiles) == 1 else xp.concat(tiles, axis=-1)


def _least_eigenvalues(rows: Array, first: int, last: int) -> Array:
    """Smaller eigenvalue of the Gram matrix of each column, from (t, p, n), with each of some columns."""
    xp = namespace(rows)
    some = rows[:, :, first:last]
    squares = squared_moduli(xp.matmul(adjoint(rows), some))
    energy = xp.sum(squared_moduli(rows), axis=1)
    both = energy[:, :, None] + energy[:, None, first:last]
    apart = energy[:, :, None] - energy[:, None, first:last]
    return (both - xp.sqrt(apart * apart + 4 * squares)) / 2
