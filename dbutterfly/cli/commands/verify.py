"""The command ``verify``."""

from __future__ import annotations

from typing import Annotated

import typer

import dbutterfly as dbf

from ...execution.arguments import read_named
from ...factorization.results.opening import read_result
from ..exit_codes import check_verified
from ..options import (
    AsJson,
    ClusterOptions,
    ClusterText,
    Memory,
    NoDecode,
    Quiet,
    Source,
    Store,
    TlsText,
    Tolerance,
    Workers,
)
from ..printing import print_json, print_verified, verified_json
from ..values import absolute_place, open_cluster

__all__ = ["verify"]


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
    no_decode: NoDecode = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure the error of a factorization.

    It is relative to the matrix, in the Frobenius norm, exact or estimated from some rows. Of a stack, every matrix is
    read once, and a table is printed, the largest errors first.
    """
    read_named(tol=tol, samples=samples, seed=seed, memory=memory)
    found = read_result("store", absolute_place(store))
    with open_cluster(cluster, cluster_option, tls, workers) as where:
        verified = dbf.verify(
            found,
            absolute_place(source),
            samples=samples,
            seed=seed,
            cluster=where,
            memory=memory,
            decode=not no_decode,
            progress=not quiet,
        )
    if as_json:
        print_json(verified_json(verified))
    elif isinstance(found, dbf.StackedFactorization):
        print_verified(verified)
    else:
        print_verified(verified, ("certificate", str(found.certificate)))
    check_verified(verified, tol)
