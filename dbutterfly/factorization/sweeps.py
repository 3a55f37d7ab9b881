"""Sweeps over the factors of a matrix that fits in memory, after its run: they never raise the error."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MemoryBudgetError
from ..execution.arguments import CONVERGED
from ..kernels.backend import Array
from ..kernels.factors.hierarchy import multiply_stack
from ..kernels.factors.sweeps import sweep
from ..planning.plan import Plan
from ..planning.sizes import format_bytes
from ..sources.base import MatrixSource
from ..sources.info import SourceInfo
from ..structure.axes import Tile, axes_of_whole
from ..structure.chain import Chain
from ..structure.padding import Placement
from .job import FactorizationJob
from .other_starts import search_other_starts, starts_of_round
from .results.certificate import rounding_of_products
from .results.factorization import Factorization
from .stationary import COPIES as COPIES_UNTIL_CONVERGED
from .stationary import residual_energy_of, sweep_until_stationary

__all__ = ["check_entries_known", "check_sweeps", "read_in_standard_order", "run_sweeps"]

COPIES = 6
"""Matrices of the size of Z that a sweep may hold at its peak."""

STALLED = 1e-6
"""Part of the error by which a sweep must lower it for another one to follow. Not tuned."""


_log = logging.getLogger("dbutterfly")


def check_sweeps(plan: Plan, sweeps: int | str) -> None:
    """Refuse sweeps over a matrix that memory does not hold.

    Raises
    ------
    InputError
        If not all entries are looked at.
    MemoryBudgetError
        If memory does not hold it several times.
    """
    check_entries_known(plan.source)
    copies = COPIES
    if sweeps == CONVERGED:  # other starts are swept together, while what has converged is held
        copies = COPIES_UNTIL_CONVERGED + COPIES * starts_of_round(plan.chain)
    needed = copies * math.prod(plan.chain.shape) * plan.itemsize
    for name, allowed in (("memory", plan.budget.memory), ("device_memory", plan.budget.device_memory)):
        if allowed is not None and needed > allowed:
            raise MemoryBudgetError(
                f"sweeps work in memory and need {format_bytes(needed)} for this matrix, of {format_bytes(allowed)}; "
                f"leave sweeps out, or give {name}={needed}"
            )


def check_entries_known(source: MatrixSource | SourceInfo) -> None:
    """Refuse sweeps over a matrix of which not all entries are looked at.

    Raises
    ------
    InputError
        If that is so.
    """
    if source.sampled or source.probed:
        raise InputError("sweeps fit the factors to all entries, which are not looked at here; leave sweeps out")


def run_sweeps(found: Factorization, job: FactorizationJob, sweeps: int | str) -> Factorization:
    """Fit the factors anew, one after the other.

    Parameters
    ----------
    found : Factorization
        What the run has given.
    job : FactorizationJob
        The run.
    sweeps : int or "converged"
        Most sweeps; fewer are made where the error falls no more. Or as many as it takes until the error has no
        gradient left, from other starts too.

    Returns
    -------
    Factorization
        The best that was found, with its exact error. The record has the error before each sweep and after the last,
        and with "converged" the gradient that is left and the number of other starts. Where one of these has come
        lower, its error is the last one.
    """
    with job.lane(1) as lane:
        return lane.call(lambda: _sweep_factors(found, job, sweeps))


def _sweep_factors(found: Factorization, job: FactorizationJob, sweeps: int | str) -> Factorization:
    backend = job.computing
    matrix = backend.to_device(read_in_standard_order(job.source, job.plan.chain, job.plan.placed))[None, :, :]
    factors = [backend.to_device(values[None]) for values in found.ks_values]
    if sweeps == CONVERGED:
        factors, errors, kept = _converge(matrix, factors, found)
    else:
        factors, errors = _sweep_often(matrix, factors, found, int(sweeps))
        kept = {}
    best = tuple(backend.to_host(values)[0] for values in factors)
    norm = found.certificate.norm
    relative = [error / norm if norm else 0.0 for error in errors]
    eps = float(np.finfo(job.plan.source.work_dtype).eps)
    rounding = rounding_of_products(len(best), found.chain.rank, eps) if norm else 0.0
    certificate = dataclasses.replace(found.certificate, error_bound=relative[-1] + rounding, exact=True)
    record = {**found.record, "sweeps": relative, **kept}
    return dataclasses.replace(found, ks_values=best, certificate=certificate, record=record)


def _sweep_often(
    matrix: Array, factors: list[Array], found: Factorization, sweeps: int
) -> tuple[list[Array], list[float]]:
    """Sweep so many times, while the error falls; factors, and errors before and after each sweep."""
    errors = [math.sqrt(residual_energy_of(matrix, multiply_stack(factors, found.chain, found.tree)))]
    for _ in range(sweeps):
        swept = sweep(matrix, factors, found.chain, found.tree)
        error = math.sqrt(residual_energy_of(matrix, swept.product))
        if not error < errors[-1]:
            break
        factors = swept.factors
        errors.append(error)
        if error > (1 - STALLED) * errors[-2]:
            break
    return factors, errors


def _converge(
    matrix: Array, factors: list[Array], found: Factorization
) -> tuple[list[Array], list[float], dict[str, Any]]:
    """Sweep until the error has no gradient left, from other starts too; factors, errors, and what the record keeps."""
    reached = sweep_until_stationary(matrix, factors, found.chain, found.tree)
    best, starts = search_other_starts(matrix, reached, found.chain, found.tree)
    if not best.is_reached:
        _log.warning(
            "sweeps have not converged after %d: the gradient is %.2g of the error",
            len(best.errors) - 1,
            best.gradient,
        )
    errors = reached.errors if best is reached else [*reached.errors, best.errors[-1]]
    return best.factors, errors, {"gradient": best.gradient, "starts": starts}


def read_in_standard_order(source: MatrixSource, chain: Chain, placed: Placement) -> NDArray[np.generic]:
    """The matrix as the chain takes it, in the dtype of the computation: gaps are zeros."""
    rows, cols = axes_of_whole(chain, placed, source.edges)
    grid = source.read(rows, cols, Tile(0, 1, 0, 1))
    return np.ascontiguousarray(grid[0, 0].astype(source.info.work_dtype))
