"""The worker's side of a Dask cluster: open a job, run one of its tasks, report."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from distributed import get_client, get_worker, secede
from distributed.protocol import deserialize_bytes, serialize_bytes

from ..errors import CheckpointError, DButterflyError, SourceError
from ..kernels.backend import tile_memory
from ..kernels.backend.blas import single_threaded_blas
from . import resident_memory
from .dask_client import EventAddress
from .task import Job, LoadRecord, Record, Task, TaskResult, done_name, finish_task, upload_inputs, write_outputs
from .waiting import leave_thread

__all__ = ["make_picklable", "pack_job", "run_on_worker", "take_place"]


_gates: dict[str, threading.BoundedSemaphore] = {}
"""Of every worker of this process, by its identity: as many tasks as it has threads may compute."""

_places: dict[str, threading.BoundedSemaphore] = {}
"""Of every worker of this process, by its identity: places of tasks that have left its threads (:func:`take_place`)."""

_idle: dict[bytes, int] = {}
"""Resident memory of this process, in bytes, before the first task of the packed job; of one job at a time."""

_idle_lock = threading.Lock()


def pack_job(job: Job) -> bytes:
    """The job in bytes, with an identity so that no run gets the job of another.

    Workers unpack it within a task, so that a source that cannot be opened there is the failure of a task.
    """
    packed: bytes = serialize_bytes((uuid.uuid4().hex, job), on_error="raise")
    return packed


@functools.lru_cache(maxsize=2)
def _unpack_job(packed: bytes) -> Job:
    """Inverse of :func:`pack_job`, done once per worker: the last two jobs are kept."""
    try:
        _, job = deserialize_bytes(packed)
    except Exception as error:
        raise SourceError(
            f"a worker cannot open the matrix or the store: {type(error).__name__}: {error}; every worker must reach "
            "them by the same path or URL, and import the same modules"
        ) from error
    assert isinstance(job, Job)
    return job


def run_on_worker(
    number: int, task: Task[Any], sent: dict[str, Any], bytes_read: int | None, packed: bytes, address: EventAddress
) -> TaskResult:
    """Run a task on a worker; the memory of its tile serves the next task.

    Parameters
    ----------
    number : int
        Number of the task in its stage.
    task : Task
        The task.
    sent : dict of array
        Inputs that the client has read, since workers cannot.
    bytes_read : int or None
        Bytes that the client has read of Z for them; None where the worker reads Z itself.
    packed : bytes
        The job (:func:`pack_job`).
    address : (str, str)
        Where the record of the task is reported.
    """
    worker = get_worker()
    topic, run = address
    try:
        job = _unpack_job(packed)
        with tile_memory.keep(job.host_memory):
            returned = _run_behind_gate(worker, job, packed, number, task, sent, bytes_read)
        if job.workspace.shared:
            worker.log_event(topic, [run, number, *returned.record])
        return returned
    except DButterflyError as error:
        error.args = (f"{error.args[0]} (on worker {worker.address})", *error.args[1:])
        make_picklable(error)
        raise


@contextlib.contextmanager
def take_place(worker: Any, matrix: Any) -> Iterator[Callable[[], None]]:
    """Block of a task that reads a matrix and computes, for which its worker has as many places as threads.

    A place is a thread of the worker. Where the matrix is computed by other tasks of the cluster, these need threads:
    the task leaves its own, and waits for one of as many places beside them.

    Parameters
    ----------
    worker : distributed.Worker
        The worker.
    matrix : object
        What the task reads, such as a MatrixSource, or None.

    Yields
    ------
    callable
        Gives the place to the next task, before the block ends.
    """
    if not getattr(matrix, "needs_cluster", False):
        yield secede
        return
    leave_thread()
    if matrix.client is None:
        matrix.client = get_client()
    places = _places.setdefault(worker.id, threading.BoundedSemaphore(worker.state.nthreads))
    places.acquire()
    with contextlib.ExitStack() as stack:
        stack.callback(places.release)
        yield stack.close


def _run_behind_gate(
    worker: Any, job: Job, packed: bytes, number: int, task: Task[Any], sent: dict[str, Any], bytes_read: int | None
) -> TaskResult:
    """Read what the client did not send, compute, and write if the workspace can be reached.

    Where the plan reads ahead, the task gives its place to the next (:func:`take_place`) when it has read and has
    passed the gate. The next task reads meanwhile, and waits at the gate for this one to end.
    """
    threads = worker.state.nthreads
    gate = _gates.setdefault(worker.id, threading.BoundedSemaphore(threads))
    if (record := _find_record(job, number, task)) is not None:
        return TaskResult(record, [])
    idle = _idle_bytes(packed)
    with take_place(worker, task.source_of(job)) as give_place, job.lane(threads) as lane:
        now, started = time.time(), time.perf_counter()
        # Received arrays may lie at odd addresses, where sums are taken in another order than everywhere else.
        inputs = {name: np.require(array, requirements=["C", "A"]) for name, array in sent.items()}
        if bytes_read is None:
            inputs |= task.read_source(job)
            bytes_read = task.bytes_read(job)
        if job.workspace.shared:
            inputs |= task.read_workspace(job)
        upload_inputs(task, inputs, lane)
        elapsed = time.perf_counter() - started
        loaded = LoadRecord(bytes_read, elapsed, now, idle, zlib.crc32(worker.id.encode()))
        with gate, single_threaded_blas():
            if job.prefetch:
                give_place()
            outputs, record = finish_task(job, number, task, inputs, loaded, lane)
            if not job.workspace.shared:
                return TaskResult(record, outputs)
            write_outputs(job, outputs)
            return TaskResult(record, [])


def _find_record(job: Job, number: int, task: Task[Any]) -> Record | None:
    """Record of a task that has ended already, on a worker that was lost before it could say so; None of any other."""
    if not job.workspace.shared:
        return None
    try:
        row = job.workspace.read(done_name(task.stage), (slice(number, number + 1),))
    except CheckpointError:
        return None
    return Record(*row[0].tolist())


def _idle_bytes(packed: bytes) -> int:
    """Resident memory of this worker, in bytes, when it first heard of the run."""
    with _idle_lock:
        if packed not in _idle:
            _idle.clear()
            resident_memory.reset_peak()
            _idle[packed] = resident_memory.size()
        return _idle[packed]


def make_picklable(error: DButterflyError) -> None:
    """Leave of the causes of an error what any process can unpickle: Zarr's own exceptions would not arrive."""
    cause = error.__cause__
    if cause is not None and type(cause).__module__ != "builtins":
        cause = RuntimeError(f"{type(cause).__name__}: {cause}")
    error.__context__ = None
    error.__cause__ = cause
    if cause is not None:
        cause.__cause__ = cause.__context__ = None
