"""Factors of a weighted matrix and of the matrix itself: the outermost ones are divided, or multiplied, by weights.

Inside a run, factors and certificate are those of ``D1 Z D2``. A diagonal on the left of a product is one on the left
of its first factor, whose rows are those of the product, and likewise on the right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..structure.orderings import GAP
from ..structure.weights import Weights
from .results.certificate import Certificate, rounding_of_products
from .results.factorization import Factorization

__all__ = ["divide_by_weights", "multiply_by_weights"]

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
    factors = _scale_outer(found, weights.scaled(found.dtype), np.divide)
    if not all(np.isfinite(values).all() for values in (factors[0], factors[-1])):
        raise InputError(
            f"weights={weights} take the factors of this matrix out of the range of {found.dtype}; raise the smallest "
            "ones, scale the matrix, or convert it to double precision"
        )
    certificate = _allow_for_rounding(found.certificate, found)
    certificate = replace(certificate, norm=weights.unscale(certificate.norm), weighted=True)
    return replace(found, ks_values=factors, certificate=certificate, weights=weights)


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
    return replace(found, ks_values=_scale_outer(found, weights, np.multiply))


def _scale_outer(
    found: Factorization, weights: tuple[NDArray[Any] | None, NDArray[Any] | None], scale: Callable[..., Any]
) -> tuple[NDArray[Any], ...]:
    """Multiply, or divide, the rows of the first factor and the columns of the last one."""
    factors = list(found.ks_values)
    (a, b, _, d), (a2, _, c2, d2) = factors[0].shape, factors[-1].shape
    shapes = (0, (a, b, 1, d)), (-1, (a2, 1, c2, d2))
    for (at, shape), side, order in zip(shapes, weights, found.orderings.permutations(found.chain), strict=True):
        if side is not None:
            placed = side if order is None else np.where(order == GAP, side.dtype.type(1), side[order])
            with np.errstate(over="ignore"):  # infinities are looked for
                factors[at] = scale(factors[at], placed.reshape(shape))
    return tuple(factors)


def _allow_for_rounding(certificate: Certificate, found: Factorization) -> Certificate:
    """Bounds that hold although weights, the weighted matrix and the divided factors are rounded; estimates stay."""
    if not certificate.proven or certificate.norm == 0:
        return certificate
    rounding = rounding_of_products(ROUNDED_FACTORS, found.chain.rank, float(np.finfo(found.dtype).eps))
    error, lower = certificate.error_bound + rounding, max(certificate.lower_bound - rounding, 0.0)
    return replace(certificate, error_bound=error, lower_bound=lower)
