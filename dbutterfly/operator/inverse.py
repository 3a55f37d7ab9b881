"""Inverses of square factors, one small matrix at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SingularFactorError
from ..structure.chain import Pattern
from ..structure.plain_arrays import as_plain_array
from .checks import Index, product_dtype

__all__ = ["Condition", "check_right_side", "invert_factors", "measure_conditions", "solve_factors"]


class Condition(NamedTuple):
    """How well a factor can be inverted.

    Attributes
    ----------
    number : float
        Condition number in the spectral norm: inf where it is singular to working precision.
    singular : (int, int) or None
        ``(ia, id)`` of a small matrix that is singular to working precision, by itself.
    """

    number: float
    singular: tuple[int, int] | None


def measure_conditions(ks_values: Sequence[NDArray[Any]]) -> list[Condition]:
    """Measure the condition of every factor, from the singular values of its small matrices.

    Raises
    ------
    SingularFactorError
        If a factor is not square; the message names it.
    """
    for index, values in enumerate(ks_values):
        if values.shape[1] != values.shape[2]:
            raise SingularFactorError(
                f"factor {index} of pattern {Pattern(*values.shape)} is not square, so the operator cannot be inverted "
                "factor by factor; use scipy.sparse.linalg.gmres or lsqr with it"
            )
    return [_measure_condition(values) for values in ks_values]


def _measure_condition(values: NDArray[Any]) -> Condition:
    if not np.isfinite(values).all():
        ia, _, _, id_ = np.argwhere(~np.isfinite(values))[0]
        return Condition(float("inf"), (int(ia), int(id_)))
    spectra = np.linalg.svd(_small_matrices(values), compute_uv=False)
    # A matrix of b rows is singular to working precision below b * eps times its largest singular value: the threshold
    # of numpy.linalg.matrix_rank, about what rounding the matrix alone can change.
    threshold = values.shape[1] * np.finfo(values.dtype).eps
    bad = np.argwhere(spectra[..., -1] <= threshold * spectra[..., 0])
    largest, smallest = float(spectra.max()), float(spectra.min())
    singular = (int(bad[0, 0]), int(bad[0, 1])) if bad.size else None
    return Condition(largest / smallest if smallest > threshold * largest else float("inf"), singular)


def check_right_side(b: ArrayLike, rows: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return a right-hand side as an array, of the dtype that it has together with ``dtype``.

    Raises
    ------
    ValueError
        If it has not ``rows`` rows, or more than two axes.
    """
    right = as_plain_array(b, "b")
    if right.ndim not in (1, 2) or right.shape[0] != rows:
        raise ValueError(f"b has shape {right.shape}; the operator has {rows} rows")
    return right.astype(product_dtype(dtype, right.dtype, "b"), copy=False)


def solve_factors(
    ks_values: Sequence[NDArray[Any]],
    rows: Index | None,
    cols: Index | None,
    b: NDArray[Any],
    conditions: Sequence[Condition],
) -> NDArray[Any]:
    """Solve factor by factor from the left, by Gaussian elimination with pivots in every small matrix.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, b, d)
        Factors.
    rows, cols : ndarray of int64 or None
        Orderings.
    b : array, shape (n,) or (n, k)
        Right-hand sides, from :func:`check_right_side`.
    conditions : sequence of Condition
        Conditions of the factors, from :func:`measure_conditions`.

    Returns
    -------
    array, shape (n,) or (n, k)
        Solutions.

    Raises
    ------
    SingularFactorError
        If a factor has a singular small matrix; the message names both.
    """
    _check_invertible(ks_values, conditions)
    x = b[:, None] if b.ndim == 1 else b
    x = x if rows is None else x[rows]
    for values in ks_values:
        a, size, _, d = values.shape
        parts = x.reshape(a, size, d, x.shape[1]).transpose(0, 2, 1, 3)
        x = np.linalg.solve(_small_matrices(values), parts).transpose(0, 2, 1, 3).reshape(x.shape)
    if cols is not None:
        ordered, x = x, np.empty_like(x)
        x[cols] = ordered
    return x.reshape(b.shape)


def invert_factors(ks_values: Sequence[NDArray[Any]], conditions: Sequence[Condition]) -> list[NDArray[Any]]:
    """Factors of the inverse, from left to right: the small matrices inverted, the factors in the opposite order.

    Raises
    ------
    SingularFactorError
        If a factor has a singular small matrix; the message names both.
    """
    _check_invertible(ks_values, conditions)
    return [np.linalg.inv(_small_matrices(values)).transpose(0, 2, 3, 1) for values in reversed(ks_values)]


def _check_invertible(ks_values: Sequence[NDArray[Any]], conditions: Sequence[Condition]) -> None:
    """Refuse singular small matrices.

    Small matrices of one factor that differ in size give it a bad condition number, but each is inverted by itself:
    they do no harm, and are not refused.
    """
    for index, (values, condition) in enumerate(zip(ks_values, conditions, strict=True)):
        if condition.singular is not None:
            ia, id_ = condition.singular
            raise SingularFactorError(
                f"factor {index} of pattern {Pattern(*values.shape)} is singular to the precision of {values.dtype}: "
                f"its small matrix ks_values[{index}][{ia}, :, :, {id_}] has no inverse; use scipy.sparse.linalg.lsqr "
                "for a solution in the sense of least squares"
            )


def _small_matrices(values: NDArray[Any]) -> NDArray[Any]:
    """View of the small matrices of a factor, shape (a, d, b, c)."""
    return values.transpose(0, 3, 1, 2)
