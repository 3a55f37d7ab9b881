"""Threads of this process that run tasks."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from ..errors import InputError
from ..kernels.backend import resolve_backend, tile_memory
from ..kernels.backend.blas import single_threaded_blas
from ..kernels.backend.cores import available_cores
from ..planning.budget import Budget, share_device_memory
from . import resident_memory
from .backlog import Backlog, TaskResult, outcome_of
from .engine import Engine, OnDone
from .task import Job, LoadRecord, Task, finish_task, load_task, write_outputs

__all__ = ["ThreadEngine"]


class ThreadEngine(Engine):
    """Threads of this process; no scheduler to start.

    While a worker computes, a second thread of it reads the next tile, if the plan reads ahead: at most ``workers``
    tasks read and at most ``workers`` tasks compute at a time.

    Parameters
    ----------
    workers : int, optional
        Tasks that compute at a time, by default the number of cores this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = available_cores() if workers is None else _check_workers(workers)
        self._reading = threading.BoundedSemaphore(self.workers)
        self._computing = threading.BoundedSemaphore(self.workers)

    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """Given memory is for one worker; by default they share 80 % of what is free, of the GPU as well."""
        free = int(0.8 * psutil.virtual_memory().available / self.workers)
        on_device = share_device_memory(device_memory, resolve_backend(backend).device_memory or None, self.workers)
        return Budget(free if memory is None else memory, self.workers, on_device)

    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`."""
        stage = Backlog(tasks, lambda number, returned: on_done(number, returned.record))
        threads = self.workers * (2 if job.prefetch else 1)
        resident_memory.reset_peak()
        idle = resident_memory.size()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="dbutterfly")
        with single_threaded_blas(), tile_memory.keep(job.host_memory):
            try:
                while stage.goes_on():
                    while stage.todo and len(stage.running) <= threads:
                        number, task = stage.todo.popleft()
                        stage.started(pool.submit(self._run_one, job, number, task, idle), number, task)
                    for future in stage.next_ended():
                        stage.settle(future, outcome_of(future), self.workers)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                stage.salvage()
        stage.close()

    def _run_one(self, job: Job, number: int, task: Task, idle: int) -> TaskResult:
        with job.lane(self.workers) as lane:
            with self._reading:
                now, started = time.time(), time.perf_counter()
                inputs = load_task(job, task, lane)
                elapsed = time.perf_counter() - started
            loaded = LoadRecord(task.bytes_read(job), elapsed, now, idle, _number_of_thread())
            with self._computing:
                outputs, record = finish_task(job, number, task, inputs, loaded, lane)
                write_outputs(job, outputs)
        return TaskResult(record, [])


def _number_of_thread() -> int:
    """Number of this thread in the pool of a stage: the threads of one stage take the places of those before them."""
    return int(threading.current_thread().name.rpartition("_")[2])


def _check_workers(workers: Any) -> int:
    try:
        count = operator.index(workers)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"workers={workers!r} is not a positive number of threads; the default is the number of cores")
    return count
