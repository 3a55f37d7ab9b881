"""Run one task in this process, and print what it was predicted to hold and what it held: ``KIND SIDE RANK DTYPE``."""

import ctypes
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import zarr

import dbutterfly as dbf
from dbutterfly.execution import resident_memory
from dbutterfly.execution.task import load_task
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.factorization.tasks.halves import LeftTask, RightTask
from dbutterfly.factorization.tasks.tiles import TileTask
from dbutterfly.kernels.backend.stacks import STACK_BYTES
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.footprints import GROUP_COPIES, STACK_COPIES, Footprint, tile_footprint
from dbutterfly.planning.plan import Layout
from dbutterfly.planning.search import make_plan
from dbutterfly.planning.sides import RootCut, tile_side
from dbutterfly.sources.dispatch import as_source
from dbutterfly.sources.weighted import weigh
from dbutterfly.storage.workspace import MemoryWorkspace
from dbutterfly.structure.chain import Chain
from dbutterfly.structure.orderings import Orderings
from dbutterfly.structure.weights import Weights

TREES = {"tile": "balanced", "left": "right", "right": "left"}
"""Trees of which the task is a large one: what peels off single factors leaves the other half in one piece."""


def planned_job(path, kind, side, rank, dtype):
    """Plan half of a matrix as one tile, or half of its groups as one task, and draw the entries."""
    rng, n = np.random.default_rng(0), 4096 if kind == "tile" or rank == 1 else 2048
    array = zarr.create_array(path, shape=(n, n), chunks=(512, 512), dtype=dtype)
    if kind == "tile":
        for first in range(0, n, 512):
            array[first : first + 512] = rng.standard_normal((512, n)).astype(dtype)
    weights = Weights(1 + rng.random(n), None) if side == "weights" else None
    source, side = weigh(as_source(path), weights), None if weights is not None else side
    orderings = Orderings(rng.permutation(n), rng.permutation(n)) if side == "index" else Orderings(side)
    job = {"chain": Chain.chainable((n, n), rank), "orderings": orderings, "tree": TREES[kind]}
    budget = Budget(1 << 40)
    _, u, q, _, _ = (first := make_plan(source.info, budget=budget, **job)).split
    layout = Layout(first.layout.root, u // 2, q, u // 2, q // 2)
    plan = make_plan(source.info, budget=budget, layout=layout, **job)
    workspace = MemoryWorkspace()
    if kind != "tile":
        p, u, q, v, _ = plan.split
        shapes = {"A": (u, q, rank, p)} if kind == "left" else {"B": (q, u, rank, v), "scale": (u, q, rank, rank)}
        for name, shape in shapes.items():
            workspace.create(name, shape, shape, dtype)
            workspace.write(name, (slice(None),), rng.standard_normal(shape, np.float32).astype(dtype))
        workspace.create("stats", (u, q, 3), (u, q, 3), np.float64)
        workspace.write("stats", (slice(None),), np.zeros((u, q, 3)))
    return FactorizationJob(source, plan, workspace)


def task_and_footprint(job, kind):
    """The task, and the bytes that it is predicted to hold."""
    plan, (p, u, q, v, rank) = job.plan, job.plan.split
    if kind == "tile":
        cut = RootCut(plan.tree, plan.split, plan.rows, plan.cols, plan.ranks[-1])
        sides = tile_side(plan.rows, plan.layout.tile_rows), tile_side(plan.cols, plan.layout.tile_cols)
        return TileTask(plan.tiles[0]), tile_footprint(plan.source, cut, *sides)
    groups, group, task = (u // 2, p * q, LeftTask) if kind == "left" else (q // 2, u * v, RightTask)
    held = GROUP_COPIES * groups * group * rank * plan.itemsize
    return task(0, groups), Footprint(0, held + STACK_COPIES * STACK_BYTES)  # nothing is read: it is in memory already


def main(kind, side, rank, dtype):
    dbf.factorize(np.random.default_rng(0).standard_normal((64, 64)).astype(dtype), rank=rank, workers=1)  # warm up
    with tempfile.TemporaryDirectory() as folder:
        job = planned_job(Path(folder) / "z.zarr", kind, side, rank, dtype)
        task, footprint = task_and_footprint(job, kind)
        ctypes.CDLL(None).malloc_trim(0)  # what drawing the entries has freed would hide as much of what the task holds
        before = resident_memory.size()
        resident_memory.reset_peak()
        inputs = load_task(job, task)
        viewed = 0 if kind == "tile" else sum(values.nbytes for values in inputs.values())
        task.compute(job, inputs)
        held = resident_memory.peak() - before + viewed
    print(json.dumps({"predicted": footprint.peak(prefetch=False), "measured": held}))


if __name__ == "__main__":
    main(sys.argv[1], None if sys.argv[2] == "None" else sys.argv[2], int(sys.argv[3]), sys.argv[4])
