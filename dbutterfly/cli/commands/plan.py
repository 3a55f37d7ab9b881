"""The command ``plan``."""

from __future__ import annotations

from typing import Annotated

import typer

import dbutterfly as dbf

from ...errors import InputError
from ...kernels.backend import SHARE_OF_DEVICE
from ...planning.predicted_time import device_named
from ...sources.stacks.dispatch import open_matrices
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
    Memory,
    NoDecode,
    OrderingsText,
    Passes,
    PeriodText,
    Rank,
    RowPoints,
    RowWeights,
    Shared,
    Source,
    Symmetric,
    TlsText,
    TreeText,
    Workers,
)
from ..printing import print_json, print_lines
from ..streams import show
from ..values import absolute_place, choose_cluster, load_weights, parse_bandwidth, parse_job

__all__ = ["plan"]


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
    row_points: RowPoints = None,
    col_points: ColPoints = None,
    period: PeriodText = None,
    row_weights: RowWeights = None,
    col_weights: ColWeights = None,
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
        str, typer.Option(help="GPU of each worker, with --backend cupy (experimental): l4, a100, h100, h200.")
    ] = "a100",
    device_memory: DeviceMemory = None,
    no_decode: NoDecode = False,
    shared: Shared = None,
    form: Form = None,
    eta: Eta = None,
    leaf: Leaf = None,
    symmetric: Symmetric = False,
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
    matrix = open_matrices(absolute_place(source), decode=not no_decode)
    points = row_points, col_points, period
    job = parse_job(matrix, chain, tree, rank, tol, passes, orderings, points)
    job["weights"] = load_weights(row_weights, col_weights)
    job |= {"form": form, "eta": eta, "leaf": leaf, "symmetric": symmetric}
    kind = choose_cluster(cluster, cluster_option, tls, workers)
    planned = dbf.plan(
        matrix,
        **job,
        cluster=kind,
        memory=memory,
        device_memory=device_memory,
        backend="numpy",
        store=store,
        shared=shared,
    )
    if bandwidth is not None and not isinstance(planned, dbf.Plan):
        raise InputError("--read-bandwidth predicts the time of one matrix in the form of a butterfly; leave it out")
    stages = planned.stage_seconds(bandwidth, gpu) if bandwidth is not None and isinstance(planned, dbf.Plan) else {}
    if as_json:
        predicted = {"read_bandwidth": bandwidth, "seconds": sum(stages.values()), "stage_seconds": stages}
        if gpu is not None:
            predicted["device"] = {**gpu._asdict(), "measured": False}
        print_json({**planned.to_json(), **(predicted if stages else {})})
        return
    show(str(planned))
    if stages:
        each = ", ".join(f"{stage} {seconds:.3g} s" for stage, seconds in stages.items())
        where = "" if gpu is None else f" on {gpu.name} GPUs, from their data sheets and never measured"
        print_lines([("predicted", f"{sum(stages.values()):.3g} s at {read_bandwidth}{where}: {each}")])
