"""Threads of this process that run tasks and calls."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import psutil
from numpy.typing import NDArray

from ..kernels.backend import resolve_backend, tile_memory
from ..kernels.backend.blas import single_threaded_blas
from ..kernels.backend.cores import available_cores
from ..planning.budget import Budget, share_device_memory
from ..sources.base import MatrixSource
from . import resident_memory
from .arguments import read_workers
from .backlog import Backlog, outcome_of
from .calls import CallBacklog, Calls, call_function
from .engine import Engine, OnDone
from .task import JobT, LoadRecord, Record, Task, finish_task, load_task, prepare_source, write_outputs
from .waiting import leave_thread_for

__all__ = ["ThreadEngine"]

SHARE_OF_FREE_MEMORY = 0.8
"""Part of the free memory of this machine that the workers share by default.

Not tuned: the rest is for this process itself, and for what other processes take meanwhile.
"""


class ThreadEngine(Engine):
    """Threads of this process; no scheduler to start.

    While a worker computes, a second thread of it reads the next tile, if the plan reads ahead: at most ``workers``
    tasks read and at most ``workers`` tasks compute at a time.

    Parameters
    ----------
    workers : int, optional
        Tasks that compute at a time, by default the number of cores this process may use.
    """

    in_this_process: ClassVar[bool] = True

    def __init__(self, workers: int | None = None) -> None:
        self.workers = available_cores() if workers is None else read_workers("workers", workers)
        self._may_read = threading.BoundedSemaphore(self.workers)
        self._may_compute = threading.BoundedSemaphore(self.workers)

    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """Given memory is for one worker; by default they share 80 % of what is free, of the GPU as well."""
        free = int(SHARE_OF_FREE_MEMORY * psutil.virtual_memory().available / self.workers)
        on_device = share_device_memory(device_memory, resolve_backend(backend).device_memory or None, self.workers)
        return Budget(free if memory is None else memory, self.workers, on_device)

    def run(self, job: JobT, tasks: Sequence[tuple[int, Task[JobT]]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`."""
        backlog: Backlog[Task[JobT], Record] = Backlog(tasks, on_done)
        prepare_source(job, tasks, None, self.workers)
        threads = self.workers * (2 if job.prefetch else 1)
        resident_memory.reset_peak()
        idle = resident_memory.size()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="dbutterfly")
        with leave_thread_for(job.source.client), single_threaded_blas(), tile_memory.keep(job.host_memory):
            try:
                while backlog.has_work():
                    while backlog.todo and len(backlog.running) <= threads:
                        number, task = backlog.todo.popleft()
                        backlog.add_running(pool.submit(self._run_one, job, number, task, idle), number, task)
                    for future in backlog.next_ended():
                        backlog.account_for(future, outcome_of(future), self.workers)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                backlog.deliver_finished()
        backlog.close()

    def _run_one(self, job: JobT, number: int, task: Task[JobT], idle: int) -> Record:
        with job.lane(self.workers) as lane:
            with self._may_read:
                now, started = time.time(), time.perf_counter()
                inputs = load_task(job, task, lane)
                elapsed = time.perf_counter() - started
            loaded = LoadRecord(task.bytes_read(job), elapsed, now, idle, _number_of_thread())
            with self._may_compute:
                outputs, record = finish_task(job, number, task, inputs, loaded, lane)
                write_outputs(job, outputs)
        return record

    @contextlib.contextmanager
    def calls(self, matrix: NDArray[Any] | MatrixSource, name: str) -> Iterator[Calls]:
        """See :meth:`Engine.calls`."""
        waits = leave_thread_for(getattr(matrix, "client", None))
        with waits, ThreadPoolExecutor(self.workers, thread_name_prefix="dbutterfly") as pool:
            if isinstance(matrix, MatrixSource):
                matrix.prepare(None, self.workers)
            yield _ThreadCalls(name, pool, matrix, self.workers)


class _ThreadCalls(Calls):
    """Calls on the threads of a pool."""

    def __init__(self, name: str, pool: ThreadPoolExecutor, matrix: Any, workers: int) -> None:
        super().__init__(name)
        self.pool, self.matrix, self.workers = pool, matrix, workers

    def begin(
        self, backlog: CallBacklog, function: Callable[..., Any], shared: Sequence[NDArray[Any]]
    ) -> _ThreadCallsUnderWay:
        """See :meth:`Calls.begin`."""
        return _ThreadCallsUnderWay(self, backlog, function, shared)


class _ThreadCallsUnderWay:
    """See :class:`~dbutterfly.execution.calls.CallsUnderWay`."""

    def __init__(
        self, calls: _ThreadCalls, backlog: CallBacklog, function: Callable[..., Any], shared: Sequence[NDArray[Any]]
    ) -> None:
        self._calls, self._backlog, self._function, self._shared = calls, backlog, function, shared

    def advance(self) -> None:
        calls, backlog = self._calls, self._backlog
        backlog.admit(calls.workers)
        while backlog.todo:
            number, call = backlog.todo.popleft()
            future = calls.pool.submit(call_function, self._function, calls.matrix, call.argument, *self._shared)
            backlog.add_running(future, number, call)
        for future in backlog.next_ended():
            backlog.account_for(future, outcome_of(future), calls.workers)

    def cancel(self) -> None:
        for future in list(self._backlog.running):
            future.cancel()


def _number_of_thread() -> int:
    """Number of this thread in the pool of a stage: the threads of one stage take the places of those before them."""
    return int(threading.current_thread().name.rpartition("_")[2])
