"""Every cut by itself: alternating spectral clustering of rows and columns, and the fusion of the cuts into trees.

The method of Zheng, Puy, Riccietti, Perez and Gribonval (2023), for any chain. A run is one random start with one
contrast on one cut; all runs of all cuts are independent of each other.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from ..errors import InputError, how_to_install
from ..kernels.backend import Array, host_array, namespace
from ..kernels.backend.stacks import STACK_BYTES
from ..kernels.grouping.groups import block_view
from ..kernels.grouping.similarity import row_similarity
from ..kernels.low_rank.grid import low_rank_grid
from ..structure.chain import Cut
from .cuts import Index
from .one_cut.clustering import laplacian_embedding

__all__ = [
    "TUNING",
    "FusedTrees",
    "Partition",
    "Run",
    "alternating_partition",
    "alternating_run",
    "balanced_means",
    "best_partitions",
    "fuse",
    "runs_of",
]


@dataclass(frozen=True)
class Tuning:
    """The settings of the paper. The benchmark ``seed_method`` measures them.

    Attributes
    ----------
    alphas : tuple of float
        Contrasts of the similarities; each is a start.
    restarts : int
        Random starts for each contrast.
    rounds : int
        Rounds of rows and columns at most.
    """

    alphas: tuple[float, ...] = (1e-2, 1e-1, 1.0, 10.0, 100.0)
    restarts: int = 5
    rounds: int = 50


TUNING = Tuning()


class Run(NamedTuple):
    """One start of the alternation: the arguments of :func:`alternating_partition`, and which cut they are for."""

    level: int
    cut: Cut
    alpha: float
    seed: int


class Partition(NamedTuple):
    """Equal groups of rows and of columns for one cut.

    Attributes
    ----------
    rows : ndarray of int64, shape (M,)
        Group of each row; groups are numbered in the order of their first members.
    cols : ndarray of int64, shape (N,)
        Group of each column, numbered likewise.
    residual : float
        Energy that the best approximations of the blocks leave, of the rank of the cut.
    """

    rows: Index
    cols: Index
    residual: float


class FusedTrees(NamedTuple):
    """Row and column trees that were joined from partitions: orders in which the groups of all cuts are contiguous.

    Attributes
    ----------
    rows, cols : ndarray of int64, shape (M,) and (N,), or None
        Rows and columns in tree order; None for a side whose groups are not those of a tree.
    row_break, col_break : int or None
        For such a side, the cut at which the tree breaks: the first one, from the finest groups on, whose groups are
        not equal or not unions of the groups of the next finer cut.
    """

    rows: Index | None
    cols: Index | None
    row_break: int | None = None
    col_break: int | None = None


def runs_of(
    cuts: Sequence[Cut], seed: int, *, alphas: Sequence[float] = TUNING.alphas, restarts: int = TUNING.restarts
) -> list[Run]:
    """Runs for every cut and every contrast, each with a seed of its own that follows from ``seed``."""
    starts = list(itertools.product(enumerate(cuts), alphas, range(restarts)))
    seeds = np.random.SeedSequence(seed).generate_state(len(starts), np.uint64).tolist()
    return [Run(level, cut, alpha, own) for ((level, cut), alpha, _), own in zip(starts, seeds, strict=True)]


def alternating_run(matrix: Array, run: Run) -> Partition:
    """Make one run."""
    return alternating_partition(matrix, run.cut, run.alpha, run.seed)


def alternating_partition(matrix: Array, cut: Cut, alpha: float, seed: int, rounds: int = TUNING.rounds) -> Partition:
    """Group rows and columns for one cut: cluster the rows given the columns, and the columns given the rows, by turns.

    Parameters
    ----------
    matrix : array, shape (M, N), real or complex floating
        Matrix, of any array namespace: similarities and blocks are computed there, groups on the host.
    cut : Cut
        Numbers of groups, which divide the sides, and the rank of the blocks.
    alpha : float
        Contrast of the similarities.
    seed : int
        For the first column groups, which are random, and for the means of the clustering.
    rounds : int
        Most rounds, of rows and columns each. A round that changes nothing is the last.

    Returns
    -------
    Partition
        That of the round with the least residual.

    Raises
    ------
    InputError
        If the package of the extra ``alternating`` is not installed.

    References
    ----------
    Zheng, Puy, Riccietti, Perez and Gribonval, "Factorisation butterfly par identification algorithmique de blocs de
    rang un", GRETSI 2023, algorithm 2.
    """
    rng = np.random.default_rng(seed)
    across, turned = cut.T, namespace(matrix).matrix_transpose(matrix)
    cols = _renumber(rng.permutation(matrix.shape[1]) * cut.col_groups // matrix.shape[1])
    rows = _row_groups(matrix, cols, cut, alpha, rng)
    best = Partition(rows, cols, _residual_energy(matrix, rows, cols, cut))
    for _ in range(rounds):
        before = rows, cols
        cols = _row_groups(turned, rows, across, alpha, rng)
        rows = _row_groups(matrix, cols, cut, alpha, rng)
        if np.array_equal(before[0], rows) and np.array_equal(before[1], cols):
            break
        residual = _residual_energy(matrix, rows, cols, cut)
        if residual < best.residual:
            best = Partition(rows, cols, residual)
    return best


def best_partitions(runs: Iterable[Run], found: Iterable[Partition]) -> list[Partition]:
    """Partition with the least residual for each cut, in the order of the cuts."""
    best: dict[int, Partition] = {}
    for run, partition in zip(runs, found, strict=True):
        if run.level not in best or partition.residual < best[run.level].residual:
            best[run.level] = partition
    return [best[level] for level in sorted(best)]


def fuse(partitions: Sequence[Partition], cuts: Sequence[Cut]) -> FusedTrees:
    """Join the groups of all cuts into a row tree and a column tree, where they are nested.

    Parameters
    ----------
    partitions : sequence of Partition
        One for each cut, found independently of the others.
    cuts : sequence of Cut
        Cuts, from the most row groups to the most column groups.

    Returns
    -------
    FusedTrees

    References
    ----------
    Zheng et al., GRETSI 2023, algorithm 3.
    """
    rows, row_break = _tree_order([found.rows for found in partitions], [cut.row_groups for cut in cuts])
    cols, col_break = _tree_order([found.cols for found in partitions][::-1], [cut.col_groups for cut in cuts][::-1])
    return FusedTrees(rows, cols, row_break, None if col_break is None else len(cuts) - 1 - col_break)


def _tree_order(labels: Sequence[Index], groups: Sequence[int]) -> tuple[Index | None, int | None]:
    """Order in which the groups of all partitions, the finest first, are contiguous; or the first that does not fit."""
    finer = np.arange(labels[0].size)  # single items
    for level, (own, count) in enumerate(zip(labels, groups, strict=True)):
        equal = (np.bincount(own, minlength=count) * count == own.size).all()
        # Where each finer group meets one coarser group only, equal coarser ones are unions of equally many.
        nested = np.unique(np.stack([finer, own]), axis=1).shape[1] == finer.max() + 1
        if not (equal and nested):
            return None, level
        finer = own
    return np.lexsort(labels), None  # the last key, the coarsest groups, counts first


def balanced_means() -> Any:
    """Class for k-means with groups of bounded sizes, by min-cost flow (Bradley, Bennett and Demiriz, 2000).

    Raises
    ------
    InputError
        If the package is not installed.
    """
    try:
        return importlib.import_module("k_means_constrained").KMeansConstrained
    except ModuleNotFoundError:
        raise InputError(
            f'method="alternating" needs balanced k-means; install it with: {how_to_install("alternating")}'
        ) from None


def _row_groups(matrix: Array, cols: Index, cut: Cut, alpha: float, rng: np.random.Generator) -> Index:
    """Groups of the rows by spectral clustering, given those of the columns."""
    items, groups = matrix.shape[0], cut.row_groups
    if groups == 1:
        return np.zeros(items, np.int64)
    grid = _gather_groups(matrix, cols, axis=1)[None, None, ...]
    points = laplacian_embedding(host_array(row_similarity(grid, cut.col_groups, alpha))[0], groups)
    size, draw = items // groups, int(rng.integers(2**31))
    # One start of the means, not the best of the library's ten: those cost more and find fewer exact Fourier matrices,
    # where the best means of wrong groups repeat themselves and one start gets away from them.
    means = balanced_means()(groups, size_min=size, size_max=size, n_init=1, random_state=draw)
    # The library rounds distances to thousandths; rows of the embedding have lengths of about 1 / sqrt(size).
    return _renumber(means.fit_predict(points * np.sqrt(size)))


def _gather_groups(matrix: Array, labels: Index, *, axis: int) -> Array:
    """Take the rows, or columns, of a matrix group by group."""
    xp = namespace(matrix)
    order = xp.asarray(np.argsort(labels, kind="stable"), device=array_api_compat.device(matrix))
    return xp.take(matrix, order, axis=axis)


def _renumber(labels: Index) -> Index:
    """Number the groups in the order of their first members."""
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group]


def _residual_energy(matrix: Array, rows: Index, cols: Index, cut: Cut) -> float:
    """Energy that the best approximations of the blocks leave."""
    grid = _gather_groups(_gather_groups(matrix, rows, axis=0), cols, axis=1)[None, None, ...]
    blocks = block_view(grid, cut.row_groups, cut.col_groups)[0, 0, ...]
    found = low_rank_grid(blocks, (cut.rank,), dtype=grid.dtype, stack_bytes=STACK_BYTES)
    return float(host_array(found.discarded).sum())
