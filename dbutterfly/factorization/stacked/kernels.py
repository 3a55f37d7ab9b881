"""Which kernels the tasks of a stack use: the compiled ones where all matrices of a batch together are much work."""

from __future__ import annotations

import math

import numpy as np

from ...kernels.compilation import are_worthwhile, comparable_entries, count_run
from ...planning.plan import Plan
from ..device_job import uses_compiled
from .job import StackJob

__all__ = ["are_compiled_worthwhile", "count_plain_kernels"]


def are_compiled_worthwhile(plan: Plan, count: int) -> bool:
    """Whether ``count`` matrices, each of this plan, are factorized by the compiled kernels."""
    return are_worthwhile(np.dtype(plan.source.work_dtype), _work(plan, count))


def count_plain_kernels(job: StackJob, seconds: float) -> None:
    """Count what the plain kernels have taken in this process: the compiled ones may be worth their compilation."""
    batches = [batch for _, batch in job.plan.together if batch.plan.split is not None]
    work = [_work(batch.plan, int(batch.numbers.size)) for batch in batches]
    for batch, part in zip(batches, work, strict=True):
        if not uses_compiled(batch.plan, job.computing):
            count_run(np.dtype(batch.plan.source.work_dtype), part, seconds * part / sum(work))


def _work(plan: Plan, count: int) -> int:
    """Entries of rank one that take the plain kernels as long as ``count`` matrices."""
    rank = 1 if plan.split is None else plan.split.rank
    return comparable_entries(count * math.prod(plan.source.shape), rank)
