"""The product of Kronecker-sparse factors as a SciPy linear operator: the public class, with all its methods."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import sparse

from ..errors import SingularFactorError
from . import files, interop
from .base import FactorOperator
from .factors import convert_factors, dense_matrix, fuse_neighbours, prune_factors
from .inverse import Condition, check_right_side, invert_factors, measure_conditions, solve_factors
from .norms import matrix_norm

__all__ = ["ButterflyOperator"]


class ButterflyOperator(FactorOperator):
    """Matrix ``Z`` with ``Z[rows][:, cols] = X_1 X_2 ... X_J``, applied factor by factor.

    Parameters
    ----------
    ks_values : sequence of ndarray, shapes (a, b, c, d)
        Nonzeros of the factors from left to right, of dtype float32, float64, complex64 or complex128; the factors
        need not form a chainable chain, but neighbours must multiply. Not copied, and not to be changed afterwards.
    orderings : None, Orderings or pair (rows, cols)
        Each side is None (standard order), ``"bitreversal"`` (for chains of full matrices only) or an index array. An
        array with -1 at some positions leaves their rows or columns out: the matrix is smaller than the product.

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
    nnz : int
        Number of values that all factors store together.
    nbytes : int
        Bytes of the values of all factors.
    nbytes_prepared : int
        Bytes held besides the factors, for products: 0 before the first one.

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
    long as some ten products with a vector, and half as much memory as the factors to as much as they.

    Compiled kernels multiply as soon as they are there. Numba keeps them in its cache on disk; the first use of a dtype
    on a machine finds none. Then plain array operations give the same results up to rounding, some two to nine times
    slower, and the kernels are compiled beside them once products have taken a second. To have them beforehand, call
    :meth:`compile`, or give the command ``dbutterfly compile``.

    Examples
    --------
    >>> import numpy as np
    >>> from dbutterfly import ButterflyOperator, Chain
    >>> h = np.array([[1.0, 1.0], [1.0, -1.0]])
    >>> hadamard = ButterflyOperator([np.broadcast_to(h[:, :, None], pattern) for pattern in Chain.square_dyadic(4)])
    >>> hadamard @ np.array([1.0, 2.0, 0.0, 0.0])
    array([ 3., -1.,  3., -1.])
    >>> hadamard.solve(np.array([10.0, -2.0, -4.0, 0.0]))
    array([1., 2., 3., 4.])
    """

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
            If ``out`` is no NumPy array, or cannot hold the dtype of the product, as a real one complex products.
        """
        return self._apply(x, out, workers)

    def compile(self) -> None:
        """Have the compiled kernels ready, and the factors laid out for them, before the first product.

        All products are then made by the same kernels, and equal to the bit. Where Numba's cache on disk does not hold
        the kernels of this dtype, that takes ten to twenty seconds.
        """
        self._products.compile()

    def dot(self, x: Any) -> Any:
        """Multiply by a vector, columns, a number, or another operator.

        Parameters
        ----------
        x : array, scalar or LinearOperator
            What the matrix is multiplied by.

        Returns
        -------
        array or LinearOperator
            Of an array, its product, as :meth:`apply` gives it. Of a number, a ButterflyOperator with a scaled factor.
            Of a ButterflyOperator, one with the factors of both, if the orderings between the two cancel. Of any other
            operator, what SciPy gives.
        """
        return self._dot(x)

    # ---- transposes

    @property
    def T(self) -> Self:  # type: ignore[override]
        """Operator of the transpose; it shares the factors, and their layout for products."""
        return self._transpose()

    @property
    def H(self) -> Self:
        """Operator of the conjugate transpose; it shares the factors, and their layout for products."""
        return self._adjoint()

    def conj(self) -> Self:
        """Operator of the conjugate matrix; it shares the factors, and their layout for products."""
        return self._derive(transpose=False, conjugate=True)

    # ---- inverses

    def solve(self, b: ArrayLike) -> NDArray[Any]:
        """Solve ``Z x = b`` for an operator whose factors are square and invertible.

        Parameters
        ----------
        b : array_like, shape (M,) or (M, k)
            Right-hand sides.

        Returns
        -------
        ndarray of dtype ``result_type(dtype, b)``, shape (N,) or (N, k)
            Solution by Gaussian elimination in every small matrix. :meth:`condition_numbers` bound the growth of
            rounding errors.

        Raises
        ------
        SingularFactorError
            If a factor is not square, or has a small matrix that is singular to working precision; the message names
            it. Also if the chain is longer than the matrix.
        ValueError
            If ``b`` has another number of rows.
        """
        self._check_no_gaps()
        right = check_right_side(b, self.shape[0], self.dtype)
        return solve_factors(self.ks_values, self._rows, self._cols, right, self._conditions)

    def inverse(self) -> Self:
        """Operator of the inverse: a product with it is as fast as one with this operator, which ``solve`` is not.

        Raises
        ------
        SingularFactorError
            As :meth:`solve`.
        """
        self._check_no_gaps()
        return type(self)(invert_factors(self.ks_values, self._conditions), (self._cols, self._rows))

    def _check_no_gaps(self) -> None:
        if self.shape != self.chain.shape:
            raise SingularFactorError(
                f"the {self.shape[0]} x {self.shape[1]} operator is part of a {self.chain.shape[0]} x "
                f"{self.chain.shape[1]} product, so it cannot be inverted factor by factor; use "
                "scipy.sparse.linalg.gmres or lsqr with it"
            )

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
        return np.array([condition.number for condition in self._conditions])

    @cached_property
    def _conditions(self) -> list[Condition]:
        return measure_conditions(self.ks_values)

    # ---- norms

    def norm(self, ord: Literal["fro", 1, 2] | float = "fro", *, tol: float = 1e-3, seed: int = 0) -> float:
        """Norm of the matrix.

        Parameters
        ----------
        ord : {"fro", 2, 1, inf}
            Frobenius norm: exact, from the factors, for a chainable chain, else an estimate from 64 products, with a
            standard deviation of at most 9 percent. Spectral norm: Lanczos iterations. Largest sum of moduli of a
            column or row: exact for a matrix of up to 2^26 entries, else an estimate, which is a lower bound (of 40
            orthogonal butterflies, it was exact for 4 and at least 0.88 of the value for the others).
        tol : float
            Relative accuracy of the spectral norm.
        seed : int
            Seed of the random vectors: the same seed gives the same estimate.

        Returns
        -------
        float
            The norm, or its estimate; NaN where a factor is not finite.

        Raises
        ------
        InputError
            If ``ord`` is none of them, or the spectral norm is not found to ``tol``.
        """
        return matrix_norm(self, ord, tol, seed)

    # ---- other factors

    def fuse(self, n: int) -> Self:
        """Operator of ``n`` factors: neighbours are multiplied together, those that cost the fewest values.

        Parameters
        ----------
        n : int
            Number of factors. Products prepare themselves, and need no help: this is for exports, and for hardware
            that likes few large matrices.

        Returns
        -------
        ButterflyOperator
            Operator of the same matrix.

        Raises
        ------
        ChainError
            If so few factors cannot be reached, as only neighbours of a chainable chain multiply to one factor.
        """
        return type(self)(fuse_neighbours(self.ks_values, self.chain, n), (self._rows, self._cols))

    def astype(self, dtype: DTypeLike) -> Self:
        """Operator with factors of another dtype.

        Raises
        ------
        InputError
            If it is none of float32, float64, complex64 and complex128, or would lose imaginary parts.
        """
        return type(self)(convert_factors(self.ks_values, dtype), self.orderings)

    def prune(self, tol: float) -> Self:
        """Operator of the least ranks for an error: ranks above one of a chainable chain are lowered at every junction.

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
        pruned = prune_factors(self.ks_values, self.chain, tol)
        if pruned is None:
            return self
        factors, is_transposed = pruned
        if is_transposed:
            return type(self)(factors, (self._cols, self._rows)).T
        return type(self)(factors, (self._rows, self._cols))

    # ---- conversions

    def to_dense(self) -> NDArray[Any]:
        """Multiply the factors out.

        Returns
        -------
        ndarray of this operator's dtype, shape (M, N)
            The matrix ``Z``, in the order of the operator and not of the chain.
        """
        return dense_matrix(self.ks_values, self._rows, self._cols)

    def to_scipy(self) -> list[sparse.csr_array]:
        """Convert the factors to sparse matrices.

        Returns
        -------
        list of csr_array
            One matrix per factor, whose product from left to right is the operator: the row permutation is folded
            into the first and the column permutation into the last. Indices are sorted and values are copies.
        """
        return interop.sparse_factors(self.ks_values, self._rows, self._cols)

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
        return interop.lazylinop_of(self)

    @classmethod
    def from_lazylinop(cls, operator: Any) -> Self:
        """Take over the factors of an operator of ``lazylinop.butterfly`` (``ksm``, ``ksd``, ``dft``, ...).

        Raises
        ------
        InputError
            If it has none.
        """
        return cls(*interop.from_lazylinop(operator))

    def to_pylops(self) -> Any:
        """Wrap as a ``pylops.LinearOperator``, which calls this one.

        Raises
        ------
        InputError
            If PyLops is not installed.
        """
        return interop.pylops_of(self)

    # ---- files

    def save(self, place: Any, *, overwrite: bool = False) -> None:
        """Write factors and orderings.

        Parameters
        ----------
        place : str, path or Zarr store
            A name that ends with ``.npz`` for one NumPy file; else a place for a Zarr group, local or a URL.
        overwrite : bool
            Whether to replace an ``.npz`` file, or a stored operator, factorization or run, that is there. It stays
            until the new one is complete. Nothing else is replaced, and nothing in object storage.

        Raises
        ------
        InputError
            If the file cannot be written; StoreError if the group cannot be.
        """
        files.save_factors(place, self.ks_values, self.chain, self.orderings, overwrite=overwrite)

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
