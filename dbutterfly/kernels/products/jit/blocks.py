"""Compiled products of diagonal blocks of one segment of factors.

Arguments that belong together are passed on as tuples:

- ``chain``: the arrays ``values``, ``segments`` and ``layers`` of :class:`.packing.JitPacked`;
- ``ends``: ``x`` and the order in which it is taken, ``out`` and the order in which it is written: the vectors of the
  first and the last segment, real and imaginary parts side by side. Between the segments, rows are in ``src`` and
  ``dst``;
- ``how``: whether transposed, -1 for conjugates, 2 for complex numbers;
- ``place``: number ``k`` of the segment in the order of application, number of the block (``piece``) and of all equal
  blocks, whether ``src`` and ``dst`` hold the rows of this block only;
- ``part``: number of columns of ``x``, the first one to multiply, and how many to multiply.

``scratch`` is a pair of buffers for the rows of a bundle, or for 32 columns of the rows of one small matrix.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiler import ONE, TWO, ZERO, inline
from .bundles import load, load_columns, store, store_columns
from .dense import apply_matrix
from .layers import apply_network
from .sizes import N_COLUMNS, N_SLOTS

__all__ = ["multiply_columns", "multiply_vector"]


@inline
def _segment(segments: Any, k: Any, transposed: Any, planes: Any) -> Any:
    """Segment ``k`` as it is applied: start of its bundles, pattern, strides of values, size of a bundle, layers."""
    row = segments[k] if transposed else segments[segments.shape[0] - 1 - k]
    o, a, b, c, d = row[0], row[1], row[2], row[3], row[4]
    by_col = planes * N_SLOTS
    by_row = c * by_col
    if transposed:
        return o, a, c, b, d, by_col, by_row, row[5], row[6], row[7]
    return o, a, b, c, d, by_row, by_col, row[5], row[6], row[7]


@inline
def multiply_vector(
    chain: Any, ends: Any, src: Any, dst: Any, scratch: Any, how: Any, place: Any, layered: Any
) -> None:
    """Multiply one column, bundle by bundle."""
    (values, segments, layers), (x, gather, out, scatter) = chain, ends
    (transposed, sign, planes), (k, piece, pieces, near_in, near_out) = how, place
    o, a, b, c, d, by_row, by_col, size, layer, depth = _segment(segments, k, transposed, planes)
    first, last = k == ZERO, k == np.uint64(segments.shape[0]) - ONE
    gathers, scatters = first and gather.shape[0] > 0, last and scatter.shape[0] > 0
    # Where the rows of a bundle are neighbours between two segments, they are read or written without a copy.
    reads_direct, writes_direct = not first and d % N_SLOTS == 0, not last and d % N_SLOTS == 0
    xs, ys, width = scratch[0], scratch[depth % TWO] if layered else scratch[1], planes * N_SLOTS
    sign_in, sign_out = sign if first else sign * sign, sign if last else sign * sign  # one, of the dtype of the values
    slots = a * d // pieces
    in_base, out_base = piece * slots if near_in else ZERO, piece * slots if near_out else ZERO
    o += piece * slots // N_SLOTS * size
    for p0 in range(piece * slots, (piece + ONE) * slots, N_SLOTS):
        w, p_in, p_out = min(N_SLOTS, a * d - p0), p0 - in_base, p0 - out_base
        if not reads_direct:
            load(xs, x if first else src, gather, first, gathers, p_in, w, c, d, sign_in, planes)
        row_in, row_out = p_in // d * (c - ONE) * d + p_in, p_out // d * (b - ONE) * d + p_out  # (ia*c)*d + id
        from_, x0, x_step = (src, planes * row_in, planes * d) if reads_direct else (xs, ZERO, width)
        to, y0, y_step = (dst, planes * row_out, planes * d) if writes_direct else (ys, ZERO, width)
        if layered:
            apply_network(
                values, o, layers, layer, depth, transposed, from_, x0, x_step, to, y0, y_step, scratch, N_SLOTS, False,
                planes,
            )  # fmt: skip
        else:
            apply_matrix(values, o, b, c, by_row, by_col, from_, x0, x_step, to, y0, y_step, N_SLOTS, False, planes)
        if not writes_direct:
            store(ys, out if last else dst, scatter, last, scatters, p_out, w, b, d, sign_out, planes)
        o += size


@inline
def multiply_columns(
    chain: Any, ends: Any, src: Any, dst: Any, scratch: Any, how: Any, place: Any, part: Any, layered: Any
) -> None:
    """Multiply at most 32 columns, slot by slot."""
    (values, segments, layers), (x, gather, out, scatter) = chain, ends
    (transposed, sign, planes), (k, piece, pieces, near_in, near_out) = how, place
    o, a, b, c, d, by_row, by_col, size, layer, depth = _segment(segments, k, transposed, planes)
    first, last = k == ZERO, k == np.uint64(segments.shape[0]) - ONE
    from_ = scratch[0] if first else src
    to = (scratch[depth % TWO] if layered else scratch[1]) if last else dst
    step = planes * N_COLUMNS
    x_step, y_step = step if first else d * step, step if last else d * step
    slots = a * d // pieces
    x_base, y_base = piece * slots * c if near_in else ZERO, piece * slots * b if near_out else ZERO
    for slot in range(piece * slots, (piece + ONE) * slots):
        ia = slot // d
        row_in, row_out = ia * c * d + slot - ia * d, ia * b * d + slot - ia * d
        if first:
            load_columns(from_, x, gather, row_in, c, d, part, sign, planes)
        at = o + slot // N_SLOTS * size + slot % N_SLOTS
        x0, y0 = ZERO if first else (row_in - x_base) * step, ZERO if last else (row_out - y_base) * step
        if layered:
            apply_network(
                values, at, layers, layer, depth, transposed, from_, x0, x_step, to, y0, y_step, scratch, N_COLUMNS,
                True, planes,
            )  # fmt: skip
        else:
            apply_matrix(values, at, b, c, by_row, by_col, from_, x0, x_step, to, y0, y_step, N_COLUMNS, True, planes)
        if last:
            store_columns(to, out, scatter, row_out, b, d, part, sign, planes)
