"""Operators with other factors: fewer, smaller, or of another dtype."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from ..errors import ChainError, InputError
from ..kernels.factors.rounding import round_product
from ..kernels.products.fusion import fuse_factors
from ..structure.chain import Chain
from ..structure.fusion import groups_of_count
from .base import FactorOperator
from .checks import chainable_factors

__all__ = ["Changing"]


class Changing(FactorOperator):
    """Operators made of this one."""

    def fuse(self, n: int) -> Self:
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
        return type(self)(products, (self._rows, self._cols))

    def astype(self, dtype: DTypeLike) -> Self:
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
        return type(self)([values.astype(wanted) for values in self.ks_values], self.orderings)

    def prune(self, tol: float) -> Self:
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
        factors, chain, turned = chainable_factors(self.ks_values, self.chain)
        if chain.ranks is None:
            raise ChainError(f"{self.chain!r} is not chainable, so its junctions have no ranks to lower")
        kept, _ = round_product(factors, chain, tol)
        if Chain([values.shape for values in kept]) == chain:
            return self
        if turned:
            return type(self)(kept, (self._cols, self._rows)).T
        return type(self)(kept, (self._rows, self._cols))
