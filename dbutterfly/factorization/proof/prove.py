"""Prove how near a factorization is to the best one: a lower bound from all cuts together, raised until it is close."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...errors import InputError, StoreError
from ...execution.arguments import read_arguments
from ...execution.choose import choose_engine
from ...execution.clusters import on_cluster
from ...execution.engine import Engine
from ...planning.plan import Plan
from ...sources.base import MatrixSource
from ...sources.dispatch import as_source
from ...sources.weighted import weigh
from ...storage.run_store import RunStore
from ..results.factorization import Factorization, open_complete_run, read_factorization
from .climb import Goal
from .in_memory import prove_in_memory
from .keeping import KeepNothing, StoredTargets
from .result import BUDGET, RATIO_REACHED, certify_proof
from .streamed import prove_streamed
from .ways import ROUNDS, choose_way, describe_cost

__all__ = ["RATIO", "complete_proof", "prove"]

RATIO = 1.001
"""Ratio of error to bound at which a proof is good enough, unless another one is asked for."""

PLACE = "proof"
"""Part of the intermediate arrays of a run where targets are kept."""

_log = logging.getLogger("dbutterfly")


@read_arguments()
@on_cluster
def prove(
    factorization: Any,
    source: Any,
    *,
    ratio: float = RATIO,
    budget: float | None = None,
    client: Any = None,
    cluster: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
    decode: bool = True,
    progress: bool = False,
) -> Factorization:
    """Prove how near a factorization is to the best product of its chain.

    The lower bound of a run is that of one cut. This one is from all cuts together, and is often the error itself: the
    factorization is then proven to be a best one. Factors are left as they are; with ``sweeps="converged"`` they are
    such that nothing else is missing.

    Parameters
    ----------
    factorization : Factorization
        What to prove, or the place of a complete run. There, the certificate is replaced, and what a proof that was cut
        off has come to is kept: the same call goes on with it.
    source : array_like, zarr.Array, path, ...
        The matrix Z, as for :func:`dbutterfly.factorize`. It is read once, into memory, with all of its entries; or
        where memory does not hold it once for every cut, and the run is stored, tile by tile, some times for every cut
        and once in each step.
    ratio : float
        Ratio of error to bound at which to stop, at least 1.
    budget : float, optional
        Seconds after which to stop, by default when the bound stands still. Out of core, a first bound is evaluated in
        any case.
    client, cluster, memory, workers, decode
        As for :func:`dbutterfly.factorize`. The blocks of every cut are worked on by threads or by the workers of a
        cluster; in memory, the matrices that they are blocks of are held by this process.
    progress : bool
        Whether to show error, bound and ratio on stderr whenever the bound was evaluated.

    Returns
    -------
    Factorization
        The same factors. The certificate has the exact error, the bound if it is a better one, and how that was
        obtained. ``record["proof"]`` says why the proof has ended (``ended``: ``"ratio"``, ``"budget"``,
        ``"standstill"``, or ``"rounding"`` where the error is nothing else), after how many steps, what was taken off
        the bound for rounding (``slack``), and in memory the error that sweeps would come to (``least_error``), both
        relative to the norm.

    Raises
    ------
    InputError
        If an argument cannot be used, the matrix is not that of the factorization, or out of core, tiles of a cut would
        share chunks.
    MemoryBudgetError
        If memory does not hold the matrix once for every cut, and some more, and the run is not stored.
    StoreError
        If the certificate cannot be stored. StoreBusyError if another process is at work in the place.

    Notes
    -----
    See *What is proven* in the documentation for the bound, its derivation and its rounding.

    Examples
    --------
    >>> import dbutterfly as dbf
    >>> matrix = dbf.matrices.noisy(dbf.matrices.dft(64), 0.1, seed=0)
    >>> fact = dbf.factorize(matrix, orderings=(None, "bitreversal"), sweeps="converged")
    >>> round(fact.certificate.ratio, 2)
    1.08
    >>> round(dbf.prove(fact, matrix).certificate.ratio, 6)
    1.0
    """
    found = read_factorization("factorization", factorization)
    place = None if isinstance(factorization, Factorization) else factorization
    wrapped = as_source(source, decode=decode)
    if wrapped.shape != found.shape:
        raise InputError(f"source has shape {wrapped.shape} but the factorization is of a {found.shape} matrix")
    return _prove_factorization(
        found,
        weigh(wrapped, found.weights),
        choose_engine(client, workers, cluster),
        Goal(ratio, math.inf if budget is None else time.monotonic() + budget),
        memory=memory,  # type: ignore[arg-type]  # it was read
        place=place,
        progress=progress,
    )


def complete_proof(found: Factorization, source: MatrixSource, engine: Engine, **where: Any) -> Factorization:
    """Prove a factorization, unless it has a proof that could come to no more, or that is good enough.

    Arguments are those of :func:`_prove_factorization`.
    """
    ended = found.record.get("proof", {}).get("ended", BUDGET)
    if ended != BUDGET and (ended != RATIO_REACHED or found.certificate.ratio <= RATIO):
        return found
    return _prove_factorization(found, source, engine, Goal(RATIO), **where)


def _prove_factorization(
    found: Factorization,
    source: MatrixSource,
    engine: Engine,
    goal: Goal,
    *,
    memory: int | None = None,
    place: Any = None,
    progress: bool = False,
) -> Factorization:
    """Prove a factorization of a weighted matrix, and keep the certificate where it is stored."""
    if len(found.chain) == 1:  # the factor is the matrix
        return found
    began, has_store = time.monotonic(), place is not None
    plans = choose_way(found.chain, found.orderings, source, engine, memory, has_store=has_store)
    cost = describe_cost(found.chain, source, plans)
    _log.info(cost)
    if progress and not _log.isEnabledFor(logging.INFO):
        print(cost, file=sys.stderr)
    with _opened(place) as (stored, lease):
        if plans:
            assert stored is not None
            workspace = stored.workspace_below(f"{PLACE}/{_name_of_tiles(plans)}")
            proof = prove_streamed(found, source, engine, goal, plans, workspace, lease, progress=progress)
        else:
            keeper = KeepNothing() if stored is None else StoredTargets(stored.workspace_below(PLACE))
            proof = prove_in_memory(found, source, engine, goal, keeper, progress=progress)
        certificate = certify_proof(found, proof)
        record = {**found.record, "proof": proof.to_json(time.monotonic() - began)}
        _log.info("proof: %s after %d steps: %s", proof.ended, proof.steps, certificate)
        if stored is not None:
            stored.update(certificate=certificate.to_json(), record=record)
            if proof.ended != BUDGET:
                stored.clean()
    return replace(found, certificate=certificate, record=record)


def _name_of_tiles(plans: Sequence[Plan]) -> str:
    """Name that tells tiles and rounds apart: those of another budget, or version, have done nothing for these."""
    layouts = [tuple(plan.layout) for plan in plans]
    return hashlib.sha256(repr((layouts, ROUNDS)).encode()).hexdigest()[:12]


@contextlib.contextmanager
def _opened(place: Any) -> Iterator[tuple[RunStore | None, Any]]:
    """Open a run to be written, with the right to do so."""
    if place is None:
        yield None, None
        return
    open_complete_run(place)
    stored = RunStore.open(place, mode="r+")
    if stored is None:
        raise StoreError(f"store={place!r} holds no dbutterfly factorization any more")
    with stored.lease() as lease:
        yield stored, lease
