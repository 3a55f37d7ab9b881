r"""Approximation of every block of a stack from products of the block and of its adjoint with random vectors.

Two products of a block Z (p x v) are known, with more vectors in Psi than in Omega:

    (1)  Y = Z Omega,    W = Psi^H Z

With Q an orthonormal basis of the range of Y, the block is near ``Q Q^H Z``, of which W tells the rows:
``Psi^H Q (Q^H Z) = W`` up to what lies beyond Q. The least-squares solution

    (2)  Z ~ Q X,    X = (Psi^H Q)^+ W

is the generalized Nystroem approximation ``Y (Psi^H Y)^+ W``, computed such that a Y of lesser rank does no harm: Psi
is independent of Q, so that ``Psi^H Q``, twice as tall as wide, is well conditioned whatever the block (Tropp et al.).
With s and t vectors in Omega and Psi, and ``E = Z - Q Q^H Z``, the expected squared error is

    (3)  ||E||^2 (1 + s / (t - s - 1))

about twice that of the range alone. E belongs to the rank s: the cut to the rank wanted, by the singular values of X,
comes last.

A product with one more normal vector w estimates energies, for the approximation ``L_r R_r`` of rank r and the
directions T beyond r, which are known:

    (4)  E |(Z - L_r R_r) w|^2 = ||Z - L_r R_r||^2
    (5)  E [|(Z - L_r R_r) w|^2 - |T w|^2 + ||T||^2] = ||Z - L_r R_r||^2

The second estimate fluctuates with what is unknown only.
"""

from __future__ import annotations

from typing import NamedTuple

from ..backend import Array, namespace
from ..linalg import adjoint
from .pivots import ROUNDING_UNITS, column_squares

__all__ = ["Sketched", "nystrom", "probed_energies"]


class Sketched(NamedTuple):
    """Approximations ``left^T right`` of blocks; leading axes are those of the products.

    Attributes
    ----------
    left : array, shape (..., k, p)
        Columns of the left part, orthogonal and descending: they carry the scale.
    right : array, shape (..., k, v)
        Orthonormal rows; zero where the block has no such direction.
    squares : array of float64, shape (..., k)
        Energies of the directions, the squared norms of the rows of ``left``.
    """

    left: Array
    right: Array
    squares: Array


def nystrom(columns: Array, rows: Array, tests: Array, rank: int) -> Sketched:
    """Approximate every block by rank ``rank`` from its products.

    Parameters
    ----------
    columns : array, shape (..., s, p)
        ``Z Omega``, transposed: products with vectors that are independent of ``tests``. Neither p nor v is below s.
    rows : array, shape (..., t, v)
        ``Psi^H Z``, with t > s.
    tests : array, shape (..., p, t)
        Psi; leading axes may be 1.
    rank : int
        Directions wanted, at most s; those that a block does not have are zero.

    Returns
    -------
    Sketched
        Each block depends on its own products only.

    References
    ----------
    Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 53 (2011); Tropp, Yurtsever, Udell and
    Cevher, "Practical sketching algorithms for low-rank matrix approximation", SIAM J. Matrix Anal. Appl. 38 (2017),
    algorithm 4; Nakatsukasa, "Fast and stable randomized low-rank matrix approximation", arXiv 2009.11392.
    """
    xp = namespace(columns)
    basis, _ = xp.linalg.qr(xp.matrix_transpose(columns))
    # (2): the pseudo-inverse by the QR decomposition of Psi^H Q.
    seen, triangle = xp.linalg.qr(xp.matmul(adjoint(tests), basis))
    inner = xp.linalg.solve(triangle, xp.matmul(adjoint(seen), rows))
    outer, small = xp.linalg.qr(adjoint(inner))
    u, values, vh = xp.linalg.svd(adjoint(small), full_matrices=False)
    floor = ROUNDING_UNITS * float(xp.finfo(columns.dtype).eps) * values[..., :1]
    values = xp.where(values > floor, values, xp.zeros_like(values))
    there = xp.astype(xp.astype(values > 0, values.dtype), columns.dtype)[..., None]
    left = xp.matmul(basis, u * xp.astype(values, columns.dtype)[..., None, :])
    right = xp.matmul(vh, adjoint(outer)) * there
    squares = xp.astype(values, xp.float64) ** 2
    return Sketched(xp.matrix_transpose(left)[..., :rank, :], right[..., :rank, :], squares[..., :rank])


def probed_energies(found: Sketched, vectors: Array, products: Array, ranks: tuple[int, ...]) -> Array:
    """Estimates of ``||Z||^2``, and of ``||Z - left_r^T right_r||^2`` for some ranks r, from products with vectors.

    Parameters
    ----------
    found : Sketched
        The approximations.
    vectors : array, shape (..., n, v)
        Normal vectors w that the approximations do not know of; leading axes may be 1.
    products : array, shape (..., n, p)
        ``Z w``.
    ranks : tuple of int
        Numbers r of directions to take.

    Returns
    -------
    array of float64, shape (..., 1 + number of ranks)
        Without bias, but for estimates below zero, which are taken as zero.
    """
    xp = namespace(products)
    weights = xp.matmul(vectors, xp.matrix_transpose(found.right))
    rest = products - xp.matmul(weights, found.left)  # (Z - L R) w, with all directions
    known = xp.astype(xp.abs(weights), xp.float64) ** 2 * found.squares[..., None, :]
    energies = []
    for rank in (0, *ranks):  # (5); rank 0 is the energy of the block
        beyond = rest + xp.matmul(weights[..., rank:], found.left[..., rank:, :])
        drawn = column_squares(xp.matrix_transpose(beyond)) - xp.sum(known[..., rank:], axis=-1)
        energies.append(xp.mean(drawn, axis=-1) + xp.sum(found.squares[..., rank:], axis=-1))
    joined = xp.stack(energies, axis=-1)
    return xp.maximum(joined, xp.zeros_like(joined))
