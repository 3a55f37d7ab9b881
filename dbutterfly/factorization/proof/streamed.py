"""A lower bound from all cuts of a stored run whose matrix memory does not hold once for every cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...execution.engine import Engine
from ...execution.progress import ProgressBar
from ...execution.task import Task, done_name
from ...planning.plan import Plan
from ...sources.base import MatrixSource
from ...sources.weighted import rescale
from ...storage.lease import Lease
from ...storage.workspace import Workspace
from ..compare import products_of_cut
from ..results.factorization import Factorization
from ..scaled_factors import divide_by_power, exponent_of_result
from ..weighted_factors import multiply_by_weights
from .bound import CutSums, bound_from_cuts
from .climb import FROM_RESIDUAL, Climb, Goal
from .in_memory import EXACT_UNITS, ORIGINS, say_how_far
from .result import ROUNDING, STANDSTILL, Proof, bound_error
from .streamed_targets import StreamedTargets, forget_ascent
from .subject import check_norm
from .tile_runs import TileRuns, create_records
from .tile_tasks import LOOKS, LookTask, ProofJob, SumTask, field_name, sum_name
from .ways import ROUNDS, edges_of_sum

__all__ = ["prove_streamed"]

ROUNDED = 2
"""Units in the last place by which a sum may be off when it was stored, for each cut. Rounding to nearest is half a
unit; the normal parts of both rounds are the same but for rounding in double precision."""


def prove_streamed(
    found: Factorization,
    source: MatrixSource,
    engine: Engine,
    goal: Goal,
    plans: Sequence[Plan],
    workspace: Workspace,
    lease: Lease,
    *,
    progress: bool,
) -> Proof:
    """Raise the lower bound by targets in the store, first by those of :mod:`.tile_tasks`.

    What has been done in an earlier sitting is not done again.

    Parameters
    ----------
    found : Factorization
        The factorization.
    source : MatrixSource
        The matrix, with the weights of the factorization.
    engine : Engine
        Where the tasks run.
    goal : Goal
        When to stop. The bound from the residual is evaluated in any case.
    plans : sequence of Plan
        Tiles of every cut.
    workspace : Workspace
        Keeps targets, and what tasks have measured.
    lease : Lease
        The right to write there.
    progress : bool
        Whether to show a bar for every stage.
    """
    weighted = multiply_by_weights(found, np.dtype(source.info.work_dtype))
    source = rescale(source, exponent_of_result(found))  # squares stay in the range of double precision
    factors = divide_by_power(weighted, source.exponent)
    jobs, runs = _jobs(factors, source, plans, workspace), TileRuns(engine, lease, progress=progress)
    try:
        return _climb(found, source, jobs, runs, goal, progress=progress)
    except CheckpointError:  # the next sitting begins anew
        for job, tasks in _stages(jobs):
            runs.forget(job, tasks)
            _forget_products(job)
        forget_ascent(jobs, runs)
        raise


class _ByResidual(NamedTuple):
    """What the targets from the residual have shown: error, norm and bound, and what was taken off for rounding."""

    error: float
    norm: float
    bound: float
    slack: float


def _climb(
    found: Factorization,
    source: MatrixSource,
    jobs: Sequence[ProofJob],
    runs: TileRuns,
    goal: Goal,
    *,
    progress: bool,
) -> Proof:
    """Evaluate the bound from the residual, and ascend if it is not good enough."""
    first, cuts = _measure_residual(found, source, jobs, runs), len(found.chain) - 1
    error, norm = first.error / first.norm if first.norm else 0.0, first.norm
    whole = math.ldexp(norm, source.exponent)
    if error <= EXACT_UNITS * float(np.finfo(found.dtype).eps):
        return Proof(error, whole, 0.0, 0.0, None, 0, ROUNDING, None)
    bounded, known = bound_error(found, error), found.certificate.lower_bound if found.certificate.proven else 0.0

    def watch(steps: int, bound: float) -> None:
        with ProgressBar(progress) as bar:
            say_how_far(bar, steps, bounded, bound / norm)

    climb = Climb(bounded * norm, bounded * norm, goal, watch)
    climb.consider(first.bound, first.slack, FROM_RESIDUAL)
    targets = StreamedTargets(jobs, runs, error=bounded * norm, norm=norm, is_out_of_time=climb.is_out_of_time)
    ended = climb.is_over or (STANDSTILL if len(jobs) == 1 else "")
    if not ended:
        targets.begin(by_residual=first.bound > known * norm)
        ended = climb.ascend(targets)
    outcome = climb.outcome(max(targets.steps, 0), ended)
    origin = ORIGINS.get(outcome.origin)
    if origin is not None and len(jobs) < cuts:
        origin = origin.replace("all", f"{len(jobs)} of {cuts}")
    return Proof(error, whole, outcome.bound / norm, outcome.slack / norm, origin, outcome.steps, ended, None)


def _measure_residual(
    found: Factorization, source: MatrixSource, jobs: Sequence[ProofJob], runs: TileRuns
) -> _ByResidual:
    """Split the residual among the cuts, and measure the targets.

    Raises
    ------
    InputError
        If the matrix is not that of the factorization.
    """
    stages = list(_stages(jobs))
    _forget_after_first_gap(stages, runs)
    for job, tasks in stages:
        runs.run(job, tasks)
    looks = [_totals(job.workspace.read(f"looks/{job.cut}", (slice(None),))) for job in jobs]
    error, norm = math.sqrt(looks[0][3]), math.sqrt(looks[0][4])
    check_norm(found, source, math.ldexp(norm, source.exponent))
    unit = float(np.finfo(source.info.work_dtype).eps)
    gap = ROUNDED * len(jobs) * unit * math.sqrt(looks[0][5])  # a sum of parts of P_k Y / K is no larger than Y
    cuts = [CutSums(*(total / len(jobs) for total in each[:3])) for each in looks]  # shares are equal
    return _ByResidual(error, norm, *bound_from_cuts(cuts, gap, norm))


def _stages(jobs: Sequence[ProofJob]) -> Iterator[tuple[ProofJob, list[Task[Any]]]]:
    """Tasks of every stage in order, with their jobs."""
    for number in range(ROUNDS + 1):
        for job in jobs:
            yield job, [SumTask(tile, job.cut, number) for tile in job.plan.tiles]
    for job in jobs:
        yield job, [LookTask(tile, job.cut, ROUNDS) for tile in job.plan.tiles]


def _forget_after_first_gap(stages: Sequence[tuple[ProofJob, list[Task[Any]]]], runs: TileRuns) -> None:
    """Forget what was done after the first task that is to be done: it was made of what that will write anew.

    What was measured is forgotten in any case: it may be of another matrix.
    """
    is_whole = True
    for job, tasks in stages:
        is_whole = is_whole and not isinstance(tasks[0], LookTask)
        if not is_whole:
            runs.forget(job, tasks)
        is_whole = is_whole and runs.count_ended(job, tasks) == len(tasks)


def _totals(looks: NDArray[np.float64]) -> list[float]:
    return [math.fsum(looks[..., k].ravel()) for k in range(looks.shape[-1])]


def _jobs(found: Factorization, source: MatrixSource, plans: Sequence[Plan], workspace: Workspace) -> list[ProofJob]:
    """Job of every cut, whose arrays are made."""
    chunks, jobs = tuple(int(side[1]) for side in edges_of_sum(source)), []
    for name in (*map(sum_name, range(2)), *map(field_name, range(3))):
        workspace.create(name, source.shape, chunks, np.dtype(source.info.work_dtype))
    for cut, plan in enumerate(plans, 1):
        jobs.append(ProofJob(source, plan, workspace, "numpy", cut=cut, cuts=len(plans), rounds=ROUNDS))
        _keep_products(jobs[-1], found)
        workspace.create(f"looks/{cut}", (*jobs[-1].groups, LOOKS), (*jobs[-1].tile_groups, LOOKS), np.float64)
        create_records(jobs[-1], [f"{stage}/{cut}" for stage in (*(f"sum/{k}" for k in range(ROUNDS + 1)), "look")])
    StreamedTargets.create(jobs, chunks)
    return jobs


def _keep_products(job: ProofJob, found: Factorization) -> None:
    """Keep columns and rows of the product at a cut, unless they are: those of another machine differ by rounding."""
    name = _products_name(job)
    job.workspace.create(name, (1, 1), (1, 1), np.float64)
    if np.isfinite(job.workspace.read_rows(name, 1)[0, 0]):
        return
    for side, values in products_of_cut(found, job.plan).items():
        kept = f"{side}/{job.cut}"
        job.workspace.create(kept, values.shape, (*job.tile_groups, *values.shape[2:]), values.dtype)
        job.workspace.write(kept, (slice(None),), values)
    job.workspace.write(name, (slice(None),), np.ones((1, 1)))


def _forget_products(job: ProofJob) -> None:
    """Have columns and rows of the product at a cut computed again."""
    job.workspace.write(_products_name(job), (slice(None),), np.full((1, 1), np.nan))


def _products_name(job: ProofJob) -> str:
    return done_name(f"products/{job.cut}")
