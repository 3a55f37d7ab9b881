"""Hierarchical factorization of a stack of matrices that fits in memory, down to the leaf factors.

At a node, every block of the cut is approximated by rank r, and leaves two stacks of smaller matrices, its left and its
right part:

    (1)  Z ~ U S V^H    (block by block)

They are factorized one after the other (the *sequential* rule). The left child is factorized on ``U S``, which is
isometric because the rows of ``V^H`` are orthonormal. The r columns that the product X of its factors has for each
block are then orthonormalised, the triangle T moving into the last factor,

    (2)  X <- X T

and the right child is factorized on the best right part for the X that was reached,

    (3)  B = X^H Z

As the blocks are disjoint, at every node

    (4)  ||Z - X B||^2 = ||Z||^2 - ||X^H Z||^2 + ||X^H Z - B||^2

The residual of every child, its product less the matrix that it was given, is measured on the way, on matrices smaller
than those of the top node. :mod:`dbutterfly.factorization.results.cut_errors` makes of these residuals the part of the
error that each cut answers for.

Column ``ch*r + k`` of the left child of row group ``rl`` meets row ``k*u + rl`` of the right child of column group
``ch``.

A node holds its matrices as an array (K, m, n), its factors as arrays (K, a, b, c, d): the recursion never forms a
sparse matrix.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

from ...structure.chain import Chain, Cut
from ...structure.tree import Tree, tree_leaves
from ..backend import Array, host_array, namespace
from ..linalg import multiply_thin, squared_norms
from ..low_rank.grid import left_parts
from ..orthonormal import orthonormalizers
from .cut_bounds import join_bounds, least_of_blocks, may_tell_more
from .nodes import multiply_node, project_node

__all__ = [
    "Factored",
    "factor_stack",
    "insert_top",
    "join_left",
    "join_right",
    "left_matrices",
    "multiply_blocks",
    "multiply_stack",
    "orthonormal_columns",
    "part_left",
    "part_right",
]

PANEL = 64
"""Columns of left children that are compared with their products at a time.

Not tuned. The children are transposed views and their products are not, so that the difference of whole matrices would
stride through one of them.
"""


class Factored(NamedTuple):
    """Factors of a stack of K matrices, and their products.

    Attributes
    ----------
    factors : list of array, shape (K, a, b, c, d)
        One array per pattern of the chain, left to right.
    product : array, shape (K, m, n)
        The K products.
    residuals : array of float64, shape (K, J - 2)
        Energies ``||Z' - product'||^2``, summed over the matrices Z' of a node, for every node that is cut below the
        top one, in the order of the cuts. Shape (K, 0) for a single factor.
    least : array of float64, shape (K,)
        Energy that any product of the chain misses of each matrix (:mod:`.cut_bounds`); zero where it was not formed.
    """

    factors: list[Array]
    product: Array
    residuals: Array
    least: Array


def factor_stack(
    matrices: Array,
    chain: Chain,
    tree: Tree,
    *,
    floor: Array | None = None,
    stack_bytes: int,
    compiled: bool = False,
) -> Factored:
    """Factorize every matrix of a stack by the same chain.

    Parameters
    ----------
    matrices : array, shape (K, m, n)
        Floating or complex dtype, which the factors keep.
    chain : Chain
        Dense chain of shape (m, n).
    tree : Tree
        Where the chain is cut; only its shape counts, not the numbers of its leaves.
    floor : array of float64, shape (K,), optional
        Energy of each matrix that any product of the chain is known to miss. Where the cuts may tell more, it is asked.
    stack_bytes : int
        Bytes of blocks that a kernel works on at a time.
    compiled : bool
        Whether compiled loops approximate the blocks, which are those of a NumPy array then.
    """
    xp = namespace(matrices)
    if isinstance(tree, int):
        (pattern,) = chain.patterns
        nothing = xp.zeros((matrices.shape[0], 1), dtype=xp.float64, device=matrices.device)
        return Factored([xp.reshape(matrices, (-1, *pattern))], matrices, nothing[:, :0], nothing[:, 0])
    split, left_chain, right_chain = chain.cut(len(tree_leaves(tree[0])))
    p, u, q, v, rank = split
    count = matrices.shape[0]
    blocks = xp.permute_dims(xp.reshape(matrices, (count, p, u, q, v)), (0, 2, 3, 1, 4))
    blocks = xp.reshape(blocks, (count * u, q, p, v))
    exact = isinstance(tree[0], int)  # a left child of one factor is its own product
    way: dict[str, Any] = {"stack_bytes": stack_bytes, "compiled": compiled}
    parts = left_matrices(left_parts(blocks, rank, weighted=not exact, **way))  # (1): U S
    # Left parts of rank one are ``Z V``. Those of higher ranks are a part of it only, from which no bound follows. How
    # the floor divides among children is not known: it decides where more is asked, and no bound rests on it.
    shares = [None if floor is None else xp.repeat(floor / groups, groups) for groups in (u, q)]
    left = factor_stack(parts, left_chain, tree[0], floor=shares[0] if rank == 1 else None, **way)
    residuals = _residuals(parts, left, tree[0], PANEL)
    if rank == 1 or not exact:  # ranges of a rank above 1 that are their own product are orthonormal already
        left = orthonormal_columns(left, rank)  # (2)
    right = project_node(left.product, matrices if compiled else blocks, split, compiled=compiled)  # (3)
    fitted = factor_stack(right, right_chain, tree[1], floor=shares[1], **way)
    least = xp.zeros(count, dtype=xp.float64, device=matrices.device)
    if floor is not None:
        least = _bound_node(blocks, right, (left.least, fitted.least), split, floor)
    sums = (_sum_up(residuals, u), _sum_up(_residuals(right, fitted, tree[1]), q))
    factors = [join_left(factor, u) for factor in left.factors] + [join_right(factor, q) for factor in fitted.factors]
    product = multiply_node(left.product, fitted.product, split, compiled=compiled)
    return Factored(factors, product, xp.concat(sums, axis=1), least)


def _bound_node(blocks: Array, right: Array, children: tuple[Array, Array], split: Cut, floor: Array) -> Array:
    """Energies (K,) that any product misses of the matrices of a node, from its blocks (K*u, q, p, v) and children.

    ``right`` are the matrices ``X^H Z`` of its right children.
    """
    xp = namespace(blocks)
    p, u, q, v, rank = split
    count = blocks.shape[0] // u
    energy, kept = (squared_norms(xp.reshape(array, (count, -1))) for array in (blocks, right))
    own = xp.zeros((count, u, q), dtype=xp.float64, device=blocks.device)
    telling = may_tell_more(energy - kept, energy, floor, float(xp.finfo(blocks.dtype).eps))
    for place in host_array(telling).nonzero()[0].tolist():
        found = xp.reshape(blocks[place * u : (place + 1) * u, ...], (u * q, p, v))
        own[place, ...] = xp.reshape(least_of_blocks(found, rank), (u, q))
    return join_bounds(own, *children)


def insert_top(residuals: Array, top: Array, tree: Tree) -> Array:
    """Residuals (K, J - 1) of all nodes: those below the top one (K, J - 2) and, inserted at its cut, its own (K,)."""
    assert not isinstance(tree, int)
    at = len(tree_leaves(tree[0])) - 1
    return namespace(residuals).concat((residuals[:, :at], top[:, None], residuals[:, at:]), axis=1)


def _residuals(given: Array, found: Factored, tree: Tree, panel: int | None = None) -> Array:
    """Residuals of a child that was fitted to ``given``, and of its nodes; a single factor has none.

    They are formed ``panel`` columns at a time, by default all columns together.
    """
    if isinstance(tree, int):
        return found.residuals
    cols = given.shape[2]
    panels = [slice(first, min(first + (panel or cols), cols)) for first in range(0, cols, panel or cols)]
    rows = (squared_norms(given[:, :, part] - found.product[:, :, part]) for part in panels)
    return insert_top(found.residuals, namespace(given).sum(functools.reduce(operator.add, rows), axis=-1), tree)


def _sum_up(residuals: Array, groups: int) -> Array:
    """Sums over the children (K*groups, cuts) of each node: (K, cuts)."""
    xp = namespace(residuals)
    count, cuts = residuals.shape
    return xp.sum(xp.reshape(residuals, (count // groups, groups, cuts)), axis=1)


def left_matrices(parts: Array) -> Array:
    """Matrices (U, p, q*r) of left children from the left parts (U, q, r, p) of their blocks."""
    xp = namespace(parts)
    groups, q, rank, p = parts.shape
    return xp.matrix_transpose(xp.reshape(parts, (groups, q * rank, p)))


def orthonormal_columns(left: Factored, rank: int) -> Factored:
    """Change the last factor, by (2), so that the columns of the product that meet a block are orthonormal, or zero.

    Parameters
    ----------
    left : Factored
        Factors of left children, the last of pattern (a, b, c, 1), with product (K, p, q*rank).
    rank : int
        Columns that meet a block: neighbours in the product.
    """
    xp = namespace(left.product)
    count, p, cols = left.product.shape
    q = cols // rank
    product = xp.permute_dims(xp.reshape(left.product, (count, p, q, rank)), (0, 2, 1, 3))  # (K, q, p, r)
    t = orthonormalizers(xp.reshape(product, (count * q, p, rank)))
    t = xp.reshape(t, (count, q, rank, rank))
    product = xp.permute_dims(multiply_thin(product, t), (0, 2, 1, 3))
    return left._replace(factors=multiply_blocks(left.factors, t), product=xp.reshape(product, (count, p, cols)))


def multiply_blocks(factors: list[Array], t: Array) -> list[Array]:
    """Factors of left children, their products multiplied block by block from the right.

    Parameters
    ----------
    factors : list of array
        The last one of shape (U, a, b, c, 1).
    t : array, shape (..., r, r)
        A matrix for each of the U*q blocks, in order.
    """
    xp, last = namespace(t), factors[-1]
    groups, a, b, c, _ = last.shape
    rank = t.shape[-1]
    by_block = xp.permute_dims(xp.reshape(last, (groups, a, b, c // rank, rank)), (0, 1, 3, 2, 4))
    changed = multiply_thin(by_block, xp.reshape(t, (groups, a, c // rank, rank, rank)))
    return [*factors[:-1], xp.reshape(xp.permute_dims(changed, (0, 1, 3, 2, 4)), last.shape)]


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
    return multiply_node(left, right, split)


def part_left(factor: Array, u: int) -> Array:
    """Factor (K, a, b, c, d) of a node as factor (K*u, a, b, c, d/u) of its left children."""
    xp = namespace(factor)
    count, a, b, c, d = factor.shape
    parted = xp.permute_dims(xp.reshape(factor, (count, a, b, c, d // u, u)), (0, 5, 1, 2, 3, 4))
    return xp.reshape(parted, (count * u, a, b, c, d // u))


def part_right(factor: Array, q: int) -> Array:
    """Factor (K, q*a, b, c, d) of a node as factor (K*q, a, b, c, d) of its right children."""
    count, a, b, c, d = factor.shape
    return namespace(factor).reshape(factor, (count * q, a // q, b, c, d))
