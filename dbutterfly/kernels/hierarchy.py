"""Hierarchical factorization of a stack of matrices that fits in memory, down to the leaf factors.

At a node, the best rank-one approximation ``sigma u v^H`` of every block leaves two stacks of smaller matrices. They
are factorized one after the other (the *sequential* rule): the left child on ``sigma u``, which is isometric because
the rows ``v^H`` are orthonormal; the product X of its factors then gets unit columns, the scale moving out of it; and
the right child on ``X^H Z``, the best right part for the X that was reached. As the supports of the columns of X times
the rows of B are disjoint, ``||Z - X B||^2 = ||Z||^2 - ||X^H Z||^2 + ||X^H Z - B||^2`` at every node.

A node holds its matrices as an array (K, m, n), its factors as arrays (K, a, b, c, d): the recursion never forms a
sparse matrix.
"""

from __future__ import annotations

from typing import NamedTuple

from ..chain import Chain, Split, Tree, tree_leaves
from .backend import Array, namespace
from .grid import rank_one_grid
from .low_rank import squared_norms

__all__ = [
    "Factored",
    "factor_stack",
    "join_left",
    "join_right",
    "multiply_stack",
    "part_left",
    "part_right",
    "unit_columns",
]


class Factored(NamedTuple):
    """Factors of a stack of K matrices, and their products.

    Attributes
    ----------
    factors : list of array, shape (K, a, b, c, d)
        One array per pattern of the chain, left to right.
    product : array, shape (K, m, n)
        The K products.
    """

    factors: list[Array]
    product: Array


def factor_stack(matrices: Array, chain: Chain, tree: Tree, *, stack_bytes: int) -> Factored:
    """Factorize every matrix of a stack by the same chain.

    Parameters
    ----------
    matrices : array, shape (K, m, n)
        Floating or complex dtype, which the factors keep.
    chain : Chain
        Dense rank-one chain of shape (m, n).
    tree : Tree
        Where the chain is cut; only its shape counts, not the numbers of its leaves.
    stack_bytes : int
        Bytes of blocks that a kernel works on at a time.
    """
    xp = namespace(matrices)
    if isinstance(tree, int):
        (pattern,) = chain.patterns
        return Factored([xp.reshape(matrices, (-1, *pattern))], matrices)
    (p, u, q, v, _), left_chain, right_chain = chain.cut(len(tree_leaves(tree[0])))
    count = matrices.shape[0]
    blocks = xp.permute_dims(xp.reshape(matrices, (count, p, u, q, v)), (0, 2, 3, 1, 4))
    blocks = xp.reshape(blocks, (count * u, q, p, v))
    parts = rank_one_grid(blocks, dtype=blocks.dtype, stack_bytes=stack_bytes, certified=False)
    left = factor_stack(xp.matrix_transpose(parts.left), left_chain, tree[0], stack_bytes=stack_bytes)
    left = unit_columns(left)
    basis = xp.matrix_transpose(left.product)  # (K*u, q, p): column (rl, ch) of X as a row
    projected = xp.matmul(xp.conj(basis)[:, :, None, :], blocks)[:, :, 0, :]
    projected = xp.permute_dims(xp.reshape(projected, (count, u, q, v)), (0, 2, 1, 3))
    right = factor_stack(xp.reshape(projected, (count * q, u, v)), right_chain, tree[1], stack_bytes=stack_bytes)
    factors = [join_left(factor, u) for factor in left.factors] + [join_right(factor, q) for factor in right.factors]
    return Factored(factors, _multiplied(basis, right.product, Split(p, u, q, v, 1)))


def _multiplied(basis: Array, right: Array, split: Split) -> Array:
    """Products X B of a node from the columns of X (K*u, q, p) and B (K*q, u, v)."""
    xp = namespace(basis)
    p, u, q, v, _ = split
    x = xp.permute_dims(xp.reshape(basis, (-1, u, q, p)), (0, 3, 1, 2))
    b = xp.permute_dims(xp.reshape(right, (-1, q, u, v)), (0, 2, 1, 3))
    return xp.reshape(x[:, :, :, :, None] * b[:, None, :, :, :], (-1, p * u, q * v))


def unit_columns(left: Factored) -> Factored:
    """Scale the last factor so that every nonzero column of the product has norm one."""
    xp = namespace(left.product)
    norms = xp.sqrt(squared_norms(xp.matrix_transpose(left.product)))
    norms = xp.astype(xp.where(norms > 0, norms, xp.ones_like(norms)), left.product.dtype)
    last = left.factors[-1]
    count, a, _, c, d = last.shape
    scaled = last / xp.reshape(norms, (count, a, 1, c, d))
    return Factored([*left.factors[:-1], scaled], left.product / norms[:, None, :])


def join_left(factor: Array, u: int) -> Array:
    """Factor (K*u, a, b, c, d) of left children as factor (K, a, b, c, d*u) of their node: row ``rh*u + rl``."""
    xp = namespace(factor)
    _, a, b, c, d = factor.shape
    stacked = xp.permute_dims(xp.reshape(factor, (-1, u, a, b, c, d)), (0, 2, 3, 4, 5, 1))
    return xp.reshape(stacked, (-1, a, b, c, d * u))


def join_right(factor: Array, q: int) -> Array:
    """Factor (K*q, a, b, c, d) of right children as factor (K, q*a, b, c, d) of their node: column ``ch*v + cl``."""
    _, a, b, c, d = factor.shape
    return namespace(factor).reshape(factor, (-1, q * a, b, c, d))


def multiply_stack(factors: list[Array], chain: Chain, tree: Tree) -> Array:
    """Products (K, m, n) of factors (K, a, b, c, d) along a chain, by the cuts of ``tree``."""
    xp = namespace(factors[0])
    if isinstance(tree, int):
        return xp.reshape(factors[0], (-1, *chain.shape))
    position = len(tree_leaves(tree[0]))
    split, left_chain, right_chain = chain.cut(position)
    left = multiply_stack([part_left(f, split.u) for f in factors[:position]], left_chain, tree[0])
    right = multiply_stack([part_right(f, split.q) for f in factors[position:]], right_chain, tree[1])
    return _multiplied(xp.matrix_transpose(left), right, split)


def part_left(factor: Array, u: int) -> Array:
    """Inverse of :func:`join_left`: factor (K, a, b, c, d) as factor (K*u, a, b, c, d/u) of the left children."""
    xp = namespace(factor)
    count, a, b, c, d = factor.shape
    parted = xp.permute_dims(xp.reshape(factor, (count, a, b, c, d // u, u)), (0, 5, 1, 2, 3, 4))
    return xp.reshape(parted, (count * u, a, b, c, d // u))


def part_right(factor: Array, q: int) -> Array:
    """Inverse of :func:`join_right`."""
    count, a, b, c, d = factor.shape
    return namespace(factor).reshape(factor, (count * q, a // q, b, c, d))
