"""Begin a run for a stack, or continue one that a store holds."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from ...errors import CheckpointError
from ...execution.engine import Engine
from ...planning.stacked_plan import StackedPlan
from ...sources.missing_chunks import check_missing
from ...sources.stacks.base import StackSource
from ...storage.lease import Lease
from ...storage.manifest import Manifest
from ...storage.memory_workspace import MemoryWorkspace
from ...storage.run_store import RunStore
from ..identity import Identity
from ..request import Request
from ..results.stacked_files import load_stack
from ..resume import open_store
from ..stored_runs import check_chunks, continue_identity, create_or_open, load_result
from .current_run import StackRun, StoredStackRun
from .identity import read_records, recognise_stack
from .job import StackJob
from .manifests import begin_manifest, plan_entries, put_orderings_of_round, restore_round, round_entry

__all__ = ["open_stack_run"]

SAME_STACK = ("kind", "matrix", "passes", "tol", "sweeps", "asked")
"""Entries of the manifest in which a resumed run must agree with the stored one."""

_log = logging.getLogger("dbutterfly")


@contextlib.contextmanager
def open_stack_run(
    request: Request,
    stack: StackSource,
    engine: Engine,
    make_plan: Callable[[], StackedPlan],
    *,
    shared: bool | None,
    store: object = None,
    resume: bool = True,
) -> Iterator[StackRun]:
    """Begin a run, or continue it.

    Parameters
    ----------
    request : Request
        What is asked for.
    stack : StackSource
        The matrices.
    engine : Engine
        Where the tasks will run.
    make_plan : callable
        Returns the plan of a run that begins. A store that holds another run is refused before.
    shared : bool or None
        Whether all matrices get one chain, as asked.
    store : str, path, Zarr store or None
        Where the run keeps its progress; None for memory.
    resume : bool
        Whether to continue, or return, what the store holds.

    Yields
    ------
    StackRun
        The run, with its result where that is complete. A stored one may be written until the block ends.

    Raises
    ------
    StoreMismatchError
        If the store holds the run of another job.
    StoreBusyError
        If another process is at work in it.
    """
    if store is None:
        plan = make_plan()
        check_missing(stack, request.missing)
        sample = stack.draw_sample() if stack.is_computed else None
        yield StackRun(request, StackJob(stack, plan, MemoryWorkspace(), request.backend, sample))
        return
    manifest, stored = begin_manifest(request, stack, shared), open_store(store)
    if stored is not None:
        stored.check_same(manifest, SAME_STACK)
        if resume and (ended := _ended(request, stack, engine, stored)) is not None:
            yield ended
            return
    check_missing(stack, request.missing)
    first, identity = None, None
    if stored is None:
        first, identity = make_plan(), Identity.of(stack)
        stored, is_new = create_or_open(store, replace(manifest, identity=identity.to_json()))
        identity = identity if is_new else None
    with stored.lease() as lease:
        # What was found may have been changed, or ended, before the lease was taken.
        stored = RunStore.open(store, mode="r+") or stored
        stored.check_same(manifest, SAME_STACK)
        if resume and (ended := _ended(request, stack, engine, stored)) is not None:
            yield ended
            return
        rounds = _restore_rounds(stored, stack, request, engine) if resume and not stored.is_complete else []
        if rounds:
            check_chunks(stack, stored)
            identity = identity.keep(stored) if identity is not None else _continued(stack, stored, rounds[0])
        else:
            identity = identity or Identity.of(stack)
            rounds = [first or make_plan()]
            _begin(stored, replace(manifest, identity=identity.to_json()), rounds[0])
            identity.keep(stored)
        yield _stored_run(request, stack, rounds, identity, stored, lease)


def _stored_run(
    request: Request, stack: StackSource, rounds: list[StackedPlan], identity: Identity, stored: RunStore, lease: Lease
) -> StoredStackRun:
    job = StackJob(
        stack,
        rounds[0],
        stored.workspace,
        request.backend,
        sample=identity.sample if identity.stamps is None else None,
        keeps_digests=identity.needs_digests,
    )
    return StoredStackRun(request, job, rounds, store=stored, lease=lease)


def _begin(stored: RunStore, manifest: Manifest, plan: StackedPlan) -> None:
    """Begin the first round; its plan counts once its orderings are there."""
    stored.restart(manifest)
    put_orderings_of_round(stored, 0, plan)
    assert manifest.stack is not None
    stored.update(stack={**manifest.stack, "rounds": [round_entry(plan)]}, plan=plan_entries(plan))


def _restore_rounds(stored: RunStore, stack: StackSource, request: Request, engine: Engine) -> list[StackedPlan]:
    """Plans of the rounds that earlier sittings have begun; none where that was cut off, or is damaged."""
    assert stored.manifest.stack is not None
    count = len(stored.manifest.stack["rounds"])
    budget = engine.budget(request.memory, request.backend, request.device_memory)
    try:
        rounds = [restore_round(stored, number, stack, request, engine.workers) for number in range(count)]
        return [replace(plan, budget=budget) for plan in rounds]
    except CheckpointError as error:
        _log.warning("%s: the run begins anew", str(error).partition(";")[0])
        return []


def _ended(request: Request, stack: StackSource, engine: Engine, stored: RunStore) -> StackRun | None:
    """Run that has ended, once the matrices have been recognised; None of others, and of a damaged result."""
    result = load_result(stored, load_stack) if stored.is_complete else None
    if result is None:
        return None
    rounds = _restore_rounds(stored, stack, request, engine)
    if not rounds:
        return None
    found = recognise_stack(stack, stored, lambda: rounds[0], lambda: read_records(stored, rounds[0]))
    result.record["matrix_check"] = found.text
    return StackRun(request, StackJob(stack, rounds[0], MemoryWorkspace(), request.backend), result)


def _continued(stack: StackSource, stored: RunStore, plan: StackedPlan) -> Identity:
    """Identity with which a run goes on, once its matrices have been recognised."""
    found = recognise_stack(stack, stored, lambda: plan, lambda: read_records(stored, plan))
    return continue_identity(stack, stored, found)
