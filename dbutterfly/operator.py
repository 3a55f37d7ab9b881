"""The product of Kronecker-sparse factors as a SciPy linear operator."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from .chain import Chain, Pattern
from .errors import ChainError, InputError
from .kernels.ksmm import apply_chain, dense_product
from .orderings import Orderings

__all__ = ["ButterflyOperator"]

Index: TypeAlias = NDArray[np.int64]

_DTYPE_CHARS = "fdFD"  # float32, float64, complex64, complex128


class ButterflyOperator(LinearOperator):
    """Matrix ``Z`` with ``Z[rows][:, cols] = X_1 X_2 ... X_J``, applied factor by factor.

    Parameters
    ----------
    ks_values : sequence of ndarray, shapes (a, b, c, d)
        Nonzeros of the factors from left to right, of dtype float32, float64, complex64 or complex128; the factors
        need not form a chainable chain, but neighbours must multiply. Not copied.
    orderings : None, Orderings or pair (rows, cols)
        Each side is None (standard order), ``"bitreversal"`` (for chains of full matrices only) or an index array.

    Attributes
    ----------
    ks_values : tuple of ndarray
        The factors.
    chain : Chain
        Their patterns.
    orderings : Orderings
        The orderings, as given.
    shape : (int, int)
        Rows M and columns N.
    dtype : dtype
        Common dtype of the factors. Products have the dtype that NumPy gives to this one and the operand's.

    Raises
    ------
    InputError
        If a factor is not a 4-D array of one of the four dtypes, or an index array is not a permutation of its side.
    ChainError
        If two neighbours do not multiply, or ``"bitreversal"`` is asked of a chain whose indices have no digits to
        reverse. It is an InputError too.

    See Also
    --------
    scipy.sparse.linalg.LinearOperator : ``@``, ``.T``, ``.H``, ``matvec`` and the algebra of operators.

    Notes
    -----
    A factor of pattern ``(a, b, c, d)`` has ``ks_values[ia, ib, ic, id]`` in row ``(ia*b + ib)*d + id`` and column
    ``(ia*c + ic)*d + id``, as in ``lazylinop.butterfly``.

    Examples
    --------
    >>> import numpy as np
    >>> h = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> hadamard = ButterflyOperator([np.broadcast_to(h[:, :, None], pattern) for pattern in Chain.square_dyadic(4)])
    >>> hadamard @ np.array([1.0, 2.0, 0.0, 0.0])
    array([ 3., -1.,  3., -1.])
    """

    def __init__(self, ks_values: Iterable[ArrayLike], orderings: Any = None) -> None:
        self.ks_values = _checked_factors(ks_values)
        self.chain = _checked_chain(self.ks_values)
        self.orderings = Orderings.from_any(orderings)
        self._rows, self._cols = _checked_permutations(self.orderings, self.chain)
        dtype = np.result_type(*self.ks_values)
        super().__init__(dtype, self.chain.shape)  # type: ignore[call-arg]  # the stubs know the factory __new__ only

    def __repr__(self) -> str:
        rows, cols = self.shape
        return (
            f"<{rows}x{cols} {type(self).__name__} of {len(self.chain)} factors with dtype={self.dtype}, "
            f"nnz={self.nnz}, {self.orderings.describe()}>"
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all factors."""
        return sum(values.nbytes for values in self.ks_values)

    @property
    def nnz(self) -> int:
        """Number of values that all factors store together."""
        return self.chain.nnz

    def to_dense(self) -> NDArray[Any]:
        """Multiply the factors out.

        Returns
        -------
        ndarray of this operator's dtype, shape (M, N)
            The matrix ``Z``, in the order of the operator and not of the chain.
        """
        product: NDArray[Any] = dense_product(self.ks_values)
        return _scatter(_scatter(product, self._rows).T, self._cols).T

    def to_scipy(self) -> list[sparse.csr_array]:
        """Convert the factors to sparse matrices.

        Returns
        -------
        list of csr_array
            One matrix per factor, whose product from left to right is the operator: the row permutation is folded
            into the first and the column permutation into the last. Indices are sorted and values are copies.
        """
        factors = [_to_csr(values) for values in self.ks_values]
        if self._rows is not None:
            factors[0] = factors[0][np.argsort(self._rows)]
        if self._cols is not None:
            factors[-1] = factors[-1][:, np.argsort(self._cols)]
        for factor in factors:
            factor.sort_indices()
        return factors

    def _matmat(self, X: NDArray[Any]) -> NDArray[Any]:
        x = _gather(np.asarray(X), self._cols)
        return _scatter(apply_chain(self.ks_values, x), self._rows)

    def _matvec(self, x: NDArray[Any]) -> NDArray[Any]:
        return self._matmat(x.reshape(-1, 1))

    def _rmatmat(self, X: NDArray[Any]) -> NDArray[Any]:
        # Z^H x = conj(Z^T conj(x)): conjugates two thin matrices and no factor.
        x = _gather(np.conj(np.asarray(X)), self._rows)
        return _scatter(np.conj(apply_chain(_transposed(self.ks_values), x)), self._cols)

    def _rmatvec(self, x: NDArray[Any]) -> NDArray[Any]:
        return self._rmatmat(x.reshape(-1, 1))

    def _transpose(self) -> ButterflyOperator:
        """Operator of the transpose; its factors are views.

        Transposed patterns put the digits of the indices in the opposite order, so that a transposed chain is in
        general not chainable and "bitreversal" would not mean the same there: orderings become index arrays.
        """
        return ButterflyOperator(_transposed(self.ks_values), (self._cols, self._rows))

    def _adjoint(self) -> ButterflyOperator:
        """Operator of the conjugate transpose; real factors are views and complex ones copies."""
        factors = [np.conj(values) if np.iscomplexobj(values) else values for values in _transposed(self.ks_values)]
        return ButterflyOperator(factors, (self._cols, self._rows))


def _checked_factors(ks_values: Iterable[ArrayLike]) -> tuple[NDArray[Any], ...]:
    if not isinstance(ks_values, Iterable):
        raise InputError(f"ks_values={ks_values!r} is not a sequence of 4-D arrays (a, b, c, d), one per factor")
    factors = tuple(_checked_factor(np.asarray(values), index) for index, values in enumerate(ks_values))
    if not factors:
        raise InputError("ks_values is empty; an operator needs at least one 4-D array (a, b, c, d)")
    return factors


def _checked_factor(values: NDArray[Any], index: int) -> NDArray[Any]:
    if values.ndim != 4 or values.size == 0:
        raise InputError(
            f"ks_values[{index}] has shape {values.shape}; every factor is a 4-D array (a, b, c, d) without an empty "
            "axis, and a single one is passed as [values]"
        )
    if values.dtype.char not in _DTYPE_CHARS:
        raise InputError(
            f"ks_values[{index}] has dtype {values.dtype}; convert it with astype to float32, float64, complex64 or "
            "complex128"
        )
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _checked_chain(factors: tuple[NDArray[Any], ...]) -> Chain:
    for index, (left, right) in enumerate(itertools.pairwise(Pattern(*values.shape) for values in factors)):
        if left.shape[1] != right.shape[0]:
            raise ChainError(
                f"ks_values[{index}] of shape {left} is a matrix of {left.shape[1]} columns but ks_values[{index + 1}] "
                f"of shape {right} is one of {right.shape[0]} rows; neighbours of shapes (a1, b1, c1, d1) and "
                "(a2, b2, c2, d2) must satisfy a1*c1*d1 == a2*b2*d2"
            )
    return Chain([values.shape for values in factors])


def _checked_permutations(orderings: Orderings, chain: Chain) -> tuple[Index | None, Index | None]:
    orderings.validate(chain.shape)
    reverses_digits = isinstance(orderings.rows, str) or isinstance(orderings.cols, str)
    if reverses_digits and not chain.is_dense:
        raise ChainError(
            f'orderings ({orderings.describe()}): "bitreversal" needs a chainable chain that starts with a = 1 and '
            f"ends with d = 1, not {chain!r}; pass an index array"
        )
    return orderings.permutations(chain)


def _transposed(factors: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    return tuple(values.swapaxes(1, 2) for values in reversed(factors))


def _gather(x: NDArray[Any], index: Index | None) -> NDArray[Any]:
    return x if index is None else np.take(x, index, axis=0)


def _scatter(y: NDArray[Any], index: Index | None) -> NDArray[Any]:
    """Undo ``_gather``."""
    if index is None:
        return y
    scattered = np.empty_like(y)
    scattered[index] = y
    return scattered


def _to_csr(values: NDArray[Any]) -> sparse.csr_array:
    """Convert a factor; row ``(ia, ib, id)`` holds the ``c`` columns ``(ia, ic, id)`` in ascending order."""
    pattern = Pattern(*values.shape)
    a, _, c, d = pattern
    columns = np.arange(a * c * d).reshape(a, 1, c, d)
    indices = np.broadcast_to(columns, pattern).transpose(0, 1, 3, 2).ravel()
    data = values.transpose(0, 1, 3, 2).ravel()
    return sparse.csr_array((data, indices, np.arange(0, pattern.nnz + 1, c)), shape=pattern.shape)
