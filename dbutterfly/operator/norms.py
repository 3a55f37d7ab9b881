"""Norms of an operator: exact where its factors tell, else estimated from products."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, onenormest, svds

from ..errors import InputError
from ..kernels.factors.rounding import product_norm
from .base import FactorOperator
from .checks import chainable_factors

__all__ = ["Measuring"]

SMALL = 8
"""Rows or columns up to which the matrix is formed: iterations need more room than that."""

PROBES = 64
"""Random vectors of an estimate of the Frobenius norm: the relative standard deviation is at most ``1/sqrt(2*64)``."""


class Measuring(FactorOperator):
    """Norms."""

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
            factors, chain, _ = chainable_factors(self.ks_values, self.chain)
            if chain.ranks is None:
                return _estimate_frobenius(self, seed)
            return product_norm([values.astype(self.dtype, copy=False) for values in factors], chain)
        if ord == 2:
            return _estimate_two(self, tol, seed)
        if ord in (1, math.inf):
            return _estimate_one(self if ord == 1 else self.H)
        raise InputError(f'ord={ord!r} is unknown; use "fro", 2, 1 or inf')


def _estimate_two(operator: LinearOperator, tol: float, seed: int) -> float:
    """Largest singular value, by Lanczos iterations until their residual is below ``tol`` times it."""
    if min(operator.shape) <= SMALL:
        return float(np.linalg.norm(_dense(operator), 2))
    start = np.random.default_rng(seed).standard_normal(min(operator.shape)).astype(operator.dtype)
    found = svds(operator, k=1, tol=tol, v0=start, return_singular_vectors=False)
    return float(np.asarray(found)[0])


def _estimate_one(operator: LinearOperator) -> float:
    """Largest sum of the moduli of a column: a lower bound, and mostly the value itself (Higham and Tisseur, 2000)."""
    rows, cols = operator.shape
    if min(rows, cols) <= SMALL:
        return float(np.linalg.norm(_dense(operator), 1))
    size = max(rows, cols)
    square = operator if rows == cols else _pad(operator, size)
    return float(onenormest(square))


def _estimate_frobenius(operator: LinearOperator, seed: int) -> float:
    """Root of the mean energy of products with random vectors."""
    if min(operator.shape) <= SMALL:
        return float(np.linalg.norm(_dense(operator)))
    probes = np.random.default_rng(seed).standard_normal((operator.shape[1], PROBES)).astype(operator.dtype)
    products = operator.matmat(probes)
    return float(np.sqrt(np.sum(np.abs(products) ** 2, dtype=np.float64) / PROBES))


def _dense(operator: LinearOperator) -> NDArray[Any]:
    rows, cols = operator.shape
    if cols <= rows:
        return np.asarray(operator.matmat(np.eye(cols, dtype=operator.dtype)))
    return np.asarray(operator.rmatmat(np.eye(rows, dtype=operator.dtype))).conj().T


def _pad(operator: LinearOperator, size: int) -> LinearOperator:
    """The operator with rows or columns of zeros that make it square."""
    rows, cols = operator.shape

    def forward(x: NDArray[Any]) -> NDArray[Any]:
        y = np.zeros((size, x.shape[1]), np.result_type(operator.dtype, x.dtype))
        y[:rows] = operator.matmat(x[:cols])
        return y

    def backward(x: NDArray[Any]) -> NDArray[Any]:
        y = np.zeros((size, x.shape[1]), np.result_type(operator.dtype, x.dtype))
        y[:cols] = operator.rmatmat(x[:rows])
        return y

    return LinearOperator(
        (size, size),
        dtype=operator.dtype,
        matvec=lambda x: forward(x.reshape(-1, 1))[:, 0],
        rmatvec=lambda x: backward(x.reshape(-1, 1))[:, 0],
        matmat=forward,
        rmatmat=backward,
    )
