"""Inverses of square factors, one small matrix at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..chain import Pattern
from ..errors import SingularFactorError
from .factors import Index

__all__ = ["check_invertible", "condition_numbers", "inverted_factors", "solved"]


def condition_numbers(ks_values: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Condition number of each factor in the spectral norm, inf where it is singular to working precision.

    Raises
    ------
    SingularFactorError
        If a factor is not square; the message names it.
    """
    _check_square(ks_values)
    return np.array([_condition(values) for values in ks_values])


def _condition(values: NDArray[Any]) -> float:
    """Largest over smallest singular value of all small matrices: those of the factor."""
    singular = np.linalg.svd(_small_matrices(values), compute_uv=False)
    largest, smallest = float(singular.max()), float(singular.min())
    if (
        not smallest > values.shape[1] * np.finfo(values.dtype).eps * largest
    ):  # a NaN is no number that one can solve with
        return float("inf")
    return largest / smallest


def check_invertible(ks_values: Sequence[NDArray[Any]], conditions: NDArray[np.float64]) -> None:
    """Refuse singular factors.

    Raises
    ------
    SingularFactorError
        If a condition number is inf; the message names the factor and one of its small matrices.
    """
    bad = np.flatnonzero(np.isinf(conditions))
    if bad.size:
        values = ks_values[bad[0]]
        matrices = _small_matrices(values)
        smallest = np.linalg.svd(matrices, compute_uv=False)[..., -1]
        ia, id_ = np.unravel_index(np.argmin(np.where(np.isnan(smallest), -1, smallest)), smallest.shape)
        raise SingularFactorError(
            f"factor {bad[0]} of pattern {Pattern(*values.shape)} is singular to the precision of {values.dtype}, the "
            f"worst of its small matrices being ks_values[{bad[0]}][{ia}, :, :, {id_}]; use scipy.sparse.linalg.lsqr "
            "for a solution in the sense of least squares"
        )


def inverted_factors(ks_values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Factors of the inverse, from left to right."""
    return [np.linalg.inv(_small_matrices(values)).transpose(0, 2, 3, 1) for values in reversed(ks_values)]


def solved(ks_values: Sequence[NDArray[Any]], rows: Index | None, cols: Index | None, b: NDArray[Any]) -> NDArray[Any]:
    """Solve for columns, factor by factor from the left, by Gaussian elimination with pivots in every small matrix.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, b, d)
        Factors.
    rows, cols : ndarray of int64 or None
        Orderings.
    b : array, shape (n, k)
        Right-hand sides.
    """
    x = b if rows is None else b[rows]
    for values in ks_values:
        a, size, _, d = values.shape
        parts = x.reshape(a, size, d, -1).transpose(0, 2, 1, 3)
        x = np.linalg.solve(_small_matrices(values), parts).transpose(0, 2, 1, 3).reshape(a * size * d, -1)
    if cols is None:
        return x
    solution = np.empty_like(x)
    solution[cols] = x
    return solution


def _small_matrices(values: NDArray[Any]) -> NDArray[Any]:
    return values.transpose(0, 3, 1, 2)


def _check_square(ks_values: Sequence[NDArray[Any]]) -> None:
    for index, values in enumerate(ks_values):
        if values.shape[1] != values.shape[2]:
            raise SingularFactorError(
                f"factor {index} of pattern {Pattern(*values.shape)} is not square, so the operator cannot be inverted "
                "factor by factor; use scipy.sparse.linalg.gmres or lsqr with it"
            )
