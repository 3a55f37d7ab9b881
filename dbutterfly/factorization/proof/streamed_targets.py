"""Targets of every cut that lie in the store of a run, which tasks move and measure."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError
from ...execution.task import done_name
from ...structure.axes import Index
from .ascent_tasks import (
    MEASURES,
    MeasureTask,
    MoveTask,
    StartTask,
    captured_name,
    gap_name,
    measures_name,
    pull_name,
    shares_name,
    target_name,
    total_name,
)
from .bound import EPS, CutSums, bound_from_cuts
from .shares import equal_shares, most_uneven, move_shares
from .tile_runs import TileRuns, create_records
from .tile_tasks import ProofJob

__all__ = ["StreamedTargets", "forget_ascent"]

OFF = 1e3
"""How far the mean of the products of the targets with signs may be from that of Z, over the norm of what the mean of
the targets may miss of Z: more means that arrays do not belong together.

That norm is the standard deviation of the products, were signs drawn anew. Not tuned: rounding of the products comes to
some units, and a stale target differs by a part of a step.
"""

STEPS = done_name("steps")
NOT_BEGUN = -1
EVERYTHING = (slice(None),)

_log = logging.getLogger("dbutterfly")


class StreamedTargets:
    """Targets in the store of a run; see :mod:`.ascent_tasks`.

    The number of steps vouches for what they have come to. It is written last, after the records of the tasks of the
    next step were forgotten, so that a proof that was cut off goes on where it was, in the middle of a step too.

    Parameters
    ----------
    jobs : sequence of ProofJob
        Job of every cut, whose fields and sums are those of the last round.
    runs : TileRuns
        Runs tasks.
    error, norm : float
        ``||Z - X||`` of a product, which no bound is above, and ``||Z||``.
    is_out_of_time : callable
        Tells whether to begin with no other cut.
    """

    def __init__(
        self,
        jobs: Sequence[ProofJob],
        runs: TileRuns,
        *,
        error: float,
        norm: float,
        is_out_of_time: Callable[[], bool],
    ) -> None:
        self._jobs, self._runs, self._is_out_of_time = jobs, runs, is_out_of_time
        self._error, self._norm = error, norm
        self._workspace, self._cuts = jobs[0].workspace, [job.plan.chain.cut(job.root)[0] for job in jobs]
        kept = self._workspace.read_rows(STEPS, 1)[0, 0]
        self.steps = int(kept) if np.isfinite(kept) else NOT_BEGUN

    @staticmethod
    def create(jobs: Sequence[ProofJob], chunks: tuple[int, ...]) -> None:
        """Make the arrays of an ascent, if they are not there."""
        workspace, cuts = jobs[0].workspace, len(jobs)
        shape, narrow, wide = jobs[0].source.shape, np.dtype(jobs[0].plan.source.work_dtype), jobs[0].wide
        arrays = {target_name(cut, 0, cuts): narrow for cut in range(cuts + 1)}
        for turn in range(2):
            arrays |= {gap_name(turn): narrow, pull_name(turn): narrow, total_name(turn): wide}
        for name, dtype in arrays.items():
            workspace.create(name, shape, chunks, dtype)
        workspace.create(STEPS, (1, 1), (1, 1), np.float64)
        for job in jobs:
            cut, groups, tile = job.cut, job.groups, job.tile_groups
            workspace.create(captured_name(cut), groups, tile, np.float64)
            workspace.create(measures_name(cut), (*groups, MEASURES), (*tile, MEASURES), np.float64)
            for turn in range(2):
                workspace.create(shares_name(cut, turn), (*groups, 2), (*tile, 2), np.float64)
            create_records(job, [f"start/{cut}", f"step/0/{cut}", f"step/1/{cut}", f"measure/{cut}"])

    def begin(self, *, by_residual: bool) -> None:
        """Form the first targets, those from the residual or the matrix itself, unless there are later ones."""
        if self.steps != NOT_BEGUN and not self._is_whole():
            _log.warning("the ascent of the proof begins anew: records of its last step are missing or damaged")
            forget_ascent(self._jobs, self._runs)
            self.steps = NOT_BEGUN
        if self.steps != NOT_BEGUN:
            return
        for job in self._jobs:
            self._runs.run(job, _starts(job, by_residual=by_residual))
        shares = equal_shares(self._cuts)
        self._keep(0, shares, shares)

    def ascend(self) -> bool:
        """Make a step, or complete one; false where time is over before that."""
        for job in self._jobs:
            if self._is_out_of_time():
                return False
            self._runs.run(job, _moves(job, self.steps))
        before = self._shares()
        captured = [self._read(captured_name(job.cut), job) for job in self._jobs]
        self._keep(self.steps + 1, before, move_shares(before, captured, self._cuts))
        return True

    def bound(self) -> tuple[float, float]:
        """Lower bound on ``||Z - X||``, and what was taken off for rounding.

        Raises
        ------
        CheckpointError
            If the arrays of the ascent do not belong to the same step.
        """
        shares, sums, probes = self._shares(), [], []
        for job, share in zip(self._jobs, shares, strict=True):
            tasks = [MeasureTask(tile, job.cut, self.steps) for tile in job.plan.tiles]
            self._runs.forget(job, tasks)
            self._runs.run(job, tasks)
            found = self._read(measures_name(job.cut), job)
            sums.append(CutSums(*(math.fsum((share * found[..., k]).ravel()) for k in range(3))))
            probes.append(complex(*(math.fsum((share * found[..., k]).ravel()) for k in (5, 6))))
        gap, missing = (math.sqrt(math.fsum(found[..., k].ravel())) for k in (3, 4))
        uneven = most_uneven(shares, self._cuts)
        # The stored gap counts as often as the shares of the step added up to, which a move has changed by rounding;
        # targets are rounded twice when they are formed, and what is missing when it was subtracted.
        delta = missing + (uneven + 2 * len(sums) * EPS) * gap + 4 * EPS * self._norm
        bound, slack = bound_from_cuts(sums, delta, self._norm, uneven)
        exact = complex(*(math.fsum(found[..., k].ravel()) for k in (7, 8)))
        allowed = OFF * (delta + len(sums) * EPS * (self._norm + sum(math.sqrt(each.energy) for each in sums)))
        if not abs(sum(probes) - exact) <= allowed or bound > self._error:
            name = target_name(1, self.steps, len(self._jobs))
            raise CheckpointError(f"the arrays of the proof, such as {name}, are of different steps", name, EVERYTHING)
        return bound, slack

    def _keep(self, steps: int, before: Sequence[NDArray[np.float64]], shares: Sequence[NDArray[np.float64]]) -> None:
        """Keep what a step has come to, which the next one begins with."""
        self._runs.check_right()
        for job, old, new in zip(self._jobs, before, shares, strict=True):
            rows, cols = _orders(job)
            values = np.stack([old / new, new], axis=-1)
            self._workspace.write(
                shares_name(job.cut, steps), EVERYTHING, values[np.ix_(*map(np.argsort, (rows, cols)))]
            )
            self._runs.forget(job, _moves(job, steps))
        self._workspace.write(STEPS, EVERYTHING, np.full((1, 1), float(steps)))
        self.steps = steps

    def _is_whole(self) -> bool:
        """Whether no task of a step has ended before all those of the cut before.

        What such a task has written is where the cut before had its targets: they cannot be moved again.
        """
        is_complete = True
        for job in self._jobs:
            tasks = _moves(job, self.steps)
            ended = self._runs.count_ended(job, tasks)
            if ended and not is_complete:
                return False
            is_complete = ended == len(tasks)
        return True

    def _shares(self) -> list[NDArray[np.float64]]:
        """Shares of every cut, in standard order."""
        return [self._read(shares_name(job.cut, self.steps), job)[..., 1] for job in self._jobs]

    def _read(self, name: str, job: ProofJob) -> NDArray[Any]:
        """Numbers of the blocks of a cut, in standard order; in the workspace they are as groups lie in storage."""
        found: NDArray[Any] = self._workspace.read(name, EVERYTHING)[np.ix_(*_orders(job))]
        return found


def forget_ascent(jobs: Sequence[ProofJob], runs: TileRuns) -> None:
    """Have the ascent begin anew."""
    for job in jobs:
        runs.forget(job, _starts(job, by_residual=True))
    jobs[0].workspace.write(STEPS, EVERYTHING, np.full((1, 1), np.nan))


def _starts(job: ProofJob, *, by_residual: bool) -> list[StartTask]:
    return [StartTask(tile, job.cut, job.rounds, by_residual) for tile in job.plan.tiles]


def _moves(job: ProofJob, step: int) -> list[MoveTask]:
    return [MoveTask(tile, job.cut, step) for tile in job.plan.tiles]


def _orders(job: ProofJob) -> tuple[Index, Index]:
    """Storage number of each row group and column group of a cut in standard order."""
    rows, cols = (
        np.arange(axis.groups) if axis.group_order is None else axis.group_order
        for axis in (job.plan.rows, job.plan.cols)
    )
    return rows, cols
