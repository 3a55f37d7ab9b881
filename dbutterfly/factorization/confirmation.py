"""An estimated error, confirmed: all of the matrix is looked at once."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..execution.engine import Engine
from ..sources.base import MatrixSource
from .compare import compare_tiles
from .request import Request
from .results.certificate import Certificate, rounding_of_products
from .results.factorization import Factorization
from .scaled_factors import divide_by_power
from .weighted_factors import multiply_by_weights

__all__ = ["confirm_result"]


def confirm_result(result: Factorization, source: MatrixSource, request: Request, engine: Engine) -> Factorization:
    """Replace the estimate of an error by the error itself, where that was asked for.

    Parameters
    ----------
    result : Factorization
        What came out. One whose error is proven stays as it is.
    source : MatrixSource
        The matrix, with its weights.
    request : Request
        What was asked for.
    engine : Engine
        Where all entries are compared.
    """
    if request.confirm is None or result.certificate.proven:
        return result
    weighted = multiply_by_weights(result, np.dtype(source.info.work_dtype))
    compared = divide_by_power(weighted, source.exponent)
    error = compare_tiles(compared, source, engine, request.memory, request.progress)
    eps = float(np.finfo(result.dtype).eps)
    rounding = rounding_of_products(len(result.chain), result.chain.rank, eps)
    certificate = Certificate(
        float(error) + rounding,
        0.0,
        True,
        math.ldexp(error.norm or 0.0, source.exponent),
        weighted=result.certificate.weighted,
    )
    return replace(result, certificate=certificate)
