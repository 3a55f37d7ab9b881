"""What a proof is about: a matrix and the factors of its factorization, in double precision and a safe range."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, MemoryBudgetError
from ...execution.engine import Engine
from ...kernels.linalg import SUBTRACTED, squared_norms
from ...planning.sizes import format_bytes
from ...sources.base import MatrixSource
from ...structure.axes import axes_of_whole
from ...structure.chain import Chain, Cut
from ...structure.padding import Placement, place
from ..results.factorization import Factorization
from ..stationary import COPIES
from ..sweeps import read_in_standard_order
from ..weighted_factors import multiply_by_weights
from .bound import EPS

__all__ = ["Subject", "check_memory", "cuts_of", "describe_cost", "read_subject"]

MORE_MATRICES = 9
"""Matrices of the size of Z beside the targets: Z, its product, the multiplier, and what a step and conjugate gradients
hold besides."""

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

    @property
    def largest_norm(self) -> float:
        """Bound on the norm, whose squares were rounded when they were summed."""
        return self.norm * (1 + SUBTRACTED * EPS)


def cuts_of(chain: Chain) -> list[Cut]:
    """All cuts of a chain, from left to right."""
    return [chain.cut(position)[0] for position in range(1, len(chain))]


def _bytes_needed(chain: Chain, dtype: np.dtype[Any]) -> int:
    matrices = max(COPIES, len(chain) - 1 + MORE_MATRICES)
    return matrices * math.prod(chain.shape) * np.result_type(dtype, np.float64).itemsize


def describe_cost(chain: Chain, dtype: np.dtype[Any]) -> str:
    """Line of a plan that says what a proof will take."""
    needed = format_bytes(_bytes_needed(chain, dtype))
    return f"proof: all cuts together ({len(chain) - 1}), {needed} in memory; the matrix is read once more"


def check_memory(chain: Chain, dtype: np.dtype[Any], engine: Engine, memory: int | None) -> None:
    """Refuse a proof for a matrix that memory does not hold often enough.

    Raises
    ------
    MemoryBudgetError
        If that is so.
    """
    needed, budget = _bytes_needed(chain, dtype), engine.budget(memory)
    allowed = budget.memory * (budget.workers if engine.in_this_process else 1)
    if needed > allowed:
        enough = -(-needed // (budget.workers if engine.in_this_process else 1))
        raise MemoryBudgetError(
            f"a proof works in memory and needs {format_bytes(needed)} for {len(chain) - 1} cuts of this matrix, of "
            f"{format_bytes(allowed)}; leave it out, for the bound of the run, or give memory={enough}"
        )


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
    factors = [values.astype(matrix.dtype)[None] for values in multiply_by_weights(found, given.dtype).ks_values]
    factors[0] = _scale(factors[0], -exponent)
    norm = math.sqrt(math.fsum(squared_norms(matrix)))
    _check_norm(found, source, norm, exponent)
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


def _check_norm(found: Factorization, source: MatrixSource, norm: float, exponent: int) -> None:
    """Raise InputError if the norm of a matrix is known to be another one than that of the factorization."""
    certificate = found.certificate
    known = certificate.norm if found.weights is None else certificate.norm / found.weights.unscale(1.0)
    here = math.ldexp(norm, exponent)
    if certificate.proven and not abs(here - known) <= OTHER_MATRIX * max(here, known):
        raise InputError(
            f"{source.name} has norm {here:.6g} but the factorization is of a matrix of norm {known:.6g}; pass the "
            "matrix that was factorized"
        )
