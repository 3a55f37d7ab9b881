"""Norms of an operator: exact where its factors give them, else estimated from products."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, onenormest, svds

from ..errors import InputError
from ..kernels.factors.rounding import product_norm
from .base import FactorOperator
from .factors import chainable_factors

__all__ = ["matrix_norm"]

SMALL = 8
"""Rows or columns up to which the norm is that of the dense matrix.

Not tuned: ARPACK and the blocks of ``onenormest`` need more rows than the vectors they hold, and so few products cost
nothing.
"""

PROBES = 64
"""Random vectors of an estimate of the Frobenius norm.

Not tuned, but derived: the relative standard deviation of the estimate is at most ``1/sqrt(2*64)``, 9 percent, whatever
the matrix (a matrix of rank one is the worst).
"""


def matrix_norm(operator: FactorOperator, ord: Literal["fro", 1, 2] | float, tol: float, seed: int) -> float:
    """Norm of the matrix of an operator; see :meth:`dbutterfly.ButterflyOperator.norm`."""
    if ord == "fro":
        factors, chain, _ = chainable_factors(operator.ks_values, operator.chain)
        if chain.ranks is None:
            return _estimate_frobenius(operator, seed)
        return product_norm([values.astype(operator.dtype, copy=False) for values in factors], chain)
    if ord == 2:
        return _estimate_two(operator, tol, seed)
    if ord in (1, math.inf):
        return _estimate_one(operator if ord == 1 else operator.H)
    raise InputError(f'ord={ord!r} is unknown; use "fro", 2, 1 or inf')


def _estimate_two(operator: LinearOperator, tol: float, seed: int) -> float:
    """Estimate the largest singular value, by Lanczos iterations until their residual is below ``tol`` times it."""
    if min(operator.shape) <= SMALL:
        return float(np.linalg.norm(_form_dense(operator), 2))
    start = np.random.default_rng(seed).standard_normal(min(operator.shape)).astype(operator.dtype)
    found = svds(operator, k=1, tol=tol, v0=start, return_singular_vectors=False)
    return float(np.asarray(found)[0])


def _estimate_one(operator: LinearOperator) -> float:
    """Estimate the largest sum of the moduli of a column.

    The estimate is a lower bound, and mostly the value itself (Higham and Tisseur, "A block algorithm for matrix 1-norm
    estimation", SIAM Journal on Matrix Analysis and Applications 21, 2000).
    """
    rows, cols = operator.shape
    if min(rows, cols) <= SMALL:
        return float(np.linalg.norm(_form_dense(operator), 1))
    size = max(rows, cols)
    square = operator if rows == cols else _pad(operator, size)
    return float(onenormest(square))


def _estimate_frobenius(operator: LinearOperator, seed: int) -> float:
    """Estimate the Frobenius norm: the root of the mean energy of products with random vectors."""
    if min(operator.shape) <= SMALL:
        return float(np.linalg.norm(_form_dense(operator)))
    probes = np.random.default_rng(seed).standard_normal((operator.shape[1], PROBES)).astype(operator.dtype)
    products = operator.matmat(probes)
    return float(np.sqrt(np.sum(np.abs(products) ** 2, dtype=np.float64) / PROBES))


def _form_dense(operator: LinearOperator) -> NDArray[Any]:
    """Form the matrix, from its product with the smaller of the two identities."""
    rows, cols = operator.shape
    if cols <= rows:
        return np.asarray(operator.matmat(np.eye(cols, dtype=operator.dtype)))
    return np.asarray(operator.rmatmat(np.eye(rows, dtype=operator.dtype))).conj().T


def _pad(operator: LinearOperator, size: int) -> LinearOperator:
    """Pad an operator with rows or columns of zeros until it is square, of ``size`` rows."""
    rows, cols = operator.shape

    def multiply(x: NDArray[Any]) -> NDArray[Any]:
        y = np.zeros((size, x.shape[1]), np.result_type(operator.dtype, x.dtype))
        y[:rows] = operator.matmat(x[:cols])
        return y

    def multiply_adjoint(x: NDArray[Any]) -> NDArray[Any]:
        y = np.zeros((size, x.shape[1]), np.result_type(operator.dtype, x.dtype))
        y[:cols] = operator.rmatmat(x[:rows])
        return y

    return LinearOperator(
        (size, size),
        dtype=operator.dtype,
        matvec=lambda x: multiply(x.reshape(-1, 1))[:, 0],
        rmatvec=lambda x: multiply_adjoint(x.reshape(-1, 1))[:, 0],
        matmat=multiply,
        rmatmat=multiply_adjoint,
    )
