"""Workers of a Dask cluster that run tasks, of a client or of a cluster started on demand."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import uuid
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import psutil
from distributed import Client
from distributed.client import ClosedClientError
from distributed.protocol import serialize_bytes

from ..errors import InputError
from ..kernels.backend import SHARE_OF_DEVICE
from ..planning.budget import Budget, memory_of_thread, share_device_memory
from .backlog import SECONDS_FOR_RESULT, Backlog, TaskResult, outcome_of
from .clusters import OnDemand
from .dask_client import SECONDS_BETWEEN_LOOKS, ClusterWatch, TaskEvents, is_closed
from .dask_worker import pack_job, run_on_worker
from .engine import Engine, OnDone
from .interrupts import Interrupts
from .task import Job, Task, write_outputs

__all__ = ["ClusterEngine", "DaskEngine", "Unreachable"]


IN_FLIGHT_PER_WORKER = 4

RELEASED_TOGETHER = 16
"""Ended tasks of a worker whose results, of which nothing is needed, are released at a time."""

LARGEST_MESSAGE = 1 << 16
"""Bytes up to which what all tasks share goes with each of them; more is put on a worker once."""

SECONDS_FOR_WORKERS = 5
"""Time for which a client that is handed over may wait for its first worker."""

SECONDS_WITHOUT_WORKERS = 600.0
"""Time for which a run waits when all workers, or the scheduler, are gone."""


SECONDS_FOR_ANOTHER = 1.0
"""The same where another one did not: the rest of the cluster shall not wait for all that a worker has that hangs."""


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

    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`.

        What the scheduler can run again after the loss of a worker, it does. What was sent from here and lost with its
        only holder, or with the scheduler, is sent again.
        """

        def deliver(number: int, returned: TaskResult) -> None:
            write_outputs(job, returned.outputs)
            on_done(number, returned.record)

        stage = Backlog(tasks, deliver)
        there = _reachable(job)
        packed = pack_job(there)
        with Interrupts() as interrupts, contextlib.ExitStack() as stack:
            watch = ClusterWatch(self.client, stage, interrupts, self._patience)
            heard = stack.enter_context(TaskEvents(self.client, watch))
            stack.callback(self._stop, stage)
            remote = self._sent(packed, watch)
            while stage.goes_on():
                while wanted := self._wanted(stage, there):
                    self._submit(stage, wanted, job, there, remote, heard, watch)
                if self._settle(stage, heard, interrupts):
                    remote = self._sent(packed, watch)
                self.workers = watch.look(self.workers)
        stage.close()

    def _stop(self, stage: Backlog) -> None:
        """Deliver what has ended, and cancel the rest."""
        rest = [future for future in stage.running if not future.done()]
        try:
            stage.salvage()
        finally:
            if rest and not is_closed(self.client):
                self.client.cancel(rest)

    def _wanted(self, stage: Backlog, there: Any) -> list[tuple[int, Task]]:
        """Tasks to be submitted now: one for each worker, or what is left, once there is room for all of them.

        Together they cost the scheduler a fraction of what each would. What is sent from here goes one by one.
        """
        together = self.workers if there.source.shared and there.workspace.shared else 1
        wanted = list(itertools.islice(stage.todo, together))
        return wanted if len(stage.running) + len(wanted) <= IN_FLIGHT_PER_WORKER * self.workers else []

    def _submit(
        self,
        stage: Backlog,
        tasks: list[tuple[int, Task]],
        job: Job,
        there: Any,
        remote: Any,
        heard: TaskEvents,
        watch: ClusterWatch,
    ) -> None:
        """Submit the first tasks that are to do, in one message."""
        keys = [f"{task.stage}-{number}-{uuid.uuid4().hex[:8]}" for number, task in tasks]
        calls = [(number, task, *self._inputs(job, there, task, watch)) for number, task in tasks]
        try:
            futures = self.client.map(
                run_on_worker,
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

    def _settle(self, stage: Backlog, heard: TaskEvents, interrupts: Interrupts) -> bool:
        """Wait a moment for tasks to end, and account for those that have; whether one was lost."""
        with interrupts.allowed():
            ended = stage.next_ended(SECONDS_BETWEEN_LOOKS)
        lost, patience = 0, SECONDS_FOR_RESULT
        for future in ended:
            record = heard.take(future, stage.running[future][0], RELEASED_TOGETHER * self.workers)
            outcome = outcome_of(future, patience) if record is None else TaskResult(record, [])
            if outcome is None:  # a worker hangs, and may have others of these
                patience = SECONDS_FOR_ANOTHER
            lost += not stage.settle(future, outcome, self.workers)
        return lost > 0

    def _inputs(self, job: Job, there: Any, task: Task, watch: ClusterWatch) -> tuple[dict[str, Any], int | None]:
        """What a task is sent of what workers cannot reach, and the bytes that reading it from Z has cost."""
        source, bytes_read = task.source_of(there), None
        sent: dict[str, Any] = {}
        if source is not None and not source.shared:
            sent |= task.read_source(job)
            bytes_read = task.bytes_read(job)
        if not there.workspace.shared:
            sent |= task.read_workspace(job)
        return {name: self._scattered(np.ascontiguousarray(array), watch) for name, array in sent.items()}, bytes_read

    def _sent(self, packed: bytes, watch: ClusterWatch) -> Any:
        """The packed job as an argument of a task: itself, or on a worker where it is large."""
        return packed if len(packed) <= LARGEST_MESSAGE else self._scattered(packed, watch)

    def _scattered(self, value: Any, watch: ClusterWatch) -> Any:
        """Put a value on a worker; in a list, since the keys of a scattered dict would be names on the cluster."""
        while True:
            try:
                return self.client.scatter([value], hash=False)[0]
            except Exception as error:
                if is_closed(self.client):
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

    def run(self, job: Job, tasks: Sequence[tuple[int, Task]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`; without tasks, nothing is started."""
        if tasks:
            self.ready().run(job, tasks, on_done)


@dataclasses.dataclass(frozen=True)
class Unreachable:
    """Stands for what a worker cannot reach; its tasks are sent what they need."""

    name: str
    shared: bool = False


def _reachable(job: Any) -> Any:
    """The job without what cannot be opened in, or sent to, another process."""
    source: Any = job.source if job.source.shared and _can_be_sent(job.source) else Unreachable(job.source.name)
    workspace: Any = job.workspace if job.workspace.shared else Unreachable("workspace")
    return dataclasses.replace(job, source=source, workspace=workspace)


def _can_be_sent(value: Any) -> bool:
    try:
        serialize_bytes(value, on_error="raise")
    except Exception:
        return False
    return True
