"""Blocks of a grid of matrices whose rows and columns are grouped: how well every row fits into every group.

A *grid* is an array ``(S, T, m*a, n*b)``: matrices ``Z[s, t]`` of m row items with a lines each and n column items with
b lines. All matrices of a row of the grid share the grouping of their rows, those of a column that of their columns.
Groups are contiguous and equal: u of p items, q of v items. The block of two groups should have rank r.

With orthonormal rows V that span what a block's rows have in common, a row z of any group scores there

    (1)  ||z V^H||^2

Its own block is biased towards it, since z took part in V. For rank one the score without it is known in closed form.
If s^2 is the energy that v captures of the block, ``a = z v^H`` and ``e = ||z||^2``, one power step on the block
without z gives

    (2)  v' ~ s^2 v - conj(a) z

and hence the score

    (3)  |z v'^H|^2 = |a|^2 (s^2 - e)^2 / (s^4 - 2 s^2 |a|^2 + |a|^2 e)

The rows V are found by a block power iteration: with orthonormal rows again after each step,

    (4)  V <- (Z V^H)^H Z

and the block is approximated by

    (5)  Z ~ (Z V^H) V
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import array_api_compat
import numpy as np

from ..backend import Array, is_complex, namespace
from ..linalg import adjoint, nonzero_divisor, squared_norms

__all__ = [
    "Fit",
    "Parts",
    "block_parts",
    "block_view",
    "fit_rows",
    "leading_rows",
    "permute_rows",
    "squared_moduli",
    "transpose_grid",
    "unit_rows",
]

PRODUCT_BYTES = 1 << 25
"""Bytes of products of rows and groups that are held at a time.

Measured for 2048 x 2048 float32, 32 groups of rows and 64 of columns, on a shared core of an AMD EPYC: 2, 8, 32, 128
and 512 MiB take 53, 42, 41, 37 and 40 ms. The limit is one of memory, not of time.
"""

NO_ENERGY = 1e-12
"""Part of the energy of a block below which what a row leaves of it is rounding, and counts as zero. Not tuned."""

ROUNDS = 3
"""Steps (4) by which leading rows are found for scores.

Measured on 500 blocks of 32 x 32, a product of rank r with normal factors and normal noise: of the energy of the best
rows, those of three steps miss 6e-5 at most for r = 1 and noise 1, nothing for r = 4 and noise 0.3. For r = 4 and noise
1, where the gap closes, they miss a median of 8e-6 and a tenth at most. One step misses 1, 17 and 23 % at most.
"""

PART_ROUNDS = 6
"""Steps (4) by which leading rows are found for the parts of blocks, whose errors the cuts below inherit.

Measured on the blocks of :data:`ROUNDS`: six steps miss 0.2 % of the energy at most for r = 4 and noise 1, less than
1e-6 elsewhere.
"""


class Fit(NamedTuple):
    """Fit of the rows of a grid into its row groups.

    Attributes
    ----------
    scores : array of float, shape (S, m, u)
        Energy of each row item that the blocks of each group capture, summed over the columns of the grid.
    captured : array of float, shape (S, u)
        Energy that the blocks capture of their own rows.
    """

    scores: Array
    captured: Array


class Parts(NamedTuple):
    """Left and right parts of the blocks of a grid, themselves grids.

    Attributes
    ----------
    left : array, shape (S*u, T, p*a, q*r)
        Columns of ``Z V^H``, which carry the scale; r lines for each of q column items.
    right : array, shape (S, T*q, u*r, v*b)
        Rows V times the singular values; r lines for each of u row items.
    """

    left: Array
    right: Array


def transpose_grid(grid: Array) -> Array:
    """Grid of the transposed matrices: (T, S, n*b, m*a)."""
    return namespace(grid).permute_dims(grid, (1, 0, 3, 2))


def block_view(grid: Array, row_groups: int, col_groups: int) -> Array:
    """Blocks of a grid, shape (S, T, u, q, p*a, v*b)."""
    xp = namespace(grid)
    s, t, m, n = grid.shape
    folded = xp.reshape(grid, (s, t, row_groups, m // row_groups, col_groups, n // col_groups))
    return xp.permute_dims(folded, (0, 1, 2, 4, 3, 5))


def leading_rows(blocks: Array, rank: int, rounds: int = ROUNDS) -> Array:
    """Orthonormal rows V that span about the leading right singular vectors of blocks, by block power iteration.

    Parameters
    ----------
    blocks : array, shape (..., p, v)
        Blocks.
    rank : int
        Number of rows, at most min(p, v).
    rounds : int
        Steps (4): products with a block and its adjoint.

    Returns
    -------
    array, shape (..., rank, v)
        V; a zero block gives zero rows for rank 1, any orthonormal ones above.
    """
    xp = namespace(blocks)
    if rank == 1:  # from the largest row
        energy = squared_norms(blocks)
        first = xp.argmax(energy, axis=-1, keepdims=True)[..., None]
        rows = xp.take_along_axis(blocks, xp.broadcast_to(first, (*blocks.shape[:-2], 1, blocks.shape[-1])), axis=-2)
        for _ in range(rounds):
            rows = xp.matmul(adjoint(xp.matmul(blocks, adjoint(unit_rows(rows)))), blocks)  # (4)
        return unit_rows(rows)
    start = np.random.default_rng(0).standard_normal((rank, blocks.shape[-2]))
    device = array_api_compat.device(blocks)
    rows = xp.matmul(xp.astype(xp.asarray(start, device=device), blocks.dtype), blocks)
    for step in range(rounds + 1):
        if step:
            rows = xp.matmul(adjoint(xp.matmul(blocks, adjoint(rows))), blocks)  # (4)
        rows = adjoint(xp.linalg.qr(adjoint(rows)).Q)
    return rows


def fit_rows(
    grid: Array, row_groups: int, col_groups: int, rank: int, *, lines: int = 1, leave_out: bool = False
) -> Fit:
    """Score every row item of a grid against every row group.

    Parameters
    ----------
    grid : array, shape (S, T, m*a, n*b)
        Grid, with contiguous groups.
    row_groups, col_groups : int
        Numbers u and q of groups.
    rank : int
        Rank r of the blocks.
    lines : int
        Lines a of a row item.
    leave_out : bool
        Whether the score of an item in its own group is that without it, which takes rank and lines 1.

    Returns
    -------
    Fit
        In the precision of the grid.
    """
    xp = namespace(grid)
    s, t, m, n = grid.shape
    rank = min(rank, m // row_groups, n // col_groups)
    scores = captured = None
    for part in _column_groups(grid, row_groups * rank, col_groups):
        groups = part.shape[3] * col_groups // n
        blocks = block_view(part, row_groups, groups)
        basis = leading_rows(blocks, rank)  # (S, T, u, g, r, v)
        basis = xp.reshape(xp.permute_dims(basis, (0, 1, 3, 5, 2, 4)), (s, t, groups, -1, row_groups * rank))
        rows = xp.permute_dims(xp.reshape(part, (s, t, m, groups, -1)), (0, 1, 3, 2, 4))
        products = xp.matmul(rows, xp.conj(basis))
        squares = squared_moduli(products)  # (1), entry by entry
        own = _own_squares(squares, row_groups, rank)  # (S, T, g, u, p*a)
        caught = xp.sum(own, axis=(1, 2, 4))
        if leave_out and rank == 1 and lines == 1:
            squares = _leave_out_self(squares, own, rows)  # (3)
        summed = xp.sum(xp.reshape(xp.sum(squares, axis=(1, 2)), (s, m // lines, lines, row_groups, rank)), axis=(2, 4))
        scores = summed if scores is None else scores + summed
        captured = caught if captured is None else captured + caught
    return Fit(scores, captured)


def block_parts(grid: Array, row_groups: int, col_groups: int, rank: int) -> Parts:
    """Approximate the blocks of a grid, and give the grids of their left and right parts."""
    xp = namespace(grid)
    s, t, m, n = grid.shape
    u, q, p, v = row_groups, col_groups, m // row_groups, n // col_groups
    r = min(rank, p, v)
    blocks = block_view(grid, u, q)
    basis = leading_rows(blocks, r, rounds=PART_ROUNDS)
    left = xp.matmul(blocks, adjoint(basis))  # (5), shape (S, T, u, q, p, r)
    if r > 1:  # rotate to the singular vectors, so that the right parts can carry their scale
        turn = xp.linalg.eigh(xp.matmul(adjoint(left), left)).eigenvectors
        left, basis = xp.matmul(left, turn), xp.matmul(adjoint(turn), basis)
    scale = xp.sqrt(squared_norms(xp.matrix_transpose(left)))[..., None]
    right = basis * xp.astype(scale, basis.dtype)
    left = xp.reshape(xp.permute_dims(left, (0, 2, 1, 4, 3, 5)), (s * u, t, p, q * r))
    right = xp.reshape(xp.permute_dims(right, (0, 1, 3, 2, 4, 5)), (s, t * q, u * r, v))
    return Parts(left, right)


def permute_rows(grid: Array, order: Array, *, lines: int = 1) -> Array:
    """Grid whose row items are taken in the order (S, m) of each row of the grid."""
    xp = namespace(grid)
    s, t, m, n = grid.shape
    index = xp.reshape(order[:, :, None] * lines + xp.arange(lines, device=array_api_compat.device(order)), (s, m))
    if s == 1:
        return xp.take(grid, index[0, :], axis=2)
    index = index + m * xp.arange(s, device=array_api_compat.device(order))[:, None]
    flat = xp.reshape(xp.permute_dims(grid, (0, 2, 1, 3)), (s * m, t, n))
    return xp.permute_dims(xp.reshape(xp.take(flat, xp.reshape(index, (-1,)), axis=0), (s, m, t, n)), (0, 2, 1, 3))


def unit_rows(rows: Array) -> Array:
    """Rows scaled to norm one, of shape (..., v); zero rows stay zero."""
    norms = namespace(rows).sqrt(squared_norms(rows))
    return rows / nonzero_divisor(norms, rows)[..., None]


def squared_moduli(entries: Array) -> Array:
    """Squared moduli of entries, in their precision."""
    xp = namespace(entries)
    if is_complex(xp, entries.dtype):
        return xp.real(entries) ** 2 + xp.imag(entries) ** 2
    return entries * entries


def _column_groups(grid: Array, width: int, col_groups: int) -> Iterator[Array]:
    """Ranges of whole column groups whose products with ``width`` basis rows stay small."""
    s, t, m, n = grid.shape
    step = max(1, min(col_groups, PRODUCT_BYTES // (16 * s * t * m * width)))
    v = n // col_groups
    for first in range(0, col_groups, step):
        yield grid[:, :, :, first * v : min(first + step, col_groups) * v]


def _own_squares(squares: Array, row_groups: int, rank: int) -> Array:
    """Scores (1) of the rows in their own group, shape (S, T, g, u, p), from squared products (S, T, g, m, u*r)."""
    xp = namespace(squares)
    s, t, g, m, _ = squares.shape
    folded = xp.reshape(squares, (s, t, g, row_groups, m // row_groups, row_groups, rank))
    summed = xp.sum(folded, axis=-1) if rank > 1 else folded[..., 0]
    return xp.matrix_transpose(xp.linalg.diagonal(xp.permute_dims(summed, (0, 1, 2, 4, 3, 5))))


def _leave_out_self(squares: Array, own: Array, rows: Array) -> Array:
    """Scores of rank one, in which the score of a row in its own group is that without the row itself."""
    xp = namespace(squares)
    s, t, g, m, u = squares.shape
    p = m // u
    energy = xp.reshape(xp.astype(squared_norms(rows), squares.dtype), (s, t, g, u, p))
    block = xp.sum(own, axis=-1, keepdims=True)  # (3): s^2, as own is |a|^2
    rest = xp.where(block - energy > NO_ENERGY * block, block - energy, xp.zeros_like(block))  # (3): s^2 - e
    beneath = block * block - 2 * block * own + own * energy
    alone = own * rest * rest / xp.where(beneath > 0, beneath, xp.ones_like(beneath))  # (3)
    # As |a|^2 <= e, (3) is at most (1) where e <= 2 s^2. Elsewhere, and where rounding says otherwise, nothing is lost.
    loss = xp.where(alone < own, own - alone, xp.zeros_like(own))
    group = xp.arange(m, device=array_api_compat.device(squares)) // p
    is_own = group[:, None] == xp.arange(u, device=array_api_compat.device(squares))[None, :]
    return squares - xp.reshape(loss, (s, t, g, m, 1)) * xp.astype(is_own, squares.dtype)
