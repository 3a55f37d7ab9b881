"""Sweeps over the factors of a matrix that fits in memory, after its run: they never raise the error."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MemoryBudgetError
from ..kernels.backend import Array, namespace
from ..kernels.factors.hierarchy import multiply_stack
from ..kernels.factors.sweeps import sweep
from ..kernels.linalg import squared_norms
from ..planning.plan import Plan
from ..planning.sizes import format_bytes
from ..sources.base import MatrixSource
from ..sources.info import SourceInfo
from ..structure.axes import Tile, axes_of_whole
from .job import FactorizationJob
from .results.certificate import rounding_of_products
from .results.factorization import Factorization

__all__ = ["check_entries_known", "check_sweeps", "run_sweeps"]

COPIES = 6
"""Matrices of the size of Z that a sweep may hold at its peak."""

STALLED = 1e-6
"""Part of the error by which a sweep must lower it for another one to follow. Not tuned."""


def check_sweeps(plan: Plan) -> None:
    """Refuse sweeps over a matrix that memory does not hold.

    Raises
    ------
    InputError
        If not all entries are looked at.
    MemoryBudgetError
        If memory does not hold it several times.
    """
    check_entries_known(plan.source)
    needed = COPIES * math.prod(plan.chain.shape) * plan.itemsize
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


def run_sweeps(found: Factorization, job: FactorizationJob, sweeps: int) -> Factorization:
    """Fit the factors anew, one after the other.

    Parameters
    ----------
    found : Factorization
        What the run has given.
    job : FactorizationJob
        The run.
    sweeps : int
        Most sweeps; fewer are made where the error falls no more.

    Returns
    -------
    Factorization
        The best that was found, with its exact error, and in the record the error before each sweep and after the last.
    """
    with job.lane(1) as lane:
        return lane.call(lambda: _sweep_factors(found, job, sweeps))


def _sweep_factors(found: Factorization, job: FactorizationJob, sweeps: int) -> Factorization:
    backend = job.computing
    matrix = backend.to_device(_in_standard_order(job))[None, :, :]
    factors = [backend.to_device(values[None]) for values in found.ks_values]
    errors = [math.sqrt(_energy(matrix - multiply_stack(factors, found.chain, found.tree)))]
    for _ in range(sweeps):
        swept = sweep(matrix, factors, found.chain, found.tree)
        error = math.sqrt(_energy(matrix - swept.product))
        if not error < errors[-1]:
            break
        factors = swept.factors
        errors.append(error)
        if error > (1 - STALLED) * errors[-2]:
            break
    best = tuple(backend.to_host(values)[0] for values in factors)
    norm = found.certificate.norm
    relative = [error / norm if norm else 0.0 for error in errors]
    eps = float(np.finfo(job.plan.source.work_dtype).eps)
    rounding = rounding_of_products(len(best), found.chain.rank, eps) if norm else 0.0
    certificate = dataclasses.replace(found.certificate, error_bound=relative[-1] + rounding, exact=True)
    return dataclasses.replace(
        found, ks_values=best, certificate=certificate, record={**found.record, "sweeps": relative}
    )


def _in_standard_order(job: FactorizationJob) -> NDArray[np.generic]:
    """The matrix as the chain takes it."""
    rows, cols = axes_of_whole(job.plan.chain, job.plan.placed, job.source.edges)
    grid = job.source.read(rows, cols, Tile(0, 1, 0, 1))
    return np.ascontiguousarray(grid[0, 0].astype(job.plan.source.work_dtype))


def _energy(difference: Array) -> float:
    xp = namespace(difference)
    return float(xp.sum(squared_norms(difference)))
