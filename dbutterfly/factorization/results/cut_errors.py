r"""How the error divides among the cuts of the tree.

A node is given a matrix Z; its blocks are ``Z_b = A_b V_b^H + R_b``, with orthonormal rows ``V_b^H`` and ``R_b V_b =
0``; its left child is given the left parts A and reaches the columns X, of which x are the orthonormal ones of a block;
its right child is given ``X^H Z`` and reaches B. With ``P = I - x x^H``,

    ``||Z - X B||^2 = sum ||P Z_b||^2 + ||X^H Z - B||^2``        since the blocks are disjoint, and P B_b = 0,
    ``sum ||P Z_b||^2 = sum ||P R_b||^2 + sum ||P A_b||^2``      since the two terms are orthogonal from the right.

Columns of ``Z - X B`` are orthogonal to those columns of ``X B`` that no cut of the chain parts from them: ``P Z_b`` to
all of x, and ``x (x^H Z_b - b)`` because the same holds for the right child, down to the leaves, which miss nothing. No
cut parts the r columns that a left child has for a block. There, its product is therefore ``x x^H A_b``, and what it
misses of A is ``sum ||P A_b||^2``. Hence

    ``what a node misses = sum ||P R_b||^2 + what its left child misses + what its right child misses``,

and with ``sum ||P R_b||^2`` as the part of its cut, the parts of all cuts below a node add up to what it misses, that
is the square of the error. The part of a cut is the energy that its blocks lose because they are replaced by ones of
low rank, but for what the columns of the left child happen to catch of it.

At the root, Z is not at hand any more. After a second read, ``sum ||P Z_b||^2`` is known, and all this holds. After one
read, the right child is given ``X^H (Z - R)``: the part of the root cut is ``sum ||R_b||^2``, and the parts of all cuts
add up to the square of the error but for the cross term of :mod:`dbutterfly.factorization.results.certificate`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...kernels.linalg import SUBTRACTED
from ...structure.tree import Tree, tree_leaves
from ..block_stats import BlockStats, total_of

__all__ = ["error_of_each_cut"]


def error_of_each_cut(
    tree: Tree,
    stats: BlockStats,
    left_residuals: NDArray[np.float64],
    right_residuals: NDArray[np.float64],
    second: NDArray[np.float64] | None,
    *,
    eps: float,
) -> list[float]:
    """Error that every cut of the chain made, relative to the norm of the matrix.

    Parameters
    ----------
    tree : Tree
        Where the chain of J factors is cut.
    stats, second
        As for :func:`dbutterfly.factorization.results.certificate.certify`.
    left_residuals, right_residuals : array, shape (groups, cuts)
        ``||given - product||^2`` of every node of a half, by its cut, for each group. No cuts where it is one factor.
    eps : float
        Machine epsilon of the dtype of the factors.

    Returns
    -------
    list of float, of length J - 1
        Entry ``j - 1`` is that of the cut between factors j and j + 1. The squares add up to the square of the error
        (see the module docstring). A part is a difference of energies: one that is below their rounding is zero.
    """
    assert not isinstance(tree, int)
    energy = total_of(stats.energy)
    left, right = ([total_of(column) for column in nodes.T] for nodes in (left_residuals, right_residuals))
    root = total_of(stats.discarded) if second is None else _rest(total_of(second), _top(tree[0], left), eps)
    lost = [*_parts(tree[0], left, eps), root, *_parts(tree[1], right, eps)]
    return [_relative(part, energy) for part in lost]


def _parts(tree: Tree, residuals: list[float], eps: float) -> list[float]:
    """Parts of the cuts of a tree, from what each of its nodes misses."""
    if isinstance(tree, int):
        return []
    at = len(tree_leaves(tree[0])) - 1
    left, right = residuals[:at], residuals[at + 1 :]
    own = _rest(residuals[at], _top(tree[0], left) + _top(tree[1], right), eps)
    return [*_parts(tree[0], left, eps), own, *_parts(tree[1], right, eps)]


def _top(tree: Tree, residuals: list[float]) -> float:
    """What the top node of a tree misses."""
    return 0.0 if isinstance(tree, int) else residuals[len(tree_leaves(tree[0])) - 1]


def _rest(energy: float, known: float, eps: float) -> float:
    """What is left of an energy, zero if it cannot be told from the rounding of the energy."""
    rest = energy - known
    return rest if rest > SUBTRACTED * eps * energy else 0.0


def _relative(lost: float, energy: float) -> float:
    return math.sqrt(max(lost, 0.0) / energy) if energy > 0 else 0.0
