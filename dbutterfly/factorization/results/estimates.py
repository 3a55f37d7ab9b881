"""The error of a factorization, estimated from rows of the matrix drawn at random, or from products."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from ...errors import RangeError
from ...kernels.factors.product_rows import product_rows as multiplied_rows
from ...sources.base import MatrixSource
from ...sources.exponents import exponent_of, largest_energy, largest_part
from ...sources.operators import OperatorSource
from ...structure.axes import Axis, Tile, axis_of_entries
from ...structure.orderings import GAP
from ...structure.padding import inverse_order
from .factorization import Factorization
from .probed_error import probed_error

__all__ = ["VerifiedError", "energy_ratio", "error_of_products", "error_of_rows", "rows_of_factors", "rows_of_operator"]

ROWS_AT_A_TIME = 64

ROW_BYTES = 1 << 25
"""Bytes of rows that are compared at a time: fewer than 64 of them where they are long (at least one)."""


class VerifiedError(float):
    """Relative Frobenius error of a factorization: a float that knows how it was found.

    Attributes
    ----------
    exact : bool
        Whether every entry was compared.
    deviation : float
        Standard deviation of the estimate, 0 where exact.
    samples : int or None
        Rows, or products, that were compared, None for all entries.
    compared : {"rows", "products"}
        What the samples are.
    weighted : bool
        Whether rows and columns count by their weights.
    norm : float or None
        Frobenius norm of the matrix by the rows that were compared; None where it was not found.
    """

    exact: bool
    deviation: float
    samples: int | None
    compared: str
    weighted: bool = False
    norm: float | None = None

    def __new__(cls, value: float, deviation: float = 0.0, samples: int | None = None, compared: str = "rows") -> Self:
        """Make the float and attach how it was found."""
        self = super().__new__(cls, value)
        self.exact, self.deviation, self.samples, self.compared = samples is None, deviation, samples, compared
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the error, and how it was found, as plain values."""
        return {
            "error": float(self),
            "exact": self.exact,
            "deviation": self.deviation,
            "samples": self.samples,
            "compared": self.compared,
            "weighted": self.weighted,
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        value, weighted = float(self), ", weighted" if self.weighted else ""
        if self.exact:
            return f"{value:.6g} (exact{weighted})"
        return f"{value:.6g} +- {self.deviation:.2g} (estimated from {self.samples} {self.compared}{weighted})"


ProductRows: TypeAlias = Callable[[NDArray[np.int64]], Iterable[NDArray[Any]]]
"""Gives some rows of a product by their numbers."""


def rows_of_factors(factorization: Factorization) -> ProductRows:
    """Rows of the product of Kronecker-sparse factors."""
    positions, order = factorization.orderings.permutations(factorization.chain)
    places = None if positions is None else inverse_order(positions)
    there = None if order is None else np.flatnonzero(order != GAP)

    def product_rows(chosen: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
        found = multiplied_rows(
            factorization.ks_values, factorization.chain, chosen if places is None else places[chosen]
        )
        for product in found:
            if there is None or order is None:
                yield product
                continue
            row = np.empty(there.size, product.dtype)
            row[order[there]] = product[there]
            yield row

    return product_rows


def rows_of_operator(operator: LinearOperator) -> ProductRows:
    """Rows of the matrix of an operator, by products of its transpose with unit vectors."""

    def product_rows(chosen: NDArray[np.int64]) -> NDArray[Any]:
        units = np.zeros((operator.shape[0], chosen.size), operator.dtype)
        units[chosen, np.arange(chosen.size)] = 1
        rows: NDArray[Any] = (operator.T @ units).T
        return rows

    return product_rows


def error_of_rows(
    product_rows: ProductRows,
    source: MatrixSource,
    samples: int | None,
    seed: int,
    step: int = ROWS_AT_A_TIME,
) -> VerifiedError:
    """Compare rows of the matrix with those of the product.

    Parameters
    ----------
    product_rows : callable
        Rows of the product, as :func:`rows_of_factors` gives them.
    source : MatrixSource
        The matrix.
    samples : int or None
        Rows, drawn at random without replacement; None compares all of them.
    seed : int
        Seed of the draw.
    step : int
        Most rows that are compared at a time.

    Raises
    ------
    NonFiniteError
        If a NaN or an infinity is met.
    RangeError
        If entries are too large to be squared.
    """
    rows = source.shape[0]
    count = rows if samples is None else min(samples, rows)
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:count]).astype(np.int64)
    energies, residuals = _row_energies(product_rows, source, chosen, step)
    error = _estimate(energies, residuals, rows, sampled=samples is not None)
    error.norm = math.sqrt(math.fsum(energies) * rows / count)
    return error


def error_of_products(operator: LinearOperator, source: OperatorSource, samples: int, seed: int) -> VerifiedError:
    """Compare products of an operator with those of its factors: each product tells of all rows.

    Parameters
    ----------
    operator : LinearOperator
        Product of the factors.
    source : OperatorSource
        The operator that was factorized.
    samples : int
        Vectors, of independent normal numbers.
    seed : int
        Their seed.

    Raises
    ------
    SourceError
        If a product fails, or holds a NaN or an infinity.
    """
    found = probed_error(source, operator.matmat, probes=samples, seed=seed)
    return VerifiedError(found.error, found.deviation, samples, "products")


def _row_energies(
    product_rows: ProductRows, source: MatrixSource, chosen: NDArray[np.int64], step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared norms of the chosen rows of Z and of their residuals."""
    cols = source.shape[1]
    row_axis = axis_of_entries(chosen, source.edges[0])
    col_axis = Axis(cols, 1, False, edges=source.edges[1])
    step = min(step, max(1, ROW_BYTES // (cols * np.dtype(source.info.work_dtype).itemsize)))
    energies, residuals = [], []
    for first in range(0, chosen.size, step):
        last = min(first + step, chosen.size)
        stored = source.read(row_axis, col_axis, Tile(first, last, 0, 1))[:, 0, 0, :]
        stored = stored.astype(source.info.work_dtype)
        bad = np.argwhere(~np.isfinite(stored))
        if bad.size:
            raise source.non_finite_error((int(chosen[first + bad[0, 0]]), int(bad[0, 1])))
        with np.errstate(over="ignore"):
            energies.append(np.sum(np.abs(stored) ** 2, axis=1, dtype=np.float64))
        if not np.max(energies[-1]) < largest_energy(stored.dtype):
            raise RangeError.of(source.name, stored.dtype, source.exponent + exponent_of(largest_part(stored)))
        left = [_energy(row - product) for row, product in zip(stored, product_rows(chosen[first:last]), strict=True)]
        residuals.append(np.array(left))
    return np.concatenate(energies), np.concatenate(residuals)


def _energy(values: NDArray[Any]) -> float:
    return float(np.sum(np.abs(values) ** 2, dtype=np.float64))


def _estimate(
    energies: NDArray[np.float64], residuals: NDArray[np.float64], rows: int, *, sampled: bool
) -> VerifiedError:
    """Ratio estimate of the error, with its deviation by linearization (Cochran, Sampling Techniques, section 6.4)."""
    count = energies.size
    squared = energy_ratio(float(residuals.sum()), float(energies.sum())) ** 2
    if math.isinf(squared):
        return VerifiedError(math.inf, math.inf if sampled else 0.0, count if sampled else None)
    if not sampled or count == rows:
        return VerifiedError(math.sqrt(squared), 0.0, count if sampled else None)
    spread = float(np.var(residuals - squared * energies, ddof=1)) if count > 1 else math.inf
    mean = float(energies.mean())
    variance = (1 - count / rows) * spread / (count * mean**2) if mean else 0.0
    error = math.sqrt(squared)
    return VerifiedError(error, math.sqrt(variance) / (2 * error) if error else 0.0, count)


def energy_ratio(residual: float, energy: float) -> float:
    """Root of a ratio of energies: inf where something is left of nothing."""
    if energy == 0:
        return 0.0 if residual == 0 else math.inf
    return math.sqrt(residual / energy)
