r"""Singular values of the blocks of a stack: what lies beyond the first ones, and matrices whose first ones are less.

With ``h(A) = sum_{i<=r} s_i^2`` the energy that rank r captures of a block A, and ``c > 0``,

    (1)  argmin_A  h(A) + c/2 ||A - B||^2

has the singular vectors of B and smaller singular values. A singular value b of B becomes

    (2)  b / (1 + 2 w / c),    0 <= w <= 1,    sum of the w = r

where w is one for the first r of them, as long as these stay above the next ones, and zero for the rest. Where they
would not, some of both become equal to a common value m: their weights are ``w = (c/2) (b/m - 1)``, which decides m.
"""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, any_true, namespace
from ..linalg import adjoint, squared_norms

__all__ = ["Shrunk", "shrink_leading", "trailing_energies"]

HALVINGS = 50
"""Halvings of the interval in which the common value of (2) is looked for; more than the digits of double precision."""


class Shrunk(NamedTuple):
    """Matrices (1), shape (n, p, v), and the energies h of each, in float64, shape (n,)."""

    blocks: Array
    leading: Array


def trailing_energies(blocks: Array, rank: int) -> Array:
    """Energies ``sum_{i>r} s_i^2``, in float64, of the blocks of a stack: their squared distances to rank r.

    Parameters
    ----------
    blocks : array, shape (n, p, v), real or complex floating
    rank : int
        Rank r.
    """
    values = namespace(blocks).linalg.svdvals(blocks)
    return squared_norms(values[:, min(rank, values.shape[1]) :])


def shrink_leading(blocks: Array, rank: int, coupling: float) -> Shrunk:
    """Matrices (1) for the blocks B of a stack.

    They are formed from the eigenvectors of the Gram matrix of the short side, whose small eigenvalues are rounding:
    singular values far below the first one stay what they are in any case.

    Parameters
    ----------
    blocks : array, shape (n, p, v), real or complex floating
    rank : int
        Rank r.
    coupling : float
        The number c.
    """
    xp = namespace(blocks)
    if blocks.shape[1] > blocks.shape[2]:
        found, leading = shrink_leading(adjoint(blocks), rank, coupling)
        return Shrunk(adjoint(found), leading)
    squares, vectors = xp.linalg.eigh(xp.matmul(blocks, adjoint(blocks)))  # ascending
    values = xp.sqrt(xp.maximum(squares, xp.zeros_like(squares)))
    weights = _weights(values, min(rank, values.shape[1]), coupling)
    taken = weights / (weights + coupling / 2)
    leading = squared_norms(((1 - taken) * values)[:, max(values.shape[1] - rank, 0) :])
    factors = vectors * xp.astype(taken, blocks.dtype)[:, None, :]
    return Shrunk(blocks - xp.matmul(factors, xp.matmul(adjoint(vectors), blocks)), leading)


def _weights(values: Array, rank: int, coupling: float) -> Array:
    """Weights w of (2) for ascending singular values (n, k), of which at least ``rank`` there are."""
    xp = namespace(values)
    k = values.shape[1]
    first = xp.astype(xp.arange(k, device=values.device) >= k - rank, values.dtype)
    weights = xp.broadcast_to(first, values.shape)
    if rank == k:
        return weights
    crossing = values[:, k - rank] < values[:, k - rank - 1] * (1 + 2 / coupling)
    if not any_true(crossing):
        return weights
    # The sum of the weights rises with 1/m: from 0 at 1/b of the largest one to at least r where the r-th has w = 1.
    largest = xp.where(values[:, k - rank] > 0, values[:, k - rank], xp.ones_like(values[:, 0]))
    low, high = xp.zeros_like(largest), (1 + 2 / coupling) / largest
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        reaches = xp.sum(_weights_at(values, middle, coupling), axis=1) >= rank
        low, high = xp.where(reaches, low, middle), xp.where(reaches, middle, high)
    return xp.where(crossing[:, None], _weights_at(values, high, coupling), weights)


def _weights_at(values: Array, inverse: Array, coupling: float) -> Array:
    """Weights for a common value m of which ``inverse`` is 1/m."""
    return namespace(values).clip((coupling / 2) * (values * inverse[:, None] - 1), 0.0, 1.0)
