"""The result of a run, put together from what its tasks have written."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.factors.hierarchy import join_left, join_right
from ..operator.factors import clear_gaps
from ..sources.exponents import SMALLEST_ENTRIES, exponent_of
from ..sources.operators import OperatorSource
from ..sources.probes import ProbeSizes
from ..sources.sample_sizes import Evaluated, count_evaluated
from ..structure.chain import Chain
from ..structure.padding import show_gaps
from .block_stats import BlockStats
from .job import FactorizationJob
from .nested_result import assemble_nested, count_entries
from .results.certificate import Certificate, certify, guarantee_of
from .results.cut_errors import error_of_each_cut
from .results.estimates import error_of_products
from .results.factorization import Factorization
from .results.line_estimates import error_of_lines, lines_of
from .results.other_cuts import raise_by_other_cuts
from .results.probed_error import PROBES
from .results.trace import trace_of
from .tasks.checks import range_error

__all__ = ["assemble"]

EVERYTHING = (slice(None),)
"""Selection of a whole array of the workspace."""

DOUBTFUL = 3.0
"""Times the estimated error that the steps of skeletons may have left at their checks.

Measured: .8 to 1.1 of it for Helmholtz and Fourier integral kernels, and at most 1.4 for 64 hostile functions.
"""

ESTIMATE_SEED = 0x5EED
"""Seed of the draw of these lines, which no task knows of."""


def assemble(job: FactorizationJob, record: dict[str, Any], rows: dict[str, NDArray[np.float64]]) -> Factorization:
    """Put factors and certificate of a run together.

    Parameters
    ----------
    job : FactorizationJob
        The run, whose tasks have all ended.
    record : dict
        What is known of the run so far; the errors of its cuts are added.
    rows : dict of array, shape (tasks, fields)
        Records of the tasks of every stage.
    """
    planned = job.plan
    if planned.nested is not None:
        return _heed_checks(_estimate_lines(assemble_nested(job, record, rows), job, count_entries(job)))
    stats = BlockStats.from_array(job.workspace.read("stats", EVERYTHING))
    if planned.split is None:
        factors, of_rank = [job.workspace.read("left/0", EVERYTHING)[0]], stats.of_rank(0)
        certificate = _certify_single_factor(job, of_rank)
    else:
        factors, of_rank = _read_factors(job), stats.of_rank(planned.ranks.index(job.rank))
        certificate, errors = _certify(job, of_rank, len(factors))
        record = record | {"errors_by_cut": errors}
    _check_range(certificate, job)
    trace = trace_of(rows, of_rank)
    orderings = show_gaps(planned.orderings, planned.source.shape, planned.chain)
    cleared = clear_gaps(tuple(factors), orderings.rows, orderings.cols)
    found = Factorization(cleared, planned.chain, planned.tree, orderings, certificate, record, trace)
    return _estimate(found, job, stats)


def _read_factors(job: FactorizationJob) -> list[NDArray[Any]]:
    """Factors of both halves, their groups joined in standard order."""
    factors = []
    sides = zip(("left", "right"), job.halves, (job.plan.rows, job.plan.cols), (join_left, join_right), strict=True)
    for side, half, axis, join in sides:
        for index in range(len(half)):
            grouped = job.workspace.read(f"{side}/{index}", EVERYTHING)
            grouped = grouped if axis.group_order is None else grouped[axis.group_order]
            factors.append(np.ascontiguousarray(join(grouped, axis.groups)[0]))
    return factors


def _certify(job: FactorizationJob, stats: BlockStats, factors: int) -> tuple[Certificate, list[float]]:
    """Certificate of a run with two halves, and the error of every cut."""
    planned, read = job.plan, job.workspace.read
    eps = float(np.finfo(planned.source.work_dtype).eps)
    second = read("second", EVERYTHING) if planned.passes == 2 else None
    certificate = certify(
        stats,
        read("left_error", EVERYTHING),
        read("right_error", EVERYTHING),
        second,
        factors=factors,
        eps=eps,
        rank=planned.chain.rank,
        guarantee=guarantee_of(planned.tree, planned.passes),
    )
    (left, left_least), (right, right_least) = (
        _read_cuts(job, *side) for side in zip(("left", "right"), job.halves, stats.energy.shape, strict=True)
    )
    certificate = raise_by_other_cuts(certificate, stats, left_least, right_least, planned)
    return certificate, error_of_each_cut(planned.tree, stats, left, right, second, eps=eps)


def _certify_single_factor(job: FactorizationJob, stats: BlockStats) -> Certificate:
    """Certificate of a factor that is the matrix itself, of which nothing is left."""
    nothing = np.zeros((1, 1, 2))
    eps = float(np.finfo(job.plan.source.work_dtype).eps)
    return certify(stats, nothing, nothing, nothing[..., :1], factors=1, eps=eps)


def _read_cuts(
    job: FactorizationJob, side: str, half: Chain, groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energies that the nodes of a half miss, by their cuts, for each group, and those that any product misses."""
    if len(half) == 1:  # it has no cuts
        return np.zeros((groups, 0)), np.zeros(groups)
    return job.workspace.read(f"{side}_missed", EVERYTHING), job.workspace.read(f"{side}_least", EVERYTHING)


def _estimate(found: Factorization, job: FactorizationJob, stats: BlockStats) -> Factorization:
    """Replace bounds that are not proven by an estimate, from rows or products drawn apart from those of the run."""
    split, rank = job.plan.split, job.plan.ranks[-1]
    if split is None:
        return found
    if job.plan.source.sampled:
        return _estimate_lines(found, job, count_evaluated(split, rank, stats.slack[..., -1]))
    if isinstance(job.source, OperatorSource) and not ProbeSizes(split, rank).in_full:
        error = error_of_products(found.operator, job.source, PROBES, ESTIMATE_SEED)
        counted = {"evaluated": {"products": ProbeSizes(split, rank).products() + PROBES}}
    else:
        return found
    certificate = Certificate(float(error), 0.0, False, found.certificate.norm, error.deviation)
    return dataclasses.replace(found, certificate=certificate, record={**found.record, **counted})


def _estimate_lines(found: Factorization, job: FactorizationJob, evaluated: Evaluated) -> Factorization:
    """Factorization of a sampled matrix with an estimate of its error, from lines that are evaluated for it."""
    rows, cols = job.source.shape
    most = (rows * cols - evaluated.entries) // (rows + cols)  # no more entries than the matrix has
    error = error_of_lines(lines_of(found), job.source, ESTIMATE_SEED, most=most)
    entries = evaluated.entries + (error.samples or 0) * (rows + cols) // 2
    counted = {"evaluated": {"entries": entries, "blocks_in_full": evaluated.redone}}
    norm = found.certificate.norm or error.norm or 0.0  # of all blocks, where these tell of it
    certificate = Certificate(float(error), 0.0, False, norm, error.deviation)
    _check_range(certificate, job)
    return dataclasses.replace(found, certificate=certificate, record={**found.record, **counted})


def _heed_checks(found: Factorization) -> Factorization:
    """Factorization whose estimate cannot tell where its steps have left far more at their checks.

    These look into every block: a small one that leaves much may be met by none of the lines.
    """
    left, told = math.hypot(*found.record["errors_by_cut"]), found.certificate
    if left <= DOUBTFUL * told.error_bound:
        return found
    return dataclasses.replace(found, certificate=dataclasses.replace(told, error_bound=left, deviation=math.inf))


def _check_range(certificate: Certificate, job: FactorizationJob) -> None:
    """Raise if squares of entries, or of their rounding errors, have left the range in which they were summed."""
    mean = certificate.norm / math.sqrt(math.prod(job.source.shape))
    is_large_enough = mean == 0 or mean >= SMALLEST_ENTRIES[job.plan.source.work_dtype]
    if not (math.isfinite(certificate.error_bound) and is_large_enough):
        raise range_error(job, job.source.exponent + exponent_of(mean))
