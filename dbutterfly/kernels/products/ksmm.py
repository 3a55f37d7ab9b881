"""Multiplication by Kronecker-sparse factors, in any array namespace.

Row ``(ia, ib, id)`` of a factor with pattern ``(a, b, c, d)`` meets the ``c`` columns ``(ia, ic, id)``, so a factor is
``a*d`` small dense matrices of shape ``(b, c)`` that interleave::

    y[ia, ib, id, :] = sum over ic of values[ia, ib, ic, id] * x[ia, ic, id, :]        (1)

There are two ways to multiply by all of them at once:

- ``c`` elementwise products of whole axes, added up: best where the sums are short, since no entry is moved;
- one batched matrix product on transposed views: best where ``c`` times the number of columns is large enough to
  repay a call per small matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import array_api_compat

__all__ = ["Array", "apply_chain", "apply_factor", "dense_product"]

Array: TypeAlias = Any
"""An array of any namespace that ``array_api_compat`` knows."""

LONGEST_SUM = 4
"""Most terms ``c`` of a sum that is added up elementwise. Measured with NumPy, 4096 rows and 1 to 64 columns."""

REAL_TERMS = 4
"""Most terms times columns that are added up elementwise, for real numbers: a single column or two.

Measured with NumPy, 4096 rows and 1 to 64 columns.
"""

COMPLEX_TERMS = 32
"""Most terms times columns that are added up elementwise, for complex numbers, whose small matrix products are slow.

Measured with NumPy, 4096 rows and 1 to 64 columns: elementwise products win up to about ``32 / c`` columns.
"""


def apply_factor(values: Array, x: Array) -> Array:
    """Multiply one Kronecker-sparse factor by a matrix.

    Parameters
    ----------
    values : array of real or complex floating dtype, shape (a, b, c, d)
        The nonzeros of the factor; strided views, such as those with swapped axes, are taken as they are.
    x : array, shape (a*c*d, k)
        Columns to multiply, of the namespace and on the device of ``values``.

    Returns
    -------
    array of dtype ``result_type(values, x)``, shape (a*b*d, k)
        The product, equation (1) of the module.

    Raises
    ------
    ValueError
        If ``x`` does not have ``a*c*d`` rows; raised by the namespace.

    Notes
    -----
    The layout is that of Gonon, Zheng, Carrivain and Le, "Fast inference with Kronecker-sparse matrices",
    arXiv 2405.15013.
    """
    xp = array_api_compat.array_namespace(values, x)
    a, b, c, d = values.shape
    columns = x.shape[1]
    x = xp.reshape(x, (a, c, d, columns))
    is_complex = xp.isdtype(xp.result_type(values, x), "complex floating")
    terms = COMPLEX_TERMS if is_complex else REAL_TERMS
    multiply = _sum_products if c <= LONGEST_SUM and c * columns <= terms else _multiply_matrices
    return xp.reshape(multiply(values, x, xp), (a * b * d, columns))


def apply_chain(ks_values: Sequence[Array], x: Array) -> Array:
    """Multiply the product of Kronecker-sparse factors by a matrix, the last factor first.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right; neighbours must multiply.
    x : array, shape (N, k)
        Columns to multiply, with as many rows as the last factor has columns.

    Returns
    -------
    array of dtype ``result_type(*ks_values, x)``, shape (M, k)
        The product ``X_1 X_2 ... X_J x``.

    Raises
    ------
    ValueError
        If the rows of ``x``, or those of a factor, do not match the columns before; raised by the namespace.
    """
    for values in reversed(ks_values):
        x = apply_factor(values, x)
    return x


def dense_product(ks_values: Sequence[Array]) -> Array:
    """Multiply Kronecker-sparse factors out to a dense matrix.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right, at least one; neighbours must multiply.

    Returns
    -------
    array of dtype ``result_type(*ks_values)``, shape (M, N)
        The product ``X_1 X_2 ... X_J`` in standard order, in the namespace and on the device of the last factor.

    Raises
    ------
    ValueError
        If two neighbours do not multiply; raised by the namespace.
    """
    last = ks_values[-1]
    xp = array_api_compat.array_namespace(last)
    a, _, c, d = last.shape
    identity = xp.eye(a * c * d, dtype=xp.result_type(*ks_values), device=array_api_compat.device(last))
    return apply_chain(ks_values, identity)


def _sum_products(values: Array, x: Array, xp: Any) -> Array:
    """Equation (1) by ``c`` elementwise products of shape ``(a, b, d, k)``."""
    a, b, c, d = values.shape
    values = xp.reshape(values, (a, b, c, d, 1))
    x = xp.expand_dims(x, axis=1)
    y = values[:, :, 0, ...] * x[:, :, 0, ...]
    for term in range(1, c):
        y += values[:, :, term, ...] * x[:, :, term, ...]
    return y


def _multiply_matrices(values: Array, x: Array, xp: Any) -> Array:
    """Equation (1) by products of ``(b, c)`` and ``(c, k)`` matrices; returns a view of shape ``(a, b, d, k)``."""
    y = xp.matmul(xp.permute_dims(values, (0, 3, 1, 2)), xp.permute_dims(x, (0, 2, 1, 3)))
    return xp.permute_dims(y, (0, 2, 1, 3))
