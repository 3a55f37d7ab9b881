r"""Approximation of one large matrix by one of low rank, to a squared error that is given, with a proof of both.

Columns are multiplied by a random matrix W, whose images span most of the range, and what they do not capture takes the
place of the matrix, until little enough is left (Martinsson and Voronin, "A randomized blocked algorithm for
efficiently computing rank-revealing factorizations of matrices", 2016):

    (1)  Q_k = orth(R W),    B_k = Q_k^H R,    R <- R - Q_k B_k

What is left is at hand, so that its energy is known without a difference of large numbers. With all columns together,
``Z = Q B + R`` and ``Q^H R = 0`` up to rounding, and with the singular values of ``B = U S V^H`` cut to the rank r

    (2)  ||Z - (Q U_r) (S_r V_r^H)||^2 = ||R||^2 + sum_{i > r} s_i^2
    (3)  ||Z - Y||^2 >= sum_{i > r} s_i^2                             for every Y of rank r,

the latter since ``B = Q^H Z`` has no larger singular values than Z.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import Array, host_array, namespace
from ..linalg import adjoint, squared_norms

__all__ = ["Truncated", "cut_rank", "energy_of", "low_rank_of", "low_rank_within", "rank_within"]

STEP = 16
"""Least columns of the random matrix of a round after the first one; there are twice as many altogether after each. Not
tuned."""

SPARE_COLUMNS = 8
"""Columns of the random matrix beyond the rank that is expected. Not tuned: with fewer, most blocks need a second
round."""


MISSED = 0.25
"""Part of the squared error allowed that the random columns may miss. Not tuned: with a quarter, the error is within
1.16 times what any matrix of this rank has."""

HOPE = 1.5
"""Columns that there may be over those that the fall of the energy in the second and later rounds foretells. Not tuned.

Spectra of oscillatory kernels are flat up to a knee. Where the first round told, 16 of 40 blocks of 512 x 512 of the
Helmholtz kernel on a circle, at ranks 28 and 30, were taken to be of no low rank after 20 columns."""


POWERS = 1
"""Times that the columns go through the matrix and back where a rank is given. Not tuned: singular values beyond the
rank are damped to their cube."""


class Truncated(NamedTuple):
    """A matrix of low rank near another one.

    Attributes
    ----------
    left : array, shape (m, r)
        Orthonormal columns.
    right : array, shape (r, n)
        Rows that carry the scale, orthogonal and descending.
    values : array of float64, shape (k,)
        All singular values that were found, on the host; the factors have the first r.
    energy : float
        Energy of the matrix.
    rest : float
        Energy of what the singular values do not have.
    """

    left: Array
    right: Array
    values: NDArray[np.float64]
    energy: float
    rest: float


def energy_of(matrix: Array) -> float:
    """Sum of the squared moduli of the entries of a matrix, in float64. On a device, the host waits."""
    return float(host_array(namespace(matrix).sum(squared_norms(matrix))))


def low_rank_within(matrix: Array, allowed: float, most: int, expected: int = STEP) -> Truncated | None:
    """Approximate a matrix by one of the least rank that leaves no more than a given squared error.

    Parameters
    ----------
    matrix : array, shape (m, n)
        The matrix, of a floating or complex dtype.
    allowed : float
        Squared error that may be left.
    most : int
        Largest rank of use.
    expected : int
        Rank that is expected: the first round has a few columns more.

    Returns
    -------
    Truncated or None
        None where more than ``most`` columns would be needed.
    """
    energy = energy_of(matrix)
    if energy <= allowed:
        return _zeros(matrix, energy)
    xp, rest, left = namespace(matrix), matrix, energy
    basis, parts = None, []
    width = min(expected + SPARE_COLUMNS, *matrix.shape)
    while left > MISSED * allowed:
        before, found = left, 0 if basis is None else basis.shape[1]
        width = min(width, *(size - found for size in matrix.shape))
        if width <= 0 or found >= most:
            return None
        columns = _orthonormal(xp.matmul(rest, _random_columns(matrix, width, found)), basis)
        part = xp.matmul(adjoint(columns), rest)
        rest = rest - xp.matmul(columns, part)
        left = energy_of(rest)
        basis = columns if basis is None else xp.concat((basis, columns), axis=1)
        parts.append(part)
        if found and _needs_too_many(before, left, width, MISSED * allowed, most - found - width):
            return None
        width = max(STEP, basis.shape[1])
    cut = cut_rank(basis, xp.concat(parts, axis=0), (energy, left), most + 1)
    rank = rank_within(cut.values, allowed - left)
    return None if rank > most else cut._replace(left=cut.left[:, :rank], right=cut.right[:rank, :])


def low_rank_of(matrix: Array, rank: int) -> Truncated:
    """Approximate a matrix by one of a given rank.

    Parameters
    ----------
    matrix : array, shape (m, n)
        The matrix, of a floating or complex dtype.
    rank : int
        Rank, or more than the matrix has rows or columns.
    """
    xp, energy = namespace(matrix), energy_of(matrix)
    width = min(rank + SPARE_COLUMNS, *matrix.shape)
    basis = _orthonormal(xp.matmul(matrix, _random_columns(matrix, width, 0)), None)
    for _ in range(POWERS):
        across = _orthonormal(xp.matmul(adjoint(matrix), basis), None)
        basis = _orthonormal(xp.matmul(matrix, across), None)
    part = xp.matmul(adjoint(basis), matrix)
    left = energy_of(matrix - xp.matmul(basis, part))
    return cut_rank(basis, part, (energy, left), rank)


def _random_columns(matrix: Array, width: int, found: int) -> Array:
    """Columns of normal numbers, which depend on how many were found: what is left has lost those of before."""
    numbers = np.random.default_rng(found).standard_normal((matrix.shape[1], width))
    return namespace(matrix).asarray(numbers, dtype=matrix.dtype, device=matrix.device)


def _zeros(matrix: Array, energy: float) -> Truncated:
    """Approximation of rank zero."""
    xp, (rows, cols) = namespace(matrix), matrix.shape
    left, right = (xp.zeros(shape, dtype=matrix.dtype, device=matrix.device) for shape in ((rows, 0), (0, cols)))
    return Truncated(left, right, np.zeros(0), energy, energy)


def _needs_too_many(before: float, after: float, width: int, goal: float, most: int) -> bool:
    """Whether more columns are needed than there may be, if the energy goes on to fall as it did."""
    if after <= goal:
        return False
    if goal == 0 or after >= before:
        return True
    fall = math.log(before / after)
    return width * math.log(after / goal) > HOPE * max(most, 0) * fall


def _orthonormal(columns: Array, basis: Array | None) -> Array:
    """Orthonormal columns that span given ones, and are orthogonal to a basis."""
    xp = namespace(columns)
    if basis is None:
        return xp.linalg.qr(columns)[0]
    for _ in range(2):  # columns that nearly lie in the span of the basis are little more than rounding at first
        columns = columns - xp.matmul(basis, xp.matmul(adjoint(basis), columns))
        columns = xp.linalg.qr(columns)[0]
    return columns


def cut_rank(basis: Array, part: Array, energies: tuple[float, float], rank: int) -> Truncated:
    """Cut a product of two matrices to a rank.

    Parameters
    ----------
    basis : array, shape (m, k)
        Orthonormal columns.
    part : array, shape (k, n)
        What they are multiplied by.
    energies : pair of float
        Energy of the matrix, and of what the product leaves of it.
    rank : int
        Rank.
    """
    xp = namespace(part)
    left, values, _ = xp.linalg.svd(adjoint(xp.linalg.qr(adjoint(part))[1]), full_matrices=False)
    spectrum = host_array(values).astype(np.float64)
    turn = left[:, :rank]
    return Truncated(xp.matmul(basis, turn), xp.matmul(adjoint(turn), part), spectrum, *energies)


def rank_within(values: NDArray[np.float64], allowed: float) -> int:
    """Least rank that leaves at most a squared error of singular values in descending order."""
    tails = np.append(np.cumsum(values[::-1] ** 2)[::-1], 0.0)
    return int(np.argmax(tails <= max(allowed, 0.0)))
