"""Compare matrices with factorizations: their rows at hand, or all entries tile by tile, whatever range they have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RangeError
from ..execution.engine import Engine
from ..execution.progress import ProgressBar, run_under_bar
from ..execution.task import Record, done_name
from ..kernels.factors.hierarchy import multiply_stack, part_left, part_right
from ..kernels.factors.nodes import left_rows, right_rows
from ..planning.plan import Plan
from ..planning.search import make_plan
from ..sources.base import MatrixSource
from ..sources.weighted import rescale, weigh
from ..storage.memory_workspace import MemoryWorkspace
from ..structure.axes import Axis
from .block_stats import total_of
from .job import FactorizationJob
from .results.estimates import VerifiedError, energy_ratio
from .results.factorization import Factorization
from .scaled_factors import divide_by_power, exponent_of_result
from .tasks.verification import VerifyTask
from .weighted_factors import multiply_by_weights

__all__ = ["Compare", "compare_factors", "compare_in_range", "compare_tiles", "products_of_cut"]

Compare = Callable[[Factorization, MatrixSource], VerifiedError]
"""Measures the error of a factorization against a matrix, neither of which has weights or leaves its range."""


def compare_factors(found: Factorization, source: MatrixSource, compare: Compare) -> VerifiedError:
    """Measure the error of a factorization, by its weights, and divided by a power of two where that is needed.

    Parameters
    ----------
    found : Factorization
        What to compare.
    source : MatrixSource
        The matrix, without weights.
    compare : callable
        Compares what both are in the end.
    """
    wrapped = weigh(source, found.weights)
    weighted = multiply_by_weights(found, np.dtype(wrapped.info.work_dtype))
    error = compare_in_range(
        lambda scaled: compare(divide_by_power(weighted, scaled.exponent), scaled),
        rescale(wrapped, exponent_of_result(found)),
    )
    error.weighted = found.weights is not None
    return error


def compare_in_range(compare: Callable[[MatrixSource], VerifiedError], source: MatrixSource) -> VerifiedError:
    """Compare a matrix; once more, divided by a larger power of two, where entries are met that are too large."""
    while True:
        try:
            return compare(source)
        except RangeError as error:
            if error.exponent <= source.exponent:
                raise
            source = rescale(source, error.exponent)


def compare_tiles(
    factorization: Factorization,
    source: MatrixSource,
    engine: Engine,
    memory: int | None,
    progress: bool,
) -> VerifiedError:
    """Compare all entries of a matrix with those of the product of two factors or more, tile by tile.

    Parameters
    ----------
    factorization, source
        What to compare, weighted or not as the matrix is.
    engine : Engine
        Where the tasks run.
    memory : int or None
        Bytes that a worker may hold.
    progress : bool
        Whether to show a bar.
    """
    planned = make_plan(
        replace(source.info, sampled=False),
        factorization.chain,
        tree=factorization.tree,
        orderings=factorization.orderings,
        budget=engine.budget(memory, "auto"),
    )
    workspace, fields = MemoryWorkspace(), len(Record._fields)
    for name, values in products_of_cut(factorization, planned).items():
        workspace.create(name, values.shape, values.shape, values.dtype)
        workspace.write(name, (slice(None),), values)
    assert planned.split is not None
    shape = (planned.split.u, planned.split.q, 2)
    workspace.create("errors", shape, shape, np.float64)
    job = FactorizationJob(source, planned, workspace)
    job.workspace.create(done_name("verify"), (len(planned.tiles), fields), (1, fields), np.float64)
    tasks = [(number, VerifyTask(tile)) for number, tile in enumerate(planned.tiles)]
    with ProgressBar(progress) as bar:
        run_under_bar(bar, engine, job, "verify", tasks)
    errors = job.workspace.read("errors", (slice(None),))
    energy, residual = (total_of(errors[..., k]) for k in range(2))
    found = VerifiedError(energy_ratio(residual, energy))
    found.norm = math.sqrt(energy)
    return found


def products_of_cut(factorization: Factorization, planned: Plan) -> dict[str, NDArray[Any]]:
    """Columns X and rows B of the root cut of a plan, in storage order: every block of the product is one of each.

    Parameters
    ----------
    factorization : Factorization
        With the chain of the plan.
    planned : Plan
        Its cut.

    Returns
    -------
    dict of array
        ``"X"`` of shape (u, q, r, p) and ``"B"`` of shape (u, q, r, v).
    """
    assert planned.split is not None
    assert isinstance(planned.tree, tuple)
    _, u, q, _, rank = planned.split
    root = planned.layout.root
    _, left_chain, right_chain = planned.chain.cut(root)
    factors = [values[None] for values in factorization.ks_values]
    left = multiply_stack([part_left(f, u) for f in factors[:root]], left_chain, planned.tree[0])
    right = multiply_stack([part_right(f, q) for f in factors[root:]], right_chain, planned.tree[1])
    x, b = left_rows(left, rank), right_rows(right, q, rank)[0].transpose(1, 0, 2, 3)
    return {"X": _in_storage_order(x, planned, planned.rows), "B": _in_storage_order(b, planned, planned.cols)}


def _in_storage_order(values: NDArray[Any], planned: Plan, member_axis: Axis) -> NDArray[Any]:
    orders = {0: planned.rows.group_order, 1: planned.cols.group_order, 3: member_axis.member_order}
    for axis, order in orders.items():
        if order is not None:
            values = np.take(values, np.argsort(order), axis=axis)
    return values
