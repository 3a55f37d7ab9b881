"""Larger chains for matrices of a stack that miss the tolerance with the one that they have had."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from ...errors import InputError, ToleranceError
from ...execution.engine import Engine
from ...planning.plan import Plan
from ...planning.stacked_plan import Batch
from ...planning.tolerance import LARGEST_RANK
from ...structure.chain import Chain
from ..ranks import STALLED
from ..request import Request
from .job import StackJob
from .planning import plan_one, without_spare

__all__ = ["Tried", "plan_larger"]

FAR = 4
"""Times the tolerance from which on a matrix is far off; nearer ones may miss it by what samples leave open. Not tuned.
"""

Tried = list[tuple[Chain, float]]
"""Chains that a matrix has had, and the error bound that came out."""

_log = logging.getLogger("dbutterfly")


def plan_larger(
    request: Request,
    job: StackJob,
    engine: Engine,
    batch: Batch,
    tried: Mapping[int, Tried],
    missed: dict[int, float],
) -> Plan | None:
    """Plan for matrices that miss the tolerance; None where no chain is left to try.

    The worst of them is sampled: it may not have been when the chain was looked for. Where that leads to a chain that
    it has had, the ranks are raised.

    Parameters
    ----------
    request : Request
        What was asked for, with the orderings of the batch.
    job : StackJob
        The run.
    engine : Engine
        Where it runs.
    batch : Batch
        The matrices of one chain, some of which miss the tolerance.
    tried : mapping of Tried
        What each matrix has had.
    missed : dict of float
        Error bounds of those that miss it. Matrices that are far off, and that no chain seems to bring there, are taken
        out: they stay as they are, where they would take the others with them through all ranks.
    """
    assert request.tol is not None
    while missed:
        worst = max(missed, key=lambda k: missed[k])
        matrix, plan = job.source.matrix(worst), None
        try:
            plan = plan_one(request, matrix, engine)
        except ToleranceError:
            if missed[worst] > FAR * request.tol:
                _log.info("%s: tol=%g is out of its reach", job.source.name_matrix(worst), request.tol)
                del missed[worst]
                continue
        except InputError:
            pass
        if plan is None or any(plan.chain == chain for chain, _ in tried[worst]):
            chain = _raise_ranks(batch, tried[worst], request.tol)
            plan = None if chain is None else request.with_chain(chain).plan(matrix, engine)
        return None if plan is None else without_spare(plan)
    return None


def _raise_ranks(batch: Batch, tried: list[tuple[Chain, float]], tol: float) -> Chain | None:
    """Chain with higher ranks, extrapolated from the errors so far; None where none will do."""
    plan, (chain, error) = batch.plan, tried[-1]
    if plan.split is None:
        return None
    step = 1
    if len(tried) > 1 and error > 0:
        before, worse = tried[-2]
        steps = chain.rank - before.rank
        if steps > 0 and before.raised(steps) == chain:
            per_rank = (error / worse) ** (1 / steps)
            if per_rank > STALLED:
                return None
            step = max(1, math.ceil(math.log(tol / error) / math.log(max(per_rank, 1e-3))))
    higher = chain.raised(step)
    is_worth = higher.rank <= LARGEST_RANK and higher.nnz < math.prod(plan.source.shape)
    return higher if is_worth else None
