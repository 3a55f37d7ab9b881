"""Inverses of square factors, one small matrix at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import SingularFactorError
from ..structure.chain import Pattern
from .base import FactorOperator
from .checks import Index

__all__ = ["Inverting"]


class Inverting(FactorOperator):
    """Solutions and inverses."""

    def condition_numbers(self) -> NDArray[np.float64]:
        """Condition number of every factor in the spectral norm; their product bounds that of the operator.

        Returns
        -------
        ndarray of float64, shape (J,)
            inf for a factor that is singular to working precision.

        Raises
        ------
        SingularFactorError
            If a factor is not square; the message names it.
        """
        return np.array([found.number for found in self._conditions])

    @cached_property
    def _conditions(self) -> list[_Condition]:
        return _conditions(self.ks_values)

    def solve(self, b: ArrayLike) -> NDArray[Any]:
        """Solve ``Z x = b`` for an operator whose factors are square and invertible.

        Parameters
        ----------
        b : array_like, shape (M,) or (M, k)
            Right-hand sides.

        Returns
        -------
        ndarray of dtype ``result_type(dtype, b)``, shape (N,) or (N, k)
            By Gaussian elimination in every small matrix. :meth:`condition_numbers` bound what rounding becomes.

        Raises
        ------
        SingularFactorError
            If a factor is not square, or has a small matrix that is singular to working precision; the message names
            it.
        ValueError
            If ``b`` has another number of rows.
        """
        right = np.asarray(b)
        if right.ndim not in (1, 2) or right.shape[0] != self.shape[0]:
            raise ValueError(f"b has shape {right.shape}; the operator has {self.shape[0]} rows")
        factors = self.ks_values
        _check_invertible(factors, self._conditions)
        columns = right[:, None] if right.ndim == 1 else right
        columns = columns.astype(np.result_type(self.dtype, right.dtype), copy=False)
        return _solve(factors, self._rows, self._cols, columns).reshape(right.shape)

    def inverse(self) -> Self:
        """Operator of the inverse: a product with it is as fast as one with this operator, which ``solve`` is not.

        Raises
        ------
        SingularFactorError
            As :meth:`solve`.
        """
        factors = self.ks_values
        _check_invertible(factors, self._conditions)
        return type(self)(_invert_factors(factors), (self._cols, self._rows))


class _Condition(NamedTuple):
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


def _conditions(ks_values: Sequence[NDArray[Any]]) -> list[_Condition]:
    """Conditions of some factors.

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
    return [_condition(values) for values in ks_values]


def _condition(values: NDArray[Any]) -> _Condition:
    if not np.isfinite(values).all():
        ia, _, _, id_ = np.argwhere(~np.isfinite(values))[0]
        return _Condition(float("inf"), (int(ia), int(id_)))
    spectra = np.linalg.svd(_small_matrices(values), compute_uv=False)
    threshold = values.shape[1] * np.finfo(values.dtype).eps
    bad = np.argwhere(spectra[..., -1] <= threshold * spectra[..., 0])
    largest, smallest = float(spectra.max()), float(spectra.min())
    singular = (int(bad[0, 0]), int(bad[0, 1])) if bad.size else None
    return _Condition(largest / smallest if smallest > threshold * largest else float("inf"), singular)


def _check_invertible(ks_values: Sequence[NDArray[Any]], found: Sequence[_Condition]) -> None:
    """Refuse singular factors. Small matrices of different sizes make a bad condition number, but do no harm.

    Raises
    ------
    SingularFactorError
        If a factor has a singular small matrix; the message names both.
    """
    for index, (values, condition) in enumerate(zip(ks_values, found, strict=True)):
        if condition.singular is not None:
            ia, id_ = condition.singular
            raise SingularFactorError(
                f"factor {index} of pattern {Pattern(*values.shape)} is singular to the precision of {values.dtype}: "
                f"its small matrix ks_values[{index}][{ia}, :, :, {id_}] has no inverse; use scipy.sparse.linalg.lsqr "
                "for a solution in the sense of least squares"
            )


def _invert_factors(ks_values: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Factors of the inverse, from left to right."""
    return [np.linalg.inv(_small_matrices(values)).transpose(0, 2, 3, 1) for values in reversed(ks_values)]


def _solve(ks_values: Sequence[NDArray[Any]], rows: Index | None, cols: Index | None, b: NDArray[Any]) -> NDArray[Any]:
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
        parts = x.reshape(a, size, d, x.shape[1]).transpose(0, 2, 1, 3)
        x = np.linalg.solve(_small_matrices(values), parts).transpose(0, 2, 1, 3).reshape(x.shape)
    if cols is None:
        return x
    solution = np.empty_like(x)
    solution[cols] = x
    return solution


def _small_matrices(values: NDArray[Any]) -> NDArray[Any]:
    return values.transpose(0, 3, 1, 2)
