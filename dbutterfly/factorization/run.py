"""The stages of a run, again with a higher rank where the tolerance asks for it, and the result."""

from __future__ import annotations

import logging
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import RangeError, ToleranceError, ToleranceWarning, warn_caller
from ..execution.engine import Engine
from ..execution.thread_engine import ThreadEngine
from ..kernels.compilation import count_run
from ..planning.nested import evaluates_less
from ..planning.plan import Plan
from .arrays import create_arrays, create_first_arrays
from .assemble import assemble
from .confirmation import confirm_result
from .current_run import Run
from .job import FactorizationJob
from .manifests import running_version
from .nested_ranks import next_nested
from .provenance import describe_provenance
from .ranks import next_rank
from .reach import RankTooLow
from .results.factorization import Factorization
from .scaled_factors import multiply_by_power
from .stages import run_stages
from .sweeps import run_sweeps
from .weighted_factors import divide_by_weights

__all__ = ["MOST_SCALES", "complete_run"]

MOST_SCALES = 8
"""Powers of two that are tried before a matrix is refused. Not tuned: one mostly does, since each is that of entries
that were met; of those that have vanished, or cannot be told, up to three are tried."""

BANDWIDTH = 1e9
"""Bytes per second that a plan takes the storage to give, where it says how long a run will take."""

_log = logging.getLogger("dbutterfly")


def complete_run(run: Run, engine: Engine, *, progress: bool = False) -> Factorization:
    """Do what is left to do of a run, and keep its result.

    Parameters
    ----------
    run : Run
        The run. Its rank is raised where the certificate does not confirm the tolerance that was asked for.
    engine : Engine
        Where its tasks run.
    progress : bool
        Whether to show a bar for every stage.
    """
    request = run.request
    result = _reach_tolerance(run, engine, progress)
    if request.sweeps:
        result = run_sweeps(result, run.job, request.sweeps)
    result = _as_given(result, run.job)
    result = confirm_result(result, run.job.source, request, engine)
    if request.identified is not None:
        result.record["identified"] = request.identified.to_json()
    _warn_of_tolerance(result, request.tol)
    run.put_result(result)
    return result


def _warn_of_tolerance(result: Factorization, tol: float | None) -> None:
    """Say that a tolerance was not reached, or that the sample cannot tell."""
    if tol is None or (result.certificate.error_bound <= tol and result.certificate.deviation != math.inf):
        return
    if result.certificate.error_bound <= tol:
        what, why = "is not confirmed", 'confirm="full" looks at all of the matrix'
    else:
        what, why = "was not reached", "no chain of higher rank that was tried has fewer values than the matrix"
    warn_caller(f"tol={tol:g} {what}: {result.certificate}; {why}", ToleranceWarning)


def _reach_tolerance(run: Run, engine: Engine, progress: bool) -> Factorization:
    """Run the stages for the rank of the plan, and for higher ones until the tolerance is reached or out of reach."""
    tol = run.request.tol
    while True:
        try:
            result = _run_in_range(run, engine, progress)
        except RankTooLow as excluded:
            _log.info("rank %d of the root cut cannot reach tol=%g: on with %d", run.job.rank, tol, excluded.rank)
            _go_on(run, engine, excluded.rank)
            continue
        except ToleranceError as error:
            run.note_out_of_reach(error.least_error)
            raise
        certified = _as_given(result, run.job).certificate
        if run.job.plan.nested is not None:
            result.record["evaluated"]["entries"] += run.job.plan.nested.evaluated
            evaluated = result.record["evaluated"]["entries"]
            plan = None if tol is None else _plan_again(run, engine, certified.error_bound, tol, evaluated)
            if plan is None:
                return result
            run.restart(plan)
            continue
        rank = None if tol is None else next_rank(run.job, certified.error_bound, tol)
        if rank is None:
            return result
        _log.info("the error bound for rank %d of the root cut is above tol=%g: on with %d", run.job.rank, tol, rank)
        _go_on(run, engine, rank)


def _plan_again(run: Run, engine: Engine, error: float, tol: float, evaluated: int) -> Plan | None:
    """Plan of another run of a sampled matrix whose error is above the tolerance; None where none may reach it.

    Where all runs together would evaluate as many entries as the matrix has, all of them are, and the error is proven.
    """
    nested = next_nested(run.job, error, tol)
    if nested is None:
        return None
    again = run.request.plan_again(run.job, nested._replace(evaluated=evaluated))
    assert again.nested_steps is not None
    if evaluates_less(again.source.shape, again.nested_steps, evaluated):
        _log.info("the error is above tol=%g: on with skeletons of up to %d lines", tol, max(nested.capacities))
        return again
    _log.info("the error is above tol=%g: all entries are evaluated, as skeletons would take no fewer", tol)
    return run.request.plan_in_full(run.job.source, engine)


def _go_on(run: Run, engine: Engine, rank: int) -> None:
    """Go on with a rank of the root cut, from the tiles as they are if they are split for it."""
    plan = run.job.plan
    if rank <= plan.ranks[-1]:
        run.raise_rank(rank)
    else:
        run.restart(run.request.with_chain(plan.chain.raised(rank - run.job.rank)).plan(run.job.source, engine))


def _as_given(result: Factorization, job: FactorizationJob) -> Factorization:
    """Result for the matrix as it was given, from that for the matrix with weights, divided by a power of two."""
    return multiply_by_power(divide_by_weights(result, job.source.weights), job.source.exponent)


def _run_in_range(run: Run, engine: Engine, progress: bool) -> Factorization:
    """Run what is left to do for one rank; once more with the matrix scaled where squares have left the range."""
    for _ in range(MOST_SCALES):
        try:
            return _run_once(run, engine, progress)
        except RangeError as error:
            if error.exponent == run.job.source.exponent:
                raise
            _log.info("%s: begins again, divided by 2^%d, to stay in range", run.job.source.name, error.exponent)
            run.rescale(error.exponent, engine)
    return _run_once(run, engine, progress)


def _run_once(run: Run, engine: Engine, progress: bool) -> Factorization:
    """Run what is left to do for one rank, and put the result together.

    The arrays of the later stages are created while the first stage runs.
    """
    job = run.job
    later = create_first_arrays(job)  # what is in their place is left alone where this run did not make it
    with run.explaining():
        with ThreadPoolExecutor(1, thread_name_prefix="dbutterfly-arrays") as thread:
            later_arrays = thread.submit(create_arrays, job, later)
            stages, rows = run_stages(run, engine, later_arrays=later_arrays, progress=progress)
            later_arrays.result()
        job.check_unchanged()
        if isinstance(engine, ThreadEngine) and not job.compiled:
            seconds = sum(stage["compute_seconds"] for stage in stages.values())
            count_run(np.dtype(job.plan.source.work_dtype), job.entries_met, seconds, job.kernel_rooms)
        record = {
            "plan": job.plan.to_json(),
            "plan_text": str(job.plan),
            "engine": type(engine).__name__,
            "workers": engine.workers,
            "version": running_version(),
            "provenance": describe_provenance(run.request),
            "predicted": {"read_bandwidth": BANDWIDTH, "stage_seconds": job.plan.stage_seconds(BANDWIDTH)},
            "matrix": job.source.name,
            "stages": stages,
        }
        return assemble(job, record, rows)
