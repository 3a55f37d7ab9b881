r"""Cross approximation of every block of a grid from a few of its columns and rows, which alone are evaluated.

A block Z (p x v) of rank s up to noise is known from s of its rows I and from columns J of which ``Z[I, J]`` shows that
rank. It is the skeleton

    (1)  Z[:, J] Z[I, J]^+ Z[I, :]

Which rows and columns to take is found from each other:

    (2)  columns J0, spread over the block    ->  rows I: pivoted elimination of the columns
    (3)  rows I                               ->  columns J1: pivoted elimination of the rows, J0 left out
    (4)  Z[:, J] of both, J = (J0, J1)        ->  skeleton, recompressed to the rank wanted

A pivot makes the volume of the crossing grow most, greedily. There are twice as many rows as the rank wanted, and
twice as many columns as rows. The crossing ``Z[I, J]`` is therefore a wide matrix, whose least singular value stays
well above zero: of all ways to write a row of ``Z[I, :]`` by the columns J its pseudo-inverse takes the shortest, by
which the noise of the columns is multiplied. (A square crossing as large would multiply it without bound, one as small
as the rank would do without the directions in which a falling spectrum goes on.) The cut to the rank comes last.

With the singular values of the crossing, ``Z[I, J] = U S V^H``, the skeleton is formed as

    (5)  (Z[:, J] V S^+) (U^H Z[I, :])

both factors of which are bounded. The residual at the entries that are known is at hand. Unknown entries should show
the same residual; a random sample of them tells where they do not, because the pivots missed a part of the block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..backend import Array, namespace
from ..linalg import adjoint
from .pivots import ROUNDING_UNITS, column_squares, pivots, take_entries

__all__ = ["Cross", "cross_grid", "has_unseen_residual", "sampled_residual"]

FAR = 32.0
"""Mean squares of residuals, unknown entries over known ones, above which the pivots have missed a part of the block.

Not tuned: the residual is six times as large there. Two tests in tests/kernels/low_rank/test_cross.py hold it between
blocks of no low rank, which must stay below, and blocks of which the pivots miss a part, which must not.
"""

RESIDUAL_UNITS = 256
"""Residuals below so many units in the last place of the root mean square entry are rounding.

Neither tuned nor measured: well above :data:`dbutterfly.kernels.low_rank.pivots.ROUNDING_UNITS`, since the
pseudo-inverse multiplies rounding.
"""


class Cross(NamedTuple):
    """Approximations ``left^T right`` of the blocks of a grid; leading axes (G, H) are those of the grid.

    Attributes
    ----------
    left : array, shape (G, H, k, p)
        Columns of the left part, orthogonal and descending: they carry the scale.
    right : array, shape (G, H, k, v)
        Orthonormal rows; zero where the block has no such direction.
    squares : array of float64, shape (G, H, k)
        Energies of the directions, the squared norms of the rows of ``left``.
    residual : array of float64, shape (G, H)
        Mean square of ``Z - left^T right`` at the entries that were evaluated.
    entry : array of float64, shape (G, H)
        Mean square of these entries.
    """

    left: Array
    right: Array
    squares: Array
    residual: Array
    entry: Array


def cross_grid(
    columns: Callable[[Array], Array],
    rows: Callable[[Array], Array],
    start: Array,
    priority: tuple[Array, Array],
    *,
    rank: int,
    count: int,
) -> Cross:
    """Approximate every block of a grid by a skeleton.

    Parameters
    ----------
    columns : callable
        Takes column indices within the blocks, shape (G, H, m), and evaluates these columns: shape (G, H, m, p).
    rows : callable
        Takes row indices, shape (G, H, m), and evaluates these rows: shape (G, H, m, v).
    start : array of int64, shape (G, H, m)
        Columns to begin with, all different.
    priority : pair of arrays of float64, shapes (G, H, p) and (G, H, v)
        Numbers from 0 to 1: the row and the column of the largest one are taken where pivots leave the choice.
    rank : int
        Rank k of the approximation; directions that a block does not have are zero.
    count : int
        Rows to evaluate, and further columns.

    Returns
    -------
    Cross
        Each block depends on its own entries, start and priorities only.

    References
    ----------
    Goreinov, Tyrtyshnikov and Zamarashkin, "A theory of pseudoskeleton approximations", Linear Algebra Appl. 261
    (1997); Tyrtyshnikov, "Incomplete cross approximation in the mosaic-skeleton method", Computing 64 (2000); Li, Yang,
    Martin, Ho and Ying, "Butterfly factorization", Multiscale Model. Simul. 13 (2015), which samples rows and columns
    of complementary blocks at random; Nakatsukasa, "Fast and stable randomized low-rank matrix approximation",
    arXiv 2009.11392, for the pseudo-inverse.
    """
    xp = namespace(start)
    first = columns(start)
    chosen = pivots(first, count, priority[0])  # (2)
    known = rows(chosen)
    further = pivots(known, min(count, known.shape[-1] - start.shape[-1]), priority[1], without=start)  # (3)
    picked, values = start, first
    if further.shape[-1]:
        picked = xp.concat((start, further), axis=-1)
        values = xp.concat((first, columns(further)), axis=-2)
    left, right, squares = _skeleton(values, known, picked, rank)  # (4)
    residual, entry = _known_residual(left, right, (values, picked), (known, chosen))
    return Cross(left, right, squares, residual, entry)


def _skeleton(columns: Array, rows: Array, picked: Array, rank: int) -> tuple[Array, Array, Array]:
    """The skeleton cut to a rank, from Z[:, J]^T (..., m, p), Z[I, :] (..., s, v) and the positions J (..., m).

    The factors of (5) are formed first; orthogonal bases of both leave a small matrix, whose singular vectors are those
    of the skeleton.
    """
    xp = namespace(columns)
    u, s, vh = xp.linalg.svd(take_entries(rows, picked), full_matrices=False)
    # S^+: singular values that are rounding, or too small to be divided by, count as zero.
    info = xp.finfo(columns.dtype)
    kept = (s > ROUNDING_UNITS * float(info.eps) * s[..., :1]) & (s > float(info.smallest_normal))
    inverse = xp.where(kept, 1 / xp.where(kept, s, xp.ones_like(s)), xp.zeros_like(s))
    left = xp.matmul(xp.matrix_transpose(columns), adjoint(vh) * xp.astype(inverse, columns.dtype)[..., None, :])  # (5)
    basis, small = xp.linalg.qr(left)
    kept_u = u * xp.astype(xp.astype(kept, s.dtype), u.dtype)[..., None, :]
    cobasis, cosmall = xp.linalg.qr(xp.matmul(adjoint(rows), kept_u))  # (5): adjoint of U^H Z[I, :]
    inner, values, outer = xp.linalg.svd(xp.matmul(small, adjoint(cosmall)), full_matrices=False)
    left = xp.matmul(basis, inner * xp.astype(values, u.dtype)[..., None, :])
    right = xp.matmul(outer, adjoint(cobasis))
    return _truncate(xp.matrix_transpose(left), right, values, rank)


def _truncate(left: Array, right: Array, values: Array, rank: int) -> tuple[Array, Array, Array]:
    """The first ``rank`` of directions in descending order, followed by zeros where there are fewer.

    Rows of the right part are zeroed where the singular value is zero: an orthogonal basis has some vector there.
    """
    xp = namespace(left)
    there = xp.astype(xp.astype(values > 0, values.dtype), right.dtype)[..., None]
    squares = xp.astype(values, xp.float64)[..., None] ** 2
    left, right, squares = (_resize(array, rank) for array in (left, right * there, squares))
    return left, right, squares[..., 0]


def _resize(array: Array, rank: int) -> Array:
    """Arrays (..., rank, n): the first ones of (..., k, n), or all of these and zeros after them."""
    xp = namespace(array)
    missing = rank - array.shape[-2]
    if missing <= 0:
        return array[..., :rank, :]
    shape = (*array.shape[:-2], missing, array.shape[-1])
    return xp.concat((array, xp.zeros(shape, dtype=array.dtype, device=array.device)), axis=-2)


def _known_residual(
    left: Array, right: Array, columns: tuple[Array, Array], rows: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Mean squares of the residual and of the entries in the columns and rows that are known."""
    xp = namespace(left)
    values, picked = columns
    known, chosen = rows
    across = values - xp.matmul(xp.matrix_transpose(take_entries(right, picked)), left)
    down = known - xp.matmul(xp.matrix_transpose(take_entries(left, chosen)), right)
    count = values.shape[-1] * values.shape[-2] + known.shape[-1] * known.shape[-2]
    residual, entry = (
        (xp.sum(column_squares(a), axis=-1) + xp.sum(column_squares(b), axis=-1)) / count
        for a, b in ((across, down), (values, known))
    )
    return residual, entry


def sampled_residual(found: Cross, values: Array, rows: Array, cols: Array) -> tuple[Array, Array]:
    """Mean squares, over a sample of entries, of the residual and of the entries.

    Parameters
    ----------
    found : Cross
        The approximations.
    values : array, shape (G, H, n, m)
        Entries at the crossings of n rows and m columns of each block.
    rows, cols : array of int64, shapes (G, H, n) and (G, H, m)
        Positions of these rows and columns; H may be 1 where all blocks of a row group share them.

    Returns
    -------
    residual, entry : array of float64, shape (G, H)
        Where rows and columns are drawn at random, ``p * v`` times these are unbiased estimates of the energies.
    """
    xp = namespace(values)
    left, right = take_entries(found.left, rows), take_entries(found.right, cols)
    rest = values - xp.matmul(xp.matrix_transpose(left), right)
    count = values.shape[-1] * values.shape[-2]
    return xp.sum(column_squares(rest), axis=-1) / count, xp.sum(column_squares(values), axis=-1) / count


def has_unseen_residual(found: Cross, residual: Array, entry: Array) -> Array:
    """Mask of the blocks of which the pivots have missed a part, as a sample shows.

    Parameters
    ----------
    found : Cross
        The approximations.
    residual, entry : array of float64, shape (G, H)
        Results of :func:`sampled_residual`.

    Returns
    -------
    array of bool, shape (G, H)
        Where the sample has a residual far above that at the known entries, and above rounding. A block that is no
        matrix of this rank shows a large residual at both, and is none of them.
    """
    xp = namespace(residual)
    eps = float(xp.finfo(found.left.dtype).eps)
    return residual > FAR * found.residual + (RESIDUAL_UNITS * eps) ** 2 * xp.maximum(entry, found.entry)
