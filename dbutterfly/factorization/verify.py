"""Measure the error of a factorization against the matrix, streamed in full or on some of its rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..execution.arguments import read_arguments
from ..execution.choose import choose_engine
from ..execution.clusters import on_cluster
from ..execution.engine import Engine
from ..sources.base import MatrixSource
from ..sources.dispatch import as_source
from ..sources.operators import OperatorSource
from ..sources.stacks.dispatch import open_matrices
from .compare import compare_factors, compare_in_range, compare_tiles
from .results.estimates import (
    ROWS_AT_A_TIME,
    VerifiedError,
    error_of_products,
    error_of_rows,
    rows_of_factors,
    rows_of_operator,
)
from .results.factorization import Factorization
from .results.hierarchical import HierarchicalFactorization
from .results.opening import read_result
from .results.stacked import StackedFactorization
from .results.verified_stack import VerifiedStack
from .stacked.verify import verify_stack

__all__ = ["verify"]


@read_arguments(factorization=read_result)
@on_cluster
def verify(
    factorization: Factorization | HierarchicalFactorization | StackedFactorization,
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
) -> VerifiedError | VerifiedStack:
    """Measure the relative Frobenius error ``||Z - product|| / ||Z||`` of a factorization.

    Of one with weights it is ``||D1 (Z - product) D2|| / ||D1 Z D2||``, with the weights as diagonal matrices.

    Parameters
    ----------
    factorization : Factorization, HierarchicalFactorization or StackedFactorization
        What to verify, or the place of a complete run, which is opened.
    source : array_like, zarr.Array, path, ...
        The matrix Z, or the stack of matrices, as for :func:`dbutterfly.factorize`.
    samples : int, optional
        Number of rows to compare, drawn at random without replacement; by default all of Z is read. Of a linear
        operator, number of products with random vectors; by default products with unit vectors give all entries. Of a
        stack, as many of each matrix.
    seed : int
        Seed of the draw.
    client, cluster, memory, workers, decode, progress
        As for :func:`dbutterfly.factorize`. The hierarchical form is compared by this process alone, and so are rows of
        the matrices of a stack.

    Returns
    -------
    VerifiedError or VerifiedStack
        A float; ``.exact`` says whether all of Z was read, ``.deviation`` how uncertain an estimate is, and
        ``.weighted`` whether it counts by weights. Of a stack, one for each matrix that has factors, each matrix being
        read once.

    Raises
    ------
    InputError
        If the matrix has another shape, holds NaN or infinities, or ``samples`` is not positive. Of a stack, the
        message names the first such matrix.
    """
    choose = partial(choose_engine, client, workers, cluster)
    given: dict[str, Any] = {"memory": memory, "progress": progress}
    options = {"choose": choose, "samples": samples, "seed": seed, **given}
    if isinstance(factorization, StackedFactorization):
        stack, one = open_matrices(source, decode=decode), partial(_verify_matrix, **options)
        return verify_stack(factorization, stack, choose(), one, is_sampled=samples is not None, **given)
    return _verify_matrix(factorization, as_source(source, decode=decode), **options)


def _verify_matrix(
    factorization: Factorization | HierarchicalFactorization,
    source: MatrixSource,
    *,
    choose: Callable[[], Engine],
    samples: int | None,
    seed: int,
    memory: int | None,
    progress: bool,
) -> VerifiedError:
    """Measure the error of the factorization of one matrix."""
    if source.shape != factorization.shape:
        raise InputError(f"source has shape {source.shape} but the factorization is of a {factorization.shape} matrix")
    if samples is not None and isinstance(source, OperatorSource) and samples >= source.shape[1]:
        samples = None  # products with unit vectors are no more, and give all entries
    if isinstance(factorization, HierarchicalFactorization):
        return _verify_blocks(factorization, source, samples, seed)

    def compare(product: Factorization, source: MatrixSource) -> VerifiedError:
        if samples is None and len(product.chain) > 1:
            return compare_tiles(product, source, choose(), memory, progress)
        if samples is not None and isinstance(source, OperatorSource):
            return error_of_products(product.operator, source, samples, seed)
        return error_of_rows(rows_of_factors(product), source, samples, seed)

    return compare_factors(factorization, source, compare)


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

    return compare_in_range(compare, source)
