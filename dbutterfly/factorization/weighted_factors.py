"""Factors of a weighted matrix and of the matrix itself: the outermost ones are divided, or multiplied, by weights.

Inside a run, factors and certificate are those of ``D1 Z D2``. A diagonal on the left of a product is one on the left
of its first factor, whose rows are those of the product, and likewise on the right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..structure.chain import Chain
from ..structure.orderings import GAP, Orderings
from ..structure.weights import ScaledWeights, Weights
from .results.certificate import Certificate, rounding_of_products
from .results.factorization import Factorization

__all__ = [
    "allow_for_rounding",
    "divide_by_weights",
    "multiply_by_weights",
    "out_of_range",
    "scale_outer",
    "unweigh_certificate",
]

ROUNDED_FACTORS = 2
"""Factors whose roundings are as large as those of weights: an entry of the matrix, and a value of each outer factor,
are rounded twice at most, and weights once when they are converted to the dtype of the factors."""


def divide_by_weights(found: Factorization, weights: Weights | None) -> Factorization:
    """Factorization of a matrix, from that of the weighted matrix.

    Parameters
    ----------
    found : Factorization
        What a run has made of the weighted matrix.
    weights : Weights or None
        The weights; None leaves it as it is.

    Raises
    ------
    InputError
        If values leave the range of the dtype.
    """
    if weights is None:
        return found
    factors = scale_outer(found.ks_values, found.chain, found.orderings, weights.scaled(found.dtype), np.divide)
    if not all(np.isfinite(values).all() for values in (factors[0], factors[-1])):
        raise InputError(out_of_range(weights, found.dtype))
    certificate = unweigh_certificate(allow_for_rounding(found.certificate, found.chain, found.dtype), weights)
    return replace(found, ks_values=factors, certificate=certificate, weights=weights)


def out_of_range(weights: Weights, dtype: np.dtype[Any]) -> str:
    """What is wrong where weights take the factors of a matrix out of the range of their dtype."""
    return (
        f"weights={weights} take the factors of this matrix out of the range of {dtype}; raise the smallest ones, "
        "scale the matrix, or convert it to double precision"
    )


def unweigh_certificate(certificate: Certificate, weights: Weights) -> Certificate:
    """Certificate that says that errors count by weights, with the norm of the matrix with these."""
    return replace(certificate, norm=weights.unscale(certificate.norm), weighted=True)


def multiply_by_weights(found: Factorization, dtype: np.dtype[Any]) -> Factorization:
    """Factorization whose operator approximates the weighted matrix, from one that approximates the matrix.

    Parameters
    ----------
    found : Factorization
        With weights, or without, as which it is left.
    dtype : numpy.dtype
        In which the matrix is computed, to which it will be compared.
    """
    if found.weights is None:
        return found
    weights = found.weights.scaled(np.result_type(found.dtype, dtype))
    factors = scale_outer(found.ks_values, found.chain, found.orderings, weights, np.multiply)
    return replace(found, ks_values=factors)


def scale_outer(
    ks_values: Sequence[NDArray[Any]],
    chain: Chain,
    orderings: Orderings,
    weights: ScaledWeights,
    scale: Callable[..., Any],
) -> tuple[NDArray[Any], ...]:
    """Multiply, or divide, the rows of the first factor and the columns of the last one.

    Parameters
    ----------
    ks_values : sequence of ndarray, shapes (..., a, b, c, d)
        Factors of one matrix, or of several.
    chain, orderings : Chain, Orderings
        Patterns of the factors, and the orderings of the matrix.
    weights : pair of ndarray or None
        What to multiply rows and columns by.
    scale : callable
        ``numpy.multiply`` or ``numpy.divide``.
    """
    factors = list(ks_values)
    (a, b, _, d), (a2, _, c2, d2) = chain.patterns[0], chain.patterns[-1]
    shapes = (0, (a, b, 1, d)), (-1, (a2, 1, c2, d2))
    for (at, shape), side, order in zip(shapes, weights, orderings.permutations(chain), strict=True):
        if side is not None:
            placed = side if order is None else np.where(order == GAP, side.dtype.type(1), side[order])
            with np.errstate(over="ignore"):  # infinities are looked for
                factors[at] = scale(factors[at], placed.reshape(shape))
    return tuple(factors)


def allow_for_rounding(certificate: Certificate, chain: Chain, dtype: np.dtype[Any]) -> Certificate:
    """Bounds that hold although weights, the weighted matrix and the divided factors are rounded; estimates stay."""
    if not certificate.proven or certificate.norm == 0:
        return certificate
    rounding = rounding_of_products(ROUNDED_FACTORS, chain.rank, float(np.finfo(dtype).eps))
    error, lower = certificate.error_bound + rounding, max(certificate.lower_bound - rounding, 0.0)
    return replace(certificate, error_bound=error, lower_bound=lower)
