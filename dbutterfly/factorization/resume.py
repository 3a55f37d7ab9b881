"""Begin a run, or continue one that a store holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import StoreMismatchError
from ..execution.engine import Engine
from ..identification.unknown_sides import is_unknown
from ..planning.plan import Plan
from ..sources.base import MatrixSource
from ..sources.magnitude import bring_into_range
from ..sources.missing_chunks import check_missing
from ..sources.weighted import rescale
from ..storage.manifest import Manifest
from ..storage.run_store import RunStore
from ..structure.tree import split_tree
from .current_run import Run, StoredRun
from .identity import Identity, digests_of_result, digests_of_run, recognise
from .job import FactorizationJob
from .manifests import build_manifest, describe_matrix, layout_of, nest
from .ranks import memory_workspace
from .request import Request
from .results.factorization import Factorization, load
from .stored_runs import check_chunks, continue_identity, create_or_open, identity_of, load_result
from .sweeps import check_sweeps
from .workspace_arrays import open_workspace

__all__ = ["check_store", "open_run", "open_store", "scale_as_stored"]

SAME_RUN = ("weights", "dtype", "chain", "tree", "orderings", "matrix", "passes", "tol", "sweeps")
"""Entries of the manifest in which a resumed run must agree with the stored one."""

KNOWN_BEFOREHAND = ("dtype", "matrix", "passes", "tol", "sweeps")
"""Those of them that are known before a chain and orderings are looked for."""


def open_store(store: Any) -> RunStore | None:
    """Open the run that a store holds; None where there is no store, or no run in it."""
    return None if store is None else RunStore.open(store, mode="r+")


def scale_as_stored(request: Request, source: MatrixSource, stored: RunStore | None) -> MatrixSource:
    """Scale a matrix as the run does that a store holds; for a new run, by what a few entries say of its range.

    Where nothing is looked at before the run is planned, that waits until it is: what cannot be planned reads nothing.
    """
    if _has_begun(stored):
        assert stored is not None
        return rescale(source, stored.manifest.exponent or 0)
    return bring_into_range(source, is_read=True) if request.looks_first else source


def _has_begun(stored: RunStore | None) -> bool:
    """Whether a store holds a run that knows its matrix, and so has scaled it."""
    return stored is not None and stored.manifest.identity is not None


def check_store(request: Request, source: MatrixSource, stored: RunStore | None) -> None:
    """Refuse the store of another run before a chain or orderings are looked for, which may take long.

    Raises
    ------
    StoreMismatchError
        If it holds the run of another matrix, tolerance, number of reads or sweeps; what else there may be is seen when
        the run is planned.
    """
    if stored is None or (request.tol is None and not is_unknown(request.orderings)):
        return
    before = stored.manifest
    names = [
        name for name in _same(before, request.tol, KNOWN_BEFOREHAND) if name != "matrix" or before.identity is not None
    ]
    asked = replace(
        before,
        dtype=source.info.work_dtype,
        matrix={**(before.matrix or {}), **describe_matrix(source)},
        passes=request.passes,
        tol=request.tol,
        sweeps=request.sweeps or None,
    )
    stored.check_same(asked, names)


@contextlib.contextmanager
def open_run(
    request: Request,
    source: MatrixSource,
    engine: Engine,
    *,
    store: Any = None,
    stored: RunStore | None = None,
    resume: bool = True,
) -> Iterator[Run]:
    """Begin a run, or continue it.

    Parameters
    ----------
    request : Request
        What is asked for; its orderings are known.
    source : MatrixSource
        The matrix.
    engine : Engine
        Where the tasks will run.
    store : str, path, Zarr store or None
        Where the run keeps its progress; None for memory.
    stored : RunStore or None
        Run that :func:`open_store` has found there.
    resume : bool
        Whether to continue, or return, what the store holds.

    Yields
    ------
    Run
        The run, with its result where that is complete. A stored one may be written until the block ends.

    Raises
    ------
    StoreMismatchError
        If the store holds the run of another job.
    StoreBusyError
        If another process is at work in it.
    """
    source, plan = _plan_in_range(request, source, engine, stored, is_known=resume and _has_begun(stored))
    if request.sweeps:
        check_sweeps(plan, request.sweeps)
    if store is None:
        check_missing(source, request.missing)
        _check_reproducible(source)
        yield _in_memory(request, source, plan)
        return
    manifest = _manifest(request, source, plan)
    if stored is not None:
        _check_same(stored, manifest, plan, resume)
        if resume and (ended := _ended(request, source, engine, plan, stored)) is not None:
            yield ended
            return
    check_missing(source, request.missing)
    identity = None
    if stored is None:
        _check_reproducible(source)
        identity = Identity.of(source)
        stored, is_new = create_or_open(store, replace(manifest, identity=identity.to_json()))
        identity = identity if is_new else None
    with stored.lease() as lease:
        # What was found may have been changed, or ended, before the lease was taken.
        stored = RunStore.open(store, mode="r+") or stored
        _check_same(stored, manifest, plan, resume)
        if resume and stored.manifest.identity is not None:
            source = rescale(source, stored.manifest.exponent or 0)
        if resume and (ended := _ended(request, source, engine, plan, stored)) is not None:
            yield ended
            return
        if resume and not stored.is_complete:
            stored.check_has("plan", "layout")
            check_chunks(source, stored)
            plan = request.with_chain_of(stored.manifest).plan(source, engine, earlier=stored.manifest)
            identity = identity.keep(stored) if identity is not None else _continued(source, stored, plan)
            if stored.manifest.out_of_reach is not None:
                stored.update(tol=request.tol, out_of_reach=None)
        else:
            identity = _recognised(source, stored, plan) if resume else Identity.of(source)
            stored.restart(replace(manifest, identity=identity.to_json()))
            identity.keep(stored)
        if request.identified is not None:
            stored.put_orderings(plan.orderings.sides)
        job = FactorizationJob(source, plan, open_workspace(stored), request.backend)
        yield StoredRun(request, identity.watch(job), store=stored, lease=lease)


def _plan_in_range(
    request: Request, source: MatrixSource, engine: Engine, stored: RunStore | None, *, is_known: bool
) -> tuple[MatrixSource, Plan]:
    """Plan of a run, and its matrix, scaled unless its scale is known or was looked at before."""
    chosen = request.with_chain_of(None if stored is None else stored.manifest)
    plan = chosen.plan(source, engine)
    scaled = source if is_known or request.looks_first else bring_into_range(source)
    return scaled, plan if scaled is source else chosen.plan(scaled, engine)


def _check_reproducible(source: MatrixSource) -> None:
    """Refuse a matrix that does not repeat; tiles of one that is computed will be compared with a sample instead."""
    if not source.is_computed:
        source.check_reproducible()


def _ended(request: Request, source: MatrixSource, engine: Engine, plan: Plan, stored: RunStore) -> Run | None:
    """Run that has ended, once the matrix has been recognised as its own; None of others, and of a damaged result."""
    result = load_result(stored, load) if stored.is_complete else None
    if result is None:
        return None
    as_it_was = partial(request.with_chain_of(stored.manifest).plan, source, engine, earlier=stored.manifest)
    found = recognise(source, stored, as_it_was, lambda: digests_of_result(result))
    result.record["matrix_check"] = found.text
    return _in_memory(request, source, plan, result)


def _continued(source: MatrixSource, stored: RunStore, plan: Plan) -> Identity:
    """Identity with which a run goes on, once its matrix has been recognised."""
    found = recognise(source, stored, lambda: plan, lambda: digests_of_run(stored, plan))
    return continue_identity(source, stored, found)


def _recognised(source: MatrixSource, stored: RunStore, plan: Plan) -> Identity:
    """Identity with which a run begins anew of which the result was damaged, once its matrix has been recognised."""
    return identity_of(source, stored, recognise(source, stored, lambda: plan, lambda: None))


def _in_memory(request: Request, source: MatrixSource, plan: Plan, result: Factorization | None = None) -> Run:
    """Run without a store; or a stored one that has ended, of which there is only the result."""
    is_compared = source.is_computed or plan.nested is not None  # skeletons meet few entries twice
    sample = source.draw_sample() if is_compared and result is None else None
    job = FactorizationJob(source, plan, memory_workspace(plan, request.tol), request.backend, sample=sample)
    return Run(request, job, result)


def _manifest(request: Request, source: MatrixSource, plan: Plan) -> Manifest:
    """Manifest of the run, if it begins."""
    manifest = build_manifest(source, plan, tol=request.tol, sweeps=request.sweeps)
    identified = request.identified
    return manifest if identified is None else replace(manifest, identified=identified.to_json())


def _same(stored: Manifest, tol: float | None, names: tuple[str, ...]) -> tuple[str, ...]:
    """Entries in which a run with this tolerance must agree with a stored one."""
    return tuple(name for name in names if name != "tol" or not stored.may_have_tolerance(tol))


def _check_same(stored: RunStore, manifest: Manifest, plan: Plan, resume: bool) -> None:
    """Refuse a store of another job; where the arguments leave the root cut free, that of the stored run is asked."""
    names = _same(stored.manifest, manifest.tol, SAME_RUN)
    if stored.manifest.matrix is not None and stored.manifest.identity is None:
        if resume:
            raise StoreMismatchError(
                f"store={stored.group.store_path} was written by dbutterfly {stored.manifest.version}, which kept "
                "nothing by which its matrix is known again; dbutterfly.open opens a run that has ended, and "
                "resume=False begins anew"
            )
        names = tuple(name for name in names if name != "matrix")
    factors = len(plan.chain)
    # What was saved was not run here, and has no layout.
    root = 0 if stored.manifest.layout is None else layout_of(stored.manifest).root
    if not plan.tree_is_given and 1 <= root < factors:
        manifest = replace(manifest, tree=nest(split_tree(factors, "balanced", root)))
    stored.check_same(manifest, names)
