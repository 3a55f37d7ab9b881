"""Alternating least squares over the factors of a butterfly: sweeps that never raise the error.

Where the rows of B that meet a block are orthonormal, for every X, since the blocks are disjoint,

    (1)  ||Z - X B||^2 = ||Z B^H - X||^2 + const

and where the columns of X are,

    (2)  ||Z - X B||^2 = ||X^H Z - B||^2 + const

So the left factors of a node are fitted anew to ``Z B^H``, starting from what they are, and then the right ones to
``X^H Z``: by the same step at the nodes below, down to the leaves, which take their target as it is. No step can raise
the error. Between the steps, the r x r matrices that make rows or columns orthonormal move from one side to the other,
so that products stay what they were:

    (3)  X B = (X B B'^H) B',    B' = T B with orthonormal rows
    (4)  X B = X' (X'^H X B),    X' = X T with orthonormal columns
"""

from __future__ import annotations

from typing import NamedTuple

from ...structure.chain import Chain
from ...structure.tree import Tree, tree_leaves
from ..backend import Array, namespace
from ..linalg import adjoint
from ..orthonormal import orthonormalizers
from .hierarchy import (
    join_left,
    join_right,
    left_matrices,
    multiply_blocks,
    multiply_stack,
    part_left,
    part_right,
)
from .nodes import left_rows, right_matrices, right_rows

__all__ = ["Swept", "sweep"]


class Swept(NamedTuple):
    """Factors (K, a, b, c, d) of a stack of K matrices, and their products (K, m, n)."""

    factors: list[Array]
    product: Array


def sweep(matrices: Array, factors: list[Array], chain: Chain, tree: Tree) -> Swept:
    """Fit every factor anew, each once, the others being what they are.

    Parameters
    ----------
    matrices : array, shape (K, m, n)
        Matrices Z, to which the products are fitted.
    factors : list of array, shapes (K, a, b, c, d)
        Factors to start from.
    chain : Chain
        Dense chain of shape (m, n).
    tree : Tree
        Nodes of the sweep, from the left to the right.

    Returns
    -------
    Swept
        Its error is at most that of ``factors``, up to rounding.
    """
    xp = namespace(matrices)
    if isinstance(tree, int):
        (pattern,) = chain.patterns
        return Swept([xp.reshape(matrices, (-1, *pattern))], matrices)
    position = len(tree_leaves(tree[0]))
    (p, u, q, v, rank), left_chain, right_chain = chain.cut(position)
    count = matrices.shape[0]
    blocks = xp.permute_dims(xp.reshape(matrices, (count, p, u, q, v)), (0, 2, 3, 1, 4))  # (K, u, q, p, v)
    left = [part_left(factor, u) for factor in factors[:position]]
    right = [part_right(factor, q) for factor in factors[position:]]

    b = xp.permute_dims(right_rows(multiply_stack(right, right_chain, tree[1]), q, rank), (0, 2, 1, 3, 4))
    to_rows = adjoint(_orthonormalizers(adjoint(b)))  # (K, u, q, r, r)
    rows = xp.matmul(to_rows, b)  # (3): B'
    target = xp.matmul(xp.conj(rows), xp.matrix_transpose(blocks))  # (1): columns of Z B'^H, shape (K, u, q, r, p)
    left = multiply_blocks(left, xp.matmul(b, adjoint(rows)))  # (3): X B B'^H
    fitted = sweep(left_matrices(xp.reshape(target, (count * u, q, rank, p))), left, left_chain, tree[0])

    x = xp.matrix_transpose(xp.reshape(left_rows(fitted.product, rank), (count, u, q, rank, p)))
    to_columns = _orthonormalizers(x)
    columns = xp.matmul(x, to_columns)  # (4): X'
    left = multiply_blocks(fitted.factors, to_columns)
    target = xp.matmul(adjoint(columns), blocks)  # (2): X'^H Z, shape (K, u, q, r, v)
    right = _multiply_from_left(right, xp.matmul(xp.matmul(adjoint(columns), x), to_rows))  # (4) of B', which is T B
    best = sweep(right_matrices(xp.permute_dims(target, (0, 2, 1, 3, 4))), right, right_chain, tree[1])

    b = xp.permute_dims(right_rows(best.product, q, rank), (0, 2, 1, 3, 4))
    product = xp.permute_dims(xp.matmul(columns, b), (0, 3, 1, 2, 4))
    joined = [join_left(factor, u) for factor in left] + [join_right(factor, q) for factor in best.factors]
    return Swept(joined, xp.reshape(product, matrices.shape))


def _orthonormalizers(columns: Array) -> Array:
    """Matrices (K, u, q, r, r) that make the columns of a stack (K, u, q, n, r) orthonormal."""
    xp = namespace(columns)
    *lead, n, rank = columns.shape
    found = orthonormalizers(xp.reshape(columns, (-1, n, rank)))
    return xp.reshape(found, (*lead, rank, rank))


def _multiply_from_left(right: list[Array], t: Array) -> list[Array]:
    """Factors of right children, their products multiplied block by block by matrices (K, u, q, r, r) from the left.

    Row ``k*u + rl`` of a child, and of its first factor (1, b, c, d), has ``b = (k, m)`` and ``rl = (m, d)``.
    """
    xp, first = namespace(t), right[0]
    groups, _, b, c, d = first.shape
    count, u, q, rank, _ = t.shape
    by_block = xp.permute_dims(xp.reshape(first, (groups, rank, b // rank, c, d)), (0, 2, 4, 1, 3))  # (., m, d, k, c)
    t = xp.reshape(xp.permute_dims(t, (0, 2, 1, 3, 4)), (count * q, u // d, d, rank, rank))
    changed = xp.permute_dims(xp.matmul(t, by_block), (0, 3, 1, 4, 2))
    return [xp.reshape(changed, first.shape), *right[1:]]
