r"""What any product of a chain misses of matrices at least, by the cuts below the root cut.

The children of a node are factorized on matrices that are projections of those of the node: the left one on ``Z V`` and
the right one on ``X^H Z``, with orthonormal rows ``V^H`` and columns X block by block. A block of a cut of the child is
so a block Y of the whole chain at that cut, multiplied by matrices whose norm is at most one,

    (1)  C = P Y Q,    ||P|| <= 1,    ||Q|| <= 1,    hence    s_i(C) <= s_i(Y)    (Horn and Johnson, *Topics*, 3.3.4)

and every product of the chain, whose blocks have rank r there, misses the energy of Y beyond its r largest singular
values, which is no less than

    (2)  sum_{i>r} s_i(C)^2

The row groups of a node are covered by their own blocks and by those of the left cuts, so that each row group may take
the better bound of the two, and likewise each column group and the right cuts.
"""

from __future__ import annotations

from ..backend import Array, is_complex, namespace
from ..linalg import SUBTRACTED, squared_norms
from ..low_rank.spectra import trailing_energies

__all__ = ["TELLING", "join_bounds", "least_of_blocks", "may_tell_more"]

TELLING = 4.0
"""Times the energy of the known bound that a node must miss for its own bound to be formed.

The bound of a node is at most what it misses: what is left out at least may be twice the error that is known already.
Nothing is spent where the root cut tells most, as of noise, or of kernels whose ranks are alike at all cuts.
"""

ENTRIES = 1 << 16
"""Entries of blocks that are decomposed at a time, in double precision. Not tuned: 1 MiB, which tasks can spare."""


def may_tell_more(missed: Array, energy: Array, floor: Array, eps: float) -> Array:
    """Mask of the matrices (K,) of which a node misses more than is known to be unavoidable.

    Parameters
    ----------
    missed, energy : array of float64, shape (K,)
        ``||Z||^2 - ||X^H Z||^2`` of each matrix Z of the node, and ``||Z||^2``.
    floor : array of float64, shape (K,)
        Energy that is known to be missed.
    eps : float
        Machine epsilon of the dtype of the matrices.
    """
    rounding = 2 * SUBTRACTED * eps * energy
    return missed > TELLING * floor + rounding


def least_of_blocks(blocks: Array, rank: int) -> Array:
    """Energies (2) of blocks (n, p, v), as float64 (n,), less the rounding of the decomposition."""
    xp = namespace(blocks)
    count, p, v = blocks.shape
    if min(p, v) <= rank:
        return xp.zeros(count, dtype=xp.float64, device=blocks.device)
    many = max(1, ENTRIES // (p * v))
    found = [_least_of_few(blocks[first : min(first + many, count), ...], rank) for first in range(0, count, many)]
    return found[0] if len(found) == 1 else xp.concat(found)


def _least_of_few(blocks: Array, rank: int) -> Array:
    """Energies (2) of so few blocks that they may be held in double precision."""
    xp = namespace(blocks)
    blocks = xp.astype(blocks, xp.complex128 if is_complex(xp, blocks.dtype) else xp.float64)
    rounding = SUBTRACTED * float(xp.finfo(xp.float64).eps) * xp.sum(squared_norms(blocks), axis=-1)
    return xp.maximum(trailing_energies(blocks, rank) - rounding, xp.zeros_like(rounding))


def join_bounds(own: Array, left: Array, right: Array) -> Array:
    """Bounds (K,) of nodes from those of their blocks (K, u, q), of left children (K*u,) and of right ones (K*q,)."""
    xp = namespace(own)
    count, u, q = own.shape
    by_rows = xp.maximum(xp.sum(own, axis=2), xp.reshape(left, (count, u)))
    by_cols = xp.maximum(xp.sum(own, axis=1), xp.reshape(right, (count, q)))
    return xp.maximum(xp.sum(by_rows, axis=1), xp.sum(by_cols, axis=1))
