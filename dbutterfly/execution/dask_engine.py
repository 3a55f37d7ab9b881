"""Workers of a Dask cluster that run tasks and calls, of a client or of a cluster started on demand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import psutil
from distributed import Client
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels.backend import SHARE_OF_DEVICE
from ..planning.budget import Budget, memory_of_thread, share_device_memory
from ..sources.base import MatrixSource
from .backlog import Backlog
from .calls import Calls
from .clusters import OnDemand
from .dashboards import announce_dashboard
from .dask_calls import DaskCalls
from .dask_client import Connection
from .dask_stage import DaskStage
from .engine import Engine, OnDone
from .interrupts import Interrupts
from .task import JobT, Task, TaskResult, prepare_source, write_outputs
from .waiting import are_of_one_cluster, leave_thread_for

__all__ = ["ClusterEngine", "DaskEngine"]


SECONDS_FOR_WORKERS = 5
"""Seconds for which a client that is handed over may wait for its first worker.

Not tuned: a worker on this machine starts within two or three seconds, and a client without workers is most often a
mistake, of which the caller should hear soon.
"""

SECONDS_WITHOUT_WORKERS = 600.0
"""Seconds for which a run waits when all workers, or the scheduler, are gone.

Not tuned: an autoscaler or a queue often needs minutes to bring new workers.
"""

SECONDS_FOR_ANSWER = 30.0
"""Seconds within which the scheduler of a client that is handed over answers.

Not tuned: Dask waits as long for a connection. One that is there answers within milliseconds, if it is not busy.
"""

SHARE_OF_FREE_MEMORY = 0.5
"""Part of this machine's free memory that workers without a limit share by default.

Not tuned: such workers may run on another machine, and beside the client and the scheduler on this one.
"""


class DaskEngine(Engine):
    """Workers of a Dask cluster, which may come and go.

    Sources and workspaces that another process can open are opened on the workers. Of an array in the memory of this
    process, each task is sent its tile, and without a store the results come back here. Only small messages go through
    the scheduler.

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
        _check_client(client)
        infos = _wait_for_workers(client, SECONDS_FOR_WORKERS if patience is None else patience)
        self._connection = Connection(
            client,
            resources or {},
            SECONDS_WITHOUT_WORKERS if patience is None else patience,
            sum(info["nthreads"] for info in infos),
        )
        self._check_resources(infos)
        self.workers = self._connection.threads
        limits = [info["memory_limit"] / info["nthreads"] for info in infos if info["memory_limit"]]
        self._memory_limit = int(min(limits)) if limits else None
        gpus = [info["gpu"]["memory-total"] / info["nthreads"] for info in infos if info.get("gpu")]
        self._device_memory = int(SHARE_OF_DEVICE * min(gpus)) if gpus else None

    def announce(self, show: Callable[[str], None] | None) -> None:
        """See :meth:`Engine.announce`: the dashboard of the cluster."""
        announce_dashboard(self._connection.client, show)

    def _check_resources(self, infos: Collection[dict[str, Any]]) -> None:
        """Refuse resources that no worker has: tasks would wait for them without a word."""
        for name, amount in self._connection.resources.items():
            if not any(info["resources"].get(name, 0) >= amount for info in infos):
                raise InputError(
                    f"tasks need the resource {name}, and none of the {len(infos)} workers has it; start workers "
                    f"with --resources {name}=1, or leave the option {name.lower()} out"
                )

    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """Given memory is for one thread of a worker; by default they share 55 % of the worker's limit.

        Of a worker's GPU its threads share 80 %, if Dask tells how large it is; if not, a worker takes as much of the
        memory that it finds.
        """
        if memory is None and self._memory_limit is None:
            memory = int(SHARE_OF_FREE_MEMORY * psutil.virtual_memory().available / self.workers)
        on_device = share_device_memory(device_memory, None if backend == "numpy" else self._device_memory)
        return Budget(memory_of_thread(memory, self._memory_limit), self.workers, on_device)

    def run(self, job: JobT, tasks: Sequence[tuple[int, Task[JobT]]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`."""

        def deliver(number: int, returned: TaskResult) -> None:
            write_outputs(job, returned.outputs)
            on_done(number, returned.record)

        backlog: Backlog[Task[JobT], TaskResult] = Backlog(tasks, deliver)
        client = self._connection.client
        with leave_thread_for(client), self._counted_workers():
            with Interrupts():
                prepare_source(job, tasks, client, self.workers)
            DaskStage(self._connection, job, backlog).run()

    @contextlib.contextmanager
    def calls(self, matrix: NDArray[Any] | MatrixSource, name: str) -> Iterator[Calls]:
        """See :meth:`Engine.calls`."""
        holder = getattr(matrix, "client", None)
        if holder is not None and not are_of_one_cluster(holder, self._connection.client):
            raise InputError(
                f"{name}: the matrix starts from results on the cluster at {holder.scheduler.address}, and is to be "
                f"searched on the one at {self._connection.client.scheduler.address}; pass the client of the first"
            )
        self.announce(None)
        calls = DaskCalls(name, self._connection, matrix)
        with leave_thread_for(self._connection.client), self._counted_workers():
            if isinstance(matrix, MatrixSource):
                with Interrupts():
                    matrix.prepare(self._connection.client, self.workers)
            try:
                yield calls
            finally:
                calls.forget_matrix()

    @contextlib.contextmanager
    def _counted_workers(self) -> Iterator[None]:
        """Block in which workers may come and go; their number afterwards is kept."""
        try:
            yield
        finally:
            self.workers = self._connection.threads


def _wait_for_workers(client: Client, seconds: float) -> Collection[dict[str, Any]]:
    """What the scheduler says of its workers, once there is one: those of a new cluster may still be arriving.

    The scheduler is asked itself: what the client keeps of its answers is written over now and then by one that leaves
    the workers out.

    Raises
    ------
    InputError
        If there is none within these seconds.
    """
    with contextlib.suppress(TimeoutError):
        client.wait_for_workers(1, timeout=seconds)
        infos: Collection[dict[str, Any]] = client.sync(client.scheduler.identity, n_workers=-1)["workers"].values()
        if infos:
            return infos
    raise InputError(f"client={client!r} has no workers yet; start some, or wait for them with wait_for_workers")


def _check_client(client: Client) -> None:
    """Refuse a client that cannot be used: closed, asynchronous, or of a scheduler that does not answer.

    Raises
    ------
    InputError
        If so.
    """
    if client.status in ("closed", "closing", "newly-created"):
        raise InputError(f"client={client!r} is closed; connect a new distributed.Client")
    if client.asynchronous:
        raise InputError("client is asynchronous; pass a synchronous distributed.Client")
    try:
        client.sync(client.scheduler.identity, callback_timeout=SECONDS_FOR_ANSWER)
    except (OSError, RuntimeError, AttributeError) as error:  # the last two of a client that has just given up
        raise InputError(
            f"client={client!r}: its scheduler does not answer, and has perhaps ended ({type(error).__name__}: {error})"
            "; connect a new distributed.Client"
        ) from error


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
        self.workers = self._expected.workers * self._expected.threads if self._expected else self._start().workers

    def budget(self, memory: int | None, backend: str = "numpy", device_memory: int | None = None) -> Budget:
        """Budget of a :class:`DaskEngine`, from what the cluster is going to be; its GPUs are not known yet."""
        if self._expected is None:
            return self._start().budget(memory, backend, device_memory)
        limit = self._expected.memory // self._expected.threads
        return Budget(memory_of_thread(memory, limit), self.workers, device_memory)

    def _start(self) -> DaskEngine:
        """Start the cluster if need be; the engine of its client."""
        if self._engine is None:
            kind = self._cluster.kind
            self._engine = DaskEngine(self._cluster.client(), kind.resources, kind.wait)
        return self._engine

    def announce(self, show: Callable[[str], None] | None) -> None:
        """See :meth:`Engine.announce`; nothing before the cluster is started."""
        if self._engine is not None:
            self._engine.announce(show)

    def run(self, job: JobT, tasks: Sequence[tuple[int, Task[JobT]]], on_done: OnDone) -> None:
        """See :meth:`Engine.run`; without tasks, nothing is started."""
        if tasks:
            self._start().run(job, tasks, on_done)

    def calls(self, matrix: NDArray[Any] | MatrixSource, name: str) -> AbstractContextManager[Calls]:
        """See :meth:`Engine.calls`."""
        return self._start().calls(matrix, name)
