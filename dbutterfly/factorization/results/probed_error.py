r"""The error of an approximation of an operator, estimated from products of both with the same random vectors.

For a vector w of independent normal numbers, ``||D w||^2`` has the mean ``||D||_F^2`` whatever the matrix D, and the
variance ``2 ||D^H D||_F^2`` (half of it for complex w): at most ``2 ||D||_F^4``, and less by the number of directions
over which D is spread. The mean of n such squares is therefore unbiased, whether or not anything is known of D, and
their scatter says how far it may be off (Hutchinson, "A stochastic estimator of the trace of the influence matrix",
Communications in Statistics 18, 1989; Martinsson and Tropp, "Randomized numerical linear algebra", Acta Numerica 29,
2020, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...sources.operators import OperatorSource
from ...sources.probes import ERROR_STREAM, normal_vectors

__all__ = ["PROBES", "ProbedError", "probed_error"]

PROBES = 32
"""Products from which an error is estimated: to 25 percent of its square, or better, whatever the error."""


class ProbedError(NamedTuple):
    """Estimates, each unbiased.

    Attributes
    ----------
    error : float
        Relative Frobenius error: the root of ``residual / energy``.
    deviation : float
        Standard deviation of the error, from the scatter of the products (inf for a single one).
    residual, energy : float
        ``||Z - product||^2`` and ``||Z||^2``.
    probes : int
        Products with the operator that were taken.
    """

    error: float
    deviation: float
    residual: float
    energy: float
    probes: int


def probed_error(
    source: OperatorSource,
    product: Callable[[NDArray[Any]], NDArray[Any]],
    *,
    probes: int = PROBES,
    seed: int = 0,
) -> ProbedError:
    """Estimate the relative error ``||Z - product|| / ||Z||``.

    Parameters
    ----------
    source : OperatorSource
        The operator Z.
    product : callable
        What approximates it: maps vectors (N, m) to products (M, m), such as ``factorization.operator.matmat``.
    probes : int
        Number of vectors, at least one.
    seed : int
        Their seed.

    Returns
    -------
    ProbedError
        The deviation is that of a ratio estimate, by linearization (Cochran, Sampling Techniques, section 6.4).

    Raises
    ------
    SourceError
        If the operator fails, or a product with it holds NaN or infinities.
    """
    squares = np.concatenate([_squares(source, product, part, seed) for part in _batches(probes, source.batch)])
    energies, residuals = squares.T
    energy, residual = float(energies.mean()), float(residuals.mean())
    if energy == 0 or residual == 0:
        missed = math.inf if residual else 0.0
        return ProbedError(missed, missed, residual, energy, probes)
    ratio = residual / energy
    spread = float(np.var(residuals - ratio * energies, ddof=1)) if probes > 1 else math.inf
    error = math.sqrt(ratio)
    return ProbedError(error, math.sqrt(spread / probes) / energy / (2 * error), residual, energy, probes)


def _batches(count: int, size: int) -> list[range]:
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def _squares(
    source: OperatorSource, product: Callable[[NDArray[Any]], NDArray[Any]], numbers: range, seed: int
) -> NDArray[np.float64]:
    """Squared norms of ``Z w`` and of ``(Z - product) w``, shape (len(numbers), 2)."""
    drawn = [normal_vectors(seed, ERROR_STREAM, number, (source.shape[1],), source.dtype) for number in numbers]
    vectors = np.stack(drawn, axis=1)
    exact = source.forward(vectors)
    if not np.isfinite(exact).all():
        row, column = (int(index) for index in np.argwhere(~np.isfinite(exact))[0])
        raise SourceError(
            f"{source.name}: matmat of a vector of normal numbers (number {numbers[column]}) holds a NaN or an "
            f"infinity in row {row}; the operator holds such entries, or some too large to be multiplied in "
            f"{source.dtype}"
        )
    pair = exact, exact - product(vectors)
    return np.stack([np.sum(np.abs(part).astype(np.float64) ** 2, axis=0) for part in pair], axis=-1)
