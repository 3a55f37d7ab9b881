"""Strong and weak scaling from warm storage, and what a scheduler costs beside threads.

Strong: the same matrix on more and more workers. Weak: rows in proportion to the workers. Every worker has one thread,
pinned to a core of its own, as on a node of its own; so has every thread of the runs without a scheduler, which stand
for the same number of workers. On one machine, client and scheduler share the cores of the workers. Besides the time,
what all processes together took of the processors is recorded, which other users of the machine change little.

With ``--scheduler``, the workers of that cluster are measured as they are, as many as there are, GPUs included: start
it with more and more of them, and every call adds its row to those of the calls before.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import psutil
from distributed import Client

import dbutterfly as dbf

from . import harness
from .out_of_core import cluster, write_matrix

NAME = "scaling"
WARM_UP = 256


def processor_seconds() -> float:
    """What this process has taken of the processors."""
    return sum(psutil.Process().cpu_times()[:2])


def measured(path: Path, run: Path, repeats: int, how: Callable[[], dict[str, Any]], client: Any) -> dict[str, Any]:
    """Times of some runs, their processor seconds, and the rest of the shortest one's record."""
    walls, spent, stages = [], [], []
    for _ in range(repeats):
        shutil.rmtree(run, ignore_errors=True)
        before = total(client)
        started = time.perf_counter()
        found = dbf.factorize(path, store=run, **how())
        walls.append(time.perf_counter() - started)
        spent.append(total(client) - before)
        stages.append({name: stage["seconds"] for name, stage in found.record["stages"].items()})
    best = walls.index(min(walls))
    return {
        "seconds": walls[best],
        "median_seconds": statistics.median(walls),
        "processor_seconds": statistics.median(spent),
        "shape": list(found.shape),
        "stage_seconds": list(stages[best].items()),
        "samples": walls,
    }


def total(client: Client | None) -> float:
    """Processor seconds of this process and of all workers."""
    there = client.run(processor_seconds).values() if client is not None else []
    return processor_seconds() + sum(there)


def on_threads(path: str, run: str, workers: int, repeats: int) -> None:
    """Print what threads take, each worker on a core of its own; runs in a process of its own."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), set(sorted(os.sched_getaffinity(0))[:workers]))
    dbf.factorize(dbf.matrices.dft(WARM_UP), workers=workers)
    memory = {"memory": "550MiB", "workers": workers}
    print(json.dumps(measured(Path(path), Path(run), repeats, lambda: memory, None)))


def on_processes(path: Path, run: Path, workers: int, repeats: int) -> dict[str, Any]:
    """Measure worker processes of this machine."""
    with cluster(workers) as client:
        dbf.factorize(dbf.matrices.dft(WARM_UP), client=client)
        return measured(path, run, repeats, lambda: {"client": client}, client)


def on_cluster(address: str, path: Path, run: Path, repeats: int) -> dict[str, Any]:
    """Measure the workers of a cluster."""
    with Client(address) as client:
        dbf.factorize(dbf.matrices.dft(WARM_UP), client=client)
        workers = sum(client.nthreads().values())
        return {"workers": workers, **measured(path, run, repeats, lambda: {"client": client}, client)}


def main(
    n: int = 32768,
    counts: tuple[int, ...] = (1, 2),
    repeats: int = 3,
    rounds: int = 3,
    directory: str | None = None,
    scheduler: str | None = None,
) -> None:
    """Measure this machine, or the workers of a cluster; the matrices stay in ``directory`` if one is given."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        place, run = Path(directory or scratch), Path(scratch) / "run"
        if scheduler is not None:
            path = written(place, n, n)
            found = on_cluster(scheduler, path, run, repeats)
            earlier = [row for row in harness.recorded(NAME) if row["kind"] == "cluster"]
            others = [row for row in earlier if row["workers"] != found["workers"]]
            here = [row for row in harness.recorded(NAME) if row["kind"] != "cluster"]
            there = sorted([*others, {"kind": "cluster", **found}], key=lambda row: row["workers"])
            harness.record(NAME, [*here, *there])
            return
        rows = []
        for _ in range(rounds):  # in turn, so that a busy machine slows all alike
            for workers in counts:
                rows += measured_here(written(place, n, n), run, workers, repeats, "strong")
                rows += measured_here(written(place, n // 2 * workers, n // 2), run, workers, repeats, "weak")
        there = [row for row in harness.recorded(NAME) if row["kind"] == "cluster"]
        harness.record(NAME, [*joined(rows), *ratios(rows, counts), *there])


def measured_here(path: Path, run: Path, workers: int, repeats: int, kind: str) -> list[dict[str, Any]]:
    """Rows of threads and of processes, after the matrix was read into the page cache."""
    rows = [{"kind": kind, "engine": "processes", "workers": workers, **on_processes(path, run, workers, repeats)}]
    if kind == "strong":
        found = harness.in_process("benchmarks.scaling", str(path), str(run), str(workers), str(repeats))
        rows.append({"kind": kind, "engine": "threads", "workers": workers, **found})
    for row in rows:
        print({key: value for key, value in row.items() if key != "samples"}, flush=True)
    return rows


Case: TypeAlias = tuple[str, str, int]
"""Kind of scaling, engine, and number of workers."""


def by_case(rows: list[dict[str, Any]]) -> dict[Case, list[dict[str, Any]]]:
    """Rows of each case, one for each round."""
    cases: dict[Case, list[dict[str, Any]]] = {}
    for row in rows:
        cases.setdefault((row["kind"], row["engine"], row["workers"]), []).append(row)
    return cases


def joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The shortest of the rounds of each case, with the samples of all."""
    return [
        {**min(those, key=lambda row: row["seconds"]), "samples": [time for row in those for time in row["samples"]]}
        for those in by_case(rows).values()
    ]


def ratios(rows: list[dict[str, Any]], counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Speed over that of one worker, part of the ideal for weak scaling, and the scheduler's part of the time.

    All are medians of the ratios of rounds, which were taken side by side; of the time, and of the processor time.
    """
    cases, one = by_case(rows), counts[0]
    found: list[dict[str, Any]] = []
    for workers in counts:
        strong, threads, weak = (
            (kind, engine, workers)
            for kind, engine in (("strong", "processes"), ("strong", "threads"), ("weak", "processes"))
        )

        def ratio(over: Case, under: Case, field: str = "seconds") -> float:
            return harness.ratios([row[field] for row in cases[over]], [row[field] for row in cases[under]])

        cpu = "processor_seconds"
        found.append(
            {
                "kind": "ratios",
                "workers": workers,
                "speedup": ratio((*strong[:2], one), strong),
                "speedup_of_processor_seconds": workers / one * ratio((*strong[:2], one), strong, cpu),
                "threads_speedup": ratio((*threads[:2], one), threads),
                "threads_speedup_of_processor_seconds": workers / one * ratio((*threads[:2], one), threads, cpu),
                "weak_efficiency": ratio((*weak[:2], one), weak),
                "scheduler_overhead": ratio(strong, threads) - 1,
                "scheduler_overhead_of_processor_seconds": ratio(strong, threads, cpu) - 1,
            }
        )
    return found


def written(place: Path, rows: int, columns: int) -> Path:
    """Matrix of a size, written unless it is there, and read once."""
    path = place / (f"z{rows}.zarr" if rows == columns else f"z{rows}x{columns}.zarr")
    if not path.exists():
        write_matrix(path, columns, rows)
    for chunk in path.glob("c/*/*"):
        chunk.read_bytes()
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("run")
    parser.add_argument("workers", type=int)
    parser.add_argument("repeats", type=int)
    arguments = parser.parse_args()
    on_threads(arguments.path, arguments.run, arguments.workers, arguments.repeats)
