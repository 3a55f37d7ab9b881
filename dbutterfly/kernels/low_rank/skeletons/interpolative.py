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

from ...backend import Array, any_true, is_complex, namespace
from ...linalg import adjoint
from ..pivots import ROUNDING_UNITS, take_entries
from .compiled import interpolate_stack
from .interpolation import Interpolation

__all__ = ["Interpolation", "interpolate", "interpolation_residual", "remainders"]

CANCELLING_UNITS = 64
"""Units in the last place of the largest squared norm at the last look, below which what is left of it is formed anew.

Not tuned: differences are off by a few units, which are a tenth of what is left then.
"""


def interpolate(matrices: Array, most: int, floor: Array, *, compiled: bool = False) -> Interpolation:
    """Choose skeleton columns of every matrix of a stack, and write all columns by them.

    Parameters
    ----------
    matrices : array, shape (B, m, n)
        The matrices.
    most : int
        Largest size of a skeleton, from one on. No more than m and n are of use.
    floor : array of float64, shape (B,)
        Mean square of what may be left of an entry of each matrix.
    compiled : bool
        Whether NumPy arrays go through the compiled loop, which agrees up to rounding.
    """
    if compiled:
        return interpolate_stack(matrices, most, floor)
    xp = namespace(matrices)
    _, height, width = matrices.shape
    rest, wide, allowed = _scale(matrices, floor)
    entry = xp.sum(_column_squares(rest), axis=1)
    found = _eliminate(rest, min(most, height, width), allowed)
    return Interpolation(
        found.pivots,
        _coefficients(found),
        xp.sum(xp.astype(found.kept, xp.int64), axis=1),
        found.left / (height * width) * wide * wide,
        entry / (height * width) * wide * wide,
    )


def remainders(matrices: Array, most: int, floor: Array) -> Array:
    """Mean squares of what is left of an entry of each matrix after 0, 1, ..., ``most`` columns of its skeleton.

    Parameters
    ----------
    matrices, most, floor
        As for :func:`interpolate`. Where elimination has ended, nothing changes any more.

    Returns
    -------
    array of float64, shape (B, most + 1)
    """
    xp = namespace(matrices)
    _, height, width = matrices.shape
    rest, wide, allowed = _scale(matrices, floor)
    found = _eliminate(rest, min(most, height, width), allowed)
    last = xp.repeat(found.left[:, None], most + 1 - found.energies.shape[1], axis=1)
    return xp.concat([found.energies, last], axis=1) / (height * width) * (wide * wide)[:, None]


def _scale(matrices: Array, floor: Array) -> tuple[Array, Array, Array]:
    """Matrices divided by their largest entries, these, and the energies that may be left of them."""
    xp = namespace(matrices)
    _, height, width = matrices.shape
    scale = xp.max(xp.abs(matrices), axis=(1, 2))
    scale = xp.where(scale > 0, scale, xp.ones_like(scale))
    wide = xp.astype(scale, xp.float64)
    allowed = xp.sqrt(floor) / wide
    return matrices / xp.astype(scale, matrices.dtype)[:, None, None], wide, allowed * allowed * (height * width)


class _Elimination(NamedTuple):
    """Pivots (B, k), whether each is one (B, k), triangle (B, k, n); energies before each (B, k), after all (B,)."""

    pivots: Array
    kept: Array
    triangle: Array
    energies: Array
    left: Array


def _eliminate(rest: Array, most: int, allowed: Array) -> _Elimination:
    """Pivoted elimination of matrices (B, m, n), which are changed, until no more energy is left than is allowed.

    There are ``most`` steps in the result, the last of which may be empty: a system of equations of another size would
    be solved with other roundings. Squared norms of what is left of columns are reduced by those of the rows of the
    triangle, and formed anew where the differences are about to be rounding.
    """
    xp = namespace(rest)
    here = xp.arange(rest.shape[2], dtype=xp.int64, device=rest.device)
    score = _column_squares(rest)
    eps = float(xp.finfo(rest.dtype).eps)
    looked_at = xp.max(score, axis=1)
    least = (ROUNDING_UNITS * eps) ** 2 * looked_at
    live, free = xp.ones_like(least, dtype=xp.bool), xp.ones_like(score, dtype=xp.bool)
    pivots: list[Array] = []
    kept: list[Array] = []
    triangle: list[Array] = []
    energies: list[Array] = []
    for _ in range(most):
        top = xp.max(score, axis=1)
        stale = live & (top < CANCELLING_UNITS * eps * looked_at)
        if pivots and any_true(stale):
            score = xp.where(stale[:, None], xp.where(free, _column_squares(rest), 0.0), score)
            top = xp.max(score, axis=1)
            looked_at = xp.where(stale, top, looked_at)
        total = xp.sum(score, axis=1)
        live = live & (top > least) & (total > allowed)
        if pivots and not any_true(live):
            break
        best = xp.argmax(score, axis=1, keepdims=True)
        column = take_entries(rest, best)
        norm = xp.where(live, xp.sqrt(_column_squares(column)[:, 0]), xp.ones_like(top))
        unit = xp.where(live[:, None, None], column / xp.astype(norm, rest.dtype)[:, None, None], 0)
        energies.append(total)
        kept.append(live)
        pivots.append(xp.astype(xp.where(live[:, None], best, 0), xp.int64))
        triangle.append(xp.matmul(adjoint(unit), rest))
        rest -= unit * triangle[-1]
        free = free & ~((here == best) & live[:, None])
        score = xp.where(free, xp.maximum(score - _column_squares(triangle[-1]), xp.zeros_like(score)), 0.0)
    left = xp.sum(xp.where(free, _column_squares(rest), 0.0), axis=1)
    for _ in range(len(pivots), most):
        energies.append(left)
        kept.append(xp.zeros_like(live))
        pivots.append(xp.zeros_like(pivots[0]))
        triangle.append(xp.zeros_like(triangle[0]))
    stacked = xp.stack(kept, axis=1), xp.concat(triangle, axis=1), xp.stack(energies, axis=1)
    return _Elimination(xp.concat(pivots, axis=1), *stacked, left)


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
    pivots, kept, triangle, *_ = found
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
