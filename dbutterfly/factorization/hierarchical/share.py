r"""Share a tolerance among the blocks of a hierarchical matrix, so that it is kept with the fewest values.

The blocks are disjoint, so that their squared errors add up. A singular value ``s`` of an m x n block of low rank takes
m + n values, and adds ``s^2`` to the squared error where it is dropped. Those go first that add least for each value
that they free; within a block these are the last ones, which any fewer ranks have to do without.

What panels have left out of the matrix before blocks were fitted is not orthogonal to the errors of these, so that
norms are added in place of squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...operator.block_factors import BlockFactors
from ..results.certificate import Certificate, rounding_of_products
from ..results.estimates import VerifiedError
from .fitted import FittedBlock, zero_block

__all__ = [
    "certify_blocks",
    "certify_sampled",
    "error_of_matrix",
    "level_of",
    "lower_of_matrix",
    "share_tolerance",
]

FIRST_SHARE = 0.5
"""Part of the squared error allowed that blocks take when they are fitted: the rest is shared when all are known.

Not tuned. A smaller one holds more values meanwhile; a larger one leaves less to share, and less room for an energy of
the matrix that was estimated."""

SAMPLED_SHARE = 0.15
"""The same of an entry function, whose blocks leave up to twice what their samples say.

Measured at N = 4096 on covariances and on the Helmholtz kernel of a circle: for .5, .15 and .05 they leave .46 to .69,
.23 to .38 and .13 to .2 of a tolerance, evaluate .32, .35 and .34 to .53, .57 and .61 of the entries, and come to the
same number of values."""


def level_of(tol: float, energy: float, positions: int, *, is_sampled: bool = False) -> float:
    """Squared error that a block may have for each of its rows and columns; see :class:`.fitted.Settings`.

    Parameters
    ----------
    tol : float
        Relative error wanted.
    energy : float
        Energy of the matrix, or an estimate that is rather too small.
    positions : int
        Rows and columns of all blocks away from the diagonal together.
    is_sampled : bool
        Whether the matrix is an entry function of which some entries are evaluated only.
    """
    return (SAMPLED_SHARE if is_sampled else FIRST_SHARE) * tol**2 * energy / max(positions, 1)


def share_tolerance(
    blocks: Sequence[FittedBlock], tol: float, *, eps: float, fitted: VerifiedError | None = None
) -> list[FittedBlock]:
    """Lower the ranks of blocks as far as a relative error allows.

    Parameters
    ----------
    blocks : sequence of FittedBlock
        All blocks of a matrix.
    tol : float
        Relative error that may be reached, rounding included.
    eps : float
        Unit in the last place of the factors.
    fitted : VerifiedError, optional
        Relative error of the blocks as they are, where they were sampled.

    Returns
    -------
    list of FittedBlock
        The blocks, those of low rank with the ranks that are left.
    """
    norm = _norm_of_all(blocks)
    left_out = math.sqrt(math.fsum(block.left_out for block in blocks))
    allowed = max(tol * norm - _rounding_of_all(blocks, eps) - left_out, 0.0)
    error = math.fsum(block.error for block in blocks)
    if fitted is not None:
        error = ((float(fitted) + fitted.deviation) * norm) ** 2
    free = allowed**2 - error
    ranks = [_rank_to_lower(block) for block in blocks]
    owner = np.repeat(np.arange(len(blocks)), ranks)
    if free <= 0 or not owner.size:
        return list(blocks)
    squares = np.concatenate([block.spectrum[:rank] ** 2 for block, rank in zip(blocks, ranks, strict=True)])
    sizes = np.array([sum(block.factors.shape) for block in blocks])
    order = np.argsort(squares / sizes[owner], kind="stable")
    dropped = order[np.cumsum(squares[order]) <= free]
    fewer = np.bincount(owner[dropped], minlength=len(blocks))
    return [
        _lower_rank(block, rank - less) if less else block
        for block, rank, less in zip(blocks, ranks, fewer.tolist(), strict=True)
    ]


def _rank_to_lower(block: FittedBlock) -> int:
    """Rank of a block of low rank whose singular values are known, 0 of others."""
    return block.factors.rank if block.factors.kind == "low rank" and block.spectrum.size else 0


def _lower_rank(block: FittedBlock, rank: int) -> FittedBlock:
    """Block of a lower rank."""
    factors, spectrum = block.factors, block.spectrum
    left, right = factors.ks_values
    dropped, before = spectrum[rank:], spectrum[factors.rank :]
    lower = float(dropped @ dropped)
    missed = block.error - float(before @ before)
    if rank == 0:
        return zero_block(factors.rows, factors.cols, block.energy, spectrum)._replace(left_out=block.left_out)
    cut = BlockFactors(factors.rows, factors.cols, (left[:, :, :rank], right[:, :rank]))  # views: a result copies all
    return block._replace(factors=cut, error=lower + max(missed, 0.0), lower=lower if block.lower else 0.0)


def certify_blocks(blocks: Sequence[FittedBlock], *, eps: float) -> Certificate:
    """Certificate of a matrix that was read in full, from what is known of its blocks, whose squared errors add up.

    Parameters
    ----------
    blocks : sequence of FittedBlock
        All blocks.
    eps : float
        Unit in the last place of the factors.
    """
    norm = _norm_of_all(blocks)
    if norm == 0:
        return Certificate(0.0, 0.0, exact=True, norm=0.0)
    error = math.fsum(error_of_matrix(block) for block in blocks)
    lower, left_out = math.fsum(block.lower for block in blocks), math.fsum(block.left_out for block in blocks)
    rounded = _rounding_of_all(blocks, eps) / norm
    lowest = max((math.sqrt(lower) - math.sqrt(left_out)) / norm - rounded, 0.0)
    return Certificate(math.sqrt(error) / norm + rounded, lowest, exact=True, norm=norm)


def error_of_matrix(block: FittedBlock) -> float:
    """Squared error of a block, in the matrix of which some was left out before."""
    return (math.sqrt(block.error) + math.sqrt(block.left_out)) ** 2 if block.left_out else block.error


def lower_of_matrix(block: FittedBlock) -> float:
    """Squared error that any factors of these shapes have there."""
    return max(math.sqrt(block.lower) - math.sqrt(block.left_out), 0.0) ** 2 if block.left_out else block.lower


def certify_sampled(
    blocks: Sequence[FittedBlock], shared: Sequence[FittedBlock], fitted: VerifiedError, *, eps: float
) -> Certificate:
    """Estimate of the error of a matrix that was sampled.

    What blocks lose by lower ranks is known exactly. It adds to the squared error of the blocks as they were fitted,
    up to products of the two, of either sign, which are no more than those of their norms.

    Parameters
    ----------
    blocks, shared : sequence of FittedBlock
        All blocks as they were fitted, and with the ranks that are left, in the same order.
    fitted : VerifiedError
        Relative error of the former.
    eps : float
        Unit in the last place of the factors.
    """
    norm = _norm_of_all(blocks)
    if norm == 0:
        return Certificate(float(fitted), 0.0, exact=False, norm=0.0, deviation=fitted.deviation)
    lost = [max(after.error - before.error, 0.0) for before, after in zip(blocks, shared, strict=True)]
    error = math.hypot(float(fitted), math.sqrt(math.fsum(lost)) / norm)
    crossed = math.fsum(before.error * less for before, less in zip(blocks, lost, strict=True))
    squared_deviation = math.hypot(2 * float(fitted) * fitted.deviation, 2 * math.sqrt(crossed) / norm**2)
    deviation = squared_deviation / (2 * error) if error else fitted.deviation
    bound = error + _rounding_of_all(shared, eps) / norm
    return Certificate(bound, 0.0, exact=False, norm=norm, deviation=deviation)


def _norm_of_all(blocks: Sequence[FittedBlock]) -> float:
    """Frobenius norm of the matrix: what was left out is orthogonal to what was kept."""
    return math.sqrt(math.fsum(block.energy + block.left_out for block in blocks))


def _rounding_of_all(blocks: Sequence[FittedBlock], eps: float) -> float:
    """Rounding error of the factors of all blocks in the Frobenius norm."""
    return math.sqrt(math.fsum(block.energy * _rounding(block.factors, eps) ** 2 for block in blocks))


def _rounding(factors: BlockFactors, eps: float) -> float:
    """Relative rounding error of the factors of a block."""
    count = len(factors.ks_values)
    return rounding_of_products(count, factors.rank, eps) if count > 1 else 0.0
