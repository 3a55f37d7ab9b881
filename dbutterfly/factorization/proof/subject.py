"""What a proof is about: a matrix and the factors of its factorization, in double precision and a safe range."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...execution.engine import Engine
from ...kernels.linalg import squared_norms
from ...sources.base import MatrixSource
from ...structure.axes import axes_of_whole
from ...structure.chain import Chain, Cut
from ...structure.padding import Placement, place
from ..results.factorization import Factorization
from ..scaled_factors import share_power
from ..sweeps import read_in_standard_order
from ..weighted_factors import multiply_by_weights

__all__ = ["Subject", "check_norm", "cuts_of", "read_subject"]

OTHER_MATRIX = 1e-3
"""Difference of norms, relative to them, by which a matrix is known not to be that of a factorization. Not tuned: above
the rounding of sums in single precision."""


class Subject(NamedTuple):
    """Matrix and factors, both divided by the same power of two.

    Attributes
    ----------
    matrix : array of float64 or complex128, shape (m, n)
        The matrix Z as the chain takes it, with its weights; no entry is above one.
    factors : list of array, shapes (1, a, b, c, d)
        Factors of the factorization, in its dtype.
    norm : float
        ``||Z||`` of the matrix here.
    exponent : int
        Power of two by which matrix and factors were divided.
    """

    matrix: NDArray[Any]
    factors: list[NDArray[Any]]
    norm: float
    exponent: int


def cuts_of(chain: Chain) -> list[Cut]:
    """All cuts of a chain, from left to right."""
    return [chain.cut(position)[0] for position in range(1, len(chain))]


def read_subject(found: Factorization, source: MatrixSource, engine: Engine) -> Subject:
    """Read a matrix, and bring it and the factors into a safe range.

    Raises
    ------
    InputError
        If the matrix is not finite, or not that of the factorization.
    """
    placed = place(found.orderings.for_chain(found.chain), source.shape, found.chain)
    with engine.calls(source, f"reading {source.name}") as calls:
        (given,) = calls.in_order(_read, [(found.chain, placed)])
    _check_finite(given, source, found.chain, placed)
    largest = float(np.max(np.abs(given), initial=0.0))
    exponent = math.frexp(largest)[1]
    matrix = _scale(given.astype(np.result_type(given.dtype, np.float64)), -exponent)
    wide = [values.astype(matrix.dtype) for values in multiply_by_weights(found, given.dtype).ks_values]
    factors = [values[None] for values in share_power(wide, -exponent)]
    norm = math.sqrt(math.fsum(squared_norms(matrix)))
    check_norm(found, source, math.ldexp(norm, exponent))
    return Subject(matrix, factors, norm, exponent)


def _read(source: MatrixSource, given: tuple[Chain, Placement]) -> NDArray[Any]:
    return read_in_standard_order(source, *given)


def _scale(values: NDArray[Any], exponent: int) -> NDArray[Any]:
    """Multiply by a power of two, in two steps, of which each stays in the range."""
    half = exponent // 2
    scaled: NDArray[Any] = values * math.ldexp(1.0, half) * math.ldexp(1.0, exponent - half)
    return scaled


def _check_finite(given: NDArray[Any], source: MatrixSource, chain: Chain, placed: Placement) -> None:
    """Raise the error of the first entry that is not finite, if there is one."""
    bad = np.argwhere(~np.isfinite(given))
    if not len(bad):
        return
    rows, cols = axes_of_whole(chain, placed, source.edges)
    raise source.non_finite_error((int(rows.rows(0, 1)[bad[0][0]]), int(cols.rows(0, 1)[bad[0][1]])))


def check_norm(found: Factorization, source: MatrixSource, norm: float) -> None:
    """Raise InputError if the norm of a matrix is known to be another one than that of the factorization."""
    certificate = found.certificate
    scale = 1.0 if found.weights is None else found.weights.unscale(1.0)
    known = certificate.norm / scale if scale else math.inf
    if not math.isfinite(known) or not math.isfinite(scale):  # beyond double precision, which the norm itself was not
        return
    if certificate.proven and not abs(norm - known) <= OTHER_MATRIX * max(norm, known):
        raise InputError(
            f"{source.name} has norm {norm:.6g} but the factorization is of a matrix of norm {known:.6g}; pass the "
            "matrix that was factorized"
        )
