"""The plan of a stack: one search for a chain and orderings for all, or one for each matrix."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import (
    DButterflyError,
    InputError,
    MemoryBudgetError,
    NonFiniteError,
    ToleranceError,
)
from ...execution.engine import Engine
from ...identification.unknown_sides import is_unknown
from ...planning.plan import Plan
from ...planning.stacked_plan import Batch, StackedPlan, matrices_per_task
from ...sources.base import MatrixSource
from ...sources.magnitude import bring_into_range
from ...sources.stacks.base import StackSource
from ...structure.arguments import show_value
from ...structure.orderings import AUTO
from ..advice.choose import choose_orderings
from ..proof.ways import describe_cost
from ..request import Request
from ..unknown_orderings import find_orderings
from .kernels import are_compiled_worthwhile

__all__ = [
    "batch_of",
    "is_shared",
    "plan_of_batches",
    "plan_one",
    "plan_stack",
    "settle_orderings",
    "without_spare",
]

SAMPLED = 8
"""Matrices of a stack that are sampled where one chain is looked for that reaches a tolerance for all of them.

Not tuned: frequencies and the like change the rank steadily, so that the ends and some between them tell. The
certificates say whether it was enough.
"""

Search = Callable[..., Any]
"""Identifies the orderings of a matrix, given it and a ``rank``."""


def is_shared(stack: StackSource, shared: bool | None) -> bool:
    """Whether all matrices get one chain and one pair of orderings; by default where they are of one kind.

    Raises
    ------
    InputError
        If they are to, and are of different kinds; the message names the first that differs.
    """
    kinds = stack.kinds
    unlike = next((number for number, kind in enumerate(kinds) if kind != kinds[0]), None)
    if shared and unlike is not None:
        raise InputError(
            f"shared=True gives all matrices one chain, and {stack.name_matrix(unlike)} is {kinds[unlike]}, the first "
            f"{kinds[0]}; pass shared=False, so that each has its own"
        )
    return unlike is None if shared is None else shared


def plan_stack(
    request: Request, stack: StackSource, engine: Engine, *, shared: bool | None = None, search: Search | None = None
) -> StackedPlan:
    """Plan the job for a stack.

    Parameters
    ----------
    request : Request
        What is asked for.
    stack : StackSource
        The matrices.
    engine : Engine
        Where the tasks will run.
    shared : bool, optional
        Whether all matrices get one chain and one pair of orderings; by default where they have one shape and dtype.
    search : callable, optional
        Identifies orderings that are to be found.

    Raises
    ------
    InputError
        If the arguments do not fit the matrices; the message names the first that they do not fit.
    """
    if is_shared(stack, shared):
        plan, notes = _plan_shared(request, stack, engine, search)
        batches = [batch_of(plan, range(len(stack)), stack)]
    else:
        batches, notes = _batches_of_own(request, stack, engine, search), ()
    return plan_of_batches(batches, stack, (*notes, *_notes_of_proofs(request, batches, stack)))


def _notes_of_proofs(request: Request, batches: list[Batch], stack: StackSource) -> Iterator[str]:
    """What a proof of each matrix takes, of the first batch whose matrices are taken whole."""
    batch = next((each for each in batches if each.is_together and len(each.plan.chain) > 1), None)
    if request.prove and batch is not None:
        yield f"of each matrix, {describe_cost(batch.plan.chain, stack.matrix(int(batch.numbers[0])), ())}"


def _plan_shared(
    request: Request, stack: StackSource, engine: Engine, search: Search | None
) -> tuple[Plan, tuple[str, ...]]:
    """Plan for one matrix that serves for all."""
    middle = bring_into_range(stack.matrix(len(stack) // 2), is_read=request.looks_first)
    request = choose_orderings(request, middle, engine)
    if is_unknown(request.orderings):
        request = _find_orderings(request, middle, search)
        notes: tuple[str, ...] = (f"orderings identified for matrix {len(stack) // 2}, and taken for all",)
    elif request.tol is not None and request.found_chain is None:
        request, notes = _find_hardest(request, stack, engine)
    else:
        notes = ()
    return without_spare(plan_one(request, stack.matrix(0), engine)), notes


def plan_one(request: Request, matrix: MatrixSource, engine: Engine) -> Plan:
    """Plan for a matrix of a stack; where blocks of it are looked at first, they are brought into range."""
    if not request.looks_first:
        return request.plan(matrix, engine)
    return replace(request.plan(bring_into_range(matrix, is_read=True), engine), source=matrix.info)


def _find_orderings(request: Request, matrix: MatrixSource, search: Search | None) -> Request:
    if search is None:
        raise InputError(f"orderings={show_value(request.orderings)} are not known yet; identify them first")
    return find_orderings(request, matrix, None, lambda rank: search(matrix, rank=rank))


def _find_hardest(request: Request, stack: StackSource, engine: Engine) -> tuple[Request, tuple[str, ...]]:
    """Request with the chain of the sampled matrix that needs the most values for the tolerance."""
    numbers = np.unique(np.linspace(0, len(stack) - 1, min(SAMPLED, len(stack))).astype(int)).tolist()
    found, fault = [], None
    for number in numbers:
        try:
            with _naming(stack, number):
                plan = plan_one(request, stack.matrix(number), engine)
        except (NonFiniteError, ToleranceError) as error:  # its task, or its certificate, tells of it
            fault = fault or error
            continue
        found.append((plan.chain.nnz, number, plan))
    if not found:
        assert fault is not None
        raise fault
    _, number, hardest = max(found, key=lambda each: each[:2])
    text = f"that of matrix {number}, which needs the most values of {len(found)} that were sampled"
    return request.with_chain(hardest.chain), (*hardest.notes, text)


def _batches_of_own(request: Request, stack: StackSource, engine: Engine, search: Search | None) -> list[Batch]:
    """Batches of matrices that have come to the same chain."""
    groups: dict[Any, tuple[Plan, list[int]]] = {}
    beyond: list[ToleranceError] = []
    for number in range(len(stack)):
        plan = _plan_own(request, stack, number, engine, search, beyond)
        known = plan.source.shape, plan.source.dtype, plan.chain, plan.tree, _key(plan)
        groups.setdefault(known, (plan, []))[1].append(number)
    if len(beyond) == len(stack):
        raise beyond[0]
    return [batch_of(plan, numbers, stack) for plan, numbers in groups.values()]


def _plan_own(
    request: Request,
    stack: StackSource,
    number: int,
    engine: Engine,
    search: Search | None,
    beyond: list[ToleranceError],
) -> Plan:
    """Plan for one matrix; one whose tolerance is out of reach goes to ``beyond``, and gets the default chain."""
    matrix = bring_into_range(stack.matrix(number), is_read=request.looks_first)
    try:
        with _naming(stack, number):
            request = choose_orderings(request, matrix, engine)
            if is_unknown(request.orderings):
                request = _find_orderings(request, matrix, search)
            return without_spare(plan_one(request, stack.matrix(number), engine))
    except ToleranceError as error:
        beyond.append(error)
        return without_spare(replace(request, tol=None).plan(stack.matrix(number), engine))
    except NonFiniteError:  # found while its blocks were looked at: its task tells of it
        return without_spare(replace(request, tol=None, orderings=None).plan(matrix, engine))


def settle_orderings(request: Request, plan: Plan) -> Request:
    """Request with the orderings of a plan, where it has left the choice."""
    if is_unknown(request.orderings) or (isinstance(request.orderings, str) and request.orderings == AUTO):
        return replace(request, orderings=plan.orderings, points=None)
    return request


@contextlib.contextmanager
def _naming(stack: StackSource, number: int) -> Iterator[None]:
    """Block in which errors name the matrix that they are about."""
    try:
        yield
    except (NonFiniteError, MemoryBudgetError):
        raise
    except DButterflyError as error:
        name = stack.name_matrix(number)
        if name not in str(error):
            error.args = (f"{name}: {error.args[0]}", *error.args[1:])
        raise


def _key(plan: Plan) -> Any:
    """What tells apart the orderings of two plans, and how each lies in storage."""
    sides = (side.tobytes() if isinstance(side, np.ndarray) else side for side in plan.orderings.sides.values())
    return (*sides, plan.source.sampled, plan.source.probed)


def without_spare(plan: Plan) -> Plan:
    """Plan that splits the blocks for the rank of its chain alone."""
    return plan if plan.split is None else replace(plan, ranks=(plan.split.rank,))


def batch_of(plan: Plan, numbers: Iterable[int], stack: StackSource) -> Batch:
    """Batch of matrices that a plan for one of them serves."""
    chosen = np.array(list(numbers), np.int64)
    if plan.split is not None and not (plan.source.sampled or plan.source.probed):
        plan = replace(plan, layout=plan.layout._replace(compiled=are_compiled_worthwhile(plan, int(chosen.size))))
    per_task, peak = matrices_per_task(plan, int(chosen.size), plan.budget, stack.per_chunk)
    return Batch(plan=plan, numbers=chosen, per_task=per_task, peak_bytes=peak)


def plan_of_batches(batches: Iterable[Batch], stack: StackSource, notes: tuple[str, ...] = ()) -> StackedPlan:
    """Plan of a run of these batches."""
    batches = tuple(batches)
    read = 0
    for batch in batches:
        if batch.is_together:
            read += sum(stack.bytes_of(batch.numbers[first:last]) for first, last in batch.ranges)
        else:
            read += int(batch.numbers.size) * batch.plan.bytes_read
    left = stack.left_out
    more = (f"left as they are: {', '.join(left[:8])}{', ...' if len(left) > 8 else ''}",) if left else ()
    return StackedPlan(
        name=stack.name,
        batches=batches,
        budget=batches[0].plan.budget,
        source_bytes=stack.nbytes,
        bytes_read=read,
        chunks=(stack.chunk_count, stack.missing_chunks),
        notes=(*notes, *more),
    )
