"""Manifests of runs for stacks: what was asked, the rounds that have begun, and the result."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from ...planning.budget import Budget
from ...planning.search import make_plan
from ...planning.stacked_plan import Batch, StackedPlan
from ...sources.stacks.base import StackSource
from ...storage.manifest import STACK, Manifest, index_arrays
from ...storage.result_arrays import digest_of
from ...storage.run_store import RunStore
from ...structure.chain import Chain
from ...structure.orderings import Orderings
from ...structure.points import Points
from ..manifests import digest_weights, running_version
from ..request import Request
from ..results.batch_entries import batch_entry, from_runs, orderings_of_entry
from .planning import plan_of_batches

__all__ = ["UNLIMITED", "begin_manifest", "plan_entries", "put_orderings_of_round", "restore_round", "round_entry"]

UNLIMITED = 1 << 60
"""Memory with which a plan is made whose tasks are what they are, whatever is free now."""


def begin_manifest(request: Request, stack: StackSource, shared: bool | None) -> Manifest:
    """Manifest of a run that begins, without a round."""
    kinds = [[kind, len(list(group))] for kind, group in itertools.groupby(stack.kinds)]
    asked = {
        "chain": None if request.chain is None else _describe(request.chain),
        "tree": _describe(request.tree),
        "rank": request.rank,
        "orderings": _describe(request.orderings),
        "points": _describe(request.points),
        "weights": digest_weights(stack.weights),
        "shared": shared,
        **({"prove": True} if request.prove else {}),
    }
    return Manifest(
        kind=STACK,
        version=running_version(),
        matrix={"matrices": len(stack), "kinds": kinds},
        passes=request.passes,
        tol=request.tol,
        sweeps=request.sweeps,
        stack={"asked": asked, "rounds": []},
    )


def _describe(value: Any) -> Any:
    """Plain value by which an argument is known again; of arrays, a digest."""
    if isinstance(value, np.ndarray):
        return digest_of(value)
    if isinstance(value, Chain):
        return [list(pattern) for pattern in value]
    if isinstance(value, Orderings):
        return [_describe(side) for side in value.sides.values()]
    if isinstance(value, Points):
        return [_describe(part) for part in vars(value).values()]
    if isinstance(value, (list, tuple)):
        return [_describe(part) for part in value]
    return value if value is None or isinstance(value, (int, float, str)) else repr(value)


def round_entry(plan: StackedPlan) -> list[dict[str, Any]]:
    """What the manifest says of a round."""
    return [
        batch_entry(
            batch.numbers,
            batch.plan.chain,
            batch.plan.tree,
            batch.plan.orderings,
            per_task=batch.per_task,
            peak_bytes=batch.peak_bytes,
            compiled=batch.plan.layout.compiled,
        )
        for batch in plan.batches
    ]


def plan_entries(plan: StackedPlan) -> dict[str, Any]:
    """Entry ``plan`` of the manifest: of the stages, that of the tasks that take matrices whole."""
    stages = {stage: count for stage, count in plan.tasks.items() if stage == "matrices"}
    count, missing = plan.chunks
    return {
        "tasks": stages,
        "split": None,
        "notes": list(plan.notes),
        "chunks": {"count": count, "missing": missing},
        "peak_bytes": plan.peak_bytes,
    }


def _side_place(number: int, at: int) -> str:
    """Where the index arrays of a batch of a round are."""
    return f"rounds/{number}/{at}"


def put_orderings_of_round(store: RunStore, number: int, plan: StackedPlan) -> None:
    """Store the index arrays of all batches of a round."""
    store.put_arrays(
        {
            f"{_side_place(number, at)}/{side}": values
            for at, batch in enumerate(plan.batches)
            for side, values in index_arrays(batch.plan.orderings.sides).items()
        }
    )


def restore_round(store: RunStore, number: int, stack: StackSource, request: Request, workers: int) -> StackedPlan:
    """Plan of a round that an earlier sitting has begun.

    Raises
    ------
    CheckpointError
        If an index array is missing or damaged.
    """
    manifest, batches = store.manifest, []
    assert manifest.stack is not None
    assert manifest.plan is not None
    for at, entry in enumerate(manifest.stack["rounds"][number]):
        numbers = from_runs(entry["numbers"])
        plan = make_plan(
            stack.matrix(int(numbers[0])).info,
            Chain(entry["chain"]),
            tree=entry["tree"],
            orderings=orderings_of_entry(store, _side_place(number, at), entry),
            passes=request.passes,
            budget=Budget(UNLIMITED, workers),
        )
        plan = plan if plan.split is None else replace(plan, ranks=(plan.split.rank,))
        plan = replace(plan, layout=plan.layout._replace(compiled=entry.get("compiled", False)))
        batches.append(Batch(plan=plan, numbers=numbers, per_task=entry["per_task"], peak_bytes=entry["peak_bytes"]))
    notes = tuple(manifest.plan["notes"]) if number == 0 else ()
    return replace(plan_of_batches(batches, stack), notes=notes)
