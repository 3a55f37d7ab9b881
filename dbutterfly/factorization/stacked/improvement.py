"""Sweeps over the factors of the matrices of a stack, and proofs of them: tasks that read the matrices once more.

What a task does for a matrix is what a call for that matrix alone does after its run. Both hold a matrix several times,
so that a task takes no more of them than lie in one chunk of the storage. Chunks that are larger than a task are read
once for each of their tasks.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ...errors import SourceError
from ...execution.engine import Engine
from ...execution.task import Inputs, Output, Record, done_name
from ...execution.thread_engine import ThreadEngine
from ...planning.plan import Plan
from ...planning.search import make_plan
from ...planning.stacked_plan import LARGEST_TASK, Batch
from ...sources.arrays import ArraySource
from ...sources.base import MatrixSource
from ...sources.stacks.base import StackSource
from ...sources.weighted import rescale
from ...storage.memory_workspace import MemoryWorkspace
from ...structure.weights import Weights
from ..job import FactorizationJob
from ..proof.prove import complete_proof
from ..proof.ways import choose_way
from ..request import Request
from ..results.factorization import Factorization
from ..results.factorized_batch import IMPROVED, FactorizedBatch
from ..results.packed_records import RECORD_WORDS, pack_record, unpack_record
from ..scaled_factors import divide_by_power, exponent_of_result, multiply_by_power
from ..stages import run_tasks
from ..sweeps import check_sweeps, run_sweeps
from .arrays import create_stack_arrays
from .current_run import StackRun
from .job import ArrayOfTasks, StackJob
from .manifests import UNLIMITED
from .outcomes import Outcome, read_outcomes
from .planning import plan_of_batches
from .tasks import MatricesTask, tasks_of

__all__ = ["check_improvements", "prove_batches", "sweep_batches"]


def check_improvements(request: Request, batch: Batch, stack: StackSource) -> None:
    """Refuse sweeps over matrices of a batch, or proofs of them, that a worker cannot hold.

    Raises
    ------
    InputError
        If not all entries are looked at.
    MemoryBudgetError
        If memory does not hold one of the matrices as often as that takes.
    """
    plan = batch.plan
    if request.sweeps:
        check_sweeps(plan, request.sweeps)
    if request.prove and batch.is_together and len(plan.chain) > 1:
        matrix = stack.matrix(int(batch.numbers[0]))
        choose_way(plan.chain, plan.orderings, matrix, ThreadEngine(1), plan.budget.memory, has_store=False)


def sweep_batches(
    run: StackRun, engine: Engine, batches: tuple[FactorizedBatch, ...], *, progress: bool
) -> tuple[FactorizedBatch, ...]:
    """Fit the factors of all matrices anew, one after the other, as :func:`dbutterfly.factorization.sweeps.run_sweeps`.

    Parameters
    ----------
    run : StackRun
        The run; its request says how many sweeps.
    engine : Engine
        Where the tasks run.
    batches : tuple of FactorizedBatch
        What the rounds have given of the matrices with their weights.
    progress : bool
        Whether to show a bar.
    """
    return _improve(run, engine, batches, SweepTask, None, progress)


def prove_batches(
    run: StackRun,
    engine: Engine,
    batches: tuple[FactorizedBatch, ...],
    weights: Weights | None,
    *,
    progress: bool,
) -> tuple[FactorizedBatch, ...]:
    """Raise the lower bounds of all matrices, as :func:`dbutterfly.prove` does.

    Parameters
    ----------
    run, engine, progress
        As for :func:`sweep_batches`.
    batches : tuple of FactorizedBatch
        What there is of the matrices themselves.
    weights : Weights or None
        By which their errors count.
    """
    return _improve(run, engine, batches, ProofTask, weights, progress)


# ---------------------------------------------------------------- the tasks


@dataclass(frozen=True, eq=False)
class ImproveJob(StackJob):
    """Matrices, what the rounds have given of them, and what is asked for, which all tasks share."""

    found: tuple[FactorizedBatch, ...] = field(kw_only=True)
    request: Request = field(kw_only=True)
    weights: Weights | None = field(kw_only=True, default=None)

    def arrays(self) -> Iterator[ArrayOfTasks]:
        """Arrays that the tasks fill, that of the tasks that have ended first."""
        fields, tasks = len(Record._fields), len(tasks_of(self.plan))
        yield done_name(self.stage), (tasks, fields), (1, fields), np.float64
        for number, (batch, found) in enumerate(zip(self.plan.batches, self.found, strict=True)):
            count, per_task, width = int(batch.numbers.size), batch.per_task, len(Outcome._fields)
            for index, values in enumerate(found.ks_values):
                yield f"{number}/factors/{index}", values.shape, (per_task, *values.shape[1:]), values.dtype
            yield f"{number}/outcomes", (count, width), (per_task, width), np.float64
            yield f"{number}/records", (count, RECORD_WORDS), (per_task, RECORD_WORDS), np.float64


@dataclass(frozen=True)
class ImproveTask(MatricesTask):
    """Read some matrices of a batch, and improve the factorization of each."""

    def compute(self, job: ImproveJob, inputs: Inputs) -> list[Output]:  # type: ignore[override]  # of its own job
        """Factors, certificate and record of each."""
        batch, span = job.found[self.batch], (slice(self.first, self.last),)
        improved = []
        for matrix, place in zip(inputs["matrices"], range(self.first, self.last), strict=True):
            name = job.source.name_matrix(int(batch.numbers[place]))
            source = ArraySource(matrix)
            source.name = name
            improved.append(self.improve(batch.factorization(place, name, job.weights), source, job))
        outputs = [
            Output(f"{self.batch}/factors/{index}", span, np.stack(values))
            for index, values in enumerate(zip(*(found.ks_values for found in improved), strict=True))
        ]
        outcomes = np.array([Outcome.of(found.certificate) for found in improved], np.float64)
        records = np.stack([pack_record(_kept(found), found.certificate) for found in improved])
        return [
            *outputs,
            Output(f"{self.batch}/outcomes", span, outcomes),
            Output(f"{self.batch}/records", span, records),
        ]

    @abstractmethod
    def improve(self, found: Factorization, source: MatrixSource, job: ImproveJob) -> Factorization:
        """Improve the factorization of a matrix, which is at hand with its weights."""


@dataclass(frozen=True)
class SweepTask(ImproveTask):
    """Read some matrices, and sweep over the factors of each."""

    stage: ClassVar[str] = "sweeps"

    def improve(self, found: Factorization, source: MatrixSource, job: ImproveJob) -> Factorization:
        """Sweep over the factors of a matrix, divided by a power of two where that keeps its squares in range."""
        if len(found.chain) == 1:
            return found
        exponent, certificate = exponent_of_result(found), found.certificate
        divided = replace(
            divide_by_power(found, exponent),
            certificate=replace(certificate, norm=math.ldexp(certificate.norm, -exponent)),
        )
        plan = job.plan.batches[self.batch].plan
        single = FactorizationJob(rescale(source, exponent), plan, MemoryWorkspace(), job.backend)
        return multiply_by_power(run_sweeps(divided, single, job.request.sweeps), exponent)


@dataclass(frozen=True)
class ProofTask(ImproveTask):
    """Read some matrices, and prove how near the factors of each are to the best ones."""

    stage: ClassVar[str] = "proof"

    def improve(self, found: Factorization, source: MatrixSource, job: ImproveJob) -> Factorization:
        """Raise the lower bound of a matrix, on the thread of this task."""
        return complete_proof(found, source, ThreadEngine(1), memory=job.plan.budget.memory)


def _kept(found: Factorization) -> dict[str, Any]:
    """What sweeps and proofs have left in a record."""
    return {name: found.record[name] for name in IMPROVED if name in found.record}


# ---------------------------------------------------------------- the stage


def _improve(
    run: StackRun,
    engine: Engine,
    batches: tuple[FactorizedBatch, ...],
    kind: type[ImproveTask],
    weights: Weights | None,
    progress: bool,
) -> tuple[FactorizedBatch, ...]:
    """Run the tasks of a stage, and read what they have written."""
    if not batches:
        return ()
    before = run.job
    planned = [_plan_batch(batch, before) for batch in batches]
    job = ImproveJob(
        before.source,
        replace(plan_of_batches(planned, before.source), budget=before.plan.budget),
        MemoryWorkspace(),
        before.backend,
        before.sample,
        stage=kind.stage,
        found=batches,
        request=run.request,
        weights=weights,
    )
    run.begin_stage(job)
    with run.explaining():
        create_stack_arrays(run.job)
        tasks = {kind.stage: [kind(**vars(task)) for task in tasks_of(job.plan)]}
        run.summaries |= run_tasks(run, engine, tasks, progress=progress)[0]
        if before.plan.chunks[1] != job.source.recount():
            raise SourceError(
                f"{job.source.name}: chunks have come or gone during the run; begin anew (resume=False) with matrices "
                "that nobody changes"
            )
        return tuple(_read_batch(run.job, number, batch) for number, batch in enumerate(batches))


def _plan_batch(batch: FactorizedBatch, job: StackJob) -> Batch:
    """Tasks of a batch, which are the same in every sitting, whatever memory and workers there are."""
    stack = job.source
    info = stack.matrix(int(batch.numbers[0])).info
    plan: Plan = make_plan(
        info, batch.chain, tree=batch.tree, orderings=batch.orderings, budget=replace(job.plan.budget, memory=UNLIMITED)
    )
    per_task = min(stack.per_chunk, max(1, LARGEST_TASK // info.nbytes), int(batch.numbers.size))
    plan = replace(plan, budget=job.plan.budget)
    return Batch(plan=plan, numbers=batch.numbers, per_task=per_task, peak_bytes=plan.peak_bytes)


def _read_batch(job: StackJob, number: int, batch: FactorizedBatch) -> FactorizedBatch:
    """What the tasks have written of a batch."""
    everything, read = (slice(None),), job.workspace.read
    outcomes = read_outcomes(read(f"{number}/outcomes", everything))
    guarantee, is_weighted = batch.certificates[0].guarantee, batch.certificates[0].weighted
    records, certificates = [], []
    for row, outcome in zip(read(f"{number}/records", everything), outcomes, strict=True):
        certificate = outcome.certificate(guarantee)
        assert certificate is not None
        record, certificate = unpack_record(row, replace(certificate, weighted=is_weighted))
        records.append(record)
        certificates.append(certificate)
    factors = tuple(np.asarray(read(f"{number}/factors/{index}", everything)) for index in range(len(batch.chain)))
    return replace(batch, ks_values=factors, certificates=tuple(certificates), records=tuple(records))
