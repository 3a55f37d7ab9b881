"""Norms of an operator: exact where its factors tell, else estimated from products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, onenormest, svds

__all__ = ["estimated_frobenius", "estimated_one", "estimated_two"]

SMALL = 8
"""Rows or columns up to which the matrix is formed: iterations need more room than that."""

PROBES = 64
"""Random vectors of an estimate of the Frobenius norm: the relative standard deviation is at most ``1/sqrt(2*64)``."""


def estimated_two(operator: LinearOperator, tol: float, seed: int) -> float:
    """Largest singular value, by Lanczos iterations until their residual is below ``tol`` times it."""
    if min(operator.shape) <= SMALL:
        return float(np.linalg.norm(_dense(operator), 2))
    start = np.random.default_rng(seed).standard_normal(min(operator.shape)).astype(operator.dtype)
    found = svds(operator, k=1, tol=tol, v0=start, return_singular_vectors=False)
    return float(np.asarray(found)[0])


def estimated_one(operator: LinearOperator) -> float:
    """Largest sum of the moduli of a column: a lower bound, and mostly the value itself (Higham and Tisseur, 2000)."""
    rows, cols = operator.shape
    if min(rows, cols) <= SMALL:
        return float(np.linalg.norm(_dense(operator), 1))
    size = max(rows, cols)
    square = operator if rows == cols else _padded(operator, size)
    return float(onenormest(square))


def estimated_frobenius(operator: LinearOperator, seed: int) -> float:
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


def _padded(operator: LinearOperator, size: int) -> LinearOperator:
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
