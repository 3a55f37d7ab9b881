"""The command ``factorize``."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated, Any

import typer

import dbutterfly as dbf

from ...execution.arguments import read_named
from ...factorization.results.report.page import check_report
from ...identification.unknown_sides import is_unknown
from ...sources.base import MatrixSource
from ...sources.places_read import places_read
from ...sources.stacks.base import StackSource
from ...sources.stacks.dispatch import open_matrices
from ...storage.codecs import check_groups_open
from ...storage.destinations import check_apart, place_of
from ..exit_codes import check_certificates, check_verified
from ..messages import Interrupted, show_log, show_plan
from ..options import (
    AsJson,
    ChainText,
    ClusterOptions,
    ClusterText,
    ColPoints,
    ColWeights,
    DeviceMemory,
    Eta,
    Form,
    Leaf,
    LogJson,
    Memory,
    Missing,
    NoDecode,
    OrderingsText,
    Passes,
    PeriodText,
    Prove,
    Quiet,
    Rank,
    ReportFile,
    RowPoints,
    RowWeights,
    Shared,
    Source,
    Store,
    Sweeps,
    Symmetric,
    Target,
    TlsText,
    TreeText,
    Workers,
    one_of,
)
from ..printing import print_result, print_verified, verified_json
from ..values import absolute_place, load_weights, open_cluster, parse_job

__all__ = ["factorize"]


def factorize(
    source: Source,
    store: Store,
    chain: ChainText = None,
    tree: TreeText = "balanced",
    rank: Rank = None,
    passes: Passes = 1,
    orderings: OrderingsText = None,
    row_points: RowPoints = None,
    col_points: ColPoints = None,
    period: PeriodText = None,
    row_weights: RowWeights = None,
    col_weights: ColWeights = None,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    backend: Annotated[
        str, typer.Option(autocompletion=one_of("auto", "numpy", "cupy"), help="auto, numpy or cupy.")
    ] = "auto",
    device_memory: DeviceMemory = None,
    missing: Missing = "fill",
    no_decode: NoDecode = False,
    shared: Shared = None,
    form: Form = None,
    eta: Eta = None,
    leaf: Leaf = None,
    symmetric: Symmetric = False,
    sweeps: Sweeps = "0",
    prove: Prove = False,
    no_resume: Annotated[bool, typer.Option("--no-resume", help="Compute anew what the store holds.")] = False,
    no_check: Annotated[
        bool,
        typer.Option("--no-check", help="Go without the look at some blocks that warns of a run that will not do."),
    ] = False,
    tol: Target = None,
    verify: Annotated[bool, typer.Option("--verify", help="Measure the error afterwards, as --tol does.")] = False,
    report: ReportFile = None,
    log_json: LogJson = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Factorize a matrix, or a stack of matrices, into a store.

    A run that was cut off is continued by the same command. The plan goes to stderr. Of a stack, a table is printed.
    """
    read_named(tol=tol, missing=missing, sweeps=sweeps, backend=backend, memory=memory, device_memory=device_memory)
    blocks = {**read_named(form=form, eta=eta, leaf=leaf), "symmetric": symmetric}
    matrix, place = open_matrices(absolute_place(source), decode=not no_decode), absolute_place(store)
    _check_places(matrix, place, report)
    target = tol if chain is None and rank is None else None
    job = parse_job(matrix, chain, tree, rank, target, passes, orderings, (row_points, col_points, period))
    job |= {"weights": load_weights(row_weights, col_weights), **blocks}
    bars = not quiet and not log_json
    with show_log(quiet, log_json), open_cluster(cluster, cluster_option, tls, workers) as where:
        resources: dict[str, Any] = {"cluster": where, "memory": memory}
        if not isinstance(matrix, StackSource):
            _identify(matrix, job, bars, **resources, backend=backend)
        on_device: dict[str, Any] = {"backend": backend, "device_memory": device_memory}
        if not _is_searched_stack(matrix, job):  # a run for a stack that goes on searches no more
            planned = dbf.plan(matrix, **job, **resources, **on_device, store=place, shared=shared, prove=prove)
            # Free memory may change until the run; the plan that was shown must not.
            resources["memory"] = planned.budget.memory
            on_device["device_memory"] = planned.budget.device_memory
            show_plan(planned, quiet, log_json)
        started = time.perf_counter()
        try:
            found = dbf.factorize(
                matrix,
                **job,
                **resources,
                **on_device,
                store=place,
                missing=missing,
                sweeps=sweeps,
                prove=prove,
                resume=not no_resume,
                check_fit=False if no_check else None,
                progress=bars,
                shared=shared,
            )
        except KeyboardInterrupt:
            raise _interrupted(store, no_resume) from None
        more: dict[str, Any] = {"store": store, "seconds": time.perf_counter() - started}
        verified = _verify(found, matrix, verify, tol, progress=bars, **resources)
    if report is not None:
        found.report(report)
    _show_result(found, verified, as_json, **more)
    if isinstance(found, dbf.StackedFactorization):
        check_certificates(found, tol, log_json)
    check_verified(verified, tol, log_json)


def _verify(
    found: Any, matrix: MatrixSource, is_asked: bool, tol: float | None, **where: Any
) -> dbf.VerifiedError | dbf.VerifiedStack | None:
    """Measure the error where that is asked for, by a tolerance too; of that, each certificate of a stack tells."""
    is_asked = is_asked or (tol is not None and not isinstance(found, dbf.StackedFactorization))
    return dbf.verify(found, matrix, **where) if is_asked else None


def _is_searched_stack(matrix: MatrixSource, job: dict[str, Any]) -> bool:
    """Whether chains or orderings are looked for of a stack."""
    return isinstance(matrix, StackSource) and (job["tol"] is not None or is_unknown(job["orderings"]))


def _interrupted(store: str, no_resume: bool) -> Interrupted:
    """Say what an interrupted run has kept."""
    same = "the same command without --no-resume" if no_resume else "the same command"
    return Interrupted(f"interrupted; finished tasks are kept in {store}, and {same} resumes")


def _identify(matrix: MatrixSource, job: dict[str, Any], is_shown: bool, **where: Any) -> None:
    """Find orderings that are not known."""
    if is_unknown(job["orderings"]):
        asked = {name: job[name] for name in ("chain", "rank", "orderings", "weights")}
        job["orderings"] = dbf.identify(matrix, **asked, **where, progress=is_shown)
        if is_shown:
            print(job["orderings"], file=sys.stderr)


def _show_result(
    found: dbf.Factorization | dbf.HierarchicalFactorization | dbf.StackedFactorization,
    verified: dbf.VerifiedError | dbf.VerifiedStack | None,
    as_json: bool,
    **more: Any,
) -> None:
    """Print a result, with its verified error where it was measured."""
    if as_json and verified is not None:
        more["verified"] = verified_json(verified)
    print_result(found, as_json, **more)
    if not as_json and verified is not None:
        print_verified(verified)


def _check_places(matrix: MatrixSource, store: str, report: str | None) -> None:
    """Refuse places that cannot be written, before anything is read.

    A report may lie in the store, as it may in any directory, but not be in its place.
    """
    check_groups_open()
    read = places_read(matrix)
    check_apart(store, read)
    kept = place_of(store, is_whole=False)
    if report is not None:
        check_report(report, [*read, *([] if kept is None else [kept])], made_later=os.path.realpath(store))
