"""The main job: source, plan and engine give a certified factorization."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .certificate import Certificate, certify
from .chain import Chain, split_tree
from .engine import Engine, choose_engine, parse_memory
from .errors import CheckpointError, InputError, SourceError, StoreError, StoreMismatchError, ToleranceWarning
from .estimates import error_of_products, error_of_rows
from .factorization import Factorization, as_lists, index_arrays, load, manifest_of
from .kernels.backend import BACKENDS, resolve_backend
from .kernels.hierarchy import join_left, join_right
from .lease import Lease
from .operator_source import OperatorSource
from .orderings import Orderings
from .plan import Layout, Plan, Tile
from .planning import make_plan
from .probed_error import PROBES
from .probes import ProbeSizes
from .probing import ProbeTask
from .progress import ProgressBar
from .rank_workspace import RankWorkspace
from .sample_sizes import evaluated
from .sampling import SampledTileTask
from .sources import MatrixSource, as_source, check_missing
from .store import RunStore
from .tasks import Job, Record, Task, TileTask, done_name, stage_tasks, writers
from .tolerance import LARGEST_RANK, chain_for_tolerance, next_rank
from .version import __version__
from .workspace import MemoryWorkspace, Workspace

__all__ = ["factorize", "plan"]

SAME_RUN = ("dtype", "chain", "tree", "orderings", "matrix", "passes", "tol")
"""Entries of the manifest in which a resumed run must agree with the stored one."""

SPARE = 2
"""Ranks above that of the chain for which tiles are split where a tolerance may call for them."""

ESTIMATE_ROWS = 64
"""Rows from which the error is estimated where the matrix is sampled."""

ESTIMATE_SEED = 0x5EED
"""Seed of their draw, which no tile knows of."""

_log = logging.getLogger("dbutterfly")

SMALLEST_ENTRIES = {"float32": 1e-12, "complex64": 1e-12, "float64": 1e-70, "complex128": 1e-70}
"""Least root mean square of the entries of which the squares of rounding errors are still normal numbers."""


def plan(
    source: Any,
    chain: Any = None,
    *,
    tree: Any = "balanced",
    rank: int = 1,
    tol: float | None = None,
    passes: int = 1,
    orderings: Any = None,
    store: Any = None,
    client: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
) -> Plan:
    """Plan a factorization without reading the matrix (or, with ``tol``, reading some of its blocks).

    Parameters
    ----------
    source, chain, tree, rank, tol, passes, orderings, store, client, memory, workers
        As for :func:`factorize`. Of ``store``, only whether there is one matters: it has room for a copy of the matrix
        in another order, which arbitrary orderings of both sides of a chunked matrix call for.

    Returns
    -------
    Plan
        ``print(plan)`` shows root cut, tiles, tasks, bytes read and written, amplification, peak memory and time.
    """
    wrapped = as_source(source)
    engine = choose_engine(client, workers)
    return _Settings(chain, tree, rank, tol, passes, orderings, memory, store is not None).plan(wrapped, engine)


def factorize(
    source: Any,
    chain: Any = None,
    *,
    tree: Any = "balanced",
    rank: int = 1,
    tol: float | None = None,
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
    tol : float, optional
        Relative Frobenius error to reach, in place of chain and rank: the chain with the fewest values that seems to
        reach it is taken, judged by some blocks of the matrix, which are read beforehand. Where the certificate does
        not confirm it, the rank is raised and the run continued with what the tiles have given; if that is not enough
        either, the matrix is read again for a higher rank. A ToleranceWarning says if it is not reached in the end.
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
    settings = _Settings(chain, tree, rank, tol, passes, orderings, memory, store is not None)
    run = None if store is None or tol is None else RunStore.open(store, mode="r+")
    wrapped.check_reproducible()
    planned = settings.of_run(run).plan(wrapped, engine)
    if store is None:
        check_missing(wrapped, missing)
        job = Job(wrapped, planned, _memory_workspace(planned, tol), backend)
        return _finished(job, engine, None, settings, progress)
    manifest = _manifest(wrapped, planned, tol)
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
            planned = settings.of_run(run).plan(wrapped, engine, earlier=run)
        job = Job(wrapped, planned, run.workspace, backend)
        return _finished(job, engine, _Run(run, lease), settings, progress)


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


def _memory_workspace(planned: Plan, tol: float | None) -> Workspace:
    workspace = MemoryWorkspace()
    if tol is None or planned.split is None:
        return workspace
    return RankWorkspace(workspace, planned.split.rank, planned.passes)


def _finished(job: Job, engine: Engine, run: _Run | None, settings: _Settings, progress: bool) -> Factorization:
    """Run what is left to do, with higher ranks if the tolerance asks for them, and put the result together."""
    if run is not None and run.store.manifest.get("rank") is not None:  # it had been raised
        job = _of_rank(job, run.store.manifest["rank"])
    while True:
        result = _computed(job, engine, run, progress)
        rank = None if settings.tol is None else next_rank(job, result.certificate.error_bound, settings.tol)
        if rank is None:
            break
        _log.info("the error bound of rank %d is above tol=%g: on with rank %d", job.rank, settings.tol, rank)
        if rank <= job.plan.ranks[-1]:
            job = _of_rank(job, rank)
            if run is not None:
                run.store.update(rank=rank)
        else:
            planned = settings.raised(job.plan.chain.of_rank(rank)).plan(job.source, engine)
            if run is not None:
                run.store.restart(_manifest(job.source, planned, settings.tol))
            workspace = _memory_workspace(planned, settings.tol) if run is None else run.store.workspace
            job = dataclasses.replace(job, plan=planned, workspace=workspace)
    if settings.tol is not None and result.certificate.error_bound > settings.tol:
        warnings.warn(
            f"tol={settings.tol:g} was not reached: {result.certificate}; no chain of higher rank that was tried has "
            "fewer values than the matrix",
            ToleranceWarning,
            stacklevel=3,
        )
    if run is not None:
        run.lease.confirm()
        final = {"certificate": result.certificate.to_json(), "record": result.record}
        chain = [list(pattern) for pattern in result.chain]
        run.store.write_result(result.ks_values, index_arrays(job.plan.orderings), chain=chain, **final)
    return result


def _of_rank(job: Job, rank: int) -> Job:
    """Continue a job with a rank for which its tiles are split already."""
    assert job.plan.split is not None
    assert isinstance(job.workspace, RankWorkspace)
    chain, split = job.plan.chain.of_rank(rank), job.plan.split._replace(rank=rank)
    return dataclasses.replace(
        job,
        plan=dataclasses.replace(job.plan, chain=chain, split=split),
        workspace=job.workspace.of_rank(rank),
    )


def _computed(job: Job, engine: Engine, run: _Run | None, progress: bool) -> Factorization:
    """Run what is left to do for one rank, and put the result together."""
    _create_arrays(job)
    try:
        stages = _run_stages(job, engine, run, progress)
        recount = job.source.recount()
        if recount != job.plan.source.missing_chunks:
            raise SourceError(
                f"{job.source.name}: {job.plan.source.missing_chunks} chunks were missing at the start of the run and "
                f"{recount} are at its end; begin anew (resume=False) with a matrix that nobody changes"
            )
        return _assembled(job, {"plan": job.plan.to_json(), "engine": type(engine).__name__, "stages": stages})
    except CheckpointError as error:
        if run is None:
            raise
        raise _forgotten(job, error) from error


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
    tol: float | None
    passes: int
    orderings: Any
    memory: int | str | None
    can_copy: bool
    known: Chain | None = None

    def of_run(self, run: RunStore | None) -> _Settings:
        """Settings that continue a run: with a tolerance, its chain is taken over, and need not be looked for."""
        if self.tol is None or run is None or run.manifest.get("tol") != self.tol:
            return self
        return self.raised(Chain(run.manifest["chain"]))

    def raised(self, chain: Chain) -> _Settings:
        """Settings with the chain that the tolerance has led to."""
        return dataclasses.replace(self, known=chain)

    def plan(self, source: MatrixSource, engine: Engine, earlier: RunStore | None = None) -> Plan:
        """Plan the job; with an earlier run of it, by the choices that were made then."""
        orderings = Orderings.from_any(self.orderings)
        chain, notes = self._chain(source, orderings)
        budget, layout = engine.budget(parse_memory(self.memory)), None
        if earlier is not None:
            layout = _layout(earlier)
            if self.memory is None:  # less may be free than then: what was planned then is still to be done
                needed = int(earlier.manifest["plan"]["peak_bytes"])
                budget = dataclasses.replace(budget, memory=max(budget.memory, needed))
        found = make_plan(
            source.info,
            chain,
            tree=self.tree,
            orderings=orderings,
            passes=self.passes,
            budget=budget,
            layout=layout,
            can_copy=self.can_copy,
            spare=0 if self.tol is None else min(SPARE, LARGEST_RANK - chain.rank),
        )
        return dataclasses.replace(found, notes=(*found.notes, *notes))

    def _chain(self, source: MatrixSource, orderings: Orderings) -> tuple[Chain, tuple[str, ...]]:
        """Chain that is asked for, with a note where a tolerance has led to it."""
        if self.rank < 1:
            raise InputError(f"rank={self.rank} is not positive; the smallest rank is 1")
        if self.tol is None:
            if self.chain is None:
                return Chain.chainable(source.shape, self.rank), ()
            if self.rank != 1:
                raise InputError(f"rank={self.rank} goes with the default chain; the chain given has its own rank")
            return Chain.from_any(self.chain), ()
        if not (isinstance(self.tol, (int, float)) and 0 < self.tol < math.inf):
            raise InputError(f"tol={self.tol!r} is no relative error; use a positive number such as 1e-6")
        if self.chain is not None or self.rank != 1:
            given = "chain" if self.chain is not None else "rank"
            raise InputError(f"tol={self.tol!r} finds chain and rank; leave {given} out")
        if self.known is not None:
            return self.known, ()
        orderings.validate(source.shape)
        found = chain_for_tolerance(source, self.tol, orderings)
        return found.chain, (
            f"rank {found.chain.rank} for tol={self.tol:g}: {found.blocks} sampled blocks predict {found.error:.2g}",
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


def _manifest(source: MatrixSource, planned: Plan, tol: float | None) -> dict[str, Any]:
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
        "tol": tol,
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
        for stage, tasks in stage_tasks(job.plan, _tile_task(job.source)).items():
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


def _tile_task(source: MatrixSource) -> Callable[[Tile], Task]:
    """How the tiles of a matrix are split."""
    if source.probed:
        return ProbeTask
    return SampledTileTask if source.sampled else TileTask


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
        above = planned.ranks.index(job.rank)
        certificate = certify(
            stats, *errors, second, factors=len(factors), eps=eps, rank=planned.chain.rank, above=above
        )
    _check_range(certificate, job)
    found = Factorization(tuple(factors), planned.chain, planned.tree, planned.orderings, certificate, record)
    return _estimated(found, job, stats)


def _estimated(found: Factorization, job: Job, stats: NDArray[np.float64]) -> Factorization:
    """Replace bounds that are not proven by an estimate, from rows or products drawn apart from those of the run."""
    split, rank = job.plan.split, job.plan.ranks[-1]
    if split is None:
        return found
    if job.source.sampled:
        error = error_of_rows(found, job.source, ESTIMATE_ROWS, ESTIMATE_SEED)
        entries, redone = evaluated(split, rank, stats)
        entries += min(ESTIMATE_ROWS, job.source.shape[0]) * job.source.shape[1]
        counted = {"evaluated": {"entries": entries, "blocks_in_full": redone}}
    elif isinstance(job.source, OperatorSource) and not ProbeSizes(split, rank).in_full:
        error = error_of_products(found, job.source, PROBES, ESTIMATE_SEED)
        counted = {"evaluated": {"products": ProbeSizes(split, rank).products() + PROBES}}
    else:
        return found
    certificate = Certificate(float(error), 0.0, False, found.certificate.norm, error.deviation)
    return dataclasses.replace(found, certificate=certificate, record={**found.record, **counted})


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
