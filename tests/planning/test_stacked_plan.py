"""Plans for stacks: how many matrices a task takes, in integers."""

import dataclasses

import numpy as np
import pytest

import dbutterfly as dbf
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.stacked_plan import LARGEST_TASK, LARGEST_TOGETHER, Batch, StackedPlan, matrices_per_task
from dbutterfly.planning.tilings import SMALLEST_TILE

LARGE = Budget(1 << 40, 2)


def plan_for(n, dtype="complex64", **asked):
    return dbf.plan(np.broadcast_to(np.ones((), dtype), (n, n)), **asked)


@pytest.mark.parametrize("n", [16, 64, 256, 1024, 2048])
@pytest.mark.parametrize("count", [1, 10, 1000])
@pytest.mark.parametrize("workers", [1, 16])
def test_tasks_are_neither_tiny_nor_huge(n, count, workers):
    per_task, _ = matrices_per_task(plan_for(n), count, Budget(1 << 40, workers), 1)
    size = 8 * n * n
    assert 1 <= per_task <= count
    assert per_task == count or per_task * size >= min(SMALLEST_TILE, LARGEST_TASK // 2)
    assert per_task == 1 or per_task * size <= LARGEST_TASK


@pytest.mark.parametrize("rank", [1, 4])
def test_the_memory_bounds_a_task(rank):
    plan = plan_for(256, rank=rank)
    one, least = matrices_per_task(plan, 1, LARGE, 1)
    assert one == 1
    taken = [matrices_per_task(plan, 10_000, Budget(memory, 1), 1) for memory in range(least, 64 * least, least // 2)]
    assert all(count >= 1 for count, _ in taken)
    assert [count for count, _ in taken] == sorted(count for count, _ in taken)
    for (_, peak), memory in zip(taken, range(least, 64 * least, least // 2), strict=True):
        assert peak <= memory
    assert matrices_per_task(plan, 10, Budget(least // 2, 1), 1) == (0, plan.peak_bytes)


@pytest.mark.parametrize("per_chunk", [2, 7, 100])
def test_tasks_take_whole_chunks(per_chunk):
    count, _ = matrices_per_task(plan_for(64), 10_000, LARGE, per_chunk)
    assert count % per_chunk == 0
    least = matrices_per_task(plan_for(64), 1, LARGE, 1)[1]
    few, _ = matrices_per_task(plan_for(64), 10_000, Budget(2 * least, 1), per_chunk)
    assert few >= 1
    assert few % per_chunk == 0 or few < per_chunk


def test_large_matrices_and_samples_are_alone():
    n = int(np.sqrt(LARGEST_TOGETHER / 8))
    assert matrices_per_task(plan_for(n), 10, LARGE, 1)[0] > 0
    assert matrices_per_task(plan_for(2 * n), 10, LARGE, 1)[0] == 0
    entries = dbf.entries(lambda rows, cols: 1.0 / (1 + rows[:, None] + cols), (64, 64), "float64", sampled=True)
    assert matrices_per_task(dbf.plan(entries), 10, LARGE, 1)[0] == 0


def test_what_a_plan_says():
    plan = dbf.plan(np.ones((40, 64, 64)))
    assert isinstance(plan, StackedPlan)
    assert len(plan) == 40
    assert plan.bytes_read == plan.source_bytes == 40 * 8 * 64 * 64
    told = plan.to_json()
    assert (told["matrices"], told["tasks"], told["amplification"]) == (40, plan.tasks, 1.0)
    assert "40 of 64 x 64 float64" in str(plan)
    batches = [dataclasses.replace(plan.batches[0], numbers=np.array([k])) for k in range(5)]
    several = dataclasses.replace(plan, batches=tuple(batches), notes=("a remark",))
    assert "and 2 more chains" in str(several)
    assert "a remark" in str(several)
    assert [task for batch in batches for task in batch.ranges] == 5 * [(0, 1)]
    alone = Batch(plan=plan.batches[0].plan, numbers=np.arange(3), per_task=0, peak_bytes=7)
    assert alone.ranges == []
    assert "tiles of one matrix after the other" in str(dataclasses.replace(plan, batches=(alone,)))
