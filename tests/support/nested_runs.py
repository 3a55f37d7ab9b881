"""Runs by nested skeletons in this process, however small the matrix is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import dbutterfly as dbf
from dbutterfly.execution.task import finish_task, load_task, write_outputs
from dbutterfly.factorization.arrays import create_arrays, create_first_arrays
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.factorization.nested_result import assemble_nested
from dbutterfly.factorization.stages import nested_tasks
from dbutterfly.factorization.tasks.skeletons import StepTask
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.nested import Nested, make_nested_plan
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.entries import Entries
from dbutterfly.storage.workspace import MemoryWorkspace
from dbutterfly.structure.chain import Chain

__all__ = ["NestedRun", "run_nested"]


class NestedRun(NamedTuple):
    """A job that was run, and its result."""

    fact: Any
    job: FactorizationJob


def run_nested(
    matrix: Entries,
    chain: Chain,
    nested: Nested | None = None,
    *,
    orderings: Any = None,
    tree: Any = "balanced",
    task_entries: int = 1 << 21,
    extra: int | None = None,
) -> NestedRun:
    """Run all tasks, one after the other; each may evaluate ``extra`` entries for blocks that are rejected."""
    source = as_source(matrix)
    nested = (nested or Nested.of_chain(chain, spare=True))._replace(task_entries=task_entries)
    planned = make_nested_plan(
        source.info,
        chain,
        nested,
        tree=tree,
        orderings=dbf.Orderings.from_any(orderings),
        budget=Budget(1 << 40),
    )
    job, rows = FactorizationJob(source, planned, MemoryWorkspace()), {}
    create_arrays(job, create_first_arrays(job))
    for stage, tasks in nested_tasks(planned).items():
        for number, task in enumerate(tasks):
            if extra is not None and isinstance(task, StepTask):
                task = replace(task, extra=extra)
            outputs, record = finish_task(job, number, task, load_task(job, task))
            write_outputs(job, outputs)
            rows[stage] = np.array([record])
    return NestedRun(assemble_nested(job, {}, rows), job)
