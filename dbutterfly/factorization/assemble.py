"""The result of a run, put together from what its tasks have written."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels.factors.hierarchy import join_left, join_right
from ..sources.operators import OperatorSource
from ..sources.probes import ProbeSizes
from ..sources.sample_sizes import count_evaluated
from ..structure.chain import Chain
from .job import FactorizationJob
from .results.certificate import Certificate, certify, guarantee_of
from .results.cut_errors import error_of_each_cut, errors_by_part
from .results.estimates import error_of_products, error_of_rows
from .results.factorization import Factorization
from .results.probed_error import PROBES
from .results.trace import trace_of

__all__ = ["assemble"]

ESTIMATE_ROWS = 64
"""Rows from which the error is estimated where the matrix is sampled."""

ESTIMATE_SEED = 0x5EED
"""Seed of their draw, which no tile knows of."""

SMALLEST_ENTRIES = {"float32": 1e-12, "complex64": 1e-12, "float64": 1e-70, "complex128": 1e-70}
"""Least root mean square of the entries of which the squares of rounding errors are still normal numbers."""


def assemble(job: FactorizationJob, record: dict[str, Any], rows: dict[str, NDArray[np.float64]]) -> Factorization:
    """Factors and certificate of a run whose tasks have all ended, and left these records."""
    planned, everything = job.plan, (slice(None),)
    read = job.workspace.read
    stats, eps = read("stats", everything), float(np.finfo(planned.source.work_dtype).eps)
    if planned.split is None:
        above, factors = 0, [read("left/0", everything)[0]]
        nothing = np.zeros((1, 1, 2))
        certificate: Certificate = certify(stats, nothing, nothing, nothing[..., :1], factors=1, eps=eps)
    else:
        halves = zip(("left", "right"), job.halves, (planned.rows, planned.cols), (join_left, join_right), strict=True)
        factors = []
        for side, half, axis, join in halves:
            for index in range(len(half)):
                grouped = read(f"{side}/{index}", everything)
                grouped = grouped if axis.group_order is None else grouped[axis.group_order]
                factors.append(np.ascontiguousarray(join(grouped, axis.groups)[0]))
        second = read("second", everything) if planned.passes == 2 else None
        errors = read("left_error", everything), read("right_error", everything)
        above = planned.ranks.index(job.rank)
        certificate = certify(
            stats,
            *errors,
            second,
            factors=len(factors),
            eps=eps,
            rank=planned.chain.rank,
            above=above,
            guarantee=guarantee_of(planned.tree, planned.passes),
        )
        missed = _read_residuals(job, "left", job.halves[0]), _read_residuals(job, "right", job.halves[1])
        record = record | {
            "errors": errors_by_part(stats, *errors, second, above),
            "errors_by_cut": error_of_each_cut(planned.tree, stats, *missed, second, eps=eps, above=above),
        }
    _check_range(certificate, job)
    trace = trace_of(rows, stats, above)
    found = Factorization(tuple(factors), planned.chain, planned.tree, planned.orderings, certificate, record, trace)
    return _estimate(found, job, stats)


def _read_residuals(job: FactorizationJob, side: str, half: Chain) -> NDArray[np.float64]:
    """What the nodes of a half miss, by their cuts, for each group."""
    return job.workspace.read(f"{side}_missed", (slice(None),)) if len(half) > 1 else np.zeros((1, 0))


def _estimate(found: Factorization, job: FactorizationJob, stats: NDArray[np.float64]) -> Factorization:
    """Replace bounds that are not proven by an estimate, from rows or products drawn apart from those of the run."""
    split, rank = job.plan.split, job.plan.ranks[-1]
    if split is None:
        return found
    if job.source.sampled:
        error = error_of_rows(found, job.source, ESTIMATE_ROWS, ESTIMATE_SEED)
        entries, redone = count_evaluated(split, rank, stats)
        entries += min(ESTIMATE_ROWS, job.source.shape[0]) * job.source.shape[1]
        counted = {"evaluated": {"entries": entries, "blocks_in_full": redone}}
    elif isinstance(job.source, OperatorSource) and not ProbeSizes(split, rank).in_full:
        error = error_of_products(found, job.source, PROBES, ESTIMATE_SEED)
        counted = {"evaluated": {"products": ProbeSizes(split, rank).products() + PROBES}}
    else:
        return found
    certificate = Certificate(float(error), 0.0, False, found.certificate.norm, error.deviation)
    return dataclasses.replace(found, certificate=certificate, record={**found.record, **counted})


def _check_range(certificate: Certificate, job: FactorizationJob) -> None:
    """Raise if squares of entries, or of their rounding errors, have left the range in which they were summed."""
    dtype = job.plan.source.work_dtype
    mean = certificate.norm / math.sqrt(math.prod(job.source.shape))
    if math.isfinite(certificate.error_bound) and (mean == 0 or mean >= SMALLEST_ENTRIES[dtype]):
        return
    wider = "" if dtype in ("float64", "complex128") else ", or convert it to double precision"
    raise InputError(
        f"{job.source.name} has entries of root mean square {mean:.3g}, whose squares leave the range of {dtype}; "
        f"scale the matrix{wider}"
    )
