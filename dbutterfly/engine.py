"""Where tasks run: threads of this process, or the workers of a Dask cluster, behind one call.

Both engines run the same task objects, so results are equal to the bit. Submission is by waves: a bounded number of
tasks is in flight, however many there are. The first failure stops the run after the tasks that already run have
ended, and what has ended is reported to the caller before the error is raised; so it is with Ctrl-C.

BLAS is held to one thread while tasks run: parallelism is over tasks, and BLAS threads times worker threads must not
exceed the cores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias

import numpy as np
import psutil
from dask.utils import parse_bytes
from distributed import Client, as_completed
from threadpoolctl import threadpool_limits

from .errors import DButterflyError, InputError, TaskError
from .plan import Budget
from .tasks import Job, Record, Task, finish_task, load_task

__all__ = ["DaskEngine", "Engine", "ThreadEngine", "choose_engine", "parse_memory"]

OnDone: TypeAlias = Callable[[int, Record], None]

IN_FLIGHT_PER_WORKER = 4


class Engine(ABC):
    """Runs the tasks of one stage."""

    workers: int

    @abstractmethod
    def budget(self, memory: int | None) -> Budget:
        """What the plan may use, given what the caller allows."""

    @abstractmethod
    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """Run numbered tasks, in any order, and report each in the calling thread.

        Raises
        ------
        TaskError
            If a task fails for a reason that is no dbutterfly error; the cause is chained.
        DButterflyError
            If a task raises one.
        """


class ThreadEngine(Engine):
    """Threads of this process; no scheduler to start.

    While a worker computes, a second thread of it reads the next tile: at most ``workers`` tasks read and at most
    ``workers`` tasks compute at a time.

    Parameters
    ----------
    workers : int, optional
        Tasks that compute at a time, by default the number of cores this process may use.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if self.workers < 1:
            raise InputError(f"workers={workers} is not positive; the default is the number of cores")
        self._reading = threading.BoundedSemaphore(self.workers)
        self._computing = threading.BoundedSemaphore(self.workers)

    def budget(self, memory: int | None) -> Budget:
        """Given memory is for one task; by default two tasks per worker share 80 % of what is free."""
        free = int(0.8 * psutil.virtual_memory().available / (2 * self.workers))
        return Budget(free if memory is None else memory, self.workers)

    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`."""
        todo = iter(tasks)
        running: dict[Future[Record], tuple[int, Task]] = {}
        pool = ThreadPoolExecutor(2 * self.workers, thread_name_prefix="dbutterfly")
        with single_threaded_blas():
            try:
                while True:
                    for number, task in _next(todo, 2 * self.workers + 1 - len(running)):
                        running[pool.submit(self._run_one, job, task)] = number, task
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    _report(done, running, on_done)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                left = {future for future in running if future.done() and not future.cancelled()}
                for future in sorted(left, key=lambda future: running[future][0]):
                    if future.exception() is None:
                        on_done(running[future][0], future.result())

    def _run_one(self, job: Job, task: Task) -> Record:
        with self._reading:
            started = time.perf_counter()
            inputs = load_task(job, task)
            elapsed = time.perf_counter() - started
        with self._computing:
            return finish_task(job, task, inputs, load_seconds=elapsed)


class DaskEngine(Engine):
    """Workers of a Dask cluster.

    Sources and workspaces that another process can open are opened on the workers; of an array in the memory of this
    process, each task is sent its tile, and without a store the results come back here.

    Parameters
    ----------
    client : distributed.Client
        Connected client. Asynchronous clients are refused.
    """

    def __init__(self, client: Client) -> None:
        if client.asynchronous:
            raise InputError("client is asynchronous; pass a synchronous distributed.Client")
        self.client = client
        infos = client.scheduler_info(n_workers=-1)["workers"].values()
        self.workers = sum(info["nthreads"] for info in infos)
        if not self.workers:
            raise InputError(
                f"client={client!r} has no workers yet; start some, or wait for them with wait_for_workers"
            )
        limits = [info["memory_limit"] / info["nthreads"] for info in infos if info["memory_limit"]]
        self._limit = int(0.6 * min(limits)) if limits else None

    def budget(self, memory: int | None) -> Budget:
        """Given memory is for one task; by default 60 % of a worker's limit, shared by its threads."""
        if memory is None:
            memory = self._limit or int(0.5 * psutil.virtual_memory().available / self.workers)
        return Budget(memory, self.workers)

    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`."""
        remote = self.client.scatter(_shippable(job), hash=False)
        todo, running = iter(tasks), dict[Any, tuple[int, Task]]()
        completed = as_completed()
        try:
            while True:
                for number, task in _next(todo, IN_FLIGHT_PER_WORKER * self.workers - len(running)):
                    future = self._submit(job, remote, task)
                    running[future] = number, task
                    completed.add(future)
                if not running:
                    return
                _report({next(completed)}, running, lambda number, record: on_done(number, _written(job, record)))
        finally:
            self.client.cancel(list(running))

    def _submit(self, job: Job, remote: Any, task: Task) -> Any:
        sent: dict[str, Any] = {}
        if not job.source.shared:
            sent |= {name: np.ascontiguousarray(array) for name, array in task.read_source(job).items()}
        if not job.workspace.shared:
            sent |= task.read_workspace(job)
        remote_inputs = self.client.scatter(sent, hash=False) if sent else {}
        return self.client.submit(_run_on_worker, remote, task, remote_inputs, pure=False)


class _Elsewhere:
    """Stands for what a worker cannot reach; its tasks are sent what they need."""

    shared = False


def _shippable(job: Job) -> Job:
    source: Any = job.source if job.source.shared else _Elsewhere()
    workspace: Any = job.workspace if job.workspace.shared else _Elsewhere()
    return dataclasses.replace(job, source=source, workspace=workspace)


def choose_engine(client: Any, workers: int | None = None) -> Engine:
    """Engine for a client, or threads where it is None."""
    if client is None:
        return ThreadEngine(workers)
    if not isinstance(client, Client):
        raise InputError(
            f"client={client!r} is a {type(client).__name__}; pass a distributed.Client, or None for threads"
        )
    return DaskEngine(client)


def parse_memory(memory: int | float | str | None) -> int | None:
    """Bytes from a number or a text such as ``"2 GiB"``.

    Raises
    ------
    InputError
        If it is not a positive number of bytes.
    """
    if memory is None:
        return None
    try:
        count = int(parse_bytes(memory))
    except (ValueError, TypeError):
        count = 0
    if count <= 0:
        raise InputError(f'memory={memory!r} is not a positive number of bytes; give an integer or a text like "2 GiB"')
    return count


_blas_lock = threading.Lock()
_blas_users = 0
_blas_limits: list[threadpool_limits] = []


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread until the last of the concurrent users leaves: the setting is global to a process."""
    global _blas_users
    with _blas_lock:
        _blas_users += 1
        if _blas_users == 1:
            _blas_limits.append(threadpool_limits(limits=1))
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _blas_limits.pop().restore_original_limits()


def _run_on_worker(job: Job, task: Task, sent: dict[str, Any]) -> Record:
    """Read what the client did not send, compute, and write if the workspace can be reached."""
    started = time.perf_counter()
    inputs = dict(sent)
    if not isinstance(job.source, _Elsewhere):
        inputs |= task.read_source(job)
    if not isinstance(job.workspace, _Elsewhere):
        inputs |= task.read_workspace(job)
    with single_threaded_blas():
        elapsed = time.perf_counter() - started
        return finish_task(job, task, inputs, load_seconds=elapsed, write=job.workspace.shared)


def _written(job: Job, record: Record) -> Record:
    for output in record.outputs:
        job.workspace.write(*output)
    return record._replace(outputs=[])


def _report(done: Any, running: dict[Any, tuple[int, Task]], on_done: OnDone) -> None:
    """Hand on what has ended; raise the failure of the first task, by number, that failed."""
    failed: tuple[Task, BaseException] | None = None
    for future in sorted(done, key=lambda future: running[future][0]):
        number, task = running.pop(future)
        error = future.exception()
        if error is None:
            on_done(number, future.result())
        elif failed is None:
            failed = task, error
    if failed is None:
        return
    task, error = failed
    if isinstance(error, DButterflyError) or not isinstance(error, Exception):
        raise error
    raise TaskError(f"{task.label} failed: {type(error).__name__}: {error}") from error


def _next(tasks: Iterator[tuple[int, Task]], count: int) -> Iterator[tuple[int, Task]]:
    for _, item in zip(range(count), tasks, strict=False):
        yield item
