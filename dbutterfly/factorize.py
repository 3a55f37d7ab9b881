"""The main job: source, plan and engine give a certified factorization."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .certificate import Certificate, certify
from .chain import Chain, split_tree
from .engine import Engine, choose_engine, parse_memory
from .errors import CheckpointError, InputError, SourceError, StoreError, StoreMismatchError
from .factorization import Factorization, as_lists, index_arrays, load, manifest_of
from .kernels.backend import BACKENDS, resolve_backend
from .kernels.hierarchy import join_left, join_right
from .lease import Lease
from .orderings import Orderings
from .plan import Layout, Plan
from .planning import make_plan
from .progress import ProgressBar
from .sources import MatrixSource, as_source, check_missing
from .store import RunStore
from .tasks import Job, Record, Task, done_name, stage_tasks, writers
from .version import __version__
from .workspace import MemoryWorkspace

__all__ = ["factorize", "plan"]

SAME_RUN = ("dtype", "chain", "tree", "orderings", "matrix", "passes")
"""Entries of the manifest in which a resumed run must agree with the stored one."""

SMALLEST_ENTRIES = {"float32": 1e-12, "complex64": 1e-12, "float64": 1e-70, "complex128": 1e-70}
"""Least root mean square of the entries of which the squares of rounding errors are still normal numbers."""


def plan(
    source: Any,
    chain: Any = None,
    *,
    tree: Any = "balanced",
    rank: int = 1,
    passes: int = 1,
    orderings: Any = None,
    store: Any = None,
    client: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
) -> Plan:
    """Plan a factorization without reading the matrix.

    Parameters
    ----------
    source, chain, tree, rank, passes, orderings, store, client, memory, workers
        As for :func:`factorize`. Of ``store``, only whether there is one matters: it has room for a copy of the matrix
        in another order, which arbitrary orderings of both sides of a chunked matrix call for.

    Returns
    -------
    Plan
        ``print(plan)`` shows root cut, tiles, tasks, bytes read and written, amplification, peak memory and time.
    """
    wrapped = as_source(source)
    engine = choose_engine(client, workers)
    return _Settings(chain, tree, rank, passes, orderings, memory, store is not None).plan(wrapped, engine)


def factorize(
    source: Any,
    chain: Any = None,
    *,
    tree: Any = "balanced",
    rank: int = 1,
    passes: int = 1,
    orderings: Any = None,
    store: Any = None,
    client: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
    backend: str = "auto",
    missing: str = "fill",
    resume: bool = True,
    progress: bool = False,
) -> Factorization:
    """Factorize a matrix into Kronecker-sparse factors, with a certificate.

    Parameters
    ----------
    source : array_like, memmap, zarr.Array, dask.array.Array, Entries, str or path
        Matrix Z of shape (M, N): anything in memory, a Zarr array or its path or URL, a ``.npy`` file. float32,
        float64, complex64 and complex128 stay what they are; integers and booleans are taken as float64.
    chain : Chain, list of patterns, or lazylinop chain, optional
        Patterns of the factors; by default ``Chain.chainable((M, N), rank)``, which is ``Chain.square_dyadic(N)`` for a
        power of two.
    tree : {"balanced", "left", "right"} or nested pairs
        Where the chain is cut (see :func:`dbutterfly.chain.split_tree`).
    rank : int
        Rank of the default chain: that of the blocks of every cut. A chain that is given has its own ranks.
    passes : {1, 2}
        Times that Z is read. The second read fits the right factors to Z itself and makes the certificate exact.
    orderings : None, Orderings, or pair (rows, cols)
        Orderings that bring Z to the standard order of the chain: each None, ``"bitreversal"`` or an index array. The
        discrete Fourier transform needs ``(None, "bitreversal")``.
    store : str, path, or Zarr store, optional
        Where the run keeps its progress and its result: a path, or a URL such as ``s3://bucket/run``. A run that was
        cut off, by whatever, is resumed by the same call. Without a store, everything is held in memory.
    client : distributed.Client, optional
        Dask cluster to run on; by default threads of this process.
    memory : int or str, optional
        Bytes that a worker may hold at its peak beyond what it holds idle, such as ``"2 GiB"``: its task and the one
        that it reads ahead. By default a share of what is free, or 55 % of a Dask worker's limit.
    workers : int, optional
        Threads, without a client; by default as many as cores.
    backend : {"auto", "numpy", "cupy"}
        Array library of the workers.
    missing : {"fill", "error"}
        What to do about chunks of Z that its store does not hold: take their entries as the fill value, with a
        :class:`~dbutterfly.errors.MissingChunksWarning`, or refuse them.
    resume : bool
        Whether to continue, or return, what ``store`` holds of the same job; False computes it anew.
    progress : bool
        Whether to show progress on stderr.

    Returns
    -------
    Factorization
        Factors, operator, certificate and record.

    Raises
    ------
    InputError
        If an argument cannot be used; NaN or infinite entries raise its subclass NonFiniteError, a chain that does not
        fit ChainError, an unreadable matrix SourceError.
    MemoryBudgetError
        If ``memory`` is too small; the message gives the least that works.
    StoreError
        If ``store`` cannot be written, (StoreMismatchError) holds another run, or (StoreBusyError) another run is at
        work in it; nothing in it is changed. CheckpointError if something that the run had stored is damaged or lost:
        the same call computes it again.
    TaskError
        If a task fails, each time that it is tried; the message names task and worker.

    References
    ----------
    Le, Zheng, Riccietti and Gribonval, "Fast learning of fast transforms, with guarantees", ICASSP 2022; Zheng,
    Riccietti and Gribonval, "Efficient identification of butterfly sparse matrix factorizations", SIMODS 5 (2023).

    Examples
    --------
    >>> import dbutterfly as dbf
    >>> fact = dbf.factorize(dbf.matrices.dft(256), orderings=(None, "bitreversal"))
    >>> fact.certificate.error_bound < 1e-14
    True
    >>> len(fact.ks_values), fact.compression
    (8, 16.0)
    """
    _check_backend(backend, client)
    wrapped = as_source(source)
    engine = choose_engine(client, workers)
    settings = _Settings(chain, tree, rank, passes, orderings, memory, store is not None)
    planned = settings.plan(wrapped, engine)
    if store is None:
        check_missing(wrapped, missing)
        return _finished(Job(wrapped, planned, MemoryWorkspace(), backend), engine, None, progress)
    manifest = _manifest(wrapped, planned)
    run = RunStore.open(store, mode="r+")
    if run is not None:
        _check_same(run, manifest, planned)
        if run.is_complete and resume:
            return load(run)
    check_missing(wrapped, missing)
    if run is None:
        run = _created(store, manifest)
    with run.lease() as lease:
        # What was found may have been changed, or ended, before the lease was taken.
        run = RunStore.open(store, mode="r+") or run
        _check_same(run, manifest, planned)
        if not resume:
            run.restart(manifest)
        elif run.is_complete:
            return load(run)
        else:
            _check_chunks(wrapped, run)
            planned = settings.plan(wrapped, engine, earlier=run)
        return _finished(Job(wrapped, planned, run.workspace, backend), engine, _Run(run, lease), progress)


def _created(store: Any, manifest: dict[str, Any]) -> RunStore:
    """A new run, or that of another call which has begun it at the same moment: the lease decides."""
    try:
        return RunStore.create(store, manifest)
    except StoreError:
        run = RunStore.open(store, mode="r+")
        if run is None:
            raise
        return run


@dataclass(frozen=True)
class _Run:
    """A run's store, with the right to write into it."""

    store: RunStore
    lease: Lease


def _finished(job: Job, engine: Engine, run: _Run | None, progress: bool) -> Factorization:
    """Run what is left to do, and put the result together."""
    _create_arrays(job)
    try:
        stages = _run_stages(job, engine, run, progress)
        recount = job.source.recount()
        if recount != job.plan.source.missing_chunks:
            raise SourceError(
                f"{job.source.name}: {job.plan.source.missing_chunks} chunks were missing at the start of the run and "
                f"{recount} are at its end; begin anew (resume=False) with a matrix that nobody changes"
            )
        result = _assembled(job, {"plan": job.plan.to_json(), "engine": type(engine).__name__, "stages": stages})
    except CheckpointError as error:
        if run is None:
            raise
        raise _forgotten(job, error) from error
    if run is not None:
        run.lease.confirm()
        arrays = index_arrays(job.plan.orderings)
        run.store.write_result(result.ks_values, arrays, certificate=result.certificate.to_json(), record=result.record)
    return result


def _forgotten(job: Job, error: CheckpointError) -> CheckpointError:
    """Forget that the tasks have ended that wrote what is damaged, and say so."""
    stage, numbers = writers(job.plan, error.name, error.selection)
    _forget(job, stage, numbers)
    message = f"{error}; it was not used, and the same call computes it again ({len(numbers)} of the {stage} tasks)"
    return CheckpointError(message, error.name, error.selection)


def _forget(job: Job, stage: str, numbers: list[int]) -> None:
    """Take back that tasks have ended, where they have."""
    rows = job.workspace.read_rows(done_name(stage))
    for number in numbers:
        if not np.isnan(rows[number]).all():
            row = np.full((1, len(Record._fields)), np.nan)
            job.workspace.write(done_name(stage), (slice(number, number + 1),), row)


@dataclass(frozen=True)
class _Settings:
    """What a caller asks of a plan, unchecked."""

    chain: Any
    tree: Any
    rank: int
    passes: int
    orderings: Any
    memory: int | str | None
    can_copy: bool

    def plan(self, source: MatrixSource, engine: Engine, earlier: RunStore | None = None) -> Plan:
        """Plan the job; with an earlier run of it, by the choices that were made then."""
        if self.rank < 1:
            raise InputError(f"rank={self.rank} is not positive; the smallest rank is 1")
        if self.chain is not None and self.rank != 1:
            raise InputError(f"rank={self.rank} goes with the default chain; the chain given has its own rank")
        chain = Chain.chainable(source.shape, self.rank) if self.chain is None else Chain.from_any(self.chain)
        budget, layout = engine.budget(parse_memory(self.memory)), None
        if earlier is not None:
            layout = _layout(earlier)
            if self.memory is None:  # less may be free than then: what was planned then is still to be done
                needed = int(earlier.manifest["plan"]["peak_bytes"])
                budget = dataclasses.replace(budget, memory=max(budget.memory, needed))
        orderings = Orderings.from_any(self.orderings)
        return make_plan(
            source.info,
            chain,
            tree=self.tree,
            orderings=orderings,
            passes=self.passes,
            budget=budget,
            layout=layout,
            can_copy=self.can_copy,
        )


def _check_backend(backend: str, client: Any) -> None:
    """Refuse what no worker can have; what a worker of a cluster lacks shows itself there."""
    if backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; use one of {BACKENDS}")
    if client is None:
        resolve_backend(backend)


def _check_same(run: RunStore, manifest: dict[str, Any], planned: Plan) -> None:
    """Refuse a store of another job; where the arguments leave the root cut free, that of the stored run is asked."""
    factors = len(planned.chain)
    root = _layout(run).root if "layout" in run.manifest else 0  # what was saved was not run here, and has none
    if not planned.tree_is_given and 1 <= root < factors:
        manifest = manifest | {"tree": as_lists(split_tree(factors, "balanced", root))}
    run.check_same(manifest, SAME_RUN)


def _layout(run: RunStore) -> Layout:
    root, tile_rows, tile_cols, left, right, prefetch, copy = run.manifest["layout"]
    return Layout(root, tile_rows, tile_cols, left, right, prefetch, copy and (copy[0], copy[1], copy[2]))


def _check_chunks(source: MatrixSource, run: RunStore) -> None:
    """Refuse to go on with a matrix that has lost or gained chunks since the run began."""
    before = run.manifest["plan"]["chunks"]["missing"]
    if before != source.missing_chunks:
        raise StoreMismatchError(
            f"{source.name} had {before} missing chunks when the run in store={run.group.store_path} began, and has "
            f"{source.missing_chunks} now; put the matrix back as it was, or begin anew with resume=False"
        )


def _manifest(source: MatrixSource, planned: Plan) -> dict[str, Any]:
    sides = index_arrays(planned.orderings)
    digests = {name: hashlib.blake2b(side.tobytes(), digest_size=16).hexdigest() for name, side in sides.items()}
    return {
        **manifest_of(planned.chain, planned.tree, planned.orderings, planned.source.work_dtype),
        "version": __version__,
        "matrix": {
            "shape": list(source.shape),
            "dtype": source.dtype.name,
            "fingerprint": source.fingerprint(),
            "orderings": digests,
        },
        "passes": planned.passes,
        "layout": list(planned.layout),
        "plan": planned.to_json(),
    }


def _create_arrays(job: Job) -> None:
    """Make the arrays of :mod:`dbutterfly.tasks`, chunked so that a task writes whole chunks."""
    planned = job.plan
    dtype, f8 = planned.source.work_dtype, np.float64
    fields = len(Record._fields)
    begun = {
        stage
        for stage, tasks in planned.tasks.items()
        if not job.workspace.create(done_name(stage), (tasks, fields), (1, fields), f8)
    }

    def create(name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> None:
        made = job.workspace.create(name, shape, chunks, dtype)
        if made and begun:  # an array that an earlier run had written to is gone
            stage, numbers = writers(planned, name, (slice(None),))
            if stage in begun:
                _forget(job, stage, numbers)

    if planned.copy is not None:
        create("copy", planned.source.shape, planned.copy.chunks, dtype)
    if planned.split is None:
        shape = (1, *planned.chain.patterns[0])
        create("left/0", shape, shape, dtype)
        create("stats", (1, 1, 3), (1, 1, 3), f8)
        return
    p, u, q, v, rank = planned.split
    _, rows, cols, lg, rg, *_ = planned.layout
    kept = planned.ranks[-1]
    stats = 1 + 2 * len(planned.ranks)
    create("A", (u, q, kept, p), (min(lg, rows), cols, kept, p), dtype)
    create("stats", (u, q, stats), (rows, cols, stats), f8)
    create("X", (u, q, rank, p), (lg, cols, rank, p), dtype)
    create("scale", (u, q, rank, rank), (lg, q, rank, rank), dtype)
    create("left_error", (u, q, 1 + rank), (lg, q, 1 + rank), f8)
    kept = kept if planned.passes == 1 else rank
    create("B", (q, u, kept, v), (min(rg, cols), rows, kept, v), dtype)
    create("right_error", (q, u, rank), (rg, u, rank), f8)
    if planned.passes == 2:
        create("second", (u, q, 1), (rows, cols, 1), f8)
    for side, half, groups, per_task in (("left", job.halves[0], u, lg), ("right", job.halves[1], q, rg)):
        for index, pattern in enumerate(half):
            create(f"{side}/{index}", (groups, *pattern), (per_task, *pattern), dtype)


def _run_stages(job: Job, engine: Engine, run: _Run | None, progress: bool) -> dict[str, Any]:
    """Run what is left to do of every stage, and record it."""
    found: dict[str, Any] = {} if run is None else dict(run.store.manifest.get("stages", {}))
    with ProgressBar(progress) as bar:
        for stage, tasks in stage_tasks(job.plan).items():
            rows = job.workspace.read_rows(done_name(stage))
            todo = [(number, task) for number, task in enumerate(tasks) if np.isnan(rows[number]).any()]
            if not todo and stage in found:
                continue
            bar.start(stage, len(tasks), len(tasks) - len(todo))
            started = time.perf_counter()
            _run_stage(job, engine, run, bar, todo, rows)
            found[stage] = _summary(rows, time.perf_counter() - started, len(tasks) - len(todo))
            if run is not None:
                run.store.update(stages=found)
    return found


def _run_stage(
    job: Job,
    engine: Engine,
    run: _Run | None,
    bar: ProgressBar,
    todo: list[tuple[int, Task]],
    rows: NDArray[np.float64],
) -> None:
    def on_done(number: int, record: Record) -> None:
        rows[number] = record
        bar.advance(int(record.bytes_read))
        if run is not None:
            run.lease.check()

    if todo:
        engine.run(job, todo, on_done)


def _summary(rows: NDArray[np.float64], seconds: float, resumed: int) -> dict[str, Any]:
    """Record of a stage: sums over its tasks, of this run and of those that it continues."""
    fields = dict(zip(Record._fields, rows.T, strict=True))
    return {
        "tasks": len(rows) - resumed,
        "resumed": resumed,
        "seconds": seconds,
        "bytes_read": int(fields["bytes_read"].sum()),
        "load_seconds": float(fields["load_seconds"].sum()),
        "compute_seconds": float(fields["compute_seconds"].sum()),
        "idle_bytes": int(fields["idle_bytes"].max()),
        "peak_bytes": int(fields["peak_bytes"].max()),
        "peak_beyond_idle": int((fields["peak_bytes"] - fields["idle_bytes"]).max()),
    }


def _assembled(job: Job, record: dict[str, Any]) -> Factorization:
    planned, everything = job.plan, (slice(None),)
    read = job.workspace.read
    stats, eps = read("stats", everything), float(np.finfo(planned.source.work_dtype).eps)
    if planned.split is None:
        factors = [read("left/0", everything)[0]]
        nothing = np.zeros((1, 1, 2))
        certificate: Certificate = certify(stats, nothing, nothing, nothing[..., :1], factors=1, eps=eps)
    else:
        halves = zip(("left", "right"), job.halves, (planned.rows, planned.cols), (join_left, join_right), strict=True)
        factors = []
        for side, half, axis, join in halves:
            for index in range(len(half)):
                grouped = read(f"{side}/{index}", everything)
                grouped = grouped if axis.group_order is None else grouped[axis.group_order]
                factors.append(np.ascontiguousarray(join(grouped, axis.groups)[0]))
        second = read("second", everything) if planned.passes == 2 else None
        errors = read("left_error", everything), read("right_error", everything)
        certificate = certify(stats, *errors, second, factors=len(factors), eps=eps, rank=planned.chain.rank)
    _check_range(certificate, job)
    return Factorization(tuple(factors), planned.chain, planned.tree, planned.orderings, certificate, record)


def _check_range(certificate: Certificate, job: Job) -> None:
    """Raise if squares of entries, or of their rounding errors, have left the range in which they were summed."""
    dtype = job.plan.source.work_dtype
    mean = certificate.norm / math.sqrt(math.prod(job.source.shape))
    if math.isfinite(certificate.error_bound) and (mean == 0 or mean >= SMALLEST_ENTRIES[dtype]):
        return
    wider = "" if dtype in ("float64", "complex128") else ", or convert it to double precision"
    raise InputError(
        f"{job.source.name} has entries of root mean square {mean:.3g}, whose squares leave the range of {dtype}; "
        f"scale the matrix{wider}"
    )
