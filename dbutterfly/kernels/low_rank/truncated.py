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

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import Array, entry_bytes, host_array, namespace
from ..backend.stacks import STACK_BYTES
from ..linalg import adjoint, squared_norms

__all__ = ["Truncated", "cut_rank", "energy_of", "low_rank_of", "low_rank_within", "low_ranks_within", "rank_within"]

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


KEPT = 16
"""Sets of random columns that are kept. Not tuned: the blocks of a matrix have few different widths."""


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
    allowed, most, expected
        As for :func:`low_ranks_within`.

    Returns
    -------
    Truncated or None
        None where more than ``most`` columns would be needed.
    """
    return low_ranks_within(matrix[None, ...], allowed, most, expected)[0]


def low_ranks_within(blocks: Array, allowed: float, most: int, expected: int = STEP) -> list[Truncated | None]:
    """Approximate each matrix of a stack by one of the least rank that leaves no more than a given squared error.

    All go through the first round of (1) together, which most of them do with. A small matrix takes a third of the time
    that it takes by itself.

    Parameters
    ----------
    blocks : array, shape (k, m, n)
        The matrices, of a floating or complex dtype.
    allowed : float
        Squared error that may be left of each.
    most : int
        Largest rank of use.
    expected : int
        Rank that is expected: the first round has a few columns more.

    Returns
    -------
    list of Truncated or None
        None where more than ``most`` columns would be needed.
    """
    xp, energies = namespace(blocks), host_array(namespace(blocks).sum(squared_norms(blocks), axis=-1))
    found: list[Truncated | None] = [
        _zeros(blocks[at, ...], float(energy)) if energy <= allowed else None for at, energy in enumerate(energies)
    ]
    open_ = [at for at, cut in enumerate(found) if cut is None]
    width = min(expected + SPARE_COLUMNS, *blocks.shape[1:])
    if not open_ or width <= 0 or most <= 0:
        return found
    if len(open_) < len(found):
        blocks = xp.stack([blocks[at, ...] for at in open_])
    bases = xp.linalg.qr(xp.matmul(blocks, _random_columns(blocks, width, 0)))[0]
    parts = xp.matmul(adjoint(bases), blocks)
    left = host_array(_missed_energies(blocks, bases, parts)).tolist()
    cuts: list[Any] = _cut_stack(bases, parts) if min(left) <= MISSED * allowed else []
    for at, (where, missed) in enumerate(zip(open_, left, strict=True)):
        known = float(energies[where]), missed
        if missed <= MISSED * allowed:
            lefts, rights, spectra = cuts
            cut = Truncated(lefts[at, ...], rights[at, ...], spectra[at], *known)
            found[where] = _keep_within(cut, allowed, most)
        else:
            found[where] = _extend(blocks[at, ...], (bases[at, ...], parts[at, ...]), known, allowed, most)
    return found


def _missed_energies(blocks: Array, bases: Array, parts: Array) -> Array:
    """``||R||^2`` of (1) after one round, which is formed some rows at a time, so that it stays in the cache."""
    xp, (count, rows, cols) = namespace(blocks), blocks.shape
    step = max(1, STACK_BYTES // max(count * cols * entry_bytes(xp, blocks.dtype), 1))
    missed = xp.zeros(count, dtype=xp.float64, device=blocks.device)
    for first in range(0, rows, step):
        some = slice(first, first + step)
        rest = xp.matmul(bases[:, some, :], parts)
        rest -= blocks[:, some, :]
        missed = missed + xp.sum(squared_norms(rest), axis=-1)
    return missed


def _cut_stack(bases: Array, parts: Array) -> list[Any]:
    """Orthonormal columns, rows that carry the scale, and singular values, of products of a stack."""
    xp = namespace(parts)
    turns, values, _ = xp.linalg.svd(adjoint(_triangle_of(adjoint(parts))), full_matrices=False)
    return [xp.matmul(bases, turns), xp.matmul(adjoint(turns), parts), host_array(values).astype(np.float64)]


def _triangle_of(matrices: Array) -> Array:
    """R of the QR of a matrix, or of each of a stack. NumPy can spare Q, which takes nearly as long."""
    if isinstance(matrices, np.ndarray):
        return np.linalg.qr(matrices, mode="r")
    return namespace(matrices).linalg.qr(matrices)[1]


def _keep_within(cut: Truncated, allowed: float, most: int) -> Truncated | None:
    """The first directions that leave little enough, where these are no more than are of use."""
    rank = rank_within(cut.values, allowed - cut.rest)
    return None if rank > most else cut._replace(left=cut.left[:, :rank], right=cut.right[:rank, :])


def _extend(
    matrix: Array, first: tuple[Array, Array], energies: tuple[float, float], allowed: float, most: int
) -> Truncated | None:
    """Further rounds (1) for a matrix of which the first one misses too much."""
    xp, (basis, part), (energy, left) = namespace(matrix), first, energies
    rest, parts, goal = matrix - xp.matmul(basis, part), [part], MISSED * allowed
    while left > goal:
        before, found = left, basis.shape[1]
        width = min(max(STEP, found), *(size - found for size in matrix.shape))
        if width <= 0 or found >= most:
            return None
        columns = _orthonormal(xp.matmul(rest, _random_columns(matrix, width, found)), basis)
        part = xp.matmul(adjoint(columns), rest)
        rest = rest - xp.matmul(columns, part)
        left = energy_of(rest)
        basis = xp.concat((basis, columns), axis=1)
        parts.append(part)
        if _needs_too_many(before, left, width, goal, most - found - width):
            return None
    return _keep_within(cut_rank(basis, xp.concat(parts, axis=0), (energy, left), most + 1), allowed, most)


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
    numbers = _normal_numbers(matrix.shape[-1], width, found)
    return namespace(matrix).asarray(numbers, dtype=matrix.dtype, device=matrix.device)


@functools.lru_cache(maxsize=KEPT)
def _normal_numbers(rows: int, cols: int, seed: int) -> NDArray[np.float64]:
    """Normal numbers, which take longer to draw than to multiply by."""
    return np.random.default_rng(seed).standard_normal((rows, cols))


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
    left, values, _ = xp.linalg.svd(adjoint(_triangle_of(adjoint(part))), full_matrices=False)
    spectrum = host_array(values).astype(np.float64)
    turn = left[:, :rank]
    return Truncated(xp.matmul(basis, turn), xp.matmul(adjoint(turn), part), spectrum, *energies)


def rank_within(values: NDArray[np.float64], allowed: float) -> int:
    """Least rank that leaves at most a squared error of singular values in descending order."""
    tails = np.cumsum(values[::-1] ** 2)  # of the last values, from the last one on
    return values.size - int(np.searchsorted(tails, max(allowed, 0.0), side="right"))
