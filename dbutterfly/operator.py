"""The product of Kronecker-sparse factors as a SciPy linear operator."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from array_api_compat import is_array_api_obj
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from .chain import Chain
from .errors import ChainError, InputError
from .fusing import groups_of_count
from .kernels.fusion import fuse_factors
from .kernels.ksmm import dense_product
from .kernels.rounding import product_norm, rounded
from .operations import exchange, files, norms
from .operations.dask_columns import is_dask_array, multiply_chunks
from .operations.factors import (
    Index,
    checked_chain,
    checked_factors,
    checked_permutations,
    transposed_factors,
)
from .operations.inverse import Condition, check_invertible, conditions, inverted_factors, solved
from .operations.products import Products, checked_workers
from .orderings import Orderings

__all__ = ["ButterflyOperator"]


class ButterflyOperator(LinearOperator):
    """Matrix ``Z`` with ``Z[rows][:, cols] = X_1 X_2 ... X_J``, applied factor by factor.

    Parameters
    ----------
    ks_values : sequence of ndarray, shapes (a, b, c, d)
        Nonzeros of the factors from left to right, of dtype float32, float64, complex64 or complex128; the factors
        need not form a chainable chain, but neighbours must multiply. Not copied, and not to be changed afterwards.
    orderings : None, Orderings or pair (rows, cols)
        Each side is None (standard order), ``"bitreversal"`` (for chains of full matrices only) or an index array.

    Attributes
    ----------
    ks_values : tuple of ndarray
        The factors; of an adjoint operator, conjugated whenever they are asked for.
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

    The first product lays the factors out for all further ones, of the transpose and the adjoint too: this takes as
    long as some ten products with a vector, and about as much memory as the factors. With Numba (``pip install
    "dbutterfly[jit]"``), compiled kernels multiply; they are compiled, for some seconds, when a dtype is first used on
    a machine, and kept in Numba's cache on disk. Without it, plain array operations give the same results up to
    rounding, some two to six times slower; nothing else tells the two apart.

    Examples
    --------
    >>> import numpy as np
    >>> h = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> hadamard = ButterflyOperator([np.broadcast_to(h[:, :, None], pattern) for pattern in Chain.square_dyadic(4)])
    >>> hadamard @ np.array([1.0, 2.0, 0.0, 0.0])
    array([ 3., -1.,  3., -1.])
    >>> hadamard.solve(np.array([10.0, -2.0, -4.0, 0.0]))
    array([1., 2., 3., 4.])
    """

    def __init__(self, ks_values: Iterable[ArrayLike], orderings: Any = None) -> None:
        factors = checked_factors(ks_values)
        chain = checked_chain(factors)
        ordered = Orderings.from_any(orderings)
        rows, cols = checked_permutations(ordered, chain)
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

    def _derived(self, *, transpose: bool, conjugate: bool) -> ButterflyOperator:
        """Operator of the transpose or conjugate, which shares the factors and what was made of them.

        Transposed patterns put the digits of the indices in the opposite order, so that a transposed chain is in
        general not chainable and "bitreversal" would not mean the same there: orderings become index arrays.
        """
        chain, orderings = self.chain, self.orderings
        if transpose:
            chain, orderings = chain.T, Orderings(self._cols, self._rows)
        new: ButterflyOperator = object.__new__(ButterflyOperator)  # the stubs know the factory __new__ only
        conjugated = self._conjugated != (conjugate and self.dtype.kind == "c")
        return new._become(
            self._products, chain, orderings, transposed=self._transposed != transpose, conjugated=conjugated
        )

    def __reduce__(self) -> tuple[Any, ...]:
        base = Orderings(self.orderings.cols, self.orderings.rows) if self._transposed else self.orderings
        return _rebuilt, (self._products.ks_values, base, self._transposed, self._conjugated)

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
            factors = transposed_factors(factors)
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

    # ---- products

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
            If ``out`` cannot hold the dtype of the product, as for complex products into a real array.
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
        if out is not None and (not isinstance(out, np.ndarray) or out.shape != wanted):
            raise ValueError(f"out has shape {np.shape(out)}; the product is an array of shape {wanted}")
        pair = (x, out) if x.ndim == 2 else (x[:, None], None if out is None else out[:, None])
        product = self._multiply(*pair, workers=checked_workers(workers))
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
        if isinstance(x, ButterflyOperator) and self.shape[1] == x.shape[0] and _cancel(self._cols, x._rows):
            return ButterflyOperator((*self.ks_values, *x.ks_values), (self._rows, x._cols))
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

    def __neg__(self) -> ButterflyOperator:  # type: ignore[override]
        return self._scaled(-1)

    def _scaled(self, number: Any) -> ButterflyOperator:
        """Multiply the smallest factor by a number."""
        factors = list(self.ks_values)
        smallest = min(range(len(factors)), key=lambda index: factors[index].size)
        factors[smallest] = factors[smallest] * number
        return ButterflyOperator(factors, self.orderings)

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

    def _transpose(self) -> ButterflyOperator:
        return self._derived(transpose=True, conjugate=False)

    def _adjoint(self) -> ButterflyOperator:
        return self._derived(transpose=True, conjugate=True)

    @property
    def T(self) -> ButterflyOperator:  # type: ignore[override]
        """Operator of the transpose; it shares the factors, and what was made of them for products."""
        return self._transpose()

    @property
    def H(self) -> ButterflyOperator:
        """Operator of the conjugate transpose; it shares the factors, and what was made of them for products."""
        return self._adjoint()

    def conj(self) -> ButterflyOperator:
        """Operator of the conjugate matrix; it shares the factors."""
        return self._derived(transpose=False, conjugate=True)

    @property
    def _rows(self) -> Index | None:
        return self._products.cols if self._transposed else self._products.rows

    @property
    def _cols(self) -> Index | None:
        return self._products.rows if self._transposed else self._products.cols

    # ---- inverses

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
    def _conditions(self) -> list[Condition]:
        return conditions(self.ks_values)

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
        check_invertible(factors, self._conditions)
        columns = right[:, None] if right.ndim == 1 else right
        columns = columns.astype(np.result_type(self.dtype, right.dtype), copy=False)
        return solved(factors, self._rows, self._cols, columns).reshape(right.shape)

    def inverse(self) -> ButterflyOperator:
        """Operator of the inverse: a product with it is as fast as one with this operator, which ``solve`` is not.

        Raises
        ------
        SingularFactorError
            As :meth:`solve`.
        """
        factors = self.ks_values
        check_invertible(factors, self._conditions)
        return ButterflyOperator(inverted_factors(factors), (self._cols, self._rows))

    # ---- other operators

    def fuse(self, n: int) -> ButterflyOperator:
        """Operator of ``n`` factors: neighbours are multiplied together, those that cost the fewest values.

        Parameters
        ----------
        n : int
            Number of factors. Products prepare themselves, and need no help: this is for exports, and for hardware
            that likes few large matrices.

        Raises
        ------
        ChainError
            If so few factors cannot be reached, as only neighbours of a chainable chain multiply to one factor.
        """
        factors = self.ks_values
        groups = groups_of_count(self.chain.patterns, n)
        products = [np.ascontiguousarray(fuse_factors([factors[index] for index in group])) for group in groups]
        return ButterflyOperator(products, (self._rows, self._cols))

    def astype(self, dtype: DTypeLike) -> ButterflyOperator:
        """Operator with factors of another dtype.

        Raises
        ------
        InputError
            If it is none of float32, float64, complex64 and complex128, or would lose imaginary parts.
        """
        wanted = np.dtype(dtype)
        if wanted.char not in "fdFD":
            raise InputError(f"dtype={wanted} is not supported; use float32, float64, complex64 or complex128")
        if self.dtype.kind == "c" and wanted.kind != "c":
            raise InputError(f"dtype={wanted} would lose the imaginary parts of an operator of dtype {self.dtype}")
        return ButterflyOperator([values.astype(wanted) for values in self.ks_values], self.orderings)

    def prune(self, tol: float) -> ButterflyOperator:
        """Operator with the least ranks for an error: what the junctions of a chain of rank above one do not need goes.

        Parameters
        ----------
        tol : float
            Frobenius error that is allowed, relative to the norm of this operator.

        Returns
        -------
        ButterflyOperator
            This operator if there is nothing to drop.

        Raises
        ------
        InputError
            If ``tol`` is not a number from 0 to 1; ChainError if the chain is not chainable.
        """
        if not (isinstance(tol, (int, float)) and 0 <= tol <= 1):
            raise InputError(f"tol={tol!r} is no relative error; use a number from 0 to 1, such as 1e-6")
        factors, chain, turned = self._chainable()
        if chain.ranks is None:
            raise ChainError(f"{self.chain!r} is not chainable, so its junctions have no ranks to lower")
        kept, _ = rounded(factors, chain, tol)
        if Chain([values.shape for values in kept]) == chain:
            return self
        if turned:
            return ButterflyOperator(kept, (self._cols, self._rows)).T
        return ButterflyOperator(kept, (self._rows, self._cols))

    def _chainable(self) -> tuple[tuple[NDArray[Any], ...], Chain, bool]:
        """Factors and chain of this operator, or of its transpose, said third, where only that one is chainable."""
        if self.chain.ranks is None and self.chain.T.ranks is not None:
            return transposed_factors(self.ks_values), self.chain.T, True
        return self.ks_values, self.chain, False

    def norm(self, ord: Literal["fro", 1, 2] | float = "fro", *, tol: float = 1e-3, seed: int = 0) -> float:
        """Norm of the matrix.

        Parameters
        ----------
        ord : {"fro", 2, 1, inf}
            Frobenius norm: exact, from the factors, for a chainable chain, else an estimate from 64 products, with a
            standard deviation of at most 9 percent. Spectral norm: Lanczos iterations. Largest sum of moduli of a
            column or row: an estimate, which is a lower bound and mostly exact.
        tol : float
            Relative accuracy of the spectral norm.
        seed : int
            Of the random vectors.

        Raises
        ------
        InputError
            If ``ord`` is none of them.
        """
        if ord == "fro":
            factors, chain, _ = self._chainable()
            if chain.ranks is None:
                return norms.estimated_frobenius(self, seed)
            return product_norm([values.astype(self.dtype, copy=False) for values in factors], chain)
        if ord == 2:
            return norms.estimated_two(self, tol, seed)
        if ord in (1, math.inf):
            return norms.estimated_one(self if ord == 1 else self.H)
        raise InputError(f'ord={ord!r} is unknown; use "fro", 2, 1 or inf')

    # ---- moving

    def to_dense(self) -> NDArray[Any]:
        """Multiply the factors out.

        Returns
        -------
        ndarray of this operator's dtype, shape (M, N)
            The matrix ``Z``, in the order of the operator and not of the chain.
        """
        product: NDArray[Any] = dense_product(self.ks_values)
        for axis, index in enumerate((self._rows, self._cols)):
            if index is not None:
                product = np.take(product, np.argsort(index), axis=axis)
        return product

    def to_scipy(self) -> list[sparse.csr_array]:
        """Convert the factors to sparse matrices.

        Returns
        -------
        list of csr_array
            One matrix per factor, whose product from left to right is the operator: the row permutation is folded
            into the first and the column permutation into the last. Indices are sorted and values are copies.
        """
        return exchange.sparse_factors(self.ks_values, self._rows, self._cols)

    def to_lazylinop(self) -> Any:
        """Convert to an operator of the package lazylinop.

        Returns
        -------
        lazylinop.LazyLinOp
            ``lazylinop.butterfly.ksm`` of the factors, for a chainable chain in standard order; else an operator that
            calls this one.

        Raises
        ------
        InputError
            If lazylinop is not installed.
        """
        return exchange.lazylinop_of(self)

    @classmethod
    def from_lazylinop(cls, operator: Any) -> Self:
        """Take over the factors of an operator of ``lazylinop.butterfly`` (``ksm``, ``ksd``, ``dft``, ...).

        Raises
        ------
        InputError
            If it has none.
        """
        return cls(*exchange.from_lazylinop(operator))

    def to_pylops(self) -> Any:
        """Wrap as a ``pylops.LinearOperator``, which calls this one.

        Raises
        ------
        InputError
            If PyLops is not installed.
        """
        return exchange.pylops_of(self)

    def save(self, place: Any) -> None:
        """Write factors and orderings.

        Parameters
        ----------
        place : str, path or Zarr store
            A name that ends with ``.npz`` for one NumPy file, which is replaced if it is there; else an empty place for
            a Zarr group, local or a URL.

        Raises
        ------
        InputError
            If the file cannot be written; StoreError if the group cannot be.
        """
        files.save_factors(place, self.ks_values, self.chain, self.orderings)

    @classmethod
    def load(cls, place: Any) -> Self:
        """Read what :meth:`save`, a run or :meth:`dbutterfly.Factorization.save` left.

        Raises
        ------
        InputError
            If an ``.npz`` file is missing or holds no operator.
        StoreError
            If a store holds neither an operator nor a complete run, or is damaged.
        """
        return cls(*files.load_factors(place))


def _rebuilt(
    ks_values: tuple[NDArray[Any], ...], orderings: Orderings, transposed: bool, conjugated: bool
) -> ButterflyOperator:
    """Inverse of pickling: what was made of the factors for products is made again where it is wanted."""
    base = ButterflyOperator(ks_values, orderings)
    if not transposed and not conjugated:
        return base
    return base._derived(transpose=transposed, conjugate=conjugated)


def _cancel(cols: Index | None, rows: Index | None) -> bool:
    """Whether the orderings between two operators undo each other."""
    if cols is None or rows is None:
        return cols is rows
    return bool(np.array_equal(cols, rows))
