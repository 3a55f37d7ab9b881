"""The command ``cluster``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import ClusterOptions, TlsText, Workers, one_of
from ..streams import show
from ..values import choose_cluster

__all__ = ["cluster"]


def cluster(
    where: Annotated[
        str,
        typer.Argument(
            autocompletion=one_of("threads", "local", "slurm", "pbs", "sge", "lsf", "kubernetes", "cuda"),
            help="As --cluster of the other commands: local, slurm, kubernetes, ...",
        ),
    ],
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    workers: Workers = None,
    check: Annotated[
        bool, typer.Option("--check", help="See whether it could be started: packages, limits, what Slurm says.")
    ] = False,
) -> None:
    """Show what a cluster would be, without starting it.

    That is the job script of a worker for slurm, pbs, sge and lsf, the DaskCluster for kubernetes, and what Dask is
    given for others.
    """
    kind = choose_cluster(where, cluster_option, tls, workers)
    if check:
        kind.check()
    show(kind.text(), end="")
