"""A matrix of factors as a SciPy linear operator: what it holds, its transposes and its products."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..structure.chain import Chain
from ..structure.orderings import Orderings
from .array_operator import ArrayOperator
from .checks import Index, check_chain, check_factors, check_permutations
from .factors import clear_gaps, transpose_factors
from .products import Products
from .scaling import scale_factors

__all__ = ["FactorOperator"]


class FactorOperator(ArrayOperator):
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

    _products: Products

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
        self._begin(products, orderings.shape(chain), transposed=transposed, conjugated=conjugated)
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
    def _values(self) -> tuple[NDArray[Any], ...]:
        """Arrays that it holds."""
        return self._products.ks_values

    @property
    def _most_rows(self) -> int:
        """Most rows of what a product holds between two factors."""
        return max(max(pattern.shape) for pattern in self.chain)

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all factors."""
        return sum(values.nbytes for values in self._products.ks_values)

    @property
    def nnz(self) -> int:
        """Number of values that all factors store together."""
        return self.chain.nnz

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

    # ---- products

    def _dot(self, x: Any) -> Any:
        """Multiply by an array, a number or another operator; see :meth:`dbutterfly.ButterflyOperator.dot`."""
        if isinstance(x, FactorOperator) and self.shape[1] == x.shape[0] and _cancel(self._cols, x._rows):
            return type(self)((*self.ks_values, *x.ks_values), (self._rows, x._cols))
        return super()._dot(x)

    def _scale(self, number: Any, scale: Any = np.multiply) -> Self:
        """Multiply by a number, or divide."""
        return type(self)(scale_factors(self.ks_values, number, scale), self.orderings)

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
