"""Norms of an operator: exact where its factors or few products give them, else estimated from products."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, LinearOperator, svds

from ..errors import InputError
from ..kernels.factors.rounding import product_norm
from ..structure.arguments import as_integer, read_number, read_seed, show_value
from .base import FactorOperator
from .factors import chainable_factors, shift_factors

__all__ = ["matrix_norm"]

SMALL = 8
"""Rows or columns up to which the norm is that of the dense matrix.

Not tuned: ARPACK needs more rows than the vectors that it holds, and so few products cost nothing.
"""

PROBES = 64
"""Random vectors of an estimate of the Frobenius norm.

Not tuned, but derived: the relative standard deviation of the estimate is at most ``1/sqrt(2*64)``, 9 percent, whatever
the matrix (a matrix of rank one is the worst).
"""

EXACT_ENTRIES = 1 << 26
"""Entries of a matrix up to which all of its columns are summed: of a square one, up to 8192 rows.

Not tuned: of 4096 x 4096 they are summed in 0.2 s.
"""

BATCH = 64
"""Columns of a product at a time: twice those that the compiled kernels take through all factors together."""

STARTS, ROUNDS = 32, 10
"""Vectors that an estimate of the largest column sum holds, and the most times that it replaces them.

Of 40 orthogonal butterflies of 1024 rows, the estimate was the value itself for 4, and at least 0.88 of it for the
others (that of SciPy's ``onenormest``, with 2 vectors, for 1 of 12, and at least 0.67).
"""

RANGE = {4: 20, 8: 200}
"""Powers of two by which the factors of a dtype, of so many bytes of a real number, may differ from 1 in all, so that
squares of products stay in its range. Not tuned: a sixth of the exponents that there are."""


def matrix_norm(operator: FactorOperator, ord: Literal["fro", 1, 2] | float, tol: float, seed: int) -> float:
    """Norm of the matrix of an operator; see :meth:`dbutterfly.ButterflyOperator.norm`."""
    ord = _read_order("ord", ord)
    tol = read_number("tol", tol, least=0, most=1, fault="is no relative accuracy", remedy="use a number from 0 to 1")
    seed = read_seed("seed", seed)
    largest = [float(np.max(np.abs(values))) for values in operator.ks_values]
    if not all(map(math.isfinite, largest)):
        return math.nan
    if 0 in largest:
        return 0.0
    exponents = [math.frexp(value)[1] for value in largest]
    if sum(map(abs, exponents)) <= RANGE[operator.dtype.type(0).real.itemsize]:
        return _norm(operator, ord, tol, seed)
    factors = shift_factors(operator.ks_values, [-exponent for exponent in exponents])
    scaled = _norm(type(operator)(factors, (operator._rows, operator._cols)), ord, tol, seed)
    try:
        return math.ldexp(scaled, sum(exponents))
    except OverflowError:
        return math.inf


def _read_order(name: str, value: Any) -> Literal["fro", 1, 2] | float:
    if isinstance(value, str) and value == "fro":
        return "fro"
    if isinstance(value, (float, np.floating)) and value in (1, 2, math.inf):
        return math.inf if value == math.inf else int(value)
    count = as_integer(value)
    if count not in (1, 2):
        raise InputError(f'{name}={show_value(value)} is unknown; use "fro", 2, 1 or inf')
    return count


def _norm(operator: FactorOperator, ord: Literal["fro", 1, 2] | float, tol: float, seed: int) -> float:
    """Norm of an operator whose factors are finite, and the squares of their products in range."""
    if ord == "fro":
        factors, chain, _ = chainable_factors(operator.ks_values, operator.chain)
        if chain.ranks is None:
            return _estimate_frobenius(operator, seed)
        return product_norm([values.astype(operator.dtype, copy=False) for values in factors], chain)
    if ord == 2:
        return _estimate_two(operator, tol, seed)
    columns = operator if ord == 1 else operator.H
    exact = math.prod(operator.shape) <= EXACT_ENTRIES
    return _largest_sum(columns) if exact else estimate_largest_sum(columns, seed)


def _estimate_two(operator: LinearOperator, tol: float, seed: int) -> float:
    """Estimate the largest singular value, by Lanczos iterations until their residual is below ``tol`` times it."""
    rows, cols = operator.shape
    if min(rows, cols) <= SMALL:
        return float(np.linalg.norm(_form_dense(operator), 2))
    start = np.random.default_rng(seed).standard_normal(min(rows, cols)).astype(operator.dtype)
    if not np.any(operator.matvec(start) if cols <= rows else operator.rmatvec(start)):
        return 0.0  # the product of the factors is zero, though none of them is
    try:
        found = svds(operator, k=1, tol=tol, v0=start, return_singular_vectors=False)
    except ArpackError as error:
        raise InputError(f"tol={tol:g} is not reached by Lanczos iterations; use a larger one ({error})") from error
    return float(np.asarray(found)[0])


def _largest_sum(operator: LinearOperator) -> float:
    """Largest sum of the moduli of a column, from all columns."""
    cols = operator.shape[1]
    largest = 0.0
    for first in range(0, cols, BATCH):
        units = _unit_columns(np.arange(first, min(first + BATCH, cols)), operator)
        largest = max(largest, float(_column_sums(operator.matmat(units)).max()))
    return largest


def estimate_largest_sum(operator: LinearOperator, seed: int) -> float:
    """Estimate the largest sum of the moduli of a column from below.

    Vectors are replaced by those unit vectors along which the sums grow most, until none is left that would (Higham and
    Tisseur, "A block algorithm for matrix 1-norm estimation", SIAM Journal on Matrix Analysis and Applications 21,
    2000). SciPy's ``onenormest`` draws from NumPy's global generator, so that no seed makes it reproducible.

    Parameters
    ----------
    operator : LinearOperator
        The matrix.
    seed : int
        Seed of the first vectors.
    """
    cols = operator.shape[1]
    vectors = np.random.default_rng(seed).choice([-1.0, 1.0], (cols, min(STARTS, cols))).astype(operator.dtype) / cols
    largest, tried = 0.0, np.zeros(cols, bool)
    for _ in range(ROUNDS):
        products = operator.matmat(vectors)
        largest = max(largest, float(_column_sums(products).max()))
        moduli = np.abs(products)
        signs = np.divide(products, moduli, out=np.ones_like(products), where=moduli > 0)
        gains = np.where(tried, -1.0, np.abs(operator.rmatmat(signs)).max(axis=1))
        chosen = np.argsort(gains, kind="stable")[::-1][:STARTS]
        chosen = chosen[gains[chosen] > largest]
        if not chosen.size:
            break
        tried[chosen] = True
        vectors = _unit_columns(chosen, operator)
    return largest


def _column_sums(products: NDArray[Any]) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.sum(np.abs(products), axis=0, dtype=np.float64)
    return sums


def _unit_columns(places: NDArray[np.integer[Any]], operator: LinearOperator) -> NDArray[Any]:
    units = np.zeros((operator.shape[1], places.size), operator.dtype)
    units[places, np.arange(places.size)] = 1
    return units


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
