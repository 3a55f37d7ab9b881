"""Factors of a matrix that was divided by a power of two, and of the matrix itself: all of them share the power.

Inside a run, factors and certificate are those of ``2^-e Z``. In the end each factor is multiplied by its part of
``2^e``, which is as large as those of the others: no factor leaves the range where the product does not, and products
with vectors come near the ends of the range as late as can be.

To multiply by a power of two rounds nothing but what becomes subnormal. Values of factors that do are below the root of
the smallest number of the dtype, relative to the largest, which is below any rounding. Entries of the product may be
subnormal themselves. They become so in the last multiplication only, in which an entry is a sum of as many products as
the rank, each of which is off by half of the spacing of these numbers, or by the spacing where it is complex. The
bounds allow for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import RangeError
from ..sources.exponents import COMFORTABLE, exponent_of, shift_exponents
from ..structure.chain import Chain
from .results.certificate import Certificate
from .results.factorization import Factorization

__all__ = [
    "divide_by_power",
    "error_of_subnormals",
    "exponent_of_result",
    "multiply_by_power",
    "scale_certificate",
    "share_power",
]


def multiply_by_power(found: Factorization, exponent: int) -> Factorization:
    """Factorization of a matrix, from that of the matrix divided by a power of two.

    Parameters
    ----------
    found : Factorization
        What a run has made of ``2^-exponent Z``.
    exponent : int
        The power.

    Raises
    ------
    RangeError
        If the norm of Z is no number of double precision, or a factor leaves the range of its dtype.
    """
    if exponent == 0:
        return found
    factors = share_power(found.ks_values, exponent)
    certificate = scale_certificate(found.certificate, exponent, found.chain, found.shape, found.dtype)
    if not (math.isfinite(certificate.norm) and all(np.isfinite(values).all() for values in factors)):
        raise RangeError(
            f"the matrix has the norm {found.certificate.norm:.3g} * 2^{exponent}, which leaves the range of double "
            f"precision, or takes the factors out of that of {found.dtype}; scale the matrix",
            exponent,
        )
    return replace(found, ks_values=factors, certificate=certificate, record={**found.record, "exponent": exponent})


def divide_by_power(found: Factorization, exponent: int) -> Factorization:
    """Factorization whose operator approximates a matrix divided by a power of two: inverse, but for its bounds."""
    return found if exponent == 0 else replace(found, ks_values=share_power(found.ks_values, -exponent))


def error_of_subnormals(rank: int, shape: tuple[int, int], dtype: np.dtype[Any], exponent: int) -> float:
    """Norm, divided by a power of two as the matrix is, of what a product is off by since entries may be subnormal."""
    spacing = math.ldexp(float(np.finfo(dtype).smallest_subnormal), -exponent)
    return 2 * rank * math.sqrt(math.prod(shape)) * spacing


def exponent_of_result(found: Factorization) -> int:
    """Power of two by which a matrix is divided that is compared with its factors; 0 where its squares are in range."""
    norm = found.certificate.norm
    if found.weights is not None:
        norm = found.weights.rescale(norm)
    exponent = exponent_of(norm)
    return exponent if abs(exponent) > COMFORTABLE[found.dtype.name] else 0


def share_power(factors: Sequence[NDArray[Any]], exponent: int) -> tuple[NDArray[Any], ...]:
    """Multiply the product of factors by a power of two, of which each factor takes about the same part."""
    ends = [exponent * number // len(factors) for number in range(len(factors) + 1)]
    parts = zip(factors, itertools.pairwise(ends), strict=True)
    return tuple(shift_exponents(values, last - first) for values, (first, last) in parts)


def scale_certificate(
    certificate: Certificate, exponent: int, chain: Chain, shape: tuple[int, int], dtype: np.dtype[Any]
) -> Certificate:
    """Certificate of a matrix, from that of the matrix divided by a power of two.

    Its bounds hold although entries of the product may be subnormal numbers; estimates stay. The norm is infinite where
    it is out of range.
    """
    with np.errstate(over="ignore"):
        norm = float(np.ldexp(certificate.norm, exponent))
    if not certificate.proven or certificate.norm == 0:
        return replace(certificate, norm=norm)
    off = error_of_subnormals(chain.rank, shape, dtype, exponent) / certificate.norm
    error, lower = certificate.error_bound + off, max(certificate.lower_bound - off, 0.0)
    return replace(certificate, norm=norm, error_bound=error, lower_bound=lower)
