"""The tasks of a hierarchical run, and the result: blocks that share one tolerance, and one certificate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FitWarning, ToleranceWarning, warn_caller
from ...execution.collection import without_collection
from ...execution.engine import Engine
from ...operator.block_factors import BlockFactors
from ...planning.bands import BandCopy
from ...planning.hierarchical_plan import HierarchicalPlan
from ...storage.manifest import HIERARCHICAL
from ..manifests import running_version
from ..provenance import describe_provenance
from ..results.certificate import Certificate
from ..results.estimates import VerifiedError
from ..results.hierarchical import HierarchicalFactorization
from ..results.line_estimates import error_of_lines
from ..scaled_factors import error_of_subnormals, share_power
from ..stages import run_tasks
from .arrays import create_hierarchical_arrays
from .block_lines import lines_of_blocks
from .current_run import HierarchicalRun
from .encoding import Head, decode_blocks
from .fitted import FittedBlock
from .job import REGIONS, HierarchicalJob, read_region
from .share import certify_blocks, certify_sampled, error_of_matrix, lower_of_matrix, share_tolerance
from .tasks import tasks_of

__all__ = ["NoRoom", "complete_hierarchical"]

ESTIMATE_SEED = 0x5EED
"""Seed of the rows and columns with which sampled blocks are compared: none of those of the tasks."""


class NoRoom(Exception):  # it does not leave the package
    """Panels had no room for the ranks of some far parts, so that the tolerance is missed by what they left out."""


def complete_hierarchical(run: HierarchicalRun, engine: Engine, *, progress: bool = False) -> HierarchicalFactorization:
    """Do what is left to do of a run, and keep its result.

    Parameters
    ----------
    run : HierarchicalRun
        The run.
    engine : Engine
        Where its tasks run.
    progress : bool
        Whether to show a bar for every stage.

    Raises
    ------
    NoRoom
        If all entries must be copied for the tolerance.
    """
    job = run.job
    create_hierarchical_arrays(job)
    with run.explaining():
        fitted = _FittedRegions(job)
        stages, _ = run_tasks(run, engine, tasks_of(job.plan), on_ended=fitted.look_at, progress=progress)
        job.check_unchanged()
        blocks, evaluated = fitted.read_all()
    record = {
        "plan": job.plan.to_json(),
        "plan_text": str(job.plan),
        "engine": type(engine).__name__,
        "workers": engine.workers,
        "version": running_version(),
        "provenance": describe_provenance(run.request),
        "matrix": job.source.name,
        "stages": stages,
    }
    if job.plan.source.sampled:
        record["evaluated"] = {"entries": evaluated + job.plan.looked_at}
    with without_collection():
        result = _assemble(job, blocks, record)
    if isinstance(job.plan.copy, BandCopy) and result.certificate.error_bound > (job.plan.tol or math.inf):
        raise NoRoom
    _warn(result, job.plan)
    with without_collection():
        run.put_result(result)
    return result


class _FittedRegions:
    """Blocks of the regions, which are read as these end, while workers compute others."""

    def __init__(self, job: HierarchicalJob) -> None:
        self._job = job
        self._found: dict[int, tuple[list[FittedBlock], int]] = {}

    def look_at(self, stage: str, number: int) -> None:
        """Read the blocks of a task that has ended, if it is that of a region."""
        if stage == REGIONS:
            values, table = read_region(self._job.workspace, self._job.plan, number)
            with without_collection():
                self._found[number] = decode_blocks(values, table), Head.of(table).evaluated

    def read_all(self) -> tuple[list[FittedBlock], int]:
        """Blocks of all regions, and the number of entries that were evaluated for them."""
        regions = range(len(self._job.plan.regions))
        for region in regions:
            if region not in self._found:  # it had ended in an earlier sitting
                self.look_at(REGIONS, region)
        found = [self._found.pop(region) for region in regions]
        return [block for blocks, _ in found for block in blocks], sum(evaluated for _, evaluated in found)


def _assemble(job: HierarchicalJob, blocks: list[FittedBlock], record: dict[str, Any]) -> HierarchicalFactorization:
    """Result from the blocks: the tolerance is shared out among them, and their squares are added up."""
    plan, dtype = job.plan, np.dtype(job.plan.source.work_dtype)
    eps = float(np.finfo(dtype).eps)
    fitted = _estimate(job, blocks, record) if plan.source.sampled else None
    given = [_count_twice(block) for block in blocks] if plan.is_half else blocks
    counted = given if plan.tol is None else share_tolerance(given, plan.tol, eps=eps, fitted=fitted)
    exponent = job.source.exponent
    if fitted is None:
        counted = [_allow_subnormals(each, dtype, exponent, plan) for each in counted] if exponent < 0 else counted
        certificate = certify_blocks(counted, eps=eps)
    else:
        certificate = certify_sampled(given, counted, fitted, eps=eps)
    if exponent:
        record["exponent"] = exponent
    measures = [
        (each.energy + each.left_out, error_of_matrix(each), lower_of_matrix(each), each.deviation) for each in counted
    ]
    twice = np.array([1 + (plan.is_half and _has_mirror_image(each)) for each in counted])
    with np.errstate(over="ignore"):
        table = np.ldexp(np.array(measures, np.float64) / twice[:, None], 2 * exponent)
    return HierarchicalFactorization(
        blocks=tuple(_scale(block.factors, exponent) for block in counted),
        shape=job.source.shape,
        dtype=dtype,
        row_order=plan.trees[0].order,
        col_order=plan.trees[1].order,
        symmetry=plan.symmetry,
        certificate=_certificate_of(certificate, exponent),
        table=table,
        record=record,
    )


def _estimate(job: HierarchicalJob, blocks: list[FittedBlock], record: dict[str, Any]) -> VerifiedError:
    """Error of the blocks of an entry function, from rows and columns that are evaluated for it, and counted."""
    entries, (rows, cols) = record["evaluated"]["entries"], job.source.shape
    most = (rows * cols - entries) // (rows + cols)  # no more entries than the matrix has
    lines, enough = lines_of_blocks(blocks, job.plan), job.plan.tol or 0.0
    error = error_of_lines(lines, job.source, ESTIMATE_SEED, most=most, enough=enough)
    record["evaluated"]["entries"] = entries + (error.samples or 0) * (rows + cols) // 2
    return error


def _count_twice(block: FittedBlock) -> FittedBlock:
    """Block with the squares of its mirror image across the diagonal, where it has one."""
    if not _has_mirror_image(block):
        return block
    measures = {name: 2 * getattr(block, name) for name in ("energy", "error", "lower", "deviation", "left_out")}
    return block._replace(**measures, spectrum=math.sqrt(2) * block.spectrum)


def _has_mirror_image(block: FittedBlock) -> bool:
    return block.factors.rows != block.factors.cols


def _allow_subnormals(block: FittedBlock, dtype: np.dtype[Any], exponent: int, plan: HierarchicalPlan) -> FittedBlock:
    """Block of a small matrix, whose bounds hold although entries of products may be subnormal numbers."""
    factors = block.factors
    if len(factors.ks_values) < 2:  # no products
        return block
    times = math.sqrt(1 + (plan.is_half and _has_mirror_image(block)))
    off = times * error_of_subnormals(factors.rank, factors.shape, dtype, exponent)
    error, lower = math.sqrt(block.error) + off, max(math.sqrt(block.lower) - off, 0.0)
    return block._replace(error=error**2, lower=lower**2)


def _scale(factors: BlockFactors, exponent: int) -> BlockFactors:
    """Block of the matrix as it was given, from that of the matrix divided by a power of two."""
    if not exponent or not factors.ks_values:
        return factors
    scaled: tuple[NDArray[Any], ...] = share_power(factors.ks_values, exponent)
    return BlockFactors(factors.rows, factors.cols, scaled, factors.orderings)


def _certificate_of(certificate: Certificate, exponent: int) -> Certificate:
    """Certificate of the matrix as it was given, in this form."""
    return replace(certificate, norm=float(np.ldexp(certificate.norm, exponent)), form=HIERARCHICAL)


def _warn(result: HierarchicalFactorization, plan: HierarchicalPlan) -> None:
    """Say that a tolerance was not reached, or that a rank leaves the result no smaller than the matrix."""
    certificate, tol = result.certificate, plan.tol
    if tol is not None and (certificate.error_bound > tol or certificate.deviation == math.inf):
        what = "was not reached" if certificate.error_bound > tol else "is not confirmed"
        remedy = "sampled=False looks at all entries" if plan.source.sampled else "a smaller tol leaves room for it"
        warn_caller(f"tol={tol:g} {what}: {certificate}; {remedy}", ToleranceWarning)
    values, entries = sum(block.nnz for block in result.blocks), math.prod(plan.source.shape)
    dense = entries / 2 if plan.is_half else entries
    if tol is None and values >= dense:  # with a tolerance, a look at some blocks has told
        warn_caller(
            f"the blocks for rank={plan.rank} are no smaller than dense: {values} values for {dense:.4g} entries",
            FitWarning,
        )
