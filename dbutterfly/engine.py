"""Where tasks run: threads of this process, or the workers of a Dask cluster, behind one call.

All engines run the same task objects, so results are equal to the bit. Submission is by waves: a bounded number of
tasks is in flight, however many there are. A task that fails is tried again, and if it fails each time it is reported
when the others have ended. What has ended is reported to the caller before an error is raised, or Ctrl-C.

BLAS is held to one thread while tasks run: parallelism is over tasks, and BLAS threads times worker threads must not
exceed the cores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import operator
import os
import queue
import signal
import threading
import time
import uuid
import zlib
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
import psutil
from distributed import Client, KilledWorker, get_worker, secede
from distributed.client import ClosedClientError
from distributed.protocol import deserialize_bytes, serialize_bytes

from . import resident
from .clusters import OnDemand, Threads
from .errors import CheckpointError, DButterflyError, InputError, SourceError, StoreError, TaskError
from .kernels.backend import SHARE_OF_DEVICE, resolve_backend, tile_memory
from .kernels.backend.blas import single_threaded_blas
from .planning.budget import Budget, memory_of_thread, share_device_memory
from .tasks import Loaded, Output, Record, Task, Work, done_name, finish_task, load_task, stage_inputs, write_outputs

__all__ = ["ClusterEngine", "DaskEngine", "Engine", "ThreadEngine", "choose_engine"]

OnDone: TypeAlias = Callable[[int, Record], None]

IN_FLIGHT_PER_WORKER = 4
RELEASED_TOGETHER = 16
"""Ended tasks of a worker whose results, of which nothing is needed, are released at a time."""
LARGEST_MESSAGE = 1 << 16
"""Bytes up to which what all tasks share goes with each of them; more is put on a worker once."""


SECONDS_FOR_WORKERS = 5
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_WITHOUT_WORKERS = 600.0
"""Time for which a run waits when all workers, or the scheduler, are gone."""

SECONDS_FOR_RESULT = 10.0
"""Time within which the result of a task that has ended arrives, unless it was lost with its worker meanwhile."""

SECONDS_FOR_ANOTHER = 1.0
"""The same where another one did not: the rest of the cluster shall not wait for all that a worker has that hangs."""

LOSSES = 8
"""Times that a task is submitted again because it was lost with a worker or the scheduler."""
ATTEMPTS = 3
"""Times that a task may fail before it is reported."""
IN_A_ROW = 8
"""Failures per worker, with no task ending well in between, that end a stage."""

CALL_AGAIN = "what was finished is kept if the run has a store, and the same call continues it"

_log = logging.getLogger("dbutterfly")


class Engine(ABC):
    """Runs the tasks of one stage.

    Attributes
    ----------
    workers : int
        Tasks that compute at a time.
    dashboard : str or None
        Address of the page that shows the cluster at work.
    """

    workers: int
    dashboard: str | None = None

    @abstractmethod
    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """What the plan may use, given what the caller allows of each worker: of its host, and of its GPU if any."""

    @abstractmethod
    def run(self, job: Work, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """Run numbered tasks, in any order, and report each in the calling thread.

        A task that fails is tried again after the others; one that fails each time is raised at the end, when the rest
        has ended and is kept. What the other tasks would not escape is raised at once: entries that cannot be
        factorized, a store that cannot be written, tasks that fail one after the other.

        Raises
        ------
        TaskError
            If a task fails for a reason that is no dbutterfly error; the cause is chained.
        DButterflyError
            If a task raises one. The message names the task, and the worker of a cluster.
        """

    def ready(self) -> Engine:
        """The engine whose workers are there; they are started if need be."""
        return self


class Returned(NamedTuple):
    """What a worker sends back: the record of a task, and the outputs that it could not write itself."""

    record: Record
    outputs: list[Output]


class _Stage:
    """Book-keeping of one stage: what is to do, what runs, what has failed how often."""

    def __init__(self, tasks: Sequence[tuple[int, Task]], deliver: Callable[[int, Returned], None]) -> None:
        self.todo = deque(tasks)
        self.running: dict[Any, tuple[int, Task]] = {}
        self.ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._deliver = deliver
        self._attempts, self._losses = Counter[int](), Counter[int]()
        self._failed: dict[int, Exception] = {}
        self._suspects: dict[int, tuple[Task, KilledWorker]] = {}
        self._alone = False
        self._in_a_row = 0

    def goes_on(self) -> bool:
        """Whether something is to do. When all else has ended, tasks that shared dying workers are tried one by one."""
        if self.todo or self.running:
            return True
        if len(self._suspects) == 1 and not self._alone:  # no other task can have been the cause
            number, (task, cause) = self._suspects.popitem()
            self._give_up(number, _named(task, cause, 1))
        self._alone = bool(self._suspects)
        if self._alone:
            number = min(self._suspects)
            self.todo.append((number, self._suspects.pop(number)[0]))
        return self._alone

    def started(self, future: Any, number: int, task: Task) -> None:
        """Account for a future that will end."""
        self.running[future] = number, task
        future.add_done_callback(self.ended.put)

    def next_ended(self, timeout: float | None = None) -> list[Any]:
        """Futures that have ended: the next one, with those that wait behind it; none if none ends in time."""
        found: list[Any] = []
        with contextlib.suppress(queue.Empty):
            found.append(self.ended.get(timeout=timeout))
            while True:
                found.append(self.ended.get_nowait())
        return found

    def settle(self, future: Any, outcome: Returned | BaseException | None, workers: int) -> bool:
        """Account for a future that has ended; False if it was lost with a worker or the scheduler.

        Where its outcome could not be told (None), it is waited for again.
        """
        if outcome is None:
            future.add_done_callback(self.ended.put)
            return True
        number, task = self.running.pop(future)
        if isinstance(outcome, CancelledError):
            self._losses[number] += 1
            if self._losses[number] > LOSSES:
                raise TaskError(f"{task.label} failed: it was lost with a worker {LOSSES} times") from outcome
            self.todo.appendleft((number, task))
            return False
        if isinstance(outcome, Returned):
            self._in_a_row = 0
            self._deliver(number, outcome)
        elif isinstance(outcome, Exception):
            self._fail(number, task, outcome, workers)
        else:
            raise outcome
        return True

    def _fail(self, number: int, task: Task, cause: Exception, workers: int) -> None:
        if isinstance(cause, KilledWorker) and not self._alone:
            _log.warning("%s: workers that had it died", task.label)
            self._suspects[number] = task, cause
            return
        self._attempts[number] += 1
        self._in_a_row += 1
        attempts = self._attempts[number]
        error = _named(task, cause, attempts)
        if _is_hopeless(cause) or self._in_a_row > IN_A_ROW * workers:
            raise error
        if attempts < ATTEMPTS and not isinstance(cause, KilledWorker):
            _log.warning("%s; it will be tried again", error)
            self.todo.append((number, task))
            return
        self._give_up(number, error)

    def _give_up(self, number: int, error: Exception) -> None:
        _log.error("%s; the other tasks go on", error)
        self._failed[number] = error

    def salvage(self) -> None:
        """Deliver what has ended, of a stage that is given up, as far as workers answer."""
        end = time.monotonic() + SECONDS_FOR_RESULT
        for future, (number, _) in list(self.running.items()):
            if future.done() and not future.cancelled():
                outcome = _outcome(future, max(0.0, end - time.monotonic()))
                if isinstance(outcome, Returned):
                    self._deliver(number, outcome)
        self.running.clear()

    def close(self) -> None:
        """Raise the failure of the first task, by number, that failed each time."""
        if not self._failed:
            return
        first, *others = sorted(self._failed)
        error = self._failed[first]
        also = f", and {len(others)} others," if others else ""
        error.args = (f"{error.args[0]} (this task{also} failed; the rest of the stage is kept)", *error.args[1:])
        raise error


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
        self.workers = len(os.sched_getaffinity(0)) if workers is None else _checked_workers(workers)
        self._reading = threading.BoundedSemaphore(self.workers)
        self._computing = threading.BoundedSemaphore(self.workers)

    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """Given memory is for one worker; by default they share 80 % of what is free, of the GPU as well."""
        free = int(0.8 * psutil.virtual_memory().available / self.workers)
        on_device = share_device_memory(device_memory, resolve_backend(backend).device_memory or None, self.workers)
        return Budget(free if memory is None else memory, self.workers, on_device)

    def run(self, job: Work, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`."""
        stage = _Stage(tasks, lambda number, returned: on_done(number, returned.record))
        threads = self.workers * (2 if job.prefetch else 1)
        resident.reset_peak()
        idle = resident.size()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="dbutterfly")
        with single_threaded_blas(), tile_memory.kept(job.host_memory):
            try:
                while stage.goes_on():
                    while stage.todo and len(stage.running) <= threads:
                        number, task = stage.todo.popleft()
                        stage.started(pool.submit(self._run_one, job, number, task, idle), number, task)
                    for future in stage.next_ended():
                        stage.settle(future, _outcome(future), self.workers)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                stage.salvage()
        stage.close()

    def _run_one(self, job: Work, number: int, task: Task, idle: int) -> Returned:
        with job.lane(self.workers) as lane:
            with self._reading:
                now, started = time.time(), time.perf_counter()
                inputs = load_task(job, task, lane)
                elapsed = time.perf_counter() - started
            loaded = Loaded(task.bytes_read(job), elapsed, now, idle, _number_of_thread())
            with self._computing:
                outputs, record = finish_task(job, number, task, inputs, loaded, lane)
                write_outputs(job, outputs)
        return Returned(record, [])


def _number_of_thread() -> int:
    """Number of this thread in the pool of a stage: the threads of one stage take the places of those before them."""
    return int(threading.current_thread().name.rpartition("_")[2])


class DaskEngine(Engine):
    """Workers of a Dask cluster, which may come and go.

    Sources and workspaces that another process can open are opened on the workers; of an array in the memory of this
    process, each task is sent its tile, and without a store the results come back here. Through the scheduler go small
    messages only.

    Parameters
    ----------
    client : distributed.Client
        Connected client. Asynchronous clients are refused.
    resources : dict, optional
        Dask resources that a worker must have to be given tasks; a task holds so much of them.
    patience : float, optional
        Seconds for which a run waits when all workers are gone; by default ten minutes.
    """

    def __init__(
        self,
        client: Client,
        resources: dict[str, float] | None = None,
        patience: float | None = None,
    ) -> None:
        if client.asynchronous:
            raise InputError("client is asynchronous; pass a synchronous distributed.Client")
        self.client = client
        try:  # the workers of a cluster that was only just started may still be arriving
            client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS if patience is None else patience)
        except TimeoutError:
            raise InputError(
                f"client={client!r} has no workers yet; start some, or wait for them with wait_for_workers"
            ) from None
        self.dashboard = client.dashboard_link
        infos = client.scheduler_info(n_workers=-1)["workers"].values()
        self.resources = resources or {}
        self._patience = SECONDS_WITHOUT_WORKERS if patience is None else patience
        self._check_resources(infos)
        self.workers = sum(info["nthreads"] for info in infos)
        limits = [info["memory_limit"] / info["nthreads"] for info in infos if info["memory_limit"]]
        self._limit = int(min(limits)) if limits else None
        gpus = [info["gpu"]["memory-total"] / info["nthreads"] for info in infos if info.get("gpu")]
        self._device = int(SHARE_OF_DEVICE * min(gpus)) if gpus else None

    def _check_resources(self, infos: Collection[dict[str, Any]]) -> None:
        """Refuse resources that no worker has: tasks would wait for them without a word."""
        for name, amount in self.resources.items():
            if not any(info["resources"].get(name, 0) >= amount for info in infos):
                raise InputError(
                    f"tasks need the resource {name}, and none of the {len(infos)} workers has it; start workers "
                    f"with --resources {name}=1, or leave the option {name.lower()} out"
                )

    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """Given memory is for one thread of a worker; by default they share 55 % of the worker's limit.

        Of its GPU they share 80 %, if Dask tells of it; if not, a worker takes as much of what it finds.
        """
        if memory is None and self._limit is None:
            memory = int(0.5 * psutil.virtual_memory().available / self.workers)
        on_device = share_device_memory(device_memory, None if backend == "numpy" else self._device)
        return Budget(memory_of_thread(memory, self._limit), self.workers, on_device)

    def run(self, job: Work, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`.

        What the scheduler can run again after the loss of a worker, it does. What was sent from here and lost with its
        only holder, or with the scheduler, is sent again.
        """

        def deliver(number: int, returned: Returned) -> None:
            write_outputs(job, returned.outputs)
            on_done(number, returned.record)

        stage = _Stage(tasks, deliver)
        there = _reachable(job)
        packed = _packed(there)
        with _Interrupts() as interrupts, contextlib.ExitStack() as stack:
            watch = _Watch(self.client, stage, interrupts, self._patience)
            heard = stack.enter_context(_Heard(self.client, watch))
            stack.callback(self._stop, stage)
            remote = self._sent(packed, watch)
            while stage.goes_on():
                while wanted := self._wanted(stage, there):
                    self._submit(stage, wanted, job, there, remote, heard, watch)
                if self._settle(stage, heard, interrupts):
                    remote = self._sent(packed, watch)
                self.workers = watch.look(self.workers)
        stage.close()

    def _stop(self, stage: _Stage) -> None:
        """Deliver what has ended, and cancel the rest."""
        rest = [future for future in stage.running if not future.done()]
        try:
            stage.salvage()
        finally:
            if rest and not _is_closed(self.client):
                self.client.cancel(rest)

    def _wanted(self, stage: _Stage, there: Any) -> list[tuple[int, Task]]:
        """Tasks to be submitted now: one for each worker, or what is left, once there is room for all of them.

        Together they cost the scheduler a fraction of what each would. What is sent from here goes one by one.
        """
        together = self.workers if there.source.shared and there.workspace.shared else 1
        wanted = list(itertools.islice(stage.todo, together))
        return wanted if len(stage.running) + len(wanted) <= IN_FLIGHT_PER_WORKER * self.workers else []

    def _submit(
        self,
        stage: _Stage,
        tasks: list[tuple[int, Task]],
        job: Work,
        there: Any,
        remote: Any,
        heard: _Heard,
        watch: _Watch,
    ) -> None:
        """Submit the first tasks that are to do, in one message."""
        keys = [f"{task.stage}-{number}-{uuid.uuid4().hex[:8]}" for number, task in tasks]
        calls = [(number, task, *self._inputs(job, there, task, watch)) for number, task in tasks]
        try:
            futures = self.client.map(
                _run_on_worker,
                *zip(*calls, strict=True),
                key=keys,
                pure=False,
                resources=self.resources,
                packed=remote,
                address=heard.address,
            )
        except ClosedClientError as error:
            raise watch.gone() from error
        for future, (number, task) in zip(futures, tasks, strict=True):
            stage.todo.popleft()
            stage.started(future, number, task)

    def _settle(self, stage: _Stage, heard: _Heard, interrupts: _Interrupts) -> bool:
        """Wait a moment for tasks to end, and account for those that have; whether one was lost."""
        with interrupts.allowed():
            ended = stage.next_ended(SECONDS_BETWEEN_LOOKS)
        lost, patience = 0, SECONDS_FOR_RESULT
        for future in ended:
            record = heard.take(future, stage.running[future][0], RELEASED_TOGETHER * self.workers)
            outcome = _outcome(future, patience) if record is None else Returned(record, [])
            if outcome is None:  # a worker hangs, and may have others of these
                patience = SECONDS_FOR_ANOTHER
            lost += not stage.settle(future, outcome, self.workers)
        return lost > 0

    def _inputs(self, job: Work, there: Any, task: Task, watch: _Watch) -> tuple[dict[str, Any], int | None]:
        """What a task is sent of what workers cannot reach, and the bytes that reading it from Z has cost."""
        source, bytes_read = task.source_of(there), None
        sent: dict[str, Any] = {}
        if source is not None and not source.shared:
            sent |= task.read_source(job)
            bytes_read = task.bytes_read(job)
        if not there.workspace.shared:
            sent |= task.read_workspace(job)
        return {name: self._scattered(np.ascontiguousarray(array), watch) for name, array in sent.items()}, bytes_read

    def _sent(self, packed: bytes, watch: _Watch) -> Any:
        """The packed job as an argument of a task: itself, or on a worker where it is large."""
        return packed if len(packed) <= LARGEST_MESSAGE else self._scattered(packed, watch)

    def _scattered(self, value: Any, watch: _Watch) -> Any:
        """Put a value on a worker; in a list, since the keys of a scattered dict would be names on the cluster."""
        while True:
            try:
                return self.client.scatter([value], hash=False)[0]
            except Exception as error:
                if _is_closed(self.client):
                    raise watch.gone() from error
                if not isinstance(error, OSError):  # a worker that has just gone, or none at all (TimeoutError)
                    raise
            self.workers = watch.wait(self.workers)


class ClusterEngine(Engine):
    """Workers of a cluster that is started when the first task is there for them.

    Parameters
    ----------
    cluster : OnDemand
        The cluster, which whoever opened it closes.
    """

    def __init__(self, cluster: OnDemand) -> None:
        self._cluster = cluster
        self._engine: DaskEngine | None = None
        self._expected = cluster.kind.expected()
        self.workers = self._expected.workers * self._expected.threads if self._expected else self.ready().workers

    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """As for :class:`DaskEngine`, from what the cluster is going to be, whose GPUs are not known yet."""
        if self._expected is None:
            return self.ready().budget(memory, backend, device_memory)
        limit = self._expected.memory // self._expected.threads
        return Budget(memory_of_thread(memory, limit), self.workers, device_memory)

    def ready(self) -> DaskEngine:
        """The engine of its client."""
        if self._engine is None:
            kind = self._cluster.kind
            self._engine = DaskEngine(self._cluster.client(), kind.resources, kind.wait)
            self.dashboard = self._engine.dashboard
        return self._engine

    def run(self, job: Work, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`; without tasks, nothing is started."""
        if tasks:
            self.ready().run(job, tasks, on_done)


class _Watch:
    """Looks after the cluster while tasks run: how many threads there are, and whether there is still somebody."""

    def __init__(self, client: Client, stage: _Stage, interrupts: _Interrupts, patience: float) -> None:
        self._client, self._stage, self._interrupts, self._patience = client, stage, interrupts, patience
        self._looked = self._seen = time.monotonic()

    def wait(self, workers: int) -> int:
        """Wait a moment, and look."""
        with self._interrupts.allowed():
            time.sleep(0.5)
        return self.look(workers)

    def gone(self) -> TaskError:
        """The error of a client that has given up its scheduler."""
        return TaskError(f"{self._label()} was not finished: the scheduler is gone; connect a new client: {CALL_AGAIN}")

    def _label(self) -> str:
        waiting = [*self._stage.running.values(), *self._stage.todo]
        return min(waiting, key=operator.itemgetter(0))[1].label if waiting else "the run"

    def look(self, workers: int) -> int:
        """Threads of all workers, asked for every few seconds.

        Raises
        ------
        TaskError
            If the scheduler is gone for good, or no worker has been there for long.
        """
        now = time.monotonic()
        if now - self._looked < SECONDS_BETWEEN_LOOKS:
            return workers
        self._looked = now
        if _is_closed(self._client):
            raise self.gone()
        try:
            found = sum(self._client.nthreads().values()) if self._client.status == "running" else 0
        except OSError:  # the scheduler cannot be reached at the moment
            found = 0
        if found:
            self._seen = now
        elif now - self._seen > self._patience:
            raise TaskError(
                f"{self._label()} was not finished: there has been no worker for {now - self._seen:.0f} s; {CALL_AGAIN}"
            )
        elif now - self._seen > 2 * SECONDS_BETWEEN_LOOKS:
            _log.warning("no worker since %.0f s; waiting for one", now - self._seen)
        return found or workers


Address: TypeAlias = tuple[str, str]
"""Topic of the scheduler's events, and the run of a stage, to which a worker says what has ended."""


class _Heard:
    """What tasks say that have written their outputs, which spares the scheduler fetching their results.

    A record is an event of the scheduler, which passes it on ahead of the message that its task has ended. Where it
    did not come, the result of the task, which is the same, is asked for. Results that nobody needs are released many
    at a time, since the scheduler tells each worker of it, and is answered.
    """

    of_runs: ClassVar[dict[str, dict[int, Record]]] = {}

    def __init__(self, client: Client, watch: _Watch) -> None:
        # One topic for all runs of a client, since the scheduler keeps the last events of each.
        self.address: Address = (f"dbutterfly-{client.id}", uuid.uuid4().hex)
        self._held: list[Any] = []
        try:
            client.subscribe_topic(self.address[0], self._hear)
        except ClosedClientError as error:
            raise watch.gone() from error
        self._records = self.of_runs[self.address[1]] = {}

    @classmethod
    def _hear(cls, event: tuple[float, list[Any]]) -> None:
        run, number, *fields = event[1]
        records = cls.of_runs.get(run)
        if records is not None:
            records[number] = Record(*fields)

    def take(self, future: Any, number: int, most: int) -> Record | None:
        """What a task has said, if it has; its future is held with at most so many."""
        record = self._records.pop(number, None)
        if record is not None:
            self._held.append(future)
        if len(self._held) > most:
            self._held.clear()
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        del self.of_runs[self.address[1]]
        self._held.clear()


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


def _reachable(job: Any) -> Any:
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


def _packed(job: Work) -> bytes:
    """The job in bytes, so that what fails to open it is a task; with an identity, so that no run gets another's."""
    packed: bytes = serialize_bytes((uuid.uuid4().hex, job), on_error="raise")
    return packed


@functools.lru_cache(maxsize=2)
def _unpacked(packed: bytes) -> Work:
    """Inverse of :func:`_packed`, once per worker."""
    try:
        _, job = deserialize_bytes(packed)
    except Exception as error:
        raise SourceError(
            f"a worker cannot open the matrix or the store: {type(error).__name__}: {error}; every worker must reach "
            "them by the same path or URL, and import the same modules"
        ) from error
    assert isinstance(job, Work)
    return job


def choose_engine(client: Any, workers: int | None = None, cluster: OnDemand | Threads | None = None) -> Engine:
    """Engine for a client or an opened cluster, or threads where there is neither."""
    if isinstance(cluster, OnDemand):
        return ClusterEngine(cluster)
    if client is None:
        return ThreadEngine(workers if cluster is None else cluster.workers)
    if not isinstance(client, Client):
        raise InputError(
            f"client={client!r} is a {type(client).__name__}; pass a distributed.Client, or None for threads"
        )
    return DaskEngine(client)


_gates: dict[str, threading.BoundedSemaphore] = {}
_idle: dict[bytes, int] = {}


def _run_on_worker(
    number: int, task: Task, sent: dict[str, Any], bytes_read: int | None, packed: bytes, address: Address
) -> Returned:
    """Do a task on a worker: the memory of its tile serves the next one."""
    worker = get_worker()
    topic, run = address
    try:
        job = _unpacked(packed)
        with tile_memory.kept(job.host_memory):
            returned = _done_behind(worker, job, packed, number, task, sent, bytes_read)
        if job.workspace.shared:
            worker.log_event(topic, [run, number, *returned.record])
        return returned
    except DButterflyError as error:
        _make_portable(error, worker.address)
        raise


def _done_behind(
    worker: Any, job: Work, packed: bytes, number: int, task: Task, sent: dict[str, Any], bytes_read: int | None
) -> Returned:
    """Read what the client did not send, compute, and write if the workspace can be reached.

    Where the plan reads ahead, the task leaves its place in the worker's queue as soon as it has read and may compute:
    the worker starts the next one, which reads meanwhile and then waits at the gate for this one to end.
    """
    threads = worker.state.nthreads
    gate = _gates.setdefault(worker.id, threading.BoundedSemaphore(threads))
    if (record := _finished(job, number, task)) is not None:
        return Returned(record, [])
    idle = _idle_bytes(packed)
    with job.lane(threads) as lane:
        now, started = time.time(), time.perf_counter()
        # Received arrays may lie at odd addresses, where sums are taken in another order than everywhere else.
        inputs = {name: np.require(array, requirements=["C", "A"]) for name, array in sent.items()}
        if bytes_read is None:
            inputs |= task.read_source(job)
            bytes_read = task.bytes_read(job)
        if job.workspace.shared:
            inputs |= task.read_workspace(job)
        stage_inputs(task, inputs, lane)
        elapsed = time.perf_counter() - started
        loaded = Loaded(bytes_read, elapsed, now, idle, zlib.crc32(worker.id.encode()))
        with gate, single_threaded_blas():
            if job.prefetch:
                secede()
            outputs, record = finish_task(job, number, task, inputs, loaded, lane)
            if not job.workspace.shared:
                return Returned(record, outputs)
            write_outputs(job, outputs)
            return Returned(record, [])


def _finished(job: Work, number: int, task: Task) -> Record | None:
    """Record of a task that has ended already: its worker was lost before it could say so."""
    if not job.workspace.shared:
        return None
    try:
        row = job.workspace.read(done_name(task.stage), (slice(number, number + 1),))
    except CheckpointError:
        return None
    return Record(*row[0].tolist())


def _idle_bytes(packed: bytes) -> int:
    """Resident memory of this worker when it first heard of the run."""
    with _idle_lock:
        if packed not in _idle:
            _idle.clear()
            resident.reset_peak()
            _idle[packed] = resident.size()
        return _idle[packed]


_idle_lock = threading.Lock()


def _make_portable(error: DButterflyError, address: str) -> None:
    """Say where it was, and leave of its causes what any process can unpickle: Zarr's own would not arrive."""
    error.args = (f"{error.args[0]} (on worker {address})", *error.args[1:])
    cause = error.__cause__
    if cause is not None and type(cause).__module__ != "builtins":
        cause = RuntimeError(f"{type(cause).__name__}: {cause}")
    error.__context__ = None
    error.__cause__ = cause
    if cause is not None:
        cause.__cause__ = cause.__context__ = None


def _is_closed(client: Client) -> bool:
    return client.status in ("closed", "closing")


def _outcome(future: Any, seconds: float = SECONDS_FOR_RESULT) -> Returned | BaseException | None:
    """What a future returned or raised; CancelledError where it was lost with a worker or the scheduler.

    None where that cannot be told now: it was lost after it had ended, and may be computed again.
    """
    try:
        error: BaseException | None = future.exception(timeout=seconds)
        return future.result(timeout=seconds) if error is None else error
    except CancelledError as error:
        return error
    except OSError:  # also TimeoutError
        return None


def _named(task: Task, cause: Exception, attempts: int) -> Exception:
    """The error that a failed task is reported by: it names the task, and the worker where the cause does not."""
    times = f" {attempts} times" if attempts > 1 else ""
    if isinstance(cause, KilledWorker):
        last = cause.last_worker
        where = f", the last one {last.address}" if last is not None else ""
        error: Exception = TaskError(
            f"{task.label} failed: {cause.allowed_failures + 1} workers that computed it died{where}, perhaps for want "
            f"of memory: give workers more of it, or a smaller memory= here; {CALL_AGAIN}"
        )
    elif isinstance(cause, DButterflyError):
        cause.args = (f"{task.label} failed{times}: {cause.args[0]}", *cause.args[1:])
        return cause
    else:
        error = TaskError(f"{task.label} failed{times}: {type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


def _is_hopeless(cause: Exception) -> bool:
    """Whether the other tasks cannot escape it either, or the run cannot end well without this one."""
    if isinstance(cause, SourceError):
        return False
    return isinstance(cause, (InputError, StoreError))


def _checked_workers(workers: Any) -> int:
    try:
        count = operator.index(workers)
    except TypeError:
        count = 0
    if count < 1:
        raise InputError(f"workers={workers!r} is not a positive number of threads; the default is the number of cores")
    return count
