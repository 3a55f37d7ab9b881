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
import functools
import operator
import os
import signal
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, Self, TypeAlias

import numpy as np
import psutil
from dask.utils import parse_bytes
from distributed import Client, as_completed
from distributed.protocol import deserialize_bytes, serialize_bytes
from threadpoolctl import threadpool_limits

from .errors import DButterflyError, InputError, SourceError, TaskError
from .plan import Budget
from .tasks import Job, Record, Task, finish_task, load_task

__all__ = ["DaskEngine", "Engine", "ThreadEngine", "choose_engine", "connect", "parse_memory"]

OnDone: TypeAlias = Callable[[int, Record], None]

Outcome: TypeAlias = "tuple[int, Task, Record | BaseException]"
"""Number, task, and what it returned or raised."""

IN_FLIGHT_PER_WORKER = 4

SECONDS_FOR_WORKERS = 5

LOSSES = 3
"""Times that a task is submitted again because what it had been sent was lost with a worker."""


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
        self.workers = len(os.sched_getaffinity(0)) if workers is None else _checked_workers(workers)
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
                    _report([(*running.pop(future), _outcome(future)) for future in done], on_done)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                left = [(*running[future], _outcome(future)) for future in running if not future.cancelled()]
                _report([outcome for outcome in left if isinstance(outcome[-1], Record)], on_done)

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
        try:  # the workers of a cluster that was only just started may still be arriving
            client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except TimeoutError:
            raise InputError(
                f"client={client!r} has no workers yet; start some, or wait for them with wait_for_workers"
            ) from None
        infos = client.scheduler_info(n_workers=-1)["workers"].values()
        self.workers = sum(info["nthreads"] for info in infos)
        limits = [info["memory_limit"] / info["nthreads"] for info in infos if info["memory_limit"]]
        self._limit = int(0.6 * min(limits)) if limits else None

    def budget(self, memory: int | None) -> Budget:
        """Given memory is for one task; by default 60 % of a worker's limit, shared by its threads."""
        if memory is None:
            memory = self._limit or int(0.5 * psutil.virtual_memory().available / self.workers)
        return Budget(memory, self.workers)

    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`.

        What the scheduler can run again after the loss of a worker, it does. What was sent from here and lost with its
        only holder is sent again.
        """
        there = _reachable(job)
        packed = _packed(there)
        remote = self._send(packed)
        todo, running = deque(tasks), dict[Any, tuple[int, Task]]()
        completed, losses = as_completed(), Counter[int]()

        def report(outcomes: list[Outcome]) -> None:
            _report(outcomes, lambda number, record: on_done(number, _written(job, record)))

        with _Interrupts() as interrupts, contextlib.ExitStack() as stack:
            stack.callback(self._stop, running, report)
            while todo or running:
                while todo and len(running) < IN_FLIGHT_PER_WORKER * self.workers:
                    number, task = todo.popleft()
                    future = self._submit(job, there, remote, task)
                    running[future] = number, task
                    completed.add(future)
                with interrupts.allowed():
                    future = next(completed)
                outcome = _outcome(future)
                number, task = running.pop(future)
                if isinstance(outcome, CancelledError):
                    losses[number] += 1
                    if losses[number] > LOSSES:
                        raise TaskError(
                            f"{task.label} failed: its inputs were lost with a worker each time"
                        ) from outcome
                    todo.appendleft((number, task))
                    remote = self._send(packed)
                else:
                    report([(number, task, outcome)])

    def _stop(self, running: dict[Any, tuple[int, Task]], report: Callable[[list[Outcome]], None]) -> None:
        """Cancel what has not ended, and report what has."""
        ended = [future for future in running if future.status == "finished"]
        self.client.cancel([future for future in running if future not in ended])
        left = [(*running[future], _outcome(future)) for future in ended]
        report([outcome for outcome in left if isinstance(outcome[-1], Record)])

    def _submit(self, job: Job, there: Job, remote: Any, task: Task) -> Any:
        sent: dict[str, Any] = {}
        if not there.source.shared:
            sent |= task.read_source(job)
        if not there.workspace.shared:
            sent |= task.read_workspace(job)
        inputs = {name: self._send(np.ascontiguousarray(array)) for name, array in sent.items()}
        return self.client.submit(_run_on_worker, remote, task, inputs, pure=False)

    def _send(self, value: Any) -> Any:
        """Put a value on a worker; in a list, since the keys of a scattered dict would be names on the cluster."""
        for _ in range(LOSSES):
            with contextlib.suppress(OSError):  # a worker that has just gone: the scheduler is about to notice
                return self.client.scatter([value], hash=False)[0]
            time.sleep(0.5)
        return self.client.scatter([value], hash=False)[0]


class _Interrupts:
    """Holds Ctrl-C back until it is allowed: inside a call of a Dask client, it would leave the client unusable.

    A second Ctrl-C is not held back.
    """

    def __enter__(self) -> Self:
        self._allowed = self._pending = False
        in_main = threading.current_thread() is threading.main_thread()
        self._installed = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._installed:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._pending and error[0] is None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        self._allowed = True
        try:
            if self._pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._allowed = False

    def _handle(self, number: int, frame: object) -> None:  # noqa: ARG002
        if self._allowed or self._pending:
            raise KeyboardInterrupt
        self._pending = True


@dataclasses.dataclass(frozen=True)
class _Elsewhere:
    """Stands for what a worker cannot reach; its tasks are sent what they need."""

    name: str
    shared: bool = False


def _reachable(job: Job) -> Job:
    """The job without what cannot be opened in, or sent to, another process."""
    source: Any = job.source if job.source.shared and _can_be_sent(job.source) else _Elsewhere(job.source.name)
    workspace: Any = job.workspace if job.workspace.shared else _Elsewhere("workspace")
    return dataclasses.replace(job, source=source, workspace=workspace)


def _can_be_sent(value: Any) -> bool:
    try:
        serialize_bytes(value, on_error="raise")
    except Exception:
        return False
    return True


def _packed(job: Job) -> bytes:
    """The job in bytes, so that what fails to open it is a task; with an identity, so that no run gets another's."""
    packed: bytes = serialize_bytes((uuid.uuid4().hex, job), on_error="raise")
    return packed


@functools.lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> Job:
    """Inverse of :func:`_packed`, once per worker."""
    try:
        _, job = deserialize_bytes(packed)
    except Exception as error:
        raise SourceError(
            f"a worker cannot open the matrix or the store: {type(error).__name__}: {error}; every worker must reach "
            "them by the same path or URL, and import the same modules"
        ) from error
    assert isinstance(job, Job)
    return job


def choose_engine(client: Any, workers: int | None = None) -> Engine:
    """Engine for a client, or threads where it is None."""
    if client is None:
        return ThreadEngine(workers)
    if not isinstance(client, Client):
        raise InputError(
            f"client={client!r} is a {type(client).__name__}; pass a distributed.Client, or None for threads"
        )
    return DaskEngine(client)


def connect(address: str) -> Client:
    """Client of the Dask scheduler at ``address``, such as ``tcp://10.0.0.1:8786``.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        return Client(address)
    except (OSError, ValueError) as error:
        raise InputError(f"no Dask scheduler can be reached at {address!r}: {error}") from error


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
    except (ValueError, TypeError, OverflowError, AttributeError):
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


def _run_on_worker(packed: bytes, task: Task, sent: dict[str, Any]) -> Record:
    """Read what the client did not send, compute, and write if the workspace can be reached."""
    try:
        job = _unpacked(packed)
        started = time.perf_counter()
        # Received arrays may lie at odd addresses, where sums are taken in another order than everywhere else.
        inputs = {name: np.require(array, requirements=["C", "A"]) for name, array in sent.items()}
        if not isinstance(job.source, _Elsewhere):
            inputs |= task.read_source(job)
        if not isinstance(job.workspace, _Elsewhere):
            inputs |= task.read_workspace(job)
        with single_threaded_blas():
            elapsed = time.perf_counter() - started
            return finish_task(job, task, inputs, load_seconds=elapsed, write=job.workspace.shared)
    except DButterflyError as error:
        _make_portable(error)
        raise


def _make_portable(error: DButterflyError) -> None:
    """Leave of the causes of an error what any process can unpickle: with others (Zarr's) it would not arrive."""
    cause = error.__cause__
    if cause is not None and type(cause).__module__ != "builtins":
        cause = RuntimeError(f"{type(cause).__name__}: {cause}")
    error.__context__ = None
    error.__cause__ = cause
    if cause is not None:
        cause.__cause__ = cause.__context__ = None


def _written(job: Job, record: Record) -> Record:
    for output in record.outputs:
        job.workspace.write(*output)
    return record._replace(outputs=[])


def _outcome(future: Any) -> Record | BaseException:
    """What a future returned or raised; CancelledError where its data were lost with a worker."""
    try:
        error: BaseException | None = future.exception()
        return future.result() if error is None else error
    except CancelledError as error:
        return error


def _report(outcomes: Iterable[Outcome], on_done: OnDone) -> None:
    """Hand on what has ended; raise the failure of the first task, by number, that failed."""
    failed: tuple[Task, BaseException] | None = None
    for number, task, outcome in sorted(outcomes, key=operator.itemgetter(0)):
        if isinstance(outcome, Record):
            on_done(number, outcome)
        elif failed is None:
            failed = task, outcome
    if failed is None:
        return
    task, error = failed
    if isinstance(error, DButterflyError) or not isinstance(error, Exception):
        raise error
    raise TaskError(f"{task.label} failed: {type(error).__name__}: {error}") from error


def _checked_workers(workers: Any) -> int:
    try:
        count = operator.index(workers)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"workers={workers!r} is not a positive number of threads; the default is the number of cores")
    return count


def _next(tasks: Iterator[tuple[int, Task]], count: int) -> Iterator[tuple[int, Task]]:
    for _, item in zip(range(count), tasks, strict=False):
        yield item
