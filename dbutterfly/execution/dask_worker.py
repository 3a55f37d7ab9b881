"""The worker's side of a Dask cluster: open a job, run one of its tasks, report."""

from __future__ import annotations

import functools
import threading
import time
import uuid
import zlib
from typing import Any

import numpy as np
from distributed import get_worker, secede
from distributed.protocol import deserialize_bytes, serialize_bytes

from ..errors import CheckpointError, DButterflyError, SourceError
from ..kernels.backend import tile_memory
from ..kernels.backend.blas import single_threaded_blas
from . import resident_memory
from .backlog import TaskResult
from .dask_client import Address
from .task import Job, LoadRecord, Record, Task, done_name, finish_task, upload_inputs, write_outputs

__all__ = ["pack_job", "run_on_worker"]


_gates: dict[str, threading.BoundedSemaphore] = {}

_idle: dict[bytes, int] = {}

_idle_lock = threading.Lock()


def pack_job(job: Job) -> bytes:
    """The job in bytes, so that what fails to open it is a task; with an identity, so that no run gets another's."""
    packed: bytes = serialize_bytes((uuid.uuid4().hex, job), on_error="raise")
    return packed


@functools.lru_cache(maxsize=2)
def _unpack_job(packed: bytes) -> Job:
    """Inverse of :func:`pack_job`, once per worker."""
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
    number: int, task: Task, sent: dict[str, Any], bytes_read: int | None, packed: bytes, address: Address
) -> TaskResult:
    """Do a task on a worker: the memory of its tile serves the next one."""
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
        _make_picklable(error, worker.address)
        raise


def _run_behind_gate(
    worker: Any, job: Job, packed: bytes, number: int, task: Task, sent: dict[str, Any], bytes_read: int | None
) -> TaskResult:
    """Read what the client did not send, compute, and write if the workspace can be reached.

    Where the plan reads ahead, the task leaves its place in the worker's queue as soon as it has read and may compute:
    the worker starts the next one, which reads meanwhile and then waits at the gate for this one to end.
    """
    threads = worker.state.nthreads
    gate = _gates.setdefault(worker.id, threading.BoundedSemaphore(threads))
    if (record := _record_of_ended(job, number, task)) is not None:
        return TaskResult(record, [])
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
        upload_inputs(task, inputs, lane)
        elapsed = time.perf_counter() - started
        loaded = LoadRecord(bytes_read, elapsed, now, idle, zlib.crc32(worker.id.encode()))
        with gate, single_threaded_blas():
            if job.prefetch:
                secede()
            outputs, record = finish_task(job, number, task, inputs, loaded, lane)
            if not job.workspace.shared:
                return TaskResult(record, outputs)
            write_outputs(job, outputs)
            return TaskResult(record, [])


def _record_of_ended(job: Job, number: int, task: Task) -> Record | None:
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
            resident_memory.reset_peak()
            _idle[packed] = resident_memory.size()
        return _idle[packed]


def _make_picklable(error: DButterflyError, address: str) -> None:
    """Say where it was, and leave of its causes what any process can unpickle: Zarr's own would not arrive."""
    error.args = (f"{error.args[0]} (on worker {address})", *error.args[1:])
    cause = error.__cause__
    if cause is not None and type(cause).__module__ != "builtins":
        cause = RuntimeError(f"{type(cause).__name__}: {cause}")
    error.__context__ = None
    error.__cause__ = cause
    if cause is not None:
        cause.__cause__ = cause.__context__ = None
