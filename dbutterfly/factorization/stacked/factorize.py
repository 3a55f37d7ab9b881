"""The main job for a stack: source, plan and engine give a factorization with a certificate for each matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...execution.engine import Engine
from ...planning.stacked_plan import StackedPlan
from ...sources.stacks.base import StackSource
from ...sources.weighted import rescale
from ..proof.prove import complete_proof
from ..request import Request
from ..results.factorization import Factorization
from ..results.stacked import StackedFactorization
from ..resume import open_run, open_store, scale_as_stored
from ..run import complete_run
from .improvement import check_improvements
from .planning import plan_stack
from .resume import open_stack_run
from .run import complete_stack

__all__ = ["factorize_stack"]


def factorize_stack(
    request: Request,
    stack: StackSource,
    engine: Engine,
    *,
    shared: bool | None,
    search: Callable[..., Any],
    store: Any = None,
    resume: bool = True,
    progress: bool = False,
) -> StackedFactorization:
    """Factorize the matrices of a stack; see :func:`dbutterfly.factorize`.

    Parameters
    ----------
    request : Request
        What is asked for.
    stack : StackSource
        The matrices.
    engine : Engine
        Where the tasks run.
    shared : bool or None
        Whether all matrices get one chain and one pair of orderings.
    search : callable
        Identifies the orderings of a matrix, given it and a ``rank``.
    store, resume
        As for :func:`dbutterfly.factorize`.
    progress : bool
        Whether to show progress.
    """
    make_plan = partial(_plan, request, stack, engine, shared=shared, search=search)
    one = partial(_factorize_one, stack, engine, progress=progress)
    where: dict[str, Any] = {"shared": shared, "store": store, "resume": resume}
    with open_stack_run(request, stack, engine, make_plan, **where) as run:
        return run.result or complete_stack(run, engine, one, progress=progress)


def _plan(request: Request, stack: StackSource, engine: Engine, **how: Any) -> StackedPlan:
    """Plan the job, and refuse sweeps and proofs that a worker cannot hold."""
    plan = plan_stack(request, stack, engine, **how)
    for batch in plan.batches:
        check_improvements(request, batch, stack)
    return plan


def _factorize_one(
    stack: StackSource, engine: Engine, number: int, request: Request, place: Any, *, progress: bool
) -> Factorization:
    """Factorize a matrix of a stack by itself."""
    stored = open_store(place)
    matrix = scale_as_stored(request, stack.matrix(number), stored)
    with open_run(request, matrix, engine, store=place, stored=stored) as run:
        result = run.result or complete_run(run, engine, progress=progress)
    where = {"memory": request.memory, "place": place, "progress": progress}
    return complete_proof(result, rescale(matrix, 0), engine, **where) if request.prove else result
