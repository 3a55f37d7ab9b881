"""Products of a SciPy linear operator with arrays of every kind: NumPy's, Dask's, and those of other namespaces."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol, Self

import numpy as np
from array_api_compat import is_array_api_obj
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from ..errors import InputError
from ..structure.arguments import as_integer, show_value
from ..structure.plain_arrays import as_plain_array, is_masked
from .dask_products import is_dask_array, multiply_chunks
from .products import check_workers
from .scaling import as_number

__all__ = ["ArrayOperator", "PreparedProducts"]


class PreparedProducts(Protocol):
    """Products of one matrix, laid out once for its transpose, its conjugate and its adjoint too."""

    dtype: np.dtype[Any]

    @property
    def nbytes_packed(self) -> int:
        """Bytes held besides the matrix."""

    def multiply(
        self,
        x: NDArray[Any],
        out: NDArray[Any] | None = None,
        *,
        transposed: bool = False,
        conjugated: bool = False,
        workers: int = 1,
    ) -> NDArray[Any]:
        """Multiply columns, as :meth:`dbutterfly.operator.products.Products.multiply` does."""

    def multiply_on_device(self, x: Any, *, transposed: bool, conjugated: bool) -> Any:
        """Multiply columns of another namespace on their device."""

    def compile(self) -> None:
        """Have all that products need when this returns."""


class ArrayOperator(LinearOperator):
    """A matrix that multiplies arrays of every kind, itself or as its transpose, conjugate or adjoint.

    The four share their products, and with them whatever was laid out; two flags say what becomes of the matrix.
    """

    _products: PreparedProducts
    _transposed: bool
    _conjugated: bool

    def _begin(self, products: PreparedProducts, shape: tuple[int, int], *, transposed: bool, conjugated: bool) -> None:
        """Set what all operators have: the products of the matrix as it was given, and the shape of this operator."""
        self._products, self._transposed, self._conjugated = products, transposed, conjugated
        super().__init__(products.dtype, shape)  # type: ignore[call-arg]  # as the stubs say

    @property
    def nbytes_prepared(self) -> int:
        """Bytes held besides the factors, for products: 0 before the first one."""
        return self._products.nbytes_packed

    # ---- transposes

    @abstractmethod
    def _derive(self, *, transpose: bool, conjugate: bool) -> Self:
        """Operator of the transpose or conjugate, which shares the products."""

    def _transpose(self) -> Self:
        return self._derive(transpose=True, conjugate=False)

    def _adjoint(self) -> Self:
        return self._derive(transpose=True, conjugate=True)

    # ---- products with arrays

    def _apply(self, x: Any, out: NDArray[Any] | None, workers: int) -> Any:
        """Multiply an array of any kind; see :meth:`dbutterfly.ButterflyOperator.apply`."""
        is_elsewhere = is_dask_array(x) or _is_foreign(x)
        if is_elsewhere and out is not None:
            raise InputError(f"out is for products of NumPy arrays, and x is a {type(x).__module__}.{type(x).__name__}")
        if is_elsewhere:
            if is_masked(getattr(x, "_meta", None)):
                raise InputError("x is a masked Dask array; pass dask.array.ma.filled(x, value)")
            self._check_operand(x.shape)
            return multiply_chunks(self, x) if is_dask_array(x) else self._multiply_on_device(x)
        x = as_plain_array(x, "x")
        self._check_operand(x.shape)
        wanted = (self.shape[0], *x.shape[1:])
        if out is not None and is_masked(out):
            raise InputError("out is a masked array, whose mask the product would not heed; pass out.data")
        if out is not None and not isinstance(out, np.ndarray):
            raise TypeError(f"out is a {type(out).__name__}; the product needs a NumPy array of shape {wanted}")
        if out is not None and out.shape != wanted:
            raise ValueError(f"out has shape {out.shape}; the product is an array of shape {wanted}")
        pair = (x, out) if x.ndim == 2 else (x[:, None], None if out is None else out[:, None])
        product = self._multiply(*pair, workers=check_workers(workers))
        if out is not None:
            return out
        return product if x.ndim == 2 else product[:, 0]

    def _dot(self, x: Any) -> Any:
        """Multiply by an array, a number or another operator; see :meth:`dbutterfly.ButterflyOperator.dot`."""
        number = as_number(x)
        if number is not None:
            return self._scale(number)
        if np.isscalar(x):
            raise InputError(f"x={show_value(x)} is neither a number nor an array of numbers")
        if type(x) is np.ndarray or is_dask_array(x) or _is_foreign(x):
            return self._apply(x, None, 1)
        return super().dot(_as_operand(x))

    def _check_operand(self, shape: tuple[int, ...]) -> None:
        if len(shape) not in (1, 2):
            raise ValueError(f"expected 1-d or 2-d array, got one of shape {shape}")
        if shape[0] != self.shape[1]:
            raise ValueError(f"dimension mismatch: {self.shape} times {shape}; the operand has {self.shape[1]} rows")

    def _multiply(self, x: NDArray[Any], out: NDArray[Any] | None = None, *, workers: int = 1) -> NDArray[Any]:
        return self._products.multiply(
            x, out, transposed=self._transposed, conjugated=self._conjugated, workers=workers
        )

    def _multiply_on_device(self, x: Any) -> Any:
        columns = x if x.ndim == 2 else x[:, None]
        product = self._products.multiply_on_device(columns, transposed=self._transposed, conjugated=self._conjugated)
        return product if x.ndim == 2 else product[:, 0]

    @abstractmethod
    def _scale(self, number: Any, scale: Any = np.multiply) -> Self:
        """Multiply by a number, or divide."""

    def __matmul__(self, x: Any) -> Any:
        if type(x) is not np.ndarray:
            return super().__matmul__(x)
        self._check_operand(x.shape)  # the shortest way for arrays, since small products take microseconds
        return self._multiply(x) if x.ndim == 2 else self._multiply(x[:, None])[:, 0]

    def __rmul__(self, x: Any) -> Any:
        number = as_number(x)
        return super().__rmul__(_as_operand(x)) if number is None else self._scale(number)

    def __truediv__(self, x: Any) -> Self:  # type: ignore[override]
        number = as_number(x)
        if number is None:
            return NotImplemented
        if number == 0:
            raise InputError(f"number={show_value(x)} divides no operator; use another one")
        return self._scale(number, np.divide)

    def __pow__(self, p: Any) -> Any:
        power = as_integer(p)
        if power is None or power < 0:
            raise InputError(f"power={show_value(p)} is no integer from 0 on; use one, or solve for the inverse")
        return super().__pow__(power)

    def __neg__(self) -> Self:  # type: ignore[override]
        return self._scale(-1)

    def _matmat(self, X: NDArray[Any]) -> NDArray[Any]:
        return self._multiply(as_plain_array(X, "x"))

    def _matvec(self, x: NDArray[Any]) -> NDArray[Any]:
        return self._multiply(as_plain_array(x, "x").reshape(-1, 1))

    def _rmatmat(self, X: NDArray[Any]) -> NDArray[Any]:
        return self._products.multiply(
            as_plain_array(X, "x"),
            transposed=not self._transposed,
            conjugated=self._conjugated != (self.dtype.kind == "c"),
        )

    def _rmatvec(self, x: NDArray[Any]) -> NDArray[Any]:
        return self._rmatmat(as_plain_array(x, "x").reshape(-1, 1))


def _is_foreign(x: Any) -> bool:
    """Whether ``x`` is an array of another namespace than NumPy's, such as CuPy's."""
    return is_array_api_obj(x) and not isinstance(x, np.ndarray)


def _as_operand(x: Any) -> Any:
    """What SciPy's methods are given to multiply: arrays without masks, operators and matrices as they are."""
    if isinstance(x, (LinearOperator, np.matrix)) or hasattr(x, "tocsr"):
        return x
    return as_plain_array(x, "x")
