"""Matrices made of given blocks, and jobs with which a test computes one tile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import dbutterfly as dbf
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.search import make_plan
from dbutterfly.sources.base import MatrixSource
from dbutterfly.storage.workspace import MemoryWorkspace
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.tree import split_tree
from tests.support.comparisons import random_matrix


def job_of_source(
    source: MatrixSource, chain: Chain | None = None, ranks: Any = None, orderings: Any = None, passes: int = 1
) -> FactorizationJob:
    """Job in memory with the cut in the middle of the chain."""
    chain = Chain.chainable(source.shape) if chain is None else chain
    tree = split_tree(len(chain), "balanced", max(1, len(chain) // 2))
    planned = make_plan(
        source.info, chain, tree=tree, orderings=dbf.Orderings.from_any(orderings), budget=Budget(1 << 40)
    )
    planned = replace(planned, passes=passes, ranks=planned.ranks if ranks is None else ranks)
    return FactorizationJob(source, planned, MemoryWorkspace(), "numpy")


def standard(values: Any, job: FactorizationJob) -> Any:
    """Groups renumbered from storage to standard order."""
    for number, axis in enumerate((job.plan.rows, job.plan.cols)):
        if axis.group_order is not None:
            values = np.take(values, axis.group_order, axis=number)
    return values


def blocks_of(matrix: Any, job: FactorizationJob, orderings: Any = None) -> Any:
    """Blocks (u, q, p, v) of the root cut, in standard order."""
    rows, cols = dbf.Orderings.from_any(orderings).permutations(job.plan.chain)
    matrix = matrix if rows is None else matrix[rows]
    matrix = matrix if cols is None else matrix[:, cols]
    p, u, q, v, _ = job.plan.split
    return matrix.reshape(p, u, q, v).transpose(1, 2, 0, 3)


def stored(blocks: Any, orderings: Any, chain: Chain) -> Any:
    """Matrix whose blocks, after the orderings, are these."""
    u, q, p, v = blocks.shape
    matrix = np.empty((p * u, q * v), blocks.dtype)
    sides = dbf.Orderings.from_any(orderings).permutations(chain)
    at = [np.arange(n) if side is None else side for n, side in zip(matrix.shape, sides, strict=True)]
    matrix[np.ix_(*at)] = blocks.transpose(2, 0, 1, 3).reshape(matrix.shape)
    return matrix


def low_rank_blocks(groups: tuple[int, int], p: int, v: int, rank: int, dtype: str = "float64", seed: int = 0) -> Any:
    """Products of normal numbers."""
    left = random_matrix((groups[0] * groups[1] * p, rank), dtype, seed).reshape(*groups, p, rank)
    return left @ random_matrix((groups[0] * groups[1] * rank, v), dtype, seed + 1).reshape(*groups, rank, v)


def errors_of(blocks: Any, left: Any, right: Any) -> Any:
    """Norm of what approximations, as tasks write them, leave of each block."""
    return np.linalg.norm(blocks - left.swapaxes(2, 3) @ right, axis=(2, 3))
