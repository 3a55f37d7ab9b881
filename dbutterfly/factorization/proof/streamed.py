"""A lower bound from all cuts of a stored run whose matrix memory does not hold once for every cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...execution.engine import Engine
from ...execution.progress import ProgressBar
from ...execution.task import Record, Task, done_name
from ...planning.plan import Plan
from ...sources.base import MatrixSource
from ...storage.lease import Lease
from ...storage.workspace import Workspace
from ..compare import products_of_cut
from ..results.factorization import Factorization
from ..stages import run_tasks
from ..weighted_factors import multiply_by_weights
from .bound import CutSums, bound_from_cuts
from .climb import FROM_RESIDUAL
from .in_memory import ORIGINS, say_how_far
from .result import ONCE, Proof, bound_error
from .subject import check_norm
from .tile_tasks import LOOKS, LookTask, ProofJob, SumTask, field_name, sum_name
from .ways import ROUNDS, edges_of_sum

__all__ = ["prove_streamed"]

ROUNDED = 2
"""Units in the last place by which a sum may be off when it was stored, for each cut. Rounding to nearest is half a
unit; the normal parts of both rounds are the same but for rounding in double precision."""


class _CutRun:
    """What running the tasks of one cut needs of a run."""

    def __init__(self, job: ProofJob, lease: Lease) -> None:
        self.job, self._lease = job, lease

    @property
    def stages(self) -> dict[str, Any]:
        """No summaries are kept."""
        return {}

    def record_stages(self, stages: dict[str, Any]) -> None:
        """Keep no summaries."""

    def check_right(self) -> None:
        """Refuse to go on where another process has taken over the run."""
        self._lease.check()


def prove_streamed(
    found: Factorization,
    source: MatrixSource,
    engine: Engine,
    plans: Sequence[Plan],
    workspace: Workspace,
    lease: Lease,
    *,
    progress: bool,
) -> Proof:
    """Evaluate the bound of the targets of :mod:`.tile_tasks`, once.

    Tasks of the rounds that have ended in an earlier sitting are not done again.

    Parameters
    ----------
    found : Factorization
        The factorization.
    source : MatrixSource
        The matrix, with the weights of the factorization.
    engine : Engine
        Where the tasks run.
    plans : sequence of Plan
        Tiles of every cut.
    workspace : Workspace
        Keeps the sum, and what tasks have measured.
    lease : Lease
        The right to write there.
    progress : bool
        Whether to show a bar for every stage.
    """
    weighted = multiply_by_weights(found, np.dtype(source.info.work_dtype))
    jobs = list(_jobs(weighted, source, plans, workspace))
    stages = list(_stages(jobs))
    _forget_after_first_gap(stages)
    try:
        for job, tasks in stages:
            run_tasks(_CutRun(job, lease), engine, {tasks[0].stage: tasks}, progress=progress)
    except CheckpointError:  # the next sitting begins anew
        for job, tasks in stages:
            _forget(job, tasks)
        raise
    looks = [_totals(workspace.read(f"looks/{job.cut}", (slice(None),))) for job in jobs]
    error, norm = math.sqrt(looks[0][3]), math.sqrt(looks[0][4])
    check_norm(found, source, norm)
    if norm == 0:
        return Proof(0.0, 0.0, 0.0, 0.0, None, 0, "rounding", None)
    unit = float(np.finfo(source.info.work_dtype).eps)
    gap = ROUNDED * len(jobs) * unit * math.sqrt(looks[0][5])  # a sum of parts of P_k Y / K is no larger than Y
    cuts = [CutSums(*(total / len(jobs) for total in each[:3])) for each in looks]  # shares are equal
    bound, slack = bound_from_cuts(cuts, gap, norm)
    with ProgressBar(progress) as bar:
        say_how_far(bar, 0, bound_error(found, error / norm), bound / norm)
    origin = ORIGINS[FROM_RESIDUAL]
    if len(plans) < len(found.chain) - 1:
        origin = origin.replace("all", f"{len(plans)} of {len(found.chain) - 1}")
    return Proof(error / norm, norm, bound / norm, slack / norm, origin, 0, ONCE, None)


def _stages(jobs: Sequence[ProofJob]) -> Iterator[tuple[ProofJob, list[Task[Any]]]]:
    """Tasks of every stage in order, with their jobs."""
    for number in range(ROUNDS + 1):
        for job in jobs:
            yield job, [SumTask(tile, job.cut, number) for tile in job.plan.tiles]
    for job in jobs:
        yield job, [LookTask(tile, job.cut, ROUNDS) for tile in job.plan.tiles]


def _forget_after_first_gap(stages: Sequence[tuple[ProofJob, list[Task[Any]]]]) -> None:
    """Forget what was done after the first task that is to be done: it was made of what that will write anew.

    What was measured is forgotten in any case: it may be of another matrix.
    """
    is_whole = True
    for job, tasks in stages:
        is_whole = is_whole and not isinstance(tasks[0], LookTask)
        if not is_whole:
            _forget(job, tasks)
        is_whole = is_whole and not np.isnan(job.workspace.read_rows(done_name(tasks[0].stage))).any()


def _forget(job: ProofJob, tasks: Sequence[Task[Any]]) -> None:
    """Have the tasks of a stage done again."""
    nothing = np.full((len(tasks), len(Record._fields)), np.nan)
    job.workspace.write(done_name(tasks[0].stage), (slice(None),), nothing)


def _totals(looks: NDArray[np.float64]) -> list[float]:
    return [math.fsum(looks[..., k].ravel()) for k in range(looks.shape[-1])]


def _jobs(
    found: Factorization, source: MatrixSource, plans: Sequence[Plan], workspace: Workspace
) -> Iterator[ProofJob]:
    """Job of every cut, whose arrays are made."""
    everything, fields = (slice(None),), len(Record._fields)
    chunks = tuple(int(side[1]) for side in edges_of_sum(source))
    for name in (*map(sum_name, range(2)), *map(field_name, range(3))):
        workspace.create(name, source.shape, chunks, np.dtype(source.info.work_dtype))
    for cut, plan in enumerate(plans, 1):
        (_, u, q, _, _), tiles = plan.split, len(plan.tiles)  # type: ignore[misc]  # a plan of two halves has a cut
        per_tile = min(plan.layout.tile_rows, u), min(plan.layout.tile_cols, q)
        for name, values in products_of_cut(found, plan).items():
            workspace.create(f"{name}/{cut}", values.shape, (*per_tile, *values.shape[2:]), values.dtype)
            workspace.write(f"{name}/{cut}", everything, values)
        workspace.create(f"looks/{cut}", (u, q, LOOKS), (*per_tile, LOOKS), np.float64)
        for stage in (*(f"sum/{number}" for number in range(ROUNDS + 1)), "look"):
            workspace.create(done_name(f"{stage}/{cut}"), (tiles, fields), (1, fields), np.float64)
        yield ProofJob(source, plan, workspace, "numpy", cut=cut, cuts=len(plans), rounds=ROUNDS)
