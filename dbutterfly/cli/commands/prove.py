"""The command ``prove``."""

from __future__ import annotations

from typing import Annotated

import typer

import dbutterfly as dbf

from ...execution.arguments import read_named
from ...factorization.proof.prove import RATIO
from ...factorization.results.factorization import read_factorization
from ..messages import Interrupted
from ..options import AsJson, ClusterOptions, ClusterText, Memory, NoDecode, Quiet, Source, Store, TlsText, Workers
from ..printing import factorization_json, print_json, print_lines
from ..values import absolute_place, open_cluster

__all__ = ["prove"]

REASONS = {
    "ratio": "the ratio asked for is reached",
    "budget": "the budget is used up",
    "standstill": "the bound stands still",
    "rounding": "the error is rounding, of which there is no least one",
}
"""Why a proof has ended, in words."""


def prove(
    store: Store,
    source: Source,
    ratio: Annotated[float, typer.Option(help="Ratio of error to lower bound at which to stop.")] = RATIO,
    budget: Annotated[
        float | None, typer.Option(help="Seconds after which to stop; by default when the bound stands still.")
    ] = None,
    memory: Memory = None,
    workers: Workers = None,
    cluster: ClusterText = None,
    cluster_option: ClusterOptions = None,
    tls: TlsText = None,
    no_decode: NoDecode = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Prove how near a factorization is to the best one.

    The lower bound of its certificate is raised from that of one cut to one of all cuts together, and stored. A proof
    that was cut off, or has used up its budget, is continued by the same command.
    """
    read_named(ratio=ratio, budget=budget, memory=memory)
    place = absolute_place(store)
    read_factorization("store", place)
    with open_cluster(cluster, cluster_option, tls, workers) as where:
        try:
            proven = dbf.prove(
                place,
                absolute_place(source),
                ratio=ratio,
                budget=budget,
                cluster=where,
                memory=memory,
                decode=not no_decode,
                progress=not quiet,
            )
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; the proof is kept in {store}, and the same command continues it") from None
    if as_json:
        print_json({"store": store, **factorization_json(proven)})
        return
    proof = proven.record.get("proof")
    lines = [] if proof is None else [("ended", f"{REASONS[proof['ended']]}, after {proof['steps']} steps")]
    print_lines([*lines, ("certificate", str(proven.certificate))])
