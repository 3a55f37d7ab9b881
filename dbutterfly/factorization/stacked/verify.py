"""Measure the errors of a stack of factorizations: every matrix is read once, and small ones share a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...execution.engine import Engine
from ...execution.progress import ProgressBar, run_under_bar
from ...execution.task import Inputs, Output, Record, done_name
from ...planning.search import make_plan
from ...planning.stacked_plan import StackedPlan
from ...sources.arrays import ArraySource
from ...sources.base import MatrixSource
from ...sources.stacks.base import StackSource
from ...storage.memory_workspace import MemoryWorkspace
from ..compare import compare_factors
from ..results.estimates import VerifiedError, error_of_rows
from ..results.factorization import Factorization
from ..results.factorized_batch import FactorizedBatch
from ..results.stacked import StackedFactorization
from ..results.verified_stack import VerifiedStack
from .job import StackJob
from .planning import batch_of, plan_of_batches
from .tasks import MatricesTask, tasks_of

__all__ = ["verify_stack"]

VerifyOne = Callable[[Factorization, MatrixSource], VerifiedError]
"""Measures the error of the factorization of one matrix."""


def verify_stack(
    found: StackedFactorization,
    source: MatrixSource,
    engine: Engine,
    verify_one: VerifyOne,
    *,
    is_sampled: bool = False,
    memory: int | None = None,
    progress: bool = False,
) -> VerifiedStack:
    """Measure the error of the factorization of each matrix of a stack.

    Parameters
    ----------
    found : StackedFactorization
        What to verify.
    source : MatrixSource
        The stack of matrices.
    engine : Engine
        Where the tasks run.
    verify_one : callable
        Measures the error of one matrix that is large, or is not looked at in full.
    is_sampled : bool
        Whether some rows of each matrix are compared, which ``verify_one`` reads.
    memory : int, optional
        Bytes that a worker may hold.
    progress : bool
        Whether to show a bar.

    Raises
    ------
    InputError
        If the source is not a stack of matrices of these shapes.
    """
    stack = _check_stack(found, source)
    plan = None if is_sampled else _plan_comparison(found, stack, engine, memory)
    errors: dict[int, VerifiedError] = {}
    if plan is not None and plan.together:
        errors.update(_run_tasks(found, stack, plan, engine, progress))
    for number in range(len(found)):
        if number not in errors and number not in found.failed:
            errors[number] = verify_one(found[number], stack.matrix(number))
    measured = tuple(errors.get(number) for number in range(len(found)))
    return VerifiedStack(measured, found.certificates, found.failed, found.names)


def _check_stack(found: StackedFactorization, source: MatrixSource) -> StackSource:
    """Refuse what is no stack of matrices of these shapes."""
    if not isinstance(source, StackSource):
        raise InputError(f"source is one matrix, {source.name}, but the factorization is of a stack of {len(found)}")
    if len(source) != len(found):
        raise InputError(f"source has {len(source)} matrices but the factorization is of a stack of {len(found)}")
    for number, (given, known) in enumerate(zip(source.shapes, found.shapes, strict=True)):
        if tuple(given) != tuple(known):
            raise InputError(
                f"source: {source.name_matrix(number)} has shape {given} but the factorization is of a {known} matrix"
            )
    return source


def _plan_comparison(
    found: StackedFactorization, stack: StackSource, engine: Engine, memory: int | None
) -> StackedPlan | None:
    """Plan the tasks that compare matrices whole; None where no matrix is looked at so."""
    budget, kinds, batches = engine.budget(memory, "auto"), stack.kinds, []
    for batch in found.batches:
        for numbers in _numbers_of_kinds(batch, kinds):
            info = stack.matrix(numbers[0]).info
            if info.sampled or info.probed:
                continue
            plan = make_plan(info, batch.chain, tree=batch.tree, orderings=batch.orderings, budget=budget)
            batches.append(batch_of(plan, numbers, stack))
    return plan_of_batches(batches, stack) if batches else None


def _numbers_of_kinds(batch: FactorizedBatch, kinds: list[str]) -> Iterator[list[int]]:
    """Matrices of a batch that can be read together: they may lie in another form than when they were factorized."""
    groups: dict[str, list[int]] = {}
    for number in batch.numbers.tolist():
        groups.setdefault(kinds[number], []).append(number)
    yield from groups.values()


# ---------------------------------------------------------------- the tasks


@dataclass(frozen=True, eq=False)
class CompareJob(StackJob):
    """Matrices and their factorizations, which all tasks share."""

    found: StackedFactorization = field(kw_only=True)


@dataclass(frozen=True)
class CompareTask(MatricesTask):
    """Read some matrices of a batch, and compare each with its factors."""

    stage: ClassVar[str] = "verify"

    def compute(self, job: CompareJob, inputs: Inputs) -> list[Output]:  # type: ignore[override]  # of its own job
        """Error and norm of each."""
        pairs = zip(inputs["matrices"], self.numbers(job).tolist(), strict=True)
        values = np.array([_compare_matrix(matrix, number, job) for matrix, number in pairs], np.float64)
        return [Output(f"{self.batch}/errors", (slice(self.first, self.last),), values)]


def _compare_matrix(matrix: NDArray[np.generic], number: int, job: CompareJob) -> tuple[float, float]:
    source = ArraySource(matrix)
    source.name = job.source.name_matrix(number)
    error = compare_factors(job.found[number], source, _compare_whole)
    assert error.norm is not None
    return float(error), error.norm


def _compare_whole(product: Factorization, source: MatrixSource) -> VerifiedError:
    """Compare a matrix that is at hand with the product, which is as large."""
    dense = product.operator.to_dense()
    return error_of_rows(lambda chosen: dense[chosen], source, None, 0)


def _run_tasks(
    found: StackedFactorization, stack: StackSource, plan: StackedPlan, engine: Engine, progress: bool
) -> Iterator[tuple[int, VerifiedError]]:
    """Compare matrices whole; number and error of each."""
    workspace, tasks = MemoryWorkspace(), [CompareTask(**vars(task)) for task in tasks_of(plan)]
    for at, batch in plan.together:
        workspace.create(f"{at}/errors", (batch.numbers.size, 2), (batch.per_task, 2), np.float64)
    fields = len(Record._fields)
    workspace.create(done_name(CompareTask.stage), (len(tasks), fields), (1, fields), np.float64)
    job = CompareJob(stack, plan, workspace, found=found)
    with ProgressBar(progress) as bar:
        run_under_bar(bar, engine, job, CompareTask.stage, list(enumerate(tasks)))
    for at, batch in plan.together:
        values = workspace.read(f"{at}/errors", (slice(None),))
        for number, (value, norm) in zip(batch.numbers.tolist(), values.tolist(), strict=True):
            error = VerifiedError(value)
            error.norm, error.weighted = norm, found.weights is not None
            yield number, error
