"""The result of a run by nested skeletons: factors without the room that no skeleton has taken."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.factors.rounding import truncate_product
from ..operator.factors import clear_gaps
from ..planning.nested_steps import NestedSteps
from ..sources.sample_sizes import Evaluated
from ..structure.chain import Chain
from ..structure.padding import show_gaps
from .job import FactorizationJob
from .nested_fusion import FusedFactors, fuse_to_fewest_values
from .results.certificate import Certificate
from .results.factorization import Factorization
from .results.trace import Trace, residual_map
from .skeleton_numbers import ENTRY, EVALUATED, INTERPOLATED, RANK, RESIDUAL, WANTED

__all__ = ["assemble_nested", "count_entries", "wanted_ranks"]


def assemble_nested(
    job: FactorizationJob, record: dict[str, Any], rows: dict[str, NDArray[np.float64]]
) -> Factorization:
    """Put the factors of a run together; its certificate is to be made from rows that it knows nothing of.

    Parameters
    ----------
    job : FactorizationJob
        The run, whose tasks have all ended.
    record : dict
        What is known of the run so far; the errors of its cuts are added.
    rows : dict of array, shape (tasks, fields)
        Records of the tasks of every stage.
    """
    plan, steps = job.plan, _steps(job)
    numbers = {step.name: _numbers(job, step.name) for step in steps.steps}
    used = _used_ranks(steps, numbers)
    job.workspace.release(INTERPOLATED)
    factors = []
    for number in range(len(plan.chain)):
        factors.append(_trim(job.workspace.read(f"factor/{number}", (slice(None),)), steps, number, used))
        job.workspace.release(f"factor/{number}")
    chain = plan.chain.with_ranks(used)
    asked = plan.chain.ranks
    assert plan.nested is not None
    assert asked is not None
    if plan.nested.floor == 0 and used != asked:
        factors, chain = _with_ranks(factors, chain, asked)
    found = FusedFactors(factors, chain, plan.tree, _errors_by_cut(steps, numbers))
    if plan.nested.floor > 0:
        found = fuse_to_fewest_values(found, steps.root, plan.orderings)
    orderings = show_gaps(plan.orderings, plan.source.shape, found.chain)
    return Factorization(
        clear_gaps(tuple(found.factors), orderings.rows, orderings.cols),
        found.chain,
        found.tree,
        orderings,
        Certificate(math.inf, 0.0, False, 0.0, math.inf),
        record | {"errors_by_cut": found.errors},
        _trace(rows, steps, numbers),
    )


def count_entries(job: FactorizationJob) -> Evaluated:
    """Entries that the steps have evaluated; no block is evaluated in full."""
    steps = _steps(job)
    counted = sum(float(_numbers(job, step.name)[..., EVALUATED].sum()) for step in steps.steps)
    rows, cols = (_numbers(job, f"{side}_{steps.root}")[..., RANK].ravel() for side in ("rows", "cols"))
    return Evaluated(round(counted + float(rows @ cols)), 0)


def wanted_ranks(job: FactorizationJob) -> tuple[int, ...]:
    """Sizes of skeletons at each cut with which no block leaves more than it may."""
    steps, wanted = _steps(job), [1] * (len(job.plan.chain) - 1)
    for step in steps.steps:
        wanted[step.cut - 1] = max(wanted[step.cut - 1], int(_numbers(job, step.name)[..., WANTED].max()))
    return tuple(wanted)


def _steps(job: FactorizationJob) -> NestedSteps:
    assert job.plan.nested_steps is not None
    return job.plan.nested_steps


def _numbers(job: FactorizationJob, name: str) -> NDArray[np.float64]:
    return job.workspace.read(f"skeletons/{name}", (slice(None),))[..., : EVALUATED + 1]


def _used_ranks(steps: NestedSteps, numbers: dict[str, NDArray[np.float64]]) -> tuple[int, ...]:
    """Largest sizes of skeletons that were taken: of rows before the root cut, of columns from there on."""
    names = [f"rows_{cut}" if cut < steps.root else f"cols_{cut}" for cut in range(1, len(steps.chain))]
    return tuple(max(1, int(numbers[name][..., RANK].max())) for name in names)


def _trim(values: NDArray[Any], steps: NestedSteps, number: int, used: tuple[int, ...]) -> NDArray[Any]:
    """Factor without the parts of skeletons that none has taken; the same array if all are taken."""
    room = (1, *steps.capacities, 1)[number : number + 2]
    kept = (1, *used, 1)[number : number + 2]
    if room == kept:
        return values
    a, b, c, d = values.shape
    parts = values.reshape(a, room[0], b // room[0], c // room[1], room[1], d)[:, : kept[0], :, :, : kept[1]]
    return np.ascontiguousarray(parts).reshape(a, kept[0] * b // room[0], kept[1] * c // room[1], d)


def _with_ranks(factors: list[NDArray[Any]], chain: Chain, ranks: tuple[int, ...]) -> tuple[list[NDArray[Any]], Chain]:
    """Factors of the best product of ranks that were asked for: of what there is more, the best is kept."""
    assert chain.ranks is not None
    kept = tuple(min(pair) for pair in zip(chain.ranks, ranks, strict=True))
    if kept != chain.ranks:
        factors = truncate_product(factors, chain, kept)
        kept = Chain([values.shape for values in factors]).ranks or kept
    wanted = chain.with_ranks(ranks)
    filled = []
    for number, values in enumerate(factors):
        before, after = (1, *kept, 1)[number : number + 2]
        left, right = (1, *ranks, 1)[number : number + 2]
        a, b, c, d = values.shape
        grown = np.zeros((a, left, b // before, c // after, right, d), values.dtype)
        grown[:, :before, :, :, :after] = values.reshape(a, before, b // before, c // after, after, d)
        filled.append(grown.reshape(wanted[number]))
    return filled, wanted


def _errors_by_cut(steps: NestedSteps, numbers: dict[str, NDArray[np.float64]]) -> list[float]:
    """What the steps of each cut leave, relative to the entries, as their checks show it."""
    found = []
    for cut in range(1, len(steps.chain)):
        here = [numbers[step.name] for step in steps.steps if step.cut == cut]
        left = sum(float(np.mean(each[..., RESIDUAL])) for each in here)
        energy = float(np.mean([np.mean(each[..., ENTRY]) for each in here]))
        found.append(math.sqrt(left / energy) if energy > 0 else 0.0)
    return found


def _trace(rows: dict[str, NDArray[np.float64]], steps: NestedSteps, numbers: dict[str, NDArray[np.float64]]) -> Trace:
    """Trace of the run, with what the columns of the root cut leave of each block: row groups by column groups."""
    numbered = [np.insert(records, 0, number, axis=1) for number, records in enumerate(rows.values())]
    root = numbers[f"cols_{steps.root}"]
    by_block = root.reshape(root.shape[0], -1, root.shape[-1]).swapaxes(0, 1)
    residuals = residual_map(by_block[..., ENTRY], by_block[..., RESIDUAL])
    return Trace(tuple(rows), np.concatenate(numbered), residuals)
