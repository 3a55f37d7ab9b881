"""Stacks of matrices: against reading them once, against a loop of single calls, and under kills.

``reading``: 256 frequencies of 1024 x 1024, complex64 (2 GiB), uncompressed Zarr chunks of one matrix, against reading
and summing the same tasks with as many workers, from the page cache and behind a reader that gives each worker a fixed
bandwidth. ``loop``: matrices of N = 256 in memory, one call for all and a call for each in turn, on one core.
``product``: a vector and columns for each matrix, against the dense matrices. ``kills``: a process is killed after a
random number of its tasks, and the run continued to its end.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.planning.stacked_plan import StackedPlan
from dbutterfly.sources.stacks.base import StackSource
from dbutterfly.sources.stacks.dispatch import open_matrices
from dbutterfly.structure.axes import Index

from . import harness

COUNT, N = 256, 1024
KILLS = 30
BANDWIDTHS = (None, 100e6, 50e6)
"""Bytes per second and worker."""


class ThrottledStack(StackSource):
    """A stack that gives every reading thread at most a fixed bandwidth."""

    def __init__(self, inner: StackSource, bytes_per_second: float) -> None:
        super().__init__(inner.name, inner.shapes, inner.dtypes)
        self.inner, self.rate, self.per_chunk = inner, bytes_per_second, inner.per_chunk

    def matrix(self, number: int) -> Any:
        """Source of one matrix."""
        return self.inner.matrix(number)

    def read_matrices(self, numbers: Index) -> NDArray[Any]:
        """Read, then wait until the bandwidth allows the next."""
        started = time.perf_counter()
        found = self.inner.read_matrices(numbers)
        time.sleep(max(0.0, found.nbytes / self.rate - (time.perf_counter() - started)))
        return found


def frequency(number: int, count: int, n: int) -> NDArray[np.complex64]:
    """Helmholtz kernel between grids on two parallel segments, at most ten points per wavelength."""
    x = np.arange(n) / n
    distance = np.sqrt(1 + (x[:, None] - x) ** 2)
    wave = 0.2 * np.pi * n * (number + 1) / count
    return (np.exp(1j * wave * distance) / np.sqrt(distance)).astype(np.complex64)


def butterfly(number: int, _: int, n: int) -> NDArray[np.complex64]:
    """Product of random factors with noise."""
    clean = dbf.matrices.orthogonal_butterfly(n, dtype=np.complex64, seed=number % 8)
    return np.asarray(dbf.matrices.noisy(clean, 0.1, seed=number))


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "butterflies with noise, rank 1": (butterfly, {}),
    "Helmholtz, rank 2": (frequency, {"rank": 2, "orderings": ("bitreversal", None)}),
}


def write(place: Path, make: Any, count: int, n: int) -> StackSource:
    """Write a stack, one matrix in a chunk."""
    array = zarr.create_array(
        str(place), shape=(count, n, n), chunks=(1, n, n), dtype="complex64", compressors=None, overwrite=True
    )
    for number in range(count):
        array[number] = make(number, count, n)
    stack = open_matrices(str(place))
    assert isinstance(stack, StackSource)
    return stack


def read_and_sum(stack: StackSource, planned: StackedPlan, workers: int) -> float:
    """Read what the tasks of a plan read, and sum the entries."""
    total, lock = 0.0, threading.Lock()

    def add(numbers: Index) -> None:
        nonlocal total
        part = float(stack.read_matrices(numbers).view(np.float32).sum())
        with lock:
            total += part

    (batch,) = planned.batches
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(add, (batch.numbers[first:last] for first, last in batch.ranges)))
    return total


def reading(count: int = COUNT, n: int = N, repeats: int = 3) -> list[dict[str, Any]]:
    """Against reading once."""
    rows, workers = [], 2
    with tempfile.TemporaryDirectory() as directory:
        for kind, (make, asked) in KINDS.items():
            stored = write(Path(directory) / "z.zarr", make, count, n)
            for bandwidth in BANDWIDTHS:
                stack = stored if bandwidth is None else ThrottledStack(stored, bandwidth)
                planned = dbf.plan(stack, workers=workers, **asked)
                assert isinstance(planned, StackedPlan)
                ours, limit = _in_turn(
                    lambda s=stack, a=asked: dbf.factorize(s, workers=workers, **a),
                    lambda s=stack, p=planned: read_and_sum(s, p, workers),
                    repeats if bandwidth is None else 1,
                )
                rows.append(
                    {
                        "part": "reading",
                        "what": kind,
                        "matrices": count,
                        "n": n,
                        "workers": workers,
                        "mb_per_s_per_worker": bandwidth and bandwidth / 1e6,
                        "seconds": float(np.median(ours[0])),
                        "limit_seconds": float(np.median(limit[0])),
                        "ratio": harness.ratios(ours[0], limit[0]),
                        "processor_ratio": harness.ratios(ours[1], limit[1]),
                        "samples": [ours, limit],
                    }
                )
    return rows


Times = tuple[list[float], list[float]]
"""Wall times and processor times."""


def _in_turn(ours: Any, limit: Any, repeats: int) -> tuple[Times, Times]:
    """Times of two functions, taken in turn. Processor times hold beside other programs too."""
    found: tuple[Times, Times] = ([], []), ([], [])
    for _ in range(repeats):
        for (walls, processor), function in zip(found, (ours, limit), strict=True):
            started = time.perf_counter(), time.process_time()
            function()
            walls.append(time.perf_counter() - started[0])
            processor.append(time.process_time() - started[1])
    return found


def loop(count: int = 64, n: int = 256, repeats: int = 3) -> list[dict[str, Any]]:
    """One call for all matrices against a call for each: processor times, on one core."""
    rows = []
    for kind, (make, asked) in KINDS.items():
        stack = np.stack([make(number, count, n) for number in range(count)])
        ours, theirs = [], []
        for _ in range(repeats):
            started = time.process_time()
            dbf.factorize(stack, workers=1, **asked)
            between = time.process_time()
            for matrix in stack:
                dbf.factorize(matrix, workers=1, **asked)
            ours.append(between - started)
            theirs.append(time.process_time() - between)
        rows.append(
            {
                "part": "loop",
                "what": kind,
                "matrices": count,
                "n": n,
                "seconds": float(np.median(ours)),
                "loop_seconds": float(np.median(theirs)),
                "times_faster": harness.ratios(theirs, ours),
                "samples": [ours, theirs],
            }
        )
    return rows


def product(count: int = 64, n: int = N, repeats: int = 5) -> list[dict[str, Any]]:
    """Products with all matrices against those with the dense ones, on one core."""
    make, asked = KINDS["Helmholtz, rank 2"]
    stack = np.stack([make(number, count, n) for number in range(count)])
    operator = dbf.factorize(stack, **asked).operator
    rows = []
    for columns in (1, 16):
        x = np.ones((count, n, columns), np.complex64)
        _ = operator @ x, stack @ x
        times = harness.sample({"factors": lambda y=x: operator @ y, "dense": lambda y=x: stack @ y}, repeats)
        rows.append(
            {
                "part": "product",
                "what": f"{columns} columns for each matrix",
                "matrices": count,
                "n": n,
                "times_faster": harness.ratios(times["dense"], times["factors"]),
                "times_smaller": stack.nbytes / operator.nbytes,
                "samples": [times["factors"], times["dense"]],
            }
        )
    return rows


def kills(count: int = KILLS, tasks: int = 24) -> list[dict[str, Any]]:
    """Kill a process so many times, each time in another run, and compare the results to the bit."""
    from tests.support.patience import wait_until
    from tests.support.stacked_runs import (
        assert_same_stacks,
        count_done,
        counted_reads,
        make_stack,
        memory_for_tasks,
        start_run,
        store_stack,
    )

    chance, ended, in_vain = random.Random(0), [], 0
    with tempfile.TemporaryDirectory() as directory:
        stack = make_stack(2 * tasks)
        place, expected = store_stack(stack, Path(directory) / "z.zarr", (1, 32, 32)), dbf.factorize(stack)
        memory = memory_for_tasks(place, tasks)
        for number in range(count):
            store, wanted = Path(directory) / f"run{number}", chance.randrange(1, tasks)
            process = start_run(place, store, memory)
            wait_until(lambda s=store, n=wanted: count_done(s) >= n)
            process.kill()
            ended.append(count_done(store))
            with counted_reads() as reads:
                found = dbf.factorize(place, store=store, memory=memory)
            assert_same_stacks(found, expected)  # ends the benchmark
            in_vain += max(0, len(reads) + ended[-1] - found.record["plan"]["tasks"]["matrices"])
    row = {"part": "kills", "what": "kills of the process", "kills": count, "equal": count, "read_in_vain": in_vain}
    return [row | {"ended": ended}]


def main() -> None:
    """Record all parts."""
    harness.record("stacks", [*reading(), *loop(), *product(), *kills()])
