"""The main job: source, plan and engine give a certified factorization."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .certificate import Certificate, certify
from .chain import Chain, split_tree
from .engine import Engine, choose_engine, parse_memory
from .errors import InputError
from .factorization import Factorization, as_lists, index_arrays, load, manifest_of
from .kernels.backend import BACKENDS, resolve_backend
from .kernels.hierarchy import join_left, join_right
from .orderings import Orderings
from .plan import Layout, Plan, make_plan
from .progress import ProgressBar
from .sources import MatrixSource, as_source
from .store import MemoryWorkspace, RunStore, Workspace
from .tasks import Job, Record, Task, stage_tasks
from .version import __version__

__all__ = ["factorize", "plan"]

SAME_RUN = ("dtype", "chain", "tree", "orderings", "matrix", "passes")
"""Entries of the manifest in which a resumed run must agree with the stored one."""

SMALLEST_ENTRIES = {"float32": 1e-12, "complex64": 1e-12, "float64": 1e-70, "complex128": 1e-70}
"""Least root mean square of the entries of which the squares of rounding errors are still normal numbers."""

FLUSH_SECONDS = 0.5


def plan(
    source: Any,
    chain: Any = None,
    *,
    tree: Any = "balanced",
    rank: int = 1,
    passes: int = 1,
    orderings: Any = None,
    client: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
) -> Plan:
    """Plan a factorization without reading the matrix.

    Parameters
    ----------
    source, chain, tree, rank, passes, orderings, client, memory, workers
        As for :func:`factorize`.

    Returns
    -------
    Plan
        ``print(plan)`` shows root cut, tiles, tasks, bytes read and written, amplification, peak memory and time.
    """
    wrapped = as_source(source)
    engine = choose_engine(client, workers)
    return _Settings(chain, tree, rank, passes, orderings, memory).plan(wrapped, engine)


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
        Rank of the default chain. This version factorizes chains of rank 1.
    passes : {1, 2}
        Times that Z is read. The second read fits the right factors to Z itself and makes the certificate exact.
    orderings : None, Orderings, or pair (rows, cols)
        Orderings that bring Z to the standard order of the chain: each None, ``"bitreversal"`` or an index array. The
        discrete Fourier transform needs ``(None, "bitreversal")``.
    store : str, path, or Zarr store, optional
        Where the run keeps its progress and its result. A run that was cut off is resumed by the same call. Without a
        store, everything is held in memory.
    client : distributed.Client, optional
        Dask cluster to run on; by default threads of this process.
    memory : int or str, optional
        Bytes that a task may hold at its peak, such as ``"2 GiB"``; by default a share of what is there.
    workers : int, optional
        Threads, without a client; by default as many as cores.
    backend : {"auto", "numpy", "cupy"}
        Array library of the workers.
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
        If ``store`` cannot be written, or (StoreMismatchError) holds another run. Nothing in it is changed.
    TaskError
        If a task fails on a worker.

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
    settings = _Settings(chain, tree, rank, passes, orderings, memory)
    planned = settings.plan(wrapped, engine)
    store = _absolute(store)
    run = None if store is None else RunStore.open(store, mode="r+")
    manifest = _manifest(wrapped, planned)
    if run is not None:
        run.check_same(manifest | {"tree": _tree_of_run(planned, run)}, SAME_RUN)
    if run is not None and resume:
        if run.is_complete:
            return load(run)
        planned = settings.plan(wrapped, engine, earlier=run)
    elif run is not None:
        run.restart(manifest)
    elif store is not None:
        run = RunStore.create(store, manifest)
    workspace: Workspace = MemoryWorkspace() if run is None else run.workspace
    job = Job(wrapped, planned, workspace, backend)
    _create_arrays(job)
    stages = _run_stages(job, engine, run, progress)
    result = _assembled(job, {"plan": planned.to_json(), "engine": type(engine).__name__, "stages": stages})
    if run is not None:
        arrays = index_arrays(planned.orderings)
        run.write_result(result.ks_values, arrays, certificate=result.certificate.to_json(), record=result.record)
    return result


@dataclass(frozen=True)
class _Settings:
    """What a caller asks of a plan, unchecked."""

    chain: Any
    tree: Any
    rank: int
    passes: int
    orderings: Any
    memory: int | str | None

    def plan(self, source: MatrixSource, engine: Engine, earlier: RunStore | None = None) -> Plan:
        """Plan the job; with an earlier run of it, by the choices that were made then."""
        if self.rank < 1:
            raise InputError(f"rank={self.rank} is not positive; the smallest rank is 1")
        if self.chain is not None and self.rank != 1:
            raise InputError(f"rank={self.rank} goes with the default chain; the chain given has its own rank")
        chain = Chain.chainable(source.shape, self.rank) if self.chain is None else Chain.from_any(self.chain)
        budget, layout = engine.budget(parse_memory(self.memory)), None
        if earlier is not None:
            layout = Layout(*earlier.manifest["layout"])
            if self.memory is None:  # less may be free than then: what was planned then is still to be done
                needed = int(earlier.manifest["plan"]["peak_bytes"])
                budget = dataclasses.replace(budget, memory=max(budget.memory, needed))
        orderings = Orderings.from_any(self.orderings)
        return make_plan(
            source.info, chain, tree=self.tree, orderings=orderings, passes=self.passes, budget=budget, layout=layout
        )


def _check_backend(backend: str, client: Any) -> None:
    """Refuse what no worker can have; what a worker of a cluster lacks shows itself there."""
    if backend not in BACKENDS:
        raise InputError(f"backend={backend!r} is unknown; use one of {BACKENDS}")
    if client is None:
        resolve_backend(backend)


def _absolute(store: Any) -> Any:
    """A local path from the root, since workers may have another working directory."""
    if isinstance(store, (str, os.PathLike)) and "://" not in os.fspath(store):
        return os.path.abspath(store)
    return store


def _tree_of_run(planned: Plan, run: RunStore) -> Any:
    """Tree that the arguments ask of a stored run: where the plan is free to choose the root cut, that of the run."""
    root, factors = run.manifest["layout"][0], len(planned.chain)
    free = not planned.tree_is_given and 1 <= root < factors
    return as_lists(split_tree(factors, "balanced", root) if free else planned.tree)


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
    planned, create = job.plan, job.workspace.create
    dtype, f8 = planned.source.work_dtype, np.float64
    if planned.split is None:
        shape = (1, *planned.chain.patterns[0])
        create("left/0", shape, shape, dtype)
        create("stats", (1, 1, 3), (1, 1, 3), f8)
        return
    p, u, q, v, _ = planned.split
    rows, cols, lg, rg = planned.tile_rows, planned.tile_cols, planned.left_groups, planned.right_groups
    create("A", (u, q, p), (min(lg, rows), cols, p), dtype)
    create("B", (q, u, v), (min(rg, cols), rows, v), dtype)
    create("stats", (u, q, 3), (rows, cols, 3), f8)
    create("X", (u, q, p), (lg, cols, p), dtype)
    create("scale", (u, q), (lg, q), dtype)
    create("left_error", (u, q), (lg, q), f8)
    create("right_error", (q, u), (rg, u), f8)
    if planned.passes == 2:
        create("second", (u, q, 1), (rows, cols, 1), f8)
    for side, half, groups, per_task in (("left", job.halves[0], u, lg), ("right", job.halves[1], q, rg)):
        for index, pattern in enumerate(half):
            create(f"{side}/{index}", (groups, *pattern), (per_task, *pattern), dtype)


def _run_stages(job: Job, engine: Engine, run: RunStore | None, progress: bool) -> dict[str, Any]:
    """Run what is left to do of every stage, and record it."""
    records: dict[str, Any] = {} if run is None else dict(run.manifest.get("stages", {}))
    with ProgressBar(progress) as bar:
        for stage, tasks in stage_tasks(job.plan).items():
            done = np.zeros(len(tasks), np.bool_) if run is None else run.done(stage, len(tasks))
            if done.all():
                continue
            bar.start(stage, len(tasks), int(done.sum()))
            records[stage] = _run_stage(job, engine, run, bar, stage, tasks, done)
            if run is not None:
                run.update(stages=records)
    return records


def _run_stage(
    job: Job,
    engine: Engine,
    run: RunStore | None,
    bar: ProgressBar,
    stage: str,
    tasks: Sequence[Task],
    done: NDArray[np.bool_],
) -> dict[str, Any]:
    todo = [(number, task) for number, task in enumerate(tasks) if not done[number]]
    started = flushed = time.perf_counter()
    totals = {"tasks": 0, "bytes_read": 0, "load_seconds": 0.0, "compute_seconds": 0.0}

    def on_done(number: int, record: Record) -> None:
        nonlocal flushed
        done[number] = True
        totals["tasks"] += 1
        for key in ("bytes_read", "load_seconds", "compute_seconds"):
            totals[key] += getattr(record, key)
        bar.advance(record.bytes_read)
        if run is not None and time.perf_counter() - flushed > FLUSH_SECONDS:
            run.mark(stage, done)
            flushed = time.perf_counter()

    try:
        engine.run(job, todo, on_done)
    finally:
        if run is not None and totals["tasks"]:
            run.mark(stage, done)
    return {**totals, "seconds": time.perf_counter() - started, "resumed": len(tasks) - len(todo)}


def _assembled(job: Job, record: dict[str, Any]) -> Factorization:
    planned, everything = job.plan, (slice(None),)
    read = job.workspace.read
    stats, eps = read("stats", everything), float(np.finfo(planned.source.work_dtype).eps)
    if planned.split is None:
        factors = [read("left/0", everything)[0]]
        nothing = np.zeros((1, 1))
        certificate: Certificate = certify(stats, nothing, nothing, nothing, factors=1, eps=eps)
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
        certificate = certify(stats, *errors, second, factors=len(factors), eps=eps)
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
