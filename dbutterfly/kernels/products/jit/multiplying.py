"""Products of a chain with one or many columns by the compiled loops."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .chains import chain_product
from .packing import JitPacked
from .sizes import COLUMNS, SLOTS

__all__ = ["multiply"]

KEPT_BYTES = 1 << 25
"""Most bytes of buffers that a thread keeps from one product to the next.

Not tuned. 32 MiB hold the buffers for many columns of up to 16384 rows of complex128.
"""

FEW_COLUMNS = 12
"""Number of columns below which each is multiplied by itself.

Measured: at about twelve columns, both kinds of product take the same time.
"""

_APART = 128
"""Entries between two buffers.

With them, no entry of one buffer lies a multiple of 4096 bytes away from the same entry of the other. A load from such
an address waits for the store before it.
"""


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
        Whether to multiply by the transpose, and by the conjugate; both make the adjoint.

    Returns
    -------
    array, shape (m, k)
        ``out`` if it was given.
    """
    if out is None:
        out = np.empty((packed.shape[1 if transposed else 0], x.shape[1]), x.dtype)
    columns, real = x.shape[1], packed.values.dtype
    many = columns >= FEW_COLUMNS
    width, rows = (COLUMNS, packed.tall * COLUMNS) if many else (SLOTS, -(-packed.tall // SLOTS) * SLOTS)
    depth, order = packed.many if many else packed.one
    blocks = order.shape[0]
    near = (-(-packed.tall // blocks) + SLOTS) * (COLUMNS if many else 1) if blocks > 1 else 0
    work, scratch, local = _buffers([packed.planes * size for size in (rows, packed.across * width, near)], real)
    call = chain_product(x.dtype.char, many).compiled
    gather, scatter = (packed.rows, packed.cols) if transposed else (packed.cols, packed.rows)
    settings = work, scratch, transposed, -1.0 if conjugated else 1.0
    chain, block = packed[:3], (local, depth, order)
    if many or columns == 1:
        flat, target = x.reshape(-1).view(real), out.reshape(-1).view(real)
    if many:
        for first in range(0, columns, COLUMNS):
            part = columns, first, min(COLUMNS, columns - first)
            call(*chain, flat, gather, target, scatter, *settings, *block, *part)
    elif columns == 1:
        call(*chain, flat, gather, target, scatter, *settings, *block, 1, 0, 1)
    else:
        product = np.empty(out.shape[0], out.dtype)
        for column in range(columns):
            flat = np.ascontiguousarray(x[:, column]).view(real)
            call(*chain, flat, gather, product.view(real), scatter, *settings, *block, 1, 0, 1)
            out[:, column] = product
    return out


def _buffers(sizes: Sequence[int], real: np.dtype[Any]) -> list[NDArray[Any]]:
    """Pair of buffers for each size, in memory that this thread keeps: new memory costs a page fault per page."""
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
