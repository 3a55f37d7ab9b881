"""What the scheduler and the client cost per tile: 64 workers, which simulate their tiles by waiting.

Scheduler, workers and client are processes of their own, and what each takes of a processor is told apart; the workers
share a few processes, since of them only the waiting counts. Empty tiles take no time: the time per tile, and the
memory of client and scheduler, must not grow with the number of tiles, since only a bounded number is in flight. With
tiles of one second, the scheduler's share is its processor time over the time that the run takes, and the overhead is
the time beyond that of the tiles alone. What an idle cluster of that size takes (heartbeats) is given beside.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
from distributed import Client
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.errors import CheckpointError
from dbutterfly.execution.dask_engine import DaskEngine
from dbutterfly.execution.task import Inputs, Output, Record, Task, done_name
from dbutterfly.factorization.job import FactorizationJob
from dbutterfly.planning.budget import Budget
from dbutterfly.planning.search import make_plan
from dbutterfly.sources.dispatch import as_source
from dbutterfly.storage.workspace import MemoryWorkspace, Selection

from . import harness

WORKERS = 64
PROCESSES = 4
SECONDS_IDLE = 10.0


@dataclass(frozen=True)
class Waiting(Task[FactorizationJob]):
    """A tile whose reading takes a given time, and whose arithmetic takes none."""

    stage: ClassVar[str] = "tiles"
    number: int
    seconds: float

    @property
    def label(self) -> str:
        """Name."""
        return f"tile {self.number}"

    def read_workspace(self, job: FactorizationJob) -> Inputs:  # noqa: ARG002
        """Wait."""
        time.sleep(self.seconds)
        return {}

    def compute(self, job: FactorizationJob, inputs: Inputs) -> list[Output]:  # noqa: ARG002
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


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[str, dict[str, list[psutil.Process]]]]:
    """Scheduler and workers: its address, and the processes of each kind."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:

        def start(*command: object) -> psutil.Process:
            process = subprocess.Popen([sys.executable, "-m", *map(str, command)], stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return psutil.Process(process.pid)

        file = Path(scratch) / "scheduler.json"
        scheduler = start(
            *("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", 0),
            *("--no-dashboard", "--scheduler-file", file),
        )
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        each = [workers // PROCESSES + (index < workers % PROCESSES) for index in range(PROCESSES)]
        there = [start("benchmarks.many_workers", address, count) for count in each if count]
        yield address, {"scheduler": [scheduler], "workers": there, "client": [psutil.Process()]}


def spent(processes: dict[str, list[psutil.Process]]) -> dict[str, float]:
    """Processor time that each kind of process has taken."""
    return {kind: sum(sum(one.cpu_times()[:2]) for one in those) for kind, those in processes.items()}


def held(processes: dict[str, list[psutil.Process]]) -> int:
    """Resident memory of client and scheduler."""
    return sum(one.memory_info().rss for kind in ("scheduler", "client") for one in processes[kind])


def measure(client: Client, processes: dict[str, list[psutil.Process]], count: int, seconds: float) -> dict[str, Any]:
    """Run as many tiles, of as many seconds each."""
    source = as_source(dbf.entries(np.add.outer, (16, 16), "f8"))
    job, ended = FactorizationJob(source, make_plan(source.info, None, budget=Budget(1 << 30)), Reached()), list[int]()
    job.workspace.create(done_name("tiles"), (count, len(Record._fields)), (1, 1), np.float64)
    tasks = [(number, Waiting(number, seconds)) for number in range(count)]
    memory, before, started = held(processes), spent(processes), time.perf_counter()
    DaskEngine(client).run(job, tasks, lambda number, _: ended.append(number))
    wall = time.perf_counter() - started
    cpu = {kind: now - before[kind] for kind, now in spent(processes).items()}
    assert sorted(ended) == list(range(count))
    return {
        "workers": WORKERS,
        "tiles": count,
        "seconds_of_a_tile": seconds,
        "seconds": wall,
        "scheduler_ms_per_tile": 1e3 * cpu["scheduler"] / count,
        "client_ms_per_tile": 1e3 * cpu["client"] / count,
        "worker_ms_per_tile": 1e3 * cpu["workers"] / count,
        "scheduler_share": cpu["scheduler"] / wall,
        "client_share": cpu["client"] / wall,
        "overhead": 1 - seconds * count / WORKERS / wall,
        "grown_mib": (held(processes) - memory) / 2**20,
    }


def main(counts: tuple[int, ...] = (1000, 4000, 16000), rounds: int = 16, seconds: float = 1.0) -> None:
    """Run empty tiles in growing number, and ``rounds`` of tiles of a second for every worker."""
    with cluster(WORKERS) as (address, processes), Client(address) as client:
        client.wait_for_workers(WORKERS, timeout=120)
        measure(client, processes, WORKERS, 0.0)
        before = spent(processes)
        time.sleep(SECONDS_IDLE)
        idle = {kind: (now - before[kind]) / SECONDS_IDLE for kind, now in spent(processes).items()}
        rows = [{"workers": WORKERS, "idle_share_of_a_core": idle}]
        for count, each in [*((count, 0.0) for count in counts), (rounds * WORKERS, seconds)]:
            rows.append(measure(client, processes, count, each))
            print(rows[-1], flush=True)
        client.shutdown()
    harness.record("scheduler", rows)
