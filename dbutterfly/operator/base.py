"""What an operator is: a matrix of factors, and what has become of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from ..structure.chain import Chain
from ..structure.orderings import Orderings
from .checks import Index, check_chain, check_factors, check_permutations, transpose_factors
from .products import Products

__all__ = ["FactorOperator"]


class FactorOperator(LinearOperator):
    """Factors and orderings, shared with the transpose, the adjoint and the conjugate.

    The other modules add what can be done with it, and :class:`dbutterfly.ButterflyOperator` unites them.

    Parameters
    ----------
    ks_values : sequence of ndarray, shapes (a, b, c, d)
        Factors.
    orderings : None, Orderings or pair (rows, cols)
        See there.
    """

    def __init__(self, ks_values: Iterable[ArrayLike], orderings: Any = None) -> None:
        factors = check_factors(ks_values)
        chain = check_chain(factors)
        ordered = Orderings.from_any(orderings)
        rows, cols = check_permutations(ordered, chain)
        self._become(Products(factors, rows, cols), chain, ordered)

    def _become(
        self,
        products: Products,
        chain: Chain,
        orderings: Orderings,
        *,
        transposed: bool = False,
        conjugated: bool = False,
    ) -> Self:
        """Set what makes an operator: a matrix of factors, and whether it is transposed or conjugated."""
        self.chain, self.orderings = chain, orderings
        self._products, self._transposed, self._conjugated = products, transposed, conjugated
        super().__init__(products.dtype, chain.shape)  # type: ignore[call-arg]  # as the stubs say
        return self

    def _derived(self, *, transpose: bool, conjugate: bool) -> Self:
        """Operator of the transpose or conjugate, which shares the factors and what was made of them.

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

    def __reduce__(self) -> tuple[Any, ...]:
        base = Orderings(self.orderings.cols, self.orderings.rows) if self._transposed else self.orderings
        return _rebuilt, (type(self), self._products.ks_values, base, self._transposed, self._conjugated)

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

    def __repr__(self) -> str:
        rows, cols = self.shape
        return (
            f"<{rows}x{cols} {type(self).__name__} of {len(self.chain)} factors with dtype={self.dtype}, "
            f"nnz={self.nnz}, {self.orderings.describe()}>"
        )

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

    def _transpose(self) -> Self:
        return self._derived(transpose=True, conjugate=False)

    def _adjoint(self) -> Self:
        return self._derived(transpose=True, conjugate=True)

    @property
    def T(self) -> Self:  # type: ignore[override]
        """Operator of the transpose; it shares the factors, and what was made of them for products."""
        return self._transpose()

    @property
    def H(self) -> Self:
        """Operator of the conjugate transpose; it shares the factors, and what was made of them for products."""
        return self._adjoint()

    def conj(self) -> Self:
        """Operator of the conjugate matrix; it shares the factors."""
        return self._derived(transpose=False, conjugate=True)

    @property
    def _rows(self) -> Index | None:
        return self._products.cols if self._transposed else self._products.rows

    @property
    def _cols(self) -> Index | None:
        return self._products.rows if self._transposed else self._products.cols


def _rebuilt(
    kind: type[FactorOperator],
    ks_values: tuple[NDArray[Any], ...],
    orderings: Orderings,
    transposed: bool,
    conjugated: bool,
) -> FactorOperator:
    """Inverse of pickling: what was made of the factors for products is made again where it is wanted."""
    base = kind(ks_values, orderings)
    if not transposed and not conjugated:
        return base
    return base._derived(transpose=transposed, conjugate=conjugated)
