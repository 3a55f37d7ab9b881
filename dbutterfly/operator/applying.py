"""Products with arrays, numbers and other operators."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from array_api_compat import is_array_api_obj
from numpy.typing import NDArray

from ..errors import InputError
from .base import FactorOperator
from .checks import Index
from .dask_products import is_dask_array, multiply_chunks
from .products import check_workers

__all__ = ["Applying"]


class Applying(FactorOperator):
    """Products."""

    def apply(self, x: Any, out: NDArray[Any] | None = None, *, workers: int = 1) -> Any:
        """Multiply a vector or columns, into an array that is there already or by several threads if wanted.

        Parameters
        ----------
        x : array, shape (N,) or (N, k)
            NumPy arrays of any numeric dtype and layout; arrays of another namespace, such as CuPy's, are multiplied on
            their device, and Dask arrays chunk by chunk, when they are computed.
        out : ndarray, shape (M,) or (M, k), optional
            Where the product goes; ``x`` itself is allowed. For NumPy arrays only.
        workers : int
            Threads, among which the columns of a NumPy array are divided; never more than there are cores.

        Returns
        -------
        array of dtype ``result_type(dtype, x)``, shape (M,) or (M, k)
            ``out`` if it was given.

        Raises
        ------
        ValueError
            If ``x`` or ``out`` has another shape, or ``out`` is read-only.
        TypeError
            If ``out`` is no NumPy array, or cannot hold the dtype of the product, as a real one complex products.
        """
        is_elsewhere = is_dask_array(x) or (is_array_api_obj(x) and not isinstance(x, np.ndarray))
        if is_elsewhere and out is not None:
            raise InputError(f"out is for products of NumPy arrays, and x is a {type(x).__module__}.{type(x).__name__}")
        if is_dask_array(x):
            self._check_operand(x.shape)
            return multiply_chunks(self, x)
        if is_elsewhere:
            self._check_operand(x.shape)
            columns = x if x.ndim == 2 else x[:, None]
            product = self._products.multiply_on_device(
                columns, transposed=self._transposed, conjugated=self._conjugated
            )
            return product if x.ndim == 2 else product[:, 0]
        x = np.asarray(x)
        self._check_operand(x.shape)
        wanted = (self.shape[0], *x.shape[1:])
        if out is not None and not isinstance(out, np.ndarray):
            raise TypeError(f"out is a {type(out).__name__}; the product needs a NumPy array of shape {wanted}")
        if out is not None and out.shape != wanted:
            raise ValueError(f"out has shape {out.shape}; the product is an array of shape {wanted}")
        pair = (x, out) if x.ndim == 2 else (x[:, None], None if out is None else out[:, None])
        product = self._multiply(*pair, workers=check_workers(workers))
        if out is not None:
            return out
        return product if x.ndim == 2 else product[:, 0]

    def _check_operand(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (1, 2):
            raise ValueError(f"expected 1-d or 2-d array, got one of shape {shape}")
        if shape[0] != self.shape[1]:
            raise ValueError(f"dimension mismatch: {self.shape} times {shape}; the operand has {self.shape[1]} rows")

    def _multiply(self, x: NDArray[Any], out: NDArray[Any] | None = None, *, workers: int = 1) -> NDArray[Any]:
        return self._products.multiply(
            x, out, transposed=self._transposed, conjugated=self._conjugated, workers=workers
        )

    def dot(self, x: Any) -> Any:
        """Multiply by a vector, columns, a number, or another operator.

        Parameters
        ----------
        x : array, scalar or LinearOperator
            Arrays are multiplied as by :meth:`apply`. A number scales a factor, and another ButterflyOperator appends
            its factors, if the orderings between the two cancel: both give a ButterflyOperator. Other operators give
            what SciPy gives.
        """
        if isinstance(x, FactorOperator) and self.shape[1] == x.shape[0] and _cancel(self._cols, x._rows):
            return type(self)((*self.ks_values, *x.ks_values), (self._rows, x._cols))
        if np.isscalar(x):
            return self._scaled(x)
        if type(x) is np.ndarray or is_dask_array(x) or (is_array_api_obj(x) and not isinstance(x, np.ndarray)):
            return self.apply(x)
        return super().dot(x)

    def __matmul__(self, x: Any) -> Any:
        if type(x) is not np.ndarray:
            return super().__matmul__(x)
        self._check_operand(x.shape)
        return self._multiply(x) if x.ndim == 2 else self._multiply(x[:, None])[:, 0]

    def __rmul__(self, x: Any) -> Any:
        return self._scaled(x) if np.isscalar(x) else super().__rmul__(x)

    def __neg__(self) -> Self:  # type: ignore[override]
        return self._scaled(-1)

    def _scaled(self, number: Any) -> Self:
        """Multiply the smallest factor by a number."""
        factors = list(self.ks_values)
        smallest = min(range(len(factors)), key=lambda index: factors[index].size)
        factors[smallest] = factors[smallest] * number
        return type(self)(factors, self.orderings)

    def _matmat(self, X: NDArray[Any]) -> NDArray[Any]:
        return self._multiply(np.asarray(X))

    def _matvec(self, x: NDArray[Any]) -> NDArray[Any]:
        return self._multiply(np.asarray(x).reshape(-1, 1))

    def _rmatmat(self, X: NDArray[Any]) -> NDArray[Any]:
        return self._products.multiply(
            np.asarray(X), transposed=not self._transposed, conjugated=self._conjugated != (self.dtype.kind == "c")
        )

    def _rmatvec(self, x: NDArray[Any]) -> NDArray[Any]:
        return self._rmatmat(np.asarray(x).reshape(-1, 1))


def _cancel(cols: Index | None, rows: Index | None) -> bool:
    """Whether the orderings between two operators undo each other."""
    if cols is None or rows is None:
        return cols is rows
    return bool(np.array_equal(cols, rows))
