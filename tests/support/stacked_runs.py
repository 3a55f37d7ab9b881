"""A stack in a Zarr array, and a process that factorizes it into a store, slowly, so that it can be killed."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.sources.stacks.zarr_arrays import ZarrStack
from dbutterfly.storage.run_store import RunStore
from tests.support.comparisons import assert_same, noisy_butterfly
from tests.support.dask_processes import Process, start_process

LEAST_MEMORY = 10 << 20
"""Bytes with which a plan for one of the matrices is made for sure."""

SECONDS = 0.02
"""Time that reading for a task takes at least."""


def make_stack(count: int, shape: Any = 32, dtype: str = "complex64", eps: float = 0.1) -> NDArray[Any]:
    """Noisy butterflies, of which each has more noise than the one before it."""
    return np.stack([noisy_butterfly(shape, dtype, eps * (k + 1) / count, seed=k) for k in range(count)])


def assert_same_stacks(left: dbf.StackedFactorization, right: dbf.StackedFactorization) -> None:
    """Equal to the bit."""
    assert (len(left), left.failed) == (len(right), right.failed)
    for number in range(len(left)):
        if number not in left.failed:
            assert_same(left[number], right[number])


def store_stack(stack: NDArray[Any], place: Path, chunks: tuple[int, ...], **options: Any) -> str:
    """Write a stack to a Zarr array."""
    array = zarr.create_array(str(place), shape=stack.shape, chunks=chunks, dtype=stack.dtype, **options)
    array[...] = stack
    return str(place)


def memory_for_tasks(source: Any, least: int, **arguments: Any) -> int:
    """Most memory, but for some bytes, with which a plan for a stack has at least so many tasks."""
    few, many = 0, dbf.plan(source, **arguments).peak_bytes
    while many - few > 64:
        middle = (few + many) // 2
        plan = dbf.plan(source, memory=middle, **arguments) if middle > LEAST_MEMORY else None
        if plan is None or plan.alone or plan.tasks["matrices"] >= least:
            few = middle
        else:
            many = middle
    assert not dbf.plan(source, memory=few, **arguments).alone, f"no plan has {least} tasks"
    return few


def count_done(store: Path) -> int:
    """Tasks that have ended, of a run that may not have begun."""
    try:
        run = RunStore.open(str(store))
        if run is not None and run.is_complete:
            return run.manifest.tasks["matrices"]
        rows = None if run is None else run.workspace.read_rows("done/matrices")
    except dbf.errors.StoreError:
        return 0
    return 0 if rows is None else int((~np.isnan(rows).any(axis=1)).sum())


@contextlib.contextmanager
def counted_reads() -> Iterator[list[int]]:
    """Block in which the first matrix is kept of each request for some that this process makes."""
    read, reads = ZarrStack.read_matrices, []

    def read_and_count(stack: ZarrStack, numbers: Any) -> Any:
        reads.append(int(numbers[0]))
        return read(stack, numbers)

    ZarrStack.read_matrices = read_and_count  # type: ignore[method-assign]
    try:
        yield reads
    finally:
        ZarrStack.read_matrices = read  # type: ignore[method-assign]


def start_run(source: str, store: Path, memory: int) -> Process:
    """Start a process that factorizes a stack."""
    command = [sys.executable, "-m", __spec__.name, source, store, memory]
    return start_process(command, Path(f"{store}.said"))


def main() -> None:
    """Factorize as the command line says."""
    source, store, memory = sys.argv[1:]
    read = ZarrStack.read_matrices

    def read_slowly(stack: ZarrStack, numbers: Any) -> Any:
        time.sleep(SECONDS)
        return read(stack, numbers)

    ZarrStack.read_matrices = read_slowly  # type: ignore[method-assign]
    dbf.factorize(source, store=store, memory=int(memory), workers=2)


if __name__ == "__main__":
    main()
