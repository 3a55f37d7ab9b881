r"""Interpolative decompositions of a stack of matrices: columns written as combinations of a few of them.

Of the columns of a matrix A (m x n), the *skeleton* J is chosen by pivoted elimination
(:mod:`dbutterfly.kernels.low_rank.pivots`), which gives a triangle R, and

    (1)  A ~ A[:, J] P,    P = R[:, J]^-1 R,    P[:, J] = I

Elimination ends when what is left has a mean square of at most a floor, or is rounding. The coefficients fit all m rows
in the sense of least squares up to what the triangle leaves. Rows that were not used say how well they hold elsewhere
(:func:`interpolation_residual`).

Every matrix is divided by its largest entry first: nothing leaves the range of its dtype, whatever the scale of A.
(Cheng, Gimbutas, Martinsson and Rokhlin, "On the compression of low rank matrices", SIAM J. Sci. Comput. 26, 2005.)
"""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, any_true, is_complex, namespace
from ..linalg import adjoint
from .pivots import ROUNDING_UNITS, take_entries

__all__ = ["Interpolation", "interpolate", "interpolation_residual"]


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


def interpolate(matrices: Array, most: int, floor: Array) -> Interpolation:
    """Choose skeleton columns of every matrix of a stack, and write all columns by them.

    Parameters
    ----------
    matrices : array, shape (B, m, n)
        The matrices.
    most : int
        Largest size of a skeleton, from one on. No more than m and n are of use.
    floor : array of float64, shape (B,)
        Mean square of what may be left of an entry of each matrix.
    """
    xp = namespace(matrices)
    _, height, width = matrices.shape
    scale = xp.max(xp.abs(matrices), axis=(1, 2))
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    wide = xp.astype(scale, xp.float64)
    allowed = xp.sqrt(floor) / wide
    rest = matrices / xp.astype(scale, matrices.dtype)[:, None, None]
    entry = xp.sum(_column_squares(rest), axis=1)
    found = _eliminate(rest, min(most, height, width), allowed * allowed * (height * width))
    return Interpolation(
        found.pivots,
        _coefficients(found),
        xp.sum(xp.astype(found.kept, xp.int64), axis=1),
        found.left / (height * width) * wide * wide,
        entry / (height * width) * wide * wide,
    )


class _Elimination(NamedTuple):
    """Pivots (B, k), whether each is one (B, k), triangle (B, k, n), and the energy that is left (B,)."""

    pivots: Array
    kept: Array
    triangle: Array
    left: Array


def _eliminate(rest: Array, most: int, allowed: Array) -> _Elimination:
    """Pivoted elimination of matrices (B, m, n), which are changed, until no more energy is left than is allowed.

    There are ``most`` steps in the result, the last of which may be empty: a system of equations of another size would
    be solved with other roundings.
    """
    xp = namespace(rest)
    here = xp.arange(rest.shape[2], dtype=xp.int64, device=rest.device)
    score = _column_squares(rest)
    eps = float(xp.finfo(rest.dtype).eps)
    least = (ROUNDING_UNITS * eps) ** 2 * xp.max(score, axis=1)
    live, free = xp.ones_like(least, dtype=xp.bool), xp.ones_like(score, dtype=xp.bool)
    pivots: list[Array] = []
    kept: list[Array] = []
    triangle: list[Array] = []
    for _ in range(most):
        best = xp.argmax(xp.where(free, score, -1.0), axis=1, keepdims=True)
        top = xp.take_along_axis(score, best, axis=1)[:, 0]
        live = live & (top > least) & (xp.sum(xp.where(free, score, 0.0), axis=1) > allowed)
        if pivots and not any_true(live):
            break
        norm = xp.astype(xp.where(live, xp.sqrt(top), xp.ones_like(top)), rest.dtype)
        unit = xp.where(live[:, None, None], take_entries(rest, best) / norm[:, None, None], 0)
        kept.append(live)
        pivots.append(xp.astype(xp.where(live[:, None], best, 0), xp.int64))
        triangle.append(xp.matmul(adjoint(unit), rest))
        rest -= unit * triangle[-1]
        free = free & ~((here == best) & live[:, None])
        score = _column_squares(rest)
    for _ in range(len(pivots), most):
        kept.append(xp.zeros_like(live))
        pivots.append(xp.zeros_like(pivots[0]))
        triangle.append(xp.zeros_like(triangle[0]))
    left = xp.sum(xp.where(free, score, 0.0), axis=1)
    return _Elimination(xp.concat(pivots, axis=1), xp.stack(kept, axis=1), xp.concat(triangle, axis=1), left)


def interpolation_residual(found: Interpolation, matrices: Array) -> Array:
    """Mean square of what an interpolation leaves of other rows of its columns.

    Parameters
    ----------
    found : Interpolation
        Decompositions of B matrices.
    matrices : array, shape (B, h, n)
        Other rows of the same columns.

    Returns
    -------
    array of float64, shape (B,)
    """
    xp = namespace(matrices)
    _, height, width = matrices.shape
    missed = matrices - xp.matmul(take_entries(matrices, found.pivots), found.coefficients)
    modulus = xp.astype(xp.abs(missed), xp.float64)
    return xp.sum(modulus * modulus, axis=(1, 2)) / (height * width)


def _coefficients(found: _Elimination) -> Array:
    """Coefficients (1), from a triangle whose columns are where they were."""
    pivots, kept, triangle, _ = found
    xp = namespace(triangle)
    unit = xp.eye(pivots.shape[1], dtype=triangle.dtype, device=triangle.device)
    square = xp.where(kept[:, :, None] & kept[:, None, :], take_entries(triangle, pivots), unit)
    solved = xp.linalg.solve(square, triangle)
    here = xp.arange(triangle.shape[2], dtype=xp.int64, device=triangle.device)
    chosen = (pivots[:, :, None] == here) & kept[:, :, None]
    exact = xp.any(chosen, axis=1, keepdims=True)
    return xp.where(exact, xp.astype(chosen, triangle.dtype), xp.where(kept[:, :, None], solved, 0))


def _column_squares(vectors: Array) -> Array:
    """Squared norms over the last but one axis, summed in float64, of entries of modulus one at most."""
    xp = namespace(vectors)
    if is_complex(xp, vectors.dtype):
        re, im = xp.real(vectors), xp.imag(vectors)
        squares = re * re + im * im
    else:
        squares = vectors * vectors
    return xp.sum(squares, axis=-2, dtype=xp.float64)
