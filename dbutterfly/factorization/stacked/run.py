"""The tasks of a stack, again with a larger chain for matrices whose tolerance asks for it, and the result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FailedMatricesWarning, InputError, SourceError, ToleranceWarning, warn_caller
from ...execution.engine import Engine
from ...operator.factors import clear_gaps
from ...planning.stacked_plan import Batch, StackedPlan
from ...structure.chain import Chain
from ...structure.orderings import Orderings
from ...structure.padding import show_gaps
from ..manifests import running_version
from ..provenance import describe_provenance
from ..request import Request
from ..results.certificate import guarantee_of
from ..results.factorization import Factorization
from ..results.factorized_batch import FactorizedBatch
from ..results.stacked import StackedFactorization
from ..stages import run_tasks
from .arrays import create_stack_arrays
from .current_run import StackRun
from .improvement import prove_batches, sweep_batches
from .job import STAGE, StackJob
from .kernels import count_plain_kernels
from .larger_chains import plan_larger
from .outcomes import error_of, read_outcomes
from .planning import batch_of, plan_of_batches, settle_orderings
from .tasks import tasks_of
from .weighted import divide_batch

__all__ = ["Factorize", "complete_stack"]

_log = logging.getLogger("dbutterfly")

Factorize = Callable[[int, Request, Any], Factorization]
"""Factorizes a matrix by itself, given its number, what is asked for, and its place or None."""


@dataclass
class _Found:
    """What the rounds have given: later ones take the place of earlier ones."""

    batches: list[FactorizedBatch] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    alone: dict[int, Factorization] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    tried: dict[int, list[tuple[Chain, float]]] = field(default_factory=dict)


def complete_stack(
    run: StackRun, engine: Engine, factorize_one: Factorize, *, progress: bool = False
) -> StackedFactorization:
    """Do what is left to do of a run, and keep its result.

    Parameters
    ----------
    run : StackRun
        The run.
    engine : Engine
        Where its tasks run.
    factorize_one : callable
        Factorizes a matrix by itself.
    progress : bool
        Whether to show bars.
    """
    found, first = _Found(), run.job
    while True:
        if run.job.plan.together:
            _run_round(run, engine, found, progress)
        if (further := run.next_round() or _plan_further(run, engine, found)) is None:
            break
        run.begin_round(further)
    _factorize_alone(run, first, found, factorize_one)
    result = _assemble(run, first, engine, found, progress)
    if run.request.prove:
        proven = prove_batches(run, engine, result.batches, result.weights, progress=progress)
        result = replace(result, batches=proven)
    result.record.update({"stages": run.summaries} if run.summaries else {})
    _warn(run, result)
    run.put_result(result)
    return result


# ---------------------------------------------------------------- the tasks


def _run_round(run: StackRun, engine: Engine, found: _Found, progress: bool) -> None:
    """Run what is left to do of a round, and read what its tasks have written."""
    job = run.job
    with run.explaining():
        create_stack_arrays(job)
        stages, _ = run_tasks(run, engine, {STAGE: tasks_of(job.plan)}, progress=progress)
        before, now = job.plan.chunks[1], job.source.recount()
        if before != now:
            raise SourceError(
                f"{job.source.name}: {before} chunks were missing at the start of the run and {now} are at its end; "
                "begin anew (resume=False) with matrices that nobody changes"
            )
        if engine.in_this_process:
            count_plain_kernels(job, stages[STAGE]["compute_seconds"])
        found.stages.append(stages[STAGE])
        for number, batch in job.plan.together:
            read = _read_batch(job, number, batch, found.failed)
            found.batches.append(read)
            for k, certificate in zip(read.numbers.tolist(), read.certificates, strict=True):
                found.tried.setdefault(k, []).append((batch.plan.chain, certificate.error_bound))


def _read_batch(job: StackJob, number: int, batch: Batch, failed: dict[int, str]) -> FactorizedBatch:
    """What the tasks have written of a batch; what is wrong with some of its matrices goes to ``failed``."""
    plan, everything, read = batch.plan, (slice(None),), job.workspace.read
    outcomes = read_outcomes(read(f"{number}/outcomes", everything))
    factors = [np.asarray(read(f"{number}/factors/{index}", everything)) for index in range(len(plan.chain))]
    count = int(batch.numbers.size)
    cuts = read(f"{number}/cuts", everything) if len(plan.chain) > 1 else np.zeros((count, 0))
    for k, outcome in zip(batch.numbers.tolist(), outcomes, strict=True):
        error = error_of(outcome, job.source.name_matrix(k), plan.source.work_dtype)
        if error is not None:
            failed[k] = str(error)
    orderings = show_gaps(plan.orderings, plan.source.shape, plan.chain)
    guarantee = None if plan.split is None else guarantee_of(plan.tree, plan.passes)
    certificates = [outcome.certificate(guarantee) for outcome in outcomes]
    sound = np.array([at for at, certificate in enumerate(certificates) if certificate is not None], np.int64)
    return FactorizedBatch(
        batch.numbers[sound],
        tuple(values if sound.size == count else values[sound] for values in _clear_gaps(factors, orderings)),
        plan.chain,
        plan.tree,
        orderings,
        tuple(certificate for certificate in certificates if certificate is not None),
        np.asarray(cuts)[sound],
    )


def _clear_gaps(factors: list[NDArray[Any]], orderings: Orderings) -> tuple[NDArray[Any], ...]:
    """Factors that are zero at gaps, as those of one matrix are."""
    count = factors[0].shape[0]
    sides = [np.tile(side, count) if isinstance(side, np.ndarray) else None for side in orderings.sides.values()]
    joined = clear_gaps(tuple(values.reshape(-1, *values.shape[2:]) for values in factors), *sides)
    return tuple(values.reshape(count, -1, *values.shape[1:]) for values in joined)


# ---------------------------------------------------------------- larger chains


def _plan_further(run: StackRun, engine: Engine, found: _Found) -> StackedPlan | None:
    """Plan a round for the matrices that miss the tolerance, with larger chains; None where none is left to try."""
    tol, job = run.request.tol, run.job
    if tol is None or not job.plan.together:
        return None
    batches = []
    for read, (_, batch) in zip(found.batches[-len(job.plan.together) :], job.plan.together, strict=True):
        missed = {
            k: certificate.error_bound
            for k, certificate in zip(read.numbers.tolist(), read.certificates, strict=True)
            if certificate.error_bound > tol
        }
        request = settle_orderings(run.request, batch.plan)
        plan = plan_larger(request, job, engine, batch, found.tried, missed) if missed else None
        if plan is not None:
            _log.info("%d matrices are above tol=%g: on with %d values for each", len(missed), tol, plan.chain.nnz)
            batches.append(batch_of(plan, missed, job.source))
    batches = [batch for batch in batches if batch.is_together]
    return plan_of_batches(batches, job.source) if batches else None


# ---------------------------------------------------------------- matrices by themselves


def _factorize_alone(run: StackRun, first: StackJob, found: _Found, factorize_one: Factorize) -> None:
    """Factorize the matrices that are runs by themselves, one after the other."""
    for number, batch in first.plan.alone:
        run.check_right()
        request = settle_orderings(run.request, batch.plan)
        if request.tol is not None:
            request = request.with_chain(batch.plan.chain)
        try:
            found.alone[number] = factorize_one(number, request, run.place_of(number))
        except SourceError:
            raise
        except InputError as error:  # of its entries: its arguments have been planned with
            found.failed[number] = str(error)


# ---------------------------------------------------------------- the result


def _last_batches(found: _Found) -> tuple[FactorizedBatch, ...]:
    """Of each matrix, what the last round has given."""
    batches: list[FactorizedBatch] = []
    taken: set[int] = set()
    for batch in reversed(found.batches):
        kept = np.array([at for at, k in enumerate(batch.numbers.tolist()) if k not in taken], np.int64)
        taken |= set(batch.numbers.tolist())
        batches.extend([batch.take(kept)] if kept.size else [])
    return tuple(reversed(batches))


def _assemble(run: StackRun, first: StackJob, engine: Engine, found: _Found, progress: bool) -> StackedFactorization:
    """Put the result together."""
    stack, batches, last = first.source, [], _last_batches(found)
    if run.request.sweeps:
        last = sweep_batches(run, engine, last, progress=progress)
    for batch in last:
        divided, failed = divide_batch(batch, stack.weights)
        found.failed.update(failed)
        batches.extend([divided] if divided.numbers.size else [])
    if len(found.failed) == len(stack):
        raise InputError(f"{stack.name}: no matrix can be factorized; {next(iter(found.failed.values()))}")
    record = {
        "plan": first.plan.to_json(),
        "plan_text": str(first.plan),
        "engine": type(engine).__name__,
        "workers": engine.workers,
        "version": running_version(),
        "provenance": describe_provenance(run.request),
        "matrix": stack.name,
        "rounds": found.stages,
    }
    failed = dict(sorted(found.failed.items()))
    return StackedFactorization(stack.shapes, tuple(batches), failed, record, stack.names, found.alone, stack.weights)


def _warn(run: StackRun, result: StackedFactorization) -> None:
    """Say what is not as it was asked for."""
    if result.failed:
        numbers = list(result.failed)
        shown = f"{', '.join(map(str, numbers[:8]))}{', ...' if len(numbers) > 8 else ''}"
        what = "matrix" if len(numbers) == 1 else "matrices"
        warn_caller(
            f"{len(numbers)} of {len(result)} matrices have no factors ({what} {shown}); the result has the others: "
            f"{result.failed[numbers[0]]}",
            FailedMatricesWarning,
        )
    tol = run.request.tol
    if tol is None:
        return
    missed = [k for k, found in enumerate(result.certificates) if found is not None and found.error_bound > tol]
    if missed:
        worst = max(missed, key=lambda k: result[k].certificate.error_bound)
        warn_caller(
            f"tol={tol:g} was not reached for {len(missed)} of {len(result)} matrices, the worst being matrix {worst}: "
            f"{result[worst].certificate}; no chain of higher rank that was tried has fewer values than the matrix",
            ToleranceWarning,
        )
