"""A matrix of factors as a SciPy linear operator: what it holds, its transposes and its products."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Self

import numpy as np
from array_api_compat import is_array_api_obj
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from ..errors import InputError
from ..structure.arguments import as_integer, show_value
from ..structure.chain import Chain
from ..structure.orderings import Orderings
from ..structure.plain_arrays import as_plain_array, is_masked
from .checks import Index, check_chain, check_factors, check_permutations
from .dask_products import is_dask_array, multiply_chunks
from .factors import clear_gaps, transpose_factors
from .products import Products, check_workers
from .scaling import as_number, scale_factors

__all__ = ["FactorOperator"]


class FactorOperator(LinearOperator):
    """Factors and orderings with what makes them a ``LinearOperator``: attributes, transposes, products, pickling.

    :class:`dbutterfly.ButterflyOperator` adds the public methods. The transpose, the adjoint and the conjugate of an
    operator share its :class:`~dbutterfly.operator.products.Products`, and with it the factors and whatever was laid
    out for products; two flags say what becomes of the matrix.

    Parameters
    ----------
    ks_values : sequence of ndarray, shapes (a, b, c, d)
        Factors.
    orderings : None, Orderings or pair (rows, cols)
        Orderings of the two sides.
    """

    def __init__(self, ks_values: Iterable[ArrayLike], orderings: Any = None) -> None:
        factors = check_factors(ks_values)
        chain = check_chain(factors)
        ordered = Orderings.from_any(orderings)
        rows, cols = check_permutations(ordered, chain)
        self._become(Products(clear_gaps(factors, rows, cols), rows, cols), chain, ordered)

    def _become(
        self,
        products: Products,
        chain: Chain,
        orderings: Orderings,
        *,
        transposed: bool = False,
        conjugated: bool = False,
    ) -> Self:
        """Set all attributes: a matrix of factors, and whether this operator is its transpose or conjugate."""
        self.chain, self.orderings = chain, orderings
        self._products, self._transposed, self._conjugated = products, transposed, conjugated
        super().__init__(products.dtype, orderings.shape(chain))  # type: ignore[call-arg]  # as the stubs say
        return self

    # ---- attributes

    @property
    def ks_values(self) -> tuple[NDArray[Any], ...]:
        """Nonzeros of the factors from left to right, shapes (a, b, c, d)."""
        factors = self._products.ks_values
        if self._transposed:
            factors = transpose_factors(factors)
        if self._conjugated:
            factors = tuple(np.conj(values) if np.iscomplexobj(values) else values for values in factors)
        return factors

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all factors."""
        return sum(values.nbytes for values in self._products.ks_values)

    @property
    def nnz(self) -> int:
        """Number of values that all factors store together."""
        return self.chain.nnz

    @property
    def nbytes_prepared(self) -> int:
        """Bytes held besides the factors, for products: 0 before the first one."""
        return self._products.nbytes_packed

    @property
    def _rows(self) -> Index | None:
        """Index array of the rows, None for the standard order."""
        return self._products.cols if self._transposed else self._products.rows

    @property
    def _cols(self) -> Index | None:
        """Index array of the columns, None for the standard order."""
        return self._products.rows if self._transposed else self._products.cols

    def __repr__(self) -> str:
        rows, cols = self.shape
        return (
            f"<{rows}x{cols} {type(self).__name__} of {len(self.chain)} factors with dtype={self.dtype}, "
            f"nnz={self.nnz}, {self.orderings.describe()}>"
        )

    # ---- transposes

    def _derive(self, *, transpose: bool, conjugate: bool) -> Self:
        """Operator of the transpose or conjugate, which shares the factors and what was laid out for products.

        Transposed patterns put the digits of the indices in the opposite order, so that a transposed chain is in
        general not chainable and "bitreversal" would not mean the same there: orderings become index arrays.
        """
        chain, orderings = self.chain, self.orderings
        if transpose:
            chain, orderings = chain.T, Orderings(self._cols, self._rows)
        new: Self = object.__new__(type(self))  # the stubs know the factory __new__ only
        conjugated = self._conjugated != (conjugate and self.dtype.kind == "c")
        return new._become(
            self._products, chain, orderings, transposed=self._transposed != transpose, conjugated=conjugated
        )

    def _transpose(self) -> Self:
        return self._derive(transpose=True, conjugate=False)

    def _adjoint(self) -> Self:
        return self._derive(transpose=True, conjugate=True)

    # ---- products

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
        if isinstance(x, FactorOperator) and self.shape[1] == x.shape[0] and _cancel(self._cols, x._rows):
            return type(self)((*self.ks_values, *x.ks_values), (self._rows, x._cols))
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

    def _scale(self, number: Any, scale: Any = np.multiply) -> Self:
        """Multiply by a number, or divide."""
        return type(self)(scale_factors(self.ks_values, number, scale), self.orderings)

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

    # ---- pickling, and names for Dask

    def __reduce__(self) -> tuple[Any, ...]:
        base = Orderings(self.orderings.cols, self.orderings.rows) if self._transposed else self.orderings
        return _rebuild, (type(self), self._products.ks_values, base, self._transposed, self._conjugated)

    def __dask_tokenize__(self) -> Any:
        return self._token

    @cached_property
    def _token(self) -> tuple[Any, ...]:
        digest = hashlib.blake2b(digest_size=16)
        for values in (*self._products.ks_values, self._products.rows, self._products.cols):
            described = None if values is None else (values.shape, values.dtype.str)
            digest.update(f"{described}".encode())
            digest.update(b"" if values is None else np.ascontiguousarray(values).tobytes())
        return type(self).__name__, digest.hexdigest(), self.chain.patterns, self._transposed, self._conjugated


def _is_foreign(x: Any) -> bool:
    """Whether ``x`` is an array of another namespace than NumPy's, such as CuPy's."""
    return is_array_api_obj(x) and not isinstance(x, np.ndarray)


def _as_operand(x: Any) -> Any:
    """What SciPy's methods are given to multiply: arrays without masks, operators and matrices as they are."""
    if isinstance(x, (LinearOperator, np.matrix)) or hasattr(x, "tocsr"):
        return x
    return as_plain_array(x, "x")


def _cancel(cols: Index | None, rows: Index | None) -> bool:
    """Whether the orderings between two operators undo each other."""
    if cols is None or rows is None:
        return cols is rows
    return bool(np.array_equal(cols, rows))


def _rebuild(
    kind: type[FactorOperator],
    ks_values: tuple[NDArray[Any], ...],
    orderings: Orderings,
    transposed: bool,
    conjugated: bool,
) -> FactorOperator:
    """Make an operator from its pickle, which leaves out the layout for products: it is made again when wanted."""
    base = kind(ks_values, orderings)
    if not transposed and not conjugated:
        return base
    return base._derive(transpose=transposed, conjugate=conjugated)
