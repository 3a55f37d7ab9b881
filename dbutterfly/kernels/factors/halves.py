"""Fit the factors of the left halves, and of the right halves, of matrices whose blocks have been approximated.

A left half is fitted to the left parts A of the blocks of a row group, and leaves orthonormal columns X. A right half
is fitted to ``X^H Z``, or after a single read to ``X^H A V^H`` (:mod:`dbutterfly.kernels.factors.hierarchy`). What each
misses is measured beside it, for the certificate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ...structure.chain import Chain
from ...structure.tree import Tree
from ..backend import Array, namespace
from ..linalg import adjoint, multiply_thin, squared_norms
from ..orthonormal import orthonormalizers
from .hierarchy import factor_stack, insert_top, left_matrices, orthonormal_columns
from .nodes import left_rows, right_matrices, right_rows

__all__ = ["LeftHalves", "RightHalves", "fit_left_halves", "fit_right_halves"]


class LeftHalves(NamedTuple):
    """Factors of the left halves of U row groups, and what the right halves and the certificate need of them.

    Attributes
    ----------
    factors : list of array, shape (U, a, b, c, d)
        One array per pattern of the left chain.
    basis : array, shape (U, q, r, p)
        Orthonormal columns X, as rows.
    scale : array, shape (U, q, r, r)
        ``X^H A``.
    errors : array of float64, shape (U, q, 1 + r)
        ``||A - X X^H A||^2`` of each block, and the squared sines of the columns of X to the range of A.
    missed : array of float64, shape (U, cuts)
        ``||given - product||^2`` of every node of the left tree, by its cut; no cuts where it is one factor.
    least : array of float64, shape (U,)
        Energy that any product of the left chain misses of each matrix, where it was asked for; else zero.
    """

    factors: list[Array]
    basis: Array
    scale: Array
    errors: Array
    missed: Array
    least: Array


class RightHalves(NamedTuple):
    """Factors of the right halves of K*q column groups, and what they miss.

    Attributes
    ----------
    factors : list of array, shape (K*q, a, b, c, d)
        One array per pattern of the right chain.
    errors : array of float64, shape (K, q, u, 2 r)
        ``||b - b'||^2`` of each row of what was given and of the product, and after these ``||b'||^2``.
    missed : array of float64, shape (K*q, cuts)
        As for :class:`LeftHalves`.
    least : array of float64, shape (K*q,)
        As for :class:`LeftHalves`, of the matrix that was given, which after a single read is ``X^H A V^H``.
    """

    factors: list[Array]
    errors: Array
    missed: Array
    least: Array


def fit_left_halves(
    parts: Array,
    chain: Chain,
    tree: Tree,
    rank: int,
    *,
    floor: Array | None = None,
    stack_bytes: int,
    compiled: bool = False,
) -> LeftHalves:
    """Factorize the left parts of row groups, and scale the products to unit columns.

    Parameters
    ----------
    parts : array, shape (U, q, r, p)
        Left parts A of the blocks, as rows.
    chain, tree : Chain, Tree
        Left half of the chain, and where it is cut.
    rank : int
        Rank r of the blocks.
    floor : array of float64, shape (U,), optional
        Energy that any product of the whole chain is known to miss of each row group: where the left chain may miss
        more of ``A = Z V``, that is found out (:mod:`dbutterfly.kernels.factors.cut_bounds`).
    stack_bytes : int
        Bytes of blocks that a kernel works on at a time.
    compiled : bool
        Whether compiled loops approximate the blocks, which are those of a NumPy array then.
    """
    xp = namespace(parts)
    way: dict[str, Any] = {"floor": floor, "stack_bytes": stack_bytes, "compiled": compiled}
    left = factor_stack(left_matrices(parts), chain, tree, **way)
    left = orthonormal_columns(left, rank)
    basis = left_rows(left.product, rank)
    scale = xp.matmul(xp.conj(basis), xp.matrix_transpose(parts))
    error = xp.sum(squared_norms(parts - multiply_thin(xp.matrix_transpose(scale), basis)), axis=-1)
    errors = xp.concat((error[:, :, None], _squared_sines(basis, parts, scale)), axis=-1)
    missed = _with_top(left.residuals, xp.sum(error, axis=-1), tree)
    return LeftHalves(left.factors, basis, scale, errors, missed, left.least)


def fit_right_halves(
    parts: Array,
    chain: Chain,
    tree: Tree,
    *,
    floor: Array | None = None,
    stack_bytes: int,
    compiled: bool = False,
) -> RightHalves:
    """Factorize ``X^H Z``.

    Parameters
    ----------
    parts : array, shape (K, q, u, r, v)
        Right parts of the blocks of K matrices, or of one whose column groups are taken in part.
    chain, tree : Chain, Tree
        Right half of the chain, and where it is cut.
    floor : array of float64, shape (K*q,), optional
        As for :func:`fit_left_halves`, of each column group.
    stack_bytes : int
        Bytes of blocks that a kernel works on at a time.
    compiled : bool
        Whether compiled loops approximate the blocks, which are those of a NumPy array then.
    """
    xp = namespace(parts)
    count, q, _, rank, _ = parts.shape
    way: dict[str, Any] = {"floor": floor, "stack_bytes": stack_bytes, "compiled": compiled}
    fitted = factor_stack(right_matrices(parts), chain, tree, **way)
    rows = right_rows(fitted.product, q, rank)
    missed = squared_norms(parts - rows)
    errors = xp.concat((missed, squared_norms(rows)), axis=-1)
    top = xp.reshape(xp.sum(missed, axis=(2, 3)), (count * q,))
    return RightHalves(fitted.factors, errors, _with_top(fitted.residuals, top, tree), fitted.least)


def _with_top(below: Array, top: Array, tree: Tree) -> Array:
    """Energies that the nodes of a half miss, below its top node and at it; a half of one factor has none."""
    return below if isinstance(tree, int) else insert_top(below, top, tree)


def _squared_sines(basis: Array, parts: Array, scale: Array) -> Array:
    """Squared sines (U, q, r) between orthonormal columns X, as rows (U, q, r, p), and the range of others, A.

    ``scale`` is ``X^H A``. The columns ``C = A T`` are orthonormal, and ``C C^H X = A T T^H A^H X``.
    """
    xp = namespace(basis)
    columns = xp.matrix_transpose(parts)
    t = orthonormalizers(xp.reshape(columns, (-1, *columns.shape[2:])))
    t = xp.reshape(t, (*parts.shape[:2], *t.shape[1:]))
    inside = multiply_thin(t, multiply_thin(adjoint(t), adjoint(scale)))
    beyond = basis - multiply_thin(xp.matrix_transpose(inside), parts)
    return squared_norms(beyond)
