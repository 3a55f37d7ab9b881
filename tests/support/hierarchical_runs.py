"""A kernel of random points with themselves, hierarchical runs of it, and a process that makes one slowly."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dbutterfly as dbf
from dbutterfly.factorization.hierarchical import run
from dbutterfly.factorization.hierarchical.job import HierarchicalJob
from dbutterfly.factorization.hierarchical.tasks import RegionTask
from dbutterfly.kernels.products.ksmm import dense_product
from dbutterfly.storage.run_store import RunStore
from tests.support.dask_processes import Process, start_process

N = 320
"""Points of the kernel: no power of two."""

CHUNKS = (128, 128)
"""Chunks in which it is stored, which no region is made of."""

ASKED: dict[str, Any] = {"tol": 1e-3, "form": "hierarchical", "leaf": 20, "memory": "2560 KiB"}
"""Arguments of the runs; with so little memory there are several regions."""

SECONDS = 0.02
"""Time that a region takes at least in the process."""


def draw_points(dimension: int = 2, count: int = N) -> NDArray[np.float64]:
    """Points at random, in no order."""
    return np.random.default_rng(dimension).random((count, dimension))


def evaluate(points: NDArray[np.float64], rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entries of the exponential covariance."""
    return np.asarray(np.exp(-np.linalg.norm(points[rows][:, None] - points[cols], axis=-1)))


def make_covariance(points: NDArray[np.float64], dtype: str = "float64") -> NDArray[Any]:
    """The matrix; a complex one is Hermitian."""
    every = np.arange(len(points))
    matrix = evaluate(points, every, every)
    if np.dtype(dtype).kind == "c":
        matrix = matrix * np.exp(1j * (points[:, None, 0] - points[None, :, 0]))
    return matrix.astype(dtype)


def make_entries(points: NDArray[np.float64], **options: Any) -> dbf.Entries:
    """The matrix by its entries."""
    return dbf.entries(partial(evaluate, points), (len(points), len(points)), "float64", **options)


def dense_of(found: Any) -> NDArray[Any]:
    """The matrix that a result stands for, from its blocks alone; each entry is in one of them."""
    ordered, seen = np.zeros(found.shape, found.dtype), np.zeros(found.shape, int)
    for block in found.blocks:
        at = slice(*block.rows), slice(*block.cols)
        values = dense_product(block.ks_values) if block.ks_values else np.zeros(block.shape, found.dtype)
        ordered[at] += values
        seen[at] += 1
        if found.symmetry != "none" and block.rows != block.cols:
            ordered[at[::-1]] += values.T if found.symmetry == "symmetric" else values.conj().T
            seen[at[::-1]] += 1
    assert (seen == 1).all()
    matrix = np.empty_like(ordered)
    orders = zip((found.row_order, found.col_order), found.shape, strict=True)
    matrix[np.ix_(*(np.arange(size) if order is None else order for order, size in orders))] = ordered
    return matrix


def error_of(found: Any, matrix: NDArray[Any]) -> float:
    """Relative Frobenius error, in double precision."""
    exact = matrix.astype(np.result_type(matrix, np.float64))
    return float(np.linalg.norm(dense_of(found) - exact) / np.linalg.norm(exact))


def assert_same_blocks(left: Any, right: Any) -> None:
    """Equal to the bit."""
    assert [(block.rows, block.cols) for block in left.blocks] == [(block.rows, block.cols) for block in right.blocks]
    for one, other in zip(left.blocks, right.blocks, strict=True):
        for x, y in zip(one.ks_values, other.ks_values, strict=True):
            assert x.dtype == y.dtype
            assert np.array_equal(x, y)
    assert np.array_equal(left.table, right.table)
    assert left.certificate == right.certificate
    assert left.symmetry == right.symmetry


def count_done(store: Path) -> int:
    """Regions that have ended, of a run that may not have begun."""
    try:
        run = RunStore.open(str(store))
        if run is not None and run.is_complete:
            return run.manifest.tasks["regions"]
        rows = None if run is None else run.workspace.read_rows("done/regions")
    except dbf.errors.StoreError:
        return 0
    return 0 if rows is None else int((~np.isnan(rows).any(axis=1)).sum())


def start_run(source: str, store: Path) -> Process:
    """Start a process that factorizes the stored matrix."""
    return start_process([sys.executable, "-m", __spec__.name, source, store], Path(f"{store}.said"))


def main() -> None:
    """Factorize as the command line says."""
    source, store = sys.argv[1:]
    compute, points = RegionTask.compute, draw_points()

    def compute_slowly(task: RegionTask, *arguments: Any) -> Any:
        time.sleep(SECONDS)
        return compute(task, *arguments)

    RegionTask.compute = compute_slowly  # type: ignore[method-assign]
    dbf.factorize(source, points=(points, points), store=store, workers=2, **ASKED)


if __name__ == "__main__":
    main()


def stop_after_panels(monkeypatch: pytest.MonkeyPatch, source: Any, **arguments: Any) -> None:
    """Begin a hierarchical run, and stop it when its panels have ended."""
    tasks_of = run.tasks_of

    def panels_only(plan: Any) -> dict[str, Any]:
        return {stage: tasks for stage, tasks in tasks_of(plan).items() if stage == "panels"}

    def stop(*_args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "tasks_of", panels_only)
        patch.setattr(HierarchicalJob, "check_unchanged", stop)
        with pytest.raises(KeyboardInterrupt):
            dbf.factorize(source, **arguments)
