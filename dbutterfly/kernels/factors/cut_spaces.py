r"""The blocks of a product at a cut of its chain: their ranges, and what of other matrices lies outside of them.

A product of the chain has blocks ``U V`` of rank r, U with orthonormal columns and V with orthonormal rows. Other
products near it differ from it, up to second order, by blocks that share its rows or its columns. What is left,

    (1)  P(Y) = (I - U U^H) Y (I - V^H V)    block by block

is the part of a matrix that lies in the normal space of the products at this cut.
"""

from __future__ import annotations

from typing import NamedTuple

from ...structure.chain import Chain
from ...structure.tree import split_tree
from ..backend import Array, namespace
from ..linalg import adjoint
from ..orthonormal import orthonormalizers
from .hierarchy import multiply_stack, part_left, part_right
from .nodes import left_rows, right_rows

__all__ = ["CutSpaces", "find_cut_spaces", "remove_spaces"]


class CutSpaces(NamedTuple):
    """Ranges of the blocks of a product at a cut, block after block: row groups first.

    Attributes
    ----------
    columns : array, shape (u*q, p, r)
        Orthonormal columns U, or zeros where a block has a lower rank.
    rows : array, shape (u*q, r, v)
        Orthonormal rows V, or zeros.
    """

    columns: Array
    rows: Array


def find_cut_spaces(factors: list[Array], chain: Chain, position: int) -> CutSpaces:
    """Ranges of the blocks of a product.

    Parameters
    ----------
    factors : list of array, shapes (1, a, b, c, d)
        Factors of the product.
    chain : Chain
        Dense chain.
    position : int
        Number of factors to the left of the cut.
    """
    xp = namespace(factors[0])
    (p, u, q, v, rank), left_chain, right_chain = chain.cut(position)
    left = [part_left(factor, u) for factor in factors[:position]]
    right = [part_right(factor, q) for factor in factors[position:]]
    x = left_rows(multiply_stack(left, left_chain, split_tree(position)), rank)  # (u, q, r, p)
    b = right_rows(multiply_stack(right, right_chain, split_tree(len(chain) - position)), q, rank)
    columns = xp.matrix_transpose(xp.reshape(x, (u * q, rank, p)))
    rows = xp.reshape(xp.permute_dims(b, (0, 2, 1, 3, 4)), (u * q, rank, v))
    return CutSpaces(_orthonormal(columns), adjoint(_orthonormal(adjoint(rows))))


def _orthonormal(columns: Array) -> Array:
    return namespace(columns).matmul(columns, orthonormalizers(columns))


def remove_spaces(blocks: Array, spaces: CutSpaces) -> Array:
    """Normal parts (1) of blocks.

    Parameters
    ----------
    blocks : array, shape (n, p, v)
        Blocks Y.
    spaces : CutSpaces
        Ranges of as many blocks.
    """
    xp = namespace(blocks)
    columns, rows = spaces
    rest = blocks - xp.matmul(columns, xp.matmul(adjoint(columns), blocks))
    return rest - xp.matmul(xp.matmul(rest, adjoint(rows)), rows)
