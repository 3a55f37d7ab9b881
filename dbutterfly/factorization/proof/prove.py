"""Prove how near a factorization is to the best one: a lower bound from all cuts together, raised until it is close."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import InputError, StoreError
from ...execution.arguments import read_arguments
from ...execution.choose import choose_engine
from ...execution.clusters import on_cluster
from ...execution.engine import Engine
from ...execution.progress import ProgressBar
from ...kernels.factors.hierarchy import multiply_stack
from ...sources.base import MatrixSource
from ...sources.dispatch import as_source
from ...sources.weighted import weigh
from ...storage.run_store import RunStore
from ..results.certificate import Certificate, rounding_of_products
from ..results.factorization import Factorization, open_complete_run, read_factorization
from ..stationary import residual_energy_of, sweep_until_stationary
from ..weighted_factors import ROUNDED_FACTORS
from .climb import FROM_ASCENT, FROM_RESIDUAL, Climb, Goal, Keeper, Outcome
from .cut_work import CutWork
from .keeping import KeepNothing, StoredTargets
from .subject import Subject, check_memory, read_subject

__all__ = ["RATIO", "complete_proof", "prove"]

RATIO = 1.001
"""Ratio of error to bound at which a proof is good enough, unless another one is asked for."""

BUDGET = "budget"
"""How a proof has ended that may go on."""

EXACT_UNITS = 64
"""Units in the last place of the norm below which an error is rounding, of which there is no least one to prove."""

ORIGINS = {
    FROM_RESIDUAL: "all cuts, by the residual",
    FROM_ASCENT: "all cuts, by ascent",
}
"""What a certificate says of the origin of its lower bound; bounds of single cuts are the run's own."""

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
        The matrix Z, as for :func:`dbutterfly.factorize`. It is read once, into memory, with all of its entries.
    ratio : float
        Ratio of error to bound at which to stop, at least 1.
    budget : float, optional
        Seconds after which to stop; by default when the bound stands still.
    client, cluster, memory, workers, decode
        As for :func:`dbutterfly.factorize`. The blocks of every cut are worked on by threads or by the workers of a
        cluster; the matrices that they are blocks of are held by this process.
    progress : bool
        Whether to show error, bound and ratio on stderr whenever the bound was evaluated.

    Returns
    -------
    Factorization
        The same factors. The certificate has the exact error, the bound if it is a better one, and how that was
        obtained. ``record["proof"]`` says why the proof has ended (``ended``: ``"ratio"``, ``"budget"``,
        ``"standstill"``, or ``"rounding"`` where the error is nothing else), after how many steps, what was taken off
        the bound for rounding (``slack``), and the error that sweeps would come to (``least_error``), both relative to
        the norm.

    Raises
    ------
    InputError
        If an argument cannot be used, or the matrix is not that of the factorization.
    MemoryBudgetError
        If memory does not hold the matrix once for every cut, and some more.
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
        Goal(ratio, budget),
        memory=memory,  # type: ignore[arg-type]  # it was read
        place=place,
        progress=progress,
    )


def complete_proof(found: Factorization, source: MatrixSource, engine: Engine, **where: Any) -> Factorization:
    """Prove a factorization, unless it has a proof that could come to no more, or that is good enough.

    Arguments are those of :func:`_prove_factorization`.
    """
    ended = found.record.get("proof", {}).get("ended", BUDGET)
    if ended != BUDGET and (ended != "ratio" or found.certificate.ratio <= RATIO):
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
    """Prove a factorization of a weighted matrix; see :func:`prove`.

    Parameters
    ----------
    found : Factorization
        The factorization.
    source : MatrixSource
        The matrix, with the weights of the factorization.
    engine : Engine
        Where the blocks are worked on.
    goal : Goal
        When to stop.
    memory : int, optional
        What a worker may hold.
    place : str, path or Zarr store, optional
        Where the factorization is stored.
    progress : bool
        Whether to show how far the bound has come.
    """
    if len(found.chain) == 1:  # the factor is the matrix
        return found
    check_memory(found.chain, np.dtype(source.info.work_dtype), engine, memory)
    with _opened(place) as stored:
        keeper = KeepNothing() if stored is None else StoredTargets(stored.workspace_below(PLACE))
        proven = _prove(found, read_subject(found, source, engine), engine, goal, keeper, progress)
        if stored is not None:
            stored.update(certificate=proven.certificate.to_json(), record=proven.record)
            if proven.record["proof"]["ended"] != BUDGET:
                stored.clean()
    return proven


@contextlib.contextmanager
def _opened(place: Any) -> Iterator[RunStore | None]:
    """Open a run to be written, with the right to do so."""
    if place is None:
        yield None
        return
    open_complete_run(place)
    stored = RunStore.open(place, mode="r+")
    if stored is None:
        raise StoreError(f"store={place!r} holds no dbutterfly factorization any more")
    with stored.lease():
        yield stored


def _prove(
    found: Factorization, subject: Subject, engine: Engine, goal: Goal, keeper: Keeper, progress: bool
) -> Factorization:
    began, norm = time.monotonic(), subject.norm
    given = math.sqrt(
        residual_energy_of(subject.matrix[None], multiply_stack(subject.factors, found.chain, found.tree))
    )
    start = sweep_until_stationary(subject.matrix[None], subject.factors, found.chain, found.tree)
    error = _error_bound(found, given / norm if norm else 0.0)
    eps = float(np.finfo(found.dtype).eps)
    if start.errors[-1] <= EXACT_UNITS * eps * norm:
        outcome = Outcome(0.0, 0.0, "", 0, "rounding")
    else:
        with ProgressBar(progress) as bar, engine.calls(np.empty((0, 0)), "proof") as calls:
            bar.start("proof", None, 0)
            watch = _watcher(bar, error, norm)
            climb = Climb(subject.matrix, error * norm, found.chain, goal, watch)
            outcome = climb.run(start, CutWork(calls), keeper)
    record = {
        "ended": outcome.ended,
        "steps": outcome.steps,
        "seconds": time.monotonic() - began,
        "slack": outcome.slack / norm if norm else 0.0,
        "least_error": start.errors[-1] / norm if norm else 0.0,
    }
    certificate = _certificate(found, subject, error, outcome)
    _log.info("proof: %s after %d steps: %s", outcome.ended, outcome.steps, certificate)
    return replace(found, certificate=certificate, record={**found.record, "proof": record})


def _watcher(bar: ProgressBar, error: float, norm: float) -> Callable[[int, float], None]:
    """What shows how far the bound has come, relative to the norm."""

    def watch(steps: int, bound: float) -> None:
        ratio = f"{error * norm / bound:.6f}" if bound > 0 else "unknown"
        line = f"proof: step {steps}: error {error:.6g}, bound {bound / norm:.6g}, ratio {ratio}"
        bar.advance(0)
        if not _log.isEnabledFor(logging.INFO):  # else the log shows it
            bar.say(line)
        _log.info(line, extra={"fields": {"event": "proof", "step": steps, "error": error, "bound": bound / norm}})

    return watch


def _rounding(found: Factorization) -> float:
    """Rounding of weights, of the weighted matrix and of the factors that were divided by them."""
    eps = float(np.finfo(found.dtype).eps)
    return 0.0 if found.weights is None else rounding_of_products(ROUNDED_FACTORS, found.chain.rank, eps)


def _error_bound(found: Factorization, error: float) -> float:
    """Bound on the relative error of the operator, which rounds in the dtype of the factors."""
    if error == 0:
        return 0.0
    eps = float(np.finfo(found.dtype).eps)
    measured = error + rounding_of_products(len(found.chain), found.chain.rank, eps) + _rounding(found)
    known = found.certificate.error_bound if found.certificate.proven else math.inf
    return min(measured, known)


def _certificate(found: Factorization, subject: Subject, error: float, outcome: Outcome) -> Certificate:
    """Certificate with the exact error, and with the bound where that is better than the one before."""
    before = found.certificate
    known = before.lower_bound if before.proven else 0.0
    bound = max(outcome.bound / subject.largest_norm - _rounding(found), 0.0) if subject.norm else 0.0
    norm = before.norm
    if not before.proven:
        scaled = math.ldexp(subject.norm, subject.exponent)
        norm = scaled if found.weights is None else found.weights.unscale(scaled)
    proven = replace(before, error_bound=error, exact=True, deviation=None, norm=norm)
    if bound > known:
        return replace(proven, lower_bound=bound, lower_bound_from=ORIGINS.get(outcome.origin))
    return replace(proven, lower_bound=known)
