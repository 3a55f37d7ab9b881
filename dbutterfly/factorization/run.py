"""Run what is left of every stage, with a higher rank where the tolerance asks for it."""

from __future__ import annotations

import dataclasses
import logging
import warnings

from ..errors import CheckpointError, SourceError, ToleranceWarning
from ..execution.engine import Engine
from ..identification.result import IdentifiedOrderings
from .assemble import assemble
from .job import FactorizationJob
from .ranks import memory_workspace, next_rank, with_rank
from .request import Request
from .results.factorization import Factorization, index_arrays
from .resume import build_manifest, installed_version
from .stages import Run, run_stages
from .sweeps import run_sweeps
from .workspace_arrays import create_arrays, forget_damaged

__all__ = ["complete_run"]

_log = logging.getLogger("dbutterfly")


def complete_run(
    job: FactorizationJob,
    engine: Engine,
    run: Run | None,
    settings: Request,
    progress: bool,
    identified: IdentifiedOrderings | None,
) -> Factorization:
    """Run what is left to do, with higher ranks if the tolerance asks for them, and put the result together."""
    if run is not None and run.store.manifest.get("rank") is not None:  # it had been raised
        job = with_rank(job, run.store.manifest["rank"])
    while True:
        result = _run_once(job, engine, run, progress)
        rank = None if settings.tol is None else next_rank(job, result.certificate.error_bound, settings.tol)
        if rank is None:
            break
        _log.info("the error bound of rank %d is above tol=%g: on with rank %d", job.rank, settings.tol, rank)
        if rank <= job.plan.ranks[-1]:
            job = with_rank(job, rank)
            if run is not None:
                run.store.update(rank=rank)
        else:
            planned = settings.raised(job.plan.chain.of_rank(rank)).plan(job.source, engine)
            if run is not None:
                run.store.restart(build_manifest(job.source, planned, settings))
            workspace = memory_workspace(planned, settings.tol) if run is None else run.store.workspace
            job = dataclasses.replace(job, plan=planned, workspace=workspace)
    if settings.sweeps:
        result = run_sweeps(result, job, settings.sweeps)
    if settings.tol is not None and result.certificate.error_bound > settings.tol:
        warnings.warn(
            f"tol={settings.tol:g} was not reached: {result.certificate}; no chain of higher rank that was tried has "
            "fewer values than the matrix",
            ToleranceWarning,
            stacklevel=4,
        )
    if identified is not None:
        result.record["identified"] = identified.to_json()
    if run is not None:
        run.lease.confirm()
        final = {"certificate": result.certificate.to_json(), "record": result.record}
        chain = [list(pattern) for pattern in result.chain]
        arrays = index_arrays(job.plan.orderings)
        trace = None if result.trace is None else result.trace.to_arrays()
        run.store.write_result(result.ks_values, arrays, trace, chain=chain, **final)
    return result


def _run_once(job: FactorizationJob, engine: Engine, run: Run | None, progress: bool) -> Factorization:
    """Run what is left to do for one rank, and put the result together."""
    with create_arrays(job) as made:
        try:
            stages, rows = run_stages(job, engine, run, progress, made)
            recount = job.source.recount()
            if recount != job.plan.source.missing_chunks:
                raise SourceError(
                    f"{job.source.name}: {job.plan.source.missing_chunks} chunks were missing at the start of the run "
                    f"and {recount} are at its end; begin anew (resume=False) with a matrix that nobody changes"
                )
            how = {"workers": engine.workers, "version": installed_version(), "matrix": job.source.name}
            record = {"plan": job.plan.to_json(), "plan_text": str(job.plan), "engine": type(engine).__name__, **how}
            return assemble(job, {**record, "stages": stages}, rows)
        except CheckpointError as error:
            if run is None:
                raise
            raise forget_damaged(job, error) from error
