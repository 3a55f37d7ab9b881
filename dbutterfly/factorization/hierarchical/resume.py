"""Begin a hierarchical run, or continue one that a store holds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...execution.engine import Engine
from ...execution.task import Record
from ...planning.hierarchical_plan import HierarchicalPlan
from ...sources.base import MatrixSource
from ...sources.missing_chunks import check_missing
from ...sources.weighted import rescale
from ...storage.manifest import Manifest
from ...storage.run_store import RunStore
from ..identity import DIGEST, Identity, digests_of_run, recognise
from ..request import Request
from ..results.hierarchical_files import load_hierarchical
from ..stored_runs import check_chunks, continue_identity, create_or_open, identity_of, load_result
from .current_run import HierarchicalRun, StoredHierarchicalRun
from .job import HierarchicalJob, memory_workspace
from .manifests import begin_manifest, layout_entry, plan_entry
from .planning import check_hierarchical, plan_hierarchical

__all__ = ["MakePlan", "open_hierarchical_run"]

SAME_RUN = ("kind", "matrix", "tol", "asked")
"""Entries of the manifest in which a resumed run must agree with the stored one."""

MakePlan = Callable[[MatrixSource], HierarchicalPlan]
"""Plans a run that begins, of a matrix."""


@contextlib.contextmanager
def open_hierarchical_run(
    request: Request,
    source: MatrixSource,
    engine: Engine,
    make_plan: MakePlan,
    *,
    store: Any = None,
    stored: RunStore | None = None,
    resume: bool = True,
) -> Iterator[HierarchicalRun]:
    """Begin a run, or continue it.

    Parameters
    ----------
    request : Request
        What is asked for.
    source : MatrixSource
        The matrix, in range.
    engine : Engine
        Where the tasks will run.
    make_plan : callable
        Returns the plan of a run that begins. A store that holds another run is refused before.
    store : str, path, Zarr store or None
        Where the run keeps its progress; None for memory.
    stored : RunStore or None
        Run that was found there.
    resume : bool
        Whether to continue, or return, what the store holds.

    Yields
    ------
    HierarchicalRun
        The run, with its result where that is complete. A stored one may be written until the block ends.

    Raises
    ------
    StoreMismatchError
        If the store holds the run of another job.
    StoreBusyError
        If another process is at work in it.
    """
    check_hierarchical(request, source)
    manifest = begin_manifest(request, source)
    if stored is not None:
        stored.check_same(manifest, SAME_RUN)
        if resume and (ended := _ended(request, source, engine, stored)) is not None:
            yield ended
            return
    if stored is None and not source.is_computed:  # else its regions are compared with a sample
        source.check_reproducible()
    check_missing(source, request.missing)
    if store is None:
        sample = source.draw_sample() if source.is_computed else None
        yield HierarchicalRun(
            request, HierarchicalJob(source, make_plan(source), memory_workspace(), request.backend, sample)
        )
        return
    plan, identity = None, None
    if stored is None:
        plan, identity = make_plan(source), Identity.of(source)
        stored, is_new = create_or_open(store, replace(manifest, identity=identity.to_json()))
        identity = identity if is_new else None
    with stored.lease() as lease:
        # What was found may have been changed, or ended, before the lease was taken.
        stored = RunStore.open(store, mode="r+") or stored
        stored.check_same(manifest, SAME_RUN)
        if resume and (ended := _ended(request, source, engine, stored)) is not None:
            yield ended
            return
        if resume and not stored.is_complete and _has_plan(stored):
            source = rescale(source, stored.manifest.exponent or 0)
            check_chunks(source, stored)
            plan = plan_hierarchical(request, source, engine, stored.manifest)
            identity = identity.keep(stored) if identity is not None else _continued(source, stored, plan)
        else:
            plan = plan or make_plan(source)
            if identity is None:
                identity = _recognised(source, stored, plan) if resume else Identity.of(source)
            _begin(stored, replace(manifest, identity=identity.to_json()), plan)
            identity.keep(stored)
        job = HierarchicalJob(source, plan, stored.workspace, request.backend)
        yield StoredHierarchicalRun(request, identity.watch(job), store=stored, lease=lease)


def _has_plan(stored: RunStore) -> bool:
    """Whether a run has come as far as its plan, by a version that has kept what this one reads."""
    entry = stored.manifest.hierarchical
    return entry is not None and "strip_level" in entry.get("layout", {}) and stored.manifest.plan is not None


def _begin(stored: RunStore, manifest: Manifest, plan: HierarchicalPlan) -> None:
    """Begin a run, with its plan."""
    assert manifest.hierarchical is not None
    entry = {**manifest.hierarchical, "layout": layout_entry(plan)}
    stored.restart(replace(manifest, hierarchical=entry, plan=plan_entry(plan)))


def _ended(request: Request, source: MatrixSource, engine: Engine, stored: RunStore) -> HierarchicalRun | None:
    """Run that has ended, once the matrix has been recognised; None of others, and of a damaged result."""
    result = load_result(stored, load_hierarchical) if stored.is_complete else None
    if result is None or not _has_plan(stored):
        return None
    plan = partial(plan_hierarchical, request, source, engine, stored.manifest)
    found = recognise(source, stored, plan, lambda: _digests_of_result(stored))
    result.record["matrix_check"] = found.text
    return HierarchicalRun(request, HierarchicalJob(source, plan(), memory_workspace(), request.backend), result)


def _digests_of_result(stored: RunStore) -> NDArray[np.float64] | None:
    """Digests of all that a run that has ended had read; None where they are not there any more."""
    tasks = next(iter(stored.manifest.tasks.values()))
    with contextlib.suppress(CheckpointError):
        return stored.read_array("tasks", (tasks, len(Record._fields)), "float64")[:, DIGEST]
    return None


def _continued(source: MatrixSource, stored: RunStore, plan: HierarchicalPlan) -> Identity:
    """Identity with which a run goes on, once its matrix has been recognised."""
    found = recognise(source, stored, lambda: plan, lambda: digests_of_run(stored, plan))
    return continue_identity(source, stored, found)


def _recognised(source: MatrixSource, stored: RunStore, plan: HierarchicalPlan) -> Identity:
    """Identity with which a run begins anew that had not come to its plan, or of which the result was damaged."""
    return identity_of(source, stored, recognise(source, stored, lambda: plan, lambda: None))
