"""The commands that plan, factorize and use a factorization."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

import dbutterfly as dbf

from ..errors import InputError
from ..factorization.results.estimates import VerifiedError
from ..factorization.results.factorization import Factorization
from ..identification.identify import is_unknown
from ..kernels.backend import SHARE_OF_DEVICE
from ..planning.predicted_time import device_named
from ..sources.base import MatrixSource
from ..sources.dispatch import as_source
from .options import (
    AsJson,
    ChainText,
    ClusterOptions,
    ClusterText,
    DeviceMemory,
    Memory,
    Missing,
    OrderingsText,
    Passes,
    Quiet,
    Rank,
    Source,
    Store,
    Target,
    TlsText,
    Tolerance,
    TreeText,
    Workers,
)
from .printing import factorization_json, factorization_lines, print_json, print_lines, verified_json
from .values import (
    Interrupted,
    absolute,
    chosen_cluster,
    load_array,
    opened_cluster,
    parse_bandwidth,
    parse_chain,
    parse_orderings,
    parse_tree,
    save_array,
)
from .watching import LogJson, ReportFile, say_error, say_plan, watched

__all__ = ["apply", "factorize", "info", "plan", "verify"]

ABOVE_TOLERANCE = 3


def plan(
    source: Source,
    chain: ChainText = None,
    tree: TreeText = "balanced",
    rank: Rank = None,
    tol: Annotated[
        float | None, typer.Option("--tol", help="Relative error for which chain and rank are picked.")
    ] = None,
    passes: Passes = 1,
    orderings: OrderingsText = None,
    store: Annotated[
        str | None, typer.Option(help="The run's store, which has room for a copy in another order.")
    ] = None,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    read_bandwidth: Annotated[
        str | None, typer.Option(help="What the workers together read, such as 500MB/s, to predict the time.")
    ] = None,
    backend: Annotated[str, typer.Option(help="numpy, or cupy to predict the time of GPU workers.")] = "numpy",
    device: Annotated[
        str, typer.Option(help="GPU of each worker, with --backend cupy: l4, a100, h100, h200.")
    ] = "a100",
    device_memory: DeviceMemory = None,
    as_json: AsJson = False,
) -> None:
    """Predict what a factorization will cost.

    That is what it reads, writes, holds and takes. Nothing of the matrix is read for it, but some blocks with --tol. No
    cluster is started.
    """
    if backend not in ("numpy", "cupy"):
        raise InputError(f"--backend={backend!r} has no prediction; use numpy or cupy")
    gpu = device_named(device) if backend == "cupy" else None
    if gpu is not None and device_memory is None:
        device_memory = str(int(SHARE_OF_DEVICE * gpu.memory))
    if read_bandwidth is None and gpu is not None:
        read_bandwidth = "1GB/s"
    bandwidth = None if read_bandwidth is None else parse_bandwidth(read_bandwidth)
    wrapped = as_source(absolute(source))
    job = _job(wrapped, chain, tree, rank, tol, passes, orderings)
    kind = chosen_cluster(cluster, cluster_option, tls, workers)
    planned = dbf.plan(
        wrapped, **job, cluster=kind, memory=memory, device_memory=device_memory, backend="numpy", store=store
    )
    stages = {} if bandwidth is None else planned.stage_seconds(bandwidth, gpu)
    if as_json:
        predicted = {"read_bandwidth": bandwidth, "seconds": sum(stages.values()), "stage_seconds": stages}
        if gpu is not None:
            predicted["device"] = {**gpu._asdict(), "measured": False}
        print_json({**planned.to_json(), **(predicted if stages else {})})
        return
    print(planned)
    if stages:
        each = ", ".join(f"{stage} {seconds:.3g} s" for stage, seconds in stages.items())
        where = "" if gpu is None else f" on {gpu.name} GPUs, from their data sheets and never measured"
        print_lines([("predicted", f"{sum(stages.values()):.3g} s at {read_bandwidth}{where}: {each}")])


def factorize(
    source: Source,
    store: Store,
    chain: ChainText = None,
    tree: TreeText = "balanced",
    rank: Rank = None,
    passes: Passes = 1,
    orderings: OrderingsText = None,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    backend: Annotated[str, typer.Option(help="auto, numpy or cupy.")] = "auto",
    device_memory: DeviceMemory = None,
    missing: Missing = "fill",
    sweeps: Annotated[
        int, typer.Option(help="Sweeps over the factors of a matrix in memory, after the run: they lower the error.")
    ] = 0,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Compute anew what the store holds.")] = False,
    tol: Target = None,
    verify: Annotated[bool, typer.Option("--verify", help="Measure the error afterwards, as --tol does.")] = False,
    report: ReportFile = None,
    log_json: LogJson = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Factorize a matrix into a store.

    A run that was cut off is continued by the same command. The plan goes to stderr.
    """
    wrapped = as_source(absolute(source))
    job = _job(wrapped, chain, tree, rank, tol if chain is None and rank is None else None, passes, orderings)
    with watched(quiet, log_json), opened_cluster(cluster, cluster_option, tls, workers) as where:
        resources: dict[str, Any] = {"cluster": where, "memory": memory}
        if is_unknown(job["orderings"]):
            asked = {name: job[name] for name in ("chain", "rank", "orderings")}
            job["orderings"] = dbf.identify(wrapped, **asked, **resources, backend=backend)
            if not quiet and not log_json:
                print(job["orderings"], file=sys.stderr)
        on_device: dict[str, Any] = {"backend": backend, "device_memory": device_memory}
        planned = dbf.plan(wrapped, **job, **resources, **on_device, store=store)
        resources["memory"] = planned.budget.memory  # what is free may change, the plan that was shown may not
        on_device["device_memory"] = planned.budget.device_memory
        say_plan(planned, quiet, log_json)
        bars = not quiet and not log_json
        started = time.perf_counter()
        try:
            found = dbf.factorize(
                wrapped,
                **job,
                **resources,
                **on_device,
                store=absolute(store),
                missing=missing,
                sweeps=sweeps,
                resume=not no_resume,
                progress=bars,
            )
        except KeyboardInterrupt:
            same = "the same command without --no-resume" if no_resume else "the same command"
            raise Interrupted(f"interrupted; finished tasks are kept in {store}, and {same} resumes") from None
        seconds = time.perf_counter() - started
        wanted = verify or tol is not None
        verified = dbf.verify(found, wrapped, **resources, progress=bars) if wanted else None
    if report is not None:
        found.report(report)
    if as_json:
        error = {} if verified is None else {"verified": verified_json(verified)}
        print_json({"store": store, "seconds": seconds, **factorization_json(found), **error})
    else:
        print_lines(factorization_lines(found))
        print_lines([] if verified is None else [("verified", f"error {verified}")])
    _check_tolerance(verified, tol, log_json)


def apply(
    store: Annotated[str, typer.Argument(help="The factorization or saved operator: a Zarr group, its URL, or .npz.")],
    x: Annotated[str, typer.Argument(help="Vector or matrix: a .npy file or a Zarr array.")],
    y: Annotated[str, typer.Argument(help="The product: a new Zarr array if it ends with .zarr, else a .npy file.")],
    transpose: Annotated[bool, typer.Option("--transpose", help="Multiply by the transpose.")] = False,
    adjoint: Annotated[bool, typer.Option("--adjoint", help="Multiply by the conjugate transpose.")] = False,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a Zarr array that is there.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Multiply a vector or a matrix by a factorization.

    A product that goes to a Zarr array is computed by blocks of columns that fit --memory, on threads or a cluster. A
    .npy file is computed in memory, and replaced if it is there.
    """
    if transpose and adjoint:
        raise InputError("--transpose and --adjoint exclude each other")
    stored = dbf.ButterflyOperator.load(absolute(store))
    operator = stored.T if transpose else stored.H if adjoint else stored
    started = time.perf_counter()
    if y.rstrip("/").endswith(".zarr"):
        with opened_cluster(cluster, cluster_option, tls, workers) as where:
            done = dbf.stream_product(
                operator,
                absolute(x),
                absolute(y),
                cluster=where,
                memory=memory,
                overwrite=overwrite,
                progress=not quiet,
            )
        shape, dtype, how = done.shape, done.dtype, f" by blocks of {done.columns} columns"
    else:
        product = _product(operator, x)
        save_array(y, product)
        shape, dtype, how = product.shape, product.dtype, ""
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"y": y, "shape": list(shape), "dtype": dtype.name, "seconds": seconds})
    else:
        print_lines([("product", f"{' x '.join(map(str, shape))} {dtype.name} in {y}, in {seconds:.3g} s{how}")])


def _product(operator: dbf.ButterflyOperator, x: str) -> Any:
    """Product in memory."""
    right = load_array(x)
    if right.ndim not in (1, 2) or right.shape[0] != operator.shape[1]:
        rows, cols = operator.shape
        raise InputError(f"{x} has shape {right.shape}; a {rows} x {cols} operator takes {cols} rows")
    return operator @ right


def verify(
    store: Store,
    source: Source,
    samples: Annotated[int | None, typer.Option(help="Rows to compare; by default all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of rows.")] = 0,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    tol: Tolerance = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure the error of a factorization.

    It is relative to the matrix, in the Frobenius norm, exact or estimated from some rows.
    """
    found = dbf.open(store)
    with opened_cluster(cluster, cluster_option, tls, workers) as where:
        verified = dbf.verify(
            found,
            absolute(source),
            samples=samples,
            seed=seed,
            cluster=where,
            memory=memory,
            progress=not quiet,
        )
    if as_json:
        print_json(verified_json(verified))
    else:
        print_lines([("verified", f"error {verified}"), ("certificate", str(found.certificate))])
    _check_tolerance(verified, tol)


def info(store: Store, as_json: AsJson = False) -> None:
    """Show factors, certificate and record of a run."""
    found: Factorization = dbf.open(store)
    if as_json:
        print_json(factorization_json(found))
    else:
        print_lines(factorization_lines(found))


def _job(
    source: MatrixSource,
    chain: str | None,
    tree: str,
    rank: int | None,
    tol: float | None,
    passes: int,
    orderings: str | None,
) -> dict[str, Any]:
    """Arguments that ``plan`` and ``factorize`` of the public interface share."""
    return {
        "chain": parse_chain(chain, source.shape),
        "tree": parse_tree(tree),
        "rank": 1 if rank is None else rank,
        "tol": tol,
        "passes": passes,
        "orderings": parse_orderings(orderings),
    }


def _check_tolerance(verified: VerifiedError | None, tol: float | None, log_json: bool = False) -> None:
    if verified is None or tol is None or verified <= tol:
        return
    say_error(f"the verified error {float(verified):.4g} is above --tol {tol:g}", log_json)
    raise typer.Exit(ABOVE_TOLERANCE)
