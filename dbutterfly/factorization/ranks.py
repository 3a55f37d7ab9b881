"""When and how the ranks of a run are raised.

Each cut of a chain has its own rank. What the tiles were split for, and what the workspace keeps apart, is the rank of
the root cut; the ranks of all cuts are raised by as much as that of the root cut.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from ..planning.plan import Plan
from ..planning.tolerance import LARGEST_RANK
from ..storage.rank_workspace import RankWorkspace
from ..storage.workspace import MemoryWorkspace, Workspace
from .block_stats import BlockStats
from .job import FactorizationJob
from .workspace_arrays import workspace_arrays

__all__ = ["memory_workspace", "next_rank", "rank_beyond", "with_rank"]


STALLED = 0.97
"""Part of the error that a further rank must undercut: where it leaves more, the error is noise, and no rank will do.
Not tuned."""


def next_rank(job: FactorizationJob, error_bound: float, tol: float) -> int | None:
    """Choose the rank with which a run goes on whose certificate does not confirm the tolerance.

    Parameters
    ----------
    job : FactorizationJob
        A job that has been run, with its chain of some rank.
    error_bound : float
        Error bound of its result.
    tol : float
        What it should be.

    Returns
    -------
    int or None
        The least rank of the root cut that the energies beyond each rank at this cut let expect to do, extrapolated
        where it is beyond those for which the tiles were split; None if the tolerance is reached, or seems out of
        reach.
    """
    if error_bound <= tol or job.plan.split is None:
        return None
    stats = BlockStats.from_array(job.workspace.read("stats", (slice(None),)))
    ranks = job.plan.ranks
    left = np.sqrt(stats.discarded.sum(axis=(0, 1)))
    now = ranks.index(job.rank)
    if left[now] == 0:  # the root cut has all of its blocks in full, and another one is short
        return _worth(job, job.rank + 1)
    expected = error_bound * left / left[now]
    fitting = [rank for rank, error in zip(ranks, expected, strict=True) if rank > job.rank and error <= tol]
    rank = fitting[0] if fitting else _extrapolate(ranks, expected, tol)
    return None if rank is None else _worth(job, rank)


def rank_beyond(job: FactorizationJob, errors: NDArray[np.float64], tol: float) -> int | None:
    """Choose a rank beyond those for which tiles are split, from errors for these; None if none seems worthwhile."""
    rank = _extrapolate(job.plan.ranks, errors, tol)
    return None if rank is None else _worth(job, rank)


def _worth(job: FactorizationJob, rank: int) -> int | None:
    """A rank of the root cut, if the chain with it is smaller than the matrix; else None."""
    values = job.plan.chain.raised(rank - job.rank).nnz
    return None if rank > LARGEST_RANK or values >= math.prod(job.plan.source.shape) else rank


def _extrapolate(ranks: tuple[int, ...], expected: NDArray[np.float64], tol: float) -> int | None:
    if len(ranks) == 1:
        return ranks[-1] + 1
    per_rank = (expected[-1] / expected[0]) ** (1 / (ranks[-1] - ranks[0]))
    if per_rank > STALLED:
        return None
    return ranks[-1] + max(1, math.ceil(math.log(tol / expected[-1]) / math.log(max(per_rank, 1e-3))))


def with_rank(job: FactorizationJob, rank: int) -> FactorizationJob:
    """Continue a job with a rank of the root cut for which its tiles are split already; the others rise as much."""
    assert job.plan.split is not None
    assert isinstance(job.workspace, RankWorkspace)
    chain = job.plan.chain.raised(rank - job.rank)
    split = chain.cut(job.root)[0]
    return dataclasses.replace(
        job,
        plan=dataclasses.replace(job.plan, chain=chain, split=split),
        workspace=job.workspace.of_rank(rank),
    )


def memory_workspace(planned: Plan, tol: float | None) -> Workspace:
    """Workspace in memory; with a view for each rank where a tolerance may raise it."""
    workspace = MemoryWorkspace()
    if tol is None or planned.split is None:
        return workspace
    shared = frozenset(array.name for array in workspace_arrays(planned).values() if not array.per_rank)
    return RankWorkspace(workspace, planned.split.rank, shared)
