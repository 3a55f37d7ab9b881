"""Measure the error of a factorization against the matrix, streamed in full or on some of its rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, RangeError
from ..execution.arguments import read_arguments
from ..execution.choose import choose_engine
from ..execution.clusters import on_cluster
from ..execution.engine import Engine
from ..execution.progress import ProgressBar, run_under_bar
from ..execution.task import Record, done_name
from ..kernels.factors.hierarchy import multiply_stack, part_left, part_right
from ..kernels.factors.nodes import left_rows, right_rows
from ..planning.plan import Plan
from ..planning.search import make_plan
from ..sources.base import MatrixSource
from ..sources.dispatch import as_source
from ..sources.operators import OperatorSource
from ..sources.weighted import rescale, weigh
from ..storage.workspace import MemoryWorkspace
from ..structure.axes import Axis
from .job import FactorizationJob
from .results.estimates import (
    ROWS_AT_A_TIME,
    VerifiedError,
    energy_ratio,
    error_of_products,
    error_of_rows,
    rows_of_factors,
    rows_of_operator,
)
from .results.factorization import Factorization
from .results.hierarchical import HierarchicalFactorization
from .results.opening import read_result
from .scaled_factors import divide_by_power, exponent_of_result
from .tasks.verification import VerifyTask
from .weighted_factors import multiply_by_weights

__all__ = ["VerifiedError", "compare_tiles", "products_of_cut", "verify"]


@read_arguments(factorization=read_result)
@on_cluster
def verify(
    factorization: Factorization | HierarchicalFactorization,
    source: Any,
    *,
    samples: int | None = None,
    seed: int = 0,
    client: Any = None,
    cluster: Any = None,
    memory: int | str | None = None,
    workers: int | None = None,
    decode: bool = True,
    progress: bool = False,
) -> VerifiedError:
    """Measure the relative Frobenius error ``||Z - product|| / ||Z||`` of a factorization.

    Of one with weights it is ``||D1 (Z - product) D2|| / ||D1 Z D2||``, with the weights as diagonal matrices.

    Parameters
    ----------
    factorization : Factorization or HierarchicalFactorization
        What to verify, or the place of a complete run, which is opened.
    source : array_like, zarr.Array, path, ...
        The matrix Z, as for :func:`dbutterfly.factorize`.
    samples : int, optional
        Number of rows to compare, drawn at random without replacement; by default all of Z is read. Of a linear
        operator, number of products with random vectors; by default products with unit vectors give all entries.
    seed : int
        Seed of the draw.
    client, cluster, memory, workers, decode, progress
        As for :func:`dbutterfly.factorize`. The hierarchical form is compared by this process alone.

    Returns
    -------
    VerifiedError
        A float; ``.exact`` says whether all of Z was read, ``.deviation`` how uncertain an estimate is, and
        ``.weighted`` whether it counts by weights.

    Raises
    ------
    InputError
        If the matrix has another shape, holds NaN or infinities, or ``samples`` is not positive.
    """
    wrapped = as_source(source, decode=decode)
    if wrapped.shape != factorization.shape:
        raise InputError(f"source has shape {wrapped.shape} but the factorization is of a {factorization.shape} matrix")
    if samples is not None and isinstance(wrapped, OperatorSource) and samples >= wrapped.shape[1]:
        samples = None  # products with unit vectors are no more, and give all entries
    if isinstance(factorization, HierarchicalFactorization):
        return _verify_blocks(factorization, wrapped, samples, seed)
    wrapped = weigh(wrapped, factorization.weights)
    compared = multiply_by_weights(factorization, np.dtype(wrapped.info.work_dtype))

    def compare(source: MatrixSource) -> VerifiedError:
        product = divide_by_power(compared, source.exponent)
        if samples is None and len(factorization.chain) > 1:
            engine = choose_engine(client, workers, cluster)
            return compare_tiles(product, source, engine, memory, progress)  # type: ignore[arg-type]  # it was read
        if samples is not None and isinstance(source, OperatorSource):
            return error_of_products(product.operator, source, samples, seed)
        return error_of_rows(rows_of_factors(product), source, samples, seed)

    error = _compare_in_range(compare, rescale(wrapped, exponent_of_result(factorization)))
    error.weighted = factorization.weights is not None
    return error


def _verify_blocks(
    found: HierarchicalFactorization, source: MatrixSource, samples: int | None, seed: int
) -> VerifiedError:
    """Compare a matrix with blocks of the hierarchical form, some rows at a time."""
    operator, edges = found.operator, source.edges[0]
    height = 1 if edges is None else int(np.diff(edges).max())

    def compare(source: MatrixSource) -> VerifiedError:
        product = operator if source.exponent == 0 else operator * 2.0**-source.exponent
        if samples is not None and isinstance(source, OperatorSource):
            return error_of_products(product, source, samples, seed)
        return error_of_rows(rows_of_operator(product), source, samples, seed, max(ROWS_AT_A_TIME, height))

    return _compare_in_range(compare, source)


def _compare_in_range(compare: Callable[[MatrixSource], VerifiedError], source: MatrixSource) -> VerifiedError:
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
    energy, residual = (math.fsum(errors[..., k].ravel()) for k in range(2))
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
