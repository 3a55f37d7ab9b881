"""Multiplication of a few columns by a small chain, in as few calls as possible: for NumPy.

A vector of some hundred entries is multiplied in less time than a call takes. So neighbours are multiplied together: to
factors of small matrices of 8 x 8 to 64 x 64 entries, or to one matrix. Each factor is two calls then. One brings the
vector into the order of the small matrices, one multiplies all of these by it. The orders between two factors, and
those of the sides, are put together beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...structure.chain import Pattern
from ...structure.fusion import fuse_patterns, segments_for_few_columns
from .fusion import fuse_factors

__all__ = ["FewColumns", "are_few_bytes"]

MOST_BYTES = 1 << 22
"""Most bytes of values: products of many neighbours have far more values than these, which take long to form.

Measured for the Fourier operator in complex128, on a core of an AMD EPYC: 33, 125 and 359 us for N = 1024, 4096 and
8192, in place of 129, 299 and 691 us by sums of long axes, and 1.6, 5.3 and 17 ms to lay it out. It admits 4096.
"""

Order: TypeAlias = NDArray[np.intp] | None


class FewColumns:
    """Products of a small chain with few columns; it is laid out for them by the first one.

    Parameters are those of :func:`dbutterfly.kernels.products.packed.pack`, for NumPy.
    """

    def __init__(
        self, ks_values: Sequence[NDArray[Any]], dtype: Any, rows: NDArray[Any] | None, cols: NDArray[Any] | None
    ) -> None:
        self._given = ks_values, dtype, rows, cols
        self._packed: FewPacked | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return 0 if self._packed is None else self._packed.nbytes

    def multiply(self, x: NDArray[Any], *, transposed: bool) -> NDArray[Any]:
        """Multiply the matrix of the chain, or its transpose, by columns (n, k): array of shape (m, k)."""
        if self._packed is None:
            self._packed = _pack(*self._given)
        return _multiply(self._packed, x, transposed)


def are_few_bytes(patterns: Sequence[Pattern], dtype: Any) -> bool:
    """Whether a chain is small: its factors, once neighbours are multiplied together for few columns."""
    item = np.dtype(dtype).itemsize
    if item * max(pattern.nnz for pattern in patterns) > MOST_BYTES:
        return False  # at once: the segments of long chains take their time
    fused = fuse_patterns(patterns, segments_for_few_columns(patterns))
    return bool(item * sum(pattern.nnz for pattern in fused) <= MOST_BYTES)


class FewPacked(NamedTuple):
    """Factors made ready.

    Attributes
    ----------
    matrices : list of arrays, shapes (slots, b, c)
        Small matrices of the factors from right to left, in which order they are applied.
    forth : list of (array of int or None)
        Orders: what a factor is applied to is ``x[forth[k]]`` of what the one before has given, or of the vector, and
        the last one is that of the product.
    back : list of (array of int or None)
        Likewise for the transpose, whose factors are applied from left to right.
    """

    matrices: list[NDArray[Any]]
    forth: list[Order]
    back: list[Order]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(array.nbytes for array in (*self.matrices, *self.forth, *self.back) if array is not None)


def _pack(
    ks_values: Sequence[NDArray[Any]], dtype: Any, rows: NDArray[Any] | None, cols: NDArray[Any] | None
) -> FewPacked:
    """Multiply neighbours together, and put orders together."""
    patterns = [Pattern(*values.shape) for values in ks_values]
    segments = segments_for_few_columns(patterns)
    fused = fuse_patterns(patterns, segments)
    matrices, forth = [], []
    before = np.arange(fused[-1].shape[1]) if cols is None else np.asarray(cols)
    for segment, (a, b, c, d) in zip(reversed(segments), reversed(fused), strict=True):
        factor = fuse_factors([ks_values[index] for index in segment]).transpose(0, 3, 1, 2)
        matrices.append(np.ascontiguousarray(factor, dtype).reshape(a * d, b, c))
        forth.append(before[_by_slot(a, c, d)])
        before = np.argsort(_by_slot(a, b, d))
    forth.append(before if rows is None else before[np.argsort(rows)])
    if len(matrices[0]) == len(matrices) == 1:  # the product of all factors takes in the orders, too
        matrix, (entries, outcome) = matrices[0], forth
        matrices, forth = [np.empty_like(matrix)], [np.arange(size) for size in (entries.size, outcome.size)]
        matrices[0][:, :, entries] = matrix[:, outcome]
    back = [np.argsort(order) for order in reversed(forth)]
    return FewPacked(matrices, *([_unless_sorted(order) for order in orders] for orders in (forth, back)))


def _by_slot(a: int, b: int, d: int) -> NDArray[np.intp]:
    """Numbers of the rows ``(ia, ib, id)`` of a factor, the small matrices ``(ia, id)`` one after the other."""
    return np.arange(a * b * d).reshape(a, b, d).swapaxes(1, 2).reshape(-1)


def _unless_sorted(order: NDArray[np.intp]) -> Order:
    return None if np.array_equal(order, np.arange(order.size)) else order


def _multiply(packed: FewPacked, x: NDArray[Any], transposed: bool) -> NDArray[Any]:
    """Multiply columns by one factor after the other."""
    columns, steps = x.shape[1], packed.matrices
    if transposed:
        steps = [matrices.swapaxes(1, 2) for matrices in reversed(steps)]
    orders = packed.back if transposed else packed.forth
    for order, matrices in zip(orders, steps, strict=False):  # there is one order more
        if order is not None:
            x = x.take(order, axis=0)
        x = np.matmul(matrices, x.reshape(matrices.shape[0], -1, columns)).reshape(-1, columns)
    return x if orders[-1] is None else x.take(orders[-1], axis=0)
