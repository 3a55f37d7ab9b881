"""What the blocks of every cut leave of a matrix in some order, and the evidence for their groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

from ..kernels.backend.stacks import STACK_BYTES
from ..kernels.low_rank.grid import low_rank_grid
from ..kernels.low_rank.subspace import LowRank
from ..structure.chain import Cut
from .evidence import Blocks, log_evidence, rival_rank
from .verdict import Residuals, Solution, free_parts

__all__ = [
    "Counts",
    "greatest_evidence",
    "has_imaginary_parts",
    "measure_residuals",
    "remeasure",
    "rival_residual",
    "summed_residuals",
]

Counts = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""For every row and for every column of a matrix with gaps, whether it is none."""


def measure_residuals(
    matrix: NDArray[Any], solution: Solution, cuts: Sequence[Cut], counts: Counts, parameters: int, rounding: float
) -> Residuals:
    """Measure a matrix in memory, block by block and without cancellation.

    Parameters
    ----------
    matrix : ndarray, shape (M, N)
        The matrix, with zeros at gaps.
    solution : Solution
        The orders.
    cuts : sequence of Cut
        The cuts.
    counts : Counts
        Rows and columns that are no gaps.
    parameters : int
        Degrees of freedom of the butterfly matrices, as numbers of the dtype.
    rounding : float
        Relative error that counts as none.
    """
    if not cuts:
        return Residuals(solution.lost, solution.free, matrix.size, np.empty(0), rounding)
    arranged = matrix[np.ix_(solution.rows, solution.cols)]
    ordered = counts[0][solution.rows], counts[1][solution.cols]
    is_complex = has_imaginary_parts(arranged)
    approximated = [_approximate(arranged, cut) for cut in cuts]
    every = [
        _blocks_of(found, cut, ordered, is_complex=is_complex) for found, cut in zip(approximated, cuts, strict=True)
    ]
    sizes = int(ordered[0].sum()), int(ordered[1].sum())
    rival = rival_residual(arranged, cuts, parameters, sizes)
    return Residuals(
        np.array([one.lost for one in every]),
        np.array([one.free for one in every]),
        (1 + is_complex) * sizes[0] * sizes[1],
        np.array([log_evidence(one, rival) for one in every]),
        rounding,
        _least_likely_line(arranged, approximated[0], cuts[0], every[0], beta=1 + is_complex)
        if len(cuts) == 1
        else 1.0,
    )


def greatest_evidence(arranged: NDArray[Any], cuts: Sequence[Cut], rival: float) -> float:
    """Evidence for the groups of the cut for which most speaks, of a matrix without gaps in tree order."""
    ordered = np.ones(arranged.shape[0], bool), np.ones(arranged.shape[1], bool)
    is_complex = has_imaginary_parts(arranged)
    every = (_blocks_of(_approximate(arranged, cut), cut, ordered, is_complex=is_complex) for cut in cuts)
    return max(log_evidence(one, rival) for one in every)


def has_imaginary_parts(matrix: NDArray[Any]) -> bool:
    """Whether the entries are complex, and not real ones in a complex dtype."""
    return bool(matrix.dtype.kind == "c" and matrix.imag.any())


def summed_residuals(
    solution: Solution, cuts: Sequence[Cut], counts: Counts, rounding: float, *, is_complex: bool
) -> Residuals:
    """Give the residuals that a search by panels has found, with evidence from the sums over all blocks of a cut."""
    beta, sizes = 1 + is_complex, [int(count.sum()) for count in counts]
    evidence = []
    for cut, lost in zip(cuts, solution.lost, strict=True):
        sides = np.full(cut.u, cut.p), np.full(cut.q, cut.v)
        every = Blocks.of(cut, sides, np.zeros((cut.u, cut.q)), float(lost), is_complex=is_complex)
        fitted, captured = every.fitted.sum(keepdims=True), np.array([max(1 - float(lost), 0.0)])
        evidence.append(log_evidence(every._replace(fitted=fitted, captured=captured), solution.rival))
    # Cuts that were solved in the parts of another one see its noise and that of the parts.
    size = beta * sizes[0] * sizes[1]
    return Residuals(solution.lost, size * solution.free, size, np.array(evidence), rounding)


def remeasure(matrix: NDArray[Any], solution: Solution, cuts: Sequence[Cut]) -> Solution:
    """Measure what the blocks of the cuts leave, without cancellation."""
    arranged = matrix[np.ix_(solution.rows, solution.cols)]
    every = [_approximate(arranged, cut) for cut in cuts]
    lost = [float(found.discarded.sum()) / (float(found.energy.sum()) or 1.0) for found in every]
    return solution._replace(lost=np.array(lost), free=free_parts(cuts, matrix.shape))


def rival_residual(
    matrix: NDArray[Any], cuts: Sequence[Cut], parameters: int, sizes: tuple[int, int] | None = None
) -> float:
    """Part of the energy that the best matrix of low rank leaves which is a rival; zero where it is rounding.

    Parameters
    ----------
    matrix : ndarray, shape (M, N)
        The matrix, with zeros at gaps.
    cuts : sequence of Cut
        The cuts of the butterfly.
    parameters : int
        Degrees of freedom of the butterfly matrices, as numbers of the dtype.
    sizes : (int, int), optional
        Rows and columns that are no gaps; by default all.
    """
    rank = rival_rank(sizes or matrix.shape, parameters, max(cut.rank for cut in cuts))
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    squares = np.linalg.eigvalsh(wide @ wide.conj().T)[::-1].astype(np.float64).clip(0)
    left = float(squares[rank:].sum() / (squares.sum() or 1.0))
    return left if left > wide.shape[0] * float(np.finfo(matrix.dtype).eps) else 0.0


def _grid_of(arranged: NDArray[Any], cut: Cut) -> NDArray[Any]:
    """Blocks (u, q, p, v) of a cut."""
    (height, width), (u, q) = cut.block_shape, (cut.row_groups, cut.col_groups)
    return arranged.reshape(u, height, q, width).transpose(0, 2, 1, 3)


def _approximate(arranged: NDArray[Any], cut: Cut) -> LowRank:
    """Approximate the blocks of a cut."""
    rank = min(cut.rank, *cut.block_shape)
    return low_rank_grid(_grid_of(arranged, cut), (rank,), dtype=arranged.dtype, stack_bytes=STACK_BYTES)


def _blocks_of(found: LowRank, cut: Cut, ordered: Counts, *, is_complex: bool) -> Blocks:
    """Describe the blocks of a cut by their approximations."""
    energy = float(found.energy.sum()) or 1.0
    discarded = found.discarded[..., 0] / energy
    sides = ordered[0].reshape(cut.u, -1).sum(axis=1), ordered[1].reshape(cut.q, -1).sum(axis=1)
    return Blocks.of(cut, sides, found.energy / energy - discarded, float(discarded.sum()), is_complex=is_complex)


def _least_likely_line(arranged: NDArray[Any], found: LowRank, cut: Cut, blocks: Blocks, *, beta: int) -> float:
    """Probability that noise leaves as much of any row or column as it does of the one that stands out most.

    Noise leaves of a row at most the degrees of freedom of a row that its blocks do not depend on.
    """
    rest = np.abs(_grid_of(arranged, cut) - np.matrix_transpose(found.left) @ found.right) ** 2
    energy, rank = float(found.energy.sum()) or 1.0, min(cut.rank, *cut.block_shape)
    per_number = 2 * blocks.lost * energy / blocks.free
    if per_number <= 0:
        return 1.0
    rows, cols = rest.sum(axis=(1, 3)), rest.sum(axis=(0, 2))
    likely = min(
        float(gammaincc(beta * cut.q * (cut.v - rank) / 2, rows.max() / per_number)),
        float(gammaincc(beta * cut.u * (cut.p - rank) / 2, cols.max() / per_number)),
    )
    return min(1.0, likely * sum(arranged.shape))
