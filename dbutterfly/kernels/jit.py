"""Compiled multiplication by a chain of factors: needs Numba, which :mod:`dbutterfly.kernels.jit_loops` imports.

:func:`pack` and :func:`multiply` are those of :mod:`dbutterfly.kernels.packed`, with the same results up to
rounding. A factor of pattern ``(a, b, c, d)`` is ``a*d`` small matrices; matrix ``(ia, id)`` is *lane* ``ia*d + id``,
and 64 lanes are a *panel*, which holds its values in one run of memory::

    panel 0                                                      panel 1
    [ib = 0, ic = 0: re x 64, im x 64][ib = 0, ic = 1: ...] ...  [ib = 0, ic = 0: ...] ...

so that a product reads all values once, in order. There are two kinds of product:

- one column: the innermost loops run over the lanes of a panel, each with values of its own. What the panel multiplies
  is laid out like its values, in a buffer that stays in the first-level cache; there, orderings, conjugates and the
  transposition of short runs cost next to nothing;
- many columns: the innermost loops run over 32 columns, which share their values. Between the factors, real and
  imaginary parts of a row lie apart; the first factor takes them apart, and the last one puts them together.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..chain import Pattern
from ..fusing import fused_patterns
from .fusion import fuse_factors
from .jit_loops import COLUMNS, DISABLED, LANES, compiled

__all__ = ["DISABLED", "LANES", "JitPacked", "multiply", "pack", "packed_size"]

BLOCK_BYTES = 1 << 19
"""Bytes of a block of rows that goes through several factors: two of them stay in the second-level cache."""

KEPT_BYTES = 1 << 25
"""Most bytes of buffers that a thread keeps from one product to the next."""

FEW_COLUMNS = 8
"""Columns below which each is multiplied by itself."""

_APART = 128
"""Entries between two buffers, so that no address of one is a multiple of 4096 bytes away from the same in the other:
a load there waits for the store before it."""


class JitPacked(NamedTuple):
    """Factors made ready for :func:`multiply`.

    Attributes
    ----------
    values : array, shape (n,)
        Panels of all factors, one after the other, of the real dtype.
    table : array of int64, shape (J, 5)
        Where the panels of each factor begin, and its pattern.
    rows, cols : array of int64, shapes (M,) or (0,), and (N,) or (0,)
        Orderings; empty for the standard one.
    planes : int
        2 for complex factors, whose real and imaginary parts lie apart, else 1.
    tall : int
        Most rows of a vector before or after a factor.
    across : int
        Most rows or columns of a small matrix.
    one, many : (int, int)
        For one and for many columns, the number of factors at the end of the chain that are block diagonal with so many
        equal blocks, the second number, as are small enough for the cache.
    """

    values: NDArray[Any]
    table: NDArray[np.int64]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    planes: int
    tall: int
    across: int
    one: tuple[int, int]
    many: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.values.nbytes + self.table.nbytes + self.rows.nbytes + self.cols.nbytes


def packed_size(patterns: Sequence[Pattern]) -> int:
    """Number of values in the panels of some factors: the last panel of each is filled up with zeros."""
    return sum(-(-a * d // LANES) * LANES * b * c for a, b, c, d in patterns)


def pack(
    ks_values: Sequence[NDArray[Any]],
    groups: Sequence[range],
    dtype: np.dtype[Any],
    rows: NDArray[np.int64] | None = None,
    cols: NDArray[np.int64] | None = None,
) -> JitPacked:
    """Lay factors out in panels.

    Parameters
    ----------
    ks_values : sequence of arrays, shapes (a, b, c, d)
        Factors from left to right.
    groups : sequence of range
        Neighbours that are multiplied together first.
    dtype : dtype
        float32, float64, complex64 or complex128, to which they are converted.
    rows, cols : array of int64 or None, shapes (M,) and (N,)
        Orderings: the chain multiplies ``x[cols]``, and its products are ``y[rows]``.
    """
    patterns = fused_patterns([Pattern(*values.shape) for values in ks_values], groups)
    planes = 2 if dtype.kind == "c" else 1
    packed = np.empty(planes * packed_size(patterns), np.empty(0, dtype).real.dtype)
    table, start = np.empty((len(patterns), 5), np.int64), 0
    for row, group, (a, b, c, d) in zip(table, groups, patterns, strict=True):
        panels = -(-a * d // LANES)
        stop = start + planes * panels * LANES * b * c
        product = fuse_factors([ks_values[index] for index in group])
        _fill(packed[start:stop].reshape(panels, b, c, planes, LANES), product)
        row[:] = start, a, b, c, d
        start = stop
    orders = [_NO_ORDER if index is None else np.ascontiguousarray(index, np.int64) for index in (rows, cols)]
    tall = max(max(pattern.shape) for pattern in patterns)
    across = max(max(b, c) for _, b, c, _ in patterns)
    one = _blocks(patterns, BLOCK_BYTES // 8 // dtype.itemsize, LANES)  # the values of the block want room, too
    many = _blocks(patterns, BLOCK_BYTES // (COLUMNS * dtype.itemsize), 1)
    return JitPacked(packed, table, orders[0], orders[1], planes, tall, across, one, many)


def _blocks(patterns: Sequence[Pattern], rows: int, unit: int) -> tuple[int, int]:
    """Most factors at the end of a chain that share diagonal blocks of at most so many rows; the number of blocks.

    A factor of pattern (a, b, c, d) has a diagonal blocks, and so any divisor of a. Each block has a multiple of
    ``unit`` lanes, or there is one block only.
    """
    for depth in range(len(patterns), 0, -1):
        last = patterns[-depth:]
        most = math.gcd(*(pattern.a for pattern in last))
        for blocks in (most // part for part in range(1, unit + 1) if most % part == 0):
            whole = blocks == 1 or all(a * d // blocks % unit == 0 for a, _, _, d in last)
            if whole and max(max(pattern.shape) for pattern in last) <= blocks * rows:
                return depth, blocks
    return 0, 1


def _fill(panels: NDArray[Any], values: NDArray[Any]) -> None:
    """Copy the values of a factor into its panels."""
    a, b, c, d = values.shape
    planes = panels.shape[3]
    lanes = values.transpose(1, 2, 0, 3).reshape(b, c, a * d)  # a view where a or d is one
    whole, rest = divmod(a * d, LANES)
    for plane in range(planes):
        part = lanes.imag if plane else lanes.real
        panels[:whole, :, :, plane] = part[:, :, : whole * LANES].reshape(b, c, whole, LANES).transpose(2, 0, 1, 3)
        if rest:
            panels[whole, :, :, plane, :rest] = part[:, :, whole * LANES :]
            panels[whole, :, :, plane, rest:] = 0


def multiply(
    packed: JitPacked,
    x: NDArray[Any],
    out: NDArray[Any] | None = None,
    *,
    transposed: bool = False,
    conjugated: bool = False,
) -> NDArray[Any]:
    """Multiply the matrix of a chain, its transpose, conjugate or adjoint, by columns.

    Parameters
    ----------
    packed : JitPacked
        From :func:`pack`.
    x : array of the dtype of the factors, C-contiguous, shape (n, k)
        Columns to multiply; it may be read-only.
    out : array of this dtype, C-contiguous, shape (m, k), optional
        Where the products go; it must not overlap ``x``.
    transposed, conjugated : bool
        What becomes of the matrix; both make the adjoint.

    Returns
    -------
    array, shape (m, k)
        ``out`` if it was given.
    """
    if out is None:
        (_, a, b, _, d), (_, a_last, _, c, d_last) = packed.table[0].tolist(), packed.table[-1].tolist()
        out = np.empty((a_last * c * d_last if transposed else a * b * d, x.shape[1]), x.dtype)
    columns, real = x.shape[1], packed.values.dtype
    many = columns >= FEW_COLUMNS
    lanes, rows = (COLUMNS, packed.tall * COLUMNS) if many else (LANES, -(-packed.tall // LANES) * LANES)
    depth, blocks = packed.many if many else packed.one
    near = (-(-packed.tall // blocks) + LANES) * (COLUMNS if many else 1) if blocks > 1 else 0
    work, panel, local = _buffers([packed.planes * size for size in (rows, packed.across * lanes, near)], real)
    call = compiled(x.dtype.char, many)
    gather, scatter = (packed.rows, packed.cols) if transposed else (packed.cols, packed.rows)
    settings = work, panel, transposed, -1.0 if conjugated else 1.0
    block = local, depth, blocks
    if many or columns == 1:
        flat, target = x.reshape(-1).view(real), out.reshape(-1).view(real)
    if many:
        for first in range(0, columns, COLUMNS):
            part = columns, first, min(COLUMNS, columns - first)
            call(packed.values, packed.table, flat, gather, target, scatter, *settings, *part, *block)
    elif columns == 1:
        call(packed.values, packed.table, flat, gather, target, scatter, *settings, *block)
    else:
        product = np.empty(out.shape[0], out.dtype)
        for column in range(columns):
            flat = np.ascontiguousarray(x[:, column]).view(real)
            call(packed.values, packed.table, flat, gather, product.view(real), scatter, *settings, *block)
            out[:, column] = product
    return out


_NO_ORDER = np.empty(0, np.int64)


def _buffers(sizes: Sequence[int], real: np.dtype[Any]) -> list[NDArray[Any]]:
    """A pair of buffers for each size, of the memory that this thread keeps: new memory costs a page fault per page."""
    key, found = (*sizes, real.char), getattr(_memory, "buffers", None)
    if found is not None and found[0] == key:
        return found[1]  # type: ignore[no-any-return]
    lengths = [size + _APART for size in sizes]
    needed = 2 * sum(lengths)
    kept = None if found is None else found[2]
    if kept is None or kept.nbytes < needed * real.itemsize:
        kept = np.empty(needed * real.itemsize, np.uint8)
    flat, pairs, start = kept.view(real), [], 0
    for length in lengths:
        pairs.append(flat[start : start + 2 * length].reshape(2, length))
        start += 2 * length
    if kept.nbytes <= KEPT_BYTES:
        _memory.buffers = key, pairs, kept
    return pairs


_memory = threading.local()
