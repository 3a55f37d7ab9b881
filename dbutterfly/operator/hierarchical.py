"""A hierarchical matrix as a SciPy linear operator: dense, low-rank and butterfly blocks, applied together."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse.linalg import LinearOperator

from . import interop
from .block_operator import BlockOperator
from .conjugate_gradients import Solution, solve_definite
from .diagonal_blocks import diagonal_preconditioner
from .factors import convert_factors

__all__ = ["HierarchicalOperator"]


class HierarchicalOperator(BlockOperator):
    """Matrix of disjoint blocks, each dense, of low rank or a butterfly, in an order of its rows and columns.

    :attr:`HierarchicalFactorization.operator` makes one.

    Parameters
    ----------
    blocks : sequence of BlockFactors
        The blocks; what none of them covers is zero. Their values are not copied, and not to be changed afterwards.
    shape : (int, int)
        Rows M and columns N.
    dtype : dtype
        float32, float64, complex64 or complex128. Products have the dtype that NumPy gives to it and the operand's.
    row_order, col_order : array of int, shapes (M,) and (N,), or None
        Row, and column, at each position; None where they stay as they are.
    symmetry : {"none", "symmetric", "hermitian"}
        Whether the matrix, in the order of the positions, equals its transpose or its adjoint. Then only blocks on and
        below the diagonal are given, and those below stand for those above, too.

    Attributes
    ----------
    blocks : tuple of BlockFactors
        The blocks; of a transposed operator, transposed.
    shape, dtype, row_order, col_order, symmetry
        As above.
    nnz : int
        Number of values that all blocks hold together.
    nbytes : int
        Their bytes.
    nbytes_prepared : int
        Bytes held besides the blocks, for products: 0 before the first one, and of an operator that was opened.

    Raises
    ------
    InputError
        If a block lies outside of the matrix, or above its diagonal with a symmetry, or its factors have other shapes
        or another dtype; if an order is no permutation.

    See Also
    --------
    scipy.sparse.linalg.LinearOperator : ``@``, ``.T``, ``.H``, ``matvec`` and the algebra of operators.

    Notes
    -----
    The first product lays the blocks out in panels for all further ones, which takes as long as some ten products. A
    product with a vector is then two calls of BLAS for each cluster, and reads every value once. At N = 4096, with 13.5
    MB of values in 1396 blocks, one core needs a quarter of the time of a loop over the blocks and a third of that of
    the dense matrix (2.1, 7.8 and 6.3 ms, beside programs that shared the cache); for 16 columns, 40 and 14 percent.

    Examples
    --------
    >>> import numpy as np
    >>> from dbutterfly import HierarchicalOperator
    >>> from dbutterfly.operator.block_factors import BlockFactors
    >>> diagonal = [BlockFactors(at, at, (2 * np.eye(2)[None, :, :, None],)) for at in ((0, 2), (2, 4))]
    >>> corner = BlockFactors((2, 4), (0, 2), (np.ones((1, 2, 1, 1)), np.ones((1, 1, 2, 1))))
    >>> operator = HierarchicalOperator([*diagonal, corner], (4, 4), "float64", symmetry="symmetric")
    >>> operator @ np.array([1.0, 0.0, 0.0, 0.0])
    array([2., 0., 1., 1.])
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
            Threads, among which the blocks are divided, so that a single vector gains too. Never more than there are
            cores; the product is the same to the bit for any number.

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
        """Lay the blocks out, and have the compiled kernels of butterflies ready, before the first product."""
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
            Of an array, its product, as :meth:`apply` gives it. Of a number, a HierarchicalOperator of scaled blocks.
            Of another operator, what SciPy gives.
        """
        return self._dot(x)

    # ---- transposes

    @property
    def T(self) -> Self:  # type: ignore[override]
        """Operator of the transpose; it shares the values, and their layout for products."""
        return self._transpose()

    @property
    def H(self) -> Self:
        """Operator of the conjugate transpose; it shares the values, and their layout for products."""
        return self._adjoint()

    def conj(self) -> Self:
        """Operator of the conjugate matrix; it shares the values, and their layout for products."""
        return self._derive(transpose=False, conjugate=True)

    # ---- solvers

    def preconditioner(self, size: int | None = None) -> LinearOperator:
        """Inverse of the blocks on the diagonal, which speeds up ``gmres`` and ``cg`` as their ``M``.

        Parameters
        ----------
        size : int, optional
            Positions of a block on the diagonal, about; larger blocks save iterations and cost ``size**2`` values for
            each position over ``size``. By default, the blocks on the diagonal are those of the matrix.

        Returns
        -------
        LinearOperator, shape (N, N)
            By Cholesky's factors where the blocks are symmetric and positive definite, else by Gaussian elimination.

        Raises
        ------
        InputError
            If the matrix is not square, or ``size`` is no positive integer.
        SingularFactorError
            If a block on the diagonal is singular; the message names it.

        Notes
        -----
        Conjugate gradients for an exponential covariance in the plane (N = 4096, length 0.1, residual 1e-6) take 1175
        iterations without, 153 with the blocks of the matrix, of 64 positions, 120 with 256 and 87 with 1024. With a
        Matern kernel (3/2) and noise of 1e-4 they do not end in 3000 without, and take 1600, 1048 and 571.
        """
        return diagonal_preconditioner(self, size)

    def solve(
        self, b: ArrayLike, tol: float | None = None, *, preconditioner: Any = None, most: int = 1000
    ) -> Solution:
        """Solve ``Z x = b`` by preconditioned conjugate gradients, for a symmetric, positive definite matrix.

        Parameters
        ----------
        b : array_like, shape (N,) or (N, k)
            Right-hand sides, each of which is solved by itself.
        tol : float, optional
            Residual that is allowed, relative to the norm of a right-hand side; by default 1e-8, and 1e-5 in single
            precision.
        preconditioner : LinearOperator, optional
            Approximate inverse; by default :meth:`preconditioner`.
        most : int
            Most iterations for a right-hand side.

        Returns
        -------
        Solution
            ``x``, the number of ``iterations`` and the relative ``residual``, the largest of any right-hand side.

        Raises
        ------
        ConvergenceError
            If the matrix is not symmetric (or Hermitian) or not positive definite, or the residual stays above ``tol``.
            :func:`scipy.sparse.linalg.gmres` and ``minres`` solve with such matrices.
        InputError
            If the matrix is not square, or ``b`` or ``tol`` is unusable.
        """
        return solve_definite(self, b, tol, preconditioner, most)

    # ---- conversions

    def to_dense(self) -> NDArray[Any]:
        """Multiply the blocks out.

        Returns
        -------
        ndarray of this operator's dtype, shape (M, N)
            The matrix, in the order of the operator and not of the positions.
        """
        rows, cols = self.shape
        dense = self._ranges((0, rows), (0, cols))
        for axis, order in enumerate((self.row_order, self.col_order)):
            if order is not None:
                dense = np.take(dense, np.argsort(order), axis=axis)
        return dense

    def astype(self, dtype: DTypeLike) -> Self:
        """Operator with blocks of another dtype.

        Raises
        ------
        InputError
            If it is none of float32, float64, complex64 and complex128, or would lose imaginary parts.
        """
        blocks = [
            block.with_values(convert_factors(block.ks_values, dtype) if block.ks_values else ())
            for block in self.blocks
        ]
        return self._with_blocks(blocks, np.dtype(dtype))

    def to_pylops(self) -> Any:
        """Wrap as a ``pylops.LinearOperator``, which calls this one.

        Raises
        ------
        InputError
            If PyLops is not installed.
        """
        return interop.pylops_of(self)
