"""Multiplication by a chain of factors that were made ready for it, in any array namespace.

A factor of pattern ``(a, b, c, d)`` is ``a*d`` small matrices; matrix ``(ia, id)`` has the *slot* ``ia*d + id``. In
every slot::

    y[ib] = sum over ic of v[ib, ic] * x[ic]        (1)

With slots as the last axis, ``(b, c, a*d)``, the product with one column is a few elementwise products of long,
contiguous axes, however small ``d`` is. Many columns are multiplied by batched matrix products.

:mod:`dbutterfly.kernels.products.jit` has compiled versions of :func:`pack` and :func:`multiply`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import array_api_compat
import numpy as np
from array_api_compat import is_cupy_namespace, is_numpy_namespace

from ...structure.chain import Pattern
from ...structure.fusion import segments_for_products
from ..backend import Array, namespace
from .few_columns import FewColumns, are_few_bytes
from .fusion import fuse_factors

__all__ = ["Packed", "multiply", "pack"]

FEW_COLUMNS = 5
"""Number of columns below which each is multiplied by itself. No measurement is recorded."""

LARGE_MATRIX = 256
"""Number of entries of a small matrix from which on matrix products serve one column, too.

Elementwise products are faster below. No measurement is recorded.
"""

SLOTS_AT_A_TIME = 4096
"""Number of slots that are multiplied at a time, so that the sums stay in the second-level cache.

Not tuned. 4096 slots are 64 KiB of complex128 for each row of the small matrices.
"""


class Packed(NamedTuple):
    """Factors made ready for :func:`multiply`.

    Attributes
    ----------
    values : list of arrays, shapes (b, c, a*d)
        Factors from left to right; of large small matrices, each lies in one piece.
    sides : list of (int, int)
        Their ``(a, d)``.
    rows, cols : array of int or None
        Orderings of the rows and columns of the chain by slots, flat: of the shapes ``(b, a*d)`` of the first factor
        and ``(c, a*d)`` of the last one.
    few : FewColumns or None
        The same for few columns, where the chain is small and of NumPy arrays.
    """

    values: list[Array]
    sides: list[tuple[int, int]]
    rows: Array | None
    cols: Array | None
    few: FewColumns | None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = [*self.values, *(index for index in (self.rows, self.cols) if index is not None)]
        held: int = sum(int(array.size) * array.dtype.itemsize for array in arrays)
        return held if self.few is None else held + self.few.nbytes


def pack(
    ks_values: Sequence[Array],
    dtype: Any,
    rows: Array | None = None,
    cols: Array | None = None,
) -> Packed:
    """Lay factors out for products.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right.
    dtype : dtype
        Dtype of the namespace to which they are converted.
    rows, cols : array of int or None, shapes (M,) and (N,)
        Orderings: the chain multiplies ``x[cols]``, and its products are ``y[rows]``.
    """
    values, sides = [], []
    patterns = [Pattern(*factor.shape) for factor in ks_values]
    for segment in segments_for_products(patterns):
        factor = fuse_factors([ks_values[index] for index in segment])
        xp = namespace(factor)
        a, b, c, d = factor.shape
        if b * c >= LARGE_MATRIX:  # each matrix in one piece, in a view that has the slots last all the same
            in_pieces = xp.astype(xp.reshape(xp.permute_dims(factor, (0, 3, 1, 2)), (-1,)), dtype)
            values.append(xp.permute_dims(xp.reshape(in_pieces, (a * d, b, c)), (1, 2, 0)))
        else:
            values.append(xp.astype(xp.reshape(xp.permute_dims(factor, (1, 2, 0, 3)), (b, c, a * d)), dtype))
        sides.append((a, d))
    few = None
    if is_numpy_namespace(namespace(ks_values[0])) and are_few_bytes(patterns, dtype):
        few = FewColumns(ks_values, dtype, rows, cols)
    return Packed(values, sides, _by_slot(rows, sides[0]), _by_slot(cols, sides[-1]), few)


def multiply(
    packed: Packed, x: Array, out: Array | None = None, *, transposed: bool = False, conjugated: bool = False
) -> Array:
    """Multiply the matrix of a chain, its transpose, conjugate or adjoint, by columns.

    Parameters
    ----------
    packed : Packed
        From :func:`pack`.
    x : array, shape (n, k)
        Columns to multiply, of any dtype that multiplies the factors.
    out : array of the resulting dtype, shape (m, k), optional
        Where the products go; it must not overlap ``x``.
    transposed, conjugated : bool
        Whether to multiply by the transpose, and by the conjugate; both make the adjoint.

    Returns
    -------
    array, shape (m, k)
        ``out`` if it was given.
    """
    if packed.few is not None and 0 < x.shape[1] < FEW_COLUMNS:
        return _multiply_few(packed.few, x, out, transposed, conjugated)
    xp = namespace(x)
    factors: Factors = list(zip(packed.values, packed.sides, strict=True))
    gather, scatter = packed.cols, packed.rows
    if transposed:
        factors = [(xp.permute_dims(values, (1, 0, 2)), sides) for values, sides in factors]
        gather, scatter = scatter, gather
    else:
        factors.reverse()
    if conjugated:
        x = xp.conj(x)
    columns = x.shape[1]
    if columns >= FEW_COLUMNS or columns == 0:
        y = _multiply_columns(factors, x, gather, scatter, xp)
    elif columns == 1:
        y = _multiply_vector(factors, x[:, 0], gather, scatter, xp)[:, None]
    else:
        y = xp.stack([_multiply_vector(factors, x[:, k], gather, scatter, xp) for k in range(columns)], axis=1)
    if conjugated:
        y = xp.conj(y)
    if out is None:
        return y
    out[...] = y
    return out


def _multiply_few(few: FewColumns, x: Array, out: Array | None, transposed: bool, conjugated: bool) -> Array:
    """Multiply few columns of a small chain."""
    y = few.multiply(np.conj(x) if conjugated else x, transposed=transposed)
    y = np.conj(y) if conjugated else y
    if out is None:
        return y
    out[...] = y
    return out


Factors: TypeAlias = list[tuple[Array, tuple[int, int]]]
"""Values and ``(a, d)`` of factors, in the order in which they are applied."""


def _multiply_vector(factors: Factors, x: Array, gather: Array | None, scatter: Array | None, xp: Any) -> Array:
    """Multiply one column."""
    for k, (values, (a, d)) in enumerate(factors):
        b, c, slots = values.shape
        if k == 0 and gather is not None:
            x = xp.reshape(xp.take(x, gather, axis=0), (c, slots))
        else:
            x = xp.reshape(xp.permute_dims(xp.reshape(x, (a, c, d)), (1, 0, 2)), (c, slots))
        y = _matrix_products(values, x, xp) if b * c >= LARGE_MATRIX else _sums_of_products(values, x, xp)
        if k == len(factors) - 1 and scatter is not None:
            return _scatter(xp.reshape(y, (-1,)), scatter, xp)
        x = xp.reshape(xp.permute_dims(xp.reshape(y, (b, a, d)), (1, 0, 2)), (-1,))
    return x


def _sums_of_products(values: Array, x: Array, xp: Any) -> Array:
    """Add up the ``c`` elementwise products of equation (1), of as many slots at a time as the cache holds."""
    b, _, slots = values.shape
    y = xp.empty((b, slots), dtype=xp.result_type(values, x), device=array_api_compat.device(x))
    add = _add_products_in_place if is_numpy_namespace(xp) or is_cupy_namespace(xp) else _add_products
    for first in range(0, slots, SLOTS_AT_A_TIME):
        part = slice(first, min(first + SLOTS_AT_A_TIME, slots))
        add(values[:, :, part], x[:, part], y[:, part], xp)
    return y


def _add_products(values: Array, x: Array, y: Array, xp: Any) -> None:  # noqa: ARG001
    """Equation (1) for some slots."""
    y[...] = values[:, 0, :] * x[0, :]
    for k in range(1, values.shape[1]):
        y += values[:, k, :] * x[k, :]


def _add_products_in_place(values: Array, x: Array, y: Array, xp: Any) -> None:
    """Equation (1) for some slots, with one array for all products."""
    xp.multiply(values[:, 0], x[0], out=y)
    term = xp.empty_like(y)
    for k in range(1, values.shape[1]):
        xp.multiply(values[:, k], x[k], out=term)
        y += term


def _matrix_products(values: Array, x: Array, xp: Any) -> Array:
    """Equation (1) by batched products of matrices and vectors."""
    return xp.matmul(xp.permute_dims(values, (2, 0, 1)), xp.permute_dims(x, (1, 0))[:, :, None])[:, :, 0].T


def _multiply_columns(factors: Factors, x: Array, gather: Array | None, scatter: Array | None, xp: Any) -> Array:
    """Multiply many columns by batched matrix products."""
    columns = x.shape[1]
    for k, (values, (a, d)) in enumerate(factors):
        b, c, _ = values.shape
        matrices = xp.reshape(xp.permute_dims(values, (2, 0, 1)), (a, d, b, c))  # of small ones a copy, small beside x
        if k == 0 and gather is not None:
            x = xp.permute_dims(xp.reshape(xp.take(x, gather, axis=0), (c, a, d, columns)), (1, 2, 0, 3))
        else:
            x = xp.permute_dims(xp.reshape(x, (a, c, d, columns)), (0, 2, 1, 3))
        is_last = k == len(factors) - 1 and scatter is not None
        y = _multiply_into(matrices, x, (1, 2, 0, 3) if is_last else (0, 2, 1, 3), xp)
        x = xp.reshape(y, (a * b * d, columns))
        if is_last:
            return _scatter(x, scatter, xp)
    return x


def _multiply_into(matrices: Array, x: Array, places: tuple[int, ...], xp: Any) -> Array:
    """Equation (1) for all slots: (a, d, b, columns), laid out with these axes in the places of that.

    NumPy's products go to where they belong without a copy.
    """
    back = tuple(places.index(axis) for axis in range(4))
    if not is_numpy_namespace(xp):
        return xp.permute_dims(xp.matmul(matrices, x), back)
    shape = *matrices.shape[:3], x.shape[3]
    laid = xp.empty(tuple(shape[axis] for axis in back), dtype=xp.result_type(matrices, x))
    xp.matmul(matrices, x, out=xp.permute_dims(laid, places))
    return laid


def _scatter(y: Array, scatter: Array, xp: Any) -> Array:
    """Put row k of ``y`` at ``scatter[k]``.

    The array standard has no assignment by index arrays: there, the row that belongs to each place is taken.
    """
    if is_numpy_namespace(xp) or is_cupy_namespace(xp):
        out = xp.empty_like(y)
        out[scatter] = y
        return out
    return xp.take(y, xp.argsort(scatter), axis=0)


def _by_slot(index: Array | None, sides: tuple[int, int]) -> Array | None:
    """Ordering of rows ``(ia, ib, id)`` as one of ``(ib, ia, id)``: the slots ``(ia, id)`` last."""
    if index is None:
        return None
    xp = namespace(index)
    a, d = sides
    return xp.reshape(xp.permute_dims(xp.reshape(index, (a, -1, d)), (1, 0, 2)), (-1,))
