"""Factors made of others: transposed, fused, of another dtype, of lower ranks, or multiplied out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import ChainError, InputError
from ..kernels.factors.rounding import round_product
from ..kernels.products.fusion import fuse_factors
from ..kernels.products.ksmm import dense_product
from ..sources.entries import check_dtype
from ..sources.exponents import COMFORTABLE, exponent_of, largest_part, shift_exponents
from ..structure.arguments import read_count, read_number
from ..structure.chain import Chain
from ..structure.fusion import segments_of_count
from ..structure.orderings import GAP, Side
from ..structure.padding import inverse_order
from .checks import Index

__all__ = [
    "chainable_factors",
    "clear_gaps",
    "convert_factors",
    "dense_matrix",
    "fuse_neighbours",
    "fuse_segments",
    "prune_factors",
    "shift_factors",
    "transpose_factors",
]


def transpose_factors(factors: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Factors of the transpose, as views."""
    return tuple(values.swapaxes(1, 2) for values in reversed(factors))


def clear_gaps(factors: tuple[NDArray[Any], ...], rows: Side, cols: Side) -> tuple[NDArray[Any], ...]:
    """Factors whose product is zero at gaps, where its values mean nothing: of the outer two, with copies.

    Parameters
    ----------
    factors : tuple of ndarray
        Factors from left to right.
    rows, cols : Side
        Orderings of the two sides, of which index arrays have -1 at gaps.
    """
    first, last = factors[0], factors[-1]
    (a, b, _, d), (a2, _, c2, d2) = first.shape, last.shape
    if isinstance(rows, np.ndarray) and (rows == GAP).any():
        factors = (_clear(first, (rows != GAP).reshape(a, b, 1, d)), *factors[1:])
    if isinstance(cols, np.ndarray) and (cols == GAP).any():
        factors = (*factors[:-1], _clear(factors[-1], (cols != GAP).reshape(a2, 1, c2, d2)))
    return factors


def _clear(values: NDArray[Any], is_kept: NDArray[np.bool_]) -> NDArray[Any]:
    cleared = np.where(is_kept, values, values.dtype.type(0))
    return values if np.array_equal(cleared, values) else cleared


def chainable_factors(ks_values: Sequence[NDArray[Any]], chain: Chain) -> tuple[tuple[NDArray[Any], ...], Chain, bool]:
    """Factors of a matrix, or of its transpose where only that chain is chainable.

    Returns
    -------
    tuple of ndarray
        Factors.
    Chain
        Their chain, which is chainable if either of the two is.
    bool
        Whether they are those of the transpose.
    """
    if chain.ranks is None and chain.T.ranks is not None:
        return transpose_factors(ks_values), chain.T, True
    return tuple(ks_values), chain, False


def fuse_neighbours(ks_values: Sequence[NDArray[Any]], chain: Chain, n: int) -> list[NDArray[Any]]:
    """Multiply neighbours together until ``n`` factors are left; see :meth:`dbutterfly.ButterflyOperator.fuse`."""
    groups = segments_of_count(chain.patterns, read_count("n", n, least=0, remedy="it is a number of factors"))
    return fuse_segments(ks_values, groups)


def fuse_segments(ks_values: Sequence[NDArray[Any]], segments: Sequence[range]) -> list[NDArray[Any]]:
    """Multiply the neighbours of each segment together."""
    return [np.ascontiguousarray(fuse_factors([ks_values[index] for index in segment])) for segment in segments]


def convert_factors(ks_values: Sequence[NDArray[Any]], dtype: DTypeLike) -> list[NDArray[Any]]:
    """Convert factors to another dtype; see :meth:`dbutterfly.ButterflyOperator.astype`."""
    wanted, common = check_dtype(dtype), np.result_type(*ks_values)
    if common.kind == "c" and wanted.kind != "c":
        raise InputError(f"dtype={wanted} would lose the imaginary parts of an operator of dtype {common}")
    return [values.astype(wanted) for values in ks_values]


def prune_factors(
    ks_values: Sequence[NDArray[Any]], chain: Chain, tol: float
) -> tuple[Sequence[NDArray[Any]], bool] | None:
    """Lower the ranks of the junctions; see :meth:`dbutterfly.ButterflyOperator.prune`.

    Returns
    -------
    (sequence of ndarray, bool) or None
        Factors of the least ranks, and whether they are those of the transpose, as in :func:`chainable_factors`; None
        if no rank can be lowered.
    """
    remedy = "use a number from 0 to 1, such as 1e-6"
    tol = read_number("tol", tol, least=0, most=1, fault="is no relative error", remedy=remedy)
    factors, chain, is_transposed = chainable_factors(ks_values, chain)
    if chain.ranks is None:
        raise ChainError(f"{chain!r} is not chainable, so its junctions have no ranks to lower")
    exponents = [exponent_of(largest_part(values)) for values in factors]
    if abs(sum(exponents)) <= COMFORTABLE[factors[0].dtype.name]:
        exponents = [0] * len(factors)  # squares of the product are in range
    kept, _ = round_product(shift_factors(factors, [-exponent for exponent in exponents]), chain, tol)
    kept = shift_factors(kept, exponents)
    if Chain([values.shape for values in kept]) == chain:
        return None
    return kept, is_transposed


def shift_factors(factors: Sequence[NDArray[Any]], exponents: Sequence[int]) -> list[NDArray[Any]]:
    """Multiply each factor by a power of two."""
    return [
        shift_exponents(values, exponent) if exponent else values
        for values, exponent in zip(factors, exponents, strict=True)
    ]


def dense_matrix(ks_values: Sequence[NDArray[Any]], rows: Index | None, cols: Index | None) -> NDArray[Any]:
    """Multiply factors out, and undo the orderings; see :meth:`dbutterfly.ButterflyOperator.to_dense`."""
    product: NDArray[Any] = dense_product(ks_values)
    for axis, index in enumerate((rows, cols)):
        if index is not None:
            product = np.take(product, inverse_order(index), axis=axis)
    return product
