"""The product of Kronecker-sparse factors as a SciPy linear operator."""

from __future__ import annotations

from .applying import Applying
from .changing import Changing
from .inverse import Inverting
from .moving import Moving
from .norms import Measuring

__all__ = ["ButterflyOperator"]


class ButterflyOperator(Applying, Inverting, Changing, Measuring, Moving):
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
    long as some ten products with a vector, and half as much memory as the factors to as much as they. With Numba
    (``pip install "dbutterfly[jit]"``), compiled kernels multiply; they are compiled, for some ten seconds, when a
    dtype is first used on a machine, and kept in Numba's cache on disk. Without it, plain array operations give the
    same results up to rounding, some two to nine times slower; nothing else tells the two apart.

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
