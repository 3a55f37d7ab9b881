"""What the scheduler costs per tile: 64 workers in one process, reading simulated by waiting.

Empty tiles take no time, so that the time per tile is that of client, scheduler and workers together; it and the memory
of the process must not grow with the number of tiles, since only a bounded number is in flight. With tiles of one
second, the time beyond that of the tiles alone is the overhead of a run.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from distributed import Client, LocalCluster
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly import resident
from dbutterfly.engine import DaskEngine
from dbutterfly.errors import CheckpointError
from dbutterfly.plan import Budget
from dbutterfly.planning import make_plan
from dbutterfly.sources import as_source
from dbutterfly.tasks import Inputs, Job, Output, Record, Task, done_name
from dbutterfly.workspace import MemoryWorkspace, Selection

from . import harness

WORKERS = 64


@dataclass(frozen=True)
class Waiting(Task):
    """A tile whose reading takes a given time, and whose arithmetic takes none."""

    stage: ClassVar[str] = "tiles"
    number: int
    seconds: float

    @property
    def label(self) -> str:
        """Name."""
        return f"tile {self.number}"

    def read_workspace(self, job: Job) -> Inputs:  # noqa: ARG002
        """Wait."""
        time.sleep(self.seconds)
        return {}

    def compute(self, job: Job, inputs: Inputs) -> list[Output]:  # noqa: ARG002
        """Nothing."""
        return []


class Reached(MemoryWorkspace):
    """A workspace that workers reach, as they do one in a store; what they write is dropped."""

    shared = True

    def read(self, name: str, selection: Selection) -> NDArray[Any]:
        """Nothing has been written yet."""
        raise CheckpointError(f"{name} is empty", name, selection)

    def write(self, *output: object) -> None:
        """Drop it."""


def main(counts: tuple[int, ...] = (1000, 4000, 16000), seconds: float = 1.0) -> None:
    """Run empty tiles in growing number, and tiles of a second."""
    source = as_source(dbf.entries(np.add.outer, (16, 16), "f8"))
    planned = make_plan(source.info, None, budget=Budget(1 << 30))
    rows = []
    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=False, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        for count, each in [*((count, 0.0) for count in counts), (16 * WORKERS, seconds)]:
            job, ended = Job(source, planned, Reached()), list[int]()
            job.workspace.create(done_name("tiles"), (count, len(Record._fields)), (1, 1), np.float64)
            gc.collect()
            before, started, cpu = resident.size(), time.perf_counter(), time.process_time()
            tasks = [(number, Waiting(number, each)) for number in range(count)]
            DaskEngine(client).run(job, tasks, lambda number, _, ended=ended: ended.append(number))
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
            gc.collect()
            assert sorted(ended) == list(range(count))
            ideal = each * count / WORKERS
            rows.append(
                {
                    "workers": WORKERS,
                    "tiles": count,
                    "seconds_of_a_tile": each,
                    "seconds": wall,
                    "cpu_ms_per_tile": 1e3 * cpu / count,
                    "overhead": (wall - ideal) / wall,
                    "grown_mib": (resident.size() - before) / 2**20,
                }
            )
            print(rows[-1], flush=True)
    harness.record("scheduler", rows)
