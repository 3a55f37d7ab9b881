"""Operators in other forms and places."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ..kernels.products.ksmm import dense_product
from . import files, interop
from .base import FactorOperator

__all__ = ["Moving"]


class Moving(FactorOperator):
    """Conversions and files."""

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
