r"""Tasks of nested skeletons: one step at some groups, and the core (:mod:`dbutterfly.planning.nested_steps`).

The function is called for one outer group at a time, with its proxies and the candidates of many inner groups: what it
is asked for depends on the step, and not on how steps are cut into tasks. Blocks are then treated together
(:mod:`.skeleton_blocks`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...execution.task import Inputs, Output, Task
from ...planning.nested_steps import CALL_ENTRIES
from ...sources.block_entries import evaluate_crossings
from ..job import FactorizationJob
from ..skeleton_numbers import INTERPOLATED, SKELETON, factor_name
from .checks import further_exponent, range_error
from .skeleton_blocks import EvaluatedBlocks, Made, StepWork, entries_of, steps_of
from .skeleton_candidates import read_candidates

__all__ = ["CoreTask", "StepTask"]


@dataclass(frozen=True)
class _NestedTask(Task[FactorizationJob]):
    """A task on the blocks of some owners and fellows of a step."""

    stage: str  # type: ignore[misc]  # a run has a stage for each of its steps
    owners: slice
    fellows: slice

    @property
    def label(self) -> str:
        """Name with the groups covered."""
        groups = (f"{part.start}..{part.stop - 1}" for part in (self.owners, self.fellows))
        return f"skeletons {self.stage} (groups {' and '.join(groups)})"


@dataclass(frozen=True)
class StepTask(_NestedTask):
    """Choose the skeletons of some blocks of a step, and write all candidates by them.

    Attributes
    ----------
    stage : str
        Name of the step.
    owners, fellows : slice
        Groups.
    extra : int
        Entries that may be evaluated for blocks that are rejected.
    seed : int
        Seed of the choice of lines.
    """

    extra: int = 0
    seed: int = 0

    def read_workspace(self, job: FactorizationJob) -> Inputs:
        """Read the skeletons of the finer groups."""
        found = read_candidates(job.workspace, steps_of(job), self.stage, self.owners, self.fellows)
        return {"candidates": found}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Evaluate, choose and check."""
        step = steps_of(job).named(self.stage)
        made = Made.empty(step, self.owners, self.fellows, np.dtype(job.plan.source.work_dtype))
        work = StepWork(job, step, made, inputs["candidates"], self.seed, [self.extra])
        batch: list[EvaluatedBlocks] = []
        for blocks in work.blocks(self.owners, self.fellows):
            batch.append(work.evaluate(blocks))
            if sum(part.matrices.size for part in batch) >= CALL_ENTRIES:
                work.choose(batch)
                batch = []
        work.choose(batch)
        name = factor_name(step, job.plan.layout.root)
        span = (self.owners, slice(0, made.factor.shape[1]), slice(0, made.factor.shape[2]), self.fellows)
        there = (self.owners, slice(0, step.digits), self.fellows)
        return [Output(name, span, made.factor), Output(f"skeletons/{self.stage}", there, made.found)]


@dataclass(frozen=True)
class CoreTask(_NestedTask):
    """Evaluate the crossings of skeletons at the root cut, and multiply the factor before it by them."""

    def read_workspace(self, job: FactorizationJob) -> Inputs:
        """Read coefficients and both skeletons."""
        root = job.plan.layout.root
        step, read = steps_of(job).named(f"rows_{root}"), job.workspace.read
        cols = slice(self.owners.start * step.digits, self.owners.stop * step.digits)
        everything = slice(None)
        return {
            "coefficients": read(INTERPOLATED, (self.owners, everything, everything, self.fellows)),
            "rows": read(f"skeletons/rows_{root}", (self.owners, everything, self.fellows))[..., SKELETON:],
            "cols": read(f"skeletons/cols_{root}", (cols, everything, everything))[..., SKELETON:],
        }

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:
        """Evaluate and multiply."""
        step = steps_of(job).named(f"rows_{job.plan.layout.root}")
        rows, keep = inputs["rows"].astype(np.int64), step.keep
        owners, digits, fellows, _ = rows.shape
        cols = inputs["cols"].astype(np.int64).reshape(owners, digits, fellows, keep)
        entries, (row_at, col_at) = entries_of(job), job.lines
        core = np.zeros((owners, digits, fellows, keep, keep), entries.dtype)
        for place in np.ndindex(owners, digits, fellows):
            r, c = rows[place], cols[place]
            r, c = r[r >= 0], c[c >= 0]
            if r.size and c.size:
                core[place][: r.size, : c.size] = evaluate_crossings(entries, row_at[r], col_at[c])
        given = inputs["coefficients"].reshape(owners, -1, digits, keep, fellows)
        product = np.matmul(given.transpose(0, 2, 4, 1, 3), core)
        factor = product.transpose(0, 3, 1, 4, 2).reshape(owners, -1, digits * keep, fellows)
        if not np.isfinite(factor).all():
            raise range_error(job, further_exponent(job))
        span = (self.owners, slice(0, factor.shape[1]), slice(0, factor.shape[2]), self.fellows)
        return [Output(f"factor/{step.factor}", span, factor)]
